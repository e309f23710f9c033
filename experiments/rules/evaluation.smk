# Translations of the test sets, their scores and paired tests, and decoding speed.

EVALUATION = SETTINGS.evaluation
TUNED = names.is_tuned(SETTINGS)
SCORES = names.score_endings(SETTINGS)
COMPARED = names.compared(SETTINGS)
TIMED = list(names.timed(SETTINGS).values())


def search_of(wildcards, input):
    """Options of evaluate.sh on beam search: what was chosen on the validation set, or the settings'."""
    if TUNED:
        return f"--search {input.search}"
    return (
        f"--beam {EVALUATION.beam[0]} --length-penalty {EVALUATION.length_penalty[0]}"
    )


rule tune:
    input:
        engine="exported/{system}/ctranslate2/model.bin",
    output:
        "tuned/{system}.json",
    log:
        "logs/tune-{system}.log",
    resources:
        gpu=SETTINGS.gpus,
    params:
        beams=" ".join(map(str, EVALUATION.beam)),
        penalties=" ".join(map(str, EVALUATION.length_penalty)),
    message:
        "choosing beam and length penalty for {wildcards.system} on the validation set"
    shell:
        "OMP_NUM_THREADS={threads} bash {SCRIPTS:q}/tune.sh --model $(dirname {input.engine}) --prepared prepared --raw raw "
        "{LANGUAGES} --output {output} --beams {params.beams:q} --length-penalties {params.penalties:q} &>> {log}"


rule evaluate:
    input:
        model=(
            "exported/{system}/ctranslate2/model.bin"
            if EVALUATION.engine == "ctranslate2"
            else "exported/{system}/model.pt"
        ),
        search="tuned/{system}.json" if TUNED else [],
    output:
        expand(
            "evaluated/{{system}}/{test}.{kind}",
            test=SETTINGS.evaluated,
            kind=["txt", *SCORES],
        ),
    log:
        "logs/evaluate-{system}.log",
    resources:
        gpu=SETTINGS.gpus,
    params:
        # a checkpoint, or CTranslate2's folder
        model=lambda wildcards, input: input.model.removesuffix("/model.bin"),
        tests=" ".join(SETTINGS.evaluated),
        search=search_of,
        metrics=EVALUATION.metrics,
        comet=f"--comet {shlex.quote(EVALUATION.comet)}" if EVALUATION.comet else "",
        paper=f"--paper {shlex.quote(EVALUATION.paper)}" if EVALUATION.paper else "",
    message:
        "translating the test sets with {wildcards.system}"
    shell:
        "OMP_NUM_THREADS={threads} bash {SCRIPTS:q}/evaluate.sh --model {params.model} --prepared prepared --raw raw "
        "{LANGUAGES} --output evaluated/{wildcards.system} --tests {params.tests:q} {params.search} "
        "--metrics {params.metrics:q} {params.paper} {params.comet} &>> {log}"


rule compare:
    input:
        lambda wildcards: [
            f"evaluated/{system}/{wildcards.test}.txt"
            for system in COMPARED[wildcards.baseline]
        ],
    output:
        expand("compared/{{baseline}}/{{test}}.{kind}", kind=SCORES),
    log:
        "logs/compare-{baseline}-{test}.log",
    params:
        test=f"--{EVALUATION.test} {EVALUATION.resamples}",
        metrics=" ".join(f"--metric {metric}" for metric in EVALUATION.metrics.split()),
        comet=lambda wildcards: (
            f"--comet {shlex.quote(EVALUATION.comet)} --source $(original raw/{wildcards.test}.{SETTINGS.source})"
            if EVALUATION.comet
            else ""
        ),
        # A second time as the experiment's paper computed BLEU.
        paper=lambda wildcards, input, output: (
            f"; weightdistill evaluate {input} ${{references[@]/#/--reference=}} --metric bleu {EVALUATION.paper} "
            f"--{EVALUATION.test} {EVALUATION.resamples} --json {output[1]}"
            if EVALUATION.paper
            else ""
        ),
    message:
        "paired tests against {wildcards.baseline} on {wildcards.test}"
    shell:
        "readarray -t references < <(references raw/{wildcards.test}.{SETTINGS.target}); "
        "{{ weightdistill evaluate {input} ${{references[@]/#/--reference=}} {params.metrics} {params.comet} "
        "{params.test} --json {output[0]} {params.paper}; }} &>> {log}"


rule benchmark:
    input:
        expand("exported/{system}/model.pt", system=TIMED),
        expand("exported/{system}/ctranslate2/model.bin", system=TIMED),
    output:
        expand("benchmark/{engine}.json", engine=["fairseq", "ctranslate2"]),
    log:
        "logs/benchmark.log",
    # All cores, so that nothing else runs meanwhile.
    threads: workflow.cores
    resources:
        gpu=SETTINGS.gpus,
    params:
        models=[f"exported/{system}" for system in TIMED],
        pieces=f"prepared/pieces/{SETTINGS.tests[0]}.{SETTINGS.source}",
        options=" ".join(
            f"--{name} {shlex.quote(str(value))}"
            for name, value in vars(SETTINGS.benchmark).items()
        ),
    message:
        "timing the decoding, with nothing else running"
    shell:
        "bash {SCRIPTS:q}/benchmark.sh --input {params.pieces} --data prepared/data-bin --output benchmark {params.options} "
        "-- {params.models} &>> {log}"
