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
  // Where the small picture lies is the page's to say.
  await carl.page.evaluate(() => window.easel.room.setData({ template: 'float', smallViewWidth: '100px', smallViewHeight: '80px', smallViewTop: '20px', smallViewLeft: '10px' }))
  const box = await carl.page.evaluate(() => JSON.parse(JSON.stringify(document.querySelector('live-player').parentElement.getBoundingClientRect())))
  assert.deepEqual([box.width, box.height, box.top, 375 - box.right], [100, 80, 20, 10])
  wire.cut()
  await carl.raised({ tag: 'connection_event', detail: 'reconnecting' }, 'the break')
  wire.mend()
  await carl.raised({ tag: 'connection_event', detail: 'connected' }, 'the return')
  const { changes } = await carl.sees('page')
  await carl.sees('page', changes + 5)
  await carl.call('sendGroupTextMsg', 'back again')
  assert.equal((await page.message()).detail.text, 'back again')
  assert.equal(await page.page.evaluate(() => window.peer.events.filter(({ type }) => type === 'member-left').length), 0, 'nobody saw him leave')

  // A pusher that dies leaves its stream waiting for the next one.
  carl.pusher?.kill()
  await page.event('stream-changed', 'carl')
  await carl.call('stop')
  await carl.call('start')
  const seen = await page.sees('carl', { changes: 1 })
  await page.sees('carl', { changes: seen.changes + 5 })
  await carl.end()
  await page.page.close()
})

/** @param {import('node:test').TestContext} t @param {'rtc-room' | 'mlvb-live-room'} name @param {string} userID @param {object} more @param {{ toneHz: number, colour: [number, number] }} look */
async function serviceRoom(t, name, userID, more, look) {
  const { sdkAppID, userSig } = await server.ticket(userID)
  const phone = await Phone.place(browser, server, FOLDER, `components/${name}/${name}`, { server: server.origin, sdkAppID, userID, userSig, userName: userID.toUpperCase(), ...more }, look)
  t.after(() => phone.pusher?.kill())
  return phone
}

test('rtc-room: one creates, one enters, both see and hear each other and a page in the same room, and talk', async (t) => {
  const dora = await serviceRoom(t, 'rtc-room', 'dora', { role: 'create', roomname: 'tea' }, { toneHz: 1000, colour: [90, 160] })
  await dora.call('start')
  const { detail } = await dora.raised({ tag: 'created' }, 'the room')
  await dora.raised({ tag: 'entered' }, 'dora in it')
  const emil = await serviceRoom(t, 'rtc-room', 'emil', { role: 'enter', roomid: detail.roomID }, { toneHz: 1500, colour: [160, 90] })
  await emil.call('start')
  const page = await browser.peer(server, await server.ticket('page', detail.roomID), { toneHz: 600, codec: 'H264' })
  for (const [phone, other, toneHz] of /** @type {const} */ ([[dora, 'emil', 1500], [emil, 'dora', 1000]])) {
    await phone.shows([other, 'page'])
    for (const [userID, hz] of /** @type {const} */ ([[other, toneHz], ['page', 600]])) {
      await phone.sees(userID)
      await phone.hears(userID, hz)
    }
  }
  await page.sees('emil')
  await page.hears('dora', 1000)
  await emil.call('sendTextMsg', 'good morning')
  const said = await dora.raised({ tag: 'recvTextMsg' }, "emil's words")
  assert.deepEqual([said.detail.userID, said.detail.nickName, said.detail.textMsg], ['emil', 'EMIL', 'good morning'])
  assert.equal((await page.message()).detail.text, 'good morning')
  await emil.call('stop')
  await dora.shows(['page'])
  await page.event('member-left', 'emil')
  for (const phone of [dora, emil]) await phone.end()
  await page.page.close()
})

test('rtc-room: what fails is told by its code', async (t) => {
  const fred = await serviceRoom(t, 'rtc-room', 'fred', { role: 'enter', roomid: '4711', userSig: 'nonsense' }, { toneHz: 1000, colour: [90, 160] })
  await fred.call('start')
  await fred.raised({ tag: 'error', code: -3 }, 'a refused ticket')
  await fred.end()
  const gina = await serviceRoom(t, 'rtc-room', 'gina', { role: 'create', roomname: 'x'.repeat(2000) }, { toneHz: 1000, colour: [90, 160] })
  await gina.call('start')
  await gina.raised({ tag: 'error', code: -2 }, 'a name that is too long')
  await gina.end()
})

test('mlvb-live-room: an audience watches the anchor, is let on the stage, leaves it, and the room ends with the anchor', async (t) => {
  const anchor = await serviceRoom(t, 'mlvb-live-room', 'hugo', { role: 'anchor', roomname: 'news' }, { toneHz: 1000, colour: [90, 160] })
  await anchor.call('start')
  const { detail } = await anchor.raised({ tag: 'created' }, 'the room')
  const [ines, jan] = [await serviceRoom(t, 'mlvb-live-room', 'ines', { role: 'audience', roomid: detail.roomID }, { toneHz: 1500, colour: [160, 90] }), await serviceRoom(t, 'mlvb-live-room', 'jan', { role: 'audience', roomid: detail.roomID }, { toneHz: 700, colour: [160, 90] })]
  for (const one of [ines, jan]) {
    await one.call('start')
    await one.sees('main')
    await one.hears('main', 1000)
  }
  // Asked, refused; asked again, let.
  await ines.call('requestJoinAnchor')
  const asked = await anchor.raised({ tag: 'requestJoinAnchor' }, 'a request')
  assert.deepEqual([asked.detail.userID, asked.detail.userName], ['ines', 'INES'])
  await anchor.call('rejectJoinAnchor', { userID: 'ines' }, 'not yet')
  await ines.raised({ tag: 'error', code: 0, detail: 'not yet' }, 'the refusal')
  await ines.call('requestJoinAnchor')
  await anchor.call('acceptJoinAnchor', { userID: 'ines' })
  await ines.raised({ tag: 'linkOn' }, 'the stage')
  await anchor.shows(['ines'])
  await anchor.sees('ines')
  await anchor.hears('ines', 1500)
  await ines.sees('main')
  assert.equal((await jan.data()).members.length, 0, 'who watches sees the anchor only')

  await jan.call('sendTextMsg', 'bravo')
  assert.equal((await anchor.raised({ tag: 'recvTextMsg' }, "jan's words")).detail.textMsg, 'bravo')
  await anchor.call('kickoutJoinAnchor', { userID: 'ines' })
  await ines.raised({ tag: 'linkOut' }, 'the way back')
  await anchor.shows([])
  await ines.sees('main')
  await anchor.call('stop')
  for (const one of [ines, jan]) await one.raised({ tag: 'roomClosed', code: -9006 }, 'the end')
  for (const phone of [anchor, ines, jan]) await phone.end()
})

test('no page complained', () => {
  // Of the wire that was cut the browser itself complains.
  assert.deepEqual(browser.complaints.filter((text) => !/status of 40[0-9]|ERR_CONNECTION_|ERR_EMPTY_RESPONSE|WebSocket connection to/.test(text)), [])
})
