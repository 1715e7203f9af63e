"""Operations of networks whose multiplications were published."""

import keras
import pytest

from kerastl.models.backbones import build_backbone, find_backbone
from kerastl.models.operations import operations_per_image


# Multiplications in units of 10**9, from the papers: He et al. 2015 (with the strides of Keras),
# Howard et al. 2017, Chollet 2017 as counted by timm, Liu et al. 2022.
@pytest.mark.parametrize(
    ("name", "multiplications"),
    [("ResNet50", 3.86), ("MobileNet", 0.568), ("Xception", 8.4), ("ConvNeXtTiny", 4.46)],
)
def test_published_numbers(name, multiplications):
    size = find_backbone(name).native_size
    backbone = build_backbone(name, image_size=size, weights="none")
    assert operations_per_image(backbone) == pytest.approx(2e9 * multiplications, rel=0.02)


def test_models_within_models_are_counted():
    inner_pixels = keras.Input((8, 8, 3))
    inner = keras.Model(inner_pixels, keras.layers.Conv2D(4, 3, padding="same")(inner_pixels))
    pixels = keras.Input((8, 8, 3))
    features = keras.layers.GlobalAveragePooling2D()(inner(pixels))
    model = keras.Model(pixels, keras.layers.Dense(2)(features))
    assert operations_per_image(model) == 2 * (8 * 8 * 9 * 3 * 4 + 4 * 2)
