"""The notebooks as they lie in the repository, unexecuted: form, outputs, links, and one home for each definition."""

import ast
import copy
import re
import shutil
import statistics
import subprocess
import sys
from pathlib import Path
from urllib.parse import unquote

import nbformat
import pytest
import yaml

import stamp
from conftest import ROOT
from notebooks import tidy

PATHS = sorted((ROOT / "notebooks").glob("*.ipynb"))
NAMES = [path.name for path in PATHS]
LESSONS = [name for name in NAMES if name[2] == "_"]
REPOSITORY = (ROOT / ".repository").read_text(encoding="utf-8").strip()
MACHINE_PATH = re.compile(r"(?<![\w./:>-])/(?:home|root|tmp|work|Users)/|\bC:\\|\b[A-Z]:\\Users")
HOMES = [ROOT / "dcgan_utils.py", *sorted((ROOT / "notebooks" / "lab").glob("*.py"))]


def read(path):
    return nbformat.read(path, as_version=4)


def lesson_of(appendix):
    """The notebook that an appendix belongs to, such as 06_experiments.ipynb to 06a_all_experiments.ipynb."""
    return [name for name in LESSONS if name[:2] == appendix[:2]]


@pytest.fixture(params=PATHS, ids=[path.stem for path in PATHS])
def path(request):
    return request.param


@pytest.fixture
def notebook(path):
    return read(path)


def cells(notebook, kind):
    return [cell for cell in notebook.cells if cell.cell_type == kind]


def markdown(notebook):
    """All prose, without the code blocks in it."""
    text = "\n\n".join(cell.source for cell in cells(notebook, "markdown"))
    return re.sub(r"^```.*?^```", "", text, flags=re.M | re.S)


def code_lines(cell):
    return [line for line in cell.source.splitlines() if line.strip()]


def outputs(notebook):
    return [output for cell in cells(notebook, "code") for output in cell.outputs]


def printed(notebook):
    """Everything that the outputs show as text."""
    for output in outputs(notebook):
        if output.output_type == "stream":
            yield output.text
        for kind, value in output.get("data", {}).items():
            if not kind.startswith("image/") or kind == "image/svg+xml":
                yield re.sub(r"data:image/[\w+]+;base64,[\w+/=\s]+", "", str(value))


# Form

def test_notebooks_are_numbered_from_00_without_gaps_and_an_appendix_follows_its_notebook():
    assert LESSONS and [name[:3] for name in LESSONS] == [f"{i:02d}_" for i in range(len(LESSONS))]
    assert all(name[2:4] == "a_" and lesson_of(name) for name in NAMES if name not in LESSONS)


def test_notebook_is_valid(notebook):
    nbformat.validate(notebook)
    assert notebook.metadata.kernelspec.name == "python3"
    assert all(cell.source.strip() for cell in notebook.cells), "an empty cell"


def test_title_is_the_only_one_and_comes_first(notebook):
    titles = re.findall(r"^# .+", markdown(notebook), flags=re.M)
    assert len(titles) == 1 and notebook.cells[0].source.startswith(titles[0])


def test_badge_and_first_cell_are_the_stamped_ones(path, notebook):
    assert stamp.badge(REPOSITORY, f"notebooks/{path.name}") in notebook.cells[0].source.splitlines()
    first = cells(notebook, "code")[0]
    if path.name == stamp.STANDS_ALONE:
        assert "dcgan_utils" not in first.source and "lab." not in first.source
    else:
        assert first.source == stamp.first_cell(REPOSITORY, f"notebooks/{path.name}")
        assert first.source.startswith("# @title Set-up") and first.metadata == stamp.FOLDED
        assert len(code_lines(first)) <= 15 and not first.outputs
    again = copy.deepcopy(notebook)
    stamp.stamp_notebook(again, REPOSITORY, f"notebooks/{path.name}")
    assert again == notebook


def test_parameters_are_one_tagged_cell_near_the_top(notebook):
    tagged = ["parameters" in cell.metadata.get("tags", []) for cell in cells(notebook, "code")]
    assert sum(tagged) == 1 and any(tagged[:4])


def test_cells_are_short_and_prose_keeps_up_with_code(notebook):
    lengths = [len(code_lines(cell)) for cell in cells(notebook, "code")]
    assert max(lengths) <= 40 and statistics.median(lengths) <= 12
    assert len(re.findall(r"[^\W\d_]{2,}", markdown(notebook))) >= sum(lengths)


# Clarity: notebooks 00 to 05 and 11, which everybody reads, and 12

