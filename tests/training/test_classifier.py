"""What is said about a classifier's test images."""
import numpy as np

from common import images
from training import classifier


def test_a_report_measures_and_draws(tmp_path):
    labels = np.array([0, 1, 2, 2])
    probabilities = np.array([[0.9, 0.1, 0.0], [0.2, 0.7, 0.1], [0.6, 0.3, 0.1], [0.05, 0.95, 0.0]])
    photographs = np.random.RandomState(0).randint(0, 256, (4, 8, 8, 3))
    asked = []

    def load_images(indices):
        asked.extend(indices)
        return photographs[indices]
    accuracy = classifier.evaluate(tmp_path, labels, probabilities, ('ant', 'bee', 'cow'), load_images)
    assert (accuracy.value, accuracy.total) == (0.5, 4)
    assert asked == [3, 2]  # the most confident mistake first
    lines = (tmp_path / 'classes.txt').read_text().splitlines()
    assert [line.split()[0] for line in lines[1:]] == ['ant', 'bee', 'cow']
    for name in ('confusion_matrix', 'mistakes'):
        assert images.load_image(tmp_path / (name + '.png')).std() > 5


def test_a_report_without_mistakes(tmp_path):
    accuracy = classifier.evaluate(tmp_path, np.array([1, 0]), np.eye(2)[[1, 0]], ('ant', 'bee'),
                                   lambda none: np.zeros((0, 8, 8)))
    assert accuracy.value == 1 and (tmp_path / 'mistakes.png').exists()
