"""The configuration: the reference's JSON file, exactly, with a section of our own."""

from aicn.config.changes import ModelEntry, set_bootstrap, set_models
from aicn.config.create import PUBLIC_NETWORK_PSK, Created, Role, create_node, new_config
from aicn.config.document import Raw
from aicn.config.durations import format_duration, parse_duration
from aicn.config.load import Change, ConfigFile
from aicn.config.own import (
    DiscoveryConfig,
    HealthConfig,
    HistoryConfig,
    LimitsConfig,
    OwnApiConfig,
    OwnConfig,
    OwnRoutingConfig,
    OwnUpgradeConfig,
    TracesConfig,
)
from aicn.config.schema import (
    ApiConfig,
    AppConfig,
    AutoUpgradeConfig,
    Config,
    ConnMgrConfig,
    IdentityConfig,
    ModelConfig,
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
    "DiscoveryConfig",
    "HealthConfig",
    "HistoryConfig",
    "IdentityConfig",
    "LimitsConfig",
    "ModelConfig",
    "ModelEntry",
    "OwnApiConfig",
    "OwnConfig",
    "OwnRoutingConfig",
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
    "TracesConfig",
    "create_node",
    "format_duration",
    "new_config",
    "parse_duration",
    "set_bootstrap",
    "set_models",
]
