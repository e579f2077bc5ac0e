/** The mini-program's `webrtc-room`, unmodified, in the vendor's simulator, in a real room with a page of Chromium. */

import assert from 'node:assert/strict'
import { after, afterEach, before, test } from 'node:test'
import { fileURLToPath } from 'node:url'

import { pushPhone } from '../tools/media-tools.mjs'
import { Browser, Server, until } from './harness.mjs'
import { place, sockets, told } from './wx.mjs'

const FOLDER = fileURLToPath(new URL('../../web-demo/miniprogram', import.meta.url))

/** @type {Server} */ let server
/** @type {Browser} */ let browser
/** @type {ReturnType<typeof place>[]} */ let placed = []

before(async () => {
  server = await Server.start()
  browser = await Browser.start()
})
afterEach(() => {
  for (const one of placed) one.room.stop()
  placed = []
})
after(async () => {
  await browser?.stop()
  await server?.stop()
})

/** @param {string} userID @param {number | string} roomID @param {object} [more] */
async function phone(userID, roomID, more = {}) {
  const { sdkAppID, userSig, privateMapKey } = await server.ticket(userID, roomID)
  const one = place(FOLDER, 'components/webrtc-room/webrtc-room', { server: `ws://${server.http}`, rtmpHost: server.rtmp, roomID, userID, userSig, sdkAppID, privateMapKey, ...more })
  placed.push(one)
  return one
}

/** @param {ReturnType<typeof place>} one @param {(event: any) => boolean} matches @param {string} what */
const raised = (one, matches, what) => until(() => one.events.find(matches), 10_000, what).catch((error) => assert.fail(`${error.message}; raised ${JSON.stringify(one.events)}`))

/** @param {ReturnType<typeof place>} one @param {string} userID */
const shows = (one, userID) => until(() => one.room.data.members.find((member) => member.userID === userID), 10_000, `${userID} among the players`)

test('a phone and a page are in one room: picture, members and messages go both ways', async (t) => {
  const page = await browser.peer(server, await server.ticket('page', 31), { toneHz: 600 })
  const one = await phone('phone', 31)
  one.room.start()
  const url = await until(() => one.room.data.pushURL, 10_000, 'the address to push to')
  assert.match(one.html('#rtcpusher'), /live-pusher/)

  // What the phone's pusher would do with the address.
  const pusher = pushPhone(url)
  t.after(() => pusher.kill())
  await page.event('stream-added', 'phone')
  await page.event('member-entered', 'phone')
  await page.page.waitForFunction(() => window.peer.eyes.get('main/phone')?.video.videoWidth > 0, null, { polling: 50 })
  const members = await page.page.evaluate(() => window.peer.members())
  assert.deepEqual(members.map(({ userID, streams }) => [userID, streams.length]), [['phone', 1]], 'one member with one stream')

  const shown = await shows(one, 'page')
  const playing = await fetch(shown.accelerateURL)
  assert.deepEqual([playing.status, playing.headers.get('content-type')], [200, 'video/x-flv'])
  await playing.body?.cancel()

  one.room.sendGroupTextMsg('hello from the phone', () => {}, assert.fail)
  assert.equal((await page.message()).detail.text, 'hello from the phone')
  await page.page.evaluate(() => window.peer.room.sendMessage({ text: 'hello from the page' }))
  const said = await raised(one, ({ tag }) => tag === 'big_group_msg_notify', 'a message to all')
  assert.deepEqual([said.detail.fromAccountNick, said.detail.content], ['page', 'hello from the page'])
  await page.page.evaluate(() => window.peer.room.sendMessage({ to: 'phone', data: '{"gift":7}', desc: 'a gift' }))
  const gift = await raised(one, ({ tag }) => tag === 'msg_notify', 'a message to one')
  assert.deepEqual(gift.detail.MsgBody[0], { MsgType: 'TIMCustomElem', MsgContent: { Data: '{"gift":7}', Desc: 'a gift', Ext: '' } })

  await pusher.stop()
  await page.event('stream-removed', 'phone')
  one.room.stop()
  await page.event('member-left', 'phone')
  await page.page.close()
})

