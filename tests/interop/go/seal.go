package main

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"errors"
	"fmt"

	"github.com/decred/dcrd/dcrec/secp256k1/v4"
	"github.com/libp2p/go-libp2p/core/crypto"
)

// sealer returns the AES-256-GCM cipher between this peer and another: its key is the x coordinate of the point
// that both get of their own private and the other's public key.
func (p *oracle) sealer(other crypto.PubKey) (cipher.AEAD, error) {
	own, ok := p.host.Peerstore().PrivKey(p.host.ID()).(*crypto.Secp256k1PrivateKey)
	if !ok {
		return nil, errors.New("the own key is not of secp256k1")
	}
	public, ok := other.(*crypto.Secp256k1PublicKey)
	if !ok {
		return nil, errors.New("the other's key is not of secp256k1")
	}
	secret := secp256k1.GenerateSharedSecret((*secp256k1.PrivateKey)(own), (*secp256k1.PublicKey)(public))
	block, err := aes.NewCipher(secret)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}

// seal returns nonce ‖ ciphertext ‖ tag.
func (p *oracle) seal(other crypto.PubKey, plain []byte) ([]byte, error) {
	gcm, err := p.sealer(other)
	if err != nil {
		return nil, err
	}
	nonce := make([]byte, gcm.NonceSize())
	if _, err := rand.Read(nonce); err != nil {
		return nil, err
	}
	return gcm.Seal(nonce, nonce, plain, nil), nil
}

// open reverses seal of the other side.
func (p *oracle) open(encodedKey, sealed []byte) ([]byte, error) {
	other, err := crypto.UnmarshalPublicKey(encodedKey)
	if err != nil {
		return nil, fmt.Errorf("the sender's key: %w", err)
	}
	gcm, err := p.sealer(other)
	if err != nil {
		return nil, err
	}
	if len(sealed) < gcm.NonceSize() {
		return nil, fmt.Errorf("%d bytes are too short to be sealed", len(sealed))
	}
	return gcm.Open(nil, sealed[:gcm.NonceSize()], sealed[gcm.NonceSize():], nil)
}
