"""Presets that are not there, cannot be fetched, or are something else."""

import builtins
import importlib.util
import json
import shutil
import socket
import time

import huggingface_hub
import keras_hub
import pytest

from kerastl.errors import ConfigError, WeightsError
from kerastl.zero_shot import presets as module
from kerastl.zero_shot.presets import load_preset


@pytest.mark.parametrize(
    ("preset", "host", "advice"),
    [
        (
            "clip_vit_base_patch32",
            "api.kaggle.com",
            "kagglehub.model_download('keras/clip/keras/clip_vit_base_patch32/",
        ),
        ("kaggle://someone/clip/keras/mine", "api.kaggle.com", "('someone/clip/keras/mine')"),
        ("kaggle://a/b/keras/c/x", "api.kaggle.com", "--preset FOLDER"),
        ("hf://someone/mine", "huggingface.co", "hf download someone/mine --local-dir FOLDER"),
    ],
)
def test_without_network_one_line_says_how_to_fetch_the_files(no_network, preset, host, advice):
    started = time.monotonic()
    with pytest.raises(WeightsError) as caught:
        load_preset(preset)
    message = str(caught.value)
    assert time.monotonic() - started < 5
    assert f"could not be downloaded: {host}: Name or service not known" in message
    assert advice in message
    assert "--preset FOLDER" in message


@pytest.mark.parametrize("preset", ["clip_vit_base_patch32", "hf://someone/mine"])
def test_a_firewall_that_swallows_everything(no_network, monkeypatch, preset):
    """Connections are made, and nothing ever comes back."""
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        address = (socket.AF_INET, socket.SOCK_STREAM, 6, "", deaf.getsockname())
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_args, **_options: [address])
        monkeypatch.setattr(module, "_PATIENCE_SECONDS", (0.5, 0.5))
        started = time.monotonic()
        with pytest.raises(WeightsError, match=r"could not be downloaded: .*timed out"):
            load_preset(preset)
    assert time.monotonic() - started < 5


def test_without_network_an_earlier_download_is_used(no_network, presets, caplog):
    handle = module._known_presets(keras_hub)["clip_vit_base_patch32"]["kaggle_handle"]
    place = no_network / "models" / handle.removeprefix("kaggle://")
    shutil.copytree(presets["clip"], place)
    (place / "preprocessor.json").unlink()  # KerasHub asks for it, and older presets have none
    backbone, preprocessor, family = load_preset("clip_vit_base_patch32")
    assert backbone.projection_dim == 8
    assert preprocessor.image_size == (32, 32)
    assert family.score_kind == "softmax"
    assert "There is no network" in caplog.text
    (place / "tokenizer.json").unlink()  # the download had been cut off
    with pytest.raises(WeightsError, match="could not be downloaded"):
        load_preset("clip_vit_base_patch32")


def test_without_network_an_earlier_download_from_hugging_face_is_used(
    no_network, presets, tmp_path, monkeypatch
):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    place, commit = tmp_path / "cache" / "models--someone--mine", "0" * 40
    shutil.copytree(presets["clip"], place / "snapshots" / commit)
    (place / "refs").mkdir()
    (place / "refs" / "main").write_text(commit)
    assert load_preset("hf://someone/mine")[0].projection_dim == 8
    (place / "snapshots" / commit / "tokenizer.json").unlink()
    with pytest.raises(WeightsError, match="could not be downloaded"):
        load_preset("hf://someone/mine")


def test_a_folder_comes_before_a_preset_of_the_same_name(
    presets, no_network, tmp_path, monkeypatch
):
    shutil.copytree(presets["siglip"], tmp_path / "siglip_base_patch16_224")
    monkeypatch.chdir(tmp_path)
    assert load_preset("siglip_base_patch16_224")[2].score_kind == "sigmoid"


def spoil_config(folder):
    (folder / "config.json").write_text("{")


def take_away_weights(folder):
    (folder / "model.weights.h5").unlink()


def cut_weights(folder):
    path = folder / "model.weights.h5"
    path.write_bytes(path.read_bytes()[:2000])


def take_away_tokenizer(folder):
    shutil.rmtree(folder / "assets")


def other_width(folder):
    config = json.loads((folder / "config.json").read_text())
    config["config"]["projection_dim"] = 4
    (folder / "config.json").write_text(json.dumps(config))


@pytest.mark.filterwarnings("ignore:Skipping nested container")  # Keras, before it says more
@pytest.mark.parametrize(
    "spoil", [spoil_config, take_away_weights, cut_weights, take_away_tokenizer, other_width]
)
def test_a_damaged_preset_is_one_error(presets, tmp_path, spoil):
    folder = tmp_path / "mine"
    shutil.copytree(presets["clip"], folder)
    spoil(folder)
    with pytest.raises(WeightsError, match=r"'.*mine' cannot be loaded: .* save_to_preset"):
        load_preset(str(folder))


def test_files_of_transformers_are_told_apart(tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "clip"}')
    with pytest.raises(WeightsError, match="as Hugging Face Transformers keeps them are not read"):
        load_preset(str(tmp_path))


def test_a_network_without_texts_is_refused(tmp_path):
    backbone = keras_hub.models.ViTBackbone(
        image_shape=(32, 32, 3),
        patch_size=16,
        num_layers=1,
        num_heads=1,
        hidden_dim=8,
        mlp_dim=8,
    )
    backbone.save_to_preset(str(tmp_path / "vit"))
    with pytest.raises(WeightsError, match="a ViTBackbone, which has no tower for texts"):
        load_preset(str(tmp_path / "vit"))


def test_what_is_no_preset(tmp_path):
    with pytest.raises(ConfigError, match=r"has no config\.json"):
        load_preset(str(tmp_path))
    with pytest.raises(ConfigError, match="Did you mean 'clip_vit_base_patch32'"):
        load_preset("clip-vit-base-patch-32")
    with pytest.raises(ConfigError, match=r"The names are: clip_vit.*, siglip_base_patch16_224"):
        load_preset(str(tmp_path / "nothing here"))
    for preset in ("kaggle://x", "kaggle://a/b/keras/", "hf://x", "hf://a/b/c"):
        with pytest.raises(ConfigError, match=r"`preset` must be \w+://OWNER"):
            load_preset(preset)


def test_missing_and_broken_packages(monkeypatch):
    real = builtins.__import__

    with monkeypatch.context() as patch:
        patch.setattr(
            module.importlib,
            "import_module",
            lambda name: real("no_such_kagglesdk") if name == "keras_hub" else real(name),
        )
        with pytest.raises(ConfigError, match=r"No module named 'no_such_kagglesdk'.*--upgrade"):
            load_preset("clip_vit_base_patch32")
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(
        module.importlib.util,
        "find_spec",
        lambda name: None if name == "tensorflow_text" else find_spec(name),
    )
    with pytest.raises(ConfigError, match=r"\(tensorflow_text\).*pip install 'kerastl\[zeroshot"):
        load_preset("clip_vit_base_patch32")
