"""What every test gets: a graph of its own, no network but the loopback, nothing of the user's home."""
import importlib.util
import os
import shutil
import socket
import sys
import tempfile
import textwrap
from pathlib import Path

import numpy as np
import pytest

CONVOLUTIONS_OF_VGG19 = (2, 2, 4, 4, 4)


def pytest_configure(config):
    """Sets the environment before anything is imported that reads it; programs that tests start inherit it."""
    home = tempfile.mkdtemp(prefix='recipes-tests-home-')
    config.add_cleanup(lambda: shutil.rmtree(home, ignore_errors=True))
    os.environ.setdefault('PYENV_ROOT', os.path.expanduser('~/.pyenv'))  # its shims look for it in HOME
    os.environ.update(HOME=home, KERAS_HOME=home + '/keras', MPLCONFIGDIR=home + '/matplotlib')
    for name in ('XDG_CACHE_HOME', 'XDG_CONFIG_HOME', 'XDG_DATA_HOME'):
        os.environ.pop(name, None)
    for name in ('http_proxy', 'https_proxy', 'HTTP_PROXY', 'HTTPS_PROXY'):
        os.environ[name] = 'http://127.0.0.1:9'  # nobody listens there: programs of other makers fail at once
    os.environ.update(NO_PROXY='127.0.0.1,localhost', no_proxy='127.0.0.1,localhost', npm_config_fetch_retries='0',
                      PIP_RETRIES='0')


def pytest_make_parametrize_id(val, argname):
    """Gives every parametrized value a short id, the same in every run: what it holds, of bytes how many."""
    if isinstance(val, (bytes, str, list, tuple, dict, BaseException)):
        return textwrap.shorten(readable(val), 60, placeholder='...').replace('\0', '') or 'none'
    return getattr(val, '__name__', '').replace('<lambda>', argname) or None


def readable(value):
    """Returns `value` as a person would write it."""
    if isinstance(value, bytes):
        return f'{len(value)} bytes'
    if isinstance(value, dict):
        return ' '.join(f'{readable(key)}={readable(part)}' for key, part in value.items())
    if isinstance(value, (list, tuple)):
        return ' '.join(map(readable, value))
    if isinstance(value, np.ndarray):
        return 'x'.join(map(str, value.shape))
    if isinstance(value, BaseException):
        return f'{type(value).__name__} {value}'
    text = getattr(value, '__name__', str(value))
    return type(value).__name__ if ' at 0x' in text else text


@pytest.fixture(autouse=True)
def fresh_graph():
    """Gives each test a default graph of its own. Tests that do without TensorFlow do not pay for its import."""
    if 'tensorflow' not in sys.modules:
        yield
        return
    with sys.modules['tensorflow'].compat.v1.Graph().as_default():
        yield


@pytest.fixture(autouse=True)
def loopback_only(monkeypatch):
    """Lets sockets reach this machine alone."""
    connect, look_up = socket.socket.connect, socket.getaddrinfo

    def is_local(host):
        return host in (None, '', b'', 'localhost', b'localhost', '::1') or str(host).startswith('127.')

    def guarded_connect(self, address):
        if isinstance(address, tuple) and not is_local(address[0]):
            raise OSError(f'tests do not reach the network: {address}')
        return connect(self, address)

    def guarded_look_up(host, *args, **kwargs):
        if not is_local(host):
            raise socket.gaierror(f'tests do not reach the network: {host}')
        return look_up(host, *args, **kwargs)

    monkeypatch.setattr(socket.socket, 'connect', guarded_connect)
    monkeypatch.setattr(socket, 'getaddrinfo', guarded_look_up)


@pytest.fixture
def tiny_vgg_weights():
    """Random weights for VGG-19, two channels wide, with which a whole network runs in milliseconds.

    He's scale and this seed keep both channels of every layer alive, and conv5_4 still tells pictures apart.

    Returns:
      dict {'conv1_1': (kernel float32 [3, 3, in, out], bias float32 [out]), ..., 'conv5_4': ...} for RGB in [0, 255].
    """
    random = np.random.RandomState(371)
    weights = {}
    num_inputs = 3
    for block, num_convolutions in enumerate(CONVOLUTIONS_OF_VGG19, 1):
        for number in range(1, num_convolutions + 1):
            kernel = random.normal(0, np.sqrt(2 / (9 * num_inputs)), [3, 3, num_inputs, 2])
            bias = random.uniform(1, 10, 2)
            weights[f'conv{block}_{number}'] = kernel.astype(np.float32), bias.astype(np.float32)
            num_inputs = 2
    return weights


