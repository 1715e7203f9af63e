"""What a temperature costs a model that is as sure as right, and gains one that is too sure.

    python benchmarks/temperature.py --draws 60

A simulation: logits of three classes are normal numbers times a scale, labels are drawn from their
softmax, and a model answers with the logits times its over-confidence. From so many validation
images `choose_temperature` chooses; judged is the log-loss on 20,000 others, less that without a
temperature. Below 50 images it chooses none, by what this table said with any number of them.
"""

import argparse

import numpy as np
from scipy.special import softmax

from kerastl.features.probe import log_loss_nats
from kerastl.training.temperature import choose_temperature, tempered_probabilities

SIZES = (50, 100, 200, 1_000)


def answers(count: int, scale: float, over: float, rng: np.random.Generator):
    """Return labels and what a model says of them."""
    logits = scale * rng.normal(size=(count, 3))
    labels = (rng.random((count, 1)) > softmax(logits, axis=1).cumsum(axis=1)[:, :2]).sum(axis=1)
    return labels, softmax(over * logits, axis=1).astype(np.float32)


def main() -> None:
    """Simulate and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--draws", type=int, default=60)
    arguments = parser.parse_args()
    rng = np.random.default_rng(0)
    print("| over-confidence | scale of logits | images | chosen | log-loss, mean | worst |")
    print("|---|---|---|---|---|---|")
    for over in (1.0, 1.3, 2.0):
        for scale in (2.0, 5.0):
            labels, said = answers(20_000, scale, over, rng)
            before = log_loss_nats(labels, said)
            for count in SIZES:
                chosen, gains = 0, []
                for _ in range(arguments.draws):
                    found = choose_temperature(*answers(count, scale, over, rng)).value
                    after = tempered_probabilities(said, found, multi_label=False)
                    chosen += found != 1
                    gains.append(log_loss_nats(labels, after) - before)
                print(
                    f"| {over} | {scale} | {count} | {chosen / arguments.draws:.0%} "
                    f"| {np.mean(gains):+.4f} | {np.max(gains):+.4f} |",
                    flush=True,
                )


if __name__ == "__main__":
    main()
