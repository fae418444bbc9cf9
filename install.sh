#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Sets onebackup up: on an OpenNebula front-end, or here for the demonstration and the tests.
set -euo pipefail

readonly EXIT_FAILED=1 EXIT_USAGE=2 EXIT_MISSING=3 EXIT_SETUP=4
readonly PROGRAM="./install.sh"
readonly VENV=".venv" DEMO_STATE=".demo" LOG="build/install.log" TEST_LOG="build/test.log"
readonly POLICY_FILE="${ONEBACKUP_POLICY_FILE:-/usr/sbin/policy-rc.d}" # the variable is there for the tests
readonly POLICY_MARK="# placed by onebackup's install.sh for the length of an installation"
PYTHON="${PYTHON:-python3}"

dry_run=no
policy_placed=no
as_root=()
front_end_options=()
environment="" installed="" writable="" usable=""

usage() {
    cat <<HELP
Usage: sudo $PROGRAM [--dry-run] [--enable-market-driver] [--no-timer]
       sudo $PROGRAM [--dry-run] --uninstall | --check
       $PROGRAM [--dry-run] demo | test

On an OpenNebula front-end (no command)
  installs onebackup beside OpenNebula 6.0 to 7.4 and registers its hooks. A second run changes nothing, a run of
  a newer release upgrades. Edited configuration is never touched: a new default goes beside it as *.new.
  --enable-market-driver
                 also adds the marketplace driver to oned.conf (a copy of it is kept; oned must be restarted), and
                 starts its gateway where systemd runs
  --no-timer     no systemd timer and no cron file: something else starts backup_vms
  --check        says of each prerequisite whether it is there and what to do (the same as: onebackup doctor)
  --uninstall    removes what was installed, hooks included; backups and configuration stay

Commands in a clone of the repository
  demo [--keep] [--version 6.4|7.4]
                 sets up what is missing, then backs a VM up on the sandbox front-end, and again the next day,
                 says what that cost, destroys the VM, restores it and proves that every disk came back
                 --keep     leaves the sandbox running and prints the commands to play on
                 --version  the OpenNebula version the sandbox plays (default 7.4)
  test [PYTEST ARGUMENTS]
                 sets up what is missing, then runs ruff, mypy and pytest; each of the three
                 runs even when the one before has failed

Options
  --dry-run      prints what would be done and does nothing
  --uninstall    where nothing is installed on a front-end (and neither DESTDIR nor ONE_LOCATION is set): removes the
                 local virtual environment and what the demonstration and the tests left in this directory;
                 system packages stay
  -h, --help     this text

What is set up: the system packages that are missing (apt-get, as root or through sudo where it
asks for no password; no service is started or enabled) and a Python environment in $VENV; on a front-end in
/usr/lib/one/onebackup/venv. The second time nothing is downloaded; it works without a network then.

Variables
  ONE_LOCATION   a self-contained OpenNebula installation
  DESTDIR        the root of another system to install into; nothing is started there, and hooks are registered only
                 when ONE_XMLRPC and ONE_AUTH name its front-end
  PYTHON         the interpreter (3.9 or newer) for a new environment
  ONEBACKUP_PYTHON
                 an interpreter that has the package already: no virtual environment is made on the front-end

Exit codes
  0    done
  $EXIT_FAILED    the demonstration proved nothing, or a part of the tests failed
  $EXIT_USAGE    wrong usage, or something that this release does not have
  $EXIT_MISSING    there is no front-end here, or it takes root; or a system package is missing and cannot be
       installed from here (the line says which)
  $EXIT_SETUP    a step failed (the line says which); with --check: something needs attention
  130  interrupted
HELP
}

say() { printf '%s\n' "$*"; }

die() { # die EXIT_CODE TEXT
    printf 'install.sh: %s\n' "$2" >&2
    exit "$1"
}

# ---- running steps ----------------------------------------------------------------------------

