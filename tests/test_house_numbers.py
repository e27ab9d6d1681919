"""SVHN: its files, its download, and the stand-in for machines that cannot reach it."""

import functools
import hashlib
import http.server
import threading

import keras
import numpy as np
import pytest
import scipy.io
from PIL import Image

import dcgan_utils as du


@pytest.fixture
def house_numbers(make_images):
    """20 images `(20, 32, 32, 3)` and SVHN's labels for them: 1 to 10, as `(20, 1)`."""
    return make_images(20, 32, 3), (np.arange(20) % 10 + 1).astype(np.uint8)[:, None]


def write_mat(path, images, labels, **options):
    scipy.io.savemat(path, {"X": images.transpose(1, 2, 3, 0), "y": labels}, **options)
    return path


def test_axes_and_labels_are_put_in_order(tmp_path, house_numbers):
    images, labels = house_numbers
    data = du.load_dataset(write_mat(tmp_path / "train_32x32.mat", images, labels))
    np.testing.assert_array_equal(data.images, images)
    np.testing.assert_array_equal(data.labels, [1, 2, 3, 4, 5, 6, 7, 8, 9, 0] * 2)
    assert data.class_names == tuple("0123456789") and data.images.flags.c_contiguous


@pytest.mark.parametrize("split", ["train", "test"])
def test_data_folder_comes_first_and_a_file_that_is_not_the_published_one_is_named(split, tmp_path, monkeypatch,
                                                                                  house_numbers, capsys):
    write_mat(tmp_path / f"{split}_32x32.mat", *house_numbers)
    monkeypatch.setenv("DCGAN_DATA_DIR", str(tmp_path))
    monkeypatch.setattr(keras.utils, "get_file", None)
    data = du.load_dataset("svhn", split=split)
    assert (data.name, data.source) == ("svhn", f"{split}_32x32.mat in DCGAN_DATA_DIR")
    assert "is not the published file" in data.notice and data.notice in capsys.readouterr().out


def test_the_published_file_has_no_notice(tmp_path, monkeypatch, house_numbers):
    path = write_mat(tmp_path / "train_32x32.mat", *house_numbers)
    monkeypatch.setenv("DCGAN_DATA_DIR", str(tmp_path))
    monkeypatch.setitem(du._SVHN_SHA256, path.name, hashlib.sha256(path.read_bytes()).hexdigest())
    assert du.load_dataset("svhn").notice == ""


# A file that is not as it should be

@pytest.mark.parametrize("share", [0.0, 0.02, 0.4, 0.9, 0.999])
@pytest.mark.parametrize("compressed", [False, True])
def test_truncated_file_is_named(share, compressed, tmp_path, house_numbers):
    path = write_mat(tmp_path / "train_32x32.mat", *house_numbers, do_compression=compressed)
    path.write_bytes(path.read_bytes()[:int(share * path.stat().st_size)])
    with pytest.raises(ValueError, match=r"train_32x32\.mat: (corrupt or truncated|has no )"):
        du.load_dataset(path)


@pytest.mark.parametrize("content", [b"text, no .mat file at all", bytes(500), bytes(124) + b"\x00\x02IM"],
                         ids=["text", "zeros", "version 7.3"])
def test_file_of_another_kind_is_named(content, tmp_path):
    path = tmp_path / "train_32x32.mat"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"train_32x32\.mat: corrupt or truncated, or not in the format of MATLAB 5 "):
        du.load_dataset(path)


@pytest.mark.parametrize("kept, message", [("y", "has no X"), ("X", "has no y"), ("", "has no X and no y")])
def test_missing_array_is_named_with_those_there_are(kept, message, tmp_path, house_numbers):
    arrays = {"X": house_numbers[0].transpose(1, 2, 3, 0), "y": house_numbers[1], "other": 1}
    scipy.io.savemat(tmp_path / "a.mat", {name: arrays[name] for name in ("other", *kept)})
    with pytest.raises(ValueError, match=rf"a\.mat: {message} \(it has .*other.*\); wanted the layout of SVHN"):
        du.load_dataset(tmp_path / "a.mat")


@pytest.mark.parametrize("axes", [(0, 1, 2, 3), (3, 1, 2, 0)])
def test_other_axes_are_refused(axes, tmp_path, house_numbers):
    scipy.io.savemat(tmp_path / "a.mat", {"X": house_numbers[0].transpose(axes), "y": house_numbers[1]})
    with pytest.raises(ValueError, match=r"X has the shape \(.*\); wanted \(side, side, 3, n\)"):
        du.load_dataset(tmp_path / "a.mat")


