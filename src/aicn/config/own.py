"""`AICN`: settings that the reference does not have; it ignores them. See `schema` for the rest of the file."""

from __future__ import annotations

import msgspec

from aicn import defaults
from aicn.config.durations import parse_duration


class OwnApiConfig(
    msgspec.Struct,
    frozen=True,
    rename={
        "open_inference": "OpenInference",
        "allowed_hosts": "AllowedHosts",
        "inference_addr": "InferenceAddr",
        "tls_certificate": "TLSCertificate",
        "tls_key": "TLSKey",
        "default_project": "DefaultProject",
    },
):
    """`AICN.API`: who may call the HTTP interface, and where else it listens."""

    open_inference: bool = False
    """Whether callers from other machines may use inference without a key."""
    allowed_hosts: tuple[str, ...] = ()
    """Names, without port, that the interface is reached by from elsewhere."""
    inference_addr: str = ""
    """`host:port` of a second listener that answers inference and nothing else; empty: none."""
    tls_certificate: str = ""
    """PEM file with the certificate and its chain; empty: plain HTTP."""
    tls_key: str = ""
    """PEM file with the certificate's private key."""
    default_project: str = ""
    """Project of the models that callers of `/v1` name without one; empty: whichever project it is unique in."""


class OwnRoutingConfig(
    msgspec.Struct,
    frozen=True,
    rename={
        "max_attempts": "MaxAttempts",
        "retry_budget": "RetryBudget",
        "total_timeout": "TotalTimeout",
        "first_byte_timeout": "FirstByteTimeout",
        "keep_alive": "KeepAlive",
        "continue_": "Continue",
        "hedge": "Hedge",
    },
):
    """`AICN.Routing`: how a request is brought to a node that answers it."""

    max_attempts: int = defaults.ROUTE_MAX_ATTEMPTS
    """Nodes that are tried for one request, the first included."""
    retry_budget: float = defaults.ROUTE_RETRY_BUDGET
    """Attempts after the first, as a share of the requests for the same model."""
    total_timeout: str = "10m"
    """From the request to the first content of its answer, all attempts together."""
    first_byte_timeout: str = "3m"
    """How long one node may take to the first content of a stream, before the next one is asked."""
    keep_alive: str = "10s"
    """Silence after which a waiting stream gets a comment, and again after each; 0: never."""
    continue_: bool = False
    """Whether a chat stream that breaks off goes on at another node, for all callers."""
    hedge: bool = False
    """Whether a request whose answer is slow to begin is sent to a second node as well."""

    @property
    def total_timeout_s(self) -> float:
        """`total_timeout` in seconds."""
        return parse_duration(self.total_timeout)

    @property
    def first_byte_timeout_s(self) -> float:
        """`first_byte_timeout` in seconds."""
        return parse_duration(self.first_byte_timeout)

    @property
    def keep_alive_s(self) -> float:
        """`keep_alive` in seconds."""
        return parse_duration(self.keep_alive)


class LimitsConfig(
    msgspec.Struct,
    frozen=True,
    rename={"max_concurrent": "MaxConcurrent", "queue_length": "QueueLength", "queue_timeout": "QueueTimeout"},
):
    """`AICN.Limits`: how many requests of users are under way at once. Keys have limits of their own."""

    max_concurrent: int = defaults.LIMIT_CONCURRENT
    """Requests under way in the whole node."""
    queue_length: int = defaults.LIMIT_QUEUE_LENGTH
    """Requests of one key that may wait for their turn."""
    queue_timeout: str = "30s"
    """How long they may."""

    @property
    def queue_timeout_s(self) -> float:
        """`queue_timeout` in seconds."""
        return parse_duration(self.queue_timeout)


class HealthConfig(msgspec.Struct, frozen=True, rename={"enabled": "Enabled", "interval": "Interval"}):
    """`AICN.Health`: whether the model servers of this node answer."""

    enabled: bool = True
    """Whether they are asked, and withdrawn while they do not."""
    interval: str = "10s"
    """How often a server that nobody used meanwhile is asked."""

    @property
    def interval_s(self) -> float:
        """`interval` in seconds."""
        return parse_duration(self.interval)


