"""`make bench`: how long an epoch of 60,000 images takes, in one run on this machine, as ratios.

Three things are timed in turns, several times over, and medians taken: steps of the TensorFlow DCGAN tutorial's nets
and settings, bare steps of the default nets, and whole epochs of `train` with all that surrounds the step: order,
metrics, picture, checkpoint, offline tracking. A second process times the steps without op determinism.
"""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ["WANDB_MODE"] = "offline"

import contextlib
import io
import itertools
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))
REPEATS = 5


TUTORIAL_BATCH, TUTORIAL_LATENT_DIM = 256, 100


def tutorial_trainer():
    """Nets and train step of tensorflow.org/tutorials/generative/dcgan: its layers, Adam 1e-4, dropout 0.3.

    Returns `(generator, step, variables)`; `step(real, noise)` takes images in [-1, 1] and as many noise vectors.
    """
    import keras
    import tensorflow as tf
    layers = keras.layers
    generator = keras.Sequential([
        keras.Input((TUTORIAL_LATENT_DIM,)), layers.Dense(7 * 7 * 256, use_bias=False), layers.BatchNormalization(),
        layers.LeakyReLU(), layers.Reshape((7, 7, 256)),
        layers.Conv2DTranspose(128, 5, strides=1, padding="same", use_bias=False), layers.BatchNormalization(),
        layers.LeakyReLU(),
        layers.Conv2DTranspose(64, 5, strides=2, padding="same", use_bias=False), layers.BatchNormalization(),
        layers.LeakyReLU(),
        layers.Conv2DTranspose(1, 5, strides=2, padding="same", use_bias=False, activation="tanh")])
    discriminator = keras.Sequential([
        keras.Input((28, 28, 1)),
        layers.Conv2D(64, 5, strides=2, padding="same"), layers.LeakyReLU(), layers.Dropout(0.3),
        layers.Conv2D(128, 5, strides=2, padding="same"), layers.LeakyReLU(), layers.Dropout(0.3),
        layers.Flatten(), layers.Dense(1)])
    optimizers = keras.optimizers.Adam(1e-4), keras.optimizers.Adam(1e-4)
    for optimizer, net in zip(optimizers, (generator, discriminator)):
        optimizer.build(net.trainable_variables)
    cross_entropy = keras.losses.BinaryCrossentropy(from_logits=True)

    @tf.function
    def step(real, noise):
        with tf.GradientTape() as generator_tape, tf.GradientTape() as discriminator_tape:
            fake = generator(noise, training=True)
            real_logits, fake_logits = discriminator(real, training=True), discriminator(fake, training=True)
            g_loss = cross_entropy(tf.ones_like(fake_logits), fake_logits)
            d_loss = (cross_entropy(tf.ones_like(real_logits), real_logits)
                      + cross_entropy(tf.zeros_like(fake_logits), fake_logits))
        for tape, loss, net, optimizer in ((generator_tape, g_loss, generator, optimizers[0]),
                                           (discriminator_tape, d_loss, discriminator, optimizers[1])):
            optimizer.apply(tape.gradient(loss, net.trainable_variables), net.trainable_variables)
        return g_loss

    variables = [variable.value for part in (generator, discriminator, *optimizers) for variable in part.variables]
    return generator, step, variables


def default_step(images):
    """A bare step of the default nets and settings."""
    import keras
    import numpy as np
    import tensorflow as tf

    import dcgan_utils as dcgan
    nets = dcgan.build_generator(), dcgan.build_discriminator()
    defaults = dcgan.train.__kwdefaults__
    adam = {name: defaults[name] for name in ("learning_rate", "beta_1", "beta_2")}
    optimizers = keras.optimizers.Adam(**adam), keras.optimizers.Adam(**adam)
    step = dcgan.make_train_step(*nets, *optimizers, keras.models.clone_model(nets[0]))
    batch, count = defaults["batch_size"], itertools.count()
    images, indices = tf.constant(images), np.arange(batch, dtype=np.int32)
    return batch, lambda: float(step(images, indices, next(count))["d_loss"])


def seconds_of(call, times):
    started = time.perf_counter()
    for _ in range(times):
        call()
    return (time.perf_counter() - started) / times


def measure(deterministic):
    """Timings of this process: a dict of lists, in seconds for 60,000 images."""
    import numpy as np
    import tensorflow as tf

    import dcgan_utils as dcgan
    images = np.random.default_rng(0).integers(0, 256, (60_000, 28, 28, 1), dtype=np.uint8)
    if deterministic:
        tf.config.experimental.enable_op_determinism()
    times = {"tutorial": [], "step": [], "epoch": []}
    (_, step, _), (batch, bare) = tutorial_trainer(), default_step(images)
    tutorial_batch = (tf.random.stateless_normal([TUTORIAL_BATCH, 28, 28, 1], [0, 1]),
                      tf.random.stateless_normal([TUTORIAL_BATCH, TUTORIAL_LATENT_DIM], [0, 0]))

    def time_steps():
        times["tutorial"].append(seconds_of(lambda: float(step(*tutorial_batch)), 8) * len(images) / TUTORIAL_BATCH)
        times["step"].append(seconds_of(bare, 200) * len(images) / batch)

    time_steps()  # the first calls trace and warm up
    times = {name: [] for name in times}
    if not deterministic:
        for _ in range(REPEATS):
            time_steps()
        return times

    original = dcgan._Run._train_epoch

    def between_epochs(run, *arguments):
        """An epoch lasts from here until this is called for the next one, so saving is in it."""
        if begun:
            times["epoch"].append(time.perf_counter() - begun.pop())
        time_steps()
        begun.append(time.perf_counter())
        return original(run, *arguments)

    begun, dcgan._Run._train_epoch = [], between_epochs
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        nets = dcgan.build_generator(), dcgan.build_discriminator()
        dcgan.train(*nets, images, Path(folder) / "run", epochs=REPEATS + 2)
    times["epoch"].pop(0)  # tracing
    return times | {"peak": [peak_memory()]}


def peak_memory():
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def main():
    print(f"{os.cpu_count()} cores; {REPEATS} repeats in turns, medians; seconds for 60,000 images\n", flush=True)
    results = {}
    for mode in ("deterministic", "free"):
        out = subprocess.run([sys.executable, __file__, mode], check=True, stdout=subprocess.PIPE, text=True).stdout
        times = json.loads(out.splitlines()[-1])
        results[mode] = {name: statistics.median(values) for name, values in times.items() if values}
    ours, free = results["deterministic"], results["free"]
    print(f"TensorFlow tutorial's nets and settings, steps alone    {ours['tutorial']:6.1f} s")
    print(f"default nets, steps alone                               {ours['step']:6.1f} s")
    print(f"default nets, steps alone, without op determinism       {free['step']:6.1f} s")
    print(f"default nets, train() with everything                   {ours['epoch']:6.1f} s")
    print(f"\nan epoch of train() / the tutorial's   {ours['epoch'] / ours['tutorial']:.3f}   (wanted: at most 0.25)")
    print(f"train() / its steps alone              {ours['epoch'] / ours['step']:.3f}   (wanted: at most 1.05)")
    print(f"op determinism / without, of a step    {ours['step'] / free['step']:.3f}")
    print(f"peak memory of the process             {ours['peak'] / 2 ** 30:.2f} GiB, the tutorial's nets included")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        print(json.dumps(measure(sys.argv[1] == "deterministic")))
    else:
        main()
