// SPDX-License-Identifier: MIT

package main

import (
	"fmt"
	"math"
	"runtime"
	"sort"
	"sync/atomic"
	"time"

	"versus/measure"
)

var workloads = map[string]measure.Workload{
	"bulk":                bulk,
	"results":             results,
	"tree":                tree,
	"work":                work,
	"idle_start":          idleStart,
	"idle_pool":           idlePool,
	"head_of_line":        headOfLine,
	"coroutines":          goroutines,
	"coroutines_schedule": yieldingGoroutines,
}

// Counts jobs down; the last one says when that was.
type countdown struct {
	left int64
	end  uint64
	done chan struct{}
}

func newCountdown(count uint64) *countdown {
	return &countdown{left: int64(count), done: make(chan struct{})}
}

func (c *countdown) hit() {
	if atomic.AddInt64(&c.left, -1) == 0 {
		c.end = measure.NowNs()
		close(c.done)
	}
}

func (c *countdown) wait() uint64 {
	<-c.done
	return c.end
}

// Runs some jobs and waits until all is quiet, so that what a pool does the first time is not measured.
func settle(p pool) {
	c := newCountdown(1000)
	for left := 1000; left != 0; left-- {
		p.run(c.hit)
	}
	c.wait()
	measure.SleepNs(10000000)
}

func itemsForAll(a measure.Arguments, parties uint64) uint64 {
	return (a["items"] + parties - 1) / parties * parties
}

func times(count uint64, worker func()) (workers []func()) {
	for ; count != 0; count-- {
		workers = append(workers, worker)
	}
	return workers
}

// a["producers"] goroutines call submit `items` times together.
func submitTogether(a measure.Arguments, p pool, items uint64, c *countdown, submit func()) measure.Figures {
	settle(p)
	return measure.RunTogetherAnd(c.wait, items, times(a["producers"], func() {
		for left := items / a["producers"]; left != 0; left-- {
			submit()
		}
	})...)
}

// Each job is a function value of its own, which Go allocates; with reuse=1 all are the same one.
func bulk(a measure.Arguments) measure.Figures {
	items := itemsForAll(a, a["producers"])
	c, p := newCountdown(items), newPool(a)
	defer p.close()
	if a["reuse"] != 0 {
		job := func() { c.hit() }
		return submitTogether(a, p, items, c, func() { p.run(job) })
	}
	return submitTogether(a, p, items, c, func() { p.run(func() { c.hit() }) })
}

// Each of those who submit has one channel for the results of all its jobs; with result_channels=1 each job has its
// own.
func results(a measure.Arguments) measure.Figures {
	const window = 100
	items, total, p := itemsForAll(a, a["producers"]), uint64(0), newPool(a)
	defer p.close()
	settle(p)
	shared := func(share uint64) (own uint64) {
		answers := make(chan int, window)
		for next := uint64(0); next != share; {
			submitted := 0
			for ; submitted != window && next != share; next++ {
				number := int(next)
				p.run(func() { answers <- number })
				submitted++
			}
			for ; submitted != 0; submitted-- {
				own += uint64(<-answers)
			}
		}
		return own
	}
	single := func(share uint64) (own uint64) {
		answers := make([]chan int, 0, window)
		for next := uint64(0); next != share; answers = answers[:0] {
			for ; len(answers) != window && next != share; next++ {
				number, answer := int(next), make(chan int, 1)
				p.run(func() { answer <- number })
				answers = append(answers, answer)
			}
			for _, answer := range answers {
				own += uint64(<-answer)
			}
		}
		return own
	}
	f := measure.RunTogether(items, times(a["producers"], func() {
		share := items / a["producers"]
		if a["result_channels"] != 0 {
			atomic.AddUint64(&total, single(share))
		} else {
			atomic.AddUint64(&total, shared(share))
		}
	})...)
	share := items / a["producers"]
	measure.Check(2*total == a["producers"]*share*(share-1), "results: the sum is wrong")
	return f
}

// A `go` statement for each item.
func goroutines(a measure.Arguments) measure.Figures {
	a["statement"] = 1
	return bulk(a)
}

