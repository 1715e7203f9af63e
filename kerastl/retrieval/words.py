"""What the commands of `kerastl.search` print: plain lines, nothing cut off."""

from __future__ import annotations

import itertools
import os
import shlex
from dataclasses import asdict

from kerastl.data.duplicates import Duplicates
from kerastl.data.wording import counted
from kerastl.evaluation.measure_words import percent
from kerastl.features.novelty import likely_false_alarms
from kerastl.retrieval.answers import Answer
from kerastl.retrieval.building import Built
from kerastl.retrieval.index import Index
from kerastl.retrieval.ranking_measures import RankingMeasures
from kerastl.retrieval.verification import Verification

# Lines of pairs and groups on a terminal; all of them are in the JSON.
_MOST_SHOWN = 20


def shown(name: str) -> str:
    r"""Return a path as it is typed from here, without the control characters that it may hold.

    Args:
        name: An absolute path, or a name.

    Example:
        >>> shown("arrays[3]"), shown("/no/such\nplace")
        ('arrays[3]', '/no/such place')
    """
    here = os.getcwd() + os.sep
    short = name[len(here) :] if name.startswith(here) else name
    return "".join(character if character.isprintable() else " " for character in short)


def built_lines(built: Built) -> list[str]:
    """Return what a building did.

    Args:
        built: The building.
    """
    state = built.state
    classes = counted(len(state.class_names), "class", "classes") if state.class_names else ""
    lines = [
        f"{counted(state.num_images)}{f' of {classes}' if classes else ', no labels'}: "
        f"{built.num_computed:,} computed now"
        + (f", {built.num_found:,} by a building that was not completed" if built.num_found else "")
        + (f", {built.num_moved:,} moved" if built.num_moved else "")
        + (f", {built.num_removed:,} taken out" if built.num_removed else "")
        + f". {built.settings.title}"
        + (f", whitened to {built.settings.whiten}" if built.settings.whiten else "")
        + "."
    ]
    if state.unreadable:
        first, reason = state.unreadable[0]
        lines.append(
            f"{counted(len(state.unreadable))} left out, such as {shown(first)}: {reason}."
        )
    lines.append(_unknown_words(built))
    if state.approximate is not None:
        graph = state.approximate
        recall = percent({"value": graph.recall_at_10, "low": graph.low, "high": graph.high})
        lines.append(
            f"Approximate, because there are many: it finds {recall} of the ten nearest "
            f"({graph.num_asked:,} images asked); --exact finds all."
        )
    lines.append(
        f"Took {built.seconds:.0f} s. Type: python -m kerastl.search query "
        f"{shlex.quote(str(built.path))} IMAGE"
    )
    return lines


def _unknown_words(built: Built) -> str:
    """Return when an image is called unknown."""
    unknown = built.state.unknown
    held_out = counted(unknown.num_held_out, "group" if unknown.by_group else "image")
    if unknown.threshold is None:
        return f"No image is called unknown: with {held_out} held out there is no threshold."
    likely = likely_false_alarms(unknown.num_held_out)
    return (
        f"Called unknown above {unknown.threshold:.3f} from the {_nth(unknown.num_neighbours)} "
        f"nearest: on average at most 5 % of images like these, likely under {likely:.0%} "
        f"({held_out} held out)."
        # Directions that whitening makes larger are those that images differ in by chance.
        + (" Whitened, few of another kind are told." if built.settings.whiten else "")
    )


def _nth(number: int) -> str:
    endings = {1: "st", 2: "nd", 3: "rd"}
    return f"{number}{endings.get(number, 'th')}"


def answer_lines(index: Index, answer: Answer) -> list[str]:
    """Return what was found for one image.

    Args:
        index: The index.
        answer: Of it.
    """
    how = "exact" if answer.exact else "approximate"
    lines = [
        f"{shown(answer.query)}: {len(answer.hits):,} nearest of {counted(len(index))} "
        f"({how}, {1000 * answer.search_seconds:.1f} ms)"
    ]
    width = max((len(hit.label) for hit in answer.hits), default=0)
    for rank, hit in enumerate(answer.hits, 1):
        label = f"{hit.label:<{width}}  " if width else ""
        same = "  (the same file)" if hit.same_bytes else ""
        lines.append(f"{rank:>4}  {hit.cosine:6.3f}  {label}{shown(hit.id)}{same}")
    if answer.is_unknown is None:
        lines.append(f"      unknown score {answer.unknown_score:.3f}; the index has no threshold")
    else:
        said = "unlike what is indexed" if answer.is_unknown else "of a known kind"
        lines.append(
            f"      unknown score {answer.unknown_score:.3f}, threshold "
            f"{index.state.unknown.threshold:.3f}: {said}"
        )
    return lines


