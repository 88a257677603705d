// SPDX-License-Identifier: MIT

package main

import (
	"fmt"

	"versus/measure"
)

// The processes, which start and stop in no time, and what was decided about them last.
type processes struct {
	names   []string
	states  map[string]state
	granted map[*request]bool // by those who do not wait at the request's channel
	target  string
	evict   []string
}

func (p *processes) modelState(id string) (state, bool) {
	s, known := p.states[id]
	return s, known
}

func (p *processes) runningModels() map[string]state {
	running := make(map[string]state)
	for id, s := range p.states {
		if s != stopped {
			running[id] = s
		}
	}
	return running
}

func (p *processes) grantServe(r *request, id string) bool {
	r.granted <- struct{}{}
	return true
}

func (p *processes) startSwap(id string, evict []string) { p.target, p.evict = id, evict }

// What the table does not say, and every router does once a swap has ended.
func (p *processes) swap() string {
	for _, id := range p.evict {
		p.states[id] = stopped
	}
	p.states[p.target] = ready
	target := p.target
	p.target, p.evict = "", nil
	return target
}

// One group of so many models, of which one runs at a time; and one more model, which is in nobody's way.
func newProcesses(models uint64) (*processes, map[string]*group) {
	p := &processes{states: map[string]state{}}
	together, alone := &group{swap: true}, &group{persistent: true}
	groupOf := map[string]*group{}
	for i := uint64(0); i <= models; i++ {
		name := fmt.Sprintf("model-%06d", i)
		p.names = append(p.names, name)
		p.states[name] = stopped
		groupOf[name] = together
	}
	groupOf[p.names[models]] = alone
	return p, groupOf
}

// The router: one goroutine that owns the scheduler, and channels without a buffer for each kind of event.
type router struct {
	requests, cancels chan *request
	swapDone          chan string
	serveDone         chan string
	done              chan struct{}
}

func newRouter(models uint64, pushes, keeps bool) (*router, []string) {
	p, groupOf := newProcesses(models)
	f := newFifo(p, groupOf, pushes, keeps)
	r := &router{requests: make(chan *request), cancels: make(chan *request), swapDone: make(chan string),
		serveDone: make(chan string), done: make(chan struct{})}
	names := p.names
	go func() {
		for {
			select {
			case q := <-r.requests:
				f.onRequest(q)
			case q := <-r.cancels:
				f.onCancel(q)
			case id := <-r.swapDone:
				f.onSwapDone(id)
			case id := <-r.serveDone:
				f.onServeDone(id)
			case <-r.done:
				return
			}
			if p.target != "" {
				id := p.swap()
				f.kept = nil
				go func() { r.swapDone <- id }() // as published: a goroutine carries out a swap
			}
		}
	}()
	return r, names
}

func (r *router) serve(name string, work func()) {
	q := newRequest(name)
	r.requests <- q
	<-q.granted
	work()
	r.serveDone <- name
}

func serve(a measure.Arguments, pushes, keeps bool) measure.Figures {
	threads, models := a["producers"], a["models"]
	each := (a["items"] + threads - 1) / threads
	r, names := newRouter(models, pushes, keeps)
	for _, name := range names[:models] {
		r.serve(name, func() {})
	}
	counts := make([]uint64, threads)
	var workers []func()
	for i := uint64(0); i != threads; i++ {
		i := i
		workers = append(workers, func() {
			own := uint64(0)
			for n := uint64(0); n != each; n++ {
				r.serve(names[(i+n)%models], func() { own++ })
			}
			counts[i] = own
		})
	}
	figures := measure.RunTogether(each*threads, workers...)
	served := uint64(0)
	for _, own := range counts {
		served += own
	}
	measure.Check(served == each*threads, "serve: not all were served")
	close(r.done)
	return figures
}
