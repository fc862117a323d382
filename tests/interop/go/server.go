package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
)

// requestLimit bounds the body of a request.
const requestLimit = 64 << 20

// plan is how requests for one model are answered.
type plan struct {
	// Model is the value of ?model= that the plan is for; "" for every other.
	Model string `json:"model"`
	// Kind is "response", "hang" (no answer at all), "reset" (at once) or "raw" (left to the stream commands).
	Kind    string            `json:"kind"`
	Status  int               `json:"status"`
	Headers map[string]string `json:"headers"`
	// Chunks are written one by one; chunked if so asked, else under a Content-Length.
	Chunks  []octets `json:"chunks"`
	Chunked bool     `json:"chunked"`
	// GapMS passes before every chunk but the first.
	GapMS int `json:"gap_ms"`
	// Cut is how the answer ends after CutAfter chunks: "" not at all, "reset", "close" (as if it were whole),
	// or "hang" (open and silent until the other side resets).
	Cut      string `json:"cut"`
	CutAfter int    `json:"cut_after"`
}

// serve sets a plan, over the one for the same model.
func (p *oracle) serve(_ context.Context, args plan) (fields, error) {
	if !slices.Contains([]string{"response", "hang", "reset", "raw"}, args.Kind) {
		return nil, fmt.Errorf("no kind %q", args.Kind)
	}
	if !slices.Contains([]string{"", "reset", "close", "hang"}, args.Cut) {
		return nil, fmt.Errorf("no cut %q", args.Cut)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.plans[args.Model] = args
	return nil, nil
}

// planFor returns the plan for a model and the number of the request.
func (p *oracle) planFor(model string) (plan, int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.served++
	if found, ok := p.plans[model]; ok {
		return found, p.served
	}
	return p.plans[""], p.served
}

// serveChatProxy answers one request by plan. Events: "request" with what came, "answered" with what became of it.
func (p *oracle) serveChatProxy(stream network.Stream) {
	defer func() {
		if bug := recover(); bug != nil {
			p.out.emit("bug", fields{"error": fmt.Sprint(bug)})
			_ = stream.Reset()
		}
	}()
	p.mu.Lock()
	raw := p.plans[""].Kind == "raw"
	p.mu.Unlock()
	if raw {
		p.out.emit("stream", fields{"stream": p.keep(stream), "peer": stream.Conn().RemotePeer()})
		return
	}
	defer stream.Close()
	reader := bufio.NewReader(stream)
	request, err := http.ReadRequest(reader)
	var body []byte
	if err == nil {
		body, err = io.ReadAll(io.LimitReader(request.Body, requestLimit))
	}
	if err != nil {
		p.out.emit("bad_request", fields{"peer": stream.Conn().RemotePeer(), "end": ending(err)})
		_ = stream.Reset()
		return
	}
	how, number := p.planFor(request.URL.Query().Get("model"))
	p.out.emit("request", fields{
		"request":        number,
		"peer":           stream.Conn().RemotePeer(),
		"at_unix_us":     time.Now().UnixMicro(),
		"method":         request.Method,
		"target":         request.RequestURI,
		"proto":          request.Proto,
		"host":           request.Host,
		"headers":        request.Header,
		"content_length": request.ContentLength,
		"chunked":        len(request.TransferEncoding) > 0,
		"body":           octets(body),
	})
	query := request.URL.Query()
	done, known := p.talk.begin(query.Get("project"), query.Get("model"), query.Get("cid"))
	if !known {
		how = plan{Kind: "reset"}
	}
	defer done()
	ctx, cancel := context.WithCancelCause(context.Background())
	defer cancel(nil)
	go watch(reader, cancel)
	outcome := carryOut(ctx, stream, how)
	outcome["request"] = number
	outcome["at_unix_us"] = time.Now().UnixMicro()
	p.out.emit("answered", outcome)
}

// watch cancels as soon as the other side resets the stream. That it has ended its half is no reason to.
func watch(reader io.Reader, cancel context.CancelCauseFunc) {
	read, err := reader.Read(make([]byte, 1))
	switch {
	case read > 0:
		cancel(errors.New("bytes after the request"))
	case !errors.Is(err, io.EOF):
		cancel(err)
	}
}

// carryOut answers and tells what became of it: "whole", "cut", "cancelled" or "failed".
func carryOut(ctx context.Context, stream network.Stream, how plan) fields {
	switch how.Kind {
	case "hang":
		<-ctx.Done()
		return fields{"outcome": "cancelled", "how": ending(context.Cause(ctx))}
	case "response":
	default:
		_ = stream.Reset()
		return fields{"outcome": "cut", "how": "reset"}
	}
	body := &script{ctx: ctx, plan: how, unix: []int64{}}
	err := response(how, body).Write(stream)
	result := fields{"chunks": len(body.unix), "written_unix_us": body.unix}
	switch {
	case err == nil:
		result["outcome"] = "whole"
	case ctx.Err() != nil:
		result["outcome"], result["how"] = "cancelled", ending(context.Cause(ctx))
	case errors.Is(err, errCut):
		result["outcome"], result["how"] = "cut", how.Cut
		if how.Cut == "reset" {
			_ = stream.Reset()
		}
	default:
		result["outcome"], result["how"] = "failed", ending(err)
	}
	return result
}

func response(how plan, body io.Reader) *http.Response {
	status := how.Status
	if status == 0 {
		status = http.StatusOK
	}
	answer := &http.Response{
		StatusCode: status,
		ProtoMajor: 1,
		ProtoMinor: 1,
		Header:     http.Header{},
		Body:       io.NopCloser(body),
	}
	for name, value := range how.Headers {
		answer.Header.Set(name, value)
	}
	if how.Chunked {
		answer.ContentLength = -1
		answer.TransferEncoding = []string{"chunked"}
		return answer
	}
	for _, chunk := range how.Chunks {
		answer.ContentLength += int64(len(chunk))
	}
	return answer
}

// errCut ends an answer before its end.
var errCut = errors.New("cut as planned")

// script is the body of a planned answer.
type script struct {
	ctx  context.Context
	plan plan
	rest []byte
	unix []int64 // when each chunk was handed over
}

func (s *script) Read(buffer []byte) (int, error) {
	if len(s.rest) == 0 {
		if err := s.next(); err != nil {
			return 0, err
		}
	}
	copied := copy(buffer, s.rest)
	s.rest = s.rest[copied:]
	return copied, nil
}

func (s *script) next() error {
	done := len(s.unix)
	if s.plan.Cut != "" && done >= s.plan.CutAfter {
		if s.plan.Cut == "hang" {
			<-s.ctx.Done()
			return context.Cause(s.ctx)
		}
		return errCut
	}
	if done >= len(s.plan.Chunks) {
		return io.EOF
	}
	if done > 0 && s.plan.GapMS > 0 {
		select {
		case <-s.ctx.Done():
			return context.Cause(s.ctx)
		case <-time.After(time.Duration(s.plan.GapMS) * time.Millisecond):
		}
	}
	s.rest = s.plan.Chunks[done]
	s.unix = append(s.unix, time.Now().UnixMicro())
	return nil
}
