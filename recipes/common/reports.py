"""What a classifier's run says about its test images: a table per class, the confusion matrix, the worst mistakes."""
import numpy as np

from common import evaluation, files, plotting


def report(run_dir, labels, probabilities, class_names, load_images, **grid):
    """Measures the accuracy; writes classes.txt and draws confusion_matrix.png and mistakes.png.

    Args:
      run_dir: Path.
      labels: int [num_images], the true classes.
      probabilities: float [num_images, num_classes].
      class_names: sequence of str.
      load_images: function from int [n], indices, to that many images as plotting.plot_image_grid takes them.
      **grid: options of plotting.plot_image_grid.

    Returns:
      evaluation.Accuracy.
    """
    predictions = np.argmax(probabilities, axis=1)
    matrix = evaluation.confusion_matrix(labels, predictions, len(class_names))
    with files.replacing(run_dir / 'classes.txt') as beside:
        beside.write_text(evaluation.format_class_figures(matrix, class_names) + '\n',
                          encoding='utf-8')
    plotting.plot_confusion_matrix(run_dir / 'confusion_matrix.png', matrix, class_names, 'Test images')
    worst = evaluation.most_confident_mistakes(labels, probabilities, 40)
    captions = [f'{class_names[guess]}, not {class_names[label]}: {100 * row[guess]:.0f}\u00a0%'
                for label, guess, row in zip(labels[worst], predictions[worst], probabilities[worst])]
    plotting.plot_image_grid(run_dir / 'mistakes.png', load_images(worst), captions,
                             title='The most confident mistakes', **grid)
    return evaluation.accuracy(labels, predictions)
