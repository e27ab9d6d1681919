"""What the texts say of the experiments, against the committed results."""

import re
from pathlib import Path

import nbformat
import pandas as pd
import pytest

from lab import comparisons

ROOT = Path(__file__).resolve().parents[1]
RESULTS = pd.read_csv(ROOT / "outputs" / "experiments.csv")
TEXTS = {name[:2]: "\n".join(cell.source for cell in nbformat.read(ROOT / "notebooks" / f"{name}.ipynb", 4).cells
                            if cell.cell_type == "markdown")
         for name in ("02_generator", "03_discriminator", "06_experiments")}
CLAIM = re.compile(r"`([^`]+)`\s+\*\*(worse|better|no\s+difference\s+seen)\*\*(?:\s+\(([\d.]+)\s+times\))?")
BASES = {"clothes": "clothes DCGAN", "collapse": "collapse"}


def claims_of(text):
    """Experiment, verdict and ratio of each claim, however its lines are broken."""
    return [tuple(" ".join(part.split()) for part in claim) for claim in CLAIM.findall(text)]


def compared(name):
    base = BASES.get(name.split()[0], "base")
    return comparisons.compare_experiments(RESULTS[RESULTS.experiment.isin([base, name])], base).loc[name]


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_verdicts_in_the_text_are_those_of_the_results(text):
    claims = claims_of(text)
    assert claims
    for name, verdict, ratio in claims:
        row = compared(name)
        assert row.verdict == verdict, name
        assert not ratio or ratio == f"{row.ratio:.{len(ratio.split('.')[1])}f}", f"{name}: {ratio}, not {row.ratio}"


def test_every_experiment_has_a_verdict_in_the_notebook():
    claimed = {name for name, _, _ in claims_of(TEXTS["06"])}
    made_to_fail_or_alone = {"base", "clothes DCGAN", "collapse", "overpowered", "wrongly scaled", "few images", "long",
                             "late decay", "clothes collapse", "clothes overpowered", "clothes tiny discriminator",
                             "tiny discriminator"}
    assert set(RESULTS.experiment) - made_to_fail_or_alone == claimed


def test_each_comparison_has_three_seeds_and_the_base_six():
    seeds = RESULTS.groupby("experiment").seed.agg(set)
    assert seeds["base"] == set(range(6))
    assert set(map(frozenset, seeds.drop(["base", "wrongly scaled"]))) == {frozenset({0, 1, 2})}
