import io
import os
import struct
import sys
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image, ImageCms

from common import errors, images
from common.errors import InputError


@pytest.fixture
def corner():
    """A picture that looks different from each of its eight sides: one red pixel in a corner, one blue one beside."""
    pixels = np.full((3, 2, 3), 255, np.uint8)
    pixels[0, 0] = [255, 0, 0]
    pixels[0, 1] = [0, 0, 255]
    return pixels


@pytest.fixture
def photograph():
    """uint8 [60, 90, 3], smooth with some texture, so that no format can make almost nothing of it."""
    rows, columns = np.mgrid[:60, :90]
    smooth = np.stack([rows * 4, columns * 2.5, 255 - rows * 2 - columns], axis=2)
    return np.clip(smooth + np.random.RandomState(0).normal(0, 8, smooth.shape), 0, 255).astype(np.uint8)


def save(path, picture, **options):
    picture = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
    picture.save(str(path), **options)
    return path


def exif(orientation):
    tags = Image.Exif()
    tags[0x0112] = orientation
    return tags


# Any picture a person has.

@pytest.mark.parametrize('mode', ['RGBA', 'LA'])
def test_what_is_transparent_shows_white(tmp_path, mode):
    picture = Image.new('RGBA', (2, 1), (255, 0, 0, 0)).convert(mode)
    image = images.load_image(save(tmp_path / 'clear.png', picture))
    assert image.dtype == np.float32
    np.testing.assert_array_equal(image, np.full((1, 2, 3), 255))


def test_half_transparent_is_mixed_with_white(tmp_path):
    path = save(tmp_path / 'half.png', Image.new('RGBA', (1, 1), (255, 0, 100, 51)))
    np.testing.assert_allclose(images.load_image(path)[0, 0], [255, 204, 224], atol=0.01)


def swapped_profile():
    """Returns an ICC profile: sRGB's, but that red and blue have changed their places, and its name."""
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile('sRGB')).tobytes())
    places = {bytes(profile[at:at + 4]): int.from_bytes(profile[at + 4:at + 8], 'big')
              for at in range(132, 132 + 12 * int.from_bytes(profile[128:132], 'big'), 12)}
    red, blue = places[b'rXYZ'], places[b'bXYZ']
    profile[red:red + 20], profile[blue:blue + 20] = profile[blue:blue + 20], profile[red:red + 20]
    return bytes(profile).replace('sRGB'.encode('utf-16-be'), 'test'.encode('utf-16-be'))


@pytest.mark.parametrize('mode', ['RGB', 'RGBA', 'P'])
def test_colors_with_a_profile_become_srgb(tmp_path, mode):
    picture = Image.new('RGB', (16, 16), (200, 30, 60))
    picture = picture.quantize(4) if mode == 'P' else picture.convert(mode)
    if mode == 'RGBA':
        picture.putpixel((3, 2), (0, 0, 0, 0))
    image = images.load_image(save(tmp_path / 'picture.png', picture, icc_profile=swapped_profile()))
    np.testing.assert_allclose(image[0, 0], [60, 30, 200], atol=3)
    np.testing.assert_array_equal(image[2, 3], [255] * 3 if mode == 'RGBA' else image[0, 0])


@pytest.mark.parametrize('extension', ['.png', '.jpg', '.webp', '.tif'])
def test_results_carry_srgb_and_come_back_as_they_are(tmp_path, extension):
    image = np.random.RandomState(0).randint(0, 256, [8, 9, 3])
    images.save_image(tmp_path / f'a{extension}', image)
    with Image.open(str(tmp_path / f'a{extension}')) as picture:
        carried, plain = picture.info['icc_profile'], np.asarray(picture.convert('RGB'))
    assert ImageCms.getProfileDescription(ImageCms.ImageCmsProfile(io.BytesIO(carried))).startswith('sRGB')
    np.testing.assert_array_equal(images.load_image(tmp_path / f'a{extension}'), plain)
    images.save_image(tmp_path / 'gray.png', image[:, :, 0])  # for which a profile of colors would be wrong
    with Image.open(str(tmp_path / 'gray.png')) as picture:
        assert 'icc_profile' not in picture.info


