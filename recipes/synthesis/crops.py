"""The photographs that a style is learned with, and crops of them."""
from common import images
from common.errors import InputError
from synthesis import color

MOST_DRAWS = 100  # of a crop until it shows something


def load_photographs(paths):
    """Reads photographs to learn with, a list of float32 [height, width, 3]; InputError where one shows nothing."""
    photographs = [images.load_image(path) for path in paths]
    for path, photograph in zip(paths, photographs):
        if color.is_plain(photograph):
            raise InputError(f'--photos {path}: a picture of one color; nothing can be learned with it')
    return photographs


def draw_crop(photographs, size, random):
    """Draws a square crop, mirrored or not, of one of photographs, whose shorter side is one to two times the crop's.

    One that shows nothing, such as overexposed sky, is drawn again: of the noise that each normalization would make of
    it, the gradient is not finite.

    Args:
      photographs: list of float32 [height, width, 3].
      size: pixels, its side.
      random: np.random.RandomState.
    """
    for _ in range(MOST_DRAWS):
        photograph = photographs[random.randint(len(photographs))]
        height, width = photograph.shape[:2]
        scale = random.uniform(1, 2) * size / min(height, width)
        photograph = images.resize_image(photograph, *(max(size, round(scale * side)) for side in (height, width)))
        top, left = (random.randint(side - size + 1) for side in photograph.shape[:2])
        crop = photograph[top:top + size, left:left + size]
        crop = crop[:, ::-1] if random.randint(2) else crop
        if not color.is_plain(crop):
            break
    return crop
