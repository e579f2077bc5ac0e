/** A client whose address changes under it: its NAT goes from one uplink to the other. */

import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'

import { Browser, until } from '../chrome/harness.mjs'
import { inside, pageTools, startServer, wrapped } from './namespaces.mjs'

const GAP_MS_MAX = 2000

/** @type {import('../chrome/harness.mjs').Server} */ let server
/** @type {Browser} */ let browser

before(async () => {
  server = await startServer()
  browser = await Browser.start({ executablePath: wrapped('rc-phone', '/usr/bin/chromium') })
})
after(async () => {
  await browser?.stop()
  await server?.stop()
})

test('Wi-Fi to mobile: media goes on within 2 s, without an ICE restart', async () => {
  const page = await browser.page()
  await page.goto(`http://${server.http}/healthz`)
  await page.evaluate(pageTools)
  await page.evaluate((ticket) => window.tools.publish(ticket), await server.ticket('phone', 77))
  // It watches itself, so that a gap on either way shows.
  const watching = await server.ticket('watcher', 77)
  await until(() => page.evaluate((ticket) => window.tools.play(ticket, 'phone').then(() => true, () => false), watching), 10_000, 'the published stream')
  await until(() => page.evaluate(() => window.tools.video().then((video) => video.framesDecoded > 20)), 15_000, 'pictures')
  await page.evaluate(() => (window.tools.watch.longest = 0))

  // The Wi-Fi goes away: its connections in the NAT are forgotten, and what follows leaves by the other uplink.
  inside('rc-nat', 'ip', 'link', 'set', 'wifi', 'down')
  inside('rc-nat', 'ip', 'route', 'replace', '10.79.0.1', 'via', '10.79.4.1')
  const before = await page.evaluate(() => window.tools.video())
  await until(() => page.evaluate((packets) => window.tools.video().then((video) => video.packetsReceived > packets + 60), before.packetsReceived), 15_000, 'media after the change')
  const { longest } = await page.evaluate(() => window.tools.watch)
  const states = await page.evaluate(() => [window.tools.up.connectionState, window.tools.down.connectionState])
  console.log(`F5 Wi-Fi to mobile: longest gap, up and down together, ${Math.round(longest)} ms (bound ${GAP_MS_MAX})`, states)
  assert.ok(longest > 0 && longest <= GAP_MS_MAX, `${longest} ms`)
})
