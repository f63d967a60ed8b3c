"""TensorFlow: which one, its quiet import, the device, the session. The one module in common/ that imports it.

`from common.session import tf` gives TensorFlow's 1.x interface (compat.v1) and costs nothing until `tf` is first used,
so that --help and a wrong option answer at once. `keras` is the same for Keras 2, `tflearn` for tflearn 0.5. Two stacks
have these, TensorFlow 1.15 with Keras 2.3.1 and TensorFlow 2 with tf_keras, and only this module knows which one runs.
"""
import contextlib
import importlib
import importlib.util
import io
import os
import subprocess
import sys
import tempfile
import types
import warnings

from common import check_interrupted
from common.errors import UnavailableError

STACKS = {'tf1': 'TensorFlow 1.15', 'tf2': 'TensorFlow 2'}  # as make's STACK names them
# What TensorFlow logs on a machine without a GPU, and of its own start: nothing that a user could act on.
_NOISE = ('failed call to cuInit', 'kernel driver does not appear to be running', 'Could not load dynamic library',
          'no CUDA-capable device is detected', 'retrieving CUDA diagnostic information',
          'before absl::InitializeLog() is called', 'oneDNN custom operations are on', 'Could not find cuda drivers',
          'when one has already been registered', 'computation placer already registered')

_FILTER = '''import signal, sys
for number in {getattr(signal, name, signal.SIGINT) for name in ("SIGINT", "SIGTERM", "SIGHUP")}:
    signal.signal(number, signal.SIG_IGN)  # it ends when nobody writes to it any more
for line in sys.stdin.buffer:
    if not any(text.encode() in line for text in sys.argv[1:]):
        sys.stderr.buffer.write(line)
        sys.stderr.flush()
'''


def stack():
    """Returns which stack is installed, 'tf1' or 'tf2', without importing it."""
    return 'tf1' if importlib.util.find_spec('tensorflow_core') else 'tf2'  # where 1.15, alone, keeps its code


class _LazyModule(types.ModuleType):
    """A module that is imported, without its chatter, when an attribute of it is first asked for."""

    def __getattr__(self, name):
        if name.startswith('__'):  # doctest, inspect and copy look for these; they are no reason to import
            raise AttributeError(name)
        return getattr(_import_quietly(self.__name__), name)


tf = _LazyModule('tensorflow.compat.v1')
keras = _LazyModule('keras')
tflearn = _LazyModule('tflearn')
_imported = {}  # {name of a lazy module: the module}


def _import_quietly(name):
    if name not in _imported:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')  # numpy's about the dtypes of TensorFlow 1.15, and tflearn's old idioms
            _imported[name] = _IMPORTS[name]()
        check_interrupted()
        warnings.filterwarnings('ignore', '`tf.layers')  # deprecated in TensorFlow 2, as all of this interface is
    return _imported[name]


def _import_tensorflow():
    os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '2')  # the runtime's own log: errors only
    os.environ.setdefault('KERAS_BACKEND', 'tensorflow')
    os.environ['TF_USE_LEGACY_KERAS'] = '1'  # tf.layers and tf.keras of TensorFlow 2 are to be Keras 2's
    flags = os.environ.get('TF_XLA_FLAGS', '')
    if 'tf_xla_cpu_global_jit' not in flags:  # lets a session ask for XLA on a CPU; read once, when TensorFlow starts
        os.environ['TF_XLA_FLAGS'] = (flags + ' --tf_xla_cpu_global_jit').strip()
    with without_noise(), _keras_home():
        module = importlib.import_module('tensorflow.compat.v1')
    module.logging.set_verbosity(module.logging.ERROR)
    if stack() == 'tf2':
        module.disable_v2_behavior()
    return module


def _import_keras():
    if stack() == 'tf2':
        return tf.keras
    _import_quietly(tf.__name__)
    with _keras_home(), contextlib.redirect_stderr(io.StringIO()):  # it prints its back end
        return importlib.import_module('keras')


def _import_tflearn():
    with tf.Graph().as_default(), _names_for_tflearn():  # its import adds eight operations
        return importlib.import_module('tflearn')


_IMPORTS = {tf.__name__: _import_tensorflow, keras.__name__: _import_keras, tflearn.__name__: _import_tflearn}


@contextlib.contextmanager
def _keras_home():
    """Gives Keras another home while it is imported: it writes and obeys a keras.json there; neither is wanted."""
    with tempfile.TemporaryDirectory() as home:
        before = os.environ.get('KERAS_HOME')
        os.environ['KERAS_HOME'] = home
        try:
            yield
        finally:
            del os.environ['KERAS_HOME']
            if before is not None:
                os.environ['KERAS_HOME'] = before


