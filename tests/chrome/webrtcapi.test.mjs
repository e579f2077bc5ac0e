/** A page written for WebRTCAPI 2.6 changes its script tag and meets the rest of the world. */

import assert from 'node:assert/strict'
import { readFile } from 'node:fs/promises'
import { after, before, test } from 'node:test'

import { Browser, Server, until } from './harness.mjs'

const VENDOR = 'https://sqimg.qq.com/expert_qq/webrtc/2.6/WebRTCAPI.min.js'

/** Pages in the background draw once a second, so nothing here waits for drawing, and a few pictures are enough. */
const OFTEN = { polling: 20 }

/** @type {Server} */ let server
/** @type {Browser} */ let browser
/** @type {string} */ let html

before(async () => {
  server = await Server.start()
  browser = await Browser.start()
  const original = await readFile(new URL('webrtcapi-page.html', import.meta.url), 'utf8')
  html = original.replace(VENDOR, '/sdk/dist/WebRTCAPI.js')
  assert.notEqual(html, original)
})
after(async () => {
  await browser?.stop()
  await server?.stop()
})

/** The page, whose camera and microphone are a stamped picture and a tone of its own. @param {number} toneHz */
async function oldPage(toneHz) {
  const page = await browser.page()
  await page.goto(`${server.origin}/healthz`)
  await page.setContent(html)
  // Only to have something to recognise in the picture and the sound; the page itself asks for a camera and gets this one.
  await page.addScriptTag({ type: 'module', url: '/test/chrome/page.js' })
  await page.waitForFunction(() => 'peer' in window && 'WebRTCAPI' in window)
  await page.evaluate((hz) => {
    navigator.mediaDevices.getUserMedia = () => window.peer.camera({ toneHz: hz })
  }, toneHz)
  return page
}

/** @param {import('playwright-core').Page} page @param {any} ticket @param {object} [more] */
const start = (page, { sdkAppID, userID, userSig, roomID, privateMapKey }, more = {}) =>
  page.evaluate((opts) => window.start(opts), { sdkAppId: sdkAppID, accountType: 12345, userId: userID, userSig, roomid: roomID, privateMapKey, ...more })

/** @param {import('playwright-core').Page} page @param {(entry: any[]) => boolean} matches @param {string} what */
async function logged(page, matches, what) {
  const log = () => page.evaluate(() => window.log)
  return until(async () => (await log()).find(matches), 10_000, what).catch(async (error) => assert.fail(`${error.message}; the page wrote ${JSON.stringify(await log())}`))
}

/** What the only remote video of the page shows and what is heard of it. @param {import('playwright-core').Page} page @param {number} hz */
async function watches(page, hz) {
  await page.waitForFunction(() => document.querySelector('#remotes video')?.videoWidth > 0, null, OFTEN)
  await page.evaluate(() => window.peer.watch('remote', document.querySelector('#remotes video').srcObject))
  await page.waitForFunction(() => window.peer.sees('remote')?.changes > 2, null, OFTEN)
  await page.waitForFunction((frequency) => window.peer.hears('remote', frequency) > 0.7, hz, OFTEN)
}

