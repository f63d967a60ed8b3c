"""What an epoch of the CIFAR-10 recipe takes against a bare loop: augmentation, validation, checkpoints, records.

Both train the same graph for as many steps, one after the other; the bare loop takes the images as they are:

    python tests/benchmarks/cifar10_overhead.py [--epochs 2] [--network book] [--data-dir DIR]

Prints seconds per epoch, the ratio, and the recipe's memory at its highest. Run it when nothing else is running.
"""
import argparse
import json
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

RECIPES = Path(__file__).resolve().parents[2] / 'recipes'

BARE_LOOP = '''
import sys, time
import cifar10_tflearn as recipe
from common import session
from training import batches
from common.session import tf
from datasets import cifar10
args = recipe.parse_args(sys.argv[1:])
data = cifar10.load(args.data_dir, quiet=True)
num_steps = -(-args.epochs * len(data.train_images) // args.batch_size)
graph = recipe.build_graph(network=args.network, seed=args.seed, keep_prob=args.keep_prob, num_steps=num_steps,
                           label_smoothing=args.label_smoothing, weight_decay=args.weight_decay,
                           learning_rate=args.learning_rate, statistics=recipe.measure(data.train_images))
with session.open_session(threads=args.threads) as sess:
    sess.run(tf.global_variables_initializer())
    started = time.time()
    for step in range(num_steps):
        chosen = batches.batch_indices(step, args.batch_size, len(data.train_images), args.seed)
        sess.run([graph.train_op, graph.loss], {graph.images: data.train_images[chosen],
                 graph.labels: data.train_labels[chosen], graph.is_training: True})
    print((time.time() - started) / args.epochs)
'''


def main():
    """Runs the bare loop, then the recipe, and prints the ratio."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--epochs', type=int, default=2)
    parser.add_argument('--network', default='book')
    parser.add_argument('--data-dir')
    options = parser.parse_args()
    arguments = ['--epochs', str(options.epochs), '--network', options.network]
    arguments += ['--data-dir', str(Path(options.data_dir).resolve())] if options.data_dir else []

    bare = float(subprocess.check_output([sys.executable, '-c', BARE_LOOP] + arguments, cwd=str(RECIPES)))
    print(f'bare loop: {bare:.1f} s per epoch', flush=True)
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    with tempfile.TemporaryDirectory() as output:
        subprocess.check_call([sys.executable, str(RECIPES / 'cifar10_tflearn.py'), '--output-dir', output] + arguments)
        results = json.loads((Path(output) / 'cifar10_tflearn/latest/run.json').read_text())['results']
    memory = max(before, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
    print('recipe: {:.1f} s per epoch, {:.2f} x the bare loop; at most {:.2f} GB of memory'.format(
        results['seconds_per_epoch'], results['seconds_per_epoch'] / bare, memory / 2 ** 20))


if __name__ == '__main__':
    main()
