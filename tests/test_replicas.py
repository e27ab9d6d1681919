"""Several replicas: logical CPUs in one process, workers in processes of their own over loopback; mixed precision."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from conftest import HANG
from lab import replicas, runs
from test_runs import assert_same_run

SCRIPT = Path(__file__).with_name("train_replicas.py")


def run_script(*arguments):
    done = subprocess.run([sys.executable, SCRIPT, *map(str, arguments)], capture_output=True, text=True, timeout=HANG)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


@pytest.fixture(scope="module")
def ten_steps(tmp_path_factory):
    folder = tmp_path_factory.mktemp("steps")
    run_script("steps", folder)
    results = {}
    for path in folder.glob("*.npz"):
        with np.load(path) as file:
            results[path.stem] = {name: file[name] for name in file}
    return results


def difference(first, second):
    return max(np.abs(first[name] - second[name]).max() for name in first)


@pytest.mark.long  # `make test` sees it in notebook 10
def test_two_replicas_of_8_equal_one_of_16_with_synchronised_statistics(ten_steps):
    assert difference(ten_steps["one"], ten_steps["two"]) < 1e-8
    assert ten_steps["one"]["metrics"].shape == (10, 6) and ten_steps["one"]["arr_0"].dtype == np.float64


@pytest.mark.long
def test_statistics_of_each_replica_apart_give_other_weights(ten_steps):
    assert difference(ten_steps["one"], ten_steps["apart"]) > 1e-3


def test_a_replica_gets_its_part_of_a_batch_in_order(monkeypatch):
    class Replica:
        num_replicas_in_sync = 3

    parts = []
    for Replica.replica_id_in_sync_group in range(3):
        monkeypatch.setattr(tf.distribute, "get_replica_context", Replica)
        (indices, noise), share = replicas.replica_share(tf.range(10), tf.range(10) * 7)
        assert np.array_equal(noise, 7 * indices) and share.numpy() == pytest.approx(len(indices) / 10)
        parts.append(indices.numpy().tolist())
    assert sum(parts, []) == list(range(10)) and {len(part) for part in parts} == {3, 4}


@pytest.fixture(scope="module")
def mirrored_runs(tmp_path_factory):
    """Of two replicas in one process: `whole`, four epochs, and `resumed`, two and two more."""
    folder = tmp_path_factory.mktemp("mirrored")
    run_script("train", folder)
    return folder


@pytest.mark.long
def test_train_on_two_replicas_goes_on_bit_for_bit(mirrored_runs):
    assert_same_run(mirrored_runs / "resumed", mirrored_runs / "whole")
    history = runs.load_history(mirrored_runs / "whole")
    assert history.step.tolist() == [4, 8, 12, 16] and history.frechet_distance.notna().all()


@pytest.mark.long
def test_run_with_augmentation_and_losses_that_remember_goes_on_bit_for_bit_on_two_replicas(tmp_path):
    run_script("augmented", tmp_path)
    assert_same_run(tmp_path / "resumed", tmp_path / "whole")


@contextlib.contextmanager
def two_workers(run_dir, epochs, strike=None):
    """Two processes that train one run together; yields them, chief first. `strike` is for the second one."""
    sockets = [socket.socket() for _ in range(2)]
    for free in sockets:
        free.bind(("127.0.0.1", 0))
    addresses = [f"127.0.0.1:{free.getsockname()[1]}" for free in sockets]
    for free in sockets:
        free.close()
    workers = []
    for index in range(2):
        config = {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}}
        workers.append(subprocess.Popen(
            [sys.executable, SCRIPT, "worker", str(run_dir), str(epochs)], stdout=subprocess.PIPE, text=True,
            stderr=subprocess.PIPE, env=os.environ | {"TF_CONFIG": json.dumps(config)} | (
                {"STRIKE": json.dumps(strike)} if strike and index else {})))
    try:
        yield workers
    finally:
        for worker in workers:
            worker.kill()
            worker.communicate()


@pytest.mark.long
def test_two_workers_equal_two_replicas_write_once_and_a_killed_one_costs_nothing(tmp_path, mirrored_runs):
    with two_workers(tmp_path / "run", 4, strike={"epoch": 2}) as (chief, other):
        _, error = chief.communicate(timeout=HANG)
        assert other.wait() == -signal.SIGKILL
    assert chief.returncode == 1 and "RuntimeError: the replicas lost each other in epoch" in error
    before = max(int(path.name[-4:]) for path in (tmp_path / "run" / "checkpoints").glob("epoch_*"))
    assert before < 4
    with two_workers(tmp_path / "run", 4) as workers:
        (shown, error), (silent, _) = [worker.communicate(timeout=HANG) for worker in workers]
    assert [worker.returncode for worker in workers] == [0, 0], error[-3000:]
    assert f"going on after epoch {before}" in shown and "epoch   4" in shown and silent == ""
    assert_same_run(tmp_path / "run", mirrored_runs / "whole")


def test_what_replicas_cannot_do_is_refused(make_nets):
    generator, _ = make_nets()
    with tf.distribute.OneDeviceStrategy("CPU:0").scope():
        with pytest.raises(ValueError, match="within the same strategy.scope"):
            replicas.check_replicas(generator, 64, 1, 1)
        within, _ = make_nets()
        replicas.check_replicas(within, 64, 1, 1)
    with pytest.raises(ValueError, match="within the same strategy.scope"):
        replicas.check_replicas(within, 64, 1, 1)
    with pytest.raises(ValueError, match="holds 0 images, too few for 1 replicas; choose another batch_size"):
        replicas.check_replicas(generator, 0, 1, 1)
    replicas.check_replicas(generator, 1, 2, 2)


@pytest.fixture
def mixed_float16():
    keras.mixed_precision.set_global_policy("mixed_float16")
    yield
    keras.mixed_precision.set_global_policy("float32")


def gradients(nets, images, scale=None):
    """What one step of plain gradient descent with rate 1 changes."""
    optimizers = [keras.optimizers.SGD(1.0) for _ in nets]
    if scale:
        optimizers = [keras.optimizers.LossScaleOptimizer(optimizer, initial_scale=scale) for optimizer in optimizers]
    before = [weight.numpy() for net in nets for weight in net.trainable_weights]
    steps, _ = runs.compose_step(*nets, optimizers, keras.models.clone_model(nets[0]), images)
    steps(np.arange(16, dtype=np.int32)[None], 0)
    after = [weight.numpy() for net in nets for weight in net.trainable_weights]
    return np.concatenate([(new - old).ravel() for new, old in zip(after, before)])


def test_mixed_precision_gives_the_gradients_of_float32_and_scales_them_back(make_nets, make_images, mixed_float16):
    images = make_images(16)
    mixed = make_nets()
    keras.mixed_precision.set_global_policy("float32")
    exact, scaled = gradients(make_nets(), images), gradients(mixed, images, scale=1024.0)
    assert mixed[0].layers[0].compute_dtype == "float16" and mixed[0].layers[-1].compute_dtype == "float32"
    assert np.corrcoef(exact, scaled)[0, 1] > 0.999
    assert np.linalg.norm(scaled) == pytest.approx(np.linalg.norm(exact), rel=0.02)


def test_train_scales_the_loss_of_nets_in_half_precision_and_goes_on_bit_for_bit(
        tmp_path, make_nets, make_images, mixed_float16):
    def train(name, *lengths):
        for epochs in lengths:
            runs.train(*make_nets(), make_images(64), tmp_path / name, epochs=epochs, batch_size=16, picture_every=1,
                     measuring_net=False, tracking=False)

    train("whole", 4)
    train("resumed", 2, 4)
    assert_same_run(tmp_path / "resumed", tmp_path / "whole")
    assert np.isfinite(runs.load_history(tmp_path / "whole").d_loss).all()
