"""Several processes: what each does alone, and whole recipes under mpirun, where that and mpi4py are there."""
import contextlib
import importlib.util
import io
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import List, NamedTuple, Tuple
from unittest import mock

import mnist_convnet
import numpy as np
import psutil
import pytest
import tiny_recipes

from common import parallel, shared_folders
from common.metrics import read_metrics
from common.session import tf
from training import optimization, shared_steps

RECIPES = Path(__file__).resolve().parent.parent / 'recipes'
SHARED_RECIPE = Path(__file__).with_name('shared_recipe.py')
LAUNCHED = Path(__file__).with_name('launched.py')
LAUNCHER = next((str(path) for path in (Path(sys.executable).with_name('mpirun'), shutil.which('mpirun'))
                 if path and os.path.exists(str(path))), None)  # the one of the wheel, or of the machine
needs_mpi = pytest.mark.skipif(not (LAUNCHER and importlib.util.find_spec('mpi4py')),
                               reason='no mpirun or no mpi4py: see docs/mpi.md')
SETTINGS = {'OMPI_ALLOW_RUN_AS_ROOT': '1', 'OMPI_ALLOW_RUN_AS_ROOT_CONFIRM': '1',  # in a container one is root
            'OMPI_MCA_orte_execute_quiet': '1', 'OMPI_MCA_mpi_yield_when_idle': '1', 'RECIPES_OFFLINE': '1',
            'PYTHONPATH': os.pathsep.join([str(RECIPES), *filter(None, [os.environ.get('PYTHONPATH')])])}


def run(count, *words, host=None):
    """Runs `count` processes of a Python program under mpirun; returns (exit code, stdout, stderr).

    Those that the launcher starts ask the one that listens at `host`, a socket's path, where there is one.
    """
    program = [sys.executable, *(['-S', '-E', str(LAUNCHED), host] if host else []), *map(str, words)]
    done = subprocess.run([LAUNCHER, '--map-by', ':OVERSUBSCRIBE', '--bind-to', 'none', '-n', str(count), *program],
                          env=dict(os.environ, **SETTINGS), timeout=300, stdin=subprocess.DEVNULL, capture_output=True,
                          encoding='utf-8')
    return done.returncode, done.stdout, done.stderr


def run_alone(forks, path, *words, folder, **environ):
    """Runs a Python program in a fork of one that has imported TensorFlow; returns (exit code, stdout, stderr)."""
    return forks.run(f'import runpy\nrunpy.run_path({str(path)!r}, run_name="__main__")', *words, folder=folder,
                     **environ)


def run_forks(forks, count, *words):
    """Runs `count` processes as `run` does, but as forks of one that has imported TensorFlow; one without mpirun."""
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor() as pool:  # a socket's path has to be short
        if count == 1:
            return run_alone(forks, *words, folder=folder, **SETTINGS)
        path = os.path.join(folder, 'host')
        hosted = pool.submit(forks.run, f'import launched\nlaunched.host({path!r}, {count})', folder=folder)
        found = run(count, *words, host=path)
        assert hosted.result()[0] == 0, (hosted.result(), found)
        return found


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
    averaged, averages = shared_steps.average(gradients, figures, tf.constant([1, 2]))
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
def test_processes_that_find_no_mpi_end_in_one_line(forks, names, tmp_path):
    (tmp_path / 'mpi4py').mkdir()
    (tmp_path / 'mpi4py' / '__init__.py').touch()  # without its module MPI
    program = tmp_path / 'program.py'
    program.write_text(f'import runpy, sys\nsys.path.insert(0, {str(tmp_path)!r})\n'
                       f'runpy.run_path({str(RECIPES / "concepts.py")!r}, run_name="__main__")\n')
    for rank, expected in ((0, 'concepts.py: error: started as 2 processes, but this Python has no mpi4py'), (1, '')):
        code, out, err = run_alone(forks, program, '--help', folder=tmp_path, **dict(zip(names, ('2', str(rank)))))
        assert code == 3 and out == '' and len(err.splitlines()) == len(expected[:1])
        assert err.startswith(expected)


