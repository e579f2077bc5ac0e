/** ICE restarts while media flows: the browser's on what it sends, the server's on what it receives. */

import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'

import { Browser, Server, until } from './harness.mjs'

const ROOM = 5001
/** @type {Server} */ let server
/** @type {Browser} */ let browser

before(async () => {
  server = await Server.start()
  browser = await Browser.start()
})
after(async () => {
  await browser?.stop()
  await server?.stop()
})

/** The ICE user name of our side, and how many checks were answered. @param {import('./harness.mjs').PagePeer} peer @param {'up' | 'down'} direction */
const ice = (peer, direction) =>
  peer.page.evaluate(async (direction) => {
    const all = [...((await window.peer.room.stats())[direction]?.values() ?? [])]
    return all.find((one) => one.type === 'transport')?.iceLocalUsernameFragment
  }, direction)

test('both sides restart ICE and the picture goes on', async () => {
  const alice = await browser.peer(server, await server.ticket('alice', ROOM), { hue: 120 })
  const bob = await browser.peer(server, await server.ticket('bob', ROOM))
  const { changes } = await bob.sees('alice')
  for (const [peer, direction] of /** @type {const} */ ([[alice, 'up'], [bob, 'down']])) {
    const before = await ice(peer, direction)
    assert.ok(before)
    await peer.page.evaluate(() => window.peer.room.restart())
    await until(async () => (await ice(peer, direction)) !== before, 5000, `new credentials on ${direction}`)
    const seen = await bob.sees('alice')
    await bob.sees('alice', { changes: seen.changes + 20 })
  }
  assert.ok((await bob.sees('alice')).changes >= changes + 40)
  // The old path led on all the time: no transport was lost, and none became another.
  for (const peer of [alice, bob]) {
    const closed = await peer.page.evaluate(() => window.peer.events.filter(({ type, detail }) => type === 'closed' || (type === 'transport' && detail.state === 'closed')))
    assert.deepEqual(closed, [])
  }
  assert.deepEqual(browser.complaints, [])
})
