"""Pages of writing are told; what is light with dark spots on it is none."""

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont
from sklearn.datasets import load_sample_images

from kerastl.data.pages import is_page

LETTERS = list("abcdefghijklmnopqrstuvwxyz")


def rgb(image):
    return np.repeat(np.asarray(image)[..., None], 3, axis=-1)


def page(rng, *, size=(480, 640), lines=40):
    """A column of words in one font, on grey to white paper, with the noise of a scanner."""
    image = Image.new("L", size, int(rng.integers(200, 256)))
    draw = ImageDraw.Draw(image)
    points = int(rng.integers(9, 15))
    font, left, top = ImageFont.load_default(points), int(rng.integers(15, 60)), 30
    for line in range(lines):
        words = ["".join(rng.choice(LETTERS, rng.integers(2, 9))) for _ in range(8)]
        place = top + int(1.4 * points * line)
        if place < size[1] - 30 and rng.random() > 0.1:
            draw.text((left, place), " ".join(words), fill=int(rng.integers(0, 70)), font=font)
    noisy = np.asarray(image) + rng.normal(0, rng.uniform(0, 10), size[::-1])
    return rgb(np.clip(noisy, 0, 255).astype(np.uint8))


def cells(rng):
    """Stained cells on glass: as light, as many, as small, but not in lines."""
    image = Image.new("L", (640, 480), int(rng.integers(170, 250)))
    draw = ImageDraw.Draw(image)
    for _ in range(int(rng.integers(80, 400))):
        x, y, radius = rng.integers(0, 640), rng.integers(0, 480), rng.integers(3, 12)
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=50)
    return rgb(image)


def windows(_rng):
    """A light wall with rows and columns of windows."""
    image = Image.new("L", (640, 480), 220)
    draw = ImageDraw.Draw(image)
    for x in range(10, 630, 20):
        for y in range(10, 470, 24):
            draw.rectangle((x, y, x + 9, y + 13), fill=60)
    return rgb(image)


def product(rng):
    """One thing on white, as shops show it."""
    image = Image.new("L", (640, 640), 255)
    corners = rng.integers(60, 580, (5, 2)).ravel().tolist()
    ImageDraw.Draw(image).polygon(corners, fill=int(rng.integers(0, 150)))
    return rgb(image)


def digit(rng):
    image = Image.new("L", (640, 640), 255)
    font = ImageFont.load_default(500)
    ImageDraw.Draw(image).text((120, 30), str(rng.integers(0, 10)), fill=0, font=font)
    return rgb(image)


def noise(rng):
    return rgb(rng.integers(0, 256, (480, 640), np.uint8))


def crop(rng):
    image = load_sample_images().images[int(rng.integers(0, 2))]
    top, left = rng.integers(0, 427 - 200), rng.integers(0, 640 - 200)
    return image[top : top + 200, left : left + 200]


def test_pages_are_pages_either_way_up():
    for seed in range(12):
        pixels = page(np.random.default_rng(seed))
        assert is_page(pixels), seed
        assert is_page(pixels[::-1, ::-1]), seed


@pytest.mark.parametrize("paint", [cells, windows, product, digit, noise, crop])
def test_nothing_else_is(paint):
    assert not any(is_page(paint(np.random.default_rng(seed))) for seed in range(12))


def test_hardly_any_writing_is_no_sure_page():
    assert not is_page(page(np.random.default_rng(0), lines=1))
    for shape in [(1, 1, 3), (2, 300, 3), (40, 30, 3)]:
        assert not is_page(np.full(shape, 255, np.uint8))
