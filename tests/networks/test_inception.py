"""networks/inception.py: frozen graphs, whole and broken."""
import os
import zipfile

import numpy as np
import pytest

from common import download, errors, session
from common.errors import InputError, UnavailableError
from common.session import tf
from networks import classifiers, inception


def error_of(path, **kwargs):
    with pytest.raises(InputError) as caught:
        inception.load_graph_def(path, **kwargs)
    assert str(path) in str(caught.value)
    return str(caught.value)


def saved(tmp_path, graph):
    path = tmp_path / 'other.pb'
    path.write_bytes(graph.as_graph_def().SerializeToString())
    return path


def test_end_points_are_the_layers_in_their_order(tiny_inception_path):
    images = tf.placeholder(tf.float32, [1, None, None, 3])
    end_points = inception.inception(images, inception.load_graph_def(tiny_inception_path))
    assert list(end_points) == ['conv2d0_pre_relu', 'conv2d0', 'maxpool0', 'mixed4c_1x1_pre_relu', 'mixed4c_1x1',
                                'mixed4c_3x3_pre_relu', 'mixed4c_3x3', 'mixed4c', 'avgpool0', 'softmax2_pre_activation',
                                'softmax2']
    assert end_points['mixed4c'].shape.as_list()[-1] == 6
    assert end_points['softmax2'].shape.as_list()[-1] == 5


def test_the_mean_is_the_modules_business(tiny_inception_path):
    graph_def = inception.load_graph_def(tiny_inception_path)
    image = np.random.RandomState(0).uniform(0, 255, [1, 16, 16, 3]).astype(np.float32)
    bare, = tf.import_graph_def(graph_def, {'input': tf.constant(image - 117)}, ['mixed4c:0'])
    ours = inception.inception(tf.constant(image), graph_def)['mixed4c']
    each = inception.inception(tf.constant(image), graph_def, mean=(117., 117., 117.))['mixed4c']
    with tf.Session() as sess:
        bare, ours, each = sess.run([bare, ours, each])
    np.testing.assert_array_equal(ours, bare)
    np.testing.assert_array_equal(each, bare)


@pytest.mark.parametrize('size', [1, 2, 3, 5])
def test_the_gradient_is_tensorflows(tmp_path, size):
    kernel = np.random.RandomState(0).normal(size=[size, size, 3, 4]).astype(np.float32)
    with tf.Graph().as_default() as graph:
        tf.nn.conv2d(tf.placeholder(tf.float32, [None, None, None, 3], name='input'), tf.constant(kernel), 1, 'SAME',
                     name='layer')
    images = tf.constant(np.random.RandomState(1).uniform(0, 255, [1, 9, 8, 3]).astype(np.float32))
    ours = inception.inception(images, inception.load_graph_def(saved(tmp_path, graph)))['layer']
    theirs = tf.nn.conv2d(images - 117., tf.constant(kernel), 1, 'SAME')
    with tf.Session() as sess:
        ours, theirs = sess.run([tf.gradients(tf.square(layer), images)[0] for layer in (ours, theirs)])
    np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-2)


def test_weights_are_no_variables(tiny_inception_path):
    inception.inception(tf.placeholder(tf.float32, [1, None, None, 3]), inception.load_graph_def(tiny_inception_path))
    assert tf.global_variables() == []


def test_another_input_name(tmp_path):
    with tf.Graph().as_default() as graph:
        pictures = tf.placeholder(tf.float32, [None, None, None, 3], name='picture')
        tf.nn.conv2d(pictures, tf.ones([1, 1, 3, 2]), 1, 'SAME', name='layer')
    path = saved(tmp_path, graph)
    said = error_of(path, input_name='photo')
    assert "no input 'photo'; its placeholders are 'picture': choose with --input-name" in said
    end_points = inception.inception(tf.zeros([1, 8, 8, 3]), inception.load_graph_def(path, 'picture'), 'picture')
    assert list(end_points) == ['layer']


