"""The ways in which a newcomer begins: `make train`, and one notebook opened in Colab."""

import os
import subprocess
import sys
from pathlib import Path

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
STAND_IN = 'import sys, types; sys.modules["google.colab"] = types.ModuleType("google.colab")'


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
    assert {path.name for path in (course / "outputs").iterdir()} == {"measuring_nets", "my run"}


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


def notebook_01(repository):
    notebook = nbformat.read(ROOT / "notebooks" / "01_data.ipynb", as_version=4)
    stamp.stamp_notebook(notebook, repository, "notebooks/01_data.ipynb")
    return notebook


def run_alone(notebook, folder, colab):
    """Execute a notebook in a folder that holds nothing else; where dcgan_utils is found after that."""
    check = nbformat.v4.new_code_cell('import importlib.util; print(importlib.util.find_spec("dcgan_utils").origin)')
    cells = [*([nbformat.v4.new_code_cell(STAND_IN)] if colab else []), *notebook.cells, check]
    alone = nbformat.v4.new_notebook(cells=cells, metadata=notebook.metadata)
    NotebookClient(alone, timeout=HANG, resources={"metadata": {"path": str(folder)}}).execute()
    return Path(alone.cells[-1].outputs[0].text.strip())


def test_colab_fetches_the_repository_and_begins(published, tmp_path, monkeypatch):
    monkeypatch.setenv("DCGAN_SMOKE", "1")
    folder = tmp_path / "content"
    folder.mkdir()
    nbformat.write(notebook_01("jane/dcgan"), folder / "01_data.ipynb")
    notebook = notebook_01("jane/dcgan")
    data = next(i for i, cell in enumerate(notebook.cells) if "data = load_dataset(DATASET)" in cell.source)
    notebook.cells = notebook.cells[:data + 1]  # `make test` runs the rest, too
    assert run_alone(notebook, folder, colab=True) == folder / "dcgan-course" / "dcgan_utils.py"
    again = notebook_01("jane/dcgan")
    first = next(i for i, cell in enumerate(again.cells) if "dcgan-course" in cell.source and cell.cell_type == "code")
    again.cells = again.cells[:first + 1]
    assert run_alone(again, folder, colab=True).exists(), "a second time, nothing is fetched again"


@pytest.mark.parametrize("colab, repository", [(True, ""), (False, "jane/dcgan")])
def test_with_nowhere_to_fetch_from_the_first_cell_says_what_to_do(tmp_path, colab, repository):
    with pytest.raises(Exception, match="set REPOSITORY in this cell"):
        run_alone(notebook_01(repository), tmp_path, colab=colab)


def test_the_first_cell_sets_the_backends_whatever_the_shell_says(monkeypatch):
    """`MPLBACKEND=Agg` would show no picture, `KERAS_BACKEND=jax` train nothing."""
    monkeypatch.setattr(os, "environ", {**os.environ, "MPLBACKEND": "Agg", "KERAS_BACKEND": "jax"})
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.chdir(ROOT / "notebooks")
    exec(stamp.FIRST_CELL.format(address=""), {})
    assert os.environ["KERAS_BACKEND"] == "tensorflow" and os.environ["MPLBACKEND"].endswith("backend_inline")


def test_smoke_mode_leaves_outputs_alone(quick_steps, monkeypatch):
    monkeypatch.setenv("DCGAN_SMOKE", "1")
    before = sorted((ROOT / "outputs").iterdir())
    folder = files.run_folder("mnist")
    nets = dcgan.build_generator(latent_dim=8, width=4), dcgan.build_discriminator(width=4)
    assert len(runs.train(*nets, datasets.load_dataset("mnist"), folder, tracking=False)) == 2
    assert (folder / "generator.keras").exists() and not folder.is_relative_to(ROOT)
    assert sorted((ROOT / "outputs").iterdir()) == before
