"""Serves a page on this machine, on which the recipes are started, watched and looked at in a browser.

A job is a run of a recipe, by its command line in a process of its own, one at a time: a closed browser, a reload or a
killed studio loses nothing, and what was interrupted is resumed from the page.

Usage:
    make studio                                    http://127.0.0.1:8000
    python recipes/studio.py --port 8080
    python recipes/studio.py --host 192.168.1.5    for other machines too; the address that is printed has a token
"""
import contextlib
import hmac
import io
import ipaddress
import os
import secrets
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import common  # noqa: F401, first: without an environment, says in one line how to make it

from common import cli, job_files, report, tasks
from common.errors import InputError, UnavailableError
from common.job_files import MOST_BYTES
from common.job_queue import JobQueue

TEMPLATES = report.TEMPLATES
FREE_BYTES = 2 ** 28             # on the disk, below which nothing is taken in
CONNECTIONS, IDLE_SECONDS = 2000, 20
# The files of a run that are shown in the browser; others are offered for download.
SHOWN = {'.png': 'image/png', '.jpg': 'image/jpeg', '.gif': 'image/gif', '.webp': 'image/webp', '.mp4': 'video/mp4',
         '.csv': 'text/plain', '.txt': 'text/plain', '.json': 'text/plain', '.html': 'text/html'}
PAGE_POLICY = ("default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; media-src 'self'; "
               "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'")
FILE_POLICY = ("default-src 'none'; style-src 'unsafe-inline'; img-src 'self' data:; media-src 'self'; "
               "form-action 'none'; base-uri 'none'; frame-ancestors 'none'")


# ---- Digits ----

class DigitReader:
    """Reads digits with the latest run of mnist_convnet, whose network stays in memory, in a thread of its own."""

    def __init__(self, output_dir):
        self.output_dir, self.opened, self.stack = output_dir, None, contextlib.ExitStack()
        self.thread = ThreadPoolExecutor(max_workers=1)

    def read(self, path):
        """Returns what a picture's digits are taken for; see _read."""
        return self.thread.submit(self._read, path).result(timeout=120)

    def _read(self, path):
        import mnist_convnet as recipe  # no recipe imports another; this program is none
        from datasets import handwriting
        from training import classifier
        recipe.parse_args(['--output-dir', str(self.output_dir)])
        found = classifier.find_trained_run(self.output_dir, recipe.RECIPE, dataset='mnist')
        if self.opened != (found.folder, found.step):
            self.stack.close()
            self.network = self.stack.enter_context(
                classifier.trained_network(recipe.build_graph, found.folder, found.step, 'cpu'))
            self.opened = found.folder, found.step
        digits = handwriting.find_digits(handwriting.load(path), 'the drawing').digits
        probabilities = recipe.predict(*self.network, digits)
        return {'text': ''.join(str(row.argmax()) for row in probabilities),
                'probabilities': [round(float(row.max()), 3) for row in probabilities], 'run': found.run_dir.name}


# ---- Jobs, as the page shows them ----

def describe(queue, job):
    """Returns what the page shows of a job: a dict."""
    run_dir, log = queue.run_dir(job), queue.log(job)
    picture = job_files.result_picture(run_dir) if run_dir else ''
    lines = [line.replace(f'{queue.folder_of(job)}/', '') for line in log.splitlines() if line.strip()]
    if job.task == 'classify' and job.state == 'done':
        said = '\n'.join(line for line in lines if line.startswith('content.png'))
    else:
        said = lines[-1] if lines and job.state in ('failed', 'interrupted') else ''
    unused = 'style_number' if (queue.folder_of(job) / 'style.png').is_file() else ''  # a painting takes its place
    return {'id': job.id, 'title': tasks.TASKS[job.task].title, 'state': job.state, 'progress': queue.progress(job),
            'values': ', '.join(f'{name.replace("_", " ")} {value}' for name, value in job.values.items()
                                if name != unused),
            'run': '/'.join(run_dir.parts[-2:]) if run_dir else '', 'said': said, 'picture': picture,
            'stamp': int((run_dir / picture).stat().st_mtime * 1000) if picture else 0,
            'has_report': run_dir is not None and report.is_file(run_dir / report.REPORT)}


# ---- Who is answered ----

