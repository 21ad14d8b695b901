"""What PyTorch records, adds up, keeps and leaves out: each habit as a few lines that give the numbers they lead to."""

import warnings
from collections.abc import Iterable

import torch
from torch import Tensor

from nets.lessons.function import Function


def accumulated(function: Function, x: Tensor, cotangents: Iterable[Tensor]) -> list[Tensor]:
    """`x.grad` after each of several backward passes through one recording: every pass adds to what is there."""
    x = x.clone().requires_grad_()
    y = function(x)
    grads = []
    for v in cotangents:
        y.backward(v, retain_graph=True)
        grads.append(_grad(x))
    return grads


def cleared(first: Function, second: Function, x: Tensor) -> dict[str, Tensor]:
    """`x.grad` after Σ f(x), then after Σ g(x) without clearing it, after `zero_()`, and after Σ g(x) once more."""
    x = x.clone().requires_grad_()
    first(x).sum().backward()
    grads = {"first": _grad(x)}
    second(x).sum().backward()
    grads["second, not cleared"] = _grad(x)
    assert x.grad is not None
    x.grad.zero_()
    grads["zero_()"] = _grad(x)
    second(x).sum().backward()
    grads["second, cleared"] = _grad(x)
    return grads


def retained(outer: Function, inner: Function, x: Tensor) -> dict[str, Tensor | None]:
    """z = g(y), y = f(x): PyTorch keeps the gradient of the leaf x, and of y only where it is told to."""
    grads: dict[str, Tensor | None] = {}
    for keep in (False, True):
        x = x.detach().clone().requires_grad_()
        y = inner(x)
        if keep:
            y.retain_grad()
        outer(y).sum().backward()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # which says what is shown here: y is no leaf
            grads["y.grad, retained" if keep else "y.grad"] = y.grad
    return {**grads, "x.grad": x.grad}


def untracked(function: Function, x: Tensor) -> dict[str, Tensor]:
    """f(x) by three ways that leave no record: `grad_fn` is None. And, for comparison, with a record."""
    tracked = x.clone().requires_grad_()
    found = {"requires_grad_(True)": function(tracked)}
    found["requires_grad_(False)"] = function(x.clone().requires_grad_(False))
    found["detach()"] = function(tracked.detach())
    with torch.no_grad():
        found["no_grad()"] = function(tracked)
    return found


def refused(function: Function, x: Tensor) -> str:
    """What PyTorch says where it is to differentiate a vector, and is given no cotangent."""
    try:
        function(x.clone().requires_grad_()).backward()
    except RuntimeError as error:
        return str(error)
    return ""


def _grad(x: Tensor) -> Tensor:
    """A copy, since the next pass writes into the same numbers."""
    assert x.grad is not None
    return x.grad.clone()
