"""A discriminator that learns its images by heart: how it is seen, and two losses with a memory that keep it from it.

A loss with a memory takes the place of the discriminator's loss in `runs.train(losses=...)` and in an `Experiment`. It
is described by its fields, and `begin(discriminator)` makes what it remembers. Used by lab.runs (notebook 13).
"""

import csv
import dataclasses
import math
import types
from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf

from dcgan_utils import check_positive, check_share, discriminator_loss, generate_images, run_in_batches, to_model_range
from lab.augmentation import augmentations_of
from lab.conditional import is_conditional
from lab.files import replacing, whole_lines
from lab.measures import sample

COLUMNS = ("epoch", "training", "held_out", "generated", "gap")


def begun(loss, discriminator):
    """`(loss, memory)`: a discriminator's loss as a function of logits, and what holds the `variables` it remembers."""
    return loss.begin(discriminator) if hasattr(loss, "begin") else (loss, [])


@dataclasses.dataclass(frozen=True)
class AdaptiveStrength:
    """Augment as much as the discriminator's verdicts on the training images ask for: adaptive augmentation, ADA.

    In each step the probability of all augmentations rises a little if the mean sign of the real images' logits is
    above `target`, and else falls a little; 1 would be a discriminator that is right about all of them. Karras et al.
    2020, https://arxiv.org/abs/2006.06676, section 3.

    Args:
        target: of the mean sign, above -1 and below 1.
        images: how many training images it takes for the probability to get from 0 to 1.
        loss: the discriminator's loss, which stays what it is.
    """

    target: float = 0.6
    images: int = 50_000
    loss: Callable = discriminator_loss

    def __post_init__(self):
        if not _is_number(self.target) or not -1 < self.target < 1:
            raise ValueError(f"target is {self.target!r}; wanted a number above -1 and below 1.")
        check_positive(images=self.images)
        _check_loss(self.loss)

    def begin(self, discriminator):
        layers = augmentations_of(discriminator)
        if not layers:
            raise ValueError("AdaptiveStrength sets how often images are augmented, and the discriminator has no layer "
                             "that augments them: build it with build_augmented_discriminator or augmented.")
        loss, memory = begun(self.loss, discriminator)

        def adapting(real_logits, fake_logits):
            sign, count = tf.reduce_mean(tf.sign(real_logits)), tf.cast(tf.size(real_logits), real_logits.dtype)
            change = tf.sign(sign - self.target) * count / self.images
            for layer in layers:
                layer.probability.assign(tf.clip_by_value(layer.probability + change, 0, 1))
            return loss(real_logits, fake_logits)

        return adapting, memory  # the probabilities are weights of the net


@dataclasses.dataclass(frozen=True)
class LeCam:
    """Keep the verdicts on real and on generated images near each other: a penalty on the discriminator.

    `weight` times the mean of `(real logits - F)^2 + (generated logits - R)^2`, where R and F are moving averages of
    the mean logits of real and of generated images. Tseng et al. 2021, https://arxiv.org/abs/2104.03310.

    Args:
        weight: of the penalty, above 0.
        decay: of the averages, 0 to below 1; they begin at 0.
        loss: the discriminator's loss that the penalty is added to.
    """

    weight: float = 0.1
    decay: float = 0.99
    loss: Callable = discriminator_loss

    def __post_init__(self):
        if not _is_number(self.weight) or not 0 < self.weight < math.inf:
            raise ValueError(f"weight is {self.weight!r}; wanted a number above 0.")
        check_share(decay=self.decay)
        _check_loss(self.loss)

    def begin(self, discriminator):
        loss, memory = begun(self.loss, discriminator)
        of_real, of_fake = (keras.Variable(0.0, trainable=False, aggregation="mean", name=name)
                            for name in ("mean_real_logit", "mean_fake_logit"))

        def with_penalty(real_logits, fake_logits):
            for average, logits in ((of_real, real_logits), (of_fake, fake_logits)):
                mean = tf.stop_gradient(tf.reduce_mean(logits))
                average.assign(mean + self.decay * (average - mean))
            apart = (tf.reduce_mean(tf.square(real_logits - of_fake.value))
                     + tf.reduce_mean(tf.square(fake_logits - of_real.value)))
            return loss(real_logits, fake_logits) + self.weight * apart

        return with_penalty, [*memory, types.SimpleNamespace(variables=[of_real, of_fake])]


def _is_number(value):
    return isinstance(value, (int, float, np.number)) and not isinstance(value, bool)


def _check_loss(loss):
    if not (callable(loss) or hasattr(loss, "begin")):
        raise ValueError(f"loss is {loss!r}; wanted a function of the logits of real and of generated images, or "
                         "a loss with a memory.")


class Overfitting(keras.callbacks.Callback):
    """`overfitting.csv`: what the discriminator says of training, held-out and generated images, at each picture.

    The mean logits, in inference mode, so that nothing is augmented, of up to 1,000 images each, and the gap: how far
    held-out images lie from training images on the way to generated ones. 0 if the discriminator cannot tell training
    images from other real ones; 1 if held-out images are as fake to it as generated ones. After Karras et al. 2020.
    Adds `overfitting_gap` to the logs of an epoch that is `due(epoch)`, counted from 1.

    Args:
        data, held_out: a `Dataset` each, with labels for conditional nets.
        every: epochs between pictures; rows of other epochs, the last ones of shorter runs, go when a run goes on.
        write: whether this process writes the file.
    """

    def __init__(self, run_dir, generator, discriminator, data, held_out, seed, due, every, write=True):
        super().__init__()
        self.path, self.seed, self.due, self.every, self.write = run_dir / "overfitting.csv", seed, due, every, write
        self.generator, self.discriminator = generator, discriminator
        self.known = [[None if part is None else sample(part, 1000) for part in (known.images, known.labels)]
                      for known in (data, held_out)]

    def verdict(self, images, labels):
        """The mean logit of images."""
        images = to_model_range(images)
        inputs = [images, tf.constant(labels, tf.int32)] if is_conditional(self.discriminator) else images
        return float(run_in_batches(self.discriminator, inputs).mean())

    def on_epoch_end(self, epoch, logs):
        if not self.due(epoch + 1):
            return
        (images, labels), _ = self.known
        drawn = generate_images(self.generator, len(images), seed=self.seed,
                                labels=labels if is_conditional(self.generator) else None)
        training, held_out, generated = (self.verdict(*known) for known in (*self.known, (drawn, labels)))
        gap = (training - held_out) / (training - generated) if training != generated else math.nan
        logs["overfitting_gap"] = gap
        if self.write:
            row = dict(zip(COLUMNS, (epoch + 1, training, held_out, generated, gap)))
            with replacing(self.path) as partial, open(partial, "w", newline="") as file:
                writer = csv.DictWriter(file, COLUMNS)
                writer.writeheader()
                writer.writerows([*self._rows_before(epoch + 1), row])

    def _rows_before(self, epoch):
        """The rows of earlier epochs with a picture, without those of an earlier life of the run."""
        rows = csv.DictReader(whole_lines(self.path).splitlines()) if self.path.exists() else []
        return [row for row in rows if int(row["epoch"]) < epoch and int(row["epoch"]) % self.every == 0]
