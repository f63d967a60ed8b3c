"""The studio in a real headless Chromium, driven over WebDriver, which is HTTP and JSON."""
import base64
import json
import os
import re
import shutil
import subprocess
import tempfile
import time
import urllib.error
import urllib.request

import pytest

pytest.importorskip('waitress', reason='needs requirements-studio.txt (make venv-studio)')
pytest.importorskip('flask', reason='needs requirements-studio.txt (make venv-studio)')
import small_mnist  # noqa: E402
import test_studio  # noqa: E402
from test_studio import LONG, encode, pixels, state, wait_for  # noqa: E402

DRIVER = shutil.which('chromedriver')
pytestmark = [pytest.mark.slow, pytest.mark.skipif(
    not DRIVER, reason='needs Chromium and its driver (Debian: chromium-driver)')]
output_dir, served = test_studio.output_dir, test_studio.served
ELEMENT = 'element-6066-11e4-a52e-4f735466cecf'


class Browser:
    """A Chromium without a window."""

    def __init__(self, profile, width=1100, height=1400):
        self.process = subprocess.Popen([DRIVER, '--port=0'], stdout=subprocess.PIPE, text=True,
                                        env=dict(os.environ, HOME=profile))
        line = next(line for line in self.process.stdout if 'started successfully on port' in line)
        self.address = f'http://127.0.0.1:{re.search(r"port ([0-9]+)", line).group(1)}'
        arguments = ['--headless=new', '--no-sandbox', '--disable-gpu', f'--window-size={width},{height}',
                     f'--user-data-dir={profile}/chromium', '--disable-dev-shm-usage', '--hide-scrollbars']
        self.session = self._send('POST', '/session', {'capabilities': {'alwaysMatch': {
            'goog:chromeOptions': {'args': arguments}, 'goog:loggingPrefs': {'browser': 'ALL'}}}})['sessionId']

    def _send(self, method, path, data=None):
        request = urllib.request.Request(self.address + path, None if data is None else json.dumps(data).encode(),
                                         {'Content-Type': 'application/json'}, method=method)
        try:
            with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=60) as answer:
                return json.load(answer)['value']
        except urllib.error.HTTPError as error:
            raise AssertionError(error.read().decode()[:500])

    def ask(self, method, path, data=None):
        return self._send(method, f'/session/{self.session}{path}', data)

    def open(self, address):
        self.ask('POST', '/url', {'url': address})

    def run(self, script):
        return self.ask('POST', '/execute/sync', {'script': script, 'args': []})

    def find(self, selector):
        return self.ask('POST', '/element', {'using': 'css selector', 'value': selector})[ELEMENT]

    def click(self, selector):
        self.ask('POST', f'/element/{self.find(selector)}/click', {})

    def type(self, selector, text, clear=False):
        element = self.find(selector)
        if clear:
            self.ask('POST', f'/element/{element}/clear', {})
        self.ask('POST', f'/element/{element}/value', {'text': str(text)})

    def screenshot(self, path):
        path.write_bytes(base64.b64decode(self.ask('GET', '/screenshot')))

    def draw(self, points):
        """Draws through points of the canvas, in pixels from its middle."""
        canvas = {ELEMENT: self.find('#canvas')}
        moves = [{'type': 'pointerMove', 'duration': 10, 'origin': canvas, 'x': x, 'y': y} for x, y in points]
        down, up = ({'type': kind, 'button': 0} for kind in ('pointerDown', 'pointerUp'))
        self.ask('POST', '/actions', {'actions': [{
            'type': 'pointer', 'id': 'pen', 'parameters': {'pointerType': 'mouse'},
            'actions': [moves[0], down, *moves[1:], up]}]})

    def complaints(self):
        """Returns what the browser has logged as an error, a violated policy for instance."""
        return [entry['message'] for entry in self.ask('POST', '/se/log', {'type': 'browser'})
                if entry['level'] == 'SEVERE' and 'favicon' not in entry['message']]

    def close(self):
        self.ask('DELETE', '')
        self.process.terminate()
        self.process.wait()


@pytest.fixture
def browser():
    profile = tempfile.mkdtemp(prefix='studio-browser-')
    browser = Browser(profile)
    yield browser
    browser.close()
    shutil.rmtree(profile, ignore_errors=True)


