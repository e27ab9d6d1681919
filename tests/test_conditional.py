"""Conditional nets: what becomes of the label in each, in the step, in a run, in pictures, measures and experiments."""

import base64
import json
import re
import shutil

import imageio.v3 as imageio
import keras
import nbformat
import numpy as np
import pytest
import tensorflow as tf

import dcgan_utils as dcgan
from lab import conditional, datasets, experiments, files, measuring_net, runs
from lab.augmentation import describe_augmentation
from lab.commands import explorer
from test_runs import assert_same_run
from test_step_parts import slope
from train_small import small_data, small_measuring_net

SHAPE, NAMES = (16, 16, 1), ("a", "b", "c")


def make_generator(classes=3, seed=0, **options):
    return conditional.build_conditional_generator(SHAPE, classes, 8, width=4, refinements=1, seed=seed, **options)


def make_discriminator(way="projection", classes=3, seed=0, **options):
    return conditional.build_conditional_discriminator(SHAPE, classes, way, width=4, seed=seed, **options)


def labelled(count=60):
    """Half of the images are of the second class, a quarter of each other, in no order."""
    labels = np.random.default_rng(5).permutation(np.resize([0, 1, 1, 2], count)).astype(np.uint8)
    return datasets.Dataset(small_data(count), labels, NAMES)


def louder(net):
    """The net with larger weights, so that what it answers differs by more than rounding."""
    net.set_weights([20 * weights if weights.ndim > 1 else weights for weights in net.get_weights()])
    return net


def layer_of(net, kind):
    """The first layer of a kind."""
    return next(layer for layer in net.layers if isinstance(layer, kind))


def batch(count=8, seed=1):
    """Images, noise and labels."""
    random = np.random.default_rng(seed)
    return (tf.constant(random.uniform(-1, 1, (count, *SHAPE)), tf.float32), dcgan.make_noise(count, 8, seed=seed),
            tf.constant(random.integers(0, 3, count), tf.int32))


def class_logits(discriminator):
    return keras.Model(discriminator.inputs, discriminator.get_layer("class_logits").output)


def cross_entropy(logits, labels):
    return tf.reduce_mean(tf.reduce_logsumexp(logits, axis=1) - tf.gather(logits, labels, batch_dims=1))


# The nets

def test_generator_is_the_unconditional_one_of_noise_joined_by_a_vector_of_the_class():
    generator, (_, noise, labels) = louder(make_generator(batch_norm=False)), batch()
    vectors, *others = generator.get_weights()
    plain = dcgan.build_generator(SHAPE, 16, width=4, refinements=1, batch_norm=False)
    for one, two in zip(make_generator(batch_norm=False).get_weights()[1:], plain.get_weights(), strict=True):
        np.testing.assert_array_equal(one, two)
    plain.set_weights(others)
    images = generator([noise, labels], training=False)
    np.testing.assert_allclose(images, plain(tf.concat([noise, vectors[labels]], axis=1), training=False), atol=1e-6)
    assert images.dtype == tf.float32 and np.ptp(images) > 0.1
    assert abs(images - generator([noise, (labels + 1) % 3], training=False)).numpy().max() > 0.01


@pytest.mark.parametrize("way", conditional.WAYS)
def test_discriminator_answers_with_a_logit_and_is_decided_by_its_seed(way):
    images, _, labels = batch()
    for other, wanted in ((0, True), (1, False)):
        logits = [louder(make_discriminator(way, seed=seed, dropout=0.2))([images, labels], training=False)
                  for seed in (0, other)]
        assert logits[0].shape == (8, 1) and logits[0].dtype == tf.float32
        assert np.array_equal(*logits) is wanted


def test_channel_of_the_own_class_is_1_and_those_of_the_others_are_0():
    images, _, labels = batch()
    net = louder(make_discriminator("channel"))
    convolution = layer_of(net, keras.layers.Conv2D)
    seen = keras.Model(net.inputs, convolution.input)([images, labels]).numpy()
    np.testing.assert_array_equal(seen[..., :1], images)
    np.testing.assert_array_equal(seen[..., 1:], np.broadcast_to(np.eye(3)[labels][:, None, None], (8, 16, 16, 3)))
    logits = net([images, labels], training=False)
    assert abs(net([images, (labels + 1) % 3], training=False) - logits).numpy().max() > 0.01


