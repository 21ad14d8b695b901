# %% [markdown]
# # A transformer by hand
#
# Notebook 005 needs two formulas. A transformer needs four more ideas, and each of them is small: a norm whose
# derivative has three terms, the Jacobian of softmax, attention, and a parameter with two uses. At the end, Adam turns
# the gradient into a step. Each section computes its result with plain tensor operations and asserts that the layer of
# `nets`, or PyTorch, gives the same.

# %%
import matplotlib.pyplot as plt
import torch

import nets
from nets.calculus.layers import Attention, Embedding, LayerNorm, Linear, Softmax
from nets.training.optimizers import Adam

torch.set_default_dtype(torch.float64)


def same(one, other, tolerance=1e-12):
    """Asserts that two tensors are equal up to rounding, and says so."""
    difference = float((one - other).detach().abs().max())
    assert difference <= tolerance, difference
    return f"equal within {tolerance:g}"


# %% [markdown]
# ## LayerNorm: three terms
#
# $$H_j = (X_j - \bar X)\,r, \qquad r = \frac{1}{\sqrt{\tfrac1J \sum_j (X_j - \bar X)^2 + \varepsilon}}$$
#
# **Predict:** is $v\,\partial H/\partial X$ just $r\,v$? What is it for $v = (1, 1, 1, 1)$?

# %%
x = torch.tensor([1.0, 2.0, 4.0, 9.0])
v = torch.tensor([1.0, 0.0, -2.0, 0.5])
norm = LayerNorm(4).double()
centred = x - x.mean()
r = 1 / (centred.square().mean() + norm.eps).sqrt()
h = centred * r

scale = r * v
mean_term = -r * v.mean() * torch.ones(4)
variance_term = -r * h * (v * h).mean()
for name, term in (("scale", scale), ("mean", mean_term), ("variance", variance_term)):
    print(f"{name:9}", "  ".join(f"{number:8.4f}" for number in term))
by_hand = scale + mean_term + variance_term
print(f"{'sum':9}", "  ".join(f"{number:8.4f}" for number in by_hand))

y = norm(x[None])
print("the layer's pullback:", same(norm.pullback(v[None], x[None], y)[0], by_hand))
leaf = x.clone().requires_grad_()
(reverse,) = torch.autograd.grad(torch.nn.functional.layer_norm(leaf, (4,)), leaf, v)
print("PyTorch's backward:  ", same(reverse, by_hand))

# %% [markdown]
# The second term comes from the mean, the third from the variance. They remove two directions: adding a constant to
# all $X_j$ does not change $H$, and stretching $X$ about its mean hardly does (not at all if $\varepsilon = 0$). So the
# pullback of ones is zero, and that of $H$ is almost zero.

# %%
for name, direction in (("ones", torch.ones(4)), ("H", h)):
    pulled = norm.pullback(direction[None], x[None], y)[0]
    print(f"pullback of {name:4}: largest entry below 1e-5: {bool(pulled.abs().max() < 1e-5)}")
    assert pulled.abs().max() < 1e-5
without_mean = scale + variance_term
print(f"without the mean term the entries add up to {without_mean.sum():.4f}, with it to {abs(by_hand.sum()):.4f}")
assert abs(by_hand.sum()) < 1e-12 < abs(without_mean.sum())

# %% [markdown]
# ## Softmax: $J = \operatorname{diag}(p) - p\,p^\top$
#
# $P_k = e^{X_k} / \sum_m e^{X_m}$ gives $\partial P_k/\partial X_j = P_k(\delta_{kj} - P_j)$.
# **Predict:** which sums of $J$ are zero: of its rows, of its columns, or both? Where does $J$ vanish?

# %%
p = torch.softmax(x, 0)
jacobian = torch.diag(p) - torch.outer(p, p)
layer = Softmax()
print("the layer's Jacobian:", same(layer.local_jacobian(x[None], layer(x[None]))[0], jacobian))
print("PyTorch's Jacobian:  ", same(torch.func.jacrev(lambda z: torch.softmax(z, 0))(x), jacobian))
print("sums of rows:        ", same(jacobian.sum(1), torch.zeros(4)))
print("sums of columns:     ", same(jacobian.sum(0), torch.zeros(4)))
for stretch in (0.1, 1.0, 10.0):
    p = torch.softmax(stretch * x, 0)
    largest = (torch.diag(p) - torch.outer(p, p)).abs().max()
    print(f"softmax of {stretch:4g} X: largest p = {p.max():.4f}, largest entry of J = {largest:.4f}")
    assert largest <= 0.25

