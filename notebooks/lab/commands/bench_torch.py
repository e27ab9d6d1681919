"""The default nets and their train step in PyTorch, for `make bench`, which runs this in an environment of its own.

`bench_torch VARIANT` is a contestant as in `contestants.py`. `bench_torch check FILE` prints the variants that run here
and stops with an error if one differs from ours in metrics, gradients, BatchNorm's statistics or averaged weights;
`contestants.torch_reference` wrote the file. Adam is PyTorch's own: its epsilon is added after the bias is corrected,
Keras' before.
"""

import functools
import itertools
import sys

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from lab.commands import contestants

LATENT_DIM, BATCH, WIDTH, SIDE = 64, 32, 16, 7
HIDDEN = {"generator": 128, "discriminator": 64}
LAYOUTS = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}
VARIANTS = {name: (name, False) for name in LAYOUTS} | {"compiled": ("channels_last", True)}  # layout, torch.compile
GRAPHS = {f"graph_{name}": name for name in LAYOUTS}  # on a GPU alone: the whole step as a CUDA graph
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True  # as TensorFlow does


class InLayout(nn.Module):
    """A layer that keeps to the layout of the net, so that nothing is copied from one to the other."""

    def __init__(self, layout):
        super().__init__()
        self.layout = layout


class ToMap(InLayout):
    """Vectors to feature maps: `(n, places * channels)` to `(n, channels, SIDE, SIDE)`."""

    def forward(self, x):
        if self.layout == "channels_last":
            return x.unflatten(1, (SIDE, SIDE, -1)).permute(0, 3, 1, 2)
        return x.unflatten(1, (-1, SIDE, SIDE))


class ToVector(InLayout):
    """The way back."""

    def forward(self, x):
        return (x.permute(0, 2, 3, 1) if self.layout == "channels_last" else x).flatten(1)


class MinibatchStatistics(InLayout):
    """As `dcgan_utils.MinibatchStatistics`, of batches that are a multiple of 4."""

    def forward(self, x):
        deviation = torch.sqrt(x.unflatten(0, (-1, 4)).var(dim=1, correction=0) + 1e-8)
        statistic = deviation.mean(dim=(1, 2, 3)).repeat_interleave(4)
        channel = statistic[:, None, None, None].expand(-1, 1, *x.shape[2:])
        return torch.cat([x, channel.contiguous(memory_format=LAYOUTS[self.layout])], dim=1)


def normalised(layer, channels, activation, batch_norm=nn.BatchNorm2d):
    """With Keras' epsilon; Keras' momentum of 0.9 is the 0.1 of PyTorch, which counts the other way round."""
    return layer, batch_norm(channels, eps=1e-3, momentum=0.1), activation


def build_generator(layout):
    hidden = HIDDEN["generator"]
    dense = nn.Linear(hidden, SIDE * SIDE * 2 * WIDTH, bias=False)
    refinements = [normalised(nn.Conv2d(WIDTH, WIDTH, 3, padding=1, bias=False), WIDTH, nn.ReLU(inplace=True))
                   for _ in range(3)]
    return nn.Sequential(
        *normalised(nn.Linear(LATENT_DIM, hidden, bias=False), hidden, nn.ReLU(inplace=True), nn.BatchNorm1d),
        dense, *normalised(ToMap(layout), 2 * WIDTH, nn.ReLU(inplace=True)),
        *normalised(nn.ConvTranspose2d(2 * WIDTH, WIDTH, 4, 2, 1, bias=False), WIDTH, nn.ReLU(inplace=True)),
        *itertools.chain(*refinements), nn.ConvTranspose2d(WIDTH, 1, 4, 2, 1), nn.Tanh())


def build_discriminator(layout):
    hidden = HIDDEN["discriminator"]
    return nn.Sequential(
        nn.Conv2d(1, WIDTH, 4, 2, 1), nn.LeakyReLU(0.2, inplace=True),
        *normalised(nn.Conv2d(WIDTH, 2 * WIDTH, 4, 2, 1), 2 * WIDTH, nn.LeakyReLU(0.2, inplace=True)),
        MinibatchStatistics(layout),
        *normalised(nn.Conv2d(2 * WIDTH + 1, 2 * WIDTH, 3, padding=1), 2 * WIDTH, nn.LeakyReLU(0.2, inplace=True)),
        ToVector(layout), *normalised(nn.Linear(SIDE * SIDE * 2 * WIDTH, hidden), hidden,
                                      nn.LeakyReLU(0.2, inplace=True), nn.BatchNorm1d),
        nn.Linear(hidden, 1))


def weights_of(net):
    """Parameters and BatchNorm's statistics, layer by layer: Keras' order too."""
    return [tensor for name, tensor in net.state_dict().items() if not name.endswith("num_batches_tracked")]


def bce(logits, target):
    return functional.binary_cross_entropy_with_logits(logits, torch.full_like(logits, target))


