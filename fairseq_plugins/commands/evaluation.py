"""Commands that measure: scores of translations, speed of decoding, cost of training."""

from pathlib import Path
from typing import Annotated

import typer

from fairseq_plugins.commands.options import (
    Beam,
    Data,
    Input,
    Json,
    LengthPenalty,
    Threads,
    open_model,
    progress_bar,
    write_json,
)
from weightdistill.errors import DistillationError

app = typer.Typer()


@app.command()
def evaluate(
    hypotheses: Annotated[list[Path], typer.Argument(help="Detokenised translations, one file per system.")],
    reference: Annotated[list[Path], typer.Option("--reference", help="Detokenised reference; may be repeated.")],
    metric: Annotated[
        list[str] | None,
        typer.Option(help="bleu, chrf, chrf++, ter or comet; may be repeated; default: bleu and chrf."),
    ] = None,
    lowercase: Annotated[bool, typer.Option("--lowercase", help="Ignore case.")] = False,
    tokenize: Annotated[str, typer.Option(help="BLEU's tokeniser: one of sacrebleu's, or moses:LANG.")] = "13a",
    smooth: Annotated[str, typer.Option(help="BLEU's smoothing; none corresponds to multi-bleu.perl.")] = "exp",
    bootstrap: Annotated[
        int, typer.Option(min=0, help="Resamples of the paired bootstrap test against the first system.")
    ] = 0,
    randomisation: Annotated[
        int, typer.Option(min=0, help="Trials of approximate randomisation against the first system, instead.")
    ] = 0,
    comet: Annotated[Path | None, typer.Option(help="Checkpoint of the model for --metric comet.")] = None,
    source: Annotated[Path | None, typer.Option("--source", help="Source text, for COMET.")] = None,
    json_file: Json = None,
) -> None:
    """Score translations with sacrebleu or COMET."""
    if bootstrap and randomisation:
        raise DistillationError("--bootstrap and --randomisation exclude each other; choose one of the two tests")
    from weightdistill.evaluation.scores import Settings, evaluate_files

    settings = Settings(
        metrics=tuple(metric or ("bleu", "chrf")),
        lowercase=lowercase,
        tokenize=tokenize,
        smooth=smooth,
        resamples=bootstrap or randomisation,
        test="randomisation" if randomisation else "bootstrap",
        comet=comet,
    )
    with progress_bar("test", settings.steps(len(hypotheses)), desc=settings.test, delay=2) as bar:
        result = evaluate_files(hypotheses, reference, settings, source=source, progress=bar.update)
    typer.echo(result.table())
    write_json(json_file, result.as_dict())


@app.command()
def benchmark(
    models: Annotated[list[Path], typer.Argument(help="fairseq checkpoints and CTranslate2 folders.")],
    source: Input,
    data: Data = None,
    beam: Beam = 4,
    length_penalty: LengthPenalty = 1.0,
    batch_size: Annotated[
        list[int] | None, typer.Option(min=1, help="Sentences per batch; may be repeated; default: 1 and 64.")
    ] = None,
    repetitions: Annotated[int, typer.Option(min=1, help="Measurements of each model and batch size.")] = 3,
    sentences: Annotated[int | None, typer.Option(min=1, help="Use only the first N sentences; default: all.")] = None,
    threads: Annotated[
        int | None, typer.Option("--threads", min=1, help="CPU threads of every model; default: torch's own number.")
    ] = None,
    json_file: Json = None,
) -> None:
    """Time the decoding of several models in turn; ratios are relative to the first."""
    from weightdistill.decoding.benchmark import benchmark_decoding
    from weightdistill.decoding.translation import read_pieces

    pieces = read_pieces(source)[:sentences]
    import torch

    threads = threads or torch.get_num_threads()
    engines = [open_model(model, data, threads) for model in models]
    sizes = batch_size or [1, 64]
    with progress_bar("run", len(sizes) * repetitions * len(engines)) as bar:
        result = benchmark_decoding(
            engines,
            pieces,
            batch_sizes=sizes,
            beam=beam,
            length_penalty=length_penalty,
            repetitions=repetitions,
            threads=threads,
            progress=bar.update,
        )
    typer.echo(result.table())
    write_json(json_file, result.as_dict())


@app.command()
def benchmark_training(
    teacher_preset: Annotated[str, typer.Option(help="Shape of the random teacher: base, big or deep.")] = "base",
    student_preset: Annotated[str, typer.Option(help="Student: tiny or small.")] = "tiny",
    width: Annotated[int | None, typer.Option(min=1, help="Width that replaces the preset's.")] = None,
    generator: Annotated[str, typer.Option(help="Bundle of generator options: default, paper or authors.")] = "default",
    tokens: Annotated[int, typer.Option(min=1, help="Target tokens per batch.")] = 4096,
    vocabulary: Annotated[int, typer.Option(min=8, help="Entries of the dictionary.")] = 32000,
    repetitions: Annotated[int, typer.Option(min=1, help="Timed updates of each model.")] = 5,
    bf16: Annotated[bool, typer.Option("--bf16", help="Use bf16 autocast.")] = False,
    threads: Threads = None,
    json_file: Json = None,
) -> None:
    """Time updates of phase 1 and of distillation against plain updates of the same student, on random data."""
    from fairseq_plugins import training_benchmark

    with progress_bar("update", len(training_benchmark.UPDATES) * (1 + repetitions)) as bar:
        result = training_benchmark.benchmark_training(
            teacher_preset=teacher_preset,
            student_preset=student_preset,
            width=width,
            generator=generator,
            tokens=tokens,
            vocabulary=vocabulary,
            repetitions=repetitions,
            bf16=bf16,
            threads=threads,
            progress=bar.update,
        )
    typer.echo(result.table())
    write_json(json_file, result.as_dict())