# %% [markdown]
# Both: the probabilities always add up to one, and a constant added to all $X_j$ changes nothing. A softmax that puts
# everything on one entry is *saturated*: $J$ is zero, and nothing below it learns.
#
# ## Attention: one head
#
# Four positions, width 2. $S_{ts} = Q_t \cdot K_s / \sqrt 2$ for $s \le t$, $P_t = \operatorname{softmax}(S_t)$,
# $Y_t = \sum_s P_{ts} V_s$. **Predict** the first row of $P$, before you look at any number.

# %%
generator = torch.Generator().manual_seed(6)
q, k, values = torch.randn(3, 4, 2, generator=generator)
causal = torch.ones(4, 4).tril().bool()
scores = (q @ k.T / 2**0.5).masked_fill(~causal, -torch.inf)
p = scores.softmax(-1)
y = p @ values
for t, row in enumerate(p):
    print(f"P_{t}", "  ".join(f"{number:.4f}" for number in row[: t + 1]))
assert p[0].tolist() == [1, 0, 0, 0]

head = Attention(1)
packed = torch.cat([q, k, values], -1)[None]
print("the layer:", same(head(packed)[0], y))
figure, axis = plt.subplots(figsize=(2.6, 2.4))
axis.imshow(p.masked_fill(~causal, torch.nan), cmap="Greys", vmin=0, vmax=1)
axis.set(xlabel="position s of the key", ylabel="position t of the query", title="P");

# %% [markdown]
# The first position sees only itself. The backward pass goes through the three products in reverse order. With the
# cotangent $v$ of $Y$:
#
# $$dV_s = \sum_t P_{ts} v_t, \qquad dP_{ts} = v_t \cdot V_s, \qquad
# dS_{ts} = P_{ts} (dP_{ts} - D_t), \qquad D_t = \sum_r P_{tr}\, dP_{tr}.$$
#
# The third formula is $J$ of softmax, row by row. $D_t$ is also $v_t \cdot Y_t$: **predict** why, and why that is useful
# for a long sequence.

# %%
v = torch.randn(4, 2, generator=generator)
dp = v @ values.T
row_sums = (p * dp).sum(-1, keepdim=True)
print("D_t = v_t · Y_t:", same(row_sums[:, 0], (v * y).sum(-1)))
ds = p * (dp - row_sums)
by_hand = torch.cat([ds @ k / 2**0.5, ds.T @ q / 2**0.5, p.T @ v], -1)
print("the layer's pullback:", same(head.pullback(v[None], packed, head(packed))[0], by_hand))
leaves = [part.clone().requires_grad_() for part in (q, k, values)]
answer = torch.nn.functional.scaled_dot_product_attention(*(part[None] for part in leaves), is_causal=True)[0]
print("PyTorch's backward:  ", same(torch.cat(torch.autograd.grad(answer, leaves, v), -1), by_hand))

wrong = p * dp
print(f"without D_t the rows of dS add up to {', '.join(f'{number:.3f}' for number in wrong.sum(-1))}")
print("with D_t each row adds up to zero:", same(ds.sum(-1), torch.zeros(4)))

# %% [markdown]
# $\sum_s P_{ts} (v_t \cdot V_s) = v_t \cdot \sum_s P_{ts} V_s = v_t \cdot Y_t$. A backward pass that recomputes $P$ a
# few columns at a time knows $D_t$ without ever having a whole row of $P$.
#
# The first row of $dS$ is zero: a softmax of one number is constant, so the first query does not learn from this head.

# %%
print("dQ of the first position:", [abs(number) for number in by_hand[0, :2].tolist()])
assert by_hand[0, :2].abs().max() < 1e-12

# %% [markdown]
# ## Weight tying: the Jacobians add up
#
# A language model may read and write tokens with one matrix: row $a$ of $W$ is the vector of token $a$, and the logit
# of token $k$ is $W_k \cdot H$. With nothing in between, token $a$ gives $Y_k = W_k \cdot W_a$. **Predict** $\partial
# Y_k/\partial W_{ij}$, and what happens for $k = a = i$.

# %%
embedding, output = Embedding(3, 2).double(), Linear(2, 3, bias=False).double()
weight = torch.tensor([[0.5, -1.0], [2.0, 0.25], [-0.75, 1.5]])
embedding.weight.data.copy_(weight)
output.weight = embedding.weight
network = nets.Network({"token": embedding, "head": output})
token = torch.tensor([[1]])

as_output = torch.einsum("ki,j->kij", torch.eye(3), weight[1])  # δ_ki W_aj
as_token = torch.einsum("i,kj->kij", torch.eye(3)[1], weight)  # δ_ai W_kj
found = nets.jacobians(network, token)["token.weight"].dense()[0, 0]
print("sum of both uses:", same(found, as_output + as_token))
print("Y_1 by W_1:", found[1, 1].tolist(), "= 2 W_1:", (2 * weight[1]).tolist())
assert found[1, 1].tolist() == (2 * weight[1]).tolist()
print(f"counted once, the largest error is {as_token.abs().max():g}")

