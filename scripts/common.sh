# Shared by every stage in this folder: strict mode, the environment, the allocator settings, and four small helpers.
set -euo pipefail

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
VENV=${WEIGHTDISTILL_VENV:-$ROOT/.venv}
PLUGIN=$ROOT/fairseq_plugins
export PATH="$VENV/bin:$PATH"
export PYTHONPATH="$ROOT${PYTHONPATH:+:$PYTHONPATH}"

# glibc hands big tensors back to the kernel after each operation by default; keeping them saves a quarter of a
# training step on a CPU.
export MALLOC_MMAP_MAX_=0 MALLOC_TRIM_THRESHOLD_=8589934592 MALLOC_TOP_PAD_=268435456

die() {
    echo "$(basename "$0"): $*" >&2
    exit 2
}

# The comment block at the head of a stage is its help text.
usage() {
    awk 'NR > 1 { if (!/^#/) exit; sub(/^# ?/, ""); print }' "$0"
}

# need NAME VALUE: an option without which the stage has nothing to do.
need() {
    [[ -n "$2" ]] || die "$1 is required; see $(basename "$0") --help"
}

# On a GPU fairseq trains in fp16; without one it needs --cpu, and bf16 autocast where the task offers it.
has_gpu() {
    python -c 'import sys, torch; sys.exit(not torch.cuda.is_available())'
}
