"""Is the gradient that a loop accumulates over micro-batches the gradient of the whole batch? Begin with `check`.

- `check`: `check_accumulation`, the entry. `tolerance`: the error that rounding explains.
- `window/`: the micro-batches in double precision, the loss over all of them, and the weight of each.
- `state/`: what calls of a module, a loss or a loop can change, and how it is put back.
- `rounding/`: which differences rounding explains.
- `repeated_calls`: whether a second call of the module, the loss or the loop gives another gradient.
- `faults/`: what a wrong loop did instead, as patterns of coefficients.
- `unknown_weights`: what can be checked where no loss over all micro-batches exists. `notes`: what else a reader must
  know.
"""
