"""Files of images, read into arrays and checked: .npz, .mat, .csv, folders, IDX; used by lab.datasets (notebook 01)."""

import gzip
import math
import zipfile

import numpy as np
import pandas as pd
import scipy.io
from PIL import Image, ImageOps

from dcgan_utils import check_positive
from lab.files import readable

_IMAGE_SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff"}


def _as_bytes(values, what):
    """Check that `values` are whole numbers from 0 to 255 and return them as uint8."""
    values = np.asarray(values)
    if values.dtype.kind not in "iu":
        raise ValueError(f"{what} are {values.dtype}; wanted whole numbers from 0 to 255 (uint8).")
    if values.size and (values.min() < 0 or values.max() > 255):
        raise ValueError(f"{what} range from {values.min()} to {values.max()}; wanted 0 to 255.")
    return values.astype(np.uint8)


def _as_labels(labels, path):
    return None if labels is None else _as_bytes(labels, f"{path}: labels").reshape(-1)


def read_npz(path, split):
    """`(images, labels)` of Keras' layout, `x_train` and `y_train`; labels are None if there are none."""
    x, y = f"x_{split}", f"y_{split}"
    with readable(path, "corrupt or truncated, or of pickled Python objects, which are never unpickled because they "
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
    return images[..., None] if images.ndim == 3 else images, _as_labels(arrays.get(y), path)


def read_mat(path):
    """`(images, labels)` in the layout of SVHN: X uint8 (32, 32, 3, n), y (n, 1) from 1 to 10, 10 for the 0."""
    with readable(path, "corrupt or truncated, or not in the format of MATLAB 5", "delete it and fetch it again"):
        arrays = scipy.io.loadmat(path, variable_names=("X", "y"))
        found = [name for name, _, _ in scipy.io.whosmat(path) if name]
        if not found:
            raise ValueError("it holds no array")
    missing = [name for name in ("X", "y") if name not in arrays]
    if missing:
        raise ValueError(f"{path}: has no {' and no '.join(missing)} (it has {', '.join(found)}); wanted "
                         "the layout of SVHN: X, the images, and y, their labels.")
    images, labels = _as_bytes(arrays["X"], f"{path}: pixels"), arrays["y"].reshape(-1)
    if images.ndim != 4 or images.shape[2] != 3 or images.shape[0] != images.shape[1]:
        raise ValueError(f"{path}: X has the shape {images.shape}; wanted (side, side, 3, n) for n images.")
    if len(labels) != images.shape[3] or labels.dtype.kind not in "iuf" or not np.isin(labels, range(1, 11)).all():
        raise ValueError(f"{path}: y holds {len(labels)} labels, {np.unique(labels)[:12]}, for {images.shape[3]} "
                         "images; wanted a whole number from 1 to 10 for each, 10 for the digit 0.")
    images = np.ascontiguousarray(images.transpose(3, 0, 1, 2))
    return images, (labels % 10).astype(np.uint8)


def read_csv(path):
    """`(images, labels)` of a table in Kaggle's form, a row an image; labels are None if it has none."""
    with readable(path, "not readable as CSV", "repair it or fetch it again"):
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
    return images, _as_labels(table.iloc[:, 0].to_numpy() if has_label else None, path)


def read_folder(folder, image_size):
    """`(images, labels, class_names)` of a folder of images: sub-folders, if there are any, are the classes."""
    check_positive(image_size=image_size)
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
    return images, labels, tuple(names)


def _read_image(path, side):
    """One image file as uint8 `(side, side, 3)`, by the rule that `datasets.load_dataset` states."""
    with readable(path, "not readable as an image", "repair or remove it"), Image.open(path) as opened:
        image = ImageOps.exif_transpose(opened)
        if image.mode.startswith("I"):  # 16 bits a pixel
            image = Image.fromarray((np.asarray(image).clip(0, 65535) // 257).astype(np.uint8))
        if image.mode == "F":
            raise ValueError("floating-point pixels")
        if image.has_transparency_data:
            image = image.convert("RGBA")
            image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
        return np.asarray(ImageOps.fit(image.convert("RGB"), (side, side), Image.Resampling.LANCZOS))


def read_idx(path):
    """An array in the original MNIST files' gzipped IDX format of unsigned bytes."""
    with readable(path, "corrupt or truncated", "delete it and fetch it again"):
        data = gzip.decompress(path.read_bytes())
        shape = np.frombuffer(data, ">u4", count=data[3], offset=4)
        return np.frombuffer(data, np.uint8, offset=4 + 4 * data[3]).reshape(shape)
