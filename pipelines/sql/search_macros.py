"""ann_search, lexical_search and hybrid_search.

`ann_search` looks into the `nprobe` lists whose centres are nearest (inverted file): it compares the signs of all components
there, less their means (64 of them in one XOR: 0.05 us a vector where DuckDB's inner product takes 1.2), and then the nearest
`POOLED` vectors exactly. `ann_vectors` is sorted by list, so that only their row groups are read. `lexical_search` is BM25 as
`pipelines.lexical.bm25` computes it: document frequency and length are those of the collection that was asked, all current units
or one granularity or namespace of them. `hybrid_search` adds reciprocal ranks of both (Cormack, Clarke and Buettcher 2009).
"""

from __future__ import annotations

from pipelines import lexical
from pipelines.sql.folding import ASCII_WORD
from pipelines.sql.lists import code_words
from schemas.database import Macro

WORD = f"{ASCII_WORD}+(?:''{ASCII_WORD}+)?"
CAPITALS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
CJK = r"[\x{3040}-\x{30ff}\x{3400}-\x{4dbf}\x{4e00}-\x{9fff}\x{ac00}-\x{d7af}]"
RRF = 60  # of the paper
POOLED = (
    250  # vectors that are compared exactly, for 10 hits: 200 held 0.973 of the ten nearest of 100,000 MiniLM vectors
)
POOL = 50  # hits of each kind that are fused, at least


def search_macros(dim: int, nprobe: int) -> list[Macro]:
    """The macros, without those that need vectors where `dim` is 0."""
    return [*_lexical(), *(_dense(dim, nprobe) if dim else ())]


def _dense(dim: int, nprobe: int) -> list[Macro]:
    words = code_words(dim)
    code = ", ".join(f"c.bits[{64 * i + 1}:{64 * i + 64}]::BIT::UBIGINT AS code_{i}" for i in range(words))
    apart = " + ".join(f"bit_count(xor(v.code_{i}, a.code_{i}))::INTEGER" for i in range(words))
    ann = Macro(
        "ann_search",
        f"vec, k := 10, nprobe := {nprobe}",
        "the k units nearest to a vector by inner product, looked for in nprobe lists: (unit_id, score)",
        f"""
WITH given AS MATERIALIZED (SELECT vec::FLOAT[{dim}] AS q),
asked AS MATERIALIZED (
    SELECT c.q, {code} FROM (
        SELECT g.q, rpad(array_to_string(list_transform(list_zip(g.q::FLOAT[], m.mean::FLOAT[]),
            lambda x: CASE WHEN x[1] > x[2] THEN '1' ELSE '0' END), ''), {64 * words}, '0') AS bits
        FROM given g, ann_mean m
    ) c
),
probed AS MATERIALIZED (
    SELECT l.list_id FROM ann_lists l, given g ORDER BY array_inner_product(l.centre, g.q) DESC, l.list_id LIMIT nprobe
),
near AS MATERIALIZED (
    SELECT v.vector_no FROM ann_vectors v, asked a WHERE v.list_id IN (SELECT p.list_id FROM probed p)
    ORDER BY {apart}, v.vector_no LIMIT greatest({POOLED}, {POOLED // 10} * k)
),
texts AS MATERIALIZED (
    SELECT v.unit_nos, array_inner_product(v.vector, g.q) AS score FROM ann_vectors v, given g
    WHERE v.vector_no IN (SELECT n.vector_no FROM near n) ORDER BY score DESC, v.vector_no LIMIT k
)
SELECT u.unit_id, t.score
FROM (SELECT unnest(x.unit_nos) AS unit_no, x.score FROM texts x) t JOIN unit_rows u ON u.unit_no = t.unit_no
ORDER BY t.score DESC, u.unit_no LIMIT k
""",
    )
    hybrid = Macro(
        "hybrid_search",
        "text, vec, k := 10",
        "the k best by reciprocal ranks in ann_search and lexical_search: (unit_id, score, dense_rank, lexical_rank)",
        f"""
WITH near AS (
    SELECT d.unit_id, row_number() OVER (ORDER BY d.score DESC, d.unit_id) AS place
    FROM ann_search(vec, k := greatest({POOL}, k)) d
),
said AS (
    SELECT w.unit_id, row_number() OVER (ORDER BY w.score DESC, w.unit_id) AS place
    FROM lexical_search(text, k := greatest({POOL}, k)) w
)
SELECT coalesce(near.unit_id, said.unit_id) AS unit_id,
       coalesce(1.0 / ({RRF} + near.place), 0) + coalesce(1.0 / ({RRF} + said.place), 0) AS score,
       near.place AS dense_rank, said.place AS lexical_rank
FROM near FULL JOIN said ON near.unit_id = said.unit_id
ORDER BY score DESC, unit_id LIMIT k
""",
    )
    return [ann, hybrid]