def test_projection_adds_the_inner_product_of_class_and_features():
    images, _, labels = batch()
    net = louder(make_discriminator("projection"))
    vectors = layer_of(net, keras.layers.Embedding).embeddings.numpy()
    last = [layer for layer in net.layers if isinstance(layer, keras.layers.Dense)][-1]
    features = keras.Model(net.inputs, last.input)([images, labels], training=False).numpy()
    wanted = features @ last.kernel.numpy() + last.bias.numpy() + (features * vectors[labels]).sum(axis=1)[:, None]
    np.testing.assert_allclose(net([images, labels], training=False), wanted, rtol=1e-4, atol=1e-4)


def test_auxiliary_verdict_is_the_unconditional_one_and_the_second_head_adds_its_cross_entropy():
    images, _, labels = batch()
    net = make_discriminator("auxiliary", minibatch_statistics=False)
    plain = dcgan.build_discriminator(SHAPE, width=4, minibatch_statistics=False)
    np.testing.assert_array_equal(net([images, labels], training=False), plain(images, training=False))
    net = louder(net)
    for _ in range(2):  # nothing is left of an earlier call
        net([images, labels], training=False)
        added, = net.losses
        wanted = cross_entropy(class_logits(net)([images, labels], training=False), labels)
        assert float(added) == pytest.approx(float(wanted), rel=1e-4)
    assert abs(float(added) - np.log(3)) > 0.01


def test_statistics_are_those_of_the_images_of_a_class():
    random = np.random.default_rng(2)
    maps, labels = random.normal(size=(9, 3, 2, 4)).astype(np.float32), np.array([5, 0, 5, 2, 2, 5, 0, 2, 7])
    channel = conditional.ClassStatistics()([maps, labels]).numpy()[..., 4:]
    assert channel.shape == (9, 3, 2, 1)
    for label in {*labels}:
        wanted = maps[labels == label].std(axis=0).mean()
        np.testing.assert_allclose(channel[labels == label], wanted, rtol=1e-4, atol=2e-4)
    alike = maps[[0, 1, 2, 0, 1, 2]]  # as of a generator that knows one image a class
    assert conditional.ClassStatistics()([alike, np.array([0, 1, 2, 0, 1, 2])]).numpy()[..., 4:].max() < 1e-3
    assert dcgan.MinibatchStatistics()(alike).numpy()[..., 4:].min() > 0.5


def test_every_conditional_discriminator_takes_the_statistics_of_a_class():
    for way in conditional.WAYS:
        kinds = [type(layer) for layer in make_discriminator(way).layers]
        assert kinds.count(conditional.ClassStatistics) == 1 and dcgan.MinibatchStatistics not in kinds
        kinds = [type(layer) for layer in make_discriminator(way, minibatch_statistics=False).layers]
        assert conditional.ClassStatistics not in kinds


def test_builders_refuse_what_they_cannot_build():
    with pytest.raises(ValueError, match="way is 'concat'; wanted one of 'projection', 'channel', 'auxiliary'"):
        make_discriminator("concat")
    for build in (make_generator, make_discriminator):
        with pytest.raises(ValueError, match="classes is 0; wanted a whole number"):
            build(classes=0)
    for build in (conditional.build_conditional_generator, conditional.build_conditional_discriminator):
        with pytest.raises(ValueError, match="image_shape is"):
            build((17, 17, 1), 3)


# The step

