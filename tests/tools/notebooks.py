"""Execute notebooks on full data and save them with their outputs: `make notebooks`, or with names, some of them."""

import os
import re
import sys
import time
from pathlib import Path

import nbformat
from nbclient import NotebookClient

ROOT = Path(__file__).resolve().parents[2]


def tidy(notebook):
    """Drop what a progress bar overwrote, TensorFlow's start-up messages, times and the kernel's version."""
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
        for output in cell.get("outputs", []):
            if output.output_type == "stream":
                text = re.sub(r"[^\n]*\r(?!\n)", "", output.text)
                text = re.sub(r"^(WARNING: All log messages before absl|[IWEF]\d{4} ).*\n", "", text, flags=re.M)
                output.text = re.sub(r" +$", "", text, flags=re.M)
        if cell.cell_type == "code":
            cell.outputs = [o for o in cell.outputs if o.output_type != "stream" or o.text.strip()]
    notebook.metadata = nbformat.from_dict({
        "accelerator": "GPU", "colab": {"provenance": []},
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"}})


def main(names):
    os.environ.setdefault("WANDB_MODE", "offline")
    for path in [Path(name) for name in names] or sorted((ROOT / "notebooks").glob("*.ipynb")):
        notebook, started = nbformat.read(path, as_version=4), time.time()
        print(f"{path.name} ...", end=" ", flush=True)
        NotebookClient(notebook, timeout=None, kernel_name="python3", coalesce_streams=True,
                       resources={"metadata": {"path": str(ROOT / "notebooks")}}).execute()
        tidy(notebook)
        nbformat.write(notebook, path)
        print(f"{time.time() - started:.0f} s")


if __name__ == "__main__":
    main(sys.argv[1:])
