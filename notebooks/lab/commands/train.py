"""`make train`: notebook 04 without its exercises, with the dataset, run, recipe and so on of `make`.

The executed notebook is kept in the run's folder, once it has come to its end. Ctrl-C interrupts its kernel, so that
the run can save what it has; a second one ends it at once.
"""

import os
import signal
import sys

import jupyter_client
import nbformat
import papermill

from lab.commands import STOPPED
from lab.commands.arguments import RECIPES, WAYS, dataset_of, given, one_of, run_name, whole_numbers
from lab.files import ROOT, replacing, run_folder

NOTEBOOK = ROOT / "notebooks" / "04_training.ipynb"
GOES_ON = "The same command goes on from the last checkpoint."
EXPLAINED = ("ValueError", "FileNotFoundError", "OSError", "FloatingPointError")  # the message says what to do


def without_exercises(notebook):
    """Mark the exercises and their checks as not to be executed."""
    for cell in notebook.cells:
        if {"exercise", "check"} & set(cell.metadata.get("tags", [])):
            cell.metadata.tags.append("skip-execution")
            cell.outputs, cell.execution_count = [], None
    return notebook


class Kernel(jupyter_client.KernelManager):
    """A kernel that Ctrl-C interrupts, so that a run can save what it has; the second time, it ends all at once."""

    stopped = False

    def stop(self, *_):
        if self.stopped:
            self.end()
            print(f"\nStopped at once. {GOES_ON}", flush=True)
            os._exit(STOPPED)  # an exception here would leave papermill's event loop half done, and hang
        if not self.has_kernel:
            raise KeyboardInterrupt
        self.stopped = True
        self.signal_kernel(signal.SIGINT)
        print("\nStopping, and saving what there is. Ctrl-C again ends it at once.", flush=True)

    def end(self):
        """Kill the kernel and what it started; asked to end, it would print that it was interrupted."""
        if self.has_kernel:
            os.killpg(self.provisioner.pid, signal.SIGKILL)
            self.cleanup_connection_file()


def execute(notebook, parameters):
    """Run a notebook with what it prints shown, and return it with its outputs; errors end the program in words."""
    kernel = Kernel(kernel_name="python3")
    before = signal.signal(signal.SIGINT, kernel.stop)
    try:
        return papermill.execute_notebook(notebook, None, parameters, cwd=NOTEBOOK.parent, km=kernel,
                                          progress_bar=False, stdout_file=sys.stdout)
    except (Exception, KeyboardInterrupt) as error:
        message = getattr(error, "evalue", "")
        if kernel.stopped or isinstance(error, KeyboardInterrupt):
            print(message)
            raise KeyboardInterrupt(GOES_ON) from None
        if getattr(error, "ename", "") not in EXPLAINED:
            raise
        sys.exit(message)
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        kernel.end()
        signal.signal(signal.SIGINT, before)


def main(arguments):
    values = given(arguments)
    parameters = {**whole_numbers(values, "EPOCHS", "BATCH_SIZE"), **one_of(values, "RECIPE", RECIPES),
                  **one_of(values, "CONDITIONAL", WAYS)}
    try:
        path = run_folder(run_name(values)) / NOTEBOOK.name
    except ValueError as error:
        sys.exit(str(error))
    parameters |= {"RUN": path.parent.name, "DATASET": dataset_of(values)}
    executed = execute(without_exercises(nbformat.read(NOTEBOOK, as_version=4)), parameters)
    del executed.metadata["papermill"]
    with replacing(path) as partial:
        nbformat.write(executed, partial)


if __name__ == "__main__":
    main(sys.argv[1:])
