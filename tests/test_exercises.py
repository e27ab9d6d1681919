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

from exercises import QUICK, exercises_of, main, with_solutions
from lab.exercises import exercise

ROOT = Path(__file__).resolve().parents[1]
PATHS = sorted((ROOT / "notebooks").glob("*.ipynb"))
STARTER, CHECK = "answer = 1", 'with exercise(1):\n    assert answer == 2, "not 2"'
SOLUTION = """<!-- BEGIN SOLUTION -->
<details><summary>Solution</summary>

```python
answer = 2
```

Because.

</details>
<!-- END SOLUTION -->

**2.** Next."""


def small_notebook(starter=STARTER, check=CHECK, solution=SOLUTION):
    return new_notebook(cells=[
        new_markdown_cell("# Title"), new_code_cell("from lab.exercises import exercise", execution_count=1),
        new_code_cell(starter, metadata={"tags": ["exercise"]}),
        new_code_cell(check, metadata={"tags": ["check"]}), new_markdown_cell(solution)])


# `exercise`

def test_a_right_answer_passes(capsys):
    with exercise(3):
        assert 1 + 1 == 2
    assert capsys.readouterr().out == "Exercise 3: pass.\n"


def test_a_wrong_answer_is_told_what_is_wrong_and_the_notebook_goes_on(capsys):
    with exercise(1):
        assert 1 + 1 == 3, "one and one are not 3\nreally"
    assert capsys.readouterr().out == "Exercise 1: not yet. one and one are not 3\n"


def test_an_error_in_the_answer_is_named_with_its_kind(capsys):
    with exercise(2):
        [][0]
    assert capsys.readouterr().out == "Exercise 2: not yet. IndexError: list index out of range\n"


@pytest.mark.parametrize("stop", [KeyboardInterrupt, SystemExit])
def test_a_learner_can_still_stop_it(stop):
    with pytest.raises(stop):
        with exercise(1):
            raise stop


# In the notebooks

@pytest.mark.parametrize("path", PATHS, ids=[path.stem for path in PATHS])
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

def test_copy_runs_the_check_after_the_starter_and_after_the_solution():
    copied = with_solutions(small_notebook())
    nbformat.validate(copied)
    code = [cell.source for cell in copied.cells if cell.cell_type == "code"]
    assert code[1] == QUICK and code[2] == STARTER and code[5] == "answer = 2"
    assert code[3].splitlines()[1:] == code[6].splitlines()[1:] == CHECK.splitlines()
    assert len({cell["id"] for cell in copied.cells}) == len(copied.cells) == 10
    assert not any(cell.get("execution_count") for cell in copied.cells)


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


CHANGES = {
    "01_right": {},
    "02_starter_is_right_already": {"starter": "answer = 2"},
    "03_starter_crashes": {"starter": "answer = 1 / 0"},
    "04_solution_is_wrong": {"solution": SOLUTION.replace("answer = 2", "answer = 3")},
    "05_solution_is_no_python": {"solution": SOLUTION.replace("answer = 2", "answer =")}}


@pytest.fixture(scope="module")
def cells_executed(tmp_path_factory):
    """By notebook of `CHANGES`, what became of the cells of its copy: words such as PASSED and FAILED."""
    folder = tmp_path_factory.mktemp("course")
    (folder / "notebooks").mkdir()
    code = (ROOT / "notebooks" / "lab" / "exercises.py").read_text(encoding="utf-8")
    (folder / "exercises.py").write_text(code.replace("from lab.files import first_line", "first_line = str"))
    for name, changes in CHANGES.items():
        notebook = small_notebook(**changes)
        notebook.cells[1].source = f"import sys\nsys.path.insert(0, {str(folder)!r})\nfrom exercises import exercise"
        nbformat.write(notebook, folder / "notebooks" / f"{name}.ipynb")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("exercises.QUICK", "pass")
        main(folder)
    done = subprocess.run([sys.executable, "-m", "pytest", "-q", "-rA", "-p", "no:cacheprovider", "--nbval-lax",
                           ".solved"], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 1, done.stdout
    return {name: re.findall(rf"^([A-Z]+) \.solved/{name}\.ipynb", done.stdout, flags=re.M) for name in CHANGES}


@pytest.mark.parametrize("name", CHANGES)
def test_copies_fail_for_a_starter_that_passes_and_a_solution_that_does_not(name, cells_executed):
    said = cells_executed[name]
    assert len(said) == 8 and set(said) <= {"PASSED", "FAILED"} and "PASSED" in said, said
    assert ("FAILED" not in said) == (name == "01_right"), said


@pytest.mark.parametrize("changes, words", [
    ({"check": "print(1)"}, "check in cell 3 does not begin with exercise"),
    ({"solution": SOLUTION.replace("BEGIN", "")}, "does not begin with a folded solution")])
def test_an_exercise_of_another_form_is_refused(changes, words):
    with pytest.raises(ValueError, match=words):
        exercises_of(small_notebook(**changes))


def test_a_starter_without_a_check_and_a_check_without_a_starter_are_refused():
    for tag, words in (("check", "no check in the cell after it"), ("exercise", "check without an exercise")):
        notebook = small_notebook()
        next(cell for cell in notebook.cells if tag in cell.metadata.get("tags", [])).metadata.tags = []
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
