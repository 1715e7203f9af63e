"""Findings in the log of a fit: one line each, and what to type."""

from kerastl.data.finding import Finding
from kerastl.findings import finding_lines


def finding(title, advice, severity="warning"):
    return Finding("code", severity, title, "Because.", advice, 2)


def test_each_line_says_what_to_type_and_shared_advice_is_said_once():
    lines = finding_lines(
        [
            finding("2 copies", "Type: python -m kerastl.check photos", "error"),
            finding("3 look-alikes", "Type: python -m kerastl.check photos"),
            finding("4 blank\nimages", "Look at them;\nremove\x1b them."),
            finding("5 grey images", "Nothing.", "note"),
        ],
        limit=5,
        rest="The report shows all.",
    )
    assert lines == [
        "Error in the data: 2 copies. Type: python -m kerastl.check photos",
        "Warning in the data: 3 look-alikes.",
        "Warning in the data: 4 blank images. Look at them; remove them.",
    ]


def test_what_does_not_fit_is_counted():
    many = [finding(f"{number} copies", f"Remove {number}.") for number in range(4)]
    assert finding_lines(many, limit=2, rest="See the page.") == [
        "Warning in the data: 0 copies. Remove 0.",
        "3 more findings about the data. See the page.",
    ]
