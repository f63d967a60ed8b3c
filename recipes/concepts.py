"""The ideas behind convolutional networks, each one computed, checked and drawn.

The idea. What a convolution is, what padding, stride and dilation do to sizes, why weights are shared, what pooling
forgives, how much of an image a unit sees: each is a function of this file. It computes its numbers with TensorFlow's
own operations, checks them against arithmetic that is written out beside it, and draws a picture. Nothing is
downloaded; the photograph and the digits come with the project, the sound and the clip are made here.

Usage:
    python recipes/concepts.py                           a page of pictures and numbers; seconds
    python recipes/concepts.py --content photo.jpg       with your own photograph

Source: Dumoulin and Visin 2016, A guide to convolution arithmetic for deep learning, arXiv 1603.07285; Araujo, Norris
and Sim 2019, Computing Receptive Fields of Convolutional Neural Networks (Distill); Luo et al. 2016, Understanding the
Effective Receptive Field in Deep Convolutional Neural Networks, arXiv 1701.04128.
"""
import inspect
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

import common  # noqa: F401, first: without an environment, says in one line how to make it
import numpy as np

from common import cli, diagrams, images, runs, session
from common.errors import ComputationError
from common.progress import Progress
from common.session import tf
from datasets import mnist
from networks import vgg
from synthesis import content

RECIPE = 'concepts'
# The worked example: no symmetry, so that a mistake in order or direction changes the numbers.
INPUT = np.array([[1, 2, 0, 1, 3],
                  [0, 1, 2, 3, 1],
                  [2, 0, 1, 0, 2],
                  [1, 3, 0, 2, 0],
                  [0, 1, 1, 0, 1]], np.float32)
KERNEL = np.array([[0, 1, 2],
                   [1, 0, -1],
                   [2, 0, 1]], np.float32)
PATCH = np.array([[1, 3, 2, 0],
                  [5, 7, 4, 2],
                  [0, 1, 8, 6],
                  [3, 0, 2, 4]], np.float32)
# (layer, kernel, stride) from the image on; of Inception the largest kernel of each module, 5x5.
NETWORKS = {
    'MNIST': [('conv1', 5, 1), ('pool1', 2, 2), ('conv2', 5, 1), ('pool2', 2, 2)],
    'CIFAR-10, book': [('conv1', 3, 1), ('pool1', 2, 2), ('conv2', 3, 1), ('conv3', 3, 1), ('pool2', 2, 2)],
    'CIFAR-10, airbench': [('patches', 2, 1), ('conv1', 3, 1), ('pool1', 2, 2), ('conv2', 3, 1), ('conv3', 3, 1),
                           ('pool2', 2, 2), ('conv4', 3, 1), ('conv5', 3, 1), ('pool3', 2, 2), ('conv6', 3, 1)],
    'VGG-16': [(name, 2, 2) if name.startswith('pool') else (name, 3, 1) for name in vgg.layer_names('vgg16')],
    'Inception': [('conv2d0', 7, 2), ('maxpool0', 3, 2), ('conv2d1', 1, 1), ('conv2d2', 3, 1), ('maxpool1', 3, 2),
                  ('mixed3a', 5, 1), ('mixed3b', 5, 1), ('maxpool4', 3, 2), ('mixed4a', 5, 1), ('mixed4b', 5, 1),
                  ('mixed4c', 5, 1), ('mixed4d', 5, 1), ('mixed4e', 5, 1), ('maxpool10', 3, 2), ('mixed5a', 5, 1),
                  ('mixed5b', 5, 1)]}
CLASSIC_KERNELS = {'blur': np.full([3, 3], 1 / 9),
                   'vertical edges': np.array([[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]]),
                   'horizontal edges': np.array([[-1, -2, -1], [0, 0, 0], [1, 2, 1]]),
                   'sharpen': np.array([[0, -1, 0], [-1, 5, -1], [0, -1, 0]])}


