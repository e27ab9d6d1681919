"""`make bench`: what an epoch costs, how well the step uses the machine, and how soon quality comes; ratios in one run.

Each contestant is a process of its own that lives throughout and works only when it is asked, in turns, so that nothing
else runs at the time. Figures are medians over the rounds, ratios medians of the ratios within a round. With `long`,
the tutorial's nets train for 50 epochs in place of 20 to compare the time to quality.
"""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")  # this and the next as the notebooks do
if os.cpu_count() == 2:
    os.environ.setdefault("TF_NUM_INTRAOP_THREADS", "1")
os.environ["WANDB_MODE"] = "offline"

import collections
import contextlib
import functools
import io
import itertools
import json
import math
import re
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))
ROUNDS = 5
COUNT = 60_000  # images in an epoch
TUTORIAL_BATCH, TUTORIAL_LATENT_DIM = 256, 100
SIDE = 2048  # of the matrices whose product is the yardstick
TORCH = "torch==2.13.0"
EPOCHS = {"default": 12, "tutorial": 20}  # to train when the time to quality is compared
LONG_EPOCHS = EPOCHS | {"tutorial": 50}
MILESTONES = (5, 10, 20, 50)  # epochs after which the tutorial's distance is one to reach


# Nets and train steps

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


def default_trainer(seed=0):
    """Nets and train step of `train` by its default settings.

    Returns `(batch, step, averaged_generator, variables)`; `step(images, indices, number)` as of `make_train_step`.
    """
    import keras

    import dcgan_utils as dcgan
    defaults = dcgan.train.__kwdefaults__
    generator, discriminator = nets = dcgan.build_generator(seed=seed), dcgan.build_discriminator(seed=seed)
    averaged = keras.models.clone_model(generator)
    averaged.set_weights(generator.get_weights())
    adam = {name: defaults[name] for name in ("learning_rate", "beta_1", "beta_2")}
    optimizers = keras.optimizers.Adam(**adam), keras.optimizers.Adam(**adam)
    step = dcgan.make_train_step(*nets, *optimizers, averaged, seed=seed, averaging=defaults["averaging"])
    variables = [variable.value for part in (*nets, averaged, *optimizers) for variable in part.variables]
    return defaults["batch_size"], step, averaged, variables


def multiply_adds(layer):
    """Of a layer's forward product for one image. Pixels of the padding count, as is usual."""
    import keras
    shape = (layer.input if isinstance(layer, keras.layers.Conv2DTranspose) else layer.output).shape
    return math.prod(layer.kernel.shape) * math.prod(shape[1:-1])


def step_operations(generator, discriminator, batch):
    """Floating-point operations of the matrix products and convolutions that a train step needs, two a multiply-add.

    The generator's layers: forward, weight gradient, input gradient. The discriminator's: these three on real and on
    generated images, and once more the input gradient on generated ones, of the generator's loss. First layers need
    no input gradient but this last one.
    """
    (g_first, *g_others), (d_first, *d_others) = (
        [multiply_adds(layer) for layer in net.layers if hasattr(layer, "kernel")]
        for net in (generator, discriminator))
    return 2 * batch * (2 * g_first + 3 * sum(g_others) + 5 * d_first + 7 * sum(d_others))


# Contestants: what their processes do

