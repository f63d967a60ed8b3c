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
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

import common  # noqa: F401, first: without an environment, says in one line how to make it

from common import cli, images, report, runs, tasks
from common.errors import InputError, UnavailableError
from common.job_queue import JobQueue

TEMPLATES = report.TEMPLATES
MOST_BYTES = 40 * 2 ** 20        # of a request
MOST_PIXELS = 40 * 10 ** 6       # of a picture that comes in; it is kept with at most LONGEST_SIDE
LONGEST_SIDE = 2048
FREE_BYTES = 2 ** 28             # on the disk, below which nothing is taken in
CONNECTIONS, IDLE_SECONDS = 2000, 20
# The files of a run that are shown in the browser; others are offered for download.
SHOWN = {'.png': 'image/png', '.jpg': 'image/jpeg', '.gif': 'image/gif', '.webp': 'image/webp', '.mp4': 'video/mp4',
         '.csv': 'text/plain', '.txt': 'text/plain', '.json': 'text/plain', '.html': 'text/html'}
PAGE_POLICY = ("default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; media-src 'self'; "
               "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'")
FILE_POLICY = ("default-src 'none'; style-src 'unsafe-inline'; img-src 'self' data:; media-src 'self'; "
               "form-action 'none'; base-uri 'none'; frame-ancestors 'none'")
_decoding = threading.Lock()     # one picture at a time takes up memory


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


# ---- Pictures that come in, files that go out ----

def take_picture(upload, path):
    """Writes an uploaded picture as PNG, after it has been decoded as whatever it is.

    Args:
      upload: file object.
      path: Path.

    Raises:
      InputError: no picture, or one that is too large.
    """
    with tempfile.TemporaryDirectory() as folder, _decoding:
        raw = Path(folder) / 'picture'
        raw.write_bytes(upload.read(MOST_BYTES))
        try:
            _, width, height = images.measure(raw)
            if width * height > MOST_PIXELS:
                raise InputError(f'{width} × {height} pixels are too many; at most {MOST_PIXELS // 10 ** 6} megapixels')
            image = images.load_image(raw)
            image = images.resize_image(image, *images.fit_size(*image.shape[:2], LONGEST_SIDE))
            images.save_image(path, image, images.load_alpha(raw))
        except InputError as error:
            raise InputError(str(error).replace(str(raw), 'the picture')) from error


def file_of_run(output_dir, recipe, run, name):
    """Returns the Path of a file in a run's folder, None where there is none: hidden files and links are not."""
    run_dir, parts = Path(output_dir) / recipe / run, Path(name).parts
    if run_dir not in report.find_runs(output_dir) or '\0' in name or not parts:
        return None
    if name != report.THUMBNAIL and any(part.startswith('.') for part in parts):  # '..' too
        return None
    path = run_dir / name
    return path if os.path.realpath(str(path)) == os.path.abspath(str(path)) and report.is_file(path) else None


def newest_picture(run_dir):
    """Returns the name of the picture that a run has written last, '' for none."""
    found = {path: path.stat().st_mtime for pattern in ('*.png', 'frames/*.png', 'pictures/*.png')
             for path in run_dir.glob(pattern) if path.name != 'network.png' and not path.name.startswith('.')}
    return max(found, key=lambda path: found[path]).relative_to(run_dir).as_posix() if found else ''


def result_picture(run_dir):
    """Returns the name of the picture that a run is about: its result, or the last one on the way."""
    try:
        pictures = runs.read_record(run_dir).get('pictures', [])
        names = [f'{picture["name"]}.png' for picture in pictures if 'name' in picture]
    except (InputError, OSError):
        names = []
    return next((name for name in [*names, 'sheet.png'] if report.is_file(run_dir / name)), newest_picture(run_dir))


