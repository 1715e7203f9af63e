"""--deterministic: the same seed, the same bits, in another process too."""

import subprocess
import sys
from pathlib import Path

import pytest

from kerastl.config import FitConfig
from kerastl.errors import ConfigError

RUN = """
import sys
import hashlib
import keras
import kerastl

inputs = keras.Input((24, 24, 3))
x = keras.layers.Conv2D(32, 3, strides=2, activation="relu")(inputs)
x = keras.layers.DepthwiseConv2D(3, activation="relu")(x)
backbone = keras.Model(inputs, keras.layers.Conv2D(32, 3)(x), name="mine")
config = kerastl.FitConfig(
    sys.argv[1], image_size=(24, 24), fine_tune_epochs=3, batch_size=8, learning_rate=1e-2,
    deterministic=True, dropout=0.3, out=sys.argv[2], log="none",
)
keras.utils.set_random_seed(0)
backbone.set_weights([keras.random.normal(w.shape, stddev=0.2, seed=3) for w in backbone.weights])
result = kerastl.run(config, backbone=backbone, preprocessing="tf")
digest = hashlib.sha256(b"".join(w.tobytes() for w in result.model.get_weights()))
history = (result.path / "history.csv").read_text()
print("DIGEST", digest.hexdigest(), hashlib.sha256(history.encode()).hexdigest())
"""


def test_two_processes_give_the_same_bits(colour_folder, tmp_path):
    found = []
    for name in ("first", "second"):
        words = [sys.executable, "-c", RUN, str(colour_folder), str(tmp_path / name)]
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        found.append(next(line for line in done.stdout.splitlines() if line.startswith("DIGEST")))
    assert found[0] == found[1]
    assert Path(tmp_path / "second" / "report.html").exists()


@pytest.mark.parametrize("options", [{"max_minutes": 5.0}, {"precision": "auto"}])
def test_what_a_clock_decides_is_refused(options):
    from kerastl.determinism import become_deterministic

    config = FitConfig("photos", deterministic=True, **options)
    with pytest.raises(ConfigError, match="Leave out one of the two"):
        become_deterministic(config)
