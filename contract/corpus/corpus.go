// Package corpus writes TypeScript monorepos of any size with SLO declarations planted at known places, for
// tests and benchmarks of a scan. It draws nothing from real code.
package corpus

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"unicode/utf16"
)

// Options says what to write. The same options write the same tree.
type Options struct {
	Files int    // source files in all, about fifty to a package
	Seed  uint64 //
	Share int    // one file in Share declares something; 0 means 40
}

// Planted is a declaration that a scan must find.
type Planted struct {
	File      string
	Line, Col int
	Kind      string
	Target    float64
}

const perPackage = 50

// Write fills dir with a monorepo and lists what is planted, in the order of packages and files.
func Write(dir string, o Options) ([]Planted, error) {
	if o.Share == 0 {
		o.Share = 40
	}
	w := &writer{dir: dir, random: rand.New(rand.NewPCG(o.Seed, 1)), share: o.Share}
	w.file("package.json", `{ "private": true, "workspaces": ["packages/*"] }`)
	w.file("tsconfig.json", `{ "compilerOptions": { "paths": { "@tiers/*": ["./packages/tiers/src/*"] } } }`)
	w.file(".gitignore", "dist/\n*.generated.ts\n")
	w.file("packages/tiers/package.json", `{ "name": "@corpus/tiers", "exports": "./dist/index.js" }`)
	w.file("packages/tiers/src/index.ts", "export * from './gold.js';\nexport { SILVER } from './silver';\n")
	w.file("packages/tiers/src/gold.ts", "export const GOLD = { target: 0.999 } as const;\n")
	w.file("packages/tiers/src/silver.ts", "export enum Tier { Silver = 0.99 }\nexport const SILVER = Tier.Silver;\n")
	for i := 3; i < o.Files; i++ {
		w.source(i)
	}
	return w.planted, w.err
}

type writer struct {
	dir     string
	random  *rand.Rand
	share   int
	planted []Planted
	err     error
}

func (w *writer) file(name, text string) {
	full := filepath.Join(w.dir, filepath.FromSlash(name))
	if w.err == nil {
		w.err = os.MkdirAll(filepath.Dir(full), 0o755)
	}
	if w.err == nil {
		w.err = os.WriteFile(full, []byte(text), 0o644)
	}
}

// text is a file while it is written; it knows where it is, in UTF-16 units.
type text struct {
	strings.Builder
	line, col int
}

func (t *text) add(s string) {
	t.WriteString(s)
	for _, r := range s {
		if r == '\n' {
			t.line, t.col = t.line+1, 1
			continue
		}
		t.col += max(1, utf16.RuneLen(r))
	}
}

func (w *writer) source(i int) {
	folder := fmt.Sprintf("packages/p%03d", i/perPackage)
	if i%perPackage == 0 {
		w.file(folder+"/package.json", fmt.Sprintf(`{ "name": "@corpus/p%03d" }`, i/perPackage))
	}
	name := fmt.Sprintf("%s/src/m%d/file%05d.%s", folder, i%7, i, []string{"ts", "ts", "ts", "tsx"}[i%4])
	t := &text{line: 1, col: 1}
	declares := w.random.IntN(w.share) == 0
	t.add("import { useState } from 'react';\nimport { helper } from '../helper';\n")
	if declares {
		t.add("import { SLO, ErrorBudgetInstrument } from '@slowburn/instrument';\nimport { GOLD, SILVER } from '@corpus/tiers';\nimport { GOLD as G } from '@tiers/gold';\n")
	}
	for range 4 + w.random.IntN(8) {
		w.filler(t)
		if declares && w.random.IntN(3) == 0 {
			w.plant(t, name)
		}
	}
	w.file(name, t.String())
}

// filler is code that declares nothing, some of it in words that nearly do.
func (w *writer) filler(t *text) {
	n := w.random.IntN(1000)
	pieces := []string{
		"export function f%[1]d(a: number, b: string): string {\n  const x = a * %[1]d; // it's a 'note'\n  return `${b}:${x > 2 ? 'more' : \"less\"}`;\n}\n",
		"export class Repo%[1]d<T extends { id: string }> {\n  private readonly rows = new Map<string, T>();\n  add(row: T) { this.rows.set(row.id, row); return this; }\n}\n",
		"/**\n * Adds up é and 𝄞. See the %[2]s page.\n */\nexport const sum%[1]d = (...xs: number[]) => xs.reduce((a, b) => a + b, %[1]d);\n",
		"export interface Row%[1]d { readonly id: string; tags?: readonly string[]; sloTarget?: number }\n",
		"const pattern%[1]d = /[/'\"`]+%[1]d/gu, half%[1]d = %[1]d / 2;\n",
		"export type Keys%[1]d<T> = { [K in keyof T as `get${string & K}`]: () => T[K] };\n",
	}
	mention := "wiki"
	if w.random.IntN(30) == 0 {
		mention = "@SLO"
	}
	piece := strings.ReplaceAll(pieces[w.random.IntN(len(pieces))], "%[2]s", mention)
	t.add(fmt.Sprintf(piece, n))
}

// plant writes one declaration and notes its place.
func (w *writer) plant(t *text, name string) {
	n := w.random.IntN(1_000_000)
	forms := []struct {
		kind          string
		before, after string
		target        float64
	}{
		{"call", fmt.Sprintf("export const a%d = ", n), "new ErrorBudgetInstrument({ sloTarget: 0.995, tenantId: context.tenantId });\n", 0.995},
		{"call", fmt.Sprintf("export const s%d = ['𝄞', ", n), "new ErrorBudgetInstrument({ ...{ burnRateThreshold: 14.4 }, sloTarget: GOLD.target })];\n", 0.999},
		{"call", fmt.Sprintf("export const q%d = () => ", n), "new ErrorBudgetInstrument({ sloTarget: Number(process.env.SLO ?? SILVER) });\n", 0.99},
		{"decorator", "", fmt.Sprintf("@SLO({ target: G.target, name: 'n%d' })\nexport class D%d {}\n", n, n), 0.999},
		{"jsdoc", "/**\n * Serves.\n * ", fmt.Sprintf("@SLO n%d target=99.5%% window=7d\n */\nexport class J%d {}\n", n, n), 0.995},
	}
	f := forms[w.random.IntN(len(forms))]
	t.add(f.before)
	w.planted = append(w.planted, Planted{File: name, Line: t.line, Col: t.col, Kind: f.kind, Target: f.target})
	t.add(f.after)
}
