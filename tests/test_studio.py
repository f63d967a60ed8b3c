"""The studio, over HTTP: real requests to a real server, jobs that are runs of tiny networks."""
import contextlib
import hashlib
import http.client
import io
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import zlib
from pathlib import Path

import html5lib
import numpy as np
import pytest
from PIL import Image

import small_mnist
import tiny_networks
from common import images, runs, tasks
from common.errors import InputError
from common.job_queue import Job, JobQueue

waitress = pytest.importorskip('waitress', reason='needs requirements-studio.txt (make venv-studio)')
pytest.importorskip('flask', reason='needs requirements-studio.txt (make venv-studio)')
import studio  # noqa: E402

RECIPES = Path(studio.__file__).parent
SECRET = 'the content of a file that is none of theirs'


class Served:
    """A studio that answers on a port of the loopback address."""

    def __init__(self, output_dir, token=None, **options):
        self.output_dir = output_dir
        self.queue = JobQueue(output_dir / 'studio', output_dir)
        hosts = None if token else set()
        self.server = waitress.create_server(
            studio.create_app(self.queue, hosts, token), host='127.0.0.1', port=0, threads=4, asyncore_use_poll=True,
            connection_limit=studio.CONNECTIONS, max_request_body_size=studio.MOST_BYTES,
            clear_untrusted_proxy_headers=True, **options)
        self.port = self.server.effective_port
        self.host = f'127.0.0.1:{self.port}'
        if hosts is not None:
            hosts.add(self.host)
        self.thread = threading.Thread(target=self.server.run, daemon=True)
        self.thread.start()

    def ask(self, method, path, body=None, **headers):
        """Asks as the studio's own page does; returns (status, headers, content)."""
        headers = {name.replace('_', '-'): value for name, value in headers.items()}
        if method == 'POST':
            headers.setdefault('Origin', f'http://{self.host}')
        connection = http.client.HTTPConnection('127.0.0.1', self.port, timeout=60)
        try:
            connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
            for name, value in dict({'Host': self.host}, **headers).items():
                if value is not None:
                    connection.putheader(name, value)
            if body is not None:
                connection.putheader('Content-Length', str(len(body)))
            connection.endheaders(body)
            answer = connection.getresponse()
            return answer.status, dict(answer.getheaders()), answer.read()
        finally:
            connection.close()

    def post_form(self, task, fields=(), pictures=(), **headers):
        """Sends a form with pictures, {name: bytes}, as a browser does."""
        body, boundary = b'', b'studioboundary'
        for name, value in dict(fields).items():
            body += b'--%s\r\nContent-Disposition: form-data; name="%s"\r\n\r\n%s\r\n' % (
                boundary, name.encode(), str(value).encode())
        for name, content in dict(pictures).items():
            body += b'--%s\r\nContent-Disposition: form-data; name="%s"; filename="../../x.png"\r\n\r\n%s\r\n' % (
                boundary, name.encode(), content)
        headers.setdefault('Content_Type', 'multipart/form-data; boundary=studioboundary')
        return self.ask('POST', f'/tasks/{task}', body + b'--%s--\r\n' % boundary, **headers)

    def close(self):
        self.queue.close()
        self.server.close()


def pixels(height, width, seed):
    return np.random.RandomState(seed).randint(0, 256, [height, width, 3], np.uint8)


def encode(image, kind='PNG'):
    encoded = io.BytesIO()
    Image.fromarray(image).save(encoded, kind)
    return encoded.getvalue()


def png(height=40, width=60, seed=0, kind='PNG'):
    return encode(pixels(height, width, seed), kind)


@pytest.fixture
def output_dir(tmp_path, monkeypatch):
    """The folder of the runs; deepdream finds a tiny network."""
    models = tiny_networks.write_inception(tmp_path / 'models').parent
    monkeypatch.setenv('RECIPES_MODELS_DIR', str(models))
    monkeypatch.setenv('RECIPES_OFFLINE', '1')
    (tmp_path / 'output').mkdir()
    return tmp_path / 'output'


