package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"
)

const (
	// chatProxy is the protocol of one HTTP exchange on a stream.
	chatProxy protocol.ID = "/chat-proxy/0.0.1"
	// lingerLimit is how long the end of a stream is waited for once its response is whole.
	lingerLimit = 2 * time.Second
)

type requestArgs struct {
	Tag       string            `json:"tag"`
	Peer      peer.ID           `json:"peer"`
	Method    string            `json:"method"`
	Target    string            `json:"target"`
	Headers   map[string]string `json:"headers"`
	Body      octets            `json:"body"`
	Chunked   bool              `json:"chunked"`
	TimeoutMS int               `json:"timeout_ms"`
}

// request sends one HTTP request and reports the response, without closing its half of the stream meanwhile.
//
// Of a request with a tag, events "head" and "chunk" tell what arrives meanwhile. The reply has "end": how the body ended
// ("eof" when whole), and "after": how the stream went on.
func (p *oracle) request(ctx context.Context, args requestArgs) (fields, error) {
	ctx, cancel := limited(ctx, args.TimeoutMS)
	defer cancel()
	outgoing, err := httpRequest(args)
	if err != nil {
		return nil, err
	}
	stream, err := p.host.NewStream(network.WithAllowLimitedConn(ctx, "a chat through a relay"), args.Peer, chatProxy)
	if err != nil {
		return nil, fmt.Errorf("open: %w", err)
	}
	defer stream.Close()
	deadline, _ := ctx.Deadline()
	if err := stream.SetDeadline(deadline); err != nil {
		return nil, err
	}
	p.begin(args.Tag, stream)
	defer p.finish(args.Tag)

	start := time.Now()
	report := fields{"start_unix_us": start.UnixMicro(), "status": 0, "chunks": []fields{}, "after": ""}
	if err := outgoing.Write(stream); err != nil {
		report["end"] = ending(err)
		return report, nil
	}
	reader := bufio.NewReader(stream)
	response, err := http.ReadResponse(reader, outgoing)
	if err != nil {
		report["end"] = ending(err)
		return report, stream.Reset()
	}
	defer response.Body.Close()
	head := fields{
		"tag":            args.Tag,
		"at_ms":          sinceMS(start),
		"status":         response.StatusCode,
		"reason":         response.Status,
		"headers":        response.Header,
		"content_length": response.ContentLength,
		"chunked":        len(response.TransferEncoding) > 0,
	}
	if args.Tag != "" {
		p.out.emit("head", head)
	}
	for name, value := range head {
		report[name] = value
	}
	report["chunks"], report["end"] = p.readBody(args.Tag, response.Body, start)
	if report["end"] == "eof" {
		report["after"] = whatFollows(stream, reader)
	}
	return report, nil
}

func httpRequest(args requestArgs) (*http.Request, error) {
	method := args.Method
	if method == "" {
		method = http.MethodPost
	}
	var body io.Reader
	if len(args.Body) > 0 {
		body = bytes.NewReader(args.Body)
		if args.Chunked {
			body = struct{ io.Reader }{body} // of unknown length
		}
	}
	outgoing, err := http.NewRequest(method, "http://127.0.0.1"+args.Target, body)
	if err != nil {
		return nil, err
	}
	for name, value := range args.Headers {
		outgoing.Header.Set(name, value)
	}
	return outgoing, nil
}

func (p *oracle) readBody(tag string, body io.Reader, start time.Time) ([]fields, string) {
	chunks := []fields{}
	buffer := make([]byte, 64<<10)
	for {
		read, err := body.Read(buffer)
		if read > 0 {
			chunk := fields{"tag": tag, "at_ms": sinceMS(start), "data": octets(bytes.Clone(buffer[:read]))}
			chunks = append(chunks, chunk)
			if tag != "" {
				p.out.emit("chunk", chunk)
			}
		}
		if err != nil {
			return chunks, ending(err)
		}
	}
}

// whatFollows tells how the stream goes on after a whole response: "eof", "reset", "bytes" or "open".
func whatFollows(stream network.Stream, reader io.Reader) string {
	if err := stream.SetReadDeadline(time.Now().Add(lingerLimit)); err != nil {
		return ending(err)
	}
	read, err := reader.Read(make([]byte, 1))
	switch end := ending(err); {
	case read > 0:
		return "bytes"
	case end == "timeout":
		return "open"
	default:
		return end
	}
}

func (p *oracle) begin(tag string, stream network.Stream) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.inFlight[tag] = stream
}

func (p *oracle) finish(tag string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.inFlight, tag)
}

type cancelArgs struct {
	Tag string `json:"tag"`
}

// cancelRequest resets the stream of a request under way.
func (p *oracle) cancelRequest(_ context.Context, args cancelArgs) (fields, error) {
	p.mu.Lock()
	stream := p.inFlight[args.Tag]
	p.mu.Unlock()
	if stream == nil {
		return nil, errors.New("no such request is under way")
	}
	at := time.Now()
	return fields{"at_unix_us": at.UnixMicro()}, stream.Reset()
}
