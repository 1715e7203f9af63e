"""What learning curves say: too much learned by heart, too little learned, or neither."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

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
    epochs: int,
    cut_short: bool = False,
    comparable: bool = True,
) -> Diagnosis:
    """Read the curves of a fine-tuning.

    Args:
        history: One row per epoch with "loss" and "val_loss", in nats.
        probe_loss: Validation loss of the probe, that fine-tuning began with.
        kept_loss: Validation loss of what fine-tuning gave.
        epochs: How many were planned.
        cut_short: Whether the time was up before.
        comparable: Whether training and validation losses are of one kind: not with smoothed or
            mixed labels, penalties on weights, or classes that are drawn equally often.

    Example:
        >>> rows = [{"loss": loss, "val_loss": val} for loss, val in
        ...         [(0.5, 0.5), (0.3, 0.4), (0.1, 0.45), (0.02, 0.6)]]
        >>> found = diagnose(rows, probe_loss=0.6, kept_loss=0.4, epochs=4)
        >>> found.verdict
        'overfits'
        >>> found.words[:42]
        'It overfits: from epoch 2 to 4 the trainin'
    """
    losses = [float(row["val_loss"]) for row in history]
    training = [float(row["loss"]) for row in history]
    best = losses.index(min(losses))
    if kept_loss >= probe_loss:
        return Diagnosis(
            NO_GAIN,
            f"Fine-tuning gained nothing: its validation log-loss is {kept_loss:.3f}, that of the "
            f"probe {probe_loss:.3f}. Its steps disturbed more than they taught, or the images are "
            "too few for it.",
        )
    rose = losses[-1] > max((1 + _RISE) * losses[best], losses[best] + _NOTHING)
    if rose and training[-1] >= training[best]:
        return Diagnosis(
            UNSTABLE,
            f"It is unstable: from epoch {best + 1} to {len(losses)} the validation log-loss rose "
            f"from {losses[best]:.3f} to {losses[-1]:.3f}, and that of training did not fall. The "
            "steps may be too long. What is kept is from before.",
        )
    if rose:
        return Diagnosis(
            OVERFITS,
            f"It overfits: from epoch {best + 1} to {len(losses)} the training log-loss fell from "
            f"{training[best]:.3f} to {training[-1]:.3f}, that of validation rose from "
            f"{losses[best]:.3f} to {losses[-1]:.3f}. What is kept is from before.",
        )
    if cut_short and best == len(losses) - 1:
        return Diagnosis(
            CUT_SHORT,
            "It was cut short while it was learning: the validation log-loss was lowest in the "
            f"last of {len(losses)} epochs ({losses[-1]:.3f}); {epochs} were planned.",
        )
    falling = len(losses) > 1 and losses[-1] < min(
        (1 - _STILL_FALLING) * losses[-2], losses[-2] - _NOTHING
    )
    if best == len(losses) - 1 and len(losses) >= epochs and (falling or len(losses) == 1):
        return Diagnosis(
            UNDERFITS,
            f"It was still learning at its end: the validation log-loss was lowest in the last of "
            f"{len(losses)} epochs ({losses[-1]:.3f}"
            + (f", {losses[-2]:.3f} in the one before)." if len(losses) > 1 else ")."),
        )
    words = (
        f"It neither over- nor underfits: the validation log-loss was lowest in epoch {best + 1} "
        f"of {len(losses)} ({losses[best]:.3f}) and hardly rose after it."
    )
    if comparable and training[best] < _WIDE_GAP * losses[best]:
        words += f" Training images are known much better ({training[best]:.3f}): more would help."
    elif comparable:
        words += f" The training log-loss ({training[best]:.3f}) is near it."
    return Diagnosis(FITS, words)
