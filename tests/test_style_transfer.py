import functools
import json
import os
import signal
import subprocess

import numpy as np
import pytest

import style_transfer
from common import film, images, runs, session
from common.errors import ComputationError
from common.metrics import read_metrics
from common.session import tf
from networks import vgg
from synthesis import jobs, memory, motion, regions, sizes, tiles
from synthesis.optimizers import LBFGS
from synthesis.picture_run import PictureRun
from synthesis.tiled_loss import make_evaluate

STYLE_LAYERS = {'conv2_1': 0.7, 'conv5_1': 0.3}  # each adds much to the time that it takes to build a graph


@pytest.fixture
def network(tiny_vgg_weights):
    return vgg.Network(name='vgg19', weights=tiny_vgg_weights)


@pytest.fixture
def recipe(monkeypatch, tiny_vgg_weights, tmp_path):
    """Returns main with tiny weights, fewer layers where the default ones do not matter, and an output folder."""
    monkeypatch.setattr(vgg, 'obtain_weights', lambda *args, **kwargs: ('vgg19', tiny_vgg_weights, 'tiny', '0' * 64),
                        raising=False)
    few_layers = '--content-layers', 'conv2_1', '--style-layers', 'conv1_1', 'conv2_1'

    def run(*args, default_layers=False):
        return style_transfer.main(['--output-dir', str(tmp_path / 'output'),
                                    *(() if default_layers else few_layers), *map(str, args)])
    return run


@pytest.fixture
def pictures(tmp_path):
    """Writes a photograph of 64 x 48 pixels and a painting of 50 x 70; returns their paths."""
    random = np.random.RandomState(0)
    for name, shape in ('photo.png', (48, 64)), ('painting.png', (70, 50)):
        images.save_image(tmp_path / name, images.resize_image(random.uniform(0, 255, (6, 7, 3)), *shape))
    return tmp_path / 'photo.png', tmp_path / 'painting.png'


def loss_weights(loss='mean', content_layers=None, tv_weight=2.0, **more):
    return style_transfer.LossWeights(content_layers=content_layers or {'conv4_2': 1.0}, style_layers=STYLE_LAYERS,
                                      content_weight=3.0, style_weight=50.0, tv_weight=tv_weight, loss=loss, **more)


EDGES = dict(laplacian_weight=3.0, laplacian_pools=(1, 16))


def random_image(height, width, seed):
    return np.random.RandomState(seed).uniform(0, 255, (height, width, 3)).astype(np.float32)


@pytest.fixture(scope='module')
def prepare_for():
    """Gives a function of a content image and style images to the function that is minimized; builds a graph once."""
    sessions = {}

    def prepare_for(network, weights=loss_weights(), tile_size=None, guide=None):
        settings = network.name, network.weights['conv1_1'], network.padding, weights, tile_size is None
        key = repr((settings, guide and guide.count))
        if key not in sessions:
            last_layer = max(weights.layers, key=vgg.layer_names(network.name).index)
            with tf.Graph().as_default() as tf_graph:
                graph = style_transfer.build_graph(network._replace(last_layer=last_layer), weights,
                                                   tile_size is not None, guide.count if guide else 0)
            sessions[key] = session.open_session(tf_graph, threads=1), graph
        sess, graph = sessions[key]
        halo = (vgg.halo('conv5_1') - 16) // 2
        make_tiles = functools.partial(tiles.make_tiles, tile_size=tile_size, halo=halo)

        def prepare(content, styles):
            targets = style_transfer.compute_targets(sess, graph, content, styles, make_tiles=make_tiles, guide=guide)
            return make_evaluate(sess, graph, content.shape[:2], make_tiles(*content.shape[:2]), *targets)
        prepare.sess, prepare.graph = sess, graph
        return prepare

    yield prepare_for
    for sess, _ in sessions.values():
        sess.close()


@pytest.fixture
def minimized(prepare_for, network):
    """Returns a function of a picture to the function that is minimized to paint another of its size in two styles."""
    def minimized(size, tile_size=None, guide=None, padding='zero', network=network, **weights):
        styles = [random_image(90, 110, number) for number in range(2, 3 if guide is None else 2 + len(guide.styles))]
        prepare = prepare_for(network._replace(padding=padding), loss_weights(**weights), tile_size, guide)
        return prepare(random_image(*size, 1), styles)
    return minimized


def soft_masks(count=2, size=(60, 90)):
    """Regions that overlap and fade, each with a style of its own."""
    masks = np.stack([images.resize_image(np.random.RandomState(seed).rand(4, 5), *size) for seed in range(count)], -1)
    return regions.Regions(content=masks, styles=(None,) * count, weights=np.eye(count), name='masks')


def color_maps():
    """Two regions, one of them small, and two styles: both in the first, one in the second."""
    content, style, other = (np.zeros((*size, 2), np.float32) for size in ((40, 30), (50, 60), (20, 20)))
    content[:, :20, 0] = content[3:6, 25:28, 1] = style[:25, :, 0] = style[25:, :, 1] = other[..., 0] = 1
    return regions.Regions(content=content, styles=(style, other), weights=np.array([[1.0, 1.0], [3.0, 0.0]]),
                           name='maps', of_colors=True)


# The arithmetic of the losses.

def run(tensor):
    with tf.Session() as sess:
        return sess.run(tensor)


