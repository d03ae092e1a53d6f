#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# check_package.sh - makes the Debian package, installs it, runs what it installed, removes it.
#
# As root, where no ilorad is installed: with dpkg, scripts and all. Otherwise the package is
# unpacked into a folder and run from there.
set -euo pipefail
build=${ILORA_BUILD:?}
for tool in cpack dpkg-deb dpkg-shlibdeps; do
    command -v $tool >/dev/null || { echo "$tool is missing"; exit 77; }
done
[ -f "$build/CPackConfig.cmake" ] || { echo "no package is configured"; exit 77; }
[ -x "$build/daemon/ilorad" ] && [ -f "$build/ops/ilorad.conf" ] || { echo "not built"; exit 77; }

work=$(mktemp -d /tmp/ilora-package-XXXXXX)
daemon='' installed=no made_user=no
clean_up() {
    code=$?
    if [ -n "$daemon" ]; then kill -KILL "$daemon" 2>/dev/null || true; fi
    if [ $installed = yes ]; then dpkg --purge ilorad >/dev/null || true; fi
    if [ $made_user = yes ]; then userdel ilorad 2>/dev/null || true; fi
    rm -rf "$work"
    exit $code
}
trap clean_up EXIT

cd "$work"
cpack --config "$build/CPackConfig.cmake" -G DEB -B "$work" >"$work/cpack.log" 2>&1 || {
    cat "$work/cpack.log"
    exit 1
}
package=$(ls "$work"/ilorad_*.deb)
dpkg-deb --field "$package" Depends | grep librdkafka1 >/dev/null
dpkg-deb --contents "$package" >"$work/contents"
for path in ./usr/sbin/ilorad ./usr/bin/iloractl ./usr/lib/systemd/system/ilorad.service \
    ./usr/lib/systemd/system/ilorad@.service ./usr/lib/sysusers.d/ilorad.conf \
    ./etc/ilorad/ilorad.conf ./usr/share/man/man8/ilorad.8.gz ./usr/share/man/man1/iloractl.1.gz \
    ./usr/share/man/man5/ilorad.conf.5.gz ./usr/share/doc/ilorad/copyright; do
    grep -q " $path\$" "$work/contents" || { echo "$path is not in it"; exit 1; }
done

if [ "$(id -u)" = 0 ] && ! dpkg-query -W ilorad >/dev/null 2>&1 && [ ! -e /etc/ilorad ]; then
    getent passwd ilorad >/dev/null || made_user=yes
    installed=yes
    dpkg --install "$package" >"$work/dpkg.log" 2>&1 || { cat "$work/dpkg.log"; exit 1; }
    prefix=''
    getent passwd ilorad >/dev/null || { echo "no user ilorad"; exit 1; }
    [ "$(stat -c %U:%a /var/lib/ilorad)" = ilorad:750 ] || { echo "/var/lib/ilorad"; exit 1; }
    man -w ilorad.conf >/dev/null 2>&1 || echo "(man pages are excluded on this machine)"
else
    mkdir "$work/root"
    dpkg-deb --extract "$package" "$work/root"
    prefix=$work/root
fi
grep -q 'ExecStart=/usr/sbin/ilorad ' "$prefix/usr/lib/systemd/system/ilorad.service"
"$prefix/usr/sbin/ilorad" --config "$prefix/etc/ilorad/ilorad.conf" --check-config

# One event goes in, a prediction comes out, everything is accounted for.
cat >"$work/ilorad.conf" <<CONF
[state]
path = $work/state
[base_model]
path = builtin:tiny
[http]
listen = none
CONF
ctl() { "$prefix/usr/bin/iloractl" --config "$work/ilorad.conf" "$@"; }
"$prefix/usr/sbin/ilorad" --config "$work/ilorad.conf" 2>"$work/log" &
daemon=$!
for ((i = 0; i < 300; i++)); do
    ctl --json status 2>/dev/null | grep '"ready":true' >/dev/null && break
    kill -0 $daemon 2>/dev/null || { cat "$work/log"; exit 1; }
    sleep 0.1
done
ctl generate --users 20 --items 72 --events 200 --send
for ((i = 0; i < 300; i++)); do
    ctl --json status | grep '"applied":200,' >/dev/null && break
    sleep 0.1
done
ctl --json status | grep '"applied":200,' >/dev/null || { ctl status; cat "$work/log"; exit 1; }
for ((i = 0; i < 300; i++)); do # the first version knows items; before it there is nothing to say
    ctl --json status | grep '"version_in_force":[1-9]' >/dev/null && break
    sleep 0.1
done
ctl generate --users 20 --items 72 --events 50 --seed 2 --send
for ((i = 0; i < 100; i++)); do # the last group is cut by a timer
    [ -n "$(ctl consume predictions --max 1)" ] && break
    sleep 0.1
done
ctl consume predictions --max 1 | grep '"user"' >/dev/null
ctl history u1 >/dev/null
kill -TERM $daemon
wait $daemon || { echo "exit $?"; cat "$work/log"; exit 1; }
daemon=''
ctl audit
ctl fsck >"$work/fsck" || { cat "$work/fsck"; exit 1; }

if [ $installed = yes ]; then
    dpkg --remove ilorad >/dev/null
    [ ! -e /usr/sbin/ilorad ] && [ -e /etc/ilorad/ilorad.conf ]
    dpkg --purge ilorad >/dev/null
    installed=no
    [ ! -e /etc/ilorad/ilorad.conf ] && [ ! -e /var/lib/ilorad ]
    echo "installed, ran, was removed"
else
    echo "unpacked, ran"
fi
