/**
 * What publishers do, and where it is seen and heard: each scene is pushed by RTMP, and picture (stamp) and tone are read in
 * Chromium by WebRTC, by ffmpeg over RTMP and HTTP-FLV, and in Chromium again by mpegts.js and hls.js. Ends with one table.
 */

import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'

import { flv, play, push, pushObs, pushPhone, pushTone } from '../tools/media-tools.mjs'
import { RtmpPush } from '../tools/rtmp-push.mjs'
import { Browser, Server } from './harness.mjs'

const TONE_HZ = 1000
/** What the first half of a scene lasts whose second half is different. */
const HALF_SECONDS = 3
/** Chromium, ffmpeg and all players at once on two cores. */
const DEADLINE_MS = 30_000

/** @type {Server} */ let server
/** @type {Browser} */ let browser
/** @type {string[][]} */ const table = [['scene', 'WebRTC', 'RTMP', 'HTTP-FLV', 'mpegts.js', 'HLS']]

before(async () => {
  server = await Server.start({ 'demo.test_stream': 'false' })
  browser = await Browser.start()
})
after(async () => {
  const widths = table[0].map((_, column) => Math.max(...table.map((row) => (row[column] ?? '').length)))
  for (const row of table) console.log(`# ${row.map((cell, column) => cell.padEnd(widths[column])).join('  ')}`)
  await browser?.stop()
  await server?.stop()
})

const SMALL = { width: 320, height: 240, fps: 15, seconds: 60, toneHz: TONE_HZ, colour: /** @type {[number, number]} */ ([90, 160]) }
const video = (/** @type {string[]} */ ...more) => ['-c:v', 'libx264', '-profile:v', 'baseline', '-preset', 'veryfast', '-tune', 'zerolatency', '-g', '30', '-sc_threshold', '0', '-b:v', '300k', ...more]
const audio = (/** @type {number} */ rateHz, /** @type {number} */ channels) => ['-c:a', 'aac', '-ar', String(rateHz), '-ac', String(channels), '-b:a', '64k']

/** A publisher whose tags get other timestamps, or go on with other pictures. @param {string} url @param {(ms: number) => number} timestamp @param {object} [then] */
async function pushTags(url, timestamp, then) {
  const connection = await RtmpPush.open(url)
  const encoding = [...video(), ...audio(44_100, 2)]
  const first = flv({ ...SMALL, ...(then && { seconds: HALF_SECONDS }) }, encoding)
  /** @type {import('../tools/media-tools.mjs').Pusher | undefined} */ let second
  const sent = (async () => {
    await connection.send(first.ffmpeg.stdout, timestamp)
    if (!then) return
    second = flv({ ...SMALL, ...then }, encoding)
    await connection.send(second.ffmpeg.stdout, (ms) => timestamp(ms + HALF_SECONDS * 1000))
  })()
  sent.catch(() => {}) // players say it
  const kill = () => {
    first.kill()
    second?.kill()
  }
  return {
    kill,
    stop: async () => {
      kill()
      await sent.catch(() => {})
      await connection.stop()
    },
  }
}

/** @typedef {{ stop: () => Promise<unknown>, kill: () => void }} Publisher */

/** @type {Record<string, { push: (url: string) => Publisher | Promise<Publisher>, isSilentPicture?: boolean, size?: [number, number], changes?: number }>} */
const SCENES = {
  'phone-like': { push: (url) => pushPhone(url), size: [360, 640] },
  'OBS-like': { push: (url) => pushObs(url, { width: 1280, height: 720, bFrames: 0 }), size: [1280, 720] },
  'audio only': { push: (url) => pushTone(url), isSilentPicture: true },
  '16 kHz mono': { push: (url) => push(url, SMALL, [...video(), ...audio(16_000, 1)]), size: [320, 240] },
  'resolution change': { push: (url) => pushTags(url, (ms) => ms, { width: 480, height: 360 }), size: [480, 360], changes: 75 },
  'timestamp wrap': { push: (url) => pushTags(url, (ms) => ms + 2 ** 32 - HALF_SECONDS * 1000), changes: 75 },
  'timestamp jump': { push: (url) => pushTags(url, (ms) => ms + (ms < HALF_SECONDS * 1000 ? 500_000 : 3_000_000)), changes: 75 },
  'B-frames': { push: (url) => push(url, SMALL, ['-c:v', 'libx264', '-profile:v', 'high', '-preset', 'veryfast', '-bf', '2', '-g', '30', '-b:v', '300k', ...audio(48_000, 2)]) },
}

let room = 6000
for (const [name, scene] of Object.entries(SCENES))
  test(`${name}: picture and tone in every player`, async (t) => {
    room++
    const ticket = await server.ticket('camera', room)
    const peer = await browser.peer(server, await server.ticket('anna', room))
    const publisher = await scene.push(server.pushUrl(ticket))
    t.after(() => publisher.kill())
    await peer.event('stream-added', 'camera')
    const changes = scene.changes ?? 30
    const row = [name]
    table.push(row)
    const urls = server.playUrls(ticket, 'camera')

    const inPage = async () => {
      if (!scene.isSilentPicture) await peer.sees('camera', { changes: name === 'B-frames' ? 15 : changes, deadlineMs: DEADLINE_MS })
      await peer.hears('camera', TONE_HZ, DEADLINE_MS)
      return scene.isSilentPicture ? 'tone' : `ok ${(await peer.sees('camera', { changes: 1 })).medianAgeMs} ms`
    }
    const byFfmpeg = async (/** @type {string} */ url) => {
      const player = play(url, { hasVideo: !scene.isSilentPicture })
      try {
        const [pictures] = await Promise.all([scene.isSilentPicture ? null : player.stamps(changes, DEADLINE_MS), player.tone(TONE_HZ, DEADLINE_MS)])
        return pictures ? `ok ${pictures.at(-1)?.ageMs} ms` : 'tone'
      } finally {
        await player.stop()
      }
    }
    const byScript = async (/** @type {'hls' | 'mpegts'} */ kind, /** @type {string} */ url) => {
      const player = await browser.player(server, kind, url)
      try {
        const seen = scene.isSilentPicture ? null : await player.sees(changes, DEADLINE_MS)
        await player.hears(TONE_HZ, DEADLINE_MS)
        if (seen && scene.size) assert.deepEqual([seen.width, seen.height], scene.size)
        return seen ? `ok ${seen.medianAgeMs} ms` : 'tone'
      } finally {
        await player.page.close()
      }
    }
    const results = await Promise.allSettled([inPage(), byFfmpeg(urls.rtmp), byFfmpeg(urls.flv), byScript('mpegts', urls.flv), byScript('hls', server.hlsUrl(ticket, 'camera'))])
    row.push(...results.map((result) => (result.status === 'fulfilled' ? result.value : 'FAILED')))
    const failed = results.filter((result) => result.status === 'rejected').map(({ reason }) => String(reason.message ?? reason))
    await publisher.stop()
    await peer.page.close()
    assert.deepEqual(failed, [])
  })
