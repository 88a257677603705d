// SPDX-License-Identifier: MIT

// sync.Pool, with counts that all goroutines share and without. The workloads are those of ../../cpp/object_workloads.hpp.
package main

import (
	"runtime"
	"sync"
	"sync/atomic"

	"versus/measure"
)

type object struct{ words [128]uint64 }

type pool struct {
	objects sync.Pool
	counted bool
	made    uint64
	_       [128]byte
	gets    uint64
	puts    uint64
}

func newPool(counted bool) *pool {
	p := &pool{counted: counted}
	p.objects.New = func() any {
		atomic.AddUint64(&p.made, 1)
		return new(object)
	}
	return p
}

func (p *pool) get() *object {
	if p.counted {
		atomic.AddUint64(&p.gets, 1)
	}
	return p.objects.Get().(*object)
}

func (p *pool) put(o *object) {
	if p.counted {
		atomic.AddUint64(&p.puts, 1)
	}
	p.objects.Put(o)
}

// Has each of `parties` goroutines run what worker returns for it. All together return the sum that they came to.
func together(each, parties uint64, worker func(party uint64) uint64) measure.Figures {
	var sum uint64
	var workers []func()
	for party := uint64(0); party != parties; party++ {
		party := party
		workers = append(workers, func() { atomic.AddUint64(&sum, worker(party)) })
	}
	figures := measure.RunTogether(each, workers...)
	measure.Check(2*sum == parties*each*(each-1), "the sum is wrong")
	return figures
}

func one(a measure.Arguments, counted bool) measure.Figures {
	p := newPool(counted)
	return together(a["items"], a["producers"], func(uint64) (own uint64) {
		for number := uint64(0); number != a["items"]; number++ {
			o := p.get()
			o.words[0] = number
			own += o.words[0]
			p.put(o)
		}
		return own
	})
}

func many(a measure.Arguments, counted bool) measure.Figures {
	p, batch := newPool(counted), a["batch"]
	each := (a["items"] + batch - 1) / batch * batch
	return together(each, a["producers"], func(uint64) (own uint64) {
		held := make([]*object, batch)
		for number := uint64(0); number != each; {
			for i := range held {
				held[i] = p.get()
				held[i].words[0] = number
				number++
			}
			for i, o := range held {
				own += o.words[0]
				p.put(o)
				held[i] = nil
			}
		}
		return own
	})
}

// Half of the goroutines get objects, by filling a belt each; the others return what comes on it.
// With pinned each has a thread of its own, on one processor or the other, as it is in C++.
func overBelts(each, pairs uint64, p *pool, pinned bool, fill func(pair uint64, b *belt)) measure.Figures {
	pin := func(int) func() { return func() {} }
	if pinned {
		runtime.GOMAXPROCS(int(2 * pairs))
		pin, yield = pinToOneProcessor, yieldThread
	}
	belts := make([]belt, pairs)
	var sum uint64
	var workers []func()
	for pair := uint64(0); pair != pairs; pair++ {
		pair, b := pair, &belts[pair]
		workers = append(workers, func() {
			defer pin(0)()
			fill(pair, b)
		}, func() {
			defer pin(1)()
			own := uint64(0)
			for left := each; left != 0; left-- {
				o := b.take()
				own += o.words[0]
				p.put(o)
			}
			atomic.AddUint64(&sum, own)
		})
	}
	figures := measure.RunTogether(each, workers...)
	measure.Check(2*sum == pairs*each*(each-1), "the sum is wrong")
	return figures
}

func crossed(a measure.Arguments, counted bool) measure.Figures {
	p := newPool(counted)
	return overBelts(a["items"], a["producers"]/2, p, true, func(_ uint64, b *belt) {
		for number := uint64(0); number != a["items"]; number++ {
			o := p.get()
			o.words[0] = number
			b.put(o)
		}
		b.flush()
	})
}
