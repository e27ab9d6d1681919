"""What several replicas do, each time in a process of its own, since TensorFlow's devices can be set only once.

    train_replicas.py steps FOLDER       ten steps of one replica and of two logical CPUs, into FOLDER/*.npz
    train_replicas.py train FOLDER       a run of four epochs on two logical CPUs, and one of two and two more
    train_replicas.py augmented FOLDER   the same with augmentation and losses that remember, of one epoch and one more
    train_replicas.py worker FOLDER N    a worker of several, as `TF_CONFIG` says: a run of N epochs
"""

import contextlib
import sys
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from train_small import (
    dcgan,
    optimise_graphs,
    runs,
    small_data,
    small_measuring_net,
    small_nets,
    strikes_wanted,
    train_augmented,
)

optimise_graphs(True)  # it may reorder what replicas exchange


def two_logical_cpus():
    tf.config.set_logical_device_configuration(
        tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * 2)
    return tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])


def synchronized(net):
    """The net with statistics of batch normalisation over all replicas."""
    def build(layer):
        config = layer.get_config()
        if isinstance(layer, keras.layers.BatchNormalization):
            config["synchronized"] = True
        return type(layer).from_config(config)

    return keras.models.clone_model(net, clone_function=build)


def ten_steps(strategy, path, build=synchronized):
    """Weights of both nets and metrics after ten steps of batch 16, from the same first weights."""
    with strategy.scope() if strategy else contextlib.nullcontext():
        originals = (dcgan.build_generator((16, 16, 1), 8, width=4, refinements=1),
                     dcgan.build_discriminator((16, 16, 1), width=4))
        nets = [build(net) for net in originals]
        for net, original in zip(nets, originals):
            net.set_weights(original.get_weights())
        averaged = keras.models.clone_model(nets[0])
        optimizers = [keras.optimizers.Adam(1e-3, 0.0, 0.99) for _ in nets]
        steps, _ = runs.compose_step(*nets, optimizers, averaged, small_data())
        metrics = steps(np.arange(160, dtype=np.int32).reshape(10, 16), 0).numpy()
    np.savez(path, *(weight for net in nets for weight in net.get_weights()), metrics=metrics)


def compare_steps(folder):
    """In float64, so that rounding stays far below what a wrong gradient would change."""
    keras.config.set_floatx("float64")
    strategy = two_logical_cpus()
    ten_steps(None, folder / "one.npz")
    ten_steps(strategy, folder / "two.npz")
    ten_steps(strategy, folder / "apart.npz", build=keras.models.clone_model)


def train_mirrored(folder):
    with two_logical_cpus().scope():
        for name, lengths in (("whole", [4]), ("resumed", [2, 4])):
            for epochs in lengths:
                train_here(folder / name, epochs)


def train_mirrored_with_augmentation(folder):
    with two_logical_cpus().scope():
        for name, lengths in (("whole", [2]), ("resumed", [1, 2])):
            for epochs in lengths:
                train_augmented(folder / name, epochs)


def train_here(run_dir, epochs, callbacks=()):
    return runs.train(*small_nets(), small_data(), run_dir, epochs=epochs, batch_size=64, picture_every=1,
                       tracking=False, measuring_net=small_measuring_net(), callbacks=callbacks)


def train_worker(folder, epochs):
    with tf.distribute.MultiWorkerMirroredStrategy().scope():
        train_here(folder, int(epochs), strikes_wanted())


if __name__ == "__main__":
    what, folder, *others = sys.argv[1:]
    {"steps": compare_steps, "train": train_mirrored, "augmented": train_mirrored_with_augmentation,
     "worker": train_worker}[what](Path(folder), *others)
