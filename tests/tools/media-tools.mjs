#!/usr/bin/env node
/**
 * Real clients made of ffmpeg, whose picture and sound can be verified: pushers that look like a phone and like OBS, and a player
 * that reads stamp and tone.
 *
 * As a program:
 *   media-tools.mjs push-phone URL [SECONDS]
 *   media-tools.mjs push-obs URL [SECONDS]
 *   media-tools.mjs play URL [SECONDS]      prints what it saw as JSON
 *   media-tools.mjs codecs URL              what ffprobe says
 */
import { spawn, execFile } from 'node:child_process'
import { EventEmitter, once } from 'node:events'
import { setTimeout as delay } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'

import { ageMs, readStamp } from './stamp.mjs'
import { toneShare } from './tone.mjs'

const STAMP_VIDEO = fileURLToPath(new URL('./stamp-video.mjs', import.meta.url))
const SAMPLE_RATE_HZ = 48_000
/** Length of the piece of sound in which a tone is looked for. */
const TONE_WINDOW_SAMPLES = SAMPLE_RATE_HZ / 10
/** How much of the energy must lie at the tone's frequency; what is left is the codecs' noise. */
export const TONE_SHARE_MIN = 0.7
/**
 * Options that make ffmpeg show a live stream as soon as it can. Not `-fflags nobuffer`: that throws away what was read while
 * guessing the codecs, the first key frame with it, and a browser sends no other unless it is asked.
 */
const LOW_DELAY = ['-flags', 'low_delay', '-analyzeduration', '200000', '-probesize', '32768']

/**
 * `stamp`: see stamp-video.mjs. `sound`: an audio source of ffmpeg's instead of the tone.
 * @typedef {{ width: number, height: number, fps: number, seconds: number, toneHz: number, colour: [number, number], stamp?: string, sound?: string }} Source
 */

/** A publisher: ffmpeg, and what feeds it. */
export class Pusher {
  #processes
  #errors = ''

