"""Several processes: what each does alone, and whole recipes under mpirun, where that and mpi4py are there."""
import importlib.util
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import tiny_recipes

from common import parallel
from common.metrics import read_metrics
from common.session import tf
from training import optimization

RECIPES = Path(__file__).resolve().parent.parent / 'recipes'
SHARED_RECIPE = Path(__file__).with_name('shared_recipe.py')
needs_mpi = pytest.mark.skipif(not (shutil.which('mpirun') and importlib.util.find_spec('mpi4py')),
                               reason='no mpirun or no mpi4py: see requirements-mpi.txt')
SETTINGS = {'OMPI_ALLOW_RUN_AS_ROOT': '1', 'OMPI_ALLOW_RUN_AS_ROOT_CONFIRM': '1',  # in a container one is root
            'OMPI_MCA_rmaps_base_oversubscribe': '1', 'OMPI_MCA_mpi_yield_when_idle': '1', 'RECIPES_OFFLINE': '1',
            'PYTHONPATH': os.pathsep.join([str(RECIPES), *filter(None, [os.environ.get('PYTHONPATH')])])}


def start(count, *words):
    """Starts `count` processes of a Python program; one without mpirun."""
    launcher = ['mpirun', '--quiet', '-n', str(count)] if count > 1 else []
    return subprocess.Popen([*launcher, sys.executable, *map(str, words)], env=dict(os.environ, **SETTINGS),
                            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding='utf-8')


def run(count, *words):
    """Returns (exit code, stdout, stderr) of such processes."""
    process = start(count, *words)
    out, err = process.communicate(timeout=300)
    return process.returncode, out, err


def train(count, folder, *options):
    """Trains on the bundled digits: 20 steps of 50, a checkpoint every 5; returns the run's folder."""
    code, out, err = run(count, RECIPES / 'mnist_convnet.py', '--data-dir', folder, '--output-dir', folder / 'output',
                         '--steps', 20, '--batch-size', 50, '--validate-every', 5, '--threads', 1, *options)
    assert code == 0, err
    return (folder / 'output' / 'mnist_convnet' / 'latest').resolve()


def variables(run_dir):
    """{name: value} of the last checkpoint."""
    step = json.loads((run_dir / 'checkpoints' / 'state.json').read_text())['step']
    reader = tf.train.load_checkpoint(str(run_dir / 'checkpoints' / f'model-{step}'))
    return {name: reader.get_tensor(name) for name in reader.get_variable_to_shape_map()}


def difference(one, other, pattern=r'weights/\w+'):
    """The norm of the difference of the weights, in units of their norm."""
    one, other = ({name: value for name, value in variables(run_dir).items() if re.fullmatch(pattern, name)}
                  for run_dir in (one, other))
    assert len(one) == len(other) >= 8
    squares = [(np.sum((one[name] - other[name]) ** 2.0), np.sum(one[name] ** 2.0)) for name in one]
    return float(np.sqrt(sum(part for part, _ in squares) / sum(whole for _, whole in squares)))


def same_bytes(one, other):
    one, other = variables(one), variables(other)
    return set(one) == set(other) and all(one[name].tobytes() == other[name].tobytes() for name in one)


# ---- One process ----

def test_one_process_computes_as_if_there_were_no_others():
    gradients, figures, rows = [(tf.constant(1.0), None)], (tf.constant(2.0),), np.arange(5)
    averaged, averages = parallel.average(gradients, figures, tf.constant([1, 2]))
    assert averaged is gradients and averages is figures and parallel.part(rows).tolist() == [0, 1, 2, 3, 4]
    assert parallel.each(lambda number: number ** 2, range(3)) == [0, 1, 4]
    assert (parallel.size(), parallel.rank(), parallel.launcher(), parallel.end(2)) == (1, 0, [], 2)
    assert parallel.agreed(True) and not parallel.agreed(False) and 'mpi4py' not in sys.modules


@pytest.mark.parametrize('size', [2, 3])
def test_parts_of_a_batch_drop_what_the_whole_batch_drops(monkeypatch, size):
    layer, seed = tf.ones([7, 300]), tf.constant([3, 11])
    with tf.Session() as sess:
        whole = sess.run(optimization.dropout(layer, 0.6, seed))
        monkeypatch.setattr(parallel._Processes, 'size', size)
        for rank in range(size):
            monkeypatch.setattr(parallel._Processes, 'rank', rank)
            part = sess.run(optimization.dropout(parallel.part(layer), 0.6, seed))
            np.testing.assert_array_equal(part, whole[rank::size])
    assert 0.5 < np.mean(whole > 0) < 0.7


