"""Bad inputs for every recipe: option values drawn from the parsers, files, run folders; and kills at every write.

    python tests/fuzz.py inputs --count 3000 --seed 0       make fuzz
    python tests/fuzz.py kills --count 200 --seed 0         make fuzz ARGS="kills --count 200"
    python tests/fuzz.py hostile                            make fuzz ARGS=hostile

Each case runs a recipe's main in a fork of a process that has imported TensorFlow and has opened no session, on the
tiny networks of tiny_recipes.py. Found is: a traceback, a crash, more or less than one line of error, a hang, half a
file left behind, a file outside the run that has changed, and nonsense that is accepted without a word; after a kill,
a difference between the run that is resumed and one that nothing stopped. The same seed draws the same cases.
"""
import argparse
import contextlib
import collections
import copy
import csv
import hashlib
import json
import os
import random as random_module
import re
import resource
import shutil
import signal
import socket
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, List, NamedTuple

TESTS = Path(__file__).resolve().parent
sys.path[:0] = [str(TESTS), str(TESTS.parent / 'recipes')]

import hostile  # noqa: E402, after the path
import tiny_recipes  # noqa: E402

SUBJECTS = dict(tiny_recipes.SUBJECTS, features=tiny_recipes.features)
SECONDS = 180            # after which a case counts as a hang; the machine may be busy
MEMORY = 24 << 30        # bytes of addresses: TensorFlow alone reserves some
ERROR = re.compile(r'^[\w.]+: (error|interrupted): ', re.MULTILINE)
WHOLE_NUMBERS = '-1', '1.5', '2147483648', '9223372036854775808', '1' * 20, '1e3', '0x10', 'nan', 'inf', 'x', ''
REAL_NUMBERS = '-1e30', 'nan', 'inf', '-inf', '1e38', '1e309', '1' * 40, '1,5', 'x', ''
TEXTS = '', ' ', '-', ':', '*', '::', 'nothing', 'a' * 5000, '\udcff', 'conv4_2:nan', 'mixed4c:99999', 'mixed4c:-1', \
    'mixed4c*1e999', 'mixed4c:0-99999999999', '%s%s%n', '../../etc/passwd', 'mixed4c:0@2,2', '\n'
JSON_VALUES = (None, True, -1, 0, 2 ** 31, 10 ** 20, 1.5, 1e308, float('nan'), float('inf'), '', 'x',
               '../../../../victim.png', '/dev/zero', '\udcff', [], [[]], [None], {}, {'x': []}, [1, 2, 3], ['x', 'y'])


class Case(NamedTuple):
    """One command line to try.

    Attributes:
      kind: str, of the bad input.
      what: str, what is bad about it.
      argv: list of str.
      nonsense: bool, to end with exit code 0 would be wrong.
      folder: Path in which no half file may stay.
    """
    kind: str
    what: str
    argv: List[str]
    nonsense: bool
    folder: Any


# ---- Running a case ----

class Ended(NamedTuple):
    """How a process ended."""
    code: Any       # its exit code, negative for a signal, None for one that was ended because it took too long
    out: str
    err: str
    seconds: float


def in_fork(function, folder, seconds=SECONDS):
    """Runs a function in a fork with its output in files in `folder`; returns Ended."""
    out, err, began = folder / 'stdout', folder / 'stderr', time.monotonic()
    child = os.fork()
    if not child:
        os.setpgid(0, 0)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
        function(str(out), str(err))
        os._exit(99)  # the function ends the process
    status = None
    try:
        while status is None and time.monotonic() - began < seconds:
            found, code = os.waitpid(child, os.WNOHANG)
            if found:
                status = code
            else:
                time.sleep(0.01)
    finally:
        with contextlib.suppress(OSError):
            os.killpg(child, signal.SIGKILL)  # also what it has started
    if status is None:
        os.waitpid(child, 0)
    else:
        status = -os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)
    texts = [path.read_text(errors='surrogateescape') if path.exists() else '' for path in (out, err)]
    return Ended(status, *texts, time.monotonic() - began)


