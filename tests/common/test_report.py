import json
import os
import re
import shlex
import sys
from pathlib import Path

import html5lib
import numpy as np
import pytest

import report as command
from common import captions, cli, images, report, runs, summaries
from common.errors import ComputationError, InputError, UnavailableError


SVG = '{http://www.w3.org/2000/svg}'


def parse(path):
    return html5lib.HTMLParser(strict=True, namespaceHTMLElements=False).parse(path.read_text(encoding='utf-8'))


def text_of(element):
    return ' '.join(''.join(element.itertext()).split())


@pytest.fixture(autouse=True)
def no_run_held():
    runs.release_all()
    yield
    runs.release_all()


@pytest.fixture
def make_run(tmp_path):
    """A function that makes a run's folder, with what its record holds; it is not held."""
    def make(recipe='mnist_convnet', **record):
        run_dir = runs.create(tmp_path / 'output', recipe)
        runs.write_record(run_dir, **record)
        runs.release_all()
        return run_dir
    return make


def add_picture(path, height=30, width=40, seed=0):
    images.save_image(path, np.random.RandomState(seed).uniform(0, 255, [height, width, 3]))
    return path


RESULTS = {'test_images': 1000, 'test_accuracy': 0.979, 'test_accuracy_low': 0.9681, 'test_accuracy_high': 0.9862}


# ---- What is said ----

@pytest.mark.parametrize('record, said', [
    ({'results': RESULTS, 'seconds': 92.4},
     '97.90 % of 1,000 test images are classified correctly (95 % interval 96.81 to 98.62 %). It took 1 min 32 s.'),
    ({'test_accuracy': {'values': [0.9, 0.92], 'mean': 0.91, 'std': 0.0141}, 'seconds': 7260},
     '91.00 % ± 1.41 % of the test images are classified correctly (mean and standard deviation of 2 seeds). It took '
     '2 h 1 min.'),
    ({'results': {'frames': 40, 'seconds_per_frame': 0.5}, 'pictures': [{}], 'seconds': 20},
     'A film of 40 frames, 0.5 s each. It took 20 s.'),
    ({'results': {'pictures': 1}, 'pictures': [{'width': 512, 'height': 384}], 'seconds': 3.14159},
     'One picture of 512 × 384 pixels. It took 3.14 s.'),
    ({'results': {'pictures': 1}, 'pictures': [{'name': 'a'}, {'name': 'b', 'error': 'NaN'}], 'seconds': 3},
     '1 pictures; 1 failed. It took 3 s.'),
    ({'tiles': [{}] * 12, 'results': {}, 'seconds': 3599}, 'Contact sheets of 12 pictures. It took 59 min 59 s.'),
    ({'results': {'one idea': 1, 'another': 2}, 'seconds': 9}, 'Finished, 2 results. It took 9 s.'),
    ({}, 'Not finished: step 40.'),
])
def test_the_result_in_a_sentence(record, said):
    assert summaries.sentence(record, 'step 40') == said


def test_figures_come_with_their_intervals_and_units():
    assert summaries.figures({'results': dict(RESULTS, peak_memory=2 ** 30, seconds=4.25, best_step=None)}) == [
        ('test images', '1,000', ''), ('test accuracy', '97.90 %', '96.81 to 98.62 %'),
        ('peak memory', '1.07 GB', ''), ('seconds', '4.25 s', ''), ('best step', 'not set', '')]


RECORD = {'recipe': 'deepdream', 'settings': {'content': ['my sky.jpg'], 'steps': [3], 'seed': 0},
          'defaults': {'content': None, 'steps': [10], 'seed': 0},
          'command': ['recipes/deepdream.py', '--content', 'my sky.jpg', '--steps', '3', '--models-dir=my models',
                      '--quiet', '--output-dir', 'o']}


def test_the_commands_are_those_that_a_shell_takes():
    repeat, resume = summaries.commands(RECORD, Path('/runs/a b'))
    assert repeat == "python recipes/deepdream.py --content 'my sky.jpg' --steps 3 '--models-dir=my models' --quiet " \
                     '--output-dir o'
    assert resume == "python recipes/deepdream.py --resume '/runs/a b' --models-dir 'my models'"


@pytest.mark.parametrize('words', [None, 'text', [], [1], ['/bin/sh', '-c', 'x'], ['evil.py', '--content', 'x']])
def test_a_command_that_is_not_the_recipes_is_left_out(words):
    assert summaries.commands(dict(RECORD, command=words), Path('r')) == (
        '', 'python recipes/deepdream.py --resume r')


