"""What each file of a run is, and how its picture is to be read."""
import re
from typing import NamedTuple


class Caption(NamedTuple):
    """What a file is."""
    title: str
    text: str = ''  # how to read it


# What a file's name within the run's folder matches in full, to its caption; the first counts. Pictures come in this
# order, behind those that the run's record calls its results.
_CAPTIONS = tuple((re.compile(pattern), Caption(title, text)) for pattern, title, text in (
    # Pictures
    (r'sheet(_\d+)?\.png', 'Contact sheet',
     'Each tile is a picture that excites one channel or layer, named below it; an inactive one never answered.'),
    (r'explanation\.png', 'Which pixels an answer comes from',
     'A row is a picture with the class in question: red supports it, blue speaks against it.'),
    (r'.*_sheet\.png', 'Side by side', 'What went in and what came of it; the captions below say which is which.'),
    (r'.*_proof(_\d+)?\.png', 'Proof', 'A photograph that was not learned from, painted in the style after that step.'),
    (r'confusion_matrix\.png', 'Confusion matrix',
     'A row is a true class, a column a predicted one. The diagonal is right; a dark cell beside it is a pair of '
     'classes that are confused.'),
    (r'mistakes\.png', 'The most confident mistakes',
     'Below each image the predicted class with its probability, and the true one. Some are mislabeled or hard for '
     'people, too.'),
    (r'grad_cam_(right|wrong)\.png', 'Where the network looked',
     'Warm colors mark what speaks for the predicted class (Grad-CAM): the object, one hopes, not what surrounds it.'),
    (r'predictions\.png', 'Predictions for your files', 'What the network saw of them, and what it takes them for.'),
    (r'(stage\d_)?loss\.png', 'Loss',
     'Both curves fall together while the network learns what is general; where validation rises and training goes on '
     'falling, it learns the training images by heart.'),
    (r'(stage\d_)?accuracy\.png', 'Accuracy',
     'The fraction that is right. Training is measured with dropout and augmentation, which makes it the lower one at '
     'first.'),
    (r'.*_losses\.png', 'Losses per step',
     'The parts of the loss, on a logarithmic axis; a jump is the beginning of a new scale.'),
    (r'.*_objective\.png', 'Objective per step', 'What is maximized; a curve for each octave, from coarse to fine.'),
    (r'filters\.png', 'Filters of the first layer',
     'Each square is what a filter answers to: edges and spots are a sign of learning, noise of too little of it.'),
    (r'activations\.png', 'Activations',
     'What each layer makes of the image at the left, a tile per channel; bright is a strong answer.'),
    (r'network\.png', 'The network',
     "Its layers from input to output: operation, output shape, weights, receptive field."),
    (r'examples\.png', 'Training images', 'The first of them with their labels.'),
    (r'augmented\.png', 'Augmented copies', 'What training sees of the same images: shifted, turned, mirrored.'),
    (r'one_image\.png', 'One training image', 'Pixel for pixel, with its label.'),
    (r'flattened\.png', 'Images as rows', 'What a fully connected network sees: each image a row of pixels.'),
    (r'.*_\d{5}\.png', 'On the way', 'The picture after as many steps as its name says.'),
    (r'.*\.(mp4|gif)', 'Film', ''),
    # Other files
    (r'run\.json', 'Settings, versions, checksums of the inputs, results', ''),
    (r'report\.html', 'This page', ''),
    (r'(metrics|stage\d)\.csv', 'Figures of every recorded step', ''),
    (r'test_predictions\.csv', 'Class and probabilities of each test image', ''),
    (r'predictions\.csv', 'Class and probabilities of each of your files', ''),
    (r'classes\.txt', 'Precision, recall and F1 of each class', ''),
    (r'summary\.txt', "Keras's list of the layers", ''),
    (r'.*\.style\.npz', 'A learned style, for --style of fast style transfer', ''),
    (r'(checkpoint|state)\.npz', 'What --resume needs', ''),
    (r'checkpoints/', 'Weights of the best and of the last step, for --predict and --resume', ''),
    (r'tensorboard/', 'The same figures for tensorboard --logdir', ''),
    (r'saved_model/', 'The network as a SavedModel', ''),
    (r'frames/', 'The frames of the film', ''),
    (r'pictures/', 'The tiles of the sheets, each a file', ''),
    (r'seed_\d+/', 'The run of one seed, a run of its own', ''),
    (r'concepts\.html', 'The ideas explained, with these pictures', ''),
))
UNKNOWN = len(_CAPTIONS)


def find(name):
    """Returns (its place in the order, Caption) of a file; of a name that none describes, made of the name itself.

    Args:
      name: str, within the run's folder; a folder's ends in a slash.
    """
    base = re.sub(r'^seed_\d+/(?=.)', '', name)
    for number, (pattern, caption) in enumerate(_CAPTIONS):
        if pattern.fullmatch(base):
            return number, caption
    return UNKNOWN, Caption(title=base.rstrip('/').rsplit('.', 1)[0].replace('_', ' '))
