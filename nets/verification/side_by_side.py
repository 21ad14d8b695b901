"""Closed form and reverse mode of every Jacobian of a network, as matrices for a picture."""

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nets.calculus.formulas import formulas
from nets.calculus.jacobians import jacobians
from nets.calculus.network import Network
from nets.records.jacobian_view import JacobianView
from nets.verification.derivations.by_layers import network_input
from nets.verification.problem.graph import row_gradients
from nets.verification.problem.problem import Problem

MOST_ROWS, MOST_COLUMNS = 128, 160
"""The most rows and columns of a picture in which single entries can be seen."""

MOST_COMPARED_ENTRIES = 2**26
"""The most entries of all Jacobians together that are computed, rounded down to whole samples; at least one sample."""

MOST_OUTPUTS = 64
"""The most outputs of each sample whose derivatives are computed."""


def jacobian_views(network: Network, x: Tensor) -> tuple[JacobianView, ...]:
    """∂Y/∂p of every parameter p, and of the input, in float64.

    If every entry fits, a view shows the Jacobian of the first sample: rows (k, i) and columns j for a weight, rows k
    and columns i for a bias. Otherwise it has the shape of the parameter and shows (Σ_nk (∂Y_nk/∂p)²)^½, the norm over
    samples and outputs. Nothing of size (N, K, *p.shape) is formed.

    Args:
        network: stays as it is.
        x: X, shape (N, J). Of very large networks only the first samples and outputs are computed, and the view says
            so.
    """
    problem = Problem(network, (x,))
    module = problem.module
    assert isinstance(module, Network)
    samples, outputs = len(x), len(problem.y) // len(x)
    with torch.no_grad():
        shape = module(network_input(problem)).shape
    used = min(outputs, MOST_OUTPUTS)
    each = used * sum(point.numel() for point in problem.points.values())
    taken = max(1, min(samples, MOST_COMPARED_ENTRIES // each))
    closed, (y, leaves) = jacobians(module, network_input(problem)), problem.record()
    texts = {name: str(formula) for name, formula in formulas(module, network_input(problem)).items()}
    sums = {name: _Rows(name, point, used) for name, point in problem.points.items()}
    for n in range(taken):
        for k in range(used):
            v = torch.zeros(shape, dtype=y.dtype)
            v[n].view(-1)[k] = 1
            reverse = row_gradients(y, n * outputs + k, leaves)
            for name, one in sums.items():
                one.add(n, closed[name].vjp(v), reverse[name])
    return tuple(one.view(texts.get(name, ""), taken, outputs) for name, one in sums.items())


class _Rows:
    """The rows of one Jacobian as they arrive: those of the first sample if it is small, and sums of squares over
    all."""

    def __init__(self, name: str, point: Tensor, outputs: int) -> None:
        # The outputs of a sample depend on its own row of X alone.
        self.name, shape = name, tuple(point.shape[1:] if name == "input" else point.shape)
        self._outputs, self._columns = outputs, shape[-1]
        self._small = outputs * math.prod(shape[:-1]) <= MOST_ROWS and shape[-1] <= MOST_COLUMNS
        self._first: list[tuple[Tensor, Tensor]] = []
        self._squares = [torch.zeros(shape, dtype=point.dtype) for _ in range(3)]
        self._largest, self._apart, self._rows = 0.0, 0.0, 0

    def add(self, n: int, closed: Tensor, reverse: Tensor) -> None:
        closed, reverse = (j[n] if self.name == "input" else j for j in (closed.detach(), reverse.detach()))
        apart = closed - reverse
        if n == 0 and self._small:
            self._first.append((closed, reverse))
        for total, part in zip(self._squares, (closed, reverse, apart), strict=True):
            total += part.square()
        self._largest = max(self._largest, float(closed.abs().max()), float(reverse.abs().max()))
        self._apart = max(self._apart, float(apart.abs().max()))
        self._rows += 1

    def view(self, formula: str, samples: int, outputs: int) -> JacobianView:
        if self._small:
            closed, reverse = (torch.stack(parts) for parts in zip(*self._first, strict=True))
            apart = closed - reverse
        else:
            closed, reverse, apart = (total.sqrt() for total in self._squares)
        return JacobianView(
            parameter=self.name,
            formula=formula,
            shown=self._shown(samples, outputs),
            signed=self._small,
            closed=self._matrix(closed),
            reverse=self._matrix(reverse),
            difference=self._matrix(apart),
            largest=self._largest,
            apart=self._apart,
            entries=self._rows * self._squares[0].numel(),
        )

    def _matrix(self, tensor: Tensor) -> NDArray[np.float64]:
        return tensor.reshape(-1, self._columns).double().cpu().numpy()

    def _shown(self, samples: int, outputs: int) -> str:
        some = f"{outputs}" if self._outputs == outputs else f"the first {self._outputs} of {outputs:,}"
        matrix = self._squares[0].ndim == 2
        if self._small:
            limited = "" if self._outputs == outputs else f", {some} outputs k"
            axes = (
                "rows k, i; columns j"
                if matrix
                else "rows k; columns j"
                if self.name == "input"
                else "rows k; columns i"
            )
            return f"sample 0{limited}; {axes}"
        axes = "rows i, columns j" if matrix else "columns j" if self.name == "input" else "columns i"
        return f"norm over {samples} sample{'s' if samples > 1 else ''} and {some} outputs; {axes}"
