"""`make bench`: what an epoch costs, how well the step uses the machine, and how soon quality comes; ratios in one run.

Each contestant is a process of its own that lives throughout and works only when it is asked, in turns, so that nothing
else runs at the time. Figures are medians over the rounds, ratios medians of the ratios within a round. With `long`,
the tutorial's nets train for 50 epochs in place of 20 to compare the time to quality, and so they do on a GPU, where
that takes minutes.
"""

import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import tensorflow as tf

import dcgan_utils as dcgan
from lab.commands.contestants import CONTESTANTS, COUNT, ON_GPU, SIDE
from lab.commands.tables import in_words, median_ratio, print_ratio
from lab.commands.time_to_quality import compare_quality
from lab.commands.trainers import DEFAULTS, step_operations
from lab.compiling import has_gpu
from lab.files import ROOT

ROUNDS = 5
TORCH = "torch==2.13.0"
CPU_BUILD = ("--extra-index-url", "https://download.pytorch.org/whl/cpu")  # on Linux, PyPI's own build is one for GPUs
EPOCHS = {"default": 12, "tutorial": 20}  # to train when the time to quality is compared
LONG_EPOCHS = EPOCHS | {"tutorial": 50}
ALL_THREADS = "TF_NUM_INTRAOP_THREADS=0"  # an operation may use all cores, which is best for large ones
SETTINGS = {"tutorial": ("tutorial", ALL_THREADS), "product": ("product", ALL_THREADS),
            "all threads": ("steps", ALL_THREADS), "all threads, epoch": ("epoch", ALL_THREADS),
            "no oneDNN": ("steps", "TF_ENABLE_ONEDNN_OPTS=0")}  # contestants in another environment


class Contestant:
    """A process that works when it is asked and otherwise waits; `first` is its answer after it has warmed up."""

    def __init__(self, *command):
        self.errors = tempfile.TemporaryFile("w+")
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.errors,
                                        text=True)
        self.first = self._answer()

    def ask(self):
        print(file=self.process.stdin, flush=True)
        return self._answer()

    def _answer(self):
        line = self.process.stdout.readline()
        if not line:
            self.errors.seek(0)
            raise SystemExit(f"{' '.join(map(str, self.process.args))} ended:\n{self.errors.read()}")
        return json.loads(line)

    def close(self):
        self.process.stdin.close()
        self.process.wait()


def torch_python():
    """The Python of `.venv-torch`, set up if it is missing; None, said in a line, if it cannot be."""
    folder = ROOT / ".venv-torch"
    python, ready = folder / "bin" / "python", folder / TORCH
    if ready.exists():
        return python
    print(f"Setting up .venv-torch: {TORCH}, 1 GB, a minute or two ...", file=sys.stderr)
    try:
        for command in ((sys.executable, "-m", "venv", folder),
                        (python, "-m", "pip", "install", "--quiet", TORCH, "numpy", *([] if has_gpu() else CPU_BUILD))):
            subprocess.run(command, check=True, capture_output=True, text=True)
    except (OSError, subprocess.CalledProcessError) as error:
        reason = (getattr(error, "stderr", None) or str(error)).strip().splitlines()[-1]
        print(f"No comparison with PyTorch, it could not be installed: {reason}")
        return None
    ready.touch()
    return python


def command_of(name):
    return sys.executable, "-m", "lab.commands.contestants", name


def commands():
    """The command of each contestant; PyTorch's only those that run here, after a check that they do what ours does."""
    if has_gpu():
        ours = {name: command_of(name) for name in ON_GPU}
    else:
        ours = {name: command_of(name) for name in CONTESTANTS}
        ours |= {name: ("env", setting, *ours[other]) for name, (other, setting) in SETTINGS.items()}
    python, module = torch_python(), ("-m", "lab.commands.bench_torch")
    if python is None:
        return ours
    on_cpu = os.environ | {"CUDA_VISIBLE_DEVICES": "-1"}  # where both compute in float32, and not in TF32
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "reference.npz"
        subprocess.run((*command_of("reference"), path), check=True, stderr=subprocess.DEVNULL, env=on_cpu)
        checked = subprocess.run((python, *module, "check", path), check=True, stdout=subprocess.PIPE, text=True,
                                 env=on_cpu)
    graphs = ["graph_contiguous", "graph_channels_last"] if has_gpu() else []
    return ours | {variant: (python, *module, variant) for variant in [*checked.stdout.split(), *graphs]}


def measure():
    """What each contestant answers in each round, a dict of lists of dicts, and what it answered first."""
    with contextlib.ExitStack() as stack:
        contestants = {name: stack.enter_context(contextlib.closing(Contestant(*command)))
                       for name, command in commands().items()}
        answers = {name: [] for name in contestants}
        for i in range(ROUNDS):
            print(f"round {i + 1} of {ROUNDS}", file=sys.stderr, flush=True)
            for name, contestant in contestants.items():
                answers[name].append(contestant.ask())
        return answers, {name: contestant.first for name, contestant in contestants.items()}


def profile():
    with contextlib.closing(Contestant(*command_of("profile"))) as contestant:
        return contestant.first["shares"]


