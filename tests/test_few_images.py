"""Notebooks 01, 03, 04, 05, 10 and 11 with as few images as people have: 10, 40, 65, and batches to suit."""

import nbformat
import numpy as np
import pytest
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

from conftest import HANG, ROOT
from train_small import small_data


def execute(name, count, folder, **settings):
    """Run a notebook without its exercises and long cells on `count` images of two classes."""
    images = np.pad(small_data(count), ((0, 0), (6, 6), (6, 6), (0, 0)))
    np.savez(folder / "few.npz", x_train=images, y_train=np.arange(count) % 2)
    notebook = nbformat.read(ROOT / "notebooks" / f"{name}.ipynb", as_version=4)
    tags = [set(cell.metadata.get("tags", [])) for cell in notebook.cells]
    at = next(i for i, names in enumerate(tags) if "parameters" in names)
    given = "\n".join(f"{name} = {value!r}" for name, value in {"DATASET": str(folder / "few.npz"), **settings}.items())
    cells = [cell for cell, names in zip(notebook.cells, tags) if not names & {"exercise", "check", "long"}]
    cells.insert(cells.index(notebook.cells[at]) + 1, nbformat.v4.new_code_cell(given))
    notebook.cells = cells
    NotebookClient(notebook, timeout=HANG, resources={"metadata": {"path": str(ROOT / "notebooks")}}).execute()


@pytest.mark.long
@pytest.mark.parametrize("name, count, settings", [
    *((name, count, {}) for name in ("01_data", "03_discriminator") for count in (10, 65)),
    ("10_scaling_out", 10, {"BATCH_SIZE": 4}),
    ("04_training", 10, {"BATCH_SIZE": 4, "RUN": "few"}), ("04_training", 65, {"RUN": "few"}),
    *((name, count, {"RUN": "few"}) for name in ("05_evaluation", "11_latent_space") for count in (40, 65))])
def test_notebook_runs_with_few_images(tmp_path, monkeypatch, name, count, settings):
    monkeypatch.setenv("DCGAN_SMOKE", "1")
    execute(name, count, tmp_path, **settings)


@pytest.mark.long
@pytest.mark.parametrize("name, reason", [
    ("04_training", "batch_size is 32, but there are only 10 images; wanted at most 10"),
    ("08_svhn", "wanted 'svhn' or 'house_numbers_standin', which have test images"),
    ("10_scaling_out", "batch_size is 64, but there are only 10 images; wanted at most 10"),
    *((name, "a measuring net needs labels, of at least two classes with at least 10 images in each")
      for name in ("05_evaluation", "11_latent_space"))])
def test_what_is_too_few_is_said_at_loading(tmp_path, monkeypatch, name, reason):
    monkeypatch.setenv("DCGAN_SMOKE", "1")
    with pytest.raises(CellExecutionError, match=reason) as error:
        execute(name, 10, tmp_path)
    assert "datasets.load_dataset(DATASET)" in str(error.value)