def test_a_profile_that_changes_nothing(tmp_path):
    pixels = np.random.RandomState(0).randint(0, 256, (16, 16, 3)).astype(np.uint8)
    for profile in (ImageCms.ImageCmsProfile(ImageCms.createProfile('sRGB')).tobytes(), swapped_profile()[:300]):
        path = save(tmp_path / 'picture.png', pixels, icc_profile=profile)
        np.testing.assert_array_equal(images.load_image(path), pixels)


@pytest.mark.parametrize('transparency', [1, bytes([255, 0])])
def test_palette_with_transparency(tmp_path, transparency):
    picture = Image.new('P', (2, 1))
    picture.putpalette([10, 20, 30, 200, 0, 0])
    picture.putpixel((1, 0), 1)
    path = save(tmp_path / 'palette.png', picture, transparency=transparency)
    np.testing.assert_array_equal(images.load_image(path)[0], [[10, 20, 30], [255, 255, 255]])


def test_color_that_stands_for_transparent(tmp_path):
    path = save(tmp_path / 'key.png', np.uint8([[[0, 255, 0], [1, 2, 3]]]), transparency=(0, 255, 0))
    np.testing.assert_array_equal(images.load_image(path)[0], [[255, 255, 255], [1, 2, 3]])


@pytest.mark.parametrize('extension, options', [
    ('png', {}), ('jpg', {}), ('webp', {'lossless': True}), ('tif', {}), ('tif', {'compression': 'tiff_lzw'})])
@pytest.mark.parametrize('orientation', range(1, 9))
def test_exif_orientation_is_applied(tmp_path, corner, orientation, extension, options):
    stored = {
        1: corner, 2: corner[:, ::-1], 3: corner[::-1, ::-1], 4: corner[::-1], 5: corner.transpose(1, 0, 2),
        6: np.rot90(corner, 1), 7: corner[::-1, ::-1].transpose(1, 0, 2), 8: np.rot90(corner, -1)}[orientation]
    big = np.ascontiguousarray(stored).repeat(16, axis=0).repeat(16, axis=1)  # so that JPEG's blocks leave it alone
    image = images.load_image(save(tmp_path / ('turned.' + extension), big, exif=exif(orientation), **options))
    np.testing.assert_allclose(image[8::16, 8::16], corner, atol=3)


@pytest.mark.filterwarnings('ignore:Corrupt EXIF')
def test_damaged_exif_does_no_harm(tmp_path, corner):
    path = save(tmp_path / 'odd.jpg', corner, exif=b'Exif\0\0II*\0\xff\xff\xff\xffnonsense')
    assert images.load_image(path).shape == corner.shape


def test_gray_one_bit_and_palette(tmp_path):
    np.testing.assert_array_equal(
        images.load_image(save(tmp_path / 'gray.png', np.uint8([[0, 77, 255]])))[0], [[0] * 3, [77] * 3, [255] * 3])
    np.testing.assert_array_equal(
        images.load_image(save(tmp_path / 'bits.png', np.array([[False, True]])))[0], [[0] * 3, [255] * 3])
    palette = Image.fromarray(np.uint8([[[9, 8, 7], [200, 100, 50]]])).quantize(2)
    np.testing.assert_array_equal(images.load_image(save(tmp_path / 'p.gif', palette))[0], [[9, 8, 7], [200, 100, 50]])


@pytest.mark.parametrize('extension', ['jpg', 'tif'])
def test_cmyk(tmp_path, extension):
    for ink, rgb in [((0, 255, 255, 0), (255, 0, 0)), ((0, 0, 0, 255), (0, 0, 0)), ((0, 0, 0, 0), (255, 255, 255))]:
        path = save(tmp_path / ('ink.' + extension), Image.new('CMYK', (16, 16), ink))
        np.testing.assert_allclose(images.load_image(path)[8, 8], rgb, atol=3)


