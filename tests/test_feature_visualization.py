"""recipes/feature_visualization.py on a network of a few layers, and on a run of one's own."""
import contextlib
import io
import os
import signal

import numpy as np
import pytest

import feature_visualization as recipe
import tiny_networks
from common import images, runs
from common.metrics import read_metrics
from common.session import tf
from networks import vgg
from synthesis import contact_sheets, sheet_tiles

FAST = ['--size', '64', '--steps', '4', '--threads', '1', '--quiet']
CHANNELS = ['--channels', 'mixed4c:0-2', 'conv2d0:1']  # batches of 1, 2 and 1


@pytest.fixture
def visualize(tmp_path, tiny_inception_path, monkeypatch):
    """Runs the recipe on the tiny network, two pictures to a batch; returns its exit code."""
    monkeypatch.setattr(sheet_tiles, 'BATCH_PIXELS', 2 * 64 * 64)
    monkeypatch.setattr(contact_sheets, 'SECONDS_BETWEEN_STATES', 0.0)

    def run(*options, fast=True):
        return recipe.main([str(option) for option in (
            '--models-dir', tiny_inception_path.parent, '--output-dir', tmp_path / 'output', *(FAST if fast else ()),
            *options)])
    return run


@pytest.fixture(scope='module')
def finished(tmp_path_factory):
    """(Path of the run, never stopped, of CHANNELS; str, what it printed); it is only looked at."""
    folder, said = tmp_path_factory.mktemp('finished'), io.StringIO()
    models_dir = tiny_networks.write_inception(folder / 'models').parent
    options = ['--models-dir', models_dir, '--output-dir', folder, *FAST, *CHANNELS,
               '--output', folder / 'mine' / 'channels.jpg']
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(said):
        patch.setattr(sheet_tiles, 'BATCH_PIXELS', 2 * 64 * 64)
        assert recipe.main(list(map(str, options))) == 0
    return folder / recipe.RECIPE / 'latest', said.getvalue()


@pytest.fixture
def run_dir(tmp_path):
    """Path of the latest run."""
    return tmp_path / 'output' / recipe.RECIPE / 'latest'


def files(run_dir):
    """Returns {name: content} of a run's sheets and pictures."""
    return {str(path.relative_to(run_dir.resolve())): path.read_bytes() for path in run_dir.resolve().rglob('*.png')}


def pictures(run_dir):
    """Returns the run's pictures in their order: float32 [n, height, width, 3]."""
    return np.stack([images.load_image(run_dir / 'pictures' / tile['file'])
                     for tile in runs.read_record(run_dir)['tiles']])


# ---- The objective ----

def answers(activations, sources, **feed):
    """Returns (response, value) of a batch for activations that are given."""
    coordinates = tf.placeholder(tf.float32, [None, 1])
    batch = len(feed['channels'])
    graph = recipe.Graph(coordinates=coordinates, pictures=None, seed=None, seen=None, end_points=None,
                         channels=tf.placeholder(tf.int32, [None, None]), copies=tf.placeholder(tf.int32, [None]),
                         weights=tf.placeholder(tf.float32, [None, None]),
                         positions=tf.placeholder(tf.float32, [None, None, 2]))
    objective = recipe.add_objective(graph, [(activations(tf.reduce_sum(coordinates)), *rest) for rest in sources])
    terms = len(sources)
    values = {'weights': np.ones([batch, terms]), 'positions': np.zeros([batch, terms, 2]),
              'copies': np.arange(batch), **feed}
    with tf.Session() as sess:
        return sess.run([objective.response, objective.value], {
            coordinates: np.zeros([batch, 1]), **{getattr(graph, name): value for name, value in values.items()}})


def test_known_answers():
    values = np.arange(2 * 2 * 2 * 3, dtype=np.float32).reshape(2, 2, 2, 3)

    def layer(zero):
        return tf.constant(values) + zero
    response, value = answers(layer, [('channel', False)], channels=[[2], [0]])
    np.testing.assert_allclose(response, [values[0, ..., 2].mean(), values[1, ..., 0].mean()])
    np.testing.assert_allclose(value, response)
    response, _ = answers(layer, [('channel', True)], channels=[[2], [0]], positions=[[[0.5, 1.0]], [[0, 0.9]]])
    np.testing.assert_allclose(response, [values[0, 1, 1, 2], values[1, 0, 1, 0]])
    response, _ = answers(layer, [('mean', False), ('square', False)], channels=[[0, 0], [0, 0]],
                          weights=[[1, 0], [-2, 0.5]])
    np.testing.assert_allclose(response, [values[0].mean(), -2 * values[1].mean() + 0.5 * (values[1] ** 2).mean()])


