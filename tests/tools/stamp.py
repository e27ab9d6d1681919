"""Write where the course is published into the notebooks: `make stamp REPOSITORY=owner/name`.

The owner and the name are kept in the file `.repository`; without an argument, what it says is stamped again. Every
notebook begins with a title and a badge line and, but for the one that stands alone, the same first code cell, which
come from here; so do the cell tagged `colab` of notebooks with runs, and the badges in the README's table. Pictures of
`outputs/` become absolute links, since Colab shows a notebook without its repository. On GitHub, the workflow `stamp`
does it. A notebook that is not stamped works on Colab as well: its first code cell asks Colab where it came from.
"""

import re
import sys
from pathlib import Path

import nbformat

ROOT = Path(__file__).resolve().parents[2]
BRANCH = "main"
UNPUBLISHED = "*Open in Colab: write `githubtocolab.com` for `github.com` in this notebook's address on GitHub.*"
STANDS_ALONE = "00_start_here.ipynb"  # its first code cell is the course

FIRST_CELL = r"""
# @title Set-up: finds the course's files or, on Colab, fetches them from where this notebook was opened
import contextlib, os, re, subprocess, sys

ADDRESS_ON_GITHUB = ""  # @param {type:"string"}
root = next((place for place in (".", "..") if os.path.exists(f"{place}/dcgan_utils.py")), "dcgan-course")
if not os.path.exists(root):
    said = subprocess.getoutput("curl -sm 5 http://$COLAB_JUPYTER_IP:9000/api/sessions").replace("%2F", "/")
    with contextlib.suppress(Exception):
        from google.colab import _message
        said += str(_message.blocking_request("get_ipynb", timeout_sec=5)["ipynb"]["metadata"]["colab"])
    found = re.search(r"(github\.com/[\w.-]+/[\w.-]+)/blob/([^:]+?)/notebooks/", said + ADDRESS_ON_GITHUB)
    assert found and "google.colab" in sys.modules, "Open this in the course's folder, or set ADDRESS_ON_GITHUB."
    subprocess.run(["git", "clone", "-q", "--depth=1", "-b", found[2], f"https://{found[1]}", root], check=True)
sys.path[:0] = [os.path.abspath(root), os.path.abspath(f"{root}/notebooks")]
from lab.setup import set_up
set_up()""".lstrip()
BADGE = r"\[!\[Open in Colab\]\([^)]*\)"  # as far as its link
FOLDED = {"cellView": "form", "jupyter": {"source_hidden": True}}  # in Colab, in JupyterLab

COLAB_CELL = """\
from lab.colab import prepare_colab  # on Colab: runs on Google Drive, your W&B key, a word on the GPU; else nothing
DRIVE = False  # @param {type:"boolean"}
prepare_colab(drive=DRIVE)"""


def first_cell(repository, path):
    """The first code cell of the notebook `path`."""
    address = f"https://github.com/{repository}/blob/{BRANCH}/{path}" if repository else ""
    return FIRST_CELL.replace('""', f'"{address}"', 1)


def badge(repository, path):
    """The line under a notebook's title."""
    if not repository:
        return UNPUBLISHED
    link = f"https://colab.research.google.com/github/{repository}/blob/{BRANCH}/{path}"
    return f"[![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)]({link})"


def stamp_text(text, repository, path):
    """`text` with its badge line for `path` and its pictures' addresses set for `repository` ('' is unpublished)."""
    text = re.sub(rf"^(\*Open in Colab: .*\*|{BADGE}\]\([^)]*{re.escape(path)}\))$", badge(repository, path), text,
                  flags=re.M)
    base = f"https://raw.githubusercontent.com/{repository}/{BRANCH}/outputs/" if repository else "../outputs/"
    return re.sub(r"(?<=\]\()(\.\./|https://raw\.githubusercontent\.com/[^)]*/)outputs/", base, text)


def stamp_readme(text, repository):
    """The README with badges, or without, behind the words in each row of its table that names a notebook."""
    def row(match):
        return match[1] + (f" {badge(repository, match[2])}" if repository else "")
    return re.sub(rf"^(\| <img .*\]\((notebooks/\w+\.ipynb)\)[^|]*?)(?: {BADGE}\]\([^)]*\))?(?= \|)", row, text,
                  flags=re.M)


def stamp_notebook(notebook, repository, path):
    """Set first code cell, Colab's cell, badge and pictures of a notebook node in place."""
    for cell in notebook.cells:
        if "colab" in cell.metadata.get("tags", []):
            cell.source = COLAB_CELL
        if cell.cell_type == "markdown":
            cell.source = stamp_text(cell.source, repository, path)
    if Path(path).name != STANDS_ALONE:
        first = next(cell for cell in notebook.cells if cell.cell_type == "code")
        first.source = first_cell(repository, path)
        first.metadata.update(FOLDED)


def main(root=ROOT, repository=None):
    if repository is not None:
        if not re.fullmatch(r"([A-Za-z0-9_-]+/[A-Za-z0-9._-]+)?", repository):
            sys.exit(f"REPOSITORY is {repository!r}; wanted owner/name, such as jane/dcgan-course.")
        (root / ".repository").write_text(repository + "\n")
    repository = (root / ".repository").read_text().strip()
    for path in sorted((root / "notebooks").glob("*.ipynb")):
        notebook = nbformat.read(path, as_version=4)
        stamp_notebook(notebook, repository, f"notebooks/{path.name}")
        nbformat.write(notebook, path)
    readme = root / "README.md"
    readme.write_text(stamp_readme(readme.read_text(encoding="utf-8"), repository), encoding="utf-8")
    print(f"stamped for {repository or 'no repository yet'}")


if __name__ == "__main__":
    main(repository=sys.argv[1] if len(sys.argv) > 1 else None)
