package sim

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
	"testing/cryptotest"
	"testing/synctest"
	"time"

	"amesh/node/api"
	"amesh/ratchet"
)

// Random schedules: several people in both directions on a bad network, whose nodes
// die, whose disks fill, whose states are lost, put back and restored, while the relay
// forgets and somebody on the line repeats and forges. AMESH_SEED=n plays one of them
// again, AMESH_STEPS=n only its first n deeds.
func TestRandomSchedules(t *testing.T) { randomSchedules(t, 10, 4) }

func TestSoakRandomSchedules(t *testing.T) {
	soak(t)
	randomSchedules(t, 1000, 400)
}

func randomSchedules(t *testing.T, first, count uint64) {
	steps := -1
	if v := os.Getenv("AMESH_SEED"); v != "" {
		first, count = number(t, v), 1
		if v := os.Getenv("AMESH_STEPS"); v != "" {
			steps = int(number(t, v))
		}
	}
	for seed := first; seed < first+count; seed++ {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			all, bad := playSchedule(t, seed, steps)
			if bad == "" {
				return
			}
			shortest := all
			for n := range all {
				if _, b := playSchedule(t, seed, n); b != "" {
					shortest, bad = n, b
					break
				}
			}
			t.Errorf("it takes %d of %d deeds; AMESH_SEED=%d AMESH_STEPS=%d plays them again\n%s", shortest, all, seed, shortest, bad)
		})
	}
}

