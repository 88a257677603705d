// SPDX-License-Identifier: MIT

package main

import "sort"

// One request. Its positions channel always holds the newest place only.
type request struct {
	model     string
	granted   chan struct{}
	positions chan int
}

func newRequest(model string) *request {
	return &request{model: model, granted: make(chan struct{}, 1), positions: make(chan int, 1)}
}

type swap struct {
	evict   []string
	waiters []*request
}

type state int

const (
	stopped state = iota
	starting
	ready
)

type group struct {
	swap, exclusive, persistent bool
}

// What a scheduler is allowed to do, and to ask.
type effects interface {
	modelState(id string) (state, bool)
	runningModels() map[string]state
	grantServe(r *request, id string) bool
	startSwap(id string, evict []string)
}

// The published scheduler, by its decision table. One goroutine owns it.
type fifo struct {
	effects  effects
	groupOf  map[string]*group
	priority map[string]int
	active   map[string]*swap
	inFlight map[string]int
	queued   []*request

	pushes bool     // positions, to all who wait, whenever the queue has changed
	keeps  bool     // the models that run, instead of asking for each request
	kept   []string // those, sorted
}

func newFifo(e effects, groupOf map[string]*group, pushes, keeps bool) *fifo {
	return &fifo{effects: e, groupOf: groupOf, priority: map[string]int{}, active: map[string]*swap{},
		inFlight: map[string]int{}, pushes: pushes, keeps: keeps}
}

// The models that run or are the target of a swap, but for the model that is decided about, unless its process runs.
func (f *fifo) running(model string) []string {
	if f.keeps && f.kept != nil {
		return f.kept
	}
	states := f.effects.runningModels()
	running := make([]string, 0, len(states)+len(f.active))
	for id := range states {
		running = append(running, id)
	}
	for id := range f.active {
		if _, runs := states[id]; !runs && id != model {
			running = append(running, id)
		}
	}
	sort.Strings(running)
	if f.keeps {
		f.kept = running
	}
	return running
}

// The planner of groups.
func (f *fifo) evictionFor(target string, running []string) []string {
	var evict []string
	own := f.groupOf[target]
	for _, id := range running {
		if id == target {
			continue
		}
		other := f.groupOf[id]
		if other == own && own.swap || other != own && own.exclusive && !other.persistent {
			evict = append(evict, id)
		}
	}
	return evict
}

func contains(all []string, id string) bool {
	for _, each := range all {
		if each == id {
			return true
		}
	}
	return false
}

func (f *fifo) collides(model string, evict []string) bool {
	for target, s := range f.active {
		if target == model {
			continue
		}
		if contains(evict, target) || contains(s.evict, model) {
			return true
		}
		for _, id := range evict {
			if contains(s.evict, id) {
				return true
			}
		}
	}
	return false
}

// Rows 1 to 6 of the table. False: the request has to wait in the queue.
func (f *fifo) passes(r *request) bool {
	current, known := f.effects.modelState(r.model)
	if !known {
		return true
	}
	if s := f.active[r.model]; s != nil {
		s.waiters = append(s.waiters, r)
		return true
	}
	evict := f.evictionFor(r.model, f.running(r.model))
	collides := f.collides(r.model, evict)
	if current == ready && len(evict) == 0 && !collides {
		f.grant(r)
		return true
	}
	if collides {
		return false
	}
	for _, id := range evict {
		if f.inFlight[id] > 0 {
			return false
		}
	}
	f.active[r.model] = &swap{evict: evict, waiters: []*request{r}}
	f.kept = nil
	f.effects.startSwap(r.model, evict)
	return true
}

func (f *fifo) grant(r *request) {
	if f.effects.grantServe(r, r.model) {
		f.inFlight[r.model]++
	}
}

func (f *fifo) onRequest(r *request) {
	if f.passes(r) {
		return
	}
	at := len(f.queued)
	for i, other := range f.queued {
		if f.priority[other.model] < f.priority[r.model] {
			at = i
			break
		}
	}
	f.queued = append(f.queued, nil)
	copy(f.queued[at+1:], f.queued[at:])
	f.queued[at] = r
	f.broadcast()
}

func (f *fifo) drain() {
	if len(f.queued) == 0 {
		return
	}
	left := f.queued[:0]
	for _, r := range f.queued {
		if !f.passes(r) {
			left = append(left, r)
		}
	}
	for i := len(left); i < len(f.queued); i++ {
		f.queued[i] = nil
	}
	f.queued = left
	f.broadcast()
}

func (f *fifo) broadcast() {
	if !f.pushes {
		return
	}
	for i, r := range f.queued {
		select {
		case r.positions <- i + 1:
			continue
		default:
		}
		select {
		case <-r.positions:
		default:
		}
		select {
		case r.positions <- i + 1:
		default:
		}
	}
}

func (f *fifo) onSwapDone(model string) {
	s := f.active[model]
	if s == nil {
		return
	}
	delete(f.active, model)
	f.kept = nil
	for _, r := range s.waiters {
		f.grant(r)
	}
	f.drain()
}

func (f *fifo) onServeDone(model string) {
	f.inFlight[model]--
	if f.inFlight[model] <= 0 {
		delete(f.inFlight, model)
		f.drain()
	}
}

func (f *fifo) onCancel(r *request) {
	before := len(f.queued)
	for i, each := range f.queued {
		if each == r {
			copy(f.queued[i:], f.queued[i+1:])
			f.queued[before-1] = nil
			f.queued = f.queued[:before-1]
			break
		}
	}
	removed := len(f.queued) != before
	for _, s := range f.active {
		for i, each := range s.waiters {
			if each == r {
				s.waiters = append(s.waiters[:i], s.waiters[i+1:]...)
				removed = true
				break
			}
		}
	}
	if removed {
		f.broadcast()
	}
}
