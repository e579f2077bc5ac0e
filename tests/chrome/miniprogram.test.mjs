/** The mini-program's components, unmodified, in the vendor's simulator, in real rooms with a page of Chromium. */

import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { after, afterEach, before, test } from 'node:test'
import { fileURLToPath } from 'node:url'

import compiler from 'glass-easel-template-compiler'

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

test('every attribute, method, event and error code of the original webrtc-room is there', async () => {
  const one = await phone('gert', 35, { template: '1v1' })
  /** With the values of its code. */
  const attributes = {
    roomID: 35, userID: 'gert', userName: '', template: '1v1', beauty: 5, whiteness: 5, aspect: '3:4', minBitrate: 200, maxBitrate: 400, muted: false, debug: false, enableIM: true, roomCreator: '',
    useCloud: true, autoplay: false, enableCamera: true, pureAudioPushMod: 0, recordId: null, waitingImg: '', loadingImg: '',
  }
  for (const [name, value] of Object.entries(attributes)) assert.deepEqual(one.room.data[name], value, name)
  for (const name of ['userSig', 'sdkAppID', 'privateMapKey', 'smallViewLeft', 'smallViewTop', 'smallViewWidth', 'smallViewHeight']) assert.ok(name in one.room.data, name)
  for (const name of ['start', 'stop', 'pause', 'resume', 'switchCamera', 'enableVideo', 'enableAudio', 'sendC2CTextMsg', 'sendC2CCustomMsg', 'sendGroupTextMsg', 'sendGroupCustomMsg']) assert.equal(typeof one.room[name], 'function', name)
  for (const template of ['bigsmall', 'float', 'grid', '1u3d', '1v1', '1v3', '1l3r']) {
    one.room.setData({ template })
    assert.equal(one.room.data.layout, template)
  }
  one.room.setData({ template: 'my-own' })
  assert.equal(one.room.data.layout, 'float my-own')
  one.room.setData({ template: 'b"ad' })
  assert.equal(one.room.data.layout, 'float')
  one.room.setData({ template: '1v1' })

  // What the other tests do not raise: -8, and what a room says of itself.
  const pages = []
  for (const userID of ['page1', 'page2']) pages.push(await browser.peer(server, await server.ticket(userID, 35), { toneHz: 600 }))
  one.room.start()
  await raised(one, ({ tag }) => tag === 'login_event', 'login_event')
  await raised(one, ({ tag }) => tag === 'join_group_event', 'join_group_event')
  await raised(one, ({ tag, code }) => tag === 'error' && code === -8, 'too many for the layout')
  await pages[0].page.evaluate(() => window.peer.room.updateRoom({ metadata: 'tea' }))
  const changed = await raised(one, ({ tag }) => tag === 'group_info_change_notify', 'group_info_change_notify')
  assert.deepEqual([changed.detail.GroupId, changed.detail.metadata], ['35', 'tea'])
  for (const { page } of pages) await page.close()
})

/** @param {'rtc-room' | 'mlvb-live-room'} name @param {string} userID @param {object} more */
async function serviceRoom(name, userID, more) {
  const { sdkAppID, userSig } = await server.ticket(userID)
  const one = place(FOLDER, `components/${name}/${name}`, { server: `http://${server.http}`, sdkAppID, userID, userSig, ...more })
  placed.push(one)
  return one
}

/** @param {ReturnType<typeof place>} one */
const pushes = (one) => until(() => one.room.data.pushURL, 10_000, 'the address to push to').catch((error) => assert.fail(`${error.message}; raised ${JSON.stringify(one.events)}`))

