// The programs of a run: the suite's origin and client, and Larder. Each listens on a port that is
// free, and is stopped by its own process id.

import { spawn, execFileSync } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { createInterface } from 'node:readline'

export const root = fileURLToPath(new URL('../..', import.meta.url))

const START_LIMIT_MS = 20_000
const STOP_LIMIT_MS = 10_000

/** Cargo's target directory. */
export function targetDir () {
  const metadata = cargo(['metadata', '--format-version=1', '--no-deps', '--locked'], 'pipe')
  return JSON.parse(metadata).target_directory
}

/** Builds Larder. The path of the binary. */
export function build () {
  cargo(['build', '--locked', '--bin', 'larder'], 'inherit')
  return join(targetDir(), 'debug', 'larder')
}

function cargo (args, stdout) {
  return execFileSync('cargo', args, { cwd: root, stdio: ['ignore', stdout, 'inherit'], maxBuffer: 1 << 26 })
}

const started = new Set()

/** Ends what was started, and waits for it. */
export async function stopAll () {
  await Promise.all([...started].map(async child => {
    if (child.exitCode !== null || child.signalCode !== null) return
    const gone = once(child, 'exit')
    child.kill('SIGTERM')
    const late = setTimeout(() => child.kill('SIGKILL'), STOP_LIMIT_MS)
    await gone
    clearTimeout(late)
  }))
}

function start (command, args, options) {
  const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'pipe'], ...options })
  started.add(child)
  child.on('error', error => { throw error })
  return child
}

/** What `pattern` finds in a line of `stream`; the rest of the stream is read and dropped. */
async function lineOf (child, stream, pattern) {
  let timer
  const seen = []
  const found = new Promise((resolve, reject) => {
    timer = setTimeout(() => reject(new Error(`${child.spawnfile} did not say ${pattern}: ${seen.join('\n')}`)), START_LIMIT_MS)
    child.once('exit', code => reject(new Error(`${child.spawnfile} ended with ${code}: ${seen.join('\n')}`)))
    createInterface({ input: child[stream] }).on('line', line => {
      if (seen.length < 50) seen.push(line)
      const match = pattern.exec(line)
      if (match) resolve(match[1])
    })
  })
  return found.finally(() => clearTimeout(timer))
}

/** The suite's origin server. Its port. */
export async function startOrigin (suite, scratch) {
  const environment = npmEnvironment({ protocol: 'http', port: '0', pidfile: join(scratch, 'origin.pid') })
  const child = start(process.execPath, ['--no-warnings', suite.server], { cwd: suite.dir, env: environment })
  child.stderr.resume()
  return lineOf(child, 'stdout', /^Listening on http:\/\/.*:(\d+)\//)
}

/** A Larder before the origin on `port`, with nothing set but `settings`. Its URL. */
export async function startLarder (binary, port, directory, settings) {
  mkdirSync(directory)
  const inherited = Object.entries(process.env).filter(([name]) => !name.startsWith('LARDER_'))
  const child = start(
    binary,
    ['--listen', '127.0.0.1:0', '--admin', '127.0.0.1:0', '--upstream', `http://127.0.0.1:${port}`],
    {
      cwd: directory, // no config.toml of anybody's
      env: { ...Object.fromEntries(inherited), CACHE_DIRECTORY: join(directory, 'cache'), ...settings }
    }
  )
  child.stdout.resume()
  return `http://${await lineOf(child, 'stderr', /listening proxy=(\S+)/)}`
}

/** The suite's client, against `base`: what it prints. */
export async function runClient (suite, base, id) {
  const environment = npmEnvironment({ base, id })
  const child = start(process.execPath, ['--no-warnings', suite.client], { cwd: suite.dir, env: environment })
  const printed = []
  child.stdout.on('data', data => printed.push(data))
  child.stderr.pipe(process.stderr)
  const [code] = await once(child, 'close')
  if (code !== 0) throw new Error(`the suite's client ended with ${code}`)
  return Buffer.concat(printed).toString()
}

/** What `npm run` would hand to a script; an empty setting counts only by its package's name. */
function npmEnvironment (settings) {
  const environment = { ...process.env }
  for (const [name, value] of Object.entries(settings)) {
    environment[`npm_config_${name}`] = value
    environment[`npm_package_config_${name}`] = value
  }
  return environment
}
