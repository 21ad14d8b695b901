"""What PyTorch records, adds up, keeps and leaves out: each rule as a few lines that compute numbers which show it."""

import warnings
from collections.abc import Iterable

import torch
from torch import Tensor

from nets.lessons.function import Function


def accumulated(function: Function, x: Tensor, cotangents: Iterable[Tensor]) -> list[Tensor]:
    """`x.grad` after each of several backward passes through one recording: every pass adds to it."""
    x = x.clone().requires_grad_()
    x.grad = torch.zeros_like(x)
    y = function(x)
    grads = []
    for v in cotangents:
        y.backward(v, retain_graph=True)
        grads.append(x.grad.clone())
    return grads


def cleared(first: Function, second: Function, x: Tensor) -> dict[str, Tensor]:
    """`x.grad` after Σ f(x), after Σ g(x) on top of it, after `zero_()`, after Σ g(x) once more."""
    x = x.clone().requires_grad_()
    x.grad = torch.zeros_like(x)
    grads = {}
    first(x).sum().backward()
    grads["first"] = x.grad.clone()
    second(x).sum().backward()
    grads["second, not cleared"] = x.grad.clone()
    x.grad.zero_()
    grads["zero_()"] = x.grad.clone()
    second(x).sum().backward()
    grads["second, cleared"] = x.grad.clone()
    return grads


def retained(outer: Function, inner: Function, x: Tensor) -> dict[str, Tensor | None]:
    """z = g(y), y = f(x): PyTorch keeps the gradient of the leaf x, and that by y only after `retain_grad()`."""
    grads: dict[str, Tensor | None] = {}
    for keep in (False, True):
        x = x.detach().clone().requires_grad_()
        y = inner(x)
        if keep:
            y.retain_grad()
        outer(y).sum().backward()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the warning says what is shown here: y is no leaf
            grads["y.grad, retained" if keep else "y.grad"] = y.grad
    return {**grads, "x.grad": x.grad}


def untracked(function: Function, x: Tensor) -> dict[str, Tensor]:
    """f(x) in three ways that leave no record, so that `grad_fn` is None; and, for comparison, with a record."""
    tracked = x.clone().requires_grad_()
    found = {"requires_grad_(True)": function(tracked)}
    found["requires_grad_(False)"] = function(x.clone().requires_grad_(False))
    found["detach()"] = function(tracked.detach())
    with torch.no_grad():
        found["no_grad()"] = function(tracked)
    return found


def refused(function: Function, x: Tensor) -> str:
    """The error of PyTorch for the derivative of a vector without a cotangent."""
    try:
        function(x.clone().requires_grad_()).backward()
    except RuntimeError as error:
        return str(error)
    return ""
