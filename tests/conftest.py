"""What every test gets: a graph of its own, no network but the loopback, nothing of the user's home."""
import os
import random
import shutil
import socket
import sys
import tempfile
import textwrap
from pathlib import Path

import numpy as np
import pytest

import tiny_networks
import tiny_recipes


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


def pytest_collection_modifyitems(items):
    """Marks as slow what needs the fixture that trains a network until it knows something."""
    for item in items:
        if 'trained' in getattr(item, 'fixturenames', ()):
            item.add_marker('slow')


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
    """Gives each test a default graph of its own. Tests that do without TensorFlow do not pay for its import.

    What a test leaves to chance (an initializer without a seed, of Keras too) is the same in every run.
    """
    random.seed(0)
    np.random.seed(0)
    if 'tensorflow' not in sys.modules:
        yield
        return
    tf = sys.modules['tensorflow'].compat.v1
    with tf.Graph().as_default():
        tf.set_random_seed(0)
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


@pytest.fixture(scope='session')
def forks():
    """The process whose forks run tiny recipes and other programs, TensorFlow imported."""
    made = tiny_recipes.Server()
    yield made
    made.close()


@pytest.fixture
def tiny_vgg_weights():
    """Random weights for VGG-19, two channels wide; see tiny_networks."""
    return tiny_networks.vgg19_weights()


@pytest.fixture
def narrow_vgg16(monkeypatch):
    """The module tests/narrow_vgg16.py, with its network in VGG-16's place."""
    import narrow_vgg16
    narrow_vgg16.patch(monkeypatch.setattr)
    return narrow_vgg16


@pytest.fixture
def after_step(monkeypatch, request):
    """Has a function of (TrainingRun, steps done) called after each step of the module's recipe."""
    def install(function):
        class Run(request.module.recipe.TrainingRun):
            def record(self, *figures):
                super().record(*figures)
                function(self, self.state['step'])
        monkeypatch.setattr(request.module.recipe, 'TrainingRun', Run)
    return install


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
def tiny_inception_path(tmp_path):
    """Path of a frozen graph with a few layers and its labels beside it; see tiny_networks."""
    return tiny_networks.write_inception(tmp_path / 'models')
