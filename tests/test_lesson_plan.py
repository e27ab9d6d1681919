"""The lesson plan: notebooks, sections, exercises, minutes and numbers that it names are in the notebooks."""

import functools
import re
from pathlib import Path

import nbformat
import pytest

from exercises import exercises_of
from test_notebooks import markdown, printed

ROOT = Path(__file__).resolve().parents[1]
PLAN = (ROOT / "notebooks" / "LESSON_PLAN.md").read_text(encoding="utf-8")
ROWS = re.findall(r"^\| (?:\d+ \| )?\[\d\d\w?\]\((\w+\.ipynb)\) \|(.*)\|$", PLAN, flags=re.M)
QUESTIONS = re.findall(r"^\| \[\d\d\w?\]\((\w+\.ipynb)\) \| (.*) \| (.*) \| (.*) \|$", PLAN, flags=re.M)


def one_line(text):
    return re.sub(r"\s+", " ", text)


@functools.cache
def notebook(name):
    return nbformat.read(ROOT / "notebooks" / name, as_version=4)


def test_the_tables_were_found():
    assert len(QUESTIONS) > 10 and len(ROWS) > 30


@pytest.mark.parametrize("title, wanted", [("One hour", 60), ("Three hours", 180), ("Six hours", 180)])
def test_minutes_add_up(title, wanted):
    section, = re.findall(rf"^## {title}: .*?(?=^## )", PLAN, flags=re.M | re.S)
    assert sum(map(int, re.findall(r"^\| (\d+) \|", section, flags=re.M))) == wanted


@pytest.mark.parametrize("name, cells", ROWS, ids=[f"{number}-{name[:2]}" for number, (name, _) in enumerate(ROWS)])
def test_sections_and_exercises_of_a_row_exist(name, cells):
    headings = re.findall(r"^#{2,3} (.+)$", markdown(notebook(name)), flags=re.M)
    headings = [re.sub(r"^\d\. ", "", heading) for heading in headings]
    assert [section for section in re.findall(r'"([^"]+)"', cells) if section not in headings] == []
    there = {exercise.number for exercise in exercises_of(notebook(name))}
    asked = re.findall(r"exercises? (\d)(?: and (\d))?", cells)
    assert {int(number) for numbers in asked for number in numbers if number} <= there


def test_every_link_leads_to_a_file():
    for link in re.findall(r"\]\(([^)]+)\)", PLAN):
        assert (ROOT / "notebooks" / link).is_file(), link


def test_minutes_of_computing_are_those_that_the_notebooks_state():
    table = re.findall(r"^\| \[\d\d\w?\]\((\w+\.ipynb)\) \| ([^|]+) \|$", PLAN, flags=re.M)
    assert [name for name, _ in table] == sorted(path.name for path in (ROOT / "notebooks").glob("*.ipynb"))
    for name, minutes in table:
        assert minutes in one_line(notebook(name).cells[0].source), f"{name} does not say {minutes!r}"


@pytest.mark.parametrize("name, question, wrong, answer", QUESTIONS)
def test_numbers_of_an_answer_stand_in_the_notebook(name, question, wrong, answer):
    text = one_line(markdown(notebook(name)) + " ".join(printed(notebook(name))))
    for number in re.findall(r"\d+(?:[.,]\d+)*%?", answer):
        assert re.search(rf"(?<![\d.]){re.escape(number)}(?!\d|\.\d*[1-9])", text), f"{number} is not in {name}"
