import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from common import session
from common.errors import UnavailableError

RECIPES = Path(__file__).resolve().parents[2] / 'recipes'


def run_python(code, **environ):
    return subprocess.run([sys.executable, '-c', code], capture_output=True, timeout=120,
                          text=True, env=dict(os.environ, PYTHONPATH=str(RECIPES), **environ))


def test_the_import_of_the_module_does_not_import_tensorflow():
    done = run_python('import sys; from common.session import tf; print("tensorflow" in sys.modules)')
    assert done.stdout == 'False\n' and done.stderr == ''


def test_an_import_is_quiet_leaves_nothing_in_the_home_and_obeys_nothing_there(tmp_path):
    (tmp_path / '.keras').mkdir()
    (tmp_path / '.keras/keras.json').write_text('{"floatx": "float64"}')
    done = run_python('from common import session; from common.session import keras, tf, tflearn\n'
                      'tf.float32; keras.layers.Dense; print(keras.backend.floatx())\n'
                      'with session.open_session(device="cpu") as sess: print(sess.run(tf.constant(2) + 3))\n'
                      'session.describe_device()\n'
                      'with tf.Graph().as_default() as graph: tflearn.conv_2d; print(len(graph.get_operations()))',
                      HOME=str(tmp_path), KERAS_HOME='')
    assert (done.returncode, done.stdout, done.stderr) == (0, 'float32\n5\n0\n', '')
    assert [path.name for path in tmp_path.rglob('*') if path.is_file()] == ['keras.json']


@pytest.mark.skipif(session.stack() == 'tf1', reason='TensorFlow 1.15 has no such switch')
@pytest.mark.parametrize('environ, expected', [({}, 'True'), ({'TF_DETERMINISTIC_OPS': '0'}, 'False')],
                         ids=['as it is', 'left out'])
def test_a_gpu_computes_the_same_in_every_run(forks, tmp_path, environ, expected):
    """Keras's VGG-16 can be built then: its initial weights need a seed, though others take their place."""
    done = forks.run('from common import session; from networks import vgg_keras\n'
                      'session._gpu_descriptions = lambda threads: ["a card"]\n'
                      'assert session.describe_device() == "CUDA GPU found: a card"\n'
                      'with vgg_keras.open_session(): vgg_keras.vgg16(32)\n'
                      'from tensorflow.python.framework import config\n'
                      'print(config.is_op_determinism_enabled())', folder=tmp_path, **environ)
    assert done == (0, f'{expected}\n', '')


def test_real_errors_still_show():
    done = run_python('from common.session import without_noise\nimport os\n'
                      'with without_noise(["known noise"]): os.write(2, b"known noise 1\\nreal error\\n")')
    assert done.stderr == 'real error\n'
    done = run_python('from common.session import without_noise\nimport os\n'
                      'with without_noise(["noise"]): os.write(2, b"noise\\nno AVX on this machine\\n"); os.abort()')
    assert done.stderr == 'no AVX on this machine\n' and done.returncode < 0


def test_the_stack_is_known_without_an_import_and_is_the_one_that_runs():
    done = run_python('import sys; from common import session; print(session.stack(), "tensorflow" in sys.modules)')
    assert done.stdout == f'{session.stack()} False\n'
    from common.session import tf
    assert tf.version.VERSION.startswith({'tf1': '1.15.', 'tf2': '2.'}[session.stack()])


@pytest.mark.filterwarnings('ignore:ANTIALIAS')
def test_what_tflearn_is_given_while_it_is_imported_is_taken_back():
    pillow, nest = pytest.importorskip('PIL.Image'), pytest.importorskip('tensorflow.python.util.nest')
    had = [hasattr(pillow, 'ANTIALIAS'), hasattr(nest, 'is_sequence')]
    with session._names_for_tflearn():
        assert pillow.ANTIALIAS == pillow.LANCZOS and nest.is_sequence([1]) and not nest.is_sequence(1)
    assert [hasattr(pillow, 'ANTIALIAS'), hasattr(nest, 'is_sequence')] == had


def test_nan_goes_through_a_product_a_bias_and_a_relu():
    """TensorFlow 2 fuses the three into an operation in which NaN becomes 0, unless it is told not to."""
    from common.session import tf
    inputs, kernel = tf.placeholder(tf.float32, [8, 8]), tf.get_variable('kernel', [8, 8])
    bias = tf.get_variable('bias', initializer=[float('nan')] * 8)
    result = tf.nn.relu(tf.nn.bias_add(tf.matmul(inputs, kernel), bias))
    with session.open_session(device='cpu') as sess:
        sess.run(tf.global_variables_initializer())
        assert np.isnan(sess.run(result, {inputs: np.ones((8, 8))})).all()


def test_the_device_is_described():
    assert session.describe_device('cpu', 3) == 'using the CPU as requested: CPU, 3 threads'
    assert session.describe_device('cpu', 1) == 'using the CPU as requested: CPU, 1 thread'


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
