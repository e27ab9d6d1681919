"""The loop: run folder, exact resume after SIGKILL, stopping, refusals and faults."""

import csv
import errno
import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import imageio.v3 as imageio
import keras
import numpy as np
import pytest
import tensorflow as tf

import dcgan_utils as dcgan
from train_small import small_data, small_nets, train_small

SCRIPT = Path(__file__).with_name("train_small.py")


@pytest.fixture(scope="module")
def whole_run(tmp_path_factory):
    """A run of six epochs that nothing disturbed."""
    folder = tmp_path_factory.mktemp("runs") / "whole"
    train_small(folder, 6)
    return folder


@pytest.fixture
def short_run(tmp_path):
    """A run of two epochs, to go on with or to damage."""
    train_small(tmp_path / "run", 2)
    return tmp_path / "run"


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
    for one, two in zip(*(keras.models.load_model(f / "generator.keras").get_weights() for f in (folder, other))):
        np.testing.assert_array_equal(one, two)


def newest_variables(folder):
    """All variables of the newest checkpoint: weights, averages, optimiser slots, statistics and dropout seeds."""
    reader = tf.train.load_checkpoint(str(sorted((folder / "checkpoints").iterdir())[-1] / "state"))
    return {name: reader.get_tensor(name) for name in reader.get_variable_to_shape_map() if "OBJECT_GRAPH" not in name}


def test_folder_holds_what_it_should(whole_run):
    names = {path.name for path in whole_run.iterdir()} - {".lock"}
    assert names == {"config.json", "metrics.csv", "grids", "training.gif", "generator.keras", "checkpoints"}
    assert [path.name for path in sorted((whole_run / "grids").iterdir())] == [
        f"epoch_{epoch:04d}.png" for epoch in (0, 2, 4, 6)]
    assert [path.name for path in sorted((whole_run / "checkpoints").iterdir())] == ["epoch_0004", "epoch_0006"]
    config = json.loads((whole_run / "config.json").read_text())
    assert config["settings"]["data"]["count"] == 200 and config["settings"]["seed"] == 0 and config["epochs"] == 6
    assert config["versions"]["tensorflow"] == tf.__version__


def test_metrics_are_a_row_an_epoch_and_agree_with_each_other(whole_run):
    history = dcgan.load_history(whole_run)
    assert list(history.columns) == [
        "epoch", "step", "seconds", "d_loss", "g_loss", "d_real_accuracy", "d_fake_accuracy", "d_real_mean",
        "d_fake_mean", "g_accuracy", "frechet_distance"]
    assert history.epoch.tolist() == [1, 2, 3, 4, 5, 6]
    assert history.step.tolist() == [4, 8, 12, 16, 20, 24]
    assert (history.seconds > 0).all() and history.frechet_distance.isna().all()
    assert history[["d_real_accuracy", "d_fake_accuracy", "d_real_mean", "d_fake_mean"]].stack().between(0, 1).all()
    np.testing.assert_allclose(history.g_accuracy, 1 - history.d_fake_accuracy)


def wrap_steps(patch, around):
    """Let every train step be `around(step, images, indices, number)` from here on."""
    original = dcgan.make_train_step

    def factory(*args, **kwargs):
        step = original(*args, **kwargs)
        return lambda *inputs: around(step, *inputs)

    patch.setattr(dcgan, "make_train_step", factory)


def test_metrics_are_means_over_images_not_over_batches(tmp_path, monkeypatch):
    """200 images in batches of 64 leave a last batch of 8, which must not count as much as the others."""
    recorded = []

    def recording(step, images, indices, number):
        metrics = step(images, indices, number)
        recorded.append((len(indices), float(metrics["d_loss"])))
        return metrics

    wrap_steps(monkeypatch, recording)
    history = train_small(tmp_path / "run", 1)
    assert [count for count, _ in recorded] == [64, 64, 64, 8]
    assert history.d_loss[0] == pytest.approx(sum(count * loss for count, loss in recorded) / 200, rel=1e-6)


def test_every_image_once_an_epoch_in_a_new_order(tmp_path, monkeypatch):
    orders = []

    def recording(step, images, indices, number):
        orders.append(indices.tolist())
        return step(images, indices, number)

    wrap_steps(monkeypatch, recording)
    train_small(tmp_path / "run", 2)
    first, second = sum(orders[:4], []), sum(orders[4:], [])
    assert sorted(first) == sorted(second) == list(range(200)) and first != second


