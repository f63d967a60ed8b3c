"""A queue of recipes that run one after the other, each a process of its own; it outlives the program that keeps it.

A job is a folder with job.json (what was asked for), the pictures that came with it and log.txt (what the recipe
prints). Where the keeper is killed, the recipe goes on; the next keeper finds it by its folder.
"""
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
import uuid
from pathlib import Path
from typing import Any, Dict, NamedTuple, Optional

import filelock
import psutil

from common import files, report, runs, tasks
from common.errors import InputError

RECIPES = Path(__file__).resolve().parents[1]
MOST_WAITING = 20
LOG_BYTES = 2 ** 16   # of the end of a log that are read
STOP_SECONDS = 60.0   # that a recipe has to save its checkpoint where the keeper ends
PROGRESS = re.compile(r'^\w+ (\d+)/(\d+)(?:, (.*))?$', re.M)


class Job(NamedTuple):
    """What was asked for, and how it stands."""
    id: str
    task: str
    values: Dict[str, Any]
    state: str = 'waiting'         # 'running', 'done', 'failed', 'interrupted'
    created: float = 0.0           # seconds since 1970
    resumes: bool = False          # the next start continues its run
    pid: int = 0                   # of the recipe, and when that process began
    began: float = 0.0


class JobQueue:
    """Jobs in a folder, and the thread that runs them.

    Args:
      folder: Path of the jobs' folders; made if it is missing.
      output_dir: Path, of the recipes' runs.

    Raises:
      InputError: another process keeps this queue.
    """

    def __init__(self, folder, output_dir):
        self.folder, self.output_dir = files.make_dir(folder, '--output-dir'), Path(output_dir)
        self._lock = filelock.FileLock(str(self.folder / '.lock'))
        if not files.try_lock(self._lock):
            raise InputError(f'{self.folder}: another studio works here; open its page, or stop it')
        self._guard, self._closing = threading.RLock(), threading.Event()
        self._jobs, self._runs = {}, {}  # {id: Job}, {id: Path of its run, once it is known}
        for path in sorted(self.folder.glob('*/job.json')):
            job = _read(path)
            if job:
                self._jobs[job.id] = job if job.state != 'running' or _is_alive(job) else self._ended(job, None)
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._thread.start()

    # ---- What the page asks for ----

    def jobs(self):
        """Returns all jobs, the newest first: list of Job."""
        with self._guard:
            return sorted(self._jobs.values(), key=lambda job: job.created, reverse=True)

    def find(self, job_id):
        """Returns the Job of that id, or None."""
        with self._guard:
            return self._jobs.get(job_id)

    def folder_of(self, job):
        """Returns the Path of a job's folder."""
        return self.folder / job.id

    def add(self, task, values, write_pictures):
        """Adds a job.

        Args:
          task, values: str, dict; see tasks.check.
          write_pictures: function of the job's folder, which writes its pictures there, or raises InputError.

        Returns:
          Job.

        Raises:
          InputError: too many are waiting.
        """
        with self._guard:
            if sum(job.state == 'waiting' for job in self._jobs.values()) >= MOST_WAITING:
                raise InputError(f'{MOST_WAITING} jobs are waiting; let some of them end first')
        job = Job(id=uuid.uuid4().hex, task=task, values=values, created=time.time())
        with files.replacing_dir(self.folder_of(job)) as beside:
            beside.mkdir()
            write_pictures(beside)
            (beside / 'job.json').write_text(json.dumps(job._asdict()), encoding='utf-8')
        with self._guard:
            self._jobs[job.id] = job
        return job

    def cancel(self, job):
        """Ends a job: a run saves its checkpoint first; asked again, it ends at once."""
        with self._guard:
            job = self._jobs[job.id]
            if job.state == 'waiting':
                self._keep(job._replace(state='interrupted'))
            elif job.state == 'running' and _is_alive(job):
                os.kill(job.pid, signal.SIGINT)

    def resume(self, job):
        """Has a job that was interrupted or failed start again, where its run has stopped."""
        with self._guard:
            job = self._jobs[job.id]
            if job.state in ('interrupted', 'failed'):
                self._keep(job._replace(state='waiting', resumes=self.run_dir(job) is not None))

    def close(self):
        """Interrupts the job that runs, waits until its checkpoint is saved, and lets others have the queue."""
        self._closing.set()
        for job in self.jobs():
            self.cancel(job) if job.state == 'running' else None
        self._thread.join(STOP_SECONDS)
        self._lock.release()

    # ---- What a job's recipe has written ----

    def log(self, job):
        """Returns the end of what the recipe has printed."""
        path = self.folder_of(job) / 'log.txt'
        if not path.is_file():
            return ''
        with path.open('rb') as file:
            file.seek(max(0, path.stat().st_size - LOG_BYTES))
            return file.read().decode('utf-8', 'replace').replace('\r', '\n')

    def progress(self, job):
        """Returns (steps done, of how many, what else the recipe says of them), or None."""
        found = PROGRESS.findall(self.log(job))
        return (int(found[-1][0]), int(found[-1][1]), found[-1][2]) if found else None

    def run_dir(self, job) -> Optional[Path]:
        """Returns the Path of the job's run, one of those in the output folder; None where there is none yet."""
        for line in [] if job.id in self._runs else re.findall('^this run: (.+)$', self.log(job), re.M)[-1:]:
            found = [path for path in report.find_runs(self.output_dir) if path.parts[-2:] == Path(line).parts[-2:]]
            self._runs.update({job.id: path for path in found})
        return self._runs.get(job.id)

    # ---- The thread ----

    def _work(self):
        while not self._closing.is_set():
            pending = [job for job in reversed(self.jobs()) if job.state in ('waiting', 'running')]
            pending.sort(key=lambda job: job.state)  # one that an earlier keeper has left running comes first
            if not pending or not self._run(pending[0]):
                self._closing.wait(0.1)

    def _run(self, job):
        """Runs a job to its end; returns whether it could be begun."""
        process = None
        with self._guard:
            if job.state == 'waiting':
                job = self._jobs[job.id]
                if job.state != 'waiting':  # canceled by now
                    return False
                try:
                    process = self._start(job)
                except (InputError, OSError) as error:
                    (self.folder_of(job) / 'log.txt').write_text(f'error: {error}\n')
                    self._keep(job._replace(state='failed'))
                    return False
                job = self._keep(job._replace(state='running', pid=process.pid, resumes=False,
                                              began=psutil.Process(process.pid).create_time()))
        while process.poll() is None if process else _is_alive(job):
            time.sleep(0.05)
        with self._guard:
            self._keep(self._ended(job, process.returncode if process else None))
        return True

    def _start(self, job):
        folder = self.folder_of(job)
        run_dir = self.run_dir(job) if job.resumes else None
        pictures = {name: folder / f'{name}.png' for name in ('content', 'style') if (folder / f'{name}.png').is_file()}
        values = tasks.check(tasks.TASKS[job.task], job.values, self.output_dir)  # job.json may come from elsewhere
        if not run_dir:
            self._runs.pop(job.id, None)
        recipe, *options = tasks.command(job.task, values, pictures, self.output_dir)
        if run_dir:
            options = [f'--resume={run_dir}', f'--output-dir={self.output_dir}']
        with (folder / 'log.txt').open('ab' if run_dir else 'wb') as log:
            return subprocess.Popen(
                [sys.executable, str(RECIPES / f'{recipe}.py'), *options], stdin=subprocess.DEVNULL, stdout=log,
                stderr=subprocess.STDOUT, start_new_session=True, env=dict(os.environ, PYTHONUNBUFFERED='1'))

    def _ended(self, job, code):
        """Returns the Job as its recipe has left it; `code` is its exit code, None where another keeper began it."""
        run_dir = self.run_dir(job)
        finished = run_dir is not None and 'seconds' in runs.read_record(run_dir)
        state = ('done' if code == 0 or code is None and finished else
                 'interrupted' if code in (None, 130) or code < 0 else 'failed')
        return job._replace(state=state)

    def _keep(self, job):
        """Takes note of how a job stands, in memory and on disk; returns it."""
        self._jobs[job.id] = job
        with files.replacing(self.folder_of(job) / 'job.json') as beside:
            beside.write_text(json.dumps(job._asdict()), encoding='utf-8')
        return job


def _is_alive(job):
    """Tells whether a job's recipe still runs: that very process, not another which has got its number."""
    try:
        process = psutil.Process(job.pid)
        return (abs(process.create_time() - job.began) < 0.02 and process.status() != psutil.STATUS_ZOMBIE
                and Path(process.cmdline()[1]).parent == RECIPES)
    except (psutil.Error, IndexError, ValueError):
        return False


def _read(path):
    """Reads a job.json; returns None where no keeper has written it."""
    kinds = {'id': str, 'task': str, 'values': dict, 'state': str, 'created': float, 'resumes': bool, 'pid': int,
             'began': float}
    try:
        files.check_regular(path)
        found = json.loads(path.read_text(encoding='utf-8')) if path.stat().st_size < 2 ** 20 else None
    except (InputError, OSError, ValueError, RecursionError):
        return None
    if not isinstance(found, dict) or set(found) != set(kinds) or any(
            not isinstance(found[name], kind) for name, kind in kinds.items()):
        return None
    job = Job(**found)
    return job if job.id == path.parent.name and job.task in tasks.TASKS and job.pid >= 0 else None
