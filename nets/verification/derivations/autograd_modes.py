"""Independent derivations of the same Jacobian: ∂Y_m/∂point, flattened to shape (M, P).

Each gives None where the module has no such derivation: no forward-mode rule, an operation that cannot be batched, a forward
that complex numbers cannot pass or that is not analytic.
"""

import contextlib
import warnings
from collections.abc import Callable, Iterator

import torch
from torch import Tensor
from torch.autograd import forward_ad
from torch.func import jvp, vmap

from nets.calculus.jacobians import jacobians
from nets.calculus.network import Network
from nets.text import one_line
from nets.verification.derivations.analytic import OnlyAnalytic
from nets.verification.problem.graph import rows_of
from nets.verification.problem.problem import Problem
from nets.verification.problem.randomness import signed, stream

CHUNK = 2**20
"""Numbers that a batch of moved parameters may hold: eight megabytes, beyond which it gets no faster."""

EVERY_COLUMN = 4_096
"""Numbers in a point up to which forward mode goes along each of them; beyond, it goes along random directions."""


def closed_form(network: Network, problem: Problem) -> dict[str, Tensor]:
    """The chain rule over the layers' own derivatives."""
    x = problem.points["input"]
    found = {}
    for name, jacobian in jacobians(network, x).items():
        if name not in problem.points:
            continue
        dense = jacobian.dense()
        # No sample's output depends on another sample: ∂Y_nk/∂X_mj = δ_nm ∂Y_nk/∂X_nj.
        rows = len(problem.y) // len(x)
        found[name] = (
            torch.block_diag(*dense.reshape(len(x), rows, -1)) if name == "input" else dense.reshape(len(problem.y), -1)
        )
    return found


def reverse_mode(problem: Problem) -> dict[str, Tensor]:
    """The module's own backward pass, as a user runs it, once for each output."""
    rows = list(rows_of(problem.record, range(len(problem.y))))
    return {name: torch.stack([row[name].reshape(-1) for row in rows]) for name in problem.points}


def batched_reverse(problem: Problem) -> dict[str, Tensor] | None:
    """The same backward pass under vmap, for all outputs at once."""
    with quiet():
        try:
            y, leaves = problem.record()
            eye = torch.eye(len(y), dtype=y.dtype)
            found = torch.autograd.grad(y, list(leaves.values()), eye, is_grads_batched=True, allow_unused=True)
        except Exception:  # whatever it is that cannot be batched
            return None
    jacobian = {}
    for (name, leaf), gradient in zip(leaves.items(), found, strict=True):
        dense = torch.zeros(len(y), *leaf.shape, dtype=leaf.dtype) if gradient is None else gradient.detach()
        dense = torch.view_as_real(dense.resolve_conj()) if dense.is_complex() else dense
        jacobian[name] = dense.reshape(len(y), -1)
    return jacobian


def forward_mode(problem: Problem, name: str) -> Tensor | None:
    """Dual numbers along each entry of the point: no backward pass at all. Batched where that works, else one by one.

    None also for a point of more than EVERY_COLUMN numbers, see `forward_along`.
    """
    if problem.points[name].numel() > EVERY_COLUMN or not problem.reached(name):
        return None
    return _by_columns(*_dual(problem, name), problem.points[name], problem.random)


def forward_along(problem: Problem, name: str, directions: Tensor) -> Tensor | None:
    """∂Y/∂t by dual numbers along some directions, shape (T, *point.shape); of shape (M, T)."""
    _, single = _dual(problem, name)
    if not problem.reached(name):
        return None
    with quiet(), torch.no_grad():
        try:
            return torch.stack([single(t) for t in directions], 1)
        except Exception:  # as in _by_columns
            return None


def why_no_forward_mode(problem: Problem, name: str) -> tuple[str, bool]:
    """Why a point has no forward mode, and whether that is for a reason of ours rather than for want of a rule."""
    if not problem.reached(name):
        return f"{name} cannot be replaced by a dual number, since the module also reads it from elsewhere", True
    _, single = _dual(problem, name)
    with quiet(), torch.no_grad():
        try:
            single(torch.ones_like(problem.points[name]))
        except Exception as error:  # as in _by_columns
            return f"{type(error).__name__}: {one_line(error)}", False
    return "forward mode works along a direction and not along each entry", True


