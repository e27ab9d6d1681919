"""`make train` and what the targets are given: as typed, where it was typed, checked before anything is made."""

import os
import shlex
import signal
import subprocess
import time

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook

from lab import conditional, datasets, recipes
from lab.commands import arguments, train
from test_newcomer import make

ODD = ["my images", "images/", "1", "~/x", "it's \"$5\" #2", "50% (a;b) & $(HOME) *"]
GIVEN = {"train": ("DATASET", "RUN", "RECIPE", "CONDITIONAL", "EPOCHS", "BATCH_SIZE"), "explorer": ("RUN", "DATASET"),
         "gallery": ("RUNS",), "measuring-net": ("DATASET", "SHIP")}


@pytest.mark.parametrize("target", GIVEN)
def test_values_reach_the_command_as_typed(course, target):
    for value in ODD:
        done = make(course, "-n", target, *(f"{name}={value}" for name in GIVEN[target]))
        words = shlex.split(done.stdout)
        assert {f"{name}={value}" for name in GIVEN[target]} <= {*words}, done.stdout


def test_repository_is_one_word(course):
    done = make(course, "stamp", "REPOSITORY=jane/dcgan course")
    assert done.returncode and "wanted owner/name" in done.stderr


def test_known_names_are_those_of_load_dataset_and_recipes_and_ways_those_of_the_lab():
    assert arguments.KNOWN == tuple(datasets.NAMED) and arguments.RECIPES == tuple(recipes.RECIPES)
    assert arguments.WAYS == conditional.WAYS


@pytest.mark.parametrize("typed, path, run", [
    ("my images", "my images", "my images"), ("images/", "images", "images"), ("~/x", "x", "x"),
    ("./mnist", "mnist", "mnist"), ("images.v2", "images.v2", "images.v2"), ("a.v2.npz", "a.v2.npz", "a.v2"),
    ("images/../x", "x", "x")])
