/** Who is in the room: role, protocol, what they send; and, for who may, keeping order. */

import { byId, element, icon } from './dom.js'
import { hueOf, initials, protocolName } from './tile.js'
import { t } from './words.js'

/** How people write the codecs that SDP spells differently. @type {Record<string, string>} */
export const CODEC_NAMES = { H264: 'H.264', opus: 'Opus' }

/**
 * @typedef {object} Person
 * @property {string} userID
 * @property {string} name
 * @property {string} protocol
 * @property {string} role
 * @property {import('../sdk/roomcast.js').StreamInfo[]} streams
 * @property {import('../sdk/roomcast.js').Silence} [silenced]
 * @property {boolean} [isSelf]
 */

export class People {
  #element = byId('people')
  #list = element('ul', 'people')
  #lock = /** @type {HTMLButtonElement} */ (element('button', 'secondary lock'))

  /** @param {{ kick: (userID: string) => void, silence: (userID: string, isSilent: boolean) => void, lock: (isLocked: boolean) => void }} order */
  constructor(order) {
    this.order = order
    this.#lock.type = 'button'
    this.#lock.addEventListener('click', () => order.lock(this.#lock.getAttribute('aria-pressed') !== 'true'))
    this.#element.replaceChildren(this.#list, this.#lock)
  }

  /** @param {Person[]} people @param {{ owner: string, isLocked: boolean, mayKeepOrder: boolean }} room */
  show(people, { owner, isLocked, mayKeepOrder }) {
    byId('count').textContent = String(people.length)
    // Who is using a button must not lose it because somebody else came.
    const focused = /** @type {HTMLElement | null} */ (document.activeElement?.closest?.('#people [data-action]'))
    this.#list.replaceChildren(...people.map((person) => this.#row(person, person.userID === owner, mayKeepOrder && !person.isSelf && person.protocol !== 'test')))
    this.#lock.hidden = !mayKeepOrder
    this.#lock.setAttribute('aria-pressed', String(isLocked))
    this.#lock.replaceChildren(icon('lock'), element('span', '', t(isLocked ? 'unlock' : 'lock')))
    const again = this.#list.querySelector(`[data-action="${CSS.escape(focused?.dataset.action ?? '')}"]`)
    if (focused) /** @type {HTMLElement | null} */ (again)?.focus()
  }

  /** @param {Person} person @param {boolean} isOwner @param {boolean} mayBeActedOn */
  #row({ userID, name, protocol, role, streams, silenced, isSelf }, isOwner, mayBeActedOn) {
    const row = element('li', 'person')
    row.style.setProperty('--hue', String(hueOf(name)))
    const audio = streams.find(({ stream }) => stream === 'main')?.audio
    const isSilenced = Boolean(silenced?.audio)
    row.toggleAttribute('data-muted', Boolean(audio?.muted) || isSilenced)
    const dot = element('span', 'dot', initials(name))
    dot.setAttribute('aria-hidden', 'true')
    const who = element('span', 'who')
    const roleName = isOwner ? t('owner') : t(role === 'audience' ? 'role-audience' : 'anchor')
    who.append(element('b', '', isSelf ? t('is-you', { name }) : name), element('small', '', `${roleName} · ${doing(role, streams)}`))
    const badge = element('span', 'badge', protocolName(protocol))
    badge.dataset.protocol = protocol
    const muted = icon('mic-off')
    muted.classList.add('muted-mark')
    row.append(dot, who, muted, badge)
    if (mayBeActedOn) {
      const actions = element('span', 'actions')
      actions.append(
        this.#action(`silence/${userID}`, isSilenced ? 'mic' : 'mic-off', `${t(isSilenced ? 'unsilence' : 'silence')}: ${name}`, () => this.order.silence(userID, !isSilenced)),
        this.#action(`kick/${userID}`, 'leave', `${t('kick')}: ${name}`, () => this.order.kick(userID)),
      )
      row.append(actions)
    }
    return row
  }

  /** @param {string} key @param {string} drawing @param {string} label @param {() => void} act */
  #action(key, drawing, label, act) {
    const button = /** @type {HTMLButtonElement} */ (element('button', 'quiet icon-only'))
    button.type = 'button'
    button.dataset.action = key
    button.title = label
    button.setAttribute('aria-label', label)
    button.append(icon(drawing))
    button.addEventListener('click', act)
    return button
  }
}

/** @param {string} role @param {import('../sdk/roomcast.js').StreamInfo[]} streams */
function doing(role, streams) {
  if (streams.length === 0) return t('watching')
  const codecs = streams.flatMap(({ audio, video }) => [video?.codec, audio?.codec]).filter(Boolean)
  return [...new Set(codecs)].map((codec) => CODEC_NAMES[codec ?? ''] ?? codec).join(', ') || t('sending')
}
