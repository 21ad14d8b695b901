"""Where in a deep module a gradient goes wrong: each submodule by itself, at the inputs that it has within the module.

A call of the module is recorded as a tree of calls of its submodules. The vector-Jacobian product of each child is held against
differences of that child alone, along random directions. The search goes on in the first child that is wrong, until there is none:
then the fault lies in that submodule, outside its children.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from nets.records.check import Check
from nets.records.location import Location
from nets.records.method import Method
from nets.records.verdict import Verdict
from nets.verification.checks.preconditions import check_behaviour
from nets.verification.noise.output_noise import FEW_PASSES, output_floor
from nets.verification.probing.prober import Prober
from nets.verification.problem.problem import Problem

AGAIN = 2
"""Fresh directions along which a gradient must be wrong as well, since a step may cross a kink by accident."""


@dataclass
class Call:
    """One call of a submodule within the module.

    Attributes:
        name: its dotted name.
        module: the submodule.
        arguments: what it was given: positional arguments and those by name, the tensors as copies without a graph.
        children: the calls that it made itself.
    """

    name: str
    module: nn.Module
    arguments: tuple[tuple[Any, ...], dict[str, Any]]
    children: list["Call"] = field(default_factory=list)


@dataclass(frozen=True)
class _Fixed:
    """A tensor that is not differentiated by, such as a mask."""

    tensor: Tensor


class _Alone(nn.Module):
    """A submodule to be called alone.

    Args:
        module: the submodule.
        arguments: what it is given. Its inputs are the tensors that have a graph, with zeros for what is not finite, such as a mask
            of −∞, which is put back.
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
        # As a list, which no one takes for buffers of the module.
        self._infinite = [leaves[i].detach() for i in self._given]

    def forward(self, *inputs: Tensor) -> Any:
        leaves = [leaf.clone() if isinstance(leaf, Tensor) else leaf for leaf in self._leaves]
        for i, given, was in zip(self._given, inputs, self._infinite, strict=True):
            leaves[i] = given if was.isfinite().all() else torch.where(was.isfinite(), given, was)
        positional, named = self._structured(leaves)
        return self.module(*positional, **named)


def _finite(tensor: Tensor) -> Tensor:
    return torch.where(tensor.isfinite(), tensor, 0.0).detach().requires_grad_()


def locate(problem: Problem, checks: Sequence[Check], seed: int) -> Location | None:
    """The submodule that a wrong backward pass comes from; None where the module has no children, or no part of it can be shown to
    be wrong alone.

    Args:
        problem: the module at its point.
        checks: those of its certificate.
    """
    failed = any(check.verdict == Verdict.FAIL and check.oracle == Method.REVERSE_MODE for check in checks)
    if not failed or not any(True for _ in problem.module.children()):
        return None
    root = recorded(problem)
    if root is None:
        return None
    here, also, untried = _Tried(root, ()), dict[str, None](), list[str]()
    while True:
        found, untried = _wrong_children(here.call, seed)
        if not found:
            break
        here, *rest = found
        also |= dict.fromkeys(one.call.name for one in rest if one.call.name != here.call.name)
    wrong = here.wrong if here.call is not root else wrong_points(root, seed)
    if wrong is None or (here.call is root and not wrong):
        return None
    failing, passing = _bounds(root, checks)
    call, by = here.call, () if "all" in wrong else wrong
    kind, itself = type(call.module).__name__, bool(call.children)
    return Location(call.name, kind, itself, by, tuple(also), tuple(untried), failing, passing)


class _Tried(NamedTuple):
    """A call and its points whose gradient is wrong."""

    call: Call
    wrong: tuple[str, ...]


def _wrong_children(call: Call, seed: int) -> tuple[list[_Tried], list[str]]:
    """Those of its children that are wrong alone; and the names of those that cannot be called alone. What those call themselves
    stands in their place."""
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


def recorded(problem: Problem) -> Call | None:
    """A call of the module as a tree; None where it cannot be called with a graph."""
    names = {module: name for name, module in problem.module.named_modules()}
    open_calls: list[Call] = []
    roots: list[Call] = []

    def enter(module: nn.Module, positional: tuple[Any, ...], named: dict[str, Any]) -> None:
        call = Call(names[module], module, pytree.tree_map_only(Tensor, _kept, (positional, named)))
        (open_calls[-1].children if open_calls else roots).append(call)
        open_calls.append(call)

    def leave(*_: object) -> None:
        open_calls.pop()

    with _hooked(names, enter, leave):
        try:
            problem.record()
        except Exception:  # a module may raise whatever it likes
            return None
    return roots[0] if roots else None


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


def wrong_points(call: Call, seed: int) -> tuple[str, ...] | None:
    """The parameters and inputs of a submodule by which its own gradient is wrong, 'all' where its backward pass fails; none where
    all are right. None where nothing can be told, as where it returns no tensor."""
    try:
        with torch.enable_grad():
            alone = _Alone(call.module, call.arguments)
            problem = Problem(alone, alone.inputs, seed=seed)
            failed, _ = check_behaviour(problem, seed)
            if failed:
                own = tuple(
                    check.parameter for check in failed if check.verdict == Verdict.FAIL and check.oracle == Method.REVERSE_MODE
                )
                return own or None
            prober = Prober(problem, output_floor(problem, seed, FEW_PASSES), seed)
            return tuple(name.removeprefix("module.") for name in problem.points if _is_wrong(prober, name))
    except Exception:  # a submodule may raise whatever it likes when it is called alone
        return None


def _is_wrong(prober: Prober, name: str) -> bool:
    everything = slice(0, prober.problem.points[name].numel())
    probes = (prober.measured(name, everything) for _ in range(1 + AGAIN))
    return all(probe.excess > 1 and not probe.kinked for probe in probes)


def _bounds(root: Call, checks: Sequence[Check]) -> tuple[str, str]:
    """The last submodule up to which all gradients are wrong and the first from which on all are right, in the order of the forward
    pass; empty where the two are mixed."""
    order = {name: place for place, name in enumerate(dict.fromkeys(_names(root)))}
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


def _names(call: Call) -> Iterator[str]:
    yield call.name
    for child in call.children:
        yield from _names(child)
