/** Lines to copy, and codes to scan, that bring a stream in or play one elsewhere. */

import { renderSVG } from '../vendor/uqr.js'
import { byId, element, fromTemplate } from './dom.js'
import { demoTicket, fourLetters, roomLink } from './ticket.js'
import { t, translate } from './words.js'

/** How long a copy button says that it has copied, in milliseconds. */
const COPIED_MS = 1600

export class Connect {
  #element = byId('connect')
  #playLines = element('div')
  #choice = /** @type {HTMLSelectElement} */ (element('select'))
  /** @type {import('./ticket.js').Addresses | null} */ #addresses = null
  #isDemo = false
  /** @type {any} */ #tickets = null

  constructor() {
    this.#choice.addEventListener('change', () => this.#showPlayLines())
  }

  /**
   * Makes the lines. Each pusher gets a ticket and a name of its own, so that all of them work at the same time.
   * @param {import('./ticket.js').Addresses} addresses
   * @param {boolean} isDemo  whether this server gives tickets to whoever asks
   */
  async open(addresses, isDemo) {
    this.#addresses = addresses
    this.#isDemo = isDemo
    const placeholder = (/** @type {string} */ userID) => ({ sdkAppID: addresses.sdkAppID, userID, userSig: 'USERSIG', roomID: addresses.roomID })
    const ticket = (/** @type {string} */ kind) => (isDemo ? demoTicket(String(addresses.roomID), `${kind}-${fourLetters()}`) : placeholder(kind))
    const kinds = ['ffmpeg', 'obs', 'phone', 'whip']
    const tickets = await Promise.all(kinds.map(ticket))
    this.#tickets = Object.fromEntries(kinds.map((kind, index) => [kind, tickets[index]]))
    this.draw()
  }

  /** Draws it again, in the language of now. */
  draw() {
    const addresses = this.#addresses
    if (!addresses || !this.#tickets) return
    const { ffmpeg, obs, phone, whip } = this.#tickets
    const server = addresses.rtmpPushServer()
    const command = `ffmpeg -re -f lavfi -i testsrc2=size=1280x720:rate=30 -f lavfi -i sine=frequency=440 -c:v libx264 -preset veryfast -tune zerolatency -bf 0 -g 60 -b:v 1500k -pix_fmt yuv420p -c:a aac -ar 48000 -b:a 96k -f flv "${server}/${addresses.rtmpPushKey(ffmpeg)}"`
    const pushUrl = `${server}/${addresses.rtmpPushKey(phone)}`
    const isLocal = ['localhost', '127.0.0.1', '[::1]'].includes(location.hostname)
    this.#element.replaceChildren(
      heading(t('ffmpeg-title'), this.#isDemo ? t('ffmpeg-text') : t('ask-ticket')),
      line(t('terminal'), command),
      heading(t('obs-title'), t('obs-text')),
      line(t('server'), server),
      line(t('stream-key'), addresses.rtmpPushKey(obs)),
      heading(t('phone-title'), isLocal ? t('phone-local') : t('phone-text')),
      code(roomLink(addresses.roomID), t('phone-title')),
      heading(t('pusher-title'), t('pusher-text')),
      code(pushUrl, t('pusher-title')),
      line(t('address'), pushUrl),
      line(t('tag'), `<live-pusher url="${pushUrl}" mode="RTC" autopush enable-camera aspect="9:16" />`),
      heading(t('whip-title'), t('whip-text')),
      line(t('server'), addresses.whip(whip)),
      line(t('bearer'), whip.userSig),
      heading(t('play-title'), t('play-text')),
      field(t('stream'), this.#choice),
      this.#playLines,
    )
    this.#showPlayLines()
  }

  /** @param {import('./people.js').Person[]} people */
  showStreams(people) {
    const chosen = this.#choice.value
    const options = people.flatMap(({ userID, name, streams }) =>
      streams.map(({ stream }) => new Option(stream === 'aux' ? t('of-screen', { name }) : name, JSON.stringify([userID, stream]))),
    )
    this.#choice.replaceChildren(...options)
    if (options.some(({ value }) => value === chosen)) this.#choice.value = chosen
    if (this.#choice.value !== chosen) this.#showPlayLines()
  }

  #showPlayLines() {
    if (!this.#addresses || !this.#choice.value) return this.#playLines.replaceChildren()
    const [userID, stream] = JSON.parse(this.#choice.value)
    const flv = this.#addresses.flv(userID, stream)
    const rtmp = this.#addresses.rtmp(userID, stream)
    this.#playLines.replaceChildren(
      code(flv, 'HTTP-FLV'),
      line('RTMP', rtmp),
      line('HTTP-FLV', flv),
      line('HLS', this.#addresses.hls(userID, stream)),
      line('WebSocket-FLV', flv.replace(/^http/, 'ws')),
      line('live-player', `<live-player src="${flv}" mode="live" autoplay min-cache="0.2" max-cache="0.8" />`),
      line(t('terminal'), `ffplay -fflags nobuffer -flags low_delay "${flv}"`),
    )
  }
}

/** @param {string} title @param {string} text */
function heading(title, text) {
  const group = document.createDocumentFragment()
  group.append(element('h2', '', title), element('p', '', text))
  return group
}

/** @param {string} label @param {HTMLElement} control */
function field(label, control) {
  const wrapper = element('label', 'field')
  wrapper.append(element('span', '', label), control)
  return wrapper
}

/** A code for a phone's camera. @param {string} text @param {string} label */
function code(text, label) {
  const figure = element('div', 'qr')
  figure.setAttribute('role', 'img')
  figure.setAttribute('aria-label', `QR: ${label}`)
  figure.dataset.text = text
  // Drawn by the library from numbers only; the text does not reach the markup.
  figure.innerHTML = renderSVG(text, { ecc: text.length > 300 ? 'L' : 'M', border: 2 })
  return figure
}

/** A line of text with a button that copies it. @param {string} label @param {string} text */
function line(label, text) {
  const row = fromTemplate('line-template')
  translate(row)
  const shown = /** @type {HTMLElement} */ (row.querySelector('code'))
  const button = /** @type {HTMLElement} */ (row.querySelector('.copy'))
  const title = /** @type {HTMLElement} */ (row.querySelector('.line-label'))
  title.textContent = label
  shown.textContent = text
  shown.setAttribute('aria-label', label)
  button.setAttribute('aria-label', t('copy-what', { what: label }))
  button.addEventListener('click', () => copy(button, text, shown))
  return row
}

/**
 * Copies text and says so on the button. Where the page may not write to the clipboard (plain http on another machine), the text
 * is selected instead, ready for Ctrl+C.
 * @param {HTMLElement} button @param {string} text @param {HTMLElement} [shown]
 */
export async function copy(button, text, shown) {
  const label = /** @type {HTMLElement} */ (button.querySelector('span'))
  try {
    await navigator.clipboard.writeText(text)
    label.textContent = t('copied')
  } catch {
    if (shown) getSelection()?.selectAllChildren(shown)
    label.textContent = t(shown ? 'press-copy' : 'not-allowed')
  }
  setTimeout(() => (label.textContent = t(label.dataset.t ?? 'copy')), COPIED_MS)
}
