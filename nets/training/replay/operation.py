"""One operation of a recorded computation, and the tensors among its arguments and results."""

from typing import Any, NamedTuple

from torch import Tensor

from nets.torch_internals import pytree, schema


class Value:
    """A tensor that has been made by an operation, without its numbers.

    Args:
        tensor: what it describes.
        view: whether the tensor is a view of one that the function has not made, unless `shown` is given.
        shown: the value that the tensor is a view of.

    Attributes:
        shape, stride, dtype: of the tensor.
        memory: equal for values that share memory; None for a view of a tensor that no operation has made.
    """

    __slots__ = ("dtype", "memory", "shape", "stride")

    def __init__(self, tensor: Tensor, view: bool, shown: "Value | None" = None) -> None:
        self.shape, self.stride, self.dtype = tensor.shape, tensor.stride(), tensor.dtype
        self.memory: int | None = shown.memory if shown is not None else None if view else id(self)


class Operation(NamedTuple):
    """One call that reached the dispatcher, and what it returned. A `Value` may stand for a tensor."""

    function: Any
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    result: Any = None

    @property
    def views(self) -> bool:
        """Whether the result is a view of an argument."""
        return any(
            value.alias_info is not None and not value.alias_info.is_write for value in schema(self.function).returns
        )

    @property
    def writes(self) -> bool:
        """Whether the result is an argument that the operation has written to."""
        return any(
            value.alias_info is not None and value.alias_info.is_write for value in schema(self.function).returns
        )

    @property
    def written(self) -> list[Any]:
        """The arguments that the operation writes to."""
        found = []
        for place, argument in enumerate(schema(self.function).arguments):
            if argument.alias_info is not None and argument.alias_info.is_write:
                found.append(self.args[place] if place < len(self.args) else self.kwargs.get(argument.name))
        return [leaf for leaf in pytree.tree_leaves(found) if leaf is not None]


def tensors(tree: Any) -> list[Tensor]:
    """Every tensor among arguments or results."""
    return [leaf for leaf in pytree.tree_leaves(tree) if isinstance(leaf, Tensor)]


def values(tree: Any) -> list[Value]:
    """Every value among arguments or results."""
    return [leaf for leaf in pytree.tree_leaves(tree) if isinstance(leaf, Value)]