@pytest.mark.parametrize('content, said', [
    (b'\x10\x01', 'contains no operations'),
    (b'\x89PNG\r\n\x1a\n' + bytes(100), 'an image'), (b'\x93NUMPY', 'a NumPy array'),
    (b'<html>', 'a web page, such as a failed download leaves behind'),
    (b'node { name: "input" op: ', 'not a GraphDef'),
    (b'\x89HDF\r\n\x1a\n', 'a Keras model (HDF5)'),
    (b'\x1c\0\0\0TFL3', 'a TensorFlow Lite model'),
    (b'PK\x03\x04', 'an archive, such as Keras 3 and PyTorch write'),
    (b'\x80\x02}q', 'a Python pickle'),
], ids=['empty', 'png', 'numpy', 'html', 'text', 'hdf5', 'tflite', 'zip', 'pickle'])
def test_no_graph_def(tmp_path, content, said):
    path = tmp_path / 'graph.pb'
    path.write_bytes(content)
    message = error_of(path)
    assert said in message and 'expected a frozen GraphDef' in message


def test_a_missing_file(tmp_path):
    assert 'no such file' in error_of(tmp_path / 'none.pb')
    os.mkfifo(str(tmp_path / 'pipe.pb'))
    assert 'not a regular file' in error_of(tmp_path / 'pipe.pb')
    with pytest.raises(InputError, match='not a regular file'):
        inception.obtain_graph(tmp_path, tmp_path / 'pipe.pb')
    assert 'a folder without saved_model.pb' in error_of(tmp_path)


def test_a_truncated_graph(tiny_inception_path):
    whole = tiny_inception_path.read_bytes()
    for share in (0.1, 0.5, 0.9):
        tiny_inception_path.write_bytes(whole[:int(len(whole) * share)])
        assert 'cut off' in error_of(tiny_inception_path)


def test_a_graph_with_a_hole(tiny_inception_path, tmp_path):
    graph_def = inception.load_graph_def(tiny_inception_path)
    del graph_def.node[[node.name for node in graph_def.node].index('maxpool0')]
    path = tmp_path / 'hole.pb'
    path.write_bytes(graph_def.SerializeToString())
    assert 'needs maxpool0, which is not there' in error_of(path)


def test_a_graph_that_is_not_frozen(tmp_path):
    with tf.Graph().as_default() as graph:
        tf.placeholder(tf.float32, name='input')
        tf.get_variable('weights', [2], use_resource=False)
    assert 'not frozen: its 1 variables, weights for one' in error_of(saved(tmp_path, graph))


def test_operations_of_another_tensorflow(tiny_inception_path):
    graph_def = inception.load_graph_def(tiny_inception_path)
    graph_def.node.add(name='new', op='NotYetInvented', input=['mixed4c'])
    with pytest.raises(InputError, match='TensorFlow .* cannot build this graph .*NotYetInvented.*TensorFlow 1.x'):
        inception.inception(tf.zeros([1, 8, 8, 3]), graph_def)


def test_attributes_of_another_tensorflow(tiny_inception_path):
    graph_def = inception.load_graph_def(tiny_inception_path)
    next(node for node in graph_def.node if node.op == 'Relu').attr['sharpness'].f = 2
    if session.stack() == 'tf2':  # it logs an error, leaves the attribute out and goes on
        assert 'mixed4c' in inception.inception(tf.zeros([1, 8, 8, 3]), graph_def)
        return
    with pytest.raises(InputError, match='cannot build this graph .*sharpness'):
        inception.inception(tf.zeros([1, 8, 8, 3]), graph_def)


def test_the_graph_is_looked_for_in_the_models_folder(tiny_inception_path):
    path, source, sha256 = inception.obtain_graph(tiny_inception_path.parent)
    assert path == tiny_inception_path and str(path) in source and len(sha256) == 64
    assert 'not inception5h itself' in source


def test_the_archive_is_unpacked(tmp_path, tiny_inception_path, monkeypatch):
    models_dir = tmp_path / 'empty'
    models_dir.mkdir()
    with zipfile.ZipFile(str(models_dir / 'inception5h.zip'), 'w') as archive:
        archive.write(str(tiny_inception_path), inception.GRAPH_FILE)
        archive.writestr(inception.LABELS_FILE, 'dummy\n')
    found = download.Found(models_dir / 'inception5h.zip', 'a test', '0')
    monkeypatch.setattr(inception.download, 'obtain', lambda assets, folder, quiet: [found])
    path, source, _ = inception.obtain_graph(models_dir)
    assert path.read_bytes() == tiny_inception_path.read_bytes()
    assert classifiers.find_labels(path) and 'a test' in source


