"""`Certificate.from_json` of a text that `to_json` did not write: one sentence, for every text."""

import copy
import json
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import nets
from nets import Certificate, InputError

WHOLE = nets.verify(torch.nn.Linear(2, 1), torch.ones(1, 2))
TEXT = WHOLE.to_json()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[" * 100_000, "nested too deeply"),
        ('{"schema":' * 100_000, "nested too deeply"),
        (TEXT.replace('"entries": 2', '"entries": ' + "9" * 5_000, 1), "takes more than 64 bits"),
        (TEXT.replace('"entries": 2', f'"entries": {2**63}', 1), "takes more than 64 bits"),
        (TEXT.replace('"wrong": 0', '"wrong": NaN', 1), "NaN is no number of JSON"),
        (TEXT.replace('"wrong": 0', '"wrong": -Infinity', 1), "-Infinity is no number of JSON"),
        (TEXT.replace('"tolerance": ', '"tolerance": 1e999, "_": ', 1), "beyond double precision"),
        (TEXT.replace('"wrong": 0', '"wrong": true', 1), "wrong of a check is True"),
        (TEXT.replace('"message": "', '"message": "\\ud800', 1), "surrogates"),
        (TEXT.replace("{", '{"schema": "nets.certificate/4", ', 1), "the key 'schema' occurs twice"),
        (TEXT.replace('"verdict": "pass"', '"verdict": "fail"', 1), "'fail' where its checks make it 'pass'"),
        (TEXT.replace('"notes": [', '"notes": "", "_": [', 1), "formulas as an object and notes as a list"),
        (TEXT.replace('"checks": [', '"checks": [3, ', 1), "a check is 3 and no object"),
        (TEXT.replace('"checks": [', '"checks": 3, "_": [', 1), "checks is 3"),
        (TEXT.replace('"parameter": ', '"other": 1, "parameter": ', 1), "a check has the unknown field 'other'"),
        (TEXT.replace('"verdict": "pass"', '"verdict": "perhaps"'), "'perhaps' is no verdict"),
        (TEXT.replace('"location": null', '"location": [1]', 1), "the location is [1] and no object"),
        (TEXT.replace('"location": null', '"location": {"module": "a"}', 1), "the location has no kind"),
        (
            TEXT.replace("certificate/4", "certificate/3", 1).replace('"reason": null', '"reason": 5', 1),
            "reason of a check is 5",
        ),
        ("[]", "no JSON object"),
        ("{", "line 1, column 2"),
        ("\x00", "no certificate"),
        ('"' + "x" * 10**6, "no certificate"),
        (None, "no certificate"),
        (b"\xff\xfe\xfd", "no certificate"),
        (3, "no certificate"),
        (["{}"], "no certificate"),
    ],
    ids=lambda value: value if isinstance(value, str) and value.isprintable() and len(value) < 60 else "text",
)
def test_a_hostile_text_is_refused_in_a_sentence(text: Any, said: str) -> None:
    with pytest.raises(InputError) as refused:
        Certificate.from_json(text)
    assert said in str(refused.value)
    assert not any(word in str(refused.value) for word in ("Error", "object is not", "argument", "attribute"))
    assert "\n" not in str(refused.value) and len(str(refused.value)) < 1_000


def test_a_certificate_without_checks_is_damaged() -> None:
    document = json.loads(TEXT) | {"checks": [], "verdict": "inconclusive"}
    with pytest.raises(InputError, match="certificate is damaged"):
        Certificate.from_json(json.dumps(document))


LEAVES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.sampled_from([2**63, -(10**30), "inf", "nan", "pass", "fail", "", "{0}%s", "[bold]", "\x1b[2J"]),
    st.floats(),
    st.text(max_size=5),
)
VALUES = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3)
)


def places(found: Any) -> list[Callable[[Any], tuple[Any, Any]]]:
    """For each value in a document, a function that finds what it stands in, and under which key."""
    if isinstance(found, dict | list):
        keys = list(found) if isinstance(found, dict) else list(range(len(found)))
        inner = [(lambda root, key=key, place=place: place(root[key])) for key in keys for place in places(found[key])]
        return [*((lambda root, key=key: (root, key)) for key in keys), *inner]
    return []


PLACES = places(json.loads(TEXT))


@given(place=st.sampled_from(PLACES), value=VALUES, remove=st.booleans())
@settings(max_examples=300)
def test_a_certificate_with_one_other_value_is_read_or_refused(place: Any, value: Any, remove: bool) -> None:
    document = copy.deepcopy(json.loads(TEXT))
    inside, key = place(document)
    if remove:
        del inside[key]
    else:
        inside[key] = value
    try:
        found = Certificate.from_json(json.dumps(document))
    except InputError as error:
        assert "certificate" in str(error) and "\n" not in str(error)
    else:
        # What is read can be shown, printed and written again.
        assert str(found).encode() and found.sentence()
        assert Certificate.from_json(found.to_json()).to_json() == found.to_json()


@given(document=VALUES)
def test_any_other_document_is_refused(document: Any) -> None:
    with pytest.raises(InputError, match="certificate"):
        Certificate.from_json(json.dumps(document))
