"""Images that are made: readable, of their size, all different, the same for one seed."""

from pathlib import Path

import numpy as np
from PIL import Image

from kerastl.benchmarking.photos import PHOTO_SIZE, write_photos
from kerastl.data.sources import load_table


def test_photos(tmp_path):
    for name, seed in (("one", 0), ("same", 0), ("other", 1)):
        write_photos(tmp_path / name, count=7, num_classes=2, seed=seed)
    one, same, other = (load_table(tmp_path / name) for name in ("one", "same", "other"))
    assert np.bincount(one.labels).tolist() == [4, 3]
    contents = [Path(path).read_bytes() for path in one.ids]
    assert len(set(contents)) == 7
    assert contents == [Path(path).read_bytes() for path in same.ids]
    assert contents != [Path(path).read_bytes() for path in other.ids]
    with Image.open(one.ids[0]) as image:
        assert (image.format, image.size) == ("JPEG", PHOTO_SIZE)
    # Of this size the photographs of scikit-learn take 39 and 68 KB.
    assert all(30_000 < len(content) < 90_000 for content in contents)
