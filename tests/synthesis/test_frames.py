"""synthesis/frames.py: what a frame starts from, and the loop over frames."""
from argparse import ArgumentParser
from pathlib import Path

import numpy as np
import pytest

from common import film, images
from common.errors import ComputationError, InputError
from synthesis import frames, motion
from synthesis.octaves import Octave


PATH = Path('pond.png')


def picture(seed=0, height=30, width=40):
    noise = np.random.RandomState(seed).uniform(0, 255, [6, 8, 3])
    return np.rint(images.resize_image(noise, height, width))


@pytest.fixture
def folder(tmp_path):
    """Path of a folder with the frames of a film, the last after a cut."""
    path = tmp_path / 'film'
    for number, seed in enumerate((0, 0, 0, 1)):
        images.save_image(path / f'{number}.png', picture(seed))
    return path


def options(*argv):
    parser = ArgumentParser()
    parser.add_argument('--content', nargs='+', type=Path)
    parser.add_argument('--output', type=Path)
    parser.add_argument('--size', type=int)
    frames.add_options(parser)
    return parser.parse_args([str(word) for word in argv])


def test_an_image_starts_from_the_last_frame_moved():
    source = frames.ImageSource(PATH, picture(), 9, zoom=1.1, degrees=3)
    start, content = source.frame(0, None)
    assert start is content is source.first
    last = picture(5)
    np.testing.assert_array_equal(source.frame(1, last)[0], motion.warp(last, motion.camera(30, 40, 1.1, 3), order=3))


def test_every_frame_has_a_seed_of_its_own():
    assert len({frames.frame_seed(7, number) for number in range(9)}) == 9
    assert frames.frame_seed(7, 0) == 7 and frames.frame_seed(7, 3) != frames.frame_seed(8, 3)


def test_a_video_starts_from_what_is_filmed_and_a_fraction_of_the_last_change(folder):
    video = frames.VideoSource(film.open_film(folder), blend=0.5)
    start, content = video.frame(0, None)
    np.testing.assert_array_equal(start, picture())
    np.testing.assert_array_equal(start, content)
    last = np.clip(picture() + 40, 0, 255)
    start, content = video.frame(1, last)
    np.testing.assert_array_equal(content, picture())
    np.testing.assert_allclose(start, picture() + 0.5 * (last - picture()), atol=0.5)


def test_a_video_can_begin_anywhere_and_without_a_blend(folder):
    source = film.open_film(folder)
    last = np.clip(picture() + 40, 0, 255)
    for blend in (0.5, 0.0):
        one, other = frames.VideoSource(source, blend), frames.VideoSource(source, blend)
        for number in range(3):
            expected = one.frame(number, last if number else None)
        found = other.frame(2, last)
        np.testing.assert_array_equal(found[0], expected[0])
    np.testing.assert_array_equal(found[0], picture())


def test_a_cut_carries_next_to_nothing(folder):
    video = frames.VideoSource(film.open_film(folder), blend=1.0)
    video.frame(2, picture())
    start, content = video.frame(3, np.clip(picture() + 80, 0, 255))
    np.testing.assert_array_equal(content, picture(1))
    assert np.abs(start - content).mean() < 20


def test_a_video_at_another_size(folder):
    video = frames.VideoSource(film.open_film(folder), size=80)
    assert video.first.shape == video.frame(0, None)[0].shape == (60, 80, 3)


def test_a_film_is_made_frame_by_frame_and_resumed_where_one_is_missing(tmp_path):
    source, octaves, asked = frames.ImageSource(PATH, picture(), 6, zoom=1.1), [Octave(30, 40, 2, 1.5)], []

    def ascend(start, planned, seed, report):
        assert planned == octaves
        asked.append(seed)
        report('a step')
        return start + len(asked) / 3, np.float64([[1, 2]])  # does not fit into 8 bits

    def die_in_the_fourth(start, planned, seed, report):
        if seed == frames.frame_seed(7, 3):
            raise ComputationError('not finite')
        return ascend(start, planned, seed, report)

    def make(run_dir, ascend):
        run_dir.mkdir(exist_ok=True)
        with frames.FilmRun(run_dir, source, quiet=True) as run:
            run.make_frames(octaves, 7, ascend, lambda image, shown: image)
        return [(row['frame'], row['objective_before'], row['objective']) for row in run.log.rows]
    one, other = tmp_path / 'one', tmp_path / 'other'
    assert make(one, ascend) == [(number, 1, 2) for number in range(1, 7)]
    assert asked == [frames.frame_seed(7, number) for number in range(6)]
    asked.clear()
    with pytest.raises(ComputationError, match='not finite; the frames so far are in'):
        make(other, die_in_the_fourth)
    assert film.count_frames(other / frames.FRAMES) == 3
    assert make(other, ascend) == [(number, 1, 2) for number in range(1, 7)]
    assert asked == [frames.frame_seed(7, number) for number in range(6)]
    for number in range(6):
        assert len({film.frame_path(folder / frames.FRAMES, number).read_bytes() for folder in (one, other)}) == 1