class DiscoveryConfig(
    msgspec.Struct,
    frozen=True,
    rename={
        "enabled": "Enabled",
        "interval": "Interval",
        "project": "Project",
        "include": "Include",
        "exclude": "Exclude",
        "names": "Names",
        "ports": "Ports",
    },
):
    """`AICN.Discovery`: model servers of this machine that register themselves."""

    enabled: bool = False
    """Whether they are looked for."""
    interval: str = "30s"
    """How often."""
    project: str = ""
    """Project that their models are registered under; needed once it is enabled."""
    include: tuple[str, ...] = ()
    """Patterns of the models that are registered, with `*` and `?`; none: all."""
    exclude: tuple[str, ...] = ()
    """Patterns of those that are left out all the same."""
    names: dict[str, str] = {}
    """Names on the network of models that their servers call otherwise."""
    ports: tuple[int, ...] = ()
    """Ports that are looked at besides those that the known servers listen on by themselves."""

    @property
    def interval_s(self) -> float:
        """`interval` in seconds."""
        return parse_duration(self.interval)


class TracesConfig(msgspec.Struct, frozen=True, rename={"endpoint": "Endpoint"}):
    """`AICN.Traces`: OpenTelemetry."""

    endpoint: str = ""
    """URL of a collector that takes OTLP over HTTP; empty: no traces."""


class HistoryConfig(
    msgspec.Struct,
    frozen=True,
    rename={"enabled": "Enabled", "prompts": "Prompts", "max_age": "MaxAge", "max_entries": "MaxEntries"},
):
    """`AICN.History`: who asked what of which model, kept in the datastore."""

    enabled: bool = True
    """Whether requests are kept at all."""
    prompts: bool = False
    """Whether the words of a request are kept with it; off: those kept before are deleted at the start."""
    max_age: str = "720h"
    """Older requests are deleted."""
    max_entries: int = defaults.HISTORY_MAX_ENTRIES
    """Requests that are kept; the oldest go first."""

    @property
    def max_age_s(self) -> float:
        """`max_age` in seconds."""
        return parse_duration(self.max_age)


class OwnUpgradeConfig(
    msgspec.Struct,
    frozen=True,
    rename={
        "source": "Source",
        "public_key": "PublicKey",
        "health_timeout": "HealthTimeout",
        "probation": "Probation",
    },
):
    """`AICN.Upgrade`: where releases come from. With `App.AutoUpgrade.Enabled` they are taken by themselves."""

    source: str = ""
    """Folder or URL of signed releases; empty: none are looked for."""
    public_key: str = ""
    """Key of the publisher, in base64."""
    health_timeout: str = "60s"
    """How long a new release may take until its API answers."""
    probation: str = "30s"
    """How long it must stay up after that; then it is kept."""

    @property
    def health_timeout_s(self) -> float:
        """`health_timeout` in seconds."""
        return parse_duration(self.health_timeout)

    @property
    def probation_s(self) -> float:
        """`probation` in seconds."""
        return parse_duration(self.probation)


class OwnConfig(
    msgspec.Struct,
    frozen=True,
    rename={
        "api": "API",
        "routing": "Routing",
        "limits": "Limits",
        "health": "Health",
        "discovery": "Discovery",
        "history": "History",
        "traces": "Traces",
        "upgrade": "Upgrade",
    },
):
    """`AICN`: settings that the reference does not have; it ignores them."""

    api: OwnApiConfig = OwnApiConfig()
    routing: OwnRoutingConfig = OwnRoutingConfig()
    limits: LimitsConfig = LimitsConfig()
    health: HealthConfig = HealthConfig()
    discovery: DiscoveryConfig = DiscoveryConfig()
    history: HistoryConfig = HistoryConfig()
    traces: TracesConfig = TracesConfig()
    upgrade: OwnUpgradeConfig = OwnUpgradeConfig()
