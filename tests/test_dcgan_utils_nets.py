"""The two nets and the layer between their images: shapes, sizes, seeds, statistics."""

import runpy

import keras
import numpy as np
import pytest
import tensorflow as tf

import dcgan_utils as dcgan

SHAPES = [(16, 16, 1), (28, 28, 1), (32, 32, 3), (64, 64, 3)]
BUILDERS = [dcgan.build_generator, dcgan.build_discriminator]


def weighted(model):
    return [layer for layer in model.layers if hasattr(layer, "kernel")]


# Shapes and ranges

@pytest.mark.parametrize("shape", SHAPES)
def test_generator_makes_images_in_tanh_range(shape):
    generator = dcgan.build_generator(shape, 8, width=4)
    weighted(generator)[-1].kernel.assign(weighted(generator)[-1].kernel * 1e12)
    made = generator(dcgan.make_noise(3, 8, seed=0), training=False)
    assert generator.input_shape == (None, 8) and generator.output_shape == (None, *shape)
    assert made.shape == (3, *shape) and made.dtype == tf.float32
    assert -1 <= np.min(made) < -0.5 and 0.5 < np.max(made) <= 1


@pytest.mark.parametrize("shape", SHAPES)
def test_discriminator_gives_one_logit_an_image_and_does_not_squash_it(shape, make_images):
    discriminator = dcgan.build_discriminator(shape, width=4)
    real = dcgan.to_model_range(make_images(5, shape[0], shape[2]))
    logits = discriminator(real, training=False).numpy()
    assert discriminator.input_shape == (None, *shape)
    assert logits.shape == (5, 1) and logits.dtype == np.float32
    last = weighted(discriminator)[-1]
    last.kernel.assign(last.kernel * -1e9)
    scaled = discriminator(real, training=False).numpy()
    np.testing.assert_allclose(scaled, -1e9 * logits, rtol=1e-3)
    assert abs(scaled).max() > 1


@pytest.mark.parametrize("side", [16, 20, 24, 28, 32, 40, 48, 56, 64, 80, 96, 112, 128])
def test_smallest_feature_map_doubles_to_the_side(side):
    start, doublings = dcgan.check_image_shape((side, side, 1))
    assert 4 <= start <= 7 and doublings >= 2 and start * 2 ** doublings == side


def test_parameter_counts_of_the_default_nets():
    latent, hidden, width, kernel = 64, 128, 16, 4 * 4
    dense = latent * hidden + 4 * hidden + hidden * 7 * 7 * (2 * width) + 4 * (2 * width)
    up_to_14 = kernel * (2 * width) * width + 4 * width
    refine = 3 * (3 * 3 * width * width + 4 * width)
    up_to_28 = kernel * width * 1 + 1
    assert dcgan.build_generator().count_params() == dense + up_to_14 + refine + up_to_28

    down_to_14 = kernel * 1 * width + width
    down_to_7 = kernel * width * (2 * width) + 2 * width + 4 * (2 * width)
    with_statistic = 3 * 3 * (2 * width + 1) * (2 * width) + 2 * width + 4 * (2 * width)
    hidden = 64
    verdict = 7 * 7 * (2 * width) * hidden + hidden + 4 * hidden + hidden + 1
    assert dcgan.build_discriminator().count_params() == down_to_14 + down_to_7 + with_statistic + verdict


# Arguments

def test_nets_without_their_hidden_layer_have_one_dense_layer():
    for net in (dcgan.build_generator(hidden=None), dcgan.build_discriminator(hidden=None)):
        assert sum(isinstance(layer, keras.layers.Dense) for layer in net.layers) == 1


def test_dropout_acts_after_each_halving_in_training_only_and_follows_the_seed(make_images):
    nets = [dcgan.build_discriminator((32, 32, 1), width=4, dropout=0.5, seed=3) for _ in range(2)]
    assert [type(layer).__name__ for layer in nets[0].layers].count("Dropout") == 3
    real = dcgan.to_model_range(make_images(8, 32))
    trained = [net(real, training=True).numpy() for net in nets]
    np.testing.assert_array_equal(*trained)
    assert (nets[0](real, training=True).numpy() != trained[0]).any()
    np.testing.assert_array_equal(nets[0](real, training=False), nets[0](real, training=False))


# Seeds

@pytest.mark.parametrize("build", BUILDERS)
def test_seed_decides_the_weights_whatever_was_built_before(build):
    first = build((16, 16, 1), width=4, seed=1).get_weights()
    other = build((16, 16, 1), width=4, seed=2).get_weights()
    keras.utils.set_random_seed(99)
    build((28, 28, 1), width=8, seed=3)
    again = build((16, 16, 1), width=4, seed=1).get_weights()
    for one, two in zip(first, again):
        np.testing.assert_array_equal(one, two)
    assert sum((one != two).any() for one, two in zip(first, other)) >= 4


def test_no_two_layers_of_a_pair_begin_with_the_same_numbers():
    nets = [build((32, 32, 1), width=4, seed=seed) for seed in (0, 1) for build in BUILDERS]
    starts = [layer.kernel.numpy().ravel()[:8].tolist() for net in nets for layer in weighted(net)]
    assert len({tuple(start) for start in starts}) == len(starts)


