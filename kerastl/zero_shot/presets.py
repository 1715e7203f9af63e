"""Where networks with two towers come from: KerasHub's presets, by name, address or folder.

No weights come with KerasHub: a preset is downloaded when it is first asked for, from Kaggle or
from Hugging Face, and kept in the cache of their own clients. Where there is no network, the
cache is used; else the error says how to fetch the files on another machine.
"""

from __future__ import annotations

import importlib
import importlib.util
import logging
import urllib.parse
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kerastl.errors import ConfigError, WeightsError, did_you_mean

logger = logging.getLogger(__name__)

DEFAULT_PRESET = "clip_vit_base_patch32"

SOFTMAX, SIGMOID = "softmax", "sigmoid"

# KerasHub 0.32 means its tokenizers to do without the second, but that of CLIP cannot.
_PACKAGES = ("keras_hub", "tensorflow_text")

_KAGGLE, _HUGGING_FACE = "kaggle://", "hf://"
# How addresses look, and in how many parts.
_ADDRESSES = (
    (_KAGGLE, "OWNER/MODEL/keras/VARIATION or the same with /VERSION", (4, 5)),
    (_HUGGING_FACE, "OWNER/NAME", (2,)),
)
_CONFIG = "config.json"
_KAGGLE_ENDPOINT = "https://api.kaggle.com"
# To connect, and to wait for an answer.
_PATIENCE_SECONDS = (5, 10)


@dataclass(frozen=True)
class Family:
    """What KerasHub calls the parts of one kind of network.

    Attributes:
        backbone: Class of both towers together.
        preprocessor: Class that prepares texts and images for them.
        head: Attribute of the backbone: from embeddings to logits, with the learnt scale.
        score_kind: What its loss makes of logits: `SOFTMAX` over all labels (CLIP, Radford et
            al. 2021) or `SIGMOID` of each by itself (SigLIP, Zhai et al. 2023,
            https://arxiv.org/abs/2303.15343).
    """

    backbone: str
    preprocessor: str
    head: str
    score_kind: str


# SigLIP 2 and MedSigLIP are SigLIP backbones too; OpenCLIP's weights are CLIP backbones.
FAMILIES = (
    Family("CLIPBackbone", "CLIPPreprocessor", "clip_head", SOFTMAX),
    Family("SigLIPBackbone", "SigLIPPreprocessor", "siglip_head", SIGMOID),
)


def require_packages() -> None:
    """Refuse to begin where KerasHub is not installed. It is looked for, not imported.

    Raises:
        ConfigError: It is not.
    """
    missing = [package for package in _PACKAGES if importlib.util.find_spec(package) is None]
    if missing:
        raise ConfigError(
            f"Zero-shot answers need packages that are not installed ({', '.join(missing)}). "
            "Type: pip install 'kerastl[zeroshot]'"
        )


def load_preset(preset: str) -> tuple[Any, Any, Family]:
    """Return both towers, what prepares their inputs, and which family they are of.

    Args:
        preset: A name such as "clip_vit_base_patch32" or "siglip_base_patch16_224", an address
            ("kaggle://…", "hf://…"), or a folder that `save_to_preset` wrote.

    Returns:
        A `keras_hub.models.Backbone`, its `keras_hub.models.Preprocessor`, and the family.

    Raises:
        ConfigError: KerasHub is missing, or there is no such preset.
        WeightsError: It cannot be downloaded or read, or it is another kind of network.
    """
    require_packages()
    hub = _keras_hub()
    known = _known_presets(hub)
    place = _place_of(preset, known)
    import requests

    try:
        if not Path(place).is_dir():
            logger.info("Fetching %s%s, unless it is in the cache.", preset, _size(preset, known))
            _ask_hub(place)
        return _load(hub, place, preset=preset)
    except requests.exceptions.RequestException as error:
        handle = str(known[place]["kaggle_handle"]) if place in known else place
        copy = _copy_in_cache(handle)
        if copy is not None:
            logger.warning("There is no network: %s comes from %s.", preset, copy)
            return _load(hub, str(copy), preset=preset)
        raise WeightsError(
            f"The weights of {preset!r}{_size(preset, known)} could not be downloaded: "
            f"{_reason(error)}. {_other_way(handle)}"
        ) from error


def _keras_hub() -> Any:
    """Return KerasHub; it looks for its parts (kagglehub) while it is imported."""
    try:
        return importlib.import_module("keras_hub")
    except ImportError as error:
        raise ConfigError(
            f"KerasHub cannot be imported ({error}). "
            "Type: pip install --upgrade 'kerastl[zeroshot]'"
        ) from error


def _known_presets(hub: Any) -> dict[str, Mapping[str, Any]]:
    """Return what KerasHub says of each of its presets that have two towers, by name."""
    return {
        name: about
        for family in FAMILIES
        for name, about in getattr(hub.models, family.backbone).presets.items()
    }


