/**
 * Lips and voice, in a page: a beep at each full second beside stamped pictures, to publish; and when pictures are shown and beeps
 * are heard of a stream that plays. Everything hangs on `window.lips`; times are Unix time in milliseconds.
 */

import { readStamp } from '/test/tools/stamp.mjs'
import { picture, videoOf } from '/test/chrome/page.js'

const BEEP_SECONDS = 0.1
/** Beeps are planned so far ahead. */
const AHEAD_SECONDS = 3

class Lips {
  /** What was shown: stamp, and when. @type {[number, number][]} */ shown = []
  /** When a beep was heard. @type {number[]} */ heard = []
  /** When a beep was sent. @type {number[]} */ sent = []
  audio = new AudioContext({ sampleRate: 48_000, latencyHint: 'interactive' })

  /** Pictures stamped with the time at which they are drawn, and beeps. */
  async source() {
    await this.audio.resume()
    const oscillator = new OscillatorNode(this.audio, { frequency: 1000 })
    const gate = new GainNode(this.audio, { gain: 0 })
    const out = new MediaStreamAudioDestinationNode(this.audio)
    oscillator.connect(gate).connect(out)
    oscillator.start()
    let next = Math.ceil(this.audio.currentTime) + 1
    const plan = () => {
      for (; next < this.audio.currentTime + AHEAD_SECONDS; next++) {
        gate.gain.setValueAtTime(0.4, next)
        gate.gain.setValueAtTime(0, next + BEEP_SECONDS)
        // A stream gets samples when they are made, not when a loudspeaker would play them.
        this.sent.push(performance.timeOrigin + this.#heardAt(next) - 1000 * this.audio.outputLatency)
      }
    }
    plan()
    setInterval(plan, 1000)
    return new MediaStream([picture(640, 480, 0), ...out.stream.getAudioTracks()])
  }

  /** Publishes that in the peer's room. */
  async publish() {
    await window.peer.room.publish((await this.source()).getTracks(), { codec: 'H264' })
  }

  /** Looks at and listens to a member of the peer's room. @param {string} userID */
  async watch(userID) {
    const { mediaStream } = window.peer.media.get(userID)
    // Not by way of Web Audio, which keeps a buffer of its own between what is played and what it hears.
    this.#listen(mediaStream.getAudioTracks()[0])
    const video = videoOf(mediaStream)
    const context = new OffscreenCanvas(640, 480).getContext('2d', { willReadFrequently: true })
    const onPicture = (/** @type {number} */ _, /** @type {VideoFrameCallbackMetadata} */ { expectedDisplayTime, width, height }) => {
      context.drawImage(video, 0, 0, width, height)
      const { data } = context.getImageData(0, 0, width, height)
      const value = readStamp((x, y) => data[4 * (y * width + x) + 1], width, height)
      if (value !== null) this.shown.push([value, performance.timeOrigin + expectedDisplayTime])
      video.requestVideoFrameCallback(onPicture)
    }
    video.requestVideoFrameCallback(onPicture)
  }

  /** Notes when sound begins after a pause, at the time at which it is handed to be played. @param {MediaStreamTrack} track */
  async #listen(track) {
    const { readable } = new MediaStreamTrackProcessor({ track })
    // On a thread of its own, where no picture holds it up.
    const script = await (await fetch('/test/chrome/onsets.js')).blob()
    const worker = new Worker(URL.createObjectURL(script))
    worker.onmessage = ({ data }) => this.heard.push(data)
    worker.postMessage(readable, [readable])
  }

  /** By how much the browser itself believes the voice to be behind the lips, from the server's sender reports, in milliseconds. */
  async believes() {
    const report = (await window.peer.room.stats()).down
    const [voice, lips] = ['audio', 'video'].map((kind) => [...report.values()].find((stat) => stat.type === 'inbound-rtp' && stat.kind === kind)?.estimatedPlayoutTimestamp)
    return lips - voice
  }

  /**
   * Waits until the browser holds pictures for `leastMs` more than it needs for itself, and says how long after now that was.
   * @param {number} leastMs @param {number} deadlineMs
   */
  async held(leastMs, deadlineMs) {
    const began = performance.now()
    let [seconds, count] = [0, 0]
    for (;;) {
      const report = (await window.peer.room.stats()).down
      const stat = [...report.values()].find((stat) => stat.type === 'inbound-rtp' && stat.kind === 'video')
      const total = stat.jitterBufferTargetDelay - stat.jitterBufferMinimumDelay
      const heldMs = (1000 * (total - seconds)) / (stat.jitterBufferEmittedCount - count)
      const heldAfterMs = performance.now() - began
      if (heldMs >= leastMs || heldAfterMs > deadlineMs) return { heldMs, heldAfterMs }
      ;[seconds, count] = [total, stat.jitterBufferEmittedCount]
      await new Promise((resolve) => setTimeout(resolve, 200))
    }
  }

  /** What was shown and heard since this was called last. */
  take() {
    const { shown, heard, sent } = this
    Object.assign(this, { shown: [], heard: [], sent: [] })
    return { shown, heard, sent, latency: this.audio.outputLatency }
  }

  /** When the page's clock plays a time of the context. @param {number} contextTime */
  #heardAt(contextTime) {
    const now = this.audio.getOutputTimestamp()
    return (now.performanceTime ?? 0) + 1000 * (contextTime - (now.contextTime ?? 0))
  }
}

window.lips = new Lips()
