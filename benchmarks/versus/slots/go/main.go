// SPDX-License-Identifier: MIT

// The workloads are those of ../../cpp/slot_workloads.hpp.
package main

import (
	"runtime"
	"strings"
	"sync/atomic"
	"time"

	"versus/measure"
)

type maker func(slots uint64) queue

var kinds = map[string]maker{
	"cond":    func(uint64) queue { return newCondQueue() },
	"channel": func(slots uint64) queue { return make(channelQueue, slots) },
	"sql":     func(slots uint64) queue { return newSQLQueue(slots) },
}

func reuse(a measure.Arguments, make maker) measure.Figures {
	threads, idle := a["producers"], a["capacity"]
	each := (a["items"] + threads - 1) / threads
	q := make(idle)
	for slot := uint64(1); slot <= idle; slot++ {
		q.offer(slot)
	}
	var count uint64
	var workers []func()
	for i := uint64(0); i != threads; i++ {
		workers = append(workers, func() {
			own := uint64(0)
			for left := each; left != 0; left-- {
				l, open := q.acquire()
				if open && l.slot != 0 {
					own++
				}
				q.release(l)
			}
			atomic.AddUint64(&count, own)
		})
	}
	figures := measure.RunTogether(each*threads, workers...)
	measure.Check(count == each*threads, "reuse: there was no slot")
	return figures
}

type ejector interface{ eject(token uint64) bool }

func life(a measure.Arguments, make maker) measure.Figures {
	q := make(a["capacity"])
	e := q.(ejector)
	for left := a["capacity"]; left != 0; left-- {
		q.offer(0)
	}
	sum := uint64(0)
	figures := measure.RunTogether(a["items"], func() {
		for number := uint64(0); number != a["items"]; number++ {
			token := q.offer(number)
			l, _ := q.acquire()
			sum += l.slot
			q.release(l)
			measure.Check(e.eject(token), "life: the slot was not ejected")
		}
	})
	measure.Check(2*sum == a["items"]*(a["items"]-1), "life: the sum is wrong")
	return figures
}

func ejectOldest(a measure.Arguments, create maker) measure.Figures {
	idle := a["capacity"]
	q := create(idle)
	e, tokens := q.(ejector), make([]uint64, idle)
	for i := range tokens {
		tokens[i] = q.offer(uint64(i))
	}
	ejected := uint64(0)
	figures := measure.RunTogether(a["items"], func() {
		oldest := uint64(0)
		for number := uint64(0); number != a["items"]; number++ {
			if e.eject(tokens[oldest]) {
				ejected++
			}
			tokens[oldest] = q.offer(number)
			if oldest++; oldest == idle {
				oldest = 0
			}
		}
	})
	measure.Check(ejected == a["items"], "eject_oldest: a slot was not ejected")
	l, _ := q.acquire()
	measure.Check(l.slot == a["items"]-1, "eject_oldest: the newest slot is another one")
	return figures
}

func offerToWaiters(a measure.Arguments, create maker) measure.Figures {
	waiters := a["consumers"] + 1 // one of them may be on its way back
	q, got := create(1), make(chan uint64, 1)
	counted, wakesAll := q.(interface{ waiting() uint64 })
	sum, here := uint64(0), uint64(0)
	for left := waiters; left != 0; left-- {
		go func() {
			atomic.AddUint64(&here, 1)
			for {
				l, open := q.acquire()
				if !open {
					return
				}
				q.retire(l)
				got <- l.slot
			}
		}()
	}
	for atomic.LoadUint64(&here) != waiters {
		time.Sleep(time.Millisecond)
	}
	measure.SleepNs(20000000 + 5000*waiters)
	figures := measure.RunTogether(a["items"], func() {
		for number := uint64(1); number <= a["items"]; number++ {
			for wakesAll && counted.waiting() < a["consumers"] {
				runtime.Gosched()
			}
			q.offer(number)
			sum += <-got
		}
	})
	q.close()
	measure.Check(2*sum == a["items"]*(a["items"]+1), "offer_to_waiters: the sum is wrong")
	return figures
}

func handOver(a measure.Arguments, create maker) measure.Figures {
	q, latencies := create(1), make([]uint64, a["items"])
	figures := measure.RunTogether(a["items"], func() {
		for i := range latencies {
			l, _ := q.acquire()
			latencies[i] = measure.NowNs() - l.slot
			q.retire(l)
		}
	}, func() {
		for range latencies {
			measure.SleepNs(a["gap_us"] * 1000)
			q.offer(measure.NowNs())
		}
	})
	figures.AddQuantiles(latencies)
	return figures
}

var workloads = map[string]func(measure.Arguments, maker) measure.Figures{
	"reuse":            reuse,
	"life":             life,
	"eject_oldest":     ejectOldest,
	"offer_to_waiters": offerToWaiters,
	"hand_over":        handOver,
}

// A name is that of a kind of queue, '_' and that of a workload.
func main() {
	measure.Main(0, func(name string, a measure.Arguments) measure.Workload {
		kind, rest, _ := strings.Cut(name, "_")
		create, workload := kinds[kind], workloads[rest]
		if create == nil || workload == nil {
			return nil
		}
		if _, ejects := create(1).(ejector); !ejects && (rest == "life" || rest == "eject_oldest") {
			return nil
		}
		return func(a measure.Arguments) measure.Figures { return workload(a, create) }
	})
}
