"""The gallery: captions come from the run folders, gaps are named, and the committed page is one of real runs."""

import json
import re
import shutil

import imageio.v3 as imageio
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from conftest import ROOT
from lab.commands import gallery
from lab.commands.gallery import Panel
from lab.runs import load_history
from train_small import train_small


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A finished run of four epochs, pictures of the even ones."""
    folder = tmp_path_factory.mktemp("outputs") / "small"
    train_small(folder, 4, beta_1=0.25, seed=3)
    return folder


@pytest.fixture
def outputs(finished, tmp_path):
    shutil.copytree(finished, tmp_path / "small")
    return tmp_path


def change_history(outputs, **columns):
    """Set columns of the run's `metrics.csv`: a value, or one an epoch."""
    path = outputs / "small" / "metrics.csv"
    pd.read_csv(path).assign(**columns).to_csv(path, index=False)


def written(outputs, name="gallery.png"):
    with Image.open(outputs / name) as picture:
        return picture.info["Description"].split("\n\n")


def test_caption_says_data_seed_epoch_what_was_changed_and_the_distance(outputs):
    gallery.main([Panel("small", "Squares", "make train")], outputs)
    title, images, training, changed, distance = written(outputs)[0].splitlines()
    assert title == "Squares"
    assert images.startswith("200 images of 16 x 16 x 1")
    assert training.startswith("seed 3, epoch 4 of 4, weights: G ")
    assert changed == "changed: batch_size 64, beta_1 0.25"
    measured = load_history(outputs / "small").frechet_distance.iloc[-1]
    assert distance.startswith(f"Fréchet distance to these {measured:.2f}, among these ")
    assert distance.endswith(" (untrained-0)")


def test_default_settings_and_a_run_without_a_distance_are_called_so(outputs):
    path = outputs / "small" / "config.json"
    config = json.loads(path.read_text())
    config["settings"] |= {"beta_1": 0.0, "batch_size": 32}
    path.write_text(json.dumps(config))
    change_history(outputs, frechet_distance=None)
    gallery.main([Panel("small", "Squares", "make train", "best")], outputs)
    assert written(outputs)[0].splitlines()[3:] == ["default settings", "no distance measured"]


def test_a_net_that_was_changed_in_an_experiment_is_in_its_caption(outputs):
    settings = {"build_generator": "build_dense", "build_discriminator": "build_discriminator", "generator": {},
                "discriminator": {"width": 2, "batch_norm": True}}
    shutil.move(outputs / "small", outputs / "group" / "thin-seed3")
    (outputs / "group" / "thin-seed3" / "experiment.json").write_text(json.dumps({"settings": settings}))
    gallery.main([Panel("group/thin-seed3", "Thin", "notebook 6")], outputs)
    assert "changed: batch_size 64, beta_1 0.25, G: build_dense, D: width 2" in written(outputs)[0].splitlines()


def test_best_epoch_is_that_of_the_lowest_distance_and_its_grid_is_shown(outputs):
    change_history(outputs, frechet_distance=[None, 1.5, None, 7.5])
    for epoch, number, distance in (("best", 2, "1.50"), ("last", 4, "7.50")):
        lines, grid = gallery.caption_and_grid(Panel("small", "Squares", "", epoch), outputs)
        assert f"epoch {number} of 4" in lines[1] and f"distance to these {distance}," in lines[3]
        assert np.array_equal(grid, imageio.imread(outputs / "small" / "grids" / f"epoch_{number:04d}.png"))


def test_a_distance_that_compares_with_no_other_is_left_out(outputs):
    change_history(outputs, frechet_distance=[None, 1.5, None, 7.5])
    lines, _ = gallery.caption_and_grid(Panel("small", "Squares", "", comparable=False), outputs)
    assert lines[3].startswith("no distance here") and "7.5" not in " ".join(lines)


def test_gaps_are_named_with_the_command_that_fills_them(outputs, capsys):
    unfinished = outputs / "group" / "cut-off-seed0"
    shutil.copytree(outputs / "small", unfinished)  # without experiment.json, the last file that is written
    gallery.main([Panel("small", "Squares", "make train"), Panel("nowhere", "Gone", "make it RUN=nowhere"),
                  Panel("group/cut-off-seed0", "Cut off", "make the rest")], outputs)
    gone, cut_off = written(outputs)[1:]
    assert gone == "Gone\nnot there, or not finished: outputs/nowhere\nmade by: make it RUN=nowhere"
    assert "made by: make the rest" in cut_off
    printed = capsys.readouterr().out
    assert "outputs/nowhere: make it RUN=nowhere\noutputs/group/cut-off-seed0: make the rest\n" in printed


def test_without_any_run_nothing_is_written(tmp_path):
    (tmp_path / "gallery.png").write_bytes(b"earlier")
    with pytest.raises(SystemExit, match="no gallery was written(.|\n)*outputs/mnist: make train"):
        gallery.main(outputs=tmp_path)
    assert (tmp_path / "gallery.png").read_bytes() == b"earlier"


# The page that is committed

@pytest.fixture
def committed():
    """The captions of the committed page by the titles of their panels."""
    return {caption.splitlines()[0]: caption for caption in written(ROOT / "outputs")}


def test_the_committed_gallery_is_complete_and_small(committed):
    assert [*committed] == [panel.title for panel in gallery.PANELS]
    for caption in committed.values():
        for words in (" images of ", "seed 0, epoch ", "istance "):
            assert words in caption, caption
    assert (ROOT / "outputs" / "gallery.png").stat().st_size < 1_500_000


def test_the_committed_failures_failed(committed):
    """Their titles are written by hand, so the distances must bear them out."""
    def distance(folder, epoch="last"):
        panel, = (panel for panel in gallery.PANELS if (panel.folder, panel.epoch) == (folder, epoch))
        return float(re.search(r"distance to these ([\d.]+)", committed[panel.title])[1])

    good = distance("mnist")
    assert good < 10 and distance("fashion_mnist") < 30
    assert distance("experiments/collapse-seed0") > 2 * distance("experiments/collapse cured-seed0") > 2 * good
    assert distance("experiments/overpowered-seed0") > 50 * good
    decay = "experiments/late decay-seed0"
    assert distance(decay) > 1.3 * distance(decay, "best")
