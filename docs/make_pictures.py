"""Makes docs/pictures/ from docs/samples/ and runs of the recipes, so that the pages show what the code does today.

    make docs-pictures                                          every picture
    make ARGS="dream_sky.jpg mnist.png" docs-pictures           some of them

A picture is drawn from the latest finished run in output/ that was started with the options of its command, else from a
new one. cifar10.png and transfer.jpg need a run of nearly an hour, or of your own photographs: if there is none in
output/, they are left as they are.
"""
import argparse
import json
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Callable, NamedTuple, Optional

from PIL import Image

PROJECT = Path(__file__).resolve().parent.parent
PICTURES_DIR = PROJECT / 'docs' / 'pictures'
OUTPUT_DIR = PROJECT / 'output'
CONTENTS = 'hopper', 'tubingen', 'chelsea', 'astronaut'
STYLES = 'starry_night', 'great_wave', 'the_scream'
GAP = 8                     # pixels between the parts of a picture


class Picture(NamedTuple):
    """A picture of docs/pictures/ and where it comes from."""
    command: str                        # makes what it shows
    draw: Optional[Callable] = None     # from the run's folder to a PIL image; None if the command writes the picture
    trained: bool = False               # needs a finished run of the recipe, which is not started here
    more: tuple = ()                    # further commands; `draw` takes their runs' folders, too


def samples(*names):
    """Returns the names of files in docs/samples/ as words of a command line."""
    return ' '.join(f'docs/samples/{name}.jpg' for name in names)


# ---- Drawing ----

def paste_rows(rows):
    """Puts rows of images below each other, on white, each at its own size."""
    heights = [max(image.height for image in row) for row in rows]
    width = max(sum(image.width + GAP for image in row) for row in rows) - GAP
    sheet = Image.new('RGB', (width, sum(heights) + GAP * (len(rows) - 1)), 'white')
    top = 0
    for row, height in zip(rows, heights):
        left = 0
        for image in row:
            sheet.paste(image, (left, top))
            left += image.width + GAP
        top += height + GAP
    return sheet


def load(path, width=None, height=None):
    """Loads an image, scaled to a width or to a height."""
    image = Image.open(str(path)).convert('RGB')
    scale = width / image.width if width else height / image.height if height else 1
    return image.resize((round(image.width * scale), round(image.height * scale)), Image.LANCZOS)


def draw_gallery(run_dir, height=178):
    """Contents in the first row, styles in the first column, results between."""
    styles = [load(PROJECT / samples(name), width=224) for name in STYLES]
    rows = [[Image.new('RGB', (224, height), 'white')]
            + [load(PROJECT / samples(name), height=height) for name in CONTENTS]]
    for style, name in zip(styles, STYLES):
        style.thumbnail((224, height))
        padded = Image.new('RGB', (224, height), 'white')
        padded.paste(style, (0, 0))
        rows.append([padded] + [load(run_dir / f'{content}_{name}.png', height=height) for content in CONTENTS])
    return paste_rows(rows)


def draw_learned(run_dir, height=250):
    """Two photographs, each in the styles of three paintings."""
    return paste_rows([[load(PROJECT / samples(content), height=height)]
                       + [load(run_dir / f'{content}_{name}.png', height=height) for name in STYLES]
                       for content in ('hopper', 'tubingen')])


def draw_mnist(run_dir):
    """The curves above what the convolutions see and have learned."""
    names = (('loss', 'accuracy'), ('activations', 'filters'))
    return paste_rows([[load(run_dir / f'{name}.png', width=559) for name in row] for row in names])


def draw_cifar10(run_dir):
    """Accuracy and filters beside the confusion matrix."""
    left = paste_rows([[load(run_dir / 'accuracy.png', width=736)], [load(run_dir / 'filters.png', width=736)]])
    return paste_rows([[left, load(run_dir / 'confusion_matrix.png', height=left.height)]])


def draw_only(name, width=None):
    """Returns a function that takes one of a run's files as it is, at most `width` pixels wide."""
    def draw(run_dir):
        image = load(run_dir / name)
        return load(run_dir / name, width=width) if width and width < image.width else image
    return draw


def draw_concept(name):
    """Returns a function that takes a picture of a run of concepts.py as it is, animated or not."""
    return lambda run_dir: Image.open(str(run_dir / name.replace('.jpg', '.png')))


def draw_row(*names, height=256):
    """Returns a function that puts a file of each run side by side, or several of the only one."""
    return lambda *run_dirs: paste_rows([[load(run_dir / name, height=height) for run_dir, name in zip(
        run_dirs * (1 if len(run_dirs) > 1 else len(names)), names)]])


def draw_network(run_dir):
    """The figure of a run's network, in few colors."""
    return load(run_dir / 'network.png').quantize(32)


