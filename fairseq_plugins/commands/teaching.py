"""Commands that store what a teacher predicts, so that students train without running it."""

from pathlib import Path
from typing import Annotated

import typer

from fairseq_plugins.commands.options import (
    BatchTokens,
    Beam,
    Data,
    LengthPenalty,
    Threads,
    open_model,
    progress_bar,
    quiet_fairseq,
)

app = typer.Typer()


@app.command()
def distill(
    model: Annotated[Path, typer.Argument(help="The teacher: a CTranslate2 folder (fast) or a fairseq checkpoint.")],
    source: Annotated[Path, typer.Option("--source", help="Training sources in pieces, one sentence per line.")],
    output: Annotated[Path, typer.Option("--output", help="Receives shards/, source, target and distilled.json.")],
    data: Data = None,
    reference: Annotated[Path | None, typer.Option(help="Their references in pieces, for --select and --real.")] = None,
    shards: Annotated[
        int, typer.Option(min=1, help="Parts of the corpus; an interrupted run loses at most one part.")
    ] = 16,
    only: Annotated[int | None, typer.Option(min=0, help="Decode only this shard, counted from 0.")] = None,
    beam: Beam = 5,
    n_best: Annotated[int, typer.Option(min=1, help="Hypotheses to select from.")] = 1,
    length_penalty: LengthPenalty = 1.0,
    batch_tokens: BatchTokens = 4096,
    select: Annotated[
        str, typer.Option(help="Select by score, or by similarity to the reference: bleu or chrf.")
    ] = "score",
    max_ratio: Annotated[float, typer.Option(help="Largest ratio of the two lengths in pieces; 0: no limit.")] = 0.0,
    keep_copies: Annotated[bool, typer.Option("--keep-copies", help="Keep translations equal to the source.")] = False,
    real: Annotated[int, typer.Option(min=0, help="Number of copies of the real pairs in the result.")] = 0,
    distilled: Annotated[int, typer.Option(min=0, help="Number of copies of the distilled pairs.")] = 1,
    threads: Threads = None,
) -> None:
    """Make the corpus of sequence-level distillation: the teacher translates the training sources."""
    from weightdistill.decoding.engines import Search
    from weightdistill.distillation.sequence_level import FilterSettings, Mixture, SequenceDistillation

    distillation = SequenceDistillation(
        model,
        source,
        output,
        reference=reference,
        search=Search(beam, n_best, length_penalty, batch_tokens),
        filters=FilterSettings(select, max_ratio, keep_copies),
        mixture=Mixture(real, distilled),
        shards=shards,
        only=only,
    )
    engine = open_model(model, data, threads, same_words=True)
    with progress_bar("sentence", len(distillation)) as bar:
        distillation.decode(engine, bar.update)
    if only is None:
        typer.echo(distillation.write())
    else:
        typer.echo(f"wrote {distillation.paths[only]}")


@app.command()
def cache_teacher(
    teacher: Annotated[str, typer.Argument(help="The teacher's checkpoint; several, comma-separated, are averaged.")],
    output: Annotated[Path, typer.Option("--output", help="Folder that receives one folder per subset.")],
    data: Data = None,
    subset: Annotated[list[str] | None, typer.Option(help="May be repeated; default: train and valid.")] = None,
    top_k: Annotated[int, typer.Option(min=1, help="Tokens kept per position.")] = 64,
    temperature: Annotated[float, typer.Option(help="Softens the distributions; as in the training to come.")] = 1.0,
    batch_tokens: Annotated[int, typer.Option(min=1, help="Padded tokens per batch.")] = 4096,
    shard_sentences: Annotated[int, typer.Option(min=1, help="Sentences per file.")] = 50_000,
) -> None:
    """Write a teacher's predictions for the training data, so that students train without it (--teacher-cache)."""
    quiet_fairseq()
    from fairseq_plugins import caching

    for name in subset or ["train", "valid"]:
        with progress_bar("sentence", desc=name) as bar:
            cache = caching.cache_teacher(
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
        typer.echo(cache)