def test_layers_after_dropout_begin_with_the_same_weights(monkeypatch):
    weights = []
    for size in (1, 2, 3):
        monkeypatch.setattr(parallel._Processes, 'size', size)
        with tf.Graph().as_default(), tf.Session() as sess:
            tf.set_random_seed(5)
            optimization.dropout(tf.ones([6, 4]), 0.6, [3, 11])
            weights.append(sess.run(tf.get_variable('kernel', [4, 2]).initialized_value()).tolist())
    assert weights[0] == weights[1] == weights[2]


@pytest.mark.parametrize('names', [('OMPI_COMM_WORLD_SIZE', 'OMPI_COMM_WORLD_RANK'), ('PMI_SIZE', 'PMI_RANK'),
                                   ('SLURM_STEP_NUM_TASKS', 'SLURM_PROCID')])
def test_processes_that_find_no_mpi_end_in_one_line(names, tmp_path):
    (tmp_path / 'mpi4py').mkdir()
    (tmp_path / 'mpi4py' / '__init__.py').touch()  # without its module MPI
    for rank, expected in ((0, 'concepts.py: error: started as 2 processes, but this Python has no mpi4py'), (1, '')):
        environ = dict(os.environ, PYTHONPATH=str(tmp_path), **dict(zip(names, ('2', str(rank)))))
        done = subprocess.run([sys.executable, str(RECIPES / 'concepts.py'), '--help'], env=environ,
                              capture_output=True, encoding='utf-8')
        assert done.returncode == 3 and done.stdout == '' and len(done.stderr.splitlines()) == len(expected[:1])
        assert done.stderr.startswith(expected)


def test_each_process_of_a_machine_takes_a_card(monkeypatch, tmp_path):
    for number in range(2):
        (tmp_path / 'gpus' / str(number)).mkdir(parents=True)
    (tmp_path / 'mpi4py').mkdir()
    (tmp_path / 'mpi4py' / '__init__.py').touch()
    (tmp_path / 'mpi4py' / 'MPI.py').write_text('class COMM_WORLD:\n    size, rank = 4, 0\n')
    program = ('from pathlib import Path\nimport os, sys\nfrom common import parallel\n'
               'parallel._GPUS = Path(sys.argv[1])\nparallel.join()\nprint(os.environ.get("CUDA_VISIBLE_DEVICES"))\n')

    def cards(local_rank, folder='gpus', **more):
        environ = dict(os.environ, PYTHONPATH=os.pathsep.join([str(tmp_path), str(RECIPES)]),
                       OMPI_COMM_WORLD_SIZE='4', OMPI_COMM_WORLD_LOCAL_RANK=str(local_rank), **more)
        environ = {name: value for name, value in environ.items() if name != 'CUDA_VISIBLE_DEVICES' or more}
        return subprocess.run([sys.executable, '-c', program, str(tmp_path / folder)], env=environ, check=True,
                              stdout=subprocess.PIPE, encoding='utf-8').stdout.strip()
    assert [cards(0), cards(1), cards(2)] == ['0', '1', '0']
    assert cards(1, CUDA_VISIBLE_DEVICES='5') == '5' and cards(1, 'none') == 'None'


def test_folders_that_killed_processes_left_are_removed(monkeypatch, tmp_path):
    monkeypatch.setattr('tempfile.tempdir', str(tmp_path))
    monkeypatch.setattr(parallel._Processes, 'scratch', None)
    names = 'left', 'in-use', 'new'
    for name in names:
        (tmp_path / f'recipes-process-{name}').mkdir()
        if name != 'new':
            os.utime(str(tmp_path / f'recipes-process-{name}'), (1, 1))
    used = subprocess.Popen([sys.executable, '-c', 'import sys, filelock\nlock = filelock.FileLock(sys.argv[1])\n'
                             'lock.acquire()\nprint(1, flush=True)\nsys.stdin.read()\n',
                             str(tmp_path / 'recipes-process-in-use' / '.lock')], stdin=subprocess.PIPE,
                            stdout=subprocess.PIPE)
    used.stdout.readline()
    os.utime(str(tmp_path / 'recipes-process-in-use'), (1, 1))
    own = parallel.scratch()
    used.communicate()
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {own.name, 'recipes-process-in-use', 'recipes-process-new'}


# ---- Several ----

