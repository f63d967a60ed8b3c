import json

import numpy as np
import pytest

import fast_style_transfer
import tiny_networks
import tiny_recipes
from common import film, images, runs, session
from common.errors import UnavailableError
from common.metrics import read_metrics
from common.session import tf
from networks import style_networks, vgg
from synthesis import frames, large_pictures, memory


@pytest.fixture(scope='module')
def models_dir(tmp_path_factory):
    """The networks' files with random weights and one residual block; test_style_networks.py has whole ones."""
    folder = tmp_path_factory.mktemp('models')
    with pytest.MonkeyPatch.context() as patch:
        tiny_networks.shorten_style_networks(patch.setattr)
        tiny_networks.write_style_networks(folder)
        yield folder


@pytest.fixture
def recipe(monkeypatch, models_dir, tiny_vgg_weights, tmp_path):
    """Returns main with random weights and an output folder of its own."""
    monkeypatch.setattr(vgg, 'obtain_weights', lambda *args, **kwargs: ('vgg16', tiny_vgg_weights, 'tiny', '0' * 64))

    def run(*argv):
        return fast_style_transfer.main([*map(str, argv), '--models-dir', str(models_dir), '--quiet',
                                         *([] if '--output-dir' in argv else ['--output-dir', str(tmp_path / 'out')])])
    return run


@pytest.fixture
def photo(tmp_path):
    return tiny_recipes.noise(tmp_path / 'photo.png', 48, 64)


@pytest.fixture
def painting(tmp_path):
    return tiny_recipes.noise(tmp_path / 'painting.png', 70, 50)


def latest(tmp_path):
    return (tmp_path / 'out' / 'fast_style_transfer' / 'latest').resolve()


def test_a_sheet_of_all_styles(recipe, photo, tmp_path):
    assert recipe('--content', photo, '--output', tmp_path / 'sheet.png') == 0
    run_dir = latest(tmp_path)
    assert len(list(run_dir.glob('photo_style*.png'))) == 26
    assert (images.load_image(tmp_path / 'sheet.png') == images.load_image(run_dir / 'photo_sheet.png')).all()
    record = runs.read_record(run_dir)
    assert record['results']['pictures'] == 26 and len(record['pictures']) == 26


def test_one_style_is_painted_at_the_photographs_size(recipe, photo, tmp_path):
    assert recipe('--content', photo, '--style-number', 7, '--output', tmp_path / 'painted.png') == 0
    result = images.load_image(tmp_path / 'painted.png')
    assert result.shape == (48, 64, 3) and result.std() > 5
    assert not list(latest(tmp_path).glob('*_sheet.png'))


def test_a_painting_and_the_colors_kept(recipe, photo, painting, tmp_path):
    results = {}
    for preserve_color in 'no', 'luminance', 'histogram':
        assert recipe('--content', photo, '--style', painting, '--preserve-color', preserve_color, '--strength', 0.9,
                      '--style-scale', 0.5, '--output', tmp_path / 'painted.png') == 0
        results[preserve_color] = images.load_image(tmp_path / 'painted.png')
        assert results[preserve_color].std() > 5

    def hues(image):
        return (image - images.to_gray(image)[..., np.newaxis]).ravel()
    kept = {name: np.corrcoef(hues(result), hues(images.load_image(photo)))[0, 1] for name, result in results.items()}
    assert kept['luminance'] > 0.7 > kept['no'], kept


@pytest.mark.parametrize('kind', ['multistyle', 'any painting'])
def test_a_large_picture_in_tiles_is_the_same(models_dir, monkeypatch, kind):
    network, _ = style_networks.obtain(kind, models_dir, quiet=True)
    style = network.styles[4] if kind == 'multistyle' else style_networks.style_vector(network, np.ones(100))
    image = np.random.RandomState(0).uniform(0, 255, (101, 150, 3)).astype(np.float32)
    graph = fast_style_transfer.build_graph(network)
    with tf.Session() as sess:
        whole = fast_style_transfer.paint(sess, graph, image, style)
        monkeypatch.setattr(large_pictures, 'LARGE', 1000)
        monkeypatch.setattr(large_pictures, 'TILE_SIZE', 48)
        tiled = fast_style_transfer.paint(sess, graph, image, style)
    assert tiled.shape == whole.shape == (101, 150, 3) and whole.std() > 5
    np.testing.assert_allclose(tiled, whole, atol=0.02)


