"""Transfer learning: a folder of labeled images becomes a classifier, on top of a pre-trained VGG-16.

The idea. A network that has learned a thousand classes from a million photographs knows edges, textures,
eyes and fur; what it lacks for other classes is the last step. So its convolutions are taken over, a small new network
(the head) is put in place of its classifier, and as much of the whole is trained as the data allow:

- *Features once*: the activations of the frozen layers never change, so they are computed once per image and copy of it
  (as it is, mirrored) and stored on disk. An epoch then costs what the trained layers cost.
- *Stage 1* trains the head alone. From an untrained head the gradients are noise, and would spoil what the
  convolutions know.
- *Stage 2* (fine-tuning) trains the last block of convolutions along with the head, in small steps.
- The validation images choose (when to stop, which weights); the test images are evaluated once, at the end.

How much to train, for how much data of which kind: docs/vgg16_transfer.md. More: Yosinski et al. 2014, How
transferable are features in deep neural networks?, arXiv 1411.1792.

Usage:
    python recipes/vgg16_transfer.py --data-dir DIR          train/ and validation/, or a folder per class, or a zip
                                         2,000 cats and dogs: about 98 % of those held out; 26 minutes on two cores
    python recipes/vgg16_transfer.py --data-dir DIR --fine-tune none     the head alone: a minute, features stored
    python recipes/vgg16_transfer.py --predict photo.jpg folder/         with the latest run
    python recipes/vgg16_transfer.py --resume                            resume an interrupted run
    python recipes/vgg16_transfer.py --data-dir DIR --book               the cookbook chapter's settings
"""
import contextlib
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, Optional, Tuple

import common  # noqa: F401, first: without an environment, says in one line how to make it
import numpy as np

from common import checkpoints, cli, files, parallel, runs
from common.errors import InputError
from common.session import keras, tf
from datasets import image_folder, layouts
from datasets.augmented_copies import copy_names
from networks import grad_cam, summary, vgg, vgg_keras
from networks.vgg_keras import TOP_LAYER
from training import batches, classifier, optimization, predictions, shared_steps
from training.bottleneck_features import BottleneckFeatures
from training.run import NEW_STATE, TrainingRun, add_training_options, load_state, open_run

RECIPE = 'vgg16_transfer'
# --fine-tune: the deepest layer that stays frozen. Up to block4_pool are the cookbook's 15 frozen layers.
FROZEN_UP_TO = {'none': TOP_LAYER, 'block5': 'block4_pool', 'block4': 'block3_pool', 'all': None}
POOLING = {'average': 'GlobalAveragePooling2D', 'max': 'GlobalMaxPooling2D', 'flatten': 'Flatten'}  # Keras's names
MOMENTUM = 0.9                # of --book
VALIDATIONS_PER_EPOCH = 2     # in stage 2; one in stage 1
NUM_EXPLAINED = 8             # right, and as many wrong predictions, with their heat maps
MODEL_OPTIONS = ('size', 'fine_tune', 'pooling', 'hidden_units', 'keep_prob', 'book', 'seed')  # of build_model
PLACES = ('data_dir', 'weights_path')  # a resumed run reads them again
# What --book sets: the figures of the cookbook, chapter 4. It sends every image through all of VGG-16 in every epoch,
# divides pixels by 255, and trains block 5 from an untrained head of Flatten, 256 units and a sigmoid.
BOOK = {'size': 256, 'batch_size': 16, 'epochs': 50, 'head_epochs': 0, 'learning_rate': 1e-4, 'pooling': 'flatten',
        'hidden_units': 256, 'keep_prob': 0.5, 'early_stopping': 0}
Tensor = Any


# ---- The network ----

