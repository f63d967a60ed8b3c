"""The transfer recipe, on a VGG-16 four channels wide and photographs of red and blue things."""
import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import vgg16_transfer as recipe
from common import images, runs, session, training_journal
from common.errors import UnavailableError
from common.session import keras, tf
from datasets import image_folder
from networks import vgg

SCRIPT = Path(recipe.__file__)
DRIVER = Path(__file__).with_name('narrow_vgg16.py')
TINY = ['--size', '32', '--batch-size', '8', '--head-epochs', '3', '--epochs', '2', '--early-stopping', '0']
NUM_TRAIN, NUM_VALIDATION = 10, 8  # of each class; half of the latter becomes test


@pytest.fixture(autouse=True)
def no_real_network(narrow_vgg16, monkeypatch):
    monkeypatch.setenv('RECIPES_OFFLINE', '1')


@pytest.fixture
def no_pictures(monkeypatch):
    """For tests that look at none: they take longer to draw than a tiny network to train."""
    for name in ('plot_curves', 'plot_image_grid', 'plot_confusion_matrix'):
        monkeypatch.setattr(recipe.plotting, name, lambda *unused, **also_unused: None)


def photograph(class_name, number):
    """A noisy picture, reddish or bluish or greenish as its class is."""
    random = np.random.RandomState([len(class_name), number])
    image = random.uniform(0, 120, [40, 48, 3])
    image[:, :, {'red': 0, 'blue': 2, 'green': 1}[class_name]] += random.uniform(40, 135)
    return image


COUNTS = (('train', NUM_TRAIN), ('validation', NUM_VALIDATION))


def make_photographs(folder, class_names=('red', 'blue'), counts=COUNTS):
    number = 0
    for part, count in counts:
        for name in class_names:
            for _ in range(count):
                number += 1
                images.save_image(folder / part / name / ('%d.png' % number), photograph(name, number))
    return folder


@pytest.fixture(scope='session')
def photographs(tmp_path_factory):
    """Folder of a small data set, split into train/ and validation/."""
    return make_photographs(tmp_path_factory.mktemp('photographs'))


@pytest.fixture
def arguments(tmp_path, photographs):
    """Function of a name of an output folder and of options to a command line of a tiny run."""
    def build(name, *more, data_dir=photographs):
        return TINY + ['--data-dir', str(data_dir), '--models-dir', str(tmp_path / 'models'),
                       '--output-dir', str(tmp_path / name)] + list(more)
    return build


def latest(folder):
    return (folder / recipe.RECIPE / 'latest').resolve()


def final_weights(run_dir):
    step = runs.load_state(run_dir)['step']
    reader = tf.train.NewCheckpointReader(str(run_dir / 'checkpoints' / ('model-%d' % step)))
    return {name: reader.get_tensor(name).tobytes() for name in reader.get_variable_to_shape_map()}


def test_predictions(run_dir):
    with (run_dir / 'test_predictions.csv').open() as file:
        return list(csv.DictReader(file))


test_predictions.__test__ = False


@pytest.fixture(scope='module')
def trained(tmp_path_factory, photographs):
    """Folder with one finished run, exported."""
    folder = tmp_path_factory.mktemp('trained')
    subprocess.check_call([sys.executable, str(DRIVER)] + TINY + [
        '--data-dir', str(photographs), '--output-dir', str(folder), '--head-epochs', '30',
        '--head-learning-rate', '0.01', '--export', '--quiet', '--tta', 'flip'],
        env=dict(os.environ, PYTHONPATH=str(SCRIPT.parent)))
    return folder


def run_as_a_program(command, **options):
    return subprocess.Popen([sys.executable, str(DRIVER)] + command, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                            env=dict(os.environ, PYTHONPATH=str(SCRIPT.parent)), **options)


