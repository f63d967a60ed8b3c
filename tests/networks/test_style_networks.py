"""networks/style_networks.py: the readers, and what the networks paint, beside ONNX Runtime's own values."""
from pathlib import Path

import numpy as np
import onnx
import pytest

import tiny_networks
from common.errors import InputError
from common.session import tf
from networks import onnx_files, style_networks


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    """A folder with the three files, random weights."""
    folder = tmp_path_factory.mktemp('models')
    tiny_networks.write_style_networks(folder)
    return folder


def picture(height, width):
    """float32 [height, width, 3] of waves: the one that ONNX Runtime painted, too."""
    rows, columns = np.mgrid[:height, :width].astype(np.float32)
    waves = [np.sin(rows / (9 + 5 * c) + np.cos(columns / (13 - 2 * c)) * 2)
             + 0.5 * np.sin(rows * columns / (900 + 300 * c)) for c in range(3)]
    return np.stack([127.5 + 80 * wave for wave in waves], -1).astype(np.float32)


def painted(network, image, style):
    images = tf.placeholder(tf.float32, [None, None, None, 3])
    end_points = style_networks.paint(images, network, tf.constant(style))
    with tf.Session() as sess:
        return sess.run(end_points['painted'], {images: image[np.newaxis]})[0]


@pytest.mark.real_data
@pytest.mark.slow
def test_the_26_styles_are_those_of_onnx_runtime(real_models_dir):
    # every sixteenth pixel, as onnxruntime 1.32 had it with two threads; see docs/benchmarks.md
    if not (real_models_dir / style_networks.MULTISTYLE.name).exists():
        pytest.skip(f'no {style_networks.MULTISTYLE.name} in {real_models_dir}')
    network = style_networks.load_multistyle(real_models_dir / style_networks.MULTISTYLE.name)
    stored = np.load(str(Path(__file__).with_name('style_values.npz')), allow_pickle=False)
    assert len(stored.files) == 9
    for name in stored.files:
        size, number = name.split()
        found = painted(network, picture(*map(int, size.split('x'))), network.styles[int(number)]) / 255
        assert np.abs(found[::16, ::16] - stored[name]).max() < 1e-4, name


def plainly(network, image, style):
    """The definition: reflected padding, doubled rows and columns, (x - mean) / sqrt(variance + 1e-5) γ + β."""
    places, start = {}, 0
    for name, channels in network.normalized.items():
        places[name] = style[start:start + channels], style[start + channels:start + 2 * channels]
        start += 2 * channels

    def layer(values, name, stride=1, relu=True, double=False):
        kernel, bias = network.convolutions[name]
        margin = len(kernel) // 2
        if double:
            values = values.repeat(2, axis=0).repeat(2, axis=1)
        values = np.pad(values, [(margin, margin), (margin, margin), (0, 0)], mode='reflect')
        rows, columns = (range(0, side - 2 * margin, stride) for side in values.shape[:2])
        values = np.array([[np.tensordot(values[y:y + len(kernel), x:x + len(kernel)], kernel, 3) for x in columns]
                           for y in rows])
        values = values if bias is None else values + bias
        if name in places:
            scale, shift = places[name]
            mean, variance = values.mean(axis=(0, 1)), values.var(axis=(0, 1))
            values = (values - mean) / np.sqrt(variance + 1e-5) * scale + shift
        return np.maximum(values, 0) if relu else values

    values = layer(layer(layer(image / 255.0, 'contract.0'), 'contract.1', 2), 'contract.2', 2)
    for block in range(style_networks.LAYOUTS[network.kind]['num_residuals']):
        values = values + layer(layer(values, f'res.{block}.0'), f'res.{block}.1', relu=False)
    values = layer(layer(values, 'expand.0', double=True), 'expand.1', double=True)
    values = layer(values, 'expand.2', relu=False)[:image.shape[0], :image.shape[1]]
    return 255 / (1 + np.exp(-values))


@pytest.mark.parametrize('kind', ['multistyle', 'any painting'])
@pytest.mark.parametrize('size', [(20, 24), (21, 19)])
def test_painted_by_the_definition(folder, kind, size):
    network, _ = style_networks.obtain(kind, folder, quiet=True)
    style = network.styles[3] if kind == 'multistyle' else style_networks.style_vector(network, np.ones(100))
    image = picture(*size)
    np.testing.assert_allclose(painted(network, image, style), plainly(network, image, style), atol=0.02)


def test_weights_of_8_bits(folder):
    network, predictor = style_networks.obtain('any painting', folder, quiet=True)
    assert network.length == 694 and network.maps[0].shape == (100, 694) and len(predictor) == 53
    kernel, bias = network.convolutions['contract.0']
    assert kernel.shape == (9, 9, 3, 8) and bias.shape == (8,)
    steps = kernel / (np.abs(kernel).max(axis=(0, 1, 2)) / 127)
    np.testing.assert_allclose(steps, np.rint(steps), atol=1e-3)  # multiples of a channel's scale


