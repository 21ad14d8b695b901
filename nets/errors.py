"""What `nets` raises when the fault lies with what it was given, so that a program can tell it from a defect of its
own."""

MOST_QUOTED = 80
"""Characters of a value that a message repeats."""


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


def quoted(value: object) -> str:
    """`value` as a message repeats it: its repr in one line, cut where it is long; its type where it has no repr.

    A repr may fail: Python writes no whole number of more than 4,300 digits.
    """
    try:
        text = " ".join(repr(value).split())
    except Exception:  # whatever is wrong in the repr of somebody's object
        return f"a {type(value).__name__} that cannot be written"
    return text if len(text) <= MOST_QUOTED else f"{text[:MOST_QUOTED]}… ({len(text):,} characters)"
