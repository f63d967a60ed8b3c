"""Bottleneck features: the activations of frozen layers, computed once per image and copy, and stored on disk.

Each layer and copy has a file with a row per image, found by the image's content: a second run, another seed or another
split of the same images finds all of them, and a data set that grew by an image costs one more row. Rows are only ever
appended, and a row counts once its entry in the index is written, so that a kill loses what comes after the last entry
and nothing else. Each entry contains its row's checksum: a row that is cut off or damaged is computed again.
"""
import contextlib
import json
import shutil
import zlib
from pathlib import Path
from typing import NamedTuple

import numpy as np

from common import files, parallel
from common.errors import UnavailableError
from common.progress import Progress
from common.session import tf
from datasets import augmented_copies, image_folder
from networks import vgg_keras
from training.batches import prefetch

DTYPE = np.float16  # eleven bits of precision in half the space
LARGEST = np.finfo(DTYPE).max  # 65,504
KEY, INDEX, ROWS = 'key.json', 'index', 'rows'
ROWS_AT_A_TIME = 64  # are checked: what a memory map has touched counts as memory until it is closed
_ENTRY = np.dtype([('sha256', 'S64'), ('crc32', '<u4')])  # of the image, of the row


class _Batch(NamedTuple):
    """Images whose features are computed at once."""
    copy: str
    sha256: list  # of str
    paths: list
    absent: dict  # layer to those of them, list of int, that it has no row of


