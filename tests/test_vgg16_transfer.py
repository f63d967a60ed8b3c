"""The transfer recipe, on a VGG-16 four channels wide and images of red and blue things."""
import contextlib
import csv
import io
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import vgg16_transfer as recipe
from common import checkpoints, images, plotting, runs, session
from common.errors import UnavailableError
from common.metrics import read_metrics
from common.session import tf
from datasets import augmented_copies, image_folder
from networks import vgg, vgg_keras
from training import run as training_run
from training.bottleneck_features import BottleneckFeatures

SCRIPT = Path(recipe.__file__)
PROGRAM = 'import sys, narrow_vgg16, vgg16_transfer as recipe; narrow_vgg16.patch(setattr)\n'
MAIN = 'sys.exit(recipe.main(sys.argv[1:]))'
TINY = ['--size', '32', '--batch-size', '8', '--head-epochs', '3', '--epochs', '2', '--early-stopping', '0']
NUM_TRAIN, NUM_VALIDATION = 10, 8  # of each class; half of the latter becomes test
PICTURES = 'plot_curves', 'plot_image_grid', 'plot_confusion_matrix'


@pytest.fixture(autouse=True)
def no_real_network(narrow_vgg16, monkeypatch):
    monkeypatch.setenv('RECIPES_OFFLINE', '1')


@pytest.fixture
def no_pictures(monkeypatch):
    """For tests that look at none: they take longer to draw than a tiny network to train."""
    for name in PICTURES:
        monkeypatch.setattr(plotting, name, lambda *unused, **also_unused: None)


def noisy_image(class_name, number):
    """Returns noise, reddish or bluish or greenish as its class is."""
    random = np.random.RandomState([len(class_name), number])
    image = random.uniform(0, 120, [40, 48, 3])
    image[:, :, {'red': 0, 'blue': 2, 'green': 1}[class_name]] += random.uniform(40, 135)
    return image


COUNTS = (('train', NUM_TRAIN), ('validation', NUM_VALIDATION))


def make_data(folder, class_names=('red', 'blue'), counts=COUNTS):
    number = 0
    for part, count in counts:
        for name in class_names:
            for _ in range(count):
                number += 1
                images.save_image(folder / part / name / f'{number}.png', noisy_image(name, number))
    return folder


@pytest.fixture(scope='session')
def data_dir(tmp_path_factory):
    """Folder of a small data set, split into train/ and validation/."""
    return make_data(tmp_path_factory.mktemp('images'))


@pytest.fixture
def arguments(tmp_path, data_dir):
    """Function of a name of an output folder and of options to a command line of a tiny run."""
    def build(name, *more, data_dir=data_dir):
        return TINY + ['--data-dir', str(data_dir), '--models-dir', str(tmp_path / 'models'),
                       '--output-dir', str(tmp_path / name)] + list(more)
    return build


def latest(folder):
    return (folder / recipe.RECIPE / 'latest').resolve()


def final_weights(run_dir):
    step = checkpoints.load_state(run_dir)['step']
    reader = tf.train.NewCheckpointReader(str(run_dir / 'checkpoints' / f'model-{step}'))
    return {name: reader.get_tensor(name).tobytes() for name in reader.get_variable_to_shape_map()}


def predictions(run_dir, name='test_predictions.csv'):
    with (run_dir / name).open() as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope='module')
def finished(tmp_path_factory, data_dir):
    """(Folder, stdout) of a finished run with two augmented copies of each image, to be looked at."""
    folder, out = tmp_path_factory.mktemp('finished'), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(out), tf.Graph().as_default():
        import narrow_vgg16
        narrow_vgg16.patch(patch.setattr)
        assert recipe.main(TINY + ['--data-dir', str(data_dir), '--output-dir', str(folder), '--tta', '--views',
                                   '1']) == 0
    return folder, out.getvalue()


@pytest.fixture
def stored(finished):
    """Options with which a run finds the features of that one; they take longer to compute than a head to train."""
    return ['--features-dir', str(finished[0] / recipe.RECIPE / 'features')]


