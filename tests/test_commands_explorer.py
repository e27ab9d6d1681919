"""The explorer's page as a file: what is in it, and what is refused. `tests/browser/` opens it."""

import base64
import hashlib
import json
import re
import shutil

import imageio.v3 as imageio
import ipywidgets as widgets
import keras
import nbformat
import numpy as np
import pytest

import dcgan_utils as dcgan
from lab import augmentation, conditional, datasets, files, runs
from lab.commands import explorer
from lab.settings import describe

layers = keras.layers
EXAMPLE = files.ROOT / "outputs" / "explorer.html"


@pytest.fixture(scope="module")
def run_and_nets(tmp_path_factory, make_nets, make_images):
    """The folder of a small run, and its nets as they were at its end."""
    run_dir, nets = tmp_path_factory.mktemp("runs") / "small", make_nets(seed=3)
    data = datasets.Dataset(make_images(), source="</script> & co")
    runs.train(*nets, data, run_dir, epochs=2, batch_size=16, seed=3)
    return run_dir, nets


def content_of(page):
    return json.loads(re.search(r'<script type="application/json" id="content">(.*?)</script>', page, re.S)[1])


def chain(*stack):
    return keras.Sequential([keras.Input((4, 4, 2)), *stack])


# The page

def test_page_of_a_run(run_and_nets):
    run_dir, (generator, _) = run_and_nets
    path = explorer.write_page(run_dir)
    page = path.read_text(encoding="utf-8")
    content = content_of(page)
    assert path == run_dir / "explorer.html" and "{{" not in re.sub(r"<script>.*?</script>", "", page, flags=re.S)
    assert page.count("<script") == page.count("</script>") == 3
    assert [step["op"] for step in content["generator"]] == [
        "matMul", "scaleAndShift", "relu", "matMul", "reshape", "scaleAndShift", "relu", "conv2dTranspose",
        "scaleAndShift", "relu", "conv2d", "scaleAndShift", "relu", "conv2dTranspose", "tanh"]
    assert "minibatchStatistics" in [step["op"] for step in content["discriminator"]]
    assert (content["latentDim"], content["imageShape"]) == (8, [16, 16, 1])
    facts, history = dict(content["facts"]), runs.load_history(run_dir)
    assert facts["images"] == "32, </script> & co" and facts["seed of the run"] == "3"
    assert facts["generator of epoch"] == facts["discriminator of epoch"] == "2"
    assert content["means"] == history.iloc[-1][["d_real_mean", "d_fake_mean"]].tolist()
    kernel, values = content["generator"][0]["kernel"], np.frombuffer(base64.b64decode(content["weights"]), "<f4")
    saved = keras.models.load_model(run_dir / "generator.keras").layers[0].kernel
    place = slice(kernel["start"], kernel["start"] + np.prod(kernel["shape"]))
    np.testing.assert_array_equal(values[place].reshape(kernel["shape"]), saved)


def test_page_needs_no_network(run_and_nets):
    page = explorer.write_page(run_and_nets[0]).read_text(encoding="utf-8")
    own = page
    for name in explorer.RUNTIME:
        own = own.replace((explorer.PARTS / name).read_text(encoding="utf-8"), "")
    assert "default-src 'none'" in own and not re.findall(r"https?:|//\w+\.\w|(?:src|href)=\"(?!data:,)", own)


