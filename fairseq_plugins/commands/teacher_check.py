"""The command that checks a teacher before hours are spent on its students."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from fairseq_plugins.commands.options import (
    BatchTokens,
    Beam,
    Data,
    Json,
    LengthPenalty,
    Threads,
    open_model,
    progress_bar,
    write_json,
)

app = typer.Typer()


@app.command()
def check_teacher(
    models: Annotated[list[Path], typer.Argument(help="The teacher: a checkpoint, or CTranslate2 folder; or several.")],
    text: Annotated[Path, typer.Option("--text", help="text.json, which says how raw text becomes its pieces.")],
    source: Annotated[Path, typer.Option("--source", help="Source side of the validation set, raw text.")],
    reference: Annotated[Path, typer.Option("--reference", help="Its target side, raw text.")],
    data: Data = None,
    least_bleu: Annotated[float, typer.Option("--least-bleu", help="Stop below this BLEU.")] = 5.0,
    force: Annotated[bool, typer.Option("--force", help="Go on below it, too.")] = False,
    beam: Beam = 5,
    length_penalty: LengthPenalty = 1.0,
    batch_tokens: BatchTokens = 4096,
    threads: Threads = None,
    json_file: Json = None,
) -> None:
    """Check that a teacher can teach: its kind, direction and vocabulary, and its BLEU on a validation set."""
    from weightdistill.decoding.engines import Search
    from weightdistill.experiment.binarised import dictionaries
    from weightdistill.files import read_lines
    from weightdistill.places import require_separate
    from weightdistill.text.processing import TextProcessing

    require_separate(
        {"--json": json_file},
        {
            "the teacher": models,
            "--text": text,
            "--source": source,
            "--reference": reference,
            "--data": dictionaries(data),
        },
    )
    processing = TextProcessing.read(text)
    sources, references = read_lines(source), read_lines(reference)
    from fairseq_plugins.teacher_check import inspect_teachers, require_aligned, require_sane, score_translations

    require_aligned(sources, references)
    if checkpoints := [model for model in models if not model.is_dir()]:
        described = inspect_teachers(checkpoints, processing.source.language, processing.target.language, data)
        typer.echo(
            f"{described.source}-{described.target}, {described.parameters:,} parameters, dictionaries in "
            f"{described.dictionaries}"
        )
    search = Search(beam, length_penalty=length_penalty, batch_size=batch_tokens)
    scores = {}
    for model in models:
        engine = open_model(model, data, threads)
        with progress_bar("sentence", len(sources)) as bar:
            scores[str(model)] = score_translations(engine, processing, sources, references, search, bar.update)
        typer.echo(f"{model}: {scores[str(model)].score:.1f} BLEU on {len(sources)} sentences")
    typer.echo(f"signature: {next(iter(scores.values())).signature}")
    systems = [{"name": name, "bleu": asdict(score)} for name, score in scores.items()]
    write_json(json_file, {"sentences": len(sources), "least_bleu": least_bleu, "systems": systems})
    for name, score in scores.items():
        require_sane(score.score, least_bleu, name, force=force)