@pytest.fixture(scope='module')
def trained(tmp_path_factory, data_dir, forks):
    """Folder with one finished run that has learned something, exported."""
    folder = tmp_path_factory.mktemp('trained')
    status, _, err = forks.run(
        PROGRAM + MAIN, *TINY, '--data-dir', data_dir, '--output-dir', folder, '--head-epochs', '30',
        '--head-learning-rate', '0.01', '--export', '--quiet', '--tta', folder=folder)
    assert status == 0, err
    return folder


# The graph, without a command line

def test_two_steps_as_from_a_notebook(narrow_vgg16):
    pixels = np.random.RandomState(0).randint(0, 256, [4, 32, 32, 3])
    with vgg_keras.open_session() as sess:
        model = recipe.build_model(2, size=32, fine_tune='block5')
        stage = recipe.build_stage('stage2', model, None, num_steps=9, learning_rate=1e-6, class_weights=[1, 1])
        sess.run(tf.global_variables_initializer())
        vgg_keras.set_weights(model, narrow_vgg16.weights())
        feed, losses = {stage.inputs: pixels, stage.labels: [0, 1, 0, 1]}, []
        for _ in range(2):
            losses.append(sess.run(stage.loss, feed))
            sess.run(stage.train_op, feed)
        losses.append(sess.run(stage.loss, feed))
    assert losses[0] > losses[1] > losses[2]


def test_what_is_frozen_at_full_width(monkeypatch):
    monkeypatch.undo()  # the real network
    # Keras's VGG-16 has 19 layers with its input; the chapter freezes the lowest 15.
    model = recipe.build_model(2, fine_tune='block5')
    keras_layers = [layer for layer in model.layers if layer.name != vgg_keras.PREPROCESS][:19]
    assert [layer.trainable for layer in keras_layers] == [False] * 15 + [True] * 4
    assert [layer.name for layer in keras_layers][14:16] == ['block4_pool', 'block5_conv1']
    trained = sum(np.prod(variable.shape.as_list()) for variable in model.trainable_weights)
    assert trained == 3 * (9 * 512 * 512 + 512) + 512 * 256 + 256 + 256 * 2 + 2


@pytest.mark.parametrize('fine_tune, first', [('none', 'hidden'), ('block4', 'block4_conv1'), ('all', 'block1_conv1')])
def test_what_is_trained(fine_tune, first):
    model = recipe.build_model(3, size=32, fine_tune=fine_tune)
    assert model.trainable_weights[0].name.startswith(first + '/')
    assert not model.get_layer(vgg_keras.PREPROCESS).trainable


@pytest.mark.parametrize('options, num_classes, shape', [
    ({}, 3, (3, 3)), ({'pooling': 'flatten', 'book': True}, 2, (3, 1)), ({'book': True}, 3, (3, 3)),
    ({'pooling': 'max', 'hidden_units': 0}, 2, (3, 2))],
    ids=['default', 'sigmoid', 'book, 3 classes', 'no hidden layer'])
def test_a_stage_computes_what_the_whole_model_does(narrow_vgg16, options, num_classes, shape):
    pixels = np.random.RandomState(1).randint(0, 256, [3, 32, 32, 3])
    with vgg_keras.open_session() as sess:
        model = recipe.build_model(num_classes, size=32, **options)
        stage = recipe.build_stage('stage', model, None, num_steps=1, learning_rate=0.1,
                                   class_weights=np.ones(num_classes))
        sess.run(tf.global_variables_initializer())
        vgg_keras.set_weights(model, narrow_vgg16.weights())
        whole, found = sess.run([model.output, stage.probabilities], {model.input: pixels, stage.inputs: pixels})
    assert whole.shape == shape and found.shape == (3, num_classes)
    np.testing.assert_allclose(found[:, 1:] if shape[1] == 1 else found, whole, rtol=1e-5)


def build_head_stage(**options):
    model = recipe.build_model(2, size=32)
    return model, recipe.build_stage('stage', model, recipe.TOP_LAYER, **dict(
        dict(num_steps=100, learning_rate=0.2, class_weights=[1.0, 1.0]), **options))