CLEAR = [path for path in PATHS if path.name[:2] in ("00", "01", "02", "03", "04", "05", "11", "12")]
LISTING = re.compile(r"\b(?:iterdir|glob|rglob|listdir|scandir|walk)\(|^!ls\b")


def machinery(cell, first):
    """How many code lines of a cell are set-up, Colab, imports, assertions outside a check, or listings of files."""
    tags = cell.metadata.get("tags", [])
    if first or "colab" in tags:
        return len(code_lines(cell))
    tree = ast.parse(as_python(cell.source))
    kinds = (ast.Import, ast.ImportFrom) if "check" in tags else (ast.Import, ast.ImportFrom, ast.Assert)
    found = {line for node in ast.walk(tree) if isinstance(node, kinds)
             for line in range(node.lineno, node.end_lineno + 1)}
    listings = {number for number, line in enumerate(cell.source.splitlines(), 1) if LISTING.search(line)}
    return len(found | listings)


def figures(path):
    """Median and longest of the lengths of code cells, and the share of code lines that is machinery."""
    code = cells(read(path), "code")
    lengths = [len(code_lines(cell)) for cell in code]
    first = path.name != stamp.STANDS_ALONE
    share = sum(machinery(cell, first and i == 0) for i, cell in enumerate(code)) / sum(lengths)
    return statistics.median(lengths), max(lengths), share


@pytest.mark.parametrize("path", CLEAR, ids=[path.stem for path in CLEAR])
def test_cells_are_short_and_about_their_subject(path):
    median, longest, share = figures(path)
    allowed = 0.15 if path.name.startswith("11") else 0.12  # 11 is short, and its set-up as long as the others'
    assert median <= 8 and longest <= 25 and share <= allowed, f"{median} lines, {longest} lines, {share:.1%} machinery"


def test_the_first_six_lessons_are_no_longer_than_they_were():
    """13,991 words, those of solutions among them, are what 01 to 05 had when 05 was not yet divided into 05 and 11."""
    lessons = [path for path in CLEAR if path.name[:2] not in ("00", "12")]
    texts = [cell.source for path in lessons for cell in cells(read(path), "markdown")]
    assert len(" ".join(texts).split()) <= 13_991


def test_machinery_is_counted_line_by_line():
    new = nbformat.v4.new_code_cell
    source = """from math import (
    pi,
    tau,
)

!ls outputs
files = sorted(folder.glob("*.png"))
assert pi < tau, (
    "circles")
def area(r):
    import math
    return math.pi * r ** 2"""
    assert machinery(new(source), first=False) == 9
    assert machinery(new(source, metadata={"tags": ["check"]}), first=False) == 7
    assert machinery(new(source), first=True) == machinery(new(source, metadata={"tags": ["colab"]}), False) == 11


# Outputs

def test_notebook_was_executed_from_top_to_bottom(notebook):
    counts = [cell.execution_count for cell in cells(notebook, "code")]
    assert counts == list(range(1, len(counts) + 1))
    for cell in cells(notebook, "code"):
        assert all(output.get("execution_count") in (None, cell.execution_count) for output in cell.outputs)


def test_outputs_hold_no_errors_warnings_or_widgets(notebook):
    assert not [output for output in outputs(notebook) if output.output_type == "error"]
    assert not [output.text for output in outputs(notebook) if output.get("name") == "stderr"]
    text = "\n".join(printed(notebook))
    assert not re.findall(r".*(?:\w*Warning:|Traceback \(most recent).*", text)
    assert "\r" not in text and "\x1b[" not in text
    kinds = {kind for output in outputs(notebook) for kind in output.get("data", {})}
    assert "widgets" not in notebook.metadata and not {kind for kind in kinds if "widget" in kind}
    assert {kind for kind in kinds if kind.startswith("image/")} <= {"image/png", "image/gif"}


def test_no_path_of_a_machine_is_shown(notebook):
    texts = [cell.source for cell in notebook.cells] + list(printed(notebook))
    assert not [line for text in texts for line in text.splitlines() if MACHINE_PATH.search(line)]


def test_outputs_are_small(notebook):
    moving = sum(len(output.get("data", {}).get("image/gif", "")) for output in outputs(notebook))
    everything = sum(len(str(output)) for output in outputs(notebook))
    assert everything - moving < 1e6 and everything < 2.5e6


# Links

def links_of(text):
    return re.findall(r"\]\(([^)\s]+)\)", text) + re.findall(r"""(?:src|href)=["']([^"']+)["']""", text)


