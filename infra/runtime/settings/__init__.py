"""Typed, frozen settings from one TOML file and the environment.

`load` reads them once, in a command's entry point; from there plain values go to constructors.
Nothing here reads the environment or a file at import, and nothing connects to anything.
"""

from infra.runtime.settings.notify import (
    MaintenanceSettings,
    NotifySettings,
    ReceiverSettings,
    SilenceSettings,
)
from infra.runtime.settings.reading import SettingsError, find_file, load
from infra.runtime.settings.sections import (
    ClickHouseSettings,
    ExchangeSettings,
    KafkaSettings,
    ProcessorSettings,
    ProducerSettings,
    RuntimeSettings,
    Settings,
    SinkSettings,
    TopicSettings,
)
from infra.runtime.settings.values import Secret
from infra.runtime.settings.writing import effective, to_toml

__all__ = [
    "ClickHouseSettings",
    "ExchangeSettings",
    "KafkaSettings",
    "MaintenanceSettings",
    "NotifySettings",
    "ProcessorSettings",
    "ProducerSettings",
    "ReceiverSettings",
    "RuntimeSettings",
    "Secret",
    "Settings",
    "SettingsError",
    "SilenceSettings",
    "SinkSettings",
    "TopicSettings",
    "effective",
    "find_file",
    "load",
    "to_toml",
]
