"""The configuration: the reference's JSON file, exactly, with a section of our own."""

from aicn.config.changes import ModelEntry, set_bootstrap, set_models
from aicn.config.create import PUBLIC_NETWORK_PSK, Created, Role, create_node, new_config
from aicn.config.document import Raw
from aicn.config.durations import format_duration, parse_duration
from aicn.config.load import Change, ConfigFile
from aicn.config.schema import (
    ApiConfig,
    AppConfig,
    AutoUpgradeConfig,
    Config,
    ConnMgrConfig,
    HistoryConfig,
    IdentityConfig,
    ModelConfig,
    OwnApiConfig,
    OwnConfig,
    OwnUpgradeConfig,
    PeersCollectConfig,
    ProjectConfig,
    PubsubConfig,
    RelayClientConfig,
    RelayServiceConfig,
    RoutingConfig,
    SwarmConfig,
)

__all__ = [
    "PUBLIC_NETWORK_PSK",
    "ApiConfig",
    "AppConfig",
    "AutoUpgradeConfig",
    "Change",
    "Config",
    "ConfigFile",
    "ConnMgrConfig",
    "Created",
    "HistoryConfig",
    "IdentityConfig",
    "ModelConfig",
    "ModelEntry",
    "OwnApiConfig",
    "OwnConfig",
    "OwnUpgradeConfig",
    "PeersCollectConfig",
    "ProjectConfig",
    "PubsubConfig",
    "Raw",
    "RelayClientConfig",
    "RelayServiceConfig",
    "Role",
    "RoutingConfig",
    "SwarmConfig",
    "create_node",
    "format_duration",
    "new_config",
    "parse_duration",
    "set_bootstrap",
    "set_models",
]
