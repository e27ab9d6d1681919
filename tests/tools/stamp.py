"""Write where the course is published into the notebooks: `make stamp REPOSITORY=owner/name`.

The owner and the name are kept in the file `.repository`; without an argument, what it says is stamped again. Every
notebook begins with a title, a badge line and the same first code cell, which come from here; so do the cell tagged
`colab` of notebooks with runs, and the badges in the README's table. Pictures of `outputs/` become absolute
links, since Colab shows a notebook without its repository.
"""

import re
import sys
from pathlib import Path

import nbformat

ROOT = Path(__file__).resolve().parents[2]
BRANCH = "main"
UNPUBLISHED = "*Open in Colab: not published yet; the first code cell says what to set.*"

FIRST_CELL = '''\
# Find dcgan_utils.py: in this notebook's repository or, on Colab, in a copy that this cell fetches.
import os
import subprocess
import sys
from pathlib import Path

REPOSITORY = "{address}"  # https://github.com/OWNER/NAME, where the course is published
os.environ["KERAS_BACKEND"] = "tensorflow"  # whatever the shell or Keras' settings say
os.environ["MPLBACKEND"] = "module://matplotlib_inline.backend_inline"  # pictures appear in the notebook
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # TensorFlow's start-up messages off
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")  # fast kernels on processors without AVX-512, too
os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")  # a GPU's memory as it is needed, not all at once
if os.cpu_count() == 2:
    os.environ.setdefault("TF_NUM_INTRAOP_THREADS", "1")  # two small operations at once beat one on both cores
places = [Path.cwd(), Path.cwd().parent, Path.cwd() / "dcgan-course"]
if not any((place / "dcgan_utils.py").exists() for place in places):
    if "google.colab" not in sys.modules or not REPOSITORY:
        raise FileNotFoundError("dcgan_utils.py is not here. Open this notebook from the notebooks/ folder of its "
                                "repository; on Colab, set REPOSITORY in this cell to that repository's address.")
    subprocess.run(["git", "clone", "--quiet", "--depth=1", REPOSITORY, "dcgan-course"], check=True)
    subprocess.run([sys.executable, "-m", "pip", "install", "-q", "-r", "dcgan-course/requirements.txt"], check=True)
root = next(place for place in places if (place / "dcgan_utils.py").exists()).resolve()
sys.path[:0] = [str(root), str(root / "notebooks")]  # dcgan_utils.py, and the folder lab'''

COLAB_CELL = """\
# On Colab only: runs kept on Google Drive, if you tick this; your W&B key; a word on the GPU. Elsewhere: nothing.
DRIVE = False  # @param {type:"boolean"}
if "google.colab" in sys.modules:
    import contextlib
    import shutil

    from google.colab import drive, userdata

    if not tf.config.list_physical_devices("GPU"):
        print("No GPU here. To get one: Runtime > Change runtime type > GPU; it comes with a new, empty machine.")
    with contextlib.suppress(Exception):  # no such secret, or not for this notebook: runs are recorded offline
        os.environ.setdefault("WANDB_API_KEY", userdata.get("WANDB_API_KEY"))
    if DRIVE:
        drive.mount("/content/drive")
        here, kept = Path(dcgan.__file__).with_name("outputs"), Path("/content/drive/MyDrive/dcgan-course/outputs")
        if not here.is_symlink():
            kept.mkdir(parents=True, exist_ok=True)
            for made in [*here.iterdir(), *here.glob("measuring_nets/*")]:
                target = kept / made.relative_to(here)
                if not target.exists():  # what Drive has already stays as it is
                    partial = kept / f".partial-{made.name}"
                    shutil.copytree(made, partial, dirs_exist_ok=True) if made.is_dir() else shutil.copy(made, partial)
                    partial.rename(target)
            here.rename(here.with_name("outputs-not-on-drive"))
            here.symlink_to(kept)
        print("Runs are kept on your Drive, in dcgan-course/outputs.")"""


def badge(repository, path):
    """The line under a notebook's title."""
    if not repository:
        return UNPUBLISHED
    link = f"https://colab.research.google.com/github/{repository}/blob/{BRANCH}/{path}"
    return f"[![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)]({link})"


def stamp_text(text, repository, path):
    """`text` with its badge line for `path` and its pictures' addresses set for `repository` ('' is unpublished)."""
    text = re.sub(rf"{re.escape(UNPUBLISHED)}|\[!\[Open in Colab\]\([^)]*\)\]\([^)]*{re.escape(path)}\)",
                  badge(repository, path), text)
    base = f"https://raw.githubusercontent.com/{repository}/{BRANCH}/outputs/" if repository else "../outputs/"
    return re.sub(r"(?<=\]\()(\.\./|https://raw\.githubusercontent\.com/[^)]*/)outputs/", base, text)


def stamp_readme(text, repository):
    """The README with the badges of its table of notebooks set: the last column of each row that names a notebook."""
    def row(match):
        return f"{match[1]}{badge(repository, match[2]) if repository else '*not yet*'} |"
    return re.sub(r"^(\| <img .*\]\((notebooks/\w+\.ipynb)\).* \| )[^|]* \|$", row, text, flags=re.M)


def stamp_notebook(notebook, repository, path):
    """Set first code cell, Colab's cell, badge and pictures of a notebook node in place."""
    for cell in notebook.cells:
        if "colab" in cell.metadata.get("tags", []):
            cell.source = COLAB_CELL
        if cell.cell_type == "markdown":
            cell.source = stamp_text(cell.source, repository, path)
    first = next(cell for cell in notebook.cells if cell.cell_type == "code")
    first.source = FIRST_CELL.format(address=f"https://github.com/{repository}" if repository else "")


def main(root=ROOT, repository=None):
    if repository is not None:
        if not re.fullmatch(r"([A-Za-z0-9-]+/[A-Za-z0-9._-]+)?", repository):
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