  /** @param {import('node:child_process').ChildProcess[]} processes  the last one is ffmpeg */
  constructor(processes) {
    this.#processes = processes
    this.ffmpeg.stderr?.on('data', (text) => (this.#errors = (this.#errors + text).slice(-4000)))
    /** Resolves when ffmpeg has ended, with its exit code (null: by a signal). @type {Promise<number | null>} */
    this.ended = once(this.ffmpeg, 'exit').then(([code]) => code)
  }

  get ffmpeg() {
    return this.#processes[this.#processes.length - 1]
  }

  /** What ffmpeg complained about. */
  get errors() {
    return this.#errors
  }

  /** Ends as a person ends it with Ctrl-C: the stream is closed properly. */
  async stop() {
    this.ffmpeg.kill('SIGINT')
    await Promise.race([this.ended, delay(3000, undefined, { ref: false })])
    this.kill()
  }

  /** Ends like a phone whose battery was taken out. */
  kill() {
    for (const process of this.#processes) process.kill('SIGKILL')
  }
}

/**
 * Looks like a mini-program's live-pusher: portrait, 15 pictures a second, constrained baseline, a key frame every two seconds,
 * mono AAC.
 * @param {string} url
 * @param {Partial<Source>} [options]
 */
export function pushPhone(url, { width = 360, height = 640, fps = 15, seconds = 3600, toneHz = 1000, colour = [90, 160] } = {}) {
  const gop = String(fps * 2)
  const video = ['-c:v', 'libx264', '-profile:v', 'baseline', '-level', '3.1', '-preset', 'veryfast', '-tune', 'zerolatency', '-bf', '0', '-refs', '1']
  const rate = ['-g', gop, '-keyint_min', gop, '-sc_threshold', '0', '-b:v', '300k', '-maxrate', '400k', '-bufsize', '400k']
  const audio = ['-c:a', 'aac', '-profile:a', 'aac_low', '-ar', '48000', '-ac', '1', '-b:a', '48k']
  return push(url, { width, height, fps, seconds, toneHz, colour }, [...video, ...rate, ...audio])
}

/**
 * Looks like OBS as it comes: 1080p, High profile with two B-frames, a key frame every two seconds, stereo AAC.
 * @param {string} url
 * @param {Partial<Source> & { bFrames?: number }} [options]
 */
export function pushObs(url, { width = 1920, height = 1080, fps = 30, seconds = 3600, toneHz = 1000, colour = [160, 90], bFrames = 2 } = {}) {
  const gop = String(fps * 2)
  const video = ['-c:v', 'libx264', '-profile:v', 'high', '-preset', 'veryfast', '-bf', String(bFrames), '-g', gop]
  const rate = ['-b:v', '2500k', '-maxrate', '2500k', '-bufsize', '2500k', '-x264-params', 'nal-hrd=cbr:scenecut=0']
  const audio = ['-c:a', 'aac', '-profile:a', 'aac_low', '-ar', '48000', '-ac', '2', '-b:a', '160k']
  return push(url, { width, height, fps, seconds, toneHz, colour }, [...video, ...rate, ...audio])
}

/**
 * Pushes stamped pictures and a tone by RTMP, with any encoding.
 * @param {string} url
 * @param {Source} source
 * @param {string[]} encoding  ffmpeg's options for the codecs
 */
export function push(url, source, encoding) {
  const output = ['-flush_packets', '1', '-f', 'flv', '-flvflags', 'no_duration_filesize', url]
  return encode(source, ['-map', '0:v', '-map', '1:a', '-t', String(source.seconds), '-pix_fmt', 'yuv420p', ...encoding, ...output])
}

/**
 * Stamped pictures and a tone as FLV on a pipe, for somebody who sends them in his own way: `ffmpeg.stdout` of what is returned.
 * @param {Source} source
 * @param {string[]} encoding  ffmpeg's options for the codecs
 */
export function flv(source, encoding) {
  const output = ['-flush_packets', '1', '-f', 'flv', '-flvflags', 'no_duration_filesize', 'pipe:1']
  return encode(source, ['-map', '0:v', '-map', '1:a', '-t', String(source.seconds), '-pix_fmt', 'yuv420p', ...encoding, ...output], 'pipe')
}

/**
 * Stamped pictures as IVF on a pipe: VP8, VP9 or AV1, `ffmpeg.stdout` of what is returned.
 * @param {Source} source
 * @param {string[]} encoding  ffmpeg's options for the codec
 */
export function ivf(source, encoding) {
  return encode(source, ['-map', '0:v', '-t', String(source.seconds), '-pix_fmt', 'yuv420p', ...encoding, '-flush_packets', '1', '-f', 'ivf', 'pipe:1'], 'pipe')
}

/**
 * Pushes a tone alone.
 * @param {string} url @param {{ toneHz?: number, seconds?: number, encoding?: string[] }} [options]
 */
export function pushTone(url, { toneHz = 1000, seconds = 3600, encoding = ['-c:a', 'aac', '-ar', '44100', '-ac', '2', '-b:a', '96k'] } = {}) {
  const input = ['-re', '-f', 'lavfi', '-i', `sine=frequency=${toneHz}:sample_rate=${SAMPLE_RATE_HZ}`]
  const output = ['-t', String(seconds), ...encoding, '-flush_packets', '1', '-f', 'flv', '-flvflags', 'no_duration_filesize', url]
  return new Pusher([spawn('ffmpeg', ['-hide_banner', '-loglevel', 'warning', '-nostdin', ...input, ...output], { stdio: ['ignore', 'ignore', 'pipe'] })])
}

/** H.264 and H.265 as RTP wants them: each key frame carries its parameter sets. */
const RTP_VIDEO = {
  H264: ['-c:v', 'libx264', '-profile:v', 'baseline', '-level', '3.1', '-preset', 'veryfast', '-tune', 'zerolatency', '-bsf:v', 'dump_extra=freq=keyframe'],
  H265: ['-c:v', 'libx265', '-preset', 'ultrafast', '-tune', 'zerolatency', '-x265-params', 'log-level=error:repeat-headers=1:scenecut=0'],
}

/**
 * Sends stamped pictures (H.264 or H.265) and a tone (Opus) as plain RTP to two UDP ports of this machine, for somebody who puts
 * them into WebRTC.
 * @param {{ videoPort: number, audioPort: number }} ports
 * @param {Partial<Source>} [source] @param {keyof typeof RTP_VIDEO} [codec]
 */
export function sendRtp({ videoPort, audioPort }, { width = 640, height = 360, fps = 15, seconds = 3600, toneHz = 1000, colour = [90, 160] } = {}, codec = 'H264') {
  const video = [...RTP_VIDEO[codec], '-g', String(fps), '-b:v', '500k', '-pix_fmt', 'yuv420p']
  const audio = ['-c:a', 'libopus', '-b:a', '48k', '-ac', '2']
  return encode({ width, height, fps, seconds, toneHz, colour }, [
    ...['-map', '0:v', ...video, '-f', 'rtp', `rtp://127.0.0.1:${videoPort}?pkt_size=1200`],
    ...['-map', '1:a', ...audio, '-f', 'rtp', `rtp://127.0.0.1:${audioPort}?pkt_size=1200`],
  ])
}

/**
 * Starts ffmpeg with stamped pictures as its input 0 and a tone as its input 1.
 * @param {Source} source
 * @param {string[]} outputs  ffmpeg's options behind the inputs
 * @param {'ignore' | 'pipe'} [stdout]
 */
function encode({ width, height, fps, seconds, toneHz, colour, stamp = 'clock', sound = `sine=frequency=${toneHz}:sample_rate=${SAMPLE_RATE_HZ}` }, outputs, stdout = 'ignore') {
  const pictures = spawn(process.execPath, [STAMP_VIDEO, width, height, fps, seconds, stamp, ...colour].map(String), { stdio: ['ignore', 'pipe', 'inherit'] })
  const ffmpeg = spawn(
    'ffmpeg',
    [
      ...['-hide_banner', '-loglevel', 'warning', '-nostdin'],
      // Without these ffmpeg first collects seconds of pictures to learn what they are.
      ...['-fflags', 'nobuffer', '-probesize', '32', '-analyzeduration', '0'],
      ...['-f', 'rawvideo', '-pix_fmt', 'yuv420p', '-s', `${width}x${height}`, '-r', String(fps), '-i', 'pipe:0'],
      // No -re here: the pictures already come in real time, and two clocks only wait for one another.
      ...['-f', 'lavfi', '-i', sound],
      ...outputs,
    ],
    { stdio: [pictures.stdout, stdout, 'pipe'] },
  )
  pictures.stdout.destroy() // the pipe is ffmpeg's alone, so that the generator ends when ffmpeg does
  return new Pusher([pictures, ffmpeg])
}

/**
 * A player: ffmpeg decodes, this side reads the stamp of every picture and listens to the sound.
 *
 * Events: `picture` ({ value, ageMs, atMs }), `spoilt` (a picture without a readable stamp), `sound` (Int16Array of 100 ms).
 */
export class Player extends EventEmitter {
  #ffmpeg
  #startedAt = performance.now()
  #errors = ''
  /** Pictures with a good stamp. */
  pictures = 0
  /** Pictures without. */
  spoilt = 0
  /** From the start of ffmpeg to the first decoded picture, in milliseconds. @type {number | null} */
  firstPictureMs = null

  /**
   * @param {string[]} input  ffmpeg's options that end with the input
   * @param {{ width?: number, height?: number, hasAudio?: boolean, hasVideo?: boolean }} [options]  size to which pictures are scaled
   */
  constructor(input, { width = 320, height = 240, hasAudio = true, hasVideo = true } = {}) {
    super()
    const video = ['-map', '0:v:0', '-vf', `scale=${width}:${height}`, '-fps_mode', 'passthrough', '-f', 'rawvideo', '-pix_fmt', 'gray', 'pipe:1']
    const audio = ['-map', '0:a:0', '-ac', '1', '-ar', String(SAMPLE_RATE_HZ), '-f', 's16le', 'pipe:3']
    const outputs = [...(hasVideo ? video : []), ...(hasAudio ? audio : [])]
    const ffmpeg = spawn('ffmpeg', ['-hide_banner', '-loglevel', 'error', '-nostdin', '-threads', '1', ...input, ...outputs], { stdio: ['ignore', 'pipe', 'pipe', 'pipe'] })
    this.#ffmpeg = ffmpeg
    /** Resolves when ffmpeg has ended, with its exit code. @type {Promise<number | null>} */
    this.ended = once(ffmpeg, 'exit').then(([code]) => code)
    ffmpeg.stderr?.on('data', (text) => (this.#errors = (this.#errors + text).slice(-4000)))
    inPieces(ffmpeg.stdio[1], width * height, (picture) => this.#onPicture(picture, width, height))
    inPieces(ffmpeg.stdio[3], TONE_WINDOW_SAMPLES * 2, (sound) =>
      this.emit('sound', new Int16Array(sound.buffer.slice(sound.byteOffset, sound.byteOffset + sound.length))),
    )
  }

  get errors() {
    return this.#errors
  }

  /**
   * Waits for so many pictures with a good, growing stamp.
   * @param {number} count @param {number} deadlineMs
   * @returns {Promise<{ value: number, ageMs: number, atMs: number }[]>}
   */
  async stamps(count, deadlineMs) {
    /** @type {{ value: number, ageMs: number, atMs: number }[]} */
    const seen = []
    await this.#until('picture', deadlineMs, `${count} stamped pictures`, (picture) => {
      if (picture.value !== seen.at(-1)?.value) seen.push(picture)
      return seen.length >= count
    })
    return seen
  }

  /**
   * Waits for half a second of the tone without a gap.
   * @param {number} frequencyHz @param {number} deadlineMs
   * @returns {Promise<number>} the least share of energy of those pieces
   */
  async tone(frequencyHz, deadlineMs) {
    /** @type {number[]} */
    let shares = []
    await this.#until('sound', deadlineMs, `a tone of ${frequencyHz} Hz`, (samples) => {
      const share = toneShare(samples, frequencyHz, SAMPLE_RATE_HZ)
      shares = share >= TONE_SHARE_MIN ? [...shares, share] : []
      return shares.length >= 5
    })
    return Math.min(...shares)
  }

  stop() {
    this.#ffmpeg.kill('SIGKILL')
    return this.ended
  }

  /** @param {Buffer} picture @param {number} width @param {number} height */
  #onPicture(picture, width, height) {
    const atMs = performance.now() - this.#startedAt
    this.firstPictureMs ??= atMs
    const value = readStamp((x, y) => picture[y * width + x], width, height)
    if (value === null) {
      this.spoilt++
      this.emit('spoilt')
      return
    }
    this.pictures++
    this.emit('picture', { value, ageMs: ageMs(value), atMs })
  }

  /** @param {string} event @param {number} deadlineMs @param {string} what @param {(value: any) => boolean} isEnough */
  #until(event, deadlineMs, what, isEnough) {
    return new Promise((resolve, reject) => {
      const fail = (/** @type {string} */ why) => done(() => reject(new Error(`the player waited in vain for ${what}: ${why}; ${this.pictures} good and ${this.spoilt} spoilt pictures; ffmpeg says: ${this.#errors.trim()}`)))
      const timer = setTimeout(() => fail(`${deadlineMs} ms are over`), deadlineMs)
      const onValue = (/** @type {any} */ value) => isEnough(value) && done(() => resolve(undefined))
      const onExit = () => fail('it has ended')
      const done = (/** @type {() => void} */ finish) => {
        clearTimeout(timer)
        this.off(event, onValue)
        this.#ffmpeg.off('exit', onExit)
        finish()
      }
      this.on(event, onValue)
      this.#ffmpeg.on('exit', onExit)
    })
  }
}

