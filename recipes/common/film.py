"""Films: videos and folders of images are read frame by frame; saved frames become a GIF, an MP4 or a folder.

ffmpeg, which comes with the package imageio-ffmpeg, reads and writes videos. Only one frame at a time is in memory.
"""
import itertools
import re
import shutil
import subprocess
import tempfile
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from common import files, images
from common.errors import InputError, UnavailableError

VIDEO_EXTENSIONS = set('.mp4 .m4v .mov .mkv .webm .avi .mpg .mpeg .mts .m2ts .ts .wmv .flv .ogv .3gp'.split())
FRAMES_PER_SECOND = 20  # of what has no rate of its own; a GIF can only have whole hundredths of a second
FRAME = '%06d.png'
# What write_film writes: the extension and ffmpeg's options. H.264's usual pixel format knows even sizes only: of an
# odd one the last row or column is left out. Colors are BT.709's, and marked so: players take them for that.
GIF, MP4, FOLDER = '.gif', '.mp4', ''
ANIMATIONS = (GIF, '.webp', '.png', '.apng')  # what may be a film or a picture; ffmpeg reads GIFs, Pillow the others
MP4_OPTIONS = ('-vf', 'crop=trunc(iw/2)*2:trunc(ih/2)*2:0:0,scale=out_color_matrix=bt709,format=yuv420p,'
               'setparams=color_primaries=bt709:color_trc=bt709:colorspace=bt709',  # newer ffmpegs; older ones:
               '-colorspace', 'bt709', '-color_primaries', 'bt709', '-color_trc', 'bt709', '-c:v', 'libx264',
               '-crf', '17', '-movflags', '+faststart')
SOUND_OPTIONS = ('-map', '0:v:0', '-map', '1:a:0?', '-c:a', 'aac', '-b:a', '192k')
# A palette of the whole film: one of each frame's own would make still things flicker. Ordered dithering stands still.
PALETTE_USE = 'paletteuse=dither=bayer:bayer_scale=4:diff_mode=rectangle'
# What telephones film in HDR (HLG or PQ): its light is computed, highlights are compressed, the rest is BT.709.
TONE_MAP = ('zscale=transfer=linear:npl=100,format=gbrpf32le,zscale=primaries=bt709,tonemap=hable:desat=0,'
            'zscale=transfer=bt709:matrix=bt709:range=tv,format=yuv420p')
_MATRIX = re.compile('bt709|bt470bg|smpte170m|smpte240m|bt2020n?c|fcc|gbr|ycgco|ictcp')
DURATION = 100  # milliseconds of an animation's frame that does not say, or says 0
MOST_GIF_FPS = 50  # browsers show frames of less than two hundredths of a second for ten


class Film(NamedTuple):
    """A film to be read."""
    path: Path          # a video, or a folder of images
    fps: Fraction       # frames per second
    num_frames: int     # that can be read
    height: int
    width: int
    paths: Any          # list of Path, the frames of a folder; empty for a video
    problems: Any       # list of str, what cannot be read and why
    filters: Any        # list of str, ffmpeg's, that bring a video's colors to RGB
    shown: Any = ()     # list of int, which of an animation's frames each frame is; empty for a video or a folder


def is_video(path):
    """Tells videos by their extension; GIF, WebP and PNG by their number of frames."""
    suffix = Path(path).suffix.lower()
    return suffix in VIDEO_EXTENSIONS or suffix in ANIMATIONS and images.count_frames(path) > 1


def open_film(path, fps=None, most=None):
    """Inspects a film; a video is decoded once for that, so that damage is known before any work is done.

    Args:
      path: Path of a video, or of a folder of images, which the numbers in their names put in order.
      fps: float, frames per second to take from a video, or to show a folder's at; None for the video's own rate.
      most: int, how many frames are wanted at most, or None for all.

    Returns:
      Film.

    Raises:
      InputError: there is no such file, or not one frame in it can be read.
      UnavailableError: no ffmpeg, for a video.
    """
    rate = Fraction(fps).limit_denominator(1001) if fps else None
    if Path(path).is_dir():
        return _open_folder(path, rate, most)
    is_animation = Path(path).suffix.lower() in set(ANIMATIONS) - {GIF}
    return (_open_animation if is_animation else _open_video)(path, rate, most)


