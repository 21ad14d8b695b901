# %% [markdown]
# # What is recorded
#
# To pull a gradient back, a program has to remember how the result came about. PyTorch writes a record while it computes, TensorFlow
# writes one only while a tape is running, JAX writes none: it takes a whole function and gives back another. This notebook follows
# one small example through all of them: what is remembered, what is added up, and what is cut.

# %%
import matplotlib.pyplot as plt
import numpy as np
import torch

from nets.lessons import (
    Composed, Cube, DetachedSquare, Doubling, Square, Sum, TwiceSquaredNorm,
    compare, detaching, engines, recording, source, symbolic, vjp,
)  # fmt: skip

# %% [markdown]
# ## What is the derivative of $2\,x^\top x$?
# <sub>A4</sub>
#
# The document asks, and leaves the answer to PyTorch. SymPy can say it in symbols, one entry of $x$ at a time:

# %% tags=["A4"]
y, (gradient,), _ = symbolic(TwiceSquaredNorm(), (4,))
print("y  =", y.item())
print("∇y =", *gradient)

# %% [markdown]
# So $4x$. **Predict** $y$ and the gradient at $(0, 1, 2, 3)$, then see whether all engines say so.

# %% tags=["A4"]
compare(TwiceSquaredNorm(), [0, 1, 2, 3])

# %% [markdown]
# How does PyTorch get there without symbols? Each result carries a `grad_fn`, the last operation, which knows the one before:

# %% tags=["A4"]
x = torch.arange(4.0, requires_grad=True)
step = TwiceSquaredNorm()(x).grad_fn
while step is not None:
    print(step.name())
    step = next((earlier for earlier, _ in step.next_functions if earlier), None)

# %% [markdown]
# Read from the top: doubled, summed, multiplied entry by entry, and at the end the place where the gradient of a leaf is added up. The
# multiplication has two inputs, and both are $x$; only one of the two roads is printed here.
#
# The other two libraries need no such chain on the result. The lines that asked them:

# %%
print(source(engines.tensorflow))
print()
print(source(engines.jax))

# %% [markdown]
# ## Added up, until it is cleared
# <sub>A5</sub>
#
# The name of that last step says it: it *accumulates*. First $2\,x^\top x$, then the sum of $x$, whose gradient is one everywhere.
# **Predict** all four lines before you look.

# %% tags=["A5"]
history = recording.cleared(TwiceSquaredNorm(), Sum(), torch.arange(4.0))
for when, grad in history.items():
    print(f"{when:20} {grad.tolist()}")

# %% tags=["A5"]
figure, axes = plt.subplots(1, 4, sharey=True, figsize=(7.2, 2.1))
for axis, (when, grad) in zip(axes, history.items()):
    axis.bar(range(4), grad, color="C1" if when == "second, not cleared" else "C0")
    axis.set(title=when, xticks=range(4), xticklabels=["$x_1$", "$x_2$", "$x_3$", "$x_4$"])

# %% [markdown]
# The orange bars are neither the gradient of the first function nor that of the second. Nothing warns you.
#
# ## Backward from a vector
# <sub>A6</sub>
#
# $y = x \circ x$ is four numbers, and `backward` wants to know how much each counts. A weight of one for each is the gradient of the sum.
# **Predict** it.

# %% tags=["A6"]
compare(Square(), [0, 1, 2, 3], v=[1, 1, 1, 1])

# %% tags=["A6"]
compare(Composed(Sum(), Square()), [0, 1, 2, 3])

# %% [markdown]
# Without a weight, PyTorch refuses, in its own words:

# %% tags=["A6"]
print(recording.refused(Square(), torch.arange(4.0)))

# %% [markdown]
# ## A cut in the record
# <sub>A7</sub>
#
# Take $u = x \circ x$, forget where it came from, and form $z = u \circ x$. To PyTorch, $u$ is now as good as a table of numbers.
# **Predict** the gradient: $3x^2$, $2x^2$ or $x^2$?