/**
 * Plays a URL (RTMP or HTTP-FLV) as it is live.
 * @param {string} url @param {ConstructorParameters<typeof Player>[1]} [options]
 */
export const play = (url, options) => new Player([...LOW_DELAY, '-i', url], options)

/**
 * What is in a stream, as ffprobe sees it.
 * @param {string} url
 * @returns {Promise<{ codec_type: string, codec_name: string, profile?: string, width?: number, height?: number, sample_rate?: string, channels?: number, has_b_frames?: number }[]>}
 */
export async function probe(url) {
  const { stdout } = await promisify(execFile)('ffprobe', ['-v', 'error', '-show_streams', '-of', 'json', url], { timeout: 20_000 })
  return JSON.parse(stdout).streams
}

/** Cuts what a pipe gives into pieces of one size. @param {any} stream @param {number} size @param {(piece: Buffer) => void} onPiece */
function inPieces(stream, size, onPiece) {
  /** @type {Buffer[]} */
  let waiting = []
  let length = 0
  stream.on('data', (/** @type {Buffer} */ data) => {
    waiting.push(data)
    length += data.length
    if (length < size) return
    let all = Buffer.concat(waiting)
    for (; all.length >= size; all = all.subarray(size)) onPiece(all.subarray(0, size))
    waiting = [all]
    length = all.length
  })
  stream.on('error', () => {}) // a player that was stopped
}

