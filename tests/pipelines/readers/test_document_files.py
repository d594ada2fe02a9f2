"""Documents in every format become text with headings, titles and dates."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import tarfile
from datetime import UTC, datetime

import pyarrow as pa
import pytest

from pipelines.readers import ReadParams, find_sources, reader_name


def minimal_pdf(text: str, *, trailer: str = "") -> bytes:
    """One page with one line, by hand: header, five objects, cross-reference table."""
    content = f"BT /F1 12 Tf 72 720 Td ({text}) Tj ET"
    objects = [
        "<< /Type /Catalog /Pages 2 0 R >>",
        "<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Contents 4 0 R /Resources << /Font << /F1 5 0 R >> >> >>",
        f"<< /Length {len(content)} >>\nstream\n{content}\nendstream",
        "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
    ]
    out, offsets = "%PDF-1.4\n", []
    for number, body in enumerate(objects, 1):
        offsets.append(len(out))
        out += f"{number} 0 obj\n{body}\nendobj\n"
    table = "".join(f"{offset:010d} 00000 n \n" for offset in offsets)
    end = f"trailer\n<< /Size 6 /Root 1 0 R {trailer} >>\nstartxref\n{len(out)}\n%%EOF\n"
    return (f"{out}xref\n0 6\n0000000000 65535 f \n{table}{end}").encode("latin-1")


def minimal_docx(zipped) -> bytes:
    word = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"
    package = "http://schemas.openxmlformats.org/package/2006"
    office = "http://schemas.openxmlformats.org/officeDocument/2006/relationships/officeDocument"
    wordml = "application/vnd.openxmlformats-officedocument.wordprocessingml"
    body = (
        '<w:p><w:pPr><w:pStyle w:val="Heading1"/></w:pPr><w:r><w:t>Handbook</w:t></w:r></w:p>'
        "<w:p><w:r><w:t>Water the plants.</w:t></w:r></w:p>"
        '<w:p><w:pPr><w:pStyle w:val="Heading2"/></w:pPr><w:r><w:t>Winter</w:t></w:r></w:p>'
        "<w:p><w:r><w:t>Less water.</w:t></w:r></w:p>"
    )
    styles = "".join(
        f'<w:style w:type="paragraph" w:styleId="Heading{n}"><w:name w:val="heading {n}"/></w:style>' for n in (1, 2)
    )
    return zipped(
        {
            "[Content_Types].xml": (
                f'<Types xmlns="{package}/content-types"><Default Extension="rels" '
                f'ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
                f'<Override PartName="/word/document.xml" ContentType="{wordml}.document.main+xml"/></Types>'
            ).encode(),
            "_rels/.rels": (
                f'<Relationships xmlns="{package}/relationships"><Relationship Id="r1" Type="{office}" '
                f'Target="word/document.xml"/></Relationships>'
            ).encode(),
            "word/document.xml": f'<w:document xmlns:w="{word}"><w:body>{body}</w:body></w:document>'.encode(),
            "word/styles.xml": f'<w:styles xmlns:w="{word}">{styles}</w:styles>'.encode(),
        }
    )


MAIL = (
    b"From: Ann <ann@example.org>\r\nTo: bo@example.org\r\nSubject: =?utf-8?q?Caf=C3=A9?=\r\n"
    b"Date: Mon, 04 Mar 2024 09:30:00 +0100\r\nContent-Type: text/plain; charset=utf-8\r\n\r\nSee you at nine.\r\n"
)


def test_plain_text_is_kept_character_by_character(read_bytes):
    (doc,) = read_bytes("notes.txt", "One.\r\n\r\nTwo — «three».\n")
    assert doc.text == "One.\r\n\r\nTwo — «three».\n" and doc.media_type == "text/plain"
    assert (doc.document_id, doc.source_ref, doc.namespace, doc.title) == (
        "notes/notes.txt",
        "notes.txt",
        "notes",
        "notes",
    )
    assert doc.published_at is None and doc.time_source == "arrival"


def test_markdown_gives_title_and_date_of_its_front_matter_and_keeps_every_character(read_bytes):
    raw = '---\ntitle: "Garden"\ndate: 2024-02-03\n---\n# Plants\n\n[a link](http://x)\n'
    (doc,) = read_bytes("garden.md", raw)
    assert (doc.title, doc.published_at, doc.text) == ("Garden", datetime(2024, 2, 3, tzinfo=UTC), raw)
    assert doc.media_type == "text/markdown"


def test_markdown_that_begins_with_a_link_is_not_json(read_bytes):
    (doc,) = read_bytes("links.md", "[home](http://x) is where\n\n# Title\n")
    assert doc.title == "Title"


def test_html_becomes_markdown_with_headings_and_without_scripts_and_navigation(read_bytes):
    raw = """<!DOCTYPE html><html><head><title>Tea &amp; Co</title><style>p{}</style>
    <meta property="article:published_time" content="2024-05-06T07:08:09+02:00"></head><body><nav>Menu</nav>
    <script>alert(1)</script><h1>Tea</h1><p>Green <b>tea</b> at snake_case*80 degrees.</p><h2>Oolong</h2>
    <ul><li>one</li></ul><footer>Imprint</footer></body></html>"""
    (doc,) = read_bytes("tea.txt", raw)
    assert "# Tea\n" in doc.text and "## Oolong\n" in doc.text and "snake_case*80" in doc.text and "- one" in doc.text
    assert not any(word in doc.text for word in ("alert", "Menu", "Imprint", "p{}"))
    assert (doc.title, doc.zone, doc.media_type) == ("Tea & Co", "+02:00", "text/html")
    assert doc.published_at == datetime(2024, 5, 6, 5, 8, 9, tzinfo=UTC)


def test_pdf_gives_its_text_layer(read_bytes):
    (doc,) = read_bytes("paper.pdf", minimal_pdf("The quick brown fox"))
    assert "The quick brown fox" in doc.text and doc.media_type == "application/pdf" and doc.title == "paper"


def test_docx_headings_become_markdown_headings(read_bytes, zipped):
    (doc,) = read_bytes("handbook.docx", minimal_docx(zipped))
    assert doc.text == "# Handbook\n\nWater the plants.\n\n## Winter\n\nLess water.\n"
    assert doc.title == "Handbook"


def test_an_email_is_titled_by_its_subject_and_dated_by_its_header(read_bytes):
    (doc,) = read_bytes("post.eml", MAIL)
    assert (doc.title, doc.zone) == ("Café", "+01:00")
    assert doc.published_at == datetime(2024, 3, 4, 8, 30, tzinfo=UTC)
    assert "See you at nine." in doc.text and "From: Ann <ann@example.org>" in doc.text


def test_an_mbox_is_one_document_a_message(read_bytes):
    post = b"From a@b Mon Mar  4 09:30:00 2024\r\n" + MAIL + b">From here on, quoted.\r\n\r\n"
    one, two = read_bytes("box.mbox", post + post)
    assert (one.source_ref, two.document_id) == ("box.mbox#1", "box/box.mbox#2")
    assert "\nFrom here on, quoted." in one.text


def test_a_list_of_titles_and_texts_is_documents(read_json):
    one, two = read_json(
        "corpus.json",
        [{"title": "A", "text": "a"}, {"title": "B", "text": "b", "url": "http://b", "date": "2020-01-01"}],
    )
    assert (one.title, one.source_ref) == ("A", "corpus.json#1")
    assert (two.document_id, two.time_source) == ("corpus/corpus.json#http://b", "document")


@pytest.mark.parametrize("suffix", ["gz", "bz2", "xz", "zst"])
def test_a_compressed_file_reads_like_the_file(read_bytes, suffix):
    raw = b"\n".join(json.dumps({"role": "user", "content": f"m{n}"}).encode() for n in range(3))
    pack = {"gz": gzip.compress, "bz2": bz2.compress, "xz": lzma.compress,
            "zst": lambda b: pa.compress(b, "zstd", asbytes=True)}[suffix]  # fmt: skip
    assert [r.text for r in read_bytes(f"chat.jsonl.{suffix}", pack(raw))] == ["user: m0", "user: m1", "user: m2"]


def test_members_of_archives_are_sources_of_their_own(read_bytes, zipped):
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w:gz") as archive:
        info = tarfile.TarInfo("in/a.md")
        info.size = 4
        archive.addfile(info, io.BytesIO(b"# A\n"))
    raw = zipped({"inner/notes.txt": b"words", "more.tar.gz": target.getvalue(), ".hidden": b"x", "__MACOSX/y": b"x"})
    assert [(r.source_ref, r.namespace) for r in read_bytes("all.zip", raw)] == [
        ("all.zip/inner/notes.txt", "all"),
        ("all.zip/more.tar.gz/in/a.md", "all"),
    ]


def test_the_content_and_not_the_suffix_chooses_the_reader(tmp_path, read, zipped):
    contents = {
        "a.txt": minimal_pdf("x"),
        "b.dat": minimal_docx(zipped),
        "c.txt": b'{"role": "user", "content": "x"}\n{"role": "user", "content": "y"}\n',
        "d.json": b"<!doctype html><title>x</title><p>y",
        "e.md": MAIL,
        "f.json": gzip.compress(b'[{"title": "a", "text": "b"}]'),
        "g.txt": b"only words",
        "h.json": b"\x89PNG\r\n\x1a\n\x00\x00\x00",
    }
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    names = {s.source_ref: reader_name(s, ReadParams()) for s in find_sources([str(tmp_path)])}
    assert names == {
        "a.txt": "pdf", "b.dat": "docx", "c.txt": "message", "d.json": "html", "e.md": "eml", "f.json": "document",
        "g.txt": "text", "h.json": "none",
    }  # fmt: skip
    assert len(read(tmp_path)) == 9
