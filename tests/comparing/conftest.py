"""Comparisons that are made up: as many networks as wanted, as close together as wanted."""

import numpy as np
import pytest

from kerastl.answered import AnsweredImages
from kerastl.benchmarking.machine import describe_machine
from kerastl.comparing.candidates import Candidate
from kerastl.comparing.options import CompareOptions
from kerastl.comparing.result import CandidateResult, Comparison, Speed
from kerastl.comparing.verdict import judge_candidates
from kerastl.evaluation.intervals import share

NUM_IMAGES = 200
BACKBONES = ("EfficientNetLite0", "MobileNetV3Large", "EfficientNetV2B0", "DenseNet201", "VGG16")


def made_up_comparison(places):
    """A comparison of one network for each (milliseconds, share of right answers)."""
    labels = np.arange(NUM_IMAGES) % 2
    random = np.random.default_rng(0)
    results = []
    for number, (milliseconds, right_share) in enumerate(places):
        right = random.permutation(NUM_IMAGES) < round(right_share * NUM_IMAGES)
        scores = np.where(right[:, None] == np.eye(2, dtype=bool)[labels], 0.9, 0.1)
        ids = tuple(map(str, range(NUM_IMAGES)))
        answers = AnsweredImages(ids, labels, ("a", "b"), scores.astype(np.float32))
        size = 96 + 32 * (number // len(BACKBONES))
        results.append(
            CandidateResult(
                Candidate(BACKBONES[number % len(BACKBONES)], (size, size)),
                num_parameters=3_400_000,
                speed=Speed(milliseconds, 0.1, milliseconds / 2),
                accuracy=share(answers.right),
                log_loss=0.4,
                log_evidence=-float(number),
                answers=answers,
            )
        )
    verdict = judge_candidates(results, seed=0)
    options = CompareOptions("photos", backbones=",".join(one.candidate.name for one in results))
    return Comparison(
        options=options,
        name="photos",
        num_images=NUM_IMAGES,
        num_held_back=50,
        unreadable=(),
        num_classes=2,
        num_groups=None,
        results=tuple(results),
        verdict=verdict,
        machine=describe_machine(),
        seconds=9.0,
    )


@pytest.fixture(scope="session")
def compared():
    """What makes a comparison up."""
    return made_up_comparison
