"""common/locks.py: one at a time, and no harm where there are no locks."""
import time
from concurrent.futures import ThreadPoolExecutor

from common import locks


def test_one_process_at_a_time(tmp_path, capsys):
    order = []

    def enter(name):
        with locks.one_at_a_time(tmp_path / '.lock', 'counts'):
            order.append(name)

    with ThreadPoolExecutor(1) as pool:
        with locks.one_at_a_time(tmp_path / '.lock', 'counts'):
            second = pool.submit(enter, 'second')
            time.sleep(0.3)
            order.append('first')
        second.result(timeout=10)
    assert order == ['first', 'second'] and 'waiting for another process that counts' in capsys.readouterr().err


def test_a_file_system_without_locks(tmp_path, monkeypatch):
    def acquire(self, timeout=None):
        raise NotImplementedError
    monkeypatch.setattr(locks.filelock.FileLock, 'acquire', acquire)
    with locks.one_at_a_time(tmp_path / '.lock', 'counts'):
        pass
