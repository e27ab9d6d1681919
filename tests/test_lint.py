"""What pre-commit holds a commit to, held here, too; the texts for contributors, and the forms that GitHub shows."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]
GITHUB = ROOT / ".github"
FORMS = sorted(path for path in (GITHUB / "ISSUE_TEMPLATE").glob("*.yml") if path.name != "config.yml")


def read(path):
    return yaml.safe_load(path.read_text(encoding="utf-8"))


# Lint

def ruff(*arguments):
    return subprocess.run([sys.executable, "-m", "ruff", "check", "--no-cache", "--config", ROOT / ".ruff.toml",
                           *arguments], cwd=ROOT, capture_output=True, text=True)


def test_module_tests_and_notebooks_pass_ruff():
    found = ruff("--output-format=concise", ".")
    assert found.returncode == 0, found.stdout + found.stderr


def test_ruff_finds_what_it_is_there_for(tmp_path):
    faults = {"F401": "import os", "F821": "assert unknown", "E501": f"x = '{'a' * 120}'", "E401": "import sys, re",
              "B006": "def f(x=[]):\n    return x", "SLF001": "sys._getframe(re)"}
    (tmp_path / "new.py").write_text("\n\n".join(faults.values()))
    found = ruff("--output-format=concise", tmp_path / "new.py")
    assert faults.keys() <= set(re.findall(r"[A-Z]+\d+", found.stdout)), found.stdout + found.stderr


def test_pre_commit_and_the_tests_use_the_same_ruff():
    hooks = {hook["id"]: hook for repository in read(ROOT / ".pre-commit-config.yaml")["repos"]
             for hook in repository["hooks"]}
    pinned, = re.findall(r"^ruff==[\d.]+$", (ROOT / "tests" / "requirements.txt").read_text(), flags=re.M)
    assert hooks["ruff"]["additional_dependencies"] == [pinned]


# Texts for contributors and teachers

@pytest.mark.parametrize("name", [".github/CONTRIBUTING.md", ".github/pull_request_template.md",
                                  "notebooks/LESSON_PLAN.md", "notebooks/lab/commands/gallery.py"])
def test_commands_and_files_that_are_named_exist(name):
    text = (ROOT / name).read_text(encoding="utf-8")
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), flags=re.M))
    assert set(re.findall(r"(?:`|\"|^)make ([\w-]+)", text, flags=re.M)) <= targets
    for path in re.findall(r"`((?:tests|notebooks|outputs/measuring_nets)/[\w./*-]*|[\w-]+\.(?:py|md|txt))`", text):
        pattern = path.replace("NAME", "*").replace("NN", "??").rstrip("/")
        assert any(list(folder.glob(pattern)) for folder in (ROOT, ROOT / ".github", ROOT / "notebooks" / "lab")), path


# GitHub's forms

@pytest.mark.parametrize("path", FORMS, ids=[path.stem for path in FORMS])
def test_issue_form_has_what_github_requires(path):
    form = read(path)
    assert form["name"] and form["description"] and form["body"]
    kinds = {"markdown": "value", "input": "label", "textarea": "label", "dropdown": "label", "checkboxes": "label"}
    for field in form["body"]:
        assert kinds[field["type"]] in field["attributes"], field
        if field["type"] in ("dropdown", "checkboxes"):
            assert field["attributes"]["options"], field
    fields = [field for field in form["body"] if field["type"] != "markdown"]
    assert fields, "a form needs a field to fill in"
    for names in ([field["id"] for field in fields], [field["attributes"]["label"] for field in fields]):
        assert len(set(names)) == len(names), names
    assert all(re.fullmatch(r"[\w-]+", field["id"]) for field in fields)


def test_reports_about_runs_ask_for_what_is_needed_to_answer():
    for name in ("bug", "run"):
        fields = [field["attributes"] for field in read(GITHUB / "ISSUE_TEMPLATE" / f"{name}.yml")["body"]]
        text = " ".join(f"{field.get('label')} {field.get('description', '')}" for field in fields)
        for wanted in ("config.json", "metrics.csv", "grid", "cell"):
            assert wanted in text, (name, wanted)
