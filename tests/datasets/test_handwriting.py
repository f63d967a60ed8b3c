"""A person's digits: MNIST's own, disguised as photographs and drawings, must come back as they were."""

import cv2
import numpy as np
import pytest
from PIL import Image

from common.errors import InputError
from datasets import handwriting, mnist


@pytest.fixture(scope='module')
def digits():
    return mnist.load_sample().test_images[::5]  # 200


def enlarge(digit, factor):
    size = handwriting.SIDE * factor
    return np.clip(cv2.resize(digit.astype(np.float32), (size, size), interpolation=cv2.INTER_CUBIC), 0, 255) / 255


def paper(height, width, random, shadow=False):
    """Unevenly lit paper, float64 [height, width]."""
    row, column = np.mgrid[0:1:height * 1j, 0:1:width * 1j]
    slope = random.uniform(-1, 1, 2)
    light = 190 + 60 * (slope[0] * row + slope[1] * column) - 40 * ((row - 0.5) ** 2 + (column - 0.5) ** 2)
    if shadow:
        light *= 1 - 0.4 / (1 + np.exp(-(column + 0.3 * row - random.uniform(0.4, 0.9)) * 80))
    return light


def photograph(digit, random, size=(240, 320), factor=5, color=(40, 40, 40), noise=6, shadow=False, chalk=False,
               specks=0):
    """A photograph of a digit somewhere on paper, or in chalk on a board: float32 [height, width, 3]."""
    stroke = enlarge(digit, factor)
    top, left = (random.randint(0, length - len(stroke) + 1) for length in size)
    ink = np.zeros(size)
    ink[top:top + len(stroke), left:left + len(stroke)] = stroke
    for _ in range(specks):
        row, column = (random.randint(5, length - 5) for length in size)
        ink[row:row + 3, column:column + 3] = 1
    ink, light = ink[:, :, np.newaxis], paper(size[0], size[1], random, shadow)[:, :, np.newaxis]
    if chalk:
        picture = 0.3 * light * (1 - ink) + np.array([230, 230, 230]) * ink
    else:
        picture = light * (1 - ink + ink * np.array(color) / 255)
    picture = cv2.GaussianBlur(picture, (0, 0), 1) + random.normal(0, noise, picture.shape)
    return np.clip(picture, 0, 255).astype(np.float32)


def correlation(prepared, digits):
    """Mean over the digits of the correlation of the pixels."""
    return np.mean([np.corrcoef(a.ravel(), b.ravel())[0, 1] for a, b in zip(prepared, digits)])


def prepare_digit(picture, name='the picture'):
    return handwriting.find_digits(picture, name, several=False).digits[0]


def prepare_all(digits, disguise):
    random = np.random.RandomState(0)
    return [prepare_digit(disguise(digit, random)) for digit in digits]


DISGUISES = {
    'itself': lambda digit, random: digit.astype(np.float32),
    'inverted': lambda digit, random: 255 - digit.astype(np.float32),
    'tight': lambda digit, random: photograph(digit, random, size=(140, 140)),
    'photograph': photograph,
    'red': lambda digit, random: photograph(digit, random, color=(210, 30, 40)),
    'yellow': lambda digit, random: photograph(digit, random, color=(240, 220, 40)),
    'pencil': lambda digit, random: photograph(digit, random, color=(170, 170, 170), noise=3),
    'grainy': lambda digit, random: photograph(digit, random, noise=20),
    'shadow': lambda digit, random: photograph(digit, random, shadow=True),
    'chalk': lambda digit, random: photograph(digit, random, chalk=True),
    'dusty': lambda digit, random: photograph(digit, random, specks=6),
    'small': lambda digit, random: photograph(digit, random, size=(750, 1000), factor=4),
}


@pytest.mark.parametrize('disguise', sorted(DISGUISES))
def test_a_digit_comes_back_from_a_picture(digits, disguise):
    digits = digits if disguise in ('itself', 'inverted') else digits[::4 if disguise == 'photograph' else 16]
    assert correlation(prepare_all(digits, DISGUISES[disguise]), digits) > 0.92


