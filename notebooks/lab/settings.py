"""What a run may not change when it goes on: `config.json`, written at its start and compared; used by lab.runs."""

import functools
import hashlib
import json
import platform
import time
import uuid

import keras
import numpy as np
import pandas as pd
import tensorflow as tf

from lab.files import readable, shown_path, write_json


def fingerprint(data):
    """What tells the images of one dataset from those of another."""
    return {"count": len(data.images), "image_shape": list(data.image_shape),
            "sha256": hashlib.sha256(np.ascontiguousarray(data.images)).hexdigest()}


def name_of(function):
    """What tells one function from another in the settings of a run: its name, and what `functools.partial` set."""
    if isinstance(function, functools.partial):
        shown = {name: name_of(value) if callable(value) else repr(value)
                 for name, value in (*enumerate(function.args), *function.keywords.items())}
        options = ", ".join(value if isinstance(name, int) else f"{name}={value}" for name, value in shown.items())
        return f"{name_of(function.func)}({options})"
    return None if function is None else getattr(function, "__name__", type(function).__name__)


def describe(model):
    """What tells one architecture from another, whatever numbers Keras gave its layers."""
    def nameless(config):
        if isinstance(config, dict):
            return {key: nameless(value) for key, value in config.items() if key != "name"}
        return config

    layers = [[type(layer).__name__, nameless(layer.get_config())] for layer in model.layers]
    digest = hashlib.sha256(json.dumps(layers, sort_keys=True, default=str).encode()).hexdigest()
    return {"parameters": model.count_params(), "architecture": digest[:16]}


def agree_on_config(run_dir, settings, epochs, data, write):
    """The run's config, kept in `config.json` if `write`; a ValueError for a run of other settings."""
    path = run_dir / "config.json"
    config = {"run_id": uuid.uuid4().hex[:12], "started": time.strftime("%Y-%m-%d %H:%M:%S")}
    if path.exists():
        with readable(shown_path(path), "corrupt", "restore it, or choose another run folder"):
            config = json.loads(path.read_text(encoding="utf-8"))
            before = pd.json_normalize(config["settings"]).to_dict("records")[0]
        different = differences(before, pd.json_normalize(settings).to_dict("records")[0], "not set")
        if different:
            raise ValueError(f"{shown_path(run_dir)} holds a run with other settings:\n" + "\n".join(different)
                             + "\nUse its settings to go on with it, or choose another run folder.")
    config |= {"settings": settings, "epochs": max(int(epochs), config.get("epochs", 0)),
               "source": data.source, "notice": data.notice,
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
