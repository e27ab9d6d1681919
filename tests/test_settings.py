"""What a run may not change: descriptions of nets, refusals of other settings."""

import json

import keras
import pytest

import dcgan_utils as dcgan
from lab import runs, settings
from test_net_configs import NEWS, newer_keras
from train_small import small_data, small_measuring_net, small_nets, train_small


def test_other_settings_data_or_nets_are_refused_with_the_differences(short_run):
    with pytest.raises(ValueError) as refusal:
        train_small(short_run, 4, learning_rate=0.01, batch_size=32)
    message = str(refusal.value)
    assert "batch_size: 64 in that run, 32 now" in message and "learning_rate: 0.001 in that run, 0.01 now" in message
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


@pytest.mark.parametrize("news", NEWS.values(), ids=NEWS)
def test_description_is_that_of_every_keras_and_a_run_goes_on_under_a_newer_one(news, short_run):
    known = [settings.describe(net) for net in small_nets()]
    with newer_keras(*news):
        assert [settings.describe(net) for net in small_nets()] == known
        assert len(train_small(short_run, 4)) == 4
        nets = small_nets()
        for part in [part for net in nets for layer in net.layers
                     for part in (layer, getattr(layer, "kernel_initializer", None)) if isinstance(part, news[0])]:
            part.new = "set"
        with pytest.raises(ValueError, match="generator.architecture"):
            runs.train(*nets, small_data(), short_run, epochs=6, picture_every=2, tracking=False,
                       measuring_net=small_measuring_net())


# how runs begun before described their generator, which had no hidden layer and 116,097 parameters
EARLIER = {"3.8.0": "194584c6c368c4ab", "3.13.2": "8111b3be4876b3bf", "3.15.1": "f65333eb36bec43c"}


@pytest.mark.parametrize("version", EARLIER)
def test_an_earlier_description_is_compared_whole_by_the_version_that_wrote_it_and_else_by_its_parameters(version):
    net, description = dcgan.build_generator(hidden=None), {"parameters": 116_097, "architecture": EARLIER[version]}
    assert settings.is_described(net, description, version)
    assert not settings.is_described(net, description | {"parameters": 116_098}, version)
    this_one = version == keras.__version__
    assert settings.is_described(net, description | {"architecture": "0" * 16}, version) is not this_one


def test_a_run_begun_before_goes_on_and_is_described_anew(short_run, quick_steps):
    path = short_run / "config.json"
    config = json.loads(path.read_text())
    for name in ("generator", "discriminator"):
        config["settings"][name]["architecture"] = "0" * 16
    path.write_text(json.dumps(config))
    with pytest.raises(ValueError, match="generator.architecture: 0000000000000000 in that run, 2-"):
        train_small(short_run, 4)
    path.write_text(json.dumps(config | {"versions": {"keras": "3.9.0"}}))
    assert len(train_small(short_run, 4)) == 4
    assert json.loads(path.read_text())["settings"]["generator"] == settings.describe(small_nets()[0])
