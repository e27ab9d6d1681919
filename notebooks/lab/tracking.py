"""Weights & Biases: the tracker of a run, online with a key, else offline; used by lab.runs (notebooks from 04 on)."""

import contextlib
import netrc
import os
import urllib.parse
from pathlib import Path

import imageio.v3 as imageio
import keras

from lab.files import first_line, grid_path, shown_path


class Tracker(keras.callbacks.Callback):
    """Weights & Biases, or nothing: whatever goes wrong with it ends in one line, never in an exception or a wait.

    Records the logs of each epoch, grids, the GIF and the generator; begins when it is made, by the run's `config`.
    Nothing is recorded where `project` is None or `WANDB_MODE` says "disabled".
    """

    def __init__(self, run_dir, config, project, group):
        super().__init__()
        self.run_dir, self.run = run_dir, None
        if project is None or os.environ.get("WANDB_MODE") == "disabled":
            return
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")  # reports would wait for a silent server at the end
        with self._guarded():
            import wandb
            self.wandb = wandb
            for mode in dict.fromkeys((os.environ.get("WANDB_MODE") or _wandb_mode(wandb), "offline")):
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
    """"online" if there is a key in the environment, in wandb's settings or in .netrc; else "offline"."""
    settings = wandb.setup().settings
    if settings.api_key:
        return "online"
    with contextlib.suppress(OSError, netrc.NetrcParseError):
        if netrc.netrc(os.environ.get("NETRC")).authenticators(urllib.parse.urlsplit(settings.base_url).hostname):
            return "online"
    return "offline"
