"""Prints what a SavedModel makes of images, as a client that knows nothing of this project gets it, as JSON.

    python tests/plain_client.py FOLDER IMAGES.npy
"""
import json
import sys

import numpy as np
import tensorflow as tf

folder, images = sys.argv[1], np.load(sys.argv[2])
if tf.version.VERSION.startswith('1.'):
    found = tf.contrib.predictor.from_saved_model(folder)({'images': images})
else:
    classify = tf.saved_model.load(folder).signatures['serving_default']
    dtype = classify.structured_input_signature[1]['images'].dtype
    found = {name: output.numpy() for name, output in classify(images=tf.constant(images, dtype)).items()}
print(json.dumps(dict({name: output.tolist() for name, output in found.items() if name != 'labels'},
                      labels=[label.decode() for label in found['labels']])))
