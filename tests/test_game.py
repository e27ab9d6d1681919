"""The toy of notebook 01 and its drawings."""

import keras
import matplotlib.pyplot as plt
import nbformat
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from matplotlib.quiver import Quiver

import dcgan_utils as dcgan
from conftest import ROOT
from lab import game


@pytest.fixture(autouse=True)
def figures_closed():
    yield
    plt.close("all")


def test_the_drawing_names_both_nets_and_has_a_way_back_for_each():
    axis, = game.plot_game().axes
    assert {"generator G", "discriminator D", "noise", "verdict"} <= {text.get_text() for text in axis.texts}
    arrows = [text.arrow_patch for text in axis.texts if getattr(text, "arrow_patch", None)]
    assert sum(arrow.get_linestyle() == "--" for arrow in arrows) == 2


def right_is_real(points, training):
    return 10 * points[:, :1]


def test_the_field_is_red_where_the_verdict_is_real_and_blue_where_it_is_generated():
    nowhere = np.zeros((0, 2), np.float32)
    frame = game.to_frame(game.plot_field(right_is_real, nowhere, nowhere, nowhere)).astype(int)
    height, width, _ = frame.shape
    left, right = frame[height // 2, width // 8], frame[height // 2, -width // 8]
    assert left[2] > left[0] + 50 and right[0] > right[2] + 50


def test_arrows_point_where_points_are_pushed_and_grow_with_the_push_up_to_a_limit():
    pushes = np.array([[0.01, 0], [0, 1], [-3, -4], [600, 800]], np.float32)
    figure = game.plot_field(right_is_real, np.zeros((1, 2)), np.eye(4, 2, dtype=np.float32), pushes)
    quiver, = [artist for artist in figure.axes[0].collections if isinstance(artist, Quiver)]
    drawn = np.column_stack([quiver.U, quiver.V])
    lengths = np.linalg.norm(drawn, axis=1)
    np.testing.assert_allclose(drawn / lengths[:, None], pushes / np.linalg.norm(pushes, axis=1)[:, None], atol=1e-5)
    assert (np.diff(lengths) > 0).all() and 0.9 * game.LONGEST_ARROW < lengths[-1] <= game.LONGEST_ARROW


def test_a_frame_is_the_figures_pixels_and_closes_it():
    figure = plt.figure(figsize=(2, 1), dpi=50, facecolor=(1, 0, 0))
    frame = game.to_frame(figure)
    assert frame.dtype == np.uint8 and frame.shape == (50, 100, 3) and (frame == [255, 0, 0]).all()
    assert not plt.fignum_exists(figure.number)


def test_the_toy_covers_the_ring_and_collapses_when_the_rates_are_exchanged():
    """What notebook 01 says of its games holds for its three seeds."""
    cells = {cell.id: cell.source for cell in nbformat.read(ROOT / "notebooks" / "01_data.ipynb", as_version=4).cells}
    toy = {"keras": keras, "np": np, "pd": pd, "tf": tf, "SEED": 0, "make_noise": dcgan.make_noise,
           "discriminator_loss": dcgan.discriminator_loss, "generator_loss": dcgan.generator_loss}
    for name in ("toy-points", "toy-nets", "toy-step", "toy-play", "collapse-count"):
        exec(cells[name], toy)
    assert len(toy["counts"]) == 6
    for (rates, _), clusters in toy["counts"].items():
        assert (clusters[-1] == 8) if rates == "G 0.001, D 0.005" else (0 < max(clusters) <= 3), (rates, clusters)
