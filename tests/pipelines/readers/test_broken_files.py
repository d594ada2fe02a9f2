"""Whatever is wrong with a file becomes a refusal that names the place and the way out; everything else lands."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import subprocess
import sys
import tarfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pypdf
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipelines.readers import DocumentRecord, ReadParams, Refused, SourceFile, TurnRecord, read_source, reader_name


def message(n: int, **more: object) -> dict:
    return {"role": "user", "content": f"message {n}", **more}


def jsonl(*rows: object) -> str:
    return "\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows) + "\n"


def texts(records: list) -> list[str]:
    return [r.text for r in records if not isinstance(r, Refused)]


def only_refusal(records: list) -> Refused:
    (refused,) = [r for r in records if isinstance(r, Refused)]
    return refused


def test_a_truncated_list_lands_up_to_the_break(read_json, read_bytes, locomo_sample):
    raw = json.dumps([locomo_sample, {**locomo_sample, "sample_id": "conv-2"}])
    records = read_bytes("cut.json", raw[: len(raw) - 300])
    assert [r.turn_id for r in records[:-1]] == [
        "conv-1/session_1/D1:1",
        "conv-1/session_1/D1:2",
        "conv-1/session_2/D2:1",
    ]
    refused = only_refusal(records)
    assert "cut off" in refused.reason and "deliver" in refused.reason and refused.source_ref == "cut.json#2"


@pytest.mark.parametrize("end", ["", ",", ', {"role": "us', ', "unclosed'])
def test_a_list_that_is_not_closed_is_noticed_wherever_it_ends(read_bytes, end):
    records = read_bytes("cut.json", "[" + json.dumps(message(1)) + end)
    assert texts(records) == ["user: message 1"] and "cut off" in only_refusal(records).reason


def test_a_broken_line_costs_one_line(read_bytes):
    records = read_bytes("log.jsonl", jsonl(message(1), '{"role": "user", "content": "unclosed', message(3)))
    assert texts(records) == ["user: message 1", "user: message 3"]
    refused = only_refusal(records)
    raw = b'{"role": "user", "content": "unclosed\n'
    assert refused.source_ref == "log.jsonl#2" and refused.payload == raw and refused.payload_bytes == len(raw)
    assert refused.payload_hash == hashlib.blake2b(raw, digest_size=16).hexdigest()


def test_a_broken_element_of_a_list_costs_one_element(read_bytes):
    rows = ['{"role":"user","content":"a"}', '{"role":"user" "content":"b"}', '{"role":"user","content":"c]}']
    rows.append(rows[0].replace('"a"', '"d"'))
    broken = "[" + ",\n".join(rows) + "]"
    records = read_bytes("list.json", broken)
    assert texts(records) == ["user: a"] + ["user: d"] * (len(texts(records)) - 1)
    assert all("broken JSON" in r.reason or "cut off" in r.reason for r in records if isinstance(r, Refused))


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-8-sig", "cp1252", "latin-1"])
def test_other_encodings_are_decoded(read_bytes, encoding):
    content = "Müller öffnet das Café für 5 Gäste"
    raw = json.dumps([message(1, content=content)], ensure_ascii=False).encode(encoding)
    assert texts(read_bytes("chat.json", raw)) == [f"user: {content}"]


@pytest.mark.parametrize(
    ("encoding", "content"),
    [("cp1251", "Привет, как твои дела сегодня? Мы пойдём гулять в парк, если не будет дождя. " * 3),
     ("shift_jis", "今日は天気がいいので、公園へ散歩に行きましょう。明日は雨が降るそうです。" * 3)],
)  # fmt: skip
def test_longer_texts_in_other_alphabets_are_detected(read_bytes, encoding, content):
    assert texts(read_bytes("note.txt", content.encode(encoding))) == [content]


def test_damaged_utf8_costs_the_damaged_line_only(read_bytes):
    raw = (
        jsonl(message(1)).encode()
        + b'{"role": "user", "content": "\xff\xfe"}\n'
        + '{"role": "user", "content": "Grüße"}\n'.encode()
    )
    records = read_bytes("log.jsonl", raw)
    assert texts(records) == ["user: message 1", "user: Grüße"]
    assert "not UTF-8" in only_refusal(records).reason


def test_damaged_utf8_in_csv_costs_the_damaged_line_only(read_bytes):
    records = read_bytes("log.csv", b"speaker,text\nAnn,\xff\xfe\xff\nBo,Gr\xc3\xbc\xc3\x9fe \xc3\xa9\xc3\xa8\n")
    assert texts(records) == ["Bo: Grüße éè"] and "not UTF-8" in only_refusal(records).reason


@pytest.mark.parametrize(
    ("name", "raw"), [("e.json", b""), ("e.jsonl", b" \n\n"), ("e.txt", b""), ("e.pdf", b""), ("e.csv", b"\n")]
)
def test_an_empty_file_is_refused(read_bytes, name, raw):
    assert "empty" in only_refusal(read_bytes(name, raw)).reason


@pytest.mark.parametrize("text", ["", "  \n", None, []])
def test_a_turn_without_text_is_refused_and_the_next_keeps_its_number(read_json, text):
    records = read_json("chat.json", {"messages": [message(1), {"role": "user", "content": text}, message(3)]})
    assert [r.turn_id for r in records if isinstance(r, TurnRecord)] == ["chat/chat.json/1", "chat/chat.json/3"]
    assert "without text" in only_refusal(records).reason


@pytest.mark.parametrize("date", ["not a date", "2023-02-30", "05/08/2023", 1e300, True, {"y": 1}, "none"])
def test_a_date_that_is_none_is_refused_by_its_value(read_bytes, date):
    records = read_bytes("log.jsonl", jsonl(message(1), message(2, timestamp=date)))
    assert texts(records) == ["user: message 1"]
    assert str(date)[:20] in only_refusal(records).reason


def test_a_session_date_that_is_none_refuses_its_turns_one_by_one(read_json, locomo_sample):
    locomo_sample["conversation"]["session_1_date_time"] = "25:99 on Blursday"
    records = read_json("talks.json", [locomo_sample])
    assert [type(r) for r in records] == [Refused, Refused, TurnRecord]
    assert "Blursday" in records[0].reason


def test_duplicate_ids_are_refused_after_the_first(read_json):
    records = read_json("log.json", [message(1, id="a"), message(2, id="a"), message(3, id="b")])
    assert texts(records) == ["user: message 1", "user: message 3"]
    refused = only_refusal(records)
    assert "duplicate id log/log.json/a" in refused.reason and b"message 2" in refused.payload


def test_a_refusal_belongs_to_the_namespace_that_the_record_was_meant_for(read_bytes, read_json, locomo_sample):
    rows = [message(1, user="ann", id=1), message(2, user="ann", id=1), message(3, user="ann", timestamp="never")]
    records = read_bytes("log.jsonl", jsonl(*rows))
    assert [type(r) for r in records] == [TurnRecord, Refused, Refused] and {r.namespace for r in records} == {"ann"}
    locomo_sample["conversation"]["session_1"][0]["text"] = " "
    assert only_refusal(read_json("talks.json", [locomo_sample])).namespace == "conv-1"


def test_duplicate_documents_are_refused(read_json):
    rows = [{"id": 1, "title": "t", "text": "x"}, {"id": 1, "title": "t", "text": "y"}]
    assert "duplicate id" in only_refusal(read_json("d.json", rows)).reason


PNG = b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR\x00\x00\x00\x01"
ELF = b"\x7fELF\x02\x01\x01" + b"\x00" * 57


@pytest.mark.parametrize(
    ("name", "raw", "word"),
    [("a.json", PNG, "PNG"), ("a.txt", ELF, "ELF"), ("a.md", bytes(range(256)), "binary"), ("a.parquet", b"no", "Parquet"),
     ("a.parquet", b"PAR1" + b"x" * 50, "Parquet"), ("a.zip", b"PK\x03\x04" + b"x" * 90, "zip"), ("a.gz", b"text", "gzip"),
     ("a.pdf", b"%PDF-1.7\nnothing", "cannot be read"), ("a.docx", b"words", "DOCX"), ("a.eml", b"\n\nbody", "headers")],
)  # fmt: skip
def test_what_is_not_what_it_says_is_refused_whole(read_bytes, name, raw, word):
    refused = only_refusal(read_bytes(name, raw))
    assert word in refused.reason
    assert refused.payload == raw and refused.payload_hash == hashlib.blake2b(raw, digest_size=16).hexdigest()


def test_a_text_may_begin_like_a_binary(read_bytes):
    assert texts(read_bytes("a.txt", "ID3 tags are old. %PDF-1.4 too.")) == ["ID3 tags are old. %PDF-1.4 too."]


def test_a_folder_named_like_a_file_is_walked_or_refused(tmp_path, read):
    folder = tmp_path / "corpus" / "x.json"
    folder.mkdir(parents=True)
    (tmp_path / "corpus" / "a.txt").write_text("words")
    assert "folder" in only_refusal(read(folder)).reason
    records = read(tmp_path / "corpus")
    assert texts(records) == ["words"] and only_refusal(records).source_ref == "x.json"
    (folder / "b.txt").write_text("inside")
    assert texts(read(folder)) == ["inside"] and len(read(tmp_path / "corpus")) == 2


def test_an_odd_file_name_is_escaped_in_ids(tmp_path, read):
    (tmp_path / "b\udcffd::x[1].txt").write_text("words")
    (record,) = read(tmp_path)
    assert record.source_ref == "b\\udcffd::x[1].txt"


def test_a_file_that_went_away_is_refused():
    source = SourceFile("/nonexistent/a.json", "a.json", "a", None)
    assert "cannot be opened" in only_refusal(list(read_source(source, ReadParams()))).reason
    assert reader_name(source, ReadParams()) == "none"


def test_a_decompression_bomb_is_refused_before_it_is_unpacked(read_bytes, zipped):
    bomb = b"a" * (64 << 20)
    records = read_bytes("all.zip", zipped({"bomb.txt": bomb, "note.txt": b"words"}))
    assert texts(records) == ["words"] and only_refusal(records).source_ref == "all.zip/bomb.txt"
    assert "bomb" in only_refusal(read_bytes("bomb.txt.gz", gzip.compress(bomb))).reason


def test_the_limit_on_unpacked_bytes_holds_for_the_whole_delivery(read_bytes, zipped):
    raw = zipped({f"{n}.txt": f"{n} words".encode() * 1000 for n in range(4)})
    records = read_bytes("all.zip", raw, max_unpacked_bytes=16_000)
    assert len(texts(records)) == 2 and len(records) == 4


def test_archives_may_be_nested_three_deep_only(read_bytes, zipped):
    raw = zipped({"note.txt": b"words"})
    for _ in range(2):
        raw = zipped({"in.zip": raw})
    assert texts(read_bytes("all.zip", raw)) == ["words"]
    assert "nested" in only_refusal(read_bytes("all.zip", zipped({"in.zip": raw}))).reason


def test_names_that_lead_out_of_an_archive_are_refused(read_bytes, zipped):
    raw = zipped({"../../evil.txt": b"x", "/etc/evil.txt": b"x", "C:\\evil.txt": b"x", "good.txt": b"words"})
    records = read_bytes("all.zip", raw)
    assert texts(records) == ["words"] and len(records) == 4
    assert all("leads out" in r.reason for r in records if isinstance(r, Refused))


def test_links_in_a_tar_are_refused_and_a_cut_tar_keeps_its_whole_members(read_bytes):
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w") as archive:
        link = tarfile.TarInfo("passwd")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
        for name in ("a.txt", "b.txt"):
            info = tarfile.TarInfo(name)
            info.size = 2000
            archive.addfile(info, io.BytesIO(name.encode() * 400))
    records = read_bytes("all.tar", target.getvalue()[:4800])
    assert texts(records) == ["a.txt" * 400]
    assert ["link" in r.reason or "damaged" in r.reason for r in records if isinstance(r, Refused)] == [True, True]


def test_a_zip_with_a_password_is_refused(read_bytes, zipped):
    raw = bytearray(zipped({"note.txt": b"words"}))
    raw[6] |= 1  # the encryption flag, in the local header and in the central directory
    raw[raw.index(b"PK\x01\x02") + 8] |= 1
    assert "password" in only_refusal(read_bytes("all.zip", bytes(raw))).reason


def test_a_compressed_log_that_breaks_off_lands_up_to_the_break(read_bytes):
    rows = [message(n, note=hashlib.blake2b(bytes([n % 256, n // 256])).hexdigest()) for n in range(2000)]
    raw = gzip.compress(jsonl(*rows).encode())
    records = read_bytes("log.jsonl.gz", raw[: len(raw) // 2])
    assert 500 < len(texts(records)) < 1500
    assert "gzip" in records[-1].reason and not any(isinstance(r, Refused) for r in records[:-2])


def test_a_pdf_with_a_password_is_refused(tmp_path, read):
    writer = pypdf.PdfWriter()
    writer.add_blank_page(100, 100)
    writer.encrypt("secret", algorithm="RC4-128")
    writer.write(tmp_path / "locked.pdf")
    assert "password" in only_refusal(read(tmp_path / "locked.pdf")).reason


def test_a_pdf_without_a_text_layer_is_refused(tmp_path, read):
    writer = pypdf.PdfWriter()
    writer.add_blank_page(100, 100)
    writer.write(tmp_path / "scan.pdf")
    assert "OCR" in only_refusal(read(tmp_path / "scan.pdf")).reason


def test_damaged_parquet_pages_cost_no_crash(read_bytes):
    sink = pa.BufferOutputStream()
    pq.write_table(
        pa.table({"text": [f"{n} words" * 50 for n in range(5000)], "role": ["user"] * 5000}), sink, row_group_size=2500
    )
    raw = bytearray(sink.getvalue().to_pybytes())
    raw[len(raw) // 2 : len(raw) // 2 + 2000] = b"\xff" * 2000
    assert "damaged Parquet" in only_refusal(read_bytes("t.parquet", bytes(raw))).reason


def test_a_date_in_parquet_that_no_calendar_has_costs_its_row(read_bytes):
    times = pa.array([0, 10**18 + 1, 2**60, None], pa.timestamp("us", tz="UTC"))
    nanos = pa.array([1, None, None, 1_683_547_200_123_456_789], pa.timestamp("ns", tz="Europe/Berlin"))
    sink = pa.BufferOutputStream()
    table = {"text": list("abcd"), "role": ["user"] * 4, "said_at": times, "timestamp": nanos}
    pq.write_table(pa.table(table), sink)
    records = read_bytes("t.parquet", sink.getvalue().to_pybytes())
    assert texts(records) == ["user: a", "user: d"] and all("1" in r.reason for r in records if isinstance(r, Refused))
    assert records[-1].zone == "+02:00" and records[-1].said_at.year == 2023


@pytest.mark.parametrize(
    "text", ["[[Page]] is a link", "[1] A footnote", "{curly} words", '["a"] is a list', "<!---->" * 400]
)
def test_prose_that_begins_like_json_or_html_is_prose(read_bytes, text):
    assert texts(read_bytes("note.txt", text)) == [text]


def test_tables_without_a_text_column_say_which_columns_they_have(read_bytes):
    assert "['a', 'b']" in only_refusal(read_bytes("t.csv", "a,b\n1,2\n")).reason
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table({"a": [1]}), sink)
    assert "['a']" in only_refusal(read_bytes("t.parquet", sink.getvalue().to_pybytes())).reason


def test_an_unclosed_quote_or_a_missing_field_in_csv_costs_its_line(read_bytes):
    raw = 'speaker,text\nAnn,one\nBo,"two\nCy,three\nDi\nEd,"four\nlines"\n'
    records = read_bytes("t.csv", raw)
    assert texts(records) == ["Ann: one", "Cy: three", "Ed: four\nlines"]
    assert [r.payload for r in records if isinstance(r, Refused)] == [b'Bo,"two\n', b"Di\n"]


def test_nan_in_a_field_that_nobody_reads_costs_nothing_but_as_a_time_it_is_refused(read_bytes):
    records = read_bytes(
        "log.jsonl",
        '{"role": "user", "content": "a", "score": NaN}\n{"role": "user", "content": "b", "timestamp": NaN}\n',
    )
    assert texts(records) == ["user: a"] and "nan" in only_refusal(records).reason


@pytest.mark.parametrize("depth", [900, 5_000, 200_000])
@pytest.mark.parametrize("name", ["deep.json", "deep.jsonl"])
def test_deep_nesting_is_refused(read_bytes, depth, name):
    deep = '{"role": "user", "content": ' + "[" * depth + "]" * depth + "}"
    records = read_bytes(name, f"{deep}\n{json.dumps(message(2))}\n")
    assert texts(records) == ["user: message 2"] and isinstance(records[0], Refused)


def test_lone_surrogates_are_refused(read_bytes):
    records = read_bytes("log.jsonl", jsonl(r'{"role": "user", "content": "\ud800"}', message(2)))
    assert texts(records) == ["user: message 2"] and "surrogates" in only_refusal(records).reason


@pytest.mark.parametrize("value", [{"foo": 1}, 7, "words", None, {"conversations": 3}, {"haystack_sessions": {}},
                                   {"sample_id": "a", "conversation": {"session_1": 3}}, {"messages": ["a"]}])  # fmt: skip
def test_unknown_shapes_are_refused_record_by_record(read_json, value):
    records = read_json("list.json", [value, message(2)])
    assert texts(records) == ["user: message 2"] and only_refusal(records).source_ref.startswith("list.json#1")


def test_a_conversation_is_no_document_and_a_document_no_conversation(read_bytes):
    assert (
        "--kind" in only_refusal(read_bytes("c.json", json.dumps({"messages": [message(1)]}), kind="document")).reason
    )
    assert "--kind" in only_refusal(read_bytes("n.txt", "words", kind="conversation")).reason


def test_records_that_are_too_long_are_hashed_and_skipped(read_bytes):
    long = json.dumps(message(2, content="x" * 200_000))
    digest = hashlib.blake2b(long.encode(), digest_size=16).hexdigest()
    for name, raw in (
        ("l.jsonl", jsonl(message(1), long, message(3))),
        ("l.json", f"[{json.dumps(message(1))},{long},{json.dumps(message(3))}]"),
    ):
        records = read_bytes(name, raw, max_record_bytes=100_000)
        assert texts(records) == ["user: message 1", "user: message 3"]
        refused = only_refusal(records)
        assert "split it" in refused.reason and len(refused.payload) == 64 * 1024
        newline = name.endswith("l")
        assert refused.payload_bytes == len(long) + newline
        assert newline or refused.payload_hash == digest


MEASURE = """
import re, sys
from pathlib import Path
from pipelines.readers import ReadParams, Refused, find_sources, read_source

