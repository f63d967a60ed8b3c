"""Recipes on tiny networks and tiny data, one after the other, as one of several processes.

    shared_recipe.py FOLDER SCENES

FOLDER takes everything; SCENES is a JSON list of scenes, each [name of a recipe in tiny_recipes, name of the output
folder, options, null or [name of a signal, steps after which a process sends it to itself, its number]]. After each
scene the first process writes a line with its exit code, to stdout and stderr.
"""
import contextlib
import json
import os
import signal
import sys
from pathlib import Path
from unittest import mock

import numpy as np
import small_cifar10
import tiny_recipes

from common import pages, parallel, plotting, shared_folders

CLASSIFIERS = 'mnist', 'cifar10', 'transfer'  # whose figures are not compared
render = pages.render


def play(folder, name, output, options, stop):
    """Runs a recipe in this process, which may have run others; returns its exit code."""
    parallel._Processes.end_agreed = False
    shared_folders._Folders.place = None
    own = folder / f'process-{parallel.rank()}-of-{parallel.size()}' / name  # each makes its images
    own.mkdir(parents=True, exist_ok=True)
    (own.parent / 'pid').write_text(str(os.getpid()))
    small_cifar10.NUM_TRAINING, small_cifar10.NUM_VALIDATION, small_cifar10.NUM_TEST = 40, 20, 20
    subject = tiny_recipes.SUBJECTS[name](own)
    if stop and stop[2] == parallel.rank():
        tiny_recipes.stop_after(getattr(signal, stop[0]), stop[1], folder / 'signal')
    with contextlib.ExitStack() as patches:
        patches.enter_context(mock.patch.object(pages, 'render', blank if name in CLASSIFIERS else without_words))
        if (name, parallel.size()) == ('mnist', 3):  # the names of their files are not compared either
            for function in [function for function in dir(plotting) if function.startswith('plot_')]:
                patches.enter_context(mock.patch.object(plotting, function, lambda *args, **kwargs: None))
        return subject.module.main([*subject.options, *subject.places, '--threads', '1', '--output-dir',
                                    str(folder / output), *options])


def blank(figure):
    """Returns a black square in a Figure's place."""
    return np.zeros([8, 8, 3], np.uint8)


def without_words(figure):
    """Draws a Figure without its words, which take longer than the recipe's work."""
    for axes in figure.axes:
        axes.set_axis_off()
        axes.set_title('', loc='left')
    for text in [text for place in [figure, *figure.axes] for text in place.texts]:
        text.set_visible(False)
    return render(figure)


if __name__ == '__main__':
    parallel.join()
    for scene in json.loads(sys.argv[2]):
        code = play(Path(sys.argv[1]), *scene)
        if not parallel.rank():
            for stream in (sys.stdout, sys.stderr):
                print(f'exit code {code}', file=stream, flush=True)
