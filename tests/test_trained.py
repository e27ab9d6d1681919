"""What a notebook needs trained: found where it was made before, made where not, and never that of other images."""

import numpy as np
import pytest

from lab import datasets, measuring_net, trained


@pytest.fixture(autouse=True)
def smoke(monkeypatch, tmp_path):
    """Two epochs, in an empty scratch folder."""
    monkeypatch.setenv("DCGAN_SMOKE", "1")
    monkeypatch.setattr(trained, "run_folder", lambda run: tmp_path / run)


def test_what_is_not_there_is_trained_and_then_found(quick_steps, make_images, capsys):
    data = datasets.Dataset(make_images(), source="blobs")
    first = trained.load_or_train_generator("few", data, seed=3)
    said = capsys.readouterr().out
    assert "no generator there yet, so it is trained as in notebook 4" in said and "epoch   2" in said
    second = trained.load_or_train_generator("few", data)
    said = capsys.readouterr().out
    assert said.endswith("few: found, trained on 32 images (blobs)\n") and "epoch" not in said
    for one, two in zip(first.get_weights(), second.get_weights()):
        np.testing.assert_array_equal(one, two)


def test_run_of_other_images_is_refused(quick_steps, make_images):
    trained.load_or_train_generator("few", datasets.Dataset(make_images(), source="blobs"))
    with pytest.raises(ValueError, match=r"few was trained on other images: 32 of blobs, and here are 32 of nights\. "
                                         "Give RUN the name"):
        trained.load_or_train_generator("few", datasets.Dataset(255 - make_images(), source="nights"))


def test_config_that_cannot_be_read_is_named(quick_steps, make_images):
    data = datasets.Dataset(make_images())
    trained.load_or_train_generator("few", data)
    (trained.run_folder("few") / "config.json").write_text("{}", encoding="utf-8")
    with pytest.raises(ValueError, match=r"config\.json: missing or corrupt"):
        trained.load_or_train_generator("few", data)


def test_measuring_net_is_trained_once(monkeypatch, tmp_path, make_images, capsys):
    monkeypatch.setattr(measuring_net, "run_folder", lambda name: tmp_path / name)
    labels = (np.arange(32) % 2).astype(np.uint8)
    data = datasets.Dataset(make_images(), labels, ("even", "odd"), "blobs")
    first = trained.load_or_train_measuring_net(data)
    assert "Training one." in capsys.readouterr().out
    second = trained.load_or_train_measuring_net(data)
    assert capsys.readouterr().out == "" and second.name == first.name
