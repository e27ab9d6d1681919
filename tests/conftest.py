"""What all tests share: a clean environment, small images, small nets."""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "notebooks"), str(ROOT / "tests" / "tools")]

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
os.environ |= {"TF_ENABLE_ONEDNN_OPTS": "1", "TF_NUM_INTRAOP_THREADS": "1"}  # here as in the processes that tests start
_keras_home = tempfile.TemporaryDirectory(prefix="keras-home-")
os.environ["KERAS_HOME"] = _keras_home.name  # Keras reads it when it is imported, never again

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pytest
import tensorflow as tf

import dcgan_utils as dcgan
from lab import callbacks, experiments, files, runs
from train_small import (  # graphs are optimised no longer, from here on
    optimise_graphs,
    small_data,
    small_measuring_net,
    tiny,
    train_small,
)

HANG = 900  # seconds: what takes as long has stopped for good, however slow or busy the machine
collect_ignore = ["browser"]  # `make test-browser` asks for it by name


def pytest_configure(config):
    in_keras = "ignore:__array__ implementation doesn't accept:DeprecationWarning"
    config.addinivalue_line("filterwarnings", in_keras)
    config.addinivalue_line("markers", "long: takes long; `make test-long` runs these, and `make test` the others")


def pytest_collection_modifyitems(config, items):
    if not config.option.markexpr:
        long = [item for item in items if item.get_closest_marker("long")]
        config.hook.pytest_deselected(items=long)
        items[:] = [item for item in items if item not in long]


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch):
    """No setting of the person who runs the tests reaches them, and none of theirs reaches the next test."""
    for name in [name for name in os.environ if name in ("DCGAN_DATA_DIR", "DCGAN_SMOKE") or name.startswith("WANDB_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("WANDB_MODE", "disabled")
    monkeypatch.setenv("KERAS_HOME", _keras_home.name)
    yield
    plt.close("all")
    shutil.rmtree(Path(_keras_home.name) / "datasets", ignore_errors=True)


@pytest.fixture
def keras_home():
    """Keras' own folder, with no data sets in it."""
    return Path(_keras_home.name)


@pytest.fixture(scope="session")
def make_images():
    """A function that makes uint8 images `(count, side, side, channels)`: a soft blob each, always the same ones."""
    def make(count=32, side=16, channels=1):
        random = np.random.default_rng(0)
        y, x, radius = random.uniform((0.25, 0.25, 0.1), (0.75, 0.75, 0.3), (count, 3)).T[:, :, None, None, None] * side
        colours = random.uniform(100, 255, (count, 1, 1, channels))
        rows, columns = np.mgrid[:side, :side][:, None, :, :, None]
        return np.rint(colours * np.exp(-((rows - y) ** 2 + (columns - x) ** 2) / radius ** 2)).astype(np.uint8)
    return make


@pytest.fixture(scope="session")
def make_nets():
    """A function that builds the smallest legal nets: `(generator, discriminator)`."""
    def make(image_shape=(16, 16, 1), seed=0):
        return (dcgan.build_generator(image_shape, 8, width=4, refinements=1, seed=seed),
                dcgan.build_discriminator(image_shape, width=4, seed=seed))
    return make


def use_quick_steps(patch):
    """Train steps that add a little to all weights and need no compiling, for tests of what happens around them."""
    def make_train_step(generator, discriminator, generator_optimizer, discriminator_optimizer, losses=()):
        generator_optimizer.build(generator.trainable_variables)
        discriminator_optimizer.build(discriminator.trainable_variables)
        return [*generator.weights, *getattr(discriminator, "discriminator", discriminator).weights]

    def make_average(generator, averaged_generator, averaging):
        return averaged_generator.weights

    def make_steps(weights, images, latent_dim, *, labels, seed, after_step, compiled=False):
        def steps(indices, first_step):
            for weight in [*weights, *after_step]:
                weight.assign_add(np.full(weight.shape, 0.01 * (1 + indices.mean()), weight.dtype))
            return tf.constant(np.tile(np.linspace(0.1, 0.6, 6, dtype=np.float32), (len(indices), 1)))
        return steps

    for function in (make_train_step, make_average, make_steps):
        patch.setattr(dcgan, function.__name__, function)


@pytest.fixture
def quick_steps(monkeypatch):
    use_quick_steps(monkeypatch)


@pytest.fixture
def graphs_optimised():
    """As in a notebook, and not as in the other tests."""
    optimise_graphs(True)
    yield
    optimise_graphs(False)


@pytest.fixture(scope="session")
def original(tmp_path_factory):
    """A copy of what a clone of the repository holds, not to be changed; of outputs, what notebook 04 reads."""
    folder = tmp_path_factory.mktemp("original") / "course"
    left_out = shutil.ignore_patterns(".git", ".venv*", ".solved", ".hypothesis", "outputs", "__pycache__", "wandb")
    shutil.copytree(ROOT, folder, ignore=left_out)
    shutil.copytree(ROOT / "outputs" / "measuring_nets", folder / "outputs" / "measuring_nets",
                    ignore=shutil.ignore_patterns(".*", "*-seed*"))
    shutil.copy(ROOT / "outputs" / "recipes.csv", folder / "outputs")  # which notebook 04 draws
    return folder


@pytest.fixture
def course(original, tmp_path):
    """A copy to use as a newcomer does."""
    return shutil.copytree(original, tmp_path / "course")


@pytest.fixture
def published(course, tmp_path, monkeypatch):
    """A bare repository that git finds under the address that a stamped notebook names."""
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@b", "-c", "init.defaultBranch=main"]
    for command in (["init", "-q"], ["add", "-f", "dcgan_utils.py", "requirements.txt", "notebooks", "outputs"],
                    ["commit", "-qm", "course"]):
        subprocess.run([*git, *command], cwd=course, check=True)
    subprocess.run(["git", "clone", "-q", "--bare", course, tmp_path / "published.git"], check=True)
    monkeypatch.setenv("GIT_CONFIG_COUNT", "1")
    monkeypatch.setenv("GIT_CONFIG_KEY_0", f"url.file://{tmp_path}/published.git.insteadOf")
    monkeypatch.setenv("GIT_CONFIG_VALUE_0", "https://github.com/jane/dcgan")
    monkeypatch.setenv("GIT_ALLOW_PROTOCOL", "file")


def use_outputs(patch, folder):
    """Let run folders be in `folder`, measure by a small net, and forget what was measured before."""
    patch.setenv("WANDB_MODE", "disabled")
    patch.setattr(files, "OUTPUTS", folder)
    for module in (runs, experiments):
        patch.setattr(module, "load_measuring_net", lambda data: small_measuring_net())
    patch.setattr(experiments, "_FEATURES", {})


@pytest.fixture
def outputs(tmp_path, monkeypatch):
    """An empty folder for runs; everything is measured by a small net."""
    use_outputs(monkeypatch, tmp_path / "outputs")
    return tmp_path / "outputs"


@pytest.fixture(scope="session")
def whole_group(tmp_path_factory):
    """The folder of two experiments from two seeds each, and what run_experiments returned."""
    folder = tmp_path_factory.mktemp("whole")
    with pytest.MonkeyPatch.context() as patch:
        use_outputs(patch, folder)
        base = tiny()
        results = experiments.run_experiments([base.but("slow", learning_rate=1e-5), base], small_data(), seeds=(0, 1),
                                              processes=1)
    return folder / "experiments", results


@pytest.fixture
def group(whole_group, outputs):
    """A copy of the two experiments' folders, to go on with or to damage."""
    return Path(shutil.copytree(whole_group[0], outputs / "experiments"))


@pytest.fixture
def house_numbers(make_images):
    """20 images `(20, 32, 32, 3)` and SVHN's labels for them: 1 to 10, as `(20, 1)`."""
    return make_images(20, 32, 3), (np.arange(20) % 10 + 1).astype(np.uint8)[:, None]


@pytest.fixture
def history(tmp_path):
    """Two epochs, as `metrics.csv` has them, read back."""
    columns = [name for name in callbacks.COLUMNS if name != "diversity"]
    (tmp_path / "metrics.csv").write_text(",".join(columns) + "\n1,10,0.5,1.25,0.75,0.875,0.625,0.5625,0.4375,0.375,\n"
                                          "2,20,0.5,1.5,0.5,0.75,0.5,0.5,0.5,0.5,0.1234567890123456\n")
    return runs.load_history(tmp_path)


@pytest.fixture(scope="module")
def quick_runs(tmp_path_factory):
    """The folders of runs of two and of six epochs whose steps are no training, not to be changed."""
    folder = tmp_path_factory.mktemp("quick")
    with pytest.MonkeyPatch.context() as patch:
        use_quick_steps(patch)
        for epochs in (2, 6):
            train_small(folder / str(epochs), epochs)
    return folder / "2", folder / "6"


@pytest.fixture
def short_run(quick_runs, quick_steps, tmp_path):
    """A run of two epochs, to go on with or to damage; its steps are no training."""
    return shutil.copytree(quick_runs[0], tmp_path / "run")