def test_gram_matrix_of_known_activations():
    activations = np.zeros((1, 1, 3, 2), np.float32)
    activations[0, 0] = [[1, 2], [3, 4], [5, 6]]
    np.testing.assert_array_equal(run(style_transfer.gram_matrix(tf.constant(activations))), [[35, 44], [44, 56]])


@pytest.mark.parametrize('scale, expected', [('mean', 600 / (4 * 25)), ('book', 600 / (4 * 4 * 25))])
def test_content_loss_is_a_mean_or_the_books_quarter_of_it(scale, expected):
    assert style_transfer.content_loss(600.0, 25, 4, scale) == pytest.approx(expected)


def test_style_loss_agrees_with_equation_4():
    random = np.random.RandomState(0)
    features, painting = random.rand(20, 3), random.rand(20, 3)  # M = 20 positions, N = 3 channels
    gram, target = features.T @ features, painting.T @ painting
    constants = tf.constant(gram, tf.float32), tf.constant(target / 20, tf.float32)
    both = [run(style_transfer.style_loss(*constants, 20, loss)) for loss in ('book', 'mean')]
    assert both[0] == pytest.approx(np.sum((gram - target) ** 2) / (4 * 3 ** 2 * 20 ** 2), rel=1e-4)
    assert both[1] == pytest.approx(np.mean((gram / 60 - target / 60) ** 2), rel=1e-4)


def test_styles_that_are_blended_are_taken_as_one_distribution(prepare_for, network):
    def moments(target):  # means, and mean products
        root, mean = target[:-1, :-1], target[-1, :-1]
        return mean, root @ root - target[-1, -1] * np.eye(len(mean)) + np.outer(mean, mean)

    picture, styles = random_image(48, 64, 0), [random_image(64, 64, 1), random_image(64, 64, 2) / 3]
    prepare = prepare_for(network, loss_weights('wasserstein'))
    targets = [style_transfer.compute_targets(prepare.sess, prepare.graph, picture, of_styles)[0].values()
               for of_styles in (styles, styles[:1], styles[1:])]
    for blended, one, other in zip(*(map(moments, of_layers) for of_layers in targets)):
        for found, *parts in zip(blended, one, other):
            np.testing.assert_allclose(found, np.mean(parts, axis=0), rtol=1e-4, atol=1e-6 * np.abs(found).max())


def test_losses_do_not_depend_on_the_size_of_the_picture(prepare_for, network):
    small, large = random_image(64, 64, 0), np.tile(random_image(64, 64, 0), (3, 3, 1))
    shallow = loss_weights(content_layers={'conv2_1': 1.0})._replace(style_layers={'conv1_1': 0.5, 'conv2_1': 0.5})
    prepare = prepare_for(network._replace(padding='reflect'), shallow)
    losses = [prepare(np.zeros_like(picture), [random_image(64, 64, 1) / 2])(picture.ravel())[0]
              for picture in (small, large)]
    np.testing.assert_allclose(losses[0], losses[1], rtol=0.05)  # but for the borders


def test_a_picture_that_is_its_own_target_has_no_loss(prepare_for, minimized, network):
    picture = random_image(48, 64, 0)
    losses, gradient = prepare_for(network, loss_weights(tv_weight=0.0))(picture, [picture])(picture.ravel())
    other_losses, other_gradient = minimized((48, 64))(picture.ravel())
    assert max(losses) < 1e-8 * max(other_losses)
    assert np.abs(gradient).max() < 1e-4 * np.abs(other_gradient).max()


@pytest.mark.parametrize('options', [
    dict(loss='mean'), dict(loss='book'), EDGES,
    dict(guide=soft_masks()), dict(guide=color_maps()), dict(loss='wasserstein'),
    dict(loss='wasserstein', guide=color_maps())])
def test_the_gradient_agrees_with_finite_differences(minimized, options):
    picture = random_image(40, 48, 0)
    evaluate = minimized((40, 48), **options)
    _, gradient = evaluate(picture.ravel())
    direction = np.random.RandomState(3).randn(*picture.shape).astype(np.float32)
    direction += gradient.reshape(picture.shape) / np.sqrt(np.mean(np.square(gradient)))
    up, down = (evaluate((picture + step * direction).ravel())[0].total for step in (0.05, -0.05))
    assert gradient @ direction.ravel() == pytest.approx((up - down) / 0.1, rel=1e-2)


def test_edges_count_as_the_mean_square_of_what_they_differ_by(prepare_for, network):
    picture, steps = random_image(48, 64, 0), np.zeros((48, 64, 3), np.float32)
    steps[:, 16:] = 8  # along both sides of the step, two of 64 pixels or of 4 pooled ones, they differ by 8
    evaluate = prepare_for(network, loss_weights(**EDGES))(picture, [picture])
    losses, without = (evaluate(image.ravel())[0] for image in (picture + steps, picture))
    assert without.laplacian == 0 and losses.laplacian == pytest.approx(3 * 64 * (2 / 64 + 2 / 4), rel=1e-3)
    parts = losses.content + losses.style + losses.variation + losses.laplacian
    assert losses.total == pytest.approx(parts, rel=1e-5)


# Regions.

def test_a_mask_of_ones_changes_nothing(minimized):  # beside it one of zeros: two masks have their graphs above
    picture, masks = random_image(49, 64, 0), np.zeros((20, 30, 2), np.float32)
    masks[..., 0] = 1
    guide = regions.Regions(content=masks, styles=(None,), weights=np.ones((1, 2)), name='white')
    for tile_size in None, 32:
        losses, gradient = minimized((49, 64), tile_size)(picture.ravel())
        white_losses, white_gradient = minimized((49, 64), tile_size, guide)(picture.ravel())
        assert losses == pytest.approx(white_losses, rel=1e-6)
        np.testing.assert_allclose(gradient, white_gradient, atol=1e-6 * np.abs(gradient).max())


