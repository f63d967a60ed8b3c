"""What work on a picture leaves behind on its way: progress, metrics, checkpoints, pictures, and a way to go on."""
import time

from common import cli, images, progress, runs

SECONDS_BETWEEN_CHECKPOINTS = 10
SHARE_FOR_CHECKPOINTS = 0.05  # of the time, at most: a large picture's state takes seconds to write


class Stoppable:
    """A context manager within which Ctrl-C asks for an end after the step; its end closes progress and metrics.

    Attributes:
      stop: Whose `requested` is to be looked at after each step.
      progress: progress.Progress, made by the class that inherits.
      log: runs.MetricsLog, likewise.
    """

    def __enter__(self):
        self.stopping = cli.stop_requested()
        self.stop = self.stopping.__enter__()
        return self

    def __exit__(self, *exception):
        self.stopping.__exit__(*exception)
        self.progress.close()
        self.log.close()


class Journal(Stoppable):
    """Keeps what a run leaves behind, for one picture after the other. A context manager, and a callback.

    Within the context Ctrl-C ends the work after the step, with all kept.

    Attributes:
      pictures: List of dicts, what is recorded of every picture that is finished, or has failed.
      seconds_resumed: What the run had taken, as far as its checkpoint knows, before it was resumed.
    """

    def __init__(self, run_dir, totals, columns, unit='step', save_every=None, output=None, quiet=False):
        """Opens a new run's journal, or that of a run to go on with.

        Args:
          run_dir: Path, the run's folder with its run.json.
          totals: List of int, the steps that each picture takes.
          columns: Names of a step's figures.
          unit: What a step is called.
          save_every: Steps from one kept picture to the next, None for none.
          output: Path where the user wants the picture besides, or None.
          quiet: Whether to show no progress.
        """
        self.run_dir, self.totals, self.unit = run_dir, totals, unit
        self.save_every, self.output = save_every, output
        self.pictures = runs.read_record(run_dir).get('pictures', [])
        self.checkpoint_path = run_dir / 'checkpoint.npz'
        checkpoint = runs.load_arrays(self.checkpoint_path) if self.checkpoint_path.exists() else None
        self.checkpoint = checkpoint if checkpoint and int(checkpoint['picture']) == len(self.pictures) else None
        self.seconds_resumed = sum(picture.get('seconds', 0.0) for picture in self.pictures) + (
            float(self.checkpoint['seconds']) if self.checkpoint else 0.0)
        done = self.steps_before() + (int(self.checkpoint['total']) if self.checkpoint else 0)
        self.progress = progress.Progress(sum(totals), done, unit, quiet)
        columns = ['step', 'picture', 'height', 'width', 'seconds', *columns]
        self.log = runs.MetricsLog(run_dir / 'metrics.csv', columns, done)

    def begin(self, name, finish):
        """Starts the next picture.

        Args:
          name: Of its file, without extension.
          finish: Function of the picture in work, float32 [height, width, 3] in [0, 255], to what is to be saved.

        Returns:
          dict of what the last step's `checkpoint` held, with its `total`, or None to begin at the beginning.
        """
        self.name, self.finish, self.step = name, finish, None
        self.began, self.seconds_before, self.steps_here = time.time(), 0.0, 0
        self.saved_at, self.save_seconds = time.time(), 0.0
        checkpoint, self.checkpoint = self.checkpoint, None
        if checkpoint:
            self.seconds_before = float(checkpoint['seconds'])
        return checkpoint

    def __call__(self, step):
        """Takes note of a step; ends the work, with all kept, where the user asked for that.

        Args:
          step: Has `total`, the steps of this picture so far; `size`, (height, width) of `picture()`, float32 [height,
            width, 3] in [0, 255]; `figures`, a dict of numbers by name; and `checkpoint()`, a dict of arrays by name.

        Raises:
          cli.Interrupted: After Ctrl-C.
        """
        self.step = step
        self.steps_here += 1
        height, width = step.size
        self.log.append(step=self.steps_before() + step.total, picture=len(self.pictures), height=height, width=width,
                        seconds=round(self.seconds(), 3), **step.figures)
        self.progress.update({'size': f'{width}x{height}', **step.figures})
        if self.save_every and step.total % self.save_every == 0:
            images.save_image(self.run_dir / f'{self.name}_{step.total:05d}.png', self.picture_in_work())
        total = self.totals[len(self.pictures)]
        if self.stop.requested and step.total < total:  # else nothing of this picture is missing
            self.save_checkpoint()
            raise cli.Interrupted(f'after {step.total} of {total} {self.unit}s; the picture so far is in '
                                  f'{self.save_picture(self.picture_in_work())}')
        if time.time() - self.saved_at > max(SECONDS_BETWEEN_CHECKPOINTS, self.save_seconds / SHARE_FOR_CHECKPOINTS):
            self.save_checkpoint()

    def save_checkpoint(self):
        """Writes all that it takes to go on to the same bytes."""
        started = time.time()
        runs.save_arrays(self.checkpoint_path, picture=len(self.pictures), total=self.step.total,
                         seconds=self.seconds(), **self.step.checkpoint())
        self.saved_at, self.save_seconds = time.time(), time.time() - started

    def picture_in_work(self):
        """Returns the picture as it stands: float32 [height, width, 3] in [0, 255]; None before the first step."""
        return self.step and self.finish(self.step.picture())

    def save_picture(self, picture):
        """Writes a picture under its own name and where the user wants it; returns the latter path, or the former."""
        path = self.run_dir / f'{self.name}.png'
        images.save_image(path, picture)
        if self.output:
            images.save_image(self.output, picture)
        return self.output or path

    def seconds(self):
        """Returns the seconds that the picture has taken, those before a resumption too."""
        return self.seconds_before + time.time() - self.began

    def seconds_per_step(self):
        """Returns the mean since the picture was begun or resumed, targets and compilation included."""
        return (time.time() - self.began) / max(self.steps_here, 1)

    def steps_before(self):
        """Returns the steps that the pictures before the one in work take."""
        return sum(self.totals[:len(self.pictures)])

    def rows(self):
        """Returns what was noted of the picture in work: a dict a step, steps counted from 1."""
        return [dict(row, step=row['step'] - self.steps_before()) for row in self.log.rows
                if row['picture'] == len(self.pictures)]

    def end(self, **record):
        """Records the picture as finished, or failed."""
        self.pictures.append(dict(name=self.name, **record))
        runs.write_record(self.run_dir, pictures=self.pictures)
