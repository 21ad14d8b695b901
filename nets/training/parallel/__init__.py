"""A descent in several processes. Begin with `ranks`, which joins the processes that torchrun has started.

ranks: this process and the others, or a single process. process_group: the group, and what happens if a process ends.
data_parallel: the gradient of a batch that is divided among the processes.
"""
