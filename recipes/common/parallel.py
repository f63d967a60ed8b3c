"""Several processes that compute as one, on one machine or many, by MPI. The one module that knows it.

    mpirun -n 4 python recipes/mnist_convnet.py

starts a recipe four times. Each process runs the same main and takes a part of the work; what each knows afterwards is
the same. Process 0, the first, alone prints and keeps the run's folder; see shared_folders. Started by itself a recipe
is one process: nothing here does anything then, and mpi4py is not imported.
"""
import contextlib
import importlib
import os
import signal
import socket
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, List

import numpy as np

from common import session
from common.errors import InputError, UnavailableError
from common.session import tf

# What launchers tell a process: how many there are, its number; Open MPI, MPICH and Intel MPI, Slurm. (SLURM_NTASKS is
# set for a script of sbatch, too, which is one process.)
_SIZES = 'OMPI_COMM_WORLD_SIZE', 'PMI_SIZE', 'SLURM_STEP_NUM_TASKS'
_RANKS = 'OMPI_COMM_WORLD_RANK', 'PMI_RANK', 'SLURM_PROCID'
_GPUS = Path('/proc/driver/nvidia/gpus')  # of this machine, a folder each
SECONDS_FOR_THE_FIRST = 3.0  # that another process gives process 0 to say what is wrong with all of them
_MEMORY = Path('/dev/shm')  # whose files are memory, on Linux
_LINE = 16  # numbers of a cache line, where every piece begins


class _Processes:
    """What this process knows of the others."""
    world: Any = None        # mpi4py's communicator; None in one process
    rank, size = 0, 1
    stderr: Any = None       # of a process that is not the first
    sent: List[Any] = []     # messages under way
    stop_wanted = False      # by this process
    end_agreed = False       # all come to the end: of main, or, with the last step, to a stop


def rank():
    """Returns this process's number, from 0."""
    return _Processes.rank


def size():
    """Returns the number of processes."""
    return _Processes.size


def join():
    """Joins the processes that a launcher has started; in one alone does nothing. All but the first fall silent.

    Raises:
      UnavailableError: mpi4py is not there, or does not belong to the launcher.
    """
    count = _of_launcher(_SIZES, 1)
    if count < 2 or _Processes.world:
        return
    try:
        mpi = importlib.import_module('mpi4py.MPI')
    except (ImportError, RuntimeError) as error:  # without a library of MPI it raises the second
        why = f'this Python has no mpi4py that works ({str(error).splitlines()[0]})'
    else:
        why = f'mpi4py sees {mpi.COMM_WORLD.size}: it was built for another MPI than that of the launcher'
    if why.startswith('this') or mpi.COMM_WORLD.size != count:
        if _of_launcher(_RANKS, 0):
            raise SystemExit(3)  # the first says it
        raise UnavailableError(f'started as {count} processes, but {why}; see docs/mpi.md, or start one process')
    _Processes.world, _Processes.rank, _Processes.size = mpi.COMM_WORLD, mpi.COMM_WORLD.rank, count
    _take_a_card()
    if _Processes.rank:
        _Processes.stderr = sys.stderr
        sys.stdout = sys.stderr = open(os.devnull, 'w')


def _take_a_card():
    """Leaves this process one card of its machine, or of those that CUDA_VISIBLE_DEVICES names, as Slurm has it."""
    cards = list(map(str, range(len(list(_GPUS.iterdir())) if _GPUS.is_dir() else 0)))
    if 'CUDA_VISIBLE_DEVICES' in os.environ:
        cards = os.environ['CUDA_VISIBLE_DEVICES'].split(',')
    if cards:
        near = _Processes.world.Split_type(importlib.import_module('mpi4py.MPI').COMM_TYPE_SHARED)
        os.environ['CUDA_VISIBLE_DEVICES'] = cards[near.rank % len(cards)]
        near.Free()


def _of_launcher(names, default):
    found = [os.environ[name] for name in names if os.environ.get(name, '').isdigit()]
    return int(found[0]) if found else default


def agree_to_end():
    """Says that all processes come to an end, each in its place, so that `end` waits instead of ending them."""
    _Processes.end_agreed = True


def end(code):
    """Ends all processes where this one ends early, which they would wait for; else waits for all. Returns `code`."""
    if size() > 1:
        sys.stdout.flush()
        sys.stderr.flush()
        if not _Processes.end_agreed:
            _Processes.world.Abort(code)
        _Processes.world.Barrier()  # the launcher ends the others with the first that has a code
    return code


def speaker(name):
    """Returns the name under which this process says why it ends early; None where process 0 says it."""
    if not rank():
        return name
    if not _Processes.end_agreed:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)  # with which process 0 ends this one, without a word
        time.sleep(SECONDS_FOR_THE_FIRST)  # where all have the same reason it ends this one meanwhile
        sys.stderr = _Processes.stderr
        return f'{name}: process {rank()} of {size()}'
    return None


def launcher():
    """Returns the words of a command line that start as many processes; none for one."""
    return ['mpirun', '-n', str(size())] if size() > 1 else []