def test_dataset_is_a_path_from_here_and_names_the_run(typed, path, run, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    for folder in ("my images", "images", "x", "mnist", "images.v2"):
        (tmp_path / folder).mkdir()
    (tmp_path / "a.v2.npz").touch()
    values = arguments.given([f"DATASET={typed}"])
    assert arguments.dataset_of(values) == str(tmp_path / path) and arguments.run_name(values) == run
    assert arguments.run_name({**values, "CONDITIONAL": "channel"}) == f"{run}-channel"
    assert arguments.run_name({**values, "CONDITIONAL": "channel", "RUN": "1"}) == "1"
    assert arguments.run_name({**values, "RUN": "1"}) == "1" and capsys.readouterr().out == ""


@pytest.mark.parametrize("name", ["mnist", "svhn"])
def test_known_name_wins_over_a_folder_of_that_name_and_says_so(name, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert arguments.dataset_of({"DATASET": name}) == arguments.run_name({"DATASET": name}) == name
    assert capsys.readouterr().out == ""
    (tmp_path / name).mkdir()
    assert arguments.dataset_of({"DATASET": name}) == name
    assert f"for {tmp_path / name}, give DATASET=./{name}" in capsys.readouterr().out


def test_runs_are_names_with_spaces_between_or_one_that_has_spaces(tmp_path, monkeypatch):
    monkeypatch.setattr(arguments, "OUTPUTS", tmp_path)
    (tmp_path / "my run").mkdir()
    for text, names in (("anna ben", ["anna", "ben"]), ("my run", ["my run"]), ("'my run' ben", ["my run", "ben"])):
        assert arguments.run_names({"RUNS": text}) == names
    with pytest.raises(SystemExit, match="No closing quotation"):
        arguments.run_names({"RUNS": "anna's ben"})


@pytest.mark.parametrize("typed, said", [
    ("DATASET=cifar", "unknown dataset 'cifar': known are 'mnist', 'fashion_mnist'.*there is no {here}/cifar"),
    ("DATASET=data/typo", "there is no {here}/data/typo"), ("DATASET=mnist/", "there is no {here}/mnist"),
    ("DATASET=", "DATASET is empty"), ("RUN=", "RUN is empty"), ("RUN=a/b", "run name 'a/b'"),
    ("RUN=..", "run name '..'"), ("EPOCHS=2.5", "EPOCHS is '2.5'; wanted a whole number"),
    ("BATCH_SIZE=0", "BATCH_SIZE is '0'; wanted"), ("RECIPE=tpu", "RECIPE is 'tpu'; wanted cpu or gpu or first"),
    ("CONDITIONAL=a/b", "CONDITIONAL is 'a/b'; wanted projection or channel or auxiliary")])
def test_arguments_are_checked_before_anything_is_made(typed, said, outputs, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(train, "execute", None)
    with pytest.raises(SystemExit, match=said.format(here=tmp_path)) as refused:
        train.main([typed])
    assert len(str(refused.value)) <= 300 and not list(tmp_path.iterdir())


@pytest.mark.parametrize("typed", ["typo", "~/typo", "../typo"])
def test_data_folder_is_looked_for_from_here_and_named_in_full(typed, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("DCGAN_DATA_DIR", typed)
    folder = tmp_path.parent / "typo" if typed.startswith("..") else tmp_path / "typo"
    with pytest.raises(FileNotFoundError, match=f"there is no folder {folder};"):
        datasets.load_dataset("mnist")


@pytest.fixture
def write_notebook(course, monkeypatch):
    """A function that puts a small notebook with a parameters cell, the cells given and an exercise in place of 04."""
    def write(*sources):
        cells = [new_code_cell("DATASET, RUN, EPOCHS, BATCH_SIZE = '', '', 0, 64"), *map(new_code_cell, sources),
                 *(new_code_cell("print('Exercise 1: not yet')") for _ in "ab")]
        for cell, tag in ((cells[0], "parameters"), (cells[-2], "exercise"), (cells[-1], "check")):
            cell.metadata.tags = [tag]
        kernel = {"kernelspec": {"name": "python3", "language": "python", "display_name": "Python 3"}}
        nbformat.write(new_notebook(cells=cells, metadata=kernel), course / "notebooks" / "04_training.ipynb")
    return write


def test_train_runs_the_notebook_without_exercises_and_keeps_the_copy(course, write_notebook, monkeypatch):
    write_notebook("import os\nprint([DATASET, RUN, EPOCHS, BATCH_SIZE])",
                   "print(*(os.environ.get(name) for name in ('DCGAN_DATA_DIR', 'KERAS_HOME')), sep='\\n')")
    monkeypatch.setenv("DCGAN_DATA_DIR", "my data")
    (course / "it's $5").mkdir()
    done = make(course, "train", "DATASET=it's $5/", "RUN=1", "BATCH_SIZE=8", "KERAS_HOME=k")
    assert done.stdout.splitlines() == [f"{[f'{course}/it' + chr(39) + 's $5', '1', 0, 8]}", f"{course}/my data",
                                        f"{course}/k"], done.stdout + done.stderr
    copy = nbformat.read(course / "outputs" / "1" / "04_training.ipynb", as_version=4)
    assert [cell.execution_count for cell in copy.cells if "skip-execution" in cell.metadata.tags] == [None, None]
    assert {path.name for path in (course / "outputs").iterdir()} == {"measuring_nets", "recipes.csv", "1"}


@pytest.mark.parametrize("error, printed, hidden", [
    ("ValueError('no images; wanted some')", "no images; wanted some\nmake", "Traceback"),
    ("KeyError('a bug')", "KeyError: 'a bug'", "Stopped")])
def test_errors_end_it_with_what_is_wrong_and_nothing_is_made(course, write_notebook, error, printed, hidden):
    write_notebook(f"raise {error}")
    done = make(course, "train")
    assert done.returncode and printed in done.stderr and hidden not in done.stdout + done.stderr
    assert not (course / "outputs" / "mnist").exists()


@pytest.mark.parametrize("ending, said", [
    ("raise KeyboardInterrupt('kept in outputs/mnist') from None", "kept in outputs/mnist\n\nStopped."),
    ("time.sleep(60)", "\nStopped at once.")])
def test_ctrl_c_ends_it_in_a_line_and_a_second_one_at_once(course, write_notebook, ending, said):
    write_notebook(f"import time\nprint('begun')\ntry:\n    time.sleep(60)\nexcept KeyboardInterrupt:\n    {ending}")
    make(course, "-n", "train")  # for its .venv
    process = subprocess.Popen(["make", "-o", ".venv/ready", "train"], cwd=course, text=True, start_new_session=True,
                               stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    printed = iter(process.stdout.readline, "")
    assert "begun\n" in printed
    for _ in range(2 if "at once" in said else 1):  # as a terminal does, to all in the foreground
        os.killpg(process.pid, signal.SIGINT)
        time.sleep(0.5)
    last = "".join(printed)
    assert process.wait() != 0 and "Traceback" not in last
    assert last.endswith(f"{said} The same command goes on from the last checkpoint.\n"), last
