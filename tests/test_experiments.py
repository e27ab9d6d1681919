"""Experiments: what they refuse, runs side by side, what is kept when they are cut off, tables and pictures."""

import functools
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path

import imageio.v3 as imageio
import numpy as np
import pandas as pd
import pytest
import scipy.stats
import tensorflow as tf

import dcgan_utils as dcgan
from train_small import small_data, small_measuring_net

TESTS = Path(__file__).parent
find_measuring_net = dcgan.load_measuring_net


def tiny(name="base", **settings):
    """An experiment of the smallest nets, two epochs of two steps."""
    return dcgan.Experiment(name, **{"generator": {"latent_dim": 8, "width": 4}, "discriminator": {"width": 4},
                                     "epochs": 2, "batch_size": 100, "picture_every": 1, **settings})


def use(patch, outputs):
    """Let run folders be in `outputs`, measure by a small net, and forget what was measured before."""
    patch.setenv("WANDB_MODE", "disabled")
    patch.setattr(dcgan, "run_folder", lambda name: outputs / name)
    patch.setattr(dcgan, "load_measuring_net", lambda data: small_measuring_net())
    patch.setattr(dcgan, "_FEATURES", {})


@pytest.fixture(autouse=True)
def outputs(tmp_path, monkeypatch):
    use(monkeypatch, tmp_path / "outputs")
    return tmp_path / "outputs"


@pytest.fixture(scope="module")
def whole_group(tmp_path_factory):
    """The folder of two experiments from two seeds each, and what run_experiments returned."""
    folder = tmp_path_factory.mktemp("whole")
    with pytest.MonkeyPatch.context() as patch:
        use(patch, folder)
        base = tiny()
        results = dcgan.run_experiments([base.but("slow", learning_rate=1e-5), base], small_data(), seeds=(0, 1),
                                        processes=1)
    return folder / "experiments", results


@pytest.fixture
def group(whole_group, outputs):
    """A copy of the two experiments' folders, to go on with or to damage."""
    return Path(shutil.copytree(whole_group[0], outputs / "experiments"))


def refuse_to_train(patch):
    patch.setattr(dcgan, "make_train_step", lambda *_, **__: pytest.fail("something is trained"))


def run(*experiments, data=None, **options):
    options = {"seeds": (0,), "processes": 1, **options}
    return dcgan.run_experiments(experiments, small_data() if data is None else data, **options)


def metrics(run_dir, columns="seconds"):
    return pd.read_csv(run_dir / "metrics.csv").drop(columns=columns)


def hinge(real, fake, margin=1.0):
    return tf.reduce_mean(tf.nn.relu(margin - real)) + tf.reduce_mean(tf.nn.relu(margin + fake))


def minus_mean(fake):
    return -tf.reduce_mean(fake)


# An experiment

@pytest.mark.parametrize("name", ["", "a/b", "..", ".x", " x", "-x", "a\nb", "a\n", "ü", "a\\b"])
def test_a_name_that_is_no_folder_is_refused(name):
    with pytest.raises(ValueError, match="of an experiment becomes a folder"):
        dcgan.Experiment(name)


@pytest.mark.parametrize("name", ["a", "Two words", "0.5_x-y", "9"])
def test_other_names_are_fine(name):
    assert dcgan.Experiment(name).name == name


@pytest.mark.parametrize("settings, words", [
    ({"learning_rat": 1}, r"'x': settings do not have 'learning_rat'; legal are averaging, batch_size, .*penalty"),
    ({"seed": 1}, "settings do not have 'seed'"), ({"run_dir": "x"}, "settings do not have 'run_dir'"),
    ({"generator": {"dropout": 0.1}}, "options of the generator do not have 'dropout'; legal are batch_norm, "
                                      "kernel_size, latent_dim, refinements, width"),
    ({"discriminator": {"with": 1, "widht": 2}}, "options of the discriminator do not have 'widht', 'with'; legal are"),
    ({"generator": {"seed": 1}}, "do not have 'seed'"), ({"discriminator": {"image_shape": 1}}, "not have 'image_sh")])
