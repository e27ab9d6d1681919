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


SURE_AT_FIRST = np.array([1.0, 0.99, 0.95, 0.8, 0.7, 0.65, 0.65, 0.65])
GOOD, DIVERGING = [200, 60] + [30] * 6, [200, 80, 40, 30, 35, 45, 50, 60]
CASES = {
    "healthy": {
        "falling": history(FALLING),
        "the discriminator was sure only at first": history(GOOD, accuracy=SURE_AT_FIRST),
        "the discriminator is sure while the distance falls": history(FALLING, accuracy=0.99),
        # one that calls everything generated is right about all generated images
        "the discriminator is right on one side only": history(GOOD, accuracy=0.3).assign(d_fake_accuracy=1.0),
        "converged": history([200, 50] + [10] * 20),
        "a single bad epoch": history([200, 50] + [10] * 20 + [14]),
        "low diversity on the way": history([390, 250, 180, 100, 90, 80], diversity=0.15),
    },
    "discriminator overpowers": {
        "flat": history([400, 410, 405, 420], accuracy=0.99, d_loss=0.01),
        "in the end": history(GOOD, accuracy=SURE_AT_FIRST[::-1]),
        "hardly falling": history([490, 480, 470, 370], accuracy=0.99),
        "never measured": history([np.nan] * 6, accuracy=0.995),
    },
    "diverged": {"much lower before": history(DIVERGING)},
    "collapse": {
        "hardly any diversity": history([400, 240, 245, 238, 250, 244], diversity=[0.6, 0.3, 0.1, 0.05, 0.05, 0.05]),
        "measured now and then": history([np.nan, 400, np.nan, 240, np.nan, 245, np.nan, 238, np.nan, 250],
                                         diversity=0.05),
    },
    "stalled": {"high and flat": history([400, 390, 395, 380, 385, 390], diversity=0.01)},
    "nothing wrong yet": {
        "far but falling": history([390, 380, 300, 200, 150, 110], diversity=0.15),
        "two epochs, whatever they show": history([400, 500], accuracy=1.0),
        "the discriminator is sure, but the distance falls": history([490, 450, 300, 200], accuracy=0.99),
        "a bad epoch early": history([300, 380, 190, 108]),
        "never measured": history([np.nan] * 6),
    },
}


@pytest.mark.parametrize("verdict, run", [
    pytest.param(verdict, run, id=f"{verdict}: {case}") for verdict, runs in CASES.items()
    for case, run in runs.items()])
def test_verdict_on_curves_made_for_it(verdict, run):
    assert diagnosis.diagnose_run(run).verdict == verdict


def test_a_run_that_was_measured_late_is_compared_with_the_untrained_generator_of_its_config(tmp_path):
    """After a long first epoch little is left to gain, which is no stall."""
    history([5.0, 4.9, 4.8, 4.9]).to_csv(tmp_path / "metrics.csv", index=False)
    assert diagnosis.diagnose_run(tmp_path).verdict == "stalled"
    (tmp_path / "config.json").write_text(json.dumps({"frechet_distance": {"before_training": 400.0}}))
    assert diagnosis.diagnose_run(tmp_path).verdict == "healthy"


def test_it_is_said_in_words_with_evidence_and_advice():
    said = diagnosis.diagnose_run(history(DIVERGING))
    verdict, advice = str(said).splitlines()
    assert verdict == "diverged: the distance was 30.0 after epoch 4 and has been 50.0 or more of late."
    assert advice.startswith("What to try: ") and "learning rate" in advice
    assert "look at the grids" in diagnosis.diagnose_run(history([np.nan] * 6)).evidence
