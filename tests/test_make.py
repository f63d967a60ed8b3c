"""make_venv.sh, the Makefile and .ci/run, in a checkout of their own with Pythons, pip and uv that only pretend."""
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from packaging.markers import Marker

PROJECT = Path(__file__).resolve().parent.parent
TOOLS = ('awk bash cat cp dirname echo env flock grep head kill ln ls make mkdir mv readlink rm sed sh sleep touch '
         'xargs').split()
REQUIREMENTS = 'pip==24.0\nsetuptools==68.0.0  # builds\nwheel==0.42.0\n# science\nnumpy==1.18.5\n'
DEV_REQUIREMENTS = 'pytest==7.4.4\n'

# Started as a program: notes that in $LOG and does as a Python of VERSION does with -c, -m venv, -m pip and a script.
PYTHON = r'''#!/bin/sh
site=${0%/bin/python}/lib/pythonVERSION/site-packages
case "$1 $2" in
    "-c "*ensurepip*) echo "start NAME" >>"$LOG"
        case " $3 " in *" VERSION "*) echo "$0" ;; *) echo "is Python VERSION" >&2; exit 1 ;; esac ;;
    "-c "*sys.prefix*) [ -f "${0%/bin/python}/pyvenv.cfg" ] ;;
    "-m venv") echo "venv by NAME" >>"$LOG"; mkdir -p "$3/bin" "$3/lib/pythonVERSION/site-packages/pip" "$3/other"
        touch "$3/pyvenv.cfg"; cp "$0" "$3/bin/python" ;;
    "-m pip")
        shift 2
        case "${PIP_DOES-}" in
            sleep) sleep 1 ;;
            die) kill -KILL $PPID; exit 1 ;;
            fail) echo "ERROR: No matching distribution found" >&2; exit 1 ;;
        esac
        echo "pip $*" >>"$LOG"
        for word; do case $word in
            *==*) pins="${pins-} $word" ;;
            *.txt) pins="${pins-} $(grep -o '^[a-z]*==[0-9.]*' "$word")" ;;
        esac; done
        for pin in $pins; do mkdir -p "$site/${pin%==*}" "$site/${pin%==*}-${pin#*==}.dist-info"; done ;;
    *) echo "run $*" >>"$LOG"; echo "PYTHONPATH=${PYTHONPATH-}"; exit "${RECIPE_ENDS_WITH-0}" ;;
esac
'''
PYTHON_3_7 = PYTHON.replace('VERSION', '3.7')
NO_PYTHON_3_7 = '#!/bin/sh\necho "start NAME" >>"$LOG"\necho "pyenv: python3.7: command not found" >&2\nexit 127\n'
# uv on the path: FIND and INSTALL are what its two commands do; a Python it installs is `managed`.
UV = r'''#!/bin/sh
echo "uv ${*}" >>"$LOG"
case "$*" in
    *"--python-preference only-managed"*) [ -f "$HOME/managed/ready" ] && echo "$HOME/managed/python3.7" ;;
    "python find 3.7") FIND ;;
    "python install "*) INSTALL ;;
    --version) ;;
esac
'''
UV_FINDS = 'echo "$HOME/found/python3.7"'
UV_INSTALLS = 'touch "$HOME/managed/ready"'
UV_FAILS = 'echo "uv: no network" >&2; exit 2'
# Some Python 3 whose pip has uv
PYTHON_3_WITH_UV = r'''#!/bin/sh
case "$1 $2" in
    "-m venv") mkdir -p "$3/bin"; cp "$0" "$3/bin/python" ;;
    "-m pip") cp "$HOME/uv-of-pip" "${0%/*}/uv" ;;
esac
'''


