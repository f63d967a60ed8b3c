"""Measures what a sheet of feature_visualization.py shows: spectrum, the network's own answer, the classes it finds.

    python tests/benchmarks/feature_sheet.py --run output/feature_visualization/RUN
    python tests/benchmarks/feature_sheet.py --run output/feature_visualization/RUN --against folder/of/pictures

The share of spectral energy above 0.25 cycles per pixel, mean over the pictures; of channels the mean activation under
scales and shifts that the optimization does not use (0.81, 0.88, 1.13 and 1.19; the network's grid shifted by up to 13
pixels), also against that of other pictures of the same channels, in the order of their names; of classes, whether
each is among the network's first five on the picture at 0.81 and 1.19 of its size, shifted.
"""
import argparse
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / 'recipes'))

from common import cli, images, runs, session  # noqa: E402
from common.session import tf  # noqa: E402
from networks import inception  # noqa: E402
from synthesis import objectives, sheet_tiles  # noqa: E402

HIGH_FREQUENCY = 0.25       # cycles per pixel
SCALES = 0.8125, 0.875, 1.125, 1.1875
SHIFTS = (0, 0), (3, 11), (13, 5)


def high_share(picture):
    """Returns the share of a picture's spectral energy, its mean left out, above HIGH_FREQUENCY."""
    energy = np.abs(np.fft.fft2(picture - picture.mean(axis=(0, 1)), axes=(0, 1))) ** 2
    height, width = picture.shape[:2]
    frequencies = np.hypot(np.fft.fftfreq(height)[:, np.newaxis], np.fft.fftfreq(width))
    return energy[frequencies > HIGH_FREQUENCY].sum() / energy.sum()


def scaled(picture, scale):
    """Returns a picture at another size."""
    height, width = (round(side * scale) for side in picture.shape[:2])
    return images.resize_image(picture, height, width)


def answers(sess, placeholder, end_points, tiles, pictures):
    """Returns float64 [pictures]: each one's mean activation of its channel over scales and shifts."""
    found = []
    for tile, picture in zip(tiles, pictures):
        activations, first = objectives.branch(end_points[tile['layer']], tile['channel'])
        found.append(np.mean([sess.run(activations, {placeholder: scaled(picture, scale)[np.newaxis, down:, right:]})
                              [..., tile['channel'] - first].mean() for scale in SCALES for down, right in SHIFTS]))
    return np.array(found)


def on_gray(picture, scale, shift):
    """Returns a picture scaled and shifted on gray, at its own size: what leaves it is cut off."""
    side = picture.shape[0]
    small = scaled(picture, scale)
    canvas = np.full((3 * side, 3 * side, 3), 127.5, np.float32)
    top, left = (side + (side - small.shape[0]) // 2 + by for by in shift)
    canvas[top:top + small.shape[0], left:left + small.shape[1]] = small
    return canvas[side:2 * side, side:2 * side]


def main():
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--run', type=Path, required=True)
    parser.add_argument('--against', type=Path)
    parser.add_argument('--models-dir', type=Path, default=cli.default_dir('models'))
    args = parser.parse_args()
    tiles = runs.read_record(args.run)['tiles']
    pictures = [images.load_image(args.run / 'pictures' / tile['file']) for tile in tiles]
    print(f'{len(pictures)} pictures, share above {HIGH_FREQUENCY}: {np.mean(list(map(high_share, pictures))):.3f}')
    graph_def = inception.load_graph_def(args.models_dir / inception.GRAPH_FILE)
    with tf.Graph().as_default() as graph:
        placeholder = tf.placeholder(tf.float32, [None, None, None, 3])
        end_points = inception.inception(placeholder, graph_def)
    with session.open_session(graph) as sess:
        logits = sheet_tiles.find_logits(end_points)
        classes = [(tile, picture) for tile, picture in zip(tiles, pictures) if tile['layer'] == logits]
        hits = 0
        for tile, picture in classes:
            seen = np.stack([on_gray(picture, 0.8125, (13, -17)), on_gray(picture, 1.1875, (-11, 9))])
            ranks = [int((row > row[tile['channel']]).sum()) + 1 for row in sess.run(end_points[logits],
                                                                                     {placeholder: seen})]
            hits += max(ranks) <= 5
            print(f'{tile["caption"]}: rank {ranks[0]} and {ranks[1]}')
        if classes:
            print(f'{hits} of {len(classes)} classes among the first five both times')
            return
        own = answers(sess, placeholder, end_points, tiles, pictures)
        print(f'mean activation {own.mean():.4g}')
        if args.against:
            others = [images.load_image(path) for path in sorted(args.against.glob('*.png'))]
            theirs = answers(sess, placeholder, end_points, tiles, others)
            print(f'of the others {theirs.mean():.4g}, their share above {HIGH_FREQUENCY} '
                  f'{np.mean(list(map(high_share, others))):.3f}; ratio {own.mean() / theirs.mean():.2f}; higher for '
                  f'{(own > theirs).sum()} of {len(own)}')


if __name__ == '__main__':
    main()
