"""The house: arrows between the modules run one way, no room is too large, and nothing happens on import."""

import ast
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from conftest import ROOT

LAB = sorted((ROOT / "notebooks" / "lab").rglob("*.py"))
NAMES = [path.relative_to(ROOT / "notebooks").as_posix() for path in LAB]


def lint_imports(folder, contracts):
    command = [Path(sys.prefix) / "bin" / "lint-imports", "--config", contracts, "--no-cache"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True)


def test_arrows_run_one_way():
    done = lint_imports(ROOT / "notebooks", ROOT / ".importlinter")
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("name, line", [("measures", "from lab import runs\n"), ("attic", "")])
def test_an_arrow_back_and_a_room_without_a_place_are_found(name, line, tmp_path):
    shutil.copytree(ROOT / "notebooks" / "lab", tmp_path / "lab")
    with open(tmp_path / "lab" / f"{name}.py", "a") as file:
        file.write(line)
    done = lint_imports(tmp_path, ROOT / ".importlinter")
    assert done.returncode == 1 and name in done.stdout, done.stdout


@pytest.mark.parametrize("path", LAB, ids=NAMES)
def test_rooms_are_small_and_say_what_they_are_for(path):
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 350
    assert ast.get_docstring(ast.parse(text)).splitlines()[0].endswith((".", ";", "`"))


def test_helper_is_small_and_imports_nothing_of_the_course():
    tree = ast.parse((ROOT / "dcgan_utils.py").read_text(encoding="utf-8"))
    assert len((ROOT / "dcgan_utils.py").read_text(encoding="utf-8").splitlines()) <= 450
    imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    imported |= {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert not [name for name in imported if name.split(".")[0] in ("lab", "dcgan_utils")] and "keras" in imported


def lines_of(tree, name):
    node, = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) and node.name == name]
    body = node.body[1:] if ast.get_docstring(node) else node.body
    return body[-1].end_lineno - body[0].lineno + 1


def test_step_and_loop_are_short():
    tree = ast.parse((ROOT / "dcgan_utils.py").read_text(encoding="utf-8"))
    assert lines_of(tree, "train_step") <= 19 and lines_of(tree, "train_loop") <= 15


def test_there_is_one_step_with_two_tapes_in_helper_and_lab():
    """Notebook 09's semi-supervised step is its own; the tutorial's step is what `make bench` compares with."""
    steps = [path.name for path in (ROOT / "dcgan_utils.py", *LAB)
             for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
             if isinstance(node, ast.With) and "GradientTape" in ast.dump(node)]
    assert sorted(steps) == ["dcgan_utils.py", "trainers.py"]


def test_nothing_happens_on_import(tmp_path):
    """No file is written, nothing is printed, drawn at random or configured."""
    modules = ["dcgan_utils", *(name[:-3].replace("/", ".") for name in NAMES if "commands" not in name)]
    code = f'''
import sys; sys.path[:0] = [{str(ROOT)!r}, {str(ROOT / "notebooks")!r}]
import importlib, os, random
import keras, numpy, matplotlib, tensorflow as tf, wandb
before = (random.getstate(), str(numpy.random.get_state()), dict(os.environ), dict(matplotlib.rcParams),
          tf.config.optimizer.get_experimental_options(), keras.config.floatx())
for module in {modules!r}:
    importlib.import_module(module)
after = (random.getstate(), str(numpy.random.get_state()), dict(os.environ), dict(matplotlib.rcParams),
         tf.config.optimizer.get_experimental_options(), keras.config.floatx())
assert before == after
'''
    environment = os.environ | {"DCGAN_SMOKE": "1", "MPLBACKEND": "Agg", "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "" and list(tmp_path.iterdir()) == []
