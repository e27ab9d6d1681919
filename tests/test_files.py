"""Where things are: run folders, shown paths, writing and reading so that nothing is lost."""

import errno
import os
from pathlib import Path

import pytest

import dcgan_utils as dcgan
from lab import files


def test_run_folder_is_in_outputs_and_in_smoke_mode_in_one_scratch_folder(monkeypatch):
    outputs = Path(dcgan.__file__).resolve().parent / "outputs"
    assert files.run_folder("my-run") == outputs / "my-run"
    monkeypatch.setenv("DCGAN_SMOKE", "1")
    scratch = files.run_folder("my-run")
    assert scratch.name == "my-run" and scratch == files.run_folder("my-run") and scratch.parent.is_dir()
    assert not scratch.is_relative_to(outputs.parent)


def test_paths_are_shown_without_the_folders_above_the_project(tmp_path, monkeypatch):
    assert files.shown_path(Path(dcgan.__file__).parent / "outputs" / "run") == "outputs/run"
    monkeypatch.chdir(tmp_path)
    assert files.shown_path(tmp_path / "run") == "run"


def test_failed_write_leaves_the_earlier_file(tmp_path):
    path = tmp_path / "file.txt"
    path.write_text("earlier")
    with pytest.raises(OSError, match="could not write .*No space left") as failure:
        with files.replacing(path) as partial:
            partial.write_text("half")
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert failure.value.errno == errno.ENOSPC
    assert path.read_text() == "earlier" and list(tmp_path.iterdir()) == [path]
