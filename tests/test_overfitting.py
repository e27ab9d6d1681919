"""Overfitting: losses with a memory, verdicts on held-out images, runs and experiments that record them."""

import dataclasses

import keras
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf

import dcgan_utils as dcgan
from lab import augmentation, conditional, datasets, experiments, measures, overfitting, runs
from lab.augmentation import Flip, ShiftAndZoom
from lab.overfitting import AdaptiveStrength, LeCam
from train_small import small_data, small_measuring_net, small_nets, tiny, train_small

SHAPE = (16, 16, 1)


def logits(*values):
    return tf.constant(values, tf.float32)[:, None]


# Losses with a memory

def test_strength_follows_the_signs_of_the_verdicts_on_real_images(make_nets):
    net = augmentation.augmented(make_nets()[1], [ShiftAndZoom(probability=0.5), Flip(0.99)])
    loss, memory = AdaptiveStrength(target=0.4, images=100).begin(net)
    assert memory == []
    for real, wanted in (((1, 2, 3, -9), (0.54, 1.0)), ((1, 2, -3, 9), (0.58, 1.0)), ((1, -2, -3, 9), (0.54, 0.96)),
                         ((-1,) * 4, (0.5, 0.92))):
        assert float(loss(logits(*real), logits(-1.0, 9.0))) == float(
            dcgan.discriminator_loss(logits(*real), logits(-1.0, 9.0)))
        assert [float(layer.probability) for layer in augmentation.augmentations_of(net)] == pytest.approx(wanted)
    for _ in range(20):
        loss(logits(*[-1.0] * 4), logits(0.0))
    assert [float(layer.probability) for layer in augmentation.augmentations_of(net)] == pytest.approx(
        [0, 0.12], abs=1e-6)


def test_lecam_pulls_verdicts_towards_the_moving_average_of_the_others(make_nets):
    loss, (memory,) = LeCam(weight=0.5, decay=0.9).begin(make_nets()[1])
    of_real = of_fake = 0
    for real, fake in ((logits(1.0, 3.0), logits(-4.0, -2.0)), (logits(2.0, 2.5), logits(1.0, -1.5))):
        of_real, of_fake = 0.9 * of_real + 0.1 * np.mean(real), 0.9 * of_fake + 0.1 * np.mean(fake)
        with tf.GradientTape() as tape:
            tape.watch(real)
            value = loss(real, fake)
        penalty = np.mean((real - of_fake) ** 2) + np.mean((fake - of_real) ** 2)
        assert float(value) == pytest.approx(float(dcgan.discriminator_loss(real, fake)) + 0.5 * penalty, rel=1e-5)
        of_loss = -(1 - tf.sigmoid(real)) / 2
        np.testing.assert_allclose(tape.gradient(value, real), of_loss + 0.5 * (real - of_fake), rtol=1e-4)
        assert [float(variable) for variable in memory.variables] == pytest.approx([of_real, of_fake], rel=1e-5)


def test_losses_can_be_one_within_the_other_and_of_ones_own(make_nets):
    def least_squares(real, fake):
        return tf.reduce_mean((real - 1) ** 2) + tf.reduce_mean(fake ** 2)

    net = augmentation.augmented(make_nets()[1], [Flip(0.5)])
    real, fake = logits(1.0, 2.0), logits(-3.0, 0.5)
    outer, memory = AdaptiveStrength(images=10, loss=LeCam(0.3, loss=least_squares)).begin(net)
    inner, _ = LeCam(0.3, loss=least_squares).begin(net)
    assert float(outer(real, fake)) == float(inner(real, fake)) > float(least_squares(real, fake))
    assert len(memory) == 1 and float(net.layers[1].probability) == pytest.approx(0.7)


@pytest.mark.parametrize("build, words", [
    (lambda: LeCam(0), "weight is 0; wanted a number above 0"), (lambda: LeCam(decay=1.0), "decay is 1.0; wanted"),
    (lambda: LeCam(loss="hinge"), "loss is 'hinge'; wanted a function"),
    (lambda: AdaptiveStrength(target=1), "target is 1; wanted a number above -1 and below 1"),
    (lambda: AdaptiveStrength(images=0.5), "images is 0.5; wanted a whole number")])
