"""Every exception that aicn raises on purpose.

The whole tree::

    AicnError
    ├── UsageError                  a command line that cannot be understood
    ├── ConfigError                 a configuration file that cannot be used
    ├── IdentityError               a key, peer id or swarm key that cannot be used
    ├── AddressError                a multiaddr or peer id that cannot be parsed
    ├── StoreError                  the datastore
    │   ├── StoreMissing            ... folder is not there or is no folder
    │   ├── StoreLocked             ... is in use by another process
    │   └── StoreClosed             ... was used after it was closed
    ├── WireError                   bytes from a peer
    │   ├── MalformedMessage        ... are not the message they should be
    │   │   └── MessageTooLong      ... or would be longer than gossip carries
    │   ├── SealError               ... cannot be decrypted
    │   ├── MalformedFrame          ... are not HTTP/1.1
    │   └── TruncatedFrame          ... end in the middle of an HTTP message
    ├── NetworkError                the libp2p network
    │   ├── ListenFailed            an address cannot be listened on
    │   ├── DialFailed              no address of a peer answered
    │   ├── NotConnected            the peer is not connected and has no address
    │   ├── StreamRefused           the peer does not speak the protocol
    │   ├── StreamReset             the other side, or the connection, ended the stream
    │   ├── NetworkTimeout          the peer did not answer in time
    │   ├── PeerRefused             the peer answered a question over gossip with an error
    │   ├── PublishFailed           gossip could not be sent
    │   ├── Overloaded              a bounded queue of the core is full
    │   ├── HostClosed              the host was used after it was closed
    │   └── CorePanicked            the native core met a bug of its own
    ├── RegistryError
    │   ├── NotSameMachine          a model's URL leads to another machine
    │   ├── InvalidModel            a registration that cannot be kept
    │   ├── ModelNotFound           nobody registered that model here
    │   ├── WrongKind               the model is there, and does something else
    │   └── EndpointUnsupported     the model is there, but not what it is asked through
    ├── BackendError                the model server beside this node
    │   ├── BackendUnreachable      ... cannot be connected to
    │   ├── BackendTimeout          ... went silent
    │   ├── BackendRefused          ... answered with an error of its own
    │   └── BackendBroken           ... stopped in the middle of its answer
    ├── RoutingError
    │   ├── NoCandidate             no peer serves the model
    │   ├── NodeUnavailable         the peer that was asked for cannot be reached
    │   └── AttemptsExhausted       every peer that was tried failed
    ├── UpgradeError                a newer release cannot be looked for, fetched or started
    │   └── ReleaseRefused          ... is there and must not be taken
    └── DemoFailed                  a part of the demonstration did not come up or stopped

None of these knows HTTP: `aicn.api.errors` is the one table from exception to status code.
None knows an exit code: `aicn.cli.exits` is that table.
"""

from __future__ import annotations

from typing import ClassVar, Final


class AicnError(Exception):
    """Base of the tree. The message is one sentence: what, where, what to do.

    Attributes:
        slug: stable machine-readable name, part of the public interface.
        retryable: whether the same call, unchanged, may succeed later or with another peer.
    """

    slug: ClassVar[str] = "internal"
    retryable: ClassVar[bool] = False


class UsageError(AicnError):
    """A command line that cannot be understood."""

    slug = "usage"


class ConfigError(AicnError):
    """A configuration file that cannot be read, parsed, validated or written."""

    slug = "config"


class IdentityError(AicnError):
    """A private key, peer id or pre-shared key that cannot be used. Never carries the secret itself."""

    slug = "identity"


class AddressError(AicnError):
    """A multiaddr or a peer id that cannot be parsed."""

    slug = "address"


class StoreError(AicnError):
    """The datastore cannot do what it was asked."""

    slug = "store"


class StoreMissing(StoreError):
    """The datastore folder does not exist, or is not a folder."""

    slug = "store_missing"


class StoreLocked(StoreError):
    """Another process holds the datastore."""

    slug = "store_locked"


class StoreClosed(StoreError):
    """The datastore was used after `close`."""

    slug = "store_closed"


class WireError(AicnError):
    """Bytes from a peer that break the protocol."""

    slug = "wire"


class MalformedMessage(WireError):
    """A gossip payload that is not the protobuf message it claims to be."""

    slug = "malformed_message"


class MessageTooLong(MalformedMessage):
    """A message that is longer than the network carries; it was not sent, or not read."""

    slug = "message_too_long"


class SealError(WireError):
    """A sealed body that the key does not open, or a public key that is not one."""

    slug = "seal"


class MalformedFrame(WireError):
    """A stream that does not carry HTTP/1.1, or more of it than is allowed."""

    slug = "malformed_frame"


class TruncatedFrame(WireError):
    """A stream that ended before its HTTP message did."""

    slug = "truncated_frame"
    retryable = True


class NetworkError(AicnError):
    """The libp2p network could not do what was asked."""

    slug = "network"
    retryable = True


