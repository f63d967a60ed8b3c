"""What the pixels of a Pillow image are, whatever its mode: upright, in sRGB, float32 in [0, 255]."""
import functools
import io

import numpy as np
from PIL import ImageCms, ImageOps

from common.errors import note

DATE = slice(24, 36)  # of an ICC profile's bytes: when it was made


def turn_upright(picture):
    """Turns a loaded Pillow image as its EXIF orientation says."""
    if picture.format == 'TIFF':  # Pillow has turned it already
        return picture
    try:
        return ImageOps.exif_transpose(picture)
    except Exception:  # damaged EXIF is common, and the picture none the worse for it
        return picture


def to_srgb(picture):
    """Converts the colors of a loaded Pillow image that carries another profile than sRGB."""
    profile = picture.info.get('icc_profile')
    if not profile or picture.mode not in ('P', 'RGB', 'RGBA', 'CMYK'):
        return picture
    try:
        profile = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        if ImageCms.getProfileDescription(profile).startswith('sRGB'):
            return picture  # the conversion would round once more
        colors = picture.convert('RGB') if picture.mode in ('P', 'RGBA') else picture
        srgb = ImageCms.profileToProfile(colors, profile, ImageCms.createProfile('sRGB'), outputMode='RGB')
    except (ImageCms.PyCMSError, OSError, ValueError):
        return picture
    if picture.mode == 'RGBA' or 'transparency' in picture.info:
        srgb.putalpha(picture.convert('RGBA').getchannel('A'))
    return srgb


@functools.lru_cache(maxsize=None)
def srgb_profile():
    """Returns the ICC profile of sRGB, bytes: the same ones at any time."""
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile('sRGB')).tobytes())
    profile[DATE] = bytes(DATE.stop - DATE.start)
    return bytes(profile)


def to_rgb(picture, path):
    """Turns a loaded Pillow image of any mode into float32 [height, width, 3] in [0, 255]."""
    if _is_deep(picture):  # Pillow's own conversion would clip these at 255
        gray = _scale_to_bytes(np.asarray(picture), path)
        return np.repeat(gray[:, :, np.newaxis], 3, axis=2)
    opacity = read_alpha(picture)
    if opacity.size:
        alpha = opacity[:, :, np.newaxis] / np.float32(255)
        return np.asarray(picture.convert('RGBA'), np.float32)[:, :, :3] * alpha + 255 * (1 - alpha)
    pixels = np.asarray(picture.convert('RGB'), np.float32)
    if picture.info.get('deep') and pixels.max() < 16:
        note('dark', f'{path}: 16-bit colors, all below 4096: shown unscaled, so dark; if they are 12-bit, '
             'multiply all by 16')
    return pixels


def _is_deep(picture):
    return picture.mode == 'F' or picture.mode.startswith('I')


def read_alpha(picture):
    """Returns the alpha channel of a loaded Pillow image, float32 [height, width]; an empty array where it has none."""
    if picture.mode in ('RGBA', 'RGBa', 'LA', 'La', 'PA') or 'transparency' in picture.info and not _is_deep(picture):
        picture = picture.convert('LA') if picture.mode == 'La' else picture
        return np.asarray(picture.convert('RGBA').getchannel('A'), np.float32)
    return np.empty((0, 0), np.float32)


def _scale_to_bytes(values, path):
    """Brings integers of 16 or 32 bits, or floats, to float32 in [0, 255], as images.load_image says."""
    is_float = values.dtype.kind == 'f'
    full_scales, slack = ((1, 255, 65535), 0.25) if is_float else ((65535,), 0)
    if not is_float and 0 < values.max() < 4096 and (values % 16).any() and (values % 257).any():
        full_scales = 255, 1023, 4095
        bits = next(bits for bits in (8, 10, 12) if values.max() < 2 ** bits)
        note('bits', f'{path}: 16-bit gray values, the largest {values.max()}: read as {bits}-bit, which makes '
             f'the picture {2 ** (16 - bits)} times as bright')
    elif not is_float and 4096 <= values.max() < 2 ** 14:
        note('dark', f'{path}: 16-bit gray values, the largest {values.max()}: shown unscaled, so dark; if they '
             'are 14-bit, multiply all by 4')
    values = values.astype(np.float64)
    if not np.isfinite(values).all():
        raise ValueError('some pixels are not finite numbers')
    low, high = values.min(), values.max()
    for full_scale in full_scales:
        if low >= -slack * high and high <= (1 + slack) * full_scale:
            return np.clip(values * (255 / full_scale), 0, 255).astype(np.float32)
    return ((values - low) * (255 / max(high - low, 1e-300))).astype(np.float32)
