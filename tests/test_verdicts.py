"""What the text says of the experiments and of the semi-supervised draws, against the committed results."""

import re
from pathlib import Path

import nbformat
import pandas as pd
import pytest

from lab import comparisons

ROOT = Path(__file__).resolve().parents[1]
RESULTS = pd.read_csv(ROOT / "outputs" / "experiments.csv")
DRAWS = pd.read_csv(ROOT / "outputs" / "semi_supervised.csv")
NOTEBOOK = "\n".join(cell.source for cell in nbformat.read(ROOT / "notebooks" / "06_experiments.ipynb", 4).cells
                     if cell.cell_type == "markdown")
README = (ROOT / "README.md").read_text(encoding="utf-8")
CLAIM = re.compile(r"`([^`]+)`\s+\*\*(worse|better|no\s+difference\s+seen)\*\*(?:\s+\(([\d.]+)\s+times\))?")
BASES = {"clothes": "clothes DCGAN", "collapse": "collapse"}


def claims_of(text):
    """Experiment, verdict and ratio of each claim, however its lines are broken."""
    return [tuple(" ".join(part.split()) for part in claim) for claim in CLAIM.findall(text)]


def compared(name):
    base = BASES.get(name.split()[0], "base")
    return comparisons.compare_experiments(RESULTS[RESULTS.experiment.isin([base, name])], base).loc[name]


@pytest.mark.parametrize("text", [NOTEBOOK, README], ids=["notebook", "README"])
def test_verdicts_in_the_text_are_those_of_the_results(text):
    claims = claims_of(text)
    assert claims
    for name, verdict, ratio in claims:
        row = compared(name)
        assert row.verdict == verdict, name
        assert not ratio or ratio == f"{row.ratio:.{len(ratio.split('.')[1])}f}", f"{name}: {ratio}, not {row.ratio}"


def test_every_experiment_has_a_verdict_in_the_notebook():
    claimed = {name for name, _, _ in claims_of(NOTEBOOK)}
    made_to_fail_or_alone = {"base", "clothes DCGAN", "collapse", "overpowered", "wrongly scaled", "few images", "long",
                             "late decay", "clothes collapse", "clothes overpowered", "clothes tiny discriminator",
                             "tiny discriminator"}
    assert set(RESULTS.experiment) - made_to_fail_or_alone == claimed


def test_each_comparison_has_three_seeds_and_the_base_six():
    seeds = RESULTS.groupby("experiment").seed.agg(set)
    assert seeds["base"] == set(range(6))
    assert set(map(frozenset, seeds.drop(["base", "wrongly scaled"]))) == {frozenset({0, 1, 2})}


def test_errors_in_the_readme_are_those_of_the_draws():
    rows = re.findall(r"^\| (\w+), ([\d,]+) labels, (\d+) draws \| (.*?) \| (.*?) \|$", README, flags=re.M)
    assert len(rows) == 5
    for data, labels, draws, *claims in rows:
        for kind, claim in zip(("labels only", "feature matching"), claims):
            mine = DRAWS[DRAWS.data.str.startswith(data.lower()) & (DRAWS.labels == int(labels.replace(",", "")))
                         & (DRAWS.kind == kind)]
            assert sorted(mine.draw) == list(range(int(draws)))
            assert claim == f"{mine.test_error.mean():.2f} \u00b1 {mine.test_error.std():.2f}", (data, labels, kind)


def test_time_to_quality_in_the_readme_is_that_of_the_curves():
    text, outputs = " ".join(README.split()), ROOT / "outputs"
    row = pd.read_csv(outputs / "time_to_quality.csv").iloc[0]
    claim = ("a distance of {frechet_distance:.0f} after five epochs, on average over the seeds. They first reach it "
             "after {tutorial_seconds:.0f} seconds ({tutorial_low:.0f} to {tutorial_high:.0f}), the default nets after "
             "{default_seconds:.1f} ({default_low:.1f} to {default_high:.1f}): **{ratio:.0f} times sooner**")
    assert row.reached == "tutorial's after 5 epochs" and claim.format(**row) in text
    curves = pd.read_csv(outputs / "curves.csv")
    tutorial, default = (curves[curves.nets == nets] for nets in ("tutorial", "default"))
    lowest = tutorial.frechet_distance.min()
    above = default[default.frechet_distance >= lowest].epoch.max()
    epoch = default[default.epoch > above].epoch.min()  # from there on all are below
    assert (f"after one of their {len(tutorial)} epochs is {lowest:.1f}, and all default runs are below it after "
            f"{26.6 * epoch:.1f} seconds, {epoch:.2f} of their first epoch") in text
