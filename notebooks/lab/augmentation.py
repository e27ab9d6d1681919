"""Differentiable augmentation: layers that change real and generated images at random, before the discriminator's own.

A discriminator of few images learns them by heart. If it never sees an image, real or generated, but changed, it has
more to learn from; the generator still learns to draw the images as they are, since its gradient comes through the
change. After Zhao et al. 2020, https://arxiv.org/abs/2006.10738, and Karras et al. 2020,
https://arxiv.org/abs/2006.06676. Used by lab.runs for such nets (notebook 13).
"""

import ast
import math

import keras
import tensorflow as tf

from dcgan_utils import build_discriminator, check_share


class Augmentation(keras.layers.Layer):
    """Change each image with a probability, in training only: float `(n, height, width, channels)` to the same.

    A kind of augmentation is a subclass with a function `change(images, *numbers)`. The `numbers` are random, from -1
    to below 1, `(n,)` each; `draws` says how many, and `options` name the attributes that the layer is set by.

    Args:
        probability: with which an image is changed, 0 to 1, at first: it is a weight of the layer, not a trained one.
        seed: of the random numbers.
    """

    draws, options = 0, ()

    def __init__(self, probability=1.0, *, seed=0, **names):
        super().__init__(**{"dtype": keras.config.floatx(), **names})  # too fine for float16
        if isinstance(probability, bool) or probability != 1:
            check_share(probability=probability)
        self.first_probability, self.seed = float(probability), seed
        self.probability = keras.Variable(probability, trainable=False, aggregation="mean", name="probability")
        self.seeds = keras.random.SeedGenerator(seed)

    def call(self, images, training=False):
        if not training:
            return images
        numbers = keras.random.uniform((tf.shape(images)[0], 1 + self.draws), -1, 1, seed=self.seeds)
        chance, *numbers = tf.unstack(numbers, axis=1)
        chosen = (chance + 1) / 2 < self.probability
        return tf.where(chosen[:, None, None, None], self.change(images, *numbers), images)

    def change(self, images):
        return images

    def settings(self):
        """What the layer is set by, a dict."""
        return {**{name: getattr(self, name) for name in self.options}, "probability": self.first_probability}

    def get_config(self):
        return {**super().get_config(), **self.settings(), "seed": self.seed}

    def compute_output_shape(self, input_shape):
        return input_shape


@keras.saving.register_keras_serializable(package="lab")
class ShiftAndZoom(Augmentation):
    """Shift each image, and enlarge or shrink it a little, about its middle; beyond an edge, its pixels go on.

    Args:
        shift: the farthest, down or up and right or left, as a share of the side; by whole pixels.
        zoom: the most, 0.1 for sides of 0.9 to 1.1 times the length.
    """

    draws, options = 3, ("shift", "zoom")

    def __init__(self, shift=0.125, zoom=0.0, **others):
        super().__init__(**others)
        check_share(shift=shift, zoom=zoom)
        self.shift, self.zoom = shift, zoom

    def change(self, images, down, right, larger):
        _, height, width, _ = images.shape
        factor = 1 + self.zoom * larger
        rows = take_pixels(height, tf.round(self.shift * height * down), factor)
        columns = take_pixels(width, tf.round(self.shift * width * right), factor)
        return tf.einsum("nik,nkjc->nijc", rows, tf.einsum("njk,nikc->nijc", columns, images))


def take_pixels(side, shift, factor):
    """Matrices `(n, side, side)`: times a row of pixels, each is that row, shifted by pixels and longer by a factor.

    A row of a matrix holds the weights of the old pixels in one new one, between two by linear interpolation. In place
    of gathering pixels, whose gradient TensorFlow cannot sum in a fixed order on a GPU.
    """
    places, middle = tf.range(side, dtype=shift.dtype), (side - 1) / 2
    taken = (places - middle - shift[:, None]) / factor[:, None] + middle
    taken = tf.clip_by_value(taken, 0, side - 1)
    return tf.nn.relu(1 - tf.abs(taken[:, :, None] - places))


@keras.saving.register_keras_serializable(package="lab")
class Turn(Augmentation):
    """Turn each image about its middle, by three slants, which have to move pixels along rows and columns only.

    Args:
        turn: the most, to either side, as a share of half a turn: 0.05 is 9 degrees. Paeth 1986, "A fast algorithm for
            general raster rotation", has the slants.
    """

    draws, options = 1, ("turn",)

    def __init__(self, turn=0.05, **others):
        super().__init__(**others)
        check_share(turn=turn)
        self.turn = turn

    def change(self, images, number):
        angle = math.pi * self.turn * number
        images = slant(images, -tf.tan(angle / 2))
        images = tf.transpose(slant(tf.transpose(images, [0, 2, 1, 3]), tf.sin(angle)), [0, 2, 1, 3])
        return slant(images, -tf.tan(angle / 2))


