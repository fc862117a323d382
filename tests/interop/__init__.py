"""Our node and peers built on go-libp2p, on one network."""
