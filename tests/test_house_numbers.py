"""The stand-in for SVHN: layout, seeds, what it shows, and colour images that train."""

import numpy as np
import pytest
import scipy.io
from PIL import Image

import dcgan_utils as dcgan
from lab import datasets, house_numbers, runs


@pytest.fixture(scope="module")
def standin(tmp_path_factory, make_images):
    """The files of a stand-in of 200 images, made of blobs for digits."""
    folder = tmp_path_factory.mktemp("standin")
    digits = make_images(100, 28), (np.arange(100) % 10).astype(np.uint8)
    for name in ("first", "second"):
        house_numbers.write_house_numbers(folder / name, *digits, 200)
    house_numbers.write_house_numbers(folder / "other seed", *digits, 200, seed=1)
    return folder


def test_standin_has_the_layout_of_svhn_and_is_the_same_for_the_same_seed(standin):
    for split, count in (("train", 200), ("test", 50)):
        file = scipy.io.loadmat(standin / "first" / f"{split}_32x32.mat")
        assert (file["X"].dtype, file["X"].shape) == (np.uint8, (32, 32, 3, count))
        assert (file["y"].dtype, file["y"].shape) == (np.uint8, (count, 1))
        assert set(file["y"].ravel()) == set(range(1, 11))
    first, second, other = (datasets.load_dataset(standin / name / "train_32x32.mat")
                            for name in ("first", "second", "other seed"))
    np.testing.assert_array_equal(first.images, second.images)
    np.testing.assert_array_equal(first.labels, second.labels)
    assert (first.images != other.images).mean() > 0.9


def test_standins_images_differ_in_colour_and_show_their_digit(standin):
    images = datasets.load_dataset(standin / "first" / "train_32x32.mat").images.astype(float)
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
    monkeypatch.setattr(house_numbers, "_house_number", note)
    house_numbers.write_house_numbers(tmp_path, digits, np.arange(100, dtype=np.uint8) % 10, 400)
    assert len(drawn) == 500 and not set(drawn[:400]) & set(drawn[400:])


@pytest.mark.parametrize("count", [9, 0, -1, 10.0, "10", True, None])
def test_illegal_count_is_refused_and_nothing_written(count, tmp_path, make_images):
    with pytest.raises(ValueError, match="count is .*; wanted a whole number of at least 10"):
        house_numbers.write_house_numbers(tmp_path / "new", make_images(20, 28), np.arange(20, dtype=np.uint8), count)
    assert not (tmp_path / "new").exists()


def test_64_pixels_in_colour_from_a_folder_train(tmp_path, make_images):
    folder = tmp_path / "photos"
    folder.mkdir()
    for i, image in enumerate(make_images(12, 80, 3)):
        Image.fromarray(image).save(folder / f"{i}.png")
    data = datasets.load_dataset(folder, image_size=64)
    assert data.image_shape == (64, 64, 3)
    shape = (64, 64, 3)
    generator, discriminator = dcgan.build_generator(shape, 8, width=2), dcgan.build_discriminator(shape, width=2)
    history = runs.train(generator, discriminator, data, tmp_path / "run", epochs=1, batch_size=4, tracking=False)
    assert np.isfinite(history[["d_loss", "g_loss"]]).all(axis=None)
    grid = np.asarray(Image.open(tmp_path / "run" / "grids" / "epoch_0001.png"))
    assert grid.shape[2] == 3 and min(grid.shape[:2]) >= 8 * 64
