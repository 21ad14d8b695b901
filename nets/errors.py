"""What `nets` raises when the fault lies with what it was given, so that a program can tell it from a defect of its own."""


class InputError(ValueError):
    """Something given to `nets` cannot be used.

    The message is one sentence for a person: what was received, what was expected, and how to mend it.
    `train.py` prints that sentence alone, without a traceback.
    """


class GradientError(AssertionError):
    """A derivative is wrong: a certificate did not pass.

    The message names the parameter and the entry, what it should have been and what it was.
    """


class DivergenceError(ArithmeticError):
    """Gradient descent has left the numbers: the loss or a gradient is no longer finite."""


class RankError(RuntimeError):
    """One of the processes of a run has died."""
