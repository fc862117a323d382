// The oracle is a libp2p peer that tests drive over its standard input and output.
//
// It is built on the versions of go-libp2p that the network's Go nodes run, with the options they run it
// with, so that what it accepts, says and refuses is what such a node would. README.md one folder up lists
// its flags, commands and events.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"strings"
	"time"
)

// closeLimit is how long the peer may take to close once its input has ended.
const closeLimit = 10 * time.Second

// options are what a peer is built from.
type options struct {
	key          string
	listen       list
	psk          string
	router       string
	dht          string
	prefix       string
	topic        string
	agent        string
	bootstrap    list
	relayService bool
	public       bool
	gossipAfter  time.Duration
	noChatProxy  bool
	announce     list
	holePunching bool
}

// list is a flag that may be given several times.
type list []string

func (l *list) String() string { return strings.Join(*l, ",") }

func (l *list) Set(value string) error {
	*l = append(*l, value)
	return nil
}

func parseOptions() options {
	var o options
	flag.StringVar(&o.key, "key", "", "base64 of a protobuf private key; a fresh secp256k1 key by default")
	flag.Var(&o.listen, "listen", "multiaddr to listen on; repeatable; \"none\" listens nowhere")
	flag.StringVar(&o.psk, "psk", "", "64 hex digits; empty for a public network")
	flag.StringVar(&o.router, "router", "floodsub", "floodsub or gossipsub")
	flag.StringVar(&o.dht, "dht", "server", "client or server")
	flag.StringVar(&o.prefix, "prefix", "/dbc", "prefix of the DHT protocol")
	flag.StringVar(&o.topic, "topic", "DeepBrainChain", "gossip topic")
	flag.StringVar(&o.agent, "agent", "AIComputingNode@oracle", "agent version that identify tells")
	flag.Var(&o.bootstrap, "bootstrap", "multiaddr with /p2p of a bootstrap peer, dialled at the start; repeatable")
	flag.BoolVar(&o.relayService, "relay-service", false, "carry circuits for others")
	flag.BoolVar(&o.public, "public", false, "believe to be reachable, as a relay on loopback has to")
	flag.DurationVar(&o.gossipAfter, "gossip-after", 0, "dial bootstrap peers first and start gossip that much later")
	flag.Var(&o.announce, "announce", "multiaddr to tell others beside those listened on; repeatable")
	flag.BoolVar(&o.noChatProxy, "no-chat-proxy", false, "answer over gossip only")
	flag.BoolVar(&o.holePunching, "hole-punching", false, "speak DCUtR")
	flag.Parse()
	if len(o.listen) == 0 {
		o.listen = list{"/ip4/127.0.0.1/tcp/0"}
	}
	return o
}

func main() {
	if err := run(parseOptions()); err != nil {
		fmt.Fprintln(os.Stderr, "oracle:", err)
		os.Exit(1)
	}
}

// run serves commands until the standard input ends.
func run(o options) error {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	out := newLink(os.Stdout)
	p, err := newPeer(ctx, o, out)
	if err != nil {
		return err
	}
	out.emit("ready", p.self())
	err = serveCommands(ctx, os.Stdin, out, p.commands())
	cancel()
	closed := make(chan error, 1)
	go func() { closed <- p.close() }()
	select {
	case closeErr := <-closed:
		if err == nil {
			err = closeErr
		}
		return err
	case <-time.After(closeLimit):
		return fmt.Errorf("the peer did not close within %s", closeLimit)
	}
}
