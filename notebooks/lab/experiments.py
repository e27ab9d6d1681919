"""Experiments: `train` with other settings, from several seeds, side by side and resumable; used from 06 on."""

import contextlib
import inspect
import json
import math
import re

import keras
import numpy as np
import pandas as pd

from dcgan_utils import build_discriminator, build_generator, generate_images
from lab import runs
from lab.conditional import draw_labels, is_conditional
from lab.datasets import as_dataset, default_epochs
from lab.files import readable, run_folder, shown_path, smoke_mode, write_json
from lab.measures import class_shares
from lab.measuring_net import evaluate, load_measuring_net
from lab.overfitting import begun
from lab.processes import side_by_side
from lab.settings import check_settings, differences, fingerprint, name_of, other_images

SETTINGS = {"build_generator", "build_discriminator", "generator", "discriminator", "epochs", "batch_size",
            "learning_rate", "generator_learning_rate", "decay_epochs", "beta_1", "beta_2", "averaging",
            "losses", "penalty", "generator_every", "discriminator_every", "picture_every"}


class Experiment:
    """A name and the settings that go with it: `Experiment("base", epochs=6).but("slow", learning_rate=1e-4)`.

    Settings are the arguments of `runs.train` that decide what is learned, and four more:

    generator, discriminator: dicts of options for `build_generator` and `build_discriminator`, such as `{"width": 8}`.
    build_generator, build_discriminator: functions to use in their place, called as `build(image_shape, seed=seed,
        **options)`. One that takes `**options` takes those of the usual function, too.

    What is not set has its default.
    """

    def __init__(self, name, **settings):
        if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9 ._-]*", name):
            raise ValueError(f"the name {name!r} of an experiment becomes a folder: letters of A to Z, digits, spaces, "
                             "'.', '_' and '-' are allowed, the first one a letter or a digit.")
        _check_names(f"experiment {name!r}: settings", settings, SETTINGS)
        self.name = name
        self.settings = {"build_generator": build_generator, "build_discriminator": build_discriminator,
                         "generator": {}, "discriminator": {}, **settings}
        for net, plain in (("generator", build_generator), ("discriminator", build_discriminator)):
            if not isinstance(self.settings[net], dict) or not callable(self.settings[f"build_{net}"]):
                raise ValueError(f"experiment {name!r}: {net} is {self.settings[net]!r} and build_{net} "
                                 f"{self.settings[f'build_{net}']!r}; wanted a dict of options and a function.")
            legal = inspect.signature(self.settings[f"build_{net}"]).parameters.keys()
            if "options" in legal:
                legal |= inspect.signature(plain).parameters.keys()
            _check_names(f"experiment {name!r}: options of the {net}", self.settings[net],
                         legal - {"image_shape", "seed", "options"})

    def but(self, name, **changes):
        """The same under another name with these changes.

        Options of a net are added to those that are set; another function to build it begins without any.
        """
        options = {net: {**({} if f"build_{net}" in changes else self.settings[net]), **changes.get(net, {})}
                   for net in ("generator", "discriminator")}
        return Experiment(name, **{**self.settings, **changes, **options})

    def build(self, image_shape, seed):
        """The two nets, `(generator, discriminator)`."""
        return tuple(self.settings[f"build_{net}"](image_shape, seed=seed, **self.settings[net])
                     for net in ("generator", "discriminator"))

    def arguments(self):
        """The settings that are arguments of `train`."""
        return {name: value for name, value in self.settings.items() if name in runs.train.__kwdefaults__}

    def described(self):
        """The settings as JSON can hold them, functions by their names."""
        return json.loads(json.dumps(self.settings, default=lambda value: (
            value.item() if isinstance(value, np.generic) else name_of(value))))


def _check_names(what, given, legal):
    unknown = sorted(set(given) - set(legal))
    if unknown:
        raise ValueError(f"{what} do not have {', '.join(map(repr, unknown))}; legal are {', '.join(sorted(legal))}.")


