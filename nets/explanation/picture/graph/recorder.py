"""Records the operations of a Python function of tensors as they run, whatever its loops and conditions do.

Each operation is run a second time alone, on detached inputs. Its local derivative is PyTorch's own backward pass of
that single operation, so the picture contains no second set of formulas.
"""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from nets.errors import InputError
from nets.explanation.picture.graph.graph import Edge, Node
from nets.explanation.picture.graph.operations import notation
from nets.torch_internals import pytree, version_of

LARGEST_LOCAL = 4_096
"""Entries up to which a local Jacobian is formed; a larger one is shown only by its effect on the gradient."""

IsolatedCall = Callable[[], tuple[Tensor, dict[int, Tensor]]]
"""Runs one operation on leaves of its own → its result, and {id of the original tensor: leaf}."""


class Recorder(TorchFunctionMode):
    """While the context is active, each operation on tensors becomes a node.

    Args:
        given: name → (tensor, kind): the inputs of the function, and the parameters that it may use.
    """

    def __init__(self, given: Mapping[str, tuple[Tensor, str]]) -> None:
        super().__init__()
        self.nodes: dict[int, tuple[Node, Tensor, int]] = {}
        for name, (tensor, kind) in given.items():
            self._add(tensor, Node(name, "", tensor.detach().clone(), kind))
        self.count = 0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        flat, _ = pytree.tree_flatten((args, kwargs))
        sources = [given for given in flat if isinstance(given, Tensor)]
        # Copied first: the operation may change its inputs in place.
        before = {id(s): (s.detach().clone(), self._node(s)) for s in sources if self._is_known(s)}
        state = torch.random.get_rng_state()
        result = func(*args, **kwargs)
        after = torch.random.get_rng_state()
        if before:
            # The second run of a random operation, such as dropout, draws the same numbers.
            torch.random.set_rng_state(state)
            self._record(func, args, kwargs, result, before)
            torch.random.set_rng_state(after)
        return result

    def node_of(self, tensor: Tensor) -> Node | None:
        """The node of a tensor that the function returned; None if it depends on no input."""
        return self._node(tensor) if self._is_known(tensor) else None

    def _add(self, tensor: Tensor, node: Node) -> None:
        # The tensor is kept alive, so that no other tensor gets its id.
        self.nodes[id(tensor)] = (node, tensor, version_of(tensor))

    def _is_known(self, tensor: Tensor) -> bool:
        return id(tensor) in self.nodes or (tensor.is_floating_point() and tensor.requires_grad)

    def _node(self, tensor: Tensor) -> Node:
        if id(tensor) not in self.nodes:  # a parameter that the caller did not name
            number = sum(node.kind == "parameter" for node, _, _ in self.nodes.values())
            self._add(tensor, Node(f"p{number + 1}", "", tensor.detach().clone(), "parameter"))
        node, _, version = self.nodes[id(tensor)]
        if version_of(tensor) != version:
            raise InputError(
                f"{node.name} was changed in place, through a view or under another name, which the picture cannot "
                "follow; expected operations that return new tensors: write a = a * b in place of a *= b there."
            )
        return node

    def _record(self, func: Any, args: Any, kwargs: Any, result: Any, before: dict[int, tuple[Tensor, Node]]) -> None:
        outputs, _ = pytree.tree_flatten(result)
        for position, made in enumerate(outputs):
            if not isinstance(made, Tensor) or not made.is_floating_point():
                continue
            if id(made) in self.nodes and self.nodes[id(made)][2] == version_of(made):
                continue  # the operation returned an input unchanged
            names = {key: node.name for key, (_, node) in before.items()}
            self.count += 1
            node = Node(f"‹{self.count}›", notation(func, args, kwargs, names), made.detach().clone(), "operation")
            alone = _isolated(func, args, kwargs, before, position if len(outputs) > 1 else None)
            for key, (value, source) in before.items():
                node.edges.append(_edge(source, node, value, alone, key, detached=not made.requires_grad))
            self._add(made, node)


def _isolated(
    func: Any, args: Any, kwargs: Any, before: dict[int, tuple[Tensor, Node]], position: int | None
) -> IsolatedCall:
    """The operation as a function that depends on nothing but the values its inputs had."""

    def run() -> tuple[Tensor, dict[int, Tensor]]:
        leaves = {key: value.clone().requires_grad_(value.is_floating_point()) for key, (value, _) in before.items()}
        # The operation gets clones, since PyTorch forbids to change a leaf in place.
        clones = {key: leaf.clone() for key, leaf in leaves.items()}
        flat, structure = pytree.tree_flatten((args, kwargs))
        flat = [clones.get(id(given), given) if isinstance(given, Tensor) else given for given in flat]
        own_args, own_kwargs = pytree.tree_unflatten(flat, structure)
        result = func(*own_args, **own_kwargs)
        return (result if position is None else pytree.tree_flatten(result)[0][position]), leaves

    return run


def _edge(source: Node, target: Node, value: Tensor, alone: IsolatedCall, key: int, detached: bool) -> Edge:
    if detached or not value.is_floating_point():
        return Edge(source, target, None, torch.zeros_like, detached=True)
    with torch.enable_grad():
        result, leaves = alone()
    leaf = leaves[key]

    def pullback(v: Tensor) -> Tensor:
        if not result.requires_grad:
            return torch.zeros_like(leaf)
        (gradient,) = torch.autograd.grad(result, leaf, v, retain_graph=True, allow_unused=True)
        return torch.zeros_like(leaf) if gradient is None else gradient

    local = None
    if 0 < result.numel() * leaf.numel() <= LARGEST_LOCAL:
        rows = [pullback(unit.reshape(result.shape)) for unit in torch.eye(result.numel(), dtype=result.dtype)]
        local = torch.stack(rows).reshape((*result.shape, *leaf.shape))
    return Edge(source, target, local, pullback)
