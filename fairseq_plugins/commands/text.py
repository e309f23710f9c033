"""The commands of `weightdistill` that read and write text: parallel corpora and test sets, before any model."""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from fairseq_plugins.commands.results import Json, require_writable, write_json
from weightdistill.errors import DistillationError

app = typer.Typer()


@app.command()
def clean(
    source: Annotated[
        Path, typer.Option("--source", help="One side of parallel text, a sentence a line; .gz is read.")
    ],
    target: Annotated[Path, typer.Option("--target", help="The other side.")],
    output_source: Annotated[Path, typer.Option("--output-source", help="File to write.")],
    output_target: Annotated[Path, typer.Option("--output-target", help="File to write.")],
    max_length: Annotated[int, typer.Option(help="Most words of a side; 0: any.")] = 0,
    max_ratio: Annotated[float, typer.Option(help="Largest ratio of both lengths, either way; 0: any.")] = 0.0,
    deduplicate: Annotated[bool, typer.Option("--deduplicate", help="Keep the first of equal pairs.")] = False,
    drop_empty: Annotated[bool, typer.Option("--drop-empty", help="Leave out empty sides; else an error.")] = False,
    json_file: Json = None,
) -> None:
    """Check parallel text line by line, and leave out pairs that are not fit to train on."""
    from weightdistill.text.corpus import CleanSettings
    from weightdistill.text.corpus import clean as run

    require_writable(json_file)
    settings = CleanSettings(max_length, max_ratio, deduplicate, drop_empty)
    counts = run(source, target, output_source, output_target, settings).as_dict()
    typer.echo(
        f"{source}, {target}: " + ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in counts.items())
    )
    write_json(json_file, counts)


@app.command()
def read_tmx(
    memory: Annotated[Path, typer.Argument(help="Translation memory, .tmx or .tmx.gz.")],
    output: Annotated[Path, typer.Option("--output", help="Prefix of the two files to write.")],
    source: Annotated[str, typer.Option(help="One language, and the ending of its file.")],
    target: Annotated[str, typer.Option(help="The other one.")],
) -> None:
    """Turn a translation memory into parallel text."""
    from weightdistill.text.corpus import read_tmx as run
    from weightdistill.text.corpus import write_pairs

    pairs = run(memory, source, target)
    count = write_pairs(pairs, Path(f"{output}.{source}"), Path(f"{output}.{target}"))
    typer.echo(f"wrote {output}.{source} and {output}.{target}: {count} pairs")


@app.command()
def read_ldc(
    table: Annotated[
        typer.FileText,
        typer.Argument(
            encoding="utf-8",
            help="Table of the corpus's files, - for standard input. Each line names, separated by tabs, one in the "
            "source language (SGML documents, .sgm, or a sentence a line), one in the target language, maybe one of "
            "alignments, which say what segments belong together (default: those of equal ids).",
        ),
    ],
    output: Annotated[Path, typer.Option("--output", help="Prefix of the two files to write.")],
    source: Annotated[str, typer.Option(help="Code of the source language, and the ending of its file.")],
    target: Annotated[str, typer.Option(help="Code of the target language.")],
    encoding: Annotated[
        str | None, typer.Option(help="Of the source; default: what it declares, else UTF-8, else, for SGML, GB 18030.")
    ] = None,
    target_encoding: Annotated[str, typer.Option(help="Of the target.")] = "utf-8",
) -> None:
    """Turn a parallel corpus of the LDC, in its encoding, in lines or in SGML with or without alignments, into text."""
    from weightdistill.text.corpus import write_pairs
    from weightdistill.text.ldc import read_aligned

    files = [line.rstrip("\n").rstrip("\t").split("\t") for line in table]
    for number, names in enumerate(files, start=1):
        if len(names) not in (2, 3) or not all(names):
            raise DistillationError(
                f"{table.name}: line {number} must name two files and, if there is one, a third one of alignments, "
                f"separated by tabs, but is {names}"
            )

    def pairs() -> Iterator[tuple[str, str]]:
        for own, other, *links in files:
            alignment = Path(links[0]) if links else None
            found = read_aligned(Path(own), Path(other), source, target, alignment, encoding, target_encoding)
            yield from found.pairs
            typer.echo(
                f"{own}: {len(found.pairs)} pairs; left out: {found.one_sided} without a translation, {found.missing} "
                "whose segments are not there"
            )

    count = write_pairs(pairs(), Path(f"{output}.{source}"), Path(f"{output}.{target}"))
    typer.echo(f"wrote {output}.{source} and {output}.{target}: {count} pairs of {len(files)} files")


