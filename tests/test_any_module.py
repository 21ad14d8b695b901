"""`nets.verify` on modules of every kind: inputs, outputs, parameters, and modules that cannot be verified."""

import copy
import io
import itertools

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations

import nets
from nets.records.certificate import Check
from nets.records.reason import Reason

G = torch.Generator().manual_seed(0)


def _randn(*shape: int, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(shape, generator=G, dtype=dtype)


class Forward(nn.Module):
    """A module that is a function."""

    def __init__(self, function: object, **parameters: Tensor) -> None:
        super().__init__()
        self.function = function
        for name, value in parameters.items():
            self.register_parameter(name, nn.Parameter(value))

    def forward(self, *inputs: object) -> object:
        return self.function(self, *inputs)  # type: ignore[operator]


def _check(certificate: nets.Certificate, parameter: str, against: str = "central difference") -> Check:
    return next(c for c in certificate.checks if (c.parameter, c.against) == (parameter, against))


def test_the_derivative_is_taken_by_each_of_several_inputs() -> None:
    module = Forward(lambda self, a, b, c: torch.einsum("ijk,j->ik", a, b) * c, scale=_randn(1))
    certificate = nets.verify(module, _randn(2, 3, 4), _randn(3), _randn())
    assert certificate.passed
    assert {name: _check(certificate, name).entries for name in ("input[0]", "input[1]", "input[2]")} == {
        "input[0]": 192,
        "input[1]": 24,
        "input[2]": 8,
    }
    assert _check(certificate, "scale").reason is Reason.ZERO_EVERYWHERE


def test_nested_inputs_are_named_by_their_place() -> None:
    module = Forward(lambda self, pair, options: pair[0] * pair[1] * options["scale"])
    certificate = nets.verify(module, (_randn(2), _randn(2)), {"scale": _randn(2)})
    assert [check.parameter for check in certificate.checks if check.against == "central difference"] == [
        "input[0][0]",
        "input[0][1]",
        "input[1][scale]",
    ]


def test_no_derivative_is_taken_by_integer_inputs() -> None:
    certificate = nets.verify(nn.Embedding(5, 3), torch.tensor([[0, 1, 1]]))
    assert certificate.passed and {check.parameter for check in certificate.checks} == {"weight"}


def test_if_some_inputs_require_a_gradient_the_derivative_is_taken_by_those_only() -> None:
    module = Forward(lambda self, a, b: a * b)
    certificate = nets.verify(module, _randn(3), _randn(3).requires_grad_())
    assert {check.parameter for check in certificate.checks} == {"input[1]"}


@pytest.mark.parametrize(
    ("output", "index"),
    [
        (lambda y: (y * 0, y.sum()), (1,)),
        (lambda y: [y * 0, y], (1, 0)),
        (lambda y: {"a": y * 0, "b": y}, ("b", 0)),
        (lambda y: (torch.tensor(3), None, y), (2, 0)),
        (lambda y: y.sum(), ()),
    ],
)
def test_outputs_of_any_structure_keep_their_index(output: object, index: tuple[object, ...]) -> None:
    """The one wrong output is found under its own key."""
    module = Forward(lambda self, x: output(_doubled(x)))  # type: ignore[operator]
    certificate = nets.verify(module, _randn(1))
    assert _check(certificate, "input").worst_index[: len(index)] == index


def _doubled(x: Tensor) -> Tensor:
    class Wrong(torch.autograd.Function):
        @staticmethod
        def forward(ctx: object, x: Tensor) -> Tensor:
            return x * 2

        @staticmethod
        def backward(ctx: object, v: Tensor) -> Tensor:
            return v * 3

    return Wrong.apply(x)


def test_frozen_parameters_are_left_out_and_unused_ones_are_zero() -> None:
    module = nn.Sequential(nn.Linear(3, 2), nn.Linear(2, 2)).double()
    module[0].weight.requires_grad_(False)
    module.register_parameter("unused", nn.Parameter(_randn(2)))
    certificate = nets.verify(module, _randn(2, 3))
    assert certificate.passed
    assert "0.weight" not in {check.parameter for check in certificate.checks}
    assert _check(certificate, "unused").reason is Reason.ZERO_EVERYWHERE


def test_a_tied_parameter_has_the_sum_of_both_its_gradients() -> None:
    module = nn.Sequential(nn.Linear(3, 3), nn.Tanh(), nn.Linear(3, 3)).double()
    module[2].weight = module[0].weight
    certificate = nets.verify(module, _randn(2, 3))
    assert certificate.passed
    assert {check.parameter for check in certificate.checks} == {"0.weight", "0.bias", "2.bias", "input"}


def test_parametrizations_are_verified_by_their_own_parameters() -> None:
    module = parametrizations.weight_norm(nn.Linear(3, 2).double())
    certificate = nets.verify(module, _randn(2, 3))
    assert certificate.passed
    assert "parametrizations.weight.original0" in {check.parameter for check in certificate.checks}


def test_complex_parameters_count_twice() -> None:
    module = nn.Linear(2, 3, dtype=torch.complex128)
    certificate = nets.verify(module, _randn(2, 2, dtype=torch.complex128))
    assert certificate.passed
    assert _check(certificate, "weight").entries == (2 * 3 * 2) * (3 * 2 * 2)


def test_train_and_eval_mode_are_verified_as_they_are() -> None:
    module = nn.BatchNorm1d(3).double()
    module.running_mean.fill_(5.0)
    x = _randn(4, 3)
    train, evaluation = nets.verify(module.train(), x), nets.verify(module.eval(), x)
    assert train.passed and evaluation.passed
    # In evaluation no sample touches another; in training all do.
    assert _check(train, "input").tolerance != _check(evaluation, "input").tolerance


def test_a_bias_before_batch_norm_is_truly_zero_and_says_so() -> None:
    module = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3)).double()
    for seed in range(5):
        certificate = nets.verify(module, _randn(4, 3), seed=seed)
        assert certificate.passed
        assert _check(certificate, "0.bias").reason is Reason.ZERO_EVERYWHERE