def test_prepared_as_mnist_was_made(digits):
    for prepared in prepare_all(digits[:50], photograph):
        assert prepared.dtype == np.uint8 and prepared.shape == (28, 28) and prepared.max() == 255
        rows, columns = (np.flatnonzero(prepared.any(axis)) for axis in (1, 0))
        assert 19 <= max(np.ptp(rows), np.ptp(columns)) + 1 <= 20
        for axis in (1, 0):
            assert 13.4 < np.average(np.arange(28), weights=prepared.sum(axis)) < 14.6


def test_proportions_are_kept():
    bar = np.full((300, 300), 255, np.float32)
    bar[50:250, 140:160] = 0
    rows, columns = (np.flatnonzero((prepare_digit(bar) > 127).any(axis)) for axis in (1, 0))
    assert len(rows) == 20 and len(columns) == 2


def test_dust_shifts_nothing(digits):
    clean = 255 * (1 - enlarge(digits[0], 8))
    dusty = clean.copy()
    for row, column in ((3, 3), (10, 215), (215, 8), (120, 5), (218, 218)):
        dusty[row:row + 3, column:column + 3] = 0
    shown, expected = (prepare_digit(picture).astype(int) for picture in (dusty, clean))
    assert np.abs(shown - expected).max() <= 2


def test_fine_pen_is_thickened():
    picture = np.full((400, 400), 255, np.float32)
    cv2.ellipse(picture, (200, 200), (90, 150), 0, 0, 360, 0, 3, cv2.LINE_AA)  # a third of a pixel in a box of 20
    ring = prepare_digit(picture)
    assert 1.5 < (ring[14] > 127).sum() / 2 <= 3
    assert np.all(ring[8:20].max(1) > 200)


random = np.random.RandomState(0)
BLANKS = {
    'black': np.zeros((28, 28)),
    'white': np.full((300, 200, 3), 255.0),
    'one pixel': np.full((1, 1), 100.0),
    'a line': np.full((3, 500), 100.0),
    'noise': random.normal(128, 20, (300, 400, 3)),
    'small noise': random.uniform(0, 255, (28, 28)),
    'paper texture': cv2.GaussianBlur(random.normal(128, 80, (300, 400)), (0, 0), 3),
    'paper in a shadow': paper(300, 400, random, shadow=True) + random.normal(0, 5, (300, 400)),
    'dust': np.where(random.rand(300, 400) > 0.9999, 0, 230),
}


@pytest.mark.parametrize('name', sorted(BLANKS))
def test_blank_pictures_are_refused(name):
    with pytest.raises(InputError, match='^mine.jpg: no digit in it') as caught:
        prepare_digit(np.clip(BLANKS[name], 0, 255).astype(np.float32), 'mine.jpg')
    assert '\n' not in str(caught.value)


def strokes(digits, rows, columns, places, factor=5):
    """Ink, float32 [rows, columns] in [0, 1], with digits at places."""
    ink = np.zeros((rows, columns), np.float32)
    for digit, (top, left) in zip(digits, places):
        ink[top:top + 28 * factor, left:left + 28 * factor] = np.maximum(
            ink[top:top + 28 * factor, left:left + 28 * factor], enlarge(digit, factor))
    return ink


def on_paper(ink, ground=240.0):
    return np.repeat((ground * (1 - ink) + 30 * ink)[:, :, np.newaxis], 3, axis=2).astype(np.float32)


def squared(ink, every=40):
    ground = np.full(ink.shape, 240.0)
    ground[7::every] = ground[8::every] = ground[:, 9::every] = ground[:, 10::every] = 175
    return on_paper(ink, ground)


def on_a_table(ink):
    table = np.random.RandomState(0).normal(70, 5, (ink.shape[0] + 200, ink.shape[1] + 300, 3))
    table[80:80 + ink.shape[0], 90:90 + ink.shape[1]] = on_paper(ink)
    return table.astype(np.float32)


def likeness(prepared, digits):
    """Mean correlation, each digit shifted by up to a pixel: where the center of mass is rounded to is chance."""
    shifts = [(down, right) for down in (-1, 0, 1) for right in (-1, 0, 1)]
    return np.mean([max(np.corrcoef(np.roll(a, shift, (0, 1)).ravel(), b.ravel())[0, 1] for shift in shifts)
                    for a, b in zip(prepared, digits)])


PAPERS = {'plain': (on_paper, []), 'squared': (squared, ['fainter lines of the paper are left out']),
          'on a table': (on_a_table, ['cut out to the paper'])}


