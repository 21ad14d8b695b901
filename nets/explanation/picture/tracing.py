"""What a Python function of tensors really did, operation by operation, whatever way its loops and conditions took.

Every operation is run a second time by itself, on detached inputs, and PyTorch's own backward pass of that single operation is the
local derivative: there is no second set of formulas here.
"""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils import _pytree as pytree

from nets.errors import InputError
from nets.explanation.picture.graph import Edge, Node
from nets.explanation.picture.operations import label

ENTRIES = 4_096
"""Numbers of a local Jacobian up to which it is looked at; beyond, only what it does to the gradient is."""


class Recorder(TorchFunctionMode):
    """While it is entered, the operations on tensors are noted as nodes.

    Args:
        given: name → tensor: what the function is given, and the parameters it may use.
    """

    def __init__(self, given: Mapping[str, tuple[Tensor, str]]) -> None:
        super().__init__()
        self.nodes: dict[int, tuple[Node, Tensor, int]] = {}
        for name, (tensor, kind) in given.items():
            self._know(tensor, Node(name, "", tensor.detach().clone(), kind))
        self.count = 0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        flat, _ = pytree.tree_flatten((args, kwargs))
        sources = [one for one in flat if isinstance(one, Tensor)]
        before = {id(one): (one.detach().clone(), self._node(one)) for one in sources if self._is_known(one)}
        state = torch.random.get_rng_state()
        result = func(*args, **kwargs)
        after = torch.random.get_rng_state()
        if before and any(known is not None for _, known in before.values()):
            torch.random.set_rng_state(state)
            self._note(func, args, kwargs, result, before)
            torch.random.set_rng_state(after)
        return result

    def node_of(self, tensor: Tensor) -> Node | None:
        """The node of a tensor that the function gave back."""
        return self._node(tensor) if self._is_known(tensor) else None

    def _know(self, tensor: Tensor, node: Node) -> None:
        # The tensor is kept, so that its id is not given to another.
        self.nodes[id(tensor)] = (node, tensor, tensor._version)

    def _is_known(self, tensor: Tensor) -> bool:
        return id(tensor) in self.nodes or (tensor.is_floating_point() and tensor.requires_grad)

    def _node(self, tensor: Tensor) -> Node:
        if id(tensor) not in self.nodes:  # a parameter that nobody named
            number = sum(node.kind == "parameter" for node, _, _ in self.nodes.values())
            self._know(tensor, Node(f"p{number + 1}", "", tensor.detach().clone(), "parameter"))
        node, _, version = self.nodes[id(tensor)]
        if tensor._version != version:
            raise InputError(
                f"{node.name} was changed in place, through a view or under another name, which the picture cannot follow; "
                "expected operations that give new tensors: write a = a * b in place of a *= b there."
            )
        return node

    def _note(self, func: Any, args: Any, kwargs: Any, result: Any, before: dict[int, tuple[Tensor, Node]]) -> None:
        outputs, _ = pytree.tree_flatten(result)
        for place, made in enumerate(outputs):
            if not isinstance(made, Tensor) or not made.is_floating_point():
                continue
            if id(made) in self.nodes and self.nodes[id(made)][2] == made._version:
                continue  # given back as it was
            names = {key: node.name for key, (_, node) in before.items()}
            self.count += 1
            node = Node(f"‹{self.count}›", label(func, args, kwargs, names), made.detach().clone(), "operation")
            alone = _alone(func, args, kwargs, before, place if len(outputs) > 1 else None)
            for key, (value, source) in before.items():
                node.edges.append(_edge(source, node, value, alone, key, cut=not made.requires_grad))
            self._know(made, node)


def _alone(
    func: Any, args: Any, kwargs: Any, before: dict[int, tuple[Tensor, Node]], place: int | None
) -> Callable[[], tuple[Tensor, dict[int, Tensor]]]:
    """The operation by itself, on inputs of its own: its result, and the inputs by the ids of the true ones."""

    def run() -> tuple[Tensor, dict[int, Tensor]]:
        leaves = {key: value.clone().requires_grad_(value.is_floating_point()) for key, (value, _) in before.items()}
        # Not the leaves themselves, which no operation may change in place.
        stand_ins = {key: leaf.clone() for key, leaf in leaves.items()}
        flat, shape = pytree.tree_flatten((args, kwargs))
        flat = [stand_ins.get(id(one), one) if isinstance(one, Tensor) else one for one in flat]
        own_args, own_kwargs = pytree.tree_unflatten(flat, shape)
        result = func(*own_args, **own_kwargs)
        return (result if place is None else pytree.tree_flatten(result)[0][place]), leaves

    return run


def _edge(
    source: Node, target: Node, value: Tensor, alone: Callable[[], tuple[Tensor, dict[int, Tensor]]], key: int, cut: bool
) -> Edge:
    if cut or not value.is_floating_point():
        return Edge(source, target, None, torch.zeros_like, cut=True)
    with torch.enable_grad():
        result, leaves = alone()
    leaf = leaves[key]

    def pull(v: Tensor) -> Tensor:
        if not result.requires_grad:
            return torch.zeros_like(leaf)
        (gradient,) = torch.autograd.grad(result, leaf, v, retain_graph=True, allow_unused=True)
        return torch.zeros_like(leaf) if gradient is None else gradient

    local = None
    if 0 < result.numel() * leaf.numel() <= ENTRIES:
        rows = [pull(unit.reshape(result.shape)) for unit in torch.eye(result.numel(), dtype=result.dtype)]
        local = torch.stack(rows).reshape((*result.shape, *leaf.shape))
    return Edge(source, target, local, pull)
