"""The nets that `make bench` and `make quality` compare: the course's default run's, and the TensorFlow tutorial's."""

import math

import keras
import tensorflow as tf

import dcgan_utils as dcgan
from lab import runs

TUTORIAL_BATCH, TUTORIAL_LATENT_DIM = 256, 100
DEFAULTS = runs.train.__kwdefaults__


def tutorial_trainer():
    """Nets and train step of tensorflow.org/tutorials/generative/dcgan: its layers, Adam 1e-4, dropout 0.3.

    Returns `(generator, step, variables)`; `step(real, noise)` takes images in [-1, 1] and as many noise vectors.
    """
    layers = keras.layers
    generator = keras.Sequential([
        keras.Input((TUTORIAL_LATENT_DIM,)), layers.Dense(7 * 7 * 256, use_bias=False), layers.BatchNormalization(),
        layers.LeakyReLU(), layers.Reshape((7, 7, 256)),
        layers.Conv2DTranspose(128, 5, strides=1, padding="same", use_bias=False), layers.BatchNormalization(),
        layers.LeakyReLU(),
        layers.Conv2DTranspose(64, 5, strides=2, padding="same", use_bias=False), layers.BatchNormalization(),
        layers.LeakyReLU(),
        layers.Conv2DTranspose(1, 5, strides=2, padding="same", use_bias=False, activation="tanh")])
    discriminator = keras.Sequential([
        keras.Input((28, 28, 1)),
        layers.Conv2D(64, 5, strides=2, padding="same"), layers.LeakyReLU(), layers.Dropout(0.3),
        layers.Conv2D(128, 5, strides=2, padding="same"), layers.LeakyReLU(), layers.Dropout(0.3),
        layers.Flatten(), layers.Dense(1)])
    optimizers = keras.optimizers.Adam(1e-4), keras.optimizers.Adam(1e-4)
    for optimizer, net in zip(optimizers, (generator, discriminator)):
        optimizer.build(net.trainable_variables)
    cross_entropy = keras.losses.BinaryCrossentropy(from_logits=True)

    @tf.function
    def step(real, noise):
        with tf.GradientTape() as generator_tape, tf.GradientTape() as discriminator_tape:
            fake = generator(noise, training=True)
            real_logits, fake_logits = discriminator(real, training=True), discriminator(fake, training=True)
            g_loss = cross_entropy(tf.ones_like(fake_logits), fake_logits)
            d_loss = (cross_entropy(tf.ones_like(real_logits), real_logits)
                      + cross_entropy(tf.zeros_like(fake_logits), fake_logits))
        for tape, loss, net, optimizer in ((generator_tape, g_loss, generator, optimizers[0]),
                                           (discriminator_tape, d_loss, discriminator, optimizers[1])):
            optimizer.apply(tape.gradient(loss, net.trainable_variables), net.trainable_variables)
        return g_loss

    variables = [variable.value for part in (generator, discriminator, *optimizers) for variable in part.variables]
    return generator, step, variables


def default_trainer(images, seed=0, compiled=None):
    """Nets and steps of `train` by its default settings; `compiled` is the shape of calls that XLA compiles, if any.

    Returns `(steps, averaged_generator, variables)`, `steps` as of `dcgan_utils.make_steps`.
    """
    nets = dcgan.build_generator(seed=seed), dcgan.build_discriminator(seed=seed)
    averaged = keras.models.clone_model(nets[0])
    averaged.set_weights(nets[0].get_weights())
    adam = {name: DEFAULTS[name] for name in ("learning_rate", "beta_1", "beta_2")}
    steps, optimizers = runs.compose_step(*nets, [keras.optimizers.Adam(**adam) for _ in nets], averaged, images,
                                          seed=seed, averaging=DEFAULTS["averaging"], compiled=compiled)
    return steps, averaged, [variable.value for part in (*nets, averaged, *optimizers) for variable in part.variables]


def multiply_adds(layer):
    """Of a layer's forward product for one image. Pixels of the padding count, as is usual."""
    shape = (layer.input if isinstance(layer, keras.layers.Conv2DTranspose) else layer.output).shape
    return math.prod(layer.kernel.shape) * math.prod(shape[1:-1])


def step_operations(generator, discriminator, batch):
    """Floating-point operations of the matrix products and convolutions that a train step needs, two a multiply-add.

    The generator's layers: forward, weight gradient, input gradient. The discriminator's: these three on real and on
    generated images, and once more the input gradient on generated ones, of the generator's loss. First layers need
    no input gradient but this last one.
    """
    (g_first, *g_others), (d_first, *d_others) = (
        [multiply_adds(layer) for layer in net.layers if hasattr(layer, "kernel")]
        for net in (generator, discriminator))
    return 2 * batch * (2 * g_first + 3 * sum(g_others) + 5 * d_first + 7 * sum(d_others))