def build_model(num_classes, *, size=224, fine_tune='block5', pooling='average', hidden_units=256, keep_prob=0.5,
                book=False, seed=0):
    """Adds VGG-16 with a new head to the default graph; published weights come in by vgg_keras.set_weights.

    Args:
      num_classes: int.
      size: int, pixels of a side.
      fine_tune: a key of FROZEN_UP_TO: the lowest block that is trained.
      pooling: a key of POOLING: the mean or the maximum of each channel, or all positions.
      hidden_units: int, of the head's ReLU layer; 0 for none.
      keep_prob: float in (0, 1], the probability that dropout keeps a unit.
      book: bool, two classes end in one sigmoid, the probability of the second, instead of a softmax over both.
      seed: int, of the head's initial weights.

    Returns:
      keras.Model of RGB float32 [batch, size, size, 3], in [0, 255], to probabilities, [batch, num_classes] or
      [batch, 1].
    """
    layers, initializers = keras.layers, keras.initializers
    base = vgg_keras.vgg16(size)
    x = getattr(layers, POOLING[pooling])(name='pooled')(base.output)
    if hidden_units:
        x = layers.Dense(hidden_units, activation='relu', name='hidden',
                         kernel_initializer=initializers.he_normal(seed))(x)
    x = layers.Dropout(1 - keep_prob, name='dropout')(x)
    sigmoid = book and num_classes == 2
    # Nearly zero: no class is preferred, whatever the size of what comes in.
    x = layers.Dense(1 if sigmoid else num_classes, name='logits',
                     kernel_initializer=initializers.RandomNormal(stddev=0.001, seed=seed))(x)
    x = layers.Activation('sigmoid' if sigmoid else 'softmax', name='probabilities')(x)
    model = keras.Model(base.input, x, name='vgg16_classifier')
    vgg_keras.freeze(model, FROZEN_UP_TO[fine_tune])
    return model


# ---- Loss and optimizer ----

class Stage(NamedTuple):
    """The tensors and operations of one stage: from where its inputs come in up to the loss."""
    layer: Optional[str]   # whose activations come in; None for images
    inputs: Tensor         # placeholder [batch] + the layer's shape: float32 features, or uint8 images
    labels: Tensor         # placeholder int64 [batch]
    keep_prob: Tensor      # placeholder float32 [], 1.0 unless fed
    probabilities: Tensor  # float32 [batch, num_classes]
    loss: Tensor           # float32 [], mean cross-entropy, each image weighted as its class
    accuracy: Tensor       # float32 [], fraction of the batch
    learning_rate: Tensor  # float32 []
    train_op: Any          # one step of the stage's optimizer
    variables: Tuple       # those that it changes


def build_stage(name, model, layer, *, num_steps, learning_rate, class_weights, seed=0, book=False):
    """Adds a Stage to the default graph and returns it; it trains what can be trained above its layer.

    Args:
      name: str, its scope.
      model: keras.Model from build_model.
      layer: str, the layer whose activations come in; None for images.
      num_steps: int, of the whole stage; Adam's learning rate falls to zero along a cosine.
      learning_rate: float, the peak.
      class_weights: float [num_classes], factors of the loss.
      seed: int, of dropout.
      book: bool, stochastic gradient descent with momentum at a constant learning rate instead.
    """
    variables = [variable for upper in vgg_keras.layers_above(model, layer) for variable in upper.trainable_weights]
    with tf.variable_scope(name):
        shape = (model.get_layer(layer).output if layer else model.input).shape.as_list()[1:]
        inputs = tf.placeholder(tf.float32 if layer else tf.uint8, [None] + shape, name='inputs')
        labels = tf.placeholder(tf.int64, [None], name='labels')
        keep_prob = tf.placeholder_with_default(1.0, [], name='keep_prob')
        step = tf.get_variable('step', initializer=np.int64(0), trainable=False)
        logits = vgg_keras.logits_from(model, layer, tf.cast(inputs, tf.float32), partial(
            optimization.dropout, keep_prob=keep_prob, seed=tf.stack([seed, tf.cast(step, tf.int32)])))
        cross_entropy = tf.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=logits)
        loss = tf.reduce_mean(tf.gather(tf.constant(class_weights, tf.float32), labels) * cross_entropy)
        accuracy = tf.reduce_mean(tf.cast(tf.equal(tf.argmax(logits, axis=1), labels), tf.float32))
        rate = tf.constant(learning_rate) if book else optimization.cosine(step, num_steps, learning_rate)
        optimizer = tf.train.MomentumOptimizer(rate, MOMENTUM) if book else tf.train.AdamOptimizer(rate)
        gradients, (loss, accuracy) = shared_steps.average(
            optimizer.compute_gradients(loss, variables), (loss, accuracy), labels)
        train_op = optimizer.apply_gradients(gradients, step)
    return Stage(layer=layer, inputs=inputs, labels=labels, keep_prob=keep_prob, probabilities=tf.nn.softmax(logits),
                 loss=loss, accuracy=accuracy, learning_rate=rate, train_op=train_op, variables=tuple(variables))


