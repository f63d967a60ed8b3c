"""A contact sheet's run: batches of pictures, each with its file; the state to resume from; the sheets.

The loops stay in the recipe:

    with SheetRun(run_dir, batches, num_steps) as run:
        for batch in run.remaining(batches):
            for step in ...:                                # from what run.saved holds, or from the start
                ...                                         # the recipe's own step
                run.record(objective, state)
            run.save(batch, pictures, responses)
    return run.conclude(title)
"""
import itertools
import math
import sys
import time

import numpy as np

from common import cli, images, parallel, plotting, runs, shared_folders
from common.errors import ComputationError
from synthesis.shared_run import InterruptibleRun, find_states, remove_state, state_path

COLUMNS = 9                             # pictures in a row, at most
SHEET_WIDTH, SHEET_HEIGHT = 1400, 1800  # pixels of a sheet, about, at most
SMALLEST_SHOWN, LARGEST_SHOWN = 96, 300  # pixels of a side: smaller ones are enlarged, larger ones shrunk
GAP = 10                                # pixels between pictures
PICTURES, STATE = 'pictures', 'state'  # the folder in a run for the pictures; the file that --resume needs, .npz
SECONDS_BETWEEN_STATES = 10.0
METRICS = ('step', 'batch', 'seconds', 'objective')


class SheetRun(InterruptibleRun):
    """The run of a sheet. A context manager: within it, Ctrl-C waits for the step's end.

    Attributes:
      saved: dict of arrays, the state that the batch in work is resumed from; None at its start.
    """

    def __init__(self, run_dir, batches, num_steps, quiet=False):
        """Opens a new run, or one that is resumed.

        Args:
          run_dir: Path, the run's folder with its run.json.
          batches: list of lists of sheet_tiles.SheetTile.
          num_steps: int, of each batch.
          quiet: bool, no progress.

        Raises:
          InputError: the run's batches were others.
        """
        runs.check_unchanged(run_dir, batches=[len(batch) for batch in batches])
        record, place = runs.read_record(run_dir), shared_folders.shared_place(run_dir)
        self.folder, self.num_steps = place / PICTURES, num_steps
        self.folder.mkdir(exist_ok=True)
        self.names = _file_names(batches)
        self.ends = np.cumsum([len(batch) for batch in batches])  # tiles up to the end of each batch
        tiles = {tile['file']: tile for tile in record.get('tiles', [])}
        self.done = {number: [tiles[name] for name in names] for number, names in enumerate(self.names)
                     if set(names) <= set(tiles)}
        self.states = find_states(place, STATE, 'batch', 'step', self.done)
        done = len(self.done) * num_steps + sum(steps for steps, _, _ in self.states.values())
        super().__init__(run_dir, METRICS, len(batches) * num_steps, done, quiet=quiet, keep=self._was_taken)
        self.saved_at = self.began = time.monotonic()
        self.seconds_resumed = max((row['seconds'] for row in self.log.rows), default=0.0)
        self.recorded_seconds = done == len(batches) * num_steps and record.get('seconds')

    def _was_taken(self, row):
        number = row['batch'] - 1
        steps = self.states[number][0] if number in self.states else 0
        return number in self.done or row['step'] - number * self.num_steps <= steps

    @property
    def tiles(self):
        """What run.json records of every picture that is finished: list of dict."""
        return [tile for number in sorted(self.done) for tile in self.done[number]]

    def remaining(self, batches):
        """Yields the batches that are not done, of which this process does its part."""
        for batch in super().remaining(batches):
            self.step, self.saved, self.last = 0, None, None
            if self.number in self.states:
                self.step, path, _ = self.states[self.number]
                self.saved = {name: array for name, array in runs.load_arrays(path).items()
                              if name not in ('batch', 'step')}
            yield batch

    def record(self, objective, state):
        """Takes note of a step.

        Args:
          objective: float, the batch's mean.
          state: dict of arrays, what it takes to resume to the same bytes.

        Raises:
          ComputationError: the objective is not finite.
          cli.Interrupted: after Ctrl-C; the state is saved.
        """
        if not np.isfinite(objective):
            raise ComputationError(f'the objective is not a finite number in step {self.step + 1}; try a smaller '
                                   f'--learning-rate; the pictures so far are in {self.folder}')
        self.step, self.last = self.step + 1, state
        row = {'step': self.number * self.num_steps + self.step, 'batch': self.number + 1, 'objective': objective,
               'seconds': round(self.seconds_resumed + time.monotonic() - self.began, 3)}
        first, last = self.ends[self.number] - len(self.names[self.number]) + 1, self.ends[self.number]
        self.tell_first('_note_row', row, {f'pictures {first}-{last} of': str(self.ends[-1]), 'objective': objective})
        if self.stop.requested and self.progress.done < self.progress.total:
            self._save_state()
            self.wait_for_others()
            raise cli.Interrupted(self.what_is_done())
        if time.monotonic() - self.saved_at > SECONDS_BETWEEN_STATES:
            self._save_state()

    def what_is_done(self):
        """Returns how far all processes have come, in words."""
        return (f'after {self.progress.done} of {self.progress.total} steps; the {len(self.tiles)} pictures that are '
                f'done are in {self.folder}')

    def _save_state(self):
        runs.save_arrays(state_path(self.run_dir, STATE, self.number), batch=self.number, step=self.step, **self.last)
        self.saved_at = time.monotonic()

    def save(self, batch, pictures, responses):
        """Writes a batch's pictures.

        Args:
          batch: list of sheet_tiles.SheetTile.
          pictures: float32 [batch, height, width, 3] in [0, 255].
          responses: float [batch], the objective of each as it is; 0 marks it as inactive.
        """
        tiles = []
        for tile, name, picture, response in zip(batch, self.names[self.number], pictures, responses):
            images.save_image(self.folder / name, picture)
            tiles.append({'layer': tile.heading, 'channel': tile.channel, 'caption': tile.caption, 'file': name,
                          'response': float(response), 'inactive': not response})
        self.tell_first('_note_batch', self.number, tiles)

    def _note_batch(self, number, tiles):
        self.done[number] = tiles
        runs.write_record(self.own_dir, tiles=self.tiles)
        remove_state(self.run_dir, STATE, number)

    def conclude(self, title, output, started):
        """Draws the sheets, records the results and prints them.

        Args:
          title: str.
          output: Path that the user wants the sheet at, or None.
          started: float, when the command began (`time.monotonic()`).

        Returns:
          int, the exit code: 0.
        """
        if parallel.rank():
            return 0
        paths = draw_sheets(self.run_dir, title)
        inactive = [':'.join(filter(None, (tile['layer'], tile['caption']))) for tile in self.tiles if tile['inactive']]
        if inactive:
            print(f'warning: inactive: nothing that was tried activates {", ".join(inactive)}; what is shown is what '
                  'raises them before their ReLU', file=sys.stderr)
        if output:
            copies = [output.with_name(path.stem.replace('sheet', output.stem) + output.suffix) for path in paths]
            for path, copy in zip(paths, copies):
                images.save_image(copy, images.load_image(path))
            paths = copies
        seconds = self.recorded_seconds or time.monotonic() - started + self.seconds_resumed
        runs.write_record(self.run_dir, seconds=seconds, sheets=paths, versions=runs.versions(),
                          results={'pictures': len(self.tiles), 'inactive': inactive, 'seconds': seconds})
        print(f'{cli.plural(len(self.tiles), "picture")} in {seconds:.0f} s: {", ".join(map(str, paths))}')
        return 0


