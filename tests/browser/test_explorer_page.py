"""The explorer's page in headless Chromium: it computes what Keras computes, and its controls do what they say."""

import base64
import functools

import imageio.v3 as imageio
import keras
import numpy as np
import pytest

import dcgan_utils as dcgan
from lab import conditional, datasets, files, runs
from lab.commands import explorer

STEP = 2 / 255  # of a pixel's 256 values, in [-1, 1]


def shaken(net, seed=0):
    """The net with weights and statistics that all matter, as after training."""
    random = np.random.default_rng(seed)
    for variable in net.weights:
        if variable.path.endswith("variance") or variable.path.endswith("gamma"):
            value = random.uniform(0.5, 1.5, variable.shape)
        else:
            fan_in = np.prod(variable.shape[:-1]) if len(variable.shape) > 1 else 25
            value = random.normal(scale=fan_in ** -0.5, size=variable.shape)
        variable.assign(value)
    return net


def other_nets():
    """Nets with the layers and options that the course's builders do not use."""
    layers = keras.layers
    generator = keras.Sequential([
        keras.Input((5,)), layers.Dense(4 * 4 * 6, activation="sigmoid"), layers.Reshape((4, 4, 6)),
        layers.BatchNormalization(scale=False, center=False), layers.LeakyReLU(0.3), layers.UpSampling2D((2, 3)),
        layers.Conv2D(4, (3, 5), padding="valid", activation="relu"), layers.Activation("tanh"),
        layers.Conv2DTranspose(3, 5, strides=(3, 2), padding="valid", use_bias=False), layers.Activation("tanh")])
    image = keras.Input(generator.output_shape[1:])
    flat = layers.Flatten()(layers.Dropout(0.5)(layers.Conv2D(4, 4, strides=2, padding="same")(image)))
    return generator, keras.Model(image, layers.Dense(1)(flat))


NETS = {
    "grey": lambda: (dcgan.build_generator(), dcgan.build_discriminator()),
    "colour": lambda: (dcgan.build_generator((32, 32, 3)), dcgan.build_discriminator((32, 32, 3), dropout=0.2)),
    "options": lambda: (dcgan.build_generator((20, 20, 3), 6, width=3, refinements=1, kernel_size=5, batch_norm=False),
                        dcgan.build_discriminator((20, 20, 3), width=3, kernel_size=3, batch_norm=False,
                                               minibatch_statistics=False)),
    "other layers": other_nets,
}


TOLD = {way: functools.partial(lambda way: (
    conditional.build_conditional_generator((20, 20, 1), 7, 6, width=3, refinements=1),
    conditional.build_conditional_discriminator((20, 20, 1), 7, way, width=3)), way) for way in conditional.WAYS}


@pytest.fixture
def opened(browser_page, tmp_path):
    """A function that opens a page of HTML as a file; afterwards nothing may have gone wrong or over the network."""
    complaints, addresses = [], []
    browser_page.on("console", lambda message: complaints.append(message.text))
    browser_page.on("request", lambda request: addresses.append(request.url))

    def open_page(text):
        (tmp_path / "explorer.html").write_text(text, encoding="utf-8")
        browser_page.goto((tmp_path / "explorer.html").as_uri())
        return browser_page

    yield open_page
    assert complaints == []
    assert all(address.startswith(("file:", "data:")) for address in addresses)


def assert_equal_to_keras(page, generator, discriminator):
    noise = dcgan.make_noise(16, generator.input_shape[-1], seed=7).numpy()
    wanted = generator(noise, training=False).numpy()
    images = page.evaluate("(noise) => [...generate(noise)]", noise.tolist())
    np.testing.assert_allclose(np.reshape(images, wanted.shape), wanted, rtol=0, atol=STEP / 100)
    for count in (16, 5, 1):
        logits = page.evaluate("(images) => [...judge(images)]", wanted[:count].ravel().tolist())
        np.testing.assert_allclose(logits, discriminator(wanted[:count], training=False)[:, 0], rtol=0, atol=1e-3)


