"""What happens after each epoch of a run, a Keras callback each; used by lab.runs (notebooks from 04 on).

Epochs are counted from 1 in files and in what is shown; Keras counts from 0. `on_epoch_end(-1, {})` is the state before
training. `due(epoch)` says whether an epoch gets a picture and a checkpoint.
"""

import csv
import math
import shutil
import sys
import time

import imageio.v3 as imageio
import keras
import tensorflow as tf
from tqdm import tqdm

from dcgan_utils import METRICS, make_grid, save_gif, to_uint8
from lab.files import epoch_of, first_line, grid_path, plural, replacing, shown_path, step_grids, whole_lines, writing

COLUMNS = ("epoch", "step", "seconds", *METRICS, "g_accuracy", "frechet_distance", "diversity")


class StopAtNaN(keras.callbacks.Callback):
    """Raise a FloatingPointError as soon as a loss is NaN or infinite."""

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch + 1

    def on_train_batch_end(self, batch, logs):
        if not math.isfinite(logs["loss"]):
            raise FloatingPointError(f"a loss became NaN or infinite in epoch {self.epoch}, by step {batch}: "
                                     f"d_loss {logs['d_loss']}, g_loss {logs['g_loss']}")


class Metrics(keras.callbacks.Callback):
    """`metrics.csv`, a row an epoch; `rows` are its rows, `write=False` keeps them in memory alone.

    The file is written whole at first, and after that a row is appended, as long as nobody else changes its size.
    """

    def __init__(self, run_dir, steps_per_epoch, write=True):
        super().__init__()
        self.path, self.steps_per_epoch, self.write, self.rows = run_dir / "metrics.csv", steps_per_epoch, write, []
        self.size = None  # of the file as this object left it, in bytes

    def on_epoch_begin(self, epoch, logs=None):
        self.started = time.perf_counter()

    def on_train_batch_end(self, batch, logs=None):
        self.trained = time.perf_counter()

    def on_epoch_end(self, epoch, logs):
        if epoch >= 0:
            logs["step"], logs["seconds"] = (epoch + 1) * self.steps_per_epoch, round(self.trained - self.started, 3)
            logs["g_accuracy"] = 1 - logs["d_fake_accuracy"]
            self.rows.append({"epoch": epoch + 1, **{name: logs.get(name, "") for name in COLUMNS[1:]}})
        if self.write:
            if self.path.exists() and self.path.stat().st_size == self.size:
                with writing(self.path), open(self.path, "a", newline="") as file:
                    csv.DictWriter(file, COLUMNS).writerow(self.rows[-1])
            else:
                with replacing(self.path) as partial, open(partial, "w", newline="") as file:
                    writer = csv.DictWriter(file, COLUMNS)
                    writer.writeheader()
                    writer.writerows(self.rows)
            self.size = self.path.stat().st_size

    def read(self):
        """The rows of the file, each a dict of strings; none if there is no file."""
        return list(csv.DictReader(whole_lines(self.path).splitlines())) if self.path.exists() else []

    def best_epoch(self):
        """The epoch of the lowest distance so far; the last epoch, if none was measured."""
        distances = {epoch: float(row["frechet_distance"]) for epoch, row in enumerate(self.rows, 1)
                     if row["frechet_distance"] != ""}
        return min(distances, key=distances.get) if distances else len(self.rows)


class KeepBest(keras.callbacks.Callback):
    """Copy a generator's weights into `best` in every n-th epoch whose distance is the lowest so far."""

    def __init__(self, generator, best, metrics, every):
        super().__init__()
        self.generator, self.best, self.metrics, self.every = generator, best, metrics, every

    def on_epoch_end(self, epoch, logs=None):
        if epoch >= 0 and (epoch + 1) % self.every == 0 and self.metrics.best_epoch() == epoch + 1:
            self.best.set_weights(self.generator.get_weights())


