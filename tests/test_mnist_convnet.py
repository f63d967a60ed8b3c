"""The MNIST recipe, on the bundled sample of digits."""
import json
import os
import signal
import time
from pathlib import Path

import numpy as np
import pytest

import mnist_convnet as recipe
import small_mnist
from common import checkpoints, images, plotting, runs, session
from common.metrics import read_metrics
from common.session import tf
from datasets import mnist
from training import batches, classifier

SCRIPT = Path(recipe.__file__)
TINY = ['--steps', '4', '--batch-size', '8', '--validate-every', '2']


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    monkeypatch.setenv('RECIPES_OFFLINE', '1')


@pytest.fixture
def small(monkeypatch):
    """For tests that look at no accuracy: they take longer to evaluate than to train."""
    small_mnist.patch(monkeypatch.setattr)


@pytest.fixture
def no_pictures(monkeypatch):
    """For tests that look at none: they take longer to draw than a tiny network to train."""
    monkeypatch.setattr(recipe, 'look_at_data', lambda *unused: None)
    monkeypatch.setattr(classifier, 'plot_training', lambda *unused: None)
    monkeypatch.setattr(recipe.plotting, 'plot_activations', lambda *unused: None)


def variable(name):
    return next(variable for variable in tf.global_variables() if variable.op.name == name)


def arguments(tmp_path, *more):
    return TINY + ['--data-dir', str(tmp_path / 'data'), '--output-dir', str(tmp_path / 'output')] + list(more)


def latest(tmp_path):
    return (tmp_path / 'output' / recipe.RECIPE / 'latest').resolve()


def final_weights(run_dir):
    step = checkpoints.load_state(run_dir)['step']
    reader = tf.train.NewCheckpointReader(str(run_dir / 'checkpoints' / f'model-{step}'))
    return {name: reader.get_tensor(name).tobytes() for name in reader.get_variable_to_shape_map()}


@pytest.fixture(scope='module')
def trained(tmp_path_factory):
    """A folder with one finished run of 60 steps."""
    folder = tmp_path_factory.mktemp('trained')
    with pytest.MonkeyPatch.context() as patch:  # the fixture of that name lasts for one test only
        patch.setenv('RECIPES_OFFLINE', '1')
        assert recipe.main(arguments(folder, '--steps', '60', '--batch-size', '32', '--validate-every', '60',
                                     '--export', '--tensorboard', '--quiet')) == 0
    return folder


def test_the_network_has_the_books_number_of_weights():
    recipe.build_graph()
    assert sum(np.prod(v.shape.as_list()) for v in tf.trainable_variables()) == 3274634


@pytest.mark.parametrize('options, low, high', [
    (dict(pixel_mean=33.3, pixel_std=78.6), 2.2, 2.4), (dict(book=True), 1000, 1e6)], ids=['ours', 'book'])
def test_the_first_loss(options, low, high):
    data = mnist.load_sample()
    graph = recipe.build_graph(**options)
    with session.open_session() as sess:
        sess.run(tf.global_variables_initializer())
        loss = sess.run(graph.loss, {graph.images: data.train_images[:128], graph.labels: data.train_labels[:128]})
    assert low < loss < high


def test_the_loss_falls_and_the_graph_does_not_grow():  # as from a notebook: no command line
    data = mnist.load_sample()
    graph = recipe.build_graph(num_steps=100, pixel_mean=33.3, pixel_std=78.6)
    batch = {graph.images: data.train_images[:32], graph.labels: data.train_labels[:32]}
    with session.open_session() as sess:
        sess.run(tf.global_variables_initializer())
        tf.get_default_graph().finalize()
        losses = [sess.run([graph.loss, graph.train_op], batch)[0] for _ in range(12)]
    assert losses[-1] < 0.9 * losses[0]


