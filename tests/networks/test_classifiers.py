"""networks/classifiers.py: the names of the classes; the networks by name are tested with the recipes."""
import os

import pytest

from common.errors import InputError
from networks import classifiers, inception


def test_labels(tmp_path, tiny_inception_path):
    assert classifiers.find_labels(tiny_inception_path).name == 'labels.txt'
    (tiny_inception_path.parent / inception.LABELS_FILE).write_text('dummy\r\ncat\r\n\r\n')
    assert classifiers.load_labels(classifiers.find_labels(tiny_inception_path)) == ['dummy', 'cat']
    os.mkfifo(str(tmp_path / 'labels.txt'))
    assert classifiers.find_labels(tmp_path / 'graph.pb') is None  # reading a pipe would wait for ever
    with pytest.raises(InputError) as error:
        classifiers.load_labels(tmp_path / 'labels.txt')
    assert str(error.value) == f'--labels {tmp_path}/labels.txt: not a regular file; expected a list of classes'


@pytest.mark.parametrize('content, said', [(b'', 'empty'), (b'\xff\xfe\x00', 'cannot be read'), (bytes(9), 'no text')],
                         ids=['empty', 'binary', 'zeros'])
def test_labels_that_are_none(tmp_path, content, said):
    path = tmp_path / 'labels.txt'
    path.write_bytes(content)
    with pytest.raises(InputError, match=said):
        classifiers.load_labels(path)
