"""What is wrong with the gradients. Begin with `gradients`: the faults of one step.

`attenuation` says in which layer a fault begins and by what, and `layer_table` has the table of the layers.
`thresholds` says from which number on a diagnosis speaks, and `sentences` has its words.
"""