def replay(nets, pixels, labels, chosen, penalty=None):
    """Losses and gradients of step 3 from seed 7, written out; leaves the nets as they were."""
    generator, discriminator = nets
    before = [net.get_weights() for net in nets]
    real, labels = dcgan.to_model_range(pixels[chosen]), tf.constant(labels[chosen], tf.int32)
    noise = dcgan.make_noise(len(chosen), 8, seed=7, step=3)
    with tf.GradientTape(persistent=True) as tape:
        fake = generator([noise, labels], training=True)
        of_real, of_fake = (discriminator([images, labels], training=True) for images in (real, fake))
        losses = [tf.reduce_mean(tf.math.softplus(-of_fake)),
                  tf.reduce_mean(tf.math.softplus(-of_real)) + tf.reduce_mean(tf.math.softplus(of_fake))]
        if penalty:
            losses[1] += penalty(lambda images, training: discriminator([images, labels], training=training), real,
                                 fake)
        if isinstance(discriminator.layers[-1], conditional.ClassLoss):
            misread = [cross_entropy(class_logits(discriminator)([images, labels], training=True), labels)
                       for images in (real, fake)]
            losses[0], losses[1] = losses[0] + misread[1], losses[1] + sum(misread)
    gradients = [[tf.convert_to_tensor(slopes) for slopes in tape.gradient(loss, net.trainable_variables)]
                 for loss, net in zip(losses, nets)]
    for net, weights in zip(nets, before):
        net.set_weights(weights)
    return [float(loss) for loss in losses], gradients


@pytest.mark.parametrize("way, penalty", [("channel", None), ("projection", slope), ("auxiliary", slope)])
def test_step_tells_both_nets_the_labels_of_the_real_images_and_follows_the_losses(way, penalty):
    data, nets = labelled(), (make_generator(), louder(make_discriminator(way)))
    chosen = np.arange(20, 32, dtype=np.int32)
    (g_loss, d_loss), gradients = replay(nets, data.images, data.labels, chosen, penalty)
    before = [[weight.numpy() for weight in net.trainable_variables] for net in nets]
    steps, _ = runs.compose_step(*nets, [keras.optimizers.SGD(0.05) for _ in nets], make_generator(), data.images,
                                 labels=data.labels, seed=7, penalty=penalty)
    metrics = dict(zip(dcgan.METRICS, steps(chosen[None], 3).numpy()[0]))
    assert (metrics["g_loss"], metrics["d_loss"]) == pytest.approx((g_loss, d_loss), rel=1e-3)
    for net, old, slopes in zip(nets, before, gradients):
        for weight, was, slope_of_it in zip(net.trainable_variables, old, slopes, strict=True):
            assert np.any(slope_of_it) or "embedding" not in weight.path, weight.path
            np.testing.assert_allclose(weight, was - 0.05 * slope_of_it, rtol=1e-3, atol=1e-4, err_msg=weight.path)


@pytest.mark.long
def test_step_is_the_same_within_a_strategy():
    data, after = labelled(), []
    for strategy in (tf.distribute.get_strategy(), tf.distribute.OneDeviceStrategy("CPU:0")):
        with strategy.scope():
            nets = make_generator(), make_discriminator("auxiliary")
            steps, _ = runs.compose_step(*nets, [keras.optimizers.SGD(0.05) for _ in nets], make_generator(),
                                         data.images, labels=data.labels)
            steps(np.arange(12, dtype=np.int32)[None], 0)
            after.append([weights for net in nets for weights in net.get_weights()])
    for one, two in zip(*after, strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-4, atol=1e-6)


# A run

def train(run_dir, *lengths, data=None, way="auxiliary", **options):
    options = {"batch_size": 20, "picture_every": 1, "tracking": False, "measuring_net": small_measuring_net(),
               **options}
    for epochs in lengths:
        nets = louder(make_generator()), make_discriminator(way, dropout=0.2)
        runs.train(*nets, data or labelled(), run_dir, epochs=epochs, **options)


@pytest.fixture(scope="module")
def whole_run(tmp_path_factory):
    """The folder of a run of two epochs, not to be changed."""
    folder = tmp_path_factory.mktemp("runs") / "whole"
    train(folder, 2)
    return folder


def test_run_goes_on_bit_for_bit(whole_run, tmp_path):
    train(tmp_path / "run", 1, 2)
    assert_same_run(tmp_path / "run", whole_run)