@needs_mpi
def test_sums_come_in_the_order_of_the_processes(tmp_path):
    # In float32 (1e8 + 1) - 1e8 is 0, and (1e8 - 1e8) + 1 is 1.
    (tmp_path / 'program.py').write_text(
        'import numpy as np\nfrom common import parallel\nparallel.join()\nrank = parallel.rank()\n'
        'parallel.agreed(rank == 2)\n'
        'mine = np.array([[1e8, 1, -1e8][rank], [1e8, -1e8, 1][rank], rank, 1, 1], np.float32)\n'
        'found = parallel._sum(mine).tolist(), parallel.agreed(False), parallel.each(lambda n: (n, rank), range(4))\n'
        'assert found == ([0, 1, 3, 3, 3], True, [(0, 0), (1, 1), (2, 2), (3, 0)]), found\n')
    code, _, err = run(3, tmp_path / 'program.py')
    assert code == 0, err


@needs_mpi
@pytest.mark.slow
def test_several_processes_compute_what_one_does(tmp_path):
    one, two, three = (train(count, tmp_path / str(count), '--augment') for count in (1, 2, 3))
    assert 0 < difference(one, two) < 1e-4 and 0 < difference(one, three) < 1e-4
    assert same_bytes(two, train(2, tmp_path / 'again', '--augment'))
    metrics = [(folder / 'metrics.csv').read_text().splitlines()[-1].split(',') for folder in (one, two)]
    np.testing.assert_allclose(*[[float(cell) for cell in row] for row in metrics], rtol=1e-3)
    record = json.loads((two / 'run.json').read_text())
    assert record['processes'] == 2 and 'processes' not in json.loads((one / 'run.json').read_text())
    assert sorted(path.name for path in two.iterdir()) == sorted(path.name for path in one.iterdir())


@needs_mpi
@pytest.mark.slow
@pytest.mark.parametrize('name', ['cifar10', 'transfer'])
def test_two_processes_compute_what_one_does_in_other_recipes(tmp_path, name):
    run_dirs = []
    for count in (1, 2):
        code, _, err = run(count, SHARED_RECIPE, name, tmp_path / str(count))
        assert code == 0, err
        run_dirs += (tmp_path / str(count) / 'output').glob('*/2*')
    assert 0 < difference(*run_dirs, pattern=r'(?!.*Adam).*(W|b|kernel|bias)') < 1e-4
    features = [{path.relative_to(run_dir.parent): path.read_bytes() for path in run_dir.parent.rglob('features/*/*')}
                for run_dir in run_dirs]
    assert features[0] == features[1] and bool(features[0]) == (name == 'transfer')
    pictures = [tiny_recipes.noise(tmp_path / f'{number}.png', 40, 40) for number in range(3)]
    answers = [run(count, SHARED_RECIPE, name, tmp_path / '1', '--predict', *pictures) for count in (1, 2)]
    assert answers[0][0] == 0 and answers[0][1].count('.png: ') == 3 and answers[0][1] == answers[1][1], answers


def make(count, name, folder, *options):
    """Makes pictures with a tiny network; returns (exit code, stdout, stderr, the run's folder)."""
    code, out, err = run(count, SHARED_RECIPE, name, folder, *options)
    return code, out, err, next((folder / 'output').glob('*/latest')).resolve()


def same_files(one, other):
    """Compares all pictures of two runs byte by byte, and the rows of their metrics but for the seconds."""
    pictures = [{path.relative_to(run_dir): path.read_bytes() for path in run_dir.rglob('*.png')}
                for run_dir in (one, other)]
    rows = [[dict(row, seconds=0) for row in read_metrics(run_dir / 'metrics.csv')] for run_dir in (one, other)]
    return pictures[0] == pictures[1] and rows[0] == rows[1] and len(pictures[0]) > 3 and len(rows[0]) > 3


def photographs(folder, count=3):
    """Writes photographs and a painting; returns the options that name them."""
    files = [tiny_recipes.noise(folder / f'{number}.png', 80, 96 + 16 * number) for number in range(count)]
    return ['--content', *files, '--style', tiny_recipes.noise(folder / 'painting.png', 70, 50)]


@needs_mpi
@pytest.mark.slow
@pytest.mark.parametrize('name', ['style', 'dream', 'fast', 'features'])
def test_processes_share_out_what_one_makes(tmp_path, name):
    options = {'style': photographs(tmp_path), 'dream': photographs(tmp_path)[:4],
               'fast': photographs(tmp_path)[:4]}.get(name, [])
    (code, out, err, one), (_, out_of_two, _, two) = (
        make(count, name, tmp_path / str(count), *options) for count in (1, 2))
    assert code == 0, err
    assert same_files(one, two) and out_of_two.count('this run: ') == out.count('this run: ') == 1
    records = [json.loads((run_dir / 'run.json').read_text()) for run_dir in (one, two)]
    assert records[1]['processes'] == 2 and len(records[0]['results']) == len(records[1]['results'])
    for kind, field in (('pictures', 'name'), ('tiles', 'file')):
        assert [row[field] for row in records[0].get(kind, [])] == [row[field] for row in records[1].get(kind, [])]


