"""recipes/deepdream.py: gradient ascent, its tiles, its files, and what it reports when something is wrong."""
import json
import os
import shutil
import signal
import subprocess
import sys
from functools import partial

import numpy as np
import pytest
from PIL import Image

import deepdream
import tiny_networks
from common import film, images, runs
from common.errors import ComputationError, UnavailableError
from common.metrics import read_metrics
from common.session import open_session, tf
from networks import classifiers, inception, vgg
from synthesis import motion, objectives, picture_run
from synthesis.octaves import Octave

FAST = ['--octaves', '2', '--steps', '2', '--tile-size', '64', '--threads', '1', '--quiet']


def save_pond(folder):
    """Saves an image of 128 x 100 pixels; returns its Path."""
    noise = np.random.RandomState(3).uniform(0, 255, [10, 12, 3])
    images.save_image(folder / 'pond.png', images.resize_image(noise, 100, 128))
    return folder / 'pond.png'


@pytest.fixture
def picture(tmp_path):
    """Path of an image of 128 x 100 pixels."""
    return save_pond(tmp_path)


@pytest.fixture(scope='module')
def finished(tmp_path_factory):
    """Path of the run, never stopped, of one image with the defaults of FAST; it is only looked at."""
    folder = tmp_path_factory.mktemp('finished')
    models_dir = tiny_networks.write_inception(folder / 'models').parent
    options = ['--models-dir', models_dir, '--output-dir', folder, *FAST, '--content',
               save_pond(folder), '--output', folder / 'new' / 'dream.jpg', '--save-every', 3]
    assert deepdream.main(list(map(str, options))) == 0
    return (folder / 'deepdream' / 'latest').resolve()


@pytest.fixture
def dreams(tmp_path, tiny_inception_path, monkeypatch):
    """Runs the recipe on the tiny network; returns its exit code."""
    monkeypatch.setattr(picture_run, 'SECONDS_BETWEEN_CHECKPOINTS', 0.0)

    def run(*options, fast=True):
        return deepdream.main([str(option) for option in (
            '--models-dir', tiny_inception_path.parent, '--output-dir', tmp_path / 'output', *(FAST if fast else ()),
            *options)])
    return run


@pytest.fixture
def run_dir(tmp_path):
    """Path of the latest run."""
    return tmp_path / 'output' / 'deepdream' / 'latest'


@pytest.fixture
def gradient_of(tiny_inception_path):
    """Returns a function of objectives that gives a function of an image, a shift and a tile size."""
    graph_def = inception.load_graph_def(tiny_inception_path)
    build = partial(inception.inception, graph_def=graph_def)
    network = classifiers.Classifier(name='inception', build=build, grid=32, objective='mixed4c',
                                     noise_objective='mixed4c:0', labels=None, source='', sha256='')
    with tf.Graph().as_default():
        def of(*texts, guided=False, grid=32):
            graph = deepdream.build_graph(network, [objectives.parse(text) for text in texts], guided)
            sess = open_session(tf.get_default_graph(), threads=1)

            def compute(image, shift=(0, 0), tile_size=512, feed=()):
                return deepdream.tiled_gradient(image, shift, sess, graph, dict(feed), tile_size, grid)
            return compute
        yield of


def noise(height, width, seed=0):
    return np.random.RandomState(seed).uniform(0, 255, [height, width, 3]).astype(np.float32)


# The gradient


@pytest.mark.parametrize('height, width', [(64, 64), (65, 129), (100, 191), (192, 97), (33, 40)])
def test_every_pixel_gets_a_gradient(gradient_of, height, width):
    value, gradient = gradient_of('conv2d0_pre_relu')(noise(height, width), (17, 40), tile_size=64)
    assert value > 0 and (np.abs(gradient).sum(axis=-1) > 0).all()


def test_one_tile_equals_untiled(gradient_of):
    image = noise(64, 96)
    value, gradient = gradient_of('mixed4c')(image, tile_size=512)
    images_in = tf.placeholder(tf.float32, [1, 64, 96, 3])
    graph_def = tf.get_default_graph().as_graph_def()
    layer, = tf.import_graph_def(graph_def, {'tile': images_in}, ['inception/mixed4c:0'], name='again')
    mean = tf.reduce_mean(tf.square(layer))
    with tf.Session() as sess:
        expected, expected_gradient = sess.run([mean, tf.gradients(mean, images_in)[0]], {images_in: image[None]})
    assert value == pytest.approx(expected, rel=1e-5)
    np.testing.assert_allclose(gradient / (64 * 96), expected_gradient[0], rtol=1e-3, atol=1e-9)


