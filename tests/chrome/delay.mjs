/**
 * What the server adds to the age of pictures, by the clock that is stamped into them: from an RTMP publisher to a page, and from a
 * page to an FLV player. The same publishers and players are measured without a server between them (werift takes its place on the
 * WebRTC side), and that is subtracted: what is left is the server's. Prints a table, and holds it against the bounds.
 *
 * A page holds pictures back until the sound of their moment is there, and AAC leaves its encoder late. So it does without a server:
 * there each access unit is turned into sound that a page can play in no time (tools/flv-rtp.mjs), and sender reports tell the
 * publisher's clock. What the server needs to make Opus of AAC, frame by frame, is in the figure.
 *
 * A measurement, which wants a quiet machine, and therefore not one of the tests: `sh tests/chrome/run.sh delay.mjs`.
 * DELAY_SECONDS (30) is measured each time; MERGE_MS is media.player_merge_ms, by default that of the server.
 */

import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer } from 'node:http'
import { after, before, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'

import { MediaStreamTrack } from 'werift'

import { FlvToRtp } from '../tools/flv-rtp.mjs'
import { flv, play, push } from '../tools/media-tools.mjs'
import { RtpToFlv } from '../tools/rtp-flv.mjs'
import { Browser, Server, until } from './harness.mjs'
import { connection } from './werift.mjs'

const MEASURED_MS = Number(process.env.DELAY_SECONDS ?? 30) * 1000
/** Players and browsers take so long to find their pace; with sound, pages do to bring pictures and sound together. */
const SETTLE_MS = 10_000
const SETTLE_SOUND_MS = 30_000
const P50_MS_MAX = 30
const P99_MS_MAX = 60
const LOOK = { width: 640, height: 360, fps: 25, seconds: 3600, toneHz: 1000, colour: /** @type {[number, number]} */ ([90, 160]) }
const ENCODING = ['-c:v', 'libx264', '-profile:v', 'baseline', '-level', '3.1', '-preset', 'veryfast', '-tune', 'zerolatency', '-g', '25', '-b:v', '500k']
const AAC = ['-c:a', 'aac', '-ar', '48000', '-ac', '2', '-b:a', '96k']
/** @type {Server} */ let server
/** @type {Browser} */ let browser
/** @type {string[][]} */ const table = [['age of pictures, ms', 'p50', 'p99', 'without server p50', 'p99', 'added p50', 'p99']]

before(async () => {
  server = await Server.start({ 'demo.test_stream': 'false', ...(process.env.MERGE_MS && { 'media.player_merge_ms': process.env.MERGE_MS }) })
  browser = await Browser.start()
})
after(async () => {
  const widths = table[0].map((_, column) => Math.max(...table.map((row) => row[column].length)))
  for (const row of table) console.log(`# ${row.map((cell, column) => cell.padEnd(widths[column])).join('  ')}`)
  await browser?.stop()
  await server?.stop()
})

/** @typedef {{ p50: number, p99: number }} Ages */

/** @param {string} name @param {Ages} with_ @param {Ages} without */
function compare(name, with_, without) {
  const added = { p50: with_.p50 - without.p50, p99: with_.p99 - without.p99 }
  table.push([name, ...[with_, without, added].flatMap(({ p50, p99 }) => [p50.toFixed(0), p99.toFixed(0)])])
  assert.ok(added.p50 <= P50_MS_MAX, `${name}: p50 ${added.p50} ms`)
  assert.ok(added.p99 <= P99_MS_MAX, `${name}: p99 ${added.p99} ms`)
}

for (const sound of [false, true])
  test(`from RTMP to a page, ${sound ? 'with' : 'without'} sound`, { timeout: 2 * (SETTLE_SOUND_MS + MEASURED_MS) + 60_000 }, async () => {
    const settleMs = sound ? SETTLE_SOUND_MS : SETTLE_MS
    const encoding = [...ENCODING, ...(sound ? AAC : ['-an'])]
    const withServer = await (async () => {
      const room = sound ? 7301 : 7302
      const pusher = push(server.pushUrl(await server.ticket('camera', room)), LOOK, encoding)
      const { page } = await browser.peer(server, await server.ticket('anna', room))
      try {
        return await agesInPage(page, 'camera', settleMs)
      } finally {
        await pusher.stop()
        await page.close()
      }
    })()
    const page = await browser.peerPage(server)
    const peer = connection()
    /** @type {import('../tools/media-tools.mjs').Pusher | undefined} */ let source
    try {
      const kinds = /** @type {const} */ (sound ? ['video', 'audio'] : ['video'])
      const offer = await page.evaluate(async (kinds) => {
        const pc = new RTCPeerConnection()
        pc.ontrack = ({ streams: [mediaStream] }) => mediaStream.getTracks().length === kinds.length && window.peer.watch('werift', mediaStream)
        for (const kind of kinds) pc.addTransceiver(kind, { direction: 'recvonly' })
        await pc.setLocalDescription()
        window.pc = pc
        return pc.localDescription.sdp
      }, kinds)
      await peer.setRemoteDescription({ type: 'offer', sdp: offer })
      /** @type {Record<string, MediaStreamTrack>} */ const tracks = {}
      const flvToRtp = new FlvToRtp((kind, packet) => peer.connectionState === 'connected' && tracks[kind].writeRtp(packet), LOOK.toneHz)
      for (const kind of kinds) {
        const { sender } = await sends(peer, kind, (tracks[kind] = new MediaStreamTrack({ kind })))
        reportTruly(sender, () => flvToRtp.clock(kind === 'video' ? 90_000 : 48_000))
      }
      await peer.setLocalDescription(await peer.createAnswer())
      await until(() => peer.iceGatheringState === 'complete', 5000, 'the candidates')
      await page.evaluate((sdp) => window.pc.setRemoteDescription({ type: 'answer', sdp }), peer.localDescription.sdp)
      source = flv(LOOK, encoding)
      source.ffmpeg.stdout.on('data', (data) => flvToRtp.push(data))
      compare(`RTMP to Chromium, ${sound ? 'with' : 'without'} sound`, withServer, await agesInPage(page, 'werift', settleMs))
    } finally {
      source?.kill()
      await peer.close()
      await page.close()
    }
  })

/** Lets the independent stack send a track, in the one stream of all that it sends: only so does a browser keep lips and voice together. @param {import('werift').RTCPeerConnection} peer @param {'video' | 'audio'} kind @param {MediaStreamTrack} track */
async function sends(peer, kind, track) {
  const transceiver = peer.getTransceivers().find((it) => it.kind === kind)
  transceiver.setDirection('sendonly')
  transceiver.sender.streamIds = ['one']
  await transceiver.sender.replaceTrack(track)
  return transceiver
}

/**
 * Makes the independent stack's sender reports tell the publisher's clock. By itself it says of its latest packet that it is of the
 * moment at which it left, by which late sound would be no later than pictures.
 * @param {any} sender @param {() => { ntp: bigint, timestamp: number }} clock
 */
function reportTruly(sender, clock) {
  Object.defineProperty(sender, 'ntpTimestamp', { get: () => clock().ntp, set: () => {} })
  Object.defineProperty(sender, 'rtpTimestamp', { get: () => (clock().timestamp + sender.timestampOffset) >>> 0, set: () => {} })
}

test('from a page to an FLV player', { timeout: 2 * (SETTLE_MS + MEASURED_MS) + 60_000 }, async () => {
  const ticket = await server.ticket('bert', 7303)
  const bert = await browser.peer(server, ticket, { codec: 'H264', width: 640, height: 360 })
  const withServer = await agesOf(play(server.playUrls(ticket, 'bert').flv, { hasAudio: false }))
  await bert.page.close()

  const page = await browser.peerPage(server)
  const peer = connection()
  const rtpToFlv = new RtpToFlv()
  /** @type {import('node:http').ServerResponse | undefined} */ let player
  const web = createServer((_, response) => {
    response.writeHead(200, { 'content-type': 'video/x-flv' }).write(RtpToFlv.head)
    response.socket?.setNoDelay(true)
    player = response
  }).listen(0, '127.0.0.1')
  await once(web, 'listening')
  /** @type {ReturnType<typeof setInterval> | undefined} */ let asking
  try {
    peer.onTrack.subscribe((track) => {
      track.onReceiveRtp.subscribe((packet) => {
        asking ??= setInterval(() => rtpToFlv.started || peer.getReceivers().find(({ tracks }) => tracks.includes(track))?.sendRtcpPLI(packet.header.ssrc), 300)
        if (player) player.write(rtpToFlv.push(packet.header, packet.payload))
      })
    })
    const offer = await page.evaluate(async () => {
      const pc = (window.pc = new RTCPeerConnection())
      const media = await window.peer.camera({ width: 640, height: 360 })
      for (const track of media.getVideoTracks()) pc.addTransceiver(track, { direction: 'sendonly', streams: [media] })
      await pc.setLocalDescription()
      return pc.localDescription.sdp
    })
    await peer.setRemoteDescription({ type: 'offer', sdp: offer })
    await peer.setLocalDescription(await peer.createAnswer())
    await until(() => peer.iceGatheringState === 'complete', 5000, 'the candidates')
    await page.evaluate((sdp) => window.pc.setRemoteDescription({ type: 'answer', sdp }), peer.localDescription.sdp)
    await until(() => peer.connectionState === 'connected', 10_000, 'the connection')
    compare('Chromium to FLV', withServer, await agesOf(play(`http://127.0.0.1:${web.address().port}/direct.flv`, { hasAudio: false })))
  } finally {
    clearInterval(asking)
    player?.end()
    web.close()
    await peer.close()
    await page.close()
  }
})

/** @param {import('playwright-core').Page} page @param {string} userID @param {number} settleMs @returns {Promise<Ages>} */
async function agesInPage(page, userID, settleMs) {
  await page.waitForFunction((id) => (window.peer.sees(id)?.changes ?? 0) > 10, userID, { timeout: 30_000 })
  await sleep(settleMs)
  await page.evaluate((id) => window.peer.eyes.get(`main/${id}`).forgetAges(), userID)
  await sleep(MEASURED_MS)
  const { medianAgeMs, p99AgeMs } = await page.evaluate((id) => window.peer.sees(id), userID)
  return { p50: medianAgeMs, p99: p99AgeMs }
}

/** @param {import('../tools/media-tools.mjs').Player} player @returns {Promise<Ages>} */
async function agesOf(player) {
  try {
    await player.stamps(10, 30_000)
    await sleep(SETTLE_MS)
    /** @type {number[]} */ const ages = []
    player.on('picture', ({ ageMs }) => ages.push(ageMs))
    await sleep(MEASURED_MS)
    ages.sort((a, b) => a - b)
    assert.ok(ages.length > MEASURED_MS / 200, `${ages.length} pictures`)
    return { p50: ages[ages.length >> 1], p99: ages[Math.floor(ages.length * 0.99)] }
  } finally {
    await player.stop()
  }
}
