"""The recipes of default runs: which one is chosen, and that the one for CPUs is what nothing said gives."""

import inspect

import pytest
import tensorflow as tf

import dcgan_utils as dcgan
from lab import datasets, recipes, runs


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
    cpu, gpu, _ = recipes.RECIPES.values()
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


def test_another_name_is_refused():
    with pytest.raises(ValueError, match="recipe is 'tpu'; wanted one of cpu, gpu, first"):
        recipes.choose_recipe("tpu", (28, 28, 1))
