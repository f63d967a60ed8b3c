"""Prints what SavedModels make of images, as a client that knows nothing of this project gets it.

    python tests/plain_client.py

Each line of stdin is JSON, [folder, name of a .npy file]; the answer is a line of JSON. Tests call `ask`.
"""
import json
import os
import subprocess
import sys

import numpy as np


class PlainClient:
    """This file as a program, from the tests' side: it starts when it is first asked."""

    def __init__(self):
        self.process = None

    def ask(self, folder, images):
        """Returns what a SavedModel makes of the images in a .npy file: a dict of lists, those of labels texts."""
        if not self.process:
            environ = {name: value for name, value in os.environ.items() if name != 'PYTHONPATH'}
            self.process = subprocess.Popen([sys.executable, '-W', 'ignore', __file__], stdin=subprocess.PIPE,
                                            stdout=subprocess.PIPE, text=True, env=environ)
        self.process.stdin.write(json.dumps([str(folder), str(images)]) + '\n')
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def close(self):
        """Ends the program."""
        if self.process:
            self.process.communicate()


def classify(folder, images):
    """Returns {name: array} of the outputs of a SavedModel's default signature."""
    import tensorflow as tf
    if tf.version.VERSION.startswith('1.'):
        return tf.contrib.predictor.from_saved_model(folder)({'images': images})
    signature = tf.saved_model.load(folder).signatures['serving_default']
    dtype = signature.structured_input_signature[1]['images'].dtype
    return {name: output.numpy() for name, output in signature(images=tf.constant(images, dtype)).items()}


if __name__ == '__main__':
    for line in sys.stdin:
        asked_folder, asked_images = json.loads(line)
        found = classify(asked_folder, np.load(asked_images))
        print(json.dumps(dict({name: output.tolist() for name, output in found.items() if name != 'labels'},
                              labels=[label.decode() for label in found['labels']])), flush=True)
