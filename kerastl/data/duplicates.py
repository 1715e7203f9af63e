"""The same picture more than once: the same bytes, or the same scene stored in another way."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from kerastl.data.alignment import align
from kerastl.data.cropped_copies import Reader, find_cropped_copies
from kerastl.data.likeness import colours_agree, detail, detail_agreements
from kerastl.data.nearest import Neighbours, nearest_rows, unit_rows
from kerastl.data.perceptual import close_pairs, perceptual_hashes
from kerastl.data.scan import ImageFacts

# Bits of 64 in which the hashes of candidates differ. Measured on 300 cells of ELPV: JPEG of
# quality 50 moves up to 6 bits, half the size up to 10, a border of 1 % cut off up to 10, for
# 2.5 % the median is 10. Pairs of unrelated hashes are within 10 bits once in ten million.
LARGEST_HASH_DISTANCE = 10

# Thumbnails of copies correlate above this, however unlike the other images are.
SMALLEST_CORRELATION = 0.985

# Where different images are alike (solar cells, slides), copies must be this many times nearer
# to 1 than look-alikes. On ELPV the level of look-alikes is 0.9911, so the threshold is 0.9989:
# the nearest two different cells have 0.9984, and 99 % of copies of quality 50 or half the
# size have 0.999 or more.
TIMES_NEARER = 8

# Laid over each other with a border cut off, copies of fine textures have 0.97 to 0.99: a
# thumbnail that is resampled loses detail. The gap to 1 must have shrunk to this part of what it
# was without alignment, which it does not for smooth pictures that are merely alike (2 % of the
# side cut off: to a third; 5 %: to a seventh).
SMALLEST_ALIGNED_CORRELATION = 0.97
_LARGEST_GAP_LEFT = 0.4

# Pictures of less detail cannot be judged: two gradients correlate like copies. With 20 one pair
# among 60 gradients without noise was taken for copies, with 25 none in eight such sets.
SMALLEST_DETAIL = 25.0

# Mean agreement over frequencies that copies have at least, see `likeness.detail_agreements`.
SMALLEST_AGREEMENT = 0.6

# Where one is grey and the other is not, colours cannot contradict, so detail must agree more:
# waves of other pictures were taken for the copies without colour of a noisy wave at 0.6.
SMALLEST_GREY_AGREEMENT = 0.8

# A level of look-alikes: the correlation with the fifth nearest image (four copies of an image
# do not count then) that 5 % of the images exceed, from a sample of rows.
_LOOK_ALIKE_RANK = 5
# It is read from the pairs among so many neighbours that agree this much: others are refused for
# their detail, so the threshold need not keep them out (waves would lift it until no copy is
# found). With the 0.6 of copies in place of it 60 pairs of ELPV slipped through.
_NUM_LOOK_ALIKES = 20
LOOK_ALIKE_AGREEMENT = 0.3
_LOOK_ALIKE_QUANTILE = 0.95
_LARGEST_LOOK_ALIKE_SAMPLE = 500

# Below this standard deviation a thumbnail is blank, and correlation is that of noise.
SMALLEST_SPREAD = 2.0

_LARGEST_NUM_CANDIDATES = 2_000_000
_LARGEST_NUM_ALIGNED = 20_000
# Candidates that correlate less are not tried with borders cut off, nor is any where copies must
# correlate more than a thumbnail does that was resampled at another place.
_WORTH_ALIGNING = 0.3
_LARGEST_THRESHOLD_TO_ALIGN = 0.99
# Up to here the nearest thumbnails are candidates too: 10,000 take some seconds. They find twice
# as many copies with 5 % of the border cut off as hashes do.
_LARGEST_NUM_COMPARED = 10_000
_NUM_COMPARED = 5
# Mirror images double the time of the search.
_LARGEST_NUM_MIRRORED = 100_000
_CHUNK_PAIRS = 16_384


@dataclass(frozen=True, eq=False)
class Duplicates:
    """Pairs and groups of rows that show one picture.

    Attributes:
        exact: Groups of rows with equal bytes, each ascending.
        near: int64 of shape (m, 2): pairs of rows that are near duplicates, not exact ones,
            the smaller row first, most similar first.
        correlations: float32 of shape (m,): of the thumbnails, after alignment.
        mirrored: bool of shape (m,): whether one is the mirror image of the other.
        threshold: Correlation that near duplicates exceed in this corpus (less, from 0.97 on,
            where alignment made the difference).
        groups: int64 of shape (n,): rows that are linked by copies have one number.
    """

    exact: tuple[tuple[int, ...], ...]
    near: NDArray[np.int64]
    correlations: NDArray[np.float32]
    mirrored: NDArray[np.bool_]
    threshold: float
    groups: NDArray[np.int64]


def find_duplicates(
    facts: ImageFacts, *, neighbours: Neighbours | None = None, read: Reader | None = None
) -> Duplicates:
    """Return exact and near duplicates.

    Exact: the same SHA-256. Near: pairs whose perceptual hashes differ in at most 10 of 64
    bits, and pairs of neighbours by embedding, are candidates; a candidate is a copy if the
    32 x 32 thumbnails correlate above a threshold. Correlation knows no brightness and
    contrast; borders of up to 10 % that were cut off are tried out (then 0.97 is
    enough). Copies agree in each frequency above noise and in colour too (unless one is grey),
    see `kerastl.data.likeness`; pictures with less detail than `SMALLEST_DETAIL`, such as plain
    gradients, cannot be told apart by pixels and are never near copies. The
    threshold is the larger of 0.985 and what leaves the images that are most alike in this corpus
    outside, see `TIMES_NEARER`: where all images are alike, cropped and much darkened copies are
    missed rather than healthy look-alikes reported, unless the images can be read again: then
    they are looked at in more pixels, see `kerastl.data.cropped_copies`.

    Measured with 12 changes (JPEG of quality 50, 75 and 95, half and double size, brightness by
    10 %, contrast by 30 %, grey, mirrored, 1.5 and 3 % of every border cut off), one copy of each
    picture. ELPV, 2,624 cells: none found before copies were planted; then 2,171 of 2,624 copies
    (2,171 of 2,188 not cropped, none cropped) and no other pair. 60 noisy waves: 59 and no other
    (without detail and colour 12 false pairs of 19 waves); 60 waves with little noise: 60 and 3
    others; 60 noisy gradients: 58; 60 gradients without noise: 1; 60 textures: 60; 48 windows of
    two photographs: 46; 60 pages of text: 50, none of 10 cropped; none of these a wrong pair.

    What it cannot see: recoloured copies, quarter turns, upside-down ones.

    Args:
        facts: Of n images.
        neighbours: Of all n rows, by embedding; finds more copies with borders cut off.
        read: From a row to a grey picture of the image, see
            `kerastl.data.cropped_copies.find_cropped_copies`.

    Example:
        >>> from kerastl.data.scan import scan_pixels
        >>> images = np.random.default_rng(0).integers(0, 256, (6, 40, 40, 3), np.uint8)
        >>> images[4] = images[1]
        >>> find_duplicates(scan_pixels(images)).exact
        ((1, 4),)
    """
    exact = _exact_groups(facts)
    usable = facts.readable & (detail(facts.thumbnails) >= SMALLEST_DETAIL)
    threshold = look_alike_threshold(facts, np.flatnonzero(usable))
    pairs, correlations, mirrored = _verified(
        facts, _candidates(facts, usable, neighbours), threshold=threshold
    )
    if read is not None:
        cropped = find_cropped_copies(facts, np.flatnonzero(usable), read=read)
        new = _unknown(facts, cropped.pairs, pairs)
        pairs = np.concatenate([pairs, cropped.pairs[new]])
        correlations = np.concatenate([correlations, cropped.correlations[new]])
        mirrored = np.concatenate([mirrored, np.zeros(len(new), np.bool_)])
    order = np.argsort(-correlations, kind="stable")
    near = pairs[order]
    return Duplicates(
        exact=exact,
        near=near,
        correlations=correlations[order],
        mirrored=mirrored[order],
        threshold=threshold,
        groups=_linked(len(facts.widths), exact, near),
    )


def _exact_groups(facts: ImageFacts) -> tuple[tuple[int, ...], ...]:
    """Return groups of readable rows with one digest, in the order of their first rows."""
    _, numbers, counts = np.unique(facts.digests, return_inverse=True, return_counts=True)
    repeated = np.flatnonzero((counts[numbers] > 1) & facts.readable)
    by_number: dict[int, list[int]] = {}
    for row in repeated.tolist():
        by_number.setdefault(int(numbers[row]), []).append(row)
    return tuple(tuple(rows) for rows in by_number.values() if len(rows) > 1)


def look_alike_threshold(facts: ImageFacts, rows: NDArray[np.int64]) -> float:
    """Return the correlation that tells copies from look-alikes in this corpus.

    Look-alikes that differ in detail or colour do not count: they are no copies whatever their
    correlation.

    Args:
        facts: Of n images.
        rows: int64: rows that have detail enough.

    Returns:
        From 0.985 to below 1.

    Example:
        >>> from kerastl.data.scan import scan_pixels
        >>> images = np.random.default_rng(0).integers(0, 256, (50, 32, 32, 3), np.uint8)
        >>> look_alike_threshold(scan_pixels(images), np.arange(50))
        0.985
    """
    if len(rows) <= _LOOK_ALIKE_RANK:
        return SMALLEST_CORRELATION
    units = centred_units(facts.thumbnails[rows])
    rng = np.random.default_rng(0)
    size = min(_LARGEST_LOOK_ALIKE_SAMPLE, len(rows))
    sample = np.sort(rng.choice(len(rows), size, replace=False))
    found = nearest_rows(units, num_neighbours=_NUM_LOOK_ALIKES, query_rows=sample)
    query, place = np.nonzero(found.rows >= 0)
    triples = np.column_stack(
        [rows[sample[query]], rows[found.rows[query, place]], np.zeros(len(query), np.int64)]
    )
    cosines = np.full_like(found.cosines, -1)
    cosines[query, place] = np.where(
        _agree(facts, triples, least=LOOK_ALIKE_AGREEMENT), found.cosines[query, place], -1
    )
    fifth = np.sort(cosines, axis=1)[:, -_LOOK_ALIKE_RANK]
    level = float(np.quantile(fifth, _LOOK_ALIKE_QUANTILE))
    return max(SMALLEST_CORRELATION, 1 - (1 - level) / TIMES_NEARER)


def centred_units(thumbnails: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return thumbnails as vectors whose products are correlations.

    Args:
        thumbnails: uint8 of shape (n, height, width).

    Returns:
        float32 of shape (n, height * width), mean 0, length 1 (0 for a blank one).
    """
    flat = thumbnails.reshape(len(thumbnails), thumbnails.shape[1] * thumbnails.shape[2]).astype(
        np.float32
    )
    return unit_rows(flat - flat.mean(axis=1, keepdims=True))


