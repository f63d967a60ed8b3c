import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from common import checkpoints, runs, session
from common.errors import InputError, UnavailableError
from common.metrics import MetricsLog, read_metrics
from common.session import tf


def test_two_runs_in_one_second_have_folders_of_their_own(tmp_path, monkeypatch):
    monkeypatch.setattr(runs.time, 'strftime', lambda *unused: '2026-01-01_000000')
    first, second = runs.create(tmp_path, 'dream'), runs.create(tmp_path, 'dream')
    assert (first.name, second.name) == ('2026-01-01_000000', '2026-01-01_000000-2')
    assert (tmp_path / 'dream' / 'latest').resolve() == second.resolve()


def test_the_record_grows_and_keeps_plain_values(tmp_path):
    run_dir = runs.create(tmp_path, 'dream', settings={'content': Path('sky.jpg')}, seed=np.int64(3))
    runs.write_record(run_dir, results={'accuracy': np.float32(0.5), 'counts': np.arange(2)})
    record = json.loads((run_dir / 'run.json').read_text())
    assert record['settings'] == {'content': 'sky.jpg'} and record['seed'] == 3
    assert record['results'] == {'accuracy': 0.5, 'counts': [0, 1]}
    assert record['recipe'] == 'dream' and 'python' in record['versions'] and 'numpy' in record['versions']


def test_a_record_that_cannot_be_written_leaves_the_old_one(tmp_path):
    run_dir = runs.create(tmp_path, 'dream', seed=1)
    with pytest.raises(TypeError, match='cannot represent'):
        runs.write_record(run_dir, seed=object())
    assert runs.read_record(run_dir)['seed'] == 1
    assert sorted(path.name for path in run_dir.iterdir()) == ['.lock', 'run.json']


def test_locate_finds_the_latest_run_and_a_named_one(tmp_path):
    first, second = runs.create(tmp_path, 'dream'), runs.create(tmp_path, 'dream')
    assert runs.locate(tmp_path, 'dream', True) == second.resolve()
    assert runs.locate(tmp_path, 'dream', first) == first.resolve()
    second.rename(tmp_path / 'elsewhere')
    assert runs.locate(tmp_path, 'dream', True) == first.resolve()


def test_locate_refuses_no_run_an_empty_folder_and_another_recipes(tmp_path):
    with pytest.raises(InputError, match='no run in .*dream; start one first: python recipes/dream.py'):
        runs.locate(tmp_path, 'dream', True)
    with pytest.raises(InputError, match='--predict: no run in .*dream; train one first: python recipes/dream.py'):
        runs.locate(tmp_path, 'dream', True, '--predict')
    with pytest.raises(InputError, match='not a run; name a folder that contains a run.json'):
        runs.locate(tmp_path, 'dream', tmp_path)
    other = runs.create(tmp_path, 'style')
    with pytest.raises(InputError, match='a run of style, not of dream'):
        runs.locate(tmp_path, 'dream', other)


WORK_ON_IT = '\n'.join([
    'import sys; from pathlib import Path; from common import runs',
    'runs.hold(Path(sys.argv[1]))',
    'print("holds it", flush=True); sys.stdin.read()'])


def test_a_record_without_a_field_that_is_needed_is_damaged(tmp_path):
    run_dir = runs.create(tmp_path, 'toy', objective=['mixed4c'])
    assert runs.recorded(run_dir, 'objective') == ['mixed4c']
    with pytest.raises(InputError, match='run.json: damaged: without tiles; start a new run'):
        runs.recorded(run_dir, 'tiles')


