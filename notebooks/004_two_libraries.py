# %% [markdown]
# # Two libraries, two ways to record
#
# PyTorch and TensorFlow compute the same gradients and differ in nearly everything else: what is recorded, for how
# long, for which tensors, where the result is stored, and what the gradient of a vector is. A comparison makes both
# clearer.

# %%
import matplotlib.pyplot as plt
import numpy as np
import torch

from nets.lessons import (
    Composed, Double, EightMinus, ElevenPlus, NineOver, Polynomials, Sine, Square,
    compare, recording, source, tape, vjp,
)  # fmt: skip

# %% [markdown]
# ## Five functions of three
# <sub>D1</sub>
#
# $x^2$, $2x$, $9/x$, $8 - x$ and $11 + x$, all at $x = 3$. The values are easy. **Predict** the five slopes; two of
# them are negative.

# %% tags=["D1"]
x = torch.tensor(3.0, requires_grad=True)
for function in (Square(), Double(), NineOver(), EightMinus(), ElevenPlus()):
    y = function(x)
    (slope,) = torch.autograd.grad(y, x)
    print(f"{function!s:12} = {y.item():3g}   slope {slope.item():3g}   recorded as {y.grad_fn.name()}")

# %% tags=["D1"]
near = np.linspace(1.5, 4.5, 61)
figure, axis = plt.subplots(figsize=(5.6, 3.4))
for function in (Square(), Double(), NineOver(), EightMinus(), ElevenPlus()):
    at = vjp("PyTorch", function, 3.0)
    (line,) = axis.plot(near, vjp("PyTorch", function, near).y, label=str(function))
    axis.plot([2.5, 3.5], at.y + at.gradients[0] * np.array([-0.5, 0.5]), color="black", linewidth=1)
    axis.plot(3, at.y, "o", color=line.get_color())
axis.set(xlabel="x", title="five functions, and their slopes at 3")
axis.legend(loc="upper left", bbox_to_anchor=(1, 1));

# %% tags=["D1"]
compare(Square(), 3.0)

# %% tags=["D1"]
for function in (Double(), NineOver(), EightMinus(), ElevenPlus()):
    print(compare(function, 3.0), end="\n\n")

# %% [markdown]
# ## An intermediate value
# <sub>D2</sub>
#
# $y = x^2$ and $z = \sin y$. On paper $dz/dy = \cos y$ and $dz/dx = \cos(x^2)\cdot 2x$; at $x = 3$ those are $-0.9111$
# and six times as much.

# %% tags=["D2"]
compare(Composed(Sine(), Square()), 3.0)

# %% tags=["D2"]
compare(Sine(), 9.0)

# %% [markdown]
# PyTorch uses the second number in the backward pass, and then discards it. **Predict** what `y.grad` holds after
# `z.backward()`.

# %% tags=["D2"]
three = torch.tensor(3.0, dtype=torch.float64)
for name, grad in recording.retained(Sine(), Square(), three).items():
    print(f"{name:17} {grad if grad is None else round(grad.item(), 4)}")

# %% [markdown]
# Only leaves keep a gradient, since training updates only leaves. `retain_grad()` makes an exception.
#
# ## Twenty points at once
# <sub>D3</sub>
#
# The same $\sin(x^2)$ at 20 points between 0 and 3. **Predict** where the slope is largest: where $z$ oscillates
# slowly, or fast?

# %% tags=["D3"]
x = np.linspace(0, 3, 20)
compare(Composed(Sine(), Square()), x)

# %% tags=["D3"]
compare(Sine(), x**2)

# %% tags=["D3"]
fine = np.linspace(0, 3, 301)
curve, points = (vjp("PyTorch", Composed(Sine(), Square()), at) for at in (fine, x))
by_y = vjp("PyTorch", Sine(), x**2).gradients[0]

figure, (value, slope) = plt.subplots(2, 1, sharex=True, figsize=(6.4, 4.2))
value.plot(fine, curve.y, color="lightgrey")
value.plot(x, points.y, "o", markersize=4, label="z = sin x²")
value.plot(x, by_y, "s", markersize=4, color="C2", label="∂Σz/∂y = cos x²")
value.legend(ncols=2, loc="lower left")
slope.plot(fine, curve.gradients[0], color="lightgrey")
slope.plot(x, points.gradients[0], "o", markersize=4, color="C1", label="∂Σz/∂x = 2x cos x²")
slope.set(xlabel="x")
slope.legend(loc="lower left");

# %% tags=["D3"]
recorded = recording.retained(Sine(), Square(), torch.tensor(x))
print("y.grad:", np.round(recorded["y.grad, retained"].numpy(), 4))
print("x.grad:", np.round(recorded["x.grad"].numpy(), 4))

# %% [markdown]
# ## Clear, or add
# <sub>D4</sub>
#
# $x^2$ at $x = 2$ has the slope 4. Go backward; go backward again; clear; go backward. **Predict** the four numbers.

# %% tags=["D4"]
for when, grad in recording.cleared(Square(), Square(), torch.tensor(2.0)).items():
    print(f"{when:20} {grad.item():g}")