@pytest.mark.parametrize('paper', PAPERS)
def test_one_digit_on_paper(digits, paper):
    draw, notes = PAPERS[paper]
    found = [handwriting.find_digits(draw(strokes([digit], 300, 300, [(80, 90)]))) for digit in digits[:60:6]]
    assert all(reading.notes == notes and len(reading.digits) == 1 for reading in found)
    assert likeness([reading.digits[0] for reading in found], digits[:60:6]) > 0.9


@pytest.mark.parametrize('paper', PAPERS)
def test_digits_are_read_from_left_to_right_and_line_by_line(digits, paper):
    draw, notes = PAPERS[paper]
    places = [(20, 15), (40, 165), (10, 330), (190, 30), (200, 200)]
    reading = handwriting.find_digits(draw(strokes(digits[:5], 360, 500, places)))
    assert reading.notes == notes + ['5 digits'] and likeness(reading.digits, digits[:5]) > 0.9
    assert reading.boxes.shape == (5, 4)
    tops, lefts, bottoms, rights = reading.boxes.T
    assert np.all(np.diff(lefts)[[0, 1, 3]] > 0) and tops[3:].min() > bottoms[:3].max()
    for k, (top, left, bottom, right) in enumerate(reading.boxes):  # the box is about its digit, in the picture given
        inside = reading.picture[top:bottom, left:right, 0]
        assert inside.min() < 60 < 200 < inside.max()


def test_a_detached_stroke_belongs_to_its_digit():
    five = np.zeros((400, 400), np.float32)
    cv2.ellipse(five, (200, 250), (60, 60), 0, -90, 140, 1, 14)
    cv2.line(five, (195, 190), (170, 120), 1, 14)
    cv2.line(five, (195, 105), (270, 95), 1, 14)  # above the rest
    reading = handwriting.find_digits(on_paper(five))
    assert len(reading.digits) == 1 and reading.boxes[0][0] < 100 and reading.boxes[0][2] > 300


def test_touching_digits_are_reported():
    line = np.zeros((200, 400), np.float32)
    for left in (60, 160, 260):
        cv2.circle(line, (left, 100), 50, 1, 10)
    assert any('touching digits' in note for note in handwriting.find_digits(on_paper(line)).notes)


def test_a_picture_of_many_dots_is_done_at_once():
    dots = np.zeros((600, 600), np.float32)
    dots[20::40, 20::40] = 1
    dots = cv2.dilate(dots, np.ones((33, 9), np.uint8))
    assert len(handwriting.find_digits(on_paper(dots)).digits) <= handwriting.MAX_PARTS


def test_what_is_no_digit_is_told(digits):
    hills = np.zeros((300, 400), np.float32)
    cv2.circle(hills, (60, 330), 90, 1, -1)
    cv2.circle(hills, (330, 340), 110, 1, -1)
    cv2.circle(hills, (200, 60), 25, 1, -1)  # the sun, all that does not touch the border
    assert handwriting.NO_DIGIT in handwriting.find_digits(on_paper(hills)).notes
    random = np.random.RandomState(0)
    assert not any(handwriting.NO_DIGIT in handwriting.find_digits(photograph(digit, random)).notes
                   for digit in digits[:20])


@pytest.mark.parametrize('color', [0, 255])
@pytest.mark.parametrize('opaque', [False, True], ids=['transparent ground', 'transparent corners'])
def test_a_transparent_canvas(tmp_path, digits, color, opaque):
    ink = strokes(digits[:1], 200, 200, [(30, 30)])
    pixels = np.zeros((200, 200, 4))
    if opaque:  # a card with round corners
        pixels[:, :, :3] = ((255 - color) * (1 - ink) + color * ink)[:, :, np.newaxis]
        pixels[:, :, 3] = cv2.circle(np.zeros((200, 200)), (100, 100), 125, 255, -1)
    else:
        pixels[:, :, :3], pixels[:, :, 3] = color, 255 * ink
    Image.fromarray(pixels.astype(np.uint8)).save(str(tmp_path / 'a.png'))
    reading = handwriting.find_digits(handwriting.load(tmp_path / 'a.png'))
    assert likeness(reading.digits, digits[:1]) > 0.94
