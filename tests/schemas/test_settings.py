"""Settings from engraph.toml and ENGRAPH_ variables, and what is said when one of them cannot be."""

import os
from pathlib import Path

import pytest

from schemas.errors import UsageError
from schemas.settings import load_settings


@pytest.fixture
def variables():
    """Sets ENGRAPH_ variables of this process for one test; those of the machine are out of the way meanwhile."""
    before = {name: os.environ.pop(name) for name in list(os.environ) if name.startswith("ENGRAPH_")}
    yield lambda **given: os.environ.update({f"ENGRAPH_{name}": value for name, value in given.items()})
    for name in [n for n in os.environ if n.startswith("ENGRAPH_")]:
        del os.environ[name]
    os.environ.update(before)


@pytest.fixture
def toml(tmp_path, variables):
    def write(text: str) -> str:
        (tmp_path / "engraph.toml").write_text(text)
        return str(tmp_path / "store")

    return write


def test_defaults_hold_where_nothing_is_set(tmp_path, variables):
    settings = load_settings(str(tmp_path / "store"), None)
    assert (settings.buckets, settings.encoder, settings.corpora) == (16, None, {})
    assert settings.store == str(tmp_path / "store")


def test_the_file_beside_the_store_is_read(toml):
    store = toml('buckets = 4\n[corpora.notes]\nsource = "notes/*.md"\nkind = "document"\n')
    settings = load_settings(store, None)
    assert settings.buckets == 4
    assert settings.corpora["notes"].source == f"{Path(store).parent}/notes/*.md"  # beside the file
    assert settings.corpora["notes"].timezone == "UTC"


def test_a_given_file_stands_in_for_the_one_beside_the_store(toml, tmp_path):
    store = toml("buckets = 4\n")
    other = tmp_path / "other.toml"
    other.write_text("buckets = 8\n")
    assert load_settings(store, other).buckets == 8


def test_variables_override_the_file_level_by_level(toml, variables):
    store = toml('buckets = 4\nworkers = 2\n[corpora.notes]\nsource = "notes/*.md"\nkind = "document"\n')
    variables(BUCKETS="32", CORPORA__NOTES__SOURCE="elsewhere/*.md")
    settings = load_settings(store, None)
    assert (settings.buckets, settings.workers) == (32, 2)
    assert settings.corpora["notes"].source == f"{Path(store).parent}/elsewhere/*.md"
    assert settings.corpora["notes"].kind == "document"


def test_the_store_given_to_a_command_beats_the_variable(tmp_path, variables):
    variables(STORE="elsewhere")
    assert load_settings(str(tmp_path / "s"), None).store == str(tmp_path / "s")
    assert load_settings(None, None).store == "elsewhere"


@pytest.mark.parametrize(
    ("name", "value", "setting"),
    [("BUCKETS", "many", "buckets"), ("BUCKETS", "0", "buckets"), ("LOCK_WAIT_S", "-1", "lock_wait_s")],
)
@pytest.mark.parametrize("with_store", [True, False])
def test_a_variable_that_is_no_value_is_named(tmp_path, variables, name, value, setting, with_store):
    variables(**{name: value})
    with pytest.raises(UsageError, match=f"setting {setting}: "):
        load_settings(str(tmp_path / "s") if with_store else None, None)


def test_a_value_in_the_file_that_is_none_is_named(toml):
    with pytest.raises(UsageError, match=r"setting corpora\.notes\.source: "):
        load_settings(toml('[corpora.notes]\nkind = "document"\n'), None)


def test_a_file_that_is_not_toml_and_one_that_is_missing_are_usage_errors(toml, tmp_path):
    with pytest.raises(UsageError, match="is not TOML"):
        load_settings(toml("buckets = = 4"), None)
    with pytest.raises(UsageError, match="no settings file"):
        load_settings(str(tmp_path / "s"), tmp_path / "nowhere.toml")


def test_a_variable_that_should_be_json_is_named(tmp_path, variables):
    variables(CORPORA="not json")
    with pytest.raises(UsageError, match="corpora"):
        load_settings(str(tmp_path / "s"), None)
