"""Augmentation: what each layer does to an image, to the gradient, in the step, compiled, in a run, in experiments."""

import json

import keras
import numpy as np
import pytest
import scipy.ndimage
import tensorflow as tf

import dcgan_utils as dcgan
from lab import augmentation, conditional, datasets, experiments, overfitting, runs
from lab.augmentation import Augmentation, Cutout, Flip, ShiftAndZoom, Turn
from test_runs import assert_same_run, newest_variables
from train_small import small_data, small_nets, tiny, train_augmented

SHAPE = (16, 16, 1)


def noise(count=4, side=16, channels=1, seed=0):
    """Images of independent pixels, of which no two are alike."""
    return np.random.default_rng(seed).uniform(-1, 1, (count, side, side, channels)).astype(np.float32)


def numbers(*values):
    """The random numbers of a layer, of one image each."""
    return [tf.constant([value], tf.float32) for value in values]


@keras.saving.register_keras_serializable(package="tests")
class Invert(Augmentation):
    """Nothing is random about it, so that a step with it can be told beforehand."""

    def change(self, images):
        return -images


# The layers

@pytest.mark.parametrize("down, right", [(0, 0), (3, 0), (-3, 0), (0, 4), (-1, 2)])
def test_shift_is_by_whole_pixels_and_the_edge_goes_on(down, right):
    image = noise(1, 20, 3)
    wanted = np.pad(image, ((0, 0), (5, 5), (5, 5), (0, 0)), mode="edge")[:, 5 - down:25 - down, 5 - right:25 - right]
    shifted = ShiftAndZoom(0.25).change(tf.constant(image), *numbers((down + 0.3) / 5, (right - 0.4) / 5, 0.9))
    np.testing.assert_allclose(shifted, wanted, atol=1e-6)


@pytest.mark.parametrize("number", [-1, -0.4, 0.7])
def test_zoom_is_linear_interpolation_about_the_middle(number):
    image, factor = noise(1, 16), 1 + 0.3 * number
    places = 7.5 + (np.mgrid[:16, :16] - 7.5 - np.array([2, -1])[:, None, None]) / factor
    wanted = scipy.ndimage.map_coordinates(image[0, :, :, 0], places, order=1, mode="nearest")
    zoomed = ShiftAndZoom(0.25, 0.3).change(tf.constant(image), *numbers(0.5, -0.25, number))
    np.testing.assert_allclose(zoomed[0, :, :, 0], wanted, atol=1e-5)


@pytest.mark.parametrize("number", [-1, 0.6])
def test_turn_is_about_the_middle_by_a_share_of_half_a_turn(number):
    image = scipy.ndimage.gaussian_filter(noise(1, 40, 3)[:, :32], (0, 3, 3, 0))  # smooth, not square
    turned = Turn(0.1).change(tf.constant(image), *numbers(number)).numpy()
    wanted = scipy.ndimage.rotate(image, -18 * number, axes=(2, 1), reshape=False, order=1, mode="nearest")
    inside = (slice(None), slice(8, -8), slice(8, -8))
    assert abs(turned - wanted)[inside].max() < 0.03 < abs(turned - image)[inside].max()


def test_cutout_covers_a_square_about_a_place_with_middle_grey():
    image = noise(1, 17, 3)
    covered = Cutout(0.5).change(tf.constant(image), *numbers(-1, 0.5)).numpy()  # about pixel (0, 12) of 17
    wanted = image.copy()
    wanted[:, 0:4, 9:16] = 0
    np.testing.assert_array_equal(covered, wanted)


def test_flip_is_of_half_the_images_left_to_right():
    images = noise(2, channels=3)
    flipped = Flip().change(tf.constant(images), tf.constant([-0.1, 0.1])).numpy()
    np.testing.assert_array_equal(flipped[0], images[0, :, ::-1])
    np.testing.assert_array_equal(flipped[1], images[1])


LAYERS = [(ShiftAndZoom, {"shift": 0.25, "zoom": 0.2}), (Cutout, {"size": 0.3}), (Flip, {}),
          (Turn, {"turn": 0.1})]


@pytest.mark.parametrize("kind, options", LAYERS)
def test_images_are_changed_in_training_only_with_the_probability_each_and_anew_at_each_call(kind, options):
    images = np.repeat(noise(1, channels=3), 400, axis=0)
    layer = kind(**options, seed=3)
    every = layer(images, training=True).numpy()
    assert every.shape == images.shape and every.dtype == np.float32 and abs(every).max() <= 1
    np.testing.assert_array_equal(layer(images, training=False), images)
    np.testing.assert_array_equal(layer(images), images)
    np.testing.assert_array_equal(kind(**options, seed=3)(images, training=True), every)
    for other in (layer, kind(**options, seed=4)):
        assert (other(images, training=True).numpy() != every).any()
    whole = (every != images).any(axis=(1, 2, 3)).mean()
    for probability, low, high in ((0.0, 0, 0), (0.3, 0.2, 0.4), (0.75, 0.65, 0.85)):
        layer = kind(**options, probability=probability)
        share = (layer(images, training=True).numpy() != images).any(axis=(1, 2, 3)).mean()
        assert low * whole <= share <= high * whole, (probability, share)
    assert whole > (0.4 if kind is Flip else 0.95)


