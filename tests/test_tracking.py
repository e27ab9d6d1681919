"""Weights & Biases: what is recorded, read back with its own reader, and that nothing about it stops a run."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from conftest import HANG
from lab import tracking
from train_small import train_small

SCRIPT = Path(__file__).with_name("train_small.py")


@pytest.fixture(autouse=True)
def no_credentials(monkeypatch, tmp_path):
    """No WANDB_MODE, no key in the environment, in .netrc or in a settings file."""
    for name in [name for name in os.environ if name.startswith("WANDB_")]:
        monkeypatch.delenv(name)
    for name in ("HOME", "WANDB_CONFIG_DIR", "WANDB_CACHE_DIR", "WANDB_DATA_DIR"):
        monkeypatch.setenv(name, str(tmp_path / "home"))
    monkeypatch.setenv("NETRC", str(tmp_path / "home" / "netrc"))
    (tmp_path / "home").mkdir()


def offline_runs(folder):
    return sorted(folder.glob("wandb/offline-run-*"))


def inspect(offline_run):
    """The run as wandb's own reader shows it."""
    wandb = Path(sys.executable).with_name("wandb")
    shown = subprocess.run([wandb, "leet", "inspect", "--summary", "--json", offline_run],
                           check=True, capture_output=True, text=True)
    return json.loads(shown.stdout)


def test_no_key_records_offline_and_wandb_finds_everything_in_it(tmp_path, capsys):
    history = train_small(tmp_path / "run", 4, tracking=True)
    lines = [line for line in capsys.readouterr().out.splitlines() if "Weights & Biases" in line]
    assert len(lines) == 1 and "offline" in lines[0] and "wandb sync" in lines[0]
    recorded, = offline_runs(tmp_path / "run")
    run = inspect(recorded)
    assert run["config"]["settings"]["batch_size"] == 64 and run["config"]["source"] == "an array"
    last = history.iloc[-1]
    for name in ("d_loss", "g_loss", "d_real_accuracy", "d_fake_accuracy", "d_real_mean", "d_fake_mean", "g_accuracy"):
        assert run["summary"][name] == pytest.approx(last[name], rel=1e-6), name
    assert run["summary"]["epoch"] == 4
    assert run["summary"]["frechet_distance"] == {"min": history.frechet_distance.min(), "last": last.frechet_distance}
    media = [path.name for path in (recorded / "files").rglob("*") if path.is_file()]
    assert sum(name.startswith("grid_") and name.endswith(".png") for name in media) == 3
    assert sum(name.startswith("training_") and name.endswith(".gif") for name in media) == 1
    assert b"generator-" in next(recorded.glob("run-*.wandb")).read_bytes()


def test_wandb_is_told_the_group(tmp_path, quick_steps, monkeypatch):
    import wandb
    told = {}

    def init(**options):
        told.update(options)
        raise RuntimeError("that is enough")

    monkeypatch.setattr(wandb, "init", init)
    train_small(tmp_path / "run", 1, tracking=True, wandb_group="my-group")
    assert told["group"] == "my-group" and told["name"] == "run"


def test_going_on_keeps_the_run_id(tmp_path, quick_steps):
    train_small(tmp_path / "run", 2, tracking=True)
    time.sleep(1.1)  # wandb names its folders by the second
    train_small(tmp_path / "run", 4, tracking=True)
    first, second = offline_runs(tmp_path / "run")
    assert first.name.split("-")[-1] == second.name.split("-")[-1]


@pytest.mark.long
@pytest.mark.parametrize("place, key", [("netrc", "short"), ("environment", "0123456789" * 4)])
def test_bad_key_or_no_network_ends_in_a_line_and_an_offline_run(tmp_path, monkeypatch, key, place):
    """40 characters look like a key; nothing listens at the address, as without a network."""
    if place == "environment":
        monkeypatch.setenv("WANDB_API_KEY", key)
    else:
        (tmp_path / "home" / "netrc").write_text(f"machine 127.0.0.1 login user password {key}\n")
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    done = subprocess.run([sys.executable, SCRIPT, tmp_path / "run", "2", "tracked"], check=True,
                          capture_output=True, text=True, timeout=HANG)
    lines = [line for line in done.stdout.splitlines() if "Weights & Biases" in line]
    assert len(lines) == 2 and "recording offline instead" in lines[0] and "wandb sync" in lines[1]
    assert (tmp_path / "run" / "generator.keras").exists() and len(offline_runs(tmp_path / "run")) == 1


