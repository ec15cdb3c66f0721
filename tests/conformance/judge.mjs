// What the suite itself makes of its results (its test-engine/lib/results.mjs): a test has passed if
// its own assertions held and every test that it depends on has passed, of whatever kind that is.

/** One verdict a test: `{ id, kind, passed }`. A test that was not run has not passed. */
export function verdicts (tests, results) {
  const byId = new Map(tests.map(test => [test.id, test]))
  const passed = id => {
    const test = byId.get(id)
    if (test === undefined) throw new Error(`a test depends on ${id}, which there is not`)
    return results[id] === true && (test.depends_on ?? []).every(passed)
  }
  return tests.map(({ id, kind = 'required' }) => ({ id, kind, passed: passed(id) }))
}