class Checkout:
    """A checkout of the project on a machine that has the usual tools and the Pythons that a test gives it."""

    def __init__(self, folder):
        self.home, self.bin, self.log = folder / 'home', folder / 'bin', folder / 'log'
        self.root = folder / 'a checkout'
        self.environ = {'PATH': str(self.bin), 'HOME': str(self.home), 'LOG': str(self.log)}
        self.venv, self.link = self.root / '.venv-tf1', self.root / '.venv'
        for made in (self.home / 'found', self.home / 'managed', self.bin, self.root):
            made.mkdir(parents=True)
        for tool in TOOLS:
            if shutil.which(tool):
                (self.bin / tool).symlink_to(shutil.which(tool))
        for name in ('make_venv.sh', 'Makefile'):
            shutil.copy(str(PROJECT / name), str(self.root))
        for stack, numpy in (('', '1.18.5'), ('-tf2', '2.2.6')):
            (self.root / f'requirements{stack}.txt').write_text(REQUIREMENTS.replace('1.18.5', numpy))
            (self.root / f'requirements{stack}-dev.txt').write_text(DEV_REQUIREMENTS)
        (self.root / 'requirements-tf2-cuda.txt').write_text('nvidia-cuda==12.9\n')
        self.machine('Linux', 'x86_64')

    def program(self, path, text):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(0o755)

    def machine(self, system, processor):
        self.program(self.bin / 'uname', f'#!/bin/sh\n[ "$1" = -s ] && echo {system} || echo {processor}\n')

    def python(self, name, version):
        self.program(self.bin / name, PYTHON.replace('VERSION', version).replace('NAME', name))

    def run(self, *command, **environ):
        return subprocess.run(command, cwd=str(self.root), env=dict(self.environ, **environ), stdin=subprocess.DEVNULL,
                              capture_output=True, text=True, timeout=60)

    def make_venv(self, *options, **environ):
        """Runs make_venv.sh, which must succeed; returns what the fake programs noted meanwhile."""
        done = self.run('./make_venv.sh', *options, **environ)
        assert done.returncode == 0, done.stderr
        return self.noted()

    def noted(self):
        """What the fake programs noted since it was last asked for."""
        lines = self.log.read_text().splitlines() if self.log.exists() else []
        self.log.write_text('')
        return lines

    def installed(self):
        return sorted(path.name for path in (self.venv / 'lib/python3.7/site-packages').glob('*.dist-info'))


@pytest.fixture
def checkout(tmp_path):
    return Checkout(tmp_path)


@pytest.fixture
def machine(checkout):
    """A checkout on a machine with python3.7 on its path."""
    checkout.program(checkout.bin / 'python3.7', PYTHON_3_7.replace('NAME', 'python3.7'))
    return checkout


# ---- Which Python ----

CANDIDATES = 'python3.7', 'pyenv', 'uv find', 'uv install', 'uv of pip'


def give_pythons(checkout, working):
    """Gives the checkout's machine every candidate; those in `working` start, the others are there and fail."""
    texts = {name: (PYTHON_3_7 if name in working else NO_PYTHON_3_7).replace('NAME', name) for name in CANDIDATES}
    checkout.program(checkout.bin / 'python3.7', texts['python3.7'])
    checkout.program(checkout.home / '.pyenv/versions/3.7.16/bin/python3.7', texts['pyenv'])
    checkout.program(checkout.home / 'found/python3.7', texts['uv find'])
    managed = 'uv install' if 'uv install' in working else 'uv of pip'
    checkout.program(checkout.home / 'managed/python3.7', texts[managed])
    uv = UV.replace('FIND', UV_FINDS)
    checkout.program(checkout.bin / 'uv', uv.replace('INSTALL', UV_INSTALLS if 'uv install' in working else UV_FAILS))
    checkout.program(checkout.home / 'uv-of-pip',
                     uv.replace('INSTALL', UV_INSTALLS if 'uv of pip' in working else UV_FAILS))
    checkout.program(checkout.bin / 'python3', PYTHON_3_WITH_UV)


@pytest.mark.parametrize('number', range(len(CANDIDATES)))
def test_the_first_that_starts_is_taken(checkout, number):
    give_pythons(checkout, CANDIDATES[number:])
    noted = checkout.make_venv(STACK='tf1')
    assert [line for line in noted if line.startswith('venv')] == ['venv by ' + CANDIDATES[number]]
    # those before it were started too, in this order, and none after it
    started = [line[len('start '):] for line in noted if line.startswith('start')]
    assert started == list(CANDIDATES[:min(number, 3)]) + [CANDIDATES[number]]