class Pictures(keras.callbacks.Callback):
    """Grids of the same `inputs` of the generator, such as noise, in `grids/`, and the GIF of them.

    After each epoch that is due, and before the `every`-th one at the end of each call in which the number of steps
    passes a power of two: of calls of 16 steps, after 16, 32, 64 and so on.
    """

    def __init__(self, run_dir, generator, inputs, due, on_picture, every, steps_per_epoch, columns=8):
        super().__init__()
        self.run_dir, self.generator, self.inputs, self.columns = run_dir, generator, inputs, columns
        self.due, self.on_picture, self.every, self.steps_per_epoch = due, on_picture, every, steps_per_epoch

    def on_epoch_begin(self, epoch, logs=None):
        self.steps = epoch * self.steps_per_epoch

    def on_train_batch_end(self, batch, logs=None):
        before, self.steps = self.steps, batch + 1
        if self.steps < self.every * self.steps_per_epoch and self.steps.bit_length() > before.bit_length():
            self._draw(grid_path(self.run_dir, self.steps, "step"))

    def on_epoch_end(self, epoch, logs=None):
        if self.due(epoch + 1):
            self._draw(grid_path(self.run_dir, epoch + 1))

    def _draw(self, path):
        grid = make_grid(to_uint8(self.generator(self.inputs, training=False)), self.columns)
        with replacing(path) as partial:
            imageio.imwrite(partial, grid.squeeze())
        self.on_picture(path)

    def assemble(self, last, caption):
        """Write `training.gif`, at most 61 epochs of it, as of an epoch; `caption(epoch)` stands above each."""
        pictured = [*range(0, last, self.every), last]
        stride = math.ceil((len(pictured) - 1) / 60) or 1
        shown = [*pictured[:-1:stride], last]
        frames = [(grid_path(self.run_dir, epoch), caption(epoch)) for epoch in shown]
        early = [(path, f"step {step}") for step, path in step_grids(self.run_dir).items()
                 if step < last * self.steps_per_epoch]
        frames[1:1] = early
        with replacing(self.run_dir / "training.gif") as partial:
            save_gif([imageio.imread(path) for path, _ in frames], partial, captions=[text for _, text in frames])
        for path in (self.run_dir / "grids").glob("epoch_*.png"):  # the last one of a shorter run that went on
            if epoch_of(path) not in pictured:
                path.unlink()
        print(f"{shown_path(self.run_dir / 'training.gif')}: {len(frames)} frames, one every "
              f"{plural(self.every * stride, 'epoch')}" + (f" and {len(early)} before the first" if early else ""))


class Checkpoints(keras.callbacks.Callback):
    """The newest two states of all variables of `holders` (nets and optimisers) in `checkpoints/`, and the way back."""

    def __init__(self, run_dir, holders, metrics, due):
        super().__init__()
        self.run_dir, self.metrics, self.due = run_dir, metrics, due
        self.checkpoint = tf.train.Checkpoint(**{
            f"variables_{i}": [variable.value for variable in holder.variables] for i, holder in enumerate(holders)})

    def on_epoch_end(self, epoch, logs=None):
        if self.due(epoch + 1):
            with replacing(self.run_dir / "checkpoints" / f"epoch_{epoch + 1:04d}") as partial:
                partial.mkdir()
                self.checkpoint.write(str(partial / "state"))
            for old in self._newest_first()[2:]:
                shutil.rmtree(old)

    def _newest_first(self):
        return sorted((self.run_dir / "checkpoints").glob("epoch_*"), key=epoch_of, reverse=True)

    def restore(self):
        """Load the newest whole checkpoint and the metrics up to it; its epoch, or 0 if the run is new."""
        folders, rows = self._newest_first(), self.metrics.read()
        for folder in folders:
            epoch = epoch_of(folder)
            try:
                if [row.get("epoch") for row in rows[:epoch]] != [str(i + 1) for i in range(epoch)]:
                    raise ValueError(f"{self.metrics.path.name} lacks rows for its {plural(epoch, 'epoch')}")
                self.checkpoint.read(str(folder / "state")).assert_consumed()
            except Exception as error:  # TensorFlow has many kinds for a damaged file, IndexError among them
                print(f"{shown_path(folder)} cannot be used ({first_line(error)}); falling back to the one before.")
                continue
            self.metrics.rows = rows[:epoch]
            return epoch
        if folders or rows:
            raise RuntimeError(f"{shown_path(self.run_dir)} holds a run, but no checkpoint that can be used, for the "
                               "reasons above. Its pictures and metrics are kept: restore metrics.csv and "
                               "checkpoints/, or choose another run folder.")
        return 0


class Progress(keras.callbacks.Callback):
    """A bar of the steps, and a line an epoch."""

    def __init__(self, done, epochs, steps_per_epoch):
        super().__init__()
        self.epochs, self.first_step = epochs, done * steps_per_epoch
        self.bar = tqdm(total=(epochs - done) * steps_per_epoch, file=sys.stdout, leave=False, unit="step",
                        mininterval=0.5)

    def on_epoch_begin(self, epoch, logs=None):
        self.bar.set_description(f"epoch {epoch + 1}/{self.epochs}", refresh=False)

    def on_train_batch_end(self, batch, logs=None):
        self.bar.update(batch + 1 - self.first_step - self.bar.n)

    def on_epoch_end(self, epoch, logs):
        distance = f"distance {logs['frechet_distance']:.2f}  " if "frechet_distance" in logs else ""
        with self.bar.external_write_mode(file=sys.stdout):
            print(f"epoch {epoch + 1:3d}  d_loss {logs['d_loss']:.3f}  g_loss {logs['g_loss']:.3f}  "
                  f"D says real: {logs['d_real_mean']:.2f} of real, {logs['d_fake_mean']:.2f} of generated  "
                  f"{distance}{logs['seconds']:.1f} s")
