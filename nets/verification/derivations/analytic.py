"""Whether a complex step is a derivative: only where every operation that it goes through is analytic.

An analytic function of a complex number has one derivative in every direction, so that f(p + i h t) has the imaginary part
h ∂f/∂t. |z|, conj z, Re z, a norm and a variance of complex numbers are not analytic: PyTorch computes them, and what a complex
step shows behind them is no derivative.
"""

from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

_aten = torch.ops.aten

CONJUGATING = {
    _aten._conj, _aten._conj_physical, _aten.conj_physical, _aten.conj_physical_, _aten.vdot, _aten.linalg_vecdot, _aten.sgn,
    _aten.sgn_, _aten.renorm, _aten.renorm_, _aten.nan_to_num, _aten.nan_to_num_, _aten.linalg_cholesky_ex, _aten.cholesky,
    _aten.cholesky_inverse, _aten.cholesky_solve, _aten.linalg_qr, _aten.geqrf, _aten.ormqr, _aten.linalg_householder_product,
    _aten.linalg_pinv, _aten.linalg_lstsq, _aten._linalg_eigh, _aten._linalg_svd, _aten.linalg_eig, _aten.linalg_ldl_factor_ex,
    _aten.linalg_ldl_solve, _aten._fft_c2r, _aten.nonzero, _aten.count_nonzero, _aten._local_scalar_dense,
}  # fmt: skip
"""Operations that give complex or whole numbers of complex ones and are not analytic in them, or whose result leaves PyTorch."""

LOOKING = {_aten.isnan, _aten.isinf, _aten.isfinite, _aten.is_nonzero}
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