def _open_folder(path, rate, most):
    good, problems, sizes = [], [], []
    for frame in sorted(images.find_images(path, '--content'), key=_by_number):
        try:
            sizes.append(images.load_image(frame).shape[:2])
            good.append(frame)
        except InputError as error:
            problems.append(str(error))
        if len(good) == most:
            break
    if not good:
        raise InputError(f'--content {path}: no frame in this folder can be read ({problems[0]})')
    height, width = sizes[0]
    return Film(path=Path(path), fps=rate or Fraction(FRAMES_PER_SECOND), num_frames=len(good), height=height,
                width=width, paths=good, problems=problems, filters=[])


def _by_number(path):
    """Sorts frame2 before frame10."""
    return [int(part) if part.isdecimal() else part for part in re.split(r'(\d+)', path.name)]


def _open_animation(path, rate, most):
    ends, problems, size = [0.0], [], (0, 0)
    try:
        for image, milliseconds in images.read_animation(path):
            size = image.shape[:2]
            ends.append(ends[-1] + (milliseconds or DURATION))
    except InputError as error:
        if len(ends) == 1:
            raise
        problems.append(f'what cannot be read of {path}; {len(ends) - 1} frames can ({error})')
    rate = rate or min(Fraction(1000 / np.diff(ends).min()).limit_denominator(1001), Fraction(MOST_GIF_FPS))
    shown = np.searchsorted(ends, np.arange(max(1, round(ends[-1] / 1000 * rate))) * (1000 / float(rate)), 'right') - 1
    shown = np.minimum(shown, len(ends) - 2).tolist()[:most]
    return Film(path=Path(path), fps=rate, num_frames=len(shown), height=size[0], width=size[1], paths=[],
                problems=problems, filters=[], shown=shown)


def _open_video(path, rate, most):
    files.check_regular(path, 'video')
    _check_container(path)
    filters, problems = _color_filters(path)
    # The header of this format gives the rate as an exact fraction and the size as it is shown, turned upright.
    first = _run(_decoding(path, None, filters) + ['-frames:v', '1', '-pix_fmt', 'yuv420p', '-f', 'yuv4mpegpipe', '-'])
    header = re.match(rb'YUV4MPEG2 W(\d+) H(\d+) F(\d+):(\d+) ', first.stdout)
    if not header:
        raise InputError(f'{path}: not a video that can be read (ffmpeg: {_complaint(first)})')
    width, height, *own_rate = map(int, header.groups())
    rate = rate or Fraction(*own_rate)
    every = _run(_decoding(path, rate, filters) + (['-frames:v', str(most)] if most else []) + [
        '-f', 'null', '-progress', '-', '-'])
    num_frames = int(([b'0'] + re.findall(rb'frame= *(\d+)', every.stdout))[-1])
    if not num_frames:
        raise InputError(f'{path}: not one frame can be read at {float(rate):g} frames per second '
                         f'(ffmpeg: {_complaint(every)})')
    if every.stderr or every.returncode:
        problems.append(f'what cannot be read of {path}, which breaks off or is damaged; {num_frames} frames can '
                        f'(ffmpeg: {_complaint(every)})')
    elif not most and not _has_its_end(path):
        problems.append(f'what is missing of {path}, which breaks off; {num_frames} frames can be read')
    return Film(path=Path(path), fps=rate, num_frames=num_frames, height=height, width=width, paths=[],
                problems=problems, filters=filters)


def _check_container(path):
    """Refuses what has ffmpeg read other files: texts that list them (concat, HLS, DASH), and a name that is a pattern.

    Its option -format_whitelist would say so, too, but ffmpeg 4.2 crashes on MPEG-TS with it.
    """
    with open(str(path), 'rb') as file:
        beginning = file.read(2048)
    is_text = re.match(rb'[\t\n\r\x20-\x7e]{8}', beginning) and beginning[:4] not in (b'RIFF', b'GIF8')
    # Behind a byte order mark or the like a text can have its list far down; but no text holds a zero, as films do.
    is_text = is_text or len(beginning) > 64 and b'\0' not in beginning
    if is_text or b'<mpd' in beginning.split(b'\0')[0].lower():
        raise InputError(f'{path}: not a video that can be read (a text; lists of other files are not followed)')
    if re.search(r'%\d*d', str(Path(path).resolve())):
        raise InputError(f'{path}: ffmpeg takes such a name for a pattern of several files; rename it')


