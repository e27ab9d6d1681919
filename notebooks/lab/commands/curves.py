"""Distance to the real images while training, for the tables of `make bench`: the default nets and the tutorial's.

`train_curve(nets, seed, epochs)` trains on one core, so that two processes run side by side, and keeps the Frechet
distance of 10,000 images by `mnist-1` in `outputs/bench/NETS-SEED/curve.csv`, with a checkpoint an epoch: what is cut
off goes on, what is finished is not trained again. Time is left out here; `bench.py` measures it.
"""

import concurrent.futures
import itertools
import math
import os
import subprocess
import sys

import keras
import pandas as pd
import tensorflow as tf

import dcgan_utils as dcgan
from lab.commands import trainers
from lab.compiling import has_gpu
from lab.datasets import load_dataset
from lab.files import epoch_of, remove, replacing, run_folder
from lab.measures import frechet_distance, sample
from lab.measuring_net import load_measuring_net

SEEDS = (0, 1, 2)
IMAGES = 10_000  # measured at each point
# parts of an epoch after which the distance is measured
POINTS = {"tutorial": [1.0], "default": [1 / 16] * 16 + [1 / 8] * 8 + [1 / 4]}


def folder(nets, seed):
    return run_folder("bench") / f"{nets}-{seed}"


def load_curve(nets, seed):
    """Columns epoch (a float), images, frechet_distance."""
    path = folder(nets, seed) / "curve.csv"
    return pd.read_csv(path) if path.exists() else pd.DataFrame({"epoch": [], "images": [], "frechet_distance": []})


def trainer(nets, seed, images):
    """`(batch, at_a_time, steps(indices, first_step), generator to measure, what to keep)` of one of the two."""
    keras.utils.set_random_seed(seed)
    if nets == "default":
        batch, at_a_time = trainers.DEFAULTS["batch_size"], 58 if has_gpu() else 1  # 58: a sixteenth of an epoch
        compiled = (at_a_time, batch) if has_gpu() else None
        return batch, at_a_time, *trainers.default_trainer(images, seed, compiled)
    generator, step, variables = trainers.tutorial_trainer()

    def tutorial_steps(indices, number):
        noise = dcgan.make_noise(indices.size, trainers.TUTORIAL_LATENT_DIM, seed=seed, step=number)
        step(dcgan.to_model_range(images[indices.ravel()]), noise)

    return trainers.TUTORIAL_BATCH, 1, tutorial_steps, generator, variables


def train_curve(nets, seed, epochs):
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    data = load_dataset("mnist")
    if data.notice:
        raise SystemExit("the full MNIST is needed: connect to the network or set DCGAN_DATA_DIR.")
    net, count = load_measuring_net(data), len(data.images)
    real = net.features(sample(data.images, IMAGES))
    batch, at_a_time, advance, generator, variables = trainer(nets, seed, data.images)
    place = folder(nets, seed)
    place.mkdir(parents=True, exist_ok=True)
    checkpoint, steps = tf.train.Checkpoint(variables=variables), math.ceil(count / batch)
    rows = load_curve(nets, seed).to_dict("records")
    done = max((path for path in place.glob("epoch_*")), key=epoch_of, default=None)
    first = epoch_of(done) if done else 0
    if done:
        checkpoint.read(str(done / "state")).assert_consumed()
        rows = [row for row in rows if row["epoch"] <= first]
    lengths = itertools.chain(POINTS[nets], itertools.repeat(POINTS[nets][-1]))
    points = list(itertools.takewhile(lambda epoch: epoch <= epochs, itertools.accumulate(lengths)))
    points = {round(epoch * steps): epoch for epoch in points}
    for epoch in range(first, epochs):
        for number, indices in dcgan.batches_of(epoch, count, batch, seed=seed, at_a_time=at_a_time):
            advance(indices, number)
            passed = [points[step] for step in range(number + 1, number + len(indices) + 1) if step in points]
            if passed:
                features = net.features(dcgan.generate_images(generator, IMAGES, seed=1000 + seed))
                images = epoch * count + min(count, (number + len(indices) - epoch * steps) * batch)
                rows.append({"epoch": passed[-1], "images": images,
                             "frechet_distance": round(frechet_distance(real, features), 4)})
                print(nets, seed, rows[-1], file=sys.stderr, flush=True)
        with replacing(place / "curve.csv") as partial:
            pd.DataFrame(rows).to_csv(partial, index=False)
        with replacing(place / f"epoch_{epoch + 1:04d}") as partial:
            partial.mkdir()
            checkpoint.write(str(partial / "state"))
        for old in place.glob("epoch_*"):
            if epoch_of(old) < epoch + 1:
                remove(old)


def train_curves(wanted):
    """Train each `(nets, seed, epochs)`, one a core at a time, or one on a GPU."""
    command = [sys.executable, "-m", "lab.commands.curves"]
    with concurrent.futures.ThreadPoolExecutor(1 if has_gpu() else os.cpu_count()) as pool:
        list(pool.map(lambda job: subprocess.run([*command, *map(str, job)], check=True), wanted))


if __name__ == "__main__":
    train_curve(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