def test_a_masked_gram_matrix_counts_positions_by_their_mask():
    activations, mask = np.zeros((1, 1, 3, 2), np.float32), tf.constant([[[1, 0.5, 0]]])
    activations[0, 0] = [[1, 2], [3, 4], [5, 6]]
    found = run(style_transfer.gram_matrix(tf.constant(activations), mask))
    np.testing.assert_array_equal(found, [[1 + 4.5, 2 + 6], [2 + 6, 4 + 8]])


def test_a_region_is_compared_with_its_own_part_of_the_style(prepare_for, network):
    half = np.zeros((64, 96, 2), np.float32)  # both regions of the picture are those of the style: nothing to do
    half[:, :48, 0] = half[:, 48:, 1] = 1
    picture = random_image(64, 96, 0)
    picture[:, 48:] *= 0.2
    guide = regions.Regions(content=half, styles=(half,), weights=np.ones((1, 2)), name='halves', of_colors=True)
    turned = guide._replace(styles=(half[:, ::-1],))
    losses = [prepare_for(network, guide=own)(picture, [picture])(picture.ravel())[0].style for own in (guide, turned)]
    assert losses[0] < 1e-6 * losses[1]


# Tiles.

@pytest.mark.parametrize('size, options', [
    ((160, 144), {}), ((157, 131), dict(content_layers={'conv5_1': 0.5, 'conv2_2': 0.5})),
    ((157, 131), dict(padding='reflect')), ((157, 131), EDGES), ((157, 131), dict(guide=soft_masks())),
    ((160, 144), dict(guide=color_maps())), ((125, 109), dict(loss='wasserstein')),
    ((125, 109), dict(loss='wasserstein', guide=soft_masks()))])
def test_tiled_and_untiled_gradients_agree(minimized, size, options):
    picture = 0.3 * random_image(*size, 0)  # darker than the styles: a short transport is lost in float32
    losses, gradient = minimized(size, **options)(picture.ravel())
    tiled_losses, tiled_gradient = minimized(size, 64, **options)(picture.ravel())
    assert np.linalg.norm(tiled_gradient - gradient) / np.linalg.norm(gradient) < 1e-4
    np.testing.assert_allclose(tiled_losses, losses, rtol=1e-4)


def test_one_tile_is_the_whole_picture_to_the_bit(minimized):
    picture = random_image(64, 80, 0)
    losses, gradient = minimized((64, 80), tv_weight=0.0)(picture.ravel())
    one_losses, one_gradient = minimized((64, 80), 512, tv_weight=0.0)(picture.ravel())
    assert losses == one_losses and (gradient == one_gradient).all()
    losses, gradient = minimized((64, 80))(picture.ravel())
    one_losses, one_gradient = minimized((64, 80), 512)(picture.ravel())
    assert losses == one_losses  # total variation's parts of the gradient are added in another order
    np.testing.assert_allclose(gradient, one_gradient, rtol=1e-5, atol=1e-6)


@pytest.mark.real_data
def test_tiled_and_untiled_gradients_agree_with_real_weights(minimized, real_vgg):
    name, weights = real_vgg
    network, picture = vgg.Network(name=name, weights=weights), random_image(176, 160, 0)
    for loss in 'mean', 'wasserstein':
        gradients = [minimized((176, 160), tile_size, network=network, loss=loss)(picture.ravel())[1]
                     for tile_size in (None, 96)]
        assert np.linalg.norm(gradients[1] - gradients[0]) / np.linalg.norm(gradients[0]) < 1e-4


# Starts.

def test_starting_images():
    base = random_image(60, 40, 0)
    start = jobs.starting_image((30, 30), base, 0.0, seed=0)
    assert start.shape == (30, 30, 3) and start.dtype == np.float32
    np.testing.assert_allclose(start, images.fill(base, 30, 30), atol=1e-3)
    noise = jobs.starting_image((30, 30), base, 1.0, seed=0)
    assert 19 < np.abs(noise - np.array(vgg.MEAN_RGB)).max() <= 20.001
    np.testing.assert_array_equal(noise, jobs.starting_image((30, 30), base, 1.0, seed=0))


# The loop.

@pytest.fixture
def stylize(prepare_for, network):
    def stylize(iterations=8, loss='mean', **options):
        prepare = prepare_for(network, loss_weights(loss))
        content, style = random_image(64, 48, 0), random_image(70, 90, 1)
        return style_transfer.stylize(prepare.sess, prepare.graph, content, [style],
                                      sizes.plan_scales(64, 48, iterations, 2), **options)
    return stylize


@pytest.mark.parametrize('loss', ['mean', 'wasserstein'])
def test_the_loss_falls_within_five_steps(stylize, loss):
    totals = []
    stylize(16, loss, record=lambda step, image, state, total, **others: totals.append(total))
    assert totals[4] < totals[0] / 2


