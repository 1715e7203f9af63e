"""Crops among images that are all alike: found where larger pictures tell, and nothing else."""

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import gaussian_filter

from kerastl.data.cropped_copies import CLOSE_SIDE, find_cropped_copies
from kerastl.data.duplicates import find_duplicates
from kerastl.data.registration import Window, find_window, window_of
from kerastl.data.scan import scan_pixels

SIDE = 160


def cells(count, seed=0):
    """Pictures of one layout (frame, two bars, light from the middle), each of its own grain."""
    rng = np.random.default_rng(seed)
    down, across = np.mgrid[0:SIDE, 0:SIDE] / SIDE
    layout = 150 - 120 * ((down - 0.5) ** 2 + (across - 0.5) ** 2)
    layout[:, 50:54] = layout[:, 106:110] = 40
    layout[:5] = layout[-5:] = layout[:, :5] = layout[:, -5:] = 10
    grain = rng.normal(size=(count, SIDE, SIDE))
    grain = 40 * gaussian_filter(grain, (0, 1, 1)) + 60 * gaussian_filter(grain, (0, 4, 4))
    return np.clip(layout + grain + rng.normal(0, 1, grain.shape), 0, 255).astype(np.uint8)


def cropped(picture, *, top=0.025, bottom=0.025, left=0.025, right=0.025):
    """The picture without a border, as large as it was."""
    rows = slice(round(top * SIDE), SIDE - round(bottom * SIDE))
    columns = slice(round(left * SIDE), SIDE - round(right * SIDE))
    part = Image.fromarray(picture[rows, columns])
    return np.asarray(part.resize((SIDE, SIDE), Image.Resampling.BILINEAR))


def pictures_and_facts(pictures):
    facts = scan_pixels(np.stack(pictures)[..., np.newaxis].repeat(3, axis=-1))

    def read(row):
        return np.asarray(
            Image.fromarray(pictures[row]).resize(
                (CLOSE_SIDE, CLOSE_SIDE), Image.Resampling.BILINEAR
            )
        )

    return facts, read


CROPS = [
    {},
    {"top": 0.08, "bottom": 0, "left": 0, "right": 0},
    {"top": 0, "bottom": 0.05, "left": 0, "right": 0.05},
    {"top": 0.04, "bottom": 0.05, "left": 0.05, "right": 0.04},
    {"top": 0.01, "bottom": 0.01, "left": 0.01, "right": 0.01},
]


def test_crops_of_cells_are_found_and_nothing_else():
    pictures = list(cells(60))
    planted = []
    for row in range(20):
        planted.append([row, len(pictures)])
        pictures.append(cropped(pictures[row], **CROPS[row % len(CROPS)]))
    facts, read = pictures_and_facts(pictures)
    found = find_duplicates(facts, read=read)
    assert sorted(found.near.tolist()) == planted
    assert not found.mirrored.any()
    assert (found.correlations > 0.98).all()
    # Thumbnails alone cannot tell them from look-alikes, which is why the images are read.
    assert len(find_duplicates(facts).near) < len(planted)


def test_no_look_alike_is_taken_for_a_copy():
    facts, read = pictures_and_facts(list(cells(80, seed=1)))
    assert len(find_cropped_copies(facts, np.arange(80), read=read).pairs) == 0


def test_pictures_of_a_fixed_camera_are_no_copies():
    rng = np.random.default_rng(2)
    scene = cells(1, seed=3)[0].astype(float)
    shots = []
    for _ in range(40):
        shot = scene + rng.normal(0, 2, scene.shape)
        top, left = rng.integers(5, SIDE - 45, 2)
        shot[top : top + 40, left : left + 40] = cells(1, seed=rng.integers(10**6))[0][:40, :40]
        shots.append(np.clip(shot, 0, 255).astype(np.uint8))
    facts, read = pictures_and_facts(shots)
    assert len(find_cropped_copies(facts, np.arange(40), read=read).pairs) == 0


def test_what_cannot_be_read_any_more_is_passed_over():
    pictures = [*cells(8), cropped(cells(8)[3])]
    facts, read = pictures_and_facts(pictures)
    assert find_cropped_copies(facts, np.arange(9), read=read).pairs.tolist() == [[3, 8]]
    gone = find_cropped_copies(
        facts, np.arange(9), read=lambda row: None if row == 3 else read(row)
    )
    assert len(gone.pairs) == 0


def test_small_pictures_have_no_detail_to_compare():
    pictures = [*cells(8), cropped(cells(8)[3])]
    facts, _ = pictures_and_facts([one[::2, ::2] for one in pictures])

    def read(row):
        raise AssertionError(f"picture {row} need not be read")

    assert len(find_cropped_copies(facts, np.arange(9), read=read).pairs) == 0


@pytest.mark.parametrize(
    "window", [Window(0.95, 0.02, 0.95, 0.03), Window(0.9, 0.1, 1.0, 0.0), Window(1, 0, 1, 0)]
)
def test_a_window_is_found_to_a_part_of_a_pixel(window):
    scene = cells(1)[0].astype(np.float32)
    target = 0.7 * window_of(scene, window) + 20
    start = Window(window.height + 0.02, window.top, window.width - 0.01, window.left + 0.01)
    correlation, found = find_window(scene, target, start=start)
    assert correlation > 0.999
    assert np.allclose(
        [found.height, found.top, found.width, found.left],
        [window.height, window.top, window.width, window.left],
        atol=0.3 / SIDE,
    )


def test_a_hopeless_window_is_left_where_it_was():
    noise = np.random.default_rng(0).normal(size=(2, 64, 64)).astype(np.float32)
    correlation, found = find_window(noise[0], noise[1], start=Window(1, 0, 1, 0))
    assert abs(correlation) < 0.2
    assert 0.8 < found.height < 1.2
    blank = np.zeros((64, 64), np.float32)
    assert find_window(blank, noise[1], start=Window(1, 0, 1, 0))[0] == pytest.approx(0, abs=0.01)


def test_a_picture_in_four_versions_hides_no_copies():
    """Its versions are alike, and are not what all pictures here look like."""
    random = np.random.default_rng(5)
    grain = random.normal(size=(40, SIDE, SIDE))
    # Large shapes and fine ones of their own: hardly two look alike.
    mixed = sum(10 * size * gaussian_filter(grain, (0, size, size)) for size in (12, 6, 3, 1.5))
    scenes = list(np.clip(128 + 40 * mixed / mixed.std(), 0, 255).astype(np.uint8))
    planted = []
    for row in range(12):
        planted.append((row, len(scenes)))
        scenes.append(cropped(scenes[row], **CROPS[row % len(CROPS)]))
    facts, read = pictures_and_facts(scenes)
    alone = find_cropped_copies(facts, np.arange(len(scenes)), read=read).pairs.tolist()
    for crop in CROPS[:3]:
        scenes.append(cropped(scenes[20], **crop))
    facts, read = pictures_and_facts(scenes)
    found = find_cropped_copies(facts, np.arange(len(scenes)), read=read).pairs.tolist()
    assert len(alone) == len(planted)
    assert {tuple(pair) for pair in found} >= {tuple(pair) for pair in alone}
    assert all(pair in alone or {20, *range(52, 55)} >= set(pair) for pair in found)
