# Sourced by Probes/run and Tests/run: what is missing on this machine, and its installation.
# Nothing here does anything, or says anything, when nothing is missing.

say() { printf '%s: %s\n' "$me" "$*" >&2; }
# Exit code 2: could not do its work.
give_up() { say "$@"; exit 2; }

has() { command -v "$1" >/dev/null 2>&1 || [ -x "/usr/sbin/$1" ] || [ -x "/sbin/$1" ]; }

# missing_packages TOOL...: prints the Debian packages of those that are not there.
missing_packages() {
  local tool
  for tool in "$@"; do
    case $tool in
      libpcap) pkg-config --exists libpcap 2>/dev/null || echo libpcap-dev ;;
      zlib) pkg-config --exists zlib 2>/dev/null || echo zlib1g-dev ;;
      nginx) has nginx || echo nginx-light ;;
      ip) has ip || echo iproute2 ;;
      dpkg-shlibdeps) has dpkg-shlibdeps || echo dpkg-dev ;;
      nft) has nft || echo nftables ;;
      uwsgi) has uwsgi || echo uwsgi-core ;;
      uwsgi-python3) [ -e /usr/lib/uwsgi/plugins/python3_plugin.so ] || echo uwsgi-plugin-python3 ;;
      php-fpm) compgen -c php-fpm | grep -q . || echo php-fpm ;;
      node) has node || echo nodejs ;;
      *) has "$tool" || echo "$tool" ;;
    esac
  done
}

# install_missing TOOL...: installs what is missing, or says what to do about it.
install_missing() {
  local packages
  mapfile -t packages < <(missing_packages "$@")
  [ ${#packages[@]} -gt 0 ] || return 0
  if ! has apt-get; then
    give_up "this machine lacks what Debian calls ${packages[*]}, and has no apt-get." \
      "Install the same by its own means, then run this again."
  fi
  if [ "$(id -u)" -ne 0 ]; then
    give_up "${packages[*]} must be installed first, which needs root." \
      "Run this once as root, or: apt-get install ${packages[*]}"
  fi
  say "installing ${packages[*]}"
  # A subshell: its EXIT trap puts the policy back, and this script goes on to exec.
  (
    export DEBIAN_FRONTEND=noninteractive NEEDRESTART_SUSPEND=1
    log=$(mktemp)
    trap 'rm -f "$log"' EXIT
    services=$(services_of "${packages[@]}")
    if [ -n "$services" ]; then keep_off $services; fi
    if ! { apt-get -q update && apt-get -q -y --no-install-recommends \
        -o DPkg::Lock::Timeout=120 -o Dpkg::Options::=--force-confold \
        install "${packages[@]}"; } </dev/null >"$log" 2>&1; then
      cat "$log" >&2
      give_up "apt-get could not install ${packages[*]}; its own words are above."
    fi
    if [ -n "$services" ]; then stay_off $services; fi
  ) || exit
}

# services_of PACKAGE...: prints the services that Debian would start with them.
services_of() {
  local package
  for package in "$@"; do
    case $package in
      nginx-light) echo nginx ;;
      apache2 | haproxy | nftables) echo "$package" ;;
      php-fpm) apt-cache depends php-fpm 2>/dev/null | grep -o 'php[0-9][0-9.]*-fpm' | head -1 ;;
    esac
  done
}

# Debian starts a service as soon as its package is there; these are only for namespaces of our own,
# and port 80 is to stay as it was. A policy that exists already is not touched; where it would let
# them start, systemd is told not to. Without either none can start.
keep_off() {
  local service
  policy=/usr/sbin/policy-rc.d
  running_before=$(for service in "$@"; do is_running "$service" && printf '%s ' "$service"; done || true)
  if [ ! -e $policy ] && [ ! -L $policy ]; then
    trap 'rm -f "$log" "$policy"' EXIT
    printf '#!/bin/sh\n# Made by upclose for the time of one installation.\n%s\n' \
      "case \$1 in $(printf '%s*|' "$@")-) exit 101 ;; *) exit 0 ;; esac" >$policy
    chmod 755 $policy
  elif [ -d /run/systemd/system ]; then
    masked=("${@/%/.service}")
    trap 'rm -f "$log"; systemctl unmask --runtime "${masked[@]}" >/dev/null 2>&1 || true' EXIT
    systemctl mask --runtime "${masked[@]}" >/dev/null 2>&1 || true
  fi
}

is_running() {
  local file
  for file in "/run/$1.pid" "/run/$1/$1.pid" "/run/php/$1.pid"; do
    if [ -s "$file" ]; then return 0; fi
  done
  return 1
}

# Whatever the policy was: not running, and not at the next start of the machine either. One that ran
# before the installation is somebody else's.
stay_off() {
  local service
  for service in "$@"; do
    if [[ " $running_before " != *" $service "* ]] && is_running "$service"; then
      service "$service" stop </dev/null >/dev/null 2>&1 || true
    fi
    update-rc.d "$service" disable </dev/null >/dev/null 2>&1 || true
  done
  say "installed for use in private namespaces, services off: $*"
}

# The toolchain itself is not in Debian.
need_swift() {
  has swift || give_up "swift is not on PATH; upclose needs Swift 6.2 or later: https://swift.org/install"
}