def test_grids_follow_the_same_noise_and_change(whole_run):
    grids = [imageio.imread(whole_run / "grids" / f"epoch_{epoch:04d}.png") for epoch in (0, 6)]
    assert grids[0].shape == (8 * 18 + 2, 8 * 18 + 2) and (grids[0] != grids[1]).any()
    generator = keras.models.load_model(whole_run / "generator.keras")
    noise = dcgan.make_noise(64, 8, seed=0)
    again = dcgan.make_grid(dcgan.to_uint8(generator(noise, training=False))).squeeze()
    np.testing.assert_array_equal(grids[1], again)


def test_pictures_are_handed_over_as_they_are_made(tmp_path):
    seen = []
    train_small(tmp_path / "run", 4, on_picture=lambda path: seen.append((path.name, path.exists())))
    assert seen == [("epoch_0000.png", True), ("epoch_0002.png", True), ("epoch_0004.png", True)]


def test_two_epochs_and_four_more_equal_six(whole_run, tmp_path):
    train_small(tmp_path / "run", 2)
    train_small(tmp_path / "run", 6)
    assert_same_run(tmp_path / "run", whole_run)


def test_a_stop_between_two_pictures_leaves_no_odd_picture(whole_run, tmp_path):
    train_small(tmp_path / "run", 3)
    assert (tmp_path / "run" / "grids" / "epoch_0003.png").exists()
    train_small(tmp_path / "run", 6)
    assert_same_run(tmp_path / "run", whole_run)


@pytest.mark.parametrize("appears", ["checkpoints/epoch_0002", "grids/epoch_0004.png", "metrics.csv"])
def test_killed_run_goes_on_bit_for_bit(whole_run, tmp_path, appears):
    """SIGKILL as soon as a file appears: early, in the middle of saving, and before the first epoch ends."""
    for attempt in range(5):  # on a busy machine a run may end before it is killed
        folder = tmp_path / f"run-{attempt}"
        process = subprocess.Popen([sys.executable, str(SCRIPT), str(folder), "6"], stdout=subprocess.DEVNULL)
        deadline = time.time() + 120
        while not (folder / appears).exists() and process.poll() is None and time.time() < deadline:
            time.sleep(0.002)
        process.send_signal(signal.SIGKILL)
        if process.wait() == -signal.SIGKILL and not (folder / "training.gif").exists():
            break
    assert (folder / appears).exists() and not (folder / "training.gif").exists()
    subprocess.run([sys.executable, str(SCRIPT), str(folder), "6"], check=True, stdout=subprocess.DEVNULL)
    assert_same_run(folder, whole_run)


def test_finished_run_is_not_trained_again(whole_run, capsys):
    before = (whole_run / "metrics.csv").read_bytes(), newest_variables(whole_run)
    history = train_small(whole_run, 6)
    assert "has 6 epochs already; nothing to train" in capsys.readouterr().out
    assert len(history) == 6 and (whole_run / "metrics.csv").read_bytes() == before[0]
    assert all(np.array_equal(value, before[1][name]) for name, value in newest_variables(whole_run).items())


def test_what_a_killed_process_left_half_written_is_no_obstacle(whole_run, tmp_path):
    folder = tmp_path / "run"
    train_small(folder, 2)
    (folder / "checkpoints" / ".partial-epoch_0004").mkdir()
    (folder / "checkpoints" / ".partial-epoch_0004" / "state_temp").write_text("half")
    (folder / ".partial-metrics.csv").write_text("half")
    train_small(folder, 6)
    assert_same_run(folder, whole_run)
    assert not list(folder.rglob(".partial-*"))


