"""For any arguments, check_accumulation returns a certificate or raises an InputError of one line."""

from typing import Any

import hypothesis
import pytest
import torch
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

import nets
from tests.right_loops import RAGGED, by_samples, mlp


class Raising:
    """Raises an error in every operation."""

    def __iter__(self) -> Any:
        raise ArithmeticError("no numbers")

    def __bool__(self) -> bool:
        raise ArithmeticError("no truth")

    def __call__(self, *_: Any, **__: Any) -> Any:
        raise KeyError("key")

    def __eq__(self, _: object) -> bool:
        raise ArithmeticError("no equality")

    __hash__ = None  # type: ignore[assignment]


class Returning(nn.Module):
    """A module that returns a given object."""

    def __init__(self, what: Any) -> None:
        super().__init__()
        self.weight, self.what = nn.Parameter(torch.ones(3)), what

    def forward(self, *inputs: Any, **named: Any) -> Any:
        return self.what


class Breaking(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.clone()

    @staticmethod
    def backward(ctx: Any, *_: Any) -> Any:
        raise ZeroDivisionError("in the backward pass")


def broken(y: Tensor, target: Tensor) -> Tensor:
    return Breaking.apply(F.mse_loss(y, target))


ODD = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(),
    st.text(max_size=3),
    st.sampled_from(
        [Raising(), object(), int, nn, torch.float32, {}, [], (), set(), b"", range(3), nn.Linear, Ellipsis]
    ),
)
TENSORS = st.sampled_from(
    [
        torch.ones(()),
        torch.ones(0),
        torch.ones(2, 3),
        torch.ones(2, 2),
        torch.full((2, 3), torch.nan),
        torch.full((2, 2), torch.inf),
        torch.ones(2, 3, dtype=torch.complex64),
        torch.ones(2, 3, dtype=torch.bfloat16),
        torch.ones(2, dtype=torch.long),
        torch.ones(2, 3, dtype=torch.bool),
        torch.ones(2, 3, device="meta"),
        torch.ones(2, 3).to_sparse(),
        torch.ones(2, 3, requires_grad=True) * 2,
        nn.utils.rnn.pack_sequence([torch.ones(2, 3)]),
    ]
)
PARTS = st.recursive(
    TENSORS | ODD, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=2), inner, max_size=2)
)
BATCHES = st.one_of(
    ODD,
    st.lists(st.tuples(PARTS, PARTS), max_size=3),
    st.lists(PARTS, max_size=2),
    st.just(RAGGED),
    st.just(RAGGED),
    st.just(iter([])),
)
MODULES = st.one_of(
    ODD,
    st.sampled_from(
        [mlp(), mlp(nn.BatchNorm1d(4)), mlp(nn.Dropout()), nn.LazyLinear(2), nn.Linear(3, 2).to("meta"), nn.Tanh()]
    ),
    st.sampled_from(
        [nn.Linear(3, 2, dtype=torch.bfloat16), nn.Linear(3, 2, dtype=torch.complex64), nn.Bilinear(3, 3, 2)]
    ),
    st.builds(Returning, ODD | TENSORS),
    st.just(mlp()),
)
LOSSES = st.one_of(
    ODD,
    st.sampled_from(
        [
            F.mse_loss,
            F.cross_entropy,
            broken,
            Raising(),
            nn.MSELoss(),
            nn.MSELoss(reduction="none"),
            nn.Bilinear(2, 2, 1),
        ]
    ),
    (ODD | TENSORS).map(lambda what: lambda y, target: what),
    st.just(F.mse_loss),
)
LOOPS = st.one_of(
    ODD,
    st.sampled_from([by_samples, Raising(), lambda m, loss, batches: None, lambda: None, nn.Linear(3, 2)]),
    st.sampled_from(
        [lambda m, loss, batches: m.weight, lambda m, loss, batches: m.to("meta"), lambda m, *_: m.double().half()]
    ),
    (ODD | TENSORS).map(lambda what: lambda m, loss, batches: [setattr(p, "grad", what) for p in m.parameters()]),
)


@hypothesis.settings(max_examples=150, suppress_health_check=list(hypothesis.HealthCheck))
@hypothesis.given(MODULES, LOSSES, BATCHES, LOOPS, st.just(0) | ODD)
def test_the_result_is_a_certificate_or_an_input_error(
    module: Any, loss: Any, micro_batches: Any, closure: Any, seed: Any
) -> None:
    before = torch.random.get_rng_state()
    try:
        certificate = nets.check_accumulation(module, loss, micro_batches, closure, seed=seed)
    except nets.InputError as error:
        assert str(error) and "\n" not in str(error)
    else:
        assert certificate.verdict in ("pass", "fail", "inconclusive") and certificate.sentence()
    assert torch.equal(before, torch.random.get_rng_state())


@pytest.mark.parametrize("argument", ["module", "loss", "micro_batches", "closure", "seed"])
@hypothesis.settings(max_examples=40, suppress_health_check=list(hypothesis.HealthCheck))
@hypothesis.given(st.data())
def test_one_bad_argument_gives_a_certificate_or_an_input_error(argument: str, data: st.DataObject) -> None:
    given: dict[str, Any] = {
        "module": mlp(),
        "loss": F.mse_loss,
        "micro_batches": RAGGED,
        "closure": by_samples,
        "seed": 0,
    }
    odd = {"module": MODULES, "loss": LOSSES, "micro_batches": BATCHES, "closure": LOOPS, "seed": ODD}
    given[argument] = data.draw(odd[argument])
    try:
        nets.check_accumulation(**given)
    except nets.InputError as error:
        assert "\n" not in str(error)
