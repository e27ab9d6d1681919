"""A run and its folder: `train`, which is notebook 04's loop with pictures, checkpoints, distance; used from 04 on."""

import contextlib
import functools
import io
import math
from pathlib import Path

import filelock
import keras
import pandas as pd
import tensorflow as tf

import dcgan_utils as dcgan
from lab import callbacks as after_each_epoch
from lab import compiling
from lab.conditional import grid_inputs, is_conditional
from lab.datasets import as_dataset, default_epochs
from lab.files import plural, readable, replacing, shown_path, whole_lines, write_json
from lab.measuring_net import Distance, MeasuringNet, load_measuring_net
from lab.net_configs import save_net
from lab.overfitting import Overfitting, begun
from lab.replicas import check_replicas, is_chief, on_all_replicas, wait_for_all_workers
from lab.settings import agree_on_config, check_nets, check_settings, described, name_of, other_images
from lab.step_parts import EveryNth, WithOwnLosses, WithPenalty, falling, handing_on_labels, on_images, with_weight
from lab.tracking import Tracker


def train(generator, discriminator, data, run_dir, *, epochs=None, batch_size=32, learning_rate=1e-3, beta_1=0.0,
          beta_2=0.99, averaging=0.9995, seed=0, generator_learning_rate=None, decay_epochs=None,
          losses=(dcgan.discriminator_loss, dcgan.generator_loss), penalty=None, generator_every=1,
          discriminator_every=1, picture_every=None, on_picture=None, measuring_net=None, reference=None,
          held_out=None, tracking=True, wandb_project="dcgan-course", wandb_group=None, callbacks=(), compiled=None):
    """Train both nets and write the run's folder; go on where an earlier call stopped, bit for bit.

    The folder gets `config.json`, `metrics.csv` (a row an epoch), `grids/epoch_0000.png` (before training) and
    onwards, `grids/step_0016.png` and so on (whenever the steps pass a power of two, up to the first epoch with a
    picture), `training.gif`, `generator.keras` (the averaged generator of the best epoch, by the Frechet distance that
    is measured with each epoch's picture; of the last epoch, if it is not measured), `generator_last.keras` and
    `checkpoints/` (the newest two). Training starts from the nets' present weights, so build new nets for a new run.

    Everything drawn at random depends on (seed, step) or (seed, epoch) alone, so a run that is cut off, even by
    `kill -9`, and called again with the same settings ends as one that was not. To that end TensorFlow's op determinism
    is switched on, but for uncompiled steps on a GPU: there the order of the images and the noise are the same again,
    but sums may round differently.

    Args:
        generator, discriminator: nets of `build_generator` and `build_discriminator`, or of the same contract; or both
            of `lab.conditional`, which are told the labels of the data, and whose grid has a column for each class.
        data: a `Dataset`, or a uint8 array `(n, height, width, channels)`.
        run_dir: the folder; made if missing. Under `tf.distribute`, all workers must reach it, and the chief writes.
        epochs: how many in all, earlier calls included; default `default_epochs(len(images))`.
        batch_size: images in a step, of all replicas together; an epoch's last batch holds what is left.
        learning_rate, beta_1, beta_2: of Adam, the same for both nets.
        decay_epochs: in so many epochs both rates fall linearly to a twentieth, and stay there; None: constant.
        generator_learning_rate: another rate for the generator than for the discriminator.
        averaging: see `dcgan_utils.make_average`.
        seed: of the order of the images and of the noise.
        losses: see `dcgan_utils.make_train_step`; the discriminator's may be one with a memory of `lab.overfitting`.
        penalty: None, or a function of the discriminator, real images and generated ones whose scalar is added to the
            discriminator's loss.
        generator_every, discriminator_every: a net learns in each n-th step only.
        picture_every: epochs between pictures and checkpoints; by default one for every 10,000 images, so 1 for
            10,000 images or more. The last epoch always has one.
        on_picture: called with the path of each grid as soon as it is written, to show it.
        measuring_net: the `MeasuringNet` of the distance. None looks for one with `load_measuring_net`, and goes
            without if there is none; False goes without.
        reference: a `Dataset` or images like `data`, to which the distance is measured; default `data`. For few
            training images, since of a fifth as many a distance says little.
        held_out: a `Dataset` or images like `data` that are not trained on, for verdicts in `overfitting.csv`.
        tracking: record to Weights & Biases: online if a key is found, else offline; `WANDB_MODE` decides if set.
        wandb_project, wandb_group: its project, and the group of runs that this one belongs to.
        callbacks: Keras callbacks of your own, called after the run's; their `model` is the generator.
        compiled: whether XLA makes one program of many steps. By default a run goes on as it began, and begins
            compiled on a single GPU if it has at least `lab.compiling.PAYS_FROM` steps.

    Returns:
        The metrics as a pandas DataFrame, one row an epoch, columns as in `metrics.csv`.

    Raises:
        ValueError: an illegal argument, or a folder whose run has other settings; the differences are listed.
        RuntimeError: another process trains in this folder, none of its checkpoints can be used, or, under
            `tf.distribute`, another worker is gone.
        FloatingPointError: a loss became NaN or infinite; names epoch and step.
        OSError: the folder cannot be written to; earlier files are intact.
        KeyboardInterrupt: stopped by the user, after pictures and generator are saved.
    """
    data = as_dataset(data)
    count = len(data.images)
    epochs = default_epochs(count) if epochs is None else epochs
    picture_every = max(1, round(10_000 / count)) if picture_every is None else picture_every
    generator_learning_rate = learning_rate if generator_learning_rate is None else generator_learning_rate
    decay = {} if decay_epochs is None else {"decay_epochs": decay_epochs}
    check_settings(
        count, epochs=epochs, batch_size=batch_size, picture_every=picture_every, learning_rate=learning_rate,
        generator_learning_rate=generator_learning_rate, beta_1=beta_1, beta_2=beta_2, averaging=averaging, seed=seed,
        losses=losses, penalty=penalty, generator_every=generator_every, discriminator_every=discriminator_every,
        compiled=compiled, **decay)
    check_nets(generator, discriminator, data)
    others = other_images(data, reference=reference, held_out=held_out)
    if "held_out" in others:
        check_nets(generator, discriminator, others["held_out"])
    begun(losses[0], discriminator)  # refuses nets with which it cannot begin
    check_replicas(generator, count % batch_size or batch_size, generator_every, discriminator_every)
    net = _find_measuring_net(data, measuring_net)
    run_dir = Path(run_dir)
    with _locked(run_dir) if is_chief() else contextlib.redirect_stdout(io.StringIO()):
        settings = {
            **described(generator, discriminator, data, others),
            "batch_size": int(batch_size), "learning_rate": float(learning_rate),
            "generator_learning_rate": float(generator_learning_rate),
            "beta_1": float(beta_1), "beta_2": float(beta_2), "averaging": float(averaging), "seed": int(seed),
            "losses": [name_of(loss) for loss in losses], "penalty": name_of(penalty),
            "generator_every": int(generator_every), "discriminator_every": int(discriminator_every),
            "picture_every": int(picture_every), "measuring_net": net.name if net else None, **decay}
        pays = compiling.pays(epochs * math.ceil(count / batch_size))
        nets = {"generator": generator, "discriminator": discriminator}
        config = agree_on_config(run_dir, settings, nets, epochs, data, is_chief(), compiled, pays)
        if config["compiled"] or not compiling.has_gpu():  # 7 % of a compiled step on an H100; else not measured
            tf.config.experimental.enable_op_determinism()
        run = _Run(generator, discriminator, data, others, run_dir, config, net, losses, penalty, epochs,
                   on_picture or (lambda path: None))
        run.go_on(wandb_project if tracking and is_chief() else None, wandb_group, callbacks)
        wait_for_all_workers()
        return load_history(run_dir)