def _candidates(
    facts: ImageFacts, usable: NDArray[np.bool_], neighbours: Neighbours | None
) -> NDArray[np.int64]:
    """Return (first row, second row, 1 if the second is mirrored), each triple once."""
    rows = np.flatnonzero(usable)
    close = partial(
        close_pairs,
        facts.hashes[rows],
        largest_distance=LARGEST_HASH_DISTANCE,
        largest_num_pairs=_LARGEST_NUM_CANDIDATES,
    )
    found = [(rows[close()[0]], 0)]
    if len(rows) <= _LARGEST_NUM_MIRRORED:
        mirrored = perceptual_hashes(facts.thumbnails[rows][:, :, ::-1])
        found.append((rows[close(mirrored)[0]], 1))
    if len(rows) <= _LARGEST_NUM_COMPARED:
        units = centred_units(facts.thumbnails[rows])
        pairs = _pairs_of(nearest_rows(units, num_neighbours=_NUM_COMPARED))
        found.append((rows[pairs], 0))
    if neighbours is not None:
        pairs = _pairs_of(neighbours)
        pairs = pairs[usable[pairs].all(axis=1)]
        found += [(pairs, 0), (pairs, 1)]
    triples = [np.column_stack([pairs, np.full(len(pairs), kind)]) for pairs, kind in found]
    return np.unique(np.concatenate(triples), axis=0)