def test_settings_that_differ_from_the_defaults():
    changed, every = summaries.settings(RECORD)
    assert changed == [('--content', 'my sky.jpg', 'not set'), ('--steps', '3', '10')]
    assert every == [('--content', 'my sky.jpg'), ('--steps', '3'), ('--seed', '0')]
    old = {name: value for name, value in RECORD.items() if name != 'defaults'}
    assert summaries.settings(old)[0] == [('--content', 'my sky.jpg', ''), ('--steps', '3', '')]


def test_a_recipe_records_its_defaults(tmp_path):
    parser = cli.make_parser('A recipe.')
    parser.add_argument('--steps', type=int, default=5)
    parser.add_argument('--book', action='store_true')
    for argv, default in (['--steps', '7'], 5), (['--book', '--steps', '7'], 2):
        args = cli.parse_args(parser, argv, 'dream', preset=lambda asked: {'steps': 2} if asked.book else {})
        record = runs.read_record(runs.create(tmp_path, 'dream', settings=args.settings))
        assert record['defaults']['steps'] == default and set(record['defaults']) == set(record['settings'])


def test_every_caption_is_the_first_that_matches_its_own_file():
    names = ['sheet_2.png', 'a_sheet.png', 'loss.png', 'stage1_loss.png', 'photo_losses.png', 'grad_cam_wrong.png',
             'x_proof_0025.png', 'x_00010.png', 'metrics.csv', 'test_predictions.csv', 'a.style.npz', 'checkpoints/']
    titles = ['Contact sheet', 'Side by side', 'Loss', 'Loss', 'Losses per step', 'Where the network looked', 'Proof',
              'On the way', 'Figures of every recorded step', 'Class and probabilities of each test image',
              'A learned style, for --style of fast style transfer',
              'Weights of the best and of the last step, for --predict and --resume']
    assert [captions.find(name)[1].title for name in names] == titles
    assert captions.find('seed_3/loss.png') == captions.find('loss.png')
    assert captions.find('sliding_kernel.png') == (captions.UNKNOWN, captions.Caption('sliding kernel'))


# ---- Pages ----

def test_a_page_of_an_unfinished_run_says_how_far_it_came(make_run):
    run_dir = make_run(settings={'steps': 100})
    (run_dir / 'metrics.csv').write_text('step,loss,validation_loss\n10,2.0,\n20,1.0,1.5\n30,0.5,1.25\n')
    root = parse(report.write(run_dir))
    assert text_of(root.find('.//p[@class="result"]')) == 'Not finished: step 30.'
    svg, = root.iter(SVG + 'svg')
    assert svg.get('aria-label') == 'loss from 2 to 0.5; validation loss from 1.5 to 1.25'
    points = [line.get('points') for line in svg.iter(SVG + 'polyline')]
    assert points[0].split() == ['0.0,0.0', '300.0,106.7', '600.0,160.0', '600.0,160.0']  # 2/3 down from 2 to 0.5
    assert 'Resumes it' in text_of(root)


def test_pictures_are_inside_while_there_is_room_and_then_beside(make_run, monkeypatch):
    run_dir = make_run(seconds=1, results={'pictures': 1}, pictures=[{'name': 'zebra', 'width': 40, 'height': 30}])
    for name in ('a b', 'zebra', 'loss'):
        add_picture(run_dir / f'{name}.png')
    size = (run_dir / 'zebra.png').stat().st_size
    monkeypatch.setattr(report, 'EMBEDDED', 2 * size)
    sources = [image.get('src') for image in parse(report.write(run_dir)).iter('img')]
    assert sources[0].startswith('data:image/png;base64,')  # the result first
    assert sources[1:] == ['loss.png', 'a%20b.png']
    assert images.measure(run_dir / report.THUMBNAIL) == ('JPEG', 40, 30)


def test_a_page_is_below_5_mb_whatever_the_pictures(make_run):
    run_dir = make_run()
    for number in range(12):
        add_picture(run_dir / f'{number}.png', 400, 500, number)  # 0.6 MB each
    page = report.write(run_dir)
    assert 4e6 < page.stat().st_size < 5e6
    assert sum(not image.get('src').startswith('data:') for image in parse(page).iter('img')) > 3


HOSTILE = '"><script>alert(1)</script><img src=x onerror=alert(1)>{{ 7 * 7 }}\ud800'