@pytest.mark.parametrize('loss, stops', [('mean', (1, 5, 6)), ('wasserstein', (6,))])
def test_stopped_and_resumed_equals_never_stopped(stylize, loss, stops):
    whole_picture, whole_losses = stylize(loss=loss)
    for stop_after in stops:  # after 5 iterations the first of two scales is done
        kept = []

        def stop(step, image, state, **losses):
            if step == stop_after:
                kept.append({name: np.copy(array) for name, array in state.items()})
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            stylize(loss=loss, record=stop)
        picture, losses = stylize(loss=loss, checkpoint=kept[0])
        assert picture.tobytes() == whole_picture.tobytes() and losses == whole_losses


def test_two_steps_in_a_notebook(tiny_vgg_weights):
    with tf.Graph().as_default() as tf_graph:
        graph = style_transfer.build_graph(vgg.Network('vgg19', tiny_vgg_weights))
    content, losses_before = random_image(64, 48, 0), []
    with session.open_session(tf_graph, threads=1) as sess:
        image, losses = style_transfer.stylize(
            sess, graph, content, [random_image(70, 90, 1)], sizes.plan_scales(64, 48, iterations=2),
            record=lambda step, image, state, **losses: losses_before.append(losses['total']))
    assert image.shape == content.shape and np.abs(image - content).mean() > 0.5
    assert losses_before[1] < losses_before[0] and losses.total < losses_before[0]  # that of the clipped image


def test_a_loss_that_is_not_finite_ends_the_work(stylize):
    with pytest.raises(ComputationError, match='not finite after 0 iterations'):
        stylize(make_optimizer=lambda x: LBFGS(np.full_like(x, 1e30)))


# The program.

def latest(tmp_path):
    return tmp_path / 'output' / 'style_transfer' / 'latest'


def test_a_run_leaves_picture_sheet_curves_and_record(recipe, pictures, tmp_path, capsys):
    content, style = pictures
    code = recipe('--content', content, '--style', style, '--iterations', 6, '--output', tmp_path / 'new' / 'out.jpg',
                  '--save-every', 3, default_layers=True)
    assert code == 0
    result, page = capsys.readouterr().out.splitlines()[-2:]
    assert result.startswith('painted in ') and result.endswith('out.jpg') and 'peak memory' in result
    assert page.startswith('report: ')
    run_dir = latest(tmp_path)
    result = images.load_image(run_dir / 'photo_painting.png')
    assert result.shape == (48, 64, 3) and result.std() > 5
    assert np.abs(images.load_image(tmp_path / 'new' / 'out.jpg') - result).mean() < 5
    assert {path.name[-9:-4] for path in run_dir.glob('photo_painting_0*.png')} == {'00000', '00003', '00006'}
    assert (run_dir / 'photo_painting_sheet.png').exists()
    assert images.load_image(run_dir / 'photo_painting_losses.png').std() > 5
    metrics = read_metrics(run_dir / 'metrics.csv')
    assert [row['step'] for row in metrics] == [1, 2, 3, 4, 5, 6] and metrics[-1]['total'] < metrics[0]['total']
    record = json.loads((run_dir / 'run.json').read_text())
    assert record['weights']['source'] == 'tiny' and len(record['inputs']) == 2
    assert {'seconds', 'seconds_per_iteration', 'content_loss', 'style_loss', 'peak_memory',
            'estimated_memory'} <= set(record['results'])


@pytest.mark.parametrize('options', [
    ['--loss', 'book', '--init', 'noise', '--preserve-color', 'histogram'],
    ['--loss', 'wasserstein', '--style-blend', '--optimizer', 'adam'],
    ['--init', 'style', '--noise-ratio', '0.3', '--style-scale', '0.7', '--content-layers', 'conv3_1:2', 'conv4_2',
     '--style-layers', 'conv2_1'],
    ['--pooling', 'max', '--padding', 'reflect', '--laplacian-weight', '3', '--style-weight', '0'],
    ['--content-weight', '0', '--tv-weight', '0', '--scales', '3']])
def test_options_give_a_picture(recipe, pictures, tmp_path, options):
    content, style = pictures
    assert recipe('--content', content, '--style', style, '--iterations', 4, *options, '--quiet') == 0
    assert images.load_image(latest(tmp_path) / 'photo_painting.png').std() > 1


def test_the_books_settings(recipe, pictures, tmp_path):
    content, style = pictures
    recipe('--content', content, '--style', style, '--book', '--iterations', 4, '--quiet', default_layers=True)
    assert images.load_image(latest(tmp_path) / 'photo_painting.png').std() > 1
    settings = runs.read_record(latest(tmp_path))['settings']
    assert (settings['optimizer'], settings['learning_rate'], settings['noise_ratio'], settings['scales']) == (
        'adam', 2.0, 0.6, 1)
    assert (settings['content_weight'], settings['style_weight'], settings['stretch_style']) == (5.0, 100.0, True)
    assert settings['style_layers'][-1] == 'conv5_1:4'
    assert style_transfer.BOOK['iterations'] == 600


def test_luminance_is_painted_and_hues_are_kept(recipe, pictures, tmp_path):
    content, style = pictures
    assert recipe('--content', content, '--style', style, '--iterations', 4, '--preserve-color', 'luminance') == 0
    result = images.load_image(latest(tmp_path) / 'photo_painting.png')
    assert result.std() > 1
    photo = images.load_image(content)
    chroma = [image - image @ np.array([.299, .587, .114], np.float32)[:, np.newaxis] for image in (photo, result)]
    assert (np.sum(chroma[0] * chroma[1], axis=-1) > -5).all()


