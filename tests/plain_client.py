"""Prints the classes that a SavedModel finds in images, as a client that knows nothing of this project gets them.

    python tests/plain_client.py FOLDER IMAGES.npy
"""
import sys

import numpy as np
import tensorflow as tf

folder, images = sys.argv[1], np.load(sys.argv[2])
if tf.version.VERSION.startswith('1.'):
    classes = tf.contrib.predictor.from_saved_model(folder)({'images': images})['classes']
else:
    classify = tf.saved_model.load(folder).signatures['serving_default']
    dtype = classify.structured_input_signature[1]['images'].dtype
    classes = classify(images=tf.constant(images, dtype))['classes'].numpy()
print(','.join(map(str, classes)))