def test_everything_in_an_untrusted_folder_is_escaped(tmp_path):
    run_dir = tmp_path / 'output' / 'x' / 'run'
    run_dir.mkdir(parents=True)
    record = {name: HOSTILE for name in ('recipe', 'started', 'device', 'source', HOSTILE)}
    record.update(settings={HOSTILE: HOSTILE}, defaults={HOSTILE: 1}, versions={HOSTILE: HOSTILE},
                  results={HOSTILE: [HOSTILE]}, seconds=1, left_out=[HOSTILE], data={'source': {HOSTILE: HOSTILE}},
                  command=[f'{HOSTILE}.py', HOSTILE], pictures=[{'error': HOSTILE}])
    (run_dir / 'run.json').write_text(json.dumps(record))
    (run_dir / 'metrics.csv').write_text('step,<script>alert(1)</script>\n1,2\n2,3\n')
    (run_dir / '<script>alert(1)<').mkdir()
    add_picture(run_dir / '"onerror="alert(1).png')
    for page in report.write(run_dir), report.write_index(tmp_path / 'output'):
        root = parse(page)
        assert not list(root.iter('script')) and '49' not in text_of(root)
        assert not [name for element in root.iter() for name in element.attrib if str(name).startswith('on')]
        assert '<script>alert(1)</script>' in text_of(root)


@pytest.mark.parametrize('fields', [
    {'settings': [1]}, {'pictures': 5}, {'recipe': 3}, {'seconds': 'x'}, {'results': 'text'}, {'tiles': {}}])
def test_a_damaged_record_is_one_line(make_run, fields, capsys):
    run_dir = make_run()
    (run_dir / 'run.json').write_text(json.dumps(dict({'recipe': 'dream'}, **fields)))
    assert command.main([str(run_dir)]) == 2
    assert 'damaged' in capsys.readouterr().err and not (run_dir / 'report.html').exists()
    assert 'damaged' in text_of(parse(report.write_index(run_dir.parents[1])))


@pytest.mark.parametrize('fields', [
    {'defaults': 5, 'versions': [], 'command': {}, 'device': {'a': 1}, 'started': [1], 'left_out': 7, 'skipped': 'x'},
    {'results': {'test_accuracy': 'high', 'test_accuracy_low': None}, 'test_accuracy': [1], 'seconds': 1},
    {'results': {'frames': True, 'a': {'b': [1, {}]}}, 'seconds': 1e14},
    {'pictures': [{'width': 'wide', 'height': []}], 'seconds': 0, 'results': {'test_accuracy': float('nan')}}])
def test_fields_of_any_kind_make_a_page(make_run, fields):
    parse(report.write(make_run(**fields)))


def test_a_record_nested_deeper_than_python_counts(make_run):
    run_dir = make_run()
    (run_dir / 'run.json').write_text('{"recipe": "dream", "x": ' + '[' * 990 + ']' * 990 + '}')
    try:
        parse(report.write(run_dir))
    except InputError:
        pass


def test_what_is_no_regular_file_of_the_folder_is_left_alone(make_run, tmp_path):
    secret = add_picture(tmp_path / 'secret.png')
    run_dir = make_run()
    (run_dir / 'link.png').symlink_to(secret)
    (run_dir / 'folder').symlink_to(tmp_path)
    (run_dir / 'seed_1').symlink_to(tmp_path)
    (run_dir / 'metrics.csv').symlink_to('/dev/zero')
    os.mkfifo(str(run_dir / 'pipe.png'))
    (run_dir / 'broken.png').write_bytes(secret.read_bytes()[:200])
    (run_dir / 'text.png').write_text('<svg onload="alert(1)"></svg>')
    (run_dir / 'report.html').symlink_to(secret)
    before = secret.read_bytes()
    root = parse(report.write(run_dir))
    assert secret.read_bytes() == before and not (run_dir / 'report.html').is_symlink()
    names = {text_of(row[0]) for row in list(root.iter('table'))[-1].iter('tr')}
    assert names == {'file', 'broken.png', 'run.json', 'text.png'} and not list(root.iter('img'))
    assert text_of(root).count('cannot be shown') == 2 and str(tmp_path) not in text_of(root.find('.//section'))


@pytest.mark.parametrize('table, num_curves', [
    ('step,loss\n1,' + '9' * 400 + '\n2,1\n3,2\n', 1), ('step,loss\n1,nan\n2,inf\n3,-inf\n', 0), ('step\n1\n', 0),
    ('step,loss\n1,2,3\n', 0), ('a,b\ntext,text\n', 0), ('', 0), ('\0\n', 0), ('step,loss\n1,1\n1,1\n', 1),
    ('\n'.join([','.join(map(str, range(300))), *[','.join(['1'] * 300)] * 2]) + '\n', report.MOST_CURVES)])
