"""synthesis/jobs.py: what style transfer is asked to paint."""
from pathlib import Path

import numpy as np
import pytest

from common import images
from common.errors import InputError
from synthesis import jobs


@pytest.fixture
def folder(tmp_path):
    """A folder with a.png and b.png of 60 x 40 pixels, tall.png of 60 x 100, and text.jpg."""
    for name, shape in ('a.png', (40, 60)), ('b.png', (40, 60)), ('tall.png', (100, 60)):
        images.save_image(tmp_path / name, np.zeros((*shape, 3)))
    (tmp_path / 'text.jpg').write_text('not an image')
    return tmp_path


def test_every_content_image_in_every_style(folder):
    found, skipped = jobs.find_jobs([folder / 'a.png', folder / 'b.png'], [folder / 'a.png', folder / 'tall.png'], 64)
    assert [job.name for job in found] == ['a_a', 'a_tall', 'b_a', 'b_tall'] and skipped == []
    assert found[1] == jobs.Job(name='a_tall', content=folder / 'a.png', styles=(folder / 'tall.png',), size=(40, 60))
    assert jobs.input_files(found) == [folder / 'a.png', folder / 'b.png', folder / 'tall.png']
    assert len(set(jobs.fingerprints(found).values())) == 2  # a and b are the same image


def test_all_styles_at_once(folder):
    found, _ = jobs.find_jobs([folder / 'tall.png'], [folder / 'a.png', folder / 'b.png'], 80, blend=[1, 2])
    assert [(job.name, job.size) for job in found] == [('tall_a+b', (80, 48))]


def test_a_name_that_is_taken_gets_a_number(folder):
    found, _ = jobs.find_jobs(3 * [folder / 'a.png'], None, 64)
    assert [job.name for job in found] == ['a_flow_field', 'a_flow_field-2', 'a_flow_field-3']


def test_the_default_is_a_portrait_and_a_painting_drawn_by_code(monkeypatch):
    job, = jobs.find_jobs(None, None, 64)[0]
    assert job.name == 'grace_hopper_flow_field' and job.size == (64, 55) and job.styles == (None,)
    monkeypatch.setattr(jobs, 'PAINTING_SIZE', (32, 40))
    assert jobs.load_image(None).shape == (32, 40, 3)


def test_what_cannot_be_read_is_skipped_and_named_once(folder):
    found, skipped = jobs.find_jobs([folder], [folder / 'a.png', folder / 'b.png'], 64)
    assert len(found) == 6 and len(skipped) == 1 and 'text.jpg' in skipped[0]


@pytest.mark.parametrize('options, message', [
    ({'contents': ['text.jpg']}, 'text.jpg: not a'),
    ({'size': 40}, 'a.png: 40 x 27 pixels at the requested size; the shorter side must have at least 32'),
    ({'style_scale': 0.5}, '--style .*b.png: 30 x 20 pixels at the requested size'),
    ({'styles': None, 'style_scale': 0.5}, r'--style \(drawn by code\): 30 x 24 pixels'),
    ({'blend': [1, 2]}, '--style-blend 1 2: expected a weight for each of the 1 styles'),
    ({'blend': [0]}, 'at least one of them above 0')])
def test_nothing_to_paint(folder, options, message):
    asked = {'contents': ['a.png'], 'styles': ['b.png'], 'size': 64, **options}
    for name in 'contents', 'styles':
        asked[name] = asked[name] and [folder / file for file in asked[name]]
    with pytest.raises(InputError, match=message):
        jobs.find_jobs(**asked)


def test_images_that_stay_smaller_than_asked_for_are_noted(folder):
    def note(contents, size, **options):
        found, _ = jobs.find_jobs([folder / name for name in contents], [folder / 'a.png'], size, **options)
        return jobs.note_small(found, size)
    assert note(['a.png', 'tall.png'], 60) == note(['a.png'], 512, upscale=True) == []
    assert note(['a.png', 'tall.png'], 80) == [
        'a.png (60 x 40 pixels) is smaller than --size 80 and not enlarged; --upscale enlarges']
    assert note(['a.png', 'a.png', 'tall.png'], 120) == [
        '2 images are smaller than --size 120 and not enlarged; --upscale enlarges']


@pytest.mark.parametrize('output, message', [
    ('', ': a folder; expected an image file such as .*result.png'), ('new', 'no extension; expected .* as .*new.png'),
    ('x.xyz', "has the extension '.xyz'"), ('text.jpg/x.png', 'cannot write there'), ('b.png', 'is also an input file'),
    ('x.png', None), ('new/x.png', None)])
def test_where_a_result_can_be_written(folder, output, message):
    found, _ = jobs.find_jobs([folder / 'a.png'], [folder / 'b.png'], 64)
    jobs.check_output(None, 2 * found)
    before = sorted(folder.rglob('*'))
    if message is None:
        jobs.check_output(folder / output, found)
        with pytest.raises(InputError, match='one file for 2 images'):
            jobs.check_output(folder / output, 2 * found)
    else:
        with pytest.raises(InputError, match=message):
            jobs.check_output(folder / output, found)
    assert sorted(folder.rglob('*')) == before


def test_layers_and_their_weights():
    texts = ['conv4_1:3', 'conv1_1']
    assert list(jobs.parse_layers(texts).items()) == [('conv4_1', 0.75), ('conv1_1', 0.25)]
    assert list(jobs.parse_layers(texts, normalize=False).items()) == [('conv4_1', 3), ('conv1_1', 1)]
    with pytest.raises(InputError, match="VGG-16 has no layer 'conv3_4'"):
        jobs.parse_layers(['conv3_4'], 'vgg16')
    for weight in 'x', '0', '-1', 'nan', 'inf':
        with pytest.raises(InputError, match='the weight of a layer is a number above 0, as in conv1_1:0.5'):
            jobs.parse_layers([f'conv1_1:{weight}'])


def test_starts(folder):
    content, style = np.zeros((2, 2, 3)), np.ones((2, 2, 3))
    assert jobs.load_start('content', content, [style]) is jobs.load_start('noise', content, [style]) is content
    assert jobs.load_start('style', content, [style]) is style
    assert jobs.load_start(Path(folder / 'a.png'), content, [style]).shape == (40, 60, 3)