def test_grid_has_a_row_a_noise_vector_and_a_column_a_class_and_the_generator_opens_with_keras_alone(whole_run):
    generator = keras.models.load_model(whole_run / "generator_last.keras")
    assert {type(layer).__module__.split(".")[0] for layer in generator.layers} == {"keras"}
    noise, labels = np.repeat(dcgan.make_noise(24, 8, seed=0), 3, axis=0), np.tile([0, 1, 2], 24)
    images = dcgan.to_uint8(generator([tf.constant(noise), tf.constant(labels)], training=False))
    assert np.ptp(images) > 20
    drawn = dcgan.make_grid(images, columns=9).squeeze()
    np.testing.assert_array_equal(imageio.imread(whole_run / "grids" / "epoch_0002.png"), drawn)


@pytest.mark.parametrize("classes, columns", [(1, 8), (2, 8), (3, 9), (7, 14), (8, 8), (10, 10), (26, 16)])
def test_rows_of_the_grid_are_whole_rounds_of_the_classes(classes, columns):
    (noise, labels), wanted = conditional.grid_inputs(make_generator(classes), classes, seed=3)
    assert wanted == columns and len(noise) == len(labels) == 8 * columns
    rows = labels.numpy().reshape(8, columns)
    assert (rows == np.arange(columns) % min(classes, 16)).all()
    vectors = noise.numpy().reshape(-1, min(classes, 16), 8)  # a round of the classes each
    assert (vectors == vectors[:, :1]).all() and len(np.unique(vectors[:, 0], axis=0)) == len(vectors)


def test_unconditional_grid_is_64_noise_vectors(make_nets):
    noise, columns = conditional.grid_inputs(make_nets()[0], 10, seed=3)
    np.testing.assert_array_equal(noise, dcgan.make_noise(64, 8, seed=3))
    assert columns == 8


def test_distance_asks_for_classes_as_often_as_the_data_have_them(tmp_path, quick_steps, monkeypatch):
    asked, original = [], dcgan.generate_images

    def spied(generator, count, *, seed, labels):
        asked.append(labels)
        return original(generator, count, seed=seed, labels=labels)

    monkeypatch.setattr(measuring_net, "generate_images", spied)
    train(tmp_path / "run", 1, data=labelled(2000))
    counts = np.bincount(asked[0], minlength=3)
    assert counts.sum() == 400 and abs(counts - [100, 200, 100]).max() < 40
    assert len(asked) == 2 and np.array_equal(*asked)
    assert not np.array_equal(measuring_net.Distance(small_measuring_net(), small_data(), make_generator(), 1,
                                                     labels=labelled().labels).labels[:12], asked[0][:12])


def test_what_cannot_be_trained_is_refused_before_anything_is_written(tmp_path, make_nets):
    plain, data, (generator, discriminator) = small_data(), labelled(), (make_generator(), make_discriminator())
    other = datasets.Dataset(data.images, data.labels, (*NAMES, "d"))
    cases = [
        ((generator, discriminator), plain, "nets take labels, and the data, an array, have none: give a Dataset with"),
        ((generator, make_nets()[1]), data, "generator takes labels, the discriminator does not; build both"),
        ((make_nets()[0], discriminator), data, "discriminator takes labels, the generator does not; build both"),
        ((generator, discriminator), other, "generator is made for 3 classes, the data have 4; build it with classes="),
        *(((make_generator(4), make_discriminator(way)), other, "discriminator is made for 3 classes, the data have 4")
          for way in conditional.WAYS)]
    for nets, images, words in cases:
        with pytest.raises(ValueError, match=words):
            runs.train(*nets, images, tmp_path / "run", epochs=1, measuring_net=False, tracking=False)
    assert not (tmp_path / "run").exists()


def test_way_that_there_is_not_and_data_without_labels_are_refused_in_a_line():
    for way in conditional.WAYS:
        conditional.check_way(way, labelled())
        with pytest.raises(ValueError, match=f"^{way} nets .*, an array, have no labels: sort .* sub-folders.*leave"):
            conditional.check_way(way, datasets.Dataset(small_data()))
    conditional.check_way("", datasets.Dataset(small_data()))
    with pytest.raises(ValueError, match="is 'yes'; wanted one of projection, channel, auxiliary, or '' for none"):
        conditional.check_way("yes", labelled())