def answer(**values):
    """Hand the parent values, with the peak of memory in bytes, and wait until it asks again; end when it is gone."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    print(json.dumps(values | {"peak": peak}), file=sys.__stdout__, flush=True)
    if not sys.stdin.readline():
        raise SystemExit


def answer_seconds(call, *, times, scale=1):
    """Answer for ever with the seconds of `scale` calls, from the mean of `times`; the first ones warm up."""
    while True:
        started = time.perf_counter()
        for _ in range(times):
            call()
        answer(seconds=(time.perf_counter() - started) / times * scale)


def random_pixels():
    import numpy as np
    return np.random.default_rng(0).integers(0, 256, (COUNT, 28, 28, 1), dtype=np.uint8)


def random_batch(size):
    import numpy as np
    return np.random.default_rng(0).permutation(COUNT)[:size].astype(np.int32)


def default_call(deterministic=True, steps=16):
    """`(batch, call)`: bare steps of the default nets and settings, as many in a call as in `train`."""
    import numpy as np
    import tensorflow as tf

    import dcgan_utils as dcgan
    if deterministic:  # as `train` does
        tf.config.experimental.enable_op_determinism()
    batch, step, *_ = default_trainer()
    loop, numbers = dcgan.make_train_loop(step, random_pixels()), itertools.count(step=steps)
    indices = np.tile(random_batch(batch), (steps, 1))
    return batch, lambda: loop(indices, next(numbers)).numpy()


def default_steps(deterministic=True, steps=16):
    batch, call = default_call(deterministic, steps)
    answer_seconds(call, times=208 // steps, scale=COUNT / batch / steps)


def tutorial_steps():
    import tensorflow as tf
    _, step, _ = tutorial_trainer()
    batch = (tf.random.stateless_normal([TUTORIAL_BATCH, 28, 28, 1], [0, 1]),
             tf.random.stateless_normal([TUTORIAL_BATCH, TUTORIAL_LATENT_DIM], [0, 0]))
    answer_seconds(lambda: float(step(*batch)), times=8, scale=COUNT / TUTORIAL_BATCH)


def whole_epochs():
    """Epochs of `train` as it is called for MNIST, and the part of them in which the distance is measured."""
    import dcgan_utils as dcgan
    original, begun = dcgan._Run._train_epoch, []

    def between_epochs(run, *arguments):
        """An epoch lasts from here until this is called for the next one, so saving and measuring are in it."""
        if begun:
            answer(seconds=time.perf_counter() - begun.pop(), measuring=run.ruler.seconds[-1])
        begun.append(time.perf_counter())
        return original(run, *arguments)

    dcgan._Run._train_epoch = between_epochs
    data = dcgan.Dataset(random_pixels(), name="mnist")
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        dcgan.train(dcgan.build_generator(), dcgan.build_discriminator(), data, Path(folder) / "run", epochs=1000)


def matrix_products():
    import tensorflow as tf
    matrix = tf.random.stateless_normal([SIDE, SIDE], [0, 0])
    answer_seconds(lambda: tf.matmul(matrix, matrix), times=10)


def profiled_steps(times=4):
    import tensorflow as tf
    from tensorflow.tsl.profiler.protobuf import xplane_pb2
    _, call = default_call()
    for _ in range(2):
        call()
    with tempfile.TemporaryDirectory() as folder:
        tf.profiler.experimental.start(folder)
        started = time.perf_counter()
        for _ in range(times):
            call()
        elapsed = time.perf_counter() - started
        tf.profiler.experimental.stop()
        trace = xplane_pb2.XSpace.FromString(next(Path(folder).rglob("*.xplane.pb")).read_bytes())
    answer(shares=shares_of_time(trace, elapsed))


def shares_of_time(trace, elapsed):
    """By type of operation, the largest first: its share of the time of the threads on which operations run."""
    seconds, threads = collections.Counter(), set()
    for plane in trace.planes:
        for line in plane.lines:
            for event in line.events:
                operation = re.fullmatch(r"[^:]+:(\w+)", plane.event_metadata[event.metadata_id].name)
                if operation:
                    seconds[operation[1]] += event.duration_ps / 1e12
                    threads.add(line.id)
    return {name: value / elapsed / len(threads) for name, value in seconds.most_common()}


def torch_reference(path):
    """Write what `bench_torch.check` compares with: weights, a batch, and what a step of ours makes of them.

    The step is one of plain gradient descent at rate 1, so that the change of a weight is its gradient.
    """
    import keras
    import numpy as np
    import tensorflow as tf

    import dcgan_utils as dcgan
    generator, discriminator = nets = dcgan.build_generator(), dcgan.build_discriminator()
    averaged = keras.models.clone_model(generator)
    averaged.set_weights(generator.get_weights())
    batch, number, pixels = dcgan.train.__kwdefaults__["batch_size"], 3, random_pixels()[:1000]
    indices = np.arange(0, 15 * batch, 15, dtype=np.int32)
    holders = {"generator": generator, "discriminator": discriminator, "averaged": averaged}

    def weights(when):
        return {f"{when}_{name}_{i}": weight
                for name, net in holders.items() for i, weight in enumerate(net.get_weights())}

    arrays = weights("before")
    step = dcgan.make_train_step(*nets, keras.optimizers.SGD(1.0), keras.optimizers.SGD(1.0), averaged)
    arrays |= step(tf.constant(pixels), indices, number)
    noise = dcgan.make_noise(batch, generator.input_shape[-1], seed=0, step=number)
    np.savez(path, pixels=pixels, indices=indices, number=number, noise=noise, **arrays, **weights("after"))


# in the order of their turns: what is compared to within some per cent stands side by side
CONTESTANTS = {"tutorial": tutorial_steps, "product": matrix_products, "steps": default_steps, "epoch": whole_epochs,
               "free steps": functools.partial(default_steps, deterministic=False),
               "single steps": functools.partial(default_steps, steps=1)}
ALL_THREADS = "TF_NUM_INTRAOP_THREADS=0"  # an operation may use all cores, which is best for large ones
SETTINGS = {"tutorial": ("tutorial", ALL_THREADS), "product": ("product", ALL_THREADS),
            "all threads": ("steps", ALL_THREADS), "all threads, epoch": ("epoch", ALL_THREADS),
            "no oneDNN": ("steps", "TF_ENABLE_ONEDNN_OPTS=0")}  # contestants in another environment


# The parent: rounds and ratios

class Contestant:
    """A process that works when it is asked and otherwise waits; `first` is its answer after it has warmed up."""

    def __init__(self, *command):
        self.errors = tempfile.TemporaryFile("w+")
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.errors,
                                        text=True)
        self.first = self._answer()

    def ask(self):
        print(file=self.process.stdin, flush=True)
        return self._answer()

    def _answer(self):
        line = self.process.stdout.readline()
        if not line:
            self.errors.seek(0)
            raise SystemExit(f"{' '.join(map(str, self.process.args))} ended:\n{self.errors.read()}")
        return json.loads(line)

    def close(self):
        self.process.stdin.close()
        self.process.wait()


def torch_python():
    """The Python of `.venv-torch`, set up if it is missing; None, said in a line, if it cannot be."""
    folder = ROOT / ".venv-torch"
    python, ready = folder / "bin" / "python", folder / TORCH
    if ready.exists():
        return python
    print(f"Setting up .venv-torch: {TORCH}, 1 GB, a minute or two ...", file=sys.stderr)
    try:
        for command in ((sys.executable, "-m", "venv", folder),
                        (python, "-m", "pip", "install", "--quiet", TORCH, "numpy", "--extra-index-url",
                         "https://download.pytorch.org/whl/cpu")):  # on Linux, PyPI's own build is one for GPUs
            subprocess.run(command, check=True, capture_output=True, text=True)
    except (OSError, subprocess.CalledProcessError) as error:
        reason = (getattr(error, "stderr", None) or str(error)).strip().splitlines()[-1]
        print(f"No comparison with PyTorch, it could not be installed: {reason}")
        return None
    ready.touch()
    return python


def commands():
    """The command of each contestant; PyTorch's only those that run here, after a check that they do what ours does."""
    ours = {name: (sys.executable, __file__, name) for name in CONTESTANTS}
    ours |= {name: ("env", setting, *ours[other]) for name, (other, setting) in SETTINGS.items()}
    python, script = torch_python(), Path(__file__).with_name("bench_torch.py")
    if python is None:
        return ours
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "reference.npz"
        subprocess.run((sys.executable, __file__, "reference", path), check=True, stderr=subprocess.DEVNULL)
        checked = subprocess.run((python, script, "check", path), check=True, stdout=subprocess.PIPE, text=True)
    return ours | {variant: (python, script, variant) for variant in checked.stdout.split()}


