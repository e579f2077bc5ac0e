/**
 * B-frames of an RTMP publisher, which WebRTC has no way to put in order: what of them a page sees. `ROOMCAST_REENCODE=1` says that
 * the server was built with the feature `reencode`, which codes them anew.
 */

import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'

import { push } from '../tools/media-tools.mjs'
import { Browser, Server, until } from './harness.mjs'
import { connection, negotiate } from './werift.mjs'

/** @type {Server} */ let server
/** @type {Browser} */ let browser

before(async () => {
  server = await Server.start({ 'demo.test_stream': 'false' })
  browser = await Browser.start()
})
after(async () => {
  await browser?.stop()
  await server?.stop()
})

const PICTURE = { width: 320, height: 240, fps: 25, seconds: 60, toneHz: 1000, colour: /** @type {[number, number]} */ ([90, 160]) }
const SOUND = ['-c:a', 'aac', '-ar', '48000', '-b:a', '64k']

let room = 6100
for (const pyramid of ['none', 'strict', 'normal'])
  test(`three B-frames in a row, b-pyramid ${pyramid}: motion never runs backwards`, async (t) => {
    room++
    const anna = await browser.peer(server, await server.ticket('anna', room))
    const picture = ['-c:v', 'libx264', '-profile:v', 'high', '-preset', 'veryfast', '-bf', '3', '-x264-params', `b-pyramid=${pyramid}:b-adapt=0`, '-g', '50', '-b:v', '400k']
    const publisher = push(server.pushUrl(await server.ticket('obs', room)), PICTURE, [...picture, ...SOUND])
    t.after(() => publisher.kill())
    const view = await anna.sees('obs', { changes: 40, deadlineMs: 30_000 })
    t.diagnostic(JSON.stringify(view))
    assert.equal(view.backwards, 0)
    assert.ok(view.spoilt <= 2 + view.good / 20, `${view.spoilt} spoilt of ${view.good}`)
    await publisher.stop()
    await anna.page.close()
  })

const reencodes = process.env.ROOMCAST_REENCODE === '1' ? false : 'the server is not said to be built with the feature reencode'

for (const pyramid of ['none', 'normal'])
  test(`three B-frames in a row, b-pyramid ${pyramid}, coded anew: every picture is seen, in order`, { skip: reencodes }, async (t) => {
    room++
    const coder = await Server.start({ 'demo.test_stream': 'false', 'media.reencode_b_frames': 'true' })
    t.after(() => coder.stop())
    const anna = await browser.peer(coder, await coder.ticket('anna', room))
    const picture = ['-c:v', 'libx264', '-profile:v', 'high', '-preset', 'veryfast', '-bf', '3', '-x264-params', `b-pyramid=${pyramid}:b-adapt=0`, '-g', '25', '-b:v', '400k']
    const publisher = push(coder.pushUrl(await coder.ticket('obs', room)), PICTURE, [...picture, ...SOUND])
    t.after(() => publisher.kill())
    const seen = () =>
      anna.page.evaluate(async () => {
        const stats = [...(await window.peer.room.stats()).down.values()]
        const { framesDecoded } = stats.find(({ type, kind }) => type === 'inbound-rtp' && kind === 'video')
        return { framesDecoded, ...window.peer.sees('obs') }
      })
    // Longer than the first group of pictures, out of which B-frames are left.
    await anna.sees('obs', { changes: 50, deadlineMs: 30_000 })
    const before = await seen()
    await anna.sees('obs', { changes: before.changes + 150, deadlineMs: 60_000 })
    const after = await seen()
    t.diagnostic(JSON.stringify({ before, after }))
    // Stamps are milliseconds: they say how many pictures were pushed meanwhile.
    const pushed = ((after.value - before.value) * PICTURE.fps) / 1000
    assert.ok(Math.abs(after.framesDecoded - before.framesDecoded - pushed) <= 5, `${after.framesDecoded - before.framesDecoded} seen of ${pushed}`)
    assert.equal(after.backwards, 0)
    assert.ok(after.spoilt <= 2 + after.good / 20, `${after.spoilt} spoilt of ${after.good}`)
    const described = await anna.page.evaluate(() => JSON.stringify(window.peer.events.map(({ detail }) => detail)))
    assert.ok(!described.includes('bFrames'), 'nothing is left out, and nothing is said to be')
    await publisher.stop()
    await anna.page.close()
  })