def test_run_killed_before_its_gif_gets_it_at_the_next_call(whole_run, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(whole_run, folder)
    (folder / "training.gif").unlink()
    (folder / "generator.keras").unlink()
    train_small(folder, 6)
    assert_same_run(folder, whole_run)


def test_other_settings_are_refused_with_the_differences(short_run):
    with pytest.raises(ValueError) as refusal:
        train_small(short_run, 4, learning_rate=0.01, batch_size=32)
    message = str(refusal.value)
    assert "batch_size: 64 in that run, 32 now" in message and "learning_rate: 0.0015 in that run, 0.01 now" in message
    assert "beta_1" not in message and "another run folder" in message


def test_other_data_or_nets_are_refused(short_run):
    other = small_data().copy()
    other[0, 0, 0, 0] ^= 1
    with pytest.raises(ValueError, match="data.sha256"):
        dcgan.train(*small_nets(), other, short_run, epochs=4, batch_size=64, picture_every=2, tracking=False)
    with pytest.raises(ValueError, match="discriminator.architecture"):
        dcgan.train(*small_nets(minibatch_statistics=False), small_data(), short_run, epochs=4, batch_size=64,
                    picture_every=2, tracking=False)


def stop_at_step(patch, number, error):
    """Let the train step raise `error` at this step, or return NaN losses where `error` is None."""
    def failing(step, images, indices, at):
        if at == number and error is not None:
            raise error
        metrics = step(images, indices, at)
        return metrics | {"g_loss": tf.constant(float("nan"))} if at == number else metrics

    wrap_steps(patch, failing)


def test_interrupt_saves_says_how_to_go_on_and_loses_nothing(whole_run, tmp_path, monkeypatch):
    folder = tmp_path / "run"
    with monkeypatch.context() as patch:
        stop_at_step(patch, 18, KeyboardInterrupt())
        with pytest.raises(KeyboardInterrupt, match="stopped in epoch 5.*up to epoch 4.*same settings to go on"):
            train_small(folder, 6)
    assert (folder / "training.gif").exists() and (folder / "generator.keras").exists()
    train_small(folder, 6)
    assert_same_run(folder, whole_run)


def test_nan_loss_stops_names_epoch_and_step_and_keeps_the_last_good_state(tmp_path, monkeypatch):
    folder = tmp_path / "run"
    stop_at_step(monkeypatch, 18, None)
    with pytest.raises(FloatingPointError, match="epoch 5, step 18: d_loss .*, g_loss nan.*lower learning rate"):
        train_small(folder, 6)
    assert sorted(path.name for path in (folder / "checkpoints").iterdir()) == ["epoch_0002", "epoch_0004"]
    assert (folder / "training.gif").exists()
    generator = keras.models.load_model(folder / "generator.keras")
    assert all(np.isfinite(weights).all() for weights in generator.get_weights())


def test_infinite_loss_from_a_huge_learning_rate_is_noticed(tmp_path):
    with pytest.raises(FloatingPointError, match="NaN or infinite in epoch"):
        train_small(tmp_path / "run", 6, learning_rate=1e38)


@pytest.mark.parametrize("damage", ["truncate", "flip", "index", "remove"])
def test_corrupt_newest_checkpoint_falls_back_to_the_one_before(whole_run, tmp_path, capsys, damage):
    folder = tmp_path / "run"
    shutil.copytree(whole_run, folder)
    newest = folder / "checkpoints" / "epoch_0006"
    values, index = newest / "state.data-00000-of-00001", newest / "state.index"
    if damage == "truncate":
        values.write_bytes(values.read_bytes()[:5000])
    elif damage == "flip":
        content = bytearray(values.read_bytes())
        content[len(content) // 2] ^= 255
        values.write_bytes(content)
    elif damage == "index":
        index.write_bytes(index.read_bytes()[:20])
    else:
        values.unlink()
    train_small(folder, 6)
    assert "epoch_0006 cannot be read" in capsys.readouterr().out
    assert_same_run(folder, whole_run)


def test_no_readable_checkpoint_is_an_error_not_a_new_start(short_run):
    before = (short_run / "metrics.csv").read_bytes()
    for values in short_run.glob("checkpoints/*/state.data*"):
        values.write_bytes(b"")
    with pytest.raises(RuntimeError, match="no readable checkpoint"):
        train_small(short_run, 4)
    shutil.rmtree(short_run / "checkpoints")
    with pytest.raises(RuntimeError, match="no readable checkpoint"):
        train_small(short_run, 4)
    assert (short_run / "metrics.csv").read_bytes() == before


def test_missing_metrics_and_corrupt_config_are_named(short_run):
    metrics = (short_run / "metrics.csv").read_text()
    (short_run / "metrics.csv").unlink()
    with pytest.raises(RuntimeError, match="metrics.csv lacks rows"):
        train_small(short_run, 4)
    (short_run / "metrics.csv").write_text(metrics)
    (short_run / "config.json").write_text("{")
    with pytest.raises(ValueError, match="config.json is corrupt"):
        train_small(short_run, 4)


def test_two_runs_into_one_folder_the_second_is_refused(short_run):
    holder = subprocess.Popen(
        [sys.executable, "-c", "import filelock, sys, time; lock = filelock.FileLock(sys.argv[1]); lock.acquire(); "
                               "print('held', flush=True); time.sleep(60)", str(short_run / ".lock")],
        stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(RuntimeError, match="another process is training in"):
            train_small(short_run, 4)
    finally:
        holder.kill()
        holder.wait()
    assert len(train_small(short_run, 4)) == 4


def test_read_only_outputs_folder_is_a_clear_error(tmp_path):
    folder = tmp_path / "outputs"
    folder.mkdir()
    folder.chmod(0o555)
    tmp_path.chmod(0o755)
    root = os.geteuid() == 0
    try:
        for parent in tmp_path.parents if root else ():  # let another user come this far
            if parent.owner() == "root" and len(parent.parts) > 2:
                parent.chmod(parent.stat().st_mode | 0o055)
        if root:
            os.seteuid(65534)  # root may write anywhere; nobody may not
        with pytest.raises(OSError, match="cannot write to .*Permission denied.*another run folder"):
            train_small(folder / "run", 2)
    finally:
        if root:
            os.seteuid(0)
        folder.chmod(0o755)


def test_full_disk_is_a_clear_error_and_earlier_files_stay(short_run):
    """A limit on the size of a file, which the operating system enforces, stands for a disk that is full."""
    before = {path: path.read_bytes() for path in short_run.rglob("*") if path.is_file()}
    limit = min(path.stat().st_size for path in short_run.rglob("state.data*")) // 2
    process = subprocess.run(
        [sys.executable, str(SCRIPT), str(short_run), "4"], capture_output=True, text=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)))
    assert process.returncode == 1
    assert re.search("could not write .*epoch_0004: File too large", process.stderr)
    assert "goes on from the last checkpoint" in process.stderr
    after = {path: path.read_bytes() for path in before}
    changed = {path.name for path in before if after[path] != before[path]}
    assert changed <= {"config.json", "metrics.csv"} and not list(short_run.rglob(".partial-*"))
    assert len(train_small(short_run, 4)) == 4


def test_failed_write_leaves_the_earlier_file(tmp_path):
    path = tmp_path / "file.txt"
    path.write_text("earlier")
    with pytest.raises(OSError, match="could not write .*No space left") as failure:
        with dcgan._replacing(path) as partial:
            partial.write_text("half")
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert failure.value.errno == errno.ENOSPC
    assert path.read_text() == "earlier" and list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("options, words", [
    ({"epochs": 0}, "epochs is 0"), ({"epochs": 1.5}, "epochs is 1.5"), ({"batch_size": 0}, "batch_size is 0"),
    ({"batch_size": 201}, "only 200 images"), ({"picture_every": 0}, "picture_every is 0"),
    ({"learning_rate": 0}, "learning_rate is 0"), ({"learning_rate": -1}, "learning_rate is -1"),
    ({"beta_1": 1.0}, "beta_1 is 1.0"), ({"averaging": 1.5}, "averaging is 1.5")])
def test_illegal_arguments_are_refused_before_anything_is_written(tmp_path, options, words):
    with pytest.raises(ValueError, match=words):
        train_small(tmp_path / "run", **({"epochs": 2} | options))
    assert not (tmp_path / "run").exists()


def test_nets_of_another_size_are_refused(tmp_path):
    nets = dcgan.build_generator((28, 28, 1), 8, width=4), dcgan.build_discriminator((16, 16, 1), width=4)
    with pytest.raises(ValueError, match=r"generator is made for .* \(28, 28, 1\), the data are \(16, 16, 1\)"):
        dcgan.train(*nets, small_data(), tmp_path / "run")


def test_an_array_that_is_a_view_of_another_can_be_trained_on(tmp_path):
    assert len(dcgan.train(*small_nets(), small_data()[::2], tmp_path / "run", epochs=1, tracking=False)) == 1


def test_default_length_is_counted_in_images(monkeypatch):
    assert [dcgan.default_epochs(count) for count in (60_000, 5_000, 1_000_000)] == [10, 120, 1]
    monkeypatch.setenv("DCGAN_SMOKE", "1")
    assert dcgan.default_epochs(5_000) == 2


def test_gif_of_a_long_run_stays_small(tmp_path):
    train_small(tmp_path / "run", 150, picture_every=1, batch_size=200)
    assert len(list((tmp_path / "run" / "grids").iterdir())) == 151
    from PIL import Image
    with Image.open(tmp_path / "run" / "training.gif") as gif:
        assert 40 <= gif.n_frames <= 61
