import os
import subprocess
import sys
from pathlib import Path

import pytest

from common import session
from common.errors import UnavailableError

RECIPES = Path(__file__).resolve().parents[2] / 'recipes'


def run_python(code):
    return subprocess.run([sys.executable, '-c', code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=120,
                          universal_newlines=True, env=dict(os.environ, PYTHONPATH=str(RECIPES)))


def test_the_import_of_the_module_does_not_import_tensorflow():
    done = run_python('import sys; from common.session import tf; print("tensorflow" in sys.modules)')
    assert done.stdout == 'False\n' and done.stderr == ''


def test_tensorflow_keras_and_the_device_are_quiet():
    done = run_python('from common import session; from common.session import keras, tf\n'
                      'tf.float32; keras.layers.Dense\n'
                      'with session.open_session(device="cpu") as sess: print(sess.run(tf.constant(2) + 3))\n'
                      'session.describe_device()')
    assert (done.returncode, done.stdout, done.stderr) == (0, '5\n', '')


def test_tflearn_is_quiet_and_adds_nothing_to_the_graph():
    done = run_python('from common.session import tf, tflearn\n'
                      'with tf.Graph().as_default() as graph: tflearn.conv_2d; print(len(graph.get_operations()))')
    assert (done.returncode, done.stdout, done.stderr) == (0, '0\n', '')


def test_real_errors_still_show():
    done = run_python('from common.session import _filtered_stderr\nimport os\n'
                      'with _filtered_stderr(["known noise"]): os.write(2, b"known noise 1\\nreal error\\n")')
    assert done.stderr == 'real error\n'


def test_the_device_is_described():
    assert session.describe_device('cpu', 3) == 'CPU asked for: CPU, 3 threads'
    assert session.describe_device('cpu', 1) == 'CPU asked for: CPU, 1 thread'


def test_without_a_gpu_the_cpu_is_taken_and_a_gpu_asked_for_is_an_error(monkeypatch):
    monkeypatch.setattr(session, '_gpu_descriptions', lambda threads: [])
    assert session.describe_device('auto', 2) == 'no CUDA GPU found: CPU, 2 threads'
    with pytest.raises(UnavailableError, match='no CUDA GPU'):
        session.describe_device('gpu')
    with pytest.raises(UnavailableError, match='no CUDA GPU'):
        session.open_session(device='gpu')


def test_xla_and_no_xla_agree():
    from common.session import tf
    x = tf.placeholder(tf.float32, [3])
    y = tf.reduce_sum(tf.nn.relu(x * 2.0) + 1.0)
    results = []
    for xla in (False, True):
        with session.open_session(device='cpu', threads=1, xla=xla) as sess:
            results.append(sess.run(y, {x: [1.0, -1.0, 2.0]}))
    assert results == [9.0, 9.0]
