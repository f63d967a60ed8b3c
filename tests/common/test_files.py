import os
import signal
import stat
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from common import files
from common.errors import InputError

RECIPES = Path(files.__file__).resolve().parent.parent


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_replacing_makes_a_file(tmp_path):
    with files.replacing(tmp_path / 'picture.png') as beside:
        beside.write_bytes(b'new')
        assert names(tmp_path) == [beside.name]  # nothing yet under the final name
    assert names(tmp_path) == ['picture.png']
    assert (tmp_path / 'picture.png').read_bytes() == b'new'


def test_replacing_takes_a_str(tmp_path):
    with files.replacing(str(tmp_path / 'log.txt')) as beside:
        beside.write_text('line')
    assert (tmp_path / 'log.txt').read_text() == 'line'


@pytest.mark.parametrize('name, suffix', [('film.mp4', '.mp4'), ('weights.tar.gz', '.gz'), ('noextension', '.part')])
def test_the_temporary_name_keeps_the_extension(tmp_path, name, suffix):
    with files.replacing(tmp_path / name) as beside:
        assert beside.parent == tmp_path
        assert beside.suffix == suffix


@pytest.mark.parametrize('name', ['x' * 200 + '.png', '\N{SNOWMAN}' * 80 + '.png'])  # up to 255 bytes
def test_a_long_name_is_no_obstacle(tmp_path, name):
    with files.replacing(tmp_path / name) as beside:
        beside.write_bytes(b'new')
    assert names(tmp_path) == [name]


@pytest.mark.parametrize('error', [ValueError, KeyboardInterrupt, OSError])
def test_an_exception_leaves_the_old_file(tmp_path, error):
    path = tmp_path / 'run.json'
    path.write_text('old')
    with pytest.raises(error):
        with files.replacing(path) as beside:
            beside.write_text('half of the n')
            raise error()
    assert names(tmp_path) == ['run.json']
    assert path.read_text() == 'old'


def test_an_exception_leaves_no_new_file(tmp_path):
    with pytest.raises(ValueError):
        with files.replacing(tmp_path / 'run.json') as beside:
            beside.write_text('half of the n')
            raise ValueError()
    assert names(tmp_path) == []


@pytest.mark.parametrize('folder', ['missing', 'file'])
def test_an_error_names_the_file_that_was_to_be_made(tmp_path, folder):
    (tmp_path / 'file').write_text('')
    with pytest.raises(OSError) as caught:
        with files.replacing(tmp_path / folder / 'run.json'):
            pass
    assert caught.value.filename == str(tmp_path / folder / 'run.json')


