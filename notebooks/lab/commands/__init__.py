"""What the Makefile calls for users, a program each: `python -m lab.commands NAME`."""

STOPPED = 130  # the exit status of what Ctrl-C ended
