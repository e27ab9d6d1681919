"""Losses against closed forms, noise, and what one train step does."""

import math
from types import SimpleNamespace

import keras
import numpy as np
import pytest
import tensorflow as tf

import dcgan_utils as du

# Losses

def test_losses_of_an_undecided_discriminator():
    zeros = tf.zeros((6, 1))
    assert float(du.discriminator_loss(zeros, zeros)) == pytest.approx(2 * math.log(2), rel=1e-6)
    assert float(du.generator_loss(zeros)) == pytest.approx(math.log(2), rel=1e-6)


def test_losses_are_the_binary_cross_entropies_each_averaged_over_its_batch():
    random = np.random.default_rng(0)
    real, fake = random.normal(1, 3, (5, 1)), random.normal(-1, 3, (9, 1))
    probability = 1 / (1 + np.exp(-real)), 1 / (1 + np.exp(-fake))
    d_loss = -np.log(probability[0]).mean() - np.log(1 - probability[1]).mean()
    assert float(du.discriminator_loss(tf.constant(real), tf.constant(fake))) == pytest.approx(d_loss, rel=1e-12)
    assert float(du.generator_loss(tf.constant(fake))) == pytest.approx(-np.log(probability[1]).mean(), rel=1e-12)


@pytest.mark.parametrize("real, fake, d_loss, g_loss", [
    (1000, -1000, 0, 1000), (-1000, 1000, 2000, 0), (1000, 1000, 1000, 0), (-1000, -1000, 1000, 1000)])
def test_losses_and_their_gradients_are_finite_at_huge_logits(real, fake, d_loss, g_loss):
    real, fake = tf.Variable([[float(real)]]), tf.Variable([[float(fake)]])
    with tf.GradientTape(persistent=True) as tape:
        losses = du.discriminator_loss(real, fake), du.generator_loss(fake)
    assert [float(loss) for loss in losses] == [d_loss, g_loss]
    gradients = [*tape.gradient(losses[0], [real, fake]), tape.gradient(losses[1], fake)]
    assert np.isfinite([gradient.numpy() for gradient in gradients]).all()


# Noise

def test_noise_is_decided_by_seed_and_step_and_by_nothing_else():
    first = du.make_noise(4, 8, seed=1, step=2).numpy()
    tf.random.set_seed(99)
    np.testing.assert_array_equal(du.make_noise(4, 8, seed=1, step=2), first)
    np.testing.assert_array_equal(tf.function(du.make_noise)(4, 8, seed=1, step=tf.constant(2, tf.int64)), first)
    for seed, step in ((1, 3), (2, 2), (2, 1), (3, 0), (1, -1)):
        assert not np.isclose(du.make_noise(4, 8, seed=seed, step=step), first).any()


def test_noise_is_standard_normal():
    noise = du.make_noise(4000, 16, seed=0).numpy()
    assert noise.shape == (4000, 16) and noise.dtype == np.float32
    assert abs(noise.mean()) < 0.02 and noise.std() == pytest.approx(1, abs=0.02)
    assert (abs(noise) > 1.96).mean() == pytest.approx(0.05, abs=0.005)


# The step

@pytest.fixture(scope="module")
def make_pair(make_nets):
    """A function that makes two nets, an averaged generator of other weights, and their train step."""
    def make(averaging=0.999, noise_seed=0, optimizers=None, **options):
        generator, discriminator = make_nets()
        averaged, _ = make_nets(seed=1)
        for weight in averaged.weights:
            weight.assign(weight + 0.5)
        optimizers = optimizers or [keras.optimizers.Adam(1e-3, beta_1=0.5) for _ in range(2)]
        step = du.make_train_step(generator, discriminator, *optimizers, averaged, seed=noise_seed, averaging=averaging,
                                  **options)
        return SimpleNamespace(generator=generator, discriminator=discriminator, averaged=averaged, step=step)
    return make


@pytest.fixture(scope="module")
def pixels(make_images):
    return tf.constant(make_images(40))


def indices(start, count):
    return tf.range(start, start + count)


def weights_of(pair):
    return [weight for net in (pair.generator, pair.discriminator, pair.averaged) for weight in net.get_weights()]


def train_some(pair, pixels, step):
    pair.step(pixels, indices(8 * step, 8), step)


def equal(first, second):
    return all(np.array_equal(one, two) for one, two in zip(first, second, strict=True))


