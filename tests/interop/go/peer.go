package main

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p"
	dht "github.com/libp2p/go-libp2p-kad-dht"
	pubsub "github.com/libp2p/go-libp2p-pubsub"
	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/event"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/peerstore"
	"github.com/libp2p/go-libp2p/core/protocol"
	"github.com/libp2p/go-libp2p/core/routing"
	"github.com/multiformats/go-multiaddr"
)

const protocolVersion = "aicn/0.0.1"

// oracle is the running peer.
type oracle struct {
	host  host.Host
	dht   *dht.IpfsDHT
	topic *pubsub.Topic
	out   *link
	talk  *dialogue

	mu       sync.Mutex
	plans    map[string]plan           // by model; "" for every other
	inFlight map[string]network.Stream // requests under way, by tag
	raw      map[int64]network.Stream  // streams that commands drive, by number
	lastRaw  int64
	served   int64
}

// newPeer starts a peer and dials its bootstrap peers.
func newPeer(ctx context.Context, o options, out *link) (*oracle, error) {
	bootstrap, err := addrInfos(o.bootstrap)
	if err != nil {
		return nil, err
	}
	p := &oracle{
		out:      out,
		plans:    map[string]plan{},
		inFlight: map[string]network.Stream{},
		raw:      map[int64]network.Stream{},
	}
	p.talk = newDialogue(p, o.agent)
	hostOptions, err := p.hostOptions(ctx, o, bootstrap)
	if err != nil {
		return nil, err
	}
	if p.host, err = libp2p.New(hostOptions...); err != nil {
		return nil, fmt.Errorf("host: %w", err)
	}
	p.host.Network().Notify(&network.NotifyBundle{
		ConnectedF:    func(_ network.Network, c network.Conn) { out.emit("connected", connection(c)) },
		DisconnectedF: func(_ network.Network, c network.Conn) { out.emit("disconnected", connection(c)) },
	})
	if err := p.tellIdentified(ctx); err != nil {
		return nil, err
	}
	if !o.noChatProxy {
		p.host.SetStreamHandler(chatProxy, p.serveChatProxy)
	}
	if o.gossipAfter == 0 {
		if err := p.joinTopic(ctx, o, bootstrap); err != nil {
			return nil, err
		}
	}
	for _, info := range bootstrap {
		p.host.Peerstore().AddAddrs(info.ID, info.Addrs, peerstore.PermanentAddrTTL)
		if err := p.host.Connect(ctx, info); err != nil {
			out.emit("bootstrap_failed", fields{"peer": info.ID, "error": err.Error()})
		}
	}
	if o.gossipAfter > 0 {
		time.Sleep(o.gossipAfter)
		if err := p.joinTopic(ctx, o, bootstrap); err != nil {
			return nil, err
		}
	}
	return p, p.dht.Bootstrap(ctx)
}