def test_a_run_writes_pictures_and_a_record(tmp_path, arguments, capsys):
    assert recipe.main(arguments('out', '--tta', 'flip', '--views', '1')) == 0
    out = capsys.readouterr().out
    run_dir = latest(tmp_path / 'out')
    assert '20 train, 8 validation, 8 test' in out and 'classes: blue, red' in out
    assert 'block5_pool and block4_pool: 84 images and views to compute' in out
    assert out.splitlines()[-1].startswith('validation accuracy') and '8 images' in out.splitlines()[-1]
    assert out.splitlines()[-2].startswith('with the mirror image, test accuracy')
    for name in ('stage1_loss', 'stage1_accuracy', 'stage2_loss', 'stage2_accuracy', 'confusion_matrix', 'mistakes',
                 'grad_cam_right', 'grad_cam_wrong'):
        picture = images.load_image(run_dir / (name + '.png'))
        assert min(picture.shape[:2]) > 50 and picture.std() > 5, name
    record = json.loads((run_dir / 'run.json').read_text())
    assert record['results']['test_images'] == 8 and record['classes'] == ['blue', 'red']
    assert record['stage1']['step'] == 3 * 3 and record['settings']['fine_tune'] == 'block5'
    assert [row['step'] for row in runs.read_metrics(run_dir / 'stage1.csv')] == [3, 6, 9]
    assert [row['step'] for row in runs.read_metrics(run_dir / 'stage2.csv')] == [2, 4, 6]
    rows = test_predictions(run_dir)
    assert len(rows) == 8 and all(abs(float(row['p_red']) + float(row['p_blue']) - 1) < 1e-5 for row in rows)
    assert 'block5_conv3' in (run_dir / 'summary.txt').read_text()
    assert 'precision' in (run_dir / 'classes.txt').read_text()


def test_the_colors_are_learnt(trained):
    results = runs.read_record(latest(trained))['results']
    assert results['test_accuracy'] >= 7 / 8 and results['validation_accuracy'] >= 7 / 8
    assert results['test_accuracy_with_flip'] >= 7 / 8
    stage1 = runs.read_metrics(latest(trained) / 'stage1.csv')
    assert stage1[-1]['training_loss'] < 0.5 * stage1[0]['training_loss']


def test_a_second_run_finds_the_features(arguments, tmp_path, capsys, no_pictures):
    assert recipe.main(arguments('out')) == 0
    assert '56 images and views to compute' in capsys.readouterr().out
    assert recipe.main(arguments('out', '--seed', '5', '--fine-tune', 'none')) == 0
    assert ' 0 images and views to compute' in capsys.readouterr().out


def test_a_damaged_cache_is_made_anew_and_said_so(arguments, tmp_path, capsys, no_pictures):
    assert recipe.main(arguments('out')) == 0
    before = test_predictions(latest(tmp_path / 'out'))
    rows, = (tmp_path / 'out' / recipe.RECIPE / 'features').glob('block4_pool-32-flip*/rows')
    rows.write_bytes(rows.read_bytes()[:-100])
    capsys.readouterr()
    assert recipe.main(arguments('out')) == 0
    out = capsys.readouterr().out
    assert 'cut off after' in out and 'made anew' in out and '4 images and views' in out
    assert test_predictions(latest(tmp_path / 'out')) == before


@pytest.mark.parametrize('more, stage2_trains', [
    (['--fine-tune', 'none'], None), (['--fine-tune', 'block4', '--learning-rate', '0.01'], 'block4_conv1'),
    (['--fine-tune', 'all', '--learning-rate', '0.01'], 'block1_conv1')])
def test_how_much_is_trained(tmp_path, arguments, no_pictures, narrow_vgg16, more, stage2_trains):
    assert recipe.main(arguments('out', '--class-weights', *more)) == 0
    run_dir = latest(tmp_path / 'out')
    assert (run_dir / 'stage2.csv').exists() == (stage2_trains is not None)
    found, names = final_weights(run_dir), sorted(set(narrow_vgg16.weights()) - {'conv1_1'})  # that one is turned
    changed = [name for name in names if narrow_vgg16.weights()[name][0].tobytes() !=
               found[name.replace('conv', 'block').replace('_', '_conv') + '/kernel']]
    expected = {None: [], 'block4_conv1': names[-6:], 'block1_conv1': names}[stage2_trains]
    assert changed == expected