def run_experiments(experiments, data, *, seeds=(0, 1, 2), group="experiments", reference=None, held_out=None,
                    processes=None):
    """Train every `Experiment` from every seed and measure 5,000 images of each; what is finished is not done again.

    The runs go side by side, see `side_by_side`. Run folders are `outputs/<group>/<name>-seed<seed>/`, and the runs are
    one group in Weights & Biases. A run that was cut off goes on, and so does a finished one whose experiment has more
    epochs now. In smoke mode only the first experiment is trained, from the first seed, for two epochs.

    Args:
        data: a `Dataset`, or a uint8 array `(n, height, width, channels)`.
        seeds: whole numbers from 0; at least three for a claim about quality.
        group: the folder within `outputs/`, and the group's name.
        reference: a `Dataset` or images that are measured against in the place of `data`; `copied` counts against
            `data` all the same.
        held_out: a `Dataset` or images that are not trained on: each run writes `overfitting.csv`, see `Overfitting`,
            and `copied` and `copy_distance` compare generated images with them.
        processes: how many at a time. Each needs about 1 GB of memory. With 1 a run is made on all cores, where sums
            may round differently than on one core.

    Returns:
        The rows of `load_experiments(group)` that belong to these experiments, in their order.

    Raises:
        ValueError: an illegal argument, a name used twice, or a finished run of this name that has other settings.
        RuntimeError: a process was killed, by a lack of memory for instance.
    """
    data, experiments, seeds, folder = as_dataset(data), list(experiments), list(seeds), run_folder(group)
    images = {"data": data, **other_images(data, reference=reference, held_out=held_out)}
    if not all(isinstance(experiment, Experiment) for experiment in experiments):
        raise ValueError(f"experiments is {experiments!r}; wanted a list of Experiment(name, ...).")
    names = [experiment.name for experiment in experiments]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice or not names:
        raise ValueError(f"experiments named twice: {', '.join(twice)}; give each a name of its own." if twice else
                         "there are no experiments; give a list of Experiment(name, ...).")
    whole = all(isinstance(seed, (int, np.integer)) and not isinstance(seed, bool) for seed in seeds)
    if not seeds or not whole or min(seeds) < 0 or len(set(seeds)) < len(seeds):
        raise ValueError(f"seeds are {seeds}; wanted different whole numbers from 0, such as (0, 1, 2).")
    if smoke_mode():
        experiments, seeds = [experiment.but(experiment.name, epochs=2) for experiment in experiments[:1]], seeds[:1]
    jobs = []
    for experiment in experiments:
        todo = [seed for seed in seeds if not _finished(experiment, seed, images, folder)]
        if todo:
            arguments = experiment.arguments()
            defaults = runs.train.__kwdefaults__
            check_settings(len(data.images), **{"batch_size": defaults["batch_size"]} | {
                name: value for name, value in arguments.items() if value is not defaults[name]})
            _, discriminator = experiment.build(data.image_shape, todo[0])  # an illegal option shows before anything
            begun(arguments.get("losses", defaults["losses"])[0], discriminator)  # is trained, and so do these
        jobs += [(experiment, seed, images, folder) for seed in todo]
    print(f"{shown_path(folder)}: {len(experiments) * len(seeds) - len(jobs)} runs are finished, {len(jobs)} to do.")
    folders = [experiment_folder(folder, experiment.name, seed) for experiment, seed, *_ in jobs]
    total = sum(_epochs_of(experiment, data) for experiment, *_ in jobs)
    side_by_side(_run_experiment, jobs, total=total, done=lambda: sum(map(epochs_done, folders)), unit="epoch",
                 processes=processes)
    results = load_experiments(group)
    results = results[results.experiment.isin(names)]
    return results.sort_values("experiment", key=lambda rows: rows.map(names.index), kind="stable", ignore_index=True)


def experiment_folder(group, name, seed):
    """The folder of one run of an experiment, within the folder of its group."""
    return group / f"{name}-seed{seed}"


def _finished(experiment, seed, images, folder):
    """Is there a finished run of this name? One of other settings is refused."""
    path = experiment_folder(folder, experiment.name, seed) / "experiment.json"
    if not path.exists():
        return False
    before, now = json.loads(path.read_text(encoding="utf-8"))["settings"], _job_settings(experiment, images)
    epochs_before, epochs_now = before.pop("epochs"), now.pop("epochs")
    different = differences(before, now, "default")
    if epochs_now < epochs_before:
        different.append(f"  epochs: {epochs_before} in that run, only {epochs_now} now")
    if different:
        raise ValueError(f"{shown_path(path.parent)} holds a run named {experiment.name!r} with other settings:\n"
                         + "\n".join(different) + "\nGive the experiment another name, or delete that folder.")
    return epochs_now == epochs_before