def _find_measuring_net(data, measuring_net):
    """The net to measure with, or None."""
    if measuring_net is None:
        try:
            return load_measuring_net(data)
        except (LookupError, FileNotFoundError) as error:
            print(f"No Frechet distance: {error.args[0]}")
            return None
    if measuring_net is not False and not isinstance(measuring_net, MeasuringNet):
        raise ValueError(f"measuring_net is {measuring_net!r}; wanted a MeasuringNet, None or False.")
    if measuring_net and measuring_net.model.input_shape[1:] != data.image_shape:
        raise ValueError(f"measuring net {measuring_net.name} is made for images of shape "
                         f"{measuring_net.model.input_shape[1:]}, the data are {data.image_shape}.")
    return measuring_net or None


@contextlib.contextmanager
def _locked(run_dir):
    """Make the folder and keep other processes from training in it; the lock goes with the process, however it ends."""
    try:
        run_dir.mkdir(parents=True, exist_ok=True)
        lock = filelock.FileLock(run_dir / ".lock").acquire(timeout=0)
    except filelock.Timeout:
        raise RuntimeError(f"another process is training in {shown_path(run_dir)}: wait for it, stop it, or choose "
                           "another run folder.") from None
    except OSError as error:
        raise OSError(error.errno, f"cannot write to {shown_path(run_dir)}: {error.strerror}. Make it writable or "
                                   "choose another run folder") from error
    with lock:
        yield


