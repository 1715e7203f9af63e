"""Which blocks are tuned: thirds and ranges, their words, and where the network is cut for them."""

import keras
import pytest

from kerastl.errors import ConfigError
from kerastl.models.network import build_network
from kerastl.models.tuned_blocks import TunedBlocks, named_blocks, top_blocks
from kerastl.option_values import THIRDS


def own_network(**options):
    """Three blocks that end with pool0, pool1 and the output."""
    inputs = keras.Input((16, 16, 3))
    x = inputs
    for index in range(2):
        x = keras.layers.Conv2D(4, 3, padding="same")(x)
        x = keras.layers.MaxPooling2D(name=f"pool{index}")(x)
    own = keras.Model(inputs, keras.layers.Conv2D(4, 3)(x), name="three")
    return build_network("own", own=own, **options)


@pytest.mark.parametrize(
    ("num_blocks", "thirds"),
    [
        (1, ["1", "1", "1"]),
        (2, ["1", "1-2", "2"]),
        (3, ["1", "2", "3"]),
        (4, ["1", "2-3", "4"]),
        (5, ["1-2", "3", "4-5"]),
        (17, ["1-6", "7-11", "12-17"]),
    ],
)
def test_thirds(num_blocks, thirds):
    found = [named_blocks(one, num_blocks=num_blocks, of="net") for one in THIRDS]
    assert [one.option for one in found] == thirds


def test_thirds_share_all_blocks_without_gap_or_overlap():
    for num_blocks in range(3, 60):
        first, middle, last = (named_blocks(x, num_blocks=num_blocks, of="net") for x in THIRDS)
        assert (first.first, last.last) == (1, num_blocks)
        assert (first.last + 1, middle.last + 1) == (middle.first, last.first)
        counts = [first.count, middle.count, last.count]
        assert max(counts) - min(counts) <= 1


@pytest.mark.parametrize(
    ("ends", "words"),
    [
        ((1, 17), "all 17 blocks"),
        ((9, 17), "the top 9 of 17 blocks"),
        ((17, 17), "the top 1 of 17 blocks"),
        ((5, 8), "blocks 5 to 8 of 17"),
        ((1, 6), "blocks 1 to 6 of 17"),
        ((5, 5), "block 5 of 17"),
    ],
)
def test_words(ends, words):
    assert TunedBlocks(*ends, 17).words == words
    assert TunedBlocks(1, 1, 1).words == "the only block"


def test_another_number_of_blocks_is_in_the_same_part():
    for num_blocks in (1, 2, 3, 17):
        for first in range(1, num_blocks + 1):
            for last in range(first, num_blocks + 1):
                tuned = TunedBlocks(first, last, num_blocks)
                assert tuned.resized(tuned.count) == tuned
                for count in range(1, num_blocks + 1):
                    other = tuned.resized(count)
                    assert 1 <= other.first <= other.last <= num_blocks
                    assert other.count == count
    assert top_blocks(4, num_blocks=17).resized(2) == top_blocks(2, num_blocks=17)


@pytest.mark.parametrize(
    ("tune", "border", "frozen_above"),
    [
        ("1", None, "pool0"),
        ("1-2", None, "pool1"),
        ("2", "pool0", "pool1"),
        ("2-3", "pool0", None),
        ("last", "pool1", None),
        ("1-3", None, None),
    ],
)
def test_the_network_is_cut_below_and_above(tune, border, frozen_above):
    network = own_network(tune=tune)
    found = [one and one.name for one in (network.border, network.frozen_above)]
    assert found == [border, frozen_above]
    assert network.unfreeze_blocks == network.tuned.count


def test_a_range_up_to_the_top_is_so_many_from_the_top():
    for count in (1, 2, 3):
        network = own_network(unfreeze_blocks=count)
        assert network.tuned == network.tuning(f"{4 - count}-3").tuned
        assert network.frozen_above is None
    none = own_network(unfreeze_blocks=0)
    assert (none.tuned, none.border, none.frozen_above) == (None, None, None)
    assert none.tuned_words == "none"


@pytest.mark.parametrize("tune", ["4", "2-4", "9-12"])
def test_blocks_that_there_are_not_are_refused(tune):
    with pytest.raises(ConfigError) as caught:
        own_network(tune=tune)
    assert str(caught.value) == (
        "`tune` must name blocks of three, 1 to 3 counted from the input; received "
        f"tune={tune!r}. Write for example first, 3 or 1-3."
    )
