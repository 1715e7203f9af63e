"""What learning curves say, on curves that were drawn to say it."""

import pytest

from kerastl.errors import DataError
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


def between(row, epoch, loss):
    return {**row, "checks": [{"epoch": epoch, "val_loss": loss, "val_accuracy": 0.5}]}


def test_the_best_may_lie_in_the_middle_of_an_epoch():
    first, second, third = rows((0.6, 0.5), (0.3, 0.4), (0.1, 0.5))
    ask = {"probe_loss": 0.6, "kept_loss": 0.3, "epochs": 3}
    found = diagnose([first, between(second, 1.5, 0.3), third], **ask)
    assert found.verdict == "overfits"
    assert "from epoch 1.5 to 3 the training" in found.words
    assert "rose from 0.300 to 0.500" in found.words
    # Within the last epoch: of half an epoch the training loss is not known.
    found = diagnose([first, second, between(third, 2.5, 0.3)], **ask)
    assert found.verdict == "fits"
    assert "lowest in epoch 2.5 of 3 (0.300) and 0.500 at its end" in found.words
    last = {**third, "epoch": 2.5, "val_loss": 0.401}  # patience ended it there
    found = diagnose([first, second, last], **{**ask, "epochs": 8})
    assert "lowest in epoch 2 of 2.5 (0.400) and hardly rose" in found.words
    found = diagnose([first, second, between(third, 2.5, 0.3)], cut_short=True, **ask)
    assert "lowest in the last of 3 epochs (0.300)" in found.words


def tempered(*triples):
    return [
        {"loss": loss, "val_loss": val, "val_tempered_loss": after} for loss, val, after in triples
    ]


def test_surer_is_not_worse():
    """The plain loss has doubled and what counts is at its lowest: nothing was learned by heart."""
    ask = {"probe_loss": 0.6, "kept_loss": 0.31, "kept_epoch": 3, "epochs": 3}
    history = tempered((0.6, 0.4, 0.38), (0.3, 0.5, 0.31), (0.1, 0.8, 0.312))
    found = diagnose(history, **ask)
    assert found.verdict == "fits"
    assert "lowest in epoch 2 of 3 (0.310) and hardly rose" in found.words
    assert "Without it the loss rose from 0.400 to 0.800: how sure the model is" in found.words
    plain = [{**row, "val_loss": row["val_tempered_loss"]} for row in history]
    assert "temperature" not in diagnose(plain, **ask).words


def test_what_is_kept_is_named():
    history = tempered((0.6, 0.5, 0.45), (0.3, 0.4, 0.35), (0.2, 0.45, 0.355), (0.1, 0.9, 0.5))
    found = diagnose(history, probe_loss=0.6, kept_loss=0.355, kept_epoch=3, epochs=4)
    assert found.verdict == "overfits"
    assert (
        "rose from 0.350 to 0.500. What is kept is of epoch 3. Validation losses are after"
        in found.words
    )
    assert "how sure" not in found.words
    average = diagnose(history, probe_loss=0.6, kept_loss=0.34, epochs=4)
    assert "What is kept" not in average.words


def test_what_is_not_sure_is_not_said():
    """The last check is as good as the best: no overfitting; a loss within the margin: no loss."""
    history = rows((0.6, 0.5), (0.3, 0.4), (0.1, 0.43))
    ask = {"probe_loss": 0.6, "kept_loss": 0.43, "epochs": 3}
    assert diagnose(history, kept_epoch=2, **ask).verdict == "overfits"
    assert diagnose(history, kept_epoch=3, **ask).verdict == "fits"
    ask["probe_loss"] = 0.42
    assert diagnose(history, kept_epoch=3, **ask).verdict == "no gain"
    assert diagnose(history, kept_epoch=3, margin=0.02, **ask).verdict == "fits"


def test_a_fall_from_nothing_to_nothing_is_not_called_a_fall():
    history = rows((0.001, 0.1), (0.0004, 0.5))
    found = diagnose(history, probe_loss=0.6, kept_loss=0.1, kept_epoch=1, epochs=2)
    assert found.verdict == "overfits"
    assert (
        "known by heart (log-loss 0.001 and less), the loss of validation rose from 0.100 to "
        in (found.words)
    )
    assert "fell from" not in found.words


def test_without_a_validation_loss_nothing_can_be_said():
    with pytest.raises(DataError, match='must have a "val_loss"'):
        diagnose([{"loss": 0.5}], probe_loss=0.6, kept_loss=0.3, epochs=3)


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


def test_few_validation_images_are_said():
    history = rows((0.6, 0.5), (0.3, 0.4), (0.1, 0.5))
    ask = {"probe_loss": 0.6, "kept_loss": 0.4, "epochs": 3}
    plain = diagnose(history, num_images=50, **ask)
    assert plain == diagnose(history, **ask)
    few = diagnose(history, num_images=14, **ask)
    assert few.verdict == plain.verdict
    words = " With 14 validation images a verdict can hang on one or two of them."
    assert few.words == plain.words + words
