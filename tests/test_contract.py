"""What every recipe promises, each tried on a tiny run of its own; tiny_recipes.py has the runs."""
import csv
import hashlib
import html
import re
import shlex
import sys

import html5lib
import numpy as np
import pytest

import plain_client
import tiny_recipes
from common import images, report, runs

pytestmark = pytest.mark.slow
# Files that differ from run to run: times, where things are, what tells processes apart.
NOT_COMPARED = re.compile(r'run\.json|report\.html|\.thumbnail\.jpg|\.lock|checkpoints/(state\.json|checkpoint)|'
                          r'tensorboard/|.*(checkpoint|state)\.npz|saved_model/|model\.h5')


@pytest.fixture(scope='module')
def client():
    """A program that knows TensorFlow alone; see plain_client."""
    made = plain_client.PlainClient()
    yield made
    made.close()


@pytest.fixture(scope='module', params=list(tiny_recipes.SUBJECTS))
def tiny(request, forks, tmp_path_factory):
    """The TinyRecipe of each recipe in turn; calling it runs a command line."""
    recipe = tiny_recipes.TinyRecipe(forks, request.param, tmp_path_factory.mktemp(request.param))
    yield recipe
    recipe.close()


@pytest.fixture(scope='module')
def whole(tiny):
    """(Path of the run, what was printed) of a run that nothing stopped."""
    export = ['--export'] if tiny.subject.class_names else []
    code, out, err = tiny(*tiny.subject.options, *export, '--output-dir', tiny.folder / 'whole')
    assert code == 0 and not re.search(r'^[IWEF]\d{4} ', err, re.MULTILINE), err  # no line of the runtime's log
    return tiny.run_dir(tiny.folder / 'whole'), out


def contents(run_dir):
    """Returns {name: checksum} of a run's files, those of NOT_COMPARED left out; of tables all but the seconds.

    Of archives of arrays the arrays count: their files hold the time, too.
    """
    found = {}
    for path in sorted(run_dir.rglob('*')):
        name = path.relative_to(run_dir).as_posix()
        if path.is_file() and not NOT_COMPARED.match(name):
            content = path.read_bytes()
            if path.suffix == '.csv':
                with path.open() as table:
                    content = repr([{**row, 'seconds': ''} for row in csv.DictReader(table)]).encode()
            if path.suffix == '.npz':
                content = repr([(name, array.tobytes()) for name, array in sorted(np.load(str(path)).items())]).encode()
            found[name] = hashlib.sha256(content).hexdigest()
    return found


def check_mistake(tiny, argv, said, output_dir, code=2):
    """A mistake is one line that says `said`, and leaves no run behind."""
    before = sorted(output_dir.rglob('*')) if output_dir.exists() else None
    found, _, err = tiny(*argv, '--output-dir', output_dir)
    errors = [line for line in err.splitlines() if ': error: ' in line]
    assert found == code and len(errors) == 1 and said in errors[0] and 'Traceback' not in err, err
    assert (sorted(output_dir.rglob('*')) if output_dir.exists() else None) == before


