"""The checker is checked: every wrong backward pass of the table fails, and every right module passes, at five
seeds."""

import functools
from collections.abc import Sequence

import pytest
import torch
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.utils._pytree import tree_leaves

import nets
from tests.in_matrix import first_in_test
from tests.right_modules import RIGHT, RightModule
from tests.wrong.contracts import CONTRACTS, BrokenContract
from tests.wrong.elsewhere import ELSEWHERE
from tests.wrong.later_writes import LATER_WRITES
from tests.wrong_backwards import WRONG, WrongBackward

SEEDS = range(5)
EACH_SEED = pytest.mark.parametrize("seed", first_in_test(SEEDS))
"""One of the seeds at every `make test`, all of them at `make matrix`."""

VISIBLE = 1e-4
"""The least error of a wrong gradient of the table along a random direction, relative to its norm."""


def made(record: WrongBackward | BrokenContract | RightModule, seed: int) -> tuple[nn.Module, tuple[Tensor, ...]]:
    return record.make(torch.Generator().manual_seed(seed))


class GradientOf(nn.Module):
    """X → Σ_m v_m ∂Y_m/∂X of a module of one input, v = (1, 2, 3, …), with its graph; v is a parameter where `by_v`."""

    def __init__(self, module: nn.Module, size: int, by_v: bool) -> None:
        super().__init__()
        self.module = module
        v = torch.arange(1, size + 1, dtype=torch.float64)
        self.v = nn.Parameter(v) if by_v else v

    def forward(self, x: Tensor) -> Tensor:
        with torch.enable_grad():
            x = x if x.requires_grad else x.detach().requires_grad_()
            y = self.module(x).flatten()
            # A sum with 0 X, so that there is a graph, even where the gradient has none.
            return torch.autograd.grad(y, x, self.v, create_graph=True)[0] + 0 * x


def whose_backward_is_wrong(record: WrongBackward, seed: int) -> tuple[nn.Module, tuple[Tensor, ...]]:
    """The module of the table; of a fault of second order, its gradient as a module."""
    module, inputs = made(record, seed)
    if record.order == 2:
        module = GradientOf(module, called(module, inputs).numel(), record.parameter == "v")
    return module, inputs


# The table's faults are faults. Nothing of nets is used here: the truth is a central difference, extrapolated.
# A complex number is two real ones, and its gradient is ∂/∂Re + i ∂/∂Im, as autograd has it.


def real(value: Tensor) -> Tensor:
    return torch.view_as_real(value) if value.is_complex() else value


