"""Files that are documents -> one record each (mbox: one a message): text, Markdown, HTML, PDF, DOCX, e-mail.

Text and Markdown are kept character by character, front matter included, because spans count characters of the file. HTML
and DOCX become Markdown whose headings (`#`) survive (beautifulsoup4 + lxml, markdownify, mammoth); scripts, styles, forms
and navigation go. PDF gives the text layer page by page (pypdf); a scan has none and is refused. E-mail gives From and To and the
plain body, else the HTML one; attachments are not read. Dates come from meta tags, front matter and the Date header.
"""

from __future__ import annotations

import email
import email.message
import re
import zipfile
from collections.abc import Callable, Iterator
from email.policy import default as mail_policy
from typing import BinaryIO

import mammoth
import pypdf
from bs4 import BeautifulSoup
from markdownify import MarkdownConverter

from pipelines.readers import pieces
from pipelines.readers.blobs import Blob, unpacked_limit
from pipelines.readers.dates import Moment, is_given, read_moment
from pipelines.readers.records import Candidate, DocumentRecord, Origin, Piece, Refused, undated
from schemas.errors import InvalidRecord
from schemas.ids import qualify

FRONT_MATTER = re.compile(r"\A---\r?\n(.*?)\r?\n(?:---|\.\.\.)\s*(?:\r?\n|\Z)", re.DOTALL)
PLAIN_KEY = re.compile(r"^(title|date|published|published_at|created)[ \t]*:(.*)$", re.MULTILINE | re.IGNORECASE)
HEADING = re.compile(r"^#{1,6}[ \t]+(\S.*)$", re.MULTILINE)
NOISE = ("script", "style", "nav", "noscript", "template", "form", "svg", "iframe", "aside", "footer", "button", "head")
META_DATES = (
    "article:published_time",
    "datepublished",
    "date",
    "dc.date",
    "dcterms.date",
    "dcterms.created",
    "pubdate",
)
MEDIA_TYPES = {
    "text": "text/plain", "markdown": "text/markdown", "html": "text/html", "pdf": "application/pdf", "eml": "message/rfc822",
    "mbox": "message/rfc822", "docx": "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
}  # fmt: skip
Parsed = tuple[str | None, str, Moment | None]


def document(blob: Blob, origin: Origin, form: str) -> Candidate | Refused:
    """The one document that a file is; `form` is a key of `PARSERS`. Never raises for bad content."""
    with blob.open() as stream:
        piece = pieces.whole(stream, origin.params.max_record_bytes)
    try:
        if form in ("pdf", "docx"):
            with blob.open() as stream:
                parsed = _guarded(BINARY_PARSERS[form], stream, origin)
        elif piece.digest:
            raise InvalidRecord(
                f"{piece.size:,} bytes, more than the {origin.params.max_record_bytes:,} of a record: split it"
            )
        else:
            parsed = _guarded(PARSERS[form], piece.raw, origin)
        return _candidate(parsed, origin, form, origin.ref, piece, _stem(origin.name))
    except InvalidRecord as problem:
        return origin.refuse(str(problem), piece)


def mailbox(stream: BinaryIO, origin: Origin) -> Iterator[Candidate | Refused]:
    """One document a message of an mbox; messages begin with a line `From ` after a blank one (RFC 4155)."""
    for piece in _messages(stream, origin.params.max_record_bytes):
        place = f"{origin.ref}#{piece.number}"
        try:
            if piece.digest:
                raise InvalidRecord(f"a message of {piece.size:,} bytes: export it without attachments")
            raw = re.sub(rb"(?m)^>(>*From )", rb"\1", piece.raw.partition(b"\n")[2])
            yield _candidate(
                _guarded(_mail, raw, origin), origin, "mbox", place, piece, f"{origin.name} {piece.number}"
            )
        except InvalidRecord as problem:
            yield origin.refuse(str(problem), piece, place)


def _messages(stream: BinaryIO, limit: int) -> Iterator[Piece]:
    number, blank = 0, True
    gathering = pieces.Gathering(limit)
    for line in pieces.lines(stream, limit):
        if blank and line.raw.startswith(b"From ") and gathering.size:
            number += 1
            yield gathering.piece(number)
            gathering = pieces.Gathering(limit)
        if line.digest:
            gathering.overflow(line)
        else:
            gathering.add(line.raw)
        blank = not line.raw.strip()
    if gathering.size:
        yield gathering.piece(number + 1)


def _guarded(parser: Callable, content: bytes | BinaryIO, origin: Origin) -> Parsed:
    """The boundary to the parsers of others: whatever they raise on a damaged document means that it is refused."""
    try:
        return parser(content, origin)
    except InvalidRecord:
        raise
    except (
        Exception
    ) as error:  # pypdf, mammoth, lxml and email raise about anything (KeyError, RecursionError, zlib.error)
        what = f"{type(error).__name__}: {str(error)[:200]}"
        raise InvalidRecord(f"cannot be read as what it is ({what}): open it, save it again and deliver it") from error


def _candidate(parsed: Parsed, origin: Origin, form: str, ref: str, raw: Piece, fallback: str) -> Candidate:
    title, text, moment = parsed
    if not text.strip():
        raise InvalidRecord("no text in it: if it is a scan, run OCR first, otherwise take it out")
    record = DocumentRecord(
        document_id=qualify(origin.namespace, undated(ref)),
        namespace=origin.namespace,
        title=" ".join((title or "").split())[:500] or fallback,
        text=text,
        media_type=MEDIA_TYPES[form],
        published_at=moment.at if moment else None,
        zone=moment.zone if moment else None,
        time_source="document" if moment else "arrival",
        source_ref=ref,
    )
    return Candidate(record, raw, ref)


