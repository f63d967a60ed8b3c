"""The CIFAR-10 recipe, on a few images of plain colors; the airbench network narrow, where it is trained."""
import json
import shutil

import numpy as np
import pytest

import cifar10_tflearn as recipe
import plain_client
import small_cifar10
from common import checkpoints, images, runs, session
from common.errors import UnavailableError
from common.metrics import read_metrics
from common.session import tf, tflearn
from datasets import augmentation, cifar10
from networks import airbench
from training import classifier

TINY = ['--epochs', '2', '--batch-size', '24']
STEPS = 10  # of TINY
LOAD = cifar10.load  # the true one


@pytest.fixture(autouse=True)
def small_set(monkeypatch):
    monkeypatch.setenv('RECIPES_OFFLINE', '1')
    small_cifar10.patch(monkeypatch.setattr)


@pytest.fixture
def no_pictures(monkeypatch):
    """For tests that look at none: they take longer to draw than a tiny network to train."""
    monkeypatch.setattr(recipe, 'look_at_data', lambda *unused: None)
    monkeypatch.setattr(classifier, 'plot_training', lambda *unused, **also_unused: None)


def arguments(tmp_path, *more):
    return TINY + ['--output-dir', str(tmp_path / 'output')] + list(more)


def latest(tmp_path):
    return (tmp_path / 'output' / recipe.RECIPE / 'latest').resolve()


def final_weights(run_dir):
    step = checkpoints.load_state(run_dir)['step']
    reader = tf.train.NewCheckpointReader(str(run_dir / 'checkpoints' / f'model-{step}'))
    return {name: reader.get_tensor(name).tobytes() for name in reader.get_variable_to_shape_map()}


@pytest.fixture(scope='module')
def trained(tmp_path_factory):
    """A folder with a finished run."""
    folder = tmp_path_factory.mktemp('trained')
    with pytest.MonkeyPatch.context() as patch:  # the fixture of that name lasts for one test only
        small_cifar10.patch(patch.setattr)
        assert recipe.main(arguments(folder, '--epochs', '16', '--learning-rate', '0.01', '--export', '--tta',
                                     '--quiet')) == 0
    return folder


def test_the_number_of_weights(monkeypatch):
    monkeypatch.setattr(airbench, 'MAPS', (64, 256, 256))
    for network, expected in (('book', 2159114), ('airbench', 1971352)):
        with tf.Graph().as_default():
            recipe.build_graph(network=network)
            assert sum(np.prod(v.shape.as_list()) for v in tf.trainable_variables()) == expected


@pytest.mark.parametrize('network, learning_rate', [('book', 0.02), ('airbench', 0.12)], ids=['book', 'airbench'])
def test_the_loss_starts_at_that_of_a_guess_and_falls_and_the_graph_does_not_grow(network, learning_rate):
    data = small_cifar10.data()  # as from a notebook: no command line
    graph = recipe.build_graph(network=network, learning_rate=learning_rate, num_steps=100,
                               statistics=recipe.measure(data.train_images),
                               weight_decay=recipe.SETTINGS[network]['weight_decay'])
    batch = {graph.images: data.train_images[:40], graph.labels: data.train_labels[:40], graph.is_training: True}
    with session.open_session() as sess:
        sess.run(tf.global_variables_initializer())
        tf.get_default_graph().finalize()
        losses = [sess.run([graph.loss, graph.train_op], batch)[0] for _ in range(20)]
    assert abs(losses[0] - np.log(10)) < 0.1
    assert losses[-1] < 0.8 * losses[0]


@pytest.mark.parametrize('network, steps, expected', [
    ('book', (0, 499, 5000), (1 / 500, 0.5 * (1 + np.cos(np.pi * 0.0499)), 0.5)),
    ('airbench', (0, 5000, 9999), (1, 0.5, 0.0001))], ids=['book', 'airbench'])
def test_the_learning_rate_of_each_network(network, steps, expected):
    graph = recipe.build_graph(network=network, learning_rate=0.01, num_steps=10000)
    with session.open_session() as sess:
        sess.run(tf.global_variables_initializer())
        found = []
        for step in steps:
            tf.train.get_global_step().load(step, sess)
            found.append(sess.run(graph.learning_rate))
    np.testing.assert_allclose(found, np.array(expected) / 100, atol=1e-8)


