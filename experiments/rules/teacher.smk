# The teacher, and what it says of the training data: translated corpora and cached predictions.


TEACHERS = names.teacher_checkpoints(SETTINGS)
# A given teacher must translate the validation set before anything learns from it.
CHECKED = ["teacher/check.json"] if SETTINGS.teacher.path else []

if SETTINGS.teacher.path:

    rule check_teacher:
        input:
            engine="exported/teacher/ctranslate2/model.bin",
            prepared="prepared/data-bin/done",
        output:
            "teacher/check.json",
        log:
            "logs/check-teacher.log",
        resources:
            gpu=SETTINGS.gpus,
        params:
            models=" ".join(
                map(shlex.quote, ["exported/teacher/ctranslate2", *TEACHERS[1:]])
            ),
            reference=f"raw/valid.{REFERENCES[0]}",
            least=SETTINGS.teacher.least_bleu,
        message:
            "translating the validation set with the teacher"
        shell:
            "OMP_NUM_THREADS={threads} weightdistill check-teacher {params.models} --data prepared/data-bin "
            "--text prepared/text.json --source raw/valid.{SETTINGS.source} --reference {params.reference} "
            "--least-bleu {params.least} --json {output} 2>> {log} | tee -a {log}"

else:

    rule teacher:
        input:
            "prepared/data-bin/done",
        output:
            "teacher/training.json",
        threads: SETTINGS.teacher.threads
        resources:
            gpu=SETTINGS.gpus,
        params:
            options=SETTINGS.teacher_options(),
        message:
            "training the teacher, teacher/train.log"
        shell:
            "OMP_NUM_THREADS={threads} bash {SCRIPTS:q}/train_teacher.sh --data prepared/data-bin --output teacher "
            "-- {params.options} &>> logs/teacher.log"


rule average:
    input:
        "{folder}/training.json",
    output:
        "{folder}/average.pt",
    log:
        "logs/average-{folder}.log",
    # a given teacher is never made, wherever it lies
    wildcard_constraints:
        folder="teacher|(students|phase1|phase2)/[^/]+",
    params:
        last=lambda wildcards: (
            SETTINGS.teacher.average
            if wildcards.folder == "teacher"
            else SETTINGS.average
        ),
    message:
        "averaging the last checkpoints in {wildcards.folder}"
    shell:
        "bash {SCRIPTS:q}/average.sh --checkpoints {wildcards.folder} --last {params.last} --output {output} &>> {log}"


def sources_of(wildcards):
    """The further sources of a corpus in pieces, where there are any."""
    return names.source_pieces(SETTINGS, wildcards.corpus) or []


def translation_of(wildcards):
    return names.translation_options(SETTINGS, wildcards.corpus)


rule sources:
    # Text that has no references, in the teacher's pieces.
    input:
        text=lambda wildcards: names.source_text(SETTINGS, wildcards.corpus, EXPERIMENT),
        prepared="prepared/data-bin/done",
    output:
        "corpora/{corpus}/sources",
    log:
        "logs/sources-{corpus}.log",
    message:
        "subword pieces of further sources, {wildcards.corpus}"
    shell:
        "gzip --decompress --stdout --force {input.text:q} 2>> {log} "
        "| python -m weightdistill.text.processing encode prepared/text.json source > {output} 2>> {log}"


rule shard:
    # One part of a translated corpus. Different machines may decode the parts.
    input:
        checked=CHECKED,
        model="exported/teacher/ctranslate2/model.bin",
        prepared="prepared/data-bin/done",
        sources=sources_of,
    output:
        "corpora/{corpus}/shards/{part}-of-{parts}.jsonl",
    log:
        "logs/corpus-{corpus}-{part}-of-{parts}.log",
    resources:
        gpu=SETTINGS.gpus,
    params:
        options=translation_of,
    message:
        "translating part {wildcards.part} of {wildcards.parts} of the training data with the teacher, {wildcards.corpus}"
    shell:
        "OMP_NUM_THREADS={threads} bash {SCRIPTS:q}/translate.sh --prepared prepared {LANGUAGES} "
        "--model exported/teacher/ctranslate2 --output corpora/{wildcards.corpus} {params.options} "
        "--shards {wildcards.parts} --only {wildcards.part} &>> {log}"


rule corpus:
    input:
        shards=lambda wildcards: [
            f"corpora/{wildcards.corpus}/shards/{part}-of-{SETTINGS.corpora[wildcards.corpus].shards}.jsonl"
            for part in range(SETTINGS.corpora[wildcards.corpus].shards)
        ],
    output:
        "corpora/{corpus}/data-bin/done",
    log:
        "logs/corpus-{corpus}.log",
    threads: 2
    params:
        options=translation_of,
        shards=lambda wildcards: SETTINGS.corpora[wildcards.corpus].shards,
    message:
        "the translated corpus {wildcards.corpus}"
    shell:
        "OMP_NUM_THREADS=1 bash {SCRIPTS:q}/translate.sh --prepared prepared {LANGUAGES} "
        "--model exported/teacher/ctranslate2 --output corpora/{wildcards.corpus} {params.options} "
        "--shards {params.shards} --threads {threads} &>> {log}"


rule cache:
    input:
        checked=CHECKED,
        teachers=TEACHERS,
        data="prepared/data-bin/done",
    output:
        touch("caches/{words}/{subset}.done"),  # an interrupted cache itself must stay, to be resumed
    log:
        "logs/cache-{words}-{subset}.log",
    resources:
        gpu=SETTINGS.gpus,
    params:
        teachers=shlex.quote(",".join(TEACHERS)),
        temperature=f"{SETTINGS.distillation.temperature:g}",
    message:
        "caching the teacher's top {wildcards.words} words per token, {wildcards.subset}"
    shell:
        "OMP_NUM_THREADS={threads} weightdistill cache-teacher {params.teachers} --data $(dirname {input.data}) "
        "--subset {wildcards.subset} --output $(dirname {output}) --top-k {wildcards.words} "
        "--temperature {params.temperature} &>> {log}"


use rule cache as corpus_cache with:
    input:
        checked=CHECKED,
        teachers=TEACHERS,
        data="corpora/{corpus}/data-bin/done",
    output:
        touch("caches/{corpus}-{words}/{subset}.done"),
    log:
        "logs/cache-{corpus}-{words}-{subset}.log",
