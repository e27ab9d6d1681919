"""Drawings of the game between the two nets: who sees what, and the game in the plane; used by notebook 01."""

import matplotlib.pyplot as plt
import numpy as np

from dcgan_utils import run_in_batches

EDGE = 1.6  # of the plane that is shown, from -EDGE to EDGE
LONGEST_ARROW = 0.4


def plot_game():
    """A drawing of who sees what, black, and of the two ways back, dashed: whose loss changes which net."""
    figure, axis = plt.subplots(figsize=(9.5, 3.1), layout="constrained")
    generator, discriminator, grey = "#2f6fb0", "#c8701a", "#777777"
    for x, y, text, colour, width in (
            (0.7, 1.7, "noise", grey, 1.1), (2.9, 1.7, "generator G", generator, 1.7),
            (5.3, 1.7, "generated", grey, 1.5), (5.3, 3, "real", grey, 1.5),
            (7.7, 2.35, "discriminator D", discriminator, 1.9), (10.2, 2.35, "verdict", grey, 1.2)):
        axis.add_patch(plt.Rectangle((x - width / 2, y - 0.33), width, 0.66, facecolor=colour))
        axis.text(x, y, text, ha="center", va="center", color="white", fontsize=10)
    for start, end, colour, bend in (
            ((1.25, 1.7), (2.05, 1.7), "black", 0), ((3.75, 1.7), (4.55, 1.7), "black", 0),
            ((6.05, 1.7), (6.75, 2.2), "black", 0), ((6.05, 3), (6.75, 2.5), "black", 0),
            ((8.65, 2.35), (9.6, 2.35), "black", 0),
            ((10.2, 2.68), (7.7, 2.68), discriminator, 0.35), ((10.2, 2.02), (2.9, 1.37), generator, -0.24)):
        axis.annotate("", end, start, arrowprops=dict(
            arrowstyle="-|>", color=colour, linewidth=1.8, linestyle="--" if bend else "-",
            connectionstyle=f"arc3,rad={bend}", shrinkA=0, shrinkB=0))
    axis.text(8.95, 3.25, "D's loss changes D", ha="center", color=discriminator, fontsize=10)
    axis.text(6.6, 0.4, "G's loss changes G: its way back leads through D", ha="center", color=generator, fontsize=10)
    axis.set(xlim=(0, 11), ylim=(0.25, 3.6))
    axis.axis("off")
    return figure


def plot_field(discriminator, real, fake, pushes):
    """A moment of the game in the plane: red where the discriminator says "real", blue where it says "generated".

    `real` points are black, `fake` ones yellow, both float32 `(n, 2)`. `pushes`, of the shape of `fake`, say which way
    each generated point is pushed. An arrow's length grows with the square root of a weak push, up to `LONGEST_ARROW`.
    """
    figure, axis = plt.subplots(figsize=(3.6, 3.6), layout="constrained")
    line = np.linspace(-EDGE, EDGE, 60, dtype=np.float32)
    places = np.stack(np.meshgrid(line, line), axis=-1)
    logits = run_in_batches(discriminator, places.reshape(-1, 2), 3600).reshape(60, 60)
    axis.contourf(line, line, np.tanh(logits / 2), levels=np.linspace(-1, 1, 15), cmap="RdBu_r",
                  antialiased=False)
    axis.scatter(*np.transpose(real), s=3, color="black")
    strength = np.linalg.norm(pushes, axis=1, keepdims=True)
    arrows = LONGEST_ARROW * np.asarray(pushes) / np.sqrt(strength * (1 + strength) + 1e-9)
    axis.quiver(*np.transpose(fake), *np.transpose(arrows), angles="xy", scale_units="xy", scale=1, width=0.006)
    axis.scatter(*np.transpose(fake), s=14, color="#ffe14d", edgecolor="black", linewidth=0.6, zorder=3)
    axis.set(xlim=(-EDGE, EDGE), ylim=(-EDGE, EDGE), aspect="equal", xticks=[], yticks=[])
    return figure


def to_frame(figure):
    """The pixels of a figure, uint8 `(height, width, 3)`, as `save_gif` takes them; the figure is closed."""
    figure.canvas.draw()
    frame = np.asarray(figure.canvas.buffer_rgba())[..., :3].copy()
    plt.close(figure)
    return frame
