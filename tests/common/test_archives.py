"""Archives that people have, and archives that nobody should have made."""
import gzip
import stat
import tarfile
import zipfile

import pytest

from common.archives import read, unpack
from common.errors import InputError
from packing import make_tar, make_zip, special


@pytest.fixture
def folder(tmp_path):
    made = tmp_path / 'folder'
    made.mkdir()
    return made


def everything_in(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob('*'))


@pytest.mark.parametrize('name', ['a.tar', 'a.tar.gz', 'a.tgz', 'a.zip', 'a.whl'])
def test_unpacks_files_and_their_folders(tmp_path, folder, name):
    make = make_zip if name.endswith(('zip', 'whl')) else make_tar
    archive = make(tmp_path / name, [('b.txt', b'bee'), ('sub/deep/a.bin', bytes(3000)), ('sub/empty', b'')])
    paths = unpack(archive, folder, max_bytes=3003)
    assert paths == [folder / 'b.txt', folder / 'sub/deep/a.bin', folder / 'sub/empty']
    assert [path.read_bytes() for path in paths] == [b'bee', bytes(3000), b'']
    assert everything_in(folder) == ['b.txt', 'sub', 'sub/deep', 'sub/deep/a.bin', 'sub/empty']


def test_unpacks_a_gz_under_its_own_name(tmp_path, folder):
    archive = tmp_path / 'digits.gz'
    with gzip.GzipFile(str(tmp_path / 'other-name'), 'wb', fileobj=archive.open('wb')) as out:
        out.write(b'content')
    assert unpack(archive, folder, max_bytes=7) == [folder / 'digits']
    assert (folder / 'digits').read_bytes() == b'content'


@pytest.mark.parametrize('make, name', [(make_tar, 'a.tgz'), (make_zip, 'a.zip')])
def test_passes_over_the_members_not_wanted(tmp_path, folder, make, name):
    archive = make(tmp_path / name, [('../evil', b'x'), ('wanted', b'yes'), ('big', bytes(10000))])
    assert unpack(archive, folder, max_bytes=10000, members=['wanted']) == [folder / 'wanted']
    assert everything_in(folder) == ['wanted']
    with pytest.raises(InputError, match='does not contain absent'):
        unpack(archive, folder, max_bytes=10000, members=['big', 'absent'])
    assert everything_in(folder) == ['wanted']


def test_replaces_files_and_leaves_others_alone(tmp_path, folder):
    (folder / 'sub').mkdir()
    (folder / 'sub/a').write_bytes(b'old')
    (folder / 'sub/mine').write_bytes(b'mine')
    unpack(make_tar(tmp_path / 'a.tar', [('sub/a', b'new')]), folder, max_bytes=100)
    assert (folder / 'sub/a').read_bytes() == b'new'
    assert (folder / 'sub/mine').read_bytes() == b'mine'


@pytest.mark.parametrize('name', ['../evil', 'sub/../../evil', '/tmp/evil', '..', 'sub\\..\\evil', 'C:/evil'])
@pytest.mark.parametrize('make, archive', [(make_tar, 'a.tgz'), (make_zip, 'a.zip')])
def test_no_path_leads_out_of_the_folder(tmp_path, folder, make, archive, name):
    archive = make(tmp_path / archive, [('good', b'good'), (name, b'evil')])
    with pytest.raises(InputError, match='leads out of the folder'):
        unpack(archive, folder, max_bytes=1000)
    assert everything_in(tmp_path) == sorted([archive.name, 'folder'])


def test_a_zip_may_have_backslashes_between_folders(tmp_path, folder):
    archive = make_zip(tmp_path / 'a.zip', [('sub\\', b''), ('sub\\more\\a', b'1'), ('sub/b', b'2')])
    assert unpack(archive, folder, max_bytes=10) == [folder / 'sub/more/a', folder / 'sub/b']
    assert unpack(archive, folder, max_bytes=10, members=['sub/more/a']) == [folder / 'sub/more/a']


@pytest.mark.parametrize('kind, target', [
    (tarfile.SYMTYPE, '/etc/passwd'), (tarfile.LNKTYPE, 'good'), (tarfile.CHRTYPE, ''), (tarfile.BLKTYPE, ''),
    (tarfile.FIFOTYPE, '')])
def test_a_tar_makes_no_links_and_no_devices(tmp_path, folder, kind, target):
    archive = make_tar(tmp_path / 'a.tar', [('good', b'good'), special('bad', kind, target), ('bad/x', b'through it')])
    with pytest.raises(InputError, match='bad is a link or a device'):
        unpack(archive, folder, max_bytes=1000)
    assert everything_in(folder) == []