def test_dropout_in_training_is_verified_with_one_draw() -> None:
    assert nets.verify(
        nn.Sequential(nn.Linear(4, 6), nn.Dropout(0.5), nn.Tanh()), _randn(3, 4, dtype=torch.float32)
    ).passed


def test_the_module_of_the_caller_is_unchanged() -> None:
    module = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3), nn.Dropout(0.3), nn.Tanh())
    module[0].weight.grad = torch.ones(3, 3)
    calls = itertools.count()
    module.register_forward_hook(lambda *_: print(next(calls), end="", file=io.StringIO()))
    x = _randn(4, 3, dtype=torch.float32).requires_grad_()
    state, number = copy.deepcopy(module.state_dict()), torch.random.get_rng_state()
    assert nets.verify(module, x).passed
    assert all(torch.equal(state[name], value) for name, value in module.state_dict().items())
    assert torch.equal(number, torch.random.get_rng_state())
    assert torch.equal(module[0].weight.grad, torch.ones(3, 3)) and module[0].bias.grad is None
    assert module.training and module[0].weight.dtype is torch.float32 and x.grad is None
    assert all(parameter.requires_grad for parameter in module.parameters())


@pytest.mark.parametrize(
    ("module", "inputs", "message"),
    [
        (nn.Linear(3, 2), (torch.zeros(0, 3),), r"input is empty, of shape \(0, 3\); expected at least one sample"),
        (nn.Linear(3, 2), (torch.zeros(2, 4),), "the module cannot be called with these inputs: RuntimeError"),
        (nn.Linear(3, 2), (torch.full((1, 3), torch.nan),), "input has an entry that is not finite"),
        (Forward(lambda self, x: x.argmax()), (torch.zeros(2),), "expected at least one floating-point number"),
        (nn.Flatten(), (torch.zeros(2, 3, dtype=torch.int64),), "no parameter that requires a gradient"),
        (nn.SoftMarginLoss(), (torch.ones(2), torch.ones(2)), "set requires_grad on"),
    ],
)
def test_a_module_that_cannot_be_verified_is_an_input_error(
    module: nn.Module, inputs: tuple[Tensor, ...], message: str
) -> None:
    with pytest.raises(nets.InputError, match=message):
        nets.verify(module, *inputs)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"coverage": "most"}, "coverage is 'most'; expected 'auto' or 'full'"),
        ({"order": 3}, "order is 3; expected 1 or 2"),
        ({"dtype": "float16"}, "dtype is 'float16'; expected 'float64' or 'as is'"),
        ({"intended": ("wieght",)}, "intended names wieght; expected one of weight, bias, input"),
        ({"closed_form": lambda module, x: {"weight": torch.zeros(3)}}, "closed_form returned weight with the shape"),
        ({"closed_form": lambda module, x: {"w": torch.zeros(3)}}, "closed_form returned 'w'"),
        ({"closed_form": lambda module, x: {"weight": 3}}, "closed_form returned weight as a int; expected a tensor"),
        ({"closed_form": lambda module, x: x}, "closed_form returned a Tensor; expected a dict"),
        (
            {"closed_form": lambda module: {}},
            "closed_form raises TypeError .*; expected closed_form.module, .inputs. to run",
        ),
        ({"closed_form": 3}, "closed_form is 3; expected a function"),
        ({"intended": "weight"}, "intended is 'weight'; expected a tuple of names"),
        ({"intended": 3}, "intended is 3; expected a tuple of names"),
        ({"engines": 3}, "engines is 3; expected what nets.verification.derivations.engines.available"),
        ({"seed": None}, "seed is None; expected a whole number"),
        ({"seed": 2**64}, "seed is 18446744073709551616; expected a whole number"),
        ({"engines": {"mine": lambda network, x: {}}}, "engines were given for a Linear; expected a nets.Network"),
    ],
)
def test_an_unknown_option_is_an_input_error(options: dict, message: str) -> None:
    with pytest.raises(nets.InputError, match=message):
        nets.verify(nn.Linear(2, 2), torch.ones(1, 2), **options)


