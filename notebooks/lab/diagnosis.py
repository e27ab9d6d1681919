"""What a run's curves look like, in words: `diagnose_run`; used in notebooks 04 and 06."""

import dataclasses
import json
import math
from pathlib import Path

import pandas as pd

from lab.files import plural, readable, shown_path
from lab.runs import load_history

NEEDED = {"epoch", "d_loss", "d_real_accuracy", "d_fake_accuracy", "frechet_distance", "diversity"}
_TRY_NEXT = {
    "nothing wrong yet": "train on, and look again.",
    "healthy": "train on for as long as the distance falls; generator.keras holds the best epoch.",
    "discriminator overpowers": "a lower learning rate for the discriminator or for both, a smaller discriminator, or "
                                "more images; check that real and generated images have the same scale.",
    "collapse": "minibatch statistics and batch normalisation in the discriminator, beta_1 = 0, no more steps for the "
                "generator than for the discriminator; look at the last grid.",
    "diverged": "generator.keras holds the best epoch, so nothing is lost; a lower learning rate, averaged weights, or "
                "more images.",
    "stalled": "batch normalisation in both nets, or larger first weights; a higher learning rate.",
}


@dataclasses.dataclass(frozen=True)
class Diagnosis:
    """What a run looks like: `verdict`, the `evidence` for it, and what to `try_next`; `print` shows all three."""

    verdict: str
    evidence: str
    try_next: str

    def __str__(self):
        return f"{self.verdict}: {self.evidence}.\nWhat to try: {self.try_next}"


def diagnose_run(run):
    """A `Diagnosis` of what the curves of a run look like.

    The verdict is the first that holds of: "discriminator overpowers" (it is right about nearly every image, and the
    distance does not come down), "diverged" (the distance was much lower before), "nothing wrong yet" (too short to
    judge, or still far but falling), "collapse" (the features of generated images vary little, see `diversity` in
    `metrics.csv`), "stalled" (the distance stays high) and "healthy". Without a distance only the first and the third
    can be seen. Its error rates are measured in notebook 06.

    From a run's folder, or its metrics as a DataFrame; a FileNotFoundError if there are none.
    """
    history = run if isinstance(run, pd.DataFrame) else load_history(run)
    missing = NEEDED - set(getattr(history, "columns", ()))
    if missing:
        raise ValueError(f"run: no column {', '.join(sorted(missing))}; wanted a run's folder, or its metrics as "
                         "load_history returns them.")
    measured = history.dropna(subset=["frechet_distance"])

    def diagnosis(verdict, evidence):
        return Diagnosis(verdict, evidence, _TRY_NEXT[verdict])

    if len(history) < 3:
        return diagnosis("nothing wrong yet", f"{plural(len(history), 'epoch')} of training are too little to judge by")
    distances = measured.set_index("epoch")["frechet_distance"]
    first, halfway, last = distances.iloc[[0, len(distances) // 2 - 1, -1]] if len(distances) > 2 else [math.nan] * 3
    if not isinstance(run, pd.DataFrame) and (Path(run) / "config.json").exists():
        with readable(shown_path(Path(run) / "config.json")):
            config = json.loads((Path(run) / "config.json").read_text(encoding="utf-8"))
            first = config.get("frechet_distance", {}).get("before_training", first)
    falling = last < 0.8 * halfway
    late = history.tail(max(2, len(history) // 5)).mean()
    if min(late["d_real_accuracy"], late["d_fake_accuracy"]) > 0.97 and not (falling and last < 0.6 * first):
        return diagnosis("discriminator overpowers",
                         f"of late it was right about {late['d_real_accuracy']:.0%} of the real and "
                         f"{late['d_fake_accuracy']:.0%} of the generated images, with a loss of {late['d_loss']:.2f}")
    if len(distances) < 3:
        return diagnosis("nothing wrong yet", "the discriminator is not always right; without a distance the curves "
                                              "cannot show more, so look at the grids")
    best, lately, diversity = distances.min(), distances.tail(2).min(), measured["diversity"].iloc[-1]
    course = f"the distance was {first:.1f} at first, {halfway:.1f} halfway and is {last:.1f} now"
    if lately > 1.3 * best:
        return diagnosis("diverged", f"the distance was {best:.1f} after epoch {distances.idxmin()} and has been "
                                     f"{lately:.1f} or more of late")
    far = last > 0.25 * first
    if far and falling:
        return diagnosis("nothing wrong yet", f"{course}, still a long way to go but falling")
    if diversity < 0.2 and best < 0.7 * first and not falling:
        return diagnosis("collapse", f"generated images vary {diversity:.2f} times as much as real ones, and {course}")
    if far:
        return diagnosis("stalled", course)
    return diagnosis("healthy", f"{course}; generated images vary {diversity:.2f} times as much as real ones")