@pytest.mark.parametrize("labels", [
    pytest.param(labels, id=name) for name, labels in {
        "a 0": np.arange(20), "up to 20": np.arange(1, 21), "one too few": np.ones(19), "fractions": np.full(20, 1.5),
        "NaN": np.full(20, np.nan)}.items()])
def test_other_labels_are_refused(labels, tmp_path, house_numbers):
    write_mat(tmp_path / "a.mat", house_numbers[0], labels)
    with pytest.raises(ValueError, match="wanted a whole number from 1 to 10 for each, 10 for the digit 0"):
        du.load_dataset(tmp_path / "a.mat")


@pytest.mark.parametrize("images, message", [
    (lambda images: images / 255.0, "float64"), (lambda images: images.astype(int) + 200, "range from")])
def test_other_pixels_are_refused(images, message, tmp_path, house_numbers):
    write_mat(tmp_path / "a.mat", images(house_numbers[0]), house_numbers[1])
    with pytest.raises(ValueError, match=message):
        du.load_dataset(tmp_path / "a.mat")


def test_a_mat_file_has_no_split(tmp_path, house_numbers):
    with pytest.raises(ValueError, match="load the test images by their own path"):
        du.load_dataset(write_mat(tmp_path / "a.mat", *house_numbers), split="test")


# The download

class Faulty(http.server.SimpleHTTPRequestHandler):
    """Serves a folder; the first `broken` answers end in the middle."""

    broken = 0

    def copyfile(self, source, outputfile):
        content = source.read()
        Faulty.broken -= 1
        outputfile.write(content[:len(content) // 2] if Faulty.broken >= 0 else content)

    def log_message(self, *_):
        pass


@pytest.fixture
def server(tmp_path, monkeypatch, house_numbers):
    """A server that stands in for the publisher's: the path of what it serves."""
    folder = tmp_path / "published"
    folder.mkdir()
    path = write_mat(folder / "train_32x32.mat", *house_numbers)
    monkeypatch.setitem(du._SVHN_SHA256, path.name, hashlib.sha256(path.read_bytes()).hexdigest())
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Faulty, directory=folder)) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        monkeypatch.setattr(du, "_SVHN_ADDRESS", f"http://127.0.0.1:{running.server_port}/")
        monkeypatch.setattr(Faulty, "broken", 0)
        yield path
        running.shutdown()


def test_download_is_checked_shown_and_kept(server, house_numbers, keras_home, capsys):
    data = du.load_dataset("svhn")
    np.testing.assert_array_equal(data.images, house_numbers[0])
    assert data.source.startswith("http://127.0.0.1") and data.notice == ""
    out = capsys.readouterr().out
    assert "Downloading data from" in out and "\u2501" in out  # a progress bar
    server.unlink()
    np.testing.assert_array_equal(du.load_dataset("svhn").images, data.images)
    assert "Downloading" not in capsys.readouterr().out


def test_broken_transfer_is_named_and_begun_anew_by_the_next_call(server, keras_home):
    Faulty.broken = 1
    with pytest.raises(FileNotFoundError, match="could not be downloaded.*Run again to begin the download anew.*"
                                                "DCGAN_DATA_DIR.*house_numbers_standin"):
        du.load_dataset("svhn")
    assert len(du.load_dataset("svhn").images) == 20


def test_download_that_a_kill_left_half_is_begun_anew(server, keras_home):
    half = keras_home / "datasets" / "train_32x32.mat"
    half.parent.mkdir(exist_ok=True)
    half.write_bytes(server.read_bytes()[:1000])
    assert len(du.load_dataset("svhn").images) == 20


def test_other_content_than_the_published_is_refused(server, keras_home, house_numbers):
    write_mat(server, house_numbers[0][::-1], house_numbers[1])
    with pytest.raises(FileNotFoundError, match="hash does not match"):
        du.load_dataset("svhn")


def test_smoke_mode_downloads_nothing(server, monkeypatch):
    monkeypatch.setenv("DCGAN_SMOKE", "1")
    with pytest.raises(FileNotFoundError, match="smoke mode downloads nothing"):
        du.load_dataset("svhn")


# The stand-in

