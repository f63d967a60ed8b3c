"""synthesis/frames.py: what a frame starts from, and the loop over frames."""
from argparse import ArgumentParser
from pathlib import Path

import numpy as np
import pytest

from common import film, images
from common.errors import InputError
from synthesis import frames, motion


def picture(seed=0, height=30, width=40):
    noise = np.random.RandomState(seed).uniform(0, 255, [6, 8, 3])
    return np.rint(images.resize_image(noise, height, width))


@pytest.fixture
def folder(tmp_path):
    """Path of a folder with the frames of a film, the last after a cut."""
    path = tmp_path / 'film'
    for number, seed in enumerate((0, 0, 0, 1)):
        images.save_image(path / ('%d.png' % number), picture(seed))
    return path


def options(*argv):
    parser = ArgumentParser()
    parser.add_argument('--content', nargs='+', type=Path)
    parser.add_argument('--output', type=Path)
    parser.add_argument('--size', type=int)
    frames.add_options(parser)
    return parser.parse_args([str(word) for word in argv])


def test_a_camera_starts_from_the_last_frame_moved():
    camera = frames.Camera(picture(), 9, zoom=1.1, degrees=3)
    start, content = camera.frame(0, None)
    assert start is content is camera.first
    last = picture(5)
    np.testing.assert_array_equal(camera.frame(1, last)[0], motion.move(last, motion.camera(30, 40, 1.1, 3), order=3))


def test_every_frame_has_a_seed_of_its_own():
    assert len({frames.frame_seed(7, number) for number in range(9)}) == 9
    assert frames.frame_seed(7, 0) == 7 and frames.frame_seed(7, 3) != frames.frame_seed(8, 3)


def test_footage_starts_from_what_is_filmed_and_a_share_of_the_last_change(folder):
    footage = frames.Footage(film.open_film(folder), blend=0.5)
    start, content = footage.frame(0, None)
    np.testing.assert_array_equal(start, picture())
    np.testing.assert_array_equal(start, content)
    last = np.clip(picture() + 40, 0, 255)
    start, content = footage.frame(1, last)
    np.testing.assert_array_equal(content, picture())
    np.testing.assert_allclose(start, picture() + 0.5 * (last - picture()), atol=0.5)


def test_footage_can_begin_anywhere_and_without_a_blend(folder):
    source = film.open_film(folder)
    last = np.clip(picture() + 40, 0, 255)
    for blend in (0.5, 0.0):
        one, other = frames.Footage(source, blend), frames.Footage(source, blend)
        for number in range(3):
            expected = one.frame(number, last if number else None)
        found = other.frame(2, last)
        np.testing.assert_array_equal(found[0], expected[0])
    np.testing.assert_array_equal(found[0], picture())


def test_a_cut_carries_next_to_nothing(folder):
    footage = frames.Footage(film.open_film(folder), blend=1.0)
    footage.frame(2, picture())
    start, content = footage.frame(3, np.clip(picture() + 80, 0, 255))
    np.testing.assert_array_equal(content, picture(1))
    assert np.abs(start - content).mean() < 20


def test_footage_at_another_size(folder):
    footage = frames.Footage(film.open_film(folder), size=80)
    assert footage.first.shape == footage.frame(0, None)[0].shape == (60, 80, 3)


def test_a_film_is_made_frame_by_frame_and_goes_on_where_one_is_missing(tmp_path):
    camera, asked, reports = frames.Camera(picture(), 6, zoom=1.1), [], []

    def paint(number, start, content):
        asked.append(number)
        return start + number / 3  # does not fit into 8 bits
    one, other = tmp_path / 'one', tmp_path / 'other'
    frames.make_frames(camera, paint, one, lambda: reports.append(film.count_frames(one)))
    assert asked == reports == [0, 1, 2, 3, 4, 5]

    def die(number, start, content):
        if number == 3:
            raise KeyboardInterrupt
        return paint(number, start, content)
    with pytest.raises(KeyboardInterrupt):
        frames.make_frames(camera, die, other, lambda: None)
    asked.clear()
    frames.make_frames(camera, paint, other, lambda: None)
    assert asked == [3, 4, 5]
    for number in range(6):
        assert film.frame_path(one, number).read_bytes() == film.frame_path(other, number).read_bytes()


@pytest.mark.parametrize('argv, wanted', [
    ([], None), (['--content', 'a.jpg'], None), (['--content', 'a.jpg', '--output', 'b.png'], None),
    (['--content', 'a.mp4'], '--content a.mp4'), (['--content', 'a.jpg', '--output', 'b.gif'], '--output b.gif'),
    (['--rotate', '0'], '--rotate'), (['--frames', '3'], '--frames'), (['--fps', '5'], '--fps'),
    (['--content', 'a', '--frame-blend', '0'], '--frame-blend')])
def test_what_asks_for_a_film(argv, wanted):
    assert frames.asked_by(options(*argv)) == wanted


def open_scene(*argv):
    """Opens a scene, with a small picture for every file."""
    return frames.open_scene(options(*argv), lambda path: picture(), 'noise')


def test_scenes_and_their_defaults(folder):
    camera = open_scene('--frames', '7')
    assert isinstance(camera, frames.Camera) and (camera.num_frames, camera.fps) == (7, film.FRAMES_PER_SECOND)
    np.testing.assert_array_equal(camera.motion, motion.camera(30, 40, frames.ZOOM))
    camera = open_scene('--content', 'a.png', '--rotate', '5', '--fps', '12.5')
    np.testing.assert_array_equal(camera.motion, motion.camera(30, 40, 1, 5))
    assert (camera.num_frames, camera.fps) == (frames.NUM_FRAMES, 12.5)
    footage = open_scene('--content', folder, '--frames', '3')
    assert (footage.num_frames, footage.fps, footage.blend) == (3, film.FRAMES_PER_SECOND, frames.FRAME_BLEND)
    assert footage.sound is None
    assert open_scene('--content', folder, '--frame-blend', '0').blend == 0


def test_noise_is_noise_beside_a_folder_of_that_name(folder, monkeypatch):
    folder.rename(folder.with_name('noise'))
    monkeypatch.chdir(folder.parent)
    assert isinstance(open_scene('--content', 'noise', '--zoom', '1.1'), frames.Camera)


@pytest.mark.parametrize('argv, said', [
    (['--content', '{folder}', '--zoom', '1.1'], '--zoom moves into a picture; .*film is a film'),
    (['--content', '{folder}', '--rotate', '2'], '--rotate moves into'),
    (['--content', 'a.png', '--frame-blend', '0.5'], '--frame-blend is for a video .*a.png is a picture'),
    (['--content', 'a.png', 'b.png', '--frames', '2'], 'not of 2')])
def test_what_does_not_go_together(folder, argv, said):
    with pytest.raises(InputError, match=said):
        open_scene(*(word.format(folder=folder) for word in argv))


def test_digests_tell_contents_apart(folder):
    before = frames.Footage(film.open_film(folder)).digest()
    assert before == frames.Footage(film.open_film(folder)).digest()
    images.save_image(folder / '2.png', picture(8))
    assert before != frames.Footage(film.open_film(folder)).digest()
    assert frames.Camera(picture(), 2).digest() != frames.Camera(picture(1), 2).digest()
