"""Trainings side by side: how many, silent, killed."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
import tensorflow as tf

import dcgan_utils as dcgan
from conftest import HANG
from lab import experiments, processes
from test_experiments import metrics, run
from train_small import tiny

TESTS = Path(__file__).parent


@pytest.mark.parametrize("cores, gpus, given, jobs, wanted", [
    (3, [], None, 30, 3), (64, [], None, 30, 8), (64, [], 20, 30, 20), (3, [], 2, 30, 2), (3, ["GPU:0"], 2, 30, "here"),
    (3, [], 1, 30, "here"), (3, [], 2, 1, 1)])
def test_processes_are_as_many_as_cores_and_none_of_its_own_with_a_gpu(cores, gpus, given, jobs, wanted, monkeypatch):
    """A single job has one of its own, too: on all cores it would round differently, and not go on bit for bit."""
    class Asked(Exception):
        pass

    def pool(processes, **options):
        raise Asked(processes)

    def job(number):
        raise Asked("here")

    monkeypatch.setattr(processes.loky, "cpu_count", lambda: cores)
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: gpus)
    monkeypatch.setattr(processes.loky, "ProcessPoolExecutor", pool)
    with pytest.raises(Asked) as asked:
        processes.side_by_side(job, [(i,) for i in range(jobs)], total=jobs, done=lambda: 0, unit="job",
                               processes=given)
    assert asked.value.args == (wanted,)


def children():
    """Processes that this one has started and that have not ended."""
    return set(Path(f"/proc/self/task/{os.getpid()}/children").read_text().split())


@pytest.mark.long
def test_a_process_that_is_killed_ends_in_an_error_that_says_what_to_do(outputs):
    parent, before = os.getpid(), children()

    def build(image_shape, *, seed=0):
        if os.getpid() != parent:
            os.kill(os.getpid(), signal.SIGKILL)
        return dcgan.build_discriminator(image_shape, width=4, seed=seed)

    bad = tiny(build_discriminator=build, discriminator={})
    with pytest.raises(RuntimeError, match="a process was killed.*memory.*kept: run again with processes=1 to go on"):
        run(bad, bad.but("b"), bad.but("c"), processes=2)
    still = {pid for pid in children() - before if "tracker" not in Path(f"/proc/{pid}/cmdline").read_text()}
    assert not still, "processes are left behind"


GROUP = """
import os
import sys
import time
from pathlib import Path

tests, outputs, slow = sys.argv[1:]
sys.path[:0] = [tests, str(Path(tests).parent), str(Path(tests).parent / "notebooks")]
import dcgan_utils as dcgan
from lab import callbacks, experiments, files
from train_small import small_data

files.OUTPUTS = Path(outputs)
parent = os.getpid()

def build(image_shape, *, seed=0):
    if slow == "slow" and os.getpid() != parent:
        Path(outputs + f".{os.getpid()}").touch()
        write = callbacks.Metrics.on_epoch_end
        callbacks.Metrics.on_epoch_end = lambda self, epoch, logs: [
            write(self, epoch, logs), time.sleep(900 if epoch > 4 else 0)]
    return dcgan.build_discriminator(image_shape, width=4, seed=seed)

base = experiments.Experiment("base", epochs=12, picture_every=4, batch_size=100, build_discriminator=build,
                              generator=dict(latent_dim=8, width=4))
some = [base] if slow == "slow" else [base, base.but("whole")]
experiments.run_experiments(some, small_data(), seeds=(0, 1), processes=2)
"""


def at_work(pid):
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes() != b""
    except OSError:
        return False


@pytest.mark.long
def test_killed_with_its_processes_at_work_and_called_again_it_finishes_as_if_nothing_had_been(outputs):
    """Processes whose parent is killed end too, in the middle of minutes of work, and lock no folder."""
    command = [sys.executable, "-c", GROUP, str(TESTS), str(outputs)]
    runs = [outputs / "experiments" / f"base-seed{seed}" for seed in (0, 1)]
    process = subprocess.Popen([*command, "slow"], stdout=subprocess.DEVNULL)
    pids = []
    try:
        deadline = time.time() + HANG
        while not all(experiments.epochs_done(run_dir) == 6 for run_dir in runs) and time.time() < deadline:
            assert process.poll() is None
            time.sleep(0.01)
        process.kill()
        assert process.wait() == -signal.SIGKILL and not list(outputs.rglob("experiment.json"))
        pids = [int(path.suffix[1:]) for path in outputs.parent.glob("outputs.*")]
        assert len(pids) == 2
        again = subprocess.run([*command, "fast"], capture_output=True, text=True, timeout=HANG)
        assert again.returncode == 0, again.stderr[-2000:]
        assert "0 runs are finished, 4 to do" in again.stdout
        assert not any(map(at_work, pids)), "processes of the killed parent train on"
    finally:
        process.kill()
        for pid in filter(at_work, pids):
            os.kill(pid, signal.SIGKILL)
    for run_dir in runs:
        whole = run_dir.with_name(run_dir.name.replace("base", "whole"))
        pd.testing.assert_frame_equal(metrics(run_dir), metrics(whole), check_exact=True)
        assert len(metrics(run_dir)) == 12 and (run_dir / "experiment.json").exists()
