"""What a notebook needs trained: it is loaded where it was made before, else made, and says which; for 05 and 11."""

import json

import keras

from lab import runs
from lab.datasets import default_epochs
from lab.files import readable, run_folder, shown_path
from lab.measuring_net import load_measuring_net, train_measuring_net
from lab.recipes import build_nets, choose_recipe, train_options
from lab.settings import fingerprint


def load_or_train_generator(run, data, *, seed=0):
    """The generator of `outputs/<run>/`; without one there, the run is trained first, as notebook 04 does. Says which.

    Args:
        run: name of the run.
        data: the `Dataset` that it was or will be trained on.
        seed: of nets that have to be trained.

    Returns:
        A Keras model: the averaged generator of the run's best epoch.

    Raises:
        ValueError: the run was trained on other images than `data`.
    """
    run_dir = run_folder(run)
    if (run_dir / "generator.keras").exists():
        with readable(shown_path(run_dir / "config.json")):
            config = json.loads((run_dir / "config.json").read_text(encoding="utf-8"))
            trained_on, source = config["settings"]["data"], config["source"]
        if trained_on != fingerprint(data):
            raise ValueError(f"{shown_path(run_dir)} was trained on other images: {trained_on['count']:,} of {source}, "
                             f"and here are {len(data.images):,} of {data.source}. Give RUN the name of a run of "
                             "these images, or a new name, and it is trained.")
        print(f"{shown_path(run_dir)}: found, trained on {trained_on['count']:,} images ({source})")
    else:
        print(f"{shown_path(run_dir)}: no generator there yet, so it is trained as in notebook 4")
        _, recipe = choose_recipe("", data.image_shape, len(data.images))
        epochs = default_epochs(len(data.images), recipe["images_seen"])
        runs.train(*build_nets(recipe, data.image_shape, seed=seed), data, run_dir, epochs=epochs,
                   batch_size=min(recipe["batch_size"], len(data.images)), learning_rate=recipe["learning_rate"],
                   seed=seed, **train_options(recipe, epochs))
    return keras.models.load_model(run_dir / "generator.keras")


def load_or_train_measuring_net(data, *, held_out=None, seed=0):
    """The `MeasuringNet` of `load_measuring_net`; where there is none, one is trained, see `train_measuring_net`."""
    try:
        return load_measuring_net(data)
    except LookupError as reason:
        print(f"{reason}\nTraining one.")
        return train_measuring_net(data, held_out=held_out, seed=seed)
