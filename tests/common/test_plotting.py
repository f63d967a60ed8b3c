import subprocess
import sys
from pathlib import Path

import matplotlib
import numpy as np
import pytest

from common import images, pages, plotting


def shown(path):
    """Reads a picture that was drawn, and holds that it is one: not flat, mostly paper, not tiny."""
    image = images.load_image(path)
    assert image.std() > 5 and len(np.unique(image)) > 2
    return image


def contains(image, part):
    """Tells whether `part`, [height, width, 3], stands somewhere in `image`, pixel for pixel."""
    height, width = part.shape[:2]
    rows, columns = np.nonzero((image[:image.shape[0] - height + 1, :image.shape[1] - width + 1]
                                == part[0, 0]).all(axis=2))
    return any((image[row:row + height, column:column + width] == part).all() for row, column in zip(rows, columns))


@pytest.fixture
def digits():
    """uint8 [7, 28, 28], each other than the rest."""
    return np.random.RandomState(0).randint(0, 256, (7, 28, 28)).astype(np.uint8)


# Curves.

def draw_curves(curves, log=False):
    return plotting._draw_curves(curves, 'Title', 'step', 'loss', log).axes[0]


def test_curves_have_the_points_given_and_start_where_the_data_starts():
    axes = draw_curves({'training': (range(10, 501, 10), np.linspace(2, 0, 50)), 'validation': ([50, 500], [1, 0.5])})
    training, validation = axes.lines
    np.testing.assert_array_equal(training.get_xdata(), np.arange(10, 501, 10))
    np.testing.assert_array_equal(training.get_ydata(), np.linspace(2, 0, 50))
    np.testing.assert_array_equal(validation.get_xydata(), [[50, 1], [500, 0.5]])
    assert 0 < axes.get_xlim()[0] < 10 and 500 < axes.get_xlim()[1] < 510
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ['training', 'validation']


def test_few_points_get_markers_and_many_do_not():
    few, many = draw_curves({'few': ([1, 2], [1, 2]), 'many': (range(500), range(500))}).lines
    assert few.get_marker() == 'o' and many.get_marker() in (None, 'None', '')


def test_log_axis_only_where_there_is_something_positive_to_show():
    assert draw_curves({'a': ([1, 2], [1e-3, 1e5])}, log=True).get_yscale() == 'log'
    assert draw_curves({'a': ([1, 2], [0, -1])}, log=True).get_yscale() == 'linear'
    assert draw_curves({'a': ([1, 2], [1, 2])}).get_yscale() == 'linear'


@pytest.mark.parametrize('log', [False, True])
@pytest.mark.parametrize('curves', [
    {'one point': ([7], [0.5])},
    {'none': ([], [])},
    {'constant': ([1, 2, 3], [0.5, 0.5, 0.5])},
    {'gaps': (range(4), [np.nan, 1, np.inf, 2])},
    {'nothing finite': (range(2), [np.nan, np.nan])},
    {'tiny': (range(3), [1e-9, 2e-9, 4e-9]), 'huge': (range(3), [1e9, 2e9, 4e9])},
    {'$a_{': (range(3), range(3)), **{f'curve {number}': (range(3), range(3)) for number in range(11)}},
])
def test_odd_curves_are_drawn_without_a_warning(tmp_path, curves, log, recwarn):
    plotting.plot_curves(tmp_path / 'curves.png', curves, 'Loss in $', 'step', 'loss', log=log)
    assert shown(tmp_path / 'curves.png').shape == (540, 1000, 3)
    found = [warning for warning in recwarn.list if warning.category is not ResourceWarning]  # other tests' files
    assert [str(warning.message) for warning in found] == []


# Pictures in rows.

def test_grid_shows_every_digit_pixel_for_pixel(tmp_path, digits):
    plotting.plot_image_grid(tmp_path / 'grid.png', digits, [f'{number}' for number in range(7)], columns=4,
                             title='Seven digits')
    image = shown(tmp_path / 'grid.png')
    for digit in digits:
        assert contains(image, pages.fit(digit, 232))
    plotting.plot_image_grid(tmp_path / 'without.png', digits, columns=4)
    assert shown(tmp_path / 'without.png').shape[0] < image.shape[0]


def test_grid_of_a_hundred_digits_is_square(tmp_path):
    plotting.plot_image_grid(tmp_path / 'grid.png', np.random.RandomState(0).randint(0, 256, (100, 28, 28)))
    image = shown(tmp_path / 'grid.png')
    assert image.shape == (10 * (84 + 4) - 4 + 32, 10 * (84 + 4) - 4 + 32, 3)


