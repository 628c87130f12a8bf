#!/bin/busybox sh
# The guest's first process: the host's files, read-only, under a layer of its own in memory; then
# the host's script runs there. Nothing is written to the host but in /run/lenslink/out.

/bin/busybox mkdir -p /proc /sys /dev /lower /layer /root /sbin /usr/bin /usr/sbin
/bin/busybox --install -s
export PATH=/bin:/sbin:/usr/bin:/usr/sbin

mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev

fail() {
    echo "lenslink-guest: $*"
    poweroff -f
}

for module in $(cat /modules/load); do
    insmod "/modules/$module" || fail "the kernel does not load $module"
done
options=trans=virtio,version=9p2000.L,msize=512000
mount -t 9p -o "ro,cache=loose,$options" lower /lower || fail "the host's files are not to be had"
mount -t tmpfs -o size=600m layer /layer
mkdir /layer/upper /layer/work
mount -t overlay -o lowerdir=/lower,upperdir=/layer/upper,workdir=/layer/work none /root ||
    fail "no overlay"
mkdir -p /root/proc /root/sys /root/dev /root/run
mount -o move /proc /root/proc
mount -o move /sys /root/sys
mount -o move /dev /root/dev
mkdir -p /root/dev/pts /root/dev/shm
mount -t devpts devpts /root/dev/pts
mount -t tmpfs shm /root/dev/shm
mount -t tmpfs run /root/run
mkdir -p /root/run/lenslink/out /root/run/tmp
mount -t 9p -o "$options" out /root/run/lenslink/out || fail "the folder of results is not to be had"
cp /job/* /root/run/lenslink
ip link set lo up
ip link set eth0 up
ip address add 10.0.2.15/24 dev eth0
exec switch_root /root /bin/sh /run/lenslink/run