def test_classes_behind_a_pooling_over_windows():
    rows = np.float32([[1, 2], [3, 4], [5, 6], [7, 8]])  # two windows of each picture
    response, _ = answers(lambda zero: tf.constant(rows) + zero, [('channel', False)], channels=[[1], [0]])
    np.testing.assert_allclose(response, [3, 6])


def test_an_inactive_channel_is_optimized_before_its_relu():
    before = np.float32([[[[-1., 2.]]], [[[-3., -4.]]]])
    response, value = answers(lambda zero: tf.nn.relu(tf.constant(before) + zero), [('channel', False)],
                                channels=[[1], [0]])
    np.testing.assert_allclose(response, [2, 0])
    np.testing.assert_allclose(value, [2, -3])


def test_similarity_of_textures():
    one, other = np.float32([[[1, 0], [1, 0]]]), np.float32([[[0, 1], [0, 1]]])
    found = recipe.similarity(tf.constant(np.stack([one, other, one, 5 * one])), tf.constant([0, 0, 1, 1]))
    with tf.Session() as sess:  # the Gram matrices of the first two are orthogonal, those of the others alike
        np.testing.assert_allclose(sess.run(found), [0, 0, 1, 1], atol=1e-5)


# ---- Sheets ----

def test_channels_make_a_sheet_and_a_picture_each(finished):
    run_dir, said = finished
    names = ['mixed4c_0.png', 'mixed4c_1.png', 'mixed4c_2.png', 'conv2d0_1.png']
    assert set(files(run_dir)) == {'sheet.png', 'network.png'} | {'pictures/' + name for name in names}
    found = pictures(run_dir)
    assert found.shape == (4, 64, 64, 3)
    assert len({picture.tobytes() for picture in found}) == 4
    copy = run_dir.parents[1] / 'mine' / 'channels.jpg'
    assert images.load_image(copy).shape == images.load_image(run_dir / 'sheet.png').shape
    tiles = runs.read_record(run_dir)['tiles']
    assert all(tile['inactive'] or picture.std() > 1 for tile, picture in zip(tiles, found))
    assert [(tile['layer'], tile['channel']) for tile in tiles][-2:] == [('mixed4c', 2), ('conv2d0', 1)]
    assert [row['step'] for row in read_metrics(run_dir / 'metrics.csv')] == list(range(1, 13))
    assert '4 pictures in ' in said


def test_a_picture_of_a_batch_is_what_it_is_alone(visualize, finished, run_dir):
    assert visualize('--channels', 'mixed4c:1') == 0
    assert np.abs(pictures(run_dir)[0] - pictures(finished[0])[1]).max() <= 1


@pytest.mark.parametrize('basis', ['fourier', 'phase', 'pixels'])
def test_the_objective_rises_in_a_batch_as_alone(visualize, run_dir, basis):
    assert visualize('--channels', 'mixed4c:0-1', '--basis', basis, '--robustness', '0') == 0
    together = pictures(run_dir)[1]
    assert visualize('--channels', 'mixed4c:1', '--basis', basis, '--robustness', '0') == 0
    assert np.abs(pictures(run_dir)[0] - together).max() <= 1
    values = [row['objective'] for row in read_metrics(run_dir / 'metrics.csv')]
    assert values == sorted(values) and values[-1] > values[0]


