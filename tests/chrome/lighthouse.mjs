#!/usr/bin/env node
/**
 * Lighthouse's judgement of the demo page before joining: prints score, metrics and what costs; ends with 1 below 90. To be run on a machine
 * that has nothing else to do, against a release build. Not among the tests, because Lighthouse is large: npx fetches it.
 *
 * The preview's stream never ends, so everything else that the machine does counts against the page.
 *
 * usage: tests/chrome/lighthouse.mjs [runs]     (ROOMCAST_BIN, CHROMIUM_BIN; LIGHTHOUSE_BIN for one that is there already)
 */
import { execFile } from 'node:child_process'
import { promisify } from 'node:util'

import { Server } from './harness.mjs'

const LIGHTHOUSE = 'lighthouse@12.8.2'
const SCORE_MIN = 90
const METRICS = ['first-contentful-paint', 'largest-contentful-paint', 'speed-index', 'total-blocking-time', 'cumulative-layout-shift']

const runs = Number(process.argv[2] ?? 3)
const run = promisify(execFile)
const server = await Server.start()
/** @type {number[]} */ const scores = []
try {
  for (let n = 0; n < runs; n++) {
    const [command, ...first] = process.env.LIGHTHOUSE_BIN ? [process.env.LIGHTHOUSE_BIN] : ['npx', '--yes', LIGHTHOUSE]
    const { stdout } = await run(
      command,
      [...first, `${server.origin}/?roomID=1001`, '--quiet', '--only-categories=performance', '--output=json', '--output-path=stdout', '--chrome-flags=--headless=new --no-sandbox --disable-gpu'],
      { maxBuffer: 64 << 20, env: { ...process.env, CHROME_PATH: process.env.CHROMIUM_BIN ?? '/usr/bin/chromium' } },
    )
    const { categories, audits } = JSON.parse(stdout)
    scores.push(Math.round(categories.performance.score * 100))
    console.log(`score ${scores.at(-1)}: ${METRICS.map((id) => `${audits[id].title} ${audits[id].displayValue}`).join(', ')}`)
    if (n > 0) continue
    for (const { id, weight } of categories.performance.auditRefs) {
      const { title, score, displayValue = '', details } = audits[id]
      if (weight === 0 && score !== null && score < 0.9) console.log(`  ${id}: ${title} ${displayValue} ${details?.overallSavingsMs ? `(${Math.round(details.overallSavingsMs)} ms)` : ''}`)
    }
  }
} finally {
  await server.stop()
}
const median = scores.sort((a, b) => a - b)[scores.length >> 1]
console.log(`median of ${runs}: ${median}`)
process.exitCode = median >= SCORE_MIN ? 0 : 1