@pytest.mark.parametrize("build", BUILDERS)
def test_kernels_are_drawn_with_a_standard_deviation_of_two_hundredths(build):
    for layer in weighted(build(width=32)):
        kernel = layer.kernel.numpy()
        assert abs(kernel.mean()) < 0.005 and kernel.std() == pytest.approx(0.02, rel=0.15)


# Batch normalisation

def test_discriminator_normalises_every_convolution_but_the_first():
    layers = dcgan.build_discriminator((32, 32, 3), width=4).layers
    followers = [type(follower).__name__ for layer, follower in zip(layers, layers[1:])
                 if isinstance(layer, keras.layers.Conv2D)]
    assert followers == ["LeakyReLU"] + ["BatchNormalization"] * 3


def test_nets_without_batch_norm_treat_each_image_by_itself(make_images):
    real = dcgan.to_model_range(make_images(8))
    net = dcgan.build_discriminator((16, 16, 1), width=4, batch_norm=False, minibatch_statistics=False)
    np.testing.assert_allclose(net(real, training=True)[:1], net(real[:1], training=True), atol=1e-6)
    generator = dcgan.build_generator((16, 16, 1), 8, width=4, batch_norm=False)
    assert all(layer.bias is not None for layer in weighted(generator))
    assert not any(isinstance(layer, keras.layers.BatchNormalization) for layer in generator.layers)


def test_untrained_generator_is_flat_grey_in_use_and_grey_noise_in_training():
    generator, noise = dcgan.build_generator(), dcgan.make_noise(64, 64, seed=0)
    in_use, alone = generator(noise, training=False).numpy(), generator(noise[:1], training=False).numpy()
    in_training = generator(noise, training=True).numpy()
    np.testing.assert_allclose(in_use[:1], alone, atol=1e-7)
    assert abs(in_use).max() < 0.01 < 0.05 < in_training.std() < 0.3 and abs(in_training.mean()) < 0.05


def test_untrained_discriminator_is_undecided(make_images):
    logits = dcgan.build_discriminator()(dcgan.to_model_range(make_images(16, 28)), training=False).numpy()
    assert 0 < abs(logits).max() < 0.1


# Minibatch statistics

@pytest.mark.parametrize("groups", [
    [[0]], [[0, 1, 0, 1]], [[0, 1, 2, 0]], [[0, 1, 2, 3]], [[0, 1, 2, 3], [4, 0, 1, 2]], [[0, 1, 2, 3], [4, 5, 6, 7]],
], ids=["1 image", "2 images", "3 images", "4 images", "5 images", "8 images"])
def test_minibatch_statistic_is_the_mean_deviation_in_groups_of_four(groups):
    count = max(max(group) for group in groups) + 1
    inputs = np.random.default_rng(0).normal(size=(count, 3, 2, 5)).astype(np.float32)
    outputs = dcgan.MinibatchStatistics()(inputs).numpy()
    assert outputs.shape == (count, 3, 2, 6)
    np.testing.assert_array_equal(outputs[..., :5], inputs)
    expected = np.repeat([inputs[group].std(axis=0).mean() for group in groups], 4)[:count]
    np.testing.assert_allclose(outputs[..., 5], np.broadcast_to(expected[:, None, None], (count, 3, 2)), atol=2e-4)


@pytest.mark.parametrize("identical", [True, False])
def test_gradient_of_the_minibatch_statistic_is_finite_and_flows_where_images_differ(identical, make_images):
    inputs = tf.Variable(dcgan.to_model_range(np.repeat(make_images(1), 6, axis=0) if identical else make_images(6)))
    with tf.GradientTape() as tape:
        statistic = dcgan.MinibatchStatistics()(inputs)[..., -1]
        total = tf.reduce_sum(statistic)
    gradient = tape.gradient(total, inputs).numpy()
    assert np.isfinite(gradient).all()
    if identical:
        assert abs(statistic.numpy()).max() < 2e-4 and not gradient.any()
    else:
        assert gradient.any(axis=(1, 2, 3)).all()


# Files

def test_discriminator_is_the_same_after_saving_and_loading(tmp_path, make_nets, make_images):
    _, discriminator = make_nets((28, 28, 1))
    discriminator.save(tmp_path / "discriminator.keras")
    real = dcgan.to_model_range(make_images(4, 28))
    loaded = keras.models.load_model(tmp_path / "discriminator.keras")
    np.testing.assert_array_equal(loaded(real, training=False), discriminator(real, training=False))


@pytest.mark.parametrize("module, name, value", [
    (keras.config, "image_data_format", "channels_first"), (keras.backend, "backend", "jax")])
def test_other_settings_of_keras_are_named(monkeypatch, module, name, value):
    monkeypatch.setattr(module, name, lambda: value)
    with pytest.raises(ImportError, match=f"{value}.*; wanted tensorflow and channels_last: unset KERAS_BACKEND.*json"):
        runpy.run_path(dcgan.__file__)
