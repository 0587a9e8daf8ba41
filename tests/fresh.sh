#!/usr/bin/env bash
# Try the README on a fresh machine: a bare Debian root with Python, git and make, and nothing else.
#
#   tests/fresh.sh [TARGET...]      TARGET: further make targets to run there, such as demo or test
#
# In the root it runs, as an ordinary user: make install, lcsd doctor, and, in an empty environment, pip install of the
# wheel and lcsd run on two tiny phantoms (tests/wheel.py). It needs root, mmdebstrap, a network and 8 GB in TMPDIR. How
# this machine reaches its registries (pip's configuration, certificates, names of hosts) is copied into the root.
# MIRROR may name a mirror of Debian, and SUITE another release than this machine's: trixie has Python 3.13. Nothing
# stays but the log.
set -euo pipefail

if [ -z "${FRESH_INSIDE:-}" ]; then
  [ "$(id -u)" = 0 ] || { echo "fresh: needs root, for mounts and chroot" >&2; exit 2; }
  command -v mmdebstrap > /dev/null || { echo "fresh: install Debian's package mmdebstrap" >&2; exit 2; }
  # All mounts and processes below end with this namespace.
  FRESH_INSIDE=1 exec unshare --mount --propagation private --pid --fork --kill-child --mount-proc -- "$0" "$@"
fi

checkout=$(cd "$(dirname "$0")/.." && pwd)
root=$(mktemp -d "${TMPDIR:-/tmp}/fresh.XXXXXX")
clean() {
  # The folders that are shared with this machine must be unmounted before anything is removed.
  cut -d' ' -f2 /proc/mounts | grep "^$root/" | sort --reverse | xargs --no-run-if-empty umount --lazy || true
  if grep -q " $root/" /proc/mounts; then
    echo "fresh: $root is still in use and stays" >&2
  else
    rm -rf --one-file-system "$root"
  fi
}
trap clean EXIT

step() {  # step NAME COMMAND...: run it and say how long it took
  local name=$1 begin=$SECONDS
  shift
  "$@" || { echo "fresh: $name: failed after $((SECONDS - begin)) s" >&2; exit 1; }
  echo "fresh: $name: $((SECONDS - begin)) s"
}

share() {  # share PATH: what lies at an absolute path here lies there, too, read-only
  [ -e "$1" ] && [ ! -e "$root$1" ] || return 0
  if [ -d "$1" ]; then
    mkdir -p "$root$1"
    mount --bind "$1" "$root$1"
    mount -o remount,ro,bind "$root$1"
  else
    install -D -m 644 "$1" "$root$1"
  fi
}

debian() {
  . /etc/os-release
  mmdebstrap --quiet --dpkgopt=force-unsafe-io --variant=minbase --include=python3,python3-venv,git,make,ca-certificates \
    "${SUITE:-${VERSION_CODENAME:-stable}}" "$root" ${MIRROR:+"$MIRROR"}
  chroot "$root" useradd --create-home --home-dir /srv/user user
}

reach() {
  cp /etc/resolv.conf /etc/hosts "$root/etc/"
  cp /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/"
  for file in /etc/pip.conf /etc/xdg/pip/*; do share "$file"; done
  if [ -d "$HOME/.config/pip" ]; then
    mkdir -p "$root/srv/user/.config"
    cp -r "$HOME/.config/pip" "$root/srv/user/.config/"
  fi
  # Folders of wheels and indices that pip's configuration names.
  for word in $(python3 -m pip config list | sed "s/^[^=]*=//; s/'//g; s/\\\\n/ /g"); do
    word=${word#file://}
    case $word in
      /*/simple) share "${word%/simple}" ;;
      /*) share "$word" ;;
    esac
  done
  mount -t proc proc "$root/proc"
  mount --rbind /dev "$root/dev"
}

inside() {  # inside COMMAND...: run it in the root as the user, in the clone
  chroot --userspec=user --groups=user "$root" env --ignore-environment \
    PATH=/usr/bin:/bin HOME=/srv/user LANG=C.UTF-8 $(env | grep -E '^(PIP_|SSL_CERT|REQUESTS_CA_BUNDLE=)' || true) \
    sh -c 'cd ~/lcsd && exec "$@"' sh "$@"
}

clone() {
  git -c safe.directory='*' clone --quiet --no-hardlinks "$checkout" "$root/srv/user/lcsd"
  chroot "$root" chown -R user:user /srv/user
}

wheel() {
  inside .venv/bin/python -m pip wheel --quiet --no-deps --wheel-dir dist . &&
    inside sh -c 'ls -l dist/*.whl && python3 -m tests.wheel dist/*.whl'
}

step "bare Debian" debian
step "registries" reach
step "clone" clone
inside sh -c '. /etc/os-release; echo "fresh: $PRETTY_NAME, $(python3 --version), $(git rev-parse --short HEAD)"'
step "make install" inside make install
step "lcsd doctor" inside .venv/bin/lcsd doctor
step "wheel, pip install, lcsd run" wheel
for target in "$@"; do
  step "make $target" inside make "$target"
done
echo "fresh: all passed in $SECONDS s"