@pytest.mark.parametrize("kind, options", LAYERS)
def test_gradient_comes_through_the_change(kind, options):
    """Each is linear in the images, so that the gradient of <w, change(x)> gives <w, change(x)> again, times x."""
    images, weights = tf.constant(noise()), noise(seed=1)
    with tf.GradientTape() as tape:
        tape.watch(images)
        value = tf.reduce_sum(kind(**options)(images, training=True) * weights)
    gradient = tape.gradient(value, images)
    assert float(tf.reduce_sum(gradient * images)) == pytest.approx(float(value), rel=1e-3, abs=1e-3)
    assert abs(gradient - weights).numpy().max() > 0.1 and abs(float(value)) > 0.1


@pytest.mark.parametrize("kind, options", LAYERS)
def test_layer_is_saved_with_what_it_was_set_by(kind, options):
    layer = kind(**options, probability=0.5, seed=3)
    copy = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(layer))
    assert copy.settings() == {**options, "probability": 0.5} and copy.seed == 3
    images = tf.constant(noise(40))
    np.testing.assert_array_equal(copy(images, training=True), layer(images, training=True))


def test_layers_keep_their_precision_where_the_others_are_of_half_of_it():
    keras.config.set_dtype_policy("mixed_float16")
    try:
        net = augmentation.build_augmented_discriminator(SHAPE, zoom=0.1, cutout=0.3, flip=True, width=4)
        assert net(tf.constant(noise()), training=True).dtype == tf.float32
        assert {layer.compute_dtype for layer in augmentation.augmentations_of(net)} == {"float32"}
    finally:
        keras.config.set_dtype_policy("float32")


# The discriminator

def test_discriminator_is_the_same_one_with_layers_before_it():
    plain, net = dcgan.build_discriminator(SHAPE, width=4, seed=2), augmentation.build_augmented_discriminator(
        SHAPE, zoom=0.1, cutout=0.3, flip=True, probability=0.25, width=4, seed=2)
    _, *layers = net.layers
    assert [type(layer) for layer in layers] == [ShiftAndZoom, Cutout, Flip, *map(type, plain.layers)]
    assert [layer.settings() for layer in layers[:3]] == [
        {"shift": 0.125, "zoom": 0.1, "probability": 0.25}, {"size": 0.3, "probability": 0.25}, {"probability": 0.25}]
    assert len({layer.seed for layer in layers[:3]}) == 3
    images = tf.constant(noise())
    np.testing.assert_array_equal(net(images, training=False), plain(images, training=False))
    assert len(net.trainable_variables) == len(plain.trainable_variables)
    only = augmentation.build_augmented_discriminator(SHAPE, shift=0, width=4)
    assert not augmentation.augmentations_of(only)


@pytest.mark.parametrize("way", conditional.WAYS)
def test_conditional_discriminator_is_augmented_at_its_images_alone(way, tmp_path):
    def build():
        return conditional.build_conditional_discriminator(SHAPE, 3, way, width=4)

    plain, net = build(), augmentation.augmented(build(), [Invert()])
    images, labels = tf.constant(noise()), tf.range(4) % 3
    np.testing.assert_array_equal(net([images, labels], training=False), plain([images, labels], training=False))
    np.testing.assert_allclose(net([images, labels], training=True), plain([-images, labels], training=True), atol=1e-6)
    assert [float(loss) for loss in net.losses] == pytest.approx([float(loss) for loss in plain.losses])
    generator = conditional.build_conditional_generator(SHAPE, 2, 8, width=4)
    data = datasets.Dataset(small_data(40), np.arange(40, dtype=np.uint8) % 2, ("a", "b"))
    with pytest.raises(ValueError, match="discriminator is made for 3 classes, the data have 2"):
        runs.train(generator, net, data, tmp_path / "run", epochs=1)


# The step

def test_step_changes_real_and_generated_images_and_the_gradient_reaches_the_generator(make_nets):
    pixels, chosen = small_data(40), np.arange(12, dtype=np.int32)
    generator, discriminator = make_nets()
    real, z = -dcgan.to_model_range(pixels[chosen]), dcgan.make_noise(12, 8, seed=7, step=3)
    before = [weight.numpy() for weight in generator.trainable_variables]
    with tf.GradientTape() as tape:
        fake = -generator(z, training=True)
        of_real, of_fake = discriminator(real, training=True), discriminator(fake, training=True)
        g_loss = dcgan.generator_loss(of_fake)
    slopes = tape.gradient(g_loss, generator.trainable_variables)
    d_loss = dcgan.discriminator_loss(of_real, of_fake)

    generator, discriminator = make_nets()
    steps, _ = runs.compose_step(generator, augmentation.augmented(discriminator, [Invert()]),
                                 [keras.optimizers.SGD(0.5) for _ in range(2)], make_nets()[0], pixels, seed=7)
    metrics = dict(zip(dcgan.METRICS, steps(chosen[None], 3).numpy()[0]))
    assert (metrics["d_loss"], metrics["g_loss"]) == pytest.approx((float(d_loss), float(g_loss)), rel=1e-5)
    for weight, was, slope in zip(generator.trainable_variables, before, slopes, strict=True):
        np.testing.assert_allclose(weight, was - 0.5 * slope, rtol=1e-3, atol=1e-6, err_msg=weight.path)