class Trainer:
    """The nets in a layout, an averaged generator, and `step`, which does what the course's does."""

    def __init__(self, variant, optimizer):
        self.layout, compiled = VARIANTS[GRAPHS.get(variant, variant)]
        self.nets = self.generator, self.discriminator = build_generator(self.layout), build_discriminator(self.layout)
        self.averaged = build_generator(self.layout)
        for net in self.nets:
            for parameter in net.parameters():
                if parameter.ndim > 1:
                    nn.init.normal_(parameter, std=0.02)
        self.averaged.load_state_dict(self.generator.state_dict())
        for net in (*self.nets, self.averaged):
            net.to(device=DEVICE, memory_format=LAYOUTS[self.layout])
            if compiled:
                net.compile()
        self.parameters = [list(net.parameters()) for net in self.nets]
        self.optimizers = [optimizer(parameters) for parameters in self.parameters]
        self.weights, self.averages = weights_of(self.generator), weights_of(self.averaged)

    def step(self, pixels, indices, noise, decay):
        real = pixels[indices].float() / 127.5 - 1
        fake = self.generator(noise)
        real_logits, fake_logits = self.discriminator(real), self.discriminator(fake)
        d_loss, g_loss = bce(real_logits, 1.0) + bce(fake_logits, 0.0), bce(fake_logits, 1.0)
        # of one forward pass, before either update; each computes what its own net needs and no more
        gradients = (torch.autograd.grad(g_loss, self.parameters[0], retain_graph=True),
                     torch.autograd.grad(d_loss, self.parameters[1]))
        for optimizer, parameters, values in zip(self.optimizers, self.parameters, gradients):
            for parameter, value in zip(parameters, values):
                parameter.grad = value
            optimizer.step()
        with torch.no_grad():
            torch._foreach_lerp_(self.averages, self.weights, 1 - decay)
            return {"d_loss": d_loss, "g_loss": g_loss,
                    "d_real_accuracy": (real_logits > 0).float().mean(),
                    "d_fake_accuracy": (fake_logits <= 0).float().mean(),
                    "d_real_mean": real_logits.sigmoid().mean(), "d_fake_mean": fake_logits.sigmoid().mean()}


def decay_at(number):
    return min(0.9995, (1 + number) / (10 + number))


def from_keras(array, layout):
    """A Keras weight in PyTorch's order: last axes first, and channels before places unless `channels_last`."""
    array = array.transpose()
    if array.ndim == 4:
        array = array.transpose(0, 1, 3, 2)
    flat = SIDE * SIDE * 2 * WIDTH
    if array.ndim == 2 and layout == "contiguous":
        order = np.arange(flat).reshape(SIDE * SIDE, -1).T.ravel()
        array = array.take(order, axis=array.shape.index(flat))
    return torch.from_numpy(np.ascontiguousarray(array))


def check(path):
    """Make the step that is in the file with each variant, and compare all that it changes and returns."""
    with np.load(path) as file:
        arrays = dict(file)
    pixels = torch.from_numpy(arrays["pixels"]).permute(0, 3, 1, 2)
    indices, noise, number = (torch.from_numpy(arrays[name]) for name in ("indices", "noise", "number"))
    for variant in VARIANTS:
        trainer = Trainer(variant, lambda parameters: torch.optim.SGD(parameters, lr=1.0))
        tensors = {f"{name}_{i}": tensor for name in ("generator", "discriminator", "averaged")
                   for i, tensor in enumerate(weights_of(getattr(trainer, name)))}
        before, after = ({name: from_keras(arrays[f"{when}_{name}"], trainer.layout) for name in tensors}
                         for when in ("before", "after"))
        for name, tensor in tensors.items():
            tensor.copy_(before[name])
        try:
            metrics = trainer.step(pixels, indices, noise, decay_at(number.item()))
        except torch._dynamo.exc.TorchDynamoException:  # noqa: SLF001 (PyTorch has no public name for it)
            print("torch.compile does not run here; it needs a C++ compiler", file=sys.stderr)
            continue
        for name, value in metrics.items():
            np.testing.assert_allclose(value.item(), arrays[name], rtol=1e-4, err_msg=f"{variant}: {name}")
        for name, tensor in tensors.items():
            change = after[name] - before[name]
            atol = max(1e-3 * change.abs().max(), 1e-5)  # biases before BatchNorm have rounding errors for a gradient
            np.testing.assert_allclose(tensor - before[name], change, rtol=0, atol=atol, err_msg=f"{variant}: {name}")
        print(variant)


def adam(parameters, **options):
    return torch.optim.Adam(parameters, lr=1e-3, betas=(0.0, 0.99), eps=1e-7, fused=True, **options)


def inputs():
    pixels = torch.from_numpy(contestants.random_pixels()).permute(0, 3, 1, 2).to(DEVICE)
    return pixels, torch.from_numpy(contestants.random_batch(BATCH)).to(DEVICE)


def steps(variant):
    torch.set_flush_denormal(True)  # as TensorFlow does
    trainer, (pixels, indices), numbers = Trainer(variant, adam), inputs(), itertools.count()
    contestants.answer_seconds(
        lambda: trainer.step(pixels, indices, torch.randn(BATCH, LATENT_DIM, device=DEVICE),
                             decay_at(next(numbers)))["d_loss"].item(),
        times=200, scale=contestants.COUNT / BATCH)


def replayed_steps(variant, at_a_time=100):
    """The step as a CUDA graph, with the decay of a run of 10,000 steps and more."""
    trainer, (pixels, indices) = Trainer(variant, functools.partial(adam, capturable=True)), inputs()

    def step():
        return trainer.step(pixels, indices, torch.randn(BATCH, LATENT_DIM, device=DEVICE), decay_at(10_000))

    beside = torch.cuda.Stream()
    beside.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(beside):  # capturing wants a few steps before it, on another stream
        for _ in range(3):
            step()
    torch.cuda.current_stream().wait_stream(beside)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        metrics = step()

    def call():
        for _ in range(at_a_time):
            graph.replay()
        return metrics["d_loss"].item()

    contestants.answer_seconds(call, times=4, scale=contestants.COUNT / BATCH / at_a_time)


if __name__ == "__main__":
    if sys.argv[1] == "check":
        check(sys.argv[2])
    elif sys.argv[1] in GRAPHS:
        replayed_steps(sys.argv[1])
    else:
        steps(sys.argv[1])