def _pairs_of(neighbours: Neighbours) -> NDArray[np.int64]:
    """Return (row, neighbour), the smaller row first."""
    first, place = np.nonzero(neighbours.rows >= 0)
    return np.sort(np.stack([first, neighbours.rows[first, place]], axis=1), axis=1)


def _verified(
    facts: ImageFacts, candidates: NDArray[np.int64], *, threshold: float
) -> tuple[NDArray[np.int64], NDArray[np.float32], NDArray[np.bool_]]:
    """Return the candidates that are copies, their correlations, and whether mirrored."""
    same = facts.digests[candidates[:, 0]] == facts.digests[candidates[:, 1]]
    candidates = candidates[~same]
    correlations = np.concatenate(
        [
            _correlations(facts.thumbnails, candidates[start : start + _CHUNK_PAIRS])
            for start in range(0, len(candidates), _CHUNK_PAIRS)
        ]
        or [np.empty(0, np.float32)]
    )
    copies = correlations >= threshold
    certain = np.flatnonzero(copies)
    for start in range(0, len(certain), _CHUNK_PAIRS):
        some = certain[start : start + _CHUNK_PAIRS]
        copies[some] = _agree(facts, candidates[some])
    if threshold <= _LARGEST_THRESHOLD_TO_ALIGN:
        unsure = np.flatnonzero(~copies & (correlations >= _WORTH_ALIGNING))
        # Look-alikes that were refused just now come last.
        order = np.lexsort((-correlations[unsure], np.isin(unsure, certain)))
        unsure = unsure[order[:_LARGEST_NUM_ALIGNED]]
        aligned, first, second = align(*_thumbnail_pairs(facts.thumbnails, candidates[unsure]))
        # Where look-alikes lift the threshold they lift it here too.
        lifted = threshold if threshold > SMALLEST_CORRELATION else SMALLEST_ALIGNED_CORRELATION
        closer = 1 - aligned <= _LARGEST_GAP_LEFT * (1 - correlations[unsure])
        likely = np.flatnonzero((aligned >= lifted) & closer)
        agreeing = _agree(facts, candidates[unsure[likely]], (first[likely], second[likely]))
        copies[unsure[likely[agreeing]]] = True
        correlations[unsure] = aligned
    accepted = np.flatnonzero(copies)
    # Of a pair that is alike both ways (a symmetrical scene) the better way stays.
    accepted = accepted[np.argsort(-correlations[accepted], kind="stable")]
    _, once = np.unique(candidates[accepted, :2], axis=0, return_index=True)
    accepted = accepted[once]
    return candidates[accepted, :2], correlations[accepted], candidates[accepted, 2] == 1