def test_tiles_equal_untiled_away_from_the_seams(gradient_of):
    image, compute = noise(128, 128), gradient_of('mixed4c')
    whole, tiled = compute(image, tile_size=128)[1], compute(image, tile_size=64)[1]
    far = np.abs(np.arange(128) - 63.5) > 16  # the tiny network's receptive field is smaller
    difference = (whole - tiled)[far][:, far]
    assert np.linalg.norm(difference) < 1e-5 * np.linalg.norm(whole)
    assert np.abs(whole - tiled).max() > 0


@pytest.mark.parametrize('text', ['mixed4c', 'mixed4c:2', 'softmax2_pre_activation:1'])
def test_a_pixel_counts_the_same_in_large_and_small_tiles(gradient_of, text):
    image = np.full([64, 96 + 64, 3], 30, np.float32)  # flat, and cut into 96 and 64 columns
    _, gradient = gradient_of(text)(image, tile_size=96)
    strength = np.abs(gradient[16:48]).mean(axis=(0, 2))
    np.testing.assert_allclose(strength[24:72].mean(), strength[108:148].mean(), rtol=0.1)


def test_the_shift_moves_the_tiles_and_not_the_image(gradient_of):
    image, compute = noise(64, 96), gradient_of('mixed4c')
    still, shifted = compute(image)[1], compute(image, (32, 64))[1]
    similarity = (still * shifted).sum() / np.linalg.norm(still) / np.linalg.norm(shifted)
    assert similarity > 0.9


@pytest.mark.parametrize('shift', [(0, 0), (50, 70), (127, 1)])
def test_a_neuron_is_where_it_was_put(gradient_of, shift):
    value, gradient = gradient_of('conv2d0_pre_relu:1@0.25,0.75')(noise(128, 192), shift, tile_size=64)
    rows, columns = np.nonzero(np.abs(gradient).sum(axis=-1))
    assert value != 0 and len(rows) <= 25
    assert np.abs(rows - 32).max() <= 4 and np.abs(columns - 143).max() <= 4


def test_weights_add_up(gradient_of):
    image = noise(64, 64)
    total, gradient = gradient_of('mixed4c*2', 'conv2d0:1*-0.5')(image)
    first, second = gradient_of('mixed4c')(image), gradient_of('conv2d0:1')(image)
    assert total == pytest.approx(2 * first[0] - 0.5 * second[0], rel=1e-5)
    np.testing.assert_allclose(gradient, 2 * first[1] - 0.5 * second[1], rtol=1e-3, atol=1e-3)


# Gradient ascent


def test_two_steps_without_a_command_line(tiny_inception_path):
    network = classifiers.load('inception', tiny_inception_path.parent)
    graph = deepdream.build_graph(network, [objectives.parse('mixed4c')])
    with tf.Session() as sess:
        image, values = deepdream.dream(noise(64, 80), [Octave(height=64, width=80, steps=2, step_size=1.5)],
                                        partial(deepdream.tiled_gradient, sess=sess, graph=graph))
    (before, last), = values
    assert image.shape == (64, 80, 3) and last > before > 0


def octaves(*sizes, steps=2, step_size=1.5):
    return [Octave(height, width, steps, step_size) for height, width in sizes]


def test_the_objective_rises(gradient_of):
    states = []
    deepdream.dream(noise(64, 64), octaves((64, 64), steps=5), gradient_of('mixed4c'), jitter=0, report=states.append)
    assert [(state.octave, state.step) for state in states] == [(0, 1), (0, 2), (0, 3), (0, 4), (0, 5)]
    values = [state.values[0, 1] for state in states]
    assert values == sorted(values) and values[-1] > 1.02 * values[0] and states[-1].values[0, 0] == values[0]


@pytest.mark.parametrize('laplacian_levels', [0, 3])
def test_a_step_has_its_size(laplacian_levels):
    content = np.full([32, 48, 3], 128, np.float32)
    gradient = np.random.RandomState(1).normal(0, 1e-5, content.shape).astype(np.float32)
    result, values = deepdream.dream(content, octaves((32, 48), steps=1), lambda image, shift: (1.0, gradient),
                                     laplacian_levels=laplacian_levels)
    assert values.tolist() == [[1, 1]]
    assert np.abs(result - content).mean() == pytest.approx(1.5, rel=0.02)


def test_a_local_gradient_is_measured_where_it_is():
    gradient = np.zeros([32, 32, 3], np.float32)
    gradient[:4, :4] = -2
    assert deepdream.mean_absolute_gradient(gradient) == 2
    assert deepdream.mean_absolute_gradient(np.zeros([4, 4, 3], np.float32)) == 0


def test_pixels_stay_in_range_and_an_inactive_objective_changes_nothing():
    content = noise(64, 64)
    active, _ = deepdream.dream(content, octaves((64, 64), step_size=1e4), lambda image, shift: (1, image - 100))
    inactive, _ = deepdream.dream(content, octaves((32, 32), (64, 64)), lambda image, shift: (0, np.zeros_like(image)))
    assert active.min() == 0 and active.max() == 255
    np.testing.assert_allclose(inactive, content, atol=1e-3)  # the lost detail came back


