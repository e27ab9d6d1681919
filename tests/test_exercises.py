"""The exercises: their form, the copies that `make test` executes, the version for a class, and `exercise` itself."""

import ast
import re
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from conftest import ROOT
from exercises import exercises_of, main
from lab.exercises import exercise
from stamp import STANDS_ALONE

PATHS = sorted((ROOT / "notebooks").glob("*.ipynb"))
SOLUTION = """<!-- BEGIN SOLUTION -->
<details><summary>Solution</summary>

```python
answer = 2
```

Because.

</details>
<!-- END SOLUTION -->

**2.** Next."""


def small_notebook(starter="answer = 1", solution=SOLUTION):
    check = 'with exercise(1):\n    assert answer == 2, "not 2"'
    return new_notebook(cells=[
        new_markdown_cell("# Title"), new_code_cell("from lab.exercises import exercise", execution_count=1),
        new_code_cell(starter, metadata={"tags": ["exercise"]}),
        new_code_cell(check, metadata={"tags": ["check"]}), new_markdown_cell(solution)])


# `exercise`

def test_an_answer_passes_or_is_told_what_is_wrong_and_the_notebook_goes_on(capsys):
    with exercise(3):
        assert 1 + 1 == 2
    with exercise(1):
        assert 1 + 1 == 3, "one and one are not 3\nreally"
    with exercise(2):
        [][0]
    assert capsys.readouterr().out.splitlines() == [
        "Exercise 3: pass.", "Exercise 1: not yet. one and one are not 3",
        "Exercise 2: not yet. IndexError: list index out of range"]


@pytest.mark.parametrize("stop", [KeyboardInterrupt, SystemExit])
def test_a_learner_can_still_stop_it(stop):
    with pytest.raises(stop):
        with exercise(1):
            raise stop


# In the notebooks

WITH_EXERCISES = [path for path in PATHS if path.name != STANDS_ALONE and path.name[2] == "_"]  # appendices need not


@pytest.mark.parametrize("path", WITH_EXERCISES, ids=[path.stem for path in WITH_EXERCISES])
def test_exercises_of_a_notebook(path):
    notebook = nbformat.read(path, as_version=4)
    exercises = exercises_of(notebook)
    assert [one.number for one in exercises] == list(range(1, len(exercises) + 1)) != []
    prose = "\n\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    asked = prose[prose.index("\n## Exercises\n"):]
    assert re.findall(r"^\*\*(\d+)\. ", asked, flags=re.M) == [str(one.number) for one in exercises]
    assert prose.count("<!-- BEGIN SOLUTION -->") == prose.count("<details>") == len(exercises)
    for one in exercises:
        starter, check = (notebook.cells[i] for i in (one.starter, one.check))
        ast.parse(one.solution)
        assert one.solution.strip() != starter.source.strip()
        said = "".join(output.get("text", "") for output in check.outputs)
        assert re.fullmatch(rf"Exercise {one.number}: not yet\. .+\n", said), said


# The copies that are executed

def test_long_cells_and_notebooks_without_any_are_left_to_the_long_tests(tmp_path):
    (tmp_path / "notebooks").mkdir()
    short, some = small_notebook(), small_notebook()
    some.cells.append(new_code_cell("1 + 1", metadata={"tags": ["long"]}))
    for name, notebook in (("01_short", short), ("02_some", some)):
        nbformat.write(notebook, tmp_path / "notebooks" / f"{name}.ipynb")
    for long, names in ((False, ["01_short", "02_some"]), (True, ["02_some"])):
        main(tmp_path, long)
        paths = sorted((tmp_path / ".solved").iterdir())
        assert [path.stem for path in paths] == names
        assert any(cell.source == "1 + 1" for cell in nbformat.read(paths[-1], as_version=4).cells) == long


def test_copies_fail_for_a_starter_that_passes_and_a_solution_that_does_not(tmp_path, monkeypatch):
    (tmp_path / "notebooks").mkdir()
    code = (ROOT / "notebooks" / "lab" / "exercises.py").read_text(encoding="utf-8")
    (tmp_path / "exercises.py").write_text(code.replace("from lab.files import first_line", "first_line = str"))
    changes = {"right": {}, "starter_is_right_already": {"starter": "answer = 2"},
               "starter_crashes": {"starter": "answer = 1 / 0"},
               "solution_is_wrong": {"solution": SOLUTION.replace("answer = 2", "answer = 3")},
               "solution_is_no_python": {"solution": SOLUTION.replace("answer = 2", "answer =")}}
    for name, changed in changes.items():
        notebook = small_notebook(**changed)
        notebook.cells[1].source = f"import sys\nsys.path.insert(0, {str(tmp_path)!r})\nfrom exercises import exercise"
        nbformat.write(notebook, tmp_path / "notebooks" / f"{name}.ipynb")
    monkeypatch.setattr("exercises.QUICK", "pass")
    main(tmp_path)
    done = subprocess.run([sys.executable, "-m", "pytest", "-q", "-rA", "-p", "no:cacheprovider", "--nbval-lax",
                           ".solved"], cwd=tmp_path, capture_output=True, text=True)
    for name in changes:
        said = re.findall(rf"^([A-Z]+) \.solved/{name}\.ipynb", done.stdout, flags=re.M)
        assert len(said) == 8 and set(said) <= {"PASSED", "FAILED"} and "PASSED" in said, done.stdout
        assert ("FAILED" not in said) == (name == "right"), done.stdout


def test_an_exercise_that_lacks_a_part_is_refused():
    for part, words in ((2, "check without an exercise"), (3, "no check in the cell after it"),
                        (4, "does not begin with a folded solution")):
        notebook = small_notebook()
        notebook.cells[part] = new_markdown_cell("Text.")
        with pytest.raises(ValueError, match=words):
            exercises_of(notebook)


# The version for a class

def test_handout_has_everything_but_the_solutions(tmp_path):
    """By the command of the Makefile, on two of the notebooks."""
    (tmp_path / "notebooks").mkdir()
    for path in (PATHS[0], PATHS[6]):
        shutil.copy(path, tmp_path / "notebooks")
    recipe = re.search(r"^handout:.*?\n\t@\$\(BIN\)/jupyter (nbconvert .*?\.ipynb)$",
                       (ROOT / "Makefile").read_text(encoding="utf-8"), flags=re.M | re.S)[1]
    subprocess.run(f"{Path(sys.executable).parent}/jupyter {recipe}", shell=True, cwd=tmp_path, check=True,
                   capture_output=True)
    for path in (PATHS[0], PATHS[6]):
        before = nbformat.read(path, as_version=4)
        after = nbformat.read(tmp_path / "outputs" / "handout" / path.name, as_version=4)
        assert [cell.source for cell in after.cells if cell.cell_type == "code"] == [
            cell.source for cell in before.cells if cell.cell_type == "code"]
        prose = "\n".join(cell.source for cell in after.cells if cell.cell_type == "markdown")
        assert "SOLUTION" not in prose and "<details>" not in prose
        assert not any(exercise.solution in prose for exercise in exercises_of(before))
        for number in range(1, len(exercises_of(before)) + 1):
            assert f"\n**{number}. " in prose
        assert "\n## References" in prose
