"""The ways in which a newcomer begins: `make train`, and one notebook opened in Colab, emulated as in test_colab.py."""

import http.server
import json
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path
from urllib.parse import quote

import keras
import nbformat
import numpy as np
import pytest
from nbclient import NotebookClient

import dcgan_utils as dcgan
import stamp
from conftest import HANG
from lab import datasets, files, runs
from train_small import small_data

ROOT = Path(__file__).resolve().parents[1]
STAND_IN = 'import sys, types; colab = sys.modules["google.colab"] = types.ModuleType("google.colab")'


def make(course, *arguments):
    """`make` in the copy, with this test's Python for its .venv."""
    if not (course / ".venv").exists():
        (course / ".venv").symlink_to(sys.prefix)
    alone = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}  # not `make test`'s
    command = ["make", "-o", ".venv/ready", *arguments]
    return subprocess.run(command, cwd=course, env=alone, capture_output=True, text=True)


def test_make_train_trains_names_what_it_made_and_goes_on(course):
    np.savez(course / "my squares.npz", x_train=small_data(128)[..., 0])
    done = make(course, "train", "DATASET=my squares.npz", "EPOCHS=2", "RUN=my run", "BATCH_SIZE=32")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "epoch   1  d_loss" in done.stdout and "2/2" in done.stdout, "progress is shown"
    assert "Up to epoch 2, 4 steps each" in done.stdout and "Exercise" not in done.stdout
    made = done.stdout.splitlines()[-3:]
    assert made == [f"outputs/my run/{name}" for name in ("training.gif", "grids/epoch_0002.png", "generator.keras")]
    assert all((course / path).stat().st_size for path in [*made, "outputs/my run/04_training.ipynb"])
    assert {path.name for path in (course / "outputs").iterdir()} == {"measuring_nets", "recipes.csv", "my run"}


@pytest.mark.long
def test_make_train_with_more_epochs_goes_on(course):
    np.savez(course / "squares.npz", x_train=small_data(128)[..., 0])
    path = course / "notebooks" / "04_training.ipynb"
    shorter = nbformat.read(path, as_version=4)
    shorter.cells = [cell for cell in shorter.cells if "def small_run(" not in cell.source]  # three runs of its own
    nbformat.write(shorter, path)
    for epochs in (2, 3):
        again = make(course, "train", "DATASET=squares.npz", f"EPOCHS={epochs}", "RUN=mine")
    begin, end = again.stdout.index("going on after epoch 2"), again.stdout.index("outputs/mine/training.gif")
    assert "epoch   3  d_loss" in again.stdout[begin:end] and "epoch   1 " not in again.stdout[:end]
    assert again.stdout.split()[-2] == "outputs/mine/grids/epoch_0003.png"
    generator = keras.models.load_model(course / "outputs" / "mine" / "generator.keras")
    assert generator.output_shape[1:] == (16, 16, 1)


# The first cell, here and on Colab

def run_first_cell(folder, address="", colab=None, more=""):
    """Run the cell in a folder that holds nothing else, on Colab if `colab` stands in for it; and then more code."""
    code = stamp.first_cell(*address.split("/blob/main/")) if address else stamp.FIRST_CELL
    stand_in = "" if colab is None else STAND_IN + colab
    done = subprocess.run([sys.executable, "-c", f"{stand_in}\n{code}\n{more}"], cwd=folder, capture_output=True,
                          text=True)
    return done.stdout + done.stderr


HERE = """
import importlib.util  # to import the module would take seconds
print(os.path.relpath(importlib.util.find_spec("dcgan_utils").origin))"""


@pytest.fixture
def session_api(monkeypatch):
    """A function that starts Colab's session API, with a path of a notebook or, for None, without ever answering."""
    if not shutil.which("curl"):
        pytest.skip("there is no curl, which Colab has")
    address, servers = f"127.{os.getpid() % 250 + 1}.{os.getpid() // 250 % 250}.1", []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            if self.path != "/api/sessions" or self.server.shown is None:
                self.server.closing.wait()
                return
            self.send_response(200)
            self.end_headers()
            sessions = [{"id": "1", "kernel": {"name": "python3"}, "path": self.server.shown, "type": "notebook"}]
            self.wfile.write(json.dumps(sessions).encode())

        def log_message(self, *_):
            pass

    def start(path):
        try:
            server = http.server.ThreadingHTTPServer((address, 9000), Handler)
        except OSError as error:
            pytest.skip(f"no server on {address}: {error}")
        server.shown, server.closing = path, threading.Event()
        threading.Thread(target=server.serve_forever).start()
        servers.append(server)

    monkeypatch.setenv("COLAB_JUPYTER_IP", address)
    yield start
    for server in servers:
        server.closing.set()
        server.shutdown()
        server.server_close()


def opened_from(address):
    return "fileId=" + quote(f"https://github.com/{address}", safe="")


def knows_provenance(*file_ids):
    """The part of Colab that answers with the open notebook, newest origin first."""
    provenance = [{"file_id": file_id, "timestamp": -i} for i, file_id in enumerate(file_ids)]
    return f"""
def blocking_request(kind, timeout_sec):
    assert kind == "get_ipynb" and timeout_sec == 5
    return {{"ipynb": {{"cells": ["https://github.com/a/b/blob/c/notebooks/d.ipynb"],
                       "metadata": {{"colab": {{"provenance": {provenance!r}}}}}}}}}
colab._message = types.SimpleNamespace(blocking_request=blocking_request)"""