# ---- Training ----

def train(sess, head_stage, fine_stage, features, data, run_dir, *, num_steps, epoch_steps, state=None, say=print,
          **options):
    """Trains the head, then the convolutions with it, from the last checkpoint where there is one.

    Args:
      sess: tf.Session with initialized variables, which are the best ones in the end.
      head_stage, fine_stage: Stage; the second None for the head alone.
      features, data, run_dir: BottleneckFeatures, image_folder.ImageFolder, Path.
      num_steps, epoch_steps: (int, int), of stage 1 and of stage 2; int.
      state: dict, of the last checkpoint, None at the start; the one at the end is returned, see NEW_STATE.
      say: function that prints a line.
      **options: of train_stage and of TrainingRun.
    """
    saver, best_head = tf.train.Saver(max_to_keep=0), []
    save = partial(checkpoints.save, run_dir, saver, sess)

    def save_in_memory(state):
        if state['best_step'] == state['step']:
            best_head[:] = sess.run(head_stage.variables)

    sess.graph.finalize()  # the loop must not add to it
    if state:
        checkpoints.restore(run_dir, saver, sess, state['step'])
    else:
        parallel.broadcast_variables(sess)
    if not state and num_steps[0]:  # takes a minute, so that an interrupted stage 1 starts again
        say('stage 1: training the head')
        found = train_stage(sess, head_stage, features, data, run_dir, save_in_memory, name='stage1',
                            num_steps=num_steps[0], epoch_steps=epoch_steps, validate_every=epoch_steps,
                            checkpoint_seconds=None, **options)
        for variable, value in zip(head_stage.variables, best_head):
            variable.load(value, sess)
        figures = {name: found[name] for name in ('validation_loss', 'validation_accuracy')}
        runs.write_record(run_dir, stage1=dict(figures, step=found['step'], best_step=found['best_step']))
        state = dict(NEW_STATE, **figures, best_step=0, seconds=found['seconds'])  # which stage 2 has to improve on
        save(state)
    if fine_stage:
        say(f'stage 2: fine-tuning from {fine_stage.layer or "the images"} on')
        state = train_stage(sess, fine_stage, features, data, run_dir, save, name='stage2', num_steps=num_steps[1],
                            epoch_steps=epoch_steps, validate_every=-(-epoch_steps // VALIDATIONS_PER_EPOCH),
                            state=state, **options)
        if state['best_step'] != state['step']:
            checkpoints.restore(run_dir, saver, sess, state['best_step'])
    return state


def train_stage(sess, stage, features, data, run_dir, save, *, num_steps, batch_size, keep_prob=0.5,
                copies=('original',), seed=0, state=None, **options):
    """Trains one stage. An epoch takes each image once, as the copy of it that seed and step draw.

    Args:
      sess, features, data, run_dir, state, and what is returned: see train.
      stage: Stage.
      save: function of the state, see TrainingRun.
      num_steps, batch_size: int.
      keep_prob: float, the probability that dropout keeps a unit.
      copies: sequence of str, the names of the copies of each image; see augmented_copies.copy_names.
      seed: int, of the order of the images and of the copies.
      **options: of TrainingRun.
    """
    copies, num_images = np.array(copies), len(data.train.labels)

    def load(step):
        chosen = parallel.part(batches.batch_indices(step, batch_size, num_images, seed))
        images = image_folder.take(data.train, chosen)
        drawn = parallel.part(copies[np.random.RandomState([seed, step]).randint(len(copies), size=batch_size)])
        return features.read(stage.layer, images, drawn), images.labels

    def validate():
        return predict(sess, stage, features, data.validation), data.validation.labels

    with TrainingRun(run_dir, num_steps, validate, save, state=state, graph=sess.graph, **options) as run, \
            contextlib.closing(batches.prefetch(load, range(run.state['step'], num_steps))) as loaded:
        for _, (inputs, labels) in zip(run.steps(), loaded):
            _, loss, accuracy, rate = sess.run([stage.train_op, stage.loss, stage.accuracy, stage.learning_rate], {
                stage.inputs: inputs, stage.labels: labels, stage.keep_prob: keep_prob})
            run.record(loss, accuracy, rate)
    return run.state


# ---- Evaluation, pictures ----

def predict(sess, stage, features, images, copy='original'):
    """Computes class probabilities, float32 [num_images, num_classes], of an image_folder.Split; see train."""
    at_once = vgg_keras.images_at_once(stage.inputs.shape.as_list()[1])
    parts = [image_folder.take(images, slice(start, start + at_once))
             for start in range(0, len(images.labels), at_once)]
    loaded = batches.prefetch(lambda part: features.read(stage.layer, part, [copy] * len(part.labels)),
                              parallel.part(parts))
    return np.concatenate(parallel.each(
        lambda _: sess.run(stage.probabilities, {stage.inputs: next(loaded)}), parts))


def evaluate(sess, stage, explainer, features, data, run_dir, *, seed=0, tta=False):
    """Evaluates the test images, which no choice was based on, as classifier.evaluate, and draws curves and heat maps.

    Args:
      sess, features, data, run_dir: see train.
      stage, explainer: Stage, the last that was trained; from vgg_keras.explain.
      seed: int, of which right predictions are explained.
      tta: bool, measure the mean over each image and its mirror image, too.
    """
    for name, title in (('stage1', 'Stage 1, the head: '), ('stage2', 'Stage 2, fine-tuning: ')):
        if (run_dir / f'{name}.csv').exists():
            classifier.plot_training(run_dir, name, prefix=f'{name}_', title=title)
    paths, labels, probabilities = data.test.paths, data.test.labels, predict(sess, stage, features, data.test)
    predictions.write_predictions(run_dir / 'test_predictions.csv', paths, probabilities, data.class_names, labels)
    mirrored = predict(sess, stage, features, data.test, 'flip') if tta else None
    accuracies = classifier.evaluate(run_dir, labels, probabilities, data.class_names,
                                     lambda chosen: features.load_images(paths[chosen]), mirrored)
    for kind, chosen in classifier.right_and_wrong(labels, probabilities, NUM_EXPLAINED, seed).items():
        grad_cam.draw(run_dir / f'grad_cam_{kind}.png', sess, explainer, paths[chosen], features.load_images,
                      data.class_names, vgg_keras.images_at_once(features.size),
                      title=f'Where the network looked: predictions that are {kind}')
    return accuracies


@contextlib.contextmanager
def trained_model(trained, device='auto', threads=None):
    """Opens a session with a TrainedRun's weights; yields it, keras.Model, grad_cam.Explainer and class names."""
    class_names = parallel.from_first(None if parallel.rank() else runs.recorded(trained.run_dir, 'classes'))
    with vgg_keras.open_session(device, threads) as sess:
        model = build_model(len(class_names), **{name: trained.settings[name] for name in MODEL_OPTIONS})
        explainer, saver = vgg_keras.explain(model), tf.train.Saver(model.weights)
        sess.run(tf.global_variables_initializer())
        checkpoints.restore(trained.folder, saver, sess, trained.step)
        yield sess, model, explainer, class_names


def classify_files(args):
    """Classifies a person's own images with a trained run: a line each, a table (CSV) and heat maps."""
    paths = predictions.readable_images(args.predict)
    trained = classifier.find_trained_run(args.output_dir, RECIPE, args.run or args.run_dir)
    run_dir, size = trained.run_dir, trained.settings['size']
    if args.data_dir != cli.default_dir('data'):
        layouts.check_classes(args.data_dir, runs.recorded(run_dir, 'classes'), run_dir)
    with trained_model(trained, args.device, args.threads) as (sess, _, explainer, names):
        load_images = partial(image_folder.load_images, size=size, threads=args.threads)
        predictions.show_explained(trained, sess, explainer, paths, load_images, names, vgg_keras.images_at_once(size))


def export(args, run_dir, say):
    """Writes the weights as a SavedModel and as Keras's model.h5."""
    trained = classifier.find_trained_run(args.output_dir, RECIPE, run_dir)
    with trained_model(trained, args.device, args.threads) as (sess, model, explainer, names):
        say(f'SavedModel: {classifier.export(run_dir, sess, explainer.images, explainer.probabilities, names)}')
        say(f'Keras: {vgg_keras.save_h5(model, run_dir / "model.h5", names)}')


# ---- Command line ----

def parse_args(argv):
    """Parses the command line; see --help."""
    parser = cli.make_parser(__doc__, data=True, models=True)
    count, rate = cli.whole_number, cli.real_number(1e-8, 10)
    add = parser.add_argument_group('network').add_argument
    add('--weights', dest='weights_path', type=Path, metavar='FILE',
        help='of VGG-16: .h5, .keras, .mat (MatConvNet), .onnx or .npz (default: downloaded)')
    add('--size', type=count(vgg_keras.SMALLEST_SIZE, 1024), default=224, help='pixels of a side, after resizing')
    add('--pooling', choices=tuple(POOLING), default='average',
        help="first layer of the head: each channel's mean or maximum, or all positions")
    add('--hidden-units', type=count(0), default=256, help="of the head's hidden layer; 0: none")
    training = parser.add_argument_group('training')
    add_training_options(training, batch_size=32, learning_rate=1e-5, keep_prob=0.5, early_stopping=5)
    add = training.add_argument
    add('--fine-tune', choices=tuple(FROZEN_UP_TO), default='block5',
        help='lowest block of convolutions that stage 2 trains; none: no stage 2')
    add('--views', type=count(0, 99), default=0, metavar='N',
        help='augmented copies of each training image, besides itself and its mirror image')
    add('--head-epochs', type=count(0), default=20, metavar='N', help='epochs of stage 1')
    add('--head-learning-rate', type=rate, default=1e-4, metavar='R',
        help='peak learning rate of stage 1; --learning-rate: of stage 2')
    add('--epochs', type=count(1), default=2, metavar='N', help='epochs of stage 2')
    add('--steps', type=count(1), metavar='N', help='steps of stage 2 (default: those of --epochs)')
    add('--class-weights', action='store_true', help='weight the loss so that every class counts the same')
    add('--features-dir', type=Path, metavar='DIR', help='stored features (default: features beside the runs)')
    _, free = classifier.add_options(parser, 'classify images, files or folders, with a trained run',
                                     'also report accuracy averaged over each image and its mirror image')
    args = cli.parse_args(parser, argv, RECIPE, free=('features_dir', *free), changeable=PLACES, shared=True,
                          preset=lambda asked: BOOK if asked.book else {})
    classifier.check_options(args)
    check_options(args, parser)
    return args


def check_options(args, parser):
    """Raises InputError where options contradict each other, or one would do nothing."""
    if args.book and args.head_epochs:
        raise InputError(f'--book --head-epochs {args.head_epochs}: the chapter has no stage 1; leave out one of them')
    if args.fine_tune == 'none' and not args.head_epochs:
        raise InputError('--fine-tune none --head-epochs 0: nothing is trained; give --head-epochs at least 1')
    for name in ('epochs', 'steps', 'learning_rate'):
        value = getattr(args, name)
        if args.fine_tune == 'none' and value != parser.get_default(name) and not args.resume:
            raise InputError(f'--fine-tune none --{name.replace("_", "-")} {value}: an option of stage 2, which does '
                             'not run; stage 1 has --head-epochs and --head-learning-rate')


def begin(args, say):
    """Opens the run: (image_folder.ImageFolder, VGG-16's weights, Path of the run, its state; see open_run)."""
    if args.run_dir:
        load_state(args.run_dir)  # refuses a run of an earlier version, before it misses its data
    data = image_folder.load(args.data_dir, args.seed, args.quiet)
    say(image_folder.summarize(data))
    _, weights, source, _ = vgg.obtain_weights(args.models_dir, 'vgg16', args.weights_path, args.quiet)
    device = parallel.describe_device(args.device, args.threads)
    if args.features_dir:
        files.make_dir(args.features_dir, '--features-dir')
    places = {name: getattr(args, name).resolve() for name in PLACES if getattr(args, name)}
    run_dir, state = open_run(
        args.run_dir, args.output_dir, RECIPE, settings=dict(args.settings, **places), seed=args.seed, device=device,
        source=data.description, num_images=len(data.train.labels), classes=list(data.class_names),
        checksums={'images': image_folder.fingerprint(data)}, weights=vgg_keras.fingerprint(weights))
    runs.write_record(run_dir, weights_from=source, skipped=[f'{path}: {why}' for path, why in data.skipped])
    say(f'VGG-16 from {source}; {device}\nthis run: {run_dir}')
    return data, weights, run_dir, state


@cli.exit_codes
def main(argv=None):
    """Runs the recipe; returns its exit code."""
    args, started = parse_args(argv), time.monotonic()
    if args.predict:
        return classify_files(args)
    say = (lambda *text: None) if args.quiet else print
    data, weights, run_dir, state = begin(args, say)
    started -= state['seconds'] if state else 0.0
    fine_tuned_from = None if args.book else FROZEN_UP_TO[args.fine_tune]
    features = BottleneckFeatures(parallel.from_first(args.features_dir or run_dir.parent / 'features'), [
        TOP_LAYER if args.head_epochs else None, fine_tuned_from], args.size, weights, args.threads)
    copies = copy_names(args.views)  # the image as it is, its mirror image, others
    features.compute([(data.train, copies), (data.validation, copies[:1]), (data.test, copies[:1 + args.tta])],
                     device=args.device, say=say, quiet=args.quiet)
    batch_size = min(args.batch_size, len(data.train.labels))
    batches.check_batch_size(batch_size, len(data.train.labels))
    epoch_steps = -(-len(data.train.labels) // batch_size)
    num_steps = args.head_epochs * epoch_steps, args.steps or args.epochs * epoch_steps
    with vgg_keras.open_session(args.device, args.threads, args.xla == 'on') as sess:
        tf.set_random_seed(args.seed)
        model = build_model(len(data.class_names), **{name: args.settings[name] for name in MODEL_OPTIONS})
        build = partial(build_stage, model=model, seed=args.seed, class_weights=optimization.class_weights(
            data.train.labels, balanced=args.class_weights))
        head_stage = build('stage1', layer=TOP_LAYER, num_steps=num_steps[0], learning_rate=args.head_learning_rate)
        fine_stage = None if args.fine_tune == 'none' else build(
            'stage2', layer=fine_tuned_from, num_steps=num_steps[1], learning_rate=args.learning_rate, book=args.book)
        explainer = vgg_keras.explain(model)
        sess.run(tf.global_variables_initializer())
        vgg_keras.set_weights(model, weights, args.book)
        vgg_keras.save_summary(model, run_dir / 'summary.txt')
        summary.draw(run_dir / 'network.png', model.input, model.output)
        state = train(sess, head_stage, fine_stage, features, data, run_dir, num_steps=num_steps,
                      epoch_steps=epoch_steps, state=state, batch_size=batch_size, keep_prob=args.keep_prob,
                      copies=copies, seed=args.seed, patience=args.early_stopping, started=started,
                      say=say, quiet=args.quiet)
        say(f'evaluating {len(data.test.labels):,} test images')
        accuracies = evaluate(sess, fine_stage or head_stage, explainer, features, data, run_dir, seed=args.seed,
                              tta=args.tta)
    if args.export:
        export(args, run_dir, say)
    seconds = classifier.record_results(run_dir, accuracies, state, started)
    if args.tta:
        print(f'with mirror images, test accuracy {accuracies["tta_accuracy"]}')
    print(f'validation accuracy {100 * state["validation_accuracy"]:.2f} %, test accuracy '
          f'{accuracies["test_accuracy"]} in {seconds:.0f} s; pictures in {run_dir}')


if __name__ == '__main__':
    sys.exit(main())
