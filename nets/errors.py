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
    """The loss or a gradient of a descent is not finite."""


class RankError(RuntimeError):
    """A process of a distributed run has ended unexpectedly."""


def quoted(value: object) -> str:
    """The repr of `value` for a message: in one line, and cut where it is long. If the repr fails, the type.

    A repr may fail: Python refuses to write whole numbers of more than 4,300 digits.
    """
    try:
        text = " ".join(repr(value).split())
    except Exception:  # the repr of a user's object may raise anything
        return f"a {type(value).__name__} that cannot be written"
    return text if len(text) <= MOST_QUOTED else f"{text[:MOST_QUOTED]}… ({len(text):,} characters)"
