"""A recipe on a tiny network and tiny data, as one of several: shared_recipe.py NAME FOLDER OPTION..."""
import os
import sys
from pathlib import Path

import tiny_recipes

if __name__ == '__main__':
    name, folder, *options = sys.argv[1:]
    own = Path(folder) / f'process-{os.environ.get("OMPI_COMM_WORLD_RANK", 0)}'  # each makes its images
    own.mkdir(parents=True, exist_ok=True)
    subject = getattr(tiny_recipes, name)(own)
    sys.exit(subject.module.main([*subject.options, *subject.places, '--threads', '1', '--output-dir',
                                  str(Path(folder) / 'output'), *options]))