class Material(NamedTuple):
    """What the ideas are shown on."""
    photograph: Any      # float32 [height, width, 3] in [0, 255]
    digits: Any          # uint8 [num_images, 28, 28]
    labels: Any          # int64 [num_images]
    seed: int


# ---- Computing and checking ----

def conv2d(matrix, kernel, padding='VALID', stride=1, dilation=1):
    """Applies tf.nn.conv2d to one image of one channel; returns float32 [new height, new width].

    Args:
      matrix, kernel: float [height, width].
      padding: 'VALID' or 'SAME'.
      stride, dilation: int.
    """
    return tf.nn.conv2d(tf.constant(matrix, tf.float32)[tf.newaxis, :, :, tf.newaxis],
                        tf.constant(kernel, tf.float32)[:, :, tf.newaxis, tf.newaxis],
                        strides=[1, stride, stride, 1], padding=padding,
                        dilations=[1, dilation, dilation, 1])[0, :, :, 0]


def slide(image, kernel):
    """Does what conv2d does without padding, in NumPy: sums the image's shifted copies, each times a kernel's cell."""
    height, width = np.subtract(np.shape(image), np.shape(kernel)) + 1
    return sum(float(weight) * np.asarray(image, np.float64)[row:row + height, column:column + width]
               for (row, column), weight in np.ndenumerate(kernel))


def check(computed, by_hand):
    """Returns what TensorFlow has computed, if it is what the arithmetic by hand gives; else the run ends."""
    if np.shape(computed) != np.shape(by_hand) or not np.allclose(computed, by_hand, rtol=1e-4, atol=1e-4):
        raise ComputationError(f'TensorFlow computed {np.asarray(computed).tolist()}, by hand it is '
                               f'{np.asarray(by_hand).tolist()}')
    return np.asarray(computed)


# ---- Convolution ----

def convolution(sess, material, path):
    """A convolution slides a kernel over its input. Each output cell sees a local receptive field, the framed cells:
    it is the sum of their products with the kernel. Without padding (VALID) 5×5 and a 3×3 kernel leave 3×3 positions;
    with zeros around the border (SAME) there are 5×5. What networks call a convolution is, strictly, a
    cross-correlation: the mathematician's convolution turns the kernel upside down first. A network learns its
    kernels, so it makes no difference there."""
    def by_hand(image, kernel):
        size = len(image) - 2
        return [[sum(image[i + a][j + b] * kernel[a][b] for a in range(3) for b in range(3)) for j in range(size)]
                for i in range(size)]

    turned = [[KERNEL[2 - a][2 - b] for b in range(3)] for a in range(3)]
    valid = check(sess.run(conv2d(INPUT, KERNEL)), by_hand(INPUT, KERNEL))
    same = check(sess.run(conv2d(INPUT, KERNEL, 'SAME')), by_hand(np.pad(INPUT, 1, 'constant'), KERNEL))
    convolved = check(sess.run(conv2d(INPUT, turned)), by_hand(INPUT, turned))

    diagrams.convolution(path, INPUT, KERNEL, turned, valid, convolved, same)
    return {'valid': valid, 'same': same, 'true_convolution': convolved}


def sliding_kernel(sess, material, path):
    """The kernel slides over the padded input, and each position gives one number of the output."""
    padded, same = np.pad(INPUT, 1, 'constant'), sess.run(conv2d(INPUT, KERNEL, 'SAME'))
    check([[(padded[row:row + 3, column:column + 3] * KERNEL).sum() for column in range(5)] for row in range(5)], same)
    return {'frames': diagrams.sliding_kernel(path, padded, same)}


