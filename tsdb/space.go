package tsdb

import "fmt"

// Bounds of the room that is kept free by default.
const (
	minFreeFloor   = 8 << 20
	minFreeCeiling = 512 << 20
	minFreeShare   = 20 // one part in so many
)

// room returns an error that wraps ErrNoSpace where there is too little left. A volume that cannot be measured has room.
func (db *DB) room() error {
	if db.opts.MinFree < 0 {
		return nil
	}
	free, size, err := db.opts.Space(db.dir)
	if err != nil {
		return nil //nolint:nilerr // see above
	}
	if mark := freeMark(db.opts.MinFree, size); free < mark {
		return fmt.Errorf("tsdb %s: %w: %d MiB free, %d MiB needed: make room, or lower the retention",
			db.dir, ErrNoSpace, free>>20, mark>>20)
	}
	return nil
}

// freeMark is the room to keep on a volume of the given size.
func freeMark(configured int64, size uint64) uint64 {
	if configured > 0 {
		return uint64(configured)
	}
	return min(max(size/minFreeShare, minFreeFloor), minFreeCeiling)
}
