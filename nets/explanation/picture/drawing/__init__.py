"""A graph as SVG.

drawing.py   Drawing: boxes, lines and their state after each step; drawing.css is its style; begin here
layout.py    the positions of the boxes
routing.py   the course of the lines, and where their labels stand
labels.py    the texts on boxes and lines
colours.py   a gradient as a colour
legend.py    the legend beneath
"""
