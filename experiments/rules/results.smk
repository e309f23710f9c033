# The table, the report, and their way into the project.


rule settings:
    # What really was set, with what --config changed, complete.
    output:
        "settings.json",
    params:
        settings=lambda wildcards: json.dumps(
            SETTINGS.as_dict(), indent=2, ensure_ascii=False
        ),
    message:
        "recording the settings"
    shell:
        "printf '%s\\n' {params.settings:q} > {output}"


rule table:
    input:
        "settings.json",
        expand(
            "evaluated/{system}/{test}.{kind}",
            system=names.systems(SETTINGS),
            test=SETTINGS.evaluated,
            kind=SCORES,
        ),
        expand(
            "compared/{baseline}/{test}.{kind}",
            baseline=list(COMPARED),
            test=SETTINGS.evaluated,
            kind=SCORES,
        ),
        rules.benchmark.output,
    output:
        expand(
            "results/{name}",
            name=["results.json", "table.md", "table.tex", "scores.csv"],
        ),
    message:
        "table"
    shell:
        "python -m weightdistill.experiment.results --settings settings.json --output results"


rule report:
    input:
        rules.table.output,
    output:
        "results/report.json",
        "results/report.md",
        "results/report.html",
    message:
        "report"
    shell:
        "python -m weightdistill.experiment.report --results {input[0]} --work . --output results"


rule publish:
    # Into the project, where the experiment's results are committed.
    input:
        rules.table.output,
        rules.report.output,
    params:
        results=EXPERIMENT / "results",
    shell:
        "mkdir -p {params.results:q}; rm -f {params.results:q}/*.png {params.results:q}/*.svg; cp {input} results/*.svg {params.results:q}"
