package evaluator

import (
	"encoding/binary"
	"errors"
	"math"
	"slices"
)

// bitReader takes bits from the front of bytes. Past the end it yields zeros, and says so at the end.
type bitReader struct {
	from []byte
	next int    // the first byte that is not in the buffer
	bits uint64 // the next bits, at the top
	held int    // how many of them are real
	over bool
}

// refill makes at least 57 bits ready, as long as there are so many.
func (r *bitReader) refill() {
	if r.next+8 <= len(r.from) {
		r.bits |= binary.BigEndian.Uint64(r.from[r.next:]) >> r.held
		taken := (63 - r.held) >> 3
		r.next += taken
		r.held += taken << 3
		return
	}
	for r.held <= 56 && r.next < len(r.from) {
		r.bits |= uint64(r.from[r.next]) << (56 - r.held)
		r.next++
		r.held += 8
	}
}

// take yields up to 32 bits.
func (r *bitReader) take(n int) uint64 {
	if r.held < n {
		if r.refill(); r.held < n {
			r.over, r.held = true, n
		}
	}
	v := r.bits >> (64 - n)
	r.bits <<= n
	r.held -= n
	return v
}

func (r *bitReader) take64() uint64 { return r.take(32)<<32 | r.take(32) }

func (r *bitReader) uvarint() uint64 {
	var v uint64
	for shift := 0; shift < 64; shift += 7 {
		b := r.take(8)
		v |= b & 0x7f << shift
		if b < 0x80 {
			return v
		}
	}
	r.over = true
	return v
}

var errXOR = errors.New("chunk ends early")

// xorState is where the decoding of a chunk stands.
type xorState struct {
	bitReader
	t, step         int64
	v               uint64
	width, trailing int // of the bits that changed in a value
}

// xorSamples decodes a whole chunk of Prometheus's XOR encoding, which upstream's TSDB describes in its documents,
// behind what is in ts and vs. It yields what upstream's iterator does, only faster, since it need not stop between
// samples.
func xorSamples(chunk []byte, ts []int64, vs []float64) ([]int64, []float64, error) {
	if len(chunk) < 2 {
		return ts, vs, errXOR
	}
	n := int(binary.BigEndian.Uint16(chunk))
	x := &xorState{bitReader: bitReader{from: chunk[2:]}, width: 64}
	at := len(ts)
	ts, vs = slices.Grow(ts, n)[:at+n], slices.Grow(vs, n)[:at+n]
	newT, newV := ts[at:], vs[at:]
	done := x.head(newT, newV)
	for done < n {
		if done = x.plain(newT, newV, done); done < n {
			x.slow(newT, newV, done)
			done++
		}
	}
	if x.over {
		return ts[:at], vs[:at], errXOR
	}
	return ts, vs, nil
}

// head decodes the first two samples.
func (x *xorState) head(ts []int64, vs []float64) int {
	if len(ts) > 0 {
		u := x.uvarint()
		x.t = int64(u>>1) ^ -int64(u&1)
		x.v = x.take64()
		ts[0], vs[0] = x.t, math.Float64frombits(x.v)
	}
	if len(ts) > 1 {
		x.step = int64(x.uvarint())
		x.t += x.step
		x.change()
		ts[1], vs[1] = x.t, math.Float64frombits(x.v)
	}
	return min(len(ts), 2)
}

// plain decodes samples from i on, as long as each comes as long after the last as that did, and changes so few bits
// that they lie in the buffer whole, after what says where they are: nearly all do. It returns the first that does not.
func (x *xorState) plain(ts []int64, vs []float64, i int) int {
	bits, held, next, from := x.bits, x.held, x.next, x.from
	t, v, step, width, trailing := x.t, x.v, x.step, x.width, x.trailing
	for ; i < len(ts) && next+8 <= len(from); i++ {
		bits |= binary.BigEndian.Uint64(from[next:]) >> held
		taken := (63 - held) >> 3
		next += taken
		held += taken << 3
		head := 3 // the bits before those that changed
		switch bits >> 61 {
		case 0b000, 0b001:
			bits <<= 2
			held -= 2
			t += step
			ts[i], vs[i] = t, math.Float64frombits(v)
			continue
		case 0b010:
		case 0b011: // others than before: five bits say how many before them are the same, six how many these are
			leading, changed := int(bits<<3>>59), int(bits<<8>>58)
			if changed == 0 || leading+changed > 64 || changed+14 > held {
				goto out
			}
			head, width, trailing = 14, changed, 64-leading-changed
		default:
			goto out
		}
		if head+width > held {
			goto out
		}
		v ^= bits << head >> (64 - width) << trailing
		bits <<= head + width
		held -= head + width
		t += step
		ts[i], vs[i] = t, math.Float64frombits(v)
	}
out:
	x.bits, x.held, x.next, x.t, x.v, x.width, x.trailing = bits, held, next, t, v, width, trailing
	return i
}

// slow decodes sample i, whatever it is.
func (x *xorState) slow(ts []int64, vs []float64, i int) {
	x.step += x.deltaOfDelta()
	x.t += x.step
	x.change()
	ts[i], vs[i] = x.t, math.Float64frombits(x.v)
}

// change reads what the next value has else than the last.
func (x *xorState) change() {
	if x.take(1) == 0 {
		return
	}
	if x.take(1) == 1 {
		leading := int(x.take(5))
		x.width = int(x.take(6))
		if x.width == 0 {
			x.width = 64
		}
		x.trailing = 64 - leading - x.width
		if x.trailing < 0 {
			x.over, x.width, x.trailing = true, 64, 0
		}
	}
	x.v ^= x.wide(x.width) << x.trailing
}

// wide yields up to 64 bits.
func (r *bitReader) wide(n int) uint64 {
	if n <= 32 {
		return r.take(n)
	}
	high := r.take(n - 32)
	return high<<32 | r.take(32)
}

// deltaOfDelta reads by how much the distance between two samples differs from the distance before.
func (r *bitReader) deltaOfDelta() int64 {
	prefix := 0 // as many ones as stand before a zero, at most four
	for prefix < 4 && r.take(1) == 1 {
		prefix++
	}
	switch prefix {
	case 0:
		return 0
	case 4:
		return int64(r.take64())
	}
	width := 11 + 3*prefix
	v := int64(r.take(width))
	if v > 1<<(width-1) {
		v -= 1 << width
	}
	return v
}
