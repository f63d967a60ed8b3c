"""Measures attribution on photographs: completeness, the deletion curve against random order, and a sanity check.

    python tests/benchmarks/attribution.py --photographs my/photographs --count 20

Completeness: how far the sum of integrated gradients is from the difference of probabilities, relative to it. Deletion
(Petsiuk et al. 2018): cells of 16 pixels turn gray in the order of what they add, most first; the area under the
class's probability against the mean area of three random orders. Sanity (Adebayo et al. 2018): Spearman's rank
correlation of the map with that of the network whose last layer's weights are drawn anew.
"""
import argparse
import sys
from pathlib import Path

import numpy as np
from scipy import stats

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / 'recipes'))

from common import cli, images, session  # noqa: E402
from common.session import tf  # noqa: E402
from networks import attribution, inception  # noqa: E402
from synthesis import sheet_tiles  # noqa: E402

SIZE, CELL, CUTS, ORDERS = 224, 16, 28, 3


def open_explainer(graph_def):
    """Returns an attribution.Explainer of a frozen classifier."""
    with tf.Graph().as_default() as graph:
        built = attribution.build(lambda inputs: inception.inception(inputs, graph_def), SIZE, SIZE,
                                  sheet_tiles.find_logits)
    return attribution.Explainer(session.open_session(graph), built)


def redraw_last_layer(graph_def):
    """Returns the graph with the weights of its last matrix product drawn anew, of the same size."""
    changed = tf.GraphDef()
    changed.CopyFrom(graph_def)
    product = [node for node in changed.node if node.op == 'MatMul'][-1]
    by_name = {node.name: node for node in changed.node}
    node = by_name[product.input[1]]
    while node.op != 'Const':  # weights may be kept as float16 and cast
        node = by_name[node.input[0]]
    value = tf.make_ndarray(node.attr['value'].tensor)
    drawn = np.random.RandomState(1).normal(0, value.astype(np.float32).std(), value.shape).astype(value.dtype)
    node.attr['value'].tensor.CopyFrom(tf.make_tensor_proto(drawn))
    return changed


def deletion_area(explainer, image, number, order):
    """Returns the mean probability while the cells turn gray in an order: int [cells]."""
    columns, copies, current = SIZE // CELL, [image], image.copy()
    for part in np.array_split(order, CUTS):
        for cell in part:
            top, left = CELL * (cell // columns), CELL * (cell % columns)
            current[top:top + CELL, left:left + CELL] = 127.5
        copies.append(current.copy())
    return explainer.run(explainer.graph.score, np.stack(copies), number).mean()


def main():
    """Prints a line for each photograph, and what they give together."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--photographs', type=Path, required=True)
    parser.add_argument('--count', type=int, default=20)
    parser.add_argument('--models-dir', type=Path, default=cli.default_dir('models'))
    args = parser.parse_args()
    graph_def = inception.load_graph_def(args.models_dir / inception.GRAPH_FILE)
    explainer, changed = open_explainer(graph_def), open_explainer(redraw_last_layer(graph_def))
    paths = images.find_images(args.photographs, '--photographs')
    rows = []
    for path in paths[::max(1, len(paths) // args.count)][:args.count]:
        image = images.center_square(images.load_image(path), SIZE)
        number = int(explainer.probabilities(image).argmax())
        found, difference = explainer.integrated_gradients(image, number)
        error = abs(found.sum(dtype=np.float64) - difference) / abs(difference)
        cells = found.reshape(SIZE // CELL, CELL, SIZE // CELL, CELL).sum(axis=(1, 3)).ravel()
        area = deletion_area(explainer, image, number, np.argsort(-cells))
        random = np.mean([deletion_area(explainer, image, number, np.random.RandomState(seed).permutation(cells.size))
                          for seed in range(ORDERS)])
        other, _ = changed.integrated_gradients(image, number)
        signed = stats.spearmanr(found.ravel(), other.ravel())[0]
        rows.append((error, area, random, signed))
        print(f'{path.name}: probability {explainer.probabilities(image)[number]:.3f}, difference {difference:.3f}, '
              f'completeness {100 * error:.2f} %, area {area:.3f}, random {random:.3f}, rank correlation {signed:.3f}',
              flush=True)
    error, area, random, signed = np.array(rows).T
    print(f'completeness: median {100 * np.median(error):.2f} %, largest {100 * error.max():.2f} %, within 1 %: '
          f'{(error <= 0.01).sum()} of {len(rows)}; deletion below random: {(area < random).sum()} of {len(rows)}; '
          f'rank correlation: mean {signed.mean():.3f}, largest {signed.max():.3f}')


if __name__ == '__main__':
    main()
