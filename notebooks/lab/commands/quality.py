"""`make quality`: the default run beside the TensorFlow tutorial's nets in the same wall time, measured, three seeds.

For each seed the default run is made by `train` on the full MNIST, then the tutorial's nets and settings train for as
many seconds, each in a process of its own with nothing else running. Both are measured on 10,000 images. What is
finished is kept in `outputs/quality-SEED/` and not done again; the table goes to `outputs/quality.csv`.
"""

import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

import keras
import numpy as np
import pandas as pd

import dcgan_utils as dcgan
from lab import datasets, files, measuring_net, runs
from lab.commands.curves import IMAGES, SEEDS
from lab.commands.trainers import TUTORIAL_BATCH, tutorial_trainer


def measured(generator, images_seen, seconds, seed):
    """A row of the table: all measures of a generator, by images that it did not draw in training."""
    data, test = datasets.load_dataset("mnist"), datasets.load_dataset("mnist", split="test")
    net = measuring_net.load_measuring_net(data)
    generated = dcgan.generate_images(generator, IMAGES, seed=1000 + seed)
    started = time.perf_counter()
    scores = measuring_net.evaluate(net, *(net.features(images) for images in (generated, data.images, test.images)))
    print(f"measured in {time.perf_counter() - started:.1f} s", file=sys.stderr)
    return {"seed": seed, "seconds": seconds, "images_seen": images_seen, **scores}


def default_run(seed):
    data = datasets.load_dataset("mnist")
    if data.notice:
        raise FileNotFoundError("the full MNIST is needed: connect to the network or set DCGAN_DATA_DIR.")
    run_dir = files.run_folder(f"quality-{seed}")
    shutil.rmtree(run_dir, ignore_errors=True)  # a run that was cut off does not tell its seconds
    nets = dcgan.build_generator(seed=seed), dcgan.build_discriminator(seed=seed)
    started = time.perf_counter()
    history = runs.train(*nets, data, run_dir, seed=seed)
    seconds = time.perf_counter() - started
    generator = keras.models.load_model(run_dir / "generator.keras")
    return measured(generator, len(history) * len(data.images), seconds, seed)


def tutorial_run(seed, seconds):
    keras.utils.set_random_seed(seed)
    images = datasets.load_dataset("mnist").images
    generator, step, _ = tutorial_trainer()
    order, steps, started = np.random.default_rng(seed), 0, time.perf_counter()
    latent_dim = generator.input_shape[-1]
    while time.perf_counter() - started < seconds:
        place = steps % (len(images) // TUTORIAL_BATCH) * TUTORIAL_BATCH
        if place == 0:
            shuffled = order.permutation(len(images))
        real = dcgan.to_model_range(images[shuffled[place:place + TUTORIAL_BATCH]])
        step(real, dcgan.make_noise(len(real), latent_dim, seed=seed, step=steps))
        steps += 1
    return measured(generator, steps * TUTORIAL_BATCH, time.perf_counter() - started, seed)


def in_own_process(name, seed, *arguments):
    """The row that `name` gives for a seed, from its file if it was made before."""
    path = files.run_folder(f"quality-{seed}") / f"{name}.json"
    if not path.exists():
        command = [sys.executable, "-m", "lab.commands.quality", name, seed, *arguments, path]
        subprocess.run([*map(str, command)], check=True)
    return {"nets": name} | json.loads(path.read_text())


def bounds():
    """The floor, real test images in place of generated ones, and the ceiling, a generator before training."""
    data, test = datasets.load_dataset("mnist"), datasets.load_dataset("mnist", split="test")
    net = measuring_net.load_measuring_net(data)
    training, held_out = (net.features(dataset.images) for dataset in (data, test))
    untrained = net.features(dcgan.generate_images(dcgan.build_generator(), IMAGES))
    return [{"nets": "real test images", **measuring_net.evaluate(net, held_out, training, held_out)},
            {"nets": "untrained", **measuring_net.evaluate(net, untrained, training, held_out)}]


def main():
    rows = []
    for seed in SEEDS:
        rows.append(in_own_process("default", seed))
        rows.append(in_own_process("tutorial", seed, rows[-1]["seconds"]))
    table = pd.DataFrame(rows + bounds())
    table.round(4).to_csv(files.OUTPUTS / "quality.csv", index=False)
    summary = table[table.nets.isin(["default", "tutorial"])].groupby("nets")
    for name in ("seconds", "images_seen", "frechet_distance", "kid", "recall", "coverage", "class_imbalance"):
        print(name.ljust(18), "   ".join(f"{nets} {values.mean():.4g} +- {values.std():.2g}"
                                         for nets, values in summary[name]))
    ours, theirs = (summary.frechet_distance.mean()[nets] for nets in ("default", "tutorial"))
    print(f"\ntutorial's distance / ours   {theirs / ours:.1f}   (wanted: at least 20)")
    print(f"largest class imbalance      {summary.class_imbalance.max()['default']:.3f}   (wanted: at most 0.10)")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        name, seed, *seconds, path = sys.argv[1:]
        row = default_run(int(seed)) if name == "default" else tutorial_run(int(seed), float(*seconds))
        Path(path).write_text(json.dumps(row))
    else:
        main()
