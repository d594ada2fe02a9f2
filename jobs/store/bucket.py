"""A store on a bucket: opening it with bounded patience, writing on a condition, and its errors in one line.

A bucket has no rename and no link. What takes their place are conditional writes: `If-None-Match: *` creates only what is not
there, `If-Match` replaces only what is still as it was read. AWS has both since 2024; `snapshots.make_store` asks any other server.

Patience: a connection gets 4 s and an answer 15 s of silence, three times with short pauses; then it is an error. So a server that
cannot be reached is one within 15 s, one that falls silent within the run within 100 s, and the first contact ends after 25 s.
Endpoint and credentials come from the AWS_ variables of the process that asks; no message holds any.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from urllib.parse import urlsplit

import fsspec
from fsspec import AbstractFileSystem
from fsspec.asyn import AsyncFileSystem, sync

from schemas.errors import StoreError

FIRST_CONTACT_S = 25.0
REQUEST = {"connect_timeout": 4, "read_timeout": 15, "retries": {"mode": "standard", "total_max_attempts": 3}}
BROKEN_BODIES = (
    2  # how often s3fs itself tries again, on top of REQUEST: an answer that broke off, or a server's silence
)
ONE_REQUEST = {"max_concurrency": 1}  # for a whole object; s3fs asks for its size first otherwise
CONFLICTS = 5
WITHOUT_KEY = ("ListObjectsV2", "HeadBucket", "PutObject", "CreateMultipartUpload")  # "not found" is the bucket here
REGION = ("PermanentRedirect", "AuthorizationHeaderMalformed", "IllegalLocationConstraintException", "301")


def open_filesystem(url: str) -> tuple[AbstractFileSystem, str]:
    """The filesystem of a store's address, and the path in it. Asks no server.

    Raises:
        StoreError: the package for this kind of address is missing, or there is no such kind.
    """
    on_s3 = url.startswith(("s3://", "s3a://"))
    options: dict = {"use_listings_cache": False, "config_kwargs": REQUEST} if on_s3 else {}
    try:
        fs, path = fsspec.core.url_to_fs(url, **options)
    except ImportError as problem:
        need = "s3fs: run `make setup-cluster`" if on_s3 else f"another package: {problem}"
        raise StoreError(f"a store at {url} needs {need}") from None
    except ValueError as problem:
        raise StoreError(f"{url} is no address of a store ({problem}): give a folder or s3://BUCKET/PATH") from None
    if on_s3:
        fs.retries = BROKEN_BODIES
    return fs, path


def reach(fs: AbstractFileSystem, path: str, *, patience_s: float = FIRST_CONTACT_S) -> None:
    """Ask the server for `path`, whatever it answers, for at most `patience_s` seconds in all.

    Raises:
        StoreError: there is no such bucket or server, or it refuses the credentials.
    """
    if not isinstance(fs, AsyncFileSystem):
        return
    try:
        with contextlib.suppress(FileNotFoundError), one_line(fs, path):
            sync(fs.loop, fs._info, path, timeout=patience_s)
    except ValueError:  # botocore's answer to an endpoint that it cannot parse
        raise StoreError("AWS_ENDPOINT_URL is no URL: write it like http://host:9000") from None


def create(fs: AbstractFileSystem, path: str, payload: bytes) -> bool:
    """Create `path`, or return False when it is there with other bytes.

    A request whose answer got lost is sent again and then refused by what it wrote itself, so who finds its own bytes has
    created them: two writers must not offer the same.
    """
    if not is_s3(fs):
        try:
            fs.pipe_file(path, payload, mode="create")
        except FileExistsError:
            return False
        return True
    if _put(fs, path, payload, IfNoneMatch="*"):
        return True
    try:
        return len(payload) == fs.size(path) and fs.cat_file(path) == payload
    except FileNotFoundError:  # it was there a moment ago
        return False


def swap(fs: AbstractFileSystem, path: str, old: bytes, new: bytes) -> bool:
    """Replace the bytes `old` by `new` in one step, or return False when others are there. Only on S3."""
    try:
        etag = fs.info(path)[
            "ETag"
        ]  # before the bytes: if they change in between, the tag is out of date and the write refused
        if fs.cat_file(path, **ONE_REQUEST) != old:
            return False
        return _put(fs, path, new, IfMatch=etag) or fs.cat_file(path, **ONE_REQUEST) == new
    except FileNotFoundError:
        return False


def _put(fs: AbstractFileSystem, path: str, payload: bytes, **condition: str) -> bool:
    """Write if the condition holds. Two conditional writes at the same moment can refuse each other: those are repeated."""
    exclusive = {"mode": "create"} if "IfNoneMatch" in condition else condition
    for _ in range(CONFLICTS):
        try:
            fs.pipe_file(path, payload, **exclusive)
        except OSError as problem:
            code, _ = _answer(problem)
            if code in ("ConditionalRequestConflict", "OperationAborted", "409"):
                continue
            if code in ("PreconditionFailed", "412") or (code == "NoSuchKey" and "IfMatch" in condition):
                return False
            raise
        return True
    return False


def is_s3(fs: AbstractFileSystem) -> bool:
    return "s3" in (fs.protocol if isinstance(fs.protocol, tuple) else (fs.protocol,))


@contextlib.contextmanager
def one_line(fs: AbstractFileSystem, path: str) -> Iterator[None]:
    """Turn what the libraries raise for a bucket into a StoreError that says what to do.

    A key that is not there stays a FileNotFoundError. Folders' errors are the system's own.
    """
    if not is_s3(fs):
        yield
        return
    from botocore.exceptions import BotoCoreError

    try:
        yield
    except (OSError, BotoCoreError) as problem:
        code, operation = _answer(problem)
        lost = isinstance(problem, FileNotFoundError)
        if isinstance(problem, FileExistsError) or (lost and code != "NoSuchBucket" and operation not in WITHOUT_KEY):
            raise
        raise StoreError(_advice(problem, code, bucket=path.split("/")[0], endpoint=_endpoint(fs))) from problem


def _advice(problem: Exception, code: str, *, bucket: str, endpoint: str) -> str:
    from botocore import exceptions as botocore

    if isinstance(problem, FileNotFoundError):
        return f"there is no bucket {bucket} at {endpoint}: create it, or check its name and AWS_ENDPOINT_URL"
    if isinstance(problem, PermissionError):
        return (
            f"{endpoint} refuses these credentials for the bucket {bucket} ({code}): check AWS_ACCESS_KEY_ID and "
            "AWS_SECRET_ACCESS_KEY, and that they may list, read, write and delete there"
        )
    if isinstance(problem, botocore.NoCredentialsError | botocore.PartialCredentialsError | botocore.ProfileNotFound):
        return f"no credentials for {endpoint}: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE"
    if code in REGION:
        return f"the bucket {bucket} is in another region: set AWS_DEFAULT_REGION to its own"
    if code:
        return f"{endpoint} answered {code} for the bucket {bucket}: run it again; what was finished is kept"
    if isinstance(problem, botocore.ParamValidationError):
        return f"{bucket} is no name for a bucket: give s3://BUCKET/PATH"
    return (
        f"cannot reach {endpoint} for the bucket {bucket} ({type(problem).__name__}): check AWS_ENDPOINT_URL and the network, "
        "and run it again; what was finished is kept"
    )


def _answer(problem: BaseException | None) -> tuple[str, str]:
    """(error code, operation) of the server's answer behind an exception; empty where no server answered."""
    while problem is not None:
        response = getattr(problem, "response", None)
        if isinstance(response, dict):
            return str(response.get("Error", {}).get("Code", "")), getattr(problem, "operation_name", "")
        problem = problem.__cause__
    return "", ""


def _endpoint(fs: AbstractFileSystem) -> str:
    """Host and port, without whatever else stands in the URL."""
    client = getattr(fs, "_s3", None)
    url = client.meta.endpoint_url if client else os.environ.get("AWS_ENDPOINT_URL", "")
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.hostname}{f':{parts.port}' if parts.port else ''}" if parts.hostname else "S3"
