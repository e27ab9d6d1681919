"""Test the course with the oldest and the newest TensorFlow and Keras that it allows: `make versions`.

Each pair gets an environment of its own in `.venv-versions/`, 2 GB, which may be deleted afterwards. A run begun under
each pair goes on under the others, which open its generator first. Then the tests run that touch TensorFlow and Keras
most, and notebooks 01 to 04 in smoke mode. The counts go into `tests/tested_versions.md`, a row for each pair. Some
pairs only: `make versions PAIRS=2.19.0-3.8.0`.
"""

import os
import platform
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from xml.etree import ElementTree

ROOT = Path(__file__).resolve().parents[2]
TABLE = ROOT / "tests" / "tested_versions.md"
HOME = ROOT / ".venv-versions"

# TensorFlow-Keras, and how the other packages are chosen
PAIRS = {
    "2.19.0-3.8.0": ["--resolution=lowest-direct"],  # the lower bound of everything in requirements.txt
    "2.20.0-3.13.2": ["numpy==2.1.3", "pillow==11.3", "matplotlib==3.10.0", "imageio==2.37.4", "wandb==0.28.1",
                      "pytest==8.4.2"],  # Colab's, August 2026
    "2.21.0-3.15.1": [],  # the newest of everything
}
UNIT_TESTS = [f"tests/test_{name}.py"
              for name in ("dcgan_utils_data", "dcgan_utils_nets", "dcgan_utils_training", "dcgan_utils_pictures",
                           "files", "formats", "datasets", "measures", "measuring_net", "step_parts", "settings",
                           "net_configs", "runs", "pictures", "diagnosis")]
NOTEBOOKS = [f".solved/{name}.ipynb" for name in ("01_data", "02_generator", "03_discriminator", "04_training")]
SHOWN = ("tensorflow", "keras", "numpy", "pandas", "matplotlib", "pillow", "imageio", "scikit-learn", "wandb")
HEADER = f"""\
# Versions that the course was tested with

Written by `make versions`: each pair of TensorFlow and Keras in an environment of its own, on {platform.system()} \
{platform.machine()}, without a GPU.
Tests are those of {", ".join(f"`{Path(path).stem}`" for path in UNIT_TESTS)}; cells are the code
cells of notebooks 01 to 04 in smoke mode, every exercise checked twice. What failed was run once more,
alone. All tests (`make test`) run with the newest pair.

"""


def set_up(pair):
    """The Python of the pair's environment, which is made if it is not there."""
    python, ready = HOME / pair / "bin" / "python", HOME / pair / "ready"
    if ready.exists():
        return python
    uv = HOME / "uv" / "bin" / "uv"  # of all installers, it can choose the lowest versions
    if not uv.exists():
        subprocess.run([sys.executable, "-m", "venv", HOME / "uv"], check=True)
        subprocess.run([HOME / "uv" / "bin" / "python", "-m", "pip", "install", "-q", "uv"], check=True)
    tensorflow, keras = pair.split("-")
    subprocess.run([uv, "venv", "-q", "--clear", "--python", sys.executable, HOME / pair], check=True)
    install = [uv, "pip", "install", "-q", "--python", python, f"tensorflow=={tensorflow}", f"keras=={keras}"]
    subprocess.run([*install, *PAIRS.get(pair, []), "-r", ROOT / "requirements.txt"], check=True)
    subprocess.run([*install, "-r", ROOT / "tests" / "requirements.txt"], check=True)
    ready.touch()
    return python


def run_tests(python, name, arguments, **environment):
    """Run pytest with `python`, then once more what failed, alone; "passed of all that ran". Logs go to `HOME`."""
    ran, bad = _pytest(python, name, ["-n", "2", *arguments], environment)
    if bad:  # some tests have time limits, and the machine may have been busy
        _, bad = _pytest(python, f"{name}-again", ["-n", "0", "--last-failed", *arguments], environment)
    print(f"{name}: {ran - bad} of {ran} passed" + (f", see the log {name}-again.log" if bad else ""), flush=True)
    return f"{ran - bad} of {ran}"


