"""Losses against closed forms, noise, and what one train step does."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import imageio.v3 as imageio
import keras
import numpy as np
import pytest
import tensorflow as tf

import dcgan_utils as dcgan
from pairs import equal, indices, make_pair, replay, trainable_weights


def test_losses_are_the_binary_cross_entropies_each_averaged_over_its_batch():
    random = np.random.default_rng(0)
    real, fake = random.normal(1, 3, (5, 1)), random.normal(-1, 3, (9, 1))
    probability = 1 / (1 + np.exp(-real)), 1 / (1 + np.exp(-fake))
    d_loss = -np.log(probability[0]).mean() - np.log(1 - probability[1]).mean()
    assert float(dcgan.discriminator_loss(tf.constant(real), tf.constant(fake))) == pytest.approx(d_loss, rel=1e-12)
    assert float(dcgan.generator_loss(tf.constant(fake))) == pytest.approx(-np.log(probability[1]).mean(), rel=1e-12)


@pytest.mark.parametrize("real, fake, d_loss, g_loss", [
    (1000, -1000, 0, 1000), (-1000, 1000, 2000, 0), (1000, 1000, 1000, 0), (-1000, -1000, 1000, 1000)])
def test_losses_and_their_gradients_are_finite_at_huge_logits(real, fake, d_loss, g_loss):
    real, fake = tf.Variable([[float(real)]]), tf.Variable([[float(fake)]])
    with tf.GradientTape(persistent=True) as tape:
        losses = dcgan.discriminator_loss(real, fake), dcgan.generator_loss(fake)
    assert [float(loss) for loss in losses] == [d_loss, g_loss]
    gradients = [*tape.gradient(losses[0], [real, fake]), tape.gradient(losses[1], fake)]
    assert np.isfinite([gradient.numpy() for gradient in gradients]).all()


def test_noise_is_decided_by_seed_and_step_and_by_nothing_else():
    first = dcgan.make_noise(4, 8, seed=1, step=2).numpy()
    tf.random.set_seed(99)
    np.testing.assert_array_equal(dcgan.make_noise(4, 8, seed=1, step=2), first)
    np.testing.assert_array_equal(tf.function(dcgan.make_noise)(4, 8, seed=1, step=tf.constant(2, tf.int64)), first)
    for seed, step in ((1, 3), (2, 2), (2, 1), (3, 0), (1, -1)):
        assert not np.isclose(dcgan.make_noise(4, 8, seed=seed, step=step), first).any()


def test_noise_is_standard_normal():
    noise = dcgan.make_noise(4000, 16, seed=0).numpy()
    assert noise.shape == (4000, 16) and noise.dtype == np.float32
    assert abs(noise.mean()) < 0.02 and noise.std() == pytest.approx(1, abs=0.02)
    assert (abs(noise) > 1.96).mean() == pytest.approx(0.05, abs=0.005)


@pytest.fixture(scope="module")
def pixels(make_images):
    return make_images(40)


def test_several_steps_in_a_call_are_one_after_the_other_to_the_last_bit(pixels, graphs_optimised):
    batches = np.arange(24, dtype=np.int32).reshape(3, 8)
    stepped, at_once = make_pair(pixels), make_pair(pixels)
    metrics = [list(stepped.step(batch, number).values()) for number, batch in enumerate(batches)]
    rows = np.concatenate([at_once.steps(batches[:2], 0), at_once.steps(batches[2:], 2)])
    assert np.array_equal(rows, metrics)
    for name in ("generator", "discriminator", "averaged"):
        assert equal(getattr(stepped, name).get_weights(), getattr(at_once, name).get_weights())


def test_averaged_generator_follows_the_warm_up_in_all_its_weights(pixels):
    pair = make_pair(pixels)
    for averaging, step, decay in ((0.999, 0, 1 / 10), (0.999, 1, 2 / 11), (0.999, 2, 3 / 12), (0.999, 10 ** 6, 0.999),
                                   (0.05, 5, 0.05), (0, 5, 0)):
        pair.generator.set_weights([weight + 0.3 for weight in pair.generator.get_weights()])
        before = pair.averaged.get_weights()
        dcgan.make_average(pair.generator, pair.averaged, averaging)(step)
        for old, own, new in zip(before, pair.generator.get_weights(), pair.averaged.get_weights(), strict=True):
            np.testing.assert_allclose(new, decay * old + (1 - decay) * own, rtol=1e-5, atol=1e-6)
            assert not np.allclose(old, own, rtol=1e-4, atol=1e-5), "nothing to see in this weight"
    assert equal(pair.averaged.get_weights(), pair.generator.get_weights()), "averaging of 0 is a copy"
    with pytest.raises(ValueError, match="averaging is 1.0"):
        dcgan.make_average(pair.generator, pair.averaged, 1.0)


def test_step_returns_and_follows_what_its_formulas_say_for_batches_of_any_size(pixels):
    pair = make_pair(pixels, noise_seed=7, optimizers=[keras.optimizers.SGD(0.5), keras.optimizers.SGD(0.1)])
    pair.discriminator.layers[-1].kernel.assign(pair.discriminator.layers[-1].kernel * 30)
    nets, accuracies = (pair.generator, pair.discriminator), []
    for step, count in enumerate((16, 5, 1), start=3):
        metrics, gradients = replay(pair, pixels, indices(2 * step, count), step, seed=7)
        before = trainable_weights(pair)
        returned = pair.step(indices(2 * step, count), step)
        assert list(returned) == list(metrics) and all(value.shape == () for value in returned.values())
        assert {name: float(value) for name, value in returned.items()} == pytest.approx(metrics, rel=1e-3, abs=1e-4)
        for net, rate, old, slopes in zip(nets, (0.5, 0.1), before, gradients):
            for weight, was, slope in zip(net.trainable_variables, old, slopes, strict=True):
                np.testing.assert_allclose(weight.numpy(), was - rate * slope, rtol=1e-3, atol=1e-4)
        for net, statistics in zip(nets, pair.statistics):
            assert {variable.name for variable in net.non_trainable_variables} == {"moving_mean", "moving_variance"}
            for variable, wanted in zip(net.non_trainable_variables, statistics, strict=True):
                np.testing.assert_allclose(variable.numpy(), wanted, rtol=1e-3, atol=1e-6)
        accuracies += [metrics["d_real_accuracy"], metrics["d_fake_accuracy"]]
    assert any(0 < accuracy < 1 for accuracy in accuracies), "accuracies of 0 and 1 alone tell little"
    assert pair.steps.experimental_get_tracing_count() == 1


# The loop

@pytest.mark.parametrize("count, batch, wanted", [
    (40, 8, [(0, 3, 8), (3, 2, 8)]), (41, 8, [(0, 3, 8), (3, 2, 8), (5, 1, 1)]), (5, 5, [(0, 1, 5)]),
    (5, 8, [(0, 1, 5)]), (24, 8, [(0, 3, 8)])])
def test_batches_of_an_epoch_are_all_images_once_in_calls_of_some_steps(count, batch, wanted):
    calls = list(dcgan.batches_of(0, count, batch, at_a_time=3))
    assert [(first, *indices.shape) for first, indices in calls] == wanted
    assert sorted(np.concatenate([indices.ravel() for _, indices in calls])) == list(range(count))
    later = list(dcgan.batches_of(2, count, batch, at_a_time=3))
    assert later[0][0] == 2 * -(-count // batch)
    assert count == 5 or not np.array_equal(later[0][1], calls[0][1]), "another order"
    again = list(dcgan.batches_of(2, count, batch, at_a_time=3))
    assert all(np.array_equal(one, two) for (_, one), (_, two) in zip(later, again, strict=True))


def counted_steps(indices, first_step):
    """Metrics that tell step and place: `step + 0.1 * place`."""
    numbers = first_step + np.arange(len(indices))
    return tf.constant(numbers[:, None] + 0.1 * np.arange(6), tf.float32)


def recorded(generator, *, stop_after=None, **options):
    """What a callback is told by the loop over 20 images in batches of 8."""
    told = []

    class Recorder(keras.callbacks.Callback):
        def __getattribute__(self, name):
            if name.startswith("on_") and "batch_begin" not in name and name not in ("on_batch_end",):
                def tell(*arguments, **named):
                    told.append((name, *[value for value in (*arguments, *named.values()) if value is not None]))
                    if name == "on_epoch_end" and arguments[0] == stop_after:
                        generator.stop_training = True
                return tell
            return super().__getattribute__(name)

    dcgan.train_loop(counted_steps, generator, 20, batch_size=8, callbacks=[Recorder()], **options)
    return told


def test_loop_tells_callbacks_by_keras_names_with_means_over_images(make_nets):
    told = recorded(make_nets()[0], epochs=2)
    assert [event[0] for event in told] == [
        "on_train_begin", *["on_epoch_begin", "on_train_batch_end", "on_train_batch_end", "on_epoch_end"] * 2,
        "on_train_end"]
    _, epoch, logs = told[4]
    assert epoch == 0 and logs == pytest.approx(
        {name: (8 * 0 + 8 * 1 + 4 * 2) / 20 + 0.1 * place for place, name in enumerate(dcgan.METRICS)}, rel=1e-6)
    _, batch, logs = told[2]
    assert batch == 1 and logs["d_loss"] == pytest.approx(0.5) and logs["loss"] == pytest.approx(0.5 + 0.6)
    assert [event[1] for event in told if event[0] == "on_train_batch_end"] == [1, 2, 4, 5]


def test_loop_goes_on_from_an_epoch_and_stops_when_it_is_told(make_nets):
    generator, _ = make_nets()
    told = recorded(generator, epochs=4, initial_epoch=2)
    assert [event[1] for event in told if event[0] == "on_epoch_end"] == [2, 3]
    told = recorded(generator, epochs=9, stop_after=1)
    assert [event[1] for event in told if event[0] == "on_epoch_end"] == [0, 1] and told[-1][0] == "on_train_end"
    assert len(recorded(generator, epochs=3)) > len(told), "stopped once, not for ever"


def test_keras_own_callbacks_and_wandbs_work_in_the_loop(make_nets, make_images, tmp_path):
    wandb = pytest.importorskip("wandb")
    from wandb.integration.keras import WandbMetricsLogger
    generator, discriminator = make_nets()
    generator.optimizer = keras.optimizers.Adam(1e-3)
    step = dcgan.make_train_step(generator, discriminator, generator.optimizer, keras.optimizers.Adam(1e-3))
    settings = wandb.Settings(silent=True, console="off", mode="offline")
    with wandb.init(project="test", dir=tmp_path, mode="offline", settings=settings) as run:
        dcgan.train_loop(dcgan.make_steps(step, make_images(20), 8), generator, 20, epochs=2, batch_size=8, callbacks=[
            keras.callbacks.CSVLogger(tmp_path / "log.csv"), WandbMetricsLogger(),
            keras.callbacks.TensorBoard(tmp_path / "board"), keras.callbacks.TerminateOnNaN()])
        assert run.summary["epoch/d_loss"] > 0 and run.summary["epoch/epoch"] == 1
    lines = (tmp_path / "log.csv").read_text().splitlines()
    assert len(lines) == 3 and set(dcgan.METRICS) <= set(lines[0].split(","))
    events, = (tmp_path / "board" / "train").glob("events.out.tfevents.*")
    assert b"epoch_d_loss" in events.read_bytes()
    assert len(list(tmp_path.glob("wandb/offline-run-*"))) == 1


def test_helper_alone_in_a_folder_trains_on_an_array_and_writes_a_gif(tmp_path):
    """In a process of its own, with no other file of the course."""
    shutil.copy(Path(dcgan.__file__), tmp_path)
    (tmp_path / "alone.py").write_text('''
import keras, numpy as np
from dcgan_utils import *
import tensorflow as tf
tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})
images = np.random.default_rng(0).integers(0, 256, (40, 16, 16, 1), dtype=np.uint8)
generator, discriminator = build_generator((16, 16, 1), 8, width=4), build_discriminator((16, 16, 1), width=4)
step = make_train_step(generator, discriminator, keras.optimizers.Adam(1e-3), keras.optimizers.Adam(1e-3))
frames = [make_grid(generate_images(generator, 16))]
keep = keras.callbacks.LambdaCallback(on_epoch_end=lambda *_: frames.append(make_grid(generate_images(generator, 16))))
train_loop(make_steps(step, images, 8), generator, len(images), epochs=2, batch_size=16, callbacks=[keep])
save_gif(frames, "training.gif", captions=["before", "epoch 1", "epoch 2"])
''')
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run([sys.executable, "alone.py"], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    frames = imageio.imread(tmp_path / "training.gif", index=None)
    assert len(frames) == 3 and (frames[0] != frames[2]).any()
    assert sorted(path.name for path in tmp_path.iterdir() if path.name != "__pycache__") == [
        "alone.py", "dcgan_utils.py", "training.gif"]
