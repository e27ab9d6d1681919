"""What is added to the train step from outside: penalties, other weights of a loss, nets that rest; used from 06 on."""

import keras
import tensorflow as tf


class WithPenalty:
    """A discriminator whose loss has a penalty on the images that it was asked about, such as one on its gradient.

    Hand it to `make_train_step` in the discriminator's place, and `with_penalty.loss(discriminator_loss)` in the
    place of its loss. The step asks about real images first and then about generated ones.

    Args:
        penalty: a function of the discriminator, real images and generated ones, whose scalar is added to the loss.
    """

    def __init__(self, discriminator, penalty):
        self.discriminator, self.penalty, self.asked = discriminator, penalty, []
        self.trainable_variables = discriminator.trainable_variables

    def __call__(self, images, training):
        self.asked = [*self.asked[-1:], images]
        return self.discriminator(images, training=training)

    def loss(self, loss):
        return lambda *logits: loss(*logits) + self.penalty(self.discriminator, *self.asked)


def handing_on_labels(generator):
    """A conditional generator as the step wants it: `[noise, labels]` to `[images, labels]`, for the discriminator."""
    return keras.Model(generator.inputs, [generator.output, generator.inputs[1]])


def on_images(penalty, discriminator):
    """A penalty for the step of a conditional discriminator, which is asked about `[images, labels]`.

    The `penalty` itself is one as of any discriminator, a function of images: the labels stay what they are.
    """
    def with_labels(_, real, fake):
        (real, labels), (fake, _) = real, fake
        return penalty(lambda images, training: discriminator([images, labels], training=training), real, fake)

    return with_labels


class WithOwnLosses:
    """A discriminator whose layers add losses of their own (`add_loss`) when it is asked, such as for a wrong class.

    Hand it to `make_train_step` in the discriminator's place, and what `losses` returns in the place of the two losses:
    what is added at real images and at generated ones is the discriminator's, the latter the generator's, too.
    """

    def __init__(self, discriminator):
        self.discriminator, self.added = discriminator, []
        self.trainable_variables = discriminator.trainable_variables

    def __call__(self, inputs, training):
        logits = self.discriminator(inputs, training=training)
        self.added = [*self.added[-1:], sum(self.discriminator.losses)]
        return logits

    def losses(self, d_loss, g_loss):
        return lambda *logits: d_loss(*logits) + sum(self.added), lambda fake: g_loss(fake) + self.added[-1]


def with_weight(loss, weigh):
    """The loss with another weight in training: its value stays, its gradient becomes `weigh(gradient)`."""
    @tf.custom_gradient
    def weighed(value):
        return tf.identity(value), weigh

    return lambda *logits: weighed(loss(*logits))


def falling(rate, steps):
    """A rate that falls linearly, in so many steps, to a twentieth, and stays there; without steps a constant one."""
    return keras.optimizers.schedules.PolynomialDecay(rate, steps, rate / 20) if steps else rate


class EveryNth:
    """A Keras optimiser that learns in each n-th step only, from the first on; in the others the net rests."""

    def __init__(self, optimizer, every):
        self.optimizer, self.every = optimizer, every
        self.steps = keras.Variable(0, dtype="int64", trainable=False, name="steps")

    @property
    def variables(self):
        return [*self.optimizer.variables, self.steps]

    def build(self, variables):
        self.optimizer.build(variables)

    def apply(self, gradients, variables):
        tf.cond(self.steps.value % self.every == 0, lambda: self.optimizer.apply(gradients, variables), lambda: None)
        self.steps.assign(self.steps + 1)
