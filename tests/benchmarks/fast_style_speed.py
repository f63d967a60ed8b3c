"""Seconds per picture of the 26-style network, in turn with ONNX Runtime on the same threads: medians.

    python tests/benchmarks/fast_style_speed.py --onnxruntime /path/to/python

The Python named has onnxruntime and numpy; without it, only TensorFlow is measured.
"""
import argparse
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

PROJECT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(PROJECT / 'recipes'))

from common import cli, session  # noqa: E402
from common.session import tf  # noqa: E402
from networks import style_networks  # noqa: E402

THEIRS = '''
import sys, time
import numpy as np
import onnxruntime
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = int(sys.argv[2])
session = onnxruntime.InferenceSession(sys.argv[1], options, providers=['CPUExecutionProvider'])
size, weights = int(sys.argv[3]), np.eye(26, dtype=np.float32)[7]
image = np.random.RandomState(0).uniform(0, 1, (1, 3, size, size)).astype(np.float32)
for line in sys.stdin:
    began, used = time.time(), time.process_time()
    session.run(None, {'image': image, 'style_weights': weights})
    print(time.time() - began, time.process_time() - used, flush=True)
'''


def main():
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--onnxruntime', metavar='PYTHON', help='a Python with onnxruntime')
    parser.add_argument('--models-dir', default=cli.default_dir('models'))
    parser.add_argument('--size', type=int, default=1024)
    parser.add_argument('--threads', type=int, default=session.num_cpus())
    parser.add_argument('--repeats', type=int, default=9)
    parser.add_argument('--xla', action='store_true')
    args = parser.parse_args()
    network, _ = style_networks.obtain('multistyle', args.models_dir)
    theirs = args.onnxruntime and subprocess.Popen(
        [args.onnxruntime, '-c', THEIRS, str(Path(args.models_dir) / style_networks.MULTISTYLE.name),
         str(args.threads), str(args.size)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, universal_newlines=True)
    with tf.Graph().as_default() as graph:
        images = tf.placeholder(tf.float32, [1, None, None, 3])
        painted = style_networks.paint(images, network, tf.constant(network.styles[7]))['painted']
    image = np.random.RandomState(0).uniform(0, 255, (1, args.size, args.size, 3)).astype(np.float32)
    measured = {'TensorFlow': [], 'ONNX Runtime': []}
    with session.open_session(graph, 'cpu', args.threads, args.xla) as sess:
        for _ in range(args.repeats + 2):  # the first two compile and warm up
            began, used = time.time(), time.process_time()
            sess.run(painted, {images: image})
            measured['TensorFlow'].append((time.time() - began, time.process_time() - used))
            if theirs:
                theirs.stdin.write('\n')
                theirs.stdin.flush()
                measured['ONNX Runtime'].append(tuple(map(float, theirs.stdout.readline().split())))
    medians = {name: np.median(seconds[2:], axis=0) for name, seconds in measured.items() if seconds}
    for name, (seconds, processor) in medians.items():
        print(f'{name}: {seconds:.3f} s, {processor:.3f} s of processor time, medians of {args.repeats}')
    if theirs:
        theirs.stdin.close()
        ratio = medians['TensorFlow'] / medians['ONNX Runtime']
        print(f'ratio: {ratio[0]:.2f} by the clock, {ratio[1]:.2f} of processor time')


if __name__ == '__main__':
    main()