def draw_gray(run_dir):
    """A sheet of gray pictures, in few colors."""
    return load(run_dir / 'sheet.png', width=800).convert('L').quantize(32)


HOPPER = f'python recipes/style_transfer.py --content {samples("hopper")} --style {samples("starry_night")} --size 256'
CONTENT_LAYERS = [f'{HOPPER} --iterations 120 --style-weight 2000 --content-layers {layer}'
                  for layer in ('conv2_2', 'conv4_2', 'conv5_2')]
WAVE = (f'python recipes/style_transfer.py --content {samples("hopper")} --style {samples("great_wave")} --size 256 '
        '--iterations 120')
LOSSES = [f'python recipes/style_transfer.py --content {samples(content)} --style {samples(style)} --size 192 '
          f'--iterations 80{loss}' for content, style in (('hopper', 'starry_night'), ('chelsea', 'great_wave'))
          for loss in ('', ' --loss wasserstein')]
CONCEPTS = ('convolution.png', 'sliding_kernel.gif', 'stride_and_dilation.png', 'output_sizes.png', 'layouts.png',
            'shared_weights.png', 'pooling.png', 'receptive_fields.jpg', 'effective_field.png',
            'kernels_and_filters.jpg', 'sound.png', 'clip.png')
PICTURES = {
    **{f'concepts_{name}': Picture('python recipes/concepts.py', draw_concept(name)) for name in CONCEPTS},
    'gallery.jpg': Picture(f'python recipes/style_transfer.py --content {samples(*CONTENTS)} '
                           f'--style {samples(*STYLES)} --size 256 --iterations 120', draw_gallery),
    'style.jpg': Picture(f'python recipes/style_transfer.py --content {samples("hopper")} '
                         f'--style {samples("starry_night")}', draw_only('hopper_starry_night_sheet.png', 900)),
    'style_layers.jpg': Picture(CONTENT_LAYERS[0], draw_row(*['hopper_starry_night.png'] * 3),
                                more=tuple(CONTENT_LAYERS[1:])),
    'style_transport.jpg': Picture(LOSSES[0], draw_row(
        *['hopper_starry_night.png'] * 2, *['chelsea_great_wave.png'] * 2, height=192), more=tuple(LOSSES[1:])),
    'style_laplacian.jpg': Picture(WAVE, draw_row(*['hopper_great_wave.png'] * 2),
                                   more=(f'{WAVE} --laplacian-weight 0.5',)),
    'style_regions.jpg': Picture(
        f'python recipes/style_transfer.py --content {samples("tubingen")} --style '
        f'{samples("starry_night", "the_scream")} --mask docs/samples/tubingen_sky.png docs/samples/tubingen_town.png '
        '--size 256 --iterations 120 --style-weight 150 --laplacian-weight 0.5',
        draw_only('tubingen_starry_night+the_scream.png')),
    'style_film.gif': Picture('python tests/benchmarks/style_control.py motion --size 128 --iterations 60 '
                              '--film docs/pictures/style_film.gif'),
    'style_progress.jpg': Picture(f'{HOPPER} --book --save-every 200', draw_row(
        *(f'hopper_starry_night_{step:05d}.png' for step in (0, 200, 400, 600)))),
    'dream_octaves.jpg': Picture(f'python recipes/deepdream.py --content {samples("sky")} --size 512 --save-every 10',
                                 draw_row(*(f'sky_dream_{step:05d}.png' for step in (10, 20, 30, 40)), height=150)),
    'network_mnist.png': Picture('python recipes/mnist_convnet.py', draw_network),
    'network_cifar10.png': Picture('python recipes/cifar10_tflearn.py', draw_network, trained=True),
    'network_style.png': Picture(f'python recipes/style_transfer.py --content {samples("hopper")} '
                                 f'--style {samples("starry_night")}', draw_network),
    'network_transfer.png': Picture('python recipes/vgg16_transfer.py', draw_network, trained=True),
    'network_dream.png': Picture(f'python recipes/deepdream.py --content {samples("sky")}', draw_network),
    'fast_sheet.jpg': Picture(f'python recipes/fast_style_transfer.py --content {samples("hopper")} --size 512',
                              draw_only('hopper_sheet.png')),
    'fast_learned.jpg': Picture('python recipes/fast_style_transfer.py --content ' + samples('hopper', 'tubingen')
                                + ' --style starry_night great_wave the_scream', draw_learned, trained=True),
    'fast_film.gif': Picture('python recipes/fast_style_transfer.py --content docs/pictures/dream_zoom.gif '
                             '--style-number 13 --size 240 --frames 20 --output docs/pictures/fast_film.gif'),
    'mnist.png': Picture('python recipes/mnist_convnet.py', draw_mnist),
    'cifar10.png': Picture('python recipes/cifar10_tflearn.py', draw_cifar10, trained=True),
    'transfer.jpg': Picture(f'python recipes/vgg16_transfer.py --predict {samples("chelsea", "coffee", "hopper")} '
                            'recipes/synthesis/raccoon.webp', draw_only('predictions.png', 958), trained=True),
    'dream_sky.jpg': Picture(f'python recipes/deepdream.py --content {samples("sky")}',
                             draw_only('sky_dream.png', 640)),
    'dream_guided.jpg': Picture(f'python recipes/deepdream.py --content {samples("sky")} --size 640 '
                                f'--guide {samples("flowers")}', draw_only('sky_dream.png')),
    'dream_noise.jpg': Picture('python recipes/deepdream.py --content noise --size 320', draw_only('noise_dream.png')),
    **{f'features_{level}.jpg': Picture(f'python recipes/feature_visualization.py --channels {channels}',
                                        draw_only('sheet.png', 560)) for level, channels in (
        ('edges', 'conv2d0:0-11 --size 64'), ('textures', 'mixed3a:0-11 --size 96'),
        ('patterns', 'mixed4a:0-11 --size 96'), ('parts', 'mixed4d:0-11'), ('objects', 'mixed5a:0-11'))},
    'features_channels.jpg': Picture('python recipes/feature_visualization.py --channels mixed4c:0-35',
                                     draw_only('sheet.png', 700)),
    'features_classes.jpg': Picture("python recipes/feature_visualization.py --classes goldfish tarantula tabby "
                                    "'golden retriever' strawberry 'school bus' volcano daisy balloon flamingo",
                                    draw_only('sheet.png', 900)),
    'features_mnist.png': Picture('python recipes/feature_visualization.py --run output/mnist_convnet/latest --classes '
                                  '0 1 2 3 4 5 6 7 8 9', draw_gray, trained=True),
    'features_explain.jpg': Picture('python recipes/feature_visualization.py --explain '
                                    + samples('chelsea', 'coffee', 'astronaut'), draw_only('explanation.png', 900)),
    'dream_zoom.gif': Picture(f'python recipes/deepdream.py --content {samples("sky")} --size 320 --zoom 1.05 '
                              '--rotate 1 --frames 30 --fps 10 --output docs/pictures/dream_zoom.gif')}


