#!/usr/bin/env bash
# Chooses options on the validation set: short trainings of TINY under each of several options in turn, with one seed unless the
# options name another. Interrupted, it resumes.
#
#   experiments/sweep.sh --experiment DIR --name NAME --work DIR [--configfile FILE] [--epochs N] [--jobs N]
#
#   --experiment DIR   a folder with sweeps/
#   --name NAME        reads sweeps/NAME.txt, a stage (student or phase1) and its options in each line, {experiment} for the
#                      folder of the experiment; writes results/NAME.tsv: validation loss in bits per token before the first
#                      update, after 500 and at the end, and at the end that of the references alone (nll_loss), which means
#                      the same whatever the soft labels are
#   --work DIR         the folder of the experiment's workflow, with prepared/ and teacher/average.pt in it
#   --configfile FILE  the experiment's settings, in Snakemake's order (may be repeated; default: DIR/config.yaml)
#   --epochs N         length of each training (default: 1)
#   --jobs N           trainings at a time, each on one thread (default: 1)
source "$(dirname "$0")/../scripts/common.sh"

EXPERIMENT='' NAME='' WORK='' CONFIGFILE='' EPOCHS=1 JOBS=1
options "$@"
need --experiment "$EXPERIMENT"; need --name "$NAME"; need --work "$WORK"
EXPERIMENT=$(cd "$EXPERIMENT" && pwd)
[[ -e $EXPERIMENT/sweeps/$NAME.txt ]] \
    || die "there is no $EXPERIMENT/sweeps/$NAME.txt; --name must be one of: $(ls "$EXPERIMENT/sweeps")"
[[ -e $WORK/teacher/average.pt ]] || die "$WORK has no teacher/average.pt; run the experiment's workflow first"
readarray -t VARIANTS < <(grep -v '^#' "$EXPERIMENT/sweeps/$NAME.txt")
readarray -t CONFIGFILES <<< "${CONFIGFILE:-$EXPERIMENT/config.yaml}"
readarray -t CONFIGFILES < <(realpath "${CONFIGFILES[@]}")
cd "$WORK"

# folder VARIANT: where the training lies
folder() {
    echo "sweeps/$EPOCHS/${1//[ :\/]/_}"
}

# hyperparameters STAGE: those of the experiment for every training of that stage, one word a line
hyperparameters() {
    python - "$1" "${CONFIGFILES[@]}" <<'END'
import shlex, sys
from pathlib import Path
from weightdistill.experiment.settings import read
settings = read([Path(path) for path in sys.argv[2:]])
print(*shlex.split(f"{settings.options} {getattr(settings, sys.argv[1] + '_options')}"), sep="\n")
END
}

# training STAGE OUTPUT OPTIONS...: one run of a stage with the experiment's hyper-parameters and these
training() {
    local -A script=([student]=train_student [phase1]=phase1)
    local text words
    [[ -v script[$1] ]] || die "a variant must begin with student or phase1, but is $1 ${*:3}"
    text=$(hyperparameters "$1") || die "the settings cannot be used: ${CONFIGFILES[*]}"
    readarray -t words <<< "$text"
    OMP_NUM_THREADS=1 "$ROOT/scripts/${script[$1]}.sh" --data prepared/data-bin --teacher teacher/average.pt \
        --output "$2" --distillation-weight 0.5 -- "${words[@]}" --max-epoch "$EPOCHS" --seed 1 "${@:3}" &>> "$2.log" \
        || die "the training failed; see $WORK/$2.log"
}

# measure VARIANT: the loss of the start itself, with a learning rate of 0, and then the training
measure() {
    local words folder
    read -ra words <<< "${1//\{experiment\}/$EXPERIMENT}"
    folder=$(folder "$1")
    mkdir -p "$(dirname "$folder")"
    training "${words[0]}" "$folder-0" "${words[@]:1}" --lr 0 --max-update 1
    training "${words[0]}" "$folder" "${words[@]:1}" --validate-interval-updates 500
    echo "measured: $1"
}

in_parallel "$JOBS" measure "${VARIANTS[@]}"
for variant in "${VARIANTS[@]}"; do
    folder=$(folder "$variant")
    [[ -e $folder/training.json ]] || die "$variant was not measured; see $WORK/$folder.log"
    printf '%s\t%s\n' "$variant" "$folder"
done > "sweeps/$NAME.folders"
python - "sweeps/$NAME.folders" "$EPOCHS" "$EXPERIMENT/results/$NAME.tsv" <<'END'
import sys
from pathlib import Path
from weightdistill.experiment.training_log import validations
from weightdistill.files import read_lines, writing
folders, epochs, output = sys.argv[1:]
lines = [["options", "update 0", "update 500", f"after {epochs} epochs", "nll_loss"]]
for variant, folder in (line.split("\t") for line in read_lines(folders)):
    start, trained = validations(Path(f"{folder}-0/train.log")), validations(Path(folder, "train.log"))
    after_500 = [validation.loss for validation in trained if validation.updates == 500]
    lines.append([variant, start[-1].loss, *(after_500 or [""]), trained[-1].loss, trained[-1].nll_loss])
with writing(output) as temporary:
    temporary.write_text("".join("\t".join(map(str, line)) + "\n" for line in lines), encoding="utf-8")
END
cat "$EXPERIMENT/results/$NAME.tsv"