def measure():
    """What each contestant answers in each round: a dict of lists of dicts."""
    with contextlib.ExitStack() as stack:
        contestants = {name: stack.enter_context(contextlib.closing(Contestant(*command)))
                       for name, command in commands().items()}
        answers = {name: [] for name in contestants}
        for i in range(ROUNDS):
            print(f"round {i + 1} of {ROUNDS}", file=sys.stderr, flush=True)
            for name, contestant in contestants.items():
                answers[name].append(contestant.ask())
    return answers


def profile():
    with contextlib.closing(Contestant(sys.executable, __file__, "profile")) as contestant:
        return contestant.first["shares"]


def print_epochs(seconds, measuring):
    """The table of epochs; `seconds` is a dict of lists, one value a round, and so in the other functions."""
    print(f"{os.cpu_count()} cores; {ROUNDS} rounds in turns. Medians, lowest and highest in brackets; ratios are "
          "medians of the rounds' ratios.\n\nAn epoch: seconds for 60,000 images")
    texts = {"tutorial": "TensorFlow tutorial's nets and settings, steps alone",
             "contiguous": "default nets in PyTorch, contiguous, steps alone",
             "channels_last": "default nets in PyTorch, channels last, steps alone",
             "compiled": "default nets in PyTorch, torch.compile, steps alone",
             "steps": "default nets, steps alone", "epoch": "default nets, train() with everything",
             "free steps": "  steps alone, without op determinism",
             "single steps": "  steps alone, one in a call, not 16",
             "no oneDNN": "  steps alone, TF_ENABLE_ONEDNN_OPTS=0",
             "all threads": "  steps alone, all cores for each operation",
             "all threads, epoch": "  train() with everything, all cores for each operation"}
    for name, text in texts.items():
        if name in seconds:
            print(f"  {text:54}{in_words(seconds[name]):>24}")
    around = median_ratio([whole - distance - steps for whole, distance, steps
                           in zip(seconds["epoch"], measuring, seconds["steps"])], seconds["epoch"])
    print_ratio("an epoch of train() / the tutorial's steps", median_ratio(seconds["epoch"], seconds["tutorial"]))
    print_ratio("what surrounds the steps but the distance, of an epoch", around, "at most 0.03")
    print_ratio("measuring the distance, of an epoch", median_ratio(measuring, seconds["epoch"]))
    for name, text in (("free steps", "op determinism / without"), ("single steps", "16 steps in a call / one"),
                       ("no oneDNN", "oneDNN / without")):
        print_ratio(f"{text}, of a step", median_ratio(seconds["steps"], seconds[name]))
    print_ratio("one core an operation / all, of a step", median_ratio(seconds["steps"], seconds["all threads"]))
    print_ratio("one core an operation / all, of an epoch",
                median_ratio(seconds["epoch"], seconds["all threads, epoch"]))
    if "contiguous" in seconds:
        best = min(("contiguous", "channels_last"), key=lambda name: statistics.median(seconds[name]))
        ratio = median_ratio(seconds[best], seconds["steps"])
        print_ratio(f"PyTorch, {best.replace('_', ' ')} / ours, of a step", ratio, "at least 1.3")
    if "compiled" in seconds:
        print_ratio("PyTorch, torch.compile / ours, of a step", median_ratio(seconds["compiled"], seconds["steps"]))