@contextlib.contextmanager
def _names_for_tflearn():
    """Brings back two names that tflearn asks for while it is imported, and TensorFlow 2 and Pillow 10 have dropped."""
    nest, image = importlib.import_module('tensorflow.python.util.nest'), importlib.import_module('PIL.Image')
    wanted = (nest, 'is_sequence', lambda value: nest.is_nested(value)), (image, 'ANTIALIAS', image.LANCZOS)
    missing = [(module, name, value) for module, name, value in wanted if not hasattr(module, name)]
    for module, name, value in missing:
        setattr(module, name, value)
    try:
        yield
    finally:
        for module, name, _ in missing:
            delattr(module, name)


def num_cpus():
    """Returns how many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count() or 1


def describe_device(device='auto', threads=None):
    """Says which device the sessions of open_session use, and why; on a GPU makes results the same in every run.

    Args:
      device: 'auto' (a CUDA GPU where there is one), 'cpu' or 'gpu'.
      threads: int, threads of a CPU session; None for one per processor.

    Returns:
      str such as 'no CUDA GPU found: CPU, 2 threads'.

    Raises:
      UnavailableError: 'gpu' is asked for and there is none that TensorFlow can use.
    """
    threads = threads or num_cpus()
    cpu = f"CPU, {threads} thread{'' if threads == 1 else 's'}"
    if device == 'cpu':
        return f'using the CPU as requested: {cpu}'
    gpus = _gpu_descriptions(threads)
    if gpus:
        # The algorithms whose sums come in one order: without them a GPU's results differ from run to run.
        if stack() == 'tf2' and os.environ.get('TF_DETERMINISTIC_OPS', '1') == '1':
            _import_quietly(tf.__name__)
            importlib.import_module('tensorflow.python.framework.config').enable_op_determinism()
        return f'CUDA GPU found: {gpus[0]}'
    if device == 'gpu':
        needs = {'tf1': 'CUDA 10.0 and cuDNN 7.6', 'tf2': "NVIDIA's driver, CUDA 12 and cuDNN 9"}[stack()]
        raise UnavailableError(f'--device gpu: no CUDA GPU that {STACKS[stack()]} can use (it needs {needs}); '
                               'use --device auto or cpu')
    return f'no CUDA GPU found: {cpu}'


def _gpu_descriptions(threads):
    with without_noise():
        # The first to look at the devices decides on the threads of the whole process.
        config = tf.ConfigProto(intra_op_parallelism_threads=threads,
                                gpu_options=tf.GPUOptions(allow_growth=True))
        devices = importlib.import_module('tensorflow.python.client.device_lib').list_local_devices(config)
    return [device.physical_device_desc for device in devices if device.device_type == 'GPU']


@contextlib.contextmanager
def without_noise(noise=_NOISE):
    """Keeps what TensorFlow's runtime says of its start and of GPUs that are not there from stderr, from C++ too.

    For what opens its session itself; open_session and describe_device need none. A process of its own passes on all
    other lines, so that the last words of a crash get through: "compiled to use AVX instructions".
    """
    sys.stderr.flush()
    kept = os.dup(2)
    process = subprocess.Popen([sys.executable, '-I', '-S', '-c', _FILTER, *noise], stdin=subprocess.PIPE)
    os.dup2(process.stdin.fileno(), 2)
    try:
        yield
    finally:
        sys.stderr.flush()
        os.dup2(kept, 2)
        os.close(kept)
        process.communicate()


def open_session(graph=None, device='auto', threads=None, xla=False):
    """Opens a session on the GPU where there is one, else on the CPU; GPU memory is taken as it is needed.

    Args:
      graph: tf.Graph; None for the default graph.
      device: 'auto', 'cpu' or 'gpu'.
      threads: int, threads within an operation; None for one per processor. Results are the same bit for bit only
        for the same number. TensorFlow keeps to the number of the process's first session.
      xla: bool, compile the graph with XLA. Faster for large graphs, after seconds of compiling for each new shape.

    Returns:
      tf.Session, to be used as a context manager.

    Raises:
      UnavailableError: 'gpu' is asked for and there is none that TensorFlow can use.
    """
    if device == 'gpu':
        describe_device(device, threads)
    with without_noise():
        return tf.Session(graph=graph, config=session_config(device, threads, xla))


def session_config(device='auto', threads=None, xla=False):
    """Returns the tf.ConfigProto of open_session, for what opens its session itself, such as tflearn's DNN."""
    config = tf.ConfigProto(intra_op_parallelism_threads=threads or num_cpus(), allow_soft_placement=True,
                            gpu_options=tf.GPUOptions(allow_growth=True))
    if device == 'cpu':
        config.device_count['GPU'] = 0
    if xla:
        config.graph_options.optimizer_options.global_jit_level = tf.OptimizerOptions.ON_2
    if stack() == 'tf2':  # its fused product, bias and ReLU makes 0 of NaN: a network that broke would train on
        config.graph_options.rewrite_options.remapping = config.graph_options.rewrite_options.OFF
    return config


def ran_out_of_memory(error):
    """Tells whether an exception is TensorFlow's way to say that memory ran out."""
    return 'tensorflow' in sys.modules and isinstance(error, tf.errors.ResourceExhaustedError)
