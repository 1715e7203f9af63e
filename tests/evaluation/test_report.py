"""The page says what it was given, escapes it, and needs nothing but itself."""

import base64
import datetime
import hashlib
import html
import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest

from kerastl.errors import ConfigError
from kerastl.evaluation.confusion_table import CellImages
from kerastl.evaluation.figures import figure_data_uri
from kerastl.evaluation.findings import Thumbnail
from kerastl.evaluation.metrics import classification_metrics, multi_label_metrics
from kerastl.evaluation.pictures import confusion_matrix_figure
from kerastl.evaluation.report import DataSummary, ModelSummary, Picture, Report
from kerastl.evaluation.report_page import render_report

EVIL = "<script>alert(1)</script>"
VOID = {"meta", "img", "br", "path", "link", "input"}


class Page(HTMLParser):
    """Elements and text of a page; fails where a tag is not closed in order."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.open, self.words = [], [], []
        self.feed(text)
        assert self.open == []
        self.text = " ".join(" ".join(self.words).replace("\N{NO-BREAK SPACE}", " ").split())

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data):
        if not {"style", "script"} & {*self.open}:
            self.words.append(data)

    def all(self, name):
        return [attributes for tag, attributes in self.elements if tag == name]


def measured(accuracy, *, num_rows=200, num_classes=2, names=None, groups=None):
    labels = np.arange(num_rows) % num_classes
    right = np.random.default_rng(0).permutation(num_rows) < accuracy * num_rows
    answered = np.where(right, labels, (labels + 1) % num_classes)
    probabilities = np.full((num_rows, num_classes), 0.2 / (num_classes - 1))
    probabilities[np.arange(num_rows), answered] = 0.8
    names = names or [f"class {n}" for n in range(num_classes)]
    return classification_metrics(labels, probabilities, class_names=names, groups=groups).to_dict()


def minimal(**changes):
    names = changes.pop("names", ["cat", "dog"])
    report = Report(
        title="Pets",
        created=datetime.datetime(2026, 3, 4, 15, 9, tzinfo=datetime.UTC),
        version="1.2.3",
        command="python -m kerastl.fit pets/ --seed 1",
        data=DataSummary("pets", 400, names, {"train": [90, 10], "val": [3, 4], "test": [99, 101]}),
        model=ModelSummary("ResNet50", "imagenet", (224, 192), 23_587_712),
        kept="probe",
        kept_because="Only the probe was fitted.",
        validation={"probe": measured(0.9, names=names)},
        test={"probe": measured(0.85, names=names)},
    )
    return replace(report, **changes)


def two_models(first, second, **changes):
    both = {"probe": measured(first), "fine-tuned": measured(second)}
    return minimal(validation=both, test=both, kept="fine-tuned", **changes)


def test_minimal_report_says_what_it_was_given():
    page = Page(render_report(minimal()))
    metrics = minimal().test["probe"]
    assert "Pets" in page.text
    assert "85.0 %" in page.text
    low, high = (f"{100 * metrics['accuracy'][end]:.1f}" for end in ("low", "high"))
    assert f"95 % interval {low} to {high} %" in page.text
    for key in ("auroc", "macro_f1", "log_loss"):
        assert f"{metrics[key]['value']:.3f}" in page.text
        assert f"{metrics[key]['low']:.3f} to {metrics[key]['high']:.3f}" in page.text
    for row in metrics["per_class"]:
        assert f"{100 * row['recall']['value']:.1f} %" in page.text
    for words in (
        "4 March 2026, 15:09 UTC",
        "kerastl 1.2.3",
        "python -m kerastl.fit pets/ --seed 1",
        "ResNet50",
        "224 \N{MULTIPLICATION SIGN} 192 pixels",
        "23,587,712",
        "Only the probe was fitted.",
        "right in 50.0 % of them",
        "cat 90 3 99 192",
        "All classes 100 7 200 307",
    ):
        assert words in page.text, words
    assert "against" not in page.text


def test_most_confused_and_order_of_classes():
    page = Page(render_report(minimal()))
    pairs = page.text.partition("Most frequent mistakes")[2]
    confusion = np.array(minimal().test["probe"]["confusion"])
    expected = f"cat dog {confusion[0, 1]}"
    assert expected in pairs
    per_class = minimal().test["probe"]["per_class"]
    weakest = min(per_class, key=lambda row: row["f1"]["value"])["name"]
    assert re.search(r"F1 drawn 1 (\w+)", page.text).group(1) == weakest
    perfect = minimal(test={"probe": measured(1.0, names=["cat", "dog"])})
    assert "No test image was taken for another class." in Page(render_report(perfect)).text


def test_nothing_comes_from_elsewhere():
    picture = confusion_matrix_figure(np.eye(2, dtype=int), ["cat", "dog"])
    report = two_models(
        0.8,
        0.9,
        pictures=[Picture("Confusion", figure_data_uri(picture), "Cats are cats")],
        environment={"home": "https://example.org"},
    )
    text = render_report(report)
    page = Page(text)
    sources = [
        value
        for _, attributes in page.elements
        for name, value in attributes.items()
        if name in ("src", "href", "srcset", "data", "action", "poster")
    ]
    assert len(sources) == 1
    assert sources[0].startswith("data:image/svg+xml;base64,")
    assert page.all("img")[0]["alt"] == "Cats are cats"
    assert not {"link", "iframe", "object"} & {tag for tag, _ in page.elements}
    assert "url(" not in text
    assert "@import" not in text
    policy = next(meta for meta in page.all("meta") if "http-equiv" in meta)
    assert "default-src 'none'" in policy["content"]
    (script,) = re.findall("<script>(.*?)</script>", text, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"; script-src 'sha256-{digest}';" in policy["content"]
    assert len(text) < 200_000


def test_everything_is_escaped():
    evil = minimal(
        names=[EVIL, "dog & <b>cat</b>"],
        title=EVIL,
        command=f"kerastl fit '{EVIL}'",
        kept_because=EVIL,
        notes=[EVIL],
        environment={EVIL: EVIL},
        pictures=[Picture(EVIL, "data:image/png;base64,AAAA", f'" onload="{EVIL}', EVIL)],
    )
    data = replace(evil.data, name=EVIL, unreadable=[(EVIL, EVIL)], how_split=EVIL)
    model = replace(evil.model, settings={EVIL: EVIL}, backbone=EVIL)
    text = render_report(replace(evil, data=data, model=model))
    page = Page(text)
    assert text.count("<script") == len(page.all("script")) == 1  # our own
    assert not page.all("b") or all("onload" not in attributes for _, attributes in page.elements)
    assert page.text.count(EVIL) >= 14
    assert html.escape("dog & <b>cat</b>") in text
    assert all("onload" not in attributes for _, attributes in page.elements)


@pytest.mark.parametrize(
    ("accuracies", "words"),
    [
        ((0.85, 0.87), "overlap: the difference of 2.0 points in accuracy is within the noise."),
        ((0.6, 0.9), "do not overlap: the difference of 30.0 points in accuracy is more than"),
        ((0.9, 0.6), "do not overlap: the difference of 30.0 points in accuracy is more than"),
    ],
)
def test_the_verdict_is_honest(accuracies, words):
    page = Page(render_report(two_models(*accuracies)))
    assert words in page.text
    assert "Probe against fine-tuned" in page.text
    assert "fine-tuned (kept)" in page.text


@pytest.mark.parametrize(
    ("difference", "words"),
    [
        (
            {"value": 0.02, "low": -0.01, "high": 0.05},
            "the fine-tuned model is 2.0 points more accurate than the probe "
            "(95 % interval \N{MINUS SIGN}1.0 to +5.0 points): the interval holds 0, so "
            "these images do not show which of the two is better.",
        ),
        (
            {"value": -0.06, "low": -0.09, "high": -0.03},
            "the fine-tuned model is 6.0 points less accurate than the probe "
            "(95 % interval \N{MINUS SIGN}9.0 to \N{MINUS SIGN}3.0 points): "
            "the difference is more than noise.",
        ),
        (
            {"value": 0.0, "low": -0.01, "high": 0.01},
            "the fine-tuned model is exactly as accurate as the probe",
        ),
    ],
)
def test_a_paired_difference_decides_when_it_is_given(difference, words):
    page = Page(render_report(two_models(0.85, 0.87, difference=difference)))
    assert f"On the same 200 test images {words}" in page.text
    assert "overlap" not in page.text


def test_notes_of_the_metrics_are_shown_once():
    few = measured(0.9, num_rows=20)
    report = minimal(test={"probe": few}, notes=["Validation has only 7 images.", few["notes"][0]])
    page = Page(render_report(report))
    assert "Before you trust these numbers" in page.text
    assert page.text.count("Only 20 images") == 1
    assert "Validation has only 7 images." in page.text
    assert "Before you trust" not in Page(render_report(minimal())).text


def test_unknown_is_said():
    metrics = classification_metrics(
        np.zeros(3, int), np.tile([0.9, 0.1], (3, 1)), class_names=["cat", "dog"]
    ).to_dict()
    page = Page(render_report(minimal(test={"probe": metrics})))
    assert "AUROC unknown no test image is of one of the classes" in page.text
    assert "nan" not in page.text.lower().split()


def test_groups_are_told():
    grouped = measured(0.8, groups=np.arange(200) % 40)
    page = Page(render_report(minimal(test={"probe": grouped})))
    assert "200 test images of 40 groups" in page.text
    assert "bootstrap intervals over whole groups" in page.text
    assert "Wilson" not in page.text


@pytest.mark.parametrize("groups", [None, np.arange(200) % 40])
def test_the_interval_that_is_not_of_the_bootstrap_says_so(groups):
    perfect = Page(render_report(minimal(test={"probe": measured(1.0, groups=groups)})))
    # Macro F1, in the headline and in the table: no mistake in any resample.
    assert re.search(r"Macro F1 1\.000 0\.9\d\d to 1\.000\*", perfect.text)
    assert re.search(r"1\.000 0\.9\d\d.1\.000\*", perfect.text)
    assert "With *: the resamples all gave the same number" in perfect.text
    # Accuracy of single images has Wilson's interval by itself.
    accuracy = re.search(
        r"Test accuracy, probe model 100\.0 % 95 % interval \S+ to 100\.0 %(\*?)", perfect.text
    )
    assert accuracy[1] == ("" if groups is None else "*")


def test_without_such_an_interval_nothing_is_starred():
    page = Page(render_report(minimal()))
    assert "*" not in page.text


def test_several_labels():
    random = np.random.default_rng(0)
    labels = random.integers(2, size=(60, 2))
    probabilities = np.clip(labels * 0.5 + random.random((60, 2)) * 0.5, 0, 1)
    metrics = multi_label_metrics(labels, probabilities, class_names=["cat", "dog"]).to_dict()
    page = Page(render_report(minimal(test={"probe": metrics}, validation={"probe": metrics})))
    assert "All labels right, probe model" in page.text
    assert f"{metrics['mean_average_precision']['value']:.3f}" in page.text
    assert "commonest class" not in page.text
    assert "Most frequent mistakes" not in page.text
    assert "taken for another class" not in page.text


def test_thresholds_and_images_without_a_label_are_shown():
    labels = np.array([[1, 0], [0, 1], [0, 0], [1, 1]] * 10)
    metrics = multi_label_metrics(
        labels, labels * 0.4 + 0.1, class_names=["cat", "dog"], threshold=(0.31, 0.42)
    ).to_dict()
    data = DataSummary(
        "pets",
        6,
        ["cat", "dog"],
        {"train": [2, 2], "test": [1, 1]},
        unlabelled={"train": 3, "test": 4},
    )
    measures = {"test": {"probe": metrics}, "validation": {"probe": metrics}}
    page = Page(render_report(minimal(data=data, **measures)))
    assert "Class Images Threshold Precision" in page.text
    assert "cat 20 0.31" in page.text
    assert "dog 20 0.42" in page.text
    assert "Validation chose the thresholds, so that" in page.text
    assert "None of them 3 4 7" in page.text
    tuned = ModelSummary("Own", "none", (9, 9), 10, epochs=8, kept_epoch=3)
    page = Page(render_report(minimal(data=data, model=tuned, **measures)))
    assert "its epoch and the thresholds" in page.text


def test_uneven_classes_put_balanced_accuracy_first():
    plain, uneven = (Page(render_report(minimal(class_ratio=r))).text for r in (None, 8.25))
    assert "8.2 times as many images" in uneven
    assert "times as many images" not in plain
    assert uneven.index("Balanced accuracy") < uneven.index("AUROC") < uneven.index("Measured on")
    assert plain.index("AUROC") < plain.index("Measured on") < plain.index("Balanced accuracy")


def test_fine_tuning_is_described():
    model = ModelSummary(
        "ResNet50",
        "imagenet",
        (224, 224),
        1000,
        num_trained=250,
        tuned="the top 3 of 16 blocks",
        epochs=12,
        kept_epoch=7,
        settings={"Augmentation": "dihedral"},
    )
    page = Page(render_report(minimal(model=model)))
    for words in (
        "Fine-tuned the top 3 of 16 blocks, and the head",
        "Trained parameters 250 (25%)",
        "Epochs 12; taken from epoch 7",
        "Augmentation dihedral",
    ):
        assert words in page.text
    assert "no fine-tuning" in Page(render_report(minimal())).text


def test_parts_of_epochs_are_described():
    model = ModelSummary("Own", "none", (9, 9), 10, epochs=8.5, kept_epoch=3.5)
    assert "Epochs 8.5; taken from epoch 3.5" in Page(render_report(minimal(model=model))).text


def test_many_classes_fold_and_stay_small():
    names = [f"species {n}" for n in range(300)]
    metrics = measured(0.8, num_rows=900, num_classes=300, names=names)
    counts = {"train": [5] * 300, "test": [3] * 300}
    report = minimal(
        data=DataSummary("birds", 2400, names, counts, unreadable=[("a.jpg", "empty")] * 500),
        test={"probe": metrics},
        validation={"probe": metrics},
    )
    text = render_report(report)
    page = Page(text)
    assert len(page.all("details")) == 2
    assert "276 more classes" in page.text
    assert all(re.search(rf"\b{name}\b", page.text) for name in names)
    assert "Left out: 500 files" in page.text
    assert page.text.count("a.jpg") == 24
    assert len(text) < 500_000


def test_the_confusion_matrix_is_a_table_with_images_behind_its_cells():
    images = [Thumbnail("data:image/jpeg;base64,AAAA", f"{n}.png", "99.0 % sure") for n in range(6)]
    report = minimal(cell_images=[CellImages(0, 1, 12, images), CellImages(1, 1, 1, images[:1])])
    confusion = np.array(report.test["probe"]["confusion"])
    page = Page(render_report(report))
    text = page.text
    for count, shares in zip(
        confusion.ravel(),
        np.stack([confusion / confusion.sum(1, keepdims=True), confusion / confusion.sum(0)], -1)
        .reshape(-1, 2)
        .tolist(),
        strict=True,
    ):
        assert f"{count} {round(100 * shares[0])} % {round(100 * shares[1])} %" in text
    targets = {attributes["id"] for _, attributes in page.elements if "id" in attributes}
    links = [link["href"] for link in page.all("a")]
    assert {*links} == {"#images-0-1", "#images-1-1"}
    assert {link[1:] for link in links} <= targets
    assert "cat, taken for dog: 12 images, the surest first" in text
    assert "+6" in text
    assert "dog, answered rightly: 1 image" in text


def test_tables_and_page_are_made_for_everyone():
    text = render_report(two_models(0.8, 0.9))
    page = Page(text)
    tables = len(page.all("table"))
    assert tables >= 4
    assert len(page.all("caption")) == tables
    assert all("scope" in attributes for attributes in page.all("th"))
    assert len(page.all("h1")) == 1
    assert page.all("html")[0]["lang"] == "en"
    assert "prefers-color-scheme: dark" in text
    assert "@media print" in text
    assert "width=device-width" in text


def test_what_cannot_be_told_is_refused():
    with pytest.raises(ConfigError, match="Did you mean 'probe'"):
        render_report(minimal(kept="prob"))
    with pytest.raises(ConfigError, match="Make it with `figure_data_uri`"):
        render_report(minimal(pictures=[Picture("x", "https://example.org/x.png", "x")]))
