"""Judges that are configured: a real cross-encoder from a folder, and an endpoint that speaks the chat protocol over loopback."""

import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from pydantic import SecretStr

from jobs.judges import judges
from schemas.errors import EngraphError
from schemas.settings import LlmSettings, Settings

TEXTS = ["Ann plays the piano", "Bob rides a horse", "the lake was cold"]


class Endpoint(BaseHTTPRequestHandler):
    """Answers each request with what the test set, and remembers what it was asked."""

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.asked.append((self.path, self.headers.get("Authorization"), body))
        status, content = self.server.answer
        reply = json.dumps({"choices": [{"message": {"role": "assistant", "content": content}}]}).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(reply)))
        self.end_headers()
        self.wfile.write(reply)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def endpoint():
    server = HTTPServer(("127.0.0.1", 0), Endpoint)
    server.asked, server.answer = [], (200, "{}")
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()


def configured(endpoint) -> Settings:
    url = f"http://127.0.0.1:{endpoint.server_port}/v1"
    return Settings(llm=LlmSettings(base_url=url, model="tiny", api_key=SecretStr("secret")))


def test_nothing_configured_means_no_judge():
    assert not judges(Settings())
    assert judges(Settings()).think is None


def test_the_filter_asks_with_a_schema_and_reads_numbers(endpoint):
    endpoint.answer = (200, '{"kept": [2, 1]}')
    assert judges(configured(endpoint)).keep("Who rides?", TEXTS) == [1, 0]
    ((path, authorization, body),) = endpoint.asked
    assert path == "/v1/chat/completions" and authorization == "Bearer secret"
    assert "secret" not in repr(configured(endpoint))
    assert body["model"] == "tiny" and body["stream"] is False
    assert body["response_format"]["type"] == "json_schema"
    assert body["response_format"]["json_schema"]["strict"] is True
    assert "2. Bob rides a horse" in body["messages"][0]["content"]


def test_the_thought_is_what_to_look_for_next(endpoint):
    endpoint.answer = (200, '{"look_for": "the horse\'s name"}')
    assert judges(configured(endpoint)).think("What is it called?", TEXTS) == "the horse's name"


@pytest.mark.parametrize(
    "answer", [(500, ""), (200, "no json"), (200, "[1]"), (200, '{"kept": "all"}'), (200, '{"other": 1}')]
)
def test_an_endpoint_that_fails_is_an_error_that_says_so(endpoint, answer):
    endpoint.answer = answer
    with pytest.raises(EngraphError, match="language model"):
        judges(configured(endpoint)).keep("Who rides?", TEXTS)


def test_an_endpoint_out_of_reach_is_an_error_too(endpoint):
    settings = configured(endpoint)
    endpoint.shutdown()
    endpoint.server_close()
    with pytest.raises(EngraphError, match="language model"):
        judges(settings).keep("Who rides?", TEXTS)


def test_a_cross_encoder_from_a_folder_scores_every_text(tmp_path):
    torch = pytest.importorskip("torch")
    from transformers import BertConfig, BertForSequenceClassification, BertTokenizer

    words = sorted({w for t in TEXTS for w in t.lower().split()} | {"who", "plays"})
    (tmp_path / "vocab.txt").write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *words]))
    torch.manual_seed(0)
    size = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    config = BertConfig(vocab_size=len(words) + 5, num_labels=1, **size)
    BertForSequenceClassification(config).save_pretrained(tmp_path)
    BertTokenizer(str(tmp_path / "vocab.txt")).save_pretrained(tmp_path)
    score = judges(Settings(reranker=str(tmp_path))).score
    found = [float(s) for s in score("who plays", TEXTS)]
    assert len(found) == 3 and len(set(found)) == 3
    assert found == pytest.approx([float(score("who plays", [t])[0]) for t in TEXTS], abs=1e-5)


def test_a_cross_encoder_that_is_not_there_is_an_error_that_names_the_setting(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(EngraphError, match="ENGRAPH_RERANKER"):
        judges(Settings(reranker=str(tmp_path / "nothing"))).score("who", TEXTS)
