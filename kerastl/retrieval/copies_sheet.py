"""The sheet of duplicates: groups of equal bytes and pairs of near copies, each in a box."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.figure import Figure

from kerastl.data.duplicates import Duplicates
from kerastl.data.wording import counted
from kerastl.evaluation.figures import FAINT, GRID, ORANGE
from kerastl.retrieval.index import Index
from kerastl.retrieval.pictures import folder_and_name, picture_of
from kerastl.retrieval.sheet import GAP, LINE, WIDTH, Sheet

# On one sheet: eight rows of three pairs; images of one group in one row.
_MOST_PAIRS, _MOST_GROUPS, _MOST_OF_A_GROUP = 24, 12, 6
_INNER = 0.1
_SMALL_SIDE = (WIDTH - 2 * GAP - 6 * _INNER - 3 * _INNER) / 6
_CARD = 2 * LINE + _SMALL_SIDE + 2 * LINE + 2 * _INNER + 0.06
_TITLE = 0.32


@dataclass(frozen=True)
class _Card:
    """Images that show one picture.

    Attributes:
        title: Which pair or group.
        kind: How they are copies.
        images: Their numbers.
        labels: The different labels of these; none where there are no labels.
        num_hidden: Images of the group that have no place.
    """

    title: str
    kind: str
    images: tuple[int, ...]
    labels: tuple[str, ...]
    num_hidden: int = 0

    @property
    def differs(self) -> bool:
        """Whether one picture has several labels."""
        return len(self.labels) > 1

    @property
    def width(self) -> float:
        """What it takes, in inches."""
        count = max(2, len(self.images))
        return count * _SMALL_SIDE + (count + 1) * _INNER


def copies_figure(index: Index, duplicates: Duplicates) -> Figure | None:
    """Draw groups of equal bytes and pairs of near copies, those whose labels differ first.

    Args:
        index: The index.
        duplicates: Of its images.

    Returns:
        None where there are none.
    """
    groups, pairs = _group_cards(index, duplicates), _pair_cards(index, duplicates)
    if not groups and not pairs:
        return None
    sections = []
    for cards, most, title in (
        (groups, _MOST_GROUPS, f"Equal bytes: {counted(len(groups), 'group')}"),
        (pairs, _MOST_PAIRS, f"Near copies: {counted(len(pairs), 'pair')}"),
    ):
        left = len(cards) - most
        more = f" ({most} are shown, all are in search.json)" if left > 0 else ""
        if cards:
            shown = sorted(cards, key=lambda card: not card.differs)[:most]
            sections.append((title + more, _rows_of(shown)))
    head = _head_lines(len(index), groups + pairs, with_pairs=bool(pairs))
    height = 0.3 + 0.18 * len(head)
    height += sum(_TITLE + len(rows) * (_CARD + GAP) for _, rows in sections)
    sheet = Sheet(height)
    sheet.write(f"Duplicates among {counted(len(index))}", 0, 0, width=WIDTH, size=13, bold=True)
    y = 0.27
    for text, colour in head:
        sheet.write(text, 0, y, width=WIDTH, size=9, colour=colour)
        y += 0.18
    for title, rows in sections:
        sheet.write(title, 0, y + 0.08, width=WIDTH, size=10.5, bold=True)
        y += _TITLE
        for row in rows:
            x = 0.0
            for card in row:
                _draw_card(sheet, index, card, x, y)
                x += card.width + GAP
            y += _CARD + GAP
    return sheet.figure


def _head_lines(
    num_images: int, cards: Sequence[_Card], *, with_pairs: bool
) -> list[tuple[str, str]]:
    """Return what the sheet says of all of them, and in which colour."""
    lines = []
    num_differing = sum(card.differs for card in cards)
    if num_differing:
        lines.append(
            (
                f"Orange: labels differ ({num_differing} of {len(cards)}), so that one of them is "
                "probably wrong. These come first.",
                ORANGE,
            )
        )
    if with_pairs:
        lines.append(("Similarity: correlation of the thumbnails; 1 is the same picture.", FAINT))
    return lines


def _group_cards(index: Index, duplicates: Duplicates) -> list[_Card]:
    return [
        _Card(
            f"Group {number}",
            f"{len(group)} equal files",
            group[:_MOST_OF_A_GROUP],
            _labels_of(index, group),
            max(0, len(group) - _MOST_OF_A_GROUP),
        )
        for number, group in enumerate(duplicates.exact, 1)
    ]


def _pair_cards(index: Index, duplicates: Duplicates) -> list[_Card]:
    return [
        _Card(
            f"Pair {number}",
            f"{'mirrored copy' if mirrored else 'near copy'}, similarity {correlation:.4f}",
            (one, other),
            _labels_of(index, (one, other)),
        )
        for number, ((one, other), correlation, mirrored) in enumerate(
            zip(
                duplicates.near.tolist(), duplicates.correlations, duplicates.mirrored, strict=True
            ),
            1,
        )
    ]


def _labels_of(index: Index, images: Sequence[int]) -> tuple[str, ...]:
    """Return the different labels of some images; none where the index has no labels."""
    return tuple(sorted({index.label_of(image) for image in images})) if index.labelled else ()


def _rows_of(cards: Sequence[_Card]) -> list[list[_Card]]:
    """Return the cards in rows that are not too wide."""
    rows: list[list[_Card]] = []
    for card in cards:
        taken = sum(one.width + GAP for one in rows[-1]) if rows else WIDTH
        if taken + card.width > WIDTH + 1e-6:
            rows.append([])
        rows[-1].append(card)
    return rows


def _draw_card(sheet: Sheet, index: Index, card: _Card, x: float, y: float) -> None:
    """Draw a box with what it is, the images and their names."""
    sheet.frame(x, y, card.width, _CARD, colour=ORANGE if card.differs else GRID)
    inside = card.width - 2 * _INNER
    x, y = x + _INNER, y + _INNER
    sheet.write(card.title, x, y, width=inside, bold=True)
    hidden = f" ({card.num_hidden:,} more)" if card.num_hidden else ""
    sheet.write(card.kind + hidden, x + 0.62, y, width=inside - 0.62)
    if card.differs:
        words = f"labels differ: {' / '.join(card.labels)}"
        sheet.write(words, x, y + LINE, width=inside, colour=ORANGE, bold=True)
    elif card.labels:
        sheet.write(f"label: {card.labels[0]}", x, y + LINE, width=inside, colour=FAINT)
    y += 2 * LINE + 0.04
    for image in card.images:
        pixels = picture_of(index, image)
        sheet.show(pixels, x, y, side=_SMALL_SIDE)
        folder, name = folder_and_name(index.images.ids[image])
        below = y + _SMALL_SIDE + 0.06
        sheet.write(folder, x, below, width=_SMALL_SIDE)
        sheet.write_name(name, x, below + LINE, width=_SMALL_SIDE, gone=pixels.ndim == 2)
        x += _SMALL_SIDE + _INNER
