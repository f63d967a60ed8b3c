"""Image files: whatever a person has is read as float32 RGB in [0, 255], and written back."""
import contextlib
import io
import os
import re
import threading
import warnings
from pathlib import Path

import numpy as np
from PIL import Image, JpegImagePlugin, UnidentifiedImageError

from common import files, pixels
from common.errors import InputError, note
from common.files import name_kind

# What save_image writes: the extension's format, and how; in ALPHA, those with transparency, in PROFILED
# those that can say that their colors are sRGB's. With color at full
# resolution (subsampling 0) a dream's fine colored lines survive JPEG.
FORMATS = {
    '.png': ('PNG', {}),
    '.jpg': ('JPEG', {'quality': 95, 'subsampling': 0}),
    '.jpeg': ('JPEG', {'quality': 95, 'subsampling': 0}),
    '.webp': ('WEBP', {'quality': 95}),
    '.bmp': ('BMP', {}),
    '.tif': ('TIFF', {}),
    '.tiff': ('TIFF', {}),
}
ALPHA = ('PNG', 'WEBP', 'TIFF')
PROFILED = ('PNG', 'JPEG', 'WEBP', 'TIFF')
# What is opened, whatever a file's name says. Pillow knows more: PostScript, for which it would start a program.
# Telephones' MPO files are JPEGs; AVIF, newer Pillows read.
READ_FORMATS = ('JPEG', 'PNG', 'WEBP', 'TIFF', 'BMP', 'DIB', 'GIF', 'PPM', 'TGA', 'ICO', 'JPEG2000', 'PSD', 'AVIF')
# What counts as an image in a folder. HEIC cannot be read here; a message for each beats skipping them.
IMAGE_EXTENSIONS = set(FORMATS) | set(
    '.jpe .jfif .dib .gif .ppm .pgm .pbm .pnm .tga .ico .jp2 .mpo .psd .heic .heif .avif'.split())
READABLE = 'JPEG, PNG, WebP, TIFF, BMP, GIF, PPM, TGA, ICO, JPEG 2000 or PSD'
MOST_JPEG_PIXELS = 256 * 10 ** 6  # telephones take 200 million; JPEG is decoded at a half, a quarter or an eighth

_WARNING_FILTERS = threading.Lock()  # the process has one list of them, which catch_warnings swaps


def load_image(path):
    """Reads an image file of any common kind.

    Its EXIF orientation is applied, what is transparent shows white, gray becomes three equal channels, 16 bits are
    scaled to [0, 255] without rounding where Pillow keeps them (gray), an animation gives its first frame. Colors
    with an ICC profile (Display P3, Adobe RGB, inks) become sRGB's; a damaged profile is left aside. A JPEG with more
    pixels than are safe is read at a half, a quarter or an eighth of its size.
    Gray pixels of 16 bits that stay below 4096 are taken for 12 bits, as X-rays have them, below 1024 for 10, below 256
    for 8; unless all are multiples of 16 or 257, as in a dark picture that was brought from 8 bits to 16. A note on
    stderr says so.
    Floating-point pixels (TIFF) are taken to run from 0 to 1, 255 or 65535, the first of these that holds them with up
    to a quarter of overshoot, as resampling leaves it; what fits none is stretched from its least to its largest value.

    Args:
      path: str or Path.

    Returns:
      float32 [height, width, 3], RGB in [0, 255].

    Raises:
      InputError: missing, a folder, a pipe or device, empty, not an image, damaged, too large or unreadable.
    """
    return _read(path, lambda picture: pixels.to_rgb(pixels.to_srgb(pixels.turn_upright(picture)), path))


def measure(path):
    """Reads an image's format ('PNG', as Pillow calls it), width and height from its header alone; see load_image."""
    with _opened(path) as picture:
        return picture.format, picture.width, picture.height


def load_alpha(path):
    """Reads how opaque an image is, for the result to be as transparent.

    Args:
      path: str or Path.

    Returns:
      float32 [height, width] in [0, 255]; None if nothing of it is transparent, or it cannot be read.
    """
    try:
        alpha = _read(path, lambda picture: pixels.read_alpha(pixels.turn_upright(picture)))
    except InputError:
        return None
    return None if alpha.size == 0 or alpha.min() == 255 else alpha


def _read(path, convert):
    """Opens an image and returns the array that `convert` makes of the loaded Pillow image; see load_image."""
    with _opened(path) as picture:
        picture.info['deep'] = ';16' in str(picture.tile)  # of color with 16 bits Pillow keeps the upper 8
        picture.load()  # Pillow reads the pixels only now, and only now finds that some are missing
        return np.ascontiguousarray(convert(picture))


def count_frames(path):
    """Returns how many frames an animation has; 1 for any other file, whether or not it can be read."""
    try:
        with _opened(path) as picture:
            return getattr(picture, 'n_frames', 1)
    except InputError:
        return 1


