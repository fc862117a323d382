//! The key of a host, and the texts that name peers and places.

use libp2p::{
    Multiaddr, PeerId,
    identity::{KeyType, Keypair},
};

use crate::error::Error;

/// Parse a multiaddr.
///
/// # Errors
/// [`Error::Address`] with the text and what is wrong with it.
pub fn parse_multiaddr(text: &str) -> Result<Multiaddr, Error> {
    text.parse().map_err(|why| Error::Address(format!("failed to parse multiaddr {text:?}: {why}")))
}

/// Parse a peer id in base58.
///
/// # Errors
/// [`Error::Address`] with the text and what is wrong with it.
pub fn parse_peer_id(text: &str) -> Result<PeerId, Error> {
    text.parse().map_err(|why| Error::Address(format!("failed to parse peer id {text:?}: {why}")))
}

/// Read the key of a host from its libp2p protobuf encoding; only secp256k1 keys are of this network.
///
/// # Errors
/// [`Error::Identity`]; the message never carries a byte of the key.
pub fn decode_key(protobuf: &[u8]) -> Result<Keypair, Error> {
    let refuse = || {
        Error::Identity(
            "the private key is not the libp2p encoding of a secp256k1 key (36 bytes): create one with -peerkey".into(),
        )
    };
    let key = Keypair::from_protobuf_encoding(protobuf).map_err(|_| refuse())?;
    if key.key_type() == KeyType::Secp256k1 { Ok(key) } else { Err(refuse()) }
}