@pytest.fixture
def served(output_dir):
    served = Served(output_dir)
    yield served
    served.close()


@pytest.fixture
def idle(output_dir, monkeypatch):
    """A studio whose jobs are never begun."""
    monkeypatch.setattr(JobQueue, '_work', lambda self: None)
    served = Served(output_dir)
    yield served
    served.close()


def add_run(output_dir, recipe='mnist_convnet', finished=True):
    run_dir = runs.create(output_dir, recipe)
    if finished:
        runs.write_record(run_dir, seconds=1.0, results={})
    runs.release_all()
    return run_dir


def wait_for(condition, seconds=300):  # many, for machines with much other work
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        found = condition()
        if found:
            return found
        time.sleep(0.05)
    raise AssertionError('it did not come to pass')


def state(queue):
    return queue.jobs()[0].state


DREAM = {'layer': 'mixed4c', 'octaves': 2, 'steps': 3, 'size': 128}


# ---- Fields become options ----

@pytest.mark.parametrize('name, form, pictures, options', [
    ('style', {'size': '256', 'iterations': '20', 'preserve_color': 'luminance'}, ('content', 'style'),
     ['style_transfer', '--output-dir=o', '--content=/c.png', '--style=/s.png', '--iterations=20',
      '--preserve-color=luminance', '--save-every=20', '--size=256']),
    ('fast', {}, ('content', 'style'), ['fast_style_transfer', '--output-dir=o', '--content=/c.png', '--style=/s.png',
                                        '--strength=1.0', '--size=512']),
    ('fast', {'style_number': '3', 'strength': '50'}, ('content',), [
        'fast_style_transfer', '--output-dir=o', '--content=/c.png', '--strength=0.5', '--style-number=3',
        '--size=512']),
    ('dream', {'layer': 'mixed4d:7'}, ('content',), [
        'deepdream', '--output-dir=o', '--content=/c.png', '--objective=mixed4d:7', '--octaves=4', '--save-every=5',
        '--steps=10', '--size=512']),
    ('layer', {'first': '4', 'count': '3'}, (), [
        'feature_visualization', '--output-dir=o', '--channels=mixed4c:4-6', '--steps=40', '--size=128'])])
def test_the_command_line_of_a_task(name, form, pictures, options):
    values = tasks.check(tasks.TASKS[name], form, Path('o'))
    paths = {field: Path(f'/{field[0]}.png') for field in pictures}
    assert tasks.command(name, values, paths, Path('o')) == options


def test_classifying_takes_one_of_the_finished_runs(output_dir):
    run_dir, _ = add_run(output_dir), add_run(output_dir, finished=False)
    add_run(output_dir, 'deepdream')
    name = f'mnist_convnet/{run_dir.name}'
    assert tasks.trained_runs(output_dir) == [name]
    values = tasks.check(tasks.TASKS['classify'], {'run': name}, output_dir)
    assert tasks.command('classify', values, {'content': Path('/c.png')}, output_dir) == [
        'mnist_convnet', '--predict=/c.png', f'--run={output_dir / name}', f'--output-dir={output_dir}']


@pytest.mark.parametrize('name', list(tasks.TASKS))
def test_the_recipes_take_what_the_studio_gives_them(name, output_dir, tmp_path):
    import importlib
    images.save_image(tmp_path / 'content.png', np.zeros([40, 40, 3]))
    run_dir = add_run(output_dir)
    form = {'run': f'mnist_convnet/{run_dir.name}'}
    pictures = {field.name: tmp_path / 'content.png' for field in tasks.TASKS[name].fields if field.kind == 'picture'}
    recipe, *options = tasks.command(name, tasks.check(tasks.TASKS[name], form, output_dir), pictures, output_dir)
    args = importlib.import_module(recipe).parse_args(options)
    assert args.output_dir == output_dir


# ---- Pages ----

