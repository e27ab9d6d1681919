"""A run's settings: which are legal, and which may not change when it goes on (`config.json`); used by lab.runs."""

import dataclasses
import functools
import hashlib
import json
import math
import platform
import time
import uuid

import keras
import numpy as np
import pandas as pd
import tensorflow as tf

from dcgan_utils import check_positive, check_share
from lab.augmentation import describe_augmentation
from lab.conditional import check_labels, is_conditional
from lab.datasets import as_dataset
from lab.files import readable, shown_path, write_json
from lab.net_configs import without_defaults


def check_settings(count, *, learning_rate=1.0, generator_learning_rate=None, beta_1=0, beta_2=0, averaging=0, seed=0,
                   losses=(abs, abs), penalty=None, batch_size=1, compiled=None, **whole):
    """Refuse settings with which `train` cannot train on `count` images; `whole` are whole numbers of at least 1."""
    check_positive(batch_size=batch_size, **whole)
    check_share(beta_1=beta_1, beta_2=beta_2, averaging=averaging)
    generator_learning_rate = learning_rate if generator_learning_rate is None else generator_learning_rate
    for name, rate in (("learning_rate", learning_rate), ("generator_learning_rate", generator_learning_rate)):
        if isinstance(rate, bool) or not isinstance(rate, (int, float, np.number)) or not 0 < rate < math.inf:
            raise ValueError(f"{name} is {rate!r}; wanted a number above 0.")
    if isinstance(seed, bool) or not isinstance(seed, (int, np.integer)) or not 0 <= seed < 2 ** 53:
        raise ValueError(f"seed is {seed!r}; wanted a whole number from 0 to below 2^53.")
    if not isinstance(losses, (tuple, list)) or len(losses) != 2 or not (
            callable(losses[1]) and (callable(losses[0]) or hasattr(losses[0], "begin"))):
        raise ValueError(f"losses is {losses!r}; wanted two functions, the discriminator's loss, which may be one with "
                         "a memory of lab.overfitting, and the generator's.")
    if not (penalty is None or callable(penalty)):
        raise ValueError(f"penalty is {penalty!r}; wanted None or a function of the discriminator, real images and "
                         "generated ones.")
    if compiled not in (None, True, False):
        raise ValueError(f"compiled is {compiled!r}; wanted True, False or None.")
    if compiled and tf.distribute.has_strategy():
        raise ValueError("compiled is True under a tf.distribute strategy; wanted None or False, since XLA fails with "
                         "several replicas.")
    if batch_size > count:
        raise ValueError(f"batch_size is {batch_size}, but there are only {count} images; wanted at most {count}.")


def check_nets(generator, discriminator, data):
    """Refuse what are no Keras models, or are made for other images or classes than those of a `Dataset`."""
    for name, net in (("generator", generator), ("discriminator", discriminator)):
        if not isinstance(net, keras.Model):
            raise ValueError(f"{name} is {net!r}; wanted a Keras model, such as build_{name} makes.")
        shape = tuple(net.output_shape[1:] if name == "generator" else net.inputs[0].shape[1:])
        if shape != data.image_shape:
            raise ValueError(f"the {name} is made for images of shape {shape}, the data are {data.image_shape}; build "
                             "it with image_shape=data.image_shape.")
    check_labels(generator, discriminator, data)


def other_images(data, **others):
    """The other images that a run takes, by what they are for, a `Dataset` each; those that are None left out."""
    others = {name: as_dataset(images) for name, images in others.items() if images is not None}
    for name, images in others.items():
        if images.image_shape != data.image_shape:
            raise ValueError(f"{name} has images of shape {images.image_shape}, the data have {data.image_shape}; "
                             "wanted images like those of the data.")
    return others


def sha256(array):
    """The hash of an array's bytes, as hexadecimal digits."""
    return hashlib.sha256(np.ascontiguousarray(array)).hexdigest()


def fingerprint(data):
    """What tells the images of one dataset from those of another."""
    return {"count": len(data.images), "image_shape": list(data.image_shape), "sha256": sha256(data.images)}


