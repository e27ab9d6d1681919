"""The frozen rulers: small classifiers in whose features images are compared, and the distance during training.

Used from notebook 04 on; notebook 05 explains it.
"""

import dataclasses
import functools
import hashlib
import itertools
import math
import sys
import time

import keras
import numpy as np
import pandas as pd
import scipy.special
import sklearn.metrics
from tqdm import tqdm

from dcgan_utils import check_image_shape, check_positive, generate_images, run_in_batches
from lab.conditional import draw_labels, is_conditional
from lab.datasets import as_dataset, default_epochs
from lab.files import ROOT, readable, replacing, run_folder, shown_path, smoke_mode
from lab.formats import listed
from lab.measures import (
    check_features,
    class_imbalance,
    frechet_distance,
    inception_score,
    kernel_distance,
    manifold_scores,
    memorisation,
    sample,
)

NAMED_NETS = {  # the shipped ones: name and SHA-256 of the file
    "mnist": ("mnist-1", "d9ed5d08a7c7aaaf01662b557ebbd43adf02e19ce43f0671a7ab80270056bc3d"),
    "fashion_mnist": ("fashion_mnist-1", "b57c00969c8ba7660f70aa760268376a12eac7204318fbeff98bc94fe4191f25"),
}
_SHIPPED = ROOT / "outputs" / "measuring_nets"


@dataclasses.dataclass(frozen=True)
class MeasuringNet:
    """A frozen classifier of `build_measuring_net`, in whose features images are compared.

    Attributes:
        name: of the net and its version; distances compare only where the names are equal.
        accuracy: share of test images that it classifies rightly.
        comparable: True for a net that ships with the course, whose numbers compare between people.
    """

    name: str
    model: keras.Model
    class_names: tuple
    accuracy: float
    comparable: bool = False

    def __post_init__(self):
        if not isinstance(self.model, keras.Model):
            raise ValueError(f"model is {self.model!r}; wanted a Keras model of build_measuring_net.")

    @functools.cached_property
    def _body(self):
        return keras.Model(self.model.inputs[0], self.model.get_layer("features").output)

    def features(self, images):
        """Penultimate features: uint8 `(n, height, width, channels)` to float64 `(n, 64)`."""
        images, wanted = np.asarray(images), self.model.input_shape[1:]
        if images.dtype != np.uint8 or images.shape[1:] != wanted or len(images) == 0:
            raise ValueError(f"images are {images.dtype} of shape {images.shape}; measuring net {self.name} wants "
                             f"uint8 (n, {', '.join(map(str, wanted))}), n at least 1; to_uint8 converts from [-1, 1].")
        return run_in_batches(self._body, images).astype(np.float64)

    def probabilities(self, features):
        """Class probabilities: float64 `(n, classes)`, from `features`."""
        features, = check_features(features=features)
        weights, bias = self.model.layers[-1].get_weights()
        if features.shape[1] != len(weights):
            raise ValueError(f"features are of shape {features.shape}; measuring net {self.name} wants its own, "
                             f"(n, {len(weights)}).")
        return scipy.special.softmax(features @ weights + bias, axis=1)


def build_measuring_net(image_shape, classes, *, seed=0):
    """A small classifier: uint8 `(n, *image_shape)` to logits `(n, classes)`; its layer "features" gives `(n, 64)`."""
    check_positive(classes=classes)
    _, halvings = check_image_shape(image_shape)
    layers, seeds = keras.layers, itertools.count(1000 * seed)

    def initial():
        return keras.initializers.HeNormal(seed=next(seeds))

    def convolution(count, size, strides=1):
        return [layers.Conv2D(count, size, strides=strides, padding="same", use_bias=False,
                              kernel_initializer=initial()),
                layers.BatchNormalization(momentum=0.9), layers.ReLU()]

    stack = [keras.Input(image_shape, dtype="uint8"), layers.Rescaling(1 / 127.5, offset=-1),
             *convolution(32, 5, strides=2)]
    for _ in range(halvings - 1):
        stack += [*convolution(64, 3), layers.MaxPooling2D()]
    stack += [*convolution(64, 3), *convolution(64, 3), layers.MaxPooling2D(),
              layers.Flatten(), layers.Dropout(0.3, seed=next(seeds)),
              layers.Dense(64, activation="elu", kernel_initializer=initial(), name="features"),
              layers.Dropout(0.2, seed=next(seeds)), layers.Dense(classes, kernel_initializer=initial())]
    return keras.Sequential(stack, name="measuring_net")