def test_a_blended_frame_takes_fewer_steps(folder, tmp_path):
    source, taken = frames.VideoSource(film.open_film(folder), blend=0.75), []

    def ascend(start, planned, seed, report):
        taken.append(planned[0].steps)
        return start, np.float64([[0, 0]])
    with frames.FilmRun(tmp_path, source, quiet=True) as run:
        run.make_frames([Octave(30, 40, 8, 1.5)], 0, ascend, lambda image, shown: image)
    assert taken == [8, 2, 2, 2]


@pytest.mark.parametrize('argv, wanted', [
    ([], None), (['--content', 'a.jpg'], None), (['--content', 'a.jpg', '--output', 'b.png'], None),
    (['--content', 'a.mp4'], '--content a.mp4'), (['--content', 'a.jpg', '--output', 'b.gif'], '--output b.gif'),
    (['--rotate', '0'], '--rotate'), (['--frames', '3'], '--frames'), (['--fps', '5'], '--fps'),
    (['--content', 'a', '--frame-blend', '0'], '--frame-blend')])
def test_what_asks_for_a_film(argv, wanted):
    assert frames.asked_by(options(*argv)) == wanted


def open_source(*argv):
    """Opens a source of frames, with a small image for every file."""
    return frames.open_source(options(*argv), lambda path: picture())


def test_sources_and_their_defaults(folder):
    source = open_source('--frames', '7')
    assert isinstance(source, frames.ImageSource) and (source.num_frames, source.fps) == (7, film.FRAMES_PER_SECOND)
    np.testing.assert_array_equal(source.motion, motion.camera(30, 40, frames.ZOOM))
    source = open_source('--content', 'a.png', '--rotate', '5', '--fps', '12.5')
    np.testing.assert_array_equal(source.motion, motion.camera(30, 40, 1, 5))
    assert (source.num_frames, source.fps) == (frames.NUM_FRAMES, 12.5)
    video = open_source('--content', folder, '--frames', '3')
    assert (video.num_frames, video.fps, video.blend) == (3, film.FRAMES_PER_SECOND, frames.FRAME_BLEND)
    assert video.sound is None
    assert open_source('--content', folder, '--frame-blend', '0').blend == 0


def test_noise_is_noise_beside_a_folder_of_that_name(folder, monkeypatch):
    folder.rename(folder.with_name('noise'))
    monkeypatch.chdir(folder.parent)
    assert isinstance(open_source('--content', 'noise', '--zoom', '1.1'), frames.ImageSource)


@pytest.mark.parametrize('argv, said', [
    (['--content', '{folder}', '--zoom', '1.1'], '--zoom needs an image; .*film is a film'),
    (['--content', '{folder}', '--rotate', '2'], '--rotate needs an image'),
    (['--content', 'a.png', '--frame-blend', '0.5'], '--frame-blend needs a video .*a.png is an image'),
    (['--content', 'a.png', 'b.png', '--frames', '2'], 'not of 2')])
def test_what_does_not_go_together(folder, argv, said):
    with pytest.raises(InputError, match=said):
        open_source(*(word.format(folder=folder) for word in argv))


def test_facts_tell_contents_apart(folder):
    before = frames.VideoSource(film.open_film(folder)).facts()
    assert before == frames.VideoSource(film.open_film(folder)).facts()
    images.save_image(folder / '2.png', picture(8))
    assert before != frames.VideoSource(film.open_film(folder)).facts()
    assert frames.ImageSource(PATH, picture(), 2).facts() != frames.ImageSource(PATH, picture(1), 2).facts()
