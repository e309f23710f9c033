"""Commands for parallel text and test sets, before any model reads them."""

from pathlib import Path
from typing import Annotated

import typer

from fairseq_plugins.commands.options import Json, write_json
from weightdistill.places import STANDARD_INPUT, require_separate
from weightdistill.text import corpus, ldc, testsets, tmx

app = typer.Typer()


@app.command()
def clean(
    source: Annotated[
        Path, typer.Option("--source", help="Source side of parallel text, one sentence per line; may end in .gz.")
    ],
    target: Annotated[Path, typer.Option("--target", help="Target side, likewise.")],
    output_source: Annotated[Path, typer.Option("--output-source", help="File to write.")],
    output_target: Annotated[Path, typer.Option("--output-target", help="File to write.")],
    max_length: Annotated[int, typer.Option(help="Most words of either side; 0: no limit.")] = 0,
    max_ratio: Annotated[float, typer.Option(help="Largest ratio of the two lengths; 0: no limit.")] = 0.0,
    deduplicate: Annotated[bool, typer.Option("--deduplicate", help="Keep only the first of equal pairs.")] = False,
    drop_empty: Annotated[
        bool, typer.Option("--drop-empty", help="Leave out pairs with an empty side; by default they are an error.")
    ] = False,
    json_file: Json = None,
) -> None:
    """Check parallel text line by line, and leave out pairs that are unfit for training."""
    require_separate(
        {"--output-source": output_source, "--output-target": output_target, "--json": json_file},
        {"--source": source, "--target": target},
    )
    settings = corpus.CleanSettings(max_length, max_ratio, deduplicate, drop_empty)
    counts = corpus.clean(source, target, output_source, output_target, settings)
    typer.echo(f"{source}, {target}: {counts}")
    write_json(json_file, counts.as_dict())


@app.command()
def read_tmx(
    memory: Annotated[Path, typer.Argument(help="Translation memory, .tmx or .tmx.gz.")],
    output: Annotated[Path, typer.Option("--output", help="Prefix of the two files to write.")],
    source: Annotated[str, typer.Option(help="Source language, and suffix of its file.")],
    target: Annotated[str, typer.Option(help="Target language, and suffix of its file.")],
) -> None:
    """Convert a translation memory to parallel text."""
    counts = tmx.convert_tmx(memory, source, target, output)
    typer.echo(
        f"wrote {output}.{source} and {output}.{target}: {counts.pairs} pairs; left out: {counts.one_sided} units "
        f"without both languages, {counts.variants} further variants of a language"
    )


@app.command()
def read_ldc(
    table: Annotated[
        typer.FileBinaryRead,
        typer.Argument(
            help="Table of the corpus's files; - for standard input. Each line names a source file and a target file "
            "(SGML documents, .sgm, or one sentence per line) and optionally an alignment file, separated by tabs. "
            "Without an alignment, segments with equal ids belong together.",
        ),
    ],
    output: Annotated[Path, typer.Option("--output", help="Prefix of the two files to write.")],
    source: Annotated[str, typer.Option(help="Code of the source language, and suffix of its file.")],
    target: Annotated[str, typer.Option(help="Code of the target language, and suffix of its file.")],
    encoding: Annotated[
        str | None,
        typer.Option(help="Encoding of the source; default: the declared one, else UTF-8, else, for SGML, GB 18030."),
    ] = None,
    target_encoding: Annotated[str, typer.Option(help="Encoding of the target.")] = "utf-8",
) -> None:
    """Convert a parallel corpus of the LDC (lines, or SGML with or without an alignment) to text."""

    def report(part: ldc.CorpusFiles, text: ldc.AlignedText) -> None:
        typer.echo(
            f"{part.source}: {len(text.pairs)} pairs; left out: {text.one_sided} links without a translation, "
            f"{text.missing} links to missing segments"
        )

    parts = ldc.read_table(table, table.name)
    outputs = {"--source": Path(f"{output}.{source}"), "--target": Path(f"{output}.{target}")}
    require_separate(outputs, {"the table": STANDARD_INPUT if table.name == "<stdin>" else Path(table.name)})
    count = ldc.convert_corpus(
        parts, source, target, output, encoding=encoding, target_encoding=target_encoding, report=report
    )
    typer.echo(f"wrote {output}.{source} and {output}.{target}: {count} pairs from {len(parts)} parts")


@app.command()
def read_sgm(
    files: Annotated[
        list[Path], typer.Argument(help="Source and references of one test set: NIST's SGML or WMT's XML.")
    ],
    output: Annotated[Path, typer.Option("--output", help="Prefix of the files to write, e.g. raw/MT06.")],
    source: Annotated[str, typer.Option(help="Suffix of the file of sources, e.g. zh.")],
    target: Annotated[
        str, typer.Option(help="Suffix of the reference; several references get .0, .1 and so on after it.")
    ],
    encoding: Annotated[
        str | None,
        typer.Option(help="Encoding of all files; default: the declared one, else UTF-8, else, for Chinese, GB 18030."),
    ] = None,
    reference_encoding: Annotated[
        str | None, typer.Option(help="Encoding of files that hold only references; default: as all files.")
    ] = None,
    reference: Annotated[
        list[str] | None,
        typer.Option(help="sysid or translator of a reference to write; may be repeated; default: all."),
    ] = None,
) -> None:
    """Convert a test set of NIST or WMT to text, one segment per line, in the order of its source.

    --reference selects references, e.g. the one translator of WMT's who translated all documents.
    """
    written = testsets.convert_test_set(
        files,
        source,
        target,
        output,
        encoding=encoding,
        reference_encoding=reference_encoding,
        references=reference or (),
    )
    for path, text_set in written.items():
        typer.echo(f"wrote {path}: {text_set}, {len(text_set)} segments in {len(text_set.documents)} documents")


@app.command()
def write_sgm(
    translations: Annotated[Path, typer.Argument(help="One line for each segment of the source.")],
    source: Annotated[Path, typer.Option("--source", help="Source of the test set, in SGML or XML.")],
    output: Annotated[Path, typer.Option("--output", help="The tstset to write.")],
    system: Annotated[str, typer.Option(help="Name of the system that translated.")],
    language: Annotated[str, typer.Option(help="Target language as the test set names it, e.g. English.")],
    encoding: Annotated[
        str | None,
        typer.Option(
            help="Encoding of the source; default: the declared one, else UTF-8, else, for Chinese, GB 18030."
        ),
    ] = None,
) -> None:
    """Write translations as a tstset for NIST's scorers."""
    source_set = testsets.convert_translations(translations, source, output, system, language, encoding)
    typer.echo(f"wrote {output}: {len(source_set)} segments")