def test_a_step_moves_the_averages_of_batch_normalization():
    data = small_cifar10.data()
    graph = recipe.build_graph(network='airbench', weight_decay=0.054, num_steps=10,
                               statistics=recipe.measure(data.train_images))
    averages = [variable for variable in tf.global_variables() if 'moving_mean' in variable.op.name]
    assert len(averages) == 6
    with session.open_session() as sess:
        sess.run(tf.global_variables_initializer())
        sess.run(graph.train_op, {graph.images: data.train_images[:40], graph.labels: data.train_labels[:40],
                                  graph.is_training: True})
        assert all(np.abs(average).max() > 0 for average in sess.run(averages))


def test_statistics_of_the_training_images():
    photographs = np.random.RandomState(1).randint(0, 256, (50, 32, 32, 3)).astype(np.uint8)
    photographs[..., 2] //= 2
    found = recipe.measure(photographs)
    np.testing.assert_allclose(found.mean, photographs.mean(axis=(0, 1, 2)), rtol=1e-5)
    np.testing.assert_allclose(found.std, photographs.std(axis=(0, 1, 2)), rtol=1e-5)
    books = recipe.measure(photographs, book=True)
    np.testing.assert_allclose(books.mean, np.full(3, photographs.mean()), rtol=1e-5)
    np.testing.assert_allclose(books.std, np.full(3, photographs.std()), rtol=1e-5)


def test_the_first_layer_of_airbench_whitens_patches():
    random = np.random.RandomState(2)
    pixels = np.cumsum(np.cumsum(random.normal(0, 0.2, (40, 32, 32, 3)), axis=1), axis=2)  # neighbors are alike
    pixels = (pixels - pixels.mean()) / pixels.std()
    filters = airbench.whitening_filters(pixels.astype(np.float32))
    np.testing.assert_array_equal(filters[..., :12], -filters[..., 12:])
    corners = [pixels[:, row:row + 31, column:column + 31] for row in (0, 1) for column in (0, 1)]
    patches = np.stack(corners, axis=-2).reshape(-1, 12)
    before = patches.T @ patches / len(patches)
    white = patches @ filters[..., :12].reshape(12, 12)
    after = white.T @ white / len(patches)
    assert np.abs(before - np.diag(np.diag(before))).max() > 0.9
    assert np.abs(after - np.diag(np.diag(after))).max() < 0.01 and 0.5 < np.diag(after).max() < 1.01


def test_a_step_has_its_batch_whatever_was_before():
    data = small_cifar10.data()
    first, again, other = (recipe.make_batch(step, data, 50) for step in (3, 3, 4))
    np.testing.assert_array_equal(first[0], again[0])
    assert (first[0] != other[0]).any()
    taken = np.concatenate([recipe.make_batch(step, data, 60, augment='none')[0] for step in (0, 1)])
    assert sorted(image.tobytes() for image in taken) == sorted(image.tobytes() for image in data.train_images)


def test_alternating_shows_each_image_one_way_in_an_epoch_and_the_other_way_in_the_next(monkeypatch):
    monkeypatch.setattr(augmentation, 'augment_standard', lambda images, random, mirrored, **unused:
                        np.where(mirrored.reshape(-1, 1, 1, 1), images[:, :, ::-1], images))  # no shift
    data = small_cifar10.data()
    ways = []
    for epoch in range(4):
        shown = [recipe.make_batch(step, data, 60, 'alternating', seed=1)[0] for step in (2 * epoch, 2 * epoch + 1)]
        shown = {image.tobytes() for image in np.concatenate(shown)}
        ways.append([image[:, ::-1].tobytes() in shown for image in data.train_images])
        assert all(mirrored != (image.tobytes() in shown) for mirrored, image in zip(ways[-1], data.train_images))
    assert ways[0] == ways[2] and ways[1] == ways[3] == [not way for way in ways[0]]
    assert 30 < sum(ways[0]) < 90


