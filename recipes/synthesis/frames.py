"""A film made frame by frame: its options, where its frames start from, and the run that makes the missing ones."""
import hashlib
import sys
import time

import numpy as np

from common import cli, film, files, images, runs
from common.errors import ComputationError, InputError, note
from common.metrics import curve
from synthesis import content, motion
from synthesis.objectives import warn_if_inactive
from synthesis.octaves import scale_steps
from synthesis.shared_run import InterruptibleRun

OPTIONS = ('zoom', 'rotate', 'frames', 'frame_blend', 'fps')
ZOOM, NUM_FRAMES = 1.05, 100    # of a film that begins with an image
FRAME_BLEND = 0.7               # of a video
FRAMES = 'frames'               # the folder in a run that the frames are saved in
METRICS = ('frame', 'seconds', 'objective_before', 'objective')


def add_options(parser):
    """Adds the options that make a film to the recipe's."""
    films = parser.add_argument_group('films', 'made from an image, a video or a folder of frames')
    films.add_argument('--zoom', type=cli.real_number(0.5, 2), metavar='X',
                       help=f'zoom into an image, factor per frame (default: {ZOOM}; 1 if --rotate is given)')
    films.add_argument('--rotate', type=cli.real_number(-180, 180), metavar='DEG',
                       help='rotate it clockwise, degrees per frame (default: 0)')
    films.add_argument('--frames', type=cli.whole_number(1), metavar='N',
                       help=f'number of frames (default: {NUM_FRAMES}, or all of a video)')
    films.add_argument('--frame-blend', type=cli.real_number(0, 1), metavar='X',
                       help="fraction of the previous frame's change that a video's frame starts with, warped with "
                       f'optical flow; saves as many steps (default: {FRAME_BLEND})')
    films.add_argument('--fps', type=cli.real_number(0.1, 240), metavar='N',
                       help=f"frames per second (default: a video's own, else {film.FRAMES_PER_SECOND})")


def asked_by(args):
    """Returns what asks for a film, as the command line has it: one of these options, the output, a video; or None."""
    options = ['--' + name.replace('_', '-') for name in OPTIONS if getattr(args, name) is not None]
    output = [args.output] if args.output and args.output.suffix.lower() in (film.GIF, film.MP4) else []
    videos = filter(film.is_video, args.content or ())
    return next(iter(options + [f'--output {path}' for path in output] + [f'--content {path}' for path in videos]),
                None)


def is_wanted(args):
    """Tells whether the options ask for a film, or the run to resume is one."""
    return runs.read_record(args.run_dir).get('film', False) if args.run_dir else asked_by(args) is not None


def check_options(args):
    """Finds out before the work whether what is asked for can be written where it is wanted."""
    if is_wanted(args):
        check_output(args)
    elif args.output and not args.output.suffix:
        raise InputError(f'--output {args.output}: an image needs an extension such as .png; for a folder of frames, '
                         'add --frames')


def check_output(args):
    """Finds out before the work whether a film can be written where it is wanted; see film.check_output."""
    if vars(args).get('save_every'):  # not every recipe has that option
        raise InputError(f'--save-every {args.save_every}: a film keeps every frame, and no steps between')
    film.check_output(args.output or (args.run_dir or args.output_dir) / 'film.mp4',
                      '--output' if args.output else '--output-dir')


def open_source(args, load_image):
    """Opens what a film is to be made from.

    Args:
      args: the options; content is a list of Path, or None for the raccoon.
      load_image: function of a Path; returns float32 [height, width, 3] in [0, 255].

    Returns:
      ImageSource or VideoSource.

    Raises:
      InputError: options that do not go together, or what is to be read cannot be.
      UnavailableError: no ffmpeg.
    """
    path, *more = args.content or [content.RACCOON]
    if more:
        raise InputError('--content: a film is made from one image, one video or one folder of frames, not of '
                         f'{len(more) + 1}')
    moves = args.zoom is not None or args.rotate is not None
    is_film = path.is_dir() or film.is_video(path) and not (moves and path.suffix.lower() in film.ANIMATIONS)
    if not is_film or str(path) == content.NOISE:  # whatever there may be of that name
        if args.frame_blend is not None:
            raise InputError(f'--frame-blend needs a video or a folder of frames; {path} is an image')
        if images.load_alpha(path) is not None:
            note('transparency', f'{path}: what is transparent shows white; a film has no transparency')
        zoom = args.zoom or (1.0 if moves else ZOOM)
        return ImageSource(path, load_image(path), args.frames or NUM_FRAMES, zoom, args.rotate or 0.0, args.fps)
    if moves:
        raise InputError(f'--{"rotate" if args.zoom is None else "zoom"} needs an image; {path} is a film')
    source = VideoSource(film.open_film(path, args.fps, args.frames),
                         FRAME_BLEND if args.frame_blend is None else args.frame_blend, args.size)
    if args.frames and args.frames > source.num_frames and not source.problems:
        print(f'warning: --frames {args.frames}: the film has only {source.num_frames}', file=sys.stderr)
    if source.blend and motion.opencv() is None:
        print('warning: no OpenCV, so changes do not follow the motion: pip install '
              'opencv-python-headless', file=sys.stderr)
    return source


