"""How good a classifier is: accuracy with its 95 % interval, confusion matrix, the most confident mistakes."""
from typing import NamedTuple

import numpy as np


class Accuracy(NamedTuple):
    """A fraction of correct predictions and its 95 % confidence interval, all in [0, 1]."""
    value: float
    low: float
    high: float
    total: int

    def __str__(self):
        return (f'{100 * self.value:.2f} % (95 % interval {100 * self.low:.2f} to {100 * self.high:.2f} %, '
                f'{self.total:,} images)')


def accuracy(labels, predictions):
    """Computes the fraction of correct predictions with its Wilson score interval.

    Args:
      labels, predictions: int [num_images], the true classes and those predicted.

    Returns:
      Accuracy.

    Raises:
      ValueError: no images, or shapes that differ.

    Source: Wilson 1927, Probable inference, the law of succession, and statistical inference.
    """
    labels, predictions = np.asarray(labels), np.asarray(predictions)
    if labels.shape != predictions.shape or labels.size == 0:
        raise ValueError('accuracy needs as many labels as predictions, at least one: '
                         f'{labels.shape} and {predictions.shape}')
    from scipy.stats import binomtest  # half a second to import, once a run, at its end
    correct = int(np.sum(labels == predictions))
    interval = binomtest(correct, labels.size).proportion_ci(confidence_level=0.95, method='wilson')
    return Accuracy(value=correct / labels.size, low=float(interval.low), high=float(interval.high), total=labels.size)


def figures(accuracies):
    """Returns {name: Accuracy}, test_accuracy among them, as run.json has it: each one's value, low and high."""
    found = {'test_images': accuracies['test_accuracy'].total}
    for name, one in accuracies.items():
        found.update({name: one.value, f'{name}_low': one.low, f'{name}_high': one.high})
    return found


def confusion_matrix(labels, predictions, num_classes):
    """Counts predictions per true class.

    Args:
      labels, predictions: int [num_images] in [0, num_classes).

    Returns:
      int64 [num_classes, num_classes]; rows are the true classes, columns the predicted ones.
    """
    pairs = np.asarray(labels, np.int64) * num_classes + np.asarray(predictions, np.int64)
    return np.bincount(pairs, minlength=num_classes ** 2).reshape(num_classes, num_classes)


def format_class_figures(matrix, class_names):
    """Computes precision, recall and F1 per class, and formats them as a table.

    Args:
      matrix, class_names: from confusion_matrix; sequence of str.

    Returns:
      str, a heading and a line per class; nan where a class never occurs or is never predicted.
    """
    correct, predicted, occurring = np.diag(matrix).astype(float), matrix.sum(axis=0), matrix.sum(axis=1)
    with np.errstate(invalid='ignore', divide='ignore'):
        figures = zip(correct / predicted, correct / occurring, 2 * correct / (predicted + occurring))
    width = max(len(name) for name in class_names)
    lines = [f"{'':{width}}  precision  recall      F1"]
    lines += [f'{name:{width}}  {precision:9.4f}  {recall:6.4f}  {f1:6.4f}'
              for name, (precision, recall, f1) in zip(class_names, figures)]
    return '\n'.join(lines)


def most_confident_mistakes(labels, probabilities, count):
    """Finds the images that were classified wrongly with the greatest confidence.

    Args:
      labels: int [num_images].
      probabilities: float [num_images, num_classes].
      count: int, how many at most.

    Returns:
      int [at most count], indices, the most confident first.
    """
    predictions = np.argmax(probabilities, axis=1)
    wrong = np.flatnonzero(predictions != labels)
    return wrong[np.argsort(-probabilities[wrong, predictions[wrong]], kind='stable')][:count]
