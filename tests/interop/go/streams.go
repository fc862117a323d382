package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"
)

type openArgs struct {
	Peer      peer.ID     `json:"peer"`
	Protocol  protocol.ID `json:"protocol"`
	TimeoutMS int         `json:"timeout_ms"`
}

type streamArgs struct {
	Stream    int64  `json:"stream"`
	Data      octets `json:"data"`
	Max       int    `json:"max"`
	TimeoutMS int    `json:"timeout_ms"`
}

// keep gives a stream the number that commands name it by.
func (p *oracle) keep(stream network.Stream) int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.lastRaw++
	p.raw[p.lastRaw] = stream
	return p.lastRaw
}

func (p *oracle) stream(number int64) (network.Stream, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	stream, known := p.raw[number]
	if !known {
		return nil, fmt.Errorf("no stream %d", number)
	}
	return stream, nil
}

func (p *oracle) streamOpen(ctx context.Context, args openArgs) (fields, error) {
	ctx, cancel := limited(ctx, args.TimeoutMS)
	defer cancel()
	stream, err := p.host.NewStream(network.WithAllowLimitedConn(ctx, "a test"), args.Peer, args.Protocol)
	if err != nil {
		return nil, err
	}
	return fields{"stream": p.keep(stream)}, nil
}

func (p *oracle) streamWrite(ctx context.Context, args streamArgs) (fields, error) {
	stream, err := p.stream(args.Stream)
	if err != nil {
		return nil, err
	}
	ctx, cancel := limited(ctx, args.TimeoutMS)
	defer cancel()
	deadline, _ := ctx.Deadline()
	if err := stream.SetWriteDeadline(deadline); err != nil {
		return nil, err
	}
	written, err := stream.Write(args.Data)
	return fields{"written": written, "end": ending(err)}, nil
}

// streamRead tells what one read returned, and how the stream ended if it did.
func (p *oracle) streamRead(ctx context.Context, args streamArgs) (fields, error) {
	stream, err := p.stream(args.Stream)
	if err != nil {
		return nil, err
	}
	ctx, cancel := limited(ctx, args.TimeoutMS)
	defer cancel()
	deadline, _ := ctx.Deadline()
	if err := stream.SetReadDeadline(deadline); err != nil {
		return nil, err
	}
	size := args.Max
	if size <= 0 {
		size = 64 << 10
	}
	buffer := make([]byte, size)
	read, err := stream.Read(buffer)
	return fields{"data": octets(buffer[:read]), "end": ending(err)}, nil
}

// streamEnd makes the command that ends a stream, or a half of it.
func (p *oracle) streamEnd(end func(network.Stream) error, forget bool) func(context.Context, streamArgs) (fields, error) {
	return func(_ context.Context, args streamArgs) (fields, error) {
		stream, err := p.stream(args.Stream)
		if err != nil {
			return nil, err
		}
		if forget {
			p.mu.Lock()
			delete(p.raw, args.Stream)
			p.mu.Unlock()
		}
		return nil, end(stream)
	}
}

// ending names how a read or a write ended: "" for well.
func ending(err error) string {
	var slow interface{ Timeout() bool }
	switch {
	case err == nil:
		return ""
	case errors.Is(err, network.ErrReset), err.Error() == network.ErrReset.Error(): // net/http hides it in requests
		return "reset"
	case errors.Is(err, io.ErrUnexpectedEOF):
		return "truncated"
	case errors.Is(err, io.EOF):
		return "eof"
	case errors.As(err, &slow) && slow.Timeout():
		return "timeout"
	default:
		return "error: " + err.Error()
	}
}

// sinceMS is the time since start in milliseconds, to the microsecond.
func sinceMS(start time.Time) float64 {
	return float64(time.Since(start).Microseconds()) / 1000
}
