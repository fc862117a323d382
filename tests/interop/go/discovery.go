package main

import (
	"context"

	"github.com/libp2p/go-libp2p/core/discovery"
	"github.com/libp2p/go-libp2p/core/peer"
	drouting "github.com/libp2p/go-libp2p/p2p/discovery/routing"
)

type rendezvousArgs struct {
	Topic     string `json:"topic"`
	Limit     int    `json:"limit"`
	TimeoutMS int    `json:"timeout_ms"`
}

// routingPeer waits until a peer stands in the routing table, as only servers of the DHT do.
func (p *oracle) routingPeer(ctx context.Context, args peerArgs) (fields, error) {
	ctx, cancel := limited(ctx, args.TimeoutMS)
	defer cancel()
	return nil, poll(ctx, func() bool { return p.dht.RoutingTable().Find(args.Peer) != "" })
}

// provide announces this peer under a topic.
func (p *oracle) provide(ctx context.Context, args rendezvousArgs) (fields, error) {
	ctx, cancel := limited(ctx, args.TimeoutMS)
	defer cancel()
	lifetime, err := drouting.NewRoutingDiscovery(p.dht).Advertise(ctx, args.Topic)
	return fields{"ttl_s": lifetime.Seconds()}, err
}

// find tells who announced themselves under a topic, as far as known when time ran out.
func (p *oracle) find(ctx context.Context, args rendezvousArgs) (fields, error) {
	ctx, cancel := limited(ctx, args.TimeoutMS)
	defer cancel()
	limit := args.Limit
	if limit <= 0 {
		limit = 100
	}
	providers, err := drouting.NewRoutingDiscovery(p.dht).FindPeers(ctx, args.Topic, discovery.Limit(limit))
	if err != nil {
		return nil, err
	}
	found := []fields{}
	for info := range providers {
		found = append(found, located(info))
	}
	return fields{"found": found}, nil
}

func (p *oracle) findPeer(ctx context.Context, args peerArgs) (fields, error) {
	ctx, cancel := limited(ctx, args.TimeoutMS)
	defer cancel()
	info, err := p.dht.FindPeer(ctx, args.Peer)
	return located(info), err
}

func located(info peer.AddrInfo) fields {
	return fields{"peer": info.ID, "addrs": texts(info.Addrs)}
}