def called(module: nn.Module, inputs: Sequence[Tensor]) -> Tensor:
    """Every real number of Y in a row. The random numbers are the same in each call."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(
            0
        )  # torch.manual_seed takes a hundred times as long: it seeds every accelerator
        leaves = tree_leaves(module(*inputs))
    return torch.cat([real(y).flatten() for y in leaves])


def differentiable(module: nn.Module, inputs: Sequence[Tensor]) -> dict[str, Tensor]:
    """What Y can be differentiated by: the parameters, and those inputs that are no indices."""
    names = ["input"] if len(inputs) == 1 else [f"input[{i}]" for i in range(len(inputs))]
    numbers = {n: x for n, x in zip(names, inputs, strict=True) if x.is_floating_point() or x.is_complex()}
    return {**dict(module.named_parameters()), **numbers}


@torch.no_grad()
def differences(
    module: nn.Module, inputs: Sequence[Tensor], point: Tensor, directions: Tensor, step: float = 1e-3
) -> tuple[Tensor, Tensor]:
    """∂Y/∂t along the directions t, shape (M, T), by differences of steps h and h/2, and a bound on their errors."""
    numbers = real(point.detach())
    here = numbers.clone()

    def moved(step: Tensor) -> Tensor:
        numbers.copy_(here + step.reshape(here.shape))
        return called(module, inputs)

    wide, narrow = (
        torch.stack([(moved(h * t) - moved(-h * t)) / (2 * h) for t in directions], -1) for h in (step, step / 2)
    )
    numbers.copy_(here)
    return (4 * narrow - wide) / 3, (narrow - wide).abs()


def pullback(y: Tensor, points: dict[str, Tensor], upstream: Tensor) -> dict[str, Tensor]:
    gradients = torch.autograd.grad(y, list(points.values()), upstream, retain_graph=True, allow_unused=True)
    return {
        name: torch.zeros(real(point).numel(), dtype=torch.float64) if gradient is None else real(gradient).flatten()
        for (name, point), gradient in zip(points.items(), gradients, strict=True)
    }


def backward_passes(record: WrongBackward, seed: int, upstream: Tensor) -> dict[str, Tensor]:
    """vᵀ ∂Y/∂point for each row v of `upstream`, in the situation that `record.shows` names."""
    module, inputs = whose_backward_is_wrong(record, seed)
    points = differentiable(module, inputs)
    if record.shows == "parameters only":
        points = dict(module.named_parameters())
    for point in points.values():
        point.requires_grad_()
    if record.shows == "later call":
        earlier = called(module, [x + 1 if x.is_floating_point() else x for x in inputs])
        pullback(earlier, dict(module.named_parameters()), torch.ones_like(earlier))
    if record.shows == "accumulation":
        rows = []
        for v in upstream:
            module.zero_grad()
            for _ in range(2):
                called(module, inputs).backward(v / 2)
            rows.append({name: parameter.grad.flatten() for name, parameter in module.named_parameters()})
    else:
        y = called(module, inputs)
        rows = [pullback(y, points, v) for v in upstream]
    return {name: torch.stack([row[name] for row in rows]) for name in rows[0]}


def forward_products(record: WrongBackward, seed: int, directions: Tensor) -> Tensor:
    """The derivatives of Y along directions of the input by forward mode, shape (M, T)."""
    module, (x,) = whose_backward_is_wrong(record, seed)
    module.requires_grad_(False)
    with forward_ad.dual_level(), torch.no_grad():
        moved = [
            forward_ad.unpack_dual(module(forward_ad.make_dual(x, t.reshape(x.shape)))).tangent for t in directions
        ]
    return torch.stack([torch.zeros_like(module(x)).flatten() if t is None else t.flatten() for t in moved], -1)


@pytest.mark.parametrize("record", WRONG, ids=str)
@EACH_SEED
def test_each_wrong_module_of_the_table_is_wrong(record: WrongBackward, seed: int) -> None:
    """vᵀ (∂Y/∂θ) t is off by 1e-4 of ‖vᵀ ∂Y/∂θ‖ ‖t‖ at least, and by ten times what the difference may be off."""
    module, inputs = whose_backward_is_wrong(record, seed)
    size = called(module, inputs).numel()
    generator = torch.Generator().manual_seed(seed)
    # Unit vectors, and one that is neither small nor of one sign nor sparse.
    upstream = torch.cat([torch.eye(size), 10 * torch.randn(1, size, generator=generator)]).double()
    wrong = set()
    actual = backward_passes(record, seed, upstream)
    for name, gradient in actual.items():
        if record.shows == "forward mode" and name != "input":
            continue
        point = differentiable(module, inputs)[name]
        directions = torch.randn(4, gradient.shape[1], generator=generator, dtype=torch.float64)
        truth, uncertainty = differences(module, inputs, point, directions, record.step)
        error = (gradient @ directions.T - upstream @ truth).abs()
        if record.shows == "forward mode":
            assert (error <= VISIBLE / 10 * gradient.norm(dim=1, keepdim=True) * directions.norm(dim=1)).all()
            error = (upstream @ (forward_products(record, seed, directions) - truth)).abs()
        scale = gradient.norm(dim=1, keepdim=True) * directions.norm(dim=1)
        if ((error > VISIBLE * scale) & (error > 10 * upstream.abs() @ uncertainty)).any():
            wrong.add(name)
    assert wrong if record.parameter is None else wrong == {record.parameter}


@pytest.mark.parametrize("record", [*CONTRACTS, *LATER_WRITES, *ELSEWHERE], ids=str)
@EACH_SEED
def test_each_module_of_the_table_breaks_its_contract(record: BrokenContract, seed: int) -> None:
    """Where the fault shows, the gradient is off by 1e-4 of its size at least, or there is none."""
    found, right = record.shows(*made(record, seed))
    assert not (found - right).abs().max() <= VISIBLE * right.abs().max()


# The checker sees them all.


@functools.cache
def judged(record: WrongBackward | BrokenContract | RightModule, seed: int) -> nets.Certificate:
    module, inputs = made(record, seed)
    required = record.shows == "forward mode" if isinstance(record, WrongBackward) else False
    return nets.verify(module, *inputs, order=record.order, forward="required" if required else "optional")


@pytest.mark.parametrize("record", WRONG, ids=str)
@EACH_SEED
def test_a_wrong_backward_fails(record: WrongBackward, seed: int) -> None:
    """And the report names the parameter, and the cause where there is a plain one."""
    certificate = judged(record, seed)
    assert certificate.verdict == "fail", str(certificate)
    failed = [check for check in certificate.checks if check.verdict == "fail"]
    if record.parameter is not None:
        assert {check.parameter for check in failed} == {record.parameter}, str(certificate)
    if record.cause is not None:
        named = [check for check in failed if check.reason is record.cause and record.fact in check.message]
        assert named, str(certificate)


@pytest.mark.parametrize("record", [*CONTRACTS, *LATER_WRITES, *ELSEWHERE], ids=str)
@EACH_SEED
def test_a_broken_contract_fails(record: BrokenContract, seed: int) -> None:
    """The certificate has the reason of that contract."""
    certificate = judged(record, seed)
    assert certificate.verdict == "fail", str(certificate)
    assert any(check.reason is record.reason for check in certificate.checks if check.verdict == "fail"), str(
        certificate
    )
    assert all(fact in certificate.sentence() for fact in record.facts), str(certificate)


@pytest.mark.parametrize("record", [record for record in WRONG if record.shows == "forward mode"], ids=str)
@EACH_SEED
def test_a_wrong_forward_mode_is_a_note_unless_it_is_required(record: WrongBackward, seed: int) -> None:
    module, inputs = made(record, seed)
    certificate = nets.verify(module, *inputs)
    assert certificate.passed, str(certificate)
    assert any(note.startswith("forward mode differs from reverse mode for ") for note in certificate.notes), str(
        certificate
    )


@pytest.mark.parametrize("record", [*WRONG, *CONTRACTS, *LATER_WRITES, *ELSEWHERE, *RIGHT], ids=str)
@EACH_SEED
def test_verdict_and_table_agree(record: WrongBackward | BrokenContract | RightModule, seed: int) -> None:
    """A certificate that fails has a row that fails, and one that passes has none. Where nothing was compared entry by
    entry, there is no table."""
    certificate = judged(record, seed)
    rows = [line.rstrip() for line in certificate.table().splitlines()]
    fails = any(row.endswith("  fail") for row in rows)
    entrywise = any(check.worst_index is not None for check in certificate.checks)
    assert fails == (certificate.verdict == "fail" and entrywise), str(certificate)


@pytest.mark.parametrize("record", RIGHT, ids=str)
@EACH_SEED
def test_a_right_module_passes(record: RightModule, seed: int) -> None:
    certificate = judged(record, seed)
    assert certificate.passed, str(certificate)


def test_the_float32_constant_in_hardsigmoid_is_found() -> None:
    """Its backward pass multiplies by 1/6 in float32, also where all else is float64: 0.16666667163, 3e-8 too much."""
    certificate = nets.verify(nn.Hardsigmoid(), torch.linspace(-2, 2, 4, dtype=torch.float64))
    check = next(check for check in certificate.checks if check.against == "central difference")
    assert check.verdict == "fail"
    assert (check.actual, check.expected) == (float(torch.tensor(1 / 6)), pytest.approx(1 / 6, rel=1e-10))


@pytest.mark.matrix
def test_the_tables_have_the_stated_numbers_of_modules(capsys: pytest.CaptureFixture[str]) -> None:
    seen = sum(judged(record, seed).verdict == "fail" for record in WRONG for seed in SEEDS)
    alarms = sum(not judged(record, seed).passed for record in RIGHT for seed in SEEDS)
    wrong, right = (len(table) * len(SEEDS) for table in (WRONG, RIGHT))
    with capsys.disabled():
        print(f"\n{len(WRONG)} wrong backward passes × {len(SEEDS)} seeds: {seen} of {wrong} seen; ", end="")
        print(f"{len(RIGHT)} right modules × {len(SEEDS)} seeds: {alarms} false alarms.")
    assert len(WRONG) >= 48 and len(RIGHT) >= 48
    assert (seen, alarms) == (wrong, 0), f"{wrong - seen} of {wrong} missed, {alarms} of {right} false alarms"