def describe(queue, job):
    """Returns what the page shows of a job: a dict."""
    run_dir, log = queue.run_dir(job), queue.log(job)
    picture = result_picture(run_dir) if run_dir else ''
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
    output_dir, digits = queue.output_dir, DigitReader(queue.output_dir)

    def refuse(code, text):
        return flask.Response(f'{text}\n', code, mimetype='text/plain')

    @app.before_request
    def guard():
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

    @app.after_request
    def protect(answer):
        answer.headers.setdefault('Content-Security-Policy', PAGE_POLICY)
        for name, value in (('X-Content-Type-Options', 'nosniff'), ('Referrer-Policy', 'same-origin'),
                            ('Cross-Origin-Resource-Policy', 'same-origin'), ('X-Frame-Options', 'DENY'),
                            ('Cache-Control', 'no-store')):
            answer.headers[name] = value
        return answer

    @app.errorhandler(InputError)
    def mistake(error):
        return flask.render_template('studio_message.html', text=str(error)), 400

    @app.errorhandler(Exception)
    def failed(error):
        code = getattr(error, 'code', None)
        if isinstance(code, int) and 400 <= code < 500:
            return refuse(code, getattr(error, 'name', 'not possible'))
        app.logger.error('failed: %s: %s', type(error).__name__, error)
        return refuse(500, 'That failed; the terminal in which the studio runs says why.')

    def job_or_404(job_id):
        return queue.find(job_id) or flask.abort(404)

    @app.get('/')
    def page():
        return flask.render_template('studio.html', tasks=tasks.TASKS, runs=tasks.trained_runs(output_dir),
                                     jobs=[describe(queue, job) for job in queue.jobs()[:50]])

    @app.get('/jobs')
    def jobs():
        return flask.render_template('studio_jobs.html', jobs=[describe(queue, job) for job in queue.jobs()[:50]])

    @app.post('/tasks/<name>')
    def start(name):
        task = tasks.TASKS.get(name) or flask.abort(404)
        values = tasks.check(task, flask.request.form, output_dir)
        disk = os.statvfs(str(output_dir))
        if disk.f_bavail * disk.f_frsize < FREE_BYTES:
            raise InputError('the disk is nearly full')

        def write_pictures(folder):
            for field in task.fields:
                upload = flask.request.files.get(field.name)
                if field.kind == 'picture' and upload:
                    take_picture(upload, folder / f'{field.name}.png')
                elif field.kind == 'picture' and field.default is None:
                    raise InputError(f'{field.label}: choose a picture')
        queue.add(name, values, write_pictures)
        return flask.redirect('/#jobs', 303)

    @app.post('/jobs/<job_id>/<verb>')
    def change(job_id, verb):
        job = job_or_404(job_id)
        {'cancel': queue.cancel, 'resume': queue.resume}.get(verb, lambda job: flask.abort(404))(job)
        return flask.redirect('/#jobs', 303)

    @app.get('/jobs/<job_id>/log')
    def log(job_id):
        return flask.Response(queue.log(job_or_404(job_id)), mimetype='text/plain')

    @app.get('/runs/index.html')
    def index():
        text = report.write_index(output_dir).read_text(encoding='utf-8')
        return flask.Response(text, mimetype='text/html', headers={'Content-Security-Policy': FILE_POLICY})

    @app.get('/runs/<recipe>/<run>/<path:name>')
    def run_file(recipe, run, name):
        path = file_of_run(output_dir, recipe, run, name) or flask.abort(404)
        kind = SHOWN.get(path.suffix.lower()) if path.suffix != '.html' or name == report.REPORT else None
        answer = flask.send_file(str(path), mimetype=kind or 'application/octet-stream', conditional=True,
                                 as_attachment=kind is None or 'download' in flask.request.args)
        answer.headers['Content-Security-Policy'] = FILE_POLICY
        return answer

    @app.post('/digit')
    def digit():
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / 'digit.png'
            try:
                take_picture(io.BytesIO(flask.request.get_data(cache=False)), path)
                return flask.jsonify(digits.read(path))
            except InputError as error:
                return flask.jsonify({'error': str(error)})

    @app.get('/<any("studio.js", "studio.css", "style.css"):name>')
    def asset(name):
        return flask.send_file(str(TEMPLATES / name), conditional=True)

    return app


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
