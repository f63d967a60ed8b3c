"""What architecture and style ask of every file under recipes/; new files are covered by being there."""
import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

RECIPES = Path(__file__).resolve().parent.parent / 'recipes'
FILES = sorted(RECIPES.rglob('*.py'))
PACKAGES = sorted(path.parent.name for path in RECIPES.glob('*/__init__.py'))
# What a file of each package may import of ours; a recipe (no package) imports the packages, never a recipe.
MAY_IMPORT = {'common': {'common'}, 'datasets': {'common', 'datasets'}, 'networks': {'common', 'networks'},
              'training': {'common', 'datasets', 'networks', 'training'},
              'synthesis': {'common', 'networks', 'synthesis'},
              '': {'common', 'datasets', 'networks', 'synthesis', 'training'}}


def name_of(path):
    return path.relative_to(RECIPES).as_posix()


def offences(find):
    """{name of a file: what find(its tree, its path) finds} for those files in which it finds something."""
    found = {name_of(path): find(ast.parse(path.read_text(encoding='utf-8')), path) for path in FILES}
    return {name: offence for name, offence in found.items() if offence}


def package_of(path):
    return path.relative_to(RECIPES).parts[0] if path.parent != RECIPES else ''


def dotted(node):
    """'a.b.c' for the expression a.b.c, else ''."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute) and dotted(node.value):
        return dotted(node.value) + '.' + node.attr
    return ''


def imported_names(tree):
    """Every name that is imported, in full: 'from a import b' and 'import a.b' both give 'a.b'."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from ('.' * node.level + (node.module or '') + '.' + alias.name for alias in node.names)


def our_imports(tree):
    ours = set(PACKAGES) | {path.stem for path in RECIPES.glob('*.py')}
    return {name.split('.')[0] for name in imported_names(tree)} & ours


def public_definitions(tree):
    """Public functions and classes of a module, and public methods of its public classes."""
    for node in tree.body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and not node.name.startswith('_'):
            yield node
            if isinstance(node, ast.ClassDef):
                yield from public_definitions(node)


