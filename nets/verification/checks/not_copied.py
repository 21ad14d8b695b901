"""Parts of a module that its copy, which is checked, does not have: a verdict on the copy would not hold for the
module."""

import dis
from collections.abc import Iterator
from types import CodeType, FunctionType
from typing import Any

from torch import Tensor, nn

from nets.records.check import Check
from nets.records.method import Method
from nets.records.reason import Reason
from nets.records.verdict import Verdict
from nets.text import listed
from nets.torch_internals import accumulation_hook_table, gradient_hooks, is_compiled, module_hooks
from nets.verification.problem.copies import stored_graphs
from nets.verification.problem.problem import Problem


def check_left_out(module: nn.Module, problem: Problem) -> list[Check]:
    """An inconclusive check for everything that the module has and the problem, its copy, does not."""
    found = []
    stale = list(_kept_graphs(module, problem))
    if stale:
        found.append(
            f"the graph of {listed(stale)}, which an earlier call has recorded and this one does not record again"
        )
    compiled = [name or "the module" for name, inner in module.named_modules() if is_compiled(inner)]
    if compiled:
        found.append(f"the compiled form of {listed(compiled)}: the module was checked as it is written in Python")
    hooked = [name for name, parameter in module.named_parameters() if accumulation_hook_table(parameter)]
    if hooked:
        # Such a hook may make a step of an optimizer, which would move the caller's parameters.
        found.append(f"hooks that run after the accumulation in .grad of {listed(hooked)} are not run")
    bound = list(dict.fromkeys(_bound_to_the_original(module)))
    if bound:
        found.append(
            f"{listed(bound)} refers to the module that was given, in a copy as well: take the module from the "
            "arguments"
        )
    return [
        Check.without_entry(
            "all", Method.REVERSE_MODE, Method.ITSELF, Verdict.INCONCLUSIVE, Reason.LEFT_OUT.because(what=what)
        )
        for what in found
    ]


def _kept_graphs(module: nn.Module, problem: Problem) -> Iterator[str]:
    """Attributes that hold a tensor with a graph, and that a call of the copy does not set again."""
    graphs = dict.fromkeys((name, attribute) for name, attribute, _ in stored_graphs(module))
    if graphs:
        problem.record()
    for name, attribute in graphs:
        value = vars(problem.module.get_submodule(name)).get(attribute)
        if isinstance(value, Tensor) and value.grad_fn is None:
            yield f"{name}.{attribute}" if name else attribute


def _bound_to_the_original(module: nn.Module) -> Iterator[str]:
    """Functions in hooks and attributes that refer to the module or a part of it, by their closure or by globals that
    they use."""
    own = {id(part) for part in (*module.modules(), *module.parameters(), *module.buffers())}
    for name, function in _functions(module):
        if isinstance(function, FunctionType) and any(id(value) in own for value in _used_by(function)):
            yield name


def _functions(module: nn.Module) -> Iterator[tuple[str, Any]]:
    """The hooks and attributes of a module, its submodules and its parameters, by name."""
    for name, inner in module.named_modules():
        yield from ((f"a hook of {name or 'the module'}", hook) for hook in module_hooks(inner))
        yield from ((f"{name}.{key}" if name else key, value) for key, value in vars(inner).items())
    for name, parameter in module.named_parameters():
        yield from ((f"a hook of {name}", hook) for hook in gradient_hooks(parameter))


def _used_by(function: FunctionType) -> Iterator[Any]:
    """The objects in the closure and the defaults of a function, and the globals that it reads."""
    for cell in function.__closure__ or ():
        try:
            yield cell.cell_contents
        except ValueError:  # not assigned yet
            continue
    yield from function.__defaults__ or ()
    yield from (function.__globals__[name] for name in _globals_of(function.__code__) if name in function.__globals__)


def _globals_of(code: CodeType) -> Iterator[str]:
    yield from (step.argval for step in dis.get_instructions(code) if step.opname == "LOAD_GLOBAL")
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _globals_of(constant)
