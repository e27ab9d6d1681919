"""A run: its folder, exact resume, stopping, refusals and faults, callbacks of one's own."""

import csv
import functools
import json
import math
import os
import re
import shutil
from pathlib import Path

import filelock
import imageio.v3 as imageio
import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

import dcgan_utils as dcgan
from lab import callbacks, datasets, files, measures, measuring_net, runs
from train_small import small_data, small_measuring_net, small_nets, train_small

SCRIPT = Path(__file__).with_name("train_small.py")


@pytest.fixture(scope="module")
def recorded_run(tmp_path_factory):
    """A run of six epochs that nothing disturbed, its steps as (indices, metrics), and its pictures as handed over."""
    folder, steps, pictures = tmp_path_factory.mktemp("runs") / "whole", [], []

    def recording(loop, indices, first_step):
        metrics = loop(indices, first_step)
        steps.extend(zip(indices, metrics.numpy()))
        return metrics

    with pytest.MonkeyPatch.context() as patch:
        wrap_loops(patch, recording)
        train_small(folder, 6, on_picture=lambda path: pictures.append((path.name, path.exists())))
    return folder, steps, pictures


@pytest.fixture
def whole_run(recorded_run):
    """The folder of the run of six epochs, not to be changed."""
    return recorded_run[0]


def metrics_without_seconds(folder):
    with open(folder / "metrics.csv", newline="") as file:
        return [{name: value for name, value in row.items() if name != "seconds"} for row in csv.DictReader(file)]


def assert_same_run(folder, other):
    assert metrics_without_seconds(folder) == metrics_without_seconds(other)
    names = [path.name for path in sorted((other / "grids").iterdir())]
    assert [path.name for path in sorted((folder / "grids").iterdir())] == names
    for name in [f"grids/{name}" for name in names] + ["training.gif"]:
        assert (folder / name).read_bytes() == (other / name).read_bytes(), name
    ours, theirs = newest_variables(folder), newest_variables(other)
    assert ours.keys() == theirs.keys()
    for name in ours:
        np.testing.assert_array_equal(ours[name], theirs[name], err_msg=name)
    for name in ("generator.keras", "generator_last.keras"):
        for one, two in zip(saved_weights(folder, name), saved_weights(other, name)):
            np.testing.assert_array_equal(one, two, err_msg=name)
    ours, theirs = (json.loads((path / "config.json").read_text()).get("frechet_distance") for path in (folder, other))
    assert ours == theirs


def saved_weights(folder, name):
    return keras.models.load_model(folder / name).get_weights()


def newest_variables(folder):
    """All variables of the newest checkpoint: weights, averages, optimiser slots, statistics and dropout seeds."""
    reader = tf.train.load_checkpoint(str(sorted((folder / "checkpoints").iterdir())[-1] / "state"))
    return {name: reader.get_tensor(name) for name in reader.get_variable_to_shape_map() if "OBJECT_GRAPH" not in name}


def test_folder_holds_what_it_should_and_pictures_are_handed_over(recorded_run):
    folder, _, pictures = recorded_run
    names = {path.name for path in folder.iterdir()} - {".lock"}
    assert names == {"config.json", "metrics.csv", "grids", "training.gif", "generator.keras", "generator_last.keras",
                     "checkpoints"}
    untrained, *grids = [f"epoch_{epoch:04d}.png" for epoch in (0, 2, 4, 6)]
    early = ["step_0003.png", "step_0004.png"]  # the ends of calls before the first picture, at step 8
    assert [path.name for path in sorted((folder / "grids").iterdir())] == [untrained, *grids, *early]
    assert pictures == [(name, True) for name in (untrained, *early, *grids)]
    assert [path.name for path in sorted((folder / "checkpoints").iterdir())] == ["epoch_0004", "epoch_0006"]
    config = json.loads((folder / "config.json").read_text())
    assert config["settings"]["data"]["count"] == 200 and config["settings"]["seed"] == 0 and config["epochs"] == 6
    assert config["versions"]["tensorflow"] == tf.__version__


