"""Experiments: what they refuse, runs side by side, what is kept when they are cut off, tables and pictures."""

import functools
import json
import os
from types import SimpleNamespace

import keras
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf

import dcgan_utils as dcgan
from lab import comparisons, datasets, experiments, files, measuring_net, runs
from train_small import finished_run, small_data, small_measuring_net, tiny

pytestmark = pytest.mark.usefixtures("outputs")
find_measuring_net = measuring_net.load_measuring_net


def refuse_to_train(patch):
    patch.setattr(dcgan, "make_train_step", lambda *_, **__: pytest.fail("something is trained"))


def run(*some, data=None, **options):
    options = {"seeds": (0,), "processes": 1, **options}
    return experiments.run_experiments(some, small_data() if data is None else data, **options)


def metrics(run_dir, columns="seconds"):
    return pd.read_csv(run_dir / "metrics.csv").drop(columns=columns)


def hinge(real, fake, margin=1.0):
    return tf.reduce_mean(tf.nn.relu(margin - real)) + tf.reduce_mean(tf.nn.relu(margin + fake))


def minus_mean(fake):
    return -tf.reduce_mean(fake)


@pytest.mark.parametrize("name", ["", "a/b", "..", ".x", " x", "-x", "a\nb", "a\n", "ü", "a\\b"])
def test_a_name_that_is_no_folder_is_refused(name):
    with pytest.raises(ValueError, match="of an experiment becomes a folder"):
        experiments.Experiment(name)


@pytest.mark.parametrize("name", ["a", "Two words", "0.5_x-y", "9"])
def test_other_names_are_fine(name):
    assert experiments.Experiment(name).name == name


@pytest.mark.parametrize("settings, words", [
    ({"learning_rat": 1}, r"'x': settings do not have 'learning_rat'; legal are averaging, batch_size, .*penalty"),
    ({"seed": 1}, "settings do not have 'seed'"), ({"run_dir": "x"}, "settings do not have 'run_dir'"),
    ({"generator": {"dropout": 0.1}}, "options of the generator do not have 'dropout'; legal are batch_norm, "
                                      "hidden, kernel_size, latent_dim, refinements, width"),
    ({"discriminator": {"with": 1, "widht": 2}}, "options of the discriminator do not have 'widht', 'with'; legal are"),
    ({"generator": {"seed": 1}}, "do not have 'seed'"), ({"discriminator": {"image_shape": 1}}, "not have 'image_sh")])
def test_unknown_settings_and_options_are_refused_and_the_legal_ones_named(settings, words):
    with pytest.raises(ValueError, match=words):
        experiments.Experiment("x", **settings)
    with pytest.raises(ValueError, match=words):
        experiments.Experiment("base").but("x", **settings)


def test_every_setting_that_is_legal_is_an_argument_of_train_or_of_the_nets():
    legal = set(runs.train.__kwdefaults__) - {"seed", "on_picture", "measuring_net", "reference", "held_out",
                                               "tracking", "wandb_project", "wandb_group", "callbacks", "compiled"}
    assert experiments.SETTINGS == legal | {"generator", "discriminator", "build_generator", "build_discriminator"}
    experiment = tiny(losses=(hinge, minus_mean), penalty=minus_mean)
    assert experiment.arguments() == {"epochs": 2, "batch_size": 100, "picture_every": 1, "penalty": minus_mean,
                                      "losses": (hinge, minus_mean)}


def test_but_adds_to_the_options_and_leaves_the_original_alone():
    base = experiments.Experiment("base", generator={"width": 4, "latent_dim": 8}, learning_rate=0.1, epochs=3)
    before = base.described()
    other = base.but("other", generator={"width": 6}, discriminator={"dropout": 0.5}, epochs=4)
    assert (other.name, base.name) == ("other", "base") and base.described() == before
    assert other.settings["generator"] == {"width": 6, "latent_dim": 8}
    assert other.settings["discriminator"] == {"dropout": 0.5} and base.settings["discriminator"] == {}
    assert other.settings["epochs"] == 4 and other.settings["learning_rate"] == 0.1
    assert other.but("third").settings["discriminator"] == {"dropout": 0.5}


def test_description_is_json_with_functions_by_their_names_and_what_partial_set():
    loss = functools.partial(hinge, margin=2.0)
    experiment = tiny(losses=(loss, minus_mean), penalty=functools.partial(functools.partial(loss, 1), 3, margin=4))
    described = experiment.described()
    assert json.loads(json.dumps(described)) == described
    assert described["losses"] == ["hinge(margin=2.0)", "minus_mean"]
    assert described["penalty"].startswith("hinge(1, 3, margin=4")
    assert described["build_generator"] == "build_generator" and described["generator"] == {"latent_dim": 8, "width": 4}
    assert tiny(penalty=None).described()["penalty"] is None


