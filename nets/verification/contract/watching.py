"""The nodes of a recorded graph, watched while a backward pass runs through them."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from torch import Tensor

from nets.verification.problem.pytree import as_real


def nodes_of(outputs: Iterable[Tensor]) -> Iterator[Any]:
    """Every node of the graph beneath some tensors, each once."""
    waiting = [y.grad_fn for y in outputs if y.grad_fn is not None]
    seen = set(waiting)
    while waiting:
        node = waiting.pop()
        yield node
        for inner, _ in node.next_functions:
            if inner is not None and inner not in seen:
                seen.add(inner)
                waiting.append(inner)


def written_in_python(node: Any) -> bool:
    """Whether it is the backward of a `torch.autograd.Function` that is not one of PyTorch's own."""
    function = getattr(node, "_forward_cls", None)
    return function is not None and not _of_torch(function)


def _of_torch(function: type) -> bool:
    # What torch.library makes for an operator of the user's is defined there as well.
    return function.__module__.startswith("torch.") and not function.__module__.startswith("torch._library")


def name_of(node: Any) -> str:
    """What a reader knows a node by: the Function whose backward it is, or PyTorch's own name."""
    return f"{node._forward_cls.__name__}.backward" if written_in_python(node) else str(node.name())


class Watch:
    """While active, finds out which backward of a `torch.autograd.Function` writes into the gradient that it is given.

    Attributes:
        written: their names.
    """

    def __init__(self, outputs: Iterable[Tensor]) -> None:
        self.written: list[str] = []
        self._nodes = [node for node in nodes_of(outputs) if written_in_python(node)]
        self._handles: list[Any] = []

    def __enter__(self) -> "Watch":
        for node in self._nodes:
            before, after = self._pair(name_of(node))
            self._handles += [node.register_prehook(before), node.register_hook(after)]
        return self

    def __exit__(self, *_: object) -> None:
        for handle in self._handles:
            handle.remove()

    def _pair(self, name: str) -> tuple[Callable[..., None], Callable[..., None]]:
        """Hooks that run before and after a backward."""
        given: list[tuple[Tensor, Tensor]] = []

        def before(gradients: tuple[Tensor | None, ...]) -> None:
            given[:] = [(g, g.clone()) for g in gradients if g is not None and g.layout == torch.strided]

        def after(_: object, __: object) -> None:
            if any(not same(g, was) for g, was in given):
                self.written.append(name)
            given.clear()

        return before, after


def raised_in_python(outputs: Iterable[Tensor], walk: Callable[[], object]) -> bool:
    """Whether it is the backward of a `torch.autograd.Function` that raises when these outputs are walked back from."""
    current: list[Any] = [None]

    def begin(node: Any) -> Callable[..., None]:
        def hook(_: object) -> None:
            current[0] = node

        return hook

    handles = [node.register_prehook(begin(node)) for node in nodes_of(outputs)]
    try:
        walk()
    except Exception:  # that is the question
        return current[0] is not None and written_in_python(current[0])
    finally:
        for handle in handles:
            handle.remove()
    return False


def same(one: Tensor, other: Tensor) -> bool:
    """Whether two tensors hold the same numbers, what is no number included."""
    # As real numbers, since complex ones in half precision cannot be compared.
    one, other = as_real(one), as_real(other)
    return torch.equal(one, other) or bool(((one == other) | ((one != one) & (other != other))).all())
