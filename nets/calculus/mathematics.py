"""The functions that a forward is written with: once for PyTorch, NumPy, SymPy, JAX and TensorFlow.

Sums, products and powers are Python's own operators, which every engine defines for its arrays. The functions here are
those that the engines name differently, or that need a form of their own to stay exact. The standard array API lacks
most of these (σ, erfc, relu, softplus), and neither SymPy nor TensorFlow implements it; hence this table instead of
that standard.
"""

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F


@dataclass(frozen=True)
class Mathematics:
    """Functions of the arrays of one engine.

    Attributes:
        array: NumPy numbers → an array of the engine.
        exp, log, sqrt, sin, cos, tanh, sigmoid, erfc: entry by entry.
        softplus: log(1 + e^z), entry by entry.
        relu: max(z, 0), entry by entry, with the slope 0 at z = 0.
        where_positive: (x, a, b) → a where x > 0, else b.
        sum, mean: of all entries, or along `axis`, which `keepdims` keeps with the size 1.
        reshape: (x, shape) → the same entries in order, in another shape; one size may be −1.
        cumsum: Σ up to each entry along `axis`.
        stack: a list of arrays of one shape → one array with a new first axis.
        linear: (x, weight, bias or None) → Σ_j W_ij x_j + B_i over the last axis of x.
        detach: the same numbers, through which no gradient flows.
    """

    array: Callable[..., Any]
    exp: Callable[..., Any]
    log: Callable[..., Any]
    sqrt: Callable[..., Any]
    sin: Callable[..., Any]
    cos: Callable[..., Any]
    tanh: Callable[..., Any]
    sigmoid: Callable[..., Any]
    erfc: Callable[..., Any]
    softplus: Callable[..., Any]
    relu: Callable[..., Any]
    where_positive: Callable[..., Any]
    sum: Callable[..., Any]
    mean: Callable[..., Any]
    reshape: Callable[..., Any]
    cumsum: Callable[..., Any]
    stack: Callable[..., Any]
    linear: Callable[..., Any]
    detach: Callable[..., Any]


def from_module(module: Any, **own: Callable[..., Any]) -> Mathematics:
    """Each function under its name in `module`, except for those given."""
    names = [field.name for field in fields(Mathematics)]
    return Mathematics(**{name: own[name] if name in own else getattr(module, name) for name in names})


def _softplus(z: Tensor) -> Tensor:
    """Exact for every z: `torch.nn.functional.softplus` is the identity from z = 20 on, off by 2e-9."""
    return torch.logaddexp(z, torch.zeros_like(z))


TORCH = from_module(
    torch,
    array=torch.as_tensor,
    softplus=_softplus,
    where_positive=lambda x, a, b: torch.where(x > 0, a, b),
    linear=F.linear,
    detach=torch.Tensor.detach,
)
