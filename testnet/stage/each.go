package stage

import "errors"

// together is how many relays and nodes are started at the same time.
const together = 4

// each does something with everybody, several at a time, and returns all errors.
func each[T any](all []T, do func(T) error) error {
	turns := make(chan struct{}, together)
	errs := make(chan error, len(all))
	for _, one := range all {
		turns <- struct{}{}
		go func() {
			errs <- do(one)
			<-turns
		}()
	}
	var list []error
	for range all {
		list = append(list, <-errs)
	}
	return errors.Join(list...)
}