def test_each_process_of_a_machine_takes_a_card(forks, tmp_path):
    for number in range(2):
        (tmp_path / 'gpus' / str(number)).mkdir(parents=True)
    (tmp_path / 'mpi4py').mkdir()
    (tmp_path / 'mpi4py' / '__init__.py').touch()
    (tmp_path / 'mpi4py' / 'MPI.py').write_text(
        'import sys\nCOMM_TYPE_SHARED = 1\nclass Near:\n    size, rank = 4, int(sys.argv[3])\n    Free = lambda: None\n'
        'class COMM_WORLD:\n    size, rank = 4, 0\n    Split_type = lambda kind: Near\n')
    (tmp_path / 'program.py').write_text(
        'from pathlib import Path\nimport os, sys\nfrom common import parallel\nsys.path.insert(0, sys.argv[1])\n'
        'os.environ.pop("CUDA_VISIBLE_DEVICES", None)\nos.environ.update([pair.split("=") for pair in sys.argv[4:]])\n'
        'parallel._GPUS = Path(sys.argv[2])\nparallel.join()\nprint(os.environ.get("CUDA_VISIBLE_DEVICES"))\n')

    def card(local_rank, folder='gpus', **more):
        code, out, err = run_alone(forks, tmp_path / 'program.py', tmp_path, tmp_path / folder, local_rank,
                                   *map('='.join, more.items()), folder=tmp_path, OMPI_COMM_WORLD_SIZE='4')
        assert code == 0, err
        return out.split()[0]
    assert [card(number) for number in range(3)] == ['0', '1', '0'] and card(1, 'none') == 'None'
    assert [card(number, CUDA_VISIBLE_DEVICES='4,6,7') for number in (1, 3)] == ['6', '4']  # Slurm names all to each
    assert card(1, CUDA_VISIBLE_DEVICES='5') == '5'


def test_folders_that_killed_processes_left_are_removed(monkeypatch, tmp_path):
    monkeypatch.setattr('tempfile.tempdir', str(tmp_path))
    monkeypatch.setattr(shared_folders._Folders, 'scratch', None)
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
    own = shared_folders.scratch()
    used.communicate()
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {own.name, 'recipes-process-in-use', 'recipes-process-new'}


# ---- Several ----

@needs_mpi
def test_sums_come_in_the_order_of_the_processes(forks, tmp_path):
    # In float32 (1e8 + 1) - 1e8 is 0, and (1e8 - 1e8) + 1 is 1.
    (tmp_path / 'program.py').write_text("""
import errno, os, sys
from pathlib import Path
from common import parallel

def full(*unused):
    raise OSError(errno.ENOSPC, 'full')

parallel.join()
rank = parallel.rank()
before = set(parallel._MEMORY.iterdir())
for memory, allocate, shared in (
        (parallel._MEMORY, os.posix_fallocate, True),
        (Path('none'), os.posix_fallocate, False),  # as of several machines
        (parallel._MEMORY, full, False)):
    parallel._MEMORY, os.posix_fallocate = memory, allocate
    sums = parallel.Summation(100)
    assert sums._shared == shared and len(sums.mine) >= 100
    for once_more in range(2):
        sums.mine[:2] = [1e8, 1, -1e8][rank], [1e8, -1e8, 1][rank]
        sums.mine[2:] = rank
        sums.add_up()
        assert [*sums.total[:4], *sums.total[98:100]] == [0, 1, 3, 3, 3, 3]
assert not [path for path in set(memory.iterdir()) - before if path.name.startswith('tmp')]
parallel.agreed(rank == 2)
assert (parallel.take_step(rank), parallel.agreed(False)) == ((0, 1, 2), True)
assert parallel.each(lambda number: (number, rank), range(4)) == [(0, 0), (1, 1), (2, 2), (3, 0)]
""")
    code, _, err = run_forks(forks, 3, tmp_path / 'program.py')
    assert code == 0, err


class Played(NamedTuple):
    """What a start of several processes came to.

    Attributes:
      code: int, of the launcher.
      scenes: list of (exit code, stdout, stderr), of those that came to an end.
      seconds: float, that the processes lived on after a signal.
    """
    code: int
    scenes: List[Tuple[int, str, str]]
    seconds: float


def play(forks, count, folder, *scenes):
    """Plays scenes of shared_recipe.py; returns Played."""
    code, *texts = run_forks(forks, count, SHARED_RECIPE, folder, json.dumps(scenes))
    seconds, signaled = 0.0, folder / 'signal'
    if signaled.exists():
        while any(map(lives, (int(path.read_text()) for path in folder.glob(f'process-*-of-{count}/pid')))):
            time.sleep(0.05)
        seconds = time.time() - signaled.stat().st_mtime
        signaled.unlink()
    parts = [re.findall(r'(?s)(.*?)exit code (\d+)\n', text) for text in texts]
    assert len(parts[0]) == len(scenes) - ('SIGKILL' in str(scenes[-1])), texts
    return Played(code, [(int(ended), out, err) for (out, ended), (err, _) in zip(*parts)], seconds)


def lives(pid):
    """Tells whether there is such a process; one that has ended and that nobody has asked for is none."""
    with contextlib.suppress(psutil.NoSuchProcess):
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    return False


