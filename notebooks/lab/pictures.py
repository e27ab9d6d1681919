"""Figures: drawings of nets (02, 03), film strips of a run (04), measures (05), runs (06 on), confusions (12)."""

import itertools
import math
from pathlib import Path

import imageio.v3 as imageio
import matplotlib.pyplot as plt
import numpy as np

from dcgan_utils import plot_images
from lab.callbacks import COLUMNS
from lab.comparisons import paired_ratios
from lab.experiments import experiment_folder
from lab.files import epoch_of, grid_path, readable, run_folder, shown_path, step_grids
from lab.measures import manifold_scores
from lab.runs import load_history


def plot_epochs(run_dir, epochs):
    """A figure of a run's grids of these epochs, side by side."""
    grids = [_grid(grid_path(run_dir, epoch)) for epoch in epochs]
    return plot_images(np.stack(grids), titles=[f"epoch {epoch}" for epoch in epochs], columns=len(epochs), size=3.0)


def plot_film_strip(run_dir, count=10):
    """A figure of how a run learned: its grids from before training to the end, the first 4 x 4 images of each.

    Of the epochs as many as fit beside the steps before them, from the first to the last, in two rows.
    """
    early = {f"step {step}": path for step, path in step_grids(run_dir).items()}
    epochs = {epoch_of(path): path for path in sorted((Path(run_dir) / "grids").glob("epoch_*.png"))}
    untrained, *trained = epochs
    kept = np.linspace(0, len(trained) - 1, min(len(trained), max(1, count - 1 - len(early)))).round().astype(int)
    frames = {"untrained": epochs[untrained], **early, **{f"epoch {trained[i]}": epochs[trained[i]] for i in kept}}
    grids = [_first_tiles(_grid(path)) for path in frames.values()]
    return plot_images(np.stack(grids), titles=list(frames), columns=math.ceil(len(grids) / 2), size=1.9)


def _first_tiles(grid):
    """The first 4 x 4 of the 8 x 8 images of a grid."""
    side = (len(grid) - 2) // 2 + 2
    return grid[:side, :side]


def _grid(path):
    """A picture as `_read` gives it, or an error that names the file."""
    with readable(shown_path(path)):
        return _read(path)


def _read(path):
    """A picture, uint8 `(height, width, channels)`."""
    picture = imageio.imread(path)
    return picture.reshape(*picture.shape[:2], -1)


def _last_grid(row, group):
    """The last grid of the run of a row of `load_experiments(group)`, or an error that names its folder."""
    folder = experiment_folder(run_folder(group), row.experiment, row.seed) / "grids"
    with readable(shown_path(folder)):
        return _read(max(folder.glob("epoch_*.png"), key=epoch_of))


def plot_grids(results, *, group="experiments", seed=0, columns=6):
    """A figure with the last grid of each experiment, its first 4 x 4 images, with their distance.

    Of the runs of one seed among the rows of `load_experiments(group)`, with `columns` grids in a row.
    """
    grids, titles = [], []
    for row in results[results.seed == seed].itertuples():
        grids.append(_first_tiles(_last_grid(row, group)))
        titles.append(f"{row.experiment}\n{row.frechet_distance:.1f}")
    if not grids:
        raise ValueError(f"no run of seed {seed} among the results; there are {sorted(set(results.seed))}.")
    return plot_images(np.stack(grids), titles=titles, columns=min(columns, len(grids)), size=1.8)