def test_one_process_at_a_time_works_on_a_run(tmp_path):
    run_dir = runs.create(tmp_path, 'dream')
    runs.hold(run_dir)  # again, by the same process
    program = [sys.executable, '-c', WORK_ON_IT, str(run_dir)]
    environment = dict(os.environ, PYTHONPATH=os.pathsep.join(sys.path))
    refused = subprocess.run(program, env=environment, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE,
                             text=True)
    assert f'InputError: --resume {run_dir}: another process is working on that run' in refused.stderr
    runs.release_all()
    with subprocess.Popen(program, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout.readline() == b'holds it\n'
        with pytest.raises(InputError, match='another process is working on that run'):
            runs.hold(run_dir)
        other.kill()
    runs.hold(run_dir)  # the lock goes with the process
    runs.release_all()


def test_an_output_folder_below_a_file_is_a_users_mistake(tmp_path):
    (tmp_path / 'file').write_text('')
    with pytest.raises(InputError, match='--output-dir'):
        runs.create(tmp_path / 'file', 'dream')


def test_a_folder_called_latest_is_a_users_mistake(tmp_path):
    (tmp_path / 'dream' / 'latest').mkdir(parents=True)
    with pytest.raises(InputError, match='latest: a folder, where the link'):
        runs.create(tmp_path, 'dream')
    assert [path.name for path in (tmp_path / 'dream').iterdir()] == ['latest']


@pytest.mark.parametrize('damage', [b'', b'{"step": 5, "recipe": "dre', b'[1]', b'{}', b'\xff\xfe'])
def test_a_damaged_record_or_state_is_said_so(tmp_path, damage):
    run_dir = runs.create(tmp_path, 'dream')
    (run_dir / 'run.json').write_bytes(damage)
    with pytest.raises(InputError, match='run.json: damaged'):
        runs.locate(tmp_path, 'dream', True)
    (run_dir / 'checkpoints').mkdir()
    (run_dir / 'checkpoints' / 'state.json').write_bytes(damage)
    with pytest.raises(InputError, match='state.json: damaged'):
        checkpoints.load_state(run_dir)


def test_what_a_resumed_run_has_to_share_with_its_beginning(tmp_path):
    run_dir, sums = runs.create(tmp_path, 'dream'), {'train': 'a' * 64, 'test': 'c' * 64}
    for _ in range(2):
        runs.check_unchanged(run_dir, tile_size=512, images=sums)
    with pytest.raises(InputError, match=r'tile_size changed since that run started \(512 then, 256 now\); start'):
        runs.check_unchanged(run_dir, tile_size=256)
    with pytest.raises(InputError, match='images changed since that run started; start a new run'):  # no checksums
        runs.check_unchanged(run_dir, images=dict(sums, train='b' * 64))
    record = runs.read_record(run_dir)
    assert (record['tile_size'], record['images']) == (512, sums)


def test_a_run_of_the_other_stack_is_resumed_there_alone_unless_it_is_finished(tmp_path, monkeypatch):
    run_dir = runs.create(tmp_path, 'dream')
    runs.check_stack(run_dir)
    began = session.stack()
    other = {'tf1': 'tf2', 'tf2': 'tf1'}[began]
    monkeypatch.setattr(session, 'stack', lambda: other)
    with pytest.raises(InputError, match=f'^--resume .*: started with TensorFlow .* STACK={began},') as error:
        runs.check_stack(run_dir)
    assert '\n' not in str(error.value)
    runs.write_record(run_dir, results={})
    runs.check_stack(run_dir)  # for --export, say


def test_arrays_come_back_bit_for_bit(tmp_path):
    picture = np.random.RandomState(0).randn(3, 4).astype(np.float32)
    runs.save_arrays(tmp_path / 'state.npz', picture=picture, step=7)
    loaded = runs.load_arrays(tmp_path / 'state.npz')
    assert loaded['picture'].dtype == np.float32 and loaded['picture'].tobytes() == picture.tobytes()
    assert loaded['step'] == 7 and [path.name for path in tmp_path.iterdir()] == ['state.npz']


def test_a_broken_state_or_one_with_pickles_is_refused(tmp_path):
    np.savez(str(tmp_path / 'pickle.npz'), picture=np.array([{}], object))
    runs.save_arrays(tmp_path / 'whole.npz', picture=np.arange(1000))
    (tmp_path / 'cut.npz').write_bytes((tmp_path / 'whole.npz').read_bytes()[:500])
    np.savez_compressed(str(tmp_path / 'bomb.npz'), picture=np.zeros(10 ** 5))
    for name in ('pickle.npz', 'cut.npz', 'missing.npz', 'bomb.npz'):
        with pytest.raises(InputError, match='not a state that this recipe saved'):
            runs.load_arrays(tmp_path / name)


@pytest.fixture
def counter():
    """(variable, operation that adds one, saver) in a session."""
    from common.session import open_session, tf
    with tf.Graph().as_default(), open_session(device='cpu') as sess:
        variable = tf.get_variable('counter', initializer=0.0)
        add_one = tf.assign_add(variable, 1.0)
        saver = tf.train.Saver(max_to_keep=0)
        sess.run(variable.initializer)
        yield sess, variable, add_one, saver


def test_a_checkpoint_comes_back_and_the_best_one_is_kept(tmp_path, counter):
    sess, variable, add_one, saver = counter
    for step in (1, 2, 3):
        sess.run(add_one)
        checkpoints.save(tmp_path, saver, sess, {'step': step, 'best_step': 1})
    assert checkpoints.load_state(tmp_path) == {'best_step': 1, 'step': 3}
    kept = {path.name.split('.')[0] for path in (tmp_path / 'checkpoints').glob('model-*')}
    assert kept == {'model-1', 'model-3'}
    checkpoints.restore(tmp_path, saver, sess, 1)
    assert sess.run(variable) == 1.0


def test_a_missing_checkpoint_is_said_so(tmp_path, counter):
    sess, _, _, saver = counter
    assert checkpoints.load_state(tmp_path) is None
    with pytest.raises(InputError, match='not a checkpoint of this network'):
        checkpoints.restore(tmp_path, saver, sess, 5)


def saved_counter(folder):
    from common.session import tf
    return tf.train.NewCheckpointReader(str(folder / 'variables' / 'variables')).get_tensor('counter')


def test_a_disk_that_fills_up_keeps_the_saved_model_before(tmp_path, counter):
    resource = pytest.importorskip('resource')
    sess, variable, add_one, _ = counter
    folder = checkpoints.save_model(tmp_path, sess, {'counter': variable}, {'value': variable})
    assert folder == tmp_path / 'saved_model'
    sess.run(add_one)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2, limits[1]))
    try:
        with pytest.raises(UnavailableError, match='cannot write the SavedModel into'):
            checkpoints.save_model(tmp_path, sess, {'counter': variable}, {'value': variable})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert list(tmp_path.iterdir()) == [folder]
    assert saved_counter(folder) == 0.0
    checkpoints.save_model(tmp_path, sess, {'counter': variable}, {'value': variable})
    assert saved_counter(folder) == 1.0


