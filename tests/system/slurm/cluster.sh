# shellcheck shell=bash
# A Slurm cluster of two nodes on one machine, for run.sh. Knows nothing about experiments.
#
# A node is a slurmd with a host name and processes of its own, and all CPUs of the machine. The nodes share the file system and
# the network. Needs root, on Debian or Ubuntu.

# isolate SCRIPT ARGUMENTS...: runs the script anew with host names, processes and mounts of its own, which end with it.
isolate() {
    [[ -z ${ISOLATED:-} ]] || return 0
    [[ $EUID -eq 0 ]] || die "must be root, because it installs Slurm and starts its daemons"
    ISOLATED=yes exec unshare --uts --pid --mount --fork --kill-child --mount-proc "$@"
}

install_slurm() {
    command -v slurmctld slurmd sbatch munged > /dev/null && return
    apt-get update --quiet=2
    DEBIAN_FRONTEND=noninteractive apt-get install --quiet=2 --no-install-recommends slurmctld slurmd slurm-client munge
}

# start_cluster FOLDER: the controller and both nodes, whose settings, state and logs lie in the folder.
start_cluster() {
    CLUSTER=$1
    rm -rf "$CLUSTER"
    mkdir -p "$CLUSTER"/{state,node1,node2} /etc/slurm /run/munge
    hostname controller
    printf '127.0.0.1 %s\n' localhost controller node1 node2 > "$CLUSTER/hosts"
    mount --bind "$CLUSTER/hosts" /etc/hosts
    mount --bind "$CLUSTER" /etc/slurm  # jobs of Snakemake do not pass on SLURM_CONF
    mount -t tmpfs -o mode=755 tmpfs /run/munge
    mungekey --create --keyfile=/run/munge/key
    munged --key-file=/run/munge/key --log-file=/run/munge/log --seed-file=/run/munge/seed --pid-file=/run/munge/pid

    # Each job has a node for itself, so that two jobs run on two nodes.
    cat > "$CLUSTER/slurm.conf" << END
ClusterName=test
SlurmctldHost=controller
SlurmUser=root
SlurmctldPidFile=$CLUSTER/slurmctld.pid
SlurmctldLogFile=$CLUSTER/slurmctld.log
SlurmctldPort=16817
StateSaveLocation=$CLUSTER/state
SlurmdPidFile=$CLUSTER/%n/pid
SlurmdLogFile=$CLUSTER/%n/log
SlurmdSpoolDir=$CLUSTER/%n
SlurmdTimeout=10
ReturnToService=2
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
GresTypes=gpu
NodeName=node1 Port=16818 CPUs=$(nproc --all) Gres=gpu:2
NodeName=node2 Port=16819 CPUs=$(nproc --all) Gres=gpu:2
PartitionName=all Nodes=ALL Default=YES OverSubscribe=EXCLUSIVE
END
    mknod "$CLUSTER/gpu0" c 1 3
    mknod "$CLUSTER/gpu1" c 1 3
    echo "Name=gpu File=$CLUSTER/gpu[0-1]" > "$CLUSTER/gres.conf"  # which Slurm hands out, and nothing uses
    slurmctld
    power_on node1
    power_on node2
}

# power_on NODE: starts its daemon, and waits until it takes jobs.
power_on() {
    # The shell is the first process of the node and takes care of its orphans.
    unshare --uts --pid --fork --kill-child --mount-proc \
        bash -c "hostname $1; slurmd -D; exit" &> "$CLUSTER/$1/output" &
    echo $! > "$CLUSTER/$1/unshare.pid"
    until [[ $(sinfo --noheader --nodes "$1" --format %t) == idle ]]; do sleep 1; done
}

# power_off NODE: the kernel kills its daemon, and all that it started.
power_off() {
    kill -KILL "$(< "$CLUSTER/$1/unshare.pid")"
}
