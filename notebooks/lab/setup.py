"""What the first cell of every notebook does once it has found the course; imports neither TensorFlow nor Keras."""

import os
import subprocess
import sys

from lab.files import ROOT


def set_up():
    """Set what TensorFlow, Keras and matplotlib read when they are imported; on Colab, install what it lacks."""
    os.environ["KERAS_BACKEND"] = "tensorflow"  # whatever the shell or Keras' settings say
    os.environ["MPLBACKEND"] = "module://matplotlib_inline.backend_inline"  # pictures appear in the notebook
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # TensorFlow's start-up messages off
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")  # fast kernels on processors without AVX-512, too
    os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")  # a GPU's memory as it is needed, not all at once
    if os.cpu_count() == 2:
        os.environ.setdefault("TF_NUM_INTRAOP_THREADS", "1")  # two small operations at once beat one on both cores
    if "google.colab" in sys.modules:
        subprocess.run([sys.executable, "-m", "pip", "install", "-q", "-r", ROOT / "requirements.txt"], check=True)
        asked = (["config", "remote.origin.url"], ["branch", "--show-current"])
        address, branch = (subprocess.run(["git", "-C", ROOT, *words], capture_output=True, text=True).stdout.strip()
                           for words in asked)
        print(f"The course: {address}, branch {branch}.")
