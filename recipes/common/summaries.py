"""What a run's record (run.json) says, in words and tables for a page: nothing in it is taken for granted."""
import json
import re
import shlex
import textwrap
from pathlib import Path

LONGEST = 300     # characters of a value that are shown
MOST_ROWS = 150   # of a table
INTERVAL = '95 % interval'
# What has a place of its own on the page, or is another's word for it.
_SHOWN = {'recipe', 'command', 'started', 'stack', 'versions', 'settings', 'defaults', 'device', 'seconds', 'results',
          'pictures', 'tiles', 'left_out', 'skipped', 'sheets', 'batches'}
_OF_PICTURES = {'name', 'path', 'style_path', 'content', 'width', 'height'}  # of one, repeated among the results
_NOT_AGAIN = {'--resume', '--output-dir', '--predict', '--run', '--quiet'}  # options that say nothing about the run


def is_finished(record):
    """Tells whether a run came to its end."""
    return 'seconds' in record


def sentence(record, progress=''):
    """Says a run's result in a sentence or two.

    Args:
      record: dict, of run.json.
      progress: str, how far an unfinished run came; '' where nothing tells.
    """
    if not is_finished(record):
        return f'Not finished{f": {progress}" if progress else ""}.'
    return f'{_result(record)} It took {duration(record["seconds"])}.'


def _result(record):
    results, seeds = _dict(record, 'results'), _dict(record, 'test_accuracy')
    pictures = [picture for picture in record.get('pictures', []) if 'error' not in picture]
    if _numbers(results, 'test_accuracy', 'test_accuracy_low', 'test_accuracy_high', 'test_images'):
        return (f'{percent(results["test_accuracy"])} of {results["test_images"]:,} test images are classified '
                f'correctly ({INTERVAL} {_span(results, "test_accuracy")}).')
    if _numbers(seeds, 'mean', 'std'):
        return (f'{percent(seeds["mean"])} ± {percent(seeds["std"])} of the test images are classified correctly (mean '
                f'and standard deviation of {len(seeds.get("values", []))} seeds).')
    if _numbers(results, 'frames', 'seconds_per_frame'):
        return f'A film of {results["frames"]:,} frames, {number(results["seconds_per_frame"])} s each.'
    if record.get('tiles'):
        return f'Contact sheets of {len(record["tiles"]):,} pictures.'
    if len(pictures) == 1 and _numbers(pictures[0], 'width', 'height'):
        return f'One picture of {pictures[0]["width"]:,} × {pictures[0]["height"]:,} pixels.'
    if 'pictures' in record:
        failed = len(record['pictures']) - len(pictures)
        return f'{len(pictures):,} pictures{f"; {failed} failed" if failed else ""}.'
    return f'Finished{f", {len(results)} results" if results else ""}.'


def figures(record):
    """Returns the results as rows (name, value, interval), all str."""
    results, rows = _dict(record, 'results'), []
    for name, value in results.items():
        base = re.sub('_(low|high)$', '', name)
        if name not in _OF_PICTURES and (base == name or base not in results):
            interval = _span(results, name) if _numbers(results, f'{name}_low', f'{name}_high') else ''
            rows.append((spoken(name), spell(name, value), interval))
    return rows[:MOST_ROWS]


def settings(record):
    """Returns the settings that differ from the defaults, rows (option, value, default), and all, rows (option, value).

    Of a run that does not record its defaults, the first are those that its command line gives, without default.
    """
    all_of_them, defaults = _dict(record, 'settings'), _dict(record, 'defaults')
    given = {option[2:].replace('-', '_') for option, _ in _options(record)}
    changed = [(option_name(name), spell('', value), spell('', defaults[name]) if name in defaults else '')
               for name, value in all_of_them.items()
               if (defaults[name] != value if name in defaults else name in given)]
    rows = [(option_name(name), spell('', value)) for name, value in all_of_them.items()]
    return changed[:MOST_ROWS], rows[:MOST_ROWS]


