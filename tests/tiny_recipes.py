"""Every recipe on a tiny network and tiny data, run as a user runs it: by a command line, in a process of its own.

As a program, `python tiny_recipes.py` answers lines of JSON on stdin: [name, folder] prepares a recipe, in a fork of
the program; what follows are its runs, each in a fork of that, and null ends with the recipe. {"code": ...} is a
program of its own, in a fork, too. So TensorFlow is imported once for all, and no run sees another's session.
"""
import json
import os
import resource
import signal
import subprocess
import sys
import traceback
from pathlib import Path
from types import SimpleNamespace
from typing import Any, List, NamedTuple, Tuple

import numpy as np

TESTS = Path(__file__).resolve().parent
RECIPES = TESTS.parent / 'recipes'


class Subject(NamedTuple):
    """A recipe, prepared for a tiny run.

    Attributes:
      module: the recipe.
      options: list of str, the command line of the run.
      places: list of str, options that say where things are, which a resumed run needs too.
      takes: str, an option that takes an image file.
      num_steps: int, steps that the run takes.
      disk: (int, bytes that a file may have; str, what then cannot be written).
      class_names, shape: list of str, list of int, of a classifier and of the images that its SavedModel takes.
    """
    module: Any
    options: List[str]
    places: List[str]
    takes: str
    num_steps: int
    disk: Tuple[int, str]
    class_names: List[str] = []
    shape: List[int] = []


# ---- The recipes: functions of a folder for their files to a Subject ----

def concepts(folder):
    """Three of the ideas, learned filters among them; test_concepts.py has them all."""
    import concepts
    concepts.IDEAS = {idea: concepts.IDEAS[idea] for idea in (
        concepts.output_sizes, concepts.kernels_and_filters, concepts.layouts)}
    return Subject(concepts, [], [], '--content', len(concepts.IDEAS), (20000, 'output_sizes.png'))


def mnist(folder):
    """A narrow network, a few images of the bundled sample."""
    import mnist_convnet
    import small_mnist
    small_mnist.patch(setattr)
    options = ['--steps', '6', '--batch-size', '8', '--validate-every', '2', '--augment']
    return Subject(mnist_convnet, options, ['--data-dir', str(folder)], '--predict', 6,
                   (1000000, 'the checkpoint of step 2'), list('0123456789'), [28, 28])


def cifar10(folder, network='book', disk=(2000000, 'the checkpoint of step 2')):
    """A few images of plain colors, with the book's network."""
    import cifar10_tflearn
    import small_cifar10
    small_cifar10.patch(setattr)
    options = ['--epochs', '3', '--batch-size', '60', '--network', network]
    return Subject(cifar10_tflearn, options, [], '--predict', 6, disk, small_cifar10.data().class_names, [32, 32, 3])


def cifar10_airbench(folder):
    """The same with that of airbench, narrow: Muon's momentum, images mirrored by the epoch."""
    return cifar10(folder, 'airbench', (20000, 'examples.png'))


def transfer(folder):
    """A VGG-16 four channels wide, reddish and bluish images."""
    import narrow_vgg16
    import vgg16_transfer
    from common import images
    narrow_vgg16.patch(setattr)
    random = np.random.RandomState(0)
    for part, count in (('train', 8), ('validation', 4)):
        for channel, name in ((0, 'red'), (2, 'blue')):
            for number in range(count):
                image = random.uniform(0, 120, [40, 48, 3])
                image[:, :, channel] += 100
                images.save_image(folder / 'images' / part / name / f'{number}.png', image)
    options = ['--size', '32', '--batch-size', '8', '--head-epochs', '1', '--epochs', '3', '--early-stopping', '0',
               '--hidden-units', '30000']  # so that the checkpoint is the largest file
    return Subject(vgg16_transfer, options, ['--data-dir', str(folder / 'images')], '--predict', 8,
                   (1000000, 'the checkpoint of step 0'), ['blue', 'red'], [32, 32, 3])


def style(folder, *options, num_steps=8, disk=(120000, 'checkpoint.npz')):
    """A VGG-19 two channels wide, two small images."""
    import style_transfer
    import tiny_networks
    from networks import vgg
    from synthesis import picture_run
    weights = tiny_networks.vgg19_weights()
    vgg.obtain_weights = lambda *args, **kwargs: ('vgg19', weights, 'tiny', '0' * 64)
    picture_run.SECONDS_BETWEEN_CHECKPOINTS = 0.0
    options = options or ('--content', noise(folder / 'photo.png', 80, 112), '--iterations', '8')
    options = [*options, '--style', noise(folder / 'painting.png', 70, 50), '--scales', '2']
    return Subject(style_transfer, options, [], '--content', num_steps, disk)


