"""Grids, the GIF and the figures."""

import math

import matplotlib.pyplot as plt
import numpy as np
import pytest
from PIL import Image

import dcgan_utils as dcgan


def numbered(count, side=3, channels=1):
    """Image i is all i + 1."""
    return np.broadcast_to(np.arange(1, count + 1, dtype=np.uint8)[:, None, None, None], (count, side, side, channels))


def test_grid_puts_every_pixel_in_its_place():
    images = np.array([[[[1], [2]], [[3], [4]]], [[[5], [6]], [[7], [8]]]], np.uint8)
    grid = dcgan.make_grid(images, columns=2, padding=1)
    p = grid[0, 0, 0]
    assert grid.dtype == np.uint8
    np.testing.assert_array_equal(grid[..., 0], [[p, p, p, p, p, p, p],
                                                 [p, 1, 2, p, 5, 6, p],
                                                 [p, 3, 4, p, 7, 8, p],
                                                 [p, p, p, p, p, p, p]])


def test_grid_fills_row_by_row_and_leaves_the_rest_of_the_last_row_empty():
    grid = dcgan.make_grid(numbered(5), columns=3, padding=2)
    assert grid.shape == (2 * 5 + 2, 3 * 5 + 2, 1)
    centres = grid[3::5, 3::5, 0]
    assert centres.tolist() == [[1, 2, 3], [4, 5, grid[0, 0, 0]]]


def test_grid_without_padding_or_of_colour():
    grid = dcgan.make_grid(numbered(4), columns=2, padding=0)
    assert grid[..., 0].tolist() == [[1] * 3 + [2] * 3] * 3 + [[3] * 3 + [4] * 3] * 3
    colours = np.zeros((2, 4, 4, 3), np.uint8)
    colours[0], colours[1] = (200, 0, 0), (0, 0, 100)
    grid = dcgan.make_grid(colours, columns=2)
    assert grid.shape == (8, 14, 3) and grid[3, 3].tolist() == [200, 0, 0] and grid[3, 9].tolist() == [0, 0, 100]


def read_gif(path):
    """Pixels and milliseconds of each frame, and how often the GIF repeats (0 is for ever)."""
    with Image.open(path) as gif:
        frames, durations = [], []
        for i in range(gif.n_frames):
            gif.seek(i)
            durations.append(gif.info["duration"])
            frames.append(np.asarray(gif.convert("RGB")))
        return frames, durations, gif.info.get("loop")


@pytest.mark.parametrize("channels", [1, 3])
def test_gif_holds_the_frames_in_order_and_the_last_one_longer(channels, tmp_path):
    shades = [10, 60, 110, 250]
    shape = (30, 90) if channels == 1 else (30, 90, 3)
    dcgan.save_gif([np.full(shape, shade, np.uint8) for shade in shades], tmp_path / "a.gif",
                captions=["epoch 0", "epoch 1", "epoch 2", "epoch 4"], milliseconds=120, last_milliseconds=1500)
    frames, durations, loop = read_gif(tmp_path / "a.gif")
    assert durations == [120, 120, 120, 1500] and loop == 0
    band = frames[0].shape[0] - 30
    assert band > 0 and all(frame.shape == (30 + band, 90, 3) for frame in frames)
    for frame, shade in zip(frames, shades):
        assert abs(frame[band:].astype(int) - shade).max() <= 3
        assert frame[0, 0].tolist() == [255] * 3 and frame[:band].min() < 100
    assert len({frame[:band].tobytes() for frame in frames}) == 4, "a caption of its own for each"


def test_gif_of_one_frame_and_of_a_grid_with_a_channel_axis(tmp_path):
    dcgan.save_gif([dcgan.make_grid(numbered(4, 20))], tmp_path / "a.gif", captions=["epoch 0"])
    with Image.open(tmp_path / "a.gif") as gif:
        assert getattr(gif, "n_frames", 1) == 1 and gif.width == 4 * 22 + 2 + 4 * 22


def test_failed_write_keeps_the_earlier_gif_and_no_half_of_a_new_one(tmp_path, monkeypatch):
    (tmp_path / "a.gif").write_bytes(b"earlier")

    def full_disk(path, *_, **__):
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(dcgan.imageio, "imwrite", full_disk)
    with pytest.raises(OSError, match="No space left on device"):
        dcgan.save_gif([np.zeros((9, 9), np.uint8)], tmp_path / "a.gif", captions=["a"])
    assert [path.name for path in tmp_path.iterdir()] == ["a.gif"] and (tmp_path / "a.gif").read_bytes() == b"earlier"


@pytest.mark.parametrize("channels", [1, 3])
def test_plot_images_shows_each_on_the_scale_from_0_to_255(channels):
    figure = dcgan.plot_images(numbered(5, channels=channels), titles=list("abcde"), columns=3, title="Five")
    shown = [axis.images[0] for axis in figure.axes if axis.images]
    assert isinstance(figure, plt.Figure) and len(figure.axes) == 6 and len(shown) == 5
    assert [int(picture.get_array().max()) for picture in shown] == [1, 2, 3, 4, 5]
    assert {picture.get_clim() for picture in shown} == {(0, 255)}
    assert [axis.get_title() for axis in figure.axes] == [*"abcde", ""] and figure.get_suptitle() == "Five"
    assert not any(axis.get_frame_on() or len(axis.get_xticks()) for axis in figure.axes)


def test_plot_history_draws_every_curve_against_the_epochs(history):
    figure = dcgan.plot_history(history)
    losses, accuracies, means, distances = figure.axes
    for axis, names in ((losses, ["d_loss", "g_loss"]),
                        (accuracies, ["d_real_accuracy", "d_fake_accuracy", "g_accuracy"]),
                        (means, ["d_real_mean", "d_fake_mean"])):
        curves = {line.get_label(): line for line in axis.lines}
        for name in names:
            assert curves[name].get_xdata().tolist() == [1, 2]
            assert curves[name].get_ydata().tolist() == history[name].tolist()
        assert len(axis.lines) == len(names) + 1
        assert axis.get_xlabel() == "epoch" and axis.get_ylabel() and axis.get_title() and axis.get_legend()
    assert losses.lines[-1].get_ydata()[0] == pytest.approx(2 * math.log(2))
    assert accuracies.get_ylim() == means.get_ylim() == (0, 1)
    curve, = distances.lines
    assert (curve.get_xdata().tolist(), curve.get_ydata().tolist()) == ([2], [0.1234567890123456]), "where measured"
    assert distances.get_xlabel() == "epoch" and distances.get_ylabel() == "Frechet distance"
    assert len(dcgan.plot_history(history[:1]).axes) == 3, "no distance was measured in the first epoch"


def test_images_of_a_generator_are_made_in_inference_mode_from_the_noise_of_a_seed_whatever_the_batches(make_nets):
    generator, _ = make_nets()
    generator.set_weights([weights * 20 for weights in generator.get_weights()])
    images = dcgan.generate_images(generator, 1100, seed=3)
    at_once = dcgan.to_uint8(generator(dcgan.make_noise(1100, 8, seed=3), training=False))
    assert images.shape == at_once.shape and images.dtype == np.uint8
    assert np.ptp(images) > 20 and abs(images.astype(int) - at_once).max() <= 1 and (images != at_once).mean() < 1e-3