@pytest.fixture(scope="module")
def standin(tmp_path_factory, make_images):
    """The files of a stand-in of 200 images, made of blobs for digits."""
    folder = tmp_path_factory.mktemp("standin")
    digits = du.Dataset(make_images(100, 28), (np.arange(100) % 10).astype(np.uint8), tuple("0123456789"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(du, "load_dataset", lambda name: digits)
        for name in ("first", "second"):
            du.house_numbers_standin(folder / name, 200)
        du.house_numbers_standin(folder / "other seed", 200, seed=1)
    return folder


def test_standin_has_the_layout_of_svhn(standin):
    for split, count in (("train", 200), ("test", 50)):
        file = scipy.io.loadmat(standin / "first" / f"{split}_32x32.mat")
        assert (file["X"].dtype, file["X"].shape) == (np.uint8, (32, 32, 3, count))
        assert (file["y"].dtype, file["y"].shape) == (np.uint8, (count, 1))
        assert set(file["y"].ravel()) == set(range(1, 11))


def test_standin_is_the_same_for_the_same_seed(standin):
    first, second, other = (du.load_dataset(standin / name / "train_32x32.mat")
                            for name in ("first", "second", "other seed"))
    np.testing.assert_array_equal(first.images, second.images)
    np.testing.assert_array_equal(first.labels, second.labels)
    assert (first.images != other.images).mean() > 0.9


def test_standins_images_differ_in_colour_and_show_their_digit(standin):
    images = du.load_dataset(standin / "first" / "train_32x32.mat").images.astype(float)
    assert images.mean(axis=(1, 2)).std(axis=0).min() > 30  # walls of every colour
    assert np.abs(images[..., 0] - images[..., 2]).mean() > 10
    brightness = images[:, 4:28, 4:28].mean(axis=3).reshape(len(images), -1)
    away = brightness - np.median(brightness, axis=1, keepdims=True)
    assert np.median(np.abs(away).max(axis=1)) > 40  # a digit in the middle of most
    assert 0.3 < (away.mean(axis=1) > 0).mean() < 0.7  # light digits on dark walls, and the other way round


def test_standins_test_images_are_of_other_digits(tmp_path, monkeypatch, make_images):
    drawn = []

    def note(digits, photographs, random, side=32):
        drawn.append(int(digits[0, 0, 0]))
        return np.zeros((side, side, 3), np.uint8)

    digits = np.broadcast_to(np.arange(100, dtype=np.uint8)[:, None, None, None], (100, 28, 28, 1))
    data = du.Dataset(digits, (np.arange(100) % 10).astype(np.uint8), tuple("0123456789"))
    monkeypatch.setattr(du, "load_dataset", lambda name: data)
    monkeypatch.setattr(du, "_house_number", note)
    du.house_numbers_standin(tmp_path, 400)
    assert len(drawn) == 500 and not set(drawn[:400]) & set(drawn[400:])


@pytest.mark.parametrize("count", [9, 0, -1, 10.0, "10", True, None])
def test_illegal_count_is_refused_and_nothing_written(count, tmp_path):
    with pytest.raises(ValueError, match="count is .*; wanted a whole number of at least 10"):
        du.house_numbers_standin(tmp_path / "new", count)
    assert not (tmp_path / "new").exists()


def test_standin_by_name_is_made_once_and_says_what_it_is(monkeypatch, capsys):
    monkeypatch.setenv("DCGAN_SMOKE", "1")
    data = du.load_dataset("house_numbers_standin")
    assert (data.image_shape, data.name, data.source) == ((32, 32, 3), *["house_numbers_standin"] * 2)
    out = capsys.readouterr().out
    assert "making the stand-in" in out and "NOTICE: these are not the Street View House Numbers" in out
    assert len(du.load_dataset("house_numbers_standin", split="test").images) == 128
    assert "making the stand-in" not in capsys.readouterr().out


# Training on colour

def test_64_pixels_in_colour_from_a_folder_train(tmp_path, make_images):
    folder = tmp_path / "photos"
    folder.mkdir()
    for i, image in enumerate(make_images(12, 80, 3)):
        Image.fromarray(image).save(folder / f"{i}.png")
    data = du.load_dataset(folder, image_size=64)
    assert data.image_shape == (64, 64, 3)
    generator, discriminator = du.build_generator((64, 64, 3), 8, width=2), du.build_discriminator((64, 64, 3), width=2)
    history = du.train(generator, discriminator, data, tmp_path / "run", epochs=1, batch_size=4, tracking=False)
    assert np.isfinite(history[["d_loss", "g_loss"]]).all(axis=None)
    grid = np.asarray(Image.open(tmp_path / "run" / "grids" / "epoch_0001.png"))
    assert grid.shape[2] == 3 and min(grid.shape[:2]) >= 8 * 64