def test_unknown_settings_and_options_are_refused_and_the_legal_ones_named(settings, words):
    with pytest.raises(ValueError, match=words):
        dcgan.Experiment("x", **settings)
    with pytest.raises(ValueError, match=words):
        dcgan.Experiment("base").but("x", **settings)


def test_every_setting_that_is_legal_is_an_argument_of_train_or_of_the_nets():
    legal = set(dcgan.train.__kwdefaults__) - {"seed", "on_picture", "measuring_net", "tracking", "wandb_project",
                                               "wandb_group"}
    assert dcgan._SETTINGS == legal | {"generator", "discriminator", "build_generator", "build_discriminator"}
    experiment = tiny(losses=(hinge, minus_mean), penalty=minus_mean)
    assert experiment.arguments() == {"epochs": 2, "batch_size": 100, "picture_every": 1, "penalty": minus_mean,
                                      "losses": (hinge, minus_mean)}


def test_but_adds_to_the_options_and_leaves_the_original_alone():
    base = dcgan.Experiment("base", generator={"width": 4, "latent_dim": 8}, learning_rate=0.1, epochs=3)
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


# What is refused before anything is trained

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


# Running them

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
        assert trained["learning_rate"] == (1e-5 if experiment == "slow" else 1.5e-3) and trained["batch_size"] == 100
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
    generator = dcgan.keras.models.load_model(folder / "base-seed1" / "generator_last.keras")
    wanted = dcgan.evaluate(net, net.features(dcgan.generate_images(generator, 200, seed=1001)),
                            net.features(small_data()))
    row = results[(results.experiment == "base") & (results.seed == 1)].iloc[0]
    for name in wanted.index:
        assert row[name] == pytest.approx(wanted[name], rel=1e-4, nan_ok=True), name


def test_modes_are_the_classes_with_a_tenth_of_their_share(outputs, monkeypatch):
    shares, handed_over = iter([[0.5, 0.5], [0.96, 0.04], [0.94, 0.06]]), []
    monkeypatch.setattr(dcgan, "train", lambda *_, **options: handed_over.append(options))
    monkeypatch.setattr(dcgan, "evaluate", lambda *_: pd.Series({"recall": 0.5}))
    monkeypatch.setattr(dcgan, "class_shares", lambda probabilities: np.array(next(shares)))
    monkeypatch.setattr(dcgan.keras.models, "load_model", lambda path: tiny().build((16, 16, 1), 0)[0])
    monkeypatch.setattr(dcgan.Experiment, "arguments", lambda self: {})
    modes = []
    for seed in range(3):
        dcgan._run_experiment(tiny(), seed, dcgan._as_dataset(small_data()), outputs)
        modes.append(json.loads((outputs / f"base-seed{seed}" / "experiment.json").read_text())["modes"])
    assert modes == [2, 1, 2]
    assert handed_over == [{"seed": seed, "wandb_group": outputs.name} for seed in range(3)]


def test_measuring_net_that_was_trained_for_the_data_measures_them_and_the_experiments(
        outputs, quick_steps, monkeypatch):
    monkeypatch.setattr(dcgan, "load_measuring_net", find_measuring_net)
    labels = (small_data().mean(axis=(1, 2, 3)) > 20).astype(np.uint8)
    data = dcgan.Dataset(small_data(), labels, ("small", "large"))
    monkeypatch.setattr(dcgan, "_fit_measuring_net", lambda *_: None)
    net = dcgan.train_measuring_net(data)
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
    assert len(dcgan.load_experiments()) == 3
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
    assert "a loss became NaN or infinite in epoch 1, step 0" in results.diverged["bad"]
    assert results.diverged["base"] == "" and results.epochs.tolist() == [0, 2]
    assert np.isfinite(results.frechet_distance).all()
    pd.testing.assert_frame_equal(metrics(outputs / "experiments" / "base-seed0"),
                                  metrics(whole_group[0] / "base-seed0"))
    refuse_to_train(monkeypatch)
    assert len(run(bad, tiny())) == 2