@pytest.mark.parametrize('options, names', [
    (['--classes', 'tabby', '4', '--objective', 'mixed4c:1*0.5 + conv2d0:2', '--objective', 'mixed4c', '--objective',
      'mixed4c:mean', '--interpolate', 'mixed4c:1', 'conv2d0:2'],
     ['softmax2_pre_activation_tabby.png', 'softmax2_pre_activation_newt.png', 'mixed4c-1-0.5-conv2d0-2.png',
      'mixed4c.png', 'mixed4c-mean.png', *(f'mixed4c-1-to-conv2d0-2_{way}.png' for way in (0, 25, 50, 75, 100))]),
    (['--channels', 'mixed4c:1', '--diversity', '2'], ['mixed4c_1.png', 'mixed4c_1_2.png']),
    (['--all-layers', '2'], ['conv2d0_0.png', 'conv2d0_3.png', 'mixed4c_0.png', 'mixed4c_5.png']),
])
def test_what_else_can_be_shown(visualize, run_dir, options, names):
    assert visualize(*options) == 0
    assert [tile['file'] for tile in runs.read_record(run_dir)['tiles']] == names
    found = pictures(run_dir)
    assert len({picture.tobytes() for picture in found}) == len(names)


def test_a_channel_of_a_module_is_that_of_its_branch(visualize, run_dir):
    assert visualize('--channels', 'mixed4c:4-5') == 0
    module = pictures(run_dir)
    assert runs.read_record(run_dir)['results']['inactive'] == []
    assert visualize('--channels', 'mixed4c_3x3:0-1') == 0
    np.testing.assert_array_equal(module, pictures(run_dir))


def test_a_neuron_sees_the_middle(visualize, run_dir):
    assert visualize('--channels', 'conv2d0:1', '--neurons', '--basis', 'pixels', '--robustness', '0') == 0
    assert [tile['file'] for tile in runs.read_record(run_dir)['tiles']] == ['conv2d0_1.png']
    changed = np.abs(pictures(run_dir)[0] - 127.5).max(axis=-1) > 10
    rows, columns = np.nonzero(changed)
    assert len(rows) and 28 <= rows.min() <= rows.max() <= 36 and 28 <= columns.min() <= columns.max() <= 36


def test_the_seed_holds_and_other_batches_are_refused(visualize, finished, run_dir, monkeypatch, capsys):
    made = [files(finished[0])]
    for seed in (1, 0):
        assert visualize(*CHANNELS, '--seed', seed) == 0
        made.append(files(run_dir))
    assert made[0] == made[2]
    assert [name for name in made[0] if made[0][name] == made[1][name]] == ['network.png']
    monkeypatch.setattr(sheet_tiles, 'BATCH_PIXELS', 4 * 64 * 64)
    assert visualize('--resume', fast=False) == 2
    message = capsys.readouterr().err.splitlines()[-1] + '\n'  # the first line: an inactive channel
    assert 'batches changed since that run started ([1, 2, 1] then, [3, 1] now)' in message
    assert message.count('\n') == 1


def test_stopped_and_resumed(visualize, finished, run_dir, monkeypatch, capsys):
    stops, steps, step = [4, 5, 6], [], recipe.Adam.step  # at a batch's end, as the next begins, within it

    def stop_after_steps(*args):
        steps.append(1)
        if len(steps) in stops:
            os.kill(os.getpid(), signal.SIGINT)
        return step(*args)
    monkeypatch.setattr(recipe.Adam, 'step', stop_after_steps)
    for stop_after in stops:
        assert visualize(*(['--resume'] if steps else []), *CHANNELS) == 130
        message = capsys.readouterr().err
        assert f'after {stop_after} of 12 steps' in message and 'Resume with: ' in message
        assert message.count('\n') == 1 and not (run_dir / 'sheet.png').exists()
    assert visualize('--resume', *CHANNELS) == 0
    assert len(steps) == 12 and files(run_dir) == files(finished[0])


def test_not_a_number_keeps_what_is_done(visualize, run_dir, capsys):
    with pytest.MonkeyPatch.context() as patch:
        steps, step = [], recipe.Adam.step

        def breaks(adam, evaluate):
            steps.append(1)
            broken = len(steps) == 6
            return step(adam, (lambda x: ((float('nan'),), x)) if broken else evaluate)
        patch.setattr(recipe.Adam, 'step', breaks)
        assert visualize(*CHANNELS, '--learning-rate', '1e-3') == 1
    message = capsys.readouterr().err
    assert 'not a finite number in step 2' in message and 'the pictures so far are in ' in message
    assert len(list((run_dir / 'pictures').iterdir())) == 1


