"""What is differentiated, with its derivative in closed form.

layer: what a layer is, and everything that follows from its forward, pullback and gradients. Begin here.
layers: the layers of the package, a family a file.
losses: ℓ(Y, T) and ∂ℓ/∂Y.
network: layers in sequence, and `mlp`. composite: a layer made of layers. architectures: Residual, blocks, `gpt`.
jacobians, jacobian: ∂Y/∂θ of a network, and what such a linear map can do.
cotangents: those that measure a Jacobian, such as each unit alone.
formulas, notation: the same derivatives as formulas that print themselves and compute their entries.
state, repetition: what a forward pass draws and moves, and how the backward pass repeats it.
checks, checked, repeated_call: whether layers keep to the protocol.
parameters: parameters by name, and those that several layers share.
function: the closed form as a function of `torch.autograd`.
mathematics: the functions that a forward is written with, for PyTorch and every other engine.
norms: Euclidean norms of many tensors. rules: the rules of matrix calculus.
"""
