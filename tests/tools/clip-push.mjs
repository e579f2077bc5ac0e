/**
 * The server's stamped test clip (web-demo/clip.flv), pushed by RTMP from outside in step with Unix time, as the server plays it itself;
 * or late, or with its sound out of step with its picture, to see whether that is told.
 */
import { readFile } from 'node:fs/promises'
import { Readable } from 'node:stream'
import { setTimeout as delay } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'

import { RtmpPush } from './rtmp-push.mjs'

const CLIP = fileURLToPath(new URL('../../web-demo/clip.flv', import.meta.url))
/** A round is a whole number of pictures and of sound frames. */
const ROUND_MS = 16_000
const FILE_HEADER_BYTES = 13
const AUDIO = 8

/**
 * @param {string} url  rtmp://host:port/app/name?query
 * @param {{ lateMs?: number, soundLateMs?: number }} [how]  by how much everything, and by how much the sound alone, comes too late
 * @returns {Promise<() => Promise<void>>} ends it
 */
export async function pushClip(url, { lateMs = 0, soundLateMs = 0 } = {}) {
  const { header, setup, frames } = tagsOf(await readFile(CLIP))
  const shifted = frames.map((tag) => ({ ...tag, ms: tag.ms + (tag.kind === AUDIO ? soundLateMs : 0) })).sort((a, b) => a.ms - b.ms)
  const push = await RtmpPush.open(url)
  let isOver = false
  async function* flv() {
    yield header
    for (const tag of setup) yield bytesOf(tag, 0)
    // The next round begins too late for a test; so it is joined at a key frame: there is one a second.
    const startedAt = Date.now() - lateMs
    const firstMs = (Math.floor((startedAt % ROUND_MS) / 1000) + 1) * 1000
    const zero = startedAt - (startedAt % ROUND_MS)
    for (let round = 0; ; round++)
      for (const tag of shifted) {
        const ms = round * ROUND_MS + tag.ms
        if (ms < firstMs) continue
        await delay(zero + lateMs + ms - Date.now())
        if (isOver) return
        yield bytesOf(tag, ms)
      }
  }
  const sent = push.send(Readable.from(flv()))
  return async () => {
    isOver = true
    await sent
    await push.stop()
  }
}

/** @param {Buffer} file */
function tagsOf(file) {
  const tags = []
  for (let at = FILE_HEADER_BYTES; at + 11 <= file.length; ) {
    const end = at + 11 + file.readUIntBE(at + 1, 3) + 4
    const kind = file[at]
    // Metadata, and what describes the codecs: the second byte of AAC and of AVC is 0.
    const isSetup = kind === 18 || file[at + 12] === 0
    tags.push({ kind, isSetup, ms: file.readUIntBE(at + 4, 3) + file[at + 7] * 2 ** 24, bytes: file.subarray(at, end) })
    at = end
  }
  const frames = tags.filter(({ isSetup }) => !isSetup)
  const first = Math.min(...frames.map(({ ms }) => ms))
  return { header: file.subarray(0, FILE_HEADER_BYTES), setup: tags.filter(({ isSetup }) => isSetup), frames: frames.map((tag) => ({ ...tag, ms: tag.ms - first })) }
}

/** @param {{ bytes: Buffer }} tag @param {number} ms */
function bytesOf({ bytes }, ms) {
  const copy = Buffer.from(bytes)
  copy.writeUIntBE(ms % 2 ** 24, 4, 3)
  copy[7] = Math.floor(ms / 2 ** 24)
  return copy
}
