"""What a trained classifier says of a person's own files."""
import os
from pathlib import Path

import numpy as np
import pytest

from common import images
from common.errors import InputError
from datasets import handwriting
from training import classifier, predictions


@pytest.mark.parametrize('labels, lines', [
    ([0, 1], ['file,true_class,class,probability,p_ant,p_bee', 'a.png,ant,ant,0.900000,0.900000,0.100000',
                  'b.png,bee,bee,0.800000,0.200000,0.800000']),
    (None, ['file,class,probability,p_ant,p_bee', 'a.png,ant,0.900000,0.900000,0.100000',
            'b.png,bee,0.800000,0.200000,0.800000'])], ids=['test images', 'own images'])
def test_predictions_are_a_table(tmp_path, labels, lines):
    probabilities = np.array([[0.9, 0.1], [0.2, 0.8]])
    predictions.write_predictions(tmp_path / 'a.csv', ['a.png', 'b.png'], probabilities, ['ant', 'bee'], labels)
    assert (tmp_path / 'a.csv').read_text().splitlines() == lines


def test_unreadable_images_are_skipped_unless_nothing_else_is_named(tmp_path, capsys):
    (tmp_path / 'bad.png').write_text('text')
    with pytest.raises(InputError, match='none of the images can be read'):
        predictions.readable_images([tmp_path])
    images.save_image(tmp_path / 'good.png', np.zeros([4, 4, 3]))
    assert predictions.readable_images([tmp_path]) == [tmp_path / 'good.png']
    assert f'skipped: {tmp_path / "bad.png"}: ' in capsys.readouterr().err
    with pytest.raises(InputError, match='bad.png'):
        predictions.readable_images([tmp_path / 'bad.png'])


@pytest.mark.skipif(not os.path.isdir('/sys'), reason='no folder that nobody can write to')
def test_digits_are_read_with_a_run_in_a_folder_that_cannot_be_written_to(capsys):
    found = classifier.TrainedRun(run_dir=Path('/sys'), folder=Path('/sys'), step=1, settings={'dataset': 'mnist'})
    reading = handwriting.Reading(digits=np.zeros((1, 28, 28), np.uint8), picture=np.zeros((30, 30, 3), np.float32),
                                  boxes=np.array([[1, 1, 20, 20]]), notes=[])
    predictions.show_digits(found, [Path('my.png')], [reading], np.array([[0.1, 0.2, 0.7]]), '012')
    told = capsys.readouterr()
    assert told.out.splitlines() == ['my.png: 2 70.0 %, 1 20.0 %, 0 10.0 %', '  uncertain', 'model: /sys (mnist)']
    assert told.err == 'warning: /sys: not writable; predictions are only printed\n'
