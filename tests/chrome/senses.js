/** What a page sees and hears: the stamps in a video's pictures, and a tone in its sound. */

import { ageMs, readStamp } from '/test/tools/stamp.mjs'
import { toneShare } from '/test/tools/tone.mjs'

/** What the newest picture of a video showed. */
export class Eye {
  good = 0
  spoilt = 0
  /** @type {number[]} */ ages = []
  /** @type {number | null} */ value = null
  /** When the last new stamp was seen, and the longest wait for one since it was asked for last. */ changedAt = performance.now()
  longestWaitMs = 0
  /** Different stamps seen: a frozen picture stays at one. */ changes = 0
  /** Pictures that are older than the one before them. */ backwards = 0
  /** When the first good picture came, on the page's clock. @type {number | null} */ firstAt = null
  /** @type {[number, number, number] | null} */ colour = null

  /** @param {HTMLVideoElement} video  that plays, or will */
  constructor(video) {
    this.video = video
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
        if (this.value !== null && value < this.value) this.backwards++
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
    const { good, spoilt, changes, backwards, value, firstAt, colour, video } = this
    const part = (/** @type {number} */ share) => sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))]
    return { good, spoilt, changes, backwards, value, firstAt, colour, width: video.videoWidth, height: video.videoHeight, medianAgeMs: part(0.5), p99AgeMs: part(0.99) }
  }

  /** Forgets the ages of the pictures so far, those of the start. */
  forgetAges() {
    this.ages = []
  }
}

/** Listens to sound. */
export class Ear {
  /** @param {AudioNode} source */
  constructor(source) {
    this.context = source.context
    this.analyser = new AnalyserNode(source.context, { fftSize: 8192, smoothingTimeConstant: 0 })
    source.connect(this.analyser)
  }

  /** @param {number} frequencyHz */
  share(frequencyHz) {
    const samples = new Float32Array(this.analyser.fftSize)
    this.analyser.getFloatTimeDomainData(samples)
    return toneShare(samples, frequencyHz, this.context.sampleRate)
  }
}