@app.command()
def read_sgm(
    files: Annotated[
        list[Path], typer.Argument(help="Sources and references of one test set: NIST's SGML, WMT's XML.")
    ],
    output: Annotated[Path, typer.Option("--output", help="Prefix of the files to write, e.g. raw/MT06.")],
    source: Annotated[str, typer.Option(help="Ending of the file of sources, e.g. zh.")],
    target: Annotated[str, typer.Option(help="Ending of a reference, followed by .0, .1, ... if there are several.")],
    encoding: Annotated[
        str | None,
        typer.Option(help="Of all files; default: what they declare, else UTF-8, else, for Chinese, GB 18030."),
    ] = None,
    reference_encoding: Annotated[
        str | None, typer.Option(help="Of files that hold references alone; default: as all files.")
    ] = None,
    reference: Annotated[
        list[str] | None,
        typer.Option(help="sysid or translator of a reference to take; may be repeated; default: all."),
    ] = None,
) -> None:
    """Turn a test set of NIST or WMT into text, one segment a line, in the order of its source.

    --reference takes some of the references alone, e.g. one translator of WMT's who translated all documents.
    """
    from weightdistill.files import writing
    from weightdistill.text.sgm import read

    sets = [found for file in files for found in read(file, encoding, reference_encoding)]
    sources, references = ([found for found in sets if found.kind == kind] for kind in ("source", "reference"))
    known = [found.system for found in references]
    if unknown := set(reference or ()) - set(known):
        raise DistillationError(f"--reference must be one of {', '.join(known)}, but is {', '.join(sorted(unknown))}")
    references = [found for found in references if not reference or found.system in reference]
    if len(sources) > 1:
        raise DistillationError(
            f"a test set must have one source, but {len(sources)} are in {', '.join(map(str, files))}"
        )
    order = (sources or references or sets)[0]
    endings = [target] if len(references) == 1 else [f"{target}.{number}" for number in range(len(references))]
    texts = {f"{output}.{ending}": found for ending, found in zip(endings, references, strict=True)}
    texts |= {f"{output}.{source}": found for found in sources}
    if not texts:
        raise DistillationError(f"{', '.join(map(str, files))} must hold a srcset or a refset, but has {order}")
    lines = {path: found.lines(order) for path, found in texts.items()}
    for found in texts.values():
        found.require_text()
    for path, found in texts.items():
        with writing(Path(path)) as temporary:
            temporary.write_text("".join(f"{line}\n" for line in lines[path]), encoding="utf-8")
        typer.echo(f"wrote {path}: {found}, {len(found)} segments in {len(found.documents)} documents")


@app.command()
def write_sgm(
    translations: Annotated[Path, typer.Argument(help="A line for each segment of the source.")],
    source: Annotated[Path, typer.Option("--source", help="The test set's source, in SGML or XML.")],
    output: Annotated[Path, typer.Option("--output", help="The tstset to write.")],
    system: Annotated[str, typer.Option(help="Name of the system that translated.")],
    language: Annotated[str, typer.Option(help="Target language as the test set names it, e.g. English.")],
    encoding: Annotated[
        str | None,
        typer.Option(help="Of the source; default: what it declares, else UTF-8, else, for Chinese, GB 18030."),
    ] = None,
) -> None:
    """Write translations as a tstset, which NIST's scorers read."""
    from weightdistill.files import read_lines
    from weightdistill.text.sgm import read, write_translation

    sources = [found for found in read(source, encoding) if found.kind == "source"]
    if len(sources) != 1:
        raise DistillationError(f"{source} must hold one srcset, but has {len(sources)}")
    write_translation(output, read_lines(translations), sources[0], system, language)
    typer.echo(f"wrote {output}: {len(sources[0])} segments")
