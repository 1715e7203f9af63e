"""Presets of tiny random networks, written as KerasHub writes them, and a world without network."""

import io
import socket
import string

import keras
import keras_hub
import numpy as np
import pytest
import sentencepiece

from kerastl.zero_shot.two_towers import load_towers

SIZE = 32
TOWER = {"hidden_dim": 16, "num_layers": 2, "num_heads": 2, "intermediate_dim": 32}
SENTENCES = ["a photo of a red cat", "a photo of a big green dog", "this is a small blue sky"]


def clip_tokenizer():
    """Every letter by itself, and a few merges."""
    letters = [*string.ascii_lowercase, *string.digits, *string.punctuation]
    merges = ["r e", "re d</w>", "d o", "do g</w>", "c a", "ca t</w>"]
    tokens = [*letters, *(f"{letter}</w>" for letter in letters)]
    tokens += [merge.replace(" ", "") for merge in merges]
    tokens += ["<|startoftext|>", "<|endoftext|>"]
    vocabulary = {token: index for index, token in enumerate(tokens)}
    return keras_hub.models.CLIPTokenizer(vocabulary=vocabulary, merges=merges)


def siglip_tokenizer():
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(SENTENCES * 5),
        model_writer=model,
        vocab_size=48,
        model_type="BPE",
        eos_id=0,
        unk_id=1,
        pad_id=-1,
        bos_id=-1,
        hard_vocab_limit=False,
        minloglevel=2,
    )
    return keras_hub.models.SigLIPTokenizer(proto=model.getvalue())


def save_clip(folder):
    models, tokenizer = keras_hub.models, clip_tokenizer()
    backbone = models.CLIPBackbone(
        models.CLIPVisionEncoder(patch_size=16, image_shape=(SIZE, SIZE, 3), **TOWER),
        models.CLIPTextEncoder(
            vocabulary_size=tokenizer.vocabulary_size(), embedding_dim=16, **TOWER
        ),
        projection_dim=8,
    )
    converter = keras_hub.layers.CLIPImageConverter(
        image_size=(SIZE, SIZE),
        scale=[0.0146, 0.015, 0.0142],
        offset=[-1.79, -1.75, -1.48],
        interpolation="bicubic",
        antialias=True,
    )
    backbone.save_to_preset(str(folder))
    models.CLIPPreprocessor(tokenizer, converter).save_to_preset(str(folder))
    return folder


def save_siglip(folder):
    models, tokenizer = keras_hub.models, siglip_tokenizer()
    backbone = models.SigLIPBackbone(
        models.SigLIPVisionEncoder(patch_size=16, image_shape=(SIZE, SIZE, 3), **TOWER),
        models.SigLIPTextEncoder(
            vocabulary_size=tokenizer.vocabulary_size(),
            embedding_dim=16,
            max_sequence_length=24,
            **TOWER,
        ),
    )
    # As after training: a scale that spreads the scores, and most labels wrong for most images.
    backbone.siglip_head.logit_scale.assign(np.log(20.0))
    backbone.siglip_head.logit_bias.assign(-2.0)
    converter = keras_hub.layers.SigLIPImageConverter(
        image_size=(SIZE, SIZE), scale=1 / 127.5, offset=-1.0, crop_to_aspect_ratio=False
    )
    backbone.save_to_preset(str(folder))
    preprocessor = models.SigLIPPreprocessor(tokenizer, converter, sequence_length=24)
    preprocessor.save_to_preset(str(folder))
    return folder


@pytest.fixture(scope="session")
def presets(tmp_path_factory):
    """Folders of a CLIP and a SigLIP."""
    keras.utils.set_random_seed(0)
    place = tmp_path_factory.mktemp("presets")
    return {"clip": save_clip(place / "clip"), "siglip": save_siglip(place / "siglip")}


@pytest.fixture(scope="session")
def towers(presets):
    """The same, loaded."""
    return {name: load_towers(str(folder)) for name, folder in presets.items()}


@pytest.fixture
def no_network(monkeypatch, tmp_path):
    """No name can be resolved; nothing was ever downloaded."""

    def unknown(*_args, **_options):
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    monkeypatch.setenv("KAGGLEHUB_CACHE", str(tmp_path / "kaggle"))
    return tmp_path / "kaggle"