def test_command_names_the_page_and_refuses_in_a_line(run_and_nets, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(files, "OUTPUTS", tmp_path)
    shutil.copytree(run_and_nets[0], tmp_path / "mine")
    explorer.main("mine")
    assert re.search(r"mine/explorer\.html: [\d,]+ bytes", capsys.readouterr().out)
    with pytest.raises(SystemExit, match="generator.keras: there is no such file; train the run first"):
        explorer.main("none")


def test_example_is_small_and_what_the_tool_writes():
    page = EXAMPLE.read_text(encoding="utf-8")
    content = content_of(page)
    assert EXAMPLE.stat().st_size < 3e6 and content["imageShape"] == [28, 28, 1]
    assert page == explorer.filled("mnist", content), "make explorer RUN=mnist, and copy it to outputs/explorer.html"


def test_runtime_is_the_published_one():
    text = (explorer.PARTS / "README.md").read_text(encoding="utf-8")
    listed = dict(re.findall(r"\| `(\S+\.js)` \| `(\w{64})` \|", text))
    for name in explorer.RUNTIME:
        assert hashlib.sha256((explorer.PARTS / name).read_bytes()).hexdigest() == listed[name]
    assert "Apache License" in (explorer.PARTS / "LICENSE").read_text(encoding="utf-8")


# The nets

def test_normalisation_becomes_scale_and_shift():
    layer, weights = layers.BatchNormalization(epsilon=0.01), explorer.Weights()
    model, random = chain(layer), np.random.default_rng(0)
    layer.set_weights([random.uniform(0.5, 2, 2) for _ in range(4)])
    (step,) = explorer.steps_of(model, weights)
    scale, shift = (weights.values[i] for i in (0, 1))
    images = random.normal(size=(3, 4, 4, 2)).astype(np.float32)
    assert step["op"] == "scaleAndShift"
    np.testing.assert_allclose(images * scale + shift, model(images, training=False), rtol=1e-5, atol=1e-6)


def test_directions_are_those_that_move_the_first_layer_most():
    generator = dcgan.build_generator((16, 16, 1), 8, width=4)
    directions, kernel = explorer.principal_directions(generator), generator.layers[0].kernel.numpy()
    strengths = np.linalg.norm(directions @ kernel, axis=1)
    np.testing.assert_allclose(directions @ directions.T, np.eye(6), atol=1e-5)
    assert (np.diff(strengths) <= 0).all()
    others = np.random.default_rng(0).normal(size=(1000, 8))
    assert strengths[0] >= np.linalg.norm(others @ kernel, axis=1).max() / np.linalg.norm(others, axis=1).max()
    with pytest.raises(ValueError, match="begins with a Conv2D; wanted a Dense layer"):
        explorer.principal_directions(chain(layers.Conv2D(1, 3)))


@pytest.mark.parametrize("stack, message", [
    ([layers.SpectralNormalization(layers.Conv2D(2, 3))], "is a SpectralNormalization, which the page cannot"),
    ([type("Mine", (layers.Dense,), {})(2)], "is a Mine"),
    ([layers.Conv2D(2, 2, dilation_rate=2)], r"\(Conv2D\) has dilation_rate=\(2, 2\).*wanted \(1, 1\)"),
    ([layers.Conv2D(2, 3, groups=2)], "groups=2"),
    ([layers.Conv2D(2, 3, activation="gelu")], "has the activation 'gelu'.*wanted linear, relu"),
    ([layers.Conv2DTranspose(2, 3, strides=2, output_padding=1)], r"output_padding=\(?1"),
    ([layers.BatchNormalization(axis=1)], "axis=1.*wanted -1 or 3"),
    ([layers.ReLU(6)], "max_value=6"),
    ([layers.Activation("softmax")], "'softmax'"),
    ([layers.UpSampling2D(2, interpolation="bilinear")], "interpolation='bilinear'.*wanted 'nearest'"),
])
def test_what_the_page_cannot_compute_is_refused(stack, message):
    with pytest.raises(ValueError, match=message):
        explorer.steps_of(chain(*stack), explorer.Weights())


def test_only_chains_are_taken():
    image = keras.Input((4, 4, 2))
    straight = keras.Model(image, layers.ReLU()(layers.Conv2D(2, 3)(image)))
    assert [step["op"] for step in explorer.steps_of(straight, explorer.Weights())] == ["conv2d", "relu"]
    with pytest.raises(ValueError, match="no chain of layers"):
        explorer.steps_of(keras.Model(image, layers.Add()([image, layers.ReLU()(image)])), explorer.Weights())


def test_large_nets_and_nets_of_two_sizes_are_refused(make_nets):
    generator, discriminator = make_nets()
    with pytest.raises(ValueError, match=r"images of \(16, 16, 1\), the discriminator takes \(20, 20, 1\)"):
        explorer.page(generator, make_nets((20, 20, 1))[1], title="two sizes")
    with pytest.raises(ValueError, match="bytes; wanted at most 3,000,000"):
        explorer.page(dcgan.build_generator((16, 16, 1), width=200, refinements=3), discriminator, title="large")


# The discriminator

def test_discriminator_is_the_one_at_the_end_of_training(run_and_nets):
    run_dir, (_, trained) = run_and_nets
    loaded, epoch = explorer.load_discriminator(run_dir)
    assert epoch == 2
    for own, other in zip(loaded.get_weights(), trained.get_weights(), strict=True):
        np.testing.assert_array_equal(own, other)


def test_discriminator_behind_augmentation_is_shown_without_it(tmp_path, make_nets, make_images, quick_steps):
    net = augmentation.build_augmented_discriminator((16, 16, 1), width=4, seed=3, zoom=0.1, cutout=0.2, flip=True)
    runs.train(make_nets(seed=3)[0], net, make_images(), tmp_path / "run", epochs=1, batch_size=16, seed=3,
               tracking=False)
    loaded, _ = explorer.load_discriminator(tmp_path / "run")
    assert not augmentation.augmentations_of(loaded)
    images = dcgan.to_model_range(make_images())
    np.testing.assert_array_equal(loaded(images, training=False), net(images, training=False))
    assert explorer.write_page(tmp_path / "run").exists()


@pytest.mark.parametrize("options", [
    {}, {"batch_norm": False}, {"minibatch_statistics": False}, {"dropout": 0.3}, {"width": 3, "kernel_size": 5},
    {"hidden": None}, {"hidden": None, "batch_norm": False}, {"hidden": 5},
    {"batch_norm": False, "minibatch_statistics": False, "dropout": 0.25}])
def test_options_of_a_discriminator_are_seen_in_its_weights(options):
    net = dcgan.build_discriminator((32, 32, 3), seed=5, **options)
    settings = {"data": {"image_shape": [32, 32, 3]}, "seed": 5}
    described = [describe(other) for other in explorer._candidates([v.numpy() for v in net.variables], settings)]
    assert described.count(describe(net)) == 1


@pytest.mark.parametrize("options", [{}, {"batch_norm": False, "hidden": None}, {"dropout": 0.3, "hidden": 5}])
@pytest.mark.parametrize("way", conditional.WAYS)
def test_way_in_which_a_discriminator_is_told_the_class_is_seen_in_its_weights(way, options):
    net = conditional.build_conditional_discriminator((28, 28, 1), 7, way, seed=5, **options)
    values, settings = [v.numpy() for v in net.variables], {"data": {"image_shape": [28, 28, 1]}, "seed": 5}
    described = [describe(other) for other in explorer._candidates(values, settings, 7)]
    assert described.count(describe(net)) == 1


def test_run_without_checkpoint_or_with_another_discriminator_is_refused(run_and_nets, tmp_path):
    run_dir = shutil.copytree(run_and_nets[0], tmp_path / "run")
    config = json.loads((run_dir / "config.json").read_text(encoding="utf-8"))
    config["settings"]["discriminator"]["architecture"] = "0123456789abcdef"
    (run_dir / "config.json").write_text(json.dumps(config), encoding="utf-8")
    with pytest.raises(ValueError, match="was not made by build_discriminator"):
        explorer.write_page(run_dir)
    shutil.rmtree(run_dir / "checkpoints")
    with pytest.raises(FileNotFoundError, match="has no checkpoint"):
        explorer.write_page(run_dir)


# The notebook's sliders

@pytest.mark.parametrize("classes", [(), ("a", "b", "c")])
def test_sliders_of_the_notebook_draw_what_they_say(classes, make_nets):
    generator, sources, wanted = make_nets((28, 28, 1))[0], {}, ("def draw(", "def spherical(", "widgets.VBox(")
    if classes:
        generator = conditional.build_conditional_generator((28, 28, 1), 3, 8, width=4, refinements=1)
    for cell in nbformat.read(files.ROOT / "notebooks" / "11_latent_space.ipynb", as_version=4).cells:
        sources |= {name: cell.source for name in wanted if name in cell.source}
    data = datasets.Dataset(np.zeros((3, 28, 28, 1), np.uint8), np.arange(3, dtype=np.uint8), ("a", "b", "c"))
    place = {"np": np, "dcgan": dcgan, "generator": generator, "latent_dim": 8, "widgets": widgets, "imageio": imageio,
             "conditional": conditional, "data": data, "directions": explorer.principal_directions(generator)}
    exec("\n".join(sources[name] for name in wanted).replace("\nwidgets.VBox(", "\nbox = widgets.VBox("), place)

    def shown():
        return imageio.imread(place["picture"].value, extension=".png")

    def assert_shows(noise, label=0):
        three = np.stack([a, noise, b]).astype(np.float32)
        images = dcgan.to_uint8(generator([three, np.full(3, label)] if classes else three, training=False))
        row = dcgan.make_grid(images.repeat(6, axis=1).repeat(6, axis=2), columns=3)
        np.testing.assert_array_equal(shown(), row.squeeze())

    generator.layers[-1].kernel.assign(1e4 * generator.layers[-1].kernel)
    place["seed"].value = 5
    a, b = dcgan.make_noise(2, 8, seed=5).numpy()
    assert_shows(a)
    place["share"].value = 1
    assert_shows(b)
    place["pushes"][2].value = -2
    assert_shows(b - 2 * place["directions"][2])
    place["button"].click()
    a, b = dcgan.make_noise(2, 8, seed=6).numpy()
    assert_shows(a)
    assert (place["digit"] in place["box"].children) is bool(classes)
    if classes:
        before = shown()
        assert place["digit"].options == (("a", 0), ("b", 1), ("c", 2))
        place["digit"].value = 2
        assert_shows(a, label=2)
        assert (before != shown()).any()
    assert [control.value for control in (place["seed"], place["share"], *place["pushes"])] == [6, 0, *[0] * 6]