@pytest.mark.parametrize('name', ['deep.png', 'deep.tif', 'deep.pgm'])
def test_sixteen_bit_gray_is_scaled_and_not_clipped(tmp_path, name):
    values = np.uint16([[0, 32768, 65535]])
    path = tmp_path / name
    if name.endswith('pgm'):
        path.write_bytes(b'P5 3 1 65535\n' + values.astype('>u2').tobytes())
    else:
        save(path, values)
    np.testing.assert_allclose(images.load_image(path)[0, :, 0], [0, 127.5, 255], atol=0.5)


@pytest.fixture
def no_notes(monkeypatch):
    """Nothing has been told yet."""
    monkeypatch.setattr(errors, '_noted', set())


@pytest.mark.parametrize('extension', ['png', 'tif'])
@pytest.mark.parametrize('values, expected, bits', [
    ([128, 2023, 4095], [7.97, 125.97, 255], 12), ([0, 511, 1023], [0, 127.4, 255], 10),
    ([3, 20, 255], [3, 20, 255], 8)])
def test_fewer_bits_kept_in_sixteen(tmp_path, capsys, no_notes, extension, values, expected, bits):
    for name in ('one', 'two'):
        path = save(tmp_path / f'{name}.{extension}', np.uint16([values]))
        np.testing.assert_allclose(images.load_image(path)[0, :, 0], expected, atol=0.1)
    told, = capsys.readouterr().err.splitlines()  # of two, the first alone is told
    assert f'note: {tmp_path / "one"}' in told and f'read as {bits}-bit' in told


@pytest.mark.parametrize('values', [[0, 257, 3084], [0, 256, 4080], [0, 16, 2048], [0, 0, 0]])
def test_a_dark_picture_stays_dark(tmp_path, capsys, no_notes, values):
    path = save(tmp_path / 'night.png', np.uint16([values]))
    np.testing.assert_allclose(images.load_image(path)[0, :, 0], np.array(values) / 257, atol=0.01)
    assert capsys.readouterr().err == ''


def test_a_picture_of_fourteen_bits_is_dark_and_that_is_told(tmp_path, capsys, no_notes):
    path = save(tmp_path / 'fourteen.png', np.uint16([[5, 16001]]))
    np.testing.assert_allclose(images.load_image(path)[0, :, 0], [5 / 257, 16001 / 257], atol=0.01)
    assert 'the largest 16001: shown unscaled, so dark' in capsys.readouterr().err


def write_deep_png(path, values):
    """Writes one pixel of 16-bit color, which Pillow reads but does not write."""
    def chunk(kind, data):
        return struct.pack('>I', len(data)) + kind + data + struct.pack('>I', zlib.crc32(kind + data))
    rows = b'\0' + np.uint16([values]).astype('>u2').tobytes()
    path.write_bytes(b'\x89PNG\r\n\x1a\n' + chunk(b'IHDR', struct.pack('>IIBBBBB', 1, 1, 16, 2, 0, 0, 0))
                     + chunk(b'IDAT', zlib.compress(rows)) + chunk(b'IEND', b''))
    return path


def test_sixteen_bit_color_png(tmp_path, capsys, no_notes):
    path = write_deep_png(tmp_path / 'deep.png', [0, 32768, 65535])
    np.testing.assert_allclose(images.load_image(path)[0, 0], [0, 127.5, 255], atol=0.6)
    assert capsys.readouterr().err == ''
    path = write_deep_png(tmp_path / 'dark.png', [0, 2000, 4000])
    np.testing.assert_allclose(images.load_image(path)[0, 0], [0, 7, 15], atol=0.6)
    assert '16-bit colors, all below 4096: shown unscaled, so dark' in capsys.readouterr().err


