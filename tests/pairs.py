"""Two small nets with their train step, and what a step has to do, written out; for the tests of steps."""

from types import SimpleNamespace

import keras
import numpy as np
import tensorflow as tf

import dcgan_utils as dcgan
from lab import runs


def make_pair(pixels, *, noise_seed=0, optimizers=None, losses=None, **added):
    """Nets, an averaged generator of other weights, `step(indices, number)`; `added` is what a run adds to a step."""
    nets = (dcgan.build_generator((16, 16, 1), 8, width=4, refinements=1),
            dcgan.build_discriminator((16, 16, 1), width=4))
    averaged = dcgan.build_generator((16, 16, 1), 8, width=4, refinements=1, seed=1)
    for weight in averaged.weights:
        weight.assign(weight + 0.5)
    optimizers = optimizers or [keras.optimizers.Adam(1e-3, beta_1=0.5) for _ in range(2)]
    losses = losses or (dcgan.discriminator_loss, dcgan.generator_loss)
    if added:
        steps, _ = runs.compose_step(*nets, optimizers, averaged, pixels, seed=noise_seed, losses=losses, **added)
    else:
        steps = dcgan.make_steps(dcgan.make_train_step(*nets, *optimizers, losses), pixels, 8, seed=noise_seed,
                                 after_step=dcgan.make_average(nets[0], averaged))

    def step(indices, number):
        return dict(zip(dcgan.METRICS, steps(np.asarray(indices, np.int32)[None], number).numpy()[0], strict=True))

    return SimpleNamespace(generator=nets[0], discriminator=nets[1], averaged=averaged, step=step, steps=steps)


def indices(start, count):
    return np.arange(start, start + count, dtype=np.int32)


def equal(first, second):
    return all(np.array_equal(one, two) for one, two in zip(first, second, strict=True))


def trainable_weights(pair):
    return [[weight.numpy() for weight in net.trainable_variables] for net in (pair.generator, pair.discriminator)]


def cross_entropy_of_discriminator(real, fake):
    return tf.reduce_mean(tf.math.softplus(-real)) + tf.reduce_mean(tf.math.softplus(fake))


def cross_entropy_of_generator(fake):
    return tf.reduce_mean(tf.math.softplus(-fake))


def replay(pair, pixels, chosen, step, seed, losses=(cross_entropy_of_discriminator, cross_entropy_of_generator),
           penalty=None):
    """What a step has to return, and the gradients it has to follow, written out; leaves the nets as they were.

    `pair.statistics` become the moving statistics that the step has to leave.
    """
    nets = pair.generator, pair.discriminator
    before = [net.get_weights() for net in nets]
    real = dcgan.to_model_range(tf.gather(pixels, chosen))
    noise = dcgan.make_noise(len(chosen), 8, seed=seed, step=step)
    with tf.GradientTape(persistent=True) as tape:
        fake = pair.generator(noise, training=True)
        real_logits, fake_logits = pair.discriminator(real, training=True), pair.discriminator(fake, training=True)
        d_loss = losses[0](real_logits, fake_logits) + (penalty(pair.discriminator, real, fake) if penalty else 0)
        g_loss = losses[1](fake_logits)
    gradients = [tape.gradient(loss, net.trainable_variables) for loss, net in zip((g_loss, d_loss), nets)]
    pair.statistics = [[variable.numpy() for variable in net.non_trainable_variables] for net in nets]
    for net, weights in zip(nets, before):
        net.set_weights(weights)
    real_logits, fake_logits = real_logits.numpy(), fake_logits.numpy()
    metrics = {"d_loss": float(d_loss), "g_loss": float(g_loss),
               "d_real_accuracy": (real_logits > 0).mean(), "d_fake_accuracy": (fake_logits <= 0).mean(),
               "d_real_mean": (1 / (1 + np.exp(-real_logits))).mean(),
               "d_fake_mean": (1 / (1 + np.exp(-fake_logits))).mean()}
    return metrics, gradients
