"""The check of an exercise; used by the exercises of all notebooks."""

import contextlib

from lab.files import first_line


@contextlib.contextmanager
def exercise(number):
    """Check an answer: `with exercise(1): assert ...` prints "pass", or in a line what is wrong, and raises nothing."""
    try:
        yield
    except Exception as error:  # a learner's code may raise anything
        kind = "" if isinstance(error, AssertionError) else f"{type(error).__name__}: "
        print(f"Exercise {number}: not yet. {kind}{first_line(error)}")
    else:
        print(f"Exercise {number}: pass.")