def _job_settings(experiment, images):
    return {**experiment.described(), "epochs": _epochs_of(experiment, images["data"]),
            **{name: fingerprint(some) for name, some in images.items()}}


def _epochs_of(experiment, data):
    return experiment.settings.get("epochs") or default_epochs(len(data.images))


def load_generator(name, seed, *, group="experiments", last=False):
    """The averaged generator of an experiment's run: of its best epoch, or, where none was measured, of the last.

    With `last` it is the last epoch's in any case, which is the one that is measured.
    """
    file = "generator_last.keras" if last else "generator.keras"
    return keras.models.load_model(experiment_folder(run_folder(group), name, seed) / file)


def epochs_done(run_dir):
    """How many epochs stand in `metrics.csv`; 0 before it is there."""
    path = run_dir / "metrics.csv"
    return max(0, path.read_text(encoding="utf-8").count("\n") - 1) if path.exists() else 0


def _run_experiment(experiment, seed, images, folder):
    """Train one experiment from one seed, measure it, and write `experiment.json`, which says that it is finished."""
    run_dir, data = experiment_folder(folder, experiment.name, seed), images["data"]
    row, diverged = {"experiment": experiment.name, "seed": seed}, ""
    try:
        runs.train(*experiment.build(data.image_shape, seed), run_dir=run_dir, seed=seed, wandb_group=folder.name,
                   **images, **experiment.arguments())
    except FloatingPointError as error:
        diverged = str(error)
    with contextlib.suppress(LookupError, FileNotFoundError):
        net, real = _real_features(images)
        generator = keras.models.load_model(run_dir / "generator_last.keras")
        count = min(5000, len(real.get("reference", real["data"])))
        labels = data.labels if is_conditional(generator) else None
        labels = draw_labels(labels, count, seed=1000 + seed)
        features = net.features(generate_images(generator, count, seed=1000 + seed, labels=labels))
        shares = class_shares(net.probabilities(features))
        row |= dict(evaluate(net, features, real["data"], real.get("held_out"), real.get("reference")))
        row["modes"] = int((shares >= 0.1 / len(shares)).sum())
    row |= {"diverged": diverged, "settings": _job_settings(experiment, images)}
    write_json(run_dir / "experiment.json", row)


_FEATURES = {}


def _real_features(images):
    """The measuring net of the real images and its features of each set, kept for the next run of the same process."""
    key = tuple((name, fingerprint(some)["sha256"]) for name, some in images.items())
    if key not in _FEATURES:
        net = load_measuring_net(images.get("reference", images["data"]))
        _FEATURES.clear()
        _FEATURES[key] = net, {name: net.features(some.images) for name, some in images.items()}
    return _FEATURES[key]


def load_experiments(group="experiments"):
    """All finished runs of a group, from their folders alone: a pandas DataFrame, one row a run.

    Columns: experiment, seed; the measures of `evaluate` for the last epoch's averaged generator; modes, the number of
    classes with at least a tenth of their share; epochs, seconds (of training), best_epoch and best_distance (by the
    distance in training), last_distance, d_loss and g_loss (of the last epoch), diverged (why it stopped, or empty).
    Without a finished run, a FileNotFoundError.
    """
    rows, folder = [], run_folder(group)
    for path in sorted(folder.glob("*/experiment.json")):
        measures = dict.fromkeys(("frechet_distance", "kid", "recall", "class_imbalance"), math.nan)
        with readable(shown_path(path)):
            row = measures | json.loads(path.read_text(encoding="utf-8"))
        history = runs.load_history(path.parent)
        distances = history.set_index("epoch")["frechet_distance"].dropna()
        row |= {"epochs": len(history), "seconds": history["seconds"].sum()}
        if len(history):
            row |= {name: history[name].iloc[-1] for name in ("d_loss", "g_loss")}
        if len(distances):
            row |= {"best_epoch": distances.idxmin(), "best_distance": distances.min(),
                    "last_distance": distances.iloc[-1]}
        rows.append({name: value for name, value in row.items() if name != "settings"})
    if not rows:
        raise FileNotFoundError(f"{shown_path(folder)}: there is no finished run; run_experiments makes some.")
    return pd.DataFrame(rows).sort_values(["experiment", "seed"], ignore_index=True)