/** Whether a packet of H.264 (RFC 6184) begins a picture at which a decoder can start: with a sequence parameter set. @param {Buffer} payload */
const beginsKey = (payload) => (payload[0] & 31) === 7 || ((payload[0] & 31) === 24 && (payload[3] & 31) === 7)

test('coded anew: who joins, or asks, gets a key frame, though the publisher sends none', { skip: reencodes }, async (t) => {
  room++
  const coder = await Server.start({ 'demo.test_stream': 'false', 'media.reencode_b_frames': 'true' })
  t.after(() => coder.stop())
  const anna = await browser.peer(coder, await coder.ticket('anna', room))
  // Two key frames: B-frames are known after the first, pictures are coded anew from the second on.
  const picture = ['-c:v', 'libx264', '-profile:v', 'high', '-preset', 'veryfast', '-bf', '3', '-x264-params', 'b-adapt=0:scenecut=0:keyint=infinite', '-force_key_frames', '0,1', '-b:v', '600k']
  const publisher = push(coder.pushUrl(await coder.ticket('obs', room)), PICTURE, [...picture, ...SOUND])
  t.after(() => publisher.kill())
  const decoded = () =>
    anna.page.evaluate(async () => {
      const stats = [...(await window.peer.room.stats()).down.values()]
      const { framesDecoded, keyFramesDecoded } = stats.find(({ type, kind }) => type === 'inbound-rtp' && kind === 'video')
      return { framesDecoded, keyFramesDecoded }
    })
  // More than what is kept may be sent to somebody who joins.
  await anna.sees('obs', { changes: 200, deadlineMs: 60_000 })
  const before = await decoded()
  const peer = connection()
  t.after(() => peer.close())
  peer.addTransceiver('video', { direction: 'recvonly' })
  let [packets, keys, ssrc] = [0, 0, 0]
  let beganWithKey = false
  peer.onTrack.subscribe((track) => {
    track.onReceiveRtp.subscribe(({ header, payload }) => {
      if (packets++ === 0) beganWithKey = beginsKey(payload)
      if (beginsKey(payload)) keys++
      ssrc = header.ssrc
    })
  })
  await negotiate(coder, peer, 'whep', await coder.ticket('player', room), { play: 'obs' })
  await until(() => packets > 0, 10_000, 'pictures')
  assert.ok(beganWithKey, 'it begins at a key frame')
  const joined = keys
  // A burst of requests is one key frame; the next one comes when half a second is over.
  const [receiver] = peer.getReceivers()
  await Promise.all(Array.from({ length: 20 }, () => receiver.sendRtcpPLI(ssrc)))
  await until(() => keys > joined, 10_000, 'the key frame that was asked for')
  const asked = keys
  await receiver.sendRtcpPLI(ssrc)
  await until(() => keys > asked, 10_000, 'another')
  t.diagnostic(`${keys} key frames in ${packets} packets`)
  assert.ok(keys <= joined + 4, `${keys - joined} key frames for three requests`)
  await until(async () => (await decoded()).keyFramesDecoded >= before.keyFramesDecoded + 2, 10_000, 'the same key frames in the page')
  const { spoilt, good, backwards } = await anna.sees('obs', { changes: 260, deadlineMs: 30_000 })
  assert.ok(backwards === 0 && spoilt <= 2 + good / 20, `${spoilt} spoilt of ${good}, ${backwards} backwards`)
  await publisher.stop()
  await anna.page.close()
})