def style_film(folder):
    """A film of six frames, which move; each is seen by those after it."""
    from common import images
    wide = images.load_image(noise(folder / 'wide.png', 48, 80))
    for number in range(6):
        images.save_image(folder / 'frames' / f'{number}.png', wide[:, 2 * number:2 * number + 64])
    return style(folder, '--content', str(folder / 'frames'), '--frames', '6', '--iterations', '5',
                 num_steps=6, disk=(6000, 'network.png'))


def dream(folder, *options, num_steps=6, full='checkpoint.npz'):
    """An Inception of a few layers, a small image."""
    import deepdream
    import tiny_networks
    from synthesis import picture_run
    graph_path = tiny_networks.write_inception(folder / 'models')
    picture_run.SECONDS_BETWEEN_CHECKPOINTS = 0.0
    options = options or ('--content', noise(folder / 'pond.png', 100, 128))
    return Subject(deepdream, ['--octaves', '2', '--steps', '3', '--tile-size', '64', *options],
                   ['--models-dir', str(graph_path.parent)], '--content', num_steps, (75000, full))


def dream_film(folder):
    """A film of four frames."""
    return dream(folder, '--content', noise(folder / 'pond.png', 200, 256), '--frames', '4', num_steps=4,
                 full='000000.png')


def features(folder):
    """A sheet of three channels in two batches."""
    import feature_visualization
    import tiny_networks
    from synthesis import contact_sheets, sheet_tiles
    graph_path = tiny_networks.write_inception(folder / 'models')
    contact_sheets.SECONDS_BETWEEN_STATES, sheet_tiles.BATCH_PIXELS = 0.0, 2 * 64 * 64
    options = ['--channels', 'mixed4c:0-2', '--size', '64', '--steps', '6']
    return Subject(feature_visualization, options, ['--models-dir', str(graph_path.parent)], '--explain', 12,
                   (75000, 'state.npz'))


def fast(folder, *options, takes='--content', num_steps=6, disk=(6000, 'network.png')):
    """The networks of fast style transfer with random weights, one residual block: two small images, three styles."""
    import fast_style_transfer
    import tiny_networks
    from networks import vgg
    from synthesis import picture_run
    weights = tiny_networks.vgg19_weights()
    vgg.obtain_weights = lambda *args, **kwargs: ('vgg16', weights, 'tiny', '0' * 64)
    picture_run.SECONDS_BETWEEN_CHECKPOINTS = 0.0
    tiny_networks.shorten_style_networks(setattr)
    tiny_networks.write_style_networks(folder / 'models')
    options = options or ('--content', noise(folder / 'photo.png', 48, 64), noise(folder / 'other.png', 52, 40),
                          '--style-number', '0', '3', '5:1,7:2')
    return Subject(fast_style_transfer, list(options), ['--models-dir', str(folder / 'models')], takes, num_steps, disk)


def fast_learn(folder):
    """A painting that is learned."""
    return fast(folder, '--learn', noise(folder / 'painting.png', 70, 50), '--steps', '6', '--crop-size', '64',
                '--batch-size', '1', takes='--learn', disk=(5000, 'checkpoint.npz'))


def fast_film(folder):
    """A film of four frames."""
    for number in range(4):
        noise(folder / 'frames' / f'{number}.png', 48 + number, 64)
    return fast(folder, '--content', str(folder / 'frames'), '--frames', '4', '--style-number', '7', num_steps=4,
                disk=(6000, 'network.png'))


SUBJECTS = {function.__name__: function for function in (
    concepts, mnist, cifar10, cifar10_airbench, transfer, style, style_film, dream, dream_film, features, fast,
    fast_learn, fast_film)}


def noise(path, height, width):
    """Saves a picture of soft noise; returns its path as str."""
    from common import images
    random = np.random.RandomState(height)
    images.save_image(path, images.resize_image(random.uniform(0, 255, (6, 7, 3)), height, width))
    return str(path)


# ---- The server ----

def serve():
    """Prepares the recipes and runs the programs that stdin asks for, one after the other, each in a fork."""
    warm_up()
    for line in sys.stdin:
        request = json.loads(line)
        if isinstance(request, dict):
            print(forked(run_program, **request), flush=True)
        else:
            forked(serve_recipe, *request)
            print('null', flush=True)


