"""Few images: augmentation that goes wrong in the two known ways, nets that begin where another run ended."""

import numpy as np
import pytest
import tensorflow as tf

import dcgan_utils as dcgan
from conftest import use_quick_steps
from lab import augmentation, datasets, experiments, few_images, files, runs
from lab.augmentation import Cutout, Flip, ShiftAndZoom
from train_small import small_data, small_nets, tiny

SHAPE = (16, 16, 1)


# Augmentation that goes wrong

def test_copies_of_each_image_are_changed_each_on_its_own_and_keep_their_labels():
    data = datasets.Dataset(small_data(30), np.arange(30, dtype=np.uint8) % 3, ("a", "b", "c"), "squares")
    changed = few_images.changed_beforehand(data, [Cutout(0.5)], copies=3)
    assert changed.images.shape == (90, *SHAPE) and changed.source == "squares"
    np.testing.assert_array_equal(changed.labels, np.repeat(data.labels, 3))
    covered = changed.images != np.repeat(data.images, 3, axis=0)
    assert {*changed.images[covered]} == {128} and covered.any(axis=(1, 2, 3)).all()
    first, second, third = changed.images[:3]
    assert (first != second).any() and (second != third).any()
    twice = few_images.changed_beforehand(data, [Cutout(0.5), Flip()], copies=1).images
    assert (twice != few_images.changed_beforehand(data, [Cutout(0.5)], copies=1).images).any()
    assert few_images.changed_beforehand(datasets.Dataset(small_data(4)), []).labels is None


def test_shift_without_gradient_shifts_alike_and_hands_the_gradient_back_unshifted():
    images, weights = (np.random.default_rng(seed).normal(size=(4, *SHAPE)).astype(np.float32) for seed in (0, 1))
    seen, slopes = [], []
    for kind in (ShiftAndZoom, few_images.ShiftWithoutGradient):
        given = tf.constant(images)
        with tf.GradientTape() as tape:
            tape.watch(given)
            seen += [kind(0.25, seed=3)(given, training=True)]
            value = tf.reduce_sum(seen[-1] * weights)
        slopes += [tape.gradient(value, given).numpy()]
    np.testing.assert_allclose(*seen, atol=1e-6)
    np.testing.assert_array_equal(slopes[1], weights)
    assert abs(slopes[0] - weights).max() > 0.1


def test_misled_discriminator_is_the_usual_one_behind_such_a_shift():
    net, plain = few_images.build_misled_discriminator(SHAPE, shift=0.25, width=4, seed=2), dcgan.build_discriminator(
        SHAPE, width=4, seed=2)
    (layer,) = augmentation.augmentations_of(net)
    assert isinstance(layer, few_images.ShiftWithoutGradient) and layer.settings()["shift"] == 0.25
    images = tf.constant(small_data(4) / 255, tf.float32)
    np.testing.assert_array_equal(net(images, training=False), plain(images, training=False))


# Nets that begin where another run ended

LAYERS = {"plain": [], "augmented": [ShiftAndZoom(probability=0.25), Flip(0.5)]}


@pytest.fixture(scope="module")
def ended(tmp_path_factory):
    """The folder of outputs with runs of two epochs, not to be changed, and their nets as they were in the end."""
    folder, nets = tmp_path_factory.mktemp("outputs"), {}
    with pytest.MonkeyPatch.context() as patch:
        use_quick_steps(patch)
        for name, layers in LAYERS.items():
            generator, discriminator = small_nets()
            nets[name] = generator, augmentation.augmented(discriminator, layers) if layers else discriminator
            runs.train(*nets[name], small_data(), experiments.experiment_folder(folder / "before", name, 3), epochs=2,
                       batch_size=64, picture_every=1, tracking=False, measuring_net=False)
    return folder, nets


@pytest.fixture
def found(ended, monkeypatch):
    monkeypatch.setattr(files, "OUTPUTS", ended[0])
    return ended[1]


@pytest.mark.parametrize("name, shift", [("plain", 0.0), ("plain", 0.25), ("augmented", 0.0), ("augmented", 0.25)])
def test_nets_draw_and_judge_as_those_of_the_run_did_in_the_end(found, name, shift):
    where = {"group": "before", "name": name, "seed": 3}
    generator = few_images.build_generator_of(SHAPE, latent_dim=8, width=4, refinements=1, **where)
    discriminator = few_images.build_discriminator_of(SHAPE, shift=shift, width=4, dropout=0.2, **where)
    noise, images = dcgan.make_noise(8, 8, seed=1), dcgan.to_model_range(small_data(8))
    for net, theirs, untrained, inputs in zip((generator, discriminator), found[name], small_nets(), (noise, images)):
        np.testing.assert_array_equal(net(inputs, training=False), theirs(inputs, training=False))
        assert abs(net(inputs, training=False) - untrained(inputs, training=False)).numpy().max() > 1e-4
    assert [layer.shift for layer in augmentation.augmentations_of(discriminator)] == ([shift] if shift else [])


def test_strength_is_that_at_the_end_of_the_run(found):
    layer, _ = augmentation.augmentations_of(found["augmented"][1])
    assert few_images.last_strength("before", "augmented", 3) == float(layer.probability) != 0.25


@pytest.mark.parametrize("known, words", [({"seed": 4}, "plain-seed4.*train the run again"),
                                          ({"width": 8}, "plain-seed3: has other nets")])
def test_a_run_that_is_not_there_or_has_other_nets_is_named(found, known, words):
    known = {"group": "before", "name": "plain", "seed": 3, "width": 4, **known}
    for build in (lambda: few_images.build_generator_of(SHAPE, latent_dim=8, refinements=1, **known),
                  lambda: few_images.build_discriminator_of(SHAPE, dropout=0.2, **known)):
        with pytest.raises((FileNotFoundError, ValueError), match=words):
            build()


def test_experiments_begin_each_from_the_run_of_its_seed(found):
    where = {"group": "before", "name": "plain"}
    first = tiny(build_generator=few_images.build_generator_of, build_discriminator=few_images.build_discriminator_of)
    first = first.but("first", generator={"latent_dim": 8, "width": 4, "refinements": 1, **where},
                      discriminator={"width": 4, "dropout": 0.2, **where})
    generator, _ = first.build(SHAPE, 3)
    noise = dcgan.make_noise(4, 8, seed=1)
    np.testing.assert_array_equal(generator(noise, training=False), found["plain"][0](noise, training=False))
    with pytest.raises((FileNotFoundError, ValueError), match="plain-seed5"):
        first.build(SHAPE, 5)
