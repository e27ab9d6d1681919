"""The reader of curves, on curves whose meaning is known."""

import json

import numpy as np
import pandas as pd
import pytest

from lab import diagnosis

FALLING = [200, 100, 60, 45, 38, 33, 30, 28, 27, 26]


def history(distances, *, diversity=0.6, accuracy=0.65, d_loss=1.25):
    """Metrics of a run with these distances; a single diversity or accuracy stands for all epochs."""
    count = len(distances)
    return pd.DataFrame({"epoch": range(1, count + 1), "d_loss": d_loss, "g_loss": 0.9,
                         "d_real_accuracy": np.broadcast_to(accuracy, count),
                         "d_fake_accuracy": np.broadcast_to(accuracy, count),
                         "frechet_distance": np.array(distances, float),
                         "diversity": np.broadcast_to(diversity, count)})


@pytest.mark.parametrize("verdict, run", {
    "healthy": history(FALLING),
    "discriminator overpowers": history([400, 410, 405, 420], accuracy=0.99, d_loss=0.01),
    "diverged": history([200, 80, 40, 30, 35, 45, 50, 60]),
    "collapse": history([400, 240, 245, 238, 250, 244], diversity=0.05),
    "stalled": history([400, 390, 395, 380, 385, 390], diversity=0.01),
    "nothing wrong yet": history([390, 380, 300, 200, 150, 110], diversity=0.15),
}.items(), ids=lambda value: value if isinstance(value, str) else "")
def test_each_verdict_on_curves_made_for_it(verdict, run):
    assert diagnosis.diagnose_run(run).verdict == verdict


def test_two_epochs_are_too_few_whatever_they_show():
    assert diagnosis.diagnose_run(history([400, 500], accuracy=1.0)).verdict == "nothing wrong yet"


def test_a_discriminator_that_was_sure_only_at_first_does_not_overpower():
    accuracy, flat = np.array([1.0, 0.99, 0.95, 0.8, 0.7, 0.65, 0.65, 0.65]), [200, 60] + [30] * 6
    assert diagnosis.diagnose_run(history(flat, accuracy=accuracy)).verdict == "healthy"
    assert diagnosis.diagnose_run(history(flat, accuracy=accuracy[::-1])).verdict == "discriminator overpowers"


def test_a_sure_discriminator_does_not_overpower_while_the_distance_falls():
    assert diagnosis.diagnose_run(history(FALLING, accuracy=0.99)).verdict == "healthy"
    assert diagnosis.diagnose_run(history([490, 450, 300, 200], accuracy=0.99)).verdict == "nothing wrong yet"
    assert diagnosis.diagnose_run(history([490, 480, 470, 370], accuracy=0.99)).verdict == "discriminator overpowers"


def test_one_side_alone_does_not_make_a_sure_discriminator():
    """One that calls everything generated is right about all generated images."""
    run = history([200, 60] + [30] * 6)
    run["d_fake_accuracy"], run["d_real_accuracy"] = 1.0, 0.3
    assert diagnosis.diagnose_run(run).verdict == "healthy"


def test_a_converged_run_is_not_stalled_and_a_single_bad_epoch_is_not_divergence():
    assert diagnosis.diagnose_run(history([200, 50] + [10] * 20)).verdict == "healthy"
    assert diagnosis.diagnose_run(history([200, 50] + [10] * 20 + [14])).verdict == "healthy"
    assert diagnosis.diagnose_run(history([300, 380, 190, 108])).verdict == "nothing wrong yet"


def test_low_diversity_on_the_way_is_no_collapse():
    assert diagnosis.diagnose_run(history([390, 250, 180, 100, 90, 80], diversity=0.15)).verdict == "healthy"


def test_a_run_that_was_measured_late_is_compared_with_the_untrained_generator_of_its_config(tmp_path):
    """After a long first epoch little is left to gain, which is no stall."""
    history([5.0, 4.9, 4.8, 4.9]).to_csv(tmp_path / "metrics.csv", index=False)
    assert diagnosis.diagnose_run(tmp_path).verdict == "stalled"
    (tmp_path / "config.json").write_text(json.dumps({"frechet_distance": {"before_training": 400.0}}))
    assert diagnosis.diagnose_run(tmp_path).verdict == "healthy"


def test_distances_of_some_epochs_only_are_enough():
    run = history([np.nan, 400, np.nan, 240, np.nan, 245, np.nan, 238, np.nan, 250], diversity=0.05)
    assert diagnosis.diagnose_run(run).verdict == "collapse"


@pytest.mark.parametrize("accuracy, verdict", [(0.65, "nothing wrong yet"), (0.995, "discriminator overpowers")])
def test_without_a_distance_only_a_sure_discriminator_is_seen(accuracy, verdict):
    said = diagnosis.diagnose_run(history([np.nan] * 6, accuracy=accuracy))
    assert said.verdict == verdict
    assert verdict != "nothing wrong yet" or "look at the grids" in said.evidence


def test_it_is_said_in_words_with_evidence_and_advice():
    said = diagnosis.diagnose_run(history([200, 80, 40, 30, 35, 45, 50, 60]))
    verdict, advice = str(said).splitlines()
    assert verdict == "diverged: the distance was 30.0 after epoch 4 and has been 50.0 or more of late."
    assert advice.startswith("What to try: ") and "learning rate" in advice
