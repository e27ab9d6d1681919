"""What a run may not change: descriptions of nets, refusals of other settings."""

import keras
import pytest

from lab import runs, settings
from train_small import small_data, small_nets, train_small


def test_other_settings_data_or_nets_are_refused_with_the_differences(short_run):
    with pytest.raises(ValueError) as refusal:
        train_small(short_run, 4, learning_rate=0.01, batch_size=32)
    message = str(refusal.value)
    assert "batch_size: 64 in that run, 32 now" in message and "learning_rate: 0.0015 in that run, 0.01 now" in message
    assert "beta_1" not in message and "another run folder" in message
    pixel = small_data()
    pixel[0, 0, 0, 0] ^= 1
    for nets, data, words in ((small_nets(), pixel, "data.sha256"),
                              (small_nets(minibatch_statistics=False), small_data(), "discriminator.architecture")):
        with pytest.raises(ValueError, match=words):
            runs.train(*nets, data, short_run, epochs=4, batch_size=64, picture_every=2, tracking=False)


def test_description_of_a_net_has_no_names_of_wrapped_layers_but_their_sizes():
    def build(width):
        wrapped = [keras.layers.SpectralNormalization(keras.layers.Conv2D(width, 4, strides=2)),
                   keras.layers.Flatten(), keras.layers.SpectralNormalization(keras.layers.Dense(1))]
        return keras.Sequential([keras.Input((16, 16, 1)), *wrapped])

    first, second = build(4), build(4)
    assert first.layers[0].layer.name != second.layers[0].layer.name
    assert settings.describe(first) == settings.describe(second) != settings.describe(build(5))
    same_size = keras.Sequential([keras.Input((16, 16, 1)), *(keras.layers.SpectralNormalization(layer) for layer in (
        keras.layers.Conv2D(4, 4, strides=2, activation="relu"),)), *build(4).layers[1:]])
    assert settings.describe(same_size)["parameters"] == settings.describe(first)["parameters"]
    assert settings.describe(same_size)["architecture"] != settings.describe(first)["architecture"]