def test_an_inactive_channel_is_reported(visualize, run_dir, monkeypatch, capsys):
    add_objective = recipe.add_objective
    monkeypatch.setattr(recipe, 'add_objective', lambda *args, **options: add_objective(*args, **options)._replace(
        response=tf.constant([0.5, 0.0])))
    assert visualize('--channels', 'mixed4c:1-2') == 0
    message = capsys.readouterr().err
    assert 'inactive' in message and 'mixed4c:2' in message and 'mixed4c:1' not in message and message.count('\n') == 1
    assert runs.read_record(run_dir)['results']['inactive'] == ['mixed4c:2']


@pytest.mark.slow
def test_vgg_makes_sheets(visualize, run_dir, tiny_vgg_weights, monkeypatch):
    monkeypatch.setitem(vgg.CONVOLUTIONS, 'vgg19', (1, 2, 1, 1, 1))
    monkeypatch.setattr(vgg, 'obtain_weights',
                        lambda models_dir, network, quiet: (network, tiny_vgg_weights, 'a test', '0'))
    assert visualize('--network', 'vgg19', '--all-layers', '1', '--steps', '1') == 0
    found = [tile['layer'] for tile in runs.read_record(run_dir)['tiles']]
    assert found == [name for name in vgg.layer_names('vgg19') if not name.startswith('pool')]


@pytest.mark.parametrize('options, said', [
    (['--channels', 'mixed9z:1'], "no layer 'mixed9z'; did you mean 'mixed4c"),
    (['--channels', 'mixed4c:0-6'], 'no channel 6; mixed4c has 6, 0 to 5'),
    (['--channels', 'mixed4c:3-1'], 'the range 3-1 ends before it begins'),
    (['--classes', 'taby'], "--classes taby: no class 'taby'; did you mean 'tabby'"),
    (['--classes', '7'], '--classes 7: no channel 7; softmax2_pre_activation has the channels 0 to 4'),
    (['--objective', 'mixed4c:1 + '], 'the layer before'),
    (['--interpolate', 'mixed4c:1', 'mixed4x:1'], "--interpolate mixed4x:1: no layer 'mixed4x'; did you mean 'mixed4c"),
    (['--interpolate', 'mixed4c:1', 'mixed4c:1*0'], "--interpolate mixed4c:1*0: the weight '0' is 0"),
    (['--objective', 'mixed4c:1@2,2'], 'is outside the image'),
    (['--channels', 'mixed4c:1', '--size', '40'], '--size 40: the network needs 64 pixels each way'),
    (['--channels', 'mixed4c:1', '--size', '1024', '--diversity', '9'], '9 pictures of 1024 x 1024 pixels at once'),
    (['--channels', 'mixed4c:1', '--output', 'x.xyz'], "no picture format has the extension '.xyz'"),
    (['--run', 'nowhere'], '--run nowhere: not a run; name a folder that contains a run.json'),
    (['--run', '{run}'], 'a run of deepdream, which trains no classifier; expected one of mnist_convnet'),
    (['--run', '{mnist}'], '--export'),
    (['--run', '{mnist}', '--network', 'vgg16'], 'a network of its own, with which --graph and --network do not go'),
])
def test_one_line_and_nothing_written(visualize, tmp_path, capsys, options, said):
    places = {name: runs.create(tmp_path, name) for name in ('deepdream', 'mnist_convnet')}
    runs.release_all()
    before = sorted(tmp_path.rglob('*'))
    assert visualize(*(option.format(run=places['deepdream'], mnist=places['mnist_convnet'])
                       for option in options)) == 2
    message = capsys.readouterr().err
    assert said in message and message.count('\n') == 1
    assert sorted(tmp_path.rglob('*')) == before


def test_the_dream_says_where_its_sheets_are(tmp_path, capsys):
    import deepdream
    for options in (['--channels', 'mixed4c:0-3', 'conv2d0'], ['--all-layers']):
        assert deepdream.main([*options, '--output-dir', str(tmp_path)]) == 2
        message = capsys.readouterr().err
        assert message.endswith('python recipes/feature_visualization.py ' + ' '.join(options) + '\n')
        assert message.count('\n') == 1


# ---- Attribution ----

@pytest.fixture
def photograph(tmp_path):
    """Path of a picture of 90 x 70 pixels."""
    path = tmp_path / 'pond.png'
    images.save_image(path, images.resize_image(np.random.RandomState(3).uniform(0, 255, [7, 9, 3]), 70, 90))
    return path