def guard(hosts, token):
    """Answers a request that this page did not make, or whose browser does not know the token; None for others."""
    import flask
    request = flask.request
    if hosts is not None and request.host not in hosts:
        return refuse(403, 'This studio answers under its own address only.')
    if request.headers.get('Sec-Fetch-Site') in ('cross-site', 'same-site') and (
            request.method != 'GET' or request.headers.get('Sec-Fetch-Mode') != 'navigate'):
        return refuse(403, 'Another site may not ask for this.')
    if request.method == 'POST':
        origin = urlsplit(request.headers.get('Origin', ''))
        if origin.scheme not in ('http', 'https') or origin.netloc != request.host:
            return refuse(403, 'This has to come from the studio\'s own page.')
    if token:
        known = request.cookies.get('token', '')
        if hmac.compare_digest(request.args.get('token', '').encode(), token.encode()):
            answer = flask.redirect('/')
            answer.set_cookie('token', token, httponly=True, samesite='Strict')
            return answer
        if not hmac.compare_digest(known.encode(), token.encode()):
            return refuse(403, 'Open the address that the studio has printed, with its token.')
    return None


def protect(answer):
    """Adds the headers that every answer has, and returns it."""
    answer.headers.setdefault('Content-Security-Policy', PAGE_POLICY)
    for name, value in (('X-Content-Type-Options', 'nosniff'), ('Referrer-Policy', 'same-origin'),
                        ('Cross-Origin-Resource-Policy', 'same-origin'), ('X-Frame-Options', 'DENY'),
                        ('Cache-Control', 'no-store')):
        answer.headers[name] = value
    return answer


def refuse(code, text):
    """Makes an answer of one line."""
    import flask
    return flask.Response(f'{text}\n', code, mimetype='text/plain')


def show_mistake(error):
    """Answers an InputError."""
    import flask
    return flask.render_template('studio_message.html', text=str(error)), 400


def show_failure(error):
    """Answers every other exception: those of HTTP, or one that belongs in the log."""
    import flask
    code = getattr(error, 'code', None)
    if isinstance(code, int) and 400 <= code < 500:
        return refuse(code, getattr(error, 'name', 'not possible'))
    flask.current_app.logger.error('failed: %s: %s', type(error).__name__, error)
    return refuse(500, 'That failed; the terminal in which the studio runs says why.')


# ---- The application ----

def create_app(queue, hosts=None, token=None):
    """Makes the WSGI application.

    Args:
      queue: JobQueue.
      hosts: set of str, values of the Host header that are answered; None for any, behind a token.
      token: str that a browser has to know, or None.

    Returns:
      flask.Flask.
    """
    import flask
    app = flask.Flask('studio', template_folder=str(TEMPLATES), static_folder=None)
    app.request_class = type('Request', (flask.Request,), {'max_form_parts': 20, 'max_form_memory_size': 10 ** 5})
    app.config['MAX_CONTENT_LENGTH'] = MOST_BYTES
    app.before_request(partial(guard, hosts, token))
    app.after_request(protect)
    app.register_error_handler(InputError, show_mistake)
    app.register_error_handler(Exception, show_failure)
    for blueprint in (job_pages(queue), run_pages(queue.output_dir), digit_page(queue.output_dir)):
        app.register_blueprint(blueprint)
    return app


def job_pages(queue):
    """Makes the flask.Blueprint of the page and its jobs."""
    import flask
    pages = flask.Blueprint('jobs', __name__)

    def render(template, **values):
        return flask.render_template(template, jobs=[describe(queue, job) for job in queue.jobs()[:50]], **values)

    @pages.get('/')
    def page():
        return render('studio.html', tasks=tasks.TASKS, runs=tasks.trained_runs(queue.output_dir))

    @pages.get('/jobs')
    def jobs():
        return render('studio_jobs.html')

    @pages.post('/tasks/<name>')
    def start(name):
        task = tasks.TASKS.get(name) or flask.abort(404)
        values = tasks.check(task, flask.request.form, queue.output_dir)
        disk = os.statvfs(str(queue.output_dir))
        if disk.f_bavail * disk.f_frsize < FREE_BYTES:
            raise InputError('the disk is nearly full')
        queue.add(name, values, partial(job_files.take_pictures, task, flask.request.files))
        return flask.redirect('/#jobs', 303)

    @pages.post('/jobs/<job_id>/<verb>')
    def change(job_id, verb):
        job = queue.find(job_id) or flask.abort(404)
        {'cancel': queue.cancel, 'resume': queue.resume}.get(verb, lambda job: flask.abort(404))(job)
        return flask.redirect('/#jobs', 303)

    @pages.get('/jobs/<job_id>/log')
    def log(job_id):
        return flask.Response(queue.log(queue.find(job_id) or flask.abort(404)), mimetype='text/plain')

    @pages.get('/<any("studio.js", "studio.css", "style.css"):name>')
    def asset(name):
        return flask.send_file(str(TEMPLATES / name), conditional=True)

    return pages