MNIST = ['--steps', '10', '--batch-size', '50', '--validate-every', '3']
KINDS = {'mnist': 'mnist_convnet', 'cifar10': 'cifar10_tflearn', 'transfer': 'vgg16_transfer',
         'style': 'style_transfer', 'dream': 'deepdream', 'fast': 'fast_style_transfer',
         'features': 'feature_visualization'}


class Story(NamedTuple):
    """What one, two and three processes made of the same work; Played all, but for `refused`."""
    folder: Path
    killed: Played          # three: digits; digits that Ctrl-C stops; these resumed, until one process is killed
    refused: Tuple[int, str]  # exit code and stderr of one that resumes what three began
    two: Played             # everything, and pictures until one process is killed
    three: Played           # the digits resumed; the pictures, until Ctrl-C
    one: Played             # everything, the pictures resumed

    def run_dir(self, count, kind):
        """Returns the Path of the run of `count` processes, or of another output folder."""
        return (self.folder / str(count) / KINDS[kind] / 'latest').resolve()


@pytest.fixture(scope='module')
def story(forks, tmp_path_factory):
    """Plays it, in four starts."""
    folder = tmp_path_factory.mktemp('story')
    photographs = [tiny_recipes.noise(folder / f'{number}.png', 80, 96 + 8 * number) for number in range(4)]
    options = dict.fromkeys(KINDS, [])
    options.update(mnist=MNIST, cifar10=['--batch-size', '20'], transfer=['--epochs', '2'],
                   dream=['--content', *photographs[:2]],
                   fast=['--content', *photographs[:2], '--style-number', '0', '5:1,7:2'], style=[
                       '--content', *photographs, '--style', tiny_recipes.noise(folder / 'painting.png', 70, 50),
                       '--iterations', '6'])
    resumed = ['--resume']

    def everything(count):
        return [[kind, str(count), options[kind], None] for kind in KINDS] + [
            [kind, '2', ['--predict', *photographs[:3]], None] for kind in ('cifar10', 'transfer')]
    killed = play(forks, 3, folder, ['mnist', '3', MNIST, None], ['mnist', 'stopped', MNIST, ['SIGINT', 4, 1]],
                  ['mnist', 'stopped', MNIST + resumed, ['SIGKILL', 3, 2]])
    refused = resume_alone(folder)
    two = play(forks, 2, folder, *everything(2), ['style', 'stopped', options['style'], ['SIGKILL', 4, 1]])
    three = play(forks, 3, folder, ['mnist', 'stopped', MNIST + resumed, None],
                 ['style', 'stopped', options['style'] + resumed, ['SIGINT', 1, 1]])
    one = play(forks, 1, folder, *everything(1), ['style', 'stopped', options['style'] + resumed, None])
    return Story(folder, killed, refused, two, three, one)


def resume_alone(folder):
    """Resumes with one process what three began; returns (exit code, stderr)."""
    for _ in range(50):
        with contextlib.redirect_stderr(io.StringIO()) as said, mock.patch.dict(os.environ, RECIPES_OFFLINE='1'):
            code = mnist_convnet.main(['--data-dir', str(folder), '--output-dir', str(folder / 'stopped'), '--resume'])
        if 'another process is working on that run' not in said.getvalue():
            break
        time.sleep(0.2)  # a process that is killed keeps its files for a moment
    return code, said.getvalue()


@needs_mpi
@pytest.mark.slow
def test_several_processes_compute_what_one_does(story):
    one, two, three = (story.run_dir(count, 'mnist') for count in (1, 2, 3))
    assert difference(one, two) < 1e-6 and difference(one, three) < 1e-6
    metrics = [(folder / 'metrics.csv').read_text().splitlines()[-1].split(',') for folder in (one, two)]
    np.testing.assert_allclose(*[[float(cell) for cell in row] for row in metrics], rtol=1e-3)
    record = json.loads((two / 'run.json').read_text())
    assert record['processes'] == 2 and 'processes' not in json.loads((one / 'run.json').read_text())
    assert sorted(path.name for path in two.iterdir()) == sorted(path.name for path in one.iterdir())


@needs_mpi
@pytest.mark.slow
@pytest.mark.parametrize('kind', ['cifar10', 'transfer'])
def test_two_processes_compute_what_one_does_in_other_recipes(story, kind):
    run_dirs = [story.run_dir(count, kind) for count in (1, 2)]
    assert difference(*run_dirs, pattern=r'(?!.*Adam).*(W|b|kernel|bias)') < 1e-6  # not averaged, 1e-4 or 2e-4
    features = [{path.relative_to(run_dir.parent): path.read_bytes() for path in run_dir.parent.rglob('features/*/*')}
                for run_dir in run_dirs]
    assert features[0] == features[1] and bool(features[0]) == (kind == 'transfer')


