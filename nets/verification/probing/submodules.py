"""Which submodule of a deep module has a wrong gradient: each is tried alone, at the inputs that it has within the
module.

A call of the module is recorded as a tree of calls of its submodules. The vector-Jacobian product of each child is
compared with differences of that child alone, along random directions. The search continues inside the first child that
is wrong. If no child of a submodule is wrong, the fault is in that submodule itself.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from nets.records.check import Check
from nets.records.location import Location
from nets.records.method import Method
from nets.records.verdict import Verdict
from nets.torch_internals import pytree
from nets.verification.attempt import Available, attempt
from nets.verification.checks.preconditions import check_preconditions
from nets.verification.noise.output_noise import FEW_PASSES, output_floor
from nets.verification.probing.layers import locate_layer
from nets.verification.probing.prober import Prober
from nets.verification.problem.problem import Problem

AGAIN = 2
"""Further directions along which a gradient must be wrong, since a step may cross a kink by accident."""


@dataclass
class SubmoduleCall:
    """One call of a submodule within the module.

    Attributes:
        name: its dotted name.
        module: the submodule.
        arguments: its positional and its keyword arguments, the tensors as copies without a graph.
        children: the calls that it made itself.
    """

    name: str
    module: nn.Module
    arguments: tuple[tuple[Any, ...], dict[str, Any]]
    children: list["SubmoduleCall"] = field(default_factory=list)


@dataclass(frozen=True)
class _Fixed:
    """A tensor with no gradient, such as a mask."""

    tensor: Tensor


class _Alone(nn.Module):
    """A submodule to be called alone.

    Args:
        module: the submodule.
        arguments: its arguments. Its inputs are those tensors that had a graph. Numbers that are not finite, such as a
            mask of −∞, are zero in the inputs, and are put back in the call.
    """

    def __init__(self, module: nn.Module, arguments: tuple[tuple[Any, ...], dict[str, Any]]) -> None:
        super().__init__()
        self.module = module
        leaves, structure = pytree.tree_flatten(arguments)
        self._leaves = [leaf.tensor if isinstance(leaf, _Fixed) else leaf for leaf in leaves]
        self._given = [i for i, leaf in enumerate(leaves) if isinstance(leaf, Tensor)]
        # A function, since a copy of the module copies every other attribute.
        self._structured: Callable[[list[Any]], Any] = lambda leaves: pytree.tree_unflatten(leaves, structure)
        self.inputs = tuple(_finite(leaves[i]) for i in self._given)
        # In a list, so that they are not taken for buffers.
        self._infinite = [leaves[i].detach() for i in self._given]

    def forward(self, *inputs: Tensor) -> Any:
        leaves = [leaf.clone() if isinstance(leaf, Tensor) else leaf for leaf in self._leaves]
        for i, given, was in zip(self._given, inputs, self._infinite, strict=True):
            leaves[i] = given if was.isfinite().all() else torch.where(was.isfinite(), given, was)
        positional, named = self._structured(leaves)
        return self.module(*positional, **named)


def _finite(tensor: Tensor) -> Tensor:
    return torch.where(tensor.isfinite(), tensor, 0.0).detach().requires_grad_()


def locate(problem: Problem, checks: Sequence[Check]) -> Location | None:
    """The submodule that causes a wrong backward pass; for a `Network`, the layer that causes a wrong closed form.

    None if the module has no children, or no part of it can be shown to be wrong alone.

    Args:
        problem: the module at its point.
        checks: those of its certificate.
    """
    wrong_derivations = {check.oracle for check in checks if check.verdict == Verdict.FAIL}
    if Method.CLOSED_FORM in wrong_derivations:
        return locate_in_network(problem, checks)
    if Method.REVERSE_MODE not in wrong_derivations or not any(True for _ in problem.module.children()):
        return None
    root = recorded(problem)
    if root is None:
        return None
    here, also, untried = _Tried(root, ()), dict[str, None](), list[str]()
    while True:
        found, untried = _wrong_children(here.call, problem.seed)
        if not found:
            break
        here, *rest = found
        also |= dict.fromkeys(one.call.name for one in rest if one.call.name != here.call.name)
    wrong = here.wrong if here.call is not root else wrong_points(root, problem.seed)
    if wrong is None or (here.call is root and not wrong):
        return None
    failing, passing = _bounds(dict.fromkeys(_names(root)), checks)
    call, by = here.call, () if "all" in wrong else wrong
    kind, itself = type(call.module).__name__, bool(call.children)
    return Location(call.name, kind, itself, by, tuple(also), tuple(untried), failing, passing)


def locate_in_network(problem: Problem, checks: Sequence[Check]) -> Location | None:
    """The layer of a `Network` that a wrong closed form comes from; None if no layer is shown to be wrong alone."""
    found = problem.call_with(lambda network, x: locate_layer(network, x, problem.seed))
    if found is None or found.order == 2:  # the first derivatives, which have names, are right
        return found
    failing, passing = _bounds(("", *(name for name, _ in problem.module.named_children())), checks)
    return replace(found, failing=failing, passing=passing)


class _Tried(NamedTuple):
    """A call, and its points whose gradient is wrong."""

    call: SubmoduleCall
    wrong: tuple[str, ...]


def _wrong_children(call: SubmoduleCall, seed: int) -> tuple[list[_Tried], list[str]]:
    """The children that are wrong alone, and the names of the children that cannot be called alone.

    The children of a child that cannot be called alone take its place.
    """
    found, untried = list[_Tried](), list[str]()
    for child in call.children:
        wrong = wrong_points(child, seed)
        if wrong is None:
            inner, _ = _wrong_children(child, seed)
            found += inner
            untried.append(child.name)
        elif wrong:
            found.append(_Tried(child, wrong))
    return found, list(dict.fromkeys(untried))


def recorded(problem: Problem) -> SubmoduleCall | None:
    """A call of the module as a tree; None if it cannot be called with a graph."""
    names = {module: name for name, module in problem.module.named_modules()}
    open_calls: list[SubmoduleCall] = []
    roots: list[SubmoduleCall] = []

    def enter(module: nn.Module, positional: tuple[Any, ...], named: dict[str, Any]) -> None:
        call = SubmoduleCall(names[module], module, pytree.tree_map_only(Tensor, _kept, (positional, named)))
        (open_calls[-1].children if open_calls else roots).append(call)
        open_calls.append(call)

    def leave(*_: object) -> None:
        open_calls.pop()

    with _hooked(names, enter, leave):
        recorded = attempt(problem.record)
    return roots[0] if roots and isinstance(recorded, Available) else None


def _kept(tensor: Tensor) -> Tensor | _Fixed:
    """A copy without a graph; fixed where the tensor had none."""
    copy = tensor.detach().clone()
    return copy.requires_grad_() if tensor.requires_grad else _Fixed(copy)


@contextmanager
def _hooked(modules: Iterable[nn.Module], enter: Any, leave: Any) -> Iterator[None]:
    handles = []
    for module in modules:
        handles.append(module.register_forward_pre_hook(enter, prepend=True, with_kwargs=True))
        handles.append(module.register_forward_hook(leave, always_call=True))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def wrong_points(call: SubmoduleCall, seed: int) -> tuple[str, ...] | None:
    """The parameters and inputs by which a submodule's own gradient is wrong, 'all' if its backward pass fails; () if
    all are right.

    None if the submodule cannot be checked alone, for example since it returns no tensor.
    """
    with torch.enable_grad():
        return attempt(lambda: _wrong_points(call, seed)).or_none()


def _wrong_points(call: SubmoduleCall, seed: int) -> tuple[str, ...] | None:
    alone = _Alone(call.module, call.arguments)
    problem = Problem(alone, alone.inputs, seed=seed)
    own_names = {f"module.{name}": name for name, _ in call.module.named_parameters()}
    fatal = check_preconditions(problem).fatal
    if fatal:
        failed = [c.parameter for c in fatal if c.verdict == Verdict.FAIL and c.oracle == Method.REVERSE_MODE]
        return tuple(own_names.get(name, name) for name in failed) or None
    prober = Prober(problem, output_floor(problem, seed, FEW_PASSES))
    return tuple(own_names.get(name, name) for name in problem.points if _is_wrong(prober, name))


def _is_wrong(prober: Prober, name: str) -> bool:
    everything = slice(0, prober.problem.points[name].numel())
    probes = (prober.measured(name, everything) for _ in range(1 + AGAIN))
    return all(probe.excess > 1 and not probe.kinked for probe in probes)


def _bounds(names: Iterable[str], checks: Sequence[Check]) -> tuple[str, str]:
    """The last of the submodules whose gradients are wrong, and the first of those whose gradients are right; '' for
    both if wrong ones also come after right ones.

    Args:
        names: of the submodules, in the order of the forward pass.
        checks: of the certificate.
    """
    order = {name: place for place, name in enumerate(names)}
    failing, passing = dict[int, str](), dict[int, str]()
    for name in dict.fromkeys(check.parameter for check in checks):
        own = {check.verdict for check in checks if check.parameter == name}
        owner = name.rpartition(".")[0]
        if owner not in order:
            continue
        (failing if Verdict.FAIL in own else passing)[order[owner]] = owner
    if not failing or not passing or max(failing) >= min(passing):
        return "", ""
    return failing[max(failing)], passing[min(passing)]


def _names(call: SubmoduleCall) -> Iterator[str]:
    yield call.name
    for child in call.children:
        yield from _names(child)
