/** One stream on the stage: its picture, its name, its state, and the same stream by HTTP-FLV beside it. */

import { fromTemplate } from './dom.js'
import { FlvPlayer } from './flv.js'
import { LagMeter } from './lag.js'
import { t, translate } from './words.js'

/** @type {Record<string, string>} */
const PROTOCOL_NAMES = { webrtc: 'WebRTC', rtmp: 'RTMP', whip: 'WHIP', whep: 'WHEP' }

/** What people call a protocol. @param {string} protocol */
export const protocolName = (protocol) => (protocol === 'test' ? t('test-stream') : (PROTOCOL_NAMES[protocol] ?? protocol))

/** A tile lives as long as its stream. */
export class Tile {
  /** The tile itself. @type {HTMLElement} */ element
  /** @type {HTMLVideoElement} */ #video
  #flvUrl
  /** @type {FlvPlayer | null} */ #flv = null
  /** @type {LagMeter | null} */ #lag = null

  /**
   * @param {object} options
   * @param {string} options.name
   * @param {string} options.protocol
   * @param {boolean} [options.isSelf]  our own: silent
   * @param {boolean} [options.isMirrored]  as people expect of their own camera
   * @param {string} [options.flvUrl]  without it there is nothing to compare with
   */
  constructor({ name, protocol, isSelf = false, isMirrored = false, flvUrl }) {
    this.element = fromTemplate('tile-template')
    translate(this.element)
    this.element.setAttribute('aria-label', name)
    this.element.style.setProperty('--hue', String(hueOf(name)))
    this.element.toggleAttribute('data-mirrored', isMirrored)
    this.#flvUrl = flvUrl
    this.#video = this.#part('.screen video')
    this.#video.muted = isSelf
    this.#part('.name').textContent = name
    this.#part('.face').textContent = initials(name)
    const badge = this.#part('.badge')
    badge.textContent = protocolName(protocol)
    badge.dataset.protocol = protocol

    const compare = this.#part('.compare')
    compare.hidden = !flvUrl || !FlvPlayer.isSupported
    compare.addEventListener('click', () => this.#toggleCompare())
    this.#part('.big').addEventListener('click', () => this.element.dispatchEvent(new Event('wants-big', { bubbles: true })))
    this.element.addEventListener('dblclick', () => this.element.dispatchEvent(new Event('wants-big', { bubbles: true })))
    this.#part('.sound-on').addEventListener('click', () => this.#play())
    this.#video.addEventListener('resize', () => this.#showState())
    this.#video.addEventListener('playing', () => this.#showState())
  }

  /** Shows a stream, or again the same one after its tracks changed. @param {MediaStream} media */
  show(media) {
    if (this.#video.srcObject !== media) this.#video.srcObject = media
    this.#play()
    this.#showState()
  }

  /** @param {import('../sdk/roomcast.js').StreamInfo} info  what the server says about the stream */
  describe({ audio, video }) {
    this.hasVideo = video !== null && !video.muted
    this.element.toggleAttribute('data-muted', audio === null || audio.muted)
    this.#showState()
  }

  /** @param {boolean} isSpeaking */
  highlight(isSpeaking) {
    this.element.toggleAttribute('data-speaking', isSpeaking)
  }

  /** @param {string} text  the figures of its picture */
  measure(text) {
    const figures = this.#part('.figures')
    if (figures.textContent !== text) figures.textContent = text
  }

  /** Where the sound comes out. @param {string} deviceId */
  async setSpeaker(deviceId) {
    await /** @type {any} */ (this.#video).setSinkId?.(deviceId)
  }

  remove() {
    this.#stopComparing()
    this.#video.srcObject = null
    this.element.remove()
  }

  /** @template {HTMLElement} T @param {string} selector @returns {T} */
  #part(selector) {
    return /** @type {T} */ (this.element.querySelector(selector))
  }

  /** Sound may only start after a gesture. Joining was one; if the browser does not count it, a button asks for another. */
  #play() {
    const unmute = this.#part('.sound-on')
    this.#video.play().then(
      () => (unmute.hidden = true),
      ({ name }) => (unmute.hidden = name !== 'NotAllowedError'),
    )
  }

  #showState() {
    const hasPicture = this.#video.videoWidth > 0
    const state = this.hasVideo === false ? 'audio-only' : hasPicture ? 'playing' : 'connecting'
    this.element.dataset.state = state
  }

  #toggleCompare() {
    if (this.#flv) this.#stopComparing()
    else this.#startComparing()
    const isOn = this.#flv !== null
    this.element.toggleAttribute('data-comparing', isOn)
    this.#part('.screen.flv').hidden = !isOn
    this.#part('.compare').setAttribute('aria-pressed', String(isOn))
    this.element.dispatchEvent(new Event('comparing', { bubbles: true }))
    this.#part('.compare span').textContent = t(isOn ? 'compare-stop' : 'compare')
    this.#part('.compare span').dataset.t = isOn ? 'compare-stop' : 'compare'
  }

  #startComparing() {
    const video = /** @type {HTMLVideoElement} */ (this.#part('.screen.flv video'))
    const lag = this.#part('.lag')
    lag.hidden = false
    lag.textContent = t('flv-loading')
    this.#flv = new FlvPlayer(video, /** @type {string} */ (this.#flvUrl), (message) => (lag.textContent = message))
    this.#lag = new LagMeter(this.#video, video, (lagMs) => (lag.textContent = lagText(lagMs, video)))
  }

  #stopComparing() {
    this.#flv?.stop()
    this.#lag?.stop()
    this.#flv = null
    this.#lag = null
    this.#part('.lag').hidden = true
  }
}

/** @param {number | null} lagMs @param {HTMLVideoElement} flv */
function lagText(lagMs, flv) {
  if (flv.videoWidth === 0) return t('flv-loading')
  if (lagMs !== null) return t(lagMs >= 0 ? 'flv-later' : 'flv-earlier', { s: Math.abs(lagMs / 1000).toFixed(2) })
  const { buffered, currentTime } = flv
  const ahead = buffered.length > 0 ? buffered.end(buffered.length - 1) - currentTime : 0
  return t('flv-buffers', { s: ahead.toFixed(2) })
}

/** One colour a name, always the same. @param {string} name */
export const hueOf = (name) => [...name].reduce((hash, letter) => (hash * 31 + (letter.codePointAt(0) ?? 0)) % 360, 7)

/** The first letters of the first two words; what stands in parentheses is no part of a name. @param {string} name */
export function initials(name) {
  const words = name.replace(/[(（].*[)）]/, '').split(/[^\p{L}\p{N}]+/u).filter(Boolean)
  return words.slice(0, 2).map((word) => [...word][0].toUpperCase()).join('')
}