def test_smoke_mode_trains_one_experiment_from_one_seed_for_two_epochs(outputs, monkeypatch):
    monkeypatch.setenv("DCGAN_SMOKE", "1")
    trained, parent = [], os.getpid()
    monkeypatch.setattr(dcgan, "_run_experiment", lambda experiment, seed, data, folder: trained.append(
        (finished_run(outputs, experiment.name, seed, [1.0]).name, experiment.settings["epochs"], os.getpid())))
    results = run(tiny("a", epochs=9), tiny("b", epochs=9), tiny("c"), seeds=(3, 4), processes=None)
    assert trained == [("a-seed3", 2, parent)] and results.experiment.tolist() == ["a"]


@pytest.mark.parametrize("cores, gpus, given, wanted", [
    (3, [], None, 3), (64, [], None, 8), (64, [], 20, 20), (3, [], 2, 2), (3, ["GPU:0"], 2, "here"),
    (3, [], 1, "here")])
def test_processes_are_as_many_as_cores_and_none_of_its_own_with_a_gpu(cores, gpus, given, wanted, monkeypatch):
    class Asked(Exception):
        pass

    def pool(processes, **options):
        raise Asked(processes)

    def job(number):
        raise Asked("here")

    monkeypatch.setattr(dcgan.loky, "cpu_count", lambda: cores)
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: gpus)
    monkeypatch.setattr(dcgan.loky, "ProcessPoolExecutor", pool)
    with pytest.raises(Asked) as asked:
        dcgan.side_by_side(job, [(i,) for i in range(30)], total=30, done=lambda: 0, unit="job", processes=given)
    assert asked.value.args == (wanted,)


def test_a_single_run_is_made_in_a_process_of_its_own_like_the_others(monkeypatch):
    """On all cores of this process it would round differently, and so not go on bit for bit."""
    refuse_to_train(monkeypatch)
    parent = os.getpid()

    def build(image_shape, *, width=4, seed=0):
        if os.getpid() != parent:
            raise ValueError("built in another process")  # and so not trained, which would take long
        return dcgan.build_discriminator(image_shape, width=width, seed=seed)

    with pytest.raises(ValueError, match="built in another process"):
        run(tiny(build_discriminator=build), processes=2)


def children():
    """Processes that this one has started and that have not ended."""
    return set(Path(f"/proc/self/task/{os.getpid()}/children").read_text().split())


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
    table = dcgan.compare_experiments(results)
    assert "modes" not in results and table[["ratio", "low", "high", "verdict"]].isna().all(axis=None)


def test_a_process_that_is_killed_ends_in_an_error_that_says_what_to_do(outputs):
    parent, before = os.getpid(), children()

    def build(image_shape, *, seed=0):
        if os.getpid() != parent:
            os.kill(os.getpid(), signal.SIGKILL)
        return dcgan.build_discriminator(image_shape, width=4, seed=seed)

    bad = tiny(build_discriminator=build, discriminator={})
    with pytest.raises(RuntimeError, match="a process was killed.*memory.*kept: run again with processes=1 to go on"):
        run(bad, bad.but("b"), bad.but("c"), processes=2)
    still = {pid for pid in children() - before if "tracker" not in Path(f"/proc/{pid}/cmdline").read_text()}
    assert not still, "processes are left behind"


# Tables and pictures