def test_answers_are_explained(visualize, run_dir, photograph):
    assert visualize('--explain', photograph, '--classes', 'hen', '1') == 0
    names = {f'pictures/{number:03d}_{method}.png' for number in (1, 2)
             for method in ('integrated_gradients', 'SmoothGrad', 'occlusion', 'Grad-CAM')}
    assert set(files(run_dir)) == names | {'explanation.png', 'network.png'}
    assert images.load_image(run_dir / 'pictures' / '001_occlusion.png').shape == (64, 64, 3)
    first, second = runs.read_record(run_dir)['results']['explained']
    assert (first['class'], second['class']) == ('hen', 'tabby') and first['file'] == str(photograph)
    assert 0 <= first['probability'] <= 1 and first['completeness_gap'] >= 0
    before = files(run_dir)
    assert visualize('--resume', fast=False) == 0
    assert files(run_dir) == before


def test_without_a_class_the_most_probable_is_explained(visualize, run_dir, photograph, tmp_path):
    assert visualize('--explain', photograph, '--output', tmp_path / 'mine.jpg') == 0
    only, = runs.read_record(run_dir)['results']['explained']
    assert only['probability'] > 0.2  # of five classes
    assert images.load_image(tmp_path / 'mine.jpg').shape == images.load_image(run_dir / 'explanation.png').shape


@pytest.mark.parametrize('options, said', [
    (['--explain', 'none.jpg'], '--explain none.jpg: no such file'),
    (['--explain', '{photograph}', '--classes', 'hem'], "error: --classes hem: no class 'hem'; did you mean 'hen'"),
    (['--explain', '{photograph}', '--channels', 'mixed4c:1'], '--explain explains classes: leave --channels out'),
    (['--explain', '{photograph}', '--output', '{photograph}'], 'is also an input file'),
])
def test_what_cannot_be_explained(visualize, tmp_path, photograph, capsys, options, said):
    before = sorted(tmp_path.rglob('*'))
    assert visualize(*(option.format(photograph=photograph) for option in options)) == 2
    message = capsys.readouterr().err
    assert said in message and message.count('\n') == 1
    assert sorted(tmp_path.rglob('*')) == before


# ---- Networks of one's own ----

@pytest.mark.slow
def test_a_run_of_ones_own(visualize, tmp_path, run_dir, monkeypatch):
    import mnist_convnet
    import small_mnist
    small_mnist.patch(monkeypatch.setattr)
    assert mnist_convnet.main(['--steps', '2', '--batch-size', '8', '--export', '--quiet', '--data-dir', str(tmp_path),
                               '--output-dir', str(tmp_path / 'output')]) == 0
    run = tmp_path / 'output' / 'mnist_convnet' / 'latest'
    quick = ['--run', run, '--steps', '2', '--quiet']
    assert visualize(*quick, '--classes', '3', '7', fast=False) == 0
    assert [tile['caption'] for tile in runs.read_record(run_dir)['tiles']] == ['3', '7']
    found = pictures(run_dir)
    assert found.shape == (2, 28, 28, 3)
    np.testing.assert_array_equal(found[..., 0], found[..., 1])  # gray
    digit = tmp_path / 'seven.png'
    images.save_image(digit, np.pad(np.zeros([40, 8]), 20, mode='constant', constant_values=255))
    assert visualize('--run', run, '--quiet', '--explain', digit, fast=False) == 0
    assert (run_dir / 'pictures' / '001_Grad-CAM.png').exists()
    assert visualize(*quick, '--all-layers', '2', fast=False) == 0
    assert len({tile['layer'] for tile in runs.read_record(run_dir)['tiles']}) == 2


@pytest.mark.real_data
def test_the_real_networks_channels(real_models_dir, tmp_path):
    assert recipe.main(['--models-dir', str(real_models_dir), '--output-dir', str(tmp_path), '--channels',
                        'mixed4c:6-7', '--size', '64', '--steps', '5', '--quiet']) == 0
    rows = read_metrics(tmp_path / recipe.RECIPE / 'latest' / 'metrics.csv')
    assert rows[-1]['objective'] > rows[0]['objective'] + 1
