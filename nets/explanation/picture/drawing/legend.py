"""The legend beneath a picture: the colours of the gradients, and how to read the labels of the lines."""

import math
from collections.abc import Sequence

from nets.explanation.picture.drawing.colours import LENGTH, NEGATIVE, NOT_FINITE, POSITIVE, mixed
from nets.text import four_digits

WHITE = (255, 255, 255)


def colour_bar(
    x: float, y: float, name: str, colours: Sequence[tuple[int, int, int]], ends: tuple[str, str], title: str
) -> str:
    """A bar that runs through the colours, with a text at each end; `name` makes its id unique."""
    key = f"nets-{name}"
    stops = "".join(
        f'<stop offset="{number / (len(colours) - 1):.2f}" stop-color="{mixed(colour, 0.62)}"/>'
        for number, colour in enumerate(colours)
    )
    return (
        f'<defs><linearGradient id="{key}">{stops}</linearGradient></defs>'
        f'<rect x="{x}" y="{y}" width="150" height="10" rx="3" fill="url(#{key})" stroke="#c3c9d4"/>'
        f"{_text(x, y - 6, title)}{_text(x, y + 24, ends[0])}{_text(x + 150, y + 24, ends[1], anchor='end')}"
    )


def signed_bar(x: float, y: float, largest: float, scale: str) -> str:
    """From the largest negative to the largest positive gradient."""
    ends = f"−{four_digits(largest)}", four_digits(largest)
    return colour_bar(x, y, "signed", [NEGATIVE, WHITE, POSITIVE], ends, f"gradient {scale}")


def length_bar(x: float, y: float, largest: float, scale: str) -> str:
    """From zero to the largest length of a gradient."""
    return colour_bar(x, y, "length", [WHITE, LENGTH], ("0", four_digits(largest)), f"length of the gradient {scale}")


def not_finite_swatch(x: float, y: float) -> str:
    """The colour of NaN and infinity."""
    swatch = f'<rect x="{x}" y="{y}" width="50" height="10" rx="3" fill="{NOT_FINITE}" stroke="#c3c9d4"/>'
    return swatch + _text(x, y - 6, "NaN or ∞")


def edge_note(x: float, y: float, room: float, ratios: bool) -> str:
    """Says what the labels of the lines are, in one row if there is room.

    Args:
        x, y: of the first row.
        room: width in pixels.
        ratios: whether some labels are ratios of lengths.
    """
    parts = ["on a line: local derivative"]
    if ratios:
        parts.append("×: what it does to the length of the gradient")
    whole = "; ".join(parts)
    rows = [whole] if len(whole) <= math.floor(room / 6.6) else parts
    return "".join(_text(x, y + 15 * row, text) for row, text in enumerate(rows))


def _text(x: float, y: float, text: str, anchor: str = "start") -> str:
    return f'<text class="legend" style="text-anchor:{anchor}" x="{x}" y="{y}">{text.strip()}</text>'
