// SPDX-License-Identifier: MIT

// What the programs in Go share: their arguments, the clocks, and the one line that they print; see ../cpp/measure.hpp.
package measure

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

func Check(condition bool, what string) {
	if !condition {
		fmt.Fprintln(os.Stderr, what)
		os.Exit(1)
	}
}

var begun = time.Now()

func NowNs() uint64 { return uint64(time.Since(begun)) }

// What the process has used so far.
type Usage struct{ cpuNs, switches float64 }

func UsageNow() Usage {
	var r syscall.Rusage
	Check(syscall.Getrusage(syscall.RUSAGE_SELF, &r) == nil, "getrusage failed")
	return Usage{float64(r.Utime.Nano() + r.Stime.Nano()), float64(r.Nvcsw)}
}

// What a workload came to; the times are of all items.
type Figures struct {
	Items  uint64
	WallNs float64
	used   Usage
	More   string
}

func FiguresOf(items, begin, end uint64, before, after Usage) Figures {
	return Figures{Items: items, WallNs: float64(end - begin),
		used: Usage{after.cpuNs - before.cpuNs, after.switches - before.switches}}
}

func (f Figures) print() {
	items := float64(f.Items)
	fmt.Printf("items=%d wall_ns=%.2f cpu_ns=%.2f switches=%.5f%s\n",
		f.Items, f.WallNs/items, f.used.cpuNs/items, f.used.switches/items, f.More)
}

func (f *Figures) AddQuantiles(latencies []uint64) {
	sort.Slice(latencies, func(i, j int) bool { return latencies[i] < latencies[j] })
	f.More += fmt.Sprintf(" p50_ns=%d p99_ns=%d", latencies[len(latencies)/2], latencies[len(latencies)*99/100])
}

// Runs each of workers in a goroutine of its own, all from the same moment on; from the first begin to the last end.
func RunTogether(items uint64, workers ...func()) Figures {
	return RunTogetherAnd(func() uint64 { return 0 }, items, workers...)
}

// The same; rest waits for what they have left to others, and returns when that ended.
func RunTogetherAnd(rest func() uint64, items uint64, workers ...func()) Figures {
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
			begins[i] = NowNs()
			workers[i]()
			ends[i] = NowNs()
		}()
	}
	ready.Wait()
	before := UsageNow()
	close(start)
	done.Wait()
	begin, end := begins[0], rest()
	after := UsageNow()
	for i := range workers {
		if begins[i] < begin {
			begin = begins[i]
		}
		if ends[i] > end {
			end = ends[i]
		}
	}
	return FiguresOf(items, begin, end, before, after)
}

// Go's own sleep: a shorter one than a millisecond may take that long, but the processor stays with the runtime.
func SleepNs(ns uint64) { time.Sleep(time.Duration(ns)) }

// name=value for each.
type Arguments = map[string]uint64

type Workload = func(Arguments) Figures

// Runs the workload that find has for the command line, and prints its figures, or `unsupported`. Arguments have the
// defaults of ../cpp/measure.hpp; `processors` is GOMAXPROCS, where 0 stands for all that there are.
func Main(processors uint64, find func(name string, arguments Arguments) Workload) {
	workload, numbers := "", Arguments{"batch": 64, "bytes": 8, "capacity": 100, "channels": 2, "consumers": 1,
		"gap_us": 50, "items": 100000, "models": 10, "ns": 1000, "pinned": 0, "processors": processors, "producers": 1,
		"queued": 10, "result_channels": 0, "reuse": 0, "statement": 0, "workers": 2}
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
	run := find(workload, numbers)
	if run == nil || numbers["pinned"] != 0 {
		fmt.Println("unsupported")
		return
	}
	run(numbers).print()
}
