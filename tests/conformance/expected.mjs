// expected.txt: which tests Larder does not pass, and why.

import { readFileSync } from 'node:fs'

const FILE = new URL('expected.txt', import.meta.url)

/**
 * The lines that hold for a form of the suite. A line is `FORM RUN TEST-ID REASON...`; `*` stands
 * for every form, or every run. `known` are the ids that there are.
 */
export function expectations (form, known) {
  const lines = readFileSync(FILE, 'utf8').split('\n')
    .filter(line => line.trim() !== '' && !line.startsWith('#'))
    .map(line => {
      const [lineForm, run, id, ...reason] = line.trim().split(/\s+/)
      if (reason.length === 0) throw new Error(`expected.txt: a line without a reason: ${line}`)
      return { form: lineForm, run, id, reason: reason.join(' ') }
    })
    .filter(line => line.form === form || line.form === '*')
  const stray = lines.find(({ id }) => !known.includes(id))
  if (stray) throw new Error(`expected.txt names a test that there is not: ${stray.id}`)
  return lines
}

/**
 * What differs from the list. Only what is required or optimal is compared: tests of kind `check`
 * ask how a cache behaves, and have no right answer.
 */
export function compare (verdicts, expected, run) {
  const excuse = id =>
    expected.find(line => line.id === id && (line.run === '*' || line.run === run))?.reason
  const scored = verdicts.filter(({ kind }) => kind !== 'check')
    .map(verdict => ({ ...verdict, reason: excuse(verdict.id) }))
  const failed = scored.filter(({ passed }) => !passed)
  return {
    worse: failed.filter(({ reason }) => reason === undefined),
    known: failed.filter(({ reason }) => reason !== undefined),
    better: scored.filter(({ passed, reason }) => passed && reason !== undefined).map(({ id }) => id)
  }
}
