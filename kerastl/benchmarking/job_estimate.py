"""How long a fit takes, from what its stages took: where the time goes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from kerastl.benchmarking.timing import Timing
from kerastl.config import FitConfig
from kerastl.data.augment import symmetric_views
from kerastl.training.view_plan import plan_views

# What is kept of views has room: a benchmark cannot know the user's disk on another day.
_ROOM_BYTES = 2**62


@dataclass(frozen=True)
class JobPart:
    """A part of a fit.

    Attributes:
        title: For people.
        seconds: What it takes.
    """

    title: str
    seconds: float


@dataclass(frozen=True)
class JobEstimate:
    """How long a fit takes, without its fixed part: start, building, check, report.

    Attributes:
        images: In all splits.
        epochs: Of fine-tuning, all of them; a run that stops early takes less.
        num_views: Kept views of each training image; 0 where the frozen part runs in every epoch.
        parts: In the order of a fit.
    """

    images: int
    epochs: int
    num_views: int
    parts: tuple[JobPart, ...]

    @property
    def seconds(self) -> float:
        """Of all parts."""
        return sum(part.seconds for part in self.parts)


def estimate_job(
    timings: Sequence[Timing], config: FitConfig, *, images: int, border: bool, square: bool
) -> JobEstimate:
    """Add up what a fit does: how often each stage runs over how many images.

    Args:
        timings: What was measured.
        config: Splits, epochs, augmentation.
        images: Of the job, in all splits.
        border: Whether a part of the network is frozen while the rest is trained.
        square: Whether images are as high as wide.
    """
    each = {one.name: one.median_seconds / one.images for one in timings}
    val, test = config.val_fraction * images, config.test_fraction * images
    train, held_out = images - val - test, val + test
    probe_views = len(symmetric_views(config.augment, square=square))
    num_views, epochs = 0, config.fine_tune_epochs or 0
    tuned = "train_live" in each and epochs > 0
    if tuned:
        plan = plan_views(
            "auto",
            augment=config.augment,
            mix=config.mix,
            epochs=epochs,
            num_train=round(train),
            num_val=round(val),
            view_bytes=int(border),
            budget_bytes=_ROOM_BYTES,
        )
        num_views = plan.num_views
    extract = (train * probe_views + held_out) * each["extract"]
    if num_views:  # those of the images as they are begin with what is kept
        extract -= (train + val) * min(each["frozen"], each["extract"])
    parts = [
        JobPart("Read, decode, resize", images * each["decode"]),
        JobPart("Extract features", extract),
        JobPart("Fit the probe", train * each["probe"]),
    ]
    if tuned:
        parts += _training_parts(
            each, train=train, val=val, test=test, epochs=epochs, num_views=num_views
        )
    if "export" in each:
        parts.append(JobPart("Export and prove", each["export"]))
    return JobEstimate(images, epochs, num_views, tuple(parts))


def _training_parts(
    each: Mapping[str, float],
    *,
    train: float,
    val: float,
    test: float,
    epochs: int,
    num_views: int,
) -> list[JobPart]:
    """Return what fine-tuning and the test of its result take."""
    # Forwards alone, a third of a step.
    parts = []
    if num_views:
        varied = train * (num_views - 1)
        frozen = (train * num_views + val) * each["frozen"] + varied * each["augment"]
        parts.append(JobPart(f"Frozen part ({num_views} views)", frozen))
        step = each["train"]
    else:
        step = each["train_live"]
    epoch = (train + val / 3) * step
    parts.append(JobPart(f"Train ({epochs} epochs)", epochs * epoch))
    # As it is served, unfolded; that includes decoding, which a fit does not do again.
    parts.append(JobPart("Test", test * each.get("predict", each["extract"])))
    return parts
