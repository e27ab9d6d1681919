"""Steps as one XLA program: when, in which shape, with which numbers, and what if XLA cannot."""

import json

import keras
import numpy as np
import pytest
import tensorflow as tf

import dcgan_utils as dcgan
from conftest import use_quick_steps
from lab import compiling, runs
from test_runs import assert_same_run
from train_small import train_small


def with_gpus(monkeypatch, count):
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind=None: [f"{kind}:{i}" for i in range(count)])


def mode_of(run_dir):
    return json.loads((run_dir / "config.json").read_text())["compiled"]


@pytest.fixture
def mode_alone(monkeypatch):
    """Steps that are no training, either way, for tests of which way is taken."""
    use_quick_steps(monkeypatch)
    monkeypatch.setattr(tf.config.experimental, "enable_op_determinism", lambda: None)


# When

def test_a_gpu_and_enough_steps_make_compiling_pay(monkeypatch):
    assert not compiling.pays(10 ** 6), "a CPU is slower compiled"
    with_gpus(monkeypatch, 1)
    assert compiling.pays(compiling.PAYS_FROM) and not compiling.pays(compiling.PAYS_FROM - 1)
    with tf.distribute.OneDeviceStrategy("/cpu:0").scope():
        assert not compiling.pays(10 ** 6)


@pytest.mark.parametrize("gpus, pays_from, compiled, wanted", [
    (0, 1, None, False), (1, 8, None, True), (1, 9, None, False), (1, 9, True, True), (1, 1, False, False),
    (0, 1, True, True)])
def test_device_and_number_of_steps_decide_unless_it_is_chosen(mode_alone, monkeypatch, tmp_path, capsys, gpus,
                                                              pays_from, compiled, wanted):
    with_gpus(monkeypatch, gpus)
    monkeypatch.setattr(compiling, "PAYS_FROM", pays_from)
    train_small(tmp_path / "run", 2, compiled=compiled)
    said = capsys.readouterr().out
    assert mode_of(tmp_path / "run") is wanted
    assert said.count("Compiled: 3 steps are one XLA program") == wanted
    assert said.count("Not compiled, step by step") == (gpus > 0 and not wanted)


def test_a_run_goes_on_in_the_mode_that_it_began_in(mode_alone, monkeypatch, tmp_path):
    train_small(tmp_path / "plain", 2)
    train_small(tmp_path / "compiled", 2, compiled=True)
    old = json.loads((tmp_path / "plain" / "config.json").read_text())
    del old["compiled"]  # as runs were before there was a choice
    (tmp_path / "plain" / "config.json").write_text(json.dumps(old))
    with_gpus(monkeypatch, 1)
    monkeypatch.setattr(compiling, "PAYS_FROM", 1)
    for name, wanted in (("plain", False), ("compiled", True)):
        train_small(tmp_path / name, 4)
        assert mode_of(tmp_path / name) is wanted
        with pytest.raises(ValueError, match=f"compiled: {wanted} in that run, {not wanted} now"):
            train_small(tmp_path / name, 6, compiled=not wanted)


@pytest.mark.parametrize("compiled", ["yes", 2])
def test_a_choice_that_is_none_is_refused(tmp_path, compiled):
    with pytest.raises(ValueError, match=f"compiled is {compiled!r}; wanted True, False or None"):
        train_small(tmp_path / "run", 2, compiled=compiled)


def test_several_replicas_are_not_compiled(tmp_path):
    with (tf.distribute.OneDeviceStrategy("/cpu:0").scope(),
          pytest.raises(ValueError, match="compiled is True under a tf.distribute strategy; wanted None or False")):
        train_small(tmp_path / "run", 2, compiled=True)


# Which shape

@pytest.mark.parametrize("whole, wanted", [(1, 1), (63, 63), (64, 64), (937, 234), (10_000, 250), (127, 127)])
def test_program_is_as_long_as_leaves_the_fewest_steps_over(whole, wanted):
    assert compiling.steps_in_a_program(whole) == wanted


def test_no_epoch_leaves_more_than_a_few_steps_over():
    left_over = [whole % compiling.steps_in_a_program(whole) / whole for whole in range(1, 5000)]
    assert max(left_over) <= 0.02


# Which numbers

