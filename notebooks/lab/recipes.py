"""The nets and settings of runs: a recipe for CPU cores, one for a GPU, one for colour, with which 06 to 10 began."""

from lab.compiling import has_gpu

RECIPES = {
    # `train`'s and the builders' defaults
    "cpu": {"generator": {"width": 16, "hidden": 128}, "discriminator": {"width": 16, "hidden": 64},
            "batch_size": 32, "learning_rate": 1e-3, "averaging": 0.9995, "images_seen": 500_000},
    # small nets wait for launches on a GPU, so width and larger batches should cost little there: not measured yet
    "gpu": {"generator": {"width": 32, "hidden": 256}, "discriminator": {"width": 24, "hidden": 128},
            "batch_size": 64, "learning_rate": 1.5e-3, "averaging": 0.9995, "images_seen": 1_500_000},
    # the default until nets had hidden layers; what notebooks 06 to 10 measure was measured with it
    "first": {"generator": {"hidden": None}, "discriminator": {"hidden": None},
              "batch_size": 64, "learning_rate": 1.5e-3, "averaging": 0.999, "images_seen": 600_000},
}
FIRST = {name: value for name, value in RECIPES["first"].items() if name != "images_seen"}  # for an `Experiment`


def choose_recipe(name, image_shape):
    """A recipe by its name, or for '' the one for such images on this machine: `(name, recipe)`.

    For images in colour that is the first one: house numbers came out as blots by the other (one seed). Any recipe runs
    on any machine. A recipe is a dict: options of `build_generator` under `generator`, of `build_discriminator` under
    `discriminator`, arguments of `runs.train`, and `images_seen`, how many images a run sees if its epochs are not
    given, each as often as it is seen.
    """
    name = name or ("first" if image_shape[-1] == 3 else "gpu" if has_gpu() else "cpu")
    if name not in RECIPES:
        raise ValueError(f"the recipe is {name!r}; wanted one of {', '.join(RECIPES)}, or '' for this machine's.")
    return name, RECIPES[name]
