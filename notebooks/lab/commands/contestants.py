"""What the processes of `make bench` do, one each: `python -m lab.commands.contestants NAME`.

A contestant works when it is asked and otherwise waits. TensorFlow is imported where it is used, since PyTorch's
contestants (bench_torch.py) use `answer_seconds` in an environment without it.
"""

import collections
import contextlib
import functools
import io
import itertools
import json
import re
import resource
import sys
import tempfile
import time
from pathlib import Path

COUNT = 60_000  # images in an epoch
SIDE = 2048  # of the matrices whose product is the yardstick


def peak_of_memory():
    """The most memory that this process has held, in bytes; Linux's getrusage would count what its parent held, too."""
    status = Path("/proc/self/status")
    if status.exists() and (found := re.search(r"VmHWM:\s*(\d+)", status.read_text(encoding="utf-8"))):
        return 1024 * int(found[1])
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def answer(**values):
    """Hand the parent values, with the peak of memory in bytes, and wait until it asks again; end when it is gone."""
    print(json.dumps(values | {"peak": peak_of_memory()}), file=sys.__stdout__, flush=True)
    if not sys.stdin.readline():
        raise SystemExit


def answer_seconds(call, *, times, scale=1):
    """Answer for ever with the seconds of `scale` calls, from the mean of `times`, and with those of the first call.

    The first answer is for warming up.
    """
    started = time.perf_counter()
    call()
    first = time.perf_counter() - started
    while True:
        started = time.perf_counter()
        for _ in range(times):
            call()
        answer(seconds=(time.perf_counter() - started) / times * scale, first=first)


def random_pixels():
    import numpy as np
    return np.random.default_rng(0).integers(0, 256, (COUNT, 28, 28, 1), dtype=np.uint8)


def random_batch(size):
    import numpy as np
    return np.random.default_rng(0).permutation(COUNT)[:size].astype(np.int32)


def default_call(deterministic=True, at_a_time=16, compiled=False):
    """`(batch, call)`: bare steps of the default nets and settings, as many in a call as in `train`."""
    import numpy as np
    import tensorflow as tf

    from lab.commands.trainers import DEFAULTS, default_trainer
    if deterministic:  # as `train` does
        tf.config.experimental.enable_op_determinism()
    batch = DEFAULTS["batch_size"]
    steps, *_ = default_trainer(random_pixels(), compiled=(at_a_time, batch) if compiled else None)
    indices, numbers = np.tile(random_batch(batch), (at_a_time, 1)), itertools.count(step=at_a_time)
    return batch, lambda: steps(indices, next(numbers)).numpy()


def default_steps(deterministic=True, at_a_time=16):
    batch, call = default_call(deterministic, at_a_time)
    answer_seconds(call, times=208 // at_a_time, scale=COUNT / batch / at_a_time)


def compiled_steps(deterministic=True):
    from lab.commands.trainers import DEFAULTS
    from lab.compiling import steps_in_a_program
    at_a_time = steps_in_a_program(COUNT // DEFAULTS["batch_size"])
    batch, call = default_call(deterministic, at_a_time, compiled=True)
    answer_seconds(call, times=4, scale=COUNT / batch / at_a_time)


def tutorial_steps(compiled=False):
    import tensorflow as tf

    from lab.commands.trainers import TUTORIAL_BATCH, TUTORIAL_LATENT_DIM, tutorial_trainer
    _, step, _ = tutorial_trainer()
    if compiled:
        step = tf.function(step.python_function, jit_compile=True)
    batch = (tf.random.stateless_normal([TUTORIAL_BATCH, 28, 28, 1], [0, 1]),
             tf.random.stateless_normal([TUTORIAL_BATCH, TUTORIAL_LATENT_DIM], [0, 0]))
    answer_seconds(lambda: float(step(*batch)), times=8, scale=COUNT / TUTORIAL_BATCH)


def whole_epochs():
    """Epochs of `train` as it is called for MNIST, and the part of them in which the distance is measured."""
    import keras

    import dcgan_utils as dcgan
    from lab import datasets, runs

    class Turns(keras.callbacks.Callback):
        """An epoch lasts from its begin to that of the next one, so saving and measuring are in it."""

        begun = None

        def on_epoch_begin(self, epoch, logs=None):
            if self.begun:
                answer(seconds=time.perf_counter() - self.begun, measuring=self.measuring)
            self.begun = time.perf_counter()

        def on_epoch_end(self, epoch, logs):
            self.measuring = logs["measuring_seconds"]

    data = datasets.Dataset(random_pixels(), name="mnist")
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        runs.train(dcgan.build_generator(), dcgan.build_discriminator(), data, Path(folder) / "run", epochs=1000,
                   callbacks=[Turns()])


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

    import dcgan_utils as dcgan
    from lab.commands.trainers import DEFAULTS
    from lab.runs import compose_step
    generator, discriminator = nets = dcgan.build_generator(), dcgan.build_discriminator()
    averaged = keras.models.clone_model(generator)
    averaged.set_weights(generator.get_weights())
    batch, number, pixels = DEFAULTS["batch_size"], 3, random_pixels()[:1000]
    indices = np.arange(0, 15 * batch, 15, dtype=np.int32)
    holders = {"generator": generator, "discriminator": discriminator, "averaged": averaged}

    def weights(when):
        return {f"{when}_{name}_{i}": weight
                for name, net in holders.items() for i, weight in enumerate(net.get_weights())}

    arrays = weights("before")
    steps, _ = compose_step(*nets, [keras.optimizers.SGD(1.0) for _ in nets], averaged, pixels)
    arrays |= dict(zip(dcgan.METRICS, steps(indices[None], number).numpy()[0]))
    noise = dcgan.make_noise(batch, generator.input_shape[-1], seed=0, step=number)
    np.savez(path, pixels=pixels, indices=indices, number=number, noise=noise, **arrays, **weights("after"))


# in the order of their turns: what is compared to within some per cent stands side by side
CONTESTANTS = {"tutorial": tutorial_steps, "product": matrix_products, "steps": default_steps, "epoch": whole_epochs,
               "free steps": functools.partial(default_steps, deterministic=False),
               "single steps": functools.partial(default_steps, at_a_time=1)}
ON_GPU = {"tutorial": tutorial_steps, "tutorial compiled": functools.partial(tutorial_steps, compiled=True),
          "steps": default_steps, "compiled steps": compiled_steps,
          "free compiled steps": functools.partial(compiled_steps, deterministic=False), "epoch": whole_epochs}


if __name__ == "__main__":
    if sys.argv[1] == "reference":
        torch_reference(sys.argv[2])
    elif sys.argv[1] == "profile":
        profiled_steps()
    else:
        (CONTESTANTS | ON_GPU)[sys.argv[1]]()
