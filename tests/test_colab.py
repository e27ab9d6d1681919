"""Colab, emulated: packages `google.colab`, `.drive` and `.userdata` of our own, a folder for Drive, clones for VMs.

That shows what our cells do. It does not show what Google's parts do, and none of this was run on Colab itself. Not
covered: the real Drive (its leave to mount, the order and delay of its uploads, its quota and trash, file locks and
links on it; one late upload is emulated), the real secrets and their dialogs, a real machine being taken away (here
the kernel gets a SIGKILL and the clone is thrown away), Colab's own builds of Python and TensorFlow, GPUs, and how the
form fields look.
"""

import contextlib
import io
import os
import re
import shutil
import sys
import types
from pathlib import Path

import keras
import nbformat
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from nbclient import NotebookClient
from nbclient.exceptions import DeadKernelError
from nbformat.v4 import new_code_cell
from packaging.requirements import Requirement

import dcgan_utils as dcgan
import stamp
import versions
from conftest import HANG
from lab import colab, datasets, files, runs

ROOT = Path(__file__).resolve().parents[1]
PATHS = sorted((ROOT / "notebooks").glob("*.ipynb"))
KEY = "0123456789" * 4
WITH_RUNS = {4, 5, 6, 7, 8, 9, 11, 12, 13}  # the notebooks that keep runs


# Emulation

class SecretNotFoundError(Exception):
    pass


class NotebookAccessError(Exception):
    pass


def fake_colab(content, secret):
    """The modules of `google.colab`; `content` is what /content is there, `secret` a key or the error in its place."""
    def get(name):
        assert name == "WANDB_API_KEY"
        if isinstance(secret, Exception):
            raise secret
        return secret

    def mount(mountpoint):
        assert mountpoint == f"{content}/drive"
        (Path(mountpoint) / "MyDrive").mkdir(parents=True, exist_ok=True)
        print(f"Mounted at {mountpoint}")

    module = types.ModuleType("google.colab")
    module.drive, module.userdata = types.SimpleNamespace(mount=mount), types.SimpleNamespace(get=get)
    return module


@pytest.fixture
def run_cell(tmp_path, monkeypatch):
    """A function that runs the Colab cell in a clone in `tmp_path`; what it printed."""
    clone = tmp_path / "dcgan-course"
    (clone / "outputs" / "measuring_nets").mkdir(parents=True)
    (clone / "outputs" / "measuring_nets" / "mnist-1.npz").write_text("frozen")
    monkeypatch.setenv("WANDB_API_KEY", "")
    monkeypatch.delenv("WANDB_API_KEY")
    monkeypatch.setattr(files, "OUTPUTS", clone / "outputs")
    monkeypatch.setattr(colab, "MOUNTED", tmp_path / "drive")

    def run(drive, secret=SecretNotFoundError(), on_colab=True):
        if on_colab:
            monkeypatch.setitem(sys.modules, "google.colab", fake_colab(tmp_path, secret))
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(stamp.COLAB_CELL.replace("DRIVE = False", f"DRIVE = {drive}"), {})
        return printed.getvalue()
    return run


# The Colab cell

def test_elsewhere_the_cell_does_nothing(run_cell, tmp_path):
    assert run_cell(True, KEY, on_colab=False) == ""
    assert "WANDB_API_KEY" not in os.environ and not (tmp_path / "dcgan-course" / "outputs").is_symlink()


def test_without_a_gpu_the_menu_is_named_and_with_one_nothing_is_said(run_cell, monkeypatch):
    assert "Runtime > Change runtime type > GPU" in run_cell(False)
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: [f"{kind}:0"])
    assert run_cell(False) == ""


@pytest.mark.parametrize("secret, mine, wanted", [
    (KEY, None, KEY), (SecretNotFoundError(), None, None), (NotebookAccessError(), None, None),
    (KEY, "mine", "mine"), (SecretNotFoundError(), "mine", "mine")])
def test_a_key_is_taken_from_the_secrets_never_shown_and_never_missed(secret, mine, wanted, run_cell, monkeypatch):
    if mine:
        monkeypatch.setenv("WANDB_API_KEY", mine)
    assert KEY not in run_cell(False, secret)
    assert os.environ.get("WANDB_API_KEY") == wanted


