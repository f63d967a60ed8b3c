"""Grad-CAM: its arithmetic, and its picture."""
import numpy as np

from common import images, session
from common.session import tf
from networks import grad_cam


def heat_maps(activations, weights):
    """Returns the heat maps of a class whose score is the mean of each channel times its weight."""
    layer = tf.constant(activations, tf.float32)
    scores = tf.reduce_sum(tf.reduce_mean(layer, axis=[1, 2]) * weights, axis=1)
    with session.open_session() as sess:
        return sess.run(grad_cam.grad_cam(layer, scores))


def test_a_channel_counts_by_how_much_it_raises_the_score():
    activations = np.random.RandomState(0).uniform(0, 1, [2, 3, 4, 2])
    found = heat_maps(activations, [2.0, -1.0])
    # the gradient of the score is weight / (3 * 4) everywhere
    expected = np.maximum(activations[..., 0] * 2 - activations[..., 1], 0) / 12
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    assert (found == 0).any() and (found > 0).any()  # what counts against the class is not shown


def test_the_overlay_is_red_where_the_map_is_strongest():
    heat_map = np.zeros([4, 4], np.float32)
    heat_map[0, 3] = 5
    seen = grad_cam.overlay(np.full([64, 64, 3], 128, np.uint8), heat_map)
    assert seen.shape == (64, 64, 3) and 0 <= seen.min() and seen.max() <= 255
    corner, opposite = seen[4, 60], seen[60, 4]
    assert corner[0] > corner[2] + 30 and opposite[2] > opposite[0] + 30


def test_a_map_of_nothing_is_no_error():
    assert np.isfinite(grad_cam.overlay(np.zeros([32, 32, 3]), np.zeros([2, 2], np.float32))).all()


def explainer(num_classes=2):
    """Returns the Explainer of a network whose class is the color of the image: red, green, blue."""
    pixels = tf.placeholder(tf.float32, [None, 32, 32, 3])
    activations = tf.nn.avg_pool2d(pixels / 255, 4, 4, 'SAME')  # [batch, 8, 8, 3]
    return grad_cam.explain(pixels, activations, 9 * tf.reduce_mean(activations, axis=[1, 2])[:, :num_classes])


def test_the_heat_map_is_about_the_class_that_is_asked_for():
    explained = explainer()
    pixels = np.zeros([2, 32, 32, 3])
    pixels[:, :16, :, 0], pixels[:, 16:, :, 1] = [[[200]], [[100]]], 150  # red above, green below
    with session.open_session() as sess:
        maps = [sess.run(explained.heat_maps, {explained.images: pixels, explained.classes: [number] * 2})
                for number in (0, 1)]
        chosen, predicted = sess.run([explained.heat_maps, explained.classes], {explained.images: pixels})
    assert maps[0].shape == (2, 8, 8) and min(maps[0].min(), maps[1].min()) >= 0
    assert list(predicted) == [0, 1]
    np.testing.assert_allclose(chosen, [maps[0][0], maps[1][1]], rtol=1e-5)
    assert maps[0][0, :4].min() > maps[0][0, 4:].max() and maps[1][0, 4:].min() > maps[1][0, :4].max()


def test_the_sheet_shows_each_image_beside_its_heat_map(tmp_path, monkeypatch):
    explained, drawn = explainer(3), []
    monkeypatch.setattr(grad_cam.plotting, 'plot_image_grid', lambda path, shown, captions, **options: drawn.append(
        (path, len(shown), captions, options)))
    paths = [tmp_path / f'{name}{number}.png' for name in ('red', 'green', 'blue') for number in range(17)]
    for path in paths:
        color = [180 * (path.name.startswith(name)) for name in ('red', 'green', 'blue')]
        images.save_image(path, np.broadcast_to(np.float32(color), [32, 32, 3]))
    with session.open_session() as sess:
        probabilities = grad_cam.draw(tmp_path / 'sheet.png', sess, explained, paths, lambda some: np.stack(
            [images.load_image(path) for path in some]), ['red', 'green', 'blue'], at_once=10)
    assert [path.name[:-5].rstrip('1') for path in paths] == [
        ('red', 'green', 'blue')[k] for k in np.argmax(probabilities, axis=1)]
    (path, num_shown, captions, options), = drawn
    assert path == tmp_path / 'sheet.png' and num_shown == 2 * grad_cam.MAX_ON_SHEET == len(captions)
    assert captions[0].startswith('red0.png: red ') and captions[1] == '' and options['columns'] == 4