test('two phones meet, each sees the other, and who leaves is gone', async () => {
  const [a, b] = [await phone('anna', 32), await phone('bert', 32, { template: '1v1' })]
  a.room.start()
  b.room.start()
  const pushers = await Promise.all([a, b].map(async (one) => pushPhone(await until(() => one.room.data.pushURL, 10_000, 'an address'))))
  try {
    await Promise.all([shows(a, 'bert'), shows(b, 'anna')])
    a.room.enableAudio(false, 'bert')
    assert.equal(a.room.data.members[0].muteAudio, true)
    a.room.pause()
    assert.ok(told.includes('pusher.pause') && told.includes('player-bert.pause'), told.join())
    a.room.resume()
    a.room.switchCamera()
    assert.equal(a.room.data.frontCamera, false)
    b.room.stop()
    await until(() => a.room.data.members.length === 0, 10_000, 'bert gone')
  } finally {
    for (const pusher of pushers) pusher.kill()
  }
})

test('what the phone reports of its pusher and players is told with the codes of the original', async () => {
  const one = await phone('carl', 33)
  const errors = () => one.events.filter(({ name, tag }) => name === 'RoomEvent' && tag === 'error').map(({ code }) => code)
  for (const [report, code] of [
    [{ event: 'statechange', detail: { code: -1301 } }, -4],
    [{ event: 'statechange', detail: { code: -1302 } }, -5],
    [{ event: 'statechange', detail: { code: -1307 } }, -6],
    [{ event: 'error', detail: { errCode: 10002, errMsg: 'no' } }, -7],
  ]) {
    one.events.length = 0
    one.room.start()
    await until(() => one.room.data.pushURL, 10_000, 'the room')
    one.report('#rtcpusher', report.event, report.detail)
    await until(() => errors().includes(code), 5000, `the error ${code}`)
    if (code !== -7) assert.equal(one.room.data.pushURL, '', 'it has left')
    one.room.stop()
  }
  const stranger = await phone('dora', 33, { userSig: 'nonsense' })
  stranger.room.start()
  await raised(stranger, ({ name, tag, code }) => name === 'RoomEvent' && tag === 'error' && code === -9, 'a refused ticket')
  const nowhere = await phone('emil', 33, { server: 'ws://127.0.0.1:9' })
  nowhere.room.start()
  await raised(nowhere, ({ name, tag, code }) => name === 'RoomEvent' && tag === 'error' && code === -10, 'no server')
})

test('messages that cannot be sent say why, and a broken connection comes back unnoticed', async () => {
  const page = await browser.peer(server, await server.ticket('page', 34))
  const one = await phone('frida', 34)
  /** @param {string} method @param {...any} words */
  const failed = (method, ...words) => new Promise((resolve, reject) => one.room[method](...words, () => reject(new Error('it was sent')), ({ errCode }) => resolve(errCode)))
  assert.equal(await failed('sendGroupTextMsg', 'too early'), -4)
  one.room.start()
  await until(() => one.room.data.pushURL, 10_000, 'the room')
  assert.equal(await failed('sendC2CTextMsg', '', 'to nobody'), -1)
  assert.equal(await failed('sendGroupTextMsg', ''), -2)
  assert.equal(await failed('sendGroupTextMsg', 'x'.repeat(9000)), -3)
  assert.equal(await failed('sendC2CTextMsg', 'nobody', 'hello'), -4)

  sockets.at(-1)?.terminate()
  await raised(one, ({ tag, detail }) => tag === 'connection_event' && detail === 'reconnecting', 'the break')
  one.room.sendGroupTextMsg('said meanwhile')
  await raised(one, ({ tag, detail }) => tag === 'connection_event' && detail === 'connected', 'the return')
  assert.equal((await page.message()).detail.text, 'said meanwhile')
  const left = await page.page.evaluate(() => window.peer.events.filter(({ type }) => type === 'member-left').length)
  assert.equal(left, 0, 'nobody saw him leave')

  await page.page.evaluate(() => window.peer.room.kick('frida'))
  await raised(one, ({ tag, code }) => tag === 'kicked' && code === 73011, 'being sent away')
  await page.page.close()
})
