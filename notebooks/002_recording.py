# %% [markdown]
# # What is recorded
#
# To compute a gradient backward, a program has to know how the result was computed. PyTorch records operations while
# they run, TensorFlow records them only while a tape is active, and JAX transforms a whole function into another. This
# notebook follows one small example through all three: what is recorded, what is added up, and what is detached.

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
# SymPy answers in symbols, one entry of $x$ at a time:

# %% tags=["A4"]
y, (gradient,), _ = symbolic(TwiceSquaredNorm(), (4,))
print("y  =", y.item())
print("∇y =", *gradient)

# %% [markdown]
# So $4x$. **Predict** $y$ and the gradient at $(0, 1, 2, 3)$, then compare with all engines.

# %% tags=["A4"]
compare(TwiceSquaredNorm(), [0, 1, 2, 3])

# %% [markdown]
# How does PyTorch compute it without symbols? Each result has a `grad_fn`, its last operation, which refers to the
# operation before:

# %% tags=["A4"]
x = torch.arange(4.0, requires_grad=True)
step = TwiceSquaredNorm()(x).grad_fn
while step is not None:
    print(step.name())
    step = next((earlier for earlier, _ in step.next_functions if earlier), None)

# %% [markdown]
# Read from the top: doubled, summed, multiplied entry by entry, and at the end the node that adds up the gradient of a
# leaf. The multiplication has two inputs, and both are $x$; only one of the two paths is printed here.
#
# The other two libraries attach nothing to the result. This is the code that calls them:

# %%
print(source(engines.tensorflow))
print()
print(source(engines.jax))

# %% [markdown]
# ## Added up, until it is cleared
# <sub>A5</sub>
#
# As the name of that last step says, it *accumulates*. First $2\,x^\top x$, then the sum of $x$, whose gradient is one
# everywhere. **Predict** all four lines before you look.

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
# $y = x \circ x$ is four numbers, and `backward` wants to know how much each counts. A weight of one for each is the
# gradient of the sum. **Predict** it.

# %% tags=["A6"]
compare(Square(), [0, 1, 2, 3], v=[1, 1, 1, 1])

# %% tags=["A6"]
compare(Composed(Sum(), Square()), [0, 1, 2, 3])

# %% [markdown]
# Without a weight, PyTorch refuses, in its own words:

# %% tags=["A6"]
print(recording.refused(Square(), torch.arange(4.0)))

# %% [markdown]
# ## A detached value
# <sub>A7</sub>
#
# Take $u = x \circ x$, detach it, and form $z = u \circ x$. For PyTorch, $u$ is now a constant. **Predict** the
# gradient: $3x^2$, $2x^2$ or $x^2$?

# %% tags=["A7"]
compare(DetachedSquare(), [0, 1, 2, 3])

# %% [markdown]
# It is $u$. There is no derivative by hand for this function, for good reason: $z = x^3$ has the derivative $3x^2$, and
# the result is not the derivative of the function that was computed. It is what `detach` asks for. In the plot, the
# slope with the detached factor is a third of the true one.

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
# The graph of $y = x \circ x$ still exists. One recording, differentiated twice, through $z$ and through $y$:

# %% tags=["A7"]
for engine, ask in detaching.ENGINES.items():
    through_z, through_y = ask([0, 1, 2, 3])
    print(f"{engine:11} through z {through_z}   through y {through_y}")

# %% [markdown]
# ## A record has no branches
# <sub>A8</sub>
#
# A `while` or an `if` is not part of the record: only the operations that ran are. The function below doubles its
# argument until it reaches
# 1000. How many operations are recorded for different arguments?

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
# 3. Why does the list of operations above show only one of two paths, and where does the factor two in $4x$ come from?
#
# <details><summary>Solutions</summary>
#
# 1. The paths through $u$ remain: $x \cdot 2x = 2x^2$, the other two thirds of $3x^2$.
# 2. Eleven passes have added up: elevens.
# 3. $x \circ x$ sends $x$ back along each of its two inputs; both arrive at the same leaf and are added, $x + x$. The
#    factor two in front of $x^\top x$ makes it $4x$.
#
# </details>

# %%
eleven = recording.accumulated(Sum(), torch.arange(4.0), torch.ones(11))
print(eleven[-1].tolist())
