"""A web server that misbehaves as told, and a disk that fills up."""
import contextlib
import http.server
import resource
import threading
import time

import pytest


class MisbehavingServer:
    """A web server on the loopback.

    `answers[path]` lists what it does, request after request; the last answer repeats. `requests` lists what was asked
    for: (path, the Range header or None).
    """

    def __init__(self):
        self.answers, self.requests = {}, []
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                outer.requests.append((self.path, self.headers.get('Range')))
                answers = outer.answers.get(self.path, [outer.status(404)])
                with contextlib.suppress(ConnectionError):  # the client may have left
                    (answers.pop(0) if len(answers) > 1 else answers[0])(self)

            def log_message(self, *unused):
                pass

        self.server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), Handler)
        self.url = f'http://127.0.0.1:{self.server.server_port}'

    @staticmethod
    def status(code):
        return lambda handler: handler.send_error(code)

    @staticmethod
    def serve(content, ranges=True, length=None, after=None, then_wait=0, wait=0):
        """Returns an answer: the content, or the part of it that was asked for.

        Args:
          content: bytes.
          ranges: bool, whether Range is understood.
          length: int, the Content-Length that is told, None for the true one, 0 for none.
          after: int, break off after so many bytes.
          then_wait: float, seconds of silence before breaking off.
          wait: float, seconds of silence before the answer.
        """
        def answer(handler):
            time.sleep(wait)
            asked = handler.headers.get('Range') if ranges else None
            start = int(asked[len('bytes='):-1]) if asked else 0
            if asked and start >= len(content):
                return handler.send_error(416)
            handler.send_response(206 if asked else 200)
            if asked:
                handler.send_header('Content-Range', f'bytes {start}-{len(content) - 1}/{len(content)}')
            if length != 0:
                handler.send_header('Content-Length', str(length or len(content) - start))
            handler.end_headers()
            handler.wfile.write(content[start:][:after])
            handler.wfile.flush()
            time.sleep(then_wait)
        return answer


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv('NO_PROXY', '127.0.0.1')
    monkeypatch.setattr('common.fetch.FIRST_PAUSE_SECONDS', 0.01)
    monkeypatch.setattr('common.fetch.CHUNK', 100)
    made = MisbehavingServer()
    thread = threading.Thread(target=made.server.serve_forever, kwargs={'poll_interval': 0.02}, daemon=True)
    thread.start()
    yield made
    made.server.shutdown()
    made.server.server_close()
    thread.join()


@pytest.fixture
def small_disk():
    """Gives small_disk(num_bytes), a context in which no file can grow longer: writing fails as on a full disk."""
    @contextlib.contextmanager
    def limit(num_bytes):
        old = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, old[1]))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, old)
    return limit