def test_the_pages_are_valid(idle):
    add_run(idle.output_dir)
    idle.post_form('dream', DREAM, {'content': png()})
    for path, status in (('/', 200), ('/runs/index.html', 200)):
        code, headers, text = idle.ask('GET', path)
        assert code == status and headers['Content-Type'] == 'text/html; charset=utf-8'
        html5lib.HTMLParser(strict=True).parse(text.decode())
        assert "default-src 'none'" in headers['Content-Security-Policy'] and headers['X-Frame-Options'] == 'DENY'
    html5lib.HTMLParser(strict=True).parseFragment(idle.ask('GET', '/jobs')[2].decode())
    code, _, text = idle.post_form('dream', dict(DREAM, size='<b>'), {'content': png()})
    assert code == 400 and 'a whole number from 64 to 1600' in text.decode()
    html5lib.HTMLParser(strict=True).parse(text.decode())
    for name in ('studio.js', 'studio.css', 'style.css'):
        assert idle.ask('GET', f'/{name}')[0] == 200


def test_a_picture_is_kept_as_png_whatever_it_was(idle):
    assert idle.post_form('dream', DREAM, {'content': png(kind='BMP')})[0] == 303
    job, = idle.queue.jobs()
    kept = idle.queue.folder_of(job) / 'content.png'
    assert kept.read_bytes()[:4] == b'\x89PNG'
    np.testing.assert_array_equal(images.load_image(kept), pixels(40, 60, 0))
    assert sorted(path.name for path in kept.parent.iterdir()) == ['content.png', 'job.json']


def test_a_large_picture_is_made_smaller(idle):
    assert idle.post_form('dream', DREAM, {'content': png(30, 4096, kind='JPEG')})[0] == 303
    assert images.measure(idle.queue.folder_of(idle.queue.jobs()[0]) / 'content.png') == ('PNG', 2048, 15)


def test_a_run_is_offered_with_its_files(idle):
    run_dir = add_run(idle.output_dir)
    (run_dir / 'report.html').write_text('<title>x</title>')
    (run_dir / 'page.html').write_text('<script>alert(1)</script>')
    (run_dir / 'loss.png').write_bytes(png())
    base = f'/runs/mnist_convnet/{run_dir.name}'
    code, headers, content = idle.ask('GET', f'{base}/loss.png')
    assert (code, headers['Content-Type'], content) == (200, 'image/png', png())
    assert 'attachment' in idle.ask('GET', f'{base}/loss.png?download')[1]['Content-Disposition']
    assert idle.ask('GET', f'{base}/report.html')[1]['Content-Type'].startswith('text/html')
    code, headers, _ = idle.ask('GET', f'{base}/page.html')
    assert (code, headers['Content-Type']) == (200, 'application/octet-stream') and 'attachment' in headers[
        'Content-Disposition']
    assert idle.ask('GET', f'{base}/run.json')[1]['Content-Type'].startswith('text/plain')


def test_so_many_jobs_wait_and_no_more(idle):
    for _ in range(20):
        assert idle.post_form('layer')[0] == 303
    code, _, text = idle.post_form('layer')
    assert code == 400 and b'20 jobs are waiting' in text and len(idle.queue.jobs()) == 20


def test_a_second_studio_is_refused(idle):
    with pytest.raises(InputError, match='another studio works here'):
        JobQueue(idle.output_dir / 'studio', idle.output_dir)


# ---- Hostile requests ----

def bomb():
    """A PNG of a few kilobytes that says it has 30,000 x 30,000 pixels."""
    def chunk(kind, content):
        return len(content).to_bytes(4, 'big') + kind + content + zlib.crc32(kind + content).to_bytes(4, 'big')
    header = (30000).to_bytes(4, 'big') * 2 + b'\x08\x00\x00\x00\x00'
    return b''.join([b'\x89PNG\r\n\x1a\n', chunk(b'IHDR', header), chunk(b'IDAT', zlib.compress(bytes(10 ** 6))),
                     chunk(b'IEND', b'')])