def test_a_disk_that_fills_up_keeps_the_checkpoint_before(tmp_path, counter):
    resource = pytest.importorskip('resource')
    sess, _, add_one, saver = counter
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    for step, end in ((1, '(?<!before is kept)$'), (2, 'the previous one is intact$')):
        resource.setrlimit(resource.RLIMIT_FSIZE, (2, limits[1]))
        try:
            with pytest.raises(UnavailableError, match=f'cannot write the checkpoint of step {step} .*{end}'):
                checkpoints.save(tmp_path, saver, sess, {'step': step, 'best_step': None})
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        if step == 1:
            checkpoints.save(tmp_path, saver, sess, {'step': 1, 'best_step': None})
    assert checkpoints.load_state(tmp_path)['step'] == 1
    checkpoints.restore(tmp_path, saver, sess, 1)


def test_cleaning_keeps_the_best_weights_of_finished_runs_and_all_of_others(tmp_path):
    found = {}
    for name, results in (('finished', {'test_accuracy': 1.0}), ('unfinished', None)):
        run_dir = runs.create(tmp_path, name)
        with tf.Graph().as_default(), session.open_session() as sess:
            tf.get_variable('x', initializer=1.0)
            saver = tf.train.Saver(max_to_keep=0)
            for step, best in ((1, 1), (2, 1)):
                sess.run(tf.global_variables_initializer())
                checkpoints.save(run_dir, saver, sess, {'step': step, 'best_step': best})
        (run_dir / 'checkpoint.npz').write_bytes(b'12345')
        if results:
            runs.write_record(run_dir, results=results)
        found[name] = run_dir
    assert checkpoints.clean(tmp_path) > 5
    left = {name: {path.name for path in run_dir.glob('**/*') if 'model-' in path.name or path.suffix == '.npz'}
            for name, run_dir in found.items()}
    assert left['finished'] == {'model-1.index', 'model-1.data-00000-of-00001'}
    assert {'checkpoint.npz', 'model-1.index', 'model-2.index'} < left['unfinished']
    with tf.Graph().as_default(), session.open_session() as sess:  # a resumed one has no step left to take
        tf.get_variable('x', initializer=2.0)
        checkpoints.restore(found['finished'], tf.train.Saver(), sess, 2)
        assert sess.run('x:0') == 1


@pytest.mark.parametrize('name', ['.lock', 'checkpoints', 'metrics.csv', 'tensorboard/stage2'])
def test_a_run_whose_files_are_links_is_refused(tmp_path, name):
    run_dir = runs.create(tmp_path / 'output', 'recipe')
    runs.release_all()
    (tmp_path / 'mine').mkdir()
    if (run_dir / name).exists():
        (run_dir / name).unlink()
    (run_dir / name).parent.mkdir(exist_ok=True)
    (run_dir / name).symlink_to(tmp_path / 'mine')
    with pytest.raises(InputError, match=f'{name}: a link to'):
        runs.hold(run_dir)