def test_a_soft_mask_scales_the_step(gradient_of):
    content = np.full([64, 64, 3], 128, np.float32)
    mask = np.zeros([64, 64], np.float32)
    mask[:, 32:], mask[:, 48:] = 127.5, 255
    result, _ = deepdream.dream(content, octaves((64, 64), steps=1), lambda image, shift: (1, np.ones_like(image)),
                                mask=mask)
    changed = (result - content)[0, :, 0]
    np.testing.assert_allclose(changed[[0, 40, 60]], [0, 0.75, 1.5], rtol=1e-5)


def test_not_a_number_stops_the_ascent():
    states = []

    def breaks(image, shift):
        return (np.nan if len(states) == 3 else 1.0), np.ones_like(image)
    with pytest.raises(ComputationError, match='step 2 of octave 2'):
        deepdream.dream(noise(64, 64), octaves((32, 32), (64, 64)), breaks, report=states.append)
    assert np.isfinite(states[-1].image).all()


# The whole command


def test_a_run_leaves_its_files(finished):
    folder = finished.parents[1]
    with Image.open(str(finished / 'pond_dream.png')) as dream, Image.open(str(folder / 'pond.png')) as pond:
        assert dream.size == pond.size == (128, 100)
        assert np.abs(np.asarray(dream, float) - np.asarray(pond)).mean() > 1
    assert Image.open(str(folder / 'new' / 'dream.jpg')).format == 'JPEG'
    assert images.load_image(finished / 'pond_dream_00003.png').shape == (100, 128, 3)
    assert images.load_image(finished / 'pond_dream_sheet.png').std() > 10
    assert images.load_image(finished / 'pond_dream_objective.png').std() > 10
    rows = read_metrics(finished / 'metrics.csv')
    steps = [(row['step'], row['octave'], row['width']) for row in rows]
    assert steps == [(1, 1, 91), (2, 1, 91), (3, 2, 128), (4, 2, 128)]
    record = json.loads((finished / 'run.json').read_text())
    assert record['network'] == 'inception' and record['objective'] == ['mixed4c'] and record['seed'] == 0
    octave = record['pictures'][0]['octaves'][-1]
    assert octave['objective_last'] > octave['objective_before'] and octave['width'] == 128
    assert record['results']['objective_last'] == octave['objective_last']


def test_the_seed_holds(dreams, finished, picture, run_dir, capsys):
    results = []
    for seed in (0, 1):
        assert dreams('--content', picture, '--seed', seed) == 0
        results.append((run_dir / 'pond_dream.png').read_bytes())
    assert results[0] == (finished / 'pond_dream.png').read_bytes() != results[1]
    told = 'the objective went from {objective_before:.4g} to {objective_last:.4g} in the last octave: '
    assert told.format(**runs.read_record(run_dir)['results']) in capsys.readouterr().out


def test_stopped_and_resumed(dreams, finished, picture, run_dir, monkeypatch, capsys):
    steps, ascent_step = [], deepdream.ascent_step

    def stop_after_a_step(*args):
        steps.append(len(steps))
        if len(steps) == 3:
            os.kill(os.getpid(), signal.SIGINT)
        return ascent_step(*args)
    monkeypatch.setattr(deepdream, 'ascent_step', stop_after_a_step)
    assert dreams('--content', picture) == 130
    message = capsys.readouterr().err
    assert 'after 3 of 4 steps' in message and 'Resume with: ' in message and message.count('\n') == 1
    assert images.load_image(run_dir / 'pond_dream.png').shape == (100, 128, 3)
    assert dreams('--resume', '--content', picture) == 0
    assert len(steps) == 4 and (run_dir / 'pond_dream.png').read_bytes() == (finished / 'pond_dream.png').read_bytes()


KILLED = '''
import os, signal, sys, deepdream
from synthesis import picture_run
picture_run.SECONDS_BETWEEN_CHECKPOINTS, picture_run.CHECKPOINT_FRACTION = 0.0, float('inf')
steps_left, ascent_step = int(sys.argv[1]), deepdream.ascent_step
def step(*args):
    global steps_left
    steps_left -= 1
    return os.kill(os.getpid(), signal.SIGKILL) if steps_left < 0 else ascent_step(*args)
deepdream.ascent_step = step
deepdream.main(sys.argv[2:])
'''