def test_killed_interrupted_and_resumed_equals_never_stopped(tiny, whole):
    """A run that is killed, then resumed and stopped with Ctrl-C, then resumed by the command that this prints."""
    output, steps = tiny.folder / 'stopped', tiny.subject.num_steps
    code, _, err = tiny(*tiny.subject.options, '--output-dir', output, stop=('SIGKILL', max(1, steps // 2)))
    assert code == -9, err
    code, _, err = tiny('--resume', '--output-dir', output, stop=('SIGINT', 1), draws=False)
    assert code == 130 and ': interrupted: ' in err.splitlines()[-1], err
    python, recipe, *command = shlex.split(err.split('Resume with: ')[1])
    assert (python, recipe) == (sys.executable, str(tiny.recipe)) and command[:1] == ['--resume']
    code, _, err = tiny(*command)
    assert code == 0, err
    found = contents(tiny.run_dir(output))
    assert found == contents(whole[0])
    assert [name for name in found if name.endswith(('.csv', '.data-00000-of-00001', '.png', '.mp4', '.gif', '.npz'))]


def test_a_finished_run_repeats_its_result(tiny, whole):
    run_dir, printed = whole
    before, record = contents(run_dir), runs.read_record(run_dir)
    code, out, err = tiny('--resume', run_dir, draws=False)
    assert code == 0, err
    assert contents(run_dir) == before
    after = runs.read_record(run_dir)
    assert (after['results'], after['seconds']) == (record['results'], record['seconds'])
    before, again = (re.sub('memory .* GB', '', text.splitlines()[-2]) for text in (printed, out))  # this process's
    assert f'{run_dir} is finished' in out and again == before


def test_a_page_of_the_run_is_valid_whole_and_needs_no_network(tiny, whole):
    run_dir, printed = whole
    page = run_dir / 'report.html'
    assert printed.splitlines()[-1] == f'report: {page}' and page.stat().st_size < 5e6
    text = page.read_text(encoding='utf-8')
    root = html5lib.HTMLParser(strict=True, namespaceHTMLElements=False).parse(text)
    assert not list(root.iter('script')) and not re.search('https?://', re.sub('<(td|pre)>.*?</', '', text, flags=re.S))
    assert all(image.get('alt') for image in root.iter('img')) and 'prefers-color-scheme: dark' in text
    shown = {caption.text for caption in root.iter('span')}
    for path in run_dir.glob('*.png'):
        assert any((name or '').startswith(path.name + ',') for name in shown), path
    sources = [element.get('src') for name in ('img', 'video') for element in root.iter(name)]
    assert sources and all(source.startswith('data:image/') or (run_dir / source).is_file() for source in sources)
    assert f'python {tiny.recipe} --resume {run_dir}' in html.unescape(text)
    index = html5lib.HTMLParser(strict=True, namespaceHTMLElements=False).parse(
        (run_dir.parents[1] / 'index.html').read_text(encoding='utf-8'))
    links = [element.get('href') for element in index.iter('a')]
    assert f'{run_dir.parent.name}/{run_dir.name}/report.html' in links
    thumbnail, = [element.get('src') for element in index.iter('img')]
    assert max(images.load_image(run_dir.parents[1] / thumbnail).shape[:2]) <= report.THUMBNAIL_SIZE


def test_a_full_disk_is_one_line_and_leaves_no_half_files(tiny):
    output, (num_bytes, file) = tiny.folder / 'full', tiny.subject.disk
    code, _, err = tiny(*tiny.subject.options, '--output-dir', output, limit=num_bytes)
    assert code == 3 and 'Traceback' not in err, err
    assert re.search(f'error: cannot write .*{file}', err.splitlines()[-1])
    assert not [path for path in output.rglob('*') if '.part' in path.name or 'tempstate' in path.name]
    assert 'results' not in runs.read_record(tiny.run_dir(output))


def test_a_plain_client_loads_the_export(tiny, whole, client):
    if not tiny.subject.class_names:
        pytest.skip('this recipe exports nothing')
    np.save(str(tiny.folder / 'images.npy'), np.full([2, *tiny.subject.shape], 128, np.float32))
    found = client.ask(whole[0] / 'saved_model', tiny.folder / 'images.npy')
    np.testing.assert_allclose(np.sum(found['probabilities'], axis=1), 1, atol=1e-5)
    assert found['classes'] == np.argmax(found['probabilities'], axis=1).tolist()
    assert found['labels'] == [tiny.subject.class_names[k] for k in found['classes']]


def test_help_fits_the_terminal_and_begins_with_the_recipes_options(tiny):
    code, out, err = tiny('--help')
    assert code == 0 and err == '' and max(map(len, out.splitlines())) <= 80
    assert out.index('\nfolders:') < out.index('\nhow it runs:') < out.index('\n  --resume')
    assert out.count('\n  --') >= 8 and out.index('\n  --') < out.index('\nfolders:')


def test_a_mistake_in_the_options(tiny, tmp_path):
    check_mistake(tiny, ['--sed', '1'], "there is no option --sed; did you mean '--seed'?", tmp_path / 'output')
    check_mistake(tiny, [tiny.subject.takes, 'https://example.org/a.jpg'], 'is a URL; download it', tmp_path / 'o')
    check_mistake(tiny, ['--resume'], 'start one first: python recipes/' + tiny.recipe.name, tmp_path / 'output')
    (tmp_path / 'file').write_text('')
    check_mistake(tiny, tiny.subject.options, 'cannot write there', tmp_path / 'file')


def test_a_file_that_is_no_image(tiny, whole, tmp_path):
    (tmp_path / 'text.png').write_text('not an image')
    for name, said in (('text.png', 'text.png: not a picture'), ('missing.png', 'missing.png: no such file')):
        check_mistake(tiny, [tiny.subject.takes, tmp_path / name], said, whole[0].parents[1])


def test_a_run_that_cannot_be_resumed(tiny, whole, tmp_path):
    check_mistake(tiny, ['--resume', whole[0], '--seed', '5'], 'that run has --seed 0, not 5', tmp_path / 'output')
    other = runs.create(tmp_path, 'another_recipe')
    runs.release_all()
    check_mistake(tiny, ['--resume', other], f'a run of another_recipe, not of {tiny.recipe.stem}', tmp_path / 'o')
    check_mistake(tiny, ['--resume', tmp_path], 'not a run; name a folder that contains a run.json', tmp_path / 'o')