def _dual(problem: Problem, name: str) -> tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]:
    """t → ∂Y/∂t by dual numbers, to be batched, and not to be."""
    point = problem.points[name]

    def batched(t: Tensor) -> Tensor:
        return jvp(lambda p: problem.along(name, p), (point,), (t,))[1]

    def single(t: Tensor) -> Tensor:
        with forward_ad.dual_level():
            moved = problem.along(name, forward_ad.make_dual(point, t))
            tangent = forward_ad.unpack_dual(moved).tangent
        return torch.zeros_like(problem.y) if tangent is None else tangent

    return batched, single


def complex_step(problem: Problem, name: str, h: float = 1e-30) -> Tensor | None:
    """Im f(p + i h t) / h: a difference without a subtraction, so exact to rounding, and the same for every small h, where f is
    analytic. None where an operation on the way is not.

    Source: Squire, Trapp, "Using complex variables to estimate derivatives of real functions", SIAM Review 40 (1998).
    """
    point = problem.points[name]

    def single(t: Tensor) -> Tensor:
        return problem.in_complex({**problem.points, name: torch.complex(point, h * t)}).imag / h

    if not problem.reached(name) or not _analytic_operations(problem, name, h):
        return None
    return _by_columns(None, single, point, problem.random)


def _analytic_operations(problem: Problem, name: str, h: float) -> bool:
    """Whether a step along a direction without zeros meets no operation that is not analytic: then no other step does."""
    point = problem.points[name]
    t = signed(point.numel(), stream(problem.seed, "complex direction", name)).to(point.dtype).reshape(point.shape)
    with quiet(), torch.no_grad():
        try:
            with OnlyAnalytic():
                problem.in_complex({**problem.points, name: torch.complex(point, h * t)})
        except Exception:  # not analytic, or whatever a module raises at numbers of another kind
            return False
    return True


def is_analytic(problem: Problem, name: str, jacobian: Tensor) -> bool:
    """Whether a complex step gives the same with a step 10¹⁰ times as large: by x|x| at zero, which is not analytic, it gives h."""
    wider = complex_step(problem, name, 1e-20)
    return wider is not None and bool((jacobian - wider).abs().max() <= 1e-6 * wider.abs().max())


def _by_columns(
    batched: Callable[[Tensor], Tensor] | None, single: Callable[[Tensor], Tensor], point: Tensor, random: bool
) -> Tensor | None:
    """∂Y/∂point from ∂Y/∂t along one unit direction t per entry."""
    with quiet(), torch.no_grad():
        if batched is not None and not random:
            with contextlib.suppress(Exception):
                return torch.cat([vmap(batched)(directions) for directions in _directions(point)]).mT
        try:
            return torch.stack([single(t) for directions in _directions(point) for t in directions], 1)
        except Exception:  # a module may raise whatever it likes at numbers of another kind
            return None


def _directions(point: Tensor) -> Iterator[Tensor]:
    """Unit directions, as many at a time as fit the chunk."""
    count = point.numel()
    width = max(1, min(count, CHUNK // count))
    for start in range(0, count, width):
        entries = torch.arange(start, min(start + width, count))
        directions = torch.zeros(len(entries), count, dtype=point.dtype)
        directions[torch.arange(len(entries)), entries] = 1
        yield directions.reshape(len(entries), *point.shape)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Without the warnings of torch about its own batching rules and deprecated compiler, which are none of the user's."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        # What is written from C++, past Python's filters.
        torch._C._functorch._set_vmap_fallback_warning_enabled(False)  # type: ignore[attr-defined]
        try:
            yield
        finally:
            torch._C._functorch._set_vmap_fallback_warning_enabled(True)  # type: ignore[attr-defined]
