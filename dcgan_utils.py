"""A DCGAN, shown whole: value ranges, two nets, losses, the train step, the loop, pictures. Copied alone, it trains.

One section per notebook, 01 to 04, in their order. Images are uint8 arrays `(n, height, width, channels)` outside the
nets and float32 in [-1, 1] inside them. The discriminator returns logits; real is 1, generated 0. Import does no work.
"""

import itertools
import math
from pathlib import Path

import imageio.v3 as imageio
import keras
import matplotlib.pyplot as plt
import numpy as np
import tensorflow as tf
from PIL import Image, ImageDraw, ImageFont, ImageOps

if (keras.backend.backend(), keras.config.image_data_format()) != ("tensorflow", "channels_last"):
    raise ImportError(f"Keras runs with {keras.backend.backend()} and {keras.config.image_data_format()}; wanted "
                      "tensorflow and channels_last: unset KERAS_BACKEND, and correct backend and image_data_format in "
                      "keras.json, in ~/.keras or KERAS_HOME.")

__all__ = [
    "to_model_range", "to_uint8", "check_positive", "check_share", "LEGAL_SIDES", "check_image_shape", "make_noise",
    "build_generator", "MinibatchStatistics", "build_discriminator", "METRICS", "discriminator_loss", "generator_loss",
    "make_train_step", "make_average", "make_steps", "batches_of", "train_loop", "run_in_batches", "generate_images",
    "make_grid", "save_gif", "plot_images", "plot_history",
]


# 01 Data -------------------------------------------------------------------------------------------------------

def to_model_range(images):
    """uint8 pixels, 0 to 255, to a float32 tensor of the same shape in [-1, 1], the range of tanh."""
    return tf.cast(images, tf.float32) / 127.5 - 1.0


def to_uint8(images):
    """Finite float32 images in [-1, 1] to a uint8 array of the same shape, 0 to 255; values outside are clipped."""
    images = np.asarray(images)
    if images.dtype.kind != "f":
        raise ValueError(f"images are {images.dtype}; wanted float32 in [-1, 1], as the nets make them.")
    if not np.isfinite(images).all():
        raise ValueError("images hold NaN or infinite values, which cannot be shown as pixels.")
    return np.clip(np.rint((images + 1.0) * 127.5), 0, 255).astype(np.uint8)


# 02 Generator --------------------------------------------------------------------------------------------------

LEGAL_SIDES = (16, 20, 24, 28, 32, 40, 48, 56, 64, 80, 96, 112, 128)


def check_positive(**values):
    """Refuse arguments that are not whole numbers of at least 1."""
    for name, value in values.items():
        if not isinstance(value, (int, np.integer)) or isinstance(value, bool) or value < 1:
            raise ValueError(f"{name} is {value!r}; wanted a whole number of at least 1.")


def check_image_shape(image_shape):
    """Check `(side, side, channels)`, side of `LEGAL_SIDES`, 1 or 3 channels; say how nets get there by doubling.

    Returns `(start, doublings)`, the side of the smallest feature map, 4 to 7, and how often it doubles: 28 is (7, 2).
    """
    shape = tuple(image_shape) if isinstance(image_shape, (tuple, list)) else (image_shape,)
    if len(shape) != 3 or shape[0] != shape[1] or shape[0] not in LEGAL_SIDES or shape[2] not in (1, 3):
        raise ValueError(f"image_shape is {shape}; wanted (side, side, channels) with side one of "
                         f"{', '.join(map(str, LEGAL_SIDES))} and channels 1 (grey) or 3 (colour).")
    start, doublings = shape[0], 0
    while start > 7:
        start, doublings = start // 2, doublings + 1
    return start, doublings


def make_noise(count, latent_dim, *, seed, step=-1):
    """Standard normal noise, float32 `(count, latent_dim)`, decided by seed and step alone; step -1 is for pictures."""
    return tf.random.stateless_normal([count, latent_dim], tf.stack([tf.cast(seed, tf.int64), tf.cast(step, tf.int64)]))


