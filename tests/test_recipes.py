"""The recipes of default runs: which one is chosen, and that the one for CPUs is what nothing said gives."""

import inspect

import numpy as np
import pytest
import tensorflow as tf

import dcgan_utils as dcgan
from lab import conditional, datasets, recipes, runs
from lab.augmentation import describe_augmentation
from lab.settings import describe


def defaults_of(function):
    return {name: parameter.default for name, parameter in inspect.signature(function).parameters.items()}


def test_recipe_for_cpus_is_what_builders_and_train_do_by_default():
    recipe = dict(recipes.RECIPES["cpu"])
    for net, build in (("generator", dcgan.build_generator), ("discriminator", dcgan.build_discriminator)):
        options = recipe.pop(net)
        assert options and options.items() <= defaults_of(build).items()
    assert recipe.pop("images_seen") == defaults_of(datasets.default_epochs)["images_seen"]
    assert recipe and recipe.items() <= defaults_of(runs.train).items()


def test_recipes_of_both_devices_name_the_same_settings():
    cpu, gpu = recipes.RECIPES["cpu"], recipes.RECIPES["gpu"]
    assert cpu.keys() == gpu.keys()
    assert all(cpu[net].keys() == gpu[net].keys() for net in ("generator", "discriminator"))


@pytest.mark.parametrize("gpus, wanted", [([], "cpu"), (["GPU:0"], "gpu")])
def test_recipe_follows_the_machine_unless_it_is_named(gpus, wanted, monkeypatch):
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: gpus if kind == "GPU" else ["CPU:0"])
    assert recipes.choose_recipe("", (28, 28, 1)) == (wanted, recipes.RECIPES[wanted])
    assert recipes.choose_recipe("gpu", (28, 28, 1)) == ("gpu", recipes.RECIPES["gpu"])


def test_images_in_colour_keep_the_first_recipe_unless_another_is_named():
    assert recipes.choose_recipe("", (32, 32, 3))[0] == "first"
    assert recipes.choose_recipe("cpu", (32, 32, 3))[0] == "cpu"


@pytest.mark.parametrize("shape, few, nets", [((28, 28, 1), "few", "cpu"), ((64, 64, 3), "few_colour", "first")])
def test_few_images_have_a_recipe_of_their_own_unless_another_is_named(shape, few, nets):
    name, recipe = recipes.choose_recipe("", shape, recipes.FEW)
    assert name == few and recipe["augmentation"] and recipe["losses"]
    assert all(recipe[net] == recipes.RECIPES[nets][net] for net in ("generator", "discriminator"))
    assert recipes.choose_recipe("", shape, recipes.FEW + 1) == recipes.choose_recipe("", shape)
    assert recipes.choose_recipe("cpu", shape, 300)[0] == "cpu"


@pytest.mark.parametrize("way", ["", "channel"])
def test_nets_are_those_of_the_recipe(way):
    small = {"generator": {"width": 4, "hidden": 5}, "discriminator": {"width": 6, "hidden": 7}}
    generator, discriminator = recipes.build_nets(small, (16, 16, 1), 8, seed=2, way=way, classes=3)
    told = {"classes": 3} if way else {}
    build = ((conditional.build_conditional_generator, conditional.build_conditional_discriminator) if way else
             (dcgan.build_generator, dcgan.build_discriminator))
    wanted = (build[0]((16, 16, 1), latent_dim=8, seed=2, **small["generator"], **told),
              build[1]((16, 16, 1), seed=2, **small["discriminator"], **told, **({"way": way} if way else {})))
    for net, other in zip((generator, discriminator), wanted):
        assert describe(net) == describe(other)
        for weights, others in zip(net.get_weights(), other.get_weights(), strict=True):
            np.testing.assert_array_equal(weights, others)
    few = {**small, "augmentation": {"shift": 0.25}}
    _, discriminator = recipes.build_nets(few, (16, 16, 1), 8, seed=2, way=way, classes=3)
    assert describe_augmentation(discriminator) == ["ShiftAndZoom(shift=0.25, zoom=0.0, probability=1.0)"]


def test_another_name_is_refused():
    with pytest.raises(ValueError, match="recipe is 'tpu'; wanted one of cpu, gpu, first, few, few_colour"):
        recipes.choose_recipe("tpu", (28, 28, 1))