# RUN stands for a run's recipe and folder.
PATHS = r"""
    /runs/RUN/../../../secret.txt  /runs/RUN/%2e%2e/%2e%2e/%2e%2e/secret.txt  /runs/RUN/..%2f..%2f..%2fsecret.txt
    /runs/RUN/....//....//secret.txt  /runs/RUN//etc/passwd  /runs/RUN/%2fetc%2fpasswd  /runs/RUN/link.txt
    /runs/RUN/folder/secret.txt  /runs/RUN/.lock  /runs/RUN/.git/config  /runs/RUN/%00  /runs/RUN/a%00.png
    /runs/RUN/pipe  /runs/RUN/  /runs/RUN  /runs/RUN/..%5c..%5csecret.txt  /runs/RUN/%c0%ae%c0%ae/secret.txt
    /runs/RUN/~root/.ssh/id_rsa  /runs/RUN/con  /runs/../secret.txt  /runs/%2e%2e/x/secret.txt
    /runs/..%5csecret.txt  /runs/studio/x/job.json  /runs/x/y/z  /runs/mnist_convnet/latest/run.json
    /runs/mnist_convnet/../../secret.txt  /studio.py  /../recipes/studio.py  /studio.js/../studio.py
    /static/studio.js  /jobs/../jobs/x/log  /jobs/0/log  /jobs/%2e%2e/log  /jobs//log  /.env  /admin  /console
    /?__debugger__=yes/x/y  http://evil.example/  //evil.example/jobs  /%  /%zz  /\  /;/  /tasks/dream  /digit
    """.split() + ['/runs/RUN/' + 'a' * 5000, '/runs/RUN/' + 'a/' * 2000, '/' + 'a' * 9000, f'/jobs/{"0" * 32}/log']
# What fields are given; the others have their defaults.
FIELDS = {
    ('dream', 'layer'): ['', '--output=/tmp/x', '-h', 'mixed4c --output x', 'mixed4c;reboot', '$(reboot)', '`id`',
                         '../x', 'a' * 61, 'mixed4c:99999', 'mixed4c:-1', 'mixed4c:1\n--output=x', '%n', '\0', 'é'],
    ('dream', 'steps'): ['', '0', '-1', '101', '1e9', '1.5', 'NaN', 'inf', '١', '0x10', '9' * 400, '1; ls', '--steps',
                         '1 2'],
    ('style', 'preserve_color'): ['', 'all', '--help', 'no luminance', 'NO'],
    ('layer', 'count'): ['33', '0', 'all'],
    ('layer', 'layer'): ['mixed4c:0-4000', 'x y', '--channels'],
    ('classify', 'run'): ['', '../..', 'mnist_convnet/../..', '/etc', 'deepdream/x', '--run=/', 'latest']}
UPLOADS = [b'', b'hello', b'<svg onload="alert(1)"/>', b'<!doctype html><script>', png()[:300], bomb(), b'%PDF-1.7',
           b'#!/bin/sh\nreboot', bytes(1000), b'%!PS\n(x) run', b'GIF89a' + b'\xff' * 50, b'\xff\xd8\xff' + bytes(99),
           b'II*\0\xff\xff\xff\xff', b'\x80\x04c__builtin__\nexec\n.']
OTHER_SITES = [*({'Origin': origin} for origin in (
    'http://evil.example', 'null', None, '', 'http://127.0.0.1', 'http://localhost:1', 'file://',
    'http://127.0.0.1.evil.example')), {'Sec_Fetch_Site': 'cross-site'}, {'Sec_Fetch_Site': 'same-site'},
    *({'Host': host} for host in ('evil.example', '127.0.0.1', 'localhost.evil.example:80', '[::1]', '')),
    {'Host': 'evil.example', 'Origin': 'http://evil.example'}]
METHODS = ['PUT', 'DELETE', 'PATCH', 'OPTIONS', 'TRACE', 'CONNECT', 'PROPFIND', 'GETX']