def test_loop_gives_the_weights_and_metrics_of_its_steps_to_the_last_bit(make_pair, pixels, graphs_optimised):
    batches = np.arange(24, dtype=np.int32).reshape(3, 8)
    stepped, looped = make_pair(), make_pair()
    metrics = [list(stepped.step(pixels, batch, number).values()) for number, batch in enumerate(batches)]
    loop = du.make_train_loop(looped.step, pixels)
    rows = np.concatenate([loop(batches[:2], 0), loop(batches[2:], 2)])
    assert np.array_equal(rows, metrics) and equal(weights_of(stepped), weights_of(looped))


def test_one_step_changes_all_weights_and_moving_statistics(make_pair, pixels):
    pair = make_pair()
    before = {weight.path: weight.numpy() for net in (pair.generator, pair.discriminator) for weight in net.weights}
    pair.step(pixels, indices(0, 16), 0)
    normalised = [layer.name for layer, follower in zip(pair.discriminator.layers, pair.discriminator.layers[1:])
                  if isinstance(follower, keras.layers.BatchNormalization)]
    without_effect = {f"discriminator/{name}/bias" for name in normalised}  # BatchNorm subtracts it again
    unchanged = {weight.path for net in (pair.generator, pair.discriminator) for weight in net.weights
                 if (weight.numpy() == before[weight.path]).all()}
    assert len(before) > 20 and any("moving_variance" in path for path in before)
    assert unchanged <= without_effect


def test_averaged_generator_follows_the_warm_up_in_all_its_weights(make_pair, pixels):
    pair = make_pair()
    for step, decay in ((0, 1 / 10), (1, 2 / 11), (2, 3 / 12), (10 ** 6, 0.999)):
        before = pair.averaged.get_weights()
        pair.step(pixels, indices(0, 8), step)
        for old, own, new in zip(before, pair.generator.get_weights(), pair.averaged.get_weights(), strict=True):
            np.testing.assert_allclose(new, decay * old + (1 - decay) * own, rtol=1e-5, atol=1e-6)
            assert not np.allclose(old, own, rtol=1e-4, atol=1e-5), "nothing to see in this weight"