test('two pages written for WebRTCAPI 2.6 see and hear each other, and one of ours', async () => {
  const roomID = 20180806
  const ours = await browser.peer(server, await server.ticket('ours', roomID))
  const [a, b] = [await oldPage(700), await oldPage(1100)]
  await start(a, await server.ticket('anna', roomID))
  await logged(a, ([what]) => what === 'createRoom', 'the room of a')
  assert.deepEqual((await a.evaluate(() => window.log))[0], ['detectRTC', true, true])
  await logged(a, ([what, user, hasStream]) => what === 'onRemoteStreamUpdate' && user === 'ours' && !hasStream, 'a member without a stream')
  await start(b, await server.ticket('bert', roomID))

  await Promise.all([watches(a, 1100), watches(b, 700)])
  await ours.sees('anna', { changes: 3 })
  await ours.hears('bert', 1100)
  assert.deepEqual((await logged(a, ([what, user, has]) => what === 'onRemoteStreamUpdate' && user === 'bert' && has, 'the stream of b')).at(-1), 2)
  assert.ok((await a.evaluate(() => document.querySelector('#localVideo').videoWidth)) > 0, 'a sees itself')

  await a.evaluate(() => RTC.closeVideo())
  await ours.event('muted', 'anna')
  assert.deepEqual(await a.evaluate(() => RTC.getLocalMediaStatus()), { audio: true, video: false })
  await a.evaluate(() => RTC.openVideo())
  const stats = await b.evaluate(() => new Promise((resolve, reject) => RTC.getStats({ userId: 'anna' }, resolve, reject)))
  assert.ok(stats.tracks.length === 2, JSON.stringify(stats))

  await b.evaluate(() => new Promise((resolve, reject) => RTC.quit(resolve, reject)))
  await logged(a, ([what, user]) => what === 'onRemoteStreamRemove' && user === 'bert', 'b leaving')
  assert.equal(await a.locator('#remotes video').count(), 0)

  // The same user once more: the older page is told.
  const again = await oldPage(700)
  await start(again, await server.ticket('anna', roomID), { closeLocalMedia: true })
  await logged(a, ([what]) => what === 'onKickout', 'being logged out by the second login')
  await again.evaluate(() => RTC.quit())
  for (const page of [a, b, again, ours.page]) await page.close()
})

test('a page that does not send by itself sends what it opened when it wants to', async () => {
  const roomID = 20180807
  const ours = await browser.peer(server, await server.ticket('ours', roomID))
  const page = await oldPage(900)
  await start(page, await server.ticket('carl', roomID), { closeLocalMedia: true })
  await logged(page, ([what]) => what === 'createRoom', 'the room')
  const status = await page.evaluate(
    () =>
      new Promise((resolve, reject) =>
        RTC.getLocalStream(
          { video: true, audio: true, attributes: { width: 640, height: 480, frameRate: 20 } },
          (info) => RTC.startRTC({ stream: info.stream, role: 'user' }, () => resolve(RTC.getLocalMediaStatus()), reject),
          reject,
        ),
      ),
  )
  assert.deepEqual(status, { audio: true, video: true })
  await ours.sees('carl', { changes: 3 })
  await ours.hears('carl', 900)
  await page.evaluate(() => new Promise((resolve, reject) => RTC.stopRTC({}, resolve, reject)))
  await ours.event('stream-removed', 'carl')
  for (const one of [page, ours.page]) await one.close()
})

test('refusals come with the codes of the original, and say what the server said', async () => {
  const page = await oldPage(500)
  const ticket = await server.ticket('dora', 20180808)
  await start(page, { ...ticket, userID: 'not-dora' })
  const refused = await logged(page, ([what]) => what === 'createRoom failed', 'a refusal')
  assert.equal(refused[1], 70236)
  assert.match(refused[2], /userSig/)
  const wrong = await page.evaluate((opts) => new Promise((resolve) => new WebRTCAPI(opts, null, resolve)), { sdkAppId: 1, userId: '' })
  assert.equal(wrong.errorCode, 10001)
  const room = await page.evaluate(() => new Promise((resolve) => RTC.createRoom({ roomid: 'lobby' }, null, resolve)))
  assert.equal(room.errorCode, 10001)
  const before = await page.evaluate(() => new Promise((resolve) => RTC.startRTC({}, null, resolve)))
  assert.equal(before.errorCode, 10032)
  const unreachable = await page.evaluate((opts) => new Promise((resolve) => new WebRTCAPI(opts, null, resolve)), { sdkAppId: 1, userId: 'x', userSig: 'y', server: 'http://127.0.0.1:9' })
  assert.equal(unreachable.errorCode, 10005)
  await page.close()
})

