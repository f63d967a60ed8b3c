"""How long transfer learning takes: the recipe's default run against the cookbook's 50 epochs, one after the other.

    python tests/benchmarks/transfer_speed.py --data-dir DIR [--models-dir DIR] [--work-dir DIR] [--book-steps 12]

The default run starts without features; then a second one, to the end of stage 1, finds them. Of the cookbook's way
(every image through all of VGG-16 at 256 pixels, block 5 trained) some steps are timed, without validation, and their
median stands for all of them: 50 epochs of as many images. Run it when nothing else is running.
"""
import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

RECIPES = Path(__file__).resolve().parents[2] / 'recipes'
BOOK_EPOCHS = 50

BOOK_STEPS = '''
import sys, time
import vgg16_transfer as recipe
from common.session import tf
from datasets import image_folder
from networks import vgg, vgg_keras
num_steps = int(sys.argv[1])
args = recipe.parse_args(['--book', '--quiet'] + sys.argv[2:])
data = image_folder.load(args.data_dir, quiet=True)
_, weights, _, _ = vgg.obtain_weights(args.models_dir, 'vgg16')
features = recipe.BottleneckFeatures(None, [], args.size, weights, args.threads)  # reads images
clock = [time.time()]
class Clock:  # in the place of TrainingRun: no validation, no checkpoint
    state = {'step': 0}
    def __init__(self, *unused, **too): pass
    def __enter__(self): return self
    def __exit__(self, *unused): pass
    def steps(self): return range(num_steps)
    def record(self, *unused): clock.append(time.time())
recipe.TrainingRun = Clock
with vgg_keras.open_session() as sess:
    model = recipe.build_model(len(data.class_names), **{name: args.settings[name] for name in recipe.MODEL_OPTIONS})
    stage = recipe.build_stage('stage2', model, None, num_steps=num_steps, learning_rate=args.learning_rate, book=True,
                               class_weights=[1.0] * len(data.class_names))
    sess.run(tf.global_variables_initializer())
    vgg_keras.set_weights(model, weights, as_in_book=True)
    recipe.train_stage(sess, stage, features, data, None, None, num_steps=num_steps, batch_size=args.batch_size)
    print(len(data.train.labels), ' '.join('%.3f' % (b - a) for a, b in zip(clock, clock[1:])))
'''


def run(*command):
    """Runs a program in recipes/; returns its seconds, its result and the highest memory of all so far, bytes."""
    started = time.time()
    out = subprocess.run([sys.executable] + list(command), cwd=str(RECIPES), check=True, stdout=subprocess.PIPE,
                         text=True).stdout
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
    return time.time() - started, out.splitlines()[-2], peak


def main():
    """Times all three and prints the ratio."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--data-dir', required=True)
    parser.add_argument('--models-dir')
    parser.add_argument('--work-dir', help='where runs and features go; a temporary folder unless given')
    parser.add_argument('--book-steps', type=int, default=12)
    args = parser.parse_args()
    where = ['--data-dir', args.data_dir] + (['--models-dir', args.models_dir] if args.models_dir else [])
    with tempfile.TemporaryDirectory() as folder:
        output = args.work_dir or folder
        ours = ['vgg16_transfer.py', '--quiet', '--output-dir', output] + where
        whole, result, peak = run(*ours)
        print(f'default run, features included: {whole:.0f} s, {peak / 1e9:.2f} GB at its highest; {result}',
              flush=True)
        print(json.loads((Path(output) / 'vgg16_transfer' / 'latest' / 'run.json').read_text())['results'], flush=True)
        head, result, _ = run(*ours, '--fine-tune', 'none')
        print(f'second run, stage 1 and its report: {head:.0f} s; {result}', flush=True)
        _, result, _ = run('-c', BOOK_STEPS, str(args.book_steps), *where)
    num_images, *seconds = result.split()
    step = sorted(map(float, seconds[2:]))[len(seconds[2:]) // 2]  # the first two warm up
    book = step / 16 * int(num_images) * BOOK_EPOCHS
    print(f'the cookbook: {step:.2f} s a step of 16 (median of {len(seconds[2:])}: {result}), so {book:.0f} s for '
          f'{BOOK_EPOCHS} epochs of {num_images} images')
    print(f'ratio: {book / whole:.1f}')


if __name__ == '__main__':
    main()
