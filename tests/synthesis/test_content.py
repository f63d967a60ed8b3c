"""synthesis/content.py: what a dream starts from."""
import hashlib
from pathlib import Path

import numpy as np
import pytest

from common import images
from common.errors import InputError
from synthesis import content


def test_the_raccoon_is_scipys_pixel_for_pixel():
    raccoon = content.load(content.RACCOON)
    assert raccoon.shape == (768, 1024, 3) and raccoon.dtype == np.float32
    assert hashlib.sha256(raccoon.astype(np.uint8).tobytes()).hexdigest() == (
        '9f16f4e284d28f4b8e0356171bc6543d2a0d24a0bd55dabebbd30e102aa8946c')


def test_noise_depends_on_the_seed_alone():
    noise = content.load(Path(content.NOISE), 32, seed=3)
    np.testing.assert_array_equal(noise, content.load(Path(content.NOISE), 32, seed=3))
    assert (noise != content.load(Path(content.NOISE), 32, seed=4)).mean() > 0.9
    assert noise.shape == (32, 32, 3) and 100 <= noise.min() < 102 < 154 < noise.max() <= 156
    assert 100 <= content.load(Path(content.NOISE), 32, book=True).min() < 101


def test_folders_noise_and_the_default(tmp_path):
    for name in ('b.png', 'a.png'):
        images.save_image(tmp_path / name, np.zeros([4, 4]))
    noise = Path(content.NOISE)
    assert content.find([noise, tmp_path]) == [noise, tmp_path / 'a.png', tmp_path / 'b.png']
    assert content.find(None) == [content.RACCOON]


def load(path):
    if path.stem == 'broken':
        raise InputError(f'{path}: not an image')
    return np.zeros([8, 9, 3], np.float32)


def plan(height, width):
    assert (height, width) == (8, 9)
    return ['octave']


def test_jobs_have_names_of_their_own_and_say_what_is_skipped():
    paths = [Path('a/pond.png'), Path('b/broken.png'), Path('b/pond.jpg'), Path(content.NOISE)]
    jobs, skipped = content.plan_jobs(paths, load, plan)
    assert [job.name for job in jobs] == ['pond_dream', 'pond_dream-2', 'noise_dream']
    assert [job.contrast for job in jobs] == [None, None, content.CONTRAST]
    assert jobs[1] == content.Job(name='pond_dream-2', content=paths[2], octaves=['octave'], contrast=None)
    assert skipped == ['b/broken.png: not an image']


def test_too_many_images_and_none():
    with pytest.raises(InputError, match='--output x.png: needs a single image; --content names 2'):
        content.plan_jobs([Path('a.png'), Path('b.png')], load, plan, single='--output x.png')
    with pytest.raises(InputError, match='broken.png: not an image'):
        content.plan_jobs([Path('broken.png')], load, plan)


def test_a_video_by_another_name(tmp_path):
    path = tmp_path / 'clip.dat'
    path.write_bytes(b'anything')
    with pytest.raises(InputError, match='a video is known by its extension: .3gp .avi'):
        content.load(path)
