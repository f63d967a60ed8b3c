"""A film made frame by frame: its options, what each frame starts from, and the loop that makes the missing ones."""
import hashlib
import time

import numpy as np

from common import cli, files, film, images, runs
from common.errors import InputError
from common.progress import Progress
from synthesis import motion
from synthesis.picture_run import Stoppable

OPTIONS = ('zoom', 'rotate', 'frames', 'frame_blend', 'fps')
# Of a film that begins with a picture, and of one that was filmed.
ZOOM, NUM_FRAMES = 1.05, 100
FRAME_BLEND = 0.7
FRAMES = 'frames'  # the folder in a run where a film's frames are kept


def add_options(parser):
    """Adds the options that make a film."""
    films = parser.add_argument_group('films, out of a picture, a video or a folder of frames')
    films.add_argument('--zoom', type=cli.real_number(0.5, 2), metavar='X', help='move into a picture, so much a '
                       f'frame; by default {ZOOM}, with --rotate 1')
    films.add_argument('--rotate', type=cli.real_number(-180, 180), metavar='DEG', help='turn it clockwise, degrees a '
                       'frame')
    films.add_argument('--frames', type=cli.whole_number(1), metavar='N', help='how many; by default %d, or all of a '
                       'video' % NUM_FRAMES)
    films.add_argument('--frame-blend', type=cli.real_number(0, 1), metavar='X', help="of a video: how much of the "
                       "last frame's change the next one starts with, carried along; it takes so much fewer steps; "
                       f'by default {FRAME_BLEND}')
    films.add_argument('--fps', type=cli.real_number(0.1, 240), metavar='N', help="frames per second; by default a "
                       "video's own, else %d" % film.FRAMES_PER_SECOND)


def asked_by(args):
    """Returns what asks for a film, as the command line has it: one of these options, the output, a video; or None."""
    options = ['--' + name.replace('_', '-') for name in OPTIONS if getattr(args, name) is not None]
    output = [args.output] if args.output and args.output.suffix.lower() in (film.GIF, film.MP4) else []
    videos = filter(film.is_video, args.content or ())
    return next(iter(options + [f'--output {path}' for path in output] + [f'--content {path}' for path in videos]),
                None)


def open_scene(args, load_picture, noise):
    """Finds out what a film is to be made from.

    Args:
      args: the options; content is a list of Path, or None for what load_picture knows.
      load_picture: function of a Path, or None; returns float32 [height, width, 3] in [0, 255].
      noise: str, how --content is written that is no file, whatever there may be of that name.

    Returns:
      Camera or Footage.

    Raises:
      InputError: options that do not go together, or what is to be read cannot be.
      UnavailableError: no ffmpeg.
    """
    path, *more = args.content or [None]
    if more:
        raise InputError('--content: a film is made from one picture, one video or one folder of frames, not of %d'
                         % (len(more) + 1))
    moves = args.zoom is not None or args.rotate is not None
    filmed = path and (path.is_dir() or film.is_video(path) and not (moves and path.suffix.lower() == film.GIF))
    if filmed and str(path) != noise:
        if moves:
            raise InputError('--{} moves into a picture; {} is a film'.format('rotate' if args.zoom is None else 'zoom', path))
        blend = FRAME_BLEND if args.frame_blend is None else args.frame_blend
        return Footage(film.open_film(path, args.fps, args.frames), blend, args.size)
    if args.frame_blend is not None:
        raise InputError('--frame-blend is for a video or a folder of frames; %s is a picture' % (path or 'this'))
    zoom = args.zoom or (1.0 if moves else ZOOM)
    return Camera(load_picture(path), args.frames or NUM_FRAMES, zoom, args.rotate or 0.0, args.fps)


class Camera:
    """A camera that moves into a picture and turns: each frame starts from the last one, moved.

    Args:
      picture: float32 [height, width, 3] in [0, 255], where it begins.
      num_frames: int.
      zoom: float, by which the picture grows from frame to frame.
      degrees: float, by which it turns clockwise from frame to frame.
      fps: float, frames per second, or None.

    Attributes:
      first: the picture.
      num_frames, fps.
      blend: 0, how much less than a whole picture's work there is to do on a frame.
      sound: None.
      mistakes: empty.
    """

    blend, sound, mistakes = 0.0, None, ()

    def __init__(self, picture, num_frames, zoom=1.0, degrees=0.0, fps=None):
        self.first, self.num_frames, self.fps = picture, num_frames, fps or film.FRAMES_PER_SECOND
        self.motion = motion.camera(*picture.shape[:2], zoom=zoom, degrees=degrees)

    def frame(self, number, last):
        """Returns what a frame starts from, twice: there is nothing else that it shows.

        Args:
          number: int, from 0.
          last: float32 [height, width, 3], the frame before as it was kept; None for the first.
        """
        start = self.first if last is None else motion.move(last, self.motion, order=3)
        return start, start

    def digest(self):
        """Returns a checksum of what it is made from."""
        return hashlib.sha256(self.first.tobytes()).hexdigest()