def test_sub_folders_are_classes_to_choose_from(tmp_path, quick_steps):
    for number, image in enumerate(small_data(60)):
        folder = tmp_path / "images" / ("boats", "cars", "trees")[number % 3]
        folder.mkdir(parents=True, exist_ok=True)
        imageio.imwrite(folder / f"{number}.png", image.squeeze())
    data = datasets.load_dataset(tmp_path / "images", image_size=16)
    train(tmp_path / "run", 1, data=data, way="projection")
    generator = keras.models.load_model(tmp_path / "run" / "generator.keras")
    assert dcgan.generate_images(generator, 4, labels=data.class_names.index("trees")).shape == (4, 16, 16, 1)


def hand_over(monkeypatch, tmp_path, data, **settings):
    """Run notebook 04 up to `runs.train`: its names, and the arguments and options that it hands over."""
    cells = nbformat.read(files.ROOT / "notebooks" / "04_training.ipynb", as_version=4).cells
    sources, handed = {cell.id: cell.source for cell in cells}, []
    monkeypatch.setattr(files, "OUTPUTS", tmp_path)
    monkeypatch.setattr(datasets, "load_dataset", lambda name: data)
    monkeypatch.setattr(runs, "train", lambda *arguments, **options: handed.extend([arguments, options]))
    place = {"display": lambda **options: None, "Image": None}
    exec("\n".join([sources["04-003"], sources["04-005"]]), place)
    place |= settings
    exec("\n".join([sources["04-007"], sources["pair-code"], sources["04-019"]]), place)
    return place, *handed


@pytest.mark.parametrize("way", ["", *conditional.WAYS])
def test_notebook_04_hands_over_nets_that_are_told_the_class(tmp_path, monkeypatch, way):
    data = datasets.Dataset(np.zeros((60, 28, 28, 1), np.uint8), np.resize([0, 1, 2], 60).astype(np.uint8), NAMES)
    place, (generator, discriminator, *_), options = hand_over(monkeypatch, tmp_path, data, CONDITIONAL=way, SEED=3,
                                                               RECIPE="cpu")
    recipe = {name: dict(place["recipe"][name], seed=3) for name in ("generator", "discriminator")}
    wanted = [dcgan.build_generator((28, 28, 1), **recipe["generator"]),
              dcgan.build_discriminator((28, 28, 1), **recipe["discriminator"])]
    if way:
        wanted = [conditional.build_conditional_generator((28, 28, 1), 3, **recipe["generator"]),
                  conditional.build_conditional_discriminator((28, 28, 1), 3, way, **recipe["discriminator"])]
    for net, other in zip((generator, discriminator), wanted):
        for one, two in zip(net.get_weights(), other.get_weights(), strict=True):
            np.testing.assert_array_equal(one, two)
    assert (options["decay_epochs"] is not None) == bool(way)


def test_notebook_04_refuses_to_tell_a_class_that_is_not_known(tmp_path, monkeypatch):
    with pytest.raises(ValueError, match="have no labels"):
        hand_over(monkeypatch, tmp_path, datasets.Dataset(np.zeros((60, 28, 28, 1), np.uint8)), CONDITIONAL="channel")


@pytest.mark.parametrize("shape, falling", [((28, 28, 1), False), ((32, 32, 3), True)])
def test_notebook_04_hands_over_augmentation_for_few_images(tmp_path, monkeypatch, capsys, shape, falling):
    data = datasets.Dataset(np.zeros((60, *shape), np.uint8))
    place, (_, discriminator, *_), options = hand_over(monkeypatch, tmp_path, data)
    assert describe_augmentation(discriminator) == ["ShiftAndZoom(shift=0.125, zoom=0.0, probability=0.0)"]
    assert options["losses"] == place["recipe"]["losses"] and (options["decay_epochs"] is not None) == falling
    assert "shifted as it takes, since they are few" in capsys.readouterr().out


