"""How well style transfer keeps the drawing, regions apart and films calm: the figures of docs/style_transfer.md.

    python tests/benchmarks/style_control.py drawing --size 160 --iterations 100
    python tests/benchmarks/style_control.py regions --size 160 --iterations 150
    python tests/benchmarks/style_control.py motion --size 128 --iterations 100
    python tests/benchmarks/style_control.py noise --size 128 --iterations 100
    python tests/benchmarks/style_control.py start --size 128 --iterations 60

drawing: pairs of a photograph and a painting (--pairs CONTENT:STYLE ..., names of docs/samples or files), without and
with each of --laplacian-weights: the correlation of the result's gradient with the photograph's, and the style loss.
regions: two styles of two colors each, in the left and the right half of a portrait: how far the mean color of each
half is from its style's. motion: a photograph that moves by fractions of a pixel, a square over it: how far each
painted frame is from the one before, warped by the true motion, where both show the same. noise: a photograph that
stands still, under the noise of a camera: how far painted frames are from the ones before. Both beside the same frames
painted one by one, at 0.3 of the iterations (--film FILE: as filmed, as a film, one by one). start: how many iterations
a frame takes from the painted frame before it, without and with the temporal loss, until its other losses add up to
what they do from the photograph after all of them. Further options are passed on to the recipe.
"""
import argparse
import sys
import tempfile
from pathlib import Path

import numpy as np
from scipy import ndimage

PROJECT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(PROJECT / 'recipes'))

import style_transfer  # noqa: E402
from common import film, images, runs  # noqa: E402
from common.metrics import read_metrics  # noqa: E402
from synthesis import consistency, motion, sizes  # noqa: E402

PAIRS = ('hopper:starry_night', 'tubingen:the_scream', 'chelsea:great_wave', 'astronaut:starry_night',
         'flowers:the_scream', 'coffee:great_wave')
COLORS = {'warm': ((196, 60, 40), (236, 170, 60)), 'cold': ((30, 60, 140), (70, 150, 150))}
MARGIN = 8  # pixels beside the border between regions that are left out


def sample(name):
    """Returns the path of a picture of docs/samples, or of another one that is named with its extension."""
    return PROJECT / 'docs' / 'samples' / f'{name}.jpg' if '.' not in name else Path(name)


def paint(folder, *argv):
    """Runs the recipe; returns the record of each picture of its run."""
    code = style_transfer.main(['--quiet', '--output-dir', str(folder), *map(str, argv)])
    assert code == 0
    return runs.read_record(folder / 'style_transfer' / 'latest')['pictures']


def correlation(image, other):
    """Returns the correlation of the gradients of two images' luminances, down and across."""
    gradients = [np.concatenate([part.ravel() for part in np.gradient(images.to_gray(picture))])
                 for picture in (image, other)]
    return np.corrcoef(*gradients)[0, 1]


def drawing(folder, options, weights, pairs):
    """Prints a line for each pair and weight, and the medians and ranges."""
    found = {weight: [] for weight in [0, *weights]}
    for content, style in (pair.split(':') for pair in pairs):
        for weight, of_weight in found.items():
            record, = paint(folder, '--content', sample(content), '--style', sample(style), *options,
                            '--laplacian-weight', weight)
            result = images.load_image(record['path'])
            photo = images.resize_image(images.load_image(sample(content)), *result.shape[:2])
            of_weight.append((correlation(result, photo), record['style_loss']))
            ratios = np.divide(of_weight[-1], found[0][-1])
            print(f'{Path(content).stem}, {Path(style).stem}, weight {weight}: correlation {of_weight[-1][0]:.3f} '
                  f'({ratios[0]:.2f} x), style loss {of_weight[-1][1]:.0f} ({ratios[1]:.3f} x)  {record["path"]}',
                  flush=True)
    for weight in weights:
        gains, losses = np.divide(found[weight], found[0]).T
        print(f'weight {weight}: correlation {np.median(gains):.2f} x ({gains.min():.2f} to {gains.max():.2f}), style '
              f'loss {np.median(losses):.3f} x ({losses.min():.3f} to {losses.max():.3f}); '
              f'{np.sum((gains >= 1.2) & (losses <= 1.05))} of {len(gains)} pairs: at least 1.2 x at at most 1.05 x')