@pytest.fixture
def dream_and_die(tmp_path, tiny_inception_path, forks):
    """Runs the recipe in a process of its own that is killed after so many steps."""
    def run(steps, *options):
        status, _, err = forks.run(KILLED, steps, *FAST, '--models-dir', tiny_inception_path.parent, '--output-dir',
                                   tmp_path / 'output', *options, folder=tmp_path)
        assert status == -signal.SIGKILL, err
    return run


def test_resume_refuses_what_has_changed(dreams, picture, run_dir, capsys):
    assert dreams('--content', picture) == 0
    assert dreams('--resume', '--octave-scale', '1.3', fast=False) == 2
    assert 'has --octave-scale 1.4, not 1.3' in capsys.readouterr().err
    images.save_image(picture, noise(100, 128))
    assert dreams('--resume', fast=False) == 2
    assert 'inputs changed since' in capsys.readouterr().err


def test_not_a_number_keeps_the_last_good_image(dreams, picture, run_dir, monkeypatch, capsys):
    tiled_gradient, calls = deepdream.tiled_gradient, []

    def breaks(*args, **kwargs):
        calls.append(1)
        value, gradient = tiled_gradient(*args, **kwargs)
        return (value, gradient * np.nan) if len(calls) == 4 else (value, gradient)
    monkeypatch.setattr(deepdream, 'tiled_gradient', breaks)
    assert dreams('--content', picture) == 1
    assert 'the last good picture: ' in capsys.readouterr().err
    assert images.load_image(run_dir / 'pond_dream.png').std() > 10


def test_several_images_of_which_one_is_none(dreams, picture, tmp_path, run_dir, capsys):
    folder = tmp_path / 'folder'
    folder.mkdir()
    (folder / 'a.png').write_bytes(picture.read_bytes())
    (folder / 'b.png').write_bytes(b'not a picture')
    small = tmp_path / 'small.png'
    images.save_image(small, noise(20, 30))
    assert dreams('--content', folder, small, picture) == 2
    captured = capsys.readouterr()
    assert 'b.png: not a picture' in captured.err and '30 x 20 pixels are too few for any octave' in captured.err
    assert 'enlarge the image with --size 96, or cut off' in captured.err  # 64 of 20 are 96 of 30
    assert '2 images dreamed' in captured.out and '2 skipped' in captured.out
    assert (run_dir / 'a_dream.png').exists() and (run_dir / 'pond_dream.png').exists()


def test_any_kind_of_image_mask_and_guide(dreams, picture, tmp_path, run_dir):
    rgba, gray, cmyk = tmp_path / 'rgba.png', tmp_path / 'gray.png', tmp_path / 'cmyk.jpg'
    image = Image.open(str(picture))
    image.convert('RGBA').save(str(rgba))
    image.convert('L').resize((40, 70)).save(str(gray))
    image.convert('CMYK').save(str(cmyk))
    assert dreams('--content', rgba, cmyk, '--mask', gray, '--guide', gray, '--preserve-color', '--blend', '0.8',
                  '--laplacian-levels', '3') == 0
    assert (run_dir / 'rgba_dream.png').exists() and (run_dir / 'cmyk_dream.png').exists()


def test_the_mask_protects(dreams, picture, tmp_path, run_dir):
    mask = np.zeros([100, 128])
    mask[:, 48:] = 255
    images.save_image(tmp_path / 'mask.png', mask)
    assert dreams('--content', picture, '--mask', tmp_path / 'mask.png', '--octaves', '1') == 0
    changed = np.abs(images.load_image(run_dir / 'pond_dream.png') - images.load_image(picture))
    assert changed[:, :48].max() <= 1 and changed[:, 48:].mean() > 1


def test_noise_shows_what_a_channel_responds_to(dreams, run_dir):
    assert dreams('--content', 'noise', '--size', '64', '--objective', 'mixed4c:1') == 0
    assert images.load_image(run_dir / 'noise_dream.png').shape == (64, 64, 3)
    record = json.loads((run_dir / 'run.json').read_text())
    assert record['settings']['laplacian_levels'] == 4 and record['settings']['octaves'] == 2


def test_the_books_settings(dreams, picture, run_dir):
    assert dreams('--book', '--content', 'noise', '--steps', '1', fast=False) == 0
    record = json.loads((run_dir / 'run.json').read_text())
    assert record['objective'] == ['mixed4c:mean'] and record['settings']['size'] == 224
    assert [octave['width'] for octave in record['pictures'][0]['octaves']] == [81, 114, 160, 224]
    assert images.load_image(run_dir / 'noise_dream.png').std() == pytest.approx(25.5, rel=0.1)


def test_without_options_it_dreams_on_a_raccoon(dreams, run_dir):
    assert dreams('--size', '96') == 0
    assert images.load_image(run_dir / 'raccoon_dream.png').shape == (72, 96, 3)