# %% tags=["A7"]
compare(DetachedSquare(), [0, 1, 2, 3])

# %% [markdown]
# It is $u$. NumPy has no derivative by hand for this function, for good reason: $z = x^3$ has the derivative $3x^2$, and what came out is
# no derivative of any function of $x$ that was computed. It is what a person asked for. In the picture, the slope that a cut claims is
# a third of the true one.

# %% tags=["A7"]
x = np.linspace(0, 2, 101)
figure, axis = plt.subplots(figsize=(5, 3))
axis.plot(x, vjp("PyTorch", Cube(), x).y, color="lightgrey", linewidth=4)
for function, label in ((Cube(), "whole record: 3x²"), (DetachedSquare(), "cut: u")):
    found = vjp("PyTorch", function, 1.3)
    axis.plot(x, found.y + found.gradients[0] * (x - 1.3), label=label)
axis.set(xlabel="x", ylabel="z", ylim=(-1, 8), title="z = x³, and the slope at 1.3")
axis.legend();

# %% [markdown]
# The record of $y = x \circ x$ is still there. One recording, asked twice, once through $z$ and once through $y$:

# %% tags=["A7"]
for engine, ask in detaching.ENGINES.items():
    through_z, through_y = ask([0, 1, 2, 3])
    print(f"{engine:11} through z {through_z}   through y {through_y}")

# %% [markdown]
# ## A record has no branches
# <sub>A8</sub>
#
# A `while` or an `if` leaves no trace in the record: only what was really computed is written down. Here is how many operations there
# are for different arguments of a function that doubles until it has reached 1000:

# %% tags=["A8"]
print(source(Doubling.forward))


# %% tags=["A8"]
def length(a):
    """Operations between f(a) and a."""
    step, count = Doubling()(torch.tensor(a, requires_grad=True)).grad_fn, 0
    while step.next_functions:
        step, count = step.next_functions[0][0], count + 1
    return count


for a in (600.0, 10.0, 0.1, -0.1):
    k = vjp("PyTorch", Doubling(), a).gradients[0]
    print(f"a = {a:5g}: {length(a):2} operations, gradient {k:9,.0f} = f(a)/a")

# %% [markdown]
# **Predict** the gradient at $a = 0.05$: one more doubling than at $0.1$. And at a random vector, whatever its signs:

# %% tags=["A8"]
compare(Doubling(), 0.05)

# %% tags=["A8"]
random = np.random.default_rng(2)
compare(Doubling(), random.normal(size=3))

# %% tags=["A8"]
for engine in ("PyTorch", "TensorFlow", "JAX"):
    exact = 0
    for a in random.normal(size=(100, 3)):
        found = vjp(engine, Doubling(), a)
        exact += (found.gradients[0] * a == found.y).all()
    print(f"{engine:11} gradient · a = f(a), to the last bit, for {exact} of 100 random vectors")

# %% [markdown]
# ## Exercises
#
# 1. What is the gradient of $z = u \circ x$ if $x$ is detached instead of $u$?
# 2. After `zero_()` and one more `backward` of the sum, `x.grad` is ones. What if `zero_()` is forgotten ten times?
# 3. Why does the last step of the record print only one of two roads, and where does the factor two in $4x$ come from?
#
# <details><summary>Solutions</summary>
#
# 1. The roads through $u$ remain: $x \cdot 2x = 2x^2$, the other two thirds of $3x^2$.
# 2. Eleven passes have added up: elevens.
# 3. $x \circ x$ hands back $x$ along each of its two inputs; both arrive at the same leaf and are added, $x + x$. The factor two in
#    front of $x^\top x$ makes it $4x$.
#
# </details>

# %%
eleven = recording.accumulated(Sum(), torch.arange(4.0), torch.ones(11))
print(eleven[-1].tolist())
