"""Processes that a launcher starts, as forks of one that has imported TensorFlow, which takes longer than their work.

    launched.py SOCKET PROGRAM ...

is what the launcher starts in place of `python PROGRAM ...`: it has `host` fork the process that runs the program, with
the environment and the streams that the launcher has given, and passes on what the launcher and the fork do to it.
"""
import array
import atexit
import contextlib
import json
import os
import runpy
import signal
import socket
import sys
import threading
import time
import traceback

_LENGTH = 4  # bytes that say how long a request is
_SECONDS = 60  # that a launcher may take to start its processes


def ask(path, *words):
    """Has the host at `path` fork a process that runs a program; ends as that does, which ends with this one."""
    with socket.socket(socket.AF_UNIX) as host:
        while host.connect_ex(path):
            time.sleep(0.01)
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda number, frame: host.send(bytes([number])))
        request = json.dumps([dict(os.environ), words]).encode()
        host.sendmsg([len(request).to_bytes(_LENGTH, 'big')],
                     [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array('i', [0, 1, 2]))])
        host.sendall(request)
        status = int(host.recv(100))
    if os.WIFSIGNALED(status):
        with contextlib.suppress(OSError):  # SIGKILL has no handler
            signal.signal(os.WTERMSIG(status), signal.SIG_DFL)
        os.kill(os.getpid(), os.WTERMSIG(status))
    os._exit(os.WEXITSTATUS(status))


def host(path, count):
    """Forks this process for each of `count` that ask; returns when all have ended."""
    clients = {}
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen(count)
        listener.settimeout(_SECONDS)
        while len(clients) < count:
            client, _ = listener.accept()
            client.setblocking(True)
            streams = array.array('i')
            length, ((_, _, numbers),), *_ = client.recvmsg(_LENGTH, socket.CMSG_SPACE(3 * streams.itemsize))
            streams.frombytes(numbers)
            environ, words = json.loads(client.recv(int.from_bytes(length, 'big'), socket.MSG_WAITALL).decode())
            child = os.fork()
            if not child:
                _become(client, streams, environ, words)
            for stream in streams:
                os.close(stream)  # or the launcher would wait for more
            clients[child] = client
    for _ in range(count):
        child, status = os.wait()
        with contextlib.suppress(OSError):  # the launcher has killed who asked
            clients[child].sendall(str(status).encode())


def _become(client, streams, environ, words):
    """Is, from a fork on, the process that runs a program, and ends as one of Python does."""
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    sys.stdin, sys.stdout, sys.stderr = open(0), open(1, 'w'), open(2, 'w', 1, errors='backslashreplace')
    os.environ.update(environ)
    threading.Thread(target=_obey, args=[client], daemon=True).start()
    sys.argv = words
    code = 1
    try:
        runpy.run_path(words[0], run_name='__main__')
        code = 0
    except SystemExit as end:
        code = end.code or 0
    except BaseException:
        traceback.print_exc()
    atexit._run_exitfuncs()
    if 'mpi4py.MPI' in sys.modules:
        sys.modules['mpi4py.MPI'].Finalize()
    sys.stdout.flush()
    os._exit(code)


def _obey(client):
    """Sends this process the signals that the one that asked for it gets; SIGKILL where that is there no more."""
    for number in iter(lambda: client.recv(1), b''):
        os.kill(os.getpid(), ord(number))
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == '__main__':
    ask(*sys.argv[1:])
