/** A player in a page, driven by tests: hls.js or mpegts.js in a video of which stamps and tone are read. On `window.player`. */

import { Ear, Eye } from '/test/chrome/senses.js'

class Player {
  startedAt = 0
  /** @type {string[]} */ errors = []
  audio = new AudioContext()

  /** @param {'hls' | 'mpegts'} kind @param {string} url */
  async start(kind, url) {
    const video = Object.assign(document.createElement('video'), { autoplay: true, playsInline: true })
    document.body.append(video)
    this.eye = new Eye(video)
    const source = this.audio.createMediaElementSource(video)
    this.ear = new Ear(source)
    await this.audio.resume()
    this.startedAt = performance.now()
    if (kind === 'hls') this.#hls(video, url)
    else this.#mpegts(video, url)
    this.video = video
  }

  /** @param {HTMLVideoElement} video @param {string} url */
  #hls(video, url) {
    const hls = new window.Hls({ lowLatencyMode: true })
    hls.on(window.Hls.Events.ERROR, (/** @type {any} */ _, /** @type {any} */ error) => this.errors.push(`${error.fatal ? 'fatal ' : ''}${error.details} ${error.error?.message ?? ''}`))
    hls.loadSource(url)
    hls.attachMedia(video)
    this.hls = hls
  }

  /** @param {HTMLVideoElement} video @param {string} url */
  #mpegts(video, url) {
    const player = window.mpegts.createPlayer({ type: 'flv', isLive: true, url }, { enableStashBuffer: false, liveBufferLatencyChasing: true, liveBufferLatencyMaxLatency: 1, liveBufferLatencyMinRemain: 0.3 })
    player.on(window.mpegts.Events.ERROR, (/** @type {any} */ type, /** @type {any} */ detail) => this.errors.push(`${type} ${detail}`))
    player.attachMediaElement(video)
    player.load()
    player.play()
  }

  /** @param {number} frequencyHz */
  hears(frequencyHz) {
    return this.ear?.share(frequencyHz) ?? 0
  }

  read() {
    const seen = this.eye?.read()
    return { ...seen, firstMs: seen?.firstAt == null ? null : seen.firstAt - this.startedAt, position: this.video?.currentTime, latency: this.hls?.latency, errors: this.errors }
  }
}

window.player = new Player()
