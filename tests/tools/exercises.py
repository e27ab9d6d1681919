"""The exercises of the notebooks: `make test` runs every starter and every solution through its check.

An exercise is a code cell tagged "exercise", the starter; a code cell tagged "check"; and after them a text with a
folded solution between nbgrader's markers, whose first Python block takes the starter's place. Copies of the notebooks
with the solutions in them are written to `.solved/`, beside `notebooks/`, and nbval executes those. Cells tagged "long"
are left out of them; `exercises.py long`, for `make test-long`, copies only the notebooks that have some, with them.
"""

import copy
import dataclasses
import re
import shutil
import sys
from pathlib import Path

import nbformat
from nbformat.v4 import new_code_cell

from stamp import STANDS_ALONE

ROOT = Path(__file__).resolve().parents[2]
SOLUTION = re.compile(r"<!-- BEGIN SOLUTION -->\n<details><summary>Solution</summary>\n\n```python\n(.*?)\n```\n(.*?)"
                      r"</details>\n<!-- END SOLUTION -->", re.S)


@dataclasses.dataclass
class Exercise:
    """Number, the indices of its starter and its check among the cells, and the solution's code."""

    number: int
    starter: int
    check: int
    solution: str


def exercises_of(notebook):
    """All exercises of a notebook node, in their order.

    Raises:
        ValueError: a starter without a check, or without a solution, right after it.
    """
    tags = [cell.metadata.get("tags", []) for cell in notebook.cells]
    exercises = []
    for i in (i for i, names in enumerate(tags) if "exercise" in names):
        if i + 2 >= len(tags) or "check" not in tags[i + 1]:
            raise ValueError(f"the exercise in cell {i} has no check in the cell after it")
        solution = SOLUTION.match(notebook.cells[i + 2].source)
        if not solution:
            raise ValueError(f"the text after the check in cell {i + 1} does not begin with a folded solution")
        number = re.match(r"with exercise\((\d+)\):", notebook.cells[i + 1].source)
        if not number:
            raise ValueError(f"the check in cell {i + 1} does not begin with exercise(number)")
        exercises.append(Exercise(int(number[1]), i, i + 1, solution[1]))
    if len(exercises) != sum("check" in names for names in tags):
        raise ValueError("there is a check without an exercise")
    return exercises


# it takes longer to optimise a graph than to take the few steps of smoke mode
QUICK = """import tensorflow as tf

tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})"""


def is_long(cell):
    return "long" in cell.metadata.get("tags", [])


def with_solutions(notebook, long=False):
    """A copy in which each check runs twice: after the starter it must say "not yet", after the solution "pass"."""
    cells = []
    exercises = {exercise.check: exercise for exercise in exercises_of(notebook)}
    for i, cell in enumerate(copy.deepcopy(notebook.cells)):
        if i not in exercises:
            cells += [cell] if long or not is_long(cell) else []
            continue
        number = exercises[i].number
        cells += [new_code_cell("%%capture starter_says\n" + cell.source),
                  new_code_cell(f'assert "Exercise {number}: not yet. " in starter_says.stdout, str(starter_says)'),
                  new_code_cell(exercises[i].solution),
                  new_code_cell("%%capture solution_says\n" + cell.source),
                  new_code_cell(f'assert solution_says.stdout == "Exercise {number}: pass.\\n", str(solution_says)')]
    first = next(i for i, cell in enumerate(cells) if cell.cell_type == "code")
    cells.insert(first + 1, new_code_cell(QUICK))
    for number, cell in enumerate(cells):
        cell["id"] = f"cell-{number}"
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    return nbformat.from_dict({**notebook, "cells": cells})


def main(root=ROOT, long=False):
    shutil.rmtree(root / ".solved", ignore_errors=True)
    (root / ".solved").mkdir()
    for path in sorted((root / "notebooks").glob("*.ipynb")):
        notebook = nbformat.read(path, as_version=4)
        for cell in notebook.cells if path.name == STANDS_ALONE else []:  # it knows no smoke mode
            cell.source = cell.source.replace("STEPS = 3000 ", "STEPS = 100 ")
        if not long or any(map(is_long, notebook.cells)):
            nbformat.write(with_solutions(notebook, long), root / ".solved" / path.name)


if __name__ == "__main__":
    main(long=sys.argv[1:] == ["long"])