def name_of(function):
    """What tells one function from another in the settings of a run: its name, and what `functools.partial` set.

    Of a dataclass, such as a loss with a memory, its name and its fields.
    """
    def called(name, *items):
        shown = ((key, name_of(value) if callable(value) or dataclasses.is_dataclass(value) else repr(value))
                 for key, value in items)
        return f"{name}({', '.join(value if isinstance(key, int) else f'{key}={value}' for key, value in shown)})"

    if isinstance(function, functools.partial):
        return called(name_of(function.func), *enumerate(function.args), *function.keywords.items())
    if dataclasses.is_dataclass(function):
        return called(type(function).__name__, *vars(function).items())
    return None if function is None else getattr(function, "__name__", type(function).__name__)


def describe(model):
    """What tells one architecture from another: what was set, whatever numbers Keras gave its layers."""
    def bare(value):
        if isinstance(value, dict):
            left_out = ("name", "module", "registered_name", "build_config")
            return {key: bare(item) for key, item in value.items() if key not in left_out}
        return [bare(item) for item in value] if isinstance(value, list) else value

    layers = json.dumps([keras.saving.serialize_keras_object(layer) for layer in model.layers], default=str)
    asked = bare(without_defaults(json.loads(layers)))
    return {"parameters": model.count_params(), "architecture": f"2-{_digest(asked)}"}


def described(generator, discriminator, data, others):
    """What tells the nets and images of one run from those of another, `others` by what they are for: a dict."""
    known = {"generator": describe(generator), "discriminator": describe(discriminator),
             **{name: fingerprint(images) for name, images in {"data": data, **others}.items()}}
    if changes := describe_augmentation(discriminator):
        known["augmentation"] = changes
    if is_conditional(generator):
        known["labels"] = sha256(data.labels)
    return known


def is_described(model, description, keras_version):
    """Whether a run's config, written under this version of Keras, describes the model.

    Without the 2, it has a digest of all that Keras wrote, as runs begun earlier have. Another version's tells
    nothing, so that the number of parameters decides.
    """
    def nameless(config):
        if isinstance(config, dict):
            return {key: nameless(value) for key, value in config.items() if key != "name"}
        return config

    if description["architecture"].startswith("2-"):
        return description == describe(model)
    whole = _digest([[type(layer).__name__, nameless(layer.get_config())] for layer in model.layers])
    return (description["parameters"] == model.count_params()
            and (description["architecture"] == whole or keras_version != keras.__version__))


def _digest(value):
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()[:16]


def agree_on_config(run_dir, settings, nets, epochs, data, write, compiled, compiling_pays):
    """The run's config, kept in `config.json` if `write`; a ValueError for a run of other settings.

    `nets` are the models that `settings` describes, by name.
    `compiled` None goes on as the run began, and begins a run as `compiling_pays` says.
    """
    path = run_dir / "config.json"
    config = {"run_id": uuid.uuid4().hex[:12], "started": time.strftime("%Y-%m-%d %H:%M:%S"),
              "compiled": compiling_pays if compiled is None else compiled}
    if path.exists():
        with readable(shown_path(path), "corrupt", "restore it, or choose another run folder"):
            config = {"compiled": False} | json.loads(path.read_text(encoding="utf-8"))
            for name, net in nets.items():
                known = config["settings"][name]
                if known != settings[name] and is_described(net, known, config["versions"]["keras"]):
                    config["settings"][name] = settings[name]
            before = pd.json_normalize(config["settings"]).to_dict("records")[0] | {"compiled": config["compiled"]}
        now = pd.json_normalize(settings).to_dict("records")[0]
        now["compiled"] = config["compiled"] if compiled is None else compiled
        different = differences(before, now, "not set")
        if different:
            raise ValueError(f"{shown_path(run_dir)} holds a run with other settings:\n" + "\n".join(different)
                             + "\nUse its settings to go on with it, or choose another run folder.")
    config |= {"settings": settings, "epochs": max(int(epochs), config.get("epochs", 0)),
               "source": data.source, "notice": data.notice,
               "class_names": list(data.class_names),
               "versions": {"python": platform.python_version(), "tensorflow": tf.__version__,
                            "keras": keras.__version__, "numpy": np.__version__},
               "devices": [device.name for device in tf.config.list_logical_devices()]}
    if write:
        write_json(path, config)
    return config


def differences(before, now, unset):
    """A line for each setting that is another one now."""
    return [f"  {name}: {before.get(name, unset)} in that run, {now.get(name, unset)} now"
            for name in sorted(before.keys() | now.keys()) if before.get(name) != now.get(name)]