def test_uv_is_asked_to_install_only_for_tf1_when_it_finds_none(checkout):
    give_pythons(checkout, ('uv install',))
    asked = [line for line in checkout.make_venv(STACK='tf1') if line.startswith('uv')]
    assert asked == ['uv python find 3.7', 'uv python install 3.7',
                     'uv python find --python-preference only-managed 3.7']
    shutil.rmtree(str(checkout.venv))
    assert checkout.run('./make_venv.sh').returncode == 2  # unasked, nothing is downloaded
    assert not [line for line in checkout.noted() if 'install' in line]


def test_what_uv_says_is_shown(checkout):
    give_pythons(checkout, ())
    done = checkout.run('./make_venv.sh', STACK='tf1')
    assert done.returncode == 2 and 'uv: no network' in done.stderr


@pytest.mark.parametrize('pythons, environ, expected', [
    ({'python3.7': '3.7', 'python3.13': '3.13'}, {}, ('.venv-tf1', 'TensorFlow 1.15', 'python3.7')),
    ({'python3.7': '3.7', 'python3.13': '3.13'}, {'STACK': 'tf2'}, ('.venv-tf2', 'TensorFlow 2', 'python3.13')),
    ({'python3.10': '3.10', 'python3.12': '3.12'}, {}, ('.venv-tf2', 'TensorFlow 2', 'python3.12')),
    ({'python3': '3.11'}, {}, ('.venv-tf2', 'TensorFlow 2', 'python3')),
    ({'python3.7': '3.7', 'mine': '3.12'}, {'PYTHON': 'mine'}, ('.venv-tf2', 'TensorFlow 2', 'mine')),
    ({'python3.13': '3.13', 'mine': '3.7'}, {'PYTHON': 'mine'}, ('.venv-tf1', 'TensorFlow 1.15', 'mine'))],
    ids=['3.7 first', 'STACK', 'the newest', 'python3', 'PYTHON of tf2', 'PYTHON of tf1'])
def test_which_stack(checkout, pythons, environ, expected):
    for name, version in pythons.items():
        checkout.python(name, version)
    done = checkout.run('./make_venv.sh', **environ)
    assert done.returncode == 0, done.stderr
    venv, title, python = expected
    assert re.search(f'making {venv} with (.*/)?{python}, for {title}:', done.stderr)
    assert ('make STACK=' in done.stderr) == ('STACK' not in environ)  # how to have the other
    assert checkout.link.resolve() == checkout.root / venv
    requirements = 'requirements-tf2.txt' if venv == '.venv-tf2' else 'requirements.txt'
    assert [line.split()[-1] for line in checkout.noted() if line.startswith('pip')][-1] == requirements


def test_both_stacks_stay_side_by_side(checkout):
    checkout.python('python3.7', '3.7')
    checkout.python('python3.13', '3.13')
    checkout.make_venv(STACK='tf1')
    checkout.make_venv(STACK='tf2')
    assert checkout.link.resolve().name == '.venv-tf2'
    assert checkout.make_venv(STACK='tf1') == []
    assert checkout.link.resolve().name == '.venv-tf1'


@pytest.mark.parametrize('system, processor', [('Darwin', 'arm64'), ('Linux', 'aarch64')])
def test_a_machine_without_packages_of_tensorflow_1(checkout, system, processor):
    checkout.machine(system, processor)
    checkout.python('python3.7', '3.7')
    checkout.python('python3.13', '3.13')
    assert 'venv by python3.13' in checkout.make_venv()
    done = checkout.run('./make_venv.sh', STACK='tf1')
    assert done.returncode == 2 and f'this is {system} {processor}; use STACK=tf2' in done.stderr


@pytest.mark.parametrize('driver, environ, taken', [
    ('echo "GPU 0: NVIDIA"', {}, True), ('echo "GPU 0: NVIDIA"', {'CUDA': '0'}, False), ('exit 9', {}, False),
    (None, {}, False), (None, {'CUDA': '1'}, True)], ids=['card', 'card, CUDA=0', 'no driver', 'none', 'none, CUDA=1'])