def forbidden(tree):
    """What stands in `tree` that may stand nowhere under recipes/."""
    names = set(imported_names(tree)) | {dotted(node) for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    for name in sorted(names):
        if name.startswith('.'):
            yield 'relative import ' + name
        for part in ('contrib', 'pyplot', 'pylab'):
            if part in name.split('.'):
                yield name
        if name == 'sys.path' or name.startswith('sys.path.'):
            yield 'sys.path'


def test_packages_are_those_of_the_architecture():
    assert PACKAGES == ['common', 'datasets', 'networks', 'synthesis', 'training']


def test_imports_point_one_way():
    assert offences(lambda tree, path: our_imports(tree) - MAY_IMPORT[package_of(path)]
                    - ({'mnist_convnet'} if path.name == 'studio.py' else set())) == {}


def test_nothing_forbidden():
    assert offences(lambda tree, path: list(forbidden(tree))) == {}


def test_docstrings():
    def undocumented(tree, path):
        return ([] if ast.get_docstring(tree) else ['the module']) + [
            node.name for node in public_definitions(tree) if not ast.get_docstring(node)]
    assert offences(undocumented) == {}


def test_no_module_imports_tensorflow_by_its_name():
    # common.session hands TensorFlow and Keras on, quietly and when they are first used
    def by_name(tree, path):
        modules = {name.split('.')[0] for node in tree.body for name in imported_names(node)
                   if isinstance(node, (ast.Import, ast.ImportFrom))}
        return modules & {'tensorflow', 'tensorflow_core', 'keras', 'tf_keras', 'tflearn'}
    assert offences(by_name) == {}


@pytest.mark.parametrize('source, found', [
    ('import tensorflow.contrib.layers', 'tensorflow.contrib.layers'),
    ('def f():\n  return tf.contrib.image.rotate', 'tf.contrib'),
    ('from matplotlib import pyplot as plt', 'matplotlib.pyplot'),
    ('import sys\nsys.path.insert(0, "..")', 'sys.path'),
    ('from sys import path', 'sys.path'),
    ('from . import files', 'relative import ..files'),
])
def test_the_check_finds_what_is_forbidden(source, found):
    assert found in list(forbidden(ast.parse(source)))


def test_the_check_finds_imports_inside_functions():
    tree = ast.parse('def f():\n  from mnist_convnet import main\n  import networks.vgg\n')
    assert our_imports(tree) >= {'networks'}


IMPORT_AND_LOOK = '''
import functools, importlib, os, sys, threading
made, late = [], set()
def mkdir(path, *args, **kwargs):
    made.append(os.fspath(path))
    return make_folder(path, *args, **kwargs)
make_folder, os.mkdir = os.mkdir, functools.partial(mkdir)  # before pathlib takes os.mkdir over
for module in sys.argv[1:]:
    made.clear()
    importlib.import_module(module)
    asked_for = {'tensorflow', 'tensorflow_core', 'keras', 'tf_keras', 'tflearn', 'matplotlib.pyplot'}
    new = asked_for & set(sys.modules) - late
    late |= new
    folders = [path for path in made if not path.startswith(os.environ['HOME'])]  # matplotlib's are for its fonts
    if new: print(module, 'imported', sorted(new))
    if threading.active_count() > 1: print(module, 'threads started')
    if folders: print(module, 'folders made', folders)
    if 'tensorflow' in sys.modules:
        if sys.modules['tensorflow'].compat.v1.get_default_graph().get_operations(): print('the graph is not empty')
'''


def outcome_of_imports(modules, home, search_path=RECIPES):
    """What importing `modules` in a process of its own does and ought not to; '' where all is well."""
    environ = dict(os.environ, PYTHONPATH=str(search_path), HOME=str(home), PYTHONDONTWRITEBYTECODE='1')
    environ.pop('MPLCONFIGDIR', None)
    said = subprocess.run([sys.executable, '-c', IMPORT_AND_LOOK, *modules], cwd=str(home), env=environ,
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          encoding='utf-8').stdout
    return said.replace('Matplotlib is building the font cache; this may take a moment.\n', '')  # on a busy machine


def test_nothing_happens_at_import(tmp_path):
    modules = [name_of(path)[:-len('.py')].replace('/', '.') for path in FILES]
    assert outcome_of_imports(modules, tmp_path) == ''


@pytest.mark.parametrize('source, said', [
    ('import this_is_not_there', 'ModuleNotFoundError'),
    ('print("hello")', 'hello'),
    ('import pathlib; pathlib.Path("../made").mkdir()', 'folders made'),
    ('import threading, time; threading.Thread(target=time.sleep, args=(1,)).start()', 'threads started'),
    ('import matplotlib.pyplot', 'matplotlib.pyplot'),
    ('import warnings; warnings.simplefilter("ignore"); import tensorflow.compat.v1 as tf; '
     'tf.disable_eager_execution(); tf.constant(1)', 'graph is not empty'),
])
def test_the_check_sees_what_happens_at_import(tmp_path, source, said):
    home = tmp_path / 'home'
    home.mkdir()
    (tmp_path / 'noisy.py').write_text(source)
    assert said in outcome_of_imports(['noisy'], home, search_path=tmp_path)


@pytest.mark.parametrize('recipe', sorted(path.name for path in RECIPES.glob('*.py')))
@pytest.mark.parametrize('options', [[], ['--help']], ids=['', 'help'])
def test_a_recipe_without_an_environment_says_so_in_one_line(recipe, options):
    done = subprocess.run([sys.executable, '-S', '-E', str(RECIPES / recipe), *options], stdin=subprocess.DEVNULL,
                          capture_output=True, encoding='utf-8')  # -S: no site-packages
    assert done.returncode == 3 and done.stdout == ''
    line, = done.stderr.splitlines()
    assert f'{recipe}: error: this Python' in line and 'make venv' in line and '. .venv/bin/activate' in line