step() { # step NAME COMMAND...: output goes to the log; a failure names the step and the log
    local name=$1
    shift
    if [[ $dry_run == yes ]]; then
        say "would run: $*"
        return
    fi
    printf '\n=== %s: %s\n' "$name" "$*" >>"$LOG"
    if ! "$@" >>"$LOG" 2>&1 9>&-; then
        die $EXIT_SETUP "$name failed: $(last_words); the log is $PWD/$LOG"
    fi
}

last_words() { # the last telling line of the log
    grep -E '^(E:|ERROR|error)|[Ee]rror:' "$LOG" | tail -n 1 | cut -c 1-200 | grep . ||
        tail -n 1 "$LOG" | cut -c 1-200
}

open_log() {
    [[ $dry_run == no ]] || return 0
    mkdir -p build 2>/dev/null || die $EXIT_SETUP "cannot write in $PWD"
    : 2>/dev/null >"$LOG" || die $EXIT_SETUP "cannot write $PWD/$LOG"
}

lock() { # two runs in one checkout wait for each other while they set up
    [[ $dry_run == no ]] || return 0
    exec 9<setup.cfg
    flock --wait 900 9 || die $EXIT_SETUP "another install.sh has been setting up here for 15 minutes"
}

unlock() { exec 9<&-; }

# ---- system packages --------------------------------------------------------------------------

has() { PATH="$PATH:/usr/sbin:/sbin" command -v "$1" >/dev/null 2>&1; }

has_all() {
    local command
    for command in "$@"; do
        has "$command" || return 1
    done
}

environment_works() { [[ -x $VENV/bin/python ]] && "$VENV/bin/python" -c 'import pip' >/dev/null 2>&1; }

missing_packages() { # missing_packages demo|test|front-end: one Debian package a line
    has "$PYTHON" || say python3
    if [[ $1 == front-end ]] || ! environment_works; then
        "$PYTHON" -c 'import ensurepip, venv' >/dev/null 2>&1 || say python3-venv
    fi
    [[ $1 != front-end ]] || return 0
    has curl || say curl
    has_all qemu-img qemu-io qemu-nbd || say qemu-utils
    [[ $1 == test ]] || return 0
    has nginx || has apache2 || say nginx-light
    has_all radosgw radosgw-admin || say radosgw
    has ceph-mon || say ceph-mon
    has ceph-osd || say ceph-osd
    has shellcheck || say shellcheck
}