EPOCHS_OF = {
    "tutorial": "TensorFlow tutorial's nets and settings, steps alone",
    "tutorial compiled": "  the same compiled by XLA",
    "contiguous": "default nets in PyTorch, contiguous, steps alone",
    "channels_last": "default nets in PyTorch, channels last, steps alone",
    "compiled": "default nets in PyTorch, torch.compile, steps alone",
    "graph_contiguous": "default nets in PyTorch, a CUDA graph, contiguous",
    "graph_channels_last": "default nets in PyTorch, a CUDA graph, channels last",
    "steps": "default nets, steps alone", "epoch": "default nets, train() with everything",
    "free steps": "  steps alone, without op determinism", "single steps": "  steps alone, one in a call, not 16",
    "no oneDNN": "  steps alone, TF_ENABLE_ONEDNN_OPTS=0", "all threads": "  steps alone, all cores for each operation",
    "all threads, epoch": "  train() with everything, all cores for each operation",
    "compiled steps": "  steps alone, compiled by XLA",
    "free compiled steps": "  steps alone, compiled by XLA, without op determinism"}
RATIOS = [  # text, of which, to which, what is wanted
    ("an epoch of train() / the tutorial's steps", "epoch", "tutorial", ""),
    ("op determinism / without, of a step", "steps", "free steps", ""),
    ("16 steps in a call / one, of a step", "steps", "single steps", ""),
    ("oneDNN / without, of a step", "steps", "no oneDNN", ""),
    ("one core an operation / all, of a step", "steps", "all threads", ""),
    ("one core an operation / all, of an epoch", "epoch", "all threads, epoch", ""),
    ("compiled / not, of a step", "compiled steps", "steps", ""),
    ("op determinism / without, of a compiled step", "compiled steps", "free compiled steps", "at most 1.10")]


def print_epochs(seconds, measuring, first):
    """The table of epochs; `seconds` is a dict of lists, one value a round, and so in the other functions."""
    print(f"{os.cpu_count()} cores{', ' + device_name() if has_gpu() else ''}; {ROUNDS} rounds in turns. Medians, "
          "lowest and highest in brackets; ratios are medians of the rounds' ratios.\n\nAn epoch: seconds for 60,000 "
          "images")
    for name in filter(seconds.get, EPOCHS_OF):
        print(f"  {EPOCHS_OF[name]:54}{in_words(seconds[name]):>24}")
    steps = seconds["compiled steps" if has_gpu() else "steps"]
    around = [whole - distance - bare for whole, distance, bare in zip(seconds["epoch"], measuring, steps)]
    print_ratio("what surrounds the steps but the distance, of an epoch", median_ratio(around, seconds["epoch"]),
                "" if has_gpu() else "at most 0.03")
    print_ratio("measuring the distance, of an epoch", median_ratio(measuring, seconds["epoch"]))
    for text, name, other, wanted in RATIOS:
        if name in seconds and other in seconds:
            print_ratio(text, median_ratio(seconds[name], seconds[other]), wanted)
    for kind, names, wanted in (
            ("PyTorch, eager", ("contiguous", "channels_last"), "" if has_gpu() else "at least 1.3"),
            ("PyTorch, torch.compile", ("compiled",), ""),
            ("PyTorch, a CUDA graph", ("graph_contiguous", "graph_channels_last"), "at least 0.8")):
        names = [name for name in names if name in seconds]
        if names:
            best = min(names, key=lambda name: statistics.median(seconds[name]))
            print_ratio(f"{kind} / ours, of a step", median_ratio(seconds[best], steps), wanted)
    if has_gpu():
        print(f"  the first call, tracing and compiling: {first['compiled steps']['first']:.1f} s")


def device_name():
    return tf.config.experimental.get_device_details(tf.config.list_physical_devices("GPU")[0])["device_name"]


def print_rate(seconds, shares, peaks):
    batch = DEFAULTS["batch_size"]
    operations = step_operations(dcgan.build_generator(), dcgan.build_discriminator(), batch)
    step_rates = [operations / (value * batch / COUNT) / 1e9 for value in seconds["steps"]]
    product_rates = [2 * SIDE ** 3 / value / 1e9 for value in seconds["product"]]
    print(f"\nThe step: {operations / 1e9:.3f} GFLOP in products and convolutions, batch of {batch}; GFLOP/s")
    print(f"  {'default nets, steps alone':54}{in_words(step_rates):>24}")
    print(f"  {f'float32 product of {SIDE} x {SIDE} matrices':54}{in_words(product_rates):>24}")
    print_ratio("step / product, of the rate", median_ratio(step_rates, product_rates), "at least 0.55")
    print("\nWhere the step's time goes, by TensorFlow's profiler: share of its threads' time")
    largest = dict(list(shares.items())[:10])
    others = {"other operations": sum(shares.values()) - sum(largest.values()),
              "gaps between operations": 1 - sum(shares.values())}
    for name, share in (largest | others).items():
        print(f"  {name:54}{share:>7.1%}")
    print("\nMemory: peak of the process, GiB")
    for name, text in (("steps", "default nets, steps alone"), ("epoch", "default nets, train() with everything")):
        print(f"  {text:54}{peaks[name] / 2 ** 30:>7.2f}")


def main(epochs):
    answers, first = measure()
    seconds = {name: [answer["seconds"] for answer in given] for name, given in answers.items()}
    print_epochs(seconds, [answer["measuring"] for answer in answers["epoch"]], first)
    if not has_gpu():  # the profiler's threads and the process's memory say little about a GPU
        print_rate(seconds, profile(), {name: given[-1]["peak"] for name, given in answers.items()})
    medians = {"default": statistics.median(seconds["epoch"]), "tutorial": statistics.median(seconds["tutorial"])}
    compare_quality(medians, epochs, compiling=first["compiled steps"]["first"] if has_gpu() else 0.0)


if __name__ == "__main__":
    main(LONG_EPOCHS if sys.argv[1:] == ["long"] or has_gpu() else EPOCHS)