def test_description_takes_numbers_of_numpy_and_functions_of_any_kind():
    class Mean:
        def __call__(self, fake):
            return minus_mean(fake)

    experiment = tiny(learning_rate=np.float64(0.5), batch_size=np.int64(3), losses=(hinge, Mean()),
                      penalty=functools.partial(hinge, minus_mean, margin=Mean()))
    described = experiment.described()
    assert (described["learning_rate"], described["batch_size"]) == (0.5, 3)
    assert described["losses"] == ["hinge", "Mean"] and described["penalty"] == "hinge(minus_mean, margin=Mean)"


def test_nets_are_built_from_the_options_by_functions_of_ones_own():
    def wide(image_shape, *, times=1, seed=0):
        return dcgan.build_generator(image_shape, 8, width=4 * times, seed=seed)

    ours = tiny(build_generator=wide, generator={"times": 2}).build((16, 16, 1), 5)
    theirs = dcgan.build_generator((16, 16, 1), 8, width=8, seed=5), dcgan.build_discriminator(
        (16, 16, 1), width=4, seed=5)
    for one, two in zip(ours, theirs, strict=True):
        assert all(map(np.array_equal, one.get_weights(), two.get_weights()))
    with pytest.raises(ValueError, match="options of the generator do not have 'width'; legal are times"):
        tiny(build_generator=wide, generator={"width": 4})


@pytest.mark.parametrize("experiments, options, words", [
    ([tiny(), tiny("b"), tiny()], {}, "experiments named twice: base;"), ([], {}, "there are no experiments"),
    ([tiny()], {"seeds": ()}, r"seeds are \[\]"), ([tiny()], {"seeds": (0, -1)}, r"seeds are \[0, -1\]"),
    ([tiny()], {"seeds": (True,)}, r"seeds are \[True\]"), ([tiny()], {"seeds": (1.5,)}, r"seeds are \[1.5\]"),
    ([tiny()], {"seeds": (1, 1)}, r"seeds are \[1, 1\]; wanted different whole numbers from 0"),
    ([tiny()], {"processes": 0}, "processes is 0"), ([tiny()], {"group": "a/b"}, "run name 'a/b'"),
    ([tiny(), tiny("b", learning_rate=-1)], {}, "^learning_rate is -1"),
    ([tiny(), tiny("b", generator_learning_rate=0)], {}, "generator_learning_rate is 0"),
    ([tiny(), tiny("b", discriminator={"dropout": 1.5})], {}, "dropout is 1.5"),
    ([tiny(), tiny("b", batch_size=201)], {}, "batch_size is 201, but there are only 200"),
    ([tiny(), tiny("b", epochs=0)], {}, "epochs is 0"), ([tiny(), tiny("b", losses=(hinge,))], {}, "losses is"),
    ([tiny(), tiny("b", penalty="r1")], {}, "penalty is 'r1'"),
    ([tiny(), tiny("b", generator_every=0)], {}, "generator_every is 0")])
def test_what_cannot_work_is_refused_before_anything_is_trained(experiments, options, words, outputs, monkeypatch):
    refuse_to_train(monkeypatch)
    if "group" in options:
        monkeypatch.undo()
    with pytest.raises(ValueError, match=words):
        run(*experiments, **options)
    assert not outputs.exists()


def test_folders_and_results_of_two_experiments_from_two_seeds(whole_group):
    folder, results = whole_group
    names = ["base-seed0", "base-seed1", "slow-seed0", "slow-seed1"]
    assert sorted(path.name for path in folder.iterdir()) == names
    assert [*zip(results.experiment, results.seed)] == [("slow", 0), ("slow", 1), ("base", 0), ("base", 1)]
    for name in names:
        said = json.loads((folder / name / "experiment.json").read_text())
        trained = json.loads((folder / name / "config.json").read_text())["settings"]
        experiment, seed = name.split("-seed")
        assert (said["experiment"], said["seed"]) == (experiment, int(seed)) and trained["seed"] == int(seed)
        assert said["settings"]["epochs"] == 2 and said["settings"]["generator"] == {"latent_dim": 8, "width": 4}
        assert said["settings"]["data"] == trained["data"] and said["settings"]["data"]["count"] == 200
        assert trained["learning_rate"] == (1e-5 if experiment == "slow" else 1e-3) and trained["batch_size"] == 100
        assert said["images"] == 200 and said["diverged"] == "" and said["modes"] in (1, 2)
    assert results.frechet_distance.nunique() == 4, "every run from its own seed"
    assert set(results) == {
        "experiment", "seed", "images", "frechet_distance", "kid", "kid_standard_error", "inception_score", "precision",
        "recall", "density", "coverage", "class_imbalance", "copied", "copy_distance", "modes", "epochs", "seconds",
        "best_epoch", "best_distance", "last_distance", "d_loss", "g_loss", "diverged"}
    assert not list(folder.rglob(".partial-*")) and not list(folder.rglob("wandb"))


