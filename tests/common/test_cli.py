import argparse
import errno
import json
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from common import cli, runs
from common.errors import ComputationError, InputError, UnavailableError


@pytest.mark.parametrize('error, code, text', [
    (InputError('no such picture'), 2, 'error: no such picture'),
    (UnavailableError('no network'), 3, 'error: no network'),
    (ComputationError('NaN'), 1, 'error: NaN'),
    (cli.Interrupted('step 5 is saved'), 130, 'interrupted: step 5 is saved'),
    (KeyboardInterrupt(), 130, 'interrupted: nothing was saved'),
    (MemoryError('3 GB'), 3, 'error: out of memory: 3 GB'),
    (OSError(errno.ENOSPC, 'No space left on device', 'x.png'), 3,
     'error: cannot write x.png: No space left on device'),
    (PermissionError(errno.EACCES, 'Permission denied', 'run.json'), 3,
     'error: cannot use run.json: Permission denied'),
    (OSError(errno.EROFS, 'Read-only file system', 'run.json'), 3,
     'error: cannot use run.json: Read-only file system')])
def test_each_early_end_has_its_code_and_one_line(capsys, error, code, text):
    @cli.exit_codes
    def main(argv=None):
        raise error
    assert main([]) == code
    assert capsys.readouterr().err == f'test_cli.py: {text}\n'


def test_ctrl_c_while_a_run_is_held_says_how_to_resume(tmp_path, capsys):
    @cli.exit_codes
    def main(argv=None):
        args = parse(argv)
        runs.create(args.output_dir, 'recipe', settings=args.settings)
        raise KeyboardInterrupt
    output = tmp_path / 'out put'
    assert main(['--data-dir', 'my data', '--steps', '7', '--export', '--output-dir', str(output)]) == 130
    said = capsys.readouterr().err
    assert 'interrupted: the last checkpoint is kept. Resume with: ' in said
    python, recipe, *again = shlex.split(said.split('Resume with: ')[1])
    run_dir = output / 'recipe' / os.readlink(str(output / 'recipe' / 'latest'))
    assert (python, recipe) == (sys.executable, str(Path(__file__).resolve()))
    assert again == ['--resume', str(run_dir.resolve()), '--data-dir', 'my data', '--export']
    resumed = parse(again)
    assert (resumed.steps, resumed.data_dir, resumed.export) == (7, Path('my data'), True)
    runs.release_all()


def test_success_is_0_and_a_bug_keeps_its_traceback():
    assert cli.exit_codes(lambda argv=None: None)([]) == 0
    with pytest.raises(ZeroDivisionError):
        cli.exit_codes(lambda argv=None: 1 / 0)([])


def run_recipe(tmp_path, source):
    """Runs a program's text as recipe.py; returns (exit code, stdout, stderr)."""
    path = tmp_path / 'recipe.py'
    path.write_text(source)
    done = subprocess.run([sys.executable, str(path)], capture_output=True, text=True,
                          env=dict(os.environ, PYTHONPATH=os.pathsep.join(sys.path)))
    return done.returncode, done.stdout, done.stderr


@pytest.mark.usefixtures('terminal')
@pytest.mark.parametrize('error, code, last_line', [
    ('KeyboardInterrupt', 130, 'recipe.py: interrupted: nothing was saved'),
    ('SystemExit(os.kill(os.getpid(), signal.SIGTERM))', 130, 'recipe.py: interrupted: nothing was saved'),
    ('SystemExit(os.kill(os.getpid(), signal.SIGHUP))', 130, 'recipe.py: interrupted: nothing was saved'),
    ('ZeroDivisionError', 1, 'ZeroDivisionError')])
def test_ctrl_c_during_the_imports_is_one_line(tmp_path, error, code, last_line):
    ended, _, err = run_recipe(tmp_path, f'import os, signal\nimport common\nraise {error}')
    assert (ended, err.splitlines()[-1]) == (code, last_line)
    assert (err.count('\n') == 1) == (code == 130)


