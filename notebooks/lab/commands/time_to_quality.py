"""How much sooner the default run reaches the distances of the TensorFlow tutorial: a table and a figure of curves."""

import math
import subprocess

import matplotlib.pyplot as plt
import pandas as pd

from lab.commands.contestants import COUNT
from lab.commands.curves import SEEDS, load_curve, train_curves
from lab.commands.tables import print_ratio
from lab.files import OUTPUTS

MILESTONES = (5, 10, 20, 50)  # epochs after which the tutorial's distance is one to reach


def time_to_quality(curves, epoch_seconds):
    """Seconds until each first reaches the tutorial's distances, and a tenth of its last.

    Args:
        curves: columns nets, seed, epoch, images, frechet_distance.
        epoch_seconds: of 60,000 images, by nets.

    Returns:
        A row a distance: the mean of the tutorial's seeds after each of `MILESTONES` that all of them have come to.
        A seed's seconds are those of its first measured point at or below the distance: `NETS_seconds` their mean,
        `NETS_low` the fastest seed's, `NETS_high` the slowest's. `NETS_missed` counts the seeds that never come so low
        and stand in the mean with the length of their curve; the tutorial's seconds are then a lower bound, and so
        is `ratio`, its seconds over ours. `ratio` is NaN if one of ours misses.
    """
    curves = curves.assign(seconds=curves.images / COUNT * curves.nets.map(epoch_seconds))
    theirs = curves[curves.nets == "tutorial"].pivot(index="epoch", columns="seed", values="frechet_distance")
    means = theirs.dropna().mean(axis=1)
    distances = {f"tutorial's after {epoch} epochs": means[epoch] for epoch in MILESTONES if epoch in means.index}
    if MILESTONES[-1] in means.index:
        distances[f"a tenth of that after {MILESTONES[-1]}"] = means[MILESTONES[-1]] / 10
    rows = []
    for text, distance in distances.items():
        row = {"reached": text, "frechet_distance": distance}
        for nets in ("tutorial", "default"):
            own = curves[curves.nets == nets]
            ends = own.groupby("seed").seconds.max()
            times = own[own.frechet_distance <= distance].groupby("seed").seconds.min().reindex(ends.index)
            seconds = times.fillna(ends)
            row |= {f"{nets}_seconds": seconds.mean(), f"{nets}_low": seconds.min(), f"{nets}_high": seconds.max(),
                    f"{nets}_missed": int(times.isna().sum())}
        row["ratio"] = math.nan if row["default_missed"] else row["tutorial_seconds"] / row["default_seconds"]
        rows.append(row)
    return pd.DataFrame(rows)


def print_time_to_quality(table, compiling=0.0):
    print("\nTime to quality on MNIST: seconds until a Frechet distance is first reached, mean over the seeds (fastest "
          f"to slowest)\n  {'':34}{'distance':>9}{'tutorial':>24}{'default':>22}{'ratio':>8}")
    for row in table.to_dict("records"):
        ratio = "-" if row["default_missed"] else f"{'>' if row['tutorial_missed'] else ''}{row['ratio']:.0f}"
        print(f"  {row['reached']:34}{row['frechet_distance']:>9.2f}{cell(row, 'tutorial', 0):>24}"
              f"{cell(row, 'default', 1):>22}{ratio:>8}")
    if table.reached.iloc[-1].startswith("a tenth"):
        last, tenth = table.iloc[-2], table.iloc[-1]
        within = math.inf if tenth.default_missed else tenth.default_seconds / last.tutorial_seconds
        print_ratio(f"the {last.reached}, sooner by", last.ratio, "at least 50" if compiling else "at least 200")
        if compiling and not last.default_missed:
            print_ratio(f"the same, {compiling:.0f} s for compiling counted",
                        last.tutorial_seconds / (last.default_seconds + compiling), "above 1")
        print_ratio("a tenth of it, within this share of the same time", within, "at most 0.05")


def cell(row, nets, digits):
    mean, low, high = (f"{row[f'{nets}_{name}']:.{digits}f}" for name in ("seconds", "low", "high"))
    return (">" if row[f"{nets}_missed"] else "") + (f"{mean} ({low} to {high})" if low != high else mean)


def plot_time_to_quality(curves, table, epoch_seconds):
    """A figure of the distance against the seconds of training, a line a seed."""
    figure, axis = plt.subplots(figsize=(8.5, 4.5), layout="constrained")
    texts = {"default": "default nets, train()", "tutorial": "TensorFlow tutorial's nets and settings"}
    for colour, (nets, text) in zip(("C0", "C1"), texts.items()):
        for seed, curve in curves[curves.nets == nets].groupby("seed"):
            axis.plot(curve.images / COUNT * epoch_seconds[nets], curve.frechet_distance, color=colour, linewidth=0.9,
                      label=text if seed == 0 else None)
    for row in table.itertuples():
        axis.axhline(row.frechet_distance, color="grey", linestyle=":", linewidth=0.9)
        axis.annotate(row.reached, (1.01, row.frechet_distance), xycoords=("axes fraction", "data"), fontsize=8,
                      color="dimgrey", va="center")
    axis.set(xscale="log", yscale="log", xlabel="seconds of training", ylabel="Frechet distance, 10,000 images")
    axis.legend(loc="lower left")
    return figure


def compare_quality(epoch_seconds, epochs, compiling=0.0):
    """Train the curves that are missing, print the table and write it, the curves and the figure to `outputs/`.

    `compiling` are the seconds that a run of ours spends on compiling before its first step.
    """
    wanted = [(nets, seed, epochs[nets]) for nets in epochs for seed in SEEDS]
    try:
        train_curves([job for job in wanted if not load_curve(*job[:2])["epoch"].max() >= job[2]])
    except subprocess.CalledProcessError:
        print("\nNo time to quality: a curve could not be trained; the reason stands above.")
        return
    curves = pd.concat([load_curve(nets, seed).assign(nets=nets, seed=seed) for nets, seed, _ in wanted])
    table = time_to_quality(curves, epoch_seconds)
    print_time_to_quality(table, compiling)
    table.round(4).to_csv(OUTPUTS / "time_to_quality.csv", index=False)
    curves[["nets", "seed", "epoch", "images", "frechet_distance"]].to_csv(OUTPUTS / "curves.csv", index=False)
    plot_time_to_quality(curves, table, epoch_seconds).savefig(OUTPUTS / "time_to_quality.png", dpi=130)
