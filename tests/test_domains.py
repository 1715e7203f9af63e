"""Every row of the table of domains: it settles options, trains, exports; what is given wins."""

import dataclasses
import json

import keras
import numpy as np
import pytest

import kerastl
from kerastl.config import FitConfig, choices_of_options, fit_words
from kerastl.config_file import config_from_mapping, config_to_yaml, read_config
from kerastl.deploy.judgement import Judgement
from kerastl.deploy.portable_export import export_portable
from kerastl.domains import AUTO, CHOICES, DOMAINS, USUAL, Choice
from kerastl.errors import ConfigError
from kerastl.fit import build_app
from kerastl.models.backbones import BACKBONES
from kerastl.models.classifier import build_classifier
from kerastl.models.network import build_network
from kerastl.plan import find_network, find_settings, read_table
from kerastl.prepared import prepare
from kerastl.workflow import train


def tiny(size=None):
    """A network that colours and textures can be told with; two blocks to cut between."""
    inputs = keras.Input((size, size, 3))
    x = inputs
    for filters in (8, 12):
        x = keras.layers.Conv2D(filters, 3, strides=2, padding="same", use_bias=False)(x)
        x = keras.layers.Activation("relu")(keras.layers.BatchNormalization()(x))
    return keras.Model(inputs, x)


def settings_of(**options):
    config = FitConfig("photos", **options)
    network = find_network(config, backbone=None, preprocessing="identity")
    return {
        name: (one.value, one.source)
        for name, one in find_settings(config, network, num_train=100)[0].settings.items()
    }


def test_options_and_table_are_the_same_set():
    assert choices_of_options()["domain"] == tuple(DOMAINS)
    assert all(name == row.name for name, row in DOMAINS.items())
    with pytest.raises(ConfigError, match="Did you mean 'document'"):
        FitConfig("photos", domain="documents")


@pytest.mark.parametrize("row", DOMAINS.values(), ids=DOMAINS)
def test_every_choice_is_a_value_of_its_option_and_has_a_reason(row):
    choices = {
        field.name: getattr(row, field.name)
        for field in dataclasses.fields(row)
        if isinstance(getattr(row, field.name), Choice)
    }
    assert set(choices) == set(CHOICES)
    assert row.measured
    for name, choice in choices.items():
        assert choice.reason
        assert choice.source
        if name != "size_factor":
            assert choice.value in choices_of_options()[name]
            assert choice.value != AUTO
    for backbone in BACKBONES.values():
        size = row.image_size(backbone.native_size)
        assert all(new >= old for new, old in zip(size, backbone.native_size, strict=True))


@pytest.mark.parametrize("name", DOMAINS)
def test_what_a_row_settles_is_shown_with_its_reason(name):
    row = DOMAINS[name]
    shown = settings_of(domain=name, backbone="MobileNet", weights="none")
    assert shown["domain"] == (name, f"given: {row.pictures}. {row.measured}")
    for option in (*USUAL, "batch_norm"):
        choice = getattr(row, option)
        assert shown[option] == (choice.value, f"{choice.reason} ({choice.source})")
    height, width = row.image_size((224, 224))
    assert shown["image_size"] == (f"{height}x{width}", row.size_factor.words)


def test_without_a_domain_nothing_is_settled_and_nothing_new_shown():
    config = FitConfig("photos")
    assert (config.augment, config.resize_mode, config.colour) == ("light", "stretch", "keep")
    shown = settings_of(backbone="MobileNet", weights="none", image_size=32)
    assert not {"domain", "augment", "image_size"} & set(shown)
    assert fit_words(config) == "photos"


def test_what_is_given_wins_and_says_so():
    given = {"augment": "light", "colour": "keep", "resize_mode": "pad", "batch_norm": "affine"}
    shown = settings_of(
        domain="dihedral-gray", **given, image_size=64, backbone="MobileNet", weights="none"
    )
    assert {name: shown[name][0] for name in given} == given
    assert shown["augment"][1] == "given; dihedral-gray has dihedral"
    assert shown["batch_norm"][1] == "given"
    assert shown["image_size"] == ("64x64", "given; dihedral-gray has the backbone's own")


def test_a_recipe_with_a_policy_of_its_own_keeps_it():
    shown = settings_of(
        domain="satellite", recipe="bn", image_size=32, backbone="MobileNet", weights="none"
    )
    assert shown["batch_norm"][0] == "only"


