/** The side panel: who is here, and lines to copy that bring a stream in or play one elsewhere. */

import { demoTicket, fourLetters } from './ticket.js'
import { PROTOCOL_NAMES, hueOf, initials } from './tile.js'

/** How long a copy button says that it has copied, in milliseconds. */
const COPIED_MS = 1600

/** How people write the codecs that SDP spells differently. @type {Record<string, string>} */
const CODEC_NAMES = { H264: 'H.264', opus: 'Opus' }

/** Both tabs of the panel. */
export class Panel {
  /** @type {HTMLElement} */ #people
  /** @type {HTMLElement} */ #connect
  /** @type {HTMLElement} */ #playLines = document.createElement('div')
  #choice = document.createElement('select')
  /** @type {import('./ticket.js').Addresses | null} */ #addresses = null

  /** @param {HTMLElement} element */
  constructor(element) {
    this.#people = /** @type {HTMLElement} */ (element.querySelector('#people'))
    this.#connect = /** @type {HTMLElement} */ (element.querySelector('#connect'))
    this.#choice.addEventListener('change', () => this.#showPlayLines())
    const tabs = /** @type {HTMLElement[]} */ ([...element.querySelectorAll('[role="tab"]')])
    for (const tab of tabs) tab.addEventListener('click', () => select(tabs, tab))
    element.querySelector('[role="tablist"]')?.addEventListener('keydown', (event) => {
      const { key } = /** @type {KeyboardEvent} */ (event)
      const at = tabs.indexOf(/** @type {HTMLElement} */ (document.activeElement))
      if (at >= 0 && (key === 'ArrowRight' || key === 'ArrowLeft')) select(tabs, tabs[(at + 1) % tabs.length])?.focus()
    })
  }

  /** @param {{ userID: string, name: string, protocol: string, role: string, streams: import('../sdk/roomcast.js').StreamInfo[], isSelf?: boolean }[]} people */
  showPeople(people) {
    const count = /** @type {HTMLElement} */ (document.getElementById('count'))
    count.textContent = String(people.length)
    this.#people.replaceChildren(...people.map(personRow))
    this.#showStreams(people)
  }

  /**
   * Makes the lines to copy. Each pusher gets a ticket and a name of its own, so that all of them work at the same time.
   * @param {import('./ticket.js').Addresses} addresses
   * @param {boolean} isDemo  whether this server gives tickets to whoever asks
   */
  async showConnect(addresses, isDemo) {
    this.#addresses = addresses
    const placeholder = (/** @type {string} */ userID) => ({ sdkAppID: addresses.sdkAppID, userID, userSig: 'USERSIG', roomID: addresses.roomID })
    const ticket = (/** @type {string} */ kind) => (isDemo ? demoTicket(String(addresses.roomID), `${kind}-${fourLetters()}`) : placeholder(kind))
    const [ffmpeg, obs, whip] = await Promise.all([ticket('ffmpeg'), ticket('obs'), ticket('whip')])
    const server = addresses.rtmpPushServer()
    const command = `ffmpeg -re -f lavfi -i testsrc2=size=1280x720:rate=30 -f lavfi -i sine=frequency=440 -c:v libx264 -preset veryfast -tune zerolatency -bf 0 -g 60 -b:v 1500k -pix_fmt yuv420p -c:a aac -ar 48000 -b:a 96k -f flv "${server}/${addresses.rtmpPushKey(ffmpeg)}"`
    this.#connect.replaceChildren(
      heading('Push with ffmpeg', isDemo ? 'Paste it into a terminal: a test picture with a tone joins this room.' : 'Ask your server for a ticket and put it in the place of USERSIG.'),
      line('Terminal', command),
      heading('Push with OBS', 'Settings, Stream, Service “Custom”. Turn B-frames off in the encoder.'),
      line('Server', server),
      line('Stream key', addresses.rtmpPushKey(obs)),
      heading('Push by WHIP', 'OBS 30 and everything else that speaks WHIP.'),
      line('Server', addresses.whip(whip)),
      line('Bearer token', whip.userSig),
      heading('Play elsewhere', 'The same stream in any player.'),
      field('Stream', this.#choice),
      this.#playLines,
    )
    this.#showPlayLines()
  }

