"""Faults: kills at random moments, a disk that fills, a tracker's server gone wrong."""

import contextlib
import http.server
import json
import os
import re
import resource
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from conftest import HANG
from lab import experiments
from test_runs import SCRIPT, assert_same_run, newest_variables
from train_small import train_augmented, train_small

EPOCHS = 12


@pytest.fixture(scope="module")
def whole_run(tmp_path_factory):
    """A run that nothing disturbed."""
    folder = tmp_path_factory.mktemp("runs") / "whole"
    train_small(folder, EPOCHS)
    return folder


class Server:
    """`train_small.py serve`: runs trainings, one at a time, and reads what they print.

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

    def run(self, folder, epochs, *tracked, **environment):
        """Let a run end and return its exit status; `printed` are its lines. It is killed if it hangs."""
        print(json.dumps([[str(folder), str(epochs), *tracked], environment]), file=self.process.stdin, flush=True)
        self.printed, limit = [], None
        for line in self.process.stdout:
            self.printed.append(line.strip())
            if line.startswith("process "):
                limit = threading.Timer(HANG, os.kill, (int(line.split()[1]), signal.SIGKILL))
                limit.start()
            if line.startswith("ended "):
                limit.cancel()
                return int(line.split()[1])
        raise AssertionError("the server has ended: " + "\n".join(self.printed))


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    server = Server(tmp_path_factory.mktemp("disk"))
    yield server
    os.killpg(server.process.pid, signal.SIGKILL)
    server.process.communicate()


@pytest.mark.parametrize("written", [
    "checkpoints/epoch_0002", pytest.param("grids/epoch_0004.png", marks=pytest.mark.long),
    pytest.param("metrics.csv", marks=pytest.mark.long)])
def test_killed_run_goes_on_bit_for_bit(whole_run, server, tmp_path, written):
    """SIGKILL as soon as a file is written: early, in the middle of saving, and before the first epoch ends."""
    assert server.run(tmp_path / "run", EPOCHS, STRIKE=json.dumps({"written": written})) == -signal.SIGKILL
    assert (tmp_path / "run" / written).exists() and not (tmp_path / "run" / "training.gif").exists()
    assert server.run(tmp_path / "run", EPOCHS) == 0
    assert_same_run(tmp_path / "run", whole_run)


def test_killed_run_with_augmentation_and_losses_that_remember_goes_on_bit_for_bit(server, tmp_path):
    """SIGKILL when an epoch's verdicts on held-out images are written, and its checkpoint is not yet."""
    train_augmented(tmp_path / "whole", 2)
    strike = json.dumps({"written": "overfitting.csv"})
    assert server.run(tmp_path / "run", 2, "augmented", STRIKE=strike) == -signal.SIGKILL
    assert [path.name for path in (tmp_path / "run" / "checkpoints").iterdir()] == ["epoch_0000"]
    assert server.run(tmp_path / "run", 2, "augmented") == 0
    assert_same_run(tmp_path / "run", tmp_path / "whole")
    ours, theirs = ((tmp_path / name / "overfitting.csv").read_text() for name in ("run", "whole"))
    assert ours == theirs


@pytest.mark.long
def test_ten_kills_at_random_moments_change_nothing(whole_run, server, tmp_path, capsys):
    """The first while TensorFlow is imported; each other one shortly after a random epoch, or in its first seconds."""
    folder, random, struck = tmp_path / "run", np.random.default_rng(1), []
    process = subprocess.Popen([sys.executable, str(SCRIPT), str(folder), str(EPOCHS)])
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(random.uniform(0, 1))
    process.kill()
    assert process.wait() == -signal.SIGKILL
    for epoch in sorted(random.integers(0, EPOCHS + 1, 9)):
        moment = {"epoch": int(epoch), "after": random.uniform(0, 0.3 if epoch else 4)}
        assert server.run(folder, EPOCHS, STRIKE=json.dumps(moment)) == -signal.SIGKILL
        struck.append(experiments.epochs_done(folder))
    assert server.run(folder, EPOCHS) == 0
    assert_same_run(folder, whole_run)
    with capsys.disabled():
        print(f"\nfaults: {1 + len(struck)} kills, the first in the import, the others after epochs "
              f"{', '.join(map(str, struck))} of {EPOCHS}; ended bit for bit as an undisturbed run")


def files_in(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.long
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


@pytest.mark.parametrize("answer", ["garbage", *(pytest.param(answer, marks=pytest.mark.long)
                                                 for answer in ("nothing", 401, 500))])
def test_run_ends_whatever_the_tracker_s_server_answers(server, bad_server, tmp_path, capsys, answer):
    bad_server.answer = answer
    home = {name: str(tmp_path / "home") for name in (
        "HOME", "WANDB_CONFIG_DIR", "WANDB_CACHE_DIR", "WANDB_DATA_DIR", "NETRC")}
    started = time.perf_counter()
    status = server.run(
        tmp_path / "run", 1, "tracked", **home, WANDB_API_KEY="0123456789" * 4, WANDB_INIT_TIMEOUT="3",
        WANDB_BASE_URL=f"http://127.0.0.1:{bad_server.server_port}")
    seconds = time.perf_counter() - started
    assert status == 0 and bad_server.asked, server.printed
    lines = [line for line in server.printed if "Weights & Biases" in line]
    assert len(lines) == 2 and "recording offline instead" in lines[0], server.printed
    assert "wandb sync" in lines[1] and not re.search("Traceback|ERROR", "\n".join(server.printed)), server.printed
    assert (tmp_path / "run" / "training.gif").exists() and (tmp_path / "run" / "generator.keras").exists()
    recording, = (tmp_path / "run").glob("wandb/offline-run-*/run-*.wandb")
    assert recording.stat().st_size > 1000
    with capsys.disabled():
        print(f"\nfaults: a server that answers {answer}: the run ended after {seconds:.1f} s, recorded offline")