def test_dropout_keeps_its_fraction_and_depends_on_seed_and_step_alone():
    features = np.random.RandomState(0).uniform(0, 9, [400, 1, 1, 4])
    with vgg_keras.open_session() as sess:
        model, stage = build_head_stage(seed=3)
        sess.run(tf.global_variables_initializer())
        model.get_layer('logits').set_weights([np.array([[1e-3, -1e-3]] * 256), np.zeros(2)])
        feed = {stage.inputs: features, stage.keep_prob: 0.6}
        first, again, whole = (sess.run(stage.probabilities, {**feed, stage.keep_prob: keep})
                               for keep in (0.6, 0.6, 1.0))
        step, = [variable for variable in tf.global_variables() if variable.name == 'stage/step:0']
        step.load(1, sess)
        other = sess.run(stage.probabilities, feed)
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 0.01
    logits, expected = (np.log(rows[:, 0] / rows[:, 1]) for rows in (first, whole))
    np.testing.assert_allclose(logits.mean(), expected.mean(), rtol=0.02)


def test_class_weights_scale_the_loss_of_each_class():
    features = np.random.RandomState(0).uniform(0, 5, [3, 1, 1, 4])
    with vgg_keras.open_session() as sess:
        _, stage = build_head_stage(class_weights=[0.5, 2.0])
        sess.run(tf.global_variables_initializer())
        losses = [sess.run(stage.loss, {stage.inputs: features[k:k + 1], stage.labels: [label]})
                  for k, label in enumerate([0, 1, 0])]
        probabilities = sess.run(stage.probabilities, {stage.inputs: features})
    expected = -np.log(probabilities[[0, 1, 2], [0, 1, 0]]) * [0.5, 2.0, 0.5]
    np.testing.assert_allclose(losses, expected, rtol=1e-4)


@pytest.mark.parametrize('book, rates', [(False, [0.2, 0.1]), (True, [0.2, 0.2])], ids=['cosine', 'book'])
def test_the_learning_rate_of_a_stage(book, rates):
    with vgg_keras.open_session() as sess:
        _, stage = build_head_stage(num_steps=2, book=book)
        sess.run(tf.global_variables_initializer())
        feed = {stage.inputs: np.ones([1, 1, 1, 4]), stage.labels: [0]}
        found = [sess.run([stage.learning_rate, stage.train_op], feed)[0] for _ in range(2)]
    np.testing.assert_allclose(found, rates, rtol=1e-6)


# Whole runs

def test_a_run_writes_pictures_and_a_record(finished):
    folder, out = finished
    run_dir = latest(folder)
    assert '20 train, 8 validation, 8 test' in out and 'classes: blue, red' in out
    assert 'block5_pool and block4_pool: 84 images and copies to compute' in out
    assert out.splitlines()[-2].startswith('validation accuracy') and '8 images' in out.splitlines()[-2]
    assert out.splitlines()[-3].startswith('with mirror images, test accuracy')
    for name in ('stage1_loss', 'stage1_accuracy', 'stage2_loss', 'stage2_accuracy', 'confusion_matrix', 'mistakes',
                 'grad_cam_right', 'grad_cam_wrong'):
        picture = images.load_image(run_dir / f'{name}.png')
        assert min(picture.shape[:2]) > 50 and picture.std() > 5, name
    record = runs.read_record(run_dir)
    assert record['results']['test_images'] == 8 and record['classes'] == ['blue', 'red']
    assert 0 < record['results']['tta_accuracy_low'] < record['results']['tta_accuracy_high'] <= 1
    assert record['stage1']['step'] == 3 * 3 and record['settings']['fine_tune'] == 'block5'
    assert [row['step'] for row in read_metrics(run_dir / 'stage1.csv')] == [3, 6, 9]
    assert [row['step'] for row in read_metrics(run_dir / 'stage2.csv')] == [2, 4, 6]
    rows = predictions(run_dir)
    assert len(rows) == 8 and all(abs(float(row['p_red']) + float(row['p_blue']) - 1) < 1e-5 for row in rows)
    assert all(row['true_class'] == Path(row['file']).parent.name for row in rows)
    assert np.mean([row['true_class'] == row['class'] for row in rows]) == record['results']['test_accuracy']
    assert 'block5_conv3' in (run_dir / 'summary.txt').read_text()
    assert 'precision' in (run_dir / 'classes.txt').read_text()


@pytest.mark.parametrize('stage, steps', [('stage1', [3, 6, 9]), ('stage2', [2, 4, 6])])
def test_tensorboard_gets_what_the_metrics_have(finished, stage, steps):
    log, = (latest(finished[0]) / 'tensorboard' / stage).iterdir()
    found = [(event.step, value.tag) for event in tf.train.summary_iterator(str(log)) for value in event.summary.value]
    assert sorted(found) == sorted((step, tag) for step in steps for tag in (
        'loss', 'training_accuracy', 'validation_loss', 'validation_accuracy', 'learning_rate'))