# %% [markdown]
# $\partial Y_k/\partial W_{ij} = \delta_{ki} W_{aj} + \delta_{ai} W_{kj}$, and $Y_a = W_a \cdot W_a$ has the gradient
# $2 W_a$: the product rule is the rule for a shared parameter.
#
# ## Adam: ten steps
#
# $M \leftarrow \beta_1 M + (1 - \beta_1) G$, $V \leftarrow \beta_2 V + (1 - \beta_2) G^2$,
# $\Delta\theta = -\eta\,\hat M / (\sqrt{\hat V} + \varepsilon)$ with $\hat M = M / (1 - \beta_1^t)$ and
# $\hat V = V / (1 - \beta_2^t)$. The loss is $\ell = 50\,a^2 + 0.005\,b^2$, which is 10,000 times steeper in $a$ than in
# $b$. **Predict** the first step in each direction, from $a = b = 1$ with $\eta = 0.1$.

# %%
slopes, rate, first, second, epsilon = torch.tensor([100.0, 0.01]), 0.1, 0.9, 0.999, 1e-8
theta, m, v = torch.ones(2), torch.zeros(2), torch.zeros(2)

ours = torch.ones(2)
rule = Adam(learning_rate=rate)
state = rule.init([ours])
peer = torch.ones(2, requires_grad=True)
optimizer = torch.optim.Adam([peer], lr=rate)
path = [theta.clone()]
for t in range(1, 11):
    g = slopes * theta
    m = first * m + (1 - first) * g
    v = second * v + (1 - second) * g**2
    change = -rate * (m / (1 - first**t)) / ((v / (1 - second**t)).sqrt() + epsilon)
    theta = theta + change
    rule.apply(state, [ours], [slopes * ours])
    optimizer.zero_grad()
    (slopes * peer**2 / 2).sum().backward()
    optimizer.step()
    same(ours, theta)
    same(peer.detach(), theta)
    path.append(theta.clone())
    written = (f"{name} {a:8.4f} {b:8.4f}" for name, (a, b) in (("G", g), ("Δθ", change), ("θ", theta)))
    print(f"step {t:2}", *written, sep="   ")

# %% [markdown]
# Both directions take the same first step, $-0.1$: $\hat M = G$ and $\hat V = G^2$, so $\Delta\theta = -\eta\,
# \operatorname{sign} G$ up to $\varepsilon$. The scale of the gradient cancels, and it stays so: the two paths are one.
# Gradient descent with one rate cannot do this; with a rate small enough for $a$, it leaves $b$ where it is.

# %%
path = torch.stack(path)
print(f"largest distance of the two paths: below 1e-4: {bool((path[:, 0] - path[:, 1]).abs().max() < 1e-4)}")
assert (path[:, 0] - path[:, 1]).abs().max() < 1e-4
descents = [torch.ones(2)]
for _ in range(10):
    descents.append(descents[-1] - 0.01 * slopes * descents[-1])
descent = descents[-1]
print(f"ten steps of gradient descent, rate 0.01: a = {abs(descent[0]):.4f}, b = {descent[1]:.4f}")
assert abs(descent[0]) < 1e-12 and descent[1] > 0.99

figure, axis = plt.subplots(figsize=(3.4, 2.8))
for points, label in ((path, "Adam, η = 0.1"), (torch.stack(descents), "gradient descent, η = 0.01")):
    axis.plot(points[:, 0], points[:, 1], "o-", markersize=3, label=label)
axis.set(xlabel="a", ylabel="b")
axis.legend();

# %% [markdown]
# ## All of it at once
#
# A GPT of one block and width 4 has every part of this notebook. One number of a query, explained:

# %%
torch.set_default_dtype(torch.float32)
model = nets.calculus.architectures.gpt(tokens=5, context=3, width=4, heads=2, blocks=1)
tokens = torch.tensor([[1, 4, 2], [0, 3, 3]])
explanation = nets.explain(model, tokens, "blocks.0.attention.query.weight[3,2]")
assert abs(explanation.paths.total - explanation.derivations["reverse mode"]) < 1e-12
explanation

# %% [markdown]
# ## Exercises
#
# 1. RMSNorm leaves out the mean: $H_j = X_j / \sqrt{\overline{X^2} + \varepsilon}$. Which of the three terms are left?
# 2. What is the pullback of $v$ through softmax, without writing $J$ as a matrix?
# 3. Which part of Adam's update would a gradient of 1,000 times the size change?
#
# <details><summary>Solutions</summary>
#
# 1. The scale and the last one: $r\,(v_j - H_j\,\overline{v H})$.
# 2. $p_j (v_j - \sum_k v_k p_k)$: the same form as $dS$ of attention.
# 3. Only $\varepsilon$, which is then smaller beside $\sqrt{\hat V}$.
#
# </details>
