"""`make gallery`: samples of finished runs on one page, `outputs/gallery.png`, each with the settings that made it.

A panel is the grid of one epoch. All numbers of its caption are read from the run's folder: `config.json`,
`metrics.csv` and, if it was an experiment, `experiment.json`. A panel whose run is not there says which command makes
it. `make gallery RUNS="my-run another"` writes a page of runs of your own, `outputs/own_gallery.png`. The captions
are kept in the picture as text, too.
"""

import dataclasses
import inspect
import json
import math
import shlex
import sys
import textwrap

import imageio.v3 as imageio
import matplotlib
import matplotlib.pyplot as plt

import dcgan_utils as dcgan
from lab.commands.arguments import given, run_names
from lab.files import OUTPUTS, grid_path, shown_path
from lab.runs import load_history, train

NOTEBOOK = "make notebooks NOTEBOOKS=notebooks/{}.ipynb"
FAILURES = NOTEBOOK.format("06a_all_experiments")


@dataclasses.dataclass
class Panel:
    """A run folder below `outputs/`, what is to be seen, the command that makes it, and the epoch shown.

    `comparable` is False where the run's distance cannot be compared with the others', so that it is left out.
    """

    folder: str
    title: str
    command: str
    epoch: str = "last"  # or "best", by the distance in training
    comparable: bool = True


PANELS = (
    Panel("mnist", "Digits: MNIST", "make train"),
    Panel("fashion_mnist", "Clothes: Fashion-MNIST", "make train DATASET=fashion_mnist"),
    Panel("svhn", "Colour: house numbers, SVHN", "make train DATASET=svhn"),
    Panel("experiments/collapse-seed0", "Failure: mode collapse", FAILURES),
    Panel("experiments/collapse cured-seed0", "Its cure: minibatch statistics", FAILURES),
    Panel("experiments/overpowered-seed0", "Failure: the discriminator wins at once", FAILURES),
    Panel("experiments/wrongly scaled-seed0", "Failure: images scaled from 0 to 1", FAILURES, comparable=False),
    Panel("experiments/late decay-seed0", "Before a late decay: its best epoch", FAILURES, "best"),
    Panel("experiments/late decay-seed0", "Failure: late decay, the last epoch", FAILURES),
)


def changed_settings(run_dir, config):
    """What differs from the defaults of `train` and of the nets' builders, as `name value` strings."""
    used, defaults = config["settings"], train.__kwdefaults__
    expected = {**defaults, "losses": [loss.__name__ for loss in defaults["losses"]],
                "generator_learning_rate": used["learning_rate"]}
    names = [name for name in used if name in expected and name not in ("seed", "picture_every", "measuring_net")]
    changed = [f"{name} {used[name]}" for name in names if used[name] != expected[name]]
    experiment = run_dir / "experiment.json"
    if experiment.exists():
        settings = json.loads(experiment.read_text(encoding="utf-8"))["settings"]
        for net, letter in (("generator", "G"), ("discriminator", "D")):
            builder = settings[f"build_{net}"]
            ours = builder == f"build_{net}"
            defaults = inspect.signature(getattr(dcgan, builder)).parameters if ours else {}
            changed += [] if ours else [f"{letter}: {builder}"]
            changed += [f"{letter}: {name} {value}" for name, value in settings[net].items()
                        if name not in defaults or defaults[name].default != value]
    return changed


def caption_and_grid(panel, outputs):
    """The caption's lines and the pixels `(height, width[, 3])` of a panel.

    Raises:
        FileNotFoundError: the run is not there, or not finished.
    """
    run_dir = outputs / panel.folder
    last_written = run_dir / ("experiment.json" if "/" in panel.folder else "generator.keras")
    if not last_written.exists():
        raise FileNotFoundError(f"{last_written} is not there: the run is not finished")
    config = json.loads((run_dir / "config.json").read_text(encoding="utf-8"))
    settings, history = config["settings"], load_history(run_dir).set_index("epoch")
    distances = history["frechet_distance"].dropna()
    epoch = distances.idxmin() if panel.epoch == "best" and len(distances) else history.index[-1]
    height, width, channels = settings["data"]["image_shape"]
    weights = [f"{settings[net]['parameters']:,}" for net in ("generator", "discriminator")]
    changed = changed_settings(run_dir, config)
    lines = [f"{settings['data']['count']:,} images of {height} x {width} x {channels}, {config['source']}",
             f"seed {settings['seed']}, epoch {epoch} of {config['epochs']}, weights: G {weights[0]}, D {weights[1]}",
             "changed: " + ", ".join(changed) if changed else "default settings"]
    if not panel.comparable:
        lines.append("no distance here: these pixels have another range")
    elif epoch in distances:
        floor = config["frechet_distance"]["real_against_real"]
        lines.append(f"Fréchet distance to these {distances[epoch]:.2f}, among these {floor:.2f} "
                     f"({settings['measuring_net']})")
    else:
        lines.append("no distance measured")
    return lines, imageio.imread(grid_path(run_dir, epoch))


def draw(panels, outputs=OUTPUTS):
    """Figure of all panels, their captions as text, and the missing ones as `folder: command` lines."""
    columns = min(3, len(panels))
    rows = math.ceil(len(panels) / columns)
    figure, axes = plt.subplots(rows, columns, squeeze=False, layout="constrained",
                                figsize=(3.5 * columns, 4.65 * rows))
    captions, missing = [], []
    for axis in axes.flat:
        axis.set(xticks=[], yticks=[], frame_on=False)
    for axis, panel in zip(axes.flat, panels):
        try:
            lines, grid = caption_and_grid(panel, outputs)
            axis.imshow(grid, cmap="gray", vmin=0, vmax=255)
        except FileNotFoundError:
            lines = [f"not there, or not finished: outputs/{panel.folder}", f"made by: {panel.command}"]
            missing.append(f"outputs/{panel.folder}: {panel.command}")
            axis.set(aspect="equal", frame_on=True)
        axis.set_title(textwrap.fill(panel.title, 40), loc="left", fontsize=10, weight="bold")
        axis.set_xlabel("\n".join(textwrap.fill(line, 62) for line in lines), loc="left", fontsize=7.5, linespacing=1.3)
        captions.append("\n".join([panel.title, *lines]))
    return figure, "\n\n".join(captions), list(dict.fromkeys(missing))


def main(panels=PANELS, outputs=OUTPUTS, name="gallery.png"):
    figure, captions, missing = draw(panels, outputs)
    if len(missing) == len({panel.folder for panel in panels}):
        sys.exit("\n".join(["No finished run is there yet, so no gallery was written. What makes the runs:", *missing]))
    figure.savefig(outputs / name, dpi=110, metadata={"Description": captions, "Software": None})
    print(f"{shown_path(outputs / name)}: {len(panels)} panels, {(outputs / name).stat().st_size:,} bytes")
    if missing:
        print("\n".join(["Not there, or not finished, and what makes it:", *missing]))


if __name__ == "__main__":
    matplotlib.use("Agg")
    own = [Panel(run, run, f"make train RUN={shlex.quote(run)}") for run in run_names(given(sys.argv[1:]))]
    main(own, name="own_gallery.png") if own else main()