def test_measures_are_those_of_the_averaged_generator_of_the_last_epoch(whole_group):
    folder, results = whole_group
    net = small_measuring_net()
    generator = keras.models.load_model(folder / "base-seed1" / "generator_last.keras")
    wanted = measuring_net.evaluate(net, net.features(dcgan.generate_images(generator, 200, seed=1001)),
                            net.features(small_data()))
    row = results[(results.experiment == "base") & (results.seed == 1)].iloc[0]
    for name in wanted.index:
        assert row[name] == pytest.approx(wanted[name], rel=1e-4, nan_ok=True), name


def test_generator_of_a_run_is_the_saved_one(group):
    loaded = experiments.load_generator("slow", 1)
    saved = keras.models.load_model(group / "slow-seed1" / "generator.keras")
    for one, two in zip(loaded.get_weights(), saved.get_weights(), strict=True):
        np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize("options, file", [({}, "generator.keras"), ({"last": True}, "generator_last.keras")])
def test_generator_is_that_of_the_best_epoch_or_of_the_last(options, file, outputs, monkeypatch):
    monkeypatch.setattr(keras.models, "load_model", lambda path: path)
    assert experiments.load_generator("slow", 1, **options) == outputs / "experiments" / "slow-seed1" / file


def test_modes_are_the_classes_with_a_tenth_of_their_share(outputs, monkeypatch):
    shares, handed_over = iter([[0.5, 0.5], [0.96, 0.04], [0.94, 0.06]]), []
    data = datasets.as_dataset(small_data())
    monkeypatch.setattr(runs, "train", lambda *_, **options: handed_over.append(options))
    monkeypatch.setattr(experiments, "evaluate", lambda *_: pd.Series({"recall": 0.5}))
    monkeypatch.setattr(experiments, "class_shares", lambda probabilities: np.array(next(shares)))
    monkeypatch.setattr(keras.models, "load_model", lambda path: tiny().build((16, 16, 1), 0)[0])
    monkeypatch.setattr(experiments.Experiment, "arguments", lambda self: {})
    modes = []
    for seed in range(3):
        experiments._run_experiment(tiny(), seed, {"data": data}, outputs)
        modes.append(json.loads((outputs / f"base-seed{seed}" / "experiment.json").read_text())["modes"])
    assert modes == [2, 1, 2]
    assert handed_over == [{"data": data, "run_dir": outputs / f"base-seed{seed}", "seed": seed,
                            "wandb_group": outputs.name} for seed in range(3)]


def test_measuring_net_that_was_trained_for_the_data_measures_them_and_the_experiments(
        outputs, quick_steps, monkeypatch):
    monkeypatch.setattr(runs, "load_measuring_net", find_measuring_net)
    monkeypatch.setattr(experiments, "load_measuring_net", find_measuring_net)
    labels = (small_data().mean(axis=(1, 2, 3)) > 20).astype(np.uint8)
    data = datasets.Dataset(small_data(), labels, ("small", "large"))
    monkeypatch.setattr(measuring_net, "_fit_measuring_net", lambda *_: None)
    net = measuring_net.train_measuring_net(data)
    row, = run(tiny(epochs=1), data=data).itertuples()
    config = json.loads((outputs / "experiments" / "base-seed0" / "config.json").read_text())
    assert config["settings"]["measuring_net"] == net.name and row.best_distance == row.last_distance > 0
    assert row.frechet_distance > 0 and row.images == 200 and row.modes in (1, 2)


