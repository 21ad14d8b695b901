"""A computation as a graph.

graph.py            Node, Edge, and the backward pass as a list of steps; begin here
network_graph.py    a nets.Network at one sample → a graph of units or of layers
function_graph.py   any other function of tensors → a graph of the operations that ran
recorder.py         records these operations
operations.py       their notation: mul(v1, v2) as 'v1·v2'
"""