# ---- Runs ----

def finished_run(recipe, options=None):
    """Returns the folder of the recipe's latest finished run, or of the latest with these options; None without one."""
    for record_path in sorted((OUTPUT_DIR / recipe).glob('2*/run.json'), reverse=True):
        record = json.loads(record_path.read_text(encoding='utf-8'))
        if 'results' in record and options in (None, record['command'][1:]):
            return record_path.parent
    return None


def make_run(command):
    """Returns the folder of a finished run with a command's options; makes it if there is none."""
    words = shlex.split(command)
    recipe, options = Path(words[1]).stem, words[2:]
    if not finished_run(recipe, options):
        print(command)
        subprocess.run([sys.executable, *words[1:]], cwd=str(PROJECT), check=True)
    return finished_run(recipe, options)


def make(name):
    """Makes one picture; returns whether it could."""
    picture = PICTURES[name]
    words = shlex.split(picture.command)
    recipe, options = Path(words[1]).stem, words[2:]
    predicts = '--predict' in options
    run_dir = picture.draw and finished_run(recipe, None if predicts else options)
    if picture.trained and not run_dir:
        print(f'{name}: left as it is; there is no finished run of recipes/{recipe}.py in {OUTPUT_DIR}')
        return False
    if predicts or not run_dir:
        print(f'{name}: {picture.command}')
        subprocess.run([sys.executable, *words[1:], *(['--run', str(run_dir)] if predicts else [])], cwd=str(PROJECT),
                       check=True)
        run_dir = run_dir or finished_run(recipe, options)
    if picture.draw:
        image = picture.draw(run_dir, *map(make_run, picture.more))
        image.save(str(PICTURES_DIR / name), quality=80, optimize=True, save_all=getattr(image, 'is_animated', False))
    print(f'{name}: done')
    return True


def main():
    """Makes the pictures that are named, or all; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('pictures', nargs='*', metavar='PICTURE', help=f'one of {", ".join(PICTURES)}; default: all')
    wanted = parser.parse_args().pictures or list(PICTURES)
    unknown = sorted(set(wanted) - set(PICTURES))
    if unknown:
        parser.error(f'no picture {unknown[0]}; there are {", ".join(PICTURES)}')
    made = [make(name) for name in wanted]
    return 0 if all(made) else 3


if __name__ == '__main__':
    sys.exit(main())
