"""The configuration: one frozen struct, every value with its origin."""

from agent.config.changes import changed_keys, with_keys
from agent.config.document import show_config
from agent.config.loader import load_config
from agent.config.quota import blob_quota, logs_size
from agent.config.schema import (
    DEFAULT_FILE,
    DEFAULT_SOCKET,
    DEFAULT_STATE,
    ApiConfig,
    BlobsConfig,
    Config,
    DockerConfig,
    InstallConfig,
    JournalConfig,
    LogConfig,
    LogsConfig,
    MeshConfig,
    PolicyConfig,
    SourcesConfig,
    UplinkConfig,
)
from agent.config.units import format_duration, format_size, parse_duration, parse_size

__all__ = [
    "DEFAULT_FILE", "DEFAULT_SOCKET", "DEFAULT_STATE", "ApiConfig", "BlobsConfig", "Config", "DockerConfig",
    "InstallConfig", "JournalConfig", "LogConfig", "LogsConfig", "MeshConfig", "PolicyConfig", "SourcesConfig", "UplinkConfig",
    "blob_quota", "changed_keys", "format_duration", "format_size", "load_config", "logs_size", "parse_duration", "parse_size",
    "show_config", "with_keys",
]  # fmt: skip
