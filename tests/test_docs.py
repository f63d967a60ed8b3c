"""README.md and docs/ keep up with the code: commands parse, quoted code is in the source, links and pictures exist."""
import argparse
import importlib
import re
import shlex
import shutil
import textwrap
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parent.parent
PAGES = [PROJECT / 'README.md', PROJECT / 'CONTRIBUTING.md', PROJECT / 'CHANGELOG.md',
         *sorted((PROJECT / 'docs').glob('*.md'))]
COMMANDS = {'report': 'docs/runs-and-resume.md', 'studio': 'docs/studio.md'}  # no recipes; the pages that describe them
RECIPES = sorted({path.stem for path in (PROJECT / 'recipes').glob('*.py')} - set(COMMANDS))
SHARED_OPTIONS = 'docs/runs-and-resume.md'
FENCE = re.compile(r'(?:<!-- from (?P<source>\S+) -->\n)?^```(?P<language>\w*)\n(?P<code>.*?)^```$', re.M | re.S)
LINK = re.compile(r'\]\(([^)\s]+)\)')
MACHINE_DEPENDENT = {'--threads'}  # defaults


def name_of(path):
    return path.relative_to(PROJECT).as_posix()


def read(path):
    return path.read_text(encoding='utf-8')


every_page = pytest.mark.parametrize('path', PAGES, ids=name_of)
every_recipe = pytest.mark.parametrize('recipe', RECIPES)


# ---- Commands ----

def commands_of(path):
    """Yields the commands that a page tells to type: in indented or fenced lines, and between backticks."""
    text = read(path)
    for line in text.splitlines():
        if re.match(r'(    )?(python|make|conda|docker|pip|\./make_venv\.sh|sh) ', line) or line == '    make':
            yield line.strip()
    yield from re.findall(r'`((?:python (?:recipes|tests|docs)/|make )[^`]+)`', text)


def all_commands():
    return sorted({(name_of(path), command) for path in PAGES for command in commands_of(path)})


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A working directory in which every file that a command names exists, and every recipe has a run."""
    runs = importlib.import_module('common.runs')
    monkeypatch.chdir(tmp_path)
    for folder in ('docs', 'recipes'):
        (tmp_path / folder).symlink_to(PROJECT / folder)
    for recipe in RECIPES:
        runs.create(tmp_path / 'output', recipe, settings={'seed': 0}, seed=0)
    runs.release_all()
    yield tmp_path
    runs.release_all()


def check_recipe(words, place):
    """Parses a recipe's options as the recipe does."""
    recipe = Path(words[0]).stem
    assert words[0] == f'recipes/{recipe}.py' and recipe in RECIPES + list(COMMANDS)
    for word in words[1:]:
        if word.startswith(('docs/', 'recipes/')):
            assert (PROJECT / word).is_file(), word
        elif word.endswith('/'):
            (place / word).mkdir(parents=True, exist_ok=True)
        elif Path(word).suffix in ('.jpg', '.png'):
            shutil.copyfile(str(PROJECT / 'docs' / 'samples' / 'flowers.jpg'), word)
        elif Path(word).suffix in ('.mp4', '.gif', '.pb', '.h5'):
            (place / word).touch()
    importlib.import_module(recipe).parse_args(words[1:] + ['--output-dir', str(place / 'output')])


def check_script(words):
    """A script of tests/benchmarks or docs: it is there, and mentions each option."""
    source = read(PROJECT / words[0])
    for word in words[1:]:
        assert not word.startswith('--') or f"'{word}'" in source, word


def check_make(words, place):
    makefile = read(PROJECT / 'Makefile')
    targets = set(re.findall(r'^([a-z0-9-]+):', makefile, re.M))
    known = makefile + read(PROJECT / 'make_venv.sh')
    variables = dict(word.split('=', 1) for word in words if '=' in word)
    wanted = [word for word in words if '=' not in word]
    assert set(wanted) <= targets, set(wanted) - targets
    for name in variables:
        assert re.search(rf'\b{name}\b', known), name
    for target in wanted:
        script = re.search(rf'^{target}:.*\n(?:\t.*\n)*?\t.*(recipes/\w+\.py)', makefile, re.M)
        if script and 'ARGS' in variables and '--help' not in variables['ARGS']:
            check_recipe([script.group(1), *shlex.split(variables['ARGS'])], place)


