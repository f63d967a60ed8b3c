"""The figures of a run, step by step: a CSV file that survives a kill."""
import csv
import os
from pathlib import Path

import numpy as np

from common.errors import InputError
from common.files import check_regular, replacing

DAMAGED = 'damaged; move it away to resume without what it recorded'


class MetricsLog:
    """A CSV file that grows by a row per record and survives a kill.

    Args:
      path: Path.
      columns: sequence of str; the first is the step.
      keep_until: int, when a run is resumed: rows of later steps are dropped, since these are computed again; or a
        function of a row, which tells whether it is kept. None starts a new file.
    """

    def __init__(self, path, columns, keep_until=None):
        self.path, self.columns = Path(path), list(columns)
        kept = read_metrics(path, self.columns) if keep_until is not None and os.path.lexists(str(path)) else []
        self.rows = [row for row in kept if (
            keep_until(row) if callable(keep_until) else row[self.columns[0]] <= keep_until)]
        self._write()
        self._file = self.path.open('a', newline='')

    def _write(self):
        with replacing(self.path) as beside, beside.open('w', newline='') as file:
            writer = csv.writer(file)
            writer.writerow(self.columns)
            writer.writerows([_cell(row.get(name)) for name in self.columns] for row in self.rows)

    def append(self, **row):
        """Adds a row; a column that is left out stays empty."""
        self.rows.append(row)
        csv.writer(self._file).writerow([_cell(row.get(name)) for name in self.columns])
        self._file.flush()

    def close(self):
        """Flushes the file to the disk and closes it. Rows of several processes are brought into the steps' order."""
        os.fsync(self._file.fileno())
        self._file.close()
        ordered = sorted(self.rows, key=lambda row: row[self.columns[0]])
        if ordered != self.rows:
            self.rows = ordered
            self._write()

    def __enter__(self):
        return self

    def __exit__(self, *unused):
        self.close()


def curve(rows, name, x='step'):
    """Returns the columns `x` and `name` of the rows that have a value there, as two lists."""
    measured = [row for row in rows if row.get(name) is not None]
    return [row[x] for row in measured], [row[name] for row in measured]


def _cell(value):
    return '' if value is None else repr(value.item() if isinstance(value, np.generic) else value)


def read_metrics(path, columns=()):
    """Reads what MetricsLog wrote.

    Args:
      path: Path.
      columns: sequence of str, those that it has to have, the step first; none for any.

    Returns:
      list of {column: number, or None for an empty cell}; a last line that a kill cut off is dropped.

    Raises:
      InputError: it is damaged otherwise.
    """
    check_regular(path)
    try:
        text = Path(path).read_text(encoding='utf-8')
        table = csv.DictReader(text[:text.rindex('\n') + 1].splitlines())
        rows = [{name: None if value == '' else _number(value) for name, value in row.items()} for row in table]
        if columns and (table.fieldnames != list(columns) or any(row[columns[0]] is None for row in rows)):
            raise ValueError
        return rows
    except (ValueError, TypeError, csv.Error):  # no text, no line, no number; too few or too many cells
        raise InputError(f'{path}: {DAMAGED}')


def _number(text):
    return float(text) if '.' in text or 'e' in text or 'n' in text else int(text)