def finished_run(outputs, name, seed, distances, group="experiments", **said):
    """A folder as a finished run leaves it, with these distances, None where none was measured."""
    folder = outputs / group / f"{name}-seed{seed}"
    folder.mkdir(parents=True)
    count = len(distances)
    pd.DataFrame({"epoch": np.arange(1, count + 1), "seconds": 2.5, "d_loss": np.linspace(1, 2, count),
                  "g_loss": np.linspace(3, 4, count), "frechet_distance": distances}).to_csv(
                      folder / "metrics.csv", index=False)
    row = {"experiment": name, "seed": seed, "frechet_distance": 50.0, "diverged": "", "settings": {}, **said}
    (folder / "experiment.json").write_text(json.dumps(row))
    return folder


def test_finished_runs_are_loaded_with_their_best_and_last_distance(outputs):
    finished_run(outputs, "b", 1, [9.0, None, 7.0, None, 8.0])
    finished_run(outputs, "b", 0, [None, 3.0, 3.0])
    finished_run(outputs, "a", 0, [None, None])
    finished_run(outputs, "c", 0, [], diverged="at once")
    (finished_run(outputs, "a", 1, [1.0]) / "experiment.json").unlink()
    finished_run(outputs, "z", 0, [1.0], group="others")
    results = dcgan.load_experiments()
    assert [*zip(results.experiment, results.seed)] == [("a", 0), ("b", 0), ("b", 1), ("c", 0)]
    assert "settings" not in results and results.diverged.tolist() == ["", "", "", "at once"]
    nan = float("nan")
    for name, wanted in {"best_epoch": [nan, 2, 3, nan], "best_distance": [nan, 3, 7, nan], "epochs": [2, 3, 5, 0],
                         "last_distance": [nan, 3, 8, nan], "seconds": [5, 7.5, 12.5, 0], "d_loss": [2, 2, 2, nan],
                         "g_loss": [4, 4, 4, nan], "frechet_distance": [50] * 4}.items():
        np.testing.assert_array_equal(results[name], wanted, err_msg=name)
    assert dcgan.load_experiments("others").experiment.tolist() == ["z"]


def test_runs_that_were_not_measured_have_the_columns_that_are_compared(outputs):
    folder = finished_run(outputs, "base", 0, [None, None])
    said = {"experiment": "base", "seed": 0, "diverged": "", "settings": {}}
    (folder / "experiment.json").write_text(json.dumps(said))
    results = dcgan.load_experiments()
    assert results[["frechet_distance", "kid", "recall", "class_imbalance"]].isna().all(axis=None)
    assert np.isnan(dcgan.compare_experiments(results).ratio["base"])


def test_no_finished_run_is_an_error_that_says_how_to_get_one(outputs):
    with pytest.raises(FileNotFoundError, match="experiments: there is no finished run; run_experiments"):
        dcgan.load_experiments()
    (finished_run(outputs, "a", 1, [1.0]) / "experiment.json").unlink()
    with pytest.raises(FileNotFoundError, match="there is no finished run"):
        dcgan.load_experiments()


def frame(**distances):
    """Results with these Frechet distances; the other measures are the distances times a number."""
    rows = pd.DataFrame([{"experiment": name, "seed": seed, "frechet_distance": value}
                         for name, values in distances.items() for seed, value in enumerate(values)])
    return rows.assign(kid=rows.frechet_distance / 10, recall=0.5, class_imbalance=rows.frechet_distance / 100,
                       seconds=rows.frechet_distance * 10)


def welch(ours, theirs):
    """Ratio of the geometric means and its 95 % interval, written out."""
    ours, theirs = np.log(ours), np.log(theirs)
    shares = ours.var(ddof=1) / len(ours), theirs.var(ddof=1) / len(theirs)
    freedom = sum(shares) ** 2 / (shares[0] ** 2 / (len(ours) - 1) + shares[1] ** 2 / (len(theirs) - 1))
    difference = ours.mean() - theirs.mean()
    half = scipy.stats.t.ppf(0.975, freedom) * np.sqrt(sum(shares))
    return np.exp([difference, difference - half, difference + half])