def judge(case, ended, victim):
    """Returns a list of str, what is wrong with how a case ended."""
    found = []
    if ended.code is None:
        return ['hang']
    if 'Traceback (most recent' in ended.err or ended.code not in (0, 1, 2, 3):
        found.append('traceback')
    elif ended.code and len(ERROR.findall(ended.err)) != 1 and 'skipped: ' not in ended.err:
        found.append('not one line')
    if 'out of memory' in ended.err and case.kind != 'option':
        found.append('out of memory')
    if case.nonsense and ended.code == 0:
        found.append('accepted')
    if any('.part' in path.name or 'tempstate' in path.name for path in case.folder.rglob('*')):
        found.append('half a file')
    if victim and victim.read_bytes() != VICTIM:
        found.append('victim changed')
        victim.write_bytes(VICTIM)
    return found


VICTIM = b'\x89PNG\r\n\x1a\n precious'


# ---- Options ----

class Captured(Exception):
    """Carries a recipe's parser out of its parse_args."""


def parser_of(module):
    """Returns the argparse parser that a recipe makes."""
    from common import cli
    kept = cli.parse_args

    def capture(parser, *unused, **also_unused):
        error = Captured()
        error.parser = parser
        raise error
    cli.parse_args = capture
    try:
        module.parse_args([])
    except Captured as captured:
        return captured.parser
    finally:
        cli.parse_args = kept
    raise AssertionError(f'{module.__name__} parses its options some other way')


def make_odd_files(folder):
    """Makes files that are none: returns (list of those that no option can read, list of odd ones to write to)."""
    folder.mkdir()
    (folder / 'empty').write_bytes(b'')
    (folder / 'text').write_text('this is a text, and nothing else\n' * 20)
    (folder / 'zeros').write_bytes(bytes(5000))
    (folder / 'noise').write_bytes(random_module.Random(0).getrandbits(8 * 5000).to_bytes(5000, 'big'))
    (folder / 'bomb').write_bytes(b'\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\xff\xff\0\0\xff\xff\x08\x02\0\0\0')
    (folder / 'pickle').write_bytes(b'cos\nsystem\n(S"touch ' + str(folder / 'acted').encode() + b'"\ntR.')
    (folder / 'concat').write_text('ffconcat version 1.0\nfile text.png\n')
    (folder / 'directory').mkdir()
    os.mkfifo(str(folder / 'fifo'))
    bad = []
    for suffix in ('.png', '.gif', '.mp4', '.mat', '.h5', '.onnx', '.npz', '.pb', '.txt', '.zip', ''):
        for name in ('empty', 'text', 'zeros', 'noise', 'bomb', 'pickle', 'concat', 'directory', 'fifo'):
            path = folder / (name + suffix)
            if suffix:
                path.symlink_to(name)
            bad.append(path)
        for name, target in (('zero', '/dev/zero'), ('loop', 'loop' + suffix), ('dangling', 'nowhere'),
                             ('full', '/dev/full'), ('null', '/dev/null')):
            path = folder / (name + suffix)
            path.symlink_to(target)
            bad.append(path)
    server = socket.socket(socket.AF_UNIX)
    server.bind(os.path.relpath(str(folder / 'socket')))
    bad += [folder / 'socket', folder / 'missing.png', folder / 'text' / 'below.png', folder / ('a' * 300 + '.png'),
            Path('/proc/self/mem'), Path('/proc/1/environ.png')]
    odd = [folder / 'fifo', folder / 'directory', folder / 'loop', folder / 'full', folder / 'zero', folder / 'socket',
           folder / 'text' / 'below.png', folder / ('a' * 300 + '.png'), folder / ('a' * 251 + '.png'),
           folder / 'dangling.png', Path('/proc/x.png'), Path('/dev/stdin'), folder / 'new.xyz', folder / 'new.png',
           folder / '\udcff.png']
    return list(map(str, bad)), list(map(str, odd))


WRITTEN = {'--output', '--output-dir', '--features-dir'}


