#!/usr/bin/env bash
# Run what experiments/README.md says of clusters on a Slurm cluster of two nodes, cut the power of nodes meanwhile, and compare
# the results with those of runs without a cluster. Writes report.md beside this script.
#
#   tests/system/slurm/run.sh [--folder DIR]
#
#   --folder DIR   receives everything (default: runs/slurm in the project)
#
# Needs root on Debian or Ubuntu, and snakemake-executor-plugin-slurm in the environment. Takes 40 minutes on two CPU cores.
# Interrupted, it resumes with the run that was interrupted.
source "$(dirname "$0")/../../../scripts/common.sh"
source "$(dirname "$0")/cluster.sh"

FOLDER=$ROOT/runs/slurm
options "$@"
isolate "$0" "$@"
trap 'exit 1' INT TERM
HERE=$(cd "$(dirname "$0")" && pwd)
python -c 'import snakemake_executor_plugin_slurm' 2> /dev/null \
    || die "Snakemake cannot use Slurm yet; run pip install snakemake-executor-plugin-slurm"
mkdir -p "$FOLDER/rows"
cd "$FOLDER"
FOLDER=$PWD
install_slurm
start_cluster "$FOLDER/cluster"

versions=$(python - << 'END'
from importlib.metadata import version
names = ("snakemake", "snakemake-executor-plugin-slurm", "torch", "fairseq-fixed", "weightdistill")
print(*(f"{name} {version(name)}" for name in names), sep=", ")
END
)