def test_a_checkpoint_removes_checkpoints_alone(tmp_path):
    with tf.Graph().as_default(), session.open_session() as sess:
        tf.get_variable('x', initializer=1.0)
        saver = tf.train.Saver(max_to_keep=0)
        sess.run(tf.global_variables_initializer())
        checkpoints.save(tmp_path, saver, sess, {'step': 1})
        folder = tmp_path / 'checkpoints'
        for name in ('model-mine.h5', 'model-2.h5', 'model-2.index.tempstate7'):
            (folder / name).write_bytes(b'1')
        checkpoints.save(tmp_path, saver, sess, {'step': 3})
    assert {path.name for path in folder.glob('model-*')} == {
        'model-mine.h5', 'model-2.h5', 'model-3.index', 'model-3.data-00000-of-00001'}


@pytest.mark.parametrize('name', ['run.json', 'checkpoints/state.json', 'metrics.csv', 'checkpoint.npz'])
@pytest.mark.parametrize('kind', ['fifo', 'folder', 'device', 'loop'])
def test_what_is_no_file_is_not_read(tmp_path, name, kind):
    run_dir = runs.create(tmp_path, 'dream')
    path = run_dir / name
    path.parent.mkdir(exist_ok=True)
    if path.exists():
        path.unlink()
    if kind == 'fifo':
        os.mkfifo(str(path))
    elif kind == 'folder':
        path.mkdir()
    else:
        path.symlink_to('/dev/zero' if kind == 'device' else path.name)
    with pytest.raises(InputError, match=f'{path.name}: not a regular file'):
        {'run.json': lambda: runs.read_record(run_dir), 'state.json': lambda: checkpoints.load_state(run_dir),
         'metrics.csv': lambda: MetricsLog(path, ['step'], keep_until=1),
         'checkpoint.npz': lambda: runs.load_arrays(path)}[path.name]()


def test_a_table_with_other_columns_is_damaged(tmp_path):
    (tmp_path / 'metrics.csv').write_text('step,loss\n1,2\n')
    assert read_metrics(tmp_path / 'metrics.csv', ['step', 'loss']) == [{'step': 1, 'loss': 2}]
    with pytest.raises(InputError, match='metrics.csv: damaged'):
        MetricsLog(tmp_path / 'metrics.csv', ['step', 'loss', 'accuracy'], keep_until=5)


def test_the_next_to_hold_a_run_removes_what_a_killed_process_left_half_written(tmp_path):
    run_dir = runs.create(tmp_path, 'dream')
    runs.release_all()
    litter = ['.0123456789abcdef0123456789abcdef.part.png', 'checkpoints/.0123456789abcdef0123456789abcdef.part.json',
              'checkpoints/checkpoint.tmp0123456789abcdef0123456789abcdef', 'checkpoints/model-3.index.tempstate123',
              '.saved_model.ab_cd123.part/new/saved_model.pb']
    kept = ['photo.part.png', '.hidden.png', 'checkpoints/checkpoint', 'checkpoints/model-3.index', 'part']
    for name in litter + kept:
        (run_dir / name).parent.mkdir(parents=True, exist_ok=True)
        (run_dir / name).write_text('half')
    (tmp_path / 'dream' / '.latest.old').symlink_to('nowhere')
    os.utime(str(tmp_path / 'dream' / '.latest.old'), (0, 0), follow_symlinks=False)
    runs.hold(run_dir)
    assert not any((run_dir / name).exists() for name in litter)
    assert not any('.part' in path.name and path.name.startswith('.') for path in run_dir.rglob('*'))
    assert all((run_dir / name).exists() for name in kept)
    runs.create(tmp_path, 'dream')
    assert not os.path.lexists(str(tmp_path / 'dream' / '.latest.old'))
    runs.release_all()


def test_a_full_disk_while_arrays_are_saved_is_one_error(tmp_path):
    code = ('import resource, sys, numpy as np\nfrom pathlib import Path\nfrom common import runs\n'
            'resource.setrlimit(resource.RLIMIT_FSIZE, (30000, 30000))\n'
            'try:\n  runs.save_arrays(Path("a.npz"), one=np.ones(2000), two=np.ones(90000), three=np.ones(9))\n'
            'except OSError as error:\n  print(error.filename)')
    done = subprocess.run([sys.executable, '-c', code], cwd=str(tmp_path), capture_output=True, timeout=60, text=True,
                          env=dict(os.environ, PYTHONPATH=str(Path(runs.__file__).parents[1])))
    assert done.stdout == 'a.npz\n' and done.stderr == '' and not list(tmp_path.iterdir())
