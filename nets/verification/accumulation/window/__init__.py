"""A window: the micro-batches whose gradients are accumulated for one optimizer step.

- `window`: module and loss on these micro-batches, in double precision; the gradient of each, and of a loop of the
  caller's.
- `whole_batch`: the loss over all of them, which a loop is checked against. `weights`: w_m of each micro-batch in that
  loss.
- `micro_batches`: pairs of input and target, their copies and sizes. `concatenation`: all of them as one batch, and
  back.
- `loss_draws`: random numbers of the loss, the same for the whole batch and for its micro-batches.
- `group_labels`: inputs that only name groups of samples. `errors`: why a module, a loss or a loop cannot be called.
"""
