/** VP8, VP9 and AV1 by Enhanced RTMP: pushed, they are seen in a page; published by a page, they play as FLV and as HLS. */

import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer } from 'node:http'
import { Readable } from 'node:stream'
import { after, before, test } from 'node:test'

import { ivfOfFlv, pushIvf } from '../tools/enhanced.mjs'
import { Player, ivf, play } from '../tools/media-tools.mjs'
import { RtmpPush } from '../tools/rtmp-push.mjs'
import { Browser, Server, until } from './harness.mjs'

const LOOK = { width: 320, height: 240, fps: 15, seconds: 60, toneHz: 1000, colour: /** @type {[number, number]} */ ([90, 160]) }
/** Software encoders and decoders of AV1 on two cores. */
const DEADLINE_MS = 40_000
const CODECS = /** @type {const} */ ([
  ['vp08', 'VP8', ['-c:v', 'libvpx', '-deadline', 'realtime', '-cpu-used', '8', '-g', '30', '-b:v', '400k', '-lag-in-frames', '0']],
  ['vp09', 'VP9', ['-c:v', 'libvpx-vp9', '-deadline', 'realtime', '-cpu-used', '8', '-g', '30', '-b:v', '400k', '-lag-in-frames', '0']],
  ['av01', 'AV1', ['-c:v', 'libaom-av1', '-usage', 'realtime', '-cpu-used', '8', '-g', '30', '-b:v', '400k', '-lag-in-frames', '0']],
])
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

let room = 7400
for (const [name, codec, encoding] of CODECS) {
  test(`${codec} that is pushed by Enhanced RTMP is seen in a page`, async (t) => {
    room++
    const push = await RtmpPush.open(server.pushUrl(await server.ticket('camera', room)))
    const source = ivf(LOOK, [...encoding])
    t.after(() => source.kill())
    const sent = pushIvf(push, source.ffmpeg.stdout, name)
    sent.catch(() => {}) // the page says it
    const anna = await browser.peer(server, await server.ticket('anna', room))
    const view = await anna.sees('camera', { changes: 20, deadlineMs: DEADLINE_MS })
    t.diagnostic(`${codec}: ${view.width}x${view.height}, ${view.good} good pictures, ${view.spoilt} spoilt, median age ${view.medianAgeMs} ms`)
    source.kill()
    await sent.catch(() => {})
    await push.stop()
    await anna.page.close()
  })

  test(`${codec} of a page plays as FLV in its enhanced form`, async (t) => {
    room++
    const ticket = await server.ticket('bert', room)
    const bert = await browser.peer(server, ticket, { codec, width: 320, height: 240 })
    // ffmpeg 5 does not know such tags: what is in them is handed to it in a way that it knows.
    const abort = new AbortController()
    const web = createServer(async (_, response) => {
      const { body } = await fetch(server.playUrls(ticket, 'bert').flv, { signal: abort.signal })
      Readable.from(ivfOfFlv(body, name)).on('error', (error) => abort.signal.aborted || t.diagnostic(String(error))).pipe(response)
    }).listen(0, '127.0.0.1')
    await once(web, 'listening')
    const player = play(`http://127.0.0.1:${web.address().port}/it.ivf`, { hasAudio: false })
    t.after(() => web.close())
    try {
      const pictures = await player.stamps(20, DEADLINE_MS)
      t.diagnostic(`${codec}: ${pictures.length} pictures, the last ${pictures.at(-1)?.ageMs} ms old`)
    } finally {
      await player.stop()
      abort.abort()
      await bert.page.close()
    }
  })

  test(`${codec} of a page plays as HLS`, async (t) => {
    room++
    const ticket = await server.ticket('bert', room)
    const bert = await browser.peer(server, ticket, { codec, width: 320, height: 240, toneHz: 700 })
    t.after(() => bert.page.close())
    const playlist = server.hlsUrl(ticket, 'bert')
    const text = await until(async () => {
      const answer = await fetch(playlist)
      return answer.ok && answer.text()
    }, DEADLINE_MS, playlist)
    assert.match(text, new RegExp(`CODECS="${name}[^"]*,mp4a`), text)
    if (codec === 'VP8') {
      // Which Chromium does not take in MP4.
      const player = new Player(['-i', playlist])
      t.after(() => player.stop())
      await Promise.all([player.stamps(20, DEADLINE_MS), player.tone(700, DEADLINE_MS)])
      return
    }
    const player = await browser.player(server, 'hls', playlist)
    t.after(() => player.page.close())
    const { good, spoilt } = await player.sees(20, DEADLINE_MS)
    await player.hears(700, DEADLINE_MS)
    t.diagnostic(`${codec}: ${good} good pictures, ${spoilt} spoilt`)
  })
}