def stride_and_dilation(sess, material, path):
    """A stride of 2 keeps every second position. A dilation of 2 spreads the kernel's cells two apart: 3×3 weights
    reach over 5×5. SAME pads so that the output has ⌈n / stride⌉ cells; where the padding is odd, the larger half goes
    behind the last cell. Input and kernel of ones count the cells that are no padding: with 4 cells, a kernel of 3 and
    stride 2 the sum is 3 at the first position and 2 at the last, so there is no padding before and one cell after.
    Other frameworks pad alike on both sides, and a network moved from there shifts by a pixel."""
    valid = sess.run(conv2d(INPUT, KERNEL))
    strided = check(sess.run(conv2d(INPUT, KERNEL, stride=2)), valid[::2, ::2])
    spread = np.zeros([5, 5])
    spread[::2, ::2] = KERNEL
    dilated = check(sess.run(conv2d(INPUT, KERNEL, dilation=2)), [[(INPUT * spread).sum()]])
    counts = {}
    for size, kernel, stride in ((4, 3, 2), (5, 3, 2), (4, 2, 1)):
        outputs = -(-size // stride)
        total = max((outputs - 1) * stride + kernel - size, 0)
        padded = [0] * (total // 2) + [1] * size + [0] * (total - total // 2)
        counts[size, kernel, stride] = check(
            sess.run(conv2d(np.ones([1, size]), np.ones([1, kernel]), 'SAME', stride))[0],
            [sum(padded[start:start + kernel]) for start in range(0, outputs * stride, stride)])
    diagrams.stride_and_dilation(path, INPUT, strided, spread, dilated, counts)
    return {'stride_2': strided, 'dilation_2': dilated,
            **{f'same_{size}_kernel_{kernel}_stride_{stride}': count
               for (size, kernel, stride), count in counts.items()}}


def output_sizes(sess, material, path, size=28):
    """Over n cells, with p cells of padding on each side, a kernel of k cells at stride s has
    o = ⌊(n + 2p − k) / s⌋ + 1 positions. The table is for n = 28, a digit's pixels: a 5×5 kernel leaves 24×24."""
    kernels, columns = (1, 2, 3, 5, 7), [(stride, padding) for stride in (1, 2, 3) for padding in (0, 1, 2, 3)]
    outputs = sess.run([[conv2d(np.zeros([size + 2 * padding] * 2), np.zeros([kernel] * 2), stride=stride)
                         for stride, padding in columns] for kernel in kernels])
    table = np.array([[len(output) for output in row] for row in outputs])
    check(table, [[(size + 2 * padding - kernel) // stride + 1 for stride, padding in columns] for kernel in kernels])
    diagrams.output_sizes(path, table, size, kernels, columns, framed=(kernels.index(5), columns.index((1, 0))))
    return {f'kernel_{kernel}': row for kernel, row in zip(kernels, table)}


def layouts(sess, material, path):
    """A batch of images has four axes: N, the image; H and W, the position; C, the channel. TensorFlow's default is
    NHWC: the channels of a pixel lie side by side in memory, value (h, w, c) at (h·W + w)·C + c. NCHW keeps each
    channel together, the same value at (c·H + h)·W + w; NVIDIA's libraries prefer it. The values are the same, and so
    is every convolution; only their order differs (`data_format`)."""
    height, width, channels = 2, 3, 2
    nhwc = np.arange(height * width * channels).reshape(1, height, width, channels)
    nchw = sess.run(tf.transpose(tf.constant(nhwc), [0, 3, 1, 2]))
    in_memory = {'NHWC': check(sess.run(tf.reshape(nhwc, [-1])), range(12)),
                 'NCHW': check(sess.run(tf.reshape(nchw, [-1])), [
                     (h * width + w) * channels + c
                     for c in range(channels) for h in range(height) for w in range(width)])}
    diagrams.layouts(path, nhwc[0], in_memory)
    return in_memory


# ---- Shared weights, pooling ----

def shared_weights(sess, material, path, shift=5):
    """All positions share one kernel: what it finds in one place it finds in every other. A digit that moves by five
    pixels moves its feature maps by five pixels, number for number. And there is less to learn: 32 feature maps of a
    5×5 kernel over 28×28 pixels have 32 · (5·5 + 1) = 832 weights; a fully connected layer of as many units has
    28·28 · 28·28·32 weights and 28·28·32 biases, 19.7 million."""
    canvas = np.zeros([28, 28 + shift + 4], np.float32)  # room to move
    moved = canvas.copy()
    canvas[:, :28], moved[:, shift:28 + shift] = material.digits[0], material.digits[0]
    kernels = {name: CLASSIC_KERNELS[name] for name in ('vertical edges', 'horizontal edges')}
    maps = {name: sess.run([conv2d(image, kernel, 'SAME') for image in (canvas, moved)])
            for name, kernel in kernels.items()}
    for before, after in maps.values():
        check(after[:, shift:], before[:, :-shift])
    with tf.variable_scope('weights'):
        variables = [tf.get_variable(name, shape) for name, shape in (
            ('conv', [5, 5, 1, 32]), ('conv_bias', [32]), ('dense', [784, 784 * 32]), ('dense_bias', [784 * 32]))]
    sizes = [variable.shape.num_elements() for variable in variables]
    counts = check([sizes[0] + sizes[1], sizes[2] + sizes[3]], [32 * (5 * 5 + 1), 784 * 25088 + 25088])
    diagrams.shared_weights(path, {'digit': canvas, f'moved by {shift} pixels': moved}, maps)
    return {'shift': shift, 'convolution': counts[0], 'fully_connected': counts[1]}


def pooling(sess, material, path):
    """Pooling keeps one number of every 2×2: the largest (max pooling) or the mean (average pooling). The resolution
    halves, and small movements are forgiven: an activation that moves within its 2×2 leaves the result of max pooling
    unchanged. The curves show how much a digit's edges change as the digit moves, without pooling and with more and
    more of it: ‖after − before‖ / ‖before‖."""
    four = tf.constant(PATCH)[tf.newaxis, :, :, tf.newaxis]
    largest = check(sess.run(tf.nn.max_pool(four, [1, 2, 2, 1], [1, 2, 2, 1], 'VALID'))[0, :, :, 0],
                    [[max(PATCH[i:i + 2, j:j + 2].ravel()) for j in (0, 2)] for i in (0, 2)])
    mean = check(sess.run(tf.nn.avg_pool(four, [1, 2, 2, 1], [1, 2, 2, 1], 'VALID'))[0, :, :, 0],
                 [[sum(PATCH[i:i + 2, j:j + 2].ravel()) / 4 for j in (0, 2)] for i in (0, 2)])
    changes = {size: [movement_left(sess, material.digits[0], shift, size) for shift in range(5)]
               for size in (1, 2, 4, 8)}
    diagrams.pooling(path, PATCH, largest, mean, changes)
    return {'max': largest, 'average': mean, 'change_at_one_pixel': [values[1] for values in changes.values()]}


def movement_left(sess, digit, shift, size):
    """Computes how much max pooling of size×size still shows of a digit's move to the right: a relative change."""
    pooled, by_hand = [], []
    for left in (2, 2 + shift):
        image, kernel = np.zeros([32, 40]), CLASSIC_KERNELS['vertical edges']
        image[2:30, left:left + 28] = digit
        edges = tf.nn.relu(conv2d(image, kernel, 'SAME'))[tf.newaxis, :, :, tf.newaxis]
        pooled.append(tf.nn.max_pool(edges, [1, size, size, 1], [1, size, size, 1], 'SAME'))
        positive = np.maximum(slide(np.pad(image, 1, 'constant'), kernel), 0)
        by_hand.append(positive.reshape(32 // size, size, 40 // size, size).max(axis=(1, 3)))
    change = np.sqrt(np.sum((by_hand[1] - by_hand[0]) ** 2) / np.sum(by_hand[0] ** 2))
    return float(check(sess.run(tf.norm(pooled[1] - pooled[0]) / tf.norm(pooled[0])), change))


# ---- Receptive fields ----

def receptive_field(layers):
    """Computes the receptive field and the step ("jump") of each layer, from the image on.

    Args:
      layers: list of (name, kernel, stride).

    Returns:
      list of (name, pixels of a side that a unit sees, pixels from one unit to the next).

    Source: Araujo et al. 2019: r += (kernel − 1) · jump, then jump *= stride, from r = jump = 1.
    """
    field, jump, found = 1, 1, []
    for name, kernel, stride in layers:
        field += (kernel - 1) * jump
        jump *= stride
        found.append((name, field, jump))
    return found


def receptive_fields(sess, material, path):
    """A unit of the first layer sees k×k pixels. Each layer above adds (k − 1) · jump, the jump being the pixels from
    one unit of its input to the next, the product of the strides so far. The frames show what one unit of the last
    layers of each recipe's network sees of the photograph, at 224 pixels; Inception's sees more than there is."""
    fields = {network: receptive_field(layers) for network, layers in NETWORKS.items()}
    diagrams.receptive_fields(path, images.center_square(material.photograph, 224), fields)
    return {network: dict(zip(('layer', 'field', 'jump'), layers[-1])) for network, layers in fields.items()}


def effective_field(sess, material, path, layer='conv3_3', size=64, batch=16):
    """Not every pixel of a receptive field counts alike: the gradient of one unit with respect to the pixels tells how
    much each does. Through n layers of 3×3 ones the gradient is the number of ways from the pixel to the unit; two give
    1 2 3 2 1 each way, and more of them a bell curve. Right: the mean absolute gradient of units of VGG-16's conv3_3,
    with random weights over random images. The frame is the theoretical field, 40 pixels; what counts, more than 4.55 %
    of the peak (Luo et al.), is smaller."""
    profiles = {}
    for depth in (1, 2, 4, 8):
        image = tf.zeros([1, 2 * depth + 1, 2 * depth + 1, 1])
        units, ways = image, np.array([1])
        for _ in range(depth):
            units = tf.nn.conv2d(units, tf.ones([3, 3, 1, 1]), 1, 'VALID')
            ways = np.convolve(ways, [1, 1, 1])
        profiles[depth] = check(sess.run(tf.gradients(units, image)[0])[0, :, :, 0], np.outer(ways, ways))

    random, weights, channels = np.random.RandomState(material.seed), {}, 3
    for name in vgg.layer_names('vgg16'):
        if name.startswith('conv'):
            weights[name] = (np.float32(random.normal(0, np.sqrt(2 / 9 / channels), [3, 3, channels, 16])),
                             np.zeros(16, np.float32))
            channels = 16
    pixels = tf.constant(random.uniform(0, 255, [batch, size, size, 3]), tf.float32)
    units = vgg.vgg(pixels, weights, 'vgg16', layer, pooling='max')[layer]
    middle = units.shape.as_list()[1] // 2
    gradient = np.abs(sess.run(tf.gradients(units[:, middle, middle], pixels)[0])).mean(axis=(0, 3))
    theoretical = {name: field for name, field, _ in receptive_field(NETWORKS['VGG-16'])}[layer]
    rows, columns = np.nonzero(gradient)
    check(np.ptp(rows) + 1 <= theoretical and np.ptp(columns) + 1 <= theoretical, True)
    effective = float(np.sqrt(np.sum(gradient > 0.0455 * gradient.max())))
    diagrams.effective_field(path, profiles, gradient, (rows.min(), columns.min(), theoretical, theoretical),
                             f"VGG-16's {layer}: {theoretical} pixels\nin theory, {effective:.0f} count")
    return {'two_layers': profiles[2], 'theoretical': theoretical, 'effective': effective}


# ---- Kernels by hand, filters by learning ----

def kernels_and_filters(sess, material, path):
    """Before networks learned their filters, people designed them: a mean blurs, differences find edges (Sobel), a cell
    less its neighbors sharpens. A trained network's first layer has filters of the same kinds, since they serve: below,
    those of a small network after 150 steps on the bundled digits."""
    gray = images.to_gray(images.fit(material.photograph, 256))
    made = {name: sess.run(conv2d(gray, kernel, 'SAME')) for name, kernel in CLASSIC_KERNELS.items()}
    for name, kernel in CLASSIC_KERNELS.items():
        check(made[name] / 255, slide(np.pad(gray, 1, 'constant'), kernel) / 255)
    diagrams.kernels_and_filters(path, CLASSIC_KERNELS, made, learn_filters(sess, material))
    return {name: float(np.abs(image).mean()) for name, image in made.items()}


def learn_filters(sess, material, num_filters=16, num_steps=150, batch_size=64):
    """Learns the filters of a small network, float32 [5, 5, 1, num_filters], from the digits."""
    inputs, labels = tf.placeholder(tf.float32, [None, 28, 28]), tf.placeholder(tf.int64, [None])
    filters = tf.get_variable('filters', [5, 5, 1, num_filters], initializer=tf.random_normal_initializer(
        stddev=0.1, seed=material.seed))
    layer = tf.nn.relu(tf.nn.conv2d(inputs[..., tf.newaxis] / 255, filters, 2, 'SAME'))
    layer = tf.reshape(tf.nn.max_pool2d(layer, 2, 2, 'SAME'), [-1, 7 * 7 * num_filters])
    logits = tf.matmul(layer, tf.get_variable('logits', [7 * 7 * num_filters, 10],
                                              initializer=tf.zeros_initializer()))
    loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=logits))
    optimizer = tf.train.AdamOptimizer(0.01)
    train_op = optimizer.minimize(loss, var_list=tf.trainable_variables('filters') + tf.trainable_variables('logits'))
    sess.run(tf.variables_initializer([filters, *tf.trainable_variables('logits'), *optimizer.variables()]))
    random = np.random.RandomState(material.seed)
    for _ in range(num_steps):
        chosen = random.randint(len(material.digits), size=batch_size)
        sess.run(train_op, {inputs: material.digits[chosen], labels: material.labels[chosen]})
    return sess.run(filters)


# ---- One and three dimensions ----

def sound(sess, material, path, rate=4000, length=64):
    """Convolution works along time as it does along rows: `tf.nn.conv1d`. A chirp rises from 200 to 1,800 Hz in two
    seconds. Each filter is a short piece of one tone, and answers when the chirp passes its frequency f, at
    (f − 200) / 1,600 · 2 seconds."""
    seconds = np.arange(2 * rate) / rate
    chirp = np.sin(2 * np.pi * (200 * seconds + 800 * seconds ** 2 / 2))     # its frequency is 200 + 800 t
    tones = np.arange(300, 1800, 200)
    window, times = np.hanning(length), np.arange(length) / rate
    filters = np.stack([window * wave(2 * np.pi * tone * times) for tone in tones for wave in (np.cos, np.sin)], 1)
    answers = tf.nn.conv1d(tf.constant(chirp[np.newaxis, :, np.newaxis], tf.float32),
                           tf.constant(filters[:, np.newaxis], tf.float32), stride=8, padding='SAME')
    energy = sess.run(tf.norm(tf.reshape(answers, [-1, len(tones), 2]), axis=2))  # cosine and sine: whatever the phase
    found = np.argmax(energy, axis=0) * 8 / rate
    check(np.abs(found - (tones - 200) / 800) < length / rate, np.full(len(tones), True))
    tiny = check(sess.run(tf.nn.conv1d(tf.constant([[[1.], [2.], [4.], [7.]]]), tf.constant([[[-1.]], [[1.]]]), 1,
                                       'VALID'))[0, :, 0], [2 - 1, 4 - 2, 7 - 4])
    diagrams.sound(path, seconds[:rate // 4], chirp[:rate // 4], energy, extent=(0, 2, 200, 1800))
    return {'differences': tiny, 'tones': tones, 'seconds': found}


def clip(sess, material, path, frames=8, size=12):
    """A clip has three dimensions: time, height, width, and `tf.nn.conv3d` kernels that see how things move. A bar
    moves to the right by a pixel a frame. The kernel with its ones on the diagonal of time and width adds up three of
    its pixels, the mirrored one never more than one: the two tell direction, which no single frame shows."""
    bar = np.zeros([frames, size, size], np.float32)
    for frame in range(frames):
        bar[frame, 2:-2, 2 + frame] = 1
    rightward = np.eye(3)[:, np.newaxis, :, np.newaxis, np.newaxis]     # [time, height, width, in, out]
    kernels = np.concatenate([rightward, rightward[:, :, ::-1]], axis=4)
    answers = [sess.run(tf.nn.conv3d(tf.constant(moving[np.newaxis, ..., np.newaxis], tf.float32),
                                     tf.constant(kernels, tf.float32), [1] * 5, 'VALID'))[0]
               for moving in (bar, bar[:, :, ::-1])]
    largest = check([answer.max(axis=(0, 1, 2)) for answer in answers], [[1 + 1 + 1, 1], [1, 1 + 1 + 1]])
    diagrams.clip(path, bar, kernels[:, 0, :, 0, 0], answers)
    return {'moving_right': largest[0], 'moving_left': largest[1]}


IDEAS = {convolution: '.png', sliding_kernel: '.gif', stride_and_dilation: '.png', output_sizes: '.png',
         layouts: '.png', shared_weights: '.png', pooling: '.png', receptive_fields: '.png', effective_field: '.png',
         kernels_and_filters: '.png', sound: '.png', clip: '.png'}  # to the picture's extension, in the page's order


# ---- Command line ----

def parse_args(argv):
    """Parses the command line; see --help."""
    parser = cli.make_parser(__doc__)
    group = parser.add_argument_group('what is shown')
    group.add_argument('--content', type=Path, metavar='FILE', help='a photograph (default: a raccoon)')
    return cli.parse_args(parser, argv, RECIPE)


@cli.exit_codes
def main(argv=None):
    """Runs the recipe; returns its exit code."""
    started = time.monotonic()
    args = parse_args(argv)
    photograph = images.load_image(args.content or content.RACCOON)
    sample, device = mnist.load_sample(), session.describe_device(args.device, args.threads)
    material = Material(photograph=photograph, digits=sample.train_images, labels=sample.train_labels, seed=args.seed)
    run_dir = args.run_dir or runs.create(args.output_dir, RECIPE, settings=args.settings, seed=args.seed,
                                          device=device)
    if not args.quiet:
        print(f'{device}\nthis run: {run_dir}')
    numbers = {}
    with tf.Graph().as_default() as graph, session.open_session(graph, args.device, args.threads, args.xla == 'on') \
            as sess, Progress(len(IDEAS), quiet=args.quiet) as progress, cli.stop_requested() as stop:
        for idea, extension in IDEAS.items():
            if stop.requested:
                raise cli.Interrupted(f'after {cli.plural(len(numbers), "idea")} of {len(IDEAS)}')
            numbers[idea.__name__] = idea(sess, material, run_dir / f'{idea.__name__}{extension}')
            progress.update()
    diagrams.write_page(run_dir / 'concepts.html', 'Convolutional networks: the ideas', [
        (f'{idea.__name__}{extension}', inspect.getdoc(idea), numbers[idea.__name__])
        for idea, extension in IDEAS.items()])
    seconds = runs.total_seconds(run_dir, started)
    runs.write_record(run_dir, seconds=seconds, results=numbers, versions=runs.versions())
    print(f'{len(IDEAS)} ideas, every number checked by hand, in {seconds:.0f} s: {run_dir / "concepts.html"}')


if __name__ == '__main__':
    sys.exit(main())
