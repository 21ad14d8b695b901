"""Update rules: each equals its counterpart in torch.optim, and any rule trains with `descend` on both update paths."""

import copy
import functools
import itertools
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

import nets
from nets.training.async_update import AsyncUpdate
from nets.training.batches import Batches
from nets.training.optimizers import OPTIMIZERS, SGD, Adagrad, AdamW, Lion, RMSprop, UpdateRule
from nets.training.optimizers import Adam as FusedAdam
from nets.training.parameters import TrainedParameters
from tests.adam import Adam
from tests.lion import PaperLion

GENERATOR = torch.Generator().manual_seed(0)
DATA = nets.Batch(*(torch.randn(20, width, generator=GENERATOR, dtype=torch.float64) for width in (3, 2)))

# rule, the optimizer of PyTorch that it equals
RULES: dict[str, tuple[Callable[[], UpdateRule], Callable[[Any], torch.optim.Optimizer]]] = {
    "SGD": (lambda: SGD(0.05), lambda p: torch.optim.SGD(p, 0.05)),
    "SGD with momentum": (lambda: SGD(0.05, 0.9, 0.01), lambda p: torch.optim.SGD(p, 0.05, 0.9, weight_decay=0.01)),
    "Nesterov": (
        lambda: SGD(0.05, 0.9, 0.01, nesterov=True),
        lambda p: torch.optim.SGD(p, 0.05, 0.9, weight_decay=0.01, nesterov=True),
    ),
    "an Adam of one's own": (lambda: Adam(0.01), lambda p: torch.optim.Adam(p, 0.01)),
    "Adam": (lambda: FusedAdam(0.01), lambda p: torch.optim.Adam(p, 0.01)),
    "Adam with decay": (
        lambda: FusedAdam(0.01, (0.8, 0.95), 1e-6, 0.1),
        lambda p: torch.optim.Adam(p, 0.01, (0.8, 0.95), 1e-6, 0.1),
    ),
    "AdamW": (lambda: AdamW(0.01, weight_decay=0.1), lambda p: torch.optim.AdamW(p, 0.01, weight_decay=0.1)),
    "RMSprop": (lambda: RMSprop(0.01, weight_decay=0.1), lambda p: torch.optim.RMSprop(p, 0.01, weight_decay=0.1)),
    "RMSprop, centered": (
        lambda: RMSprop(0.001, 0.9, 1e-6, 0.9, centered=True),
        lambda p: torch.optim.RMSprop(p, 0.001, 0.9, 1e-6, momentum=0.9, centered=True),
    ),
    "Adagrad": (lambda: Adagrad(0.05), lambda p: torch.optim.Adagrad(p, 0.05)),
    "Adagrad with decay": (
        lambda: Adagrad(0.05, 0.01, 0.1, 1e-6, 0.1),
        lambda p: torch.optim.Adagrad(p, 0.05, 0.01, 0.1, 0.1, 1e-6),
    ),
    "Lion": (lambda: Lion(0.001, weight_decay=0.1), lambda p: PaperLion(p, 0.001, 0.9, 0.99, 0.1)),
}


def without_kernel(rule: UpdateRule) -> UpdateRule:
    """The rule without its fused kernel."""
    kind = type(f"Slow{type(rule).__name__}", (type(rule),), {"apply_fused": UpdateRule.apply_fused})
    slow = copy.copy(rule)
    slow.__class__ = kind
    return slow


BY_STEP = ", by step"

RULES |= {
    f"{name}{BY_STEP}": (lambda made=made: without_kernel(made()), peer)
    for name, (made, peer) in RULES.items()
    if type(made()).apply_fused is not UpdateRule.apply_fused
}


EACH = pytest.mark.parametrize("name", list(RULES))


def test_every_optimizer_has_a_row() -> None:
    assert {*OPTIMIZERS.values()} <= {type(made()) for made, _ in RULES.values()}


def network() -> nets.Network:
    return nets.mlp([3, 4, 2], output="identity", generator=torch.Generator().manual_seed(1)).double()


STEPS, BATCH = 1_000, 4