def test_the_colors_are_learned(trained):
    results = runs.read_record(latest(trained))['results']
    assert results['test_accuracy'] >= 7 / 8 and results['validation_accuracy'] >= 7 / 8
    assert results['tta_accuracy'] >= 7 / 8
    stage1 = read_metrics(latest(trained) / 'stage1.csv')
    assert stage1[-1]['loss'] < 0.5 * stage1[0]['loss']


def test_another_run_finds_the_features_and_damaged_ones_are_recomputed(arguments, tmp_path, finished, capsys,
                                                                        no_pictures):
    features = tmp_path / 'features'
    shutil.copytree(str(finished[0] / recipe.RECIPE / 'features'), str(features))
    assert recipe.main(arguments('out', '--features-dir', str(features), '--seed', '5', '--fine-tune', 'none')) == 0
    assert f' 0 images and copies to compute, in {features}' in capsys.readouterr().out
    rows, = features.glob('block4_pool-32-flip*/rows')
    rows.write_bytes(rows.read_bytes()[:-100])
    assert recipe.main(arguments('again', '--features-dir', str(features), '--views', '1', '--tta')) == 0
    out = capsys.readouterr().out
    assert 'cut off after' in out and 'recomputed' in out and '4 images and copies' in out
    assert predictions(latest(tmp_path / 'again')) == predictions(latest(finished[0]))


@pytest.mark.slow
@pytest.mark.parametrize('more, stage2_trains', [
    (['--fine-tune', 'none'], None), (['--fine-tune', 'block4', '--learning-rate', '0.01'], 'block4_conv1'),
    (['--fine-tune', 'all', '--learning-rate', '0.01'], 'block1_conv1')], ids=['none', 'block4', 'all'])
def test_how_much_is_trained(tmp_path, arguments, stored, no_pictures, narrow_vgg16, more, stage2_trains):
    assert recipe.main(arguments('out', '--class-weights', '--head-epochs', '1', *stored, *more)) == 0
    run_dir = latest(tmp_path / 'out')
    assert (run_dir / 'stage2.csv').exists() == (stage2_trains is not None)
    found, names = final_weights(run_dir), sorted(set(narrow_vgg16.weights()) - {'conv1_1'})  # its input is BGR
    changed = [name for name in names if narrow_vgg16.weights()[name][0].tobytes() !=
               found[name.replace('conv', 'block').replace('_', '_conv') + '/kernel']]
    expected = {None: [], 'block4_conv1': names[-6:], 'block1_conv1': names}[stage2_trains]
    assert changed == expected


def test_the_chapters_settings(tmp_path, arguments, no_pictures):
    args = recipe.parse_args(['--book'])
    assert (args.size, args.batch_size, args.epochs, args.learning_rate, args.pooling, args.head_epochs) == (
        256, 16, 50, 1e-4, 'flatten', 0)
    command = arguments('out', '--book', '--steps', '3', '--pooling', 'flatten')
    command[command.index('--head-epochs') + 1] = '0'
    assert recipe.main(command) == 0
    run_dir = latest(tmp_path / 'out')
    assert checkpoints.load_state(run_dir)['step'] == 3 and not (run_dir / 'stage1.csv').exists()
    assert not (tmp_path / 'out' / recipe.RECIPE / 'features').exists()


def test_many_classes_without_a_split_and_an_unreadable_image(tmp_path, arguments, no_pictures, capsys):
    folder = make_data(tmp_path / 'three', ('red', 'blue', 'green'), (('.', 12),))
    (folder / 'red' / 'bad.jpg').write_text('no image')
    assert recipe.main(arguments('out', '--fine-tune', 'none', data_dir=folder)) == 0
    out = capsys.readouterr().out
    assert '24 train, 6 validation, 6 test' in out and f'skipped: {folder / "red" / "bad.jpg"}: not a' in out
    assert len(predictions(latest(tmp_path / 'out'))[0]) == 4 + 3
    skipped, = runs.read_record(latest(tmp_path / 'out'))['skipped']
    assert skipped.startswith(f'{folder / "red" / "bad.jpg"}: not a') and (folder / 'red' / 'bad.jpg').exists()