def test_a_graph_that_cannot_be_had(tmp_path):
    with pytest.raises(UnavailableError, match='--graph FILE'):
        inception.obtain_graph(tmp_path, quiet=True)
    with pytest.raises(InputError, match='no such file'):
        inception.obtain_graph(tmp_path, tmp_path / 'none.pb')


@pytest.mark.real_data
def test_the_real_graph_knows_a_cat(real_models_dir):
    path, _, _ = inception.obtain_graph(real_models_dir)
    end_points = inception.inception(tf.placeholder(tf.float32, [1, None, None, 3]), inception.load_graph_def(path))
    assert end_points['mixed4d_3x3_bottleneck_pre_relu'].shape.as_list()[-1] == 144
    assert [end_points[name].shape.as_list()[-1] for name in ('conv2d0', 'mixed3b', 'mixed4c')] == [64, 480, 512]


def with_operation(tmp_path, build):
    """Returns the path of a network, with what `build` adds to it."""
    with tf.Graph().as_default() as graph:
        pictures = tf.placeholder(tf.float32, [None, None, None, 3], name='input')
        tf.nn.conv2d(pictures, tf.ones([1, 1, 3, 2]), 1, 'SAME', name='layer')
        build(str(tmp_path / 'target'))
    return saved(tmp_path, graph)


@pytest.mark.parametrize('operation, build', [
    ('ReadFile', lambda target: tf.io.read_file(target)),
    ('WriteFile', lambda target: tf.io.write_file(target, 'mine')),
    ('PrintV2', lambda target: tf.raw_ops.PrintV2(input='mine', output_stream='file://' + target)),
    ('EagerPyFunc', lambda target: tf.py_function(lambda: 1, [], tf.int64)),
    ('MatchingFiles', lambda target: tf.io.matching_files(target)),
    ('SaveV2', lambda target: tf.raw_ops.SaveV2(prefix=target, tensor_names=['a'], shape_and_slices=[''],
                                                tensors=[tf.ones([])])),
])
def test_an_operation_that_does_more_than_compute_is_refused(tmp_path, operation, build):
    said = error_of(with_operation(tmp_path, build))
    assert f' is a {operation!r}, which is not admitted' in said
    assert len(said.splitlines()) == 1
    assert not (tmp_path / 'target').exists()


def test_the_functions_of_a_graph_are_looked_at_too(tmp_path):
    path = with_operation(tmp_path, lambda target: None)
    graph_def = inception.load_graph_def(path)
    function = graph_def.library.function.add()
    function.signature.name = 'harmless'
    function.node_def.add(name='quiet', op='ReadFile')
    path.write_bytes(graph_def.SerializeToString())
    assert "its operation 'quiet' is a 'ReadFile'" in error_of(path)


def test_a_function_that_is_not_in_the_graph_is_not_called(tmp_path):
    path = with_operation(tmp_path, lambda target: None)
    graph_def = inception.load_graph_def(path)
    graph_def.node.add(name='call', op='PartitionedCall').attr['f'].func.name = 'elsewhere'
    path.write_bytes(graph_def.SerializeToString())
    assert "'call' calls the function 'elsewhere', which is not in the graph" in error_of(path)


def own_network(path, first=lambda images: images, shape=(None, 8, 8, 3), dtype=tf.float32, text=False):
    """Writes a network with a placeholder for dropout and one for the phase of training; returns its Path."""
    random = np.random.RandomState(0)
    with tf.Graph().as_default() as graph:
        x = first(tf.placeholder(dtype, shape, name='x'))
        keep_prob, is_training = tf.placeholder(tf.float32, [], 'keep_prob'), tf.placeholder(tf.bool, [], 'is_training')
        kernel = tf.constant(random.normal(size=[3, 3, x.shape[-1].value, 4]).astype(np.float32))
        layer = tf.nn.relu(tf.nn.conv2d(x, kernel, 1, 'SAME'), name='conv1')
        layer = tf.cond(is_training, lambda: tf.nn.dropout(layer, rate=1 - keep_prob), lambda: layer)
        tf.nn.conv2d(layer, tf.constant(random.normal(size=[3, 3, 4, 5]).astype(np.float32)), 1, 'SAME', name='conv2')
    path.write_bytes(str(graph.as_graph_def()).encode() if text else graph.as_graph_def().SerializeToString())
    return path


