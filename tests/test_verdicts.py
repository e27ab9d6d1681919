"""What the texts say of the experiments, recomputed from the committed tables."""

import functools
import itertools
import re
from pathlib import Path

import nbformat
import numpy as np
import pandas as pd
import pytest
import scipy.stats

from lab import comparisons

ROOT = Path(__file__).resolve().parents[1]
RESULTS = pd.read_csv(ROOT / "outputs" / "experiments.csv")
SEARCH = pd.read_csv(ROOT / "outputs" / "experiments_search.csv")
CURVES = pd.read_csv(ROOT / "outputs" / "experiments_curves.csv")
TABLES = {  # the file in outputs/ that a notebook's verdicts are from
    **dict.fromkeys(("02_generator", "03_discriminator", "06_experiments", "06a_all_experiments"), "experiments"),
    "07_batch_normalization": "batch_normalization", "08_svhn": "colour", "12_choose_the_digit": "choose_the_digit"}


def prose_of(name):
    """All markdown of a notebook."""
    cells = nbformat.read(ROOT / "notebooks" / f"{name}.ipynb", 4).cells
    return "\n".join(cell.source for cell in cells if cell.cell_type == "markdown")


FEW_IMAGES = {  # the group of runs in outputs/few_images.csv that a part of notebook 13 is about
    "Cures, one by one": "few_images_1000", r"5,000 digits: too few\?": "few_images_fallback",
    "Beginning where another run ended": "few_images_clothes"}
TEXTS = {name: prose_of(name) for name in (*TABLES, "13_few_images")}
CLAIM = re.compile(r"`([^`]+)`\s+\*\*(worse|better|no\s+difference\s+seen)\*\*(?:\s+\(([\d.]+)\s+times\))?")
OTHERWISE = r"^### (?:At equal seconds|Ten times as long)\n.*?(?=^###? )"  # sections with comparisons of their own


def claims_of(text):
    """Experiment, verdict and ratio of each claim, however its lines are broken."""
    return [tuple(" ".join(part.split()) for part in claim) for claim in CLAIM.findall(text)]


def section(text, title, level=3):
    (found,) = re.findall(rf"^{'#' * level} {title}\n(.*?)(?=^#{{2,{level}}} )", text, flags=re.M | re.S)
    return found


@functools.cache
def table(name):
    return comparisons.compare_experiments(pd.read_csv(ROOT / "outputs" / f"{name}.csv"))


def check(claims, wanted):
    assert claims
    for name, verdict, ratio in claims:
        row = wanted.loc[name]
        assert row.verdict == verdict, f"{name}: {row.verdict}"
        assert not ratio or ratio == f"{row.ratio:.{len(ratio.split('.')[1])}f}", f"{name}: {ratio}, not {row.ratio}"


@pytest.mark.parametrize("name", TABLES)
def test_verdicts_in_the_text_are_those_of_the_results(name):
    check(claims_of(re.sub(OTHERWISE, "", TEXTS[name], flags=re.M | re.S)), table(TABLES[name]))


@pytest.mark.parametrize("name", ["06a_all_experiments", "07_batch_normalization"])
def test_every_experiment_that_is_compared_has_a_verdict_where_it_is_trained(name):
    compared = table(TABLES[name])
    assert {claim for claim, *_ in claims_of(TEXTS[name])} >= set(compared.index[compared.base.notna()])


def test_verdicts_on_few_images_are_those_of_each_part_and_every_cure_has_one():
    results, claims = pd.read_csv(ROOT / "outputs" / "few_images.csv"), {}
    for title, group in FEW_IMAGES.items():
        claims[group] = claims_of(section(TEXTS["13_few_images"], title, level=2))
        compared = comparisons.compare_experiments(results[results.group == group])
        check(claims[group], compared)
        assert {name for name, *_ in claims[group]} == set(compared.index[compared.base.notna()]), title
    assert sum(map(len, claims.values())) == len(claims_of(TEXTS["13_few_images"])), "a verdict outside of these parts"


