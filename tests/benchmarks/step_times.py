"""Seconds a step of each recipe's network, on several Pythons in turn: TensorFlow 1.15, TensorFlow 2, a PyTorch loop.

    python tests/benchmarks/step_times.py PYTHON [PYTHON ...] [--only mnist style_256 ...]

Each PYTHON is the interpreter of an environment with one of the stacks, or with PyTorch. Every workload runs in a
process of its own, round by round, so that all meet the same load; prints the median of a step in each round, the
median of these, and its ratio to the first Python's. Run it when nothing else is running.
"""
import argparse
import importlib.util
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

RECIPES = Path(__file__).resolve().parents[2] / 'recipes'
STEPS = {'mnist': 40, 'cifar10_book': 40, 'cifar10_airbench': 8, 'style_256': 12, 'style_512': 5, 'dream': 12,
         'features': 8}
RANDOM = np.random.RandomState(0)


def random_vgg(network='vgg19'):
    """Returns weights of He's size in the place of published ones: the time is the same."""
    from networks import vgg
    weights, depth = {}, 3
    for name in vgg.layer_names(network):
        if name.startswith('conv'):
            maps = min(512, 64 * 2 ** (int(name[4]) - 1))
            weights[name] = (RANDOM.normal(0, np.sqrt(2 / 9 / depth), [3, 3, depth, maps]).astype(np.float32),
                             np.zeros(maps, np.float32))
            depth = maps
    return weights


def mnist(sess):
    """One training step of 128 digits."""
    import mnist_convnet as recipe
    from common.session import tf
    graph = recipe.build_graph(num_steps=500, pixel_mean=33.3, pixel_std=78.6)
    feed = {graph.images: RANDOM.uniform(0, 255, [128, 28, 28]), graph.labels: RANDOM.randint(0, 10, 128),
            graph.keep_prob: 0.8}
    sess.run(tf.global_variables_initializer())
    return lambda: sess.run([graph.train_op, graph.loss], feed)


def cifar10(sess, network):
    """One training step of the batch that the network is trained with."""
    import cifar10_tflearn as recipe
    from common.session import tf
    settings = dict(recipe.SETTINGS[network])
    batch_size = settings.pop('batch_size')
    for name in {'epochs', 'augment'} & set(settings):
        settings.pop(name)
    pixels = RANDOM.uniform(0, 255, [batch_size, 32, 32, 3]).astype(np.uint8)
    graph = recipe.build_graph(network=network, num_steps=3516, statistics=recipe.measure(pixels), **settings)
    feed = {graph.images: pixels, graph.labels: RANDOM.randint(0, 10, batch_size), graph.is_training: True}
    sess.run(tf.global_variables_initializer())
    return lambda: sess.run([graph.train_op, graph.loss], feed)


def style(sess, size):
    """The losses and their gradient at size x size pixels, VGG-19 to conv5_1."""
    import style_transfer as recipe
    from networks import vgg
    from synthesis.tiled_loss import make_evaluate
    from synthesis import tiles
    network = vgg.Network(name='vgg19', weights=random_vgg(), pooling='average', padding='zero')
    graph = recipe.build_graph(network)
    image = RANDOM.uniform(0, 255, [size, size, 3]).astype(np.float32)
    targets = recipe.compute_targets(sess, graph, image, [image[::-1]])
    evaluate = make_evaluate(sess, graph, (size, size), tiles.make_tiles(size, size), *targets)
    return lambda: evaluate(image.ravel())


def dream(sess, models_dir):
    """The objective and its gradient on 1024 x 575 pixels, in tiles: a step of DeepDream."""
    import deepdream as recipe
    from networks import classifiers, inception
    from synthesis import objectives
    network = classifiers.load(None, models_dir, None, inception.INPUT_NAME, inception.MEAN, None, True)
    graph = recipe.build_graph(network, [objectives.parse(network.objective)])
    image = RANDOM.uniform(0, 255, [575, 1024, 3]).astype(np.float32)
    return lambda: recipe.tiled_gradient(image, (100, 200), sess, graph, grid=network.grid)


def features(sess):
    """VGG-16 to block4_pool, 16 images of 224 x 224 pixels: what the transfer recipe computes once."""
    from common.session import tf
    from networks import vgg
    images = tf.placeholder(tf.float32, [None, 224, 224, 3])
    layer = vgg.vgg(images, random_vgg('vgg16'), 'vgg16', 'pool4', pooling='max')['pool4']
    pixels = RANDOM.uniform(0, 255, [16, 224, 224, 3]).astype(np.float32)
    return lambda: sess.run(layer, {images: pixels})


def of_torch(name):
    """Returns the function of one step of the same work in a plain PyTorch loop; None where there is none."""
    sys.path.insert(0, str(Path(__file__).parent))
    import pytorch_steps
    make = getattr(pytorch_steps, name, None)
    return make and make()


def of_tensorflow(name, models_dir):
    """Returns the function of one step in a session as the recipes open it."""
    sys.path.insert(0, str(RECIPES))
    from common import session
    from common.session import tf
    tf.Graph().as_default().__enter__()
    sess = session.open_session().__enter__()
    kind, _, variant = name.partition('_')
    make = {'mnist': mnist, 'features': features, 'cifar10': lambda sess: cifar10(sess, variant),
            'style': lambda sess: style(sess, int(variant)), 'dream': lambda sess: dream(sess, models_dir)}[kind]
    return make(sess)


def measure(name, models_dir):
    """Prints the median seconds of a step, the first three left out."""
    step = of_torch(name) if importlib.util.find_spec('torch') else of_tensorflow(name, models_dir)
    if step is None:
        return
    seconds = []
    for _ in range(3 + STEPS[name]):
        started = time.perf_counter()
        step()
        seconds.append(time.perf_counter() - started)
    print(f'\nmedian {np.median(seconds[3:])}')


def main():
    """Runs every workload on every Python in turn, and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('pythons', nargs='*', metavar='PYTHON')
    parser.add_argument('--only', nargs='+', choices=tuple(STEPS), default=tuple(STEPS))
    parser.add_argument('--rounds', type=int, default=3)
    parser.add_argument('--models-dir', type=Path, default=RECIPES.parent / 'models')
    parser.add_argument('--measure', choices=tuple(STEPS), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        return measure(options.measure, options.models_dir)
    for name in options.only:
        found = {python: [] for python in options.pythons}
        for _ in range(options.rounds):
            for python in options.pythons:
                done = subprocess.run([python, __file__, '--measure', name, '--models-dir', str(options.models_dir)],
                                      capture_output=True, encoding='utf-8')
                if done.returncode:
                    sys.exit(f'{name} on {python}:\n{done.stderr[-2000:]}')
                found[python] += [float(line.split()[1]) for line in done.stdout.splitlines()
                                  if line.startswith('median ')]
        first = np.median(found[options.pythons[0]])
        for python, seconds in found.items():
            if seconds:
                print(f'{name:13} {python}: {" ".join(f"{value:.4f}" for value in seconds)} s, median '
                      f'{np.median(seconds):.4f} s, {np.median(seconds) / first:.2f} x', flush=True)


if __name__ == '__main__':
    main()