def test_cuda_comes_where_there_is_a_card(checkout, driver, environ, taken):
    checkout.python('python3.13', '3.13')
    if driver:
        checkout.program(checkout.bin / 'nvidia-smi', f'#!/bin/sh\n{driver}\n')
    done = checkout.run('./make_venv.sh', DRY_RUN='1', **environ)
    assert ('requirements-tf2-cuda.txt' in done.stdout) == taken and not checkout.link.exists()
    assert any('cuda' in line for line in checkout.make_venv(**environ)) == taken


@pytest.mark.parametrize('python, said', [
    ('folder', 'is a folder; name the program'), ('nothing', 'it does not start'), ('old', 'but it is Python 3.9')])
def test_a_python_named_that_does_not_serve(checkout, python, said):
    checkout.python('python3.7', '3.7')
    checkout.python('old', '3.9')
    (checkout.root / 'folder').mkdir()
    done = checkout.run('./make_venv.sh', PYTHON=python)
    assert done.returncode == 2 and said in done.stderr and not checkout.link.exists()


def test_a_stack_that_there_is_not(checkout):
    done = checkout.run('./make_venv.sh', STACK='tf3')
    assert done.returncode == 2 and 'STACK=tf3: tf1' in done.stderr


def test_pyenv_root_is_honored(checkout, tmp_path):
    checkout.program(tmp_path / 'opt/pyenv/versions/3.7.9/bin/python3.7', PYTHON_3_7.replace('NAME', 'pyenv'))
    assert 'venv by pyenv' in checkout.make_venv(PYENV_ROOT=str(tmp_path / 'opt/pyenv'))


@pytest.mark.parametrize('pythons', ['none', 'none that starts'])
def test_no_python(checkout, pythons):
    if pythons == 'none that starts':
        give_pythons(checkout, ())
    done = checkout.run('./make_venv.sh')
    assert done.returncode == 2
    assert done.stdout == ''
    assert done.stderr.count('error:') == 1
    for way in ('no Python that serves', 'apt install python3-venv', 'brew install', 'pyenv install',
                'uv python install', 'conda create', 'make PYTHON='):
        assert way in done.stderr
    assert not checkout.link.exists() and not checkout.venv.exists()


def test_uv_that_pip_left_half_installed_is_fetched_again(checkout):
    give_pythons(checkout, ('uv of pip',))
    checkout.program(checkout.root / '.uv/bin/uv', '#!/bin/sh\nexit 126\n')
    assert 'venv by uv of pip' in checkout.make_venv(STACK='tf1')


@pytest.mark.slow
def test_the_python_below_an_environment_is_taken_and_pip_is_heard(checkout):
    """A real Python: an active .venv must not be what the new .venv is made of. A real pip that gets nothing."""
    done = checkout.run('./make_venv.sh', PYTHON=sys.executable, PIP_NO_INDEX='1')
    base = Path(sys.base_prefix) / 'bin' / 'python{}.{}'.format(*sys.version_info)
    assert f'with {base}, for' in done.stderr
    assert 'No matching distribution found for pip==24.0' in done.stderr
    assert 'error: cannot install the packages' in done.stderr
    assert done.returncode == 3


@pytest.mark.slow
@pytest.mark.parametrize('change, code, said', [
    ('sys.version_info = (3, 8, 0)', 2, 'is Python 3.8'),
    ("sys.modules['ssl'] = None", 2, 'without the module ssl'),
    ("sys.modules['ensurepip'] = None", 2, 'without the module ensurepip: it needs sudo apt install python3-venv'),
    ('sys.maxsize = 2 ** 31 - 1', 2, 'is a 32-bit Python'),
    ('pass', 3, 'cannot install')], ids=['3.8', 'ssl', 'ensurepip', '32 bits', 'serves, and pip gets nothing'])
def test_a_python_that_cannot_serve_is_refused(checkout, change, code, said):
    checkout.program(checkout.bin / 'mine', f'#!/bin/sh\nexec "{sys.executable}" -c "import sys\n{change}\n'
                     'exec(sys.argv.pop(1))" "$2" "$3"\n')
    checkout.environ['PYTHON'] = 'mine'
    done = checkout.run('./make_venv.sh', PIP_NO_INDEX='1')
    assert done.returncode == code and said in done.stderr