func number(t *testing.T, s string) uint64 {
	n, err := strconv.ParseUint(s, 10, 31)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// playSchedule plays the first steps of a schedule, all of them with -1, and then what
// ends it. It returns how many there were, and what went wrong.
func playSchedule(t *testing.T, seed uint64, steps int) (played int, bad string) {
	cryptotest.SetGlobalRandom(t, seed)
	synctest.Test(t, func(t *testing.T) {
		h := &hearing{TB: t}
		h.listen(func() {
			s := newSchedule(h, seed)
			if steps >= 0 {
				s.steps = min(s.steps, steps)
			}
			played = s.steps
			s.play()
		})
		bad = h.said()
	})
	return played, bad
}

// schedule is one random run.
type schedule struct {
	w      *World
	dice   *rand.Rand
	people []*Person
	said   int
	steps  int

	undoes  bool // states are undone
	copies  map[*Person][]Copy
	backups map[*Person][]Backup
}

func newSchedule(t testing.TB, seed uint64) *schedule {
	dice := rand.New(rand.NewPCG(seed, 0))
	some := func(most float64) float64 { // none in half of the runs
		return max(0, (dice.Float64()*2-1)*most)
	}
	w := NewWorld(t, Options{
		StateKey: stateKey, Seed: seed, Quiet: true,
		CrashChance: some(0.02), MostCrashes: dice.IntN(15),
		Weather: Weather{
			Delay: time.Duration(1+dice.IntN(200)) * time.Millisecond, Jitter: time.Duration(dice.IntN(2000)) * time.Millisecond,
			Lost: some(0.4), Unreported: some(0.3), Twice: some(0.4), Full: some(0.1), NotFound: some(0.5),
		},
	})
	w.Slack.End += 12 * time.Minute // a clock that was set back and forth again is not believed at once
	s := &schedule{
		w: w, dice: dice, steps: 20 + dice.IntN(60), undoes: dice.IntN(2) == 0,
		copies: make(map[*Person][]Copy), backups: make(map[*Person][]Backup),
	}
	if s.undoes {
		w.Slack.Heal = 30 * time.Hour // sessions are resumed five times a day
	}
	for _, name := range []string{"ann", "bob", "cid", "dan"}[:2+dice.IntN(3)] {
		p := w.Join(name, []string{"accept", "accept", "ask"}[dice.IntN(3)])
		p.Step(time.Duration(dice.IntN(600)-300) * time.Second)
		s.people = append(s.people, p)
	}
	return s
}

func (s *schedule) person() *Person { return s.people[s.dice.IntN(len(s.people))] }

func (s *schedule) two() (a, b *Person) {
	i := s.dice.IntN(len(s.people))
	j := (i + 1 + s.dice.IntN(len(s.people)-1)) % len(s.people)
	return s.people[i], s.people[j]
}

func (s *schedule) play() {
	defer s.w.Stop()
	deeds := []struct {
		weight int
		do     func()
	}{
		{30, s.say}, {20, s.work}, {6, s.decide}, {4, s.cancel}, {4, s.cutOrJoin}, {4, s.changePath},
		{3, s.fillDisk}, {3, s.leave}, {8, s.meddle}, {3, s.setClock}, {1, s.w.Forget}, {3, s.kill},
		{15, s.wait}, {4, s.remember}, {4, s.undo},
	}
	if !s.undoes {
		deeds = deeds[:len(deeds)-2]
	}
	total := 0
	for _, d := range deeds {
		total += d.weight
	}
	for range s.steps {
		n := s.dice.IntN(total)
		for _, d := range deeds {
			if n -= d.weight; n < 0 {
				d.do()
				break
			}
		}
	}
	s.finish()
}

// finish ends the trouble and has everybody see to what is left.
func (s *schedule) finish() {
	s.w.Heal()
	s.said = 1 << 20
	if s.undoes {
		s.lastWords()
	}
	end := time.Now().Add(s.w.Limits.MaxTTL + time.Hour)
	for time.Now().Before(end) && !s.w.allEnded() {
		for _, p := range s.people {
			s.decideFor(p)
			for s.w.workOnce(p) {
			}
		}
		s.w.Pass(10 * time.Minute)
	}
	s.w.Finish()
}

// lastWords has everybody write to everybody: a node that lost its sessions and what it
// knew of a peer hears of it again when one of them knocks.
func (s *schedule) lastWords() {
	for _, from := range s.people {
		for _, to := range s.people {
			if from != to {
				s.w.Say(from, to, "last words to "+to.Name, 0)
			}
		}
	}
}

// remember makes a copy of a state, or a backup.
func (s *schedule) remember() {
	p := s.person()
	if s.dice.IntN(2) == 0 {
		s.copies[p] = append(s.copies[p], p.Copy())
	} else {
		s.backups[p] = append(s.backups[p], p.Backup())
	}
}

// undo gives somebody another state. The clock tells two restores of one backup apart,
// so there is some time between them.
func (s *schedule) undo() {
	p := s.person()
	s.w.Pass(time.Duration(10+s.dice.IntN(10)) * time.Second)
	copies, backups := s.copies[p], s.backups[p]
	switch d := s.dice.IntN(9); {
	case d < 4 && len(copies) > 0:
		c := copies[s.dice.IntN(len(copies))]
		if p.Noticed(c) {
			s.w.PutBack(p, c)
		}
	case d < 6 && len(backups) > 0:
		s.w.Restore(p, backups[s.dice.IntN(len(backups))])
	case d == 6:
		s.w.LoseMark(p)
	case d == 7:
		s.w.LoseKey(p)
	case d == 8 && p.mark != nil: // who has neither state nor mark knows nothing
		s.w.Lose(p)
	}
}

func (s *schedule) kill() {
	a, b := s.two()
	if a.Up() && !a.full.Load() {
		s.w.Kill(a, b)
	}
}

func (s *schedule) say() {
	from, to := s.two()
	if !from.Up() || from.full.Load() {
		return
	}
	s.said++
	r := api.SendRequest{Body: fmt.Append(nil, "message ", s.said)}
	if s.dice.IntN(8) == 0 {
		r.Body = bytes.Repeat(r.Body, 1+s.dice.IntN(12_000))
	}
	if s.dice.IntN(6) == 0 {
		r.TTLSeconds = 1 + s.dice.Int64N(1800)
	}
	s.w.Send(from, to, fmt.Sprint("message ", s.said), r)
}

func (s *schedule) work() {
	p := s.person()
	for range s.dice.IntN(4) {
		if p.Up() && !p.full.Load() {
			s.w.workOnce(p)
		}
	}
}

func (s *schedule) decide() { s.decideFor(s.person()) }

func (s *schedule) decideFor(p *Person) {
	if p.Up() && !p.full.Load() && p.waiting() != nil {
		s.w.Decide(p, s.dice.IntN(4) > 0)
	}
}

func (s *schedule) cancel() {
	p := s.person()
	if !p.Up() || p.full.Load() {
		return
	}
	for n := range s.said {
		name := fmt.Sprint("message ", n+1)
		if state, _ := p.State(name); state == api.StateAccepted || state == api.StateRelayed {
			s.w.TryCancel(p, name)
			return
		}
	}
}

func (s *schedule) cutOrJoin() { s.w.Cut(s.person(), s.dice.IntN(2) == 0) }

func (s *schedule) changePath() {
	a, b := s.two()
	s.w.Direct(a, b, s.dice.IntN(3) > 0)
}

// fillDisk leaves a node without room for a while; it looks every second whether there
// is some.
func (s *schedule) fillDisk() {
	p := s.person()
	p.Full(true)
	for range s.dice.IntN(4) {
		s.say()
	}
	s.w.Pass(time.Duration(s.dice.IntN(30)) * time.Second)
	p.Full(false)
}

// setClock sets a clock wrong for some minutes, during which its node works on (CP 33).
// It does not die meanwhile: one that starts with a wrong clock has nothing to compare
// it with.
func (s *schedule) setClock() {
	p := s.person()
	if !p.Up() {
		return
	}
	defer func(chance float64) { s.w.CrashChance = chance }(s.w.CrashChance)
	s.w.CrashChance = 0
	by := []time.Duration{-time.Hour, -24 * time.Hour, 4 * 24 * time.Hour}[s.dice.IntN(3)]
	p.Step(by)
	s.work()
	s.w.Pass(time.Duration(s.dice.IntN(9*60)) * time.Second)
	s.work()
	p.Step(-by)
	s.w.Pass(2 * time.Minute) // the node looks, before the clock may be wrong again
}

func (s *schedule) leave() {
	p := s.person()
	if p.off {
		p.Start()
	} else if s.dice.IntN(2) == 0 {
		p.Stop()
	}
}

func (s *schedule) wait() {
	longest := []time.Duration{time.Second, time.Second, time.Minute, time.Minute, 10 * time.Minute, 12 * time.Hour}[s.dice.IntN(6)]
	s.w.Pass(time.Duration(s.dice.Int64N(int64(longest))))
}

// noise has the form of a message and opens with nothing.
func (s *schedule) noise() []byte {
	p := ratchet.Prefix(ratchet.TypeMessage)
	return append(p[:], bytes.Repeat([]byte{byte(s.dice.IntN(256))}, 82+40+256)...)
}

// meddle repeats, changes or makes up what comes to a node.
func (s *schedule) meddle() {
	passed := s.w.Passed()
	if len(passed) == 0 {
		return
	}
	e := passed[s.dice.IntN(len(passed))]
	to := s.w.byAMID[e.To]
	switch s.dice.IntN(5) {
	case 0:
		if e.Knock {
			s.w.InjectTail(to, e, s.noise())
			return
		}
	case 1: // a bit is changed
		e.Data = bytes.Clone(e.Data)
		e.Data[s.dice.IntN(len(e.Data))] ^= 1 << s.dice.IntN(8)
	case 2: // noise in the name of a peer
		e.Data = s.noise()
	case 3: // somebody else's name outside
		e.From = s.person().AMID()
	}
	s.w.Inject(to, e)
}
