"""Train a measuring net on labelled images: `make measuring-net DATASET=path`, or a name that `load_dataset` knows.

With `SHIP=mnist-1` the net becomes one that ships with the course under this name: trained on the whole training set,
tested on the test set, copied beside the others. Its line for `NAMED_NETS` in lab/measuring_net.py is printed.
"""

import hashlib
import shutil
import sys

from lab.commands.arguments import dataset_of, given
from lab.datasets import load_dataset
from lab.files import run_folder
from lab.measuring_net import train_measuring_net


def main(dataset, ship=""):
    try:
        data = load_dataset(dataset)
        held_out = load_dataset(dataset, split="test") if ship else None
        net = train_measuring_net(data, held_out=held_out)
    except (FileNotFoundError, ValueError) as error:
        sys.exit(str(error))
    print(f"{net.name}: {net.accuracy:.2%} of the held-out images right")
    if ship:
        folder = run_folder("measuring_nets")
        path = shutil.copyfile(folder / f"{net.name}.npz", folder / f"{ship}.npz")
        print(f'"{data.name}": ("{ship}", "{hashlib.sha256(path.read_bytes()).hexdigest()}"),')


if __name__ == "__main__":
    values = given(sys.argv[1:])
    main(dataset_of(values), values.get("SHIP", ""))
