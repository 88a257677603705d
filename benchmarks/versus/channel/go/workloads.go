// SPDX-License-Identifier: MIT

package main

import (
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"

	"versus/measure"
)

func workloads[T value]() map[string]measure.Workload {
	return map[string]measure.Workload{
		"throughput":       throughput[T],
		"self":             self[T],
		"ping_pong":        pingPong[T],
		"wake":             wake[T],
		"idle":             idle[T],
		"tasks_throughput": throughput[T],
		"tasks_ping_pong":  pingPong[T],
		"memory":           memory[T],
	}
}

func throughput[T value](a measure.Arguments) measure.Figures {
	producers, consumers := a["producers"], a["consumers"]
	unit := producers * consumers
	items := (a["items"] + unit - 1) / unit * unit
	queue := make(chan T, a["capacity"])
	var total uint64
	var workers []func()
	for i := uint64(0); i < consumers; i++ {
		workers = append(workers, func() {
			own := uint64(0)
			for left := items / consumers; left != 0; left-- {
				own += sum(<-queue)
			}
			atomic.AddUint64(&total, own)
		})
	}
	for i := uint64(0); i < producers; i++ {
		workers = append(workers, func() {
			for number := uint64(0); number < items/producers; number++ {
				queue <- of[T](number)
			}
		})
	}
	f := measure.RunTogether(items, workers...)
	measure.Check(total == producers*sumOfFirst(items/producers), "throughput: the sum is wrong")
	return f
}

func self[T value](a measure.Arguments) measure.Figures {
	queue, items, total := make(chan T, a["capacity"]), a["items"], uint64(0)
	f := measure.RunTogether(items, func() {
		for number := uint64(0); number < items; number++ {
			queue <- of[T](number)
			total += sum(<-queue)
		}
	})
	measure.Check(total == sumOfFirst(items), "self: the sum is wrong")
	return f
}

func pingPong[T value](a measure.Arguments) measure.Figures {
	there, back := make(chan T, a["capacity"]), make(chan T, a["capacity"])
	items, total := a["items"], uint64(0)
	f := measure.RunTogether(items, func() {
		for number := uint64(0); number < items; number++ {
			there <- of[T](number)
			total += sum(<-back)
		}
	}, func() {
		for left := items; left != 0; left-- {
			back <- <-there
		}
	})
	measure.Check(total == sumOfFirst(items), "ping_pong: the sum is wrong")
	return f
}

func wake[T value](a measure.Arguments) measure.Figures {
	queue, items := make(chan T, a["capacity"]), a["items"]
	latencies := make([]uint64, 0, items)
	f := measure.RunTogether(items, func() {
		for left := items; left != 0; left-- {
			sent := (<-queue)[0]
			latencies = append(latencies, measure.NowNs()-sent)
		}
	}, func() {
		for left := items; left != 0; left-- {
			measure.SleepNs(a["gap_us"] * 1000)
			queue <- of[T](measure.NowNs())
		}
	})
	f.AddQuantiles(latencies)
	return f
}

func idle[T value](a measure.Arguments) measure.Figures {
	queue, done := make(chan T, a["capacity"]), make(chan uint64)
	go func() { done <- sum(<-queue) }()
	measure.SleepNs(20000000)
	before, begin := measure.UsageNow(), measure.NowNs()
	measure.SleepNs(a["items"] * 1000000)
	after, end := measure.UsageNow(), measure.NowNs()
	queue <- of[T](1)
	measure.Check(<-done == 2, "idle: the value is wrong")
	return measure.FiguresOf(a["items"], begin, end, before, after)
}

// An empty channel, and `items` goroutines that wait on one each: all that the runtime took from the system for them.
func memory[T value](a measure.Arguments) measure.Figures {
	taken := func() (heap, all uint64) {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc, m.HeapInuse + m.StackInuse
	}
	channels := make([]chan T, 100000)
	before, _ := taken()
	for i := range channels {
		channels[i] = make(chan T)
	}
	after, _ := taken()
	channel := float64(after-before) / float64(len(channels))
	queue, items := make(chan T), a["items"]
	_, before = taken()
	var started sync.WaitGroup
	for i := uint64(0); i < items; i++ {
		started.Add(1)
		go func() {
			started.Done()
			<-queue
		}()
	}
	started.Wait()
	_, after = taken()
	runtime.KeepAlive(channels)
	return measure.Figures{Items: items, More: fmt.Sprintf(" channel_bytes=%.2f coroutine_bytes=%.2f",
		channel, float64(after-before)/float64(items))}
}
