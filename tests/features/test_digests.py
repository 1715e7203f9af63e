"""Equal parts, equal key, in any process; anything else is another key."""

import os
import subprocess
import sys

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kerastl.data.stream import ImageStream
from kerastl.data.table import table_from_arrays
from kerastl.features import digests
from kerastl.features.digests import KnownDigests, content_key, digest_images, digest_variables

# Few different values, so that equal and nearly equal pairs are drawn often.
SCALARS = st.one_of(
    st.sampled_from([None, True, False, 0, 1, 0.0, -0.0, 1.0, float("nan"), "", "1", b"", b"1"]),
    st.integers(),
    st.text(max_size=3),
    st.binary(max_size=3),
    st.floats(),
)
PARTS = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.lists(inner, max_size=3).map(tuple),
        st.dictionaries(st.text(max_size=2), inner, max_size=2),
    ),
    max_leaves=6,
)


def written(part):
    """What Python writes for a part, which tells apart what a key must; mappings sorted."""
    if isinstance(part, dict):
        return repr([(key, written(part[key])) for key in sorted(part)]) + "{}"
    if isinstance(part, list | tuple):
        return repr([written(one) for one in part]) + type(part).__name__
    return repr(part)


@given(PARTS, PARTS)
def test_keys_are_equal_for_equal_parts_only(first, second):
    assert (content_key(part=first) == content_key(part=second)) == (
        written(first) == written(second)
    )
    assert content_key(a=first, b=second) == content_key(b=second, a=first)
    assert content_key(a=(first, second)) != content_key(a=((first,), second))
    assert content_key(a=first) != content_key(b=first)


@pytest.mark.parametrize("hash_seed", ["0", "1", "random"])
def test_same_key_in_another_process(hash_seed):
    parts = {
        "policy": "rotate",
        "border": 7,
        "rate": 0.1,
        "sizes": (1, (2.0, None), b"\xff"),
        "options": {"z": [1], "a": "é"},
        "values": np.arange(6, dtype=np.float32).reshape(2, 3),
    }
    code = (
        "import numpy as np\nfrom numpy import array, float32\n"
        "from kerastl.features.digests import content_key, digest_images\n"
        f"print(content_key(**{parts!r}))\n"
        "images = np.arange(96, dtype=np.uint8).reshape(2, 4, 4, 3)\n"
        "print(*(digest.hex() for digest in digest_images(images)))"
    )
    environment = os.environ | {"PYTHONHASHSEED": hash_seed}
    answer = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    images = np.arange(96, dtype=np.uint8).reshape(2, 4, 4, 3)
    expected = [content_key(**parts), *(digest.hex() for digest in digest_images(images))]
    assert answer.stdout.split() == expected


@given(st.data())
@settings(max_examples=50)
def test_any_change_of_an_array_changes_the_key(data):
    dtype = data.draw(st.sampled_from(["uint8", "int64", "float16", "float32", "bfloat16", "U3"]))
    shape = tuple(data.draw(st.lists(st.integers(1, 3), min_size=1, max_size=3)))
    array = np.arange(np.prod(shape)).astype(dtype).reshape(shape)
    key = content_key(a=array)
    place = tuple(data.draw(st.integers(0, size - 1)) for size in shape)
    changed = array.copy()
    changed[place] = array.flat[0] if any(place) else np.asarray(99).astype(dtype)
    keys = [key, content_key(a=changed), content_key(a=array[None]), content_key(a=array.tolist())]
    keys.append(content_key(a=array.astype("float64" if dtype != "U3" else "U4")))
    assert len(set(keys)) == len(keys)
    # How it lies in memory does not count.
    assert content_key(a=np.asfortranarray(array)) == key
    if dtype != "bfloat16":
        assert content_key(a=array.astype(array.dtype.newbyteorder(">"))) == key


