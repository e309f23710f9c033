"""The command line: `weightdistill COMMAND`; `weightdistill --help` lists the commands.

Only reads options and prints; each command imports what it needs when it runs, so that `--help` is quick.
"""

import json
import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fairseq_plugins import text_commands
from fairseq_plugins.results import Json, require_writable, write_json
from weightdistill.errors import DistillationError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from weightdistill.engines import Engine, Pieces

app = typer.Typer(
    name="weightdistill",
    help="Weight distillation of fairseq Transformers: export, look into, translate with, score and time students.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

app.add_typer(text_commands.app)

# Sentences between two steps of the progress bar; sorting them by length happens within.
_CHUNK = 512

Data = Annotated[Path | None, typer.Option("--data", help="Data folder; default: the one the checkpoint names.")]
Input = Annotated[Path, typer.Option("--input", help="Source pieces separated by blanks, one sentence a line.")]
Threads = Annotated[int | None, typer.Option("--threads", min=1, help="CPU threads; default: what torch takes.")]
LengthPenalty = Annotated[float, typer.Option("--length-penalty", help="Divide scores by length to this power.")]


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
    sentences = _read_pieces(source)
    from tqdm import tqdm

    from weightdistill.checkpoint import writing
    from weightdistill.engines import Search
    from weightdistill.engines import translate as best

    settings = Search(beam, length_penalty=length_penalty, batch_size=batch_tokens)
    engine = _open(model, data, threads)
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

    from weightdistill import sequence_level as sequences
    from weightdistill.checkpoint import fingerprint
    from weightdistill.engines import Search
    from weightdistill.evaluate import read_lines

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
        _quiet_fairseq()
        from fairseq_plugins.engine import require_words

        require_words(model, data)
    engine = _open(model, data, threads)
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
    shard_sentences: Annotated[int, typer.Option(min=1, help="Sentences in a file.")] = 10_000,
) -> None:
    """Write a teacher's predictions for the training data, so that students train without it (--teacher-cache)."""
    _quiet_fairseq()
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

    from weightdistill.evaluate import Settings, evaluate_files

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
    pieces = _read_pieces(source)[:sentences]
    import torch
    from tqdm import tqdm

    from weightdistill.benchmark import benchmark_decoding

    sizes = batch_size or [1, 64]
    threads = threads or torch.get_num_threads()
    engines = [_open(model, data, threads) for model in models]
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
    _quiet_fairseq()
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

    from weightdistill.cost import Machine
    from weightdistill.plan import check_table, read_config
    from weightdistill.plan import plan as run

    require_writable(json_file)
    settings = read_config(config)
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


def main() -> None:
    """Run the command line; unusable input ends with one line on standard error and exit code 2."""
    try:
        app()
    except DistillationError as error:
        print(f"weightdistill: error: {' '.join(str(error).split())}", file=sys.stderr)
        sys.exit(2)


def _chosen(only: int | None, shards: int) -> "Iterable[int]":
    return range(shards) if only is None else [only]


def _read_results(path: Path) -> dict[str, object]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DistillationError(f"{path} cannot be read: {error}; give the results.json of an experiment") from error
    if not isinstance(found, dict) or "rows" not in found:
        raise DistillationError(f"{path} has no rows; give the results.json of an experiment")
    return found


def _open(model: Path, data: Path | None, threads: int | None) -> "Engine":
    _quiet_fairseq()
    from fairseq_plugins.engine import open_engine

    return open_engine(model, data, threads)


def _quiet_fairseq() -> None:
    """Keep what fairseq logs when it is imported, and for each dictionary, off the terminal."""
    logging.getLogger("fairseq").setLevel(logging.WARNING)


def _read_pieces(path: Path) -> "list[Pieces]":
    from weightdistill.evaluate import read_lines

    return [line.split() for line in read_lines(path)]


if __name__ == "__main__":
    main()
