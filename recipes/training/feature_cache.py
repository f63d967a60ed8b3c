"""Features of images, computed once and kept on disk: what a network's frozen layers make of each image.

A row per image, found by the image's content: a second run, another seed or another split of the same images finds
them all, and a data set that grew by an image costs one more row. Rows are only ever appended, and a row counts once
its entry in the index is written, so that a kill loses what comes after the last entry and nothing else. Each entry
holds its row's checksum: a row that is cut off or damaged is not used, and comes anew.
"""
import json
import zlib
from pathlib import Path

import numpy as np

from common import files

DTYPE = np.float16  # eleven bits of precision in half the space
LARGEST = np.finfo(DTYPE).max  # 65,504
KEY, INDEX, ROWS = 'key.json', 'index', 'rows'
ROWS_AT_A_TIME = 64  # are looked at: what a map has touched counts as memory until it is closed
_ENTRY = np.dtype([('sum', 'S64'), ('checksum', '<u4')])  # the image's SHA-256, the row's CRC-32


class FeatureCache:
    """The rows of one layer for one view of the images, in a folder of their own, which may be removed at any time.

    Args:
      folder: Path; made where it is missing.
      key: dict of str and int: what the rows depend on besides the image. A folder with another key is emptied.
      row_shape: tuple of int, a row's shape.

    Attributes:
      problem: str, what is wrong with what was there, for the user; None where nothing is.

    Raises:
      OSError: the folder cannot be made, read or written to.
    """

    def __init__(self, folder, key, row_shape):
        self.folder, self.row_shape = Path(folder), tuple(row_shape)
        self.row_bytes = int(np.prod(self.row_shape)) * np.dtype(DTYPE).itemsize
        self.problem = None
        self._rows_path, self._index_path = self.folder / ROWS, self.folder / INDEX
        self.folder.mkdir(parents=True, exist_ok=True)
        self._check_key(dict(key, row_shape=list(self.row_shape), dtype=np.dtype(DTYPE).name))
        for path in (self._rows_path, self._index_path):
            path.touch()
        self._read_index()

    def _check_key(self, key):
        path = self.folder / KEY
        try:
            found = json.loads(path.read_text(encoding='utf-8'))
        except (FileNotFoundError, ValueError):
            found = None
        if found == key:
            return
        if self._index_path.exists():
            self.problem = 'these are of another network or size'
        for old in (self._index_path, self._rows_path):
            if old.exists():
                old.unlink()
        with files.replacing(path) as beside:
            beside.write_text(json.dumps(key, indent=2), encoding='utf-8')

    def _read_index(self):
        """Reads where which image's row is. What a kill left without its other half is not counted."""
        num_entries = self._index_path.stat().st_size // _ENTRY.itemsize
        num_rows = self._rows_path.stat().st_size // self.row_bytes
        if num_rows < num_entries:
            self.problem = 'cut off after %d of %d rows' % (num_rows, num_entries)
        entries = np.fromfile(str(self._index_path), _ENTRY, min(num_entries, num_rows))
        self._num_rows = len(entries)
        # Where an image has two rows, the later one was computed because the earlier is damaged.
        self._places = {entry['sum'].decode('ascii', 'replace'): (place, int(entry['checksum']))
                        for place, entry in enumerate(entries)}

    def __contains__(self, sum_):
        return sum_ in self._places

    def missing(self, sums):
        """Finds out which images have no row, or a damaged one, which is given up.

        Args:
          sums: sequence of str, the images' SHA-256, hexadecimal.

        Returns:
          list of str, each once, in the order given.
        """
        wanted = list(dict.fromkeys(sums))
        present = [sum_ for sum_ in wanted if sum_ in self._places]
        damaged = [sum_ for start in range(0, len(present), ROWS_AT_A_TIME)
                   for sum_ in self._damaged(present[start:start + ROWS_AT_A_TIME])]
        for sum_ in damaged:
            del self._places[sum_]
        if damaged:
            self.problem = (self.problem + ', ' if self.problem else '') + '%d of the rows damaged' % len(damaged)
        return [sum_ for sum_ in wanted if sum_ not in self._places]

    def _damaged(self, sums):
        return [sum_ for sum_, row in zip(sums, self.read(sums)) if zlib.crc32(row) != self._places[sum_][1]]

    def append(self, sums, rows):
        """Adds rows. A disk that is full leaves those that were there before.

        Args:
          sums: sequence of str, the images' SHA-256.
          rows: float [len(sums)] + row_shape; beyond the range of float16 they are clipped.

        Raises:
          OSError: they cannot be written.
        """
        rows = np.clip(rows, -LARGEST, LARGEST).astype(DTYPE)
        entries = np.array([(sum_.encode('ascii'), zlib.crc32(row)) for sum_, row in zip(sums, rows)], _ENTRY)
        # What lies beyond, in either file, is half of something that a kill or a full disk cut off.
        self._write_at(self._rows_path, self._num_rows * self.row_bytes, rows)
        self._write_at(self._index_path, self._num_rows * _ENTRY.itemsize, entries)
        for place, entry in enumerate(entries, self._num_rows):
            self._places[sums[place - self._num_rows]] = place, int(entry['checksum'])
        self._num_rows += len(rows)

    @staticmethod
    def _write_at(path, offset, array):
        try:
            with path.open('r+b', buffering=0) as file:
                file.truncate(offset)
                file.seek(offset)
                content = memoryview(np.ascontiguousarray(array)).cast('B')
                while content:  # a disk that fills up takes a part, and says so when asked for the rest
                    content = content[file.write(content):]
        except OSError as error:
            error.filename = error.filename or str(path)
            raise

    def read(self, sums):
        """Reads the rows of images.

        Args:
          sums: sequence of str, the images' SHA-256, all of them present.

        Returns:
          float16 [len(sums)] + row_shape, a copy.
        """
        places = [self._places[sum_][0] for sum_ in sums]
        return self._map()[places]  # mapped for this call alone: its pages count as this process's memory

    def _map(self):
        return np.memmap(str(self._rows_path), DTYPE, 'r', shape=(self._num_rows,) + self.row_shape)
