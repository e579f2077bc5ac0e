/**
 * A roomcast client for browsers: plain ES modules, no dependencies.
 *
 *     import { Room } from '/sdk/roomcast.js'
 *
 *     const room = await Room.connect('wss://example.org/signal')
 *     room.on('media', ({ userID, mediaStream }) => { videoOf(userID).srcObject = mediaStream })
 *     await room.enter({ sdkAppID, userID, userSig, roomID })          // subscribes to everybody, now and later
 *     await room.publish(await navigator.mediaDevices.getUserMedia({ audio: true, video: true }))
 *     …
 *     await room.leave()
 *
 * When the WebSocket breaks the room reconnects by itself: pictures and sound go on meanwhile, nobody sees this side leave, and
 * whatever was said arrives once and in order. When the server does not know this side any more, because it was restarted or the
 * break was too long, the room enters anew with its ticket, publishes what it published and subscribes to what it subscribed to.
 * The event `connection` tells of both.
 *
 * Signaling is JSON over one WebSocket (`signaling/PROTOCOL.md` in the repository). Media goes over two peer connections: *up*,
 * where this side offers, and *down*, where the server offers. As only one side offers on each, offers never collide.
 * The server is ICE-lite and its candidates stand in its descriptions, so no candidate is ever sent by signaling.
 */

import { Down, streamKey } from './down.js'
import { FiguresReader } from './figures.js'
import { LocalStream } from './local-stream.js'
import { RoomcastError, Signaling } from './signaling.js'
import { Up } from './up.js'

export * from './devices.js'
export { createStream, LocalStream, VIDEO_PROFILES } from './local-stream.js'
export { RoomcastError }
export const VERSION = '0.1.0'

/** Codes of `closed` after which the room is entered anew: silent for too long, too slow, and a server that goes down. */
const COMEBACK_CODES = new Set([72007, 72008, 74005])

/**
 * @typedef {'main' | 'aux'} StreamName  'aux' is the screen share.
 * @typedef {'audio' | 'video'} Kind
 * @typedef {{ codec: string, muted: boolean }} TrackInfo
 * @typedef {{ stream: StreamName, audio: TrackInfo | null, video: TrackInfo | null }} StreamInfo
 *
 * @typedef {object} Member
 * @property {string} userID
 * @property {string} name       what to show; the userID if the member gave no name
 * @property {'anchor' | 'audience'} role
 * @property {'webrtc' | 'rtmp' | 'whip' | 'whep' | 'test'} protocol  what the member came by
 * @property {string} [metadata]  the app's own words about the member
 * @property {Silence} [silenced]  what of the member others do not get, by the will of whoever keeps order
 * @property {StreamInfo[]} streams
 *
 * @typedef {{ audio: boolean, video: boolean, messages: boolean }} Silence
 *
 * @typedef {object} Message
 * @property {number} messageID  counts up in each room
 * @property {string} [from]  who said it; absent if the server did
 * @property {string} [to]    absent if it is for everybody
 * @property {number} time    when the server took it, in Unix milliseconds
 * @property {string} [text]
 * @property {string} [data]  instead of `text`: something between apps, with `desc` and `ext`
 * @property {string} [desc]
 * @property {string} [ext]
 *
 * @typedef {object} Ticket
 * @property {number} sdkAppID
 * @property {string} userID
 * @property {string} userSig
 * @property {number | string} roomID
 * @property {string} [privateMapKey]
 *
 * @typedef {{ userID: string, stream: StreamName, audio?: boolean, video?: boolean }} Choice
 *
 * One who speaks. `level` in decibels relative to overload: 0 is as loud as can be, speech is around -25.
 * @typedef {{ userID: string, stream: StreamName, level: number }} Speaker
 */

