/** One stream on the stage: its picture, its name, its state, and the same stream by other protocols beside it. */

import { fromTemplate } from './dom.js'
import { FlvPlayer } from './flv.js'
import { t, translate } from './words.js'

/** @type {Record<string, string>} */
const PROTOCOL_NAMES = { webrtc: 'WebRTC', rtmp: 'RTMP', whip: 'WHIP', whep: 'WHEP' }

/** What people call a protocol. @param {string} protocol */
export const protocolName = (protocol) => (protocol === 'test' ? t('test-stream') : (PROTOCOL_NAMES[protocol] ?? protocol))

/** A tile lives as long as its stream. */
export class Tile {
  /** The tile itself. @type {HTMLElement} */ element
  /** @type {HTMLVideoElement} */ #video
  #elsewhere
  #clockOffset
  /** @type {import('./compare.js').Comparison | null} */ #comparison = null
  #isComparing = false
  #isSpeaking = false

  /**
   * @param {object} options
   * @param {string} options.name
   * @param {string} options.protocol
   * @param {boolean} [options.isSelf]  our own: silent
   * @param {boolean} [options.isMirrored]  as people expect of their own camera
   * @param {import('./compare.js').Urls} [options.elsewhere]  where else the stream plays; without it there is nothing to compare with
   * @param {() => Promise<number>} [options.clockOffset]  by how many milliseconds the server's clock is ahead
   */
  constructor({ name, protocol, isSelf = false, isMirrored = false, elsewhere, clockOffset = async () => 0 }) {
    this.element = fromTemplate('tile-template')
    translate(this.element)
    this.element.setAttribute('aria-label', name)
    this.element.style.setProperty('--hue', String(hueOf(name)))
    this.element.toggleAttribute('data-mirrored', isMirrored)
    this.#elsewhere = elsewhere
    this.#clockOffset = clockOffset
    this.#video = this.#part('.screen video')
    this.#video.muted = isSelf
    this.#part('.name').textContent = name
    this.#part('.face').textContent = initials(name)
    const badge = this.#part('.badge')
    badge.textContent = protocolName(protocol)
    badge.dataset.protocol = protocol

    const compare = this.#part('.compare')
    compare.hidden = !elsewhere || !FlvPlayer.isSupported
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
    this.highlight(this.#isSpeaking)
    this.#showState()
  }

  /** @param {boolean} isSpeaking  as the server heard it; who is muted since does not speak any more */
  highlight(isSpeaking) {
    this.#isSpeaking = isSpeaking
    this.element.toggleAttribute('data-speaking', isSpeaking && !this.element.hasAttribute('data-muted'))
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
    if (this.#isComparing) this.#stopComparing()
    else this.#startComparing()
    const isOn = this.#isComparing
    this.element.toggleAttribute('data-comparing', isOn)
    this.#part('.compare').setAttribute('aria-pressed', String(isOn))
    this.element.dispatchEvent(new Event('comparing', { bubbles: true }))
    this.#part('.compare span').textContent = t(isOn ? 'compare-stop' : 'compare')
    this.#part('.compare span').dataset.t = isOn ? 'compare-stop' : 'compare'
  }

  async #startComparing() {
    this.#isComparing = true
    // What few people ask for is fetched when they do.
    const [{ Comparison }, offsetMs] = await Promise.all([import('./compare.js'), this.#clockOffset().catch(() => 0)])
    if (!this.#isComparing || this.#comparison || !this.#elsewhere) return
    this.#comparison = new Comparison(this.#part('.screens'), this.#elsewhere, offsetMs)
  }

  #stopComparing() {
    this.#isComparing = false
    this.#comparison?.stop()
    this.#comparison = null
  }
}

/** One colour a name, always the same. @param {string} name */
export const hueOf = (name) => [...name].reduce((hash, letter) => (hash * 31 + (letter.codePointAt(0) ?? 0)) % 360, 7)

/** The first letters of the first two words; what stands in parentheses is no part of a name. @param {string} name */
export function initials(name) {
  const words = name.replace(/[(（].*[)）]/, '').split(/[^\p{L}\p{N}]+/u).filter(Boolean)
  return words.slice(0, 2).map((word) => [...word][0].toUpperCase()).join('')
}