def test_averaging_of_zero_is_a_copy_and_warm_up_never_exceeds_averaging(make_pair, pixels):
    copy, slow = make_pair(averaging=0), make_pair(averaging=0.05)
    before = slow.averaged.get_weights()
    copy.step(pixels, indices(0, 8), 5)
    slow.step(pixels, indices(0, 8), 5)
    assert equal(copy.averaged.get_weights(), copy.generator.get_weights())
    for old, own, new in zip(before, slow.generator.get_weights(), slow.averaged.get_weights(), strict=True):
        np.testing.assert_allclose(new, 0.05 * old + 0.95 * own, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("averaging", [-0.1, 1.0, 1.5, float("nan")])
def test_illegal_averaging_is_refused(averaging, make_pair):
    with pytest.raises(ValueError, match="averaging is"):
        make_pair(averaging=averaging)


def cross_entropy_of_discriminator(real, fake):
    return tf.reduce_mean(tf.math.softplus(-real)) + tf.reduce_mean(tf.math.softplus(fake))


def cross_entropy_of_generator(fake):
    return tf.reduce_mean(tf.math.softplus(-fake))


def replay(pair, pixels, chosen, step, seed, losses=(cross_entropy_of_discriminator, cross_entropy_of_generator),
           penalty=None):
    """What a step has to return, and the gradients it has to follow, written out; leaves the nets as they were."""
    nets = pair.generator, pair.discriminator
    before = [net.get_weights() for net in nets]
    real = du.to_model_range(tf.gather(pixels, chosen))
    noise = du.make_noise(len(chosen), 8, seed=seed, step=step)
    with tf.GradientTape(persistent=True) as tape:
        fake = pair.generator(noise, training=True)
        real_logits, fake_logits = pair.discriminator(real, training=True), pair.discriminator(fake, training=True)
        d_loss = losses[0](real_logits, fake_logits) + (penalty(pair.discriminator, real, fake) if penalty else 0)
        g_loss = losses[1](fake_logits)
    gradients = [tape.gradient(loss, net.trainable_variables) for loss, net in zip((g_loss, d_loss), nets)]
    for net, weights in zip(nets, before):
        net.set_weights(weights)
    real_logits, fake_logits = real_logits.numpy(), fake_logits.numpy()
    metrics = {"d_loss": float(d_loss), "g_loss": float(g_loss),
               "d_real_accuracy": (real_logits > 0).mean(), "d_fake_accuracy": (fake_logits <= 0).mean(),
               "d_real_mean": (1 / (1 + np.exp(-real_logits))).mean(),
               "d_fake_mean": (1 / (1 + np.exp(-fake_logits))).mean()}
    return metrics, gradients


def test_step_returns_and_follows_what_its_formulas_say_for_batches_of_any_size(make_pair, pixels):
    pair = make_pair(noise_seed=7, optimizers=[keras.optimizers.SGD(0.5), keras.optimizers.SGD(0.1)])
    pair.discriminator.layers[-1].kernel.assign(pair.discriminator.layers[-1].kernel * 30)
    nets, accuracies = (pair.generator, pair.discriminator), []
    for step, count in enumerate((16, 5, 1), start=3):
        metrics, gradients = replay(pair, pixels, indices(2 * step, count), step, seed=7)
        before = [[weight.numpy() for weight in net.trainable_variables] for net in nets]
        returned = pair.step(pixels, indices(2 * step, count), step)
        assert list(returned) == list(metrics) and all(value.shape == () for value in returned.values())
        assert {name: float(value) for name, value in returned.items()} == pytest.approx(metrics, rel=1e-3, abs=1e-4)
        for net, rate, old, slopes in zip(nets, (0.5, 0.1), before, gradients):
            for weight, was, slope in zip(net.trainable_variables, old, slopes, strict=True):
                np.testing.assert_allclose(weight.numpy(), was - rate * slope, rtol=1e-3, atol=1e-4)
        accuracies += [metrics["d_real_accuracy"], metrics["d_fake_accuracy"]]
    assert any(0 < accuracy < 1 for accuracy in accuracies), "accuracies of 0 and 1 alone tell little"
    pair.step(np.asarray(pixels)[:9], np.arange(9, dtype=np.int32), np.int64(6))
    assert pair.step.experimental_get_tracing_count() == 1


def test_default_step_is_bit_for_bit_one_written_out(make_pair, pixels):
    tf.config.experimental.enable_op_determinism()
    ours, theirs = make_pair(noise_seed=7), make_pair(noise_seed=7)
    nets = theirs.generator, theirs.discriminator
    optimizers = [keras.optimizers.Adam(1e-3, beta_1=0.5) for _ in nets]
    for net, optimizer in zip(nets, optimizers):
        optimizer.build(net.trainable_variables)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.int32), tf.TensorSpec([], tf.int64)])
    def by_hand(chosen, step):
        real, noise = du.to_model_range(tf.gather(pixels, chosen)), du.make_noise(tf.size(chosen), 8, seed=7, step=step)
        with tf.GradientTape() as tape, tf.GradientTape() as other_tape:
            fake = nets[0](noise, training=True)
            logits = [nets[1](images, training=True) for images in (real, fake)]
            losses = du.generator_loss(logits[1]), du.discriminator_loss(*logits)
        gradients = [each.gradient(loss, net.trainable_variables)
                     for each, loss, net in zip((tape, other_tape), losses, nets)]
        for optimizer, slopes, net in zip(optimizers, gradients, nets):
            optimizer.apply(slopes, net.trainable_variables)

    for step in range(3):
        train_some(ours, pixels, step)
        by_hand(tf.range(8 * step, 8 * step + 8), step)
    for net, other in zip(nets, (ours.generator, ours.discriminator)):
        assert equal(net.get_weights(), other.get_weights())


@pytest.mark.parametrize("optimizer, factor", [
    (lambda: keras.optimizers.SGD(0.1), 2), (lambda: keras.optimizers.Adam(1e-3, epsilon=1e-30), 1)],
    ids=["SGD", "Adam"])
def test_twice_the_loss_is_twice_the_step_of_sgd_and_the_same_of_adam(optimizer, factor, make_pair, pixels):
    moved = []
    for losses in ((du.discriminator_loss, du.generator_loss),
                   (du.discriminator_loss, lambda fake: 2 * du.generator_loss(fake))):
        pair = make_pair(optimizers=[optimizer(), optimizer()], losses=losses)
        nets = pair.generator, pair.discriminator
        before = [[weight.numpy() for weight in net.trainable_variables] for net in nets]
        pair.step(pixels, indices(0, 16), 0)
        moved.append([[weight.numpy() - was for weight, was in zip(net.trainable_variables, old, strict=True)]
                      for net, old in zip(nets, before)])
    for net, times in zip((0, 1), (factor, 1)):
        for once, twice in zip(moved[0][net], moved[1][net], strict=True):
            np.testing.assert_allclose(twice, times * once, rtol=1e-3, atol=1e-6)
    assert max(abs(change).max() for change in moved[0][0]) > 1e-4


