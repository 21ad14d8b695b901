"""A module at a point, as one real function Y of named real tensors: this is what is verified. Begin with `problem`.

- `problem`: `Problem`, which holds the point and evaluates, records and differentiates the function.
- `calling/`: the copied module and the ways to call it: as it is, with other tensors in place of its own, in complex
  numbers.
- `copies`: copies of a module and its inputs. `points`: which tensors are differentiated, and what is refused.
- `outputs`: which row of Y belongs to which output tensor. `pytree`: the tensors in nested inputs and outputs.
- `graph`: gradients from a recorded graph. `strides`: the memory layout of a tensor. `randomness`: random number
  generators.
"""
