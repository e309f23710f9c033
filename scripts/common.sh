# shellcheck shell=bash
# Shared by every stage in this folder: strict mode, the environment, the allocator settings, and small helpers.
set -euo pipefail

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
if [[ -e $ROOT/__init__.py ]]; then  # installed: this folder lies in the package, whose environment is the caller's
    VENV=${WEIGHTDISTILL_VENV:-}
    PLUGIN=${ROOT%/*}/fairseq_plugins
else
    VENV=${WEIGHTDISTILL_VENV:-$ROOT/.venv}
    PLUGIN=$ROOT/fairseq_plugins
    export PYTHONPATH="$ROOT${PYTHONPATH:+:$PYTHONPATH}"
fi
[[ -z $VENV ]] || export PATH="$VENV/bin:$PATH"
export PYTHONUTF8=1  # text is UTF-8 in pipes, too, whatever the locale says

# glibc hands big tensors back to the kernel after each operation by default; keeping them saves a quarter of a
# training step on a CPU.
export MALLOC_MMAP_MAX_=0 MALLOC_TRIM_THRESHOLD_=8589934592 MALLOC_TOP_PAD_=268435456

# OMP_NUM_THREADS alone says how many threads a stage has. Snakemake sets MKL's number as well, to all threads of a rule, and
# CTranslate2 with one thread is ten times slower when MKL has two.
unset MKL_NUM_THREADS OPENBLAS_NUM_THREADS

die() {
    echo "$(basename "$0"): $*" >&2
    exit 2
}

# The comment block at the head of a stage is its help text.
usage() {
    awk 'NR > 1 { if (!/^#/) exit; sub(/^# ?/, ""); print }' "$0"
}

# options ARGUMENTS...: for each `--some-name VALUE` that the help text lists, sets SOME_NAME; for a `--switch` that is listed
# without a value, SWITCH=yes. Values of an option that "may be repeated" are the lines of SOME_NAME. What follows a `--` goes
# to REST.
options() {
    REST=()
    local name
    local -A seen=()
    while [[ $# -gt 0 ]]; do
        [[ $1 != --help ]] || { usage; exit 0; }
        if [[ $1 != --* ]] || ! grep -qF -- "#   $1 " "$0"; then die "unknown option $1; see --help"; fi
        if [[ $1 == -- ]]; then
            REST=("${@:2}")
            return
        fi
        name=${1#--}
        name=${name//-/_}
        name=${name^^}
        if grep -qE "^#   $1  " "$0"; then
            printf -v "$name" yes
            shift
            continue
        fi
        [[ $# -ge 2 ]] || die "$1 needs a value; see --help"
        if [[ -v seen[$name] ]] && grep -qE "^#   $1 .*may be repeated" "$0"; then
            printf -v "$name" '%s\n%s' "${!name}" "$2"
        else
            printf -v "$name" %s "$2"
        fi
        seen[$name]=yes
        shift 2
    done
}

# need NAME VALUE: an option without which the stage has nothing to do.
need() {
    [[ -n "$2" ]] || die "$1 is required; see $(basename "$0") --help"
}

# same_options FOLDER DESCRIPTION: what a stage made with other options must not be taken for its output.
same_options() {
    if [[ -e $1/options.txt && $(< "$1/options.txt") != "$2" ]]; then
        die "$1 was made with other options ($(< "$1/options.txt")); remove the folder, or name another"
    fi
}

# references FILE: the references of a test set, one or, with .0, .1, ... behind its name, several.
references() {
    if [[ -e $1 ]]; then echo "$1"; else compgen -G "$1.[0-9]" | sort || die "$1: no such file, and no $1.0"; fi
}

# original FILE: a test set's source as it was before clean.sh normalised and segmented it, if it did.
original() {
    if [[ -e $1.original ]]; then echo "$1.original"; else echo "$1"; fi
}

# require_text FILE: UTF-8 without empty lines.
require_text() {
    iconv -f utf-8 -t utf-8 "$1" > /dev/null 2>&1 \
        || die "$1: line $(LC_ALL=C.UTF-8 grep -naxvm1 '.*' "$1" | cut -d: -f1) is not UTF-8; convert the file first"
    local empty
    empty=$(awk 'NF == 0 { print NR; exit }' "$1")
    [[ -z $empty ]] || die "$1: line $empty is empty; drop that pair from both sides"
}

# fetch FOLDER SHA256 ADDRESS: a file of that name in the folder, downloaded unless it is there already. An interrupted
# download is resumed. SHA256 is `-` where the caller checks what is in the file.
fetch() {
    local folder=$1 checksum=$2 address=$3 file
    file=$folder/$(basename "$address")
    if [[ ! -e $file ]]; then
        mkdir -p "$folder"
        exec 7> "$file.lock"  # another recipe may want it, too
        flock 7
        if [[ ! -e $file ]]; then
            echo "$checksum  $file.part" | sha256sum --check --status 2> /dev/null \
                || curl --fail --location --silent --show-error --retry 3 --continue-at - --output "$file.part" "$address" \
                || die "cannot download $address; put the file into $folder, or remove $file.part if that is damaged"
            mv "$file.part" "$file"
        fi
        rm -f "$file.lock"
        exec 7>&-
    fi
    [[ $checksum == - ]] || echo "$checksum  $file" | sha256sum --check --quiet >&2 || die "$file: its SHA-256 is not $checksum; remove it"
}

# wmt_set FOLDER SET SOURCE TARGET PREFIX: a test set of WMT by sacrebleu's name, as PREFIX.SOURCE and PREFIX.TARGET. sacrebleu
# downloads it into the folder, unless it is there, and checks it.
wmt_set() {
    local side
    for side in "src $3" "ref $4"; do
        SACREBLEU=$1 sacrebleu --test-set "$2" --language-pair "$3-$4" --echo "${side% *}" \
            | python -c '
import sys
from weightdistill.text.markup import unescape
for line in sys.stdin:
    print(" ".join(unescape(line).split()))' > "$5.${side#* }" \
            || die "sacrebleu cannot give $2; put its archive into $1, or text of yours into the folder that --local names"
    done
}

# count_gpus: sets GPUS to the number of this machine's. Importing torch takes more than a second, so a script asks it once.
GPUS=''
count_gpus() {
    [[ -n $GPUS ]] || GPUS=$(python -c 'import torch; print(torch.cuda.device_count())')
}

# On a GPU fairseq trains in fp16; without one it needs --cpu.
has_gpu() {
    count_gpus
    [[ $GPUS -gt 0 ]]
}

# devices: GPUs of all NODES (default: 1), on which one training runs; without GPUs a process of each.
devices() {
    count_gpus
    echo $((${NODES:-1} * (GPUS > 0 ? GPUS : 1)))
}

# passes OPTIONS...: with --batch-tokens N among them, prints --update-freq and --max-tokens, one word a line: how many passes
# make an update of N tokens, and how many tokens each has on a GPU, at most the --max-tokens given. So the paper's batch is the
# same on one GPU, on three and on sixteen.
passes() {
    local batch='' tokens='' valid='' devices passes share
    while [[ $# -gt 0 ]]; do
        [[ $1 != --batch-tokens ]] || batch=$2
        [[ $1 != --max-tokens ]] || tokens=$2
        [[ $1 != --max-tokens-valid ]] || valid=$2
        shift
    done
    [[ -n $batch ]] || return 0
    [[ -n $tokens ]] || die "--batch-tokens needs --max-tokens, the most tokens of one pass on one GPU"
    devices=$(devices)
    passes=$(((batch + tokens * devices - 1) / (tokens * devices)))
    share=$((batch / (passes * devices)))
    [[ $share -ge 1024 || $((4 * share)) -ge $tokens ]] \
        || die "$devices GPUs have $share tokens each of a batch of $batch, which a long sentence may exceed; take fewer of" \
            "them (CUDA_VISIBLE_DEVICES, NODES), or a larger --batch-tokens"
    [[ -n $valid ]] || printf '%s\n' --max-tokens-valid "$tokens"
    printf '%s\n' --update-freq "$passes" --max-tokens "$share"
}

# train SAVE_DIR DATA OPTIONS...: fairseq-train with the plugin, started by LAUNCHER if there is one (e.g. "srun --nodes 4
# --ntasks-per-node 1"); on a GPU in fp16 unless the options say --amp or --bf16, without one on the CPU. --batch-tokens N sets
# --update-freq and --max-tokens to what the GPUs need. All output goes to SAVE_DIR/train.log; the terminal shows the progress.
# It resumes from SAVE_DIR/checkpoint_last.pt. A finished training, which has a training.json, is left as it is.
train() {
    local save=$1 data=$2 device=(--cpu)
    shift 2
    [[ -d $data ]] || die "$data: no such folder; --data needs a data-bin of prepare.sh or fairseq-preprocess"
    mkdir -p "$save"
    # A run that was killed may have left its training running; two in one folder would spoil each other.
    exec 8> "$save/.lock"
    flock --nonblock 8 || { echo "waiting for the training that is running in $save"; flock 8; }
    # Resuming with other options, data or teachers would give a model that nothing describes.
    local option path paths files=("$data"/dict.* "$data"/train.*) described quoted
    for option in "$@"; do
        IFS=, read -ra paths <<< "$option"  # several teachers come comma-separated
        for path in "${paths[@]}"; do
            if [[ -f $path ]]; then files+=("$path"); fi
            if [[ -f $path/train/cache.json ]]; then files+=("$path"/*/cache.json); fi
        done
    done
    printf -v quoted ' %q' "$@"
    described=$data$quoted$'\n'$(sha256sum "${files[@]}")
    if [[ (-e $save/checkpoint_last.pt || -e $save/training.json) && -e $save/options.txt ]] \
        && [[ $(< "$save/options.txt") != "$described" ]]; then
        die "$save holds a training with other options or inputs (its options.txt says which); remove the folder to" \
            "train anew, or that file to resume with these"
    fi
    if [[ -e $save/training.json ]]; then
        echo "trained already: $save"
        return
    fi
    echo "$described" > "$save/options.txt"
    local batch arguments=() launcher=()
    count_gpus
    batch=$(passes "$@")
    while [[ $# -gt 0 ]]; do
        if [[ $1 == --batch-tokens ]]; then shift 2; else arguments+=("$1"); shift; fi
    done
    if [[ -n $batch ]]; then
        readarray -t -O "${#arguments[@]}" arguments <<< "$batch"
    fi
    if has_gpu; then
        device=(--fp16)
        [[ " ${arguments[*]} " != *" --amp "* && " ${arguments[*]} " != *" --bf16 "* ]] || device=()
    fi
    if [[ -n ${LAUNCHER:-} ]]; then
        read -ra launcher <<< "$LAUNCHER"
        # Without the number, every process of the launcher would train for itself, into the same files.
        [[ ${NODES:-1} -gt 1 ]] || die "LAUNCHER starts trainings on several machines; set NODES to their number"
        device+=(--distributed-world-size "$(devices)" --distributed-port "${MASTER_PORT:-29500}")
    elif [[ ${NODES:-1} -ne 1 ]]; then  # whose share of the batch nobody would compute
        die "NODES is $NODES, but nothing starts the training on them; set LAUNCHER, or leave out NODES"
    fi
    python -m weightdistill.experiment.progress --log "$save/train.log" -- "${launcher[@]}" fairseq-train "$data" \
        --user-dir "$PLUGIN" --save-dir "$save" "${device[@]}" --num-workers 0 --required-batch-size-multiple 1 \
        --log-format json "${arguments[@]}"
    python -m fairseq_plugins.training_record "$save"
}

# experiment OUTPUT [SNAKEMAKE OPTIONS]: runs experiments/Snakefile in a folder, and shows the progress of its trainings.
experiment() {
    local output=$1
    shift
    python -m weightdistill.experiment.launch --folder "$output" -- "$@" \
        || die "a stage failed; its log in $output/logs says why"
}

# in_parallel JOBS COMMAND ITEM...: runs COMMAND with each item, so many at a time, and waits for all of them.
in_parallel() {
    local jobs=$1 command=$2 item
    shift 2
    for item in "$@"; do
        while [[ $(jobs -rp | wc -l) -ge $jobs ]]; do wait -n || true; done
        "$command" "$item" &
    done
    wait  # what failed has left no results, which is noticed where they are read
}
