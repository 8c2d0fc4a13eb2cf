package main

import (
	"fmt"
	"sort"

	"github.com/anishathalye/porcupine"
)

// The model of a lock. Who asks says with how many the lock would be shared, so a mutex, a semaphore and a
// readers-writer lock are one model: who has it alone is alone, of who share it there are at most as many as each of
// them said. Tokens only grow, from one grant to the next; who came to share it together have the same one.
//
// The operations of clients become steps of the model so:
//
//   - an acquire that was granted is a grant, at one moment within the call. Grants are taken in the order of their
//     tokens: that is what tokens that only grow mean, and it leaves little to search;
//   - a release that was acknowledged ends the hold, at one moment within that call;
//   - a hold that was not released ends, too: by its lease. That is no call of anybody, so it is an end of its own, at
//     any moment, or never, after the lease can have run out: LeaseNs of the acquire, which is the latest of what is
//     known: that long a lease was asked for, and its holder saw it valid. A client that was told that it lost its lease
//     or whose release went unanswered may have lost it at any time after it last saw it valid;
//   - an acquire that was denied saw the lock in use, at one moment within the call;
//   - an acquire of unknown outcome may have been granted or not. What a client that was never heard of again held
//     cannot be seen by others except in a denial; so from its begin on denials prove nothing.
type lockStep struct {
	kind     string // grant, end, denied, maybe
	hold     int    // the acquire
	permits  int    // alone, or as in Operation
	token    int64
	previous int64 // of a grant: the token of the grant before it; 0 of the first
}

const alone = -1

type holder struct {
	hold    int
	permits int
}

// lockState is a value that nobody changes.
type lockState struct {
	holders []holder // by hold
	token   int64    // of the last grant
	shared  bool     // whether that was shared
	unknown bool     // whether somebody may hold it of whom nothing is known
}

func lockSteps(operations []Operation) []porcupine.Operation {
	previous := previousTokens(operations)
	unanswered := map[int]Operation{} // the release of an acquire, if it was not acknowledged
	released := map[int]bool{}
	for _, o := range operations {
		if o.Kind == "release" && o.Outcome == "ok" {
			released[o.Of] = true
		} else if o.Kind == "release" {
			unanswered[o.Of] = o
		}
	}
	var steps []porcupine.Operation
	for _, o := range operations {
		switch o.Kind + " " + o.Outcome {
		case "acquire ok":
			permits := alone
			if o.Permits != nil {
				permits = *o.Permits
			}
			grant := lockStep{"grant", o.ID, permits, o.Token, previous[o.Token]}
			steps = append(steps, at(o.InvokedNs, o.EndedNs, "grant: "+o.Name, grant))
			if released[o.ID] {
				continue
			}
			end := lockStep{kind: "end", hold: o.ID}
			if release, tried := unanswered[o.ID]; tried && release.InvokedNs < o.LeaseNs {
				steps = append(steps, at(release.InvokedNs, nil, "release, not acknowledged: "+release.Name, end))
			} else {
				steps = append(steps, at(o.LeaseNs, nil, "end of lease: "+o.Name, end))
			}
		case "acquire denied":
			steps = append(steps, at(o.InvokedNs, o.EndedNs, "denial: "+o.Name, lockStep{kind: "denied"}))
		case "acquire unknown":
			steps = append(steps, at(o.InvokedNs, &o.InvokedNs, "begin: "+o.Name, lockStep{kind: "maybe"}))
		case "release ok":
			steps = append(steps, at(o.InvokedNs, o.EndedNs, "release: "+o.Name, lockStep{kind: "end", hold: o.Of}))
		case "release lost", "release unknown":
		default:
			fail("%s: a lock has no %s that is %q", o.Name, o.Kind, o.Outcome)
		}
	}
	return steps
}

// previousTokens gives for each token that was granted the largest one below it.
func previousTokens(operations []Operation) map[int64]int64 {
	var tokens []int64
	for _, o := range operations {
		if o.Kind == "acquire" && o.Outcome == "ok" {
			tokens = append(tokens, o.Token)
		}
	}
	sort.Slice(tokens, func(i, j int) bool { return tokens[i] < tokens[j] })
	previous := map[int64]int64{}
	var last int64
	for _, token := range tokens {
		if token != last {
			previous[token] = last
			last = token
		}
	}
	return previous
}

var lockModel = porcupine.Model{
	Init: func() interface{} { return lockState{} },
	Step: func(state, input, _ interface{}) (bool, interface{}) {
		return stepLock(state.(lockState), input.(lockStep))
	},
	Equal: func(one, other interface{}) bool { return equalLocks(one.(lockState), other.(lockState)) },
	DescribeOperation: func(input, _ interface{}) string {
		return fmt.Sprintf("%+v", input)
	},
}

func stepLock(state lockState, step lockStep) (bool, lockState) {
	switch step.kind {
	case "grant":
		together := state.token == step.token && state.shared && step.permits != alone
		if (state.token != step.previous && !together) || !fits(state.holders, step.permits) {
			return false, state
		}
		state.token, state.shared = step.token, step.permits != alone
		state.holders = with(state.holders, holder{step.hold, step.permits})
		return true, state
	case "end":
		left := without(state.holders, step.hold)
		if len(left) == len(state.holders) {
			return false, state
		}
		state.holders = left
		return true, state
	case "denied":
		return len(state.holders) > 0 || state.unknown, state
	default: // maybe
		state.unknown = true
		return true, state
	}
}

func fits(holders []holder, permits int) bool {
	for _, other := range holders {
		if permits == alone || other.permits == alone {
			return false
		}
		if other.permits != 0 && len(holders) >= other.permits {
			return false
		}
	}
	return permits <= 0 || len(holders) < permits
}

func with(holders []holder, one holder) []holder {
	more := append(append([]holder{}, holders...), one)
	sort.Slice(more, func(i, j int) bool { return more[i].hold < more[j].hold })
	return more
}

func without(holders []holder, hold int) []holder {
	var left []holder
	for _, one := range holders {
		if one.hold != hold {
			left = append(left, one)
		}
	}
	return left
}

func equalLocks(one, other lockState) bool {
	if one.token != other.token || one.shared != other.shared || one.unknown != other.unknown ||
		len(one.holders) != len(other.holders) {
		return false
	}
	for i := range one.holders {
		if one.holders[i] != other.holders[i] {
			return false
		}
	}
	return true
}
