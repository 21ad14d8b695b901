"""verify on unusual modules and inputs: a verdict or an InputError, and the global random state is left as it was."""

import random
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

import nets
from nets.records.reason import Reason

X = torch.randn(2, 3, generator=torch.Generator().manual_seed(0))
W = torch.randn(3, generator=torch.Generator().manual_seed(1))


class Written(nn.Module):
    """Y = f(X, W)."""

    def __init__(self, function: Callable[..., Any], **parameters: Tensor) -> None:
        super().__init__()
        self.function = function
        for name, value in ({"weight": W} | parameters).items():
            setattr(self, name, nn.Parameter(value.clone()))

    def forward(self, *x: Any) -> Any:
        return self.function(*x, self.weight)


class Pair(NamedTuple):
    first: Tensor
    second: Tensor


def hooked(layer: nn.Module) -> nn.Module:
    """A hook that fails unless the input requires a gradient."""
    layer.register_full_backward_hook(lambda module, inner, outer: (inner[0] * 1.0,))
    return layer


def slope_of(x: Tensor, w: Tensor) -> Tensor:
    """∂/∂W of Σ sin(X W), computed in the forward, as for a differential equation."""
    return torch.autograd.grad((x * w).sin().sum(), w, create_graph=True)[0]


PASS: dict[str, tuple[Any, ...]] = {
    "an output of less precision": (Written(lambda x, w: (x * w).float()), X),
    "outputs of two precisions": (Written(lambda x, w: ((x * w).float(), (x * w).sin())), X),
    "less precision on the way": (Written(lambda x, w: (x * w).float().double().sin()), X),
    "a parameter without numbers": (Written(lambda x, w: x * w, empty=torch.zeros(0)), X),
    "a hook that reads the gradient of the input": (hooked(nn.Linear(3, 2)), X),
    "such a hook behind an embedding": (
        nn.Sequential(nn.Embedding(5, 3), hooked(nn.Linear(3, 2))),
        torch.tensor([1, 2]),
    ),
    "a derivative in the forward": (Written(slope_of), X),
    "a checkpoint": (Written(lambda x, w: checkpoint(torch.sin, x * w, use_reentrant=False)), X),
    "Python's random numbers": (Written(lambda x, w: x * w * random.random()), X),
    "NumPy's random numbers": (Written(lambda x, w: x * w * float(np.random.rand())), X),
    "a named tuple, and None": (Written(lambda x, w: {"a": Pair(x * w, x.sin()), "b": None}), X),
    "a number, a word and nothing": (Written(lambda x, k, word, none, w: x * w * k), X, 2.5, "word", None),
    "an array of NumPy's": (Written(lambda x, w: torch.as_tensor(x) * w), np.ones((2, 3))),
    "no axis": (Written(lambda x, w: x * w, weight=torch.tensor(1.5)), torch.tensor(2.0)),
    "an expanded input": (nn.Linear(3, 2), X[:1].expand(4, 3)),
    "a transposed input": (nn.Linear(2, 3), X.mT),
    "complex inputs": (Written(lambda x, w: x * w), torch.complex(X, X.flip(0))),
    "an output that is the input": (nn.Identity(), X),
}

REFUSED: dict[str, tuple[Callable[[], tuple[Any, ...]], str]] = {
    "lazy": (lambda: (nn.LazyLinear(3), X), "weight has no shape yet.*call it once first"),
    "a sparse input": (
        lambda: (Written(lambda x, w: x @ w), X.to_sparse()),
        "input is sparse or nested.*to_dense",
    ),
    "a meta input": (lambda: (nn.Linear(3, 2), X.to("meta")), "input is on the device 'meta'"),
    "a meta module": (lambda: (nn.Linear(3, 2, device="meta"), X), "weight is on the device 'meta'"),
    "an object": (
        lambda: (Written(lambda x, w: slice(x, w)), X),
        "returned a slice.*return tensors, or tuples, lists and dicts",
    ),
    "nothing": (lambda: (Written(lambda x, w: None), X), "returned a NoneType.*return tensors"),
    "no outputs": (
        lambda: (Written(lambda x, w: x[:, :0]), X),
        r"returned a tensor of shape \(2, 0\).*one sample or more",
    ),
    "an error": (lambda: (Written(lambda x, w: 1 / 0), X), "cannot be called with these inputs: ZeroDivisionError"),
}


