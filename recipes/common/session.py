"""TensorFlow: its quiet import, the device, the session. The one module in common/ that imports it.

`from common.session import tf` gives TensorFlow's 1.x interface (compat.v1) and costs nothing until `tf` is first used,
so that --help and a wrong option answer at once. `keras` is the same for Keras 2.3.1, `tflearn` for tflearn 0.5.
"""
import contextlib
import importlib
import os
import sys
import tempfile
import types
import warnings

from common.errors import UnavailableError

# What TensorFlow's runtime logs as an error on every machine that has no GPU.
_NO_GPU_NOISE = ('failed call to cuInit', 'kernel driver does not appear to be running',
                 'Could not load dynamic library', 'no CUDA-capable device is detected',
                 'retrieving CUDA diagnostic information')


class _LazyModule(types.ModuleType):
    """A module that is imported, without its chatter, when an attribute of it is first asked for."""

    def __getattr__(self, name):
        if name.startswith('__'):  # doctest, inspect and copy look for these; they are no reason to import
            raise AttributeError(name)
        return getattr(_import_quietly(self.__name__), name)


tf = _LazyModule('tensorflow.compat.v1')
keras = _LazyModule('keras')
tflearn = _LazyModule('tflearn')


def _import_quietly(name):
    if name in sys.modules:
        return sys.modules[name]
    os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '2')  # the runtime's own log: errors only
    os.environ.setdefault('KERAS_BACKEND', 'tensorflow')
    flags = os.environ.get('TF_XLA_FLAGS', '')
    if 'tf_xla_cpu_global_jit' not in flags:  # lets a session ask for XLA on a CPU; read once, when TensorFlow starts
        os.environ['TF_XLA_FLAGS'] = (flags + ' --tf_xla_cpu_global_jit').strip()
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')  # numpy's FutureWarnings about the dtypes that TensorFlow 1.15 defines
        if name == 'keras':
            _import_quietly('tensorflow.compat.v1')
            with _keras_without_banner():
                return importlib.import_module(name)
        if name == 'tflearn':
            with _import_quietly('tensorflow.compat.v1').Graph().as_default():  # its import adds eight operations
                return importlib.import_module(name)
        module = importlib.import_module(name)
    module.logging.set_verbosity(module.logging.ERROR)
    return module


@contextlib.contextmanager
def _keras_without_banner():
    """Keras prints its back end to stderr, and writes and obeys a keras.json in the user's home: neither is wanted."""
    with tempfile.TemporaryDirectory() as home, contextlib.redirect_stderr(open(os.devnull, 'w')) as sink:
        before = os.environ.get('KERAS_HOME')
        os.environ['KERAS_HOME'] = home
        try:
            yield
        finally:
            sink.close()
            del os.environ['KERAS_HOME']
            if before is not None:
                os.environ['KERAS_HOME'] = before


def num_cpus():
    """Returns how many processors this process may use."""
    return len(os.sched_getaffinity(0))


def describe_device(device='auto', threads=None):
    """Says which device the sessions of open_session use, and why.

    Args:
      device: 'auto' (a CUDA GPU where there is one), 'cpu' or 'gpu'.
      threads: int, threads of a CPU session; None for one per processor.

    Returns:
      str such as 'no CUDA GPU found: CPU, 2 threads'.

    Raises:
      UnavailableError: 'gpu' is asked for and there is none that TensorFlow can use.
    """
    threads = threads or num_cpus()
    cpu = 'CPU, %d thread%s' % (threads, '' if threads == 1 else 's')
    if device == 'cpu':
        return 'CPU asked for: ' + cpu
    gpus = _gpu_descriptions(threads)
    if gpus:
        return 'CUDA GPU found: ' + gpus[0]
    if device == 'gpu':
        raise UnavailableError('--device gpu: no CUDA GPU that TensorFlow 1.15 can use (it needs CUDA 10.0 and '
                               'cuDNN 7.6); use --device auto or cpu')
    return 'no CUDA GPU found: ' + cpu


def _gpu_descriptions(threads):
    with without_gpu_noise():
        # The first to look at the devices decides on the threads of the whole process.
        config = tf.ConfigProto(intra_op_parallelism_threads=threads or num_cpus(),
                                gpu_options=tf.GPUOptions(allow_growth=True))
        devices = importlib.import_module('tensorflow.python.client.device_lib').list_local_devices(config)
    return [device.physical_device_desc for device in devices if device.device_type == 'GPU']


def without_gpu_noise():
    """Keeps what TensorFlow's runtime says of GPUs that are not there from stderr.

    Returns:
      context manager, for what opens its session itself; open_session and describe_device need none.
    """
    return _filtered_stderr(_NO_GPU_NOISE)


@contextlib.contextmanager
def _filtered_stderr(noise):
    """Holds back what is written to file descriptor 2, from C++ too, and passes on all lines but the `noise`."""
    sys.stderr.flush()
    kept = os.dup(2)
    with tempfile.TemporaryFile() as captured:
        os.dup2(captured.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(kept, 2)
            os.close(kept)
            captured.seek(0)
            for line in captured.read().decode(errors='replace').splitlines():
                if not any(text in line for text in noise):
                    print(line, file=sys.stderr)


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
    with without_gpu_noise():
        return tf.Session(graph=graph, config=session_config(device, threads, xla))


def session_config(device='auto', threads=None, xla=False):
    """Returns the tf.ConfigProto of open_session, for what opens its session itself, such as tflearn's DNN."""
    config = tf.ConfigProto(intra_op_parallelism_threads=threads or num_cpus(), allow_soft_placement=True,
                            gpu_options=tf.GPUOptions(allow_growth=True))
    if device == 'cpu':
        config.device_count['GPU'] = 0
    if xla:
        config.graph_options.optimizer_options.global_jit_level = tf.OptimizerOptions.ON_2
    return config


def ran_out_of_memory(error):
    """Tells whether an exception is TensorFlow's way to say that memory ran out."""
    return 'tensorflow' in sys.modules and isinstance(error, tf.errors.ResourceExhaustedError)