class BottleneckFeatures:
    """The features of some layers of VGG-16; `compute` comes first, then `read`.

    Args:
      folder: Path of the folder that stores them; it may be removed whenever no run is using it.
      layers: sequence of str, pooling layers of networks.vgg_keras.vgg16; None among them for images.
      size: int, pixels of an image's side.
      weights: dict from networks.vgg.load_weights.
      threads: int, of a session on a CPU, and of reading images.
    """

    def __init__(self, folder, layers, size, weights, threads):
        self.folder, self.size, self.weights, self.threads = folder, size, weights, threads
        self.layers = list(dict.fromkeys(layer for layer in layers if layer))
        self._stored = {}  # {(layer, copy): FeatureFile}

    def compute(self, parts, device='auto', say=print, quiet=False):
        """Computes and stores what is missing, batch by batch: what a kill leaves need not be computed again.

        One run at a time; others wait, and then find the features. Of several processes of a run each computes its
        part, and the first stores them.

        Args:
          parts: sequence of (image_folder.Split, the names of the copies of its images that are needed).
          device: see session.open_session.
          say: function that prints a line.
          quiet: bool, no progress.

        Raises:
          UnavailableError: not enough space on the disk.
          OSError: the folder cannot be made, read or written to, or the disk fills up; what is complete stays.
        """
        if not self.layers:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        copies = dict.fromkeys(copy for _, copies in parts for copy in copies)
        with contextlib.nullcontext() if parallel.rank() else files.one_at_a_time(
                self.folder / '.lock', f'computes features in {self.folder}', quiet):
            missing = parallel.from_first(None if parallel.rank() else self._look(parts, copies, say))
            if missing:
                with vgg_keras.open_session(device, self.threads) as sess:
                    model = vgg_keras.vgg16(self.size)
                    sess.run(tf.global_variables_initializer())
                    vgg_keras.set_weights(model, self.weights)
                    self._compute(missing, sess, model, quiet)
        parallel.from_first(None)  # when it has stored everything
        if parallel.rank():
            self._stored = {(layer, copy): self._open(layer, copy) for layer in self.layers for copy in copies}

    def _look(self, parts, copies, say):
        """Opens what is stored, and says and returns what is missing; see _missing."""
        files.sweep(self.folder)
        self._stored = {(layer, copy): self._open(layer, copy) for layer in self.layers for copy in copies}
        missing = self._missing(parts, copies)
        for stored in self._stored.values():
            if stored.problem:
                say(f'features in {stored.folder}: {stored.problem}; recomputed')
        say(f'features of {" and ".join(self.layers)}: {sum(len(batch.sha256) for batch in missing)} images and copies '
            f'to compute, in {self.folder}')
        self._check_space(missing)
        return missing

    def _open(self, layer, copy):
        weights = vgg_keras.fingerprint(self.weights)
        key = {'network': 'vgg16', 'weights': weights, 'layer': layer, 'size': self.size, 'view': copy}
        return FeatureFile(self.folder / f'{layer}-{self.size}-{copy}-{weights[:8]}', key,
                           vgg_keras.feature_shape(layer, self.size))

    def _missing(self, parts, copies):
        """Returns list of _Batch, in an order that does not change."""
        missing, at_once = [], vgg_keras.images_at_once(self.size)
        for copy in copies:
            paths = {sha256: path for images, needed in parts if copy in needed
                     for path, sha256 in zip(images.paths, images.sha256)}
            absent = {layer: set(self._stored[layer, copy].missing(list(paths))) for layer in self.layers}
            todo = [sha256 for sha256 in paths if any(sha256 in of_layer for of_layer in absent.values())]
            for start in range(0, len(todo), at_once):
                batch = todo[start:start + at_once]
                missing.append(_Batch(copy, batch, [paths[sha256] for sha256 in batch], {
                    layer: [k for k, one in enumerate(batch) if one in absent[layer]]
                    for layer in self.layers if absent[layer].intersection(batch)}))
        return missing

    def _check_space(self, missing):
        needed = sum(len(rows) * self._stored[layer, batch.copy].row_bytes
                     for batch in missing for layer, rows in batch.absent.items())
        free = shutil.disk_usage(str(self.folder)).free
        if needed > free:
            num_images = sum(len(batch.sha256) for batch in missing)
            raise UnavailableError(f'{self.folder}: the features of {num_images:,} images take {needed:,} bytes, but '
                                   f'only {free:,} are free there; name another folder with --features-dir')

    def _compute(self, missing, sess, model, quiet):
        outputs = {layer: model.get_layer(layer).output for layer in self.layers}
        loaded = prefetch(lambda batch: augmented_copies.load_copies(
            batch.paths, batch.sha256, [batch.copy] * len(batch.sha256), self.size, self.threads),
            parallel.part(missing))

        def activate(batch):
            found = sess.run({layer: outputs[layer] for layer in batch.absent}, {model.input: next(loaded)})
            return {layer: rows[batch.absent[layer]] for layer, rows in found.items()}
        with Progress(len(missing), unit='batch', quiet=quiet) as progress, contextlib.closing(loaded):
            for batch, found in parallel.rounds(activate, missing):
                for layer, rows in found.items():
                    self._stored[layer, batch.copy].append([batch.sha256[k] for k in batch.absent[layer]], rows)
                progress.update({'copy': batch.copy})

    def load_images(self, paths):
        """Reads images as the network sees them; see image_folder.load_images."""
        return image_folder.load_images(list(paths), self.size, self.threads)

    def read(self, layer, images, copies):
        """Reads what a stage that starts after a layer takes.

        Args:
          layer: str; None for the images themselves.
          images: image_folder.Split.
          copies: sequence of str, the copy of each image.

        Returns:
          float16 [num_images, height, width, channels], features; or uint8 [num_images, size, size, 3].
        """
        if layer is None:
            return augmented_copies.load_copies(images.paths, images.sha256, copies, self.size, self.threads)
        copies, rows = np.asarray(copies), None
        for copy in dict.fromkeys(copies):
            chosen = copies == copy
            part = self._stored[layer, copy].read(images.sha256[chosen])
            rows = np.empty((len(copies),) + part.shape[1:], part.dtype) if rows is None else rows
            rows[chosen] = part
        return rows


