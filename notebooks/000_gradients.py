# %% [markdown]
# # Gradients
#
# A gradient answers one question: if this number moves a little, how far does that one move? This notebook takes the
# question from one number to vectors and matrices, through chains of functions, and through `while` and `if`. Several
# programs that share no code compute each answer. If they agree to the last digits, the answer is hardly in doubt.
#
# The functions come from `nets.lessons`: each is written once, with its derivative by hand directly beneath.

# %%
import matplotlib.pyplot as plt
import numpy as np
import torch
from IPython.display import SVG

from nets import picture, rules
from nets.lessons import (
    Composed, Cube, Doubling, Polynomials, Quadratic, RowTimes, Sine, Square, SquaredNorm, Sum, Times,
    TwiceSquaredNorm, TwoUses, UsedTwice, compare, detaching, jacobian, recording, source, vjp,
)  # fmt: skip

# %% [markdown]
# ## One number
# <sub>A2</sub>
#
# Begin with $y = x^3$ at $x = 1$. **Before you run the cell:** push $x$ to 1.01. By how many hundredths does $y$ grow?

# %% tags=["A2"]
compare(Cube(), 1.0)

# %% [markdown]
# Three hundredths for one. Five programs agree, and they work differently: NumPy and SymPy use a formula for the
# derivative, NumPy one written by hand, SymPy one found by symbolic rules. PyTorch, TensorFlow and JAX never see a
# formula for the whole; they know the derivative of each single step and multiply.
#
# ## A vector and a matrix
# <sub>A1</sub>
#
# Now $x$ is a vector, and $y = A x$. Each entry of $y$ depends on each entry of $x$, so the answer is a table of
# numbers. It has two layouts, and the literature uses both.
#
# * **The Jacobian** has a row for each output: $J_{ij} = \partial y_i / \partial x_j$. It multiplies: $J t$ is how $y$
#   moves along $t$.
# * **The gradient** has a row for each input: $(\nabla y)_{ji} = \partial y_i / \partial x_j$. It has the shape of $x$
#   if $y$ is a single number, so gradient descent can step along it.
#
# The entries are the same, transposed: $\nabla y = J^\top$. **Predict** which of the two is $A$ itself.

# %% tags=["A1"]
random = np.random.default_rng(0)
a, x = random.normal(size=(2, 4)), random.normal(size=4)

gradient = rules.product(torch.tensor(a))
(by_jax,) = jacobian("JAX", Times(a), x)

figure, axes = plt.subplots(1, 2, figsize=(6.4, 2.8))
titles = "gradient $A^T$:\na row for each input", "Jacobian $A$:\na row for each output"
for axis, values, title in zip(axes, (gradient, by_jax), titles):
    axis.imshow(values, vmin=-2, vmax=2)
    axis.set_title(title)
    axis.axis("off")
    for (row, column), value in np.ndenumerate(values):
        axis.text(column, row, f"{value:.2f}", ha="center", va="center")

# %% [markdown]
# `nets.rules` uses the gradient layout, and everything else in `nets` uses the Jacobian layout; `rules.to_jacobian`
# converts one into the other. Here is each rule on a random matrix, compared with the Jacobian that four engines
# compute without the rule.

# %% tags=["A1"]
b, square = random.normal(size=(4, 2)), random.normal(size=(4, 4))
A, B, S, X = (torch.tensor(array) for array in (a, b, square, x))

claims = {
    "∇(A x) = Aᵀ": (Times(a), x, rules.to_jacobian(rules.product(A))),
    "∇(xᵀA) = A": (RowTimes(b), x, rules.to_jacobian(rules.row_product(B))),
    "∇(xᵀA x) = (A + Aᵀ) x": (Quadratic(square), x, rules.quadratic(S, X)),
    "∇‖x‖² = 2x": (SquaredNorm(), x, rules.squared_norm(X)),
    "∇‖X‖_F² = 2X": (SquaredNorm(), a, rules.squared_frobenius_norm(A)),
}
engines = "PyTorch", "NumPy by hand", "SymPy", "JAX"
print(f"{'largest error of the rule against':34}PyTorch    NumPy    SymPy      JAX")
for formula, (function, at, expected) in claims.items():
    found = [jacobian(engine, function, at)[0] for engine in engines]
    print(f"{formula:32}" + "".join(f"{np.abs(one - expected.numpy()).max():9.0e}" for one in found))

# %% [markdown]
# Why $A + A^\top$, and not $2A$? The vector occurs twice in $x^\top A x$. With the right one fixed, the left one
# contributes $A x$; with the left one fixed, the right one contributes $A^\top x$. The two are equal for every $x$ only
# if $A$ is symmetric.
#
# The gradient of a number points uphill, at right angles to the level lines:

