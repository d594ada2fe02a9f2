"""The real small encoder beside SentenceTransformer on the same texts."""

import json
import os
from itertools import pairwise
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"

import numpy as np
import pyarrow as pa
import pytest
import torch
from sentence_transformers import SentenceTransformer

from pipelines.embedding import Encoder, EncoderId, embed_texts, resolve_encoder
from pipelines.embedding.model_folder import model_folder, read_layout
from schemas.errors import EngraphError, SchemaMismatch
from schemas.ids import content_hash
from schemas.tables import TABLES

ROOT = Path(__file__).resolve().parents[3]
ODD = [
    "naïve café, Straße, Ærøskøbing",
    "今日は天気がいいですね。",
    "👩‍👩‍👧‍👦 family 🎉🎉 party",
    "line one\nline two\r\n\tindented   line",
    "a",
    "... !?",
    "\u200b",
]
WORDS = ("the", "house", "stands", "near", "water", "and", "people", "walk", "along", "its", "old", "stone", "wall")
LONG = " ".join(WORDS[(i * i + i // 7) % len(WORDS)] for i in range(700))


def repository_sentences() -> list[str]:
    lines = [
        line.strip() for file in sorted((ROOT / "schemas").rglob("*.py")) for line in file.read_text().splitlines()
    ]
    return list(dict.fromkeys(line for line in lines if len(line) > 20))[:150]


SENTENCES = repository_sentences() + ODD


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    return Encoder.load(resolve_encoder(None), threads=2, device="cpu")


@pytest.fixture(scope="module")
def encoded(encoder):
    return encoder.encode(SENTENCES)


@pytest.fixture(scope="module")
def stock() -> np.ndarray:
    model = SentenceTransformer(str(model_folder("all-MiniLM-L6-v2")), device="cpu", local_files_only=True)
    return model.encode(SENTENCES)


def cosines(a, b):
    return (a * b).sum(axis=1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)


def test_vectors_are_those_of_sentence_transformers_for_every_text_odd_ones_included(encoded, stock):
    assert encoded.vectors.shape == (len(SENTENCES), 384)
    assert encoded.vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(encoded.vectors, axis=1), 1, atol=1e-6)
    assert cosines(encoded.vectors, stock).min() >= 0.999


def test_f32_differs_from_sentence_transformers_by_rounding_only(stock):
    encoder = Encoder.load(EncoderId("all-MiniLM-L6-v2", "f32"), device="cpu")
    assert cosines(encoder.encode(SENTENCES).vectors, stock).min() >= 0.999999


def test_the_same_list_gives_the_same_bits_with_any_number_of_threads(encoder, encoded):
    one = Encoder.load(encoder.id, threads=1, device="cpu")
    assert np.array_equal(encoder.encode(SENTENCES).vectors, encoded.vectors)
    assert np.array_equal(one.encode(SENTENCES).vectors, encoded.vectors)


def test_permuting_and_repeating_texts_changes_no_bit(encoder, encoded):
    order = np.random.default_rng(0).permutation(len(SENTENCES))
    order = np.concatenate([order, order[:20]])
    again = encoder.encode([SENTENCES[i] for i in order])
    assert np.array_equal(again.vectors, encoded.vectors[order])
    assert np.array_equal(again.n_tokens, encoded.n_tokens[order])


def test_a_text_has_the_same_bits_whatever_it_is_encoded_with_but_for_amx(encoder, encoded):
    """The kernels for AMX tiles add up in an order that depends on the rows of a batch."""
    amx = torch.cpu.get_capabilities().get("amx_bf16", False)
    for share in (1, 7, 50):
        few = [encoder.encode(SENTENCES[i : i + share]).vectors for i in range(0, len(SENTENCES), share)]
        found = np.concatenate(few)
        assert np.array_equal(found, encoded.vectors) or (amx and cosines(found, encoded.vectors).min() >= 0.9999)


def test_encoding_leaves_torchs_thread_setting_as_it_was(encoder):
    import torch

    before = torch.get_num_threads()
    encoder.encode(["a text"])
    encoder.encode_one("a text")
    assert torch.get_num_threads() == before


@pytest.mark.parametrize("text", ["", " "], ids=["empty", "blank"])
def test_one_text_without_words_is_refused_as_in_a_list(encoder, text):
    with pytest.raises(ValueError, match="is empty"):
        encoder.encode_one(text)


@pytest.mark.parametrize("text", ["Who keeps the lamp oil?", "house " * 300], ids=["short", "long"])
def test_one_text_over_all_cores_has_the_vector_that_it_has_in_a_list(encoder, text):
    spent = encoder.work.tokens
    found = encoder.encode_one(text)
    assert found.shape == (384,)
    assert encoder.work.tokens > spent
    assert cosines(found[None], encoder.encode([text]).vectors)[0] >= 0.9999


def test_a_long_text_is_the_token_weighted_mean_of_its_windows(encoder):
    offsets = encoder.token_offsets(LONG)
    found = encoder.encode([LONG, "a short one"])
    assert found.n_tokens[0] == len(offsets) == 700
    assert list(found.n_windows) == [3, 1]
    bounds = [0, 233, 466, 700]
    parts = [LONG[offsets[a, 0] : offsets[b - 1, 1]] for a, b in pairwise(bounds)]
    windows = encoder.encode(parts)
    assert list(windows.n_windows) == [1, 1, 1]
    mean = (windows.vectors * np.diff(bounds)[:, None]).sum(axis=0)
    assert found.vectors[0] @ mean / np.linalg.norm(mean) > 0.9998
    np.testing.assert_allclose(np.linalg.norm(found.vectors[0]), 1, atol=1e-6)


def test_the_end_of_a_long_text_counts(encoder):
    other_end = " ".join([*LONG.split()[:500], *["chemistry", "laboratory", "acid"] * 66])
    vectors = encoder.encode([LONG, other_end]).vectors
    assert vectors[0] @ vectors[1] < 0.98


def test_a_text_that_just_fits_is_one_window(encoder):
    just, more = ("stone " * n for n in (encoder.max_tokens, encoder.max_tokens + 1))
    assert list(encoder.encode([just, more]).n_windows) == [1, 2]
    assert list(encoder.count_tokens([just, more])) == [254, 255]


@pytest.mark.parametrize("empty", ["", "  \n\t"])
def test_an_empty_text_is_refused_by_its_place(encoder, empty):
    with pytest.raises(ValueError, match="text 2 of 3 is empty"):
        encoder.encode(["one", "two", empty])


def test_no_texts_give_no_vectors(encoder):
    assert encoder.encode([]).vectors.shape == (0, 384)


def test_progress_ends_at_the_total(encoder):
    seen = []
    encoder.encode(SENTENCES, progress=lambda done, total: seen.append((done, total)))
    assert len(seen) > 1 and seen == sorted(seen) and seen[-1][0] == seen[-1][1]


def test_a_vector_that_is_not_finite_names_its_text(encoder):
    class Overflowing:
        dim, takes_text = 4, False

        def __call__(self, ids, texts):
            return np.array([[np.nan if len(i) > 5 else 0.5] * 4 for i in ids], dtype=np.float32)

    broken = Encoder(encoder.id, encoder.tokens, Overflowing(), threads=1, device="cpu")
    with pytest.raises(EngraphError, match="1 vectors that are not finite, the first for text 1, 'a sentence of some"):
        broken.encode(["short", "a sentence of some words", "brief"])


def variant(folder: Path, pooling: str) -> Path:
    """The default model with another pooling, as a folder of links."""
    source = model_folder("all-MiniLM-L6-v2")
    for file in source.iterdir():
        if file.is_file():
            (folder / file.name).symlink_to(file)
    modes = {f"pooling_mode_{m}": m == pooling for m in ("cls_token", "mean_tokens", "max_tokens")}
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text(json.dumps({"word_embedding_dimension": 384, **modes}))
    return folder


@pytest.mark.parametrize(("pooling", "read_as"), [("cls_token", "cls"), ("max_tokens", "exotic")])
def test_other_poolings_follow_the_models_configuration(tmp_path, pooling, read_as):
    folder = variant(tmp_path, pooling)
    assert read_layout(folder).pooling == read_as
    encoder = Encoder.load(EncoderId(str(folder), "f32"), device="cpu")
    theirs = SentenceTransformer(str(folder), device="cpu").encode(SENTENCES[-40:])
    assert cosines(encoder.encode(SENTENCES[-40:]).vectors, theirs).min() >= 0.99999
    assert encoder.encode([LONG]).n_windows[0] == 3


def table_of(texts):
    return pa.table({"content_hash": [content_hash(t) for t in texts], "text": texts})


def test_the_table_embeddings_conforms_and_keeps_the_order(encoder, encoded):
    table = embed_texts(table_of(SENTENCES), encoder=encoder)
    assert TABLES["embeddings"].validate(table).equals(table)
    assert table["content_hash"].to_pylist() == [content_hash(t) for t in SENTENCES]
    assert table["vector"].type == pa.list_(pa.float32(), 384)
    vectors = table["vector"].combine_chunks().flatten().to_numpy().reshape(-1, 384)
    assert np.array_equal(vectors, encoded.vectors)
    assert set(table["encoder"].to_pylist()) == {encoder.id.name}
    empty = embed_texts(table_of(SENTENCES).slice(0, 0), encoder=encoder)
    assert empty.num_rows == 0 and empty.schema.equals(table.schema)


def test_a_text_given_twice_is_a_mismatch(encoder):
    with pytest.raises(SchemaMismatch, match="duplicate keys"):
        embed_texts(table_of(["same", "same"]), encoder=encoder)
