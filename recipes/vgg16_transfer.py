"""Transfer learning: a folder of labeled photographs becomes a classifier, on top of a pre-trained VGG-16.

The idea. A network that has learned to tell a thousand kinds of things apart in a million photographs knows edges,
textures, eyes and fur; what it lacks for other classes is the last step. So its convolutions are taken over, a small
new network (the head) is put in place of its classifier, and as much of the whole is trained as the data can bear:

- *Features once*: what the frozen layers make of an image never changes, so it is computed once per image and view
  (as it is, mirrored) and kept on disk. An epoch then costs what the trained layers cost.
- *Stage 1* trains the head alone. From an untrained head the gradients are noise, and would spoil what the
  convolutions know.
- *Stage 2* (fine-tuning) trains the last block of convolutions along with the head, in small steps.
- The validation images choose (when to stop, which weights); the test images are looked at once, at the end.

How much to train, by rule of thumb: little data, like ImageNet's: the head (--fine-tune none) or the last block
(block5, the default, for 2,000 cats and dogs); much data, like ImageNet's: everything (all), for a few epochs; another
kind of data (X-rays, drawings): start from these weights anyway, and train everything.

More: Yosinski et al. 2014, How transferable are features in deep neural networks?, arXiv 1411.1792.

Usage:
    python recipes/vgg16_transfer.py --data-dir DIR          train/ and validation/, or a folder per class, or a zip
                                         2,000 cats and dogs: about 98 % of those held out; 26 minutes on two cores
    python recipes/vgg16_transfer.py --data-dir DIR --fine-tune none     the head alone: a minute, features cached
    python recipes/vgg16_transfer.py --predict photo.jpg folder/         with the latest run
    python recipes/vgg16_transfer.py --resume                            go on with a run that was stopped
    python recipes/vgg16_transfer.py --data-dir DIR --book               the cookbook chapter's settings
"""
import argparse
import contextlib
import csv
import json
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple, Tuple

import numpy as np

from common import cli, evaluation, files, images, plotting, reports, runs, session
from training.batches import batch_indices, prefetch
from common.errors import ComputationError, InputError
from common.session import keras, tf
from common.training_journal import Journal
from datasets import image_folder, layouts, photographs, views
from networks import grad_cam, vgg, vgg_classifier, vgg_keras
from training.bottleneck_features import BottleneckFeatures, Images
from networks.vgg_classifier import TOP_LAYER

RECIPE = 'vgg16_transfer'
# --fine-tune: the deepest layer that stays frozen. Up to block4_pool are the cookbook's 15 frozen layers.
FROZEN_UP_TO = {'none': 'block5_pool', 'block5': 'block4_pool', 'block4': 'block3_pool', 'all': None}
MOMENTUM = 0.9                    # of --book
VALIDATIONS_PER_EPOCH = 2         # of stage 2; stage 1 has one
SHOWN = 8                         # Grad-CAMs of right, and of wrong predictions
MAX_ON_SHEET = 48                 # predicted pictures
# Options that say where things are: a run that is resumed looks there again unless told otherwise.
PLACES = ('data_dir', 'models_dir', 'weights_path', 'features_dir')
# What --book sets: the chapter's figures. It pushes every image through all of VGG-16 in every epoch, divides pixels by
# 255, and trains block 5 from an untrained head of Flatten, 256 units and a sigmoid.
BOOK = {'size': 256, 'batch_size': 16, 'epochs': 50, 'head_epochs': 0, 'learning_rate': 1e-4, 'pooling': 'flatten',
        'hidden_units': 256, 'keep_prob': 0.5, 'early_stopping': 0}


class Stage(NamedTuple):
    """The tensors and operations of one stage: from where its inputs come in up to the loss."""
    inputs: Any          # placeholder [batch] + a layer's shape: float16 features, or uint8 images
    labels: Any          # placeholder int64 [batch]
    keep_prob: Any       # placeholder float32 [], 1.0 unless fed
    probabilities: Any   # float32 [batch, num_classes]
    loss: Any            # float32 [], mean cross-entropy, each image weighted as its class
    accuracy: Any        # float32 [], fraction of the batch
    train_op: Any        # one step of the stage's optimizer
    trained: Tuple       # the variables that it changes