@pytest.mark.slow
def test_every_pair_is_painted_and_a_failed_picture_is_left_out(recipe, pictures, tmp_path, capsys):
    content, style = pictures
    folder = tmp_path / 'photos'
    folder.mkdir()
    for name in 'a.png', 'b.png':
        images.save_image(folder / name, images.load_image(content))
    (folder / 'c.jpg').write_bytes(b'not a picture')
    code = recipe('--content', folder, '--style', style, content, '--iterations', 2)
    out, err = capsys.readouterr()
    assert code == 2 and 'skipped: ' in err and 'c.jpg' in err and err.count('skipped') == 1
    assert {path.name for path in latest(tmp_path).glob('[ab]_*o.png')} == {'a_photo.png', 'b_photo.png'}
    assert '4 images painted' in out and len(runs.read_record(latest(tmp_path))['pictures']) == 4


def test_a_white_mask_is_no_mask_to_the_bit(recipe, pictures, tmp_path):
    content, style = pictures
    images.save_image(tmp_path / 'white.png', np.full((20, 30, 3), 255.0))
    args = '--content', content, '--style', style, '--iterations', 3
    found = []
    for more in [], ['--mask', tmp_path / 'white.png'], [
            '--content-map', tmp_path / 'white.png', '--style-map', tmp_path / 'white.png']:
        assert recipe(*args, *more) == 0
        found.append((latest(tmp_path) / 'photo_painting.png').read_bytes())
    assert found[0] == found[1] == found[2]


def test_each_style_goes_into_its_region_and_the_rest_stays(recipe, pictures, tmp_path, capsys):
    content, style = pictures
    masks = np.zeros((2, 24, 32, 3))
    masks[0, :, :16], masks[1, :12, 16:] = 255, 255
    paths = [tmp_path / f'mask{number}.png' for number in range(2)]
    for path, mask in zip(paths, masks):
        images.save_image(path, mask)
    for color, name in ((200, 30, 30), 'red.png'), ((30, 30, 200), 'blue.png'):
        noise = np.random.RandomState(0).uniform(-20, 20, (60, 60, 1))
        images.save_image(tmp_path / name, np.array(color) + noise)
    assert recipe('--content', content, '--style', tmp_path / 'red.png', tmp_path / 'blue.png', '--mask', *paths,
                  '--iterations', 60, '--content-weight', 0) == 0
    assert 'mask0.png (32 x 24 pixels) is scaled to the size of the result (64 x 48)' in capsys.readouterr().out
    result, photo = (images.load_image(path) for path in (latest(tmp_path) / 'photo_red+blue.png', content))
    np.testing.assert_array_equal(result[26:, 36:], photo[26:, 36:])
    red, blue = result[:, :28], result[:22, 36:]
    assert np.abs(red - photo[:, :28]).mean() > 5 and np.abs(blue - photo[:22, 36:]).mean() > 5
    assert runs.read_record(latest(tmp_path))['inputs'].keys() >= set(map(str, paths))


def test_two_regions_take_the_colors_of_their_styles(recipe, pictures, tmp_path, monkeypatch, narrow_vgg16):
    weights = narrow_vgg16.weights()  # each layer hands the colors on
    weights['conv1_1'][1][:] += 130  # dark ones, too
    monkeypatch.setattr(vgg, 'obtain_weights', lambda *unused, **named: ('vgg16', weights, 'narrow', '0' * 64))
    checks = np.indices((48, 64)).sum(axis=0)[..., np.newaxis] // 4 % 2
    halves, means = np.zeros((2, 48, 64)), []
    halves[0, :, :32] = halves[1, :, 32:] = 255
    for name, half, colors in zip(('warm', 'cold'), halves, (((196, 60, 40), (236, 170, 60)),
                                                             ((30, 60, 140), (70, 150, 150)))):
        style = np.where(checks, *map(np.array, colors))
        images.save_image(tmp_path / f'{name}.png', style)
        images.save_image(tmp_path / f'{name}_mask.png', np.stack([half] * 3, axis=-1))
        means.append(style.mean(axis=(0, 1)))
    assert recipe('--content', pictures[0], '--style', tmp_path / 'warm.png', tmp_path / 'cold.png', '--mask',
                  tmp_path / 'warm_mask.png', tmp_path / 'cold_mask.png', '--style-layers', 'conv1_1', 'conv2_1',
                  '--iterations', 60) == 0
    result = images.load_image(latest(tmp_path) / 'photo_warm+cold.png')
    for half, mean in zip((result[:, :30], result[:, 34:]), means):  # gray levels, in the worst channel
        assert np.abs(half.mean(axis=(0, 1)) - mean).max() < 10


def test_maps_and_everything_else_at_once(recipe, pictures, tmp_path):
    content, style = pictures
    for name in 'content', 'style':
        halves = np.zeros((48, 64, 3))
        halves[:, 32:, 0] = 255
        images.save_image(tmp_path / f'{name}_map.png', halves)
    assert recipe('--content', content, content, '--style', style, '--content-map', tmp_path / 'content_map.png',
                  '--style-map', tmp_path / 'style_map.png', '--tile-size', 64, '--size', 96, '--upscale',
                  '--iterations', 4, '--preserve-color', 'luminance', '--laplacian-weight', 2, '--laplacian-pools', 1,
                  4, '--loss', 'wasserstein') == 0
    result = images.load_image(latest(tmp_path) / 'photo_painting-2.png')
    assert result.shape == (72, 96, 3) and result.std() > 1
    assert [row['laplacian'] >= 0 for row in read_metrics(latest(tmp_path) / 'metrics.csv')] == [True] * 8


