"""Answers equal what KerasHub's own networks, called whole, make of the same images and texts."""

import dataclasses
import io
import logging
from types import SimpleNamespace

import keras_hub
import numpy as np
import pytest
from PIL import Image
from scipy.special import expit, softmax

from kerastl.data.image_reader import read_image
from kerastl.errors import ConfigError, WeightsError
from kerastl.zero_shot.answers import label_embeddings, zero_shot_predictor
from kerastl.zero_shot.labels import labels_from_text
from kerastl.zero_shot.two_towers import towers_of

LABELS = labels_from_text("red cat,dog=big green dog,sky")
SENTENCE = "A photo of a {}."


def picture(seed, *, size=(50, 70), format_="PNG", **options):
    """An encoded picture of coarse noise."""
    noise = np.random.default_rng(seed).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    encoded = io.BytesIO()
    Image.fromarray(noise).resize(size[::-1], Image.Resampling.BICUBIC).save(
        encoded, format_, **options
    )
    return encoded.getvalue()


def parts_of(presets, family):
    folder = str(presets[family])
    backbone = keras_hub.models.Backbone.from_preset(folder)
    kind = {"clip": "CLIPPreprocessor", "siglip": "SigLIPPreprocessor"}[family]
    return backbone, getattr(keras_hub.models, kind).from_preset(folder)


def scores_by_label(answer):
    return np.array([answer.scores[answer.classes.index(label.name)] for label in LABELS])


@pytest.mark.parametrize("family", ["clip", "siglip"])
def test_scores_are_those_of_the_whole_network(presets, towers, family):
    backbone, preprocessor = parts_of(presets, family)
    contents = [picture(seed, size=(40 + 9 * seed, 90 - 7 * seed)) for seed in range(7)]
    prompts = [SENTENCE.replace("{}", label.words) for label in LABELS]
    logits = []
    for content in contents:
        pixels = read_image(content)[np.newaxis].repeat(len(prompts), axis=0)
        both = preprocessor({"prompts": prompts, "images": pixels})
        whole = backbone({name: both[name] for name in ("images", "token_ids")}, training=False)
        logits.append(np.asarray(whole["vision_logits"])[0])
    expected = (softmax if family == "clip" else lambda x, axis: expit(x))(np.stack(logits), axis=1)

    predictor = zero_shot_predictor(towers[family], LABELS, templates=[SENTENCE])
    answers = predictor.predict(contents)
    found = np.stack([scores_by_label(answer) for answer in answers])
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert found.std(axis=0).max() > 1e-3  # images differ
    assert found.std(axis=1).max() > 1e-2  # labels differ
    for answer in answers:
        assert list(answer.scores) == sorted(answer.scores, reverse=True)
    sums = found.sum(axis=1)
    assert np.allclose(sums, 1, atol=1e-5) == (family == "clip")


@pytest.mark.parametrize("family", ["clip", "siglip"])
def test_images_reach_the_tower_as_the_presets_own_preprocessor_makes_them(presets, towers, family):
    _, preprocessor = parts_of(presets, family)
    for seed in range(3):
        pixels = read_image(picture(seed, format_="JPEG"))
        own = preprocessor({"prompts": ["x"], "images": pixels[np.newaxis]})["images"]
        np.testing.assert_array_equal(towers[family].prepare(pixels), np.asarray(own)[0])


def test_several_templates_are_the_mean_of_their_unit_vectors(presets, towers):
    backbone, preprocessor = parts_of(presets, "clip")
    templates = ["a photo of a {}.", "a big {}", "{}"]
    rows = []
    for label in LABELS:
        vectors = []
        for template in templates:
            tokens = preprocessor(
                {"prompts": [template.replace("{}", label.words)], "images": None}
            )["token_ids"]
            vector = np.asarray(backbone.get_text_embeddings(tokens))[0]
            vectors.append(vector / np.sqrt((vector**2).sum()))
        mean = np.mean(vectors, axis=0)
        rows.append(mean / np.sqrt((mean**2).sum()))
    found = label_embeddings(towers["clip"], LABELS, templates=templates)
    np.testing.assert_allclose(found, rows, atol=1e-5)
    assert np.abs(found - label_embeddings(towers["clip"], LABELS)).max() > 1e-3


def test_any_number_of_texts(towers):
    sentences = [f"a photo of {number}" for number in range(70)]
    together = towers["clip"].embed_texts(sentences)
    assert together.shape == (70, 8)
    alone = towers["clip"].embed_texts(sentences[65:66])
    np.testing.assert_allclose(alone[0], together[65], atol=1e-5)
    assert not np.allclose(together[65], together[1], atol=1e-3)


def test_texts_are_embedded_once(towers):
    asked = []

    def embed_texts(sentences):
        asked.append(list(sentences))
        return towers["clip"].embed_texts(sentences)

    counting = dataclasses.replace(towers["clip"], embed_texts=embed_texts)
    predictor = zero_shot_predictor(counting, LABELS, templates=["{}", "a {}"])
    for seed in range(3):
        predictor.predict([picture(seed)])
    assert asked == [["red cat", "a red cat", "big green dog", "a big green dog", "sky", "a sky"]]


def test_broken_images_are_answered_with_their_error(towers):
    predictor = zero_shot_predictor(towers["siglip"], LABELS[:1])
    good, bad, also_good = predictor.predict([picture(0), b"no image", picture(1)])
    assert bad.error == "text, not an image"
    assert (good.classes, also_good.classes) == (("red cat",), ("red cat",))
    assert predictor.predict([b""])[0].classes == ()
    assert predictor.predict([]) == []


def test_images_are_upright(towers):
    predictor = zero_shot_predictor(towers["clip"], LABELS)
    upright = Image.open(io.BytesIO(picture(3)))
    turned, exif = io.BytesIO(), Image.Exif()
    exif[0x112] = 6  # to be turned by 90 degrees clockwise
    upright.transpose(Image.Transpose.ROTATE_90).save(turned, "PNG", exif=exif)
    one, other, lying = predictor.predict(
        [picture(3), turned.getvalue(), encoded(upright.transpose(Image.Transpose.ROTATE_90))]
    )
    assert one.scores == pytest.approx(other.scores, abs=1e-5)
    assert one.scores != pytest.approx(lying.scores, abs=1e-5)


def encoded(image):
    content = io.BytesIO()
    image.save(content, "PNG")
    return content.getvalue()


def test_one_label_is_no_choice_unless_scores_are_of_each_by_itself(towers):
    with pytest.raises(ConfigError, match=r"the score 1 .* \"red cat,something else\""):
        zero_shot_predictor(towers["clip"], LABELS[:1])


def test_texts_that_are_too_long_are_named(towers, caplog):
    with caplog.at_level(logging.WARNING, "kerastl"):
        towers["siglip"].embed_texts(["red", "small blue sky " * 9])
    (record,) = caplog.records
    assert "reads 24 tokens" in record.getMessage()
    assert "small blue sky" in record.getMessage()


def test_a_preprocessor_of_another_size_is_refused(presets):
    backbone, _ = parts_of(presets, "clip")
    for converter in (None, SimpleNamespace(image_size=(64, 64))):
        with pytest.raises(WeightsError, match=r"its network takes \(32, 32\)"):
            towers_of(backbone, SimpleNamespace(image_converter=converter))