def _stem(name: str) -> str:
    return name.rpartition(".")[0] or name


def _decoded(raw: bytes) -> str:
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InvalidRecord(f"byte {error.start} is not UTF-8 ({error.reason}): save the file as UTF-8") from error


def _plain_moment(value: str | None) -> Moment | None:
    """A date in a meta tag or front matter where it is plain; anything else there is no promise, so no reason to refuse."""
    try:
        return read_moment(value) if is_given(value) else None
    except InvalidRecord:
        return None


def _text(raw: bytes, origin: Origin) -> Parsed:
    return None, _decoded(raw), None


def _markdown(raw: bytes, origin: Origin) -> Parsed:
    text = _decoded(raw)
    front = FRONT_MATTER.match(text)
    said = {k.lower(): v.strip(" \t\r\"'") for k, v in PLAIN_KEY.findall(front[1])} if front else {}
    heading = HEADING.search(text, front.end() if front else 0)
    moment = next(
        (m for k in ("date", "published", "published_at", "created") if (m := _plain_moment(said.get(k)))), None
    )
    return said.get("title") or _named(heading), text, moment


def _named(heading: re.Match[str] | None) -> str | None:
    return heading[1].strip(" \t\r#") if heading else None


class _Converter(MarkdownConverter):
    """markdownify without pictures, link targets and escapes: what is embedded is what a reader sees."""

    class Options:
        heading_style = "atx"
        strip = ("a", "img")
        escape_asterisks = False
        escape_underscores = False
        escape_misc = False
        bullets = "-"


def _html(raw: bytes, origin: Origin) -> Parsed:
    soup = BeautifulSoup(_decoded(raw), "lxml")
    title = soup.title.get_text() if soup.title else None
    moment = _meta_date(soup)
    text = _as_markdown(soup)
    heading = HEADING.search(text)
    return title or _named(heading), text, moment


def _meta_date(soup: BeautifulSoup) -> Moment | None:
    found: dict[str, str] = {}
    for tag in soup.find_all("meta"):
        name = str(tag.get("property") or tag.get("name") or tag.get("itemprop") or "").lower()
        if name in META_DATES and tag.get("content"):
            found.setdefault(name, str(tag["content"]))
    return next((m for name in META_DATES if (m := _plain_moment(found.get(name)))), None)


def _as_markdown(soup: BeautifulSoup) -> str:
    for tag in soup.find_all(NOISE):
        tag.decompose()
    mains = soup.find_all("main")
    body = mains[0] if len(mains) == 1 else soup
    text = _Converter().convert_soup(body).replace("\xa0", " ")
    trimmed = "\n".join(line.rstrip() for line in text.split("\n"))
    return re.sub(r"\n{3,}", "\n\n", trimmed).strip() + "\n"


def _docx(stream: BinaryIO, origin: Origin) -> Parsed:
    with zipfile.ZipFile(stream) as package:
        unpacked = sum(info.file_size for info in package.infolist())
    packed = stream.seek(0, 2)
    if unpacked > min(unpacked_limit(packed, origin.params.max_unpacked_ratio), origin.params.max_unpacked_bytes):
        raise InvalidRecord(f"unpacks from {packed:,} to {unpacked:,} bytes, which looks like a decompression bomb")
    stream.seek(0)
    without_pictures = mammoth.images.img_element(lambda image: {"src": ""})
    html = mammoth.convert_to_html(stream, convert_image=without_pictures).value
    text = _as_markdown(BeautifulSoup(html, "lxml"))
    heading = HEADING.search(text)
    return _named(heading), text, None


def _pdf(stream: BinaryIO, origin: Origin) -> Parsed:
    reader = pypdf.PdfReader(stream)
    if reader.is_encrypted:
        _unlock(reader)
    pages, room = [], origin.params.max_record_bytes
    for page in reader.pages:
        pages.append(page.extract_text().replace("\x00", ""))
        room -= len(pages[-1])
        if room < 0:
            raise InvalidRecord(f"its text is longer than {origin.params.max_record_bytes:,} characters: split it")
    title = reader.metadata.title if reader.metadata else None
    return str(title) if title else None, "\n\n".join(pages), None


def _unlock(reader: pypdf.PdfReader) -> None:
    """Many PDFs are encrypted with the empty password, only to forbid printing."""
    try:
        opened = reader.decrypt("")
    except pypdf.errors.DependencyError as error:
        raise InvalidRecord("encrypted with AES: save it without encryption") from error
    if not opened:
        raise InvalidRecord("protected by a password: save it without one")


def _mail(raw: bytes, origin: Origin) -> Parsed:
    message = email.message_from_bytes(raw, policy=mail_policy)
    if not message.keys():
        raise InvalidRecord("an e-mail without headers: export it again")
    body = message.get_body(preferencelist=("plain", "html"))
    said = body.get_content() if body is not None else ""
    if body is not None and body.get_content_type() == "text/html":
        said = _as_markdown(BeautifulSoup(said, "lxml"))
    if not str(said).strip():
        raise InvalidRecord("an e-mail without a text body: attachments are not read, deliver them as files")
    people = [f"{name}: {message[name]}" for name in ("Subject", "From", "To") if message[name]]
    sent = str(message["Date"]) if message["Date"] is not None else None
    return (
        str(message["Subject"] or ""),
        "\n".join([*people, "", str(said)]),
        read_moment(sent) if is_given(sent) else None,
    )


PARSERS: dict[str, Callable] = {"text": _text, "markdown": _markdown, "html": _html, "eml": _mail}
BINARY_PARSERS: dict[str, Callable] = {"pdf": _pdf, "docx": _docx}