def test_the_optimizer_follows_the_schedule():
    graph = recipe.build_graph(num_steps=10)
    step = tf.train.get_global_step()
    batch = {graph.images: np.ones([4, 28, 28]), graph.labels: [0, 1, 2, 3]}
    with session.open_session() as sess:
        def changes_at(steps_done):
            sess.run(tf.global_variables_initializer())
            step.load(steps_done, sess)
            before = sess.run(graph.weights.output_bias)
            sess.run(graph.train_op, batch)
            return np.abs(sess.run(graph.weights.output_bias) - before).max()
        # Adam's first step moves each weight by the learning rate.
        np.testing.assert_allclose([changes_at(0), changes_at(10)], [0.002 / recipe.WARMUP_STEPS, 0], rtol=1e-3)


def test_dropout_keeps_its_fraction_of_the_hidden_units():
    weights = recipe.create_weights()._replace(  # its output is what dropout makes of the hidden units
        hidden_bias=tf.ones([1024]), output=tf.eye(1024), output_bias=tf.zeros([1024]))
    pixels = tf.ones([20, 28, 28, 1])
    layers = [recipe.convnet(pixels, weights, keep_prob, seed)
              for keep_prob, seed in ((0.6, [0, 1]), (0.6, [0, 1]), (0.6, [0, 2]), (1.0, [0, 1]))]
    with session.open_session() as sess:
        sess.run(tf.global_variables_initializer())
        hidden, (same, again, other, whole) = sess.run([layers[0].hidden, [layer.logits for layer in layers]])
    kept = (same != 0) & (hidden > 0)
    np.testing.assert_allclose(same[kept], hidden[kept] / 0.6, rtol=1e-5)
    assert abs(kept.sum() / (hidden > 0).sum() - 0.6) < 0.02
    np.testing.assert_array_equal(same, again)
    assert np.mean((same != 0) != (other != 0)) > 0.3
    np.testing.assert_array_equal(whole, hidden)


@pytest.mark.parametrize('augment', [False, True], ids=['as they are', 'augmented'])
def test_training_is_fed_with_what_the_options_say(tmp_path, small, augment):
    data, fed = mnist.load_sample(), []
    graph = recipe.build_graph(num_steps=2)

    class Session(tf.Session):
        def run(self, fetches, feed_dict=None, **options):
            if isinstance(fetches, list) and graph.train_op in fetches:
                fed.append({tensor.op.name: value for tensor, value in feed_dict.items()})
            return super().run(fetches, feed_dict, **options)
    with Session() as sess:
        recipe.train(sess, graph, data, tmp_path, num_steps=2, batch_size=8, keep_prob=0.3, augment=augment, quiet=True)
    for step, feed in enumerate(fed):
        chosen = batches.batch_indices(step, 8, len(data.train_images), seed=0)
        assert feed['keep_prob'] == 0.3 and (feed['labels'] == data.train_labels[chosen]).all()
        assert (feed['images'] == data.train_images[chosen]).all() == (not augment)
        assert np.abs(feed['images'].mean() - data.train_images[chosen].mean()) < 10  # augmented, the same digits still
    assert len(fed) == 2


@pytest.mark.slow
def test_the_best_weights_are_tested_predicted_with_and_exported(tmp_path, monkeypatch, capsys, small, after_step):
    evaluate, tested = classifier.evaluate, []

    def spoil_after_two(run, step):
        if step == 2:  # everything is a 0 from here on
            variable('weights/output_bias').load([200.0] + 9 * [0.0], tf.get_default_session())
    after_step(spoil_after_two)
    monkeypatch.setattr(classifier, 'evaluate', lambda run_dir, labels, probabilities, *more, **grid: (
        tested.append(probabilities), evaluate(run_dir, labels, probabilities, *more, **grid))[1])
    assert recipe.main(arguments(tmp_path, '--export', '--quiet')) == 0
    run_dir = latest(tmp_path)
    results = runs.read_record(run_dir)['results']
    assert checkpoints.load_state(run_dir)['step'] == 4 and results['best_step'] == 2 and results['validation_loss'] < 3
    assert tested[0].max() < 0.99
    exported = tf.train.NewCheckpointReader(str(run_dir / 'saved_model' / 'variables' / 'variables'))
    best = tf.train.NewCheckpointReader(str(run_dir / 'checkpoints' / 'model-2'))
    names = set(exported.get_variable_to_shape_map())
    assert {'weights/conv1', 'weights/output_bias', 'pixel_mean'} <= names
    assert not [name for name in names if 'Adam' in name or 'beta' in name]
    assert all((exported.get_tensor(name) == best.get_tensor(name)).all() for name in names)
    digit = tmp_path / 'digit.png'
    images.save_image(digit, np.repeat(255.0 - mnist.load_sample().test_images[0][:, :, np.newaxis], 3, axis=2))
    capsys.readouterr()
    assert recipe.main(['--predict', str(digit), '--output-dir', str(tmp_path / 'output')]) == 0
    out = capsys.readouterr().out
    assert '100.0 %' not in out and f'model: {run_dir} (mnist)' in out