/**
 * A room, from the connection to the server until it closes. One object per visit; it cannot be entered twice.
 *
 * Events (`CustomEvent`s, with these fields in `detail`; see also `on`):
 *
 * | event | fields |
 * |---|---|
 * | `member-entered`, `member-left` | `{ member, reason? }` |
 * | `member-changed` | `{ member }`: role, metadata or `silenced`; also of ourselves |
 * | `room-changed` | `{ owner, locked, metadata }` |
 * | `message` | a Message |
 * | `stream-added`, `stream-changed`, `stream-removed` | `{ userID, stream: StreamInfo }` |
 * | `muted` | `{ userID, stream, kind, muted }` |
 * | `speakers` | `{ speakers: Speaker[] }`: who speaks from now on, the loudest first, ourselves too; nobody if empty. At most three a second |
 * | `media` | `{ userID, stream, mediaStream }`: tracks came to or went from this stream |
 * | `transport` | `{ direction: 'up' \| 'down', state: 'connecting' \| 'connected' \| 'closed', reason? }` |
 * | `connection` | `{ state: 'reconnecting' \| 'connected' }`: the WebSocket broke, or stands again. Requests wait meanwhile; those that the server lost fail with `connection-lost` |
 * | `error` | `{ error: RoomcastError }`: something in the background failed; the room goes on |
 * | `closed` | `{ code, message, advice }`: nothing more will happen. After `leave()` the code is 0 |
 */
export class Room extends EventTarget {
  #signaling
  /** @type {RTCConfiguration} */ #configuration
  /** @type {Up | null} */ #up = null
  /** @type {Down | null} */ #down = null
  /** @type {ReturnType<typeof setInterval> | undefined} */ #heartbeat
  #subscribesToAll = true
  #figures = new FiguresReader()
  /** What we enter with. @type {Partial<Ticket>} */ #ticket = {}
  /** What we send, to publish it anew. @type {Map<string, { tracks: MediaStreamTrack[], options: import('./up.js').PublishOptions, muted: Set<Kind> }>} */
  #published = new Map()
  /** What was asked for by name, by the key of the stream; null: not wanted. @type {Map<string, Choice | null>} */ #choices = new Map()
  /** Our own metadata, if we set it. @type {string | null} */ #ownMetadata = null
  /** The room is being entered anew: who is not there yet may come back. */ #isReturning = false
  /** The newest message to the room that arrived. */ #lastMessage = { time: 0, messageID: 0 }
  /** @type {Map<string, { userID: string, stream: StreamName, media: MediaStream }>} */ #received = new Map()

  /** Who is in the room, without ourselves. @type {Map<string, Member>} */
  members = new Map()
  /** Who speaks at the moment, the loudest first. @type {Speaker[]} */
  speakers = []
  /** Our own name in the room; empty until entered. */
  userID = ''
  /** @type {number | string} */
  roomID = ''
  /** What we may do: privilege bits, as PROTOCOL.md lists them. */
  privilege = 0
  /** @type {'anchor' | 'audience'} */
  role = 'anchor'
  /** Who created the room and keeps order in it; empty if that was no user. */
  owner = ''
  /** Nobody new may enter but the owner and moderators. */
  isLocked = false
  /** The app's own words about the room. */
  metadata = ''
  /** Time from the last heartbeat to its answer, in milliseconds; null until one was measured. @type {number | null} */
  roundTripMs = null

  /** Use [`Room.connect`]. @param {Signaling} signaling @param {RTCConfiguration} configuration */
  constructor(signaling, configuration) {
    super()
    this.#signaling = signaling
    this.#configuration = { bundlePolicy: 'max-bundle', ...configuration }
    signaling.onEvent = (event) => this.#onEvent(event)
    signaling.onClosed = (reason) => this.#onClosed(reason)
    signaling.onConnection = (state) => this.#emit('connection', { state })
  }

  /**
   * Connects to a server's `/signal`.
   * @param {string | URL} url  `ws:` or `wss:`
   * @param {RTCConfiguration} [configuration]  of both peer connections; the server needs neither STUN nor TURN to be reached
   * @returns {Promise<Room>}
   * @throws {RoomcastError} `unreachable`
   */
  static async connect(url, configuration = {}) {
    return new Room(await Signaling.open(url), configuration)
  }

