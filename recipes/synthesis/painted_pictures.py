"""Pictures in style transfer: the loop over them, and what a run leaves of them."""
from functools import partial

from common import images, plotting
from synthesis import color, jobs, memory, sizes


def paint(run, todo, paint_picture, make_start, finish, args):
    """Paints the pictures that are not finished yet.

    Args:
      run: PictureRun.
      todo: list of jobs.Job.
      paint_picture, make_start, finish: see painted_film.paint.
      args: the options.

    Raises:
      ComputationError: a loss is not finite.
    """
    for job in run.remaining(todo):
        with run.keeping(job.name, images.load_alpha(job.content)) as checkpoint:
            content, styles = jobs.load_image(job.content), [jobs.load_image(path) for path in job.styles]
            run.finish = partial(finish, content=content)
            content_image, style_images = color.prepare(content, styles, args.preserve_color)
            scales = sizes.plan_scales(*job.size, args.iterations, args.scales)
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