class ImageSource:
    """A camera that zooms into an image and turns: each frame starts from the last one, moved.

    Args:
      path: Path, what the image is loaded from.
      image: float32 [height, width, 3] in [0, 255], where it begins.
      num_frames: int.
      zoom: float, factor by which the image grows from frame to frame.
      degrees: float, by which it turns clockwise from frame to frame.
      fps: float, frames per second, or None.

    Attributes: those of VideoSource; blend is 0, sound is None.
    """

    blend, sound, problems = 0.0, None, []

    def __init__(self, path, image, num_frames, zoom=1.0, degrees=0.0, fps=None):
        self.path, self.first, self.num_frames = path, image, num_frames
        self.fps = fps or film.FRAMES_PER_SECOND
        self.motion = motion.camera(*image.shape[:2], zoom=zoom, degrees=degrees)

    def frame(self, number, last):
        """Returns what a frame starts from, twice: there is nothing else that it shows.

        Args:
          number: int, from 0.
          last: float32 [height, width, 3], the frame before as it was saved; None for the first.
        """
        start = self.first if last is None else motion.warp(last, self.motion, order=3)
        return start, start

    def facts(self):
        """Returns a dict of what must not change before the film is resumed."""
        return {'inputs': content.digest(self.first), 'optical_flow': False}


class VideoSource:
    """A video, or a folder of frames: each frame starts from what was filmed and a fraction of the last one's change.

    That change is warped with optical flow, and dropped where the warped frame does not match.

    Args:
      source: film.Film.
      blend: float in [0, 1], that fraction.
      size: int, pixels of the longer side, or None for the video's own.

    Attributes:
      path: the video's, or the folder's.
      first: float32 [height, width, 3] in [0, 255], the first frame as it was filmed.
      num_frames, fps.
      blend: the fraction of a frame's work that its start saves.
      sound: Path of the video whose sound goes with it; None for a folder's frames.
      problems: list of str, what of it cannot be read and why.
    """

    def __init__(self, source, blend=0.0, size=None):
        self.source, self.path, self.blend = source, source.path, blend
        self.size = source.height, source.width
        if size:
            self.size = images.fit_size(*self.size, longer_side=size, upscale=True)
        self.num_frames, self.fps, self.problems = source.num_frames, source.fps, source.problems
        self.sound = None if source.paths or source.shown else source.path
        self.first, self._filmed, self._old = next(self.read(0)), None, None

    def read(self, start):
        """Yields the frames as they were filmed, float32 [height, width, 3] in [0, 255], from number `start`."""
        for frame in film.read_frames(self.source, start):
            yield images.resize_image(frame, *self.size)

    def frame(self, number, last):
        """Returns what a frame starts from, and what it shows as it was filmed.

        Args:
          number: int, from 0; one after the other, but the first that is asked for can be any.
          last: float32 [height, width, 3], the frame before as it was saved; None for the first.

        Returns:
          (float32 [height, width, 3], float32 [height, width, 3]).
        """
        if self._filmed is None:
            self._filmed = self.read(max(number - 1, 0))
            self._old = next(self._filmed) if number else None
        old, new = self._old, next(self._filmed)
        self._old = new
        if number + 1 == self.num_frames:
            self._filmed.close()  # ends ffmpeg, which would otherwise wait until the film is written, too
        if last is None or not self.blend:
            return new, new
        return np.clip(new + self.blend * motion.warp_change(last - old, old, new), 0, 255), new

    def facts(self):
        """Returns a dict of what must not change before the film is resumed."""
        paths = self.source.paths or [self.source.path]
        return {'inputs': hashlib.sha256(''.join(map(files.digest, paths)).encode()).hexdigest(),
                'optical_flow': self.blend > 0 and motion.opencv() is not None}


def frame_seed(seed, number):
    """Returns a frame's seed: one of its own, or tiles would leave their seams in the same places again and again.

    Args:
      seed: int, the film's; the first frame has the same.
      number: int, the frame's, from 0.
    """
    return seed if number == 0 else int(np.random.RandomState([seed, number]).randint(2 ** 31))