def test_styles_are_blended_and_a_picture_is_never_enlarged_unasked(recipe, pictures, tmp_path):
    content, style = pictures
    args = '--content', content, '--style', style, content, '--iterations', 2, '--size', 80
    for more, shape in (['--style-blend', 2, 1], (48, 64, 3)), (['--upscale', '--style-blend'], (60, 80, 3)):
        assert recipe(*args, *more) == 0
        assert images.load_image(latest(tmp_path) / 'photo_painting+photo.png').shape == shape


def test_without_options_the_portrait_is_painted_like_the_flow_field(recipe, tmp_path, monkeypatch):
    monkeypatch.setattr(jobs, 'PAINTING_SIZE', (64, 80))
    assert recipe('--iterations', 2, '--size', 64, default_layers=True) == 0
    assert (latest(tmp_path) / 'grace_hopper_flow_field.png').exists()


def test_nan_ends_the_run_with_the_last_good_picture_kept(recipe, pictures, tmp_path, capsys, monkeypatch):
    content, style = pictures
    make = style_transfer.make_evaluate

    def spoiled(*args):
        evaluate, calls = make(*args), []

        def fail_late(x):
            calls.append(1)
            losses, gradient = evaluate(x)
            return (losses._replace(total=float('nan')), gradient) if len(calls) > 3 else (losses, gradient)
        return fail_late

    monkeypatch.setattr(style_transfer, 'make_evaluate', spoiled)
    assert recipe('--content', content, '--style', style, '--iterations', 9, '--scales', 1, '--optimizer', 'adam') == 1
    assert 'not finite after 3 iterations' in capsys.readouterr().err
    assert images.load_image(latest(tmp_path) / 'photo_painting.png').std() > 5


# Films.

@pytest.fixture
def clip(tmp_path):
    """Saves five frames of 48 x 64 pixels that move by 2, with a cut before the fourth; returns their folder."""
    pytest.importorskip('cv2')
    wide = [images.resize_image(np.random.RandomState(seed).uniform(0, 255, (12, 20, 3)), 48, 80) for seed in (0, 1)]
    for number in range(5):
        images.save_image(tmp_path / 'clip' / f'{number}.png', wide[number > 2][:, 2 * number:2 * number + 64])
    return tmp_path / 'clip'


def test_a_film_is_painted_frame_by_frame(recipe, pictures, clip, tmp_path, capsys):
    args = '--content', clip, '--style', pictures[1], '--iterations', 10, '--fps', 5
    assert recipe(*args, '--output', tmp_path / 'out') == 0
    assert '\n5 frames painted, ' in capsys.readouterr().out
    rows = read_metrics(latest(tmp_path) / 'metrics.csv')
    assert [row['iterations'] for row in rows] == [10, 3, 3, 10, 3] and [row['cut'] for row in rows] == [0, 0, 0, 1, 0]
    assert [row['temporal'] > 0 for row in rows] == [False, True, True, False, True]
    frames = [images.load_image(path) for path in sorted((tmp_path / 'out').iterdir())]
    assert [frame.shape for frame in frames] == [(48, 64, 3)] * 5 and min(frame.std() for frame in frames) > 5
    assert recipe(*args, '--temporal-weight', 1e6, '--frame-iterations', 4, '--frames', 2, '--scales', 1) == 0
    calm = images.load_image(latest(tmp_path) / 'frames' / '000001.png')
    first = images.load_image(latest(tmp_path) / 'frames' / '000000.png')
    assert np.abs(calm[8:-8, 8:-8] - first[8:-8, 10:-6]).mean() < 3  # the film's motion, and little else
    assert [row['iterations'] for row in read_metrics(latest(tmp_path) / 'metrics.csv')] == [10, 4]


def test_a_film_with_all_that_pictures_have(recipe, pictures, clip, tmp_path):
    mask = np.zeros((48, 64, 3))
    mask[:, :32] = 255
    images.save_image(tmp_path / 'left.png', mask)
    assert recipe('--content', clip, '--style', pictures[1], '--iterations', 4, '--frames', 2, '--mask',
                  tmp_path / 'left.png', '--preserve-color', 'luminance', '--laplacian-weight', 2, '--optimizer',
                  'adam', '--tile-size', 64, '--size', 96, '--upscale', '--init', 'noise') == 0
    frame = images.load_image(latest(tmp_path) / 'frames' / '000001.png')
    photo = images.resize_image(images.load_image(clip / '1.png'), 72, 96)
    np.testing.assert_allclose(frame[:, 50:], photo[:, 50:], atol=0.51)
    assert np.abs(frame[:, :46] - photo[:, :46]).mean() > 3


def test_a_videos_rate_and_sound_are_kept(recipe, pictures, tmp_path):
    pytest.importorskip('cv2')
    subprocess.run([film.ffmpeg(), '-v', 'error', '-nostdin', '-f', 'lavfi', '-i', 'testsrc=size=64x48:rate=10', '-f',
                    'lavfi', '-i', 'sine', '-t', '0.3', str(tmp_path / 'clip.mkv')], check=True)
    assert recipe('--content', tmp_path / 'clip.mkv', '--style', pictures[1], '--iterations', 2, '--output',
                  tmp_path / 'painted.mp4') == 0
    whole = [path.read_bytes() for path in sorted((latest(tmp_path) / 'frames').iterdir())]
    for resumed in False, True:  # as if it had been killed after the second frame
        if resumed:
            film.frame_path(latest(tmp_path) / 'frames', 2).unlink()
            (tmp_path / 'painted.mp4').unlink()
            assert recipe('--resume', '--output', tmp_path / 'painted.mp4') == 0
        found = film.open_film(tmp_path / 'painted.mp4')
        assert (found.num_frames, found.fps, found.height, found.width) == (3, 10, 48, 64)
        told = subprocess.run([film.ffmpeg(), '-i', str(found.path)], stderr=subprocess.PIPE).stderr
        assert b'Audio: aac' in told
    assert whole == [path.read_bytes() for path in sorted((latest(tmp_path) / 'frames').iterdir())]


