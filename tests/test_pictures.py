"""Figures of runs and experiments."""

import imageio.v3 as imageio
import numpy as np
import pandas as pd
import pytest

from lab import comparisons, experiments, pictures, runs
from train_small import finished_run


def test_curves_are_a_panel_a_metric_a_colour_an_experiment_and_a_line_a_seed(group, whole_group):
    results = whole_group[1]
    figure = pictures.plot_experiments(results)
    assert [axis.get_title() for axis in figure.axes] == ["frechet_distance", "d_loss", "g_loss"]
    assert [axis.get_yscale() for axis in figure.axes] == ["log", "linear", "linear"]
    order = [("slow", 0), ("slow", 1), ("base", 0), ("base", 1)]
    for axis in figure.axes:
        assert [line.get_color() for line in axis.lines] == ["C0", "C0", "C1", "C1"]
        for line, (name, seed) in zip(axis.lines, order, strict=True):
            history = runs.load_history(group / f"{name}-seed{seed}")
            np.testing.assert_array_equal(line.get_xdata(), [1, 2])
            np.testing.assert_array_equal(line.get_ydata(), history[axis.get_title()])
    assert [text.get_text() for text in figure.axes[0].get_legend().get_texts()] == ["slow", "base"]
    assert len(pictures.plot_experiments(results[results.seed == 1], metrics=["diversity"]).axes[0].lines) == 2


def test_curves_leave_out_what_was_not_measured(outputs):
    finished_run(outputs, "a", 0, [None, 3.0, None, 2.0], group="g")
    figure = pictures.plot_experiments(experiments.load_experiments("g"), group="g")
    assert figure.axes[0].lines[0].get_xdata().tolist() == [2, 4]
    assert figure.axes[1].lines[0].get_xdata().tolist() == [1, 2, 3, 4]


