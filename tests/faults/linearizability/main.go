// Command linearizability judges histories of locks and barriers, as clients wrote them down, with Porcupine: is there
// an order of all operations, each at one moment between its begin and its end, in which a lock as its documentation
// has it would have given the answers that were given?
//
// It reads a JSON array of histories, one a key (see History), and writes a JSON array of verdicts. What it knows of
// locks stands in locks.go, of barriers in barriers.go; nothing of accord is used.
package main

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"time"

	"github.com/anishathalye/porcupine"
)

const (
	// Porcupine takes exponential time in the worst case. A history that takes longer is told to be undecided, which is
	// no acquittal.
	timeout = 60 * time.Second
	never   = math.MaxInt64
)

// History is what happened under one key. Parties is the number of a barrier's.
type History struct {
	Key        string      `json:"key"`
	Model      string      `json:"model"`
	Parties    int         `json:"parties"`
	Operations []Operation `json:"operations"`
}

// Operation is one call of a client. Times are of one monotonic clock, in ns; EndedNs is null while nobody knows how it
// ended. Outcome is "ok", "denied" (an acquire, by a recorded decision), "lost" (a release: the lease had ended before),
// "broken" (a wait at a barrier) or "unknown" (it may have happened, at any time from its begin on).
type Operation struct {
	ID        int    `json:"id"`
	Kind      string `json:"kind"` // acquire, release, wait
	Name      string `json:"name"` // for people
	Outcome   string `json:"outcome"`
	InvokedNs int64  `json:"invoked_ns"`
	EndedNs   *int64 `json:"ended_ns"`

	// Of an acquire: with how many it is shared (null: alone, 0: any number), its fencing token, and the earliest moment
	// at which its lease can have ended without a release.
	Permits *int  `json:"permits"`
	Token   int64 `json:"token"`
	LeaseNs int64 `json:"lease_ns"`

	Of    int `json:"of"`    // of a release: the acquire that it ends
	Place int `json:"place"` // of a wait that was not broken: in the order of arrival, from 0
}

// Verdict is "ok", "violation" or "undecided". Of a violation, Placed of Steps could be put in order, and Stuck names
// some of those that could not.
type Verdict struct {
	Key     string   `json:"key"`
	Verdict string   `json:"verdict"`
	Steps   int      `json:"steps"`
	Placed  int      `json:"placed"`
	Stuck   []string `json:"stuck"`
}

func main() {
	var histories []History
	decoder := json.NewDecoder(os.Stdin)
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&histories); err != nil {
		fail("the histories cannot be read: %v", err)
	}
	verdicts := make([]Verdict, 0, len(histories))
	for _, history := range histories {
		verdicts = append(verdicts, judge(history))
	}
	if err := json.NewEncoder(os.Stdout).Encode(verdicts); err != nil {
		fail("the verdicts cannot be written: %v", err)
	}
}

func fail(format string, arguments ...any) {
	fmt.Fprintf(os.Stderr, format+"\n", arguments...)
	os.Exit(2)
}

func judge(history History) Verdict {
	var model porcupine.Model
	var steps []porcupine.Operation
	switch history.Model {
	case "lock":
		model, steps = lockModel, lockSteps(history.Operations)
	case "barrier":
		model, steps = barrierModel(history.Parties), barrierSteps(history.Operations)
	default:
		fail("%s: there is no model %q", history.Key, history.Model)
	}
	result, information := porcupine.CheckOperationsVerbose(model, steps, timeout)
	verdict := Verdict{Key: history.Key, Steps: len(steps), Placed: len(steps), Stuck: []string{}}
	switch result {
	case porcupine.Ok:
		verdict.Verdict = "ok"
		return verdict
	case porcupine.Unknown:
		verdict.Verdict = "undecided"
	default:
		verdict.Verdict = "violation"
	}
	verdict.Placed, verdict.Stuck = whereItStuck(steps, information)
	return verdict
}

// whereItStuck gives the length of the longest order that was found, and the steps that ended first of those left over.
func whereItStuck(steps []porcupine.Operation, information porcupine.LinearizationInfo) (int, []string) {
	const told = 4
	var longest []porcupine.Operation
	for _, partition := range information.PartialLinearizationsOperations() {
		for _, order := range partition {
			if len(order) > len(longest) {
				longest = order
			}
		}
	}
	placed := map[string]bool{}
	for _, step := range longest {
		placed[name(step)] = true
	}
	stuck := []string{}
	var last int64 = math.MinInt64
	for len(stuck) < told {
		next := -1
		for i, step := range steps {
			if !placed[name(step)] && step.Return > last && (next < 0 || step.Return < steps[next].Return) {
				next = i
			}
		}
		if next < 0 {
			break
		}
		last = steps[next].Return
		stuck = append(stuck, name(steps[next]))
	}
	return len(longest), stuck
}

func name(step porcupine.Operation) string {
	return step.Metadata.(string)
}

// at makes a step that happened at one moment from call to end; end null is never.
func at(call int64, end *int64, text string, input any) porcupine.Operation {
	step := porcupine.Operation{Call: call, Return: never, Input: input, Metadata: text}
	if end != nil {
		step.Return = *end
	}
	return step
}