def test_run_of_other_labels_is_another_run(tmp_path, quick_steps):
    data = labelled()
    train(tmp_path / "run", 1, data=data)
    relabelled = datasets.Dataset(data.images, data.labels[::-1].copy(), NAMES)
    with pytest.raises(ValueError, match="labels: .* in that run, .* now"):
        train(tmp_path / "run", 2, data=relabelled)
    assert "labels" in json.loads((tmp_path / "run" / "config.json").read_text())["settings"]


def test_labels_of_data_are_nothing_to_unconditional_nets(tmp_path, quick_steps, make_nets):
    runs.train(*make_nets(), labelled(), tmp_path / "run", epochs=1, batch_size=20, tracking=False, measuring_net=False)
    assert "labels" not in json.loads((tmp_path / "run" / "config.json").read_text())["settings"]


@pytest.mark.parametrize("way", [way if way == "projection" else pytest.param(way, marks=pytest.mark.long)
                                 for way in conditional.WAYS])
def test_explorer_has_a_button_for_each_class_and_the_nets_of_the_run(way, tmp_path, quick_steps):
    nets = make_generator(), make_discriminator(way, dropout=0.2)
    runs.train(*nets, labelled(), tmp_path / "run", epochs=1, batch_size=20, tracking=False, measuring_net=False)
    page = explorer.write_page(tmp_path / "run").read_text(encoding="utf-8")
    content = json.loads(re.search(r'<script type="application/json" id="content">(.*?)</script>', page, re.S)[1])
    values = np.frombuffer(base64.b64decode(content["weights"]), "<f4")
    loaded, _ = explorer.load_discriminator(tmp_path / "run", 3)
    for own, other in zip(loaded.get_weights(), nets[1].get_weights(), strict=True):
        np.testing.assert_array_equal(own, other)
    assert content["classes"] == [*NAMES] and content["latentDim"] == 8
    told = {net: [step for step in content[net] if step["op"] in ("withClass", "withChannels", "weighByClass")]
            for net in ("generator", "discriminator")}
    step, = told["generator"]
    place = step["table"]["start"]
    assert step["op"] == "withClass" and content["generator"].index(step) == 0
    np.testing.assert_array_equal(values[place:place + 24].reshape(3, 8), keras.models.load_model(
        tmp_path / "run" / "generator.keras").get_weights()[0])
    assert [step["op"] for step in told["discriminator"]] == {
        "projection": ["weighByClass"], "channel": ["withChannels"], "auxiliary": []}[way]
    assert content["discriminator"][-1]["op"] == ("weighByClass" if way == "projection" else "matMul")


def test_explorer_names_classes_by_their_numbers_where_the_run_does_not_name_them(whole_run, tmp_path):
    run_dir = shutil.copytree(whole_run, tmp_path / "run")
    config = json.loads((run_dir / "config.json").read_text(encoding="utf-8"))
    assert config.pop("class_names") == [*NAMES]
    (run_dir / "config.json").write_text(json.dumps(config), encoding="utf-8")
    assert '"classes": ["0", "1", "2"]' in explorer.write_page(run_dir).read_text(encoding="utf-8")


def test_directions_of_the_page_are_of_the_noise_alone():
    generator = make_generator()
    directions = explorer.principal_directions(generator)
    kernel = layer_of(generator, keras.layers.Dense).kernel.numpy()
    assert directions.shape == (6, 8)
    np.testing.assert_allclose(np.linalg.norm(directions @ kernel[:8], axis=1),
                               np.linalg.svd(kernel[:8], compute_uv=False)[:6], rtol=1e-4)


# Images and measures

def test_images_are_of_the_classes_asked_for_by_default_of_each_in_turn():
    generator, noise = louder(make_generator()), dcgan.make_noise(1000, 8, seed=4)
    for labels, wanted in ((None, np.arange(1000) % 3), (2, np.full(1000, 2)), (np.arange(1000) % 2, None)):
        images = dcgan.generate_images(generator, 1000, seed=4, labels=labels)
        wanted = tf.constant(labels if wanted is None else wanted, tf.int32)
        at_once = dcgan.to_uint8(generator([noise, wanted], training=False))
        assert images.dtype == np.uint8 and abs(images.astype(int) - at_once).max() <= 1 and np.ptp(images) > 20