def train_measuring_net(data, *, held_out=None, seed=0, epochs=None):
    """Train a classifier of labelled images to measure with: a `MeasuringNet`; or load it if it was trained before.

    It is kept in `outputs/measuring_nets/`, under a name made of the data's hash and the seed, so distances by it
    compare with each other and with nothing else.

    Args:
        data: a `Dataset` with labels, of at least two classes with at least 10 images in each.
        held_out: a `Dataset` on which to test it; None keeps a tenth of each class of `data` back for that.
        seed: of its first weights and of the order of the images. Nets of two seeds are two independent rulers.
        epochs: by default 10, of 60,000 images each; 1 in smoke mode.
    """
    data = as_dataset(data)
    _check_trainable(data)
    held_out = held_out if held_out is None else as_dataset(held_out)
    if held_out and (held_out.labels is None or held_out.image_shape != data.image_shape
                     or tuple(held_out.class_names) != tuple(data.class_names)):
        raise ValueError(f"held_out: {held_out.source}, images of shape {held_out.image_shape}, classes "
                         f"{listed(held_out.class_names, 10, 50)}; wanted labelled ones of shape {data.image_shape}, "
                         f"classes {listed(data.class_names, 10, 50)}.")
    path = _own_net_path(data, seed)
    if path.exists():
        return _read_measuring_net(path)
    if held_out is None:
        kept_back = np.zeros(len(data.images), bool)
        kept_back[np.argsort(data.labels, kind="stable")[9::10]] = True
        data, held_out = (dataclasses.replace(data, images=data.images[keep], labels=data.labels[keep])
                          for keep in (~kept_back, kept_back))
    model = build_measuring_net(data.image_shape, len(data.class_names), seed=seed)
    _fit_measuring_net(model, data, seed, epochs or (1 if smoke_mode() else default_epochs(len(data.images), 600_000)))
    guesses = model.predict(held_out.images, batch_size=500, verbose=0).argmax(axis=1)
    net = MeasuringNet(path.stem, model, data.class_names, float((guesses == held_out.labels).mean()))
    with replacing(path) as partial, open(partial, "wb") as file:
        np.savez(file, *model.get_weights(), class_names=np.array(net.class_names), accuracy=net.accuracy,
                 image_shape=data.image_shape)
    print(f"{shown_path(path)}: {net.accuracy:.2%} of {len(held_out.images):,} held-out images right. Distances by it "
          "compare only with each other.")
    return net


def check_measurable(data):
    """Refuse a `Dataset` for which there is no measuring net and on which none can be trained, by a ValueError."""
    if not _is_shipped(data):
        _check_trainable(data)


def _is_shipped(data):
    return data.name in NAMED_NETS and data.image_shape == (28, 28, 1)


def _check_trainable(data):
    missing = _what_is_missing(data)
    if missing:
        raise ValueError(f"{data.source}: {missing}")


def _what_is_missing(data):
    """What a measuring net needs and `data` lacks; empty if one can be trained. Classes without images do not count."""
    counts = sorted((count, name) for name, count in data.counts.items() if count)
    if data.labels is None or len(counts) < 2 or counts[0][0] < 10:
        return ("a measuring net needs labels, of at least two classes with at least 10 images in each; found "
                + listed((f"{name!r}: {count}" for count, name in counts), room=60) + ".")
    try:
        check_image_shape(data.image_shape)
    except ValueError as error:
        return str(error)
    return ""


