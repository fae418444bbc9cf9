#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Sets onebackup up: in a local virtual environment for the demonstration and the tests.
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

usage() {
    cat <<HELP
Usage: $PROGRAM [--dry-run] COMMAND

Commands
  demo [--keep] [--version 6.4|7.4]
                 sets up what is missing, then backs a running VM up on the sandbox front-end,
                 destroys it, restores it and proves that every disk came back
                 --keep     leaves the sandbox running and prints the commands to play on
                 --version  the OpenNebula version the sandbox plays (default 7.4)
  test [PYTEST ARGUMENTS]
                 sets up what is missing, then runs ruff, mypy and pytest; each of the three
                 runs even when the one before has failed
  (none)         the installation on an OpenNebula front-end: not part of this release yet

Options
  --dry-run      prints what would be done and does nothing
  --uninstall    removes the local virtual environment and what the demonstration and the
                 tests left in this directory; system packages stay
  -h, --help     this text

What is set up: the system packages that are missing (apt-get, as root or through sudo where it
asks for no password; no service is started or enabled) and a Python environment in $VENV.
The second time nothing is downloaded; it works without a network then.
PYTHON=/path/to/python3 chooses the interpreter (3.9 or newer) for a new environment.

Exit codes
  0    done
  $EXIT_FAILED    the demonstration proved nothing, or a part of the tests failed
  $EXIT_USAGE    wrong usage, or something that this release does not have
  $EXIT_MISSING    a system package is missing and cannot be installed from here (the line says which)
  $EXIT_SETUP    a step of setting up failed (the line says which, and where the log is)
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

environment_works() { [[ -x $VENV/bin/python ]] && "$VENV/bin/python" -m pip --version >/dev/null 2>&1; }

missing_packages() { # missing_packages demo|test: one Debian package a line
    has "$PYTHON" || say python3
    environment_works || "$PYTHON" -c 'import ensurepip, venv' >/dev/null 2>&1 || say python3-venv
    has curl || say curl
    has_all qemu-img qemu-io qemu-nbd || say qemu-utils
    has nginx || has apache2 || say nginx-light
    [[ $1 == test ]] || return 0
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
    has_module xdist && options+=(-n 2)
    has_module pytest_timeout && options+=(--timeout 180)
    [[ ! -t 1 ]] || options+=(--color yes)
    say "--- pytest"
    "$VENV/bin/python" -m pytest "${options[@]}" "$@" 2>&1 | tee "$TEST_LOG"
}

has_module() { "$VENV/bin/python" -c "import $1" 2>/dev/null; }

uninstall() {
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

front_end() { # the installation on an OpenNebula front-end comes here
    die $EXIT_USAGE "the installation on a front-end is not part of this release yet; '$PROGRAM demo' and '$PROGRAM test' work (see $PROGRAM --help)"
}

main() {
    cd "$(dirname "${BASH_SOURCE[0]}")"
    local command=""
    while [[ $# -gt 0 ]]; do
        case $1 in
        -h | --help) usage && exit 0 ;;
        --dry-run) dry_run=yes && shift ;;
        --uninstall) command=uninstall && shift ;;
        demo | test) [[ -z $command ]] || die $EXIT_USAGE "--uninstall takes no command" ;;&
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
