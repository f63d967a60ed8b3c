"""What a network's frozen layers make of each image, computed once per view of it: training starts from there."""
import contextlib
import shutil
from typing import NamedTuple, Tuple

import numpy as np

from training.batches import prefetch
from common.errors import UnavailableError
from training.feature_cache import FeatureCache
from common.progress import Progress
from networks import vgg_keras


class Images(NamedTuple):
    """Images, and what they are to be seen as.

    Attributes:
      paths: sequence of Path.
      sums: sequence of str, the SHA-256 of each file.
      views: tuple of str, which views of each.
    """
    paths: Tuple
    sums: Tuple[str, ...]
    views: Tuple[str, ...]


class BottleneckFeatures:
    """The features of some layers, for some views of the images.

    Args:
      folder: Path of the folder that holds them; it may be removed whenever no run is using it.
      layers: sequence of str, pooling layers of networks.vgg_keras.vgg16.
      views: sequence of str.
      size: int, pixels of an image's side.
      weights_sum: str, from networks.vgg_keras.digest.

    Raises:
      OSError: the folder cannot be made, read or written to.
    """

    def __init__(self, folder, layers, views, size, weights_sum):
        self.folder, self.layers, self.batch_size = folder, list(layers), vgg_keras.images_at_once(size)
        self._caches = {(layer, view): FeatureCache(
            folder / ('%s-%d-%s-%s' % (layer, size, view, weights_sum[:8])),
            {'network': 'vgg16', 'weights': weights_sum, 'layer': layer, 'size': size, 'view': view},
            vgg_keras.feature_shape(layer, size)) for layer in layers for view in views}

    def missing(self, parts):
        """Finds what has to be computed still.

        Args:
          parts: sequence of Images.

        Returns:
          list of (view, sums, paths), batch by batch, in an order that does not change.
        """
        batches = []
        for view in dict.fromkeys(view for part in parts for view in part.views):
            paths = {sum_: path for part in parts if view in part.views for path, sum_ in zip(part.paths, part.sums)}
            absent = set()
            for layer in self.layers:
                absent.update(self._caches[layer, view].missing(list(paths)))
            todo = [sum_ for sum_ in paths if sum_ in absent]
            for start in range(0, len(todo), self.batch_size):
                sums = todo[start:start + self.batch_size]
                batches.append((view, sums, [paths[sum_] for sum_ in sums]))
        return batches

    def problems(self):
        """Returns lines about rows that were there and cannot be used."""
        return [f'{cache.folder}: {cache.problem}; made anew' for cache in self._caches.values() if cache.problem]

    def compute(self, batches, sess, model, load, quiet=False):
        """Computes features and keeps them, batch by batch: what a kill leaves need not be done again.

        Args:
          batches: from `missing`.
          sess: tf.Session with the model's weights.
          model: keras.Model that begins with networks.vgg_keras.vgg16's layers.
          load: function of (paths, sums, view) to uint8 [batch, size, size, 3].
          quiet: bool, no progress.

        Raises:
          UnavailableError: not enough space on the disk.
          OSError: the disk fills up all the same; what is whole is kept.
        """
        self._check_space(batches)
        outputs = {layer: model.get_layer(layer).output for layer in self.layers}
        loaded = prefetch(lambda batch: load(batch[2], batch[1], batch[0]), batches)
        with Progress(len(batches), unit='batch', quiet=quiet) as progress, contextlib.closing(loaded):
            for (view, sums, _), images in zip(batches, loaded):
                absent = {layer: [place for place, sum_ in enumerate(sums) if sum_ not in self._caches[layer, view]]
                          for layer in self.layers}
                found = sess.run({layer: outputs[layer] for layer in self.layers if absent[layer]},
                                 {model.input: images})
                for layer, rows in found.items():
                    self._caches[layer, view].append([sums[k] for k in absent[layer]], rows[absent[layer]])
                progress.update({'view': view})

    def _check_space(self, batches):
        needed = sum(self._caches[layer, view].row_bytes for view, sums, _ in batches for sum_ in sums
                     for layer in self.layers if sum_ not in self._caches[layer, view])
        free = shutil.disk_usage(str(self.folder)).free
        if needed > free:
            raise UnavailableError('%s: the features of %d images take %s bytes, but only %s are free there; name '
                                   'another folder with --features-dir'
                                   % (self.folder, sum(len(sums) for _, sums, _ in batches), format(needed, ','),
                                      format(free, ',')))

    def read(self, layer, sums, views):
        """Reads features.

        Args:
          layer: str.
          sums: sequence of str, the images' SHA-256.
          views: sequence of str, the view of each.

        Returns:
          float16 [len(sums), height, width, channels].
        """
        sums, views = np.asarray(sums), np.asarray(views)
        rows = None
        for view in dict.fromkeys(views):
            of_view = views == view
            part = self._caches[layer, view].read(sums[of_view])
            rows = np.empty((len(sums),) + part.shape[1:], part.dtype) if rows is None else rows
            rows[of_view] = part
        return rows