def test_the_chapters_settings(tmp_path, arguments, no_pictures):
    args = recipe.parse_args(['--book'])
    assert (args.size, args.batch_size, args.epochs, args.learning_rate, args.pooling, args.head_epochs) == (
        256, 16, 50, 1e-4, 'flatten', 0)
    command = [option for option in arguments('out', '--book', '--steps', '3', '--pooling', 'flatten')]
    command[command.index('--head-epochs') + 1] = '0'
    assert recipe.main(command) == 0
    run_dir = latest(tmp_path / 'out')
    assert runs.load_state(run_dir)['step'] == 3 and not (run_dir / 'stage1.csv').exists()
    assert not (tmp_path / 'out' / recipe.RECIPE / 'features').exists()


def test_many_classes_without_a_split(tmp_path, arguments, no_pictures, capsys):
    folder = make_photographs(tmp_path / 'three', ('red', 'blue', 'green'), (('.', 12),))
    assert recipe.main(arguments('out', data_dir=folder)) == 0
    assert '24 train, 6 validation, 6 test' in capsys.readouterr().out
    assert len(test_predictions(latest(tmp_path / 'out'))[0]) == 3 + 3


def test_class_weights_let_each_class_count_the_same(narrow_vgg16):
    args = recipe.parse_args([])
    model = recipe.build_model(recipe.parse_args(['--size', '32']), 2)
    stage = recipe.build_stage('stage', model, recipe.TOP_LAYER, [], None, [0.5, 2.0], args)
    with session.open_session() as sess:
        keras.backend.set_session(sess)
        sess.run(tf.global_variables_initializer())
        features = np.random.RandomState(0).uniform(0, 5, [3, 1, 1, 4])
        losses = [sess.run(stage.loss, {stage.inputs: features[k:k + 1], stage.labels: [label]})
                  for k, label in enumerate([0, 1, 0])]
        probabilities = sess.run(stage.probabilities, {stage.inputs: features})
    expected = -np.log(probabilities[[0, 1, 2], [0, 1, 0]]) * [0.5, 2.0, 0.5]
    np.testing.assert_allclose(losses, expected, rtol=1e-4)


def test_the_learning_rate_falls_to_zero():
    step = tf.placeholder(tf.int64, [])
    rate = recipe.decaying(0.2, step, 100)
    with session.open_session() as sess:
        np.testing.assert_allclose([sess.run(rate, {step: n}) for n in (0, 50, 100)], [0.2, 0.1, 0], atol=1e-7)


def test_the_same_seed_gives_the_same_predictions_and_another_seed_others(tmp_path, arguments, no_pictures):
    found = []
    for name, seed in (('a', '1'), ('b', '1'), ('c', '2')):
        assert recipe.main(arguments(name, '--seed', seed, '--quiet')) == 0
        found.append(final_weights(latest(tmp_path / name)))
    assert found[0] == found[1] != found[2]
    assert test_predictions(latest(tmp_path / 'a')) == test_predictions(latest(tmp_path / 'b'))