def test_your_own_backbone_keeps_its_size():
    config = FitConfig("photos", domain="document")
    network = find_network(config, backbone=tiny(48), preprocessing="tf")
    recipe = find_settings(config, network, num_train=100)[0]
    assert network.image_size == (48, 48)
    assert recipe.settings["image_size"].source == "that of your own backbone"


@pytest.mark.parametrize("name", [None, *DOMAINS])
@pytest.mark.parametrize("given", [{}, {"augment": "medium"}, {"colour": "grey", "tta": True}])
def test_files_and_typed_words_make_the_same_options(tmp_path, name, given):
    if name == "document":  # no mirror images
        given = {key: value for key, value in given.items() if key != "tta"}
    config = FitConfig("photos", domain=name, **given)
    path = tmp_path / "config.yaml"
    path.write_text(config_to_yaml(config), encoding="utf-8")
    assert read_config(path) == config
    words = fit_words(config).split()
    _, bound, _ = build_app(words).parse_args(words, exit_on_error=False)
    assert bound.arguments["config"] == config
    assert ("--augment" in words) == ("augment" in given)


def test_auto_asks_the_domain_again():
    config = config_from_mapping({"data": "photos", "domain": "satellite", "augment": "auto"})
    assert config.augment == "dihedral"
    other = dataclasses.replace(config, domain="document", augment=AUTO)
    assert (other.augment, other.resize_mode) == ("tilt", "stretch")
    assert fit_words(config, domain="photo") == "photos --augment dihedral --domain photo"
    assert fit_words(config, also=("augment",)) == "photos --augment dihedral --domain satellite"


def test_what_has_no_mirror_image_has_no_mean_over_them():
    with pytest.raises(ConfigError, match="augment='tilt' has none"):
        FitConfig("photos", domain="document", tta=True)


def small(folder, **options):
    return FitConfig(
        str(folder),
        **{"image_size": 32, "fine_tune_epochs": 1, "batch_size": 8, **options},
        feature_cache="none",
    )


def sees_colour(model):
    tinted = np.random.default_rng(0).uniform(0, 255, (4, 32, 32, 3)).astype("float32")
    grey = np.repeat((tinted @ [0.299, 0.587, 0.114])[..., None], 3, axis=-1).astype("float32")
    return not np.allclose(model(tinted), model(grey), atol=1e-5)


@pytest.mark.parametrize("name", DOMAINS)
def test_every_row_trains_and_its_export_agrees(colour_folder, tmp_path, name):
    """The export is compared with the model, or there is none."""
    config = small(colour_folder, domain=name)
    job = prepare(
        config, read_table(config), directory=tmp_path, backbone=tiny(), preprocessing="tf"
    )
    assert job.phase is not None
    assert (job.phase.augment, job.phase.batch_norm) == (config.augment, "frozen")
    model = train(job, config, directory=tmp_path).classifier
    assert sees_colour(model) == (DOMAINS[name].colour.value == "keep")
    pixels = np.asarray(job.pixels.images[:6])
    exported = export_portable(
        model,
        tmp_path / "export",
        format_="litert",
        judgement=Judgement(pixels, lambda _: {}),
        class_names=job.table.class_names,
        image_size=(32, 32),
        resize_mode=config.resize_mode,
        representative=pixels,
    )
    assert exported.path.is_dir()


def test_a_whole_run_names_its_domain(colour_folder, tmp_path):
    """In the report with its reasons, in config.yaml, and in the model."""
    row, run = DOMAINS["dihedral-gray"], tmp_path / "run"
    config = small(colour_folder, domain=row.name, fine_tune_epochs=0, out=str(run))
    kerastl.run(config)
    assert kerastl.read_config(run / "config.yaml") == config
    report = (run / "report.html").read_text(encoding="utf-8")
    for text in ("--domain dihedral-gray", row.pictures, row.augment.source, "luminance stays"):
        assert text in report
    recipe = json.loads((run / "environment.json").read_text())["recipe"]
    assert (recipe["augment"], recipe["colour"]) == ("dihedral", "grey")
    assert not sees_colour(keras.saving.load_model(run / "model.keras", safe_mode=True))


def test_a_wrong_colour_is_named():
    network = build_network("", own=tiny(16))
    with pytest.raises(ConfigError, match="received colour='gray'"):
        build_classifier(
            network.backbone,
            num_classes=2,
            image_size=(16, 16),
            preprocessing="tf",
            colour="gray",
        )
