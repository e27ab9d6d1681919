"""What `make` was given, as it was typed, such as `DATASET=my images`; checked before anything is made."""

import os
import shlex
import sys
from pathlib import Path

from lab.files import OUTPUTS

KNOWN = ("mnist", "fashion_mnist", "svhn", "house_numbers_standin")  # `datasets.NAMED`, which takes seconds to import
RECIPES = ("cpu", "gpu", "first", "few", "few_colour")  # `recipes.RECIPES`, likewise
WAYS = ("projection", "channel", "auxiliary")  # `conditional.WAYS`, likewise


def given(arguments):
    """A dict of `NAME=value` strings: `["RUN=1"]` to `{"RUN": "1"}`."""
    values = dict(argument.split("=", 1) for argument in arguments)
    for name, value in values.items():
        if not value.strip():
            sys.exit(f"{name} is empty: give it a value, or leave it out.")
    return values


def dataset_of(values):
    """`DATASET`, for `load_dataset`: a known name, or the absolute path of a file or folder that is there."""
    text = values.get("DATASET", "mnist")
    path = _path(text)
    if text in KNOWN:
        if path.exists():
            print(f"NOTICE: {text!r} is a dataset that the course knows; for {path}, give DATASET=./{text}")
    elif not path.exists():
        sys.exit(f"unknown dataset {text!r}: known are {', '.join(map(repr, KNOWN))}, or give the path of a file or "
                 f"folder of images; there is no {path}.")
    return text if text in KNOWN else str(path)


def run_name(values):
    """`RUN`; without it, the name of the dataset, of a file without its suffix, and the way of conditional nets."""
    path = _path(values.get("DATASET", "mnist"))
    names = path.name if path.is_dir() else path.stem, values.get("CONDITIONAL")
    return values.get("RUN") or "-".join(filter(None, names))


def run_names(values):
    """`RUNS` as a list: one run's name as it is, or several with spaces between, quoted where one has spaces."""
    text = values.get("RUNS", "")
    try:
        return [text] if text and (OUTPUTS / text).is_dir() else shlex.split(text)
    except ValueError as error:
        sys.exit(f"RUNS is {text!r} ({error}); wanted names with spaces between, such as \"'my run' another\".")


def whole_numbers(values, *names):
    """Those of `names` that were given, as integers from 1."""
    for name in names:
        if name in values and not (values[name].strip().isdecimal() and int(values[name])):
            sys.exit(f"{name} is {values[name]!r}; wanted a whole number of at least 1.")
    return {name: int(values[name]) for name in names if name in values}


def one_of(values, name, legal):
    """`{name: value}` if it was given, one of `legal`."""
    if name in values and values[name] not in legal:
        sys.exit(f"{name} is {values[name]!r}; wanted {' or '.join(legal)}.")
    return {name: values[name]} if name in values else {}


def _path(text):
    return Path(os.path.abspath(Path(text).expanduser()))
