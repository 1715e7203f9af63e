"""The `kerastl` console command: `kerastl VERB …` is `python -m kerastl.VERB …`."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence

from kerastl._version import __version__
from kerastl.errors import did_you_mean

# Verb, and what it does in one line. The module of the same name is imported when asked for.
VERBS = {
    "check": "look at images, labels and split before anything is learnt",
    "compare": "find the backbone that suits these images, before anything is trained",
    "fit": "train, evaluate and keep an image classifier",
    "add": "add a class to a finished run in seconds",
    "tune": "search for the numbers of fine-tuning that suit these images",
    "evaluate": "measure finished models on other images, or compare them",
    "explain": "show where in images the evidence is, and what the layers see",
    "predict": "label images with a run folder or a SavedModel",
    "zeroshot": "label images by words alone, without training (CLIP, SigLIP)",
    "search": "find images that are alike, copies, and what is unlike all others",
    "benchmark": "measure how fast this machine is, stage by stage",
    "export": "write the model of a run folder for others to use, proven to answer alike",
    "serve": "answer over the network, as TF Serving does, and on a page",
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one verb.

    Args:
        arguments: Words of the command line; those of this process when not given.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    verb = words[0] if words else "--help"
    if verb in VERBS:
        importlib.import_module(f"kerastl.{verb}").main(words[1:])
        return
    if verb == "--version":
        sys.stdout.write(f"{__version__}\n")
        return
    if verb in ("-h", "--help"):
        lines = [f"  {name:<9} {line}" for name, line in VERBS.items()]
        sys.stdout.write("\n".join(["Usage: kerastl VERB …", "", *lines, ""]))
        sys.stdout.write("\n`kerastl VERB --help` lists the options of a verb.\n")
        return
    sys.stderr.write(
        f"kerastl: the verb must be one of {', '.join(VERBS)}; received {verb!r}."
        f"{did_you_mean(verb, VERBS)}\n"
    )
    raise SystemExit(2)


if __name__ == "__main__":
    main()