def test_grids_are_the_first_images_of_each_experiment_with_its_distance(group, whole_group):
    results = whole_group[1]
    before = imageio.imread(group / "base-seed1" / "grids" / "epoch_0002.png")
    imageio.imwrite(group / "base-seed1" / "grids" / "epoch_0010.png", before // 2)
    figure = pictures.plot_grids(results, seed=1)
    distances = results[results.seed == 1].frechet_distance.tolist()
    assert [axis.get_title() for axis in figure.axes] == [f"slow\n{distances[0]:.1f}", f"base\n{distances[1]:.1f}"]
    shown = [axis.images[0].get_array() for axis in figure.axes]
    slow = imageio.imread(group / "slow-seed1" / "grids" / "epoch_0002.png")
    np.testing.assert_array_equal(shown[0], slow[:74, :74])
    np.testing.assert_array_equal(shown[1], before[:74, :74] // 2)
    assert len(pictures.plot_grids(results, columns=1).axes) == 2
    with pytest.raises(ValueError, match=r"no run of seed 7 among the results; there are \[0, 1\]"):
        pictures.plot_grids(results, seed=7)


def test_forest_shows_each_ratio_with_its_interval_and_its_seeds():
    distances = {"base": [10, 11, 12], "far": [40, 45, 46], "alike": [10, 11.5, 11], "alone": [30.0]}
    results = pd.DataFrame([{"experiment": name, "seed": seed, "frechet_distance": value, "recall": 0.5}
                            for name, values in distances.items() for seed, value in enumerate(values)])
    table = comparisons.compare_experiments(results, {"alike": "base", "alone": "far", "far": "base"})
    axis = pictures.plot_forest(table, results).axes[0]
    assert [label.get_text() for label in axis.get_yticklabels()] == ["far", "alike", "alone (beside far)"]
    interval, ratio, seeds = axis.lines[:3]
    np.testing.assert_allclose(interval.get_xdata(), table.loc["far", ["low", "high"]].astype(float))
    np.testing.assert_allclose(ratio.get_xdata(), table.ratio["far"])
    np.testing.assert_allclose(seeds.get_xdata(), [4, 45 / 11, 46 / 12])
    assert [line.get_color() for line in axis.lines[:9:3]] == ["tab:red", "grey", "grey"]
    assert axis.get_xscale() == "log"


def test_strips_show_the_first_eight_images_of_each_run_by_name_and_seed(outputs, tmp_path):
    for shade, (name, seed) in enumerate([("a", 0), ("a", 1), ("b", 1)]):
        folder = finished_run(outputs, name, seed, [1.0, 2.0], group="g") / "grids"
        folder.mkdir()
        grid = np.full((8 * 10 + 2, 8 * 10 + 2), 50 * (shade + 1), np.uint8)
        grid[10:] = 255  # what lies below the first row
        imageio.imwrite(folder / "epoch_0010.png", grid)
        imageio.imwrite(folder / "epoch_0002.png", 255 - grid)
    results = experiments.load_experiments("g")
    pictures.save_strips(results, tmp_path / "strips.png", group="g")
    assert imageio.imread(tmp_path / "strips.png").shape == (30, 82)
    figure = pictures.plot_strips(results, tmp_path / "strips.png", ["b", "a"], seeds=(0, 1))
    shown = [int(axis.images[0].get_array().max()) if axis.images else None for axis in figure.axes]
    assert shown == [None, 150 // 17 * 17, 50 // 17 * 17, 100 // 17 * 17]
    assert figure.axes[1].get_title() == "b, seed 1: 50.0"


def test_plot_epochs_shows_the_grids_asked_for_in_their_order(tmp_path):
    (tmp_path / "grids").mkdir()
    for epoch in (0, 3, 12):
        imageio.imwrite(tmp_path / "grids" / f"epoch_{epoch:04d}.png", np.full((9, 9), 10 + epoch, np.uint8))
    figure = pictures.plot_epochs(tmp_path, [12, 0])
    shown = [axis.images[0] for axis in figure.axes]
    assert [axis.get_title() for axis in figure.axes] == ["epoch 12", "epoch 0"]
    assert [int(picture.get_array().max()) for picture in shown] == [22, 10]
    assert {picture.get_clim() for picture in shown} == {(0, 255)}
    with pytest.raises(FileNotFoundError):
        pictures.plot_epochs(tmp_path, [1])


@pytest.mark.parametrize("steps, last, titles", [
    ([16, 32, 512], 12, ["untrained", "step 16", "step 32", "step 512", "epoch 1", "epoch 5", "epoch 8", "epoch 12"]),
    ([], 2, ["untrained", "epoch 1", "epoch 2"]), (range(3, 15), 3, ["untrained", *(f"step {i}" for i in range(3, 15)),
                                                                     "epoch 1"])])
def test_film_strip_goes_from_untrained_through_the_steps_to_the_last_epoch(steps, last, titles, tmp_path):
    (tmp_path / "grids").mkdir()
    names = [f"epoch_{epoch:04d}" for epoch in range(last + 1)] + [f"step_{step:04d}" for step in steps]
    for level, name in enumerate(names):
        imageio.imwrite(tmp_path / "grids" / f"{name}.png", np.full((66, 66), level, np.uint8))
    figure = pictures.plot_film_strip(tmp_path, count=8)
    shown = {axis.get_title(): axis.images[0].get_array() for axis in figure.axes if axis.images}
    assert list(shown) == titles and {grid.shape for grid in shown.values()} == {(34, 34)}
    for title, grid in shown.items():
        kind, _, number = title.partition(" ")
        name = f"epoch_{int(number or 0):04d}" if kind != "step" else f"step_{int(number):04d}"
        assert grid.max() == names.index(name)


@pytest.mark.parametrize("which", [0, 1])
def test_plot_architecture_names_every_shape_and_counts_the_parameters(which, make_nets):
    model = make_nets()[which]
    figure = pictures.plot_architecture(model)
    texts = [text.get_text() for text in figure.axes[0].texts]
    shapes = {tuple(model.input_shape[1:])} | {tuple(layer.output.shape[1:]) for layer in model.layers}
    assert {" x ".join(map(str, shape)) for shape in shapes} <= set(texts)
    assert f"{model.count_params():,}" in figure.axes[0].get_title()


def test_balls_reach_to_the_neighbour_and_titles_say_the_measures():
    real, generated = np.array([[0.0, 0], [1, 0], [3, 0]]), np.array([[0.5, 0], [9, 0], [9.5, 0]])
    figure = pictures.plot_balls(real, generated, neighbours=1)
    assert [axis.get_title().split("\n")[0] for axis in figure.axes] == [
        "precision: 0.33", "recall: 1.00", "coverage: 0.67"]
    radii = [[circle.radius for circle in axis.patches] for axis in figure.axes]
    assert radii == [[1, 1, 2], [8.5, 0.5, 0.5], [1, 1, 2]]
    assert [tuple(circle.center) for circle in figure.axes[1].patches] == [tuple(point) for point in generated]


def test_table_shows_each_number_in_its_place_and_the_colour_of_worse():
    values = pd.DataFrame({"a_b": [1.234, 2], "c": [3, 4000]}, index=["one", "two"])
    axis, bar = pictures.plot_table(values, values - 3, title="which?", label="units").axes
    assert {text.get_position(): text.get_text() for text in axis.texts} == {
        (0, 0): "1.23", (1, 0): "3.00", (0, 1): "2.00", (1, 1): "4,000.00"}
    assert [label.get_text() for label in axis.get_xticklabels()] == ["a b", "c"]
    assert [label.get_text() for label in axis.get_yticklabels()] == ["one", "two"]
    np.testing.assert_array_equal(axis.images[0].get_array(), values - 3)
    assert (axis.get_title(), bar.get_ylabel()) == ("which?", "units")


def test_confusions_are_shares_of_a_row_and_those_below_a_half_per_cent_are_not_written():
    counts = np.array([[996, 4, 0], [50, 950, 0], [0, 0, 0]])
    figure = pictures.plot_confusions({"first": counts, "second": counts.T}, ["a", "b", "Trouser"])
    first, second = figure.axes
    assert [axis.get_title() for axis in figure.axes] == ["first", "second"]
    assert {text.get_position(): text.get_text() for text in first.texts} == {
        (0, 0): "100", (0, 1): "5", (1, 1): "95"}
    assert [label.get_text() for label in first.get_yticklabels()] == ["a", "b", "Trouser"]
    assert (first.get_ylabel(), second.get_ylabel(), second.get_xlabel()) == ("asked for", "", "seen as")
    shares = np.array([[0.996, 0.004, 0], [0.05, 0.95, 0], [0, 0, 0]])
    np.testing.assert_allclose(first.images[0].get_array(), shares ** 0.3)
