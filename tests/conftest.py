"""What all tests share: a clean environment, small images, small nets."""

import os
import shutil
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "tools")]

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
os.environ |= {"TF_ENABLE_ONEDNN_OPTS": "1", "TF_NUM_INTRAOP_THREADS": "1"}  # here as in the processes that tests start
_keras_home = tempfile.TemporaryDirectory(prefix="keras-home-")
os.environ["KERAS_HOME"] = _keras_home.name  # Keras reads it when it is imported, never again

import matplotlib  # noqa: E402

matplotlib.use("Agg")

import matplotlib.pyplot as plt  # noqa: E402
import numpy as np  # noqa: E402
import pytest  # noqa: E402

import dcgan_utils as du  # noqa: E402

collect_ignore = ["browser"]  # `make test-browser` asks for it by name


def pytest_configure(config):
    in_keras = "ignore:__array__ implementation doesn't accept:DeprecationWarning"
    config.addinivalue_line("filterwarnings", in_keras)


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


@pytest.fixture
def images(make_images):
    """24 grey blobs of 28 x 28 pixels."""
    return make_images(24, 28)


@pytest.fixture(scope="session")
def make_nets():
    """A function that builds the smallest legal nets: `(generator, discriminator)`."""
    def make(image_shape=(16, 16, 1), seed=0):
        return (du.build_generator(image_shape, 8, width=4, refinements=1, seed=seed),
                du.build_discriminator(image_shape, width=4, seed=seed))
    return make
