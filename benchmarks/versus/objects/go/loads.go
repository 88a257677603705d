// SPDX-License-Identifier: MIT

package main

import (
	"fmt"
	"runtime"

	"versus/measure"
)

// How many objects are needed at once: up to low, for a while up to high, then up to low again.
type demand struct{ low, high, random uint64 }

// The size of the burst that begins with get number `number`, of `each`.
func (d *demand) next(number, each uint64) uint64 {
	most := d.low
	if number/phase%2 != 0 {
		most = d.high
	}
	d.random = d.random*6364136223846793005 + 1442695040888963407
	size := 1 + (d.random>>33)%most
	if size > each-number {
		return each - number
	}
	return size
}

func withMisses(f measure.Figures, p *pool, gets uint64) measure.Figures {
	f.More = fmt.Sprintf(" misses_per_1000=%.2f", 1000*float64(p.made)/float64(gets))
	return f
}

// The pool is purged by the garbage collector, which the first goroutine runs now and then.
func bursts(low, high uint64) func(measure.Arguments) measure.Figures {
	return func(a measure.Arguments) measure.Figures {
		p, each, parties := newPool(false), a["items"], a["producers"]
		figures := together(each, parties, func(party uint64) (own uint64) {
			d, held, purgeAt := demand{low, high, party}, make([]*object, 0, high), purge/parties
			for number := uint64(0); number != each; {
				for left := d.next(number, each); left != 0; left-- {
					o := p.get()
					o.words[0] = number
					held = append(held, o)
					number++
				}
				for i, o := range held {
					own += o.words[0]
					p.put(o)
					held[i] = nil
				}
				held = held[:0]
				if number >= purgeAt {
					purgeAt += purge / parties
					if party == 0 {
						runtime.GC()
					}
				}
			}
			return own
		})
		return withMisses(figures, p, each*parties)
	}
}

func crossedBursts(low, high uint64) func(measure.Arguments) measure.Figures {
	return func(a measure.Arguments) measure.Figures {
		p, each, pairs := newPool(false), a["items"], a["producers"]/2
		figures := overBelts(each, pairs, p, false, func(pair uint64, b *belt) {
			d, purgeAt := demand{low, high, pair}, purge/pairs
			for number := uint64(0); number != each; {
				for left := d.next(number, each); left != 0; left-- {
					o := p.get()
					o.words[0] = number
					b.put(o)
					number++
				}
				b.flush()
				yield()
				if number >= purgeAt {
					purgeAt += purge / pairs
					if pair == 0 {
						runtime.GC()
					}
				}
			}
		})
		return withMisses(figures, p, each*pairs)
	}
}

func counting(workload func(measure.Arguments, bool) measure.Figures, counted bool) measure.Workload {
	return func(a measure.Arguments) measure.Figures { return workload(a, counted) }
}

var workloads = map[string]measure.Workload{
	"one":             counting(one, false),
	"many":            counting(many, false),
	"crossed":         counting(crossed, false),
	"counted_one":     counting(one, true),
	"counted_many":    counting(many, true),
	"counted_crossed": counting(crossed, true),
	"channels":        bursts(1, 8),
	"messages":        bursts(8, 64),
	"responses":       crossedBursts(32, 256),
}

func main() {
	measure.Main(0, func(name string, _ measure.Arguments) measure.Workload { return workloads[name] })
}
