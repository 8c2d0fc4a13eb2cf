package main

import (
	"fmt"
	"strings"

	"github.com/anishathalye/porcupine"
)

// The model of a barrier: the last of its parties to come lets all who wait go, each with its place in the order of
// arrival; or the barrier breaks for all who wait, and for nobody else.
//
// A wait is two steps within one call: it comes, and later it goes, either with a place or because the barrier broke. A
// break has no step of its own; it is when the first of those that it hits goes. A wait of unknown outcome comes, at any
// moment from its begin on or never, and is not seen to go.
type barrierStep struct {
	wait  int
	comes bool
	place int // of one that goes: its place; broken
}

const broken = -1

// barrierState is a value that nobody changes: who waits, in order of arrival, and who is free to go, with which place.
// Both as text, `id id ` and `id=place id=place `, so that states compare.
type barrierState struct {
	waiting string
	free    string
}

func barrierSteps(operations []Operation) []porcupine.Operation {
	var steps []porcupine.Operation
	for _, o := range operations {
		place := o.Place
		switch o.Outcome {
		case "unknown":
			steps = append(steps, at(o.InvokedNs, nil, "comes, not seen to go: "+o.Name, barrierStep{o.ID, true, 0}))
			continue
		case "broken":
			place = broken
		case "ok":
		default:
			fail("%s: a barrier has no %s that is %q", o.Name, o.Kind, o.Outcome)
		}
		steps = append(steps,
			at(o.InvokedNs, o.EndedNs, "comes: "+o.Name, barrierStep{o.ID, true, 0}),
			at(o.InvokedNs, o.EndedNs, "goes: "+o.Name, barrierStep{o.ID, false, place}))
	}
	return steps
}

func barrierModel(parties int) porcupine.Model {
	return porcupine.Model{
		Init: func() interface{} { return barrierState{} },
		Step: func(state, input, _ interface{}) (bool, interface{}) {
			return stepBarrier(state.(barrierState), input.(barrierStep), parties)
		},
		DescribeOperation: func(input, _ interface{}) string { return fmt.Sprintf("%+v", input) },
	}
}

func stepBarrier(state barrierState, step barrierStep, parties int) (bool, barrierState) {
	waiting := strings.Fields(state.waiting)
	id := fmt.Sprint(step.wait)
	if step.comes {
		waiting = append(waiting, id)
		if len(waiting) < parties {
			return true, barrierState{join(waiting), state.free}
		}
		return true, barrierState{"", state.free + join(placed(waiting, false))}
	}
	if step.place == broken && contains(waiting, id) {
		state = barrierState{"", state.free + join(placed(waiting, true))}
	}
	free := strings.Fields(state.free)
	for i, one := range free {
		if one == fmt.Sprintf("%s=%d", id, step.place) {
			return true, barrierState{state.waiting, join(append(append([]string{}, free[:i]...), free[i+1:]...))}
		}
	}
	return false, state
}

func placed(waiting []string, broke bool) []string {
	var found []string
	for place, id := range waiting {
		if broke {
			place = broken
		}
		found = append(found, fmt.Sprintf("%s=%d", id, place))
	}
	return found
}

func contains(waiting []string, id string) bool {
	for _, one := range waiting {
		if one == id {
			return true
		}
	}
	return false
}

func join(words []string) string {
	if len(words) == 0 {
		return ""
	}
	return strings.Join(words, " ") + " "
}
