"""Settings: every problem is reported at once, by name, and no secret is quoted."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from workshed.errors import SettingsError
from workshed.scrubbing import collect_secrets
from workshed.settings import (
    Settings,
    settings,
    settings_of,
    update_environment,
)
from workshed.settings_classes import find_unknown_names


def test_the_defaults_work_on_a_laptop(monkeypatch):
    monkeypatch.delenv("WORKSHED_APP")

    found = settings()

    assert found.broker_url.get_secret_value() == "amqp://guest:guest@127.0.0.1:5672/"
    assert found.given == set()


def test_values_from_the_environment_are_distinguished_from_defaults(monkeypatch):
    monkeypatch.delenv("WORKSHED_APP")
    monkeypatch.setenv("WORKSHED_DATABASE_URL", "postgresql:///workshed")
    monkeypatch.setenv("WORKSHED_BROKER_URL", "")  # as in a template that was not filled in

    assert settings().given == {"database_url"}


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("WORKSHED_DATABSE_URL", "WORKSHED_DATABASE_URL"),
        ("WORKSHED_MAX_RETRY", "WORKSHED_MAX_RETRIES"),
        ("workshed_broker_uri", "WORKSHED_BROKER_URL"),
    ],
)
def test_a_misspelt_name_is_refused_with_the_one_meant(name, meant, monkeypatch):
    monkeypatch.setenv(name, "x")

    with pytest.raises(SettingsError, match=f"{name} is not a setting; did you mean {meant}"):
        settings()


def test_a_name_like_no_other_is_refused_without_a_guess():
    assert find_unknown_names({"WORKSHED_KUBERNETES_NAMESPACE": "x"}, Settings) == [
        "WORKSHED_KUBERNETES_NAMESPACE is not a setting"
    ]


def test_names_with_another_prefix_are_ignored():
    assert (
        find_unknown_names(
            {"DATABASE_URL": "x", "WORKSHEDS": "x", "workshed_queues": "a=1"}, Settings
        )
        == []
    )


def test_all_problems_are_reported_at_once_and_without_secrets(monkeypatch):
    monkeypatch.setenv("WORKSHED_DATABASE_URL", "mysql://root:hunter2@db/app")
    monkeypatch.setenv("WORKSHED_BROKER_URL", "amqp://ok@a/;redis://u:hunter3@b/")
    monkeypatch.setenv("WORKSHED_POOL_SIZE", "many")
    monkeypatch.setenv("WORKSHED_POOLSIZE", "4")

    with pytest.raises(SettingsError) as caught:
        settings()

    message = str(caught.value)
    for name in ("DATABASE_URL", "BROKER_URL", "POOL_SIZE", "POOLSIZE"):
        assert f"  - WORKSHED_{name}" in message
    assert "hunter" not in message
    # A traceback prints causes too.
    assert caught.value.__cause__ is caught.value.__context__ is None


@pytest.mark.parametrize(
    ("text", "span"),
    [("10", timedelta(seconds=10)), ("0.5", timedelta(milliseconds=500))],
)
def test_a_duration_is_a_number_of_seconds(text, span, monkeypatch):
    monkeypatch.setenv("WORKSHED_SMTP_TIMEOUT", text)

    assert settings().smtp_timeout == span


@pytest.mark.parametrize("text", ["-1", "soon", "nan", "1e400"])
def test_an_invalid_duration_is_refused_by_name(text, monkeypatch):
    monkeypatch.setenv("WORKSHED_SMTP_TIMEOUT", text)

    with pytest.raises(SettingsError, match="WORKSHED_SMTP_TIMEOUT"):
        settings()


@given(st.floats(min_value=0, max_value=1e9))
def test_any_number_of_seconds_is_read_exactly(seconds):
    found = Settings(record_visibility_grace=str(seconds))

    assert found.record_visibility_grace == timedelta(seconds=seconds)


def test_a_timeout_of_nothing_is_refused(monkeypatch):
    """No server answers within 0 s: each mail would fail."""
    monkeypatch.setenv("WORKSHED_SMTP_TIMEOUT", "0")

    with pytest.raises(SettingsError, match="WORKSHED_SMTP_TIMEOUT"):
        settings()


def test_settings_cannot_be_changed():
    with pytest.raises(AttributeError, match="frozen"):
        settings().pool_size = 4


def test_secrets_do_not_show(monkeypatch):
    monkeypatch.setenv("WORKSHED_DATABASE_URL", "postgresql://u:hunter2@db/app")

    assert "hunter2" not in repr(settings())


@pytest.mark.parametrize("dsn", ["s3cret@sentry.example/1", "https://s3cret@sentry.example/"])
def test_a_dsn_without_its_parts_is_refused_without_quoting_it(dsn, monkeypatch):
    monkeypatch.setenv("WORKSHED_SENTRY_DSN", dsn)

    with pytest.raises(SettingsError, match="must be like https://key@host/project") as caught:
        settings()

    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "url"),
    [
        ("WORKSHED_DATABASE_URL", "postgresql://u:100%s3cret@h/db"),
        ("WORKSHED_DATABASE_URL", "postgresql://u:s3c/ret@h/db"),
        ("WORKSHED_DATABASE_URL", "postgresql://u:s3cret@h:port/db"),
        ("WORKSHED_DATABASE_URL", "postgresql://u:s3cret@h:5432,h:port/db"),
        ("WORKSHED_BROKER_URL", "amqp://u:s3cret/x@h"),
        ("WORKSHED_BROKER_URL", "amqp://ok@h/;amqp://u:s3cret@h:999999/"),
    ],
)
def test_a_url_that_would_be_misread_is_refused_without_quoting_it(name, url, monkeypatch):
    monkeypatch.setenv(name, url)

    with pytest.raises(SettingsError, match=f"{name}: cannot be read") as error:
        settings()

    assert "s3c" not in str(error.value)


def test_postgresql_may_have_several_hosts(monkeypatch):
    """As libpq takes them: a primary and its replicas, each with its port."""
    url = "postgresql://u:hunter2@a:5432,[::1]:5433,c/db?target_session_attrs=read-write"
    monkeypatch.setenv("WORKSHED_DATABASE_URL", url)

    assert settings().database_url.get_secret_value() == url
    assert "hunter2" in collect_secrets(settings())


def test_an_unknown_zone_is_refused_with_the_one_meant(monkeypatch):
    monkeypatch.setenv("WORKSHED_TIME_ZONE", "Europe/Pari")
    settings.cache_clear()

    with pytest.raises(SettingsError, match=r"WORKSHED_TIME_ZONE: .*did you mean Europe/Paris"):
        settings()


@pytest.mark.parametrize("prefix", ["", "shop.", "_a-1", "a" * 100])
def test_a_queue_prefix_follows_the_rules_for_queue_names(prefix):
    assert Settings(queue_prefix=prefix).queue_prefix == prefix


@pytest.mark.parametrize("prefix", ["1a", ".a", "a b", "a/", "a" * 101])
def test_a_prefix_that_rabbitmq_or_a_pattern_would_trip_over_is_refused(prefix):
    with pytest.raises(ValueError, match="must begin with a letter or underscore"):
        Settings(queue_prefix=prefix)


@pytest.mark.parametrize("proxies", ["", "none", "127.0.0.1", "10.0.0.0/8, fd00::/8"])
def test_proxies_are_addresses_or_networks(proxies):
    assert Settings(console_proxies=proxies).console_proxies == proxies


@pytest.mark.parametrize("proxies", ["*", "proxy.example", "10.0.0.1/8", "10.0.0.0/8,", "no"])
def test_a_proxy_that_is_no_network_is_refused(proxies):
    """Otherwise it would never match, and its users would share an address."""
    with pytest.raises(ValueError, match="console_proxies"):
        Settings(console_proxies=proxies)


class Zoo(BaseSettings):
    """Settings of an application, with a prefix written as in pydantic's documentation."""

    model_config = SettingsConfigDict(env_prefix="zoo_", env_nested_delimiter="__")
    birds: int = 7
    cages: list[str] = Field(default=[])
    keeper: dict[str, str] = Field(default={})

    @model_validator(mode="after")
    def _cages(self):
        if self.birds < len(self.cages):
            raise ValueError("more cages than birds")
        return self