def test_what_is_finished_is_not_trained_again(group, whole_group, monkeypatch, capsys):
    refuse_to_train(monkeypatch)
    results = run(tiny("slow", learning_rate=1e-5), tiny(), seeds=(0, 1))
    pd.testing.assert_frame_equal(results, whole_group[1])
    assert "4 runs are finished, 0 to do" in capsys.readouterr().out
    assert run(tiny(), seeds=(1,))[["experiment", "seed"]].values.tolist() == [["base", 0], ["base", 1]]


def test_a_run_that_was_not_measured_is_finished(group, whole_group, capsys):
    before = (group / "base-seed1" / "experiment.json").read_text()
    (group / "base-seed1" / "experiment.json").unlink()
    assert len(experiments.load_experiments()) == 3
    run(tiny(), seeds=(0, 1))
    assert "1 runs are finished, 1 to do" in capsys.readouterr().out
    assert (group / "base-seed1" / "experiment.json").read_text() == before
    assert (group / "base-seed1" / "metrics.csv").read_text() == (
        whole_group[0] / "base-seed1" / "metrics.csv").read_text()


def test_more_epochs_go_on_and_fewer_are_refused(group, quick_steps, monkeypatch):
    before = (group / "base-seed0" / "metrics.csv").read_text().splitlines()
    results = run(tiny(epochs=3))
    after = (group / "base-seed0" / "metrics.csv").read_text().splitlines()
    assert len(after) == 4 and after[:3] == before
    assert results[results.seed == 0].epochs.tolist() == [3]
    refuse_to_train(monkeypatch)
    with pytest.raises(ValueError, match=r"'base' with other settings:\n  epochs: 3 in that run, only 2 now\nGive"):
        run(tiny(epochs=2))
    assert (group / "base-seed0" / "metrics.csv").read_text().splitlines() == after


def test_other_settings_or_data_of_the_same_name_are_refused_with_the_differences(group, monkeypatch):
    refuse_to_train(monkeypatch)
    with pytest.raises(ValueError) as refusal:
        run(tiny("new"), tiny(batch_size=50, penalty=minus_mean))
    lines = str(refusal.value).splitlines()
    assert "base-seed0 holds a run named 'base' with other settings" in lines[0] and lines[1:] == [
        "  batch_size: 100 in that run, 50 now", "  penalty: default in that run, minus_mean now",
        "Give the experiment another name, or delete that folder."]
    other = small_data()
    other[0, 0, 0, 0] ^= 1
    with pytest.raises(ValueError, match=r"other settings:\n  data: .* in that run, .* now\nGive"):
        run(tiny(), data=other)
    assert not (group / "new-seed0").exists()


def test_an_experiment_that_diverges_is_recorded_and_the_others_still_run(outputs, whole_group, monkeypatch):
    def nowhere(fake):
        return tf.reduce_mean(fake) * float("nan")

    bad = tiny("bad", losses=(dcgan.discriminator_loss, nowhere))
    results = run(bad, tiny()).set_index("experiment")
    assert "a loss became NaN or infinite in epoch 1, by step 1" in results.diverged["bad"]
    assert results.diverged["base"] == "" and results.epochs.tolist() == [0, 2]
    assert np.isfinite(results.frechet_distance).all()
    pd.testing.assert_frame_equal(metrics(outputs / "experiments" / "base-seed0"),
                                  metrics(whole_group[0] / "base-seed0"))
    refuse_to_train(monkeypatch)
    assert len(run(bad, tiny())) == 2


def test_runs_are_measured_against_the_reference_where_one_is_given(outputs, monkeypatch):
    measured = []
    monkeypatch.setattr(experiments, "evaluate", lambda net, *sets: measured.append([*map(len, sets[:2]), *(
        None if some is None else len(some) for some in sets[2:])]) or pd.Series(
        {"frechet_distance": 1.0, "recall": 0.5}))
    run(tiny(), reference=small_data(300))
    assert measured == [[300, 200, None, 300]]  # generated, training, held out, measured against
    with pytest.raises(ValueError, match="holds a run named 'base' with other settings:\n  reference: .*, default now"):
        run(tiny())


def test_smoke_mode_trains_one_experiment_from_one_seed_for_two_epochs(outputs, monkeypatch):
    monkeypatch.setenv("DCGAN_SMOKE", "1")
    monkeypatch.setattr(files, "_scratch_folder", lambda: SimpleNamespace(name=outputs))
    trained, parent = [], os.getpid()
    monkeypatch.setattr(experiments, "_run_experiment", lambda experiment, seed, *_: trained.append(
        (finished_run(outputs, experiment.name, seed, [1.0]).name, experiment.settings["epochs"], os.getpid())))
    results = run(tiny("a", epochs=9), tiny("b", epochs=9), tiny("c"), seeds=(3, 4), processes=None)
    assert trained == [("a-seed3", 2, parent)] and results.experiment.tolist() == ["a"]