def test_links_lead_to_files_that_exist(path, notebook):
    raw = f"https://raw.githubusercontent.com/{REPOSITORY}/{stamp.BRANCH}/"
    for link in links_of(markdown(notebook)):
        if REPOSITORY and link.startswith(raw):
            assert (ROOT / link[len(raw):]).is_file(), link
        elif not re.match(r"[a-z]+:|#", link):
            target = (path.parent / unquote(link.split("#")[0])).resolve()
            assert target.is_relative_to(ROOT) and target.exists(), link


def test_each_notebook_links_to_its_neighbours(path, notebook):
    links = {link.split("#")[0] for link in links_of(markdown(notebook))}
    if path.name in LESSONS:
        place = LESSONS.index(path.name)
        assert set(LESSONS[max(0, place - 1):place] + LESSONS[place + 1:place + 2]) <= links
    else:
        assert set(lesson_of(path.name)) <= links


# One home for each definition

def without_docstrings(node):
    """A definition's syntax tree as text, comments and docstrings left out."""
    node = copy.deepcopy(node)
    for inner in ast.walk(node):
        if isinstance(inner, (ast.FunctionDef, ast.ClassDef)) and ast.get_docstring(inner, clean=False) is not None:
            inner.body = inner.body[1:]
    return ast.dump(node)


def as_python(source):
    """The source of a cell without the lines that are Jupyter's and not Python's."""
    return re.sub(r"^(\s*)[%!].*", r"\1pass", source, flags=re.M)


def definitions(source):
    """Top-level functions and classes by name."""
    tree = ast.parse(as_python(source))
    return {node.name: node for node in tree.body if isinstance(node, (ast.FunctionDef, ast.ClassDef))}


HOME = {name: (node, path.relative_to(path.parents[path.parent.name == "lab"]).as_posix())
        for path in HOMES for name, node in definitions(path.read_text(encoding="utf-8")).items() if name[0] != "_"}


def test_definitions_equal_their_twins_in_a_module_and_say_so(path, notebook):
    """The notebook that stands alone need not say so."""
    alone = path.name == stamp.STANDS_ALONE
    for cell in cells(notebook, "code"):
        shared = {name: node for name, node in definitions(cell.source).items() if name in HOME}
        if shared and not alone or cell.source.startswith("# Also in "):
            assert shared, f"a mark, but nothing of a module below it:\n{cell.source}"
        for name, node in shared.items():
            twin, home = HOME[name]
            assert alone or cell.source.startswith(f"# Also in {home}\n"), f"{name} stands in {home}: mark the cell"
            assert without_docstrings(node) == without_docstrings(twin), f"{name} differs from that of {home}"


def test_no_name_is_defined_in_two_notebooks():
    homes = {}
    for path in (path for path in PATHS if path.name != stamp.STANDS_ALONE):
        for name in {name for cell in cells(read(path), "code") for name in definitions(cell.source)}:
            homes.setdefault(name, []).append(path.name)
    assert {name: places for name, places in homes.items() if len(places) > 1} == {}


# Stamping

@pytest.mark.parametrize("repository", ["jane", "jane/", "/course", "a/b/c", "https://github.com/jane/course",
                                        "ja ne/course", "jane/course\n", "../..", 'jane/"course'])
def test_malformed_repository_is_refused_and_nothing_is_written(repository, tmp_path):
    with pytest.raises(SystemExit, match="owner/name"):
        stamp.main(tmp_path, repository)
    assert not list(tmp_path.iterdir())


def test_stamping_sets_badges_address_and_pictures_and_back_restores_every_byte(tmp_path):
    shutil.copytree(ROOT / "notebooks", tmp_path / "notebooks", ignore=shutil.ignore_patterns(".*"))
    readme = Path(shutil.copy(ROOT / "README.md", tmp_path))
    paths = sorted((tmp_path / "notebooks").glob("*.ipynb"))
    stamp.main(tmp_path, "")
    plain = {path.name: markdown(read(path)) for path in paths}
    assert "Open in Colab" not in readme.read_text(encoding="utf-8")
    for repository in ("jane/dcgan-course", "someone_else/gan.course_2"):
        stamp.main(tmp_path, repository)
        stamp.main(tmp_path)  # changes nothing
        rows = re.findall(r"^\| <img .*", readme.read_text(encoding="utf-8"), flags=re.M)
        assert len(rows) == len(NAMES) and all(row.count("|") == rows[0].count("|") for row in rows)
        for path, row in zip(paths, rows):
            address = f"{repository}/blob/main/notebooks/{path.name}"
            badge = ("[![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)]"
                     f"(https://colab.research.google.com/github/{address})")
            pictures = f"](https://raw.githubusercontent.com/{repository}/main/outputs/"
            assert markdown(read(path)) == plain[path.name].replace(stamp.UNPUBLISHED, badge).replace(
                "](../outputs/", pictures)
            assert row.count(badge) == 1 and row.count("Open in Colab") == 1
            if path.name != stamp.STANDS_ALONE:
                assert f'ADDRESS_ON_GITHUB = "https://github.com/{address}"' in cells(read(path), "code")[0].source
    stamp.main(tmp_path, REPOSITORY)
    assert [path.read_bytes() for path in paths] == [path.read_bytes() for path in PATHS]
    assert readme.read_bytes() == (ROOT / "README.md").read_bytes()
    elsewhere = "[a paper](https://example.org/outputs/p.pdf)"
    assert stamp.stamp_text(elsewhere, "jane/course", "notebooks/01_data.ipynb") == elsewhere


