package main

import (
	"encoding/hex"
	"fmt"
	"math"
	"slices"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protowire"
)

// encode writes a message as the network's Go programs do: fields in the order of their tags, and of those that are
// at their default only the nested messages, which can be there and empty.
func encode(of shape, what message) ([]byte, error) {
	for name := range what {
		if !slices.ContainsFunc(of, func(m member) bool { return m.name == name }) {
			return nil, fmt.Errorf("no field %q", name)
		}
	}
	var out []byte
	for _, m := range of {
		value, given := what[m.name]
		if !given || value == nil {
			continue
		}
		items := []any{value}
		if m.repeated {
			items = listed(value)
		}
		for _, item := range items {
			encoded, err := m.encode(item)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", m.name, err)
			}
			out = append(out, encoded...)
		}
	}
	return out, nil
}

// listed is the items of a repeated field, made here or come from JSON.
func listed(value any) []any {
	switch list := value.(type) {
	case []any:
		return list
	case []message:
		items := make([]any, len(list))
		for at, item := range list {
			items[at] = item
		}
		return items
	case []string:
		items := make([]any, len(list))
		for at, item := range list {
			items[at] = item
		}
		return items
	default:
		return []any{value}
	}
}

func (m member) encode(value any) ([]byte, error) {
	switch m.kind {
	case text, raw:
		data, err := m.bytes(value)
		if err != nil || len(data) == 0 && !m.repeated {
			return nil, err
		}
		return m.delimited(data), nil
	case nested:
		inner, ok := value.(message)
		if !ok {
			return nil, fmt.Errorf("%v is no message", value)
		}
		data, err := encode(m.of, inner)
		if err != nil {
			return nil, err
		}
		return m.delimited(data), nil
	case float:
		given, err := numeric(value)
		if err != nil || given == 0 {
			return nil, err
		}
		out := protowire.AppendTag(nil, m.tag, protowire.Fixed32Type)
		return protowire.AppendFixed32(out, math.Float32bits(float32(given))), nil
	default:
		given, err := numeric(value)
		if err != nil || given == 0 {
			return nil, err
		}
		out := protowire.AppendTag(nil, m.tag, protowire.VarintType)
		return protowire.AppendVarint(out, uint64(int64(given))), nil
	}
}

func (m member) delimited(data []byte) []byte {
	return protowire.AppendBytes(protowire.AppendTag(nil, m.tag, protowire.BytesType), data)
}

// bytes is what a text or bytes field carries; bytes that came from JSON are hex.
func (m member) bytes(value any) ([]byte, error) {
	switch given := value.(type) {
	case octets:
		return given, nil
	case []byte:
		return given, nil
	case string:
		if m.kind == raw {
			return hex.DecodeString(given)
		}
		return []byte(given), nil
	default:
		return nil, fmt.Errorf("%v is no text", value)
	}
}

func numeric(value any) (float64, error) {
	switch given := value.(type) {
	case float64:
		return given, nil
	case int64:
		return float64(given), nil
	case int:
		return float64(given), nil
	case bool:
		if given {
			return 1, nil
		}
		return 0, nil
	default:
		return 0, fmt.Errorf("%v is no number", value)
	}
}

// decode reads a message. It is stricter than protobuf asks: a field that the network has not, one in another wire
// type and text that is not UTF-8 are errors.
func decode(of shape, data []byte) (message, error) {
	what := message{}
	for len(data) > 0 {
		tag, wire, size := protowire.ConsumeTag(data)
		if size < 0 {
			return nil, protowire.ParseError(size)
		}
		data = data[size:]
		at := slices.IndexFunc(of, func(m member) bool { return m.tag == tag })
		if at < 0 {
			return nil, fmt.Errorf("unknown field %d", tag)
		}
		m := of[at]
		if wire != m.wire() {
			return nil, fmt.Errorf("%s has wire type %d", m.name, wire)
		}
		value, size, err := m.decode(data)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", m.name, err)
		}
		data = data[size:]
		if m.repeated {
			earlier, _ := what[m.name].([]any)
			what[m.name] = append(earlier, value)
		} else {
			what[m.name] = value
		}
	}
	return what, nil
}

func (m member) wire() protowire.Type {
	switch m.kind {
	case text, raw, nested:
		return protowire.BytesType
	case float:
		return protowire.Fixed32Type
	default:
		return protowire.VarintType
	}
}

func (m member) decode(data []byte) (any, int, error) {
	switch m.wire() {
	case protowire.BytesType:
		value, size := protowire.ConsumeBytes(data)
		if size < 0 {
			return nil, 0, protowire.ParseError(size)
		}
		switch {
		case m.kind == nested:
			inner, err := decode(m.of, value)
			return inner, size, err
		case m.kind == raw:
			return octets(slices.Clone(value)), size, nil
		case !utf8.Valid(value):
			return nil, 0, fmt.Errorf("no UTF-8: %x", value)
		default:
			return string(value), size, nil
		}
	case protowire.Fixed32Type:
		value, size := protowire.ConsumeFixed32(data)
		if size < 0 {
			return nil, 0, protowire.ParseError(size)
		}
		return float64(math.Float32frombits(value)), size, nil
	default:
		value, size := protowire.ConsumeVarint(data)
		switch {
		case size < 0:
			return nil, 0, protowire.ParseError(size)
		case m.kind == truth:
			return value != 0, size, nil
		default:
			return int64(value), size, nil
		}
	}
}

// The fields of a decoded message, at their default where they are not there.

func textOf(what message, name string) string {
	value, _ := what[name].(string)
	return value
}

func numberOf(what message, name string) int64 {
	value, err := numeric(what[name])
	if err != nil {
		return 0
	}
	return int64(value)
}

func bytesOf(what message, name string) []byte {
	value, _ := what[name].(octets)
	return value
}

func innerOf(what message, name string) message {
	value, _ := what[name].(message)
	return value
}