NOTHING_KNOWN = "\ncolab._message = types.SimpleNamespace(blocking_request=lambda kind, timeout_sec: None)"
MAIN, BRANCH = (f"jane/dcgan/blob/{branch}/notebooks/01_data.ipynb" for branch in ("main", "winter/term-2"))
OTHER = "someone/else/blob/main/notebooks/01_data.ipynb"
ELSEWHERE = "teacher/weeks/blob/main/week1/01_data.ipynb"


@pytest.fixture
def two_branches(published, tmp_path, monkeypatch):
    monkeypatch.setenv("PIP_NO_INDEX", "1")  # so that pip can replace nothing
    subprocess.run(["git", "-C", tmp_path / "published.git", "branch", "winter/term-2", "main"], check=True)
    folder = tmp_path / "content"
    folder.mkdir()
    return folder


@pytest.mark.parametrize("session, provenance, stamped, wanted", [
    (opened_from(MAIN), "", OTHER, "main"),
    (opened_from(BRANCH), knows_provenance("https://github.com/" + OTHER), OTHER, "winter/term-2"),
    ("fileId=1aBcD", knows_provenance("1aBcD", "https://github.com/" + BRANCH, "https://github.com/" + OTHER), OTHER,
     "winter/term-2"),
    ("fileId=1aBcD", knows_provenance("1aBcD"), MAIN, "main"),
    (opened_from(ELSEWHERE), knows_provenance("https://github.com/" + ELSEWHERE), MAIN, "main"),
    (None, NOTHING_KNOWN, MAIN, "main"),
    ("fileId=1aBcD", "", MAIN, "main")],
    ids=["session", "session-branch", "provenance", "stamp", "other-layout", "silent", "changed"])
def test_colab_fetches_the_course_from_where_the_notebook_was_opened(session, provenance, stamped, wanted, two_branches,
                                                                     session_api):
    session_api(session)
    said = run_first_cell(two_branches, stamped, provenance, HERE)
    assert said.splitlines() == [f"The course: https://github.com/jane/dcgan, branch {wanted}.",
                                 "dcgan-course/dcgan_utils.py"]
    (two_branches / "dcgan-course" / "mine").touch()
    assert run_first_cell(two_branches, OTHER, "", HERE) == said, "a second time, nothing is fetched again"
    assert (two_branches / "dcgan-course" / "mine").exists()


@pytest.mark.parametrize("stamped, colab", [("", NOTHING_KNOWN), ("", ""), (MAIN, None)],
                         ids=["nothing-known", "changed", "not-colab"])
def test_with_nowhere_to_fetch_from_the_first_cell_says_what_to_do(stamped, colab, two_branches):
    said = run_first_cell(two_branches, stamped, colab)
    assert said.splitlines()[-1] == "AssertionError: Open this in the course's folder, or set ADDRESS_ON_GITHUB."
    assert not list(two_branches.iterdir())


def test_a_notebook_opened_in_colab_runs(two_branches, monkeypatch):
    """As far as its data; `make test` runs the rest, too."""
    monkeypatch.setenv("DCGAN_SMOKE", "1")
    notebook = nbformat.read(ROOT / "notebooks" / "01_data.ipynb", as_version=4)
    data = next(i for i, cell in enumerate(notebook.cells) if "load_dataset(DATASET)" in cell.source)
    stamp.stamp_notebook(notebook, "jane/dcgan", "notebooks/01_data.ipynb")
    notebook.cells = [nbformat.v4.new_code_cell(STAND_IN), *notebook.cells[:data + 1]]
    NotebookClient(notebook, timeout=HANG, resources={"metadata": {"path": str(two_branches)}}).execute()
    assert (two_branches / "dcgan-course" / "dcgan_utils.py").exists()


@pytest.mark.parametrize("folder", ["notebooks", "."])
def test_the_first_cell_sets_the_backends_whatever_the_shell_says(folder, monkeypatch):
    """`MPLBACKEND=Agg` would show no picture, `KERAS_BACKEND=jax` train nothing."""
    monkeypatch.setenv("MPLBACKEND", "Agg")
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    show = 'print(os.environ["KERAS_BACKEND"], os.environ["MPLBACKEND"], *sys.path[:2])'
    assert run_first_cell(ROOT / folder, more=show).split() == [
        "tensorflow", "module://matplotlib_inline.backend_inline", str(ROOT), str(ROOT / "notebooks")]


def test_setting_up_imports_no_tensorflow():
    """What it sets, TensorFlow reads when it is imported."""
    said = run_first_cell(ROOT, more='print({"tensorflow", "keras", "matplotlib"} & sys.modules.keys())')
    assert said.strip() == "set()"


def test_smoke_mode_leaves_outputs_alone(quick_steps, monkeypatch):
    monkeypatch.setenv("DCGAN_SMOKE", "1")
    before = sorted((ROOT / "outputs").iterdir())
    folder = files.run_folder("mnist")
    nets = dcgan.build_generator(latent_dim=8, width=4), dcgan.build_discriminator(width=4)
    assert len(runs.train(*nets, datasets.load_dataset("mnist"), folder, tracking=False)) == 2
    assert (folder / "generator.keras").exists() and not folder.is_relative_to(ROOT)
    assert sorted((ROOT / "outputs").iterdir()) == before