def slant(images, slope):
    """Each row moved to the right by `slope`, `(n,)`, times how far it is below the middle; images of any shape."""
    _, height, width, channels = images.shape
    shift = tf.reshape(slope[:, None] * (tf.range(height, dtype=slope.dtype) - (height - 1) / 2), [-1])
    rows = tf.reshape(images, [-1, width, channels])
    return tf.reshape(tf.matmul(take_pixels(width, shift, tf.ones_like(shift)), rows), tf.shape(images))


@keras.saving.register_keras_serializable(package="lab")
class Cutout(Augmentation):
    """Cover a square of each image with a middle grey; a part of the square may lie outside.

    Args:
        size: of the square, as a share of the side. DeVries and Taylor 2017, https://arxiv.org/abs/1708.04552.
    """

    draws, options = 2, ("size",)

    def __init__(self, size=0.5, **others):
        super().__init__(**others)
        check_share(size=size)
        self.size = size

    def change(self, images, down, right):
        near = [tf.abs(tf.linspace(-1.0, 1.0, side) - centre[:, None]) < self.size
                for side, centre in zip(images.shape[1:3], (down, right))]
        covered = near[0][:, :, None, None] & near[1][:, None, :, None]
        return tf.where(covered, tf.zeros_like(images), images)


@keras.saving.register_keras_serializable(package="lab")
class Flip(Augmentation):
    """Flip half of the images left to right; not for digits or letters, which are others when flipped."""

    draws = 1

    def change(self, images, number):
        return tf.where(number[:, None, None, None] < 0, images[:, :, ::-1], images)


def augmented(discriminator, layers):
    """A discriminator with augmentation before its first layer, and with the same weights; conditional ones, too."""
    known = isinstance(layers, (list, tuple)) and [isinstance(layer, Augmentation) for layer in layers]
    if not known or not all(known):
        raise ValueError(f"layers are {layers!r}; wanted a list of augmentations, such as [ShiftAndZoom()].")
    images, *labels = discriminator.inputs
    changed = images
    for layer in layers:
        changed = layer(changed)
    logits = discriminator.call([changed, *labels] if labels else changed)  # layer by layer, not as one layer
    return keras.Model(discriminator.inputs, logits, name=discriminator.name)


def build_augmented_discriminator(image_shape=(28, 28, 1), *, shift=0.125, zoom=0.0, turn=0.0, cutout=0.0,
                                  flip=False, probability=1.0, seed=0, **options):
    """`build_discriminator`'s net with augmentation before it.

    Args:
        shift, zoom: see `ShiftAndZoom`; left out where both are 0.
        turn: see `Turn`; left out at 0.
        cutout: size of the square, see `Cutout`; left out at 0.
        flip: see `Flip`.
        probability: of each of these, 0 to 1; where `AdaptiveStrength` decides, the first one.
        options: `image_shape`, `seed` and the others are those of `build_discriminator`.
    """
    layers = build_augmentation(shift=shift, zoom=zoom, turn=turn, cutout=cutout, flip=flip, probability=probability,
                                seed=seed)
    discriminator = build_discriminator(image_shape, seed=seed, **options)
    return augmented(discriminator, layers) if layers else discriminator


def build_augmentation(*, shift=0.0, zoom=0.0, turn=0.0, cutout=0.0, flip=False, probability=1.0, seed=0):
    """The layers that `build_augmented_discriminator` puts before its net, in their order."""
    seed_of, layers = 1000 * seed + 950, []
    if shift or zoom:
        layers += [ShiftAndZoom(shift, zoom, probability=probability, seed=seed_of)]
    if cutout:
        layers += [Cutout(cutout, probability=probability, seed=seed_of + 1)]
    if flip:
        layers += [Flip(probability, seed=seed_of + 2)]
    if turn:
        layers += [Turn(turn, probability=probability, seed=seed_of + 3)]
    return layers


def augmentations_of(discriminator):
    """The layers that augment, in their order; none of most nets."""
    return [layer for layer in discriminator.layers if isinstance(layer, Augmentation)]


def describe_augmentation(discriminator):
    """A line for each layer that augments, as a run's `config.json` has it."""
    return [f"{type(layer).__name__}({', '.join(f'{name}={value}' for name, value in layer.settings().items())})"
            for layer in augmentations_of(discriminator)]


def described_augmentation(lines):
    """Arguments of `build_augmentation` from the lines of `describe_augmentation`: a dict."""
    options = {}
    for line in lines:
        layer = ast.parse(line, mode="eval").body
        options |= {keyword.arg: ast.literal_eval(keyword.value) for keyword in layer.keywords}
        if layer.func.id == "Flip":
            options["flip"] = True
    return {"cutout" if name == "size" else name: value for name, value in options.items()}