def compose_step(generator, discriminator, optimizers, averaged, images, *, labels=None, seed=0, averaging=0.9995,
                 losses=(dcgan.discriminator_loss, dcgan.generator_loss), penalty=None, generator_every=1,
                 discriminator_every=1, compiled=None, give_up=print):
    """Notebook 04's train step with all that a run adds to it, on all replicas of the present strategy.

    Args:
        optimizers: the generator's and the discriminator's; a `LossScaleOptimizer` gets its loss scaled.
        averaged, averaging: a clone of the generator that follows it, see `dcgan_utils.make_average`.
        images, labels, seed: see `dcgan_utils.make_steps`; with labels, for the nets of `lab.conditional`. The others
            are those of `train`.
        compiled, give_up: the shape of the calls that XLA compiles, if any, and whom to tell if it cannot; see
            `CompiledSteps`.

    Returns:
        `(steps, holders)`: what `dcgan_utils.make_steps` returns, and what is to be saved besides the nets: the two
        optimisers and, where it has one, the memory of the discriminator's loss.
    """
    (d_loss, g_loss), drawing, asked = losses, generator, discriminator
    d_loss, memory = begun(d_loss, discriminator)
    if labels is not None:
        drawing, asked = handing_on_labels(generator), WithOwnLosses(discriminator)
        d_loss, g_loss = asked.losses(d_loss, g_loss)
        penalty = penalty and on_images(penalty, discriminator)
    if penalty:
        asked = WithPenalty(asked, penalty)
        d_loss = asked.loss(d_loss)
    if any(isinstance(optimizer, keras.optimizers.LossScaleOptimizer) for optimizer in optimizers):
        g_loss, d_loss = (with_weight(loss, optimizer.scale_loss)
                          for loss, optimizer in zip((g_loss, d_loss), optimizers))
    optimizers = [optimizer if every == 1 else EveryNth(optimizer, every)
                  for optimizer, every in zip(optimizers, (generator_every, discriminator_every))]
    make_step = functools.partial(dcgan.make_train_step, drawing, asked, *optimizers)
    average = dcgan.make_average(generator, averaged, averaging)
    if tf.distribute.has_strategy():
        train_step, average = on_all_replicas(make_step, (d_loss, g_loss), average)
    else:
        train_step = make_step((d_loss, g_loss))
    make_steps = functools.partial(dcgan.make_steps, train_step, tf.constant(images), generator.inputs[0].shape[-1],
                                   labels=labels, seed=seed, after_step=average)
    steps = compiling.CompiledSteps(make_steps, compiled, give_up) if compiled else make_steps()
    return steps, [*optimizers, *memory]