def test_sigkill_in_the_middle_leaves_the_old_file(tmp_path):
    path = tmp_path / 'run.json'
    path.write_text('old')
    program = '''
import sys
from common import files
with files.replacing(sys.argv[1]) as beside:
    beside.write_text('half of the n')
    print('writing', flush=True)
    sys.stdin.read()
'''
    with subprocess.Popen([sys.executable, '-c', program, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                          env=dict(os.environ, PYTHONPATH=str(RECIPES)), universal_newlines=True) as writer:
        assert writer.stdout.readline() == 'writing\n'
        writer.send_signal(signal.SIGKILL)
    assert path.read_text() == 'old'


def test_a_full_disk_leaves_the_old_file(tmp_path):
    path = tmp_path / 'run.json'
    path.write_text('old')
    program = '''
import resource, signal, sys
from common import files
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
with files.replacing(sys.argv[1]) as beside:
    beside.write_bytes(bytes(2000))
'''
    done = subprocess.run([sys.executable, '-c', program, str(path)], stderr=subprocess.PIPE,
                          env=dict(os.environ, PYTHONPATH=str(RECIPES)), text=True)
    assert done.stderr.endswith(f"OSError: [Errno 27] File too large: '{path}'\n")
    assert names(tmp_path) == ['run.json']
    assert path.read_text() == 'old'


def test_content_is_on_the_disk_before_it_gets_its_name(tmp_path, monkeypatch):
    events = []
    monkeypatch.setattr(files, 'flush_to_disk', lambda path: events.append(('flush', Path(path).suffix)))
    rename = os.replace
    monkeypatch.setattr(os, 'replace', lambda old, new: events.append(('rename', Path(new).suffix)) or rename(old, new))
    with files.replacing(tmp_path / 'state.npz') as beside:
        beside.write_bytes(b'new')
    assert events == [('flush', '.npz'), ('rename', '.npz'), ('flush', '')]  # the file, its name, the folder


@pytest.mark.parametrize('mask, mode', [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_permissions_follow_the_umask(tmp_path, mask, mode):
    before = os.umask(mask)
    try:
        with files.replacing(tmp_path / 'picture.png') as beside:
            beside.write_bytes(b'new')
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / 'picture.png').stat().st_mode) == mode


def test_many_writers_leave_one_whole_file(tmp_path):
    path = tmp_path / 'latest.txt'
    contents = [str(number) * 100000 for number in range(8)]

    def write(content):
        for _ in range(5):
            with files.replacing(path) as beside:
                beside.write_text(content)

    writers = [threading.Thread(target=write, args=(content,)) for content in contents]
    mask = os.umask(0o022)
    os.umask(mask)
    for writer in writers:
        writer.start()
    while any(writer.is_alive() for writer in writers):
        assert not path.exists() or path.read_text() in contents  # whole at every moment
    for writer in writers:
        writer.join()
    assert path.read_text() in contents
    assert names(tmp_path) == ['latest.txt']
    assert os.umask(mask) == mask  # the threads share it


def test_make_dir_makes_the_folders_above(tmp_path):
    made = files.make_dir(str(tmp_path / 'output' / 'mnist'), '--output-dir')
    assert made == tmp_path / 'output' / 'mnist'
    assert names(made) == []
    assert files.make_dir(made, '--output-dir') == made  # one that is there is good too


@pytest.mark.parametrize('name, reason', [('file/below', 'Not a directory'), ('file', 'File exists')])
def test_make_dir_at_or_below_a_regular_file(tmp_path, name, reason):
    (tmp_path / 'file').write_text('')
    with pytest.raises(InputError) as caught:
        files.make_dir(tmp_path / name, '--output-dir')
    assert str(caught.value) == (f'--output-dir {tmp_path / name}: cannot write there ({reason}); '
                                 'choose a writable folder')


def test_make_dir_where_nobody_writes():
    with pytest.raises(InputError, match='--models-dir /proc/1/models: cannot write there'):
        files.make_dir('/proc/1/models', '--models-dir')


def test_make_dir_on_a_full_disk_is_no_mistake_of_the_user(tmp_path, monkeypatch):
    def full(**_):
        raise OSError(28, 'No space left on device')
    monkeypatch.setattr(files.tempfile, 'TemporaryFile', full)
    with pytest.raises(OSError) as caught:
        files.make_dir(tmp_path, '--output-dir')
    assert not isinstance(caught.value, InputError)


def test_flush_to_disk_of_what_is_not_there(tmp_path):
    with pytest.raises(FileNotFoundError):
        files.flush_to_disk(tmp_path / 'missing')


def test_a_result_does_not_take_the_place_of_what_goes_in(tmp_path):
    read, link = tmp_path / 'read.png', tmp_path / 'link.png'
    read.write_bytes(b'x')
    link.symlink_to(read)
    for output in (read, link, tmp_path / '..' / tmp_path.name / 'read.png'):
        with pytest.raises(InputError, match='--output .* is also an input file; choose another name'):
            files.check_no_input(output, [None, 'noise', read])
    (tmp_path / 'other.png').write_bytes(b'x')
    for output in (None, tmp_path / 'new.png', tmp_path / 'other.png', tmp_path):
        files.check_no_input(output, [None, 'noise', read, tmp_path])


def test_one_process_at_a_time(tmp_path, capsys):
    order = []

    def enter(name):
        with files.one_at_a_time(tmp_path / '.lock', 'counts'):
            order.append(name)

    with ThreadPoolExecutor(1) as pool:
        with files.one_at_a_time(tmp_path / '.lock', 'counts'):
            second = pool.submit(enter, 'second')
            time.sleep(0.3)
            order.append('first')
        second.result(timeout=10)
    assert order == ['first', 'second'] and 'waiting for another process that counts' in capsys.readouterr().err


def test_a_file_system_without_locks(tmp_path, monkeypatch):
    def acquire(self, timeout=None):
        raise NotImplementedError
    monkeypatch.setattr(files.filelock.FileLock, 'acquire', acquire)
    entered = []
    with files.one_at_a_time(tmp_path / '.lock', 'counts'):
        entered.append('first')
        with files.one_at_a_time(tmp_path / '.lock', 'counts'):  # nobody waits: two do the work, each whole
            entered.append('second')
    assert entered == ['first', 'second']


def test_a_lock_that_is_a_link_is_refused(tmp_path):
    (tmp_path / 'mine').write_text('mine')
    (tmp_path / '.lock').symlink_to(tmp_path / 'mine')
    with pytest.raises(InputError, match='a link to'):
        with files.one_at_a_time(tmp_path / '.lock', 'counts'):
            pass
    assert (tmp_path / 'mine').read_text() == 'mine'


def test_a_name_is_cut_at_a_character():
    assert files.shorten('a' * 120) == 'a' * 120 and files.shorten('a' * 251, 100) == 'a' * 100
    assert files.shorten('ä' * 100, 101) == 'ä' * 50
    assert files.shorten('\udcff' * 3) == '\udcff' * 3


def test_a_folder_whose_name_is_no_text_is_refused(tmp_path):
    files.check_is_text(tmp_path / 'ausgäbe', '--output-dir')
    with pytest.raises(InputError, match='--output-dir .*not UTF-8'):
        files.check_is_text(tmp_path / '\udcff' / 'runs', '--output-dir')
    with pytest.raises(InputError, match='not UTF-8.*set the variable PYTHONUTF8=1'):  # an umlaut, taken for ASCII
        files.check_is_text('/\udcc3\udca4', '--output-dir')
