# The student that is made ready for use: a CTranslate2 model with its text processing, and the plain checkpoint. Everything is
# made and measured in bundle/; what is published has its final name at the end.

if SETTINGS.bundle:
    BUNDLED = names.bundled(SETTINGS)
    # with and without the vocabulary map
    WAYS = names.ways(SETTINGS)

    rule bundle:
        input:
            model=f"exported/{BUNDLED}/model.pt",
            prepared="prepared/data-bin/done",
        output:
            model="bundle/fairseq/model.pt",
            engine="bundle/ctranslate2/model.bin",
        log:
            "logs/bundle.log",
        params:
            quantization=SETTINGS.bundle.quantization,
        message:
            "converting the student to {params.quantization}"
        shell:
            "OMP_NUM_THREADS={threads} bash {SCRIPTS:q}/export.sh {input.model} --output {output.model} "
            "--data prepared/data-bin --ctranslate2 $(dirname {output.engine}) --quantization {params.quantization} "
            "&>> {log}; cp prepared/data-bin/dict.*.txt $(dirname {output.model})"

    rule vocabulary_map:
        input:
            engine="bundle/ctranslate2/model.bin",
            prepared="prepared/data-bin/done",
        output:
            "bundle/ctranslate2/vmap.txt",
        log:
            "logs/vocabulary-map.log",
        message:
            "which target words each source word makes likely"
        shell:
            "OMP_NUM_THREADS={threads} weightdistill vocabulary-map --source prepared/pieces/train.{SETTINGS.source} "
            "--target prepared/pieces/train.{SETTINGS.target} --output {output} &>> {log}"

    rule score_bundle:
        input:
            engine="bundle/ctranslate2/model.bin",
            vocabulary_map=(
                "bundle/ctranslate2/vmap.txt" if SETTINGS.bundle.vocabulary_map else []
            ),
            search=f"tuned/{BUNDLED}.json" if TUNED else [],
        output:
            expand(
                "bundle/{{way}}/{test}.{kind}",
                test=dict.fromkeys(["valid", *SETTINGS.tests]),
                kind=["txt", "json"],
            ),
        log:
            "logs/bundle-{way}.log",
        wildcard_constraints:
            way="|".join(WAYS),
        resources:
            gpu=SETTINGS.gpus,
        params:
            tests=" ".join(["valid", *SETTINGS.tests]),
            search=search_of,
            metrics=EVALUATION.metrics,
            without=lambda wildcards: (
                "" if wildcards.way == "mapped" else "--no-vocabulary-map"
            ),
        message:
            "translating the test sets with the bundle, {wildcards.way}"
        shell:
            "OMP_NUM_THREADS={threads} bash {SCRIPTS:q}/evaluate.sh --model bundle/ctranslate2 --prepared prepared --raw raw "
            "{LANGUAGES} --output bundle/{wildcards.way} --tests {params.tests:q} {params.search} "
            "--metrics {params.metrics:q} {params.without} &>> {log}"

    rule time_bundle:
        input:
            "exported/teacher/model.pt",
            "exported/teacher/ctranslate2/model.bin",
            rules.score_bundle.input,
        output:
            expand("bundle/speed-{way}.json", way=WAYS),
        log:
            "logs/time-bundle.log",
        # All cores, so that nothing else runs meanwhile.
        threads: workflow.cores
        resources:
            gpu=SETTINGS.gpus,
        params:
            options=" ".join(
                [
                    f"--input prepared/pieces/{SETTINGS.tests[0]}.{SETTINGS.source} --data prepared/data-bin",
                    f"--beam {SETTINGS.benchmark.beam} --sentences {SETTINGS.benchmark.sentences}",
                    f"--repetitions {SETTINGS.benchmark.repetitions} --threads {SETTINGS.benchmark.threads}",
                    *(
                        f"--batch-size {size}"
                        for size in SETTINGS.benchmark.batches.split()
                    ),
                ]
            ),
            ways=" ".join(WAYS),
        message:
            "timing the bundle beside the teacher, with nothing else running"
        shell:
            "for way in {params.ways}; do "
            "without=(); [[ $way == mapped ]] || without=(--no-vocabulary-map); "
            "weightdistill benchmark exported/teacher/model.pt exported/teacher/ctranslate2 bundle/ctranslate2 "
            '{params.options} "${{without[@]}}" --json bundle/speed-$way.json; done &>> {log}'

    rule model:
        input:
            rules.table.output,
            rules.score_bundle.input,
            expand(
                "bundle/{way}/{test}.json", way=WAYS, test=["valid", *SETTINGS.tests]
            ),
            rules.time_bundle.output,
        output:
            "model/README.md",
            "fairseq/model.pt",
        message:
            "the student, ready for use, in model/"
        shell:
            "python -m weightdistill.experiment.model_card --settings settings.json --work ."
