"""The nodes of a recorded graph, observed while a backward pass runs through them."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

from nets.torch_internals import custom_function
from nets.verification.attempt import Unavailable, attempt
from nets.verification.problem.graph import nodes_of
from nets.verification.problem.pytree import same_numbers


def is_custom(node: Any) -> bool:
    """Whether a node is the backward of a `torch.autograd.Function` that does not belong to PyTorch."""
    return custom_function(node) is not None


def name_of(node: Any) -> str:
    """The name of a node: the Function whose backward it is, or PyTorch's name."""
    function = custom_function(node)
    return str(node.name()) if function is None else f"{function.__name__}.backward"


class WatchWrites:
    """A context that finds out which backward of a custom Function writes into its incoming gradient.

    Attributes:
        written: the names of their nodes.
    """

    def __init__(self, outputs: Iterable[Tensor]) -> None:
        self.written: list[str] = []
        self._nodes = [node for node in nodes_of(outputs) if is_custom(node)]
        self._handles: list[Any] = []

    def __enter__(self) -> "WatchWrites":
        for node in self._nodes:
            before, after = self._hooks(name_of(node))
            self._handles += [node.register_prehook(before), node.register_hook(after)]
        return self

    def __exit__(self, *_: object) -> None:
        for handle in self._handles:
            handle.remove()

    def _hooks(self, name: str) -> tuple[Callable[..., None], Callable[..., None]]:
        """Hooks that run before and after a backward."""
        given: list[tuple[Tensor, Tensor]] = []

        def before(gradients: tuple[Tensor | None, ...]) -> None:
            given[:] = [(g, g.clone()) for g in gradients if g is not None and g.layout == torch.strided]

        def after(_: object, __: object) -> None:
            if any(not same_numbers(g, was) for g, was in given):
                self.written.append(name)
            given.clear()

        return before, after


def custom_backward_raises(outputs: Iterable[Tensor], backward_pass: Callable[[], object]) -> bool:
    """Whether a backward pass from these outputs raises inside the backward of a custom Function."""
    current: list[Any] = [None]

    def begin(node: Any) -> Callable[..., None]:
        def hook(_: object) -> None:
            current[0] = node

        return hook

    handles = [node.register_prehook(begin(node)) for node in nodes_of(outputs)]
    found = attempt(backward_pass)
    for handle in handles:
        handle.remove()
    return isinstance(found, Unavailable) and current[0] is not None and is_custom(current[0])