@needs_mpi
@pytest.mark.slow
def test_two_processes_answer_what_one_does(story):
    of_one, of_two = ([out for _, out, _ in played.scenes[len(KINDS):][:2]] for played in (story.one, story.two))
    assert [out.count('.png: ') for out in of_one] == [3, 3] and of_one == of_two


def same_files(one, other):
    """Compares all pictures of two runs byte by byte, and the rows of their metrics but for the seconds."""
    pictures = [{path.relative_to(run_dir): path.read_bytes() for path in run_dir.rglob('*.png')}
                for run_dir in (one, other)]
    rows = [[dict(row, seconds=0) for row in read_metrics(run_dir / 'metrics.csv')] for run_dir in (one, other)]
    return pictures[0] == pictures[1] and rows[0] == rows[1] and len(pictures[0]) > 3 and len(rows[0]) > 3


@needs_mpi
@pytest.mark.slow
@pytest.mark.parametrize('kind', ['style', 'dream', 'fast', 'features'])
def test_processes_share_out_what_one_makes(story, kind):
    one, two = (story.run_dir(count, kind) for count in (1, 2))
    assert same_files(one, two)
    records = [json.loads((run_dir / 'run.json').read_text()) for run_dir in (one, two)]
    assert records[1]['processes'] == 2 and len(records[0]['results']) == len(records[1]['results'])
    for rows, field in (('pictures', 'name'), ('tiles', 'file')):
        assert [row[field] for row in records[0].get(rows, [])] == [row[field] for row in records[1].get(rows, [])]
    for played in (story.one, story.two):
        code, out, err = played.scenes[list(KINDS).index(kind)]
        assert (code, out.count('this run: ')) == (0, 1), err


@needs_mpi
@pytest.mark.slow
def test_one_of_three_ends_all_and_the_run_resumes(story):
    code, _, err = story.killed.scenes[1]
    assert code == 130 and err.count('mnist_convnet.py: ') == 1, err
    assert 'mnist_convnet.py: interrupted: step 5 of 10 is saved. Resume with: mpirun -n 3 ' in err
    assert story.killed.code and 0 < story.killed.seconds < 10
    code, err = story.refused
    assert code == 2 and err.count('mnist_convnet.py: ') == 1, err
    assert 'processes: 3; 1 would sum in another order' in err and 'mpirun -n 3' in err
    assert same_bytes(story.run_dir('stopped', 'mnist'), story.run_dir(3, 'mnist'))


@needs_mpi
@pytest.mark.slow
def test_pictures_that_one_of_two_processes_leaves_are_made_by_three_and_by_one(story):
    assert story.two.code and 0 < story.two.seconds < 10
    code, _, err = story.three.scenes[1]
    assert code == 130 and err.count('style_transfer.py: ') == 1, err
    assert 'interrupted: after ' in err and 'mpirun -n 3' in err and 0 < story.three.seconds < 30
    code, _, err = story.one.scenes[-1]
    assert code == 0, err
    run_dir = story.run_dir('stopped', 'style')
    assert same_files(run_dir, story.run_dir(1, 'style')) and not list(run_dir.glob('checkpoint-*.npz'))


@needs_mpi
def test_what_cannot_be_split_is_refused_in_one_line(forks, tmp_path):
    code, out, err = run_forks(forks, 2, RECIPES / 'deepdream.py', '--output-dir', tmp_path, '--frames', '2')
    assert code == 2 and out == '' and err.count('deepdream.py: error') == 1
    assert 'a film runs as one process, not as 2; start it without mpirun' in err and not list(tmp_path.iterdir())


@needs_mpi
@pytest.mark.parametrize('forked, options, message', [
    (False, ['--batch-size', '1'], '--batch-size 1: 2 processes share a batch; give a larger one'),
    (True, ['--steps', '0'], 'argument --steps: 0 given, expected a whole number of at least 1'),
    (True, ['--predict', 'digit.png'], '; train one first: python recipes/mnist_convnet.py')])  # only the first looks
def test_a_mistake_is_one_line(forks, tmp_path, forked, options, message):
    start = partial(run_forks, forks) if forked else run
    code, out, err = start(2, RECIPES / 'mnist_convnet.py', '--data-dir', tmp_path, '--output-dir', tmp_path, *options)
    assert code == 2 and out == '' and message in err and err.count('mnist_convnet.py: error') == 1
