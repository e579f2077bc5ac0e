/** B-frames of an RTMP publisher, which WebRTC has no way to put in order: what of them a page sees. */

import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'

import { push } from '../tools/media-tools.mjs'
import { Browser, Server } from './harness.mjs'

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