def build_generator(image_shape=(28, 28, 1), latent_dim=64, *, hidden=128, width=16, refinements=3, kernel_size=4,
                    batch_norm=True, seed=0):
    """Noise to image: float32 `(n, latent_dim)`, standard normal, to float32 `(n, *image_shape)` in [-1, 1].

    Two dense layers make the smallest feature map, transposed convolutions of stride 2 double it, plain convolutions at
    half the final size refine it. Radford et al. 2016, https://arxiv.org/abs/1511.06434, with the dense layers of Chen
    et al. 2016, https://arxiv.org/abs/1606.03657.

    Args:
        image_shape: `(side, side, channels)`, see `check_image_shape`.
        latent_dim: length of a noise vector.
        hidden: outputs of the first dense layer; None leaves it out.
        width: channels at half the final size; each halving of the side doubles them.
        refinements: plain 3 x 3 convolutions at half the final size, 1 or more.
        kernel_size: of the transposed convolutions, in pixels.
        batch_norm: normalise after every layer but the last.
        seed: of the initial weights, N(0, 0.02).
    """
    start, doublings = check_image_shape(image_shape)
    check_positive(latent_dim=latent_dim, hidden=1 if hidden is None else hidden, width=width,
                   refinements=refinements, kernel_size=kernel_size)
    seeds, layers = itertools.count(1000 * seed), keras.layers

    def initial():
        return keras.initializers.RandomNormal(stddev=0.02, seed=next(seeds))

    def block(layer, *sizes, **options):
        weighted = layer(*sizes, use_bias=not batch_norm, kernel_initializer=initial(), **options)
        return [weighted, *([layers.BatchNormalization(momentum=0.9)] if batch_norm else []), layers.ReLU()]

    first, *others = [width * 2 ** i for i in reversed(range(doublings))]
    stack = [keras.Input((latent_dim,)), *(block(layers.Dense, hidden) if hidden else [])]
    dense, *normalised = block(layers.Dense, start * start * first)
    stack += [dense, layers.Reshape((start, start, first)), *normalised]
    for channels in others:
        stack += block(layers.Conv2DTranspose, channels, kernel_size, strides=2, padding="same")
    for _ in range(refinements):
        stack += block(layers.Conv2D, width, 3, padding="same")
    stack += [layers.Conv2DTranspose(image_shape[-1], kernel_size, strides=2, padding="same", activation="tanh",
                                     kernel_initializer=initial(), dtype=keras.config.floatx())]
    return keras.Sequential(stack, name="generator")


# 03 Discriminator ----------------------------------------------------------------------------------------------

@keras.saving.register_keras_serializable(package="dcgan_utils")
class MinibatchStatistics(keras.layers.Layer):
    """Append a channel that says how much the images of a group differ from each other.

    Float `(n, height, width, channels)` to `(n, height, width, channels + 1)`: one number a group of 4 images, their
    standard deviation, averaged over places and channels. If n is no multiple of 4, the last group is filled up with
    the first images. After Karras et al. 2018, https://arxiv.org/abs/1710.10196, section 3, and the authors' code.
    """

    def call(self, inputs):
        count, height, width, _ = tf.unstack(tf.shape(inputs))
        groups = (count + 3) // 4
        filled = tf.concat([inputs, tf.gather(inputs, tf.range(count, 4 * groups) % count)], axis=0)
        grouped = tf.reshape(filled, tf.concat([[groups, 4], tf.shape(inputs)[1:]], axis=0))
        variance = tf.math.reduce_variance(tf.cast(grouped, keras.config.floatx()), axis=1)  # too small for float16
        statistic = tf.repeat(tf.reduce_mean(tf.sqrt(variance + 1e-8), axis=[1, 2, 3]), 4)[:count]
        channel = tf.broadcast_to(statistic[:, None, None, None], [count, height, width, 1])
        return tf.concat([inputs, tf.cast(channel, inputs.dtype)], axis=-1)

    def compute_output_shape(self, input_shape):
        return (*input_shape[:-1], input_shape[-1] + 1)


def check_share(**values):
    """Refuse arguments that are not numbers from 0 to below 1."""
    for name, value in values.items():
        if not isinstance(value, (int, float, np.number)) or isinstance(value, bool) or not 0 <= value < 1:
            raise ValueError(f"{name} is {value!r}; wanted a number from 0 to below 1.")