# ---- When .venv is made ----

def test_makes_the_environment(machine):
    assert machine.make_venv() == [
        'start python3.7', 'venv by python3.7',
        'pip -qq --disable-pip-version-check install --no-build-isolation --no-deps pip==24.0 setuptools==68.0.0 '
        'wheel==0.42.0',
        'pip -qq --disable-pip-version-check install --no-build-isolation --no-deps -r requirements.txt']
    assert machine.installed() == ['numpy-1.18.5.dist-info', 'pip-24.0.dist-info', 'setuptools-68.0.0.dist-info',
                                   'wheel-0.42.0.dist-info']


def test_it_says_what_it_makes_and_how_to_have_the_other(machine):
    done = machine.run('./make_venv.sh')
    assert re.fullmatch('make_venv.sh: making .venv-tf1 with .*/python3.7, for TensorFlow 1.15: about a minute.*\n'
                        r'make_venv.sh: \(make STACK=tf2 for TensorFlow 2\)\n', done.stderr)
    assert done.stdout == ''


@pytest.mark.parametrize('options', [[], ['--dev']])
def test_the_second_time_nothing_is_done(machine, options):
    machine.make_venv(*options)
    done = machine.run('./make_venv.sh', *options)
    assert (done.returncode, done.stdout, done.stderr, machine.noted()) == (0, '', '', [])


def test_it_works_from_any_folder(machine, tmp_path):
    machine.make_venv()
    subprocess.run([str(machine.root / 'make_venv.sh')], cwd=str(tmp_path), env=machine.environ, check=True)
    assert machine.noted() == []


def test_changed_requirements_make_it_anew(machine):
    machine.make_venv()
    (machine.venv / 'lib/python3.7/site-packages/left-over').mkdir()
    (machine.root / 'requirements.txt').write_text(REQUIREMENTS.replace('1.18.5', '1.18.6'))
    machine.make_venv()
    assert 'numpy-1.18.6.dist-info' in machine.installed()
    assert 'numpy-1.18.5.dist-info' not in machine.installed()
    assert not (machine.venv / 'lib/python3.7/site-packages/left-over').exists()


def test_a_package_added_by_hand_is_no_damage(machine):
    machine.make_venv()
    (machine.venv / 'lib/python3.7/site-packages/ipython').mkdir()
    assert machine.make_venv() == []


def remove(path):
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(str(path))
    else:
        path.unlink()


def write(text):
    return lambda path: path.write_text(text)


def into_a_file(path):
    remove(path)
    path.write_text('')


def into_a_dangling_link(path):
    remove(path)
    path.symlink_to('/nowhere')


@pytest.mark.parametrize('path, damage', [
    ('.', remove), ('.', into_a_file), ('.', into_a_dangling_link),
    ('bin/python', remove), ('bin/python', into_a_dangling_link), ('bin/python', write('#!/bin/sh\nexit 127\n')),
    ('pyvenv.cfg', remove), ('lib', remove),
    ('lib/python3.7/site-packages/numpy', remove), ('lib/python3.7/site-packages/numpy-1.18.5.dist-info', remove),
    ('stamp', remove), ('stamp', write('')), ('stamp', write('something else\n')),
], ids=lambda value: getattr(value, '__name__', value))
def test_a_broken_environment_is_mended(machine, path, damage):
    machine.make_venv()
    damage(machine.venv / path)
    assert 'venv by python3.7' in machine.make_venv()
    assert 'numpy-1.18.5.dist-info' in machine.installed()
    assert machine.make_venv() == []


def test_a_moved_checkout_gets_an_environment_of_its_own(machine, tmp_path):
    machine.make_venv()
    machine.root.rename(tmp_path / 'moved')
    machine.root = tmp_path / 'moved'
    assert 'venv by python3.7' in machine.make_venv()