@pytest.mark.slow
def test_the_same_seed_gives_the_same_predictions_and_another_seed_others(tmp_path, arguments, finished, stored,
                                                                                  no_pictures):
    for seed in ('0', '2'):
        assert recipe.main(arguments(seed, '--seed', seed, *stored, '--views', '1', '--quiet')) == 0
    whole, same, other = (latest(folder) for folder in (finished[0], tmp_path / '0', tmp_path / '2'))
    assert final_weights(same) == final_weights(whole) != final_weights(other)
    assert predictions(same) == predictions(whole)


def test_ctrl_c_in_the_first_stage(tmp_path, arguments, finished, capsys, monkeypatch, no_pictures):
    record = recipe.TrainingRun.record

    def interrupted(run, *figures):
        record(run, *figures)
        if run.state['step'] == 4 and run.checkpoint_seconds is None:
            os.kill(os.getpid(), signal.SIGINT)
    monkeypatch.setattr(recipe.TrainingRun, 'record', interrupted)
    features = tmp_path / 'stopped' / recipe.RECIPE / 'features'  # which the resumed run finds
    shutil.copytree(str(finished[0] / recipe.RECIPE / 'features'), str(features))
    assert recipe.main(arguments('stopped', '--views', '1')) == 130
    message = capsys.readouterr().err.splitlines()[-1]
    assert 'step 4 of' in message and f'--resume {latest(tmp_path / "stopped")}' in message
    monkeypatch.setattr(recipe.TrainingRun, 'record', record)
    assert recipe.main(['--resume', str(latest(tmp_path / 'stopped'))]) == 0
    assert f' 0 images and copies to compute, in {features}' in capsys.readouterr().out
    assert final_weights(latest(tmp_path / 'stopped')) == final_weights(latest(finished[0]))


def test_ctrl_c_while_features_are_computed(tmp_path, arguments, capsys, monkeypatch):
    def interrupt(*unused):
        raise KeyboardInterrupt
    monkeypatch.setattr(augmented_copies, 'load_copies', interrupt)
    assert recipe.main(arguments('out')) == 130
    assert f'--resume {latest(tmp_path / "out")}' in capsys.readouterr().err.splitlines()[-1]


def test_a_resumed_run_looks_where_it_was(tmp_path, arguments, data_dir, capsys, monkeypatch, no_pictures):
    monkeypatch.chdir(tmp_path)
    assert recipe.main(arguments('out', '--features-dir', 'f', '--fine-tune', 'none')) == 0
    monkeypatch.chdir(data_dir)
    args = recipe.parse_args(['--weights', 'mine.h5', '--resume', str(latest(tmp_path / 'out'))])
    assert [getattr(args, name) for name in recipe.PLACES] == [data_dir, Path('mine.h5')]
    assert args.features_dir is None  # what is written goes nowhere that run.json alone names


@pytest.mark.slow
def test_the_best_weights_are_the_ones_reported(tmp_path, arguments, stored, monkeypatch, no_pictures):
    losses = iter([0.7, 0.6, 0.5] + [0.4, 0.2, 0.3])
    monkeypatch.setattr(training_run, 'measure_predictions', lambda *unused: {
        'validation_loss': next(losses), 'validation_accuracy': 0.5})
    assert recipe.main(arguments('out', *stored)) == 0
    run_dir = latest(tmp_path / 'out')
    assert runs.read_record(run_dir)['results']['best_step'] == 4
    assert {path.name.split('.')[0] for path in (run_dir / 'checkpoints').glob('model-*')} == {'model-4', 'model-6'}
    best = predictions(run_dir)
    assert recipe.main(['--predict'] + [row['file'] for row in best] + ['--output-dir', str(tmp_path / 'out')]) == 0
    for row, expected in zip(predictions(run_dir, 'predictions.csv'), best):
        assert abs(float(row['p_red']) - float(expected['p_red'])) < 2e-3  # features are stored in 16 bits


