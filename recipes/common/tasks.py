"""What the studio offers: tasks, their fields, and the command line that checked values make of them."""
import re
from pathlib import Path
from typing import Any, Dict, List, NamedTuple, Tuple

from common import report, runs
from common.errors import InputError

CLASSIFIERS = ('mnist_convnet', 'cifar10_tflearn', 'vgg16_transfer')  # recipes with --predict and --run
LAYER = re.compile(r'[A-Za-z0-9_]{1,60}(:[0-9]{1,4})?')
MOST_CHANNELS = 32


class Field(NamedTuple):
    """What a form asks for."""
    name: str
    label: str
    kind: str                      # 'picture', 'number', 'choice', 'layer' or 'run'
    default: Any = None            # None: a picture or run that has to be named; '': one that may be left out
    low: float = 0                 # of a number
    high: float = 0
    choices: Tuple[str, ...] = ()


class Task(NamedTuple):
    """Something that a recipe does."""
    title: str
    text: str
    recipe: str                    # '' for that of the run that is chosen
    fields: Tuple[Field, ...]


TASKS: Dict[str, Task] = {
    'style': Task('Style transfer', 'Repaints a photograph in a painting\'s style, by optimizing the picture: minutes.',
                  'style_transfer', (
                      Field('content', 'photograph', 'picture'), Field('style', 'painting', 'picture'),
                      Field('size', 'longer side, pixels', 'number', 384, 64, 1024),
                      Field('iterations', 'iterations', 'number', 200, 1, 1000),
                      Field('preserve_color', "keep the photograph's colors", 'choice', 'no',
                            choices=('no', 'luminance', 'histogram')))),
    'fast': Task('Fast style transfer', 'Paints in one pass, in any painting\'s style or in one of 26: seconds.',
                 'fast_style_transfer', (
                     Field('content', 'photograph', 'picture'), Field('style', 'painting, or none', 'picture', ''),
                     Field('style_number', 'without a painting: number of a style', 'number', 7, 0, 25),
                     Field('size', 'longer side, pixels', 'number', 512, 64, 1600),
                     Field('strength', 'strength of the style, percent', 'number', 100, 0, 200))),
    'dream': Task('Dream', 'Changes a picture until a layer of a network answers more strongly.', 'deepdream', (
        Field('content', 'picture', 'picture'), Field('layer', 'layer, or layer:channel', 'layer', 'mixed4c'),
        Field('octaves', 'octaves, from coarse to fine', 'number', 4, 1, 8),
        Field('steps', 'steps in each', 'number', 10, 1, 100),
        Field('size', 'longer side, pixels', 'number', 512, 64, 1600))),
    'layer': Task('Visualize a layer', 'Draws what each of several channels responds to.', 'feature_visualization', (
        Field('layer', 'layer', 'layer', 'mixed4c'), Field('first', 'first channel', 'number', 0, 0, 2000),
        Field('count', 'channels', 'number', 8, 1, MOST_CHANNELS),
        Field('steps', 'steps', 'number', 40, 1, 500),
        Field('size', 'side, pixels', 'number', 128, 64, 320))),
    'classify': Task('Classify', 'Says what one of your trained networks takes a picture for.', '', (
        Field('content', 'picture', 'picture'), Field('run', 'trained network', 'run'))),
}


def check(task, texts, output_dir):
    """Checks what a form sent.

    Args:
      task: Task.
      texts: {name: str} of its fields, without the pictures; others are ignored.
      output_dir: Path, where runs are.

    Returns:
      {name: int or str}, of every field that is no picture.

    Raises:
      InputError: a value that the field does not take.
    """
    values: Dict[str, Any] = {}
    for field in task.fields:
        text = str(texts.get(field.name, '' if field.default is None else field.default)).strip()
        if field.kind == 'number':
            if not re.fullmatch(r'[0-9]{1,6}', text) or not field.low <= int(text) <= field.high:
                raise InputError(f'{field.label}: expected a whole number from {field.low} to {field.high}')
            values[field.name] = int(text)
        elif field.kind == 'choice' and text in field.choices or field.kind == 'layer' and LAYER.fullmatch(text):
            values[field.name] = text
        elif field.kind == 'run' and text in trained_runs(output_dir):
            values[field.name] = text
        elif field.kind != 'picture':
            raise InputError(f'{field.label}: expected one of those that are listed')
    return values


def trained_runs(output_dir):
    """Returns the names, <recipe>/<run>, of the finished runs of classifiers, the last one first: list of str."""
    found = []
    for run_dir in report.find_runs(output_dir):
        if run_dir.parent.name in CLASSIFIERS:
            try:
                if 'seconds' in runs.read_record(run_dir):
                    found.append(f'{run_dir.parent.name}/{run_dir.name}')
            except InputError:
                continue
    return sorted(found, key=lambda name: name.split('/')[1], reverse=True)


def command(name, values, pictures, output_dir) -> List[str]:
    """Makes the command line of a task: the recipe's name, then its options.

    Args:
      name: str, of the task.
      values: of `check`.
      pictures: {name of a field: Path of the picture}.
      output_dir: Path.

    Returns:
      list of str.
    """
    options = [f'--output-dir={output_dir}'] + [f'--{field}={path}' for field, path in pictures.items()]
    if name == 'classify':
        recipe = values['run'].split('/')[0]
        return [recipe, f'--predict={pictures["content"]}', f'--run={Path(output_dir) / values["run"]}', options[0]]
    if name == 'layer':
        last = values['first'] + values['count'] - 1
        options += [f'--channels={values["layer"].split(":")[0]}:{values["first"]}-{last}']
    elif name == 'dream':
        options += [f'--objective={values["layer"]}', f'--octaves={values["octaves"]}', '--save-every=5']
    elif name == 'style':
        options += [f'--iterations={values["iterations"]}', f'--preserve-color={values["preserve_color"]}',
                    '--save-every=20']
    elif name == 'fast':
        options += [f'--strength={values["strength"] / 100}']
        options += [] if 'style' in pictures else [f'--style-number={values["style_number"]}']
    options += [f'--steps={values["steps"]}'] if 'steps' in values else []
    return [TASKS[name].recipe, *options, f'--size={values["size"]}']
