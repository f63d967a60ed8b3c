"""common/diagrams.py: what is drawn, cell by cell."""
import numpy as np

from common import diagrams, pages


def texts(axes):
    return [text.get_text() for text in axes.texts]


def test_a_matrix_has_its_numbers():
    figure, (axes, empty) = diagrams.new_panels(1, 2, 300, 200)
    diagrams.draw_matrix(axes, [[0, -1.5], [2, 0.25]], 'matrix')
    assert texts(axes) == ['0', '−1.5', '2', '0.25'] and axes.get_title() == 'matrix'
    assert texts(empty) == []
    assert pages.render(figure).shape == (200, 300, 3)


def test_the_padding_is_muted_and_the_frame_is_around_the_cells():
    _, (axes,) = diagrams.new_panels(1, 1)
    diagrams.draw_matrix(axes, np.zeros([3, 4]), frame=(1, 2, 2, 1), offset=1)
    colors = [text.get_color() for text in axes.texts]
    assert [number for number, color in enumerate(colors) if color == pages.INK] == [5, 6]
    frame, = axes.patches
    assert frame.get_bbox().bounds == (1.5, 0.5, 1, 2)


def test_an_image_with_zero_in_the_middle_of_its_colors():
    _, (axes,) = diagrams.new_panels(1, 1)
    diagrams.draw_image(axes, np.array([[-1.0, 3.0]]), colormap='RdBu_r')
    assert axes.images[0].get_clim() == (-3, 3)
    _, (axes,) = diagrams.new_panels(1, 1)
    diagrams.draw_image(axes, np.full([2, 2, 3], 300.0))
    assert np.asarray(axes.images[0].get_array()).max() == 1


def test_relative_heights():
    figure, axes = diagrams.new_panels(2, 1, 300, 400, heights=[3, 1])
    pages.render(figure)
    heights = [one.get_position().height for one in axes]
    assert 2.5 < heights[0] / heights[1] < 3.5
