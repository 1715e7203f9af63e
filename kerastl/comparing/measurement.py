"""The whole comparison: `compare_backbones(options)` measures candidate after candidate."""

from __future__ import annotations

import functools
import time
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from kerastl.answered import AnsweredImages
from kerastl.benchmarking.machine import describe_machine
from kerastl.benchmarking.timing import Stage, measure_in_rounds
from kerastl.comparing.candidates import Candidate
from kerastl.comparing.material import Material, at_size, read_material
from kerastl.comparing.options import CompareOptions
from kerastl.comparing.result import TIME_UP, CandidateResult, Comparison, Speed
from kerastl.comparing.verdict import judge_candidates
from kerastl.data.sources import ImageTable
from kerastl.deadline import Deadline, TimeUpError, deadline_after
from kerastl.errors import KerasTLError
from kerastl.evaluation.intervals import share
from kerastl.features.extract import folded_feature_model, trace_forward
from kerastl.features.halving import prove_in_memory
from kerastl.features.log_evidence import log_evidence
from kerastl.features.probe import Probe, fit_probe, image_losses
from kerastl.features.store import Store, find_store
from kerastl.features.stored_features import stored_features
from kerastl.models.classifier import feature_model
from kerastl.models.folded_classifier import fold_classifier
from kerastl.models.frozen import PROOF_IMAGES
from kerastl.plan import build, find_network, read_table
from kerastl.progress import checking

_BATCH_SIZE = 32
# Of the timing of one network: odd, so that the median is a round that was.
_ROUNDS = 5


def compare_backbones(
    options: CompareOptions, *, table: ImageTable | None = None, directory: Path | None = None
) -> Comparison:
    """Compare networks by probes on their features, on the images that a fit would learn from.

    The test split that `kerastl.run` makes of the same options is left alone. Features are kept
    where a fit looks for them.

    Args:
        options: Which networks, on which images.
        table: Images that are in memory already, in place of `options.data`.
        directory: Where pixels go that do not fit into memory.

    Raises:
        KerasTLError: The images cannot be had, or no network can be measured.

    Example::

        found = compare_backbones(CompareOptions("photos", backbones="EfficientNetLite0,ResNet50"))
        found.first.candidate.name
    """
    started, deadline = time.monotonic(), deadline_after(options.max_minutes)
    store = find_store(options.feature_cache, largest_bytes=int(options.feature_cache_gib * 2**30))
    candidates = options.candidates
    material = read_material(
        table or read_table(options),
        options,
        image_size=candidates[0].image_size,
        directory=directory,
    )
    results = []
    for candidate in candidates:
        if deadline.passed:
            results.append(CandidateResult(candidate, refused=_not_begun(deadline)))
            continue
        if candidate.image_size != material.image_size:
            material = at_size(
                material, options, image_size=candidate.image_size, directory=directory
            )
        results.append(measure_candidate(candidate, material, options, store, deadline=deadline))
    groups = material.table.groups
    return Comparison(
        options=options,
        name=material.table.name,
        num_images=len(material.rows),
        num_held_back=material.num_held_back,
        unreadable=material.unreadable,
        num_classes=len(material.table.class_names),
        num_groups=None if groups is None else len(np.unique(groups)),
        results=tuple(results),
        verdict=judge_candidates(results, seed=options.seed),
        machine=describe_machine(),
        seconds=time.monotonic() - started,
    )


def measure_candidate(
    candidate: Candidate,
    material: Material,
    options: CompareOptions,
    store: Store,
    *,
    deadline: Deadline,
) -> CandidateResult:
    """Measure one network: its speed here, its features, a probe on held-out folds.

    Args:
        candidate: Which.
        material: The images, at its size.
        options: How features are pooled, and how slow it may be.
        store: Where features are kept.
        deadline: When it must end.

    Returns:
        What was found; if it cannot be had or is too slow, why.
    """
    started = time.monotonic()
    result = functools.partial(CandidateResult, candidate)
    try:
        classifier = _build(candidate, material, options)
    except KerasTLError as error:
        return result(refused=_first_sentence(error))
    backbone_words = {"num_parameters": feature_model(classifier).count_params()}
    try:
        speed = _measure_speed(classifier, material)
        if options.max_latency_ms is not None and speed.latency_ms > options.max_latency_ms:
            words = (
                f"One image takes {speed.latency_ms:.1f} ms here, more than "
                f"{options.max_latency_ms:g} ms (--max-latency-ms)."
            )
            return result(refused=words, speed=speed, **backbone_words)
        with checking(deadline.check):
            features, probe = _fit(classifier, material, store, name=candidate.name)
    except TimeUpError:
        words = f"{TIME_UP}{deadline.words}) was over before it was measured."
        return result(refused=words, **backbone_words)
    except KerasTLError as error:
        return result(refused=_first_sentence(error), **backbone_words)
    table = material.table
    answers = AnsweredImages(
        table.ids, table.labels, table.class_names, probe.out_of_fold, groups=table.groups
    )
    return result(
        **backbone_words,
        num_features=features.shape[1],
        speed=speed,
        accuracy=share(answers.right, groups=table.groups, seed=options.seed),
        log_loss=float(image_losses(table.labels, probe.out_of_fold).mean()),
        log_evidence=log_evidence(features, table.labels),
        answers=answers,
        seconds=time.monotonic() - started,
    )


def _not_begun(deadline: Deadline) -> str:
    return f"{TIME_UP}{deadline.words}) was over before it began."


def _first_sentence(error: KerasTLError) -> str:
    """Return what happened, without the advice for a fit."""
    return f"{str(error).split('. ')[0].rstrip('.')}."


def _build(candidate: Candidate, material: Material, options: CompareOptions) -> keras.Model:
    """Return a classifier on the candidate, as a fit would build it, with a random head."""
    config = options.fit_config(candidate)
    keras.utils.set_random_seed(config.seed)
    network = find_network(config, backbone=None, preprocessing="identity")
    return build(network, material.table, config)


def _measure_speed(classifier: keras.Model, material: Material) -> Speed:
    """Return how fast the network answers as it is served: folded, pixels to probabilities."""
    forward = trace_forward(fold_classifier(classifier)[0], material.images.shape[1:])
    pixels = np.asarray(material.images[material.rows[:_BATCH_SIZE]])
    batch = tf.constant(np.resize(pixels, (_BATCH_SIZE, *pixels.shape[1:])))
    stages = [
        Stage("one", "One image", 1, lambda: forward(batch[:1]).numpy()),
        Stage("batch", "A batch", _BATCH_SIZE, lambda: forward(batch).numpy()),
    ]
    (one, many), _ = measure_in_rounds(stages, [], rounds=_ROUNDS)
    return Speed(
        latency_ms=1000 * one.median_seconds,
        latency_spread=one.spread,
        batch_ms=1000 * many.median_seconds / _BATCH_SIZE,
    )


def _fit(
    classifier: keras.Model, material: Material, store: Store, *, name: str
) -> tuple[NDArray[np.float32], Probe]:
    """Return the features, from the store where they are there, and the probe on them."""
    model = folded_feature_model(classifier)
    features = stored_features(
        model,
        material.images,
        store,
        batch_size=_BATCH_SIZE,
        prove=functools.partial(
            prove_in_memory,
            model,
            reference=feature_model(classifier),
            pixels=np.asarray(material.images[material.rows[:PROOF_IMAGES]]),
        ),
    )(material.rows, f"Features of {name}")
    return features, fit_probe(features, material.table.labels, folds=material.folds)