@pytest.mark.parametrize('page, command', all_commands(), ids=lambda text: re.sub(r'\W+', '-', text)[:60])
def test_a_command_parses(page, command, place):
    words = shlex.split(command, comments=True)
    if words[0] == 'make':
        check_make(words[1:], place)
    elif words[:2] == ['python', '-m']:
        assert words[2] in ('pytest', 'ruff', 'mypy')
        assert all((PROJECT / word).exists() for word in words if word.endswith('.py'))
    elif words[0] == 'python' and words[1].startswith('recipes/'):
        if '--help' not in words:
            check_recipe(words[1:], place)
    elif words[0] == 'python':
        check_script(words[1:])
    else:  # conda, docker, pip: the files that they are given are there
        files = [value for option, value in zip(words, words[1:]) if option in ('-f', '--file', '-r')]
        assert all((PROJECT / file).is_file() for file in files), files


def test_commands_are_found():
    found = [command for _, command in all_commands()]
    assert len(found) > 60
    for recipe in RECIPES:
        assert any(command.startswith(f'python recipes/{recipe}.py') for command in found), recipe


# ---- Options ----

class Caught(Exception):
    pass


def options_of(recipe, monkeypatch):
    """Returns {option: its action} of a recipe's parser."""
    def catch(parser, *unused_args, **unused_kwargs):
        raise Caught(parser)

    with monkeypatch.context() as patch:
        patch.setattr(argparse.ArgumentParser, 'parse_args', catch)
        patch.setattr(argparse.ArgumentParser, 'parse_known_args', catch)
        with pytest.raises(Caught) as caught:
            importlib.import_module(recipe).parse_args([])
    actions = caught.value.args[0]._actions
    return {(action.option_strings or [action.dest])[-1]: action for action in actions if action.dest != 'help'}


def described_in(page):
    """Returns [(option, what stands behind it, the cell of its default)] of the tables of options of a page."""
    return re.findall(r'^\| `(--[a-z0-9-]+)([^`]*)` \| ([^|]*?) ?\|', read(PROJECT / page), re.M)


@every_recipe
def test_every_option_is_described_in_one_page(recipe, monkeypatch):
    options = options_of(recipe, monkeypatch)
    own = [option for option, _, _ in described_in(f'docs/{recipe}.md')]
    shared = [option for option, _, _ in described_in(SHARED_OPTIONS)]
    assert sorted(own + [option for option in shared if option in options]) == sorted(options)


@pytest.mark.parametrize('command', sorted(COMMANDS))
def test_the_page_of_a_command_names_its_options(command, monkeypatch):
    page = read(PROJECT / COMMANDS[command])
    for option, action in options_of(command, monkeypatch).items():
        assert not action.option_strings or re.search(rf'`{option}\b', page), option


def test_shared_options_are_shared(monkeypatch):
    everywhere = [option for recipe in RECIPES for option in options_of(recipe, monkeypatch)]
    for option, _, _ in described_in(SHARED_OPTIONS):
        assert everywhere.count(option) > 1, option


@every_recipe
def test_defaults_and_choices_are_those_of_the_parser(recipe, monkeypatch):
    for name, action in options_of(recipe, monkeypatch).items():
        found = [row for page in (f'docs/{recipe}.md', SHARED_OPTIONS) for row in described_in(page) if row[0] == name]
        for _, argument, cell in found:
            choices = re.match(r' \{(.*)\}', argument)
            assert bool(choices) == bool(action.choices), name
            if choices:
                assert set(choices.group(1).split(',')) == set(action.choices), name
            if action.default not in (None, False) and not isinstance(action.default, Path) \
                    and name not in MACHINE_DEPENDENT:
                default = action.default
                default = ' '.join(map(str, default)) if isinstance(default, (list, tuple)) else str(default)
                assert re.match(rf'`?{re.escape(default)}(?![\w.])', cell), (name, default, cell)


