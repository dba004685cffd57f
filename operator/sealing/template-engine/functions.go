package main

import (
	"maps"
	"reflect"
	"slices"
	"text/template"
	"time"

	"github.com/Masterminds/sprig/v3"
)

// forbidden tell about the machine; upstream takes them away too.
var forbidden = []string{"env", "expandenv", "getHostByName"}

// random functions answer something else at each call.
var random = []string{
	"randAlpha", "randAlphaNum", "randAscii", "randBytes", "randInt", "randNumeric", "shuffle", "uuidv4",
	"bcrypt", "htpasswd", "encryptAES",
	"genPrivateKey", "genCA", "genCAWithKey", "genSelfSignedCert", "genSelfSignedCertWithKey", "genSignedCert", "genSignedCertWithKey",
	"now", "ago",
}

// clocked functions read the clock when the argument at this index is no time.
var clocked = map[string]int{"date": 1, "dateInZone": 1, "date_in_zone": 1, "htmlDate": 0, "htmlDateInZone": 0}

// functions answers Sprig's; those that depend on chance or the clock set chance when they are called.
func functions(chance *bool) template.FuncMap {
	all := sprig.GenericFuncMap()
	for _, name := range forbidden {
		delete(all, name)
	}
	for _, name := range random {
		all[name] = watched(all[name], chance, func([]reflect.Value) bool { return true })
	}
	for name, index := range clocked {
		all[name] = watched(all[name], chance, func(args []reflect.Value) bool { return !isTime(args[index]) })
	}
	all["durationRound"] = watched(all["durationRound"], chance, func(args []reflect.Value) bool {
		_, is := args[0].Interface().(time.Time) // the time since then
		return is
	})
	// Go's order of a map is random, and upstream's bytes with it; any order is one that upstream may answer.
	all["keys"] = func(dicts ...map[string]any) []string {
		keys := []string{}
		for _, dict := range dicts {
			keys = append(keys, slices.Sorted(maps.Keys(dict))...)
		}
		return keys
	}
	all["values"] = func(dict map[string]any) []any {
		values := []any{}
		for _, key := range slices.Sorted(maps.Keys(dict)) {
			values = append(values, dict[key])
		}
		return values
	}
	return all
}

// watched sets chance before each call for which when says so.
func watched(function any, chance *bool, when func(args []reflect.Value) bool) any {
	f := reflect.ValueOf(function)
	return reflect.MakeFunc(f.Type(), func(args []reflect.Value) []reflect.Value {
		*chance = *chance || when(args)
		if f.Type().IsVariadic() {
			return f.CallSlice(args)
		}
		return f.Call(args)
	}).Interface()
}

// isTime says whether Sprig takes the argument for a point in time; for anything else it takes the present one.
func isTime(v reflect.Value) bool {
	switch v.Interface().(type) {
	case time.Time, *time.Time, int64, int32, int:
		return true
	}
	return false
}
