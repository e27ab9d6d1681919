"""Experiments beside a base, paired by seed: rows in, a table out; used in notebook 02 and from 06 on."""

import numpy as np
import pandas as pd
import scipy.optimize
import scipy.special
import scipy.stats

FEWEST = 5  # comparisons from which the scatter of one is judged by that of the others, too


def compare_experiments(results, base=None):
    """A table of experiments beside a base, from rows of `load_experiments`: a pandas DataFrame, one row an experiment.

    What is compared is the logarithm of the Frechet distance, seed by seed: a run with the run of its base that began
    from the same seed. The interval is that of the paired t-test, moderated after Smyth 2004
    (https://doi.org/10.2202/1544-6115.1027): a few seeds tell little of how much a difference scatters, so its variance
    is drawn towards that of the other differences, as far as these resemble each other. Its coverage of 95 % is one
    over all experiments together. With fewer than `FEWEST` comparisons it is the plain paired t-test.

    Args:
        base: the experiment that all others are compared with; or a dict `{experiment: base}` of those to compare.
            Default is such a dict in the column `compared_with`, as `outputs/experiments.csv` has it, or else "base".

    Returns:
        Columns: base, its name; seeds, how many both sides share; frechet distance and recall, mean and standard
        deviation over all seeds; ratio, the geometric mean of the paired ratios, and its 95 % interval, low to high; p;
        q, the same after Benjamini and Hochberg's control of the false discovery rate over all rows; seen from, the
        ratio that would be seen at p < 0.05 in four of five cases; verdict: "better" or "worse" if q < 0.05, else
        "no difference seen". With a single shared seed there is a ratio only.

    Raises:
        ValueError: there is no run of a base, or no seed that an experiment shares with it.
    """
    if base is None and "compared_with" in results:
        base = results.dropna(subset="compared_with").set_index("experiment")["compared_with"].to_dict()
    elif not isinstance(base, dict):
        base = dict.fromkeys(results["experiment"], base or "base")
    results, rows = results[results["experiment"].isin({*base, *base.values()})], []
    for name, runs in results.groupby("experiment", sort=False):
        row = {"experiment": name, "seeds": len(runs)}
        if base.get(name, name) != name:
            differences = np.log(paired_ratios(results, name, base[name]))
            row |= {"base": base[name], "seeds": len(differences), "mean": differences.mean(),
                    "variance": differences.var(), "freedom": len(differences) - 1}
        rows.append(row)
    table = pd.DataFrame(rows, columns=["experiment", "base", "seeds", "mean", "variance", "freedom"])
    table = table.set_index("experiment").astype({"seeds": int, "mean": float, "variance": float, "freedom": float})
    freedom, variance = _moderated(*table[["variance", "freedom"]].to_numpy().T)
    error = np.sqrt(variance / table["seeds"])
    half = scipy.stats.t.ppf(0.975, freedom) * error
    table["ratio"], table["low"], table["high"] = (np.exp(table["mean"] + shift) for shift in (0, -half, half))
    table["p"] = 2 * scipy.stats.t.sf(table["mean"].abs() / error, freedom)
    known = table["p"].notna()
    table["q"] = pd.Series(scipy.stats.false_discovery_control(table["p"][known]), table.index[known])
    table["seen from"] = np.exp(half + scipy.stats.t.ppf(0.8, freedom) * error)
    direction = np.where(table["mean"] > 0, "worse", "better")
    table["verdict"] = pd.Series(np.where(table["q"] < 0.05, direction, "no difference seen"), table.index).where(known)
    for column, digits in (("frechet_distance", 1), ("recall", 2)):
        values = results.groupby("experiment", sort=False)[column]
        table[column.replace("_", " ")] = [
            f"{mean:.{digits}f}" + (f" ± {spread:.{digits}f}" if spread >= 0 else "")
            for mean, spread in zip(values.mean(), values.std())]
    return table[["base", "seeds", "frechet distance", "recall", "ratio", "low", "high", "p", "q", "seen from",
                  "verdict"]]


def paired_ratios(results, name, base):
    """The Frechet distance of each run of an experiment over that of its base's run from the same seed: a Series.

    A ValueError if there is no run of the base, or no seed that both have.
    """
    ours, theirs = (results[results["experiment"] == key].set_index("seed")["frechet_distance"] for key in (name, base))
    if theirs.empty:
        raise ValueError(f"no finished run of {base!r} among {', '.join(map(repr, results['experiment'].unique()))}.")
    if ours.index.intersection(theirs.index).empty:
        raise ValueError(f"{name!r} and {base!r} have no seed in common: {sorted(ours.index)} and "
                         f"{sorted(theirs.index)}; train both from the same seeds.")
    return (ours / theirs).dropna()


def _moderated(variances, freedom):
    """Degrees of freedom and variances, moderated; where there are none, they stay NaN.

    Each sample variance is averaged with a common one, which weighs the more the less they scatter beyond what chance
    makes of equal ones: section 6.2 of Smyth 2004.
    """
    freedom = np.where(freedom > 0, freedom, np.nan)
    usable = (freedom > 0) & (variances > 0)
    if usable.sum() < FEWEST:
        return freedom, variances
    half = freedom[usable] / 2
    centred = np.log(variances[usable]) - scipy.special.digamma(half) + np.log(half)
    excess = centred.var(ddof=1) - scipy.special.polygamma(1, half).mean()
    if excess < 1e-6:
        return freedom + np.inf, np.exp(centred.mean()) + 0 * freedom
    prior = 2 * scipy.optimize.brentq(lambda x: scipy.special.polygamma(1, x) - excess, 1e-3, 1e7)
    common = np.exp(centred.mean() + scipy.special.digamma(prior / 2) - np.log(prior / 2))
    return prior + freedom, (prior * common + freedom * variances) / (prior + freedom)
