"""Arguments for the clients of Kafka and ClickHouse, from the settings.

One place says how a login or a certificate reaches a client, so every process connects alike.
It opens no connection; it reads certificate files.
"""

import ssl
from typing import Any, Final

from infra.runtime.settings import ClickHouseSettings, KafkaSettings, SettingsError

_THIS_MACHINE: Final = ("127.0.0.1", "::1", "localhost")


def kafka_arguments(kafka: KafkaSettings) -> dict[str, Any]:
    """Return keyword arguments that any aiokafka client takes.

    Raises:
        SettingsError: a certificate or key cannot be used.
    """
    arguments: dict[str, Any] = {
        "bootstrap_servers": brokers(kafka),
        "request_timeout_ms": kafka.request_timeout_ms,
        "security_protocol": kafka.security_protocol,
        "ssl_context": tls_context(kafka),
    }
    if kafka.security_protocol.startswith("SASL"):
        arguments |= {
            "sasl_mechanism": kafka.sasl_mechanism,
            "sasl_plain_username": kafka.sasl_username,
            "sasl_plain_password": kafka.sasl_password.reveal(),
        }
    return arguments


def brokers(kafka: KafkaSettings) -> list[str]:
    """Return the brokers to ask first, each `host:port`."""
    return [address.strip() for address in kafka.bootstrap.split(",")]


def tls_context(kafka: KafkaSettings) -> ssl.SSLContext | None:
    """Return how to encrypt, None for a protocol without TLS.

    Raises:
        SettingsError: a certificate or key cannot be used.
    """
    if "SSL" not in kafka.security_protocol:
        return None
    context = _trusting("kafka.tls_ca_file", kafka.tls_ca_file)
    if kafka.tls_cert_file:
        try:
            context.load_cert_chain(
                kafka.tls_cert_file,
                kafka.tls_key_file or None,
                # Without a password here OpenSSL would ask for one on the terminal.
                password=kafka.tls_key_password.reveal,
            )
        except OSError as error:
            key = "kafka.tls_cert_file"
            problem = f"{kafka.tls_cert_file!r} cannot be used: {_reason(error)}"
            allowed = "a PEM certificate, with its key there or in kafka.tls_key_file"
            raise SettingsError(key, problem, allowed=allowed) from error
    return context


def clickhouse_arguments(
    clickhouse: ClickHouseSettings, *, timeout_s: int | None = None
) -> dict[str, Any]:
    """Return keyword arguments for `clickhouse_connect.get_client`, without the database.

    A client that names its database cannot connect before the database is there; say
    `database=settings.clickhouse.database` beside these where it must be. `timeout_s` is for
    one answer, by default that of queries.

    Raises:
        SettingsError: the file of authorities cannot be used.
    """
    arguments: dict[str, Any] = {
        "host": clickhouse.host,
        "port": clickhouse.port,
        "username": clickhouse.user,
        "password": clickhouse.password.reveal(),
        "secure": clickhouse.secure,
        "interface": "https" if clickhouse.secure else "http",
        "connect_timeout": clickhouse.connect_timeout_s,
        "send_receive_timeout": timeout_s or clickhouse.query_timeout_s,
        # A session would make two queries of one client wait for, or fail, each other.
        "autogenerate_session_id": False,
        # To a server on this machine, compression takes longer than what it saves.
        "compress": clickhouse.host not in _THIS_MACHINE,
    }
    if clickhouse.secure and clickhouse.tls_ca_file:
        clickhouse_trust(clickhouse)
        arguments["ca_cert"] = clickhouse.tls_ca_file
    return arguments


def clickhouse_trust(clickhouse: ClickHouseSettings) -> ssl.SSLContext:
    """Return whom to trust when connecting to ClickHouse by HTTPS.

    Raises:
        SettingsError: the file of authorities cannot be used.
    """
    return _trusting("clickhouse.tls_ca_file", clickhouse.tls_ca_file)


def _trusting(key: str, path: str) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=path or None)
    except OSError as error:
        problem = f"{path!r} cannot be used: {_reason(error)}"
        raise SettingsError(key, problem, allowed="a PEM file of certificates") from error


def _reason(error: OSError) -> str:
    return error.strerror or str(error)