def test_metrics_are_a_row_an_epoch_and_agree_with_each_other(whole_run):
    history = runs.load_history(whole_run)
    assert list(history.columns) == [
        "epoch", "step", "seconds", "d_loss", "g_loss", "d_real_accuracy", "d_fake_accuracy", "d_real_mean",
        "d_fake_mean", "g_accuracy", "frechet_distance", "diversity"]
    assert history.epoch.tolist() == [1, 2, 3, 4, 5, 6]
    assert history.step.tolist() == [4, 8, 12, 16, 20, 24]
    assert (history.seconds > 0).all()
    assert history.frechet_distance.notna().tolist() == [False, True] * 3 and history.frechet_distance.min() >= 0
    assert history.diversity.notna().tolist() == [False, True] * 3 and history.diversity.dropna().between(0, 2).all()
    assert history[["d_real_accuracy", "d_fake_accuracy", "d_real_mean", "d_fake_mean"]].stack().between(0, 1).all()
    np.testing.assert_allclose(history.g_accuracy, 1 - history.d_fake_accuracy)


def wrap_loops(patch, around):
    """Let every call of the steps be `around(steps, indices, first_step)` from here on."""
    original = dcgan.make_steps

    def factory(*args, **options):
        steps = original(*args, **options)
        return lambda *inputs: around(steps, *inputs)

    patch.setattr(dcgan, "make_steps", factory)


def test_metrics_are_means_over_images_not_over_batches(recorded_run):
    """200 images in batches of 64 leave a last batch of 8, which must not count as much as the others."""
    folder, steps, _ = recorded_run
    recorded = [(len(indices), metrics[0]) for indices, metrics in steps[:4]]
    assert [count for count, _ in recorded] == [64, 64, 64, 8] and len(steps) == 24
    assert runs.load_history(folder).d_loss[0] == pytest.approx(
        sum(count * loss for count, loss in recorded) / 200, rel=1e-6)


def test_grids_follow_the_same_noise_and_change(whole_run):
    grids = [imageio.imread(whole_run / "grids" / f"epoch_{epoch:04d}.png") for epoch in (0, 6)]
    assert grids[0].shape == (8 * 18 + 2, 8 * 18 + 2) and (grids[0] != grids[1]).any()
    np.testing.assert_array_equal(grids[1], grid_of(whole_run / "generator_last.keras"))


@pytest.mark.parametrize("count, every, at_a_time, steps", [
    (60_000, 1, 16, [16, 32, 64, 128, 256, 512]), (60_000, 1, 67, [67, 134, 268, 536]), (60_000, 1, 1000, [937]),
    (1000, 10, 16, [15, 16, 32, 64, 128]), (256, 39, 16, [4, 8, 16, 32, 64, 128]), (64, 1, 16, [])])
def test_pictures_between_the_first_two_are_at_steps_on_a_logarithmic_scale(count, every, at_a_time, steps, tmp_path,
                                                                            monkeypatch):
    drawn = []
    monkeypatch.setattr(callbacks.Pictures, "_draw", lambda self, path: drawn.append(path.name))
    pictures = callbacks.Pictures(tmp_path, None, None, lambda epoch: epoch % every == 0, None, every,
                                  math.ceil(count / 64))
    for first_epoch in (0, every):  # and none where the run goes on
        drawn.clear()
        dcgan.train_loop(lambda indices, _: tf.zeros([len(indices), 6]), keras.Sequential(), count, batch_size=64,
                         at_a_time=at_a_time, initial_epoch=first_epoch, epochs=first_epoch + every,
                         callbacks=[pictures])
        expected = [f"step_{step:04d}.png" for step in steps] if first_epoch == 0 else []
        assert drawn == [*expected, f"epoch_{first_epoch + every:04d}.png"]


def test_pictures_before_the_first_epochs_change_nothing_else(whole_run, tmp_path, monkeypatch):
    monkeypatch.setattr(callbacks.Pictures, "on_train_batch_end", keras.callbacks.Callback.on_train_batch_end)
    train_small(tmp_path / "run", 6)
    assert not list((tmp_path / "run" / "grids").glob("step_*"))
    assert metrics_without_seconds(tmp_path / "run") == metrics_without_seconds(whole_run)
    ours, theirs = newest_variables(tmp_path / "run"), newest_variables(whole_run)
    for name in theirs:
        np.testing.assert_array_equal(ours[name], theirs[name], err_msg=name)


def grid_of(path):
    """The grid that a saved generator makes of the noise of the pictures."""
    generator = keras.models.load_model(path)
    return dcgan.make_grid(dcgan.to_uint8(generator(dcgan.make_noise(64, 8, seed=0), training=False))).squeeze()


