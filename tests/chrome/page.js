/**
 * A peer in a page, driven by tests: publishes a canvas with a stamp in it and a tone of its own frequency, and reads stamps and
 * tones of everybody else, all the time. Everything hangs on `window.peer`.
 */

import { Room } from '/sdk/roomcast.js'
import { ageMs, blocks, clockStamp, readStamp } from '/test/tools/stamp.mjs'
import { toneShare } from '/test/tools/tone.mjs'

const FPS = 20

/** What the newest picture of a stream showed. */
class Eye {
  good = 0
  spoilt = 0
  /** @type {number[]} */ ages = []
  /** @type {number | null} */ value = null
  /** When the last new stamp was seen, and the longest wait for one since it was asked for last. */ changedAt = performance.now()
  longestWaitMs = 0
  /** Different stamps seen: a frozen picture stays at one. */ changes = 0
  /** When the first good picture came, on the page's clock. @type {number | null} */ firstAt = null
  /** @type {[number, number, number] | null} */ colour = null

  /** @param {MediaStream} media */
  constructor(media) {
    this.video = Object.assign(document.createElement('video'), { autoplay: true, playsInline: true, muted: true, srcObject: media })
    document.body.append(this.video)
    const canvas = new OffscreenCanvas(1, 1)
    const context = canvas.getContext('2d', { willReadFrequently: true })
    const onPicture = () => {
      const { videoWidth: width, videoHeight: height } = this.video
      if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height })
      context.drawImage(this.video, 0, 0)
      const { data } = context.getImageData(0, 0, width, height)
      const value = readStamp((x, y) => data[4 * (y * width + x) + 1], width, height)
      if (value === null) this.spoilt++
      else {
        this.good++
        this.firstAt ??= performance.now()
        if (value !== this.value) {
          this.changes++
          this.longestWaitMs = Math.max(this.longestWaitMs, performance.now() - this.changedAt)
          this.changedAt = performance.now()
        }
        this.value = value
        this.ages.push(ageMs(value))
        const at = 4 * (Math.floor(0.9 * height) * width + Math.floor(0.9 * width))
        this.colour = [data[at], data[at + 1], data[at + 2]]
      }
      this.video.requestVideoFrameCallback(onPicture)
    }
    this.video.requestVideoFrameCallback(onPicture)
  }

  /** The longest time without a new picture since this was called last. */
  longestWait() {
    const wait = Math.max(this.longestWaitMs, performance.now() - this.changedAt)
    this.longestWaitMs = 0
    return wait
  }

  read() {
    const sorted = [...this.ages].sort((a, b) => a - b)
    const { good, spoilt, changes, value, firstAt, colour, video } = this
    return { good, spoilt, changes, value, firstAt, colour, width: video.videoWidth, height: video.videoHeight, medianAgeMs: sorted[sorted.length >> 1] }
  }
}

/** Listens to a stream's sound. */
class Ear {
  /** @param {AudioContext} context @param {MediaStream} media */
  constructor(context, media) {
    this.context = context
    this.analyser = new AnalyserNode(context, { fftSize: 8192, smoothingTimeConstant: 0 })
    new MediaStreamAudioSourceNode(context, { mediaStream: media }).connect(this.analyser)
  }

  /** @param {number} frequencyHz */
  share(frequencyHz) {
    const samples = new Float32Array(this.analyser.fftSize)
    this.analyser.getFloatTimeDomainData(samples)
    return toneShare(samples, frequencyHz, this.context.sampleRate)
  }
}

class Peer {
  /** @type {Room | null} */ room = null
  /** @type {Map<string, Eye>} */ eyes = new Map()
  /** @type {Map<string, Ear>} */ ears = new Map()
  /** @type {{ type: string, at: number, detail: any }[]} */ events = []
  /** When entering was asked for, on the page's clock. */ enteredAt = 0
  audio = new AudioContext()