@pytest.mark.parametrize('values, expected', [
    ([0, 0.5, 1], [0, 127.5, 255]),
    ([-0.02, 0.5, 1.05], [0, 127.5, 255]),
    ([0, 100.25, 255], [0, 100.25, 255]),
    ([0, 65535, 257], [0, 255, 1]),
    ([-1000, 0, 1000], [0, 127.5, 255]),
])
def test_floating_point_tiff(tmp_path, values, expected):
    path = save(tmp_path / 'float.tif', np.float32([values]))
    np.testing.assert_allclose(images.load_image(path)[0, :, 1], expected, atol=1e-3)


def test_floating_point_tiff_that_is_not_finite(tmp_path):
    path = save(tmp_path / 'nan.tif', np.float32([[0, np.nan]]))
    with pytest.raises(InputError, match='nan.tif: .*not finite'):
        images.load_image(path)


@pytest.mark.parametrize('extension', ['gif', 'webp', 'png', 'tif'])
def test_of_an_animation_the_first_frame(tmp_path, extension):
    frames = [Image.new('RGB', (8, 8), color) for color in [(255, 0, 0), (0, 0, 255)]]
    path = save(tmp_path / ('film.' + extension), frames[0], save_all=True, append_images=frames[1:])
    np.testing.assert_allclose(images.load_image(path)[4, 4], [255, 0, 0], atol=4)


def test_gray_reading_keeps_gray_values_exactly(tmp_path):
    values = np.arange(256, dtype=np.uint8).reshape(16, 16)
    np.testing.assert_array_equal(images.to_gray(images.load_image(save(tmp_path / 'gray.png', values))), values)
    path = save(tmp_path / 'colors.png', np.uint8([[[255, 0, 0], [0, 255, 0], [0, 0, 255]]]))
    luminances = images.to_gray(images.load_image(path))[0]
    np.testing.assert_allclose(luminances, [0.299 * 255, 0.587 * 255, 0.114 * 255], atol=1e-3)


# What is no picture: one error that names the file.

def check_error(path, *words):
    with pytest.raises(InputError) as caught:
        images.load_image(path)
    message = str(caught.value)
    assert message.startswith(str(path) + ': ') and '\n' not in message
    for word in words:
        assert word in message


def test_missing_folder_and_empty(tmp_path):
    check_error(tmp_path / 'none.jpg', 'no such file')
    check_error(tmp_path, 'a folder, not a picture')
    (tmp_path / 'empty.jpg').write_bytes(b'')
    check_error(tmp_path / 'empty.jpg', 'an empty file')
    check_error(tmp_path / 'empty.jpg' / 'below.jpg', 'no such file')
    check_error(tmp_path / ('long' * 100 + '.jpg'), 'cannot be read')


def test_not_a_picture(tmp_path):
    (tmp_path / 'letter.jpg').write_text('Dear reader, ' * 100)
    check_error(tmp_path / 'letter.jpg', 'not a picture', 'JPEG, PNG')


@pytest.mark.parametrize('content', [
    b'%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\nshowpage\n%%EOF\n',
    b'/* XPM */\nstatic char * a[] = {\n"1 1 1 1",\n"a c #ff0000",\n"a"\n};\n'])
def test_other_formats_are_not_opened_whatever_their_name(tmp_path, content, monkeypatch):
    (tmp_path / 'photo.jpg').write_bytes(content)
    Image.init()
    for name in set(Image.OPEN) - set(images.READ_FORMATS):  # PostScript would start Ghostscript
        monkeypatch.setitem(Image.OPEN, name, (lambda *unused: pytest.fail('opened'), None))
    check_error(tmp_path / 'photo.jpg', 'cannot be read here', images.READABLE)


