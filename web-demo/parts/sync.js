/**
 * Measures how old the pictures of a video are and how far its sound is from them, where the video shows the stamped test stream:
 * each picture says when it was sent, and at every full second of the clip a beep begins.
 */

import { ROUND_MS, StampReader } from './stamp.js'

/** How many pictures are looked back on; at 25 a second these are two seconds. */
const PICTURES = 50
/** So many of them must carry stamps, or it is another stream and some looked like one by chance. */
const STAMPED_MIN = 25
/** An age above this, in milliseconds, is a clock that is a little off and not a picture that is nearly a round old. */
const AGE_MAX_MS = ROUND_MS - 1000
/** How many beeps the lip-sync is the median of. */
const BEEPS = 5
/** How often the sound is listened to, in milliseconds: often enough that the analyser's buffer never runs over. */
const LISTEN_MS = 25
/** Samples that the analyser keeps: 170 ms at 48 kHz. */
const SAMPLES = 8192
/** A beep begins where it is this loud after it was quieter than that for so long, in milliseconds. */
const LOUD = 0.02
const QUIET = 0.01
const QUIET_MS = 200

/**
 * @typedef {object} Reading
 * @property {number | null} delayMs  from when the picture was sent until it is shown; null without stamps
 * @property {number | null} lipSyncMs  how much later the sound is than the picture; negative: earlier; null without stamps or sound
 */

/** Watches one video and listens to its sound until stopped. */
export class SyncMeter {
  #isStopped = false
  #video
  #reader = new StampReader()
  #clockOffsetMs
  /** Ages of the newest pictures, null for one without a stamp. @type {(number | null)[]} */ #ages = []
  /** The newest stamp, and when it was shown. */ #shown = { sentMs: 0, at: -Infinity }
  /** @type {number[]} */ #lipSyncs = []
  /** @type {BeepEar | null} */ #ear

  /**
   * @param {HTMLVideoElement} video
   * @param {AudioNode | null} sound  null: only the pictures are looked at
   * @param {number} clockOffsetMs  by how much the server's clock is ahead of this machine's
   */
  constructor(video, sound, clockOffsetMs) {
    this.#video = video
    this.#clockOffsetMs = clockOffsetMs
    this.#ear = sound && new BeepEar(sound, (at) => this.#hear(at))
    video.requestVideoFrameCallback(this.#see)
  }

  /** @returns {Reading} of the last seconds */
  read() {
    const ages = this.#ages.filter((age) => age !== null)
    const isStamped = ages.length >= STAMPED_MIN
    return { delayMs: isStamped ? median(ages) : null, lipSyncMs: isStamped && this.#lipSyncs.length > 0 ? median(this.#lipSyncs) : null }
  }

  stop() {
    this.#isStopped = true
    this.#ear?.stop()
  }

  #see = (/** @type {number} */ _now, /** @type {VideoFrameCallbackMetadata} */ { expectedDisplayTime: at }) => {
    if (this.#isStopped) return
    const sentMs = this.#reader.read(this.#video)
    this.#ages.push(sentMs === null ? null : this.#age(sentMs, at))
    if (this.#ages.length > PICTURES) this.#ages.shift()
    if (sentMs !== null) this.#shown = { sentMs, at }
    this.#video.requestVideoFrameCallback(this.#see)
  }

  /** @param {number} sentMs  in its round @param {number} at  when it is shown, on the page's clock */
  #age(sentMs, at) {
    const unixMs = Date.now() + this.#clockOffsetMs + at - performance.now()
    const age = (((unixMs - sentMs) % ROUND_MS) + ROUND_MS) % ROUND_MS
    return age > AGE_MAX_MS ? age - ROUND_MS : age
  }

  /** A beep began. @param {number} at  on the page's clock */
  #hear(at) {
    const elapsed = at - this.#shown.at
    if (Math.abs(elapsed) > 500) return // the picture stands still
    // What the picture's own clock says when the beep is heard, against the full second at which the beep belongs.
    const late = (((this.#shown.sentMs + elapsed) % 1000) + 1000) % 1000
    this.#lipSyncs.push(late > 500 ? late - 1000 : late)
    if (this.#lipSyncs.length > BEEPS) this.#lipSyncs.shift()
  }
}

/** Tells when a beep begins. */
class BeepEar {
  #timer
  #sound
  #analyser
  #samples = new Float32Array(SAMPLES)
  #heardUntilS
  /** How many samples it has been quiet for. */ #quiet = 0
  #onBeep

  /** @param {AudioNode} sound @param {(at: number) => void} onBeep  told the time on the page's clock */
  constructor(sound, onBeep) {
    this.#sound = sound
    this.#analyser = new AnalyserNode(sound.context, { fftSize: SAMPLES })
    sound.connect(this.#analyser)
    this.#heardUntilS = sound.context.currentTime
    this.#onBeep = onBeep
    this.#timer = setInterval(() => this.#listen(), LISTEN_MS)
  }

  stop() {
    clearInterval(this.#timer)
    this.#sound.disconnect(this.#analyser)
  }

  #listen() {
    const { currentTime, sampleRate } = this.#analyser.context
    const [now, fresh] = [performance.now(), Math.round((currentTime - this.#heardUntilS) * sampleRate)]
    this.#heardUntilS = currentTime
    if (fresh <= 0) return
    if (fresh > SAMPLES) return void (this.#quiet = 0) // the page slept, and what came meanwhile is gone
    this.#analyser.getFloatTimeDomainData(this.#samples)
    for (let n = SAMPLES - fresh; n < SAMPLES; n++) {
      const loudness = Math.abs(this.#samples[n])
      if (loudness >= LOUD && this.#quiet > (QUIET_MS / 1000) * sampleRate) this.#onBeep(now - ((SAMPLES - n) / sampleRate) * 1000)
      this.#quiet = loudness < QUIET ? this.#quiet + 1 : loudness >= LOUD ? 0 : this.#quiet
    }
  }
}

/** @param {number[]} values  not empty */
function median(values) {
  const sorted = [...values].sort((a, b) => a - b)
  return sorted[sorted.length >> 1]
}
