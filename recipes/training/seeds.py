"""Several seeds of the same training: what of a result is chance."""
import numpy as np

from common import evaluation, runs
from training.run import load_state


def each_seed(run_dir, recipe, seed, count, settings):
    """Yields a folder for each seed: the run's own for one, seed_<seed>/ within it, a run of its own, for several.

    Args:
      run_dir, recipe: Path, str.
      seed, count: int, the first and how many.
      settings: dict, the run's; a seed's folder records them with its own seed.

    Yields:
      (int seed, Path).
    """
    if count == 1:
        yield seed, run_dir
        return
    for number in range(seed, seed + count):
        folder = run_dir / f'seed_{number}'
        folder.mkdir(exist_ok=True)
        runs.hold(folder)
        runs.write_record(folder, recipe=recipe, seed=number, settings=dict(settings, seed=number, runs=1))
        yield number, folder


def folders(run_dir):
    """Returns the folders that a run's training may have written: its own, and of several seeds those; list of Path."""
    return [run_dir, *sorted(run_dir.glob('seed_*'))]


def seconds_before(run_dir):
    """Returns the seconds that the run's checkpoints, or its seeds', say that it took before it is resumed."""
    states = map(load_state, folders(run_dir))
    return max((state.get('seconds', 0.0) for state in states if state), default=0.0)


def record_results(folder, accuracies, state, epoch_steps):
    """Writes one seed's results into its run.json, beside what an earlier evaluation measured; returns them, a dict.

    Args:
      folder, accuracies, state: from each_seed, classifier.evaluate, and the training at its end.
      epoch_steps: float, steps of an epoch.
    """
    seconds = state['training_seconds'] + state['validation_seconds']
    results = dict(runs.read_record(folder).get('results', {}), **evaluation.figures(accuracies),
                   best_step=state['best_step'], validation_accuracy=state['validation_accuracy'],
                   seconds_per_epoch=seconds * epoch_steps / state['step'])
    runs.write_record(folder, results=results)
    return results


def report(run_dir, results, started, what):
    """Prints the accuracy and, of several seeds, mean and standard deviation, which the run's record gets too.

    Args:
      run_dir: Path.
      results: list of dict, from record_results, one for each seed.
      started: float, the time.monotonic() at which the run would have started without interruptions.
      what: str, what was trained and for how long.

    Returns:
      float, the seconds that the run took, which its record gets too.
    """
    seconds = runs.total_seconds(run_dir, started)
    runs.write_record(run_dir, seconds=seconds)
    for name, title in (('test_accuracy', 'test accuracy'), ('tta_accuracy', 'with mirror images')):
        values = [result[name] for result in results if name in result]
        if len(values) == 1:
            only = results[0]
            accuracy = evaluation.Accuracy(value=values[0], low=only[f'{name}_low'], high=only[f'{name}_high'],
                                           total=only['test_images'])
            print(f'{title} {accuracy} after {what}')
        elif values:
            mean, deviation = np.mean(values), np.std(values, ddof=1)
            print(f'{title} {100 * mean:.2f} % ± {100 * deviation:.2f} % after {what} (mean and standard deviation of '
                  f'{len(values)} seeds: {", ".join(f"{100 * value:.2f}" for value in values)} %)')
            runs.write_record(run_dir, **{name: {'values': values, 'mean': mean, 'std': deviation}})
    return seconds
