"""The loops of style transfer, over pictures and over the frames of a film; which film is asked for."""
import contextlib
import sys
import time
from functools import partial

from common import cli, film, images, plotting
from common.errors import ComputationError, InputError
from synthesis import color, consistency, frames, jobs, memory, motion
from synthesis.sizes import Scale, plan_scales

TEMPORAL_WEIGHT = 300.0
FRAME_SHARE = 0.3  # of the iterations: what a frame takes that starts from the one before
COLUMNS = ('frame', 'seconds', 'iterations', 'cut', 'total', 'content', 'style', 'temporal')


# ---- Pictures ----

def paint_pictures(run, todo, paint_picture, make_start, finish, args):
    """Paints the pictures that are not finished yet.

    Args:
      run: PictureRun.
      todo: list of jobs.Job.
      paint_picture, make_start, finish: see paint_film.
      args: the options.

    Raises:
      ComputationError: a loss is not finite.
    """
    for job in run.remaining(todo):
        with run.keeping(job.name, images.load_alpha(job.content)) as checkpoint:
            content, styles = jobs.load_image(job.content), [jobs.load_image(path) for path in job.styles]
            run.finish = partial(finish, content=content)
            content_image, style_images = color.prepare(content, styles, args.preserve_color)
            scales = plan_scales(*job.size, args.iterations, args.scales)
            start = make_start(scales[0].size, content_image, style_images)
            run.save_step(0, start)
            image, losses = paint_picture(content_image, style_images, scales, start, record=run.record,
                                          checkpoint=checkpoint)
            save_result(run, run.finish(image), losses, content, styles)


def save_result(run, image, losses, content, styles):
    """Saves a finished image, a sheet with what it is made from, and the curves of its losses."""
    run.save(image, seconds_per_iteration=run.seconds_per_step(), peak_memory=memory.peak(),
             **{f'{name}_loss': value for name, value in losses._asdict().items() if name != 'temporal'})
    plotting.plot_sheet(run.run_dir / f'{run.name}_sheet.png', [content, *styles, image],
                        ['content', *['style'] * len(styles), 'result'])
    drawn = [name for name in losses._fields if name != 'variation' and getattr(losses, name)]
    plotting.plot_curves(run.run_dir / f'{run.name}_losses.png', run.curves(drawn),
                         'Loss per iteration, from coarse to fine', 'iteration', 'loss, with its weight', log=True)


def conclude(run, skipped, **figures):
    """Records the results and prints them in words; returns the exit code."""
    result, detail = run.only_result, None
    if result:
        detail = (f'{result["seconds_per_iteration"]:.2f} s per iteration, peak memory '
                  f'{result.get("peak_memory", 0) / 1e9:.1f} GB, content loss {result["content_loss"]:.4g}, style loss '
                  f'{result["style_loss"]:.4g}')
    return run.conclude('painted', skipped, detail, **dict(result or {}, peak_memory=memory.peak(), **figures))


# ---- Films ----

def add_options(parser):
    """Adds the options of films to the recipe's."""
    add = parser.add_argument_group('films', 'of a video, or a folder of frames').add_argument
    add('--temporal-weight', type=cli.real_number(0), metavar='W',
        help=f'higher: each frame more like those before it (default: {TEMPORAL_WEIGHT})')
    add('--frame-iterations', type=cli.whole_number(1), metavar='N',
        help=f'of a frame that starts from those before it (default: {FRAME_SHARE} of --iterations)')
    add('--frame-seconds', type=cli.real_number(0.01), metavar='S',
        help='longest time for a frame (default: no limit); what gets done in it differs from run to run')
    add('--frames', type=cli.whole_number(1), metavar='N', help='number of frames (default: all)')
    add('--fps', type=cli.real_number(0.1, 240), metavar='N',
        help=f"frames per second (default: a video's own, else {film.FRAMES_PER_SECOND})")