@pytest.mark.parametrize("case", list(PASS))
def test_a_right_module_passes(case: str) -> None:
    module, *inputs = PASS[case]
    before = random.getstate(), np.random.get_state()[2], torch.random.get_rng_state().tolist()
    certificate = nets.verify(module, *inputs)
    assert certificate.passed, str(certificate)
    assert before == (random.getstate(), np.random.get_state()[2], torch.random.get_rng_state().tolist())


@pytest.mark.parametrize("case", list(REFUSED))
def test_what_cannot_be_verified_is_an_input_error(case: str) -> None:
    make, sentence = REFUSED[case]
    with pytest.raises(nets.InputError, match=sentence):
        nets.verify(*make())


@pytest.mark.filterwarnings("ignore:`torch.jit")  # a DeprecationWarning, and a FutureWarning from torch 2.14 on
@pytest.mark.parametrize(
    "compiled", [torch.jit.script, lambda module: torch.jit.trace(module, X)], ids=["script", "trace"]
)
def test_a_module_compiled_by_torch_jit_is_an_input_error(compiled: Callable[[nn.Module], nn.Module]) -> None:
    with pytest.raises(nets.InputError, match=r"the module is compiled by torch\.jit"):
        nets.verify(compiled(nn.Sequential(nn.Linear(3, 2), nn.Tanh())), X)


def test_a_mask_of_infinities_is_accepted_where_another_input_requires_a_gradient() -> None:
    attention = Written(lambda x, mask, w: ((x * w) + mask).softmax(-1))
    x, mask = torch.randn(3, 3, generator=torch.Generator().manual_seed(0)), torch.full((3, 3), -torch.inf).triu(1)
    with pytest.raises(nets.InputError, match=r"input\[1\].*requires_grad_\(\) on the other inputs"):
        nets.verify(attention, x, mask)
    assert nets.verify(attention, x.requires_grad_(), mask).passed


def test_a_seed_larger_than_numpy_takes_is_accepted() -> None:
    assert nets.verify(Written(lambda x, w: x * w * float(np.random.rand())), X, seed=2**40).passed


@pytest.mark.filterwarnings("ignore:None of the inputs have requires_grad=True:UserWarning")
def test_a_reentrant_checkpoint_is_inconclusive() -> None:
    certificate = nets.verify(Written(lambda x, w: checkpoint(torch.sin, x * w, use_reentrant=True)), X)
    assert certificate.checks[0].reason is Reason.REENTRANT_CHECKPOINT and certificate.verdict == "inconclusive"


def test_a_backward_that_raises_fails() -> None:
    class Raises(torch.autograd.Function):
        @staticmethod
        def forward(ctx: object, x: Tensor) -> Tensor:
            return x * 2

        @staticmethod
        def backward(ctx: object, v: Tensor) -> Tensor:
            raise KeyError("scale")

    certificate = nets.verify(Written(lambda x, w: Raises.apply(x * w)), X)
    assert certificate.checks[0].reason is Reason.BACKWARD_RAISES and "KeyError: 'scale'" in certificate.sentence()


@pytest.mark.parametrize("mode", [torch.inference_mode, torch.no_grad])
def test_verify_works_without_grad_mode(mode: Callable[[], Any]) -> None:
    with mode():
        module, x = nn.Sequential(nn.Linear(3, 2), nn.Tanh()), torch.ones(2, 3)
        assert nets.verify(module, x).passed


def test_an_output_in_half_precision_cannot_be_proved_to_a_thousandth() -> None:
    assert nets.verify(Written(lambda x, w: (x * w).half()), X).verdict == "inconclusive"


def test_post_accumulate_grad_hooks_are_not_run_and_make_the_verdict_inconclusive() -> None:
    """They may step an optimizer, as in PyTorch's tutorial, which would change the caller's parameters."""
    layer, calls = nn.Linear(3, 2), []
    layer.weight.register_post_accumulate_grad_hook(calls.append)
    certificate = nets.verify(layer, X)
    assert certificate.verdict == "inconclusive" and not calls
    assert certificate.checks[-1].reason is Reason.LEFT_OUT and "weight" in certificate.sentence()
