"""Write a page that draws with a run's generator in the browser: `make explorer RUN=mnist`.

The page is one file, `outputs/<run>/explorer.html`: both nets, TensorFlow.js from `explorer/` and the template
`explorer/page.html`. It needs no server and no network. A net becomes a list of steps, each named as the operation of
TensorFlow.js that takes it, with the weights of all steps in one array. Nets that are told the class get a button for
each.
"""

import base64
import html
import itertools
import json
import re
import sys
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

import dcgan_utils as dcgan
from lab.augmentation import augmented, build_augmentation, described_augmentation
from lab.commands.arguments import given, run_name
from lab.conditional import ClassLoss, ClassStatistics, build_conditional_discriminator, classes_of, is_conditional
from lab.files import epoch_of, replacing, run_folder, shown_path
from lab.runs import load_history
from lab.settings import is_described

PARTS = Path(__file__).resolve().parent / "explorer"
RUNTIME = ("tf-core.es2017.min.js", "tf-backend-cpu.es2017.min.js")
LARGEST_MODEL = 3_000_000  # bytes of both nets' weights
ACTIVATIONS = ("linear", "relu", "tanh", "sigmoid")
DIRECTIONS = 6


class Weights:
    """All weights of the page in one float32 array; a step names a place in it and a shape."""

    def __init__(self):
        self.values, self.size = [], 0

    def add(self, array):
        array = np.asarray(array, "<f4")
        place = {"start": self.size, "shape": array.shape}
        self.values.append(array.ravel())
        self.size += array.size
        return place

    def encoded(self):
        if 4 * self.size > LARGEST_MODEL:
            raise ValueError(f"the nets' weights are {4 * self.size:,} bytes; wanted at most {LARGEST_MODEL:,}, so "
                             "that the page stays small. Narrower nets are smaller.")
        return base64.b64encode(np.concatenate(self.values).tobytes()).decode()


def steps_of(model, weights):
    """What the page has to compute for a Keras model that is a chain of layers, in inference mode.

    Args:
        model: a Keras model, one layer after the other, or a net of `lab.conditional`.
        weights: the `Weights` to add the model's to.

    Returns:
        A list of dicts: `op`, its options, and the places of its weights.

    Raises:
        ValueError: a layer, or an option of a layer, that the page cannot compute.
    """
    if is_conditional(model):
        return _steps_to(model.outputs[0], {id(layer.output): layer for layer in model.layers}, weights)
    layers = [layer for layer in model.layers if not isinstance(layer, keras.layers.InputLayer)]
    if not isinstance(model, keras.Sequential):
        ends = [model.inputs[0], *(layer.output for layer in layers)]
        if len(model.inputs) != 1 or any(layer.input is not end for layer, end in zip(layers, ends)):
            raise ValueError(f"{model.name!r} is no chain of layers, which is all that the page can compute.")
    return [step for layer in layers for step in _steps_of_layer(layer, weights)]


def _steps_to(output, made, weights):
    """The steps from image or noise to an output of a net that is told the class; `made` has the layer of each output.

    The class joins in one of three ways: as a vector of its own beside what comes, as a vector of weights of its own,
    or by channels of 0 and 1.
    """
    layer, known = made[id(output)], keras.layers
    if type(layer) is known.InputLayer:
        return []
    if type(layer) is ClassLoss:  # the verdict is made without the class
        return _steps_to(layer.input[0], made, weights)
    if type(layer) is ClassStatistics:
        return [*_steps_to(layer.input[0], made, weights), {"op": "classStatistics"}]
    if type(layer) is known.Concatenate:
        before, other = layer.input
        if other.ndim == 4:
            return [*_steps_to(before, made, weights), {"op": "withChannels", "classes": other.shape[-1]}]
        table = weights.add(made[id(other)].embeddings)
        return [*_steps_to(before, made, weights), {"op": "withClass", "table": table}]
    if type(layer) is known.Add:
        last, product = (made[id(tensor)] for tensor in layer.input)
        table = made[id(product.input[0])].embeddings + np.transpose(last.kernel)
        return [*_steps_to(last.input, made, weights),
                {"op": "weighByClass", "table": weights.add(table), "bias": weights.add(last.bias)}]
    return [*_steps_to(layer.input, made, weights), *_steps_of_layer(layer, weights)]


