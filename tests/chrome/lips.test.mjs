/**
 * Lips and voice through the bridge, both ways: a beep at each full second of the publisher's time line belongs to the picture of that
 * second. 20 s of each; LIPS_MINUTES=10 TEST_TIMEOUT_MS=2000000 for as long as one likes to watch.
 *
 * In FLV both have timestamps. A browser plays the voice of a WebRTC stream up to 30 ms beside the lips before it moves either, and
 * by more until it has (80 ms a second at most); but it says by how much it believes that it does, from the server's sender
 * reports. What is seen and heard must agree with that as it does between two pages.
 */

import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { after, before, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'

import { push } from '../tools/media-tools.mjs'
import { readStamp } from '../tools/stamp.mjs'
import { Browser, Server, until } from './harness.mjs'

const FPS = 25
const LENGTH_MS = Number(process.env.LIPS_MINUTES ?? 1 / 3) * 60_000
/** Beeps of which one figure is made. */
const PIECE_MS = Math.min(LENGTH_MS / 2, 30_000)
/** How long two pages are watched that no bridge is between. */
const FLOOR_MS = PIECE_MS * 2
/** A browser takes so long to bring lips and voice together. */
const SETTLE_MS = 10_000
const APART_MS_MAX = 20
/** Half a second of sound is looked at first, and a key frame comes every two seconds. */
const HELD_AFTER_MS_MAX = 3000
/** Of a page, where nobody asked for a long look: a busy machine plays sound late, and pictures as well; a stream out of step is further off. */
const PAGE_APART_MS_MAX = process.env.LIPS_MINUTES ? APART_MS_MAX : 150
const BEEPS = "aevalsrc='0.4*sin(2*PI*1000*t)*lt(mod(t,1),0.1)':s=48000"
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

/** @param {number[]} values */
const median = (values) => [...values].sort((a, b) => a - b)[values.length >> 1]

/** The same, within half a second of 0. @param {number} ms */
const wrapped = (ms) => ((((ms + 500) % 1000) + 1000) % 1000) - 500

/** By how much the voice is behind the lips; both are late by what is given, the voice in any full second. @param {number[]} lips @param {number[]} voice */
function behind(lips, voice) {
  const late = median(lips)
  return median(voice.map((ms) => wrapped(ms - late)))
}

/** Whether a figure can be made of that: a machine that is too busy swallows most. @param {import('node:test').TestContext} t @param {{ shown: unknown[], heard: unknown[] }} taken */
function isEnough(t, { shown, heard }) {
  const enough = heard.length >= PIECE_MS / 2000 && shown.length > 10
  if (!enough) t.diagnostic(`too busy a machine: ${heard.length} beeps, ${shown.length} pictures in ${PIECE_MS / 1000} s`)
  return enough
}

/** @param {number[]} pieces */
const told = (pieces) => pieces.map((ms) => ms.toFixed(1)).join(', ')

/** @param {import('node:test').TestContext} t @param {string} name @param {number[]} pieces @param {number} [most] */
function verify(t, name, pieces, most = APART_MS_MAX) {
  assert.ok(pieces.length > 0, 'this machine is too busy to see and hear in time')
  t.diagnostic(`${name}: the voice is behind the lips by ${told(pieces)} ms`)
  for (const ms of pieces) assert.ok(Math.abs(ms) <= most, `${ms} ms`)
}

test('a beep of an RTMP stream is heard in a page with its picture', { timeout: 2 * LENGTH_MS + 120_000 }, async (t) => {
  // What the way of measuring makes of two pages without a bridge between them.
  const { page: publisher } = await lipsPage(7200, 'carl')
  await publisher.evaluate(() => window.lips.publish())
  const ground = await lipsPage(7200, 'dora')
  const floor = await watch(t, ground.page, 'carl', FLOOR_MS, async ({ shown, heard }) => {
    const { sent } = await publisher.evaluate(() => window.lips.take())
    const beep = median(sent.map((at) => wrapped(at - sent[0]))) + sent[0]
    return behind(shown.map(([stamp, at]) => (at % 2 ** 24) - stamp), heard.map((at) => at - beep))
  })
  t.diagnostic(`between two pages: the voice is behind the lips by ${told(floor)} ms`)
  for (const page of [publisher, ground.page]) await page.close()

  const room = 7201
  await pushBeeps(t, room)
  const { page } = await lipsPage(room, 'anna')
  const pieces = await watch(t, page, 'camera', LENGTH_MS, async ({ shown, heard }) => behind(shown.map(([n, at]) => at - (n * 1000) / FPS), heard))
  t.diagnostic(`RTMP to Chromium: the voice is behind the lips by ${told(pieces)} ms`)
  verify(t, 'the same without what is so between two pages', pieces.map((ms) => ms - median(floor)), PAGE_APART_MS_MAX)
  await page.close()
})

test('pictures of an RTMP stream wait for their sound a second after somebody begins to watch', async (t) => {
  const room = 7203
  await pushBeeps(t, room)
  // What the first viewer hears is measured; those who come later are told at once.
  for (const userID of ['anna', 'bert']) {
    const { page } = await lipsPage(room, userID)
    await page.waitForFunction(() => (window.peer.sees('camera')?.changes ?? 0) > 0, undefined, { timeout: 30_000, polling: 20 })
    const { heldAfterMs, heldMs } = await page.evaluate(() => window.lips.held(60, 10_000))
    await sleep(3000)
    const behindMs = await page.evaluate(() => window.lips.believes())
    t.diagnostic(`${userID}: pictures are held for ${heldMs.toFixed(0)} ms, ${heldAfterMs.toFixed(0)} ms after the first; then the browser believes the voice to be ${behindMs.toFixed(0)} ms behind`)
    assert.ok(heldAfterMs < HELD_AFTER_MS_MAX, `${heldAfterMs} ms`)
    assert.ok(heldMs < 300, `${heldMs} ms`)
    await page.close()
  }
})

/** Pushes stamped pictures and a beep at each full second by RTMP. @param {import('node:test').TestContext} t @param {number} room */
async function pushBeeps(t, room) {
  const source = { width: 640, height: 480, fps: FPS, seconds: 36_000, toneHz: 0, colour: /** @type {[number, number]} */ ([90, 160]), stamp: 'paced', sound: BEEPS }
  const encoding = ['-c:v', 'libx264', '-profile:v', 'baseline', '-preset', 'veryfast', '-tune', 'zerolatency', '-g', '50', '-b:v', '500k', '-c:a', 'aac', '-ar', '44100', '-ac', '2', '-b:a', '96k']
  const pusher = push(server.pushUrl(await server.ticket('camera', room)), source, encoding)
  t.after(() => pusher.kill())
}

/**
 * By how much the voice of a member is behind his lips beyond what the browser itself believes, in milliseconds, piece by piece.
 * @param {import('node:test').TestContext} t @param {import('playwright-core').Page} page @param {string} userID @param {number} lengthMs
 * @param {(taken: { shown: [number, number][], heard: number[] }) => Promise<number>} measure
 */
async function watch(t, page, userID, lengthMs, measure) {
  await page.waitForFunction((id) => (window.peer.sees(id)?.changes ?? 0) > 0, userID, { timeout: 30_000 })
  await page.evaluate((id) => window.lips.watch(id), userID)
  await sleep(SETTLE_MS)
  const pieces = []
  for (let length = 0; length < lengthMs; length += PIECE_MS) {
    await page.evaluate(() => window.lips.take())
    const beliefs = []
    for (const end = performance.now() + PIECE_MS; performance.now() < end; ) {
      await sleep(1000)
      beliefs.push(await page.evaluate(() => window.lips.believes()))
    }
    const taken = await page.evaluate(() => window.lips.take())
    if (!isEnough(t, taken)) continue
    pieces.push((await measure(taken)) - median(beliefs))
  }
  return pieces
}

test('a beep of a page is in its FLV at the time of its picture', { timeout: LENGTH_MS + 60_000 }, async (t) => {
  const room = 7202
  const { page, ticket } = await lipsPage(room, 'bert')
  await page.evaluate(() => window.lips.publish())
  const player = new TimedPlayer(server.playUrls(ticket, 'bert').flv)
  t.after(() => player.stop())
  await until(() => player.shown.length > 20 && player.heard.length > 2, 30_000, 'beeps and pictures')
  const pieces = []
  for (let length = 0; length < LENGTH_MS; length += PIECE_MS) {
    player.take()
    await page.evaluate(() => window.lips.take())
    await sleep(PIECE_MS)
    const { shown, heard } = player.take()
    const { sent } = await page.evaluate(() => window.lips.take())
    if (!isEnough(t, { shown, heard })) continue
    const beep = median(sent.map((at) => wrapped(at - sent[0]))) + sent[0]
    pieces.push(behind(shown.map(([stamp, at]) => at - stamp), heard.map((at) => at - (beep % 2 ** 24))))
  }
  verify(t, 'Chromium to FLV', pieces)
  await page.close()
})

/** A member whose page can see and hear, and be seen and heard. @param {number} room @param {string} userID */
async function lipsPage(room, userID) {
  const ticket = await server.ticket(userID, room)
  const { page } = await browser.peer(server, ticket)
  await page.addScriptTag({ type: 'module', url: '/test/chrome/lips.js' })
  await page.waitForFunction(() => 'lips' in window)
  return { page, ticket }
}

/** An FLV player that knows the timestamp of each picture and each beep: it reads the tags, ffmpeg decodes them. */
class TimedPlayer {
  /** Stamp and timestamp of pictures, in milliseconds. @type {[number, number][]} */ shown = []
  /** Timestamps of beeps. @type {number[]} */ heard = []
  #abort = new AbortController()
  /** Timestamps of what ffmpeg has not decoded yet, and of the first sound. @type {number[]} */ #pictures = []
  /** @type {number[]} */ #units = []
  #samples = 0
  #loudAt = -Infinity

  /** @param {string} url */
  constructor(url) {
    const [width, height] = [320, 240]
    const ffmpeg = (this.ffmpeg = spawn(
      'ffmpeg',
      [
        ...['-hide_banner', '-loglevel', 'error', '-flags', 'low_delay', '-threads', '1', '-f', 'flv', '-i', 'pipe:0'],
        ...['-map', '0:v:0', '-vf', `scale=${width}:${height}`, '-fps_mode', 'passthrough', '-f', 'rawvideo', '-pix_fmt', 'gray', 'pipe:1'],
        ...['-map', '0:a:0', '-ac', '1', '-f', 's16le', 'pipe:3'],
      ],
      { stdio: ['pipe', 'pipe', 'inherit', 'pipe'] },
    ))
    inPieces(ffmpeg.stdout, width * height, (picture) => {
      const at = this.#pictures.shift()
      const value = readStamp((x, y) => picture[y * width + x], width, height)
      if (value !== null && at !== undefined) this.shown.push([value, at])
    })
    // Each access unit gives as many samples as any other, in order.
    inPieces(ffmpeg.stdio[3], 1024 * 2, (unit) => {
      const at = this.#units.shift()
      for (let n = 0; n < 1024 && at !== undefined; n++) {
        if (Math.abs(unit.readInt16LE(2 * n)) < 1000) continue
        const ms = at + n / 48
        if (ms - this.#loudAt > 300) this.heard.push(ms)
        this.#loudAt = ms
      }
    })
    this.#read(url).catch((error) => !this.#abort.signal.aborted && console.error(error))
  }

  take() {
    const { shown, heard } = this
    Object.assign(this, { shown: [], heard: [] })
    return { shown, heard }
  }

  stop() {
    this.#abort.abort()
    this.ffmpeg.kill('SIGKILL')
  }

  /** @param {string} url */
  async #read(url) {
    const { body } = await fetch(url, { signal: this.#abort.signal })
    let rest = Buffer.alloc(0)
    let at = 13 // behind the file's header
    for await (const data of body) {
      this.ffmpeg.stdin.write(data)
      rest = Buffer.concat([rest, data])
      while (rest.length >= at + 11 && rest.length >= at + 15 + rest.readUIntBE(at + 1, 3)) {
        const ms = rest.readUIntBE(at + 4, 3) + rest[at + 7] * 2 ** 24
        // Behind the tag's first byte stands 0 for what only describes the codec.
        if (rest[at] === 9 && rest[at + 12] === 1) this.#pictures.push(ms)
        if (rest[at] === 8 && rest[at + 12] === 1) this.#units.push(ms)
        rest = rest.subarray(at + 15 + rest.readUIntBE(at + 1, 3))
        at = 0
      }
    }
  }
}

/** Cuts what a pipe gives into pieces of one size. @param {any} stream @param {number} size @param {(piece: Buffer) => void} onPiece */
function inPieces(stream, size, onPiece) {
  let all = Buffer.alloc(0)
  stream.on('data', (/** @type {Buffer} */ data) => {
    for (all = Buffer.concat([all, data]); all.length >= size; all = all.subarray(size)) onPiece(all.subarray(0, size))
  })
  stream.on('error', () => {}) // stopped
}
