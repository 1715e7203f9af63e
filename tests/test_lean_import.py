"""Commands import Keras without what it would load for others; afterwards all is as it was."""

import subprocess
import sys

CODE = """
from kerastl.terminal import import_tensorflow_quietly
import sys
import_tensorflow_quietly()
absent = {"sklearn", "pandas", "matplotlib.pyplot"} - set(sys.modules)
import keras, numpy as np
model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
model.compile(loss="mse")
model.fit(np.zeros((4, 2)), np.zeros(4), verbose=0)
import matplotlib.pyplot, pandas, sklearn.linear_model
print(len(absent), pandas.DataFrame({"a": [1]}).to_csv(index=False).split())
"""


def test_keras_works_without_them_and_they_work_afterwards():
    answer = subprocess.run(
        [sys.executable, "-c", CODE], capture_output=True, text=True, check=True
    )
    assert answer.stdout.strip() == "3 ['a', '1']"
