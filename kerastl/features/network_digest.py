"""What a network computes, as one short text: its layers, how they are joined, its weights."""

from __future__ import annotations

from typing import Any

import keras

from kerastl.features.digests import content_key, digest_variables


def digest_network(network: keras.Model) -> str:
    """Return a digest of a network in inference mode; the same in every process.

    Names of layers do not count, because Keras numbers the layers of a process and not those of
    a model; which layer goes where does. A network with a user's own layer or function has no
    digest: what such code does can change (with a global variable, a helper that it calls)
    while its description stays.

    Args:
        network: Any model that Keras can serialise.

    Returns:
        64 hexadecimal digits.

    Raises:
        TypeError: A layer cannot be serialised, or is the user's own code.

    Example:
        >>> def build(units):
        ...     inputs = keras.Input((3,))
        ...     dense = keras.layers.Dense(units, kernel_initializer="ones")
        ...     return keras.Model(inputs, dense(inputs))
        >>> digest_network(build(2)) == digest_network(build(2))
        True
        >>> digest_network(build(2)) == digest_network(build(3))
        False
    """
    try:
        described = keras.saving.serialize_keras_object(network)
        described["config"].pop("name", None)
        structure = _structure(described, {})
    # Of a user's layer: anything may go wrong in its `get_config`.
    except Exception as error:
        raise TypeError(f"The network cannot be described: {error}") from error
    # The state of a random generator has no influence on inference.
    counted = [v for v in network.variables if not v.path.endswith("seed_generator_state")]
    return content_key(structure=structure, weights=digest_variables(counted))


def _structure(part: Any, numbers: dict[str, int]) -> Any:
    """Return a description with the numbers of layers in place of their names.

    Args:
        part: Of what Keras serialised.
        numbers: Of the layers of the model that the part is in.
    """
    if isinstance(part, dict):
        if isinstance(part.get("layers"), list):
            return _model_structure(part)
        if "keras_history" in part:
            part = {**part, "keras_history": _tensors(part["keras_history"], numbers)}
        _refuse_own_code(part)
        return {str(name): _structure(value, numbers) for name, value in part.items()}
    if isinstance(part, (list, tuple)):
        return [_structure(value, numbers) for value in part]
    if part is None or isinstance(part, (str, int, float, bytes)):
        return part
    raise TypeError(f"{type(part).__name__} {part!r:.60} is no text and no number")


def _refuse_own_code(described: dict[str, Any]) -> None:
    """Raise for a class or function that comes neither from Keras nor from this package."""
    name, module = described.get("class_name"), described.get("module")
    if name is None:
        return
    registered = keras.saving.get_registered_object(described.get("registered_name"))
    if registered is not None:
        module = registered.__module__
    root = (module or "").partition(".")[0]
    if name in ("function", "__lambda__") or (root and root not in ("keras", "kerastl")):
        what = described.get("config") if name == "function" else name
        raise TypeError(f"{what} is your own code, and changes in it cannot be seen")
    if registered is None and described.get("registered_name") and module is None:
        raise TypeError(f"{name} is not known to Keras")


def _model_structure(config: dict[str, Any]) -> dict[str, Any]:
    """Return the description of a model's layers, whose names only count inside of it."""
    names = [entry["config"].get("name") for entry in config["layers"]]
    numbers = {name: number for number, name in enumerate(names) if name is not None}
    layers = []
    for entry in config["layers"]:
        nameless = {name: value for name, value in entry["config"].items() if name != "name"}
        layers.append({**entry, "name": None, "config": nameless})
    ends = {
        end: _tensors(config[end], numbers)
        for end in ("input_layers", "output_layers")
        if end in config
    }
    return {
        name: ends[name] if name in ends else _structure(value, numbers)
        for name, value in {**config, "layers": layers}.items()
    }


def _tensors(part: Any, numbers: dict[str, int]) -> Any:
    """Return references to tensors, each ["layer", call, output], with numbers of layers."""
    if isinstance(part, dict):
        return {name: _tensors(value, numbers) for name, value in part.items()}
    if isinstance(part, (list, tuple)) and part and isinstance(part[0], str):
        return [numbers.get(part[0], part[0]), *part[1:]]
    return [_tensors(value, numbers) for value in part]