@needs_mpi
@pytest.mark.parametrize('recipe, options, message', [
    ('style_transfer', [], 'one picture runs as one process, not as 2; start it without mpirun'),
    ('deepdream', ['--frames', '2'], 'a film runs as one process, not as 2; start it without mpirun')])
def test_what_cannot_be_split_is_refused_in_one_line(tmp_path, recipe, options, message):
    code, out, err = run(2, RECIPES / f'{recipe}.py', '--output-dir', tmp_path, *options)
    assert code == 2 and out == '' and message in err and err.count(f'{recipe}.py: error') == 1
    assert not list(tmp_path.iterdir())


@needs_mpi
@pytest.mark.slow
def test_pictures_that_one_of_three_processes_leaves_are_made_by_two_and_by_one(tmp_path):
    options = [*photographs(tmp_path, 5), '--iterations', '60']
    code, _, err, whole = make(1, 'style', tmp_path / 'whole', *options)
    assert code == 0, err
    folder = tmp_path / 'stopped'
    for count, number in ((3, signal.SIGKILL), (2, signal.SIGINT)):
        before = {path: path.stat().st_mtime for path in folder.rglob('checkpoint-*.npz')}
        process = start(count, SHARED_RECIPE, 'style', folder, *options, *['--resume'] * (count == 2))
        while not any(path.stat().st_mtime != before.get(path) for path in folder.rglob('checkpoint-*.npz')):
            assert process.poll() is None, process.communicate()
            time.sleep(0.01)
        os.kill(int(subprocess.run(['pgrep', '-n', '-P', str(process.pid)], stdout=subprocess.PIPE).stdout), number)
        ended = time.monotonic()
        _, err = process.communicate(timeout=60)
        assert process.returncode and time.monotonic() - ended < 10
        assert 'results' not in json.loads(next((folder / 'output').glob('*/latest/run.json')).read_text())
    assert err.count('style_transfer.py: ') == 1 and 'interrupted: after ' in err and 'mpirun -n 2' in err, err
    code, _, err, run_dir = make(1, 'style', folder, *options, '--resume')
    assert code == 0, err
    assert same_files(run_dir, whole) and not list(run_dir.glob('checkpoint-*.npz'))


@needs_mpi
@pytest.mark.slow
@pytest.mark.parametrize('number, seconds', [(signal.SIGKILL, 10), (signal.SIGINT, 10)])
def test_one_of_three_ends_all_and_the_run_resumes(tmp_path, number, seconds):
    whole = train(3, tmp_path / 'whole')
    folder = tmp_path / 'killed'
    folder.mkdir()
    process = start(3, RECIPES / 'mnist_convnet.py', '--data-dir', folder, '--output-dir', folder / 'output', '--steps',
                    20, '--batch-size', 50, '--validate-every', 5, '--threads', 1)
    state = folder / 'output' / 'mnist_convnet' / 'latest' / 'checkpoints' / 'state.json'
    while not state.exists():
        assert process.poll() is None
        time.sleep(0.01)
    last = int(subprocess.run(['pgrep', '-n', '-P', str(process.pid)], stdout=subprocess.PIPE).stdout)
    os.kill(last, number)
    ended = time.monotonic()
    _, err = process.communicate(timeout=60)
    assert process.returncode and time.monotonic() - ended < seconds
    if number == signal.SIGINT:
        assert re.search(r'mnist_convnet.py: interrupted: step \d+ of 20 is saved. Resume with: mpirun -n 3 ', err), err
        assert err.count('mnist_convnet.py: ') == 1
    refused = run(2, RECIPES / 'mnist_convnet.py', '--data-dir', folder, '--output-dir', folder / 'output', '--resume')
    assert refused[0] == 2 and refused[2].count('mnist_convnet.py: error: ') == 1
    assert 'processes: 3; 2 would sum in another order' in refused[2] and 'mpirun -n 3' in refused[2]
    assert same_bytes(train(3, folder, '--resume'), whole)


@needs_mpi
@pytest.mark.parametrize('options, message', [
    (['--batch-size', '1'], '--batch-size 1: 2 processes share a batch; give a larger one'),
    (['--steps', '0'], 'argument --steps: 0 given, expected a whole number of at least 1'),
    (['--predict', 'digit.png'], '; train one first: python recipes/mnist_convnet.py')])  # only the first looks
def test_a_mistake_is_one_line(tmp_path, options, message):
    code, out, err = run(2, RECIPES / 'mnist_convnet.py', '--data-dir', tmp_path, '--output-dir', tmp_path, *options)
    assert code == 2 and out == '' and message in err and err.count('mnist_convnet.py: error') == 1
