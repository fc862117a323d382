"""What went wrong, as a number: in error replies over gossip and in error answers over HTTP."""

from __future__ import annotations

from enum import IntEnum


class Code(IntEnum):
    """The numbers of the reference; docs/errors.md says when each is used."""

    PARAMETER = 1001
    PARSE = 1002
    JSON = 1003
    PROTOBUF = 1004
    TIMEOUT = 1005
    RENDEZVOUS = 1006
    MODEL = 1007
    UPLOAD = 1008
    BUFFER = 1009
    PERMISSION = 1010
    UNSUPPORTED = 1011
    HOST_INFO = 1012
    ENCRYPT = 1013
    DECRYPT = 1014
    UUID = 1015
    DATABASE = 1016
    PROXY = 1017
    STREAM = 1018
    DEPRECATED = 1019
    INTERNAL = 5000
