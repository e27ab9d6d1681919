"""Files of images, read into arrays and checked: .npz, .mat, .csv, folders, IDX; used by lab.datasets (notebook 01)."""

import collections
import csv
import gzip
import itertools
import math
import os
import re
import textwrap
import warnings
import zipfile

import numpy as np
import pandas as pd
import scipy.io
from PIL import Image, ImageOps

from dcgan_utils import check_positive
from lab.files import first_line, readable

_IMAGE_FORMATS = {"PNG", "JPEG", "BMP", "GIF", "WEBP", "TIFF", "AVIF", "JPEG2000", "PPM", "TGA"}
_SYSTEM_NAMES = {"__MACOSX", "@eaDir", "$RECYCLE.BIN", "System Volume Information", "Thumbs.db", "desktop.ini"}
_LABEL_NAMES = {"label", "labels", "class", "target", "y"}
_PIXEL_NAME = re.compile(r"(?:pixels?|px|p)?[\W_]*(\d+)(?:[\W_x]+(\d+))?[\W_]*", re.IGNORECASE)  # pixel7, 7, 3x4


def listed(names, most=10, room=110):
    """`"a, b and 3 more"`: as many of the names, each cut to 50 characters, as `most` and the room for them allow."""
    names = [name if len(name) <= 50 else name[:47] + "..." for name in map(str, names)]
    shown = names[:most]
    while len(shown) > 1 and len(", ".join(shown)) > room:
        shown.pop()
    return ", ".join(shown) + (f" and {len(names) - len(shown):,} more" if len(names) > len(shown) else "")


def _as_bytes(values, what):
    """Check that `values` are whole numbers from 0 to 255 and return them as uint8."""
    values = np.asarray(values)
    if values.dtype.kind not in "iu":
        raise ValueError(f"{what} are {values.dtype}; wanted whole numbers from 0 to 255 (uint8).")
    if values.size and (values.min() < 0 or values.max() > 255):
        raise ValueError(f"{what} range from {values.min()} to {values.max()}; wanted 0 to 255.")
    return values.astype(np.uint8)


def _as_labels(labels, what, count):
    """Check that `labels` are one whole number for each of `count` images and return them as uint8 `(count,)`."""
    if np.shape(labels) not in ((count,), (count, 1)):
        raise ValueError(f"{what} are of shape {np.shape(labels)}; wanted ({count},) or ({count}, 1), one for each "
                         "image: of one-hot labels, the argmax of each row.")
    return _as_bytes(labels, what).reshape(-1)


def read_npz(path, split):
    """`(images, labels, label_values, left_out)` of Keras' layout, `x_train` and `y_train`.

    Labels are None if there are none. `label_values` are those of both splits, sorted, so that these share their
    classes; `left_out` names the arrays that are of no split.
    """
    x, y = f"x_{split}", f"y_{split}"
    with readable(path, "corrupt or truncated, or of pickled Python objects, which are never unpickled because they "
                   "can run any code", "delete it and fetch it again, or save plain uint8 arrays"):
        if not zipfile.is_zipfile(path):
            raise ValueError("no zip archive")
        with np.load(path, allow_pickle=False) as archive:
            names = archive.files
            arrays = {name: archive[name] for name in (x, "y_train", "y_test") if name in archive}
    if x not in arrays:
        raise ValueError(f"{path}: has no array {x!r} (its arrays: {listed(names) or 'none'}); wanted Keras' layout: "
                         f"{x}, and {y} if there are labels.")
    images = _as_bytes(arrays.pop(x), f"{path}: pixels")
    labels = _as_labels(arrays[y], f"{path}: labels {y}", len(images)) if y in arrays else None
    values = {int(value) for name in arrays for value in np.unique(_as_bytes(arrays[name], f"{path}: labels {name}"))}
    left_out = [name for name in names if name not in ("x_train", "y_train", "x_test", "y_test")]
    return images[..., None] if images.ndim == 3 else images, labels, sorted(values), left_out


def read_mat(path):
    """`(images, labels, left_out)` in the layout of SVHN: X uint8 (32, 32, 3, n), y (n, 1) from 1 to 10, 10 for the 0.

    `left_out` names the other arrays.
    """
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
        raise ValueError(f"{path}: y has the shape {arrays['y'].shape} and holds {listed(np.unique(labels))}, for "
                         f"{images.shape[3]} images; wanted a whole number from 1 to 10 for each, 10 for the digit 0.")
    images = np.ascontiguousarray(images.transpose(3, 0, 1, 2))
    return images, (labels % 10).astype(np.uint8), [name for name in found if name not in ("X", "y")]


