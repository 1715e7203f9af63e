"""Does a balanced last layer help the worst off? A planted shortcut, several seeds, test split.

    python benchmarks/group_balance.py --seeds 5

Discs and crosses, noisy; nearly all discs of training and validation are from a camera with a red
tint, nearly all crosses from one with a blue tint, so that the tint answers as well as the shape.
Half of them are for training, half for validation, so that a balanced last layer of a fine-tuned
network has seen twice as many labels as the network. Test images have all four combinations equally
often. For probe, fine-tuned model and the kept one
with its last layer balanced (`--balance-groups`): accuracy, and how often the class is found in the
combination where it is found least. Means and standard deviations over seeds, and the paired gain.
"""

import argparse
import tempfile

import numpy as np
from PIL import Image, ImageDraw

import kerastl
from kerastl.data.table import ImageTable, table_from_arrays

_SIZE = 48
_CLASSES, _CAMERAS = ("disc", "cross"), ("red", "blue")


def picture(kind: str, camera: str, rng: np.random.Generator, *, noise: float) -> np.ndarray:
    """Return uint8 pixels of one picture."""
    image = Image.new("RGB", (_SIZE, _SIZE), (90, 90, 90))
    pen = ImageDraw.Draw(image)
    x, y = (int(value) for value in rng.integers(16, 32, 2))
    radius = int(rng.integers(8, 13))
    colour = tuple(int(value) for value in rng.integers(130, 200, 3))
    if kind == "disc":
        pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=colour)
    else:
        half = radius // 3 + 1
        pen.rectangle((x - radius, y - half, x + radius, y + half), fill=colour)
        pen.rectangle((x - half, y - radius, x + half, y + radius), fill=colour)
    pixels = np.asarray(image) + rng.normal(0, noise, (_SIZE, _SIZE, 3))
    pixels[..., 0 if camera == "red" else 2] += 50
    return np.clip(pixels, 0, 255).astype(np.uint8)


def planted(seed: int, *, common: int, rare: int, tested: int, noise: float) -> ImageTable:
    """Return pictures of which camera and class go together in training and validation."""
    rng = np.random.default_rng(seed)
    images, labels, cameras, splits = [], [], [], []
    for label, kind in enumerate(_CLASSES):
        for place, camera in enumerate(_CAMERAS):
            known = common if label == place else rare
            images += [picture(kind, camera, rng, noise=noise) for _ in range(known + tested)]
            labels += [label] * (known + tested)
            cameras += [camera] * (known + tested)
            splits += [("train", "val")[number % 2] for number in range(known)]
            splits += ["test"] * tested
    return table_from_arrays(
        np.stack(images),
        np.array(labels),
        class_names=_CLASSES,
        subgroups=cameras,
        splits=splits,
    )


def least_found(subgroups: dict) -> float:
    """Return how often the class is found in the combination where it is found least."""
    return min(rates["found"]["value"] for one in subgroups["groups"] for rates in one["rates"])


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--common", type=int, default=200)
    parser.add_argument("--rare", type=int, default=20)
    parser.add_argument("--noise", type=float, default=70.0)
    options = parser.parse_args()
    found: dict[str, list[tuple[float, float]]] = {}
    for seed in range(options.seeds):
        table = planted(
            seed, common=options.common, rare=options.rare, tested=60, noise=options.noise
        )
        for how, recipe in (
            ("probe", {"recipe": "probe"}),
            ("fine-tuned", {"fine_tune_epochs": 4}),
        ):
            with tempfile.TemporaryDirectory() as place:
                config = kerastl.FitConfig(
                    "planted",
                    image_size=_SIZE,
                    group_by="camera",
                    balance_groups=True,
                    seed=seed,
                    out=f"{place}/run",
                    **recipe,
                )
                result = kerastl.run(config, table=table)
            for name, subgroups in result.metrics["groups"].items():
                if name == "probe" and how != "probe":
                    continue
                label = name if name != "group-balanced" else f"{how}, last layer balanced"
                accuracy = result.metrics[name]["test"]["accuracy"]["value"]
                found.setdefault(label, []).append((accuracy, least_found(subgroups["test"])))
        print(f"seed {seed}:", {name: values[-1] for name, values in found.items()}, flush=True)
    print("\n| model | runs | accuracy | found least |\n|---|---|---|---|")
    for name, values in found.items():
        mean, spread = 100 * np.mean(values, axis=0), 100 * np.std(values, axis=0, ddof=1)
        cells = [f"{m:.1f} ± {s:.1f} %" for m, s in zip(mean, spread, strict=True)]
        print(f"| {name} | {len(values)} | {cells[0]} | {cells[1]} |")


if __name__ == "__main__":
    main()