def run_pages(output_dir):
    """Makes the flask.Blueprint of the runs and their files."""
    import flask
    pages = flask.Blueprint('runs', __name__, url_prefix='/runs')

    @pages.get('/index.html')
    def index():
        text = report.write_index(output_dir).read_text(encoding='utf-8')
        return flask.Response(text, mimetype='text/html', headers={'Content-Security-Policy': FILE_POLICY})

    @pages.get('/<recipe>/<run>/<path:name>')
    def run_file(recipe, run, name):
        path = job_files.file_of_run(output_dir, recipe, run, name) or flask.abort(404)
        kind = SHOWN.get(path.suffix.lower()) if path.suffix != '.html' or name == report.REPORT else None
        answer = flask.send_file(str(path), mimetype=kind or 'application/octet-stream', conditional=True,
                                 as_attachment=kind is None or 'download' in flask.request.args)
        answer.headers['Content-Security-Policy'] = FILE_POLICY
        return answer

    return pages


def digit_page(output_dir):
    """Makes the flask.Blueprint that reads a drawn digit."""
    import flask
    pages, digits = flask.Blueprint('digits', __name__), DigitReader(output_dir)

    @pages.post('/digit')
    def digit():
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / 'digit.png'
            try:
                job_files.take_picture(io.BytesIO(flask.request.get_data(cache=False)), path)
                return flask.jsonify(digits.read(path))
            except InputError as error:
                return flask.jsonify({'error': str(error)})

    return pages


# ---- Command line ----

def parse_args(argv):
    """Parses the command line; see --help."""
    parser = cli.make_parser(__doc__, running=False)
    group = parser.add_argument_group('serving')
    group.add_argument('--host', default='127.0.0.1', help='address to listen on; any but 127.0.0.1 needs a token')
    group.add_argument('--port', type=cli.whole_number(0, 65535), default=8000, help='0: any that is free')
    return parser.parse_args(argv)


def is_loopback(host):
    """Tells whether an address is this machine's own alone."""
    try:
        return host == 'localhost' or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


@cli.exit_codes
def main(argv=None):
    """Serves until Ctrl-C; returns the exit code."""
    args = parse_args(argv)
    try:
        import waitress
        import flask  # noqa: F401
    except ImportError as error:
        raise UnavailableError(f'the studio needs {error.name}, which make studio installs; or: pip install -r '
                               'requirements-studio.txt')
    output_dir = args.output_dir.resolve()
    queue = JobQueue(output_dir / 'studio', output_dir)
    token, hosts = (None, set()) if is_loopback(args.host) else (secrets.token_urlsafe(24), None)
    try:
        server = waitress.create_server(
            create_app(queue, hosts, token), host=args.host, port=args.port, threads=8, connection_limit=CONNECTIONS,
            channel_timeout=IDLE_SECONDS, cleanup_interval=5, asyncore_use_poll=True, max_request_body_size=MOST_BYTES,
            clear_untrusted_proxy_headers=True, ident=None)
    except ValueError:  # of getaddrinfo
        queue.close()
        raise InputError(f'--host {args.host}: not an address or name of this machine; give one such as 127.0.0.1')
    except OSError as error:
        queue.close()
        raise UnavailableError(f'--host {args.host} --port {args.port}: {error.strerror}; choose another --port')
    port = server.effective_port
    if hosts is not None:
        hosts.update(f'{name}:{port}' for name in ('127.0.0.1', 'localhost', '[::1]'))
    print(f'studio: http://{args.host}:{port}/{f"?token={token}" if token else ""}  (Ctrl-C ends it)', flush=True)
    try:
        server.run()
    finally:
        server.close()
        queue.close()
    return 0


if __name__ == '__main__':
    sys.exit(main())
