"""Experiments beside a base: paired ratios, moderated intervals, many tests at once."""

import warnings

import numpy as np
import pandas as pd
import pytest
import scipy.stats

from lab import comparisons


def frame(**distances):
    """Results with these Frechet distances, a column of seeds each."""
    return pd.DataFrame([{"experiment": name, "seed": seed, "frechet_distance": value, "recall": 0.5}
                         for name, values in distances.items() for seed, value in enumerate(values)])


def made_up(spreads, ratio=1.0, seeds=3, seed=0):
    """Results of a base and of as many experiments as spreads, each with its own, `ratio` times as far as the base."""
    random = np.random.default_rng(seed)
    base = np.exp(random.normal(3, 0.1, seeds))
    return frame(base=base, **{f"e{i}": base * ratio * np.exp(random.normal(0, spread, seeds))
                               for i, spread in enumerate(spreads)})


def test_few_comparisons_have_the_interval_of_the_paired_t_test():
    values = {"far": [20, 24, 21], "base": [10, 11.5, 12], "near": [10.4, 13, 11], "close": [5, 5.9, 5.7]}
    table = comparisons.compare_experiments(frame(**values))
    assert table.index.tolist() == list(values)
    for name in ("far", "near", "close"):
        ours, theirs = np.log(values[name]), np.log(values["base"])
        test = scipy.stats.ttest_rel(ours, theirs)
        np.testing.assert_allclose(table.loc[name, ["ratio", "low", "high", "p"]].astype(float), [
            np.exp((ours - theirs).mean()), *np.exp(test.confidence_interval(0.95)), test.pvalue], rtol=1e-9)
    p = table.p.dropna()
    np.testing.assert_allclose(table.q[p.index], scipy.stats.false_discovery_control(p))
    assert table.verdict[["far", "near", "close"]].tolist() == ["worse", "no difference seen", "better"]
    assert table.loc["base", ["base", "ratio", "low", "q", "verdict"]].isna().all()
    assert table["frechet distance"]["base"] == "11.2 ± 1.0" and table.recall["far"] == "0.50 ± 0.00"


def test_pairing_sees_a_difference_that_is_small_beside_the_scatter_of_the_seeds():
    base = np.array([10.0, 20, 40])
    table = comparisons.compare_experiments(frame(base=base, better=base * [0.9, 0.91, 0.89]))
    assert table.verdict["better"] == "better" and table.high["better"] < 0.93


def test_only_shared_seeds_count_and_the_base_may_have_more():
    table = comparisons.compare_experiments(frame(base=[10, 12, 11, 900, 800], other=[20, 25, 21]))
    assert table.seeds.to_dict() == {"base": 5, "other": 3} and table.ratio["other"] == pytest.approx(
        (20 / 10 * 25 / 12 * 21 / 11) ** (1 / 3))


SPREADS = {"alike": lambda random, count: np.full(count, 0.15),
           "as the method assumes": lambda random, count: 0.15 * np.sqrt(4 / random.chisquare(4, count)),
           "a few collapse": lambda random, count: np.where(random.random(count) < 0.1, 0.75, 0.15),
           "half of them share their way": lambda random, count: np.where(random.random(count) < 0.5, 0.05, 0.15)}


@pytest.mark.parametrize("spreads_of", SPREADS.values(), ids=SPREADS)
def test_intervals_hold_the_true_ratio_in_95_percent_within_2(spreads_of):
    random, held = np.random.default_rng(1), []
    for repeat in range(40):
        table = comparisons.compare_experiments(made_up(spreads_of(random, 50), ratio=1.3, seed=repeat)).dropna()
        held += ((table.low <= 1.3) & (1.3 <= table.high)).tolist()
    assert len(held) == 2000 and np.mean(held) == pytest.approx(0.95, abs=0.02)


def test_intervals_of_many_comparisons_are_narrower_than_each_alone():
    results = made_up([0.15] * 30)
    together = comparisons.compare_experiments(results).dropna()
    alone = pd.concat(comparisons.compare_experiments(results[results.experiment.isin(["base", name])]).dropna()
                      for name in together.index)
    widths = [np.log(table.high / table.low) for table in (together, alone)]
    assert widths[0].median() < 0.7 * widths[1].median()
    np.testing.assert_allclose(together.ratio, alone.ratio)


def test_where_nothing_differs_nearly_nothing_is_called_different():
    tables = [comparisons.compare_experiments(made_up([0.15] * 40, seed=seed)).dropna() for seed in range(40)]
    assert np.mean([(table.p < 0.05).any() for table in tables]) > 0.6, "by themselves, some would be"
    assert np.mean([(table.verdict != "no difference seen").any() for table in tables]) <= 0.1


def test_the_ratio_seen_from_is_seen_in_four_of_five_cases():
    tables = [comparisons.compare_experiments(made_up([0.15] * 40, seed=seed)).dropna() for seed in range(20)]
    ratio = np.mean([table["seen from"].mean() for table in tables])
    seen = [comparisons.compare_experiments(made_up([0.15] * 40, ratio=ratio, seed=seed)).dropna().p < 0.05
            for seed in range(40)]
    assert np.mean(seen) == pytest.approx(0.8, abs=0.05)


def test_comparison_with_other_bases():
    results = frame(base=[10, 11, 12], dense=[90, 80, 85], clothes=[20, 21, 22], twice=[40, 42.5, 44])
    table = comparisons.compare_experiments(results, {"dense": "clothes", "twice": "dense"})
    assert table.base.fillna("-").to_dict() == {"dense": "clothes", "clothes": "-", "twice": "dense"}
    named = results.assign(compared_with=results.experiment.map({"twice": "clothes"}))
    assert comparisons.compare_experiments(named).base.fillna("-").to_dict() == {"clothes": "-", "twice": "clothes"}
    table = comparisons.compare_experiments(results, "clothes")
    assert table.verdict["base"] == "better" and pd.isna(table.verdict["clothes"])


@pytest.mark.parametrize("base, other", [([10], [20]), ([10, 11], [20]), ([10], [20, 21]), ([10, 11], [20, np.nan])])
def test_one_seed_gives_no_verdict_and_no_warning(base, other):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        table = comparisons.compare_experiments(frame(base=base, other=other))
    assert table.loc["other", ["low", "high", "p", "q", "verdict"]].isna().all()
    assert table["frechet distance"]["base"] == {1: "10.0", 2: "10.5 ± 0.7"}[len(base)]
    assert table.ratio["other"] == pytest.approx(20 / 10)


def test_a_base_alone_is_compared_with_nothing():
    table = comparisons.compare_experiments(frame(base=[10, 11]))
    assert table.index.tolist() == ["base"] and table[["ratio", "p", "q", "verdict"]].isna().all(axis=None)
    assert comparisons.compare_experiments(frame(base=[10, 11]).assign(compared_with=None)).empty


def test_without_a_base_or_a_shared_seed_there_is_no_comparison():
    with pytest.raises(ValueError, match="no finished run of 'bass' among 'base', 'other'"):
        comparisons.compare_experiments(frame(base=[1, 2], other=[1, 2]), "bass")
    with pytest.raises(ValueError, match=r"'other' and 'base' have no seed in common: \[5\] and \[0\]"):
        comparisons.compare_experiments(frame(base=[1.0], other=[2.0]).assign(seed=[0, 5]))
