"""Gradient descent. Begin with `descend` (the arguments) and `loop` (batch → gradient → update → record).

==============  =======================================================================================
gradients/      the gradient of a batch: the closed form, autograd, micro-batches, sample norms
rule_settings   the update rule that the settings of a run describe
schedules       the learning rate as a function of the step
optimizers/     update rules: from gradients to changes of the parameters
fitting         whether samples fit a network and a loss
parameters      the parameters that a descent moves, in the memory where they are
unchanged       what must stay as it is from step to step, such as which parameters are trained
update          applies the rule on the CPU and records the step; `async_update` does it on a GPU
batches         the batches of all epochs, in the order drawn from the seed
state           all that a descent needs to go on
replay/         operations that are recorded once and repeated: what makes the closed form fast
parallel/       a descent in several processes
evaluation      loss and accuracy on samples held out
==============  =======================================================================================
"""
