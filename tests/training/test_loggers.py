"""The history elsewhere: by the tools' own callbacks where they are installed."""

import sys
import types

import keras
import pytest

from kerastl.errors import ConfigError
from kerastl.training.loggers import find_loggers


def test_tensorboard_writes_into_the_run_folder(tmp_path):
    pytest.importorskip("tensorboard")
    (callback,) = find_loggers("tensorboard", directory=tmp_path)
    features = keras.Input((2,))
    model = keras.Model(features, keras.layers.Dense(1)(features))
    model.compile(loss="mse")
    model.fit([[[0.0, 1.0]]][0], [[1.0]], epochs=2, verbose=0, callbacks=[callback])
    assert list((tmp_path / "tensorboard").rglob("events.out.tfevents*"))


@pytest.mark.parametrize(
    ("name", "module", "kind"),
    [
        ("mlflow", "mlflow.keras", "MlflowCallback"),
        ("wandb", "wandb.integration.keras", "WandbMetricsLogger"),
    ],
)
def test_the_callback_of_the_tool_is_taken(monkeypatch, tmp_path, name, module, kind):
    """With stand-ins for the tools: their own names; a run is begun where there is none."""
    begun = []
    tool = types.SimpleNamespace(run=None, init=lambda: begun.append(name))
    monkeypatch.setitem(sys.modules, name, tool)
    monkeypatch.setitem(
        sys.modules, module, types.SimpleNamespace(**{kind: keras.callbacks.Callback})
    )
    (callback,) = find_loggers(name, directory=tmp_path)
    assert isinstance(callback, keras.callbacks.Callback)
    assert begun == (["wandb"] if name == "wandb" else [])


def test_a_tool_that_is_not_there_is_one_clear_line(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "mlflow", None)
    with pytest.raises(ConfigError, match="pip install mlflow"):
        find_loggers("mlflow", directory=tmp_path)
