"""A stand-in for the Street View House Numbers, made of digits and photographs; used by lab.datasets (08, 09)."""

import sys
from pathlib import Path

import numpy as np
import scipy.io
import scipy.ndimage
from PIL import Image
from sklearn.datasets import load_sample_images
from tqdm import tqdm

from lab.files import replacing


def write_house_numbers(folder, digits, labels, count=20_000, *, seed=0):
    """Write images that look like house numbers, in the layout of SVHN, for a machine that cannot download SVHN.

    Digits, uint8 `(n, 28, 28, 1)` with their labels, over patches of the two photographs that scikit-learn ships
    (china.jpg by danielbuechele, flower.jpg by vultilion, both CC BY 2.0): tinted, of different size, contrast, place
    and sharpness, half of them with a part of another digit at a side. The same count, seed and digits give the same
    images. What they lack: the fonts, fences and shadows of real houses, and real cameras' faults. So no number
    measured on them is one about SVHN.

    The folder gets `train_32x32.mat`, `count` images, at least 10, and `test_32x32.mat`, a quarter as many, of other
    digits; an OSError if it cannot be written to.
    """
    if not isinstance(count, (int, np.integer)) or count < 10:
        raise ValueError(f"count is {count!r}; wanted a whole number of at least 10.")
    random = np.random.default_rng(seed)
    photographs = [Image.fromarray(photograph) for photograph in load_sample_images().images]
    order = random.permutation(len(digits))
    fifth = len(order) // 5
    for split, total, sources in (("train", count, order[fifth:]), ("test", count // 4, order[:fifth])):
        picks = random.choice(sources, (total, 2))
        images = np.stack([_house_number(digits[pair, ..., 0], photographs, random)
                           for pair in tqdm(picks, file=sys.stdout, leave=False, unit="image", desc=split)])
        label = labels[picks[:, 0]]
        with replacing(Path(folder) / f"{split}_32x32.mat") as partial, open(partial, "wb") as file:
            scipy.io.savemat(file, {"X": images.transpose(1, 2, 3, 0), "y": np.where(label, label, 10)[:, None]},
                             do_compression=True)


def _house_number(digits, photographs, random, side=32):
    """One colour image, uint8 `(side, side, 3)`, of a pair of digits: the first in the middle, the other beside it."""
    ink = Image.new("L", (side, side))
    height = random.uniform(0.6, 0.9) * side
    middle = side / 2 + random.uniform(-2, 2)
    neighbour = middle + random.choice([-1, 1]) * random.uniform(0.5, 0.65) * side
    for digit, centre in zip(digits, (middle, neighbour) if random.random() < 0.5 else (middle,)):
        rows, columns = (np.flatnonzero(digit.any(axis=axis)) for axis in (1, 0))
        stroke = Image.fromarray(digit[rows[0]:rows[-1] + 1, columns[0]:columns[-1] + 1])
        width = max(4.0, min(0.7 * side, stroke.width * height / stroke.height * random.uniform(0.75, 1.0)))
        stroke = stroke.resize((round(width), round(height)), Image.Resampling.BICUBIC)
        ink.paste(stroke, (round(centre - width / 2), round((side - height) / 2 + random.uniform(-1.5, 1.5))), stroke)
    photograph = photographs[random.integers(len(photographs))]
    patch = 2.0 ** random.uniform(4, 7)
    left, top = (random.uniform(0, extent - patch) for extent in photograph.size)
    box = left, top, left + patch, top + patch
    wall = np.asarray(photograph.resize((side, side), Image.Resampling.BILINEAR, box))
    mean = random.uniform(50, 205) + random.normal(0, 15, 3)
    wall = mean + random.uniform(0.2, 0.8) * (wall - wall.mean(axis=(0, 1)))
    contrast = random.uniform(60, 140) * (1 if mean.mean() < random.uniform(90, 165) else -1)
    blurred = scipy.ndimage.gaussian_filter(np.asarray(ink, np.float64) / 255, random.uniform(0, 0.8))[..., None]
    image = wall * (1 - blurred) + (mean + contrast + random.normal(0, 15, 3)) * blurred
    return np.clip(np.rint(image + random.normal(0, 3, image.shape)), 0, 255).astype(np.uint8)
