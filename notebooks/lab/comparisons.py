"""Experiments beside a base, with intervals: rows in, a table out; used from notebook 06 on."""

import numpy as np
import pandas as pd
import scipy.stats


def compare_experiments(results, base="base"):
    """A table of experiments beside a base, from rows of `load_experiments`: a pandas DataFrame, one row an experiment.

    Each measure is shown as mean and standard deviation over the seeds. `ratio` is the geometric mean of the Frechet
    distances over that of the base, with its 95 % confidence interval by Welch's t-test on logarithms. `verdict` is
    "better" or "worse" where the interval, `low` to `high`, lies below or above 1, and "no difference seen" elsewhere;
    with a single seed there is none.
    """
    if base not in set(results.experiment):
        raise ValueError(f"no finished run of {base!r} among {', '.join(map(repr, results.experiment.unique()))}.")
    runs = dict(list(results.groupby("experiment", sort=False)))
    rows = []
    for name in [base, *(name for name in runs if name != base)]:
        row = {"experiment": name, "seeds": len(runs[name])}
        for column, digits in (("frechet_distance", 1), ("kid", 2), ("recall", 2), ("class_imbalance", 3),
                               ("seconds", 0)):
            values = runs[name][column]
            spread = f" \u00b1 {values.std():.{digits}f}" if len(values) > 1 else ""
            row[column.replace("_", " ")] = f"{values.mean():.{digits}f}{spread}"
        ours, theirs = (np.log(runs[key]["frechet_distance"].dropna()) for key in (name, base))
        row["ratio"] = np.exp(ours.mean() - theirs.mean())
        if name != base and min(len(ours), len(theirs)) > 1:
            low, high = np.exp(scipy.stats.ttest_ind(ours, theirs, equal_var=False).confidence_interval(0.95))
            row |= {"low": low, "high": high,
                    "verdict": "worse" if low > 1 else "better" if high < 1 else "no difference seen"}
        rows.append(row)
    return pd.DataFrame(rows).set_index("experiment").reindex(columns=[
        "seeds", "frechet distance", "kid", "recall", "class imbalance", "seconds", "ratio", "low", "high", "verdict"])
