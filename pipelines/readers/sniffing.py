"""Which reader a file's content chooses. The first 64 KiB decide; the suffix is asked only where content cannot tell.

Magic numbers first (archives, PDF, Parquet, and binaries that no reader wants), then the beginnings of text: HTML, mbox,
e-mail headers, JSON. CSV, Markdown and plain text look alike, so there the suffix, or a header line that consists of known
column names, decides. Raises `InvalidRecord` for what is no text and nothing known. Cost: 64 KiB, and a zip's directory.
"""

from __future__ import annotations

import re
import zipfile

import orjson

from pipelines.readers.blobs import Blob
from pipelines.readers.encoding import has_mark, looks_wide
from pipelines.readers.fields import COLUMNS, TEXTS
from schemas.errors import InvalidRecord

PACKED = {b"\x1f\x8b": "gzip", b"\xfd7zXZ\x00": "xz", b"\x28\xb5\x2f\xfd": "zstd"}
FOREIGN = {
    b"\x89PNG": "a PNG image", b"\xff\xd8\xff": "a JPEG image", b"GIF8": "a GIF image", b"\x7fELF": "an ELF program",
    b"MZ\x90": "a Windows program", b"RIFF": "a RIFF media file", b"OggS": "an Ogg media file", b"ID3": "an MP3 file",
    b"7z\xbc\xaf\x27\x1c": "a 7z archive (use zip or tar)", b"Rar!": "a RAR archive (use zip or tar)",
    b"SQLite format 3": "an SQLite database (export the messages as JSONL or CSV)",
    b"\xd0\xcf\x11\xe0": "an old Office file (save it as .docx)", b"{\\rtf": "an RTF file (save it as .docx)",
    b"\xca\xfe\xba\xbe": "a Java class", b"ARROW1": "an Arrow file (save it as Parquet)",
}  # fmt: skip
JSON_SUFFIXES = (".json", ".jsonl", ".ndjson")
MARKDOWN_SUFFIXES = (".md", ".markdown", ".mdown", ".mkd")
HEADER = re.compile(
    rb"(From|To|Cc|Subject|Date|Message-ID|Received|MIME-Version|Return-Path|Delivered-To|Reply-To):", re.I
)
# Atomic groups: without them a run of comments has exponentially many readings.
HTML = re.compile(
    rb"(?:<\?xml[^>]*>\s*)?(?>(?:<!--(?>.*?-->)\s*)*)<(?:!doctype html|html\b)", re.IGNORECASE | re.DOTALL
)
FIELD = re.compile(rb"[!-9;-~]+:|[ \t]")


def binary_format(blob: Blob, head: bytes) -> str | None:
    """The format that a magic number names; None for text. Raises `InvalidRecord` for foreign binaries."""
    for magic, name in PACKED.items():
        if head.startswith(magic):
            return name
    if re.match(rb"BZh[1-9](1AY&SY|\x17rE8P\x90)", head):
        return "bzip2"
    if head.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        return _zip_format(blob)
    if head[257:262] == b"ustar":
        return "tar"
    if head.startswith(b"PAR1"):
        return "parquet"
    if head.lstrip().startswith(b"%PDF-") or (blob.suffix == ".pdf" and b"%PDF-" in head[:1024]):
        return "pdf"
    for magic, what in FOREIGN.items():
        if head.startswith(magic) and (_is_binary(head) or magic == b"{\\rtf"):  # a text may begin with ID3, too
            raise InvalidRecord(f"{blob.name} is {what}, not text or a document: remove it or convert it")
    if not has_mark(head) and not looks_wide(head) and _is_binary(head):
        raise InvalidRecord(f"{blob.name} is binary and of no known format: remove it or convert it to text")
    _check_suffix(blob)
    return None