  /**
   * Listens to an event, and is called with its fields.
   * @param {string} type @param {(fields: any) => void} listener
   * @returns {() => void} ends it
   */
  on(type, listener) {
    const unpack = (/** @type {Event} */ event) => listener(/** @type {CustomEvent} */ (event).detail)
    this.addEventListener(type, unpack)
    return () => this.removeEventListener(type, unpack)
  }

  /**
   * Enters the room that the ticket is for.
   * @param {Ticket & { role?: 'anchor' | 'audience', name?: string, autoSubscribe?: boolean, renewTicket?: () => Promise<Partial<Ticket>> }} options
   *   `autoSubscribe` (default true): receive every stream of everybody, now and as they come. `renewTicket`: asked for a fresh
   *   ticket when the room has to be entered anew; without it the old one is shown again
   * @returns {Promise<Member[]>} who is there already. What was said before, if the app keeps it, comes as `message` events first
   * @throws {RoomcastError} with the server's code
   */
  async enter({ sdkAppID, userID, userSig, roomID, privateMapKey, role, name, autoSubscribe = true, renewTicket }) {
    this.#subscribesToAll = autoSubscribe
    this.userID = userID
    this.#ticket = { sdkAppID, userID, userSig, roomID, privateMapKey }
    const entered = await this.#signaling.request('enter', { ...this.#ticket, role, name })
    this.#setEntered(entered)
    for (const member of entered.members) this.#addMember(member)
    this.#signaling.comeback = {
      forgotten: () => this.#closePeers(),
      fields: async () => ({ ...this.#ticket, ...(await renewTicket?.()), role: this.role, name }),
      entered: (answer) => this.#onReturned(answer),
    }
    if (autoSubscribe) await this.subscribeAll()
    return [...this.members.values()]
  }

  /** Leaves the room and closes the connection. Never fails: whatever happens, this side is out afterwards. */
  async leave() {
    if (this.#signaling.isConnected) await this.#signaling.request('leave').catch(() => {})
    this.#signaling.close(new RoomcastError(0, 'You left the room.'))
  }

  /**
   * Publishes tracks as one stream: at most one audio and one video track. A second call with the same stream name replaces
   * what that stream carries. A LocalStream knows its own name and bitrate; from now on what it mutes and switches reaches the room.
   * @param {LocalStream | MediaStream | MediaStreamTrack[]} media
   * @param {import('./up.js').PublishOptions} [options]
   * @throws {RoomcastError} with the server's code, or `no-codec`
   */
  async publish(media, options = {}) {
    this.#up ??= new Up(this.#signaling, this.#configuration, (state) => this.#onPeerState('up', state))
    const isOurs = media instanceof LocalStream
    const sent = isOurs ? media.mediaStream.getTracks() : media instanceof MediaStream ? media.getTracks() : media
    const how = isOurs ? { stream: media.stream, maxVideoBps: media.maxVideoBps, ...options } : options
    const stream = how.stream ?? 'main'
    await this.#up.publish(sent, how)
    this.#published.set(stream, { tracks: [...sent], options: how, muted: new Set() })
    if (!isOurs) return
    media.carrier = {
      replaceTrack: (track) => this.replaceTrack(track, stream),
      mute: (kind, muted) => this.mute(stream, kind, muted),
    }
  }

  /**
   * Stops publishing a stream. The tracks themselves go on: whoever opened the camera closes it.
   * @param {StreamName} [stream]  default 'main'
   */
  async unpublish(stream = 'main') {
    this.#published.delete(stream)
    await this.#up?.unpublish(stream)
  }

  /**
   * Puts another track in the place of a published one; the others notice no more than the new picture.
   * @param {MediaStreamTrack} track
   * @param {StreamName} [stream]
   * @returns {Promise<boolean>} false if the stream carries no track of this kind
   */
  async replaceTrack(track, stream = 'main') {
    const sender = this.#up?.sender(stream, track.kind)
    const published = this.#published.get(stream)
    if (published && sender) published.tracks = [...published.tracks.filter(({ kind }) => kind !== track.kind), track]
    await sender?.replaceTrack(track)
    return sender !== undefined
  }

  /**
   * Mutes or unmutes what we publish: the track sends silence or black, and the others are told.
   * @param {StreamName} stream @param {Kind} kind @param {boolean} muted
   */
  async mute(stream, kind, muted) {
    const track = this.#up?.sender(stream, kind)?.track
    if (track) track.enabled = !muted
    await this.#signaling.request('mute', { stream, kind, muted })
    this.#published.get(stream)?.muted[muted ? 'add' : 'delete'](kind)
  }

  /**
   * Says something to everybody else, or to one member. Resolves when the server has taken it: then it will arrive, once, and in
   * the order in which the server took it.
   * @param {{ to?: string, text: string } | { to?: string, data: string, desc?: string, ext?: string }} message
   *   at most 12,000 bytes to one member, 8,898 to the room; 20 a second, 60 at once
   * @returns {Promise<{ messageID: number, time: number }>}
   * @throws {RoomcastError} 73014 if there is no such member, 73019 too big, 73021 too many, 73022 muted
   */
  async sendMessage(message) {
    const { messageID, time } = await this.#signaling.request('message', message)
    return { messageID, time }
  }

  /**
   * Becomes anchor or audience. To become anchor a ticket is needed, and its privileges replace those we had. With the role that we
   * have, it renews the ticket. Becoming audience ends what we publish.
   * @param {'anchor' | 'audience'} role
   * @param {{ userSig?: string, privateMapKey?: string }} [ticket]
   * @throws {RoomcastError} with the server's code, such as 71004 when the ticket does not allow to send
   */
  async switchRole(role, { userSig, privateMapKey } = {}) {
    const granted = await this.#signaling.request('role', { role, userSig, privateMapKey })
    this.role = granted.role
    this.privilege = granted.privilege
    if (userSig) this.#ticket = { ...this.#ticket, userSig, privateMapKey }
    if (role === 'audience') this.#closeUp()
  }

  /** Sets the app's own words about ourselves; the others get `member-changed`. @param {string} metadata  at most 8 KiB; empty removes it */
  async setMetadata(metadata) {
    await this.#signaling.request('set-metadata', { metadata })
    this.#ownMetadata = metadata
  }

  /**
   * Locks the room, or changes its metadata. This and the following are for the room's owner and for moderators (privilege bit
   * 256); others are refused with 73015.
   * @param {{ locked?: boolean, metadata?: string }} change  what is left out stays
   */
  async updateRoom({ locked, metadata }) {
    await this.#signaling.request('update-room', { locked, metadata })
  }

  /** Sends a member away; he may come back. @param {string} userID */
  async kick(userID) {
    await this.#signaling.request('kick', { userID })
  }

  /** Sends a user away and keeps him out. @param {string} userID @param {number} [seconds]  default: for as long as the room exists */
  async ban(userID, seconds) {
    await this.#signaling.request('ban', { userID, seconds })
  }

  /** Lets a banned user in again. @param {string} userID */
  async unban(userID) {
    await this.#signaling.request('unban', { userID })
  }

  /**
   * Sets which of a member's media the others do not get, whatever he wants himself.
   * @param {string} userID @param {Partial<Silence>} silence  what is left out stays
   */
  async muteMember(userID, { audio, video, messages }) {
    await this.#signaling.request('mute-member', { userID, audio, video, messages })
  }

  /** Ends the room for everybody. */
  async dissolve() {
    await this.#signaling.request('dissolve')
  }

  /** Subscribes to every stream in the room, and from now on to every stream that comes. */
  async subscribeAll() {
    this.#subscribesToAll = true
    this.#choices.clear()
    await this.#subscribeAgain()
  }

  /**
   * Subscribes to streams, or changes what is received of them (`audio: false` or `video: false` leaves one out).
   * @param {Choice[]} streams
   */
  async subscribe(streams) {
    for (const choice of streams) this.#choices.set(streamKey(choice.userID, choice.stream), choice)
    await this.#signaling.request('subscribe', { streams })
  }

  /** @param {{ userID: string, stream: StreamName }[]} streams */
  async unsubscribe(streams) {
    for (const { userID, stream } of streams) this.#choices.set(streamKey(userID, stream), null)
    await this.#signaling.request('unsubscribe', { streams })
  }

  /**
   * Finds new paths to the server for both directions (ICE restart). Done by itself when a path is lost; a page that knows of a
   * new network earlier may ask for it.
   */
  async restart() {
    await Promise.all([this.#up?.restart(), this.#down && this.#signaling.request('restart')])
  }

  /**
   * What is received from a member: the same object for as long as the member publishes that stream, with tracks coming and
   * going.
   * @param {string} userID @param {StreamName} [stream]
   * @returns {MediaStream}
   */
  mediaStream(userID, stream = 'main') {
    const key = streamKey(userID, stream)
    const received = this.#received.get(key) ?? { userID, stream, media: new MediaStream() }
    this.#received.set(key, received)
    return received.media
  }

  /**
   * Statistics of both directions, as the browser gives them; null where there is no connection.
   * @returns {Promise<{ up: RTCStatsReport | null, down: RTCStatsReport | null }>}
   */
  async stats() {
    return { up: (await this.#up?.stats()) ?? null, down: (await this.#down?.stats()) ?? null }
  }

  /**
   * What the statistics say, in bits per second and shares lost, since the last call; call it about once a second.
   * @returns {Promise<import('./figures.js').Figures>}
   */
  async figures() {
    return this.#figures.read(await this.stats(), (direction, trackId, mid) => {
      if (direction === 'up') {
        const stream = this.#up?.streamOf(mid)
        return stream ? { userID: this.userID, stream } : null
      }
      for (const { userID, stream, media } of this.#received.values()) if (media.getTrackById(trackId)) return { userID, stream }
      return null
    })
  }

  /**
   * By how many milliseconds the server's clock is ahead of this machine's; right to half the round trip.
   * @returns {Promise<number>} negative when it is behind
   * @throws {RoomcastError} `timeout`, `closed`
   */
  async clockOffset() {
    const sentAt = Date.now()
    const { now } = await this.#signaling.request('heartbeat')
    return now - (sentAt + Date.now()) / 2
  }

  /** What the answer to `enter` says of us and of the room. @param {any} entered */
  #setEntered(entered) {
    this.userID = entered.userID
    this.roomID = entered.roomID
    this.role = entered.role
    this.privilege = entered.privilege
    this.#setRoom(entered)
    // Also after a return: who saw the newest message saw those before it.
    const { time, messageID } = this.#lastMessage
    for (const message of entered.history ?? [])
      if (message.time > time || (message.time === time && message.messageID > messageID)) this.#onMessage(message)
    clearInterval(this.#heartbeat)
    this.#heartbeat = setInterval(() => this.#beat(), entered.heartbeatSeconds * 1000)
    if (entered.speakers || this.speakers.length > 0) this.#setSpeakers(entered.speakers ?? [])
  }

  /**
   * The room was entered anew: what differs from what we knew is told as events, and what we sent and received begins again.
   * @param {any} entered  the answer to `enter`
   */
  #onReturned(entered) {
    this.#setEntered(entered)
    this.#emit('room-changed', { owner: this.owner, locked: this.isLocked, metadata: this.metadata })
    const here = new Set(entered.members.map((/** @type {Member} */ { userID }) => userID))
    this.#isReturning = true
    for (const userID of [...this.members.keys()]) if (!here.has(userID)) this.#removeMember({ userID, reason: 'disconnected' })
    for (const member of entered.members) this.#meetAgain(member)
    this.#isReturning = false
    if (this.#ownMetadata) this.#inBackground(this.setMetadata(this.#ownMetadata))
    for (const { tracks, options, muted } of [...this.#published.values()]) this.#inBackground(this.#publishAgain(tracks, options, muted))
    this.#inBackground(this.#subscribeAgain())
  }

  /** @param {Member} member  as the server has him now */
  #meetAgain({ streams, ...member }) {
    const known = this.members.get(member.userID)
    if (!known) {
      this.#addMember({ ...member, streams: [...streams] })
      return this.#emit('member-entered', { member: this.members.get(member.userID) })
    }
    Object.assign(known, { metadata: undefined, silenced: undefined }, member, { name: member.name || member.userID })
    this.#emit('member-changed', { member: known })
    const before = [...known.streams]
    for (const { stream } of before) if (!streams.some((one) => one.stream === stream)) this.#removeStream({ userID: member.userID, stream })
    known.streams = streams
    for (const stream of streams) {
      const type = before.some((one) => one.stream === stream.stream) ? 'stream-changed' : 'stream-added'
      this.#emit(type, { userID: member.userID, stream })
    }
  }

  /** @param {MediaStreamTrack[]} tracks @param {import('./up.js').PublishOptions} options @param {Set<Kind>} muted */
  async #publishAgain(tracks, options, muted) {
    const stream = options.stream ?? 'main'
    const live = tracks.filter(({ readyState }) => readyState === 'live')
    if (live.length === 0) return
    await this.publish(live, options)
    for (const kind of muted) await this.mute(stream, kind, true)
  }

  /** Subscribes to what is wanted of what there is. */
  async #subscribeAgain() {
    const there = [...this.members.values()].flatMap(({ userID, streams }) => streams.map(({ stream }) => this.#choiceOf(userID, stream)))
    const streams = there.filter((choice) => choice !== null)
    if (streams.length > 0) await this.#signaling.request('subscribe', { streams })
  }

  /** What is wanted of a stream; null: nothing. @param {string} userID @param {StreamName} stream @returns {Choice | null} */
  #choiceOf(userID, stream) {
    const choice = this.#choices.get(streamKey(userID, stream))
    return choice === undefined && this.#subscribesToAll ? { userID, stream } : (choice ?? null)
  }

  #closeUp() {
    this.#up?.close()
    this.#up = null
    this.#published.clear()
  }

  /** Closes both peer connections. What was published is remembered. */
  #closePeers() {
    this.#up?.close()
    this.#down?.close()
    this.#up = this.#down = null
  }

  /** @param {Message} message */
  #onMessage(message) {
    if (!message.to) this.#lastMessage = message
    this.#emit('message', message)
  }

  /** @param {any} event */
  #onEvent(event) {
    switch (event.type) {
      case 'member-entered':
        if (this.#addMember(event.member)) this.#emit('member-entered', { member: this.members.get(event.member.userID) })
        return
      case 'member-left':
        return this.#removeMember(event)
      case 'member-changed':
        return this.#changeMember(event.member)
      case 'room-changed':
        this.#setRoom(event)
        return this.#emit('room-changed', { owner: this.owner, locked: this.isLocked, metadata: this.metadata })
      case 'message': {
        const { type, seq, ...message } = event
        return this.#onMessage(message)
      }
      case 'stream-added':
      case 'stream-changed':
        return this.#putStream(event)
      case 'stream-removed':
        return this.#removeStream(event)
      case 'muted':
        return this.#setMuted(event)
      case 'speakers':
        return this.#setSpeakers(event.speakers)
      case 'offer':
        this.#down ??= new Down(this.#signaling, this.#configuration, this.#received, {
          onState: (state) => this.#onPeerState('down', state),
          onMedia: (key) => this.#onMedia(key),
        })
        return this.#inBackground(this.#down.answer(event))
      case 'transport':
        return this.#onTransport(event)
      case 'closed':
        // The WebSocket closes behind this, and the room is entered anew.
        if (COMEBACK_CODES.has(event.code)) return
        return this.#signaling.close(new RoomcastError(event.code, event.message, event.advice))
      case 'error':
        return this.#emit('error', { error: new RoomcastError(event.code, event.message, event.advice) })
    }
  }

