"""The functions of the documents and the engines that differentiate them: each Jacobian, what is refused, what is
shown."""

import sys

import numpy as np
import pytest
import torch
from torch.func import jacrev

from nets import lessons
from nets.errors import InputError
from nets.lessons import Composed, Doubling, Function, Polynomials, Stacked, Sum, compare, vjp
from nets.lessons.comparison import shown
from nets.lessons.function import EntryByEntry
from nets.verification.derivations.engines.reading import OutOfReachError

RANDOM = np.random.default_rng(0)
X = RANDOM.uniform(0.5, 2, 3)
FUNCTIONS: list[tuple[Function, tuple[np.ndarray, ...]]] = [
    *((kind(), (x,)) for kind in EntryByEntry.__subclasses__() for x in (X, X[0])),
    *((kind(), (X,)) for kind in (Sum, lessons.SquaredNorm, lessons.TwiceSquaredNorm)),
    (lessons.SquaredNorm(), (RANDOM.normal(size=(2, 3)),)),
    (Polynomials(), (X[:2],)),
    *((kind(), (x, x)) for kind in (lessons.TwoUses,) for x in (X[0], X[1])),
    (lessons.UsedTwice(), (X[0],)),
    (lessons.Line(), (X[0], X[1], X[2])),
    (lessons.Times(RANDOM.normal(size=(2, 3))), (X,)),
    (lessons.RowTimes(RANDOM.normal(size=(3, 2))), (X,)),
    (lessons.Quadratic(RANDOM.normal(size=(3, 3))), (X,)),
    (Stacked(Polynomials(), 2), (X[:2],)),
    (Composed(Polynomials(), lessons.Square()), (X[:2],)),
    (Composed(Sum(), Polynomials()), (X[:2],)),
]


@pytest.mark.parametrize(
    ("function", "at"), FUNCTIONS, ids=lambda value: str(value) if isinstance(value, Function) else ""
)
def test_the_jacobian_by_hand_equals_that_of_autograd(function: Function, at: tuple[np.ndarray, ...]) -> None:
    by_hand = function.jacobian(*(np.asarray(x) for x in at))
    found = jacrev(lambda *x: function(*x), argnums=tuple(range(len(at))))(*(torch.tensor(x) for x in at))
    for a, b in zip(by_hand, found, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-12)


def test_every_function_has_a_test() -> None:
    public = {value for value in vars(lessons).values() if isinstance(value, type) and issubclass(value, Function)}
    without_a_jacobian = {Function, lessons.Doubling, lessons.DetachedSquare}
    assert public - without_a_jacobian == {type(function) for function, _ in FUNCTIONS}


@pytest.mark.parametrize("a", [0.0, [0.0, 0.0], 1e-300, 5e-324, 1e300, np.inf, np.nan])
def test_doubling_comes_to_an_end(a: float | list[float]) -> None:
    vjp("PyTorch", Doubling(), a)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: vjp("Torch", Sum(), [1]), "the engine is 'Torch'; expected one of PyTorch, NumPy by hand"),
        (lambda: vjp("PyTorch", lessons.Line(), 1, 2), r"y = w x \+ b was given 2 arguments; expected 3: x, w, b"),
        (lambda: vjp("PyTorch", Polynomials(), [1, 2], v=[1, 10]), r"v has the shape \(2,\); expected \(3,\)"),
        (lambda: compare(Polynomials(), [1, 2], v=1), r"v has the shape \(\); expected \(3,\)"),
    ],
)
def test_wrong_arguments_are_refused(call: object, message: str) -> None:
    with pytest.raises(InputError, match=message):
        call()  # type: ignore[operator]


def test_the_error_for_a_missing_engine_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nets.lessons.engines.available", dict)
    assert list(lessons.installed()) == ["PyTorch"]
    with pytest.raises(InputError, match=r"JAX is not installed; .* pip install"):
        vjp("JAX", Sum(), [1.0])


def test_the_error_for_a_missing_tensorflow_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "tensorflow", raising=False)
    monkeypatch.setattr("nets.verification.derivations.engines.loading.find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"tensorflow is not installed; .* pip install"):
        lessons.tape.summed(Sum(), [1.0])


@pytest.mark.parametrize(("engine", "reason"), [("NumPy by hand", "written by hand"), ("SymPy", "a symbol has none")])
def test_an_engine_that_cannot_derive_a_function_is_left_out(engine: str, reason: str) -> None:
    with pytest.raises(OutOfReachError, match=reason):
        vjp(engine, Doubling(), 1.0)
    found = compare(Doubling(), 1.0)
    assert engine not in found.found
    assert f"{engine}: " in str(found)


def test_a_comparison_shows_each_engine_and_how_far_they_are_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = str(compare(Polynomials(), [1, 2], v=[1, 10, 100])).splitlines()
    assert shown[0] == "y = (3x₁², x₁² + 2x₂³, 10x₂) at x = [1, 2], v = [1, 10, 100]"
    assert shown[2].split("  ")[0] == "PyTorch"
    assert "[3, 17, 20]  [26, 1240]" in shown[2]
    assert shown[-1] == "largest difference 0"
    monkeypatch.setattr(Polynomials, "jacobian", lambda self, x: (np.zeros((3, 2)),))
    assert compare(Polynomials(), [1, 2]).largest_difference == 34


def test_a_table_is_safe_in_a_page() -> None:
    class Odd(Sum):
        formula = "y = <b>"

    assert "&lt;b&gt;" in compare(Odd(), [1.0])._repr_html_()


@pytest.mark.parametrize(
    ("number", "text"),
    [(0.0, "0"), (-0.0, "0"), (0.7, "0.7"), (28.0, "28"), (0.070650824, "0.0707"), (1e-15, "1e-15"), (-176742.4,
    "-176742.4"),
     (1e12, "1e+12"), (np.nan, "nan"), (np.arange(10), "[0, 1, 2, …, 7, 8, 9]")],
)  # fmt: skip
def test_numbers_are_shortened(number: float, text: str) -> None:
    assert shown(number) == text


def test_a_composition_is_written_as_a_chain() -> None:
    assert str(Composed(lessons.Sine(), lessons.Square())) == "y = x², z = sin y"


def test_the_code_that_is_shown_is_the_code_that_runs() -> None:
    assert lessons.source(Doubling.forward).startswith("def forward(self, m: Mathematics")
