// Runs the suite several times at once, each time through a Larder of its own: with
// share_set_cookie, the run that is scored; with nothing set, which may differ by tests of
// Set-Cookie only; and, for npm's tests of Surrogate-Control, with that field heard.
// Compares all with expected.txt. Exit code 0: no test is worse than expected.

import { rmSync, mkdtempSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'

import { expectations, compare } from './expected.mjs'
import { build, startLarder, startOrigin, runClient, stopAll } from './processes.mjs'
import { currentSuite, npmSuite } from './suites.mjs'

const { values: options } = parseArgs({
  options: {
    suite: { type: 'string' },
    id: { type: 'string', default: '' },
    larder: { type: 'string' }
  }
})

const RUNS = [
  { name: 'share_set_cookie', settings: { LARDER_CACHE__SHARE_SET_COOKIE: 'true' } },
  { name: 'default', settings: {} },
  { name: 'surrogate', settings: { LARDER_CACHE__TARGETED: 'Surrogate-Control' } }
]

const scratch = mkdtempSync(join(tmpdir(), 'larder-conformance-'))
for (const signal of ['SIGINT', 'SIGTERM']) process.once(signal, () => end(130))

async function end (code) {
  await stopAll()
  rmSync(scratch, { recursive: true, force: true })
  process.exit(code)
}

async function main () {
  const suite = options.suite ? await currentSuite(options.suite) : await npmSuite()
  const larder = options.larder ?? build()
  const origin = await startOrigin(suite, scratch)
  console.log(`suite: ${suite.title}`)
  if (options.id) {
    const base = await startLarder(larder, origin, join(scratch, 'one'), RUNS[0].settings)
    console.log(await runClient(suite, base, options.id))
    return 0
  }
  const began = Date.now()
  const runs = RUNS.filter(run => run.name !== 'surrogate' || suite.surrogate)
  const finished = await Promise.all(runs.map(async run => {
    const base = await startLarder(larder, origin, join(scratch, run.name), run.settings)
    return { ...run, results: resultsOf(await runClient(suite, base, '')) }
  }))
  const judged = finished.map(run => ({ ...run, verdicts: suite.judge(run.results, run.name) }))
  const expected = expectations(suite.form, judged.flatMap(run => run.verdicts.map(({ id }) => id)))
  const worse = judged.reduce((sum, run) => sum + report(run, expected), 0)
  console.log(`\ntook ${Math.round((Date.now() - began) / 1000)} s`)
  return worse === 0 ? 0 : 1
}

/** The client prints its results last, behind whatever it had to say. */
function resultsOf (printed) {
  return JSON.parse(printed.slice(printed.search(/^\{$/m)))
}

function report (run, expected) {
  const { verdicts, results } = run
  const settings = Object.entries(run.settings).map(([key, value]) => `${key}=${value}`)
  console.log(`\n== run ${run.name}: ${settings.join(' ') || 'default configuration'}`)
  const score = kind => {
    const of = verdicts.filter(verdict => verdict.kind === kind)
    return `${kind} ${of.filter(verdict => verdict.passed).length}/${of.length}`
  }
  console.log(['required', 'optimal', 'check'].map(score).join(', '))
  const { worse, better, known } = compare(verdicts, expected, run.name)
  const why = id => Array.isArray(results[id]) ? results[id].join(': ') : 'a test it depends on failed'
  for (const { id, kind, reason } of known) console.log(`  known   ${kind} ${id}: ${reason}`)
  for (const { id, kind } of worse) console.log(`  WORSE   ${kind} ${id}: ${why(id)}`)
  for (const id of better) console.log(`  better  ${id}: update the list (tests/conformance/expected.txt)`)
  console.log(worse.length === 0 ? 'no test is worse than expected' : `${worse.length} worse than expected`)
  return worse.length
}

main().then(end, error => {
  console.error(error)
  return end(1)
})
