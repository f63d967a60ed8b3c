"""A fast share of tests/fuzz.py, which `make fuzz` runs whole."""
import subprocess
import sys
from pathlib import Path

FUZZ = Path(__file__).with_name('fuzz.py')


def test_a_share_of_the_bad_inputs():
    done = subprocess.run([sys.executable, '-W', 'ignore', str(FUZZ), '--count', '24', '--recipes', 'mnist', 'dream'],
                          capture_output=True, text=True, timeout=600)
    assert done.returncode == 0 and done.stdout.splitlines()[-1] == '24 tried; nothing found', (
        done.stdout[-3000:] + done.stderr[-2000:])