@pytest.mark.slow
def test_early_stopping_ends_each_stage(tmp_path, arguments, stored, monkeypatch, no_pictures):
    losses = iter([0.7, 0.8, 0.9] + [0.6, 0.65, 0.66])
    monkeypatch.setattr(training_run, 'measure_predictions', lambda *unused: {
        'validation_loss': next(losses), 'validation_accuracy': 0.5})
    command = arguments('out', '--head-epochs', '30', '--epochs', '30', '--early-stopping', '2', *stored)
    assert recipe.main(command) == 0
    run_dir = latest(tmp_path / 'out')
    assert runs.read_record(run_dir)['stage1']['step'] == 9 and runs.read_record(run_dir)['stage1']['best_step'] == 3
    assert checkpoints.load_state(run_dir)['step'] == 6 and checkpoints.load_state(run_dir)['best_step'] == 2


# What is done with trained weights

def test_own_images_are_classified(tmp_path, trained, capsys):
    for number in range(4):
        images.save_image(tmp_path / 'mine' / f'red{number}.png', noisy_image('red', 1000 + number))
    images.save_image(tmp_path / 'blue.jpg', noisy_image('blue', 2000))
    (tmp_path / 'mine' / 'text.png').write_text('no image')
    command = ['--predict', str(tmp_path / 'mine'), str(tmp_path / 'blue.jpg'), '--output-dir', str(trained)]
    assert recipe.main(command) == 0
    out, err = capsys.readouterr()
    lines = out.splitlines()
    assert 'skipped: ' in err and 'text.png' in err and len(lines) == 6
    assert sum(line.split(': ')[1].startswith('red') for line in lines[:4]) >= 3
    assert lines[4].split(': ')[1].startswith('blue')
    rows = predictions(latest(trained), 'predictions.csv')
    assert [row['class'] for row in rows] == [line.split(': ')[1].split()[0] for line in lines[:5]]
    assert 'true_class' not in rows[0]
    assert images.load_image(latest(trained) / 'predictions.png').std() > 5


def test_a_file_name_that_is_no_text(tmp_path, trained, forks):
    images.save_image(tmp_path / 'red.png', noisy_image('red', 1))
    os.rename(os.fsencode(str(tmp_path / 'red.png')), os.fsencode(str(tmp_path)) + b'/caf\xe9.png')
    status, out, err = forks.run(PROGRAM + MAIN, '--predict', tmp_path, '--output-dir', trained, folder=trained)
    assert status == 0, err
    assert 'caf\\udce9.png: ' in out
    assert b'caf\xe9.png' in (latest(trained) / 'predictions.csv').read_bytes()


def load_elsewhere(code, exported, run_dir, tmp_path):
    """Runs a program that knows nothing of the recipe on a model and the test images; returns what it prints."""
    paths = [Path(row['file']) for row in predictions(run_dir)]
    np.save(str(tmp_path / 'pixels.npy'), image_folder.load_images(paths, 32, 1).astype(np.float32))
    done = subprocess.run([sys.executable, '-W', 'ignore', '-c', code, str(run_dir / exported),
                           str(tmp_path / 'pixels.npy')], capture_output=True, timeout=120)
    assert done.returncode == 0, done.stderr.decode()[-2000:]
    return done.stdout.decode()


def test_plain_keras_loads_the_h5(trained, tmp_path):
    rows = predictions(latest(trained))
    code = ('import sys, json, h5py, numpy as np\n'
            'try:\n    import tf_keras as keras\nexcept ImportError:\n    import keras\n'
            'model = keras.models.load_model(sys.argv[1], compile=False)\n'
            'names = json.loads(h5py.File(sys.argv[1], "r").attrs["class_names"])\n'
            'print(json.dumps([names, model.predict(np.load(sys.argv[2])).tolist()]))')
    printed = load_elsewhere(code, 'model.h5', latest(trained), tmp_path)
    names, probabilities = json.loads(printed.splitlines()[-1])  # after Keras's progress
    assert names == ['blue', 'red']
    expected = [[float(row['p_blue']), float(row['p_red'])] for row in rows]
    np.testing.assert_allclose(probabilities, expected, atol=2e-3)  # features are stored in 16 bits