def value_of(action, random, bad, odd):
    """Draws a value for an option; returns (list of str, bool: it cannot be meant)."""
    kind = getattr(action.type, '__qualname__', None)
    if action.choices:
        return [random.choice(['', 'x', *map(str, action.choices), 'a' * 5000, '\udcff'])], False
    if kind in ('Path', '_path'):
        if '--weights' in action.option_strings:
            return [random.choice(bad)], False  # tiny_recipes has weights of its own in their place
        if WRITTEN & set(action.option_strings):
            return [random.choice(odd)], False
        more = action.nargs == '+' and random.random() < 0.2
        return [random.choice(bad) for _ in range(1 + more)], True
    if kind and action.type is not str:
        is_whole = False
        with contextlib.suppress(Exception):
            is_whole = isinstance(action.type('3'), int)
        value = random.choice(WHOLE_NUMBERS if is_whole else REAL_NUMBERS)
        takes_several = ',' in str(action.metavar)  # N[,N...]: there 1,5 is two numbers
        return [value], not (takes_several and value == '1,5')
    values = [random.choice(TEXTS) for _ in range(random.choice((1, 1, 2)) if action.nargs == '+' else 1)]
    return values, False


def option_cases(random, subject, parser, folder, bad, odd):
    """Yields cases without end: one option, or several, with values that it ought not to take."""
    actions = [action for action in parser._actions if action.option_strings and action.dest not in ('help', 'resume')]
    output = folder / 'options'
    while True:
        argv, whats, is_nonsense = [], [], False
        for action in random.sample(actions, random.choice((1, 1, 1, 2, 3))):
            name = action.option_strings[0]
            if action.nargs == 0:
                argv.append(name)
                whats.append(name)
                continue
            values, nonsense = value_of(action, random, bad, odd)
            argv += [f'{name}={values[0]}'] if len(values) == 1 and action.nargs not in ('+', '*') else [name, *values]
            whats.append(f'{name} {" ".join(values)[:80]!r}')
            is_nonsense = is_nonsense or nonsense
        given = {word.split('=')[0] for word in argv}
        if '--data-dir' in given and subject.module.__name__ != 'vgg16_transfer':
            is_nonsense = False  # the sample, or what stands in for the data
        if '--models-dir' in given and '--models-dir' not in subject.places or '--list-layers' in given:
            is_nonsense = False  # what stands in for the weights
        # without the options of a tiny run, what is accepted would take its time
        base = [] if is_nonsense and random.random() < 0.2 else subject.options
        argv = [*base, '--output-dir', str(output), *subject.places, *argv]
        yield Case('option', ', '.join(whats), argv, is_nonsense, output)


# ---- Files ----

