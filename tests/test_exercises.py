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

from exercises import exercises_of, main, with_solutions
from lab import exercises

ROOT = Path(__file__).resolve().parents[1]
PATHS = sorted((ROOT / "notebooks").glob("*.ipynb"))
STARTER, CHECK = "answer = 1", 'with exercises.exercise(1):\n    assert answer == 2, "not 2"'
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
        new_markdown_cell("# Title"), new_code_cell("import dcgan_utils as dcgan", execution_count=1),
        new_code_cell(starter, metadata={"tags": ["exercise"]}),
        new_code_cell(check, metadata={"tags": ["check"]}), new_markdown_cell(solution)])


# `exercise`

def test_a_right_answer_passes(capsys):
    with exercises.exercise(3):
        assert 1 + 1 == 2
    assert capsys.readouterr().out == "Exercise 3: pass.\n"


def test_a_wrong_answer_is_told_what_is_wrong_and_the_notebook_goes_on(capsys):
    with exercises.exercise(1):
        assert 1 + 1 == 3, "one and one are not 3\nreally"
    assert capsys.readouterr().out == "Exercise 1: not yet. one and one are not 3\n"


def test_an_error_in_the_answer_is_named_with_its_kind(capsys):
    with exercises.exercise(2):
        [][0]
    assert capsys.readouterr().out == "Exercise 2: not yet. IndexError: list index out of range\n"


@pytest.mark.parametrize("stop", [KeyboardInterrupt, SystemExit])
def test_a_learner_can_still_stop_it(stop):
    with pytest.raises(stop):
        with exercises.exercise(1):
            raise stop


# In the notebooks

@pytest.mark.parametrize("path", PATHS, ids=[path.stem for path in PATHS])
def test_exercises_of_a_notebook(path):
    notebook = nbformat.read(path, as_version=4)
    exercises = exercises_of(notebook)
    assert [exercise.number for exercise in exercises] == list(range(1, len(exercises) + 1)) != []
    prose = "\n\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    asked = prose[prose.index("\n## Exercises\n"):]
    assert re.findall(r"^\*\*(\d+)\. ", asked, flags=re.M) == [str(exercise.number) for exercise in exercises]
    assert prose.count("<!-- BEGIN SOLUTION -->") == prose.count("<details>") == len(exercises)
    for exercise in exercises:
        starter, check = (notebook.cells[i] for i in (exercise.starter, exercise.check))
        ast.parse(exercise.solution)
        assert exercise.solution.strip() != starter.source.strip()
        said = "".join(output.get("text", "") for output in check.outputs)
        assert re.fullmatch(rf"Exercise {exercise.number}: not yet\. .+\n", said), said


# The copies that are executed

def test_copy_runs_the_check_after_the_starter_and_after_the_solution():
    copied = with_solutions(small_notebook())
    nbformat.validate(copied)
    code = [cell.source for cell in copied.cells if cell.cell_type == "code"]
    assert code[1] == STARTER and code[4] == "answer = 2"
    assert code[2].splitlines()[1:] == code[5].splitlines()[1:] == CHECK.splitlines()
    assert len({cell["id"] for cell in copied.cells}) == len(copied.cells) == 9
    assert not any(cell.get("execution_count") for cell in copied.cells)


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
    (folder / "dcgan_utils.py").write_text("import contextlib\n" + "".join(
        part for part in re.findall(r"@contextlib\.contextmanager\ndef exercise.*?\n\n\n|def _first_line.*?\n\n\n",
                                    (ROOT / "dcgan_utils.py").read_text(encoding="utf-8"), flags=re.S)))
    for name, changes in CHANGES.items():
        notebook = small_notebook(**changes)
        notebook.cells[1].source = f"import sys\nsys.path.insert(0, {str(folder)!r})\nimport dcgan_utils as dcgan"
        nbformat.write(notebook, folder / "notebooks" / f"{name}.ipynb")
    main(folder)
    done = subprocess.run([sys.executable, "-m", "pytest", "-q", "-rA", "-p", "no:cacheprovider", "--nbval-lax",
                           ".solved"], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 1, done.stdout
    return {name: re.findall(rf"^([A-Z]+) \.solved/{name}\.ipynb", done.stdout, flags=re.M) for name in CHANGES}


@pytest.mark.parametrize("name", CHANGES)
def test_copies_fail_for_a_starter_that_passes_and_a_solution_that_does_not(name, cells_executed):
    said = cells_executed[name]
    assert len(said) == 7 and set(said) <= {"PASSED", "FAILED"} and "PASSED" in said, said
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