def copies_lines(index: Index, duplicates: Duplicates) -> list[str]:
    """Return which images show one picture.

    Args:
        index: The index.
        duplicates: Of its images.
    """
    ids = index.images.ids
    exact, near = duplicates.exact, duplicates.near.tolist()
    lines = [
        f"{counted(len(index))}: {counted(len(exact), 'group')} of equal bytes, "
        f"{counted(len(near), 'pair')} of near copies."
    ]
    if near:
        lines.append(
            "Similarity is how much thumbnails correlate: 1 for the same picture, "
            f"{duplicates.threshold:.4f} or more for near copies (0.97 where a border is cut off)."
        )
    for number, group in enumerate(exact[:_MOST_SHOWN], 1):
        names = ", ".join(shown(ids[image]) for image in group)
        lines.append(f"group {number}  equal bytes  {names}{_across(index, group)}")
    found = zip(near, duplicates.correlations, duplicates.mirrored, strict=True)
    for number, ((one, other), correlation, mirrored) in enumerate(
        itertools.islice(found, _MOST_SHOWN), 1
    ):
        how = ", mirrored" if mirrored else ""
        lines.append(
            f"pair {number}  similarity {correlation:.4f}  {shown(ids[one])}, "
            f"{shown(ids[other])}{how}{_across(index, (one, other))}"
        )
    more = max(len(exact) - _MOST_SHOWN, 0) + max(len(near) - _MOST_SHOWN, 0)
    lines += [f"{more:,} more: --json, or --out FOLDER."] if more else []
    return lines


def _across(index: Index, images: tuple[int, ...]) -> str:
    """Say where copies have different labels."""
    labels = {index.label_of(image) for image in images}
    return f"  (labels differ: {' / '.join(sorted(labels))})" if len(labels) > 1 else ""


def ranking_lines(index: Index, measures: RankingMeasures) -> list[str]:
    """Return how well an index ranks.

    Args:
        index: The index.
        measures: Of it.
    """
    rest = "all other images" + (" of other groups" if measures.grouped else "")
    lines = [f"{counted(measures.num_asked)} asked, each about {rest}:"]
    for depth, recall in measures.recall_at.items():
        lines.append(
            f"recall@{depth:<3} {percent(asdict(recall))}, by chance "
            f"{100 * measures.chance_at[depth]:.1f} %"
        )
    precision = measures.mean_average_precision
    lines.append(
        f"mAP        {percent(asdict(precision))}, by chance about "
        f"{100 * measures.chance_precision:.1f} %"
    )
    if measures.chance_precision > 0.999:
        lines.append(
            "All of them have one label, so that whatever is found is right: these numbers say "
            "nothing. Index images of two classes or more."
        )
    elif (
        measures.recall_at[min(measures.recall_at)].high
        < measures.chance_at[min(measures.recall_at)]
    ):
        lines.append(
            "That is less than chance: images that look alike have different labels here. Look at "
            "some answers of kerastl.search query, and at kerastl.search duplicates."
        )
    if measures.num_alone:
        lines.append(f"{counted(measures.num_alone)} not asked: no other has their label.")
    return lines + trained_lines(index)


def trained_lines(index: Index) -> list[str]:
    """Return a warning where labels were learnt by the network itself.

    Args:
        index: The index.
    """
    if index.settings.options:  # a backbone as it comes
        return []
    return [
        "The network was trained on labels: of images that it was trained on, these numbers are "
        "too good. Index images that it has not seen to measure it."
    ]


def verification_lines(index: Index, found: Verification) -> list[str]:
    """Return what a threshold for pairs is worth.

    Args:
        index: The index.
        found: What was measured.
    """
    apart = {
        "classes": "other classes",
        "groups": "other groups",
        "images": "other images of the same classes",
    }[found.parted_by]
    return [
        f"Same if the cosine is above {found.threshold:.4f}: from "
        f"{found.num_threshold_pairs:,} pairs of different labels, for a rate of false accepts of "
        f"{100 * found.wanted_rate:g} %.",
        f"Measured on {apart}: false accepts {percent(asdict(found.false_accepts))} of "
        f"{found.num_pairs[0]:,} pairs, true accepts {percent(asdict(found.true_accepts))} of "
        f"{found.num_pairs[1]:,}, area under the ROC curve {found.area.value:.3f} "
        f"({found.area.low:.3f} to {found.area.high:.3f}).",
        *trained_lines(index),
    ]