def write_two_colors(path, colors, size=256):
    """Writes blobs of one color in another; returns the mean color."""
    random = np.random.RandomState(sum(colors[0]))
    noise = images.resize_image(random.rand(size // 8, size // 8), size, size)
    image = np.where((noise > np.median(noise))[..., np.newaxis], *map(np.array, colors))
    image = image + random.normal(0, 6, [size, size, 1])
    images.save_image(path, np.clip(image, 0, 255))
    return images.load_image(path).mean(axis=(0, 1))


def regions(folder, options):
    """Prints the mean colors of both halves."""
    paths = {name: folder / f'{name}.png' for name in COLORS}
    means = {name: write_two_colors(paths[name], colors) for name, colors in COLORS.items()}
    left = np.zeros((64, 64, 3))
    left[:, :32] = 255
    for name, mask in (('left', left), ('right', 255 - left)):
        images.save_image(folder / f'{name}.png', mask)
    record, = paint(folder, '--content', sample('hopper'), '--style', *paths.values(), '--mask', folder / 'left.png',
                   folder / 'right.png', *options)
    result = images.load_image(record['path'])
    middle = result.shape[1] // 2
    for name, half in (('warm', result[:, :middle - MARGIN]), ('cold', result[:, middle + MARGIN:])):
        mean = half.mean(axis=(0, 1))
        print(f'{name}: style {means[name].round(1)}, region {mean.round(1)}, off by at most '
              f'{np.abs(mean - means[name]).max():.1f}')
    print(f'result: {record["path"]}')


# ---- Films ----

NUM_FRAMES, NOISE = 5, 4.0  # gray levels, standard deviation
STEP, SQUARE_STEP = (0.6, 1.3), (-1.4, 2.7)  # pixels down and right from frame to frame
SQUARE, SQUARE_SIDE, EDGE = (34.0, 20.0), 32, 2.0  # where it begins, how large it is, what is left out at its edges


def moving_clip(size):
    """Returns (frames, true motions, where these hold): lists of arrays; the last two of each frame after the first."""
    height, width = round(size * 0.75), size
    photo = images.resize_image(images.load_image(sample('tubingen')), height + 16, width + 24)
    texture = images.resize_image(images.load_image(sample('flowers')), SQUARE_SIDE + 1, SQUARE_SIDE + 1)
    rows, columns = still = np.mgrid[:height, :width].astype(np.float32)

    def inside(number, place, margin):
        within = [SQUARE[axis] + number * SQUARE_STEP[axis] for axis in range(2)]
        return np.all([(place[axis] >= within[axis] + margin) & (place[axis] <= within[axis] + SQUARE_SIDE - margin)
                       for axis in range(2)], axis=0)

    def sampled(image, place):
        return np.stack([ndimage.map_coordinates(image[..., channel], place, order=3, mode='nearest')
                         for channel in range(3)], axis=-1)
    clip, motions, certain = [], [], []
    for number in range(NUM_FRAMES):
        frame = sampled(photo, [rows + number * STEP[0], columns + number * STEP[1]])
        over = sampled(texture, [still[axis] - SQUARE[axis] - number * SQUARE_STEP[axis] for axis in range(2)])
        square = inside(number, still, 0)
        clip.append(np.clip(np.where(square[..., np.newaxis], over, frame), 0, 255))
        if number:
            back = np.where(square, *(still + np.reshape(step, (2, 1, 1)) for step in (np.negative(SQUARE_STEP), STEP)))
            seen = (back >= 0).all(axis=0) & (back[0] <= height - 1) & (back[1] <= width - 1)
            hidden = ~square & inside(number - 1, back, -EDGE)
            edge = inside(number, still, -EDGE) & ~inside(number, still, EDGE)
            motions.append(back.astype(np.float32))
            certain.append(seen & ~hidden & ~edge)
    return clip, motions, certain


def noisy_clip(size):
    """Returns the same of a photograph that stands still."""
    photo = images.resize_image(images.load_image(sample('tubingen')), round(size * 0.75), size)
    random, still = np.random.RandomState(0), np.mgrid[:photo.shape[0], :photo.shape[1]].astype(np.float32)
    clip = [np.clip(photo + random.normal(0, NOISE, photo.shape), 0, 255) for _ in range(NUM_FRAMES)]
    return clip, [still] * (NUM_FRAMES - 1), [np.ones(photo.shape[:2], bool)] * (NUM_FRAMES - 1)


def save_clip(folder, clip):
    """Saves frames where the recipe is to find them."""
    for number, frame in enumerate(clip):
        images.save_image(film.frame_path(folder / 'clip', number), frame)


def compare(folder, options, film_path, clip, motions, certain):
    """Paints a clip as a film and one by one; prints how far frames are from those before, and the losses."""
    save_clip(folder, clip)
    common = ['--content', folder / 'clip', '--style', sample('starry_night'), *options]
    paths, losses = {}, {}
    for name, more in (('film', ['--frames', NUM_FRAMES]), ('one by one', [])):
        assert style_transfer.main(['--quiet', '--output-dir', str(folder), *map(str, common + more)]) == 0
        run_dir = (folder / 'style_transfer' / 'latest').resolve()
        if name == 'film':
            rows = read_metrics(run_dir / 'metrics.csv')
            losses[name] = [row['total'] - row['temporal'] for row in rows]
            print('film:', ', '.join(f'{row["iterations"]} iterations, cut {row["cut"]}' for row in rows))
        else:
            losses[name] = [picture['total_loss'] for picture in runs.read_record(run_dir)['pictures']]
        paths[name] = sorted((run_dir / 'frames').iterdir()) if name == 'film' else [
            run_dir / f'{path.stem}_starry_night.png' for path in sorted((folder / 'clip').iterdir())]
    if film_path:
        show_beside(film_path, folder / 'beside', clip, *paths.values())
    ratio_of(motions, certain, paths, 'all that both frames show')
    trusted = [consistency.reliable_flow(old, new)[1] > 0 for old, new in zip(clip, clip[1:])]
    ratio_of(motions, [shown & own for shown, own in zip(certain, trusted)], paths, 'of it, where c is 1')
    print(f'loss of the frames after the first, without the temporal one: '
          f'{np.mean(losses["film"][1:]) / np.mean(losses["one by one"][1:]):.3f} x')


def show_beside(path, folder, clip, *paths):
    """Makes a film of a clip and what was painted of it, side by side."""
    for number, (frame, *painted) in enumerate(zip(clip, *paths)):
        images.save_image(film.frame_path(folder, number), np.concatenate(
            [frame, *map(images.load_image, painted)], axis=1))
    film.write_film(path, folder, len(clip), 5)


def ratio_of(motions, certain, paths, where):
    """Prints how far painted frames are from those before, of a film and one by one."""
    off = {}
    for name, found in paths.items():
        frames = [images.load_image(path) for path in found]
        differences = [(new - motion.warp(old, flow, order=3))[shown] for old, new, flow, shown in zip(
            frames, frames[1:], motions, certain)]
        off[name] = [(np.sqrt(np.mean(np.square(part))), np.abs(part).mean()) for part in differences]
        print(f'{name}, {where}: root mean square {np.round([found for found, _ in off[name]], 2)}, mean absolute '
              f'{np.round([found for _, found in off[name]], 2)}')
    square, absolute = (np.divide(*(np.sum(np.power(off[name], power), axis=0) for name in ('film', 'one by one')))
                        for power in (2, 1))
    print(f'{where} ({np.mean(certain):.1%} of the pixels): root mean square {np.sqrt(square[0]):.3f} x, mean absolute '
          f'{absolute[1]:.3f} x')


def start(folder, options, clip, iterations):
    """Prints how many iterations frames take from the one before until they are where the photograph leads in all."""
    save_clip(folder, clip)
    stylize, shares = style_transfer.stylize, []

    def curves(sess, graph, content, styles, scales, begin, record, add_loss=None, **more):
        if add_loss:
            losses = {}
            full = [scales[0]._replace(iterations=iterations)]
            for name, *how in (('photograph', sizes.plan_scales(*scales[0].size, iterations), content, {}),
                               ('frame before, no temporal loss', full, begin, {}),
                               ('frame before', full, begin, {'add_loss': add_loss})):
                found, (planned, first, extra) = [], how
                stylize(sess, graph, content, styles, planned, first, **extra, **more,
                        record=lambda *step, total, temporal, **rest: found.append(total - temporal))
                losses[name] = found
            reached = losses['photograph'][-1]
            shares.append([next((number for number, loss in enumerate(losses[name], 1) if loss <= reached), np.nan)
                           / iterations for name in list(losses)[1:]])
            print(f'loss {reached:.0f} after {iterations} iterations from the photograph;', '; '.join(
                f'{name}: {share:.2f} x, {losses[name][scales[0].iterations - 1] / reached:.3f} of the loss after '
                f'{scales[0].iterations}, {losses[name][-1] / reached:.3f} after all'
                for name, share in zip(list(losses)[1:], shares[-1])), flush=True)
            more['add_loss'] = add_loss
        return stylize(sess, graph, content, styles, scales, begin, record=record, **more)
    style_transfer.stylize = curves
    assert style_transfer.main(['--quiet', '--output-dir', str(folder), '--content', str(folder / 'clip'), '--style',
                                str(sample('starry_night')), '--frames', str(len(clip)), *options]) == 0
    print(f'iterations until the loss is the same: {np.mean(shares, axis=0).round(3)} x')


if __name__ == '__main__':
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('what', choices=('drawing', 'regions', 'motion', 'noise', 'start'))
    parser.add_argument('--size', default='160')
    parser.add_argument('--iterations', default='150')
    parser.add_argument('--laplacian-weights', nargs='+', type=float, default=[0.25, 0.5])
    parser.add_argument('--pairs', nargs='+', default=PAIRS)
    parser.add_argument('--film', type=Path)
    parser.add_argument('--output-dir', type=Path)
    args, more = parser.parse_known_args()
    folder = args.output_dir or Path(tempfile.mkdtemp())
    folder.mkdir(parents=True, exist_ok=True)
    options = ['--size', args.size, '--iterations', args.iterations, *more]
    if args.what == 'drawing':
        drawing(folder, options, args.laplacian_weights, args.pairs)
    elif args.what == 'regions':
        regions(folder, options)
    elif args.what == 'start':
        start(folder, options, moving_clip(int(args.size))[0][:3], int(args.iterations))
    else:
        compare(folder, options, args.film, *(moving_clip if args.what == 'motion' else noisy_clip)(int(args.size)))