class FilmRun(InterruptibleRun):
    """The run of a film: frames, metrics, the film itself. A context manager: Ctrl-C waits for the end of the step.

    Args:
      run_dir: Path, the run's folder.
      source: ImageSource or VideoSource.
      quiet: bool, show no progress.
      columns: names of the columns of metrics.csv.
    """

    def __init__(self, run_dir, source, quiet=False, columns=METRICS):
        self.folder, self.source = run_dir / FRAMES, source
        self.folder.mkdir(exist_ok=True)
        done = film.count_frames(self.folder)
        super().__init__(run_dir, columns, source.num_frames, done, 'frame', quiet)
        self.seconds_resumed = sum(self._column('seconds'))
        self.recorded_seconds = done == source.num_frames and runs.read_record(run_dir).get('seconds')

    def make_frames(self, octaves, seed, ascend, finish):
        """Dreams on the frames that are not saved yet, each started from the one before as it is saved.

        Args:
          octaves: list of Octave; a frame that starts from a fraction of a dream takes so many steps less.
          seed: int.
          ascend: function of an image, octaves, seed and report, which is called after every step; returns the dream
            and float64 [num_octaves, 2], the objective before each octave and in its last step.
          finish: function of a dream and what its frame shows; returns float32 [height, width, 3] in [0, 255].

        Raises:
          ComputationError: a dream failed; the frames so far are saved.
          cli.Interrupted: after Ctrl-C.
        """
        for number in range(self.progress.done, self.source.num_frames):
            began = time.monotonic()
            last = images.load_image(film.frame_path(self.folder, number - 1)) if number else None
            start, shown = self.source.frame(number, last)
            planned = [scale_steps(octave, 1 - self.source.blend) for octave in octaves] if number else octaves
            try:
                image, values = ascend(start, planned, seed=frame_seed(seed, number), report=self.check_stop)
            except cli.StopBetweenTiles:
                self.check_stop()
            except ComputationError as error:
                raise ComputationError(f'{error}; the frames so far are in {self.folder}')
            frame, (before, objective) = finish(image, shown), values[-1]
            self.save_frame(number, frame, time.monotonic() - began, {'objective': objective}, objective_before=before,
                            objective=objective)
        warn_if_inactive(self._column('objective'))

    def _column(self, name):
        return curve(self.log.rows, name, 'frame')[1]

    def save_frame(self, number, frame, seconds, shown=None, **figures):
        """Takes note of a frame and saves it.

        Args:
          number: int, from 0.
          frame: float32 [height, width, 3] in [0, 255].
          seconds: float, what it took.
          shown: dict of figures for the progress, or None.
          **figures: further columns of metrics.csv.

        Raises:
          cli.Interrupted: after Ctrl-C, if frames are missing.
        """
        self.progress.update(shown)
        # The row comes first: that of a frame that is then lost is written again, the other way round it would be
        # missing for good.
        self.log.append(frame=number + 1, seconds=round(seconds, 3), **figures)
        images.save_image(film.frame_path(self.folder, number), frame)
        if number + 1 < self.source.num_frames:
            self.check_stop()

    def check_stop(self, *unused):
        """Raises cli.Interrupted after Ctrl-C."""
        if self.stop.requested:
            raise cli.Interrupted(f'after {self.progress.done} of {self.progress.total} frames, which are in '
                                  f'{self.folder}')

    def conclude(self, path, skipped, started, done='dreamed'):
        """Makes the film of the frames, records the results and prints them.

        Args:
          path: Path of the film.
          skipped: list of str, what could not be read.
          started: float, when the command began (`time.monotonic()`).
          done: str, what was done to the frames.

        Returns:
          int, the exit code: 2 where something was skipped, else 0.
        """
        film.write_film(path, self.folder, self.source.num_frames, self.source.fps, self.source.sound)
        seconds = self.recorded_seconds or self.seconds_resumed + time.monotonic() - started
        per_frame = np.mean(self._column('seconds'))
        height, width = self.source.first.shape[:2]
        figures = {'frames': self.source.num_frames, 'seconds_per_frame': per_frame}
        record = dict(figures, content=self.source.path, path=path, height=height, width=width,
                      fps=float(self.source.fps))
        runs.write_record(self.run_dir, pictures=[record], left_out=skipped, seconds=seconds, versions=runs.versions(),
                          results=dict(figures, pictures=1, seconds=seconds))
        print(f'{cli.plural(self.source.num_frames, "frame")} {done}, {per_frame:.2f} s each: {path}')
        return 2 if skipped else 0
