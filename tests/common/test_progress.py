import io
import sys

import pytest

from common import progress


def test_plain_lines_outside_a_terminal(capsys, monkeypatch):
    monkeypatch.setattr(progress, 'SECONDS_BETWEEN_LINES', 0.0)
    with progress.Progress(3, unit='step') as bar:
        for step in range(3):
            bar.update({'loss': 1.0 / 3, 'validation': '98 %'})
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3
    assert lines[0].startswith('step 1/3, loss 0.333, validation 98 %, ')
    assert lines[2].endswith('00:00 left')


def test_a_resumed_run_counts_from_where_it_stood(capsys):
    bar = progress.Progress(10, initial=9, unit='iteration')
    bar.update()
    assert capsys.readouterr().out.startswith('iteration 10/10')


def test_few_lines_however_many_steps(capsys):
    bar = progress.Progress(1000)
    for _ in range(1000):
        bar.update({'loss': 1})
    assert len(capsys.readouterr().out.splitlines()) == 1  # within 5 seconds: the last step alone


def test_quiet_prints_nothing(capsys):
    with progress.Progress(1, quiet=True) as bar:
        bar.update({'loss': 1})
    assert capsys.readouterr() == ('', '')


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.mark.parametrize('figures, text', [({'loss': 0.123456}, 'loss 0.123'), ({'loss': 'low'}, 'loss low')],
                         ids=['number', 'text'])
def test_a_bar_on_a_terminal(monkeypatch, figures, text):
    terminal = Terminal()
    monkeypatch.setattr(sys, 'stderr', terminal)
    with progress.Progress(2) as bar:
        bar.update(figures)
        bar.update(figures)
    assert '2/2' in terminal.getvalue() and text in terminal.getvalue()


def test_a_bar_fits_80_columns(monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr(sys, 'stderr', terminal)
    monkeypatch.setenv('COLUMNS', '200')
    with progress.Progress(12000, initial=11998) as bar:
        for _ in range(2):
            bar.update({'image': '2/3', 'size': '512x384', 'loss': 123456.789})
    shown = terminal.getvalue().replace('\n', '\r').split('\r')
    assert max(map(len, shown)) <= 80
    assert shown[-2].endswith('step 12000/12000, 00:00 left, image 2/3, size 512x384, loss 1.23e+05')