def test_verdicts_at_equal_seconds_are_those_of_the_curves_and_the_costs_of_a_step():
    costs = SEARCH[SEARCH.chosen].set_index("experiment").step_cost.dropna()
    epochs = RESULTS[RESULTS.experiment == "base"].epochs.iloc[0]
    rows = []
    for (name, seed), curve in CURVES[CURVES.experiment.isin(costs.index) & (CURVES.seed < 3)].groupby(
            ["experiment", "seed"]):
        distance = np.exp(np.interp(epochs * min(1, 1 / costs[name]), curve.epoch, np.log(curve.frechet_distance)))
        rows.append({"experiment": name, "seed": seed, "frechet_distance": distance, "recall": np.nan})
    check(claims_of(section(TEXTS["06a_all_experiments"], "At equal seconds")),
          comparisons.compare_experiments(pd.DataFrame(rows)))


def test_verdicts_of_the_runs_ten_times_as_long_are_those_of_their_table():
    long = pd.read_csv(ROOT / "outputs" / "experiments_long.csv")
    assert set(long.epochs) == {10 * epochs for epochs in RESULTS[RESULTS.experiment == "base"].epochs}
    check(claims_of(section(TEXTS["06a_all_experiments"], "Ten times as long")), comparisons.compare_experiments(long))


def test_each_comparison_has_three_seeds_and_the_base_twelve():
    seeds = RESULTS.groupby("experiment").seed.agg(set)
    assert seeds["base"] == set(range(12))
    assert set(map(frozenset, seeds.drop(["base", "wrongly scaled"]))) == {frozenset({0, 1, 2})}


def test_the_base_and_each_rival_had_six_tries_and_the_best_is_what_was_compared():
    assert set(SEARCH.groupby("experiment").frechet_distance.count()) == {6}
    best = SEARCH.loc[SEARCH.groupby("experiment").frechet_distance.idxmin()]
    assert SEARCH[SEARCH.chosen].run.sort_values().tolist() == best.run.sort_values().tolist()
    assert set(best.experiment) <= set(RESULTS.experiment)


def test_no_text_turns_no_difference_seen_into_none():
    for name, text in TEXTS.items():
        assert not re.search(r"makes? no difference|made no difference|interchangeable|hardly matters?", text), name


def test_differences_between_kinds_of_semi_supervised_training_are_paired_and_those_of_the_table():
    results = pd.read_csv(ROOT / "outputs" / "semi_supervised.csv").query("instead.isna()")
    known = set()
    for _, some in results.groupby(["data", "labels"]):
        for measure in ("test_error", "held_out_error"):
            by_draw = some.pivot(index="draw", columns="kind", values=measure)
            for more, less in itertools.permutations(by_draw, 2):
                both = by_draw[[more, less]].dropna()
                if len(both) > 1:
                    interval = scipy.stats.ttest_rel(both[more], both[less]).confidence_interval()
                    known.add(tuple(f"{value:.2f}" for value in ((both[more] - both[less]).mean(), *interval)))
    said = re.findall(r"(-?\d+\.\d+)(?:\s+points)?(?:\s+on\s+average)?\s+\((-?\d+\.\d+)\s+to\s+(-?\d+\.\d+)\)",
                      prose_of("09_semi_supervised"))
    assert len(said) > 9
    assert not [difference for difference in said if difference not in known]


def test_shares_of_obeyed_wishes_are_those_of_their_table():
    results = pd.read_csv(ROOT / "outputs" / "choose_the_digit.csv")
    means = results.dropna(subset="obeyed").groupby("experiment").obeyed.mean()
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for text in (TEXTS["12_choose_the_digit"], readme):
        said = re.findall(r"`([^`]+)`\s+obeys\s+in\s+(\d+\.\d)\s+%", text)
        assert said and said == [(name, f"{100 * means[' '.join(name.split())]:.1f}") for name, _ in said]
