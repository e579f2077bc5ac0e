/**
 * The mini-program's components, unmodified, in a real browser by glass-easel: two of them and a page of Chromium in one room, with picture,
 * tone, members, messages and a broken connection.
 */

import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { fileURLToPath } from 'node:url'

import { Wire } from '../tools/wire.mjs'
import { Phone } from './easel.mjs'
import { Browser, Server } from './harness.mjs'

const FOLDER = fileURLToPath(new URL('../../web-demo/miniprogram', import.meta.url))

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

/** @param {import('node:test').TestContext} t @param {string} userID @param {number} roomID @param {{ toneHz: number, colour: [number, number] }} look @param {string} [host]  by which it reaches the server */
async function webrtcRoom(t, userID, roomID, look, host = server.http) {
  const { sdkAppID, userSig, privateMapKey } = await server.ticket(userID, roomID)
  const properties = { server: `ws://${host}`, rtmpHost: server.rtmp, roomID, userID, userSig, sdkAppID, privateMapKey, template: 'grid' }
  const phone = await Phone.place(browser, server, FOLDER, 'components/webrtc-room/webrtc-room', properties, look)
  t.after(() => phone.pusher?.kill())
  return phone
}

test('two phones with webrtc-room and a page: each sees and hears the other two, and messages reach all', async (t) => {
  const page = await browser.peer(server, await server.ticket('page', 61), { toneHz: 600, codec: 'H264' })
  const anna = await webrtcRoom(t, 'anna', 61, { toneHz: 1000, colour: [90, 160] })
  const bert = await webrtcRoom(t, 'bert', 61, { toneHz: 1500, colour: [160, 90] })
  await anna.call('start')
  await bert.call('start')

  for (const [phone, others] of /** @type {const} */ ([[anna, [['page', 600], ['bert', 1500]]], [bert, [['page', 600], ['anna', 1000]]]])) {
    await phone.raised({ name: 'RoomEvent', tag: 'push', code: 1002 }, 'pushing')
    await phone.shows(others.map(([userID]) => userID))
    for (const [userID, toneHz] of others) {
      const { spoilt, good, backwards } = await phone.sees(userID)
      assert.ok(spoilt <= 2 + good / 10 && backwards === 0, `${spoilt} spoilt, ${backwards} backwards of ${good}`)
      await phone.hears(userID, toneHz)
    }
  }
  for (const [userID, toneHz] of /** @type {const} */ ([['anna', 1000], ['bert', 1500]])) {
    await page.sees(userID)
    await page.hears(userID, toneHz)
  }
  if (process.env.ROOMCAST_SHOTS) await anna.page.screenshot({ path: `${process.env.ROOMCAST_SHOTS}/miniprogram-grid.png` })

  await anna.call('sendGroupTextMsg', 'hello from anna')
  await bert.raised({ name: 'IMEvent', tag: 'big_group_msg_notify' }, "anna's message")
  assert.equal((await page.message()).detail.text, 'hello from anna')
  await page.page.evaluate(() => window.peer.room.sendMessage({ text: 'hello from the page' }))
  for (const phone of [anna, bert]) {
    await phone.page.waitForFunction(() => window.easel.events.some(({ detail }) => detail?.content === 'hello from the page'), null, { polling: 20 })
  }

  await bert.call('stop')
  await anna.shows(['page'])
  await page.event('member-left', 'bert')
  await bert.end()
  await anna.end()
  await page.page.close()
})

test('a phone whose connection breaks comes back, and its pictures go on', async (t) => {
  const page = await browser.peer(server, await server.ticket('page', 62), { toneHz: 600, codec: 'H264' })
  const wire = await Wire.to(server.http)
  t.after(() => wire.close())
  const carl = await webrtcRoom(t, 'carl', 62, { toneHz: 1000, colour: [90, 160] }, wire.host)
  await carl.call('start')
  await carl.sees('page')
  await page.sees('carl')
  wire.cut()
  await carl.raised({ tag: 'connection_event', detail: 'reconnecting' }, 'the break')
  wire.mend()
  await carl.raised({ tag: 'connection_event', detail: 'connected' }, 'the return')
  const { changes } = await carl.sees('page')
  await carl.sees('page', changes + 20)
  await carl.call('sendGroupTextMsg', 'back again')
  assert.equal((await page.message()).detail.text, 'back again')
  assert.equal(await page.page.evaluate(() => window.peer.events.filter(({ type }) => type === 'member-left').length), 0, 'nobody saw him leave')

  // A pusher that dies leaves its stream waiting for the next one.
  carl.pusher?.kill()
  await page.event('stream-changed', 'carl')
  await carl.call('stop')
  await carl.call('start')
  const seen = await page.sees('carl', 1)
  await page.sees('carl', seen.changes + 10)
  await carl.end()
  await page.page.close()
})

test('no page complained', () => {
  // Of the wire that was cut the browser itself complains.
  assert.deepEqual(browser.complaints.filter((text) => !/status of 40[0-9]|ERR_CONNECTION_|ERR_EMPTY_RESPONSE|WebSocket connection to/.test(text)), [])
})
