"""Modules whose forward is right and whose gradient is not, as such mistakes are made.

`ByHand` has a backward pass written by hand; the others spoil autograd's, by a detached path, a hook, a cache or state.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Formula = Callable[..., Any]
Rule = Callable[..., Sequence[Tensor | None] | Tensor]


class _ByHand(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, formula: Formula, rule: Rule, *tensors: Tensor) -> Any:
        ctx.rule = rule
        ctx.save_for_backward(*tensors)
        return formula(*tensors)

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> Any:
        gradients = ctx.rule(*upstream, *ctx.saved_tensors)
        return (None, None, *((gradients,) if isinstance(gradients, Tensor) else gradients))


class ByHand(nn.Module):
    """formula(*inputs, *parameters), each of whose gradients is given by rule(*upstream, *inputs, *parameters)."""

    def __init__(self, formula: Formula, rule: Rule, **parameters: Tensor) -> None:
        super().__init__()
        self.formula, self.rule = formula, rule
        for name, value in parameters.items():
            self.register_parameter(name, nn.Parameter(value))

    def forward(self, *inputs: Tensor) -> Any:
        return _ByHand.apply(self.formula, self.rule, *inputs, *self.parameters())


class WrongForwardMode(torch.autograd.Function):
    """tanh, with a right backward pass, whose forward mode forgets to square."""

    generate_vmap_rule = True

    @staticmethod
    def forward(z: Tensor) -> Tensor:
        return z.tanh()

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor], output: Tensor) -> None:
        ctx.save_for_backward(output)
        ctx.save_for_forward(output)

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> Tensor:
        (y,) = ctx.saved_tensors
        return upstream * (1 - y * y)

    @staticmethod
    def jvp(ctx: Any, tangent: Tensor) -> Tensor:
        (y,) = ctx.saved_tensors
        return tangent * (1 - y)


class _Replaced(torch.autograd.Function):
    """The identity, with `backward_rule` as its backward pass."""

    @staticmethod
    def forward(ctx: Any, value: Tensor, backward_rule: Callable[[Tensor], Tensor]) -> Tensor:
        ctx.backward_rule = backward_rule
        return value.view_as(value)

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor, None]:
        return ctx.backward_rule(upstream), None


class Stateful(nn.Module):
    """tanh(X Wᵀ), where the backward pass sees `state`, which outlives the call. One of these must be chosen:

    'doubled from the second on': the weight's gradient, from the second backward pass through this module on;
    'running sum': the upstream gradients of all backward passes so far are added up;
    'first kept': the upstream gradient of the first backward pass is used in all later ones;
    'alternating sign': every second backward pass has the wrong sign.
    """

    def __init__(self, weight: Tensor, mistake: str) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight)
        self.mistake = mistake
        self.count = 0
        self.kept: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        weight: Tensor = _Replaced.apply(self.weight, self._backward)  # type: ignore[no-untyped-call]
        return torch.tanh(x @ weight.T)

    def _backward(self, upstream: Tensor) -> Tensor:
        self.count += 1
        if self.mistake == "doubled from the second on":
            return upstream * (1 if self.count == 1 else 2)
        if self.mistake == "alternating sign":
            return upstream * (-1) ** (self.count - 1)
        if self.mistake == "running sum" and self.kept is not None:
            self.kept = self.kept + upstream.detach()
        if self.kept is None:
            self.kept = upstream.detach()
        return self.kept


class Cached(nn.Module):
    """tanh(X Wᵀ), whose backward pass takes the activation from a cache of an earlier call.

    Args:
        keep: 'first' keeps the activation of the first call for good; 'previous' is always one call behind.
        earlier: X of a call made before anybody looks, or None.
    """

    def __init__(self, weight: Tensor, keep: str, earlier: Tensor | None = None) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight)
        self.keep = keep
        self.cache: Tensor | None = None if earlier is None else torch.tanh(earlier @ weight.T)

    def forward(self, x: Tensor) -> Tensor:
        z = x @ self.weight.T
        y = torch.tanh(z.detach())
        used = y if self.cache is None else self.cache
        if self.cache is None or self.keep == "previous":
            self.cache = y
        # Value y, slope 1 − used².
        return y + (z - z.detach()) * (1 - used * used)


class GradWritten(nn.Module):
    """Linear, whose backward pass writes weight.grad itself, over what is there."""

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.linear = nn.Linear(*reversed(weight.shape), bias=False)
        self.linear.weight = nn.Parameter(weight)
        self.linear.register_full_backward_pre_hook(_forget)

    def forward(self, x: Tensor) -> Tensor:
        return torch.tanh(self.linear(x))


def _forget(module: nn.Module, upstream: Any) -> None:
    for parameter in module.parameters():
        parameter.grad = None


class Hooked(nn.Module):
    """Linear, Tanh, Linear, with a hook: `hook(model)` sets it, once."""

    def __init__(self, generator: torch.Generator, hook: Callable[["Hooked"], object]) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(3, 4).double(), nn.Linear(4, 2).double()
        for parameter in self.parameters():
            parameter.data = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
        hook(self)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.last(torch.tanh(self.first(x)))
        return y


class Clipped(Hooked):
    """The same with a hook on the hidden layer, set anew at each call, that clips the gradient passing by."""

    def __init__(self, generator: torch.Generator) -> None:
        super().__init__(generator, lambda model: None)

    def forward(self, x: Tensor) -> Tensor:
        hidden = torch.tanh(self.first(x))
        if hidden.requires_grad:
            hidden.register_hook(lambda g: g.clamp(-0.1, 0.1))
        y: Tensor = self.last(hidden)
        return y


class Attention(nn.Module):
    """One head: softmax(Q Kᵀ / √d) V.

    Args:
        mistake: 'scores detached': the gradient reaches V only; 'scale forgotten': Q and K get theirs without the 1/√d;
            'keys detached'.
    """

    def __init__(self, generator: torch.Generator, mistake: str) -> None:
        super().__init__()
        self.mistake = mistake
        for name in ("query", "key", "value"):
            self.register_parameter(name, nn.Parameter(torch.randn(4, 4, generator=generator, dtype=torch.float64)))

    def forward(self, x: Tensor) -> Tensor:
        queries, keys, values = x @ self.query, x @ self.key, x @ self.value
        if self.mistake == "scale forgotten":
            scores = _ByHand.apply(lambda q, k: q @ k.mT / 2, lambda g, q, k: (g @ k, g.mT @ q), queries, keys)
        elif self.mistake == "scores detached":
            scores = (queries @ keys.mT / 2).detach()
        else:
            scores = queries @ keys.detach().mT / 2
        return scores.softmax(-1) @ values


class Recurrent(nn.Module):
    """An RNN or LSTM cell over the steps of X, shape (T, N, J), whose state is cut from the graph before step `cut`."""

    def __init__(self, cell: nn.RNNCell | nn.LSTMCell, cut: int) -> None:
        super().__init__()
        self.cell, self.cut = cell, cut

    def forward(self, x: Tensor) -> Tensor:
        state: Any = None
        for step, now in enumerate(x):
            if step == self.cut:
                # Of an LSTM the memory only, and the output stays: the harder half to see.
                state = (state[0], state[1].detach()) if isinstance(state, tuple) else state.detach()
            state = self.cell(now, state)
        last: Tensor = state[0] if isinstance(state, tuple) else state
        return last


class Tied(nn.Module):
    """An autoencoder that uses one weight twice, tanh(X Wᵀ) W, with one of the two uses detached."""

    def __init__(self, weight: Tensor, detached: str) -> None:
        super().__init__()
        self.weight, self.detached = nn.Parameter(weight), detached

    def forward(self, x: Tensor) -> Tensor:
        encoder, decoder = self.weight, self.weight
        if self.detached == "encoder":
            encoder = encoder.detach()
        else:
            decoder = decoder.detach()
        return torch.tanh(x @ encoder.T) @ decoder


class Normalized(nn.Module):
    """Layer norm (over 'features') or batch norm (over 'batch'), with weight and bias.

    Args:
        detached: 'mean', 'variance' or 'both'.
    """

    def __init__(self, over: str, detached: str, weight: Tensor, bias: Tensor) -> None:
        super().__init__()
        self.axis = {"features": -1, "batch": 0}[over]
        self.detached = detached
        self.weight, self.bias = nn.Parameter(weight), nn.Parameter(bias)

    def forward(self, x: Tensor) -> Tensor:
        mean = x.mean(self.axis, keepdim=True)
        variance = (x - mean).square().mean(self.axis, keepdim=True)
        if self.detached in ("mean", "both"):
            mean = mean.detach()
        if self.detached in ("variance", "both"):
            variance = variance.detach()
        return (x - mean) / (variance + 1e-5).sqrt() * self.weight + self.bias


def max_pool(x: Tensor) -> Tensor:
    """The larger of each pair of neighbours."""
    return x.unfold(-1, 2, 2).amax(-1)


def gelu_slope(z: Tensor, approximate: str) -> Tensor:
    """The derivative of GELU, or of its approximation by tanh, from autograd."""
    with torch.enable_grad():
        z = z.detach().requires_grad_()
        return torch.autograd.grad(F.gelu(z, approximate=approximate).sum(), z)[0]


def softmax_error(x: Tensor, target: Tensor) -> Tensor:
    """softmax(X) − onehot: the gradient of a summed cross-entropy."""
    return x.softmax(-1) - F.one_hot(target, x.shape[-1])


def conv_weight(g: Tensor, x: Tensor) -> Tensor:
    """The gradient of the weight of conv1d with a kernel of three and a padding of one, from X already padded."""
    return F.conv1d(x.transpose(0, 1), g.transpose(0, 1)).transpose(0, 1)


conv = functools.partial(F.conv1d, padding=1)