if (process.argv[1] === fileURLToPath(import.meta.url)) await main(process.argv.slice(2))

/** @param {string[]} args */
async function main([command, url, seconds]) {
  if (command === 'push-phone' || command === 'push-obs') {
    const pusher = (command === 'push-phone' ? pushPhone : pushObs)(url, { seconds: Number(seconds ?? 20) })
    for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => pusher.stop())
    const code = await pusher.ended
    if (pusher.errors) console.error(pusher.errors)
    process.exit(code ?? 1)
  }
  if (command === 'play') {
    const player = play(url)
    const ages = /** @type {number[]} */ ([])
    player.on('picture', (picture) => ages.push(picture.ageMs))
    await Promise.race([player.ended, delay(Number(seconds ?? 6) * 1000)])
    await player.stop()
    ages.sort((a, b) => a - b)
    console.log(JSON.stringify({ firstPictureMs: player.firstPictureMs, pictures: player.pictures, spoilt: player.spoilt, medianAgeMs: ages[ages.length >> 1], errors: player.errors }))
    process.exit(0)
  }
  if (command === 'codecs') return console.log(JSON.stringify(await probe(url), null, 1))
  console.error('usage: media-tools.mjs push-phone|push-obs|play|codecs URL [SECONDS]')
  process.exit(2)
}