def _unknown(
    facts: ImageFacts, pairs: NDArray[np.int64], known: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Return which pairs are neither known nor of equal bytes nor of different colours."""
    first, second = pairs.T
    coloured = facts.colour[first] & facts.colour[second]
    # Of grey ones exposure alone would be compared, which a dark border that is cut off changes.
    colours_match = ~coloured | colours_agree(
        facts.colours[first], facts.colours[second], both_coloured=coloured
    )
    listed = set(map(tuple, known.tolist()))
    new = np.array([pair not in listed for pair in map(tuple, pairs.tolist())], np.bool_)
    return np.flatnonzero(new & colours_match & (facts.digests[first] != facts.digests[second]))


def _agree(
    facts: ImageFacts,
    triples: NDArray[np.int64],
    laid: tuple[NDArray[np.uint8], NDArray[np.uint8]] | None = None,
    *,
    least: float = SMALLEST_AGREEMENT,
) -> NDArray[np.bool_]:
    """Return whether pairs agree in detail (as laid over each other) and in colour."""
    first, second = laid or _thumbnail_pairs(facts.thumbnails, triples)
    coloured, other_coloured = facts.colour[triples[:, 0]], facts.colour[triples[:, 1]]
    one_grey = coloured != other_coloured
    needed = np.where(one_grey, max(least, SMALLEST_GREY_AGREEMENT), least)
    colours = _thumbnail_pairs(facts.colours, triples)
    return (detail_agreements(first, second) >= needed) & colours_agree(
        *colours, both_coloured=coloured & other_coloured
    )


def _thumbnail_pairs(
    thumbnails: NDArray[np.uint8], triples: NDArray[np.int64]
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Return the thumbnails of pairs, the second mirrored where the triple says so."""
    first, second = thumbnails[triples[:, 0]], thumbnails[triples[:, 1]]
    mirror = triples[:, 2] == 1
    second[mirror] = second[mirror][:, :, ::-1]
    return first, second


def _correlations(thumbnails: NDArray[np.uint8], triples: NDArray[np.int64]) -> NDArray[np.float32]:
    """Return the correlation of each pair of thumbnails as they are."""
    first, second = _thumbnail_pairs(thumbnails, triples)
    return np.einsum("ij,ij->i", centred_units(first), centred_units(second))


def _linked(
    count: int, exact: tuple[tuple[int, ...], ...], near: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Return one number for rows that are connected by copies."""
    links = [pair for rows in exact for pair in pairwise(rows)]
    pairs = np.concatenate([np.array(links, np.int64).reshape(-1, 2), near])
    graph = coo_array((np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), shape=(count, count))
    return connected_components(graph, directed=False)[1].astype(np.int64)
