// SPDX-License-Identifier: MIT

// Queues of slots in Go: a slice and a sync.Cond whose Broadcast wakes all who wait; a buffered channel, which is no
// stack and has no way to eject; and the connections of database/sql, which are made by a driver that does nothing.
package main

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"sync"
	"sync/atomic"

	"versus/measure"
)

type lease struct {
	id   uint64
	slot uint64
	conn *sql.Conn
}

type queue interface {
	offer(slot uint64) (token uint64)
	acquire() (lease, bool) // false once it is closed
	release(lease)
	retire(lease)
	close()
}

type condQueue struct {
	mutex  sync.Mutex
	cond   *sync.Cond
	idle   []lease
	nextID uint64
	closed bool
	here   uint64 // those that wait, and have not been woken
}

func newCondQueue() *condQueue {
	q := &condQueue{}
	q.cond = sync.NewCond(&q.mutex)
	return q
}

func (q *condQueue) offer(slot uint64) uint64 {
	q.mutex.Lock()
	token := q.nextID
	q.nextID++
	q.idle = append(q.idle, lease{id: token, slot: slot})
	q.here = 0
	q.mutex.Unlock()
	q.cond.Broadcast()
	return token
}

func (q *condQueue) acquire() (lease, bool) {
	q.mutex.Lock()
	defer q.mutex.Unlock()
	for len(q.idle) == 0 {
		if q.closed {
			return lease{}, false
		}
		q.here++
		q.cond.Wait()
	}
	last := len(q.idle) - 1
	l := q.idle[last]
	q.idle = q.idle[:last]
	return l, true
}

func (q *condQueue) release(l lease) {
	q.mutex.Lock()
	q.idle = append(q.idle, l)
	q.here = 0
	q.mutex.Unlock()
	q.cond.Broadcast()
}

func (q *condQueue) retire(lease) {}

func (q *condQueue) eject(token uint64) bool {
	q.mutex.Lock()
	defer q.mutex.Unlock()
	for i := range q.idle {
		if q.idle[i].id == token {
			copy(q.idle[i:], q.idle[i+1:])
			q.idle = q.idle[:len(q.idle)-1]
			return true
		}
	}
	return false
}

func (q *condQueue) waiting() uint64 {
	q.mutex.Lock()
	defer q.mutex.Unlock()
	return q.here
}

func (q *condQueue) close() {
	q.mutex.Lock()
	q.closed = true
	q.mutex.Unlock()
	q.cond.Broadcast()
}

type channelQueue chan uint64

func (q channelQueue) offer(slot uint64) uint64 {
	q <- slot
	return 0
}

func (q channelQueue) acquire() (lease, bool) {
	slot, open := <-q
	return lease{slot: slot}, open
}

func (q channelQueue) release(l lease) { q <- l.slot }
func (q channelQueue) retire(lease)    {}
func (q channelQueue) close()          { close(q) }

// A driver of a database, and its connections.
type nothing struct{}

var errNothing = errors.New("there is no database")

func (nothing) Open(string) (driver.Conn, error)               { return nothing{}, nil }
func (nothing) Prepare(string) (driver.Stmt, error)            { return nil, errNothing }
func (nothing) Begin() (driver.Tx, error)                      { return nil, errNothing }
func (nothing) Close() error                                   { return nil }
func (n nothing) Connect(context.Context) (driver.Conn, error) { return n, nil }
func (n nothing) Driver() driver.Driver                        { return n }

// A slot is a connection. To offer one is to give back one that was taken out before. Connections carry no number, so
// whoever gets one is told the latest one.
type sqlQueue struct {
	db    *sql.DB
	taken chan *sql.Conn
	slot  uint64
}

func newSQLQueue(connections uint64) *sqlQueue {
	q := &sqlQueue{db: sql.OpenDB(nothing{}), taken: make(chan *sql.Conn, connections)}
	q.db.SetMaxOpenConns(int(connections))
	q.db.SetMaxIdleConns(int(connections))
	for ; connections != 0; connections-- {
		conn, err := q.db.Conn(context.Background())
		measure.Check(err == nil, "there is no connection")
		q.taken <- conn
	}
	return q
}

func (q *sqlQueue) offer(slot uint64) uint64 {
	atomic.StoreUint64(&q.slot, slot)
	measure.Check((<-q.taken).Close() == nil, "a connection was not given back")
	return 0
}

func (q *sqlQueue) acquire() (lease, bool) {
	conn, err := q.db.Conn(context.Background())
	if err != nil {
		return lease{}, false
	}
	return lease{slot: atomic.LoadUint64(&q.slot), conn: conn}, true
}

func (q *sqlQueue) release(l lease) {
	measure.Check(l.conn.Close() == nil, "a connection was not given back")
}
func (q *sqlQueue) retire(l lease) { q.taken <- l.conn }
func (q *sqlQueue) close()         { q.db.Close() }
