/** Plays HTTP-FLV in a video element, through mpegts.js and Media Source Extensions. */

import { loadScript } from './dom.js'

/** How far behind the live edge the player may fall before it plays faster, in seconds; a smaller value stutters on slow networks. */
const LATENCY_MAX_S = 0.8
/** How much stays buffered after catching up, in seconds. */
const LATENCY_KEPT_S = 0.25
/** How long until a stream that ended or failed is asked for again, in milliseconds. */
const RETRY_MS = 1500

/** One stream in one video element, until stopped. A stream that ends is asked for again: its publisher may come back. */
export class FlvPlayer {
  /** @type {any} */ #player = null
  #isStopped = false
  /** @type {ReturnType<typeof setTimeout> | undefined} */ #retry
  /** Bytes that arrived so far, as far as the player tells. */ receivedBytes = 0
  #video
  #url
  #onError

  /**
   * @param {HTMLVideoElement} video
   * @param {string} url  ends in .flv
   * @param {(message: string) => void} [onError]  called for every failure; the player goes on trying
   */
  constructor(video, url, onError = () => {}) {
    this.#video = video
    this.#url = url
    this.#onError = onError
    this.#start()
  }

  /** Whether this browser can do it at all. */
  static get isSupported() {
    return Boolean(globalThis.MediaSource?.isTypeSupported('video/mp4; codecs="avc1.42E01E, mp4a.40.2"'))
  }

  stop() {
    this.#isStopped = true
    clearTimeout(this.#retry)
    this.#player?.destroy()
    this.#player = null
  }

  async #start() {
    this.#isStopped = false
    const mpegts = await loadScript('/vendor/mpegts.js', 'mpegts').catch(() => null)
    if (this.#isStopped) return
    if (!mpegts) return this.#onError('mpegts.js did not come')
    mpegts.LoggingControl.enableAll = false
    const player = mpegts.createPlayer(
      { type: 'flv', isLive: true, url: this.#url },
      {
        // Takes the stream apart beside the page, which has pictures to draw.
        enableWorker: true,
        enableStashBuffer: false,
        lazyLoad: false,
        autoCleanupSourceBuffer: true,
        liveBufferLatencyChasing: true,
        liveBufferLatencyMaxLatency: LATENCY_MAX_S,
        liveBufferLatencyMinRemain: LATENCY_KEPT_S,
      },
    )
    this.#player = player
    player.on(mpegts.Events.ERROR, (/** @type {string} */ type, /** @type {string} */ detail) => this.#again(`${type}: ${detail}`))
    // Speed is what came since the last time that it was told, in KiB per second; it is told about twice a second.
    let told = performance.now()
    player.on(mpegts.Events.STATISTICS_INFO, ({ speed = 0 }) => {
      const now = performance.now()
      this.receivedBytes += (speed * 1024 * (now - told)) / 1000
      told = now
    })
    player.on(mpegts.Events.LOADING_COMPLETE, () => this.#again('the stream ended'))
    player.attachMediaElement(this.#video)
    player.load()
    player.play()?.catch(() => {}) // a pause before the first picture rejects this; it is no failure
  }

  /** @param {string} message */
  #again(message) {
    if (!this.#player) return
    this.#onError(message)
    clearTimeout(this.#retry)
    this.#retry = setTimeout(() => {
      this.stop()
      this.#start()
    }, RETRY_MS)
  }
}