def test_tables_of_any_kind_make_a_page(make_run, table, num_curves):
    run_dir = make_run()
    (run_dir / 'metrics.csv').write_text(table)
    assert len(list(parse(report.write(run_dir)).iter(SVG + 'svg'))) == num_curves


# ---- At the end of a run ----

def run_that_ends(tmp_path, how=lambda run_dir: None):
    @cli.exit_codes
    def main(argv=None):
        run_dir = runs.create(tmp_path / 'output', 'dream')
        how(run_dir)
        runs.write_record(run_dir, seconds=1.0, results={'pictures': 0})
        print('dreamed')
    return main


def raising(error):
    def how(run_dir):
        raise error
    return how


@pytest.mark.parametrize('how, code, last', [
    (lambda run_dir: None, 0, 'report: '), (raising(ComputationError('NaN')), 1, 'report: '),
    (raising(UnavailableError('no disk')), 3, ''), (raising(cli.Interrupted('step 3')), 130, '')])
def test_a_run_ends_with_its_page(tmp_path, capsys, how, code, last):
    assert run_that_ends(tmp_path, how)([]) == code
    out = capsys.readouterr().out.splitlines()
    page = (tmp_path / 'output' / 'dream' / 'latest').resolve() / 'report.html'
    assert page.exists() and out[-1:] == ([f'report: {page}'] if last else [])
    link, = parse(tmp_path / 'output' / 'index.html').iter('a')
    assert (tmp_path / 'output' / link.get('href')).samefile(page)


def test_a_quiet_run_prints_its_result_only(tmp_path, capsys):
    assert run_that_ends(tmp_path)(['--quiet']) == 0
    assert capsys.readouterr().out == 'dreamed\n' and list(tmp_path.glob('output/dream/2*/report.html'))


def test_a_mistake_writes_no_page(tmp_path):
    assert run_that_ends(tmp_path, raising(InputError('no such layer')))([]) == 2
    assert not list(tmp_path.rglob('*.html'))


def test_a_page_that_cannot_be_written_costs_nothing_but_a_line(tmp_path, capsys, monkeypatch):
    def block(run_dir):
        (run_dir / 'report.html').mkdir()
    assert run_that_ends(tmp_path, block)([]) == 0
    out, err = capsys.readouterr()
    line, = err.splitlines()
    assert out == 'dreamed\n' and line.startswith('warning: no report.html in ') and ' (Is a directory); ' in line
    monkeypatch.setitem(sys.modules, 'jinja2', None)  # as where it is not installed
    assert run_that_ends(tmp_path)([]) == 0
    line, = capsys.readouterr().err.splitlines()
    assert line.startswith('warning: no report.html in ') and 'jinja2' in line


# ---- The command ----

def test_the_command_makes_pages_of_old_runs(make_run, tmp_path, capsys):
    old, unfinished = make_run(seconds=1, results={}), make_run('deepdream')
    (tmp_path / 'output' / 'deepdream' / 'damaged').mkdir()
    (tmp_path / 'output' / 'deepdream' / 'damaged' / 'run.json').write_text('{')
    assert command.main(['--output-dir', str(tmp_path / 'output')]) == 2
    out, err = capsys.readouterr()
    assert (old / 'report.html').exists() and (unfinished / 'report.html').exists()
    assert out.splitlines()[-1] == str(tmp_path / 'output' / 'index.html') and err.startswith('skipped: ')
    rows = [text_of(row) for row in parse(tmp_path / 'output' / 'index.html').iter('li')]
    assert [sum(said in row for row in rows) for said in ('Finished', 'Not finished', 'damaged')] == [1, 1, 1]


def test_the_command_takes_latest_and_refuses_what_is_no_run(make_run, tmp_path, capsys):
    run_dir = make_run()
    assert command.main([str(run_dir.parent / 'latest'), '--output-dir', str(tmp_path / 'none')]) == 0
    assert capsys.readouterr().out == f'{run_dir / "report.html"}\n'
    for argv, said in (([str(tmp_path)], 'not a run; name a folder that contains a run.json'),
                       (['--output-dir', str(run_dir / 'run.json')], 'run.json: no such folder'),
                       (['--output-dir', str(tmp_path / ('a' * 300))], 'no such folder')):
        assert command.main(argv) == 2
        assert re.search(said, capsys.readouterr().err)
    assert shlex.split(summaries.commands(runs.read_record(run_dir), run_dir)[1])[-1] == str(run_dir)