def print_rate(seconds, shares, peaks):
    import dcgan_utils as dcgan
    batch = dcgan.train.__kwdefaults__["batch_size"]
    operations = step_operations(dcgan.build_generator(), dcgan.build_discriminator(), batch)
    step_rates = [operations / (value * batch / COUNT) / 1e9 for value in seconds["steps"]]
    product_rates = [2 * SIDE ** 3 / value / 1e9 for value in seconds["product"]]
    print(f"\nThe step: {operations / 1e9:.3f} GFLOP in products and convolutions, batch of {batch}; GFLOP/s")
    print(f"  {'default nets, steps alone':54}{in_words(step_rates):>24}")
    print(f"  {f'float32 product of {SIDE} x {SIDE} matrices':54}{in_words(product_rates):>24}")
    print_ratio("step / product, of the rate", median_ratio(step_rates, product_rates), "at least 0.55")
    print("\nWhere the step's time goes, by TensorFlow's profiler: share of its threads' time")
    largest = dict(list(shares.items())[:10])
    others = {"other operations": sum(shares.values()) - sum(largest.values()),
              "gaps between operations": 1 - sum(shares.values())}
    for name, share in (largest | others).items():
        print(f"  {name:54}{share:>7.1%}")
    print("\nMemory: peak of the process, GiB")
    for name, text in (("steps", "default nets, steps alone"), ("epoch", "default nets, train() with everything")):
        print(f"  {text:54}{peaks[name] / 2 ** 30:>7.2f}")