def test_a_film_is_not_resumed_without_its_optical_flow(recipe, pictures, clip, tmp_path, monkeypatch, capsys):
    assert recipe('--content', clip, '--style', pictures[1], '--iterations', 1, '--frames', 2) == 0
    film.frame_path(latest(tmp_path) / 'frames', 1).unlink()
    monkeypatch.setattr(motion, 'opencv', lambda: None)
    assert recipe('--resume', latest(tmp_path)) == 2
    assert 'optical_flow changed since ' in capsys.readouterr().err


def test_a_frame_ends_when_its_time_is_up(recipe, pictures, clip, tmp_path):
    assert recipe('--content', clip, '--style', pictures[1], '--iterations', 10 ** 6, '--frames', 2, '--scales', 1,
                  '--frame-seconds', 0.05) == 0
    assert all(row['iterations'] < 1000 for row in read_metrics(latest(tmp_path) / 'metrics.csv'))


def test_a_folder_without_options_of_a_film_is_a_folder_of_pictures(recipe, pictures, clip, tmp_path):
    for number in range(3):
        (clip / f'{number}.png').unlink()
    assert recipe('--content', clip, '--style', pictures[1], '--iterations', 1) == 0
    assert len(runs.read_record(latest(tmp_path))['pictures']) == 2


def test_a_frame_whose_loss_is_not_finite_names_those_so_far(recipe, pictures, clip, tmp_path, capsys, monkeypatch):
    make, calls = style_transfer.make_evaluate, []

    def spoiled(*args):
        calls.append(1)
        evaluate = make(*args)
        return (lambda x: (lambda losses, gradient: (losses._replace(total=float('nan')), gradient))(*evaluate(x))) if (
            len(calls) > 1) else evaluate
    monkeypatch.setattr(style_transfer, 'make_evaluate', spoiled)
    assert recipe('--content', clip, '--style', pictures[1], '--iterations', 2, '--scales', 1, '--fps', 9) == 1
    assert 'the frames so far are in' in capsys.readouterr().err
    assert [path.name for path in (latest(tmp_path) / 'frames').iterdir()] == ['000000.png']


def test_a_video_that_breaks_off_is_painted_as_far_as_it_goes(recipe, pictures, tmp_path, capsys):
    pytest.importorskip('imageio_ffmpeg')
    frames = [np.random.RandomState(number).uniform(0, 255, (6, 8, 3)) for number in range(8)]
    for number, frame in enumerate(frames):
        images.save_image(tmp_path / 'f' / f'{number:06d}.png', images.resize_image(frame, 48, 64))
    film.write_film(tmp_path / 'whole.gif', tmp_path / 'f', 8, 10)
    (tmp_path / 'cut.gif').write_bytes((tmp_path / 'whole.gif').read_bytes()[:-3000])
    code = recipe('--content', tmp_path / 'cut.gif', '--style', pictures[1], '--iterations', 1)
    out, err = capsys.readouterr()
    assert code == 2 and 'skipped: ' in err and 'cut.gif' in err and 'frames painted' in out
    assert 1 <= len(list((latest(tmp_path) / 'frames').iterdir())) < 8
    (tmp_path / 'no.mp4').write_bytes(b'no video')
    assert recipe('--content', tmp_path / 'no.mp4', '--style', pictures[1]) == 2
    assert 'no.mp4: not a video that can be read' in capsys.readouterr().err


@pytest.mark.parametrize('options, message', [
    (['--content', 'photo.png', '--frames', '3'], '--frames needs a video or a folder of frames: --content FILE'),
    (['--content', 'photo.png', '--output', 'film.mp4'], '--output film.mp4 needs a video or a folder of frames'),
    (['--content', 'clip', 'photo.png', '--fps', '9'], '--content: a film is painted alone; 2 are named'),
    (['--content', 'clip', '--fps', '9', '--style', 'painting.png', 'photo.png'],
     'a film is painted in one style, not in each of 2; --style-blend makes them one'),
    (['--content', 'clip', '--fps', '9', '--save-every', '3'], '--save-every 3: a film keeps every frame'),
    (['--content', 'clip', '--fps', '9', '--output', 'clip'], 'there are files in this folder'),
    (['--content', 'clip', '--temporal-weight', '-1'], 'expected a number of at least 0')])
def test_a_mistake_about_a_film_is_one_line(recipe, pictures, clip, tmp_path, monkeypatch, capsys, options, message):
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.rglob('*'))
    assert recipe(*options, *([] if '--style' in options else ['--style', 'painting.png'])) == 2
    said = capsys.readouterr().err
    assert message in said and said.count('\n') == 1
    assert sorted(tmp_path.rglob('*')) == before


# --resume; see also test_contract.py.

