"""The gradient of a batch. Begin with `backpropagation`: the closed form in nine lines, as a function to read and try.

`engines` has both engines by name, `source` the protocol that `descend` uses, `accumulation` micro-batches and
`accumulator` their sums, `sample_norms` the norm of each sample's own gradient, `layer_statistics` how each layer
changes the gradient in the backward pass.
"""

from nets.training.gradients.backpropagation import backpropagate as backpropagate
