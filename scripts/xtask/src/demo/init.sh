#!/bin/sh
# The first process of the demos' Linux. The kernel hands over words of its command line as
# variables: XTEST is the arguments of OP-TEE's test suite, HOTPLUG a number of rounds,
# HOTPLUG_BESIDE turns PEs off and on while the suite or variables.sh runs, VARIABLES and REPEAT are
# for variables.sh, SHELL_WANTED leaves a shell in place of the suite.
export PATH=/bin HOME=/
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
mount -t tmpfs tmpfs /tmp
ifconfig lo up
for module in ffa-core ffa-module tee optee optee-rng; do
	insmod "/modules/$module.ko"
done

for device in /sys/bus/arm_ffa/devices/*; do
	echo "demo: partition $(cat "$device/modalias")"
done
for tee in /dev/tee[0-9]*; do
	[ -e "$tee" ] && echo "demo: $tee"
done
grep ARM-FFA /proc/interrupts

# Turns one PE after the other off and on, about one a second, until /tmp/calm is there.
off_and_on() {
	count=0
	while [ ! -e /tmp/calm ]; do
		for switch in /sys/devices/system/cpu/cpu[1-9]*/online; do
			echo 0 >"$switch" || echo "demo: failed: off $switch"
			sleep 0.5
			echo 1 >"$switch" || echo "demo: failed: on $switch"
			sleep 0.5
			count=$((count + 1))
		done
	done
	echo "demo: $count times off and on"
}

# Runs a command, with PEs off and on beside it if that is wanted.
beside() {
	[ -n "$HOTPLUG_BESIDE" ] && off_and_on &
	"$@"
	result=$?
	touch /tmp/calm
	wait
	rm /tmp/calm
	return $result
}

# Every PE but the first one off and on again.
round=0
while [ "$round" -lt "${HOTPLUG:-0}" ]; do
	for switch in /sys/devices/system/cpu/cpu[1-9]*/online; do
		[ -e "$switch" ] || continue
		echo 0 >"$switch" || echo "demo: failed: off $switch"
	done
	for switch in /sys/devices/system/cpu/cpu[1-9]*/online; do
		[ -e "$switch" ] || continue
		echo 1 >"$switch" || echo "demo: failed: on $switch"
	done
	round=$((round + 1))
done
[ -n "$HOTPLUG" ] && echo "demo: $round rounds of hotplug"
echo "demo: $(nproc) PEs"

[ -n "$VARIABLES" ] && beside sh /variables.sh

if [ -n "$XTEST" ]; then
	tee-supplicant -d
	if [ -n "$SHELL_WANTED" ]; then
		echo "The tests are: xtest $XTEST"
	else
		# shellcheck disable=SC2086 # several words
		beside xtest $XTEST
		echo "demo: xtest ended with $?"
	fi
fi
dmesg -r | sed -n 's/^<[0-3]>/demo: error in the log:/p; s/^<4>/demo: warning in the log:/p'
if [ -n "$SHELL_WANTED" ]; then
	setsid cttyhack sh
fi
echo "demo: end"
poweroff -f
