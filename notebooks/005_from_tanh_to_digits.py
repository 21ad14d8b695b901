# %% [markdown]
# # From tanh to digits
#
# The exercise of notebook 003 asks for the derivatives of $Y = \tanh(WX + B)$. The answer is short:
#
# $$\frac{\partial Y_k}{\partial W_{ij}} = \delta_{ki}\,(1 - Y_k^2)\,X_j, \qquad \frac{\partial Y_k}{\partial B_i} = \delta_{ki}\,(1 - Y_k^2).$$
#
# This notebook proves these two formulas for a network that classifies handwritten digits, and trains it with nothing
# else.

# %%
import matplotlib.pyplot as plt
import torch

import nets
import nets.data
from nets.calculus.formulas import formulas
from nets.telemetry.figures.descent_figures import draw_gradient_norms
from nets.training.evaluation import evaluate
from nets.verification.derivations.engines import available

# %% [markdown]
# ## The data
#
# 1,797 scanned digits of 8 × 8 pixels; a fifth of them is held back. The target is $+1$ for the right digit and $-1$
# for the nine others, the limits of $\tanh$.

# %%
data = nets.data.digits()
print(f"{len(data.train):,} samples to learn from, {len(data.test):,} held back")

figure, axes = plt.subplots(1, 10, figsize=(7.2, 1))
for digit, axis in enumerate(axes):
    first = data.train.targets.argmax(1).tolist().index(digit)
    axis.imshow(data.train.inputs[first].reshape(8, 8), cmap="Greys")
    axis.set_title(digit)
    axis.axis("off")

# %% [markdown]
# ## The network
#
# 64 pixels in, 10 outputs, one layer. **Predict** the number of parameters, and the number of derivatives
# $\partial Y_k/\partial W_{ij}$ of one sample.

# %% tags=["C5"]
network = nets.mlp([64, 10])
print(network)
for name, parameter in network.named_parameters():
    print(f"{name:9} {parameter.numel():4} numbers   {formulas(network)[name]}")
x = data.train.inputs[:4]
print("∂Y/∂W of one sample:", f"{nets.jacobians(network, x)['0.weight'].dense()[0].numel():,} entries")

# %% [markdown]
# Most of them are zero: output $k$ depends only on its own weights. The others are the digit itself, times the slope.
# Output 2 is saturated at this digit, so its weights hardly learn from it.

# %% tags=["C5"]
blocks = nets.jacobians(network, x)["0.weight"].dense()[0]
figure, axes = plt.subplots(1, 4, figsize=(7.2, 2))
axes[0].imshow(x[0].reshape(8, 8), cmap="Greys")
axes[0].set_title("X")
slopes = 1 - network(x)[0].detach() ** 2
for axis, (k, i) in zip(axes[1:], ((2, 2), (3, 3), (2, 3))):
    axis.imshow(blocks[k, i].reshape(8, 8), cmap="Greys", vmin=x[0].min(), vmax=x[0].max())
    axis.set_title(f"k = {k}, i = {i}:  " + (f"{slopes[k]:.2f} X" if k == i else "0"))
for axis in axes:
    axis.axis("off")

# %% [markdown]
# ## The proof
# <sub>C5</sub>
#
# Before the first step, every entry at four samples: the closed form against reverse mode, forward mode, NumPy by hand,
# SymPy, TensorFlow, JAX and differences. If one of them disagreed, training would not begin.

# %% tags=["C5"]
certificate = nets.verify(network, x, coverage="full", engines=available())
print(certificate)

# %% [markdown]
# The end of the sentence says how small an error would have been detected. What does an error look like? Here is the
# same network with a $\tanh$ that uses the slope of the neighbouring output in one place:


# %% tags=["C5"]
class Slipped(nets.calculus.layers.Tanh):
    """One row of the derivative is wrong."""

    def slope(self, z, y):
        slope = super().slope(z, y)
        return torch.cat([slope[..., :2], slope[..., 3:4], slope[..., 3:]], -1)


wrong = nets.Network([network[0], Slipped()])
print(nets.verify(wrong, x, coverage="full", engines=available()).sentence())

# %% [markdown]
# ## One number of it
#
# `nets.explain` shows how any single entry is computed. Here is the derivative of output 3 by its weight for pixel 20,
# at the first digit: the formula, the numbers, the chain of factors, and the same number by four derivations and in
# four notations.

# %% tags=["C5"]
nets.explain(network, x, "0.weight", (3, 20), sample=0, output=3)

# %% [markdown]
# ## Training
#
# The loss is the mean of $(Y_{nk} - T_{nk})^2$; its derivative by $Y$ is the cotangent that the two formulas at the top
# pull back to $W$ and $B$. `nets.descend` is a generator that yields a record of each step. **Predict:** will the norm
# of the gradient fall or rise?