def test_a_hundred_hostile_requests_do_nothing(idle, tmp_path):
    (tmp_path / 'output' / 'secret.txt').write_text(SECRET)
    (tmp_path / 'secret.txt').write_text(SECRET)
    run_dir = add_run(idle.output_dir)
    (run_dir / 'link.txt').symlink_to(tmp_path / 'secret.txt')
    (run_dir / 'folder').symlink_to(tmp_path)
    os.mkfifo(str(run_dir / 'pipe'))
    base = f'mnist_convnet/{run_dir.name}'
    requests = [lambda path=path: idle.ask('GET', path.replace('RUN', base)) for path in PATHS]
    requests += [lambda name=name, field=field, value=value: idle.post_form(
        name, {field: value}, {'content': png(), 'style': png()})
        for (name, field), values in FIELDS.items() for value in values]
    requests += [lambda content=content: idle.post_form('dream', DREAM, {'content': content}) for content in UPLOADS]
    requests += [lambda headers=headers: idle.post_form('dream', DREAM, {'content': png()}, **headers)
                 for headers in OTHER_SITES]
    requests += [lambda method=method: idle.ask(method, '/tasks/dream') for method in METHODS]
    requests += [lambda: idle.post_form('dream', DREAM, {'content': png()}, Content_Type='multipart/form-data'),
                 lambda: idle.post_form('dream', DREAM, {}, Content_Type='text/plain'),
                 lambda: idle.post_form('dream', {f'field{k}': 1 for k in range(100)}, {'content': png()}),
                 lambda: idle.post_form('dream', dict(DREAM, layer='a' * 200000), {'content': png()}),
                 lambda: idle.post_form('evil', DREAM, {'content': png()}),
                 lambda: idle.ask('POST', '/jobs/' + '0' * 32 + '/cancel', b''),
                 lambda: idle.ask('POST', '/digit', b'x', Origin='http://evil.example')]
    before = sorted(str(path) for path in tmp_path.rglob('*'))
    assert len(requests) > 130
    for number, request in enumerate(requests):
        status, _, body = request()
        assert status in (200, 301, 302, 308, 501) or 400 <= status < 500, number
        assert b'Traceback' not in body and SECRET.encode() not in body and b'root:' not in body, number
    assert idle.queue.jobs() == [] and idle.ask('GET', '/')[0] == 200
    assert sorted(str(path) for path in tmp_path.rglob('*')) == before


@pytest.mark.parametrize('raw', [
    b'GET / HTTP/1.1\r\n\r\n', b'\x16\x03\x01\x02\x00', b'GET /\r\nHost: x\r\n\r\n', b'A' * 300000,
    b'POST /digit HTTP/1.1\r\nHost: HOST\r\nOrigin: http://HOST\r\nContent-Length: -5\r\n\r\n',
    b'POST /digit HTTP/1.1\r\nHost: HOST\r\nOrigin: http://HOST\r\nContent-Length: 99999999999\r\n\r\n',
    b'POST /digit HTTP/1.1\r\nHost: HOST\r\nTransfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\nzzzz\r\n',
    b'GET / HTTP/1.1\r\nHost: HOST\r\nHost: evil.example\r\n\r\n', b'GET / HTTP/9.9\r\nHost: HOST\r\n\r\n',
    b'GET / HTTP/1.1\r\nHost: HOST\r\nX: ' + b'a' * 400000 + b'\r\n\r\n', b'\0' * 1000])
def test_bytes_that_are_no_request(idle, raw):
    with contextlib.suppress(OSError), socket.create_connection(('127.0.0.1', idle.port), timeout=10) as connection:
        connection.sendall(raw.replace(b'HOST', idle.host.encode()))
        connection.shutdown(socket.SHUT_WR)
        assert b'Traceback' not in connection.recv(10 ** 6)
    assert idle.ask('GET', '/')[0] == 200 and idle.queue.jobs() == []