def test_killed_and_resumed_equals_never_stopped(tmp_path, arguments):
    # In processes of their own: TensorFlow keeps the number of threads of a process's first session.
    more = ['--epochs', '40', '--quiet']
    assert run_as_a_program(arguments('whole', *more)).wait() == 0
    process = run_as_a_program(arguments('killed', *more))
    deadline = time.time() + 120
    while time.time() < deadline and not any(json.loads(path.read_text())['step'] > 2 for path in
                                             (tmp_path / 'killed').glob('*/2*/checkpoints/state.json')):
        time.sleep(0.01)
    process.kill()
    process.wait()
    run_dir = latest(tmp_path / 'killed')
    assert 2 < runs.load_state(run_dir)['step'] < 120
    resumed = run_as_a_program(['--resume', str(run_dir), '--quiet', '--output-dir', str(tmp_path / 'killed')])
    assert resumed.wait() == 0
    assert final_weights(run_dir) == final_weights(latest(tmp_path / 'whole'))
    assert test_predictions(run_dir) == test_predictions(latest(tmp_path / 'whole'))
    for name in ('stage1.csv', 'stage2.csv'):
        assert (run_dir / name).read_bytes() == (latest(tmp_path / 'whole') / name).read_bytes()


def test_a_resumed_run_looks_where_it_was(tmp_path, arguments, photographs, capsys, monkeypatch, no_pictures):
    for name, more, features in (('a', [], tmp_path / 'a' / recipe.RECIPE / 'features'),
                                 ('b', ['--features-dir', str(tmp_path / 'f')], tmp_path / 'f')):
        assert recipe.main(arguments(name, *more)) == 0
        capsys.readouterr()
        assert recipe.main(['--resume', str(latest(tmp_path / name))]) == 0
        assert f' 0 images and views to compute, in {features}' in capsys.readouterr().out
    args = recipe.parse_args(['--weights', 'mine.h5', '--resume', str(latest(tmp_path / 'b'))])
    recipe.look_where_it_was(args)
    assert [getattr(args, name) for name in recipe.PLACES] == [
        photographs, tmp_path / 'models', Path('mine.h5'), tmp_path / 'f']


@pytest.mark.parametrize('stage, step', [('stage1', 4), ('stage2', 3)])
def test_ctrl_c_in_either_stage(tmp_path, arguments, capsys, monkeypatch, no_pictures, stage, step):
    assert recipe.main(arguments('whole')) == 0
    after_step = recipe.Journal.after_step

    def interrupted(journal, done, *figures):
        if done == step and journal.save_between == (stage == 'stage2'):
            os.kill(os.getpid(), signal.SIGINT)
        return after_step(journal, done, *figures)
    monkeypatch.setattr(recipe.Journal, 'after_step', interrupted)
    assert recipe.main(arguments('stopped')) == 130
    message = capsys.readouterr().err.splitlines()[-1]
    assert 'step %d of' % step in message and '--resume {}'.format(latest(tmp_path / 'stopped')) in message
    monkeypatch.setattr(recipe.Journal, 'after_step', after_step)
    assert recipe.main(['--resume', str(latest(tmp_path / 'stopped')), '--output-dir', str(tmp_path / 'stopped')]) == 0
    assert final_weights(latest(tmp_path / 'stopped')) == final_weights(latest(tmp_path / 'whole'))


def test_ctrl_c_while_features_are_computed(tmp_path, arguments, capsys, monkeypatch, no_pictures):
    def interrupt(*unused):
        raise KeyboardInterrupt
    monkeypatch.setattr(recipe.photographs, 'read_images', interrupt)
    assert recipe.main(arguments('out')) == 130
    assert '--resume {}'.format(latest(tmp_path / 'out')) in capsys.readouterr().err.splitlines()[-1]
    monkeypatch.undo()


def test_the_best_weights_are_the_ones_reported(tmp_path, arguments, monkeypatch, no_pictures):
    losses = iter([0.7, 0.6, 0.5] + [0.4, 0.2, 0.3])
    monkeypatch.setattr(training_journal, 'measure', lambda *unused: {
        'validation_loss': next(losses), 'validation_accuracy': 0.5})
    assert recipe.main(arguments('out')) == 0
    run_dir = latest(tmp_path / 'out')
    assert runs.read_record(run_dir)['results']['best_step'] == 4
    assert {path.name.split('.')[0] for path in (run_dir / 'checkpoints').glob('model-*')} == {'model-4', 'model-6'}
    best = test_predictions(run_dir)
    paths = [row['file'] for row in best]
    assert recipe.main(['--predict'] + paths + ['--output-dir', str(tmp_path / 'out')]) == 0
    with (run_dir / 'predictions.csv').open() as file:
        again = list(csv.DictReader(file))
    for row, expected in zip(again, best):
        assert abs(float(row['p_red']) - float(expected['p_red'])) < 2e-3  # features are kept in 16 bits


