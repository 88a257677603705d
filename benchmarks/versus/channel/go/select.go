// SPDX-License-Identifier: MIT

package main

import "versus/measure"

var receivers = map[uint64]func([]chan uint64) (int, uint64){2: receive2, 8: receive8, 64: receive64}
var pollers = map[uint64]func([]chan uint64) bool{2: poll2, 8: poll8, 64: poll64}

// The workloads of ../penstock_select.cpp.
var selects = map[string]measure.Workload{
	"select_one_ready":  oneReady,
	"select_all_ready":  allReady,
	"select_none_ready": noneReady,
	"select_throughput": selectThroughput,
}

func makeChannels(count, capacity uint64) []chan uint64 {
	channels := make([]chan uint64, count)
	for i := range channels {
		channels[i] = make(chan uint64, capacity)
	}
	return channels
}

func oneReady(a measure.Arguments) measure.Figures {
	count, items, total := a["channels"], a["items"], uint64(0)
	channels, receive := makeChannels(count, 1), receivers[count]
	f := measure.RunTogether(items, func() {
		for number := uint64(0); number < items; number++ {
			channels[number%count] <- number
			_, value := receive(channels)
			total += 2 * value
		}
	})
	measure.Check(total == sumOfFirst(items), "select_one_ready: the sum is wrong")
	return f
}

func allReady(a measure.Arguments) measure.Figures {
	count, items, wrong := a["channels"], a["items"], 0
	channels, receive := makeChannels(count, 1), receivers[count]
	for i := range channels {
		channels[i] <- uint64(i)
	}
	f := measure.RunTogether(items, func() {
		for left := items; left != 0; left-- {
			index, value := receive(channels)
			if uint64(index) != value {
				wrong++
			}
			channels[index] <- value
		}
	})
	measure.Check(wrong == 0, "select_all_ready: a value came from the wrong channel")
	return f
}

func noneReady(a measure.Arguments) measure.Figures {
	count, items, ready := a["channels"], a["items"], 0
	channels, poll := makeChannels(count, 1), pollers[count]
	f := measure.RunTogether(items, func() {
		for left := items; left != 0; left-- {
			if poll(channels) {
				ready++
			}
		}
	})
	measure.Check(ready == 0, "select_none_ready: something was ready")
	return f
}

func selectThroughput(a measure.Arguments) measure.Figures {
	count, items, total := a["channels"], a["items"], uint64(0)
	channels, receive := makeChannels(count, a["capacity"]), receivers[count]
	f := measure.RunTogether(items, func() {
		for left := items; left != 0; left-- {
			_, value := receive(channels)
			total += 2 * value
		}
	}, func() {
		for number := uint64(0); number < items; number++ {
			channels[number%count] <- number
		}
	})
	measure.Check(total == sumOfFirst(items), "select_throughput: the sum is wrong")
	return f
}