def test_grid_of_photographs_of_any_size(tmp_path):
    random = np.random.RandomState(0)
    photographs = [random.uniform(0, 255, shape) for shape in [(300, 500, 3), (500, 300, 3), (70, 70), (10, 900, 3)]]
    captions = ['a file with a long name that needs lines, $5.jpg', 'taken for a dog', 'x_' * 60, 'é']
    plotting.plot_image_grid(tmp_path / 'grid.png', photographs, captions)
    height, width, _ = shown(tmp_path / 'grid.png').shape
    assert width <= 1000 and height > 650


def test_grid_of_nothing_says_so(tmp_path):
    plotting.plot_image_grid(tmp_path / 'grid.png', [], [], title='The most confident mistakes')
    assert shown(tmp_path / 'grid.png').shape[0] < 120


def test_sheet_brings_pictures_to_one_height(tmp_path):
    red, green, blue = np.float32([[200, 0, 0], [0, 200, 0], [0, 0, 200]])
    content = np.zeros((100, 200, 3), np.float32) + red
    style = np.zeros((300, 150, 3), np.float32) + green
    result = np.zeros((150, 300, 3), np.float32) + blue
    plotting.plot_sheet(tmp_path / 'sheet.png', [content, style, result], ['content', 'style', 'result'])
    image = shown(tmp_path / 'sheet.png')
    for color, width in [(red, 600), (green, 150), (blue, 600)]:
        rows, columns = np.nonzero((image == color).all(axis=2))
        assert np.ptp(rows) + 1 == 300 and np.ptp(columns) + 1 == width
    assert 300 + 32 + 20 < image.shape[0] < 300 + 32 + 50  # room for one line of captions


def test_sheet_of_many_large_pictures_keeps_to_the_page(tmp_path):
    pictures = [np.random.RandomState(0).uniform(0, 255, (900, 1600)) for _ in range(4)]
    plotting.plot_sheet(tmp_path / 'sheet.jpg', pictures, ['a' * 200, 'b', 'c', ''])
    assert abs(shown(tmp_path / 'sheet.jpg').shape[1] - 1500) < 10


# Confusion matrix.

def test_confusion_matrix_has_one_color_scale_and_the_accuracy(tmp_path, monkeypatch):
    written, save = [], pages.save
    monkeypatch.setattr(pages, 'save', lambda path, figure: (written.append(figure), save(path, figure)))
    matrix = np.array([[990, 10, 0], [2, 198, 0], [0, 0, 0]])
    plotting.plot_confusion_matrix(tmp_path / 'matrix.png', matrix, 'abc', 'Test images')
    assert written[0].axes[0].get_title('left').split() == 'Test images: 99.00 % of 1,200 correct'.split()
    drawn, = written[0].axes[0].get_images()
    np.testing.assert_allclose(drawn.get_array(), [[0.99, 0.01, 0], [0.01, 0.99, 0], [0, 0, 0]])
    correct, mistake, none = (drawn.cmap(drawn.norm(value))[0] for value in (0.99, 0.01, 0))  # red: less is bluer
    assert correct < 0.2 < mistake < 0.95 < none


@pytest.mark.parametrize('num_classes', [2, 10, 20])
def test_confusion_matrix_of_any_size(tmp_path, num_classes, monkeypatch):
    written, save = [], pages.save
    monkeypatch.setattr(pages, 'save', lambda path, figure: (written.append(figure), save(path, figure)))
    matrix = np.diag(np.full(num_classes, 1000)) + np.eye(num_classes, k=1, dtype=int) * 3
    names = [f'a long name of class {number}, $' for number in range(num_classes)]
    plotting.plot_confusion_matrix(tmp_path / 'matrix.png', matrix, names, 'Confusion matrix, 20,000 test images')
    image = shown(tmp_path / 'matrix.png')
    assert 400 < image.shape[0] < 1300
    axes = written[0].axes[0]
    assert sorted(text.get_text() for text in axes.texts) == ['1000'] * num_classes + ['3'] * (num_classes - 1)
    boxes = [text.get_window_extent() for text in axes.get_xticklabels() + axes.get_yticklabels() + [axes.title]]
    assert all(box.x0 >= 0 and box.y0 >= 0 and box.y1 <= image.shape[0] for box in boxes)


# Filters and activations.