def test_steps_and_step_sizes_for_each_octave(dreams, picture, run_dir):
    assert dreams('--content', picture, '--octaves', '3', '--steps', '9,2,1', '--step-size',
                  '3,2,1', fast=False) == 0
    # the first of three would have 51 pixels: too few
    octaves = json.loads((run_dir / 'run.json').read_text())['pictures'][0]['octaves']
    assert [(octave['steps'], octave['step_size']) for octave in octaves] == [(2, 2.0), (1, 1.0)]


def test_a_class_by_its_name(dreams, picture, capsys):
    assert dreams('--content', picture, '--objective', 'softmax2_pre_activation:Tinca tinca') == 0
    assert dreams('--content', picture, '--objective', 'softmax2_pre_activation:tinca') == 2
    assert 'no class \'tinca\'; did you mean' in capsys.readouterr().err


def test_an_inactive_objective_is_reported(dreams, picture, monkeypatch, capsys):
    monkeypatch.setattr(deepdream, 'tiled_gradient', lambda image, shift, **kwargs: (0.0, np.zeros_like(image)))
    assert dreams('--content', picture) == 0
    assert 'warning: the objective was 0' in capsys.readouterr().err


def test_list_layers(dreams, capsys):
    assert dreams('--list-layers') == 0
    assert 'mixed4c                     6 channels' in capsys.readouterr().out


# Films


@pytest.fixture
def clip(tmp_path):
    """Path of a video of 80 x 64 pixels, 6 frames, that moves a little and has a sound."""
    path = tmp_path / 'clip.mkv'
    subprocess.run([film.ffmpeg(), '-v', 'error', '-nostdin', '-f', 'lavfi', '-i', 'testsrc=size=80x64:rate=10',
                    '-f', 'lavfi', '-i', 'sine', '-t', '0.6', str(path)], check=True)
    return path


def frames_of(folder):
    """Returns the bytes of the frames that a run keeps."""
    return [path.read_bytes() for path in sorted((folder / 'frames').iterdir())]


def test_a_zoom_into_an_image(dreams, picture, tmp_path, run_dir, capsys):
    output = tmp_path / 'zoom.gif'
    assert dreams('--content', picture, '--zoom', '1.1', '--rotate', '2', '--frames', '4', '--fps', '10', '--output',
                  output) == 0
    assert '4 frames dreamed' in capsys.readouterr().out
    frames = [images.load_image(path) for path in sorted((run_dir / 'frames').iterdir())]
    assert [frame.shape for frame in frames] == [(100, 128, 3)] * 4
    found = film.open_film(output)
    assert (found.num_frames, found.fps, found.height, found.width) == (4, 10, 100, 128)
    for old, new in zip(frames, frames[1:]):
        moved = motion.warp(old, motion.camera(100, 128, 1.1, 2), order=3)
        assert 0.5 < np.abs(new - moved).mean() < 0.5 * np.abs(new - old).mean()  # it has moved, and dreamed on
    record = runs.read_record(run_dir)
    assert record['results']['frames'] == 4 and record['pictures'][0]['width'] == 128
    rows = read_metrics(run_dir / 'metrics.csv')
    assert [row['frame'] for row in rows] == [1, 2, 3, 4] and rows[3]['objective'] > rows[3]['objective_before']


def test_a_films_first_frame_is_the_images_dream(dreams, finished, picture, run_dir):
    assert dreams('--content', picture, '--frames', '1') == 0
    assert frames_of(run_dir) == [(finished / 'pond_dream.png').read_bytes()]
    assert film.open_film(run_dir / 'pond_dream.mp4').num_frames == 1


def test_a_video_dreams_and_keeps_its_sound(dreams, clip, tmp_path, run_dir):
    images.save_image(tmp_path / 'mask.png', np.full([10, 10], 255))
    assert dreams('--content', clip, '--output', tmp_path / 'dream.mp4', '--mask', tmp_path / 'mask.png') == 0
    found = film.open_film(tmp_path / 'dream.mp4')
    assert (found.num_frames, found.fps, found.height, found.width) == (6, 10, 64, 80)
    assert b'Audio: aac' in subprocess.run([film.ffmpeg(), '-i', str(found.path)], stderr=subprocess.PIPE).stderr
    dreamed = [images.load_image(path) for path in sorted((run_dir / 'frames').iterdir())]
    changes = [np.abs(new - old).mean() for new, old in zip(dreamed, film.read_frames(film.open_film(clip)))]
    assert len(dreamed) == len(changes) == 6 and 0.9 < min(changes) and max(changes) < 20


