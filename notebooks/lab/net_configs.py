"""What Keras writes about a net, without what goes without saying, so that all its versions agree; used by lab.runs.

A newer Keras writes keys that an older one does not know, such as `renorm` of BatchNormalization, at their defaults.
"""

import contextlib
import functools
import json
import random
import zipfile

import keras

KEPT = {"name", "dtype", "data_format"}  # their defaults are Keras' own settings, not the same on every computer


def save_net(net, path):
    """Write a `.keras` file that older versions of Keras open, too, if they know all that was set in the net."""
    net.save(path)
    with zipfile.ZipFile(path) as file:
        parts = {name: file.read(name) for name in file.namelist()}
    parts["config.json"] = json.dumps(without_defaults(json.loads(parts["config.json"])))
    with zipfile.ZipFile(path, "w") as file:
        for name, content in parts.items():
            file.writestr(name, content)


def without_defaults(value):
    """A net or layer, as Keras serialises it to JSON, without the keys that it would get unasked at the same values."""
    if isinstance(value, list):
        return [without_defaults(item) for item in value]
    if not isinstance(value, dict):
        return value
    value = {key: without_defaults(item) for key, item in value.items()}
    if "class_name" in value and isinstance(value.get("config"), dict) and "layers" not in value["config"]:
        unasked = _unasked(json.dumps(_without_weights(value), sort_keys=True))
        value["config"] = {key: item for key, item in value["config"].items() if key not in unasked}
    return value


def _without_weights(value):
    """The same without what lets Keras make a layer's weights, or take it for one that is there already."""
    def bare(pairs):
        return {key: item for key, item in pairs.items() if key not in ("build_config", "shared_object_id")}
    return json.loads(json.dumps(value), object_hook=bare)


@functools.cache
def _unasked(text):
    """The keys of a serialised object's config that are left out one by one and come back the same."""
    serialized, drawn = json.loads(text), random.getstate()  # layers without a seed draw one

    def written(config):
        with contextlib.suppress(Exception):  # whatever a constructor raises that misses an argument
            made = keras.saving.deserialize_keras_object({**serialized, "config": config})
            return keras.saving.serialize_keras_object(made)["config"]

    asked = serialized["config"]
    whole = written(asked)
    for key in sorted(asked.keys() - KEPT):
        rest = {other: item for other, item in asked.items() if other != key}
        if whole is not None and written(rest) == whole:
            asked = rest
    random.setstate(drawn)
    return serialized["config"].keys() - asked.keys()
