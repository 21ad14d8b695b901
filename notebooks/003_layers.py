# %% [markdown]
# # Layers that know their own derivatives
#
# There are three ways to compute a derivative: move the input a little and divide; do algebra and insert numbers at the
# end; or give every function its own derivative, and multiply. Networks are trained in the third way, and in `nets` you
# can read it. The notebook ends with an exercise, $Y = \tanh(WX + B)$, and checks every entry of its derivatives.

# %%
import math

import matplotlib.pyplot as plt
import numpy as np
import torch

import nets
from nets.calculus.formulas import formulas
from nets.calculus.layers import Tanh
from nets.lessons import Composed, HyperbolicTangent, Line, compare, entries, installed, source, vjp
from nets.verification.derivations.engines import available

# %% [markdown]
# ## One function
# <sub>C1</sub>
#
# $Y = \tanh x$ at $x = 2$. The curve is nearly flat there. **Predict** roughly: is the slope closer to 1, to 0.5 or to
# 0.1?

# %% tags=["C1"]
compare(HyperbolicTangent(), 2.0)

# %% tags=["C1"]
x = np.linspace(-3, 3, 201)
curve = vjp("PyTorch", HyperbolicTangent(), x)
here = vjp("PyTorch", HyperbolicTangent(), 2.0)

figure, axis = plt.subplots()
axis.plot(x, curve.y, label="Y = tanh x")
axis.plot(x, curve.gradients[0], label="dY/dx")
axis.plot([2, 2], [here.y, here.gradients[0]], "o", color="black", markersize=4)
axis.annotate(f"Y = {here.y:.4f}", (2, here.y), (2.1, 0.72))
axis.annotate(f"dY/dx = {here.gradients[0]:.4f}", (2, here.gradients[0]), (1.55, 0.2))
axis.set(xlabel="x")
axis.legend();

# %% [markdown]
# By algebra, the slope is $\mathrm{sech}^2 x$. The layer does not need $x$ again: its output is enough, since
# $\mathrm{sech}^2 x = 1 - Y^2$. This is the whole layer:

# %% tags=["C1"]
print(source(Tanh))
print()
print(f"sech² 2 = {1 / math.cosh(2) ** 2:.4f}    1 − Y² = {1 - here.y**2:.4f}")

# %% [markdown]
# The same number from the layer, by all engines. A layer takes a batch, here of one sample with one feature:

# %% tags=["C1"]
two = torch.tensor([[2.0]], dtype=torch.float64)
layer = nets.Network([Tanh()])
for engine in installed():
    print(f"{engine:14} {entries(engine, layer, two)['input'].item():.4f}")
print(f"{'closed form':14} {nets.jacobians(layer, two)['input'].dense().item():.4f}")

# %% [markdown]
# ## Two functions, one after the other
# <sub>C2</sub>
#
# $y = \tanh x$, $z = \tanh y$. The slopes multiply. You know the first, 0.0707. **Predict** the second: is $\tanh$
# flatter or steeper at $y = 0.96$ than at 2?

# %% tags=["C2"]
chain = Composed(HyperbolicTangent(), HyperbolicTangent())
outer, inner = chain.factors(np.array(2.0))
print(f"dz/dy = {outer:.4f}   dy/dx = {inner:.4f}   product = {outer * inner:.4f}")
compare(chain, 2.0)

# %% [markdown]
# The same as a network of two layers, a `Sequential(Tanh, Tanh)`:

# %% tags=["C2"]
twice = nets.Network.from_torch(torch.nn.Sequential(torch.nn.Tanh(), torch.nn.Tanh()))
print(formulas(twice)["input"])
for engine in installed():
    slope = entries(engine, twice, two)["input"].item()
    print(f"{engine:14} z = {twice(two).item():.4f}   dz/dx = {slope:.4f}")

# %% [markdown]
# No slope of $\tanh$ is above one, so every further layer makes the product smaller. This is how gradients vanish in
# deep networks:

# %% tags=["C2"]
depths = range(1, 21)
networks = [nets.Network(Tanh() for _ in range(depth)) for depth in depths]
slopes = [nets.jacobians(deep, two)["input"].norm() for deep in networks]
figure, axis = plt.subplots(figsize=(5, 2.6))
axis.semilogy(depths, slopes, "o-")
axis.set(xlabel="layers of tanh", ylabel="dz/dx at x = 2", xticks=[1, 5, 10, 15, 20]);

# %% [markdown]
# ## A layer that can learn
# <sub>C3</sub>
#
# $y = wx + b$ at $x = 2$, $w = 3$, $b = 4$. The weight and the bias are inputs like any other. **Predict** three
# derivatives: if $x$, $w$ or $b$ moves, how far does $y$ move?

# %% tags=["C3"]
compare(Line(), 2.0, 3.0, 4.0)

# %% [markdown]
# The derivative by the weight is the input, and the derivative by the input is the weight.
#
# ## Many weights
# <sub>C4</sub>
#
# $Y_i = \sum_j W_{ij} X_j + B_i$. Every output has a derivative by every weight, so the derivative has three indices,
# $\partial Y_k/\partial W_{ij}$. **Predict** most of them: does $Y_1$ depend on a weight in row 3?

