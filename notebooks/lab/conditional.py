"""Conditional nets: a generator that draws the class it is asked for, a discriminator that is told the class.

Labels are whole numbers from 0, `(n,)`, the second input of both nets. Used by lab.runs for such nets.
"""

import math

import keras
import numpy as np
import tensorflow as tf

from dcgan_utils import MinibatchStatistics, build_discriminator, build_generator, check_positive, make_noise

WAYS = ("projection", "channel", "auxiliary")  # in which a discriminator can use the label


def build_conditional_generator(image_shape, classes, latent_dim=64, *, seed=0, **options):
    """Noise and label to image: float32 `(n, latent_dim)` and int32 `(n,)` to float32 `(n, *image_shape)` in [-1, 1].

    `build_generator`'s net, whose noise is joined by a vector of the same length, learned for each class: Mirza and
    Osindero 2014, https://arxiv.org/abs/1411.1784. The first vectors are shorter than the noise, N(0, 0.3^2): where
    they were as long, some classes came out in many kinds and others nearly in one.

    Args:
        classes: how many there are.
        options: `image_shape`, `latent_dim`, `seed` and the others are those of `build_generator`.
    """
    check_positive(classes=classes, latent_dim=latent_dim)
    plain = build_generator(image_shape, 2 * latent_dim, seed=seed, **options)
    noise, label = keras.Input((latent_dim,), name="noise"), label_input()
    joined = keras.layers.Concatenate()([noise, embed(label, classes, latent_dim, 1000 * seed + 400, 0.3)])
    return keras.Model([noise, label], through_copies(plain.layers, joined), name=plain.name)


def build_conditional_discriminator(image_shape, classes, way="projection", *, seed=0, **options):
    """Image and label to verdict: float32 `(n, *image_shape)` in [-1, 1] and int32 `(n,)` to logits `(n, 1)`.

    `build_discriminator`'s net, but with `ClassStatistics` in the place of `MinibatchStatistics`. What it answers is
    whether this is a real image of this class.

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
    seen = with_channel(image, label, classes) if way == "channel" else image
    features = through_copies(body, seen, label)
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


def through_copies(layers, inputs, label=None):
    """What comes out of layers one after the other, each made anew as it was set, with the same first weights.

    With a label, statistics are taken of each class.
    """
    for layer in layers:
        if label is not None and isinstance(layer, MinibatchStatistics):
            inputs = ClassStatistics()([inputs, label])
        else:
            inputs = type(layer).from_config(layer.get_config())(inputs)
    return inputs


@keras.saving.register_keras_serializable(package="lab")
class ClassStatistics(keras.layers.Layer):
    """Append a channel that says how much the images of a batch that are of one class differ from each other.

    `[maps (n, height, width, channels), labels (n,)]` to `(n, height, width, channels + 1)`: one number an image, the
    standard deviation among the images with its label, averaged over places and channels; 1e-4 if there is no other
    one. `MinibatchStatistics` looks at images of any classes, which differ even if a class is always the same image.
    """

    def call(self, inputs):
        maps, labels = inputs
        count, height, width, _ = tf.unstack(tf.shape(maps))
        flat = tf.reshape(tf.cast(maps, keras.config.floatx()), [count, -1])
        alike = tf.cast(labels[:, None] == labels, flat.dtype)
        share = alike / tf.reduce_sum(alike, axis=1, keepdims=True)  # times values: the mean of each one's class
        variance = tf.matmul(share, tf.square(flat - tf.matmul(share, flat)))
        statistic = tf.reduce_mean(tf.sqrt(variance + 1e-8), axis=1)
        channel = tf.broadcast_to(statistic[:, None, None, None], [count, height, width, 1])
        return tf.concat([maps, tf.cast(channel, maps.dtype)], axis=-1)

    def compute_output_shape(self, input_shape):
        (*shape, channels), _ = input_shape
        return (*shape, channels + 1)


def with_channel(image, label, classes):
    """The image with one more channel for each class: 1 everywhere in that of its own class, 0 in the others.

    After Mirza and Osindero 2014, https://arxiv.org/abs/1411.1784.
    """
    height, width = image.shape[1:3]
    own = keras.layers.Reshape((1, 1, classes), name="class_channels")(keras.ops.one_hot(label, classes))
    return keras.layers.Concatenate()([image, keras.ops.tile(own, (1, height, width, 1))])


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
    """The verdict, which sees no more of the label than the statistics do; a second head reads the class.

    How badly that head, "class_logits", reads is added to both nets' losses, see `ClassLoss`. Odena et al. 2017,
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
        known = {classes_of(net), *(layer.output.shape[-1] for layer in net.layers
                                    if layer.name in ("class_channels", "class_logits"))} - {0}
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