@functools.cache
def of_torch(name: str) -> tuple[Tensor, list[Tensor]]:
    """‖Δθ_p‖ / ‖θ_p‖ of each step with the optimizer of PyTorch, shape (STEPS, P), and the parameters at the end."""
    theirs, loss = network(), nets.MeanSquaredError()
    peer = RULES[name][1](theirs.parameters())
    batches = Batches(DATA, BATCH, torch.Generator().manual_seed(0))
    ratios = []
    for batch in itertools.islice(batches, STEPS):
        peer.zero_grad()
        loss(theirs(batch.inputs), batch.targets).backward()
        before = [p.detach().clone() for p in theirs.parameters()]
        peer.step()
        moved = [(p.detach() - old).norm() / old.norm() for p, old in zip(theirs.parameters(), before, strict=True)]
        ratios.append(torch.stack(moved))
    return torch.stack(ratios), [p.detach() for p in theirs.parameters()]


@pytest.mark.parametrize(("name", "engine"), [*((name, "closed_form") for name in RULES), ("Adam", "autograd")])
def test_a_thousand_steps_equal_those_of_torch(name: str, engine: str) -> None:
    """Small batches keep the squares of the gradients away from zero.

    With all samples in each step, Adam, RMSprop and Adagrad reach a region where they are unstable: PyTorch's own
    parameters after 1,000 steps then differ by 1e-5 to 1e-1 if one initial weight changes in its last bit. In batches
    of four they differ by less than 1e-13.
    """
    ours, given = network(), {"loss": nets.MeanSquaredError(), "rule": RULES[name][0](), "engine": engine}
    descent = nets.descend(ours, DATA, batch_size=BATCH, steps=STEPS, seed=0, **given)
    ratios = torch.tensor([list(step.update_ratio.values()) for step in descent], dtype=torch.float64)
    expected, parameters = of_torch(name.removesuffix(BY_STEP))
    # θ − θ_old, from PyTorch, has the rounding of θ.
    torch.testing.assert_close(ratios, expected, rtol=1e-8, atol=1e-14)
    for one, other in zip(ours.parameters(), parameters, strict=True):
        torch.testing.assert_close(one.detach(), other, rtol=1e-12, atol=1e-12)


@EACH
def test_a_skipped_update_changes_neither_parameters_nor_state(name: str) -> None:
    """As a GPU skips it: by a number on the device."""
    of = network()
    parameters, rule = TrainedParameters(dict(of.named_parameters())), RULES[name][0]()
    state = rule.init(parameters.tensors)
    gradients = [torch.ones_like(p) for p in parameters.tensors]
    go, skip = torch.tensor(0.0), torch.tensor(1.0)
    rule.apply_fused(state, parameters.tensors, gradients, go)
    before = copy.deepcopy((parameters.tensors, rule.kept(state)))
    rule.apply_fused(state, parameters.tensors, [g * torch.nan for g in gradients], skip)
    rule.apply(state, parameters.tensors, [g * torch.nan for g in gradients], skip)
    torch.testing.assert_close((parameters.tensors, rule.kept(state)), before, rtol=0, atol=0)
    rule.apply_fused(state, parameters.tensors, gradients, go)
    assert not torch.equal(parameters.tensors[0], before[0][0])


@EACH
def test_a_queued_update_equals_that_of_torch(name: str) -> None:
    ours, theirs = network(), network()
    parameters, rule = TrainedParameters(dict(ours.named_parameters())), RULES[name][0]()
    update, peer = AsyncUpdate(parameters, rule, rule.init(parameters.tensors)), RULES[name][1](theirs.parameters())
    for number in range(40):
        generator = torch.Generator().manual_seed(number)
        found = {n: torch.randn(p.shape, generator=generator, dtype=p.dtype) for n, p in theirs.named_parameters()}
        for key, parameter in theirs.named_parameters():
            parameter.grad = found[key].clone()
        update(torch.tensor(1.0).double(), found)
        peer.step()
    for one, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)


def test_a_rule_and_the_arguments_of_sgd_exclude_each_other() -> None:
    for given in ({"learning_rate": 0.1}, {"momentum": 0.5}, {"weight_decay": 0.1}):
        with pytest.raises(nets.InputError, match="a rule and learning_rate, momentum or weight_decay"):
            nets.descend(network(), DATA, loss=nets.MeanSquaredError(), rule=Adam(0.1), steps=1, **given)
    with pytest.raises(nets.InputError, match="learning_rate is None"):
        nets.descend(network(), DATA, loss=nets.MeanSquaredError(), steps=1)