def test_a_person_dreams_cancels_reloads_and_resumes(served, browser, tmp_path):
    photograph = tmp_path / 'my photograph.jpg'
    photograph.write_bytes(encode(pixels(500, 640, 0), 'JPEG'))
    browser.open(f'http://{served.host}/')
    browser.run('document.querySelector("#form-dream").closest("details").open = true')
    browser.type('#dream-content', photograph)
    for name, value in dict(LONG, octaves=4, steps=40, size=640).items():  # many seconds, to cancel and reload in
        browser.type(f'#dream-{name}', value, clear=True)
    assert browser.run('return document.querySelector("#form-dream .preview").naturalWidth') == 640
    browser.click('#form-dream button')
    wait_for(lambda: browser.run('return !!document.querySelector(".job.running progress")'))
    browser.open(f'http://{served.host}/')  # in the middle of it
    wait_for(lambda: browser.run('return document.querySelector(".job img")?.naturalWidth'))
    browser.click('.job .actions button')
    wait_for(lambda: state(served.queue) == 'interrupted')
    wait_for(lambda: browser.run('return document.querySelector(".job .actions button")?.textContent') == 'Resume')
    browser.click('.job .actions button')
    wait_for(lambda: state(served.queue) == 'done')
    wait_for(lambda: browser.run('return !!document.querySelector(".job.done img")'))
    assert browser.complaints() == []
    browser.click('.job .actions a')
    assert wait_for(lambda: browser.run('return document.querySelector("h1")?.textContent')) == 'deepdream'
    sizes = browser.run('return [...document.images].map(image => image.naturalWidth)')
    assert len(sizes) > 2 and all(sizes) and browser.complaints() == []


def test_a_digit_is_read_as_it_is_drawn(served, browser, tmp_path, monkeypatch):
    import mnist_convnet
    small_mnist.narrow(monkeypatch.setattr)
    assert mnist_convnet.main(['--steps', '150', '--batch-size', '32', '--output-dir', str(served.output_dir),
                               '--data-dir', str(tmp_path / 'none'), '--quiet']) == 0
    browser.open(f'http://{served.host}/')
    browser.run('document.querySelectorAll("main details").forEach(one => one.open = one.id == "draw")')
    browser.draw([(5, -90 + 6 * step) for step in range(31)])
    wait_for(lambda: re.match('1 ', browser.run('return document.querySelector("#reading").textContent')))
    browser.click('#clear')
    assert browser.run('return document.querySelector("#reading").textContent') == ''
    time.sleep(0.3)
    assert browser.complaints() == []


def test_the_page_fits_a_telephone(served, browser):
    browser.ask('POST', '/window/rect', {'width': 500, 'height': 900})  # the narrowest that Chromium makes
    browser.open(f'http://{served.host}/')
    browser.run('document.querySelectorAll("main details").forEach(one => one.open = true)')
    assert browser.run('return document.documentElement.scrollWidth <= window.innerWidth')


def test_a_run_page_follows_the_colors_of_the_system(served, browser):
    run_dir = test_studio.add_run(served.output_dir)
    from common import report
    report.write(run_dir)
    browser.open(f'http://{served.host}/runs/mnist_convnet/{run_dir.name}/report.html')
    shades = []
    for scheme in ('light', 'dark'):
        browser.ask('POST', '/goog/cdp/execute', {'cmd': 'Emulation.setEmulatedMedia', 'params': {
            'features': [{'name': 'prefers-color-scheme', 'value': scheme}]}})
        shades.append(browser.run('return getComputedStyle(document.body).backgroundColor'))
    assert shades == ['rgb(255, 255, 255)', 'rgb(20, 23, 26)'] and browser.complaints() == []


def test_another_site_cannot_post(served, browser, tmp_path):
    page = tmp_path / 'evil.html'
    page.write_text(f'<form method="post" action="http://{served.host}/tasks/layer"><button>win</button></form>'
                    f'<img src="http://{served.host}/runs/index.html">')
    browser.open(f'file://{page}')
    browser.click('button')
    wait_for(lambda: 'own page' in browser.run('return document.body.textContent')
             or 'Another site' in browser.run('return document.body.textContent'))
    assert served.queue.jobs() == []
