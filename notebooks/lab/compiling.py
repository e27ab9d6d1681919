"""Many steps as one XLA program, on a GPU: when that pays, and what if XLA cannot; used by lab.runs (from 04 on)."""

import tensorflow as tf

from lab.files import first_line

PAYS_FROM = 900  # steps; on an H100 XLA compiled for 10 to 15 s and saved 16 ms a step of the default nets


def has_gpu():
    return bool(tf.config.list_physical_devices("GPU"))


def pays(steps):
    """Whether compiling is worth its time: on one GPU, for at least `PAYS_FROM` steps. CPUs are slower compiled."""
    return has_gpu() and not tf.distribute.has_strategy() and steps >= PAYS_FROM


def steps_in_a_program(whole):
    """Of the `whole` full batches of an epoch, 64 to 256 or all if they are fewer, so that the fewest are left over."""
    return max(range(min(whole, 64), min(whole, 256) + 1), key=lambda steps: (-(whole % steps), steps))


class CompiledSteps:
    """`steps` of `dcgan_utils.make_steps`, of which calls of one shape are one XLA program; others run uncompiled.

    Another shape would be compiled anew, which takes far longer than the few steps at the end of an epoch. If XLA
    cannot compile the program, all run uncompiled.

    Args:
        make_steps: called with `compiled`, makes the steps either way.
        shape: of the calls that are compiled, `(steps, batch)`.
        give_up: called once with the reason in a line, if XLA cannot compile.
    """

    def __init__(self, make_steps, shape, give_up):
        self.program, self.plain, self.shape = make_steps(compiled=True), make_steps(compiled=False), tuple(shape)
        self.give_up, self.compiled = give_up, False

    def __call__(self, indices, first_step):
        if self.program and indices.shape == self.shape:
            try:
                metrics = self.program(indices, first_step)
                self.compiled = True
                return metrics
            except (tf.errors.OpError, NotImplementedError, ValueError) as error:
                if self.compiled:
                    raise
                self.program = None  # no step was taken: XLA compiles before anything runs
                self.give_up(first_line(error))
        return self.plain(indices, first_step)