@pytest.mark.parametrize('kind', [stat.S_IFLNK, stat.S_IFCHR, stat.S_IFIFO])
def test_a_zip_makes_no_links_and_no_devices(tmp_path, folder, kind):
    info = zipfile.ZipInfo('bad')
    info.external_attr = (kind | 0o777) << 16
    with pytest.raises(InputError, match='bad is a link or a device'):
        unpack(make_zip(tmp_path / 'a.zip', [(info, b'/etc/passwd')]), folder, max_bytes=1000)
    assert everything_in(folder) == []


@pytest.mark.parametrize('names', [['a', 'a'], ['a', './a'], ['a', 'a/b'], ['a/b', 'a']])
@pytest.mark.filterwarnings('ignore:Duplicate name')
@pytest.mark.parametrize('make, archive', [(make_tar, 'a.tar'), (make_zip, 'a.zip')])
def test_a_name_comes_once(tmp_path, folder, make, archive, names):
    with pytest.raises(InputError, match='appears twice'):
        unpack(make(tmp_path / archive, [(name, b'x') for name in names]), folder, max_bytes=1000)
    assert everything_in(folder) == []


@pytest.mark.parametrize('name', ['bomb.gz', 'bomb.tar.gz', 'bomb.zip'])
def test_the_bound_counts_the_bytes_that_come_out(tmp_path, folder, name):
    archive, zeros = tmp_path / name, bytes(3 << 20)
    if name == 'bomb.gz':
        archive.write_bytes(gzip.compress(zeros))
    else:
        make = make_zip if name.endswith('zip') else make_tar
        make(archive, [('a', zeros[:2 << 20]), ('b', zeros[:1 << 20])])
    assert archive.stat().st_size < 20000
    with pytest.raises(InputError, match='unpacks to more than 3145727 bytes'):
        unpack(archive, folder, max_bytes=(3 << 20) - 1)
    assert everything_in(folder) == []
    unpack(archive, folder, max_bytes=3 << 20)


def test_a_zip_that_lies_about_its_sizes(tmp_path, folder):
    archive = make_zip(tmp_path / 'a.zip', [('a', bytes(1 << 20))])
    data = archive.read_bytes()
    size, lie = (1 << 20).to_bytes(4, 'little'), (10).to_bytes(4, 'little')
    assert data.count(size) == 2  # in the member's own header and in the directory
    archive.write_bytes(data.replace(size, lie))
    with pytest.raises(InputError, match='damaged'):
        unpack(archive, folder, max_bytes=100)
    assert everything_in(folder) == []


def test_a_header_cannot_fill_the_memory(tmp_path, folder, monkeypatch):
    monkeypatch.setattr('common.archives.MAX_FILES', 10)
    info = tarfile.TarInfo('././@LongLink')
    info.type, info.size = tarfile.GNUTYPE_LONGNAME, 8 << 20  # a member's name, eight million characters long
    archive = make_tar(tmp_path / 'a.tgz', [info, ('a', b'a')])
    with pytest.raises(InputError, match='unpacks to more than'):
        unpack(archive, folder, max_bytes=1000)


def test_a_bomb_that_is_only_passed_over_ends_too(tmp_path, folder, monkeypatch):
    monkeypatch.setattr('common.archives.MAX_FILES', 10)
    archive = make_tar(tmp_path / 'a.tgz', [('bomb', bytes(8 << 20)), ('a', b'a')])
    with pytest.raises(InputError, match='unpacks to more than'):
        unpack(archive, folder, max_bytes=1000, members=['a'])


def test_too_many_files(tmp_path, folder, monkeypatch):
    monkeypatch.setattr('common.archives.MAX_FILES', 10)
    with pytest.raises(InputError, match='more than 10 files'):
        unpack(make_zip(tmp_path / 'a.zip', [(str(k), b'') for k in range(11)]), folder, max_bytes=1000)
    assert everything_in(folder) == []


