package alerts

import (
	"container/list"
	"maps"
	"sync"
	"time"

	"github.com/prometheus/prometheus/model/labels"
)

// item is the newest state of one alert.
type item struct {
	Labels      map[string]string `json:"labels"`
	Annotations map[string]string `json:"annotations,omitempty"`
	Starts      time.Time         `json:"starts"`
	Ends        time.Time         `json:"ends"`
	Resolved    bool              `json:"resolved,omitempty"`
	Generator   string            `json:"generator,omitempty"`

	number uint64 // tells a newer state of the same alert from the one that was sent
}

// key is the identity of an alert: its labels.
func (i item) key() string { return labels.FromMap(i.Labels).String() }

// told is what an Alertmanager knows of an alert.
type told struct {
	Starts time.Time `json:"starts"`
	Ends   time.Time `json:"ends"`
}

// stillFiring is how long a firing alert is said to last that comes to be delivered only after its own end has passed:
// as long as Prometheus gives one with a resend delay of a minute.
const stillFiring = 4 * time.Minute

// outbox holds, for one Alertmanager, the newest state of each alert that it has not been told, oldest first.
// It is bounded by the number of alerts, not of attempts. Its methods may be called at once, but only one caller
// takes and settles.
type outbox struct {
	max       int
	retention time.Duration
	dropped   func(reason string, n int)

	mu      sync.Mutex
	items   map[string]*list.Element // of item
	order   *list.List
	known   map[string]told      // firing alerts that were delivered
	refused map[string]time.Time // alerts that the Alertmanager calls invalid, and until when they are not offered again
	number  uint64
}

func newOutbox(limit int, retention time.Duration, dropped func(reason string, n int)) *outbox {
	return &outbox{
		max: limit, retention: retention, dropped: dropped,
		items: map[string]*list.Element{}, order: list.New(), known: map[string]told{}, refused: map[string]time.Time{},
	}
}

// put takes newer states in, and sets their starts right. A state takes the place in the queue of the one it replaces.
func (o *outbox) put(items []item) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for n := range items {
		i := &items[n]
		o.number++
		i.number = o.number
		key := i.key()
		e, waiting := o.items[key]
		if waiting {
			i.Starts = i.since(e.Value.(item))
			e.Value = *i
			continue
		}
		known := o.known[key]
		i.Starts = i.since(item{Starts: known.Starts, Ends: known.Ends})
		o.items[key] = o.order.PushBack(*i)
	}
	o.trim()
}

// since is when i began: with an earlier state that was firing and had not run out, if there is one. The rules restore
// since when an alert is pending, but not since when one without a for fires, and call it new after a restart.
func (i item) since(earlier item) time.Time {
	if !earlier.Resolved && i.Starts.After(earlier.Starts) && !i.Starts.After(earlier.Ends) {
		return earlier.Starts
	}
	return i.Starts
}

// trim drops what is too much: first the oldest resolved notices, since Alertmanager ends alerts by itself, then the oldest.
func (o *outbox) trim() {
	n := 0
	for e := o.order.Front(); e != nil && len(o.items) > o.max; {
		next := e.Next()
		if e.Value.(item).Resolved {
			o.remove(e)
			n++
		}
		e = next
	}
	for len(o.items) > o.max {
		o.remove(o.order.Front())
		n++
	}
	if n > 0 {
		o.dropped(reasonFull, n)
	}
}

func (o *outbox) remove(e *list.Element) {
	delete(o.items, e.Value.(item).key())
	o.order.Remove(e)
}

// take returns up to n items to send at the time now; they stay until they are settled. Notices that nobody needs any
// more are dropped on the way.
func (o *outbox) take(n int, now time.Time) []item {
	o.mu.Lock()
	defer o.mu.Unlock()
	var batch []item
	for e := o.order.Front(); e != nil && len(batch) < n; {
		next := e.Next()
		i := e.Value.(item)
		switch o.judge(&i, now) {
		case send:
			batch = append(batch, i)
		case expired:
			o.remove(e)
			o.dropped(reasonExpired, 1)
		case invalid:
			o.remove(e)
			o.dropped(reasonInvalid, 1)
		case hold:
		}
		e = next
	}
	return batch
}