@pytest.mark.slow
def test_a_run_writes_pictures_a_record_and_a_log(tmp_path, capsys):
    assert recipe.main(arguments(tmp_path)) == 0
    out = capsys.readouterr().out.splitlines()
    assert out[-3].startswith('test accuracy ') and '50 images) after 2 epochs of the book network' in out[-3]
    run_dir = latest(tmp_path)
    for name in ('examples', 'augmented', 'loss', 'accuracy', 'confusion_matrix', 'mistakes', 'filters'):
        picture = images.load_image(run_dir / (name + '.png'))
        assert min(picture.shape[:2]) > 50 and picture.std() > 5, name
    assert len((run_dir / 'classes.txt').read_text().splitlines()) == 11
    record = json.loads((run_dir / 'run.json').read_text())
    assert record['results']['test_images'] == 50 and 'tta_accuracy' not in record['results']
    assert record['settings']['weight_decay'] == recipe.SETTINGS['book']['weight_decay']
    rows = read_metrics(run_dir / 'metrics.csv')
    assert [(row['step'], row['epoch']) for row in rows] == [(5, 1), (10, 2)]
    log, = (run_dir / 'tensorboard').iterdir()
    events = list(tf.train.summary_iterator(str(log)))
    tags = {value.tag for event in events for value in event.summary.value}
    assert {'loss', 'training_accuracy', 'validation_accuracy', 'learning_rate'} <= tags
    assert any(event.graph_def for event in events)


def test_a_training_learns_colors_and_the_best_weights_are_reported(trained):
    record = runs.read_record(latest(trained))
    assert record['results']['test_accuracy'] > 0.8 and record['results']['tta_accuracy'] > 0.8
    rows = read_metrics(latest(trained) / 'metrics.csv')
    best = max(row['validation_accuracy'] for row in rows)
    assert record['results']['validation_accuracy'] == best
    assert record['results']['best_step'] in [row['step'] for row in rows if row['validation_accuracy'] == best]


def test_a_plain_client_loads_the_saved_model_which_has_no_optimizer(trained):
    data = small_cifar10.data()
    np.save(str(trained / 'images.npy'), data.test_images)
    client = plain_client.PlainClient()
    classes = np.array(client.ask(latest(trained) / 'saved_model', trained / 'images.npy')['classes'])
    client.close()
    accuracy = runs.read_record(latest(trained))['results']['test_accuracy']
    assert np.mean(classes == data.test_labels) == accuracy
    saved = tf.train.NewCheckpointReader(str(latest(trained) / 'saved_model' / 'variables' / 'variables'))
    assert not [name for name in saved.get_variable_to_shape_map() if 'Adam' in name or 'beta' in name]


def test_own_pictures_are_classified(tmp_path, trained, capsys):
    data, paths = small_cifar10.data(), []
    for number in range(6):  # larger, and not square
        picture = np.kron(data.test_images[number], np.ones((4, 5, 1)))
        paths.append(str(tmp_path / f'picture{number}.png'))
        images.save_image(tmp_path / f'picture{number}.png', picture.astype(np.float32))
    assert recipe.main(['--predict'] + paths + ['--output-dir', str(trained / 'output')]) == 0
    lines = capsys.readouterr().out.splitlines()
    names = [cifar10.CLASS_NAMES[label] for label in data.test_labels[:6]]
    assert sum(line.split(': ')[1].startswith(name) for line, name in zip(lines, names)) >= 5
    assert lines[-1].startswith(f'model: {latest(trained)} (book)')
    assert images.load_image(latest(trained) / 'predictions.png').std() > 5


def test_what_a_run_has_reached_and_taken_stays_when_it_is_resumed(tmp_path, trained, monkeypatch, no_pictures):
    shutil.copytree(str(trained / 'output'), str(tmp_path / 'output'), symlinks=True)
    before = runs.read_record(latest(tmp_path))
    assert recipe.main(['--resume', '--output-dir', str(tmp_path / 'output'), '--quiet']) == 0
    after = runs.read_record(latest(tmp_path))
    assert after['results'] == before['results'] and 'tta_accuracy' in after['results']
    assert after['seconds'] == before['seconds'] > checkpoints.load_state(latest(tmp_path))['seconds'] > 0


