// SPDX-License-Identifier: MIT

package main

import (
	"math/bits"
	"runtime"
	"sync/atomic"
	"syscall"
	"unsafe"

	"versus/measure"
)

type processors [128]uint64

func affinity(call uintptr, set *processors) bool {
	_, _, failed := syscall.RawSyscall(call, 0, unsafe.Sizeof(*set), uintptr(unsafe.Pointer(set)))
	return failed == 0
}

// Gives this goroutine a thread of its own, which stays on one of the processors that it may use: the first one, or the
// one that is index places further on, beginning again after the last. Until what it returns is called.
func pinToOneProcessor(index int) (unpin func()) {
	runtime.LockOSThread()
	var allowed, one processors
	measure.Check(affinity(syscall.SYS_SCHED_GETAFFINITY, &allowed), "sched_getaffinity failed")
	var all []int
	for i, word := range allowed {
		for ; word != 0; word &= word - 1 {
			all = append(all, 64*i+bits.TrailingZeros64(word))
		}
	}
	chosen := all[index%len(all)]
	one[chosen/64] = 1 << (chosen % 64)
	measure.Check(affinity(syscall.SYS_SCHED_SETAFFINITY, &one), "sched_setaffinity failed")
	return func() {
		affinity(syscall.SYS_SCHED_SETAFFINITY, &allowed)
		runtime.UnlockOSThread()
	}
}

// Lets others run: goroutines or, of goroutines that have threads of their own, those.
var yield = runtime.Gosched

func yieldThread() { syscall.RawSyscall(syscall.SYS_SCHED_YIELD, 0, 0, 0) }

const (
	batch  = 64
	places = 8 * batch
	phase  = 4096
	purge  = 1024
)

// Takes objects from one goroutine to another, 64 at a time.
type belt struct {
	placed   uint64
	_        [128]byte
	known    uint64
	received uint64
	_        [128]byte
	sent     uint64
	_        [128]byte
	taken    uint64
	_        [128]byte
	places   [places]*object
}

func (b *belt) put(o *object) {
	for b.placed-atomic.LoadUint64(&b.taken) == places {
		yield()
	}
	b.places[b.placed%places] = o
	b.placed++
	if b.placed%batch == 0 {
		b.flush()
	}
}

func (b *belt) flush() { atomic.StoreUint64(&b.sent, b.placed) }

func (b *belt) take() *object {
	if b.known == b.received {
		atomic.StoreUint64(&b.taken, b.received)
		for {
			if b.known = atomic.LoadUint64(&b.sent); b.known != b.received {
				break
			}
			yield()
		}
	}
	o := b.places[b.received%places]
	b.received++
	return o
}
