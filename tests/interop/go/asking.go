package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	pubsub "github.com/libp2p/go-libp2p-pubsub"
	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/peer"
)

// dialogue is what a peer asks of others over gossip, what it is asked, and what it offers.
type dialogue struct {
	p     *oracle
	agent string

	mu       sync.Mutex
	waiting  map[string]chan fields // questions under way, by id
	plans    map[int64]answerPlan   // by type of message
	held     map[string]heard       // questions that a plan holds back, by id
	offers   []*offer
	nodeType int64
}

func newDialogue(p *oracle, agent string) *dialogue {
	return &dialogue{
		p:       p,
		agent:   agent,
		waiting: map[string]chan fields{},
		plans:   map[int64]answerPlan{},
		held:    map[string]heard{},
	}
}

// heard is a request or a reply as it came.
type heard struct {
	from   peer.ID // who signed
	header message
	kind   int64
	code   int64
	text   string
	body   message // opened; nil where there was none
	sealed bool
	size   int
	exact  bool // each byte is as this program would have written it
}

func (h heard) id() string       { return textOf(h.header, "id") }
func (h heard) receiver() string { return textOf(h.header, "receiver") }

func (h heard) told() fields {
	return fields{
		"id":             h.id(),
		"from":           h.from,
		"node_id":        textOf(h.header, "node_id"),
		"receiver":       h.receiver(),
		"client_version": textOf(h.header, "client_version"),
		"timestamp":      numberOf(h.header, "timestamp"),
		"type":           h.kind,
		"code":           h.code,
		"message":        h.text,
		"sealed":         h.sealed,
		"size":           h.size,
		"exact":          h.exact,
		"question":       innerOf(h.body, "req"),
		"answer":         innerOf(h.body, "res"),
	}
}

// errSealed is what a body that does not open is.
var errSealed = errors.New("the body does not open")

// hear takes a message of another peer. Of what is for this peer, "asked" tells the questions, "replied" the replies.
func (d *dialogue) hear(published *pubsub.Message) {
	h, body, err := parse(published.GetData())
	if err != nil {
		d.p.out.emit("unreadable", fields{"from": published.GetFrom(), "error": err.Error()})
		return
	}
	h.from = published.GetFrom()
	switch {
	case h.id() == "" && h.receiver() == "": // a heartbeat
	case h.receiver() != d.p.host.ID().String():
		d.overhear(h)
	default:
		go d.handle(h, body)
	}
}

// parse reads all but the body, which it returns as it is.
func parse(data []byte) (heard, []byte, error) {
	what, err := decode(envelope, data)
	if err != nil {
		return heard{}, nil, err
	}
	again, err := encode(envelope, what)
	if err != nil {
		return heard{}, nil, err
	}
	return heard{
		header: innerOf(what, "header"),
		kind:   numberOf(what, "type"),
		code:   numberOf(what, "result_code"),
		text:   textOf(what, "result_message"),
		size:   len(data),
		exact:  bytes.Equal(again, data),
	}, bytesOf(what, "body"), nil
}

// open reads the body, sealed by the holder of the key in the header if there is one.
func (d *dialogue) open(h heard, body []byte) (heard, error) {
	if key := bytesOf(h.header, "node_pub_key"); len(body) > 0 && len(key) > 0 {
		plain, err := d.p.open(key, body)
		if err != nil {
			return h, errors.Join(errSealed, err)
		}
		h.sealed, body = true, plain
	}
	if len(body) == 0 {
		return h, nil
	}
	opened, err := decode(bodies[h.kind], body)
	if err != nil {
		return h, err
	}
	again, err := encode(bodies[h.kind], opened)
	h.body, h.exact = opened, h.exact && bytes.Equal(again, body)
	return h, err
}