@pytest.mark.long
def test_step_with_all_layers_and_losses_that_remember_is_compiled(make_nets):
    generator, discriminator = make_nets()
    layers = [kind(**options, probability=0.5) for kind, options in LAYERS]
    losses = overfitting.AdaptiveStrength(loss=overfitting.LeCam()), dcgan.generator_loss
    steps, _ = runs.compose_step(
        generator, augmentation.augmented(discriminator, layers), [keras.optimizers.Adam(1e-3) for _ in range(2)],
        make_nets()[0], small_data(40), losses=losses, compiled=(3, 8), give_up=pytest.fail)
    metrics = steps(np.arange(24, dtype=np.int32).reshape(3, 8), 0).numpy()
    assert steps.compiled and np.isfinite(metrics).all()


# A run

@pytest.fixture(scope="module")
def whole_run(tmp_path_factory):
    """The folder of an augmented run of two epochs, not to be changed."""
    folder = tmp_path_factory.mktemp("runs") / "whole"
    train_augmented(folder, 2)
    return folder


def settings_of(folder):
    return json.loads((folder / "config.json").read_text())["settings"]


@pytest.mark.long
def test_run_goes_on_bit_for_bit(whole_run, tmp_path):
    for epochs in (1, 2):
        train_augmented(tmp_path / "run", epochs)
    assert_same_run(tmp_path / "run", whole_run)
    ours, theirs = ((folder / "overfitting.csv").read_text() for folder in (tmp_path / "run", whole_run))
    assert ours == theirs and theirs.count("\n") == 3
    saved = newest_variables(whole_run)
    probabilities = [value for name, value in saved.items() if name.startswith("variables_1/") and value.shape == ()]
    assert len(probabilities) == 3 and all(0.1 < value < 0.4 and abs(value - 0.2) > 0.01 for value in probabilities)
    memory = [value for name, value in saved.items() if name.startswith("variables_6/")]
    assert len(memory) == 2 and all(value != 0 for value in memory)


def test_run_says_how_it_augments_and_another_way_is_refused(whole_run):
    settings = settings_of(whole_run)
    assert settings["augmentation"] == ["ShiftAndZoom(shift=0.125, zoom=0.1, probability=0.2)",
                                        "Cutout(size=0.5, probability=0.2)", "Flip(probability=0.2)"]
    assert settings["losses"][0] == ("AdaptiveStrength(target=0.6, images=1000, loss=LeCam(weight=0.1, decay=0.9, "
                                     "loss=discriminator_loss))")
    generator, discriminator = small_nets()
    before = (whole_run / "config.json").read_bytes()
    for net, words in ((augmentation.augmented(discriminator, [Flip(0.3)]), r"augmentation: .*\['Flip\(.*0.3"),
                       (discriminator, "augmentation: .*, not set now")):
        with pytest.raises(ValueError, match=words):
            runs.train(generator, net, small_data()[:100], whole_run, epochs=3, batch_size=40, picture_every=1,
                       tracking=False)
    assert (whole_run / "config.json").read_bytes() == before


def test_run_without_augmentation_is_described_as_before(tmp_path, quick_steps):
    runs.train(*small_nets(), small_data(), tmp_path / "run", epochs=1, tracking=False, measuring_net=False)
    assert not {"augmentation", "held_out", "reference"} & settings_of(tmp_path / "run").keys()


# Experiments

def test_experiments_take_the_options_of_augmentation_and_of_the_usual_discriminator(outputs, quick_steps):
    base = tiny(build_discriminator=augmentation.build_augmented_discriminator)
    shifts = base.but("shifts", discriminator={"shift": 0.25, "dropout": 0.2}, epochs=1,
                      losses=(overfitting.LeCam(), dcgan.generator_loss))
    _, discriminator = shifts.build(SHAPE, 5)
    assert augmentation.augmentations_of(discriminator)[0].shift == 0.25
    assert [type(layer) for layer in discriminator.layers].count(keras.layers.Dropout) == 2
    experiments.run_experiments([shifts], small_data(), seeds=(0,), processes=1)
    said = json.loads((outputs / "experiments" / "shifts-seed0" / "experiment.json").read_text())["settings"]
    assert said["build_discriminator"] == "build_augmented_discriminator" and said["discriminator"]["shift"] == 0.25
    assert said["losses"][0] == "LeCam(weight=0.1, decay=0.99, loss=discriminator_loss)"
    for other, words in ((shifts.but("shifts", discriminator={"shift": 0.3}), "discriminator: .*0.25.*0.3"),
                         (shifts.but("shifts", losses=(overfitting.LeCam(0.2), dcgan.generator_loss)), "weight=0.2")):
        with pytest.raises(ValueError, match=words):
            experiments.run_experiments([other], small_data(), seeds=(0,), processes=1)
