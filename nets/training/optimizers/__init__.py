"""Update rules. `update_rule` is the protocol; each rule is a file of its own.

Begin with `sgd`. A new rule is one class with `init` and `step`, in one file; `nets.descend(rule=...)` trains with it.
"""

from nets.training.optimizers.sgd import SGD as SGD
from nets.training.optimizers.update_rule import Change as Change
from nets.training.optimizers.update_rule import RuleState as RuleState
from nets.training.optimizers.update_rule import UpdateRule as UpdateRule
