"""Google Colab: runs kept on Google Drive, the key of Weights & Biases, a word on the GPU; for notebooks with runs."""

import contextlib
import os
import shutil
import sys
from pathlib import Path

import tensorflow as tf

from lab import files

MOUNTED = Path("/content/drive")


def prepare_colab(*, drive):
    """On Colab, say how to get a GPU, take the key from the secrets and, if wanted, keep runs on Drive."""
    if "google.colab" not in sys.modules:
        return
    if not tf.config.list_physical_devices("GPU"):
        print("No GPU here. To get one: Runtime > Change runtime type > GPU; it comes with a new, empty machine.")
    with contextlib.suppress(Exception):  # no such secret, or not for this notebook: runs are recorded offline
        from google.colab import userdata
        os.environ.setdefault("WANDB_API_KEY", userdata.get("WANDB_API_KEY"))
    if drive:
        from google.colab import drive as google_drive
        google_drive.mount(str(MOUNTED))
        _keep_on_drive(files.OUTPUTS, MOUNTED / "MyDrive" / "dcgan-course" / "outputs")
        print("Runs are kept on your Drive, in dcgan-course/outputs.")


def _keep_on_drive(here, kept):
    """Copy what Drive lacks to the folder `kept`, which from now on is found under the path `here`."""
    if here.is_symlink():
        return
    kept.mkdir(parents=True, exist_ok=True)
    for made in [*here.iterdir(), *here.glob("measuring_nets/*")]:
        target = kept / made.relative_to(here)
        if not target.exists():  # what Drive has already stays as it is
            partial = kept / f".partial-{made.name}"
            shutil.copytree(made, partial, dirs_exist_ok=True) if made.is_dir() else shutil.copy(made, partial)
            partial.rename(target)
    here.rename(here.with_name("outputs-not-on-drive"))
    here.symlink_to(kept)