# Why a check failed.


def test_a_point_on_a_kink_is_inconclusive() -> None:
    certificate = nets.verify(nn.ReLU(), torch.tensor([[1.0, 0.0, -1.0]]))
    assert certificate.verdict == "inconclusive"
    assert _check(certificate, "input").reason is Reason.KINK and _check(certificate, "input").worst_index == (
        0,
        1,
        0,
        1,
    )


def test_the_first_submodule_with_an_output_that_is_not_finite_is_named() -> None:
    module = nn.Sequential(nn.Linear(2, 2), Forward(lambda self, x: torch.log(-x.abs())), nn.Tanh())
    certificate = nets.verify(module, torch.ones(1, 2))
    assert certificate.verdict == "fail"
    assert certificate.decisive.reason is Reason.NOT_FINITE and "'1', a Forward" in certificate.sentence()


def test_a_gradient_that_is_not_finite_is_distinguished_from_such_an_output() -> None:
    certificate = nets.verify(Forward(lambda self, x: torch.sqrt(x)), torch.tensor([4.0, 0.0]))
    assert certificate.decisive.reason is Reason.NOT_FINITE and "at [1]" in certificate.sentence()


def test_a_module_that_is_not_deterministic_fails() -> None:
    generator = torch.Generator().manual_seed(0)
    module = Forward(lambda self, x: x * torch.rand(3, generator=generator, dtype=x.dtype))
    with pytest.raises(nets.InputError, match="cannot be copied"):
        nets.verify(nn.Sequential(Unkept(generator)), torch.ones(3))
    counter = itertools.count()
    module = Forward(lambda self, x: x * next(counter))
    certificate = nets.verify(module, torch.ones(3))
    assert certificate.verdict == "fail" and certificate.decisive.reason is Reason.NOT_DETERMINISTIC


class Unkept(nn.Module):
    """Holds what deepcopy refuses."""

    def __init__(self, generator: torch.Generator) -> None:
        super().__init__()
        self.things = (generator for _ in range(1))

    def forward(self, x: Tensor) -> Tensor:
        return x


def test_a_backward_that_overwrites_is_stateful() -> None:
    class Overwrites(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            y = super().forward(x)
            if y.requires_grad:
                weight = self.weight
                y.register_hook(lambda v: setattr(weight, "grad", None))
            return y

    certificate = nets.verify(Overwrites(2, 2), torch.ones(1, 2))
    assert certificate.verdict == "fail" and certificate.decisive.reason is Reason.GRAD_OVERWRITTEN


# Gradients that are not the derivative, by design (docs/certificate.md).


class Ctc(nn.Module):
    def __init__(self, before: nn.Module) -> None:
        super().__init__()
        self.before, self.loss = before, nn.CTCLoss()

    def forward(self, x: Tensor) -> Tensor:
        return self.loss(self.before(x), torch.tensor([[1, 2], [3, 4]]), torch.tensor([6, 6]), torch.tensor([2, 2]))


def _random(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


def _normalized() -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.utils.parametrizations.spectral_norm(nn.Linear(4, 3))


@pytest.mark.parametrize(
    ("module", "x", "name"),
    [
        (nn.Embedding(5, 3, padding_idx=0), torch.tensor([[0, 1, 2]]), "weight"),
        (_normalized(), _random(2, 4), "parametrizations.weight.original"),
        (Ctc(nn.Identity()), _random(6, 2, 5).log_softmax(-1), "input"),
    ],
)
def test_a_gradient_that_is_cut_by_design_fails_unless_declared(module: nn.Module, x: Tensor, name: str) -> None:
    failed = nets.verify(module, x)
    assert failed.verdict == "fail" and f" / ∂{name}[" in failed.sentence()
    assert nets.verify(module, x, intended=(name,)).passed


def test_the_same_module_without_the_cut_passes() -> None:
    assert nets.verify(_normalized().eval(), _random(2, 4)).passed
    assert nets.verify(Ctc(nn.LogSoftmax(-1)), _random(6, 2, 5)).passed
