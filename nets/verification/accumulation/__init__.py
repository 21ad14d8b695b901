"""Is an accumulated gradient the gradient of the whole batch? Begin with `check`.

- `check`: `check_accumulation`, the entry. `reference`: what the gradient is held against. `unweighed`: where no loss tells the
  weights of the micro-batches.
- `window`: the micro-batches, on the module at hand. `joining`, `labels`: how they are put together. `weighing`: what each weighs.
- `state`, `places`, `statefulness`: what calls of a module, a loss or a loop move, and how it is put back.
- `draws`: losses that draw random numbers. `graph_rounding`, `sameness`: what rounding explains.
- `faults`, `patterns`, `clipping`: what a wrong loop did instead. `refusals`: what cannot be checked, in a sentence.
"""