def test_what_cannot_be_a_loss_is_refused(build, words):
    with pytest.raises(ValueError, match=words):
        build()
    with pytest.raises(dataclasses.FrozenInstanceError):
        LeCam().weight = 2


def test_strength_without_augmentation_is_refused_before_anything_is_written(tmp_path, outputs):
    losses = AdaptiveStrength(), dcgan.generator_loss
    with pytest.raises(ValueError, match="discriminator has no layer that augments them: build it"):
        train_small(tmp_path / "run", 1, losses=losses)
    with pytest.raises(ValueError, match="discriminator has no layer that augments"):
        experiments.run_experiments([tiny(), tiny("b", losses=losses)], small_data(), seeds=(0,), processes=1)
    with pytest.raises(ValueError, match="losses is .*; wanted two functions, .* memory of lab.overfitting"):
        train_small(tmp_path / "run", 1, losses=(dcgan.discriminator_loss, LeCam()))
    assert not (tmp_path / "run").exists() and not outputs.exists()


@pytest.mark.long
def test_step_remembers_the_same_within_a_strategy(make_nets):
    after = []
    for strategy in (tf.distribute.get_strategy(), tf.distribute.OneDeviceStrategy("CPU:0")):
        with strategy.scope():
            generator, discriminator = make_nets()
            net = augmentation.augmented(discriminator, [Flip(0.5)])
            losses = AdaptiveStrength(images=1000, loss=LeCam()), dcgan.generator_loss
            steps, (*_, memory) = runs.compose_step(generator, net, [keras.optimizers.SGD(0.05) for _ in range(2)],
                                                    make_nets()[0], small_data(), losses=losses)
            steps(np.arange(12, dtype=np.int32)[None], 0)
            after.append([float(variable) for variable in (net.layers[1].probability, *memory.variables)])
    assert after[0] == pytest.approx(after[1], rel=1e-4) and after[0][0] == pytest.approx(0.488)


# Verdicts on held-out images

def verdict(net, images):
    return float(np.mean(net(dcgan.to_model_range(images), training=False)))


def test_verdicts_are_of_training_held_out_and_generated_images_and_the_gap_lies_between(tmp_path):
    (generator, discriminator), data = small_nets(), small_data(2300)
    callback = overfitting.Overfitting(tmp_path, generator, discriminator, datasets.as_dataset(data[:1200]),
                                       datasets.as_dataset(data[1200:]), 3, lambda epoch: True, 1)
    before, logs = [net.get_weights() for net in (generator, discriminator)], {}
    callback.on_epoch_end(0, logs)
    training, held_out = (measures.sample(images, 1000) for images in (data[:1200], data[1200:]))
    wanted = [verdict(discriminator, images) for images in (
        training, held_out, dcgan.generate_images(generator, 1000, seed=3))]
    row, = pd.read_csv(tmp_path / "overfitting.csv").to_dict("records")
    assert list(row) == ["epoch", "training", "held_out", "generated", "gap"] and row["epoch"] == 1
    assert [row[name] for name in ("training", "held_out", "generated")] == pytest.approx(wanted, rel=1e-3, abs=1e-6)
    gap = (row["training"] - row["held_out"]) / (row["training"] - row["generated"])
    assert row["gap"] == logs["overfitting_gap"] == pytest.approx(gap)
    for net, weights in zip((generator, discriminator), before):
        assert all(map(np.array_equal, net.get_weights(), weights))


