"""recipes/concepts.py: its numbers against values worked out on paper, its page, its options."""
import inspect
import json

import numpy as np
import pytest
from PIL import Image

import concepts
from common import images
from common.errors import ComputationError


@pytest.fixture(scope='module')
def run(tmp_path_factory):
    """(Path, results) of a run from another photograph than the default."""
    folder = tmp_path_factory.mktemp('concepts')
    photograph = np.random.RandomState(0).uniform(0, 255, [40, 60, 3])
    images.save_image(folder / 'photo.png', photograph)
    assert concepts.main(['--content', str(folder / 'photo.png'), '--output-dir', str(folder), '--quiet']) == 0
    run_dir = (folder / 'concepts' / 'latest').resolve()
    return run_dir, json.loads((run_dir / 'run.json').read_text())['results']


# ---- Numbers worked out on paper ----

# Input           Kernel      Top left, VALID: 2·1 − 1·2 + 2·2 + 1·1 = 5.
# 1 2 0 1 3       0 1  2      Center: 1·2 + 2·3 + 2·3 + 1·2 = 16.
# 0 1 2 3 1       1 0 −1      Top left, SAME: the kernel's middle on the 1: 0·1 − 1·2 + 2·0 + 0·0 + 1·1 = −1.
# 2 0 1 0 2       2 0  1      Turned: 1 0 2 / −1 0 1 / 2 1 0: top left 1·1 + 2·0 − 1·0 + 1·2 + 2·2 + 1·0 = 7.
# 1 3 0 2 0
# 0 1 1 0 1
PAPER = {
    'convolution': {'valid': [[5, 0, 12], [8, 16, 4], [4, 4, 7]],
                    'same': [[-1, 3, 6, 2, 7], [4, 5, 0, 12, 6], [5, 8, 16, 4, 5], [0, 4, 4, 7, 4], [6, 2, 5, 2, 0]],
                    'true_convolution': [[7, 7, 7], [8, 13, 7], [4, 2, 7]]},
    'sliding_kernel': {'frames': 25},
    # The spread kernel meets rows 0, 2, 4: 1·0 + 2·3, 1·2 − 1·2, 2·0 + 1·1: 7 in all.
    # SAME, 4 cells, kernel 3, stride 2: two positions need 5 cells; the one of padding is the last.
    'stride_and_dilation': {'stride_2': [[5, 12], [4, 7]], 'dilation_2': [[7]], 'same_4_kernel_3_stride_2': [3, 2],
                            'same_5_kernel_3_stride_2': [2, 3, 2], 'same_4_kernel_2_stride_1': [2, 2, 2, 1]},
    # n = 28; stride 1, 2, 3, each with padding 0, 1, 2, 3
    'output_sizes': {'kernel_1': [28, 30, 32, 34, 14, 15, 16, 17, 10, 10, 11, 12],
                     'kernel_2': [27, 29, 31, 33, 14, 15, 16, 17, 9, 10, 11, 11],
                     'kernel_3': [26, 28, 30, 32, 13, 14, 15, 16, 9, 10, 10, 11],
                     'kernel_5': [24, 26, 28, 30, 12, 13, 14, 15, 8, 9, 10, 10],
                     'kernel_7': [22, 24, 26, 28, 11, 12, 13, 14, 8, 8, 9, 10]},
    'layouts': {'NHWC': [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11], 'NCHW': [0, 2, 4, 6, 8, 10, 1, 3, 5, 7, 9, 11]},
    # 32 · 26; 784 · 25,088 + 25,088
    'shared_weights': {'shift': 5, 'convolution': 832, 'fully_connected': 19694080},
    # 1 3 2 0 / 5 7 4 2 / 0 1 8 6 / 3 0 2 4: (1 + 3 + 5 + 7) / 4 = 4, (2 + 0 + 4 + 2) / 4 = 2, 4 / 4 = 1, 20 / 4 = 5
    'pooling': {'max': [[7, 4], [3, 8]], 'average': [[4, 2], [1, 5]]},
    # MNIST: 5, 5 + 1 = 6, 6 + 4·2 = 14, 14 + 1·2 = 16. CIFAR-10, book: 3, 4, 4 + 2·2 = 8, 12, 14.
    # airbench: 2, 4, 5, 9, 13, 15, 23, 31, 35, 35 + 2·8 = 51. VGG-16: 6, 16, 44, 100, 212 after the pools.
    # Inception: 7, 11, 11, 19, 27, then 4 · jump a module: 59, 91, 107, 171, ... 427, 459, 587, 715.
    'receptive_fields': {'MNIST': {'layer': 'pool2', 'field': 16, 'jump': 4},
                         'CIFAR-10, book': {'layer': 'pool2', 'field': 14, 'jump': 4},
                         'CIFAR-10, airbench': {'layer': 'conv6', 'field': 51, 'jump': 8},
                         'VGG-16': {'layer': 'pool5', 'field': 212, 'jump': 32},
                         'Inception': {'layer': 'mixed5b', 'field': 715, 'jump': 32}},
    # 1 2 3 2 1 ways down, times as many across; conv3_3: 1 + 2·(1 + 1) + 1 + 2·2·2 + 2 + 3·2·4 = 40
    'effective_field': {'two_layers': [[1, 2, 3, 2, 1], [2, 4, 6, 4, 2], [3, 6, 9, 6, 3], [2, 4, 6, 4, 2],
                                       [1, 2, 3, 2, 1]], 'theoretical': 40},
    # 1 2 4 7; a tone f sounds at (f − 200) / 800 seconds
    'sound': {'differences': [1, 2, 3], 'tones': [300, 500, 700, 900, 1100, 1300, 1500, 1700]},
    'clip': {'moving_right': [3, 1], 'moving_left': [1, 3]}}


