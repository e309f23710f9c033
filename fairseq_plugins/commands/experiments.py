"""Commands for whole experiments."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from fairseq_plugins.commands.options import Json, write_json

app = typer.Typer()


@app.command()
def plan(
    config: Annotated[list[Path], typer.Argument(help="Settings of an experiment; later files override earlier ones.")],
    tflops: Annotated[
        float | None,
        typer.Option(help="Speed of a large matrix product in TFLOP/s; default: measured on this machine."),
    ] = None,
    gpus: Annotated[
        int | None, typer.Option(min=0, help="Number of GPUs that train; 0: a CPU; default: those of this machine.")
    ] = None,
    results: Annotated[
        Path | None, typer.Option(help="results.json of a run on such a machine, to compare with the plan.")
    ] = None,
    json_file: Json = None,
) -> None:
    """Estimate what an experiment costs before it runs: updates, parameters, time, memory, disk."""
    from weightdistill.experiment.cost import Machine
    from weightdistill.experiment.plan import check_table, read_results
    from weightdistill.experiment.plan import plan as plan_experiment
    from weightdistill.experiment.settings import read
    from weightdistill.places import require_separate

    require_separate({"--json": json_file}, {"the settings": config, "--results": results})
    estimate = plan_experiment(read(config), Machine.chosen(tflops, gpus))
    typer.echo(estimate.table())
    checks = [] if results is None else estimate.against(read_results(results))
    if results is not None:
        typer.echo("\n" + check_table(checks))
    write_json(json_file, {**estimate.as_dict(), "checks": [asdict(check) for check in checks]})