@pytest.mark.long
def test_rows_of_an_earlier_life_go_and_those_before_stay(tmp_path, quick_steps):
    folder, held_out = tmp_path / "run", small_data(30)
    rows = []
    for epochs in (3, 6):
        train_small(folder, epochs, held_out=held_out)
        rows.append((folder / "overfitting.csv").read_text().splitlines())
    assert [[row.split(",")[0] for row in some[1:]] for some in rows] == [["2", "3"], ["2", "4", "6"]]
    assert rows[1][1] == rows[0][1]
    train_small(tmp_path / "whole", 6, held_out=held_out)
    assert (tmp_path / "whole" / "overfitting.csv").read_text().splitlines() == rows[1]
    (folder / "overfitting.csv").write_text("\n".join([*rows[1], "8,1,2,3,4", "9,1,"]))  # killed, and cut
    train_small(folder, 8, held_out=held_out)
    later = (folder / "overfitting.csv").read_text().splitlines()
    assert later[:4] == rows[1] and len(later) == 5 and later[4].startswith("8,") and later[4] != "8,1,2,3,4"
    with pytest.raises(ValueError, match="held_out.count: 30 in that run, 20 now"):
        train_small(folder, 8, held_out=small_data(20))


def test_held_out_images_of_another_kind_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"held_out has images of shape \(28, 28, 1\), the data have \(16, 16, 1\)"):
        train_small(tmp_path / "run", 1, held_out=np.zeros((50, 28, 28, 1), np.uint8))
    labels = np.arange(60, dtype=np.uint8) % 3
    data = datasets.Dataset(small_data(60), labels, ("a", "b", "c"))
    nets = (conditional.build_conditional_generator(SHAPE, 3, 8, width=4),
            conditional.build_conditional_discriminator(SHAPE, 3, width=4))
    with pytest.raises(ValueError, match="nets take labels, and the data, an array, have none"):
        runs.train(*nets, data, tmp_path / "run", held_out=small_data(20), epochs=1)
    assert not (tmp_path / "run").exists()


def test_conditional_nets_are_asked_with_the_labels_of_the_images(tmp_path):
    labels = np.arange(60, dtype=np.uint8) % 3
    sets = [datasets.Dataset(small_data(60)[i::2], labels[i::2], ("a", "b", "c")) for i in (0, 1)]
    generator = conditional.build_conditional_generator(SHAPE, 3, 8, width=4)
    discriminator = conditional.build_conditional_discriminator(SHAPE, 3, width=4)
    discriminator.set_weights([20 * weights for weights in discriminator.get_weights()])
    callback = overfitting.Overfitting(tmp_path, generator, discriminator, *sets, 3, lambda epoch: True, 1)
    callback.on_epoch_end(0, {})
    row, = pd.read_csv(tmp_path / "overfitting.csv").to_dict("records")
    order = measures.sample(np.arange(30), 30)
    drawn = dcgan.generate_images(generator, 30, seed=3, labels=sets[0].labels[order])
    for name, images, asked in (("training", sets[0].images[order], sets[0].labels[order]),
                                ("held_out", sets[1].images[order], sets[1].labels[order]),
                                ("generated", drawn, sets[0].labels[order])):
        wanted = discriminator([dcgan.to_model_range(images), tf.constant(asked)], training=False)
        assert row[name] == pytest.approx(float(np.mean(wanted)), rel=1e-3), name


# Experiments

def test_copies_are_counted_against_the_training_images_and_beside_held_out_ones(outputs, quick_steps):
    data, held_out = small_data(300)[:100], small_data(300)[100:160]
    result, = experiments.run_experiments([tiny()], data, seeds=(2,), reference=small_data(300), held_out=held_out,
                                          processes=1).itertuples()
    folder, net = outputs / "experiments" / "base-seed2", small_measuring_net()
    generator = keras.models.load_model(folder / "generator_last.keras")
    drawn = net.features(dcgan.generate_images(generator, 300, seed=1002))
    wanted = measures.memorisation(drawn, net.features(data), net.features(held_out))
    assert (result.copied, result.copy_distance) == pytest.approx((wanted["copied"], wanted["copy_distance"]), rel=1e-3)
    assert result.images == 300 and result.frechet_distance == pytest.approx(
        measures.frechet_distance(net.features(small_data(300)), drawn), rel=1e-3)
    assert pd.read_csv(folder / "overfitting.csv").epoch.tolist() == [1, 2]
    with pytest.raises(ValueError, match="held_out: .* in that run, default now"):
        experiments.run_experiments([tiny()], data, seeds=(2,), reference=small_data(300), processes=1)