@pytest.mark.parametrize('idea', sorted(PAPER))
def test_numbers_are_those_on_paper(run, idea):
    found = run[1][idea]
    for name, value in PAPER[idea].items():
        assert found[name] == value, name


def test_the_tones_answer_when_the_chirp_passes(run):
    np.testing.assert_allclose(run[1]['sound']['seconds'], [0.125, 0.375, 0.625, 0.875, 1.125, 1.375, 1.625, 1.875],
                               atol=0.005)


def test_pooling_forgives_more_the_larger_it_is(run):
    changes = run[1]['pooling']['change_at_one_pixel']
    assert sorted(changes, reverse=True) == changes and changes[0] > 2 * changes[-1] > 0


def test_the_effective_field_is_smaller_than_the_theoretical(run):
    assert 20 < run[1]['effective_field']['effective'] < 40


def test_a_wrong_number_ends_the_run():
    with pytest.raises(ComputationError, match=r'computed \[1.0, 2.0\], by hand it is \[1.0, 2.5\]'):
        concepts.check(np.array([1.0, 2.0]), [1.0, 2.5])
    with pytest.raises(ComputationError):
        concepts.check(np.zeros([2]), np.zeros([2, 1]))


def test_slide_by_hand():
    assert concepts.slide([[1, 2, 3], [4, 5, 6]], [[1, -1], [0, 2]]).tolist() == [[1 - 2 + 10, 2 - 3 + 12]]


# ---- The page ----

def test_every_idea_has_its_picture_on_the_page(run):
    run_dir, results = run
    page = (run_dir / 'concepts.html').read_text(encoding='utf-8')
    for idea, extension in concepts.IDEAS.items():
        with Image.open(str(run_dir / f'{idea.__name__}{extension}')) as picture:
            assert len(picture.convert('RGB').getcolors(1 << 24)) > 5
        assert f'<img src="{idea.__name__}{extension}"' in page
    assert set(results) == {idea.__name__ for idea in concepts.IDEAS}
    assert '<td>valid</td><td>5 0 12; 8 16 4; 4 4 7</td>' in page
    assert '<td>VGG-16</td><td>layer pool5, field 212, jump 32</td>' in page
    assert '‖after − before‖' in page and '20 million' not in page and '19.7 million' in page


def test_the_animation(run):
    path = run[0] / 'sliding_kernel.gif'
    with Image.open(str(path)) as picture:
        assert picture.n_frames == 25 and picture.info['loop'] == 0
    assert path.stat().st_size < 1e6


def test_an_idea_is_a_function_of_a_screen():
    assert max(len(inspect.getsource(idea).splitlines()) for idea in concepts.IDEAS) <= 50


@pytest.mark.parametrize('options, said', [(['--content', 'missing.jpg'], 'missing.jpg: no such file'),
                                           (['--digit', '3'], 'there is no option --digit')])
def test_mistakes(options, said, tmp_path, capsys):
    assert concepts.main([*options, '--output-dir', str(tmp_path / 'output')]) == 2
    assert said in capsys.readouterr().err and not (tmp_path / 'output').exists()