def test_processes_side_by_side_take_functions_of_ones_own_and_are_silent(outputs, whole_group, monkeypatch, capfd):
    """The functions live in this test alone, and TensorFlow may say all it wants."""
    parent, threads = os.getpid(), outputs.parent / "threads"

    def build(image_shape, *, width=4, seed=0):
        if os.getpid() != parent:
            threads.write_text(" ".join(os.environ[f"TF_NUM_{kind}OP_THREADS"] for kind in ("INTRA", "INTER")))
            print("print of a process", flush=True)
            os.write(1, b"output of a process")
            os.write(2, b"error of a process")
        return dcgan.build_discriminator(image_shape, width=width, seed=seed)

    def loss(fake):
        return 2 * minus_mean(fake)

    monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", "0")
    own = tiny("own", build_discriminator=build, losses=(functools.partial(hinge, margin=0.5), loss))
    results = run(own, tiny(), processes=2)
    out, err = capfd.readouterr()
    assert "0 runs are finished, 2 to do" in out and "of a process" not in out and "epoch  1" not in out
    assert "of a process" not in err and "tensorflow" not in err.lower()
    assert results.experiment.tolist() == ["own", "base"] and results.epochs.tolist() == [2, 2]
    assert (results.diverged == "").all() and (results.d_loss > 0).all()
    said = json.loads((outputs / "experiments" / "own-seed0" / "experiment.json").read_text())["settings"]
    assert said["losses"] == ["hinge(margin=0.5)", "loss"] and said["build_discriminator"] == "build"
    assert threads.read_text() == "1 1"
    there, here = (metrics(folder / "base-seed0", ["seconds", "frechet_distance", "diversity"])
                   for folder in (outputs / "experiments", whole_group[0]))
    pd.testing.assert_frame_equal(there, here, rtol=1e-3)  # on another number of cores sums round differently
    table = comparisons.compare_experiments(results)
    assert "modes" not in results and table[["ratio", "low", "high", "verdict"]].isna().all(axis=None)


def test_finished_runs_are_loaded_with_their_best_and_last_distance(outputs):
    finished_run(outputs, "b", 1, [9.0, None, 7.0, None, 8.0])
    finished_run(outputs, "b", 0, [None, 3.0, 3.0])
    finished_run(outputs, "a", 0, [None, None])
    finished_run(outputs, "c", 0, [], diverged="at once")
    (finished_run(outputs, "a", 1, [1.0]) / "experiment.json").unlink()
    finished_run(outputs, "z", 0, [1.0], group="others")
    results = experiments.load_experiments()
    assert [*zip(results.experiment, results.seed)] == [("a", 0), ("b", 0), ("b", 1), ("c", 0)]
    assert "settings" not in results and results.diverged.tolist() == ["", "", "", "at once"]
    nan = float("nan")
    for name, wanted in {"best_epoch": [nan, 2, 3, nan], "best_distance": [nan, 3, 7, nan], "epochs": [2, 3, 5, 0],
                         "last_distance": [nan, 3, 8, nan], "seconds": [5, 7.5, 12.5, 0], "d_loss": [2, 2, 2, nan],
                         "g_loss": [4, 4, 4, nan], "frechet_distance": [50] * 4}.items():
        np.testing.assert_array_equal(results[name], wanted, err_msg=name)
    assert experiments.load_experiments("others").experiment.tolist() == ["z"]


def test_runs_that_were_not_measured_have_the_columns_that_are_compared(outputs):
    folder = finished_run(outputs, "base", 0, [None, None])
    said = {"experiment": "base", "seed": 0, "diverged": "", "settings": {}}
    (folder / "experiment.json").write_text(json.dumps(said))
    results = experiments.load_experiments()
    assert results[["frechet_distance", "kid", "recall", "class_imbalance"]].isna().all(axis=None)
    assert np.isnan(comparisons.compare_experiments(results).ratio["base"])


def test_no_finished_run_is_an_error_that_says_how_to_get_one(outputs):
    with pytest.raises(FileNotFoundError, match="experiments: there is no finished run; run_experiments"):
        experiments.load_experiments()
    (finished_run(outputs, "a", 1, [1.0]) / "experiment.json").unlink()
    with pytest.raises(FileNotFoundError, match="there is no finished run"):
        experiments.load_experiments()
