"""The README: its commands are run, its links and the sections that it names exist, its programs work.

A command that takes minutes or hours is run by `make -n`, which says what would be done; the programs that it starts
must be there. `make train` itself is run in test_newcomer.py.
"""

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pandas as pd
import pytest

import dcgan_utils as dcgan
from lab import datasets
from test_newcomer import make

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
COMMANDS = sorted({command.strip() for command in re.findall(r"^(make .*)$|`(make [^`]+)`", README, flags=re.M)
                   for command in command if command})
SHORT = {"make handout"}


@pytest.fixture(scope="module")
def used(original, tmp_path_factory):
    """A copy of the course in which one command after the other is given."""
    return shutil.copytree(original, tmp_path_factory.mktemp("used") / "course")


def test_commands_are_found():
    assert {"make train", "make test", *SHORT} <= set(COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_do_what_the_makefile_says(used, command):
    done = make(used, *([] if command in SHORT else ["-n"]), *shlex.split(command)[1:])
    assert done.returncode == 0, done.stdout + done.stderr
    if command in SHORT:
        return
    programs = re.findall(r"\.venv/bin/(\w+)", done.stdout)
    assert programs and all((used / ".venv" / "bin" / program).exists() for program in programs)
    assert all((used / script).is_file() for script in re.findall(r"(?:tests|notebooks)/[\w/]+\.\w+", done.stdout))
    for name, value in (word.split("=") for word in shlex.split(command) if "=" in word):
        assert value in done.stdout, f"{name} reaches nothing"


def test_data_of_the_commands_are_legal():
    names = {name for command in COMMANDS for name in re.findall(r"DATASET=(\w+)(?!\S)", command)}
    assert names and names <= set(datasets.NAMED)


def test_other_programs_of_the_readme_start():
    commands = re.findall(r"`(\.venv/bin/[^`]+)`", README)
    assert len(commands) == 1
    for command in commands:
        program, *arguments = command.split()
        done = subprocess.run([Path(sys.prefix) / "bin" / Path(program).name, *arguments, "--version"], cwd=ROOT,
                              capture_output=True, text=True)
        assert done.returncode == 0, command + done.stdout + done.stderr


def test_links_lead_to_files():
    links = re.findall(r"\]\((?!http|#)([^)]+)\)|<img src=\"([^\"]+)\"", README)
    assert links and all((ROOT / (link or picture)).exists() for link, picture in links)


def test_every_notebook_has_a_row_and_every_section_named_is_there():
    paths = sorted(path.name for path in (ROOT / "notebooks").glob("*.ipynb"))
    assert re.findall(r"^\| <img .*\(notebooks/(\w+\.ipynb)\)", README, flags=re.M) == paths
    rows = re.findall(r"^\| [^|]+\? \||^\| [^|]+\. \|", README, flags=re.M)
    assert len(rows) >= 10
    named = 0
    for path, text in re.findall(r"\[\d+\]\(notebooks/(\w+\.ipynb)\)((?:(?!\[\d+\]\().)*)", README):
        titles = {title for cell in nbformat.read(ROOT / "notebooks" / path, 4).cells if cell.cell_type == "markdown"
                  for title in re.findall(r"^##+ (?:\d+\. )?(.+)$", cell.source, flags=re.M)}
        for title in re.findall(r"(?<!\*)\*([^*|]+)\*", text):
            named += 1
            assert title in titles, f"{path} has no section {title!r}"
    assert named >= 12


def test_readme_is_short():
    assert len(README.splitlines()) <= 130


def test_distances_by_the_recipes_are_those_measured():
    rows = pd.read_csv(ROOT / "outputs" / "recipes_compared.csv")
    longest, clothes = rows.loc[rows[rows.data == "mnist"].epochs.idxmax()], rows[rows.data == "fashion_mnist"]
    assert f"came to a distance of {longest.frechet_distance:.2f}" in README
    clothes = clothes.set_index("recipe")
    ours, before = clothes.frechet_distance["cpu"], clothes.frechet_distance["first"]
    assert f"{ours:.1f} in place of {before:.1f}, with a lower recall" in README
    assert clothes.recall["cpu"] < clothes.recall["first"]


def test_code_in_the_readme_opens_a_generator(tmp_path):
    code, = re.findall(r"^```python\n(.*?)^```", README, flags=re.M | re.S)
    dcgan.build_generator((16, 16, 1), 8, width=4).save(tmp_path / "generator.keras")
    done = subprocess.run([sys.executable, "-c", code + "\nprint(pixels.shape, pixels.dtype)"], cwd=tmp_path,
                          capture_output=True, text=True)
    assert done.stdout == "(16, 16, 16, 1) uint8\n", done.stderr