@pytest.mark.slow
def test_the_chapters_way(tmp_path, capsys, monkeypatch):
    more = ['--book', '--keep-prob', '1.0', '--learning-rate', '0.002', '--epochs', '3', '--tta', '--export']
    assert recipe.main(arguments(tmp_path, *more)) == 0
    out = capsys.readouterr().out
    run_dir = latest(tmp_path)
    assert "3 epochs of the book network in the book's way" in out
    assert 'Run id' not in out  # tflearn's own log
    rows = read_metrics(run_dir / 'metrics.csv')
    assert [(row['step'], row['epoch']) for row in rows] == [(5, 1), (10, 2), (15, 3)]
    assert rows[-1]['loss'] < rows[0]['loss']
    # What tflearn's DNN made of the validation images is what our graph makes of them with its weights.
    state = checkpoints.load_state(run_dir)
    assert state['validation_accuracy'] == pytest.approx(rows[-1]['validation_accuracy'], abs=1e-6)
    data = small_cifar10.data()
    with classifier.trained_network(recipe.build_graph, run_dir, state['best_step']) as (sess, graph):
        loss = sess.run(graph.loss, {graph.images: data.validation_images, graph.labels: data.validation_labels})
    assert loss == pytest.approx(rows[-1]['validation_loss'], rel=1e-3)
    assert (run_dir / 'examples.png').exists() and not (run_dir / 'augmented.png').exists()
    assert list((run_dir / 'tensorboard' / 'cifar10_cnn').iterdir())
    assert (run_dir / 'saved_model').is_dir()
    monkeypatch.setattr(tflearn, 'DNN', None)  # trained already
    assert recipe.main(['--resume', str(run_dir)]) == 0


def test_ctrl_c_in_the_chapters_way(tmp_path, capsys, monkeypatch, no_pictures):
    def interrupted(*unused, **also_unused):
        raise KeyboardInterrupt
    monkeypatch.setattr(tflearn.DNN, 'fit', interrupted)
    assert recipe.main(arguments(tmp_path, '--book')) == 130
    assert "tflearn's trainer saves nothing before its end" in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.slow
def test_several_seeds(tmp_path, capsys, monkeypatch, no_pictures):
    held, evaluate = [], recipe.evaluate
    monkeypatch.setattr(recipe, 'evaluate', lambda *args: held.append(runs.held()) or evaluate(*args))
    assert recipe.main(arguments(tmp_path, '--runs', '2', '--seed', '3', '--quiet')) == 0
    run_dir = latest(tmp_path)
    assert held[1] == [run_dir, run_dir / 'seed_3', run_dir / 'seed_4']  # other processes are kept off
    records = [runs.read_record(run_dir / name) for name in ('seed_3', 'seed_4')]
    values = [100 * record['results']['test_accuracy'] for record in records]
    said = f'test accuracy {np.mean(values):.2f} % ± {abs(values[0] - values[1]) / np.sqrt(2):.2f} %'
    assert capsys.readouterr().out.startswith(said)
    assert final_weights(run_dir / 'seed_3') != final_weights(run_dir / 'seed_4')
    best = max((record['results']['validation_accuracy'], name) for record, name in zip(records, ('seed_3', 'seed_4')))
    assert classifier.find_trained_run(tmp_path, recipe.RECIPE, run_dir).folder.name == best[1]
    assert recipe.main(['--resume', str(run_dir / 'seed_3'), '--quiet']) == 0  # each is a run like others


def test_help_tells_what_each_network_is_trained_with(capsys):
    assert recipe.main(['--help']) == 0
    said = ' '.join(capsys.readouterr().out.split())
    for default in ('50 for book, 7 for airbench', '96 for book, 500 for airbench',
                    '0.001 for book, 0.12 for airbench'):
        assert f'(default: {default})' in said


