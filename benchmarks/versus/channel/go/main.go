// SPDX-License-Identifier: MIT

// Go's channels. The workloads are those of ../../cpp/thread_workloads.hpp, on goroutines; `processors` is GOMAXPROCS.
package main

import (
	"fmt"
	"os"
	"runtime"
	"sort"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// What travels: 8 or 64 bytes whose first and last word are checked at the other end.
type value interface{ [1]uint64 | [8]uint64 }

func of[T value](number uint64) (v T) {
	v[0], v[len(v)-1] = number, number
	return v
}

func sum[T value](v T) uint64 { return v[0] + v[len(v)-1] }

func sumOfFirst(count uint64) uint64 { return count * (count - 1) }

func check(condition bool, what string) {
	if !condition {
		fmt.Fprintln(os.Stderr, what)
		os.Exit(1)
	}
}

var begun = time.Now()

func nowNs() uint64 { return uint64(time.Since(begun)) }

type usage struct{ cpuNs, switches float64 }

func usageNow() usage {
	var r syscall.Rusage
	check(syscall.Getrusage(syscall.RUSAGE_SELF, &r) == nil, "getrusage failed")
	return usage{float64(r.Utime.Nano() + r.Stime.Nano()), float64(r.Nvcsw)}
}

// What a workload came to; the times are of all items.
type figures struct {
	items, wallNs float64
	used          usage
	more          string
}

func (f figures) print() {
	fmt.Printf("items=%.0f wall_ns=%.2f cpu_ns=%.2f switches=%.5f%s\n",
		f.items, f.wallNs/f.items, f.used.cpuNs/f.items, f.used.switches/f.items, f.more)
}

func (f *figures) addQuantiles(latencies []uint64) {
	sort.Slice(latencies, func(i, j int) bool { return latencies[i] < latencies[j] })
	f.more += fmt.Sprintf(" p50_ns=%d p99_ns=%d", latencies[len(latencies)/2], latencies[len(latencies)*99/100])
}

// Runs each of workers in a goroutine of its own, all from the same moment on; from the first begin to the last end.
func runTogether(items uint64, workers ...func()) figures {
	begins, ends := make([]uint64, len(workers)), make([]uint64, len(workers))
	start := make(chan struct{})
	var ready, done sync.WaitGroup
	for i := range workers {
		i := i
		ready.Add(1)
		done.Add(1)
		go func() {
			defer done.Done()
			ready.Done()
			<-start
			begins[i] = nowNs()
			workers[i]()
			ends[i] = nowNs()
		}()
	}
	ready.Wait()
	before := usageNow()
	close(start)
	done.Wait()
	after := usageNow()
	begin, end := begins[0], ends[0]
	for i := range workers {
		if begins[i] < begin {
			begin = begins[i]
		}
		if ends[i] > end {
			end = ends[i]
		}
	}
	return figures{items: float64(items), wallNs: float64(end - begin),
		used: usage{after.cpuNs - before.cpuNs, after.switches - before.switches}}
}

// Go's own sleep: a shorter one than a millisecond may take that long, but the processor stays with the runtime.
func sleepNs(ns uint64) { time.Sleep(time.Duration(ns)) }

func main() {
	workload, numbers := "", map[string]uint64{"batch": 64, "bytes": 8, "capacity": 100, "channels": 2, "consumers": 1,
		"gap_us": 50, "items": 100000, "pinned": 0, "processors": 2, "producers": 1}
	for _, argument := range os.Args[1:] {
		name, text, _ := strings.Cut(argument, "=")
		if _, known := numbers[name]; known {
			numbers[name], _ = strconv.ParseUint(text, 10, 64)
		} else if name == "workload" {
			workload = text
		} else {
			fmt.Fprintf(os.Stderr, "unknown argument '%s'\n", argument)
			os.Exit(64)
		}
	}
	runtime.GOMAXPROCS(int(numbers["processors"]))
	run, known := selects[workload]
	if !known {
		if numbers["bytes"] == 64 {
			run, known = workloads[[8]uint64]()[workload]
		} else {
			run, known = workloads[[1]uint64]()[workload]
		}
	}
	if !known || numbers["pinned"] != 0 {
		fmt.Println("unsupported")
		return
	}
	run(numbers).print()
}
