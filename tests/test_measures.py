"""Measures on cases whose answer is known, and the nets that measure."""

import functools
import itertools

import numpy as np
import pytest

from lab import measures


def normal(count, width=8, seed=0, mean=0.0):
    return np.random.default_rng(seed).normal(mean, 1, (count, width))


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
    assert measures.frechet_distance(one, two) == pytest.approx(wanted, rel=1e-6)


def test_frechet_distance_of_gaussians_whose_covariances_do_not_commute():
    """In two dimensions the trace of the root of M is the root of tr M + 2 (det M)^(1/2)."""
    roots = np.array([[2.0, 0.0], [1.0, 0.5]]), np.array([[1.0, -0.7], [0.0, 3.0]])
    first, second = (root @ root.T for root in roots)
    product = first @ second
    assert abs(product - product.T).max() > 1
    wanted = 25 + np.trace(first + second) - 2 * np.sqrt(np.trace(product) + 2 * np.sqrt(np.linalg.det(product)))
    one, two = with_moments([0, 0], roots[0]), with_moments([3, 4], roots[1], seed=1)
    assert measures.frechet_distance(one, two) == pytest.approx(wanted, rel=1e-6)


def test_frechet_distance_of_singular_covariances():
    """A feature that never changes, in one set or both, and fewer images than features."""
    flat, flatter = np.diag([2.0, 1.0, 0.0]), np.diag([1.0, 0.0, 0.0])
    one, two = with_moments([0, 0, 7], flat), with_moments([0, 0, 7], flatter, seed=1)
    assert measures.frechet_distance(one, one) == pytest.approx(0, abs=1e-6)
    assert measures.frechet_distance(one, two) == pytest.approx(1 + 1, rel=1e-6)
    assert measures.frechet_distance(one, with_moments([0, 0, 7], np.eye(3), seed=2)) == pytest.approx(1 + 1, rel=1e-6)
    few = normal(10, 64)
    assert measures.frechet_distance(few, few + 1) == pytest.approx(64, rel=1e-4)


def squared_discrepancy(one, two):
    """The unbiased estimator by its definition, pair by pair."""
    def kernel(x, y):
        return (np.dot(x, y) / len(x) + 1) ** 3

    within = [np.mean([kernel(x, y) for x, y in itertools.permutations(features, 2)]) for features in (one, two)]
    return sum(within) - 2 * np.mean([kernel(x, y) for x in one for y in two])


