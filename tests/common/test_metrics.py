import numpy as np
import pytest

from common.errors import InputError
from common.metrics import MetricsLog, curve, read_metrics


@pytest.mark.parametrize('damage', [b'', b'step', b'loss\n1\n', b'step,loss\n1\n', b'step,loss\n1,2,3\n',
                                    b'step,loss\nx,2\n', b'step,loss\n,2\n', b'step,loss\n\xff,2\n'])
def test_damaged_metrics_are_said_so(tmp_path, damage):
    path = tmp_path / 'metrics.csv'
    path.write_bytes(damage)
    with pytest.raises(InputError, match='metrics.csv: damaged'):
        MetricsLog(path, ['step', 'loss'], keep_until=5)
    assert path.read_bytes() == damage


def test_metrics_are_read_back_and_a_resumed_log_drops_what_comes_again(tmp_path):
    path = tmp_path / 'metrics.csv'
    with MetricsLog(path, ['step', 'loss', 'accuracy']) as log:
        for step in (10, 20, 30):
            log.append(step=step, loss=1.0 / step, accuracy=np.float32(0.5) if step == 20 else None)
    assert read_metrics(path)[1] == {'step': 20, 'loss': 0.05, 'accuracy': 0.5}
    with MetricsLog(path, ['step', 'loss', 'accuracy'], keep_until=20) as log:
        assert curve(log.rows, 'accuracy') == ([20], [0.5])
        log.append(step=30, loss=1e-9)
    assert read_metrics(path) == [{'step': 10, 'loss': 0.1, 'accuracy': None},
                                  {'step': 20, 'loss': 0.05, 'accuracy': 0.5},
                                  {'step': 30, 'loss': 1e-9, 'accuracy': None}]


def test_a_line_that_a_kill_cut_off_is_left_out(tmp_path):
    path = tmp_path / 'metrics.csv'
    path.write_text('step,loss\n10,0.5\n1')
    assert read_metrics(path) == [{'step': 10, 'loss': 0.5}]


@pytest.mark.parametrize('value', [float('nan'), float('inf'), 12, 1e300])
def test_odd_numbers_survive_the_metrics_file(tmp_path, value):
    with MetricsLog(tmp_path / 'm.csv', ['step', 'loss']) as log:
        log.append(step=1, loss=value)
    np.testing.assert_equal(read_metrics(tmp_path / 'm.csv')[0]['loss'], value)
