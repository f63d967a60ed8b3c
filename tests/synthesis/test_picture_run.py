"""synthesis/picture_run.py, with images that become a little brighter in every step."""
import json
import os
import signal
import time

import numpy as np
import pytest

from common import cli, images, runs
from common.errors import ComputationError, InputError
from common.metrics import read_metrics
from synthesis import picture_run
from synthesis.picture_run import PictureRun


def brighten(run_dir, num_steps=(4,), before_record=lambda name, step: None, alpha=None, **options):
    """Runs a recipe of a few lines; returns its exit code."""
    with PictureRun(run_dir, list(num_steps), ('loss', 'other'), **options) as run:
        for name, steps in run.remaining(list(zip('abc', num_steps))):
            with run.keeping(name, alpha, kind='toy') as checkpoint:
                run.finish = lambda image: image + 100
                done, image = (int(checkpoint['done']), checkpoint['image']) if checkpoint else (0, np.zeros((6, 8, 3)))
                for step in range(done + 1, steps + 1):
                    image = image + 10
                    before_record(name, step)
                    run.record(step, image, {'done': step, 'image': image}, loss=1 / step, other=7)
                run.save(run.finish(image), brightness=image.mean())
    return run.conclude('brightened', detail=run.only_result and 'by 40')


@pytest.fixture
def new_run(tmp_path):
    return lambda: runs.create(tmp_path, 'toy')


def brightness(path):
    image = images.load_image(path)
    assert image.shape == (6, 8, 3) and image.std() == 0
    return image.mean()


def interrupt_at(*where):
    return lambda *step: os.kill(os.getpid(), signal.SIGINT) if step == where else None


def fail_at(*where, error=ComputationError):
    def fail(*step):
        if step == where:
            raise error('it broke')
    return fail


def test_a_run_leaves_images_metrics_and_a_record(new_run, tmp_path, capsys):
    run_dir = new_run()
    assert brighten(run_dir, save_every=2, output=tmp_path / 'new' / 'out.bmp') == 0
    assert capsys.readouterr().out.endswith(f'brightened in 0 s; by 40: {tmp_path / "new" / "out.bmp"}\n')
    assert brightness(run_dir / 'a.png') == brightness(tmp_path / 'new' / 'out.bmp') == 140
    assert brightness(run_dir / 'a_00002.png') == 120 and not (run_dir / 'a_00003.png').exists()
    rows = read_metrics(run_dir / 'metrics.csv')
    assert [(row['step'], row['loss']) for row in rows] == [(1, 1), (2, 1 / 2), (3, 1 / 3), (4, 1 / 4)]
    record = json.loads((run_dir / 'run.json').read_text())
    picture, = record['pictures']
    assert picture.pop('seconds') < record['seconds'] == record['results']['seconds']
    assert picture == dict(name='a', kind='toy', path=str(tmp_path / 'new' / 'out.bmp'), height=6, width=8,
                           brightness=40)
    assert record['results']['pictures'] == 1 and record['left_out'] == []


@pytest.mark.parametrize('where', [('a', 1), ('a', 3), ('b', 1)])
def test_interrupted_and_resumed_equals_uninterrupted(new_run, where):
    whole, run_dir = new_run(), new_run()
    brighten(whole, (4, 2))
    with pytest.raises(cli.Interrupted, match=f'after {where[1]} of . steps; the picture so far is in '):
        brighten(run_dir, (4, 2), interrupt_at(*where))
    assert brightness(run_dir / f'{where[0]}.png') == 100 + 10 * where[1]
    again = []
    assert brighten(run_dir, (4, 2), lambda *step: again.append(step)) == 0
    assert len(again) == 6 - where[1] - (4 if where[0] == 'b' else 0)
    assert [(run_dir / name).read_bytes() for name in ('a.png', 'b.png')] == [
        (whole / name).read_bytes() for name in ('a.png', 'b.png')]
    rows = [[{**row, 'seconds': 0} for row in read_metrics(path / 'metrics.csv')] for path in (run_dir, whole)]
    assert rows[0] == rows[1] and len(rows[0]) == 6


