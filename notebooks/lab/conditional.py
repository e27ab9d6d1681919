"""Conditional nets: a generator that draws the class it is asked for, a discriminator that is told the class.

Labels are whole numbers from 0, `(n,)`, the second input of both nets. Used by lab.runs for such nets.
"""

import math

import keras
import numpy as np
import tensorflow as tf

from dcgan_utils import build_discriminator, build_generator, check_positive, make_noise

WAYS = ("projection", "channel", "auxiliary")  # in which a discriminator can use the label


def build_conditional_generator(image_shape, classes, latent_dim=64, *, seed=0, **options):
    """Noise and label to image: float32 `(n, latent_dim)` and int32 `(n,)` to float32 `(n, *image_shape)` in [-1, 1].

    `build_generator`'s net, whose noise is joined by a vector of the same length, learned for each class: Mirza and
    Osindero 2014, https://arxiv.org/abs/1411.1784. The first vectors are drawn like noise, N(0, 1).

    Args:
        classes: how many there are.
        options: `image_shape`, `latent_dim`, `seed` and the others are those of `build_generator`.
    """
    check_positive(classes=classes, latent_dim=latent_dim)
    plain = build_generator(image_shape, 2 * latent_dim, seed=seed, **options)
    noise, label = keras.Input((latent_dim,), name="noise"), label_input()
    joined = keras.layers.Concatenate()([noise, embed(label, classes, latent_dim, 1000 * seed + 400)])
    return keras.Model([noise, label], through_copies(plain.layers, joined), name=plain.name)


def build_conditional_discriminator(image_shape, classes, way="projection", *, seed=0, **options):
    """Image and label to verdict: float32 `(n, *image_shape)` in [-1, 1] and int32 `(n,)` to logits `(n, 1)`.

    `build_discriminator`'s net; what it answers is whether this is a real image of this class.

    Args:
        classes: how many there are.
        way: what becomes of the label.
            "channel": see `with_channel`;
            "projection": see `with_projection`;
            "auxiliary": see `with_class_head`.
        options: `image_shape`, `seed` and the others are those of `build_discriminator`.
    """
    if way not in WAYS:
        raise ValueError(f"way is {way!r}; wanted one of {', '.join(map(repr, WAYS))}.")
    check_positive(classes=classes)
    *body, last = build_discriminator(image_shape, seed=seed, **options).layers
    image, label, seed = keras.Input(image_shape, name="image"), label_input(), 1000 * seed + 900
    seen = with_channel(image, label, classes, seed) if way == "channel" else image
    features = through_copies(body, seen)
    logits = through_copies([last], features)
    if way == "projection":
        logits = with_projection(logits, features, label, classes, seed)
    if way == "auxiliary":
        logits = with_class_head(logits, features, label, classes, seed)
    return keras.Model([image, label], logits, name="discriminator")


def label_input():
    """A label for each image: an input of whole numbers, `(n,)`."""
    return keras.Input((), dtype="int32", name="label")


def embed(label, classes, length, seed, deviation=1.0):
    """A vector for each label, `(n,)` to `(n, length)`: its row of a table, learned, N(0, deviation^2) at first."""
    initial = keras.initializers.RandomNormal(stddev=deviation, seed=seed)
    return keras.layers.Embedding(classes, length, embeddings_initializer=initial)(label)


def through_copies(layers, inputs):
    """What comes out of layers one after the other, each made anew as it was set, with the same first weights."""
    for layer in layers:
        inputs = type(layer).from_config(layer.get_config())(inputs)
    return inputs


def with_channel(image, label, classes, seed):
    """The image with one more channel, a picture that is learned for each class.

    After Mirza and Osindero 2014, https://arxiv.org/abs/1411.1784.
    """
    height, width = image.shape[1:3]
    picture = keras.layers.Reshape((height, width, 1))(embed(label, classes, height * width, seed))
    return keras.layers.Concatenate()([image, picture])


def with_projection(logits, features, label, classes, seed):
    """The verdict plus the inner product of a vector, learned for each class, with the features that it is made of.

    Miyato and Koyama 2018, https://arxiv.org/abs/1802.05637.
    """
    vector, precise = embed(label, classes, features.shape[-1], seed, 0.02), {"dtype": keras.config.floatx()}
    return keras.layers.Add(**precise)([logits, keras.layers.Dot(1, **precise)([vector, features])])