@pytest.mark.slow
def test_a_run_writes_pictures_and_a_record(tmp_path, capsys):
    assert recipe.main(arguments(tmp_path, '--validate-every', '4')) == 0
    out, err = capsys.readouterr()
    run_dir = latest(tmp_path)
    assert err.startswith('warning: MNIST is unavailable; using the bundled sample of 5,000 + 1,000 digits')
    assert out.splitlines()[0].endswith(session.describe_device())
    *_, result, page = out.splitlines()
    assert result.startswith('test accuracy ') and '1,000 images' in result
    assert page == f'report: {run_dir.resolve() / "report.html"}'
    for name in ('one_image', 'flattened', 'examples', 'loss', 'accuracy', 'confusion_matrix', 'mistakes', 'filters',
                 'activations'):
        picture = images.load_image(run_dir / (name + '.png'))
        assert min(picture.shape[:2]) > 50 and picture.std() > 5, name
    record = json.loads((run_dir / 'run.json').read_text())
    assert record['results']['test_images'] == 1000 and 0 <= record['results']['test_accuracy'] <= 1
    assert 2.2 < record['results']['first_loss'] < 2.4
    assert record['settings']['steps'] == 4 and record['seed'] == 0 and 'sample' in record['data']['source']
    metrics, = read_metrics(run_dir / 'metrics.csv')
    assert metrics['step'] == 4
    shown, = [line for line in out.splitlines() if line.startswith('step 4/4')]
    assert 'validation %.2f %%' % (100 * metrics['validation_accuracy']) in shown


def test_a_short_training_reads_digits(trained):
    record = runs.read_record(latest(trained))
    assert record['results']['test_accuracy'] > 0.8
    assert record['results']['best_step'] == 60


def test_tensorboard_has_scalars_graph_and_filters(trained):
    log, = (latest(trained) / 'tensorboard').iterdir()
    events = list(tf.train.summary_iterator(str(log)))
    tags = {value.tag for event in events for value in event.summary.value}
    assert {'loss', 'training_accuracy', 'validation_accuracy', 'learning_rate'} <= tags
    assert any('conv1' in tag for tag in tags) and any(event.graph_def for event in events)


def test_own_digits_are_classified(trained, capsys):
    digits, labels = mnist.load_sample().test_images[:8], mnist.load_sample().test_labels[:8]
    paths = []
    for number, digit in enumerate(digits):  # black ink on white paper, large, off-center
        paper = np.full((200, 260), 255, np.float32)
        paper[20:20 + 112, 100:100 + 112] -= np.kron(digit, np.ones((4, 4)))
        paths.append(trained / f'digit{number}.png')
        images.save_image(paths[-1], np.repeat(paper[:, :, np.newaxis], 3, axis=2))
    assert recipe.main(['--predict'] + [str(path) for path in paths] + ['--output-dir', str(trained / 'output')]) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith(str(trained / 'digit'))]
    assert sum(line.split(': ')[1].startswith(str(label)) for line, label in zip(lines, labels)) >= 6
    assert images.load_image(latest(trained) / 'predictions.png').std() > 5