def test_comparison_is_the_ratio_to_the_base_with_its_welch_interval_and_a_verdict():
    values = {"far": [20, 24, 21, 22], "base": [10, 11.5, 12], "near": [10.4, 13, 11], "close": [5, 5.2, 4.5],
              "noisy": [8, 60, 20]}
    table = dcgan.compare_experiments(frame(**values))
    assert table.index.tolist() == ["base", "far", "near", "close", "noisy"]
    assert table.seeds.tolist() == [3, 4, 3, 3, 3]
    for name in ("far", "near", "close", "noisy"):
        np.testing.assert_allclose(table.loc[name, ["ratio", "low", "high"]].astype(float),
                                   welch(values[name], values["base"]), rtol=1e-9)
    assert table.verdict[1:].tolist() == ["worse", "no difference seen", "better", "no difference seen"]
    assert table.ratio["base"] == 1 and table.loc["base", ["low", "high", "verdict"]].isna().all()
    assert table.loc["base", ["frechet distance", "kid", "recall", "class imbalance", "seconds"]].tolist() == [
        "11.2 ± 1.0", "1.12 ± 0.10", "0.50 ± 0.00", "0.112 ± 0.010", "112 ± 10"]


def test_comparison_with_another_base():
    table = dcgan.compare_experiments(frame(base=[10, 11, 12], b=[20, 21, 22]), base="b")
    assert table.index.tolist() == ["b", "base"] and table.verdict["base"] == "better"
    with pytest.raises(ValueError, match="no finished run of 'c' among 'base', 'b'"):
        dcgan.compare_experiments(frame(base=[10], b=[20]), base="c")


@pytest.mark.parametrize("base, other", [([10], [20]), ([10, 11], [20]), ([10], [20, 21]), ([10, 11], [20, np.nan])])
def test_one_seed_gives_no_verdict_and_no_warning(base, other):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        table = dcgan.compare_experiments(frame(base=base, other=other))
    assert table.loc["other", ["low", "high", "verdict"]].isna().all()
    assert table["frechet distance"]["base"] == {1: "10.0", 2: "10.5 ± 0.7"}[len(base)]
    assert table.ratio["other"] == pytest.approx(
        np.exp(np.nanmean(np.log(other)) - np.nanmean(np.log(base))))


def test_curves_are_a_panel_a_metric_a_colour_an_experiment_and_a_line_a_seed(whole_group, monkeypatch):
    folder, results = whole_group
    monkeypatch.setattr(dcgan, "run_folder", lambda name: folder.parent / name)
    figure = dcgan.plot_experiments(results)
    assert [axis.get_title() for axis in figure.axes] == ["frechet_distance", "d_loss", "g_loss"]
    assert [axis.get_yscale() for axis in figure.axes] == ["log", "linear", "linear"]
    order = [("slow", 0), ("slow", 1), ("base", 0), ("base", 1)]
    for axis in figure.axes:
        assert [line.get_color() for line in axis.lines] == ["C0", "C0", "C1", "C1"]
        for line, (name, seed) in zip(axis.lines, order, strict=True):
            history = dcgan.load_history(folder / f"{name}-seed{seed}")
            np.testing.assert_array_equal(line.get_xdata(), [1, 2])
            np.testing.assert_array_equal(line.get_ydata(), history[axis.get_title()])
    assert [text.get_text() for text in figure.axes[0].get_legend().get_texts()] == ["slow", "base"]
    assert len(dcgan.plot_experiments(results[results.seed == 1], metrics=["diversity"]).axes[0].lines) == 2


def test_curves_leave_out_what_was_not_measured(outputs):
    finished_run(outputs, "a", 0, [None, 3.0, None, 2.0], group="g")
    figure = dcgan.plot_experiments(dcgan.load_experiments("g"), group="g")
    assert figure.axes[0].lines[0].get_xdata().tolist() == [2, 4]
    assert figure.axes[1].lines[0].get_xdata().tolist() == [1, 2, 3, 4]