def test_a_pipe_or_a_device_does_not_hang(tmp_path):
    os.mkfifo(str(tmp_path / 'pipe.png'))
    check_error(tmp_path / 'pipe.png', 'not a regular file')
    check_error('/dev/zero', 'not a regular file')


@pytest.mark.parametrize('extension', ['png', 'jpg', 'gif', 'tif', 'bmp', 'webp', 'ppm', 'tga', 'jp2'])
@pytest.mark.parametrize('fraction', [0.3, 0.7, 0.95])
def test_truncated(tmp_path, photograph, extension, fraction):
    whole = save(tmp_path / ('whole.' + extension), photograph).read_bytes()
    path = tmp_path / ('cut.' + extension)
    path.write_bytes(whole[:int(len(whole) * fraction)])
    check_error(path)


def test_truncated_says_so(tmp_path, photograph):
    path = save(tmp_path / 'cut.jpg', photograph)
    path.write_bytes(path.read_bytes()[:-900])
    check_error(path, 'damaged or cut short', 'truncated')


def test_any_flipped_or_missing_bytes_give_a_picture_or_an_input_error(tmp_path, photograph):
    random = np.random.RandomState(1)
    for extension in ['png', 'jpg', 'gif', 'tif', 'bmp', 'webp']:
        whole = save(tmp_path / ('whole.' + extension), photograph, **(
            {'exif': exif(6)} if extension in ('jpg', 'png', 'webp') else {})).read_bytes()
        for _ in range(25):
            damaged = bytearray(whole)
            for place in random.randint(0, min(len(whole), 400), 3):
                damaged[place] = random.randint(256)
            path = tmp_path / ('damaged.' + extension)
            path.write_bytes(bytes(damaged))
            with warnings.catch_warnings():
                warnings.simplefilter('ignore')
                try:
                    image = images.load_image(path)
                except InputError as error:
                    assert str(path) in str(error)
                else:
                    assert image.dtype == np.float32 and np.isfinite(image).all()


@pytest.mark.parametrize('content, said', [
    (b'\0\0\0\x18ftypheic\0\0\0\0mif1heic', 'a HEIC picture'), (b'\0\0\0\x20ftypmif1', 'a HEIC picture'),
    (b'\0\0\0\x20ftypisom' + bytes(99), 'a video, or a raw picture'), (b'\0\0\0\x0cJXL \r\n\x87\n', 'a JPEG XL'),
    (b'%PDF-1.7', 'a PDF document'), (b'<?xml version="1.0"?>\n<svg xmlns="x">', 'an SVG drawing'),
    (b'<!DOCTYPE html><html>', 'a web page'), (bytes(128) + b'DICM', 'a DICOM file')])
def test_pictures_of_other_kinds_are_called_by_their_names(tmp_path, content, said):
    (tmp_path / 'photo.jpg').write_bytes(content)
    check_error(tmp_path / 'photo.jpg', f': {said}', 'cannot be read here; ',
                'get the picture again' if 'web' in said else 'convert it first', '; expected JPEG')