@keras.saving.register_keras_serializable(package="lab")
class ClassLoss(keras.layers.Layer):
    """Hand on the verdict, and add to the net's losses the cross-entropy of class logits: a scalar, in nats.

    `[logits (n, 1), class logits (n, classes), labels (n,)]` to `logits`; log(classes) if all are held for equally
    likely. Odena et al. 2017, https://arxiv.org/abs/1610.09585.
    """

    def call(self, inputs):
        logits, class_logits, labels = inputs
        self.add_loss(tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels, class_logits)))
        return logits

    def compute_output_shape(self, input_shape):
        return input_shape[0]


def with_class_head(logits, features, label, classes, seed):
    """The verdict as it is, without the label; a second head on the same features, "class_logits", reads the class.

    How badly it reads is added to both nets' losses, see `ClassLoss`. Odena et al. 2017,
    https://arxiv.org/abs/1610.09585.
    """
    initial, precise = keras.initializers.RandomNormal(stddev=0.02, seed=seed), {"dtype": keras.config.floatx()}
    read = keras.layers.Dense(classes, kernel_initializer=initial, name="class_logits", **precise)(features)
    return ClassLoss(**precise)([logits, read, label])


def check_way(way, data):
    """Refuse a way that there is not, or one for a `Dataset` without labels; '' is for nets that are not told."""
    if way not in ("", *WAYS):
        raise ValueError(f"the way to use the label is {way!r}; wanted one of {', '.join(WAYS)}, or '' for none.")
    if way and data.labels is None:
        raise ValueError(f"{way} nets are told the class of an image, and the data, {data.source}, have no labels: "
                         "sort the images into sub-folders, which name the classes, or leave CONDITIONAL out.")


def is_conditional(net):
    """Whether a net takes labels, too."""
    return len(net.inputs) == 2


def classes_of(net):
    """How many classes a net has a vector for each of: those that a generator can be asked for; 0 if it has none."""
    return sum(layer.input_dim for layer in net.layers if isinstance(layer, keras.layers.Embedding))


def check_labels(generator, discriminator, data):
    """Refuse nets of which one alone takes labels, and for such nets a `Dataset` without labels or of other classes."""
    conditional = [is_conditional(net) for net in (generator, discriminator)]
    if not any(conditional):
        return
    if not all(conditional):
        name, other = ("generator", "discriminator")[::1 if conditional[0] else -1]
        raise ValueError(f"the {name} takes labels, the {other} does not; build both by lab.conditional, or neither.")
    if data.labels is None:
        raise ValueError(f"the nets take labels, and the data, {data.source}, have none: give a Dataset with labels "
                         "(sub-folders name the classes), or build the nets without classes.")
    for name, net in (("generator", generator), ("discriminator", discriminator)):
        known = {classes_of(net), *(layer.units for layer in net.layers if layer.name == "class_logits")} - {0}
        if known - {len(data.class_names)}:
            raise ValueError(f"the {name} is made for {', '.join(map(str, known))} classes, the data have "
                             f"{len(data.class_names)}; build it with classes=len(data.class_names).")


def draw_labels(labels, count, *, seed):
    """`count` of the labels at random, so that classes come about as often as among them; None if there are none."""
    return None if labels is None else np.random.default_rng(seed).choice(labels, count)


def grid_inputs(generator, classes, *, seed):
    """What the grid of a run is made from, `(inputs, columns)`: 64 noise vectors, 8 in a row.

    For a conditional generator a row is one noise vector with each of the `classes` in turn, the first 16 at most; if
    they are fewer than 8, it goes on with further noise vectors.
    """
    latent_dim = generator.inputs[0].shape[-1]
    if not is_conditional(generator):
        return make_noise(64, latent_dim, seed=seed), 8
    shown = min(classes, 16)
    vectors = 8 * math.ceil(8 / shown)
    noise = make_noise(vectors, latent_dim, seed=seed)
    return [tf.repeat(noise, shown, axis=0), tf.tile(tf.range(shown), [vectors])], vectors * shown // 8
