package main

import (
	"context"
	"errors"
	"time"

	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"
	"github.com/libp2p/go-libp2p/p2p/net/swarm"
	"github.com/libp2p/go-libp2p/p2p/protocol/circuitv2/client"
	"github.com/libp2p/go-libp2p/p2p/protocol/ping"
)

// pollGap is how often state that no event tells of is looked at.
const pollGap = 5 * time.Millisecond

// commands are all that a test may ask for.
func (p *oracle) commands() map[string]handler {
	return map[string]handler{
		"self":               command(func(context.Context, struct{}) (fields, error) { return p.self(), nil }),
		"connect":            command(p.connect),
		"disconnect":         command(p.disconnect),
		"peers":              command(p.peers),
		"identify":           command(p.identify),
		"ping":               command(p.ping),
		"publish":            command(p.publish),
		"topic_peers":        command(p.topicPeers),
		"routing_peer":       command(p.routingPeer),
		"provide":            command(p.provide),
		"find":               command(p.find),
		"find_peer":          command(p.findPeer),
		"request":            command(p.request),
		"cancel":             command(p.cancelRequest),
		"serve":              command(p.serve),
		"reserve":            command(p.reserve),
		"proxy_serve":        command(p.proxyServe),
		"proxy_listen":       command(p.proxyListen),
		"ask":                command(p.talk.ask),
		"answer":             command(p.talk.setAnswer),
		"read":               command(p.talk.read),
		"release":            command(p.talk.release),
		"offer":              command(p.talk.setOffers),
		"stream_open":        command(p.streamOpen),
		"stream_write":       command(p.streamWrite),
		"stream_read":        command(p.streamRead),
		"stream_close_write": command(p.streamEnd(network.Stream.CloseWrite, false)),
		"stream_close":       command(p.streamEnd(network.Stream.Close, true)),
		"stream_reset":       command(p.streamEnd(network.Stream.Reset, true)),
	}
}

type addrArgs struct {
	Addr      string `json:"addr"`
	TimeoutMS int    `json:"timeout_ms"`
}

type peerArgs struct {
	Peer      peer.ID `json:"peer"`
	TimeoutMS int     `json:"timeout_ms"`
}

// limited is ctx with the time limit that a command was given, or 30 s.
func limited(ctx context.Context, timeoutMS int) (context.Context, context.CancelFunc) {
	if timeoutMS <= 0 {
		timeoutMS = 30_000
	}
	return context.WithTimeout(ctx, time.Duration(timeoutMS)*time.Millisecond)
}

// poll waits until check holds.
func poll(ctx context.Context, check func() bool) error {
	ticker := time.NewTicker(pollGap)
	defer ticker.Stop()
	for !check() {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-ticker.C:
		}
	}
	return nil
}

// connect dials without the pause that follows a failed dial.
func (p *oracle) connect(ctx context.Context, args addrArgs) (fields, error) {
	ctx, cancel := limited(ctx, args.TimeoutMS)
	defer cancel()
	info, err := peer.AddrInfoFromString(args.Addr)
	if err != nil {
		return nil, err
	}
	if dialer, ok := p.host.Network().(*swarm.Swarm); ok {
		dialer.Backoff().Clear(info.ID)
	}
	return fields{"peer": info.ID}, p.host.Connect(ctx, *info)
}

func (p *oracle) disconnect(_ context.Context, args peerArgs) (fields, error) {
	return nil, p.host.Network().ClosePeer(args.Peer)
}

func (p *oracle) peers(context.Context, struct{}) (fields, error) {
	found := []fields{}
	for _, c := range p.host.Network().Conns() {
		found = append(found, connection(c))
	}
	return fields{"connections": found}, nil
}

type identifyArgs struct {
	Peer      peer.ID     `json:"peer"`
	Protocol  protocol.ID `json:"protocol"`
	TimeoutMS int         `json:"timeout_ms"`
}

// identify tells what a connected peer said of itself, once it has, and named the protocol if one is wanted: what
// was set up just before the connection may come a moment after it.
func (p *oracle) identify(ctx context.Context, args identifyArgs) (fields, error) {
	ctx, cancel := limited(ctx, args.TimeoutMS)
	defer cancel()
	book := p.host.Peerstore()
	text := func(name string) string {
		value, err := book.Get(args.Peer, name)
		if err != nil {
			return ""
		}
		told, _ := value.(string)
		return told
	}
	told := func() bool {
		if args.Protocol != "" {
			known, err := book.SupportsProtocols(args.Peer, args.Protocol)
			if err != nil || len(known) == 0 {
				return false
			}
		}
		return text("AgentVersion") != ""
	}
	if err := poll(ctx, told); err != nil {
		return nil, err
	}
	protocols, err := book.GetProtocols(args.Peer)
	if err != nil {
		return nil, err
	}
	public := book.PubKey(args.Peer)
	if public == nil {
		return nil, errors.New("identify told no public key")
	}
	encoded, err := crypto.MarshalPublicKey(public)
	if err != nil {
		return nil, err
	}
	return fields{
		"protocol_version": text("ProtocolVersion"),
		"agent_version":    text("AgentVersion"),
		"protocols":        protocol.ConvertToStrings(protocols),
		"addrs":            texts(book.Addrs(args.Peer)),
		"public_key":       octets(encoded),
	}, nil
}

func (p *oracle) ping(ctx context.Context, args peerArgs) (fields, error) {
	ctx, cancel := limited(ctx, args.TimeoutMS)
	defer cancel()
	answer := <-ping.Ping(ctx, p.host, args.Peer)
	return fields{"rtt_us": answer.RTT.Microseconds()}, answer.Error
}

// reserve asks a relay to carry circuits to this peer.
func (p *oracle) reserve(ctx context.Context, args addrArgs) (fields, error) {
	ctx, cancel := limited(ctx, args.TimeoutMS)
	defer cancel()
	relay, err := peer.AddrInfoFromString(args.Addr)
	if err != nil {
		return nil, err
	}
	slot, err := client.Reserve(ctx, p.host, *relay)
	if err != nil {
		return nil, err
	}
	return fields{"expires_unix": slot.Expiration.Unix(), "addrs": texts(slot.Addrs)}, nil
}