def open_source(args):
    """Opens the film that is asked for.

    Args:
      args: the options; content is a list of Path, or None.

    Returns:
      film.Film; None if pictures are to be painted: a folder is a film where one of the options above is given, or the
      output is one.

    Raises:
      InputError: options that do not go together, or a film that cannot be read.
      UnavailableError: no ffmpeg.
    """
    asked = next((f'--{name.replace("_", "-")}' for name in (
        'temporal_weight', 'frame_iterations', 'frame_seconds', 'frames', 'fps') if getattr(args, name) is not None),
        f'--output {args.output}' if args.output and args.output.suffix.lower() in (film.GIF, film.MP4) else None)
    contents = args.content or []
    if not any(film.is_video(path) or path.is_dir() and asked for path in contents):
        if asked:
            raise InputError(f'{asked} needs a video or a folder of frames: --content FILE')
        return None
    if len(contents) > 1:
        raise InputError(f'--content: a film is painted alone; {len(contents)} are named')
    frames.check_output(args)
    opened = film.open_film(contents[0], args.fps, args.frames)
    if motion.opencv() is None:
        print('warning: no OpenCV, so frames are taken to stand still: pip install opencv-python-headless',
              file=sys.stderr)
    return opened


def of_size(opened, todo):
    """Returns the frames.VideoSource of a film.Film, at the size of the only job.

    Raises:
      InputError: there are several jobs, one for each style.
    """
    if len(todo) > 1:
        raise InputError(f'--content {opened.path}: a film is painted in one style, not in each of {len(todo)}; '
                         '--style-blend makes them one')
    return frames.VideoSource(opened, size=max(todo[0].size))


def facts(source):
    """Returns a dict of what must not change before the film, a frames.VideoSource, is resumed."""
    return {'frames': source.facts()['inputs'], 'optical_flow': motion.opencv() is not None}


def paint_film(run, paint_picture, make_start, finish, styles, args):
    """Paints the frames that are not saved yet, each from those before it.

    Args:
      run: frames.FilmRun.
      paint_picture: function of content image, style images, scales, start and more; see style_transfer.stylize.
      make_start: function of a size, content image and style images to what a first frame starts from.
      finish: function of a painted image and its `content`, to what is saved of it.
      styles: list of float32 [height, width, 3], the style images. With --preserve-color histogram they take the colors
        of the first frame.
      args: the options.

    Raises:
      ComputationError: a loss is not finite; the frames so far are saved.
      cli.Interrupted: after Ctrl-C; likewise.
    """
    size, first = run.source.size, run.source.first
    styles = color.prepare(first, styles, args.preserve_color)[1]
    temporal_weight = TEMPORAL_WEIGHT if args.temporal_weight is None else args.temporal_weight
    short = [Scale(*size, iterations=args.frame_iterations or max(1, round(FRAME_SHARE * args.iterations)))]
    options = {'seconds': args.frame_seconds or float('inf')}
    for number, frame, past in consistency.walk(run.source, run.folder, run.progress.done):
        began, steps = time.monotonic(), []
        content, _ = color.prepare(frame, [], args.preserve_color)
        if past is None:
            scales = plan_scales(*size, args.iterations, args.scales)
            start, add_loss = make_start(scales[0].size, content, styles), {}
        else:
            past = past._replace(target=color.prepare(past.target, [], args.preserve_color)[0])
            scales, start = short, past.start(content)
            add_loss = {'add_loss': partial(past.add_loss, temporal_weight=temporal_weight)}

        def report(*step, **losses):
            steps.append(step)
            run.check_stop()
        with _naming_frames(run):
            painted, losses = paint_picture(content, styles, scales, start, record=report, **options, **add_loss)
        run.save_frame(number, finish(painted, frame), time.monotonic() - began, {'loss': losses.total},
                       iterations=len(steps), cut=int(number > 0 and past is None), **losses._asdict())


@contextlib.contextmanager
def _naming_frames(run):
    try:
        yield
    except cli.StopBetweenTiles:
        run.check_stop()
    except ComputationError as error:
        raise ComputationError(f'{error}; the frames so far are in {run.folder}')
