"""Tables with the classes of images, in the forms that people have them."""
import os

import pytest

from common.errors import InputError
from datasets import label_table, layouts

NAMES = [f'{k:04x}' for k in range(12)]
CLASS_OF = {name: ('cat', 'dog')[k % 2] for k, name in enumerate(NAMES)}
LINES = [f'{name},{label}' for name, label in CLASS_OF.items()]


def write(folder, table, names):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())
    for name, content in table.items():
        (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    return folder


def classes(layout, part='train'):
    return {path.stem: label for label, paths in layout.parts[part].items() for path in paths}


def left_out(layout):
    return {path.name: why for path, why in layout.unlabeled}


KAGGLE = [f'train/{name}.jpg' for name in NAMES] + ['test/a.jpg', 'test/b.jpg']
FORMS = {
    'Kaggle': ('labels.csv', '\r\n'.join(['id,breed', *LINES]), KAGGLE),
    'with extensions': ('labels.csv', '\n'.join(['id,breed', *(line.replace(',', '.jpg,') for line in LINES)]), KAGGLE),
    'quotes': ('labels.csv', '"' + '"\n"'.join(['id,breed', *LINES]).replace(',', '","') + '"', KAGGLE),
    'no heading': ('labels.csv', '\n'.join(LINES), KAGGLE),
    'semicolons': ('labels.csv', '\ufeff' + '\n'.join(['id;breed', *LINES]).replace(',', ';'), KAGGLE),
    'Excel': ('labels.csv', '\n'.join(['id\tbreed', *LINES]).replace(',', '\t').encode('utf-16'), KAGGLE),
    'more columns': ('labels.csv', '\n'.join(['id,breed,age', *(line + ',3' for line in LINES)]), KAGGLE),
    'another name': ('trainLabels.csv', '\n'.join(['id,label', *LINES]), KAGGLE),
    'in train': ('train/labels.csv', '\n'.join(['id,label', *LINES]), KAGGLE),
    'all in one folder': ('labels.csv', '\n'.join(['id,label', *LINES]), [f'images/{name}.png' for name in NAMES]),
    'beside it': ('labels.csv', '\n'.join(['id,label', *LINES]), [f'{name}.PNG' for name in NAMES]),
    'in any folders': ('labels.csv', '\n'.join(LINES), [f'{k % 3}/{n}.jpg' for k, n in enumerate(NAMES)]),
    'paths': ('labels.csv', '\n'.join(['file,label', *(f'train\\{line}' for line in LINES)]), KAGGLE),
    'the same names in test': ('train.csv', '\n'.join(['id,label', *LINES]), KAGGLE + [f'test/{n}.jpg' for n in NAMES]),
}


@pytest.mark.parametrize('form', FORMS)
def test_forms(tmp_path, form):
    name, table, images = FORMS[form]
    layout = layouts.find(write(tmp_path, {}, images) and write(tmp_path, {name: table}, []))
    assert classes(layout) == CLASS_OF and layout.unlabeled == () and list(layout.parts) == ['train']
    assert f'the classes in {os.path.basename(name)} (' in layout.description
    assert ('; test has no classes and is not used' in layout.description) == ('test/a.jpg' in images)


def test_rows_may_be_about_every_part(tmp_path):
    table = '\n'.join([*(f'train/{line}' for line in LINES[:8]), *(f'test/{line}' for line in LINES[8:])])
    layout = layouts.find(write(tmp_path, {'labels.csv': table}, [line.split(',')[0] + '.png'
                                                                  for line in table.split('\n')]))
    assert classes(layout) == dict(list(CLASS_OF.items())[:8])
    assert classes(layout, 'test') == dict(list(CLASS_OF.items())[8:])
    assert layout.is_split


def test_what_does_not_match_is_listed(tmp_path):
    table = '\n'.join(['id,breed', *LINES, 'gone,cat', f'{NAMES[0]},dog', 'more,'])
    layout = layouts.find(write(tmp_path, {'labels.csv': table}, KAGGLE + ['train/more.jpg', 'train/less.jpg']))
    assert left_out(layout) == {
        'gone': 'in labels.csv, but there is no such image',
        f'{NAMES[0]}.jpg': 'of two classes in labels.csv: cat, dog',
        'more.jpg': 'without a class in labels.csv', 'less.jpg': 'not in labels.csv'}
    assert classes(layout) == {name: CLASS_OF[name] for name in NAMES[1:]}


def test_a_name_that_two_images_have_names_none(tmp_path):
    layout = layouts.find(write(tmp_path, {'labels.csv': '\n'.join(LINES)},
                                [f'a/{name}.jpg' for name in NAMES] + [f'b/{NAMES[0]}.jpg']))
    assert left_out(layout)[NAMES[0]] == 'in labels.csv, but there is no such image'
    assert len(classes(layout)) == 11


@pytest.mark.parametrize('content, message', [
    ('just a text', "the line 'just a text' has no name or no class"),
    ('id,breed\n' + ',cat\n' * 3, "the line ',cat' has no name or no class"),
    ('', 'an empty file, not a table'),
    ('"' + 'x' * 200000, 'not a table'),
    ('id,cat,dog\n0000,1,0\n0001,0,1', 'one column for each class'),
    ('id,breed\nx,cat\ny,dog', 'names hardly any of the images'),
])
def test_no_table_of_classes(tmp_path, content, message):
    write(tmp_path, {'labels.csv': content}, ['0000.jpg'])
    with pytest.raises(InputError, match=f'labels.csv: {message}'):
        label_table.read(tmp_path / 'labels.csv', {'train': [tmp_path / '0000.jpg']}, {'train': [tmp_path]})


def test_a_pipe_is_not_read(tmp_path):
    os.mkfifo(str(tmp_path / 'labels.csv'))
    with pytest.raises(InputError, match='not a regular file; expected a table'):
        label_table.read(tmp_path / 'labels.csv', {'train': []}, {'train': [tmp_path]})
    layout = layouts.find(write(tmp_path, {}, ['cats/1.jpg', 'dogs/1.jpg']))
    assert sorted(layout.parts['train']) == ['cats', 'dogs'] and 'not a regular file' in layout.description


def test_classes_need_not_be_utf_8(tmp_path):
    table = '\n'.join(LINES).replace('cat', 'caf\xe9').encode('latin-1')
    layout = layouts.find(write(tmp_path, {'labels.csv': table}, KAGGLE))
    assert os.fsencode(sorted(layout.parts['train'])[0]) == b'caf\xe9'
