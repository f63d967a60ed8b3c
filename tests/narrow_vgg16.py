"""VGG-16 four channels wide with random weights, for tests of what is built on it: a whole network in milliseconds."""
import numpy as np

WIDTH = 4
CONVOLUTIONS = (2, 2, 3, 3, 3)


def weights():
    """Returns weights as networks.vgg.load_weights does; each layer hands the colors on, with some noise."""
    random, found, depth = np.random.RandomState(3), {}, 3
    for block, count in enumerate(CONVOLUTIONS, 1):
        for number in range(1, count + 1):
            kernel = random.normal(0, 0.2 * np.sqrt(2 / (9 * depth)), [3, 3, depth, WIDTH]).astype(np.float32)
            kernel[1, 1] += np.eye(depth, WIDTH)
            found[f'conv{block}_{number}'] = kernel, random.uniform(0, 1, WIDTH).astype(np.float32)
            depth = WIDTH
    return found


def build(size):
    """Stands in for networks.vgg_keras.vgg16."""
    from common.session import keras
    images = keras.Input([size, size, 3], name='images')
    x = keras.layers.Conv2D(3, 1, name='preprocess', trainable=False)(images)
    for block, count in enumerate(CONVOLUTIONS, 1):
        for number in range(1, count + 1):
            x = keras.layers.Conv2D(WIDTH, 3, padding='same', activation='relu',
                                    name=f'block{block}_conv{number}')(x)
        x = keras.layers.MaxPooling2D(name=f'block{block}_pool')(x)
    return keras.Model(images, x)


def patch(set_attribute):
    """Puts the narrow network in VGG-16's place; `set_attribute` is monkeypatch.setattr, or setattr."""
    from networks import vgg, vgg_keras
    set_attribute(vgg_keras, 'vgg16', build)
    set_attribute(vgg_keras, 'CHANNELS', dict.fromkeys(vgg_keras.CHANNELS, WIDTH))
    set_attribute(vgg, 'obtain_weights', lambda *unused: ('vgg16', weights(), 'nowhere', ''))