def test_several_digits_and_a_bad_file(tmp_path, trained, capsys):
    digits, labels = mnist.load_sample().test_images[:3], mnist.load_sample().test_labels[:3]
    row = 255 - np.concatenate([np.kron(digit, np.ones((4, 4))) for digit in digits], axis=1)
    images.save_image(tmp_path / 'row.png', row)
    (tmp_path / 'bad.png').write_text('no picture')
    os.mkfifo(str(tmp_path / 'pipe.png'))
    names = [str(tmp_path / name) for name in ('bad.png', 'row.png', 'pipe.png')]
    assert recipe.main(['--predict', *names, '--output-dir', str(trained / 'output')]) == 0
    said = capsys.readouterr()
    assert said.out.startswith(f'{tmp_path / "row.png"}: ') and '\n  3 digits' in said.out
    read = said.out.split(': ')[1].split(' (')[0]
    assert len(read) == 3 and sum(a == str(b) for a, b in zip(read, labels)) >= 2
    assert [line.split(':')[0] for line in said.err.splitlines()] == ['skipped', 'skipped']
    picture = images.load_image(latest(trained) / 'predictions.png')
    assert (np.abs(picture - plotting.BOX_COLOR).max(axis=2) < 40).sum() > 100
    assert recipe.main(['--predict', names[0], names[2], '--output-dir', str(trained / 'output')]) == 2
    assert 'none of the images can be read' in capsys.readouterr().err


@pytest.mark.slow
def test_another_seed_gives_other_weights(tmp_path, small, no_pictures):  # the same gives the same: test_contract.py
    found = []
    for seed in ('1', '2'):
        assert recipe.main(arguments(tmp_path / seed, '--steps', '1', '--seed', seed, '--quiet')) == 0
        found.append(final_weights(latest(tmp_path / seed)))
    assert found[0] != found[1]


@pytest.mark.slow
def test_the_seconds_before_an_interruption_count(tmp_path, small, no_pictures, after_step):
    began = time.monotonic()
    after_step(lambda run, step: step == 3 and os.kill(os.getpid(), signal.SIGINT))
    assert recipe.main(arguments(tmp_path / 'stopped')) == 130
    after_step(lambda run, step: None)
    state_path = latest(tmp_path / 'stopped') / 'checkpoints' / 'state.json'
    state = json.loads(state_path.read_text())
    assert 0 < state['seconds'] <= time.monotonic() - began
    state_path.write_text(json.dumps(dict(state, seconds=5000.0)))  # as if it had taken so long
    assert recipe.main(['--resume', str(latest(tmp_path / 'stopped')), '--data-dir', str(tmp_path)]) == 0
    seconds = runs.read_record(latest(tmp_path / 'stopped'))['results']['seconds']
    assert 5000 < seconds <= 5000 + time.monotonic() - began


def test_early_stopping_ends_the_training_and_keeps_the_best(tmp_path, monkeypatch, small, no_pictures):
    validations = []

    def worse_and_worse(sess, graph, digits):
        if len(digits) != len(mnist.load_sample().validation_labels):
            return np.eye(10)[np.zeros(len(digits), int)]
        validations.append(len(digits))
        probabilities = np.zeros((len(digits), 10), np.float32)
        labels = mnist.load_sample().validation_labels
        right = np.arange(len(digits)) % (len(validations) + 1) == 0  # a half, a third, a quarter ...
        probabilities[np.arange(len(digits)), (np.resize(labels, len(digits)) + ~right) % 10] = 1
        return probabilities

    monkeypatch.setattr(recipe, 'predict', worse_and_worse)
    assert recipe.main(arguments(tmp_path, '--steps', '40', '--validate-every', '1', '--early-stopping', '3')) == 0
    state = checkpoints.load_state(latest(tmp_path))
    assert (state['step'], state['best_step'], state['validation_accuracy']) == (4, 1, 0.5)


@pytest.mark.parametrize('more, code, text', [
    (['--steps', '0'], 2, '0 given, expected a whole number of at least 1'),
    (['--batch-size', '0'], 2, '0 given, expected a whole number of at least 1'),
    (['--batch-size', '5000'], 2, '--batch-size 5000: there are 4500 training images'),
    (['--learning-rate', 'nan'], 2, 'nan given'),
    (['--predict', 'missing.png'], 2, 'no run in'),
    (['--run', 'output'], 2, '--run output needs --predict'),
    (['--device', 'gpu'], 3, 'no CUDA GPU')],
    ids=lambda value: ' '.join(value) if isinstance(value, list) else '')