# %% [markdown]
# ## Three ways not to be recorded
# <sub>D5</sub>
#
# If a model is only evaluated, a record wastes memory. The value is 4 each time; `grad_fn` shows whether there is a
# record.

# %% tags=["D5"]
for way, y in recording.untracked(Square(), torch.tensor(2.0)).items():
    grad_fn = None if y.grad_fn is None else y.grad_fn.name()
    print(f"{way:22} y = {y.item():g}   grad_fn = {grad_fn}")

# %% [markdown]
# The first applies to one tensor from then on; the second returns a view of the same numbers without a record; the
# third applies to all operations inside the `with`.
#
# ## TensorFlow: nothing is recorded unless a tape runs
# <sub>D6</sub>
#
# TensorFlow works the other way round. Outside a tape nothing is recorded; inside, operations that depend on a
# `Variable` are.

# %% tags=["D6"]
print(source(tape.variable))

# %% tags=["D6"]
for name, gradient in tape.variable(Sine(), Square(), 3.0).items():
    print(f"{name} = {gradient:.4f}")

# %% [markdown]
# The tape gives the gradient at $y$ without a call like `retain_grad()`. It was used twice, so it had to be
# *persistent*. A constant, however, is not tracked. **Predict** both lines:

# %% tags=["D6"]
for how, gradient in tape.constant(Square(), 3.0).items():
    print(f"a constant, {how}: {gradient}")

# %% [markdown]
# Three calls for the gradient of the same record give the same gradient three times. PyTorch adds them:

# %% tags=["D6"]
print("TensorFlow", [float(one) for one in tape.repeated(Square(), 3.0, times=3)])
grads = recording.accumulated(Square(), torch.tensor(3.0), torch.ones(3))
print("PyTorch   ", [grad.item() for grad in grads])

# %% [markdown]
# The same at ten points, by both libraries:

# %% tags=["D6"]
x = np.linspace(0, 3, 10)
by_tape = tape.variable(Sine(), Square(), x)
by_torch = recording.retained(Sine(), Square(), torch.tensor(x))
with np.printoptions(precision=8, suppress=True, linewidth=70):
    print("TensorFlow ∂Σz/∂y", by_tape["∂z/∂y"], sep="\n")
    print("PyTorch y.grad", by_torch["y.grad, retained"].numpy(), sep="\n")
    print("TensorFlow ∂Σz/∂x", by_tape["∂z/∂x"], sep="\n")
    print("PyTorch x.grad", by_torch["x.grad"].numpy(), sep="\n")

# %% [markdown]
# ## The gradient of a vector
# <sub>D7</sub>
#
# $y = (3x_1^2,\; x_1^2 + 2x_2^3,\; 10x_2)$ at $(1, 2)$ has three outputs, and the Jacobian has the rows $(6, 0)$,
# $(2, 24)$, $(0, 10)$. Ask both libraries for "the gradient" without weights for the outputs. **Predict:** which of
# them answers, and with what?

# %% tags=["D7"]
x, v = [1.0, 2.0], [1.0, 10.0, 100.0]
print("TensorFlow:", tape.summed(Polynomials(), x))
print("PyTorch:   ", recording.refused(Polynomials(), torch.tensor(x)))

# %% [markdown]
# TensorFlow adds up the rows, with a weight of one for each output. PyTorch requires the weights. With the same
# weights, they agree:

# %% tags=["D7"]
for weights in ([1.0, 1.0, 1.0], v):
    by_torch = vjp("PyTorch", Polynomials(), x, v=weights).gradients[0]
    print(f"v = {weights!s:20} TensorFlow {tape.summed(Polynomials(), x, weights)}   PyTorch {by_torch}")

# %% [markdown]
# | | PyTorch | TensorFlow |
# | --- | --- | --- |
# | records | whenever a tensor requires a gradient | while a tape runs |
# | tracks | tensors with `requires_grad` | Variables, and what is watched |
# | keeps the record | until the first `backward` | until the first `gradient`, or longer if persistent |
# | puts the result | into `.grad` of the leaves, added to what is there | into what `gradient` returns, new each time |
# | in between | `retain_grad()` | ask for it |
# | of a vector | needs `v` | takes ones for `v` |
#
# ## Exercises
#
# 1. At which of the 20 points is $\partial z/\partial x$ zero, although $\cos x^2$ is not?
# 2. After the second `backward` under *D4* the gradient is 8. What does a step of gradient descent do with it?
# 3. Which $v$ makes PyTorch give TensorFlow's default answer, for $\sin(x^2)$ at ten points?
#
# <details><summary>Solutions</summary>
#
# 1. At $x = 0$: there $2x = 0$.
# 2. It steps twice as far, without a warning. With a small learning rate that is hard to see, and it grows with every
#    step.
# 3. Ten ones; `z.sum().backward()` is the same.
#
# </details>

# %%
x = np.linspace(0, 3, 10)
ones = vjp("PyTorch", Composed(Sine(), Square()), x, v=np.ones(10)).gradients[0]
unasked = tape.summed(Composed(Sine(), Square()), x)
print(f"largest difference {np.abs(ones - unasked).max():.0e}")