def test_scalars_of_numpy_are_those_of_python():
    assert content_key(a=np.int64(3), b=np.float64(0.5), c=np.bool_(True), d=np.str_("x")) == (
        content_key(a=3, b=0.5, c=True, d="x")
    )


@pytest.mark.parametrize(
    "part",
    [{1}, 1j, print, np.array([None]), np.zeros(1, [("a", "i4")]), {1: 2}, (1, {2})],
    ids=str,
)
def test_what_has_no_key_is_named(part):
    with pytest.raises(TypeError, match="nonsense"):
        content_key(nonsense=part)


def whole_key(*, pixel=0, weight=0.0, border=3, policy="none", precision="float32"):
    """A key as training makes it."""
    images = np.zeros((4, 6, 6, 3), np.uint8)
    images[2, 1, 1, 1] = pixel
    layer = keras.layers.Dense(2, kernel_initializer="zeros")
    layer.build((None, 3))
    layer.bias.assign([0.0, weight])
    return content_key(
        images=digest_images(images),
        weights=digest_variables(layer.variables),
        border=border,
        policy=policy,
        precision=precision,
    )


def test_each_part_of_a_real_key_counts():
    changes = [
        {},
        {"pixel": 1},
        {"weight": 1e-30},
        {"border": 4},
        {"policy": "rotate"},
        {"precision": "bfloat16"},
    ]
    keys = [whole_key(**change) for change in changes]
    assert len(set(keys)) == len(changes)
    assert whole_key() == keys[0]  # though Keras has numbered the layers on


def test_variables_names_shapes_types_and_order_count():
    def variables(dtype="float32", shape=(2, 3), names=("a", "b")):
        return [keras.Variable(np.zeros(shape), dtype=dtype, name=name) for name in names]

    makes = [{}, {"dtype": "bfloat16"}, {"shape": (3, 2)}, {"names": ("b", "a")}, {"names": ("a",)}]
    digests_of = [digest_variables(variables(**make)) for make in makes]
    assert len(set(digests_of)) == len(makes)
    assert digest_variables(variables()) == digests_of[0]


@pytest.mark.parametrize("chunk_bytes", [1, 400, 10**9])
def test_images_however_they_are_kept_and_read(monkeypatch, chunk_bytes):
    images = np.random.default_rng(0).integers(0, 256, (23, 8, 8, 3), np.uint8)
    rows = np.array([5, 3, 22, 0, 1, 2])
    expected = digest_images(images)
    assert len(set(expected)) == 23
    monkeypatch.setattr(digests, "_CHUNK_BYTES", chunk_bytes)
    stream = ImageStream(table_from_arrays(images, np.arange(23) % 3), image_size=(8, 8))
    assert digest_images(images) == digest_images(stream) == expected
    some = [expected[row] for row in rows]
    assert digest_images(images, rows) == digest_images(stream, rows) == some
    assert digest_images(images[rows]) == some
    # The size counts, not the bytes alone.
    assert not {*digest_images(images[:, :, :4].reshape(23, 4, 8, 3))} & {
        *digest_images(images[:, :, :4])
    }
    assert digest_images(images[:0]) == []


def test_known_images_are_not_read_again():
    images = np.random.default_rng(0).integers(0, 256, (9, 4, 4, 3), np.uint8)
    known = KnownDigests()
    asked = []

    class Watched:
        shape = images.shape

        def __getitem__(self, rows):
            asked.extend(np.arange(9)[rows].tolist())
            return images[rows]

    watched = Watched()
    assert known.of(watched, np.array([4, 2])) == digest_images(images, np.array([4, 2]))
    assert known.of(watched, np.arange(9)) == digest_images(images)
    assert sorted(asked) == list(range(9))
    del watched
    other = images + 1  # may be where the first one was
    assert known.of(other, np.arange(2)) == digest_images(other[:2])


def test_images_must_be_bytes():
    with pytest.raises(TypeError, match="uint8; received float32"):
        digest_images(np.zeros((2, 2, 2, 3), np.float32))