def _color_filters(path):
    """Returns (ffmpeg's filters for a video's colors, list of str: what is lost of them).

    A tag says which matrix they were computed with; without one it is BT.709 for what is HD, else BT.601.
    """
    told = _run(_reading(path)).stderr.decode('utf-8', 'replace')
    tags, width, height = (re.findall(r'Video: .*?, \w+(?:\((.*?)\))?, (\d+)x(\d+)', told) or [('', 0, 0)])[0]
    if 'arib-std-b67' in tags or 'smpte2084' in tags:
        if b' zscale ' in _run([ffmpeg(), '-hide_banner', '-filters']).stdout:
            return [TONE_MAP], []
        return [], [f'the contrast of {path}, which is HDR: this ffmpeg cannot convert it (it lacks zscale)']
    if not any(_MATRIX.match(tag) for tag in tags.split(', ')) and (int(height) >= 720 or int(width) >= 1280):
        return ['setparams=colorspace=bt709'], []
    return [], []


def _has_its_end(path):
    """Looks for the end mark of those formats whose missing end ffmpeg does not report."""
    with open(str(path), 'rb') as file:
        beginning = file.read(4)
        file.seek(max(0, file.seek(0, 2) - 2 ** 17))  # more than the largest page of Ogg
        end = file.read()
    if beginning == b'GIF8':
        return end.rstrip(b'\0').endswith(b';')
    if beginning == b'OggS':
        last_page = end.rfind(b'OggS')
        return end[last_page + 5] & 4 != 0 if 0 <= last_page < len(end) - 5 else False
    return True


def read_frames(film, start=0):
    """Reads a film frame by frame.

    Args:
      film: Film.
      start: int, frames to skip at the beginning.

    Yields:
      float32 [height, width, 3], RGB in [0, 255]; a folder's images of other sizes are scaled to cover the first one's
      and cropped at their center.
    """
    if film.paths:
        for path in film.paths[start:]:
            yield images.fill(images.load_image(path), film.height, film.width)
        return
    if film.shown:
        every, number = images.read_animation(film.path), -1
        for wanted in film.shown[start:]:
            while number < wanted:
                image, number = next(every)[0], number + 1
            yield image
        return
    command = _decoding(film.path, film.fps, film.filters) + ['-pix_fmt', 'rgb24', '-f', 'rawvideo', '-']
    # In a session of its own, so that Ctrl-C is ours alone to answer. open_film has reported what it complains of.
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                               start_new_session=True)
    num_bytes = film.height * film.width * 3
    try:
        for number in range(film.num_frames):
            pixels = process.stdout.read(num_bytes)
            if len(pixels) < num_bytes:
                raise InputError(f'{film.path}: changed while it was read')
            if number >= start:
                yield np.frombuffer(pixels, np.uint8).reshape(film.height, film.width, 3).astype(np.float32)
    finally:
        process.kill()
        process.stdout.close()
        process.wait()


def frame_path(folder, number):
    """Returns the path of a saved frame; the first has the number 0."""
    return Path(folder) / (FRAME % number)


def count_frames(folder):
    """Returns how many frames a folder contains, up to the first that is missing."""
    return next(number for number in itertools.count() if not frame_path(folder, number).exists())


def check_output(path, option='--output'):
    """Finds out, before the work, whether write_film will be able to write `path`; leaves everything as it was.

    Raises:
      InputError: an unknown extension, a folder that is not empty, or a place that cannot be made or written to.
      UnavailableError: no ffmpeg, for a GIF or an MP4.
    """
    path = Path(path)
    extension = path.suffix.lower()
    if extension not in (GIF, MP4, FOLDER):
        raise InputError(f'{option} {path}: no film has the extension {path.suffix!r}; known: {GIF}, {MP4}, or none '
                         'for a folder of PNG frames')
    if extension != FOLDER:
        ffmpeg()
    elif path.is_dir():
        if any(path.iterdir()):
            raise InputError(f'{option} {path}: there are files in this folder; name a new or an empty one')
        path = path / FRAME  # the inside must be writable
    elif path.exists():
        raise InputError(f'{option} {path}: a file is there already; name a folder, or a film ending in {GIF} or {MP4}')
    files.check_writable(path, option)


