"""How near fast style transfer comes to style_transfer.py's own result on the same pair: both losses, and the times.

    python tests/benchmarks/fast_style_quality.py --content photo.jpg --style docs/samples/starry_night.jpg

The photograph is painted three times with default settings: by style_transfer.py, in the style that fast style
transfer learns of the painting, and in the one that it predicts. A line each says what style_transfer.py's loss makes
of the result, what the relative style loss of docs/fast_style_transfer.md does, and how long it took.
"""
import argparse
import sys
import tempfile
import time
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(PROJECT / 'recipes'))

import fast_style_transfer  # noqa: E402
import style_transfer  # noqa: E402
from common import cli, images, session  # noqa: E402
from common.session import tf  # noqa: E402
from networks import style_networks, vgg  # noqa: E402
from synthesis import sizes  # noqa: E402


def run(recipe, folder, *argv):
    """Runs a recipe; returns its seconds by the clock and of the processor."""
    began, used = time.monotonic(), time.process_time()
    assert recipe.main(['--quiet', '--output-dir', str(folder), *map(str, argv)]) == 0
    return time.monotonic() - began, time.process_time() - used


def paint(folder, content, style, size):
    """Paints in each way; returns a dict from what was done to (path of the result, seconds, processor seconds)."""
    found, pair = {}, ('--content', content, '--size', size)
    for name, recipe, argv in (
            ('style_transfer.py', style_transfer, (*pair, '--style', style)),
            ('learned', fast_style_transfer, ('--learn', style)),
            ('painted as learned', fast_style_transfer, (*pair, '--style', style.stem)),
            ('painted as predicted', fast_style_transfer, (*pair, '--style', style))):
        path = folder / f'{name}.png'
        found[name] = (path, *run(recipe, folder, *argv, '--output', path))
    return found


def judges(models_dir, content, style):
    """Returns functions of an image: style_transfer.py's losses of it at full size, and the relative style loss."""
    weights = style_transfer.LossWeights()
    network, source = vgg.load_network(models_dir, weights.layers, 'vgg16')
    print(f'loss of {source}')
    with tf.Graph().as_default() as tf_graph:
        graph = style_transfer.build_graph(network, weights)
        relative = fast_style_transfer.build_learning_graph(
            style_networks.obtain('multistyle', models_dir)[0], vgg.obtain_weights(models_dir, 'vgg16')[1])
    sess = session.open_session(tf_graph)
    targets = fast_style_transfer.style_targets(
        sess, relative, images.fit(style, fast_style_transfer.PAINTING_SIZE))

    def losses(image):
        scale = sizes.Scale(*content.shape[:2], iterations=0)
        return style_transfer.stylize(sess, graph, content, [style], [scale], start=image)[1]
    return losses, lambda image: sess.run(relative.losses.style, {relative.painting.painted: image[None], **targets})


def main():
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--content', type=Path, required=True)
    parser.add_argument('--style', type=Path, required=True)
    parser.add_argument('--size', type=int, default=256)
    parser.add_argument('--output-dir', type=Path)
    args = parser.parse_args()
    folder = args.output_dir or Path(tempfile.mkdtemp())
    found = paint(folder, args.content, args.style, args.size)
    content = images.fit(images.load_image(args.content), args.size)
    losses, relative = judges(cli.default_dir('models'), content, images.load_image(args.style))
    for name, (path, seconds, processor) in {'photograph': (None, 0, 0), **found}.items():
        image = images.load_image(path) if path else content
        took = f'{seconds:.1f} s, {processor:.1f} s of processor time'
        if name == 'learned':  # its proof is of another photograph
            print(f'{name}: {took}')
            continue
        judged = losses(image)
        print(f'{name}: loss {judged.total:.0f} (content {judged.content:.0f}, style {judged.style:.0f}), relative '
              f'style loss {relative(image):.3f}; {took}', flush=True)
    print(f'results: {folder}')


if __name__ == '__main__':
    main()
