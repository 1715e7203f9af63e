"""`python -m kerastl.search build DATA --out INDEX`: an index that finds images that are alike."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import App, Group, Parameter

from kerastl import terminal
from kerastl.data.image_files import find_images
from kerastl.errors import ConfigError, DataError, UnreadableImageError
from kerastl.option_values import WHOLE, one_token, parse_image_size
from kerastl.search_folder import Sheets, search_folder, tell

if TYPE_CHECKING:
    from kerastl.retrieval.answers import Answer
    from kerastl.retrieval.index import Index

_HELP = """Find images that are alike: an index of pooled features, and what can be asked of it.

`build` makes an index of a folder or of any source of images, or brings one up to date: only what
is new is computed, and after a kill the same command goes on. `query` finds the nearest images and
says whether an image is unlike all of them; `duplicates` finds copies; `evaluate` measures recall
and mAP where there are labels; `pairs` tells same from different at a stated false-accept rate."""
_EXAMPLES = (
    "python -m kerastl.search build photos/ --out photos.index",
    "python -m kerastl.search query photos.index new.jpg -k 12 --out searches/new",
    "python -m kerastl.search pairs photos.index one.jpg other.jpg --false-accept-rate 0.001",
)

_DATA = Group("Data", sort_key=1)
_NETWORK = Group("Network", sort_key=2)
_OUTPUT = Group("Output", sort_key=4)

EXIT_SOME_UNREADABLE = 1

_Json = Annotated[bool, Parameter(name="--json", group=_OUTPUT, negative="")]
_Out = Annotated[str | None, Parameter(group=_OUTPUT)]
_Overwrite = Annotated[bool, Parameter(group=_OUTPUT, negative="")]
_Column = Annotated[str | None, Parameter(group=_DATA)]


def build(
    data: Annotated[str, Parameter(group=_DATA)],
    /,
    *,
    out: Annotated[Path, Parameter(group=_OUTPUT)],
    data_dir: _Column = None,
    path_column: _Column = None,
    label_column: _Column = None,
    label_separator: _Column = None,
    group_column: _Column = None,
    unlabelled: Annotated[bool, Parameter(group=_DATA, negative="")] = False,
    moved: Annotated[bool, Parameter(group=_DATA, negative="")] = False,
    run: Annotated[Path | None, Parameter(group=_NETWORK)] = None,
    backbone: Annotated[str | None, Parameter(group=_NETWORK)] = None,
    weights: Annotated[str | None, Parameter(group=_NETWORK)] = None,
    image_size: Annotated[
        tuple[int, int] | None, Parameter(group=_NETWORK), one_token(parse_image_size, "SIZE")
    ] = None,
    resize_mode: Annotated[
        Literal["stretch", "crop", "pad"] | None, Parameter(group=_NETWORK)
    ] = None,
    pooling: Annotated[Literal["avg", "max", "gem"] | None, Parameter(group=_NETWORK)] = None,
    whiten: Annotated[int | None, WHOLE, Parameter(group=_NETWORK)] = None,
    feature_cache: Annotated[str, Parameter(group=_OUTPUT)] = "auto",
    feature_cache_gib: Annotated[float, Parameter(group=_OUTPUT)] = 10.0,
    json_output: _Json = False,
) -> None:
    """Make an index, go on with one, or bring one up to date.

    Args:
        data: A folder of images, with a sub-folder per class or without, or what fit takes: a CSV
            or JSONL file, tfds:NAME, demo:solar. What the index has and DATA has not is taken out.
        out: Folder of the index.
        data_dir: Where relative paths of a CSV or JSONL file start, or where TFDS keeps its data.
        path_column: Column of the table with the image paths.
        label_column: Column of the table with the labels.
        label_separator: Several labels per image: what stands between them.
        group_column: Column of the table with what is not independent: patient, module, scene.
        unlabelled: Sub-folders are no classes.
        moved: DATA are the images of the index, at another place than before.
        run: A run folder, whose network is taken.
        backbone: Network to take. Default: EfficientNetLite0. What is not given here and below is
            as in the index, where there is one.
        weights: imagenet, none, or a file of weights.
        image_size: Size that images are brought to, one number or HEIGHTxWIDTH.
        resize_mode: How an image of another shape is fitted: stretch, crop or pad.
        pooling: How feature maps become one vector: avg, max or gem (generalised mean, p = 3).
        whiten: PCA-whitening to so many dimensions, learnt from the first images; 0 for none.
        feature_cache: Where features are kept for other commands: a folder, auto or none.
        feature_cache_gib: What that may take on the disk.
        json_output: Print what the index holds as JSON.
    """
    network = {
        "backbone": backbone,
        "weights": weights,
        "image_size": image_size,
        "resize_mode": resize_mode,
        "pooling": pooling,
    }
    given = {name: value for name, value in network.items() if value is not None}
    if run is not None and given:
        raise ConfigError(
            f"`run` brings its own network; leave out {', '.join(f'`{name}`' for name in given)}."
        )
    if whiten is not None and whiten < 0:
        raise ConfigError(f"`whiten` must be 0 or more; received whiten={whiten}.")
    terminal.import_tensorflow_quietly()
    from kerastl.features.store import find_store
    from kerastl.retrieval.building import build_index
    from kerastl.retrieval.embedder import backbone_embedder, run_embedder
    from kerastl.retrieval.images import read_images
    from kerastl.retrieval.index_folder import read_settings
    from kerastl.retrieval.words import built_lines

    settings = read_settings(out)
    embedder = None
    with terminal.progress_on_stderr():
        columns = {
            "data_dir": data_dir,
            "path_column": path_column,
            "label_column": label_column,
            "label_separator": label_separator,
            "group_column": group_column,
        }
        table, place = read_images(data, unlabelled=unlabelled, **columns)
        if run is not None:
            embedder = run_embedder(run)
        elif settings is None or given:
            embedder = backbone_embedder(**{**(settings.options if settings else {}), **given})
        store = find_store(feature_cache, largest_bytes=int(feature_cache_gib * 2**30))
        built = build_index(
            table,
            out,
            data=place,
            embedder=embedder,
            whiten=whiten,
            moved=moved,
            store=store,
        )
    lines = built_lines(built)
    if json_output:
        tell({**asdict(built), "path": str(out)}, Sheets(None), as_json=True)
        sys.stderr.write(f"{lines[-1]}\n")
    else:
        terminal.print_lines(lines)


def query(
    index: Path,
    /,
    *images: Annotated[str, Parameter(required=True)],
    num_hits: Annotated[int, WHOLE, Parameter(name=["-k", "--num-hits"])] = 12,
    exact: Annotated[bool, Parameter(negative="")] = False,
    out: _Out = None,
    overwrite: _Overwrite = False,
    json_output: _Json = False,
) -> int:
    """Find the images that are most like others.

    Args:
        index: Made by build.
        images: Images, folders and glob patterns. Those that cannot be read are named on standard
            error and make the exit code 1.
        num_hits: How many for each image.
        exact: Look at all images even where the index has a graph.
        out: Folder to make, with a contact sheet for each image and all numbers.
        overwrite: Replace an existing folder of a search, once the new one is complete.
        json_output: Print JSON in place of a table.
    """
    if num_hits < 1:
        raise ConfigError(f"`num_hits` must be 1 or more; received num_hits={num_hits}.")
    files = find_images(images)
    terminal.import_tensorflow_quietly()
    from kerastl.retrieval.answers import ask
    from kerastl.retrieval.index import open_index
    from kerastl.retrieval.words import answer_lines

    opened = open_index(index)
    found: list[Answer] = []
    unreadable: list[dict[str, str]] = []
    with search_folder(out, overwrite=overwrite) as sheets:
        for path in files:
            try:
                content = path.read_bytes()
                answer = ask(opened, content, query=str(path), num_hits=num_hits, exact=exact)
            except (OSError, UnreadableImageError) as error:
                why = str(error.strerror if isinstance(error, OSError) else error.reason)
                sys.stderr.write(f"{path}: {why}\n")
                unreadable.append({"path": str(path), "reason": why})
                continue
            found.append(answer)
            if not json_output:
                terminal.print_lines(answer_lines(opened, answer))
            if sheets.wanted:
                from kerastl.retrieval.query_sheet import answer_figure, sheet_name

                name = sheet_name(len(found), str(path)) if len(files) > 1 else "sheet"
                sheets.add(name, answer_figure(opened, answer, content))
        answers = [answer.to_dict() for answer in found]
        result = {"index": str(index), "answers": answers, "unreadable": unreadable}
        sheets.write(result)
    tell(result, sheets, as_json=json_output)
    return EXIT_SOME_UNREADABLE if len(found) < len(files) else 0


def duplicates(
    index: Path,
    /,
    *,
    out: _Out = None,
    overwrite: _Overwrite = False,
    json_output: _Json = False,
) -> None:
    """Find images that show one picture: equal bytes, and near copies as kerastl.check finds them.

    Args:
        index: Made by build.
        out: Folder to make, with a sheet of pairs and all numbers.
        overwrite: Replace an existing folder of a search, once the new one is complete.
        json_output: Print JSON in place of lines.
    """
    terminal.import_tensorflow_quietly()
    from kerastl.retrieval.copies import copies_table, find_copies
    from kerastl.retrieval.index import open_index
    from kerastl.retrieval.words import copies_lines

    opened = open_index(index)
    with (
        terminal.progress_on_stderr(),
        search_folder(out, overwrite=overwrite) as sheets,
    ):
        found = find_copies(opened)
        result = {"index": str(index), **copies_table(opened, found)}
        sheets.write(result)
        if sheets.wanted:
            from kerastl.retrieval.copies_sheet import copies_figure

            sheets.add("sheet", copies_figure(opened, found))
    if not json_output:
        terminal.print_lines(copies_lines(opened, found))
    tell(result, sheets, as_json=json_output)


def evaluate(
    index: Path,
    /,
    *,
    seed: Annotated[int, WHOLE] = 0,
    out: _Out = None,
    overwrite: _Overwrite = False,
    json_output: _Json = False,
) -> None:
    """Measure recall@k and mAP: every image, or 2,000 of them, is asked about all others.

    Args:
        index: Made by build, of images with labels.
        seed: Of which images are asked, and of the resamples behind the intervals.
        out: Folder to make, with all numbers.
        overwrite: Replace an existing folder of a search, once the new one is complete.
        json_output: Print JSON in place of lines.
    """
    terminal.import_tensorflow_quietly()
    from kerastl.retrieval.ranking_measures import ranking_measures
    from kerastl.retrieval.words import ranking_lines

    opened = _labelled(index)
    assert opened.images.labels is not None
    with (
        terminal.progress_on_stderr(),
        search_folder(out, overwrite=overwrite) as sheets,
    ):
        measures = ranking_measures(
            opened.vectors[opened.images.rows],
            opened.images.labels,
            same=opened.images.rows,
            groups=opened.images.groups,
            seed=seed,
        )
        result = {"index": str(index), **measures.to_dict()}
        sheets.write(result)
    if not json_output:
        terminal.print_lines(ranking_lines(opened, measures))
    tell(result, sheets, as_json=json_output)


def pairs(
    index: Path,
    /,
    *images: str,
    false_accept_rate: float = 0.01,
    seed: Annotated[int, WHOLE] = 0,
    out: _Out = None,
    overwrite: _Overwrite = False,
    json_output: _Json = False,
) -> None:
    """Tell same from different: of pairs of the index, and of two images if they are named.

    Args:
        index: Made by build, of images with labels.
        images: Two images, of which it says whether they are of one label.
        false_accept_rate: Part of the pairs of different labels that may be called the same.
        seed: Of the two parts, of the pairs and of the resamples.
        out: Folder to make, with the two images, the ROC curve and all numbers.
        overwrite: Replace an existing folder of a search, once the new one is complete.
        json_output: Print JSON in place of lines.
    """
    if images and len(images) != 2:
        raise ConfigError(f"Name two images after the index, or none; received {len(images)}.")
    terminal.import_tensorflow_quietly()
    from kerastl.retrieval.verification import check_rate, verify_pairs
    from kerastl.retrieval.words import verification_lines

    check_rate(false_accept_rate)
    opened = _labelled(index)
    assert opened.images.labels is not None
    if opened.images.labels.ndim == 2:
        raise ConfigError(
            "Same or different needs one label for each image; those of this index have several."
        )
    with (
        terminal.progress_on_stderr(),
        search_folder(out, overwrite=overwrite) as sheets,
    ):
        found = verify_pairs(
            opened.vectors[opened.images.rows],
            opened.images.labels,
            same=opened.images.rows,
            false_accept_rate=false_accept_rate,
            groups=opened.images.groups,
            seed=seed,
        )
        result = {"index": str(index), **found.to_dict()}
        lines = verification_lines(opened, found)
        if images:
            cosine = _cosine(opened, images)
            same = cosine > found.threshold
            result |= {"images": list(images), "cosine": cosine, "same": same}
            lines.append(f"{'Same' if same else 'Different'}: cosine {cosine:.4f}")
        sheets.write(result)
        if sheets.wanted:
            from kerastl.retrieval.query_sheet import pair_figures

            for name, figure in pair_figures(found, images, result.get("cosine")).items():
                sheets.add(name, figure)
    if not json_output:
        terminal.print_lines(lines)
    tell(result, sheets, as_json=json_output)


def _labelled(path: Path) -> Index:
    """Open an index whose images have labels."""
    from kerastl.retrieval.index import open_index

    index = open_index(path)
    if not index.labelled:
        raise ConfigError(
            f"The images of the index {str(path)!r} have no labels, so nothing says what is alike. "
            "Build one of class folders or of a table with labels."
        )
    return index


def _cosine(index: Index, images: Sequence[str]) -> float:
    """Return the cosine of two images."""
    vectors = []
    for name in images:
        try:
            vectors.append(index.embed([Path(name).read_bytes()])[0])
        except (OSError, UnreadableImageError) as error:
            why = error.strerror if isinstance(error, OSError) else error.reason
            raise DataError(f"{name!r} cannot be read: {why}. Name two images.") from None
    return float(vectors[0] @ vectors[1])


def build_app() -> App:
    """Return the command and its sub-commands."""
    app = terminal.new_app("search", help_text=_HELP, usage="COMMAND …", examples=_EXAMPLES)
    for command in (build, query, duplicates, evaluate, pairs):
        app.command(command)
    return app


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line.

    Args:
        arguments: Words of the command line; those of this process when not given.
    """
    terminal.run_app(build_app(), list(sys.argv[1:] if arguments is None else arguments))


if __name__ == "__main__":
    main()