@pytest.mark.usefixtures('terminal')
@pytest.mark.parametrize('then', ['cli.stop_requested().__enter__()', 'session.keras.layers'])
def test_a_signal_that_an_import_swallows_ends_the_recipe_after_it(tmp_path, then):
    assert run_recipe(tmp_path, f"""import os, signal, sys
from common import cli, session
def swallow():
    try:
        os.kill(os.getpid(), signal.SIGTERM)
    except BaseException:
        pass
@cli.exit_codes
def main(argv=None):
    session._IMPORTS[session.keras.__name__] = swallow
    session._IMPORTS[session.keras.__name__]()
    {then}
    print('it goes on')
sys.exit(main())
""") == (130, '', 'recipe.py: interrupted: nothing was saved\n')


@pytest.mark.usefixtures('terminal')
def test_a_signal_while_an_object_is_deleted_ends_the_recipe_after_that(tmp_path):
    assert run_recipe(tmp_path, """import logging, os, signal, sys, time
from common import cli
class Graph:
    def __del__(self):
        self.close()
    def close(self):
        os.kill(os.getpid(), signal.SIGINT)
        print('closed')
        logging.getLogger('tensorflow').error('Object was never used')
@cli.exit_codes
def main(argv=None):
    Graph()
    time.sleep(30)
    print('it goes on')
sys.exit(main())
""") == (130, 'closed\n', 'recipe.py: interrupted: nothing was saved\n')


@pytest.mark.parametrize('body', ['print("x" * 100000, flush=True)', 'print("x")', 'cli.make_parser("x").print_help()'])
def test_output_that_nobody_reads_ends_quietly(tmp_path, body):
    path = tmp_path / 'recipe.py'
    path.write_text(f'import sys\nfrom common import cli\n@cli.exit_codes\ndef main(argv=None):\n  {body}\n'
                    'sys.exit(main())')
    read, write = os.pipe()
    os.close(read)
    try:
        done = subprocess.run([sys.executable, str(path)], stdout=write, stderr=subprocess.PIPE,
                              env=dict(os.environ, PYTHONPATH=os.pathsep.join(sys.path), PYTHONUNBUFFERED=''))
    finally:
        os.close(write)
    assert (done.returncode, done.stderr) == (128 + signal.SIGPIPE, b'')


def make_parser():
    parser = cli.make_parser('A recipe.\n\nMore.', data=True)
    parser.add_argument('--steps', type=cli.whole_number(1), default=500, help='steps')
    parser.add_argument('--content', type=Path, nargs='+')
    parser.add_argument('--content-map')
    parser.add_argument('--export', action='store_true')
    parser.add_argument('--objective', action='append')
    parser.add_argument('--layers', nargs='+', default=['conv1_1', 'conv2_1'], help='layers')
    return parser


def parse(argv):
    return cli.parse_args(make_parser(), argv, 'recipe', free=('export',))


@pytest.mark.parametrize('argv, text', [
    (['--steps', '0'], '0 given, expected a whole number of at least 1'),
    (['--steps', 'many'], 'many given, expected a whole number of at least 1'),
    (['--seed', '-1'], '-1 given, expected a whole number from 0 to 2147483647'),
    (['--resume', ''], '--resume: expected a name'),
    (['--output-dir', ''], '--output-dir: expected a name'),
    (['--content', 'https://example.org/a.jpg'], 'https://example.org/a.jpg is a URL; download it and give the'),
    (['--nonsense'], 'there is no option --nonsense; check its spelling (--help lists the options)'),
    (['--od', 'x'], "there is no option --od; did you mean '--output-dir'?"),
    (['--data_dir=x'], "there is no option --data_dir; did you mean '--data-dir'?"),
    (['--content-image', 'a.jpg'], "there is no option --content-image; did you mean '--content'?"),
    (['a.jpg'], 'a.jpg belongs to no option')], ids=lambda value: None if isinstance(value, str) else ' '.join(value))
def test_a_wrong_option_is_one_line(capsys, argv, text):
    main = cli.exit_codes(lambda argv=None: parse(argv))
    assert main(argv) == 2
    err = capsys.readouterr().err
    assert text in err and err.count('\n') == 1