def build_model(args, num_classes):
    """Adds VGG-16 with a new head to the default graph, its frozen layers marked so; see vgg_classifier.build."""
    return vgg_classifier.build(args.size, num_classes, FROZEN_UP_TO[args.fine_tune], args.pooling, args.hidden_units,
                                1 - args.keep_prob, sigmoid=args.book, seed=args.seed)


def build_stage(name, model, layer_name, trained, optimizer, class_weights, args):
    """Adds a stage to the default graph.

    Args:
      name: str, its scope.
      model: keras.Model from build_model.
      layer_name: str, the layer whose features come in; None for images.
      trained: list of variables.
      optimizer: function of the step, int64 [], to a tf.train.Optimizer.
      class_weights: float [num_classes].
      args: the option seed.

    Returns:
      Stage.
    """
    with tf.variable_scope(name):
        shape = model.get_layer(layer_name).output.shape[1:] if layer_name else model.input.shape[1:]
        inputs = tf.placeholder(tf.float16 if layer_name else tf.uint8, [None] + shape.as_list(), name='inputs')
        labels = tf.placeholder(tf.int64, [None], name='labels')
        keep_prob = tf.placeholder_with_default(1.0, [], name='keep_prob')
        step = tf.get_variable('step', initializer=np.int64(0), trainable=False)
        logits = vgg_classifier.logits_from(model, layer_name, tf.cast(inputs, tf.float32), keep_prob,
                                            tf.stack([args.seed, tf.cast(step, tf.int32)]))
        cross_entropy = tf.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=logits)
        loss = tf.reduce_mean(tf.gather(tf.constant(class_weights, tf.float32), labels) * cross_entropy)
        accuracy = tf.reduce_mean(tf.cast(tf.equal(tf.argmax(logits, axis=1), labels), tf.float32))
        train_op = optimizer(step).minimize(loss, step, trained) if trained else None
    return Stage(inputs, labels, keep_prob, tf.nn.softmax(logits), loss, accuracy, train_op, tuple(trained))


def build_stages(model, args, num_steps, class_weights):
    """Adds both stages, as far as they are asked for.

    Args:
      model: keras.Model from build_model.
      args: the options.
      num_steps: (int, int), the steps of stage 1 and of stage 2.
      class_weights: float [num_classes].

    Returns:
      (Stage, Stage), the second None for --fine-tune none.
    """
    head = [variable for layer in vgg_classifier.layers_above(model, TOP_LAYER) for variable in layer.trainable_weights]
    head_stage = build_stage('stage1', model, TOP_LAYER, head, lambda step: tf.train.AdamOptimizer(
        decaying(args.head_learning_rate, step, num_steps[0])), class_weights, args)
    if args.fine_tune == 'none':
        return head_stage, None

    def optimizer(step):
        if args.book:
            return tf.train.MomentumOptimizer(args.learning_rate, MOMENTUM)
        return tf.train.AdamOptimizer(decaying(args.learning_rate, step, num_steps[1]))
    return head_stage, build_stage('stage2', model, fine_tuned_from(args), model.trainable_weights, optimizer,
                                   class_weights, args)


def fine_tuned_from(args):
    """Returns the layer whose features stage 2 starts from; None for the images themselves."""
    return None if args.book else FROZEN_UP_TO[args.fine_tune]


def decaying(learning_rate, step, num_steps):
    """Computes the learning rate of a step: half a cosine, from `learning_rate` down to zero at the last step.

    Source: Loshchilov and Hutter 2017, arXiv 1608.03983, eq. 5, one period.
    """
    return learning_rate * 0.5 * (1 + tf.cos(np.pi * tf.cast(step, tf.float32) / max(num_steps, 1)))


