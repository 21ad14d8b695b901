"""State that calls leave in a module, outputs that change from call to call, and operators of `torch.library`."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import prune

import nets
from nets.records.reason import Reason
from tests.building import Written
from tests.wrong.causes import Rounded


def randn(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def test_a_stored_graph_that_no_call_replaces_is_left_out() -> None:
    module = nn.Linear(2, 2)
    module.graph = module(torch.ones(1, 2))
    certificate = nets.verify(module, torch.ones(1, 2))
    assert certificate.verdict == "inconclusive" and certificate.checks[-1].reason is Reason.LEFT_OUT
    assert "the graph of graph" in certificate.sentence()


def test_a_pruned_module_is_verified_after_a_call() -> None:
    module = prune.l1_unstructured(nn.Linear(4, 3), "weight", 3).double()
    module(randn(2, 4))
    assert nets.verify(module, randn(2, 4)).passed


def test_an_output_that_grows_with_each_call_is_stateful() -> None:
    class Cache(nn.Linear):
        kept: Tensor | None = None

        def forward(self, x: Tensor) -> Tensor:
            key = super().forward(x).detach()
            self.kept = key if self.kept is None else torch.cat([self.kept, key])
            return x @ self.kept.mT

    certificate = nets.verify(Cache(3, 3), torch.ones(3, 3))
    assert [check.reason for check in certificate.checks] == [Reason.OTHER_SHAPE]
    assert certificate.sentence().count("9 and 18 numbers") == 1


def test_an_in_place_write_that_autograd_refuses_is_reported_as_such() -> None:
    certificate = nets.verify(Written(lambda m, x: x.exp().add_(1)), randn(3))
    assert "modified by an inplace operation" in certificate.sentence()
    assert all(check.reason is not Reason.SAVED_TENSOR_OVERWRITTEN for check in certificate.checks)


def test_the_number_of_outputs_may_depend_on_the_data() -> None:
    """Large steps cross zero, where the number of outputs changes; small ones do not."""
    x = torch.tensor([0.05, 1.0, -1.0, 0.5], dtype=torch.float64)
    assert nets.verify(Written(lambda m, x: x[x > 0].sin()), x).passed
    assert nets.verify(Written(lambda m, x: x[x > x.mean()]), randn(12)).passed
    beside = torch.tensor([1e-9, 1.0, -1.0, -1e-12], dtype=torch.float64)
    assert nets.verify(Written(lambda m, x: x[x > 0].sin()), beside).verdict != "fail"


def test_a_declared_gradient_with_a_closed_form_is_not_reported_as_zero() -> None:
    module = Written(lambda m, x: Rounded.apply(x))
    certificate = nets.verify(module, randn(3), intended=("input",), closed_form=lambda m, x: {"input": torch.eye(3)})
    assert certificate.passed and all(check.reason is not Reason.ZERO_EVERYWHERE for check in certificate.checks)


@pytest.mark.filterwarnings("ignore:.*an autograd kernel was not registered:UserWarning")
def test_a_kernel_without_an_autograd_formula_passes() -> None:
    library = torch.library.Library("nets_tests_leave", "DEF")
    library.define("cube(Tensor x) -> Tensor")
    library.impl("cube", lambda x: x**3, "CPU")
    assert nets.verify(Written(lambda m, x: torch.ops.nets_tests_leave.cube(x)), randn(4)).passed


def test_a_wrong_vmap_rule_of_an_operator_is_named() -> None:
    @torch.library.custom_op("nets_tests_leave::sine", mutates_args=())
    def sine(x: Tensor) -> Tensor:
        return x.sin()

    sine.register_autograd(
        lambda ctx, v: v * ctx.saved_tensors[0].cos(),
        setup_context=lambda ctx, inputs, output: ctx.save_for_backward(inputs[0]),
    )
    sine.register_vmap(lambda info, axes, x: (x.cos(), axes[0]))
    certificate = nets.verify(Written(lambda m, x: sine(x)), randn(4))
    assert (
        certificate.checks[-1].reason is Reason.WRONG_VMAP_RULE and "nets_tests_leave::sine" in certificate.sentence()
    )