// The same; each lets others go first once.
func yieldingGoroutines(a measure.Arguments) measure.Figures {
	items := itemsForAll(a, a["producers"])
	c, p := newCountdown(items), statement{}
	return submitTogether(a, p, items, c, func() {
		p.run(func() {
			runtime.Gosched()
			c.hit()
		})
	})
}

func tree(a measure.Arguments) measure.Figures {
	items := a["items"]
	a["capacity"] = items
	if items < 1024 {
		a["capacity"] = 1024
	}
	c, p := newCountdown(items), newPool(a)
	defer p.close()
	var job func(size uint64)
	job = func(size uint64) {
		one := (size - 1) / 2
		other := size - 1 - one
		if one != 0 {
			p.run(func() { job(one) })
		}
		if other != 0 {
			p.run(func() { job(other) })
		}
		c.hit()
	}
	settle(p)
	return measure.RunTogetherAnd(c.wait, items, func() { p.run(func() { job(items) }) })
}

// Arithmetic that the compiler does not shorten.
//
//go:noinline
func calculate(rounds uint64) (value uint64) {
	for value = 1; rounds != 0; rounds-- {
		value = value*6364136223846793005 + 1
	}
	return value
}

func roundsFor(ns uint64) uint64 {
	const rounds = 1000000
	best := ^uint64(0)
	for i := 0; i != 10; i++ {
		begin := measure.NowNs()
		calculate(rounds)
		if took := measure.NowNs() - begin; took < best {
			best = took
		}
	}
	return ns * rounds / best
}

func work(a measure.Arguments) measure.Figures {
	parties := uint64(runtime.GOMAXPROCS(0))
	if a["workers"] < parties {
		parties = a["workers"]
	}
	items, rounds := itemsForAll(a, 2*parties*a["producers"]), roundsFor(a["ns"])
	halfNs := func() float64 {
		return measure.RunTogether(items/2, times(parties, func() {
			for left := items / 2 / parties; left != 0; left-- {
				calculate(rounds)
			}
		})...).WallNs
	}
	ideal := halfNs()
	c, p := newCountdown(items), newPool(a)
	f := submitTogether(a, p, items, c, func() {
		p.run(func() {
			calculate(rounds)
			c.hit()
		})
	})
	p.close()
	f.More = fmt.Sprintf(" ideal_percent=%.2f", 50*f.WallNs/math.Min(ideal, halfNs()))
	return f
}

func idleStart(a measure.Arguments) measure.Figures {
	items := a["items"]
	c, p, latencies := newCountdown(items), newPool(a), make([]uint64, items)
	defer p.close()
	settle(p)
	f := measure.RunTogetherAnd(c.wait, items, func() {
		for i := range latencies {
			latency := &latencies[i]
			measure.SleepNs(a["gap_us"] * 1000)
			submitted := measure.NowNs()
			p.run(func() {
				*latency = measure.NowNs() - submitted
				c.hit()
			})
		}
	})
	f.AddQuantiles(latencies)
	return f
}

func idlePool(a measure.Arguments) measure.Figures {
	p := newPool(a)
	defer p.close()
	settle(p)
	measure.SleepNs(20000000)
	before, begin := measure.UsageNow(), measure.NowNs()
	measure.SleepNs(a["items"] * 1000000)
	return measure.FiguresOf(a["items"], begin, measure.NowNs(), before, measure.UsageNow())
}

func headOfLine(a measure.Arguments) measure.Figures {
	const short = 19
	items, p := itemsForAll(a, short), newPool(a)
	defer p.close()
	settle(p)
	var sets []uint64
	f := measure.RunTogether(items, func() {
		for uint64(len(sets)) != items/short {
			calledOff, longOne, shortOnes := make(chan struct{}), newCountdown(1), newCountdown(short)
			begin := measure.NowNs()
			p.run(func() {
				select {
				case <-calledOff:
				case <-time.After(2 * time.Second):
				}
				longOne.hit()
			})
			for left := short; left != 0; left-- {
				p.run(func() {
					measure.SleepNs(1000000)
					shortOnes.hit()
				})
			}
			sets = append(sets, shortOnes.wait()-begin)
			close(calledOff)
			longOne.wait()
		}
	})
	sort.Slice(sets, func(i, j int) bool { return sets[i] < sets[j] })
	f.More = fmt.Sprintf(" set_ns=%d", sets[len(sets)-1])
	return f
}
