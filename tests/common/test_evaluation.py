import numpy as np
import pytest

from common import evaluation


def test_accuracy_has_wilsons_interval():
    found = evaluation.accuracy(np.zeros(100, int), np.r_[np.zeros(95, int), np.ones(5, int)])
    assert found.value == 0.95
    # the closed form: (p + z^2/2n -+ z sqrt(p(1-p)/n + z^2/4n^2)) / (1 + z^2/n)
    z, n, p = 1.959963984540054, 100, 0.95
    half = z * np.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    low_and_high = (p + z * z / (2 * n) + np.array([-half, half])) / (1 + z * z / n)
    np.testing.assert_allclose([found.low, found.high], low_and_high)
    assert str(found) == '95.00 % (95 % interval 88.82 to 97.85 %, 100 images)'


def test_a_perfect_score_still_has_an_interval():
    found = evaluation.accuracy([1] * 10, [1] * 10)
    assert found.value == found.high == 1.0 and 0.6 < found.low < 0.8


@pytest.mark.parametrize('labels, predictions', [([], []), ([1, 2], [1])])
def test_accuracy_refuses_what_cannot_be_compared(labels, predictions):
    with pytest.raises(ValueError, match='as many labels as predictions'):
        evaluation.accuracy(labels, predictions)


def test_confusion_matrix_has_the_true_classes_in_rows():
    matrix = evaluation.confusion_matrix([0, 0, 1, 2], [0, 1, 1, 0], 3)
    np.testing.assert_array_equal(matrix, [[1, 1, 0], [0, 1, 0], [1, 0, 0]])


def test_class_figures_of_a_known_matrix():
    table = evaluation.format_class_figures(np.array([[8, 2], [4, 6]]), ['cat', 'dog'])
    assert [line.split() for line in table.splitlines()] == [
        ['precision', 'recall', 'F1'], ['cat', '0.6667', '0.8000', '0.7273'], ['dog', '0.7500', '0.6000', '0.6667']]


def test_a_class_that_never_occurs_has_no_recall():
    table = evaluation.format_class_figures(np.array([[3, 0], [0, 0]]), ['cat', 'dog'])
    assert [line.split()[2] for line in table.splitlines()[1:]] == ['1.0000', 'nan']


def test_the_most_confident_mistake_comes_first():
    probabilities = np.array([[0.9, 0.1], [0.4, 0.6], [0.8, 0.2], [0.3, 0.7]])
    np.testing.assert_array_equal(evaluation.most_confident_mistakes(np.array([0, 0, 1, 0]), probabilities, 2), [2, 3])
    assert len(evaluation.most_confident_mistakes(np.array([0, 1, 0, 1]), probabilities, 5)) == 0
