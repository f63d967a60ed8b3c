"""The run of a recipe that optimizes pictures: progress, metrics, checkpoints, the last good picture, the conclusion.

The loops stay in the recipe:

    with PictureRun(run_dir, [job.num_steps for job in jobs], columns=('loss',)) as run:
        for job in run.remaining(jobs):
            with run.keeping(job.name) as checkpoint:       # None, or what it takes to resume this picture
                for step in ...:
                    ...                                     # the recipe's own step
                    run.record(step, image, state, loss=loss)
                run.save(image)
    return run.conclude('painted')
"""
import contextlib
import io
import sys
import time

from common import cli, images, parallel, runs, shared_folders
from common.errors import ComputationError, InputError
from common.metrics import curve
from synthesis.shared_run import InterruptibleRun, find_states, remove_state, state_path

SECONDS_BETWEEN_CHECKPOINTS = 10
CHECKPOINT_FRACTION = 0.05  # of the time, at most: a large picture's state takes seconds to write


class PictureRun(InterruptibleRun):
    """A run over pictures, one after the other.

    Attributes:
      finish: function of the picture in work, float32 [height, width, 3] in [0, 255], to what is saved of it on the
        way: the same, unless the recipe sets another within `keeping`.
    """

    def __init__(self, run_dir, num_steps, columns, unit='step', shown=None, save_every=None, output=None, quiet=False,
                 started=None, results=()):
        """Opens a new run, or one that is resumed; see InterruptibleRun for what is not named here.

        Args:
          num_steps: list of int, the steps that each picture takes.
          columns: names of a step's figures.
          shown: dict from a label in the progress to its column; None for all columns.
          save_every: int, steps between pictures that are saved on the way; None for none.
          output: Path where the user wants the picture as well, or None.
          started: float, when the command began (`time.monotonic()`); None for now.
          results: names of what the recipe records of every finished picture besides its path.

        Raises:
          InputError: run.json lacks some of that.
        """
        record = runs.read_record(run_dir)
        self.num_steps = num_steps
        self.done = {picture.get('number', place): picture for place, picture in enumerate(record.get('pictures', []))}
        self.numbered = parallel.size() > 1 or any('number' in picture for picture in self.pictures)
        for picture in self.finished:
            missing = [name for name in ('name', 'path', *results) if name not in picture]
            if missing:
                raise InputError(f'{run_dir / runs.RECORD}: damaged: a picture without {missing[0]}; start a new run')
        self.shown = shown or {name: name for name in columns}
        self.save_every, self.output = save_every, output
        self.states = find_states(shared_folders.shared_place(run_dir), 'checkpoint', 'picture', 'total', self.done)
        self.started = started or time.monotonic()
        # A run that was finished before repeats its result.
        self.recorded_seconds = record.get('seconds') if len(self.done) == len(num_steps) else None
        self.seconds_resumed = (sum(picture.get('seconds', 0.0) for picture in self.pictures) + sum(
            seconds for _, _, seconds in self.states.values())) / parallel.size()  # those that work side by side
        num_done = sum(num_steps[number] for number in self.done) + sum(steps for steps, _, _ in self.states.values())
        columns = ['step', 'picture', 'height', 'width', 'seconds', *columns]
        super().__init__(run_dir, columns, sum(num_steps), num_done, unit, quiet, self._was_taken)

    def _was_taken(self, row):
        steps = self.states[row['picture']][0] if row['picture'] in self.states else 0
        return row['picture'] in self.done or row['step'] - self._steps_before(row['picture']) <= steps

    @property
    def pictures(self):
        """What run.json records of every picture that is finished or has failed: list of dict."""
        return [self.done[number] for number in sorted(self.done)]

    @contextlib.contextmanager
    def keeping(self, name, alpha=None, **facts):
        """Works on one picture; at the end, run.json records it.

        Where the computation fails, or a file cannot be read any more, the last good picture is saved, and the run goes
        on with the next picture, if there is one.

        Args:
          name: str, of the picture's file, without extension.
          alpha: float32 [any height, any width] in [0, 255], how opaque it is; None if it all is.
          **facts: what to record of the picture, finished or not.

        Yields:
          dict of arrays, the state that the last checkpoint holds; None to begin at the beginning.

        Raises:
          ComputationError, InputError: what ended the work on the run's only picture.
        """
        self.name, self.facts, self.image, self.finish = name, dict(facts), None, lambda image: image
        self.alpha = alpha
        saved = self.states.get(self.number)
        checkpoint = runs.load_arrays(saved[1]) if saved else None
        self.began = self.saved_at = time.monotonic()
        self.seconds_before = saved[2] if saved else 0.0
        self.steps_here, self.save_seconds, self.last, said = 0, 0.0, None, io.StringIO()
        with contextlib.redirect_stderr(said) if parallel.rank() else contextlib.nullcontext():
            try:
                yield checkpoint
                self.facts['seconds'] = self.picture_seconds()
            except cli.StopBetweenTiles:
                self._interrupt()
            except (ComputationError, InputError) as error:
                kept = '' if self.image is None else f'; the last good picture: {self.save(self.finish(self.image))}'
                if len(self.num_steps) == 1:
                    raise type(error)(f'{error}{kept}')
                print(f'failed: {name}: {error}{kept}', file=sys.stderr)
                self.facts = dict(facts, error=str(error))
        numbered = {'number': self.number} if self.numbered else {}
        self.tell_first('_note_picture', self.number, dict(name=name, **numbered, **self.facts), said.getvalue())

    def _note_picture(self, number, picture, said):
        self.done[number] = picture
        runs.write_record(self.own_dir, pictures=self.pictures)
        remove_state(self.run_dir, 'checkpoint', number)
        print(said, end='', file=sys.stderr)

    def record(self, step, image, state, **figures):
        """Takes note of a step.

        Args:
          step: int, of this picture, from 1.
          image: float32 [height, width, 3] in [0, 255], the picture as it stands.
          state: dict of arrays, what it takes to resume to the same bytes.
          **figures: numbers by the names of the columns.

        Raises:
          cli.Interrupted: after Ctrl-C; picture and checkpoint are saved.
        """
        self.image, self.last = image, (step, state)
        self.steps_here += 1
        height, width = image.shape[:2]
        row = dict(figures, step=self._steps_before(self.number) + step, picture=self.number, height=height,
                   width=width, seconds=round(self.picture_seconds(), 3))
        counted = len(self.num_steps) == 1 or max(self.num_steps) == 1  # by the bar itself
        which = {} if counted else {'image': f'{self.number + 1}/{len(self.num_steps)}'}
        shown = {label: figures[column] for label, column in self.shown.items()}
        self.tell_first('_note_row', row, {**which, 'size': f'{width}x{height}', **shown})
        self.save_step(step, image)
        total = self.num_steps[self.number]
        if self.stop.requested and step < total:  # else nothing of this picture is missing
            self._interrupt()
        pause = max(SECONDS_BETWEEN_CHECKPOINTS, self.save_seconds / CHECKPOINT_FRACTION)
        if step < total and time.monotonic() - self.saved_at > pause:
            self._save_checkpoint(step, state)

    def save_step(self, step, image):
        """Saves the image as it is after a step, 0 for the start, if the run saves this one of its steps."""
        if self.save_every and step % self.save_every == 0:
            images.save_image(self.run_dir / f'{self.name}_{step:05d}.png', self.finish(image), self.alpha)

    def _interrupt(self):
        if self.last is None:  # not one step since this picture was begun or resumed
            self.wait_for_others()
            raise cli.Interrupted
        step, state = self.last
        self._save_checkpoint(step, state)
        path = self.save(self.finish(self.image))
        self.wait_for_others()
        raise cli.Interrupted(self.what_is_done() if parallel.size() > 1 else f'after {step} of '
                              f'{self.num_steps[self.number]} {self.unit}s; the picture so far is in {path}')

    def check_stop(self):
        """Ends the run after Ctrl-C, between two pictures.

        Raises:
          cli.Interrupted: pictures are missing.
        """
        if self.stop.requested and len(self.done) < len(self.num_steps):
            self.wait_for_others()
            raise cli.Interrupted(f'after {len(self.done)} of {len(self.num_steps)} pictures, which are in '
                                  f'{self.run_dir}')

    def _save_checkpoint(self, step, state):
        started = time.monotonic()
        runs.save_arrays(state_path(self.run_dir, 'checkpoint', self.number), picture=self.number, total=step,
                         seconds=self.picture_seconds(), **state)
        self.saved_at, self.save_seconds = time.monotonic(), time.monotonic() - started

    def save(self, image, **facts):
        """Writes the picture under its own name and where the user wants it.

        Args:
          image: float32 [height, width, 3] in [0, 255].
          **facts: what to record of it besides its size.

        Returns:
          Path where the user wants it, or else that of the run's own file.
        """
        path = self.run_dir / f'{self.name}.png'
        for copy in filter(None, (path, self.output)):
            images.save_image(copy, image, self.alpha)
        self.facts.update(path=self.output or path, height=image.shape[0], width=image.shape[1], **facts)
        return self.output or path

    def picture_seconds(self):
        """Returns the seconds that the picture in work has taken, those before a resumption included."""
        return self.seconds_before + time.monotonic() - self.began

    def seconds_per_step(self):
        """Returns the mean since the picture was begun or resumed, targets and compilation included."""
        return (time.monotonic() - self.began) / max(self.steps_here, 1)

    def seconds(self):
        """Returns the seconds that the whole run has taken, those before a resumption included."""
        return self.recorded_seconds or self.seconds_resumed + time.monotonic() - self.started

    def rows(self):
        """Returns what was noted of the picture in work: list of dict, one a step, steps counted from 1."""
        return [dict(row, step=row['step'] - self._steps_before(self.number)) for row in self.log.rows
                if row['picture'] == self.number]

    def _steps_before(self, number):
        """Returns the steps that the pictures before one take."""
        return sum(self.num_steps[:number])

    def curves(self, columns):
        """Returns a dict from each of the columns to its (steps, values) of the picture in work."""
        rows = self.rows()
        return {name: curve(rows, name) for name in columns}

    @property
    def finished(self):
        """The records of the pictures that have not failed."""
        return [picture for picture in self.pictures if 'error' not in picture]

    @property
    def only_result(self):
        """The record of the picture that is finished, if it is only one; else None."""
        return self.finished[0] if len(self.finished) == 1 else None

    def conclude(self, done, skipped=(), detail=None, **results):
        """Records the results and prints them in a line.

        Args:
          done: str, what was done to the pictures: 'painted'.
          skipped: list of str, why other pictures were not worked on.
          detail: str, how the only one went; None for several.
          **results: figures for run.json, besides the number of pictures and the seconds.

        Returns:
          int, the exit code: 1 where pictures have failed, 2 where some were skipped, else 0.
        """
        seconds = self.seconds()
        if self.recorded_seconds is None:
            runs.write_record(self.own_dir, seconds=seconds, left_out=list(skipped), versions=runs.versions(),
                              results=dict(results, pictures=len(self.finished), seconds=seconds))
        elif self.output and self.only_result:
            images.copy_image(self.run_dir / f'{self.only_result["name"]}.png', self.output)
        line = (f'{done} in {seconds:.0f} s; {detail}: {self.output or self.only_result["path"]}' if detail else
                f'{cli.plural(len(self.finished), "image")} {done} in {seconds:.0f} s, {len(skipped)} skipped: '
                f'{self.run_dir}')
        print(line)
        return 1 if len(self.finished) < len(self.pictures) else 2 if skipped else 0
