"""A derivation that a module does not have is unavailable; an error of `nets.verification` itself is raised."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

import nets
from nets.errors import InputError
from nets.verification import attempt as attempts
from nets.verification.attempt import Available, Unavailable, attempt, callers_errors_as
from nets.verification.derivations import columns, forward_mode, reverse_mode

X = torch.tensor([[0.3, -0.8]])


def raising(error: Exception) -> Callable[[], None]:
    def function() -> None:
        raise error

    return function


def in_own_code(source: str) -> Callable[[], None]:
    """A function whose code counts as a part of nets/verification."""
    found: dict[str, Callable[[], None]] = {}
    exec(compile(source, str(attempts.OWN_CODE / "written_here.py"), "exec"), found)
    return found["function"]


def test_a_result_is_available() -> None:
    found = attempt(lambda: 3)
    assert found == Available(3) and found.or_none() == 3


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("no rule"),
        NotImplementedError("no kernel"),
        InputError("outside."),
        KeyError("theirs"),
        TypeError("x"),
    ],
)
def test_an_error_of_the_module_makes_it_unavailable(error: Exception) -> None:
    found = attempt(raising(error))
    assert isinstance(found, Unavailable) and found.error is error and found.or_none() is None
    assert found.why.startswith(type(error).__name__)


@pytest.mark.parametrize(
    ("source", "kind"),
    [
        ("def function(): return misspelt", NameError),
        ("def function(): return {}['missing']", KeyError),
        ("def function(): return None.shape", AttributeError),
        ("def function(): return len(3)", TypeError),
    ],
)
def test_a_defect_of_verification_is_raised(source: str, kind: type[Exception]) -> None:
    with pytest.raises(kind):
        attempt(in_own_code(source))


def test_an_operation_that_pytorch_refuses_is_unavailable_in_code_of_nets_too() -> None:
    found = attempt(in_own_code("import torch\ndef function(): return torch.ones(2) @ torch.ones(3)"))
    assert isinstance(found, Unavailable)


@pytest.mark.parametrize(("module", "name"), [(forward_mode, "jvp"), (columns, "vmap"), (reverse_mode, "rows_of")])
def test_a_broken_derivation_does_not_look_like_a_missing_one(
    monkeypatch: pytest.MonkeyPatch, module: object, name: str
) -> None:
    monkeypatch.setattr(module, name, None)
    with pytest.raises((TypeError, AttributeError), match="NoneType"):
        nets.verify(nn.Tanh(), X)


class WithoutForwardMode(torch.autograd.Function):
    @staticmethod
    def forward(ctx: object, x: Tensor) -> Tensor:
        return 2 * x

    @staticmethod
    def backward(ctx: object, v: Tensor) -> Tensor:
        return 2 * v


class Doubled(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return WithoutForwardMode.apply(x)


def test_a_module_without_forward_mode_passes_with_a_note() -> None:
    certificate = nets.verify(Doubled(), X)
    assert certificate.passed and any("forward mode" in note for note in certificate.notes)


def test_a_module_may_raise_anything_in_complex_numbers() -> None:
    class Picky(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            if x.is_complex():
                raise LookupError("real numbers alone")
            return x.sin()

    certificate = nets.verify(Picky(), X)
    assert certificate.passed and "complex step" not in {check.against for check in certificate.checks}


def _refusal(error: Exception) -> InputError:
    return InputError(f"refused: {type(error).__name__}")


@pytest.mark.parametrize("error", [KeyError("k"), RuntimeError("r"), ZeroDivisionError()], ids=repr)
def test_an_error_of_the_module_is_raised_as_an_input_error(error: Exception) -> None:
    with pytest.raises(InputError, match=f"refused: {type(error).__name__}"), callers_errors_as(_refusal):
        raising(error)()


def test_a_defect_and_an_input_error_are_raised_as_they_are() -> None:
    with pytest.raises(NameError), callers_errors_as(_refusal):
        in_own_code("def function(): return misspelt")()
    with pytest.raises(InputError, match="as it is"), callers_errors_as(_refusal):
        raising(InputError("as it is"))()