class Nameless(BaseSettings):
    """Settings without a prefix, which would read any variable."""


def test_an_application_reads_its_settings_once_and_again_when_ours_are(monkeypatch):
    first = settings_of(Zoo)
    monkeypatch.setenv("ZOO_BIRDS", "8")

    assert settings_of(Zoo) is first
    assert first.birds == 7
    settings.cache_clear()
    assert settings_of(Zoo).birds == 8


def test_using_other_settings_reads_those_of_an_application_again(monkeypatch):
    monkeypatch.setenv("ZOO_BIRDS", "8")  # undone after this test
    assert settings_of(Zoo).birds == 8

    update_environment({"ZOO_BIRDS": "9"})

    assert settings_of(Zoo).birds == 9


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("ZOO_BRIDS", "ZOO_BRIDS is not a setting; did you mean ZOO_BIRDS?"),
        ("ZOO_BIRDS", "ZOO_BIRDS: Input should be a valid integer"),
        ("ZOO_CAGES", 'Zoo: error parsing value for field "cages"'),
    ],
)
def test_problems_with_an_applications_settings_are_reported_like_ours(monkeypatch, name, said):
    monkeypatch.setenv(name, "many")

    with pytest.raises(SettingsError) as error:
        settings_of(Zoo)
    assert said in str(error.value)
    assert "many" not in str(error.value)


def test_a_rule_about_several_of_them_is_reported_with_the_name_of_the_class(monkeypatch):
    monkeypatch.setenv("ZOO_BIRDS", "1")
    monkeypatch.setenv("ZOO_CAGES", '["a", "b"]')

    with pytest.raises(SettingsError, match="Zoo: more cages than birds"):
        settings_of(Zoo)


def test_a_part_of_a_setting_is_no_unknown_name(monkeypatch):
    monkeypatch.setenv("ZOO_KEEPER__NAME", "Ada")

    assert settings_of(Zoo).keeper == {"name": "Ada"}


def test_a_class_without_a_prefix_is_refused():
    with pytest.raises(SettingsError, match="Nameless: needs an env_prefix, for example SHOP_"):
        settings_of(Nameless)