def _pytest(python, name, arguments, environment):
    """How many tests ran, and how many of them failed."""
    report, log = HOME / f"{name}.xml", HOME / f"{name}.log"
    report.unlink(missing_ok=True)
    command = [python, "-m", "pytest", "-q", f"--junitxml={report}", "-o", f"cache_dir={HOME / 'cache'}", *arguments]
    with open(log, "w") as file:
        subprocess.run(command, cwd=ROOT, env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", **environment}, stdout=file,
                       stderr=file)
    if not report.exists():
        sys.exit(f"the tests did not end: see {log.relative_to(ROOT)}")
    count = {kind: sum(int(suite.get(kind)) for suite in ElementTree.parse(report).iter("testsuite"))
             for kind in ("tests", "failures", "errors", "skipped")}
    return count["tests"] - count["skipped"], count["failures"] + count["errors"]


GO_ON = """
import sys; sys.path.insert(0, "tests")
from train_small import keras, train_small
folder, epochs = sys.argv[1:]
if int(epochs) > 1:
    keras.models.load_model(folder + "/generator.keras")
train_small(folder, int(epochs))
"""


def pass_on(pythons):
    """Begin a run with each pair's Python and go on with it, an epoch each, with all others; stop where that fails."""
    pairs = list(pythons)
    for i, first in enumerate(pairs):
        with tempfile.TemporaryDirectory() as folder, open(HOME / f"{first}-run.log", "w") as log:
            for epoch, pair in enumerate(pairs[i:] + pairs[:i], 1):
                command = [pythons[pair], "-c", GO_ON, folder, str(epoch)]
                if subprocess.run(command, cwd=ROOT, stdout=log, stderr=log).returncode:
                    sys.exit(f"a run begun under {first} does not go on under {pair}: see {log.name}")
        print(f"{first}: a run went on under {len(pairs) - 1} others", flush=True)


def row_of(python, tests, cells):
    """The pair's row of the table."""
    script = "import sys, platform; from importlib.metadata import version; " \
             "print(platform.python_version(), *map(version, sys.argv[1:]))"
    versions = subprocess.run([python, "-c", script, *SHOWN], check=True, capture_output=True, text=True).stdout.split()
    return [time.strftime("%Y-%m-%d"), *versions, tests, cells]


def write_row(row, table=TABLE):
    """Put a row into the table, in place of an older one of the same Python, TensorFlow and Keras."""
    before = re.findall(r"^\| \d.*", table.read_text(encoding="utf-8"), flags=re.M) if table.exists() else []
    rows = {tuple(cells[1:4]): cells for cells in ([cell.strip() for cell in line.strip("|").split("|")]
                                                   for line in before)}
    rows[tuple(row[1:4])] = row
    columns = ["date", "Python", *SHOWN, "tests passed", "cells passed"]
    lines = [columns, ["---"] * len(columns), *(rows[key] for key in sorted(rows, key=_as_numbers))]
    table.write_text(HEADER + "".join(f"| {' | '.join(line)} |\n" for line in lines), encoding="utf-8")


def _as_numbers(versions):
    return [[int(part) for part in re.findall(r"\d+", version)] for version in versions]


def main(pairs):
    HOME.mkdir(exist_ok=True)
    subprocess.run([sys.executable, ROOT / "tests" / "tools" / "exercises.py"], check=True)
    pythons = {pair: set_up(pair) for pair in pairs or PAIRS}
    pass_on(pythons)
    for pair, python in pythons.items():
        tests = run_tests(python, f"{pair}-tests", UNIT_TESTS)
        cells = run_tests(python, f"{pair}-notebooks", ["--dist=loadfile", "--nbval-lax", "--nbval-cell-timeout=300",
                                                        *NOTEBOOKS], DCGAN_SMOKE="1", WANDB_MODE="offline")
        write_row(row_of(python, tests, cells))


if __name__ == "__main__":
    main(sys.argv[1:])