def test_environment_variables_are_described():
    sources = [*(PROJECT / 'recipes').rglob('*.py'), PROJECT / 'Makefile', PROJECT / 'make_venv.sh']
    used = set(re.findall(r'\bRECIPES_[A-Z_]+\b', '\n'.join(map(read, sources))))
    used |= {'RECIPES_DATA_DIR', 'RECIPES_MODELS_DIR'}  # put together in common/cli.py
    assert set(re.findall(r'`(RECIPES_[A-Z_]+)', read(PROJECT / SHARED_OPTIONS))) == {
        name for name in used if not name.endswith('_')}


# ---- Quoted code ----

def position(chunk, lines, first):
    """Returns where the lines of `chunk` stand in `lines`, however far they are indented there; -1 for nowhere."""
    wanted = textwrap.dedent(chunk).strip('\n')
    length = wanted.count('\n') + 1
    for start in range(first, len(lines) - length + 1):
        if textwrap.dedent('\n'.join(lines[start:start + length])) == wanted:
            return start
    return -1


def quotes():
    return [(path, match) for path in PAGES for match in FENCE.finditer(read(path)) if match['language'] == 'python']


@pytest.mark.parametrize('path, match', quotes(), ids=[f'{path.stem}-{k}' for k, (path, _) in enumerate(quotes())])
def test_quoted_code_stands_in_the_source(path, match):
    assert match['source'], 'python code needs a line <!-- from FILE --> above it'
    lines, first = read(PROJECT / match['source']).splitlines(), 0
    for chunk in re.split(r'^ *\.\.\.\n', match['code'], flags=re.M):  # a line of three periods leaves lines out
        first = position(chunk, lines, first)
        assert first >= 0, chunk


@every_recipe
def test_a_recipe_has_a_page_that_quotes_it(recipe):
    sources = {match['source'] for path, match in quotes() if path.stem == recipe}
    assert f'recipes/{recipe}.py' in sources


def test_design_names_every_module():
    modules = {path.name for path in (PROJECT / 'recipes').glob('*/*.py')} - {'__init__.py'}
    named = set(re.findall(r'`(\w+\.py)`', read(PROJECT / 'docs' / 'design.md')))
    assert named == modules | {'conftest.py'}


# ---- Links, pictures, form ----

def anchors(path):
    """Returns the anchors that GitHub gives to a page's headings."""
    text = FENCE.sub('', read(path))
    return {re.sub(r'[^\w\- ]', '', heading.lower()).replace(' ', '-')
            for heading in re.findall(r'^#+ (.*)$', text, re.M)}


@every_page
def test_links_and_pictures_exist(path):
    for link in LINK.findall(read(path)):
        if re.match(r'https?://', link):
            continue
        target, _, anchor = link.partition('#')
        found = (path.parent / target).resolve() if target else path
        assert found.exists(), link
        assert not anchor or anchor in anchors(found), link


def test_every_picture_is_shown_and_every_sample_credited():
    shown = {(path.parent / link).resolve() for path in PAGES for link in LINK.findall(read(path))
             if not link.startswith('http')}
    for folder in ('pictures', 'screenshots'):
        assert set((PROJECT / 'docs' / folder).iterdir()) <= shown
    credits = read(PROJECT / 'docs' / 'credits.md')
    folders = [PROJECT / 'docs' / folder for folder in ('samples', 'pictures', 'screenshots')]
    for name in [path.name for folder in folders for path in folder.iterdir()]:
        assert f'`{name}`' in credits, name


@every_page
def test_no_path_of_a_developers_machine(path):
    assert not re.search(r'(?<![\w.])/(home|root|tmp|work|Users|mnt)/|C:\\', read(path))


def test_readme_is_short():
    assert len(read(PROJECT / 'README.md').splitlines()) <= 120


# ---- The script that makes the pictures ----

def test_pictures_are_made_by_commands_that_parse(place):
    spec = importlib.util.spec_from_file_location('make_pictures', str(PROJECT / 'docs' / 'make_pictures.py'))
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    for picture in script.PICTURES.values():
        for command in (picture.command, *picture.more):
            words = shlex.split(command)[1:]
            check_script(words) if words[0].startswith('tests/') else check_recipe(words, place)
    assert set(script.PICTURES) == {path.name for path in (PROJECT / 'docs' / 'pictures').iterdir()}