def test_the_notebook_that_stands_alone_keeps_its_first_cell():
    new = nbformat.v4
    text = f"# 0. Start here\n\n{stamp.UNPUBLISHED}\n\nWords."
    notebook = new.new_notebook(cells=[new.new_markdown_cell(text), new.new_code_cell("import keras")])
    stamp.stamp_notebook(notebook, "jane/course", f"notebooks/{stamp.STANDS_ALONE}")
    assert notebook.cells[0].source.split("\n\n")[1] == stamp.badge("jane/course", f"notebooks/{stamp.STANDS_ALONE}")
    assert notebook.cells[1].source == "import keras" and not notebook.cells[1].metadata


def test_the_workflow_stamps_a_repository_by_its_own_name_once(course, tmp_path, monkeypatch):
    """What the workflow does after a push, in a clone with a bare repository in GitHub's place."""
    for name, value in {"HOME": str(tmp_path), "GIT_CONFIG_NOSYSTEM": "1", "GITHUB_REPOSITORY": "jane/dcgan"}.items():
        monkeypatch.setenv(name, value)
    author = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "init.defaultBranch=main"]
    for command in (["init", "-q"], ["add", "."], ["commit", "-qm", "course"]):
        subprocess.run(["git", *author, *command], cwd=course, check=True)
    subprocess.run(["git", "clone", "-q", "--bare", course, tmp_path / "github.git"], check=True)
    subprocess.run(["git", "clone", "-q", tmp_path / "github.git", tmp_path / "runner"], check=True)
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "stamp.yml").read_text(encoding="utf-8"))
    stamping, committing = [step["run"] for step in workflow["jobs"]["stamp"]["steps"] if "run" in step][1:]
    assert stamping.startswith("python ")
    commits = []
    for _ in range(2):
        for step in (stamping.replace("python", sys.executable, 1), committing):
            subprocess.run(["bash", "-e", "-c", step], cwd=tmp_path / "runner", check=True)
        log = ["git", "--git-dir", tmp_path / "github.git", "log", "--format=%s", "main"]
        commits.append(subprocess.run(log, capture_output=True, text=True, check=True).stdout.splitlines())
    assert commits == [["Stamped for jane/dcgan", "course"]] * 2
    assert (tmp_path / "runner" / ".repository").read_text() == "jane/dcgan\n"
    assert "jane/dcgan/blob/main/notebooks/" in (tmp_path / "runner" / "README.md").read_text(encoding="utf-8")


def test_tidy_drops_what_changes_from_run_to_run_and_nothing_else():
    new = nbformat.v4
    written = [new.new_output("stream", text="start\n 1/9\r 9/9\repoch 1  \nend\n"),
               new.new_output("stream", text=" 1/9\r    \r"),
               new.new_output("display_data", {"text/plain": "a\rb"}),
               new.new_output("display_data", {"text/plain": "VBox()", "application/vnd.jupyter.widget-view+json": {}})]
    metadata = {"execution": {"iopub.status.busy": "now"}, "tags": ["parameters"]}
    notebook = new.new_notebook(
        metadata={"language_info": {"name": "python", "version": "3.9.1"}},
        cells=[new.new_code_cell("train()", execution_count=1, metadata=metadata, outputs=written)])
    tidy(notebook)
    cell = notebook.cells[0]
    assert [output.get("text") for output in cell.outputs] == ["start\nepoch 1\nend\n", None]
    assert cell.metadata == {"tags": ["parameters"]} and "version" not in notebook.metadata.language_info