def read_animation(path):
    """Reads an animated GIF, WebP or PNG frame by frame; see load_image.

    Yields:
      (float32 [height, width, 3], RGB in [0, 255]; float, the milliseconds that it is shown, 0 where it does not say).
    """
    with _opened(path) as picture:
        for number in range(1 if picture.info.get('default_image') else 0, getattr(picture, 'n_frames', 1)):
            picture.seek(number)
            picture.load()
            yield pixels.to_rgb(pixels.to_srgb(picture), path), float(picture.info.get('duration') or 0)


@contextlib.contextmanager
def _opened(path):
    """Opens an image for reading; what then fails of it is an InputError, as load_image's docstring has it."""
    files.check_regular(path, 'picture')
    try:
        with _open(path) as picture:
            yield picture
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        num_pixels = int(re.search(r'\d+', str(error)).group())
        raise InputError(f'{path}: {num_pixels:,} pixels, more than the {Image.MAX_IMAGE_PIXELS:,} that are safe to '
                         'open; make it smaller first')
    except UnidentifiedImageError:
        raise InputError(f'{path}: {_name_kind(path)}; expected {READABLE}')
    except (MemoryError, InputError):
        raise
    except Exception as error:  # Pillow meets damage with errors of a dozen kinds, from struct.error to IndexError
        if isinstance(error, OSError) and error.errno is not None:
            raise InputError(f'{path}: cannot be read ({error.strerror})')
        raise InputError(f'{path}: the picture is damaged or cut short ({error})')