@pytest.mark.parametrize('more, code, text', [
    (['--epochs', '0'], 2, '0 given, expected a whole number of at least 1'),
    (['--batch-size', '121'], 2, '--batch-size 121: there are 120 training images'),
    (['--learning-rate', 'inf'], 2, 'inf given'),
    (['--book', '--network', 'airbench'], 2, "--book trains the book's network"),
    (['--book', '--augment', 'none'], 2, 'with --augment book, not none; leave one of them out'),
    (['--book', '--label-smoothing', '0.1'], 2, 'with --label-smoothing 0.0, not 0.1'),
    (['--book', '--weight-decay', '1'], 2, 'with --weight-decay 0.0, not 1.0'),
    (['--book', '--xla', 'on'], 2, 'with --xla off, not on'),
    (['--network', 'airbench', '--keep-prob', '0.5'], 2, '--keep-prob 0.5: the airbench network has no dropout'),
    (['--run', 'somewhere'], 2, '--run somewhere needs --predict'),
    (['--predict', 'missing.png', '--export'], 2, 'leave out --export'),
    (['--network', 'deep'], 2, "invalid choice: 'deep'"),
    (['--predict', 'missing.png'], 2, 'no run'),
    (['--book', '--steps', '3'], 2, 'with --steps None, not 3'),
    (['--device', 'gpu'], 3, 'no CUDA GPU')],
    ids=lambda value: ' '.join(value) if isinstance(value, list) else '')
def test_a_users_mistake_is_one_line_and_writes_nothing(tmp_path, capsys, monkeypatch, more, code, text):
    monkeypatch.setattr(session, '_gpu_descriptions', lambda threads: [])
    assert recipe.main(arguments(tmp_path, *more)) == code
    errors = [line for line in capsys.readouterr().err.splitlines() if ': error: ' in line]
    assert len(errors) == 1 and text in errors[0]
    assert not (tmp_path / 'output').exists()