for (const [name, role, expected] of /** @type {const} */ ([
  ['rtc-room', 'create', [[-1301, -4], [-1302, -5], [-1307, -6]]],
  ['mlvb-live-room', 'anchor', [[-1301, -1301], [-1302, -1302], [-1305, -1305], [-1306, -1306], [-1307, -1307], [5000, 5000]]],
]))
  test(`${name}: what ends the pusher ends the stay, and is told with the code of the original`, async () => {
    const one = await serviceRoom(name, `user-${name}`, { role, roomname: 'tea' })
    for (const [report, code] of expected) {
      one.events.length = 0
      one.room.start()
      await pushes(one)
      one.report('#rtcpusher', 'statechange', { code: report, message: 'said by the phone' })
      const told = await raised(one, ({ tag, code: is }) => tag === 'error' && is === code, `the error ${code}`)
      assert.equal(told.detail, 'said by the phone')
      assert.equal(one.room.data.pushURL, '', 'it has left')
    }
    one.room.start()
    await pushes(one)
    one.report('#rtcpusher', 'error', { errCode: 10002, errMsg: 'no' })
    await raised(one, ({ tag, code }) => tag === 'error' && (code === -7 || code === 10002), 'no permission')
    one.room.stop()
    const stranger = await serviceRoom(name, 'stranger', { role, roomname: 'tea', userSig: 'nonsense' })
    stranger.room.start()
    await raised(stranger, ({ tag, code }) => tag === 'error' && code === (name === 'rtc-room' ? -3 : -9003), 'a refused ticket')
    const known = ['start', 'stop', 'pause', 'resume', 'switchCamera', 'sendTextMsg', ...(name === 'rtc-room' ? [] : ['requestJoinAnchor', 'acceptJoinAnchor', 'rejectJoinAnchor', 'kickoutJoinAnchor', 'quitJoinAnchor', 'sendC2CCustomMsg'])]
    for (const method of known) assert.equal(typeof one.room[method], 'function', method)
  })

test('mlvb-live-room: who cannot do what he wants is told by the code of the original', async () => {
  const error = (/** @type {ReturnType<typeof place>} */ one, /** @type {number} */ code) => raised(one, (event) => event.tag === 'error' && event.code === code, `the error ${code}`)
  const nobody = await serviceRoom('mlvb-live-room', 'nobody', { role: 'audience', roomid: 'nowhere' })
  nobody.room.sendTextMsg('too early')
  await error(nobody, -9005)
  nobody.room.requestJoinAnchor()
  await error(nobody, -9004)
  nobody.room.start()
  await error(nobody, -9003)
  const long = await serviceRoom('mlvb-live-room', 'long', { role: 'anchor', roomname: 'x'.repeat(2000) })
  long.room.start()
  await error(long, -9001)
})

/** What a component's script gives to `Component`. @param {string} path */
function definition(path) {
  /** @type {any} */ let given
  /** @param {string} file */
  const load = (file) => {
    const module = { exports: {} }
    const run = new Function('module', 'require', 'Component', readFileSync(file, 'utf8'))
    run(module, (/** @type {string} */ other) => load(join(dirname(file), other)), (/** @type {any} */ definition) => (given = definition))
    return module.exports
  }
  load(path)
  return given
}

test('every page of the demo mini-program is written as its components want it', async () => {
  const read = (/** @type {string} */ path) => readFile(`${FOLDER}/${path}`, 'utf8')
  for (const path of JSON.parse(await read('app.json')).pages) {
    const [wxml, script, config] = await Promise.all(['.wxml', '.js', '.json'].map((kind) => read(path + kind)))
    const group = new compiler.TmplGroup()
    assert.deepEqual(group.addTmpl(path, wxml), [], `${path}.wxml`)
    group.free()
    for (const [, handler] of wxml.matchAll(/ bind\w+="(\w+)"/g)) assert.match(script, new RegExp(`^  ${handler}\\(`, 'm'), `${path} has ${handler}`)
    for (const [tag, component] of Object.entries(JSON.parse(config).usingComponents ?? {})) {
      const { properties } = definition(`${FOLDER}${component}.js`)
      const [, attributes] = wxml.match(new RegExp(`<${tag} ([^>]*)>`)) ?? assert.fail(`${path} has ${tag}`)
      for (const [, name] of attributes.matchAll(/(?:^|\s)(\w+)="/g)) if (!/^(id|bind\w+)$/.test(name)) assert.ok('type' in (properties[name] ?? {}), `${tag} has ${name}`)
    }
  }
})
