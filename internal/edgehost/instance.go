package edgehost

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/tetratelabs/wazero/api"
)

// maxCheck is the largest body of a check, in bytes; the module refuses a larger one without seeing it.
const maxCheck = 64 << 10

// errBounds says that the module names memory that it does not have.
var errBounds = errors.New("the module points beyond its memory")

// Instance is one instance of the module, with memory of its own. It is used by one goroutine at a time. After an error it is in no
// known state and must be closed.
type Instance struct {
	module api.Module
	calls  map[string]api.Function
	check  api.Function // of calls; the only one in a hurry
	stack  [4]uint64    // arguments and result of a call
	room   int          // bytes of input that there is room for; 0 when it must be asked for
	at     uint32       // address of the input

	generation int    // of what was loaded, see Module
	renoted    int64  // Module.renotes that it has followed
	born       uint32 // bytes of memory when a Module made it
}

// exports are what an instance must have; functions/edge says what each does.
var exports = [...]string{"buffer", "trust", "load", "forget", "check", "unavailable", "renote"}

// Instantiate returns a new instance, which trusts no key and serves no App yet.
func (c *Compiled) Instantiate(ctx context.Context) (*Instance, error) {
	m, err := c.runtime.InstantiateModule(ctx, c.module, c.config)
	if err != nil {
		return nil, fmt.Errorf("instantiating the module: %w", err)
	}
	i := &Instance{module: m, calls: make(map[string]api.Function, len(exports))}
	for _, name := range exports {
		if i.calls[name] = m.ExportedFunction(name); i.calls[name] == nil {
			i.Close(ctx)
			return nil, fmt.Errorf("the module exports no function %s: it is not one of functions/edge", name)
		}
	}
	if m.Memory() == nil {
		i.Close(ctx)
		return nil, errors.New("the module exports no memory: it is not one of functions/edge")
	}
	i.check = i.calls["check"]
	return i, nil
}

// Close frees the instance's memory.
func (i *Instance) Close(ctx context.Context) { _ = i.module.Close(ctx) }

// Trust adds a raw Ed25519 public key that may sign Snapshots.
func (i *Instance) Trust(ctx context.Context, key []byte) error {
	if err := i.give(ctx, 0, key); err != nil {
		return err
	}
	if taken, err := i.call(ctx, "trust", uint64(len(key))); err != nil || taken != 1 {
		return errors.Join(errors.New("the module does not take the public key"), err)
	}
	return nil
}

// Load offers a sealed Snapshot that was fetched for an App at the time now, in Unix seconds, to answer from until its expiry and
// grace seconds more.
func (i *Instance) Load(ctx context.Context, app string, sealed []byte, now, grace uint32) (Outcome, error) {
	if err := i.give(ctx, 0, []byte(app), sealed); err != nil {
		return 0, err
	}
	outcome, err := i.call(ctx, "load", uint64(len(app)), uint64(len(sealed)), uint64(now), uint64(grace))
	return Outcome(outcome), err
}

// Forget stops answering for an App. Its revision stays remembered.
func (i *Instance) Forget(ctx context.Context, app string) error {
	if err := i.give(ctx, 0, []byte(app)); err != nil {
		return err
	}
	_, err := i.call(ctx, "forget", uint64(len(app)))
	return err
}

// Check answers the body of a POST /updates at the time now, in Unix seconds. facts is the device's record as JSON; empty is not
// known.
func (i *Instance) Check(ctx context.Context, body, facts []byte, now uint32, into *Result) error {
	if len(body) <= maxCheck {
		if err := i.give(ctx, maxCheck, body, facts); err != nil {
			return err
		}
	}
	i.stack[0], i.stack[1], i.stack[2] = uint64(len(body)), uint64(len(facts)), uint64(now)
	if err := i.check.CallWithStack(ctx, i.stack[:]); err != nil {
		return fmt.Errorf("the module's check: %w", err)
	}
	return i.read(uint32(i.stack[0]), into)
}

// Unavailable returns the answer for when nobody can answer.
func (i *Instance) Unavailable(ctx context.Context, into *Result) error {
	at, err := i.call(ctx, "unavailable")
	if err != nil {
		return err
	}
	return i.read(at, into)
}

// Renote makes the instance forget which checks it noted.
func (i *Instance) Renote(ctx context.Context) error {
	_, err := i.call(ctx, "renote")
	return err
}

// MemoryBytes returns how much memory the instance has.
func (i *Instance) MemoryBytes() uint32 { return i.module.Memory().Size() }

// call calls an export and returns its result, 0 where there is none.
func (i *Instance) call(ctx context.Context, name string, args ...uint64) (uint32, error) {
	i.stack[0] = 0
	copy(i.stack[:], args)
	if err := i.calls[name].CallWithStack(ctx, i.stack[:]); err != nil {
		return 0, fmt.Errorf("the module's %s: %w", name, err)
	}
	return uint32(i.stack[0]), nil
}

// give writes the parts of an input one after the other. Where there is no room for it, room for least bytes is asked for; room
// stays until then, so that checks, which all say the same least, need not ask.
func (i *Instance) give(ctx context.Context, least int, parts ...[]byte) error {
	size := 0
	for _, p := range parts {
		size += len(p)
	}
	if size > i.room || least == 0 {
		if err := i.makeRoom(ctx, max(size, least)); err != nil {
			return err
		}
	}
	at := i.at
	for _, p := range parts {
		if !i.module.Memory().Write(at, p) {
			return errBounds
		}
		at += uint32(len(p))
	}
	if least == 0 {
		i.room = 0 // may be much more than checks need: the module gives it back when it is asked for less
	}
	return nil
}

func (i *Instance) makeRoom(ctx context.Context, size int) error {
	at, err := i.call(ctx, "buffer", uint64(size))
	if err != nil {
		return err
	}
	if at == 0 {
		return fmt.Errorf("the module has no room for %d bytes", size)
	}
	i.at, i.room = at, size
	return nil
}

// read copies a result out of the module's memory, where the next call overwrites it.
func (i *Instance) read(at uint32, into *Result) error {
	const numbers, word = 8, 4
	memory := i.module.Memory()
	raw, ok := memory.Read(at, numbers*word)
	if !ok {
		return errBounds
	}
	n := func(index int) uint32 { return binary.LittleEndian.Uint32(raw[index*word:]) }
	answer, whole := memory.Read(n(2), n(3))
	note, noted := memory.Read(n(5), n(6))
	if !whole || !noted && n(6) > 0 {
		return errBounds
	}
	*into = Result{
		Verdict: Verdict(n(0)), Status: int(n(1)), RetryAfter: int(n(4)), Stale: n(7) == 1,
		Answer: append(into.Answer[:0], answer...), Note: append(into.Note[:0], note...),
	}
	return nil
}