install_packages() {
    local packages
    mapfile -t packages < <(missing_packages "$1")
    [[ ${#packages[@]} -gt 0 ]] || return 0
    local install=(apt-get -o DPkg::Lock::Timeout=300 install -y --no-install-recommends "${packages[@]}")
    become_root "${packages[*]}"
    say "Installing system packages: ${packages[*]}"
    keep_services_stopped
    # An outdated package list may still do; if it does not, the installation says so.
    (step "updating the package lists" "${as_root[@]}" apt-get update) 2>/dev/null || true
    step "installing ${packages[*]}" "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive "${install[@]}"
    disable_services "${packages[@]}"
    release_services
}

become_root() { # become_root PACKAGES: fills as_root, or ends with the command to type
    if ! has apt-get; then
        die $EXIT_MISSING "these Debian packages are missing and there is no apt-get here: $1"
    elif [[ $EUID -eq 0 ]]; then
        as_root=()
    elif has sudo && sudo -n true 2>/dev/null; then
        as_root=(sudo -n)
    else
        die $EXIT_MISSING "system packages are missing; run: sudo apt-get install -y --no-install-recommends $1"
    fi
}

keep_services_stopped() { # Debian's way to say "install, but start nothing"; an existing policy is left alone
    if [[ -e $POLICY_FILE ]] && ! grep -qF "$POLICY_MARK" "$POLICY_FILE"; then
        return
    fi
    if [[ $dry_run == yes ]]; then
        say "would place $POLICY_FILE (no service starts) and take it away again"
        return
    fi
    policy_placed=yes
    printf '#!/bin/sh\n%s\nexit 101\n' "$POLICY_MARK" | "${as_root[@]}" tee "$POLICY_FILE" >/dev/null
    "${as_root[@]}" chmod 755 "$POLICY_FILE"
}

release_services() {
    if [[ $policy_placed == yes ]]; then
        "${as_root[@]}" rm -f "$POLICY_FILE"
        policy_placed=no
    fi
}

disable_services() { # what we brought in must not come up at the next boot either
    local package
    for package in "$@"; do
        if [[ $package == nginx-light ]] && has systemctl; then
            step "disabling the nginx service" "${as_root[@]}" systemctl disable nginx.service
        fi
    done
}

trap release_services EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# ---- the Python environment -------------------------------------------------------------------

stamp() { # stamp EXTRA: changes when the environment has to be set up again
    { cat setup.cfg pyproject.toml && say "$1 $PWD"; } | sha256sum | cut -d ' ' -f 1
}

stamp_file() { say "$VENV/.onebackup-$1"; }

is_set_up() { # is_set_up EXTRA
    environment_works && [[ "$(cat "$(stamp_file "$1")" 2>/dev/null)" == "$(stamp "$1")" ]]
}

prepare_environment() { # prepare_environment sandbox|test ("test" contains "sandbox")
    local extra=$1
    if is_set_up test || is_set_up "$extra"; then
        return
    fi
    say "Setting up the Python environment in $VENV"
    if ! environment_works; then
        check_python
        step "creating $VENV" "$PYTHON" -m venv --clear "$VENV"
    fi
    # Our own setuptools and no build isolation: a changed setup.cfg needs no network when all is there.
    local pip=("$VENV/bin/python" -m pip --disable-pip-version-check install --quiet)
    step "installing the build tools" "${pip[@]}" "setuptools>=64" wheel
    step "installing the Python packages" "${pip[@]}" --no-build-isolation -e ".[$extra]"
    [[ $dry_run == yes ]] || stamp "$extra" >"$(stamp_file "$extra")"
}

check_python() {
    [[ $dry_run == no ]] || return 0 # it may only come with the packages
    "$PYTHON" -c 'import sys; sys.exit(sys.version_info < (3, 9))' 2>/dev/null ||
        die $EXIT_MISSING "$PYTHON is not a Python 3.9 or newer; choose one with PYTHON=/path/to/python3"
}

prepare() { # prepare demo|test EXTRA
    open_log
    lock
    install_packages "$1"
    prepare_environment "$2"
    unlock
}

# ---- commands ---------------------------------------------------------------------------------

demo() {
    check_demo_arguments "$@"
    prepare demo sandbox
    if [[ $dry_run == yes ]]; then
        say "would run: $VENV/bin/python -m sandbox.demo $*"
        return
    fi
    exec "$VENV/bin/python" -m sandbox.demo "$@"
}

check_demo_arguments() {
    while [[ $# -gt 0 ]]; do
        case $1 in
        --keep) shift ;;
        --version)
            [[ ${2:-} == 6.4 || ${2:-} == 7.4 ]] || die $EXIT_USAGE "--version is 6.4 or 7.4, not '${2:-}'"
            shift 2
            ;;
        *) die $EXIT_USAGE "demo does not know '$1' (see $PROGRAM --help)" ;;
        esac
    done
}

run_tests() {
    prepare test test
    if [[ $dry_run == yes ]]; then
        say "would run: ruff check, mypy onebackup_driver sandbox, pytest $*"
        return
    fi
    local failed=()
    part ruff "$VENV/bin/ruff" check || failed+=(ruff)
    part mypy "$VENV/bin/mypy" onebackup_driver sandbox || failed+=(mypy)
    run_pytest "$@" || failed+=(pytest)
    [[ ${#failed[@]} -gt 0 ]] || return 0
    if [[ ${failed[*]} != pytest ]]; then
        say "FAILED: ${failed[*]}" # before the closing line, which is always the last one
        tail -n 1 "$TEST_LOG"
    fi
    exit $EXIT_FAILED
}

part() { # part NAME COMMAND...
    say "--- $1"
    "${@:2}"
}

run_pytest() {
    local options=()
    # One more than the two processors of a small machine: a third of a test is waiting for processes.
    has_module xdist && options+=(-n 3)
    has_module pytest_timeout && options+=(--timeout 180)
    # Real processes on a busy machine: what fails is tried once more, and counted in the last line as a rerun.
    has_module pytest_rerunfailures && options+=(--reruns 1 -rR)
    [[ ! -t 1 ]] || options+=(--color yes)
    say "--- pytest"
    "$VENV/bin/python" -m pytest "${options[@]}" "$@" 2>&1 | tee "$TEST_LOG"
}

has_module() { "$VENV/bin/python" -c "import $1" 2>/dev/null; }

uninstall() { # from the front-end when it is installed there, else from this directory
    if find_front_end 2>/dev/null && [[ $installed == yes ]]; then
        uninstall_from_front_end
    elif [[ -n ${ONE_LOCATION:-}${DESTDIR:-} ]]; then
        say "nothing is installed in ${DESTDIR:-}${ONE_LOCATION:-}"
    else
        uninstall_here
    fi
}

uninstall_here() {
    local path found=no
    [[ $dry_run == yes || ! -e $DEMO_STATE/pid ]] || stop_demo
    for path in "$VENV" "$DEMO_STATE" "$LOG" "$TEST_LOG" ./*.egg-info; do
        [[ -e $path || -L $path ]] || continue
        found=yes
        if [[ $dry_run == yes ]]; then
            say "would remove $PWD/${path#./}"
        else
            rm -rf -- "$path"
            say "removed $PWD/${path#./}"
        fi
    done
    [[ $found == yes ]] || say "nothing to remove in $PWD"
}

stop_demo() { # a sandbox left running by demo --keep, named by the pid file it wrote
    if [[ -x $VENV/bin/python ]]; then
        "$VENV/bin/python" -m sandbox.demo --stop || die $EXIT_FAILED "the kept sandbox did not stop; its pid is in $PWD/$DEMO_STATE/pid"
    fi
}

# ---- the installation on a front-end: Python does it, as soon as there is one ---------------------

find_front_end() { # sets environment, installed (yes|no), writable (yes|the directory that is not), usable (yes|by whom not)
    local found
    found=$(PYTHONDONTWRITEBYTECODE=1 "$PYTHON" -m onebackup_driver.installation.locating) || return $?
    { read -r environment && read -r installed && read -r writable && read -r usable; } <<<"$found"
}

require_writable() {
    [[ $writable == yes || $dry_run == yes ]] || die $EXIT_MISSING "$writable cannot be written to; run: sudo $PROGRAM"
}

front_end() {
    has "$PYTHON" || die $EXIT_MISSING "$PYTHON is missing; install python3 (3.9 or newer) with its venv module"
    check_python
    find_front_end || exit $?
    require_writable
    umask 022
    if [[ -z ${ONEBACKUP_PYTHON:-} ]]; then
        open_log
        lock
        install_packages front-end
        prepare_front_end_environment "$environment"
        unlock
    fi
    on_front_end "${front_end_options[@]}"
}

prepare_front_end_environment() { # prepare_front_end_environment VENV
    local venv=$1 tree marker pip
    marker=$(front_end_stamp)
    if "$venv/bin/python" -I -c 'import onebackup_driver.cli.main' 2>/dev/null &&
        [[ "$(cat "$venv/.onebackup" 2>/dev/null)" == "$marker" ]]; then
        return
    fi
    [[ $dry_run == yes ]] || say "Setting up the Python environment in $venv"
    if ! "$venv/bin/python" -I -m pip --version >/dev/null 2>&1; then
        [[ $usable == yes ]] || die $EXIT_MISSING "$usable cannot use $(command -v "$PYTHON"); choose another one: PYTHON=/usr/bin/python3"
        step "creating $venv" "$PYTHON" -m venv --clear "$venv"
    fi
    # From a copy: a build in the tree would leave its traces there, and take up those of an older one.
    tree="build/tree"
    step "copying the package" copy_tree "$tree"
    pip=("$venv/bin/python" -I -m pip --disable-pip-version-check install --quiet)
    step "installing the build tools" "${pip[@]}" "setuptools>=64" wheel
    step "installing the package" "${pip[@]}" --no-build-isolation "./$tree"
    [[ $dry_run == yes ]] || { rm -rf "$tree" && say "$marker" >"$venv/.onebackup"; }
}

copy_tree() { # copy_tree DIRECTORY
    rm -rf "$1"
    mkdir -p "$1"
    cp -R setup.cfg pyproject.toml README.md LICENSE onebackup_driver "$1/"
    find "$1" -name __pycache__ -prune -exec rm -rf {} +
}

front_end_stamp() { # changes when the package has to be installed again
    find setup.cfg pyproject.toml onebackup_driver -type f -not -name '*.pyc' -print0 |
        LC_ALL=C sort -z | xargs -0 sha256sum | sha256sum | cut -d ' ' -f 1
}

on_front_end() { # on_front_end OPTIONS...: the work itself, with the package that is (to be) installed
    local python=${ONEBACKUP_PYTHON:-$environment/bin/python} inside=${environment#"${DESTDIR:-}"}
    local arguments=(--source "$PWD" --python "${ONEBACKUP_PYTHON:-$inside/bin/python}" "$@")
    [[ $dry_run == no ]] || arguments+=(--dry-run)
    if [[ $dry_run == yes ]] && ! "$python" -I -c 'import onebackup_driver' 2>/dev/null; then
        PYTHONDONTWRITEBYTECODE=1 "$PYTHON" -m onebackup_driver.installation.main "${arguments[@]}"
    else
        "$python" -I -m onebackup_driver.installation.main "${arguments[@]}"
    fi
}

uninstall_from_front_end() {
    require_writable
    on_front_end --uninstall || exit $?
    if [[ $dry_run == yes ]]; then
        say "would remove $environment"
        return
    fi
    rm -rf -- "$environment"
    rmdir "$(dirname "$environment")" 2>/dev/null || true
    say "onebackup is removed; configuration, backups and the state directory stay"
}

check() {
    find_front_end || exit $?
    local python=${ONEBACKUP_PYTHON:-$environment/bin/python}
    [[ -x $python ]] || die $EXIT_SETUP "onebackup is not installed here; run: sudo $PROGRAM"
    exec "$python" -I -m onebackup_driver.cli.main doctor
}

main() {
    cd "$(dirname "${BASH_SOURCE[0]}")"
    local command=""
    while [[ $# -gt 0 ]]; do
        case $1 in
        -h | --help) usage && exit 0 ;;
        --dry-run) dry_run=yes && shift ;;
        --uninstall | --check) [[ -z $command ]] || die $EXIT_USAGE "--uninstall and --check exclude each other" ;;&
        --uninstall) command=uninstall && shift ;;
        --check) command=check && shift ;;
        --enable-market-driver | --no-timer) front_end_options+=("$1") && shift ;;
        demo | test) [[ -z $command ]] || die $EXIT_USAGE "--$command takes no command" ;;&
        demo | test) [[ ${#front_end_options[@]} -eq 0 ]] || die $EXIT_USAGE "$1 does not know ${front_end_options[*]}" ;;&
        demo) command=demo && shift && break ;;
        test) command=run_tests && shift && break ;;
        -*) die $EXIT_USAGE "unknown option '$1' (see $PROGRAM --help)" ;;
        *) die $EXIT_USAGE "unknown command '$1' (see $PROGRAM --help)" ;;
        esac
    done
    local arguments=() argument
    for argument in "$@"; do # --dry-run and --help may also stand behind the command
        case $argument in
        --dry-run) dry_run=yes ;;
        -h | --help) usage && exit 0 ;;
        *) arguments+=("$argument") ;;
        esac
    done
    "${command:-front_end}" "${arguments[@]}"
}

main "$@"
