"""How good generated images are, from features: Frechet distance, KID, precision and recall ...; used from 05 on.

Features in, numbers out: this module knows no nets and no files.
"""

import math

import numpy as np
import scipy.linalg
import scipy.special
from sklearn.metrics import pairwise_distances_chunked
from sklearn.metrics.pairwise import polynomial_kernel
from sklearn.neighbors import NearestNeighbors

from dcgan_utils import check_positive


def check_features(at_least=2, **sets):
    """Refuse features that cannot be compared; give them back as float64 arrays."""
    arrays = {name: np.asarray(features) for name, features in sets.items()}
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
    probabilities, = check_features(probabilities=probabilities)
    if probabilities.min() < 0 or not np.allclose(probabilities.sum(axis=1), 1, atol=1e-3):
        raise ValueError("probabilities: some are below 0 or do not sum to 1 for an image; wanted those of "
                         "MeasuringNet.probabilities, not logits.")
    return probabilities


def frechet_distance(real, generated):
    """Frechet distance of two Gaussians fitted to features: 0 for the same mean and covariance.

    `|m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2))`, from features `(n, d)`. Too large for few images: compare only
    distances of equal numbers of images. Heusel et al. 2017, https://arxiv.org/abs/1706.08500.
    """
    real, generated = check_features(real=real, generated=generated)
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
    sets, random, values = check_features(at_least=4, real=real, generated=generated), np.random.default_rng(seed), []
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
    check_positive(neighbours=neighbours)
    real, generated = check_features(at_least=neighbours + 1, real=real, generated=generated)
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
    queries, references = check_features(queries=queries, references=references)
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
    generated, training, *_ = check_features(generated=generated, training=training, **sets)
    ours, _ = nearest_images(generated, training)
    if held_out is None:
        search = NearestNeighbors(n_neighbors=2, algorithm="brute").fit(training)
        theirs = search.kneighbors(sample(training, 10_000))[0][:, 1]
    else:
        theirs, _ = nearest_images(held_out, training)
    return {"copied": float((ours <= np.quantile(theirs, 0.01)).mean()),
            "copy_distance": float(np.median(ours) / np.median(theirs))}


def spectrum(images):
    """Mean power of the first channel at each frequency, the slow ones in the middle.

    Of uint8 images `(n, height, width, channels)`: float64 `(height, width)`. With even sides the first row and the
    first column hold the period of 2 pixels, and the corner where they meet the checkerboard.
    """
    pixels = images[..., 0] / 255
    return np.fft.fftshift((np.abs(np.fft.fft2(pixels)) ** 2).mean(axis=0))


def sample(items, count, seed=0):
    """`count` of the items at random, or all of them in random order if there are fewer."""
    return items[np.random.default_rng(seed).permutation(len(items))[:count]]
