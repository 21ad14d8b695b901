# %% [markdown]
# # Cotangents
#
# `y.backward(v)` looks like a detail of PyTorch, but it is the central operation: deep-learning libraries do not form
# Jacobians. They multiply a Jacobian from the left by a vector $v$, the cotangent, which says how much each output
# counts. This notebook computes that product by hand and by machine, and compares the two.

# %%
import matplotlib.pyplot as plt
import numpy as np
import torch
from IPython.display import SVG

from nets import picture
from nets.lessons import (
    Doubling, LogSquareSine, Polynomials, Sine, Square, Stacked, Sum, ThreeSquares, TwiceSquaredNorm,
    compare, jacobian, recording, symbolic, vjp,
)  # fmt: skip

# %% [markdown]
# ## A vector to a number
# <sub>A4</sub>
#
# The warm-up is $y = 2\,x^\top x$ at $(0, 1, 2, 3)$. There is one output, so it needs no weight. **Predict** $y$ and
# its gradient.

# %% tags=["A4"]
x = torch.arange(4.0, requires_grad=True)
print("before:", x.grad)
y = TwiceSquaredNorm()(x)
y.backward()
print("after: ", x.grad, "  is 4x:", (x.grad == 4 * x).all().item())

# %% tags=["A4"]
compare(TwiceSquaredNorm(), [0, 1, 2, 3])

# %% [markdown]
# ## A number to a number
# <sub>B2</sub>
#
# $y = x^2$ at $x = 1$: the Jacobian is the 1 × 1 matrix $(2)$. With $v = 1$ the answer is $1 \cdot 2$. **Predict** it
# for $v = 100$, and then for four copies of $y$ with the weights $1$, $10$, $100$ and $1000$.

# %% tags=["B2"]
compare(Square(), 1.0, v=1.0)

# %% tags=["B2"]
compare(Square(), 1.0, v=100.0)

# %% tags=["B2"]
compare(Stacked(Square(), 4), 1.0, v=[1, 10, 100, 1000])

# %% [markdown]
# Four copies are a 4 × 1 Jacobian, $v^\top J = 1\cdot 2 + 10\cdot 2 + 100\cdot 2 + 1000\cdot 2$. Each power of ten has
# a digit of its own, so each contribution can be read off.
#
# ## One pass after another
# <sub>B3</sub>
#
# Instead of stacking, go backward four times through the same $y$. **Predict** the four numbers in `x.grad`.

# %% tags=["B3"]
weights = torch.tensor([1.0, 10.0, 100.0, 1000.0])
passes = recording.accumulated(Square(), torch.tensor(1.0), weights)
print([grad.item() for grad in passes])

figure, axis = plt.subplots(figsize=(5, 2.4))
before = [0.0, *(grad.item() for grad in passes[:-1])]
axis.barh(range(4), before, color="lightgrey", label="already there")
axis.barh(range(4), [2 * w for w in weights.tolist()], left=before, label="added by this pass")
axis.set(xscale="symlog", yticks=range(4), yticklabels=[f"v = {w:g}" for w in weights], xlabel="x.grad")
axis.invert_yaxis()
axis.legend(loc="upper right");

# %% [markdown]
# The last number is that of the stack: the sum over passes equals the sum over outputs. Gradient accumulation over
# micro-batches, for a batch that does not fit in memory, relies on this.
#
# ## A vector to a number, with weights
# <sub>B4</sub>
#
# $y = x_1 + x_2$ has the Jacobian $(1, 1)$ at every point.

# %% tags=["B4"]
compare(Sum(), [1.0, 2.0])

# %% tags=["B4"]
compare(Sum(), [1.0, 2.0], v=100.0)

# %% tags=["B4"]
compare(Stacked(Sum(), 4), [1.0, 2.0], v=[1, 10, 100, 1000])

