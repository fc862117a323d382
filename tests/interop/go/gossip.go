package main

import (
	"context"
	"fmt"
	"slices"
	"time"

	pubsub "github.com/libp2p/go-libp2p-pubsub"
	"github.com/libp2p/go-libp2p/core/peer"
)

// joinTopic starts the gossip router and subscribes to the topic.
//
// With gossipsub the bootstrap peers are direct peers, outside the mesh, and servers exchange peers.
func (p *oracle) joinTopic(ctx context.Context, o options, bootstrap []peer.AddrInfo) error {
	var router *pubsub.PubSub
	var err error
	switch o.router {
	case "floodsub":
		router, err = pubsub.NewFloodSub(ctx, p.host)
	case "gossipsub":
		router, err = pubsub.NewGossipSub(ctx, p.host,
			pubsub.WithDirectPeers(bootstrap),
			pubsub.WithDirectConnectTicks(30),
			pubsub.WithPeerExchange(o.dht == "server" || o.relayService),
			pubsub.WithFloodPublish(true))
	default:
		err = fmt.Errorf("-router must be floodsub or gossipsub, not %q", o.router)
	}
	if err != nil {
		return fmt.Errorf("gossip: %w", err)
	}
	if p.topic, err = router.Join(o.topic); err != nil {
		return fmt.Errorf("gossip: %w", err)
	}
	changes, err := p.topic.EventHandler()
	if err != nil {
		return fmt.Errorf("gossip: %w", err)
	}
	messages, err := p.topic.Subscribe()
	if err != nil {
		return fmt.Errorf("gossip: %w", err)
	}
	go p.tellSubscribers(ctx, changes)
	go p.tellMessages(ctx, messages)
	return nil
}

func (p *oracle) tellSubscribers(ctx context.Context, changes *pubsub.TopicEventHandler) {
	defer changes.Cancel()
	for {
		change, err := changes.NextPeerEvent(ctx)
		if err != nil {
			return
		}
		if change.Type == pubsub.PeerLeave {
			p.out.emit("unsubscribed", fields{"peer": change.Peer})
		} else if p.reaches(ctx, change.Peer) {
			p.out.emit("subscribed", fields{"peer": change.Peer})
		}
	}
}

// reaches waits until what is published goes to the peer: its subscription may be heard before the router has taken
// note of the peer itself, and until then the router drops, without a word, what it has for it.
func (p *oracle) reaches(ctx context.Context, peer peer.ID) bool {
	for range 5_000 {
		if slices.Contains(p.topic.ListPeers(), peer) {
			return true
		}
		select {
		case <-ctx.Done():
			return false
		case <-time.After(time.Millisecond):
		}
	}
	return false
}

// tellMessages emits "gossip" for what others published and "published" for our own.
func (p *oracle) tellMessages(ctx context.Context, messages *pubsub.Subscription) {
	defer messages.Cancel()
	for {
		message, err := messages.Next(ctx)
		if err != nil {
			return
		}
		name := "gossip"
		if message.GetFrom() == p.host.ID() {
			name = "published"
		}
		p.out.emit(name, fields{
			"from":  message.GetFrom(),
			"via":   message.ReceivedFrom,
			"seqno": octets(message.GetSeqno()),
			"data":  octets(message.GetData()),
		})
		if name == "gossip" {
			p.talk.hear(message)
		}
	}
}

type publishArgs struct {
	Data octets `json:"data"`
}

func (p *oracle) publish(ctx context.Context, args publishArgs) (fields, error) {
	return nil, p.topic.Publish(ctx, args.Data)
}

func (p *oracle) topicPeers(context.Context, struct{}) (fields, error) {
	return fields{"peers": p.topic.ListPeers()}, nil
}