def peak():  # not getrusage: its peak is inherited from the parent through exec
    return int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) // 1024

(source,) = find_sources([sys.argv[1]])
before = peak()
(found,) = read_source(source, ReadParams())
assert isinstance(found, Refused) and found.payload_bytes == 200 * 2**20, found
print(before, peak())
"""


@pytest.mark.skipif(
    not Path("/proc/self/status").exists(), reason="peak memory is read from /proc, which only Linux has"
)
@pytest.mark.parametrize("name", ["line.jsonl", "line.json", "line.txt"])
def test_a_line_of_200_mb_is_read_in_bounded_memory(tmp_path, name):
    path = tmp_path / name
    with path.open("wb") as target:
        target.write(b'{"role": "user", "content": "' if name != "line.txt" else b"words: " * 4 + b"!")
        for _ in range(200):
            target.write(b"x" * (2**20))
        target.truncate(200 * 2**20)
    root = Path(__file__).parents[3]
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, str(path)], capture_output=True, text=True, cwd=root, check=False
    )
    assert done.returncode == 0, done.stderr
    before, after = map(int, done.stdout.split())
    print(f"{name}: peak {after} MiB, {before} MiB before reading")
    assert after - before < 160


@given(st.lists(st.sampled_from(["good", "blank", "date", "broken", "shape", "scalar"]), max_size=12))
@settings(max_examples=40, deadline=None)
def test_every_line_is_a_record_or_a_refusal(tmp_path_factory, kinds):
    made = {
        "blank": message(0, content=""),
        "date": message(0, timestamp="never"),
        "broken": '{"role":',
        "shape": {"a": 1},
        "scalar": 3,
    }
    rows = [message(n) if kind == "good" else made[kind] for n, kind in enumerate(kinds)]
    path = tmp_path_factory.mktemp("lines") / "log.jsonl"
    path.write_text(jsonl({"role": "user", "content": "first"}, *rows))
    records = list(read_source(SourceFile(str(path), "log.jsonl", "log", None), ReadParams()))
    assert len(records) == 1 + len(kinds)
    assert len(texts(records)) == 1 + kinds.count("good")


SUFFIXES = [
    "json",
    "jsonl",
    "csv",
    "tsv",
    "txt",
    "md",
    "html",
    "pdf",
    "docx",
    "eml",
    "mbox",
    "parquet",
    "zip",
    "tar",
    "gz",
    "zst",
    "bz2",
    "xz",
    "",
]
MAGIC = [b"", b"[", b"{", b'{"messages":[', b"PK\x03\x04", b"%PDF-1.4\n", b"PAR1", b"\x1f\x8b\x08", b"BZh91AY&SY", b"\xfd7zXZ\x00",
         b"\x28\xb5\x2f\xfd", b"\xff\xfe", b"From x\nFrom: y\nDate: ", b"text,role\n", b"<html>", b"---\ndate: "]  # fmt: skip


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_random_bytes_never_raise_under_any_suffix(tmp_path_factory, suffix):
    path = tmp_path_factory.mktemp("random") / f"f.{suffix}"
    source = SourceFile(str(path), path.name, "f", None)

    @given(st.sampled_from(MAGIC), st.binary(max_size=400))
    @settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
    def never_raises(magic: bytes, rest: bytes) -> None:
        path.write_bytes(magic + rest)
        for record in read_source(source, ReadParams()):
            assert isinstance(record, TurnRecord | DocumentRecord | Refused)
        assert reader_name(source, ReadParams())

    never_raises()


@pytest.mark.parametrize("suffix", ["json", "csv", "html", "eml", "md"])
def test_text_mutations_never_raise(tmp_path_factory, suffix):
    path = tmp_path_factory.mktemp("mutated") / f"f.{suffix}"
    source = SourceFile(str(path), path.name, "f", None)

    @given(st.text(alphabet='{}[]",:\\\n\ud7ff\x00 <>-#=a1', max_size=200))
    @settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
    def never_raises(text: str) -> None:
        path.write_bytes(text.encode())
        for record in read_source(source, ReadParams()):
            assert isinstance(record, TurnRecord | DocumentRecord | Refused)

    never_raises()
