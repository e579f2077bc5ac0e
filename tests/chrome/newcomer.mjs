#!/usr/bin/env node
/**
 * A newcomer's path, timed: the commands of docs/first-room.md as they stand there, in an empty folder, then the printed link and one click on
 * *Join*, until one's own face is on the screen. Fails if it takes more than two commands or one click. Needs the ports of a fresh server
 * (8080, 8443, 1935, 8000) and builds everything, so it is not among the tests.
 *
 * usage: tests/chrome/newcomer.mjs [REPOSITORY]    what is cloned in the place of the address in the text; this repository if left out
 *   NEWCOMER_PROFILE=dev builds without --release
 */
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

import { Browser } from './harness.mjs'

const ROOT = fileURLToPath(new URL('../../', import.meta.url))
const COMMANDS_MAX = 2
const CLICKS_MAX = 1
/** How long building may take, in milliseconds. */
const BUILD_MS = 3_600_000

const repository = process.argv[2] ?? ROOT
const text = await readFile(join(ROOT, 'docs/first-room.md'), 'utf8')
const commands = (text.match(/```sh\n([^`]+)```/)?.[1] ?? assert.fail('no commands in docs/first-room.md')).trim().split('\n')
assert.ok(commands.length <= COMMANDS_MAX, `${commands.length} commands`)
const typed = commands.map((command) => command.replace(/https:\S+/, `"${repository}" roomcast`)).join('\n')

const folder = await mkdtemp(join(tmpdir(), 'roomcast-newcomer-'))
const startedAt = Date.now()
const since = () => `${((Date.now() - startedAt) / 1000).toFixed(1)} s`
// A group of its own, so that all of it ends together.
const shell = spawn('sh', ['-c', process.env.NEWCOMER_PROFILE === 'dev' ? typed.replace(' --release', '') : typed], { cwd: folder, detached: true, stdio: ['ignore', 'pipe', 'inherit'] })
/** @type {Browser | undefined} */ let browser
try {
  const link = await printed(shell, /^\s*Open\s+(\S+)/m)
  console.log(`${since()}: ${commands.length} commands typed, the server runs`)
  browser = await Browser.start({ mayAutoplay: false, viewport: { width: 1280, height: 800 } })
  const page = await browser.page()
  await page.goto(link)
  await page.locator('.preview[data-playing]').waitFor()
  console.log(`${since()}: the link is open, moving pictures are there`)
  let clicks = 0
  await page.click('#join')
  clicks++
  await page.locator('[data-key="own/main"][data-state="playing"]').waitFor()
  await page.locator('[data-key="main/teststream"][data-state="playing"]').waitFor()
  assert.ok(clicks <= CLICKS_MAX)
  console.log(`${since()}: ${clicks} click, one's own face is on the screen, beside the test stream`)
} finally {
  await browser?.stop()
  if (shell.pid && shell.exitCode === null) process.kill(-shell.pid, 'SIGINT')
  await rm(folder, { recursive: true, force: true, maxRetries: 20, retryDelay: 250 })
}

/** The first group of a pattern, as soon as a process has written it. @param {import('node:child_process').ChildProcess} process @param {RegExp} pattern @returns {Promise<string>} */
function printed(process, pattern) {
  return new Promise((resolve, reject) => {
    let output = ''
    const timer = setTimeout(() => reject(new Error(`in ${BUILD_MS} ms nothing like ${pattern} in:\n${output}`)), BUILD_MS)
    process.stdout?.on('data', (data) => {
      output += data
      const found = output.match(pattern)?.[1]
      if (found) resolve((clearTimeout(timer), found))
    })
    process.on('exit', (code) => reject((clearTimeout(timer), new Error(`it ended with ${code}:\n${output}`))))
  })
}
