"""Right numbers in wrong places: transposed, conjugated, shifted, or the same for every output."""

import torch
from torch import Tensor

from nets.records.reason import Finding, Reason
from nets.verification.fault_patterns.fault import Fault


def cotangent_ignored(fault: Fault) -> Finding | None:
    """A backward that does not use its incoming gradient gives the same for every output."""
    same = len(fault.actual) > 1 and fault.like(fault.actual[:1].expand_as(fault.actual))
    if same and not bool(((fault.expected - fault.expected[:1]).abs() <= fault.tolerance).all()):
        return Reason.COTANGENT_IGNORED.because()
    return None


def transposed(fault: Fault) -> Finding | None:
    shape = fault.shape
    if len(shape) != 2 or min(shape) < 2 or fault.problem.is_complex(fault.name):
        return None
    turned = fault.expected.reshape(-1, *shape).mT.reshape(fault.expected.shape)
    return Reason.TRANSPOSED.because() if fault.like(turned) else None


def conjugated(fault: Fault) -> Finding | None:
    """Imaginary parts of the wrong sign: of the gradient, of the incoming gradient, or of the number it is multiplied
    by."""
    columns = torch.ones(fault.shape, dtype=fault.expected.dtype)
    if fault.problem.is_complex(fault.name):
        columns[..., 1] = -1
    columns, rows = columns.reshape(1, -1), fault.problem.outputs.signs.to(fault.expected.dtype)[:, None]
    # The same sign for all entries is no conjugation.
    signs = [
        sign
        for sign in (columns * rows, columns.expand_as(fault.expected), rows.expand_as(fault.expected))
        if sign.min() < 0
    ]
    return Reason.NOT_CONJUGATED.because() if any(fault.like(sign * fault.expected) for sign in signs) else None


def shifted(fault: Fault) -> Finding | None:
    """Each number is in the place of its neighbour along one axis, of the point or of the output. At the edge any
    number may be."""
    for axis, size in enumerate(fault.shape):
        if size > 2 and any(_neighbours(fault, (len(fault.actual), *fault.shape), axis + 1, by) for by in (1, -1)):
            return Reason.SHIFTED.because(axis=axis, name=fault.name)
    outputs = list(fault.problem.outputs.shapes().items())
    if len(outputs) == 1:
        ((name, shape),) = outputs
        for axis, size in enumerate(shape):
            if size > 2 and any(_neighbours(fault, (*shape, fault.actual.shape[1]), axis, by) for by in (1, -1)):
                return Reason.SHIFTED.because(axis=axis, name=name)
    return None


def _neighbours(fault: Fault, shape: tuple[int, ...], axis: int, by: int) -> bool:
    """Whether the Jacobian, of that shape, is the right one shifted along the axis, except at the edge."""
    moved, edge = fault.expected.reshape(shape).roll(by, axis), 0 if by == 1 else shape[axis] - 1
    inner = [k for k in range(shape[axis]) if k != edge]
    actual, own = (part.reshape(shape) for part in (fault.actual, fault.tolerance.expand_as(fault.actual)))
    tolerance = torch.maximum(own, own.roll(by, axis))

    def within(tensor: Tensor) -> Tensor:
        return tensor.index_select(axis, torch.tensor(inner))

    fits = (within(actual - moved).abs() <= within(tolerance)).all()
    return bool(fits and (within(moved).abs() > within(tolerance)).any() and within(fault.wrong.reshape(shape)).any())


def symmetric(fault: Fault) -> Finding | None:
    """The gradient by a symmetric or Hermitian matrix of a function that reads one of its triangles.

    It is right along every symmetric direction, so its error is antisymmetric.
    """
    compound = fault.problem.is_complex(fault.name)
    matrix = fault.shape[:-1] if compound else fault.shape
    if len(matrix) < 2 or matrix[-1] != matrix[-2] or matrix[-1] < 2:
        return None

    def adjoint(tensor: Tensor) -> Tensor:
        if not compound:
            return tensor.mT
        return torch.view_as_real(torch.view_as_complex(tensor.contiguous()).mH.resolve_conj())

    point = fault.problem.points[fault.name]
    if not torch.allclose(adjoint(point), point, rtol=1e-9, atol=0):
        return None
    error, tolerance = (
        (t.expand_as(fault.actual)).reshape(-1, *fault.shape) for t in (fault.actual - fault.expected, fault.tolerance)
    )
    both = tolerance.reshape(-1, *matrix, 2).amax(-1, keepdim=True).transpose(-2, -3) if compound else tolerance.mT
    if bool(((error + adjoint(error)).abs() > tolerance + both).any()):
        return None
    return Reason.SYMMETRIC_MATRIX.because()