def test_ctrl_c_in_the_last_step_ends_as_if_there_had_been_none(new_run):
    run_dir = new_run()
    assert brighten(run_dir, before_record=interrupt_at('a', 4)) == 0
    assert 'results' in runs.read_record(run_dir)


def test_ctrl_c_in_the_last_step_of_a_picture_keeps_it(new_run):
    run_dir = new_run()
    with pytest.raises(cli.Interrupted, match='after 1 of 2 steps'):
        brighten(run_dir, (4, 2), interrupt_at('a', 4))
    assert [picture['name'] for picture in runs.read_record(run_dir)['pictures']] == ['a']


def test_the_seconds_before_an_interruption_count(new_run):
    began = time.monotonic()
    run_dir = new_run()
    with pytest.raises(cli.Interrupted):
        brighten(run_dir, before_record=interrupt_at('a', 1))
    checkpoint = runs.load_arrays(run_dir / 'checkpoint.npz')
    assert 0 < checkpoint['seconds'] <= time.monotonic() - began
    runs.save_arrays(run_dir / 'checkpoint.npz', **{**checkpoint, 'seconds': 5000.0})
    assert brighten(run_dir) == 0
    record = runs.read_record(run_dir)
    assert 5000 < record['pictures'][0]['seconds'] < record['seconds'] <= 5000 + time.monotonic() - began


def test_a_finished_run_repeats_its_result(new_run, tmp_path, capsys):
    run_dir = new_run()
    brighten(run_dir)
    record = runs.read_record(run_dir)
    assert brighten(run_dir, before_record=fail_at('a', 1), output=tmp_path / 'late.png') == 0
    assert runs.read_record(run_dir) == record and brightness(tmp_path / 'late.png') == 140
    assert capsys.readouterr().out.endswith(f'brightened in 0 s; by 40: {tmp_path / "late.png"}\n')


@pytest.mark.parametrize('missing', ['name', 'path', 'brightness'])
def test_a_record_of_a_picture_that_lacks_what_the_recipe_tells_of_it_is_damaged(new_run, missing):
    run_dir = new_run()
    brighten(run_dir, results=('brightness',))
    picture, = runs.read_record(run_dir)['pictures']
    del picture[missing]
    runs.write_record(run_dir, pictures=[picture])
    with pytest.raises(InputError, match=f'run.json: damaged: a picture without {missing}; start a new run'):
        brighten(run_dir, results=('brightness',))
    runs.write_record(run_dir, pictures=[{'name': 'a', 'error': 'it broke'}])  # has none of it
    brighten(run_dir, results=('brightness',))


@pytest.mark.parametrize('error', [ComputationError, InputError])
def test_a_failure_keeps_the_last_good_picture_and_the_run_goes_on(new_run, capsys, error):
    run_dir = new_run()
    assert brighten(run_dir, (4, 4, 4), fail_at('b', 3, error=error)) == 1
    out, err = capsys.readouterr()
    assert err == f'failed: b: it broke; the last good picture: {run_dir / "b.png"}\n'
    assert out.endswith(f'2 images brightened in 0 s, 0 skipped: {run_dir}\n')
    assert [brightness(run_dir / f'{name}.png') for name in 'abc'] == [140, 120, 140]
    pictures = runs.read_record(run_dir)['pictures']
    assert pictures[1] == {'name': 'b', 'kind': 'toy', 'error': 'it broke'} and 'error' not in pictures[2]


def test_a_failure_of_the_only_picture_ends_the_run(new_run):
    run_dir = new_run()
    with pytest.raises(ComputationError, match='it broke; the last good picture: .*a.png'):
        brighten(run_dir, before_record=fail_at('a', 3))
    assert brightness(run_dir / 'a.png') == 120
    with pytest.raises(ComputationError, match='it broke$'):
        brighten(new_run(), before_record=fail_at('a', 1))


@pytest.mark.parametrize('seconds, fraction, expected', [(0, float('inf'), 3), (1000, 1, 0), (0, 1e-9, 1)],
                         ids=['every step', 'seldom', 'seldom, since it takes long'])
