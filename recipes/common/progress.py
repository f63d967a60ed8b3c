"""Progress that a person can follow: a bar on a terminal, a plain line every few seconds elsewhere."""
import shutil
import sys
import time

from tqdm import tqdm

SECONDS_BETWEEN_LINES = 5.0
MAX_COLUMNS = 80  # of a bar, which is to fit any terminal


class Progress:
    """Shows how far a loop is, the figures that matter, and the time left. A context manager.

    Args:
      total: int, all steps.
      initial: int, steps done before, by the run that is resumed.
      unit: str, what one step is called.
      quiet: bool, show nothing.
    """

    def __init__(self, total, initial=0, unit='step', quiet=False):
        self.total, self.done, self.initial, self.unit, self.quiet = total, initial, initial, unit, quiet
        self.started = self.last_line = time.monotonic()
        self.bar = None
        if not quiet and sys.stderr.isatty():
            self.bar = tqdm(total=total, initial=initial, file=sys.stderr, smoothing=0.1,
                            ncols=min(MAX_COLUMNS, shutil.get_terminal_size().columns),
                            bar_format='{percentage:3.0f}%|{bar}| ' + unit + ' {n}/{total}, {remaining} left{postfix}')

    def update(self, figures=None):
        """Counts one step; `figures` is {name: number or str}, few and short: numbers get three digits."""
        self.done += 1
        if self.bar is not None:
            if figures:
                self.bar.set_postfix_str(_format(figures), refresh=False)
            self.bar.update()
        elif not self.quiet and (time.monotonic() - self.last_line >= SECONDS_BETWEEN_LINES or self.done == self.total):
            self.last_line = time.monotonic()
            print(self._line(figures), flush=True)

    def _line(self, figures):
        seconds = (time.monotonic() - self.started) / (self.done - self.initial)
        left = tqdm.format_interval(seconds * (self.total - self.done))
        figures = _format(figures) + ', ' if figures else ''
        return f'{self.unit} {self.done}/{self.total}, {figures}{seconds:.2g} s each, {left} left'

    def close(self):
        """Leaves the bar as it is and ends its line."""
        if self.bar is not None:
            self.bar.close()

    def __enter__(self):
        return self

    def __exit__(self, *unused):
        self.close()


def _format(figures):
    return ', '.join(f"{name} {value if isinstance(value, str) else f'{value:.3g}'}" for name, value in figures.items())
