"""The derivations that a check names: the judged one, and the one that it is compared with."""

from nets.records.text_enum import TextEnum


class Method(TextEnum):
    """A derivation of ∂Y/∂p, or what a check names instead of one.

    An engine or a derivation of the caller's own has the name that the caller gives it, as plain text. No code depends
    on such a name, and it must not be the text of a member.
    """

    CLOSED_FORM = "closed form"
    REVERSE_MODE = "reverse mode"
    BATCHED_REVERSE = "batched reverse"
    FORWARD_MODE = "forward mode"
    COMPLEX_STEP = "complex step"
    CENTRAL_DIFFERENCE = "central difference"
    STATED_CLOSED_FORM = "stated closed form"
    """The Jacobians that the caller gives as `closed_form`."""
    GRADCHECK = "gradcheck"
    GRADGRADCHECK = "gradgradcheck"
    REVERSE_IN_FLOAT64 = "reverse mode in float64"
    """The backward pass of the copy in float64, which the module in its own precision is compared with."""
    FORWARD_PASS = "forward"
    """The output itself, if it cannot be differentiated."""
    ITSELF = "itself"
    """The same derivation under other circumstances, or nothing else."""
    INTENTION = "intention"
    """Nothing: the caller declares the gradient to be no derivative."""
    ACCUMULATED_GRADIENT = "accumulated gradient"
    WHOLE_BATCH = "whole batch"
    MICRO_BATCHES = "gradients of the micro-batches"

    NUMPY = "NumPy by hand"
    SYMPY = "SymPy"
    JAX = "JAX"
    TENSORFLOW = "TensorFlow"


ENGINE_METHODS = (Method.NUMPY, Method.SYMPY, Method.JAX, Method.TENSORFLOW)
"""Libraries with derivatives of their own, in which a `Network` is computed once more."""

INDEPENDENT = (Method.CENTRAL_DIFFERENCE, Method.WHOLE_BATCH)
"""Derivations that rely on no other derivative. Only comparisons with these count for `Certificate.detects`."""

WITNESSES = (Method.FORWARD_MODE, Method.COMPLEX_STEP)
"""Derivations that no training step runs. Their faults are reported last."""


def named(text: str) -> "Method | str":
    """The member with this text; or the text itself, as the name of a derivation of the caller."""
    return Method(text) if text in {str(method) for method in Method} else text