@pytest.mark.parametrize('name, damage', [
    (name, damage) for name in ('a.gz', 'a.tar.gz', 'a.zip')
    for damage in ('truncated', 'end cut off', 'flipped', 'garbage', 'empty')
] + [('a.tar', damage) for damage in ('truncated', 'garbage', 'empty')])  # a bare tar has sums of its headers only
def test_damaged_archives(tmp_path, folder, name, damage):
    archive, content = tmp_path / name, bytes(range(256)) * 400
    if name == 'a.gz':
        archive.write_bytes(gzip.compress(content))
    else:
        (make_zip if name.endswith('zip') else make_tar)(archive, [('a', content)])
    data = bytearray(archive.read_bytes())
    if damage == 'truncated':
        data = data[:len(data) // 2]
    elif damage == 'end cut off':
        data = data[:-4]
    elif damage == 'flipped':
        data[len(data) // 2] ^= 255
    else:
        data = b'<html>not found</html>' * 100 if damage == 'garbage' else b''
    archive.write_bytes(bytes(data))
    with pytest.raises(InputError, match='a.*(truncated or damaged|a web page.* in place of)'):
        unpack(archive, folder, max_bytes=1 << 20)
    assert everything_in(folder) == []


@pytest.mark.parametrize('head, kind', [
    (b'Rar!\x1a\7\0', 'a RAR archive'), (b"7z\xbc\xaf'\x1c", 'a 7-Zip archive'),
    (b'version https://git-lfs', 'a Git LFS pointer')])
@pytest.mark.parametrize('name, expected', [('a.zip', 'a zip'), ('a.tar', 'a tar or gzip'), ('a.tgz', 'a tar or gzip')])
def test_what_is_another_kind_of_file_is_called_so(tmp_path, folder, name, expected, head, kind):
    (tmp_path / name).write_bytes(head + bytes(1000))
    with pytest.raises(InputError, match=f'{name}: {kind}.*, in place of {expected} archive; get it again'):
        unpack(tmp_path / name, folder, max_bytes=1 << 20)


def test_an_encrypted_zip(tmp_path, folder):
    archive = make_zip(tmp_path / 'a.zip', [('a', b'abc')])
    data = bytearray(archive.read_bytes())
    data[6] |= 1
    data[data.index(b'PK\x01\x02') + 8] |= 1  # the flag "encrypted", in the header and in the directory
    archive.write_bytes(bytes(data))
    with pytest.raises(InputError, match='a.zip: encrypted; unpack it yourself, with its password$'):
        unpack(archive, folder, max_bytes=1000)


def test_no_archive_by_its_name(tmp_path, folder):
    (tmp_path / 'a.rar').write_bytes(b'Rar!')
    with pytest.raises(InputError, match='not an archive by its name'):
        unpack(tmp_path / 'a.rar', folder, max_bytes=1000)


def test_a_missing_archive_is_an_error_of_the_disk(tmp_path, folder):
    for name in ('a.tar', 'a.tgz', 'a.zip', 'a.gz'):
        with pytest.raises(FileNotFoundError):
            unpack(tmp_path / name, folder, max_bytes=1000)


@pytest.mark.parametrize('name', ['a.tar', 'a.tgz', 'a.zip'])
def test_reads_files_without_unpacking_them(tmp_path, name):
    make = make_zip if name.endswith('zip') else make_tar
    archive = make(tmp_path / name, [('x/a', b'one'), ('x/big', bytes(2000)), ('x/y/b', b'two'), ('a', b'again')])
    assert list(read(archive, ['a', 'b'], max_bytes=10000)) == [('x/a', b'one'), ('x/y/b', b'two'), ('a', b'again')]
    assert everything_in(tmp_path) == [name]
    with pytest.raises(InputError, match='unpacks to more than 10 bytes'):
        list(read(archive, ['a', 'b'], max_bytes=10))


@pytest.mark.parametrize('bad, message', [
    (('../evil', b'x'), 'leads out of the folder'), (special('bad', tarfile.SYMTYPE, 'a'), 'bad is a link or a device'),
])
def test_reading_refuses_what_unpacking_would(tmp_path, bad, message):
    archive = make_tar(tmp_path / 'a.tgz', [('a', b'one'), bad])
    with pytest.raises(InputError, match=f'^{archive}: .*{message}'):
        list(read(archive, ['a'], max_bytes=100))


@pytest.mark.parametrize('name', ['a.tgz', 'a.zip'])
@pytest.mark.parametrize('length', [50, -4])
def test_reading_tells_a_truncated_archive(tmp_path, name, length):
    make = make_zip if name.endswith('zip') else make_tar
    archive = make(tmp_path / name, [('a', bytes(range(256)) * 400)])
    archive.write_bytes(archive.read_bytes()[:length])
    with pytest.raises(InputError, match='truncated or damaged'):
        list(read(archive, ['a'], max_bytes=1 << 20))


def test_a_full_disk_leaves_nothing(tmp_path, folder, small_disk):
    archive = make_tar(tmp_path / 'a.tgz', [('a', bytes(1000)), ('b', bytes(1 << 20))])
    with small_disk(100000), pytest.raises(OSError):
        unpack(archive, folder, max_bytes=1 << 30)
    assert everything_in(folder) == []
