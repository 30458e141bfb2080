"""Arguments for clients: logins and certificates reach them, wrong files are named."""

import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from infra.runtime.connections import clickhouse_arguments, kafka_arguments, tls_context
from infra.runtime.settings import ClickHouseSettings, KafkaSettings, Secret, SettingsError


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A PEM file with a self-signed certificate and its encrypted key, password `open`."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test")])
    begin = datetime.now(UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(begin)
        .not_valid_after(begin + timedelta(days=2))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("tls") / "both.pem"
    encrypted = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"open"),
    )
    path.write_bytes(encrypted + made.public_bytes(serialization.Encoding.PEM))
    return path


def test_plain_kafka_has_neither_login_nor_tls() -> None:
    arguments = kafka_arguments(KafkaSettings(bootstrap="a:1, b:2"))

    assert arguments["bootstrap_servers"] == ["a:1", "b:2"]
    assert arguments["ssl_context"] is None
    assert not [name for name in arguments if name.startswith("sasl")]


def test_login_reaches_kafka() -> None:
    arguments = kafka_arguments(
        KafkaSettings(
            security_protocol="SASL_PLAINTEXT",
            sasl_mechanism="SCRAM-SHA-256",
            sasl_username="me",
            sasl_password=Secret("open"),
        )
    )

    assert arguments["security_protocol"] == "SASL_PLAINTEXT"
    assert arguments["sasl_mechanism"] == "SCRAM-SHA-256"
    assert arguments["sasl_plain_username"] == "me"
    assert arguments["sasl_plain_password"] == "open"
    assert arguments["ssl_context"] is None


def test_tls_checks_the_broker_by_its_name() -> None:
    context = tls_context(KafkaSettings(security_protocol="SSL"))

    assert context is not None
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname


def test_tls_takes_authorities_and_a_certificate_with_an_encrypted_key(certificate: Path) -> None:
    context = tls_context(
        KafkaSettings(
            security_protocol="SSL",
            tls_ca_file=str(certificate),
            tls_cert_file=str(certificate),
            tls_key_password=Secret("open"),
        )
    )

    assert context is not None
    assert [each["subject"] for each in context.get_ca_certs()] == [((("commonName", "test"),),)]


@pytest.mark.parametrize("password", ["", "wrong"])
def test_key_with_a_wrong_password_is_refused_without_a_question(
    certificate: Path, password: str
) -> None:
    settings = KafkaSettings(
        security_protocol="SSL",
        tls_cert_file=str(certificate),
        tls_key_password=Secret(password),
    )

    with pytest.raises(SettingsError, match="tls_cert_file"):
        tls_context(settings)


def test_absent_file_of_authorities_is_refused_by_key(tmp_path: Path) -> None:
    absent = str(tmp_path / "absent.pem")

    with pytest.raises(SettingsError, match=r"kafka\.tls_ca_file.*No such file"):
        kafka_arguments(KafkaSettings(security_protocol="SSL", tls_ca_file=absent))
    with pytest.raises(SettingsError, match=r"clickhouse\.tls_ca_file.*No such file"):
        clickhouse_arguments(ClickHouseSettings(secure=True, tls_ca_file=absent))


def test_clickhouse_arguments_carry_the_login_and_no_database() -> None:
    arguments = clickhouse_arguments(
        ClickHouseSettings(host="db", port=8443, user="me", password=Secret("open"), secure=True),
        timeout_s=7,
    )

    assert "database" not in arguments
    assert (arguments["host"], arguments["port"]) == ("db", 8443)
    assert (arguments["username"], arguments["password"]) == ("me", "open")
    assert arguments["interface"] == "https"
    assert arguments["send_receive_timeout"] == 7
