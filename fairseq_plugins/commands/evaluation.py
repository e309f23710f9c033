"""Commands that measure: scores of translations, speed of decoding, cost of training."""

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fairseq_plugins.commands.options import (
    Beam,
    Data,
    Json,
    LengthPenalty,
    Threads,
    open_model,
    progress_bar,
    writable,
    write_json,
)
from weightdistill.decoding.vocabulary_map import MapSettings
from weightdistill.errors import DistillationError
from weightdistill.experiment.binarised import dictionaries
from weightdistill.places import require_separate

if TYPE_CHECKING:
    from weightdistill.decoding.engines import Engine, Pieces

app = typer.Typer()


@app.command()
def evaluate(
    hypotheses: Annotated[
        list[Path], typer.Argument(help="Detokenised translations, one file per system; may end in .gz.")
    ],
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
    require_separate(
        {"--json": json_file},
        {"a translation": hypotheses, "--reference": reference, "--source": source, "--comet": comet},
    )
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
        result = evaluate_files(hypotheses, reference, settings, source=source, progress=bar.update, warn=_warn)
    typer.echo(result.table())
    write_json(json_file, result.as_dict())


def _warn(warning: str) -> None:
    typer.echo(f"weightdistill: warning: {warning}", err=True)


@app.command()
def benchmark(
    models: Annotated[list[Path] | None, typer.Argument(help="fairseq checkpoints and CTranslate2 folders.")] = None,
    source: Annotated[
        Path | None, typer.Option("--input", help="Source pieces, one sentence per line; --shape needs none.")
    ] = None,
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
    vocabulary_map: Annotated[
        Path | None,
        typer.Option(help="Time CTranslate2 models (of --shape, int8 ones) without and with this map."),
    ] = None,
    no_vocabulary_map: Annotated[
        bool, typer.Option("--no-vocabulary-map", help="Do not use the vocabulary maps in CTranslate2 folders.")
    ] = False,
    output_length: Annotated[
        int | None, typer.Option(min=1, help="Force all translations to this many pieces; default with --shape: 25.")
    ] = None,
    shape: Annotated[
        str | None, typer.Option(help="Time random models instead, of this teacher's shape: base, big or deep.")
    ] = None,
    student: Annotated[str, typer.Option(help="Student of --shape: tiny or small.")] = "tiny",
    vocabulary: Annotated[int, typer.Option(help="Entries of the dictionary of --shape without --data.")] = 32000,
    json_file: Json = None,
) -> None:
    """Time the decoding of several models in turn; ratios are relative to the first.

    With --shape, time a random teacher in fairseq and CTranslate2, and a random student in CTranslate2.
    """
    import torch

    from weightdistill.decoding.benchmark import benchmark_decoding
    from weightdistill.decoding.translation import read_pieces

    require_separate(
        {"--json": json_file},
        {"a model": models, "--input": source, "--vocabulary-map": vocabulary_map, "--data": dictionaries(data)},
    )
    if bool(models) == (shape is not None):
        raise DistillationError("benchmark times either models or --shape; name models, or give --shape alone")
    if models and source is None:
        raise DistillationError("benchmark needs sentences to translate; give a file of source pieces with --input")
    threads = threads or torch.get_num_threads()
    given: Sequence[Pieces] = read_pieces(source)[:sentences] if source is not None else []
    with contextlib.ExitStack() as stack:
        if shape is None:
            engines = _engines(models or [], data, threads, vocabulary_map, use_own=not no_vocabulary_map)
        else:
            from fairseq_plugins.shape_engines import random_engines, random_sentences

            output_length = output_length or 25
            given = given or random_sentences(sentences or 32, output_length, vocabulary)
            engines = stack.enter_context(
                random_engines(
                    shape, student, data=data, vocabulary=vocabulary, vocabulary_map=vocabulary_map, threads=threads
                )
            )
        sizes = batch_size or [1, 64]
        bar = stack.enter_context(progress_bar("run", len(sizes) * repetitions * len(engines)))
        result = benchmark_decoding(
            engines,
            given,
            batch_sizes=sizes,
            beam=beam,
            length_penalty=length_penalty,
            output_length=output_length,
            repetitions=repetitions,
            threads=threads,
            progress=bar.update,
        )
    typer.echo(result.table())
    if warning := result.warning():
        typer.echo(warning, err=True)
    write_json(json_file, result.as_dict())


def _engines(
    models: list[Path], data: Path | None, threads: int, vocabulary_map: Path | None, *, use_own: bool
) -> "list[Engine]":
    """Load models; CTranslate2 ones twice if there is a map, without it first."""
    engines = []
    for model in models:
        engines.append(open_model(model, data, threads, vocabulary_map=use_own and vocabulary_map is None))
        if vocabulary_map is not None and model.is_dir():
            engines.append(open_model(model, data, threads, vocabulary_map=vocabulary_map))
    return engines


@app.command("vocabulary-map")
def make_vocabulary_map(
    source: Annotated[Path, typer.Option("--source", help="Source pieces of a parallel corpus.")],
    target: Annotated[Path, typer.Option("--target", help="Target pieces: references, or the teacher's translations.")],
    output: Annotated[
        Path, typer.Option("--output", callback=writable, help="Map to write: vmap.txt in a CTranslate2 folder.")
    ],
    candidates: Annotated[int, typer.Option(help="Most candidates per source piece.")] = MapSettings.candidates,
    least: Annotated[int, typer.Option(help="Fewest alignments of a candidate.")] = MapSettings.least,
    common: Annotated[int, typer.Option(help="Most frequent target pieces, always candidates.")] = MapSettings.common,
    pairs: Annotated[int, typer.Option(help="Most sentence pairs to align.")] = MapSettings.pairs,
) -> None:
    """Make a vocabulary map, with which CTranslate2 decodes faster; needs `pip install eflomal`."""
    from weightdistill.decoding.vocabulary_map import make_map

    require_separate({"--output": output}, {"--source": source, "--target": target})
    settings = MapSettings(candidates, least, common, pairs)
    made, coverage = make_map(source, target, settings)
    made.write(output)
    typer.echo(
        f"wrote {output}: {len(made.candidates):,} source pieces; covers {coverage.pieces:.1%} of the target pieces of "
        f"{coverage.pairs:,} held-out pairs with {coverage.candidates:.0f} candidates per sentence"
    )


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
