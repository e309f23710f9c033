"""Commands that store what a teacher predicts, so that students train without running it."""

from pathlib import Path
from typing import Annotated, Any

import typer

from fairseq_plugins.commands.options import (
    BatchTokens,
    Beam,
    Data,
    LengthPenalty,
    Threads,
    open_model,
    progress_bar,
)
from weightdistill.errors import DistillationError

app = typer.Typer()


@app.command()
def translate_corpus(
    model: Annotated[Path, typer.Argument(help="The teacher: a CTranslate2 folder (fast) or a fairseq checkpoint.")],
    source: Annotated[Path, typer.Option("--source", help="Training sources in pieces, one sentence per line.")],
    output: Annotated[Path, typer.Option("--output", help="Receives shards/, source, target and distilled.json.")],
    data: Data = None,
    reference: Annotated[Path | None, typer.Option(help="Their references in pieces, for --select and --real.")] = None,
    sources: Annotated[
        Path | None, typer.Option(help="Further sources in pieces, without references; gzipped if it ends in .gz.")
    ] = None,
    shards: Annotated[
        int, typer.Option(min=1, help="Parts of the corpus; an interrupted run loses at most one part.")
    ] = 16,
    only: Annotated[int | None, typer.Option(min=0, help="Decode only this shard, counted from 0.")] = None,
    beam: Beam = 5,
    n_best: Annotated[int, typer.Option(min=1, help="Hypotheses to select from.")] = 1,
    length_penalty: LengthPenalty = 1.0,
    samples: Annotated[
        int | None, typer.Option(min=1, help="Translations per source, sampled instead of searched for.")
    ] = None,
    sampling_top_k: Annotated[
        int | None, typer.Option(min=0, help="Sample among so many likeliest pieces; 0: all. Default: 10.")
    ] = None,
    sampling_temperature: Annotated[
        float | None, typer.Option(help="Divides the logits; below 1: likelier samples. Default: 1.")
    ] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Of the samples. Default: 1.")] = None,
    batch_tokens: BatchTokens = 4096,
    select: Annotated[
        str | None,
        typer.Option(
            help="Select one by score or by similarity to the reference (bleu, chrf), or all. "
            "Default: score, or all with --samples."
        ),
    ] = None,
    max_ratio: Annotated[float, typer.Option(help="Largest ratio of the two lengths in pieces; 0: no limit.")] = 0.0,
    keep_copies: Annotated[bool, typer.Option("--keep-copies", help="Keep translations equal to the source.")] = False,
    real: Annotated[int, typer.Option(min=0, help="Number of copies of the real pairs in the result.")] = 0,
    distilled: Annotated[int, typer.Option(min=0, help="Number of copies of the distilled pairs.")] = 1,
    threads: Threads = None,
) -> None:
    """Make the corpus of sequence-level distillation: the teacher translates the training sources, and more text."""
    from weightdistill.decoding.engines import Sampling, Search
    from weightdistill.distillation.sequence_level import FilterSettings, Mixture, SequenceDistillation

    options = {"top_k": sampling_top_k, "temperature": sampling_temperature, "seed": seed}
    given: dict[str, Any] = {name: value for name, value in options.items() if value is not None}
    if given and samples is None:
        raise DistillationError("--sampling-top-k, --sampling-temperature and --seed need sampling; give --samples")
    sampling = None if samples is None else Sampling(samples, **given)
    distillation = SequenceDistillation(
        model,
        source,
        output,
        reference=reference,
        monolingual=sources,
        search=Search(beam, n_best, length_penalty, batch_tokens, sampling=sampling),
        filters=FilterSettings(select or ("all" if sampling else "score"), max_ratio, keep_copies),
        mixture=Mixture(real, distilled),
        shards=shards,
        only=only,
    )
    engine = open_model(model, data, threads, same_words=True, vocabulary_map=False)
    with progress_bar("sentence", len(distillation)) as bar:
        distillation.decode(engine, bar.update)
    if only is None:
        typer.echo(distillation.write())
        typer.echo(_next_step(output, data))
    else:
        typer.echo(f"wrote {distillation.paths[only]}")


def _next_step(output: Path, data: Path | None) -> str:
    """Say how text becomes a folder that fairseq-train can read."""
    folder, source, target = "DATA", "SOURCE", "TARGET"
    if data is not None:
        from fairseq.data.data_utils import infer_language_pair

        folder, (source, target) = str(data), infer_language_pair(str(data))
    return (
        f"next: mv {output}/source {output}/train.{source}; mv {output}/target {output}/train.{target}; "
        f"fairseq-preprocess --source-lang {source} --target-lang {target} --trainpref {output}/train "
        f"--srcdict {folder}/dict.{source}.txt --tgtdict {folder}/dict.{target}.txt --destdir {output}/data-bin; "
        f"cp {folder}/valid.* {output}/data-bin (scripts/translate.sh does all this)"
    )


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