def train(sess, stage, read, examples, num_steps, args, first_step, after_step):
    """Trains a stage to num_steps, or until after_step says that it is enough.

    An epoch takes each image once, in a view that the seed and the step draw.

    Args:
      sess: tf.Session with initialized or restored variables.
      stage: Stage.
      read: function of (paths, sums, views) to what the stage's inputs take.
      examples: photographs.Examples.
      num_steps: int.
      args: the options batch_size, views, seed and keep_prob.
      first_step: int, steps done before.
      after_step: called with (steps done, loss, accuracy on the batch) after each step; True ends the training.

    Raises:
      ComputationError: the loss is not a number any more.
    """
    names, size = np.array(views.view_names(args.views)), min(args.batch_size, len(examples.labels))

    def load(step):
        chosen = batch_indices(step, size, len(examples.labels), args.seed)
        drawn = names[np.random.RandomState([args.seed, step]).randint(len(names), size=size)]
        return read(examples.paths[chosen], examples.sums[chosen], drawn), examples.labels[chosen]

    steps = range(first_step, num_steps)
    with contextlib.closing(prefetch(load, steps)) as batches:
        for step, (inputs, labels) in zip(steps, batches):
            _, loss, accuracy = sess.run([stage.train_op, stage.loss, stage.accuracy], {
                stage.inputs: inputs, stage.labels: labels, stage.keep_prob: args.keep_prob})
            if not np.isfinite(loss):
                raise ComputationError('the loss is %s in step %d; what was saved before is kept; try a smaller '
                                       'learning rate' % (loss, step + 1))
            if after_step(step + 1, float(loss), float(accuracy)):
                return


def predict(sess, stage, read, examples, view='original'):
    """Computes class probabilities in batches that fit any memory.

    Args:
      sess: tf.Session.
      stage: Stage.
      read: function of (paths, sums, views) to what the stage's inputs take.
      examples: photographs.Examples.
      view: str.

    Returns:
      float32 [num_images, num_classes].
    """
    at_once = vgg_keras.images_at_once(stage.inputs.shape[1].value)
    parts = [slice(start, start + at_once) for start in range(0, len(examples.labels), at_once)]
    batches = prefetch(lambda part: read(examples.paths[part], examples.sums[part],
                                         [view] * len(examples.labels[part])), parts)
    return np.concatenate([sess.run(stage.probabilities, {stage.inputs: inputs}) for inputs in batches])


def fit(sess, stage, read, data, journal, args):
    """Trains a stage with progress, validation and an ear for Ctrl-C; see train()."""
    with cli.stop_requested() as stop:
        def after_step(*figures):
            return journal.after_step(*figures) or stop.requested
        try:
            if not journal.finished():
                train(sess, stage, read, data.train, journal.num_steps, args, journal.state['step'], after_step)
        finally:
            journal.close()
    if not journal.finished():
        if journal.save_between:
            journal.keep(journal.state)
        raise cli.Interrupted(f"step {journal.state['step']} of {journal.num_steps} is done")


def train_head(sess, stage, read, data, num_steps, args):
    """Stage 1: trains the head on the features of all the convolutions, and leaves it with its best weights.

    It lasts a minute, so nothing is saved on the way: a run that is resumed does it again.

    Args:
      sess, stage, read, args: see train.
      data: photographs.Photographs.
      num_steps: int.

    Returns:
      dict, the journal's state.
    """
    best = []

    def keep(state):
        if state['best_step'] == state['step']:
            best[:] = sess.run(stage.trained)

    journal = Journal('stage1', num_steps, _epoch_steps(data, args),
                      lambda: predict(sess, stage, read, data.validation), data.validation.labels, keep, args,
                      save_between=False)
    fit(sess, stage, read, data, journal, args)
    for variable, value in zip(stage.trained, best):
        variable.load(value, sess)
    return journal.state