def test_filters_share_a_range_that_is_symmetric(tmp_path):
    filters = np.zeros((5, 5, 1, 32), np.float32)
    filters[0, 0, 0, 3], filters[4, 4, 0, 9] = 0.5, -0.25
    plotting.plot_filters(tmp_path / 'filters.png', filters, 'First convolution')
    image = shown(tmp_path / 'filters.png')
    colors = matplotlib.colormaps['RdBu_r']
    block = np.ones((11, 11, 3), np.float32)
    for value in [1, -0.5, 0]:
        assert contains(image, block * np.rint(255 * np.float32(colors((value + 1) / 2)[:3])))


def test_filters_over_colors(tmp_path):
    filters = np.zeros((3, 3, 3, 6), np.float32)
    filters[0, 0, :, 0] = [0.2, -0.2, 0]
    plotting.plot_filters(tmp_path / 'filters.png', filters, 'conv1_1')
    assert contains(shown(tmp_path / 'filters.png'), np.ones((18, 18, 3)) * [255, 0, 128])


def test_filters_over_other_channels_cannot_be_shown(tmp_path):
    with pytest.raises(ValueError, match='over 32 channels'):
        plotting.plot_filters(tmp_path / 'filters.png', np.zeros((5, 5, 32, 64)), 'conv2')
    plotting.plot_filters(tmp_path / 'filters.png', np.zeros((5, 5, 1, 7)), 'all zero')


def test_activations_show_input_and_layers(tmp_path, digits):
    random = np.random.RandomState(0)
    layers = {'conv1': random.uniform(0, 1, (28, 28, 32)), 'pool2': random.uniform(-1, 1, (7, 7, 64)),
              'conv5_3': random.uniform(0, 1, (120, 90, 512)), 'dead': np.zeros((14, 14, 3)),
              'fc': random.rand(1, 1, 10)}
    plotting.plot_activations(tmp_path / 'activations.png', digits[0], layers, 'What each layer makes of it')
    image = shown(tmp_path / 'activations.png')
    assert contains(image, pages.fit(digits[0], 112))
    first = layers['conv1'][:, :, 0] / layers['conv1'].max()
    colors = np.rint(255 * matplotlib.colormaps['magma'](first.astype(np.float32))[..., :3])
    assert contains(image, colors.repeat(2, axis=0).repeat(2, axis=1).astype(np.float32))


# What pictures are made of.

@pytest.mark.parametrize('value, text', [
    (0, '0'), (0.25, '0.25'), (-3, '−3'), (500, '500'), (25000, '25,000'), (4e7, '4×10⁷'), (-2e-5, '−2×10⁻⁵')])
def test_numbers_for_a_reader(value, text):
    assert pages.number(value) == text


def test_small_pictures_are_enlarged_without_smoothing_and_large_ones_shrunk(digits):
    enlarged = pages.fit(digits[0], 100)
    assert enlarged.shape == (84, 84, 3)
    np.testing.assert_array_equal(enlarged[1::3, 1::3, 0], digits[0])
    assert pages.fit(np.zeros((300, 600, 3)), 100).shape == (50, 100, 3)
    assert pages.fit(np.zeros((80, 80)), 100).shape == (80, 80, 3)


def test_a_file_is_replaced_whole_and_nothing_lies_beside_it(tmp_path, digits):
    for _ in range(2):
        plotting.plot_image_grid(tmp_path / 'grid.png', digits)
    assert [path.name for path in tmp_path.iterdir()] == ['grid.png']


def test_no_pyplot_and_no_global_settings(tmp_path):
    # dict.items, since rcParams chooses a backend, and imports pyplot for it, as soon as it is asked for one.
    program = ('import sys, matplotlib; before = str(dict.items(matplotlib.rcParams))\n'
               'from common import plotting\n'
               'plotting.plot_curves(sys.argv[1], {"a": ([1, 2], [3, 4])}, "t", "x", "y")\n'
               'assert "matplotlib.pyplot" not in sys.modules\n'
               'assert str(dict.items(matplotlib.rcParams)) == before')
    recipes = str(Path(plotting.__file__).parents[1])
    done = subprocess.run([sys.executable, '-c', program, str(tmp_path / 'x.png')], cwd=recipes,
                          stderr=subprocess.PIPE, text=True)
    assert (done.returncode, done.stderr) == (0, '')


def test_boxes_are_drawn_around_what_is_in_them():
    image = np.full((100, 100), 50.0)
    boxed = plotting.with_boxes(image, [[20, 30, 40, 60], [0, 0, 5, 5]])
    assert boxed.shape == (100, 100, 3) and image.max() == 50
    np.testing.assert_array_equal(boxed[20:40, 30:60], 50)
    np.testing.assert_array_equal(boxed[19, 29:61], np.tile(plotting.BOX_COLOR, (32, 1)))
    np.testing.assert_array_equal(boxed[:5, :5], 50)