  /** @param {object} ticket @param {object} [options] */
  async enter(ticket, { signal = `ws://${location.host}/signal`, ...options } = {}) {
    this.enteredAt = performance.now()
    const room = (this.room = await Room.connect(signal))
    for (const type of ['member-entered', 'member-left', 'stream-added', 'stream-changed', 'stream-removed', 'muted', 'transport', 'error', 'closed', 'message', 'member-changed', 'room-changed', 'connection'])
      room.on(type, (detail) => this.events.push({ type, at: performance.now(), detail: flat(detail) }))
    room.on('media', (detail) => this.#watch(detail))
    return room.enter({ ...ticket, ...options })
  }

  /** @param {{ codec?: string, toneHz?: number, hue?: number, width?: number, height?: number, stream?: 'main' | 'aux', isSilent?: boolean }} options */
  async publish({ codec, toneHz = 1000, hue = 0, width = 640, height = 480, stream = 'main' } = {}) {
    const tracks = [picture(width, height, hue), ...(await this.#sound(toneHz))]
    await this.room.publish(tracks, { codec, stream, degradationPreference: 'maintain-resolution' })
  }

  /** @param {string} userID */
  sees(userID, stream = 'main') {
    return this.eyes.get(`${stream}/${userID}`)?.read() ?? null
  }

  /** @param {string} userID */
  longestWait(userID, stream = 'main') {
    return this.eyes.get(`${stream}/${userID}`)?.longestWait() ?? Infinity
  }

  /** @param {string} userID @param {number} frequencyHz */
  hears(userID, frequencyHz, stream = 'main') {
    return this.ears.get(`${stream}/${userID}`)?.share(frequencyHz) ?? 0
  }

  members() {
    return [...(this.room?.members.values() ?? [])]
  }

  /** What the browser says it sends or receives. @param {'up' | 'down'} direction */
  async codecs(direction) {
    const report = (await this.room?.stats())?.[direction]
    const type = direction === 'up' ? 'outbound-rtp' : 'inbound-rtp'
    return [...(report?.values() ?? [])].filter((stat) => stat.type === type).map((stat) => report.get(stat.codecId)?.mimeType)
  }

  /** @param {{ userID: string, stream: string, mediaStream: MediaStream }} media */
  #watch({ userID, stream, mediaStream }) {
    const key = `${stream}/${userID}`
    if (mediaStream.getVideoTracks().length > 0 && !this.eyes.has(key)) this.eyes.set(key, new Eye(mediaStream))
    if (mediaStream.getAudioTracks().length > 0 && !this.ears.has(key)) this.ears.set(key, new Ear(this.audio, mediaStream))
  }

  /** @param {number} frequency */
  async #sound(frequency) {
    await this.audio.resume()
    const oscillator = new OscillatorNode(this.audio, { frequency })
    const volume = new GainNode(this.audio, { gain: 0.25 })
    const out = new MediaStreamAudioDestinationNode(this.audio)
    oscillator.connect(volume).connect(out)
    oscillator.start()
    return out.stream.getAudioTracks()
  }
}

/** A track of stamped pictures on a ground of one colour. @param {number} width @param {number} height @param {number} hue */
function picture(width, height, hue) {
  const canvas = Object.assign(document.createElement('canvas'), { width, height })
  const context = canvas.getContext('2d')
  let n = 0
  setInterval(() => {
    context.fillStyle = `hsl(${hue} 60% 45%)`
    context.fillRect(0, 0, width, height)
    // Something that moves, so that the encoder has work.
    context.fillStyle = '#0006'
    context.fillRect((n++ * 7) % width, height * 0.6, width / 8, height / 8)
    for (const block of blocks(clockStamp(), width, height)) {
      context.fillStyle = block.isWhite ? '#fff' : '#000'
      context.fillRect(block.x, block.y, block.width, block.height)
    }
  }, 1000 / FPS)
  return canvas.captureStream(FPS).getVideoTracks()[0]
}

/** Only what can be handed to the test. @param {any} detail */
const flat = (detail) => JSON.parse(JSON.stringify(detail, (_, value) => (value instanceof Error ? { code: value.code, message: value.message } : value)))

window.peer = new Peer()