def read_csv(path):
    """`(images, labels, label_column, left_out)` of a table, a row an image; labels are None if it has none.

    `datasets.load_dataset` states the forms; row numbers, as pandas writes them, are left out.
    """
    with readable(path, "not readable as CSV", "repair it or fetch it again"):
        table, named, left_out = _read_table(path)
    names = list(table.columns)

    def refusal(reason=""):
        return ValueError(f"{path}: its columns are {listed(names, 3, 60)}, {len(names)} in all{reason}; wanted "
                          "label,pixel1,...,pixelN, N a square number, with or without this header.")

    if named:
        labels = [i for i, name in enumerate(names) if name.lower() in _LABEL_NAMES]
    else:
        labels = [] if math.isqrt(len(names)) ** 2 == len(names) else [0]
    pixels = [i for i in range(len(names)) if i not in labels]
    side = math.isqrt(len(pixels))
    if len(labels) > 1:
        raise refusal(f", and {listed((names[i] for i in labels), room=60)} can all be the label")
    if named and side > 1:
        pixels = _in_order(pixels, names, refusal)
    if side * side != len(pixels) or side < 2:
        raise refusal()
    if labels and not named and table.iloc[:, 0].nunique() == 1 < table.iloc[:, -1].nunique():
        raise refusal(f" and without names, and the first, {table.iat[0, 0]} in each row, is hardly the label")
    bad = [names[i] for i in labels + pixels if not _is_whole(table.iloc[:, i])]
    if bad:
        raise ValueError(f"{path}: column {listed(bad)}: empty cells or values that are not whole numbers; wanted "
                         "pixels from 0 to 255, and labels that are whole numbers.")
    images = table.iloc[:, pixels].to_numpy().astype(int, copy=False)
    images = _as_bytes(images, f"{path}: pixels").reshape(-1, side, side, 1)
    if not labels:
        return images, None, "", left_out
    values = table.iloc[:, labels[0]].to_numpy().astype(int)
    return images, _as_labels(values, f"{path}: labels", len(images)), names[labels[0]], left_out


def _read_table(path):
    """`(table, named, left_out)`: without a header, or with one that only counts, the columns are called 1, 2, ..."""
    line = pd.read_csv(path, sep="\x1f", header=None, nrows=1, dtype=str, quoting=csv.QUOTE_NONE).iat[0, 0]
    options = {"sep": next((mark for mark in ";\t," if mark in line), r"\s+"), "skipinitialspace": True}
    first = pd.read_csv(path, header=None, nrows=1, dtype=str, keep_default_na=False, **options).iloc[0].str.strip()
    numbers = pd.to_numeric(first, errors="coerce")
    counts = len(first) > 2 and numbers[1] in (0, 1, 2) and (numbers[1:].diff()[1:] == 1).all()
    named = bool((numbers.isna() & (first != "")).any())
    table = pd.read_csv(path, header=0 if named or counts else None, low_memory=False, **options)
    if table.empty or not isinstance(table.index, pd.RangeIndex):
        raise ValueError("no row below its header" if table.empty else "its rows have more cells than its header")
    table.columns = first if named else [str(i + 1) for i in range(len(first))]
    if (named or counts) and first[0] == "" and (table.iloc[:, 0] == np.arange(len(table))).all():
        return table.iloc[:, 1:], named, ["row numbers"]
    return table, named, []


def _in_order(pixels, names, refusal):
    """The indices `pixels` of columns, sorted by the numbers in their names: pixel2 before pixel10, 1x2 before 2x1."""
    matches = {i: _PIXEL_NAME.fullmatch(names[i]) for i in pixels}
    odd = [names[i] for i in pixels if not matches[i]]
    if odd:
        raise refusal(f", of which {listed(odd, room=60)} may be neither a label nor a pixel")
    keys = {i: tuple(int(number) for number in match.groups() if number) for i, match in matches.items()}
    lowest = min(1, *itertools.chain(*keys.values()))
    two = all(len(key) == 2 for key in keys.values())
    count = math.isqrt(len(pixels) - 1) + 1 if two else len(pixels)
    odd = set(itertools.product(range(lowest, lowest + count), repeat=1 + two)) ^ set(keys.values())
    if odd:
        odd = listed(("x".join(map(str, key)) for key in sorted(odd)), room=60)
        raise refusal(f", not numbered from {lowest} without a gap (see {odd})")
    return sorted(pixels, key=keys.get)


