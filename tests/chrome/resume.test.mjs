/** A member whose WebSocket breaks: pictures go on, nobody sees him leave, and whatever was said arrives once and in order. */

import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'

import { Wire } from '../tools/wire.mjs'
import { Browser, PagePeer, Server, until } from './harness.mjs'

/** How long the WebSocket is away. */
const CUT_MS = 5_000
/** Time between two messages of one member. */
const MESSAGE_MS = 100
/** Pictures come every 50 ms. On a machine with much else to do some come late; were media cut off, it would be for all of `CUT_MS`. */
const FREEZE_MS = 2_500

/** @type {Server} */ let server
/** @type {Browser} */ let browser
/** @type {Wire} */ let wire

before(async () => {
  server = await Server.start()
  browser = await Browser.start()
  wire = await Wire.to(server.http)
})
after(async () => {
  wire?.close()
  await browser?.stop()
  await server?.stop()
})

/** Lets a member say 0, 1, 2 and so on until he is told to stop. @param {PagePeer} peer */
const startTalking = ({ page }, ms = MESSAGE_MS) =>
  page.evaluate((ms) => {
    const talk = (window.talk = { said: 0, taken: [], stopped: null })
    const timer = setInterval(() => {
      const n = talk.said++
      window.peer.room.sendMessage({ text: String(n) }).then(
        () => talk.taken.push(n),
        (error) => talk.taken.push(`${n}: ${error.message}`),
      )
    }, ms)
    talk.stop = () => clearInterval(timer)
  }, ms)

/** @param {PagePeer} peer @returns {Promise<number>} how much was said, when all of it was taken */
async function stopTalking({ page }) {
  await page.evaluate(() => window.talk.stop())
  await page.waitForFunction(() => window.talk.taken.length === window.talk.said)
  const { said, taken } = await page.evaluate(() => ({ said: window.talk.said, taken: window.talk.taken }))
  assert.deepEqual(taken, [...Array(said).keys()], 'every message was acknowledged, once and in order')
  return said
}

/** @param {PagePeer} peer @param {string} from @returns {Promise<string[]>} */
const heard = ({ page }, from) =>
  page.evaluate((id) => window.peer.events.filter(({ type, detail }) => type === 'message' && detail.from === id).map(({ detail }) => detail.text), from)

test('a WebSocket that is away for 5 s: pictures go on, no leave is seen, every message arrives once and in order', async (t) => {
  const anna = await browser.peer(server, await server.ticket('anna', 2101), { toneHz: 700, hue: 0, width: 320, height: 240 })
  const bert = await browser.peer(server, await server.ticket('bert', 2101), { toneHz: 1300, hue: 120, width: 320, height: 240 })
  const page = await browser.peerPage(server)
  const ticket = await server.ticket('carl', 2101)
  await page.evaluate(([ticket, signal]) => window.peer.enter(ticket, { signal }), [ticket, `ws://${wire.host}/signal`])
  await page.evaluate(() => window.peer.publish({ toneHz: 1900, hue: 240, width: 320, height: 240 }))
  const carl = new PagePeer(page, 'carl', [])
  const peers = [anna, bert, carl]
  const names = ['anna', 'bert', 'carl']
  const others = (/** @type {PagePeer} */ peer) => names.filter((name) => name !== peer.userID)
  await Promise.all(peers.flatMap((peer) => others(peer).map((name) => peer.sees(name))))
  await Promise.all(peers.map((peer) => startTalking(peer)))

  await Promise.all(peers.map(({ page }) => page.evaluate((names) => names.forEach((name) => window.peer.longestWait(name)), names)))
  const eventsBefore = await Promise.all(peers.map(({ page }) => page.evaluate(() => window.peer.events.length)))
  wire.cut()
  await new Promise((resolve) => setTimeout(resolve, CUT_MS))
  const waits = await Promise.all(peers.flatMap((peer) => others(peer).map((name) => peer.page.evaluate((id) => window.peer.longestWait(id), name))))
  const missed = (await heard(carl, 'anna')).length
  wire.mend()
  const mendedAt = Date.now()
  await until(() => page.evaluate(() => window.peer.events.findLast(({ type }) => type === 'connection')?.detail.state === 'connected'), 10_000, 'the reconnection')
  t.diagnostic(`away for ${CUT_MS} ms, ${wire.refused} tries refused; back ${Date.now() - mendedAt} ms after the wire was mended`)
  t.diagnostic(`longest time without a new picture meanwhile, of six: ${Math.round(Math.max(...waits))} ms`)

  const said = Object.fromEntries(await Promise.all(peers.map(async (peer) => [peer.userID, await stopTalking(peer)])))
  for (const peer of peers)
    for (const name of others(peer)) {
      await until(async () => (await heard(peer, name)).length >= said[name], 5_000, `${said[name]} messages of ${name} at ${peer.userID}`)
      assert.deepEqual(await heard(peer, name), [...Array(said[name]).keys()].map(String), `${peer.userID} hears ${name}`)
    }
  assert.ok(said.anna - missed >= 40, `anna spoke while carl was away: ${missed} of ${said.anna} had come`)
  t.diagnostic(`messages said and heard by both others, once and in order: ${JSON.stringify(said)}`)

  assert.ok(Math.max(...waits) < FREEZE_MS, `pictures go on: ${waits.map(Math.round)} ms`)
  for (const [index, peer] of peers.entries()) {
    const seen = await peer.page.evaluate((from) => window.peer.events.slice(from).map(({ type, detail }) => [type, detail.state]), eventsBefore[index])
    // Who speaks changes as it likes meanwhile.
    const others = seen.filter(([type]) => type !== 'message' && type !== 'speakers').map(([type, state]) => `${type} ${state}`)
    assert.deepEqual(others, peer === carl ? ['connection reconnecting', 'connection connected'] : [], `what ${peer.userID} saw`)
  }
  // He is a member like any other: what he asks is answered, and when he leaves it is seen.
  await carl.page.evaluate(() => window.peer.room.leave())
  await Promise.all([anna.event('member-left', 'carl'), bert.event('member-left', 'carl')])
  for (const { page } of peers) await page.close()
})

