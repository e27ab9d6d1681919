"""Few images: augmentation that goes wrong, and what is read of a run that ended; used in notebook 13."""

import dataclasses

import keras
import numpy as np
import tensorflow as tf

from dcgan_utils import build_discriminator, build_generator, to_model_range, to_uint8
from lab.augmentation import Augmentation, ShiftAndZoom, augmented, build_augmented_discriminator
from lab.experiments import experiment_folder
from lab.files import epoch_of, readable, run_folder, shown_path


def changed_beforehand(data, layers, copies=4):
    """A `Dataset` of copies of each image, each changed by the layers, as if they had been kept in files like that.

    So the discriminator sees generated images as they are, and real ones changed: the generator learns the change.
    """
    images = to_model_range(np.repeat(data.images, copies, axis=0))
    for layer in layers:
        images = layer(images, training=True)
    labels = None if data.labels is None else np.repeat(data.labels, copies)
    return dataclasses.replace(data, images=to_uint8(images), labels=labels)


@keras.saving.register_keras_serializable(package="lab")
class ShiftWithoutGradient(ShiftAndZoom):
    """Shift real and generated images, but hand the gradient back as if nothing had been shifted.

    What comes of a change that is made outside of TensorFlow's sight and patched in: the generator is told for each
    pixel what should become of another one.
    """

    def change(self, images, *numbers):
        return images + tf.stop_gradient(super().change(images, *numbers) - images)


def build_misled_discriminator(image_shape=(28, 28, 1), *, shift=0.125, seed=0, **options):
    """`build_discriminator`'s net behind a `ShiftWithoutGradient`."""
    return augmented(build_discriminator(image_shape, seed=seed, **options),
                     [ShiftWithoutGradient(shift, seed=1000 * seed + 950)])


def build_generator_of(image_shape=(28, 28, 1), *, group, name, seed=0, **options):
    """`build_generator`'s net with the weights that an experiment's run of the same seed ended with.

    Args:
        group, name: of the experiment, see `lab.experiments`; its generator has the same `options`.
    """
    generator = build_generator(image_shape, seed=seed, **options)
    _load_weights(0, generator.variables, group, name, seed)
    return generator


def build_discriminator_of(image_shape=(28, 28, 1), *, group, name, shift=0.0, seed=0, **options):
    """`build_discriminator`'s net with the weights that an experiment's run of the same seed ended with.

    Args:
        group, name: of the experiment, see `lab.experiments`; its discriminator has the same `options`.
        shift: of an augmentation before it, see `ShiftAndZoom`; that one may have had another or none.
    """
    discriminator = build_augmented_discriminator(image_shape, shift=shift, seed=seed, **options)
    learned = [variable for layer in discriminator.layers if not isinstance(layer, Augmentation)
               for variable in layer.variables]
    _load_weights(1, learned, group, name, seed)
    return discriminator


def last_strength(group, name, seed):
    """The probability with which images were augmented at the end of an experiment's run, by its first such layer."""
    return float(_last_variables(1, group, name, seed)[0])


def _load_weights(number, variables, group, name, seed):
    """Set variables to the last ones of a net, after those of layers that augment, which come first."""
    values = _last_variables(number, group, name, seed)[-len(variables):]
    with readable(shown_path(experiment_folder(run_folder(group), name, seed)), "has other nets", "give their options"):
        for variable, value in zip(variables, values, strict=True):
            variable.assign(value)


def _last_variables(number, group, name, seed):
    """All variables of a net, 0 the generator or 1 the discriminator, in the newest checkpoint of a run."""
    folder = experiment_folder(run_folder(group), name, seed) / "checkpoints"
    with readable(shown_path(folder)):
        newest = max(folder.glob("epoch_*"), key=epoch_of)
        state = tf.train.load_checkpoint(str(newest / "state"))
        count = sum(name.startswith(f"variables_{number}/") for name in state.get_variable_to_shape_map())
        return [state.get_tensor(f"variables_{number}/{i}/.ATTRIBUTES/VARIABLE_VALUE") for i in range(count)]
