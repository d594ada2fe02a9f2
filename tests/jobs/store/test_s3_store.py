"""A store on a real S3 server (moto on loopback): exclusive creation, fresh listings, the lock, and errors that say what to do."""

from __future__ import annotations

import base64
import datetime as dt
import http.client
import http.server
import json
import os
import pickle
import socket
import subprocess
import sys
import threading
import time
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import boto3
import cloudpickle
import fsspec
import pyarrow.dataset as ds
import pytest
from moto.server import ThreadedMotoServer

from jobs.store import bucket, lock, snapshots
from jobs.store.lake import Lake
from schemas.errors import PublishConflict, StoreError, StoreLocked
from schemas.manifest import Catalogue, Snapshot

ROOT = Path(__file__).resolve().parents[3]
NOW = dt.datetime(2026, 3, 1, tzinfo=dt.UTC)
SECRET = "never-show-this-secret"
MANY = 101 * 2**20  # s3fs sends more than 100 MiB in parts


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """The address of a server for all tests here; it takes any credentials."""
    moto = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    moto.start()
    host, port = moto.get_host_and_port()
    yield f"http://{host}:{port}"
    moto.stop()


@pytest.fixture
def reach_by(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """`reach_by(endpoint)`: clients made from now on go there. fsspec's own cache of clients is emptied."""

    def set_environment(endpoint: str, key: str = "AKIAEXAMPLE", secret: str = SECRET) -> None:
        fsspec.get_filesystem_class("s3").clear_instance_cache()
        for name, value in {"ENDPOINT_URL": endpoint, "ACCESS_KEY_ID": key, "SECRET_ACCESS_KEY": secret}.items():
            monkeypatch.setenv(f"AWS_{name}", value)
        monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")

    yield set_environment
    fsspec.get_filesystem_class("s3").clear_instance_cache()


@pytest.fixture
def lake(server: str, reach_by: Callable[..., None]) -> Lake:
    """A new store in a new bucket."""
    reach_by(server)
    name = f"bucket-{uuid.uuid4().hex[:8]}"
    boto3.client("s3").create_bucket(Bucket=name)
    return Lake(f"s3://{name}/some/store")


class Relay(http.server.BaseHTTPRequestHandler):
    """A network between client and server that loses what it is told to lose."""

    server: Network
    protocol_version = "HTTP/1.1"  # answers `Expect: 100-continue`

    def do_PUT(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        headers = {k: v for k, v in self.headers.items() if k not in ("Expect", *self.server.headers_lost)}
        self.close_connection = True
        connection = http.client.HTTPConnection(self.server.behind)
        connection.request(self.command, self.path, body, headers)
        answer = connection.getresponse()
        payload = answer.read()
        if self.command == "PUT" and self.server.answers_to_lose:
            self.server.answers_to_lose -= 1
            return
        self.send_response(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in ("connection", "transfer-encoding", "server", "date"):
                self.send_header(name, value)
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(payload)

    do_GET = do_HEAD = do_POST = do_DELETE = do_PUT

    def log_message(self, *_: object) -> None:
        """Not to the terminal."""


class Network(http.server.ThreadingHTTPServer):
    """A relay to `behind` that loses the answers to its first PUTs, or a request header."""

    def __init__(self, behind: str, answers_to_lose: int = 0, headers_lost: tuple[str, ...] = ()) -> None:
        super().__init__(("127.0.0.1", 0), Relay)
        self.behind, self.answers_to_lose, self.headers_lost = behind, answers_to_lose, headers_lost
        threading.Thread(target=self.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server_address[1]}"


@pytest.fixture
def network(server: str) -> Iterator[Callable[..., Network]]:
    made = []

    def make(**faults) -> Network:
        made.append(Network(server.removeprefix("http://"), **faults))
        return made[-1]

    yield make
    for one in made:
        one.shutdown()
        one.server_close()


def other_client() -> fsspec.AbstractFileSystem:
    """What another process has: nothing remembered."""
    return fsspec.filesystem("s3", skip_instance_cache=True)


def in_another_process(code: str, lake: Lake, dumps: Callable = pickle.dumps) -> str:
    """What `code` prints in a new process that gets `lake` by pickle."""
    text = base64.b64encode(dumps(lake)).decode()
    program = f"import base64, pickle; lake = pickle.loads(base64.b64decode('{text}'))\n{code}"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def at_once(n: int, do: Callable[[int], None]) -> None:
    """Run `do(0)` to `do(n - 1)` in threads that start together."""
    start = threading.Barrier(n)

    def run(i: int) -> None:
        start.wait()
        do(i)

    threads = [threading.Thread(target=run, args=(i,)) for i in range(n)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


# -- files -----------------------------------------------------------------------------------------------------------


def test_of_many_that_create_an_object_exactly_one_wins(lake):
    won = []
    at_once(12, lambda i: won.append(i) if lake.create_exclusive("x", bytes([i])) else None)
    assert len(won) == 1
    assert lake.read_bytes("x") == bytes(won)
    assert not lake.create_exclusive("x", b"later")


def test_an_object_that_is_sent_in_parts_is_created_once_too(lake):
    assert lake.create_exclusive("big", bytes(MANY))
    assert not lake.create_exclusive("big", b"1" * MANY)
    lake.write_atomic("big", b"small")
    assert lake.read_bytes("big") == b"small"


def test_who_created_an_object_knows_it_even_if_the_answer_was_lost(lake, network, reach_by):
    """The request is sent again and refused: by its own first try."""
    slow = network(answers_to_lose=1)
    reach_by(slow.url)
    assert Lake(lake.url).create_exclusive("x", b"mine")
    assert slow.answers_to_lose == 0
    assert not Lake(lake.url).create_exclusive("x", b"theirs")


def test_a_server_that_ignores_conditions_is_refused_when_the_store_is_made(lake, network, reach_by):
    reach_by(network(headers_lost=("If-None-Match",)).url)
    deaf = Lake(lake.url)
    with pytest.raises(StoreError, match="ignores conditional writes"):
        snapshots.make_store(deaf, buckets=4, now=NOW)
    assert deaf.names("") == []
    reach_by(network().url)
    assert snapshots.make_store(Lake(lake.url), buckets=4, now=NOW).buckets == 4


def test_what_another_process_writes_and_removes_is_seen_at_once(lake):
    assert lake.names("a") == [] and not lake.exists("a/x")
    other_client().pipe_file(lake.path("a/x"), b"1")
    assert lake.names("a") == ["x"] and lake.exists("a/x") and lake.exists("a")
    other_client().pipe_file(lake.path("a/y"), b"2")
    assert lake.names("a") == ["x", "y"]
    other_client().rm_file(lake.path("a/x"))
    assert not lake.exists("a/x") and lake.find_bytes("a/x") is None
    assert lake.names("a") == ["y"]


def test_an_object_that_marks_a_folder_is_not_in_it(lake):
    lake.write_atomic("a/x", b"")
    boto3.client("s3").put_object(Bucket=lake.root.split("/")[0], Key="some/store/a/", Body=b"")
    assert lake.names("a") == ["x"]


def test_files_and_folders_are_removed_and_what_is_gone_is_gone(lake):
    for name in ("a/x", "a/b/y", "ab"):
        lake.write_atomic(name, b"1")
    lake.remove("a/x")
    assert lake.names("a") == ["b"]
    lake.remove("a")
    lake.remove("nothing")
    assert lake.names("") == ["ab"]


def test_a_folder_is_fetched_whole(lake, tmp_path):
    for name in ("shard/manifest.json", "shard/dense/vectors.f32"):
        lake.write_atomic(f"index/{name}", name.encode())
    lake.fetch("index/shard", tmp_path / "cache" / "shard")
    assert (tmp_path / "cache/shard/dense/vectors.f32").read_text() == "shard/dense/vectors.f32"
    assert [f.name for f in (tmp_path / "cache").iterdir()] == ["shard"]
    assert lake.size() == sum(map(len, ("shard/manifest.json", "shard/dense/vectors.f32")))


def test_filesets_are_written_and_read_as_on_a_folder(lake, make):
    address = make.fileset()
    make.write(lake, address, make.assignments("b", "a"), make.assignments(), make.assignments("c"))
    assert lake.complete(address) and lake.verify([address]) == []
    assert lake.read("assignments", [address])["unit_id"].to_pylist() == ["b", "a", "c"]
    assert lake.read("assignments", [address], where=ds.field("unit_id") > "b")["unit_id"].to_pylist() == ["c"]
    again = lake.write_shard(address, 0, 3, make.assignments("late"), {})
    assert again == lake.shard_mark(address, 0, 3) and again.rows == 2


@pytest.mark.parametrize("dumps", [pickle.dumps, cloudpickle.dumps], ids=["pickle", "cloudpickle"])
def test_a_lake_travels_to_another_process_without_credentials(lake, make, dumps):
    address = make.fileset()
    make.write(lake, address, make.assignments("a", "b"))
    assert SECRET.encode() not in dumps(lake) and b"AKIA" not in dumps(lake)
    code = "from schemas.manifest import Fileset; import datetime as dt\n"
    code += f"print(lake.url, lake.read('assignments', [Fileset('assignments', 'cluster', dt.{address.day!r}".replace(
        "dt.datetime", "dt"
    )
    code += f", 0, '{address.fingerprint}')]).num_rows)"
    assert in_another_process(code, lake, dumps) == f"{lake.url} 2"


# -- lock, snapshots -------------------------------------------------------------------------------------------------


def test_of_many_that_find_a_stale_lock_one_holds_it_at_a_time(lake):
    inside, most = [], []

    def write(_: int) -> None:
        try:
            with lock.writing(lake, "a test", wait_s=30):
                inside.append(1)
                most.append(len(inside))
                time.sleep(0.005)
                inside.pop()
        except StoreLocked:
            most.append(99)

    stale = {"token": "0", "purpose": "a killed test", "host": socket.gethostname(), "pid": 2**22 + 1}
    stale["expires"] = "2999-01-01T00:00:00+00:00"
    for _ in range(3):
        lake.write_atomic(lock.NAME, json.dumps(stale).encode())
        at_once(4, write)
    assert most == [1] * 12
    assert lake.names("") == []


def test_a_lock_is_renewed_and_a_lost_one_is_left_to_its_new_holder(lake):
    with lock.writing(lake, "slow", lifetime=dt.timedelta(seconds=0.4)):
        first = lock.holder(lake)
        time.sleep(0.5)
        assert lock.holder(lake)["expires"] > first["expires"]
        other = first | {"token": "other", "expires": "2999-01-01T00:00:00+00:00"}
        lake.write_atomic(lock.NAME, json.dumps(other).encode())
        time.sleep(0.3)
    assert lock.holder(lake) == other


def snapshot(number: int, run_id: str) -> Snapshot:
    return Snapshot(number=number, parent=None, created_at=NOW, run_id=run_id, encoder="e@f32", identity="i", filesets={},
                    index={}, rows={}, gates=[])  # fmt: skip


def test_of_two_processes_that_publish_at_once_exactly_one_wins(lake):
    """Both wait for the same second, several times."""
    code = (
        "import sys, time; sys.path.insert(0, 'tests/jobs/store')\n"
        "from jobs.store import snapshots; from schemas.manifest import Snapshot; from schemas.errors import PublishConflict\n"
        "made = Snapshot.model_validate_json(sys.argv[2]); time.sleep(max(0, float(sys.argv[1]) - time.time()))\n"
        "for number in range(1, 6):\n"
        "    try: snapshots.publish(lake, made.model_copy(update={'number': number})); print(number)\n"
        "    except PublishConflict: pass\n"
        "    time.sleep(0.1)\n"
    )
    text = base64.b64encode(pickle.dumps(lake)).decode()
    program = f"import base64, pickle; lake = pickle.loads(base64.b64decode('{text}'))\n{code}"
    begin = str(time.time() + 4)
    both = [
        subprocess.Popen(
            [sys.executable, "-c", program, begin, snapshot(1, run_id).model_dump_json()],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            text=True,
        )
        for run_id in ("one", "two")
    ]
    won = [process.communicate(timeout=60)[0].split() for process in both]
    assert sorted(won[0] + won[1]) == ["1", "2", "3", "4", "5"], won
    assert snapshots.numbers(lake) == [1, 2, 3, 4, 5]
    for number in range(1, 6):
        assert snapshots.load(lake, number).run_id == ("one" if str(number) in won[0] else "two")
    with pytest.raises(PublishConflict):
        snapshots.publish(lake, snapshot(5, "late"))


def test_gc_removes_from_the_bucket_what_no_kept_snapshot_names(lake, make):
    old, new = make.fileset(fingerprint="1" * 32), make.fileset(fingerprint="2" * 32)
    for number, address in enumerate((old, new), 1):
        make.write(lake, address, make.assignments("a"))
        catalogue = Catalogue()
        catalogue.put(address)
        snapshots.publish(lake, snapshot(number, "r").model_copy(update={"filesets": catalogue.to_json()}))
    held = snapshots.pin(lake, 1)
    assert snapshots.collect_garbage(lake, keep=1)["kept"] == [1, 2]
    lake.remove(held)
    assert snapshots.collect_garbage(lake, keep=1)["kept"] == [2]
    assert not lake.complete(old) and lake.verify([new]) == [] and snapshots.numbers(lake) == [2]


# -- errors ----------------------------------------------------------------------------------------------------------


def test_a_bucket_that_is_not_there_is_named(lake):
    missing = Lake("s3://no-such-bucket/store")
    for ask in (missing.reach, lambda: missing.names("a"), lambda: missing.exists("a"), lambda: missing.read_bytes("a"),
                lambda: missing.create_exclusive("a", b"")):  # fmt: skip
        with pytest.raises(StoreError, match=r"there is no bucket no-such-bucket at http://127.0.0.1:"):
            ask()
    with pytest.raises(StoreError, match=f"no store at {lake.url}: make one"):
        snapshots.open_store(lake)


def test_a_server_that_is_not_there_is_told_within_15_s(lake, reach_by):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        endpoint = f"http://127.0.0.1:{free.getsockname()[1]}"
    reach_by(endpoint)
    begun = time.monotonic()
    with pytest.raises(StoreError, match=f"cannot reach {endpoint} for the bucket.*check AWS_ENDPOINT_URL"):
        snapshots.open_store(Lake(lake.url))
    assert time.monotonic() - begun < 15


def test_a_server_that_never_answers_is_given_up(lake, reach_by):
    """It accepts connections and is silent. The product waits 25 s, the test 2."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        reach_by(f"http://127.0.0.1:{silent.getsockname()[1]}")
        mute = Lake(lake.url)
        begun = time.monotonic()
        with pytest.raises(StoreError, match=r"cannot reach http://127.0.0.1:"):
            bucket.reach(mute.fs, mute.root, patience_s=2)
        assert time.monotonic() - begun < 5
    assert bucket.FIRST_CONTACT_S < 30


def test_an_endpoint_that_is_no_url_is_said(lake, reach_by):
    reach_by("127.0.0.1:9000")
    with pytest.raises(StoreError, match="AWS_ENDPOINT_URL is no URL"):
        Lake(lake.url).reach()


def test_a_server_that_goes_away_while_a_table_is_read_is_an_error_in_one_line(lake, make, network, reach_by):
    address = make.fileset()
    make.write(lake, address, make.assignments("a"))
    wire = network()
    reach_by(wire.url)
    reader = Lake(lake.url)
    assert reader.files([address])
    wire.shutdown()
    wire.server_close()
    with pytest.raises(StoreError, match="cannot reach"):
        reader.read("assignments", [address])


def test_without_s3fs_the_message_says_how_to_get_it():
    code = "import sys; sys.modules['s3fs'] = None\nfrom flows.command_line import run; sys.exit(run(sys.argv[1:]))"
    command = [sys.executable, "-c", code, "status", "--store", "s3://bucket/store"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "engraph: a store at s3://bucket/store needs s3fs: run `make setup-cluster`\n"


@pytest.fixture(scope="module")
def guarded() -> Iterator[tuple[str, dict[str, str]]]:
    """(address, keys) of a server that checks credentials: user `reader` may read only, `keeper` may not delete."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    command = [str(Path(sys.executable).with_name("moto_server")), "-H", "127.0.0.1", "-p", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    end = time.monotonic() + 30
    while socket.socket().connect_ex(("127.0.0.1", port)):
        assert process.poll() is None and time.monotonic() < end
        time.sleep(0.05)
    anyone = {"endpoint_url": url, "aws_access_key_id": "a", "aws_secret_access_key": "b", "region_name": "us-east-1"}
    boto3.client("s3", **anyone).create_bucket(Bucket="guarded")
    boto3.client("s3", **anyone).put_object(Bucket="guarded", Key="store/x", Body=b"1")
    iam, keys = boto3.client("iam", **anyone), {}
    for user, actions in {"reader": ["s3:Get*", "s3:List*"], "keeper": ["s3:Get*", "s3:List*", "s3:Put*"]}.items():
        iam.create_user(UserName=user)
        policy = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": actions, "Resource": "*"}]}
        iam.put_user_policy(UserName=user, PolicyName="p", PolicyDocument=json.dumps(policy))
        key = iam.create_access_key(UserName=user)["AccessKey"]
        keys[user] = {"key": key["AccessKeyId"], "secret": key["SecretAccessKey"]}
    urllib.request.urlopen(urllib.request.Request(f"{url}/moto-api/reset-auth", b"0", {"Content-Type": "text/plain"}))
    yield url, keys
    process.kill()
    process.wait()


def test_wrong_credentials_are_refused_and_never_shown(guarded, reach_by, caplog):
    url, keys = guarded
    for wrong in ({"secret": SECRET, "key": keys["reader"]["key"]}, {"secret": SECRET, "key": "AKIAUNKNOWN"}):
        reach_by(url, **wrong)
        with pytest.raises(
            StoreError, match=r"refuses these credentials for the bucket guarded.*AWS_ACCESS_KEY_ID"
        ) as caught:
            Lake("s3://guarded/store").reach()
        assert SECRET not in str(caught.value) + caplog.text and wrong["key"] not in str(caught.value)


def test_no_credentials_are_asked_for(lake, server):
    environment = {k: v for k, v in os.environ.items() if not k.startswith("AWS_")}
    environment |= {"AWS_ENDPOINT_URL": server, "AWS_EC2_METADATA_DISABLED": "true", "HOME": "/nonexistent"}
    code = "import sys; from flows.command_line import run; sys.exit(run(sys.argv[1:]))"
    command = [sys.executable, "-c", code, "status", "--store", lake.url]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 1 and "set AWS_ACCESS_KEY_ID" in done.stderr and done.stderr.count("\n") == 1, done.stderr


def test_a_bucket_that_may_only_be_read_is_read_without_a_pin_and_not_written(guarded, reach_by):
    url, keys = guarded
    reach_by(url, **keys["reader"])
    lake = Lake("s3://guarded/store")
    assert lake.read_bytes("x") == b"1"
    assert snapshots.pin(lake, 1) is None
    with pytest.raises(StoreError, match="list, read, write and delete"):
        lake.create_exclusive("y", b"")


def test_what_the_server_does_not_let_go_is_an_error(guarded, reach_by):
    url, keys = guarded
    reach_by(url, **keys["keeper"])
    lake = Lake("s3://guarded/store")
    lake.write_atomic("folder/x", b"")
    with pytest.raises(StoreError, match="delete"):
        lake.remove("folder")
    with pytest.raises(StoreError, match="delete"):
        lake.remove("folder/x")