def asymmetric(real, fake):
    return 3 * tf.reduce_mean(tf.square(real - 1)) + tf.reduce_mean(fake)


def squared(fake):
    return tf.reduce_mean(tf.square(fake - 2))


def slope(discriminator, real, fake):
    """How steep the discriminator is half-way between real images and generated ones."""
    with tf.GradientTape() as tape:
        between = (real + fake) / 2
        tape.watch(between)
        logits = discriminator(between, training=True)
    return 5 * tf.reduce_mean(tf.square(tape.gradient(logits, between)))


@pytest.mark.parametrize("options", [
    {"losses": (asymmetric, squared)}, {"penalty": slope}, {"losses": (asymmetric, squared), "penalty": slope}],
    ids=["losses", "penalty", "both"])
def test_step_follows_the_losses_and_the_penalty_it_is_given(options, make_pair, pixels):
    pair = make_pair(noise_seed=7, optimizers=[keras.optimizers.SGD(0.05), keras.optimizers.SGD(0.05)], **options)
    pair.discriminator.layers[-1].kernel.assign(pair.discriminator.layers[-1].kernel * 30)
    chosen, nets = indices(0, 12), (pair.generator, pair.discriminator)
    default, default_gradients = replay(pair, pixels, chosen, 3, seed=7)
    wanted, gradients = replay(pair, pixels, chosen, 3, seed=7, **options)
    assert abs(wanted["d_loss"] - default["d_loss"]) > 0.01
    assert max(abs(one - two).numpy().max() for one, two in zip(gradients[1], default_gradients[1])) > 0.01
    before = [[weight.numpy() for weight in net.trainable_variables] for net in nets]
    returned = pair.step(pixels, chosen, 3)
    assert {name: float(value) for name, value in returned.items()} == pytest.approx(wanted, rel=1e-3, abs=1e-4)
    for net, old, slopes in zip(nets, before, gradients):
        for weight, was, slope_of_it in zip(net.trainable_variables, old, slopes, strict=True):
            np.testing.assert_allclose(weight.numpy(), was - 0.05 * slope_of_it, rtol=1e-3, atol=1e-4)


def test_a_net_that_learns_in_every_nth_step_rests_in_the_others(make_pair, pixels):
    pair = make_pair(generator_every=3, discriminator_every=2)
    moved = {"generator": [], "discriminator": []}
    for step in range(7):
        before = {name: [weight.numpy() for weight in getattr(pair, name).trainable_variables] for name in moved}
        pair.step(pixels, indices(0, 8), step)
        for name in moved:
            if not equal(before[name], [weight.numpy() for weight in getattr(pair, name).trainable_variables]):
                moved[name].append(step)
    assert moved == {"generator": [0, 3, 6], "discriminator": [0, 2, 4, 6]}


@pytest.mark.parametrize("name", ["generator_every", "discriminator_every"])
@pytest.mark.parametrize("value", [0, -1, 1.5, True])
def test_illegal_numbers_of_steps_are_refused(name, value, make_pair):
    with pytest.raises(ValueError, match=f"{name} is {value}; wanted a whole number"):
        make_pair(**{name: value})


@pytest.mark.parametrize("resting", ["generator", "discriminator"])
def test_a_net_is_moved_by_its_own_optimiser_alone(resting, make_pair, pixels):
    rates = [0.0, 0.1] if resting == "generator" else [0.1, 0.0]
    pair = make_pair(optimizers=[keras.optimizers.SGD(rate) for rate in rates])
    nets = {"generator": pair.generator, "discriminator": pair.discriminator}
    before = {name: [weight.numpy() for weight in net.trainable_variables] for name, net in nets.items()}
    pair.step(pixels, indices(0, 8), 0)
    for name, net in nets.items():
        unmoved = equal(before[name], [weight.numpy() for weight in net.trainable_variables])
        assert unmoved == (name == resting)


def test_factories_side_by_side_do_as_each_alone_and_their_seed_decides(make_pair, pixels):
    tf.config.experimental.enable_op_determinism()
    alone = []
    for seed in (0, 1):
        pair = make_pair(noise_seed=seed)
        for step in range(3):
            train_some(pair, pixels, step)
        alone.append(weights_of(pair))
    beside = [make_pair(noise_seed=seed) for seed in (0, 1)]
    for step in range(3):
        for pair in beside:
            train_some(pair, pixels, step)
    assert equal(alone[0], weights_of(beside[0])) and equal(alone[1], weights_of(beside[1]))
    assert not equal(alone[0], alone[1])