def build_discriminator(image_shape=(28, 28, 1), *, width=16, hidden=64, kernel_size=4, batch_norm=True,
                        minibatch_statistics=True, dropout=0.0, seed=0):
    """Image to verdict: float32 `(n, *image_shape)` in [-1, 1] to logits `(n, 1)`; above 0 means "real".

    Convolutions of stride 2 halve the image to 4 to 7 pixels, a plain convolution sees the features together with
    `MinibatchStatistics`, a dense layer sees all places together. After the papers of `build_generator`.

    Args:
        image_shape: `(side, side, channels)`, see `check_image_shape`.
        width: channels after the first convolution; each halving of the side doubles them.
        hidden: outputs of the dense layer before the last; None leaves it out.
        kernel_size: of the strided convolutions, in pixels.
        batch_norm: normalise after every convolution but the first.
        minibatch_statistics: let it see how different the images of a batch are.
        dropout: share of activations dropped after each strided convolution, 0 to below 1.
        seed: of the initial weights, N(0, 0.02), and of dropout.
    """
    _, halvings = check_image_shape(image_shape)
    check_positive(width=width, hidden=1 if hidden is None else hidden, kernel_size=kernel_size)
    check_share(dropout=dropout)
    seeds, layers = itertools.count(1000 * seed + 500), keras.layers

    def initial():
        return keras.initializers.RandomNormal(stddev=0.02, seed=next(seeds))

    def block(layer, *sizes, normalise=batch_norm, **options):
        weighted = layer(*sizes, kernel_initializer=initial(), **options)
        return [weighted, *([layers.BatchNormalization(momentum=0.9)] if normalise else []), layers.LeakyReLU(0.2)]

    stack = [keras.Input(image_shape)]
    for i in range(halvings):
        stack += block(layers.Conv2D, width * 2 ** i, kernel_size, strides=2, padding="same",
                       normalise=batch_norm and i > 0)
        stack += [layers.Dropout(dropout, seed=next(seeds))] if dropout else []
    stack += [MinibatchStatistics()] if minibatch_statistics else []
    stack += [*block(layers.Conv2D, width * 2 ** (halvings - 1), 3, padding="same"), layers.Flatten()]
    stack += block(layers.Dense, hidden) if hidden else []
    stack += [layers.Dense(1, kernel_initializer=initial(), dtype=keras.config.floatx())]
    return keras.Sequential(stack, name="discriminator")


# 04 Training ---------------------------------------------------------------------------------------------------

METRICS = ("d_loss", "g_loss", "d_real_accuracy", "d_fake_accuracy", "d_real_mean", "d_fake_mean")


def discriminator_loss(real_logits, fake_logits):
    """Binary cross-entropy of real images labelled 1 plus that of generated ones labelled 0: a scalar, in nats.

    From logits `(n, 1)`: `-log D(x) - log(1 - D(G(z)))`, each averaged over its batch; 2 log 2 = 1.386 if D always says
    one half. Goodfellow et al. 2014, https://arxiv.org/abs/1406.2661.
    """
    return (tf.reduce_mean(tf.nn.sigmoid_cross_entropy_with_logits(tf.ones_like(real_logits), real_logits))
            + tf.reduce_mean(tf.nn.sigmoid_cross_entropy_with_logits(tf.zeros_like(fake_logits), fake_logits)))


def generator_loss(fake_logits):
    """Binary cross-entropy of generated images labelled 1, the non-saturating loss: a scalar, in nats.

    From logits `(n, 1)`: `-log D(G(z))`, averaged; log 2 = 0.693 if D says one half. Goodfellow et al., section 3.
    """
    return tf.reduce_mean(tf.nn.sigmoid_cross_entropy_with_logits(tf.ones_like(fake_logits), fake_logits))


