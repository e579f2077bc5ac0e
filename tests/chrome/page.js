/**
 * A peer in a page, driven by tests: publishes a canvas with a stamp in it and a tone of its own frequency, and reads stamps and
 * tones of everybody else, all the time. Everything hangs on `window.peer`.
 */

import { Room } from '/sdk/roomcast.js'
import { Ear, Eye } from '/test/chrome/senses.js'
import { blocks, clockStamp } from '/test/tools/stamp.mjs'

const FPS = 20

class Peer {
  /** @type {Room | null} */ room = null
  /** @type {Map<string, Eye>} */ eyes = new Map()
  /** @type {Map<string, Ear>} */ ears = new Map()
  /** What came of each member, by name. @type {Map<string, { mediaStream: MediaStream }>} */ media = new Map()
  /** @type {{ type: string, at: number, detail: any }[]} */ events = []
  /** What is published. @type {MediaStreamTrack[]} */ sent = []
  /** When entering was asked for, on the page's clock. */ enteredAt = 0
  audio = new AudioContext()

  /** @param {object} ticket @param {object} [options] */
  async enter(ticket, { signal = `${location.protocol.replace('http', 'ws')}//${location.host}/signal`, ...options } = {}) {
    this.enteredAt = performance.now()
    const room = (this.room = await Room.connect(signal))
    for (const type of ['member-entered', 'member-left', 'stream-added', 'stream-changed', 'stream-removed', 'muted', 'transport', 'error', 'closed', 'message', 'member-changed', 'room-changed', 'connection', 'speakers'])
      room.on(type, (detail) => this.events.push({ type, at: performance.now(), detail: flat(detail) }))
    room.on('media', (detail) => {
      this.media.set(detail.userID, detail)
      this.#watch(detail)
    })
    return room.enter({ ...ticket, ...options })
  }

  /** @param {{ codec?: string, toneHz?: number, hue?: number, width?: number, height?: number, stream?: 'main' | 'aux', isSilent?: boolean }} options */
  async publish({ codec, stream = 'main', ...look } = {}) {
    const tracks = (this.sent = (await this.camera(look)).getTracks())
    await this.room.publish(tracks, { codec, stream, degradationPreference: 'maintain-resolution' })
  }

  /** Switches the microphone off without a word to the server. */
  silence() {
    for (const track of this.sent) if (track.kind === 'audio') track.enabled = false
  }

  /** What a camera with a microphone would give. @param {{ toneHz?: number, hue?: number, width?: number, height?: number }} [look] */
  async camera({ toneHz = 1000, hue = 0, width = 640, height = 480 } = {}) {
    return new MediaStream([picture(width, height, hue), ...(await this.#sound(toneHz))])
  }

  /** Looks at and listens to a stream that came by another way than this peer's room. @param {string} name @param {MediaStream} mediaStream */
  watch(name, mediaStream) {
    this.#watch({ userID: name, stream: 'main', mediaStream })
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
    if (mediaStream.getVideoTracks().length > 0 && !this.eyes.has(key)) this.eyes.set(key, new Eye(videoOf(mediaStream)))
    // Chromium gives Web Audio nothing of a remote stream that no element plays.
    if (mediaStream.getVideoTracks().length === 0 && !this.ears.has(key)) videoOf(mediaStream)
    if (mediaStream.getAudioTracks().length > 0 && !this.ears.has(key)) this.ears.set(key, new Ear(new MediaStreamAudioSourceNode(this.audio, { mediaStream })))
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

/** @param {MediaStream} srcObject */
export function videoOf(srcObject) {
  const video = Object.assign(document.createElement('video'), { autoplay: true, playsInline: true, muted: true, srcObject })
  document.body.append(video)
  return video
}

/** A track of stamped pictures on a ground of one colour. @param {number} width @param {number} height @param {number} hue */
export function picture(width, height, hue) {
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