def test_kernel_distance_is_the_unbiased_estimator_over_two_random_blocks():
    def halves(count):
        return [[list(half), [i for i in range(count) if i not in half]]
                for half in itertools.combinations(range(count), count // 2)]

    one, two = normal(4, 3), normal(6, 3, seed=1, mean=0.5)
    possible = []
    for ours, theirs in itertools.product(halves(4), halves(6)):
        values = [squared_discrepancy(one[a], two[b]) for a, b in zip(ours, theirs)]
        possible.append((np.mean(values), abs(values[0] - values[1]) / 2))
    found = set()
    for seed in range(20):
        result = measures.kernel_distance(one, two, seed=seed)
        errors = np.abs(np.array(possible) - result).max(axis=1)
        assert errors.min() < 1e-9
        found.add(round(result[0], 6))
    assert len(found) > 5 and measures.kernel_distance(one, two, seed=3) == measures.kernel_distance(one, two, seed=3)


def test_standard_error_of_the_kernel_distance_says_how_far_it_scatters():
    distance = measures.kernel_distance
    draws = np.array([distance(normal(1000, seed=2 * i), normal(1000, seed=2 * i + 1, mean=0.1), block=50)
                      for i in range(40)])
    assert np.std(draws[:, 0]) == pytest.approx(draws[:, 1].mean(), rel=0.35)
    few, many = (measures.kernel_distance(normal(n), normal(n, seed=1), block=50)[1] for n in (500, 4500))
    assert few / 5 < many < few / 1.8


def test_kernel_distance_wants_two_blocks_of_two():
    assert np.isfinite(measures.kernel_distance(normal(4), normal(5, seed=1))).all()
    with pytest.raises(ValueError, match=r"generated: .*\(3, 8\).*at least 4 images"):
        measures.kernel_distance(normal(9), normal(3))


def one_hot(labels, classes=10):
    return np.eye(classes)[labels]


@pytest.mark.parametrize("probabilities, wanted", [
    (np.tile([0.7, 0.2, 0.1], (50, 1)), 1),
    (one_hot(np.arange(50) % 10), 10),
    (one_hot(np.arange(50) % 5), 5),
    (np.tile([[0.9, 0.1], [0.1, 0.9], [0.5, 0.5], [0.5, 0.5]], (9, 1)), (2 * 0.9 ** 0.9 * 0.1 ** 0.1) ** 0.5),
], ids=["all the same", "each class alike", "half of the classes", "half of them unsure"])
def test_inception_score(probabilities, wanted):
    assert measures.inception_score(probabilities) == pytest.approx(wanted)


@pytest.mark.parametrize("labels, imbalance", [
    (np.arange(1000) % 10, 0), (np.zeros(1000, int), 0.9), (np.arange(900) % 9, 0.1), (np.arange(1000) % 5, 0.5)],
    ids=["equal", "one class only", "one class missing", "half of them missing"])
def test_class_shares_and_imbalance(labels, imbalance):
    probabilities = 0.5 * one_hot(labels) + 0.05
    assert measures.class_imbalance(probabilities) == pytest.approx(imbalance)
    shares = measures.class_shares(probabilities)
    np.testing.assert_allclose(shares, np.bincount(labels, minlength=10) / len(labels))
    assert shares.shape == (10,) and shares.sum() == pytest.approx(1)


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
        few_rows = functools.partial(measures.pairwise_distances_chunked,
                                     reduce_func=lambda distances, _: chunks.append(len(distances)) or distances)
        monkeypatch.setattr(measures, "pairwise_distances_chunked",
                            lambda *sets, working_memory: few_rows(*sets, working_memory=0.02))
    scores = measures.manifold_scores(real, generated, neighbours=neighbours)
    wanted = scores_by_definition(real, generated, neighbours)
    assert scores.keys() == wanted.keys() and scores == pytest.approx(wanted)
    assert all(0.02 < scores[name] < 0.995 for name in ("precision", "recall", "coverage"))
    assert not chunked or len(chunks) > 5


def test_manifold_scores_want_more_images_than_neighbours():
    assert measures.manifold_scores(normal(6), normal(6))["precision"] == 1
    with pytest.raises(ValueError, match=r"generated: .*\(5, 8\).*at least 6 images"):
        measures.manifold_scores(normal(9), normal(5))
    with pytest.raises(ValueError, match="neighbours is 0"):
        measures.manifold_scores(normal(9), normal(9), neighbours=0)


def test_nearest_image_and_its_distance():
    references = normal(200)
    queries = references[[7, 100, 3]] + np.array([[0.0], [0.001], [-0.001]])
    distances, indices = measures.nearest_images(queries, references)
    assert indices.tolist() == [7, 100, 3] and distances.shape == (3,)
    np.testing.assert_allclose(distances, 0.001 * np.sqrt(8) * np.array([0, 1, 1]), atol=1e-6)


@pytest.mark.parametrize("with_held_out", [True, False])
def test_memorisation_tells_copies_from_new_images(with_held_out):
    training = normal(3000, 16)
    held_out = normal(1500, 16, seed=1) if with_held_out else None
    copies = training[100:1100]
    exact = measures.memorisation(copies, training, held_out)
    assert exact["copied"] == 1 and exact["copy_distance"] == pytest.approx(0, abs=1e-6)
    noisy = measures.memorisation(copies + 0.02 * normal(1000, 16, seed=2), training, held_out)
    assert noisy["copied"] == 1 and 0 < noisy["copy_distance"] < 0.1
    new = measures.memorisation(normal(2000, 16, seed=3), training, held_out)
    assert 0.002 < new["copied"] < 0.03 and new["copy_distance"] == pytest.approx(1, abs=0.03)
    some = measures.memorisation(np.concatenate([copies[:500], normal(500, 16, seed=4)]), training, held_out)
    assert some["copied"] == pytest.approx(0.5, abs=0.03)


@pytest.mark.parametrize("pattern, place", [
    (lambda row, column: row % 2, (0, 8)), (lambda row, column: column % 2, (8, 0)),
    (lambda row, column: (row + column) % 2, (0, 0)), (lambda row, column: column % 4 < 2, (8, 4))])
def test_spectrum_has_a_pattern_at_its_frequency_and_is_the_mean_of_all_images_first_channel(pattern, place):
    images = np.random.default_rng(0).integers(0, 256, (2, 16, 16, 3), dtype=np.uint8)
    images[..., 0] = [255 * pattern(*np.indices((16, 16))), np.zeros((16, 16))]
    power = measures.spectrum(images)
    assert power.shape == (16, 16) and power[8, 8] == pytest.approx(128 ** 2 / 2)  # half of 256 pixels are white
    power[8, 8] = 0
    assert np.unravel_index(power.argmax(), power.shape) == place and power.sum() == pytest.approx(128 ** 2 / 2)


PAIRS = {function.__name__: function for function in (
    measures.frechet_distance, measures.kernel_distance, measures.manifold_scores, measures.nearest_images,
    measures.memorisation)}
SINGLES = {function.__name__: function for function in (
    measures.inception_score, measures.class_shares, measures.class_imbalance)}
BAD = {
    "one image": (np.ones((1, 8)), r"\(1, 8\).*at least \d images"),
    "no image": (np.ones((0, 8)), r"\(0, 8\).*at least \d images"),
    "one dimension": (np.ones(20), r"\(20,\).*\(n, d\)"),
    "images": (np.ones((20, 4, 4, 1)), r"\(20, 4, 4, 1\).*\(n, d\)"),
    "whole numbers": (np.ones((20, 8), int), "int64.*floating-point"),
    "NaN": (np.where(np.arange(20)[:, None] == 3, np.nan, normal(20)), "1 of 20 rows.*NaN or infinite"),
    "infinite": (np.where(np.arange(20)[:, None] < 2, -np.inf, normal(20)), "2 of 20 rows.*NaN or infinite"),
}


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


def test_bad_held_out_features_are_refused():
    for features, message in (*BAD.values(), (normal(20, 9), "different nets")):
        with pytest.raises(ValueError, match=message):
            measures.memorisation(normal(20), normal(20, seed=1), features)