def save_strips(results, path, *, group="experiments"):
    """Write a picture of the first eight images of each run's last grid, a run a row, in 16 shades to keep it small.

    Of the rows of `load_experiments(group)`, in their order; for `plot_strips`, where the run folders are not.
    """
    strips = []
    for row in results.itertuples():
        grid = _last_grid(row, group)
        strips.append(grid[:(len(grid) - 2) // 8, :len(grid)])  # a conditional run's rows may be longer
    imageio.imwrite(path, np.concatenate(strips).squeeze() // 17 * 17, optimize=True)


def plot_strips(results, path, names, seeds=(0, 1, 2)):
    """A figure of a row an experiment and a column a seed, from what `save_strips` wrote of all `results`."""
    picture = _grid(path)
    height = len(picture) // len(results)
    figure, axes = plt.subplots(len(names), len(seeds), squeeze=False, layout="constrained",
                                figsize=(4.2 * len(seeds), 0.75 * len(names)))
    for (row, column), axis in np.ndenumerate(axes):
        run = results[(results["experiment"] == names[row]) & (results["seed"] == seeds[column])]
        axis.axis("off")
        for place, distance in run["frechet_distance"].items():
            axis.imshow(picture[place * height:(place + 1) * height], cmap="gray", vmin=0, vmax=255)
            axis.set_title(f"{names[row]}, seed {seeds[column]}: {distance:.1f}", fontsize=8, pad=2)
    return figure


def plot_experiments(results, *, group="experiments", metrics=("frechet_distance", "d_loss", "g_loss")):
    """A figure of curves over the epochs, a panel a metric, a colour an experiment and a line a seed.

    Of the runs among the rows of `load_experiments(group)`; `metrics` are columns of their `metrics.csv`.
    """
    if not set(metrics) <= set(COLUMNS):
        raise ValueError(f"metrics is {metrics!r}; wanted columns of metrics.csv: {', '.join(COLUMNS)}.")
    figure, axes = plt.subplots(1, len(metrics), squeeze=False, figsize=(4.3 * len(metrics), 3.4), layout="constrained")
    for number, (name, runs) in enumerate(results.groupby("experiment", sort=False)):
        for row in runs.itertuples():
            history = load_history(experiment_folder(run_folder(group), row.experiment, row.seed))
            for axis, metric in zip(axes[0], metrics):
                measured = history.dropna(subset=metric)
                axis.plot(measured["epoch"], measured[metric], color=f"C{number}", linewidth=1, marker=".",
                          markersize=3, label=name if row.seed == runs.seed.iloc[0] else None)
    for axis, metric in zip(axes[0], metrics):
        axis.set(xlabel="epoch", title=metric, yscale="log" if metric == "frechet_distance" else "linear")
    axes[0, 0].legend(fontsize=7)
    return figure


def plot_forest(table, results):
    """A forest plot: of each experiment the ratio to its base with its interval, and as dots the ratios of its seeds.

    Of a table of `compare_experiments` and the rows that it was made of. Red is worse, blue better, by the controlled
    false discovery rate, and grey that no difference was seen. The axis is logarithmic.
    """
    table = table.dropna(subset="base").sort_values("ratio", ascending=False)
    figure, axis = plt.subplots(figsize=(8, 1 + 0.19 * len(table)), layout="constrained")
    colours = table["verdict"].map({"worse": "tab:red", "better": "tab:blue"}).fillna("grey")
    for y, (row, colour) in enumerate(zip(table.itertuples(), colours)):
        axis.plot([row.low, row.high], [y, y], color=colour, linewidth=2)
        axis.plot(row.ratio, y, "D", color=colour, markersize=5)
        seeds = paired_ratios(results, row.Index, row.base)
        axis.plot(seeds, [y] * len(seeds), "o", color="black", markersize=2.5, alpha=0.7)
    axis.axvline(1, color="black", linewidth=0.8)
    axis.set_xscale("log", base=2)
    low, high = axis.get_xlim()
    axis.set_xticks([ratio for ratio in (0.25, 0.5, 0.7, 0.85, 1, 1.2, 1.5, 2, 3, 4, 6, 8) if low <= ratio <= high])
    axis.xaxis.set_major_formatter("{x:g}")
    axis.minorticks_off()
    others = table["base"].where(table["base"] != "base")
    axis.set_yticks(range(len(table)), [name if base != base else f"{name} (beside {base})"
                                        for name, base in others.items()], fontsize=8)
    axis.set(ylim=(-0.7, len(table) - 0.3), xlabel="times the base's Fréchet distance: ratio, 95 % interval, seeds")
    axis.grid(axis="x", alpha=0.3)
    return figure


def plot_architecture(model):
    """A drawing of a sequential model: a box for each shape, as tall as its side and as deep as its channels."""
    stages = [("input", model.input_shape[1:])]
    for layer in model.layers:
        shape = tuple(layer.output.shape[1:])
        if shape != stages[-1][1]:
            stages.append((layer.name.rstrip("_0123456789"), shape))
    figure, axis = plt.subplots(figsize=(1.7 * len(stages), 3), layout="constrained")
    largest = max((shape[0] for _, shape in stages if len(shape) == 3), default=1)
    for x, (name, shape) in zip(itertools.count(0, 2.0), stages):
        tall, deep = (shape[0] / largest, shape[2]) if len(shape) == 3 else (0.12, shape[0])
        height, width = 0.2 + 1.6 * tall, 0.08 + 0.12 * math.log2(deep + 1)
        slant = 0.12 + 0.35 * tall
        right, below, above = x + width, -height / 2, height / 2
        front = [(x, below), (right, below), (right, above), (x, above)]
        top = [(x, above), (right, above), (right + slant, above + slant), (x + slant, above + slant)]
        side = [(right, below), (right + slant, below + slant), (right + slant, above + slant), (right, above)]
        for polygon, colour in ((front, "#7fa8d9"), (top, "#b9d0ec"), (side, "#5b86bb")):
            axis.add_patch(plt.Polygon(polygon, facecolor=colour, edgecolor="white"))
        axis.text(x + width / 2, -1.25, " x ".join(map(str, shape)), ha="center", fontsize=9)
        axis.text(x + width / 2, -1.5, name.replace("_", " "), ha="center", fontsize=8, color="grey")
    axis.set(xlim=(-0.7, 2 * len(stages) - 0.4), ylim=(-1.7, 1.5), aspect="equal")
    axis.axis("off")
    axis.set_title(f"{model.name}: {model.count_params():,} parameters")
    return figure


def plot_balls(real, generated, *, neighbours):
    """A figure of what precision, recall and coverage count, of two sets of points in the plane, `(n, 2)` each."""
    scores = manifold_scores(real, generated, neighbours=neighbours)
    figure, axes = plt.subplots(1, 3, figsize=(11, 4.2), sharex=True, sharey=True, layout="constrained")
    for axis, name, centres, colour, question in zip(
            axes, ("precision", "recall", "coverage"), (real, generated, real), ("tab:blue", "tab:orange", "tab:blue"),
            ("generated points in a real ball", "real points in a generated ball", "real balls with a generated one")):
        radii = np.sort(np.linalg.norm(centres[:, None] - centres, axis=-1), axis=1)[:, neighbours]
        for centre, radius in zip(centres, radii):
            axis.add_patch(plt.Circle(centre, radius, color=colour, alpha=0.08))
        axis.plot(*real.T, "o", color="tab:blue", markersize=4, label="real")
        axis.plot(*generated.T, "o", color="tab:orange", markersize=4, label="generated")
        axis.set(title=f"{name}: {scores[name]:.2f}\n{question}", aspect="equal", xlabel="feature 1")
    axes[0].set_ylabel("feature 2")
    axes[0].legend()
    return figure


def plot_table(values, worse, *, title, label):
    """A figure of a DataFrame's numbers on colours from `worse`, of the same shape: red above 0, blue below."""
    figure, axis = plt.subplots(figsize=(9, 0.6 + 0.5 * len(values)), layout="constrained")
    picture = axis.imshow(worse, cmap="RdBu_r", vmin=-3, vmax=3, aspect="auto")
    for (row, column), value in np.ndenumerate(values):
        colour = "black" if abs(worse.iloc[row, column]) < 2 else "white"
        axis.text(column, row, f"{value:,.2f}", ha="center", va="center", color=colour)
    axis.set_xticks(range(values.shape[1]), [name.replace("_", " ") for name in values.columns])
    axis.set_yticks(range(len(values)), values.index)
    axis.set_title(title)
    figure.colorbar(picture, label=label)
    return figure


def plot_confusions(confusions, names):
    """A figure of how often each class was seen where each was asked for, a panel a matrix, in per cent of a row.

    `confusions` is a dict by title of counts `(classes, classes)`, a row a class asked for; `names` are the classes'.
    """
    figure, axes = plt.subplots(1, len(confusions), squeeze=False, sharey=True, figsize=(3.4 * len(confusions), 3.9),
                                layout="constrained")
    for axis, (title, counts) in zip(axes[0], confusions.items()):
        shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
        axis.imshow(shares ** 0.3, cmap="Blues", vmin=0, vmax=1)  # so that one in a hundred can be seen
        for (row, column), share in np.ndenumerate(shares):
            if share >= 0.005:
                axis.text(column, row, f"{100 * share:.0f}", ha="center", va="center", fontsize=6,
                          color="white" if share > 0.3 else "black")
        axis.set_xticks(range(len(names)), names, fontsize=8, rotation=90 if max(map(len, names)) > 2 else 0)
        axis.set_yticks(range(len(names)), names, fontsize=8)
        axis.set(title=title, xlabel="seen as")
    axes[0, 0].set_ylabel("asked for")
    return figure