def _file_names(batches):
    """Names the pictures of each batch; a second one of the same name gets a number."""
    taken, names = set(), []
    for batch in batches:
        names.append([])
        for tile in batch:
            name = tile.file_name()
            numbered = (name.replace('.png', f'-{number}.png') for number in itertools.count(2))
            names[-1].append(next(free for free in itertools.chain([name], numbered) if free not in taken))
            taken.add(names[-1][-1])
    return names


# ---- Drawing ----

def draw_sheets(run_dir, title):
    """Draws the pictures, read from their files, as labeled sheets.

    Args:
      run_dir: Path, the run's folder.
      title: str.

    Returns:
      list of Paths: sheet.png, or sheet_1.png and so on where one does not hold all.
    """
    rows = in_rows(runs.recorded(run_dir, 'tiles'))
    columns = max(len(row) for _, row in rows)
    side = int(np.clip(SHEET_WIDTH // columns - GAP, SMALLEST_SHOWN, LARGEST_SHOWN))
    drawn = [(heading, [show(images.load_image(run_dir / PICTURES / tile['file']), side,
                             tile['caption'] + (' (inactive)' if tile['inactive'] else '')) for tile in row])
             for heading, row in rows]
    most = max(1, SHEET_HEIGHT // (side + 40))  # rows on a sheet
    count = math.ceil(len(drawn) / most)
    paths = []
    for number in range(count):
        paths.append(run_dir / ('sheet.png' if count == 1 else f'sheet_{number + 1}.png'))
        plotting.plot_rows(paths[-1], drawn[number * most:(number + 1) * most], title, GAP)
    return paths


def in_rows(tiles):
    """Begins a row with every layer, headed by its name; returns a list of (heading, list of tiles)."""
    layers = [(layer, list(group)) for layer, group in itertools.groupby(tiles, lambda tile: tile['layer'])]
    columns = min(COLUMNS, max(len(group) for _, group in layers))
    if len(layers) == 1:
        columns = min(COLUMNS, math.ceil(math.sqrt(len(tiles))))
        columns = next((more for more in range(columns, COLUMNS + 1) if len(tiles) % more == 0), columns)
    return [('' if start else layer, group[start:start + columns])
            for layer, group in layers for start in range(0, len(group), columns)]


def show(picture, side, caption):
    """Returns (picture, caption): small ones enlarged pixel by pixel, large ones shrunk to `side`."""
    factor = max(1, side // max(picture.shape[:2]))
    return images.fit(picture.repeat(factor, axis=0).repeat(factor, axis=1), side), caption
