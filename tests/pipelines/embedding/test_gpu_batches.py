"""The path that embeds on a card, run on the CPU with the real small model: the same code, merely synchronous."""

import os
import threading
from copy import copy
from functools import lru_cache

os.environ["HF_HUB_OFFLINE"] = "1"

import numpy as np
import pyarrow as pa
import pytest
import torch

from jobs.benchmarks.made_up import sentences
from pipelines.embedding import Encoder, EncoderId, embed_texts
from pipelines.embedding.device_batches import DeviceBatches
from pipelines.embedding.forward import PooledTransformer, load_forward
from pipelines.embedding.model_folder import model_folder, read_layout
from pipelines.embedding.stream import embed_shards
from pipelines.embedding.tokens import read_tokenizer
from schemas.ids import content_hash

CPU = torch.device("cpu")
ID = EncoderId("all-MiniLM-L6-v2", "f32")
WINDOW = 256
LONG = " ".join(f"stone{i % 37} wall" for i in range(200))
TEXTS = [*sentences(50), LONG, "a", "今日は天気がいいですね。"]


class SmallCard(PooledTransformer):
    """The real model on a card whose memory holds `room` padded tokens; torch raises what it raises when a card is full."""

    room = 1 << 30
    calls: tuple[int, ...] = ()

    def vectors(self, batch):
        if batch.padded > self.room:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate more than there is.")
        self.calls = (*self.calls, batch.padded)
        return super().vectors(batch)


def on_card(room: int = 1 << 30, budget: int | None = 4096) -> tuple[Encoder, SmallCard, DeviceBatches]:
    card = copy(loaded())
    card.room = room
    batches = DeviceBatches(card, CPU, WINDOW, budget)
    tokens = read_tokenizer(model_folder(ID.model))
    return Encoder(ID, tokens, card, threads=1, device="cpu", batches=batches), card, batches


@lru_cache
def loaded() -> SmallCard:
    return SmallCard(read_layout(model_folder(ID.model)), ID.precision, CPU)


@pytest.fixture(scope="module")
def plain():
    return Encoder.load(ID, threads=2, device="cpu").encode(TEXTS)


def lowest_cosine(a, b):
    return (a * b).sum(axis=1).min()


def test_vectors_of_the_card_path_are_those_of_the_cpu_path(plain):
    found = on_card()[0].encode(TEXTS)
    assert lowest_cosine(found.vectors, plain.vectors) > 0.999999
    assert np.array_equal(found.n_tokens, plain.n_tokens) and np.array_equal(found.n_windows, plain.n_windows)
    assert found.vectors.dtype == np.float32 and found.n_windows[50] > 1


def test_a_card_that_runs_out_of_memory_gets_smaller_batches_and_loses_nothing(plain):
    encoder, card, batches = on_card(room=1000)
    found = encoder.encode(TEXTS)
    assert lowest_cosine(found.vectors, plain.vectors) > 0.999999
    assert batches.budget <= 1024 and max(card.calls) <= 1000
    assert found.work.windows == len(encoder._tokenised(TEXTS).lengths)


def test_the_smaller_budget_stays_for_the_shards_that_follow():
    encoder, card, batches = on_card(room=1000)
    encoder.encode(TEXTS[:45])
    batches_before, card.calls = batches.budget, ()
    card.room = 1 << 30
    encoder.encode(TEXTS[45:])
    assert batches.budget == batches_before and max(card.calls) <= max(batches_before, WINDOW)


def test_a_single_window_that_does_not_fit_is_computed_on_the_cpu(plain):
    encoder, card, _ = on_card(room=64)
    found = encoder.encode(TEXTS)
    assert max(card.calls) <= 64
    assert lowest_cosine(found.vectors, plain.vectors) > 0.999999


class FailingCard(SmallCard):
    """Fails with `error` for more than four windows at once."""

    error = RuntimeError()

    def vectors(self, batch):
        if len(batch.rows) > 4:
            raise self.error
        return super().vectors(batch)


