/** A server that crashes and is started again: whoever was in a room is in it again, sending and receiving, without a click. */

import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'

import { Browser, PagePeer, Server, until } from './harness.mjs'

const ROOM = 5201
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

/** @param {import('./harness.mjs').PagePeer} peer @param {string} type */
const eventsOf = ({ page }, type) => page.evaluate((type) => window.peer.events.filter((event) => event.type === type).map(({ detail }) => detail), type)

/** From the moment in which the connection is lost, what is seen and heard is new. @param {import('playwright-core').Page} page */
const forgetWhenLost = (page) =>
  page.evaluate(() =>
    window.peer.room.on('connection', ({ state }) => {
      if (state !== 'reconnecting') return
      window.peer.eyes.clear()
      window.peer.ears.clear()
    }),
  )

test('after kill -9 and a restart two members see and hear one another again', async (t) => {
  const anna = await browser.peer(server, await server.ticket('anna', ROOM), { toneHz: 700, hue: 0, width: 320, height: 240 })
  const bert = await browser.peer(server, await server.ticket('bert', ROOM), { toneHz: 1300, hue: 120, width: 320, height: 240 })
  await Promise.all([anna.sees('bert'), bert.sees('anna'), bert.hears('anna', 700), anna.hears('bert', 1300)])
  await bert.page.evaluate(() => window.peer.room.setMetadata('seat 4'))
  await anna.page.evaluate(() => window.peer.room.ban('eve'))

  for (const { page } of [anna, bert]) await forgetWhenLost(page)
  await server.kill()
  await server.startAgain()
  const ready = Date.now()
  await Promise.all([bert.hears('anna', 700), anna.hears('bert', 1300)])
  t.diagnostic(`both hear the other ${Date.now() - ready} ms after the server was ready`)
  for (const [peer, other] of /** @type {const} */ ([[anna, 'bert'], [bert, 'anna']])) {
    // Chromium takes its time with a new picture in a page that nobody looks at.
    await peer.page.bringToFront()
    await peer.sees(other)
  }
  t.diagnostic(`both saw 10 new pictures ${Date.now() - ready} ms after the server was ready`)

  for (const peer of [anna, bert]) {
    assert.deepEqual((await eventsOf(peer, 'connection')).map(({ state }) => state), ['reconnecting', 'connected'])
    assert.deepEqual([...(await eventsOf(peer, 'closed')), ...(await eventsOf(peer, 'error'))], [])
    assert.equal(await peer.page.evaluate(() => window.peer.room.owner), 'anna', 'the room is the one that it was')
  }
  await until(() => anna.page.evaluate(() => window.peer.room.members.get('bert')?.metadata === 'seat 4'), 5_000, "bert's metadata")
  await bert.page.evaluate(() => window.peer.room.sendMessage({ text: 'back' }))
  assert.equal((await anna.message()).detail.text, 'back')
  const eve = await browser.peerPage(server)
  const refused = await eve.evaluate((ticket) => window.peer.enter(ticket).catch(({ code }) => code), await server.ticket('eve', ROOM))
  assert.equal(refused, 73017, 'who was banned is banned')
  for (const { page } of [anna, bert, { page: eve }]) await page.close()
})

test('an orderly restart is survived in the same way, and what was muted or left out stays so', async () => {
  const anna = await browser.peer(server, await server.ticket('anna', ROOM + 1), { toneHz: 700, width: 320, height: 240 })
  const page = await browser.peerPage(server)
  await page.evaluate((ticket) => window.peer.enter(ticket, { autoSubscribe: false }), await server.ticket('bert', ROOM + 1))
  const bert = new PagePeer(page, 'bert', [])
  await page.evaluate(() => window.peer.room.subscribe([{ userID: 'anna', stream: 'main', audio: false }]))
  await bert.sees('anna')
  await anna.page.evaluate(() => window.peer.room.mute('main', 'audio', true))
  await forgetWhenLost(page)
  await server.restart()
  await until(async () => (await eventsOf(bert, 'connection')).length === 2, 10_000, 'bert coming back')
  await bert.sees('anna')
  await until(() => page.evaluate(() => window.peer.room.members.get('anna')?.streams[0]?.audio?.muted), 5_000, "anna's muted sound")
  assert.equal(await page.evaluate(() => window.peer.room.mediaStream('anna').getAudioTracks().length), 0, 'the sound was not wanted')
  for (const one of [anna.page, page]) await one.close()
})

test('the demo page says that it reconnects, and goes on by itself', async () => {
  const page = await browser.page()
  await page.goto(`${server.origin}/?roomID=1001`)
  await page.click('#join')
  const tile = page.locator('[data-key="main/teststream"][data-state="playing"]')
  await tile.waitFor()
  await page.locator('[data-key="own/main"][data-state="playing"]').waitFor()
  await server.kill()
  await page.locator('#reconnecting').waitFor({ state: 'visible' })
  await server.startAgain()
  await page.locator('#reconnecting').waitFor({ state: 'hidden' })
  await tile.waitFor()
  const shown = () => page.locator('[data-key="main/teststream"] video >> nth=0').evaluate((video) => video.getVideoPlaybackQuality().totalVideoFrames)
  const before = await shown()
  await until(async () => (await shown()) > before + 5, 10_000, 'new pictures')
  const me = await page.evaluate(() => document.querySelectorAll('.toast').length)
  assert.equal(me, 0, 'nothing is complained of')
  await page.close()
})