def test_quotes_around_a_dropped_file_are_taken_off(tmp_path, monkeypatch):
    monkeypatch.chdir(str(tmp_path))
    assert parse(['--content', "'/my photos/a.jpg'", '"b.jpg"', "it's.jpg"]).content == [
        Path('/my photos/a.jpg'), Path('b.jpg'), Path("it's.jpg")]
    Path("'quoted'").write_text('')
    assert parse(['--content', "'quoted'"]).content == [Path("'quoted'")]


@pytest.mark.parametrize('text', ['nan', 'inf', '-0.1', '1.5', 'x'])
def test_real_numbers_are_finite_and_in_range(text):
    with pytest.raises(Exception, match='expected a number from 0.0 to 1.0'):
        cli.real_number(0.0, 1.0)(text)
    assert cli.real_number(0.0, 1.0)('0.25') == 0.25


def test_the_environment_names_the_folders(monkeypatch):
    monkeypatch.setenv('RECIPES_DATA_DIR', '/somewhere')
    assert parse([]).data_dir == Path('/somewhere')
    monkeypatch.delenv('RECIPES_DATA_DIR')
    assert parse([]).data_dir == cli.PROJECT_DIR / 'data'


def test_settings_hold_what_changes_the_result_alone():
    settings = parse(['--steps', '7', '--quiet']).settings
    assert settings['steps'] == 7 and settings['seed'] == 0 and settings['xla'] == 'off' and 'threads' in settings
    assert not {'quiet', 'device', 'data_dir', 'output_dir', 'resume', 'export', 'run_dir', 'settings'} & set(settings)


def test_a_preset_changes_defaults_and_what_is_given_counts_for_more():
    def parse_book(argv):
        return cli.parse_args(make_parser(), argv, 'recipe', preset=lambda asked: {'steps': 9} if asked.export else {})
    assert [parse_book(argv).steps for argv in ([], ['--export'], ['--export', '--steps', '5'])] == [500, 9, 5]
    assert parse_book(['--content=--export']).steps == 500  # a file of that name


def test_help_names_defaults_where_there_are_any():
    text = ' '.join(make_parser().format_help().split())
    assert 'steps (default: 500)' in text and 'same result (default: 0)' in text
    assert 'layers (default: conv1_1 conv2_1)' in text
    assert '(default: None)' not in text and '(default: False)' not in text


def test_help_begins_with_the_recipes_own_options():
    text = make_parser().format_help()
    assert text.startswith('usage: ') and '[options]\n' in text
    assert text.index('--steps') < text.index('\nfolders:') < text.index('\nhow it runs:') < text.index('--help')


@pytest.fixture
def run_dir(tmp_path):
    args = parse(['--output-dir', str(tmp_path), '--steps', '7', '--content', 'a.jpg', 'b.jpg'])
    return runs.create(tmp_path, 'recipe', settings=args.settings)


def test_resume_takes_the_settings_of_the_run(tmp_path, run_dir):
    args = parse(['--output-dir', str(tmp_path), '--resume'])
    assert args.steps == 7 and args.run_dir == run_dir.resolve() and args.content == [Path('a.jpg'), Path('b.jpg')]
    assert parse(['--resume', str(run_dir), '--steps', '7', '--export', '--quiet', '--content', 'a.jpg', 'b.jpg']).quiet


def test_a_run_is_held_from_resume_until_main_ends(run_dir, monkeypatch):
    calls = []
    monkeypatch.setattr(runs, 'hold', lambda path: calls.append(path))
    monkeypatch.setattr(runs, 'release_all', lambda: calls.append('released'))
    for code, main in ((0, lambda argv: parse(argv) and 0), (2, lambda argv: parse(argv + ['--steps', '8']))):
        assert cli.exit_codes(main)(['--resume', str(run_dir)]) == code
        assert calls[0] == run_dir.resolve() and set(calls[1:]) == {'released'}
        calls.clear()


def test_resume_with_other_settings_is_refused(run_dir):
    with pytest.raises(InputError, match='that run has --steps 7, not 8'):
        parse(['--resume', str(run_dir), '--steps', '8'])
    with pytest.raises(InputError, match='--steps 7, not 500'):  # the default, but asked for
        parse(['--resume', str(run_dir), '--steps', '500'])
    with pytest.raises(InputError, match='that run has --content a.jpg b.jpg, not c.jpg;'):
        parse(['--resume', str(run_dir), '--content', 'c.jpg'])


