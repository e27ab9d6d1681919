"""Faults: kills at random moments, a disk that fills, a tracker's server gone wrong, malformed input everywhere."""

import contextlib
import http.server
import inspect
import io
import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections import Counter
from pathlib import Path

import imageio.v3 as imageio
import keras
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from test_training import SCRIPT, assert_same_run, newest_variables

import dcgan_utils as dcgan
from lab import callbacks, datasets, experiments, measures, replicas
from train_small import small_data, small_measuring_net, small_nets, train_small

EPOCHS = 12


@pytest.fixture(scope="module")
def whole_run(tmp_path_factory):
    """A run that nothing disturbed."""
    folder = tmp_path_factory.mktemp("runs") / "whole"
    train_small(folder, EPOCHS)
    return folder


class Server:
    """`train_small.py serve`: starts runs, one at a time, and reads what they print.

    Where that is allowed, `disk` is a file system of 4 MB that the server and its runs alone have mounted; `seen` is
    its path for everyone else.
    """

    def __init__(self, disk):
        command = [sys.executable, "-u", str(SCRIPT), "serve"]
        mount = ["unshare", "-rm", "sh", "-c", 'mount -t tmpfs -o size=4m none "$0" && exec "$@"', str(disk)]
        self.mounted = False
        with contextlib.suppress(OSError):
            self.mounted = subprocess.run([*mount, "true"], capture_output=True).returncode == 0
        self.process = subprocess.Popen(
            [*mount, *command] if self.mounted else command, text=True, start_new_session=True,
            env={name: value for name, value in os.environ.items() if not name.startswith("WANDB_")},
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        self.disk = disk
        self.seen = Path(f"/proc/{self.process.pid}/root", *disk.parts[1:]) if self.mounted else disk

    def start(self, folder, epochs, *tracked, **environment):
        """Start a run and return the number of its process; it is killed if it takes more than two minutes."""
        print(json.dumps([[str(folder), str(epochs), *tracked], environment]), file=self.process.stdin, flush=True)
        self.printed = []
        child = int(self.read_until(r"process (\d+)")[1])
        self.limit = threading.Timer(120, os.kill, (child, signal.SIGKILL))
        self.limit.start()
        return child

    def read_until(self, pattern):
        """Read on until a line matches, and return the match; None if the run ends before, with `status`."""
        for line in self.process.stdout:
            self.printed.append(line.strip())
            found = re.match(pattern, self.printed[-1])
            if line.startswith("ended"):
                self.limit.cancel()
                self.status = int(line.split()[1])
                return found
            if found:
                return found
        raise AssertionError("the server has ended: " + "\n".join(self.printed))

    def run(self, *arguments, **environment):
        """Let a run end by itself; its exit status."""
        self.start(*arguments, **environment)
        self.read_until("ended")
        return self.status


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    server = Server(tmp_path_factory.mktemp("disk"))
    yield server
    os.killpg(server.process.pid, signal.SIGKILL)
    server.process.communicate()


def test_ten_kills_at_random_moments_change_nothing(whole_run, server, tmp_path, capsys):
    """The first while TensorFlow is imported; each other one shortly after a random epoch, or in its first seconds."""
    folder, random, struck = tmp_path / "run", np.random.default_rng(1), []
    process = subprocess.Popen([sys.executable, str(SCRIPT), str(folder), str(EPOCHS)])
    time.sleep(random.uniform(0, 4))
    process.kill()
    assert process.wait() == -signal.SIGKILL
    for epoch in sorted(random.integers(0, EPOCHS + 1, 9)):
        for attempt in range(20):  # a run may end before it is struck
            child = server.start(folder, EPOCHS)
            while epoch:
                seen = server.read_until(r"epoch +(\d+)  d_loss|.* has (\d+) epochs already")
                if not seen or int(seen[1] or seen[2]) >= epoch:
                    break
            time.sleep(random.uniform(0, 0.3 if epoch else 4))
            if not epoch or seen:
                os.kill(child, signal.SIGKILL)
                server.read_until("ended")
            if server.status == -signal.SIGKILL:
                break
        assert server.status == -signal.SIGKILL
        struck.append(experiments.epochs_done(folder))
    assert server.run(folder, EPOCHS) == 0
    assert_same_run(folder, whole_run)
    with capsys.disabled():
        print(f"\nfaults: {1 + len(struck)} kills, the first in the import, the others after epochs "
              f"{', '.join(map(str, struck))} of {EPOCHS}; ended bit for bit as an undisturbed run")


def files_in(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_disk_that_fills_is_a_clear_error_and_with_room_the_run_goes_on(whole_run, server, capsys):
    """Full before the first file of a call, and in the middle of its first checkpoint."""
    run, seen, filler = server.disk / "run", server.seen / "run", server.seen / "filler"

    def leave_room(room):
        if server.mounted:
            status = os.statvfs(server.seen)
            filler.write_bytes(bytes(status.f_bavail * status.f_frsize - room))
        else:  # a limit on the size of a file stands for a disk that is full
            resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, (room, resource.RLIM_INFINITY))

    def make_room():
        if server.mounted:
            filler.unlink()
        else:
            resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)

    assert server.run(run, 2) == 0
    before, variables = files_in(seen), newest_variables(seen)
    checkpoint = max(len(content) for name, content in before.items() if name.parts[0] == "checkpoints")
    for room, file in ((0, "config.json"), (checkpoint // 2, "epoch_0004")):
        leave_room(room)
        assert server.run(run, EPOCHS) == 1
        error = server.printed[-3]
        assert re.match(rf"OSError: .*could not write .*{file}: (No space left on device|File too large)\. What was "
                        "written before is intact. Make room .*it goes on from the last checkpoint$", error), error
        after = files_in(seen)
        assert not [name for name in after if name.name.startswith(".partial")]
        changed = {str(name) for name in before if after[name] != before[name]}
        assert changed <= {"config.json", "metrics.csv"}
        assert after[Path("metrics.csv")].startswith(before[Path("metrics.csv")])
        np.testing.assert_equal(newest_variables(seen), variables)
        make_room()
    assert server.run(run, EPOCHS) == 0
    assert_same_run(seen, whole_run)
    with capsys.disabled():
        print(f"\nfaults: {'a tmpfs of 4 MB' if server.mounted else 'RLIMIT_FSIZE'} was full twice; what was written "
              "before stayed, and with room the run ended bit for bit as an undisturbed one")


@pytest.fixture
def bad_server():
    """A function that makes a server of Weights & Biases answer in one way from here on, and returns its address."""
    class Answer(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            asked.append(self.path)
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            if self.server.answer == "nothing":
                closed.wait()
                return
            self.send_response(self.server.answer if isinstance(self.server.answer, int) else 200)
            self.end_headers()
            self.wfile.write(b"\0\xff garbage")

        do_GET = do_PUT = do_POST

        def log_message(self, *_):
            pass

    asked, closed = [], threading.Event()
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answer) as listening:
        listening.asked = asked
        threading.Thread(target=listening.serve_forever, daemon=True).start()
        yield listening
        closed.set()
        listening.shutdown()


@pytest.mark.parametrize("answer", ["garbage", "nothing", 401, 500])
def test_run_ends_whatever_the_tracker_s_server_answers(server, bad_server, tmp_path, capsys, answer):
    bad_server.answer = answer
    home = {name: str(tmp_path / "home") for name in (
        "HOME", "WANDB_CONFIG_DIR", "WANDB_CACHE_DIR", "WANDB_DATA_DIR", "NETRC")}
    started = time.perf_counter()
    status = server.run(
        tmp_path / "run", 1, "tracked", **home, WANDB_API_KEY="0123456789" * 4, WANDB_INIT_TIMEOUT="3",
        WANDB_BASE_URL=f"http://127.0.0.1:{bad_server.server_port}")
    seconds = time.perf_counter() - started
    assert status == 0 and bad_server.asked and seconds < 60, server.printed
    lines = [line for line in server.printed if "Weights & Biases" in line]
    assert len(lines) == 2 and "recording offline instead" in lines[0], server.printed
    assert "wandb sync" in lines[1] and not re.search("Traceback|ERROR", "\n".join(server.printed)), server.printed
    assert (tmp_path / "run" / "training.gif").exists() and (tmp_path / "run" / "generator.keras").exists()
    recording, = (tmp_path / "run").glob("wandb/offline-run-*/run-*.wandb")
    assert recording.stat().st_size > 1000
    with capsys.disabled():
        print(f"\nfaults: a server that answers {answer}: the run ended after {seconds:.1f} s, recorded offline")


# Malformed input: for each argument of a public function, values that it must refuse

TEXT, NUMBER = st.text("ab/. \u00e9", max_size=5), st.floats() | st.integers(-5, 5)
ODD = st.sampled_from([None, {}, [], (), b"bytes", object(), min, [[1], [1, 2]], 1j, np.nan])
BOOLEAN, BELOW_1, BELOW_0 = st.booleans(), st.integers(max_value=0), st.integers(max_value=-1)
NO_COUNT = ODD | TEXT | st.floats() | BOOLEAN | BELOW_1
NO_SEED = ODD | TEXT | st.floats() | BOOLEAN | BELOW_0 | st.integers(min_value=2 ** 53)
NO_NATURAL = ODD | TEXT | st.floats() | BOOLEAN | BELOW_0
NO_SHARE = ODD | TEXT | BOOLEAN | BELOW_0 | st.floats(max_value=-1e-9) | st.floats(1) | st.integers(1)
NO_RATE = ODD | TEXT | BOOLEAN | BELOW_1 | st.floats(max_value=0) | st.just(np.inf)
NO_OBJECT = ODD | TEXT | NUMBER  # where only an object of one class will do
NO_FUNCTION = NO_OBJECT.filter(lambda value: not callable(value))
NO_PATH = NO_OBJECT.filter(lambda value: not isinstance(value, str) or not value)
NO_TEXT = (ODD | NUMBER).filter(lambda value: not isinstance(value, str))
NO_FOLDER_NAME = NO_TEXT | st.sampled_from(["", ".", "..", "a/b", "/a", "../a", "a/"])
NO_FLAG = ODD | TEXT | NUMBER
SHAPES = st.lists(st.integers(0, 5), max_size=5).map(tuple)
DTYPES = st.sampled_from(["uint8", "int64", "float32", "float64", "bool", "complex64", "U3", "datetime64[s]"])
ARRAY = arrays(DTYPES, SHAPES)
NO_PIXELS = NO_OBJECT | ARRAY.filter(lambda array: array.dtype != np.uint8 or array.ndim != 4 or array.size == 0)
NO_FEATURES = NO_OBJECT | ARRAY.filter(lambda array: array.dtype.kind != "f" or array.ndim != 2 or len(array) < 2) | (
    arrays("float32", (8, 3), elements=st.sampled_from([0, np.nan, np.inf])).filter(
        lambda array: not np.isfinite(array).all()))
NO_PROBABILITIES = NO_FEATURES | arrays("float64", (8, 3), elements=st.floats(-5, 5)).filter(
    lambda array: array.min() < 0 or abs(array.sum(axis=1) - 1).max() > 0.01)

NO_LOGITS = TEXT | ODD.filter(lambda value: value not in ([], (), np.nan)) | ARRAY.filter(
    lambda array: array.dtype.kind != "f")
NO_MAPPING = (ODD | NUMBER).filter(lambda value: value != {}) | st.just({"colour": 3})
WANTED = ("wanted|wants|give |choose|delete|restore|repair|look at|allowed|no such file|known are|legal are|label|"
          "build|train|need|there are|run_experiments makes|among")

EXEMPT = {"LEGAL_SIDES": "no function", "smoke_mode": "has no argument", "exercise": "raises nothing, as it should",
          "Diagnosis": "is made by diagnose_run alone", "MinibatchStatistics": "has the arguments of every Keras layer"}


def malformed(root):
    """By public name: legal arguments, and a strategy of illegal values for each argument that can have some.

    Files are written below `root` as they are drawn.
    """
    def file(name, contents=st.binary(max_size=300)):
        def write(content):
            path = root / "inputs" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
            return path if path.parent.name == "inputs" else path.parent
        return contents.map(write)

    def cut(name, content):
        """A good file of which half or more is missing."""
        return file(name, st.integers(1, len(content) // 2).map(lambda end: content[:end]))

    def run_with(name):
        """The folder of a run with one file that holds something else."""
        def write(content):
            path = root / "inputs" / "run"
            shutil.copytree(run, path, dirs_exist_ok=True)
            (path / name).write_bytes(content)
            return path
        return st.binary(max_size=300).map(write)

    images, (generator, discriminator), net = small_data(40), small_nets(), small_measuring_net()
    data = datasets.Dataset(images, (np.arange(40) % 2).astype(np.uint8), ("small", "large"))
    features = np.random.default_rng(0).normal(size=(20, 64))
    group = root / "outputs" / "group"
    run = group / "base-seed0"
    (run / "grids").mkdir(parents=True)
    history = pd.DataFrame({name: np.ones(4) for name in callbacks.COLUMNS} | {"epoch": np.arange(1, 5)})
    history.to_csv(run / "metrics.csv", index=False)
    imageio.imwrite(run / "grids" / "epoch_0004.png", np.zeros((20, 20), np.uint8))
    (run / "config.json").write_text("{}")
    (run / "experiment.json").write_text('{"experiment": "base", "seed": 0}')
    (root / "outputs" / "broken" / "base-seed0").mkdir(parents=True)
    (root / "outputs" / "broken" / "base-seed0" / "experiment.json").write_text('{"experiment": "base", "seed"')
    (root / "empty").mkdir()
    (root / "a-file").write_text("text")
    results = experiments.load_experiments("group")
    buffer = io.BytesIO()
    np.savez(buffer, x_train=images, y_train=data.labels)
    png = imageio.imwrite("<bytes>", images[0].squeeze(), extension=".png")

    def without(table, *names):
        return st.sampled_from(names).map(lambda name: table.drop(columns=name))

    def features_of(function, **more):
        names = [name for name in inspect.signature(function).parameters if name not in more]
        return dict.fromkeys(names, features), dict.fromkeys(names, NO_FEATURES) | more

    no_folder = NO_PATH | st.just(root / "nowhere")
    no_group = NO_FOLDER_NAME | st.sampled_from(["nowhere", "broken", "a" * 20])
    no_write = NO_PATH | st.just(root / "a-file" / "run")
    no_shape = NO_OBJECT | st.tuples(st.integers(-1, 40), st.integers(-1, 40), st.integers(-1, 4)).filter(
        lambda shape: shape[0] != shape[1] or shape[0] not in dcgan.LEGAL_SIDES or shape[2] not in (1, 3)) | st.just(
        (16.0, 16.0, 1))
    no_losses = NO_OBJECT | st.sampled_from([(min,), (min, None), (min, max, abs)])
    no_penalty = NO_FUNCTION.filter(lambda value: value is not None)
    no_data = NO_PIXELS
    rates = {"averaging": NO_SHARE, "losses": no_losses, "penalty": no_penalty, "generator_every": NO_COUNT,
             "discriminator_every": NO_COUNT, "seed": NO_SEED}
    optional = {name: strategy.filter(lambda value: value is not None) for name, strategy in {
        "epochs": NO_COUNT, "picture_every": NO_COUNT, "generator_learning_rate": NO_RATE, "on_picture": NO_FUNCTION,
        "processes": NO_COUNT, "wandb_group": NO_TEXT, "titles": NO_OBJECT, "held_out": NO_PIXELS,
        "features": NO_FEATURES}.items()}
    adam = keras.optimizers.Adam
    table = NO_OBJECT | without(results, "experiment", "seed", "frechet_distance")
    curves = without(history, "epoch", "d_loss", "d_real_accuracy", "frechet_distance")
    return {
        "Dataset": ({"images": images, "labels": data.labels, "class_names": ("a", "b")}, {
            "images": NO_PIXELS | st.just(np.zeros((40, 8, 8, 2), np.uint8)),
            "labels": (NO_OBJECT | ARRAY).filter(lambda value: value is not None),
            "class_names": NO_TEXT.filter(lambda value: value is not None) | st.just(("a",))}),
        "load_dataset": ({"name_or_path": root / "empty"}, {
            "name_or_path": NO_TEXT | st.sampled_from(["", "MNIST", "mnist/", *(root / name for name in (
                "empty", "a-file", "no.npz"))]) | cut("a.npz", buffer.getvalue()) | file("b.npz") | file("b.mat")
            | file("b.csv") | file("b.csv.gz") | file("images/a.png") | cut("images/a.png", png),
            "split": NO_OBJECT | st.just("validation")}),
        "house_numbers_standin": ({"folder": root / "standin", "count": 10}, {
            "folder": no_write, "count": NO_COUNT | st.integers(1, 9), "seed": NO_SEED}),
        "labelled_subset": ({"data": data, "count": 4, "seed": 0}, {
            "data": no_data | st.just(images), "count": NO_COUNT | st.sampled_from([3, 1000]), "seed": NO_SEED}),
        "to_model_range": ({}, {"images": TEXT | ODD.filter(lambda value: value not in ([], (), np.nan))}),
        "to_uint8": ({}, {"images": NO_LOGITS}),
        "check_positive": ({}, {"epochs": NO_COUNT}),
        "check_share": ({}, {"dropout": NO_SHARE}),
        "check_image_shape": ({}, {"image_shape": no_shape}),
        "build_generator": ({}, {"image_shape": no_shape, "latent_dim": NO_COUNT, "width": NO_COUNT,
                                 "refinements": NO_COUNT, "kernel_size": NO_COUNT, "batch_norm": NO_FLAG,
                                 "seed": NO_SEED}),
        "build_discriminator": ({}, {"image_shape": no_shape, "width": NO_COUNT, "kernel_size": NO_COUNT,
                                     "batch_norm": NO_FLAG, "minibatch_statistics": NO_FLAG, "dropout": NO_SHARE,
                                     "seed": NO_SEED}),
        "discriminator_loss": ({"real_logits": np.zeros((4, 1)), "fake_logits": np.zeros((4, 1))},
                               dict.fromkeys(("real_logits", "fake_logits"), NO_LOGITS)),
        "generator_loss": ({}, {"fake_logits": NO_LOGITS}),
        "make_noise": ({"count": 4, "latent_dim": 8, "seed": 0}, {
            "count": NO_COUNT, "latent_dim": NO_COUNT, "seed": NO_SEED,
            "step": ODD | TEXT | st.floats() | BOOLEAN | st.integers(max_value=-2)}),
        "make_train_step": ({"generator": generator, "discriminator": discriminator, "averaged_generator": generator,
                             "generator_optimizer": adam(), "discriminator_optimizer": adam()}, {
            **dict.fromkeys(("generator", "discriminator", "averaged_generator", "generator_optimizer",
                             "discriminator_optimizer"), NO_OBJECT), **rates}),
        "replica_share": ({}, {"batch": NO_OBJECT}),
        "make_train_loop": ({"train_step": tf.function(lambda: None), "images": images}, {
            "train_step": NO_OBJECT, "images": NO_OBJECT | ARRAY.filter(
                lambda array: array.dtype != np.uint8 or array.ndim != 4)}),
        "default_epochs": ({"count": 40}, {"count": NO_COUNT, "images_seen": NO_COUNT}),
        "train": ({"generator": generator, "discriminator": discriminator, "data": images, "run_dir": root / "run",
                   "epochs": 1, "batch_size": 20, "measuring_net": False, "tracking": False}, {
            "generator": NO_OBJECT, "discriminator": NO_OBJECT, "data": no_data | st.just(images[:, :8]),
            "run_dir": no_write, **rates, "batch_size": NO_COUNT | st.just(41), "learning_rate": NO_RATE,
            "beta_1": NO_SHARE, "beta_2": NO_SHARE, "tracking": NO_FLAG, "wandb_project": NO_TEXT,
            "measuring_net": NO_OBJECT.filter(lambda value: value is not None),
            **{name: optional[name] for name in ("epochs", "generator_learning_rate", "picture_every", "on_picture",
                                                 "wandb_group")}}),
        "load_history": ({}, {"run_dir": no_folder | run_with("metrics.csv")}),
        "MeasuringNet": ({"name": "net", "model": net.model, "class_names": ("a", "b"), "accuracy": 0.5}, {
            "model": NO_OBJECT, "class_names": NO_TEXT.filter(lambda value: value != [] and value != ())}),
        "build_measuring_net": ({"image_shape": (16, 16, 1), "classes": 2}, {
            "image_shape": no_shape, "classes": NO_COUNT, "seed": NO_SEED}),
        "train_measuring_net": ({"data": data}, {
            "data": no_data | st.just(images), "held_out": optional["held_out"] | st.just(images), "seed": NO_SEED,
            "epochs": optional["epochs"]}),
        "load_measuring_net": ({}, {"data": no_data | st.sampled_from([images, data])}),
        "generate_images": ({"generator": generator, "count": 4}, {
            "generator": NO_OBJECT, "count": NO_COUNT, "seed": NO_SEED}),
        "evaluate": ({"net": net, "generated": features, "training": features}, {
            "net": NO_OBJECT, "generated": NO_FEATURES, "training": NO_FEATURES, "held_out": optional["features"]}),
        "frechet_distance": features_of(measures.frechet_distance),
        "kernel_distance": features_of(measures.kernel_distance, block=NO_COUNT, seed=NO_SEED),
        "inception_score": ({}, {"probabilities": NO_PROBABILITIES}),
        "manifold_scores": features_of(measures.manifold_scores, neighbours=NO_COUNT | st.just(20)),
        "class_shares": ({}, {"probabilities": NO_PROBABILITIES}),
        "class_imbalance": ({}, {"probabilities": NO_PROBABILITIES}),
        "nearest_images": features_of(measures.nearest_images),
        "memorisation": features_of(measures.memorisation, held_out=optional["features"]),
        "Experiment": ({"name": "base"}, {
            "name": NO_TEXT | st.sampled_from(["", "a/b", "..", " a"]), "epoch": st.just(3), "generator": NO_MAPPING,
            "discriminator": NO_MAPPING, "build_generator": NO_FUNCTION, "build_discriminator": NO_FUNCTION}),
        "run_experiments": ({"experiments": [experiments.Experiment("base", epochs=1)], "data": images, "group": "new"}, {
            "experiments": NO_OBJECT | st.sampled_from([[1], ["base"], [experiments.Experiment("a")] * 2] + [
                [experiments.Experiment("a", **{name: value})] for name in ("batch_size", "learning_rate", "beta_1", "losses")
                for value in (None, 0, "a", -1.0) if (name, value) != ("beta_1", 0)]),
            "data": no_data, "seeds": NO_OBJECT | st.sampled_from([[-1], [0, 0], [1.5], [None], [True]]),
            "group": NO_FOLDER_NAME, "processes": optional["processes"]}),
        "side_by_side": ({"function": min, "jobs": [(1, 2)], "total": 1, "done": lambda: 0, "unit": "job"}, {
            "function": NO_FUNCTION, "jobs": NO_OBJECT.filter(lambda value: value not in ([], (), [[1], [1, 2]])),
            "total": NO_NATURAL, "done": NO_FUNCTION, "unit": NO_TEXT, "processes": optional["processes"]}),
        "load_experiments": ({}, {"group": no_group}),
        "compare_experiments": ({"results": results}, {"results": table, "base": NO_TEXT | st.just("nothing")}),
        "plot_experiments": ({"results": results, "group": "group"}, {
            "results": table, "group": no_group, "metrics": NO_OBJECT | st.just(("loss",))}),
        "plot_grids": ({"results": results, "group": "group"}, {
            "results": table, "group": no_group, "seed": NO_SEED | st.just(7), "columns": NO_COUNT}),
        "diagnose_run": ({}, {
            "run": NO_PATH | curves | run_with("metrics.csv") | run_with("config.json")}),
        "make_grid": ({"images": images}, {"images": NO_PIXELS, "columns": NO_COUNT, "padding": NO_NATURAL}),
        "save_gif": ({"frames": [images[0], images[1]], "path": root / "a.gif", "captions": ["one", "two"]}, {
            "frames": NO_OBJECT | ARRAY | st.just([images[0], images[1, :8]]), "path": no_write | st.just("gif.png"),
            "captions": NO_OBJECT | st.just(["one"]), "milliseconds": NO_COUNT, "last_milliseconds": NO_COUNT}),
        "plot_images": ({"images": images}, {"images": NO_PIXELS, "columns": NO_COUNT, "titles": optional["titles"],
                                             "size": NO_RATE, "title": NO_TEXT}),
        "plot_history": ({}, {"history": NO_OBJECT | curves}),
        "plot_epochs": ({"run_dir": run, "epochs": [4]}, {
            "run_dir": no_folder | run_with("grids/epoch_0004.png"),
            "epochs": NO_OBJECT | st.sampled_from([[3], [-1], [1.5], ["4"], [None]])}),
        "plot_architecture": ({}, {"model": NO_OBJECT}),
        "run_folder": ({}, {"name": NO_FOLDER_NAME}),
        "shown_path": ({}, {"path": NO_PATH}),
    }


def names(argument, value):
    """Words of which a message about this value must have one."""
    said = [argument.removesuffix("s"), str(value)[:20]]
    said += [str(getattr(value, name)) for name in ("name", "shape") if hasattr(value, name)]
    return said + {"data": ["images are", "these images", "an array", "data are"], "held_out": ["images are"],
                   "experiments": ["batch_size", "learning_rate", "beta_1", "losses"]}.get(argument, [])


@pytest.mark.filterwarnings("ignore")  # of readers, about broken bytes
def test_every_public_function_refuses_malformed_input(tmp_path, monkeypatch, capsys):
    """By an error that is raised in our module and names the argument or the value, with nothing written."""
    module = dcgan.__file__

    def no_download(*_):
        raise OSError("no network")

    monkeypatch.setattr(keras.datasets.mnist, "load_data", no_download)
    monkeypatch.setattr(dcgan, "__file__", str(tmp_path / "dcgan_utils.py"))  # `outputs` is beside it
    monkeypatch.chdir(tmp_path)
    cases = malformed(tmp_path)
    assert cases.keys() | EXEMPT.keys() == set(dcgan.__all__), "a public name without malformed input, or the reverse"
    counts, faults = Counter(), []

    @settings(max_examples=30, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
    @given(st.data())
    def refuse(data):
        legal, illegal = cases[name]
        argument = data.draw(st.sampled_from(sorted(illegal)))
        value = data.draw(illegal[argument])
        counts["inputs"] += 1
        before = files_in(tmp_path)
        problem = f"{name}({argument}={value!r:.80}): "
        try:
            if name == "replica_share":
                replicas.replica_share(value)
            else:
                getattr(dcgan, name)(**{**legal, argument: value})
        except (ValueError, TypeError, LookupError, OSError, RuntimeError) as error:
            last = traceback.extract_tb(error.__traceback__)[-1]
            message = str(error)
            if last.filename != module or not last.line.startswith("raise "):
                faults.append(problem + f"{type(error).__name__} at {last.filename}:{last.lineno}: {message:.150}")
            elif not (any(word in message for word in names(argument, value)) and re.search(WANTED, message)):
                faults.append(problem + f"names nothing or wants nothing: {message:.150}")
            else:
                counts["refused"] += 1
        except Exception as error:
            faults.append(problem + f"{type(error).__name__}: {error!s:.150}")
        else:
            faults.append(problem + "accepted")
        if files_in(tmp_path) != before:
            counts["written"] += 1
            faults.append(problem + "something was written")

    for name in cases:
        refuse()
    with capsys.disabled():
        print(f"\nfaults: {len(cases)} public functions, {counts['inputs']} malformed inputs: {counts['refused']} "
              f"refused by us, {len(faults)} other outcomes, {counts['written']} times something written")
    assert not faults, "\n".join(faults)
