"""Planted copies are found, look-alikes are not."""

import io

import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageOps

from kerastl.data.duplicates import find_duplicates
from kerastl.data.nearest import Neighbours
from kerastl.data.perceptual import close_pairs
from kerastl.data.scan import scan_images, scan_pixels
from kerastl.data.table import ImageTable


def stored(image, quality=80):
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()


CHANGES = {
    "stored anew": lambda image: stored(image, quality=50),
    "half the size": lambda image: stored(image.resize((image.width // 2, image.height // 2))),
    "brighter": lambda image: stored(ImageEnhance.Brightness(image).enhance(1.1)),
    "less contrast": lambda image: stored(ImageEnhance.Contrast(image).enhance(0.7)),
    "grey": lambda image: stored(image.convert("L")),
    "mirrored": lambda image: stored(ImageOps.mirror(image)),
    "cropped": lambda image: stored(image.crop((2, 2, image.width - 2, image.height - 2))),
}


def facts_of(blobs):
    return scan_images(
        ImageTable(
            name="bytes",
            ids=tuple(map(str, range(len(blobs)))),
            labels=np.zeros(len(blobs), np.int64),
            class_names=("one",),
            contents=tuple(blobs),
        )
    )


def test_planted_copies_among_distinct_textures(textures):
    images = [Image.fromarray(one) for one in textures(200, size=(120, 160))]
    blobs = [stored(one, quality=95) for one in images]
    planted = {}
    for place, row in enumerate(range(0, 140)):
        name = list(CHANGES)[place % len(CHANGES)]
        planted[row, len(blobs)] = name
        blobs.append(CHANGES[name](images[row]))
    found = find_duplicates(facts_of(blobs))
    pairs = set(map(tuple, found.near.tolist()))
    assert found.exact == ()
    assert pairs <= set(planted), "an image was taken for a copy of another"
    for name in CHANGES:
        wanted = {pair for pair, change in planted.items() if change == name}
        least = 0.7 if name == "cropped" else 1.0
        assert len(wanted & pairs) >= least * len(wanted), name
    mirrored = {
        tuple(pair)
        for pair, mirror in zip(found.near.tolist(), found.mirrored, strict=True)
        if mirror
    }
    assert {planted[pair] for pair in mirrored} == {"mirrored"}
    for first, second in pairs:
        assert found.groups[first] == found.groups[second]


def test_exact_copies_are_not_near_ones(textures):
    images = textures(6)
    images[5] = images[4] = images[1]
    found = find_duplicates(scan_pixels(images))
    assert found.exact == ((1, 4, 5),)
    assert len(found.near) == 0
    assert len(set(found.groups[[1, 4, 5]])) == 1
    assert len(set(found.groups)) == 4


def test_where_all_are_alike_only_copies_are_copies(textures):
    """One scene with small differences, as in inspection: the corpus sets the threshold."""
    rng = np.random.default_rng(0)
    scene = textures(1, size=(128, 128))[0].astype(float)
    details = textures(80, size=(128, 128), seed=1).astype(float) - 128
    images = np.clip(scene + 0.15 * details, 0, 255).astype(np.uint8)
    copies = np.clip(images[:10] + rng.normal(0, 2, images[:10].shape), 0, 255).astype(np.uint8)
    found = find_duplicates(scan_pixels(np.concatenate([images, copies])))
    assert found.threshold > 0.99
    assert found.near[np.argsort(found.near[:, 0])].tolist() == [
        [row, 80 + row] for row in range(10)
    ]


def test_blank_images_are_no_near_copies():
    images = np.stack([np.full((40, 40, 3), grey, np.uint8) for grey in range(0, 200, 20)])
    assert len(find_duplicates(scan_pixels(images)).near) == 0


def test_neighbours_propose_what_hashes_miss(monkeypatch, textures):
    monkeypatch.setattr("kerastl.data.duplicates._LARGEST_NUM_COMPARED", 0)
    images = textures(30, size=(160, 160))
    whole = Image.fromarray(images[3]).crop((8, 8, 152, 152)).resize((160, 160))
    images[20] = np.asarray(whole)
    facts = scan_pixels(images)
    facts.hashes[20] = ~facts.hashes[3]
    assert len(find_duplicates(facts).near) == 0
    rows = np.full((30, 1), -1)
    rows[3] = 20
    found = find_duplicates(facts, neighbours=Neighbours(rows, np.ones((30, 1), np.float32)))
    assert found.near.tolist() == [[3, 20]]


def test_close_pairs_are_all_and_limited():
    rng = np.random.default_rng(0)
    hashes = rng.integers(0, 2**12, 1500).astype(np.uint64)
    apart = np.bitwise_count(hashes[:, None] ^ hashes[None])
    for distance in (0, 2):
        pairs, within = close_pairs(hashes, largest_distance=distance, largest_num_pairs=10**7)
        assert within == distance
        expected = np.argwhere(np.triu(apart <= distance, 1))
        np.testing.assert_array_equal(pairs[np.lexsort(pairs.T[::-1])], expected)
    pairs, within = close_pairs(hashes, largest_distance=5, largest_num_pairs=5000)
    assert within == 1
    assert len(pairs) == np.triu(apart <= 1, 1).sum() <= 5000
    assert close_pairs(hashes[:0], largest_distance=5, largest_num_pairs=5)[0].shape == (0, 2)


@pytest.mark.parametrize("count", [1, 3])
def test_few_images(count, textures):
    found = find_duplicates(scan_pixels(textures(count)))
    assert (found.exact, len(found.near), len(found.groups)) == ((), 0, count)


def waves(count, *, noise, seed):
    """Noisy low-frequency waves of different colours: alike to correlation, never copies."""
    rng = np.random.default_rng(seed)
    down, across = np.mgrid[:128, :128] / 128
    images = np.empty((count, 128, 128, 3), np.uint8)
    for row in range(count):
        cycles, phase = rng.uniform(0.3, 2, 2), rng.uniform(0, 2 * np.pi)
        wave = np.sin(2 * np.pi * (cycles[0] * across + cycles[1] * down) + phase)[..., None]
        picture = 128 + 60 * wave * rng.uniform(0, 1, 3) + 40 * rng.uniform(-0.5, 0.5, 3)
        images[row] = np.clip(picture + rng.normal(0, noise, (128, 128, 3)), 0, 255)
    return images


def gradients(count, *, noise, seed):
    """Ramps in all directions."""
    rng = np.random.default_rng(seed)
    down, across = np.mgrid[:128, :128] / 128 - 0.5
    images = np.empty((count, 128, 128, 3), np.uint8)
    for row in range(count):
        angle = rng.uniform(0, 2 * np.pi)
        ramp = (np.cos(angle) * across + np.sin(angle) * down)[..., None]
        picture = 128 + 150 * ramp * rng.uniform(0.3, 1, 3)
        images[row] = np.clip(picture + rng.normal(0, noise, (128, 128, 3)), 0, 255)
    return images


@pytest.mark.parametrize(
    ("make", "noise", "least_recall"),
    [(waves, 20, 0.9), (waves, 2, 0.9), (gradients, 6, 0.8), (gradients, 0, 0.0)],
)
def test_pictures_of_little_structure_are_copies_only_of_their_copies(make, noise, least_recall):
    """Correlation alone takes many of them for copies."""
    images = make(60, noise=noise, seed=3)
    assert len(find_duplicates(scan_pixels(images)).near) == 0
    pictures = [Image.fromarray(one) for one in images]
    changes = [CHANGES[name] for name in ("stored anew", "half the size", "brighter")]
    blobs = [stored(one, quality=95) for one in pictures]
    blobs += [changes[row % 3](pictures[row]) for row in range(24)]
    pairs = set(map(tuple, find_duplicates(facts_of(blobs)).near.tolist()))
    planted = {(row, 60 + row) for row in range(24)}
    assert pairs <= planted, "an image was taken for a copy of another"
    assert len(pairs) >= least_recall * len(planted)


def test_other_colours_are_other_pictures(textures):
    images = textures(12)
    recoloured = images[..., [2, 0, 1]]
    # All with the grey values of the first: only colours differ.
    assert len(find_duplicates(scan_pixels(np.concatenate([images, recoloured]))).near) == 0
    ramp = np.linspace(0, 120, 96)[None, :, None] + textures(1)[0] // 4
    red, blue = (np.clip(ramp + np.array(tint), 0, 255) for tint in ((90, 9, 0), (0, 9, 110)))
    pair = np.stack([red, blue]).astype(np.uint8)
    facts = scan_pixels(pair)
    assert np.corrcoef(facts.thumbnails.reshape(2, -1))[0, 1] > 0.999
    assert len(find_duplicates(facts).near) == 0
    darker = np.stack([pair[0], (pair[0] * 0.8).astype(np.uint8)])
    assert find_duplicates(scan_pixels(darker)).near.tolist() == [[0, 1]]


def test_windows_of_a_photograph_are_no_copies():
    images = pytest.importorskip("sklearn.datasets").load_sample_images().images
    windows = [
        Image.fromarray(one[top : top + 106, left : left + 106])
        for one in images
        for top in range(0, 320, 106)
        for left in range(0, 530, 106)
    ]
    blobs = [stored(one, quality=95) for one in windows]
    assert len(find_duplicates(facts_of(blobs)).near) == 0
    blobs += [stored(one, quality=75) for one in windows]
    pairs = find_duplicates(facts_of(blobs)).near.tolist()
    count = len(windows)
    assert {tuple(pair) for pair in pairs} <= {(row, count + row) for row in range(count)}
    assert len(pairs) >= 0.9 * count
