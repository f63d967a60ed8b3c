"""Files of the studio's jobs: the pictures that come in, and what a run's folder gives out."""
import os
import tempfile
import threading
from pathlib import Path

from common import images, report, runs
from common.errors import InputError

MOST_BYTES = 40 * 2 ** 20        # of a request
MOST_PIXELS = 40 * 10 ** 6       # of a picture that comes in; it is kept with at most LONGEST_SIDE
LONGEST_SIDE = 2048
_decoding = threading.Lock()     # one picture at a time takes up memory


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
            images.save_image(path, images.fit(images.load_image(raw), LONGEST_SIDE), images.load_alpha(raw))
        except InputError as error:
            raise InputError(str(error).replace(str(raw), 'the picture')) from error


def take_pictures(task, uploads, folder):
    """Writes the pictures that came with a form into a job's folder; InputError where a needed one is missing."""
    for field in task.fields:
        upload = uploads.get(field.name)
        if field.kind == 'picture' and upload:
            take_picture(upload, folder / f'{field.name}.png')
        elif field.kind == 'picture' and field.default is None:
            raise InputError(f'{field.label}: choose a picture')


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