class _Run:
    """What one call of `train` holds on to: nets, callbacks, folder."""

    def __init__(self, generator, discriminator, data, others, run_dir, config, net, losses, penalty, epochs,
                 on_picture):
        settings, self.every, count = config["settings"], config["settings"]["picture_every"], len(data.images)
        self.generator, self.count, self.run_dir, self.config, self.epochs = generator, count, run_dir, config, epochs
        self.averaged, self.best = (keras.models.clone_model(generator) for _ in range(2))
        for copy in (self.averaged, self.best):
            copy.set_weights(generator.get_weights())
        self.steps_per_epoch = math.ceil(count / settings["batch_size"])
        falls = settings.get("decay_epochs", 0) * self.steps_per_epoch
        optimizers = [keras.optimizers.Adam(falling(settings[rate], falls), settings["beta_1"], settings["beta_2"])
                      for rate in ("generator_learning_rate", "learning_rate")]
        if any(layer.compute_dtype == "float16" for net in (generator, discriminator) for layer in net.layers):
            optimizers = [keras.optimizers.LossScaleOptimizer(optimizer) for optimizer in optimizers]
        labels, self.at_a_time = data.labels if is_conditional(generator) else None, 16
        if config["compiled"]:
            self.at_a_time = compiling.steps_in_a_program(count // settings["batch_size"])
        self.steps, holders = compose_step(
            generator, discriminator, optimizers, self.averaged, data.images, labels=labels, losses=losses,
            penalty=penalty, give_up=self._give_up,
            compiled=(self.at_a_time, settings["batch_size"]) if config["compiled"] else None,
            **{name: settings[name] for name in ("seed", "averaging", "generator_every", "discriminator_every")})
        generator.optimizer = holders[0]  # where Keras' callbacks look for the learning rate
        drawn, columns = grid_inputs(generator, len(data.class_names), seed=settings["seed"])
        self.distance, reference = None, others.get("reference", data).images
        if net and len(reference) >= 10:
            self.distance = Distance(net, reference, self.averaged, settings["seed"], self._due, labels)
        self.measured = [self.distance] if self.distance else []
        if "held_out" in others:
            self.measured += [Overfitting(run_dir, generator, discriminator, data, others["held_out"],
                                          settings["seed"], self._due, self.every, write=is_chief())]
        self.metrics = after_each_epoch.Metrics(run_dir, self.steps_per_epoch, write=is_chief())
        self.pictures = after_each_epoch.Pictures(run_dir, self.averaged, drawn, self._due, on_picture,
                                                  self.every, self.steps_per_epoch, columns)
        self.checkpoints = after_each_epoch.Checkpoints(
            run_dir, (generator, discriminator, self.averaged, self.best, *holders), self.metrics, self._due)

    def _give_up(self, reason):
        """Go on uncompiled, from now on and when the run goes on."""
        print(f"XLA cannot compile these steps ({reason}): they run uncompiled.")
        self.config["compiled"] = False
        if is_chief():
            write_json(self.run_dir / "config.json", self.config)

    def _due(self, epoch):
        return epoch % self.every == 0 or epoch == self.epochs

    def go_on(self, wandb_project, wandb_group, callbacks):
        """Train up to the run's epochs, from the newest whole checkpoint."""
        done, shown = self.checkpoints.restore(), shown_path(self.run_dir)
        if done >= self.epochs:
            print(f"{shown} has {done} epochs already; nothing to train.")
            return self._finish(done)  # a kill may have come before it
        if done:
            if done % self.every:  # an undisturbed run measures nothing there
                self.metrics.rows[-1] |= {"frechet_distance": "", "diversity": ""}
            print(f"{shown}: going on after epoch {done}.")
        print(f"Up to epoch {self.epochs}, {self.steps_per_epoch} steps each; a picture and a checkpoint every "
              f"{plural(self.every, 'epoch')}.")
        if self.config["compiled"]:
            print(f"Compiled: {self.at_a_time} steps are one XLA program, which takes 10 to 40 s once; the last few of "
                  "an epoch run uncompiled.")
        elif compiling.has_gpu():
            print("Not compiled, step by step; compiled=True in a new run folder compiles all the same.")
        tracker = Tracker(self.run_dir, self.config, wandb_project, wandb_group)
        writers = [self.pictures, self.checkpoints, tracker] if is_chief() else []
        best = after_each_epoch.KeepBest(self.averaged, self.best, self.metrics, self.every)
        self._before_training(done, [self.metrics, *writers])
        progress = after_each_epoch.Progress(done, self.epochs, self.steps_per_epoch)
        try:
            dcgan.train_loop(
                self.steps, self.generator, self.count, epochs=self.epochs, initial_epoch=done,
                batch_size=self.config["settings"]["batch_size"], seed=self.config["settings"]["seed"],
                at_a_time=self.at_a_time,
                callbacks=[after_each_epoch.StopAtNaN(), *self.measured, self.metrics, best, *writers, progress,
                           *callbacks])
            progress.bar.close()
            if self.distance:
                self.distance.print_cost(sum(row["seconds"] for row in self.metrics.rows[done:]))
            reached = len(self.metrics.rows)  # a callback may have stopped it between two checkpoints
            self._finish(reached if self._due(reached) else self.checkpoints.restore(), tracker)
        except (KeyboardInterrupt, FloatingPointError) as error:
            progress.bar.close()
            stopped_in, kept = len(self.metrics.rows) + 1, self.checkpoints.restore()
            self._finish(kept, tracker)
            hint = (f"Pictures, generator and checkpoints up to epoch {kept} are kept in {shown}. "
                    + ("Train again with the same settings to go on from there." if isinstance(error, KeyboardInterrupt)
                       else "Choose a lower learning rate and another run folder."))
            raise type(error)(f"{error if error.args else f'stopped in epoch {stopped_in}'}. {hint}") from None
        except tf.errors.OpError as error:
            if not tf.distribute.has_strategy():
                raise
            raise RuntimeError(f"the replicas lost each other in epoch {len(self.metrics.rows) + 1}: a worker ended or "
                               "is out of reach. Start all of them again: the run goes on from the last "
                               "checkpoint.") from error
        finally:
            progress.bar.close()
            tracker.close()

    def _before_training(self, done, writers):
        """Measure and save the state before the first epoch, if this is it, and say what is measured by what."""
        if self.distance and not done:
            self.config["frechet_distance"] = {
                "images": self.distance.count, "real_against_real": self.distance.floor,
                "before_training": self.distance.measure()[0]}
            if is_chief():
                write_json(self.run_dir / "config.json", self.config)
        for callback in writers if not done else ():
            callback.on_epoch_end(-1, {})
        if self.distance:
            net, known = self.distance.net, self.config["frechet_distance"]
            print(f"Frechet distance of {known['images']:,} images by {net.name}: real against real "
                  f"{known['real_against_real']:.2f}, before training {known['before_training']:.1f}."
                  + ("" if net.comparable else " This net is your own: its distances compare only with each other."))

    def _caption(self, epoch):
        distance = (self.metrics.rows[epoch - 1]["frechet_distance"] if epoch
                    else self.config.get("frechet_distance", {}).get("before_training", ""))
        return f"epoch {epoch}" + (f"   distance {float(distance):.1f}" if distance != "" else "")

    def _finish(self, epoch, tracker=None):
        """Write the GIF and the averaged generators as of `epoch`, the epoch of the newest checkpoint."""
        if not is_chief():
            return
        self.pictures.assemble(epoch, self._caption)
        best_epoch = self.metrics.best_epoch()
        best = self.averaged if best_epoch == epoch else self.best
        for name, net in (("generator.keras", best), ("generator_last.keras", self.averaged)):
            with replacing(self.run_dir / name) as partial:
                save_net(net, partial)
        print(f"{shown_path(self.run_dir / 'generator.keras')}: the averaged generator of epoch {best_epoch}"
              + (", the best by Frechet distance" if self.distance and epoch else ""))
        if tracker:
            tracker.record_results()


def load_history(run_dir):
    """The metrics of a run as a pandas DataFrame, one row an epoch; a FileNotFoundError if there are none."""
    path = Path(run_dir) / "metrics.csv"
    if not path.exists():
        raise FileNotFoundError(f"{shown_path(path)}: there is no such file; train a run into this folder first.")
    with readable(shown_path(path)):
        history = pd.read_csv(io.StringIO(whole_lines(path)))
        if not {"epoch", "d_loss", "frechet_distance"} <= set(history.columns):
            raise ValueError(f"its columns are {', '.join(map(str, history.columns[:6]))}; wanted one row an epoch")
    return history