def test_grids_are_the_first_images_of_each_experiment_with_its_distance(group, whole_group):
    results = whole_group[1]
    before = imageio.imread(group / "base-seed1" / "grids" / "epoch_0002.png")
    imageio.imwrite(group / "base-seed1" / "grids" / "epoch_0010.png", before // 2)
    figure = dcgan.plot_grids(results, seed=1)
    distances = results[results.seed == 1].frechet_distance.tolist()
    assert [axis.get_title() for axis in figure.axes] == [f"slow\n{distances[0]:.1f}", f"base\n{distances[1]:.1f}"]
    shown = [axis.images[0].get_array() for axis in figure.axes]
    slow = imageio.imread(group / "slow-seed1" / "grids" / "epoch_0002.png")
    np.testing.assert_array_equal(shown[0], slow[:74, :74])
    np.testing.assert_array_equal(shown[1], before[:74, :74] // 2)
    assert len(dcgan.plot_grids(results, columns=1).axes) == 2
    with pytest.raises(ValueError, match=r"no run of seed 7 among the results; there are \[0, 1\]"):
        dcgan.plot_grids(results, seed=7)


# A parent that is killed

GROUP = """
import os
import sys
import time
from pathlib import Path

tests, outputs, slow = sys.argv[1:]
sys.path[:0] = [tests, str(Path(tests).parent)]
import dcgan_utils as dcgan
from train_small import small_data

dcgan.run_folder = lambda name: Path(outputs) / name
parent = os.getpid()

def build(image_shape, *, seed=0):
    if slow == "slow" and os.getpid() != parent:
        Path(outputs + f".{os.getpid()}").touch()
        save = dcgan._Run._save_history
        dcgan._Run._save_history = lambda run: [save(run), time.sleep(60 if len(run.history) > 5 else 0)]
    return dcgan.build_discriminator(image_shape, width=4, seed=seed)

base = dcgan.Experiment("base", epochs=12, picture_every=4, batch_size=100, generator=dict(latent_dim=8, width=4),
                        build_discriminator=build)
experiments = [base] if slow == "slow" else [base, base.but("whole")]
dcgan.run_experiments(experiments, small_data(), seeds=(0, 1), processes=2)
"""


def at_work(pid):
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes() != b""
    except OSError:
        return False


def test_killed_with_its_processes_at_work_and_called_again_it_finishes_as_if_nothing_had_been(outputs):
    """Processes whose parent is killed end too, in the middle of minutes of work, and lock no folder."""
    command = [sys.executable, "-c", GROUP, str(TESTS), str(outputs)]
    runs = [outputs / "experiments" / f"base-seed{seed}" for seed in (0, 1)]
    process = subprocess.Popen([*command, "slow"], stdout=subprocess.DEVNULL)
    pids = []
    try:
        deadline = time.time() + 120
        while not all(dcgan._epochs_done(run_dir) == 6 for run_dir in runs) and time.time() < deadline:
            assert process.poll() is None
            time.sleep(0.01)
        process.kill()
        assert process.wait() == -signal.SIGKILL and not list(outputs.rglob("experiment.json"))
        pids = [int(path.suffix[1:]) for path in outputs.parent.glob("outputs.*")]
        assert len(pids) == 2
        again = subprocess.run([*command, "fast"], capture_output=True, text=True, timeout=300)
        assert again.returncode == 0, again.stderr[-2000:]
        assert "0 runs are finished, 4 to do" in again.stdout
        assert not any(map(at_work, pids)), "processes of the killed parent train on"
    finally:
        process.kill()
        for pid in filter(at_work, pids):
            os.kill(pid, signal.SIGKILL)
    for run_dir in runs:
        whole = run_dir.with_name(run_dir.name.replace("base", "whole"))
        pd.testing.assert_frame_equal(metrics(run_dir), metrics(whole), check_exact=True)
        assert len(metrics(run_dir)) == 12 and (run_dir / "experiment.json").exists()
