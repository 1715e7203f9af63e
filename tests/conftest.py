"""Pictures that tests learn from: three colours, as TF Hub's make_image_classifier painted them."""

import signal

import keras
import numpy as np
import pytest
from PIL import Image

COLOURS = {"1": (200, 40, 40), "2": (40, 200, 40), "10": (40, 40, 200)}


@pytest.fixture(autouse=True, scope="session")
def cache_of_the_tests(tmp_path_factory):
    """Nothing that a user of this machine keeps is read or written, by children neither."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KERASTL_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(autouse=True, scope="session")
def interrupts_are_heard():
    """Shells start what runs in the background deaf to Ctrl-C, and its children with it."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def same_weights_every_time():
    """Seed Keras: a network whose random weights saturate one time in fifty is no test."""
    keras.utils.set_random_seed(0)


def paint(folder, *, per_class=12, size=(40, 48), noise=60, seed=0, suffix=".png", colours=None):
    """Make a folder per class of noisy pictures of one colour each."""
    rng = np.random.default_rng(seed)
    for name, colour in (colours or COLOURS).items():
        (folder / name).mkdir(parents=True)
        for index in range(per_class):
            pixels = np.array(colour) + rng.normal(0, noise, (*size, 3)) + rng.normal(0, 20, 3)
            picture = Image.fromarray(np.clip(pixels, 0, 255).astype("uint8"))
            picture.save(folder / name / f"picture {index}{suffix}")
    return folder


@pytest.fixture(scope="session")
def colour_folder(tmp_path_factory):
    """36 pictures in the classes 1, 2 and 10."""
    return paint(tmp_path_factory.mktemp("colours") / "photos")


@pytest.fixture(scope="session")
def painter():
    """The function that makes such folders."""
    return paint