# %% tags=["A1"]
hill = np.array([[1.0, 0.8], [-0.2, 0.5]])
grid = np.linspace(-2, 2, 61)
heights = [[float(vjp("NumPy by hand", Quadratic(hill), [p, q]).y) for p in grid] for q in grid]
points = np.array([[p, q] for p in (-1.2, 0, 1.2) for q in (-1.2, 0, 1.2)])
arrows = np.array([rules.quadratic(torch.tensor(hill), point).numpy() for point in torch.tensor(points)])

figure, axis = plt.subplots(figsize=(3.6, 3.4))
axis.contour(grid, grid, heights, levels=12, cmap="Greys", linewidths=1)
axis.quiver(*points.T, *arrows.T, color="C1", angles="xy", scale_units="xy", scale=4.5, width=0.012)
axis.set(xlabel="$x_1$", ylabel="$x_2$", title="$x^T A x$ and $(A + A^T)\\,x$", aspect="equal");

# %% [markdown]
# ## A chain
# <sub>A3</sub>
#
# $z = \sin y$ and $y = x^2$. If $x$ moves by a little, $y$ moves $2x$ times as far; if $y$ moves by a little, $z$ moves
# $\cos y$ times as far. The rates multiply:
#
# $$\frac{dz}{dx} = \frac{dz}{dy}\,\frac{dy}{dx} = \cos(x^2)\cdot 2x.$$

# %% tags=["A3"]
chain = Composed(Sine(), Square())
outer, inner = chain.factors(np.array(0.7))
print(f"dz/dy = {outer:.4f}   dy/dx = {inner:.4f}   product {outer * inner:.4f}")
compare(chain, 0.7)

# %% [markdown]
# ## Several paths: add
# <sub>A3</sub>
#
# What if a number is used twice? Take $y = x^2 \sin x$ and give the two uses different names, $u^2 \sin v$ with
# $u = v = x$. A change of $x$ reaches $y$ along both paths. **Predict:** are the two effects added or multiplied?

# %% tags=["A3"]
compare(TwoUses(), 0.7, 0.7)

# %% tags=["A3"]
through_u, through_v = vjp("PyTorch", TwoUses(), 0.7, 0.7).gradients
print(f"through u {through_u:.4f}  +  through v {through_v:.4f}  =  {through_u + through_v:.4f}")
compare(UsedTwice(), 0.7)

# %% [markdown]
# The same as a picture: each box shows a value and its gradient, each line the local derivative of that step. Read it
# from the right. Two contributions arrive at $x$, and their sum is the gradient.

# %% tags=["A3"]
SVG(picture(UsedTwice(), 0.7).to_svg())

# %% [markdown]
# Multiply along a path, add over paths. This is the whole chain rule of several variables. With
# $y = (3x_1^2,\; x_1^2 + 2x_2^3,\; 10x_2)$ and $z = 2\,y^\top y$ there are three paths from each $x_j$ to $z$, one
# through each $y_i$:
#
# $$\frac{\partial z}{\partial x_j} = \sum_i \frac{\partial z}{\partial y_i}\,\frac{\partial y_i}{\partial x_j}.$$
#
# A matrix product does this sum over paths.

# %% tags=["A3"]
many = Composed(TwiceSquaredNorm(), Polynomials())
outer, inner = many.factors(np.array([1.0, 2.0]))
for i, (rate, roads) in enumerate(zip(outer, inner), start=1):
    print(f"through y_{i}:  {rate:3.0f} × {roads}  =  {rate * roads}")
compare(many, [1.0, 2.0])

# %% [markdown]
# ## A first gradient in PyTorch
# <sub>A4</sub>
#
# $y = 2\,x^\top x$ at $x = (0, 1, 2, 3)$. Each $x_j$ enters as $2x_j^2$, so **predict** the four entries of the
# gradient. PyTorch stores it in `x.grad`.

# %% tags=["A4"]
x = torch.arange(4.0, requires_grad=True)
y = TwiceSquaredNorm()(x)
y.backward()
print("y =", y.item(), "  x.grad =", x.grad)

# %% tags=["A4"]
compare(TwiceSquaredNorm(), [0, 1, 2, 3])

# %% [markdown]
# ## `backward` adds to `x.grad`
# <sub>A5</sub>
#
# Next, the sum $x_1 + x_2 + x_3 + x_4$ of the same $x$. Its gradient is $(1, 1, 1, 1)$. **Predict** what `x.grad` holds
# if it was not cleared before.

# %% tags=["A5"]
for when, grad in recording.cleared(TwiceSquaredNorm(), Sum(), torch.arange(4.0)).items():
    print(f"{when:20} {grad.tolist()}")

# %% [markdown]
# `backward` adds, on purpose: a parameter that many samples use, or that occurs in several places, receives a
# contribution from each, as $x$ did along its two paths above. The price is a call of `zero_()` between two gradients.
# This is the code that ran:

