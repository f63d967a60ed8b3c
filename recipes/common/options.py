"""What options take: the parser whose mistakes are one line, paths as typed, and what run.json records of them."""
import argparse
import difflib
import os
import re
import sys
from pathlib import Path

from common import runs
from common.errors import InputError
from common.summaries import option_name

FOLDERS, RUNNING = 'folders', 'how it runs'  # the option groups that all recipes share

_parsers = {}  # {recipe: its parser, with the defaults of this command line}; keep_parser fills it


class HelpFormatter(argparse.ArgumentDefaultsHelpFormatter):
    """Shows a default as one would type it, unless it is None, a switch that is off, or in the help text already."""

    def _get_help_string(self, action):
        if action.default is None or action.default is False or action.default is argparse.SUPPRESS \
                or '(default: ' in action.help:
            return action.help
        default = as_typed(action.default).replace('%', '%%')
        return f'{action.help} (default: {default})'


class Parser(argparse.ArgumentParser):
    """Lists a recipe's own options first; answers a mistake with one line, and the option that was meant."""

    def format_help(self):
        """Returns the text of --help (str)."""
        self._action_groups.sort(key=lambda group: group.title in (FOLDERS, RUNNING))
        return super().format_help()

    def parse_args(self, args=None, namespace=None):
        """Returns the options, as argparse does; an unknown one ends the program, and the message names the nearest."""
        parsed, unknown = self.parse_known_args(args, namespace)
        if unknown and not unknown[0].startswith('-'):
            self.error(f'{unknown[0]} belongs to no option')
        if unknown:
            name = unknown[0].split('=')[0]
            self.error(f'there is no option {name}; {self._nearest(name)}')
        return parsed

    def _nearest(self, name):
        """Says which option a wrong one may stand for: --learning-rate for --lr, --batch-size for --batch_size."""
        name, options = name.strip('-').replace('_', '-'), [option.strip('-') for option in self._option_string_actions]
        initials = {''.join(word[:1] for word in option.split('-')): option for option in options}
        nearest = ([initials[name]] if name in initials else
                   [option for option in options if name.startswith(f'{option}-')] or  # --content for --content-image
                   difflib.get_close_matches(name, options, n=1))
        return f"did you mean '--{nearest[0]}'?" if nearest else 'check its spelling'

    def error(self, message):
        """Ends the program: exit code 2, and one line."""
        self.exit(2, f'{self.prog}: error: {message} (--help lists the options)\n')


def keep_parser(recipe, parser, free):
    """Lets `recorded_settings` read the runs of a recipe.

    Args:
      recipe: str.
      parser: argparse.ArgumentParser, with the defaults of this command line.
      free: names of the options that change nothing about the result.
    """
    _parsers[recipe] = parser, free


def given(parser, argv):
    """Returns the names of the options that the command line (list of str, or None) really holds: a set."""
    absent = []  # a list, since options that can be repeated append to a copy of it
    bare = argparse.Namespace(**{action.dest: absent for action in parser._actions})
    return {name for name, value in vars(parser.parse_args(argv, bare)).items() if value is not absent}


def spelled(parser, args, names):
    """Returns the options of these names as a command line has them: a list of str and what they took."""
    words = []
    for action in parser._actions:
        if action.dest in names:
            words += action.option_strings[-1:] + ([] if action.nargs == 0 else [getattr(args, action.dest)])
    return words


def recorded_settings(run_dir):
    """Reads a run's settings as the options take them: a run.json may be damaged, or come from elsewhere.

    Args:
      run_dir: Path of a run of the recipe whose command line parse_args has parsed.

    Returns:
      dict of the settings; what an earlier version of the recipe did not record has its default, with a warning.

    Raises:
      InputError: there are none, or one is not what its option takes.
    """
    record = runs.read_record(run_dir)
    parser, free = _parsers[record['recipe']]
    actions = {action.dest: action for action in parser._actions if action.dest not in (*free, 'help')}
    recorded = {name: value for name, value in record.get('settings', {}).items() if name not in free}
    if not recorded:
        raise InputError(f'{run_dir / runs.RECORD}: without settings; start a new run')
    for name, value in recorded.items():
        if name not in actions:
            raise InputError(f'{run_dir / runs.RECORD}: no option of this recipe is {name!r:.40}; start a new run')
        try:
            recorded[name] = _as_taken(actions[name], value)
        except (argparse.ArgumentTypeError, TypeError, ValueError) as error:
            raise InputError(f'{run_dir / runs.RECORD}: {option_name(name)} cannot be {value!r:.80}'
                             f'{f" ({error})" if isinstance(error, argparse.ArgumentTypeError) else ""}; damaged')
    missing = [name for name in actions if name not in recorded]
    if missing:
        print(f'warning: {run_dir / runs.RECORD} does not record {", ".join(map(option_name, missing))}; using '
              'defaults', file=sys.stderr)
    return dict({name: actions[name].default for name in missing}, **recorded)


def _as_taken(action, value):
    """Returns what an option makes of a recorded value; ValueError or ArgumentTypeError where it would not take it."""
    if value is None and action.default is None:
        return None
    if action.nargs == 0:
        if isinstance(value, bool):
            return value
        raise ValueError
    is_list = action.nargs in ('*', '+') or isinstance(action, argparse._AppendAction)
    found = [_one_as_taken(action, part) for part in value] if is_list else _one_as_taken(action, value)
    if as_recorded(found) != value or found == [] and action.nargs != '*':  # '5' for 5, a text for a list
        raise ValueError
    return found


def _one_as_taken(action, value):
    if isinstance(value, list) and action.type not in (None, Path):  # one option's numbers, separated by commas
        value = ','.join('' if isinstance(part, bool) else str(part) for part in value)
    if isinstance(value, bool) or not isinstance(value, str if action.type in (None, Path) else (str, int, float)):
        raise ValueError
    found = str(value) if action.type is None else to_path(value) if action.type is Path else action.type(str(value))
    if action.choices and found not in action.choices:
        raise ValueError
    return found


def refuse_changes(args, recorded, given, free):
    """Raises InputError where an option that is given contradicts what the run to resume recorded."""
    for name in sorted(given & set(recorded) - set(free)):
        if getattr(args, name) != recorded[name]:
            raise InputError(f'--resume {args.run_dir}: that run has {option_name(name)} {as_typed(recorded[name])}, '
                             f'not {as_typed(getattr(args, name))}; leave the option out, or start a new run')


def to_path(text):
    """What argparse makes of a Path in every option of the type Path: Path('') would be the working directory."""
    if not text:
        raise argparse.ArgumentTypeError('expected a name')
    if re.match(r'\w+://', text):
        raise argparse.ArgumentTypeError(f'{text} is a URL; download it and give the name of the file')
    quoted = re.match(r"""(["'])(.+)\1$""", text)  # what some terminals make of a file that is dropped on them
    return Path(quoted.group(2) if quoted and not os.path.exists(text) else text)


def as_typed(value):
    """Returns an option's value as one would type it."""
    return ' '.join(map(str, value)) if isinstance(value, list) else str(value)


def as_recorded(value):
    """Returns an option's value as JSON brings it back: lists for tuples, texts for Paths."""
    if isinstance(value, (list, tuple)):
        return [as_recorded(part) for part in value]
    return str(value) if isinstance(value, Path) else value