def test_predict_wants_a_run_and_the_same_classes(tmp_path, trained, capsys):
    image, other = tmp_path / 'image.png', tmp_path / 'other'
    images.save_image(image, noisy_image('red', 1))
    make_data(other, ('red', 'green'), (('train', 2), ('validation', 2)))
    (tmp_path / 'text.png').write_text('no image')
    unfinished = runs.create(tmp_path / 'unfinished', recipe.RECIPE, settings={})
    runs.release_all()
    for command, said in (
            ([image, '--output-dir', tmp_path / 'nothing'], 'train one first: python recipes/vgg16_transfer.py'),
            ([image, '--output-dir', trained, '--data-dir', other], 'has the classes blue, red, but'),
            ([tmp_path / 'text.png', '--output-dir', trained], 'text.png'),
            ([image, '--run', unfinished], 'no trained weights yet; train one first')):
        assert recipe.main(['--predict', *map(str, command)]) == 2
        error, = capsys.readouterr().err.splitlines()
        assert said in error


# Mistakes, and what cannot be had

def errors_of(command, capsys, code):
    """Runs a command that fails; returns its one line."""
    assert recipe.main(command) == code
    error, = [line for line in capsys.readouterr().err.splitlines() if ': error: ' in line]
    return error


@pytest.mark.parametrize('more, code, text', [
    (['--steps', '0'], 2, '0 given, expected a whole number of at least 1'),
    (['--learning-rate', 'nan'], 2, 'nan given'),
    (['--size', '16'], 2, '16 given'),
    (['--fine-tune', 'block3'], 2, "invalid choice: 'block3'"),
    (['--fine-tune', 'none', '--head-epochs', '0'], 2, 'nothing is trained'),
    (['--fine-tune', 'none', '--steps', '7'], 2, '--steps 7: an option of stage 2'),
    (['--fine-tune', 'none', '--learning-rate', '0.1'], 2, '--learning-rate 0.1: an option of stage 2'),
    (['--book'], 2, '--book --head-epochs 3'),
    (['--run', '.'], 2, 'needs --predict'),
    (['--features-dir', str(SCRIPT / 'features')], 2, '--features-dir'),
    (['--resume', '.'], 2, '--resume .: not a run'),
    (['--predict', 'missing.png'], 2, 'missing.png'),
    (['--device', 'gpu'], 3, 'no CUDA GPU')], ids=lambda value: ' '.join(value)[:40] if isinstance(value, list) else '')
def test_a_users_mistake_is_one_line_and_writes_nothing(tmp_path, arguments, capsys, monkeypatch, more, code, text):
    monkeypatch.setattr(session, '_gpu_descriptions', lambda threads: [])
    assert text in errors_of(arguments('out', *more), capsys, code)
    assert not (tmp_path / 'out').exists()


@pytest.mark.parametrize('spoil, text', [
    (lambda folder: shutil.rmtree(str(folder / 'train' / 'red')), "red"),
    (lambda folder: [path.write_text('text') for path in (folder / 'train' / 'red').iterdir()], 'red'),
    (lambda folder: [path.unlink() for path in list((folder / 'train' / 'red').iterdir())[1:]], 'only 1 image'),
    (lambda folder: shutil.rmtree(str(folder / 'train')), 'train'),
    (lambda folder: shutil.rmtree(str(folder)), 'no such folder')],
    ids=['a class missing', 'unreadable', 'a single image', 'no train', 'no folder'])
def test_data_that_cannot_be_learned_from(tmp_path, arguments, data_dir, capsys, spoil, text):
    folder = tmp_path / 'spoiled'
    shutil.copytree(str(data_dir), str(folder))
    spoil(folder)
    assert text in errors_of(arguments('out', data_dir=folder), capsys, 2)
    assert not (tmp_path / 'out').exists()