def test_tracker_that_breaks_in_the_middle_does_not_stop_the_run(tmp_path, quick_steps, monkeypatch, capsys):
    import wandb
    original = wandb.Image
    calls = []

    def breaking(*args, **kwargs):
        calls.append(1)
        if len(calls) == 2:
            raise RuntimeError("server answered garbage")
        return original(*args, **kwargs)

    monkeypatch.setattr(wandb, "Image", breaking)
    history = train_small(tmp_path / "run", 4, tracking=True)
    out = capsys.readouterr().out
    assert out.count("Weights & Biases: server answered garbage; not tracked from here on") == 1
    assert len(history) == 4 and len(calls) == 2


def test_wandb_missing_is_no_obstacle(tmp_path, quick_steps, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "wandb", None)
    assert len(train_small(tmp_path / "run", 2, tracking=True)) == 2
    assert "not tracked from here on" in capsys.readouterr().out


@pytest.fixture
def settings_files(tmp_path, monkeypatch):
    """Where a mode may be saved, with wandb's own command or by hand, by the name of the place."""
    import wandb
    monkeypatch.setattr(tracking, "ROOT", tmp_path / "project")
    for folder in ("project", "project/notebooks"):
        (tmp_path / folder / "wandb").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "project" / "notebooks")
    wandb.teardown()  # it would remember the settings of another test
    folders = {"notebooks": "project/notebooks/wandb", "project": "project/wandb", "user": "home"}
    yield {place: tmp_path / folder / "settings" for place, folder in folders.items()}
    wandb.teardown()


@pytest.mark.parametrize("variable, saved, key, tried", [
    (None, {"project": "disabled"}, True, []),
    (None, {"user": "disabled"}, False, []),
    (None, {"notebooks": "offline", "user": "disabled"}, True, ["offline"]),
    (None, {"project": "offline"}, True, ["offline"]),
    (None, {"project": "online"}, False, ["offline"]),  # `wandb enabled` takes `wandb disabled` back, no more
    (None, {}, True, ["online", "offline"]),
    ("", {}, False, ["offline"]),
    ("offline", {"project": "disabled"}, True, ["offline"]),
    ("online", {}, False, ["online", "offline"]),
    (" Disabled", {}, True, []),
    ("banana", {}, True, ["offline"]),
    (None, {"notebooks": "banana"}, True, ["offline"])])
def test_a_mode_is_honoured_wherever_it_was_set(settings_files, tmp_path, monkeypatch, capsys, variable, saved, key,
                                                tried):
    import wandb
    for place, mode in saved.items():
        settings_files[place].write_text(f"[default]\nmode = {mode}\n")
    for name, value in (("WANDB_MODE", variable), ("WANDB_API_KEY", "0123456789" * 4 if key else None)):
        if value is not None:
            monkeypatch.setenv(name, value)
    modes = []

    def init(mode, **options):
        modes.append(mode)
        raise RuntimeError("that is enough")

    monkeypatch.setattr(wandb, "init", init)
    tracking.Tracker(tmp_path / "run", {"run_id": "abcd"}, "project", None)
    assert modes == tried
    lines = capsys.readouterr().out.splitlines()
    assert tried or not lines
    named = [line for line in lines if "is 'banana'; wanted one of online, offline, disabled" in line]
    assert len(named) == ("banana" in str((variable, saved))) and all("recording offline" in line for line in named)


def test_the_command_of_wandb_switches_off_and_a_bad_mode_is_named_and_records(settings_files, tmp_path, monkeypatch,
                                                                              quick_steps, capsys):
    subprocess.run([Path(sys.executable).with_name("wandb"), "disabled"], cwd=tmp_path / "project", check=True)
    train_small(tmp_path / "run", 1, tracking=True)
    assert not (tmp_path / "run" / "wandb").exists()
    monkeypatch.setenv("WANDB_MODE", "banana")
    train_small(tmp_path / "run", 2, tracking=True)
    lines = [line for line in capsys.readouterr().out.splitlines() if "Weights & Biases" in line]
    assert len(lines) == 2 and "WANDB_MODE is 'banana'" in lines[0] and "wandb sync" in lines[1]
    assert len(offline_runs(tmp_path / "run")) == 1


@pytest.mark.parametrize("options, mode", [({"tracking": False}, None), ({"tracking": True}, "disabled")])
def test_no_tracking_leaves_no_trace(tmp_path, quick_steps, monkeypatch, options, mode):
    if mode:
        monkeypatch.setenv("WANDB_MODE", mode)
    train_small(tmp_path / "run", 2, **options)
    assert not (tmp_path / "run" / "wandb").exists()
