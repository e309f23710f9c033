"""Commands for one model: export it, describe it."""

from pathlib import Path
from typing import Annotated

import typer

from fairseq_plugins.commands.options import Data
from weightdistill.errors import DistillationError

app = typer.Typer()


@app.command()
def export(
    checkpoint: Annotated[Path, typer.Argument(help="Checkpoint of phase 1, or of a plain transformer.")],
    output: Annotated[Path, typer.Option("--output", help="Plain fairseq checkpoint to write.")],
    data: Data = None,
    subset: Annotated[str, typer.Option(help="Subset whose batches the proof uses.")] = "valid",
    batches: Annotated[int, typer.Option(min=1, help="Number of those batches.")] = 8,
    ctranslate2: Annotated[Path | None, typer.Option(help="Also write a CTranslate2 model to this folder.")] = None,
    quantization: Annotated[
        str | None,
        typer.Option(
            help="Number format of the CTranslate2 model: int8 for CPUs, float16 or int8_float16 for GPUs, or another "
            "one of CTranslate2; default: float32."
        ),
    ] = None,
    safetensors: Annotated[Path | None, typer.Option(help="Also write the weights to this file.")] = None,
    huggingface: Annotated[
        Path | None, typer.Option(help="Also write a model to this folder that transformers loads (FSMT).")
    ] = None,
    text: Annotated[
        Path | None, typer.Option(help="text.json of the model's text processing, for a tokenizer in that folder.")
    ] = None,
    teacher: Annotated[Path | None, typer.Option(help="Teacher of a phase-1 checkpoint, if it has moved.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace exports of another checkpoint.")] = False,
) -> None:
    """Write a checkpoint that stock fairseq loads, and prove on real batches that its logits are the same.

    What was exported from the same checkpoint before is replaced.
    """
    if quantization is not None and ctranslate2 is None:
        raise DistillationError("--quantization needs a CTranslate2 model; name its folder with --ctranslate2")
    if text is not None and huggingface is None:
        raise DistillationError("--text is for a Hugging Face model; name its folder with --huggingface")
    from fairseq_plugins import export as exporting

    report = exporting.export(
        checkpoint,
        output,
        data=data,
        subset=subset,
        batches=batches,
        ctranslate2=ctranslate2,
        quantization=quantization,
        safetensors=safetensors,
        huggingface=huggingface,
        text=text,
        teacher=teacher,
        force=force,
    )
    typer.echo(f"{report.parameters:,} parameters; largest difference of a logit {report.largest_difference:.1e}")
    for file in report.files:
        typer.echo(f"wrote {file}")
    if report.no_tokenizer is not None:
        typer.echo(f"wrote {huggingface} without a tokenizer, because {report.no_tokenizer}")


@app.command()
def inspect(
    checkpoint: Annotated[Path, typer.Argument(help="Checkpoint of a fairseq Transformer, or CTranslate2 folder.")],
) -> None:
    """Show a checkpoint's parameters by class and its shapes; for phase 1, also the teacher and the learned W_L."""
    from fairseq_plugins.inspection import describe

    typer.echo(describe(checkpoint))