def forked(function, *args, **named):
    """Calls a function in a fork of this process; returns its exit code, of a signal minus its number."""
    child = os.fork()
    if not child:
        try:
            function(*args, **named)
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(1)
    _, status = os.waitpid(child, 0)
    return -os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)


def serve_recipe(name, folder):
    """Prepares a recipe and runs what stdin asks for, until that is null."""
    subject = SUBJECTS[name](Path(folder))
    print(json.dumps(subject._replace(module=subject.module.__file__)._asdict()), flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        if request is None:
            break
        print(forked(run, subject.module, **request), flush=True)


def warm_up():
    """Imports what every run needs; opens no session, since threads do not survive a fork."""
    from scipy import stats  # noqa: F401
    from common import plotting  # noqa: F401
    from common.session import tf
    tf.float32


def run_program(code, argv, out, err, environ):
    """Runs a program's text in this process, which ends with it; see `run`."""
    def main(argv):
        exec(compile(code, 'program', 'exec'), {'__name__': '__main__'})

    os.environ.update(environ)
    run(SimpleNamespace(main=main, __file__='program'), argv, out, err)


def run(module, argv, out, err, stop=None, limit=None, draws=True):
    """Runs a recipe in this process, which ends with it.

    Args:
      module: the recipe.
      argv: list of str.
      out, err: paths of the files that take stdout and stderr.
      stop: (name of a signal, number of the step after which this process sends it to itself), or None.
      limit: int, bytes that no file may exceed, as if the disk were full; None for no limit.
      draws: bool; False leaves figures out, which take longer than the work.
    """
    code = 1
    try:
        for path, number in ((out, 1), (err, 2)):
            os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
        if stop:
            stop_after(getattr(signal, stop[0]), stop[1])
        if not draws:
            from common import pages
            pages.save = lambda *unused: None
        if limit:
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
        sys.argv = [module.__file__, *argv]
        code = module.main(argv) or 0
    except SystemExit as end:
        code = end.code or 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def stop_after(number, steps, note=None):
    """Sends this process a signal after so many steps of whatever the recipe does; makes the file `note` before."""
    from common.progress import Progress
    update, done = Progress.update, []

    def update_and_stop(self, figures=None):
        update(self, figures)
        if self.unit in ('step', 'iteration', 'frame', 'picture'):
            done.append(self)
            if len(done) == steps:
                if note:
                    note.touch()
                os.kill(os.getpid(), number)
    Progress.update = update_and_stop


class Server:
    """This file as a program, from the tests' side."""

    def __init__(self):
        self.process = subprocess.Popen(
            [sys.executable, '-W', 'ignore', str(TESTS / 'tiny_recipes.py')], stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, text=True, env=dict(
                os.environ, PYTHONPATH=os.pathsep.join([str(RECIPES), str(TESTS)]), RECIPES_OFFLINE='1'))

    def ask(self, request):
        """Sends a request; returns its answer."""
        self.process.stdin.write(json.dumps(request) + '\n')
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def run(self, code, *argv, folder, **environ):
        """Runs a program's text, with `argv` and variables of the environment; returns (exit code, stdout, stderr).

        What it prints goes through files in `folder`.
        """
        out, err = Path(folder) / 'stdout', Path(folder) / 'stderr'
        found = self.ask({'code': code, 'argv': [*map(str, argv)], 'out': str(out), 'err': str(err),
                          'environ': environ})
        return found, out.read_text(), err.read_text()

    def close(self):
        """Ends the program."""
        self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()


class TinyRecipe:
    """A recipe that a server has prepared.

    Attributes:
      recipe: Path of the recipe's file.
      subject: Subject.
    """

    def __init__(self, server, name, folder):
        self.server, self.folder = server, folder
        self.subject = Subject(**server.ask([name, str(folder)]))
        self.recipe = Path(self.subject.module)

    def __call__(self, *argv, **request):
        """Runs a command line, which `places` end; see `run`. Returns (exit code, stdout, stderr)."""
        argv = [*map(str, argv), *self.subject.places]
        out, err = self.folder / 'stdout', self.folder / 'stderr'
        code = self.server.ask(dict(request, argv=argv, out=str(out), err=str(err)))
        return code, out.read_text(), err.read_text()

    def run_dir(self, output_dir):
        """Returns the Path of the latest run in an output folder."""
        return (Path(output_dir) / self.recipe.stem / 'latest').resolve()

    def close(self):
        """Ends the recipe; the server is free for another."""
        self.server.ask(None)


if __name__ == '__main__':
    serve()