class ListenFailed(NetworkError):
    """An address cannot be listened on: taken, not of this machine, or not permitted."""

    slug = "listen_failed"
    retryable = False


class DialFailed(NetworkError):
    """None of a peer's addresses answered, or the peer proved to be another one."""

    slug = "dial_failed"


class NotConnected(NetworkError):
    """The peer is not connected, and no address of it is known."""

    slug = "not_connected"


class StreamRefused(NetworkError):
    """The peer does not speak the protocol that was asked for."""

    slug = "stream_refused"


class StreamReset(NetworkError):
    """The other side, or a lost connection, ended the stream before its end."""

    slug = "stream_reset"


class NetworkTimeout(NetworkError):
    """The peer did not answer in time."""

    slug = "network_timeout"


class PeerRefused(NetworkError):
    """The peer answered a question over gossip with an error of its own.

    Attributes:
        code: the peer's number for it; those of `aicn.wire.codes` are common.
    """

    slug = "peer_refused"

    def __init__(self, message: str, code: int = 5000) -> None:
        """Carry the peer's `message` and `code`."""
        super().__init__(message)
        self.code = code


class PublishFailed(NetworkError):
    """A gossip message could not be sent: too large, or a duplicate."""

    slug = "publish_failed"


class Overloaded(NetworkError):
    """A bounded queue of the native core is full."""

    slug = "overloaded"


class HostClosed(NetworkError):
    """The host was used after it was closed."""

    slug = "host_closed"
    retryable = False


class CorePanicked(NetworkError):
    """The native core met a bug of its own; the host is closed after it."""

    slug = "core_panicked"
    retryable = False


class RegistryError(AicnError):
    """A registration that cannot be made or found."""

    slug = "registry"


class NotSameMachine(RegistryError):
    """The URL of a model does not lead to this machine."""

    slug = "not_same_machine"


class InvalidModel(RegistryError):
    """A registration with a field missing, malformed or too long, or one too many."""

    slug = "invalid_model"


class ModelNotFound(RegistryError):
    """No model is registered here under that project, name and instance."""

    slug = "model_not_found"


class WrongKind(RegistryError):
    """The model does something else than it was asked for: a chat of a model that draws, say."""

    slug = "wrong_kind"


class EndpointUnsupported(RegistryError):
    """The model is here, but not what it is asked through: where its server would answer that cannot be told."""

    slug = "endpoint_unsupported"


class BackendError(AicnError):
    """The model server beside this node failed."""

    slug = "backend"
    retryable = True


class BackendUnreachable(BackendError):
    """The model server does not accept connections.

    Attributes:
        refused: whether nobody listens, as far as this machine can tell; else it may only be slow to accept.
    """

    slug = "backend_unreachable"

    def __init__(self, message: str, *, refused: bool = False) -> None:
        """Say `message`; `refused` where the connection was refused."""
        super().__init__(message)
        self.refused = refused


class BackendTimeout(BackendError):
    """The model server accepted the request and then went silent."""

    slug = "backend_timeout"


class BackendRefused(BackendError):
    """The model server answered with an error of its own, where its answer had to be taken apart.

    Attributes:
        code: the model server's number for it, never 0.
    """

    slug = "backend_refused"

    def __init__(self, message: str, code: int = 1007) -> None:
        """Carry the model server's `message` and `code`."""
        super().__init__(message)
        self.code = code


class BackendBroken(BackendError):
    """The model server ended its answer before the answer was whole."""

    slug = "backend_broken"


class RoutingError(AicnError):
    """A request could not be brought to a peer that serves the model."""

    slug = "routing"
    retryable = True


class NoCandidate(RoutingError):
    """No reachable peer serves the model."""

    slug = "no_candidate"


class NodeUnavailable(RoutingError):
    """The peer that the caller named cannot be reached or broke off."""

    slug = "node_unavailable"


class AttemptsExhausted(RoutingError):
    """Every peer that was tried failed before its first content byte.

    Attributes:
        attempts: how many were tried.
    """

    slug = "attempts_exhausted"

    def __init__(self, message: str, attempts: int = 0) -> None:
        """Say `message`, after so many `attempts`."""
        super().__init__(message)
        self.attempts = attempts


class UpgradeError(AicnError):
    """A newer release cannot be looked for, fetched, written, started or published."""

    slug = "upgrade"


class ReleaseRefused(UpgradeError):
    """A release that must not be taken: not signed, not what was signed, not newer, not for this machine, or bad."""

    slug = "release_refused"


class DemoFailed(AicnError):
    """A part of the demonstration is missing, did not come up, stopped or gave no answer."""

    slug = "demo"


_KINDS: Final = {
    kind.slug: kind for kind in list(globals().values()) if isinstance(kind, type) and issubclass(kind, AicnError)
}


def kind_of(slug: str) -> type[AicnError] | None:
    """Return the error that `slug` names, None if none is called so."""
    return _KINDS.get(slug)