def make_train_step(generator, discriminator, generator_optimizer, discriminator_optimizer,
                    losses=(discriminator_loss, generator_loss)):
    """Make a fresh `tf.function` that trains both nets on one batch; several can live side by side.

    Each net has a Keras optimiser of its own, which is built here. Losses are functions of logits, as the two above, of
    TensorFlow's operations alone: `tf.cond` in place of an `if` on a tensor.

    Returns:
        `train_step(real, noise)`: images, float32 `(batch, height, width, channels)` in [-1, 1], and as many noise
        vectors, float32 `(batch, latent_dim)`. It returns a dict of the scalars `METRICS`: both losses, the shares of
        real and of generated images that were judged rightly, and the mean probability of "real" for either.
    """
    generator_optimizer.build(generator.trainable_variables)
    discriminator_optimizer.build(discriminator.trainable_variables)

    @tf.function(autograph=False, reduce_retracing=True)
    def train_step(real, noise):
        with tf.GradientTape() as generator_tape, tf.GradientTape() as discriminator_tape:
            fake = generator(noise, training=True)
            real_logits = discriminator(real, training=True)
            fake_logits = discriminator(fake, training=True)
            d_loss = losses[0](real_logits, fake_logits)
            g_loss = losses[1](fake_logits)
        g_gradients = generator_tape.gradient(g_loss, generator.trainable_variables)
        d_gradients = discriminator_tape.gradient(d_loss, discriminator.trainable_variables)
        generator_optimizer.apply(g_gradients, generator.trainable_variables)
        discriminator_optimizer.apply(d_gradients, discriminator.trainable_variables)
        return {"d_loss": d_loss, "g_loss": g_loss,
                "d_real_accuracy": tf.reduce_mean(tf.cast(real_logits > 0, tf.float32)),
                "d_fake_accuracy": tf.reduce_mean(tf.cast(fake_logits <= 0, tf.float32)),
                "d_real_mean": tf.reduce_mean(tf.sigmoid(real_logits)),
                "d_fake_mean": tf.reduce_mean(tf.sigmoid(fake_logits))}

    return train_step


def make_average(generator, averaged_generator, averaging=0.9995):
    """Make `update(step)`, which lets a clone of the generator follow it, to be called after each step.

    All its weights, BatchNorm's statistics too, become `decay * own + (1 - decay) * generator's` with decay
    `min(averaging, (1 + step) / (10 + step))`; `averaging`, 0 to below 1, is the final decay, and 0 makes a copy.
    """
    check_share(averaging=averaging)

    def update(step):
        steps_done = tf.cast(step, keras.config.floatx())
        decay = tf.minimum((1 + steps_done) / (10 + steps_done), averaging)
        for average, weight in zip(averaged_generator.weights, generator.weights):
            average.assign(weight + decay * (average - weight))

    return update


def make_steps(train_step, images, latent_dim, *, labels=None, seed=0, after_step=lambda step: None, compiled=False):
    """Make a `tf.function` that takes several steps in one call, since each call costs time, too.

    Of all training images, uint8 `(n, height, width, channels)`; noise is drawn anew for each step from (seed, step).
    With `labels`, whole numbers `(n,)`, the step gets `[real, labels]` and `[noise, labels]`, the same labels in both.
    `after_step` is called with the number of each step, an int64 tensor, such as what `make_average` returns.
    `compiled` makes one program of a call by XLA, which draws other noise; each new shape of `indices` compiles anew.

    Returns:
        `steps(indices, first_step)`: which images make the batch of each step, int32 `(steps, batch)`, and the number
        of the first step, from 0. It returns the metrics of each step, `(steps, 6)`, in the order of `METRICS`.
    """
    images = tf.constant(images)

    def step(batch):
        indices, number = batch
        real = to_model_range(tf.gather(images, indices))
        noise = make_noise(tf.size(indices), latent_dim, seed=seed, step=number)
        if labels is not None:  # for nets that are told the class
            real, noise = ([inputs, tf.gather(labels, indices)] for inputs in (real, noise))
        metrics = train_step(real, noise)
        after_step(number)
        return tf.stack([tf.cast(metrics[name], keras.config.floatx()) for name in METRICS])

    @tf.function(autograph=False, jit_compile=compiled or None,
                 input_signature=[tf.TensorSpec([None, None], tf.int32), tf.TensorSpec([], tf.int64)])
    def steps(indices, first_step):
        numbers = first_step + tf.range(tf.shape(indices, tf.int64)[0])
        return tf.map_fn(step, (indices, numbers), fn_output_signature=keras.config.floatx(), parallel_iterations=1)

    return steps


def batches_of(epoch, count, batch_size, *, seed=0, at_a_time=16):
    """An epoch's images in an order of its own, by (seed, epoch): each once, the last batch holds what is left.

    Yields `(first_step, indices)`, the indices int32 `(steps, batch)` of at most `at_a_time` steps.
    """
    order = np.random.default_rng([seed, epoch + 1]).permutation(count).astype(np.int32)
    steps = count // batch_size
    whole = order[:steps * batch_size].reshape(steps, batch_size)
    first_step = epoch * math.ceil(count / batch_size)
    for indices in [*np.split(whole, range(at_a_time, steps, at_a_time)), order[None, whole.size:]]:
        if indices.size:
            yield first_step, indices
            first_step += len(indices)


