"""What learning curves say: too much learned by heart, too little learned, or neither."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kerastl.errors import DataError
from kerastl.evaluation.checks import Check, best_check, checks_of

OVERFITS, UNDERFITS, NO_GAIN, FITS = "overfits", "underfits", "no gain", "fits"
CUT_SHORT, UNSTABLE = "cut short", "unstable"

# Validation loss above its best by so much of it, while training went on: more than epochs differ
# by chance on a few hundred images.
_RISE = 0.05
# Fall of the validation loss in the last epoch, as part of it, that promises more.
_STILL_FALLING = 0.01
# Nats per image below which neither counts: where all is known, a loss halves without meaning.
_NOTHING = 0.005
# Training loss as part of the validation loss below which the gap is worth a word.
_WIDE_GAP = 0.5
# Validation images of whose losses a verdict can still hang on a single one.
_FEW_IMAGES = 50


@dataclass(frozen=True)
class Diagnosis:
    """What the curves of a fine-tuning say.

    Attributes:
        verdict: "overfits", "underfits", "cut short", "unstable", "no gain" or "fits".
        words: The verdict and how one knows, in plain sentences.
    """

    verdict: str
    words: str


def diagnose(
    history: Sequence[Mapping[str, Any]],
    *,
    probe_loss: float,
    kept_loss: float,
    kept_epoch: float | None = None,
    margin: float = 0.0,
    epochs: int,
    cut_short: bool = False,
    comparable: bool = True,
    num_images: int | None = None,
) -> Diagnosis:
    """Read the curves of a fine-tuning.

    Args:
        history: One row per epoch with "loss" and "val_loss", in nats, and what
            `kerastl.evaluation.checks.checks_of` reads besides.
        probe_loss: Validation loss of the probe, that fine-tuning began with.
        kept_loss: Validation loss of what fine-tuning gave.
        kept_epoch: When that was; None where it was at no one time.
        margin: By how much its loss may be above that of the probe and be as good.
        epochs: How many were planned.
        cut_short: Whether the time was up before.
        comparable: Whether training and validation losses are of one kind: not with smoothed or
            mixed labels, penalties on weights, or classes that are drawn equally often.
        num_images: Validation images; under 50 the words say how little that is.

    Raises:
        DataError: No epoch has a validation loss.

    Example:
        >>> rows = [{"loss": loss, "val_loss": val} for loss, val in
        ...         [(0.5, 0.5), (0.3, 0.4), (0.1, 0.45), (0.02, 0.6)]]
        >>> found = diagnose(rows, probe_loss=0.6, kept_loss=0.4, epochs=4)
        >>> found.verdict
        'overfits'
        >>> found.words[:42]
        'It overfits: from epoch 2 to 4 the trainin'
    """
    found = _read(
        history,
        probe_loss=probe_loss,
        kept_loss=kept_loss,
        kept_epoch=kept_epoch,
        margin=margin,
        epochs=epochs,
        cut_short=cut_short,
        comparable=comparable,
    )
    if num_images is None or num_images >= _FEW_IMAGES:
        return found
    few = f" With {num_images} validation images a verdict can hang on one or two of them."
    return Diagnosis(found.verdict, found.words + few)


def _read(
    history: Sequence[Mapping[str, Any]],
    *,
    probe_loss: float,
    kept_loss: float,
    kept_epoch: float | None,
    margin: float,
    epochs: int,
    cut_short: bool,
    comparable: bool,
) -> Diagnosis:
    """Return what the curves say, whatever they are made of."""
    checks = checks_of(history)
    best, ends = best_check(checks), [check for check in checks if check.at_end]
    if best is None:
        raise DataError('`history` must have a "val_loss" to be read; received none.')
    if kept_loss >= probe_loss + margin:
        return Diagnosis(
            NO_GAIN,
            f"Fine-tuning gained nothing: its validation log-loss is {kept_loss:.3f}, that of the "
            f"probe {probe_loss:.3f}. Its steps disturbed more than they taught, or the images are "
            "too few for it.",
        )
    last, training = ends[-1], [float(row["loss"]) for row in history]
    note = _note(checks)
    # What is kept of the end is as good as the best, as far as these images can tell.
    rose = kept_epoch != last.epoch and _rose(best.tempered_loss, last.tempered_loss)
    if rose and best.row < last.row:
        before, after = training[best.row], training[-1]
        return _after_a_rise(best, last, before, after, kept_epoch=kept_epoch, note=note)
    if cut_short and best.row == last.row:
        return Diagnosis(
            CUT_SHORT,
            "It was cut short while it was learning: the validation log-loss was lowest in the "
            f"last of {len(ends)} epochs ({best.tempered_loss:.3f}); {epochs} were planned.{note}",
        )
    falling = len(ends) > 1 and last.tempered_loss < min(
        (1 - _STILL_FALLING) * ends[-2].tempered_loss, ends[-2].tempered_loss - _NOTHING
    )
    if best is last and len(ends) >= epochs and (falling or len(ends) == 1):
        return Diagnosis(
            UNDERFITS,
            f"It was still learning at its end: the validation log-loss was lowest in the last of "
            f"{len(ends)} epochs ({last.tempered_loss:.3f}"
            + (f", {ends[-2].tempered_loss:.3f} in the one before)." if len(ends) > 1 else ").")
            + note,
        )
    words = (
        f"It neither over- nor underfits: the validation log-loss was lowest in epoch "
        f"{best.epoch:g} of {last.epoch:g} ({best.tempered_loss:.3f}) and "
        + (f"{last.tempered_loss:.3f} at its end." if rose else "hardly rose after it.")
    )
    if comparable and training[best.row] < _WIDE_GAP * best.loss:
        words += (
            f" Training images are known much better ({training[best.row]:.3f}): more would help."
        )
    elif comparable:
        words += f" The training log-loss ({training[best.row]:.3f}) is near it."
    return Diagnosis(FITS, words + note)


def _rose(before: float, after: float) -> bool:
    """Tell whether a loss rose by more than chance makes of it."""
    return after > max((1 + _RISE) * before, before + _NOTHING)


def _note(checks: Sequence[Check]) -> str:
    """Return what the temperature hides of the curves; "" where that is nothing."""
    if all(abs(one.loss - one.tempered_loss) <= _NOTHING for one in checks):
        return ""
    note = " Validation losses are after the temperature that fits best, as checks are compared."
    lowest = min(checks, key=lambda one: one.loss)
    if _rose(lowest.loss, checks[-1].loss) and not _rose(
        min(one.tempered_loss for one in checks), checks[-1].tempered_loss
    ):
        note += (
            f" Without it the loss rose from {lowest.loss:.3f} to {checks[-1].loss:.3f}: how sure "
            "the model is got worse, not what it knows, and the temperature takes that back."
        )
    return note


def _after_a_rise(
    best: Check, last: Check, before: float, after: float, *, kept_epoch: float | None, note: str
) -> Diagnosis:
    """Say why validation got worse: learned by heart, if training got better."""
    kept = "" if kept_epoch is None else f" What is kept is of epoch {kept_epoch:g}."
    if after >= before:
        return Diagnosis(
            UNSTABLE,
            f"It is unstable: from epoch {best.epoch:g} to {last.epoch:g} the validation log-loss "
            f"rose from {best.tempered_loss:.3f} to {last.tempered_loss:.3f}, and that of training "
            f"did not fall. The steps may be too long.{kept}{note}",
        )
    how = f"the training log-loss fell from {before:.3f} to {after:.3f}, that of validation rose"
    if before < _NOTHING:
        how = (
            f"the training images were known by heart (log-loss {before:.3f} and less), the loss "
            "of validation rose"
        )
    return Diagnosis(
        OVERFITS,
        f"It overfits: from epoch {best.epoch:g} to {last.epoch:g} {how} from "
        f"{best.tempered_loss:.3f} to {last.tempered_loss:.3f}.{kept}{note}",
    )
