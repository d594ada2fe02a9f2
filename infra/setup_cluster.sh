#!/bin/sh
# What the cluster profile needs beyond `make setup`, into the virtual environment given as the first argument (default .venv): Java 17 for
# Spark, iproute2 for tests in network namespaces, and the extra `cluster` at the pinned versions. Running it again changes nothing.
set -eu
cd "$(dirname "$0")/.."
venv=${1:-.venv}

say() { echo "setup-cluster: $*" >&2; }
fail() { say "$@"; exit 1; }

# The java command of a Java 17, if there is one: where Spark would look (JAVA_HOME, then PATH), then where packages put it.
java_17() {
    path_java=$(command -v java || true)
    for java in "${JAVA_HOME:+$JAVA_HOME/bin/java}" "$path_java" /usr/lib/jvm/java-17*/bin/java \
        /opt/homebrew/opt/openjdk@17/bin/java /usr/local/opt/openjdk@17/bin/java; do
        if [ -x "$java" ] && "$java" -version 2>&1 | grep -q ' version "17[."]'; then
            echo "$java"
            return
        fi
    done
    return 1
}

as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"; elif command -v sudo >/dev/null; then sudo -n "$@"; else return 1; fi
}

apt_install() {
    command -v apt-get >/dev/null || return 1
    as_root apt-get update -q >&2 || true
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -yq --no-install-recommends "$@" >&2
}

need_java() {
    if ! java_17 >/dev/null; then
        say "Java 17 is missing, installing openjdk-17-jre-headless"
        apt_install openjdk-17-jre-headless || true
    fi
    java=$(java_17) || fail "Spark needs Java 17 and it could not be installed here. Install it and run this again:
  Debian, Ubuntu:  apt-get install openjdk-17-jre-headless
  Fedora, RHEL:    dnf install java-17-openjdk-headless
  macOS:           brew install openjdk@17
or point JAVA_HOME at one that is there."
    spark_java=${JAVA_HOME:+$JAVA_HOME/bin/java}
    if [ "$java" != "${spark_java:-$(command -v java || true)}" ]; then
        say "Spark would take another Java: put 'export JAVA_HOME=$(dirname "$(dirname "$java")")' into your shell's profile"
    fi
}

need_ip() {
    command -v ip >/dev/null || [ -x /usr/sbin/ip ] || [ "$(uname)" != Linux ] || apt_install iproute2 ||
        say "no 'ip' command (package iproute2): tests in network namespaces are skipped"
}

[ -x "$venv/bin/python" ] || fail "no virtual environment in $venv: run make setup first"
need_java
need_ip
"$venv/bin/pip" --disable-pip-version-check -q install -c infra/constraints.txt -e '.[cluster]'
"$venv/bin/python" -c 'import ray, pyspark; print(f"setup-cluster: Java 17, Ray {ray.__version__}, Spark {pyspark.__version__}")' ||
    fail "the packages are installed but cannot be imported: run make clean setup-cluster"