def test_out_of_memory_in_cublas_counts_and_other_errors_do_not_vanish():
    encoder, card, _ = on_card()
    card.__class__ = FailingCard
    card.error = RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate")
    assert encoder.encode(TEXTS[:20]).vectors.shape == (20, 384)
    encoder, card, _ = on_card()
    card.__class__, card.error = FailingCard, RuntimeError("mat1 and mat2 shapes cannot be multiplied")
    with pytest.raises(RuntimeError, match="mat1"):
        encoder.encode(TEXTS)


def test_shards_after_one_another_have_the_bits_of_each_alone_and_come_in_order():
    encoder, _, _ = on_card()
    lists = [TEXTS[:20], TEXTS[20:21], [], TEXTS[21:]]
    together = list(encoder.encode_lists(iter(lists)))
    for texts, found in zip(lists, together, strict=True):
        assert np.array_equal(found.vectors, encoder.encode(texts).vectors)


def test_the_next_shard_is_tokenised_while_this_one_is_computed():
    encoder, card, _ = on_card()
    tokenised, seen = threading.Event(), []

    def waiting(batch):
        seen.append(tokenised.wait(20))
        return PooledTransformer.vectors(card, batch)

    class Noticed(list):
        def __iter__(self):
            tokenised.set()
            return super().__iter__()

    card.vectors = waiting
    list(encoder.encode_lists([TEXTS[:10], Noticed(TEXTS[10:20])]))
    assert seen and all(seen)


def test_an_empty_text_in_a_later_shard_is_refused_by_its_place_and_earlier_shards_stand():
    encoder, _, _ = on_card()
    found = encoder.encode_lists([TEXTS[:5], TEXTS[5:9], ["fine", "  "]])
    assert len(next(found).vectors) == 5
    with pytest.raises(ValueError, match="text 1 of 2 is empty"):
        list(found)


def test_the_work_of_an_encode_adds_up():
    encoder, card, _ = on_card()
    found = encoder.encode(TEXTS)
    shard = encoder._tokenised(TEXTS)
    assert found.work.tokens == sum(shard.lengths) and found.work.windows == len(shard.lengths)
    assert found.work.padded == sum(card.calls)
    assert 0.2 < found.work.utilisation < 1 and found.work.seconds > 0 and found.work.tokens_per_second > 0
    again = encoder.encode(TEXTS[:9])
    assert encoder.work == found.work + again.work


def test_the_cpu_path_tells_its_work_too(plain):
    encoder = Encoder.load(ID, threads=2, device="cpu")
    work = encoder.encode(TEXTS).work
    assert work.tokens == sum(encoder._tokenised(TEXTS).lengths)
    assert work.tokens <= work.padded < 2 * work.tokens and work.seconds > 0


def test_a_model_that_takes_text_goes_through_the_same_batches(plain):
    folder = model_folder(ID.model)
    layout = read_layout(folder)
    exotic = load_forward(folder, type(layout)(layout.transformer, layout.window, "exotic"), "f32", CPU)
    encoder = Encoder(
        ID, read_tokenizer(folder), exotic, threads=1, device="cpu", batches=DeviceBatches(exotic, CPU, WINDOW)
    )
    found = encoder.encode(TEXTS)
    short = plain.n_windows == 1  # a window cut out of a text need not give the same tokens again
    assert lowest_cosine(found.vectors[short], plain.vectors[short]) > 0.9999


def test_tables_of_a_stream_are_those_of_the_stage():
    encoder, _, _ = on_card()
    tables = [
        pa.table({"content_hash": [content_hash(t) for t in part], "text": part}) for part in (TEXTS[:7], TEXTS[7:])
    ]
    assert list(embed_shards(iter(tables), encoder=encoder)) == [embed_texts(t, encoder=encoder) for t in tables]
