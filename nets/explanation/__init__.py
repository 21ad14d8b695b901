"""One number of a Jacobian explained, and the backward pass of any computation as a picture.

Two products:

    explain/     nets.explain(network, x, "0.weight[2,3]") → Explanation; begin with explain/explain.py
    picture/     nets.picture(function, *inputs) → BackwardPicture; begin with picture/picture.py

What they share:

    paths.py       the chain rule as a sum over paths, and the local derivative of each layer of a network
    selection.py   which number is meant: names and indices, and the errors for wrong ones
    document.py    titles, formulas, tables and notes, as text and as HTML; document.css is its style
"""
