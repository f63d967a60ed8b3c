"""common/film.py: frames in and out."""
import os
import re
import subprocess
import sys
from fractions import Fraction
from functools import partial

import numpy as np
import pytest
from PIL import Image

from common import film, images
from common.errors import InputError, UnavailableError


def color(number):
    """Returns the color that tells frame `number` from the others."""
    return [20 * number, 200 - 15 * number, 100]


@pytest.fixture
def frames(tmp_path):
    """Returns a function that keeps frames of one size and returns their folder."""
    def keep(num_frames=6, height=48, width=64):
        folder = tmp_path / '100% frames'  # ffmpeg takes % for the beginning of a number's format
        folder.mkdir()
        for number in range(num_frames):
            image = np.empty([height, width, 3])
            image[:] = color(number)
            image[:height // 2, :width // 2] = 255  # upright, and not mirrored
            images.save_image(film.frame_path(folder, number), image)
        return folder
    return keep


@pytest.fixture
def video(tmp_path):
    """Returns a function that makes a video with ffmpeg's own test pictures."""
    def make(name='video.mp4', *options, sources=('testsrc=size=64x48:rate=10:duration=2',)):
        path = tmp_path / name
        inputs = [word for source in sources for word in ('-f', 'lavfi', '-i', source)]
        subprocess.run([film.ffmpeg(), '-v', 'error', '-nostdin', *inputs, *options, str(path)], check=True)
        return path
    return make


def streams_of(path):
    """Returns the kinds of a video's streams and its duration in seconds, as ffmpeg tells them."""
    told = subprocess.run([film.ffmpeg(), '-i', str(path)], stderr=subprocess.PIPE).stderr.decode()
    hours, minutes, seconds = re.search(r'Duration: (\d+):(\d+):([\d.]+)', told).groups()
    return re.findall(r'Stream #0.*: (Video|Audio):', told), 3600 * int(hours) + 60 * int(minutes) + float(seconds)


@pytest.mark.parametrize('extension', ['.gif', '.mp4', ''])
@pytest.mark.parametrize('height, width', [(48, 64), (49, 65)])
def test_what_is_written_can_be_read(frames, tmp_path, extension, height, width):
    path = tmp_path / 'new folder' / ('film' + extension)
    film.write_film(path, frames(6, height, width), 6, fps=10)
    found = film.open_film(path)
    even = extension == '.mp4'
    assert (found.height, found.width) == ((48, 64) if even else (height, width))
    if even:  # matrix, primaries and transfer: were they not the same, there would be three names
        assert re.search(rb'yuv420p\((tv, )?bt709[,)]', film._run(film._reading(path)).stderr)
    assert found.num_frames == 6 and found.problems == []
    assert found.fps == (10 if extension else film.FRAMES_PER_SECOND)
    for number, image in enumerate(film.read_frames(found)):
        np.testing.assert_allclose(image[40, 50], color(number), atol=6)
        np.testing.assert_allclose(image[5, 5], 255, atol=6)
        np.testing.assert_allclose(image[5, 60], color(number), atol=6)
    assert number == 5
    assert not [file for file in tmp_path.rglob('*') if 'part' in file.name or 'palette' in file.name]


def test_a_single_frame(frames, tmp_path):
    folder = frames(1)
    for name in ('one.gif', 'one.mp4', 'one'):
        film.write_film(tmp_path / name, folder, 1, fps=25)
        found = film.open_film(tmp_path / name)
        # newer ffmpegs guess a hundred frames a second from a GIF's only frame
        assert found.num_frames == 1 or name == 'one.gif' and found.num_frames / found.fps == Fraction(1, 25)


def test_a_gif_loops_without_flicker(frames, tmp_path):
    folder = frames(4)
    still = images.load_image(film.frame_path(folder, 2))
    for number in range(4):
        still[10:20, 40:50] = 60 * number
        images.save_image(film.frame_path(folder, number), still)
    film.write_film(tmp_path / 'still.gif', folder, 4, fps=10)
    with Image.open(str(tmp_path / 'still.gif')) as picture:
        assert picture.info['loop'] == 0 and picture.info['duration'] == 100
    shown = np.stack(list(film.read_frames(film.open_film(tmp_path / 'still.gif'))))
    assert np.ptp(shown[:, 24:], axis=0).max() == 0 and np.ptp(shown[:, 10:20, 40:50], axis=0).max() > 100


def test_reading_starts_anywhere(video):
    found = film.open_film(video())
    every = list(film.read_frames(found))
    assert len(every) == found.num_frames == 20
    np.testing.assert_array_equal(next(film.read_frames(found, start=13)), every[13])


def test_rates_are_exact_and_can_be_changed(video):
    path = video('ntsc.mkv', sources=('testsrc=size=64x48:rate=30000/1001:duration=2',))
    found = film.open_film(path)
    assert found.fps == Fraction(30000, 1001) and found.num_frames == 60
    fewer = film.open_film(path, fps=10)
    assert fewer.fps == 10 and fewer.num_frames == len(list(film.read_frames(fewer))) == 20
    assert film.open_film(path, most=7).num_frames == 7


def test_pixels_are_square_and_upright(video):
    found = film.open_film(video('wide.mkv', '-vf', 'setsar=2/1'))
    assert (found.height, found.width) == (48, 128)
    assert next(film.read_frames(found)).shape == (48, 128, 3)


@pytest.mark.parametrize('size, matrix, tags', [
    ('1280x720', 'bt709', ()), ('1280x536', 'bt709', ()), ('640x480', 'bt601', ()),
    ('1280x720', 'bt601', ('-colorspace', 'smpte170m')), ('640x480', 'bt709', ('-colorspace', 'bt709'))])
def test_a_videos_tag_says_its_matrix_and_without_one_its_size(video, size, matrix, tags):
    path = video('red.mp4', '-vf', f'scale=out_color_matrix={matrix},format=yuv420p', *tags,
                 sources=(f'color=0xc81e28:size={size}:rate=5:duration=0.4',))
    frame = next(film.read_frames(film.open_film(path)))
    np.testing.assert_allclose(frame[::100, ::100], np.full_like(frame[::100, ::100], [200, 30, 40]), atol=6)


@pytest.mark.parametrize('name, script', [
    ('list.mp4', "ffconcat version 1.0\nfile secret.mp4\n"),
    ('list.mp4', "ffconcat version 1.0\nfile secret.mp4\n\0\1\2"),
    ('list.mp4', '#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nsecret.mp4\n#EXT-X-ENDLIST\n'),
    ('list.mkv', '<?xml version="1.0"?>\n<MPD profiles="urn:mpeg:dash:profile:isoff-on-demand:2011"></MPD>'),
    ('list.avi', 'RIFF\1\2\3\4AVI <MPD profiles="urn:mpeg:dash:profile:isoff-on-demand:2011"></MPD>'),
    ('list.mp4', '\xef\xbb\xbf<?xml version="1.0"?>' + '<!-- far down -->' * 300 + '<MPD></MPD>'),
    ('list.ts', 'v=0\no=- 0 0 IN IP4 127.0.0.1\nc=IN IP4 127.0.0.1\nm=video 5004 RTP/AVP 96\n')])
def test_a_list_of_other_files_is_not_followed(video, tmp_path, name, script):
    video('secret.mp4')
    (tmp_path / name).write_bytes(script.encode('latin-1'))
    with pytest.raises(InputError, match='lists of other files are not followed'):
        film.open_film(tmp_path / name)


def test_a_name_is_no_pattern(tmp_path):
    Image.new('P', (16, 16)).save(str(tmp_path / 'frame1.gif'))
    frames = [Image.new('P', (16, 16), color) for color in (1, 2)]
    frames[0].save(str(tmp_path / 'frame%d.gif'), save_all=True, append_images=frames[1:])
    with pytest.raises(InputError, match='rename it'):
        film.open_film(tmp_path / 'frame%d.gif')


def test_hdr_is_tone_mapped(video, monkeypatch):
    strengths = {}
    for transfer in ('bt709', 'arib-std-b67', 'smpte2084'):
        tags = '-colorspace', 'bt2020nc', '-color_primaries', 'bt2020', '-color_trc', transfer
        path = video(f'{transfer}.mp4', '-vf', 'setparams=colorspace=bt2020nc:color_primaries=bt2020:'
                     f'color_trc={transfer},format=yuv420p', *tags,
                     sources=('color=0x966450:size=64x48:rate=5:duration=0.4',))
        source = film.open_film(path)
        frame = next(film.read_frames(source))
        assert frame.shape == (48, 64, 3) and not source.problems
        assert source.filters == ([] if transfer == 'bt709' else [film.TONE_MAP])
        strengths[transfer] = np.ptp(frame, axis=2).mean()
    assert min(strengths['arib-std-b67'], strengths['smpte2084']) > 1.2 * strengths['bt709']
    monkeypatch.setattr(film, '_run', lambda command, run=film._run: run(
        command if '-filters' not in command else [command[0], '-version']))
    assert 'which is HDR' in film.open_film(path).problems[0]


def test_sound_is_kept_as_long_as_the_pictures(frames, video, tmp_path):
    source = video('loud.mkv', sources=('testsrc=size=64x48:rate=10:duration=2', 'sine=duration=3'))
    film.write_film(tmp_path / 'loud.mp4', frames(6), 6, Fraction(10), sound=source)
    streams, seconds = streams_of(tmp_path / 'loud.mp4')
    assert streams == ['Video', 'Audio'] and seconds == pytest.approx(0.6, abs=0.1)
    assert film.open_film(tmp_path / 'loud.mp4').num_frames == 6
    film.write_film(tmp_path / 'mute.mp4', tmp_path / '100% frames', 6, Fraction(10), sound=video('mute.mkv'))
    assert streams_of(tmp_path / 'mute.mp4')[0] == ['Video']


@pytest.mark.parametrize('name, options', [('cut.mp4', ['-movflags', '+faststart']), ('cut.mkv', []), ('cut.mpg', [])])
def test_a_video_that_breaks_off(video, name, options):
    path = video(name, *options, sources=('testsrc2=size=64x48:rate=25:duration=4',))
    whole = path.read_bytes()
    path.write_bytes(whole[:len(whole) * 3 // 4])
    found = film.open_film(path)
    mistake, = found.problems
    assert f'what cannot be read of {path}, which breaks off' in mistake
    assert f'{found.num_frames} frames can' in mistake
    assert 10 < found.num_frames < 100 and len(list(film.read_frames(found))) == found.num_frames


@pytest.mark.parametrize('name', ['cut.gif', 'cut.ogv'])
def test_a_missing_end_that_ffmpeg_does_not_miss(video, name):
    path = video(name, sources=('testsrc2=size=64x48:rate=25:duration=4',))
    whole, found = path.read_bytes(), film.open_film(path)
    assert (found.num_frames, found.problems) == (100, [])
    path.write_bytes(whole[:len(whole) * 3 // 4])
    found = film.open_film(path)
    assert 10 < found.num_frames < 100
    mistake, = found.problems  # newer ffmpegs do say it of a GIF
    said = f'what (is missing|cannot be read) of {path}, which breaks off.*; {found.num_frames} frames can'
    assert re.match(said, mistake)
    assert film.open_film(path, most=5).problems == []


def test_an_ffmpeg_that_crashes(video, frames, tmp_path, monkeypatch):
    path, crashes = video(), tmp_path / 'crashes'
    crashes.write_text('#!/bin/sh\nkill -SEGV $$\n')
    crashes.chmod(0o755)
    monkeypatch.setattr(film, 'ffmpeg', lambda: str(crashes))
    with pytest.raises(UnavailableError, match=r'ffmpeg crashed \(signal 11\)'):
        film.open_film(path)
    with pytest.raises(UnavailableError, match=r'ffmpeg crashed \(signal 11\)'):
        film.write_film(tmp_path / 'film.mp4', frames(2), 2, fps=10)
    assert not (tmp_path / 'film.mp4').exists()


def test_a_gif_shows_no_frame_for_less_than_browsers_do(frames, tmp_path):
    film.write_film(tmp_path / 'fast.gif', frames(12), 12, fps=60)
    with Image.open(str(tmp_path / 'fast.gif')) as gif:
        delays = []
        for number in range(gif.n_frames):
            gif.seek(number)
            delays.append(gif.info['duration'])
    assert min(delays) >= 20 and sum(delays) == pytest.approx(200, abs=20)


def test_a_folder_of_all_kinds_of_frames(tmp_path):
    image = Image.fromarray(np.uint8(np.random.RandomState(0).uniform(0, 255, [30, 40, 3])))
    image.save(str(tmp_path / 'frame2.png'))
    image.convert('L').resize((80, 50)).save(str(tmp_path / 'frame10.png'))
    image.convert('P').resize((20, 40)).save(str(tmp_path / 'frame11.gif'))
    image.convert('RGBA').save(str(tmp_path / 'frame12.png'))
    (tmp_path / 'frame3.png').write_bytes(b'not a picture')
    found = film.open_film(tmp_path, fps=12)
    assert [path.name for path in found.paths] == ['frame2.png', 'frame10.png', 'frame11.gif', 'frame12.png']
    assert 'frame3.png: not a picture' in found.problems[0] and found.fps == 12
    assert [frame.shape for frame in film.read_frames(found)] == [(30, 40, 3)] * 4
    assert film.open_film(tmp_path, most=2).num_frames == 2


def test_other_sizes_fill_the_first_ones_and_are_not_stretched(tmp_path):
    images.save_image(tmp_path / '1.png', np.zeros([40, 40, 3]))
    wide = np.zeros([20, 60, 3])
    wide[5:15, 25:35] = 255
    images.save_image(tmp_path / '2.png', wide)
    _, frame = film.read_frames(film.open_film(tmp_path))
    rows, columns = np.nonzero(frame[:, :, 0] > 128)
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (10, 29, 10, 29)


def test_what_counts_as_a_video(tmp_path):
    image = Image.new('RGB', (8, 8))
    image.save(str(tmp_path / 'still.gif'))
    image.save(str(tmp_path / 'moving.gif'), save_all=True, append_images=[Image.new('RGB', (8, 8), 'red')])
    assert film.is_video(tmp_path / 'moving.gif') and film.is_video('some.MOV')
    assert not film.is_video(tmp_path / 'still.gif') and not film.is_video('none.gif') and not film.is_video('a.png')


def test_the_first_missing_frame_counts(frames):
    folder = frames(5)
    film.frame_path(folder, 3).unlink()
    assert film.count_frames(folder) == 3


@pytest.mark.parametrize('content, said', [
    (None, 'no such file'), (b'', 'an empty file, not a video'),
    (b'not a video', 'not a video that can be read (a text'),
    (b'\1\2\3\4 not a video', 'not a video that can be read (ffmpeg: ')])
def test_what_cannot_be_read(tmp_path, content, said):
    path = tmp_path / 'x.mp4'
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError) as error:
        film.open_film(path)
    assert said in str(error.value).replace(f'{path}: ', '')


def test_a_folder_of_frames_is_whole_or_not_there(frames, tmp_path):
    folder = frames(4)
    film.frame_path(folder, 2).unlink()
    with pytest.raises(FileNotFoundError):
        film.write_film(tmp_path / 'copies', folder, 4, fps=10)
    assert sorted(path.name for path in tmp_path.iterdir()) == ['100% frames']
    (tmp_path / 'copies').mkdir()  # an empty one, as check_output allows
    film.write_film(tmp_path / 'copies', folder, 2, fps=10)
    assert [path.name for path in sorted((tmp_path / 'copies').iterdir())] == ['000000.png', '000001.png']


def test_too_few_frames_a_second_for_a_single_one(video):
    with pytest.raises(InputError, match='not one frame can be read at 0.1 frames per second'):
        film.open_film(video(), fps=0.1)


def test_sound_alone_is_no_video(video):
    with pytest.raises(InputError, match='not a video that can be read'):
        film.open_film(video('sound.mp4', sources=('sine=duration=1',)))


def test_a_folder_without_a_frame(tmp_path):
    (tmp_path / 'a.png').write_bytes(b'not a picture')
    with pytest.raises(InputError, match='no frame in this folder can be read .*not a picture'):
        film.open_film(tmp_path)


def test_outputs_are_tried(tmp_path):
    for name in ('a.gif', 'new/b.MP4', 'new/c'):
        film.check_output(tmp_path / name)
    (tmp_path / 'empty').mkdir()
    film.check_output(tmp_path / 'empty')
    assert [path.name for path in tmp_path.iterdir()] == ['empty']
    with pytest.raises(InputError, match=r"no film has the extension '\.mov'; known: \.gif, \.mp4, or none"):
        film.check_output(tmp_path / 'a.mov')
    (tmp_path / 'file').write_text('')
    with pytest.raises(InputError, match='cannot write there'):
        film.check_output(tmp_path / 'file' / 'a.gif')
    with pytest.raises(InputError, match='file: a file is there already; name a folder, or a film ending in .gif or'):
        film.check_output(tmp_path / 'file')
    with pytest.raises(InputError, match='a new or an empty one'):
        film.check_output(tmp_path)


@pytest.mark.parametrize('missing', ['the package', 'the program'])
def test_no_ffmpeg(frames, tmp_path, monkeypatch, missing):
    import imageio_ffmpeg

    def none():
        raise RuntimeError('No ffmpeg exe could be found.')
    if missing == 'the package':
        monkeypatch.setitem(sys.modules, 'imageio_ffmpeg', None)
    monkeypatch.setattr(imageio_ffmpeg, 'get_ffmpeg_exe', none)
    with pytest.raises(UnavailableError, match='no ffmpeg.*pip install imageio-ffmpeg, .*without extension'):
        film.check_output(tmp_path / 'a.mp4')
    film.check_output(tmp_path / 'a')
    film.write_film(tmp_path / 'a', frames(2), 2, fps=5)
    assert film.open_film(tmp_path / 'a').num_frames == 2


def test_what_ffmpeg_cannot_write(frames, tmp_path):
    folder = frames(2)
    film.frame_path(folder, 0).write_bytes(b'no picture')
    film.frame_path(folder, 1).write_bytes(b'no picture')
    (tmp_path / 'old.mp4').write_bytes(b'old')
    with pytest.raises(UnavailableError, match='the film cannot be written; its frames are in .*100% frames'):
        film.write_film(tmp_path / 'old.mp4', folder, 2, fps=10)
    assert (tmp_path / 'old.mp4').read_bytes() == b'old'


@pytest.mark.parametrize('extension', ['.gif', '.mp4'])
@pytest.mark.parametrize('share', [0.5, 0.99])
def test_a_disk_that_fills_up(tmp_path, monkeypatch, small_disk, extension, share):
    random = np.random.RandomState(0)
    for number in range(3):
        images.save_image(film.frame_path(tmp_path, number), random.uniform(0, 255, [96, 128, 3]))
    film.write_film(tmp_path / ('whole' + extension), tmp_path, 3, fps=10)
    size = (tmp_path / ('whole' + extension)).stat().st_size
    # The signal that comes with this limit, and not with a full disk, is to be ignored by ffmpeg as it is by Python.
    monkeypatch.setattr(film.subprocess, 'run', partial(subprocess.run, restore_signals=False))
    with small_disk(int(share * size)), pytest.raises(UnavailableError, match='cannot be written.*File too large'):
        film.write_film(tmp_path / ('film' + extension), tmp_path, 3, fps=10)
    assert not list(tmp_path.glob('film*')) and not list(tmp_path.glob('.*part*'))


@pytest.fixture
def animation(tmp_path):
    """Returns a function that keeps an animation of four colors on a transparent ground, with or without a still."""
    def keep(extension, durations=(100, 100, 100, 100), **options):
        pictures = [Image.new('RGBA', (32, 24)) for _ in durations]
        for number, picture in enumerate(pictures):
            picture.paste((*color(3 * number), 255), (0, 0, 32, 12))
            picture.paste((0, 0, 0, 255), (24, 12, 32, 24))  # the picture cannot be cropped to what is opaque
        path = tmp_path / f'sticker{extension}'
        pictures[0].save(str(path), save_all=True, append_images=pictures[1:], duration=list(durations), quality=100,
                         **options)
        return path
    return keep


@pytest.mark.parametrize('extension', ['.webp', '.png'])
def test_an_animated_webp_or_png_is_a_film(animation, extension):
    path = animation(extension)
    assert film.is_video(path)
    found = film.open_film(path)
    assert (found.num_frames, found.fps, found.height, found.width) == (4, 10, 24, 32) and not found.problems
    every = list(film.read_frames(found))
    assert len(every) == 4
    for number, image in enumerate(every):
        np.testing.assert_allclose(image[0, 0], color(3 * number), atol=4)
        np.testing.assert_array_equal(image[20, 0], [255] * 3)  # what is transparent shows white
    np.testing.assert_array_equal(next(film.read_frames(found, 2)), every[2])
    assert film.open_film(path, most=3).num_frames == 3 and film.open_film(path, fps=20).num_frames == 8


def test_an_animations_frames_are_shown_as_long_as_they_say(animation):
    found = film.open_film(animation('.png', (40, 80, 40, 200)))
    assert found.fps == 25 and found.shown == [0, 1, 1, 2, 3, 3, 3, 3, 3]
    found = film.open_film(animation('.webp', (30, 45, 25)))
    assert found.fps == 40 and found.shown == [0, 0, 1, 2]


def test_an_animations_still_is_no_frame_of_it(animation):
    found = film.open_film(animation('.png', default_image=True))
    assert found.num_frames == 3
    np.testing.assert_allclose(next(film.read_frames(found))[0, 0], color(3), atol=4)


@pytest.mark.parametrize('extension', ['.webp', '.png'])
def test_a_damaged_animation(animation, extension):
    path = animation(extension)
    path.write_bytes(path.read_bytes()[:-150])
    if film.is_video(path):  # a WebP without its end is not one for Pillow
        found = film.open_film(path)
        assert found.num_frames < 4 and 'frames can' in found.problems[0]
        assert len(list(film.read_frames(found))) == found.num_frames


@pytest.mark.parametrize('extension', ['.gif', '.webp', '.png'])
def test_a_pipe_with_a_films_name_does_not_hang(tmp_path, extension):
    os.mkfifo(str(tmp_path / f'x{extension}'))
    assert not film.is_video(tmp_path / f'x{extension}')
    with pytest.raises(InputError, match='not a regular file'):
        film.open_film(tmp_path / f'x{extension}')