def test_finished_run_is_not_trained_again_and_gets_what_a_kill_kept_it_from_writing(whole_run, tmp_path, capsys):
    folder = shutil.copytree(whole_run, tmp_path / "run")
    for name in ("training.gif", "generator.keras", "generator_last.keras"):
        (folder / name).unlink()
    assert len(train_small(folder, 6)) == 6
    assert "has 6 epochs already; nothing to train" in capsys.readouterr().out
    assert (folder / "metrics.csv").read_bytes() == (whole_run / "metrics.csv").read_bytes()
    assert_same_run(folder, whole_run)


def test_what_a_killed_process_left_half_written_is_no_obstacle(quick_runs, short_run):
    folder = short_run
    (folder / "checkpoints" / ".partial-epoch_0004").mkdir()
    (folder / "checkpoints" / ".partial-epoch_0004" / "state_temp").write_text("half")
    (folder / ".partial-metrics.csv").write_text("half")
    train_small(folder, 6)
    assert_same_run(folder, quick_runs[1])
    assert not list(folder.rglob(".partial-*"))


def test_nets_and_measuring_nets_of_another_size_are_refused_before_anything_is_written(tmp_path):
    nets = dcgan.build_generator((28, 28, 1), 8, width=4), dcgan.build_discriminator((16, 16, 1), width=4)
    with pytest.raises(ValueError, match=r"generator is made for .* \(28, 28, 1\), the data are \(16, 16, 1\)"):
        runs.train(*nets, small_data(), tmp_path / "run")
    net = measuring_net.MeasuringNet("large", measuring_net.build_measuring_net((28, 28, 1), 2), ("a", "b"), 0.5)
    with pytest.raises(ValueError, match=r"large.*28, 28, 1"):
        train_small(tmp_path / "run", 2, measuring_net=net)
    assert not (tmp_path / "run").exists()


def hinge(real, fake, margin=1.0):
    return tf.reduce_mean(tf.nn.relu(margin - real)) + tf.reduce_mean(tf.nn.relu(margin + fake))


def minus_mean(fake):
    return -tf.reduce_mean(fake)


def large_logits(discriminator, real, fake):
    return 0.1 * tf.reduce_mean(tf.square(discriminator(real, training=True)))


def settings_of(folder):
    return json.loads((folder / "config.json").read_text())["settings"]


def test_generator_has_a_rate_of_its_own_if_one_is_given(whole_run, tmp_path):
    nets = small_nets()
    before = [[weight.numpy() for weight in net.trainable_variables] for net in nets]
    runs.train(*nets, small_data(), tmp_path / "run", epochs=1, generator_learning_rate=1e-9, measuring_net=False,
                tracking=False)
    moved = [max(abs(weight.numpy() - old).max() for weight, old in zip(net.trainable_variables, weights, strict=True))
             for net, weights in zip(nets, before)]
    assert moved[0] < 1e-7 and moved[1] > 1e-3
    assert settings_of(tmp_path / "run")["generator_learning_rate"] == 1e-9
    assert settings_of(whole_run)["generator_learning_rate"] == settings_of(whole_run)["learning_rate"] == 1e-3


def test_losses_penalty_and_measuring_net_are_in_the_config_by_name_and_others_are_refused(tmp_path):
    folder, loss = tmp_path / "run", functools.partial(hinge, margin=0.5)
    train_small(folder, 1, losses=(loss, minus_mean), penalty=large_logits)
    settings = settings_of(folder)
    assert settings["losses"] == ["hinge(margin=0.5)", "minus_mean"] and settings["penalty"] == "large_logits"
    with pytest.raises(ValueError) as refusal:
        train_small(folder, 2, losses=(hinge, minus_mean), generator_every=2, measuring_net=small_measuring_net(1))
    assert str(refusal.value).splitlines()[1:-1] == [
        "  generator_every: 1 in that run, 2 now",
        "  losses: ['hinge(margin=0.5)', 'minus_mean'] in that run, ['hinge', 'minus_mean'] now",
        "  measuring_net: untrained-0 in that run, untrained-1 now",
        "  penalty: large_logits in that run, None now"]


def test_run_with_losses_of_its_own_and_nets_that_rest_goes_on_bit_for_bit(tmp_path):
    """Eight steps are no multiple of three, so the steps must be counted on."""
    options = {"losses": (hinge, minus_mean), "penalty": large_logits, "generator_every": 3, "discriminator_every": 2,
               "generator_learning_rate": 1e-3, "decay_epochs": 3}
    train_small(tmp_path / "whole", 4, **options)
    for epochs in (2, 4):
        train_small(tmp_path / "run", epochs, **options)
    assert_same_run(tmp_path / "run", tmp_path / "whole")