def damage(random, content):
    """Returns (bytes, what was done to them, bool: nothing can be read of it any more)."""
    how = random.choice(('cut', 'cut', 'empty', 'flip', 'flip', 'zeros', 'head', 'twice', 'insert'))
    size = len(content)
    if how == 'cut':
        end = random.randrange(max(size // 3, 1))
        return content[:end], f'cut at {end} of {size}', True
    if how == 'empty':
        return b'', 'empty', True
    if how == 'flip':
        changed = bytearray(content)
        places = [random.randrange(size) for _ in range(random.choice((1, 4, 64)))]
        for place in places:
            changed[place] ^= 1 << random.randrange(8)
        return bytes(changed), f'bits flipped at {places[:4]}', False
    if how == 'zeros':
        start = random.randrange(size)
        return content[:start] + bytes(size - start), f'zeros from {start} of {size}', False
    if how == 'head':
        return random.getrandbits(512).to_bytes(64, 'big') + content[64:], 'another head', False
    if how == 'twice':
        return content + content, 'twice', False
    place, more = random.randrange(size), random.getrandbits(800).to_bytes(100, 'big')
    return content[:place] + more + content[place:], f'100 bytes inserted at {place}', False


def picture_files(folder):
    """Makes small pictures in the formats that are read; returns list of Path."""
    import numpy as np
    from PIL import Image
    folder.mkdir()
    pixels = np.random.RandomState(0).randint(0, 255, [72, 96, 3]).astype(np.uint8)
    pixels[10:60, 20:80] = 250
    made = []
    for name, options in (('a.png', {}), ('a.jpg', {}), ('a.gif', {}), ('a.bmp', {}), ('a.tif', {}), ('a.webp', {}),
                          ('b.gif', {'save_all': True, 'append_images': [Image.fromarray(255 - pixels)]}),
                          ('b.tif', {'compression': 'tiff_lzw'}), ('b.png', {'optimize': True})):
        with contextlib.suppress(KeyError, OSError):
            Image.fromarray(pixels).save(str(folder / name), **options)
            made.append(folder / name)
    Image.fromarray(pixels[:, :, 0]).save(str(folder / 'gray.png'))
    Image.fromarray(pixels).convert('P').save(str(folder / 'palette.png'))
    return made + [folder / 'gray.png', folder / 'palette.png']


def file_cases(random, subject, parser, folder):
    """Yields cases without end: damaged copies of files that a recipe reads, under any option that takes a file."""
    pictures = picture_files(folder / 'good')
    sources = [(option, path) for option in ('--content', '--style', '--predict', '--mask', '--guide', '--init')
               if option in parser._option_string_actions for path in pictures]
    if '--models-dir' in subject.places:  # deepdream's graph and labels
        models = Path(subject.places[1])
        sources += [(option, path) for path in sorted(models.iterdir()) if path.is_file()
                    for option in ['--graph' if path.suffix == '.pb' else '--labels'] * 12]
    if subject.module.__name__ == 'vgg16_transfer':
        sources += [('--data-dir', path) for path in dataset_files(subject, folder / 'sets') for _ in range(8)]
    if subject.module.__name__ == 'mnist_convnet':
        sources += [('--data-dir', path) for path in digit_files(folder / 'digits') for _ in range(8)]
    base = [*subject.options, '--output-dir', str(folder / 'files')]
    if '--predict' in parser._option_string_actions:
        base_predict = ['--output-dir', str(folder / 'whole')]
    while True:
        option, path = random.choice(sources)
        content, what, nonsense = damage(random, path.read_bytes())
        nonsense = nonsense and (option != '--labels' or not content)  # a list cut short is a list
        bad = folder / f'damaged{path.suffix}'
        bad.write_bytes(content)
        target = bad
        if option == '--data-dir' and path.parent.name == 'digits':
            target = folder / 'data'
            shutil.rmtree(str(target), ignore_errors=True)
            shutil.copytree(str(path.parent), str(target))
            (target / path.name).write_bytes(content)
        elif option == '--data-dir':
            target = bad.with_name('damaged' + ''.join(path.suffixes))
            bad.rename(target)
            if random.random() < 0.8:  # else what was unpacked of another archive is there
                shutil.rmtree(str(bad.with_name('damaged')), ignore_errors=True)
        argv = [*(base_predict if option == '--predict' else base), *subject.places, option, str(target)]
        yield Case('file', f'{option} {path.name}, {what}', argv, nonsense, folder / 'files')


def digit_files(folder):
    """Makes the four files of MNIST, a few digits long; returns list of Path."""
    import gzip
    import numpy as np
    folder.mkdir()
    random = np.random.RandomState(0)
    for part, count in (('train', 300), ('t10k', 100)):
        images = random.randint(0, 255, [count, 28, 28]).astype(np.uint8)
        labels = (np.arange(count) % 10).astype(np.uint8)
        for name, magic, array in (('images-idx3', 0x803, images), ('labels-idx1', 0x801, labels)):
            content = b''.join(number.to_bytes(4, 'big') for number in (magic, *array.shape)) + array.tobytes()
            (folder / f'{part}-{name}-ubyte.gz').write_bytes(gzip.compress(content))
    return sorted(folder.iterdir())


def dataset_files(subject, folder):
    """Packs the folder of images as .zip and .tar.gz; returns list of Path."""
    folder.mkdir()
    images = subject.places[subject.places.index('--data-dir') + 1]
    return [Path(shutil.make_archive(str(folder / 'images'), kind, images)) for kind in ('zip', 'gztar')]


# ---- Run folders ----

def damaged_json(random, data):
    """Changes one place in what JSON holds; returns (data, what was done)."""
    data = copy.deepcopy(data)
    places = list(_places(data))
    holder, key = random.choice(places)
    how, name = random.choice(('remove', 'replace', 'replace', 'replace')), str(key)
    if how == 'remove':
        del holder[key]
        return data, f'{name} removed'
    value = random.choice(JSON_VALUES)
    holder[key] = value
    return data, f'{name} is {value!r}'


def _places(data):
    for key, value in (list(data.items()) if isinstance(data, dict) else list(enumerate(data))):
        if isinstance(value, (dict, list)) and value:
            yield from _places(value)
            yield from _places(value)  # what lies deeper is drawn as often
        yield data, key


def run_cases(random, subject, parser, folder, victim):
    """Yields cases without end: damaged copies of runs, finished and killed, to be resumed or to predict with."""
    work = folder / 'damaged_run'
    kinds = {name: sorted((folder / name / subject.module.__name__).glob('2*'))[-1] for name in ('whole', 'killed')}
    settings = {action.dest: action for action in parser._actions}
    while True:
        kind = random.choice(('whole', 'killed', 'killed'))
        shutil.rmtree(str(work), ignore_errors=True)
        run_dir = work / subject.module.__name__ / kinds[kind].name
        shutil.copytree(str(kinds[kind]), str(run_dir), symlinks=True)
        names = [path for path in run_dir.rglob('*') if path.is_file() and path.suffix in ('.json', '.csv', '.npz')
                 or path.parent.name == 'checkpoints']
        names += [run_dir / 'run.json'] * 12 + [path for path in names if path.name == 'state.json'] * 4
        path = random.choice(names)
        what, nonsense = _damage_file(random, path, settings, victim)
        argv = ['--resume', str(run_dir)]
        if subject.class_names and kind == 'whole' and random.random() < 0.5:
            argv = ['--run', str(run_dir), '--predict', str(folder / 'good' / 'a.png')]
            nonsense = nonsense and 'settings' in what
        elif kind == 'whole' and path.name != 'run.json':
            nonsense = False  # nothing of it is needed any more
        yield Case('run', f'{kind}, {path.relative_to(run_dir)}: {what}',
                   [*argv, '--output-dir', str(work), *subject.places], nonsense, work)


def _damage_file(random, path, settings, victim):
    """Damages one file of a run; returns (what was done, bool: it must not be accepted)."""
    how = random.random()
    if how < 0.06:
        path.unlink()
        special = random.choice(('nothing', 'fifo', 'directory', 'link to a device', 'link elsewhere'))
        if special == 'fifo':
            os.mkfifo(str(path))
        elif special == 'directory':
            path.mkdir()
        elif special != 'nothing':
            path.symlink_to('/dev/zero' if 'device' in special else str(victim))
        return f'{special} in its place', path.name == 'run.json'
    if path.suffix == '.json' and how < 0.85:
        data = json.loads(path.read_text())
        if path.name == 'run.json' and random.random() < 0.5:
            name = random.choice(sorted(data['settings']))
            value = random.choice(JSON_VALUES + (str(victim),))
            was = data['settings'][name]
            data['settings'][name] = value
            path.write_text(json.dumps(data))
            return f'settings: {name} is {value!r} (was {was!r})', not _can_be(settings[name], value)
        data, what = damaged_json(random, data)
        path.write_text(json.dumps(data))
        return what, what == 'settings removed'
    content, what, nonsense = damage(random, path.read_bytes() or b'x')
    path.write_bytes(content)
    return what, nonsense and path.name in ('run.json', 'state.json')


def _can_be(action, value):
    """Tells whether an option can have a value that run.json records."""
    if value is None or action.dest == 'output':
        return True
    if action.nargs == 0:
        return isinstance(value, bool)
    if isinstance(value, (list, dict)):
        return isinstance(value, list) and (action.nargs in ('+', '*') or type(action).__name__ == '_AppendAction')
    if isinstance(value, bool):
        return False
    text = isinstance(value, str)
    kind = getattr(action.type, '__qualname__', None)
    if action.choices or kind in ('Path', '_path') or action.type is None:
        return text and (not action.choices or value in action.choices)
    try:
        return action.type(str(value)) == value or kind.startswith('_one_or')
    except (argparse.ArgumentTypeError, ValueError):
        return False


# ---- The inputs of one recipe ----

def fuzz_inputs(name, folder, count, seed, report):
    """Tries `count` bad inputs on a recipe; calls report(case, ended, findings) after each."""
    subject = SUBJECTS[name](folder)
    tiny_recipes.warm_up()
    parser, random = parser_of(subject.module), random_module.Random(f'{seed} {name}')
    os.chdir(str(folder))
    bad, odd = make_odd_files(folder / 'odd')
    victim = folder / 'victim.png'
    victim.write_bytes(VICTIM)

    def run(argv, seconds=SECONDS, **options):
        return in_fork(lambda out, err: tiny_recipes.run(subject.module, argv, out, err, draws=False, **options),
                       folder, seconds)
    whole = [*subject.options, *subject.places]
    ended = run([*whole, '--output-dir', str(folder / 'whole')], seconds=10 * SECONDS)
    assert ended.code == 0, ended
    ended = run([*whole, '--output-dir', str(folder / 'killed')], 10 * SECONDS,
                stop=('SIGKILL', subject.num_steps - 1))
    assert ended.code == -9, ended
    sources = [option_cases(random, subject, parser, folder, bad, odd), file_cases(random, subject, parser, folder),
               run_cases(random, subject, parser, folder, victim)]
    for _ in range(count):
        case = next(random.choices(sources, (3, 1, 1))[0])  # most options end at once
        ended = run(case.argv)
        found = judge(case, ended, victim)
        if (folder / 'odd' / 'acted').exists():
            found.append('acted')
            (folder / 'odd' / 'acted').unlink()
        report(case, ended, found)
        shutil.rmtree(str(case.folder), ignore_errors=True)


# ---- Kills ----

WRITES = 'fsync', 'replace', 'rename', 'unlink', 'open', 'mkdir', 'rmdir', 'symlink'


def kill_at(number, counted=None):
    """Has this process killed before its write of that number; with `counted`, a path, the count of them goes there."""
    done = [0]

    def counting(function):
        def wrapper(*args, **kwargs):
            done[0] += 1
            if counted:
                with open(counted, 'w') as file:
                    file.write(str(done[0]))
            elif done[0] == number:
                os.kill(os.getpid(), signal.SIGKILL)
            return function(*args, **kwargs)
        return wrapper
    for name in WRITES:
        setattr(os, name, counting(getattr(os, name)))


NOT_COMPARED = re.compile(r'run\.json|report\.html|\.thumbnail\.jpg|\.lock|checkpoints/(state\.json|checkpoint)|'
                          r'tensorboard/|.*\.npz|saved_model/|model\.h5')


def contents(run_dir):
    """Returns {name: checksum} of a run's files: all but times, and of tables all but the seconds."""
    found = {}
    for path in sorted(run_dir.rglob('*')):
        name = path.relative_to(run_dir).as_posix()
        if path.is_file() and not NOT_COMPARED.match(name):
            content = path.read_bytes()
            if path.suffix == '.csv':
                table = csv.DictReader(content.decode().splitlines())
                content = repr([{**row, 'seconds': ''} for row in table]).encode()
            found[name] = hashlib.sha256(content).hexdigest()
    return found


def fuzz_kills(name, folder, count, seed, report):
    """Kills a recipe `count` times, at its writes and at any time; resumed, a run has to end as if never stopped."""
    subject = SUBJECTS[name](folder)
    tiny_recipes.warm_up()
    random = random_module.Random(f'{seed} {name}')
    export = ['--export'] if subject.class_names else []
    whole = [*subject.options, *export, *subject.places]

    def run(argv, before=lambda: None, seconds=SECONDS):
        def function(out, err):
            before()
            tiny_recipes.run(subject.module, argv, out, err, draws=False)
        return in_fork(function, folder, seconds)

    ended = run([*whole, '--output-dir', str(folder / 'whole')], lambda: kill_at(0, str(folder / 'count')),
                10 * SECONDS)
    assert ended.code == 0, ended
    num_writes, seconds = int((folder / 'count').read_text()), ended.seconds
    expected = contents(_latest(folder / 'whole', subject))
    for number in range(count):
        output = folder / 'killed'
        shutil.rmtree(str(output), ignore_errors=True)
        argv = [*whole, '--output-dir', str(output)]
        if random.random() < 0.7:
            place = random.randrange(1, num_writes + 1)
            what = f'killed at write {place} of {num_writes}'
            ended = run(argv, lambda: kill_at(place))
        else:
            after = random.uniform(0, seconds)
            what = f'killed after {after:.2f} of {seconds:.2f} s'
            ended = run(argv, seconds=after)
        found = []
        if list(output.glob(f'{subject.module.__name__}/2*/run.json')):
            ended = run(['--resume', *export, '--output-dir', str(output), *subject.places])
            run_dir = sorted(output.glob(f'{subject.module.__name__}/2*/run.json'))[-1].parent
            if ended.code != 0:
                found.append('not resumed')
            elif contents(run_dir) != expected:
                now = contents(run_dir)
                what += ': ' + ', '.join(sorted(key for key in {**now, **expected}
                                                if now.get(key) != expected.get(key)))
                found.append('difference')
        else:
            what += ' (before there was a run)'
        report(Case('kill', what, argv, False, output), ended, found)


# ---- Hostile files ----

def fuzz_hostile(family, folder, count, seed, report):
    """Tries each hostile file of a family; found is also what acts: a secret that is opened, a victim that changes.

    Args:
      family: str, a key of hostile.FAMILIES.
      folder, report: as for fuzz_inputs.
      count, seed: of no use; each file is tried once.
    """
    from datasets import cifar10
    from networks import vgg
    make, name = hostile.FAMILIES[family]
    readers = [(module, key, getattr(module, key)) for module, key in ((vgg, 'obtain_weights'), (cifar10, 'load'))]
    secrets, victims = hostile.prepare(folder)
    (folder / 'subject').mkdir()
    subject = SUBJECTS[name](folder / 'subject')
    tiny_recipes.warm_up()

    def run(argv, **options):
        return in_fork(lambda out, err: tiny_recipes.run(subject.module, argv, out, err, draws=False, **options),
                       folder)
    whole, killed = [*subject.options, *subject.places], None
    ended = run([*whole, '--output-dir', str(folder / 'whole')])
    assert ended.code == 0, ended
    if make is hostile.run_folders:
        ended = run([*whole, '--output-dir', str(folder / 'killed')], stop=('SIGKILL', subject.num_steps - 1))
        assert ended.code == -9, ended
        killed = _latest(folder / 'killed', subject)
    if family in hostile.REAL:
        for module, key, reader in readers:
            setattr(module, key, reader)
    starters = folder / 'starters'  # in place of programs that libraries start
    starters.mkdir()
    for program in ('gs', 'gswin64c', 'rsvg-convert', 'inkscape', 'convert', 'magick', 'xdg-open', 'display'):
        (starters / program).write_text(f'#!/bin/sh\ntouch {victims}/started-{program}\n')
        (starters / program).chmod(0o755)
    os.environ['PATH'] = f'{starters}:{os.environ["PATH"]}'
    os.chdir(str(secrets))  # where names without a folder would be looked for
    attack, output = folder / 'attack', folder / 'output'
    attack.mkdir()
    place = hostile.Place(attack, secrets, victims, subject, _latest(folder / 'whole', subject), killed)
    around = _names(folder, attack, output)
    with hostile.Watch(secrets, victims) as watch:
        for one in make(place):
            watch.seen()
            argv = [*(() if '--resume' in one.argv else whole), '--output-dir', str(output), *subject.places, *one.argv]
            ended = run(argv)
            case = Case('hostile', f'{family}: {one.name}', argv, False, output)
            found = [word for word in judge(case, ended, None) if word != 'half a file']
            opened, changed = watch.seen()
            found += [f'opened {name}' for name in opened if not one.may_read] + [f'changed {name}' for name in changed]
            found += [f'made {name}' for name in _names(folder, attack, output) - around]
            if b'7f3a90c1' in (ended.out + ended.err).encode(errors='replace'):
                found.append('told a secret')
            report(case, ended, found)
            shutil.rmtree(str(output), ignore_errors=True)
            if changed:
                hostile.fill(secrets, victims)
                around = _names(folder, attack, output)


def _names(folder, *without):
    """Returns the names of all files below a folder, but for some folders in it and what takes stdout and stderr."""
    kept = {*map(str, without), str(folder / 'stdout'), str(folder / 'stderr')}
    found = set()
    for parent, folders, names in os.walk(str(folder)):
        folders[:] = [name for name in folders if os.path.join(parent, name) not in kept]
        found.update(os.path.join(parent, name) for name in [*folders, *names])
    return found - kept


def _latest(output, subject):
    return (output / subject.module.__name__ / 'latest').resolve()


# ---- The report ----

def main(argv=None):
    """Tries the recipes in turn; prints what was found, and returns 1 where that is anything."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('what', choices=('inputs', 'kills', 'hostile'), nargs='?', default='inputs')
    parser.add_argument('--count', type=int, default=400, help='cases, of all recipes together')
    parser.add_argument('--seed', type=int, default=0, help='the same seed draws the same cases')
    parser.add_argument('--recipes', nargs='+', choices=tuple(SUBJECTS), metavar='NAME',
                        default=list(SUBJECTS), help=', '.join(SUBJECTS))
    parser.add_argument('--families', nargs='+', choices=tuple(hostile.FAMILIES), metavar='NAME',
                        default=list(hostile.FAMILIES), help='of hostile files: ' + ', '.join(hostile.FAMILIES))
    parser.add_argument('--verbose', action='store_true', help='print every case')
    args = parser.parse_args(argv)
    os.environ['RECIPES_OFFLINE'] = '1'
    from common.session import tf
    tf.float32
    counts = collections.Counter()
    share = -(-args.count // len(args.recipes))
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with contextlib.suppress(KeyboardInterrupt):  # what was found until then counts
        for name in args.families if args.what == 'hostile' else args.recipes:
            counts['unfinished', name, 'given up'] += 1
            _try_one(name, share, args, counts)
            del counts['unfinished', name, 'given up']
            told = [f'{kind} {word} {count}' for (of, kind, word), count in sorted(counts.items()) if of == name]
            print(f'{name}: {", ".join(told)}', flush=True)
    tried = sum(count for (*_, word), count in counts.items() if word == 'tried')
    total = collections.Counter()
    for (_, _, word), count in counts.items():
        total[word] += count
    print(f'{tried} tried; ' + (', '.join(f'{word} {count}' for word, count in sorted(total.items()) if word != 'tried')
                                or 'nothing found'))
    return 1 if set(total) - {'tried'} else 0


def _try_one(name, share, args, counts):
    """Tries one recipe, or one family of hostile files, in a process of its own; adds to `counts` what it finds."""
    with tempfile.TemporaryDirectory(prefix='fuzz-') as folder:
        read, write = os.pipe()
        child = os.fork()
        if not child:  # what prepares one recipe does not reach the next
            os.close(read)
            _child(name, Path(folder), share, args, write)
        os.close(write)
        try:
            with os.fdopen(read) as lines:
                for line in lines:
                    found = json.loads(line)
                    counts[name, found['kind'], 'tried'] += 1
                    for word in found['found']:
                        counts[name, found['kind'], word] += 1
                    if found['found'] or args.verbose:
                        print(f'{name}: {found["kind"]}: {", ".join(found["found"]) or "well"}: {found["what"]}',
                              f'    {" ".join(found["argv"])}',
                              f'    exit code {found["code"]} after {found["seconds"]:.1f} s: {found["err"]}',
                              sep='\n', flush=True)
        except KeyboardInterrupt:
            os.kill(child, signal.SIGTERM)
            os.waitpid(child, 0)
            raise
        if os.waitpid(child, 0)[1]:
            counts[name, 'harness', 'broken'] += 1


def _child(name, folder, share, args, write):
    code = 1
    try:
        def report(case, ended, found):
            err = ended.err if 'traceback' in found else (ended.err.strip().splitlines() or [''])[-1]
            line = json.dumps({'kind': case.kind, 'what': case.what, 'argv': [str(word)[:200] for word in case.argv],
                               'found': found, 'code': ended.code, 'err': err[-3000:], 'seconds': ended.seconds})
            os.write(write, line.encode() + b'\n')
        function = {'inputs': fuzz_inputs, 'kills': fuzz_kills, 'hostile': fuzz_hostile}[args.what]
        function(name, folder, share, args.seed, report)
        code = 0
    except KeyboardInterrupt:
        pass
    except BaseException:
        import traceback
        traceback.print_exc()
    finally:
        os._exit(code)


if __name__ == '__main__':
    sys.exit(main())
