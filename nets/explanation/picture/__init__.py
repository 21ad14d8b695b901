"""nets.picture: the backward pass of one number, node by node, as SVG and as a page with a slider.

picture.py       the entry, and BackwardPicture, its result; begin here
graph/           the computation as a graph of nodes and edges, and its backward pass
drawing/         the graph as SVG: layout, lines, labels, colours, legend
slider_page.py   the page with the slider; slider_page.css and slider_page.js belong to it
captions.py      the caption of each position of the slider
"""
