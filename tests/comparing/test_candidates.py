"""Which backbones a user's words name."""

import pytest

from kerastl.comparing.candidates import SMALL, Candidate, parse_candidates
from kerastl.comparing.options import CompareOptions
from kerastl.errors import ConfigError
from kerastl.models.backbones import backbone_names


def test_names_sizes_and_weights():
    found = parse_candidates("resnet50@96x64=none, VGG16 ,EfficientNetLite0=my/file.weights.h5")
    assert found == (
        Candidate("ResNet50", (96, 64), "none"),
        Candidate("VGG16", (224, 224)),
        Candidate("EfficientNetLite0", (224, 224), "my/file.weights.h5"),
    )


def test_smaller_images_come_first_and_nothing_twice():
    found = parse_candidates("VGG16@64,VGG16,vgg16,InceptionV3,VGG16@224")
    assert [one.name for one in found] == ["VGG16@64", "VGG16@224", "InceptionV3@299"]
    options = CompareOptions("photos", backbones="VGG16@64,VGG16,vgg16,InceptionV3,VGG16@224")
    assert options.repeated == ("VGG16@224",)


def test_a_size_for_those_that_name_none():
    found = parse_candidates("VGG16,VGG19@48", image_size=(96, 96))
    assert [one.name for one in found] == ["VGG19@48", "VGG16@96"]


def test_words_for_many():
    assert {one.backbone for one in parse_candidates("small")} == set(SMALL)
    assert {one.backbone for one in parse_candidates("all,VGG16")} == set(backbone_names())


@pytest.mark.parametrize(
    ("text", "advice"),
    [
        ("ResNet5", "Did you mean 'ResNet50'"),
        ("VGG16@big", "image_size"),
        ("VGG16@0", "image_size"),
        (" , ", "names none"),
    ],
)
def test_other_words_are_one_clear_line(text, advice):
    with pytest.raises(ConfigError, match=advice):
        parse_candidates(text)


def test_what_is_typed_for_a_fit_and_for_the_same_comparison():
    options = CompareOptions("my photos", backbones="VGG16@64=none,VGG19", seed=3, pooling="max")
    assert options.command == (
        "python -m kerastl.compare 'my photos' --seed 3 --backbones VGG16@64=none,VGG19 "
        "--pooling max"
    )
    assert options.fit_command(options.candidates[0]) == (
        "python -m kerastl.fit 'my photos' --seed 3 --backbone VGG16 --weights none "
        "--image-size 64 --pooling max"
    )


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"most_images": 3}, "most_images=3"),
        ({"max_latency_ms": 0.0}, "max_latency_ms=0"),
        ({"max_minutes": -1.0}, "max_minutes"),
        ({"pooling": "mean"}, "pooling"),
        ({"feature_cache": ""}, "feature_cache"),
        ({"backbones": "nothing"}, "backbones"),
    ],
)
def test_values_that_cannot_work(values, words):
    with pytest.raises(ConfigError, match=words):
        CompareOptions("photos", **values)


def test_a_domain_settles_sizes_and_is_typed_again():
    options = CompareOptions("pages", backbones="VGG16,VGG19@64", domain="document")
    assert [one.name for one in options.candidates] == ["VGG19@64", "VGG16@352"]
    assert options.fit_command(options.candidates[0]) == (
        "python -m kerastl.fit pages --domain document --backbone VGG19 --image-size 64"
    )
    with pytest.raises(ConfigError, match="domain"):
        CompareOptions("pages", domain="documents")
