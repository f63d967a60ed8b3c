"""recipes/deepdream.py --channels and --all-layers: sheets of many dreams, and what is said where there can be none."""
import contextlib
import io
import json
import os
import signal
from pathlib import Path

import numpy as np
import pytest

import deepdream
import tiny_networks
from common import images, runs
from common.metrics import read_metrics
from networks import vgg
from synthesis import contact_sheets

RECIPES = Path(deepdream.__file__).parent
FAST = ['--octaves', '2', '--steps', '2', '--tile-size', '64', '--threads', '1', '--size', '90', '--quiet']
CHANNELS = ['--channels', 'mixed4c:0-3,5', 'conv2d0_pre_relu:1']


@pytest.fixture
def dreams(tmp_path, tiny_inception_path, monkeypatch):
    """Runs the recipe on the tiny network, two tiles to a batch; returns its exit code."""
    monkeypatch.setattr(contact_sheets, 'BATCH_PIXELS', 2 * 90 * 90)
    monkeypatch.setattr(contact_sheets, 'SECONDS_BETWEEN_STATES', 0.0)

    def run(*options, fast=True):
        return deepdream.main([str(option) for option in (
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
        patch.setattr(contact_sheets, 'BATCH_PIXELS', 2 * 90 * 90)
        assert deepdream.main(list(map(str, options))) == 0
    return folder / 'deepdream' / 'latest', said.getvalue()


@pytest.fixture
def run_dir(tmp_path):
    """Path of the latest run."""
    return tmp_path / 'output' / 'deepdream' / 'latest'


@pytest.fixture
def picture(tmp_path):
    """Path of a picture of 120 x 90 pixels."""
    path = tmp_path / 'pond.png'
    images.save_image(path, images.resize_image(np.random.RandomState(3).uniform(0, 255, [9, 12, 3]), 90, 120))
    return path


def files(run_dir):
    """Returns {name: content} of a run's sheets and pictures."""
    return {str(path.relative_to(run_dir.resolve())): path.read_bytes() for path in run_dir.resolve().rglob('*.png')}


def test_channels_make_a_sheet_and_a_tile_each(finished):
    run_dir, said = finished
    names = ['mixed4c_0000.png', 'mixed4c_0001.png', 'mixed4c_0002.png', 'mixed4c_0003.png', 'mixed4c_0005.png',
             'conv2d0_pre_relu_0001.png']
    assert set(files(run_dir)) == {'sheet.png'} | {'pictures/' + name for name in names}
    pictures = [images.load_image(run_dir / 'pictures' / name) for name in names]
    assert all(picture.shape == (90, 90, 3) and picture.std() > 10 for picture in pictures)
    assert all(np.abs(one - other).mean() > 1 for one, other in zip(pictures, pictures[1:]))
    copy, sheet = run_dir.parents[1] / 'mine' / 'channels.jpg', run_dir / 'sheet.png'
    assert images.load_image(copy).shape == images.load_image(sheet).shape
    tiles = json.loads((run_dir / 'run.json').read_text())['tiles']
    assert [(tile['layer'], tile['channel']) for tile in tiles][-2:] == [('mixed4c', 5), ('conv2d0_pre_relu', 1)]
    assert all(tile['inactive'] or tile['objective_last'] > tile['objective_before'] for tile in tiles)
    assert [row['step'] for row in read_metrics(run_dir / 'metrics.csv')] == list(range(1, 17))
    assert '6 channels in ' in said


@pytest.mark.parametrize('options', [[], ['--tile-size', '512', '--laplacian-levels', '0', '--seed', '7']])
def test_a_tile_of_a_batch_is_the_single_dream(dreams, run_dir, options):
    assert dreams('--channels', 'mixed4c:0-1,5', *options) == 0
    together = [images.load_image(run_dir / 'pictures' / f'mixed4c_000{channel}.png') for channel in (1, 5)]
    for channel, picture in zip((1, 5), together):
        assert dreams('--content', 'noise', '--objective', f'mixed4c:{channel}', *options) == 0
        alone = images.load_image(run_dir / 'noise_dream.png')
        assert np.abs(picture - alone).max() <= 1 and alone.std() > 10
    assert np.abs(together[0] - together[1]).mean() > 1


def test_all_layers_from_low_to_high(dreams, run_dir, picture, capsys):
    assert dreams('--all-layers', '--content', picture) == 0
    layers = ['conv2d0', 'maxpool0', 'mixed4c_1x1', 'mixed4c_3x3', 'mixed4c']
    assert [tile['layer'] for tile in runs.read_record(run_dir)['tiles']] == layers
    assert '5 layers in ' in capsys.readouterr().out
    content = images.resize_image(images.load_image(picture), 68, 90)
    for number, layer in enumerate(layers, 1):
        dream = images.load_image(run_dir / 'pictures' / f'{number:03d}_{layer}.png')
        assert dream.shape == content.shape and np.abs(dream - content).mean() > 1


def test_a_layer_of_the_sheet_is_the_single_dream(dreams, run_dir, picture):
    how = ['--content', picture, '--step-size', '1.5', '--laplacian-levels', '2', '--blend', '0.9']
    assert dreams('--all-layers', *how) == 0
    together = images.load_image(run_dir / 'pictures' / '004_mixed4c_3x3.png')
    assert dreams('--objective', 'mixed4c_3x3', *how) == 0
    assert np.abs(together - images.load_image(run_dir / 'pond_dream.png')).max() <= 1


@pytest.mark.parametrize('options', [CHANNELS, ['--all-layers', '--content', 'noise']])
def test_the_seed_holds(dreams, finished, run_dir, options):
    made = [files(finished[0])] if options is CHANNELS else []
    for seed in (0, 1) if made else (0, 0, 1):
        assert dreams(*options, '--seed', seed) == 0
        made.append(files(run_dir))
    assert made[0] == made[1] and all(made[0][name] != made[2][name] for name in made[0])


@pytest.mark.parametrize('stop_after', [3, 4, 5], ids=['within a batch', 'at its end', 'as the next begins'])
def test_stopped_and_resumed(dreams, finished, run_dir, monkeypatch, capsys, stop_after):
    steps, ascent_step = [], deepdream.ascent_step

    def stop_after_steps(*args):
        steps.append(len(steps))
        if len(steps) == stop_after:
            os.kill(os.getpid(), signal.SIGINT)
        return ascent_step(*args)
    monkeypatch.setattr(deepdream, 'ascent_step', stop_after_steps)
    assert dreams(*CHANNELS) == 130
    message = capsys.readouterr().err
    assert f'after {stop_after} of 16 steps' in message and 'Resume with: ' in message
    assert message.count('\n') == 1 and not (run_dir / 'sheet.png').exists()
    assert dreams('--resume', *CHANNELS) == 0
    assert len(steps) == 16 and files(run_dir) == files(finished[0])


def test_ctrl_c_in_the_last_step_comes_too_late(dreams, run_dir, monkeypatch):
    steps, ascent_step = [], deepdream.ascent_step

    def stop_after_steps(*args):
        steps.append(len(steps))
        if len(steps) == 4:
            os.kill(os.getpid(), signal.SIGINT)
        return ascent_step(*args)
    monkeypatch.setattr(deepdream, 'ascent_step', stop_after_steps)
    assert dreams('--channels', 'mixed4c:0-1') == 0
    assert (run_dir / 'sheet.png').exists()


def test_resume_refuses_other_batches(dreams, run_dir, monkeypatch, capsys):
    assert dreams(*CHANNELS) == 0
    monkeypatch.setattr(contact_sheets, 'BATCH_PIXELS', 4 * 90 * 90)
    assert dreams('--resume', fast=False) == 2
    message = capsys.readouterr().err
    assert 'batches changed since that run began ([2, 2, 1, 1] then, [4, 1, 1] now)' in message
    assert message.count('\n') == 1


def test_resume_refuses_a_run_of_an_earlier_version(dreams, run_dir, capsys):
    assert dreams(*CHANNELS) == 0
    record = json.loads((run_dir / 'run.json').read_text())
    (run_dir / 'run.json').write_text(json.dumps(dict(record, panels=record.pop('tiles'))))
    assert dreams('--resume', fast=False) == 2
    message = capsys.readouterr().err
    assert 'an earlier version of the recipe began that run' in message and message.count('\n') == 1


def test_not_a_number_keeps_what_is_done(dreams, run_dir, monkeypatch, capsys):
    tiled_gradient, calls = deepdream.tiled_gradient, []

    def breaks(*args, **kwargs):
        calls.append(1)
        value, gradient = tiled_gradient(*args, **kwargs)
        return (value, gradient * np.nan) if len(calls) == 6 else (value, gradient)
    monkeypatch.setattr(deepdream, 'tiled_gradient', breaks)
    assert dreams(*CHANNELS) == 1
    message = capsys.readouterr().err
    assert 'not a finite number in step 2 of octave 1' in message and 'the tiles so far are in ' in message
    assert len(files(run_dir)) == 2


def test_inactive_channels_are_reported(dreams, run_dir, monkeypatch, capsys):
    tiled_gradient = deepdream.tiled_gradient

    def second_is_inactive(*args, **kwargs):
        value, gradient = tiled_gradient(*args, **kwargs)
        value[1], gradient[1] = 0, 0
        return value, gradient
    monkeypatch.setattr(deepdream, 'tiled_gradient', second_is_inactive)
    monkeypatch.setattr(contact_sheets, 'BATCH_PIXELS', 3 * 90 * 90)
    assert dreams('--channels', 'mixed4c:1-3') == 0
    message = capsys.readouterr().err
    assert 'inactive' in message and 'mixed4c:2' in message and 'mixed4c:1' not in message and message.count('\n') == 1
    assert [tile['inactive'] for tile in runs.read_record(run_dir)['tiles']] == [False, True, False]
    assert runs.read_record(run_dir)['results']['inactive'] == ['mixed4c:2']


def test_classes_too(dreams, run_dir):
    assert dreams('--channels', 'softmax2_pre_activation:0-1') == 0
    assert len(files(run_dir)) == 3


@pytest.mark.slow
def test_vgg_makes_sheets(dreams, run_dir, tiny_vgg_weights, monkeypatch):
    monkeypatch.setattr(vgg, 'obtain_weights',
                        lambda models_dir, network, quiet: (network, tiny_vgg_weights, 'a test', '0'))
    assert dreams('--network', 'vgg19', '--channels', 'conv4_1:0-1', 'pool1') == 0
    assert len(files(run_dir)) == 5
    assert dreams('--network', 'vgg19', '--all-layers', '--octaves', '1', '--steps', '1') == 0
    names = [tile['layer'] for tile in runs.read_record(run_dir)['tiles']]
    assert names == list(vgg.layer_names('vgg19'))


@pytest.mark.parametrize('options, said', [
    (['--channels', 'mixed9z:1'], "no layer 'mixed9z'; did you mean 'mixed4c"),
    (['--channels', 'mixed4c:0-6'], 'no channel 6; mixed4c has 6, 0 to 5'),
    (['--channels', 'mixed4c:0-1', 'mixed4c:'], "--channels mixed4c:: '' is neither a channel nor a range"),
    (['--channels', 'mixed4c:3-1'], 'the range 3-1 ends before it begins'),
    (['--channels', 'mixed4c:1', '--content', '{picture}'], '--channels starts from noise: leave --content'),
    (['--channels', 'mixed4c:1', '--guide', '{picture}'], '--guide does not go with --channels'),
    (['--channels', 'mixed4c:1', '--objective', 'mixed4c'], '--objective does not go with --channels'),
    (['--channels', 'mixed4c:1', '--mask', '{picture}'], '--mask does not go with --channels'),
    (['--channels', 'mixed4c:1', '--book'], '--book does not go with --channels'),
    (['--channels', 'mixed4c:1', '--all-layers'], 'two sheets'),
    (['--channels', 'mixed4c:1', '--size', '40'], '40 x 40 pixels are too few for any octave'),
    (['--channels', 'mixed4c:1', '--zoom', '1.1', '--frames', '3'], '--channels makes images, and --zoom is for a'),
    (['--all-layers', '--content', 'clip.mp4'], '--all-layers makes images, and --content clip.mp4 is for a film'),
    (['--all-layers', '--output', 'sheet.gif'], 'and --output sheet.gif is for a film; leave one of them out'),
    (['--channels', 'mixed4c:1', '--output', 'x.xyz'], "no picture format has the extension '.xyz'"),
    (['--all-layers', '--guide', '{picture}'], '--guide does not go with --all-layers'),
    (['--all-layers', '--objective', 'mixed4c'], '--objective does not go with --all-layers'),
    (['--all-layers', '--save-every', '3'], '--save-every does not go with --all-layers'),
    (['--all-layers', '--content', '{picture}', '{picture}'], '--all-layers: needs a single image; --content names 2'),
    (['--all-layers', '--content', 'none.jpg'], 'none.jpg: no such file'),
    (['--all-layers', '--content', '{picture}', '--size', '70'], '70 x 52 pixels are too few for any octave'),
])
def test_one_line_and_nothing_written(dreams, picture, tmp_path, capsys, options, said):
    before = sorted(tmp_path.rglob('*'))
    assert dreams(*(option.format(picture=picture) for option in options)) == 2
    message = capsys.readouterr().err
    assert said in message and message.count('\n') == 1
    assert sorted(tmp_path.rglob('*')) == before


@pytest.mark.real_data
def test_the_real_networks_channels(real_models_dir, tmp_path):
    assert deepdream.main(['--models-dir', str(real_models_dir), '--output-dir', str(tmp_path), '--channels',
                           'mixed4d_3x3_bottleneck_pre_relu:138-139', '--size', '64', '--steps', '5', '--quiet']) == 0
    tiles = runs.read_record(tmp_path / 'deepdream' / 'latest')['tiles']
    assert all(tile['objective_last'] > tile['objective_before'] + 1 for tile in tiles)