def test_without_data_it_says_how_to_get_some(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv('RECIPES_DATA_DIR', str(tmp_path / 'data'))
    assert recipe.main(['--output-dir', str(tmp_path / 'out')]) == 3
    message = capsys.readouterr().err
    assert 'kagglecatsanddogs_5340.zip' in message and 'kaggle.com' in message and len(message.splitlines()) == 3
    assert not (tmp_path / 'out').exists()


def test_resume_refuses_other_images_and_other_settings(tmp_path, finished, data_dir, capsys):
    resume = ['--resume', str(latest(finished[0]))]
    assert 'that run has --epochs 2, not 9' in errors_of(resume + ['--epochs', '9'], capsys, 2)
    folder = tmp_path / 'images'
    shutil.copytree(str(data_dir), str(folder))
    images.save_image(folder / 'train' / 'red' / 'one_more.png', noisy_image('red', 77))
    assert 'trains on 20 images' in errors_of(resume + ['--data-dir', str(folder)], capsys, 2)


def test_a_run_of_an_earlier_version_is_refused_in_one_line(tmp_path, capsys):
    settings = dict(recipe.parse_args(['--data-dir', str(tmp_path)]).settings, tta='flip')
    del settings['data_dir']
    run_dir = runs.create(tmp_path / 'out', recipe.RECIPE, settings=settings, data_dir=tmp_path)
    runs.release_all()
    (run_dir / 'checkpoints').mkdir()
    (run_dir / 'checkpoints' / 'state.json').write_text(json.dumps({'step': 4, 'best_step': 2, 'disappointments': 1}))
    assert 'earlier version' in errors_of(['--resume', str(run_dir)], capsys, 2)
    args = recipe.parse_args(['--resume', str(run_dir)])
    runs.release_all()
    assert args.tta is False


def test_weights_of_another_network(tmp_path, arguments, forks):
    (tmp_path / 'weights.h5').write_text('text')
    code = 'import sys, vgg16_transfer as recipe\n' + MAIN  # the real network
    status, _, err = forks.run(code, *arguments('out', '--weights', str(tmp_path / 'weights.h5')), folder=tmp_path)
    assert status == 2 and 'weights.h5: a file that is neither' in err
    assert 'Traceback' not in err and not (tmp_path / 'out').exists()


@pytest.mark.slow
def test_a_disk_that_fills_up_with_features(tmp_path, arguments, forks):
    limit = 'import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (4000, 4000))\n'
    status, _, err = forks.run(PROGRAM + limit + MAIN, *arguments('out', '--quiet', '--size', '128'), folder=tmp_path)
    assert status == 3 and 'features' in err.splitlines()[-1] and 'Traceback' not in err, err


@pytest.mark.slow
def test_a_disk_that_fills_up_while_exporting(tmp_path, arguments, stored, forks):
    code = ('import resource\n'
            'export, save = recipe.classifier.export, recipe.tf.saved_model.simple_save\n'
            'def limit(size):\n    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))\n'
            'def limited_export(*args):\n    limit(2000)\n    return export(*args)\n'
            'def limiting_save(*args):\n    save(*args)\n    limit(2000)\n'
            'recipe.classifier.export = limited_export\n'
            'codes = [recipe.main(sys.argv[1:])]\n'  # then as much of the export again, but for the SavedModel
            'limit(resource.RLIM_INFINITY)\n'
            'recipe.classifier.export, recipe.tf.saved_model.simple_save = export, limiting_save\n'
            'codes.append(recipe.main(["--resume", *sys.argv[1:]]))\n'
            'limit(resource.RLIM_INFINITY)\n'
            'print(codes)')
    _, out, err = forks.run(PROGRAM + code, *arguments('out', '--quiet', '--export', '--fine-tune', 'none', *stored),
                             folder=tmp_path)
    assert out.splitlines()[-1] == '[3, 3]' and 'Traceback' not in err, err
    saved_model, h5 = [line for line in err.splitlines() if 'cannot write' in line]
    assert 'SavedModel' in saved_model and 'model.h5' in h5
    assert not (latest(tmp_path / 'out') / 'model.h5').exists()
    assert not list(latest(tmp_path / 'out').glob('.*part*'))


@pytest.mark.slow
def test_a_loss_that_is_no_number_ends_the_run_and_keeps_a_checkpoint(tmp_path, arguments, stored, capsys,
                                                                      monkeypatch, no_pictures):
    read, read_batches = BottleneckFeatures.read, []

    def poisoned(features, layer, split, copies):
        found = read(features, layer, split, copies)
        if layer == 'block4_pool' and 'flip' in copies:  # a training batch of stage 2
            read_batches.append(split)
            found = found * (np.nan if len(read_batches) == 4 else 1)
        return found
    monkeypatch.setattr(BottleneckFeatures, 'read', poisoned)
    assert recipe.main(arguments('out', *stored)) == 1
    assert 'the loss is nan in step 4' in capsys.readouterr().err.splitlines()[-1]
    assert checkpoints.load_state(latest(tmp_path / 'out'))['step'] == 2


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