class Footage:
    """A film: each frame starts from what was filmed and a share of what the last frame was changed by, carried along.

    Args:
      source: film.Film.
      blend: float in [0, 1], that share.
      size: int, pixels of the longer side, or None for the film's own.

    Attributes:
      first: float32 [height, width, 3] in [0, 255], the first frame as it was filmed.
      num_frames, fps, blend.
      sound: Path of the video whose sound goes with it; None for a folder's frames.
      mistakes: list of str, what of it cannot be read and why.
    """

    def __init__(self, source, blend=0.0, size=None):
        self.source, self.blend = source, blend
        self.size = source.height, source.width
        if size:
            self.size = images.fit_size(*self.size, longer_side=size, upscale=True)
        self.num_frames, self.fps, self.mistakes = source.num_frames, source.fps, source.problems
        self.sound = None if source.paths else source.path
        self.first, self._filmed, self._old = next(self._read(0)), None, None

    def _read(self, start):
        for frame in film.read_frames(self.source, start):
            yield images.resize_image(frame, *self.size)

    def frame(self, number, last):
        """Returns what a frame starts from, and what it shows as it was filmed.

        Args:
          number: int, from 0; one after the other, but the first that is asked for can be any.
          last: float32 [height, width, 3], the frame before as it was kept; None for the first.

        Returns:
          (float32 [height, width, 3], float32 [height, width, 3]).
        """
        if self._filmed is None:
            self._filmed = self._read(max(number - 1, 0))
            self._old = next(self._filmed) if number else None
        old, new = self._old, next(self._filmed)
        self._old = new
        if number + 1 == self.num_frames:
            self._filmed.close()  # ends ffmpeg, which would otherwise wait until the film is written, too
        if last is None or not self.blend:
            return new, new
        return np.clip(new + self.blend * motion.carry(last - old, old, new), 0, 255), new

    def digest(self):
        """Returns a checksum of its files."""
        paths = self.source.paths or [self.source.path]
        return hashlib.sha256(''.join(map(files.digest, paths)).encode()).hexdigest()


def frame_seed(seed, number):
    """Returns a frame's seed: one of its own, or tiles would leave their seams in the same places again and again.

    Args:
      seed: int, the film's; the first frame has the same.
      number: int, the frame's, from 0.
    """
    return seed if number == 0 else int(np.random.RandomState([seed, number]).randint(2 ** 31))


def make_frames(scene, paint, folder, report):
    """Makes those of a film's frames that a folder does not keep yet, each from the one before as it is kept.

    Args:
      scene: Camera or Footage.
      paint: function of a frame's number, what it starts from and what it shows; returns the finished frame, float32
        [height, width, 3] in [0, 255].
      folder: Path, where the frames are kept; see film.frame_path.
      report: function of no argument, called when a frame is finished, before it is kept. What it notes down of a frame
        that is then lost is written again; the other way round it would be missing for good.
    """
    done = film.count_frames(folder)
    for number in range(done, scene.num_frames):
        last = images.load_image(film.frame_path(folder, number - 1)) if number else None
        frame = paint(number, *scene.frame(number, last))
        report()
        images.save_image(film.frame_path(folder, number), frame)


class Journal(Stoppable):
    """What a film leaves behind besides its frames, and its progress bar. A context manager that Ctrl-C stops.

    Args:
      run_dir: Path, the run's folder.
      num_frames: int.
      columns: names of a frame's figures.
      figures_of: function of what `report` was given last; returns a dict, the figures of the frame.
      quiet: bool, show no progress.

    Attributes:
      folder: Path, where the frames are kept.
      seconds_resumed: float, what the frames took that were there before.
    """

    def __init__(self, run_dir, num_frames, columns, figures_of, quiet=False):
        self.run_dir, self.folder, self.figures_of = run_dir, run_dir / FRAMES, figures_of
        self.folder.mkdir(exist_ok=True)
        done = film.count_frames(self.folder)
        self.progress = Progress(num_frames, done, 'frame', quiet)
        self.log = runs.MetricsLog(run_dir / 'metrics.csv', ('frame', 'seconds', *columns), done)
        self.seconds_resumed, self.began = sum(self.log.column('seconds')[1]), time.time()

    def report(self, step):
        """Takes note of a step within a frame; ends the film where the user asked for that.

        Raises:
          cli.Interrupted: after Ctrl-C.
        """
        self.step = step
        if self.stop.requested:
            raise cli.Interrupted(f'after {self.progress.done} of {self.progress.total} frames, which are in '
                                  f'{self.folder}')

    def frame_done(self):
        """Takes note of a frame that is finished."""
        figures = self.figures_of(self.step)
        self.progress.update(figures)
        self.log.append(frame=self.progress.done, seconds=round(time.time() - self.began, 3), **figures)
        self.began = time.time()