@pytest.mark.parametrize('pixels', [2048 ** 2, 2048 ** 2 + 2048], ids=['whole', 'in tiles'])
def test_memory_that_does_not_suffice(monkeypatch, pixels):
    monkeypatch.setattr(memory, 'current', lambda: 5 * 10 ** 8)
    fixed, per_pixel = (large_pictures.WHOLE if pixels == 2048 ** 2 else large_pictures.IN_TILES)[session.stack()]
    needed = fixed + per_pixel * pixels
    assert 0.9e9 < needed < 3e9  # at 4096 x 3072, three times the pixels, below 4 GB are reached
    monkeypatch.setattr(memory, 'available', lambda: needed - 5 * 10 ** 8 + 1)
    large_pictures.check_memory(pixels // 2048, 2048)
    monkeypatch.setattr(memory, 'available', lambda: needed - 5 * 10 ** 8 - 1)
    with pytest.raises(UnavailableError, match=f'2048 x {pixels // 2048} pixels needs about {needed / 1e9:.1f} GB'):
        large_pictures.check_memory(pixels // 2048, 2048)


def test_a_picture_too_large_for_memory_is_refused_before_the_work(recipe, photo, clip, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(memory, 'available', lambda: 8 * 10 ** 9)
    for options in ['--content', photo], ['--content', clip, '--frames', 2]:
        assert recipe(*options, '--style-number', 7, '--size', 20000, '--upscale') == 3
        line, = capsys.readouterr().err.splitlines()
        assert 'an image of 20000 x 15000 pixels needs about 4' in line and 'choose a smaller --size' in line
    assert not (tmp_path / 'out').exists()


@pytest.mark.parametrize('argv, said', [
    (['--style-number', '30'], 'expected numbers from 0 to 25'),
    (['--strength', '0.5'], '--strength needs a painting'),
    (['--preserve-color', 'histogram'], '--preserve-color histogram needs a painting'),
    (['--smooth', '0.5'], '--smooth needs a video or a folder of frames'),
    (['--smooth', '0'], '--smooth needs a video or a folder of frames'),
    (['--style-blend'], '--style-blend needs the styles to blend'),
    (['--export'], 'a SavedModel paints in one style, and 26 are asked for'),
    (['--style', 'missing'], 'missing: no such file or folder, nor a style that was learned'),
    (['--style', 'missing.png'], 'missing.png: no such file or folder'),
    (['--photos', '.'], '--photos needs --learn'),
    (['--learn', 'x.png', '--style-number', '3'], 'learn the painting first')])
def test_mistakes(recipe, photo, tmp_path, capsys, argv, said):
    content = [] if '--learn' in argv else ['--content', photo]
    assert recipe(*content, *argv) == 2
    line, = capsys.readouterr().err.splitlines()
    assert 'fast_style_transfer.py: error: ' in line and said in line
    assert not (tmp_path / 'out').exists()


@pytest.mark.parametrize('learn, photos, said', [
    ('flat.png', None, 'a picture of one color'), ('painting.png', 'flat.png', 'flat.png: a picture of one color'),
    ('small.png', None, 'small.png: 30 x 40 pixels as it is seen; the shorter side must have at least 32'),
    ('painting.png', 'empty', 'no picture in this folder'),
    ('missing.png', None, 'missing.png: no such file')])
def test_nothing_to_learn(recipe, painting, tmp_path, capsys, learn, photos, said):
    images.save_image(tmp_path / 'flat.png', np.full((70, 50, 3), (80, 120, 30)))
    tiny_recipes.noise(tmp_path / 'small.png', 40, 30)
    (tmp_path / 'empty').mkdir()
    assert recipe('--learn', tmp_path / learn, *(['--photos', tmp_path / photos] if photos else [])) == 2
    line = capsys.readouterr().err.splitlines()[-1]  # after the warnings that these are not the published weights
    assert said in line and not (tmp_path / 'out').exists()


def test_what_varies_counts_more_where_the_photograph_is_flat():
    photograph = np.zeros((1, 33, 65, 3), np.float32)
    photograph[:, :, 40:] = 100 * (np.indices((33, 25)).sum(axis=0) % 2)[..., np.newaxis]
    weave = np.zeros_like(photograph)
    weave[:, :, 10:20] = weave[:, :, 50:60] = 2.55 * (np.arange(33) % 2)[:, np.newaxis, np.newaxis]
    left = np.arange(65)[:, np.newaxis] < 32
    with tf.Session() as sess:
        flat, busy = (sess.run(fast_style_transfer.variation_loss(
            tf.constant(np.where(half, weave, 0), tf.float32), tf.constant(photograph))) for half in (left, ~left))
    # 1 % of the range squared, between all rows of ten of 64 columns, and at the columns' ends of every other row
    assert busy == pytest.approx(100 * 1e-4 * (10 + 1) / 64, rel=1e-3)
    assert flat == pytest.approx(busy * (1 + fast_style_transfer.FLAT_WEIGHT), rel=1e-3)


def test_the_gradient_is_that_of_the_loss(models_dir, tiny_vgg_weights):
    network, _ = style_networks.obtain('multistyle', models_dir, quiet=True)
    graph = fast_style_transfer.build_learning_graph(network, tiny_vgg_weights)
    random = np.random.RandomState(0)
    image = random.uniform(0, 255, (32, 32, 3)).astype(np.float32)
    with tf.Session() as sess:
        targets = fast_style_transfer.style_targets(sess, graph, image[::-1] / 2)
        losses, gradient = fast_style_transfer.mean_losses(sess, graph, [image], targets, network.styles[0])
        assert losses.total == pytest.approx(losses.content + 3 * losses.style + losses.variation, rel=1e-5)
        step = 1e-2 * gradient / np.linalg.norm(gradient)
        ahead, behind = (fast_style_transfer.mean_losses(sess, graph, [image], targets, network.styles[0] + sign * step)
                         [0].total for sign in (1, -1))
        assert (ahead - behind) / 2e-2 == pytest.approx(np.linalg.norm(gradient), rel=0.05)
        # what is painted like the painting has no style loss
        found = sess.run(graph.losses.style, {graph.painting.painted: image[np.newaxis, ::-1] / 2, **targets})
        assert found < 1e-6


LEARN = '--steps', 4, '--crop-size', 64, '--batch-size', 1


@pytest.mark.slow
def test_what_was_learned_is_painted_by_name(recipe, photo, painting, tmp_path):
    assert recipe('--learn', painting, *LEARN, '--learning-rate', 0.05) == 0
    run_dir = latest(tmp_path)
    rows = read_metrics(run_dir / 'metrics.csv')
    assert len(rows) == 4 and np.mean([row['total'] for row in rows[-2:]]) < rows[0]['total']
    assert {'painting_proof.png', 'painting_proof_0001.png', 'painting_proof_0002.png', 'painting_sheet.png',
            'painting_losses.png', 'painting.style.npz'} <= {path.name for path in run_dir.iterdir()}
    assert runs.read_record(run_dir)['results']['style_loss'] > 0
    assert recipe('--content', photo, '--style', 'painting', '--output', tmp_path / 'painted.png') == 0
    assert runs.read_record(latest(tmp_path))['pictures'][0]['name'] == 'photo_painting'


def test_export(recipe, photo, tmp_path):
    assert recipe('--content', photo, '--style-number', 5, '--export', '--output', tmp_path / 'painted.png') == 0
    with tf.Graph().as_default(), tf.Session() as sess:
        model = tf.saved_model.load(sess, ['serve'], str(latest(tmp_path) / 'saved_model'))
        signature = model.signature_def['serving_default']
        found = sess.run(signature.outputs['painted'].name,
                         {signature.inputs['images'].name: images.load_image(photo)[np.newaxis]})
    assert np.abs(found[0] - images.load_image(tmp_path / 'painted.png')).max() < 0.51


# ---- Films ----

@pytest.fixture
def clip(tmp_path):
    """A folder of six noisy frames of a still picture."""
    still = images.load_image(tiny_recipes.noise(tmp_path / 'still.png', 48, 64))
    random = np.random.RandomState(3)
    for number in range(6):
        images.save_image(tmp_path / 'clip' / f'{number}.png', still + random.normal(0, 6, still.shape))
    return tmp_path / 'clip'


def painted_frames(run_dir):
    return np.array([images.load_image(path) for path in sorted((run_dir / 'frames').glob('*.png'))])


def test_smooth_takes_the_flicker_out_of_a_still_film(recipe, clip, tmp_path):
    flicker = {}
    for smooth in 0.0, 0.7:
        assert recipe('--content', clip, '--style-number', 7, '--smooth', smooth, '--output',
                      tmp_path / f'film{10 * smooth:.0f}') == 0
        found = painted_frames(latest(tmp_path))
        assert len(found) == 6 == film.count_frames(tmp_path / f'film{10 * smooth:.0f}')
        flicker[smooth] = np.abs(np.diff(found[2:], axis=0)).mean()
    assert flicker[0.7] < 0.4 * flicker[0.0]


def test_a_film_stopped_and_resumed_is_the_same(recipe, clip, tmp_path, monkeypatch):
    argv = '--content', clip, '--style-number', 7, '--smooth', 0.6, '--frames', 4
    assert recipe(*argv) == 0
    whole = painted_frames(latest(tmp_path))
    save_frame = frames.FilmRun.save_frame

    def stop(self, number, *args, **kwargs):
        save_frame(self, number, *args, **kwargs)
        if number == 2:
            raise KeyboardInterrupt
    monkeypatch.setattr(frames.FilmRun, 'save_frame', stop)
    assert recipe(*argv, '--output-dir', tmp_path / 'other') == 130
    monkeypatch.setattr(frames.FilmRun, 'save_frame', save_frame)
    assert recipe('--resume', '--output-dir', tmp_path / 'other') == 0
    run_dir, = (path for path in (tmp_path / 'other' / 'fast_style_transfer').glob('2*') if path.is_dir())
    assert (painted_frames(run_dir) == whole).all()
    assert json.loads((run_dir / 'run.json').read_text())['results']['frames'] == 4
    assert list(run_dir.glob('clip_style07.mp4'))
