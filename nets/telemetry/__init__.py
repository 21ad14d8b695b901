"""Shows what happens in a run. Nothing here changes the run.

==================  ===================================================================================
monitor             `GradientMonitor`: the gradient norms of any model in any loop
tensorboard/        records on the TensorBoard page; begin with `board`
figures/            pictures of a run, drawn from its records
diagnosis/          what is wrong with the gradients, in sentences and a table
report              pictures and diagnosis at the end of a run
screen              progress and summary in a terminal
accumulation_summary  accumulation and gradient noise of a whole run, in two rows of text
==================  ===================================================================================
"""

from nets.telemetry.tensorboard.shutdown import exit_on_sigterm as exit_on_sigterm
