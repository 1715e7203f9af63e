"""Copies with a border cut off, among images that are all alike: solar cells, slides, X-rays.

Thumbnails of 32 x 32 pixels cannot tell them from look-alikes, and a network's features even less:
of 200 cells of ELPV with 2.5 % of every border cut off, 151 do not have their original among
their 20 nearest. But every image can be laid over every other one, and where two fit, larger
pictures tell: grain and scratches agree in a copy, and in no look-alike.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.fft import dctn

from kerastl.data.alignment import crop_windows
from kerastl.data.nearest import unit_rows
from kerastl.data.registration import Window, find_window, window_of
from kerastl.data.scan import ImageFacts
from kerastl.data.stream import in_threads
from kerastl.progress import track

# Side in pixels of the pictures that are compared closely.
CLOSE_SIDE = 128

# All pairs are laid over each other, the square of their number: 2,824 take some 5 s.
_LARGEST_NUM_IMAGES = 5_000
_MOST_CANDIDATES = 20_000
# Of the others that fit an image best so many are looked at closely, if they fit so well. The
# original was the best or second best of all for each of 200 cropped cells, at 0.93 or more.
_NUM_TRIED = 3
_WORTH_TRYING = 0.8
_CHUNK_ROWS = 1024

# Agreement of the frequencies from 8 to 48 (24 at half the side), each counting alike. Pictures
# that agree less at half the side are given up there. On ELPV: 98 % of cropped cells 0.95 and
# more, the best of 4,700 pairs of different cells 0.87.
_FIRST_FREQUENCY = 8
_WORTH_A_CLOSE_LOOK = 0.85
SMALLEST_CLOSE_AGREEMENT = 0.92
# Where look-alikes agree more (pictures of a fixed camera), copies must be this many times nearer
# to 1 than the level that 5 % of the third-best candidates exceed.
_TIMES_NEARER = 3
_LOOK_ALIKE_QUANTILE = 0.95
# Frequencies above noise that two pictures must have, of 2,240 (512 at half the side).
_SMALLEST_DETAIL = 200.0
# Of a coefficient of the cosine transform (orthonormal), as in `kerastl.data.likeness`.
_NOISE_LEVELS = 2.0

Reader = Callable[[int], NDArray[np.uint8] | None]


@dataclass(frozen=True, eq=False)
class CroppedCopies:
    """Pairs of which one shows a part of the other.

    Attributes:
        pairs: int64 of shape (m, 2), the smaller row first.
        correlations: float32 of shape (m,): of the pictures, laid over each other.
    """

    pairs: NDArray[np.int64]
    correlations: NDArray[np.float32]


def find_cropped_copies(
    facts: ImageFacts, rows: NDArray[np.int64], *, read: Reader
) -> CroppedCopies:
    """Return pairs of images of which one is the other less a border of up to 10 %.

    Of 200 cells of ELPV with 2.5 % of every border cut off, planted among all 2,624 and 400 other
    copies, 198 are found, and no wrong pair (`python benchmarks/search.py solar`). Mirrored ones
    are not looked for, nor those of images that are smaller than 128 pixels.

    Args:
        facts: Of n images; only their thumbnails and sizes are looked at.
        rows: int64: which of them have detail enough; none is found among more than 5,000.
        read: From a row to a grey picture, uint8 of shape (128, 128), or None where it cannot be
            read any more.

    Example:
        >>> from PIL import Image
        >>> from kerastl.data.scan import scan_pixels
        >>> rng = np.random.default_rng(0)
        >>> scenes = rng.integers(0, 256, (5, 32, 32), np.uint8).repeat(5, 1).repeat(5, 2)
        >>> scenes[4] = np.asarray(Image.fromarray(scenes[1][4:156, 4:156]).resize((160, 160)))
        >>> read = lambda row: np.asarray(Image.fromarray(scenes[row]).resize((128, 128)))
        >>> facts = scan_pixels(scenes[..., np.newaxis].repeat(3, -1))
        >>> find_cropped_copies(facts, np.arange(5), read=read).pairs.tolist()
        [[1, 4]]
    """
    rows = rows[np.minimum(facts.widths[rows], facts.heights[rows]) >= CLOSE_SIDE]
    if not 2 <= len(rows) <= _LARGEST_NUM_IMAGES:
        return CroppedCopies(np.empty((0, 2), np.int64), np.empty(0, np.float32))
    candidates = _candidates(facts.thumbnails[rows])
    agreements, correlations = _looked_at(candidates, rows, read)
    needed = _needed(candidates, agreements, num_images=len(rows))
    found = np.flatnonzero(agreements >= needed)
    found = found[np.argsort(-correlations[found], kind="stable")]
    pairs = [sorted(candidates[place][:2]) for place in found.tolist()]
    once, places = np.unique(
        rows[np.array(pairs, np.int64).reshape(-1, 2)], axis=0, return_index=True
    )
    return CroppedCopies(once, correlations[found][places].astype(np.float32))


class _Candidate(NamedTuple):
    """Two places among the rows, where the first may lie in the second, and how good a guess."""

    cropped: int
    whole: int
    window: Window
    rank: int


def _candidates(thumbnails: NDArray[np.uint8]) -> list[_Candidate]:
    """Return the pairs that fit best if one is laid over a part of the other, best first."""
    pictures = thumbnails.astype(np.float32)
    windows = (Window(1, 0, 1, 0), *crop_windows(), *_one_side_cut())
    cropped = _reduced_units(pictures)
    count = len(pictures)
    best, which = np.full((count, count), -1, np.float32), np.zeros((count, count), np.int8)
    with track("Laying images over each other", total=len(windows)) as advance:
        for number, window in enumerate(windows):
            wholes = _reduced_units(window_of(pictures, window)).T
            for start in range(0, count, _CHUNK_ROWS):
                part = slice(start, start + _CHUNK_ROWS)
                fits = cropped[part] @ wholes
                better = fits > best[part]
                np.copyto(best[part], fits, where=better)
                which[part][better] = number
            advance(1)
    np.fill_diagonal(best, -1)
    tried = min(_NUM_TRIED, count - 1)
    order = np.argpartition(-best, tried - 1, axis=1)[:, :tried]
    found = []
    for place, unordered in enumerate(order):
        others = unordered[np.argsort(-best[place, unordered], kind="stable")]
        found += [
            (
                float(best[place, other]),
                _Candidate(place, other, windows[which[place, other]], rank),
            )
            for rank, other in enumerate(others.tolist())
            if best[place, other] >= _WORTH_TRYING
        ]
    found.sort(key=lambda one: -one[0])
    return [one for _, one in found[:_MOST_CANDIDATES]]


def _one_side_cut() -> list[Window]:
    """Return what is left if one border is cut off."""
    return [
        window
        for kept in (0.96, 0.92)
        for start in (0, 1 - kept)
        for window in (Window(kept, start, 1, 0), Window(1, 0, kept, start))
    ]


def _reduced_units(pictures: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return pictures at half their side as vectors whose products are correlations."""
    halved = _halved(pictures)
    return unit_rows(halved - halved.mean(axis=(1, 2), keepdims=True))


