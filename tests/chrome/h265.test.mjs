/** H.265 from WebRTC to players by URL. No browser decodes it everywhere, so werift publishes, and ffmpeg decodes. */

import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { createServer } from 'node:http'
import { Readable } from 'node:stream'
import { after, before, test } from 'node:test'

import { hevcOfFlv } from '../tools/enhanced.mjs'
import { Player, probe } from '../tools/media-tools.mjs'
import { RtmpPush } from '../tools/rtmp-push.mjs'
import { Server, until } from './harness.mjs'
import { connection, negotiate, publish } from './werift.mjs'

const DEADLINE_MS = 40_000
const ROOM = 7600
/** Little to encode and to decode. */
const SOURCE = { width: 320, height: 240, fps: 10, toneHz: 1000 }
/** @type {Server} */ let server

before(async () => {
  server = await Server.start({ 'demo.test_stream': 'false' })
})
after(() => server?.stop())

/**
 * Has ffmpeg decode the H.265 of FLV, which ffmpeg 5 does not know in FLV.
 * @param {import('node:test').TestContext} t @param {AsyncIterable<Uint8Array>} flv @param {string} what
 */
async function decodes(t, flv, what) {
  const web = createServer((_, response) => Readable.from(hevcOfFlv(flv)).on('error', (error) => t.diagnostic(String(error))).pipe(response)).listen(0, '127.0.0.1')
  await once(web, 'listening')
  t.after(() => web.close())
  const player = new Player(['-flags', 'low_delay', '-f', 'hevc', '-i', `http://127.0.0.1:${web.address().port}/it.h265`], { hasAudio: false })
  t.after(() => player.stop())
  const pictures = await player.stamps(20, DEADLINE_MS)
  t.diagnostic(`${what}: ${pictures.length} pictures, ${player.spoilt} spoilt, the last ${pictures.at(-1)?.ageMs} ms old`)
  assert.ok(player.spoilt <= 2, `${player.spoilt} spoilt`)
}

/** FLV from the server, from when it is there until the test is over. @param {import('node:test').TestContext} t @param {string} url */
async function flv(t, url) {
  const abort = new AbortController()
  t.after(() => abort.abort())
  const response = await until(async () => {
    const response = await fetch(url, { signal: abort.signal })
    return response.ok && response
  }, DEADLINE_MS, url)
  return response.body
}

test('H.265 that werift publishes by WHIP plays as FLV, by RTMP and as HLS, and goes on as a push', async (t) => {
  const ticket = await server.ticket('encoder', ROOM)
  const session = await publish(t, server, ticket, SOURCE, 'H265')
  const urls = server.playUrls(ticket, 'encoder')
  await decodes(t, await flv(t, urls.flv), 'HTTP-FLV')

  // rtmpdump writes as FLV what comes by RTMP.
  const dump = spawn('rtmpdump', ['-q', '--live', '-r', urls.rtmp, '-o', '-'], { stdio: ['ignore', 'pipe', 'inherit'] })
  t.after(() => dump.kill())
  await decodes(t, dump.stdout, 'RTMP')

  const playlist = server.hlsUrl(ticket, 'encoder')
  const text = await until(async () => {
    const answer = await fetch(playlist)
    return answer.ok && answer.text()
  }, DEADLINE_MS, playlist)
  assert.match(text, /CODECS="hvc1\.1\.[^"]*,mp4a\.40\.2".*RESOLUTION=320x240|RESOLUTION=320x240.*CODECS="hvc1/, text)
  const player = new Player(['-i', playlist])
  t.after(() => player.stop())
  const [pictures] = await Promise.all([player.stamps(20, DEADLINE_MS), player.tone(1000, DEADLINE_MS)])
  t.diagnostic(`HLS: ${pictures.length} pictures, ${player.spoilt} spoilt`)
  assert.equal(player.spoilt, 0)
  const streams = await probe(playlist)
  assert.deepEqual([...new Set(streams.map(({ codec_name }) => codec_name))].sort(), ['aac', 'hevc'])

  // What players got is what encoders of Enhanced RTMP send: pushed again, it is a stream like any other.
  const again = await server.ticket('again', ROOM)
  const push = await RtmpPush.open(server.pushUrl(again))
  push.send(Readable.from(await flv(t, urls.flv))).catch(() => {})
  await decodes(t, await flv(t, server.playUrls(again, 'again').flv), 'pushed again')
  await push.stop()
  assert.equal((await session.end()).status, 200)
})

test('H.265 that werift publishes by WHIP goes to a WHEP player that takes it, from a key frame on', async (t) => {
  const ticket = await server.ticket('encoder', ROOM + 1)
  await publish(t, server, ticket, SOURCE, 'H265')
  await until(async () => (await fetch(server.playUrls(ticket, 'encoder').flv)).body?.cancel().then(() => true), DEADLINE_MS, 'the stream')
  const peer = connection('H265')
  t.after(() => peer.close())
  peer.addTransceiver('video', { direction: 'recvonly' })
  /** @type {number[]} */ const kinds = []
  peer.onTrack.subscribe((track) => track.onReceiveRtp.subscribe(({ payload }) => kinds.push((payload[0] >> 1) & 63)))
  await negotiate(server, peer, 'whep', await server.ticket('player', ROOM + 1), { play: 'encoder' })
  await until(() => kinds.length > 100, DEADLINE_MS, 'packets')
  // Parameter sets together, or the first of them (RFC 7798).
  assert.ok(kinds[0] === 48 || kinds[0] === 32, `it begins with ${kinds.slice(0, 5)}`)
})
