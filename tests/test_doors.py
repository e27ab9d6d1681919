"""Malformed input at the doors where people hand things in: refused by us, named, with what is wanted; none writes."""

import io
import re
import traceback
from collections import Counter

import imageio.v3 as imageio
import keras
import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

import dcgan_utils as dcgan
from conftest import ROOT
from lab import (
    augmentation,
    callbacks,
    comparisons,
    conditional,
    datasets,
    diagnosis,
    experiments,
    files,
    measures,
    measuring_net,
    overfitting,
    runs,
)
from train_small import small_data, small_measuring_net, small_nets

TEXT, NUMBER = st.text("ab/. \u00e9", max_size=5), st.floats() | st.integers(-5, 5)
ODD = st.sampled_from([None, {}, [], (), b"bytes", object(), min, [[1], [1, 2]], 1j, np.nan])
BOOLEAN, BELOW_1, BELOW_0 = st.booleans(), st.integers(max_value=0), st.integers(max_value=-1)
NO_COUNT = ODD | TEXT | st.floats() | BOOLEAN | BELOW_1
NO_SEED = ODD | TEXT | st.floats() | BOOLEAN | BELOW_0 | st.integers(min_value=2 ** 53)
NO_SHARE = ODD | TEXT | BOOLEAN | BELOW_0 | st.floats(max_value=-1e-9) | st.floats(1) | st.integers(1)
NO_PROBABILITY = NO_SHARE.filter(lambda value: isinstance(value, bool) or value != 1)
NO_RATE = ODD.filter(lambda value: value is not None) | TEXT | BOOLEAN | BELOW_1 | st.floats(max_value=0) | st.just(
    np.inf)
NO_OBJECT = ODD | TEXT | NUMBER  # where only an object of one class will do
NO_TEXT = (ODD | NUMBER).filter(lambda value: not isinstance(value, str))
NO_FOLDER_NAME = NO_TEXT | st.sampled_from(["", ".", "..", "a/b", "/a", "../a", "a/"])
NO_SHAPE = NO_OBJECT | st.tuples(st.integers(-1, 40), st.integers(-1, 40), st.integers(-1, 4)).filter(
    lambda shape: shape[0] != shape[1] or shape[0] not in dcgan.LEGAL_SIDES or shape[2] not in (1, 3))
ARRAY = arrays(st.sampled_from(["uint8", "int64", "float32", "bool", "complex64", "U3", "datetime64[s]"]),
               st.lists(st.integers(0, 5), max_size=5).map(tuple))
NO_PIXELS = NO_OBJECT | ARRAY.filter(lambda array: array.dtype != np.uint8 or array.ndim != 4 or array.size == 0)
NO_FEATURES = ARRAY.filter(lambda array: array.dtype.kind != "f" or array.ndim != 2 or len(array) < 2) | (
    arrays("float32", (8, 3), elements=st.sampled_from([0, np.nan, np.inf])).filter(
        lambda array: not np.isfinite(array).all()))
WANTED = ("wanted|wants|give |choose|delete|restore|repair|look at|allowed|no such file|known are|legal are|label|"
          "build|train|need|there are|run_experiments makes|among")


