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


def row(tensorflow, keras, passed, date="2026-11-25"):
    return [date, "3.11.7", tensorflow, keras, *["1.0"] * (len(versions.SHOWN) - 2), passed, "20 of 20"]


def test_rows_are_sorted_and_replaced_by_python_tensorflow_and_keras(tmp_path):
    table = tmp_path / "tested_versions.md"
    for one in (row("2.21.0", "3.15.1", "1 of 9"), row("2.19.0", "3.8.0", "9 of 9"), row("2.19.0", "3.12.0", "8 of 9"),
                row("2.21.0", "3.15.1", "9 of 9", "2026-11-26")):
        versions.write_row(one, table)
    assert [(line["tensorflow"], line["keras"], line["tests passed"], line["date"]) for line in rows(table)] == [
        ("2.19.0", "3.8.0", "9 of 9", "2026-11-25"), ("2.19.0", "3.12.0", "8 of 9", "2026-11-25"),
        ("2.21.0", "3.15.1", "9 of 9", "2026-11-26")]


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


def test_all_pairs_stand_in_the_table_and_everything_passed():
    table = rows(versions.TABLE)
    assert {*versions.PAIRS} <= {f"{line['tensorflow']}-{line['keras']}" for line in table}
    for line in table:
        for passed, count in (line[kind].split(" of ") for kind in ("tests passed", "cells passed")):
            assert passed == count, line


@pytest.mark.parametrize("name", ["tensorflow", "keras"])
def test_the_first_pair_is_the_oldest_that_is_allowed(name):
    bounds = [Requirement(line.split("#")[0]) for line in (ROOT / "requirements.txt").read_text().splitlines()
              if re.match(r"\w", line)]
    (oldest,) = [str(bound.specifier).removeprefix(">=") for bound in bounds if bound.name == name]
    first = dict(zip(("tensorflow", "keras"), next(iter(versions.PAIRS)).split("-")))
    assert re.fullmatch(rf"{re.escape(oldest)}(\.0)?", first[name])
