"""What progress, records, checkpoints, pictures and evaluation cost: the MNIST recipe against a bare loop.

Both train the same graph on the same batches, one after the other:

    python tests/benchmarks/mnist_overhead.py [--steps 500] [--data-dir DIR]

Prints seconds and two ratios: the recipe's training steps, and its whole command, against the bare loop. Run it when
nothing else is running.
"""
import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

RECIPES = Path(__file__).resolve().parents[2] / 'recipes'

BARE_LOOP = '''
import sys, time
import mnist_convnet as recipe
from common import session
from training import batches
from common.session import tf
from datasets import mnist
args = recipe.parse_args(sys.argv[1:])
data = mnist.load(args.data_dir, quiet=True)
graph = recipe.build_graph(seed=args.seed, num_steps=args.steps, learning_rate=args.learning_rate,
                           pixel_mean=data.train_images.mean(), pixel_std=data.train_images.std())
with session.open_session(threads=args.threads) as sess:
    sess.run(tf.global_variables_initializer())
    started = time.time()
    for step in range(args.steps):
        chosen = batches.batch_indices(step, args.batch_size, len(data.train_images), args.seed)
        sess.run([graph.train_op, graph.loss], {graph.images: data.train_images[chosen],
                 graph.labels: data.train_labels[chosen], graph.keep_prob: args.keep_prob})
    print(time.time() - started)
'''


def main():
    """Runs the bare loop, then the recipe, and prints the ratios."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--steps', type=int, default=500)
    parser.add_argument('--data-dir')
    options = parser.parse_args()
    arguments = ['--steps', str(options.steps)] + (['--data-dir', options.data_dir] if options.data_dir else [])

    bare = float(subprocess.check_output([sys.executable, '-c', BARE_LOOP] + arguments, cwd=str(RECIPES)))
    print(f'bare loop: {bare:.1f} s for {options.steps} steps')
    with tempfile.TemporaryDirectory() as output:
        started = time.time()
        subprocess.check_call([sys.executable, str(RECIPES / 'mnist_convnet.py'), '--output-dir', output] + arguments)
        whole = time.time() - started
        results = json.loads((Path(output) / 'mnist_convnet/latest/run.json').read_text())['results']
    steps = results['seconds_per_step'] * options.steps
    print(f'recipe: {steps:.1f} s for its training steps, {steps / bare:.2f} x the bare loop; {whole:.1f} s for the '
          f'whole command, {whole / bare:.2f} x')


if __name__ == '__main__':
    main()