@pytest.mark.parametrize('factor, side', [(3, 2), (10, 4), (50, 8), (500, None)])
def test_a_jpeg_that_is_too_large_is_read_smaller(tmp_path, photograph, monkeypatch, capsys, no_notes, factor, side):
    path = save(tmp_path / 'large.jpg', photograph, exif=exif(6), quality=95)
    whole = images.load_image(path)
    monkeypatch.setattr(Image, 'MAX_IMAGE_PIXELS', 60 * 90 // factor)
    monkeypatch.setattr(images, 'MOST_JPEG_PIXELS', 64 * 60 * 90 // factor)
    if side is None:
        check_error(path, '5,400 pixels')
        return
    image = images.load_image(path)
    assert image.shape == (-(-90 // side), -(-60 // side), 3)  # upright
    assert np.abs(image - images.resize_image(whole, *image.shape[:2])).mean() < 8
    assert f'megapixels; read at 1/{side} of its width and height' in capsys.readouterr().err


@pytest.mark.parametrize('factor', [1.5, 3])  # Pillow warns from its limit on, and raises from twice the limit on
def test_decompression_bomb(tmp_path, photograph, monkeypatch, factor):
    path = save(tmp_path / 'bomb.png', photograph)
    monkeypatch.setattr(Image, 'MAX_IMAGE_PIXELS', int(60 * 90 / factor))
    check_error(path, '5,400 pixels', format(int(60 * 90 / factor), ','))


def test_a_picture_that_is_too_large_is_refused_in_every_thread(tmp_path, monkeypatch):
    path = tmp_path / 'large.png'
    Image.new('RGB', (9, 7)).save(str(path))
    monkeypatch.setattr(Image, 'MAX_IMAGE_PIXELS', 50)

    def is_refused(_):
        with pytest.raises(InputError, match='63 pixels, more than the 50'):
            images.load_image(path)
        return True

    filters, interval = list(warnings.filters), sys.getswitchinterval()
    sys.setswitchinterval(1e-6)  # threads get into each other's way
    try:
        with ThreadPoolExecutor(8) as pool:
            assert all(pool.map(is_refused, range(500)))
    finally:
        sys.setswitchinterval(interval)
    assert warnings.filters == filters


def test_no_permission(tmp_path, photograph, monkeypatch):
    def refuse(path, formats):
        raise PermissionError(13, 'Permission denied')
    path = save(tmp_path / 'mine.png', photograph)
    monkeypatch.setattr(Image, 'open', refuse)  # a test run as root may read everything
    check_error(path, 'cannot be read (Permission denied)')


# Saving.

@pytest.mark.parametrize('extension', ['png', 'bmp', 'tif', 'TIFF', 'PNG'])
def test_saved_and_loaded_is_the_same_but_for_rounding(tmp_path, extension):
    image = np.random.RandomState(0).uniform(-20, 280, (7, 5, 3)).astype(np.float32)
    path = tmp_path / ('picture.' + extension)
    images.save_image(path, image)
    np.testing.assert_allclose(images.load_image(path), np.clip(image, 0, 255), atol=0.5 + 1e-4)


@pytest.mark.parametrize('extension', ['jpg', 'jpeg', 'webp'])
def test_saved_with_loss_stays_close(tmp_path, photograph, extension):
    path = tmp_path / ('picture.' + extension)
    images.save_image(path, photograph)
    assert np.abs(images.load_image(path) - photograph).mean() < 6


def test_jpeg_keeps_color_at_full_resolution(tmp_path):
    images.save_image(tmp_path / 'x.jpg', np.zeros((16, 16, 3)))
    with Image.open(str(tmp_path / 'x.jpg')) as picture:
        assert [layer[1:3] for layer in picture.layer] == [(1, 1)] * 3


@pytest.mark.parametrize('extension', ['png', 'webp', 'tif'])
def test_transparency_is_kept(tmp_path, extension):
    image, alpha = np.full((8, 6, 3), 60.0), np.zeros((4, 3), np.float32)
    alpha[:, 1:] = 255
    images.save_image(tmp_path / f'a.{extension}', image, alpha)
    found = images.load_alpha(tmp_path / f'a.{extension}')
    assert found.shape == (8, 6) and found[4, 0] == 0 and found[4, 5] == 255
    np.testing.assert_allclose(images.load_image(tmp_path / f'a.{extension}')[4, 5], 60, atol=4)
    images.copy_image(tmp_path / f'a.{extension}', tmp_path / 'b.png')
    np.testing.assert_array_equal(images.load_alpha(tmp_path / 'b.png'), found)


def test_a_format_without_transparency_says_so(tmp_path, capsys, no_notes):
    images.save_image(tmp_path / 'a.jpg', np.zeros((2, 2, 3)), np.zeros((2, 2), np.float32))
    assert 'a.jpg: JPEG has no transparency, which .png, .webp and .tif keep' in capsys.readouterr().err


@pytest.mark.parametrize('mode', ['RGB', 'L', 'P', 'I;16', 'RGBA'])
def test_what_is_not_transparent_has_no_alpha(tmp_path, mode):
    assert images.load_alpha(save(tmp_path / 'opaque.png', Image.new(mode, (4, 4), 200 if mode != 'RGBA' else '#123'))
                             ) is None
    assert images.load_alpha(tmp_path / 'missing.png') is None


def test_fill_keeps_the_middle_in_its_shape():
    image = np.zeros((20, 60, 3), np.float32)
    image[:, 20:40] = 255
    np.testing.assert_array_equal(images.fill(image, 20, 20), 255)


def test_the_largest_square_of_the_middle():
    image = np.zeros([4, 10, 3], np.float32)
    image[:, 3:7] = 200
    np.testing.assert_allclose(images.center_square(image, 8), 200)


def test_save_gray_and_make_the_folder(tmp_path):
    path = tmp_path / 'new' / 'folder' / 'gray.png'
    images.save_image(path, np.float32([[0.4, 99.6]]))
    np.testing.assert_array_equal(images.to_gray(images.load_image(path)), [[0, 100]])
    assert [file.name for file in path.parent.iterdir()] == ['gray.png']


@pytest.mark.parametrize('value', [np.nan, np.inf, -np.inf])
def test_pixels_that_are_not_finite_are_a_bug(tmp_path, value):
    path = tmp_path / 'picture.png'
    path.write_bytes(b'kept')
    with pytest.raises(ValueError, match='1 of its values are not finite') as caught:
        images.save_image(path, np.array([[[1, 2, value]]]))
    assert not isinstance(caught.value, InputError)
    assert path.read_bytes() == b'kept' and list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize('shape', [(3,), (1, 4, 4, 3), (4, 4, 2), (0, 4, 3)])
def test_arrays_that_are_no_picture(tmp_path, shape):
    with pytest.raises(ValueError, match='shape'):
        images.save_image(tmp_path / 'x.png', np.zeros(shape))


def test_unknown_extension_lists_the_known(tmp_path):
    for call in [lambda path: images.save_image(path, np.zeros((2, 2, 3))), images.check_output]:
        for name, message in [('x.xyz', r'known: \.png, \.jpg'), ('x', 'no extension; give one, such as .*x.png')]:
            with pytest.raises(InputError, match=message):
                call(tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_an_os_error_with_its_number(tmp_path):
    import resource
    import signal
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    noise = np.random.RandomState(0).uniform(0, 255, (200, 200, 3))
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (5000, before[1]))
        with pytest.raises(OSError) as caught:
            images.save_image(tmp_path / 'x.jpg', noise)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    assert caught.value.errno and list(tmp_path.iterdir()) == []


# Trying the output before the work.

def test_check_output_leaves_everything_as_it_was(tmp_path):
    path = tmp_path / 'picture.png'
    path.write_bytes(b'kept')
    images.check_output(path)
    images.check_output(tmp_path / 'a' / 'b' / 'picture.jpg')
    assert path.read_bytes() == b'kept' and list(tmp_path.iterdir()) == [path]


def test_check_output_errors(tmp_path):
    (tmp_path / 'file').write_bytes(b'')
    (tmp_path / 'folder.png').mkdir()
    os.mkfifo(str(tmp_path / 'pipe.png'))
    for path, words in [(tmp_path / 'file' / 'x.png', 'cannot write there'),
                        (tmp_path / 'file' / 'a' / 'x.png', 'cannot write there'),
                        (tmp_path / ('long' * 100 + '.png'), 'cannot write there'),
                        (tmp_path / 'folder.png', 'folder.png: a folder; name a file in it'),
                        (tmp_path, 'a folder; name a file in it'),
                        (tmp_path / 'pipe.png', 'pipe.png: not a regular file; choose another name')]:
        with pytest.raises(InputError, match='^--output-here .*' + words):
            images.check_output(path, '--output-here')
    assert sorted(file.name for file in tmp_path.iterdir()) == ['file', 'folder.png', 'pipe.png']


def test_check_output_keeps_the_working_folder_out_of_it(tmp_path, monkeypatch):
    monkeypatch.chdir(str(tmp_path))
    images.check_output('picture.png')
    images.check_output('below/picture.png')
    assert list(tmp_path.iterdir()) == []


# Sizes.

def test_resize_of_a_constant_is_constant():
    for value in [0, 17.3, 255]:
        resized = images.resize_image(np.full((10, 7, 3), value, np.float32), 23, 5)
        assert resized.shape == (23, 5, 3) and resized.dtype == np.float32
        np.testing.assert_array_equal(resized, np.float32(value))


@pytest.mark.parametrize('size', [(20, 20), (33, 90), (150, 140)])
def test_resize_keeps_a_gradients_mean(size):
    gradient = np.tile(np.linspace(0, 255, 100, dtype=np.float32)[:, np.newaxis], (1, 80))
    resized = images.resize_image(gradient, *size)
    assert resized.shape == size
    assert abs(resized.mean() - gradient.mean()) < 0.1
    assert (np.diff(resized, axis=0) > -1e-3).all()


def test_resize_does_not_round_to_bytes_nor_leave_the_range():
    image = np.random.RandomState(0).uniform(0, 1, (40, 30, 3))
    resized = images.resize_image(image, 61, 50)
    assert len(np.unique(resized)) > 5000
    assert image.min() <= resized.min() and resized.max() <= image.max()


def test_resize_shrinks_without_aliasing():
    stripes = np.tile(np.float32([0, 255]), (64, 32))
    np.testing.assert_allclose(images.resize_image(stripes, 8, 8)[:, 1:-1], 127.5, atol=6)


def test_resize_to_the_same_size_is_a_copy():
    image = np.arange(12, dtype=np.float32).reshape(2, 2, 3)
    resized = images.resize_image(image, 2, 2)
    np.testing.assert_array_equal(resized, image)
    assert not np.shares_memory(resized, image)


@pytest.mark.parametrize('args, expected', [
    ((600, 300, 512), (512, 256)),
    ((300, 600, 512), (256, 512)),
    ((100, 50, 512), (100, 50)),
    ((100, 50, 512, True), (512, 256)),
    ((1000, 1, 100), (100, 1)),
    ((575, 1024, 1024), (575, 1024)),
])
def test_fit_size(args, expected):
    assert images.fit_size(*args) == expected


# Folders of pictures.

def test_find_images(tmp_path, corner):
    for name in ['b.png', 'a.JPG', '.hidden.png']:
        save(tmp_path / name, corner, format='PNG')
    (tmp_path / 'notes.txt').write_text('no picture')
    (tmp_path / 'sub.png').mkdir()
    inside = [tmp_path / 'a.JPG', tmp_path / 'b.png']
    assert images.find_images(tmp_path, '--content') == inside
    assert images.find_images([str(tmp_path / 'notes.txt'), tmp_path], '--content') == [tmp_path / 'notes.txt'] + inside


def test_find_images_errors(tmp_path):
    with pytest.raises(InputError, match='^--style .*none: no such file or folder'):
        images.find_images([tmp_path / 'none'], '--style')
    with pytest.raises(InputError, match='^--style .*no picture in this folder'):
        images.find_images([tmp_path], '--style')


def test_encodings_used_by_save_are_all_here(tmp_path):
    for extension, (file_format, _) in images.FORMATS.items():
        images.save_image(tmp_path / ('x' + extension), np.zeros((4, 4, 3)))
        encoded = io.BytesIO((tmp_path / ('x' + extension)).read_bytes())
        with Image.open(encoded) as picture:
            assert picture.format == file_format
