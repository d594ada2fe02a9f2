#!/usr/bin/env bash
# What the image runs: the command as given, with two additions.
#
# Drivers join Ray. `prefect worker ...` and Spark's `driver` first become a Ray node without CPUs when ENGRAPH_RAY__ADDRESS is HOST:PORT,
# because Ray Data runs only from a node of the cluster: over Ray Client (ray://) Ray 2.60 fails with "'Worker' object has no attribute
# 'core_worker'", and a driver in another container than its raylet is not accepted. When Ray ends, the command is ended too, so that
# whoever restarts containers starts both afresh.
#
# Spark on Kubernetes starts its pods with the words `driver` and `executor` and describes an executor in SPARK_ variables.
set -euo pipefail

join_ray() {
    ray start --address="$ENGRAPH_RAY__ADDRESS" --num-cpus=0 --num-gpus=0 --disable-usage-stats --block &
    ray=$!
    until wget -q -T 2 -t 1 -O /dev/null http://127.0.0.1:52365/api/local_raylet_healthz; do
        kill -0 "$ray" 2>/dev/null || { echo "engraph: could not join Ray at $ENGRAPH_RAY__ADDRESS" >&2; exit 1; }
        sleep 1
    done
}

# Job control gives each of the two its own process group: a stop reaches the command first and Ray only when the command has ended, and
# SIGINT is not ignored, as it is in other background jobs of a script (Prefect stops by sending it to itself).
run_beside_ray() {
    local status=0 stopping=""
    set -m
    join_ray
    "$@" &
    local command=$!
    trap 'stopping=yes; kill -TERM "$command" 2>/dev/null || true' TERM INT
    wait -n "$command" "$ray" || status=$?
    if [ -n "$stopping" ]; then
        status=0
        wait "$command" || status=$?
    elif kill -0 "$command" 2>/dev/null; then
        echo "engraph: the Ray node ended, stopping $1" >&2
        kill -TERM "$command" && wait "$command" || true
        status=1
    fi
    kill -TERM "$ray" 2>/dev/null || true
    wait "$ray" || true
    exit "$status"
}

as_driver() {
    case ${ENGRAPH_RAY__ADDRESS:-} in
    *://*)
        echo "engraph: ENGRAPH_RAY__ADDRESS=$ENGRAPH_RAY__ADDRESS is an address of Ray Client, through which Ray Data cannot run:" \
            "give HOST:6379" >&2
        exit 2
        ;;
    *:*) run_beside_ray "$@" ;;
    *) exec "$@" ;;
    esac
}

spark_driver() {
    as_driver "$SPARK_HOME/bin/spark-submit" \
        --deploy-mode client \
        --conf "spark.driver.bindAddress=$SPARK_DRIVER_BIND_ADDRESS" \
        --conf "spark.executorEnv.SPARK_DRIVER_POD_IP=$SPARK_DRIVER_BIND_ADDRESS" \
        "$@"
}

spark_executor() {
    local -a java_options
    mapfile -t java_options < <(env | grep '^SPARK_JAVA_OPT_' | sort -t_ -k4 -n | cut -d= -f2-)
    exec "${JAVA_HOME:+$JAVA_HOME/bin/}java" "${java_options[@]}" \
        "-Xms$SPARK_EXECUTOR_MEMORY" "-Xmx$SPARK_EXECUTOR_MEMORY" \
        -cp "${SPARK_CONF_DIR:+$SPARK_CONF_DIR:}$SPARK_HOME/jars/*${SPARK_CLASSPATH:+:$SPARK_CLASSPATH}" \
        org.apache.spark.scheduler.cluster.k8s.KubernetesExecutorBackend \
        --driver-url "$SPARK_DRIVER_URL" \
        --executor-id "$SPARK_EXECUTOR_ID" \
        --cores "$SPARK_EXECUTOR_CORES" \
        --app-id "$SPARK_APPLICATION_ID" \
        --hostname "$SPARK_EXECUTOR_POD_IP" \
        --resourceProfileId "$SPARK_RESOURCE_PROFILE_ID" \
        --podName "$SPARK_EXECUTOR_POD_NAME"
}

case "${1:-} ${2:-}" in
"prefect worker") as_driver "$@" ;;
"driver "*) shift && spark_driver "$@" ;;
"executor "*) spark_executor ;;
*) exec "$@" ;;
esac
