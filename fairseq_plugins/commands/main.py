"""The command line: `weightdistill COMMAND`; `weightdistill --help` lists the commands.

Only reads options and prints; each command imports what it needs when it runs, so that `--help` is quick.
"""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fairseq_plugins.commands import measuring, text
from fairseq_plugins.commands.options import Data, Input, LengthPenalty, Threads, open_model, quiet_fairseq, read_pieces
from fairseq_plugins.commands.results import require_writable
from weightdistill.errors import DistillationError

if TYPE_CHECKING:
    from collections.abc import Iterable


app = typer.Typer(
    name="weightdistill",
    help="Weight distillation of fairseq Transformers: export, look into, translate with, score and time students.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

app.add_typer(text.app)
app.add_typer(measuring.app)

# Sentences between two steps of the progress bar; sorting them by length happens within.
_CHUNK = 512


@app.command()
def export(
    checkpoint: Annotated[Path, typer.Argument(help="Checkpoint of phase 1, or of a plain transformer.")],
    output: Annotated[Path, typer.Option("--output", help="Plain fairseq checkpoint to write.")],
    data: Data = None,
    subset: Annotated[str, typer.Option(help="Subset whose batches prove that the export is equal.")] = "valid",
    batches: Annotated[int, typer.Option(min=1, help="Number of those batches.")] = 8,
    ctranslate2: Annotated[Path | None, typer.Option(help="CTranslate2 folder to write, too.")] = None,
    quantization: Annotated[
        str | None, typer.Option(help="Number format of the CTranslate2 model, e.g. int8; default: as it is.")
    ] = None,
    safetensors: Annotated[Path | None, typer.Option(help="File of weights to write, too.")] = None,
    teacher: Annotated[Path | None, typer.Option(help="The teacher of a phase-1 checkpoint, if it has moved.")] = None,
) -> None:
    """Write a checkpoint that stock fairseq loads, and prove on real batches that it gives the same logits."""
    if quantization is not None and ctranslate2 is None:
        raise DistillationError("--quantization is about the CTranslate2 model; name its folder with --ctranslate2")
    from fairseq_plugins.export import export as run

    report = run(
        checkpoint,
        output,
        data=data,
        subset=subset,
        batches=batches,
        ctranslate2=ctranslate2,
        quantization=quantization,
        safetensors=safetensors,
        teacher=teacher,
    )
    typer.echo(f"{report.parameters:,} parameters; largest difference of a logit {report.largest_difference:.1e}")
    for file in report.files:
        typer.echo(f"wrote {file}")


@app.command()
def inspect(checkpoint: Annotated[Path, typer.Argument(help="Any fairseq Transformer checkpoint.")]) -> None:
    """Show a checkpoint's parameters by class, its shapes, and of phase 1 the teacher and the learned W_L."""
    from fairseq_plugins.inspection import describe

    typer.echo(describe(checkpoint))


@app.command()
def translate(
    model: Annotated[Path, typer.Argument(help="fairseq checkpoint, or CTranslate2 folder.")],
    source: Input,
    output: Annotated[Path, typer.Option("--output", help="Translated pieces, one sentence a line.")],
    data: Data = None,
    beam: Annotated[int, typer.Option(min=1, help="Hypotheses kept at each step.")] = 5,
    length_penalty: LengthPenalty = 1.0,
    batch_tokens: Annotated[int, typer.Option(min=1, help="Padded source tokens decoded together.")] = 4096,
    threads: Threads = None,
) -> None:
    """Translate a file of subword pieces; an empty line stays empty."""
    require_writable(output)
    sentences = read_pieces(source)
    from tqdm import tqdm

    from weightdistill.decoding.engines import Search
    from weightdistill.decoding.engines import translate as best
    from weightdistill.files import writing

    settings = Search(beam, length_penalty=length_penalty, batch_size=batch_tokens)
    engine = open_model(model, data, threads)
    with writing(output) as temporary:
        count = 0
        with (
            temporary.open("w", encoding="utf-8", newline="\n") as file,
            tqdm(total=len(sentences), unit="sentence", disable=None) as bar,
        ):
            for start in range(0, len(sentences), _CHUNK):
                chunk = sentences[start : start + _CHUNK]
                for pieces in best(engine, chunk, settings):
                    file.write(" ".join(pieces) + "\n")
                    count += 1
                bar.update(len(chunk))
        if count != len(sentences):
            raise DistillationError(f"{source} has {len(sentences)} sentences, but {count} were translated")
    typer.echo(f"wrote {output}: {count} sentences")


@app.command()
def distill(
    model: Annotated[Path, typer.Argument(help="The teacher: a CTranslate2 folder (fast), or a fairseq checkpoint.")],
    source: Annotated[Path, typer.Option("--source", help="Training sources in pieces, one sentence a line.")],
    output: Annotated[Path, typer.Option("--output", help="Receives shards/, source, target and distilled.json.")],
    data: Data = None,
    reference: Annotated[Path | None, typer.Option(help="Their references in pieces, for --select and --real.")] = None,
    shards: Annotated[
        int, typer.Option(min=1, help="Parts of the sources that are decoded one by one; a kill loses one.")
    ] = 16,
    only: Annotated[int | None, typer.Option(min=0, help="Decode this shard alone, counted from 0.")] = None,
    beam: Annotated[int, typer.Option(min=1, help="Hypotheses kept at each step.")] = 5,
    n_best: Annotated[int, typer.Option(min=1, help="Hypotheses to select from.")] = 1,
    length_penalty: LengthPenalty = 1.0,
    batch_tokens: Annotated[int, typer.Option(min=1, help="Padded source tokens decoded together.")] = 4096,
    select: Annotated[
        str, typer.Option(help="Choose by score, or nearest to the reference by bleu or chrf.")
    ] = "score",
    max_ratio: Annotated[float, typer.Option(help="Largest ratio of lengths in pieces, either way; 0: any.")] = 0.0,
    keep_copies: Annotated[bool, typer.Option("--keep-copies", help="Keep translations equal to the source.")] = False,
    real: Annotated[int, typer.Option(min=0, help="How many times the real pairs are in the result.")] = 0,
    distilled: Annotated[int, typer.Option(min=0, help="How many times the distilled ones are.")] = 1,
    threads: Threads = None,
) -> None:
    """Make the corpus of sequence-level distillation: the teacher translates the training sources."""
    from tqdm import tqdm

    from weightdistill.decoding.engines import Search
    from weightdistill.distillation import sequence_level as sequences
    from weightdistill.files import fingerprint, read_lines

    filters, mixture = sequences.FilterSettings(select, max_ratio, keep_copies), sequences.Mixture(real, distilled)
    settings = Search(beam, n_best, length_penalty, batch_tokens)
    require_writable(output / "distilled.json")
    sources = sequences.PieceLines(read_lines(source))
    # one shard alone needs none
    references = None if reference is None or only is not None else sequences.PieceLines(read_lines(reference))
    if references is not None and len(references) != len(sources):
        raise DistillationError(
            f"{source} and {reference} must have the same number of lines, but have {len(sources)} and "
            f"{len(references)}"
        )
    if select != "score" and n_best == 1:
        raise DistillationError(f"--select {select} chooses among several; give --n-best, or leave it out")
    if reference is None and (real or select != "score"):
        raise DistillationError("--real and --select need the references; name their file with --reference")
    paths = [output / "shards" / f"{number}-of-{shards}.jsonl" for number in range(shards)]
    parts = {number: sequences.shard_of(len(sources), number, shards) for number in _chosen(only, shards)}
    provenance = sequences.source_provenance(source, model, "ctranslate2" if model.is_dir() else "fairseq")
    if data is not None:
        quiet_fairseq()
        from fairseq_plugins.engine import require_words

        require_words(model, data)
    engine = open_model(model, data, threads)
    with tqdm(total=sum(map(len, parts.values())), unit="sentence", disable=None) as bar:
        for number, lines in parts.items():
            own = {**provenance, "lines": [lines.start, lines.stop]}
            sequences.decode_shard(engine, sources[lines.start : lines.stop], paths[number], settings, own, bar.update)
    if only is not None:
        typer.echo(f"wrote {paths[only]}")
        return
    more = {} if reference is None else {"reference_sha256": fingerprint(reference)}
    corpus = sequences.write_corpus(paths, output, sources, references, filters, mixture, more)
    reasons = ", ".join(f"{count} {reason}" for reason, count in corpus.counts().items())
    typer.echo(f"{len(corpus.pairs)} of {corpus.sentences} sentences translated; left out: {reasons}")


@app.command()
def cache_teacher(
    teacher: Annotated[str, typer.Argument(help="Its checkpoint; several, comma-separated, are averaged.")],
    output: Annotated[Path, typer.Option("--output", help="Folder that receives a folder for each subset.")],
    data: Data = None,
    subset: Annotated[list[str] | None, typer.Option(help="May be repeated; default: train and valid.")] = None,
    top_k: Annotated[int, typer.Option(min=1, help="Words kept for each target token.")] = 64,
    temperature: Annotated[float, typer.Option(help="Softens the distributions; that of the training to come.")] = 1.0,
    batch_tokens: Annotated[int, typer.Option(min=1, help="Padded tokens predicted together.")] = 4096,
    shard_sentences: Annotated[int, typer.Option(min=1, help="Sentences in a file.")] = 50_000,
) -> None:
    """Write a teacher's predictions for the training data, so that students train without it (--teacher-cache)."""
    quiet_fairseq()
    from tqdm import tqdm

    from fairseq_plugins.caching import cache_teacher as run

    for name in subset or ["train", "valid"]:
        with tqdm(desc=name, unit="sentence", disable=None) as bar:
            cache = run(
                teacher,
                output / name,
                data=data,
                subset=name,
                top_k=top_k,
                temperature=temperature,
                batch_tokens=batch_tokens,
                shard_sentences=shard_sentences,
                progress=bar.update,
            )
        size = sum(file["bytes"] for shard in cache.settings["shards"] for file in shard["files"].values())
        tokens = sum(shard["tokens"] for shard in cache.settings["shards"])
        typer.echo(
            f"{output / name}: {len(cache)} sentences, {tokens} tokens, {size / max(1, tokens):.0f} bytes a token"
        )


def main() -> None:
    """Run the command line; unusable input ends with one line on standard error and exit code 2."""
    try:
        app()
    except DistillationError as error:
        print(f"weightdistill: error: {' '.join(str(error).split())}", file=sys.stderr)
        sys.exit(2)


def _chosen(only: int | None, shards: int) -> "Iterable[int]":
    return range(shards) if only is None else [only]


if __name__ == "__main__":
    main()
