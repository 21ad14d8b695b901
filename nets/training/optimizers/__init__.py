"""Optimizers: update rules that turn gradients into changes of the parameters.

update_rule: the protocol, rules with a weight decay, and OPTIMIZERS, the rules by name. Begin here.
sgd: momentum and Nesterov. adam: Adam and AdamW. rmsprop, adagrad, lion: a rule each.
kernel_rule: updates by a fused kernel of PyTorch, with ‖Δθ‖ in the record. clipping: any rule, with clipped gradients.

A new rule is one class with `init` and `step`, in one file; `nets.descend(rule=...)` trains with it. `known_as` enters
it in OPTIMIZERS, and a file in configs/optimizer/ makes it a setting of a run.
"""

from nets.training.optimizers.adagrad import Adagrad as Adagrad
from nets.training.optimizers.adam import Adam as Adam
from nets.training.optimizers.adam import AdamW as AdamW
from nets.training.optimizers.clipping import Clipped as Clipped
from nets.training.optimizers.lion import Lion as Lion
from nets.training.optimizers.rmsprop import RMSprop as RMSprop
from nets.training.optimizers.sgd import SGD as SGD
from nets.training.optimizers.update_rule import OPTIMIZERS as OPTIMIZERS
from nets.training.optimizers.update_rule import Change as Change
from nets.training.optimizers.update_rule import DecayingRule as DecayingRule
from nets.training.optimizers.update_rule import LearningRate as LearningRate
from nets.training.optimizers.update_rule import RuleState as RuleState
from nets.training.optimizers.update_rule import UpdateRule as UpdateRule
