"""Whether a complex step is a derivative: only where every operation that it goes through is analytic.

An analytic function of a complex number has one derivative in every direction, so that f(p + i h t) has the imaginary part
h ∂f/∂t. |z|, conj z, Re z, a norm and a variance of complex numbers are not analytic: PyTorch computes them, and what a complex
step shows behind them is no derivative.
"""

from typing import Any

import torch
from torch import Tensor

from nets.torch_internals import TorchDispatchMode, operators, pytree

CONJUGATING = operators(
    "_conj _conj_physical conj_physical conj_physical_ vdot linalg_vecdot sgn sgn_ renorm renorm_ nan_to_num nan_to_num_ "
    "linalg_cholesky_ex cholesky cholesky_inverse cholesky_solve linalg_qr geqrf ormqr linalg_householder_product linalg_pinv "
    "linalg_lstsq _linalg_eigh _linalg_svd linalg_eig linalg_ldl_factor_ex linalg_ldl_solve _fft_c2r nonzero count_nonzero "
    "_local_scalar_dense"
)
"""Operations that give complex or whole numbers of complex ones and are not analytic in them, or whose result leaves PyTorch."""

LOOKING = operators("isnan isinf isfinite is_nonzero")
"""Questions whose answer does not change with an imaginary part of 1e-30."""


class NotAnalyticError(Exception):
    """An operation was given a number with an imaginary part, in which it is not analytic."""


class OnlyAnalytic(TorchDispatchMode):
    """While active, an operation that is not analytic raises NotAnalyticError where its input has an imaginary part.

    Not analytic is what gives real numbers of complex ones, such as an absolute value, a norm, a variance, a comparison or a
    conversion to real numbers; what is in CONJUGATING; and every operation that is not PyTorch's own, since nothing is known of it.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = [leaf for leaf in pytree.tree_leaves((args, kwargs or {})) if _moves(leaf)]
        known = func.namespace in ("aten", "prim", "prims")
        if given and func.overloadpacket not in LOOKING and (not known or func.overloadpacket in CONJUGATING):
            raise NotAnalyticError(str(func))
        result = func(*args, **(kwargs or {}))
        if given and func.overloadpacket not in LOOKING and any(map(_real, pytree.tree_leaves(result))):
            raise NotAnalyticError(str(func))
        return result


def _moves(leaf: Any) -> bool:
    """Whether it is a tensor of complex numbers, one of which has an imaginary part."""
    return isinstance(leaf, Tensor) and leaf.is_complex() and bool(torch.view_as_real(leaf.resolve_conj())[..., 1].any())


def _real(leaf: Any) -> bool:
    """Whether it is a tensor of real numbers or of truth values; whole numbers may be the order of pivots."""
    return isinstance(leaf, Tensor) and (leaf.is_floating_point() or leaf.dtype == torch.bool)