def test_an_upload_that_is_too_large_is_refused_before_it_is_read(idle):
    with socket.create_connection(('127.0.0.1', idle.port), timeout=20) as connection:
        connection.sendall(b'POST /tasks/dream HTTP/1.1\r\nHost: %s\r\nContent-Length: %d\r\n\r\n' % (
            idle.host.encode(), studio.MOST_BYTES + 1))
        assert connection.recv(1000).startswith(b'HTTP/1.1 413')


def test_a_thousand_open_connections(idle):
    with contextlib.ExitStack() as stack:
        for number in range(1000):
            connection = stack.enter_context(socket.create_connection(('127.0.0.1', idle.port), timeout=20))
            connection.sendall(b'GET / HTTP/1.1\r\nHost: ' if number % 2 else b'')
        assert idle.ask('GET', '/')[0] == 200
    assert idle.ask('GET', '/')[0] == 200


def test_other_machines_need_the_token(output_dir, monkeypatch):
    monkeypatch.setattr(JobQueue, '_work', lambda self: None)
    served = Served(output_dir, token='correct')
    try:
        for path in ('/', '/?token=', '/?token=wrong', '/jobs', '/studio.js', '/runs/index.html'):
            assert served.ask('GET', path)[0] == 403
        assert served.ask('GET', '/', Cookie='token=wrong')[0] == served.ask('GET', '/', Cookie='token=é')[0] == 403
        code, headers, _ = served.ask('GET', '/?token=correct')
        assert (code, headers['Location']) == (302, '/')
        assert re.fullmatch('token=correct; HttpOnly; Path=/; SameSite=Strict', headers['Set-Cookie'])
        assert served.ask('GET', '/', Cookie='token=correct')[0] == 200
        assert served.post_form('layer', Cookie='token=correct', Origin='http://evil.example')[0] == 403
    finally:
        served.close()


@pytest.mark.parametrize('host, alone', [('127.0.0.1', True), ('localhost', True), ('::1', True), ('127.8.8.8', True),
                                         ('0.0.0.0', False), ('192.168.1.5', False), ('example.org', False), ('',
                                         False)])
def test_what_is_this_machine_alone(host, alone):
    assert studio.is_loopback(host) == alone


def test_a_host_that_is_none_is_one_line(tmp_path, capsys):
    assert studio.main(['--host', '', '--port', '0', '--output-dir', str(tmp_path)]) == 2
    assert capsys.readouterr().err == ('studio.py: error: --host : not an address or name of this machine; give one '
                                       'such as 127.0.0.1\n')


# ---- Jobs of an earlier studio ----

JOB = Job(id='a' * 32, task='layer', values={}, state='waiting', created=1.0)._asdict()


@pytest.mark.parametrize('change', [{'id': 'b' * 32}, {'task': 'evil'}, {'pid': -1}, {'pid': 'x'}, {'values': []},
    {'state': 1},
                                    {'created': None}, {'more': 1}, {'resumes': 'yes'}])
def test_a_job_that_no_studio_wrote_is_left_aside(output_dir, change):
    folder = output_dir / 'studio' / ('a' * 32)
    folder.mkdir(parents=True)
    (folder / 'job.json').write_text(json.dumps({**JOB, **change}))
    queue = JobQueue(output_dir / 'studio', output_dir)
    try:
        assert queue.jobs() == []
    finally:
        queue.close()


@pytest.mark.parametrize('values, said', [
    ({'layer': '--output=/tmp/x'}, 'expected one of those'), ({'count': 10 ** 9}, 'expected a whole number from 1 to'),
    ({'steps': ['1']}, 'expected a whole number'), ({'size': None}, 'expected a whole number')], ids=lambda value: next(
        iter(value)) if isinstance(value, dict) else '')