def _steps_of_layer(layer, weights):
    kind, known = type(layer).__name__, keras.layers

    def wanted(**options):
        for name, values in options.items():
            if getattr(layer, name) not in values:
                raise ValueError(f"layer {layer.name!r} ({kind}) has {name}={getattr(layer, name)!r}, which the page "
                                 f"cannot compute; wanted {' or '.join(map(repr, values))}.")

    def activation():
        name = keras.activations.serialize(layer.activation)
        if name not in ACTIVATIONS:
            raise ValueError(f"layer {layer.name!r} ({kind}) has the activation {name!r}, which the page cannot "
                             f"compute; wanted {', '.join(ACTIVATIONS)}.")
        return [] if name == "linear" else [{"op": name}]

    def linear(op, **options):
        step = {"op": op, "kernel": weights.add(layer.kernel), **options}
        return [step | ({"bias": weights.add(layer.bias)} if layer.use_bias else {}), *activation()]

    if type(layer) is known.Dense:
        return linear("matMul")
    if type(layer) in (known.Conv2D, known.Conv2DTranspose):
        wanted(padding=("same", "valid"), dilation_rate=((1, 1),), data_format=("channels_last",))
        if type(layer) is known.Conv2D:
            wanted(groups=(1,))
            return linear("conv2d", strides=layer.strides, padding=layer.padding)
        wanted(output_padding=(None,))
        return linear("conv2dTranspose", strides=layer.strides, shape=layer.output.shape[1:], padding=layer.padding)
    if type(layer) is known.BatchNormalization:
        wanted(axis=(-1, len(layer.input.shape) - 1))
        one, zero = np.ones(layer.moving_mean.shape), np.zeros(layer.moving_mean.shape)
        gamma, beta = (value if value is None else np.asarray(value, np.float64) for value in (layer.gamma, layer.beta))
        deviation = np.sqrt(np.asarray(layer.moving_variance, np.float64) + layer.epsilon)
        scale = (one if gamma is None else gamma) / deviation
        shift = (zero if beta is None else beta) - scale * np.asarray(layer.moving_mean, np.float64)
        return [{"op": "scaleAndShift", "scale": weights.add(scale), "shift": weights.add(shift)}]
    if type(layer) is known.ReLU:
        wanted(max_value=(None,), negative_slope=(0,), threshold=(0,))
        return [{"op": "relu"}]
    if type(layer) is known.LeakyReLU:
        return [{"op": "leakyRelu", "slope": float(layer.negative_slope)}]
    if type(layer) is known.Activation:
        return activation()
    if type(layer) in (known.Reshape, known.Flatten):
        return [{"op": "reshape", "shape": layer.output.shape[1:]}]
    if type(layer) is known.UpSampling2D:
        wanted(interpolation=("nearest",), data_format=("channels_last",))
        return [{"op": "resizeNearestNeighbor", "size": layer.output.shape[1:3]}]
    if type(layer) is dcgan.MinibatchStatistics:
        return [{"op": "minibatchStatistics"}]
    if type(layer) is known.Dropout:
        return []
    raise ValueError(f"layer {layer.name!r} is a {kind}, which the page cannot compute. It knows Dense, Conv2D, "
                     "Conv2DTranspose, UpSampling2D, BatchNormalization, ReLU, LeakyReLU, Activation, Reshape, "
                     "Flatten, Dropout and MinibatchStatistics.")


def principal_directions(generator, count=DIRECTIONS):
    """The directions of the noise that change the first layer most, float32 `(count, latent_dim)` of length 1.

    They are the left singular vectors of its weights, those for the vector of a class left out: Shen and Zhou 2021,
    https://arxiv.org/abs/2007.06600.

    Raises:
        ValueError: the generator does not begin with a dense layer.
    """
    first = next((layer for layer in generator.layers if layer.weights and type(layer) is not keras.layers.Embedding),
                 None)
    if type(first) is not keras.layers.Dense:
        raise ValueError(f"the generator begins with a {type(first).__name__}; wanted a Dense layer, whose weights "
                         "say which directions of the noise matter.")
    vectors, _, _ = np.linalg.svd(first.kernel[:generator.inputs[0].shape[-1]], full_matrices=False)
    return vectors.T[:count]