type judgement int

const (
	send judgement = iota
	hold
	expired
	invalid
)

// judge says what to do with i now, and sees to it that a firing alert that is sent is not already over:
// Alertmanager would take it for resolved.
func (o *outbox) judge(i *item, now time.Time) judgement {
	key := i.key()
	over := !i.Ends.IsZero() && !i.Ends.After(now)
	if over && now.Sub(i.Ends) > o.retention {
		return expired
	}
	if until, ok := o.refused[key]; ok && now.Before(until) {
		return invalid
	}
	if i.Resolved || !over {
		return send
	}
	if o.known[key].Starts.Equal(i.Starts) {
		return hold // known to fire, and not confirmed since: it may have ended
	}
	i.Ends = now.Add(stillFiring) // nobody has been told yet
	return send
}

// settle removes what was delivered, unless there is a newer state meanwhile.
func (o *outbox) settle(batch []item) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, i := range batch {
		key := i.key()
		if i.Resolved {
			delete(o.known, key)
		} else {
			o.known[key] = told{i.Starts, i.Ends}
		}
		if e, ok := o.items[key]; ok && e.Value.(item).number == i.number {
			o.remove(e)
		}
	}
}

// refuse removes an alert that the Alertmanager calls invalid, and does not offer it again for an hour.
func (o *outbox) refuse(i item, now time.Time) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for key, until := range o.refused {
		if now.After(until) {
			delete(o.refused, key)
		}
	}
	key := i.key()
	o.refused[key] = now.Add(time.Hour)
	if e, ok := o.items[key]; ok {
		o.remove(e)
	}
	o.dropped(reasonInvalid, 1)
}

// told says whether the Alertmanager knows of a firing alert, or has it to come. What it knew of an earlier time,
// which had ended when i began, does not count.
func (o *outbox) told(i item) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	key := i.key()
	if e, ok := o.items[key]; ok && !e.Value.(item).Resolved {
		return true
	}
	known, ok := o.known[key]
	return ok && !known.Ends.Before(i.Starts)
}

func (o *outbox) length() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return len(o.items)
}

// snapshot is all that must survive. What an Alertmanager knew of alerts that ended an hour before the newest is left out.
func (o *outbox) snapshot() (items []item, known map[string]told) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for e := o.order.Front(); e != nil; e = e.Next() {
		items = append(items, e.Value.(item))
	}
	var newest time.Time
	for _, t := range o.known {
		if t.Ends.After(newest) {
			newest = t.Ends
		}
	}
	known = map[string]told{}
	for key, t := range o.known {
		if newest.Sub(t.Ends) > time.Hour {
			delete(o.known, key)
			continue
		}
		known[key] = t
	}
	return items, known
}

// forgetState removes what a journal says was dealt with: the state of that very alert at that time, or an older one.
func (o *outbox) forgetState(i item) {
	o.mu.Lock()
	defer o.mu.Unlock()
	key := i.key()
	if i.Resolved {
		delete(o.known, key)
	} else {
		o.known[key] = told{i.Starts, i.Ends}
	}
	if e, ok := o.items[key]; ok && !e.Value.(item).newer(i) {
		o.remove(e)
	}
}

// newer says whether i is a state after other.
func (i item) newer(other item) bool {
	if !i.Starts.Equal(other.Starts) {
		return i.Starts.After(other.Starts)
	}
	if i.Resolved != other.Resolved {
		return i.Resolved
	}
	return i.Ends.After(other.Ends)
}

// learn takes over what an Alertmanager knew.
func (o *outbox) learn(known map[string]told) {
	o.mu.Lock()
	defer o.mu.Unlock()
	maps.Copy(o.known, known)
}