# %% tags=["C4"]
network = nets.mlp([4, 3], output="identity", generator=torch.Generator().manual_seed(1)).double()
random = torch.Generator().manual_seed(0)
network[0].bias.data = torch.randn(3, generator=random, dtype=torch.float64)
x = torch.randn(1, 4, generator=random, dtype=torch.float64)

for name, formula in formulas(network).items():
    print(f"{name:9} {formula}")


# %% tags=["C4"]
def blocks(jacobian, title):
    """One panel for each output k, with the rows i and the columns j of W."""
    figure, axes = plt.subplots(1, len(jacobian), figsize=(7.2, 2))
    largest = jacobian.abs().max()
    for k, (axis, values) in enumerate(zip(axes, jacobian), start=1):
        image = axis.imshow(values, vmin=-largest, vmax=largest)
        axis.set_title(f"$\\partial Y_{k}/\\partial W_{{ij}}$")
        axis.set(xlabel="j", xticks=[], yticks=range(3), yticklabels=["i = 1", "i = 2", "i = 3"])
        axis.grid(False)
    figure.colorbar(image, ax=axes, shrink=0.8, label=title)


print("X =", np.round(x[0].numpy(), 2))
blocks(nets.jacobians(network, x)["0.weight"].dense()[0], "$\\delta_{ki}\\,X_j$")

# %% [markdown]
# Most entries are zero, and each row that is not zero is a copy of $X$, as $\delta_{ki} X_j$ says. Every entry, by
# every engine, against the closed form:

# %% tags=["C4"]
x = torch.randn(3, 4, generator=random, dtype=torch.float64)
print(nets.verify(network, x, coverage="full", engines=available()))

# %% [markdown]
# ## The exercise
# <sub>C5</sub>
#
# $Y = \tanh(W X + B)$. Find $\partial Y_k/\partial W_{ij}$ and $\partial Y_k/\partial B_i$. **Work it out before you go
# on:** you have the slope of $\tanh$ from the output, and the derivative of the linear layer; they multiply.
#
# <details><summary>Solution</summary>
#
# Call $Z = WX + B$, so that $Y_k = \tanh Z_k$. By the chain rule, summed over all $Z_l$,
#
# $$\frac{\partial Y_k}{\partial W_{ij}} = \sum_l \frac{\partial Y_k}{\partial Z_l}\frac{\partial Z_l}{\partial W_{ij}}
# = \sum_l \delta_{kl}(1 - Y_k^2)\,\delta_{li}X_j = \delta_{ki}\,(1 - Y_k^2)\,X_j, \qquad
# \frac{\partial Y_k}{\partial B_i} = \delta_{ki}\,(1 - Y_k^2).$$
#
# </details>

# %% tags=["C5"]
exercise = nets.Network([*network, Tanh()])
for name, formula in formulas(exercise).items():
    print(f"{name:9} {formula}")

# %% tags=["C5"]
one = x[1:2]
y = exercise(one).detach()
print("1 − Y² =", np.round(1 - y[0].numpy() ** 2, 2), "  X =", np.round(one[0].numpy(), 2))
blocks(nets.jacobians(exercise, one)["0.weight"].dense()[0], "$\\delta_{ki}(1 - Y_k^2)X_j$")

# %% [markdown]
# The same pattern as before, with each row multiplied by the slope of its output. And the proof, entry by entry: the
# closed form against reverse mode, forward mode, NumPy by hand, SymPy, TensorFlow, JAX and differences.

# %% tags=["C5"]
certificate = nets.verify(exercise, x, coverage="full", engines=available())
print(certificate)

# %% tags=["C5"]
closed = nets.jacobians(exercise, x)
print(f"{'axes (n, k, i, j)':18} {closed['0.weight'].shape}")
for engine in installed():
    found = entries(engine, exercise, x)
    w, b = ((found[name] - closed[name].dense()).abs().max() for name in ("0.weight", "0.bias"))
    print(f"{engine:18} weight off by at most {w:.0e}, bias by {b:.0e}")

# %% [markdown]
# ## What the pattern saves
#
# With $I$ outputs and $J$ inputs the table of $\partial Y_k/\partial W_{ij}$ has $I \cdot I \cdot J$ entries for each
# sample, but two short vectors determine it. `nets.jacobians` stores the two, and forms the table only on request:

# %%
wide = nets.mlp([128, 128]).double()
samples = torch.randn(16, 128, dtype=torch.float64, generator=random)
jacobian = nets.jacobians(wide, samples)["0.weight"]
print(f"entries {math.prod(jacobian.shape):,}   kept as {jacobian.a.numel() + jacobian.x.numel():,} numbers")

# %% [markdown]
# ## More exercises
#
# 1. Where is $\partial Y_k/\partial W_{kj}$ largest: for an output near 0 or near 1?
# 2. What are the derivatives of $Y = \tanh(\tanh(WX + B))$?
# 3. In $y = wx + b$, for which $x$ is the gradient by $w$ always zero?
#
# <details><summary>Solutions</summary>
#
# 1. Near 0, where $1 - Y_k^2$ is 1. An output near ±1 is *saturated*: its weights hardly learn.
# 2. There is one more slope: the next cell prints the formula, with $H_2 = \tanh Z$.
# 3. $x = 0$, since $\partial y/\partial w = x$.
#
# </details>

# %%
for name, formula in formulas(nets.Network([*network, Tanh(), Tanh()])).items():
    print(f"{name:9} {formula}")