# %%
loss = nets.MeanSquaredError()
recipe = {"loss": loss, "learning_rate": 0.05, "epochs": 20, "batch_size": 32}
steps = list(nets.descend(network, data.train, **recipe))
for step in (steps[0], steps[99], steps[-1]):
    norms = "  ".join(f"‖∂ℓ/∂{name}‖ {norm:.3f}" for name, norm in step.gradient_norm.items())
    print(f"step {step.step:3}   loss {step.loss:.3f}   {norms}")

# %%
draw_gradient_norms(plt.figure(figsize=(7.6, 3.4)), steps);

# %% [markdown]
# It falls to a fifth and then fluctuates: the rest is mostly the noise of batches of 32 samples. What has the network
# learnt?

# %%
for part, batch in (("seen", data.train), ("held back", data.test)):
    result = evaluate(network, loss, batch, data.classes)
    print(f"{part:10} loss {result.loss:.3f}   {result.accuracy:.1%} right")

# %% [markdown]
# ## The weights as pictures
#
# Each output has 64 weights, one for each pixel, so they make a picture. They were random at the start, so the picture
# shows what training has added, the sum of 900 steps against the gradient. Red: ink here is evidence for the digit.
# Blue: ink here is evidence against it.

# %%
before = nets.mlp([64, 10])  # the same seed, so the same beginning
learnt = (network[0].weight - before[0].weight).detach()
figure, axes = plt.subplots(2, 5, figsize=(6, 2.8))
for digit, axis in enumerate(axes.flat):
    axis.imshow(learnt[digit].reshape(8, 8), vmin=-learnt.abs().max(), vmax=learnt.abs().max())
    axis.set_title(digit)
    axis.axis("off")

# %% [markdown]
# Look at the 6: the middle of its upper half is blue. Most digits have ink there, a six has none. The rim is white,
# since no digit reaches it: a pixel that is the same in all samples has $X_j = 0$ here, and then
# $\delta_{ki}(1 - Y_k^2)X_j$ is zero.
#
# ## The slope, once more
#
# The factor $1 - Y_k^2$ limits how much an output can still learn. At the start the outputs are spread between $-1$ and
# $1$. Training moves them towards ±1, and an output near ±1 is *saturated*: its gradient is small, whether it is right
# or wrong. **Predict** how the histogram of $1 - Y_k^2$ moves.

# %%
figure, axis = plt.subplots(figsize=(5.6, 2.6))
for model, label in ((before, "before"), (network, "after")):
    slope = model[1].slope(None, model(data.test.inputs).detach())
    axis.hist(slope.flatten(), bins=40, range=(0, 1), histtype="step", label=f"{label} training")
axis.set(xlabel="1 − Y²", ylabel="outputs")
axis.legend(loc="upper center");

# %% [markdown]
# ## Watching it live
#
# One command does all of this, with every gradient norm of every step in TensorBoard:
#
# ```
# make train
# tensorboard --logdir runs
# ```
#
# *Scalars* has the loss, the accuracy on held-back digits and `gradient_norm/0.weight`; *Histograms* has the weights
# and their gradients as they change; *Text* has the certificate.
#
# ## Exercises
#
# 1. Give the network a hidden layer: `nets.mlp([64, 32, 10])`. Which of the two formulas at the top stays as it is, and
#    for which layer?
# 2. Prove it, and train it for as many steps. Is it better on the held-back digits?
# 3. Multiply the initial weights by ten (`gain=10`). What happens to the first gradient norm, and why?
#
# <details><summary>Solutions</summary>
#
# 1. Both, for the last layer, with the hidden layer's output in place of $X$. For the first layer the paths to $Y_k$
#    lead through the last layer's weights, so a full matrix $A_{ki} = \partial Y_k/\partial Z_i$ replaces
#    $\delta_{ki}$.
# 2. See the next cell.
# 3. It shrinks, though everything is larger: most outputs are saturated from the start, and $1 - Y^2$ is near zero.
#
# </details>

# %%
deeper = nets.mlp([64, 32, 10])
for name, formula in formulas(deeper).items():
    print(f"{name:9} {formula}")
print(nets.verify(deeper, x).sentence())
for _ in nets.descend(deeper, data.train, **recipe):
    pass
print(f"{evaluate(deeper, loss, data.test, data.classes).accuracy:.1%} right")

# %%
for gain in (1.0, 10.0):
    start = nets.mlp([64, 10], gain=gain)
    step = next(nets.descend(start, data.train, loss=loss, learning_rate=0.05, steps=1))
    slope = start[1].slope(None, start(data.train.inputs).detach())
    norm = step.gradient_norm["0.weight"]
    print(f"gain {gain:4g}: ‖∂ℓ/∂W‖ = {norm:.3f}   median of 1 − Y² = {slope.median():.4f}")