// handle takes what is for this peer for a question or a reply. A code makes it a reply whatever it carries.
func (d *dialogue) handle(h heard, body []byte) {
	h, err := d.open(h, body)
	if err != nil {
		d.p.out.emit("unreadable", fields{"id": h.id(), "from": h.from, "error": err.Error()})
		if errors.Is(err, errSealed) && h.code == 0 && !d.isAsking(h.id()) {
			d.refuse(h, decryptError, "Decrypt error")
		}
		return
	}
	told := h.told()
	if request := innerOf(h.body, "req"); request != nil && h.code == 0 {
		how := d.plan(h.kind)
		if how.Kind == "hold" {
			d.mu.Lock()
			d.held[h.id()] = h
			d.mu.Unlock()
		}
		d.p.out.emit("asked", told)
		d.respond(h, how)
		return
	}
	d.mu.Lock()
	waiter := d.waiting[h.id()]
	delete(d.waiting, h.id())
	d.mu.Unlock()
	if waiter != nil {
		waiter <- told
		return
	}
	d.p.out.emit("replied", told)
}

type readArgs struct {
	Data octets `json:"data"`
}

// read tells what a message says that was sent to this peer.
func (d *dialogue) read(_ context.Context, args readArgs) (fields, error) {
	h, body, err := parse(args.Data)
	if err != nil {
		return nil, err
	}
	h, err = d.open(h, body)
	return h.told(), err
}

func (d *dialogue) isAsking(id string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.waiting[id] != nil
}

type askArgs struct {
	Peer peer.ID `json:"peer"`
	ID   string  `json:"id"`
	Type int64   `json:"type"`
	Body message `json:"body"`
	// Plain leaves the body as it is, NoKey leaves the key out of the header.
	Plain bool `json:"plain"`
	NoKey bool `json:"no_key"`
	// NoWait replies at once; an answer comes as an event "replied".
	NoWait    bool `json:"no_wait"`
	TimeoutMS int  `json:"timeout_ms"`
}

// ask publishes a question and returns the first reply with its id, whoever it is from.
func (d *dialogue) ask(ctx context.Context, args askArgs) (fields, error) {
	ctx, cancel := limited(ctx, args.TimeoutMS)
	defer cancel()
	if args.Body == nil {
		args.Body = message{}
	}
	body, err := encode(bodies[args.Type], message{"req": args.Body})
	if err != nil {
		return nil, err
	}
	if !args.Plain {
		other, err := args.Peer.ExtractPublicKey()
		if err != nil {
			return nil, err
		}
		if body, err = d.p.seal(other, body); err != nil {
			return nil, err
		}
	}
	answer := make(chan fields, 1)
	if !args.NoWait {
		d.mu.Lock()
		d.waiting[args.ID] = answer
		d.mu.Unlock()
		defer func() {
			d.mu.Lock()
			delete(d.waiting, args.ID)
			d.mu.Unlock()
		}()
	}
	what := message{"type": args.Type, "body": body}
	if err := d.send(ctx, args.ID, args.Peer.String(), what, !args.NoKey); err != nil || args.NoWait {
		return nil, err
	}
	select {
	case told := <-answer:
		return told, nil
	case <-ctx.Done():
		return nil, errors.New("no reply")
	}
}

// send publishes a message under a header of this peer.
func (d *dialogue) send(ctx context.Context, id, receiver string, what message, withKey bool) error {
	return d.sendAs(ctx, d.p.host.ID().String(), id, receiver, time.Now().Unix(), what, withKey)
}

func (d *dialogue) sendAs(
	ctx context.Context, as, id, receiver string, at int64, what message, withKey bool,
) error {
	header := message{
		"client_version": d.agent,
		"timestamp":      at,
		"id":             id,
		"node_id":        as,
		"receiver":       receiver,
	}
	if withKey {
		key, err := crypto.MarshalPublicKey(d.p.host.Peerstore().PubKey(d.p.host.ID()))
		if err != nil {
			return err
		}
		header["node_pub_key"] = key
	}
	what["header"] = header
	data, err := encode(envelope, what)
	if err != nil {
		return fmt.Errorf("encode: %w", err)
	}
	return d.p.topic.Publish(ctx, data)
}
