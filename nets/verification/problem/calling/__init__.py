"""The ways to call a copied module.

- `module_copy`: the copy as it is; each call starts from the same parameters, buffers and random numbers.
- `inputs`: its arguments, copied and named.
- `functional`: the copy with other tensors in the places of its parameters, buffers and inputs, real or complex.
- `control_flow`: `torch.cond` and its like beneath a dispatch mode. `errors`: why a call fails, in one sentence.
"""
