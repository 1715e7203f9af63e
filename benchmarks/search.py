"""The index of `kerastl.search`: how fast it answers, what it misses, which copies it finds.

    python benchmarks/search.py exact          100,000 synthetic vectors, all looked at
    python benchmarks/search.py approximate    300,000 and a graph (needs usearch)
    python benchmarks/search.py solar          recall@k, mAP and planted copies on ELPV

Latency is that of the search alone, one query at a time, vectors mapped from a file in the page
cache; the network takes 10 to 20 ms more. Copies are planted in ELPV (2,624 solar cells, all much
alike): 200 each stored as JPEG of quality 60, with 5 % of width and height cut off, mirrored.
"""

import argparse
import functools
import io
import os
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

from kerastl.data.nearest import nearest_to, unit_rows
from kerastl.evaluation.intervals import proportion
from kerastl.retrieval.row_file import RowFile

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("part", choices=["exact", "approximate", "solar"])
parser.add_argument("--count", type=int, default=None)
parser.add_argument("--width", type=int, default=None)
parser.add_argument("--repeats", type=int, default=31)
parser.add_argument("--copies", type=int, default=200)
arguments = parser.parse_args()


def say_machine():
    """Print on what it runs, and what else does."""
    print(f"{os.cpu_count()} processors, load {os.getloadavg()[0]:.1f} before the start")


def clustered(count, width):
    """Yield blocks of unit vectors around a thousand centres, as features lie."""
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(1_000, width)).astype(np.float32)
    for start in range(0, count, 10_000):
        size = min(10_000, count - start)
        noise = rng.normal(size=(size, width)).astype(np.float32)
        yield unit_rows(centres[rng.integers(0, len(centres), size)] + 0.8 * noise)


def written(path, count, width):
    """Write such vectors and return them mapped."""
    file = RowFile(path, np.dtype("<f4"), (width,))
    for block in clustered(count, width):
        file.append(block)
    return file.mapped(count)


def times(work, queries):
    """Return milliseconds of each query."""
    found = []
    for query in queries:
        start = time.perf_counter()
        work(query[np.newaxis])
        found.append(1000 * (time.perf_counter() - start))
    return np.array(found)


def show(name, milliseconds):
    """Print how long a query takes."""
    low, middle, high = np.quantile(milliseconds, [0, 0.5, 0.9])
    print(f"{name:34} median {middle:7.1f} ms, fastest {low:6.1f}, 9 of 10 below {high:6.1f}")


def exact():
    """Time the exact search, and what float16 would cost and change."""
    count, width = arguments.count or 100_000, arguments.width or 1_280
    print(f"{count:,} x {width:,}: float32 {count * width * 4 / 1e6:.0f} MB")
    with tempfile.TemporaryDirectory() as folder:
        units = written(Path(folder) / "vectors", count, width)
        rng = np.random.default_rng(1)
        asked = units[rng.choice(count, arguments.repeats)]
        queries = unit_rows(asked + 0.5 / width**0.5 * rng.normal(size=asked.shape))
        show("the first after opening", times(lambda q: nearest_to(q, units, num_neighbours=12),
                                              queries[:1]))  # fmt: skip
        show("exact, float32", times(lambda q: nearest_to(q, units, num_neighbours=12), queries))
        by_image = functools.partial(nearest_to, num_neighbours=12, candidates=np.arange(count))
        show("exact, by image (copies, removed)", times(lambda q: by_image(q, units), queries))
        half, buffer = units.astype(np.float16), np.empty((64, width), np.float32)

        def by_half(query):
            cosines = np.empty(count, np.float32)
            for start in range(0, count, len(buffer)):
                size = min(len(buffer), count - start)
                buffer[:size] = half[start : start + size]
                np.dot(buffer[:size], query[0], out=cosines[start : start + size])
            return np.argpartition(-cosines, 12)[:12]

        show("float16, converted in blocks", times(by_half, queries[:7]))
        true = nearest_to(queries, units, num_neighbours=10).rows
        told = nearest_to(queries, half.astype(np.float32), num_neighbours=10).rows
        same = np.mean([len(set(a) & set(b)) / 10 for a, b in zip(true, told, strict=True)])
        print(f"float16: recall@10 of the float32 neighbours {same:.4f}")


def approximate():
    """Time the making of a graph, queries of it, and what it misses."""
    from kerastl.retrieval.approximate import grow_graph, open_graph, rows_near

    count, width = arguments.count or 300_000, arguments.width or 128
    with tempfile.TemporaryDirectory() as folder:
        units = written(Path(folder) / "vectors", count, width)
        start = time.perf_counter()
        made = grow_graph(Path(folder), units, old=None, generation=1, rows=np.arange(count))
        size = (Path(folder) / made.file).stat().st_size
        print(
            f"{count:,} x {width}: made in {time.perf_counter() - start:.0f} s, "
            f"{size / 1e6:.0f} MB; recall@10 {made.recall_at_10:.4f} ({made.low:.4f} to "
            f"{made.high:.4f}, {made.num_asked} asked)"
        )
        graph = open_graph(Path(folder) / made.file, width=width)
        queries = units[np.random.default_rng(1).choice(count, arguments.repeats)]
        show("approximate", times(lambda q: rows_near(graph, q, count=12), queries))
        show("exact", times(lambda q: nearest_to(q, units, num_neighbours=12), queries))


