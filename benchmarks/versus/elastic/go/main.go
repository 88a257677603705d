// SPDX-License-Identifier: MIT

// Pools in Go: goroutines that receive from a channel without a buffer, one more whenever none of them waits there, and
// now and then a poison pill for one of them; or with statement=1 no pool, but a `go` statement for each function. The
// workloads are those of ../../cpp/elastic_workloads.hpp.
package main

import (
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"versus/measure"
)

type pool interface {
	run(job func())
	close()
}

type statement struct{}

func (statement) run(job func()) { go job() }
func (statement) close()         {}

const (
	pillEvery = 2 * time.Second
	pillAfter = 10 // such times without a new worker
	pillFloor = 3  // workers that stay
)

type pillPool struct {
	jobs      chan func() // nil is a pill
	quit      chan struct{}
	workers   int64
	killClock int64
}

func newPillPool() *pillPool {
	p := &pillPool{jobs: make(chan func()), quit: make(chan struct{})}
	go p.kill()
	return p
}

func (p *pillPool) run(job func()) {
	select {
	case p.jobs <- job:
	default:
		atomic.StoreInt64(&p.killClock, 0)
		atomic.AddInt64(&p.workers, 1)
		go p.work(job)
	}
}

func (p *pillPool) work(job func()) {
	for job != nil {
		job()
		job = <-p.jobs
	}
	atomic.AddInt64(&p.workers, -1)
}

func (p *pillPool) kill() {
	ticker := time.NewTicker(pillEvery)
	defer ticker.Stop()
	for {
		select {
		case <-p.quit:
			return
		case <-ticker.C:
			if atomic.AddInt64(&p.killClock, 1) > pillAfter && atomic.LoadInt64(&p.workers) > pillFloor {
				p.jobs <- nil
			}
		}
	}
}

func (p *pillPool) close() {
	close(p.quit)
	close(p.jobs) // whoever receives from it gets nil
}

func newPool(a measure.Arguments) pool {
	if a["statement"] != 0 {
		return statement{}
	}
	return newPillPool()
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

func idleStart(a measure.Arguments) measure.Figures {
	p, settled := newPool(a), newCountdown(1000)
	defer p.close()
	for left := 1000; left != 0; left-- {
		p.run(settled.hit)
	}
	settled.wait()
	measure.SleepNs(10000000)
	c, latencies := newCountdown(a["items"]), make([]uint64, a["items"])
	f := measure.RunTogetherAnd(c.wait, a["items"], func() {
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

// `threads` are goroutines here; one in 64 times the submitter counts them.
func tiny(a measure.Arguments) measure.Figures {
	p, c, most := newPool(a), newCountdown(a["items"]), 0
	defer p.close()
	before := runtime.NumGoroutine()
	count := func() {
		if now := runtime.NumGoroutine() - before; now > most {
			most = now
		}
	}
	f := measure.RunTogetherAnd(func() uint64 {
		end := c.wait()
		count()
		return end
	}, a["items"], func() {
		for left := a["items"]; left != 0; left-- {
			p.run(func() { c.hit() })
			if left%64 == 0 {
				count()
			}
		}
	})
	f.More = fmt.Sprintf(" threads=%d", most)
	return f
}

func burstIn(p pool, jobs uint64) measure.Figures {
	started, gate := newCountdown(jobs), make(chan struct{})
	var ended sync.WaitGroup
	ended.Add(int(jobs))
	f := measure.RunTogetherAnd(started.wait, jobs, func() {
		for left := jobs; left != 0; left-- {
			p.run(func() {
				started.hit()
				<-gate
				ended.Done()
			})
		}
	})
	close(gate)
	ended.Wait()
	return f
}

func burst(a measure.Arguments) measure.Figures {
	p := newPool(a)
	defer p.close()
	return burstIn(p, a["items"])
}

func secondBurst(a measure.Arguments) measure.Figures {
	p := newPool(a)
	defer p.close()
	burstIn(p, a["items"])
	measure.SleepNs(20000000)
	return burstIn(p, a["items"])
}

func idleWorkers(a measure.Arguments) measure.Figures {
	p := newPool(a)
	defer p.close()
	burstIn(p, a["workers"])
	measure.SleepNs(20000000)
	before, begin := measure.UsageNow(), measure.NowNs()
	measure.SleepNs(a["items"] * 1000000)
	return measure.FiguresOf(a["items"], begin, measure.NowNs(), before, measure.UsageNow())
}

var workloads = map[string]measure.Workload{
	"idle_start":   idleStart,
	"tiny":         tiny,
	"burst":        burst,
	"second_burst": secondBurst,
	"idle_workers": idleWorkers,
}

func main() {
	measure.Main(0, func(name string, _ measure.Arguments) measure.Workload { return workloads[name] })
}
