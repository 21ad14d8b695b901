"""What a layer is: a forward pass and its derivative; everything else follows from these.

Index letters: n sample, i output of the layer, j input of the layer. One letter means all axes of a sample: X_nj is any
tensor of shape (N, *S), and Y_ni any tensor of shape (N, *S'). A cotangent v_ni and a tangent t_nj may carry further
axes in front, such as the outputs k of a whole network; a pullback broadcasts over them.
"""

import functools
import inspect
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.func import vjp
from typing_extensions import Self

from nets.calculus.checked import expect_gradients, misshapen, running
from nets.calculus.cotangents import MOST_EXACT_ENTRIES, RANDOM_SIGNS, random_signs, unit_cotangents
from nets.calculus.jacobian import DenseJacobian, Jacobian
from nets.calculus.mathematics import TORCH, Mathematics
from nets.calculus.notation.factors import Factor, Place, subscript
from nets.calculus.notation.symbols import as_factor, meanings, slope_function
from nets.calculus.parameters import with_parameters
from nets.calculus.state import ForwardState
from nets.errors import InputError
from nets.text import distinct_digits, six_digits


class Layer(ForwardState, nn.Module, ABC):
    """Y_ni = f_i(X_n; θ) and its derivative.

    Required: `forward` (or `function`) and `pullback`, and `gradients` if the layer has parameters. Every other method
    is derived from these three. Override one where the layer knows a cheaper way:

    | method | derived from | cost of the default |
    | --- | --- | --- |
    | `pushforward` | the pullback is linear in v, so its transpose is known | two pullbacks |
    | `parameter_pushforward` | the gradients are linear in v | two calls of `gradients` |
    | `sample_gradients`, `sample_norms` | the gradients of a batch of one | one call for each sample |
    | `jacobians` | the gradients of one output of one sample | one call for each sample and output |
    | `local_jacobian` | the pullback of every unit cotangent | one pullback with an axis more |
    | `backward_gain` | `local_jacobian` | the same |
    | `factors`, `parameter_factors` | `local_jacobian`, `jacobians`; written as ∂H2_k/∂H1_i | the same, for numbers |

    Other packages ask the layer itself: `elementwise` says whether it mixes the units of a sample, `local_jacobian`
    gives the numbers of ∂Y/∂X, and `factors` says how ∂Y/∂X is written.
    """

    elementwise: ClassVar[bool] = False
    """Whether Y_ni depends on X_ni alone. Then Y has the shape of X, and ∂Y/∂X of a sample is diagonal."""

    symbol: str | None = None
    """How ∂Y_i/∂X_i of an elementwise layer is written, with {y} for Y_i and {z} for X_i; '' for 1, None where it is
    not known.

    The notation is that of `nets.calculus.notation.symbols`.
    """

    recordable: ClassVar[bool | None] = None
    """Whether training may record the operations of the layer once and repeat them.

    None: where its code reads nothing but tensors, numbers and texts (see `nets.training.replay.purity`). A list, a
    plain object or a counter may change unseen, and such a layer is called at each step, which is slower. True promises
    that nothing else changes; False forbids a recording."""

    unit_axis: ClassVar[int] = -1
    """The axis of Y that counts its units, such as 1 for channels. All other axes are samples and positions."""

    def forward(self, x: Tensor) -> Tensor:
        """X_nj → Y_ni. Define this method, or `function`."""
        own = dict(self.named_parameters(remove_duplicate=False)) if self._modules else self._parameters
        return self.function(TORCH, x, **own, **self.function_buffers())

    def function(self, m: Mathematics, x: Any, *args: Any, **parameters: Any) -> Any:
        """The forward over the functions m of any engine, with the parameters by name, and the buffers that it names.

            def function(self, m, x, beta):
                return x * m.sigmoid(beta * x)

        A layer that defines it in place of `forward` is derived by NumPy, SymPy, JAX and TensorFlow as well. Their
        arrays have no methods in common: write m.sum(x), not x.sum().
        """
        if type(self).forward is not Layer.forward:
            if m is TORCH:
                return self.at(parameters)(x)
            raise InputError(
                f"the forward of {type(self).__name__} is written for PyTorch alone; expected function(m, x, "
                "**parameters) in its place, for other engines."
            )
        raise InputError(
            f"{type(self).__name__} has no forward; expected a layer with a method forward(x), or function(m, x, "
            "**parameters)."
        )

    def function_buffers(self) -> dict[str, Tensor]:
        """The buffers that `function` takes as arguments, by name."""
        if not self._buffers:
            return {}
        taken = _arguments(type(self))
        return {name: buffer for name, buffer in self._buffers.items() if name in taken and buffer is not None}

    @abstractmethod
    def pullback(self, v: Tensor, x: Tensor, y: Tensor) -> Tensor:
        """v_ni → Σ_i v_ni ∂Y_ni/∂X_nj."""

    def gradients(self, v: Tensor, x: Tensor, y: Tensor) -> dict[str, Tensor]:
        """v_ni → Σ_n Σ_i v_ni ∂Y_ni/∂θ for every parameter θ of the layer, by name.

        Raises:
            InputError: if the layer has parameters and does not define this method.
        """
        names = [name for name, _ in self.named_parameters()]
        if names:
            raise InputError(
                f"{type(self).__name__} has the parameter {names[0]} and no gradients; expected a layer with a method "
                "gradients(v, x, y) → {name: Σ_n Σ_i v_ni ∂Y_ni/∂θ} for each of its parameters."
            )
        return {}

    def pushforward(self, t: Tensor, x: Tensor, y: Tensor) -> Tensor:
        """t_nj → Σ_j ∂Y_ni/∂X_nj t_nj."""
        v = torch.zeros(*t.shape[: t.ndim - x.ndim], *y.shape, dtype=y.dtype, device=y.device)
        (pushed,) = vjp(lambda v: self.pullback(v, x, y), v)[1](t)
        return pushed

    def parameter_pushforward(self, tangents: dict[str, Tensor], x: Tensor, y: Tensor) -> Tensor:
        """t_θ → Σ_θ ∂Y_ni/∂θ t_θ, at the parameters as they are. Y need not be linear in θ."""

        def ordered(v: Tensor) -> dict[str, Tensor]:
            gradients = self.gradients(v, x, y)
            return {name: gradients[name] for name in tangents}

        (pushed,) = vjp(ordered, torch.zeros_like(y))[1](tangents)
        return pushed

    def sample_gradients(self, v: Tensor, x: Tensor, y: Tensor) -> dict[str, Tensor]:
        """v_ni → Σ_i v_ni ∂Y_ni/∂θ of each sample n for every parameter θ, by name; shape (N, *θ.shape)."""
        each = [self.gradients(v[n : n + 1], x[n : n + 1], y[n : n + 1]) for n in range(len(x))]
        return {name: torch.stack([one[name] for one in each]) for name, _ in self.named_parameters()}

    def sample_norms(self, v: Tensor, x: Tensor, y: Tensor) -> dict[str, Tensor]:
        """v_ni → ‖Σ_i v_ni ∂Y_ni/∂θ‖ of each sample n for every parameter θ, by name; shape (N,)."""
        each = self.sample_gradients(v, x, y)
        return {
            name: torch.linalg.vector_norm(gradients.reshape(len(x), -1), dim=1) for name, gradients in each.items()
        }

    def jacobians(self, a: Tensor, x: Tensor, y: Tensor) -> dict[str, Jacobian]:
        """∂Y_nk/∂θ of a network's output Y by every parameter θ of this layer, by name; axes (n, k, *θ.shape).

        Each row is the gradient of one output of one sample, taken over the whole batch as in training, so that a wrong
        sum over samples is seen in it.

        Args:
            a: A_kni = ∂Y_nk/∂Z_ni, with Z the output of this layer, of shape (K, N, *S').
            x: the layer's input.
            y: Z.
        """
        names = [name for name, _ in self.named_parameters()]
        if not names:
            return {}
        samples = torch.eye(len(x), dtype=a.dtype, device=a.device).reshape(len(x), len(x), *(1 for _ in y.shape[1:]))
        rows = [[self.checked_gradients(v * only, x, y) for v in a] for only in samples]
        return {
            name: DenseJacobian(torch.stack([torch.stack([one[name] for one in row]) for row in rows]))
            for name in names
        }

    def local_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        """∂Y_ni/∂X_nj with flattened samples, shape (N, I, J); of an elementwise layer the diagonal, shape (N, I)."""
        if self.elementwise:
            return self.pullback(torch.ones_like(y), x, y).flatten(1)
        return self.pullback(unit_cotangents(y), x, y).flatten(2).transpose(0, 1)

    def backward_gain(self, x: Tensor, y: Tensor) -> float:
        """‖v ∂Y/∂X‖ ÷ ‖v‖ for a cotangent v without a preferred direction: (Σ_n ‖∂Y_n/∂X_n‖_F² / (N I))^½.

        Beyond MOST_EXACT_ENTRIES of ∂Y/∂X it is estimated from one v of random signs, always the same, over the first
        samples, which have RANDOM_SIGNS outputs together. The mean of its square over all signs is the exact square.
        """
        if self.elementwise or x.numel() * y[0].numel() <= MOST_EXACT_ENTRIES:
            passed = self.local_jacobian(x, y)
        else:
            samples = -(-RANDOM_SIGNS // y[0].numel())
            x, y = x[:samples], y[:samples]
            passed = self.pullback(random_signs(y), x, y)
        norm = torch.linalg.vector_norm(passed, dtype=torch.float64)
        return float(norm / y.numel() ** 0.5)

    def steps(self) -> Iterator[tuple[str, "Layer"]]:
        """The layers that X passes one after the other, by their names here: this one alone, '', or a sequence."""
        yield "", self

    def statistics(self, x: Tensor, y: Tensor) -> dict[str, float]:
        """Numbers that tell how the layer works, for a record of a run, by name; {} if there are none."""
        return {}

    def factors(self, place: Place, i: str, j: str) -> list[Factor]:
        """How ∂Y_i/∂X_j of this layer is written, with its numbers.

        An elementwise layer has the diagonal alone, written with i: its symbol, or nothing where the symbol is ''. A
        symbol whose numbers differ from the derivative is not written. A derivative that the layer cannot write has a
        name, such as ∂H2_i/∂H1_j.

        Args:
            place: where the layer stands.
            i: letter or number of a unit of the output.
            j: letter or number of a unit of the input.
        """
        y = f"{place.y_name}_{subscript(i)}"
        if not self.elementwise:
            named = f"∂{y}/∂{place.x_name}_{subscript(j)}"
            return [Factor(named, (i, j), lambda n: self._at_sample(place, n))]
        x = f"{place.x_name}_{subscript(i)}"
        if self.symbol is None or place.symbol_fault:
            return [Factor(f"∂{y}/∂{x}", (i,), lambda n: self._at_sample(place, n))]
        slope = slope_function(self.symbol, type(self).__name__)
        found = Factor(
            as_factor(self.symbol).format(y=y, z=x),
            (i,),
            lambda n: slope(*(value[n].flatten() for value in place.values())),
            meanings(self.symbol),
        )
        return [found] if self.symbol else []

    def parameter_factors(
        self, place: Place, name: str, index: Sequence[str], unit: str
    ) -> tuple[str, str, list[Factor]]:
        """How ∂Y_i/∂θ of this layer is written, for one number of the parameter θ.

        Args:
            place: where the layer stands.
            name: of the parameter.
            index: letters of the number's index.
            unit: letter i of a unit of the output, for a number that may move every unit; several letters, such as
                'tk', for the axes of a sample.

        Returns:
            how θ is written, the letter i, and the factors. A layer returns a letter of the index as i where the number
            moves that unit alone, as W_ij moves Y_i.
        """
        full = place.parameter(name)
        written = f"{full}_{subscript(*index)}" if index else full
        named = f"∂{place.y_name}_{unit}/∂{written}"
        return written, unit, [Factor(named, (unit, *index), lambda n: self._parameter_at_sample(place, name, n))]

    def symbol_fault(self, x: Tensor, y: Tensor) -> str:
        """An input at which the symbol is not the slope, in words; '' if there is none."""
        if self.symbol is None:
            return ""
        tolerance = torch.finfo(y.dtype).eps ** 0.5
        written = slope_function(self.symbol, type(self).__name__)(x, y).flatten(1)
        slopes = self.local_jacobian(x, y)
        wrong = ~torch.isclose(written, slopes, rtol=tolerance, atol=tolerance, equal_nan=True)
        if not wrong.any():
            return ""
        one, other = distinct_digits(float(written[wrong][0]), float(slopes[wrong][0]))
        z = six_digits(float(x.flatten(1)[wrong][0]))
        return f"the symbol '{self.symbol}' gives {one} at the input {z}, where the slope is {other}"

    def at(self, parameters: dict[str, Tensor]) -> Self:
        """The same layer with other parameter values. Nothing is copied, and this layer stays as it is."""
        return with_parameters(self, parameters)

    def checked_forward(self, x: Tensor) -> Tensor:
        """The result of `forward`.

        Raises:
            InputError: unless it is a tensor with floating-point numbers for each sample, and X is as it was.
        """
        with running(self, "forward", x=x) as code:
            y = self(x)
        if not isinstance(y, Tensor) or not y.is_floating_point() or y.ndim < 2 or len(y) != len(x):
            raise misshapen(code, y, f"({len(x)}, …), with floating-point numbers for each sample")
        if self.elementwise and y.shape != x.shape:
            raise misshapen(code, y, f"{tuple(x.shape)}, that of x, since the layer is elementwise")
        return y

    def checked_pullback(self, v: Tensor, x: Tensor, y: Tensor) -> Tensor:
        """The result of `pullback`.

        Raises:
            InputError: unless it is a tensor of the shape of X, with the further axes of v in front, and v, X and Y are
                as they were.
        """
        with running(self, "pullback", v=v, x=x, y=y) as code:
            pulled = self.pullback(v, x, y)
        shape = (*v.shape[: v.ndim - y.ndim], *x.shape)
        if not isinstance(pulled, Tensor) or pulled.shape != shape:
            raise misshapen(code, pulled, f"{shape}, that of x with the further axes of v in front")
        return pulled

    def checked_gradients(self, v: Tensor, x: Tensor, y: Tensor) -> dict[str, Tensor]:
        """The result of `gradients`.

        Raises:
            InputError: unless it has a tensor of the parameter's shape for each parameter, and no other, and v, X and Y
                are as they were.
        """
        with running(self, "gradients", v=v, x=x, y=y) as code:
            found = self.gradients(v, x, y)
        expect_gradients(code, found, dict(self.named_parameters()))
        return found

    def _at_sample(self, place: Place, n: int) -> Tensor:
        return self.local_jacobian(*(value[n : n + 1] for value in place.values()))[0]

    def _parameter_at_sample(self, place: Place, name: str, n: int) -> Tensor:
        x, y = (value[n : n + 1] for value in place.values())
        return self.jacobians(unit_cotangents(y), x, y)[name].dense()[0]


@functools.cache
def _arguments(kind: type[Layer]) -> frozenset[str]:
    """The names of the arguments of `function`."""
    return frozenset(inspect.signature(kind.function).parameters)
