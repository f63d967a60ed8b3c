"""A few images in CIFAR-10's place, each class a color with noise, for tests of what is trained on them.

As a program, it runs the CIFAR-10 recipe on them, with the wide network narrow: `python small_cifar10.py OPTIONS`,
recipes/ on PYTHONPATH.
"""
import sys

import numpy as np

NUM_TRAINING, NUM_VALIDATION, NUM_TEST = 120, 40, 50
NARROW = 4, 8, 8


def data():
    """Returns a datasets.split_data.SplitData."""
    from datasets import cifar10, split_data
    random = np.random.RandomState(0)
    colors = np.array([[red, green, blue] for red in (40, 200) for green in (40, 200) for blue in (40, 120, 210)][:10])
    parts = []
    for count in (NUM_TRAINING, NUM_VALIDATION, NUM_TEST):
        labels = random.randint(0, 10, count)
        noise = random.normal(0, 25, (count, 32, 32, 3))
        parts += [np.uint8(np.clip(colors[labels][:, np.newaxis, np.newaxis] + noise, 0, 255)), labels]
    return split_data.SplitData(*parts, class_names=cifar10.CLASS_NAMES, source='a small set',
                                checksums={'test_batch': 'the same'})


def patch(set_attribute):
    """Puts the small set in CIFAR-10's place; `set_attribute` is monkeypatch.setattr, or setattr."""
    from datasets import cifar10
    from networks import airbench
    set_attribute(cifar10, 'load', lambda data_dir, quiet=False: data())
    set_attribute(airbench, 'MAPS', NARROW)


if __name__ == '__main__':
    patch(setattr)
    import cifar10_tflearn
    sys.exit(cifar10_tflearn.main(sys.argv[1:]))
