"""What is wrong with the gradients. Begin with `gradients`: the faults of one step, in sentences. `attenuation` says in which layer
a fault begins and by what, and has the table of the layers.
"""