def median_ratio(values, others):
    return statistics.median(value / other for value, other in zip(values, others, strict=True))


def print_ratio(text, ratio, wanted=""):
    print(f"  {text:54}{ratio:>7.3f}" + (f"   (wanted: {wanted})" if wanted else ""))


def in_words(values):
    return f"{statistics.median(values):.1f} ({min(values):.1f} to {max(values):.1f})"


# Time to quality

def time_to_quality(curves, epoch_seconds):
    """Seconds until each first reaches the tutorial's distances, and a tenth of its last.

    Args:
        curves: columns nets, seed, epoch, images, frechet_distance.
        epoch_seconds: of 60,000 images, by nets.

    Returns:
        A row a distance: the mean of the tutorial's seeds after each of `MILESTONES` that all of them have come to.
        A seed's seconds are those of its first measured point at or below the distance: `NETS_seconds` their mean,
        `NETS_low` the fastest seed's, `NETS_high` the slowest's. `NETS_missed` counts the seeds that never come so low
        and stand in the mean with the length of their curve; the tutorial's seconds are then a lower bound, and so
        is `ratio`, its seconds over ours. `ratio` is NaN if one of ours misses.
    """
    import pandas as pd
    curves = curves.assign(seconds=curves.images / COUNT * curves.nets.map(epoch_seconds))
    theirs = curves[curves.nets == "tutorial"].pivot(index="epoch", columns="seed", values="frechet_distance")
    means = theirs.dropna().mean(axis=1)
    distances = {f"tutorial's after {epoch} epochs": means[epoch] for epoch in MILESTONES if epoch in means.index}
    if MILESTONES[-1] in means.index:
        distances[f"a tenth of that after {MILESTONES[-1]}"] = means[MILESTONES[-1]] / 10
    rows = []
    for text, distance in distances.items():
        row = {"reached": text, "frechet_distance": distance}
        for nets in ("tutorial", "default"):
            own = curves[curves.nets == nets]
            ends = own.groupby("seed").seconds.max()
            times = own[own.frechet_distance <= distance].groupby("seed").seconds.min().reindex(ends.index)
            seconds = times.fillna(ends)
            row |= {f"{nets}_seconds": seconds.mean(), f"{nets}_low": seconds.min(), f"{nets}_high": seconds.max(),
                    f"{nets}_missed": int(times.isna().sum())}
        row["ratio"] = math.nan if row["default_missed"] else row["tutorial_seconds"] / row["default_seconds"]
        rows.append(row)
    return pd.DataFrame(rows)