def test_data_that_cannot_be_had_or_is_damaged(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(cifar10, 'load', LOAD)
    data_dir = tmp_path / 'data'
    data_dir.mkdir()
    assert recipe.main(arguments(tmp_path, '--data-dir', str(data_dir))) == 3
    assert 'cifar-10-python.tar.gz' in capsys.readouterr().err
    (data_dir / 'cifar-10-python.tar.gz').write_bytes(b'\x1f\x8b\x08 broken off')
    assert recipe.main(arguments(tmp_path, '--data-dir', str(data_dir))) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1
    assert not (tmp_path / 'output').exists()


def test_predict_wants_a_picture_and_a_trained_run(tmp_path, trained, capsys):
    text, picture = tmp_path / 'text.png', tmp_path / 'picture.png'
    text.write_text('no picture')
    assert recipe.main(['--predict', str(text), '--output-dir', str(trained / 'output')]) == 2
    assert f'error: {text}: not a picture' in capsys.readouterr().err
    images.save_image(picture, np.zeros((40, 40, 3), np.float32))
    assert recipe.main(['--predict', str(picture), '--output-dir', str(tmp_path)]) == 2
    assert 'no run in' in capsys.readouterr().err
    runs.create(tmp_path, recipe.RECIPE, settings={})
    assert recipe.main(['--predict', str(picture), '--output-dir', str(tmp_path)]) == 2
    assert 'no trained weights yet' in capsys.readouterr().err


def test_resume_refuses_another_network_and_other_data(trained, capsys, monkeypatch):
    run_dir = str(latest(trained))
    assert recipe.main(['--resume', run_dir, '--network', 'airbench']) == 2
    assert 'that run has --network book, not airbench' in capsys.readouterr().err
    data = small_cifar10.data()
    monkeypatch.setattr(cifar10, 'load', lambda *unused: data._replace(checksums={'test_batch': 'another'}))
    assert recipe.main(['--resume', run_dir]) == 2
    assert 'that run trains on 120 images, from a small set' in capsys.readouterr().err


def test_a_checkpoint_of_another_network_is_refused(tmp_path, trained, capsys, no_pictures):
    shutil.copytree(str(latest(trained)), str(tmp_path / 'run'))
    settings = runs.read_record(tmp_path / 'run')['settings']
    runs.write_record(tmp_path / 'run', settings=dict(settings, network='airbench', learning_rate=0.12, keep_prob=1.0))
    assert recipe.main(['--resume', str(tmp_path / 'run')]) == 2
    assert 'not a checkpoint of this network' in capsys.readouterr().err.splitlines()[-1]


LIMIT = 'import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (2000000, 2000000))\n'  # as a disk that is full


@pytest.fixture
def run_limited(forks, tmp_path):
    """Function of code and options that runs them in a process that is to end in one line; returns the line."""
    def run(code, argv):
        code = ('import sys, small_cifar10, cifar10_tflearn as recipe; small_cifar10.patch(setattr)\n' + code
                + 'sys.exit(recipe.main(sys.argv[1:]))')
        status, _, err = forks.run(code, *argv, folder=tmp_path)
        assert status == 3 and 'Traceback' not in err, err
        return err.splitlines()[-1]
    return run


@pytest.mark.slow
def test_a_disk_that_fills_up_in_the_chapters_way(tmp_path, run_limited):
    assert 'cannot write the checkpoint' in run_limited(LIMIT, arguments(tmp_path, '--quiet', '--book'))
    assert checkpoints.load_state(latest(tmp_path)) is None


@pytest.mark.slow
def test_a_disk_that_fills_up_while_exporting(tmp_path, run_limited):
    code = ('export = recipe.classifier.export\n'
            f'def limited(*args):\n    {LIMIT}    return export(*args)\n'
            'recipe.classifier.export = limited\n')
    assert 'cannot write the SavedModel into' in run_limited(code, arguments(tmp_path, '--quiet', '--export'))
    assert 'test_accuracy' in runs.read_record(latest(tmp_path))['results']
    assert not (latest(tmp_path) / 'saved_model').exists() and not list(latest(tmp_path).glob('.*part*'))


def test_early_stopping_ends_the_training_and_keeps_the_best(tmp_path, capsys, monkeypatch, no_pictures):
    labels, fractions = small_cifar10.data().validation_labels, iter((0.5, 0.75, 0.5, 0.25))

    def best_after_two_epochs(sess, graph, photographs):
        if len(photographs) != len(labels):  # the test images
            return np.eye(10)[np.zeros(len(photographs), int)]
        wrong = np.arange(len(labels)) >= next(fractions) * len(labels)
        return np.eye(10)[(labels + wrong) % 10]

    monkeypatch.setattr(recipe, 'predict', best_after_two_epochs)
    assert recipe.main(arguments(tmp_path, '--epochs', '9', '--early-stopping', '2')) == 0
    state = checkpoints.load_state(latest(tmp_path))
    assert (state['step'], state['best_step'], state['validation_accuracy']) == (20, 10, 0.75)
    assert 'after at most 9 epochs of the book network' in capsys.readouterr().out
    results = runs.read_record(latest(tmp_path))['results']
    seconds = state['training_seconds'] + state['validation_seconds']
    assert results['seconds_per_epoch'] == pytest.approx(seconds / 4)  # of those that were trained


def test_a_loss_that_is_no_number_ends_the_run_and_keeps_a_checkpoint(tmp_path, capsys, no_pictures, after_step):
    def poison(run, step):
        if step == 5:
            bias = next(variable for variable in tf.trainable_variables() if variable.op.name == 'Conv2D/b')
            bias.load(np.full(32, np.nan), tf.get_default_session())
    after_step(poison)
    assert recipe.main(arguments(tmp_path)) == 1
    assert 'the loss is nan in step 6' in capsys.readouterr().err.splitlines()[-1]
    assert checkpoints.load_state(latest(tmp_path))['step'] == 5


def test_a_validation_that_is_no_number_ends_the_run_before_a_checkpoint(tmp_path, capsys, monkeypatch, no_pictures):
    calls, predict = [], recipe.predict

    def breaks(*args):
        calls.append(1)
        return predict(*args) * (np.nan if len(calls) == 2 else 1)
    monkeypatch.setattr(recipe, 'predict', breaks)
    assert recipe.main(arguments(tmp_path)) == 1
    assert 'the validation loss is nan after step 10' in capsys.readouterr().err.splitlines()[-1]
    assert checkpoints.load_state(latest(tmp_path))['step'] == 5


@pytest.mark.real_data
def test_the_statistics_of_the_real_training_images(real_data_dir, monkeypatch):
    monkeypatch.setenv('RECIPES_OFFLINE', '1')
    try:
        found = recipe.measure(LOAD(real_data_dir, quiet=True).train_images)
    except UnavailableError:
        pytest.skip(f'no CIFAR-10 in {real_data_dir}')
    np.testing.assert_allclose(found.mean / 255, [0.4914, 0.4822, 0.4465], atol=0.002)
    np.testing.assert_allclose(found.std / 255, [0.2470, 0.2435, 0.2616], atol=0.002)