CHANGES = ("recoded", "cropped", "mirrored")


def changed(image, kind):
    """Return a copy of an image, changed in one way."""
    width, height = image.size
    if kind == "recoded":
        held = io.BytesIO()
        image.save(held, "JPEG", quality=60)
        return Image.open(held)
    if kind == "cropped":
        cut_x, cut_y = round(0.025 * width), round(0.025 * height)
        return image.crop((cut_x, cut_y, width - cut_x, height - cut_y))
    return image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)


def plant(table, folder):
    """Write copies of some cells; return which of them each is of."""
    rng = np.random.default_rng(0)
    rows = rng.choice(len(table.ids), len(CHANGES) * arguments.copies, replace=False)
    truth = {}
    for place, row in enumerate(rows.tolist()):
        kind = CHANGES[place % len(CHANGES)]
        path = folder / f"{kind} {Path(table.ids[row]).stem}.png"
        changed(Image.open(table.ids[row]), kind).save(path)
        truth[str(path)] = (table.ids[row], kind)
    return truth


def solar():
    """Measure recall@k and mAP against brute force, and which planted copies are found."""
    from kerastl.data.demo import table_from_demo
    from kerastl.data.table import ImageTable
    from kerastl.features.store import find_store
    from kerastl.retrieval.building import build_index
    from kerastl.retrieval.copies import find_copies
    from kerastl.retrieval.embedder import backbone_embedder
    from kerastl.retrieval.index import open_index
    from kerastl.retrieval.ranking_measures import ranking_measures

    table = table_from_demo("solar")
    store = find_store("auto", largest_bytes=2**33)
    for name, options, whiten in (
        ("avg", {}, 0),
        ("gem", {"pooling": "gem"}, 0),
        ("avg, whitened to 128", {}, 128),
    ):
        with tempfile.TemporaryDirectory() as place:
            path = Path(place) / "index"
            build_index(table, path, data="demo:solar", embedder=backbone_embedder(**options),
                        whiten=whiten, store=store)  # fmt: skip
            index = open_index(path)
            vectors = index.vectors[index.images.rows]
            found = ranking_measures(vectors, table.labels, same=index.images.rows,
                                     most_asked=len(table.ids))  # fmt: skip
            print(
                f"{name:22}"
                + "".join(f" recall@{k} {one.value:.4f}" for k, one in found.recall_at.items())
                + f" mAP {found.mean_average_precision.value:.4f}"
            )
            compare_with_brute_force(vectors, table.labels, found)
    with tempfile.TemporaryDirectory() as place:
        truth = plant(table, Path(place))
        ids = (*table.ids, *truth)
        both = ImageTable("planted", ids, np.zeros(len(ids), np.int64), ())
        path = Path(place) / "index"
        build_index(both, path, data="planted", embedder=backbone_embedder(), store=store)
        index = open_index(path)
        start = time.perf_counter()
        copies = find_copies(index)
        print(f"copies looked for in {time.perf_counter() - start:.0f} s")
        report(index, copies, truth)


def compare_with_brute_force(vectors, labels, found):
    """Show that recall@k is that of scikit-learn's brute force."""
    from sklearn.neighbors import NearestNeighbors

    reference = NearestNeighbors(n_neighbors=11, algorithm="brute", metric="cosine")
    order = reference.fit(vectors.astype(np.float64)).kneighbors(return_distance=False)
    for depth, one in found.recall_at.items():
        hit = (labels[order[:, :depth]] == labels[:, np.newaxis]).any(axis=1).mean()
        print(
            f"    recall@{depth} of brute force {hit:.4f}: {'equal' if hit == one.value else 'NOT'}"
        )


def report(index, copies, truth):
    """Print precision, and recall by kind."""
    ids = index.images.ids
    right, hit = 0, set()
    for one, other in copies.near.tolist():
        pair = {ids[one], ids[other]}
        copy = next((name for name in pair if name in truth), None)
        if copy is not None and truth[copy][0] in pair:
            right += 1
            hit.add(copy)
    said = proportion(right, len(copies.near))
    print(f"threshold {copies.threshold:.4f}; {len(copies.near)} pairs named")
    if said is not None:
        print(f"precision {said.value:.4f} ({said.low:.4f} to {said.high:.4f})")
    for kind in CHANGES:
        own = [name for name, (_, one) in truth.items() if one == kind]
        recall = proportion(sum(name in hit for name in own), len(own))
        print(f"{kind:10} recall {recall.value:.3f} ({recall.low:.3f} to {recall.high:.3f})")


say_machine()
{"exact": exact, "approximate": approximate, "solar": solar}[arguments.part]()