def test_a_checkpoint_of_an_earlier_version_is_resumed(recipe, pictures, tmp_path, monkeypatch):
    args, record = ('--content', pictures[0], '--style', pictures[1], '--iterations', 4), PictureRun.record
    assert recipe(*args) == 0
    whole = (latest(tmp_path) / 'photo_painting.png').read_bytes()

    def interrupted(run, step, *args, **figures):
        os.kill(os.getpid(), signal.SIGINT)
        record(run, step, *args, **figures)
    monkeypatch.setattr(PictureRun, 'record', interrupted)
    assert recipe(*args) == 130
    monkeypatch.setattr(PictureRun, 'record', record)
    path = latest(tmp_path) / 'checkpoint.npz'
    runs.save_arrays(path, **{name.replace('optimizer_', 'optimiser_'): array
                              for name, array in runs.load_arrays(path).items()})
    assert recipe('--resume') == 0 and (latest(tmp_path) / 'photo_painting.png').read_bytes() == whole


# What cannot be done.

@pytest.mark.parametrize('options, message', [
    (['--content', 'missing.jpg'], 'missing.jpg: no such file or folder'),
    (['--size', '40'], '40 x 30 pixels at the requested size; the shorter side must have at least 32'),
    (['--style-blend', '1', '2'],
     '--style-blend 1 2: expected a weight for each of the 1 styles, at least one of them above 0'),
    (['--style-blend', '-1'], 'expected a number of at least 0'),
    (['--content-layers', 'conv42'], "did you mean 'conv4_2'"),
    (['--network', 'vgg16', '--content-layers', 'conv3_4'], "VGG-16 has no layer 'conv3_4'"),
    (['--style-layers', 'conv1_1:x'], 'the weight of a layer is a number above 0'),
    (['--content-weight', '0', '--style-weight', '0'], 'nothing to paint'),
    (['--output', 'text.jpg/out.png'], 'text.jpg/out.png: cannot write there'),
    (['--output', 'photo.png'], 'is also an input file'),
    (['--mask', 'photo.png', 'photo.png'], '--mask: 2 files for 1 style; expected one for each'),
    (['--mask', 'text.jpg'], 'text.jpg: not a picture'),
    (['--content-map', 'photo.png'], '--content-map and --style-map: the colors of one are looked up in the other'),
    (['--mask', 'photo.png', '--output', 'photo.png'], 'is also an input file'),
    (['--laplacian-pools', '3'], '--laplacian-pools 3: expected 1, 2, 4, 8 or 16'),
    (['--init', 'missing.png'], 'missing.png: no such file'),
    (['--init', 'text.jpg'], 'text.jpg: not a picture'),
    (['--iterations', '0'], 'expected a whole number of at least 1'),
    (['--noise-ratio', '2'], 'expected a number from 0 to 1'),
    (['--output-dir', 'text.jpg/runs'], 'text.jpg/runs'),
    (['--resume'], 'no run in')])
def test_a_mistake_is_one_line_and_nothing_is_written(
        recipe, pictures, tmp_path, monkeypatch, capsys, options, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'text.jpg').write_text('not a picture')
    before = sorted(tmp_path.rglob('*'))
    defaults = {'--content': 'photo.png', '--style': 'painting.png'}
    given = [text for option, value in defaults.items() if option not in options for text in (option, value)]
    assert recipe(*given, *options) == 2
    said = capsys.readouterr().err
    assert message in said and said.count('\n') == 1 and 'Traceback' not in said
    assert sorted(tmp_path.rglob('*')) == before


@pytest.mark.parametrize('content, message', [(None, 'no such file'), (b'', 'weights'), (b'not weights', 'weights')])
def test_weights_that_are_no_weights(pictures, tmp_path, capsys, content, message):
    path = tmp_path / 'weights.mat'
    if content is not None:
        path.write_bytes(content)
    code = style_transfer.main(['--content', str(pictures[0]), '--style', str(pictures[1]), '--weights', str(path),
                                '--output-dir', str(tmp_path / 'output')])
    said = capsys.readouterr().err
    assert code in (2, 3) and 'weights.mat' in said and message in said.lower() and said.count('\n') == 1
    assert not (tmp_path / 'output').exists()


def test_a_picture_too_large_for_memory_is_tiled_or_refused(recipe, pictures, tmp_path, monkeypatch, capsys):
    args = '--content', pictures[0], '--style', pictures[1], '--iterations', 2, '--size', 200, '--upscale'
    monkeypatch.setattr(memory, 'available', lambda: 1000)
    assert recipe(*args) == 3
    assert 'GB of memory with tiles of 128 px, and 0.0 GB are free' in capsys.readouterr().err
    assert not (tmp_path / 'output').exists()
    monkeypatch.setattr(memory, 'estimate', lambda *args: 10 if args[4] else 10 ** 6)
    assert recipe(*args) == 0
    assert '0.0 GB free: tiles of 128 px' in capsys.readouterr().out
    assert runs.read_record(latest(tmp_path))['tile_size'] == 128


def test_a_run_is_not_resumed_with_other_settings_or_pictures(recipe, pictures, tmp_path, capsys):
    content, style = pictures
    assert recipe('--content', content, '--style', style, '--iterations', 2) == 0
    assert recipe('--resume', '--style-weight', 3) == 2
    assert 'that run has --style-weight 500.0, not 3.0; ' in capsys.readouterr().err
    images.save_image(style, images.load_image(style)[::-1])
    assert recipe('--resume') == 2
    assert 'inputs changed since ' in capsys.readouterr().err