def test_a_users_mistake_is_one_line_and_writes_nothing(tmp_path, capsys, monkeypatch, more, code, text):
    monkeypatch.setattr(session, '_gpu_descriptions', lambda threads: [])
    assert recipe.main(arguments(tmp_path, *more)) == code
    errors = [line for line in capsys.readouterr().err.splitlines() if ': error: ' in line]
    assert len(errors) == 1 and text in errors[0]
    assert not (tmp_path / 'output').exists()


def test_predict_wants_a_picture_with_ink_and_a_trained_run(tmp_path, trained, capsys):
    output = ['--output-dir', str(trained / 'output')]
    blank, text = tmp_path / 'blank.png', tmp_path / 'text.png'
    images.save_image(blank, np.full((50, 50, 3), 255, np.float32))
    text.write_text('no picture')
    assert recipe.main(['--predict', str(blank)] + output) == 2
    assert f'error: {blank}: no digit in it; ' in capsys.readouterr().err
    assert recipe.main(['--predict', 'missing.png'] + output) == 2
    assert 'error: --predict missing.png: no such file or folder' in capsys.readouterr().err
    assert recipe.main(['--predict', str(text)] + output) == 2
    assert f'error: {text}: not a picture' in capsys.readouterr().err
    digit = tmp_path / 'digit.png'
    images.save_image(digit, np.repeat(255.0 - mnist.load_sample().test_images[0][:, :, np.newaxis], 3, axis=2))
    assert recipe.main(['--predict', str(digit), '--output-dir', str(tmp_path)]) == 2
    assert 'no run in' in capsys.readouterr().err


def test_predict_reads_no_digit_with_a_run_that_has_learnt_clothes(tmp_path, capsys):
    run_dir = runs.create(tmp_path, recipe.RECIPE, settings={'dataset': 'fashion'})
    digit = tmp_path / 'digit.png'
    images.save_image(digit, np.repeat(255.0 - mnist.load_sample().test_images[0][:, :, np.newaxis], 3, axis=2))
    for more, text in (([], f'the latest run, {run_dir}, was trained on fashion'),
                       (['--dataset', 'fashion'], 'has no trained weights yet'),
                       (['--run', str(run_dir)], 'has no trained weights yet')):
        assert recipe.main(['--predict', str(digit), '--output-dir', str(tmp_path)] + more) == 2
        assert text in capsys.readouterr().err


def test_resume_refuses_other_data(trained, monkeypatch, capsys):
    sample = mnist.load_sample()
    monkeypatch.setattr(mnist, 'load', lambda *unused: sample._replace(train_images=sample.train_images[:100]))
    assert recipe.main(['--resume', str(latest(trained))]) == 2
    assert 'that run trains on 4,500 images' in capsys.readouterr().err


def test_a_loss_that_is_no_number_ends_the_run_and_keeps_a_checkpoint(tmp_path, capsys, small, no_pictures, after_step):
    after_step(lambda run, step: step == 2 and variable('weights/conv1_bias').load(
        np.full(recipe.CONV1_MAPS, np.nan), tf.get_default_session()))
    assert recipe.main(arguments(tmp_path)) == 1
    assert 'the loss is nan in step 3' in capsys.readouterr().err.splitlines()[-1]
    assert checkpoints.load_state(latest(tmp_path))['step'] == 2


@pytest.mark.real_data
def test_the_full_set_is_learnt(tmp_path, real_data_dir):
    where = ['--output-dir', str(tmp_path), '--data-dir', str(real_data_dir)]
    assert recipe.main(['--steps', '60', '--quiet'] + where) == 0
    results = runs.read_record(tmp_path / recipe.RECIPE / 'latest')['results']
    assert results['test_images'] == 10000 and results['test_accuracy'] > 0.93
