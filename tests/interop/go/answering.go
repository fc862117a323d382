package main

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"
)

// answerPlan is how questions of one type are answered.
type answerPlan struct {
	Type int64 `json:"type"`
	// Kind is "own" (what this peer has to say), "answer" (the body of the plan), "error", "silent" or "hold" (as
	// "own", or the body of the plan, once told to by "release").
	Kind    string  `json:"kind"`
	Body    message `json:"body"`
	Code    int64   `json:"code"`
	Message string  `json:"message"`
	// Bare makes an error without a body; else it has an empty one, sealed, as the network's nodes have in answer to
	// chat and images.
	Bare bool `json:"bare"`
	// Copies is how many times the reply is published: 0 is once.
	Copies int `json:"copies"`
	// Overheard has questions to others answered, and none to this peer; AsAsked, in the name of who was asked.
	Overheard bool `json:"overheard"`
	AsAsked   bool `json:"as_asked"`
}

func (d *dialogue) plan(kind int64) answerPlan {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.plans[kind]
}

// setAnswer sets a plan, over the one for the same type.
func (d *dialogue) setAnswer(_ context.Context, args answerPlan) (fields, error) {
	if !slices.Contains([]string{"own", "answer", "error", "silent", "hold"}, args.Kind) {
		return nil, fmt.Errorf("no kind %q", args.Kind)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.plans[args.Type] = args
	return nil, nil
}

// overhear answers a question to another peer if a plan says so. Its body is for the other to read.
func (d *dialogue) overhear(h heard) {
	how := d.plan(h.kind)
	if !how.Overheard || h.code != 0 || h.header["node_pub_key"] == nil {
		return
	}
	d.p.out.emit("overheard", h.told())
	go d.carryOut(h, how)
}

// respond answers by plan; what is answered as the network's nodes do counts as in flight meanwhile.
func (d *dialogue) respond(h heard, how answerPlan) {
	if how.Overheard || how.Kind == "silent" {
		return
	}
	request := innerOf(h.body, "req")
	if h.kind == chatCompletion || h.kind == imageGeneration {
		done, known := d.begin(textOf(request, "project"), textOf(request, "model"), textOf(request, "cid"))
		if !known {
			how = answerPlan{Kind: "error", Code: modelError, Message: "can not find in registered project and model"}
		}
		if how.Kind == "hold" {
			return // in flight until released
		}
		defer done()
	}
	if how.Kind != "hold" {
		d.carryOut(h, how)
	}
}

type releaseArgs struct {
	ID string `json:"id"`
}

// release answers a question that was held back.
func (d *dialogue) release(_ context.Context, args releaseArgs) (fields, error) {
	d.mu.Lock()
	h, known := d.held[args.ID]
	delete(d.held, args.ID)
	d.mu.Unlock()
	if !known {
		return nil, fmt.Errorf("no question %q is held back", args.ID)
	}
	how := d.plan(h.kind)
	how.Kind = "own"
	if how.Body != nil {
		how.Kind = "answer"
	}
	d.carryOut(h, how)
	request := innerOf(h.body, "req")
	d.end(textOf(request, "project"), textOf(request, "model"), textOf(request, "cid"))
	return nil, nil
}

func (d *dialogue) carryOut(h heard, how answerPlan) {
	if err := d.reply(h, how); err != nil {
		d.p.out.emit("reply_failed", fields{"id": h.id(), "error": err.Error()})
	}
}

func (d *dialogue) reply(h heard, how answerPlan) error {
	answer := message{}
	switch how.Kind {
	case "answer":
		answer = how.Body
	case "", "own":
		answer = d.own(h)
	}
	what := message{"type": h.kind, "result_code": how.Code, "result_message": how.Message}
	if !how.Bare {
		other, err := crypto.UnmarshalPublicKey(bytesOf(h.header, "node_pub_key"))
		if err != nil {
			return err
		}
		plain, err := encode(bodies[h.kind], message{"res": answer})
		if err != nil {
			return err
		}
		if what["body"], err = d.p.seal(other, plain); err != nil {
			return err
		}
	}
	as := d.p.host.ID().String()
	if how.AsAsked {
		as = h.receiver()
	}
	at := time.Now().Unix()
	if h.kind == chatCompletion || h.kind == imageGeneration {
		at = numberOf(answer, "created") // as the network's nodes date these: 0 in errors
	}
	asker := textOf(h.header, "node_id")
	for range max(1, how.Copies) {
		if err := d.sendAs(context.Background(), as, h.id(), asker, at, what, !how.Bare); err != nil {
			return err
		}
	}
	return nil
}

// refuse sends an error without a body.
func (d *dialogue) refuse(h heard, code int64, why string) {
	d.carryOut(h, answerPlan{Kind: "error", Code: code, Message: why, Bare: true})
}

// own is what this peer answers if no plan says otherwise.
func (d *dialogue) own(h heard) message {
	request := innerOf(h.body, "req")
	switch h.kind {
	case peerIdentity:
		info := peer.AddrInfo{ID: d.p.host.ID(), Addrs: d.p.host.Addrs()}
		return message{
			"listen_addrs":     texts(info.Addrs),
			"protocols":        protocol.ConvertToStrings(d.p.host.Mux().Protocols()),
			"protocol_version": protocolVersion,
			"agent_version":    d.agent,
		}
	case hostInfo:
		return message{
			"os": message{
				"os": "linux", "platform": "ubuntu", "platform_family": "debian", "platform_version": "22.04",
				"kernel_version": "6.1.0", "kernel_arch": "x86_64",
			},
			"cpu":    []message{{"model_name": "An oracle's processor", "total_cores": 4, "total_threads": 8}},
			"memory": message{"total_physical_bytes": int64(64) << 30, "total_usable_bytes": int64(60) << 30},
			"disk": []message{
				{"drive_type": "SSD", "size_bytes": int64(1) << 40, "model": "An oracle's disk", "serial_number": "A1"},
			},
			"gpu": []message{{"vendor": "NVIDIA", "product": "An oracle's card"}},
		}
	case aiProject:
		return d.offered(0)
	case chatCompletion:
		return message{
			"created": time.Now().Unix(),
			"choices": []message{{
				"message":       message{"role": "assistant", "content": "I am " + textOf(request, "model")},
				"finish_reason": "stop",
			}},
			"usage": message{"completion_tokens": 3, "prompt_tokens": 2, "total_tokens": 5},
		}
	default:
		return message{
			"created": time.Now().Unix(),
			"choices": []message{{"url": "http://127.0.0.1/" + textOf(request, "model") + ".png"}},
		}
	}
}