def test_early_stopping_ends_each_stage(tmp_path, arguments, monkeypatch, no_pictures):
    losses = iter([0.7, 0.8, 0.9] + [0.6, 0.65, 0.66])
    monkeypatch.setattr(training_journal, 'measure', lambda *unused: {
        'validation_loss': next(losses), 'validation_accuracy': 0.5})
    command = arguments('out', '--head-epochs', '30', '--epochs', '30', '--early-stopping', '2')
    assert recipe.main(command) == 0
    run_dir = latest(tmp_path / 'out')
    assert runs.read_record(run_dir)['stage1']['step'] == 9 and runs.read_record(run_dir)['stage1']['best_step'] == 3
    assert runs.load_state(run_dir)['step'] == 6 and runs.load_state(run_dir)['best_step'] == 2


def test_own_pictures_are_classified(tmp_path, trained, capsys):
    for number in range(4):
        images.save_image(tmp_path / 'mine' / ('red%d.png' % number), photograph('red', 1000 + number))
    images.save_image(tmp_path / 'blue.jpg', photograph('blue', 2000))
    (tmp_path / 'mine' / 'text.png').write_text('no picture')
    command = ['--predict', str(tmp_path / 'mine'), str(tmp_path / 'blue.jpg'), '--output-dir', str(trained)]
    assert recipe.main(command) == 0
    out, err = capsys.readouterr()
    lines = out.splitlines()
    assert 'left out: ' in err and 'text.png' in err and len(lines) == 6
    assert sum(line.split(': ')[1].startswith('red') for line in lines[:4]) >= 3
    assert lines[4].split(': ')[1].startswith('blue')
    with (latest(trained) / 'predictions.csv').open() as file:
        rows = list(csv.DictReader(file))
    assert [row['class'] for row in rows] == [line.split(': ')[1].split()[0] for line in lines[:5]]
    assert images.load_image(latest(trained) / 'predictions.png').std() > 5


def test_a_file_name_that_is_no_text(tmp_path, trained):
    images.save_image(tmp_path / 'red.png', photograph('red', 1))
    os.rename(os.fsencode(str(tmp_path / 'red.png')), os.fsencode(str(tmp_path)) + b'/caf\xe9.png')
    process = run_as_a_program(['--predict', str(tmp_path), '--output-dir', str(trained)])
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err.decode()
    assert b'caf\\udce9.png: ' in out
    assert b'caf\xe9.png' in (latest(trained) / 'predictions.csv').read_bytes()


def load_elsewhere(code, exported, run_dir, tmp_path):
    """Runs a program that knows nothing of the recipe on a model and the test pictures; returns what it prints."""
    paths = [Path(row['file']) for row in test_predictions(run_dir)]
    np.save(str(tmp_path / 'pixels.npy'), image_folder.load_batch(paths, 32, 1).astype(np.float32))
    done = subprocess.run([sys.executable, '-W', 'ignore', '-c', code, str(run_dir / exported),
                           str(tmp_path / 'pixels.npy')], stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=120)
    assert done.returncode == 0, done.stderr.decode()[-2000:]
    return done.stdout.decode()


def test_a_plain_client_loads_the_saved_model(trained, tmp_path):
    rows = test_predictions(latest(trained))
    code = ('import sys, numpy as np, tensorflow as tf\n'
            'model = tf.contrib.predictor.from_saved_model(sys.argv[1])\n'
            'found = model({"images": np.load(sys.argv[2])})\n'
            'print(",".join(label.decode() for label in found["labels"]), found["probabilities"].shape)')
    printed = load_elsewhere(code, 'saved_model', latest(trained), tmp_path)
    assert printed.strip() == ','.join(row['class'] for row in rows) + ' (8, 2)'


