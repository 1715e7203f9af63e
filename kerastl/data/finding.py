"""What a check found: one value per finding, with the numbers behind it and what to do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

# Most severe first.
SEVERITIES = ("error", "warning", "note")

# More pictures than these do not make a finding clearer.
LARGEST_NUM_EXAMPLES = 12


@dataclass(frozen=True)
class Finding:
    """One thing about a data set that a person should know.

    Attributes:
        code: What it is, in words that programs can compare: "duplicates-across-splits".
        severity: "error" (results are wrong as long as it stands), "warning" (results
            mislead) or "note" (good to know).
        title: One line with the number.
        why: One or two sentences: why it matters.
        advice: What to type or to do next.
        num_rows: Images concerned.
        examples: Groups of row numbers to show side by side, at most 12 groups.
        values: The numbers behind it; text, whole numbers and floats only.
        rows: All rows that it names, for tables of images; none where it is about the whole
            set.
    """

    code: str
    severity: str
    title: str
    why: str
    advice: str
    num_rows: int
    examples: tuple[tuple[int, ...], ...] = ()
    values: Mapping[str, float | int | str] = field(default_factory=dict)
    rows: tuple[int, ...] = field(default=(), repr=False)
