// The two forms of the suite, neither of them part of this repository: each is put together under
// target/conformance/, with what it needs beside it.

import { execFileSync } from 'node:child_process'
import { cpSync, existsSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { pathToFileURL } from 'node:url'

import { verdicts } from './judge.mjs'
import { targetDir } from './processes.mjs'

const RELEASE = {
  version: '0.4.5',
  integrity: 'sha512-DjuwN9nUZXLTW+wav1LRESCZNVxl8SshwOy4z1pxuWbWt5/ay6sM9QQ1lebBaDO6P1IMBoK6mdf+PuVP/QNL8A=='
}
/** What the suite's client and server load, and nothing else of its dependencies. */
const UNDICI = '7.30.2'
const NODE_FETCH = '2.7.0'

/** A checkout of the current source: copied, so that nothing is written into it. */
export async function currentSuite (checkout) {
  const from = resolve(checkout)
  if (!existsSync(join(from, 'test-engine', 'cli.mjs'))) {
    throw new Error(`${checkout} is no checkout of http-tests/cache-tests`)
  }
  const place = join(workshop(), 'current')
  rmSync(place, { recursive: true, force: true })
  mkdirSync(place)
  for (const part of ['test-engine', 'tests', 'package.json']) {
    cpSync(join(from, part), join(place, part), { recursive: true })
  }
  if (existsSync(join(from, 'node_modules', 'undici'))) {
    cpSync(join(from, 'node_modules', 'undici'), join(place, 'node_modules', 'undici'), { recursive: true })
  } else {
    install('undici', UNDICI)
  }
  return suite('current', `http-tests/cache-tests, checkout${commit(from)}`, place, {
    server: 'test-engine/server/server.mjs',
    client: 'test-engine/cli.mjs'
  })
}

/** npm's release, which is older. */
export async function npmSuite () {
  const { version, integrity } = RELEASE
  const place = join(workshop(), `npm-${version}`)
  if (!existsSync(place)) {
    const unpacked = `${place}.new`
    rmSync(unpacked, { recursive: true, force: true })
    mkdirSync(unpacked)
    const [packed] = JSON.parse(npm(['pack', '--json', `http-cache-tests@${version}`], unpacked))
    if (packed.integrity !== integrity) {
      throw new Error(`http-cache-tests@${version} is not what it was: ${packed.integrity}`)
    }
    execFileSync('tar', ['xzf', packed.filename, '--strip-components=1'], { cwd: unpacked })
    renameSync(unpacked, place)
  }
  install('node-fetch', NODE_FETCH)
  return suite('npm', `npm's http-cache-tests ${version}`, place, {
    server: 'server/server.mjs',
    client: 'cli.mjs'
  })
}

async function suite (form, title, dir, files) {
  const load = async file => (await import(pathToFileURL(join(dir, file)))).default
  const list = groups => groups.flatMap(group => group.tests).filter(test => !test.browser_only)
  const tests = list(await load('tests/index.mjs'))
  // The old client adds these itself; the current source has CDN-Cache-Control in their place.
  const surrogate = form === 'npm' ? list([await load('tests/surrogate-control.mjs')]) : []
  const all = [...tests, ...surrogate]
  const judge = (results, run) => {
    const mine = new Set((run === 'surrogate' ? surrogate : tests).map(test => test.id))
    return verdicts(all, results).filter(verdict => mine.has(verdict.id))
  }
  const { server, client } = files
  return { form, title, dir, server, client, judge, surrogate: surrogate.length > 0 }
}

function workshop () {
  const place = join(targetDir(), 'conformance')
  mkdirSync(place, { recursive: true })
  const manifest = join(place, 'package.json')
  if (!existsSync(manifest)) writeFileSync(manifest, '{ "private": true }\n')
  return place
}

/** Beside the suites, where their imports find it. */
function install (name, version) {
  const place = workshop()
  const manifest = join(place, 'node_modules', name, 'package.json')
  if (existsSync(manifest) && JSON.parse(readFileSync(manifest)).version === version) return
  npm(['install', '--no-audit', '--no-fund', '--ignore-scripts', '--save-exact', `${name}@${version}`], place)
}

function npm (args, cwd) {
  return execFileSync('npm', args, { cwd, stdio: ['ignore', 'pipe', 'inherit'], encoding: 'utf8' })
}

function commit (checkout) {
  try {
    const hash = execFileSync('git', ['-C', checkout, 'rev-parse', '--short', 'HEAD'], { stdio: ['ignore', 'pipe', 'ignore'] })
    return ` at ${hash.toString().trim()}`
  } catch {
    return '' // not a git work tree
  }
}