def fine_tune(sess, stage, read, data, num_steps, saver, state, args):
    """Stage 2: trains the head and the layers below it that --fine-tune names; leaves them with their best weights.

    Args:
      sess, stage, read, args: see train.
      data: photographs.Photographs.
      num_steps: int.
      saver: tf.train.Saver over all variables.
      state: dict, of the checkpoint that the variables were restored from.

    Returns:
      dict, the journal's state.
    """
    def keep(state):
        runs.save_checkpoint(args.run_dir, saver, sess, state['step'], state)

    every = -(-_epoch_steps(data, args) // VALIDATIONS_PER_EPOCH)
    journal = Journal('stage2', num_steps, every, lambda: predict(sess, stage, read, data.validation),
                      data.validation.labels, keep, args, state)
    fit(sess, stage, read, data, journal, args)
    if journal.state['best_step'] != journal.state['step']:
        runs.restore_checkpoint(args.run_dir, saver, sess, journal.state['best_step'])
    return journal.state


def _epoch_steps(data, args):
    return -(-len(data.train.labels) // min(args.batch_size, len(data.train.labels)))


def run(args, data, weights, features):
    """Trains in both stages, from the last checkpoint where there is one, and evaluates the best weights.

    Args:
      args: the options; run_dir is the run's folder.
      data: photographs.Photographs.
      weights: dict from networks.vgg.load_weights.
      features: from obtain_features.

    Returns:
      dict of results for run.json, with 'accuracy', an evaluation.Accuracy.
    """
    state, epoch = runs.load_state(args.run_dir), _epoch_steps(data, args)
    num_steps = args.head_epochs * epoch, args.steps or args.epochs * epoch
    counts = np.bincount(data.train.labels)
    class_weights = counts.sum() / (len(counts) * counts) if args.class_weights else np.ones(len(counts))
    with tf.Graph().as_default() as graph, session.open_session(device=args.device, threads=args.threads,
                                                                xla=args.xla == 'on') as sess:
        keras.backend.set_session(sess)
        tf.set_random_seed(args.seed)
        model = build_model(args, len(data.class_names))
        stage1, stage2 = build_stages(model, args, num_steps, class_weights)
        explainer, saver = vgg_classifier.explain(model), tf.train.Saver(max_to_keep=0)
        sess.run(tf.global_variables_initializer())
        vgg_keras.set_weights(model, weights, args.book)
        write_summary(model, args.run_dir)
        graph.finalize()

        def reader(stage_layer):
            if stage_layer:
                return lambda paths, sums, shown: features.read(stage_layer, sums, shown)
            return lambda paths, sums, shown: photographs.read_images(paths, sums, shown, args.size, args.threads)

        stage, read = stage1, reader(TOP_LAYER)
        if state is None:
            state = start(sess, stage1, read, data, num_steps[0], saver, args)
        else:
            runs.restore_checkpoint(args.run_dir, saver, sess, state['step'])
        if stage2:
            stage, read = stage2, reader(fine_tuned_from(args))
            state = fine_tune(sess, stage, read, data, num_steps[1], saver, state, args)
        plot_training(args.run_dir)
        return dict(report(sess, stage, read, explainer, data, args), best_step=state['best_step'],
                    validation_accuracy=state['validation_accuracy'],
                    seconds_per_step=state['training_seconds'] / max(state['step'], 1))


def start(sess, stage, read, data, num_steps, saver, args):
    """Trains the head, if it is to be, and saves what stage 2 starts from as the checkpoint of its step 0."""
    state = None
    if num_steps:
        found = train_head(sess, stage, read, data, num_steps, args)
        runs.write_record(args.run_dir, stage1={name: found[name] for name in (
            'step', 'best_step', 'validation_loss', 'validation_accuracy')})
        state = dict(found, step=0, best_step=0, disappointments=0, sums=[0, 0.0, 0.0], training_seconds=0.0)
        runs.save_checkpoint(args.run_dir, saver, sess, 0, state)
    return state


def write_summary(model, run_dir):
    """Writes the table of layers that Keras prints."""
    lines = []
    model.summary(line_length=80, print_fn=lines.append)
    with files.replacing(run_dir / 'summary.txt') as beside:
        beside.write_text('\n'.join(lines) + '\n')


def plot_training(run_dir):
    """Draws loss and accuracy over the steps of each stage."""
    for name, title in (('stage1', 'Stage 1, the head'), ('stage2', 'Stage 2, fine-tuning')):
        if not (run_dir / (name + '.csv')).exists():
            continue
        rows = runs.read_metrics(run_dir / (name + '.csv'))
        steps = [row['step'] for row in rows]
        for quantity, log in (('loss', True), ('accuracy', False)):
            plotting.plot_curves(run_dir / (f'{name}_{quantity}.png'), {
                part: (steps, [row[f'{part}_{quantity}'] for row in rows]) for part in ('training', 'validation')
            }, f'{title}: {quantity}', 'step', quantity, log=log)


def report(sess, stage, read, explainer, data, args):
    """Measures accuracy on the test images, which nothing was chosen by, and draws what went wrong.

    Args:
      sess, stage, read, args: see train.
      explainer: vgg_classifier.Explained.
      data: photographs.Photographs.

    Returns:
      dict with 'accuracy', an evaluation.Accuracy, and with --tta 'accuracy_with_flip', another.
    """
    labels, names = data.test.labels, data.class_names
    probabilities = predict(sess, stage, read, data.test)
    found = {'accuracy': reports.report(args.run_dir, labels, probabilities, names, lambda shown: (
        image_folder.load_batch(list(data.test.paths[shown]), args.size, args.threads)))}
    write_predictions(args.run_dir / 'test_predictions.csv', data.test.paths, probabilities, names)
    right = np.flatnonzero(np.argmax(probabilities, axis=1) == labels)
    right = right[np.random.RandomState(args.seed).permutation(len(right))[:SHOWN]]
    wrong = evaluation.most_confident_mistakes(labels, probabilities, SHOWN)
    for name, shown in (('right', np.sort(right)), ('wrong', wrong)):
        explain(sess, explainer, data.test.paths[shown], names, args,
                args.run_dir / (f'grad_cam_{name}.png'), f'Where the network looked: predictions that are {name}')
    if args.tta == 'flip':
        both = (probabilities + predict(sess, stage, read, data.test, 'flip')) / 2
        found['accuracy_with_flip'] = evaluation.accuracy(labels, np.argmax(both, axis=1))
    return found


def explain(sess, explainer, paths, class_names, args, sheet, title=None):
    """Classifies pictures, and draws each beside the map of what spoke for its class.

    Args:
      sess: tf.Session.
      explainer: vgg_classifier.Explained.
      paths: sequence of Path.
      class_names: sequence of str.
      args: the options size and threads.
      sheet: Path of the picture to write.
      title: str or None.

    Returns:
      float32 [len(paths), num_classes], probabilities.
    """
    probabilities, shown, captions, at_once = [], [], [], vgg_keras.images_at_once(args.size)
    for start in range(0, len(paths), at_once):
        part = list(paths[start:start + at_once])
        pixels = image_folder.load_batch(part, args.size, args.threads)
        found, maps = sess.run([explainer.probabilities, explainer.maps], {explainer.images: pixels})
        probabilities.extend(found)
        for path, image, row, heat_map in list(zip(part, pixels, found, maps))[:max(0, MAX_ON_SHEET - start)]:
            shown += [image, grad_cam.overlay(image, heat_map)]
            captions += [f'{path.name}: {class_names[np.argmax(row)]} {100 * row.max():.1f}\u00a0%', '']
    plotting.plot_image_grid(sheet, shown, captions, columns=min(4, max(len(shown), 1)), title=title)
    return np.array(probabilities)


def write_predictions(path, pictures, probabilities, class_names):
    """Writes a line per picture: its file, the class, that class's probability, and the probability of each."""
    with files.replacing(path) as beside, beside.open('w', newline='', encoding='utf-8', errors='surrogateescape') as f:
        writer = csv.writer(f)
        writer.writerow(['file', 'class', 'probability'] + ['p_' + name for name in class_names])
        for picture, row in zip(pictures, probabilities):
            writer.writerow([str(picture), class_names[np.argmax(row)], f'{row.max():.6f}'] + [f'{p:.6f}' for p in row])


def look_at_data(data, say):
    """Says what was found, how it is split, and what is left out."""
    say('{}: {}'.format(data.how, ', '.join('%d %s' % (len(getattr(data, part).labels), part)
                                        for part in image_folder.PARTS)))
    say('classes: {}'.format(', '.join(data.class_names)))
    for path, why in data.left_out:
        say(f'left out: {path}: {why}')


def obtain_features(args, data, weights, say):
    """Opens the features that the stages read, and computes those that are not there yet.

    Returns:
      BottleneckFeatures; None where the stages read images alone.
    """
    layers = [TOP_LAYER] if args.head_epochs else []
    if fine_tuned_from(args) and fine_tuned_from(args) not in layers:
        layers.append(fine_tuned_from(args))
    names = views.view_names(args.views)
    parts = [Images(part.paths, part.sums, shown) for part, shown in (
        (data.train, names), (data.validation, names[:1]), (data.test, names[:2 if args.tta == 'flip' else 1]))]
    if not layers:
        return None
    folder = args.features_dir or files.make_dir(args.run_dir.parent / 'features', '--output-dir')
    with files.one_at_a_time(folder / '.lock', f'computes features in {folder}', args.quiet):
        features = BottleneckFeatures(folder, layers, names, args.size, vgg_keras.digest(weights))
        batches = features.missing(parts)
        for problem in features.problems():
            say(f'features in {problem}')
        say('features of %s: %d images and views to compute, in %s' % (
            ' and '.join(layers), sum(len(sums) for _, sums, _ in batches), folder))
        if batches:
            with tf.Graph().as_default(), session.open_session(device=args.device, threads=args.threads) as sess:
                keras.backend.set_session(sess)
                model = vgg_keras.vgg16(args.size)
                sess.run(tf.global_variables_initializer())
                vgg_keras.set_weights(model, weights)
                features.compute(batches, sess, model, lambda paths, sums, view: photographs.read_images(
                    paths, sums, [view] * len(sums), args.size, args.threads), args.quiet)
    return features


@contextlib.contextmanager
def trained_model(run_dir, args):
    """Builds a run's network and gives it the run's best weights.

    Args:
      run_dir: Path.
      args: the options device and threads.

    Yields:
      (tf.Session, keras.Model, vgg_classifier.Explained, class names, the run's settings).

    Raises:
      InputError: the run has no trained weights yet, or they belong to another network.
    """
    record, state = runs.read_record(run_dir), runs.load_state(run_dir) or {}
    if state.get('best_step') is None or not record.get('classes'):
        raise InputError(f'the run in {run_dir} has no trained weights yet; train with python recipes/{RECIPE}.py, or name another '
                         'run with --run DIR')
    settings = argparse.Namespace(**record['settings'])
    with tf.Graph().as_default(), session.open_session(device=args.device, threads=args.threads) as sess:
        keras.backend.set_session(sess)
        model = build_model(settings, len(record['classes']))
        explainer, saver = vgg_classifier.explain(model), tf.train.Saver(model.weights)
        sess.run(tf.global_variables_initializer())
        runs.restore_checkpoint(run_dir, saver, sess, state['best_step'])
        yield sess, model, explainer, record['classes'], settings


def classify_files(args):
    """Classifies a person's own pictures with a trained run: a line each, a table (CSV) and a sheet with Grad-CAM.

    Raises:
      InputError: no picture can be read, there is no trained run, or it knows other classes than --data-dir has.
    """
    paths = []
    for path in images.find_images(args.predict, '--predict'):
        try:
            images.load_image(path)
            paths.append(path)
        except InputError as error:
            if len(args.predict) == 1 and path == args.predict[0]:
                raise
            print(f'left out: {error}', file=sys.stderr)
    if not paths:
        raise InputError('--predict: none of the pictures can be read')
    run_dir = runs.locate(args.output_dir, RECIPE, args.run or args.run_dir or True,
                          '--run' if args.run else '--predict')
    check_same_classes(run_dir, args.data_dir)
    with trained_model(run_dir, args) as (sess, _, explainer, class_names, settings):
        settings.threads = args.threads
        sheet, table = run_dir / 'predictions.png', run_dir / 'predictions.csv'
        probabilities = explain(sess, explainer, paths, class_names, settings, sheet)
    write_predictions(table, paths, probabilities, class_names)
    for path, row in zip(paths, probabilities):
        print('{}: {}'.format(path, ', '.join(f'{class_names[k]} {100 * row[k]:.1f} %' for k in np.argsort(-row)[:3])))
    print(f'what the network looked at: {sheet}; as a table: {table}')


def check_same_classes(run_dir, data_dir):
    """Raises InputError where --data-dir is given and holds other classes than the run knows."""
    known = runs.read_record(run_dir).get('classes')
    if data_dir == cli.default_dir('data') or not known:
        return
    layout = layouts.find(data_dir)
    there = sorted(layout.parts['train']) if layout else []
    if there != sorted(known):
        raise InputError('--predict: the run in {} knows the classes {}, but --data-dir {} holds {}; name another run '
                         'with --run DIR'.format(run_dir, ', '.join(known), data_dir, ', '.join(there) or 'none'))


def export(args):
    """Writes the run's network, best weights, with its classes: a SavedModel, and Keras's .h5.

    Both take RGB in [0, 255], of the run's size. The SavedModel gives 'probabilities', 'classes' (numbers) and 'labels'
    (names); the .h5 gives probabilities, and holds the names in its attribute 'class_names', as JSON.

    Args:
      args: the options of the run.

    Returns:
      (Path of the SavedModel's folder, Path of the .h5), in the run's folder.

    Raises:
      UnavailableError, OSError: one of them cannot be written; the disk is full, for instance.
    """
    import h5py
    keras_path = args.run_dir / 'model.h5'
    with trained_model(args.run_dir, args) as (sess, model, explainer, class_names, _):
        classes = tf.argmax(explainer.probabilities, axis=1)
        outputs = {'probabilities': explainer.probabilities, 'classes': classes,
                   'labels': tf.gather(tf.constant(list(class_names)), classes)}
        folder = runs.save_model(args.run_dir, sess, {'images': explainer.images}, outputs)
        # Into memory first: HDF5, writing to a file itself, does not say that the disk is full.
        with h5py.File(keras_path.name, 'w', driver='core', backing_store=False) as file:
            model.save(file)
            file.attrs['class_names'] = json.dumps(list(class_names))
            file.flush()
            content = file.id.get_file_image()
    with files.replacing(keras_path) as beside:
        beside.write_bytes(content)
    return folder, keras_path


def parse_args(argv):
    """Parses the command line; see --help."""
    parser = cli.make_parser(__doc__, data=True, models=True)
    what = parser.add_argument_group('network')
    what.add_argument('--weights', dest='weights_path', type=Path, metavar='FILE',
                      help="VGG-16's: .h5 (Keras), .mat (MatConvNet) or .onnx")
    what.add_argument('--size', type=cli.whole_number(vgg_keras.SMALLEST_SIZE, 1024), default=224,
                      help='pixels of a side, to which photographs are brought')
    what.add_argument('--pooling', choices=tuple(vgg_classifier.POOLING), default='average',
                      help='how the head begins: the mean or the maximum of each channel, or all positions')
    what.add_argument('--hidden-units', type=cli.whole_number(0), default=256, help="of the head's layer; 0: none")
    training = parser.add_argument_group('training')
    training.add_argument('--fine-tune', choices=tuple(FROZEN_UP_TO), default='block5',
                          help='the lowest block of convolutions that stage 2 trains, with what is above it; '
                          'none: no stage 2')
    training.add_argument('--views', type=cli.whole_number(0, 99), default=0, metavar='N',
                          help='augmented views of each training image, besides itself and its mirror image')
    training.add_argument('--head-epochs', type=cli.whole_number(0), default=20, metavar='N', help='of stage 1')
    training.add_argument('--head-learning-rate', type=cli.real_number(1e-8, 10), default=1e-4, metavar='R',
                          help="stage 1's, Adam, at its highest")
    training.add_argument('--epochs', type=cli.whole_number(1), default=2, metavar='N', help='of stage 2')
    training.add_argument('--steps', type=cli.whole_number(1), metavar='N', help='of stage 2, instead of epochs')
    training.add_argument('--learning-rate', type=cli.real_number(1e-8, 10), default=1e-5, metavar='R',
                          help="stage 2's, Adam, at its highest")
    training.add_argument('--batch-size', type=cli.whole_number(1), default=32, help='images')
    training.add_argument('--keep-prob', type=cli.real_number(0.01, 1.0), default=0.5,
                          help='probability that dropout keeps a unit of the head')
    training.add_argument('--early-stopping', type=cli.whole_number(0), default=5, metavar='N',
                          help='end a stage after N validations without a lower loss; 0: never')
    training.add_argument('--class-weights', action='store_true', help='let each class count the same, rare or not')
    training.add_argument('--book', action='store_true', help="the cookbook chapter's settings; no features are kept")
    more = parser.add_argument_group('what else it does')
    more.add_argument('--tta', choices=('no', 'flip'), default='no',
                      help='report besides what the mean over a test image and its mirror image makes of it')
    more.add_argument('--features-dir', type=Path, metavar='DIR',
                      help=f"where features are kept; none: output/{RECIPE}/features")
    more.add_argument('--export', action='store_true',
                      help='write a SavedModel and a Keras .h5; with --resume, of that run')
    more.add_argument('--predict', nargs='+', type=Path, metavar='FILE', help='classify pictures, files or folders, '
                      'with a trained run')
    more.add_argument('--run', type=Path, metavar='DIR', help='the run that --predict takes instead of the latest')
    args = cli.parse_args(parser, argv, RECIPE, free=('weights_path', 'features_dir', 'export', 'predict', 'run'),
                          preset=lambda asked: BOOK if asked.book else {})
    check_options(args, parser)
    return args


def check_options(args, parser):
    """Raises InputError where options contradict each other, or one would do nothing."""
    if args.run and not args.predict:
        raise InputError(f'--run {args.run}: the run that --predict takes, and there is no --predict; to go on with a run: '
                         '--resume DIR')
    if args.book and args.head_epochs:
        raise InputError('--book --head-epochs %d: the chapter has no stage 1; leave one of them out'
                         % args.head_epochs)
    if args.fine_tune == 'none' and not args.head_epochs:
        raise InputError('--fine-tune none --head-epochs 0: nothing is trained; give --head-epochs at least 1')
    of_stage2 = [name for name in ('epochs', 'steps', 'learning_rate')
                 if getattr(args, name) != parser.get_default(name)]
    if args.fine_tune == 'none' and of_stage2 and not args.resume:
        raise InputError('--fine-tune none --{} {}: an option of stage 2, which is left out; stage 1 has --head-epochs '
                         'and --head-learning-rate'.format(of_stage2[0].replace('_', '-'), getattr(args, of_stage2[0])))


def look_where_it_was(args):
    """Takes the PLACES of a run that is resumed from its record, but for those that the command line names."""
    record, usual = runs.read_record(args.run_dir), parse_args([])
    for name in PLACES:
        if getattr(args, name) == getattr(usual, name) and record.get(name):
            setattr(args, name, Path(record[name]))


@cli.exit_codes
def main(argv=None):
    """Runs the recipe; returns its exit code."""
    args, started = parse_args(argv), time.time()
    if args.predict:
        return classify_files(args)
    say = (lambda *text: None) if args.quiet else print
    if args.run_dir:
        look_where_it_was(args)
    data = photographs.load(args.data_dir, args.seed, args.quiet)
    look_at_data(data, say)
    _, weights, source, _ = vgg.obtain_weights(args.models_dir, 'vgg16', args.weights_path, args.quiet)
    device = session.describe_device(args.device, args.threads)
    say(f'VGG-16 from {source}; {device}')
    if args.features_dir:
        files.make_dir(args.features_dir, '--features-dir')
    args.run_dir = args.run_dir or runs.create(
        args.output_dir, RECIPE, settings=args.settings, seed=args.seed,
        **{name: getattr(args, name).resolve() for name in PLACES if getattr(args, name)})
    say(f'this run: {args.run_dir}')
    runs.check_unchanged(args.run_dir, classes=list(data.class_names), images=photographs.digest(data),
                         weights=vgg_keras.digest(weights))
    runs.write_record(args.run_dir, device=device, weights_from=source, left_out=[
        f'{path}: {why}' for path, why in data.left_out])

    try:
        features = obtain_features(args, data, weights, say)
        results = run(args, data, weights, features)
        if args.export:
            say('SavedModel: {}; Keras: {}'.format(*export(args)))
    except KeyboardInterrupt:  # while features are computed, while evaluating or exporting, or a second one
        raise cli.Interrupted('features and checkpoints up to here are kept')
    finish(args, results, time.time() - started)


def finish(args, results, seconds):
    """Writes the results into run.json, and says them."""
    figures = {name: value for name, value in results.items() if not isinstance(value, evaluation.Accuracy)}
    for key, name in (('accuracy', 'test_accuracy'), ('accuracy_with_flip', 'test_accuracy_with_flip')):
        if key in results:
            found = results[key]
            figures.update({name: found.value, name + '_low': found.low, name + '_high': found.high})
    runs.write_record(args.run_dir, seconds=seconds, results=dict(figures, test_images=results['accuracy'].total,
                                                                  seconds=seconds))
    if 'accuracy_with_flip' in results:
        print('with the mirror image, test accuracy {}'.format(results['accuracy_with_flip']))
    print('validation accuracy {:.2f} %, test accuracy {} in {:.0f} s; pictures in {}'.format(
        100 * results['validation_accuracy'], results['accuracy'], seconds, args.run_dir))


if __name__ == '__main__':
    sys.exit(main())
