// SPDX-License-Identifier: MIT

// Go's channels. The workloads are those of ../../cpp/thread_workloads.hpp, on goroutines.
package main

import "versus/measure"

// What travels: 8 or 64 bytes whose first and last word are checked at the other end.
type value interface{ [1]uint64 | [8]uint64 }

func of[T value](number uint64) (v T) {
	v[0], v[len(v)-1] = number, number
	return v
}

func sum[T value](v T) uint64 { return v[0] + v[len(v)-1] }

func sumOfFirst(count uint64) uint64 { return count * (count - 1) }

func main() {
	measure.Main(2, func(name string, a measure.Arguments) measure.Workload {
		if run := selects[name]; run != nil {
			return run
		}
		if a["bytes"] == 64 {
			return workloads[[8]uint64]()[name]
		}
		return workloads[[1]uint64]()[name]
	})
}