@pytest.fixture
def narrow_vgg16(monkeypatch):
    """The module tests/narrow_vgg16.py, with its network in VGG-16's place."""
    path = Path(__file__).with_name('narrow_vgg16.py')
    spec = importlib.util.spec_from_file_location('narrow_vgg16', str(path))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.patch(monkeypatch.setattr)
    return module


@pytest.fixture
def real_data_dir():
    """Path of the folder with real data sets; skips the test where there is none."""
    return _folder_named_by('RECIPES_DATA_DIR')


@pytest.fixture
def real_models_dir():
    """Path of the folder with real networks' files; skips the test where there is none."""
    return _folder_named_by('RECIPES_MODELS_DIR')


@pytest.fixture
def real_vgg(real_models_dir, monkeypatch):
    """(network, weights) of the real VGG in that folder; skips the test where it holds none, and downloads nothing."""
    from common.errors import UnavailableError
    from networks import vgg
    monkeypatch.setenv('RECIPES_OFFLINE', '1')
    try:
        network, weights, _, _ = vgg.obtain_weights(real_models_dir, quiet=True)
    except UnavailableError:
        pytest.skip(f'no VGG weights in {real_models_dir}')
    return network, weights


def _folder_named_by(variable):
    folder = os.environ.get(variable)
    if not folder:
        pytest.skip(f'needs real files: set {variable} to their folder')
    if not Path(folder).is_dir():
        pytest.fail(f'{variable}={folder} is no folder')
    return Path(folder)


@pytest.fixture
def tiny_inception_path(tmp_path, tiny_inception):
    """Path of a frozen graph with a few layers, see tiny_inception, and its labels beside it."""
    return tiny_inception(tmp_path / 'models')


@pytest.fixture(scope='session')
def tiny_inception():
    """Returns a function that writes a frozen graph and its labels into a new folder, and returns the graph's Path.

    It has a few layers, named as inception5h names them: conv2d0 (stride 2), maxpool0 (stride 4 in all), mixed4c of two
    branches with 4 + 2 channels, and softmax2 over 5 classes, for 6 labels: the first is for nothing.
    """
    from common.session import tf
    random = np.random.RandomState(5)

    def convolve(layer, name, size, num_maps, stride=1):
        shape = [size, size, layer.shape[-1].value, num_maps]
        kernel = random.normal(0, np.sqrt(2 / np.prod(shape[:3])), shape).astype(np.float32)
        kernel = tf.constant(kernel, name=name + '_w')
        layer = tf.nn.conv2d(layer, kernel, stride, 'SAME', name=name + '_pre_relu/conv')
        layer = tf.nn.bias_add(layer, tf.constant(np.float32(random.uniform(1, 5, num_maps))), name=name + '_pre_relu')
        return tf.nn.relu(layer, name=name)

    with tf.Graph().as_default() as graph:
        layer = convolve(tf.placeholder(tf.float32, [None, None, None, 3], name='input'), 'conv2d0', 5, 4, stride=2)
        layer = tf.nn.max_pool2d(layer, 3, 2, 'SAME', name='maxpool0')
        branches = [convolve(layer, 'mixed4c_1x1', 1, 4), convolve(layer, 'mixed4c_3x3', 3, 2)]
        layer = tf.concat(branches, axis=-1, name='mixed4c')
        pooled = tf.reduce_mean(layer, [1, 2], name='avgpool0')
        kernel = tf.constant(random.normal(size=[6, 5]).astype(np.float32))
        logits = tf.matmul(pooled, kernel, name='softmax2_pre_activation/matmul')
        tf.nn.softmax(tf.nn.bias_add(logits, tf.zeros([5]), name='softmax2_pre_activation'), name='softmax2')
        content = graph.as_graph_def().SerializeToString()

    def write(folder):
        folder.mkdir()
        (folder / 'labels.txt').write_text('background\ntench, Tinca tinca\ntabby, tabby cat\nhen\nkite\nnewt\n')
        (folder / 'tensorflow_inception_graph.pb').write_bytes(content)
        return folder / 'tensorflow_inception_graph.pb'
    return write