def test_a_still_video_flickers_less_with_the_blend(dreams, picture, tmp_path, run_dir):
    random = np.random.RandomState(0)
    still = images.load_image(picture)
    for number in range(5):
        images.save_image(tmp_path / 'still' / f'{number}.png', still + random.normal(0, 2, still.shape))
    flicker, strength = [], []
    for blend in ('0', '0.8'):
        assert dreams('--content', tmp_path / 'still', '--frame-blend', blend, '--steps', '10') == 0
        frames = [images.load_image(path) for path in sorted((run_dir / 'frames').iterdir())]
        flicker.append(np.mean([np.abs(new - old).mean() for old, new in zip(frames[1:], frames[2:])]))
        strength.append(np.mean([np.abs(frame - still).mean() for frame in frames[2:]]))
    assert flicker[1] < 0.8 * flicker[0]
    assert strength[1] > 0.7 * strength[0]  # and it dreams no less


@pytest.mark.slow
def test_a_film_of_a_video_killed_and_resumed(dreams, dream_and_die, clip, tmp_path, run_dir):
    options = ['--content', clip, '--frames', '4']
    assert dreams(*options) == 0
    whole = frames_of(run_dir)
    assert len(whole) == len(set(whole)) == 4
    dream_and_die(3, *options)  # in the third frame
    assert frames_of(run_dir) == whole[:2]
    assert dreams('--resume', fast=False) == 0
    assert frames_of(run_dir) == whole
    assert [row['frame'] for row in read_metrics(run_dir / 'metrics.csv')] == [1, 2, 3, 4]
    seconds = runs.read_record(run_dir)['seconds']
    assert dreams('--resume', '--output', tmp_path / 'again', fast=False) == 0  # a film that is done, in another form
    assert runs.read_record(run_dir)['seconds'] == seconds
    assert [path.read_bytes() for path in sorted((tmp_path / 'again').iterdir())] == whole


def test_a_film_killed_as_a_frame_is_saved_misses_no_row(dreams, picture, run_dir, monkeypatch):
    options, save_image = ['--content', picture, '--frames', '3', '--steps', '1'], images.save_image
    assert dreams(*options) == 0
    whole = frames_of(run_dir)

    def die(path, image):
        if path.name == '000001.png':
            raise KeyboardInterrupt
        save_image(path, image)
    monkeypatch.setattr(images, 'save_image', die)
    assert dreams(*options) == 130
    monkeypatch.undo()
    assert dreams('--resume', fast=False) == 0 and frames_of(run_dir) == whole
    assert [row['frame'] for row in read_metrics(run_dir / 'metrics.csv')] == [1, 2, 3]


def test_a_film_stopped_and_resumed(dreams, picture, run_dir, monkeypatch, capsys):
    assert dreams('--content', picture, '--frames', '4') == 0
    whole, steps, ascent_step = frames_of(run_dir), [], deepdream.ascent_step

    def stop_after_a_step(*args):
        steps.append(1)
        if len(steps) == 11:  # 4 steps a frame
            os.kill(os.getpid(), signal.SIGINT)
        return ascent_step(*args)
    monkeypatch.setattr(deepdream, 'ascent_step', stop_after_a_step)
    assert dreams('--content', picture, '--frames', '4') == 130
    message = capsys.readouterr().err
    assert 'after 2 of 4 frames, which are in' in message and 'Resume with: ' in message
    assert message.count('\n') == 1 and frames_of(run_dir) == whole[:2]
    assert dreams('--resume', fast=False) == 0 and frames_of(run_dir) == whole


def test_a_resumed_run_writes_where_the_command_line_says_again(dreams, picture, tmp_path, monkeypatch, capsys):
    ascent_step = deepdream.ascent_step

    def stop(*args):
        os.kill(os.getpid(), signal.SIGINT)
        return ascent_step(*args)
    for options in (['--output', tmp_path / 'dream.jpg'], ['--output', tmp_path / 'zoom.gif', '--frames', '2']):
        monkeypatch.setattr(deepdream, 'ascent_step', stop)
        assert dreams('--content', picture, *options) == 130
        assert f'--output {options[1]}' in capsys.readouterr().err
        monkeypatch.setattr(deepdream, 'ascent_step', ascent_step)
        options[1].unlink() if options[1].exists() else None
        assert dreams('--resume', fast=False) == 0 and not options[1].exists()  # run.json may come from elsewhere
        assert dreams('--resume', *options[:2], fast=False) == 0 and options[1].exists()


