"""`assert_gradients`, and reading a certificate from JSON."""

import json
import math

import pytest
import torch
from torch import Tensor, nn

import nets
from nets.records.certificate import Certificate, Check
from nets.records.reason import Reason
from nets.records.verdict import Verdict
from nets.testing import assert_gradients
from nets.text import distinct_digits
from nets.verification.problem.outputs import EntryIndex

X = torch.randn(2, 3, generator=torch.Generator().manual_seed(0))


class Wrong(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        y = torch.tanh(x)
        if y.requires_grad:
            y.register_hook(lambda v: -v)
        return y


def test_right_gradients_print_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert_gradients(nn.Sequential(nn.Linear(3, 2), nn.Tanh()), X)
    assert capsys.readouterr() == ("", "")


def test_wrong_gradients_raise_an_assertion_error_with_sentence_and_table() -> None:
    with pytest.raises(AssertionError) as caught:
        assert_gradients(Wrong(), X)
    sentence, table = str(caught.value).split("\n\n", 1)
    assert isinstance(caught.value, nets.GradientError)
    assert sentence.startswith("fail: ∂Y[") and "wrong sign" in sentence
    assert "parameter" in table and sentence not in table


def test_options_reach_verify() -> None:
    with pytest.raises(nets.InputError, match="order is 3"):
        assert_gradients(Wrong(), X, order=3)


def test_json_reads_back_odd_numbers_and_indices() -> None:
    certificate = nets.verify(Wrong(), X)
    odd = Check(
        "p",
        "a",
        "b",
        1,
        0,
        math.inf,
        math.nan,
        ("key", 0),
        -math.inf,
        0.5,
        1e-300,
        None,
        Verdict.INCONCLUSIVE,
        Reason.KINK,
        "why",
        3.5,
    )
    whole = Certificate((*certificate.checks, odd), {"p": "∂Y"}, ("a note",))
    again = Certificate.from_json(whole.to_json())
    assert again.to_json() == whole.to_json()
    assert again.checks[:-1] == whole.checks[:-1] and again.formulas == whole.formulas and again.notes == whole.notes
    assert again.checks[-1].worst_index == ("key", 0) and math.isnan(again.checks[-1].max_rel_error or 0)
    json.loads(whole.to_json(), parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))


DAMAGED = [
    '{"schema": "nets.certificate/4"}',
    '{"schema": "nets.certificate/4", "checks": 3, "formulas": {}, "notes": []}',
    '{"schema": "nets.certificate/4", "checks": [{"parameter": "w"}], "formulas": {}, "notes": []}',
    '{"schema": "nets.certificate/4", "checks": [{"unknown": 1}], "formulas": {}, "notes": []}',
    '{"schema": "nets.certificate/4", "checks": [], "formulas": 1, "notes": []}',
]


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"schema": 3}', '{"schema": "nets.certificate/99"}', *DAMAGED])
def test_a_text_that_is_no_certificate_is_an_input_error(text: str) -> None:
    with pytest.raises(nets.InputError, match="certificate"):
        Certificate.from_json(text)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("entries", "x"),
        ("wrong", None),
        ("parameter", 3),
        ("worst_index", "ab"),
        ("output_index", 3),
        ("output", []),
        ("expected", "much"),
        ("detects", [1]),
        ("ulp", {}),
    ],
)
def test_a_certificate_with_a_field_of_another_type_is_damaged(field: str, value: object) -> None:
    document = json.loads(nets.verify(torch.nn.Linear(3, 2), torch.ones(2, 3)).to_json())
    document["checks"][0][field] = value
    with pytest.raises(nets.InputError, match=f"damaged .*{field} of a check is"):
        Certificate.from_json(json.dumps(document))


@pytest.mark.parametrize(
    ("key", "entry"), [((), "∂Y[1, 2] / ∂w[0]"), ((1,), "∂Y[1][1, 2] / ∂w[0]"), (("loss",), "∂Y['loss'][1, 2] / ∂w[0]")]
)
def test_the_indices_of_output_and_parameter_are_separate_fields(key: tuple, entry: str) -> None:
    index = EntryIndex(key, (1, 2), (0,)).fields()
    check = Check(
        "w",
        "a",
        "b",
        1,
        1,
        1.0,
        1.0,
        **index,
        expected=1.0,
        actual=2.0,
        tolerance=0.0,
        detects=0.0,
        verdict=Verdict.FAIL,
    )
    assert str(check).startswith(f"{entry}: a gives 2 where b gives 1;") and check.worst_index == (*key, 1, 2, 0)


@pytest.mark.parametrize("damage", [{"notes": [3]}, {"formulas": {"weight": 3}}])
def test_formulas_and_notes_must_be_texts(damage: dict) -> None:
    document = json.loads(nets.verify(torch.nn.Linear(3, 2), torch.ones(2, 3)).to_json())
    with pytest.raises(nets.InputError, match=r"damaged .*texts as formulas and notes"):
        Certificate.from_json(json.dumps(document | damage))


def test_two_numbers_have_enough_digits_to_differ() -> None:
    check = Check("p", "a", "b", 1, 1, 1e-12, 1e-12, (0, 0), 1.1222867, 1.1222867 + 1e-12, 1e-15, 1e-15, Verdict.FAIL)
    assert "a gives 1.122286700001 where b gives 1.1222867;" in str(check)
    assert distinct_digits(1.0, 1.0 + 2**-52) == ("1", "1.0000000000000002")
    assert distinct_digits(1 / 3, 0.0) == ("0.333333333", "0") and distinct_digits(math.nan, math.nan) == ("nan", "nan")


def test_a_certificate_with_an_unknown_verdict_is_damaged() -> None:
    """It would count as a pass, since it is neither a fail nor inconclusive."""
    text = (
        nets.verify(torch.nn.Linear(3, 2), torch.ones(2, 3))
        .to_json()
        .replace('"verdict": "pass"', '"verdict": "maybe"')
    )
    with pytest.raises(nets.InputError, match=r"damaged .*'maybe'"):
        nets.Certificate.from_json(text)
