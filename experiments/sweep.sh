#!/usr/bin/env bash
# Chooses options on the validation set: short trainings of TINY under each of some options in turn, one seed unless the
# options say another. Resumes where it was interrupted.
#
#   experiments/sweep.sh --experiment DIR --name NAME --work DIR [--epochs N] [--jobs N]
#
#   --experiment DIR  a folder with config.yaml and sweeps/
#   --name NAME       reads sweeps/NAME.txt, a stage (student or phase1) and its options in each line, {experiment} for
#                     the folder of the experiment; writes results/NAME.tsv: validation loss in bits a token before the
#                     first update, after 500 and at the end, and at the end the reference's alone (nll_loss), which
#                     means the same whatever the soft labels are
#   --work DIR        the folder of the experiment's workflow, with prepared/ and teacher/average.pt in it
#   --epochs N        length of each training (default: 1)
#   --jobs N          trainings at a time, each on one thread (default: 1)
source "$(dirname "$0")/../scripts/common.sh"

EXPERIMENT='' NAME='' WORK='' EPOCHS=1 JOBS=1
options "$@"
need --experiment "$EXPERIMENT"; need --name "$NAME"; need --work "$WORK"
[[ -e $EXPERIMENT/config.yaml ]] || die "$EXPERIMENT has no config.yaml; --experiment must be a folder of experiments/"
EXPERIMENT=$(cd "$EXPERIMENT" && pwd)
[[ -e $EXPERIMENT/sweeps/$NAME.txt ]] \
    || die "there is no $EXPERIMENT/sweeps/$NAME.txt; --name must be one of: $(ls "$EXPERIMENT/sweeps")"
[[ -e $WORK/teacher/average.pt ]] || die "$WORK has no teacher/average.pt; run the experiment's workflow first"
mapfile -t VARIANTS < <(grep -v '^#' "$EXPERIMENT/sweeps/$NAME.txt")
cd "$WORK"

# folder VARIANT: where the training lies
folder() {
    echo "sweeps/$EPOCHS/${1//[ :\/]/_}"
}

# training STAGE OUTPUT OPTIONS...: one run of a stage with the experiment's own hyper-parameters and these
training() {
    local read_options="
import sys, yaml
config = yaml.safe_load(open(sys.argv[1]))
print(config.get('options', ''), config['${1}_options'])"
    local -A script=([student]=train_student [phase1]=phase1)
    eval "local own=($(python -c "$read_options" "$EXPERIMENT/config.yaml"))"
    OMP_NUM_THREADS=1 "$ROOT/scripts/${script[$1]}.sh" --data prepared/data-bin --teacher teacher/average.pt \
        --output "$2" --distillation-weight 0.5 -- "${own[@]}" --max-epoch "$EPOCHS" --seed 1 "${@:3}" &>> "$2.log" \
        || die "the training failed; see $WORK/$2.log"
}

# measure VARIANT: the loss of the start itself, with a learning rate of nothing, and then the training
measure() {
    local words folder
    read -ra words <<< "${1//\{experiment\}/$EXPERIMENT}"
    folder=$(folder "$1")
    mkdir -p "$(dirname "$folder")"
    training "${words[0]}" "$folder-0" "${words[@]:1}" --lr 0 --max-update 1
    training "${words[0]}" "$folder" "${words[@]:1}" --validate-interval-updates 500
    echo "measured: $1"
}

# losses LOG: numbers of updates, validation losses and nll_losses in a training's log
losses() {
    sed -n "s/.*valid on 'valid' subset | loss \([0-9.]*\) | nll_loss \([0-9.]*\) .*num_updates \([0-9]*\).*/\3 \1 \2/p" "$1"
}

in_parallel "$JOBS" measure "${VARIANTS[@]}"
mkdir -p "$EXPERIMENT/results"
{
    printf 'options\tupdate 0\tupdate 500\tafter %s epochs\tnll_loss\n' "$EPOCHS"
    for variant in "${VARIANTS[@]}"; do
        folder=$(folder "$variant")
        [[ -e $folder/training.json ]] || die "$variant was not measured; see $WORK/$folder.log"
        printf '%s\t%s\t%s\t%s\t%s\n' "$variant" "$(losses "$folder-0.log" | tail -n 1 | cut -d ' ' -f 2)" \
            "$(losses "$folder.log" | awk '$1 == 500 { print $2 }' | tail -n 1)" \
            "$(losses "$folder.log" | tail -n 1 | cut -d ' ' -f 2)" "$(losses "$folder.log" | tail -n 1 | cut -d ' ' -f 3)"
    done
} > "$EXPERIMENT/results/$NAME.tsv.writing"
mv "$EXPERIMENT/results/$NAME.tsv.writing" "$EXPERIMENT/results/$NAME.tsv"
cat "$EXPERIMENT/results/$NAME.tsv"