def _place_of(preset: str, known: Mapping[str, Any]) -> str:
    """Return where KerasHub shall look: a folder comes before a preset of the same name."""
    folder = Path(preset).expanduser()
    if folder.is_dir():
        if (folder / _CONFIG).is_file():
            return str(folder.resolve())
        raise ConfigError(
            f"`preset` must be a folder that KerasHub's save_to_preset wrote; {preset!r} has no "
            f"{_CONFIG}. Give the folder of {_CONFIG}, or leave --preset out."
        )
    for prefix, form, counts in _ADDRESSES:
        if preset.startswith(prefix):
            parts = preset.removeprefix(prefix).split("/")
            if all(parts) and len(parts) in counts:
                return preset
            raise ConfigError(f"`preset` must be {prefix}{form}; received preset={preset!r}.")
    if preset in known:
        return preset
    near = did_you_mean(preset, known) or f" The names are: {', '.join(known)}."
    raise ConfigError(
        "`preset` must be a folder, kaggle://…, hf://… or the name of a CLIP or SigLIP preset of "
        f"KerasHub; received preset={preset!r}.{near}"
    )


def _load(hub: Any, place: str, *, preset: str) -> tuple[Any, Any, Family]:
    """Load one preset; what KerasHub complains of becomes one line."""
    import requests
    import tensorflow as tf

    try:
        backbone = hub.models.Backbone.from_preset(place)
        family = next((one for one in FAMILIES if type(backbone).__name__ == one.backbone), None)
        if family is not None:
            preprocessor = getattr(hub.models, family.preprocessor).from_preset(place)
            return backbone, preprocessor, family
    except requests.exceptions.RequestException:
        raise
    except (OSError, ValueError, TypeError, LookupError, ImportError, tf.errors.OpError) as error:
        raise WeightsError(
            f"The preset {preset!r} cannot be loaded: {_short(str(error)).rstrip('.')}. Expected "
            "the files that KerasHub's save_to_preset writes, of towers and preprocessor both; "
            "CLIP and SigLIP as Hugging Face Transformers keeps them are not read."
        ) from error
    raise WeightsError(
        f"The preset {preset!r} is a {type(backbone).__name__}, which has no tower for texts. "
        f"Give one of {' or '.join(family.backbone for family in FAMILIES)}, such as "
        f"{DEFAULT_PRESET}."
    )


def _ask_hub(place: str) -> None:
    """Raise soon where the hub of an address cannot be reached.

    Kaggle's client waits for a connection as long as the system does, two minutes behind a
    firewall that swallows it; KerasHub would ask Hugging Face six times, in 23 s.
    """
    import requests
    from huggingface_hub import constants
    from kagglesdk.kaggle_env import is_in_kaggle_notebook

    if place.startswith(_HUGGING_FACE):
        requests.head(constants.ENDPOINT, timeout=_PATIENCE_SECONDS)
    elif not is_in_kaggle_notebook():  # which attaches models without a network
        requests.head(_KAGGLE_ENDPOINT, timeout=_PATIENCE_SECONDS)


def _copy_in_cache(place: str) -> Path | None:
    """Return the folder where an earlier download is, if there was one."""
    if place.startswith(_HUGGING_FACE):
        from huggingface_hub import snapshot_download

        try:
            folder = Path(
                snapshot_download(place.removeprefix(_HUGGING_FACE), local_files_only=True)
            )
        except (OSError, ValueError):  # nothing there; no name of a repository
            return None
    else:
        from kagglehub.cache import get_cached_path
        from kagglehub.handle import parse_model_handle

        try:
            folder = Path(get_cached_path(parse_model_handle(place.removeprefix(_KAGGLE))))
        except ValueError:  # a version that is no number
            return None
    # KerasHub fetches the weights before the tokenizer: with the latter, all of it is there.
    needed = (_CONFIG, "tokenizer.json", "image_converter.json")
    return folder if all((folder / name).is_file() for name in needed) else None


def _size(preset: str, known: Mapping[str, Any]) -> str:
    """Return how much is downloaded, where KerasHub knows."""
    if preset not in known:
        return ""
    return f" ({4 * known[preset]['metadata']['params'] / 1e9:.1f} GB)"


def _reason(error: Any) -> str:
    """Return who could not be reached, and why, in a few words."""
    cause: BaseException = error
    while (earlier := cause.__cause__ or cause.__context__) is not None:
        cause = earlier
    url = getattr(error.request, "url", None)
    host = urllib.parse.urlsplit(url).hostname if url else None
    why = _short(getattr(cause, "strerror", None) or str(cause))
    return f"{host}: {why}" if host else why


def _short(text: str) -> str:
    """Return the beginning of a message, in one line."""
    line = " ".join(text.split())
    return line if len(line) <= 300 else f"{line[:300]}…"


def _other_way(place: str) -> str:
    """Return how to fetch a preset elsewhere."""
    if place.startswith(_HUGGING_FACE):
        command = f"hf download {place.removeprefix(_HUGGING_FACE)} --local-dir FOLDER"
        return (
            f"On a machine with internet type: pip install huggingface-hub && {command}; copy the "
            "folder here and add --preset FOLDER."
        )
    handle = place.removeprefix(_KAGGLE)
    return (
        'On a machine with internet type: pip install kagglehub && python -c "import kagglehub; '
        f"print(kagglehub.model_download('{handle}'))\"; copy the folder that it names here and "
        "add --preset FOLDER."
    )