def shown_image(page):
    """The canvas as uint8 `(height, width, 3)`, after the next frame was drawn."""
    page.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
    address = page.evaluate("element('image').toDataURL('image/png')")
    return imageio.imread(base64.b64decode(address.split(",")[1]), extension=".png")[..., :3].astype(int)


def assert_shows(page, generator, noise):
    wanted = dcgan.to_uint8(generator(np.array([noise], np.float32), training=False))[0].astype(int)
    assert np.abs(shown_image(page) - wanted).max() <= 1


@pytest.mark.parametrize("name", NETS)
def test_page_computes_what_keras_computes(name, opened):
    generator, discriminator = (shaken(net) for net in NETS[name]())
    assert generator(dcgan.make_noise(16, generator.input_shape[-1], seed=7), training=False).numpy().std() > 0.02
    assert_equal_to_keras(opened(explorer.page(generator, discriminator, title=name)), generator, discriminator)


@pytest.mark.parametrize("way", TOLD)
def test_page_computes_what_nets_that_are_told_the_class_compute(way, opened):
    generator, discriminator = (shaken(net) for net in TOLD[way]())
    page = opened(explorer.page(generator, discriminator, title=way))
    noise, labels = dcgan.make_noise(9, 6, seed=7).numpy(), np.arange(9) % 7
    wanted = generator([noise, labels], training=False).numpy()
    images = page.evaluate("([noise, labels]) => [...generate(noise, labels)]", [noise.tolist(), labels.tolist()])
    np.testing.assert_allclose(np.reshape(images, wanted.shape), wanted, rtol=0, atol=STEP / 100)
    logits = page.evaluate("([images, labels]) => [...judge(images, labels)]",
                           [wanted.ravel().tolist(), labels.tolist()])
    np.testing.assert_allclose(logits, discriminator([wanted, labels], training=False)[:, 0], rtol=0, atol=1e-3)


@pytest.mark.parametrize("way", TOLD)
def test_buttons_choose_the_class(way, opened):
    generator, discriminator = (shaken(net) for net in TOLD[way]())
    page = opened(explorer.page(generator, discriminator, title=way, class_names="abcdefg"))
    for label, name in ((0, "a"), (5, "f"), (2, "c")):
        if label:
            page.get_by_role("group", name="Class").get_by_role("button", name=name, exact=True).click()
        noise = np.array([page.evaluate("[...z]")], np.float32)
        wanted = dcgan.to_uint8(generator([noise, np.array([label])], training=False))[0].astype(int)
        assert np.abs(shown_image(page) - wanted).max() <= 1
        pressed = page.locator("#classes button[aria-pressed=true]")
        assert pressed.all_inner_texts() == [name]
        others = np.reshape(page.evaluate("[...others]"), (3, 20, 20, 1))
        group = np.concatenate([generator([noise, np.array([label])], training=False), others]).astype(np.float32)
        logit = discriminator([group, np.full(4, label)], training=False)[0, 0]
        probability = 1 / (1 + np.exp(-float(logit)))
        assert abs(float(page.locator("#opinion").inner_text().rstrip(" %")) / 100 - probability) < 0.006


def test_page_without_classes_has_no_buttons_for_them(opened):
    page = opened(explorer.page(*NETS["options"](), title="plain"))
    assert page.locator("#classes").is_hidden() and page.locator("#classes button").count() == 0


def test_page_of_a_trained_run(opened, make_nets, make_images, tmp_path):
    nets = make_nets()
    runs.train(*nets, datasets.Dataset(make_images(64)), tmp_path / "run", epochs=2, batch_size=16)
    page = opened(explorer.write_page(tmp_path / "run").read_text(encoding="utf-8"))
    assert_equal_to_keras(page, keras.models.load_model(tmp_path / "run" / "generator.keras"), nets[1])


