// SPDX-License-Identifier: MIT

// Pools in Go: goroutines that receive functions from a buffered channel; or with statement=1 no pool, but a `go`
// statement for each function. The workloads are those of ../../cpp/pool_workloads.hpp.
package main

import "versus/measure"

type pool interface {
	run(job func())
	close()
}

type channelPool chan func()

func (p channelPool) run(job func()) { p <- job }
func (p channelPool) close()         { close(p) }

type statement struct{}

func (statement) run(job func()) { go job() }
func (statement) close()         {}

func newPool(a measure.Arguments) pool {
	if a["statement"] != 0 {
		return statement{}
	}
	jobs := make(channelPool, a["capacity"])
	for left := a["workers"]; left != 0; left-- {
		go func() {
			for job := range jobs {
				job()
			}
		}()
	}
	return jobs
}

func main() {
	measure.Main(0, func(name string, _ measure.Arguments) measure.Workload { return workloads[name] })
}