@pytest.mark.parametrize('options', [[], ['--dev']])
def test_a_kill_leaves_it_to_be_made_again(machine, options):
    assert machine.run('./make_venv.sh', *options, PIP_DOES='die').returncode == -9
    assert 'venv by python3.7' in machine.make_venv(*options)
    assert machine.make_venv(*options) == []


@pytest.mark.parametrize('options', [[], ['--dev']])
def test_pips_failure_is_shown_and_tried_again(machine, options):
    if options:
        machine.make_venv()
    done = machine.run('./make_venv.sh', *options, PIP_DOES='fail')
    assert done.returncode == 3
    assert 'ERROR: No matching distribution found\nmake_venv.sh: error: cannot install the packages' in done.stderr
    machine.noted()
    assert machine.make_venv(*options) != []
    assert machine.make_venv(*options) == []


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which('flock'), reason='this machine has no flock')
def test_two_at_once(machine):
    runs = [subprocess.Popen(['./make_venv.sh'], cwd=str(machine.root), env=dict(machine.environ, PIP_DOES='sleep'),
                             stderr=subprocess.PIPE, universal_newlines=True) for _ in range(2)]
    said = sorted(run.communicate(timeout=60)[1] for run in runs)
    assert [run.returncode for run in runs] == [0, 0]
    assert said[0] == 'make_venv.sh: another make is making an environment: waiting for it\n'
    assert machine.noted().count('venv by python3.7') == 1


def test_no_flock(machine):
    if (machine.bin / 'flock').exists():
        (machine.bin / 'flock').unlink()
    assert 'venv by python3.7' in machine.make_venv()
    assert machine.make_venv() == []


# ---- What tests need, on top ----

def test_dev_adds_only_what_is_missing(machine):
    machine.make_venv()
    assert 'pytest-7.4.4.dist-info' not in machine.installed()
    noted = machine.make_venv('--dev')
    assert [line.split()[-1] for line in noted] == ['requirements-dev.txt']
    assert 'pytest-7.4.4.dist-info' in machine.installed()
    assert machine.make_venv() == []


def test_changed_dev_requirements_leave_the_rest_alone(machine):
    machine.make_venv('--dev')
    (machine.root / 'requirements-dev.txt').write_text('pytest==7.4.5\n')
    assert machine.make_venv() == []
    assert [line.split()[-1] for line in machine.make_venv('--dev')] == ['requirements-dev.txt']


def test_the_studio_is_added_for_itself_alone(machine):
    (machine.root / 'requirements-studio.txt').write_text('flask==3.1.3\n')
    machine.make_venv('--dev')
    assert [line.split()[-1] for line in machine.make_venv('--studio')] == ['requirements-studio.txt']
    assert 'flask-3.1.3.dist-info' in machine.installed()
    assert machine.make_venv('--studio') == machine.make_venv('--dev') == machine.make_venv() == []


def test_a_lost_pytest_is_put_back(machine):
    machine.make_venv('--dev')
    remove(machine.venv / 'lib/python3.7/site-packages/pytest')
    noted, = machine.make_venv('--dev')
    assert noted.endswith('--force-reinstall -r requirements-dev.txt')  # pip alone would take it for installed
    assert (machine.venv / 'lib/python3.7/site-packages/pytest').exists()


def test_changed_requirements_bring_dev_back_too(machine):
    machine.make_venv('--dev')
    (machine.root / 'requirements.txt').write_text(REQUIREMENTS + 'six==1.17.0\n')
    machine.make_venv('--dev')
    assert {'pytest-7.4.4.dist-info', 'six-1.17.0.dist-info'} <= set(machine.installed())


# ---- make ----

RECIPES = {'concepts': 'concepts.py', 'mnist': 'mnist_convnet.py', 'cifar10': 'cifar10_tflearn.py',
           'style': 'style_transfer.py', 'fast-style': 'fast_style_transfer.py',
           'dream': 'deepdream.py', 'features': 'feature_visualization.py', 'transfer': 'vgg16_transfer.py'}


def targets():
    listed, = re.findall(r'^\.PHONY: (.*)$', (PROJECT / 'Makefile').read_text().replace('\\\n', ''), re.MULTILINE)
    return listed.split()


