"""Two processes of one thread against one process of two threads, on a machine with two processors.

    python tests/benchmarks/processes.py [--data-dir DIR] [--transfer-dir DIR] [--models-dir DIR] [--only NAME...]

For trainings the seconds of a step or of an epoch are compared, for features and pictures those of the whole command,
TensorFlow's start included. What is computed is the same, but for the order of sums. Then the time that the sum of a
step of MNIST takes, apart. Run it when nothing else is running.
"""
import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

PROJECT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(PROJECT / 'recipes'))
from common import parallel  # noqa: E402
SAMPLES = PROJECT / 'docs' / 'samples'
WORK = {
    'mnist': ('seconds_per_step', ['mnist_convnet.py', '--steps', '300', '--validate-every', '300']),
    'cifar10': ('seconds_per_epoch', ['cifar10_tflearn.py', '--network', 'airbench', '--steps', '6']),
    'features': (None, ['vgg16_transfer.py', '--fine-tune', 'none', '--head-epochs', '1', '--size', '128']),
    'pictures': (None, ['style_transfer.py', '--size', '160', '--iterations', '25', '--style',
                        str(SAMPLES / 'great_wave.jpg'), str(SAMPLES / 'starry_night.jpg'), '--content',
                        *(str(SAMPLES / f'{name}.jpg') for name in ('chelsea', 'coffee', 'hopper', 'tubingen'))]),
}


NUMBERS = 3274637  # that MNIST sums in a step
TWO = ['mpirun', '--map-by', ':OVERSUBSCRIBE', '--bind-to', 'none', '-n', '2']


def measure(name, processes, options):
    """Returns the seconds of one piece of work, done by as many processes on two threads in all."""
    figure, command = WORK[name]
    launcher = TWO if processes == 2 else []
    with tempfile.TemporaryDirectory() as folder:
        started = time.monotonic()
        subprocess.run([*launcher, sys.executable, str(PROJECT / 'recipes' / command[0]), *command[1:], '--output-dir',
                        folder, '--quiet', '--threads', str(2 // processes), *options.get(name, [])], check=True,
                       stdout=subprocess.DEVNULL)
        seconds = time.monotonic() - started
        record = json.loads(next(Path(folder).glob('*/latest/run.json')).read_text())
    return record['results'][figure] if figure else seconds


def time_sums():
    """Prints, as one of two processes, what a sum takes in memory that both see, and sent as between two machines."""
    parallel.join()
    for name, memory in (('in memory that both see', parallel._MEMORY), ('sent', Path('none'))):
        parallel._MEMORY, seconds = memory, []
        sums, spent = parallel.Summation(NUMBERS), time.process_time()
        for _ in range(50):
            parallel.take_step(0)
            started = time.perf_counter()
            sums.mine[:] = parallel.rank()
            sums.add_up()
            seconds.append(time.perf_counter() - started)
        print(f'sum of {NUMBERS:,} numbers, {name}: {1000 * min(seconds):.1f} ms at best, '
              f'{1000 * np.median(seconds):.1f} in the median, processor time {20 * (time.process_time() - spent):.1f}',
              flush=True)


def main():
    """Prints a line for each kind of work."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--data-dir', help='of data sets, as the recipes have it')
    parser.add_argument('--transfer-dir', help='the images of two classes or more, for the features')
    parser.add_argument('--models-dir', help='published weights')
    parser.add_argument('--only', nargs='+', choices=[*WORK, 'sum'], default=[*WORK, 'sum'])
    args = parser.parse_args()
    if args.only == ['sum'] and 'OMPI_COMM_WORLD_SIZE' in os.environ:
        time_sums()
        return
    for option, value in (('DATA', args.data_dir), ('MODELS', args.models_dir)):
        if value:
            os.environ[f'RECIPES_{option}_DIR'] = value
    options = {'features': ['--data-dir', args.transfer_dir]} if args.transfer_dir else {}
    for name in args.only:
        if name == 'sum':
            subprocess.run([*TWO, sys.executable, __file__, '--only', 'sum'], check=True)
            continue
        one, two = (measure(name, processes, options) for processes in (1, 2))
        print(f'{name}: one process {one:.3f} s, two {two:.3f} s, {two / one:.2f} x', flush=True)


if __name__ == '__main__':
    main()