def print_time_to_quality(table):
    print("\nTime to quality on MNIST: seconds until a Frechet distance is first reached, mean over the seeds (fastest "
          f"to slowest)\n  {'':34}{'distance':>9}{'tutorial':>24}{'default':>22}{'ratio':>8}")
    for row in table.to_dict("records"):
        ratio = "-" if row["default_missed"] else f"{'>' if row['tutorial_missed'] else ''}{row['ratio']:.0f}"
        print(f"  {row['reached']:34}{row['frechet_distance']:>9.2f}{cell(row, 'tutorial', 0):>24}"
              f"{cell(row, 'default', 1):>22}{ratio:>8}")
    if table.reached.iloc[-1].startswith("a tenth"):
        last, tenth = table.iloc[-2], table.iloc[-1]
        within = math.inf if tenth.default_missed else tenth.default_seconds / last.tutorial_seconds
        print_ratio(f"the {last.reached}, sooner by", last.ratio, "at least 200")
        print_ratio("a tenth of it, within this share of the same time", within, "at most 0.05")


def cell(row, nets, digits):
    mean, low, high = (f"{row[f'{nets}_{name}']:.{digits}f}" for name in ("seconds", "low", "high"))
    return (">" if row[f"{nets}_missed"] else "") + (f"{mean} ({low} to {high})" if low != high else mean)


def plot_time_to_quality(curves, table, epoch_seconds):
    """A figure of the distance against the seconds of training, a line a seed."""
    import matplotlib.pyplot as plt
    figure, axis = plt.subplots(figsize=(8.5, 4.5), layout="constrained")
    texts = {"default": "default nets, train()", "tutorial": "TensorFlow tutorial's nets and settings"}
    for colour, (nets, text) in zip(("C0", "C1"), texts.items()):
        for seed, curve in curves[curves.nets == nets].groupby("seed"):
            axis.plot(curve.images / COUNT * epoch_seconds[nets], curve.frechet_distance, color=colour, linewidth=0.9,
                      label=text if seed == 0 else None)
    for row in table.itertuples():
        axis.axhline(row.frechet_distance, color="grey", linestyle=":", linewidth=0.9)
        axis.annotate(row.reached, (1.01, row.frechet_distance), xycoords=("axes fraction", "data"), fontsize=8,
                      color="dimgrey", va="center")
    axis.set(xscale="log", yscale="log", xlabel="seconds of training", ylabel="Frechet distance, 10,000 images")
    axis.legend(loc="lower left")
    return figure


def compare_quality(epoch_seconds, epochs):
    """Train the curves that are missing, print the table and write it, the curves and the figure to `outputs/`."""
    import pandas as pd

    import curves as training
    wanted = [(nets, seed, epochs[nets]) for nets in epochs for seed in training.SEEDS]
    try:
        training.train_curves([job for job in wanted if not training.load_curve(*job[:2])["epoch"].max() >= job[2]])
    except subprocess.CalledProcessError:
        print("\nNo time to quality: a curve could not be trained; the reason stands above.")
        return
    curves = pd.concat([training.load_curve(nets, seed).assign(nets=nets, seed=seed) for nets, seed, _ in wanted])
    table, outputs = time_to_quality(curves, epoch_seconds), ROOT / "outputs"
    print_time_to_quality(table)
    table.round(4).to_csv(outputs / "time_to_quality.csv", index=False)
    curves[["nets", "seed", "epoch", "images", "frechet_distance"]].to_csv(outputs / "curves.csv", index=False)
    plot_time_to_quality(curves, table, epoch_seconds).savefig(outputs / "time_to_quality.png", dpi=130)


def main(epochs):
    answers = measure()
    seconds = {name: [answer["seconds"] for answer in given] for name, given in answers.items()}
    print_epochs(seconds, [answer["measuring"] for answer in answers["epoch"]])
    print_rate(seconds, profile(), {name: given[-1]["peak"] for name, given in answers.items()})
    compare_quality({"default": statistics.median(seconds["epoch"]),
                     "tutorial": statistics.median(seconds["tutorial"])}, epochs)


if __name__ == "__main__":
    if sys.argv[1:] in ([], ["long"]):
        main(LONG_EPOCHS if sys.argv[1:] else EPOCHS)
    elif sys.argv[1] == "reference":
        torch_reference(sys.argv[2])
    elif sys.argv[1] == "profile":
        profiled_steps()
    else:
        CONTESTANTS[sys.argv[1]]()