def test_a_film_that_breaks_off_is_made_as_far_as_it_goes(dreams, clip, tmp_path, run_dir, capsys):
    whole = clip.read_bytes()
    clip.write_bytes(whole[:len(whole) * 4 // 5])
    assert dreams('--content', clip, '--output', tmp_path / 'dream.gif') == 2
    message = capsys.readouterr().err
    assert 'skipped: what cannot be read of' in message and message.count('\n') == 1
    assert 0 < film.open_film(tmp_path / 'dream.gif').num_frames < 6


def test_a_film_does_not_take_the_place_of_what_it_is_made_from(dreams, clip, tmp_path, capsys):
    path = tmp_path / 'clip.mp4'
    subprocess.run([film.ffmpeg(), '-v', 'error', '-nostdin', '-i', str(clip), str(path)], check=True)
    filmed = path.read_bytes()
    assert dreams('--content', path, '--frames', '2', '--output', tmp_path / 'clip.mp4') == 2
    assert 'is also an input file' in capsys.readouterr().err and path.read_bytes() == filmed


def test_more_frames_than_there_are(dreams, clip, run_dir, capsys):
    assert dreams('--content', clip, '--frames', '7') == 0
    assert 'warning: --frames 7: the film has only 6' in capsys.readouterr().err
    assert len(frames_of(run_dir)) == 6


def test_a_run_knows_that_it_is_a_film(dreams, picture, run_dir, tmp_path):
    assert dreams('--content', picture, '--frames', '3') == 0
    whole = frames_of(run_dir)
    shutil.rmtree(str(run_dir / 'frames'))  # to have them anew
    assert dreams('--resume', '--output', tmp_path / 'again.gif', fast=False) == 0
    assert frames_of(run_dir) == whole and film.open_film(tmp_path / 'again.gif').num_frames == 3


def test_without_opencv_a_video_dreams_and_it_is_reported_once(dreams, clip, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, 'cv2', None)
    assert dreams('--content', clip, '--output', tmp_path / 'dream') == 0
    message = capsys.readouterr().err
    assert 'warning: no OpenCV' in message and message.count('\n') == 1
    assert dreams('--content', clip, '--output', tmp_path / 'other', '--frame-blend', '0') == 0
    assert capsys.readouterr().err == ''


def test_not_a_number_keeps_the_frames(dreams, picture, run_dir, monkeypatch, capsys):
    tiled_gradient, calls = deepdream.tiled_gradient, []

    def breaks(*args, **kwargs):
        calls.append(1)
        value, gradient = tiled_gradient(*args, **kwargs)
        return (value, gradient * np.nan) if len(calls) == 10 else (value, gradient)
    monkeypatch.setattr(deepdream, 'tiled_gradient', breaks)
    assert dreams('--content', picture, '--zoom', '1.1', '--frames', '5') == 1
    assert 'the frames so far are in' in capsys.readouterr().err
    assert len(frames_of(run_dir)) == 2


# What it says when something is wrong


@pytest.mark.parametrize('options, said', [
    (['--content', 'none.jpg'], '--content none.jpg: no such file'),
    (['--content', '{folder}'], 'no picture in this folder'),
    (['--content', '{labels}'], 'not a picture'),
    (['--content', '{picture}', '--size', '40'], '40 x 31 pixels are too few for any octave'),
    (['--content', '{picture}', '--objective', 'mixed9z'], "no layer 'mixed9z'; did you mean 'mixed4c"),
    (['--content', '{picture}', '--objective', 'mixed4c:6'], 'no channel 6; mixed4c has the channels 0 to 5'),
    (['--content', '{picture}', '--objective', 'mixed4c:1@2'], "the position '2' is not two numbers"),
    (['--content', '{picture}', '--objective', 'mixed4c*x'], "the weight 'x' is not a number"),
    (['--content', '{picture}', '--output', '{picture}/x.png'], 'cannot write there'),
    (['--content', '{picture}', '--output', 'x.xyz'], "no picture format has the extension '.xyz'"),
    (['--content', '{picture}', '{picture}', '--output', 'x.png'], 'x.png: needs a single image; --content names 2'),
    (['--content', '{picture}', '--graph', 'none.pb'], '--graph none.pb: no such file'),
    (['--content', '{picture}', '--graph', '{picture}'], 'pond.png: an image; expected a frozen GraphDef'),
    (['--content', '{picture}', '--input-name', 'x'], "no input 'x'; its placeholders are 'input'"),
    (['--content', '{picture}', '--graph', 'x.pb', '--network', 'vgg16'], 'does not go with --network vgg16'),
    (['--content', '{picture}', '--labels', 'x.txt', '--network', 'vgg16'], 'does not go with --network vgg16'),
    (['--content', '{picture}', '--feed', 'x=1', '--network', 'vgg16'], 'does not go with --network vgg16'),
    (['--content', '{picture}', '--mask', 'none.png'], 'none.png: no such file'),
    (['--content', '{picture}', '--guide', '{labels}'], 'not a picture'),
    (['--content', '{picture}', '--guide', '{picture}', '--objective', 'mixed4c:1'], '--guide needs whole layers'),
    (['--content', '{picture}', '--labels', 'none.txt', '--objective', 'softmax2:hen'], 'none.txt: no such file'),
    (['--content', '{picture}', '--labels', '{text}'], 'no layer of the graph has a channel for each of its 3'),
    (['--content', '{picture}', '--steps', '1,2,3'], '3 numbers for 2 octaves'),
    (['--content', '{picture}', '--steps', '0'], '0 given, expected a whole number of at least 1'),
    (['--content', '{picture}', '--step-size', 'nan'], 'nan given, expected a number'),
    (['--content', '{picture}', '--blend', '2'], '2 given, expected a number from 0 to 1'),
    (['--resume', '{folder}'], 'not a run'),
    (['--content', '{picture}', '--frames', '0'], '0 given, expected a whole number of at least 1'),
    (['--content', '{picture}', '--zoom', '0'], '0 given, expected a number from 0.5 to 2'),
    (['--content', '{picture}', '--zoom', '1.1', '--output', 'x.avi'], "no film has the extension '.avi'; known: .gif"),
    (['--content', '{picture}', '--zoom', '1.1', '--output', '{picture}/x.gif'], 'cannot write there'),
    (['--content', '{picture}', '--zoom', '1.1', '--output-dir', '{picture}/x'], '--output-dir '),
    (['--content', '{picture}', '{picture}', '--zoom', '1.1'], 'one image, one video or one folder of frames, not'),
    (['--content', '{picture}', '--zoom', '1.1', '--save-every', '1'], 'a film keeps every frame'),
    (['--content', '{picture}', '--frame-blend', '0.5'], 'needs a video'),
    (['--content', '{picture}', '--zoom', '1.1', '--size', '40'], '40 x 31 pixels are too few for any octave'),
    (['--content', '{folder}', '--fps', '10'], 'no picture in this folder'),
    (['--content', 'none.mp4'], 'none.mp4: no such file'),
    (['--content', '{video}'], 'not a video that can be read'),
    (['--content', '{labels}', '--frames', '2'], 'a video is known by its extension: .3gp .avi'),
    (['--content', '{picture}', '--output', '{picture}'], 'is also an input file; choose another name'),
    (['--content', '{picture}', '--output', 'x'], 'an image needs an extension such as .png; for a folder of frames'),
    (['--content', '{picture}', '--output', '{folder}'], 'an image needs an extension such as .png; for a folder of'),
])
def test_one_line_and_nothing_written(dreams, picture, tmp_path, tiny_inception_path, capsys, options, said):
    (tmp_path / 'folder').mkdir()
    (tmp_path / 'video.mp4').write_bytes(b'not a video')
    (tmp_path / 'text.txt').write_text('not\na\nlist\n')
    places = {'picture': picture, 'folder': tmp_path / 'folder', 'labels': tiny_inception_path.parent / 'labels.txt',
              'text': tmp_path / 'text.txt', 'video': tmp_path / 'video.mp4'}
    before = sorted(tmp_path.rglob('*'))
    assert dreams(*(option.format(**places) for option in options)) == 2
    message = capsys.readouterr().err
    assert said in message and message.count('\n') == 1
    assert sorted(tmp_path.rglob('*')) == before


def test_a_named_network_that_cannot_be_had(tmp_path, picture, capsys):
    empty = tmp_path / 'empty'
    empty.mkdir()
    assert deepdream.main(['--models-dir', str(empty), '--network', 'inception', '--content', str(picture), '--quiet',
                           '--output-dir', str(tmp_path / 'output')]) == 3
    assert 'inception5h.zip' in capsys.readouterr().err and not (tmp_path / 'output').exists()


def test_falls_back_to_vgg16(dreams, picture, tmp_path, run_dir, tiny_vgg_weights, monkeypatch, capsys):
    def none(*args):
        raise UnavailableError('tried everything')
    weights = {name: value for name, value in tiny_vgg_weights.items() if not name.endswith('_4')}
    monkeypatch.setattr(inception, 'obtain_graph', none)
    monkeypatch.setattr(vgg, 'obtain_weights',
                        lambda *args, **kwargs: ('vgg16', weights, 'a test', '0'))
    assert dreams('--content', picture, '--objective', 'conv5_1') == 0
    message = capsys.readouterr().err
    assert 'warning: Inception is unavailable' in message and 'VGG-16' in message and 'tried everything' in message
    assert runs.read_record(run_dir)['network'] == 'vgg16'


@pytest.mark.real_data
def test_the_real_network_dreams(real_models_dir, tmp_path):
    assert deepdream.main(['--models-dir', str(real_models_dir), '--output-dir', str(tmp_path), '--size', '128',
                           '--octaves', '2', '--steps', '3', '--quiet']) == 0
    picture, = runs.read_record(tmp_path / 'deepdream' / 'latest')['pictures']
    assert all(octave['objective_last'] > 1.2 * octave['objective_before'] for octave in picture['octaves'])
