"""The commands of `weightdistill` that measure: scores, speeds, and what an experiment will cost."""

import json
from pathlib import Path
from typing import Annotated

import typer

from fairseq_plugins.commands.options import Data, Input, LengthPenalty, Threads, open_model, quiet_fairseq, read_pieces
from fairseq_plugins.commands.results import Json, require_writable, write_json
from weightdistill.errors import DistillationError

app = typer.Typer()


@app.command()
def evaluate(
    hypotheses: Annotated[list[Path], typer.Argument(help="Detokenised translations, a file a system.")],
    reference: Annotated[list[Path], typer.Option("--reference", help="Detokenised reference; may be repeated.")],
    metric: Annotated[
        list[str] | None,
        typer.Option(help="bleu, chrf, chrf++, ter or comet; may be repeated; default: bleu and chrf."),
    ] = None,
    lowercase: Annotated[bool, typer.Option("--lowercase", help="Ignore case.")] = False,
    tokenize: Annotated[str, typer.Option(help="BLEU's tokeniser: sacrebleu's name, or moses:LANG.")] = "13a",
    smooth: Annotated[str, typer.Option(help="BLEU's smoothing; none is that of multi-bleu.perl.")] = "exp",
    bootstrap: Annotated[int, typer.Option(min=0, help="Resamples of the paired bootstrap against the first.")] = 0,
    randomisation: Annotated[
        int, typer.Option(min=0, help="Trials of approximate randomisation against the first, instead.")
    ] = 0,
    comet: Annotated[Path | None, typer.Option(help="Checkpoint of the model for --metric comet.")] = None,
    source: Annotated[Path | None, typer.Option("--source", help="What was translated, for COMET.")] = None,
    json_file: Json = None,
) -> None:
    """Score translations with sacrebleu, or COMET."""
    if bootstrap and randomisation:
        raise DistillationError("--bootstrap and --randomisation are two tests; choose one")
    from tqdm import tqdm

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
    require_writable(json_file)
    steps = max(1, len(hypotheses) - 1) * len([name for name in settings.metrics if name != "comet"])
    with tqdm(total=steps, desc=settings.test, unit="test", disable=None, delay=2) as bar:
        result = evaluate_files(hypotheses, reference, settings, source=source, progress=bar.update)
    typer.echo(result.table())
    write_json(json_file, result.as_dict())


@app.command()
def benchmark(
    models: Annotated[list[Path], typer.Argument(help="fairseq checkpoints and CTranslate2 folders.")],
    source: Input,
    data: Data = None,
    beam: Annotated[int, typer.Option(min=1, help="Hypotheses kept at each step.")] = 4,
    length_penalty: LengthPenalty = 1.0,
    batch_size: Annotated[
        list[int] | None, typer.Option(min=1, help="Sentences decoded together; may be repeated; default: 1 and 64.")
    ] = None,
    repetitions: Annotated[int, typer.Option(min=1, help="Measurements of each model and batch size.")] = 3,
    sentences: Annotated[
        int | None, typer.Option(min=1, help="Take the first so many sentences; default: all.")
    ] = None,
    threads: Threads = None,
    json_file: Json = None,
) -> None:
    """Time the decoding of several models in turn; ratios are to the first."""
    require_writable(json_file)
    pieces = read_pieces(source)[:sentences]
    import torch
    from tqdm import tqdm

    from weightdistill.decoding.benchmark import benchmark_decoding

    sizes = batch_size or [1, 64]
    threads = threads or torch.get_num_threads()
    engines = [open_model(model, data, threads) for model in models]
    with tqdm(total=len(sizes) * repetitions * len(engines), unit="run", disable=None) as bar:
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
    width: Annotated[int | None, typer.Option(min=1, help="Width instead of the preset's.")] = None,
    generator: Annotated[str, typer.Option(help="Bundle of options: default, paper or authors.")] = "default",
    tokens: Annotated[int, typer.Option(min=1, help="Target tokens of a batch.")] = 4096,
    vocabulary: Annotated[int, typer.Option(min=8, help="Entries of the dictionary.")] = 32000,
    repetitions: Annotated[int, typer.Option(min=1, help="Measured updates of each model.")] = 5,
    bf16: Annotated[bool, typer.Option("--bf16", help="bf16 autocast.")] = False,
    threads: Threads = None,
    json_file: Json = None,
) -> None:
    """Time updates of phase 1 and of distillation against plain updates of the same student, on random data."""
    require_writable(json_file)
    quiet_fairseq()
    from tqdm import tqdm

    from fairseq_plugins.training_benchmark import UPDATES
    from fairseq_plugins.training_benchmark import benchmark_training as run

    with tqdm(total=len(UPDATES) * (1 + repetitions), unit="update", disable=None) as bar:
        result = run(
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


@app.command()
def plan(
    config: Annotated[list[Path], typer.Argument(help="Settings of an experiment; later files replace earlier ones.")],
    tflops: Annotated[
        float | None, typer.Option(help="10^12 operations a second of a large matrix product; default: measured here.")
    ] = None,
    gpus: Annotated[int | None, typer.Option(min=0, help="GPUs that train, 0: a CPU; default: those here.")] = None,
    results: Annotated[
        Path | None, typer.Option(help="results.json of a run on such a machine, to set beside the plan.")
    ] = None,
    json_file: Json = None,
) -> None:
    """Say before an experiment what it costs: updates, parameters, time, memory, disk."""
    from dataclasses import asdict, replace

    import torch

    from weightdistill.experiment.cost import Machine
    from weightdistill.experiment.plan import check_table
    from weightdistill.experiment.plan import plan as run
    from weightdistill.experiment.settings import read

    require_writable(json_file)
    settings = read(config)
    here = torch.cuda.device_count()
    if gpus is None:
        gpus = here
    if gpus and not here and not tflops:
        raise DistillationError("there is no GPU here whose speed could be measured; give --tflops, or --gpus 0")
    kind = "cuda" if gpus else "cpu"
    machine = Machine(tflops * 1e12, kind=kind) if tflops else Machine.here(kind)
    result = run(settings, replace(machine, devices=max(1, gpus)))
    typer.echo(result.table())
    checks = []
    if results is not None:
        checks = result.against(_read_results(results))
        typer.echo("\n" + check_table(checks))
    write_json(json_file, {**result.as_dict(), "checks": [asdict(check) for check in checks]})


def _read_results(path: Path) -> dict[str, object]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DistillationError(f"{path} cannot be read: {error}; give the results.json of an experiment") from error
    if not isinstance(found, dict) or "rows" not in found:
        raise DistillationError(f"{path} has no rows; give the results.json of an experiment")
    return found