def facts(record):
    """Returns what else is recorded, where data and weights come from above all, as rows (name, value)."""
    rows = []

    for name, value in record.items():
        if name not in _SHOWN and value not in (None, [], {}):
            parts = ({f'{name}: {key}': part for key, part in value.items()} if isinstance(value, dict)
                     else {name: value})
            rows += [(spoken(label), spell(label, part)) for label, part in parts.items()]
    return rows[:MOST_ROWS]


def versions(record):
    """Returns the versions as one str."""
    return ', '.join(f'{_shorten(name)} {spell("", version)}' for name, version in _dict(record, 'versions').items())


def troubles(record):
    """Returns what failed or was left out, list of str."""
    failed = [f'{picture.get("name", "a picture")}: {picture["error"]}' for picture in record.get('pictures', [])
              if 'error' in picture]
    skipped = [line for name in ('left_out', 'skipped') if isinstance(record.get(name), list) for line in record[name]]
    return [_shorten(str(line)) for line in failed + [f'skipped: {line}' for line in skipped]][:MOST_ROWS]


def commands(record, run_dir):
    """Returns (the command that repeats a run, the one that resumes it), as a shell takes them.

    Args:
      record: dict, of run.json.
      run_dir: Path.
    """
    words = _words(record)
    script = words[0] if words else f'recipes/{record["recipe"]}.py'
    kept = _dict(record, 'settings')
    again = [word for option, values in _options(record) for word in (option, *values)
             if option not in _NOT_AGAIN and option[2:].replace('-', '_') not in kept]
    return (_command(words) if words else '', _command([script, '--resume', str(run_dir), *again]))


def _command(words):
    return ' '.join(map(shlex.quote, ['python', *words]))


def _words(record):
    """Returns the command line that began the run, list of str; [] where it is not one of its recipe."""
    words = record.get('command')
    is_one = isinstance(words, list) and words and all(isinstance(word, str) for word in words)
    return words if is_one and Path(words[0]).stem == record['recipe'] else []


def _options(record):
    """Returns [(option, its values)] of the command line that began the run."""
    found = []
    for word in _words(record)[1:]:
        if word.startswith('--'):
            option, _, value = word.partition('=')
            found.append((option, [value] if value else []))
        elif found:
            found[-1][1].append(word)
    return found


# ---- Words ----

def option_name(name):
    """Returns '--batch-size' for 'batch_size'."""
    return '--' + name.replace('_', '-')


def spoken(name):
    """Returns 'test accuracy' for 'test_accuracy'."""
    return _shorten(str(name)).replace('_', ' ')


def spell(name, value):
    """Writes a value for a reader, in the unit that its name tells."""
    if value is None:
        return 'not set'
    if isinstance(value, bool):
        return 'yes' if value else 'no'
    if isinstance(value, (int, float)):
        if name.endswith('accuracy'):
            return percent(value)
        if 'memory' in name:
            return f'{value / 1e9:.2f} GB'
        return f'{number(value)} s' if 'seconds' in name else number(value)
    if isinstance(value, list) and all(isinstance(part, (str, int, float)) for part in value):
        return _shorten(' '.join(map(str, value)))
    return _shorten(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))


def _shorten(text):
    return textwrap.shorten(text, LONGEST, placeholder=' …') if len(text) > LONGEST else text


def number(value):
    """Writes a number with four digits, a whole one with all."""
    return f'{value:,}' if isinstance(value, int) else f'{value:.4g}'


def percent(fraction):
    """Writes a fraction as percent."""
    return f'{100 * fraction:.2f} %'


def duration(seconds):
    """Writes seconds as a person would: 4.2 s, 5 min 3 s, 2 h 7 min."""
    if seconds < 60:
        return f'{seconds:.3g} s'
    if seconds < 3600:
        return f'{int(seconds // 60)} min {int(seconds % 60)} s'
    return f'{int(seconds // 3600)} h {int(seconds % 3600 // 60)} min'


def _dict(record, name):
    value = record.get(name)
    return value if isinstance(value, dict) else {}


def _numbers(values, *names):
    return all(type(values.get(name)) in (int, float) for name in names)


def _span(results, name):
    return f'{100 * results[f"{name}_low"]:.2f} to {percent(results[f"{name}_high"])}'