test('who stays away leaves when the grace time is over, and enters anew when he is back', async () => {
  const short = await Server.start({ 'signaling.resume_seconds': '1', 'demo.test_stream': 'false' })
  const cutter = await Wire.to(short.http)
  try {
    const anna = await browser.peer(short, await short.ticket('anna', 2102))
    const page = await browser.peerPage(short)
    await page.evaluate(([ticket, signal]) => window.peer.enter(ticket, { signal }), [await short.ticket('bert', 2102), `ws://${cutter.host}/signal`])
    await anna.event('member-entered', 'bert')
    cutter.cut()
    const { detail } = await anna.event('member-left', 'bert')
    assert.equal(detail.reason, 'disconnected')
    cutter.mend()
    await until(() => anna.page.evaluate(() => window.peer.events.filter(({ type }) => type === 'member-entered').length === 2), 5_000, 'bert')
    assert.deepEqual(await page.evaluate(() => window.peer.events.filter(({ type }) => type === 'closed')), [])
    for (const open of [anna.page, page]) await open.close()
  } finally {
    cutter.close()
    await short.stop()
  }
})

test('messages, metadata, roles and order by the SDK', async () => {
  const anna = await browser.peer(server, await server.ticket('anna', 2103))
  const bert = await browser.peer(server, await server.ticket('bert', 2103))
  const ticket = await server.ticket('bert', 2103)
  await anna.event('member-entered', 'bert')
  await bert.page.evaluate(() => window.peer.room.sendMessage({ to: 'anna', data: '{}', desc: 'd', ext: 'e' }))
  const { detail } = await anna.message()
  assert.deepEqual([detail.from, detail.to, detail.data, detail.desc, detail.ext], ['bert', 'anna', '{}', 'd', 'e'])
  await bert.page.evaluate(() => window.peer.room.setMetadata('seat 4'))
  assert.equal((await anna.event('member-changed', 'bert')).detail.member.metadata, 'seat 4')
  assert.equal(await anna.page.evaluate(() => window.peer.room.owner), 'anna')
  const refused = await bert.page.evaluate(() => window.peer.room.kick('anna').catch(({ code }) => code))
  assert.equal(refused, 73015)
  await anna.page.evaluate(() => window.peer.room.updateRoom({ locked: true, metadata: 'rivers' }))
  await until(() => bert.page.evaluate(() => window.peer.room.isLocked && window.peer.room.metadata === 'rivers'), 5_000, 'the lock')
  await bert.page.evaluate(() => window.peer.publish({ width: 320, height: 240 }))
  await anna.sees('bert')
  await bert.page.evaluate(() => window.peer.room.switchRole('audience'))
  await anna.event('stream-removed', 'bert')
  await anna.page.evaluate(() => window.peer.eyes.clear())
  await bert.page.evaluate((it) => window.peer.room.switchRole('anchor', it), ticket)
  await bert.page.evaluate(() => window.peer.publish({ width: 320, height: 240 }))
  await anna.sees('bert')
  await anna.page.evaluate(() => window.peer.room.muteMember('bert', { video: true }))
  await anna.event('muted', 'bert')
  await anna.page.evaluate(() => window.peer.room.kick('bert'))
  assert.equal((await anna.event('member-left', 'bert')).detail.reason, 'kicked')
  await until(() => bert.page.evaluate(() => window.peer.events.at(-1)?.type === 'closed'), 5_000, 'the end of bert')
  assert.equal((await bert.page.evaluate(() => window.peer.events.at(-1).detail)).code, 73011)
  for (const { page } of [anna, bert]) await page.close()
})