def test_a_repeated_option_is_held_against_the_run(tmp_path):
    run_dir = runs.create(tmp_path, 'recipe', settings=parse(['--objective', 'a', '--objective', 'b']).settings)
    assert parse(['--resume', str(run_dir), '--objective', 'a', '--objective', 'b']).objective == ['a', 'b']
    with pytest.raises(InputError, match='not .*c'):
        parse(['--resume', str(run_dir), '--objective', 'c'])
    runs.release_all()


def test_what_may_change_is_kept_unless_it_is_given_anew(run_dir):
    def steps(*argv):
        return cli.parse_args(make_parser(), ['--resume', str(run_dir), *argv], 'recipe', changeable=('steps',)).steps
    assert steps() == 7 and steps('--steps', '8') == 8


def test_a_folder_may_change_too_and_is_a_path_again(tmp_path):
    def parse_with_data(*argv):
        parser = cli.make_parser('Doc.', data=True)
        return cli.parse_args(parser, [*argv, '--output-dir', str(tmp_path)], 'recipe', changeable=('data_dir',))
    runs.create(tmp_path, 'recipe', settings=parse_with_data('--data-dir', 'here').settings)
    assert parse_with_data('--resume').data_dir == Path('here')
    assert parse_with_data('--resume', '--data-dir', 'there').data_dir == Path('there')


def test_resume_without_a_run_is_refused(tmp_path):
    with pytest.raises(InputError, match='no run in'):
        parse(['--output-dir', str(tmp_path), '--resume'])


