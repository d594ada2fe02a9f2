"""infra/*.sh: shellcheck, and setup_cluster.sh on machines that have less than this one."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.infra.manifests import INFRA

SCRIPT = INFRA / "setup_cluster.sh"


@pytest.mark.parametrize("script", sorted(INFRA.glob("*.sh")), ids=lambda p: p.name)
def test_shellcheck_finds_nothing(script):
    done = subprocess.run(
        [str(Path(sys.executable).parent / "shellcheck"), str(script)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout


@pytest.fixture
def bare(tmp_path):
    """A PATH with a POSIX system's commands and nothing else: no Java, no apt-get, no sudo."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("sh", "sed", "head", "grep", "dirname", "uname", "id", "env"):
        (folder / name).symlink_to(shutil.which(name))
    return folder


@pytest.fixture
def venv(tmp_path):
    """A folder that looks like a virtual environment; its pip and python write down what they are asked."""
    folder = tmp_path / "venv" / "bin"
    folder.mkdir(parents=True)
    for name in ("pip", "python"):
        (folder / name).write_text(f'#!/bin/sh\necho "{name} $*" >>"{tmp_path}/asked"\n')
        (folder / name).chmod(0o755)
    return folder.parent


def java(folder: Path, version: str) -> Path:
    """A `java` that answers -version like OpenJDK of that version."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "java").write_text(f"#!/bin/sh\necho 'openjdk version \"{version}\" 2026-01-20' >&2\n")
    (folder / "java").chmod(0o755)
    return folder.parent


def setup(venv: Path, path: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": str(path), "HOME": os.environ.get("HOME", "/"), **variables}
    return subprocess.run([str(path / "sh"), str(SCRIPT), str(venv)], env=environment, capture_output=True, text=True)


def test_without_java_and_without_apt_it_says_what_to_install(venv, bare):
    hide = "mount -t tmpfs none /usr/lib/jvm 2>/dev/null || [ ! -d /usr/lib/jvm ] && exec "
    arguments = [
        "unshare",
        "-rm",
        "sh",
        "-c",
        f'{hide} env PATH="$1" sh "$2" "$3"',
        "sh",
        str(bare),
        str(SCRIPT),
        str(venv),
    ]
    if not shutil.which("unshare") or subprocess.run(["unshare", "-rm", "true"]).returncode:
        pytest.skip("no mount namespace here to hide this machine's Java in")
    environment = {k: v for k, v in os.environ.items() if k != "JAVA_HOME"}
    done = subprocess.run(arguments, env=environment, capture_output=True, text=True)
    assert done.returncode == 1
    for line in ("apt-get install openjdk-17-jre-headless", "brew install openjdk@17", "JAVA_HOME"):
        assert line in done.stderr, done.stderr
    assert not (venv.parent / "asked").exists()


def test_without_apt_a_java_17_in_the_path_is_enough(venv, bare):
    java(bare, "17.0.15")
    done = setup(venv, bare)
    assert done.returncode == 0, done.stderr
    asked = (venv.parent / "asked").read_text()
    assert "install -c infra/constraints.txt -e .[cluster]" in asked
    assert "import ray, pyspark" in asked


def test_without_apt_a_java_17_in_java_home_is_enough(venv, bare, tmp_path):
    home = java(tmp_path / "jdk" / "bin", "17.0.9")
    done = setup(venv, bare, JAVA_HOME=str(home))
    assert done.returncode == 0, done.stderr
    assert "another Java" not in done.stderr


def test_an_older_java_home_is_pointed_out_when_a_java_17_is_in_the_path(venv, bare, tmp_path):
    home = java(tmp_path / "jdk" / "bin", "11.0.2")
    java(bare, "17.0.15")
    done = setup(venv, bare, JAVA_HOME=str(home))
    assert done.returncode == 0, done.stderr
    assert f"export JAVA_HOME={bare.parent}" in done.stderr


def test_without_a_virtual_environment_it_says_what_comes_first(bare, tmp_path):
    java(bare, "17.0.15")
    done = setup(tmp_path / "none", bare)
    assert done.returncode == 1
    assert "run make setup first" in done.stderr
