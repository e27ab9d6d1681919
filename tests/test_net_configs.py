"""What is saved of a net: what was set stays, what other versions of Keras do not know is left out."""

import contextlib
import json
import random
import shutil
import subprocess
import sys

import keras
import numpy as np
import pytest

import dcgan_utils as dcgan
from lab import net_configs
from train_small import small_nets

# what a newer Keras might write: a class, a key of its own, and how it writes the key's default
NEWS = {
    "a number": (keras.layers.BatchNormalization, "renorm_rate", 0.99),
    "nothing": (keras.layers.Conv2DTranspose, "output_room", None),
    "an object": (keras.layers.Dense, "gate", keras.saving.serialize_keras_object(keras.initializers.Ones())),
    "of an initializer": (keras.initializers.RandomNormal, "clipped", False),
}


@contextlib.contextmanager
def newer_keras(cls, key, default):
    """Keras as if the class had one more argument, which `get_config` writes."""
    init, get_config = cls.__init__, cls.get_config

    def newer_init(self, *args, **kwargs):
        self.new = kwargs.pop(key, default)
        init(self, *args, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cls, "__init__", newer_init)
        patch.setattr(cls, "get_config", lambda self: get_config(self) | {key: self.new})
        yield


@pytest.mark.parametrize("news", NEWS.values(), ids=NEWS)
def test_generator_saved_by_a_newer_keras_opens_in_this_one(news, tmp_path):
    with newer_keras(*news):
        generator = small_nets()[0]
        images = dcgan.generate_images(generator, 4)
        generator.save(tmp_path / "as-keras-does.keras")
        net_configs.save_net(generator, tmp_path / "generator.keras")
    with pytest.raises(TypeError, match=news[1]):
        keras.models.load_model(tmp_path / "as-keras-does.keras")
    opened = keras.models.load_model(tmp_path / "generator.keras")
    np.testing.assert_array_equal(dcgan.generate_images(opened, 4), images)


@keras.saving.register_keras_serializable()
class Doubled(keras.layers.Dense):
    """A layer of one's own, whose default differs from Keras'."""

    def __init__(self, units, **options):
        super().__init__(units, **{"use_bias": False} | options)


def written(net):
    """What Keras writes about all layers but nets, whose own dtype it does not read."""
    layers = net._flatten_layers(include_self=False)
    return json.dumps([layer.get_config() for layer in layers if not isinstance(layer, keras.Model)], sort_keys=True)


@pytest.mark.parametrize("layers", [
    lambda: [Doubled(3), Doubled(3, use_bias=True)],
    lambda: [keras.layers.Dropout(0.2), keras.layers.Dense(3, trainable=False, dtype="mixed_bfloat16")],
    lambda: [keras.layers.SpectralNormalization(keras.layers.Dense(3, kernel_regularizer="l2"))],
    lambda: [keras.layers.Flatten(data_format="channels_first"), keras.Sequential([keras.layers.Dense(2, "tanh")])],
    lambda: list(small_nets()[1].layers)], ids=["own", "options", "wrapped", "nested", "discriminator"])
def test_what_was_set_is_there_again_and_saving_draws_nothing_and_makes_no_weights(layers, tmp_path, monkeypatch):
    """Under other settings of Keras, too, as in a keras.json."""
    net = keras.Sequential(layers())
    net.build((None, 16, 16, 1))
    drawn = random.getstate()
    with monkeypatch.context() as patch:
        patch.setattr(keras.layers.Layer, "add_weight", lambda *_, **__: pytest.fail("a weight was made"))
        net_configs.save_net(net, tmp_path / "net.keras")
    assert random.getstate() == drawn
    try:
        keras.config.set_dtype_policy("mixed_bfloat16")
        keras.config.set_image_data_format("channels_first")
        opened = keras.models.load_model(tmp_path / "net.keras")
    finally:
        keras.config.set_dtype_policy("float32")
        keras.config.set_image_data_format("channels_last")
    assert written(opened) == written(net)
    for one, two in zip(opened.get_weights(), net.get_weights(), strict=True):
        np.testing.assert_array_equal(one, two)


def test_in_an_empty_folder_a_generator_needs_keras_alone_and_the_course_s_own_layer_its_module(tmp_path):
    """As README says of use elsewhere."""
    for net, name in zip(small_nets(), ("generator", "discriminator")):
        net_configs.save_net(net, tmp_path / f"{name}.keras")
    code = """
import keras, numpy as np
generator = keras.models.load_model("generator.keras")
noise = np.random.default_rng(0).standard_normal((16, generator.input_shape[-1]), dtype="float32")
images = np.asarray(generator(noise, training=False))  # (16, height, width, channels), from -1 to 1
pixels = np.rint((images + 1) * 127.5).astype("uint8")
assert pixels.shape == (16, 16, 16, 1) and pixels.std() > 0
import dcgan_utils
keras.models.load_model("discriminator.keras")
"""
    shutil.copy(dcgan.__file__, tmp_path)
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