def tree(folder):
    return {path.relative_to(folder).as_posix(): path.read_text() for path in folder.rglob("*") if path.is_file()}


def write(folder, **files):
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name).write_text(text)


def test_outputs_move_to_drive_and_a_second_time_nothing_happens(run_cell, tmp_path):
    outputs = tmp_path / "dcgan-course" / "outputs"
    write(outputs / "begun", config="here")
    for _ in range(2):
        assert "kept on your Drive" in run_cell(True)
        assert outputs.resolve() == tmp_path / "drive" / "MyDrive" / "dcgan-course" / "outputs"
        assert tree(outputs) == {"begun/config": "here", "measuring_nets/mnist-1.npz": "frozen"}
        assert [*outputs.glob(".*")] == []


def test_a_run_on_drive_is_not_mixed_with_one_of_this_machine_and_no_file_is_lost(run_cell, tmp_path):
    outputs = tmp_path / "dcgan-course" / "outputs"
    write(outputs / "mnist", config="here", of_this_machine="1")
    kept = tmp_path / "drive" / "MyDrive" / "dcgan-course" / "outputs"
    write(kept / "mnist", config="on Drive")
    write(kept / "measuring_nets", **{"own-seed0.npz": "mine"})
    write(kept / ".partial-begun", config="half")  # of a copy that was cut off
    write(outputs / "begun", config="whole")
    run_cell(True)
    assert tree(outputs) == {"mnist/config": "on Drive", "begun/config": "whole",
                             "measuring_nets/mnist-1.npz": "frozen", "measuring_nets/own-seed0.npz": "mine"}
    assert tree(tmp_path / "dcgan-course" / "outputs-not-on-drive")["mnist/of_this_machine"] == "1"


# Disconnected while training

STAND_IN = """
import os, pathlib, signal, sys, types
class SecretNotFoundError(Exception): pass
def get(name): raise SecretNotFoundError(name)
def mount(mountpoint): pathlib.Path(mountpoint, "MyDrive").mkdir(parents=True, exist_ok=True)
colab = sys.modules["google.colab"] = types.ModuleType("google.colab")
colab.drive, colab.userdata = types.SimpleNamespace(mount=mount), types.SimpleNamespace(get=get)

def pull_the_plug_when_written(path, replace=os.replace):
    def replace_and_pull(source, target):
        replace(source, target)
        if pathlib.Path(target).resolve() == pathlib.Path(path):
            os.kill(os.getpid(), signal.SIGKILL)
    os.replace = replace_and_pull
"""


def colab_run(content, data, disconnect_at=None):
    """Notebook 4 as far as its training, opened by its badge on a new VM, `content` its /content. What it printed."""
    notebook = nbformat.read(ROOT / "notebooks" / "04_training.ipynb", as_version=4)
    stamp.stamp_notebook(notebook, "jane/dcgan", "notebooks/04_training.ipynb")
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    for cell in code:
        cell.source = cell.source.replace("DRIVE = False", "DRIVE = True")
    first = [cell.source for cell in code].index(next(cell.source for cell in code if "says_of_real" in cell.source))
    training = next(cell for cell in code if "history = runs.train(" in cell.source)
    drive = f"from lab import colab\nimport pathlib\ncolab.MOUNTED = pathlib.Path({str(content / 'drive')!r})"
    settings = {"DATASET": str(data), "EPOCHS": 15}
    at = next(i for i, cell in enumerate(code) if "parameters" in cell.metadata.get("tags", [])) + 1
    chosen = [code[0], new_code_cell(drive), *code[1:at]]
    chosen += [new_code_cell("\n".join(f"{name} = {value!r}" for name, value in settings.items()))]
    plug = f"pull_the_plug_when_written({str(disconnect_at)!r})"
    chosen = [new_code_cell(STAND_IN + (plug if disconnect_at else "")), *chosen, *code[at:first], training]
    notebook = nbformat.v4.new_notebook(cells=chosen, metadata=notebook.metadata)
    NotebookClient(notebook, timeout=HANG, resources={"metadata": {"path": str(content)}}).execute()
    return "".join(output.get("text", "") for cell in notebook.cells for output in cell.outputs)