@pytest.mark.parametrize('text', [False, True])
def test_further_placeholders_are_named_and_can_be_fed(tmp_path, capsys, monkeypatch, text):
    monkeypatch.setattr(errors, '_noted', set())
    graph_def = inception.load_graph_def(own_network(tmp_path / 'own.pb', text=text))  # 'x': the one that images fit
    assert list(inception.inception(tf.zeros([1, 8, 8, 3]), graph_def))[-1] == 'conv1'
    told = capsys.readouterr().err
    assert "layers that need the placeholders 'keep_prob', 'is_training' are left out" in told
    assert '--feed keep_prob=1 --feed is_training=false' in told
    end_points = inception.inception(tf.ones([1, 8, 8, 3]), graph_def, feed=['keep_prob=1', 'is_training=False'])
    assert list(end_points)[-1] == 'conv2'
    with tf.Session() as sess:
        assert np.isfinite(sess.run(end_points['conv2'])).all()


@pytest.mark.parametrize('feed, said', [
    ('other=1', 'no such placeholder; there are: x, keep_prob, is_training'), ('keep_prob', 'no such placeholder'),
    ('keep_prob=much', 'expected a value of float32: a number, true or false')])
def test_a_value_that_cannot_be_fed(tmp_path, feed, said):
    graph_def = inception.load_graph_def(own_network(tmp_path / 'own.pb'))
    with pytest.raises(InputError, match=said):
        inception.inception(tf.zeros([1, 8, 8, 3]), graph_def, feed=[feed])


def test_mean_and_scale(tmp_path):
    path = own_network(tmp_path / 'own.pb')
    image = np.random.RandomState(0).uniform(0, 255, [1, 8, 8, 3]).astype(np.float32)
    graph_def = inception.load_graph_def(path)
    bare, = tf.import_graph_def(graph_def, {'x': tf.constant((image - 127.5) / 127.5)}, ['conv1:0'])
    ours = inception.inception(tf.constant(image), graph_def, mean=127.5, scale=1 / 127.5)['conv1']
    with tf.Session() as sess:
        np.testing.assert_allclose(*sess.run([bare, ours]), rtol=1e-4, atol=1e-5)


def test_any_operation_takes_the_images(tmp_path):
    def read(placeholder):
        return tf.multiply(tf.image.resize_bilinear(placeholder, [4, 4]) - 128., 1 / 128, name='Mul')
    graph_def = inception.load_graph_def(own_network(tmp_path / 'own.pb', read), 'Mul')
    end_points = inception.inception(tf.zeros([1, 8, 8, 3]), graph_def, 'Mul:0', mean=128., scale=1 / 128)
    assert end_points['conv1'].shape.as_list() == [1, 8, 8, 4]  # not resized


@pytest.mark.parametrize('shape', [(None, 8, 8, 1), (None, 8, 8)])
def test_a_network_of_gray_images_gets_the_luminance(tmp_path, shape):
    path = own_network(tmp_path / 'own.pb', lambda x: x[..., tf.newaxis] if len(shape) == 3 else x, shape)
    graph_def = inception.load_graph_def(path)
    image = np.zeros([1, 8, 8, 3], np.float32)
    image[..., 1] = 100
    gray = tf.constant(np.full([1, 8, 8] + list(shape[3:]), 58.7, np.float32))
    bare, = tf.import_graph_def(graph_def, {'x': gray}, ['conv1:0'])
    ours = inception.inception(tf.constant(image), graph_def, mean=0.)['conv1']
    with tf.Session() as sess:
        np.testing.assert_allclose(*sess.run([bare, ours]), rtol=1e-4, atol=1e-3)


