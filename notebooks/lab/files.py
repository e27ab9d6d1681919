"""Where things are, and how files are written and read so that none is lost; used by all notebooks from 04 on."""

import contextlib
import functools
import importlib
import json
import os
import shutil
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
OUTPUTS = ROOT / "outputs"


def smoke_mode():
    """True if `DCGAN_SMOKE=1`: little data, two epochs, scratch folders; for tests of the notebooks."""
    return os.environ.get("DCGAN_SMOKE") == "1"


@functools.cache
def _scratch_folder():
    return tempfile.TemporaryDirectory(prefix="dcgan-smoke-")


def run_folder(name):
    """Folder of the run called `name`, one folder's name: `outputs/<name>` here; in smoke mode, a scratch folder."""
    if not isinstance(name, str) or not name or Path(name).name != name or name in (".", ".."):
        raise ValueError(f"run name {name!r}: give one folder name, without slashes, such as 'my-run'.")
    return (Path(_scratch_folder().name) if smoke_mode() else OUTPUTS) / name


def shown_path(path):
    """The path as a reader should see it: relative to the project where it lies in it."""
    path = Path(path).absolute()
    return path.relative_to(ROOT).as_posix() if path.is_relative_to(ROOT) else os.path.relpath(path)


def grid_path(run_dir, number, unit="epoch"):
    """Where a run keeps its grid of images after an epoch, 0 before training, or after a step."""
    return Path(run_dir) / "grids" / f"{unit}_{number:04d}.png"


def step_grids(run_dir):
    """The grids that a run drew after steps, before the first one after an epoch: a dict of paths by step, in order."""
    return {step: grid_path(run_dir, step, "step")
            for step in sorted(epoch_of(path) for path in (Path(run_dir) / "grids").glob("step_*.png"))}


def epoch_of(path):
    """The number in `epoch_0012` or `epoch_0012.png`, or in `step_0016.png`."""
    return int(path.stem.split("_")[1])


@contextlib.contextmanager
def writing(path):
    """Say in the error of a write that fails which file it was, and what to do."""
    try:
        yield
    except (OSError, importlib.import_module("tensorflow").errors.OpError) as error:  # only now: seconds
        reason = getattr(error, "strerror", None) or first_line(error).split("; ")[-1].split(" [Op:")[0]
        raise OSError(
            getattr(error, "errno", None) or 0,
            f"could not write {shown_path(path)}: {reason}. What was written before is intact. Make room or make the "
            "folder writable, or choose another run folder, and run again: it goes on from the last checkpoint"
        ) from error


@contextlib.contextmanager
def replacing(path):
    """Give a temporary name to write to, renamed to `path` when all is written: never half a file under `path`."""
    partial = path.with_name(".partial-" + path.name)
    try:
        with writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            remove(partial)  # of a process that was killed
            yield partial
            if path.is_dir():
                shutil.rmtree(path)
            os.replace(partial, path)
    finally:
        remove(partial)


def whole_lines(path):
    """The text of a file to which lines are appended, without a last one that a kill or a full disk cut short."""
    text = path.read_text(encoding="utf-8")
    return text[:text.rfind("\n") + 1]


def remove(path):
    """Remove a file or a folder, if it is there."""
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with contextlib.suppress(OSError):
            path.unlink()


@contextlib.contextmanager
def readable(name, fault="missing or corrupt", remedy="restore it, or train the run again"):
    """Name the file that cannot be read, or whose content is not what it should be, and say what to do."""
    try:
        yield
    except MemoryError:  # no fault of the file
        raise
    except Exception as error:  # readers raise whatever broken bytes lead them to
        kind = FileNotFoundError if isinstance(error, FileNotFoundError) else ValueError
        raise kind(f"{name}: {fault} ({first_line(error)}); {remedy}.") from error


def write_json(path, value):
    """Write a value as JSON."""
    with replacing(path) as partial:
        partial.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")


def first_line(error):
    """The first line of what an error says, or its kind if it says nothing."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def plural(count, unit):
    """`plural(1, "epoch")` is "epoch", `plural(3, "epoch")` "3 epochs"."""
    return unit if count == 1 else f"{count} {unit}s"
