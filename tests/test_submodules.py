"""In a deep module, the certificate names the submodule that a wrong gradient comes from."""

import json
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import nets
from nets.records.certificate import Check
from nets.records.location import Location
from nets.records.method import Method
from nets.records.verdict import Verdict
from nets.verification.probing.submodules import locate
from nets.verification.problem.problem import Problem
from tests.building import Written
from tests.deep import WHERE, Gelu, Part, gpt, spoiled

FAILED = Check.without_entry("any", Method.REVERSE_MODE, Method.CENTRAL_DIFFERENCE, Verdict.FAIL)
X = torch.randn(3, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def located(module: nn.Module, *inputs: Any) -> Location | None:
    """Where the fault of a module is that is known to have one."""
    return locate(Problem(module, inputs), [FAILED])


@pytest.mark.parametrize("fault", list(WHERE))
def test_the_module_with_the_fault_is_named(fault: str) -> None:
    location = located(*gpt(fault))
    assert location is not None and location.module == WHERE[fault]


def test_nothing_is_named_where_nothing_is_wrong() -> None:
    assert located(*gpt()) is None


class Encoder(nn.Module):
    """Six of PyTorch's own layers, with dropout. The fourth has another activation."""

    def __init__(self, activation: nn.Module) -> None:
        super().__init__()
        layers = [
            nn.TransformerEncoderLayer(4, 2, 8, dropout=0.1, batch_first=True, activation=nn.GELU()) for _ in range(6)
        ]
        layers[3].activation = activation
        self.layers = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


@pytest.mark.parametrize("mode", [True, False])
def test_a_layer_of_an_encoder_is_named_in_training_and_in_evaluation(mode: bool) -> None:
    torch.manual_seed(0)
    location = located(Encoder(Gelu("gelu")).double().train(mode), X[None])
    assert location is not None and location.module == "layers.3.activation"


def two(first: nn.Module, second: nn.Module, call: Callable[..., Any]) -> nn.Module:
    """call(first, second, x)."""

    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = first, second

        def forward(self, x: Tensor) -> Any:
            return call(self.first, self.second, x)

    return Two().double()


class Pair(Part):
    """x → (x², {'sum': x + shift}), from a tuple and a keyword."""

    def forward(self, pair: tuple[Tensor, Tensor], *, shift: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        return pair[0] * pair[1], {"sum": self.if_it_is("pair", pair[0] + shift["by"])}


class Box:
    """Something that is no tensor and holds one."""

    def __init__(self, tensor: Tensor) -> None:
        self.tensor = tensor


class Boxed(nn.Module):
    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Box:
        return Box(self.inner(x))


class Open(Part):
    def forward(self, box: Box) -> Tensor:
        return self.if_it_is("open", box.tensor.tanh())


CASES: dict[str, tuple[nn.Module, str]] = {
    "a module that is called twice": (two(nn.Tanh(), Gelu("gelu"), lambda a, b, x: b(a(b(x)))), "second"),
    "tuples, dicts and keywords": (
        two(nn.Linear(4, 4), Pair("pair"), lambda a, b, x: b((a(x), x), shift={"by": x})),
        "second",
    ),
    "inside a module whose output is no tensor": (
        two(Boxed(nn.Sequential(nn.Linear(4, 4), Gelu("gelu"))), Open(), lambda a, b, x: b(a(x))),
        "first.inner.1",
    ),
    "a hook on the output of a child": (
        two(nn.Linear(4, 4), nn.Tanh(), lambda a, b, x: spoiled(b(a(x)))),
        "",
    ),
}


@pytest.mark.parametrize("case", list(CASES))
def test_calls_of_every_form_are_tried(case: str) -> None:
    module, name = CASES[case]
    location = located(module, X)
    assert location is not None and location.module == name


def test_a_child_that_cannot_be_called_alone_is_named() -> None:
    module = two(Boxed(nn.Linear(4, 4)), Open("open"), lambda a, b, x: b(a(x)))
    location = located(module, X)
    assert (
        location is not None
        and (location.module, location.itself) == ("", True)
        and set(location.untried) == {"first", "second"}
    )
    assert "or at `first` and `second`, which cannot be called alone" in str(location)


def test_the_sentence_begins_with_the_submodule_and_json_keeps_it() -> None:
    """With what fails before it and what passes after it, in the order of the forward pass."""
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 3), Gelu("gelu"), nn.Linear(3, 2)).double()
    certificate = nets.verify(module, X)
    where = (
        "Everything up to `2` fails, everything from `4` on passes: "
        "look at `3` (Gelu): its own gradient by input is wrong"
    )
    assert certificate.sentence().startswith(f"fail: {where}. ∂Y[")
    assert nets.Certificate.from_json(certificate.to_json()).location == certificate.location


@pytest.mark.parametrize("damage", [{"itself": 1}, {"by": "x"}, {"module": None}, {"unknown": "x"}, 3])
def test_a_location_of_another_kind_is_damaged(damage: Any) -> None:
    document = json.loads(nets.verify(nn.Sequential(Gelu("gelu")), X).to_json())
    assert document["location"]["module"] == "0"
    document["location"] = document["location"] | damage if isinstance(damage, dict) else damage
    with pytest.raises(nets.InputError, match="damaged"):
        nets.Certificate.from_json(json.dumps(document))


def test_several_places_are_named_with_a_right_one_between() -> None:
    module = nn.Sequential(Gelu("gelu"), nn.Tanh(), Written(lambda m, x: spoiled(x.sin())))
    location = located(module, X)
    assert location is not None and (location.module, location.also) == ("0", ("2",))
