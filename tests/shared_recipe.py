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

import tiny_recipes

from common import pages, parallel, shared_folders


def play(folder, name, output, options, stop):
    """Runs a recipe in this process, which may have run others; returns its exit code."""
    parallel._Processes.end_agreed = False
    shared_folders._Folders.place = None
    own = folder / f'process-{parallel.rank()}-of-{parallel.size()}' / name  # each makes its images
    own.mkdir(parents=True, exist_ok=True)
    (own.parent / 'pid').write_text(str(os.getpid()))
    subject = tiny_recipes.SUBJECTS[name](own)
    unseen = (name, parallel.size()) == ('mnist', 3)  # its figures, which take longer than the rest
    if stop and stop[2] == parallel.rank():
        tiny_recipes.stop_after(getattr(signal, stop[0]), stop[1], folder / 'signal')
    with mock.patch.object(pages, 'save', lambda *unused: None) if unseen else contextlib.nullcontext():
        return subject.module.main([*subject.options, *subject.places, '--threads', '1', '--output-dir',
                                    str(folder / output), *options])


if __name__ == '__main__':
    parallel.join()
    for scene in json.loads(sys.argv[2]):
        code = play(Path(sys.argv[1]), *scene)
        if not parallel.rank():
            for stream in (sys.stdout, sys.stderr):
                print(f'exit code {code}', file=stream, flush=True)
