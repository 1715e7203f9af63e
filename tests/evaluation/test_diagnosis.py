"""What learning curves say, on curves that were drawn to say it."""

import pytest

from kerastl.evaluation.diagnosis import diagnose


def rows(*pairs):
    return [{"loss": loss, "val_loss": val} for loss, val in pairs]


@pytest.mark.parametrize(
    ("history", "probe", "verdict", "words"),
    [
        (rows((0.6, 0.5), (0.3, 0.4), (0.1, 0.5)), 0.6, "overfits", "from epoch 2 to 3"),
        (rows((0.6, 0.5), (0.5, 0.4), (0.45, 0.3)), 0.6, "underfits", "still learning"),
        (rows((0.6, 0.5)), 0.6, "underfits", "lowest in the last of 1 epochs (0.500)"),
        (rows((0.6, 0.5), (0.4, 0.3), (0.35, 0.301)), 0.6, "fits", "lowest in epoch 2 of 3"),
        (rows((0.6, 0.5), (0.1, 0.3), (0.08, 0.301)), 0.6, "fits", "more would help"),
        (rows((0.6, 0.5), (0.4, 0.3), (0.2, 0.29)), 0.2, "no gain", "that of the probe 0.200"),
        # All is known: neither halving nor doubling means anything.
        (rows((0.2, 0.002), (0.1, 0.001)), 0.6, "fits", "neither"),
        (rows((0.2, 0.001), (0.1, 0.003)), 0.6, "fits", "neither"),
        # Rose, but training got worse too: not learning by heart.
        (rows((0.3, 0.3), (0.4, 0.4)), 0.6, "unstable", "did not fall"),
    ],
)
def test_verdicts(history, probe, verdict, words):
    kept = min(row["val_loss"] for row in history)
    found = diagnose(history, probe_loss=probe, kept_loss=kept, epochs=len(history))
    assert found.verdict == verdict
    assert words in found.words


def test_a_run_that_patience_or_time_ended_is_not_called_unfinished():
    history = rows((0.6, 0.5), (0.5, 0.4))
    assert diagnose(history, probe_loss=0.6, kept_loss=0.4, epochs=8).verdict == "fits"
    found = diagnose(history, probe_loss=0.6, kept_loss=0.4, epochs=8, cut_short=True)
    assert found.verdict == "cut short"
    assert "8 were planned" in found.words


def test_losses_of_two_kinds_are_not_compared():
    history = rows((0.6, 0.5), (0.1, 0.3), (0.08, 0.301))
    found = diagnose(history, probe_loss=0.6, kept_loss=0.3, epochs=3, comparable=False)
    assert "raining" not in found.words