def _is_whole(column):
    return column.dtype.kind in "iu" or column.dtype.kind == "f" and bool((column % 1 == 0).all())


def read_folder(folder, image_size):
    """`(images, labels, class_names, left_out)` of a folder of images: sub-folders, if there are any, are the classes.

    `left_out` counts what was not read, by suffix or by reason, such as `["3 .txt", "1 linked twice"]`.
    """
    check_positive(image_size=image_size)
    found, left_out = _find_images(folder)
    if not found:
        raise ValueError(f"{folder}: no images" + (f", only {listed(left_out)}" if left_out else "") + "; wanted files "
                         "ending in .png, .jpg, .jpeg, .bmp, .gif, .webp, .tif or like: convert them.")
    classes = [path.relative_to(folder).parts[0] if path.parent != folder else None for path in found]
    names = sorted({name for name in classes if name})
    if names and None in classes:
        raise ValueError(f"{folder}: holds both sub-folders (classes) and loose images such as "
                         f"{found[classes.index(None)].name}; put every image into a sub-folder, or none.")
    if len(names) > 256:
        raise ValueError(f"{folder}: {len(names)} sub-folders; at most 256 classes are possible.")
    images, faults = [], {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # of half as many pixels as are refused
        for path in found:
            try:
                images.append(_read_image(path, image_size))
            except (ValueError, FileNotFoundError) as error:
                faults[path.relative_to(folder).as_posix()] = error
    first, *others = faults.values() or [None]
    if first and not others:
        raise first
    if first:
        reason = textwrap.shorten(first_line(first.__cause__), 60)
        raise ValueError(f"{folder}: {len(faults)} of {len(found)} files are not readable as an image: "
                         f"{listed(faults)} (the first: {reason}); repair or remove them.")
    images = np.stack(images)
    if (images == images[..., :1]).all():
        images = images[..., :1]
    labels = np.array([names.index(name) for name in classes], np.uint8) if names else None
    return images, labels, tuple(names), left_out


def _find_images(folder):
    """The image files below a folder, sorted, and what is left out, counted; see `read_folder`.

    Links are followed, after all that is no link, and nothing is found twice.
    """
    suffixes = {suffix for suffix, kind in Image.registered_extensions().items() if kind in _IMAGE_FORMATS}
    found, left_out, seen, waiting = [], collections.Counter(), set(), collections.deque([folder])
    while waiting:
        path = waiting.popleft()
        real = os.path.realpath(path)
        if path != folder and (path.name.startswith(".") or path.name in _SYSTEM_NAMES):
            left_out["hidden or of the system"] += 1
        elif not path.is_dir() and path.suffix.lower() not in suffixes:
            left_out[path.suffix.lower() or "without a suffix"] += 1
        elif real in seen:
            left_out["linked twice"] += 1
        else:
            seen.add(real)
            if not path.is_dir():
                found.append(path)
            for child in sorted(path.iterdir()) if path.is_dir() else ():
                (waiting.append if child.is_symlink() else waiting.appendleft)(child)
    return sorted(found), [f"{count:,} {kind}" for kind, count in left_out.most_common()]


def _read_image(path, side):
    """One image file as uint8 `(side, side, 3)`, by the rule that `datasets.load_dataset` states."""
    with readable(path, "not readable as an image", "repair or remove it"), _open_image(path) as opened:
        image = ImageOps.exif_transpose(opened)
        if image.mode.startswith("I"):  # 16 bits a pixel
            image = Image.fromarray((np.asarray(image).clip(0, 65535) // 257).astype(np.uint8))
        if image.mode == "F":
            raise ValueError("floating-point pixels")
        if image.has_transparency_data:
            image = image.convert("RGBA")
            image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
        return np.asarray(ImageOps.fit(image.convert("RGB"), (side, side), Image.Resampling.LANCZOS))


def _open_image(path):
    try:
        return Image.open(path)
    except Image.DecompressionBombError:
        raise ValueError(f"more than {2 * Image.MAX_IMAGE_PIXELS:,} pixels: make it smaller") from None


def read_idx(path):
    """An array in the original MNIST files' gzipped IDX format of unsigned bytes."""
    with readable(path, "corrupt or truncated", "delete it and fetch it again"):
        data = gzip.decompress(path.read_bytes())
        shape = np.frombuffer(data, ">u4", count=data[3], offset=4)
        return np.frombuffer(data, np.uint8, offset=4 + 4 * data[3]).reshape(shape)
