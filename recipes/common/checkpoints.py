"""A run's checkpoints, in its folder checkpoints/: TensorFlow's variables and the state that belongs to them."""
import re
import sys
from pathlib import Path

from common import parallel, runs
from common.errors import InputError, UnavailableError
from common.files import check_regular, flush_to_disk, replacing_dir
from common.runs import read_json, write_json
from common.session import tf

STATE = 'state.json'
CHECKPOINT_FILE = re.compile(r'model-\d+\.(index|data-\d{5}-of-\d{5})')  # and names that go on


def save(run_dir, saver, sess, state):
    """Saves the session's variables and a small state that belongs to them; a kill leaves the old or the new pair.

    Args:
      run_dir: Path.
      saver: tf.train.Saver over all that training needs, with max_to_keep=0.
      sess: tf.Session.
      state: dict that JSON can represent: 'step' and more; the checkpoint of its 'best_step' stays, too.

    Raises:
      UnavailableError: it cannot be written; the disk is full, for instance.
    """
    folder, step = run_dir / 'checkpoints', state['step']
    folder.mkdir(exist_ok=True)
    if parallel.rank():  # the variables are those of process 0, which saves them
        return write_json(folder / STATE, state)
    try:
        saver.save(sess, str(folder / 'model'), global_step=step, write_meta_graph=False)
    except (tf.errors.OpError, ValueError) as error:
        for half in folder.glob('model-*.tempstate*'):
            half.unlink()
        kept = '; the previous one is intact' if (folder / STATE).exists() else ''
        raise UnavailableError(f'cannot write the checkpoint of step {step} into {folder}: '
                               f'{str(error).splitlines()[0]}{kept}')
    for path in folder.glob(f'model-{step}.*'):
        flush_to_disk(path)
    write_json(folder / STATE, state)
    remove_unneeded(run_dir, state)


def remove_unneeded(run_dir, state):
    """Removes checkpoints that the state does not name, and halves that a killed process has left."""
    for path in (run_dir / 'checkpoints').glob('model-*'):
        needed = path.name.split('.')[0] in (f"model-{state['step']}", f"model-{state.get('best_step')}")
        if CHECKPOINT_FILE.match(path.name) and (not needed or '.tempstate' in path.name):
            path.unlink()


def load_state(run_dir):
    """Returns the state of the last checkpoint, a dict with 'step'; None where the run has none yet.

    Raises:
      InputError: its file is damaged.
    """
    path = run_dir / 'checkpoints' / STATE
    check_regular(path)
    return read_json(path, 'step') if path.exists() else None


def restore(run_dir, saver, sess, step):
    """Restores the variables that save saved at `step`.

    Raises:
      InputError: the checkpoint is not there, or belongs to another graph.
    """
    state = load_state(run_dir) or {}
    if state.get('cleaned') and step == state['step']:
        step = state['best_step']  # the weights that `clean` has left: no step remains to be taken
    prefix = run_dir / 'checkpoints' / f'model-{step}'
    for path in prefix.parent.glob(f'{prefix.name}.*'):
        check_regular(path)
    try:
        if not parallel.rank():
            saver.restore(sess, str(prefix))
    except (tf.errors.OpError, ValueError) as error:
        raise InputError(f'{prefix}: not a checkpoint of this network ({str(error).splitlines()[0]})')
    parallel.broadcast_variables(sess)


def initialize(sess, saver, run_dir, state=None):
    """Gives the variables their initial values, or the last checkpoint's; then nothing can be added to the graph.

    Args:
      sess: tf.Session.
      saver: tf.train.Saver.
      run_dir: Path.
      state: dict, from load_state; None at the start.
    """
    sess.run(tf.global_variables_initializer())
    if state:
        restore(run_dir, saver, sess, state['step'])
    else:
        parallel.broadcast_variables(sess)
    sess.graph.finalize()


def save_model(run_dir, sess, inputs, outputs):
    """Writes the session's graph and variables as a SavedModel, run_dir/saved_model.

    Args:
      run_dir: Path.
      sess: tf.Session.
      inputs, outputs: {name: tensor}.

    Returns:
      Path of the SavedModel's folder.

    Raises:
      UnavailableError: it cannot be written; the disk is full, for instance.
    """
    try:
        with replacing_dir(run_dir / 'saved_model') as beside:
            tf.saved_model.simple_save(sess, str(beside), inputs, outputs)
    except tf.errors.OpError as error:
        raise UnavailableError(f'cannot write the SavedModel into {run_dir}: {error.message.splitlines()[0]}')
    return run_dir / 'saved_model'


def clean(output_dir):
    """Removes what only the resumption of runs would need from those that are finished; best weights and results stay.

    Args:
      output_dir: str or Path.

    Returns:
      int, bytes that are free now.
    """
    freed = 0
    output_dir = Path(output_dir)
    for path in [*output_dir.glob(f'*/2*/{runs.RECORD}'), *output_dir.glob(f'*/2*/seed_*/{runs.RECORD}')]:
        run_dir, record = path.parent, runs.read_record(path.parent)
        if 'results' not in record or run_dir.parent.is_symlink():
            continue
        state = load_state(run_dir)
        useless = [file for name in ('checkpoint.npz', 'state.npz') for file in run_dir.glob(name)]
        if state and state.get('best_step') not in (None, state['step']):
            useless += (run_dir / 'checkpoints').glob(f'model-{state["step"]}.*')
            write_json(run_dir / 'checkpoints' / STATE, dict(state, cleaned=True))
        for file in useless:
            freed += file.stat().st_size
            file.unlink()
    return freed


if __name__ == '__main__':  # make clean-output
    print(f'{clean(sys.argv[1]) / 1e6:.0f} MB of checkpoints of finished runs removed')
