"""Every operation is what Pillow does; what is drawn depends on the seed alone."""

import keras_cv
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image, ImageEnhance, ImageOps

from kerastl.data.rand_augment import GEOMETRIC, OPERATIONS, apply_operations, rand_augment, warp

RNG = np.random.default_rng(0)
SMALL = Image.fromarray(RNG.integers(20, 230, (9, 12, 3), dtype=np.uint8))
PHOTOS = np.stack(
    [np.asarray(SMALL.rotate(k).resize((48, 40), Image.Resampling.BICUBIC)) for k in (0, 9, 60)]
)
MAGNITUDE = 0.5
SEED = tf.constant([3, 4], tf.int64)


def applied(name, *, sign=1.0, magnitude=MAGNITUDE):
    chosen = [[OPERATIONS.index(name)] * len(PHOTOS)]
    images = tf.constant(PHOTOS.astype("float32"))
    return apply_operations(images, chosen, [[sign] * len(PHOTOS)], magnitude=magnitude).numpy()


REFERENCES = {
    "Identity": lambda image, _: image,
    "Posterize": lambda image, _: ImageOps.posterize(image, 6),
    "Solarize": lambda image, _: ImageOps.solarize(image, 128),
    "AutoContrast": lambda image, _: ImageOps.autocontrast(image),
    "Equalize": lambda image, _: ImageOps.equalize(image),
    "Brightness": lambda image, sign: ImageEnhance.Brightness(image).enhance(1 + sign * 0.45),
    "Color": lambda image, sign: ImageEnhance.Color(image).enhance(1 + sign * 0.45),
    "Contrast": lambda image, sign: ImageEnhance.Contrast(image).enhance(1 + sign * 0.45),
    "Sharpness": lambda image, sign: ImageEnhance.Sharpness(image).enhance(1 + sign * 0.45),
}


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("name", REFERENCES)
def test_colours_are_those_of_pillow(name, sign):
    results = applied(name, sign=float(sign))
    for photo, result in zip(PHOTOS, results, strict=True):
        expected = np.asarray(REFERENCES[name](Image.fromarray(photo), sign)).astype(float)
        # Pillow rounds (or cuts) to whole numbers, and its smoothing is one grey value off.
        assert np.abs(result - expected).max() <= 2, name
        assert name == "Identity" or np.abs(result - photo).max() > 2.5


def test_what_moves_pixels_goes_the_right_way():
    height, width = PHOTOS.shape[1:3]
    centre = np.array([(height - 1) / 2, (width - 1) / 2])
    spot = np.zeros((1, height, width, 3), np.float32)
    spot[0, 10, 15] = 255

    def found(name, sign):
        moved = apply_operations(
            tf.constant(spot), [[OPERATIONS.index(name)]], [[sign]], magnitude=0.2
        )[0, :, :, 0].numpy()
        weights = moved / moved.sum()
        rows, columns = np.mgrid[:height, :width]
        return np.array([(weights * rows).sum(), (weights * columns).sum()]) - centre

    y, x = np.array([10, 15]) - centre
    angle = np.deg2rad(6)
    expected = {  # the warp maps output places to input places: contents go the other way
        "TranslateX": (y, x - 0.2 * 150 / 331 * width),
        "TranslateY": (y - 0.2 * 150 / 331 * height, x),
        "ShearX": (y, x - 0.06 * y),
        "ShearY": (y - 0.06 * x, x),
        "Rotate": (
            y * np.cos(angle) - x * np.sin(angle),
            x * np.cos(angle) + y * np.sin(angle),
        ),
    }
    for name, place in expected.items():
        np.testing.assert_allclose(found(name, 1.0), place, atol=0.15, err_msg=name)
        assert np.abs(found(name, -1.0) - found(name, 1.0)).max() > 0.5


def centred(a, b, d, e, size):
    """Pillow's affine coefficients of a matrix about the centre."""
    x, y = size[0] / 2, size[1] / 2
    return (a, b, x - a * x - b * y, d, e, y - d * x - e * y)


SHEAR, SHIFT = 0.3 * MAGNITUDE, 150 / 331 * MAGNITUDE
ANGLE = np.deg2rad(30 * MAGNITUDE)
AFFINE = {
    "ShearX": lambda size: centred(1, SHEAR, 0, 1, size),
    "ShearY": lambda size: centred(1, 0, SHEAR, 1, size),
    "TranslateX": lambda size: (1, 0, SHIFT * size[0], 0, 1, 0),
    "TranslateY": lambda size: (1, 0, 0, 0, 1, SHIFT * size[1]),
    "Rotate": lambda size: centred(
        np.cos(ANGLE), -np.sin(ANGLE), np.sin(ANGLE), np.cos(ANGLE), size
    ),
}


def in_pillow(photo, coefficients):
    """Warp by Pillow; return the pixels that come from well inside of the image too."""
    warped = [
        Image.fromarray(image).transform(
            (photo.shape[1], photo.shape[0]),
            Image.Transform.AFFINE,
            coefficients,
            Image.Resampling.BILINEAR,
        )
        for image in (photo, np.pad(np.full_like(photo[2:-2, 2:-2, 0], 255), 2))
    ]
    return np.asarray(warped[0]).astype(float), np.asarray(warped[1]) == 255