def threads():
    """Returns how many threads a process may use: those of its processors, divided among the processes on these."""
    if size() == 1:
        return session.num_cpus()
    mine = sorted(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else None
    return min(_Processes.world.allgather(max(1, session.num_cpus() // sharers(mine))))


def sharers(of=None):
    """Returns how many processes share this machine or, of it, what this one names, such as its processors."""
    mine = socket.gethostname(), of
    return 1 if size() == 1 else _Processes.world.allgather(mine).count(mine)


def describe_device(device='auto', threads=None):
    """Describes the device as session.describe_device does, and the number of processes that have one such."""
    found = session.describe_device(device, threads)
    return f'{found}, in each of {size()} processes' if size() > 1 else found


# ---- What the processes tell each other ----

def from_first(value):
    """Returns process 0's value in every process."""
    return value if size() == 1 else _Processes.world.bcast(value)


def check_same(value, what):
    """Raises InputError where the processes differ in what has to be the same, such as their data."""
    if size() > 1 and value != from_first(value):
        raise InputError(f'{what} here and of process 0 differ; give all machines the same')


def check_alone(what):
    """Raises InputError where several processes do what one alone can do, `what`."""
    if size() > 1:
        raise InputError(f'{what} runs as one process, not as {size()}; start it without mpirun')


def check_jobs(count, what):
    """Raises InputError where several processes would share out a single job, `what`, which cannot be split."""
    if count == 1:
        check_alone(what)


def part(rows):
    """Returns this process's part of what all share: every size-th of an array's rows or a list's items."""
    return rows[rank()::size()]


def each(function, items):
    """Returns [function(item) for item in items], a list; each process computes its part."""
    items = list(items)
    if size() == 1:
        return [function(item) for item in items]
    parts = _Processes.world.allgather([function(item) for item in part(items)])
    return [parts[k % size()][k // size()] for k in range(len(items))]


def rounds(function, items):
    """Computes function(item) for a list of items, each process its part, and hands the results to the first.

    Yields:
      (item, result) for each item in turn, in the first process; nothing in the others.
    """
    for start in range(0, len(items), size()):
        among = items[start:start + size()]
        found = [function(item) for item in part(among)]
        if size() > 1:
            found = [one for of_one in _Processes.world.gather(found) or [] for one in of_one]
        yield from zip(among, found)


def tell(message, to=None):
    """Sends a message, which `told` returns there, and does not wait until it is read.

    Args:
      message: what pickle takes.
      to: int, the number of the process; None for all others.
    """
    receivers = [to] if to is not None else [other for other in range(size()) if other != rank()]
    _Processes.sent = [request for request in _Processes.sent if not request.test()[0]] + [
        _Processes.world.isend(message, receiver) for receiver in receivers]


def told():
    """Yields the messages that have come since the last time."""
    while size() > 1 and _Processes.world.iprobe():
        yield _Processes.world.recv()


def agreed(requested):
    """Tells whether all processes stop after this step, as one of them was asked to: with the step, so that all know.

    Args:
      requested: bool, whether this one was asked to.
    """
    _Processes.stop_wanted = requested
    return requested if size() == 1 else _Processes.end_agreed


def broadcast_variables(sess):
    """Gives a session's variables the values that they have in process 0, so that all start from the same."""
    if size() > 1:
        for variable in sess.graph.get_collection(tf.GraphKeys.GLOBAL_VARIABLES):
            value = from_first(None if rank() else sess.run(variable))
            if rank():
                variable.load(value, sess)


# ---- Sums ----

def take_step(value):
    """Takes a step together: returns what each process gives, a list; all learn whether one was asked to stop."""
    values, stops = zip(*_Processes.world.allgather((value, _Processes.stop_wanted)))
    _Processes.end_agreed = any(stops)
    return values


class Summation:
    """Sums float32 numbers over all processes, always in their order: each process adds up one piece for all.

    Processes of one machine read each other's numbers where they lie; between machines the pieces are sent.

    Args:
      length: int, how many numbers; the same in every process.

    Attributes:
      mine: float32 [at least length], where this process puts its numbers.
      total: float32 [at least length], the sums; what is written there later, others may read.
    """

    def __init__(self, length):
        piece = -(-length // (_LINE * size())) * _LINE
        memory = self._share([size() + 1, size(), piece])
        self._shared = memory is not None
        if self._shared:
            self._sent, self._received, self._total = memory[rank()], memory[:-1, rank()], memory[-1]
        else:
            self._sent, self._received, self._total = np.zeros([3, size(), piece], np.float32)
        self.mine, self.total = self._sent.ravel(), self._total.ravel()

    @staticmethod
    def _share(shape):
        """Returns memory that all processes see, float32; None where they do not, or there is not enough."""
        file = path = memory = None
        with contextlib.suppress(OSError):
            if not rank():
                file = tempfile.NamedTemporaryFile(dir=str(_MEMORY))
                os.posix_fallocate(file.fileno(), 0, 4 * int(np.prod(shape)))
                path = file.name
        path = from_first(path)
        with contextlib.suppress(OSError):
            if path:
                memory = np.asarray(np.memmap(path, np.float32, 'r+', shape=tuple(shape)))
        all_see_it = all(_Processes.world.allgather(memory is not None))
        if file:
            file.close()  # removes it; the memory lasts as long as the processes
        return memory if all_see_it else None

    def add_up(self):
        """Adds up what all have put into `mine`."""
        if self._shared:
            _Processes.world.Barrier()
        else:
            _Processes.world.Alltoall(self._sent, self._received)
        own = self._total[rank()]
        np.add(self._received[0], self._received[1], out=own)
        for one in self._received[2:]:
            own += one
        if self._shared:
            _Processes.world.Barrier()
        else:
            _Processes.world.Allgather(own.copy(), self._total)