def train_loop(steps, generator, count, *, epochs, batch_size=32, seed=0, callbacks=(), initial_epoch=0, at_a_time=16):
    """Train for some epochs and tell Keras' callbacks: `on_train_begin()`, `on_epoch_end(epoch, logs)` and so on.

    Args:
        steps: what `make_steps` returns.
        generator: the callbacks' `model`; one that sets its `stop_training` ends the training after the epoch.
        count: how many training images there are, at least `batch_size`.
        callbacks: Keras callbacks. Epochs count from 0. An epoch's logs are `METRICS`, means over its images; a
            batch's are means over the steps of a call, and `loss`, the sum of both losses.
        initial_epoch, at_a_time: epochs that were trained before, and steps in a call, at most.
    """
    callbacks, generator.stop_training = keras.callbacks.CallbackList(list(callbacks), model=generator), False
    callbacks.on_train_begin()
    for epoch in range(initial_epoch, epochs):
        callbacks.on_epoch_begin(epoch)
        totals = np.zeros(len(METRICS))
        for step, indices in batches_of(epoch, count, batch_size, seed=seed, at_a_time=at_a_time):
            metrics = steps(indices, step).numpy().astype(np.float64)
            totals += indices.shape[1] * metrics.sum(axis=0)
            logs = dict(zip(METRICS, metrics.mean(axis=0)))
            callbacks.on_train_batch_end(step + len(indices) - 1, {**logs, "loss": logs["d_loss"] + logs["g_loss"]})
        callbacks.on_epoch_end(epoch, dict(zip(METRICS, totals / count)))
        if generator.stop_training:
            break
    callbacks.on_train_end()


# Pictures ------------------------------------------------------------------------------------------------------

def run_in_batches(model, inputs, size=None):
    """Output of a model in inference mode, an array, in batches of `size`; by default 500 inputs, on a GPU 2,500."""
    parts, size = tf.nest.flatten(inputs), size or (2500 if tf.config.list_physical_devices("GPU") else 500)
    batches = ([part[i:i + size] for part in parts] for i in range(0, len(parts[0]), size))
    return np.concatenate([model(tf.nest.pack_sequence_as(inputs, batch), training=False) for batch in batches])


def generate_images(generator, count=10_000, *, seed=0, labels=None):
    """Images of a generator: uint8 `(count, height, width, channels)`, in inference mode, from the noise of a seed.

    One that embeds labels draws the classes `labels`, `(count,)` whole numbers or one; by default each in turn, from 0.
    """
    check_positive(count=count)
    inputs = make_noise(count, generator.inputs[0].shape[-1], seed=seed)
    classes = sum(layer.input_dim for layer in generator.layers if isinstance(layer, keras.layers.Embedding))
    if classes or labels is not None:
        labels = np.asarray(np.arange(count) % classes if labels is None else labels)
        if labels.dtype.kind not in "iu" or labels.shape not in ((), (count,)) or {*labels.flat} - {*range(classes)}:
            raise ValueError(f"labels are {labels}; wanted None, one or {count} of the generator's {classes} classes.")
        inputs = [inputs, tf.broadcast_to(labels, [count])]
    return to_uint8(run_in_batches(generator, inputs))


def _check_pictures(images):
    kind, shape = getattr(images, "dtype", type(images).__name__), getattr(images, "shape", ())
    if kind != np.uint8 or len(shape) != 4 or 0 in shape:
        raise ValueError(f"images are {kind} of shape {shape}; wanted uint8 (n, height, width, channels), n at least "
                         "1; to_uint8 converts from [-1, 1].")


def make_grid(images, columns=8, padding=2):
    """Images side by side: uint8 `(n, height, width, channels)` to uint8 `(rows, columns, channels)` in pixels."""
    _check_pictures(images)
    check_positive(columns=columns)
    tiles = np.pad(images, ((0, -len(images) % columns), (padding, 0), (padding, 0), (0, 0)), constant_values=64)
    _, height, width, channels = tiles.shape
    grid = tiles.reshape(-1, columns, height, width, channels).swapaxes(1, 2).reshape(-1, columns * width, channels)
    return np.pad(grid, ((0, padding), (0, padding), (0, 0)), constant_values=64)


