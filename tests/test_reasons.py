"""The table of reasons is complete: every member is used, and every use fills in the facts of its sentence."""

import ast
import pickle
import string
from collections.abc import Iterator
from pathlib import Path

import pytest

from nets.records.loop_reason import LoopReason
from nets.records.method import Method, named
from nets.records.reason import Explained, Reason
from nets.records.verdict import Verdict, overall

ROOT = Path(__file__).parents[1]
TREES = {path: ast.parse(path.read_text("utf-8")) for path in sorted(ROOT.glob("nets/**/*.py"))}


KINDS: dict[str, type[Explained]] = {"Reason": Reason, "LoopReason": LoopReason}


def facts(reason: Explained) -> set[str]:
    """The fields of a sentence."""
    return {field for _, field, _, _ in string.Formatter().parse(reason.sentence) if field}


def uses() -> Iterator[tuple[str, type[Explained], str, set[str] | None]]:
    """Every `Reason.X.because(fact=...)` as (place, Reason, 'X', {'fact'}); None for the facts of any other mention."""
    for path, tree in TREES.items():
        calls = {node.func.value: node for node in ast.walk(tree) if _is_because(node)}
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in KINDS:
                call = calls.get(node)
                given = None if call is None else {keyword.arg or "**" for keyword in call.keywords}
                yield f"{path.relative_to(ROOT)}:{node.lineno}", KINDS[node.value.id], node.attr, given


def _is_because(node: ast.AST) -> bool:
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "because"


def test_every_use_fills_in_the_facts_of_its_sentence() -> None:
    wrong = [
        f"{place}: {name} has the facts {sorted(facts(kind[name]))}, given are {sorted(given)}"
        for place, kind, name, given in uses()
        if given is not None and name in kind.__members__ and given != facts(kind[name])
    ]
    assert wrong == []


@pytest.mark.parametrize("kind", KINDS.values())
def test_every_reason_is_given_somewhere(kind: type[Explained]) -> None:
    assert kind.__members__.keys() - {name for _, owner, name, _ in uses() if owner is kind} == set()


@pytest.mark.parametrize("kind", KINDS.values())
def test_no_two_reasons_have_one_value_or_one_sentence(kind: type[Explained]) -> None:
    assert len({reason.value for reason in kind}) == len(kind.__members__) == len(list(kind))
    assert len({reason.sentence for reason in kind}) == len(list(kind))


@pytest.mark.parametrize("reason", [*Reason, *LoopReason])
def test_a_sentence_is_filled_in_or_refused(reason: Explained) -> None:
    assert reason.because(**dict.fromkeys(facts(reason), 1)).reason is reason
    if facts(reason):
        with pytest.raises(KeyError):
            reason.because()


@pytest.mark.parametrize("member", [*Reason, *LoopReason, *Verdict, *Method])
def test_a_member_is_its_text(member: str) -> None:
    text = str(member)
    assert (member, f"{member}", f"{member:>50}", hash(member)) == (text, text, f"{text:>50}", hash(text))
    assert type(text) is str and pickle.loads(pickle.dumps(member)) is member and {text: 1}[member] == 1


def test_users_compare_a_verdict_with_text() -> None:
    assert overall([Verdict.PASS, Verdict.INCONCLUSIVE]) == "inconclusive" and overall([Verdict.PASS]) == "pass"
    assert overall([]) is Verdict.INCONCLUSIVE and overall([Verdict.FAIL, Verdict.PASS]) in ("fail",)


def test_the_name_of_an_engine_stays_text() -> None:
    assert named("forward mode") is Method.FORWARD_MODE and type(named("my engine")) is str