def _halved(pictures: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return pictures at half their side."""
    count, height, width = pictures.shape
    return pictures.reshape(count, height // 2, 2, width // 2, 2).mean(axis=(2, 4))


def _looked_at(
    candidates: list[_Candidate], rows: NDArray[np.int64], read: Reader
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return how well candidates agree and correlate, laid over each other; 0 if one is gone."""
    needed = sorted({place for one in candidates for place in one[:2]})
    pictures = {}
    with track("Looking at them closely", total=len(needed) + len(candidates)) as advance:
        for place, picture in zip(
            needed, in_threads(lambda place: read(int(rows[place])), needed), strict=True
        ):
            pictures[place] = None if picture is None else picture.astype(np.float32)
            advance(1)

        def look(number: int) -> tuple[float, float]:
            one = candidates[number]
            cropped, whole = pictures[one.cropped], pictures[one.whole]
            if cropped is None or whole is None:
                return 0.0, 0.0
            return _agreement(cropped, whole, one.window)

        found = np.zeros((len(candidates), 2))
        for number, answer in enumerate(in_threads(look, range(len(candidates)))):
            found[number] = answer
            advance(1)
    return found[:, 0], found[:, 1]


def _agreement(
    cropped: NDArray[np.float32], whole: NDArray[np.float32], window: Window
) -> tuple[float, float]:
    """Return how well frequencies agree, first at half the side, and the correlation."""
    agreement = correlation = 0.0
    for one, other in ((_halved(cropped[None])[0], _halved(whole[None])[0]), (cropped, whole)):
        correlation, window = find_window(other, one, start=window)
        agreement = _frequencies_agree(one, window_of(other, window))
        if agreement < _WORTH_A_CLOSE_LOOK:
            break
    return agreement, correlation


def _frequencies_agree(one: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    """Return how well the middle frequencies of two pictures agree; 0 if there are too few."""
    last = 3 * len(one) // 8
    first = dctn(one, norm="ortho")[:last, :last]
    second = dctn(other, norm="ortho")[:last, :last]
    places = np.arange(last)
    middle = np.maximum.outer(places, places) >= _FIRST_FREQUENCY
    first, second = first[middle], second[middle]
    lengths = [max(float(np.linalg.norm(part)), 1e-6) for part in (first, second)]
    gain = (lengths[1] / lengths[0]) ** 0.5
    first, second = first * gain, second / gain
    power = first**2 + second**2
    noisy = power + 2 * _NOISE_LEVELS**2
    detail = float((power / noisy).sum())
    if detail < _SMALLEST_DETAIL:
        return 0.0
    return float((2 * first * second / noisy).sum() / detail)


def _needed(
    candidates: list[_Candidate], agreements: NDArray[np.float64], *, num_images: int
) -> float:
    """Return the agreement that copies have among these images.

    It is by the second best partner of each image, which is a look-alike, not a copy, unless there
    are three and more versions of a picture. Images without such a partner count too: where hardly
    any has one, some pictures in four versions would otherwise be taken for what all look like.
    """
    look_alikes = [
        agreement
        for one, agreement in zip(candidates, agreements, strict=True)
        if one.rank == _NUM_TRIED - 1
    ]
    none = np.zeros(max(0, num_images - len(look_alikes)))
    level = float(np.quantile([*look_alikes, *none], _LOOK_ALIKE_QUANTILE))
    return max(SMALLEST_CLOSE_AGREEMENT, 1 - (1 - level) / _TIMES_NEARER)
