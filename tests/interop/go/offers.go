package main

import (
	"context"
	"slices"
)

// offer is a model that this peer says it has.
type offer struct {
	Project string `json:"project"`
	Model   string `json:"model"`
	API     string `json:"api"`
	Type    int64  `json:"type"`
	CID     string `json:"cid"`

	inFlight int64
}

type offersArgs struct {
	Models   []*offer `json:"models"`
	NodeType int64    `json:"node_type"`
}

// setOffers replaces what is offered and tells it in a heartbeat. From now on each request that begins or ends, over
// gossip or on a stream, makes another, and models that are not offered are refused.
func (d *dialogue) setOffers(ctx context.Context, args offersArgs) (fields, error) {
	d.mu.Lock()
	d.offers, d.nodeType = args.Models, args.NodeType
	d.mu.Unlock()
	return nil, d.beat(ctx)
}

// beat publishes a heartbeat.
func (d *dialogue) beat(ctx context.Context) error {
	d.mu.Lock()
	nodeType := d.nodeType
	d.mu.Unlock()
	body, err := encode(bodies[aiProject], message{"res": d.offered(nodeType)})
	if err != nil {
		return err
	}
	return d.send(ctx, "", "", message{"type": aiProject, "body": body, "result_message": "heartbeat"}, false)
}

// offered is the answer that lists the offers, projects in the order in which they first came.
func (d *dialogue) offered(nodeType int64) message {
	d.mu.Lock()
	defer d.mu.Unlock()
	projects := []message{}
	for _, one := range d.offers {
		at := slices.IndexFunc(projects, func(m message) bool { return m["project"] == one.Project })
		if at < 0 {
			at = len(projects)
			projects = append(projects, message{"project": one.Project, "models": []message{}})
		}
		models, _ := projects[at]["models"].([]message)
		projects[at]["models"] = append(models, message{
			"model": one.Model, "api": one.API, "type": one.Type, "idle": one.inFlight, "cid": one.CID,
		})
	}
	return message{"projects": projects, "node_type": nodeType}
}

// begin counts a request as in flight until the returned function is called. A peer that offers nothing knows every
// model and counts none.
func (d *dialogue) begin(project, model, cid string) (func(), bool) {
	known, counted := d.count(project, model, cid, 1)
	if !counted {
		return func() {}, known
	}
	return func() { d.end(project, model, cid) }, true
}

func (d *dialogue) end(project, model, cid string) { d.count(project, model, cid, -1) }

func (d *dialogue) count(project, model, cid string, by int64) (known, counted bool) {
	d.mu.Lock()
	if len(d.offers) == 0 {
		d.mu.Unlock()
		return true, false
	}
	at := slices.IndexFunc(d.offers, func(one *offer) bool {
		return one.Project == project && one.Model == model && (cid == "" || one.CID == cid)
	})
	if at >= 0 {
		d.offers[at].inFlight += by
	}
	d.mu.Unlock()
	if at < 0 {
		return false, false
	}
	if err := d.beat(context.Background()); err != nil {
		d.p.out.emit("reply_failed", fields{"error": err.Error()})
	}
	return true, true
}
