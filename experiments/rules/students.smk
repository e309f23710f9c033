# Students: in one phase, or in the two phases of weight distillation; and their export.


def data_of(wildcards):
    """The file that says that a method's data are ready."""
    return f"{names.data_folder(SETTINGS, wildcards.method)}/done"


def caches_of(wildcards):
    """The same for the teacher's cached predictions, where a method learns from them."""
    folder = names.cache_folder(SETTINGS, wildcards.method)
    return (
        [f"{folder}/{subset}.done" for subset in ("train", "valid")] if folder else []
    )


def options_of(stage):
    """A function that gives all options of fairseq-train for a stage of a method."""
    return lambda wildcards: names.training_options(
        SETTINGS, wildcards.method, stage, EXPERIMENT
    )


def distillation_of(wildcards):
    return names.distillation_options(SETTINGS, wildcards.method)


def trained(wildcards):
    """The file that says that a system is ready for export: its checkpoint, or the record of its last training."""
    path = Path(names.exported_checkpoint(SETTINGS, wildcards.system))
    best = path.name == "checkpoint_best.pt" and wildcards.system != names.TEACHER
    return str(path.with_name("training.json") if best else path)


rule student:
    input:
        checked=CHECKED,
        teachers=TEACHERS,
        data=data_of,
        caches=caches_of,
    output:
        "students/{method}-{preset}-{seed}/training.json",
    resources:
        gpu=SETTINGS.gpus,
    params:
        teachers=shlex.quote(",".join(TEACHERS)),
        distillation=distillation_of,
        options=options_of("student"),
    message:
        f"training the student {STUDENT}, students/{STUDENT}/train.log"
    shell:
        "OMP_NUM_THREADS={threads} bash {SCRIPTS:q}/train_student.sh --data $(dirname {input.data}) "
        "--teacher {params.teachers} --output $(dirname {output}) --preset {wildcards.preset} {params.distillation} "
        "-- --seed {wildcards.seed} {params.options} &>> "
        f"logs/student-{STUDENT}.log"


rule phase1:
    input:
        checked=CHECKED,
        teachers=TEACHERS,
        data=data_of,
        caches=caches_of,
    output:
        "phase1/{method}-{preset}-{seed}/training.json",
    # The longest chain of jobs begins here.
    priority: 10
    resources:
        gpu=SETTINGS.gpus,
    params:
        teachers=shlex.quote(",".join(TEACHERS)),
        distillation=distillation_of,
        options=options_of("phase1"),
        stage=lambda wildcards: names.first_stage(SETTINGS, wildcards.method),
    message:
        f"{STUDENT}, phase 1, phase1/{STUDENT}/train.log"
    shell:
        "OMP_NUM_THREADS={threads} bash {SCRIPTS:q}/{params.stage} --data $(dirname {input.data}) --teacher {params.teachers} "
        "--output $(dirname {output}) --preset {wildcards.preset} {params.distillation} "
        "-- --seed {wildcards.seed} {params.options} &>> "
        f"logs/phase1-{STUDENT}.log"


rule materialise:
    input:
        "phase1/{method}-{preset}-{seed}/training.json",
    output:
        "generated/{method}-{preset}-{seed}.pt",
    log:
        "logs/materialise-{method}-{preset}-{seed}.log",
    priority: 10
    message:
        f"{STUDENT}: generating the student"
    shell:
        "OMP_NUM_THREADS={threads} bash {SCRIPTS:q}/export.sh $(dirname {input})/checkpoint_best.pt --output {output} "
        "--data prepared/data-bin &>> {log}"


rule phase2:
    input:
        teachers=TEACHERS,
        student="generated/{method}-{preset}-{seed}.pt",
        data=data_of,
        caches=caches_of,
    output:
        "phase2/{method}-{preset}-{seed}/training.json",
    priority: 10
    resources:
        gpu=SETTINGS.gpus,
    params:
        teachers=shlex.quote(",".join(TEACHERS)),
        distillation=distillation_of,
        options=options_of("phase2"),
    message:
        f"{STUDENT}, phase 2, phase2/{STUDENT}/train.log"
    shell:
        "OMP_NUM_THREADS={threads} bash {SCRIPTS:q}/phase2.sh --data $(dirname {input.data}) --teacher {params.teachers} "
        "--student {input.student} --output $(dirname {output}) --preset {wildcards.preset} {params.distillation} "
        "-- --seed {wildcards.seed} {params.options} &>> "
        f"logs/phase2-{STUDENT}.log"


rule export:
    input:
        trained=trained,
        data="prepared/data-bin/done",
    output:
        model="exported/{system}/model.pt",
        engine="exported/{system}/ctranslate2/model.bin",
    log:
        "logs/export-{system}.log",
    params:
        checkpoint=lambda wildcards: names.exported_checkpoint(
            SETTINGS, wildcards.system
        ),
    message:
        "exporting {wildcards.system}"
    shell:
        "OMP_NUM_THREADS={threads} bash {SCRIPTS:q}/export.sh {params.checkpoint:q} --output {output.model} "
        "--data prepared/data-bin --ctranslate2 $(dirname {output.engine}) &>> {log}"
