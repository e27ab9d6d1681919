"""Experiments beside a base: ratios, intervals, verdicts."""

import warnings

import numpy as np
import pandas as pd
import pytest
import scipy.stats

from lab import comparisons


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
    table = comparisons.compare_experiments(frame(**values))
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
    table = comparisons.compare_experiments(frame(base=[10, 11, 12], b=[20, 21, 22]), base="b")
    assert table.index.tolist() == ["b", "base"] and table.verdict["base"] == "better"


@pytest.mark.parametrize("base, other", [([10], [20]), ([10, 11], [20]), ([10], [20, 21]), ([10, 11], [20, np.nan])])
def test_one_seed_gives_no_verdict_and_no_warning(base, other):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        table = comparisons.compare_experiments(frame(base=base, other=other))
    assert table.loc["other", ["low", "high", "verdict"]].isna().all()
    assert table["frechet distance"]["base"] == {1: "10.0", 2: "10.5 ± 0.7"}[len(base)]
    assert table.ratio["other"] == pytest.approx(
        np.exp(np.nanmean(np.log(other)) - np.nanmean(np.log(base))))
