"""Train a small run in a process of its own, to be killed or starved: train_small.py FOLDER EPOCHS [WORDS].

It knows the words `tracked` and `augmented`.
`train_small.py serve` trains as each line of its standard input asks: a JSON list, [[FOLDER, EPOCHS], ENVIRONMENT].
Each run is a fork of a process that has imported TensorFlow and computed nothing, which saves the time of the import.
"""

import functools
import json
import os
import signal
import sys
import threading
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
sys.path[:0] = [str(Path(__file__).resolve().parents[1]), str(Path(__file__).resolve().parents[1] / "notebooks")]

import keras
import numpy as np
import pandas as pd
import tensorflow as tf

import dcgan_utils as dcgan
from lab import augmentation, experiments, measuring_net, overfitting, runs


def optimise_graphs(wanted):
    """Whether TensorFlow optimises the graphs that this process traces from now on.

    That takes longer than the few steps of a small run, and bit for bit the same is only what is optimised alike: so it
    is off in the tests and in the runs that this file starts. It is on, as for everyone, where a test takes
    `graphs_optimised`, in `make train` (test_newcomer.py), in the processes of experiments (test_experiments.py) and
    with several replicas.
    """
    tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": not wanted})


optimise_graphs(False)


def small_data(count=200):
    """Grey squares of random place and size, uint8 (count, 16, 16, 1)."""
    random = np.random.default_rng(0)
    images = np.zeros((count, 16, 16, 1), np.uint8)
    for image in images:
        top, left, side = random.integers(0, 10, 2).tolist() + [random.integers(3, 7)]
        image[top:top + side, left:left + side] = 255
    return images


def small_nets(seed=0, **options):
    """A pair with everything that a resumed run must bring back: BatchNorm, dropout, averaged weights."""
    return (dcgan.build_generator((16, 16, 1), 8, width=4, refinements=1, seed=seed),
            dcgan.build_discriminator((16, 16, 1), width=4, dropout=0.2, seed=seed, **options))


@functools.cache
def small_measuring_net(seed=0):
    """A net that never learned anything, which is enough to measure by: random features, always the same."""
    model = measuring_net.build_measuring_net((16, 16, 1), 2, seed=seed)
    return measuring_net.MeasuringNet(f"untrained-{seed}", model, ("small", "large"), 0.5)


def train_small(run_dir, epochs, **options):
    options = {"batch_size": 64, "picture_every": 2, "tracking": False, "measuring_net": small_measuring_net(),
               **options}
    return runs.train(*small_nets(), small_data(), run_dir, epochs=epochs, **options)


def train_augmented(run_dir, epochs, **options):
    """A run with all that augments, and with losses that remember: of half of the images, the others held out."""
    generator, discriminator = small_nets()
    layers = [augmentation.ShiftAndZoom(zoom=0.1, probability=0.2), augmentation.Cutout(probability=0.2, seed=1),
              augmentation.Flip(0.2, seed=2)]
    losses = overfitting.AdaptiveStrength(images=1000, loss=overfitting.LeCam(decay=0.9)), dcgan.generator_loss
    options = {"batch_size": 40, "picture_every": 1, "tracking": False, "measuring_net": small_measuring_net(),
               "losses": losses, "held_out": small_data()[100:], **options}
    return runs.train(generator, augmentation.augmented(discriminator, layers), small_data()[:100], run_dir,
                      epochs=epochs, **options)


def tiny(name="base", **settings):
    """An experiment of the smallest nets, two epochs of two steps."""
    return experiments.Experiment(name, **{
        "generator": {"latent_dim": 8, "width": 4}, "discriminator": {"width": 4}, "epochs": 2, "batch_size": 100,
        "picture_every": 1, **settings})


def finished_run(outputs, name, seed, distances, group="experiments", **said):
    """A folder as a finished run leaves it, with these distances, None where none was measured."""
    folder = outputs / group / f"{name}-seed{seed}"
    folder.mkdir(parents=True)
    count = len(distances)
    pd.DataFrame({"epoch": np.arange(1, count + 1), "seconds": 2.5, "d_loss": np.linspace(1, 2, count),
                  "g_loss": np.linspace(3, 4, count), "frechet_distance": distances}).to_csv(
                      folder / "metrics.csv", index=False)
    row = {"experiment": name, "seed": seed, "frechet_distance": 50.0, "diverged": "", "settings": {}, **said}
    (folder / "experiment.json").write_text(json.dumps(row))
    return folder


class Strike(keras.callbacks.Callback):
    """SIGKILL for this process, at a moment that does not depend on how fast the machine is; at the end at the latest.

    Some seconds after an epoch begins, 0 for the start of the process, or as soon as a file of this name is written.
    """

    def __init__(self, epoch=0, after=0.0, written=None):
        super().__init__()
        self.epoch, self.timer = epoch, threading.Timer(after, self.strike)
        self.timer.daemon = True
        if written:
            replace = os.replace

            def replace_and_strike(source, target):
                replace(source, target)
                if str(target).endswith(written):
                    self.strike()

            os.replace = replace_and_strike
        elif epoch == 0:
            self.timer.start()

    def on_epoch_begin(self, epoch, logs=None):
        if 0 < self.epoch <= epoch + 1 and not self.timer.is_alive():
            self.timer.start()

    @staticmethod
    def strike():
        os.kill(os.getpid(), signal.SIGKILL)


def strikes_wanted():
    """The `Strike` whose arguments `STRIKE` in the environment holds as JSON, or none: a list."""
    return [Strike(**json.loads(os.environ["STRIKE"]))] if "STRIKE" in os.environ else []


def main(folder, epochs, *words):
    strikes = strikes_wanted()
    train_here = train_augmented if "augmented" in words else train_small
    train_here(Path(folder), int(epochs), tracking="tracked" in words, callbacks=strikes)
    for strike in strikes:
        strike.strike()


def serve():
    for line in sys.stdin:
        arguments, environment = json.loads(line)
        child = os.fork()
        if not child:
            os.environ.update(environment)
            return main(*arguments)  # and end as a process of its own does
        print("process", child, flush=True)
        print("\nended", os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)


if __name__ == "__main__":
    serve() if sys.argv[1:] == ["serve"] else main(*sys.argv[1:])