  /** @param {{ userID: string, name: string, streams: import('../sdk/roomcast.js').StreamInfo[] }[]} people */
  #showStreams(people) {
    const chosen = this.#choice.value
    const options = people.flatMap(({ userID, name, streams }) =>
      streams.map(({ stream }) => new Option(stream === 'aux' ? `${name}, screen` : name, JSON.stringify([userID, stream]))),
    )
    this.#choice.replaceChildren(...options)
    if (options.some(({ value }) => value === chosen)) this.#choice.value = chosen
    if (this.#choice.value !== chosen) this.#showPlayLines()
  }

  #showPlayLines() {
    if (!this.#addresses || !this.#choice.value) return this.#playLines.replaceChildren()
    const [userID, stream] = JSON.parse(this.#choice.value)
    const flv = this.#addresses.flv(userID, stream)
    this.#playLines.replaceChildren(
      line('RTMP', this.#addresses.rtmp(userID, stream)),
      line('HTTP-FLV', flv),
      line('WebSocket-FLV', flv.replace(/^http/, 'ws')),
      line('Terminal', `ffplay -fflags nobuffer -flags low_delay "${flv}"`),
    )
  }
}

/** @param {HTMLElement[]} tabs @param {HTMLElement} chosen */
function select(tabs, chosen) {
  for (const tab of tabs) {
    const isChosen = tab === chosen
    tab.setAttribute('aria-selected', String(isChosen))
    tab.tabIndex = isChosen ? 0 : -1
    const page = document.getElementById(tab.getAttribute('aria-controls') ?? '')
    if (page) page.hidden = !isChosen
  }
  return chosen
}

/** @param {Parameters<Panel['showPeople']>[0][number]} person */
function personRow({ name, protocol, role, streams, isSelf }) {
  const row = document.createElement('li')
  row.className = 'person'
  row.style.setProperty('--hue', String(hueOf(name)))
  const audio = streams.find(({ stream }) => stream === 'main')?.audio
  row.toggleAttribute('data-muted', Boolean(audio?.muted))
  const dot = element('span', 'dot', initials(name))
  dot.setAttribute('aria-hidden', 'true')
  const who = element('span', 'who')
  who.append(element('b', '', isSelf ? `${name} (you)` : name), element('small', '', doing(role, streams)))
  const badge = element('span', 'badge', PROTOCOL_NAMES[/** @type {keyof typeof PROTOCOL_NAMES} */ (protocol)] ?? protocol)
  badge.dataset.protocol = protocol
  row.append(dot, who, badge)
  return row
}

/** @param {string} role @param {import('../sdk/roomcast.js').StreamInfo[]} streams */
function doing(role, streams) {
  if (streams.length === 0) return role === 'audience' ? 'in the audience' : 'watching'
  const codecs = streams.flatMap(({ audio, video }) => [video?.codec, audio?.codec]).filter(Boolean)
  return [...new Set(codecs)].map((codec) => CODEC_NAMES[codec ?? ''] ?? codec).join(', ') || 'sending'
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

/** A line of text with a button that copies it. @param {string} label @param {string} text */
function line(label, text) {
  const template = /** @type {HTMLTemplateElement} */ (document.getElementById('line-template'))
  const row = /** @type {HTMLElement} */ (template.content.firstElementChild?.cloneNode(true))
  const code = /** @type {HTMLElement} */ (row.querySelector('code'))
  const button = /** @type {HTMLElement} */ (row.querySelector('.copy'))
  const title = /** @type {HTMLElement} */ (row.querySelector('.line-label'))
  title.textContent = label
  code.textContent = text
  code.setAttribute('aria-label', label)
  button.setAttribute('aria-label', `Copy: ${label}`)
  button.addEventListener('click', () => copy(button, text, code))
  return row
}

/**
 * Copies text and says so on the button. Where the page may not write to the clipboard (plain http on another machine), the text
 * is selected instead, ready for Ctrl+C.
 * @param {HTMLElement} button @param {string} text @param {HTMLElement} [shown]
 */
export async function copy(button, text, shown) {
  const label = /** @type {HTMLElement} */ (button.querySelector('span'))
  const before = (label.dataset.before ??= label.textContent ?? '')
  try {
    await navigator.clipboard.writeText(text)
    label.textContent = 'Copied'
  } catch {
    if (shown) getSelection()?.selectAllChildren(shown)
    label.textContent = shown ? 'Press Ctrl+C' : 'Not allowed'
  }
  setTimeout(() => (label.textContent = before), COPIED_MS)
}

/** @param {string} tag @param {string} [className] @param {string} [text] */
function element(tag, className = '', text = '') {
  const made = document.createElement(tag)
  made.className = className
  made.textContent = text
  return made
}