func (p *oracle) hostOptions(ctx context.Context, o options, bootstrap []peer.AddrInfo) ([]libp2p.Option, error) {
	key, err := privateKey(o.key)
	if err != nil {
		return nil, err
	}
	mode := dht.ModeServer
	switch o.dht {
	case "server":
	case "client":
		mode = dht.ModeClient
	default:
		return nil, fmt.Errorf("-dht must be client or server, not %q", o.dht)
	}
	result := []libp2p.Option{
		libp2p.Identity(key),
		libp2p.DefaultMuxers,
		libp2p.DefaultSecurity,
		libp2p.ProtocolVersion(protocolVersion),
		libp2p.UserAgent(o.agent),
		libp2p.EnableNATService(),
		libp2p.Routing(func(h host.Host) (routing.PeerRouting, error) {
			var err error
			p.dht, err = dht.New(ctx, h,
				dht.Mode(mode), dht.ProtocolPrefix(protocol.ID(o.prefix)), dht.BootstrapPeers(bootstrap...))
			return p.dht, err
		}),
	}
	if len(o.listen) == 1 && o.listen[0] == "none" {
		result = append(result, libp2p.NoListenAddrs, libp2p.EnableRelay())
	} else {
		result = append(result, libp2p.ListenAddrStrings(o.listen...))
	}
	if o.psk == "" {
		result = append(result, libp2p.DefaultTransports)
	} else {
		psk, err := hex.DecodeString(o.psk)
		if err != nil || len(psk) != 32 {
			return nil, errors.New("-psk must be 64 hex digits")
		}
		result = append(result, libp2p.PrivateNetwork(psk), libp2p.DefaultPrivateTransports)
	}
	if o.relayService {
		result = append(result, libp2p.EnableRelayService())
	}
	if len(o.announce) > 0 {
		more := make([]multiaddr.Multiaddr, len(o.announce))
		for at, text := range o.announce {
			if more[at], err = multiaddr.NewMultiaddr(text); err != nil {
				return nil, fmt.Errorf("-announce: %w", err)
			}
		}
		result = append(result, libp2p.AddrsFactory(func(listened []multiaddr.Multiaddr) []multiaddr.Multiaddr {
			return slices.Concat(listened, more)
		}))
	}
	if o.holePunching {
		result = append(result, libp2p.EnableHolePunching())
	}
	if o.public {
		result = append(result, libp2p.ForceReachabilityPublic())
	}
	return result, nil
}

// tellIdentified emits an event whenever identify has finished on a connection.
func (p *oracle) tellIdentified(ctx context.Context) error {
	subscription, err := p.host.EventBus().Subscribe(new(event.EvtPeerIdentificationCompleted))
	if err != nil {
		return fmt.Errorf("identify: %w", err)
	}
	go func() {
		defer subscription.Close()
		for {
			select {
			case <-ctx.Done():
				return
			case item, open := <-subscription.Out():
				if !open {
					return
				}
				if done, ok := item.(event.EvtPeerIdentificationCompleted); ok {
					p.out.emit("identified", fields{"peer": done.Peer})
				}
			}
		}
	}()
	return nil
}

func (p *oracle) self() fields {
	info := peer.AddrInfo{ID: p.host.ID(), Addrs: p.host.Addrs()}
	addrs, err := peer.AddrInfoToP2pAddrs(&info)
	if err != nil {
		return fields{"peer": info.ID, "error": err.Error()}
	}
	return fields{
		"peer":      info.ID,
		"addrs":     texts(addrs),
		"protocols": protocol.ConvertToStrings(p.host.Mux().Protocols()),
	}
}

func (p *oracle) close() error {
	return errors.Join(p.dht.Close(), p.host.Close())
}

func connection(c network.Conn) fields {
	return fields{
		"conn":      c.ID(),
		"peer":      c.RemotePeer(),
		"addr":      c.RemoteMultiaddr().String(),
		"direction": c.Stat().Direction.String(),
		"relayed":   c.Stat().Limited,
		"security":  c.ConnState().Security,
		"muxer":     c.ConnState().StreamMultiplexer,
	}
}

func privateKey(encoded string) (crypto.PrivKey, error) {
	if encoded == "" {
		key, _, err := crypto.GenerateSecp256k1Key(rand.Reader)
		return key, err
	}
	raw, err := base64.StdEncoding.DecodeString(encoded)
	if err != nil {
		return nil, errors.New("-key is not base64")
	}
	key, err := crypto.UnmarshalPrivateKey(raw)
	if err != nil {
		return nil, errors.New("-key is not a protobuf private key")
	}
	return key, nil
}

func addrInfos(addrs []string) ([]peer.AddrInfo, error) {
	infos := make([]peer.AddrInfo, 0, len(addrs))
	for _, text := range addrs {
		info, err := peer.AddrInfoFromString(text)
		if err != nil {
			return nil, fmt.Errorf("%q: %w", text, err)
		}
		infos = append(infos, *info)
	}
	return infos, nil
}

func texts(addrs []multiaddr.Multiaddr) []string {
	result := make([]string, len(addrs))
	for i, addr := range addrs {
		result[i] = addr.String()
	}
	return result
}