def test_plain_keras_loads_the_h5(trained, tmp_path):
    rows = test_predictions(latest(trained))
    code = ('import sys, json, h5py, keras, numpy as np\n'
            'model = keras.models.load_model(sys.argv[1], compile=False)\n'
            'names = json.loads(h5py.File(sys.argv[1], "r").attrs["class_names"])\n'
            'print(json.dumps([names, model.predict(np.load(sys.argv[2])).tolist()]))')
    printed = load_elsewhere(code, 'model.h5', latest(trained), tmp_path)
    names, probabilities = json.loads(printed)
    assert names == ['blue', 'red']
    expected = [[float(row['p_blue']), float(row['p_red'])] for row in rows]
    np.testing.assert_allclose(probabilities, expected, atol=2e-3)  # features are kept in 16 bits


@pytest.mark.parametrize('more, code, text', [
    (['--steps', '0'], 2, '0 given, expected a whole number of at least 1'),
    (['--learning-rate', 'nan'], 2, 'nan given'),
    (['--size', '16'], 2, '16 given'),
    (['--fine-tune', 'block3'], 2, "invalid choice: 'block3'"),
    (['--fine-tune', 'none', '--head-epochs', '0'], 2, 'nothing is trained'),
    (['--fine-tune', 'none', '--steps', '7'], 2, '--steps 7: an option of stage 2'),
    (['--fine-tune', 'none', '--learning-rate', '0.1'], 2, '--learning-rate 0.1: an option of stage 2'),
    (['--book'], 2, '--book --head-epochs 3'),
    (['--run', '.'], 2, 'there is no --predict'),
    (['--features-dir', str(SCRIPT / 'features')], 2, '--features-dir'),
    (['--resume', '.'], 2, '--resume .: not a run'),
    (['--predict', 'missing.png'], 2, 'missing.png'),
    (['--device', 'gpu'], 3, 'no CUDA GPU')])
def test_a_users_mistake_is_one_line_and_writes_nothing(tmp_path, arguments, capsys, monkeypatch, more, code, text):
    monkeypatch.setattr(session, '_gpu_descriptions', lambda threads: [])
    assert recipe.main(arguments('out', *more)) == code
    errors = [line for line in capsys.readouterr().err.splitlines() if ': error: ' in line]
    assert len(errors) == 1 and text in errors[0]
    assert not (tmp_path / 'out').exists()


@pytest.mark.parametrize('spoil, text', [
    (lambda folder: shutil.rmtree(str(folder / 'train' / 'red')), "red"),
    (lambda folder: [path.write_text('text') for path in (folder / 'train' / 'red').iterdir()], 'red'),
    (lambda folder: [path.unlink() for path in list((folder / 'train' / 'red').iterdir())[1:]], 'single'),
    (lambda folder: shutil.rmtree(str(folder / 'train')), 'train'),
    (lambda folder: shutil.rmtree(str(folder)), 'no such folder')])
def test_data_that_cannot_be_learnt_from(tmp_path, arguments, photographs, capsys, spoil, text):
    folder = tmp_path / 'spoilt'
    shutil.copytree(str(photographs), str(folder))
    spoil(folder)
    assert recipe.main(arguments('out', data_dir=folder)) == 2
    errors = [line for line in capsys.readouterr().err.splitlines() if ': error: ' in line]
    assert len(errors) == 1 and text in errors[0]
    assert not (tmp_path / 'out').exists()