@pytest.mark.parametrize("labels", [3, -1, 1.0, True, "a", [0, 1], [[0] * 5], [0, 1, 2, 3, 0], None])
def test_labels_that_cannot_be_drawn_are_refused(labels, make_nets):
    generator = make_nets()[0] if labels is None else make_generator()
    with pytest.raises(ValueError, match=r"labels are .*; wanted None, one or 5 of the generator's [03] classes"):
        dcgan.generate_images(generator, 5, labels=1 if labels is None else labels)


class Brightness:
    """A measuring net that sees the class in the brightness of an image."""

    class_names = NAMES

    def features(self, images):
        return images.mean(axis=(1, 2, 3))[:, None].astype(float)

    def probabilities(self, features):
        return np.eye(3)[np.searchsorted([50, 200], features[:, 0])]


def painter(*brightness):
    """A generator that fills the image with a grey, from -1 to 1, for each class."""
    noise, label = keras.Input((8,)), keras.Input((), dtype="int32")
    grey = keras.layers.Embedding(3, 256)
    images = keras.layers.Reshape(SHAPE)(grey(label))
    model = keras.Model([noise, label], images)
    grey.set_weights([np.repeat(np.float32(brightness)[:, None], 256, axis=1)])
    return model


def test_obedience_counts_by_class_asked_for_and_class_seen(make_nets):
    confusion, share = measuring_net.obedience(Brightness(), painter(-1, 0, 1), 31)
    assert confusion.tolist() == [[11, 0, 0], [0, 10, 0], [0, 0, 10]] and share == 1
    confusion, share = measuring_net.obedience(Brightness(), painter(-1, 1, 1), 30)
    assert confusion.tolist() == [[10, 0, 0], [0, 0, 10], [0, 0, 10]] and share == pytest.approx(2 / 3)
    assert confusion.dtype.kind == "i"
    with pytest.raises(ValueError, match="takes no labels; wanted one of build_conditional_generator"):
        measuring_net.obedience(Brightness(), make_nets()[0])


# Experiments

def experiment(**options):
    return experiments.Experiment(
        "projection", build_generator=conditional.build_conditional_generator, epochs=1, batch_size=20, picture_every=1,
        build_discriminator=conditional.build_conditional_discriminator,
        generator={"classes": 3, "latent_dim": 8, "width": 4}, discriminator={"classes": 3, "width": 4, **options})


def test_experiments_take_the_options_of_the_usual_builders_and_the_way():
    generator, discriminator = experiment(way="auxiliary", dropout=0.3).build(SHAPE, 5)
    assert conditional.is_conditional(generator) and discriminator.get_layer("class_logits").units == 3
    assert any(isinstance(layer, keras.layers.Dropout) for layer in discriminator.layers)
    with pytest.raises(ValueError, match="not have 'options', 'widht'; legal are batch_norm, classes, dropout, .*way"):
        experiment(widht=4, options=1)


def test_experiments_of_conditional_nets_are_measured_with_the_classes_of_the_data(outputs, monkeypatch):
    asked, original = [], dcgan.generate_images
    monkeypatch.setattr(experiments, "generate_images", lambda *args, **options: (
        asked.append(options["labels"]) or original(*args, **options)))
    monkeypatch.setattr(experiments, "evaluate", lambda net, features, *images: {"frechet_distance": 1.0})
    row, = experiments.run_experiments([experiment()], labelled(400), seeds=(0,), processes=1).itertuples()
    counts = np.bincount(asked[0], minlength=3)
    assert counts.sum() == 400 and abs(counts - [100, 200, 100]).max() < 40
    assert row.frechet_distance == 1 and row.epochs == 1
    assert dcgan.generate_images(experiments.load_generator("projection", 0), 3, labels=2).shape == (3, *SHAPE)