def test_checkpoints_come_every_few_seconds_worth_of_work(new_run, monkeypatch, seconds, fraction, expected):
    monkeypatch.setattr(picture_run, 'SECONDS_BETWEEN_CHECKPOINTS', seconds)
    monkeypatch.setattr(picture_run, 'CHECKPOINT_FRACTION', fraction)
    run_dir, saved, save_arrays = new_run(), [], runs.save_arrays
    monkeypatch.setattr(runs, 'save_arrays', lambda *args, **arrays: saved.append(1) or save_arrays(*args, **arrays))
    with pytest.raises(ComputationError):  # as a kill would
        brighten(run_dir, before_record=fail_at('a', 4))
    assert len(saved) == expected == (int(runs.load_arrays(run_dir / 'checkpoint.npz')['total']) if expected else 0)
    assert brighten(run_dir) == 0 and brightness(run_dir / 'a.png') == 140


def test_killed_between_two_images_the_last_step_is_taken_again(new_run, monkeypatch):
    monkeypatch.setattr(picture_run, 'SECONDS_BETWEEN_CHECKPOINTS', 0)
    monkeypatch.setattr(picture_run, 'CHECKPOINT_FRACTION', float('inf'))
    run_dir = new_run()

    def killed(*args, **facts):
        raise KeyboardInterrupt
    with monkeypatch.context() as context:  # after the last step of the first image, before the record knows it
        context.setattr(runs, 'write_record', killed)
        with pytest.raises(KeyboardInterrupt):
            brighten(run_dir, (4, 2))
    assert int(runs.load_arrays(run_dir / 'checkpoint.npz')['total']) == 3
    assert brighten(run_dir, (4, 2)) == 0
    assert [(row['step'], row['picture']) for row in read_metrics(run_dir / 'metrics.csv')] == [
        (1, 0), (2, 0), (3, 0), (4, 0), (5, 1), (6, 1)]


def test_the_progress_fits_a_terminal_and_says_which_image(new_run, capsys, monkeypatch):
    monkeypatch.setattr('common.progress.SECONDS_BETWEEN_LINES', 0)
    brighten(new_run(), (4, 2), unit='iteration', shown={'loss': 'loss'})
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 6 + 1 and max(map(len, lines[:6])) <= 80
    assert lines[4].startswith('iteration 5/6, image 2/2, size 8x6, loss 1, ')
    brighten(new_run())
    assert 'picture' not in capsys.readouterr().out


def test_the_transparency_of_a_picture_is_kept(new_run, tmp_path):
    run_dir, alpha = new_run(), np.tile(np.float32([0, 255]), (6, 4))
    assert brighten(run_dir, alpha=alpha, save_every=2, output=tmp_path / 'out.webp') == 0
    for path in (run_dir / 'a.png', run_dir / 'a_00002.png', tmp_path / 'out.webp'):
        np.testing.assert_array_equal(images.load_alpha(path), alpha)
    assert brighten(run_dir, output=tmp_path / 'again.png') == 0  # the finished run's result, once more
    np.testing.assert_array_equal(images.load_alpha(tmp_path / 'again.png'), alpha)


def test_a_step_of_minutes_ends_between_two_tiles_and_is_taken_again(new_run, capsys):
    def stop_within(*step):
        if step == ('a', 3):
            os.kill(os.getpid(), signal.SIGTERM)
            cli.check_stop()
    run_dir = new_run()
    with pytest.raises(cli.Interrupted, match='after 2 of 4 steps'):
        brighten(run_dir, before_record=stop_within)
    assert brightness(run_dir / 'a.png') == 120 and int(runs.load_arrays(run_dir / 'checkpoint.npz')['done']) == 2
    assert brighten(run_dir) == 0 and brightness(run_dir / 'a.png') == 140
    run_dir = new_run()
    with pytest.raises(cli.Interrupted):
        brighten(run_dir, before_record=lambda *step: os.kill(os.getpid(), signal.SIGTERM) or cli.check_stop())
    assert not (run_dir / 'checkpoint.npz').exists()
