"""Options: one definition, three ways in, the nearest right one named."""

import dataclasses

import pytest

from kerastl.config import FitConfig, option_names
from kerastl.config_file import (
    config_from_mapping,
    config_to_mapping,
    config_to_yaml,
    option_helps,
    read_config,
)
from kerastl.errors import ConfigError

EVERYTHING = {
    "data": "photos",
    "data_dir": "/data",
    "path_column": "file",
    "label_column": "kind",
    "label_separator": "|",
    "split_column": "part",
    "group_column": "patient",
    "label_changes": "label_candidates.csv",
    "group_by": "camera",
    "balance_groups": True,
    "val_fraction": 0.11,
    "test_fraction": 0.22,
    "fold": "2/5",
    "cache": "disk",
    "tta": True,
    "max_minutes": 12.5,
    "feature_cache": "/fast/disk",
    "feature_cache_gib": 2.5,
    "unreadable_fraction": 0.25,
    "domain": "satellite",
    "backbone": "ResNet50",
    "weights": "none",
    "image_size": "240x320",
    "resize_mode": "pad",
    "colour": "grey",
    "pooling": "max",
    "hidden_units": 7,
    "dropout": 0.3,
    "l1": 1e-5,
    "l2": 2e-5,
    "unfreeze_blocks": "all",
    "tune": "2-3",
    "views": "live",
    "precision": "auto",
    "fine_tune_epochs": 3,
    "patience_epochs": 2,
    "checks_per_epoch": 4,
    "batch_size": 5,
    "accumulate_steps": 3,
    "learning_rate": 3e-5,
    "weight_decay": 0.01,
    "recipe": "gradual",
    "schedule": "one-cycle",
    "optimizer": "lion",
    "layer_decay": 0.9,
    "l2_sp": 0.2,
    "epochs_per_block": 0.5,
    "batch_norm": "affine",
    "label_smoothing": 0.1,
    "clip_norm": 2.0,
    "ema_momentum": 0.9,
    "soup": 3,
    "interpolate": True,
    "deterministic": True,
    "resume": True,
    "log": "tensorboard",
    "augment": "dihedral",
    "mix": "cutmix",
    "imbalance": "logit-adjust",
    "seed": 9,
    "out": "somewhere",
    "overwrite": True,
    "export": True,
    "export_dir": "elsewhere",
}


# What says in two ways which blocks are trained, and when, is refused together; so are two remedies
# for what is rare.
EXCLUDING = (
    ("tune", "imbalance"),
    ("unfreeze_blocks", "recipe", "epochs_per_block", "balance_groups"),
)


@pytest.mark.parametrize("left_out", EXCLUDING)
def test_every_option_survives_a_file(tmp_path, left_out):
    assert set(EVERYTHING) == set(option_names())
    defaults = {field.name: field.default for field in dataclasses.fields(FitConfig)}
    mapping = {**EVERYTHING, **{name: defaults[name] for name in left_out}}
    config = config_from_mapping(mapping)
    for comments in (True, False):
        path = tmp_path / "config.yaml"
        path.write_text(config_to_yaml(config, comments=comments), encoding="utf-8")
        assert read_config(path) == config
    assert config_to_mapping(config) == mapping
    assert all(
        getattr(config, name) != default
        for name, default in defaults.items()
        if name not in ("data", *left_out)
    ), "an option that equals its default proves nothing"


def test_every_option_has_a_help_text():
    assert set(option_helps()) == set(option_names())


def test_words_that_yaml_takes_for_text_are_numbers(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text("data: photos\nlearning-rate: 1e-4\n")  # YAML 1.1: a string
    assert read_config(path).learning_rate == 1e-4


@pytest.mark.parametrize(
    ("changes", "advice"),
    [
        ({"augment": "dihedrel"}, "Did you mean 'dihedral'?"),
        ({"resize_mode": "strech"}, "Did you mean 'stretch'?"),
        ({"backbon": "VGG16"}, "Did you mean 'backbone'?"),
        ({"image_size": "big"}, "Write for example 300 or 240x320"),
        ({"image_size": 0}, "Write for example 300 or 240x320"),
        ({"views": 2, "mix": "mixup"}, "Leave out one of the two"),
        ({"views": 0}, "a whole number from 1, 'auto' or 'live'"),
        ({"unfreeze_blocks": -1}, "a whole number of blocks, 0 or more, or 'all'"),
        ({"tune": "top"}, "Write for example first, 5 or 5-8"),
        ({"tune": "8-5"}, "`tune` must be first, middle or last, a block counted from the input"),
        ({"tune": 0}, "received tune=0"),
        ({"tune": "1-2-3"}, "received tune='1-2-3'"),
        ({"tune": "first", "unfreeze_blocks": 0}, "both say which blocks are trained"),
        ({"tune": "first", "recipe": "gradual"}, "received tune='first' and recipe='gradual'"),
        ({"tune": "3", "epochs_per_block": 1.0}, "received tune='3' and epochs_per_block=1.0"),
        ({"val_fraction": 0}, "`val_fraction` must be a number from 0.01 to 0.9; received"),
        ({"val_fraction": 0.6, "test_fraction": 0.5}, "must leave images to train on"),
        ({"fold": "6/5"}, "Write for example 1/5"),
        ({"fold": "1/2", "val_fraction": 0.5}, "must leave images to train on"),
        ({"cache": "ram"}, "`cache` must be one of auto, memory, disk, none"),
        ({"batch_size": 0}, "`batch_size` must be a whole number from 1"),
        ({"batch_size": 8, "accumulate_steps": 9}, "must be at most `batch_size`, which is 8"),
        ({"accumulate_steps": 2, "batch_norm": "train"}, "batch_norm='affine' trains scale"),
        ({"batch_size": "many"}, "`batch_size` cannot be read"),
        ({"learning_rate": 0}, "`learning_rate` must be a number from 1e-12"),
        ({"data": ""}, "python -m kerastl.fit photos/"),
    ],
)
def test_advice(changes, advice):
    with pytest.raises(ConfigError) as caught:
        config_from_mapping({"data": "photos", **changes})
    assert advice in str(caught.value)


def test_blocks_to_tune_have_one_form():
    for written, form in [("FIRST", "first"), (" 5 - 8 ", "5-8"), ("5\N{EN DASH}8", "5-8")]:
        assert config_from_mapping({"data": "photos", "tune": written}).tune == form
    for written in (5, "5", "5-5"):
        assert FitConfig("photos", tune=written).tune == "5"
    assert FitConfig("photos", tune="2", recipe="gradual", epochs_per_block=0.0).tune == "2"


def test_a_wrong_type_from_python_is_named():
    with pytest.raises(ConfigError, match=r"`batch_size` must be a whole number"):
        FitConfig("photos", batch_size=2.5)
    with pytest.raises(ConfigError, match="`learning_rate` must be a number"):
        FitConfig("photos", learning_rate="fast")


@pytest.mark.parametrize(
    ("text", "advice"),
    [
        ("- a\n- b\n", "must hold lines of the form 'option: value'"),
        ("data: [\n", "is not YAML"),
        ("seed: 3\n", "does not say which `data`"),
    ],
)
def test_broken_files(tmp_path, text, advice):
    path = tmp_path / "config.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=advice):
        read_config(path)
    with pytest.raises(ConfigError, match=r"--print-config > config\.yaml"):
        read_config(tmp_path / "absent.yaml")


def test_an_empty_name_is_no_folder():
    """As of an unset variable of a shell: the current folder would be taken."""
    with pytest.raises(ConfigError, match="received an empty name"):
        FitConfig("photos", feature_cache=" ")
