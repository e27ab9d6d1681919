"""The nets and settings of runs: a recipe for CPU cores, a GPU, colour, few images; and their nets; used from 04 on."""

from dcgan_utils import build_discriminator, build_generator, discriminator_loss, generator_loss
from lab.augmentation import augmented, build_augmentation
from lab.compiling import has_gpu
from lab.conditional import build_conditional_discriminator, build_conditional_generator
from lab.overfitting import AdaptiveStrength

FEW = 2_000  # images at most for which "few" is chosen

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
# with what notebook 13 found for images that a discriminator learns by heart
AGAINST_HEART = {"augmentation": {"shift": 0.125, "probability": 0.0},
                 "losses": (AdaptiveStrength(target=0.3), generator_loss)}
RECIPES["few"] = {**RECIPES["cpu"], **AGAINST_HEART}
RECIPES["few_colour"] = {**RECIPES["first"], **AGAINST_HEART, "learning_rate": 1e-3, "falling": True,
                         "images_seen": 200_000}
FIRST = {name: value for name, value in RECIPES["first"].items() if name != "images_seen"}  # for an `Experiment`


def choose_recipe(name, image_shape, count=None):
    """A recipe by its name, or for '' the one for `count` such images on this machine: `(name, recipe)`.

    In colour that is the first one: house numbers and portraits came out as blots by the other (one seed each). For at
    most `FEW` images it is "few" or "few_colour", the same nets behind augmentation. Any recipe runs on any machine. A
    recipe is a dict: options of `build_generator` under `generator`, of `build_discriminator` under `discriminator`,
    arguments of `runs.train`, and `images_seen`, how many images a run sees if its epochs are not given, each as often
    as it is seen. It may have options of `build_augmentation` under `augmentation`, and `falling`: both rates fall over
    the whole run.
    """
    if not name:
        few = count is not None and count <= FEW
        grey, colour = ("few", "few_colour") if few else ("gpu" if has_gpu() else "cpu", "first")
        name = colour if image_shape[-1] == 3 else grey
    if name not in RECIPES:
        raise ValueError(f"the recipe is {name!r}; wanted one of {', '.join(RECIPES)}, or '' for this machine's.")
    return name, RECIPES[name]


def build_nets(recipe, image_shape, latent_dim=64, *, seed=0, way="", classes=0):
    """Generator and discriminator of a recipe; told the class, of `classes`, in a `way` of `lab.conditional` if any."""
    generator, discriminator = (dict(recipe[net], seed=seed) for net in ("generator", "discriminator"))
    if way:
        generator = build_conditional_generator(image_shape, classes, latent_dim, **generator)
        discriminator = build_conditional_discriminator(image_shape, classes, way, **discriminator)
    else:
        generator = build_generator(image_shape, latent_dim, **generator)
        discriminator = build_discriminator(image_shape, **discriminator)
    if "augmentation" in recipe:
        discriminator = augmented(discriminator, build_augmentation(**recipe["augmentation"], seed=seed))
    return generator, discriminator


def train_options(recipe, epochs, *, way=""):
    """What a recipe asks of `runs.train` beside batches and rate; rates of conditional nets, of a `way`, fall, too."""
    return {"averaging": recipe["averaging"], "losses": recipe.get("losses", (discriminator_loss, generator_loss)),
            "decay_epochs": epochs if way or recipe.get("falling") else None}
