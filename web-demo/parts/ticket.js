/** Where the ticket to the room comes from, and every address of a stream. */

import { RoomcastError } from '../sdk/roomcast.js'
import { t } from './words.js'

/** The RTMP port, as long as the server does not name another. */
const RTMP_PORT_DEFAULT = 1935

/** The room that opens when the address names none. */
const DEMO_ROOM = '1001'

/**
 * What the page's address says. Parameters may stand in the query or, where a server's log shall not see them, in the fragment.
 * @returns {{ roomID: string, ticket: import('../sdk/roomcast.js').Ticket | null, name: string | null }}
 */
export function fromAddress() {
  const fields = new URLSearchParams(location.search)
  for (const [key, value] of new URLSearchParams(location.hash.slice(1))) fields.set(key, value)
  const roomID = fields.get('roomID') || DEMO_ROOM
  const userID = fields.get('userID')
  const userSig = fields.get('userSig')
  const privateMapKey = fields.get('privateMapKey') ?? undefined
  const isOwn = userID !== null && userSig !== null && fields.has('sdkAppID')
  const ticket = isOwn ? { sdkAppID: Number(fields.get('sdkAppID')), userID, userSig, roomID: asRoomID(roomID), privateMapKey } : null
  return { roomID, ticket, name: fields.get('name') ?? userID }
}

/**
 * Asks the demo app for a ticket.
 * @param {string} roomID @param {string} userID
 * @returns {Promise<import('../sdk/roomcast.js').Ticket & { rtmpPort?: number }>}
 * @throws {RoomcastError} `unreachable`, `no-demo`
 */
export async function demoTicket(roomID, userID) {
  let response
  try {
    response = await fetch(`/demo/ticket?${new URLSearchParams({ roomID, userID })}`)
  } catch {
    throw new RoomcastError('unreachable', t('unreachable'), t('unreachable-advice'))
  }
  if (response.ok) return response.json()
  const { code = 'no-demo', message = t('no-demo'), advice = t('no-demo-advice') } =
    await response.json().catch(() => ({}))
  throw new RoomcastError(code, message, advice)
}

/** A userID for a person who only gave a name: readable, allowed by every protocol, and nobody else's. @param {string} name */
export function userIDFor(name) {
  const readable = name.toLowerCase().normalize('NFKD').replace(/[^a-z0-9]+/g, '-').replace(/^-+|-+$/g, '').slice(0, 24)
  return `${readable || 'guest'}-${fourLetters()}`
}

/** A random part of a userID. */
export const fourLetters = () => Array.from(crypto.getRandomValues(new Uint8Array(4)), (byte) => 'abcdefghjkmnpqrstuvwxyz23456789'[byte % 31]).join('')

/** Rooms are numbers where the text is one: the ticket of room 1001 is not the ticket of room "1001". @param {string} text */
const asRoomID = (text) => (/^[1-9]\d{0,9}$/.test(text) && Number(text) <= 0xffffffff ? Number(text) : text)

/** Every address by which a room's streams can be reached on this server. */
export class Addresses {
  /** @param {{ sdkAppID: number, roomID: number | string, rtmpPort?: number }} room */
  constructor({ sdkAppID, roomID, rtmpPort = RTMP_PORT_DEFAULT }) {
    this.sdkAppID = sdkAppID
    this.roomID = roomID
    this.rtmpHost = rtmpPort === RTMP_PORT_DEFAULT ? location.hostname : `${location.hostname}:${rtmpPort}`
  }

  /** @param {string} userID @param {string} stream */
  #name(userID, stream) {
    return [this.sdkAppID, this.roomID, userID, stream].map(encodeURIComponent).join('_')
  }

  /** @param {string} userID @param {string} stream */
  flv(userID, stream) {
    return `${location.origin}/live/${this.#name(userID, stream)}.flv`
  }

  /** @param {string} userID @param {string} stream */
  hls(userID, stream) {
    return `${location.origin}/live/${this.#name(userID, stream)}.m3u8`
  }

  /** @param {string} userID @param {string} stream */
  rtmp(userID, stream) {
    return `rtmp://${this.rtmpHost}/live/${this.#name(userID, stream)}`
  }

  rtmpPushServer() {
    return `rtmp://${this.rtmpHost}/push`
  }

  /** What stands behind the server's address to push as this user. @param {import('../sdk/roomcast.js').Ticket} ticket */
  rtmpPushKey({ sdkAppID, userID, userSig, privateMapKey }) {
    const query = new URLSearchParams({ sdkappid: String(sdkAppID), userid: userID, usersig: userSig })
    if (privateMapKey) query.set('privatemapkey', privateMapKey)
    return `${encodeURIComponent(this.roomID)}?${query}`
  }

  /** @param {import('../sdk/roomcast.js').Ticket} ticket */
  whip({ sdkAppID, userID, privateMapKey }) {
    const query = new URLSearchParams({ sdkappid: String(sdkAppID) })
    if (privateMapKey) query.set('privatemapkey', privateMapKey)
    return `${location.origin}/whip/${encodeURIComponent(this.roomID)}/${encodeURIComponent(userID)}?${query}`
  }
}

/** The signaling address of the server that this page came from. */
export const signalAddress = () => `${location.protocol === 'https:' ? 'wss' : 'ws'}://${location.host}/signal`

/** A link that brings somebody else here. @param {number | string} roomID */
export const roomLink = (roomID) => `${location.origin}/?${new URLSearchParams({ roomID: String(roomID) })}`