# %% tags=["A5"]
print(source(recording.cleared))

# %% [markdown]
# ## The gradient of a vector needs weights
# <sub>A6</sub>
#
# $y = x \circ x$ has four outputs. Its Jacobian is four by four, but training needs one number per input. The gradient
# of the sum of the outputs is what `backward` gives for a weight of one for each output.

# %% tags=["A6"]
compare(Composed(Sum(), Square()), [0, 1, 2, 3])

# %% tags=["A6"]
compare(Square(), [0, 1, 2, 3], v=[1, 1, 1, 1])

# %% [markdown]
# ## A detached value
# <sub>A7</sub>
#
# $z = u \circ x$ with $u = x \circ x$. If $u$ is detached, it counts as a constant, and **you can predict** the
# gradient without any calculus. The recorded graph of $y = x \circ x$ itself stays.

# %% tags=["A7"]
for engine in ("PyTorch", "TensorFlow", "JAX"):
    through_z, through_y = detaching.ENGINES[engine]([0, 1, 2, 3])
    print(f"{engine:11} ∂Σz/∂x = {through_z}   ∂Σy/∂x = {through_y}")

# %% [markdown]
# Without `detach` it would be $3x^2$, the gradient of $x^3$. Two thirds of it flow through $u$.
#
# ## Through `while` and `if`
# <sub>A8</sub>
#
# This function doubles its argument until it is large, and multiplies by 100 if the sum is not positive:

# %% tags=["A8"]
print(source(Doubling))

# %% [markdown]
# There is no formula to read off, and SymPy gives up. But whatever the loop and the condition do, the argument is only
# multiplied by constants: $f(a) = k\,a$ for some $k$ that depends on $a$ in jumps. **Predict** the gradient from $f(a)$
# and $a$ alone.

# %% tags=["A8"]
compare(Doubling(), -0.4315)

# %% tags=["A8"]
for a in (0.3, -0.3, 700.0, -1e-3, [1.0, -3.0], [2.0, 0.5, -1.0]):
    found = {engine: vjp(engine, Doubling(), a) for engine in ("PyTorch", "TensorFlow", "JAX")}
    k = found["PyTorch"].gradients[0]
    same = all((one.gradients[0] == k).all() for one in found.values())
    exact = all((one.gradients[0] * np.array(a) == one.y).all() for one in found.values())
    print(f"a = {a!s:18} k = {k.flat[0]:11,.0f}   one k for all: {same}   gradient · a = f(a): {exact}")

# %% tags=["A8"]
a = np.geomspace(0.1, 10, 1001)
right, left = ([vjp("PyTorch", Doubling(), sign * one) for one in a] for sign in (1, -1))
figure, (value, slope) = plt.subplots(1, 2, figsize=(7.2, 2.9))
value.plot(a, [one.y for one in right])
value.set(xscale="log", ylim=(0, 2100), xlabel="a", title="f(a): ramps between jumps")
slope.plot(a, [one.gradients[0] for one in right], label="a > 0")
slope.plot(a, [one.gradients[0] for one in left], label="a < 0, over |a|")
slope.set(xscale="log", yscale="log", xlabel="|a|", title="its gradient: one step for each ramp")
slope.legend();

# %% [markdown]
# For a single $a$ there are no jumps, only the doublings that ran. Here they are for $a = 60$; the gradient doubles at
# every step backward.

# %% tags=["A8"]
SVG(picture(Doubling(), 60.0).to_svg())

# %% [markdown]
# There is no derivative at the jumps, and no engine reports that: each differentiates the branch that ran, not the
# choice between branches.
#
# ## Exercises
#
# 1. For which matrices is $\nabla(x^\top A x) = 2 A x$?
# 2. In the table for $x^2 \sin x$, which of the two uses vanishes at $x = \pi$, and why?
# 3. What would `x.grad` hold after the four steps under *A5* if the second function were $2x^\top x$ again?
#
# <details><summary>Solutions</summary>
#
# 1. Those with $(A + A^\top)x = 2Ax$ for every $x$: the symmetric ones, $A = A^\top$.
# 2. The use as $u$: its rate is $2u\sin v$, and $\sin\pi = 0$ (rounding leaves $10^{-16}$). The use as $v$ remains,
#    $\pi^2\cos\pi = -\pi^2$.
# 3. $4x$, then $8x$, then $0$, then $4x$. The next cell shows it.
#
# </details>

# %%
compare(TwoUses(), np.pi, np.pi)

# %%
for when, grad in recording.cleared(TwiceSquaredNorm(), TwiceSquaredNorm(), torch.arange(4.0)).items():
    print(f"{when:20} {grad.tolist()}")
