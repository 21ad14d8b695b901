"""Unusual descents: data with a graph, frozen parameters, gradients cleared by the caller, large tensors."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

import nets
from nets.calculus.losses import MeanSquaredError
from nets.calculus.norms import EXACT_SUM, norm_tensors, norms_now
from nets.data.batch import Batch
from nets.training.gradients.engines import GRADIENT_ENGINES

X = torch.randn(10, 3, generator=torch.Generator().manual_seed(0))
T = torch.rand(10, 2, generator=torch.Generator().manual_seed(1))

KINDS: dict[str, Callable[[Tensor], Tensor]] = {
    "with a gradient of their own": lambda t: t.clone().requires_grad_(),
    "parameters": lambda t: nn.Parameter(t.clone()),
    "results of operations": lambda t: t.clone().requires_grad_() * 1,
    "lazily negated": lambda t: torch.complex(t, -t).conj().imag,
    "columns": lambda t: t.mT.contiguous().mT,
}


def network(seed: int = 1) -> nets.Network:
    return nets.mlp([3, 4, 2], output="identity", generator=torch.Generator().manual_seed(seed))


def descended(of: nets.Network, data: Batch, **settings: object) -> list[nets.Step]:
    defaults = {"loss": MeanSquaredError(), "learning_rate": 0.1, "steps": 6, "batch_size": 4}
    return list(nets.descend(of, data, **(defaults | settings)))  # type: ignore[arg-type]


@pytest.mark.parametrize("engine", list(GRADIENT_ENGINES))
@pytest.mark.parametrize("kind", list(KINDS))
def test_data_of_any_kind_train_as_plain_tensors(kind: str, engine: str) -> None:
    ours, plain = network(), network()
    x, t = KINDS[kind](X), KINDS[kind](T)
    assert torch.equal(x, X)
    descended(ours, Batch(x, t), engine=engine)
    descended(plain, Batch(X, T), engine=engine)
    assert all(torch.equal(a, b) for a, b in zip(ours.parameters(), plain.parameters(), strict=True))
    assert x.grad_fn is not None or x.grad is None


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("engine", list(GRADIENT_ENGINES))
def test_half_precision_trains(engine: str, dtype: torch.dtype) -> None:
    """Equal up to the rounding of a dozen operations a step on numbers below 2."""
    ours, plain = network().to(dtype), network().double()
    descended(ours, Batch(X.to(dtype), T.to(dtype)), engine=engine)
    descended(plain, Batch(X.double(), T.double()), engine=engine)
    for a, b in zip(ours.parameters(), plain.parameters(), strict=True):
        assert (a.double() - b).abs().max() <= 24 * torch.finfo(dtype).eps


@pytest.mark.parametrize("settings", [{}, {"momentum": 0.9}, {"micro_batch_size": 3}, {"sample_norms": True}], ids=str)
@pytest.mark.parametrize("engine", list(GRADIENT_ENGINES))
def test_a_frozen_parameter_does_not_change(engine: str, settings: dict) -> None:
    """The others move as in `torch.optim.SGD` over the parameters that require a gradient."""
    ours, theirs = network(), network()
    ours[0].weight.requires_grad_(False)
    steps = descended(ours, Batch(X, T), engine=engine, batch_size=None, **settings)
    theirs[0].weight.requires_grad_(False)
    optimizer = torch.optim.SGD([p for p in theirs.parameters() if p.requires_grad], 0.1, settings.get("momentum", 0.0))
    for _ in range(6):
        optimizer.zero_grad()
        nn.functional.mse_loss(theirs(X), T).backward()
        optimizer.step()
    assert torch.equal(ours[0].weight, network()[0].weight) and ours[0].weight.grad is None
    for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)
    assert list(steps[0].gradient_norm) == ["0.bias", "2.weight", "2.bias"]
    assert steps[0].sample_norms is None or list(steps[0].sample_norms.norms) == list(steps[0].gradient_norm)


@pytest.mark.parametrize("engine", list(GRADIENT_ENGINES))
def test_a_gradient_that_the_caller_clears_is_set_again(engine: str) -> None:
    of = network()
    for step in nets.descend(of, Batch(X, T), loss=MeanSquaredError(), learning_rate=0.1, steps=5, engine=engine):
        for name, parameter in of.named_parameters():
            assert parameter.grad is not None
            assert parameter.grad.norm().item() == pytest.approx(step.gradient_norm[name], rel=1e-5)
        of.zero_grad()


def replaced(of: nets.Network) -> None:
    of[2].weight = nn.Parameter(of[2].weight.detach().clone())


def moved(of: nets.Network) -> None:
    of[2].weight.data = of[2].weight.detach().clone()


CHANGES: dict[str, tuple[Callable[[nets.Network], object], str]] = {
    "frozen": (lambda of: of[2].weight.requires_grad_(False), "2.weight no longer requires a gradient"),
    "layer frozen": (lambda of: of[2].requires_grad_(False), "2.weight no longer requires a gradient"),
    "unfrozen": (lambda of: of[0].bias.requires_grad_(True), "0.bias requires a gradient, which it did not"),
    "replaced": (replaced, "2.weight has been replaced"),
    "layer replaced": (lambda of: of.__setitem__(2, network()[2]), "2.weight has been replaced"),
    "layer removed": (lambda of: of.__delitem__(2), "2.weight no longer requires a gradient"),
    "added": (lambda of: of.append(nets.Linear(2, 2)), "3.weight requires a gradient"),
    "moved": (moved, "2.weight has been given other memory"),
    "all moved": (lambda of: of.double().float(), "0.weight has been given other memory"),
}


@pytest.mark.parametrize("engine", list(GRADIENT_ENGINES))
@pytest.mark.parametrize("settings", [{}, {"micro_batch_size": 2, "momentum": 0.9}, {"sample_norms": True}], ids=str)
@pytest.mark.parametrize("change", list(CHANGES))
def test_parameters_that_change_during_a_descent_are_refused(change: str, settings: dict, engine: str) -> None:
    """Updates would not reach them, or would move a frozen parameter. The refusal moves nothing."""
    of, (make, sentence) = network(), CHANGES[change]
    of[0].bias.requires_grad_(False)
    steps = nets.descend(
        of, Batch(X, T), loss=MeanSquaredError(), learning_rate=0.1, steps=9, engine=engine, **settings
    )
    for _ in range(3):
        next(steps)
    make(of)
    before = [parameter.detach().clone() for parameter in of.parameters()]
    with pytest.raises(nets.InputError, match=f"^{sentence}.*call descend anew"):
        next(steps)
    assert all(map(torch.equal, of.parameters(), before))


@pytest.mark.parametrize("engine", list(GRADIENT_ENGINES))
def test_a_frozen_parameter_and_an_activation_may_be_replaced(engine: str) -> None:
    """Both engines continue with the new ones, like a descent that starts there."""
    ours, twin = network(), network()
    for of in (ours, twin):
        of[0].weight.requires_grad_(False)
    steps = nets.descend(ours, Batch(X, T), loss=MeanSquaredError(), learning_rate=0.1, steps=6, engine=engine)
    for _ in range(3):
        next(steps)
    descended(twin, Batch(X, T), batch_size=None, steps=3, engine=engine)
    for of in (ours, twin):
        of[0].weight = nn.Parameter(of[0].weight.detach() / 2, requires_grad=False)
        of[1] = nets.mlp([1, 1], "sin", "sin")[1]
    for _ in steps:
        pass
    descended(twin, Batch(X, T), batch_size=None, steps=3, engine=engine)
    torch.testing.assert_close([*ours.parameters()], [*twin.parameters()])
    assert not ours[0].weight.requires_grad


@pytest.mark.parametrize("unused", ["one of several", "all"])
def test_an_unused_parameter_has_a_zero_gradient_in_both_engines(unused: str) -> None:
    class Unused(nets.Layer):
        """Y = X, with a parameter that it does not read."""

        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.ones(2))

        def forward(self, x: Tensor) -> Tensor:
            return x.clone()

        def pullback(self, v: Tensor, x: Tensor, y: Tensor) -> Tensor:
            return v

        def gradients(self, v: Tensor, x: Tensor, y: Tensor) -> dict[str, Tensor]:
            return {"scale": torch.zeros_like(self.scale)}

    for engine in GRADIENT_ENGINES:
        for settings in ({}, {"sample_norms": True}):
            of = nets.Network([network()[0], network()[1], network()[2], Unused()])
            for layer in list(of)[:3]:
                layer.requires_grad_(unused != "all")
            *_, last = descended(of, Batch(X, T), engine=engine, **settings)
            assert last.gradient_norm["3.scale"] == 0 == last.update_ratio["3.scale"]
            assert torch.equal(of[3].scale, torch.ones(2))


@pytest.mark.parametrize("engine", list(GRADIENT_ENGINES))
def test_a_large_weight_does_not_count_as_divergence(engine: str) -> None:
    """The square of 1e20 is too large for float32; loss and gradient are finite."""
    of = network()
    of[0].weight.data[0, 0] = 1e20
    steps = descended(of, Batch(X, T), engine=engine)
    assert len(steps) == 6 and steps[-1].total_gradient_norm < 100


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda of: of.requires_grad_(False), "no parameter that requires a gradient"),
        (
            lambda of: setattr(of[0].weight, "data", torch.ones(1, 3).expand(4, 3)),
            r"the entries of 0\.weight share their memory",
        ),
        (lambda of: of.double(), "X is torch.float32"),
    ],
)
def test_a_network_that_cannot_be_trained_is_refused(change: Callable[[nets.Network], object], sentence: str) -> None:
    of = network()
    change(of)
    with pytest.raises(nets.InputError, match=sentence):
        descended(of, Batch(X, T))


@pytest.mark.parametrize("engine", list(GRADIENT_ENGINES))
def test_targets_of_another_precision_are_refused(engine: str) -> None:
    with pytest.raises(nets.InputError, match=r"type torch\.float64 and the outputs torch\.float32"):
        descended(network(), Batch(X, T.double()), engine=engine)


@pytest.mark.parametrize("shape", [(2048, 2048), (2**20 + 17,), (EXACT_SUM + 1,), (300, 300, 7)], ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.float64])
@pytest.mark.parametrize("turned", [False, True])
def test_the_norm_of_millions_of_numbers_is_right(shape: tuple[int, ...], dtype: torch.dtype, turned: bool) -> None:
    """Right to 1e-6; PyTorch in float32 has an error of 1e-4."""
    t = torch.randn(shape, generator=torch.Generator().manual_seed(0)).to(dtype)
    t = t.transpose(0, -1) if turned else t
    exact = t.double().norm().item()
    found = [
        norm.item() for norm in norm_tensors([t, t[:1]], torch.float64 if dtype == torch.float64 else torch.float32)
    ]
    assert found == pytest.approx([exact, t[:1].double().norm().item()], rel=1e-6)
    assert norms_now([t]) == pytest.approx([exact], rel=1e-6)


@pytest.mark.parametrize("settings", [{}, {"micro_batch_size": 4}, {"sample_norms": True}], ids=str)
def test_both_engines_record_the_same_norms_of_large_layers(settings: dict) -> None:
    """To 1e-6 at every step, also sample by sample."""
    x, t = torch.randn(8, 1024, generator=torch.Generator().manual_seed(0)), torch.rand(8, 1024)
    told = []
    for engine in GRADIENT_ENGINES:
        of = nets.mlp([1024, 1024], output="identity", generator=torch.Generator().manual_seed(1))
        steps = descended(of, Batch(x, t), engine=engine, steps=3, batch_size=None, learning_rate=1e-3, **settings)
        told.append([n for s in steps for n in (*s.gradient_norm.values(), *s.update_ratio.values())])
        if settings.get("sample_norms"):
            told[-1] += [
                n for s in steps if s.sample_norms is not None for n in s.sample_norms.values.flatten().tolist()
            ]
    assert told[0] == pytest.approx(told[1], rel=2e-6)
