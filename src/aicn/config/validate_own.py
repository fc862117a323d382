"""What the section `AICN` must fulfil beyond its JSON types."""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import urlsplit

from aicn import defaults
from aicn.config.checks import check_duration, check_host_port, wrong
from aicn.config.own import DiscoveryConfig, LimitsConfig, OwnApiConfig, OwnConfig, OwnRoutingConfig, OwnUpgradeConfig
from aicn.config.source import check_source
from aicn.errors import ConfigError
from aicn.ids import name_fault

_MAX_PORT: Final = 65_535

_HEALTH_INTERVAL_MIN_S: Final = 0.1
"""Between two questions to one model server: with less of a rest, a node does little but ask."""

_PUBLIC_KEY: Final = re.compile(r"[A-Za-z0-9+/]{43}=", re.ASCII)
"""32 bytes in base64."""


def check_own(own: OwnConfig) -> None:
    """Check every value.

    Raises:
        ConfigError: the first that cannot be used.
    """
    _check_api(own.api)
    _check_routing(own.routing)
    _check_limits(own.limits)
    check_duration("AICN.Health.Interval", own.health.interval, positive=True)
    if own.health.interval_s < _HEALTH_INTERVAL_MIN_S:
        advice = f"use {_HEALTH_INTERVAL_MIN_S * 1000:.0f}ms or more, so that model servers are not asked without pause"
        raise wrong("AICN.Health.Interval", own.health.interval, advice)
    _check_discovery(own.discovery)
    if own.traces.endpoint and not _is_http_url(own.traces.endpoint):
        raise wrong("AICN.Traces.Endpoint", own.traces.endpoint, "write a URL like http://127.0.0.1:4318/v1/traces")
    history = own.history
    check_duration("AICN.History.MaxAge", history.max_age, positive=True)
    if not 1 <= history.max_entries <= defaults.HISTORY_ENTRIES_LIMIT:
        limit = defaults.HISTORY_ENTRIES_LIMIT
        raise wrong("AICN.History.MaxEntries", history.max_entries, f"use a number from 1 to {limit}")
    _check_upgrade(own.upgrade)


def _check_upgrade(upgrade: OwnUpgradeConfig) -> None:
    if bool(upgrade.source) != bool(upgrade.public_key):
        missing = "PublicKey" if upgrade.source else "Source"
        raise ConfigError(f"AICN.Upgrade.{missing} is empty; set both Source and PublicKey, or neither")
    if upgrade.source and (fault := check_source(upgrade.source)):
        raise wrong("AICN.Upgrade.Source", upgrade.source, fault)
    if upgrade.public_key and not _PUBLIC_KEY.fullmatch(upgrade.public_key):
        raise wrong("AICN.Upgrade.PublicKey", upgrade.public_key, "write what `aicn upgrade keygen` shows")
    check_duration("AICN.Upgrade.HealthTimeout", upgrade.health_timeout, positive=True)
    check_duration("AICN.Upgrade.Probation", upgrade.probation)


def _check_api(api: OwnApiConfig) -> None:
    for index, host in enumerate(api.allowed_hosts):
        if not host or not re.fullmatch(r"[A-Za-z0-9._-]+", host):
            raise wrong(f"AICN.API.AllowedHosts[{index}]", host, "write a host name without scheme and port")
    if api.inference_addr:
        check_host_port("AICN.API.InferenceAddr", api.inference_addr)
    if bool(api.tls_certificate) != bool(api.tls_key):
        missing = "TLSKey" if api.tls_certificate else "TLSCertificate"
        raise ConfigError(f"AICN.API.{missing} is empty; set both TLSCertificate and TLSKey, or neither")


def _check_routing(routing: OwnRoutingConfig) -> None:
    if not 1 <= routing.max_attempts <= defaults.ROUTE_ATTEMPTS_LIMIT:
        limit = defaults.ROUTE_ATTEMPTS_LIMIT
        raise wrong("AICN.Routing.MaxAttempts", routing.max_attempts, f"use a number from 1 to {limit}")
    if not 0.0 <= routing.retry_budget <= 1.0:
        raise wrong("AICN.Routing.RetryBudget", routing.retry_budget, "use a share from 0 to 1")
    check_duration("AICN.Routing.TotalTimeout", routing.total_timeout, positive=True)
    check_duration("AICN.Routing.FirstByteTimeout", routing.first_byte_timeout, positive=True)
    check_duration("AICN.Routing.KeepAlive", routing.keep_alive)


def _check_limits(limits: LimitsConfig) -> None:
    if not 1 <= limits.max_concurrent <= defaults.LIMIT_MOST:
        advice = f"use a number from 1 to {defaults.LIMIT_MOST}"
        raise wrong("AICN.Limits.MaxConcurrent", limits.max_concurrent, advice)
    if not 1 <= limits.queue_length <= defaults.LIMIT_MOST:
        advice = f"use a number from 1 to {defaults.LIMIT_MOST}"
        raise wrong("AICN.Limits.QueueLength", limits.queue_length, advice)
    check_duration("AICN.Limits.QueueTimeout", limits.queue_timeout)


def _check_discovery(discovery: DiscoveryConfig) -> None:
    check_duration("AICN.Discovery.Interval", discovery.interval, positive=True)
    if discovery.enabled and not discovery.project:
        raise ConfigError("AICN.Discovery.Project is empty; name the project that found models are registered under")
    if (fault := name_fault(discovery.project, defaults.NAME_MAX_BYTES)) is not None:
        raise wrong("AICN.Discovery.Project", discovery.project, f"it {fault}; name another project")
    for index, port in enumerate(discovery.ports):
        if not 1 <= port <= _MAX_PORT:
            raise wrong(f"AICN.Discovery.Ports[{index}]", port, f"use a port from 1 to {_MAX_PORT}")
    for found, name in discovery.names.items():
        if not name or name_fault(name, defaults.NAME_MAX_BYTES) is not None:
            raise wrong(f"AICN.Discovery.Names[{found!r}]", name, "write a name without control characters")


def _is_http_url(text: str) -> bool:
    """Tell whether `text` is a URL that can be sent to: a host, and a port from 1 on if it has one."""
    if re.fullmatch(r"[!-~]+", text) is None:
        return False
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:  # a port that is none, or brackets that hold no IPv6 address
        return False
    return parts.scheme in {"http", "https"} and bool(parts.hostname) and port != 0
