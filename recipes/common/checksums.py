"""Checksums of files, however large, and of what a .gz holds."""
import gzip
import hashlib

CHUNK = 1 << 20  # bytes


def digest(path, algorithm='sha256', unzip=False):
    """Computes a file's checksum.

    Args:
      path: str or Path.
      algorithm: str, a name that hashlib knows.
      unzip: bool, of the content of a .gz instead of the file itself.

    Returns:
      str, hexadecimal.

    Raises:
      OSError: the file cannot be read.
      OSError, EOFError, zlib.error: no .gz, or a damaged one.
    """
    result = hashlib.new(algorithm)
    with (gzip.open(str(path)) if unzip else open(str(path), 'rb')) as stream:
        for chunk in iter(lambda: stream.read(CHUNK), b''):
            result.update(chunk)
    return result.hexdigest()
