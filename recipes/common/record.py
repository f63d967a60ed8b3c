"""What a run's JSON files may hold: a run's folder may be damaged, or come from elsewhere."""
from pathlib import Path

from common.errors import InputError
from common.session import STACKS


def check_fields(path, data, fields):
    """Checks what was read from a JSON file of a run.

    Args:
      path: Path, for the message.
      data: dict.
      fields: {name: function of a value, which tells whether a recipe can have written it}; other names are free.

    Returns:
      the dict.

    Raises:
      InputError: a value is another.
    """
    for name, is_right in fields.items():
        if name in data and not is_right(data[name]):
            raise InputError(f'{path}: damaged: {name} cannot be {data[name]!r:.60}; start a new run')
    return data


def is_number(value):
    """Tells whether a value is a finite number of at least 0."""
    return type(value) in (int, float) and 0 <= value < 1e15


def is_count(value):
    """Tells whether a value is a whole number of at least 0."""
    return type(value) is int and 0 <= value < 2 ** 53


def optional(is_right):
    """Returns a check that a value is None, or what `is_right` tells."""
    return lambda value: value is None or is_right(value)


def _is_bool(value):
    return isinstance(value, bool)


def _is_dict(value):
    return isinstance(value, dict)


def _is_text(value):
    return isinstance(value, str)


def _are_texts(value):
    return isinstance(value, list) and all(map(_is_text, value))


def _is_file_name(value):
    return _is_text(value) and Path(value).name == value


def _is_objective(value):
    return type(value) in (int, float)  # any number; nan where there is none


def _rows(needed=(), least=0, **fields):
    """Returns a check of a list of at least `least` dicts, each with all of `needed`, and `fields` right if there."""
    def is_right(value):
        return isinstance(value, list) and len(value) >= least and all(
            isinstance(row, dict) and set(needed) <= set(row)
            and all(is_right_there(row[name]) for name, is_right_there in fields.items() if name in row)
            for row in value)
    return is_right


# What recipes read of run.json, besides the settings (options.recorded_settings); the rest is for people.
FIELDS = {
    'recipe': _is_text, 'settings': _is_dict, 'results': _is_dict, 'seconds': is_number, 'film': _is_bool,
    'processes': is_count,
    'stack': lambda value: _is_text(value) and value in STACKS,
    'objective': _are_texts, 'classes': lambda value: _are_texts(value) and len(value) > 1,
    'data': lambda value: _is_dict(value) and is_count(value.get('training_images', 0)),
    'tile_size': optional(lambda value: is_count(value) and value >= 64),
    'pictures': _rows(
        name=_is_file_name, path=_is_text, seconds=is_number, content_loss=is_number, style_loss=is_number,
        seconds_per_iteration=is_number, peak_memory=is_number, style_loss_before=is_number, style_path=_is_text,
        octaves=_rows(('objective_before', 'objective_last'), least=1, objective_before=_is_objective,
                      objective_last=_is_objective)),
    'tiles': _rows(('layer', 'caption', 'file', 'inactive'), layer=_is_text, caption=_is_text, file=_is_file_name,
                   inactive=_is_bool)}
