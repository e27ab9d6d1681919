"""`python -m lab.commands NAME ...`, as the Makefile says it: a program of this folder, which Ctrl-C ends in a line."""

import runpy
import sys

from lab.commands import STOPPED

if __name__ == "__main__":
    del sys.argv[0]
    try:
        runpy.run_module(f"lab.commands.{sys.argv[0]}", run_name="__main__", alter_sys=True)
    except KeyboardInterrupt as error:
        print(f"\nStopped. {error}")
        sys.exit(STOPPED)