def test_a_waiting_job_is_checked_once_more(output_dir, values, said):
    folder = output_dir / 'studio' / ('a' * 32)
    folder.mkdir(parents=True)
    (folder / 'job.json').write_text(json.dumps(dict(JOB, values=values)))
    queue = JobQueue(output_dir / 'studio', output_dir)
    try:
        wait_for(lambda: state(queue) == 'failed', 10)
        assert said in queue.log(queue.jobs()[0])
    finally:
        queue.close()


def test_another_process_of_the_same_number_is_left_alone(output_dir):
    sleeper = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])
    try:
        folder = output_dir / 'studio' / ('a' * 32)
        folder.mkdir(parents=True)
        (folder / 'job.json').write_text(json.dumps(dict(JOB, state='running', pid=sleeper.pid, began=time.time())))
        queue = JobQueue(output_dir / 'studio', output_dir)
        assert state(queue) == 'interrupted'
        queue.cancel(queue.jobs()[0])
        queue.close()
        assert sleeper.poll() is None
    finally:
        sleeper.kill()
        sleeper.wait()


# ---- Whole jobs ----

def checksums(run_dir):
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in run_dir.glob('*.png')}


@pytest.mark.slow
def test_a_job_from_the_form_to_the_picture(served):
    assert served.post_form('dream', DREAM, {'content': png(100, 128)})[0] == 303
    wait_for(lambda: state(served.queue) == 'running')
    assert '<progress' in served.ask('GET', '/jobs')[2].decode()
    wait_for(lambda: state(served.queue) == 'done')
    cards = served.ask('GET', '/jobs')[2].decode()
    assert cards in served.ask('GET', '/')[2].decode()  # after a reload, in a second tab
    links = re.findall('(?:src|href)="(/runs/[^"]*)"', cards)
    assert [link.split('/')[-1].split('?')[0] for link in links] == [
        'content_dream.png', 'content_dream.png', 'report.html', 'content_dream.png']
    for link in links:
        assert served.ask('GET', link)[0] == 200
    assert len(images.load_image(served.queue.run_dir(served.queue.jobs()[0]) / 'content_dream.png')) == 100
    assert b'report: ' in served.ask('GET', f'/jobs/{served.queue.jobs()[0].id}/log')[2]


@pytest.mark.slow
def test_a_job_that_fails_says_why(served):
    served.post_form('dream', dict(DREAM, layer='mixed9z'), {'content': png()})
    wait_for(lambda: state(served.queue) == 'failed')
    assert "no layer" in served.ask('GET', '/jobs')[2].decode()


LONG = dict(DREAM, steps=60)


@contextlib.contextmanager
def program(output_dir):
    """A studio in a process of its own: (that, a Served that asks it)."""
    command = [sys.executable, '-W', 'ignore', str(RECIPES / 'studio.py'), '--port=0', f'--output-dir={output_dir}']
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    client = Served.__new__(Served)
    client.port = int(re.search(r':(\d+)/', process.stdout.readline()).group(1))
    client.host = f'127.0.0.1:{client.port}'
    try:
        yield process, client
    finally:
        process.kill()
        process.communicate()


@pytest.mark.slow
def test_canceled_killed_and_resumed_equals_never_stopped(output_dir):
    served = Served(output_dir)
    picture = {'content': png(100, 128)}
    served.post_form('dream', LONG, picture)
    wait_for(lambda: state(served.queue) == 'done')
    whole = checksums(served.queue.run_dir(served.queue.jobs()[0]))
    served.post_form('dream', LONG, picture)
    served.post_form('layer')
    second, waiting = served.queue.jobs()[1], served.queue.jobs()[0]
    assert served.ask('POST', f'/jobs/{waiting.id}/cancel', b'')[0] == 303
    wait_for(lambda: served.queue.run_dir(second) and (served.queue.run_dir(second) / 'metrics.csv').exists())
    assert served.ask('POST', f'/jobs/{second.id}/cancel', b'')[0] == 303
    wait_for(lambda: served.queue.find(second.id).state == 'interrupted')
    assert served.queue.find(waiting.id).state == 'interrupted' and served.queue.run_dir(waiting) is None
    run_dir = served.queue.run_dir(second)
    assert 'seconds' not in runs.read_record(run_dir)
    assert served.ask('POST', f'/jobs/{second.id}/resume', b'')[0] == 303
    wait_for(lambda: served.queue.find(second.id).state == 'done')
    assert served.queue.run_dir(second) == run_dir and checksums(run_dir) == whole
    served.close()
    kill_studio_in_mid_job(output_dir, picture, whole)