# Rewritten after each run, with those that are done.
report() {
    cat > "$HERE/report.md" << END
# Clusters

**Each run on the Slurm cluster below gave the weights, and the toy experiment also the translations and scores, of the same run
without a cluster, bit by bit.**

| run | seconds | what happened |
|:--|--:|:--|
$(cat rows/*)

- \`tests/system/slurm/run.sh\` wrote this. The toy experiment is a small form of the quick start; the training is phase 1.
- Both nodes lie on one machine ($(nproc --all) CPU cores, other work beside). Each is a slurmd with a host name and processes of
  its own. "Off" kills all of them at once. Slurm notices it within half a minute, and waits two minutes before it starts
  the job again.
- Not shown: several machines with GPUs. The GPUs that the toy experiment asks for only exist in Slurm's settings.
- $(date --utc +%F), Slurm $(slurmd -V | cut -d ' ' -f 2), $versions
END
}

# run NAME TITLE FUNCTION ARGUMENTS...: does it, unless it is done, and adds a row to the report. What the function appends to
# the file `events` says what happened meanwhile.
run() {
    [[ ! -e rows/$1 ]] || return 0
    echo "$2"
    rm -rf "$1"
    : > events
    SECONDS=0
    "${@:3}" "$1" &> "$1.log" &  # where a command that fails ends the function, which it would not do before ||
    wait $! || { tail "$1.log"; die "$2 failed; $FOLDER/$1.log says why"; }
    echo "| $2 | $SECONDS | $(paste --serial --delimiters ';' events | sed 's/;/; /g') |" | tee "rows/$1.part"
    mv "rows/$1.part" "rows/$1"
    report
}

event() { echo "$@" >> events; }

# wait_until PROCESS COMMAND...: while that process lives
wait_until() {
    until "${@:2}"; do
        kill -0 "$1" || return
        sleep 0.5
    done
}

# resumed LOG: the updates from which a training was resumed
resumed() {
    grep --only-matching 'Loaded checkpoint.*updates)' "$1" | sed 's/.*(/(/' | sort --unique | paste --serial --delimiters ' '
}

# same NAME NAME PATTERN...: whether two runs made the same files
same() {
    python "$HERE/compare.py" "$@" > equal
    event "equal: $(< equal)"
}

state() { squeue --noheader --states all --job "$1" --format %T; }

# requeued JOB: waits until Slurm notices that its node failed.
requeued() {
    until [[ $(state "$1") == PENDING ]]; do sleep 0.5; done
}

# The quick start in small, with a checkpoint every ten updates.
SMALL=(
    --config gpus=2 "raw=python {experiment}/corpus.py --output {output} --seed 1 --train 2000 --valid 100 --test 100"
    "reduced={teacher: --max-epoch 3}"
    "student_options=--warmup-updates 50 --max-epoch 5 --no-epoch-checkpoints --save-interval-updates 10"
    "phase1_options=--warmup-updates 20 --max-epoch 2 --no-epoch-checkpoints --save-interval-updates 10"
    "phase2_options=--warmup-updates 20 --max-epoch 3 --no-epoch-checkpoints --save-interval-updates 10"
)
# The cluster has no accounting database, and its GPUs only exist in its settings.
SLURM=(
    --executor slurm --jobs 2 --default-resources nodes=1 cpus_per_gpu=1 mem_mb=0
    --slurm-status-command squeue --slurm-init-seconds-before-status-checks 5
)
RESULTS=('exported/*/model.pt' 'evaluated/*/test.txt' 'evaluated/*/test.json')

# toy [SNAKEMAKE OPTIONS...] FOLDER: the experiment
toy() { QUICKSTART_DIR=$FOLDER/${*: -1} "$ROOT/scripts/quickstart.sh" "${@:1:$#-1}" "${SMALL[@]}"; }

toy_on_slurm() {
    toy "${SLURM[@]}" "$1" &
    wait_until $! test -e "$1/teacher/train.log"
    scontrol show job | grep --only-matching 'gres:gpu:2'  # the documented options give a training the GPUs of one node
    wait $!
    same local "$1" "${RESULTS[@]}"
}

# The node of a student's training fails, and later the machine on which Snakemake runs.
toy_in_trouble() {
    local student=students/kd-tiny-1 snakemake job node
    set -m
    toy "${SLURM[@]}" "$1" &
    set +m
    snakemake=$!
    wait_until "$snakemake" test -e "$1/$student/checkpoint_last.pt"
    read -r job node _ < <(squeue --noheader --states running --format '%i %N %k' | grep 'rule_student.*kd')
    power_off "$node"
    event "$node off during $student"
    requeued "$job"
    wait_until "$snakemake" test -e "$1/$student/training.json"
    event "resumed: $(resumed "$1/$student/train.log")"
    power_on "$node"
    wait_until "$snakemake" test -e "$1/phase2/wd-tiny-1/checkpoint_last.pt"
    kill -KILL -- "-$snakemake"
    event "Snakemake killed after $(grep -o '[0-9]* of [0-9]* steps' "$1.log" | tail -n 1)"
    scancel --user root
    toy "${SLURM[@]}" "$1"
    same local "$1" "${RESULTS[@]}"
}

# launcher NAME < SCRIPT: starts fairseq-train twice. With GPUs, fairseq itself finds out which process it is.
launcher() {
    cat > "$1"
    chmod +x "$1"
}
launcher by_hand << 'END'
#!/bin/sh
place='--distributed-no-spawn --distributed-init-method tcp://127.0.0.1:29500 --distributed-rank'
"$@" $place 1 &
"$@" $place 0 && wait $!
END
launcher by_srun << 'END'
#!/bin/sh
export FIRST=$(scontrol show hostnames | head -n 1)
exec srun --nodes 2 --ntasks-per-node 1 --kill-on-bad-exit sh -c \
    'exec "$@" --distributed-no-spawn --distributed-init-method tcp://$FIRST:29500 --distributed-rank $SLURM_PROCID' - "$@"
END
launcher by_torchrun << 'END'
#!/bin/sh
exec srun --nodes 2 --ntasks-per-node 1 --kill-on-bad-exit \
    torchrun --nnodes 2 --nproc-per-node 1 --rdzv-backend c10d --rdzv-endpoint $(scontrol show hostnames | head -n 1):29400 \
    --no-python sh -c 'exec "$@" --distributed-no-spawn --distributed-init-method env:// --distributed-rank $RANK' - "$@"
END
cat > job << END
#!/bin/sh
#SBATCH --nodes 2 --ntasks-per-node 1 --requeue --open-mode append
export NODES=2 OMP_NUM_THREADS=1
"$ROOT/scripts/phase1.sh" --data "$FOLDER/local/prepared/data-bin" --teacher "$FOLDER/local/teacher/average.pt" \
    --output "\$1" -- --cpu --distributed-backend gloo --ddp-backend legacy_ddp --max-tokens 1024 --batch-tokens 2048 \
    --lr 3e-3 --warmup-updates 20 --max-update 80 --save-interval-updates 10 --no-epoch-checkpoints --seed 1 && exit
[ "\${SLURM_RESTART_COUNT:-0}" -lt 3 ] && scontrol requeue "\$SLURM_JOB_ID"
END

training_by_hand() { LAUNCHER=$FOLDER/by_hand sh job "$1"; }

# submit LAUNCHER NAME: a training as a job; prints its number
submit() { LAUNCHER=$FOLDER/$1 sbatch --parsable --output "$FOLDER/$2.out" job "$2"; }

# finish JOB: waits for its end
finish() {
    while [[ $(state "$1") =~ PENDING|RUNNING|COMPLETING|CONFIGURING|REQUEUED ]]; do sleep 1; done
    [[ $(state "$1") == COMPLETED ]]
}

training_on_slurm() {
    finish "$(submit "$1" "$2")" || { cat "$2.out"; return 1; }
    same by-hand "$2" checkpoint_last.pt
}

# Both nodes fail, one after the other, and come back: first the one whose processes the batch script only started, then the one
# on which it runs.
training_in_trouble() {
    local job node checkpoint=$1/checkpoint_last.pt
    job=$(submit by_srun "$1")
    for node in node2 node1; do
        until [[ $(state "$job") == RUNNING && -e $checkpoint && $checkpoint -nt events ]]; do
            [[ $(state "$job") =~ RUNNING|PENDING|COMPLETING|REQUEUED ]] || return
            sleep 0.5
        done
        power_off "$node"
        event "$node off"
        requeued "$job"
        power_on "$node"
    done
    finish "$job"
    event "resumed: $(resumed "$1/train.log")"
    same by-hand "$1" checkpoint_last.pt
}

run local "toy, without a cluster" toy
run by-hand "training, two processes started by hand" training_by_hand
run by-srun "training, \`srun\` on two nodes" training_on_slurm by_srun
run by-torchrun "training, \`srun\` and \`torchrun\` on two nodes" training_on_slurm by_torchrun
run slurm "toy, \`--executor slurm\`" toy_on_slurm
run by-srun-trouble "training, \`srun\` in a job; power cuts" training_in_trouble
run slurm-trouble "toy, \`--executor slurm\`; a power cut, and Snakemake killed" toy_in_trouble
report