@pytest.mark.long
def test_a_run_on_drive_goes_on_bit_for_bit_on_a_new_machine(published, make_images, tmp_path, monkeypatch,
                                                             graphs_optimised):
    monkeypatch.setenv("PIP_NO_INDEX", "1")  # so that the first cell's pip can replace nothing
    np.savez(tmp_path / "blobs.npz", x_train=make_images(2000, 16))
    data = datasets.load_dataset(tmp_path / "blobs.npz")
    nets = dcgan.build_generator(data.image_shape, 64, seed=0), dcgan.build_discriminator(data.image_shape, seed=0)
    whole = tmp_path / "undisturbed"
    runs.train(*nets, data, whole, epochs=15)

    vms = [tmp_path / name for name in ("taken-away", "new")]
    for vm in vms:
        vm.mkdir()
    cut, resumed = (vm / "drive" / "MyDrive" / "dcgan-course" / "outputs" / "mnist" for vm in vms)
    with pytest.raises(DeadKernelError):
        colab_run(vms[0], tmp_path / "blobs.npz", disconnect_at=cut / "checkpoints" / "epoch_0010")
    assert not (cut / "generator.keras").exists(), "it was cut off while it trained"
    newest = max(cut.glob("checkpoints/epoch_*"))
    (state,) = newest.glob("state.data*")
    state.write_bytes(state.read_bytes()[:1000])  # the rest never reached Drive
    shutil.move(vms[0] / "drive", vms[1] / "drive")
    shutil.rmtree(vms[0])

    said = colab_run(vms[1], tmp_path / "blobs.npz")
    assert re.search(rf"{newest.name} cannot be used .*; falling back", said) and "going on after epoch" in said
    before, after = (pd.read_csv(run / "metrics.csv").drop(columns="seconds") for run in (whole, resumed))
    assert len(after) == 15 and before.equals(after)
    before, after = (keras.models.load_model(run / "generator.keras").get_weights() for run in (whole, resumed))
    assert all(np.array_equal(a, b) for a, b in zip(before, after, strict=True))


# What Colab has and shows

def test_requirements_leave_colabs_packages_as_they_are():
    colab = {"tensorflow": ["2.19.0", "2.20.0"], "keras": ["3.8.0", "3.13.2"]}
    colab |= {name: [version] for name, version in (pin.split("==") for pin in versions.PAIRS["2.20.0-3.13.2"])}
    lines = (line.split("#")[0].strip() for line in (ROOT / "requirements.txt").read_text().splitlines())
    wanted = {requirement.name: requirement.specifier for requirement in map(Requirement, filter(None, lines))}
    assert wanted["numpy"] == Requirement("numpy").specifier, "replacing NumPy needs a restart of the runtime"
    for name, present in colab.items():
        for version in present:
            assert wanted.get(name) is None or wanted[name].contains(version), f"{name} {version} would be replaced"
    assert not wanted.keys() & {"jupyter", "nbval", "ipykernel", "notebook"}


@pytest.mark.parametrize("path", PATHS, ids=[path.stem for path in PATHS])
def test_each_parameter_is_a_form_field(path):
    notebook = nbformat.read(path, as_version=4)
    (cell,) = [cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", [])]
    settings = [line for line in cell.source.splitlines() if not line.startswith("#")]
    form_field = r"[A-Z_\d]+ = .+  # @param [{\[].+[}\]]"
    assert settings and not [line for line in settings if not re.fullmatch(form_field, line)]


@pytest.mark.parametrize("path", PATHS, ids=[path.stem for path in PATHS])
def test_notebooks_with_runs_have_the_colab_cell_before_their_settings(path):
    code = [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]
    places = [i for i, cell in enumerate(code) if "colab" in cell.metadata.get("tags", [])]
    assert len(places) == (int(path.name[:2]) in WITH_RUNS)
    for at in places:
        assert code[at].source == stamp.COLAB_CELL and "parameters" in code[at + 1].metadata.get("tags", [])
