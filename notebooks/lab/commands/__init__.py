"""What the Makefile calls for users, a program each: `python -m lab.commands.NAME`."""
