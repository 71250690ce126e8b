package mailbox

import (
	"context"

	"amesh/internal/store"
)

// Total counts what all mailboxes hold, expired messages included.
func (m *Disk) Total(context.Context) (Size, error) {
	var total Size
	err := m.store.View(func(r store.Reader) (err error) {
		total, err = readTotal(r)
		return err
	})
	return total, storageError(err)
}
