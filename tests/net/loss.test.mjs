/** One viewer's bad network is that viewer's alone. */

import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'

import { Browser, until } from '../chrome/harness.mjs'
import { pageTools, startServer, wire, wrapped } from './namespaces.mjs'

const SECONDS = 8
const ROOM = 1001
const SOURCE = 'teststream'

/** @type {import('../chrome/harness.mjs').Server} */ let server
/** @type {Awaited<ReturnType<typeof wire>>} */ let line
/** @type {Browser[]} */ const browsers = []

before(async () => {
  server = await startServer()
  line = await wire()
})
after(async () => {
  await Promise.all(browsers.map((browser) => browser.stop()))
  await server?.stop()
  await line?.end()
})

/** A page in a namespace that plays the test stream. @param {string} space */
async function viewer(space) {
  const browser = await Browser.start({ executablePath: wrapped(space, '/usr/bin/chromium') })
  browsers.push(browser)
  const page = await browser.page()
  await page.goto(`http://${server.http}/healthz`)
  await page.evaluate(pageTools)
  await page.evaluate(([ticket, source]) => window.tools.play(ticket, source), [await server.ticket(`viewer-${space}`, ROOM), SOURCE])
  const video = () => page.evaluate(() => window.tools.video())
  await until(async () => (await video()).framesDecoded > 5, 15_000, `pictures in ${space}`)
  return video
}

/** What came between two readings. @param {any} from @param {any} to */
const between = (from, to) => Object.fromEntries(['packetsReceived', 'packetsLost', 'framesReceived', 'framesDecoded', 'nackCount', 'freezeCount'].map((name) => [name, (to[name] ?? 0) - (from[name] ?? 0)]))

test('20 % loss towards one viewer: the others lose nothing, that one has 95 % of the frames', async () => {
  const [near, far] = [await viewer('rc-firefox'), await viewer('rc-far')]
  line.set('there', 'delay=20,loss=20')
  line.set('back', 'delay=20')
  await new Promise((resolve) => setTimeout(resolve, 1000))
  const [near0, far0] = await Promise.all([near(), far()])
  await new Promise((resolve) => setTimeout(resolve, SECONDS * 1000))
  // What is still being repaired counts too: a frame that waits for its last packet at this very moment is late, not lost.
  line.set('there', 'delay=20,loss=0')
  await new Promise((resolve) => setTimeout(resolve, 1000))
  const [near1, far1] = await Promise.all([near(), far()])
  const [good, bad] = [between(near0, near1), between(far0, far1)]
  const share = bad.framesReceived / good.framesReceived
  console.log(`20 % loss: frames complete ${(100 * share).toFixed(1)} % (bound 95), other viewer lost ${good.packetsLost} (bound 0)`, JSON.stringify({ good, bad }))
  assert.equal(good.packetsLost, 0)
  assert.ok(good.framesReceived > SECONDS * 10, `${good.framesReceived} frames without loss`)
  assert.ok(share >= 0.95, `${bad.framesReceived} of ${good.framesReceived} frames`)
})
