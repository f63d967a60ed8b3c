"""What the runs of pictures, films and sheets share: progress, metrics, Ctrl-C; and jobs that processes share out.

Of several processes each writes the pictures that it makes and the state of the one in work into the run's folder. What
goes into run.json and metrics.csv it tells the first process, which writes them.
"""
import time

from common import cli, parallel, progress, runs, shared_folders
from common.metrics import MetricsLog

SECONDS_BETWEEN_LOOKS = 0.02  # for what other processes tell, while there is nothing else to do


class InterruptibleRun:
    """What the runs of pictures, films and sheets share. A context manager: within it, Ctrl-C waits for the step's end.

    Attributes:
      run_dir: Path, the run's folder with its run.json.
      progress: progress.Progress, over all steps.
      log: MetricsLog, metrics.csv.
      stop: its `requested` tells, after each step, whether the user has pressed Ctrl-C, at any of the processes.
      done: {number: what run.json records of it}, of the pictures, or batches of them, that are finished.
    """

    def __init__(self, run_dir, columns, num_steps, num_done=0, unit='step', quiet=False, keep=None):
        """Opens a new run, or one that is resumed.

        Args:
          run_dir: Path, the run's folder with its run.json.
          columns: names of the columns of metrics.csv; the first counts the steps.
          num_steps: int, in all.
          num_done: int, those that were taken before; later rows of metrics.csv are dropped, since they come again.
          unit: str, what a step is called.
          quiet: bool, show no progress.
          keep: function of a row of metrics.csv: whether its step was taken before; None where their number tells.
        """
        self.own_dir, self.run_dir, self.unit = run_dir, shared_folders.shared_place(run_dir), unit
        self.progress = progress.Progress(num_steps, num_done, unit, quiet)
        self.log = MetricsLog(run_dir / 'metrics.csv', columns, keep or num_done)
        self.ended, self.over, self.stop_told = set(), False, False
        if parallel.size() > 1:
            parallel.check_same(runs.read_record(run_dir).get('inputs'), 'the pictures')
            runs.write_record(run_dir, processes=parallel.size())

    def __enter__(self):
        self.stopping = cli.stop_requested()
        self.stop = self.stopping.__enter__()
        return self

    def __exit__(self, *exception):
        self.stopping.__exit__(*exception)
        self.progress.close()
        self.log.close()

    def remaining(self, jobs):
        """Yields the jobs that are not done and this process's to do; ends when all processes have done theirs.

        Raises:
          cli.Interrupted: after Ctrl-C, at another process while this one waited.
        """
        for self.number in parallel.part([number for number in range(len(jobs)) if number not in self.done]):
            yield jobs[self.number]
        self.wait_for_others()
        if len(self.done) < len(jobs):
            raise cli.Interrupted(self.what_is_done())

    def what_is_done(self):
        """Returns how far all processes have come, in words."""
        return (f'after {self.progress.done} of {self.progress.total} {self.unit}s; the pictures so far are in '
                f'{self.run_dir}')

    def tell_first(self, name, *values):
        """Calls a method here and, if this is not the first process, with the same values there."""
        getattr(self, name)(*values)
        if parallel.rank():
            parallel.tell((name, values), 0)
        self.listen()

    def listen(self):
        """Takes note of what other processes tell, and tells them of Ctrl-C."""
        for name, values in parallel.told():
            getattr(self, name)(*values)
        if self.stop.requested and not self.stop_told:
            parallel.tell(('_note_stop', ()))
            self._note_stop()

    def wait_for_others(self):
        """Waits until all processes have done their parts, or stopped. Then all know what is done."""
        self.tell_first('_note_end', parallel.rank())
        while len(self.ended) < parallel.size() and not self.over:
            time.sleep(SECONDS_BETWEEN_LOOKS)
            self.listen()
        if not parallel.rank():
            parallel.tell(('_note_over', (self.done,)))

    def _note_stop(self):
        self.stop.requested = self.stop_told = True
        parallel.agree_to_end()

    def _note_end(self, rank):
        self.ended.add(rank)

    def _note_over(self, done):
        self.done, self.over = done, True

    def _note_row(self, row, shown):
        self.log.append(**row)
        self.progress.update(shown)


def find_states(run_dir, stem, number, steps, done):
    """Finds what jobs that are not finished can be resumed from: a file of one process, or several of as many.

    Args:
      run_dir: Path.
      stem: str, how the files' names begin.
      number, steps: str, what an array with the job's number is called there, and one with the steps taken.
      done: the numbers of jobs that are finished.

    Returns:
      {number: (steps taken, Path, seconds that they took)}, the one that is farthest.
    """
    found = {}
    for path in sorted(run_dir.glob(f'{stem}*.npz')):
        state = runs.load_arrays(path)
        found.setdefault(int(state[number]), []).append((int(state[steps]), path, float(state.get('seconds', 0))))
    return {job: max(states) for job, states in found.items() if job not in done}


def state_path(run_dir, stem, number):
    """Returns the Path that a process saves the state of a job under; one process keeps that of its only one."""
    return run_dir / (f'{stem}-{number}.npz' if parallel.size() > 1 else f'{stem}.npz')


def remove_state(run_dir, stem, number):
    """Removes the state of a job that is done, if it has a file of its own; the first process does."""
    path = run_dir / f'{stem}-{number}.npz'
    if not parallel.rank() and path.exists():
        path.unlink()