# %% tags=["B4"]
by_hand = np.cumsum([vjp("NumPy by hand", Sum(), [1, 2], v=w).gradients[0] for w in weights.tolist()], axis=0)
for w, grad, sums in zip(weights, recording.accumulated(Sum(), torch.tensor([1.0, 2.0]), weights), by_hand):
    print(f"after v = {w:4g}:  x.grad = {grad.tolist()}   by hand {sums}")

# %% [markdown]
# ## A vector to a vector
# <sub>B1</sub>
#
# $y = 3x^2$, entry by entry, at $(1, 2)$. Here is the Jacobian that SymPy finds:

# %% tags=["B1"]
y, (j,), _ = symbolic(ThreeSquares(), (2,))
print(y, j, sep="\n\n")

# %% [markdown]
# No output depends on the other input, so $v_1$ scales the first entry and $v_2$ the second. **Predict** $v = (1, 1)$
# and $v = (1, 10)$.

# %% tags=["B1"]
compare(ThreeSquares(), [1, 2], v=[1, 1])

# %% tags=["B1"]
compare(ThreeSquares(), [1, 2], v=[1, 10])

# %% [markdown]
# ## Two inputs, three outputs
# <sub>B5</sub>
#
# The general case is $y = (3x_1^2,\; x_1^2 + 2x_2^3,\; 10x_2)$ at $(1, 2)$. **Work it out on paper first:** six
# derivatives, then multiply the three rows by $1$, $10$ and $100$ and add.

# %% tags=["B5"]
compare(Polynomials(), [1, 2], v=[1, 10, 100])

# %% tags=["B5"]
(j,) = jacobian("PyTorch", Polynomials(), [1, 2])
v = np.array([1, 10, 100])

figure, axes = plt.subplots(1, 3, figsize=(6.4, 2.5), width_ratios=[1, 2, 2])
panels = (v[:, None], "v"), (j, "J"), (v[:, None] * j, "each row of J, weighed")
for axis, (values, title) in zip(axes, panels):
    axis.imshow(np.sign(values), vmin=-3, vmax=3)
    axis.set_title(title)
    axis.axis("off")
    for (row, column), value in np.ndenumerate(values):
        axis.text(column, row, f"{value:g}", ha="center", va="center")
print("columns added up:", (v[:, None] * j).sum(0))

# %% [markdown]
# All five agree, although only two of them formed $J$. How did the picture get $J$ from PyTorch? Row by row, by three
# backward passes with $v = (1, 0, 0)$, $(0, 1, 0)$ and $(0, 0, 1)$. A network in training has one output, the loss, and
# millions of inputs: one backward pass is enough, and this makes training possible.
#
# ## Through control flow
# <sub>A8</sub>
#
# `Doubling` multiplies its argument by some $k$ that depends on the argument. The gradient is that $k$, so it must be
# $f(a)/a$.

# %% tags=["A8"]
compare(Doubling(), -0.4315)

# %% tags=["A8"]
random = np.random.default_rng(0)
numbers = random.normal(size=200)
for engine in ("PyTorch", "TensorFlow", "JAX"):
    found = [vjp(engine, Doubling(), a) for a in numbers]
    right = sum(bool(one.gradients[0] * a == one.y) for a, one in zip(numbers, found))
    print(f"{engine:11} gradient · a equals f(a) in {right} of {len(numbers)} random numbers")

# %% [markdown]
# ## Exercise 2: a slope without its formula
# <sub>B6</sub>
#
# Plot $\sin$ and its derivative without the formula $\cos$. With $v = 1$ for every point, one backward pass gives the
# slope at all of them, since no output depends on another's input.

# %% tags=["B6"]
x = np.linspace(-2 * np.pi, 2 * np.pi, 401)
sine = vjp("PyTorch", Sine(), x)
slope = sine.gradients[0]

figure, axis = plt.subplots()
axis.plot(x, sine.y, label="f(x) = sin x")
axis.plot(x, slope, label="f′(x), by backward()")
axis.set(xlabel="x", xticks=np.arange(-2, 3) * np.pi, xticklabels=["−2π", "−π", "0", "π", "2π"])
axis.legend(ncols=2, loc="lower center", bbox_to_anchor=(0.5, 1));

