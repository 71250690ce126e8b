// Package discovery finds out which gateway a domain has: it reads the TXT record
// _amtp.DOMAIN, and with the same care the records that hold keys of signatures.
//
// It asks the configured resolvers in their order, and the next when one does not
// answer. What a record says is believed for its own TTL, at most for Config.MaxTTL;
// that there is none, for half a minute. While no resolver answers, what was known
// before serves on for a while. One question at a time goes out for a name, whoever
// else waits for it. Names and answers are chosen by strangers, so that the memory
// for them, the size of answers and the number of aliases are bounded.
//
// Without DNS it answers for our own domain, and in mock mode for those of
// Config.MockRecords only.
package discovery