@pytest.mark.parametrize('command', [['make'], ['make', 'help']])
def test_help_lists_every_target(checkout, command):
    done = checkout.run(*command)
    assert done.returncode == 0
    lines = done.stdout.splitlines()
    for target in targets():
        assert sum(bool(re.match(f'  make {target}  +[a-z]', line)) for line in lines) == 1, target
    assert 'make ARGS="--steps 50" mnist' in done.stdout
    assert not checkout.venv.exists()


@pytest.mark.parametrize('target', sorted(RECIPES))
def test_a_recipe_runs_with_its_options(machine, target):
    done = machine.run('make', 'ARGS=--steps 50 --content "my picture.jpg"', target)
    assert done.returncode == 0, done.stderr
    assert machine.noted()[-1] == f'run recipes/{RECIPES[target]} --steps 50 --content my picture.jpg'
    machine.run('make', target)
    assert machine.noted() == ['run recipes/' + RECIPES[target]]  # at once


def test_transfer_is_told_where_the_photographs_are(machine):
    machine.run('make', 'DATA=my photographs', 'ARGS=--quiet', 'transfer')
    assert machine.noted()[-1] == 'run recipes/vgg16_transfer.py --data-dir my photographs --quiet'


def test_features_are_removed_and_runs_are_not(machine):
    run_dir, features = machine.root / 'output/vgg16_transfer/2026', machine.root / 'output/vgg16_transfer/features/a'
    run_dir.mkdir(parents=True)
    features.mkdir(parents=True)
    assert machine.run('make', 'clean-features').returncode == 0
    assert run_dir.exists() and not features.exists()


def test_each_recipe_of_the_makefile_is_there():
    named = re.findall(r'recipes/\S+\.py', (PROJECT / 'Makefile').read_text())
    assert set(named) >= {'recipes/' + name for name in RECIPES.values()}
    assert [name for name in named if not (PROJECT / name).exists()] == []


@pytest.mark.parametrize('target, program', [('test', '-m pytest'), ('test-fast', '-m pytest'),
                                             ('lint', '-m mypy')])
def test_test_and_lint_have_what_they_need(machine, target, program):
    assert machine.run('make', target).returncode == 0
    assert 'pytest-7.4.4.dist-info' in machine.installed()
    assert machine.noted()[-1].strip().startswith(f'run {program}')


def test_a_recipe_that_fails_fails_make(machine):
    done = machine.run('make', 'mnist', RECIPE_ENDS_WITH='3')
    assert done.returncode == 2  # make has no other
    assert 'Error 3' in done.stderr


def test_no_recipe_runs_without_a_python(checkout):
    done = checkout.run('make', 'mnist')
    assert done.returncode == 2
    assert 'no Python that serves' in done.stderr
    assert 'Error 2' in done.stderr
    assert checkout.noted() == []


def test_make_hands_python_on_and_keeps_pythonpath_back(checkout):
    checkout.program(checkout.home / 'mine', PYTHON_3_7.replace('NAME', 'mine'))
    done = checkout.run('make', 'PYTHON=%s' % (checkout.home / 'mine'), 'mnist', PYTHONPATH='/opt/ros')
    assert 'venv by mine' in checkout.noted()
    assert 'PYTHONPATH=\n' in done.stdout


def test_what_a_recipe_is_can_be_said_without_an_environment(checkout):
    (checkout.root / 'recipes').mkdir()
    shutil.copy(str(PROJECT / 'recipes/mnist_convnet.py'), str(checkout.root / 'recipes'))
    done = checkout.run('make', 'ARGS=--help', 'mnist')
    assert done.returncode == 0 and not checkout.link.exists()
    assert done.stdout.startswith('A convolutional network that reads handwritten digits')
    assert 'import' not in done.stdout and 'docs/mnist_convnet.md' in done.stdout


def test_clean_venv(machine):
    machine.make_venv()
    (machine.root / '.uv').mkdir()
    assert machine.run('make', 'clean-venv').returncode == 0
    assert not machine.venv.exists() and not (machine.root / '.uv').exists()


# ---- The pins ----

