"""What is wrong with the gradients. Begin with `gradients`: the faults of one step.

`attenuation` finds the layer in which a fault begins, and its cause; `layer_table` makes the table of the layers.
`thresholds` has the limits beyond which there is a fault, and `sentences` the sentences.
"""