def _lexical() -> list[Macro]:
    stops = ", ".join("'" + word.replace("'", "''") + "'" for word in sorted(lexical.STOP_WORDS))
    # nfc_normalize ends a text at its first NUL, which parts words like any other character that is not in one.
    terms = Macro(
        "query_terms",
        "text",
        "what a text is searched under: (term, weight); words that are not in lexicon as they are written",
        f"""
WITH written AS MATERIALIZED (
    SELECT translate(nfc_normalize(replace(text::VARCHAR, chr(0), ' ')), '{CAPITALS}', '{CAPITALS.lower()}') AS line
),
odd AS (SELECT unnest(regexp_extract_all(w.line, '[^\x00-\x7f]')) AS written FROM written w),
folds AS (
    SELECT list(f.written || f.folded) AS all_ FROM bm25_folding f WHERE f.written IN (SELECT o.written FROM odd o)
),
line AS (
    SELECT coalesce(
        list_reduce(f.all_, lambda a, x: replace(a, substring(x, 1, 1), substring(x, 2)), w.line), w.line) AS folded
    FROM written w, folds f
),
words AS (SELECT unnest(regexp_extract_all(l.folded, '{WORD}')) AS word FROM line l),
surfaces AS (
    SELECT unnest(
        CASE WHEN length(w.word) > 1 AND regexp_matches(w.word, '{CJK}')
             THEN list_transform(range(1, length(w.word)), lambda i: w.word[i:i + 1])
             ELSE [regexp_replace(w.word, '''s$', '')] END
    ) AS surface
    FROM words w
)
SELECT coalesce(x.stem, s.surface) AS term, count(*) AS weight
FROM surfaces s LEFT JOIN lexicon x ON x.surface = s.surface
WHERE s.surface NOT IN ({stops}) GROUP BY 1
""",
    )
    k1, b = lexical.K1, lexical.B
    search = Macro(
        "lexical_search",
        "text, k := 10, namespace := NULL, granularity := NULL",
        "the k best units by BM25, of all current units or of one namespace or granularity: (unit_id, score)",
        f"""
WITH wanted AS MATERIALIZED (
    SELECT t.term_no, q.weight FROM query_terms(text) q JOIN bm25_terms t ON t.term = q.term
),
scope AS MATERIALIZED (
    SELECT s.scope_no, s.units, s.terms FROM bm25_scopes s
    WHERE (namespace IS NULL OR s.namespace = namespace) AND (granularity IS NULL OR s.granularity = granularity)
),
whole AS MATERIALIZED (
    SELECT sum(s.units) AS n, greatest(sum(s.terms) / sum(s.units), 1.0) AS average FROM scope s
),
found AS MATERIALIZED (
    SELECT p.term_no, p.unit_no, p.tf, p.length FROM bm25_postings p
    WHERE p.term_no IN (SELECT w.term_no FROM wanted w) AND p.scope_no IN (SELECT s.scope_no FROM scope s)
),
rare AS MATERIALIZED (
    SELECT d.term_no, w.weight * ln(1 + (h.n - d.df + 0.5) / (d.df + 0.5)) AS idf
    FROM (SELECT f.term_no, count(*) AS df FROM found f GROUP BY 1) d JOIN wanted w ON w.term_no = d.term_no, whole h
),
best AS (
    SELECT f.unit_no,
           sum(r.idf * f.tf * {k1 + 1} / (f.tf + {k1} * ({1 - b} + {b} * f.length / h.average))) AS score
    FROM found f JOIN rare r ON r.term_no = f.term_no, whole h GROUP BY 1 ORDER BY score DESC, f.unit_no LIMIT k
)
SELECT u.unit_id, b.score FROM best b JOIN unit_rows u ON u.unit_no = b.unit_no ORDER BY b.score DESC, u.unit_no
""",
    )
    return [terms, search]
