"""Names of encoders, and counting without torch."""

import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from pipelines.embedding import EncoderId, load_tokenizer, resolve_encoder
from pipelines.embedding.windows import batches_of, split_bounds
from schemas.errors import UsageError

ROOT = Path(__file__).resolve().parents[3]


@pytest.mark.parametrize("name", ["all-MiniLM-L6-v2@bf16", "BAAI/bge-small-en-v1.5@f32", "models/a@b@f32"])
def test_a_name_is_parsed_back(name):
    assert EncoderId.parse(name).name == name


@pytest.mark.parametrize("name", ["all-MiniLM-L6-v2", "all-MiniLM-L6-v2@int8", "@f32"])
def test_a_name_without_a_known_precision_is_refused(name):
    with pytest.raises(UsageError, match="model@bf16 or model@f32"):
        EncoderId.parse(name)


def test_no_spec_is_the_default_model_at_the_precision_of_this_machine():
    assert resolve_encoder(None) == resolve_encoder("all-MiniLM-L6-v2") == resolve_encoder(None)
    assert resolve_encoder("all-MiniLM-L6-v2@f32").precision == "f32"
    assert resolve_encoder("sentence-transformers/all-MiniLM-L6-v2") == resolve_encoder(None)


def test_a_folder_with_an_at_sign_is_a_model(tmp_path):
    folder = tmp_path / "models@home"
    folder.mkdir()
    assert resolve_encoder(str(folder)).model == str(folder)


def test_tokens_are_counted_and_cut_without_importing_torch():
    code = (
        "import sys; from pipelines.embedding import EncoderId, load_tokenizer\n"
        "t = load_tokenizer(EncoderId('all-MiniLM-L6-v2', 'f32'))\n"
        "assert list(t.count_tokens(['two words', 'x'])) == [2, 1] and t.max_tokens == 254\n"
        "assert not {'torch', 'transformers'} & set(sys.modules), 'heavy import'\n"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


@pytest.mark.parametrize(
    "text",
    ["Unbelievable stories, retold.", "naïve café\nnext line 👩‍👩‍👧 done", "今日は good", "half \ud83d surrogate"],
)
def test_offsets_are_characters_of_the_text(text):
    tokens = load_tokenizer(EncoderId("all-MiniLM-L6-v2", "f32"))
    offsets = tokens.token_offsets(text)
    assert len(offsets) == tokens.count_tokens([text])[0]
    assert np.all(offsets[:, 0] < offsets[:, 1]) and np.all(offsets[1:, 0] >= offsets[:-1, 1])
    assert offsets[-1, 1] <= len(text)
    covered = {c for start, end in offsets for c in range(start, end)}
    assert all(i in covered for i, c in enumerate(text) if c.isalnum())


@pytest.mark.parametrize("n_tokens", [0, 1, 254, 255, 700, 5000])
def test_windows_are_few_and_even_and_cover_everything(n_tokens):
    bounds = split_bounds(n_tokens, 254)
    sizes = [b - a for a, b in pairwise(bounds)]
    assert bounds[0] == 0 and bounds[-1] == n_tokens
    assert max(sizes) <= 254 and max(sizes) - min(sizes) <= 1
    assert len(sizes) == max(1, -(-n_tokens // 254))


def test_batches_cover_all_windows_once_within_the_budget():
    lengths = sorted(np.random.default_rng(1).integers(3, 2000, 500).tolist(), reverse=True)
    batches = batches_of(lengths, 1024)
    assert [i for b in batches for i in b] == list(range(500))
    assert all(len(b) * lengths[b.start] <= 1024 or len(b) == 1 for b in batches)
    assert all(lengths[b.start] == lengths[b.stop - 1] for b in batches)