def test_the_predictor_tells_paintings_apart(folder):
    _, predictor = style_networks.obtain('any painting', folder, quiet=True)
    images = tf.placeholder(tf.float32, [None, None, None, 3])
    description = style_networks.predict(images, predictor)
    with tf.Session() as sess:
        one, other = (sess.run(description, {images: image[np.newaxis]}) for image in (picture(64, 80),
                                                                                     255 - picture(64, 80)))
    assert one.shape == (1, 100) and np.abs(one - other).max() > 1e-3


def change_tensor(source, path, change):
    model = onnx.load(str(source))
    change(model.graph)
    path.write_bytes(model.SerializeToString())
    return path


def external(graph):
    graph.initializer[0].data_location = onnx.TensorProto.EXTERNAL
    graph.initializer[0].external_data.add(key='location', value='/etc/passwd')


def without_a_layer(graph):
    names = [node.input[1] for node in graph.node]
    del graph.node[names.index('res.3.0.w')]


def not_finite(graph):
    number = [tensor.name for tensor in graph.initializer].index('res.3.0.w')
    array = onnx.numpy_helper.to_array(graph.initializer[number]).copy()
    array[0, 0] = np.nan
    graph.initializer[number].CopyFrom(onnx.numpy_helper.from_array(array, 'res.3.0.w'))


@pytest.mark.parametrize('change, said', [
    (external, 'data in other files, which are not read'),
    (without_a_layer, 'the convolution res.3.0 is missing or of another size'),
    (not_finite, 'not all of its weights are finite')])
def test_another_network(folder, tmp_path, change, said):
    path = change_tensor(folder / 'multistyle26.onnx', tmp_path / 'other.onnx', change)
    with pytest.raises(InputError, match=f'other.onnx: .*{said}'):
        style_networks.load_multistyle(path)


@pytest.mark.parametrize('content', [b'\x08\x07 damaged', b'no ONNX', b'\0' * 100, b'\x08' + b'\xff' * 2 ** 20])
def test_a_damaged_file(folder, tmp_path, content):
    for load in style_networks.load_multistyle, style_networks.load_any_painting, style_networks.load_predictor:
        (tmp_path / 'bad.onnx').write_bytes(content)
        with pytest.raises(InputError, match='bad.onnx: not .*onnx: '):
            load(tmp_path / 'bad.onnx')


def as_varint(number):
    return bytes([number & 0x7f | 0x80]) + as_varint(number >> 7) if number > 0x7f else bytes([number])


def test_a_file_of_empty_messages_is_not_unfolded_into_memory(tmp_path):
    for number, told in ((1, 'damaged'), (10 ** 5, 'more than 100,000 fields, which no such network has')):
        graph = b'\x2a\0' * number  # initializers
        model = onnx.ModelProto(ir_version=7).SerializeToString() + b'\x3a' + as_varint(len(graph)) + graph
        (tmp_path / 'many.onnx').write_bytes(model)
        with pytest.raises(InputError, match=f'many.onnx: .*{told}'):
            style_networks.load_multistyle(tmp_path / 'many.onnx')


def test_each_reader_refuses_the_others_files(folder):
    for load, name in ((style_networks.load_multistyle, 'arbitrary_transform'),
                       (style_networks.load_any_painting, 'arbitrary_predict'),
                       (style_networks.load_predictor, 'multistyle26')):
        with pytest.raises(InputError, match=f'{name}.onnx: not '):
            load(folder / f'{name}.onnx')


def test_a_file_that_is_too_large(tmp_path, monkeypatch, folder):
    monkeypatch.setattr(onnx_files, 'MAX_BYTES', 1000)
    with pytest.raises(InputError, match='more than 1,000 bytes'):
        style_networks.load_multistyle(folder / 'multistyle26.onnx')


def test_a_learned_style(folder, tmp_path):
    network, _ = style_networks.obtain('multistyle', folder, quiet=True)
    style_networks.save_style(tmp_path / 'a.style.npz', network.styles[5], painting='a.jpg')
    assert (style_networks.load_style(tmp_path / 'a.style.npz', network) == network.styles[5]).all()
    assert (tmp_path / 'a.style.npz').stat().st_size < 6000


@pytest.mark.parametrize('arrays', [dict(style=np.zeros(9, 'f')), dict(image=np.zeros(990, 'f')),
                                    dict(style=np.full(990, np.nan, 'f')), dict(style=np.zeros(990)),
                                    dict(style=np.zeros(990, 'f'), more=np.zeros(10 ** 6))])
def test_a_style_file_of_another_kind(folder, tmp_path, arrays):
    network, _ = style_networks.obtain('multistyle', folder, quiet=True)
    np.savez(str(tmp_path / 'a.npz'), **arrays)
    with pytest.raises(InputError, match='a.npz: not a style that this recipe learned'):
        style_networks.load_style(tmp_path / 'a.npz', network)
    (tmp_path / 'a.npz').write_bytes(b'PK\x03\x04 cut off')
    with pytest.raises(InputError, match='a.npz: not a style'):
        style_networks.load_style(tmp_path / 'a.npz', network)