def pins(name, **environment):
    """{package: version} that a requirements file asks for, in the environment (PEP 508) that runs or the one given."""
    lines = [line.split('#')[0].strip() for line in (PROJECT / name).read_text().splitlines()]
    lines = [line.partition('; ') for line in lines if line]
    return dict(pin.split('==') for pin, _, marker in lines  # fails on a line without a pin
                if not marker or Marker(marker).evaluate(environment))


@pytest.mark.parametrize('stack, tensorflow', [('', ('tensorflow-gpu', '1.15.0')), ('-tf2', ('tensorflow', '2.21.0'))])
def test_every_package_is_pinned_once(stack, tensorflow):
    ours, dev = pins(f'requirements{stack}.txt'), pins(f'requirements{stack}-dev.txt')
    assert tensorflow in ours.items()
    assert {'tflearn', 'numpy', 'scipy', 'matplotlib', 'pillow', 'h5py', 'pip', 'setuptools', 'wheel'} <= set(ours)
    assert {'pytest', 'ruff', 'mypy', 'pytest-xdist'} <= set(dev)
    assert not set(ours) & set(dev)
    assert not set(ours) & set(pins('requirements-tf2-cuda.txt'))


@pytest.mark.parametrize('stack, python', [('', '3.7'), ('-tf2', '3.13')])
def test_the_studio_is_pinned_and_takes_what_is_there(stack, python):
    studio, ours = pins('requirements-studio.txt', python_version=python), pins(f'requirements{stack}.txt')
    assert {'flask', 'waitress'} <= set(studio) and not set(studio) & set(ours)
    assert {'werkzeug', 'jinja2', 'markupsafe'} <= set(ours)


def test_a_mac_gets_the_tensorflow_that_it_has():
    assert pins('requirements.txt', sys_platform='darwin')['tensorflow'] == '1.15.0'
    assert 'tensorflow-gpu' not in pins('requirements.txt', sys_platform='darwin')
    assert 'tensorflow' not in pins('requirements.txt', sys_platform='linux')


@pytest.mark.skipif(Path(sys.prefix) != PROJECT / '.venv', reason="needs to run in make's .venv")
def test_the_environment_is_what_is_pinned_and_nothing_is_missing():
    run = [sys.executable, '-m', 'pip', '--disable-pip-version-check']
    listed = subprocess.run(run + ['list', '--format=freeze'], stdout=subprocess.PIPE, text=True).stdout
    installed = dict(line.lower().replace('_', '-').split('==') for line in listed.splitlines())
    stack = '' if sys.version_info[:2] == (3, 7) else '-tf2'
    pinned = dict(pins(f'requirements{stack}.txt'), **pins(f'requirements{stack}-dev.txt'))
    assert {name: installed.get(name) for name in pinned} == pinned
    checked = subprocess.run(run + ['check'], stdout=subprocess.PIPE, text=True)
    assert checked.stdout == 'No broken requirements found.\n'  # --no-deps would not bring what is not pinned


# ---- .ci/run ----

@pytest.mark.parametrize('failing, code', [('', 0), ('lint', 1), ('test', 1)])
@pytest.mark.parametrize('shared', [True, False])
def test_ci_runs_linter_and_tests(checkout, tmp_path, failing, code, shared):
    (checkout.root / '.ci').mkdir()
    shutil.copy(str(PROJECT / '.ci/run'), str(checkout.root / '.ci'))
    if shared:
        (tmp_path / 'shared/data').mkdir(parents=True)
    (checkout.bin / 'make').unlink()
    checkout.program(checkout.bin / 'make', f'''#!/bin/sh
echo "${{STACK:+STACK=$STACK }}$1 ${{RECIPES_DATA_DIR-unset}} ${{RECIPES_MODELS_DIR-unset}}"
[ "$1" != "{failing}" ]
''')
    done = checkout.run('bash', '.ci/run')
    folder = f'{checkout.root}/../shared/data' if shared else 'unset'
    assert done.stdout == ''.join(f'{what} {folder} unset\n' for what in (
        'venv-studio', 'lint', 'test', 'STACK=tf2 venv-studio', 'STACK=tf2 test'))  # the tests' count comes last
    assert done.returncode == code
