package main

import "google.golang.org/protobuf/encoding/protowire"

// The messages of the network, written down here by hand: what this program says and understands owes nothing to
// the encoder of the program under test.

// message is a decoded message: its fields by name. Numbers are int64 (float64 where they came from JSON or are
// floats), bytes are octets.
type message = map[string]any

// kind is how a field stands on the wire.
type kind int

const (
	text kind = iota
	raw
	number
	truth
	float
	nested
)

// member is one field of a message.
type member struct {
	tag      protowire.Number
	name     string
	kind     kind
	repeated bool
	of       shape // of a nested message
}

// shape is what a message is made of, in the order of the tags.
type shape []member

// Types of messages.
const (
	peerIdentity    = 0
	hostInfo        = 1
	aiProject       = 2
	chatCompletion  = 16
	imageGeneration = 17
)

// decryptError and modelError are codes of error replies.
const (
	modelError   = 1007
	decryptError = 1014
)

var envelope = shape{
	{tag: 1, name: "header", kind: nested, of: shape{
		{tag: 1, name: "client_version"},
		{tag: 2, name: "timestamp", kind: number},
		{tag: 3, name: "id"},
		{tag: 4, name: "node_id"},
		{tag: 5, name: "receiver"},
		{tag: 6, name: "node_pub_key", kind: raw},
		{tag: 7, name: "sign", kind: raw},
	}},
	{tag: 2, name: "type", kind: number},
	{tag: 3, name: "body", kind: raw},
	{tag: 4, name: "result_code", kind: number},
	{tag: 5, name: "result_message"},
}

var wallet = shape{{tag: 1, name: "wallet"}, {tag: 2, name: "signature"}, {tag: 3, name: "hash"}}

// bodies are what a message of each type carries.
var bodies = map[int64]shape{
	peerIdentity: either(shape{}, shape{
		{tag: 1, name: "public_key", kind: raw},
		{tag: 2, name: "listen_addrs", repeated: true},
		{tag: 3, name: "protocols", repeated: true},
		{tag: 5, name: "protocol_version"},
		{tag: 6, name: "agent_version"},
	}),
	hostInfo: either(shape{}, shape{
		{tag: 1, name: "os", kind: nested, of: shape{
			{tag: 1, name: "os"},
			{tag: 2, name: "platform"},
			{tag: 3, name: "platform_family"},
			{tag: 4, name: "platform_version"},
			{tag: 5, name: "kernel_version"},
			{tag: 6, name: "kernel_arch"},
		}},
		{tag: 2, name: "cpu", kind: nested, repeated: true, of: shape{
			{tag: 1, name: "model_name"},
			{tag: 2, name: "total_cores", kind: number},
			{tag: 3, name: "total_threads", kind: number},
		}},
		{tag: 3, name: "memory", kind: nested, of: shape{
			{tag: 1, name: "total_physical_bytes", kind: number},
			{tag: 2, name: "total_usable_bytes", kind: number},
		}},
		{tag: 4, name: "disk", kind: nested, repeated: true, of: shape{
			{tag: 1, name: "drive_type"},
			{tag: 2, name: "size_bytes", kind: number},
			{tag: 3, name: "model"},
			{tag: 4, name: "serial_number"},
		}},
		{tag: 5, name: "gpu", kind: nested, repeated: true, of: shape{
			{tag: 1, name: "vendor"},
			{tag: 2, name: "product"},
		}},
	}),
	aiProject: either(shape{}, shape{
		{tag: 1, name: "projects", kind: nested, repeated: true, of: shape{
			{tag: 1, name: "project"},
			{tag: 2, name: "models", kind: nested, repeated: true, of: shape{
				{tag: 1, name: "model"},
				{tag: 2, name: "api"},
				{tag: 3, name: "type", kind: number},
				{tag: 4, name: "idle", kind: number},
				{tag: 5, name: "cid"},
			}},
		}},
		{tag: 2, name: "node_type", kind: number},
	}),
	chatCompletion: either(shape{
		{tag: 1, name: "project"},
		{tag: 2, name: "model"},
		{tag: 3, name: "messages", kind: nested, repeated: true, of: shape{
			{tag: 1, name: "role"},
			{tag: 2, name: "content", kind: raw},
		}},
		{tag: 4, name: "stream", kind: truth},
		{tag: 5, name: "cid"},
		{tag: 6, name: "temperature", kind: float},
		{tag: 7, name: "top_p", kind: float},
		{tag: 16, name: "wallet", kind: nested, of: wallet},
	}, shape{
		{tag: 1, name: "created", kind: number},
		{tag: 2, name: "choices", kind: nested, repeated: true, of: shape{
			{tag: 1, name: "index", kind: number},
			{tag: 2, name: "message", kind: nested, of: shape{{tag: 1, name: "role"}, {tag: 2, name: "content"}}},
			{tag: 3, name: "finish_reason"},
		}},
		{tag: 3, name: "usage", kind: nested, of: shape{
			{tag: 1, name: "completion_tokens", kind: number},
			{tag: 2, name: "prompt_tokens", kind: number},
			{tag: 3, name: "total_tokens", kind: number},
		}},
		{tag: 4, name: "id"},
		{tag: 5, name: "object"},
	}),
	imageGeneration: either(shape{
		{tag: 1, name: "project"},
		{tag: 2, name: "model"},
		{tag: 3, name: "prompt"},
		{tag: 4, name: "number", kind: number},
		{tag: 5, name: "size"},
		{tag: 6, name: "width", kind: number},
		{tag: 7, name: "height", kind: number},
		{tag: 8, name: "response_format"},
		{tag: 9, name: "cid"},
		{tag: 10, name: "step", kind: number},
		{tag: 16, name: "wallet", kind: nested, of: wallet},
	}, shape{
		{tag: 1, name: "created", kind: number},
		{tag: 2, name: "choices", kind: nested, repeated: true, of: shape{
			{tag: 1, name: "url"},
			{tag: 2, name: "b64_json"},
			{tag: 3, name: "revised_prompt"},
		}},
	}),
}

// either is the shape of a body: a request or an answer.
func either(request, answer shape) shape {
	return shape{
		{tag: 1, name: "req", kind: nested, of: request},
		{tag: 2, name: "res", kind: nested, of: answer},
	}
}
