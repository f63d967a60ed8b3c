"""Explanations of a classifier's answers: maps by every method of attribution, and their files."""
import numpy as np

from common import images, progress
from common.errors import InputError
from networks import attribution
from synthesis import contact_sheets, sheet_tiles

MAP_SIZE = 224      # pixels of a map on the sheet


def build_classifier(network, size, names):
    """Builds a classifier for explanations in the default graph; returns (attribution.Attribution, classes' numbers).

    Raises:
      InputError: the network is no classifier, has no such class, or its pictures have another size.
    """
    def find_logits(end_points):
        numbers.extend(sheet_tiles.find_class(name, end_points, network.labels).channel for name in names)
        return sheet_tiles.find_logits(end_points)
    numbers = []
    try:
        return attribution.build(network.build, size, size, find_logits), numbers
    except InputError:
        raise
    except ValueError as error:  # of TensorFlow, while it builds the graph
        raise InputError(f'--size {size}: does not suit this network ({str(error).splitlines()[0]:.120})')


def explain(run_dir, explainer, jobs, labels=None, seed=0, quiet=False):
    """Explains answers and writes each map as a picture.

    Args:
      run_dir: Path, the run's folder.
      explainer: attribution.Explainer.
      jobs: list of (Path of a photograph, float32 [height, width, 3], int or None): for None its most probable class.
      labels: list of str, the classes' names, or None.
      seed: int, of SmoothGrad's noise.
      quiet: bool, no progress.

    Returns:
      (list of (heading, list of (picture, caption)), a row for each; list of dict, what run.json is to tell of each).
    """
    rows, facts = [], []
    with progress.Progress(len(jobs), unit='answer', quiet=quiet) as bar:
        for count, (path, photograph, number) in enumerate(jobs, 1):
            probabilities = explainer.probabilities(photograph)
            number = int(np.argmax(probabilities)) if number is None else number
            name = sheet_tiles.class_name(number, explainer.graph.probabilities, labels)
            maps, gap = explainer.explain(photograph, number, seed)
            drawn = {method: attribution.draw(photograph, found) for method, found in maps.items()}
            for method, picture in drawn.items():
                images.save_image(run_dir / 'pictures' / f'{count:03d}_{method.replace(" ", "_")}.png', picture)
            rows.append((f'{path.name}: {name}, {100 * probabilities[number]:.1f} %',
                         [contact_sheets.show(photograph, MAP_SIZE, 'picture')]
                         + [contact_sheets.show(picture, MAP_SIZE, method) for method, picture in drawn.items()]))
            facts.append({'file': str(path), 'class': name, 'probability': float(probabilities[number]),
                          'completeness_gap': gap})
            bar.update({'class': name})
    return rows, facts
