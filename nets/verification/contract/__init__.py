"""What autograd asks of a backward besides the right numbers. Begin with `check`.

- `check`: the checks in their order; a backward that writes into the gradient that it is given, and one that drops a gradient where
  another is None.
- `interleaving`: other calls before the backward pass. `later_writes`: inputs and outputs that the caller overwrites. `layouts`:
  how the incoming gradient lies in memory. `batching`: the rule for `torch.vmap`.
- `saved`: a saved tensor that was overwritten, as the cause of a wrong gradient.
- `recorded`, `watching`, `disagreement`: a call with its graph, the nodes of that graph, and two gradients that differ.
"""
