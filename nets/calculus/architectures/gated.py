"""The gated perceptron of a transformer."""

import torch

from nets import validation
from nets.calculus.architectures.combinators import Product
from nets.calculus.layers.gates import SiLU
from nets.calculus.layers.linear import Linear
from nets.calculus.network import Network


def swiglu(width: int, hidden: int, bias: bool = False, *, generator: torch.Generator | None = None) -> Network:
    """Y = W_3 (silu(W_1 X + b_1) ⊙ (W_2 X + b_2)) + b_3, row by row.

    Parameters have the names 'gated.gate.0.weight' (W_1), 'gated.value.weight' (W_2) and 'output.weight' (W_3), and
    the biases likewise.

    Args:
        width: of X and Y.
        hidden: of the two factors.
        bias: whether there are biases.
        generator: of the initial weights; one with the seed 0 if not given.

    Raises:
        InputError: for a number out of range.

    Source: Shazeer, arXiv:2002.05202, section 2.
    """
    generator = validation.generator(generator)
    gate, value = (Linear(width, hidden, bias, generator=generator) for _ in range(2))
    output = Linear(hidden, width, bias, generator=generator)
    return Network({"gated": Product({"gate": Network([gate, SiLU()]), "value": value}), "output": output})
