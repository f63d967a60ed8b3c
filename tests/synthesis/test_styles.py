"""synthesis/styles.py: what fast style transfer is asked to paint."""
from types import SimpleNamespace

import numpy as np
import pytest

from common import images
from common.errors import InputError
from networks import style_networks
from synthesis import styles


@pytest.fixture
def folder(tmp_path):
    """a.png and b.png, 60 x 40 pixels of noise, flat.png, text.jpg, and the style of a painting, learned twice."""
    random = np.random.RandomState(0)
    for name in 'a.png', 'b.png':
        images.save_image(tmp_path / name, random.uniform(0, 255, (40, 60, 3)))
    images.save_image(tmp_path / 'flat.png', np.full((40, 60, 3), (99, 20, 160)))
    (tmp_path / 'text.jpg').write_text('no image')
    for run, value in (('2026-01-01', 0), ('2026-01-02', 1)):
        (tmp_path / 'runs' / run).mkdir(parents=True)
        style_networks.save_style(tmp_path / 'runs' / run / 'wave.style.npz', np.full(990, value, np.float32))
    return tmp_path


@pytest.fixture
def network():
    """A network of 26 styles, of which number k is k everywhere."""
    return style_networks.StyleNetwork(kind='multistyle', convolutions={}, normalized={'contract.0': 495},
                                       styles=np.repeat(np.arange(26, dtype=np.float32)[:, None], 990, axis=1))


def test_numbers_and_blends_of_them(folder, network):
    found, kind = styles.find_styles(['7', '3:1,5:3'], None, None, folder / 'runs')
    assert kind == 'multistyle' and [style.name for style in found] == ['style07', 'style03+05']
    vectors = [styles.vector(style, styles.read(found, network), None) for style in found]
    assert (vectors[0] == 7).all() and (vectors[1] == 4.5).all() and vectors[1].dtype == np.float32


def test_all_of_them_if_nothing_is_asked_for(folder):
    found, kind = styles.find_styles(None, None, None, folder / 'runs')
    assert kind == 'multistyle' and [style.name for style in found] == [f'style{k:02d}' for k in range(26)]


def test_a_learned_style_by_name_and_by_file(folder, network):
    for asked in styles.Path('wave'), folder / 'runs' / '2026-01-02' / 'wave.style.npz':
        (style,), kind = styles.find_styles(None, [asked], None, folder / 'runs')
        assert kind == 'multistyle' and style.name == 'wave'
        assert (styles.vector(style, styles.read([style], network), None) == 1).all()  # the later run's


def test_paintings_and_their_blend(folder):
    found, kind = styles.find_styles(None, [folder / 'a.png', folder / 'b.png'], None, folder / 'runs')
    assert kind == 'any painting' and [style.name for style in found] == ['a', 'b']
    (blend,), _ = styles.find_styles(None, [folder / 'a.png', folder / 'b.png'], [1, 3], folder / 'runs')
    assert blend == styles.Style('a+b', ((0.25, folder / 'a.png'), (0.75, folder / 'b.png')))
    paintings = styles.read([blend], SimpleNamespace(kind='any painting'))

    def look_at(image):
        return np.array([image.mean()], np.float32)
    means = [image.mean() for image in (paintings[folder / 'a.png'], paintings[folder / 'b.png'])]
    assert styles.vector(blend, paintings, look_at) == pytest.approx(0.25 * means[0] + 0.75 * means[1])
    photograph = np.full((4, 4, 3), 10, np.float32)
    assert styles.vector(found[0], paintings, look_at, photograph, strength=0.5) == pytest.approx((10 + means[0]) / 2)
    assert styles.vector(found[0], paintings, look_at, photograph, strength=0) == pytest.approx(10)


@pytest.mark.parametrize('numbers, paths, blend, said', [
    (['26'], None, None, '--style-number 26: expected numbers from 0 to 25'),
    (['-1'], None, None, 'expected numbers from 0 to 25'),
    (['starry'], None, None, 'expected numbers from 0 to 25, such as 7 or 7:0.5,12:0.5'),
    (['3:-1,4'], None, None, '--style-number 3:-1,4: expected weights above 0'),
    (['3:nan'], None, None, 'expected weights above 0'),
    (['3'], ['a.png'], None, 'paintings are painted by another network'),
    (None, ['a.png', 'wave'], None, 'paintings are painted by another network'),
    (None, ['a.png'], [1, 2], '--style-blend 1 2: expected a weight for each of the 1 styles'),
    (None, ['never_learned'], None, '--style never_learned: no such file or folder')])
def test_mistakes(folder, numbers, paths, blend, said):
    paths = paths and [folder / path if '.' in path else styles.Path(path) for path in paths]
    with pytest.raises(InputError, match=said):
        styles.find_styles(numbers, paths, blend, folder / 'runs')


@pytest.mark.parametrize('name, said', [('flat.png', 'a picture of one color'), ('text.jpg', 'not a picture')])
def test_a_painting_without_a_style(folder, name, said):
    found, _ = styles.find_styles(None, [folder / name], None, folder / 'runs')
    with pytest.raises(InputError, match=said):
        styles.read(found, SimpleNamespace(kind='any painting'))


def test_every_photograph_in_every_style(folder):
    asked = [styles.Style('one', ()), styles.Style('two', ())]
    todo, skipped = styles.plan_jobs([folder / 'a.png', folder / 'text.jpg', folder / 'a.png'], asked, 48)
    assert [job.name for job in todo] == ['a_one', 'a_two', 'a-2_one', 'a-2_two'] and todo[0].size == (32, 48)
    assert len(skipped) == 1 and 'text.jpg' in skipped[0]
    assert styles.plan_jobs([folder / 'a.png'], asked)[0][0].size == (40, 60)
    assert styles.plan_jobs([folder / 'a.png'], asked, 90)[0][0].size == (40, 60)
    assert styles.plan_jobs([folder / 'a.png'], asked, 90, upscale=True)[0][0].size == (60, 90)
    with pytest.raises(InputError, match='40 x 27 pixels at the requested size; the shorter side must'):
        styles.plan_jobs([folder / 'a.png'], asked, 40)


def draw_crops(photographs, seed, count=4):
    random = np.random.RandomState(seed)
    return np.array([styles.draw_crop(photographs, 64, random) for _ in range(count)])


def test_crops_depend_on_their_generator_alone():
    photographs = [np.random.RandomState(k).uniform(0, 255, (70, 90, 3)).astype(np.float32) for k in range(3)]
    first, again, other = (draw_crops(photographs, seed) for seed in (1, 1, 2))
    assert first.shape == (4, 64, 64, 3) and (first == again).all() and (first != other).any()


def test_crops_show_something():
    photograph = np.full((70, 400, 3), 255, np.float32)  # overexposed, but for its end
    photograph[:, 350:] = np.random.RandomState(0).uniform(0, 255, (70, 50, 3))
    assert draw_crops([photograph], 0, 8).std(axis=(1, 2)).min() > 1
    photograph[:] = 255
    assert (draw_crops([photograph], 0, 1) == 255).all()  # it ends all the same
