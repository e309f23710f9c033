# shellcheck shell=bash
# Shared by every stage in this folder: strict mode, the environment, the allocator settings, and small helpers.
set -euo pipefail

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
if [[ -e $ROOT/__init__.py ]]; then  # installed: this folder lies in the package, whose environment is the caller's
    VENV=${WEIGHTDISTILL_VENV:-}
else
    VENV=${WEIGHTDISTILL_VENV:-$ROOT/.venv}
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

# separate OPTION=OUTPUT... -- OPTION=INPUT...: dies if an output would replace an input. No input may lie in an output
# that is a folder, because it is written anew.
separate() {
    python -m weightdistill.places "$(basename "$0")" "$@" || exit
}

# record FILE TEXT: writes a small file whole or not at all; several machines may write the same one. A process that is
# killed leaves FILE.*.tmp.
record() {
    local temporary=$1.$HOSTNAME.$$.tmp
    echo "$2" > "$temporary" || die "cannot write $1; check that the folder is writable and the disk not full"
    mv "$temporary" "$1"
}

# preprocess OPTIONS...: fairseq-preprocess. On a full disk it ends with a traceback; here, with one line.
preprocess() {
    local printed
    if ! printed=$(fairseq-preprocess "$@" 2>&1); then
        [[ $printed != *OSError:* ]] || die "fairseq-preprocess: ${printed##*OSError: }"
        echo "$printed" >&2
        die "fairseq-preprocess failed"
    fi
    echo "$printed"
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
