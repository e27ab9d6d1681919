"""The table of tested versions and the program that writes it."""

import re
from pathlib import Path

import pytest
from packaging.requirements import Requirement

import versions

ROOT = Path(__file__).resolve().parents[1]


def rows(table):
    cells = [[cell.strip() for cell in line.strip("|").split("|")]
             for line in table.read_text(encoding="utf-8").splitlines() if line.startswith("|")]
    assert cells[1] == ["---"] * len(cells[0])
    return [dict(zip(cells[0], row, strict=True)) for row in cells[2:]]


@pytest.mark.long
def test_tests_are_counted_and_what_failed_gets_a_second_try(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(versions, "HOME", tmp_path)
    monkeypatch.setattr(versions, "ROOT", tmp_path)
    (tmp_path / "test_a.py").write_text("""
import os, pathlib, pytest
def test_passes(): assert os.environ["MINE"] == "1"
def test_fails(): assert False
def test_passes_the_second_time():
    if not pathlib.Path("tried").exists():
        pathlib.Path("tried").touch()
        assert False
@pytest.mark.skip
def test_is_skipped(): assert False
""")
    assert versions.run_tests(versions.sys.executable, "a", ["test_a.py"], MINE="1") == "2 of 3"
    assert "a-again.log" in capsys.readouterr().out
    with pytest.raises(SystemExit, match="b.log"):
        versions.run_tests("/bin/true", "b", ["test_a.py"])


@pytest.mark.long
def test_a_run_is_passed_on_and_a_pair_that_cannot_go_on_is_named(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(versions, "HOME", tmp_path)
    versions.pass_on({"one": versions.sys.executable, "another": versions.sys.executable})
    assert capsys.readouterr().out.count("a run went on under 1 others") == 2
    assert "going on after epoch 1" in (tmp_path / "another-run.log").read_text()
    with pytest.raises(SystemExit, match="begun under one does not go on under another: see .*one-run.log"):
        versions.pass_on({"one": versions.sys.executable, "another": "/bin/false"})


def test_all_pairs_stand_in_the_table_and_everything_passed():
    table = rows(versions.TABLE)
    assert {*versions.PAIRS} <= {f"{line['tensorflow']}-{line['keras']}" for line in table}
    for line in table:
        for passed, count in (line[kind].split(" of ") for kind in ("tests passed", "cells passed")):
            assert passed == count, line


def test_the_first_pair_is_the_oldest_that_is_allowed():
    bounds = [Requirement(line.split("#")[0]) for line in (ROOT / "requirements.txt").read_text().splitlines()
              if re.match(r"\w", line)]
    oldest = {bound.name: str(bound.specifier).removeprefix(">=") for bound in bounds}
    for name, version in zip(("tensorflow", "keras"), next(iter(versions.PAIRS)).split("-")):
        assert version in (oldest[name], f"{oldest[name]}.0")
