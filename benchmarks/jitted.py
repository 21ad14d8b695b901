"""The networks of `layers.py` in JAX, and a step of AdamW, for one compiled function."""

from collections.abc import Callable
from typing import Any

import jax
from jax import numpy as jnp
from torch import Tensor

Parameters = dict[str, Any]


def gpt(p: Parameters, x: Any, heads: int, blocks: int) -> Any:
    """The logits of `nets.calculus.architectures.gpt`, from its parameters by name."""
    positions = x.shape[1]
    h = p["token.weight"][x] + p["position.weight"][:positions]
    hidden = jnp.where(jnp.triu(jnp.ones((positions, positions), bool), 1), -jnp.inf, 0)
    for number in range(blocks):
        own = {name.removeprefix(f"blocks.{number}."): value for name, value in p.items()}
        a = _norm(own, "norm_1", h)
        queries, keys, values = (
            _linear(own, f"attention.{name}", a).reshape(*a.shape[:2], heads, -1) for name in ("query", "key", "value")
        )
        scores = jnp.einsum("nthd,nshd->nhts", queries, keys) / queries.shape[-1] ** 0.5 + hidden
        attended = jnp.einsum("nhts,nshd->nthd", jax.nn.softmax(scores), values).reshape(h.shape)
        h = h + _linear(own, "attention.output", attended)
        wide = jax.nn.gelu(_linear(own, "mlp.0", _norm(own, "norm_2", h)), approximate=True)
        h = h + _linear(own, "mlp.2", wide)
    return _norm(p, "norm", h) @ p["head.weight"].T


def convolutional(p: Parameters, x: Any) -> Any:
    """The logits of `eager.convolutional`, from its parameters by name."""
    for name in ("0", "3"):
        y = jax.lax.conv(x, p[f"{name}.weight"], (1, 1), "SAME") + p[f"{name}.bias"][:, None, None]
        x = jax.lax.reduce_window(jax.nn.relu(y), -jnp.inf, jax.lax.max, (1, 1, 2, 2), (1, 1, 2, 2), "VALID")
    return _linear(p, "7", x.reshape(len(x), -1))


def adamw(model: Callable[[Parameters, Any], Any], rate: float) -> Callable[..., Any]:
    """(θ, M, V, t, X, T) → (θ, M, V, t) after a step, as `torch.optim.AdamW`; it may overwrite its arguments."""

    def loss_of(p: Parameters, x: Any, t: Any) -> Any:
        logs = jax.nn.log_softmax(model(p, x))
        return -jnp.mean(jnp.take_along_axis(logs, t[..., None], -1))

    def step(p: Parameters, mean: Parameters, square: Parameters, count: Any, x: Any, t: Any) -> Any:
        gradients, count = jax.grad(loss_of)(p, x, t), count + 1
        mean = {name: 0.9 * m + 0.1 * gradients[name] for name, m in mean.items()}
        square = {name: 0.999 * s + 0.001 * gradients[name] ** 2 for name, s in square.items()}
        unbiased, spread = 1 - 0.9**count, 1 - 0.999**count

        def moved(name: str) -> Any:
            change = (mean[name] / unbiased) / (jnp.sqrt(square[name] / spread) + 1e-8)
            return p[name] * (1 - rate * 0.01) - rate * change

        return {name: moved(name) for name in p}, mean, square, count

    return jax.jit(step, donate_argnums=(0, 1, 2))


def from_torch(parameters: dict[str, Tensor]) -> Parameters:
    """The same numbers, copied."""
    return {name: jnp.array(parameter.detach().numpy()) for name, parameter in parameters.items()}


def _linear(p: Parameters, name: str, x: Any) -> Any:
    return x @ p[f"{name}.weight"].T + p[f"{name}.bias"]


def _norm(p: Parameters, name: str, x: Any) -> Any:
    centred = x - x.mean(-1, keepdims=True)
    return centred / jnp.sqrt((centred**2).mean(-1, keepdims=True) + 1e-5) * p[f"{name}.weight"] + p[f"{name}.bias"]
