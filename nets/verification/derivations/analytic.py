"""Whether a complex step is a derivative: only where every operation that it passes is analytic.

An analytic function of a complex number has the same derivative in every direction, so f(p + i h t) has the imaginary
part h ∂f/∂t. |z|, conj z, Re z, a norm and a variance of complex numbers are not analytic. PyTorch computes them all
the same, and the imaginary part that comes out is no derivative.
"""

from typing import Any

import torch
from torch import Tensor

from nets.torch_internals import TorchDispatchMode, operators, pytree

CONJUGATING = operators(
    "_conj _conj_physical conj_physical conj_physical_ vdot linalg_vecdot sgn sgn_ renorm renorm_ nan_to_num "
    "nan_to_num_ linalg_cholesky_ex cholesky cholesky_inverse cholesky_solve linalg_qr geqrf ormqr "
    "linalg_householder_product linalg_pinv linalg_lstsq _linalg_eigh _linalg_svd linalg_eig linalg_ldl_factor_ex "
    "linalg_ldl_solve _fft_c2r nonzero count_nonzero _local_scalar_dense"
)
"""Operations that are not analytic though they return complex or whole numbers, or whose result leaves PyTorch."""

PREDICATES = operators("isnan isinf isfinite is_nonzero")
"""Tests whose result does not change with an imaginary part of 1e-30."""


class NotAnalyticError(RuntimeError):
    """An operation that is not analytic was given a number with an imaginary part."""


class OnlyAnalytic(TorchDispatchMode):
    """While active, an operation that is not analytic raises NotAnalyticError where its input has an imaginary part.

    Three kinds of operations count as not analytic: those that return real numbers for complex ones, such as an
    absolute value, a norm, a variance, a comparison or a conversion; those in CONJUGATING; and those that are not
    PyTorch's own, since nothing is known about them.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = [leaf for leaf in pytree.tree_leaves((args, kwargs or {})) if _has_imaginary_part(leaf)]
        known = func.namespace in ("aten", "prim", "prims")
        if given and func.overloadpacket not in PREDICATES and (not known or func.overloadpacket in CONJUGATING):
            raise NotAnalyticError(str(func))
        result = func(*args, **(kwargs or {}))
        if given and func.overloadpacket not in PREDICATES and any(map(_is_real, pytree.tree_leaves(result))):
            raise NotAnalyticError(str(func))
        return result


def _has_imaginary_part(leaf: Any) -> bool:
    """Whether it is a complex tensor, and one of its numbers has an imaginary part."""
    return (
        isinstance(leaf, Tensor) and leaf.is_complex() and bool(torch.view_as_real(leaf.resolve_conj())[..., 1].any())
    )


def _is_real(leaf: Any) -> bool:
    """Whether it is a tensor of real numbers or of truth values. Whole numbers do not count: they may be a
    permutation."""
    return isinstance(leaf, Tensor) and (leaf.is_floating_point() or leaf.dtype == torch.bool)
