"""Many small trainings side by side, a process each on one core; used by lab.experiments and notebook 09."""

import concurrent.futures
import contextlib
import io
import os
import sys
import threading
import time

import loky
import tensorflow as tf
from tqdm import tqdm

from dcgan_utils import check_positive
from lab.files import smoke_mode


def side_by_side(function, jobs, *, total, done, unit, processes=None):
    """Call `function(*job)` for every job, each in a process of its own on one CPU core, under one progress bar.

    Small nets gain little from a second core, so two runs side by side take hardly longer than one. With a GPU the jobs
    run one after the other in this process. The processes end with this one. What the function returns or prints is
    dropped: it keeps its results in files.

    Args:
        jobs: tuples of arguments.
        total, done, unit: what the bar counts: how many in all, a function that says how many are done, and their name.
        processes: how many at a time; default one a CPU core, at most 8. 1 is this process, with all cores.

    Raises:
        RuntimeError: a process was killed, by a lack of memory for instance.
        Exception: what a job raised; the others are stopped.
    """
    processes = min(8, loky.cpu_count()) if processes is None else processes
    check_positive(processes=processes)
    if tf.config.list_physical_devices("GPU") or smoke_mode():
        processes = 1
    parent = os.getpid()

    def begin():  # not at the top level, so that TensorFlow is imported, and prints, after it
        nowhere = os.open(os.devnull, os.O_WRONLY)
        for descriptor in (1, 2):
            os.dup2(nowhere, descriptor)

        def end_with_parent():
            while os.getppid() == parent:
                time.sleep(1)
            os._exit(1)

        threading.Thread(target=end_with_parent, daemon=True).start()

    with tqdm(total=total, initial=done(), file=sys.stdout, leave=False, unit=unit, mininterval=0.5) as bar:
        if processes == 1 or not jobs:
            for job in jobs:
                with contextlib.redirect_stdout(io.StringIO()):
                    function(*job)
                bar.update(done() - bar.n)
            return
        pool = loky.ProcessPoolExecutor(min(processes, len(jobs)), initializer=begin,
                                        env={"TF_NUM_INTRAOP_THREADS": "1", "TF_NUM_INTEROP_THREADS": "1"})
        try:
            waiting = {pool.submit(function, *job) for job in jobs}
            while waiting:
                finished, waiting = concurrent.futures.wait(waiting, 1, concurrent.futures.FIRST_COMPLETED)
                for future in finished:
                    future.result()
                bar.update(done() - bar.n)
            pool.shutdown()
        except loky.process_executor.TerminatedWorkerError as error:
            raise RuntimeError("a process was killed, perhaps for lack of memory. What is finished is kept: run again "
                               f"with processes={max(1, processes // 2)} to go on.") from error
        finally:
            pool.shutdown(kill_workers=True)
