"""Archives for tests, such as people make and such as nobody should have made."""
import io
import tarfile
import zipfile


def make_tar(path, entries):
    """Writes a tar, unless it is called .tar compressed; entries are (name, content) or TarInfo. Returns the path."""
    with tarfile.open(str(path), 'w') if path.suffix == '.tar' else tarfile.open(
            str(path), 'w:gz', compresslevel=1) as tar:
        for entry in entries:
            if isinstance(entry, tarfile.TarInfo):
                tar.addfile(entry, io.BytesIO(bytes(entry.size)))
            else:
                info = tarfile.TarInfo(entry[0])
                info.size = len(entry[1])
                tar.addfile(info, io.BytesIO(entry[1]))
    return path


def make_zip(path, entries):
    """Writes a zip; entries are (name or ZipInfo, content). Returns the path."""
    with zipfile.ZipFile(str(path), 'w', zipfile.ZIP_DEFLATED) as zipped:
        for name, content in entries:
            zipped.writestr(name, content)
    return path


def special(name, kind, target=''):
    """Returns the TarInfo of a link, a device or the like."""
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info