def save_gif(frames, path, *, captions, milliseconds=200, last_milliseconds=2000):
    """Write frames as a GIF that loops, each with its caption above it, the last one held longer; never half a file.

    `frames` are uint8 arrays `(height, width)` or `(height, width, 3)`, all of one size, `captions` a string for each.
    """
    frames = [np.asarray(frame).squeeze() for frame in frames]
    if (not frames or len(frames) != len(captions) or len({frame.shape for frame in frames}) > 1
            or any(frame.dtype != np.uint8 or frame.shape[2:] not in ((), (3,)) for frame in frames)):
        raise ValueError(f"{len(frames)} frames and {len(captions)} captions; wanted as many of one as of the other, "
                         "at least one, and uint8 frames of one size, (height, width) or (height, width, 3).")
    if Path(path).suffix != ".gif":
        raise ValueError(f"path is {str(path)!r}; wanted the name of a file that ends in .gif.")
    drawn = [ImageOps.expand(Image.fromarray(frame), (0, 18, 0, 0), fill="white") for frame in frames]
    for image, caption in zip(drawn, captions):
        ImageDraw.Draw(image).text((4, 3), caption, fill="black", font=ImageFont.load_default(12))
    duration = [milliseconds] * (len(drawn) - 1) + [last_milliseconds] if len(drawn) > 1 else last_milliseconds
    partial = Path(path).with_name(f".partial-{Path(path).name}")
    try:
        imageio.imwrite(partial, [*map(np.asarray, drawn)], duration=duration, loop=0)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def plot_images(images, *, titles=None, columns=8, size=1.0, title=""):
    """A figure of images, uint8 `(n, height, width, channels)`, all on the same scale from 0 to 255.

    `titles` are one string an image, `columns` images in a row, `size` an image's in inches, `title` the figure's.
    """
    _check_pictures(images)
    if titles is not None and len(titles) != len(images):
        raise ValueError(f"there are {len(titles)} titles for {len(images)} images; wanted one for each, or None.")
    rows, lines = math.ceil(len(images) / columns), max(name.count("\n") + 1 for name in titles) if titles else 0
    height = rows * (size + (0.05 + 0.2 * lines if titles else 0)) + (0.3 if title else 0)
    figure, axes = plt.subplots(rows, columns, squeeze=False, layout="constrained", figsize=(columns * size, height),
                                subplot_kw={"frame_on": False, "xticks": [], "yticks": []})
    for axis, image, name in zip(axes.flat, images, titles or itertools.repeat("")):
        axis.imshow(image.squeeze(), cmap="gray", vmin=0, vmax=255)
        axis.set_title(name, fontsize=9)
    figure.suptitle(title)
    return figure


def plot_history(history):
    """A figure of a run's losses, accuracies, probabilities and distances, from a DataFrame with one row an epoch."""
    measured = history.dropna(subset="frechet_distance")
    count = 3 if measured.empty else 4
    figure, axes = plt.subplots(1, count, figsize=(4.3 * count, 3.6), layout="constrained")
    for axis, (title, names, label, level, meaning) in zip(axes, (
            ("Losses", ("d_loss", "g_loss"), "loss in nats", 2 * math.log(2), "D undecided: 2 log 2"),
            ("Accuracies", ("d_real_accuracy", "d_fake_accuracy", "g_accuracy"), "share of images", 0.5, "a coin"),
            ("What D believes", ("d_real_mean", "d_fake_mean"), "D's mean probability of real", 0.5, "undecided"))):
        for name in names:
            axis.plot(history["epoch"], history[name], marker=".", label=name)
        axis.axhline(level, color="grey", linestyle=":", label=meaning)
        axis.set(title=title, xlabel="epoch", ylabel=label)
        axis.legend(fontsize=8)
    plt.setp(axes[1:3], ylim=(0, 1))
    for axis in axes[3:]:
        axis.plot(measured["epoch"], measured["frechet_distance"], marker=".")
        axis.set(title="Distance to the real images", xlabel="epoch", ylabel="Frechet distance", yscale="log")
    return figure