@pytest.mark.parametrize("name", GEOMETRIC)
def test_what_moves_pixels_is_what_pillow_does(name):
    for photo, result in zip(PHOTOS, applied(name), strict=True):
        expected, inside = in_pillow(photo, AFFINE[name](photo.shape[1::-1]))
        assert inside.mean() > 0.5
        assert np.abs(result - expected)[inside].max() <= 2, name
        assert np.abs(result - photo)[inside].mean() > 2


def test_moves_come_first_and_in_one_warp():
    chosen = [[OPERATIONS.index(name)] * len(PHOTOS) for name in ("Rotate", "Solarize", "ShearX")]
    images = tf.constant(PHOTOS.astype("float32"))
    result = apply_operations(images, chosen, tf.ones((3, len(PHOTOS))), magnitude=MAGNITUDE)
    turn = np.array([[np.cos(ANGLE), -np.sin(ANGLE)], [np.sin(ANGLE), np.cos(ANGLE)]])
    (a, b), (d, e) = turn @ np.array([[1, SHEAR], [0, 1]])
    for photo, picture in zip(PHOTOS, result.numpy(), strict=True):
        moved, inside = in_pillow(photo, centred(a, b, d, e, photo.shape[1::-1]))
        # Near the threshold of 127.5 a rounding decides.
        sure = inside & (np.abs(moved - 127.5) > 2).all(axis=2)
        expected = np.where(moved < 128, moved, 255 - moved)
        assert np.abs(picture - expected)[sure].max() <= 2


@pytest.mark.parametrize("size", [(6, 6), (5, 8)])
def test_warps_by_mirrors_are_numpy_flips(size):
    images = RNG.integers(0, 256, (1, *size, 3)).astype("float32")
    for x, y in ((1, 1), (-1, 1), (1, -1), (-1, -1)):
        flipped = warp(images, tf.linalg.diag([[float(x), float(y), 1.0]]))
        np.testing.assert_allclose(flipped, images[:, ::y, ::x], atol=1e-3)
    if size[0] == size[1]:
        swap = tf.constant([[[0.0, 1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]])
        np.testing.assert_allclose(warp(images, swap), images.swapaxes(1, 2), atol=1e-3)


def test_traces_of_interpolation_are_not_stretched():
    """One even colour that is off by rounding errors stays one even colour."""
    images = 77 + RNG.uniform(-1e-4, 1e-4, (1, 8, 8, 3)).astype("float32")
    for name in ("AutoContrast", "Equalize"):
        result = apply_operations(
            tf.constant(images), [[OPERATIONS.index(name)]], [[1.0]], magnitude=1.0
        )
        np.testing.assert_allclose(result, images, atol=1e-3)


def test_one_image_and_no_image():
    for count in (1, 0):
        images = tf.constant(PHOTOS[:count].astype("float32"))
        for number in range(6):
            result = rand_augment(images, SEED + number, magnitude=1.0)
            assert result.shape == images.shape
            assert np.isfinite(result).all()


def test_each_image_gets_its_own_operations():
    images = tf.constant(PHOTOS.astype("float32"))
    numbers = [OPERATIONS.index(name) for name in ("Identity", "Equalize", "Color")]
    result = apply_operations(images, [numbers], [[1.0, 1.0, 1.0]], magnitude=0.5).numpy()
    np.testing.assert_array_equal(result[0], PHOTOS[0])
    np.testing.assert_allclose(result[1], applied("Equalize")[1])
    np.testing.assert_allclose(result[2], applied("Color")[2], atol=1e-3)


@pytest.mark.parametrize("value", [0, 77, 255])
def test_images_of_one_value_survive_everything(value):
    images = tf.fill((len(OPERATIONS), 8, 8, 3), float(value))
    numbers = [list(range(len(OPERATIONS)))]
    result = apply_operations(images, numbers, tf.ones((1, len(OPERATIONS))), magnitude=1.0)
    assert np.isfinite(result).all()
    np.testing.assert_array_equal(
        result[OPERATIONS.index("AutoContrast")], tf.fill((8, 8, 3), float(value))
    )


def test_draws_cover_all_operations_and_depend_on_the_seed_alone():
    images = tf.constant(np.repeat(PHOTOS[:1], 64, axis=0).astype("float32"))
    first = rand_augment(images, SEED, magnitude=0.5).numpy()
    np.testing.assert_array_equal(first, rand_augment(images, SEED, magnitude=0.5))
    assert not np.allclose(first, rand_augment(images, SEED + 1, magnitude=0.5))
    assert len(np.unique(first.reshape(64, -1)[:, :500], axis=0)) > 45
    assert first.min() >= 0
    assert first.max() <= 255


def test_keras_cv_equalizes_and_stretches_alike():
    """The layers of keras-cv are an independent word on what the operations are."""
    images = tf.constant(PHOTOS.astype("float32"))
    for name, layer in {
        "AutoContrast": keras_cv.layers.AutoContrast(value_range=(0, 255)),
        "Equalize": keras_cv.layers.Equalization(value_range=(0, 255)),
    }.items():
        difference = np.abs(applied(name) - layer(images).numpy())
        assert difference.mean() < 2, name