def write_film(path, folder, num_frames, fps, sound=None):
    """Makes a film of saved frames, whole or not at all.

    Args:
      path: Path ending in .gif or .mp4; one without extension becomes a folder of PNG frames.
      folder: Path of the folder with the frames, all of one size; see frame_path.
      num_frames: int.
      fps: number, frames per second; a GIF shows MOST_GIF_FPS at most.
      sound: Path of a video whose sound an MP4 gets, as long as the frames last; None for silence.

    Raises:
      UnavailableError: no ffmpeg, or it failed.
    """
    path, fps = Path(path), Fraction(fps).limit_denominator(1001)
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == FOLDER:
        with files.replacing_dir(path) as beside:
            beside.mkdir()
            for number in range(num_frames):
                shutil.copyfile(str(frame_path(folder, number)), str(frame_path(beside, number)))
        return
    frames = ['-framerate', str(fps), '-i', FRAME]
    limit = ['-frames:v', str(num_frames)]
    with files.replacing(path) as beside, tempfile.TemporaryDirectory() as temporary:
        if path.suffix.lower() == GIF:
            palette, shown = str(Path(temporary) / 'palette.png'), f'fps={min(fps, MOST_GIF_FPS)}'
            _encode(folder, frames + ['-vf', shown + ',palettegen'], palette)
            _encode(folder, frames + ['-i', palette, '-lavfi', f'{shown}[shown];[shown][1:v]{PALETTE_USE}',
                                      *limit], beside)
        elif sound:
            seconds = ['-t', f'{float(num_frames / fps):.6f}']
            _encode(folder, frames + ['-i', str(Path(sound).resolve()), *SOUND_OPTIONS, *MP4_OPTIONS, *seconds], beside)
        else:
            _encode(folder, frames + [*MP4_OPTIONS, *limit], beside)


def _encode(folder, options, path):
    """Runs ffmpeg where the frames are, so that the folder's name need not be written as a pattern."""
    result = _run([ffmpeg(), '-nostdin', '-v', 'error', '-y', *options, str(Path(path).resolve())], cwd=str(folder))
    # Where the disk is full when it comes to the file's end, it complains of that, but may call it a success.
    if result.returncode or b'Error writing trailer' in result.stderr:
        raise UnavailableError(f'the film cannot be written; its frames are in {folder} (ffmpeg: {_complaint(result)})')


def _decoding(path, rate, filters):
    """Returns ffmpeg's command up to where it decodes a video's frames: square pixels, at a steady rate if given."""
    filters = ([f'fps={rate}'] if rate else []) + filters + ['scale=trunc(iw*sar):ih']
    return _reading(path, '-v', 'error') + ['-map', '0:v:0', '-an', '-vf', ','.join(filters)]


def _reading(path, *options):
    """Returns ffmpeg's command up to its input: a file of this machine, and no address that a file may hold."""
    return [ffmpeg(), '-nostdin', *options, '-protocol_whitelist', 'file,pipe', '-i', str(Path(path).resolve())]


def _run(command, **options):
    result = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, **options)
    if result.returncode < 0:
        raise UnavailableError(f'ffmpeg crashed (signal {-result.returncode}); name a newer one with the variable '
                               'IMAGEIO_FFMPEG_EXE, or make an MP4 of the video with another program')
    return result


def _complaint(result):
    """Returns the first thing ffmpeg complained of, without the address of what complains."""
    lines = result.stderr.decode('utf-8', 'replace').strip().splitlines() or ['no frame in it']
    return re.sub(r'^\[(\S+) @ \w+\] ', '', lines[0])


def ffmpeg():
    """Returns the path of the ffmpeg program: imageio-ffmpeg's own, or the system's.

    Raises:
      UnavailableError: there is none.
    """
    try:
        import imageio_ffmpeg
        program = imageio_ffmpeg.get_ffmpeg_exe()
        if not shutil.which(program):  # what IMAGEIO_FFMPEG_EXE names is taken unseen
            raise UnavailableError(f'{program}: no program that can be run; correct the variable IMAGEIO_FFMPEG_EXE')
        return program
    except (ImportError, RuntimeError):
        raise UnavailableError('no ffmpeg, which reads and writes videos and GIFs: pip install imageio-ffmpeg, '
                               "or install your system's ffmpeg; a folder of PNG frames (an --output without "
                               'extension) needs none')
