# Raw text and binarised data.

TEXT = SETTINGS.text
# What is binarised already is not read as text.
SPLITS = [*([] if TEXT.train_bin else ["train"]), "valid", *SETTINGS.tests]

# Endings of the references; several are numbered.
REFERENCES = (
    [f"{SETTINGS.target}.{number}" for number in range(SETTINGS.references)]
    if SETTINGS.references
    else [SETTINGS.target]
)


rule raw:
    output:
        [f"raw/{split}.{SETTINGS.source}" for split in SPLITS],
        [] if TEXT.train_bin else f"raw/train.{SETTINGS.target}",
        expand(
            "raw/{part}.{ending}", part=["valid", *SETTINGS.tests], ending=REFERENCES
        ),
    log:
        "logs/raw.log",
    params:
        command=SETTINGS.raw.format(
            experiment=shlex.quote(str(EXPERIMENT)), output="raw"
        ),
        # Where else the text comes from. Archives are the same wherever they lie.
        places={
            name: os.environ.get(name)
            for name in ("LDC_DIR", "LDC_TABLES", "LOCAL_DATA")
        },
        tables=[
            path.read_text()
            for path in sorted(
                Path(os.environ.get("LDC_TABLES", EXPERIMENT)).glob("*.tsv")
            )
        ],
    message:
        "raw text"
    shell:
        "{{ {params.command}; }} &>> {log}"


rule prepare:
    input:
        rules.raw.output,
    output:
        "prepared/data-bin/done",
    log:
        "logs/prepare.log",
    threads: 2
    params:
        tests=" ".join(SETTINGS.tests),
        pieces=names.preparation_options(SETTINGS),
    message:
        "subword pieces and binarised data"
    shell:
        "bash {SCRIPTS:q}/prepare.sh --raw raw {LANGUAGES} --output prepared --tests {params.tests:q} "
        "{params.pieces} --threads {threads} &>> {log}"