def _check_suffix(blob: Blob) -> None:
    promised = {".parquet": "Parquet", ".pdf": "PDF", ".docx": "DOCX", ".zip": "zip", ".gz": "gzip", ".bz2": "bzip2",
                ".xz": "xz", ".zst": "zstd", ".tar": "tar", ".tgz": "tar.gz"}.get(blob.suffix)  # fmt: skip
    if promised:
        raise InvalidRecord(f"{blob.name} is named like {promised} but does not begin like it: deliver the file again")


def _is_binary(head: bytes) -> bool:
    control = sum(head[:8192].count(bytes([c])) for c in (*range(1, 7), *range(14, 27), *range(28, 32)))
    return b"\x00" in head[:8192] or control > 0.05 * len(head[:8192])


def _zip_format(blob: Blob) -> str:
    try:
        with blob.open() as stream, zipfile.ZipFile(stream) as archive:
            names = set(archive.namelist())
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError, UnicodeError) as error:
        raise InvalidRecord(f"{blob.name} is a damaged zip file ({error}): deliver it again") from error
    if "word/document.xml" in names:
        return "docx"
    if names & {"[Content_Types].xml", "mimetype", "META-INF/MANIFEST.MF"}:
        raise InvalidRecord(f"{blob.name} is a package (spreadsheet, e-book, program): export it as CSV, HTML or .docx")
    return "zip"


def text_format(blob: Blob, head: bytes) -> str:
    """`html`, `mbox`, `eml`, `jsonl`, `json`, `csv`, `markdown` or `text`. `head` is UTF-8."""
    start = head.lstrip()
    if blob.suffix in (".html", ".htm", ".xhtml") or HTML.match(start[:2000]):
        return "html"
    if head.startswith(b"From ") and HEADER.search(head[:4096]):
        return "mbox"
    if blob.suffix == ".eml" or _has_mail_headers(head):
        return "eml"
    if blob.suffix in JSON_SUFFIXES or (start[:1] in (b"{", b"[") and _begins_as_json(start)):
        return _json_format(blob, start)
    if blob.suffix in (".csv", ".tsv") or _has_known_columns(head):
        return "csv"
    if blob.suffix in MARKDOWN_SUFFIXES or (
        len(re.findall(rb"(?m)^#{1,6} \S", head)) >= 2 and blob.suffix in ("", ".txt")
    ):
        return "markdown"
    return "text"


def _json_format(blob: Blob, start: bytes) -> str:
    """One value a line, or one array (or object) that may span lines."""
    first, newline, rest = start.partition(b"\n")
    alone = _is_json(first)
    if start.startswith(b"[") and not (alone and rest.strip()):
        return "json"
    if blob.suffix in (".jsonl", ".ndjson"):
        return "jsonl"
    return "jsonl" if newline and alone and rest.strip() else "json"


def _is_json(raw: bytes) -> bool:
    try:
        orjson.loads(raw)
    except orjson.JSONDecodeError:
        return False
    return True


def _begins_as_json(start: bytes) -> bool:
    """`[` begins a Markdown link too: a JSON container goes on with a string, another container or its own end."""
    return re.match(rb'\{\s*("[^"\n]*"\s*:|\}\s*$)|\[\s*(\{\s*["}]|\[\s*[\[{"]|\]\s*$)', start[:4096]) is not None


def _has_mail_headers(head: bytes) -> bool:
    block = re.split(rb"\r?\n\r?\n", head.lstrip(b"\r\n"), maxsplit=1)[0].splitlines()
    named = {m[1].lower() for line in block if (m := HEADER.match(line))}
    return len(named) >= 2 and all(FIELD.match(line) for line in block) and bool(named & {b"from", b"received"})


def _has_known_columns(head: bytes) -> bool:
    names = [
        n.strip().strip('"').lower() for n in re.split(r"[,;\t|]", head.split(b"\n", 1)[0].decode("utf-8", "replace"))
    ]
    return len(names) >= 2 and all(n in COLUMNS for n in names) and any(n in TEXTS for n in names)