def load_discriminator(run_dir, classes=0):
    """The discriminator of a run's newest checkpoint, and the checkpoint's epoch; `classes` are those it is told.

    What an augmented one sees is not changed here, as outside of training.

    A checkpoint holds weights without their net, so the net is built from their shapes, and compared with what
    `config.json` says of the one that was trained.

    Raises:
        FileNotFoundError: the run has no checkpoint.
        ValueError: the run's discriminator was not made by `build_discriminator`.
    """
    newest = max((run_dir / "checkpoints").glob("epoch_*"), key=epoch_of, default=None)
    if not newest:
        raise FileNotFoundError(f"{shown_path(run_dir)} has no checkpoint, which holds the discriminator; "
                                "train the run first.")
    config = json.loads((run_dir / "config.json").read_text(encoding="utf-8"))
    settings = config["settings"]
    reader = tf.train.load_checkpoint(str(newest / "state"))
    names = (f"variables_1/{i}/.ATTRIBUTES/VARIABLE_VALUE" for i in range(len(reader.get_variable_to_shape_map())))
    values = [reader.get_tensor(name) for name in names if reader.has_tensor(name)]
    changes = build_augmentation(**described_augmentation(settings.get("augmentation", [])), seed=settings["seed"])
    values = values[sum(len(layer.variables) for layer in changes):]  # those of the net behind them
    for net in _candidates(values, settings, classes):
        whole = augmented(net, changes) if changes else net
        if is_described(whole, settings["discriminator"], config["versions"]["keras"]):
            for variable, value in zip(net.variables, values, strict=True):
                variable.assign(value)
            return net, epoch_of(newest)
    raise ValueError(f"the discriminator of {shown_path(run_dir)} was not made by build_discriminator or "
                     "build_conditional_discriminator, so its weights cannot be read. The page shows runs of the "
                     "course's own nets.")


def _candidates(values, settings, classes=0):
    """Discriminators whose weights have the shapes of `values`: one, or with dropout one for each usual share.

    With classes there can be several, since it shows in the shapes alone in which way the class is used.
    """
    kernels, dense = ([value for value in values if value.ndim == axes] for axes in (4, 2))
    if len(kernels) < 2 or not dense:
        return
    shape = settings["data"]["image_shape"]
    features = next((value.shape[0] for value in reversed(dense) if value.shape[1] == 1), 0)
    # what a way adds: the shape of its matrix, and how many weights
    ways = {"": (None, 0)}
    if kernels[0].shape[2] > shape[2]:
        ways = {"channel": (None, 0)}
    elif classes:
        ways = {"projection": ((classes, features), 1), "auxiliary": ((features, classes), 2)}
    floats = [value for value in values if value.dtype.kind == "f"]
    shares = [0.0] if len(floats) == len(values) else np.arange(5, 100, 5) / 100  # dropout keeps a state
    for (way, (matrix, added)), share in itertools.product(ways.items(), shares):
        own = [value for value in dense if value.shape != matrix]
        if matrix and len(own) == len(dense):
            continue
        options = {"width": kernels[0].shape[-1], "kernel_size": kernels[0].shape[0],
                   "hidden": own[0].shape[-1] if len(own) > 1 else None,
                   "batch_norm": len(floats) - added > 2 * (len(kernels) + len(own)),
                   "minibatch_statistics": kernels[-1].shape[2] > kernels[-2].shape[-1], "dropout": float(share),
                   "seed": settings["seed"]}
        yield (build_conditional_discriminator(shape, classes, way, **options) if way else
               dcgan.build_discriminator(shape, **options))


