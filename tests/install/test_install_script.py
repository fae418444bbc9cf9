# SPDX-License-Identifier: Apache-2.0
"""install.sh as a process, in checkouts of its own."""
from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
Completed = subprocess.CompletedProcess  # of text

PROJECT_FILES = ("install.sh", "setup.cfg", "pyproject.toml", "README.md", "LICENSE", ".ci/run")


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A small project with our metadata and scripts: one module, one sandbox module, one test."""
    root = tmp_path / "checkout"
    for name in PROJECT_FILES:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, root / name)
    for package in ("onebackup_driver", "sandbox"):
        (root / package).mkdir()
        (root / package / "__init__.py").write_text('VERSION = "0"\n')
    (root / "tests").mkdir()
    (root / "tests" / "test_one.py").write_text("def test_one() -> None:\n    assert True\n")
    return root


@pytest.fixture
def install(checkout: Path) -> Callable[..., Completed[str]]:
    def run(*arguments: str, script: str = "./install.sh", **environment: str) -> Completed[str]:
        return subprocess.run(
            [script, *arguments],
            cwd=checkout,
            env={**os.environ, "PYTHON": sys.executable, "PIP_NO_INDEX": "1", **environment},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=150,
        )

    return run


@pytest.fixture
def narrow_path(tmp_path: Path) -> Path:
    """A PATH with the everyday commands but without what the sandbox needs and without apt-get and sudo."""
    folder = tmp_path / "commands"
    folder.mkdir()
    everyday = "bash sh cat cut dirname env flock grep mkdir rm sha256sum tail tee chmod systemctl"
    for command in [*everyday.split(), "curl"]:
        if found := shutil.which(command, path=f"{os.environ['PATH']}:/usr/sbin"):
            (folder / command).symlink_to(found)
    return folder


def snapshot(root: Path) -> dict[str, bytes]:
    return {
        path.relative_to(root).as_posix(): path.read_bytes() if path.is_file() else b""
        for path in root.rglob("*")
    }


def one_line(text: str) -> str:
    lines = text.splitlines()
    assert len(lines) == 1, text
    return lines[0]


def test_shellcheck_has_nothing_to_say() -> None:
    scripts = [ROOT / "install.sh", ROOT / ".ci" / "run"]
    completed = subprocess.run(["shellcheck", *scripts], capture_output=True, text=True)
    assert (completed.returncode, completed.stdout) == (0, "")


def test_help_names_commands_and_exit_codes(install: Callable[..., Completed[str]]) -> None:
    completed = install("--help")
    assert completed.returncode == 0
    for word in ("demo", "test", "--dry-run", "--uninstall", "Exit codes"):
        assert word in completed.stdout


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["--fast"], "unknown option '--fast'"),
        (["demonstration"], "unknown command 'demonstration'"),
        (["demo", "--version", "5.0"], "--version is 6.4 or 7.4, not '5.0'"),
        (["demo", "--version"], "--version is 6.4 or 7.4, not ''"),
        (["demo", "keep"], "demo does not know 'keep'"),
        (["--uninstall", "demo"], "--uninstall takes no command"),
        (["--check", "test"], "--check takes no command"),
        (["--uninstall", "--check"], "--uninstall and --check exclude each other"),
        (["--no-timer", "demo"], "demo does not know --no-timer"),
    ],
)
def test_wrong_usage_is_one_line_and_changes_nothing(
    install: Callable[..., Completed[str]], checkout: Path, arguments: list[str], words: str
) -> None:
    before = snapshot(checkout)
    completed = install(*arguments)
    assert (completed.returncode, completed.stdout) == (2, "")
    assert words in one_line(completed.stderr)
    assert snapshot(checkout) == before


@pytest.mark.parametrize("command", ["demo", "test", "--uninstall"])
def test_dry_run_says_what_would_be_done_and_does_nothing(
    install: Callable[..., Completed[str]], checkout: Path, command: str
) -> None:
    (checkout / ".demo").mkdir()
    before = snapshot(checkout)
    completed = install("--dry-run", command)
    assert (completed.returncode, completed.stderr) == (0, "")
    assert ("would remove" if command == "--uninstall" else "-m venv") in completed.stdout
    assert snapshot(checkout) == before


def test_a_missing_package_without_apt_is_named(
    install: Callable[..., Completed[str]], checkout: Path, narrow_path: Path
) -> None:
    completed = install("demo", PATH=str(narrow_path))
    assert completed.returncode == 3
    assert one_line(completed.stderr).endswith("there is no apt-get here: qemu-utils")
    assert not (checkout / ".venv").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="becoming an ordinary user takes root")
def test_an_ordinary_user_is_told_the_command_to_type(
    checkout: Path, narrow_path: Path, tmp_path: Path
) -> None:
    (narrow_path / "apt-get").write_text("#!/bin/sh\nexit 99\n")
    (narrow_path / "apt-get").chmod(0o755)
    (narrow_path / "python3").symlink_to("/usr/bin/python3")
    for folder in (tmp_path, *tmp_path.parents):  # pytest's directories are for their owner only
        if folder.stat().st_mode & 0o777 == 0o700:
            folder.chmod(0o755)
    shutil.chown(checkout, 65534)
    setpriv = str(shutil.which("setpriv"))
    completed = subprocess.run(
        [setpriv, "--reuid=65534", "--regid=65534", "--clear-groups", "./install.sh", "demo"],
        cwd=checkout,
        env={"PATH": str(narrow_path), "PYTHON": "/usr/bin/python3"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert completed.returncode == 3
    line = one_line(completed.stderr)
    assert "run: sudo apt-get install -y --no-install-recommends" in line
    assert line.endswith("qemu-utils")


def write_apt_get(folder: Path, exit_code: int, policy: Path) -> Path:
    """An apt-get that notes how it was called and whether services could have started."""
    calls = folder / "apt-get.calls"
    (folder / "apt-get").write_text(
        f'#!/bin/sh\necho "$(grep -c onebackup {policy}) $*" >>{calls}\n'
        f'echo "E: Unable to locate package"\nexit {exit_code}\n'
    )
    (folder / "apt-get").chmod(0o755)
    return calls


@pytest.mark.skipif(os.geteuid() != 0, reason="installing packages takes root")
def test_no_service_starts_and_a_failing_step_is_named(
    install: Callable[..., Completed[str]], narrow_path: Path, tmp_path: Path, checkout: Path
) -> None:
    policy = tmp_path / "policy-rc.d"
    calls = write_apt_get(narrow_path, 100, policy)
    completed = install("demo", PATH=str(narrow_path), ONEBACKUP_POLICY_FILE=str(policy))
    assert completed.returncode == 4
    assert one_line(completed.stderr) == (
        "install.sh: installing qemu-utils failed: E: Unable to locate package; "
        f"the log is {checkout}/build/install.log"
    )
    update, installation = calls.read_text().splitlines()
    assert update == "1 update"
    assert installation.startswith("1 ")
    assert installation.endswith("install -y --no-install-recommends qemu-utils")
    assert not policy.exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="installing packages takes root")
def test_a_policy_of_the_machine_is_respected(
    install: Callable[..., Completed[str]], narrow_path: Path, tmp_path: Path
) -> None:
    policy = tmp_path / "policy-rc.d"
    policy.write_text("#!/bin/sh\nexit 0\n")
    write_apt_get(narrow_path, 100, policy)
    assert install("demo", PATH=str(narrow_path), ONEBACKUP_POLICY_FILE=str(policy)).returncode == 4
    assert policy.read_text() == "#!/bin/sh\nexit 0\n"


def test_uninstall_removes_what_was_made_and_nothing_else(
    install: Callable[..., Completed[str]], checkout: Path
) -> None:
    before = snapshot(checkout)
    for name in (".venv/bin", ".demo", "onebackup.egg-info"):
        (checkout / name).mkdir(parents=True)
    first, second = install("--uninstall"), install("--uninstall")
    assert (first.returncode, second.returncode) == (0, 0)
    assert len(first.stdout.splitlines()) == 3
    assert one_line(second.stdout) == f"nothing to remove in {checkout}"
    assert snapshot(checkout) == before


@pytest.fixture
def environment(checkout: Path) -> Path:
    """A virtual environment that finds the packages of the one the tests run in: nothing is downloaded."""
    venv = checkout / ".venv"
    subprocess.run([sys.executable, "-m", "venv", venv], check=True, timeout=120)
    (site,) = venv.glob("lib/python*/site-packages")
    (site / "outer.pth").write_text(f"{sysconfig.get_path('purelib')}\n")
    for command in ("ruff", "mypy"):
        (venv / "bin" / command).symlink_to(Path(sysconfig.get_path("scripts")) / command)
    return venv


def test_the_test_command_end_to_end(
    install: Callable[..., Completed[str]], checkout: Path, environment: Path
) -> None:
    first = install("test", "-q", script=".ci/run")
    assert first.returncode == 0, first.stdout + first.stderr
    assert "Setting up the Python environment" in first.stdout
    assert "1 passed" in first.stdout.splitlines()[-1]

    # Without workers from here on: they cost more than the one test.
    second = install("test", "-q", "-n0")
    assert second.returncode == 0
    assert "Setting up" not in second.stdout

    (checkout / "sandbox" / "untidy.py").write_text("import os\n")
    (checkout / "onebackup_driver" / "untyped.py").write_text("def f(x):\n    return x\n")
    untidy = install("test", "-q", "-n0")
    assert untidy.returncode == 1
    assert "untidy.py:1" in untidy.stdout and "untyped.py:1" in untidy.stdout
    assert untidy.stdout.splitlines()[-2] == "FAILED: ruff mypy"
    assert "1 passed" in untidy.stdout.splitlines()[-1]

    (checkout / "tests" / "test_one.py").write_text("def test_one() -> None:\n    assert 1 == 2\n")
    failing = install("test", "-q", "-n0")
    assert failing.returncode == 1
    assert "1 failed" in failing.stdout.splitlines()[-1]