# %% [markdown]
# Where the blue curve is steepest, the orange one is at its peak; where the blue one turns, the orange one crosses
# zero.
#
# ## Exercise 5: a dependency graph
# <sub>B7</sub>
#
# $f(x) = \log(x^2)\,\sin x + 1/x$. Three paths lead from $x$ to $f$: through the logarithm, through the sine, and
# through $1/x$. On paper, multiply along each path and add over the paths:
#
# $$f'(x) = \underbrace{\frac{2}{x}\sin x}_{\text{through } \log x^2} + \underbrace{\log(x^2)\cos x}_{\text{through } \sin x}
# - \underbrace{\frac{1}{x^2}}_{\text{through } 1/x}$$
#
# Below is the graph of the operations that ran at $x = 2$: each box shows a value and its gradient, each line a local
# derivative. **Before you look at the box of $x$,** follow the three paths back to it and compute the contribution of
# each.

# %% tags=["B7"]
SVG(picture(LogSquareSine(), 2.0).to_svg())

# %% [markdown]
# The small numbers in the box of $x$ are the three terms of $f'(2)$; they add up to the gradient.
# `picture(…).save("backward.html")` saves the same picture with a slider that goes through the backward pass step by
# step.

# %% tags=["B7"]
x = np.array(2.0)
print(f"by the chain rule, on paper: {LogSquareSine().slope(x):.4f}")
print(f"in the picture:              {picture(LogSquareSine(), 2.0).gradients['x']:.4f}")

# %% [markdown]
# SymPy finds the same formula, and PyTorch the same numbers. Do the two curves overlap?

# %% tags=["B7"]
_, derivative, _ = symbolic(LogSquareSine(), ())
derivative[0].item()

# %% tags=["B7"]
negative, positive = np.linspace(-10, -0.3, 500), np.linspace(0.3, 10, 500)
figure, axis = plt.subplots()
for x in (negative, positive):
    found = vjp("PyTorch", LogSquareSine(), x)
    axis.plot(x, found.y, color="lightgrey")
    by_hand = vjp("NumPy by hand", LogSquareSine(), x)
    axis.plot(x, by_hand.gradients[0], color="lightskyblue", linewidth=6)
    axis.plot(x, found.gradients[0], color="C1")
axis.legend(axis.lines[:3], ["f", "f′ by the chain rule, on paper", "f′ by backward()"], loc="upper right")
axis.set(xlabel="x", ylim=(-6, 9), title="log(x²) sin x + 1/x and its derivative");

# %% tags=["B7"]
compare(LogSquareSine(), [-2.5, -1.0, 0.3, 9.0])

# %% tags=["B7"]
both = np.concatenate([negative, positive])
machine, paper = (vjp(engine, LogSquareSine(), both) for engine in ("PyTorch", "NumPy by hand"))
apart = np.abs(machine.gradients[0] - paper.gradients[0]).max()
print(f"paper and machine, at 1,000 points: at most {apart:.0e} apart")

# %% [markdown]
# ## More exercises
#
# 1. Which $v$ makes the example with three outputs give the second row of $J$?
# 2. Four passes with $v = 1, 10, 100, 1000$ left $2222$. Which single $v$ gives the same for $y$ itself?
# 3. At $x = 1$ one of the three paths contributes nothing to the gradient of $f$. Which one, and why?
#
# <details><summary>Solutions</summary>
#
# 1. $v = (0, 1, 0)$. One backward pass can give a row, never a column: it is a weighted sum of rows.
# 2. $v = 1111$, since $v^\top J$ is linear in $v$.
# 3. The one through $\sin x$: its rate is $\log(x^2)$, and $\log 1 = 0$.
#
# </details>

# %%
compare(Polynomials(), [1, 2], v=[0, 1, 0])

# %%
compare(Square(), 1.0, v=1111.0)