test('every option, method, event and error code that the original lists is there', async () => {
  const page = await oldPage(500)
  const { sdkAppID, userID, userSig, privateMapKey } = await server.ticket('emma', 20180809)
  const options = {
    sdkAppId: sdkAppID, userId: userID, userSig, accountType: 12345, useCloud: 1, privateMapKey, closeLocalMedia: true, audio: true, video: true, screen: false, screenSources: 'screen,window',
    preconn: false, peerAddNotify: true, wsRetryMaxTimes: 3, wsRetryDist: 3000, debug: { log: false, vconsole: false, uploadLog: false },
  }
  const room = { roomid: 20180809, role: 'user', privateMapKey, recordId: 7, pureAudioPushMod: 1, pstnBizType: 0, pstnPhoneNumber: '', constraints: {}, screen: false }
  const entered = await page.evaluate(([options, room]) => new Promise((resolve, reject) => (globalThis.RTC = new WebRTCAPI(options, () => RTC.createRoom(room, resolve, reject), reject))), [options, room])
  assert.equal(entered.roomid, 20180809)
  // One person by each of his names.
  const names = await page.evaluate((options) => ['userId', 'userID', 'openid'].map((name) => new WebRTCAPI({ ...options, userId: undefined, [name]: 'emma' }).getUserId()), options)
  assert.deepEqual(names, ['emma', 'emma', 'emma'])

  const methods = `connect createRoom enterRoom startRTC stopRTC updateStream getLocalStream getLocalMediaStream getLocalMediaStatus openAudio closeAudio openVideo closeVideo quit changeSpearRole getUserId
    getOpenId getDevices getVideoDevices getAudioDevices chooseVideoDevice chooseAudioDevice getStats getErrorCode detectRTC ping releaseStream getUserMedia SoundMeter on`.split(/\s+/)
  const missing = await page.evaluate((methods) => methods.filter((name) => typeof RTC[name] !== 'function').concat(typeof WebRTCAPI.detectRTC !== 'function' || typeof WebRTCAPI.fn.detectRTC !== 'function' ? ['static detectRTC'] : []), methods)
  assert.deepEqual(missing, [])

  const codes = Object.values(await page.evaluate(() => RTC.getErrorCode()))
  const listed = [0, 10001, 10002, 10005, 10006, 10007, 10008, 10009, 10012, 10013, 10014, 10015, 10031, 10032, 10033, 10034, 10035, 10036, 10037, 10038, 10039, 11000, 70236]
  assert.deepEqual(listed.filter((code) => !codes.includes(code)), [])

  const source = await (await fetch(`${server.origin}/sdk/webrtcapi.js`)).text()
  const events = `onLocalStreamAdd onRemoteStreamUpdate onRemoteStreamRemove onRemoteStreamStateChange onStreamNotify onErrorNotify onWebSocketNotify onWebSocketClose onRelayTimeout onKickout onPeerConnectionAdd
    onInitResult onCreateRoomResult onStartRTCResult onIceConnectionBuild onQualityReport`.split(/\s+/)
  assert.deepEqual(events.filter((name) => !source.includes(`#emit('${name}'`)), [])

  // What others do to their microphone and camera, and being sent away, as the page is told it.
  const other = await browser.peer(server, await server.ticket('fritz', 20180809), { codec: 'H264', toneHz: 700 })
  await page.evaluate(() => {
    globalThis.told = []
    for (const name of ['onPeerConnectionAdd', 'onMuteAudio', 'onUnmuteAudio', 'onMuteVideo', 'onUnmuteVideo', 'onQualityReport']) RTC.on(name, (data) => told.push([name, data?.userId]))
  })
  const told = (/** @type {string} */ name) => page.waitForFunction((name) => told.some(([is]) => is === name), name, { ...OFTEN, timeout: 10_000 })
  for (const [kind, Kind] of [['audio', 'Audio'], ['video', 'Video']]) {
    for (const [muted, event] of [[true, `onMute${Kind}`], [false, `onUnmute${Kind}`]]) {
      await other.page.evaluate(([kind, muted]) => window.peer.room.mute('main', kind, muted), [kind, muted])
      await told(event)
    }
  }
  await told('onQualityReport')
  await page.evaluate(() => RTC.quit())
  await other.event('member-left', 'emma')
  for (const one of [page, other.page]) await one.close()
})