def kill_studio_in_mid_job(output_dir, picture, whole):
    """A studio that is killed, with its recipe as in a power cut, and started again."""
    with program(output_dir) as (process, client):
        assert client.post_form('dream', LONG, picture)[0] == 303
        job_file = wait_for(lambda: running_job(output_dir))
        wait_for(lambda: 'this run: ' in job_file.with_name('log.txt').read_text())
        process.send_signal(signal.SIGKILL)
        process.wait()
        os.kill(json.loads(job_file.read_text())['pid'], signal.SIGKILL)
    served = Served(output_dir)
    try:
        job = served.queue.find(job_file.parent.name)
        wait_for(lambda: served.queue.find(job.id).state == 'interrupted')  # once the killed process is gone
        assert f'/jobs/{job.id}/resume' in served.ask('GET', '/jobs')[2].decode()
        served.ask('POST', f'/jobs/{job.id}/resume', b'')
        wait_for(lambda: served.queue.find(job.id).state == 'done')
        assert checksums(served.queue.run_dir(job)) == whole
    finally:
        served.close()


def running_job(output_dir):
    return next((path for path in output_dir.glob('studio/*/job.json')
                 if json.loads(path.read_text())['state'] == 'running'), None)


@pytest.mark.slow
def test_a_recipe_outlives_its_studio_and_is_found_again(output_dir):
    with program(output_dir) as (process, client):
        client.post_form('dream', LONG, {'content': png(100, 128)})
        wait_for(lambda: running_job(output_dir))
        process.send_signal(signal.SIGKILL)
        process.wait()
    served = Served(output_dir)
    try:
        assert state(served.queue) == 'running'
        wait_for(lambda: state(served.queue) == 'done')
    finally:
        served.close()


@pytest.mark.slow
def test_ctrl_c_interrupts_the_job_and_saves_it(output_dir):
    with program(output_dir) as (process, client):
        client.post_form('dream', dict(LONG, steps=100), {'content': png(100, 128)})
        wait_for(lambda: list(output_dir.glob('deepdream/2*/metrics.csv')))
        process.send_signal(signal.SIGINT)
        assert 'Traceback' not in process.communicate(timeout=90)[1] and process.returncode in (0, 130)
    served = Served(output_dir)
    try:
        assert state(served.queue) == 'interrupted'
    finally:
        served.close()


@pytest.mark.slow
def test_a_drawn_digit_is_read_by_the_latest_run(served, tmp_path, monkeypatch):
    import mnist_convnet
    from datasets import mnist
    small_mnist.narrow(monkeypatch.setattr)
    code, headers, text = served.ask('POST', '/digit', png())
    assert code == 200 and 'no run in' in json.loads(text)['error']
    arguments = ['--steps', '120', '--batch-size', '32', '--output-dir', str(served.output_dir), '--data-dir',
                 str(tmp_path / 'none'), '--quiet']
    assert mnist_convnet.main(arguments) == 0
    sample = mnist.load_sample()
    read = []
    for digit in sample.test_images[:12]:
        drawing = encode(np.kron(255 - digit, np.ones([10, 10], np.uint8)))
        read.append(json.loads(served.ask('POST', '/digit', drawing)[2]).get('text'))
    assert sum(text == str(label) for text, label in zip(read, sample.test_labels)) >= 9, read
    blank = encode(np.full([280, 280], 255, np.uint8))
    assert 'error' in json.loads(served.ask('POST', '/digit', blank)[2])
