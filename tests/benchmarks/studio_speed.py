"""Seconds from the click in the studio until fast style transfer's picture of 512 pixels is done, style after style.

    python tests/benchmarks/studio_speed.py

Starts a studio on a port of the loopback address and sends it what its page sends. The page looks for what is new once
a second, so that a browser shows the picture up to a second later. The weights are on disk from the first picture on.
Run it when nothing else is running, in an environment with requirements-studio.txt.
"""
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / 'recipes'), str(ROOT / 'tests')]
import test_studio  # noqa: E402

PHOTOGRAPH = ROOT / 'docs' / 'samples' / 'hopper.jpg'
STYLES = (3, 7, 12, 20)


def paint(served, style):
    """Returns the seconds until the photograph is painted in one of the 26 styles."""
    started = time.monotonic()
    status, _, answer = served.post_form('fast', {'style_number': style}, {'content': PHOTOGRAPH.read_bytes()})
    if status >= 400:
        raise SystemExit(answer.decode())
    test_studio.wait_for(lambda: served.queue.jobs()[0].state not in ('waiting', 'running'), seconds=300)
    seconds = time.monotonic() - started
    job = served.queue.jobs()[0]
    if job.state != 'done':
        raise SystemExit(served.queue.log(job))
    return seconds


def main():
    """Prints the seconds of each picture in the studio, and of one by the same command without it."""
    with tempfile.TemporaryDirectory() as folder:
        served = test_studio.Served(Path(folder))
        try:
            for number, style in enumerate(STYLES, 1):
                print(f'picture {number}, style {style}: {paint(served, style):.1f} s')
        finally:
            served.close()
        started = time.monotonic()
        subprocess.run([sys.executable, str(ROOT / 'recipes' / 'fast_style_transfer.py'), '--content', str(PHOTOGRAPH),
                        '--style-number', '7', '--size', '512', '--output-dir', folder], check=True,
                       stdout=subprocess.DEVNULL)
        print(f'the command without the studio: {time.monotonic() - started:.1f} s')


if __name__ == '__main__':
    main()
