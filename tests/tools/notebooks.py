"""Execute notebooks on full data and save them with their outputs: `make notebooks`, or with names, some of them."""

import base64
import io
import os
import re
import sys
import time
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from PIL import Image, ImageChops, ImageStat

ROOT = Path(__file__).resolve().parents[2]


def smaller(png):
    """A figure with 64 colours, or 128 where these are too few, as base64: half the size, the same to the eye."""
    file, figure = io.BytesIO(), Image.open(io.BytesIO(base64.b64decode(png))).convert("RGB")
    reduced = figure.quantize(64)
    if max(ImageStat.Stat(ImageChops.difference(figure, reduced.convert("RGB"))).mean) >= 1:
        reduced = figure.quantize(128)
    reduced.save(file, "PNG", optimize=True)
    return base64.b64encode(file.getvalue()).decode()


def tidy(notebook):
    """Drop what a progress bar overwrote, TensorFlow's messages, times and the kernel's version; shrink figures.

    Widgets go, too: without their kernel they are dead.
    """
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
        for output in cell.get("outputs", []):
            if output.output_type == "stream":
                text = re.sub(r"[^\n]*\r(?!\n)", "", output.text)
                text = re.sub(r"^(WARNING: All log messages before absl|[IWEF]\d{4} ).*\n", "", text, flags=re.M)
                output.text = re.sub(r" +$", "", text, flags=re.M)
            if "image/png" in output.get("data", {}):
                output.data["image/png"] = smaller(output.data["image/png"])
        if cell.cell_type == "code":
            cell.outputs = [o for o in cell.outputs if (o.output_type != "stream" or o.text.strip())
                            and "application/vnd.jupyter.widget-view+json" not in o.get("data", {})]
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
        for picture in (ROOT / "notebooks").glob("*.gif"):  # of the notebook that knows no other folder than its own
            picture.replace(ROOT / "outputs" / picture.name)
        print(f"{time.time() - started:.0f} s")


if __name__ == "__main__":
    main(sys.argv[1:])