  /** @param {Member} member @returns {boolean} false for ourselves */
  #addMember(member) {
    if (member.userID === this.userID) return false
    this.members.set(member.userID, { ...member, name: member.name || member.userID })
    return true
  }

  /** @param {Member} changed */
  #changeMember(changed) {
    const member = this.members.get(changed.userID)
    if (member) Object.assign(member, { metadata: undefined, silenced: undefined }, changed)
    this.#emit('member-changed', { member: member ?? changed })
  }

  /** @param {{ owner?: string, locked?: boolean, metadata?: string }} info */
  #setRoom({ owner = '', locked = false, metadata = '' }) {
    this.owner = owner
    this.isLocked = locked
    this.metadata = metadata
  }

  /** @param {{ userID: string, reason?: string }} event */
  #removeMember({ userID, reason }) {
    const member = this.members.get(userID)
    if (!member) return
    for (const { stream } of [...member.streams]) this.#removeStream({ userID, stream })
    this.members.delete(userID)
    this.#emit('member-left', { member, reason })
  }

  /** @param {{ type: string, userID: string, stream: StreamInfo }} event */
  #putStream({ type, userID, stream }) {
    const member = this.members.get(userID)
    if (!member) return
    member.streams = [...member.streams.filter((other) => other.stream !== stream.stream), stream]
    this.#emit(type, { userID, stream })
    const choice = this.#choiceOf(userID, stream.stream)
    if (type === 'stream-added' && choice) this.#inBackground(this.#signaling.request('subscribe', { streams: [choice] }))
  }

  /** @param {{ userID: string, stream: StreamName }} event */
  #removeStream({ userID, stream }) {
    // One of ours, that our ticket does not allow any more.
    if (userID === this.userID) {
      this.#published.delete(stream)
      return this.#inBackground(this.#up?.drop(stream) ?? Promise.resolve())
    }
    const member = this.members.get(userID)
    const info = member?.streams.find((other) => other.stream === stream)
    if (!member || !info) return
    member.streams = member.streams.filter((other) => other !== info)
    this.#received.delete(streamKey(userID, stream))
    if (!this.#isReturning) this.#choices.delete(streamKey(userID, stream))
    this.#emit('stream-removed', { userID, stream: info })
  }

  /** @param {{ userID: string, stream: StreamName, kind: Kind, muted: boolean }} event */
  #setMuted({ userID, stream, kind, muted }) {
    const track = this.members.get(userID)?.streams.find((other) => other.stream === stream)?.[kind]
    if (track) track.muted = muted
    this.#emit('muted', { userID, stream, kind, muted })
  }

  /** @param {Speaker[]} speakers */
  #setSpeakers(speakers) {
    this.speakers = speakers
    this.#emit('speakers', { speakers })
  }

  /** @param {string} key */
  #onMedia(key) {
    const received = this.#received.get(key)
    if (received) this.#emit('media', { userID: received.userID, stream: received.stream, mediaStream: received.media })
  }

  /** When the server gave up a transport so do we; the next publish or offer makes a new one. @param {any} event */
  #onTransport({ direction, state, reason }) {
    if (state === 'closed' && direction === 'up') {
      this.#closeUp()
    } else if (state === 'closed') {
      this.#down?.close()
      this.#down = null
    }
    this.#emit('transport', { direction, state, reason })
  }

  /** @param {'up' | 'down'} direction @param {RTCPeerConnectionState} reason */
  #onPeerState(direction, reason) {
    if (reason === 'disconnected') this.#inBackground(this.restart())
    const state = reason === 'failed' ? 'closed' : reason
    if (state === 'connecting' || state === 'connected' || state === 'closed') this.#emit('transport', { direction, state, reason })
  }

  async #beat() {
    const sent = performance.now()
    await this.#signaling.beat().then(
      () => (this.roundTripMs = performance.now() - sent),
      () => {}, // a lost connection says so itself
    )
  }

  /** @param {RoomcastError} reason */
  #onClosed({ code, message, advice }) {
    clearInterval(this.#heartbeat)
    this.#closePeers()
    this.#emit('closed', { code, message, advice })
  }

  /** @param {Promise<unknown>} work */
  #inBackground(work) {
    work.catch((error) => {
      // What a lost connection undid is done again when the room is entered anew.
      if (error.code !== 'connection-lost') this.#emit('error', { error: RoomcastError.from(error) })
    })
  }

  /** @param {string} type @param {object} detail */
  #emit(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }))
  }
}
