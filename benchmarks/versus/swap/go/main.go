// SPDX-License-Identifier: MIT

// The published scheduler in Go. The workloads are those of ../../cpp/swap_workloads.hpp, and of
// ../../cpp/swap_service_workloads.hpp.
package main

import (
	"fmt"
	"runtime"
	"strings"

	"versus/measure"
)

// Vigna's SplitMix64.
type mixer uint64

func (m *mixer) below(bound uint64) uint64 {
	*m += 0x9e3779b97f4a7c15
	z := uint64(*m)
	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9
	z = (z ^ (z >> 27)) * 0x94d049bb133111eb
	z ^= z >> 31
	return (z >> 32) * bound >> 32
}

type world struct {
	*processes
	*fifo
	models  uint64
	mixer   mixer
	waiting []*request
	busy    []*request
}

func newWorld(a measure.Arguments, pushes, keeps bool) *world {
	p, groupOf := newProcesses(a["models"])
	w := &world{processes: p, fifo: newFifo(p, groupOf, pushes, keeps), models: a["models"], mixer: 1}
	w.bringUp(w.models)
	w.onServeDone(w.bystander())
	w.busy = nil
	w.bringUp(0)
	return w
}

func (w *world) bystander() string { return w.names[w.models] }

// Any but the other one and the bystander.
func (w *world) randomModel(other uint64) uint64 {
	model := w.mixer.below(w.models - 1)
	if model >= other {
		model++
	}
	return model
}

func (w *world) request(model string) *request {
	r := newRequest(model)
	w.onRequest(r)
	return r
}

func isGranted(r *request) bool {
	select {
	case <-r.granted:
		return true
	default:
		return false
	}
}

func (w *world) swapDone() string {
	id := w.swap()
	w.kept = nil
	w.onSwapDone(id)
	return id
}

func (w *world) bringUp(model uint64) {
	r := w.request(w.names[model])
	measure.Check(w.target == w.names[model], "no swap was begun")
	w.swapDone()
	measure.Check(isGranted(r), "the request that the swap was for is not granted")
	w.busy = append(w.busy, r)
}

// As if the requests had come one by one, which would take a while.
func (w *world) fill(queued uint64) {
	w.waiting = make([]*request, queued)
	for i := range w.waiting {
		w.waiting[i] = newRequest(w.names[w.randomModel(0)])
	}
	w.queued = append(make([]*request, 0, queued), w.waiting...)
	w.broadcast()
}

func (w *world) position(r *request) uint64 {
	for i, each := range w.queued {
		if each == r {
			return uint64(i) + 1
		}
	}
	return 0
}

func readyWorkload(a measure.Arguments, w *world) measure.Figures {
	w.fill(a["queued"])
	return measure.RunTogether(a["items"], func() {
		for left := a["items"]; left != 0; left-- {
			r := w.request(w.names[0])
			measure.Check(isGranted(r), "ready: not granted")
			w.onServeDone(r.model)
		}
	})
}

func unrelated(a measure.Arguments, w *world) measure.Figures {
	w.fill(a["queued"])
	figures := measure.RunTogether(a["items"], func() {
		for left := a["items"]; left != 0; left-- {
			r := w.request(w.bystander())
			measure.Check(isGranted(r), "unrelated: not granted")
			w.onServeDone(r.model)
		}
	})
	measure.Check(w.target == "", "unrelated: a swap was begun")
	return figures
}

func comeAndGo(a measure.Arguments, w *world) measure.Figures {
	w.fill(a["queued"])
	figures := measure.RunTogether(a["items"], func() {
		for left := a["items"]; left != 0; left-- {
			i := w.mixer.below(a["queued"])
			w.onCancel(w.waiting[i])
			w.waiting[i] = w.request(w.names[w.randomModel(0)])
		}
	})
	measure.Check(uint64(len(w.queued)) == a["queued"], "come_and_go: the queue is of another length")
	return figures
}

// With pushes, the place is in the channel already.
func position(a measure.Arguments, w *world) measure.Figures {
	w.fill(a["queued"])
	sum := uint64(0)
	figures := measure.RunTogether(a["items"], func() {
		for left := a["items"]; left != 0; left-- {
			sum += w.position(w.waiting[w.mixer.below(a["queued"])])
		}
	})
	measure.Check(sum >= a["items"], "position: somebody has none")
	return figures
}

func life(a measure.Arguments, w *world) measure.Figures {
	w.fill(a["queued"])
	waiting := map[string][]*request{}
	for _, r := range w.waiting {
		waiting[r.model] = append(waiting[r.model], r)
	}
	numbers := map[string]uint64{}
	for i, name := range w.names {
		numbers[name] = uint64(i)
	}
	served := uint64(0)
	figures := measure.RunTogether(a["items"], func() {
		for served < a["items"] {
			for _, r := range w.busy {
				w.onServeDone(r.model)
			}
			measure.Check(w.target != "", "life: nobody comes next")
			next := w.swapDone()
			w.busy, waiting[next] = waiting[next], nil
			for _, r := range w.busy {
				measure.Check(isGranted(r), "life: not granted")
			}
			for left := len(w.busy); left != 0; left-- {
				name := w.names[w.randomModel(numbers[next])]
				waiting[name] = append(waiting[name], w.request(name))
			}
			served += uint64(len(w.busy))
		}
	})
	figures.Items = served
	return figures
}

func heap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

func memory(a measure.Arguments, w *world) measure.Figures {
	before := heap()
	figures := measure.RunTogether(a["queued"], func() { w.fill(a["queued"]) })
	w.waiting = nil
	figures.More += fmt.Sprintf(" bytes=%.2f", float64(heap()-before)/float64(a["queued"]))
	runtime.KeepAlive(w)
	return figures
}

var workloads = map[string]func(measure.Arguments, *world) measure.Figures{
	"ready":       readyWorkload,
	"unrelated":   unrelated,
	"come_and_go": comeAndGo,
	"position":    position,
	"life":        life,
	"memory":      memory,
}

// `published_` is the scheduler as published; without it, positions are asked for, and the running models are kept.
func main() {
	measure.Main(0, func(name string, a measure.Arguments) measure.Workload {
		rest := strings.TrimPrefix(name, "published_")
		published := rest != name
		if rest == "serve" {
			return func(a measure.Arguments) measure.Figures { return serve(a, published, !published) }
		}
		workload := workloads[rest]
		if workload == nil || published && rest == "position" {
			return nil
		}
		return func(a measure.Arguments) measure.Figures { return workload(a, newWorld(a, published, !published)) }
	})
}
