package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"sync"
)

const (
	// lineLimit bounds a command; the largest carries a 1 MiB message in hex.
	lineLimit = 8 << 20
	// commandLimit bounds how many commands run at once.
	commandLimit = 512
)

// fields are the members of one JSON object.
type fields map[string]any

// octets are bytes that travel as hex.
type octets []byte

func (o octets) MarshalText() ([]byte, error) { return []byte(hex.EncodeToString(o)), nil }

func (o *octets) UnmarshalText(text []byte) error {
	raw, err := hex.DecodeString(string(text))
	*o = raw
	return err
}

// link writes replies and events, one JSON object a line.
type link struct {
	mu  sync.Mutex
	out *json.Encoder
}

func newLink(out io.Writer) *link { return &link{out: json.NewEncoder(out)} }

// send writes one line. A reader that has gone closes the input too, which ends the program.
func (l *link) send(line any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	_ = l.out.Encode(line)
}

// emit writes an event.
func (l *link) emit(name string, what fields) {
	line := fields{"event": name}
	for key, value := range what {
		line[key] = value
	}
	l.send(line)
}

// handler answers one command.
type handler func(ctx context.Context, args json.RawMessage) (fields, error)

// command makes a handler of a function with typed arguments; unknown ones are refused.
func command[A any](f func(ctx context.Context, args A) (fields, error)) handler {
	return func(ctx context.Context, raw json.RawMessage) (fields, error) {
		var args A
		if len(raw) > 0 {
			decoder := json.NewDecoder(bytes.NewReader(raw))
			decoder.DisallowUnknownFields()
			if err := decoder.Decode(&args); err != nil {
				return nil, fmt.Errorf("arguments: %w", err)
			}
		}
		return f(ctx, args)
	}
}

type call struct {
	ID   int64           `json:"id"`
	Cmd  string          `json:"cmd"`
	Args json.RawMessage `json:"args"`
}

// serveCommands answers each line of `in` in a goroutine of its own, and returns when `in` ends.
func serveCommands(ctx context.Context, in io.Reader, out *link, handlers map[string]handler) error {
	slots := make(chan struct{}, commandLimit)
	lines := bufio.NewScanner(in)
	lines.Buffer(make([]byte, 0, 64<<10), lineLimit)
	for lines.Scan() {
		var c call
		if err := json.Unmarshal(lines.Bytes(), &c); err != nil {
			return fmt.Errorf("not a command: %w", err)
		}
		slots <- struct{}{}
		go func() {
			defer func() { <-slots }()
			result, err := answer(ctx, handlers, c)
			if err != nil {
				out.send(fields{"id": c.ID, "error": err.Error()})
				return
			}
			out.send(fields{"id": c.ID, "ok": result})
		}()
	}
	return lines.Err()
}

// answer runs one command; a panic becomes its error.
func answer(ctx context.Context, handlers map[string]handler, c call) (result fields, err error) {
	defer func() {
		if bug := recover(); bug != nil {
			err = fmt.Errorf("%s panicked: %v", c.Cmd, bug)
		}
	}()
	run, known := handlers[c.Cmd]
	if !known {
		return nil, fmt.Errorf("no command %q", c.Cmd)
	}
	result, err = run(ctx, c.Args)
	if result == nil {
		result = fields{}
	}
	return result, err
}