def test_rates_fall_over_the_epochs_that_are_asked_for_and_stay_low(tmp_path):
    rates = []

    class Rates(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            rates.append(float(self.model.optimizer.learning_rate))

    options = {"learning_rate": 1e-3, "generator_learning_rate": 2e-3, "measuring_net": False}
    train_small(tmp_path / "run", 3, decay_epochs=2, callbacks=[Rates()], **options)
    np.testing.assert_allclose(rates, [1.05e-3, 1e-4, 1e-4], rtol=1e-4)
    with pytest.raises(ValueError, match="decay_epochs: 2 in that run, not set now"):
        train_small(tmp_path / "run", 4, **options)
    with pytest.raises(ValueError, match="decay_epochs is 0; wanted a whole number of at least 1"):
        train_small(tmp_path / "other", 3, decay_epochs=0, **options)
    assert not (tmp_path / "other").exists()


def stop_at_step(patch, number, error):
    """Let the train step raise `error` at this step, or return it as the generator's loss if it is a number."""
    def failing(loop, indices, first_step):
        place = number - first_step
        if not 0 <= place < len(indices):
            return loop(indices, first_step)
        if not isinstance(error, float):
            raise error
        metrics = loop(indices, first_step).numpy()
        metrics[place, dcgan.METRICS.index("g_loss")] = error
        return tf.constant(metrics)

    wrap_loops(patch, failing)


def test_interrupt_saves_says_how_to_go_on_and_loses_nothing(whole_run, tmp_path, monkeypatch):
    folder = tmp_path / "run"
    with monkeypatch.context() as patch:
        stop_at_step(patch, 18, KeyboardInterrupt())
        with pytest.raises(KeyboardInterrupt, match="stopped in epoch 5.*up to epoch 4.*same settings to go on"):
            train_small(folder, 6)
    assert (folder / "training.gif").exists() and (folder / "generator.keras").exists()
    train_small(folder, 6)
    assert_same_run(folder, whole_run)


@pytest.mark.parametrize("file, damage", [
    ("checkpoints/epoch_0006/state.data-00000-of-00001", lambda content: content[:5000]),
    ("checkpoints/epoch_0006/state.data-00000-of-00001", lambda content: content[:9000] + b"other" + content[9005:]),
    ("checkpoints/epoch_0006/state.index", lambda content: content[:20]),
    ("metrics.csv", lambda content: content[:content.index(b"\n6,") + 1]),
    ("metrics.csv", lambda content: content[:-3])], ids=["cut", "other", "index", "metrics", "row"])
def test_corrupt_newest_checkpoint_falls_back_to_the_one_before(file, damage, quick_runs, quick_steps, tmp_path,
                                                                capsys):
    """As on a network drive, to which files come one by one."""
    path = shutil.copytree(quick_runs[1], tmp_path / "run") / file
    path.write_bytes(damage(path.read_bytes()))
    train_small(tmp_path / "run", 6)
    assert "epoch_0006 cannot be used" in capsys.readouterr().out
    assert_same_run(tmp_path / "run", quick_runs[1])


def test_a_row_is_appended_and_one_that_is_cut_anywhere_is_no_row(tmp_path):
    """Rewritten whole only where the file is not as it was left: by another call of train, or deleted by somebody."""
    path, logs = tmp_path / "metrics.csv", dict.fromkeys(dcgan.METRICS, 0.125)
    metrics, files_written = callbacks.Metrics(tmp_path, 4), []
    metrics.on_epoch_end(-1, {})
    for epoch in range(4):
        if epoch == 3:
            path.unlink()
        metrics.on_epoch_begin(epoch)
        metrics.on_train_batch_end(3)
        metrics.on_epoch_end(epoch, {**logs, "diversity": 0.5})
        with open(path, "rb") as file:
            files_written.append(os.fstat(file.fileno()).st_ino)
            whole = file.read()
    assert len(set(files_written[:3])) == 1 and metrics_without_seconds(tmp_path) == [
        {name: str(value) for name, value in row.items() if name != "seconds"} for row in metrics.rows]
    for length in range(whole.index(b"\n3,") + 1, len(whole)):
        path.write_bytes(whole[:length])
        rows = 2 + (length > whole.index(b"\r\n4,")) + (length == len(whole) - 1)  # lines end in \r\n
        assert len(metrics.read()) == len(runs.load_history(tmp_path)) == rows


def test_no_usable_checkpoint_is_an_error_not_a_new_start(short_run):
    before = (short_run / "metrics.csv").read_bytes()
    for values in short_run.glob("checkpoints/*/state.data*"):
        values.unlink()
    for _ in range(2):
        with pytest.raises(RuntimeError, match="no checkpoint that can be used"):
            train_small(short_run, 4)
        shutil.rmtree(short_run / "checkpoints", ignore_errors=True)
    assert (short_run / "metrics.csv").read_bytes() == before


def test_missing_metrics_and_corrupt_config_are_named(short_run, capsys):
    metrics = (short_run / "metrics.csv").read_text()
    (short_run / "metrics.csv").unlink()
    shutil.rmtree(short_run / "checkpoints" / "epoch_0000")
    with pytest.raises(RuntimeError, match="no checkpoint that can be used.*restore metrics.csv"):
        train_small(short_run, 4)
    assert "metrics.csv lacks rows for its 2 epochs" in capsys.readouterr().out
    (short_run / "metrics.csv").write_text(metrics)
    (short_run / "config.json").write_text("{")
    with pytest.raises(ValueError, match="config.json: corrupt"):
        train_small(short_run, 4)


def test_two_runs_into_one_folder_the_second_is_refused(short_run, quick_steps):
    with filelock.FileLock(short_run / ".lock"):
        with pytest.raises(RuntimeError, match="another process is training in"):
            train_small(short_run, 4)
    assert len(train_small(short_run, 4)) == 4


def test_a_folder_that_cannot_be_made_is_a_clear_error(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="cannot write to .*file/run: Not a directory.*another run folder"):
        train_small(tmp_path / "file" / "run", 2)


def test_an_array_that_is_a_view_of_another_can_be_trained_on(tmp_path, quick_steps):
    assert len(runs.train(*small_nets(), small_data()[::2], tmp_path / "run", epochs=1, tracking=False)) == 1


def test_default_length_is_counted_in_images(monkeypatch):
    assert [datasets.default_epochs(count) for count in (60_000, 5_000, 1_000_000)] == [8, 100, 1]
    monkeypatch.setenv("DCGAN_SMOKE", "1")
    assert datasets.default_epochs(5_000) == 2


def test_gif_of_a_long_run_stays_small(tmp_path):
    for epoch in range(151):
        with files.replacing(files.grid_path(tmp_path, epoch)) as partial:
            imageio.imwrite(partial, np.full((9, 9), epoch, np.uint8))
    callbacks.Pictures(tmp_path, None, None, None, None, 1, 900).assemble(150, str)
    assert len(list((tmp_path / "grids").iterdir())) == 151
    with Image.open(tmp_path / "training.gif") as gif:
        assert 40 <= gif.n_frames <= 61


def test_gif_of_a_run_that_was_stopped_before_its_first_picture_holds_no_later_ones(tmp_path, quick_steps, monkeypatch):
    shown = []
    monkeypatch.setattr(callbacks, "save_gif", lambda _, path, captions: [shown.append(captions), path.touch()])
    with monkeypatch.context() as patch:
        stop_at_step(patch, 6, KeyboardInterrupt())
        with pytest.raises(KeyboardInterrupt):
            train_small(tmp_path / "run", 4, measuring_net=False)
    train_small(tmp_path / "run", 4, measuring_net=False)
    assert shown == [["epoch 0"], ["epoch 0", "step 3", "step 4", "epoch 2", "epoch 4"]]


def script_distances(patch, *distances):
    """Let the distances, from the one before training on, be these; returns a list of the weights they are of."""
    weights, rest = [], iter(distances)

    def measure(self):
        self.seconds.append(0.5)
        weights.append(self.generator.get_weights())
        return next(rest), 0.25

    patch.setattr(measuring_net.Distance, "measure", measure)
    return weights


def assert_same_weights(ours, theirs):
    assert len(ours) == len(theirs)
    for one, two in zip(ours, theirs):
        np.testing.assert_array_equal(one, two)


def test_distance_is_that_of_the_averaged_generator_at_its_epoch(whole_run):
    net, images = small_measuring_net(), small_data()
    generator = keras.models.load_model(whole_run / "generator_last.keras")
    ruler = measuring_net.Distance(net, images, generator, 0)
    known = json.loads((whole_run / "config.json").read_text())["frechet_distance"]
    history = runs.load_history(whole_run)
    measured = history.frechet_distance[5], history.diversity[5]
    assert ruler.measure() == pytest.approx(measured, rel=1e-3, abs=1e-4)
    assert known == {"images": 40, "real_against_real": ruler.floor, "before_training": known["before_training"]}
    untrained = measures.frechet_distance(ruler.real, net.features(dcgan.generate_images(small_nets()[0], 40, seed=0)))
    assert known["before_training"] == pytest.approx(untrained, rel=1e-3)
    assert 0 < ruler.floor < known["before_training"]


def test_distance_to_other_images_is_measured_where_they_are_given_and_stands_in_the_config(tmp_path):
    reference = 255 - small_data(500)
    history = train_small(tmp_path / "run", 1, reference=reference)
    generator = keras.models.load_model(tmp_path / "run" / "generator_last.keras")
    ruler = measuring_net.Distance(small_measuring_net(), reference, generator, 0)
    assert ruler.count == 100 and history.frechet_distance[0] == pytest.approx(ruler.measure()[0], rel=1e-3)
    assert settings_of(tmp_path / "run")["reference"]["count"] == 500
    with pytest.raises(ValueError, match="reference.count: 500"):
        train_small(tmp_path / "run", 2)
    with pytest.raises(ValueError, match=r"reference has images of shape \(28, 28, 1\), the data have \(16, 16, 1\)"):
        train_small(tmp_path / "other", 1, reference=np.zeros((50, 28, 28, 1), np.uint8))
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize("later, best", [((20.0, 40.0), 1), ((9.0, 40.0), 3), ((11.0, 3.0), 4)])
def test_best_epoch_before_or_after_a_resume(tmp_path, quick_steps, monkeypatch, capsys, later, best):
    folder = tmp_path / "run"
    with monkeypatch.context() as patch:
        before = script_distances(patch, 1.0, 10.0, 30.0)  # the one before training does not count
        train_small(folder, 4)
    assert_same_weights(saved_weights(folder, "generator.keras"), before[1])
    after = script_distances(monkeypatch, *later)
    train_small(folder, 8)
    weights = [*before, *after]
    assert_same_weights(saved_weights(folder, "generator.keras"), weights[best])
    assert_same_weights(saved_weights(folder, "generator_last.keras"), weights[4])
    assert f"averaged generator of epoch {2 * best}, the best" in capsys.readouterr().out
    (folder / "generator.keras").unlink()
    train_small(folder, 8)
    assert_same_weights(saved_weights(folder, "generator.keras"), weights[best])


@pytest.mark.parametrize("loss", [np.nan, np.inf])
def test_nan_or_infinite_loss_stops_names_epoch_and_step_and_keeps_the_last_good_state(
        tmp_path, quick_steps, monkeypatch, loss):
    folder = tmp_path / "run"
    weights = script_distances(monkeypatch, 50.0, 10.0, 30.0)
    stop_at_step(monkeypatch, 18, loss)
    with pytest.raises(FloatingPointError, match=f"epoch 5, by step 18: d_loss .*, g_loss {loss}.*lower learning rate"):
        train_small(folder, 6)
    assert sorted(path.name for path in (folder / "checkpoints").iterdir()) == ["epoch_0002", "epoch_0004"]
    assert (folder / "training.gif").exists()
    assert_same_weights(saved_weights(folder, "generator.keras"), weights[1])
    assert_same_weights(saved_weights(folder, "generator_last.keras"), weights[2])


def test_odd_last_epoch_is_pictured_and_measured_only_as_long_as_it_is_the_last(tmp_path, quick_steps, monkeypatch):
    """A run that stopped at epoch 3 and went on must end as one that never stopped, which measures no epoch 3."""
    folder = tmp_path / "run"
    with monkeypatch.context() as patch:
        weights = script_distances(patch, 50.0, 20.0, 5.0)
        train_small(folder, 3)
    assert_same_weights(saved_weights(folder, "generator.keras"), weights[2])
    assert (folder / "grids" / "epoch_0003.png").exists()
    later = script_distances(monkeypatch, 30.0, 25.0)
    history = train_small(folder, 6)
    assert history.frechet_distance.dropna().tolist() == [20, 30, 25] and history.diversity.count() == 3
    assert not (folder / "grids" / "epoch_0003.png").exists()
    assert_same_weights(saved_weights(folder, "generator.keras"), weights[1])
    assert_same_weights(saved_weights(folder, "generator_last.keras"), later[1])


def test_distances_are_printed_and_in_the_captions(tmp_path, quick_steps, monkeypatch, capsys):
    captions, original = [], callbacks.save_gif

    def recording(*args, **options):
        captions.append(options["captions"])
        original(*args, **options)

    monkeypatch.setattr(callbacks, "save_gif", recording)
    script_distances(monkeypatch, 61.26, 30.5, 7.04)
    train_small(tmp_path / "run", 4)
    printed = capsys.readouterr().out
    floor = json.loads((tmp_path / "run" / "config.json").read_text())["frechet_distance"]["real_against_real"]
    assert ("Frechet distance of 40 images by untrained-0: real against real "
            f"{floor:.2f}, before training 61.3.") in printed
    epochs = [line for line in printed.splitlines() if re.search(r"epoch +\d+ +d_loss", line)]
    assert [re.findall(r"distance ([\d.]+)", line) for line in epochs] == [[], ["30.50"], [], ["7.04"]]
    assert re.search(r"Frechet distance: measured 3 times, 0\.50 s each, [\d.]+% of the training time", printed)
    assert captions == [["epoch 0   distance 61.3", "step 3", "step 4", "epoch 2   distance 30.5",
                         "epoch 4   distance 7.0"]]
    train_small(tmp_path / "run", 4)
    assert captions[1] == captions[0]


def test_without_measuring_net_nothing_is_measured_and_the_last_generator_is_kept(tmp_path, quick_steps, monkeypatch,
                                                                                       capsys):
    recorded = []
    monkeypatch.setattr(callbacks, "save_gif", lambda _, path, captions: [recorded.extend(captions), path.touch()])
    train_small(tmp_path / "run", 3, measuring_net=False)
    history = train_small(tmp_path / "run", 4, measuring_net=False)
    printed = capsys.readouterr().out
    assert history[["frechet_distance", "diversity"]].isna().all(axis=None)
    assert not re.search("frechet|distance", printed, re.IGNORECASE)
    assert "distance" not in "".join(recorded) and "averaged generator of epoch 4" in printed
    assert "frechet_distance" not in json.loads((tmp_path / "run" / "config.json").read_text())
    best, last = (saved_weights(tmp_path / "run", name) for name in ("generator.keras", "generator_last.keras"))
    assert_same_weights(best, last)


def test_measuring_changes_nothing_else(whole_run, tmp_path):
    train_small(tmp_path / "run", 6, measuring_net=False)
    ours, theirs = metrics_without_seconds(tmp_path / "run"), metrics_without_seconds(whole_run)
    for row in (*ours, *theirs):
        del row["frechet_distance"], row["diversity"]
    assert ours == theirs
    assert_same_weights(*(saved_weights(folder, "generator_last.keras") for folder in (tmp_path / "run", whole_run)))


def test_measuring_net_is_looked_for_and_where_there_is_none_one_line_says_so(tmp_path, quick_steps, monkeypatch,
                                                                             capsys):
    monkeypatch.setattr(files, "OUTPUTS", tmp_path)
    monkeypatch.setattr(measuring_net, "_fit_measuring_net", lambda *_: None)
    labelled = datasets.Dataset(small_data(), (np.arange(200) % 2).astype(np.uint8), ("a", "b"))
    for data, reason in ((small_data(), "no labels"), (labelled, "train_measuring_net")):
        folder = tmp_path / reason.replace(" ", "-")
        history = runs.train(*small_nets(), data, folder, epochs=1, tracking=False)
        lines = [line for line in capsys.readouterr().out.splitlines() if "Frechet" in line]
        assert len(lines) == 1 and lines[0].startswith("No Frechet distance: ") and reason in lines[0]
        assert len(history) == 1 and (folder / "generator.keras").exists()
    net = measuring_net.train_measuring_net(labelled)
    history = runs.train(*small_nets(), labelled, tmp_path / "measured", epochs=1, tracking=False)
    assert history.frechet_distance.notna().all() and settings_of(tmp_path / "measured")["measuring_net"] == net.name
