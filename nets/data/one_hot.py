"""Classes as targets of a network."""

import torch
from jaxtyping import Int64, Shaped
from torch import Tensor

TARGET_KINDS = ("signed", "classes")


def encode(classes: Int64[Tensor, " n"], count: int, kind: str) -> Shaped[Tensor, "n ..."]:
    """Targets from the classes of samples.

    Args:
        classes: the class of each sample, 0 … K-1, shape (N,).
        count: K.
        kind: "signed" for T_nk = +1 where k is the class of sample n and -1 elsewhere, shape (N, K), float32: the
            range of tanh; "classes" for the class itself, shape (N,), int64: what cross entropy takes.
    """
    if kind == "classes":
        return classes
    signed = torch.full((len(classes), count), -1.0)
    signed[torch.arange(len(classes)), classes] = 1.0
    return signed