def test_example_draws_and_judges(opened):
    page = opened((files.ROOT / "outputs" / "explorer.html").read_text(encoding="utf-8"))
    assert page.evaluate("Math.max(...generate([noiseOf(3)]))") > 0.9
    assert page.locator("#facts").inner_text().startswith("run\nmnist\n")
    said = page.evaluate("Array.from({length: 100}, (_, i) => 1 / (1 + Math.exp(-judge(generate([0, 1, 2, 3].map("
                         "(j) => noiseOf(4 * i + j))))[0])))")
    assert abs(np.mean(said) - page.evaluate("content.usual")) < 0.06


def test_noise_is_standard_normal_and_hangs_on_the_seed(opened):
    page = opened(explorer.page(*NETS["options"](), title="noise"))
    noise = np.array(page.evaluate("Array.from({length: 3000}, (_, seed) => [...noiseOf(seed)])"))
    assert np.abs(noise.mean(axis=0)).max() < 0.1 and np.abs(np.cov(noise.T) - np.eye(6)).max() < 0.15
    assert page.evaluate("[...noiseOf(5)]") == noise[5].tolist() and len(np.unique(noise, axis=0)) == len(noise)


@pytest.mark.parametrize("name", ["grey", "colour"])
def test_controls(name, opened):
    generator, discriminator = (shaken(net) for net in NETS[name]())
    page = opened(explorer.page(generator, discriminator, title=name, means=[0.6, 0.4]))

    def noise():
        return np.array(page.evaluate("[...z]"))

    page.get_by_label("Seed").fill("12")
    first = noise()
    assert first.tolist() == page.evaluate("[...noiseOf(12)]")
    assert_shows(page, generator, first)
    page.get_by_role("button", name="Keep as A").click()
    page.get_by_role("button", name="New image").click()
    second = noise()
    assert page.evaluate("[...noiseOf(element('seed').value)]") == second.tolist()
    assert_shows(page, generator, second)
    page.get_by_role("button", name="Keep as B").click()

    share = page.get_by_label("Way from image A to image B")
    for value, wanted in (("1", second), ("0", first)):
        share.fill(value)
        np.testing.assert_allclose(noise(), wanted, atol=1e-5)
    share.fill("0.5")
    cosine = first @ second / np.linalg.norm(first) / np.linalg.norm(second)
    np.testing.assert_allclose(noise(), (first + second) / np.sqrt(2 + 2 * cosine), atol=1e-5)
    assert_shows(page, generator, noise())

    directions, before = explorer.principal_directions(generator), noise()
    slider = page.get_by_label("Direction 2")
    slider.focus()
    page.keyboard.press("ArrowRight")
    moved = noise() - before
    assert abs(directions[1] @ moved) > 0.04 and np.allclose(moved, directions[1] @ moved * directions[1], atol=1e-5)
    slider.fill("-3")
    assert abs(directions[1] @ noise() + 3) < 1e-4
    assert_shows(page, generator, noise())

    others = np.reshape(page.evaluate("[...others]"), (3, *generator.output_shape[1:]))
    group = np.concatenate([generator(np.array([noise()], np.float32), training=False), others]).astype(np.float32)
    probability = 1 / (1 + np.exp(-float(discriminator(group, training=False)[0, 0])))
    assert abs(float(page.locator("#opinion").inner_text().rstrip(" %")) / 100 - probability) < 0.006


@pytest.mark.parametrize("width", [320, 390, 800, 1200])
def test_page_is_as_wide_as_the_screen(width, opened, browser_page):
    browser_page.set_viewport_size({"width": width, "height": 800})
    page = opened(explorer.page(*NETS["grey"](), title="a-run-of-a-name-that-is-long", means=[0.6, 0.4]))
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_what_a_run_is_called_is_text_and_no_markup(opened):
    page = opened(explorer.page(*NETS["options"](), title="<b>{{content}}</b>", facts=[("a", "</script><b>&amp;")]))
    assert page.locator("h1").inner_text() == "Explore a generator: <b>{{content}}</b>"
    assert page.locator("#facts dd").inner_text() == "</script><b>&amp;"
