"""Who is better, who ties, who is worth the time: from answers that are made up."""

import numpy as np
import pytest

from kerastl.answered import AnsweredImages
from kerastl.comparing.candidates import Candidate
from kerastl.comparing.result import TIME_UP, CandidateResult, Speed
from kerastl.comparing.verdict import judge_candidates
from kerastl.errors import DataError
from kerastl.evaluation.intervals import share

NUM_IMAGES = 200


def found(name, wrong, *, evidence=0.0, milliseconds=10.0, groups=None):
    """A network that has these images wrong."""
    labels = np.arange(NUM_IMAGES) % 2
    right = ~np.isin(np.arange(NUM_IMAGES), wrong)
    scores = np.where(right[:, None] == np.eye(2, dtype=bool)[labels], 0.9, 0.1)
    answers = AnsweredImages(
        tuple(map(str, range(NUM_IMAGES))),
        labels,
        ("a", "b"),
        scores.astype(np.float32),
        groups=groups,
    )
    return CandidateResult(
        Candidate("VGG16", (32, 32), name),
        speed=Speed(milliseconds, 0.0, milliseconds),
        accuracy=share(answers.right, groups=groups),
        log_evidence=evidence,
        answers=answers,
    )


def name_of(weights):
    return f"VGG16@32={weights}"


def test_a_real_difference_and_a_tie():
    worst = found("worst", range(90))
    good = found("good", range(10), evidence=0.2)
    best = found("best", range(5, 14), evidence=0.1)
    verdict = judge_candidates([worst, good, best], seed=0)
    # Nine wrong are not told from ten: LogME decides.
    assert verdict.ranked == tuple(map(name_of, ("good", "best", "worst")))
    assert set(verdict.tied) == {name_of("good"), name_of("best")}
    assert verdict.against_best[name_of("worst")].p_value < 1e-6
    assert verdict.against_best[name_of("good")].p_value == 1.0


def test_a_duplicate_ties():
    verdict = judge_candidates([found("one", range(20)), found("copy", range(20))], seed=0)
    assert set(verdict.tied) == set(verdict.ranked) == {name_of("one"), name_of("copy")}
    assert next(iter(verdict.against_best.values())).p_value == 1.0
    assert set(verdict.efficient) == set(verdict.ranked)  # neither is better in anything


def test_many_comparisons_are_corrected():
    best = found("best", range(10))
    # 13 against 2 is p = 0.007 by itself.
    others = [found(f"other{n}", [*range(2, 10), *range(20, 33)]) for n in range(8)]
    alone = judge_candidates([best, others[0]], seed=0)
    assert alone.tied == (name_of("best"),)
    assert len(judge_candidates([best, *others], seed=0).tied) == 9


def test_who_is_both_less_accurate_and_slower_is_not_efficient():
    results = [
        found("quick", range(30), milliseconds=2),
        found("good", range(10), milliseconds=8),
        found("wasteful", range(12), milliseconds=9),
    ]
    verdict = judge_candidates(results, seed=0)
    assert set(verdict.efficient) == {name_of("quick"), name_of("good")}


def test_a_faster_one_that_ties_is_named():
    slow = found("slow", range(10), evidence=1.0, milliseconds=20)
    quick = found("quick", range(1, 12), milliseconds=10)
    assert judge_candidates([slow, quick], seed=0).swift == name_of("quick")
    near = found("near", range(1, 12), milliseconds=19)
    assert judge_candidates([slow, near], seed=0).swift is None


def test_nobody_is_sent_to_what_a_tied_one_beats_in_everything():
    slow = found("slow", range(10), evidence=1.0, milliseconds=20)
    quick = found("quick", range(1, 11), evidence=0.5, milliseconds=10)  # right as often
    light = found("light", range(1, 13), evidence=0.9, milliseconds=5)
    verdict = judge_candidates([slow, quick, light], seed=0)
    assert verdict.tied == tuple(map(name_of, ("slow", "light", "quick")))  # by LogME
    assert verdict.advised == name_of("light")
    # As fast within what timings scatter: LogME decides.
    verdict = judge_candidates([slow, found("near", range(1, 11), milliseconds=19)], seed=0)
    assert verdict.advised == name_of("slow")


def test_over_groups_fewer_differences_are_real():
    wrong, more = range(0, 20), range(0, 40)
    alone = judge_candidates([found("best", wrong), found("more", more)], seed=0)
    assert alone.tied == (name_of("best"),)
    groups = np.arange(NUM_IMAGES) // 40  # all 20 are of the first group
    both = [found(name, rows, groups=groups) for name, rows in (("best", wrong), ("more", more))]
    verdict = judge_candidates(both, seed=0)
    assert set(verdict.tied) == {name_of("best"), name_of("more")}
    assert all(one.p_value is None for one in verdict.against_best.values())


def test_refused_ones_do_not_count_and_cannot_be_all():
    refused = CandidateResult(Candidate("VGG19", (32, 32)), refused="It is too slow.")
    assert judge_candidates([refused, found("one", [])], seed=0).ranked == (name_of("one"),)
    with pytest.raises(DataError, match=r"VGG19@32: It is too slow.*EfficientNetLite0 needs no"):
        judge_candidates([refused], seed=0)
    slow = CandidateResult(Candidate("VGG19", (32, 32)), "Slow.", speed=Speed(9.1, 0.1, 5.0))
    with pytest.raises(DataError, match="Type --max-latency-ms 12 or more"):
        judge_candidates([refused, slow], seed=0)
    late = CandidateResult(Candidate("VGG19", (32, 32)), f"{TIME_UP}--max-minutes 1) was over.")
    with pytest.raises(DataError, match=r"more --max-minutes.*what was computed is kept"):
        judge_candidates([late], seed=0)
