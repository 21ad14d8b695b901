"""Rules of autograd that a backward must keep, besides giving the right numbers. Begin with `check`.

- `check`: the checks in order; whether a backward writes into its incoming gradient, and whether it copes with missing
  gradients.
- `interleaving`: other calls between a forward and its backward. `elsewhere`: later calls at other points.
- `later_writes`: inputs and outputs that the caller overwrites. `layouts`: the layout of the incoming gradient in
  memory.
- `batching`: the rule for `torch.vmap`. `saved`: whether an overwritten saved tensor explains a wrong gradient.
- `recorded`, `graph_nodes`, `disagreement`: a call with its graph, the nodes of a graph, and two gradients that differ.
"""
