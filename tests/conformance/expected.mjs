// expected.txt: which tests Larder does not pass, and why.

import { readFileSync } from 'node:fs'

const FILE = new URL('expected.txt', import.meta.url)

/**
 * The lines that hold for a form of the suite, as a map from test id to `{ run, reason }`.
 * A line is `FORM RUN TEST-ID REASON...`; `*` stands for every form, or every run.
 */
export function expectations (form) {
  const found = new Map()
  for (const line of readFileSync(FILE, 'utf8').split('\n')) {
    if (line.trim() === '' || line.startsWith('#')) continue
    const [lineForm, run, id, ...reason] = line.trim().split(/\s+/)
    if (reason.length === 0) throw new Error(`expected.txt: a line without a reason: ${line}`)
    if (lineForm === form || lineForm === '*') found.set(id, { run, reason: reason.join(' ') })
  }
  return found
}

/**
 * What differs from the list. Only what is required or optimal is compared: tests of kind `check`
 * ask how a cache behaves, and have no right answer.
 */
export function compare (verdicts, expected, run) {
  const scored = verdicts.filter(verdict => verdict.kind !== 'check')
  const excused = id => {
    const line = expected.get(id)
    return line && (line.run === '*' || line.run === run) ? line.reason : undefined
  }
  const failed = scored.filter(verdict => !verdict.passed)
  const ids = new Set(verdicts.map(verdict => verdict.id))
  const strays = [...expected.keys()].filter(id => !ids.has(id))
  if (strays.length > 0) throw new Error(`expected.txt names tests that there are not: ${strays}`)
  return {
    worse: failed.filter(({ id }) => excused(id) === undefined),
    better: scored.filter(({ id, passed }) => passed && excused(id)).map(({ id }) => id),
    known: failed.filter(({ id }) => excused(id)).map(({ id, kind }) => ({ id, kind, reason: excused(id) }))
  }
}