@pytest.fixture
def plain_noise(monkeypatch):
    """Noise that XLA draws as TensorFlow does: a hash of seed and step."""
    def make_noise(count, latent_dim, *, seed, step=-1):
        numbers = tf.range(tf.cast(count * latent_dim, tf.float32)) + 7 * tf.cast(step, tf.float32) + seed
        return tf.reshape(tf.sin(12.9898 * numbers) * 1.4, [count, latent_dim])
    monkeypatch.setattr(dcgan, "make_noise", make_noise)


def trained(images, make_nets, compiled, **options):
    """Metrics and weights after two epochs of 10 + 1 steps, the last one of half a batch; 4 steps a program."""
    nets = *make_nets(), make_nets()[0]
    optimizers = [keras.optimizers.SGD(0.01) for _ in range(2)]  # Adam makes much of rounding
    steps, _ = runs.compose_step(*nets[:2], optimizers, nets[2], images, compiled=(5, 4) if compiled else None,
                                 give_up=pytest.fail, **options)
    metrics = [steps(indices, number).numpy() for epoch in range(2)
               for number, indices in dcgan.batches_of(epoch, 42, 4, at_a_time=5)]
    assert not compiled or steps.compiled
    return np.concatenate(metrics), np.concatenate([weight.numpy().ravel() for net in nets for weight in net.weights])


def test_compiled_steps_train_as_the_others_do(make_images, make_nets, plain_noise):
    options = {"penalty": lambda net, real, fake: tf.reduce_mean(net(real, training=True) ** 2), "generator_every": 2}
    images = make_images(42)
    (metrics, weights), (wanted, wanted_weights) = (trained(images, make_nets, compiled, **options)
                                                    for compiled in (True, False))
    assert metrics.shape == (22, 6)
    np.testing.assert_allclose(metrics, wanted, rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(weights, wanted_weights, rtol=1e-3, atol=2e-4)


def test_compiled_noise_is_standard_normal_and_another_one_at_each_step():
    def of_step(step):
        return dcgan.make_noise(1000, 16, seed=3, step=step)
    first, again, second = (tf.function(of_step, jit_compile=True)(tf.constant(step, tf.int64)).numpy()
                            for step in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert abs(np.corrcoef(first.ravel(), second.ravel())[0, 1]) < 0.03
    assert abs(first.mean()) < 0.03 and abs(first.std() - 1) < 0.03


@pytest.mark.long
def test_compiled_run_goes_on_bit_for_bit(tmp_path):
    train_small(tmp_path / "whole", 4, compiled=True)
    for epochs in (2, 4):
        train_small(tmp_path / "parts", epochs, compiled=True)
    assert_same_run(tmp_path / "parts", tmp_path / "whole")


# What if XLA cannot

def loss_that_xla_cannot_compile(fake_logits):
    return tf.reduce_mean(tf.ensure_shape(tf.numpy_function(lambda x: x, [fake_logits], tf.float32), [None, 1])) \
        + tf.reduce_mean(tf.nn.softplus(-fake_logits))


def test_steps_that_xla_cannot_compile_run_all_the_same_and_one_line_says_so(tmp_path, capsys):
    losses = (dcgan.discriminator_loss, loss_that_xla_cannot_compile)
    train_small(tmp_path / "run", 2, compiled=True, losses=losses)
    lines = [line for line in capsys.readouterr().out.splitlines() if "cannot compile" in line]
    assert len(lines) == 1 and lines[0].endswith("they run uncompiled.")
    assert mode_of(tmp_path / "run") is False
    train_small(tmp_path / "plain", 2, losses=losses)
    assert_same_run(tmp_path / "run", tmp_path / "plain")


def test_an_error_after_the_first_program_is_not_taken_for_one_of_compiling():
    def make_steps(compiled):
        def steps(indices, first_step):
            if first_step:
                raise tf.errors.ResourceExhaustedError(None, None, "out of memory")
            return "metrics"
        return steps
    steps = compiling.CompiledSteps(make_steps, (2, 3), pytest.fail)
    assert steps(np.zeros((2, 3)), 0) == "metrics"
    with pytest.raises(tf.errors.ResourceExhaustedError):
        steps(np.zeros((2, 3)), 2)
