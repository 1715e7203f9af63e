"""Build an index so slowly that it can be killed: DATA INDEX."""

import sys
import time
from pathlib import Path

from kerastl.retrieval.embedder import Embedder
from tests.retrieval.conftest import build, tiny_embedder

compute = Embedder.features


def slowly(self, pixels):
    time.sleep(0.2)
    return compute(self, pixels)


if __name__ == "__main__":
    Embedder.features = slowly
    build(sys.argv[1], Path(sys.argv[2]), embedder=tiny_embedder(), segment_images=3)
