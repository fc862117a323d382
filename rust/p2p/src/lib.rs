//! libp2p core of aicn.