class FeatureFile:
    """The rows of one layer for one copy of the images, in a folder of their own, which may be removed at any time.

    Args:
      folder: Path; made where it is missing.
      key: dict of str and int: what the rows depend on besides the image. A folder with another key is emptied.
      row_shape: tuple of int, a row's shape.

    Attributes:
      problem: str, what is wrong with what was there, for the user; None where nothing is.

    Raises:
      OSError: the folder cannot be made, read or written to.
      InputError: it or a file of it is a link, or not a file.
    """

    def __init__(self, folder, key, row_shape):
        self.folder, self.row_shape = Path(folder), tuple(row_shape)
        self.row_bytes = int(np.prod(self.row_shape)) * np.dtype(DTYPE).itemsize
        self.problem = None
        self._rows_path, self._index_path = self.folder / ROWS, self.folder / INDEX
        for path in (self.folder, self.folder / KEY, self._rows_path, self._index_path):
            files.check_no_link(path)  # what is written would go elsewhere
            if path != self.folder:
                files.check_regular(path)
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
            self.problem = 'features of another network or size'
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
            self.problem = f'cut off after {num_rows} of {num_entries} rows'
        entries = np.fromfile(str(self._index_path), _ENTRY, min(num_entries, num_rows))
        self._num_rows = len(entries)
        # Where an image has two rows, the later one was computed because the earlier is damaged.
        self._places = {entry['sha256'].decode('ascii', 'replace'): (place, int(entry['crc32']))
                        for place, entry in enumerate(entries)}

    def __contains__(self, sha256):
        return sha256 in self._places

    def missing(self, sha256):
        """Finds out which images have no row, or a damaged one, which is given up.

        Args:
          sha256: sequence of str, the images' checksums, hexadecimal.

        Returns:
          list of str, each once, in the order given.
        """
        wanted = list(dict.fromkeys(sha256))
        present = [one for one in wanted if one in self._places]
        damaged = [one for start in range(0, len(present), ROWS_AT_A_TIME)
                   for one in self._damaged(present[start:start + ROWS_AT_A_TIME])]
        for one in damaged:
            del self._places[one]
        if damaged:
            self.problem = f'{self.problem + ", " if self.problem else ""}{len(damaged)} of the rows damaged'
        return [one for one in wanted if one not in self._places]

    def _damaged(self, sha256):
        return [one for one, row in zip(sha256, self.read(sha256)) if zlib.crc32(row) != self._places[one][1]]

    def append(self, sha256, rows):
        """Adds rows. A disk that is full leaves those that were there before.

        Args:
          sha256: sequence of str, the images' checksums.
          rows: float [len(sha256)] + row_shape; beyond the range of float16 they are clipped.

        Raises:
          OSError: they cannot be written.
        """
        rows = np.clip(rows, -LARGEST, LARGEST).astype(DTYPE)
        entries = np.array([(one.encode('ascii'), zlib.crc32(row)) for one, row in zip(sha256, rows)], _ENTRY)
        # What lies beyond, in either file, is half of something that a kill or a full disk cut off.
        self._write_at(self._rows_path, self._num_rows * self.row_bytes, rows)
        self._write_at(self._index_path, self._num_rows * _ENTRY.itemsize, entries)
        for place, (one, entry) in enumerate(zip(sha256, entries), self._num_rows):
            self._places[one] = place, int(entry['crc32'])
        self._num_rows += len(rows)

    @staticmethod
    def _write_at(path, offset, array):
        try:
            with path.open('r+b', buffering=0) as file:
                file.truncate(offset)
                file.seek(offset)
                content = memoryview(np.ascontiguousarray(array)).cast('B')
                while content:  # a disk that fills up takes a part, and reports an error for the rest
                    content = content[file.write(content):]
        except OSError as error:
            error.filename = error.filename or str(path)
            raise

    def read(self, sha256):
        """Reads the rows of images.

        Args:
          sha256: sequence of str, the images' checksums, all of them present.

        Returns:
          float16 [len(sha256)] + row_shape, a copy.
        """
        # Mapped for this call alone: its pages count as this process's memory.
        rows = np.memmap(str(self._rows_path), DTYPE, 'r', shape=(self._num_rows,) + self.row_shape)
        return rows[[self._places[one][0] for one in sha256]]