@pytest.fixture
def terminal():
    """Whoever runs the tests under nohup has SIGHUP ignored, which the recipes respect."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.mark.usefixtures('terminal')
@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_the_first_signal_asks_the_second_interrupts(number):
    before = signal.getsignal(number)
    with pytest.raises(KeyboardInterrupt):
        with cli.stop_requested() as stop:
            assert not stop.requested
            os.kill(os.getpid(), number)
            assert stop.requested
            os.kill(os.getpid(), number)
    assert signal.getsignal(number) == before


@pytest.mark.usefixtures('terminal')
@pytest.mark.parametrize('number', [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_outside_a_loop_ends_in_one_line_too(number, capsys):
    @cli.exit_codes
    def main(argv=None):
        os.kill(os.getpid(), number)
        time.sleep(10)
    runs.release_all()
    assert main() == 130
    assert ': interrupted: nothing was saved' in capsys.readouterr().err.splitlines()[-1]


def test_under_nohup_a_closed_terminal_ends_nothing():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with cli.stop_requested() as stop:
            os.kill(os.getpid(), signal.SIGHUP)
            assert not stop.requested
    finally:
        signal.signal(signal.SIGHUP, before)


@pytest.mark.parametrize('convert, text', [(cli.whole_number(1), '2147483648'), (cli.whole_number(0), '9' * 20),
                                           (cli.real_number(0), '1e38'), (cli.real_number(0), 'inf')])
def test_a_number_has_a_bound(convert, text):
    with pytest.raises(argparse.ArgumentTypeError, match=f'{text} given, expected at most 1,000,000,000'):
        convert(text)


@pytest.mark.parametrize('name, value', [
    ('steps', 0), ('steps', 7.0), ('steps', '7'), ('steps', True), ('steps', None), ('steps', 10 ** 20), ('steps', [7]),
    ('threads', -1), ('seed', float('nan')), ('xla', 'maybe'), ('xla', 1), ('content', 'a.jpg'), ('content', []),
    ('content', [1]), ('content', ['https://example.org/a.jpg']), ('objective', 'a'), ('objective', [None]),
    ('unknown', 1)])
def test_a_setting_that_its_option_would_not_take_is_refused(run_dir, name, value):
    runs.write_record(run_dir, settings=dict(runs.read_record(run_dir)['settings'], **{name: value}))
    with pytest.raises(InputError, match=f'run.json: .*{name}'):
        parse(['--resume', str(run_dir)])


def test_a_run_without_settings_is_refused_and_a_missing_one_is_told(run_dir, capsys):
    settings = runs.read_record(run_dir)['settings']
    del settings['steps']
    runs.write_record(run_dir, settings=settings)
    assert parse(['--resume', str(run_dir)]).steps == 500
    assert 'run.json does not record --steps; using defaults' in capsys.readouterr().err
    for none in ({}, {'quiet': True}):
        runs.write_record(run_dir, settings=none)
        with pytest.raises(InputError, match='run.json: without settings'):
            parse(['--resume', str(run_dir)])
    runs.write_record(run_dir, settings={'steps': 3})
    record = runs.read_record(run_dir)
    del record['settings']
    (run_dir / 'run.json').write_text(json.dumps(record))
    with pytest.raises(InputError, match='run.json: without settings'):
        parse(['--resume', str(run_dir)])


def test_a_second_and_a_third_signal_still_end_in_one_line(capsys):
    @cli.exit_codes
    def main(argv=None):
        try:
            with cli.stop_requested():
                os.kill(os.getpid(), signal.SIGTERM)
            os.kill(os.getpid(), signal.SIGTERM)  # while a checkpoint is saved, say
        finally:
            main.held = runs.held()
    runs.release_all()
    before = signal.getsignal(signal.SIGTERM)
    assert main() == 130 and signal.getsignal(signal.SIGTERM) == before
    assert capsys.readouterr().err == 'test_cli.py: interrupted: nothing was saved\n'


def test_a_long_step_looks_at_the_request_to_stop():
    cli.check_stop()
    with cli.stop_requested():
        cli.check_stop()
        os.kill(os.getpid(), signal.SIGTERM)
        with pytest.raises(cli.StopBetweenTiles):
            cli.check_stop()
    cli.check_stop()


@pytest.mark.skipif(not os.path.exists('/dev/full'), reason='needs /dev/full')
@pytest.mark.parametrize('shell, code, said', [
    ('>/dev/full', 3, 'cannot write to stdout (No space left on device); nothing else went wrong'),
    ('2>/dev/full', 0, ''),
    ('>&-', 0, ''), ('2>&-', 0, ''), ('<&- >&- 2>&-', 0, '')])
def test_what_is_printed_can_be_lost_the_work_cannot(tmp_path, shell, code, said):
    (tmp_path / 'recipe.py').write_text(
        'import sys\nfrom pathlib import Path\nfrom common import cli\n@cli.exit_codes\ndef main(argv=None):\n'
        '  print("before" * 9999, flush=True)\n  print("warning", file=sys.stderr)\n'
        '  with open("result", "w") as file:\n    assert file.fileno() > 2\n    file.write("done")\n  print("after")\n'
        'sys.exit(main())')
    done = subprocess.run(f'exec {shlex.quote(sys.executable)} recipe.py {shell}', shell=True, cwd=str(tmp_path),
                          env=dict(os.environ, PYTHONPATH=str(cli.PROJECT_DIR / 'recipes')), capture_output=True,
                          timeout=60)
    assert done.returncode == code and (tmp_path / 'result').read_text() == 'done', done.stderr
    assert said in done.stderr.decode() and b'Traceback' not in done.stderr


def test_numbers_that_one_option_takes_come_back(tmp_path):
    def parse_numbers(*argv):
        parser = cli.make_parser('Doc.')
        parser.add_argument('--steps', default='3', type=lambda text: list(map(cli.whole_number(1), text.split(','))))
        return cli.parse_args(parser, [*argv, '--output-dir', str(tmp_path)], 'recipe')
    for argv, steps in (([], [3]), (['--steps', '4,5'], [4, 5])):
        run_dir = runs.create(tmp_path, 'recipe', settings=parse_numbers(*argv).settings)
        assert parse_numbers('--resume', str(run_dir)).steps == steps
        for wrong in ([0], ['x'], [True], [], [[1]], 3):
            runs.write_record(run_dir, settings=dict(runs.read_record(run_dir)['settings'], steps=wrong))
            with pytest.raises(InputError, match='--steps cannot be'):
                parse_numbers('--resume', str(run_dir))
    runs.release_all()