def page(generator, discriminator, *, title, facts=(), means=None, class_names=()):
    """The page as one string of HTML.

    Args:
        generator: Keras model, noise `(n, latent_dim)` to images `(n, height, width, channels)` in [-1, 1].
        discriminator: Keras model, such images to logits `(n, 1)`. Both or none of them are told the class.
        title: what the generator was trained on, or the name of its run.
        facts: pairs of strings for the caption.
        means: None, or the mean probabilities of "real" for real and for generated images in the last epoch.
        class_names: what stands on the buttons of nets that are told the class, by default their numbers.

    Raises:
        ValueError: a net that the page cannot compute, or too large ones.
    """
    taken = tuple(discriminator.inputs[0].shape[1:])
    if generator.output_shape[1:] != taken:
        raise ValueError(f"the generator makes images of {generator.output_shape[1:]}, the discriminator takes "
                         f"{taken}; wanted the same shape.")
    weights, latent_dim, classes = Weights(), generator.inputs[0].shape[-1], classes_of(generator)
    noise, labels = dcgan.make_noise(1000, latent_dim, seed=0), tf.range(1000) % max(classes, 1)
    images = generator([noise, labels] if classes else noise, training=False)
    usual = float(tf.reduce_mean(tf.sigmoid(discriminator([images, labels] if classes else images, training=False))))
    content = {"generator": steps_of(generator, weights), "discriminator": steps_of(discriminator, weights),
               "directions": principal_directions(generator).tolist(), "latentDim": latent_dim,
               "imageShape": generator.output_shape[1:], "facts": list(facts), "usual": usual, "means": means,
               "classes": list(class_names or map(str, range(classes))) if classes else []}
    content["weights"] = weights.encoded()
    return filled(title, content)


def filled(title, content):
    """The template with the runtime, a title and what the page computes with."""
    parts = {"title": html.escape(title), "content": json.dumps(content).replace("<", "\\u003c"),
             "runtime": "\n".join((PARTS / name).read_text(encoding="utf-8") for name in RUNTIME)}
    template = (PARTS / "page.html").read_text(encoding="utf-8")
    return re.sub(r"\{\{(\w+)\}\}", lambda mark: parts[mark[1]], template)


def write_page(run_dir):
    """Write `explorer.html` into a run's folder, and return its path.

    Raises:
        FileNotFoundError: the run is not finished.
        ValueError: nets that the page cannot compute.
    """
    if not (run_dir / "generator.keras").exists():
        raise FileNotFoundError(f"{shown_path(run_dir / 'generator.keras')}: there is no such file; train the "
                                "run first, for example with `make train`.")
    generator = keras.models.load_model(run_dir / "generator.keras")
    discriminator, last = load_discriminator(run_dir, classes_of(generator))
    config = json.loads((run_dir / "config.json").read_text(encoding="utf-8"))
    settings, history = config["settings"], load_history(run_dir).head(last)
    measured = history.dropna(subset="frechet_distance")
    facts = [("run", run_dir.name), ("images", f"{settings['data']['count']:,}, {config['source']}"),
             ("seed of the run", str(settings["seed"])), ("batch size", str(settings["batch_size"])),
             ("learning rate", f"{settings['learning_rate']:g}"), ("discriminator of epoch", str(last))]
    if len(measured):
        best = measured.loc[measured.frechet_distance.idxmin()]
        facts += [("generator of epoch", f"{best.epoch:.0f}, the best of {last}"),
                  ("Fréchet distance", f"{best.frechet_distance:.2f} by {settings['measuring_net']}")]
    else:
        facts += [("generator of epoch", str(last))]
    means = None if history.empty else history.iloc[-1][["d_real_mean", "d_fake_mean"]].tolist()
    path = run_dir / "explorer.html"
    text = page(generator, discriminator, title=run_dir.name, facts=facts, means=means,
                class_names=config.get("class_names", ()))
    with replacing(path) as partial:
        partial.write_text(text, encoding="utf-8")
    return path


def main(run):
    try:
        path = write_page(run_folder(run))
    except (FileNotFoundError, ValueError) as error:
        sys.exit(str(error))
    print(f"{shown_path(path)}: {path.stat().st_size:,} bytes; open it in a browser")


if __name__ == "__main__":
    main(run_name(given(sys.argv[1:])))
