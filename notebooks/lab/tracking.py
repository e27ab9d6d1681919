"""Weights & Biases: the tracker of a run, online with a key, else offline; used by lab.runs (notebooks from 04 on)."""

import configparser
import contextlib
import netrc
import os
import urllib.parse
from pathlib import Path

import imageio.v3 as imageio
import keras

from lab.files import ROOT, first_line, grid_path, shown_path

MODES = ("online", "offline", "disabled", "shared", "dryrun", "run")


class Tracker(keras.callbacks.Callback):
    """Weights & Biases, or nothing: whatever goes wrong with it ends in one line, never in an exception or a wait.

    Records the logs of each epoch, grids, the GIF and the generator; begins when it is made, by the run's `config`.
    Nothing is recorded where `project` is None, or where `WANDB_MODE`, or else what `wandb disabled` saved, says so.
    """

    def __init__(self, run_dir, config, project, group):
        super().__init__()
        self.run_dir, self.run = run_dir, None
        if project is None or os.environ.get("WANDB_MODE") == "disabled":
            return
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")  # reports would wait for a silent server at the end
        with self._guarded():
            import wandb
            self.wandb, wanted = wandb, _wandb_mode(wandb)
            if wanted == "disabled":
                return
            for mode in dict.fromkeys((wanted, "offline")):
                try:
                    self.run = wandb.init(
                        project=project, group=group, dir=run_dir, mode=mode, id=config["run_id"], name=run_dir.name,
                        resume="allow", config={name: value for name, value in config.items() if name != "run_id"},
                        settings=wandb.Settings(silent=True, console="off", finish_timeout=30,
                                                init_timeout=float(os.environ.get("WANDB_INIT_TIMEOUT", 15))))
                    break
                except Exception as error:
                    if mode == "offline":
                        raise
                    print(f"Weights & Biases: {first_line(error)}; recording offline instead.")
                    with contextlib.suppress(Exception):  # its process may have ended by what the server sent
                        wandb.teardown()  # or the run counts as begun
            self.run.define_metric("*", step_metric="epoch")
            self.run.define_metric("frechet_distance", step_metric="epoch", summary="min,last")
            if self.run.offline:
                folder = shown_path(Path(self.run.dir).parent)
                print(f"Weights & Biases: offline, in {folder}; `wandb sync` uploads it.")
            else:
                print(f"Weights & Biases: {self.run.url}")

    @contextlib.contextmanager
    def _guarded(self):
        try:
            yield
        except Exception as error:
            self.run = None
            print(f"Weights & Biases: {first_line(error)}; not tracked from here on, training is not affected.")

    def on_epoch_end(self, epoch, logs):
        if self.run:
            with self._guarded():
                row, grid = {**logs, "epoch": epoch + 1}, grid_path(self.run_dir, epoch + 1)
                if grid.exists():
                    row["grid"] = self.wandb.Image(imageio.imread(grid), caption=f"epoch {epoch + 1}")
                self.run.log(row)

    def record_results(self):
        """Record the run's GIF and its generator."""
        if self.run:
            with self._guarded():
                self.run.log({"training": self.wandb.Video(str(self.run_dir / "training.gif"), format="gif")})
                artifact = self.wandb.Artifact(f"generator-{self.run.id}", type="model")
                artifact.add_file(str(self.run_dir / "generator.keras"))
                self.run.log_artifact(artifact)

    def close(self):
        if self.run:
            with self._guarded():
                self.run.finish()


def _wandb_mode(wandb):
    """`WANDB_MODE`, or else what `wandb disabled` or `wandb offline` saved, or else "online" if a key is found."""
    asked = _known_mode("WANDB_MODE", os.environ.pop("WANDB_MODE", ""))
    if asked:
        os.environ["WANDB_MODE"] = asked  # with another spelling, wandb refuses whatever is asked of it
    else:
        asked = _known_mode(*_saved_mode(wandb))
    if asked and (asked != "online" or "WANDB_MODE" in os.environ):
        return asked
    return "online" if _has_key(wandb.setup().settings) else "offline"


def _known_mode(name, mode):
    """The mode as wandb spells it, "" if there is none; "offline", with a line, for one that it does not know."""
    if mode.strip().lower() in ("", *MODES):
        return mode.strip().lower()
    print(f"Weights & Biases: {name} is {mode!r}; wanted one of {', '.join(MODES)}; recording offline instead.")
    return "offline"


def _saved_mode(wandb):
    """The nearest settings file that has a mode, and the mode: of the working folder, the project or the user."""
    settings, project = wandb.setup().settings, wandb.Settings(root_dir=str(ROOT))
    for path in (settings.settings_workspace, project.settings_workspace, settings.settings_system):
        parser = configparser.ConfigParser()
        parser.read(path)
        if parser.has_option("default", "mode"):
            return f"mode in {shown_path(path)}", parser["default"]["mode"]
    return "", ""


def _has_key(settings):
    """Whether there is a key in the environment, in wandb's settings or in .netrc."""
    if settings.api_key:
        return True
    with contextlib.suppress(OSError, netrc.NetrcParseError):
        host = urllib.parse.urlsplit(settings.base_url).hostname
        return bool(netrc.netrc(os.environ.get("NETRC")).authenticators(host))
    return False