def _open(path):
    """Opens an image, in whatever thread; one that is too large is an error, if it is not a JPEG, which can shrink."""
    try:
        with _WARNING_FILTERS, warnings.catch_warnings():
            warnings.simplefilter('error', Image.DecompressionBombWarning)
            Image.init()
            return Image.open(str(path), formats=[name for name in READ_FORMATS if name in Image.OPEN])
    except (Image.DecompressionBombWarning, Image.DecompressionBombError):
        with open(str(path), 'rb') as file:
            if file.read(3) != b'\xff\xd8\xff':
                raise
        picture = JpegImagePlugin.JpegImageFile(str(path))
        width, height = picture.size
        fits = [factor for factor in (2, 4) if width * height <= factor ** 2 * Image.MAX_IMAGE_PIXELS]
        factor = min(fits, default=8)
        if width * height > MOST_JPEG_PIXELS:
            picture.close()
            raise
        picture.draft(None, (width // factor, height // factor))
        note('large', f'{path}: {width * height / 1e6:.0f} megapixels; read at 1/{factor} of its width and height')
        return picture


def _name_kind(path):
    with open(str(path), 'rb') as file:
        kind = name_kind(file.read(1000))
    do = 'get the picture again' if kind and kind.startswith('a web page') else 'convert it first'
    return (f'{kind}, which cannot be read here; {do}' if kind not in (None, 'an image') else
            'not a picture, or of a kind that cannot be read here')


def to_gray(image):
    """Computes the luminance (ITU-R BT.601) of an image.

    Args:
      image: float32 [height, width, 3], RGB.

    Returns:
      float32 [height, width] in the same range; where the three channels are equal, exactly their value.
    """
    red, green, blue = np.moveaxis(np.asarray(image, np.float32), -1, 0)
    return green + np.float32(0.299) * (red - green) + np.float32(0.114) * (blue - green)


def save_image(path, image, alpha=None):
    """Writes an image in the format of its extension, whole or not at all; its folder is made if it is missing.

    Colors carry the profile of sRGB, if the format has room for one.

    Args:
      path: str or Path ending in one of FORMATS.
      image: [height, width, 3] RGB or [height, width] gray, any real type, clipped to [0, 255] and rounded.
      alpha: float32 [any height, any width] in [0, 255], how opaque an RGB image is, see load_alpha; None if it all is.

    Raises:
      InputError: an unknown extension.
      ValueError: another shape, or pixels that are not finite: a bug upstream, which should not become a black image.
    """
    path = Path(path)
    file_format, options = _format_of(path, 'cannot save')
    image = np.asarray(image)
    if image.ndim not in (2, 3) or image.ndim == 3 and image.shape[2] != 3 or 0 in image.shape:
        raise ValueError(f'cannot save an array of shape {image.shape} as an image')
    if not np.isfinite(image).all():
        raise ValueError(f'cannot save {path}: {(~np.isfinite(image)).sum()} of its values are not finite')
    if alpha is not None and file_format in ALPHA:
        alpha = Image.fromarray(alpha).resize(image.shape[1::-1], Image.Resampling.BILINEAR)  # others overshoot
        image = np.concatenate([image, np.asarray(alpha)[:, :, np.newaxis]], axis=2)
    elif alpha is not None:
        note('transparency', f'{path}: {file_format} has no transparency, which .png, .webp and .tif keep')
    # Into memory first: Pillow, writing to a file itself, hides from its error that the disk is full.
    encoded, picture = io.BytesIO(), Image.fromarray(np.rint(np.clip(image, 0, 255)).astype(np.uint8))
    if file_format in PROFILED and picture.mode != 'L':
        options = dict(options, icc_profile=pixels.srgb_profile())
    picture.save(encoded, file_format, **options)
    path.parent.mkdir(parents=True, exist_ok=True)
    with files.replacing(path) as beside:
        beside.write_bytes(encoded.getvalue())


def copy_image(source, path):
    """Writes a saved image once more, in the format of another extension; see save_image."""
    colors = _read(source, lambda picture: np.asarray(picture.convert('RGBA')))
    save_image(path, colors[:, :, :3], load_alpha(source))


def _format_of(path, option):
    suffix = Path(path).suffix
    if suffix.lower() not in FORMATS:
        raise InputError(f"{option} {path}: no picture format has the extension '{suffix}'; known: {', '.join(FORMATS)}"
                         if suffix else f'{option} {path}: no extension; give one, such as {path}.png')
    return FORMATS[suffix.lower()]


def check_output(path, option='--output'):
    """Finds out, before the work, whether save_image will be able to write `path`; leaves everything as it was.

    Args:
      path: str or Path of the image to be written.
      option: the option that named it, for the message.

    Raises:
      InputError: an unknown extension, a folder, or a place that cannot be made or written to.
    """
    if not os.path.isdir(str(path)):  # which check_writable reports
        _format_of(path, option)
    files.check_writable(path, option)


def resize_image(image, height, width, resampling=Image.Resampling.LANCZOS):
    """Scales an image (antialiased when shrinking), in float32 throughout: nothing is rounded to 8 bits.

    Args:
      image: [height, width] or [height, width, channels], any range.
      height, width: the new size in pixels.
      resampling: Pillow's filter.

    Returns:
      float32, the same number of axes; where the filter overshoots, clipped to the range of `image`.
    """
    image = np.asarray(image, np.float32)
    if image.shape[:2] == (height, width):
        return image.copy()
    channels = image.reshape(image.shape[:2] + (-1,))
    resized = np.empty((height, width, channels.shape[2]), np.float32)
    for channel in range(channels.shape[2]):
        plane = Image.fromarray(np.ascontiguousarray(channels[:, :, channel]))
        resized[:, :, channel] = plane.resize((width, height), resampling)
    np.clip(resized, image.min(), image.max(), out=resized)
    return resized.reshape((height, width) + image.shape[2:])


def fit_size(height, width, longer_side, upscale=False):
    """Computes the size that brings the longer side to `longer_side` and keeps the aspect ratio.

    Args:
      height, width: pixels.
      longer_side: pixels.
      upscale: bool, whether a smaller image is enlarged; it otherwise keeps its size.

    Returns:
      (height, width), each at least 1.
    """
    scale = longer_side / max(height, width)
    if scale > 1 and not upscale:
        return height, width
    return max(1, round(height * scale)), max(1, round(width * scale))


def fit(image, longer_side, upscale=False):
    """Scales an image to the size that fit_size computes from its own; see resize_image."""
    return resize_image(image, *fit_size(*np.shape(image)[:2], longer_side, upscale))


def center_square(image, size):
    """Scales the largest square in an image's middle to `size` pixels a side."""
    side = min(image.shape[:2])
    top, left = (image.shape[0] - side) // 2, (image.shape[1] - side) // 2
    return resize_image(image[top:top + side, left:left + side], size, size)


def fill(image, height, width):
    """Scales an image until height x width is filled and crops what sticks out, evenly on both sides.

    Args:
      image: float32 [any height, any width, 3].
      height, width: pixels.

    Returns:
      float32 [height, width, 3].
    """
    factor = max(height / image.shape[0], width / image.shape[1])
    filling = resize_image(image, max(height, round(image.shape[0] * factor)),
                           max(width, round(image.shape[1] * factor)))
    top, left = (filling.shape[0] - height) // 2, (filling.shape[1] - width) // 2
    return filling[top:top + height, left:left + width]


def find_images(paths, option):
    """Lists the image files that files and folders stand for.

    Args:
      paths: str or Path, or several; a file stands for itself, a folder for its images (known by their extension,
        sorted by name; hidden files and folders inside it are skipped).
      option: str, the option that named them, for the message.

    Returns:
      list of Path, in the order given.

    Raises:
      InputError: a path that is missing, or a folder without images or that cannot be read.
    """
    found = []
    for path in [paths] if isinstance(paths, (str, Path)) else paths:
        path = Path(path)
        try:
            if path.is_dir():
                inside = sorted(file for file in path.iterdir() if file.suffix.lower() in IMAGE_EXTENSIONS
                                and not file.name.startswith('.') and file.is_file())
                if not inside:
                    raise InputError(f'{option} {path}: no picture in this folder; expected {READABLE}')
                found.extend(inside)
                continue
            os.stat(str(path))
        except (FileNotFoundError, NotADirectoryError):
            raise InputError(f'{option} {path}: no such file or folder')
        except OSError as error:
            raise InputError(f'{option} {path}: cannot be read ({error.strerror})')
        found.append(path)
    return found
