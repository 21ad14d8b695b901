"""Each private name of PyTorch has a fallback that gives the same result, or leaves out what it cannot know."""

import importlib
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from nets import torch_internals

Lack = Callable[..., None]


@pytest.fixture
def lack(monkeypatch: pytest.MonkeyPatch) -> Iterator[Lack]:
    """A function that makes some private names unknown, as in a release of PyTorch that has none of them."""
    found = torch_internals._private

    def without(*names: str) -> None:
        monkeypatch.setattr(
            torch_internals, "_private", lambda module, name: None if name in names else found(module, name)
        )

    yield without


def tensors() -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(shape, generator=generator, dtype=torch.float64) for shape in ((3,), (2, 4), ())]


def changed(change: Callable[[list[Tensor], list[Tensor]], object]) -> list[Tensor]:
    ours, others = tensors(), [2 * t for t in tensors()]
    change(ours, others)
    return ours


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("_foreach_zero_", lambda ours, others: torch_internals.zero(ours)),
        ("_foreach_add_", lambda ours, others: torch_internals.add(ours, others, 0.5)),
        ("_foreach_copy_", lambda ours, others: torch_internals.copy(ours, others)),
    ],
)
def test_a_change_of_many_tensors_is_the_same_one_by_one(
    name: str, change: Callable[[list[Tensor], list[Tensor]], object], lack: Lack
) -> None:
    at_once = changed(change)
    lack(name)
    assert all(torch.equal(one, other) for one, other in zip(changed(change), at_once, strict=True))
    assert not all(torch.equal(one, other) for one, other in zip(at_once, tensors(), strict=True))


def test_norms_are_the_same_one_by_one(lack: Lack) -> None:
    at_once = torch.stack(list(torch_internals.norms(tensors(), torch.float64)))
    lack("_foreach_norm")
    assert torch.allclose(
        torch.stack(list(torch_internals.norms(tensors(), torch.float64))), at_once, rtol=1e-15, atol=0
    )


def test_operators_that_a_release_lacks_are_left_out() -> None:
    assert torch_internals.operators("tanh no_such_operator") == {torch.ops.aten.tanh}


def test_aliases_are_read_from_the_schema() -> None:
    aten = torch.ops.aten
    assert torch_internals.returns_alias(aten.view.default) and torch_internals.returns_alias(aten.add_.Tensor)
    assert not torch_internals.returns_alias(aten.add.Tensor)


def test_a_backward_pass_is_recognised_while_it_runs(lack: Lack) -> None:
    seen = []
    x = torch.ones(2, requires_grad=True)
    x.register_hook(lambda gradient: seen.append(torch_internals.in_backward()))
    (2 * x).sum().backward()
    assert (seen, torch_internals.in_backward()) == ([True], False)
    lack("_current_graph_task_id")
    (2 * x).sum().backward()
    assert seen == [True, False]


def test_control_flow_has_a_kernel_and_other_operators_have_none(lack: Lack) -> None:
    from torch._higher_order_ops.cond import cond_op

    assert callable(torch_internals.control_flow_kernel(cond_op))
    assert torch_internals.control_flow_kernel(torch.ops.aten.add.Tensor) is None
    lack("HigherOrderOperator")
    assert torch_internals.control_flow_kernel(cond_op) is None


def test_hooks_are_found() -> None:
    module, parameter = nn.Linear(2, 2), nn.Parameter(torch.ones(2))
    assert torch_internals.module_hooks(module) == [] and not any(torch_internals.forward_hooks(module))
    module.register_forward_hook(print)
    parameter.register_hook(print)
    parameter.register_post_accumulate_grad_hook(print)
    assert torch_internals.module_hooks(module) == [print] and any(torch_internals.forward_hooks(module))
    assert torch_internals.gradient_hooks(parameter) == [print]
    assert list(torch_internals.accumulation_hook_table(parameter).values()) == [print]


def test_tensors_without_numbers_are_recognised(lack: Lack) -> None:
    from torch._subclasses.fake_tensor import FakeTensorMode

    with FakeTensorMode():
        fake = torch.ones(2)
    assert torch_internals.has_no_numbers(fake) and torch_internals.has_no_numbers(torch.ones(2, device="meta"))
    assert not torch_internals.has_no_numbers(torch.ones(2))


def test_a_descent_does_not_load_the_compiler() -> None:
    """A dispatch mode of PyTorch's would: it takes a second and 70 MB."""
    code = (
        "import sys, torch, nets; batch = nets.Batch(torch.rand(4, 3), torch.rand(4, 2)); "
        "next(nets.descend(nets.mlp([3, 2]), batch, loss=nets.MeanSquaredError(), learning_rate=0.1, steps=3)); "
        "assert 'torch._dynamo' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_dispatch_mode_sees_operations_where_the_compiler_is_loaded() -> None:
    class Counting(torch_internals.TorchDispatchMode):
        calls = 0

        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            self.calls += 1
            return func(*args, **(kwargs or {}))

    importlib.import_module("torch._dynamo")
    with Counting() as mode:
        torch.ones(2) + 1
    assert mode.calls == 2
