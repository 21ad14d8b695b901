"""jacobians.png: three pictures for each Jacobian, with their colours and captions."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure

import nets
from nets.errors import InputError
from nets.records.jacobian_view import JacobianView
from nets.telemetry.figures.jacobian_figure import MOST_CELLS, MOST_VIEWS, draw_jacobians, jacobian_figure
from nets.verification.side_by_side import jacobian_views

GENERATOR = np.random.default_rng(0)


def view(
    name: str = "0.weight", rows: int = 6, columns: int = 5, signed: bool = True, apart: float = 0.0
) -> JacobianView:
    closed = GENERATOR.normal(size=(rows, columns))
    closed = closed if signed else abs(closed)
    difference = np.zeros((rows, columns))
    difference[rows // 2, columns // 3] = apart
    largest = float(abs(closed).max())
    return JacobianView(
        name,
        "∂Y_k/∂W_ij = …",
        "sample 0",
        signed,
        closed,
        closed - difference,
        difference,
        largest,
        abs(apart),
        7 * rows,
    )


def images(figure: Figure) -> list[tuple[np.ndarray, tuple[float, float]]]:
    """The numbers and the colour limits of each picture, without the colour bars."""
    (axes,) = figure.axes
    found = [(image.get_array(), image.get_clim()) for image in axes.images]
    return [(np.ma.getdata(array), limits) for array, limits in found if array is not None and array.shape != (1, 256)]


def texts(figure: Figure) -> str:
    return "\n".join(text.get_text() for text in figure.axes[0].texts)


@pytest.mark.parametrize("signed", [True, False])
def test_each_jacobian_shows_closed_form_reverse_mode_and_difference(signed: bool) -> None:
    drawn = [view(signed=signed, apart=1e-16), view("0.bias", 1, 3, signed), view("input", 1, 5, signed)]
    figure = draw_jacobians(drawn)
    found = images(figure)
    for one, three in zip(drawn, zip(*[iter(found)] * 3, strict=True), strict=True):
        (closed, limits), (reverse, same), (difference, own) = three
        assert np.array_equal(closed, one.closed) and np.array_equal(reverse, one.reverse)
        assert np.array_equal(difference, one.difference)
        # The two equal pictures share a scale, centred on zero for signed numbers; the difference has its own scale.
        assert limits == same and limits[1] == max(abs(one.closed).max(), abs(one.reverse).max())
        assert own[1] == (one.apart or 1.0)
        assert limits[0] == (-limits[1] if signed else 0) and own[0] == (-own[1] if signed else 0)
    said = texts(figure)
    assert "42 entries differ by at most 1.0e-16" in said and "all 7 entries equal" in said
    assert {"closed form", "reverse mode", "0.weight", "0.bias", "input"} <= set(said.splitlines())


@pytest.mark.parametrize("fault", [1.0, -1.0])
def test_one_wrong_entry_of_a_large_matrix_is_visible(fault: float) -> None:
    # Drawn without reduction, a matrix of 3,000 × 2,000 has six entries for each pixel.
    figure = draw_jacobians([view(rows=3000, columns=2000, apart=fault)])
    difference, _ = images(figure)[2]
    assert difference.shape == (MOST_CELLS, MOST_CELLS)
    assert np.flatnonzero(difference).size == 1 and difference.sum() == fault
    # Row 1,500 of 3,000 and column 666 of 2,000.
    assert [index[0] for index in np.nonzero(difference)] == [MOST_CELLS // 2, 666 * MOST_CELLS // 2000]
    assert "each cell is the largest of a block" in texts(figure)


@pytest.mark.parametrize("count", [1, 7, 8, 41, 60])
def test_of_many_jacobians_the_worst_are_shown_in_columns(count: int) -> None:
    drawn = [view(f"{2 * index}.weight", 3, 3, index % 2 == 0) for index in range(count)]
    drawn[-1] = replace(drawn[-1], apart=1e-3)
    figure = draw_jacobians(drawn)
    assert len(images(figure)) == 3 * min(count, MOST_VIEWS)
    said = texts(figure).splitlines()
    assert f"{2 * (count - 1)}.weight" in said
    assert (f"the {MOST_VIEWS} of {count} Jacobians that differ most" in said) is (count > MOST_VIEWS)
    width, height = figure.get_size_inches()
    assert width < 24 and height < 24
    # All pictures are within the page, and no two overlap.
    boxes = [image.get_extent() for image in figure.axes[0].images]
    assert all(0 <= left < right <= width and 0 <= low < high <= height for left, right, low, high in boxes)
    for index, (left, right, low, high) in enumerate(boxes):
        apart = [
            right <= other[0] or left >= other[1] or high <= other[2] or low >= other[3] for other in boxes[:index]
        ]
        assert all(apart)


@pytest.mark.parametrize("sizes", [[8, 3], [64, 10], [64, 32, 10], [64, *[16] * 19, 10], [784, 32, 10]], ids=str)
def test_no_text_leaves_the_page_or_covers_another(sizes: list[int]) -> None:
    x = torch.rand(2, sizes[0], generator=torch.Generator().manual_seed(0))
    figure = draw_jacobians(jacobian_views(nets.mlp(sizes, "tanh", "tanh"), x))
    figure.canvas.draw()
    page = figure.bbox
    boxes = [text.get_window_extent() for text in figure.axes[0].texts if text.get_text()]
    assert all(box.x0 >= 0 and box.x1 <= page.x1 and box.y0 >= 0 and box.y1 <= page.y1 for box in boxes)
    assert not any(one.overlaps(other) for index, one in enumerate(boxes) for other in boxes[:index])


@pytest.mark.parametrize("number", [np.nan, np.inf])
def test_non_finite_numbers_are_green(number: float, tmp_path: Path) -> None:
    one = view()
    closed = one.closed.copy()
    closed[1, 1] = number
    broken = replace(one, closed=closed, difference=closed - one.reverse, largest=number, apart=number)
    (_, limits), *_ = images(draw_jacobians([broken]))
    assert np.isfinite(limits).all()
    jacobian_figure([broken, replace(broken, closed=np.full_like(closed, number))], tmp_path / "j.png")
    assert (tmp_path / "j.png").read_bytes().startswith(b"\x89PNG")


def test_bad_input_is_an_input_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"^There is no Jacobian to be drawn: .+\.$"):
        jacobian_figure([], tmp_path / "j.png")
    with pytest.raises(InputError, match=r"^The picture '.*j.png' cannot be written \(No such file or directory\): "):
        jacobian_figure([view()], tmp_path / "nowhere" / "j.png")
