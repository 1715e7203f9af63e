"""Borders lie between blocks and nowhere else, and cutting there changes no answer."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from kerastl.errors import ConfigError
from kerastl.models.backbones import build_backbone, find_backbone
from kerastl.models.blocks import (
    Border,
    borders,
    nodes_of,
    split,
    split_at,
)
from kerastl.models.depth import count_blocks, top_blocks_border


def residual_block(x, filters, name):
    """Return add(x, conv(conv(x))), named as in ResNet."""
    inner = layers.Conv2D(filters, 3, padding="same", name=f"{name}_1_conv")(x)
    inner = layers.BatchNormalization(name=f"{name}_1_bn")(inner)
    inner = layers.ReLU(name=f"{name}_1_relu")(inner)
    inner = layers.Conv2D(filters, 3, padding="same", name=f"{name}_2_conv")(inner)
    x = layers.Add(name=f"{name}_add")([x, inner])
    return layers.ReLU(name=f"{name}_out")(x)


def residual_network(num_blocks=3):
    """Return stem, residual blocks, and a last convolution."""
    inputs = keras.Input((12, 12, 3))
    x = layers.Conv2D(6, 3, padding="same", name="stem")(inputs)
    for index in range(num_blocks):
        x = residual_block(x, 6, f"block{index}")
    return keras.Model(inputs, layers.Conv2D(4, 1, name="top")(x), name="residual")


def random_images(*shape):
    return tf.constant(np.random.default_rng(0).normal(size=shape), "float32")


def names(found):
    return [border.name for border in found]


def assert_same_answer(model, border, images):
    """`suffix(prefix(x))` is `model(x)`, which depends on x."""
    prefix, suffix = split(model, border)
    answer = model(images, training=False).numpy()
    assert np.ptp(answer, axis=0).mean() > 0.1 * answer.std() > 0
    np.testing.assert_array_equal(suffix(prefix(images)).numpy(), answer)


def test_no_border_inside_a_residual_block_whatever_the_pattern():
    model = residual_network()
    inside = {
        f"block{block}_{part}"
        for block in range(3)
        for part in ("1_conv", "1_bn", "1_relu", "2_conv")
    }
    everything = names(borders(model, ".*"))
    assert not inside & set(everything)
    assert everything == ["stem", "block0_out", "block1_out", "block2_out"]


def test_the_structural_rule_finds_residual_blocks():
    assert names(borders(residual_network(), None)) == ["block0_out", "block1_out", "block2_out"]


def test_the_structural_rule_cuts_a_plain_chain_where_the_resolution_falls():
    inputs = keras.Input((32, 32, 3))
    x = layers.Conv2D(4, 3, name="conv_a")(inputs)
    x = layers.MaxPooling2D(name="pool_a")(x)
    x = layers.Conv2D(4, 3, activation="relu", name="conv_b")(x)
    x = layers.Conv2D(4, 3, strides=2, name="conv_c")(x)
    x = layers.BatchNormalization(name="bn_c")(x)
    x = layers.ReLU(name="relu_c")(x)
    x = layers.DepthwiseConv2D(3, strides=2, name="conv_d")(x)
    x = layers.Conv2D(4, 1, name="conv_e")(x)
    model = keras.Model(inputs, x)
    assert names(borders(model, None)) == ["pool_a", "relu_c", "conv_d"]


def test_the_structural_rule_takes_no_gate_for_a_block():
    inputs = keras.Input((16, 16, 3))
    x = layers.Conv2D(4, 3, name="conv")(inputs)
    gate = layers.GlobalAveragePooling2D(keepdims=True)(x)
    gate = layers.Conv2D(4, 1, activation="sigmoid", name="excite")(gate)
    x = layers.Multiply(name="scale")([x, gate])
    model = keras.Model(inputs, layers.Conv2D(4, 1)(x))
    assert borders(model, None) == ()
    assert count_blocks(model, None) == 1


def test_the_structural_rule_takes_no_constant_for_a_branch():
    inputs = keras.Input((16, 16, 3))
    x = layers.Conv2D(4, 3)(inputs) + 3.0
    assert borders(keras.Model(inputs, layers.Conv2D(4, 1)(x)), None) == ()


def test_the_structural_rule_knows_raw_operations_and_concatenation():
    inputs = keras.Input((16, 16, 3))
    x = layers.Conv2D(4, 3, padding="same")(inputs)
    x = x + layers.Conv2D(4, 3, padding="same")(x)
    joined = layers.Concatenate(name="joined")(
        [layers.Conv2D(2, 1)(x), layers.Conv2D(2, 3, padding="same")(x)]
    )
    model = keras.Model(inputs, layers.Conv2D(4, 1)(joined))
    found = borders(model, None)
    assert len(found) == 2
    assert found[1].name == "joined"
    assert_same_answer(model, found[0], random_images(2, 16, 16, 3))


def test_a_convolution_behind_the_last_border_is_a_block_of_its_own():
    model = residual_network()
    assert count_blocks(model, None) == 4
    assert top_blocks_border(model, None, 1).name == "block2_out"


@pytest.mark.parametrize(
    ("name", "num_blocks", "first_from_top"),
    [
        ("EfficientNetB0", 17, "block7a_project_bn"),  # top_conv is a block
        ("VGG16", 5, "block4_pool"),  # nothing behind block5_pool
        ("ResNet50V2", 16, "conv5_block2_out"),  # a normalisation behind conv5_block3_out
        ("DenseNet121", 58, "conv5_block15_concat"),
    ],
)
def test_blocks_of_known_networks(fresh_keras, name, num_blocks, first_from_top):
    backbone = build_backbone(name, image_size=(32, 32), weights="none")
    pattern = find_backbone(name).border_pattern
    assert count_blocks(backbone, pattern) == num_blocks
    assert top_blocks_border(backbone, pattern, 1).name == first_from_top
    assert top_blocks_border(backbone, pattern, num_blocks) is None


@pytest.mark.parametrize("unfreeze_blocks", [0, -1, 5])
def test_a_wrong_number_of_blocks_is_answered_with_the_right_ones(unfreeze_blocks):
    with pytest.raises(ConfigError) as caught:
        top_blocks_border(residual_network(), None, unfreeze_blocks)
    assert str(caught.value) == (
        "`unfreeze_blocks` must be 1 to 4, the number of blocks of residual; received "
        f"unfreeze_blocks={unfreeze_blocks}. Write 'all' to train the whole backbone, or 0 to "
        "keep it frozen."
    )


def test_cells_that_read_two_before_them_are_cut_by_two_tensors():
    inputs = keras.Input((8, 8, 3))
    previous, current = inputs, layers.Conv2D(3, 1, name="stem")(inputs)
    for index in range(3):
        joined = layers.Concatenate(name=f"cell_{index}")(
            [layers.Conv2D(3, 1)(previous), layers.Conv2D(3, 3, padding="same")(current)]
        )
        previous, current = current, joined
    model = keras.Model(inputs, current)
    assert borders(model, r"cell_\d") == ()
    found = borders(model, r"cell_\d", max_tensors=2)
    assert [(border.name, border.num_tensors) for border in found] == [("cell_0", 2), ("cell_1", 2)]
    prefix, suffix = split(model, found[1])
    assert [tuple(tensor.shape) for tensor in prefix.outputs] == [
        tuple(tensor.shape) for tensor in suffix.inputs
    ]
    assert_same_answer(model, found[0], random_images(2, 8, 8, 3))
    assert_same_answer(model, found[1], random_images(2, 8, 8, 3))


def test_borders_lie_behind_one_another_and_never_side_by_side():
    inputs = keras.Input((8, 8, 3))
    left, right = layers.Conv2D(3, 1, name="left")(inputs), layers.Conv2D(3, 1)(inputs)
    right = layers.Conv2D(3, 1, name="right")(right)
    model = keras.Model(inputs, layers.Conv2D(4, 1)(layers.Add()([left, right])))
    found = borders(model, "left|right", max_tensors=2)
    assert len(found) == 1
    assert_same_answer(model, found[0], random_images(2, 8, 8, 3))


def test_a_second_input_crosses_every_border_above_it():
    image, extra = keras.Input((8, 8, 3)), keras.Input((1, 1, 4))
    x = layers.MaxPooling2D(name="early")(layers.Conv2D(4, 3)(image))
    x = layers.Add(name="late")([layers.Conv2D(4, 1)(x), extra])
    x = layers.Conv2D(4, 1)(x)
    x = layers.MaxPooling2D(name="end")(x)
    model = keras.Model([image, extra], layers.Conv2D(2, 1)(x))
    assert names(borders(model, None)) == ["late", "end"]
    both = [random_images(2, 8, 8, 3), random_images(2, 1, 1, 4)]
    prefix, suffix = split(model, borders(model, None)[0])
    np.testing.assert_array_equal(suffix(prefix(both)).numpy(), model(both).numpy())


def test_a_layer_on_both_sides_of_the_border_stays_one_layer():
    shared = layers.Conv2D(3, 3, padding="same", name="shared")
    inputs = keras.Input((8, 8, 3))
    x = layers.MaxPooling2D(name="half")(shared(shared(inputs)))
    model = keras.Model(inputs, shared(x))
    (border,) = borders(model, None)
    prefix, suffix = split(model, border)
    assert prefix.get_layer("shared") is suffix.get_layer("shared") is shared
    assert [node.operation.name for node in nodes_of(suffix)][1:] == ["shared"]
    assert_same_answer(model, border, random_images(2, 8, 8, 3))


def test_arguments_beyond_the_first_travel_with_the_call():
    inputs = keras.Input((6, 4))
    x = layers.Dense(4, name="stem")(inputs)
    attended = layers.MultiHeadAttention(2, 2)(query=x, value=x, use_causal_mask=True)
    x = layers.Add(name="attended")([x, attended])
    attended = layers.MultiHeadAttention(2, 2)(x, value=x, use_causal_mask=True)
    x = keras.ops.concatenate([x, attended], axis=-1)
    x = keras.ops.clip(x, x_min=-1.0, x_max=1.0)
    model = keras.Model(inputs, layers.Dense(3)(x))
    assert_same_answer(model, borders(model, "attended")[0], random_images(2, 6, 4))


def test_a_network_used_inside_others_is_cut_by_its_own_calls():
    model = residual_network()
    expected = borders(model, None)
    pixels = keras.Input((12, 12, 3))
    halved = layers.Rescaling(0.5)(pixels)
    keras.Model(pixels, model(halved, training=False))
    keras.Model(model.input, model.get_layer("block1_out").output)
    # A layer called once more by hand has an inbound node that is in no model.
    model.get_layer("block2_2_conv")(keras.Input((5, 5, 6)))
    assert borders(model, None) == expected
    for border in expected:
        assert_same_answer(model, border, random_images(2, 12, 12, 3))


def test_a_part_can_be_cut_again():
    model = residual_network()
    images = random_images(2, 12, 12, 3)
    prefix, suffix = split(model, borders(model, None)[0])
    rest = borders(suffix, None)
    assert names(rest) == ["block1_out", "block2_out"]
    middle, end = split(suffix, rest[0])
    np.testing.assert_array_equal(end(middle(prefix(images))).numpy(), model(images).numpy())


def test_a_loaded_network_is_cut_like_the_saved_one(tmp_path):
    model = residual_network()
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert borders(loaded, None) == borders(model, None)
    assert_same_answer(loaded, borders(loaded, None)[1], random_images(2, 12, 12, 3))


def test_a_sequential_network_is_cut_too():
    model = keras.Sequential(
        [
            keras.Input((12, 12, 3)),
            layers.Conv2D(4, 3),
            layers.MaxPooling2D(name="pool"),
            layers.Conv2D(4, 3),
        ]
    )
    (border,) = borders(model, None)
    assert border.name == "pool"
    assert_same_answer(model, border, random_images(2, 12, 12, 3))


def test_training_the_suffix_trains_the_network_above_the_border_only():
    model = residual_network()
    border = top_blocks_border(model, None, 2)
    prefix, suffix = split(model, border)
    below = [value.copy() for value in prefix.get_weights()]
    before = model.get_layer("block2_2_conv").kernel.numpy().copy()
    suffix.compile(keras.optimizers.SGD(0.1), "mse")
    maps = prefix.predict(random_images(4, 12, 12, 3), verbose=0)
    suffix.fit(maps, np.ones((4, 12, 12, 4)), epochs=1, verbose=0)
    assert np.abs(model.get_layer("block2_2_conv").kernel.numpy() - before).max() > 0
    for value, expected in zip(prefix.get_weights(), below, strict=True):
        np.testing.assert_array_equal(value, expected)
    assert_same_answer(model, border, random_images(2, 12, 12, 3))


def test_several_borders_cut_in_parts_that_follow_each_other():
    model = residual_network()
    images = random_images(2, 12, 12, 3)
    cuts = borders(model, None)
    for chosen in (cuts[:1], cuts[1:], cuts):
        x = images
        parts = split_at(model, chosen)
        for part in parts:
            x = part(x)
        np.testing.assert_array_equal(x.numpy(), model(images).numpy())
        assert [part.name for part in (parts[0], parts[-1])] == [
            "residual_prefix",
            "residual_suffix",
        ]
    assert len(split_at(model, cuts)) == len(cuts) + 1
    with pytest.raises(ConfigError, match="from input to output, each above the one before"):
        split_at(model, cuts[::-1])


def test_what_crosses_two_borders_goes_through_the_part_between():
    inputs = keras.Input((8, 8, 3))
    x = layers.MaxPooling2D(name="low")(layers.Conv2D(4, 3)(inputs))
    feature = layers.GlobalAveragePooling2D()(x)
    x = layers.MaxPooling2D(name="high")(layers.Conv2D(5, 2)(x))
    x = layers.GlobalAveragePooling2D()(layers.Conv2D(6, 1)(x))
    model = keras.Model(inputs, layers.Concatenate()([feature, x]))
    cuts = borders(model, "low|high", max_tensors=2)
    below, between, above = split_at(model, cuts)
    assert (len(below.outputs), len(between.outputs)) == (2, 2)
    images = random_images(2, 8, 8, 3)
    np.testing.assert_array_equal(above(between(below(images))).numpy(), model(images).numpy())


def test_a_border_of_another_network_is_refused():
    model = residual_network()
    stranger = Border(name="conv4_block6_out", position=3, num_tensors=1)
    with pytest.raises(ConfigError, match=r"of another model\. Ask kerastl\.models\.blocks\.bord"):
        split(model, stranger)


def test_a_model_without_a_graph_is_refused_with_a_way_out():
    class Opaque(keras.Model):
        def call(self, inputs):
            return inputs

    with pytest.raises(ConfigError, match=r"Opaque.*Rebuild it as keras\.Model\(inputs, outputs\)"):
        borders(Opaque(name="opaque"), None)