def test_inputs_of_another_kind_are_named(tmp_path):
    def first(x):
        return tf.transpose(x, [0, 2, 3, 1])
    said = error_of(own_network(tmp_path / 'first.pb', first, (None, 3, 8, 8)))
    assert "its channels come first ('x' is [batch, channels, height, width]); expected channels last" in said
    said = error_of(own_network(tmp_path / 'bytes.pb', lambda x: tf.cast(x, tf.float32), dtype=tf.uint8),
                    input_name='x')
    assert "its input 'x' is of uint8, expected float32" in said


def export(folder, finish=lambda y: y):
    """Writes a SavedModel of graph mode, with variables of both kinds; returns what conv2 makes of ones."""
    with tf.Graph().as_default(), tf.Session() as sess:
        x, labels = tf.placeholder(tf.float32, [None, 8, 8, 3], 'images'), tf.placeholder(tf.int64, [None])
        layer = x
        for number, resource in enumerate((False, True), 1):
            kernel = tf.get_variable(f'kernel{number}', [3, 3, layer.shape[-1].value, 4], use_resource=resource,
                                     initializer=tf.random_normal_initializer(seed=number))
            layer = tf.nn.relu(tf.nn.conv2d(layer, kernel, 1, 'SAME'), name=f'conv{number}')
            # As the recipes' dropout has it: a mask from the seed, and a probability of 1 unless it is fed.
            mask = tf.random.stateless_uniform(tf.shape(layer), seed=[0, number])
            layer = layer * tf.cast(mask < tf.placeholder_with_default(1.0, []), tf.float32)
        loss = tf.reduce_mean(layer) * tf.cast(labels[0], tf.float32)
        tf.train.AdamOptimizer().minimize(loss)
        names = finish(tf.gather(tf.constant(['cat', 'dog']), tf.argmax(tf.reduce_mean(layer, [1, 2])[:, :2], 1)))
        sess.run(tf.global_variables_initializer())
        tf.saved_model.simple_save(sess, str(folder), {'images': x}, {'features': layer, 'labels': names})
        return sess.run(layer, {x: np.ones([1, 8, 8, 3])})


@pytest.mark.parametrize('given', ['', 'saved_model.pb'])
def test_a_saved_model_is_frozen_on_the_way(tmp_path, given):
    expected = export(tmp_path / 'model')
    path, source, sha256 = inception.obtain_graph(tmp_path, tmp_path / 'model' / given)
    end_points = inception.inception(tf.ones([1, 8, 8, 3]), inception.load_graph_def(path), mean=0.)
    assert {'conv1', 'conv2'} <= set(end_points) and tf.global_variables() == []
    with tf.Session() as sess:
        np.testing.assert_allclose(sess.run(end_points['conv2']), expected, rtol=1e-4, atol=1e-4)
        larger = tf.placeholder(tf.float32, [1, None, None, 3])
        layer = inception.inception(larger, inception.load_graph_def(path), mean=0.)['conv2']
        gradient, = tf.gradients(tf.square(layer), larger)  # at another size than the one it was saved with
        assert sess.run(gradient, {larger: np.ones([1, 12, 10, 3])}).any()
    data = next((tmp_path / 'model' / 'variables').glob('variables.data-*'))
    data.write_bytes(data.read_bytes()[:-4] + b'else')
    assert inception.obtain_graph(tmp_path, path)[2] != sha256  # a run is not resumed with other weights


def test_a_saved_model_that_reads_files_is_refused(tmp_path):
    (tmp_path / 'secret').write_text('secret')
    export(tmp_path / 'model', lambda names: names + tf.io.read_file(str(tmp_path / 'secret')))
    assert " is a 'ReadFile', which is not admitted" in error_of(tmp_path / 'model')


def test_a_saved_model_that_is_not_whole(tmp_path):
    export(tmp_path / 'model')
    whole = (tmp_path / 'model' / 'saved_model.pb').read_bytes()
    for share in (0.1, 0.6, 0.98):
        (tmp_path / 'model' / 'saved_model.pb').write_bytes(whole[:int(len(whole) * share)])
        assert 'not a SavedModel, or cut off' in error_of(tmp_path / 'model')
    (tmp_path / 'model' / 'saved_model.pb').write_bytes(whole)
    for file in (tmp_path / 'model' / 'variables').iterdir():
        file.unlink()
    assert 'the variables of this SavedModel cannot be read' in error_of(tmp_path / 'model')
