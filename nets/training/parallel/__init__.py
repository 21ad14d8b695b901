"""A descent in several processes. Begin with `ranks`, which joins the processes that torchrun has started.

ranks: this process among the others, or a single one. process_group: the group, and what its ends mean.
data_parallel: the gradient of a batch that is divided among the processes.
"""
