"""What is added to the step from outside: losses and penalties, other weights of a loss, nets that rest."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import dcgan_utils as dcgan
from lab.step_parts import WithPenalty, with_weight
from pairs import equal, indices, make_pair, replay, trainable_weights


@pytest.fixture(scope="module")
def pixels(make_images):
    return make_images(40)


def asymmetric(real, fake):
    return 3 * tf.reduce_mean(tf.square(real - 1)) + tf.reduce_mean(fake)


def squared(fake):
    return tf.reduce_mean(tf.square(fake - 2))


def slope(discriminator, real, fake):
    """How steep the discriminator is half-way between real images and generated ones."""
    with tf.GradientTape() as tape:
        between = (real + fake) / 2
        tape.watch(between)
        logits = discriminator(between, training=True)
    return 5 * tf.reduce_mean(tf.square(tape.gradient(logits, between)))


@pytest.mark.parametrize("options", [
    {"losses": (asymmetric, squared)}, {"penalty": slope}, {"losses": (asymmetric, squared), "penalty": slope}],
    ids=["losses", "penalty", "both"])
def test_step_follows_the_losses_and_the_penalty_it_is_given(options, pixels):
    optimizers = [keras.optimizers.SGD(0.05), keras.optimizers.SGD(0.05)]
    pair = make_pair(pixels, noise_seed=7, optimizers=optimizers, **options)
    pair.discriminator.layers[-1].kernel.assign(pair.discriminator.layers[-1].kernel * 30)
    chosen, nets = indices(0, 12), (pair.generator, pair.discriminator)
    default, default_gradients = replay(pair, pixels, chosen, 3, seed=7)
    wanted, gradients = replay(pair, pixels, chosen, 3, seed=7, **options)
    assert abs(wanted["d_loss"] - default["d_loss"]) > 0.01
    assert max(abs(one - two).numpy().max() for one, two in zip(gradients[1], default_gradients[1])) > 0.01
    before = trainable_weights(pair)
    returned = pair.step(chosen, 3)
    assert {name: float(value) for name, value in returned.items()} == pytest.approx(wanted, rel=1e-3, abs=1e-4)
    for net, old, slopes in zip(nets, before, gradients):
        for weight, was, slope_of_it in zip(net.trainable_variables, old, slopes, strict=True):
            np.testing.assert_allclose(weight.numpy(), was - 0.05 * slope_of_it, rtol=1e-3, atol=1e-4)


def test_a_net_that_learns_in_every_nth_step_rests_in_the_others(pixels):
    pair = make_pair(pixels, generator_every=3, discriminator_every=2)
    moved = [], []
    for step in range(7):
        before = trainable_weights(pair)
        pair.step(indices(0, 8), step)
        for steps, old, new in zip(moved, before, trainable_weights(pair)):
            steps += [] if equal(old, new) else [step]
    assert moved == ([0, 3, 6], [0, 2, 4, 6])


def test_a_loss_with_a_weight_says_the_same_and_pulls_differently():
    logits = tf.Variable([[0.5], [-1.0]])
    with tf.GradientTape(persistent=True) as tape:
        plain = dcgan.generator_loss(logits)
        weighed = with_weight(dcgan.generator_loss, lambda gradient: 3 * gradient)(logits)
    assert float(plain) == float(weighed)
    np.testing.assert_allclose(tape.gradient(weighed, logits), 3 * tape.gradient(plain, logits), rtol=1e-6)


def test_a_penalty_is_on_the_images_that_were_asked_about_last_real_ones_first():
    seen = []

    class Discriminator:
        trainable_variables = ["a"]

        def __call__(self, images, training):
            return images + training

    asked = WithPenalty(Discriminator(), lambda net, real, fake: seen.append((real, fake)) or 100)
    loss = asked.loss(lambda real, fake: real + fake)
    for real, fake in ((1, 2), (3, 4)):
        assert loss(asked(real, training=True), asked(fake, training=True)) == real + fake + 2 + 100
    assert seen == [(1, 2), (3, 4)] and asked.trainable_variables == ["a"]
