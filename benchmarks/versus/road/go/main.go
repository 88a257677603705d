// SPDX-License-Identifier: MIT

// What stands in a provider's road, in Go: eapache/go-resiliency's breaker, golang.org/x/time/rate, juju/ratelimit and
// golang.org/x/sync/semaphore. The workloads are those of ../../cpp/road_workloads.hpp.
package main

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/juju/ratelimit"
	"golang.org/x/sync/semaphore"
	"golang.org/x/time/rate"
	"gopkg.in/eapache/go-resiliency.v1/breaker"

	"versus/measure"
)

// a["producers"] goroutines make the calls, which are all let through, or all refused. An item is a call.
func calls(letThrough bool, gate func(measure.Arguments) func() bool) measure.Workload {
	return func(a measure.Arguments) measure.Figures {
		threads := a["producers"]
		each := (a["items"] + threads - 1) / threads
		call := gate(a)
		var sum uint64
		var workers []func()
		for i := uint64(0); i != threads; i++ {
			workers = append(workers, func() {
				own := uint64(0)
				for left := each; left != 0; left-- {
					if call() {
						own++
					}
				}
				atomic.AddUint64(&sum, own)
			})
		}
		figures := measure.RunTogether(each*threads, workers...)
		expected := uint64(0)
		if letThrough {
			expected = each * threads
		}
		measure.Check(sum == expected, "calls: a wrong number was let through")
		return figures
	}
}

func nothing() error { return nil }

func closedBreaker(measure.Arguments) func() bool {
	b := breaker.New(100, 10, time.Minute)
	return func() bool { return b.Run(nothing) == nil }
}

func openBreaker(measure.Arguments) func() bool {
	b := breaker.New(1, 1, time.Hour)
	_ = b.Run(func() error { return errors.New("down") })
	return func() bool { return b.Run(nothing) == nil }
}

func plenty(measure.Arguments) func() bool { return rate.NewLimiter(1e9, 1e9).Allow }

func few(measure.Arguments) func() bool {
	l := rate.NewLimiter(1e-3, 1)
	l.Allow()
	return l.Allow
}

func jujuPlenty(measure.Arguments) func() bool {
	b := ratelimit.NewBucketWithRate(1e9, 1e9)
	return func() bool { return b.TakeAvailable(1) == 1 }
}

func jujuFew(measure.Arguments) func() bool {
	b := ratelimit.NewBucketWithRate(1e-3, 1)
	b.TakeAvailable(1)
	return func() bool { return b.TakeAvailable(1) == 1 }
}

func weighted(a measure.Arguments) func() bool {
	s := semaphore.NewWeighted(int64(a["capacity"]))
	ctx := context.Background()
	return func() bool {
		if s.Acquire(ctx, 1) != nil {
			return false
		}
		s.Release(1)
		return true
	}
}

func channel(a measure.Arguments) func() bool {
	free := make(chan struct{}, a["capacity"])
	return func() bool {
		free <- struct{}{}
		<-free
		return true
	}
}

var workloads = map[string]measure.Workload{
	"breaker":           calls(true, closedBreaker),
	"breaker_open":      calls(false, openBreaker),
	"rate":              calls(true, plenty),
	"rate_refused":      calls(false, few),
	"rate_juju":         calls(true, jujuPlenty),
	"rate_juju_refused": calls(false, jujuFew),
	"limiter":           calls(true, weighted),
	"limiter_channel":   calls(true, channel),
}

func main() {
	measure.Main(0, func(name string, _ measure.Arguments) measure.Workload { return workloads[name] })
}