def test_without_data_it_says_how_to_get_some(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv('RECIPES_DATA_DIR', str(tmp_path / 'data'))
    assert recipe.main(['--output-dir', str(tmp_path / 'out')]) == 3
    message = capsys.readouterr().err
    assert 'kagglecatsanddogs_5340.zip' in message and 'kaggle.com' in message and len(message.splitlines()) == 3
    assert not (tmp_path / 'out').exists()


def test_a_bad_picture_is_left_out_and_listed(tmp_path, arguments, photographs, capsys, no_pictures):
    folder = tmp_path / 'photographs'
    shutil.copytree(str(photographs), str(folder))
    (folder / 'train' / 'red' / 'bad.jpg').write_text('no picture')
    assert recipe.main(arguments('out', data_dir=folder)) == 0
    out = capsys.readouterr().out
    assert 'left out: %s: not a picture' % (folder / 'train' / 'red' / 'bad.jpg') in out and '20 train' in out
    assert (folder / 'train' / 'red' / 'bad.jpg').exists()


def test_resume_refuses_other_images_and_other_settings(tmp_path, arguments, photographs, capsys, no_pictures):
    folder = tmp_path / 'photographs'
    shutil.copytree(str(photographs), str(folder))
    assert recipe.main(arguments('out', data_dir=folder)) == 0
    resume = ['--resume', str(latest(tmp_path / 'out')), '--output-dir', str(tmp_path / 'out')]
    assert recipe.main(resume + ['--epochs', '9']) == 2
    assert 'that run has --epochs 2, not 9' in capsys.readouterr().err
    images.save_image(folder / 'train' / 'red' / 'one_more.png', photograph('red', 77))
    assert recipe.main(resume) == 2
    assert 'images changed since' in capsys.readouterr().err


def test_predict_wants_a_run_and_the_same_classes(tmp_path, trained, capsys):
    picture, other = tmp_path / 'picture.png', tmp_path / 'other'
    images.save_image(picture, photograph('red', 1))
    make_photographs(other, ('red', 'green'))
    assert recipe.main(['--predict', str(picture), '--output-dir', str(tmp_path / 'nothing')]) == 2
    assert 'no run in' in capsys.readouterr().err
    assert recipe.main(['--predict', str(picture), '--output-dir', str(trained), '--data-dir', str(other)]) == 2
    assert 'knows the classes blue, red, but' in capsys.readouterr().err
    (tmp_path / 'text.png').write_text('no picture')
    assert recipe.main(['--predict', str(tmp_path / 'text.png'), '--output-dir', str(trained)]) == 2
    assert 'text.png' in capsys.readouterr().err
    unfinished = runs.create(tmp_path / 'unfinished', recipe.RECIPE)
    runs.release_all()
    assert recipe.main(['--predict', str(picture), '--run', str(unfinished)]) == 2
    assert 'no trained weights yet' in capsys.readouterr().err


def test_weights_of_another_network(tmp_path, arguments, photographs, capsys):
    (tmp_path / 'weights.h5').write_text('text')
    code = ('import sys, vgg16_transfer; sys.exit(vgg16_transfer.main(sys.argv[1:]))')
    done = subprocess.run([sys.executable, '-c', code] + arguments('out', '--weights', str(tmp_path / 'weights.h5')),
                          cwd=str(SCRIPT.parent), stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=120)
    assert done.returncode == 2 and b'weights.h5: a file that is neither' in done.stderr
    assert b'Traceback' not in done.stderr and not (tmp_path / 'out').exists()


@pytest.mark.parametrize('limit, text', [(2000, 'features'), (100000, 'checkpoint')])
def test_a_disk_that_fills_up(tmp_path, arguments, limit, text):
    code = ('import resource, runpy, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (%d, %d))\n'
            'sys.argv = sys.argv[1:]; runpy.run_path(sys.argv[0], run_name="__main__")' % (limit, limit))
    command = [sys.executable, '-c', code, str(DRIVER)] + arguments('out', '--quiet', '--hidden-units', '9000')
    done = subprocess.run(command, env=dict(os.environ, PYTHONPATH=str(SCRIPT.parent)), timeout=120,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    lines = done.stderr.decode().splitlines()
    assert done.returncode == 3 and text in lines[-1], done.stderr
    assert not any('Traceback' in line for line in lines)


@pytest.mark.parametrize('limit_before, limit_after, text', [
    (2000, 2000, 'SavedModel'), (None, 2000, 'model.h5')])
def test_a_disk_that_fills_up_while_exporting(tmp_path, arguments, limit_before, limit_after, text):
    code = ('import resource, sys, narrow_vgg16, vgg16_transfer as recipe\n'
            'narrow_vgg16.patch(setattr)\n'
            'export, save = recipe.export, recipe.tf.saved_model.simple_save\n'
            'def limit(size):\n    if size: resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))\n'
            f'def limited_export(args):\n    limit({limit_before!r})\n    return export(args)\n'
            f'def limiting_save(*args):\n    save(*args)\n    limit({limit_after!r})\n'
            'recipe.export, recipe.tf.saved_model.simple_save = limited_export, limiting_save\n'
            'sys.exit(recipe.main(sys.argv[1:]))')
    done = subprocess.run([sys.executable, '-c', code] + arguments('out', '--quiet', '--export', '--fine-tune', 'none'),
                          env=dict(os.environ, PYTHONPATH=f'{SCRIPT.parent}:{DRIVER.parent}'), timeout=120,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    lines = done.stderr.decode().splitlines()
    assert done.returncode == 3 and 'cannot write' in lines[-1] and text in lines[-1], done.stderr
    assert not any('Traceback' in line for line in lines)
    assert not (latest(tmp_path / 'out') / 'model.h5').exists()
    assert not list(latest(tmp_path / 'out').glob('.*part*'))


def test_a_loss_that_is_no_number_ends_the_run_and_keeps_a_checkpoint(tmp_path, arguments, capsys, monkeypatch,
                                                                      no_pictures):
    read, batches = recipe.BottleneckFeatures.read, []

    def poisoned(features, layer, sums, views_of_images):
        found = read(features, layer, sums, views_of_images)
        if layer == 'block4_pool' and 'flip' in views_of_images:  # a training batch of stage 2
            batches.append(sums)
            found = found * (np.nan if len(batches) == 4 else 1)
        return found
    monkeypatch.setattr(recipe.BottleneckFeatures, 'read', poisoned)
    assert recipe.main(arguments('out')) == 1
    assert 'the loss is nan in step 4' in capsys.readouterr().err.splitlines()[-1]
    assert runs.load_state(latest(tmp_path / 'out'))['step'] == 2


@pytest.mark.real_data
def test_real_features_tell_cats_from_dogs(tmp_path, real_data_dir, real_models_dir, monkeypatch):
    monkeypatch.undo()  # the real network
    monkeypatch.setenv('RECIPES_OFFLINE', '1')
    source = real_data_dir / 'dogs_and_cats'
    if not source.is_dir():
        pytest.skip(f'no dogs_and_cats in {real_data_dir}')
    try:
        vgg.obtain_weights(real_models_dir, 'vgg16', quiet=True)
    except UnavailableError:
        pytest.skip(f'no weights of VGG-16 in {real_models_dir}')
    for part, count in (('train', 60), ('validation', 40)):
        for folder in sorted((source / part).iterdir()):
            (tmp_path / 'few' / part / folder.name).mkdir(parents=True)
            for path in sorted(folder.iterdir())[:count]:
                (tmp_path / 'few' / part / folder.name / path.name).symlink_to(path)
    assert recipe.main(['--data-dir', str(tmp_path / 'few'), '--models-dir', str(real_models_dir), '--size', '64',
                        '--fine-tune', 'none', '--output-dir', str(tmp_path), '--quiet']) == 0
    results = runs.read_record(latest(tmp_path))['results']
    assert (results['test_accuracy'] + results['validation_accuracy']) / 2 > 0.7
