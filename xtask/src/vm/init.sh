#!/bin/bash
# The first process of the virtual machine: makes a system, runs what /vm/run says, and ends. A kernel
# whose first process dies stands still, and the time that it is given runs out.
export PATH=/bin HOME=/root
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
mkdir -p /dev/pts /run/netns /var/lib
ln -s /proc/self/fd /dev/fd
ln -s fd/0 /dev/stdin
ln -s fd/1 /dev/stdout
ln -s fd/2 /dev/stderr
mount -t cgroup2 cgroup /sys/fs/cgroup
mount -t bpf bpf /sys/fs/bpf
stty -F /dev/ttyS1 raw -echo
stty -F /dev/ttyS2 raw -echo
exec </dev/null >/dev/ttyS1 2>&1
ip link set lo up

# Runs one test program: its name, its directory, and its words.
program() {
    local name=$1
    cd "$2" || return
    export CARGO_MANIFEST_DIR=$2
    shift 2
    echo "vm: $name at $(cut -d' ' -f1 /proc/uptime) s"
    "$@"
    local result=$?
    # 101 is what a test program ends with when it has counted its failures itself.
    if [ $result != 0 ] && [ $result != 101 ]; then
        echo "running 1 test"
        echo "test $name (the program itself, $result) ... FAILED"
        echo "test result: FAILED. 0 passed; 1 failed; 0 ignored"
    fi
}

. /vm/run
cat "$RECORD" >/dev/ttyS2
echo o >/proc/sysrq-trigger
sleep 60
