"""From the configuration to what the parts are built from."""

from __future__ import annotations

import ipaddress
import logging
from collections.abc import Iterable
from dataclasses import replace

from aicn import __version__, defaults
from aicn.config import Config
from aicn.errors import InvalidModel
from aicn.identity import PreSharedKey, PrivateKey
from aicn.ids import Multiaddr
from aicn.multiaddr import host_port
from aicn.p2p.host import HostConfig, PubsubRouter, RoutingMode
from aicn.peers import NodeFlags
from aicn.registry import Model
from aicn.routing import RouteSettings

_log = logging.getLogger("aicn.node")

AGENT_VERSION = f"AIComputingNode@aicn-{__version__}"
"""What identify and heartbeats tell; programs of this network begin it like this."""

_ROUTING_MODES = {
    "dhtclient": RoutingMode.CLIENT,
    "dhtserver": RoutingMode.SERVER,
    "auto": RoutingMode.AUTO,
    "none": RoutingMode.NONE,
}


def host_config(config: Config) -> HostConfig:
    """Return what the host needs of the configuration."""
    psk = config.app.pre_shared_key
    return HostConfig(
        private_key=PrivateKey.from_base64(config.identity.priv_key).protobuf,
        listen_addrs=config.addresses,
        psk=PreSharedKey.from_hex(psk).raw if psk else None,
        protocol_version=defaults.PROTOCOL_VERSION,
        agent_version=AGENT_VERSION,
        stream_protocols=defaults.INFERENCE_PROTOCOLS,
        topics=(config.app.topic_name,),
        pubsub_router=PubsubRouter(config.pubsub.router),
        flood_publish=config.pubsub.flood_publish,
        kad_protocol=config.routing.kad_protocol,
        routing_mode=_ROUTING_MODES[config.routing.type],
        relay_service=config.swarm.relay_service.enabled,
        autonat_service=config.swarm.enable_auto_nat_service,
        hole_punching=config.swarm.enable_hole_punching,
        port_mapping=not config.swarm.disable_nat_port_map and not _only_loopback(config.addresses),
        dial_timeout_s=config.swarm.dial_timeout_s,
    )


def _only_loopback(addrs: Iterable[Multiaddr]) -> bool:
    """Tell whether nobody beyond this machine can dial `addrs`: then no router is asked to let anybody in."""
    hosts = [place[0] for addr in addrs if (place := host_port(addr)) is not None]
    return all(host == "localhost" or (_is_ip(host) and ipaddress.ip_address(host).is_loopback) for host in hosts)


def _is_ip(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def configured_models(config: Config) -> tuple[Model, ...]:
    """Return the models in the configuration; one of a type that is unknown is left out, with a warning."""
    models = []
    for project in config.ai_projects:
        for entry in project.models:
            try:
                made = Model.of(project.project, entry.model, entry.api, entry.type, entry.cid, entry.server_model)
                models.append(replace(made, paused=entry.paused, max_concurrent=max(0, entry.max_concurrent)))
            except InvalidModel as error:
                _log.warning("model %r of project %r is not served: %s", entry.model, project.project, error)
    return tuple(models)


def node_flags(config: Config) -> NodeFlags:
    """Return what heartbeats say of the kind of this node, but for whether it has models."""
    flags = NodeFlags(0)
    if config.swarm.relay_service.enabled:
        flags |= NodeFlags.PUBLIC
    if config.app.peers_collect.enabled:
        flags |= NodeFlags.COLLECTS
    return flags


def route_settings(config: Config) -> RouteSettings:
    """Return the bounds of the attempts for one request."""
    routing = config.aicn.routing
    return RouteSettings(routing.max_attempts, routing.total_timeout_s, hedges=routing.hedge)