def _own_net_path(data, seed):
    digest = hashlib.sha256(np.ascontiguousarray(data.images))
    digest.update(np.ascontiguousarray(data.labels))
    return run_folder("measuring_nets") / f"{data.name or 'own'}-{digest.hexdigest()[:8]}-seed{seed}.npz"


def _fit_measuring_net(model, data, seed, epochs, batch_size=128):
    """Train with AdamW, a cosine schedule, and images shifted by up to one pixel."""
    height, width, _ = data.image_shape
    padded = np.pad(data.images, ((0, 0), (1, 1), (1, 1), (0, 0)), mode="edge")
    steps = math.ceil(len(padded) / batch_size) * epochs
    rate = keras.optimizers.schedules.CosineDecay(1e-4, steps, warmup_target=3e-3, warmup_steps=max(1, steps // 10))
    model.compile(keras.optimizers.AdamW(rate, weight_decay=0.02),
                  keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    random = np.random.default_rng(seed)
    with tqdm(total=steps, file=sys.stdout, leave=False, unit="step", desc="measuring net", mininterval=0.5) as bar:
        for _ in range(epochs):
            for indices in np.array_split(random.permutation(len(padded)), steps // epochs):
                down, right = random.integers(0, 3, 2)
                model.train_on_batch(padded[indices, down:down + height, right:right + width], data.labels[indices])
                bar.update()


def load_measuring_net(data):
    """The net to measure with for a `Dataset`: the shipped one of MNIST or Fashion-MNIST, or one that was trained here.

    The dataset's `name` and the size of its images decide.

    Raises:
        LookupError: there is none yet; says how to get one, or what is possible without labels.
        FileNotFoundError: the shipped file is missing.
        ValueError: the file is another than the one that was shipped, or corrupt.
    """
    data = as_dataset(data)
    if _is_shipped(data):
        name, sha256 = NAMED_NETS[data.name]
        return _read_measuring_net(_SHIPPED / f"{name}.npz", sha256)
    if data.labels is None:
        raise LookupError("these images have no labels to train a measuring net on. Label some hundred of them "
                          "(sub-folders), or hand over a net made for like images of the same size as measuring_net.")
    path, missing = _own_net_path(data, seed=0), _what_is_missing(data)
    if missing:
        raise LookupError(f"{missing} Or hand over a net made for like images of the same size as measuring_net.")
    if not path.exists():
        raise LookupError("there is no measuring net for these images yet; train_measuring_net(data) or `make "
                          "measuring-net DATASET=...` trains one on their labels.")
    return _read_measuring_net(path)


def _read_measuring_net(path, sha256=None):
    """The net in a file; with `sha256`, only if the file has it."""
    if not path.exists():
        raise FileNotFoundError(f"{shown_path(path)}: the measuring net is missing. It ships with the course: copy the "
                                "folder outputs/measuring_nets/ along with the notebooks.")
    if sha256 and hashlib.sha256(path.read_bytes()).hexdigest() != sha256:
        raise ValueError(f"{shown_path(path)}: its SHA-256 is not that of the net that ships with the course, so its "
                         "distances would not compare with those of others: fetch the file again.")
    remedy = "delete it and train it again with train_measuring_net"
    with readable(shown_path(path), "corrupt or of another version", remedy), np.load(path) as file:
        names = tuple(file["class_names"].tolist())
        model = build_measuring_net(file["image_shape"].tolist(), len(names))
        model.set_weights([file[f"arr_{i}"] for i in range(len(model.weights))])
        return MeasuringNet(path.stem, model, names, float(file["accuracy"]), comparable=sha256 is not None)


def evaluate(net, generated, training, held_out=None, reference=None):
    """All measures of generated images, from the features that a `MeasuringNet` makes.

    Args:
        generated: of the generated images; 10,000 are usual.
        training: of all training images. As many of them as of `generated`, drawn at random but always the same, are
            compared with; memorisation with all.
        held_out: of real images that were not trained on, for memorisation.
        reference: of real images that are compared with in the place of `training`, but for memorisation.

    Returns:
        A pandas Series: images (how many on each side), frechet_distance, kid, kid_standard_error, inception_score,
        precision, recall, density, coverage, class_imbalance, copied, copy_distance. Its name says the number and the
        net, and whether the number is below the usual 10,000.
    """
    reference, sets = training if reference is None else reference, {} if held_out is None else {"held_out": held_out}
    generated, training, reference, *_ = check_features(at_least=6, generated=generated, training=training,
                                                        reference=reference, **sets)
    real = sample(reference, len(generated))
    generated = sample(generated, len(real))
    kid, kid_standard_error = kernel_distance(real, generated)
    probabilities = net.probabilities(generated)
    return pd.Series({
        "images": len(generated), "frechet_distance": frechet_distance(real, generated), "kid": kid,
        "kid_standard_error": kid_standard_error, "inception_score": inception_score(probabilities),
        **manifold_scores(real, generated), "class_imbalance": class_imbalance(probabilities),
        **memorisation(generated, training, held_out)}, dtype=float,
        name=f"{len(real):,} images{', fewer than usual,' if len(real) < 10_000 else ''} by {net.name}")


def obedience(net, generator, count=5000, *, seed=0):
    """How often a conditional generator draws the class that it is asked for, as a `MeasuringNet` reads its images.

    All classes are asked for in turn. Of real images in the place of generated ones the share is about `net.accuracy`.

    Returns:
        `(confusion, share)`: the number of images by class asked for, a row, and class seen, a column, int64
        `(classes, classes)`, and the share of images of the class that was asked for.

    Raises:
        ValueError: a generator that takes no labels, or of fewer classes than the measuring net.
    """
    classes = len(net.class_names)
    if not is_conditional(generator):
        raise ValueError("the generator takes no labels; wanted one of build_conditional_generator.")
    asked = np.arange(count) % classes
    seen = net.probabilities(net.features(generate_images(generator, count, seed=seed, labels=asked))).argmax(axis=1)
    confusion = sklearn.metrics.confusion_matrix(asked, seen, labels=range(classes))
    return confusion, float(np.trace(confusion) / count)


class Distance(keras.callbacks.Callback):
    """Frechet distance and diversity of a generator during training, with each picture, and what measuring costs.

    Of a fixed sample, smaller than usual. Diversity is the total variance of the features of generated images over
    that of real ones: about 1 for images as different from each other as real ones are, 0 for one image again and
    again. Adds `frechet_distance`, `diversity` and `measuring_seconds` to the logs of an epoch, counted from 1, that is
    `due(epoch)`. A conditional generator is asked for classes as often as they come among `labels`.

    Attributes:
        count: how many images are compared, a fifth of the real ones and at most 5,000.
        floor: the distance of as many real images from other real ones.
    """

    def __init__(self, net, images, generator, seed, due=lambda epoch: True, labels=None):
        super().__init__()
        self.net, self.generator, self.seed, self.due = net, generator, seed, due
        self.count, self.seconds = min(5000, len(images) // 5), []
        self.labels = draw_labels(labels, self.count, seed=seed)
        features = net.features(sample(images, 2 * self.count))
        self.real = features[:self.count]
        self.floor = round(frechet_distance(self.real, features[self.count:]), 4)

    def measure(self):
        """`(distance, diversity)` of the generator as it is."""
        started = time.perf_counter()
        features = self.net.features(generate_images(self.generator, self.count, seed=self.seed, labels=self.labels))
        distance = round(frechet_distance(self.real, features), 4)
        diversity = round(float(features.var(axis=0).sum() / self.real.var(axis=0).sum()), 4)
        self.seconds.append(time.perf_counter() - started)
        return distance, diversity

    def on_epoch_end(self, epoch, logs):
        if self.due(epoch + 1):
            logs["frechet_distance"], logs["diversity"] = self.measure()
            logs["measuring_seconds"] = self.seconds[-1]

    def print_cost(self, training_seconds):
        print(f"Frechet distance: measured {len(self.seconds)} times, {np.mean(self.seconds):.2f} s each, "
              f"{np.sum(self.seconds) / training_seconds:.1%} of the training time.")
