"""The card of a model: what Hugging Face reads of it, and what people do."""

import datetime
import re

import numpy as np
import pytest
from huggingface_hub import ModelCard

from kerastl.evaluation.findings import ShownFinding
from kerastl.evaluation.metrics import classification_metrics, multi_label_metrics
from kerastl.evaluation.model_card import render_model_card
from kerastl.evaluation.report import DataSummary, ModelSummary, Report


def measured(num_right, names=("cat", "dog")):
    """Return the metrics of 200 answers of which so many are right."""
    labels = np.arange(200) % 2
    answered = np.where(np.random.default_rng(0).permutation(200) < num_right, labels, 1 - labels)
    probabilities = np.where(np.eye(2)[answered] == 1, 0.8, 0.2)
    return classification_metrics(labels, probabilities, class_names=names).to_dict()


def minimal(*, names=("cat", "dog"), **changes):
    counts = {"train": [90, 10], "val": [3, 4], "test": [99, 101]}
    of_probe = {"probe": measured(170, names)}
    options = {
        "title": "Pets",
        "created": datetime.datetime(2026, 3, 4, 15, 9, tzinfo=datetime.UTC),
        "version": "1.2.3",
        "command": "python -m kerastl.fit 'my pets/' --seed 1",
        "data": DataSummary("pets", 400, names, counts, how_split="Cut at random."),
        "model": ModelSummary("ResNet50", "imagenet", (224, 192), 23_587_712),
        "kept": "probe",
        "kept_because": "Only the probe was fitted.",
        "validation": of_probe,
        "test": of_probe,
    }
    return Report(**{**options, **changes})


def two_models(**changes):
    both = {"probe": measured(160), "fine-tuned": measured(180)}
    return minimal(validation=both, test=both, kept="fine-tuned", **changes)


def tables(text):
    """Return the tables of a Markdown text, each a list of rows of cells."""
    found = re.findall(r"(?:^\|.*\|$\n?)+", text, flags=re.MULTILINE)
    cells = [[re.split(r"(?<!\\)\|", row)[1:-1] for row in one.splitlines()] for one in found]
    return [[[cell.strip() for cell in row] for row in one] for one in cells]


def test_hugging_face_reads_its_numbers():
    report = two_models()
    card = ModelCard(render_model_card(report))
    assert (card.data.library_name, card.data.pipeline_tag) == ("keras", "image-classification")
    results = {one.metric_type: one.metric_value for one in card.data.eval_results}
    measured = report.test["fine-tuned"]
    assert results == {
        "accuracy": measured["accuracy"]["value"],
        "f1": measured["macro_f1"]["value"],
        "roc_auc": measured["auroc"]["value"],
    }
    assert {one.dataset_name for one in card.data.eval_results} == {"pets"}


def test_people_read_the_same_numbers():
    text = render_model_card(two_models())
    counts, measures, classes = tables(text)
    assert counts[0] == ["class", "train", "val", "test"]
    assert counts[2:] == [["cat", "90", "3", "99"], ["dog", "10", "4", "101"]]
    assert measures[0] == ["measure", "probe", "fine-tuned (kept)"]
    accuracy = {row[0]: row[1:] for row in measures}["Accuracy"]
    assert [cell.split(" (")[0] for cell in accuracy] == ["80.0 %", "90.0 %"]
    assert {len(row) for table in (counts, measures, classes) for row in table[2:]} == {3, 4, 5}
    assert "right for\n90.0 % (85.1 to 93.4)" in text
    assert "whom a mistake" in text
    assert "    python -m kerastl.fit 'my pets/' --seed 1\n" in text  # as it is typed


@pytest.mark.parametrize("name", ["a|b", "<script>", "`x`", "two\nlines", "*_[x]_*"])
def test_a_class_may_be_called_anything(name):
    text = render_model_card(minimal(names=[name, "dog"]))
    assert "<script>" not in text
    counts, _, classes = tables(text)
    assert {len(row) for row in counts} == {4}
    assert {len(row) for row in classes} == {5}


def test_what_looks_wrong_and_several_labels_are_said():
    finding = ShownFinding("warning", "12 copies are on both sides of the split", "", "")
    text = render_model_card(minimal(findings=[finding], notes=["Read macro F1."]))
    assert "- warning: 12 copies are on both sides of the split\n" in text
    assert "- Read macro F1.\n" in text
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, (40, 2))
    answers = np.clip(labels * 0.6 + rng.random((40, 2)) * 0.5, 0, 1).astype(np.float32)
    names = ["cat", "dog"]
    measured = multi_label_metrics(labels, answers, class_names=names).to_dict()
    several = minimal(test={"probe": measured}, validation={"probe": measured})
    assert "(every label of an image)" in render_model_card(several)
    assert ModelCard(render_model_card(several)).data.eval_results
