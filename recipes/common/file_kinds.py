"""What people have instead of the file that is wanted, by its first bytes, for a message to call it by its name."""
import re

WEB_PAGE = 'a web page, such as a failed download leaves behind'
KINDS = tuple((re.compile(beginning, re.DOTALL | re.IGNORECASE), kind) for beginning, kind in (  # the first counts
    (rb'\x89PNG|\xff\xd8\xff|GIF8|BM....\0\0\0\0|II\*\0|MM\0\*|RIFF....WEBP', 'an image'),
    (rb'....ftyp(heic|heix|hevc|hevx|heim|heis|mif1|msf1)', 'a HEIC picture, as iPhones take them'),
    (rb'....ftyp(avif|avis)', 'an AVIF picture'),
    (rb'....ftyp', 'a video, or a raw picture of a camera'),
    (rb'\xff\x0a|\0\0\0\x0cJXL ', 'a JPEG XL picture'),
    (rb'%PDF', 'a PDF document'),
    (rb'%!PS|\xc5\xd0\xd3\xc6', 'a PostScript file'),
    (rb'.{128}DICM', 'a DICOM file'),
    (rb'\s*(<\?xml[^>]*>\s*)?(<!--.*?-->\s*|<!DOCTYPE svg[^>]*>\s*)*<svg', 'an SVG drawing'),
    (rb'\s*<(!doctype|html|head|body|\?xml)', WEB_PAGE),
    (rb'\x89HDF', 'a Keras model (HDF5)'),
    (rb'....TFL3', 'a TensorFlow Lite model'),
    (rb'PK\x03\x04', 'an archive, such as Keras 3 and PyTorch write'),
    (rb'\x1f\x8b', 'a gzip archive'),
    (rb'Rar!\x1a\x07', 'a RAR archive'),
    (rb'7z\xbc\xaf\x27\x1c', 'a 7-Zip archive'),
    (rb'version https://git-lfs', 'a Git LFS pointer, which stands for a file that was not downloaded'),
    (rb'\x80[\x02-\x05]', 'a Python pickle (never read, since it can run code)'),
    (rb'\x93NUMPY', 'a NumPy array'),
    (rb'MATLAB 7\.3', 'a MATLAB 7.3 file (MatConvNet publishes version 5)'),
    (rb'\x08[\x03-\x0c]\x12', 'an ONNX model')))


def name_kind(head):
    """Returns what a file that begins with `head`, about 1,000 bytes, is called; None where none of KINDS fits."""
    return next((kind for beginning, kind in KINDS if beginning.match(head)), None)