@pytest.fixture(scope="module")
def doors(tmp_path_factory):
    """By name: the function, legal arguments, and a strategy of illegal values for each argument that can have some."""
    root = tmp_path_factory.mktemp("doors")

    def file(name, contents=st.binary(max_size=300)):
        def write(content):
            path = root / "inputs" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
            return path if path.parent.name == "inputs" else path.parent
        return contents.map(write)

    def cut(name, content):
        """A good file of which half or more is missing."""
        return file(name, st.integers(0, len(content) // 2).map(lambda length: content[:length]))

    images, (generator, discriminator), net = small_data(40), small_nets(), small_measuring_net()
    data = datasets.Dataset(images, (np.arange(40) % 2).astype(np.uint8), ("small", "large"))
    features = np.random.default_rng(0).normal(size=(20, 64))
    (root / "empty").mkdir()
    (root / "a-file").write_text("text")
    history = pd.DataFrame({name: np.ones(4) for name in callbacks.COLUMNS} | {"epoch": np.arange(1, 5)})
    results = pd.DataFrame({"experiment": ["base", "a"], "seed": 0, "frechet_distance": 1.0})
    buffer = io.BytesIO()
    np.savez(buffer, x_train=images, y_train=data.labels)
    png = imageio.imwrite("<bytes>", images[0].squeeze(), extension=".png")
    curves = st.sampled_from(["epoch", "d_loss", "d_real_accuracy", "frechet_distance"]).map(
        lambda name: history.drop(columns=name))
    no_losses = NO_OBJECT | st.sampled_from([(min,), (min, None), (min, max, abs), (min, overfitting.LeCam())])
    no_penalty = NO_OBJECT.filter(lambda value: value is not None and not callable(value))
    set_or_not = {name: NO_COUNT.filter(lambda value: value is not None) for name in ("epochs", "picture_every")}
    rates = {"averaging": NO_SHARE, "beta_1": NO_SHARE, "beta_2": NO_SHARE, "losses": no_losses, "penalty": no_penalty,
             "generator_every": NO_COUNT, "discriminator_every": NO_COUNT, "batch_size": NO_COUNT | st.just(41),
             "generator_learning_rate": NO_RATE, **set_or_not}
    return root, {
        "Dataset": (datasets.Dataset, {"images": images, "labels": data.labels, "class_names": ("a", "b")}, {
            "images": NO_PIXELS | st.just(np.zeros((40, 8, 8, 2), np.uint8)),
            "labels": (NO_OBJECT | ARRAY).filter(lambda value: value is not None), "class_names": st.just(("a",))}),
        "load_dataset": (datasets.load_dataset, {"name_or_path": root / "empty"}, {
            "name_or_path": NO_TEXT | st.sampled_from(["", "MNIST", "mnist/", *(root / name for name in (
                "empty", "a-file", "no.npz"))]) | cut("a.npz", buffer.getvalue()) | file("b.npz") | file("b.mat")
            | file("b.csv") | file("b.csv.gz") | file("images/a.png") | cut("images/a.png", png),
            "split": NO_OBJECT | st.just("validation")}),
        "labelled_subset": (datasets.labelled_subset, {"data": data, "count": 4, "seed": 0}, {
            "data": NO_PIXELS | st.just(images), "count": NO_COUNT | st.sampled_from([3, 1000])}),
        "run_folder": (files.run_folder, {}, {"name": NO_FOLDER_NAME}),
        "to_uint8": (dcgan.to_uint8, {}, {"images": ARRAY.filter(lambda array: array.dtype.kind != "f")}),
        "build_generator": (dcgan.build_generator, {}, {
            "image_shape": NO_SHAPE, **dict.fromkeys(("latent_dim", "width", "refinements", "kernel_size"), NO_COUNT)}),
        "build_discriminator": (dcgan.build_discriminator, {}, {
            "image_shape": NO_SHAPE, "width": NO_COUNT, "kernel_size": NO_COUNT, "dropout": NO_SHARE}),
        "build_conditional_generator": (conditional.build_conditional_generator, {
            "image_shape": (16, 16, 1), "classes": 3}, {
            "image_shape": NO_SHAPE, **dict.fromkeys(("classes", "latent_dim", "width"), NO_COUNT)}),
        "build_conditional_discriminator": (conditional.build_conditional_discriminator, {
            "image_shape": (16, 16, 1), "classes": 3}, {
            "image_shape": NO_SHAPE, "classes": NO_COUNT, "way": NO_OBJECT, "dropout": NO_SHARE}),
        "build_augmented_discriminator": (augmentation.build_augmented_discriminator, {"image_shape": (16, 16, 1)}, {
            "image_shape": NO_SHAPE, "probability": NO_PROBABILITY,
            **dict.fromkeys(("shift", "zoom", "cutout"), NO_SHARE.filter(bool))}),
        "augmented": (augmentation.augmented, {"discriminator": discriminator}, {
            "layers": NO_OBJECT | st.just([keras.layers.ReLU()])}),
        "AdaptiveStrength": (overfitting.AdaptiveStrength, {}, {
            "target": NO_OBJECT.filter(lambda value: not (isinstance(value, (int, float)) and -1 < value < 1)),
            "images": NO_COUNT, "loss": no_penalty | st.none()}),
        "LeCam": (overfitting.LeCam, {}, {"weight": NO_RATE | st.none(), "decay": NO_SHARE,
                                          "loss": no_penalty | st.none()}),
        "generate_images": (dcgan.generate_images, {"generator": generator}, {"count": NO_COUNT}),
        "make_grid": (dcgan.make_grid, {"images": images}, {"images": NO_PIXELS, "columns": NO_COUNT}),
        "plot_images": (dcgan.plot_images, {"images": images}, {"images": NO_PIXELS, "titles": st.just(["one"])}),
        "save_gif": (dcgan.save_gif, {"frames": list(images[:2]), "path": root / "a.gif", "captions": ["1", "2"]}, {
            "frames": st.sampled_from([[images[0], images[1, :8]], [], images[:3], images[:2] / 255.0]),
            "path": st.just("gif.png"), "captions": st.just(["one"])}),
        "train": (runs.train, {
            "generator": generator, "discriminator": discriminator, "data": images, "run_dir": root / "run",
            "epochs": 1, "batch_size": 20, "measuring_net": False, "tracking": False}, {
            "generator": NO_OBJECT, "discriminator": NO_OBJECT, "data": NO_PIXELS | st.just(images[:, :8]),
            "measuring_net": NO_OBJECT.filter(lambda value: value is not None), "seed": NO_SEED,
            "learning_rate": NO_RATE | st.none(), **rates,
            **dict.fromkeys(("reference", "held_out"), st.just(np.zeros((9, 28, 28, 1), np.uint8)))}),
        "load_history": (runs.load_history, {}, {"run_dir": st.just(root / "nowhere") | file("run/metrics.csv")}),
        "train_measuring_net": (measuring_net.train_measuring_net, {"data": data}, {
            "data": NO_PIXELS | st.just(images), "held_out": st.just(images)}),
        "load_measuring_net": (measuring_net.load_measuring_net, {}, {
            "data": NO_PIXELS | st.sampled_from([images, data])}),
        "features": (net.features, {}, {"images": ARRAY}),
        "frechet_distance": (measures.frechet_distance, {"real": features, "generated": features},
                             dict.fromkeys(("real", "generated"), NO_FEATURES)),
        "evaluate": (measuring_net.evaluate, {"net": net, "generated": features, "training": features},
                     dict.fromkeys(("generated", "training"), NO_FEATURES)),
        "Experiment": (experiments.Experiment, {"name": "base"}, {
            "name": NO_TEXT | st.sampled_from(["", "a/b", "..", " a"]), "epoch": st.just(3),
            **dict.fromkeys(("generator", "discriminator"), st.just({"colour": 3}) | NUMBER | st.just([])),
            **dict.fromkeys(("build_generator", "build_discriminator"), NUMBER)}),
        "run_experiments": (experiments.run_experiments, {
            "experiments": [experiments.Experiment("base", epochs=1)], "data": images, "group": "new"}, {
            "experiments": st.sampled_from([[], [1], ["base"], [experiments.Experiment("a")] * 2])
            | st.sampled_from(["batch_size", "learning_rate", "losses"]).flatmap(
                lambda name: st.sampled_from([0, "a", -1.0]).map(lambda value: [experiments.Experiment(
                    "a", **{name: value})])),
            "data": NO_PIXELS, "seeds": st.sampled_from([[], [-1], [0, 0], [1.5], [None], [True]]),
            "group": NO_FOLDER_NAME}),
        "load_experiments": (experiments.load_experiments, {}, {"group": NO_FOLDER_NAME | st.just("nowhere")}),
        "compare_experiments": (comparisons.compare_experiments, {"results": results}, {"base": st.just("nothing")}),
        "diagnose_run": (diagnosis.diagnose_run, {}, {"run": curves | st.just(root / "nowhere")}),
    }


NAMES = ["Dataset", "load_dataset", "labelled_subset", "run_folder", "to_uint8", "build_generator",
         "build_discriminator", "build_conditional_generator", "build_conditional_discriminator",
         "build_augmented_discriminator", "augmented", "AdaptiveStrength", "LeCam", "generate_images", "make_grid",
         "plot_images", "save_gif", "train", "load_history", "train_measuring_net", "load_measuring_net",
         "features", "frechet_distance", "evaluate", "Experiment", "run_experiments", "load_experiments",
         "compare_experiments", "diagnose_run"]


def names(argument, value):
    """Words of which a message about this value must have one."""
    said = [argument.removesuffix("s"), str(value)[:20]]
    said += [str(getattr(value, name)) for name in ("name", "shape") if hasattr(value, name)]
    return said + {"data": ["images are", "these images", "an array", "data are"], "held_out": ["images are"],
                   "frames": ["image"], "experiments": ["batch_size", "learning_rate", "losses"],
                   "titles": ["titles"]}.get(argument, [])


def files_in(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.filterwarnings("ignore")  # of readers, about broken bytes
@pytest.mark.parametrize("name", NAMES)
def test_door_refuses_malformed_input(name, doors, monkeypatch):
    root, table = doors
    assert table.keys() == set(NAMES)
    function, legal, illegal = table[name]
    monkeypatch.setattr(files, "OUTPUTS", root / "outputs")
    monkeypatch.setattr(keras.datasets.mnist, "load_data", lambda *_: pytest.fail("a download"))
    monkeypatch.chdir(root)
    counts, faults = Counter(), []

    @settings(max_examples=30, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
    @given(st.data())
    def refuse(data):
        argument = data.draw(st.sampled_from(sorted(illegal)))
        value = data.draw(illegal[argument])
        counts["inputs"] += 1
        before, problem = files_in(root), f"{name}({argument}={value!r:.80}): "
        try:
            function(**{**legal, argument: value})
        except (ValueError, LookupError, FileNotFoundError) as error:
            last, message = traceback.extract_tb(error.__traceback__)[-1], str(error)
            if not last.filename.startswith(str(ROOT)) or not last.line.startswith("raise "):
                faults.append(problem + f"{type(error).__name__} at {last.filename}:{last.lineno}: {message:.150}")
            elif not (any(word in message for word in names(argument, value)) and re.search(WANTED, message)):
                faults.append(problem + f"names nothing or wants nothing: {message:.150}")
        except Exception as error:
            faults.append(problem + f"{type(error).__name__}: {error!s:.150}")
        else:
            faults.append(problem + "accepted")
        if files_in(root) != before:
            faults.append(problem + "something was written")

    refuse()
    assert counts["inputs"] >= 1 and not faults, "\n".join(faults[:12])
